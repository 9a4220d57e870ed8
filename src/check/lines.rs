//! Jobs as lines of JSON: one in, one answer out, in their order.
//!
//! Takes what is written to it, gives what is to be written back. A line is a job, or
//! `{"id": …, "job": …}` with a string or a number that the answer repeats. Every line is answered,
//! an empty one and one that is no JSON too. Never keeps more than the longest line that may come.

use std::io::{self, BufRead as _, BufReader, BufWriter, Read, Write};

use serde::de::IgnoredAny;
use serde_json::Value;

use super::{Answer, Checker};
use crate::digest::Running;
use crate::job;

/// Bytes that are read, and written, at once.
const CHUNK: usize = 64 << 10;

/// Bytes of a line that may stand around its job.
const AROUND: usize = 4096;

/// A line that was read.
enum Line {
    /// It is in the buffer.
    Whole,
    /// It has more bytes than a job may have; and its digest.
    Long(u64, String),
}

impl Checker {
    /// Answers lines until there are no more.
    ///
    /// # Errors
    /// When there is nothing to read from or to write to.
    pub fn answer_lines(&self, input: impl Read, output: impl Write) -> io::Result<()> {
        let mut input = BufReader::with_capacity(CHUNK, input);
        let mut output = BufWriter::with_capacity(CHUNK, output);
        let mut line = Vec::new();
        loop {
            // Whoever waits for an answer may send nothing more until it comes.
            if !input.buffer().contains(&b'\n') {
                output.flush()?;
            }
            match read(&mut input, &mut line, self.limits.job_bytes + AROUND)? {
                None => return output.flush(),
                Some(Line::Whole) => self.answer_line(&line, &mut output)?,
                Some(Line::Long(bytes, sha256)) => {
                    let problem = job::too_large(bytes, self.limits.job_bytes);
                    let answer = Answer {
                        job_id: None,
                        ok: false,
                        sha256: &sha256,
                        problems: &[problem],
                        warnings: &[],
                    };
                    serde_json::to_writer(&mut output, &answer)?;
                    output.write_all(b"\n")?;
                }
            }
        }
    }

    fn answer_line(&self, line: &[u8], output: &mut impl Write) -> io::Result<()> {
        let (id, job) = envelope(job::unmarked(line)).unwrap_or((None, line));
        let result = self.check(job);
        let answer = serde_json::to_vec(&Answer::from(&result))?;
        match id {
            None => output.write_all(&answer)?,
            // As it was written: a reader may make another number of it.
            Some(id) => {
                output.write_all(b"{\"id\":")?;
                output.write_all(id)?;
                output.write_all(b",")?;
                output.write_all(&answer[1..])?;
            }
        }
        output.write_all(b"\n")
    }
}

/// Reads a line without its end; none, where there are no more.
fn read<R: Read>(
    input: &mut BufReader<R>,
    line: &mut Vec<u8>,
    most: usize,
) -> io::Result<Option<Line>> {
    line.clear();
    input.take(most as u64 + 1).read_until(b'\n', line)?;
    if line.pop_if(|last| *last == b'\n').is_some() {
        return Ok(Some(Line::Whole));
    }
    if line.len() <= most {
        return Ok((!line.is_empty()).then_some(Line::Whole));
    }
    let (mut bytes, mut digest) = (line.len() as u64, Running::default());
    digest.add(line);
    loop {
        line.clear();
        input.take(CHUNK as u64).read_until(b'\n', line)?;
        let ended = line.pop_if(|last| *last == b'\n').is_some() || line.is_empty();
        bytes += line.len() as u64;
        digest.add(line);
        if ended {
            return Ok(Some(Line::Long(bytes, digest.hex())));
        }
    }
}

/// The id and the job of `{"id": …, "job": …}`, as they are written; none, where a line is something
/// else, and so a job or nothing.
fn envelope(line: &[u8]) -> Option<(Option<&[u8]>, &[u8])> {
    let mut rest = after(line, b"{")?;
    let (mut id, mut job) = (None, None);
    loop {
        let (name, behind) = value(rest)?;
        let (value, behind) = value(after(behind, b":")?)?;
        match name {
            b"\"id\"" if id.is_none() => id = Some(value),
            b"\"job\"" if job.is_none() => job = Some(value),
            _ => return None,
        }
        match after(behind, b",") {
            Some(behind) => rest = behind,
            None if after(behind, b"}")?.trim_ascii().is_empty() => break,
            None => return None,
        }
    }
    let plain = |id: &[u8]| {
        let id = serde_json::from_slice(id);
        matches!(id, Ok(Value::String(_) | Value::Number(_)))
    };
    id.is_none_or(plain).then_some((id, job?))
}

/// What follows a sign, after white space.
fn after<'a>(text: &'a [u8], sign: &[u8]) -> Option<&'a [u8]> {
    text.trim_ascii_start().strip_prefix(sign)
}

/// The JSON value that a text begins with, as it is written, and what follows.
fn value(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = text.trim_ascii_start();
    let mut values = serde_json::Deserializer::from_slice(text).into_iter::<IgnoredAny>();
    values.next()?.ok()?;
    Some(text.split_at(values.byte_offset()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_is_told_from_a_job() {
        let parts = |line: &'static str| {
            envelope(line.as_bytes()).map(|(id, job)| {
                let text = |bytes| std::str::from_utf8(bytes).unwrap();
                (id.map(text), text(job))
            })
        };
        assert_eq!(
            parts(r#"{"id":1,"job":{"a":"}"}}"#),
            Some((Some("1"), r#"{"a":"}"}"#))
        );
        assert_eq!(
            parts(r#" { "job" : 7 , "id" : "x" } "#),
            Some((Some("\"x\""), "7"))
        );
        assert_eq!(parts(r#"{"job":[1, 2]}"#), Some((None, "[1, 2]")));
        for job in [
            r#"{"job_id":"a","template":"b","data":{}}"#,
            r#"{"id":1}"#,
            r#"{"id":{},"job":{}}"#,
            r#"{"id":1,"id":2,"job":{}}"#,
            r#"{"id":1,"job":{}} x"#,
            r#"{"id":1,"job":{}"#,
            r#"{"id":"\ud800","job":{}}"#,
            "{}",
            "",
            "1",
        ] {
            assert_eq!(parts(job), None, "{job}");
        }
    }
}

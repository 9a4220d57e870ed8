//! What is to be sent: where each job is, and under which id. The jobs stay where they are.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::digest::sha256;
use crate::job::unmarked;
use crate::problem::{Outage, Part};

/// What is to be sent, in its order.
#[derive(Debug, Default)]
pub struct Input {
    sources: Vec<Source>,
    items: Vec<Item>,
    digest: String,
    /// What of it can't be sent at all.
    pub unusable: Vec<Unusable>,
    /// Jobs that were there already, byte for byte, and are sent once.
    pub repeated: u64,
}

/// A job.
#[derive(Debug)]
pub struct Item {
    /// Its `job_id`.
    pub id: Box<str>,
    /// SHA-256 of its bytes.
    sha256: Box<str>,
    source: u32,
    offset: u64,
    bytes: u32,
    /// The line in a file of lines, from 1; 0 of a file that is a job.
    line: u32,
}

/// What can't be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unusable {
    /// The file, and the line in it.
    pub place: String,
    /// Why.
    pub why: String,
    /// Whether it can't even be read, which is not the job's fault.
    pub unread: bool,
}

/// A file.
#[derive(Debug)]
struct Source {
    name: PathBuf,
    /// Open, of lines: there may be a hundred thousand files of one job each.
    lines: Option<File>,
}

impl Input {
    /// Looks through files: a job each, or a job a line. `-` is standard input, which is kept in a
    /// temporary file; `progress` is called for each file.
    ///
    /// # Errors
    /// When standard input can't be kept.
    pub fn of(files: &[PathBuf], mut progress: impl FnMut()) -> Result<Input, Outage> {
        let mut input = Input::default();
        let mut seen = HashMap::new();
        for file in files {
            match input.add(file, &mut seen) {
                Err(error) if file == Path::new("-") => {
                    let what = "cannot keep standard input in a temporary file";
                    return Err(Outage::because(Part::Disk, what, error));
                }
                Err(error) => input.unusable.push(Unusable {
                    place: file.display().to_string(),
                    why: format!("cannot read it: {error}"),
                    unread: true,
                }),
                Ok(()) => {}
            }
            progress();
        }
        Ok(input)
    }

    /// The jobs that can be sent.
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// The digest of all of them, in their order.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// A job's file, and the line in it.
    pub fn place(&self, at: usize) -> String {
        let item = &self.items[at];
        place(&self.sources[item.source as usize].name, item.line)
    }

    /// A job's bytes.
    ///
    /// # Errors
    /// When they are not there any more as they were.
    pub fn body(&self, at: usize) -> Result<Vec<u8>, String> {
        let item = &self.items[at];
        let source = &self.sources[item.source as usize];
        let read = match &source.lines {
            None => std::fs::read(&source.name),
            Some(file) => {
                let mut body = vec![0; item.bytes as usize];
                file.read_exact_at(&mut body, item.offset).map(|()| body)
            }
        };
        let body = read.map_err(|error| format!("cannot read it again: {error}"))?;
        match sha256(&body) == *item.sha256 {
            true => Ok(body),
            false => Err("it has changed while others were sent".to_owned()),
        }
    }

    fn add(&mut self, path: &Path, seen: &mut HashMap<Box<str>, usize>) -> io::Result<()> {
        if path == Path::new("-") {
            let mut kept = tempfile::tempfile()?;
            io::copy(&mut io::stdin().lock(), &mut kept)?;
            kept.flush()?;
            return match is_one(&kept)? {
                true => {
                    let mut body = Vec::new();
                    kept.rewind()?;
                    kept.read_to_end(&mut body)?;
                    self.source(path, Some(kept));
                    self.job(&body, 0, 0, seen);
                    Ok(())
                }
                false => self.lines(path, kept, seen),
            };
        }
        if is_of_lines(path) {
            return self.lines(path, File::open(path)?, seen);
        }
        let body = std::fs::read(path)?;
        self.source(path, None);
        self.job(&body, 0, 0, seen);
        Ok(())
    }

    fn source(&mut self, path: &Path, lines: Option<File>) {
        self.sources.push(Source {
            name: path.to_owned(),
            lines,
        });
    }

    /// A job a line.
    fn lines(
        &mut self,
        path: &Path,
        mut file: File,
        seen: &mut HashMap<Box<str>, usize>,
    ) -> io::Result<()> {
        file.rewind()?;
        let mut reader = BufReader::new(file.try_clone()?);
        self.source(path, Some(file));
        let (mut line, mut offset, mut number) = (Vec::new(), 0, 0);
        loop {
            line.clear();
            let bytes = reader.read_until(b'\n', &mut line)?;
            if bytes == 0 {
                return Ok(());
            }
            number += 1;
            let job = line.strip_suffix(b"\n").unwrap_or(&line);
            if !unmarked(job).trim_ascii().is_empty() {
                self.job(job, offset, number, seen);
            }
            offset += bytes as u64;
        }
    }

    /// A job of the last source.
    fn job(&mut self, body: &[u8], offset: u64, line: u32, seen: &mut HashMap<Box<str>, usize>) {
        let source = self.sources.len().saturating_sub(1);
        let name = &self.sources[source].name;
        let mut unusable = |why: String| {
            self.unusable.push(Unusable {
                place: place(name, line),
                why,
                unread: false,
            });
        };
        let (id, bytes) = match (job_id(body), u32::try_from(body.len())) {
            (Ok(id), Ok(bytes)) => (id.into_boxed_str(), bytes),
            (Err(why), _) => return unusable(why),
            (_, Err(_)) => return unusable("it is larger than any broker takes".to_owned()),
        };
        let sha256 = sha256(body).into_boxed_str();
        if let Some(first) = seen.get(&id) {
            if self.items[*first].sha256 == sha256 {
                self.repeated += 1;
            } else {
                let first = &self.items[*first];
                let first = place(&self.sources[first.source as usize].name, first.line);
                unusable(format!(
                    "{first} has its job_id with other content, and one of the two would be \
                     refused"
                ));
            }
            return;
        }
        seen.insert(id.clone(), self.items.len());
        // A chain: that of a hundred thousand jobs costs no more than theirs.
        self.digest = crate::digest::sha256(format!("{} {sha256}", self.digest).as_bytes());
        self.items.push(Item {
            id,
            sha256,
            source: u32::try_from(source).unwrap_or(u32::MAX),
            offset,
            bytes,
            line,
        });
    }
}

/// Whether a file has a job a line.
pub fn is_of_lines(path: &Path) -> bool {
    let end = path.extension();
    end.is_some_and(|end| end == "ndjson" || end == "jsonl")
}

/// The id under which a job is sent. Everything else about it is for the worker to judge.
///
/// # Errors
/// Why it has none.
pub fn job_id(job: &[u8]) -> Result<String, String> {
    let job: serde_json::Value =
        serde_json::from_slice(unmarked(job)).map_err(|error| format!("not JSON: {error}"))?;
    match job.get("job_id").and_then(serde_json::Value::as_str) {
        Some(id) if !id.is_empty() => Ok(id.to_owned()),
        _ => Err("it has no \"job_id\"".to_owned()),
    }
}

/// Whether a file is one JSON value.
fn is_one(file: &File) -> io::Result<bool> {
    let mut file = file.try_clone()?;
    file.rewind()?;
    let mut reader = BufReader::new(file);
    if reader.fill_buf()?.starts_with(b"\xef\xbb\xbf") {
        reader.consume(3);
    }
    Ok(serde_json::from_reader::<_, serde::de::IgnoredAny>(reader).is_ok())
}

fn place(name: &Path, line: u32) -> String {
    match line {
        0 => name.display().to_string(),
        line => format!("{}:{line}", name.display()),
    }
}

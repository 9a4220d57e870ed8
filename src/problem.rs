//! What can go wrong, and whose fault it is.
//!
//! There are two kinds of error in banshi and no third. A [`Rejection`] is the job's fault: it
//! holds every problem found, each with its place and its fix, and is never retried. A report that
//! takes two typesetters down is one of these (`E-LAYOUT`). An [`Outage`] is the world's fault (a
//! broker, a store, a disk): it is retried and never reaches the sender as a fault of theirs.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

use crate::escape;

/// The code of a problem, as the upstream system sees it.
///
/// `E-` codes always reject the job. `R-` codes reject it or travel as warnings, as the job's
/// `on_violation` says. `W-` codes never block. A form brings `R-` and `W-` codes of its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code {
    /// ASCII, filled up with zeros.
    text: [u8; Code::MOST],
}

impl Code {
    /// The longest code, in bytes.
    pub const MOST: usize = 32;

    /// Not JSON, not UTF-8, nested too deep, or over the size limit.
    pub const JSON: Code = Code::new("E-JSON");
    /// A field is missing, unknown, given twice, or of the wrong type or range.
    pub const SCHEMA: Code = Code::new("E-SCHEMA");
    /// No such template or edition.
    pub const TEMPLATE: Code = Code::new("E-TEMPLATE");
    /// The edition does not belong to the year.
    pub const EDITION: Code = Code::new("E-EDITION");
    /// The `job_id` was used with other content.
    pub const CONFLICT: Code = Code::new("E-CONFLICT");
    /// A character that no configured font can draw.
    pub const GLYPH: Code = Code::new("E-GLYPH");
    /// The document could not be laid out within the limits of pages and time.
    pub const LAYOUT: Code = Code::new("E-LAYOUT");
    /// The document can't be written as OFD: a face, a paint or a picture that OFD-A has no place
    /// for.
    pub const OFD: Code = Code::new("E-OFD");
    /// The signing system does not sign the document, and says that it never will.
    pub const SIGN: Code = Code::new("E-SIGN");
    /// Cells of the tables are blank, or hold a mark.
    pub const BLANK: Code = Code::new("W-BLANK");
    /// Characters of a text only look like the ones meant; lists them.
    pub const CHARACTER: Code = Code::new("W-CHARACTER");
    /// Last year's report is not the one before this, or the job says otherwise of it.
    pub const PRIOR: Code = Code::new("W-PRIOR");

    /// The codes that no form brings, in the order of the documentation.
    pub const OWN: [Code; 12] = [
        Code::JSON,
        Code::SCHEMA,
        Code::TEMPLATE,
        Code::EDITION,
        Code::CONFLICT,
        Code::GLYPH,
        Code::LAYOUT,
        Code::OFD,
        Code::SIGN,
        Code::BLANK,
        Code::CHARACTER,
        Code::PRIOR,
    ];

    const fn new(code: &str) -> Code {
        let (code, mut text, mut at) = (code.as_bytes(), [0; Code::MOST], 0);
        while at < code.len() {
            text[at] = code[at];
            at += 1;
        }
        Code { text }
    }

    /// The code of this text: `E-`, `R-` or `W-` and capitals, digits and hyphens, 32 bytes at
    /// most. None for any other text.
    pub fn named(text: &str) -> Option<Code> {
        let name = ["E-", "R-", "W-"]
            .into_iter()
            .find_map(|kind| text.strip_prefix(kind))?;
        let right = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'-';
        (!name.is_empty() && name.bytes().all(right) && text.len() <= Code::MOST)
            .then(|| Code::new(text))
    }

    /// The code as it is written in events, manifests and messages.
    pub fn as_str(&self) -> &str {
        let end = self.text.iter().position(|&b| b == 0).unwrap_or(Code::MOST);
        std::str::from_utf8(&self.text[..end]).unwrap_or_default()
    }

    /// What the code does to a job.
    pub fn severity(self) -> Severity {
        match self.text[0] {
            b'E' => Severity::Error,
            b'R' => Severity::Rule,
            _ => Severity::Warning,
        }
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let code = Code::named(&text);
        code.ok_or_else(|| serde::de::Error::custom(format!("no problem code: {text}")))
    }
}

/// What a problem does to a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Always rejects.
    Error,
    /// A reconciliation rule (勾稽关系): rejects or warns, as the job says.
    Rule,
    /// Never blocks.
    Warning,
}

/// One problem of a job: what, where, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// What kind of problem.
    pub code: Code,
    /// A JSON Pointer (RFC 6901) into the job, `""` for the job as a whole.
    pub path: String,
    /// For people, in English.
    pub message: String,
    /// For people, in Chinese, in the words of the official form.
    pub message_zh: String,
    /// What should stand there, where that is one value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// What stands there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actual: Option<String>,
}

impl Problem {
    /// A problem without expected and actual values.
    pub fn new(
        code: Code,
        path: impl Into<String>,
        message: impl Into<String>,
        message_zh: impl Into<String>,
    ) -> Self {
        Problem {
            code,
            path: path.into(),
            message: message.into(),
            message_zh: message_zh.into(),
            expected: None,
            actual: None,
        }
    }

    /// The same problem with what should stand there and what does.
    pub fn with(mut self, expected: impl fmt::Display, actual: impl fmt::Display) -> Self {
        self.expected = Some(expected.to_string());
        self.actual = Some(actual.to_string());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_empty() {
            "/"
        } else {
            &self.path
        };
        // A job's own words are in all three.
        let (path, message) = (escape::text(path), escape::text(&self.message));
        let message_zh = escape::text(&self.message_zh);
        write!(f, "{} {path}: {message}\n    {message_zh}", self.code)
    }
}

/// The job's fault: every problem found in it, at least one of which rejects it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the job is rejected: {}", list(.problems))]
pub struct Rejection {
    problems: Vec<Problem>,
}

impl Rejection {
    /// The most problems that a rejection tells: more than a report with every cell wrong has. A
    /// job can have a hundred thousand, and their event would be more than a broker takes.
    pub const MOST: usize = 1000;

    /// A rejection for these problems, in the order of their places. Beyond [`Rejection::MOST`]
    /// they are only counted.
    ///
    /// # Panics
    /// When there are none: a rejection without a reason is a bug.
    pub fn new(mut problems: Vec<Problem>) -> Self {
        assert!(!problems.is_empty(), "a rejection needs a problem");
        // Of one place in the order in which they were found: reading, then the form's rules.
        problems.sort_by(|a, b| a.path.cmp(&b.path));
        let more = problems.len().saturating_sub(Rejection::MOST);
        if more > 0 {
            problems.truncate(Rejection::MOST);
            problems.push(Problem::new(
                Code::SCHEMA,
                "",
                format!("and {more} more problems, which are not listed; mend these first"),
                format!("另有{more}个问题未列出，请先修正以上问题"),
            ));
        }
        Rejection { problems }
    }

    /// The problems, by place.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The problems, by place.
    pub fn into_problems(self) -> Vec<Problem> {
        self.problems
    }
}

impl From<Problem> for Rejection {
    fn from(problem: Problem) -> Self {
        Rejection::new(vec![problem])
    }
}

fn list(problems: &[Problem]) -> String {
    problems
        .iter()
        .map(Problem::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

/// The part of the world that is out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// RabbitMQ, or the spool's folders.
    Transport,
    /// The object store.
    Store,
    /// The typesetter processes.
    Typesetter,
    /// The fonts.
    Fonts,
    /// The templates.
    Templates,
    /// A local file or folder.
    Disk,
    /// The signing system.
    Signer,
    /// The administration port.
    Admin,
}

impl Part {
    /// The part's name in messages and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Part::Transport => "transport",
            Part::Store => "store",
            Part::Typesetter => "typesetter",
            Part::Fonts => "fonts",
            Part::Templates => "templates",
            Part::Disk => "disk",
            Part::Signer => "signer",
            Part::Admin => "admin",
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The world's fault: a part that is out, and why.
#[derive(Debug, thiserror::Error)]
#[error("{part}: {message}")]
pub struct Outage {
    /// Which part.
    pub part: Part,
    /// What was tried, and what to do.
    pub message: String,
    /// The error underneath.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Outage {
    /// An outage that banshi found itself.
    pub fn new(part: Part, message: impl Into<String>) -> Self {
        Outage {
            part,
            message: message.into(),
            source: None,
        }
    }

    /// An outage with the error underneath.
    pub fn because(
        part: Part,
        message: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Outage {
            part,
            message: message.into(),
            source: Some(source.into()),
        }
    }

    /// [`Outage::chain`] without the part, for where that is said beside it.
    pub fn reason(&self) -> String {
        let chain = self.chain();
        let part = format!("{}: ", self.part);
        chain.strip_prefix(&part).unwrap_or(&chain).to_owned()
    }

    /// The whole chain of causes in one line, each said once.
    pub fn chain(&self) -> String {
        let mut line = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            let said = error.to_string();
            if !line.contains(&said) {
                line.push_str(": ");
                line.push_str(&said);
            }
            cause = error.source();
        }
        line
    }
}

/// Either kind of error, where both can happen.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The job's fault.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The world's fault.
    #[error(transparent)]
    Outage(#[from] Outage),
}

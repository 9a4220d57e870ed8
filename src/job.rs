//! The job: what an upstream system sends.
//!
//! Takes bytes, gives a [`Job`] with a checked report, or a [`Refusal`] with every problem found.
//! Never stops at the first problem, never reads a missing figure as zero. If we crash here,
//! nothing has happened yet.

mod unreadable;

use crate::config::Limits;
use crate::digest;
use crate::problem::{Code, Problem, Rejection};
use crate::report::json::{Fields, Node, Place, Problems, bad, nearest, wrong};
use crate::report::read;
use crate::report::{self, Checked, Editions, Last, OnViolation, Prior, Report};

/// A job whose report is checked.
#[derive(Debug, Clone)]
pub struct Job {
    /// `job_id`, the sender's idempotency key.
    pub id: String,
    /// `name/edition`.
    pub template: String,
    /// The report.
    pub report: Checked,
    /// The job's `data` in canonical JSON (RFC 8785), to be attached to the PDF.
    pub data: String,
    /// The digest and size of the job.
    pub identity: Identity,
    /// Bytes of the job's canonical JSON.
    pub bytes: u64,
}

impl Job {
    /// The report inside the check.
    pub fn report(&self) -> &Report {
        self.report.report()
    }
}

/// What is known of a job, however broken it is: enough to say what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The `job_id`, when it could be read; of a job that is no JSON, a `message_id` that is one.
    pub job_id: Option<String>,
    /// The template, `name/edition`, when it is one; this build need not have it.
    pub template: Option<String>,
    /// Where its result would be stored, as far as the job says it in a form that can be stored.
    pub key: Option<Box<ResultKey>>,
    /// The SHA-256 of the job's canonical JSON (RFC 8785), or of its bytes when it is no JSON.
    /// Two jobs with one `job_id` are the same job when this is the same.
    pub sha256: String,
}

impl Identity {
    /// The template's name without its edition.
    pub fn template_name(&self) -> Option<&str> {
        self.template.as_deref()?.split('/').next()
    }
}

/// What the place of a job's result is made from, of a job that may be rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResultKey {
    /// `name/edition`, of a template that this build need not have.
    pub template: String,
    /// `data.year`.
    pub year: u16,
    /// `job_id`.
    pub job_id: String,
    /// Bytes of the job's canonical JSON.
    pub bytes: u64,
}

/// A job that can never succeed as it is.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// Whose job it is, as far as that could be read.
    pub identity: Identity,
    /// Why.
    pub rejection: Rejection,
}

/// Reads a job. `message_id` is the one it came with, which must be its `job_id`; `editions` are
/// the templates that there are.
///
/// # Errors
/// Every problem of the job.
pub fn read(
    bytes: &[u8],
    message_id: Option<&str>,
    limits: &Limits,
    editions: &Editions,
) -> Result<Job, Refusal> {
    read_after(bytes, message_id, None, limits, editions)
}

/// Reads a job as [`read()`] does, and compares it with last year's report.
///
/// # Errors
/// Every problem of the job.
pub fn read_after(
    bytes: &[u8],
    message_id: Option<&str>,
    last: Option<&Last>,
    limits: &Limits,
    editions: &Editions,
) -> Result<Job, Refusal> {
    let node = match parse(bytes, limits) {
        Ok(node) => node,
        Err(rejection) => {
            let identity = unread(message_id, digest::sha256(bytes));
            return Err(Refusal {
                identity,
                rejection,
            });
        }
    };
    let canonical = node.canonical();
    let mut identity = Identity {
        job_id: None,
        template: None,
        key: result_key(&node, canonical.len() as u64, editions).map(Box::new),
        sha256: digest::sha256(canonical.as_bytes()),
    };

    let mut problems = Problems::new();
    let read = read_job(
        &node,
        message_id,
        limits,
        editions,
        &mut identity,
        &mut problems,
    );
    let read = read.map(|(template, report, mut prior, on_violation, data)| {
        if let Some(last) = last {
            last.compare(&report, &mut prior, &mut problems);
        }
        (template, report, prior, on_violation, data)
    });
    let (Some(id), Some((template, report, prior, on_violation, data))) =
        (identity.job_id.clone(), read)
    else {
        problems.retain(|p| p.code.severity() != crate::problem::Severity::Warning);
        return Err(Refusal {
            identity,
            rejection: Rejection::new(problems),
        });
    };
    match report::check(report, &prior, on_violation, problems) {
        Ok(report) => Ok(Job {
            id,
            template,
            report,
            data,
            identity,
            bytes: canonical.len() as u64,
        }),
        Err(rejection) => Err(Refusal {
            identity,
            rejection,
        }),
    }
}

/// What can be read of a job, right or wrong, by who only wants to look at it.
pub struct Legible {
    /// `name/edition`, of a template that there is.
    pub template: String,
    /// The SHA-256 of the job's canonical JSON.
    pub sha256: String,
    /// `data` as it was sent.
    pub data: Node,
    /// What of it is a report; placeholders stand for the rest.
    pub report: Report,
    /// Last year's figures.
    pub prior: Prior,
}

/// Reads as much of a job as can be read, whatever is wrong with it; none, where that is no report
/// in a form that there is.
pub fn legible(bytes: &[u8], limits: &Limits, editions: &Editions) -> Option<Legible> {
    let node = parse(bytes, limits).ok()?;
    let data = node
        .get("data")
        .filter(|data| matches!(data, Node::Object(_)))?;
    let sha256 = digest::sha256(node.canonical().as_bytes());
    let mut identity = unread(None, sha256.clone());
    let mut problems = Problems::new();
    let read = read_job(&node, None, limits, editions, &mut identity, &mut problems);
    let (template, report, prior, _, _) = read?;
    Some(Legible {
        template,
        sha256,
        data: data.clone(),
        report,
        prior,
    })
}

/// The SHA-256 of a job that the service can read, as in [`Identity`]; of bytes that are no JSON,
/// theirs.
pub fn content_sha256(bytes: &[u8]) -> String {
    let job = unmarked(bytes);
    match serde_json::from_slice::<Node>(job) {
        Ok(node) => digest::sha256(node.canonical().as_bytes()),
        Err(_) => digest::sha256(bytes),
    }
}

/// A job without the mark that some systems put first, which a reader may ignore (RFC 8259, 8.1).
pub fn unmarked(job: &[u8]) -> &[u8] {
    job.strip_prefix(b"\xef\xbb\xbf").unwrap_or(job)
}

/// Refuses a job whose message is unfit, for these `problems` and for all that are found in its
/// body. Of a body that is not in hand there is the SHA-256 instead.
pub fn refuse(
    mut problems: Vec<Problem>,
    body: Result<&[u8], &str>,
    message_id: Option<&str>,
    limits: &Limits,
    editions: &Editions,
) -> Refusal {
    let mut identity = match body {
        Err(sha256) => unread(message_id, sha256.to_owned()),
        Ok(bytes) => match read(bytes, message_id, limits, editions) {
            Ok(job) => job.identity,
            Err(refusal) => {
                problems.extend(refusal.rejection.into_problems());
                refusal.identity
            }
        },
    };
    if identity.job_id.is_none() {
        identity.job_id = message_id.filter(|id| is_id(id)).map(str::to_owned);
    }
    Refusal {
        identity,
        rejection: Rejection::new(problems),
    }
}

/// What is known of a job that cannot be read: its `message_id` would have had to be its `job_id`.
fn unread(message_id: Option<&str>, sha256: String) -> Identity {
    Identity {
        job_id: message_id.filter(|id| is_id(id)).map(str::to_owned),
        template: None,
        key: None,
        sha256,
    }
}

/// That a job has more bytes than it may.
pub fn too_large(bytes: u64, limit: usize) -> Problem {
    Problem::new(
        Code::JSON,
        "",
        format!("the job has {bytes} bytes; this service takes {limit} (limits.job_bytes)"),
        format!("任务共{bytes}字节，超过上限{limit}字节（limits.job_bytes）"),
    )
    .with(limit, bytes)
}

/// The JSON of a job, within the limits.
fn parse(bytes: &[u8], limits: &Limits) -> Result<Node, Rejection> {
    if bytes.len() > limits.job_bytes {
        return Err(too_large(bytes.len() as u64, limits.job_bytes).into());
    }
    if let Some(problem) = unreadable::recognised(bytes) {
        return Err(problem.into());
    }
    let text = std::str::from_utf8(bytes).map_err(|error| unreadable::not_utf8(bytes, &error))?;
    // RFC 8259, 8.1 lets a reader ignore the mark that some systems put first.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let node: Node = serde_json::from_str(text).map_err(|error| unreadable::not_json(&error))?;
    let depth = node.depth();
    if depth > limits.depth {
        let limit = limits.depth;
        return Err(Problem::new(
            Code::JSON,
            "",
            format!("the job is nested {depth} deep; this service takes {limit} (limits.depth)"),
            format!("任务嵌套{depth}层，超过上限{limit}层（limits.depth）"),
        )
        .with(limit, depth)
        .into());
    }
    Ok(node)
}

type Parts = (String, Report, Prior, OnViolation, String);

fn read_job(
    node: &Node,
    message_id: Option<&str>,
    limits: &Limits,
    editions: &Editions,
    identity: &mut Identity,
    problems: &mut Problems,
) -> Option<Parts> {
    let place = Place::new("", "");
    let mut fields = Fields::of(node, &place, problems)?;
    if let Some((node, place)) = fields.required("job_id", "", problems) {
        identity.job_id = read_id(node, &place, message_id, problems);
    }
    let template = fields.required("template", "", problems);
    let data = fields.required("data", "", problems);
    let prior = fields.optional("prior", "");
    let on_violation = fields.optional("on_violation", "");
    fields.finish(problems);

    let on_violation = match on_violation {
        Some((node, place)) => match node.as_str() {
            Some("reject") => OnViolation::Reject,
            Some("warn") => OnViolation::Warn,
            _ => {
                wrong(
                    problems,
                    &place,
                    node,
                    "\"reject\" or \"warn\"",
                    "“reject”或“warn”",
                );
                OnViolation::Reject
            }
        },
        None => OnViolation::Reject,
    };
    let (node, place) = template?;
    let template = read_template(node, &place, editions, problems)?;
    identity.template = Some(template.clone());
    let form = &editions[&template];
    let prior = match prior {
        Some((node, place)) => Prior::read(node, &place, form, problems),
        None => Prior::default(),
    };
    let (data, place) = data?;
    let report = read::report(data, &Place::new(place.pointer, ""), form, limits, problems);
    Some((template, report, prior, on_violation, data.canonical()))
}

/// Where the result of a job would be, had it been accepted, by this build or another. Of a template
/// that is not known here it is taken that its year is the field `year`.
fn result_key(node: &Node, bytes: u64, editions: &Editions) -> Option<ResultKey> {
    let template = node.get("template")?.as_str()?;
    let form = editions.get(template);
    let field = form.map_or("year", |form| form.fields[form.year].field.as_str());
    let year = node.get("data")?.get(field)?;
    let year = match year.as_str() {
        // A date is of its year.
        Some(date) => date.get(..4)?.parse().ok()?,
        None => year.whole().and_then(|year| u16::try_from(year).ok())?,
    };
    let job_id = node.get("job_id")?.as_str().filter(|id| is_id(id))?;
    // Both become folders, as the id becomes a file.
    let (name, edition) = template.split_once('/')?;
    (is_id(name) && is_id(edition)).then(|| ResultKey {
        template: template.to_owned(),
        year,
        job_id: job_id.to_owned(),
        bytes,
    })
}

/// `job_id`: 1–128 of `[A-Za-z0-9._-]`, starting with a letter or digit. It becomes a file's
/// name, so nothing else will do.
pub fn is_id(id: &str) -> bool {
    id.len() <= 128
        && id.starts_with(|c: char| c.is_ascii_alphanumeric())
        && id
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

fn read_id(
    node: &Node,
    place: &Place,
    message_id: Option<&str>,
    problems: &mut Problems,
) -> Option<String> {
    let Some(id) = node.as_str().filter(|id| is_id(id)) else {
        let en = "1 to 128 of A-Z, a-z, 0-9, '.', '_', '-', starting with a letter or digit";
        wrong(
            problems,
            place,
            node,
            en,
            "1至128个字母、数字、“.”、“_”、“-”，以字母或数字开头",
        );
        return None;
    };
    if let Some(message_id) = message_id.filter(|message_id| *message_id != id) {
        let en =
            format!("the message_id is \"{message_id}\"; it must repeat the job_id or be left out");
        let zh = format!("消息的message_id为“{message_id}”，应与job_id相同或不填");
        bad(problems, place, &en, &zh);
    }
    Some(id.to_owned())
}

fn read_template(
    node: &Node,
    place: &Place,
    editions: &Editions,
    problems: &mut Problems,
) -> Option<String> {
    let Some(name) = node.as_str() else {
        wrong(
            problems,
            place,
            node,
            "a string, name/edition",
            "字符串，格式为“名称/版本”",
        );
        return None;
    };
    if editions.contains_key(name) {
        return Some(name.to_owned());
    }
    let known: Vec<&str> = editions.keys().map(String::as_str).collect();
    let list = known.join(", ");
    let mut en = format!("there is no template \"{name}\"; there are: {list}");
    let mut zh = format!("没有模板“{name}”；现有：{list}");
    if let Some(near) = nearest(name, known.into_iter()) {
        en.push_str(&format!("; the nearest is \"{near}\""));
        zh.push_str(&format!("；最接近的是“{near}”"));
    }
    problems.push(Problem::new(Code::TEMPLATE, &place.pointer, en, zh).with(list, name));
    None
}

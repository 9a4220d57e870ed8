//! What became of one job, in the few words that are kept of each.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::event::Kind;
use crate::transport::Entry;

/// The most bytes that are kept of a text in an event.
const TEXT: usize = 512;
/// The most codes that are kept of one event.
const CODES: usize = 16;

/// What an event says of a job's end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// The event's place in the log.
    pub offset: u64,
    /// The event's id.
    pub id: Box<str>,
    /// When it ended, in seconds since 1970.
    pub time: u64,
    /// How it ended.
    #[serde(serialize_with = "kind")]
    pub kind: Kind,
    /// Its id; empty, when it could not be read.
    pub job_id: Box<str>,
    /// `NAME/EDITION`; or `NAME`, or `unknown`, as the event's routing key has it.
    pub template: Box<str>,
    /// Of a completed job: whose report it is.
    pub agency: Box<str>,
    /// Of a completed job: the year of the report, 0 of another.
    pub year: u16,
    /// Of a completed job: the pages of its PDF, 0 of another.
    pub pages: u32,
    /// The codes of its problems, each once, or the part that was out.
    pub codes: Vec<Box<str>>,
}

fn kind<S: serde::Serializer>(kind: &Kind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(kind.as_str())
}

#[derive(Deserialize)]
struct Event {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    time: String,
    #[serde(default)]
    subject: Option<String>,
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    #[serde(default)]
    template: Option<String>,
    #[serde(default)]
    agency: Option<String>,
    #[serde(default)]
    year: Option<u16>,
    #[serde(default)]
    artifact: Option<Artifact>,
    #[serde(default)]
    problems: Vec<Coded>,
    #[serde(default)]
    warnings: Vec<Coded>,
    #[serde(default)]
    error: Option<Coded>,
}

#[derive(Deserialize)]
struct Artifact {
    #[serde(default)]
    pages: u32,
}

#[derive(Deserialize)]
struct Coded {
    code: String,
}

impl Outcome {
    /// Reads an event of the log. `None`, when it is none of ours.
    pub fn read(entry: &Entry) -> Option<Outcome> {
        let event: Event = serde_json::from_slice(&entry.event).ok()?;
        let kind = Kind::named(&event.kind)?;
        let time = OffsetDateTime::parse(&event.time, &Rfc3339).ok()?;
        let data = event.data;
        let mut codes: Vec<Box<str>> = Vec::new();
        let coded = data.problems.into_iter().chain(data.error);
        for Coded { code } in coded.chain(data.warnings) {
            let code = short(code);
            if codes.len() < CODES && !codes.contains(&code) {
                codes.push(code);
            }
        }
        // What was refused has no more than a name, and that only there.
        let key = entry.routing_key.strip_prefix(kind.as_str());
        let named = key
            .and_then(|key| key.strip_prefix('.'))
            .unwrap_or_default();
        Some(Outcome {
            offset: entry.offset,
            id: short(event.id),
            time: u64::try_from(time.unix_timestamp()).ok()?,
            kind,
            job_id: short(event.subject.unwrap_or_default()),
            template: short(data.template.unwrap_or_else(|| named.to_owned())),
            agency: short(data.agency.unwrap_or_default()),
            year: data.year.unwrap_or_default(),
            pages: data.artifact.map_or(0, |artifact| artifact.pages),
            codes,
        })
    }
}

/// A text, as much of it as is kept.
fn short(mut text: String) -> Box<str> {
    text.truncate(text.floor_char_boundary(TEXT));
    text.into_boxed_str()
}

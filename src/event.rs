//! What banshi publishes: a CloudEvent (1.0) for each of the three outcomes.
//!
//! Takes a manifest, a refusal or a failure, gives an [`Event`], whole in structured JSON or its
//! data alone. Ids are UUIDv5 of job id, type
//! and job digest, so that a repeat carries the id of the first. `report.completed` is made from
//! the manifest alone and is the same to the byte every time. If we crash here, nothing has been
//! published yet: the job comes back and the event is made again.

use serde::Serialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use crate::config::Mode;
use crate::job::Identity;
use crate::problem::Problem;
use crate::store::Manifest;

/// The media type of an event in structured JSON.
pub const CONTENT_TYPE: &str = "application/cloudevents+json; charset=utf-8";

/// The CloudEvents `specversion`.
pub const SPECVERSION: &str = "1.0";

/// The CloudEvents `datacontenttype`: the media type of an event's data.
pub const DATA_CONTENT_TYPE: &str = "application/json";

/// The namespace of the ids: UUIDv5 of the DNS name `banshi.events`.
const NAMESPACE: Uuid = Uuid::from_u128(0xb2d3_fdc1_c6ee_5790_9504_ec92_482b_b7a7);

/// The three ways that a job ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// PDF and manifest are stored.
    Completed,
    /// The job can never succeed as it is.
    Rejected,
    /// It might have, and the attempts are used up.
    Failed,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 3] = [Kind::Completed, Kind::Rejected, Kind::Failed];

    /// The one of this CloudEvents `type`.
    pub fn named(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// The CloudEvents `type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Completed => "report.completed",
            Kind::Rejected => "report.rejected",
            Kind::Failed => "report.failed",
        }
    }
}

/// An event, ready to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The CloudEvents `id`.
    pub id: Uuid,
    /// Which outcome.
    pub kind: Kind,
    /// The `job_id`, when it could be read.
    pub subject: Option<String>,
    /// The CloudEvents `source`: which deployment.
    pub source: String,
    /// The CloudEvents `time`, RFC 3339 in UTC.
    pub time: String,
    /// What its `type` has to tell.
    pub data: Value,
    /// `TYPE.NAME`, as `report.completed.annual-report`.
    pub routing_key: String,
    /// How a message carries it.
    pub mode: Mode,
}

/// The structured JSON, its fields in the order of their names.
#[derive(Serialize)]
struct Structured<'a> {
    data: &'a Value,
    datacontenttype: &'a str,
    id: String,
    source: &'a str,
    specversion: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    time: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
}

impl Event {
    /// `report.completed`, from the manifest and nothing else.
    pub fn completed(manifest: &Manifest) -> Event {
        let identity = Identity {
            job_id: Some(manifest.job_id.clone()),
            template: Some(manifest.template.name.clone()),
            key: None,
            sha256: manifest.job.sha256.clone(),
        };
        let mut data = json!({
            "job_id": manifest.job_id,
            "template": manifest.template.name,
            "agency": manifest.agency,
            "year": manifest.year,
            "title": manifest.title,
            "artifact": {
                "uri": manifest.artifact.uri,
                "media_type": manifest.artifact.media_type,
                "bytes": manifest.artifact.bytes,
                "sha256": manifest.artifact.sha256,
                "pages": manifest.artifact.pages,
                "standard": manifest.artifact.standard,
            },
            "manifest": { "uri": manifest.uri },
            "warnings": manifest.warnings,
        });
        if !manifest.companions.is_empty() {
            data["companions"] = json!(manifest.companions);
        }
        Event::new(
            Kind::Completed,
            &identity,
            &manifest.source,
            &manifest.completed_at,
            data,
        )
    }

    /// `report.rejected`, with every problem.
    pub fn rejected(identity: &Identity, problems: &[Problem], source: &str) -> Event {
        let mut data = json!({ "problems": problems });
        if let Some(job_id) = &identity.job_id {
            data["job_id"] = json!(job_id);
        }
        Event::new(Kind::Rejected, identity, source, &now(), data)
    }

    /// `report.failed`, with the last error.
    pub fn failed(
        identity: &Identity,
        code: &str,
        message: &str,
        attempts: u32,
        source: &str,
    ) -> Event {
        let mut data = json!({
            "error": { "code": code, "message": message },
            "attempts": attempts,
        });
        if let Some(job_id) = &identity.job_id {
            data["job_id"] = json!(job_id);
        }
        Event::new(Kind::Failed, identity, source, &now(), data)
    }

    fn new(kind: Kind, identity: &Identity, source: &str, time: &str, data: Value) -> Event {
        let id = id(kind, identity.job_id.as_deref(), &identity.sha256);
        let template = identity.template_name().unwrap_or("unknown");
        Event {
            id,
            kind,
            subject: identity.job_id.clone(),
            source: source.to_owned(),
            time: time.to_owned(),
            data,
            routing_key: format!("{}.{template}", kind.as_str()),
            mode: Mode::Structured,
        }
    }

    /// The same, for messages that carry it in this mode.
    pub fn sent_in(self, mode: Mode) -> Event {
        Event { mode, ..self }
    }

    /// All of it, as structured JSON.
    pub fn structured(&self) -> Vec<u8> {
        let structured = Structured {
            data: &self.data,
            datacontenttype: DATA_CONTENT_TYPE,
            id: self.id.to_string(),
            source: &self.source,
            specversion: SPECVERSION,
            subject: self.subject.as_deref(),
            time: &self.time,
            kind: self.kind.as_str(),
        };
        serde_json::to_vec(&structured).expect("its keys are text")
    }

    /// The body of a message, and its media type.
    pub fn body(&self) -> (Vec<u8>, &'static str) {
        match self.mode {
            Mode::Structured => (self.structured(), CONTENT_TYPE),
            Mode::Binary => (self.data.to_string().into_bytes(), DATA_CONTENT_TYPE),
        }
    }

    /// The event of a message in binary mode, from its attributes and its data. `None`, when it is
    /// none of ours.
    pub fn from_binary(attribute: impl Fn(&str) -> Option<String>, data: &[u8]) -> Option<Event> {
        let data: Value = serde_json::from_slice(data).ok()?;
        // Not every subject can stand in a header.
        let job_id = || data["job_id"].as_str().map(str::to_owned);
        Some(Event {
            id: Uuid::parse_str(&attribute("id")?).ok()?,
            kind: Kind::named(&attribute("type")?)?,
            subject: attribute("subject").or_else(job_id),
            source: attribute("source")?,
            time: attribute("time")?,
            data,
            routing_key: String::new(),
            mode: Mode::Binary,
        })
    }
}

/// The id of a job's event of this kind; `sha256` is the job's, as in [`Identity`].
pub fn id(kind: Kind, job_id: Option<&str>, sha256: &str) -> Uuid {
    let job_id = job_id.unwrap_or_default();
    let name = format!("{job_id}:{}:{sha256}", kind.as_str());
    Uuid::new_v5(&NAMESPACE, name.as_bytes())
}

/// The moment, as RFC 3339 in UTC. Events and manifests are the only things with a clock.
#[expect(
    clippy::disallowed_methods,
    reason = "an event says when it happened; a PDF never does"
)]
pub fn now() -> String {
    let now = OffsetDateTime::now_utc()
        .replace_nanosecond(0)
        .expect("zero is a nanosecond");
    now.format(&Rfc3339)
        .expect("a UTC time has an RFC 3339 form")
}

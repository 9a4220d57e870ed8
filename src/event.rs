//! What banshi publishes: a CloudEvent (1.0, structured JSON) for each of the three
//! outcomes.
//!
//! Takes a manifest, a refusal or a failure, gives an [`Event`]. Ids are UUIDv5 of job id, type
//! and job digest, so that a repeat carries the id of the first. `report.completed` is made from
//! the manifest alone and is the same to the byte every time. If we crash here, nothing has been
//! published yet: the job comes back and the event is made again.

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use crate::job::Identity;
use crate::problem::Problem;
use crate::store::Manifest;

/// The media type of an event.
pub const CONTENT_TYPE: &str = "application/cloudevents+json; charset=utf-8";

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
    /// `TYPE.NAME`, as `report.completed.annual-report`.
    pub routing_key: String,
    /// The structured JSON.
    pub body: Vec<u8>,
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
        let job_id = identity.job_id.as_deref().unwrap_or_default();
        let name = format!("{job_id}:{}:{}", kind.as_str(), identity.sha256);
        let id = Uuid::new_v5(&NAMESPACE, name.as_bytes());
        let mut event = json!({
            "specversion": "1.0",
            "id": id.to_string(),
            "source": source,
            "type": kind.as_str(),
            "time": time,
            "datacontenttype": "application/json",
            "data": data,
        });
        if let Some(subject) = &identity.job_id {
            event["subject"] = json!(subject);
        }
        let template = identity.template_name().unwrap_or("unknown");
        Event {
            id,
            kind,
            subject: identity.job_id.clone(),
            routing_key: format!("{}.{template}", kind.as_str()),
            body: event.to_string().into_bytes(),
        }
    }
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

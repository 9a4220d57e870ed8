//! What is sent: real reports, and every tenth one spoilt.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use banshi::config::Settings;
use banshi::digest::sha256;
use banshi::event::Event;
use banshi::job::{self, Identity};
use banshi::report::Editions;
use banshi::transport::Lane;
use banshi::typesetter::Templates;
use rand::RngExt as _;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use crate::judge::{Ends, Object, Sent, Want};
use crate::support::jobs::{bad, corpus};
use crate::support::repository;

/// A message to be sent, and what must become of it.
#[derive(Debug, Clone)]
pub struct Letter {
    pub body: Vec<u8>,
    pub lane: Lane,
    /// Where a copy of its event is to go.
    pub reply_to: Option<String>,
    pub sent: Sent,
}

static SETTINGS: LazyLock<Settings> = LazyLock::new(|| {
    Settings::load(&[repository("src/defaults.toml")], []).expect("the defaults are right")
});

/// The editions under the names of the embedded templates.
pub fn editions() -> Editions {
    let templates = Templates::load(None).expect("the embedded templates are right");
    templates.forms()
}

/// The digests of the embedded templates.
pub fn template_digests() -> BTreeSet<String> {
    let templates = Templates::load(None).expect("the embedded templates are right");
    let digests = templates.editions().map(|edition| edition.sha256.clone());
    digests.collect()
}

static EDITIONS: LazyLock<Editions> = LazyLock::new(editions);

/// The defaults, untouched by file or environment.
pub fn settings() -> Settings {
    SETTINGS.clone()
}

/// A real report, short, with a text of its own.
pub fn report(job_id: &str, text: &str) -> Value {
    let mut job = corpus("zibo-bigdata-2020");
    job["job_id"] = json!(job_id);
    job["data"]["overview"] = json!([text]);
    job
}

/// The same, with a text of so many paragraphs, of which less than two fill a page.
pub fn long_report(job_id: &str, paragraphs: usize) -> Value {
    let mut job = report(job_id, "");
    job["data"]["overview"] = json!(vec!["政府信息公开。".repeat(60); paragraphs]);
    job
}

impl Letter {
    /// A job that must end in a result.
    pub fn good(job: &Value) -> Letter {
        Letter::new(job.to_string().into_bytes(), Want::Result)
    }

    /// A job that must be rejected with a code.
    pub fn refused(body: Vec<u8>, code: &str) -> Letter {
        Letter::new(body, Want::Rejection(code.to_owned()))
    }

    /// The same, by the other lane.
    pub fn urgent(mut self) -> Letter {
        self.lane = Lane::Urgent;
        self
    }

    /// The same, with a wish for a copy of its event.
    pub fn answered_to(mut self, reply_to: &str) -> Letter {
        self.reply_to = Some(reply_to.to_owned());
        self
    }

    fn new(body: Vec<u8>, want: Want) -> Letter {
        let read = job::read(&body, None, &SETTINGS.limits, &EDITIONS);
        let (identity, key) = match (read, &want) {
            (Ok(job), Want::Result) => {
                let key = format!("{}/{}/{}", job.template, job.report().year(), job.id);
                (job.identity.clone(), Some(key))
            }
            (Ok(job), Want::Rejection(_)) => (job.identity, None),
            (Err(refusal), Want::Rejection(_)) => (refusal.identity, None),
            (Err(refusal), Want::Result) => {
                panic!("a good job: {:?}", refusal.rejection.problems())
            }
        };
        Letter {
            lane: Lane::Bulk,
            reply_to: None,
            sent: Sent {
                ends: ends(&identity),
                job_id: identity.job_id,
                key,
                content: identity.sha256,
                body: sha256(&body),
                want,
            },
            body,
        }
    }
}

/// The ids of the three ends of a job.
fn ends(identity: &Identity) -> Ends {
    Ends {
        completed: completed_id(identity),
        rejected: Event::rejected(identity, &[], "").id.to_string(),
        failed: Event::failed(identity, "", "", 0, "").id.to_string(),
    }
}

/// The id of `report.completed`, made as the documentation says: a UUIDv5 of job id, type and job
/// digest, in the namespace that is the UUIDv5 of the DNS name `banshi.events`.
fn completed_id(identity: &Identity) -> String {
    let namespace = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_DNS, b"banshi.events");
    let job_id = identity.job_id.as_deref().unwrap_or_default();
    let name = format!("{job_id}:report.completed:{}", identity.sha256);
    uuid::Uuid::new_v5(&namespace, name.as_bytes()).to_string()
}

/// So many good jobs, and with each ten one that is refused.
pub fn mixed(prefix: &str, count: usize, rng: &mut StdRng) -> Vec<Letter> {
    let mut bad = BadJobs::new();
    let mut letters = Vec::new();
    for number in 0..count {
        let job = report(
            &format!("{prefix}-{number}"),
            &format!("第{number}份报告，编号{}。", rng.random::<u32>()),
        );
        letters.push(Letter::good(&job));
        if number % 10 == 9 {
            letters.push(bad.next(&format!("{prefix}-bad-{number}"), rng));
        }
    }
    letters
}

/// The bad jobs, each time under another id where they can have one.
pub struct BadJobs {
    kinds: Vec<(Vec<u8>, &'static str)>,
}

impl BadJobs {
    pub fn new() -> BadJobs {
        // One whose page count is its fault costs as much as fifty good ones; E11 has it.
        let cheap = bad().into_iter().filter(|bad| bad.code != "E-LAYOUT");
        BadJobs {
            kinds: cheap.map(|bad| (bad.body, bad.code)).collect(),
        }
    }

    pub fn next(&mut self, job_id: &str, rng: &mut StdRng) -> Letter {
        let (body, code) = &self.kinds[rng.random_range(0..self.kinds.len())];
        let mut body = body.clone();
        if let Ok(Value::Object(mut job)) = serde_json::from_slice::<Value>(&body)
            && job.get("job_id").and_then(Value::as_str) != Some("../../etc/passwd")
        {
            job.insert("job_id".to_owned(), json!(job_id));
            body = Value::Object(job).to_string().into_bytes();
        }
        Letter::refused(body, code)
    }
}

/// The jobs whose results are in a store, by the path of the PDF.
pub fn by_path<'a>(
    letters: &'a [Letter],
    store: &BTreeMap<String, Object>,
) -> BTreeMap<String, &'a Letter> {
    let mut stored = BTreeMap::new();
    for letter in letters {
        let Some(key) = &letter.sent.key else {
            continue;
        };
        let object = store.get(&format!("{key}.json"));
        let manifest = object.and_then(|object| object.manifest.as_ref());
        // Of two contents under one id, the one that is stored.
        if manifest.is_some_and(|says| says["job"]["sha256"] == letter.sent.content.as_str()) {
            stored.insert(format!("{key}.pdf"), letter);
        }
    }
    stored
}

//! The judge: what was sent, against what has become of it.
//!
//! A pure function over plain data, which knows nothing of brokers, stores or time. That it
//! objects to what is wrong is proved twice: by observations made by hand (`proofs.rs`), and by
//! workers that are broken on purpose (`broken.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;

/// A message that the broker has confirmed to its sender.
#[derive(Debug, Clone)]
pub struct Sent {
    /// The `job_id`, when it has one that can be read.
    pub job_id: Option<String>,
    /// Where its result belongs, without an ending. None for a job that can have no result.
    pub key: Option<String>,
    /// The digest of the job's canonical JSON: two jobs with the same are the same job.
    pub content: String,
    /// The digest of the message as it was sent.
    pub body: String,
    /// What must become of it.
    pub want: Want,
    /// The ids of the events in which it can end.
    pub ends: Ends,
}

/// The ids of a job's three ends: they follow from the job alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ends {
    pub completed: String,
    pub rejected: String,
    pub failed: String,
}

impl Ends {
    /// Whether one of them is among these.
    pub fn any_in(&self, ids: &BTreeSet<String>) -> bool {
        [&self.completed, &self.rejected, &self.failed]
            .into_iter()
            .any(|id| ids.contains(id))
    }
}

/// What must become of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Want {
    /// One stored result; or, where its id was first used with other content, `E-CONFLICT`.
    Result,
    /// A rejection with this code.
    Rejection(String),
}

/// An event as the archive heard it.
#[derive(Debug, Clone)]
pub struct ReceivedEvent {
    /// The CloudEvent.
    pub body: Vec<u8>,
    /// Whether the manifest that it speaks of was in the store at that moment.
    pub stored_when_heard: bool,
}

/// An object in the store.
#[derive(Debug, Clone)]
pub struct Object {
    /// The digest of its bytes.
    pub sha256: String,
    /// Its size.
    pub bytes: u64,
    /// What it says, when it is a manifest.
    pub manifest: Option<Value>,
    /// Why it is no PDF, when it should be one and does not open.
    pub damage: Option<String>,
}

/// A message in the dead queue.
#[derive(Debug, Clone)]
pub struct Dead {
    /// The digest of the job, as it was sent.
    pub body: String,
    /// The header `report_error_code`; where the broker has put the message there by its own hand,
    /// why it says that it has ([`REJECTED`], `delivery_limit`).
    pub code: String,
}

/// What the broker says of a message that a worker has rejected for good, which is then in the
/// dead queue untouched. A worker does that only with what cannot be read.
pub const REJECTED: &str = "rejected";

/// Something that was measured, and may not be more than it may be.
#[derive(Debug, Clone)]
pub struct Bound {
    pub what: String,
    pub seen: u64,
    pub most: u64,
}

/// A queue at the end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Depth {
    /// Messages that wait.
    pub ready: u64,
    /// Messages that a consumer holds.
    pub unacked: u64,
    /// Consumers.
    pub consumers: u64,
}

/// A report in a package of the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archived {
    /// Where its result is stored, as its manifest there says, without an ending.
    pub key: String,
    /// The digest of its PDF.
    pub sha256: String,
}

/// Everything that the judge looks at.
#[derive(Debug, Clone, Default)]
pub struct Observation {
    /// What was sent, in order.
    pub sent: Vec<Sent>,
    /// What the archive heard, in order.
    pub events: Vec<ReceivedEvent>,
    /// The store, by path.
    pub store: BTreeMap<String, Object>,
    /// What `banshi render` makes of some of the jobs: the digest by the path of the PDF.
    pub rendered: BTreeMap<String, String>,
    /// The dead queue.
    pub dead: Vec<Dead>,
    /// Messages that the broker says it threw away with a dead queue that was deleted.
    pub thrown_away: usize,
    /// The queues in which nothing may stay, while the workers still live.
    pub queues: BTreeMap<String, Depth>,
    /// The queues that the workers consume from, among them.
    pub lanes: BTreeSet<String>,
    /// Workers that live at the end.
    pub workers: u64,
    /// How the workers left that were asked to.
    pub exits: Vec<Option<i32>>,
    /// What the broker complained of.
    pub complaints: Vec<String>,
    /// What `banshi archive` has in its packages, where one was at work.
    pub archived: Option<Vec<Archived>>,
    /// What was measured.
    pub bounds: Vec<Bound>,
    /// Whether `report.failed` is an end that a job may come to in this experiment.
    pub may_fail: bool,
    /// Whether workers of two builds were at work, of which each has words of its own for a problem.
    pub two_builds: bool,
}

/// What kind of promise is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A job, a result or an event is not there.
    Lost,
    /// Bytes differ from what they must be.
    WrongBytes,
    /// Something is left on the way.
    Stranded,
    /// Two ends of one job, or two truths about it.
    Conflicting,
    /// The processes do not behave: exit codes, consumers, the broker's complaints.
    Disorder,
}

/// A promise that is broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub kind: Kind,
    /// What was seen.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.what)
    }
}

/// What the judge found.
#[derive(Debug, Clone, Default)]
pub struct Verdict {
    /// Jobs with a result.
    pub completed: usize,
    /// Jobs that were rejected.
    pub rejected: usize,
    /// Jobs whose attempts were used up.
    pub failed: usize,
    /// Events beyond the first of their id: allowed, and counted.
    pub repeats: usize,
    /// What is broken.
    pub violations: Vec<Violation>,
}

impl Verdict {
    /// How many promises of a kind are broken.
    pub fn count(&self, kind: Kind) -> usize {
        self.violations.iter().filter(|v| v.kind == kind).count()
    }

    fn object(&mut self, kind: Kind, what: impl Into<String>) {
        self.violations.push(Violation {
            kind,
            what: what.into(),
        });
    }
}

/// An event, read.
struct Event<'a> {
    kind: &'a str,
    /// `job_id`, or nothing where a job had none.
    subject: Option<&'a str>,
    json: &'a Value,
    stored_when_heard: bool,
}

/// Judges.
pub fn judge(seen: &Observation) -> Verdict {
    let mut verdict = Verdict::default();
    let bodies = read_events(seen, &mut verdict);
    let events: Vec<Event> = bodies
        .iter()
        .filter_map(|(json, stored_when_heard)| {
            Some(Event {
                kind: json["type"].as_str()?,
                subject: json["subject"].as_str(),
                json,
                stored_when_heard: *stored_when_heard,
            })
        })
        .collect();
    judge_repeats(&events, seen.two_builds, &mut verdict);
    judge_completed(seen, &events, &mut verdict);
    judge_store(seen, &mut verdict);
    judge_jobs(seen, &events, &mut verdict);
    judge_dead(seen, &mut verdict);
    judge_archived(seen, &mut verdict);
    judge_order(seen, &mut verdict);
    verdict
}

fn read_events(seen: &Observation, verdict: &mut Verdict) -> Vec<(Value, bool)> {
    let mut read = Vec::new();
    for received in &seen.events {
        match serde_json::from_slice::<Value>(&received.body) {
            Ok(json) if json["id"].is_string() && json["type"].is_string() => {
                read.push((json, received.stored_when_heard));
            }
            _ => verdict.object(
                Kind::WrongBytes,
                format!(
                    "an event is none: {}",
                    String::from_utf8_lossy(&received.body)
                ),
            ),
        }
    }
    read
}

/// All events of an id are the same. A completed one to the byte, because it is made from the
/// manifest; the time of the others is when they were published, and another build may say the same
/// problems in other words.
fn judge_repeats(events: &[Event], two_builds: bool, verdict: &mut Verdict) {
    let mut first: BTreeMap<&str, Value> = BTreeMap::new();
    let mut completed: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for event in events {
        let id = event.json["id"].as_str().unwrap_or_default();
        let mut says = event.json.clone();
        if event.kind != "report.completed" {
            says["time"] = Value::Null;
            let problems = says.pointer_mut("/data/problems").filter(|_| two_builds);
            for problem in problems.and_then(Value::as_array_mut).into_iter().flatten() {
                problem["message"] = Value::Null;
                problem["message_zh"] = Value::Null;
            }
        } else if let Some(subject) = event.subject {
            completed.entry(subject).or_default().insert(id);
        }
        match first.get(id) {
            None => drop(first.insert(id, says)),
            Some(before) => {
                verdict.repeats += 1;
                if *before != says {
                    verdict.object(
                        Kind::Conflicting,
                        format!("event {id} says two things: {before} and {says}"),
                    );
                }
            }
        }
    }
    for (subject, ids) in completed {
        if ids.len() > 1 {
            verdict.object(
                Kind::Conflicting,
                format!("{subject} was completed under {} ids: {ids:?}", ids.len()),
            );
        }
    }
}

/// What is published as stored is stored, was so when it was published, and is what was published.
fn judge_completed(seen: &Observation, events: &[Event], verdict: &mut Verdict) {
    let mut judged = BTreeSet::new();
    for event in events.iter().filter(|e| e.kind == "report.completed") {
        let job_id = event.subject.unwrap_or_default();
        if !event.stored_when_heard {
            verdict.object(
                Kind::Lost,
                format!("{job_id} was said to be completed before its manifest was stored"),
            );
        }
        if !judged.insert(event.json.to_string()) {
            continue;
        }
        let data = &event.json["data"];
        let key = format!(
            "{}/{}/{job_id}",
            data["template"].as_str().unwrap_or_default(),
            data["year"]
        );
        let Some(manifest) = manifest(seen, &key) else {
            verdict.object(
                Kind::Lost,
                format!("{job_id} is said to be completed and has no manifest"),
            );
            continue;
        };
        for field in ["sha256", "bytes", "uri", "pages"] {
            if data["artifact"][field] != manifest["artifact"][field] {
                verdict.object(
                    Kind::WrongBytes,
                    format!("{job_id}: event and manifest differ in artifact.{field}"),
                );
            }
        }
        if event.json["time"] != manifest["completed_at"] {
            verdict.object(
                Kind::WrongBytes,
                format!("{job_id}: the event's time is not the manifest's"),
            );
        }
    }
}

fn manifest<'a>(seen: &'a Observation, key: &str) -> Option<&'a Value> {
    seen.store.get(&format!("{key}.json"))?.manifest.as_ref()
}

/// Every object belongs to a job, every pair is whole, every digest is right.
fn judge_store(seen: &Observation, verdict: &mut Verdict) {
    let keys: BTreeSet<&str> = seen.sent.iter().filter_map(|s| s.key.as_deref()).collect();
    for (path, object) in &seen.store {
        let stem = path.strip_suffix(".pdf").or(path.strip_suffix(".json"));
        let stem = stem.or(path.strip_suffix(".pdf.p7s"));
        let Some(key) = stem.filter(|stem| keys.contains(stem)) else {
            verdict.object(Kind::Stranded, format!("{path} in the store is no job's"));
            continue;
        };
        if path.ends_with(".json") {
            if object.manifest.is_none() {
                verdict.object(Kind::WrongBytes, format!("{path} is no manifest"));
            }
            if !seen.store.contains_key(&format!("{key}.pdf")) {
                verdict.object(Kind::Lost, format!("{path} has no PDF beside it"));
            }
            continue;
        }
        if path.ends_with(".p7s") {
            let named = manifest(seen, key).map(|manifest| &manifest["companions"]);
            let named = named.and_then(Value::as_array).into_iter().flatten();
            if !named
                .into_iter()
                .any(|it| it["sha256"] == object.sha256.as_str())
            {
                verdict.object(Kind::Stranded, format!("{path} is named by no manifest"));
            }
            continue;
        }
        if let Some(damage) = &object.damage {
            verdict.object(Kind::WrongBytes, format!("{path}: {damage}"));
        }
        match manifest(seen, key) {
            None => verdict.object(Kind::Stranded, format!("{path} has no manifest")),
            Some(manifest) => {
                let stated = &manifest["artifact"];
                if stated["sha256"] != object.sha256.as_str() || stated["bytes"] != object.bytes {
                    verdict.object(
                        Kind::WrongBytes,
                        format!("{path} is not what its manifest names"),
                    );
                }
            }
        }
        if let Some(rendered) = seen.rendered.get(path)
            && *rendered != object.sha256
        {
            verdict.object(
                Kind::WrongBytes,
                format!("{path} is not what `banshi render` makes of the job"),
            );
        }
    }
}

/// Every job has ended, in one way.
fn judge_jobs(seen: &Observation, events: &[Event], verdict: &mut Verdict) {
    let dead: BTreeSet<(&str, &str)> = seen
        .dead
        .iter()
        .map(|dead| (dead.body.as_str(), dead.code.as_str()))
        .collect();
    // After hours of the soak there are a hundred thousand of each.
    let mut by_id: BTreeMap<&str, Vec<&Event>> = BTreeMap::new();
    for event in events {
        let id = event.json["id"].as_str().unwrap_or_default();
        by_id.entry(id).or_default().push(event);
    }
    let mut judged = BTreeSet::new();
    let mut thrown_away = seen.thrown_away;
    for sent in &seen.sent {
        let name = sent.job_id.as_deref().unwrap_or("(no job_id)");
        if !judged.insert((name, &sent.content, &sent.body)) {
            continue;
        }
        let published = |kind: &str, id: &str| {
            let published = by_id.get(id).into_iter().flatten().copied();
            published
                .filter(|event| event.kind == kind && event.subject == sent.job_id.as_deref())
                .collect::<Vec<_>>()
        };
        let rejected_with = |code: &str| {
            published("report.rejected", &sent.ends.rejected)
                .iter()
                .any(|event| {
                    let problems = event.json["data"]["problems"].as_array();
                    problems.is_some_and(|all| all.iter().any(|problem| problem["code"] == code))
                })
        };
        let died_of: Vec<&str> = dead
            .iter()
            .filter(|(body, _)| *body == sent.body)
            .map(|(_, code)| *code)
            .collect();
        let theirs = sent.key.as_deref().and_then(|key| manifest(seen, key));
        let stored = theirs.map(|manifest| manifest["job"]["sha256"] == sent.content.as_str());

        let want = match (&sent.want, stored) {
            (Want::Rejection(code), _) => Some(code.as_str()),
            // Its id was used before, with other content.
            (Want::Result, Some(false)) => Some("E-CONFLICT"),
            (Want::Result, _) => None,
        };
        if let Some(code) = want {
            verdict.rejected += 1;
            if stored == Some(true) {
                verdict.object(
                    Kind::Conflicting,
                    format!("{name} was to be refused with {code} and is stored"),
                );
            }
            let is_kept_as = |died: &&str| *died == code || *died == REJECTED && code == "E-JSON";
            if died_of.is_empty() && thrown_away > 0 {
                thrown_away -= 1;
            } else if !died_of.iter().any(is_kept_as) {
                verdict.object(
                    Kind::Lost,
                    format!(
                        "{name} was to be refused with {code} and is not in the dead queue with \
                         it: {died_of:?}"
                    ),
                );
            }
            if !died_of.iter().all(is_kept_as) {
                verdict.object(
                    Kind::Conflicting,
                    format!("{name} was to be refused with {code} only: {died_of:?}"),
                );
            }
            if !rejected_with(code) {
                verdict.object(
                    Kind::Lost,
                    format!("{name} was refused with {code} and no event was published"),
                );
            }
            continue;
        }
        if stored == Some(true) {
            verdict.completed += 1;
            if published("report.completed", &sent.ends.completed).is_empty() {
                verdict.object(
                    Kind::Lost,
                    format!("{name} is stored and no event was published"),
                );
            }
            if !died_of.is_empty() {
                verdict.object(
                    Kind::Conflicting,
                    format!("{name} is stored and in the dead queue: {died_of:?}"),
                );
            }
            for (kind, id) in [
                ("report.rejected", &sent.ends.rejected),
                ("report.failed", &sent.ends.failed),
            ] {
                if !published(kind, id).is_empty() {
                    verdict.object(
                        Kind::Conflicting,
                        format!("{name} is stored and was published as {kind}, too"),
                    );
                }
            }
            continue;
        }
        let failed = !published("report.failed", &sent.ends.failed).is_empty();
        match (died_of.is_empty(), failed) {
            (false, true) if seen.may_fail => verdict.failed += 1,
            (false, _) => verdict.object(
                Kind::Conflicting,
                format!("{name} is good and in the dead queue: {died_of:?}"),
            ),
            (true, true) => verdict.object(
                Kind::Lost,
                format!("{name} is said to have failed and is not in the dead queue"),
            ),
            (true, false) => verdict.object(Kind::Lost, format!("{name} has come to no end")),
        }
    }
}

/// Nothing is in the dead queue that was not sent.
fn judge_dead(seen: &Observation, verdict: &mut Verdict) {
    let sent: BTreeSet<&str> = seen.sent.iter().map(|sent| sent.body.as_str()).collect();
    for dead in &seen.dead {
        if !sent.contains(dead.body.as_str()) {
            verdict.object(
                Kind::WrongBytes,
                format!("a dead job ({}) is none that was sent", dead.code),
            );
        }
    }
}

/// What is stored is in the archive once, as it is stored, and nothing else is.
fn judge_archived(seen: &Observation, verdict: &mut Verdict) {
    let Some(archived) = &seen.archived else {
        return;
    };
    let mut found: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for report in archived {
        found.entry(&report.key).or_default().push(&report.sha256);
    }
    for (path, object) in &seen.store {
        let Some(key) = path.strip_suffix(".pdf") else {
            continue;
        };
        let copies = found.remove(key).unwrap_or_default();
        match &copies[..] {
            [] => verdict.object(Kind::Lost, format!("{key} is not archived")),
            [copy] if *copy == object.sha256 => {}
            [_] => verdict.object(
                Kind::WrongBytes,
                format!("{key} is archived otherwise than it is stored"),
            ),
            copies => verdict.object(
                Kind::Conflicting,
                format!("{key} is archived {} times", copies.len()),
            ),
        }
    }
    for key in found.into_keys() {
        verdict.object(Kind::Stranded, format!("{key} is archived and not stored"));
    }
}

/// Queues are empty, consumers are those of the workers, workers leave well.
fn judge_order(seen: &Observation, verdict: &mut Verdict) {
    for (queue, depth) in &seen.queues {
        if depth.ready + depth.unacked > 0 {
            verdict.object(
                Kind::Stranded,
                format!("{queue} has {} ready, {} held", depth.ready, depth.unacked),
            );
        }
        if seen.lanes.contains(queue) && depth.consumers != seen.workers {
            verdict.object(
                Kind::Disorder,
                format!(
                    "{queue} has {} consumers, and {} workers live",
                    depth.consumers, seen.workers
                ),
            );
        }
    }
    for exit in seen.exits.iter().filter(|exit| **exit != Some(0)) {
        verdict.object(
            Kind::Disorder,
            format!("a worker that was asked to leave ended with {exit:?}"),
        );
    }
    for complaint in &seen.complaints {
        verdict.object(Kind::Disorder, format!("the broker: {complaint}"));
    }
    for Bound { what, seen, most } in &seen.bounds {
        if seen > most {
            verdict.object(Kind::Disorder, format!("{what}: {seen}, at most {most}"));
        }
    }
}

//! The judge judged: to an observation in which all is well it has nothing to object, and to the
//! same with one thing wrong it objects, of the right kind.

use serde_json::json;

use crate::judge::{
    Archived, Bound, Dead, Depth, Ends, Kind, Object, Observation, REJECTED, ReceivedEvent, Sent,
    Want, judge,
};

/// One good job, one that was refused, one whose id was used before, and one that nobody can read.
fn sound() -> Observation {
    let key = "annual-report/2021/2023/good";
    let manifest = json!({
        "job": {"sha256": "content", "bytes": 5},
        "artifact": {"uri": "file:///good.pdf", "sha256": "pdf", "bytes": 7, "pages": 1},
        "completed_at": "2026-01-01T00:00:00Z",
    });
    let received = |event: serde_json::Value| ReceivedEvent {
        body: event.to_string().into_bytes(),
        stored_when_heard: true,
    };
    let sent = |name: &str, content: &str, id: &str, want: Want| Sent {
        ends: Ends {
            completed: id.to_owned(),
            rejected: id.to_owned(),
            failed: id.to_owned(),
        },
        job_id: Some(name.to_owned()),
        key: (want == Want::Result).then(|| key.to_owned()),
        content: content.to_owned(),
        body: format!("body of {content}"),
        want,
    };
    let object = |sha256: &str, manifest| Object {
        sha256: sha256.to_owned(),
        bytes: 7,
        manifest,
        damage: None,
    };
    let refused = |id: &str, subject: &str, code: &str| {
        received(
            json!({"id": id, "type": "report.rejected", "subject": subject, "time": id,
            "data": {"problems": [{"code": code, "message": "no", "message_zh": "否"}]}}),
        )
    };
    let idle = Depth {
        ready: 0,
        unacked: 0,
        consumers: 2,
    };
    Observation {
        sent: vec![
            sent("good", "content", "1", Want::Result),
            sent("bad", "bad", "2", Want::Rejection("E-SCHEMA".to_owned())),
            sent("good", "other content", "3", Want::Result),
            sent("worse", "worse", "4", Want::Rejection("E-JSON".to_owned())),
        ],
        events: vec![
            received(
                json!({"id": "1", "type": "report.completed", "subject": "good",
                "time": "2026-01-01T00:00:00Z",
                "data": {"template": "annual-report/2021", "year": 2023,
                    "artifact": {"uri": "file:///good.pdf", "sha256": "pdf", "bytes": 7,
                        "pages": 1}}}),
            ),
            refused("2", "bad", "E-SCHEMA"),
            refused("3", "good", "E-CONFLICT"),
            refused("4", "worse", "E-JSON"),
        ],
        store: [
            (format!("{key}.json"), object("json", Some(manifest))),
            (format!("{key}.pdf"), object("pdf", None)),
        ]
        .into(),
        rendered: [(format!("{key}.pdf"), "pdf".to_owned())].into(),
        dead: vec![
            Dead {
                body: "body of bad".to_owned(),
                code: "E-SCHEMA".to_owned(),
            },
            Dead {
                body: "body of other content".to_owned(),
                code: "E-CONFLICT".to_owned(),
            },
            Dead {
                body: "body of worse".to_owned(),
                code: REJECTED.to_owned(),
            },
        ],
        queues: [("jobs.bulk".to_owned(), idle)].into(),
        lanes: ["jobs.bulk".to_owned()].into(),
        workers: 2,
        exits: vec![Some(0), Some(0)],
        complaints: Vec::new(),
        thrown_away: 0,
        archived: Some(vec![Archived {
            key: key.to_owned(),
            sha256: "pdf".to_owned(),
        }]),
        bounds: vec![Bound {
            what: "sessions lost".to_owned(),
            seen: 1,
            most: 1,
        }],
        may_fail: false,
        two_builds: false,
    }
}

const PDF: &str = "annual-report/2021/2023/good.pdf";
const MANIFEST: &str = "annual-report/2021/2023/good.json";

type Spoil = fn(&mut Observation);

/// Each with one thing wrong.
const WRONG: [(&str, Kind, Spoil); 39] = [
    ("a result is gone", Kind::Lost, |it| it.store.clear()),
    ("a PDF is gone", Kind::Lost, |it| {
        it.store.remove(PDF);
    }),
    ("a manifest is gone", Kind::Lost, |it| {
        it.store.remove(MANIFEST);
    }),
    ("its PDF stays alone", Kind::Stranded, |it| {
        it.store.remove(MANIFEST);
    }),
    ("a result is not archived", Kind::Lost, |it| {
        archived(it).clear();
    }),
    ("a result is archived twice", Kind::Conflicting, |it| {
        let again = archived(it)[0].clone();
        archived(it).push(again);
    }),
    ("other bytes are archived", Kind::WrongBytes, |it| {
        archived(it)[0].sha256 = "other".to_owned();
    }),
    ("what is not stored is archived", Kind::Stranded, |it| {
        let mut other = archived(it)[0].clone();
        other.key += "-2";
        archived(it).push(other);
    }),
    ("an event is gone", Kind::Lost, |it| {
        it.events.remove(0);
    }),
    ("a rejection was not published", Kind::Lost, |it| {
        it.events.remove(1);
    }),
    ("a conflict was not published", Kind::Lost, |it| {
        it.events.remove(2);
    }),
    ("a refused job was not kept", Kind::Lost, |it| {
        it.dead.remove(0);
    }),
    ("a conflicting job was not kept", Kind::Lost, |it| {
        it.dead.remove(1);
    }),
    ("more was not kept than was thrown away", Kind::Lost, |it| {
        it.thrown_away = 1;
        it.dead.drain(..2);
    }),
    (
        "a job was refused for another reason",
        Kind::Conflicting,
        |it| {
            it.dead[0].code = "E-JSON".to_owned();
        },
    ),
    ("a refused job was kept without a code", Kind::Lost, |it| {
        it.dead[0].code = REJECTED.to_owned();
    }),
    (
        "the broker gave up on an unreadable job",
        Kind::Lost,
        |it| {
            it.dead[2].code = "delivery_limit".to_owned();
        },
    ),
    ("a stored job was rejected, too", Kind::Conflicting, |it| {
        contradict(it, "report.rejected");
    }),
    ("a stored job failed, too", Kind::Conflicting, |it| {
        contradict(it, "report.failed");
    }),
    ("a dead job's bytes were changed", Kind::WrongBytes, |it| {
        it.dead[0].body = "other".to_owned();
    }),
    ("an event came before its manifest", Kind::Lost, |it| {
        it.events[0].stored_when_heard = false;
    }),
    ("an event is no JSON", Kind::WrongBytes, |it| {
        it.events[0].body.truncate(20);
    }),
    ("a repeat says something else", Kind::Conflicting, |it| {
        repeat(it, "/data/artifact/pages", json!(2));
    }),
    (
        "a rejection is repeated in other words",
        Kind::Conflicting,
        |it| {
            say_again(it, "/data/problems/0/message");
        },
    ),
    (
        "a rejection is repeated by another build with another code",
        Kind::Conflicting,
        |it| {
            it.two_builds = true;
            say_again(it, "/data/problems/0/code");
        },
    ),
    ("a repeat has another id", Kind::Conflicting, |it| {
        repeat(it, "/id", json!("1b"));
    }),
    ("the event names other bytes", Kind::WrongBytes, |it| {
        change(it, "/data/artifact/sha256", json!("else"));
    }),
    ("the event has a time of its own", Kind::WrongBytes, |it| {
        change(it, "/time", json!("2026-01-02T00:00:00Z"));
    }),
    ("the PDF was changed", Kind::WrongBytes, |it| {
        object(it, PDF).sha256 = "else".to_owned();
    }),
    ("the PDF does not open", Kind::WrongBytes, |it| {
        object(it, PDF).damage = Some("it ends early".to_owned());
    }),
    ("the PDF is another job's", Kind::WrongBytes, |it| {
        it.rendered.insert(PDF.to_owned(), "else".to_owned());
    }),
    ("the manifest is half written", Kind::WrongBytes, |it| {
        object(it, MANIFEST).manifest = None;
    }),
    ("a staged file is left", Kind::Stranded, |it| {
        let staged = it.store[PDF].clone();
        it.store.insert(format!("{PDF}#1"), staged);
    }),
    ("a good job is in the dead queue", Kind::Conflicting, |it| {
        it.dead[0].body = "body of content".to_owned();
    }),
    ("a message is left in a queue", Kind::Stranded, |it| {
        depth(it).ready = 1;
    }),
    ("a message is held by nobody", Kind::Stranded, |it| {
        depth(it).unacked = 1;
    }),
    ("a consumer has no worker", Kind::Disorder, |it| {
        depth(it).consumers = 3;
    }),
    ("a worker did not leave well", Kind::Disorder, |it| {
        it.exits[1] = None;
    }),
    ("a measure is beyond its bound", Kind::Disorder, |it| {
        it.bounds[0].seen = 2;
    }),
];

/// Has a rejection published again, with something else in this place.
fn say_again(it: &mut Observation, pointer: &str) {
    let mut again = it.events[1].clone();
    let mut event: serde_json::Value =
        serde_json::from_slice(&again.body).expect("an event is JSON");
    *event.pointer_mut(pointer).expect("there is such a field") = json!("else");
    again.body = event.to_string().into_bytes();
    it.events.push(again);
}

fn repeat(it: &mut Observation, pointer: &str, value: serde_json::Value) {
    let first = it.events[0].clone();
    change(it, pointer, value);
    it.events.push(first);
}

/// What is in the archive's packages.
fn archived(it: &mut Observation) -> &mut Vec<Archived> {
    it.archived.get_or_insert_default()
}

/// Has the good job come to another end, too. (Its three ends have one id here, which no two events
/// share that say different things.)
fn contradict(it: &mut Observation, kind: &str) {
    let other = json!({"id": "1c", "type": kind, "subject": "good", "data": {"problems": []}});
    it.sent[0].ends.rejected = "1c".to_owned();
    it.sent[0].ends.failed = "1c".to_owned();
    it.events.push(ReceivedEvent {
        body: other.to_string().into_bytes(),
        stored_when_heard: true,
    });
}

fn change(it: &mut Observation, pointer: &str, value: serde_json::Value) {
    let mut event: serde_json::Value =
        serde_json::from_slice(&it.events[0].body).expect("an event is JSON");
    *event.pointer_mut(pointer).expect("there is such a field") = value;
    it.events[0].body = event.to_string().into_bytes();
}

fn object<'a>(it: &'a mut Observation, path: &str) -> &'a mut Object {
    it.store.get_mut(path).expect("there is such an object")
}

fn depth(it: &mut Observation) -> &mut Depth {
    it.queues
        .get_mut("jobs.bulk")
        .expect("there is such a queue")
}

/// Holds the judge to all of them; gives their number.
pub fn hold() -> Result<usize, String> {
    let verdict = judge(&sound());
    if !verdict.violations.is_empty() {
        return Err(format!(
            "nothing is wrong, and still: {:?}",
            verdict.violations
        ));
    }
    if (verdict.completed, verdict.rejected) != (1, 3) {
        return Err(format!("one completed and three rejected, not {verdict:?}"));
    }
    let mut two_builds = sound();
    two_builds.two_builds = true;
    say_again(&mut two_builds, "/data/problems/0/message");
    let verdict = judge(&two_builds);
    if !verdict.violations.is_empty() {
        return Err(format!(
            "two builds used words of their own: {:?}",
            verdict.violations
        ));
    }
    for (what, kind, spoil) in WRONG {
        let mut seen = sound();
        spoil(&mut seen);
        let verdict = judge(&seen);
        if verdict.count(kind) == 0 {
            return Err(format!("{what}: no {kind:?} in {:?}", verdict.violations));
        }
    }
    Ok(WRONG.len())
}

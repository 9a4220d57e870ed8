//! Whatever a sender puts into a message: the worker's connections stand, the jobs beside it are
//! completed, it alone is in the dead queue, as it was sent, with its reason, and `banshi dead`
//! gets past it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use banshi::job;
use banshi::problem::Code;
use serde_json::{Value, json};

use crate::support::deployment::{Deployment, amqp_url};
use crate::support::jobs::corpus;
use crate::support::raw_amqp::{Answer, RawAmqp, RawProperties};
use crate::support::{editions, settings};

/// The worker's log says this whenever it has lost its session.
const LOST: &str = "no jobs can come in";

fn good(id: &str) -> Vec<u8> {
    let mut job = corpus("zibo-bigdata-2020");
    job["job_id"] = json!(id);
    job.to_string().into_bytes()
}

/// Runs `banshi dead …`: its exit code, what it prints, what it says on standard error.
fn dead(deployment: &Deployment, arguments: &[&str]) -> (Option<i32>, Vec<u8>, String) {
    let arguments = [&["dead"], arguments].concat();
    let output = deployment.banshi(&arguments).output().expect("it starts");
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), output.stdout, err)
}

/// The dead queue as `banshi dead list --format json` has it, by id.
fn listed(deployment: &Deployment) -> BTreeMap<String, Value> {
    let (code, out, err) = dead(deployment, &["list", "--format", "json"]);
    assert_eq!(code, Some(0), "{err}");
    let lines = String::from_utf8(out).expect("UTF-8");
    let lines = lines.lines().map(|line| {
        let line: Value = serde_json::from_str(line).expect("JSON");
        (line["id"].as_str().expect("an id").to_owned(), line)
    });
    lines.collect()
}

fn ids<T>(of: &BTreeMap<String, T>) -> BTreeSet<&str> {
    of.keys().map(String::as_str).collect()
}

/// A message that must be refused for something around its body.
struct Poison {
    /// Its id in the dead queue.
    id: &'static str,
    properties: RawProperties,
    body: Vec<u8>,
    /// Of the reason that is told.
    says: &'static str,
    /// A piece of the message that nothing may have touched.
    untouched: Vec<u8>,
}

/// One of each kind, around a job that would be completed.
fn poisons(frame_max: usize) -> Vec<Poison> {
    let json = RawProperties::json;
    let poison = |id, properties, says, untouched: &[u8]| Poison {
        id,
        properties,
        body: good(id),
        says,
        untouched: untouched.to_vec(),
    };
    // The innermost two of arrays inside each other.
    let innermost = b"A\0\0\0\x05A\0\0\0\0";
    // 「济宁」 in GBK.
    let gbk = b"\xbc\xc3\xc4\xfe-2024";
    let mut no_json = poison(
        "headers-fill-the-frame",
        json()
            .message_id(b"headers-fill-the-frame")
            .text(b"baggage", &vec![b'k'; frame_max - 200]),
        "half a frame",
        &vec![b'k'; frame_max - 200],
    );
    no_json.body = b"{".to_vec();
    vec![
        poison(
            "nested-3000",
            json().message_id(b"nested-3000").nested(b"deep", 3000),
            "nested deeper than 32",
            innermost,
        ),
        poison(
            "nested-25000",
            json().message_id(b"nested-25000").nested(b"deep", 25_000),
            "nested deeper than 32",
            innermost,
        ),
        poison(
            "header-name-not-utf8",
            json()
                .message_id(b"header-name-not-utf8")
                .text(b"\xbb\xfa\xb9\xd8", b"x"),
            "is not UTF-8 (its bytes begin with bb fa b9 d8)",
            b"\xbb\xfa\xb9\xd8",
        ),
        poison(
            "correlation-not-utf8",
            json()
                .message_id(b"correlation-not-utf8")
                .correlation_id(b"\xff"),
            "correlation_id is not UTF-8 (its bytes begin with ff)",
            b"\x01\xff",
        ),
        // Its job can be read, and is known by that.
        poison(
            "message-id-not-utf8",
            json().message_id(gbk),
            "message_id is not UTF-8 (its bytes begin with bc c3",
            gbk,
        ),
        no_json,
    ]
}

fn contains(bytes: &[u8], piece: &[u8]) -> bool {
    bytes.windows(piece.len()).any(|window| window == piece)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_cannot_be_read_harms_nobody_and_is_dead_lettered_as_it_was_sent() {
    let deployment = Deployment::amqp().await;
    let worker = deployment.worker();
    deployment
        .until("the worker is connected", async |_| {
            worker.log().contains(" jobs can come in")
        })
        .await;
    let lost = worker.log().matches(LOST).count();

    let mut sender = RawAmqp::connect(&amqp_url());
    let jobs = deployment.name("jobs");
    let poisons = poisons(sender.frame_max);
    for (number, poison) in poisons.iter().enumerate() {
        for beside in ["before", "after"] {
            let id = format!("{beside}-{number}");
            if beside == "after" {
                let said = sender.publish(&jobs, b"bulk", &poison.properties, &poison.body);
                assert_eq!(said, Answer::Confirmed, "{}", poison.id);
            }
            let properties = RawProperties::json().message_id(id.as_bytes());
            let said = sender.publish(&jobs, b"bulk", &properties, &good(&id));
            assert_eq!(said, Answer::Confirmed);
        }
    }
    // A routing key that is not UTF-8 says nothing of the job.
    let lane = RawProperties::json().header(b"CC", b"A\0\0\0\x09S\0\0\0\x04bulk");
    let said = sender.publish(&jobs, b"\xff\xfe", &lane, &good("key-not-utf8"));
    assert_eq!(said, Answer::Confirmed);
    let (goods, bads) = (2 * poisons.len() + 1, poisons.len());
    deployment
        .until("all are done", async |it| {
            let told = it.ready("heard").await; // after the file, and before the job is acknowledged
            it.store().len() == 2 * goods && it.ready("dead").await == bads && told >= goods + bads
        })
        .await;
    assert_eq!(worker.log().matches(LOST).count(), lost, "no session lost");

    // Each is told of, under its id, for the right reason.
    let events = deployment.events().await;
    for poison in &poisons {
        let of_it: Vec<_> = events
            .iter()
            .filter(|event| event["subject"] == poison.id)
            .collect();
        let [event] = of_it[..] else {
            panic!("{}: {of_it:?}", poison.id)
        };
        assert_eq!(event["type"], "report.rejected", "{}", poison.id);
        let problems = event["data"]["problems"].as_array().expect("problems");
        let problem = problems.iter().find(|it| {
            it["message"]
                .as_str()
                .is_some_and(|it| it.contains(poison.says))
        });
        let problem = problem.unwrap_or_else(|| panic!("{}: {problems:?}", poison.id));
        assert_eq!(problem["code"], "E-JSON");
        assert!(
            problem["message_zh"]
                .as_str()
                .is_some_and(|zh| !zh.is_ascii())
        );
        // Whatever else is wrong is told, too: with the job, or with the size of the headers.
        let more = ["headers-fill-the-frame", "nested-25000"].contains(&poison.id);
        assert_eq!(problems.len(), 1 + usize::from(more), "{problems:?}");
    }
    let completed = |event: &&Value| event["type"] == "report.completed";
    assert_eq!(events.iter().filter(completed).count(), goods);

    // The operator sees them all, and why.
    let list = listed(&deployment);
    assert_eq!(list.len(), bads, "{list:?}");
    let digest = |poison: &Poison| format!("sha256:{}", banshi::digest::sha256(&poison.body));
    let dead_id = |poison: &Poison| match poison.id {
        "message-id-not-utf8" => digest(poison),
        id => id.to_owned(),
    };
    for poison in &poisons {
        let line = &list[&dead_id(poison)];
        assert_eq!(
            (&line["code"], &line["event"]),
            (&json!("E-JSON"), &json!("report.rejected"))
        );
        assert!(
            line["message"]
                .as_str()
                .is_some_and(|it| it.contains(poison.says)),
            "{line}"
        );
        assert_eq!(line["lane"], "bulk");
        assert!(line["buried_at"].is_string(), "{line}");
        let (code, body, err) = dead(&deployment, &["show", &dead_id(poison)]);
        assert_eq!((code, &body), (Some(0), &poison.body), "{err}");
    }

    // What would be sent is not what was sent: that is refused for each, and said.
    let (code, out, err) = dead(&deployment, &["replay", "--all"]);
    assert_eq!((code, &out[..]), (Some(3), &b""[..]), "{err}");
    for poison in &poisons {
        assert!(
            err.contains(&format!("not replayed: {}", dead_id(poison))),
            "{err}"
        );
    }
    assert_eq!(ids(&listed(&deployment)), ids(&list), "nothing was done");
    let (code, out, err) = dead(&deployment, &["drop", "nested-25000"]);
    let out = String::from_utf8_lossy(&out).into_owned();
    assert_eq!(
        (code, &out[..]),
        (Some(0), "dropped nested-25000\n"),
        "{err}"
    );

    // The originals.
    let mut left: Vec<_> = poisons
        .iter()
        .filter(|it| it.id != "nested-25000")
        .collect();
    while let Some(message) = sender.get(&deployment.name("dead")) {
        let place = left.iter().position(|poison| {
            poison.body == message.body && contains(&message.properties, &poison.untouched)
        });
        left.remove(place.expect("a message that was sent, as it was sent"));
    }
    assert_eq!(
        left.iter().map(|it| it.id).collect::<Vec<_>>(),
        Vec::<&str>::new()
    );
    assert_eq!(worker.stop(), Some(0));
    assert_eq!(deployment.left().await, Vec::<String>::new());
    deployment.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_large_is_never_held() {
    const BODIES: usize = 16;
    let deployment = Deployment::amqp().await;
    let worker = deployment.worker();
    let mut sender = RawAmqp::connect(&amqp_url());
    let jobs = deployment.name("jobs");
    // As large as RabbitMQ 4 takes them, together more than the worker may have; larger ones would
    // hold up the other tests at this broker, and are E24's.
    let size = 16_000_000;
    let body = |number: usize, size| vec![b'a' + u8::try_from(number).expect("a letter"); size];
    let started = Instant::now();
    for number in 0..BODIES {
        let id = format!("large-{number}");
        let mut properties = RawProperties::json();
        if number > 0 {
            properties = properties.message_id(id.as_bytes());
        }
        let said = sender.publish(&jobs, b"bulk", &properties, &body(number, size));
        assert_eq!(said, Answer::Confirmed);
    }
    let said = sender.publish(&jobs, b"bulk", &RawProperties::json(), &good("small"));
    assert_eq!(said, Answer::Confirmed);
    deployment
        .until("all are done", async |it| {
            it.store().len() == 2 && it.ready("dead").await == BODIES
        })
        .await;
    let most = worker.most_memory();
    println!(
        "{BODIES} × {size}: {:?}, {most} KiB at most",
        started.elapsed()
    );
    assert!(most < 200_000, "{most} KiB");

    let digest = format!("sha256:{}", banshi::digest::sha256(&body(0, size)));
    let events = deployment.events().await;
    assert_eq!(events.len(), BODIES + 1);
    for number in 1..BODIES {
        let id = format!("large-{number}");
        let event = events.iter().find(|event| event["subject"] == id.as_str());
        let problems = &event.expect("its event")["data"]["problems"];
        assert_eq!(problems[0]["code"], "E-JSON");
        assert_eq!(problems[0]["actual"], size.to_string());
        assert_eq!(problems.as_array().map(Vec::len), Some(1));
    }
    let list = listed(&deployment);
    assert_eq!(list.len(), BODIES);
    let line = &list[&digest];
    assert_eq!(line["code"], "E-JSON");
    let message = line["message"].as_str().expect("a reason");
    assert!(
        message.contains(&format!("the job has {size} bytes")),
        "{message}"
    );

    // What a command can hold it shows and sends again; a larger one stays.
    let fits = size <= banshi::transport::LARGEST;
    let (code, out, err) = dead(&deployment, &["show", "large-5"]);
    let want = if fits { body(5, size) } else { Vec::new() };
    assert!((code, out) == (Some(0), want), "{err}");
    let (code, _, err) = dead(&deployment, &["replay", "large-5"]);
    assert_eq!(code, Some(if fits { 0 } else { 3 }), "{err}");
    let (code, _, err) = dead(&deployment, &["drop", "--all"]);
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(worker.stop(), Some(0));
    deployment.remove().await;
}

#[test]
fn a_job_that_cannot_be_read_is_known_by_its_message_id() {
    let limits = settings().limits;
    let of = |body: &[u8], message_id| {
        let refusal = job::read(body, message_id, &limits, &editions()).expect_err("no job");
        (
            refusal.identity.job_id,
            refusal.rejection.problems()[0].code,
        )
    };
    let large = vec![b' '; limits.job_bytes + 1];
    for body in [&b"\x1f\x8b\x08"[..], b"{", b"", &large] {
        let known = of(body, Some("zipped-2024"));
        assert_eq!(known, (Some("zipped-2024".to_owned()), Code::JSON));
        for no_id in [None, Some(""), Some("../x"), Some("a b"), Some("-a")] {
            assert_eq!(of(body, no_id), (None, Code::JSON), "{no_id:?}");
        }
    }
}

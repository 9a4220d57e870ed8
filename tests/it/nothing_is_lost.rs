//! Every job that was accepted ends in one stored result and its event, or in a rejection and
//! the dead queue with its body intact: over both transports, whatever is killed.

use std::collections::BTreeMap;

use banshi::digest::sha256;
use serde_json::{Value, json};

use crate::support::deployment::{Deployment, ask};
use crate::support::jobs::{BROKEN, Bad, CORPUS, bad, corpus};

/// The events by type and subject; a repeat must be the same to the byte.
fn by_job(events: &[Value]) -> BTreeMap<(String, String), &Value> {
    let mut found: BTreeMap<(String, String), &Value> = BTreeMap::new();
    for event in events {
        let kind = event["type"].as_str().expect("a type").to_owned();
        let subject = event["subject"].as_str().unwrap_or_default().to_owned();
        if let Some(earlier) = found.insert((kind.clone(), subject.clone()), event)
            && kind == "report.completed"
        {
            assert_eq!(earlier, event, "a repeat of {subject} says something else");
        }
    }
    found
}

fn key(job: &Value, end: &str) -> String {
    let text = |name: &str| job[name].as_str().expect("text").to_owned();
    format!(
        "{}/{}/{}.{end}",
        text("template"),
        job["data"]["year"],
        text("job_id")
    )
}

/// A good job's result: the PDF that its event and its manifest describe, and nothing else.
fn assert_completed(
    deployment: &Deployment,
    job: &Value,
    events: &BTreeMap<(String, String), &Value>,
) {
    let id = job["job_id"].as_str().expect("an id").to_owned();
    let event = events
        .get(&("report.completed".to_owned(), id.clone()))
        .unwrap_or_else(|| panic!("{id} was completed"));
    let (pdf, manifest) = (
        deployment.stored(&key(job, "pdf")),
        deployment.stored(&key(job, "json")),
    );
    let manifest: Value = serde_json::from_slice(&manifest).expect("a manifest is JSON");
    assert!(pdf.starts_with(b"%PDF-1.7"));
    for facts in [&event["data"], &manifest] {
        assert_eq!(facts["artifact"]["sha256"], json!(sha256(&pdf)), "{id}");
        assert_eq!(facts["artifact"]["bytes"], json!(pdf.len()), "{id}");
        assert_eq!(facts["agency"], job["data"]["agency"], "{id}");
        assert_eq!(facts["year"], job["data"]["year"], "{id}");
    }
    assert_eq!(event["time"], manifest["completed_at"]);
    assert_eq!(event["specversion"], json!("1.0"));
    assert_eq!(event["source"], json!("banshi"));
}

/// A bad job's end: its problems in an event, its body untouched in the dead queue.
fn assert_rejected(bad: &Bad, events: &[Value]) {
    let published = events
        .iter()
        .filter(|event| event["type"] == json!("report.rejected"))
        .any(|event| {
            event["data"]["problems"]
                .as_array()
                .expect("problems")
                .iter()
                .any(|problem| {
                    problem["code"] == json!(bad.code) && problem["path"] == json!(bad.path)
                })
                && (bad.path.is_empty()
                    || bad.path == "/job_id"
                    || event["subject"] == json!(bad.name))
        });
    assert!(
        published,
        "{}: {} at {:?} was published",
        bad.name, bad.code, bad.path
    );
}

/// The corpus and the bad jobs mixed, and the good one's id again with other content.
async fn mixed(deployment: Deployment) {
    let bad = bad();
    assert!(bad.len() >= 20);
    let mut bad_jobs = bad.iter();
    for name in CORPUS {
        for bad in bad_jobs.by_ref().take(3) {
            deployment.send(bad.name, &bad.body).await;
        }
        deployment
            .send(name, corpus(name).to_string().as_bytes())
            .await;
    }
    deployment.work_until_idle();
    let mut conflict = corpus("zibo-bigdata-2020");
    conflict["data"]["agency"] = json!("淄博市统计局");
    deployment
        .send("conflict", conflict.to_string().as_bytes())
        .await;
    deployment.work_until_idle();

    let events = deployment.events().await;
    let published = by_job(&events);
    let good: Vec<&str> = CORPUS.into_iter().filter(|name| *name != BROKEN).collect();
    for name in &good {
        assert_completed(&deployment, &corpus(name), &published);
    }
    bad.iter().for_each(|bad| assert_rejected(bad, &events));
    let rule = &published[&("report.rejected".to_owned(), BROKEN.to_owned())]["data"]["problems"];
    assert_eq!(rule.as_array().map(Vec::len), Some(1));
    assert_eq!(rule[0]["code"], json!("R-REVIEW"));
    let conflict_event =
        &published[&("report.rejected".to_owned(), "zibo-bigdata-2020".to_owned())];
    assert_eq!(
        conflict_event["data"]["problems"][0]["code"],
        json!("E-CONFLICT")
    );

    // Nothing twice: one event a job, one PDF and one manifest a good one.
    assert_eq!(events.len(), good.len() + bad.len() + 2);
    assert_eq!(
        deployment.store().len(),
        2 * good.len(),
        "{:?}",
        deployment.store()
    );
    // Nothing left on the way, and every bad body as it was sent.
    assert_eq!(deployment.left().await, Vec::<String>::new());
    let mut dead: Vec<(String, Vec<u8>)> = deployment
        .dead()
        .await
        .into_iter()
        .map(|dead| (dead.code, dead.body))
        .collect();
    let mut sent: Vec<(String, Vec<u8>)> = bad
        .into_iter()
        .map(|bad| (bad.code.to_owned(), bad.body))
        .collect();
    sent.push((
        "R-REVIEW".to_owned(),
        corpus(BROKEN).to_string().into_bytes(),
    ));
    sent.push(("E-CONFLICT".to_owned(), conflict.to_string().into_bytes()));
    dead.sort();
    sent.sort();
    assert!(dead == sent, "{:?}\n{:?}", codes(&dead), codes(&sent));
    deployment.remove().await;
}

fn codes(jobs: &[(String, Vec<u8>)]) -> Vec<(&str, usize)> {
    jobs.iter()
        .map(|(code, body)| (code.as_str(), body.len()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn good_and_bad_jobs_mixed_over_rabbitmq() {
    mixed(Deployment::amqp().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn good_and_bad_jobs_mixed_over_the_spool() {
    mixed(Deployment::spool()).await;
}

/// Many jobs, and workers that are killed while they hold some of them.
async fn killed(deployment: Deployment) {
    const JOBS: usize = 24;
    let mut jobs = Vec::new();
    for number in 0..JOBS {
        let mut job = corpus("zibo-bigdata-2020");
        job["job_id"] = json!(format!("killed-{number}"));
        job["data"]["overview"] = json!([format!("第{number}份报告。")]);
        deployment
            .send(&format!("killed-{number}"), job.to_string().as_bytes())
            .await;
        jobs.push(job);
    }
    // Each worker stores a little more, and dies with jobs in hand.
    for stored in [2, 8, 14] {
        let worker = deployment.worker();
        deployment
            .until("some are stored", async |it| it.store().len() >= stored)
            .await;
        worker.kill();
    }
    assert!(
        deployment.store().len() < 2 * JOBS,
        "the workers were killed in the middle"
    );
    deployment.work_until_idle();

    let events = deployment.events().await;
    let published = by_job(&events);
    assert_eq!(published.len(), JOBS, "every job has ended, in one way");
    for job in &jobs {
        assert_completed(&deployment, job, &published);
    }
    let store = deployment.store();
    let results: Vec<&String> = store
        .iter()
        .filter(|key| key.contains("/killed-") && !key.contains('#'))
        .collect();
    assert_eq!(results.len(), 2 * JOBS);
    assert_eq!(deployment.left().await, Vec::<String>::new());
    assert!(deployment.dead().await.is_empty());
    deployment.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_worker_loses_nothing_over_rabbitmq() {
    killed(Deployment::amqp().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_worker_loses_nothing_over_the_spool() {
    killed(Deployment::spool()).await;
}

/// A worker that is suspended, until the broker believes it dead and gives its jobs to another one,
/// goes on with them when it wakes up. Neither can know of the other.
#[tokio::test(flavor = "multi_thread")]
async fn two_workers_with_the_same_jobs_in_hand_agree() {
    const JOBS: usize = 8;
    let (deployment, admin) = Deployment::amqp()
        .await
        .with("QUEUE__HEARTBEAT", "2")
        .with("RENDER__THREADS", "4")
        .with_admin();
    let mut jobs = Vec::new();
    for number in 0..JOBS {
        let mut job = corpus("zibo-bigdata-2020");
        job["job_id"] = json!(format!("twice-{number}"));
        jobs.push(job);
    }
    let sleeper = deployment.worker();
    deployment
        .until("it is ready", async |_| {
            ask(&admin, "/readyz").is_some_and(|(status, _)| status == 200)
        })
        .await;
    // Its typesetters are held up, so that it has every job in hand and none is done.
    sleeper.signal_typesetters("STOP");
    for (number, job) in jobs.iter().enumerate() {
        let name = format!("twice-{number}");
        deployment.send(&name, job.to_string().as_bytes()).await;
    }
    deployment
        .until("it has them in hand", async |_| {
            let metrics = ask(&admin, "/metrics").map(|(_, text)| text);
            metrics.is_some_and(|text| {
                text.contains(&format!("banshi_inflight{{lane=\"bulk\"}} {JOBS}\n"))
            })
        })
        .await;
    sleeper.signal("STOP");
    sleeper.signal_typesetters("CONT");
    let deployment = deployment.with("ADMIN__LISTEN", "");
    let other = deployment.worker();
    deployment
        .until("another one has done them", async |it| {
            it.store().len() == 2 * JOBS
        })
        .await;
    assert_eq!(other.stop(), Some(0));
    let store = deployment.store();

    sleeper.signal("CONT");
    deployment
        .until("the sleeper has found out", async |_| {
            let ready = ask(&admin, "/readyz").is_some_and(|(status, _)| status == 200);
            ready && sleeper.log().matches("the job is requeued").count() == JOBS
        })
        .await;
    assert_eq!(sleeper.stop(), Some(0));
    let events = deployment.events().await;
    let published = by_job(&events);
    assert_eq!(published.len(), JOBS);
    for job in &jobs {
        assert_completed(&deployment, job, &published);
    }
    assert_eq!(deployment.store(), store);
    assert_eq!(deployment.left().await, Vec::<String>::new());
    assert!(deployment.dead().await.is_empty());
    deployment.remove().await;
}

/// SIGTERM: what is in hand is finished, the rest stays, the exit code is 0.
async fn stopped(deployment: Deployment) {
    // Fewer than there are, lest the worker has them all in hand.
    let deployment = deployment.with("QUEUE__PREFETCH", "2");
    for number in 0..12 {
        let mut job = corpus("zibo-bigdata-2020");
        job["job_id"] = json!(format!("stopped-{number}"));
        deployment
            .send(&format!("stopped-{number}"), job.to_string().as_bytes())
            .await;
    }
    let worker = deployment.worker();
    deployment
        .until("some are stored", async |it| it.store().len() >= 2)
        .await;
    let log = worker.log();
    assert_eq!(worker.stop(), Some(0), "{log}");
    // Whatever has a manifest has its event: nothing was abandoned half way.
    let manifests = deployment
        .store()
        .iter()
        .filter(|key| key.ends_with(".json"))
        .count();
    let events = deployment.events().await;
    assert_eq!(by_job(&events).len(), manifests);
    assert!(manifests < 12, "it stopped in the middle");
    deployment.work_until_idle();
    assert_eq!(deployment.store().len(), 24);
    assert_eq!(deployment.left().await, Vec::<String>::new());
    deployment.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_worker_finishes_what_it_holds_over_rabbitmq() {
    stopped(Deployment::amqp().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_worker_finishes_what_it_holds_over_the_spool() {
    stopped(Deployment::spool()).await;
}

/// A store that is out is never the job's fault: the job waits and comes again.
async fn store_out(deployment: Deployment) {
    let job = corpus("zibo-bigdata-2020");
    let in_the_way = deployment.break_store();
    deployment.send("zibo", job.to_string().as_bytes()).await;
    let worker = deployment.worker();
    deployment
        .until("the first attempt failed", async |_| {
            worker.log().contains("another attempt")
        })
        .await;
    assert!(
        deployment.events().await.is_empty(),
        "nothing is said of what may yet succeed"
    );
    std::fs::remove_file(in_the_way).expect("the store is repaired");
    deployment
        .until("it is stored", async |it| it.store().len() == 2)
        .await;
    assert_eq!(worker.stop(), Some(0));
    assert_completed(&deployment, &job, &by_job(&deployment.events().await));
    assert_eq!(deployment.left().await, Vec::<String>::new());
    assert!(deployment.dead().await.is_empty());
    deployment.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_outlives_an_outage_of_the_store_over_rabbitmq() {
    store_out(Deployment::amqp().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_outlives_an_outage_of_the_store_over_the_spool() {
    store_out(Deployment::spool()).await;
}

/// When the attempts are used up, the job ends all the same: an event, and its body kept.
async fn used_up(deployment: Deployment) {
    let deployment = deployment.with("WORKER__ATTEMPTS", "1");
    deployment.break_store();
    let body = corpus("zibo-bigdata-2020").to_string().into_bytes();
    deployment.send("zibo", &body).await;
    deployment.work_until_idle();
    let [event] = &deployment.events().await[..] else {
        panic!("one event")
    };
    assert_eq!(
        (&event["type"], &event["subject"]),
        (&json!("report.failed"), &json!("zibo-bigdata-2020"))
    );
    assert_eq!(
        (&event["data"]["error"]["code"], &event["data"]["attempts"]),
        (&json!("store"), &json!(1))
    );
    let [dead] = &deployment.dead().await[..] else {
        panic!("one dead job")
    };
    assert_eq!((dead.code.as_str(), &dead.body), ("store", &body));
    assert_eq!(deployment.left().await, Vec::<String>::new());
    deployment.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_attempts_are_used_up_is_told_and_kept_over_rabbitmq() {
    used_up(Deployment::amqp().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_attempts_are_used_up_is_told_and_kept_over_the_spool() {
    used_up(Deployment::spool()).await;
}

/// The same job sent again is the same result and the same event.
async fn repeated(deployment: Deployment) {
    let job = corpus("zibo-bigdata-2020");
    deployment.send("first", job.to_string().as_bytes()).await;
    deployment.work_until_idle();
    let stored = deployment.stored(&key(&job, "pdf"));
    // Other spacing is the same content.
    deployment
        .send(
            "again",
            serde_json::to_string_pretty(&job).expect("JSON").as_bytes(),
        )
        .await;
    deployment.work_until_idle();
    assert_eq!(deployment.stored(&key(&job, "pdf")), stored);
    assert_eq!(by_job(&deployment.events().await).len(), 1);
    assert!(deployment.dead().await.is_empty());
    deployment.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_sent_twice_is_one_result_over_rabbitmq() {
    repeated(Deployment::amqp().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_sent_twice_is_one_result_over_the_spool() {
    repeated(Deployment::spool()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_asks_gets_a_copy_of_the_event() {
    use lapin::BasicProperties;
    let deployment = Deployment::amqp().await;
    deployment.listen_for_replies("upstream-7").await;
    let job = corpus("zibo-bigdata-2020");
    let properties = BasicProperties::default()
        .with_message_id("zibo-bigdata-2020".into())
        .with_correlation_id("request-42".into())
        .with_reply_to("upstream-7".into());
    deployment
        .send_as("zibo", job.to_string().as_bytes(), properties)
        .await;
    deployment.work_until_idle();
    let [(reply, properties)] = &deployment.drain("replied").await[..] else {
        panic!("one reply")
    };
    let [event] = &deployment.events().await[..] else {
        panic!("one event")
    };
    assert_eq!(
        serde_json::from_slice::<Value>(reply).expect("JSON"),
        *event
    );
    assert_eq!(
        properties.correlation_id().as_ref().map(|id| id.as_str()),
        Some("request-42")
    );
    deployment.remove().await;
}

/// Another version, other limits or fonts would reject what was stored and announced: it has one
/// end all the same.
async fn judged_once(deployment: Deployment) {
    let job = corpus("zibo-bigdata-2020").to_string();
    deployment.send("first", job.as_bytes()).await;
    deployment.work_until_idle();
    let deployment = deployment.with("LIMITS__CHARACTERS", "100");
    deployment.send("again", job.as_bytes()).await;
    let mut other = corpus("zibo-bigdata-2020");
    other["data"]["agency"] = json!("淄博市统计局");
    deployment.send("other", other.to_string().as_bytes()).await;
    deployment.work_until_idle();

    let events = deployment.events().await;
    let completed: Vec<&Value> = events
        .iter()
        .filter(|event| event["type"] == json!("report.completed"))
        .collect();
    // A folder keeps a repeat once, under its id.
    assert!((1..=2).contains(&completed.len()), "{events:?}");
    assert!(completed.iter().all(|event| *event == completed[0]));
    // What is stored under the id is another report: this one is rejected for what it is.
    let rejected: Vec<&Value> = events
        .iter()
        .filter(|event| event["type"] == json!("report.rejected"))
        .collect();
    assert_eq!(rejected.len(), 1, "{events:?}");
    assert_eq!(
        rejected[0]["data"]["problems"][0]["code"],
        json!("E-SCHEMA")
    );
    assert_eq!(deployment.dead().await.len(), 1);
    assert_eq!(deployment.store().len(), 2);
    deployment.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_is_not_judged_again_over_rabbitmq() {
    judged_once(Deployment::amqp().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_is_not_judged_again_over_the_spool() {
    judged_once(Deployment::spool()).await;
}

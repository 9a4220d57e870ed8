//! An urgent job passes a full bulk lane, however long that is.

use serde_json::{Value, json};

use crate::support::deployment::Deployment;
use crate::support::jobs::corpus;

/// Reports that each keep a typesetter busy for many times what an ordinary one takes.
const LONG: usize = 8;
/// Ordinary ones behind them.
const BACKLOG: usize = 2_000;
/// What a worker with one typesetter for the bulk holds of them.
const PREFETCH: usize = 2;

fn job(id: &str, paragraphs: usize) -> Vec<u8> {
    let mut job = corpus("zibo-bigdata-2020");
    job["job_id"] = json!(id);
    let text = "主动公开政府信息，依申请公开政府信息，政府信息管理。".repeat(20);
    job["data"]["overview"] = json!(vec![text; paragraphs]);
    job.to_string().into_bytes()
}

/// A worker that has begun with a backlog, and then one urgent job. The subjects of the events
/// until that is done, in their order.
async fn until_the_urgent_one_is_done(urgent_typesetters: &str) -> Vec<String> {
    let deployment = Deployment::amqp()
        .await
        .with("RENDER__URGENT", urgent_typesetters)
        .with("QUEUE__PREFETCH", &PREFETCH.to_string())
        .with("RENDER__MAX_PAGES", "500")
        .with("RENDER__DEADLINE", "600");
    let long = job("long", 300);
    for number in 0..LONG {
        deployment.send(&format!("long-{number}"), &long).await;
    }
    let short = job("short", 1);
    for number in 0..BACKLOG {
        deployment.send(&format!("short-{number}"), &short).await;
    }
    deployment
        .until("all are in the lane", async |it| {
            it.waiting().await == LONG + BACKLOG
        })
        .await;
    let worker = deployment.worker();
    deployment
        .until("the bulk lane is taken in hand", async |it| {
            it.waiting().await <= LONG + BACKLOG - PREFETCH
        })
        .await;
    deployment.send_urgent("urgent", &job("urgent", 1)).await;

    let mut subjects: Vec<String> = Vec::new();
    deployment
        .until("the urgent one is done", async |it| {
            let events: Vec<Value> = it.events().await;
            let said = events.iter().map(|event| event["subject"].as_str());
            subjects.extend(said.map(|subject| subject.expect("a subject").to_owned()));
            subjects.iter().any(|subject| subject == "urgent")
        })
        .await;
    assert!(deployment.waiting().await >= LONG + BACKLOG - 2 * PREFETCH);
    worker.kill();
    deployment.remove().await;
    subjects
}

#[tokio::test(flavor = "multi_thread")]
async fn an_urgent_job_has_a_typesetter_of_its_own_while_the_bulk_is_at_work() {
    let subjects = until_the_urgent_one_is_done("1").await;
    assert_eq!(subjects[0], "urgent", "{subjects:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_no_typesetter_of_its_own_an_urgent_job_has_the_next_that_is_free() {
    let subjects = until_the_urgent_one_is_done("0").await;
    let before = subjects.iter().position(|subject| subject == "urgent");
    assert!(before <= Some(1), "{subjects:?}");
}

//! A broker as administrators leave it: few channels, queues deleted, policies.

use std::sync::Arc;
use std::time::Duration;

use lapin::options::{BasicGetOptions, BasicNackOptions};
use tokio::time::{Instant, sleep};

use crate::Stage;
use crate::bench::{Bench, Outcome};
use crate::letters::{BadJobs, Letter, mixed, report};
use crate::node::Node;
use crate::support::jobs::corpus;
use crate::support::raw_amqp::{Answer, RawAmqp, RawProperties};

/// E27: fewer channels than jobs that are to be published at once: so many that a connection may
/// have, and so many that a user may have.
pub async fn few_channels(stage: Stage) -> Outcome {
    let node = Arc::new(Node::of_conf(5930, "channel_max = 8\n").await);
    let mut bench = Bench::on(&stage, &node).await;
    bench.undisturbed();
    bench.fault("channel_max of 8");
    let mut all = together(bench, &stage, "channels").await;
    if stage.pick(false, true) {
        for order in [
            &["add_user", "few", "few"][..],
            &["set_permissions", "few", ".*", ".*", ".*"],
            &["set_user_limits", "few", r#"{"max-channels": 8}"#],
        ] {
            node.ctl(order).await;
        }
        let mut bench = Bench::on(&stage, &node).await;
        let url = format!("amqp://few:few@127.0.0.1:{}/%2f", node.port());
        bench.set("QUEUE__URL", url);
        // Nobody is told of a user's limit but by the loss of the connection.
        bench.may_lose(3);
        bench.fault("user's max-channels of 8");
        all = all.and(together(bench, &stage, "user").await);
    }
    all
}

/// Jobs that come to be published all at once, because the store has held them all.
async fn together(mut bench: Bench, stage: &Stage, name: &str) -> Outcome {
    let hang = bench.hangs();
    bench.set("QUEUE__PREFETCH", "16");
    bench.work(1).await;
    for round in 0..stage.pick(2, 5) {
        let letters = (0..16)
            .map(|number| Letter::good(&report(&format!("e27-{name}-{round}-{number}"), "同时。")));
        hang.begin();
        bench.send(letters.collect()).await;
        sleep(Duration::from_secs(3)).await;
        hang.end();
        bench.until_heard(16 * (round + 1)).await;
    }
    bench.finish().await
}

/// Seconds after which a queue that was deleted is there again.
const DECLARED: u64 = 10;
/// Seconds for which a worker may not know that a queue is missing.
const UNAWARE: u64 = 5;

/// E28: queues deleted that nobody consumes from, while jobs need them. Workers that declare
/// declare them again, within seconds, and say meanwhile how it is.
pub async fn deleted(stage: Stage) -> Outcome {
    let mut bench = Bench::on(&stage, stage.node()).await;
    bench.watched();
    let count = stage.pick(40, 150);
    bench.work(2).await;

    bench.delete_dead().await;
    bench.fault("dead queue deleted");
    let letters = mixed("e28-dead", count, &mut bench.rng);
    let sending = bench.sending(letters, Duration::from_millis(10));
    until_declared(&mut bench, "dead").await;
    bench.sent(sending).await;
    bench.settle().await;

    // A file where the folder of the year should be: this one job waits for another attempt.
    let year = 2031;
    let edition = bench.store().join("annual-report/2021");
    std::fs::create_dir_all(&edition).expect("a folder");
    let in_the_way = edition.join(year.to_string());
    std::fs::write(&in_the_way, "in the way").expect("a file");
    bench.delete("retry.5s").await;
    bench.fault("retry queue deleted");
    let mut job = corpus("hongze-2024");
    job["job_id"] = serde_json::json!("e28-again");
    job["data"]["year"] = serde_json::json!(year);
    let mut letters = mixed("e28-retry", count, &mut bench.rng);
    letters.insert(0, Letter::good(&job));
    let sending = bench.sending(letters, Duration::from_millis(10));
    until_declared(&mut bench, "retry.5s").await;
    std::fs::remove_file(&in_the_way).expect("it was in the way");
    bench.sent(sending).await;
    bench.settle().await;

    bench.unbind_events().await;
    bench.delete("events.log").await;
    bench.fault("log of events deleted, and nobody else listens");
    let letters = mixed("e28-log", count, &mut bench.rng);
    let sending = bench.sending(letters, Duration::from_millis(10));
    until_declared(&mut bench, "events.log").await;
    bench.bind_events().await;
    bench.hear_the_log().await;
    bench.sent(sending).await;
    bench.ready_again(Duration::from_secs(30)).await;
    bench.finish().await
}

/// Waits until a queue is there again, and sees what the workers say meanwhile. One that does not
/// come by itself is declared by hand, so that the rest can be judged.
async fn until_declared(bench: &mut Bench, queue: &str) {
    let begun = Instant::now();
    let mut unaware = 0;
    while !bench.is_there(queue).await && begun.elapsed().as_secs() < 3 * DECLARED {
        sleep(Duration::from_millis(500)).await;
        if begun.elapsed().as_secs() >= UNAWARE {
            let looks = bench.looks().await;
            unaware += looks.iter().filter(|status| **status == Some(200)).count();
        }
    }
    let seconds = begun.elapsed().as_secs();
    bench.bound(
        format!("seconds until {queue} was declared again"),
        seconds,
        DECLARED,
    );
    bench.bound(
        format!("times that a worker said it was ready while {queue} was missing"),
        unaware as u64,
        2,
    );
    if !bench.is_there(queue).await {
        bench.declare().await;
    }
}

/// E29: a policy for all queues that lets none hold more than three messages, and somebody who
/// looks at what has no lane, often.
pub async fn policies(stage: Stage) -> Outcome {
    let limited = limited(&stage).await;
    limited.and(looked_at(&stage).await.with_faults_of("4.0"))
}

async fn limited(stage: &Stage) -> Outcome {
    let node = Arc::clone(stage.node());
    let mut bench = Bench::on(stage, &node).await;
    // All but the queue of our own that hears the events.
    let (name, pattern) = (
        bench.name("small"),
        format!("^{}(?!heard$)", bench.name("")),
    );
    let few = r#"{"max-length":3}"#;
    node.ctl(&["set_policy", &name, &pattern, few, "--apply-to", "queues"])
        .await;
    bench.fault("max-length of 3 by policy");

    let confirmed = send_astray(&bench, 6).await;
    let kept = u64::from(bench.ready("unrouted").await);
    let what = "messages without a lane that were confirmed, and dropped";
    bench.bound(what, confirmed.saturating_sub(kept), 0);
    bench.purge("unrouted").await;

    let mut letters = mixed("e29", stage.pick(30, 200), &mut bench.rng);
    letters.retain(|letter| letter.sent.key.is_some());
    let mut bad = BadJobs::new();
    for number in 0..10 {
        letters.push(bad.next(&format!("e29-bad-{number}"), &mut bench.rng));
    }
    let (jobs, refused) = (letters.len(), 10);
    bench.work(2).await;
    let sending = bench.sending(letters, Duration::from_millis(10));
    bench.until_heard(jobs).await;
    bench.sent(sending).await;
    sleep(Duration::from_secs(3)).await;
    // As somebody does who looks after it: what is held goes there as soon as there is room.
    let begun = Instant::now();
    while bench.drained() < refused && begun.elapsed() < Duration::from_secs(60) {
        bench.drain_dead().await;
        sleep(Duration::from_secs(1)).await;
    }
    node.ctl(&["clear_policy", &name]).await;
    bench.finish().await
}

async fn looked_at(stage: &Stage) -> Outcome {
    const LOOKS: u32 = 25;
    let node = Arc::new(Node::of_version(5923, "4.0").await);
    let mut bench = Bench::on(stage, &node).await;
    let confirmed = send_astray(&bench, 3).await;
    let line = node.line().await;
    let queue = bench.name("unrouted");
    for _ in 0..LOOKS {
        let options = BasicGetOptions::default();
        let got = line.channel.basic_get(queue.as_str().into(), options).await;
        if let Some(message) = got.expect("a queue") {
            let requeue = BasicNackOptions {
                requeue: true,
                ..BasicNackOptions::default()
            };
            let back = message.delivery.acker.nack(requeue);
            assert!(back.await.expect("a connection"), "it goes back");
        }
        bench.fault("look at what has no lane");
    }
    sleep(Duration::from_secs(1)).await;
    let kept = u64::from(bench.ready("unrouted").await);
    let what = format!("messages without a lane that {LOOKS} looks have lost");
    bench.bound(what, confirmed.saturating_sub(kept), 0);
    bench.purge("unrouted").await;
    let letters = mixed("e29-looked", 10, &mut bench.rng);
    bench.work(1).await;
    bench.send(letters).await;
    bench.finish().await
}

/// Sends jobs by a lane that there is not; how many the broker has confirmed.
async fn send_astray(bench: &Bench, count: usize) -> u64 {
    let (url, exchange) = (bench.node().url(), bench.name("jobs"));
    let sent = tokio::task::spawn_blocking(move || {
        let mut raw = RawAmqp::connect(&url);
        let json = RawProperties::json();
        let said = (0..count).map(|_| raw.publish(&exchange, b"Bulk", &json, b"{}"));
        said.filter(|said| *said == Answer::Confirmed).count() as u64
    });
    sent.await.expect("a broker")
}

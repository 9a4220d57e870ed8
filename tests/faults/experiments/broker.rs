//! The broker itself.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt as _;
use tokio::time::sleep;

use crate::Stage;
use crate::bench::{Bench, Outcome};
use crate::letters::mixed;
use crate::node::Node;
use crate::process::send;

/// E4: the broker's node is killed and started again on its data, while senders send.
pub async fn killed(stage: Stage) -> Outcome {
    let mut bench = Bench::on(&stage, stage.node()).await;
    let letters = mixed("e4", stage.pick(120, 1000), &mut bench.rng);
    let (jobs, kills) = (letters.len(), stage.pick(2, 6));
    bench.work(2).await;
    let sending = bench.sending(letters, Duration::from_millis(5));
    for kill in 1..=kills {
        bench.until_heard(jobs * kill / (kills + 2)).await;
        bench.node().kill().await;
        bench.fault("broker killed");
        let gap = bench.rng.random_range(500..stage.pick(2_000, 20_000));
        sleep(Duration::from_millis(gap)).await;
        bench.node().up().await;
    }
    bench.sent(sending).await;
    bench.finish().await
}

/// E8: the broker takes no messages because its memory, and then its disk, is said to be full.
pub async fn alarmed(stage: Stage) -> Outcome {
    let mut bench = Bench::on(&stage, stage.node()).await;
    bench.set("QUEUE__PREFETCH", "2");
    let letters = mixed("e8", stage.pick(240, 600), &mut bench.rng);
    let jobs = letters.len();
    bench.work(2).await;
    bench.send(letters).await;
    let mut held = Vec::new();
    for (number, kind, raise, calm) in [
        (
            1,
            "memory alarm",
            ["set_vm_memory_high_watermark", "0.00001"],
            ["set_vm_memory_high_watermark", "0.4"],
        ),
        (
            2,
            "disk alarm",
            ["set_disk_free_limit", "999GB"],
            ["set_disk_free_limit", "50MB"],
        ),
    ] {
        bench.until_heard(jobs * number / 8).await;
        bench.node().ctl(&raise).await;
        bench.fault(kind);
        sleep(Duration::from_secs(stage.pick(6, 35))).await;
        let queues = bench.node().queues(bench.prefix()).await;
        held.push(queues["jobs.bulk"].unacked);
        bench.node().ctl(&calm).await;
    }
    let mut outcome = bench.finish().await;
    // Two workers, each with two jobs of the lane.
    outcome
        .notes
        .push(format!("jobs held during the alarms: {held:?}"));
    if held.iter().any(|held| *held > 4) {
        outcome.object(format!("more jobs were held than the prefetch: {held:?}"));
    }
    outcome
}

/// E18: what an administrator can do to a running deployment.
pub async fn administered(stage: Stage) -> Outcome {
    let mut bench = Bench::on(&stage, stage.node()).await;
    let letters = mixed("e18", stage.pick(120, 500), &mut bench.rng);
    let jobs = letters.len();
    bench.work(2).await;
    bench.send(letters).await;
    for round in 1..=stage.pick(1, 3) {
        bench.until_heard(jobs * round / stage.pick(4, 8)).await;
        close_all_connections(&mut bench).await;
        sleep(Duration::from_millis(500)).await;
        // From the workers' next session on, they may not publish.
        let permissions = ["set_permissions", "guest", ".*", "^none$", ".*"];
        bench.node().ctl(&permissions).await;
        close_all_connections(&mut bench).await;
        bench.fault("permission to write revoked");
        sleep(Duration::from_secs(3)).await;
        let permissions = ["set_permissions", "guest", ".*", ".*", ".*"];
        bench.node().ctl(&permissions).await;
        bench.revive().await;
    }
    // A job that is held for too long, and its worker none the wiser.
    bench.until_heard(jobs / 2).await;
    let node = Arc::clone(bench.node());
    node.hold_for(Duration::from_secs(5), Duration::from_secs(2))
        .await;
    close_all_connections(&mut bench).await;
    sleep(Duration::from_secs(2)).await;
    let stopped = bench.workers()[0].typesetters();
    stopped
        .iter()
        .for_each(|typesetter| send("STOP", *typesetter));
    sleep(Duration::from_secs(12)).await;
    stopped
        .iter()
        .for_each(|typesetter| send("CONT", *typesetter));
    bench.fault("consumer_timeout");
    node.hold_as_ever().await;
    bench.settle().await;
    // An empty queue is deleted; the workers declare it again.
    bench.delete("jobs.bulk").await;
    bench.fault("queue deleted");
    bench.until_there("jobs.bulk").await;
    let letters = mixed("e18-again", 20, &mut bench.rng);
    bench.send(letters).await;
    bench.finish().await
}

pub(super) async fn close_all_connections(bench: &mut Bench) {
    bench
        .node()
        .ctl(&["close_all_connections", "maintenance"])
        .await;
    bench.fault("all connections closed");
}

/// E17: events that no queue takes, and then a full one.
pub async fn deaf(stage: Stage) -> Outcome {
    let mut bench = Bench::on(&stage, stage.node()).await;
    // Nobody may bind again what is unbound here.
    bench.set("QUEUE__TOPOLOGY", "verify");
    let letters = mixed("e17", stage.pick(40, 200), &mut bench.rng);
    let jobs = letters.len();
    bench.work(2).await;
    bench.send(letters).await;
    bench.until_heard(jobs / 4).await;
    // A policy refuses what goes into the event queue beyond five.
    let (name, pattern) = (bench.name("full"), format!("^{}$", bench.name("heard")));
    let full = r#"{"max-length":5,"overflow":"reject-publish"}"#;
    bench.deafen(true);
    bench
        .node()
        .ctl(&["set_policy", &name, &pattern, full, "--apply-to", "queues"])
        .await;
    bench.fault("event queue full");
    sleep(Duration::from_secs(stage.pick(8, 20))).await;
    // Read first: on RabbitMQ 3.10 a channel that a full quorum queue has refused hears that there
    // is room only from the queue as it empties, and no longer when the limit is gone.
    bench.deafen(false);
    bench.until_heard(jobs / 2).await;
    bench.node().ctl(&["clear_policy", &name]).await;
    bench.unbind_events().await;
    bench.fault("events unroutable");
    sleep(Duration::from_secs(stage.pick(3, 20))).await;
    bench.bind_events().await;
    bench.finish().await
}

/// E32: workers that know every node of a cluster of three go on when one is killed that does not
/// come back: first the one that is named first, and, once that is there again, the one named last.
pub async fn several_named(stage: Stage) -> Outcome {
    let nodes = Node::cluster().await;
    // What is not a worker stays with the one in the middle, which lives.
    let mut bench = Bench::on(&stage, &nodes[1]).await;
    let named: Vec<String> = nodes
        .iter()
        .map(|node| format!("127.0.0.1:{}", node.port()))
        .collect();
    let named = format!("amqp://guest:guest@{}/%2f", named.join(","));
    bench.set("QUEUE__URL", &named);
    let letters = mixed("e32", stage.pick(120, 600), &mut bench.rng);
    let jobs = letters.len();
    let mut refused = Vec::new();
    for _ in 0..3 {
        let mut worker = bench.worker();
        match worker.gets_ready().await {
            Ok(()) => bench.workers().push(worker),
            Err(why) => refused.push(why),
        }
    }
    if let Some(why) = refused.first() {
        let mut outcome = bench.finish().await;
        outcome.object(format!("a worker does not take {named}: {why}"));
        return outcome;
    }
    let sending = bench.sending(letters, Duration::from_millis(5));
    for (number, killed) in [(1, 0), (3, 2)] {
        bench.until_heard(jobs * number / 5).await;
        nodes[killed].kill().await;
        bench.fault("one of three named nodes killed for good");
        bench.until_heard(jobs * (number + 1) / 5).await;
        if killed == 0 {
            nodes[0].up().await;
        }
    }
    bench.sent(sending).await;
    bench.finish().await
}

/// E5: nodes of a cluster of three are killed: another than the workers', theirs, and two of three.
pub async fn clustered(stage: Stage) -> Outcome {
    let nodes = Node::cluster().await;
    let mut bench = Bench::on(&stage, &nodes[0]).await;
    let letters = mixed("e5", stage.pick(150, 600), &mut bench.rng);
    let jobs = letters.len();
    bench.work(2).await;
    let sending = bench.sending(letters, Duration::from_millis(2));
    for (number, kind, killed) in [
        (1, "one node of three killed", &[1][..]),
        (2, "the workers' own node killed", &[0]),
        (3, "two nodes of three killed", &[1, 2]),
    ] {
        bench.until_heard(jobs * number / 5).await;
        for index in killed {
            nodes[*index].kill().await;
        }
        bench.fault(kind);
        sleep(Duration::from_secs(stage.pick(3, 15))).await;
        let back = killed.iter().map(|index| nodes[*index].up());
        futures_util::future::join_all(back).await;
    }
    bench.sent(sending).await;
    bench.finish().await
}

//! What is held for long. A broker lends a job for half an hour (`consumer_timeout`); what lasts
//! for days is made to last minutes by lending for seconds.

use std::sync::Arc;
use std::time::Duration;

use lapin::options::{QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use tokio::time::sleep;

use crate::Stage;
use crate::bench::{Bench, Outcome};
use crate::letters::{BadJobs, Letter, long_report, mixed, report};
use crate::node::Node;

/// How long the broker lends a job, how often it looks, and how long what is held is held: more
/// than fifteen times as long, and long enough for eleven sessions with the longest wait between
/// each two.
struct Lease {
    lent: Duration,
    looked_at: Duration,
    held: Duration,
}

const LEASE: Lease = Lease {
    lent: Duration::from_secs(4),
    looked_at: Duration::from_secs(1),
    held: Duration::from_secs(180),
};
/// The same in short, for lanes that give up on a job that was requeued more often than
/// [`FEWER`] times.
const SHORT: Lease = Lease {
    lent: Duration::from_secs(3),
    looked_at: Duration::from_millis(250),
    held: Duration::from_secs(18),
};
/// A delivery limit instead of ten.
const FEWER: u32 = 1;
/// A worker that cannot go on says so after this.
const SAID_SOON: Duration = Duration::from_secs(10);
/// Or after this, where it first has to try for a while.
const SAID: Duration = Duration::from_secs(30);
/// And that it can, once it can.
const READY_AGAIN: Duration = Duration::from_secs(30);

impl Lease {
    async fn begin(&self, node: &Node) {
        node.hold_for(self.lent, self.looked_at).await;
    }
}

/// E25: nothing can be published for longer than eleven leases: an alarm; a right that was
/// revoked; a dead queue that is not there and that workers may not declare. All ends well
/// afterwards, and until then each worker says that no jobs can come in.
pub async fn outlasted(stage: Stage) -> Outcome {
    let lease = stage.pick(SHORT, LEASE);
    let mut all = alarm(&stage, &lease).await;
    if stage.pick(false, true) {
        all = all.and(revoked(&stage, &lease).await);
        all = all.and(no_dead_queue(&stage, &lease).await);
    }
    all
}

async fn alarm(stage: &Stage, lease: &Lease) -> Outcome {
    let node = Arc::clone(stage.node());
    let mut bench = Bench::on(stage, &node).await;
    bench.watched();
    bench.set("QUEUE__PREFETCH", "2");
    // Long enough to be in hand when the alarm comes.
    let jobs = stage.pick(120, 240);
    let letters = (0..jobs).map(|number| Letter::good(&long_report(&format!("e25-{number}"), 20)));
    let letters = letters.collect();
    lease.begin(&node).await;
    if stage.pick(true, false) {
        fewer_deliveries(&bench).await;
    }
    bench.work(2).await;
    bench.send(letters).await;
    bench.until_heard(2).await;
    let raised = ["set_vm_memory_high_watermark", "0.00001"];
    node.ctl(&raised).await;
    assert!(bench.heard() < jobs, "the alarm comes too late");
    bench.fault("memory alarm, longer than eleven leases");
    let grace = SAID_SOON.min(lease.held / 2);
    bench.unready("the alarm lasts", lease.held, grace).await;
    node.hold_as_ever().await;
    node.ctl(&["set_vm_memory_high_watermark", "0.4"]).await;
    bench.ready_again(READY_AGAIN).await;
    bench.settle().await;
    if stage.pick(true, false) {
        node.ctl(&["clear_policy", &bench.name("fewer")]).await;
    }
    bench.finish().await
}

/// A policy has the lanes give up on a job sooner than their own limit does.
async fn fewer_deliveries(bench: &Bench) {
    let (name, pattern) = (bench.name("fewer"), format!("^{}", bench.name("jobs")));
    let limit = format!(r#"{{"delivery-limit":{FEWER}}}"#);
    let set = [
        "set_policy",
        &name,
        &pattern,
        &limit,
        "--apply-to",
        "queues",
    ];
    bench.node().ctl(&set).await;
}

async fn revoked(stage: &Stage, lease: &Lease) -> Outcome {
    let node = Arc::clone(stage.node());
    let mut bench = Bench::on(stage, &node).await;
    bench.watched();
    bench.set("QUEUE__PREFETCH", "4");
    // Workers that declare may not even bind.
    bench.set("QUEUE__TOPOLOGY", "verify");
    let letters = mixed("e25-revoked", 60, &mut bench.rng);
    lease.begin(&node).await;
    bench.work(2).await;
    let permissions = ["set_permissions", "guest", ".*", "^none$", ".*"];
    bench.send(letters).await;
    node.ctl(&permissions).await;
    // A channel remembers what it was allowed.
    super::broker::close_all_connections(&mut bench).await;
    bench.fault("right to write revoked, longer than eleven leases");
    bench
        .unready("the right to write is revoked", lease.held, SAID)
        .await;
    node.hold_as_ever().await;
    let permissions = ["set_permissions", "guest", ".*", ".*", ".*"];
    node.ctl(&permissions).await;
    bench.ready_again(READY_AGAIN).await;
    bench.finish().await
}

async fn no_dead_queue(stage: &Stage, lease: &Lease) -> Outcome {
    let node = Arc::clone(stage.node());
    let mut bench = Bench::on(stage, &node).await;
    bench.watched();
    bench.set("QUEUE__PREFETCH", "4");
    bench.set("QUEUE__TOPOLOGY", "verify");
    let mut letters = mixed("e25-dead", 40, &mut bench.rng);
    let mut bad = BadJobs::new();
    for number in 0..8 {
        letters.push(bad.next(&format!("e25-bad-{number}"), &mut bench.rng));
    }
    lease.begin(&node).await;
    bench.work(2).await;
    bench.delete_dead().await;
    bench.fault("dead queue deleted where workers only verify, longer than eleven leases");
    bench.send(letters).await;
    bench
        .unready("there is no dead queue", lease.held, SAID)
        .await;
    node.hold_as_ever().await;
    bench.declare().await;
    bench.ready_again(READY_AGAIN).await;
    bench.finish().await
}

/// E26: the store's folder does not answer for longer than eleven leases, as a hard mount whose
/// server is gone.
pub async fn hung(stage: Stage) -> Outcome {
    let node = Arc::clone(stage.node());
    let mut bench = Bench::on(&stage, &node).await;
    let hang = bench.hangs();
    bench.watched();
    bench.set("STORE__TIMEOUT", "2");
    let letters = mixed("e26", stage.pick(30, 100), &mut bench.rng);
    LEASE.begin(&node).await;
    bench.work(1).await;
    let before = threads(&mut bench);
    hang.begin();
    bench.fault("store's folder hangs, longer than eleven leases");
    bench.send(letters).await;
    bench
        .unready("the store hangs", LEASE.held, SAID_SOON)
        .await;
    let more = threads(&mut bench).saturating_sub(before);
    bench.bound("threads more than before the store hung", more, 40);
    node.hold_as_ever().await;
    hang.end();
    bench.ready_again(READY_AGAIN).await;
    bench.finish().await
}

fn threads(bench: &mut Bench) -> u64 {
    let usage = bench.workers()[0].usage();
    usage.expect("it lives").threads
}

/// E30: queues that never confirm: a sender's, which asked for a copy of its events, and one that
/// is bound to all events. Nobody's connection is lost for that, however long it lasts.
pub async fn unconfirmed(stage: Stage) -> Outcome {
    let held = Duration::from_secs(stage.pick(50, 350));
    let replies = silent(&stage, "replies", "mine", held).await;
    replies.and(silent(&stage, "events", "#", held).await)
}

async fn silent(stage: &Stage, exchange: &str, key: &str, held: Duration) -> Outcome {
    let mut bench = Bench::on(stage, stage.node()).await;
    bench.undisturbed();
    let queue = bench.name("silent");
    quorum_queue(&bench, &queue, exchange, key).await;
    bench.work(2).await;
    process_of(&bench, "suspend", &queue).await;
    bench.fault(&format!("queue bound to {exchange} that does not confirm"));
    let letters = (0..stage.pick(20, 60)).map(|number| {
        let letter = Letter::good(&report(&format!("e30-{exchange}-{number}"), "无应答。"));
        match (exchange, number % 5) {
            ("replies", 0) => letter.answered_to(key),
            _ => letter,
        }
    });
    bench.send(letters.collect()).await;
    sleep(held).await;
    process_of(&bench, "resume", &queue).await;
    bench.settle().await;
    bench.delete("silent").await;
    bench.finish().await
}

async fn quorum_queue(bench: &Bench, queue: &str, exchange: &str, key: &str) {
    let line = bench.node().line().await;
    let mut arguments = FieldTable::default();
    arguments.insert(
        "x-queue-type".into(),
        AMQPValue::LongString("quorum".into()),
    );
    let durable = QueueDeclareOptions::durable();
    let declared = line.channel.queue_declare(queue.into(), durable, arguments);
    declared.await.expect("a queue");
    let (exchange, bind) = (bench.name(exchange), QueueBindOptions::default());
    let none = FieldTable::default();
    let bound = line
        .channel
        .queue_bind(queue.into(), exchange.into(), key.into(), bind, none);
    bound.await.expect("a binding");
}

/// Suspends the process of a quorum queue, or has it go on.
async fn process_of(bench: &Bench, what: &str, queue: &str) {
    let order = format!("sys:{what}(list_to_atom(\"%2F_{queue}\")).");
    bench.node().ctl(&["eval", &order]).await;
}

//! What arrives before a job is a job: messages that no library sends.

use std::sync::Arc;

use rand::RngExt as _;

use crate::Stage;
use crate::bench::{Bench, Outcome};
use crate::letters::{Letter, report};
use crate::node::Node;
use crate::support::raw_amqp::{Answer, RawAmqp, RawProperties};

/// MiB that a worker may ever have, however large what is sent to it.
const MEMORY: u64 = 400;
/// A worker takes no job of this size; the large ones are larger.
const MEGABYTE: usize = 1_000_000;

/// A message that nobody can read, and how much of it is body.
struct Poison {
    kind: &'static str,
    properties: RawProperties,
    body: usize,
}

/// E24: one message of each such kind among good jobs. Each must be alone in the dead queue with
/// its own body, while no connection and no worker ends for it and none grows with it.
pub async fn poisoned(stage: Stage) -> Outcome {
    let (bodies, megabytes) = stage.pick((2, 16), (16, 100));
    let mut all = among_good(&stage, stage.node(), bodies, megabytes).await;
    if stage.pick(false, true) {
        let node = Arc::new(Node::of_version(5922, "4.3").await);
        // It takes 16 MiB at most, by default.
        let other = among_good(&stage, &node, bodies, 16).await;
        all = all.and(other.with_faults_of("4.3"));
    }
    all
}

async fn among_good(stage: &Stage, node: &Arc<Node>, bodies: usize, megabytes: usize) -> Outcome {
    let mut bench = Bench::on(stage, node).await;
    bench.undisturbed();
    let poison = poison(bodies, megabytes);
    let beside = stage.pick(60, 500) / poison.len();
    bench.work(2).await;
    for (number, poison) in poison.into_iter().enumerate() {
        let good = |place: &str| {
            let id = |beside| format!("e24-{number}-{place}-{beside}");
            let letters =
                (0..beside / 2).map(|beside| Letter::good(&report(&id(beside), "正常。")));
            letters.collect::<Vec<_>>()
        };
        bench.send(good("before")).await;
        send(&mut bench, poison).await;
        bench.send(good("behind")).await;
    }
    bench.settle().await;
    let peaks = bench.workers().iter().filter_map(|worker| worker.usage());
    let peak = peaks.map(|usage| usage.peak / 1024).max().unwrap_or(0);
    bench.bound("MiB that a worker had at most", peak, MEMORY);
    bench.finish().await
}

/// Each kind once, and so many large bodies.
fn poison(bodies: usize, megabytes: usize) -> Vec<Poison> {
    let json = RawProperties::json;
    let not_utf8 = b"\xb1\xa8\xb8\xe6";
    // RabbitMQ proposes frames of 128 KiB; the other properties take less than this.
    let full = vec![b'k'; (128 << 10) - 200];
    let kinds = [
        ("header 3,000 levels deep", json().nested(b"deep", 3_000)),
        ("header 25,000 levels deep", json().nested(b"deep", 25_000)),
        ("message_id not in UTF-8", json().message_id(not_utf8)),
        (
            "correlation_id not in UTF-8",
            json().correlation_id(not_utf8),
        ),
        ("header's name not in UTF-8", json().text(not_utf8, b"x")),
        (
            "headers that fill the frame",
            json().text(b"baggage", &full),
        ),
    ];
    let mut all: Vec<Poison> = kinds
        .into_iter()
        .map(|(kind, properties)| Poison {
            kind,
            properties,
            body: 1000,
        })
        .collect();
    all.extend((0..bodies).map(|_| Poison {
        kind: "body that is far too large",
        properties: json(),
        body: megabytes * MEGABYTE,
    }));
    all
}

/// Sends it, with a body that is no job and that nothing else has.
async fn send(bench: &mut Bench, poison: Poison) {
    bench.fault(poison.kind);
    let (url, exchange) = (bench.node().url(), bench.name("jobs"));
    let sent = tokio::task::spawn_blocking(move || {
        let mut body = format!("e24 {:016x}: ", rand::random::<u64>()).into_bytes();
        body.resize(poison.body, b'x');
        let said = RawAmqp::connect(&url).publish(&exchange, b"bulk", &poison.properties, &body);
        assert_eq!(said, Answer::Confirmed, "the broker takes it");
        let mut letter = Letter::refused(body, "E-JSON");
        // What is to become of it is known by its digest.
        letter.body = Vec::new();
        letter
    });
    let letter = sent.await.expect("it is sent");
    bench.note_sent(vec![letter]);
}

/// Sends one of them, for whoever wants something of everything.
pub(super) async fn send_any(bench: &mut Bench) {
    let mut all = poison(1, 16);
    let index = bench.rng.random_range(0..all.len());
    send(bench, all.swap_remove(index)).await;
}

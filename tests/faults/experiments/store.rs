//! Object stores that fail, before a real S3 server, and one that overwrites.

use std::time::Duration;

use rand::RngExt as _;
use rand::seq::SliceRandom as _;
use tokio::time::sleep;

use crate::Stage;
use crate::bench::{Bench, Outcome};
use crate::garage::Garage;
use crate::letters::{Letter, mixed, report};
use crate::proxy::{Proxy, Weather};
use crate::support::stores::Server;
use crate::support::wire::{Harm, Wire};

/// More requests than there will be.
const ALL: usize = 1_000_000;

/// E9: answers of 500 and 503, answers that are cut off or never come after the deed was done, slow
/// ones; then a store that is out altogether, and one that the network has swallowed.
pub async fn failing(stage: Stage) -> Outcome {
    let server = Server::strict();
    let (_, port) = server.address().rsplit_once(':').expect("a port");
    let network = Proxy::to(port.parse().expect("a port")).await;
    let wire = Wire::to(&format!("127.0.0.1:{}", network.port()));
    let mut bench = Bench::with_bucket(&stage, &server, wire.address()).await;
    bench.set("STORE__TIMEOUT", "2");
    let letters = mixed("e9", stage.pick(80, 400), &mut bench.rng);
    let jobs = letters.len();
    bench.work(2).await;
    bench.send(letters).await;
    let harms = [
        ("answered with 500", Harm::Answer(500, "InternalError")),
        ("answered with 503", Harm::Answer(503, "SlowDown")),
        ("answer cut off after the deed", Harm::CutTheAnswer),
        ("no answer after the deed", Harm::SwallowTheAnswer),
        ("late by 1 s", Harm::Delay(Duration::from_secs(1))),
    ];
    let rounds = stage.pick(1, 4) * harms.len();
    for round in 0..rounds {
        bench.until_heard(jobs * round / (rounds + 3)).await;
        let (kind, harm) = harms[round % harms.len()];
        let times = bench.rng.random_range(1..stage.pick(6, 20));
        wire.harm(times, harm);
        sleep(Duration::from_secs(1)).await;
        bench.faults(kind, times - wire.left());
    }
    for (kind, weather) in [
        ("store out", None),
        (
            "network to the store silent",
            Some(Weather {
                hold_to_server: true,
                hold_to_client: true,
                ..Weather::default()
            }),
        ),
    ] {
        match weather {
            None => wire.harm(ALL, Harm::Answer(503, "SlowDown")),
            Some(weather) => network.set(weather),
        }
        bench.fault(kind);
        sleep(Duration::from_secs(stage.pick(5, 40))).await;
        wire.harm(0, Harm::CutTheAnswer);
        network.reset();
        network.pass();
        bench.until_heard(bench.heard() + 1).await;
    }
    bench.finish().await
}

/// E23: Garage, which overwrites whatever the condition says, so that only the weaker rule stands
/// between jobs that are repeated and contradicted in the hands of three workers. Workers are
/// killed, and so is Garage.
///
/// The rule asks for a `store.settle` that no put outlasts, and then promises no less than
/// elsewhere: so it is set, and the judge makes no exception. Four tries of two seconds, with the
/// pauses between them and the look before, take less than twelve.
pub async fn overwriting(stage: Stage) -> Outcome {
    let garage = Garage::start().await;
    let server = garage.server();
    let mut bench = Bench::with_bucket(&stage, server, server.address()).await;
    bench.set("STORE__TIMEOUT", "2");
    bench.set("STORE__SETTLE", "12");
    // Each waits so long that the default would have the workers do nothing else.
    bench.set("QUEUE__PREFETCH", "60");
    let letters = crossing(stage.pick(40, 400), &mut bench);
    let jobs = letters.len();
    let rounds = stage.pick(3, 12);
    bench.work(3).await;
    let sending = bench.sending(letters, Duration::ZERO);
    for round in 0..rounds {
        bench.until_heard(jobs * round / (rounds + 2)).await;
        let pause = bench.rng.random_range(200..2000);
        sleep(Duration::from_millis(pause)).await;
        // One that starts while its store is out says so and leaves, and one that is killed before
        // it has taken anything in proves nothing.
        for worker in bench.workers() {
            worker.ready().await;
        }
        if round % 4 == 2 {
            garage.kill().await;
            bench.fault("Garage killed");
            sleep(Duration::from_millis(pause)).await;
            garage.up().await;
        } else {
            let index = bench.rng.random_range(0..3);
            bench.replace(index);
        }
    }
    bench.sent(sending).await;
    bench.settle().await;
    let silent = bench
        .logs()
        .iter()
        .filter(|log| log.matches("If-None-Match").count() != 1)
        .count();
    let mut outcome = bench.finish().await;
    if silent > 0 {
        outcome.object(format!(
            "{silent} workers do not say, once, that the store overwrites"
        ));
    }
    outcome
}

/// Every job up to four times, every second one against up to three of other content, all of one
/// id one after another: so they are in several hands at the same time.
fn crossing(count: usize, bench: &mut Bench) -> Vec<Letter> {
    let mut letters = Vec::new();
    for number in 0..count {
        let id = format!("e23-{number}");
        let mut same_id = Vec::new();
        let letter = Letter::good(&report(&id, "一次。"));
        for _ in 0..bench.rng.random_range(0..4) {
            same_id.push(letter.clone());
            bench.fault("repeated job");
        }
        same_id.push(letter);
        if number % 2 == 0 {
            let other = Letter::good(&report(&id, "另一份内容。"));
            for _ in 0..bench.rng.random_range(1..4) {
                same_id.push(other.clone());
                bench.fault("other content under the same id");
            }
        }
        for letter in &mut same_id {
            if bench.rng.random_bool(0.5) {
                *letter = letter.clone().urgent();
            }
        }
        same_id.shuffle(&mut bench.rng);
        letters.extend(same_id);
    }
    letters
}

//! E9: an object store that fails, before a real S3 server.

use std::time::Duration;

use rand::RngExt as _;
use tokio::time::sleep;

use crate::Stage;
use crate::bench::{Bench, Outcome};
use crate::letters::mixed;
use crate::proxy::{Proxy, Weather};
use crate::support::stores::Server;
use crate::support::wire::{Harm, Wire};

/// More requests than there will be.
const ALL: usize = 1_000_000;

/// Answers of 500 and 503, answers that are cut off or never come after the deed was done, slow
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

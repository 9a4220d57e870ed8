//! The network between workers and broker.

use std::time::Duration;

use rand::RngExt as _;
use tokio::time::sleep;

use crate::Stage;
use crate::bench::{Bench, Outcome};
use crate::letters::mixed;
use crate::proxy::{Proxy, Weather};

/// E6: nothing passes for a while, in one direction or in both, and nobody is told. Each way comes
/// back once by itself, and once the connections are lost with what was on them.
pub async fn silent(stage: Stage) -> Outcome {
    let mut bench = Bench::on(&stage, stage.node()).await;
    let proxy = Proxy::to(bench.node().port()).await;
    bench.through(proxy.port());
    bench.set("QUEUE__HEARTBEAT", "1");
    let letters = mixed("e6", stage.pick(120, 600), &mut bench.rng);
    let seconds: &[u64] = stage.pick(&[4], &[5, 15, 60]);
    let (jobs, total) = (letters.len(), 3 * seconds.len());
    bench.work(2).await;
    bench.send(letters).await;
    let mut number = 0;
    for pause in seconds {
        for (kind, hold_to_server, hold_to_client) in [
            ("silent to the broker", true, false),
            ("silent to the worker", false, true),
            ("silent both ways", true, true),
        ] {
            number += 1;
            bench.until_heard(jobs * number / (total + 2)).await;
            proxy.set(Weather {
                hold_to_server,
                hold_to_client,
                ..Weather::default()
            });
            bench.fault(kind);
            sleep(Duration::from_secs(*pause)).await;
            if number % 2 == 0 {
                proxy.reset();
                bench.fault("reset after it");
            }
            proxy.pass();
        }
    }
    bench.finish().await
}

/// E7: connections reset in storms and cut within messages; then a slow network, then a narrow
/// one.
pub async fn rough(stage: Stage) -> Outcome {
    let mut bench = Bench::on(&stage, stage.node()).await;
    let proxy = Proxy::to(bench.node().port()).await;
    bench.through(proxy.port());
    let mut letters = mixed("e7", stage.pick(150, 600), &mut bench.rng);
    // One that is larger than any connection may carry would never get into the dead queue, and
    // be given up by the broker.
    letters.retain(|letter| letter.body.len() < 16 * 1024);
    let jobs = letters.len();
    bench.work(2).await;
    bench.send(letters).await;
    for storm in 1..=stage.pick(2, 8) {
        bench.until_heard(jobs * storm / stage.pick(5, 12)).await;
        for _ in 0..bench.rng.random_range(2..5) {
            proxy.reset();
            bench.fault("all connections reset");
            let pause = bench.rng.random_range(20..1500);
            sleep(Duration::from_millis(pause)).await;
        }
    }
    // Mostly in the middle of a frame.
    proxy.set(Weather {
        cut_after: Some(20_000..200_000),
        ..Weather::default()
    });
    proxy.reset();
    let before = proxy.accepted();
    sleep(Duration::from_secs(stage.pick(4, 30))).await;
    for _ in before..proxy.accepted() {
        bench.fault("connection cut within a message");
    }
    let (latency, rate) = (Duration::from_millis(200), 64 * 1024);
    for (kind, weather) in [
        (
            "200 ms late",
            Weather {
                latency,
                ..Weather::default()
            },
        ),
        (
            "64 KiB a second",
            Weather {
                rate,
                ..Weather::default()
            },
        ),
    ] {
        proxy.set(weather);
        proxy.reset();
        bench.fault(kind);
        sleep(Duration::from_secs(stage.pick(4, 30))).await;
    }
    proxy.pass();
    bench.finish().await
}

//! One job, one end, and the work for it done once.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::broker::close_all_connections;
use crate::Stage;
use crate::bench::{Bench, Outcome};
use crate::letters::{Letter, long_report};
use crate::proxy::{Proxy, Role, Weather};

/// Results that were typeset twice are wasted, but of ten no more than three.
const WASTED: f64 = 0.3;

/// E31: large reports, while every connection is closed again and again. A job that comes again is
/// not typeset again for the session that has ended, too.
pub async fn sessions(stage: Stage) -> Outcome {
    let mut bench = Bench::on(&stage, stage.node()).await;
    bench.watched();
    bench.set("RENDER__THREADS", "2");
    bench.set("RENDER__MAX_PAGES", "500");
    let count = stage.pick(32, 48);
    let letters =
        (0..count).map(|number| Letter::good(&long_report(&format!("e31-{number}"), 500)));
    let letters = letters.collect();
    bench.work(1).await;
    bench.send(letters).await;
    // The broker gives up on a job after eleven.
    for _ in 0..stage.pick(4, 8) {
        sleep(Duration::from_secs(stage.pick(3, 6))).await;
        if bench.heard() >= count {
            break;
        }
        close_all_connections(&mut bench).await;
    }
    bench.settle().await;
    let line = "banshi_stage_duration_seconds_count{stage=\"layout\"}";
    let typeset = bench.metric(line).await;
    let most = count as f64 * (1.0 + WASTED);
    bench.bound("typesettings", typeset, most as u64);
    let mut outcome = bench.finish().await;
    outcome
        .notes
        .push(format!("{typeset} typesettings for {count} results"));
    outcome
}

/// E33: workers with other limits take over from each other, one of which is killed when its jobs
/// are stored and nobody knows; and the sender repeats what it has sent. What is stored stays, for
/// whoever looks at it.
pub async fn one_end(stage: Stage) -> Outcome {
    let mut bench = Bench::on(&stage, stage.node()).await;
    let proxy = Proxy::to(bench.node().port()).await;
    bench.through(proxy.port());
    let batch = 8;
    bench.set("QUEUE__PREFETCH", batch.to_string());
    let mut stored: Vec<Letter> = Vec::new();
    // A worker that starts must be able to set the samples, which have seven pages.
    let stricter = [
        ("LIMITS__CHARACTERS", "100", "400000"),
        ("RENDER__MAX_PAGES", "8", "40"),
    ];
    for round in 0..stage.pick(2, 8) {
        let letters: Vec<Letter> = (0..batch)
            .map(|number| Letter::good(&long_report(&format!("e33-{round}-{number}"), 10)))
            .collect();
        bench.work(1).await;
        proxy.set(Weather {
            hold_to_server: true,
            only: Some(Role::Publish),
            ..Weather::default()
        });
        bench.send(letters.clone()).await;
        stored.extend(letters);
        until_stored(&bench, &stored).await;
        // Killed: what was said is lost on its way.
        let mut killed = bench.workers().remove(0);
        killed.kill();
        proxy.reset();
        proxy.pass();
        bench.fault("worker killed between store and event");

        let (limit, strict, usual) = stricter[round % stricter.len()];
        bench.set(limit, strict);
        bench.work(1).await;
        bench.fault(&format!("worker with {limit}={strict}"));
        bench.send(stored.clone()).await;
        bench.faults("repeated job", stored.len());
        bench.settle().await;
        let mut left = bench.workers().remove(0);
        let exit = left.leave().await;
        bench.left(exit);
        bench.set(limit, usual);
    }
    bench.work(1).await;
    bench.finish().await
}

/// Waits until each has its manifest.
async fn until_stored(bench: &Bench, letters: &[Letter]) {
    let begun = Instant::now();
    let manifests = letters
        .iter()
        .filter_map(|letter| letter.sent.key.as_deref())
        .map(|key| bench.store().join(format!("{key}.json")));
    let manifests: Vec<_> = manifests.collect();
    while !manifests.iter().all(|manifest| manifest.exists()) {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "the jobs are not stored"
        );
        sleep(Duration::from_millis(20)).await;
    }
}

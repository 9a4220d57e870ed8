//! What takes its time: a clock that jumps, a backlog that does not end, and a bit of everything
//! for as long as one likes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt as _;
use tokio::time::{Instant, sleep};

use crate::Stage;
use crate::bench::{Bench, Outcome};
use crate::letters::{Letter, mixed, report};
use crate::process::{Usage, send};
use crate::proxy::{Proxy, Weather};

/// Where Debian's package faketime keeps its library.
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

/// E15: the workers' clock jumps by hours and days, forth and back. Nothing but the times in
/// manifests may show it.
pub async fn clock(stage: Stage) -> Outcome {
    assert!(
        Path::new(FAKETIME).exists(),
        "{FAKETIME} is missing: tests/tools/install faults"
    );
    let mut bench = Bench::on(&stage, stage.node()).await;
    let jumps = bench.folder().join("clock");
    std::fs::write(&jumps, "+0").expect("a file");
    for _ in 0..2 {
        let mut command = bench.banshi(&["worker"]);
        command
            .env("LD_PRELOAD", FAKETIME)
            .env("FAKETIME_TIMESTAMP_FILE", &jumps)
            .env("FAKETIME_CACHE_DURATION", "1")
            .env("DONT_FAKE_MONOTONIC", "1");
        let mut worker = bench.start(command);
        worker.ready().await;
        bench.workers().push(worker);
    }
    let letters = mixed("e15", stage.pick(100, 300), &mut bench.rng);
    let jobs = letters.len();
    let sending = bench.sending(letters, Duration::from_millis(40));
    let clocks = ["+1h", "-1h", "-1d", "+30d", "+0"];
    for (number, clock) in clocks.into_iter().enumerate() {
        bench.until_heard(jobs * number / (clocks.len() + 1)).await;
        std::fs::write(&jumps, clock).expect("a file");
        bench.fault(&format!("clock {clock}"));
        sleep(Duration::from_secs(2)).await;
    }
    bench.sent(sending).await;
    bench.finish().await
}

/// E16: a backlog that the workers are far from ending. Urgent jobs pass it, and the workers do
/// not grow with it. What is left of it in the end is purged, and counted.
pub async fn backlog(stage: Stage) -> Outcome {
    let mut bench = Bench::on(&stage, stage.node()).await;
    bench.set("RENDER__THREADS", "2");
    let backlog = stage.pick(2_000, 100_000);
    let letters =
        (0..backlog).map(|number| Letter::good(&report(&format!("e16-{number}"), "积压。")));
    bench.send(letters.collect()).await;
    bench.work(1).await;
    let (mut waits, mut usages) = (Vec::new(), Vec::new());
    for number in 0..stage.pick(5, 60) {
        let letter = Letter::good(&report(&format!("e16-urgent-{number}"), "急件。")).urgent();
        let id = letter.sent.ends.completed.clone();
        let since = Instant::now();
        bench.send(vec![letter]).await;
        while !bench.has_ended(&id) {
            assert!(
                since.elapsed() < Duration::from_secs(120),
                "an urgent job waits"
            );
            sleep(Duration::from_millis(5)).await;
        }
        waits.push(since.elapsed());
        bench.fault("urgent job");
        usages.extend(bench.workers()[0].usage());
        sleep(Duration::from_millis(1000)).await;
    }
    let purged = bench.purge("jobs.bulk").await;
    bench.forget_the_purged(purged).await;
    let mut outcome = bench.finish().await;
    waits.sort();
    let (middle, longest) = (waits[waits.len() / 2], waits[waits.len() - 1]);
    outcome.notes.push(format!(
        "{purged} of {backlog} purged at the end; urgent jobs took {} ms in the middle, {} ms at \
         most",
        middle.as_millis(),
        longest.as_millis()
    ));
    grows(&mut outcome, &usages);
    outcome
}

/// I8: memory, files and threads of a worker are at the end what they were after it had warmed up.
fn grows(outcome: &mut Outcome, usages: &[Usage]) {
    let (Some(early), Some(late)) = (usages.get(usages.len() / 4), usages.last()) else {
        return;
    };
    outcome.notes.push(format!(
        "the worker had {} MiB, {} files, {} threads after a quarter of the time, and {} MiB, {} \
         files, {} threads at the end",
        early.memory / 1024,
        early.files,
        early.threads,
        late.memory / 1024,
        late.files,
        late.threads
    ));
    let memory = late.memory > early.memory + early.memory / 4 + 16 * 1024;
    if memory || late.files > early.files + 8 || late.threads > early.threads + 8 {
        outcome.object(format!("a worker grows: {early:?}, then {late:?}"));
    }
}

/// How long the broker lends a job in the soak, and how often it looks.
const LENT: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(1));

/// E21: everything at random for as long as the run is to last: workers, typesetters and the
/// broker killed, the network silent and reset, connections closed by an administrator before they
/// are a second old, alarms for longer than a job is lent, a store that hangs, messages that cannot
/// be read and a dead queue that is deleted, while jobs come in without an end.
pub async fn soak(stage: Stage) -> Outcome {
    let mut bench = Bench::on(&stage, stage.node()).await;
    let proxy = Proxy::to(bench.node().port()).await;
    bench.through(proxy.port());
    bench.set("QUEUE__HEARTBEAT", "2");
    let hang = bench.hangs();
    let node = Arc::clone(bench.node());
    node.hold_for(LENT.0, LENT.1).await;
    bench.work(2).await;
    let until = Instant::now() + stage.soak();
    let mut round = 0;
    while Instant::now() < until {
        round += 1;
        bench.replace_the_dead();
        let letters = mixed(&format!("e21-{round}"), 100, &mut bench.rng);
        let sending = bench.sending(letters, Duration::from_millis(10));
        let pause = bench.rng.random_range(200..3000);
        sleep(Duration::from_millis(pause)).await;
        match bench.rng.random_range(0..15) {
            0..=2 => {
                let index = bench.rng.random_range(0..2);
                bench.replace(index);
            }
            3 | 4 => {
                let index = bench.rng.random_range(0..2);
                if let Some(typesetter) = bench.workers()[index].typesetters().first() {
                    send("KILL", *typesetter);
                    bench.fault("typesetter killed");
                }
            }
            5 => {
                node.kill().await;
                sleep(Duration::from_millis(pause)).await;
                node.up().await;
                node.hold_for(LENT.0, LENT.1).await;
                bench.fault("broker killed");
            }
            6 | 7 => {
                proxy.reset();
                bench.fault("all connections reset");
            }
            8 => super::wire::send_any(&mut bench).await,
            9 | 10 => {
                node.ctl(&["set_vm_memory_high_watermark", "0.00001"]).await;
                sleep(LENT.0 + Duration::from_millis(pause)).await;
                node.ctl(&["set_vm_memory_high_watermark", "0.4"]).await;
                bench.fault("memory alarm");
            }
            11 => {
                bench.delete_dead().await;
                bench.fault("dead queue deleted");
                let missed = Instant::now();
                while !bench.is_there("dead").await {
                    sleep(Duration::from_millis(200)).await;
                    // Whether they do it in time is E28's question.
                    if missed.elapsed() > Duration::from_secs(20) {
                        bench.declare().await;
                    }
                }
            }
            12 => {
                hang.begin();
                sleep(Duration::from_millis(3 * pause)).await;
                hang.end();
                bench.fault("store's folder hung");
            }
            13 => {
                for _ in 0..3 {
                    super::broker::close_all_connections(&mut bench).await;
                    let pause = bench.rng.random_range(0..1000);
                    sleep(Duration::from_millis(pause)).await;
                }
            }
            _ => {
                let (up, down) = (bench.rng.random_bool(0.6), bench.rng.random_bool(0.6));
                proxy.set(Weather {
                    hold_to_server: up,
                    hold_to_client: down || !up,
                    ..Weather::default()
                });
                sleep(Duration::from_millis(2 * pause)).await;
                proxy.pass();
                bench.fault("network silent");
            }
        }
        bench.sent(sending).await;
    }
    node.hold_as_ever().await;
    bench.finish().await
}

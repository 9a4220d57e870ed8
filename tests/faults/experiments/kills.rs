//! Processes that are killed, or asked to leave.

use std::time::Duration;

use rand::RngExt as _;
use tokio::time::sleep;

use crate::Stage;
use crate::bench::{Bench, Outcome};
use crate::letters::mixed;
use crate::process::send;

/// E1: no fault at all, so that whatever the others show is the faults' doing.
pub async fn none(stage: Stage) -> Outcome {
    let mut bench = Bench::on(&stage, stage.node()).await;
    let letters = mixed("e1", stage.pick(60, 2000), &mut bench.rng);
    bench.work(2).await;
    bench.send(letters).await;
    bench.finish().await
}

/// E2: SIGKILL of one of two workers, and now and then of a typesetter, every half to three
/// seconds.
pub async fn at_random(stage: Stage) -> Outcome {
    let mut bench = Bench::on(&stage, stage.node()).await;
    let letters = mixed("e2", stage.pick(200, 2000), &mut bench.rng);
    let (jobs, kills) = (letters.len(), stage.pick(6, 40));
    bench.work(2).await;
    bench.send(letters).await;
    for kill in 0..kills {
        let pause = bench.rng.random_range(500..stage.pick(1500, 3000));
        sleep(Duration::from_millis(pause)).await;
        // Only while there is work: a kill of an idle worker proves nothing.
        bench
            .until_heard((jobs * kill / (kills + 1)).min(jobs))
            .await;
        let index = bench.rng.random_range(0..2);
        if kill % 3 == 2 {
            bench.workers()[index].ready().await;
            if let Some(typesetter) = bench.workers()[index].typesetters().first() {
                send("KILL", *typesetter);
                bench.fault("typesetter killed");
                continue;
            }
        }
        bench.replace(index);
    }
    bench.finish().await
}

/// E14: one of three workers after another is asked to leave under load, and replaced.
pub async fn rolling(stage: Stage) -> Outcome {
    let mut bench = Bench::on(&stage, stage.node()).await;
    let letters = mixed("e14", stage.pick(120, 1000), &mut bench.rng);
    let (jobs, rounds) = (letters.len(), stage.pick(4, 20));
    bench.work(3).await;
    bench.send(letters).await;
    for round in 0..rounds {
        bench.until_heard(jobs * round / (rounds + 1)).await;
        let index = round % 3;
        let exit = bench.workers()[index].leave().await;
        bench.fault("SIGTERM");
        bench.left(exit);
        let fresh = bench.worker();
        bench.workers()[index] = fresh;
    }
    bench.finish().await
}

//! E0: the judge on trial. The same faults for four workers, of which three are wrong.

use std::time::Duration;

use tokio::time::sleep;

use crate::Stage;
use crate::bench::{Bench, Outcome};
use crate::broken::{Fault, command};
use crate::judge::Kind;
use crate::letters::{Letter, report};
use crate::proxy::{Proxy, Role, Weather};

pub async fn seen(stage: Stage) -> Outcome {
    let mut outcome = under_fault(&stage, Fault::None).await;
    let said = match outcome.verdict.violations.len() {
        0 => "nothing".to_owned(),
        count => format!("{count} violations"),
    };
    outcome
        .notes
        .push(format!("the worker that is right: the judge sees {said}"));
    for fault in [
        Fault::AckBeforeStore,
        Fault::EventBeforeStore,
        Fault::NoConfirm,
    ] {
        let wrong = under_fault(&stage, fault).await;
        let lost = wrong.verdict.count(Kind::Lost);
        outcome
            .notes
            .push(format!("{fault:?}: the judge sees {lost} lost"));
        outcome.size += wrong.size;
        outcome.seconds += wrong.seconds;
        for (kind, count) in wrong.faults {
            *outcome.faults.entry(kind).or_default() += count;
        }
        if let Some(kept) = wrong.kept {
            std::fs::remove_dir_all(kept).expect("it was there");
        }
        if lost == 0 {
            outcome.object(format!("the judge does not object to {fault:?}"));
        }
    }
    outcome
}

/// Kills, and a connection for events that goes silent and is then lost.
async fn under_fault(stage: &Stage, fault: Fault) -> Outcome {
    let mut bench = Bench::on(stage, stage.node()).await;
    let proxy = Proxy::to(bench.node().port()).await;
    bench.through(proxy.port());
    bench.patience(Duration::from_secs(5));
    let worker = bench.start(command(fault, bench.environment()));
    bench.workers().push(worker);
    bench.workers()[0].ready().await;
    let count = stage.pick(60, 200);
    let letters = (0..count).map(|number| Letter::good(&report(&format!("e0-{number}"), "对照。")));
    bench.send(letters.collect()).await;
    for round in 1..=stage.pick(3, 10) {
        bench.until_heard(count * round / stage.pick(6, 20)).await;
        proxy.set(Weather {
            hold_to_server: true,
            only: Some(Role::Publish),
            ..Weather::default()
        });
        sleep(Duration::from_millis(400)).await;
        // What is on its way is lost, and the worker killed in the middle of a job.
        proxy.reset();
        proxy.pass();
        bench.fault("events' connection silent, then lost");
        let worker = bench.start(command(fault, bench.environment()));
        bench.workers()[0].kill();
        bench.fault("worker killed");
        bench.workers()[0] = worker;
        bench.workers()[0].ready().await;
    }
    bench.finish().await
}

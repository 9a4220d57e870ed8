//! E3, the crash table row by row: a worker is killed after each step of a job, when that step is
//! seen to be done and the next one is not.
//!
//! Nothing in the program knows of this. A step is held up from outside, where it meets the
//! network or a process, and seen from outside, in the store, the queues and the archive. Two
//! steps meet nothing but the disk; there the kill is a race, repeated until it was won.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::Stage;
use crate::bench::{Bench, Outcome};
use crate::judge::Ends;
use crate::letters::{Letter, report};
use crate::previous::Build;
use crate::process::send;
use crate::proxy::{Proxy, Role, Weather};
use crate::support::jobs::corpus;

/// How long a state may take to come about.
const SOON: Duration = Duration::from_secs(60);

/// After which step the worker is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Row {
    InHand,
    Staged,
    PdfOnly,
    NotAnnounced,
    NotConfirmed,
    NotAcknowledged,
    RejectionNotKept,
    RejectionNotAcknowledged,
    RetryNotAcknowledged,
}

const ROWS: [Row; 9] = [
    Row::InHand,
    Row::Staged,
    Row::PdfOnly,
    Row::NotAnnounced,
    Row::NotConfirmed,
    Row::NotAcknowledged,
    Row::RejectionNotKept,
    Row::RejectionNotAcknowledged,
    Row::RetryNotAcknowledged,
];

impl Row {
    fn name(self) -> &'static str {
        match self {
            Row::InHand => "in hand, nothing stored",
            Row::Staged => "PDF half written",
            Row::PdfOnly => "PDF stored, no manifest",
            Row::NotAnnounced => "manifest stored, no event",
            Row::NotConfirmed => "event sent, confirm lost",
            Row::NotAcknowledged => "event confirmed, acknowledgement lost",
            Row::RejectionNotKept => "rejection published, not in the dead queue",
            Row::RejectionNotAcknowledged => "in the dead queue, acknowledgement lost",
            Row::RetryNotAcknowledged => "in a retry queue, acknowledgement lost",
        }
    }

    /// What holds the next step up.
    fn weather(self) -> Weather {
        let mut weather = Weather::default();
        match self {
            Row::InHand | Row::Staged | Row::PdfOnly => {}
            Row::NotAnnounced => {
                (weather.hold_to_server, weather.only) = (true, Some(Role::Publish));
            }
            Row::NotConfirmed | Row::RejectionNotKept => {
                (weather.hold_to_client, weather.only) = (true, Some(Role::Publish));
            }
            Row::NotAcknowledged | Row::RejectionNotAcknowledged | Row::RetryNotAcknowledged => {
                (weather.hold_to_server, weather.only) = (true, Some(Role::Consume));
            }
        }
        weather
    }

    fn letter(self, job_id: &str, year: u16) -> Letter {
        match self {
            Row::RejectionNotKept | Row::RejectionNotAcknowledged => {
                let mut job = report(job_id, "退回。");
                job["data"]["agency"] = serde_json::json!("淄博市\u{10FFFF}局");
                Letter::refused(job.to_string().into_bytes(), "E-GLYPH")
            }
            // Of a year of its own, for whose folder something can be in the way.
            Row::RetryNotAcknowledged => {
                let mut job = corpus("hongze-2024");
                job["job_id"] = serde_json::json!(job_id);
                job["data"]["year"] = serde_json::json!(year);
                Letter::good(&job)
            }
            _ => Letter::good(&report(job_id, "崩溃。")),
        }
    }
}

pub async fn after_each_step(stage: Stage) -> Outcome {
    let mut bench = Bench::on(&stage, stage.node()).await;
    let proxy = Proxy::to(bench.node().port()).await;
    bench.through(proxy.port());
    bench.work(1).await;
    let (wanted, tries) = (stage.pick(1, 5), stage.pick(12, 60));
    let missed = rows(&mut bench, &proxy, "e3", &[Build::This], wanted, tries).await;
    let mut outcome = bench.finish().await;
    for row in missed {
        outcome.object(format!("a row of the crash table was not reached: {row}"));
    }
    outcome
}

/// Row after row, each until it was reached so often with each of `builds` as the one that is
/// killed, whose job the next of them takes over. The only worker is of the first. Which rows were
/// not reached.
pub(super) async fn rows(
    bench: &mut Bench,
    proxy: &Proxy,
    name: &str,
    builds: &[Build],
    wanted: usize,
    tries: u16,
) -> Vec<String> {
    let mut missed = Vec::new();
    let mut turn = 0;
    for row in ROWS {
        let mut seen = vec![0; builds.len()];
        for round in 0..tries {
            let killed = turn % builds.len();
            turn += 1;
            let next = builds[turn % builds.len()];
            let fault = match builds.len() {
                1 => row.name().to_owned(),
                _ => format!("killed after a step: {}, then {next}", builds[killed]),
            };
            if crash(bench, proxy, row, name, round, next).await {
                seen[killed] += 1;
                bench.fault(&fault);
            } else {
                bench.fault("killed at another step");
            }
            if seen.iter().all(|seen| *seen >= wanted) {
                break;
            }
        }
        for (build, seen) in builds.iter().zip(seen) {
            if seen < wanted {
                missed.push(format!("{}, {build}: {seen} of {wanted}", row.name()));
            }
        }
    }
    missed
}

/// One job, one kill, and a new worker that brings the job to its end. Whether the worker was
/// killed in the state that was wanted.
async fn crash(
    bench: &mut Bench,
    proxy: &Proxy,
    row: Row,
    name: &str,
    round: u16,
    next: Build,
) -> bool {
    let year = 2030 + round;
    let job_id = format!("{name}-{row:?}-{round}").to_lowercase();
    let letter = row.letter(&job_id, year);
    let key = letter.sent.key.clone().unwrap_or_else(|| "none".to_owned());
    let file = |end: &str| bench.store().join(format!("{key}.{end}"));
    let (pdf, manifest, staged) = (file("pdf"), file("json"), file("pdf#1"));
    let (ends, kept) = (letter.sent.ends.clone(), bench.ready("dead").await);
    let edition = bench.store().join("annual-report/2021");
    let in_the_way = edition.join(year.to_string());
    if row == Row::RetryNotAcknowledged {
        std::fs::create_dir_all(&edition).expect("a folder");
        std::fs::write(&in_the_way, "in the way").expect("a file");
    }
    proxy.set(row.weather());
    let stopped = bench.workers()[0].typesetters();
    if row == Row::InHand {
        stopped
            .iter()
            .for_each(|typesetter| send("STOP", *typesetter));
    }

    // The disk's two steps are watched by a thread that does nothing else.
    let watched = match row {
        Row::Staged => Some([staged.clone(), pdf.clone()]),
        Row::PdfOnly => Some([pdf.clone(), manifest.clone()]),
        _ => None,
    };
    let watch = watched.map(|paths| tokio::task::spawn_blocking(move || spin(&paths)));
    bench.send(vec![letter]).await;
    let since = Instant::now();
    if let Some(watch) = watch {
        watch.await.expect("it is seen");
    } else {
        while !reached(bench, row, &manifest, &ends, kept).await {
            assert!(since.elapsed() < SOON, "{}: waited in vain", row.name());
            sleep(Duration::from_millis(20)).await;
        }
    }
    bench.workers()[0].kill();
    // What was held up is lost with its connection.
    proxy.reset();
    proxy.pass();
    stopped
        .iter()
        .for_each(|typesetter| send("KILL", *typesetter));
    let published = bench.ended();
    let in_time = match row {
        Row::InHand => !pdf.exists() && !staged.exists(),
        Row::Staged => staged.exists() && !pdf.exists(),
        Row::PdfOnly => pdf.exists() && !manifest.exists(),
        Row::NotAnnounced => manifest.exists() && !published.contains(&ends.completed),
        // Nothing else can come: the way was closed.
        _ => true,
    };
    if row == Row::RetryNotAcknowledged {
        std::fs::remove_file(&in_the_way).expect("it was in the way");
    }
    // A race can be lost altogether: the job is done, and nothing is left for the next worker.
    let is_race = matches!(row, Row::Staged | Row::PdfOnly);
    let done = is_race && brought_home(&bench.workers()[0].log(), &job_id);
    let fresh = bench.worker_of(next);
    bench.workers()[0] = fresh;
    bench.workers()[0].ready().await;
    let since = Instant::now();
    while !done && !brought_home(&bench.workers()[0].log(), &job_id) {
        assert!(since.elapsed() < SOON, "{job_id} does not come to its end");
        sleep(Duration::from_millis(20)).await;
    }
    // For the acknowledgement to pass before the next weather.
    sleep(Duration::from_millis(50)).await;
    in_time
}

/// Whether the state has come about, as far as it can be seen from outside.
async fn reached(bench: &Bench, row: Row, manifest: &Path, ends: &Ends, kept: u32) -> bool {
    // Time for the next step to be tried, and held up.
    const TRIED: Duration = Duration::from_millis(100);
    match row {
        Row::InHand => {
            let taken = bench.ready("jobs.bulk").await == 0;
            sleep(TRIED).await;
            taken
        }
        Row::NotAnnounced => {
            let stored = manifest.exists();
            sleep(TRIED).await;
            stored
        }
        Row::NotConfirmed | Row::RejectionNotKept => ends.any_in(&bench.ended()),
        Row::NotAcknowledged => {
            let published = bench.ended().contains(&ends.completed);
            sleep(TRIED).await;
            published
        }
        Row::RejectionNotAcknowledged => {
            let dead_lettered = bench.ready("dead").await > kept;
            sleep(TRIED).await;
            dead_lettered
        }
        Row::RetryNotAcknowledged => {
            let waits = bench.ready("retry.5s").await > 0;
            sleep(TRIED).await;
            waits
        }
        Row::Staged | Row::PdfOnly => unreachable!("it is watched for"),
    }
}

/// Whether a worker says that it has acknowledged a job.
fn brought_home(log: &str, job_id: &str) -> bool {
    let outcomes = ["worker: completed", "worker: rejected"];
    log.lines()
        .filter(|line| line.contains(job_id))
        .any(|line| outcomes.iter().any(|outcome| line.contains(outcome)))
}

/// Looks for either file without a pause.
fn spin(paths: &[PathBuf; 2]) {
    let since = std::time::Instant::now();
    while !paths.iter().any(|path| path.exists()) {
        assert!(
            since.elapsed() < SOON,
            "{} did not come",
            paths[0].display()
        );
        std::hint::spin_loop();
    }
}

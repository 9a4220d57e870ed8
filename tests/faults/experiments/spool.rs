//! E22: several workers on one spool, killed at random. The same judge, with folders for queues.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use banshi::digest::sha256;
use rand::RngExt as _;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::Stage;
use crate::bench::Outcome;
use crate::judge::{Dead, Depth, Observation, ReceivedEvent, judge};
use crate::letters::{Letter, mixed};
use crate::process::Worker;
use crate::store_view::StoreView;
use crate::support::{BANSHI, repository};

const WORKERS: usize = 3;
/// How long the whole may take.
const PATIENCE: Duration = Duration::from_secs(600);

struct Spool {
    folder: tempfile::TempDir,
}

impl Spool {
    fn path(&self, inside: &str) -> PathBuf {
        self.folder.path().join(inside)
    }

    fn worker(&self) -> Worker {
        let mut command = Command::new(BANSHI);
        command
            .arg("worker")
            .env(
                "BANSHI__QUEUE__URL",
                format!("spool:{}", self.path("spool").display()),
            )
            .env(
                "BANSHI__STORE__URL",
                format!("file:{}", self.path("store").display()),
            )
            .env("BANSHI__STORE__CREATE", "always")
            .env("BANSHI__FONTS__DIR", repository("fonts"))
            .env("BANSHI__ADMIN__LISTEN", "")
            .env("BANSHI__RENDER__THREADS", "1")
            .env("BANSHI__RENDER__MAX_PAGES", "40")
            .current_dir(self.folder.path());
        let log = self.path(&format!("worker-{:08x}.log", rand::random::<u32>()));
        Worker::start(command, log)
    }

    /// Writes elsewhere, then renames in.
    fn send(&self, number: usize, letter: &Letter) {
        let part = self.path("part");
        std::fs::write(&part, &letter.body).expect("a file");
        let job = self.path(&format!("spool/jobs/{number:05}.json"));
        std::fs::rename(part, job).expect("renamed in");
    }

    fn store_view(&self) -> StoreView {
        StoreView::Folder(self.path("store"))
    }

    async fn events(&self) -> Vec<ReceivedEvent> {
        let mut events = Vec::new();
        for path in files(&self.path("spool/events")) {
            if path.extension().is_some_and(|end| end == "json") {
                let body = std::fs::read(path).expect("an event");
                let stored_when_heard = self.store_view().holds_what_is_published(&body).await;
                events.push(ReceivedEvent {
                    body,
                    stored_when_heard,
                });
            }
        }
        events
    }

    /// Jobs on their way, by folder.
    fn on_the_way(&self) -> BTreeMap<String, Depth> {
        let mut queues = BTreeMap::new();
        for folder in ["jobs", "retry", "claimed"] {
            let found = files(&self.path(&format!("spool/{folder}")));
            let jobs = found
                .iter()
                .filter(|path| path.extension().is_some_and(|end| end == "json"));
            let depth = Depth {
                ready: jobs.count() as u64,
                ..Depth::default()
            };
            queues.insert(folder.to_owned(), depth);
        }
        queues
    }

    fn dead(&self) -> Vec<Dead> {
        let mut dead = Vec::new();
        for path in files(&self.path("spool/dead")) {
            let name = path.to_string_lossy().into_owned();
            let Some(stem) = name.strip_suffix(".reason.json") else {
                continue;
            };
            let reason = std::fs::read(&path).expect("a reason");
            let reason: Value = serde_json::from_slice(&reason).expect("JSON");
            let body = std::fs::read(format!("{stem}.json")).expect("a job");
            let code = reason["code"].as_str().unwrap_or("none").to_owned();
            dead.push(Dead {
                body: sha256(&body),
                code,
            });
        }
        dead
    }
}

pub async fn raced(stage: Stage) -> Outcome {
    let started = Instant::now();
    let mut rng = stage.rng();
    let spool = Spool {
        folder: tempfile::tempdir().expect("a temporary folder"),
    };
    std::fs::create_dir_all(spool.path("spool/jobs")).expect("a folder");
    let letters = mixed("e22", stage.pick(150, 1000), &mut rng);
    for (number, letter) in letters.iter().enumerate() {
        spool.send(number, letter);
    }
    let mut faults = BTreeMap::new();
    let mut workers: Vec<Worker> = (0..WORKERS).map(|_| spool.worker()).collect();
    let kills = stage.pick(6, 40);
    let mut killed = 0;
    while spool.on_the_way().values().any(|depth| depth.ready > 0) {
        assert!(started.elapsed() < PATIENCE, "the spool does not get empty");
        sleep(Duration::from_millis(rng.random_range(100..700))).await;
        let left = spool.on_the_way()["jobs"].ready as usize;
        if killed < kills && left * (kills + 1) < letters.len() * (kills - killed) {
            let index = rng.random_range(0..WORKERS);
            workers[index].kill();
            workers[index] = spool.worker();
            killed += 1;
            *faults.entry("worker killed".to_owned()).or_default() += 1;
        }
    }
    let mut exits = Vec::new();
    for worker in &mut workers {
        // One that has just been started is not to be asked before it can hear.
        worker.ready().await;
        exits.push(worker.leave().await);
    }
    let mut swept = spool.worker();
    swept.ready().await;
    exits.push(swept.leave().await);
    let seen = Observation {
        sent: letters.iter().map(|letter| letter.sent.clone()).collect(),
        events: spool.events().await,
        store: spool.store_view().list().await,
        dead: spool.dead(),
        queues: spool.on_the_way(),
        exits,
        ..Observation::default()
    };
    let verdict = judge(&seen);
    let kept = (!verdict.violations.is_empty()).then(|| spool.folder.keep());
    Outcome {
        size: letters.len(),
        faults,
        verdict,
        seconds: started.elapsed().as_secs(),
        notes: Vec::new(),
        kept,
    }
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.path() {
            path if path.is_dir() => found.extend(files(&path)),
            path => found.push(path),
        }
    }
    found
}

//! The archive that fills packages (`banshi archive`), under faults of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use banshi::digest::sha256;
use rand::RngExt as _;
use serde_json::Value;
use tokio::time::sleep;

use crate::Stage;
use crate::bench::{Bench, Outcome};
use crate::judge::Archived;
use crate::letters::{Letter, mixed, report};
use crate::process::Worker;
use crate::support::hang::Hang;
use crate::support::repository;

/// E38: `banshi archive` is killed at random while workers work, the broker is killed, and the
/// store's folder does not answer the archive. In the end its packages hold each result once, byte
/// for byte as it is stored, other people's BagIt finds them valid, and they are the same bytes as
/// those of an archive that nothing happened to.
pub async fn archived(stage: Stage) -> Outcome {
    let mut bench = Bench::on(&stage, stage.node()).await;
    let node = Arc::clone(bench.node());
    let hang = Hang::below(&bench.store());
    let mut archive = Archive {
        most: stage.pick("40", "1000"),
        dir: bench.folder().join("packages"),
        started: 0,
    };
    let letters = letters(&stage, &mut bench);
    let jobs = letters.len();
    bench.work(2).await;
    let sending = bench.sending(letters, Duration::from_millis(stage.pick(40, 5)));
    let mut running = archive.start(&bench, &hang);
    let mut round = 0;
    // However fast the jobs are, each of the faults comes once.
    while bench.heard() < jobs || round < 6 {
        let pause = bench.rng.random_range(100..stage.pick(1_000, 8_000));
        sleep(Duration::from_millis(pause)).await;
        round += 1;
        match round % 8 {
            3 => {
                node.kill().await;
                sleep(Duration::from_millis(pause)).await;
                node.up().await;
                bench.fault("broker killed");
            }
            6 => {
                hang.begin();
                sleep(Duration::from_secs(3)).await;
                // Killed while it waits, every second time.
                if bench.rng.random_bool(0.5) {
                    running.kill();
                    bench.fault("archive killed");
                }
                hang.end();
                bench.fault("store silent to the archive");
            }
            _ => {
                running.kill();
                bench.fault("archive killed");
            }
        }
        // One that starts while its broker is out says so and leaves; whoever supervises it starts
        // it again.
        if !running.lives() {
            running = archive.start(&bench, &hang);
        }
    }
    bench.sent(sending).await;
    bench.settle().await;
    if running.lives() {
        let exit = running.leave().await;
        bench.left(exit);
    }
    let ended = archive.ran(&bench, &["--once", "--close"]);
    bench.left(ended.status.code());
    let audit = run(bench.banshi(&["archive", "check", &archive.dir.display().to_string()]));
    bench.left(audit.status.code());
    let packages = archive.packages();
    for package in &packages {
        bench.left(validated(package));
    }
    let archived = packages.iter().flat_map(|package| reports(package));
    bench.note_archived(archived.collect());

    // The same, in one go.
    let other = Archive {
        dir: bench.folder().join("in-one-go"),
        ..archive.clone()
    };
    let ended = other.ran(&bench, &["--once", "--close"]);
    bench.left(ended.status.code());
    let (one, another) = (digests(&archive.dir), digests(&other.dir));
    let differ = one.iter().filter(|it| another.get(it.0) != Some(it.1));
    let differ = differ.count() + another.len().abs_diff(one.len());
    bench.bound(
        format!(
            "of {} files, those that one in one go has otherwise",
            one.len()
        ),
        differ as u64,
        0,
    );
    let mut outcome = bench.finish().await;
    outcome.notes.push(format!("{} packages", packages.len()));
    outcome
}

/// Short reports, and every tenth job spoilt.
fn letters(stage: &Stage, bench: &mut Bench) -> Vec<Letter> {
    let mut letters = mixed("e38", stage.pick(100, 10_000), &mut bench.rng);
    // Of another document's year, a few.
    for number in 0..5 {
        let mut job = report(&format!("e38-2019-{number}"), "上一年度的报告。");
        job["data"]["year"] = serde_json::json!(2019);
        letters.push(Letter::good(&job));
    }
    letters
}

#[derive(Clone)]
struct Archive {
    /// Reports in a package.
    most: &'static str,
    dir: PathBuf,
    started: u32,
}

impl Archive {
    fn command(&self, bench: &Bench, arguments: &[&str]) -> Command {
        let dir = self.dir.display().to_string();
        let mut all = vec!["archive", &dir, "--max-reports", self.most];
        all.extend(arguments);
        bench.banshi(&all)
    }

    /// One that goes on until it is killed, and feels when the store hangs.
    fn start(&mut self, bench: &Bench, hang: &Hang) -> Worker {
        self.started += 1;
        let mut command = self.command(bench, &[]);
        command
            .envs(hang.variables())
            .env("BANSHI__STORE__TIMEOUT", "2");
        let log = bench.folder().join(format!("archive-{}.log", self.started));
        Worker::start(command, log)
    }

    /// One that ends by itself.
    fn ran(&self, bench: &Bench, arguments: &[&str]) -> Output {
        run(self.command(bench, arguments))
    }

    /// The closed packages.
    fn packages(&self) -> Vec<PathBuf> {
        let mut packages = Vec::new();
        for entry in std::fs::read_dir(&self.dir).expect("the archive") {
            let path = entry.expect("an entry").path();
            if path.join("bagit.txt").is_file() {
                packages.push(path);
            }
        }
        packages.sort();
        packages
    }
}

fn run(mut command: Command) -> Output {
    let output = command.output().expect("it starts");
    if !output.status.success() {
        eprintln!("{}", String::from_utf8_lossy(&output.stdout));
        eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    }
    output
}

/// How the Library of Congress's BagIt ends over a package.
fn validated(package: &Path) -> Option<i32> {
    let python = repository("target/tools/deploy/bin/python");
    let mut command = Command::new(python);
    command
        .args(["-m", "bagit", "--quiet", "--validate"])
        .arg(package);
    run(command).status.code()
}

/// The reports in a package, by what is in their folders.
fn reports(package: &Path) -> Vec<Archived> {
    let mut reports = Vec::new();
    for (path, bytes) in files(&package.join("data/电子档案")) {
        if !path.ends_with(".pdf") {
            continue;
        }
        let manifest = std::fs::read(format!("{}.json", path.trim_end_matches(".pdf")));
        let says = manifest
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok());
        let says: Value = says.unwrap_or_default();
        let template = says["template"]["name"].as_str().unwrap_or_default();
        let job_id = says["job_id"].as_str().unwrap_or_default();
        reports.push(Archived {
            key: format!("{template}/{}/{job_id}", says["year"]),
            sha256: sha256(&bytes),
        });
    }
    reports
}

/// The digests of the packages' files, by their paths; what the archive keeps for itself aside.
fn digests(dir: &Path) -> BTreeMap<String, String> {
    let root = format!("{}/", dir.display());
    let digest = |(path, bytes): (String, Vec<u8>)| {
        let inside = path.strip_prefix(&root).unwrap_or(&path).to_owned();
        (inside, sha256(&bytes))
    };
    let mut digests: BTreeMap<String, String> = files(dir).map(digest).collect();
    digests.remove("journal.jsonl");
    digests
}

/// The files below a folder, read one after another.
fn files(dir: &Path) -> impl Iterator<Item = (String, Vec<u8>)> {
    let (mut paths, mut folders) = (BTreeSet::new(), vec![dir.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten() {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                true => folders.push(path),
                false => drop(paths.insert(path)),
            }
        }
    }
    paths.into_iter().map(|path| {
        let bytes = std::fs::read(&path).expect("a file");
        (path.display().to_string(), bytes)
    })
}

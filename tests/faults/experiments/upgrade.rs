//! Two builds on one queue.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::steps::rows;
use crate::Stage;
use crate::bench::{Bench, Outcome};
use crate::letters::{mixed, template_digests};
use crate::previous::Build;
use crate::proxy::Proxy;

use Build::{Previous, This};

/// E34: a deployment that the earlier build has begun. First each of the two is killed after each
/// step of a job, which the other takes over. Then three workers are replaced one after another
/// under load, by SIGKILL and SIGTERM in turn: the upgrade, its rollback, and the upgrade again. In
/// the end the queues are migrated, and the earlier build takes over once more.
pub async fn there_and_back(stage: Stage) -> Outcome {
    let mut bench = Bench::begun_by(&stage, stage.previous()).await;
    let proxy = Proxy::to(bench.node().port()).await;
    bench.through(proxy.port());
    let mut first = bench.worker_of(Previous);
    first.ready().await;
    bench.workers().push(first);
    let builds = [Previous, This];
    let missed = rows(&mut bench, &proxy, "e34", &builds, stage.pick(1, 3), 60).await;
    proxy.pass();
    let mut last = bench.workers().remove(0);
    let exit = last.leave().await;
    bench.left(exit);

    let letters = mixed("e34", stage.pick(100, 600), &mut bench.rng);
    let (letters, others) = bench.previous().expect("an earlier build").agreed(letters);
    let (jobs, before) = (letters.len(), bench.heard());
    for _ in 0..3 {
        let mut worker = bench.worker_of(Previous);
        worker.ready().await;
        bench.workers().push(worker);
    }
    bench.send(letters).await;
    let there = [This; 3];
    let back = [Previous; 3];
    let way = [there, back].repeat(stage.pick(1, 3));
    let way: Vec<Build> = way.into_iter().chain([there]).flatten().collect();
    for (round, build) in way.iter().copied().enumerate() {
        bench
            .until_heard(before + jobs * round / (way.len() + 1))
            .await;
        let index = round % 3;
        let other = if build == This { Previous } else { This };
        if round % 2 == 0 {
            bench.workers()[index].kill();
            bench.fault(&format!("SIGKILL of {other}"));
        } else {
            let exit = bench.workers()[index].leave().await;
            bench.left(exit);
            bench.fault(&format!("SIGTERM of {other}"));
        }
        let fresh = bench.worker_of(build);
        bench.workers()[index] = fresh;
        bench.workers()[index].ready().await;
    }
    bench.settle().await;
    back_after_the_migration(&mut bench, stage.pick(20, 100)).await;
    let Wrong { ours, theirs } = against_their_manifests(&bench).await;
    let what = "stored files that are not what this build's manifests say";
    bench.bound(what, ours.len() as u64, 0);
    let mut outcome = bench.finish().await;
    for row in missed {
        outcome.object(format!("a row of the crash table was not reached: {row}"));
    }
    outcome.notes.extend(ours.into_iter().take(5));
    outcome.notes.push(format!(
        "{others} of the jobs were not sent, of which the two builds say different things; {theirs} \
         files are not what the earlier build's manifests say"
    ));
    outcome
}

/// The upgrade is ended: queues get the arguments of this build. Then it is taken back all the same,
/// by workers of the earlier build that declare nothing.
async fn back_after_the_migration(bench: &mut Bench, jobs: usize) {
    let migrated = bench.banshi(&["topology", "migrate"]).output();
    let migrated = migrated.expect("it starts");
    let said = String::from_utf8_lossy(&migrated.stderr);
    assert!(migrated.status.success(), "{said}");
    bench.fault("queues migrated");
    bench.set("QUEUE__TOPOLOGY", "verify");
    for index in 0..bench.workers().len() {
        let exit = bench.workers()[index].leave().await;
        bench.left(exit);
        bench.fault(&format!("SIGTERM of {This}"));
        let fresh = bench.worker_of(Previous);
        bench.workers()[index] = fresh;
        bench.workers()[index].ready().await;
    }
    let letters = mixed("e34-back", jobs, &mut bench.rng);
    let (letters, _) = bench.previous().expect("an earlier build").agreed(letters);
    bench.send(letters).await;
    bench.settle().await;
}

/// The files that are not what their manifests say: by whom the manifest is.
struct Wrong {
    /// What is said of each.
    ours: Vec<String>,
    /// How many.
    theirs: usize,
}

/// Holds every stored file against its manifest, whichever build has set it.
async fn against_their_manifests(bench: &Bench) -> Wrong {
    let mut files = Vec::new();
    pdfs(bench.store(), &mut files);
    let mut command = bench.banshi(&["verify", "--manifest", "--format", "json"]);
    command.args(files);
    let verified = tokio::task::spawn_blocking(move || command.output());
    let verified = verified.await.expect("it is waited for");
    let told = String::from_utf8(verified.expect("it starts").stdout).expect("JSON");
    let digests = template_digests();
    let mut wrong = Wrong {
        ours: Vec::new(),
        theirs: 0,
    };
    for line in told.lines() {
        let said: Value = serde_json::from_str(line).expect("an object a line");
        if said["ok"] == true {
            continue;
        }
        let file = said["file"].as_str().expect("a file");
        let manifest = std::fs::read(Path::new(file).with_extension("json")).expect("a manifest");
        let manifest: Value = serde_json::from_slice(&manifest).expect("JSON");
        let template = manifest["template"]["sha256"].as_str().expect("a digest");
        if digests.contains(template) {
            wrong.ours.push(format!("{file}: {said}"));
        } else {
            // Of a file of ours it names a template of its own: it was not mended yet.
            wrong.theirs += 1;
        }
    }
    wrong
}

fn pdfs(folder: PathBuf, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        match entry.path() {
            path if path.is_dir() => pdfs(path, found),
            path if path.extension().is_some_and(|end| end == "pdf") => found.push(path),
            _ => {}
        }
    }
}

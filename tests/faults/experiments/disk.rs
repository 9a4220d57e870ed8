//! The disk: a store that is full, and a spool.

use std::process::Command;
use std::time::Duration;

use tokio::time::sleep;

use crate::Stage;
use crate::bench::{Bench, Outcome};
use crate::letters::mixed;

/// E10: the store's disk is full, and then it is not.
pub async fn full(stage: Stage) -> Outcome {
    let mut bench = Bench::on(&stage, stage.node()).await;
    let store = bench.store();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=128m", "banshi-faults"])
        .arg(&store)
        .status();
    assert!(
        mounted.is_ok_and(|status| status.success()),
        "the disk that is to be full is a tmpfs, which only root can mount"
    );
    let _mount = Mount(store.clone());
    let ballast = store.join(".ballast");
    let letters = mixed("e10", stage.pick(60, 200), &mut bench.rng);
    let jobs = letters.len();
    bench.work(2).await;
    bench.send(letters).await;
    for round in 1..=stage.pick(1, 3) {
        bench.until_heard(jobs * round / stage.pick(3, 6)).await;
        // Fills what is left to the last byte.
        drop(std::fs::write(&ballast, vec![0; 128 << 20]));
        bench.fault("disk full");
        sleep(Duration::from_secs(stage.pick(4, 20))).await;
        std::fs::remove_file(&ballast).expect("it was there");
    }
    bench.finish().await
}

/// Unmounts.
struct Mount(std::path::PathBuf);

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: what an experiment that failed has left open does not matter.
        let unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} is still mounted", self.0.display());
        }
    }
}

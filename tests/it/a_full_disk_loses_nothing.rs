//! A disk that is full, read-only or not mounted: nothing half written is ever seen, the job waits,
//! and it is done when there is space again. Each test runs in a process with a small disk of its
//! own, which only that process sees.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use banshi::config;
use banshi::digest::sha256;
use banshi::problem::Failure;
use banshi::store::Store;
use serde_json::json;

use crate::support::deployment::Deployment;
use crate::support::jobs::{CORPUS, corpus};
use crate::support::settings;
use crate::support::stores::Place;
use crate::the_store_keeps_its_promises::{
    assert_conflict, assert_outage, manifest_of, pdf, pdf_of, put,
};

/// Megabytes of the small disk: room for a pipeline, and soon full.
const DISK: u32 = 16;

/// The file by which a process knows that its temporary folder is the small disk.
const SMALL: &str = "this-is-the-small-disk";

/// Runs a test of this module, one that is `#[ignore]`d otherwise, where `TMPDIR` is a small disk.
fn on_a_small_disk(test: &str) {
    run_on_a_small_disk(module_path!(), test);
}

/// The same for a test of another module.
pub fn run_on_a_small_disk(module: &str, test: &str) {
    let dir = tempfile::tempdir().unwrap();
    let module = module.split_once("::").map_or("", |(_, module)| module);
    let mounts = format!(
        "mount -t tmpfs -o size={DISK}m small \"$TMPDIR\" && touch \"$TMPDIR/{SMALL}\" && exec \
         \"$0\" \"$@\""
    );
    let mut command = Command::new("unshare");
    // Root of a namespace of users may mount as well, so that nobody needs to be root for this.
    let id = Command::new("id").arg("-u").output().unwrap().stdout;
    if id != b"0\n" {
        command.arg("--map-root-user");
    }
    let ran = command
        .args(["--mount", "sh", "-c", &mounts])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &format!("{module}::{test}"), "--ignored"])
        .env("TMPDIR", dir.path())
        .output()
        .expect("unshare, of util-linux, is there");
    let (out, err) = (
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr),
    );
    assert!(
        out.contains("running 1 test"),
        "a small disk could not be mounted, which takes root, or a namespace of users: {err}"
    );
    assert!(ran.status.success(), "{out}{err}");
}

/// The small disk that a test was given; none, when it was started by hand.
pub fn small_disk() -> Option<PathBuf> {
    Some(std::env::temp_dir()).filter(|dir| dir.join(SMALL).exists())
}

/// A file that takes what space there is.
pub struct Ballast(File, PathBuf);

impl Ballast {
    pub fn fill(disk: &Path) -> Ballast {
        let path = disk.join("ballast");
        let mut file = File::create(&path).unwrap();
        loop {
            match file.write_all(&[0; 4096]) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => break,
                Err(error) => panic!("{error}"),
            }
        }
        Ballast(file, path)
    }

    fn free(&self, bytes: u64) {
        let length = self.0.metadata().unwrap().len();
        self.0.set_len(length - bytes).unwrap();
    }
}

impl Drop for Ballast {
    fn drop(&mut self) {
        fs::remove_file(&self.1).unwrap();
    }
}

#[test]
fn a_store_shows_nothing_half_written_wherever_its_disk_gets_full() {
    on_a_small_disk("child_whose_store_is_full");
}

#[tokio::test]
#[ignore = "run by a_store_shows_nothing_half_written_wherever_its_disk_gets_full"]
async fn child_whose_store_is_full() {
    let Some(disk) = small_disk() else { return };
    let place = Place::folder();
    let store = place.ready().await;
    let content = "content ".repeat(3000);
    put(&store, "before", &content, "us")
        .await
        .map(drop)
        .unwrap();
    let before = place.files().await;

    let ballast = Ballast::fill(&disk);
    let outage = store.ready().await.unwrap_err();
    assert!(outage.message.contains("free some space"), "{outage}");
    let (mut nothing, mut without_manifest) = (0, 0);
    let stored = loop {
        match put(&store, "a", &content, "us").await {
            Ok(stored) => break stored,
            Err(Failure::Rejected(rejection)) => panic!("not the job's fault: {rejection:?}"),
            outage => assert_outage(outage, "free some space"),
        }
        let mut files = place.files().await;
        files.retain(|file| !before.contains(file));
        match place.read(&pdf_of("a")).await {
            None => nothing += 1,
            Some(kept) => {
                assert_eq!(kept, pdf(&content, "us"), "whole");
                assert!(files.remove(&pdf_of("a")));
                without_manifest += 1;
            }
        }
        assert!(files.is_empty(), "left over: {files:?}");
        // A page more, and once more.
        ballast.free(4096);
    };
    assert!(
        nothing > 0 && without_manifest > 0,
        "{nothing} times not even the PDF, {without_manifest} times not the manifest"
    );
    let kept = place.read(&pdf_of("a")).await.unwrap();
    assert_eq!(stored.manifest().artifact.sha256, sha256(&kept));
    assert!(place.read(&manifest_of("a")).await.is_some());
    assert_eq!(place.files().await.len(), 4);
}

#[test]
fn a_store_that_becomes_read_only_is_an_outage_until_it_is_writable() {
    on_a_small_disk("child_whose_store_is_read_only");
}

#[tokio::test]
#[ignore = "run by a_store_that_becomes_read_only_is_an_outage_until_it_is_writable"]
async fn child_whose_store_is_read_only() {
    let Some(disk) = small_disk() else { return };
    let mount = |how: &str| {
        let options = format!("remount,{how},size={DISK}m");
        let status = Command::new("mount")
            .args(["-o", &options])
            .arg(&disk)
            .status();
        assert!(status.unwrap().success(), "{how}");
    };
    let place = Place::folder();
    drop(place.ready().await);
    mount("ro");
    let outage = Store::open(&place.settings).unwrap_err();
    assert!(outage.message.contains("mount it writable"), "{outage}");
    mount("rw");
    let store = place.ready().await;
    // A disk turns read-only under a worker by errors, which no open file hinders; a remount is
    // hindered by one that is open for writing, as the store's lock is. Bound read-only over
    // itself it is the same to see.
    let bind = |arguments: &[&str]| {
        let status = Command::new("mount")
            .args(arguments)
            .arg(place.path())
            .status();
        assert!(status.unwrap().success(), "{arguments:?}");
    };
    let path = place.path().to_str().unwrap().to_owned();
    bind(&["--bind", &path]);
    bind(&["-o", "remount,bind,ro"]);
    let outage = store.ready().await.unwrap_err();
    assert!(outage.message.contains("mount it writable"), "{outage}");
    assert_outage(put(&store, "a", "one", "us").await, "mount it writable");
    assert!(place.files().await.is_empty());
    let status = Command::new("umount").arg(place.path()).status();
    assert!(status.unwrap().success());
    store.ready().await.unwrap();
    put(&store, "a", "one", "us").await.map(drop).unwrap();
    assert_eq!(place.files().await.len(), 2);
}

#[test]
fn a_store_whose_disk_is_not_mounted_is_not_made_on_the_disk_below() {
    on_a_small_disk("child_whose_store_is_not_mounted");
}

#[tokio::test]
#[ignore = "run by a_store_whose_disk_is_not_mounted_is_not_made_on_the_disk_below"]
async fn child_whose_store_is_not_mounted() {
    let Some(disk) = small_disk() else { return };
    let (real, here) = (disk.join("real"), disk.join("reports"));
    fs::create_dir(&real).unwrap();
    fs::create_dir(&here).unwrap();
    let mounting = |command: &mut Command| assert!(command.status().unwrap().success());
    let mount = || mounting(Command::new("mount").arg("--bind").args([&real, &here]));
    // A store in use holds its lock's file open: a disk that is lost, not one that is unmounted.
    let lose = || mounting(Command::new("umount").arg("--lazy").arg(&here));
    let below = || fs::read_dir(&here).unwrap().count();
    let deployment = Deployment::spool()
        .with("STORE__URL", &format!("file:{}", here.display()))
        .with("STORE__CREATE", "auto");
    let settings = config::Store {
        url: format!("file:{}", here.display()),
        ..settings().store
    };
    let init = || deployment.banshi(&["store", "init"]).output().unwrap();

    mount();
    let said = deployment.banshi(&["worker", "--until-idle"]).output();
    let said = said.unwrap();
    assert_eq!(said.status.code(), Some(3));
    let why = String::from_utf8_lossy(&said.stderr);
    assert!(why.contains("banshi store init"), "{why}");
    for says in ["a new store", "a store already"] {
        let said = init();
        assert_eq!(said.status.code(), Some(0));
        assert!(String::from_utf8_lossy(&said.stdout).contains(says));
    }
    let store = Store::open(&settings).unwrap();
    store.ready().await.unwrap();
    put(&store, "a", "one", "us").await.map(drop).unwrap();

    lose();
    assert_outage(put(&store, "a", "two", "us").await, "mount or make it");
    let outage = store.probe().await.unwrap_err();
    assert!(outage.chain().contains("is it mounted?"), "{outage}");
    let outage = Store::open(&settings).unwrap_err();
    assert!(outage.message.contains("is it mounted?"), "{outage}");
    deployment.send("a", b"{}").await;
    let said = deployment.banshi(&["worker", "--until-idle"]).output();
    assert_eq!(said.unwrap().status.code(), Some(3));
    assert_eq!(below(), 0, "something was put on the disk below");

    mount();
    store.probe().await.unwrap();
    assert_conflict(put(&store, "a", "two", "us").await, "a");
    put(&store, "b", "one", "us").await.map(drop).unwrap();
    deployment.work_until_idle();
    lose();
    assert_eq!(below(), 0);
    assert!(real.join(pdf_of("b")).exists());
}

#[test]
fn a_job_waits_for_space_in_the_store_and_is_then_done_once() {
    on_a_small_disk("child_whose_disk_is_full");
}

#[tokio::test]
#[ignore = "run by a_job_waits_for_space_in_the_store_and_is_then_done_once"]
async fn child_whose_disk_is_full() {
    let Some(disk) = small_disk() else { return };
    // Spool, store and log: everything is on the small disk.
    waits_for_space(&disk, Deployment::spool()).await;
}

#[test]
fn an_event_waits_for_space_in_the_spool_and_is_then_said_once() {
    on_a_small_disk("child_whose_spool_is_full");
}

#[tokio::test]
#[ignore = "run by an_event_waits_for_space_in_the_spool_and_is_then_said_once"]
async fn child_whose_spool_is_full() {
    let Some(disk) = small_disk() else { return };
    let elsewhere = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let url = format!("file:{}", elsewhere.path().display());
    let deployment = Deployment::spool().with("STORE__URL", &url);
    waits_for_space(&disk, deployment).await;
    let stored = fs::read_dir(elsewhere.path().join("annual-report")).unwrap();
    assert!(stored.count() > 0);
}

/// A worker whose disk gets full before its job comes.
async fn waits_for_space(disk: &Path, deployment: Deployment) {
    deployment.work_until_idle();
    let worker = deployment.worker();
    deployment
        .until("the worker is ready", async |_| {
            worker.log().contains("ready")
        })
        .await;
    let job = corpus(CORPUS[0]);
    let part = deployment.folder().join("job.part");
    fs::write(&part, job.to_string()).unwrap();
    let ballast = Ballast::fill(disk);
    let jobs = deployment.folder().join("spool/jobs");
    fs::rename(&part, jobs.join("job.json")).unwrap();
    deployment
        .until("the job is taken", async |_| {
            fs::read_dir(&jobs).unwrap().count() == 0
        })
        .await;
    // Time enough for it to be typeset, to find the disk full, and to come again.
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert!(deployment.events().await.is_empty());
    let half = |name: &String| name.contains(['#', '~']) || name.ends_with(".json");
    let store = deployment.store();
    assert!(!store.iter().any(half), "{store:?}");

    drop(ballast);
    deployment
        .until("it is said", async |deployment| {
            !deployment.events().await.is_empty()
        })
        .await;
    deployment
        .until("it is gone from the spool", async |deployment| {
            deployment.left().await.is_empty()
        })
        .await;
    let events = deployment.events().await;
    let [event] = events.as_slice() else {
        panic!("one event: {events:?}")
    };
    assert_eq!(event["type"], json!("report.completed"));
    assert_eq!(event["subject"], job["job_id"]);
    let named = event["data"]["artifact"]["uri"].as_str().unwrap();
    let file = named.strip_prefix("file://").unwrap();
    let kept = fs::read(file).unwrap();
    assert_eq!(event["data"]["artifact"]["sha256"], json!(sha256(&kept)));
    assert!(deployment.dead().await.is_empty());
    assert_eq!(worker.stop(), Some(0));
}

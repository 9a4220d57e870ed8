//! What the store promises: in a folder and at a real S3 server the same, then what a disk alone
//! can do to it. Real disks, servers and processes.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use banshi::config::{self, Create, Format, Gives};
use banshi::digest::sha256;
use banshi::event::Event;
use banshi::problem::{Code, Failure, Outage, Part};
use banshi::store::{
    Artifact, Content, FontFacts, Key, Manifest, Store, Stored, TemplateFacts, document_id,
};
use serde_json::{Value, json};

use crate::support::hang::{Hang, threads, threads_at_most};
use crate::support::settings;
use crate::support::side_by_side;
use crate::support::stores::{Place, Server};

/// The settings of a store at an address, made there if it is missing.
fn at(url: &str) -> config::Store {
    config::Store {
        url: url.to_owned(),
        create: Create::Always,
        ..settings().store
    }
}

fn open(dir: &Path) -> Store {
    Store::open(&at(&format!("file:{}", dir.display()))).expect("the store opens")
}

pub fn key(job_id: &str) -> Key {
    Key::new("annual-report/2021", 2023, job_id)
}

/// Where a job's PDF is.
pub fn pdf_of(job_id: &str) -> String {
    format!("annual-report/2021/2023/{job_id}.pdf")
}

/// Where its manifest is.
pub fn manifest_of(job_id: &str) -> String {
    format!("annual-report/2021/2023/{job_id}.json")
}

/// The manifest of a job with this content, before the store fills in what it knows.
pub fn manifest(job_id: &str, content: &str) -> Manifest {
    Manifest {
        job_id: job_id.to_owned(),
        job: Content {
            sha256: sha256(content.as_bytes()),
            bytes: content.len() as u64,
        },
        template: TemplateFacts {
            name: "annual-report/2021".to_owned(),
            version: "1.0.0".to_owned(),
            sha256: sha256(b"template"),
        },
        agency: "某市人民政府".to_owned(),
        year: 2023,
        title: "某市人民政府2023年政府信息公开工作年度报告".to_owned(),
        artifact: Artifact {
            uri: String::new(),
            media_type: "application/pdf".to_owned(),
            sha256: String::new(),
            bytes: 0,
            pages: 9,
            standard: "PDF/A-3a, PDF/UA-1".to_owned(),
        },
        companions: Vec::new(),
        uri: String::new(),
        fonts: FontFacts {
            embedded: vec!["FangSong".to_owned()],
            sha256: sha256(b"fonts"),
            rare: Vec::new(),
        },
        warnings: Vec::new(),
        engine: "typst 0.15.1".to_owned(),
        product: "banshi 0.1.0".to_owned(),
        source: "banshi".to_owned(),
        completed_at: "2024-01-31T08:00:00Z".to_owned(),
    }
}

/// As much of a PDF as the store looks at: bytes, and a trailer whose first id names the job.
pub fn pdf(content: &str, build: &str) -> Vec<u8> {
    let id = sha256(content.as_bytes());
    format!("%PDF-1.7\n{content} by {build}\ntrailer\n<</ID [({id}) ({build})]>>\n%%EOF\n")
        .into_bytes()
}

fn path_of(dir: &Path, path: &str) -> PathBuf {
    dir.join(path)
}

/// Every file below a folder but the store's own two.
fn files(dir: &Path) -> BTreeSet<String> {
    let mut files = BTreeSet::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => drop(files.insert(path.strip_prefix(dir).unwrap().display().to_string())),
            }
        }
    }
    files.retain(|file| !file.starts_with(".banshi"));
    files
}

pub async fn put(
    store: &Store,
    job_id: &str,
    content: &str,
    build: &str,
) -> Result<Stored, Failure> {
    store
        .put(
            &key(job_id),
            &pdf(content, build),
            &[],
            manifest(job_id, content),
        )
        .await
}

pub fn assert_conflict(result: Result<Stored, Failure>, job_id: &str) {
    let Err(Failure::Rejected(rejection)) = result else {
        panic!("want E-CONFLICT, have {result:?}")
    };
    let [problem] = rejection.problems() else {
        panic!("one problem: {rejection:?}")
    };
    assert_eq!(
        (problem.code, problem.path.as_str()),
        (Code::CONFLICT, "/job_id")
    );
    assert!(
        problem.message.contains(job_id) && problem.message_zh.contains(job_id),
        "{problem}"
    );
}

pub fn assert_outage<T: std::fmt::Debug>(result: Result<T, Failure>, says: &str) {
    let Err(Failure::Outage(Outage {
        part: Part::Store,
        message,
        ..
    })) = &result
    else {
        panic!("want an outage, have {result:?}")
    };
    assert!(message.contains(says), "{message:?} should say {says:?}");
}

/// Each of these promises holds in a folder and at a server that keeps `If-None-Match: *`.
macro_rules! everywhere {
    ($($promise:ident,)*) => {
        mod in_a_folder {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $promise() {
                super::$promise(Place::folder()).await;
            })*
        }
        mod at_an_s3_server {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $promise() {
                super::$promise(Place::bucket(&Server::strict())).await;
            })*
        }
    };
}

everywhere![
    what_is_put_is_there_and_the_manifest_says_where,
    the_same_job_twice_is_one_stored_result,
    another_build_of_the_same_job_gets_the_stored_result,
    other_content_under_the_same_id_is_a_conflict_and_changes_nothing,
    a_killed_workers_pdf_of_the_same_job_is_adopted,
    a_killed_workers_pdf_of_another_job_is_a_conflict,
    of_24_workers_with_one_job_one_manifest_wins_and_all_have_it,
    of_two_jobs_with_one_id_one_wins_and_the_other_is_told,
    a_pdf_changed_after_it_was_stored_is_an_outage_and_not_the_jobs_fault,
    a_broken_manifest_is_an_outage_and_not_the_jobs_fault,
    a_later_versions_manifest_is_recalled_and_told_as_it_was,
    readiness_can_be_asked_again_and_again_and_leaves_one_object,
    shards_spread_the_results_and_are_found_again,
    a_store_begun_with_other_shards_is_refused_and_untouched,
];

async fn what_is_put_is_there_and_the_manifest_says_where(place: Place) {
    let store = place.ready().await;
    let stored = put(&store, "a-1", "one", "us").await.unwrap();

    let bytes = place.read(&pdf_of("a-1")).await.unwrap();
    assert_eq!(bytes, pdf("one", "us"));
    let manifest = stored.manifest();
    assert_eq!(manifest.artifact.sha256, sha256(&bytes));
    assert_eq!(manifest.artifact.bytes, bytes.len() as u64);
    let address = place.address();
    assert_eq!(
        manifest.artifact.uri,
        format!("{address}/{}", pdf_of("a-1"))
    );
    assert_eq!(manifest.uri, format!("{address}/{}", manifest_of("a-1")));
    assert_eq!(
        store.find(&key("a-1")).await.unwrap().as_ref(),
        Some(manifest)
    );
    assert_eq!(store.find(&key("a-2")).await.unwrap(), None);
    assert_eq!(
        place.files().await,
        BTreeSet::from([pdf_of("a-1"), manifest_of("a-1")]),
        "nothing else is left there"
    );
}

async fn the_same_job_twice_is_one_stored_result(place: Place) {
    let store = place.ready().await;
    let first = put(&store, "a", "one", "us").await.unwrap();
    let later = Manifest {
        completed_at: "2024-02-01T00:00:00Z".to_owned(),
        ..manifest("a", "one")
    };
    let second = store
        .put(&key("a"), &pdf("one", "us"), &[], later)
        .await
        .unwrap();
    assert_eq!(
        first, second,
        "the first manifest stays, so that its event repeats to the byte"
    );
    let recalled = store
        .recall(&key("a"), &manifest("a", "one").job)
        .await
        .unwrap();
    assert_eq!(recalled, Some(first));
}

async fn another_build_of_the_same_job_gets_the_stored_result(place: Place) {
    let store = place.ready().await;
    let first = put(&store, "a", "one", "us").await.unwrap();
    let second = put(&store, "a", "one", "a later build").await.unwrap();
    assert_eq!(first, second);
    assert_eq!(place.read(&pdf_of("a")).await, Some(pdf("one", "us")));
}

async fn other_content_under_the_same_id_is_a_conflict_and_changes_nothing(place: Place) {
    let store = place.ready().await;
    put(&store, "a", "one", "us").await.map(drop).unwrap();
    let (kept, told) = (
        place.read(&pdf_of("a")).await,
        place.read(&manifest_of("a")).await,
    );
    assert_conflict(put(&store, "a", "two", "us").await, "a");
    assert_conflict(
        store
            .recall(&key("a"), &manifest("a", "two").job)
            .await
            .map(Option::unwrap),
        "a",
    );
    assert_eq!(place.read(&pdf_of("a")).await, kept);
    assert_eq!(place.read(&manifest_of("a")).await, told);
    assert_eq!(place.files().await.len(), 2);
}

async fn a_killed_workers_pdf_of_the_same_job_is_adopted(place: Place) {
    let store = place.ready().await;
    for (job_id, build) in [("same", "us"), ("other", "an earlier build")] {
        let left = pdf("one", build);
        place.write(&pdf_of(job_id), &left).await;
        let stored = put(&store, job_id, "one", "us").await.unwrap();
        assert_eq!(
            place.read(&pdf_of(job_id)).await.as_ref(),
            Some(&left),
            "never overwritten"
        );
        let named = &stored.manifest().artifact;
        assert_eq!(named.sha256, sha256(&left), "it names what is there");
        assert_eq!(named.bytes, left.len() as u64);
    }
}

async fn a_killed_workers_pdf_of_another_job_is_a_conflict(place: Place) {
    let store = place.ready().await;
    for left in [pdf("two", "us"), b"no pdf, and no id".to_vec(), Vec::new()] {
        place.write(&pdf_of("a"), &left).await;
        assert_conflict(put(&store, "a", "one", "us").await, "a");
        assert_eq!(place.read(&pdf_of("a")).await, Some(left));
        assert_eq!(place.files().await.len(), 1, "and no manifest is written");
    }
    let anonymous = b"%PDF without an id".to_vec();
    let result = store
        .put(&key("a"), &anonymous, &[], manifest("a", "one"))
        .await;
    assert_conflict(result, "a");
}

async fn of_24_workers_with_one_job_one_manifest_wins_and_all_have_it(place: Place) {
    // Two processes' worth of stores: each has its own connections, and its own idea of which
    // folders it has made.
    let stores = [Arc::new(place.ready().await), Arc::new(place.ready().await)];
    for same_build in [true, false] {
        for round in 0..5 {
            let job_id = format!("job-{same_build}-{round}");
            let racers = (0..24).map(|racer| {
                let (store, job_id) = (Arc::clone(&stores[racer % 2]), job_id.clone());
                let build = if same_build {
                    "us".to_owned()
                } else {
                    format!("build {racer}")
                };
                let manifest = Manifest {
                    completed_at: format!("2024-01-31T08:00:{racer:02}Z"),
                    ..manifest(&job_id, "one")
                };
                async move {
                    store
                        .put(&key(&job_id), &pdf("one", &build), &[], manifest)
                        .await
                        .unwrap()
                }
            });
            let stored = side_by_side(racers).await;
            assert!(stored.iter().all(|each| *each == stored[0]), "{stored:#?}");
            let kept = place.read(&pdf_of(&job_id)).await.unwrap();
            assert_eq!(stored[0].manifest().artifact.sha256, sha256(&kept));
        }
    }
    assert_eq!(place.files().await.len(), 20, "no staged file is left");
}

async fn of_two_jobs_with_one_id_one_wins_and_the_other_is_told(place: Place) {
    let store = Arc::new(place.ready().await);
    for round in 0..10 {
        let job_id = format!("job-{round}");
        let racers = (0..8).map(|racer| {
            let (store, job_id) = (Arc::clone(&store), job_id.clone());
            async move { put(&store, &job_id, ["one", "two"][racer % 2], "us").await }
        });
        let results = side_by_side(racers).await;
        let winner = store.find(&key(&job_id)).await.unwrap().unwrap();
        for (racer, result) in results.into_iter().enumerate() {
            match manifest("", ["one", "two"][racer % 2]).job == winner.job {
                true => assert_eq!(result.unwrap().manifest(), &winner),
                false => assert_conflict(result, &job_id),
            }
        }
        let kept = place.read(&pdf_of(&job_id)).await.unwrap();
        assert_eq!(winner.artifact.sha256, sha256(&kept));
    }
}

async fn a_pdf_changed_after_it_was_stored_is_an_outage_and_not_the_jobs_fault(place: Place) {
    let store = place.ready().await;
    put(&store, "a", "one", "us").await.map(drop).unwrap();
    place.write(&pdf_of("a"), &pdf("one", "somebody")).await;
    assert_outage(put(&store, "a", "one", "us").await, "restore it");
    place.remove(&pdf_of("a")).await;
    put(&store, "a", "one", "us")
        .await
        .map(drop)
        .expect("a lost PDF is set again, and is the same");
}

async fn a_broken_manifest_is_an_outage_and_not_the_jobs_fault(place: Place) {
    let store = place.ready().await;
    put(&store, "a", "one", "us").await.map(drop).unwrap();
    place.write(&manifest_of("a"), b"{}").await;
    assert_outage(put(&store, "a", "one", "us").await, "a.json is no manifest");
    assert_outage(
        store.recall(&key("a"), &manifest("a", "one").job).await,
        "a.json is no manifest",
    );
}

/// Of the job nothing is known but its identity: this build might not accept its report any more.
async fn a_later_versions_manifest_is_recalled_and_told_as_it_was(place: Place) {
    let store = place.ready().await;
    let ours = put(&store, "a", "one", "us").await.unwrap();
    let mut theirs = serde_json::to_value(ours.manifest()).unwrap();
    let warnings = json!([
        {"code": "W-LATER", "path": "/data", "message": "later", "message_zh": "以后",
            "weight": [1, 0.5]},
        {"code": "W-LENGTH", "path": "/data/overview", "message": "long", "message_zh": "长",
            "since": "2.0"},
        "of another form",
    ]);
    theirs["warnings"] = warnings.clone();
    theirs["signature"] = json!({"by": "nobody yet"});
    theirs["artifact"]["sealed"] = json!(true);
    theirs["fonts"]["shaper"] = json!("later");
    place
        .write(&manifest_of("a"), theirs.to_string().as_bytes())
        .await;

    let job = Content {
        sha256: sha256(b"one"),
        bytes: 3,
    };
    let recalled = store.recall(&key("a"), &job).await.unwrap().unwrap();
    let again = put(&store, "a", "one", "us").await.unwrap();
    assert_eq!(recalled, again);
    let event = Event::completed(recalled.manifest());
    let first = Event::completed(ours.manifest());
    assert_eq!(event.id, first.id);
    let mut told: Value = serde_json::from_slice(&event.structured()).unwrap();
    assert_eq!(told["data"]["warnings"], warnings);
    told["data"]["warnings"] = json!([]);
    assert_eq!(told.to_string().into_bytes(), first.structured());
    assert_conflict(put(&store, "a", "two", "us").await, "a");
    let kept = place.read(&manifest_of("a")).await.unwrap();
    assert_eq!(kept, theirs.to_string().into_bytes());
}

async fn readiness_can_be_asked_again_and_again_and_leaves_one_object(place: Place) {
    let stores = [place.open(), place.open()];
    let marker = || place.read(".banshi-ready");
    assert_eq!(marker().await, None);
    stores[0].ready().await.unwrap();
    let first = marker().await;
    assert!(first.is_some());
    for _ in 0..3 {
        let asked = stores.iter().map(Store::ready);
        futures_util::future::try_join_all(asked).await.unwrap();
    }
    assert_eq!(marker().await, first);
    assert!(place.files().await.is_empty());
}

async fn shards_spread_the_results_and_are_found_again(place: Place) {
    for (shards, digits) in [(16, 1), (256, 2), (4096, 3)] {
        let place = match &place.settings.url {
            url if url.starts_with("file:") => Place::folder(),
            _ => Place::bucket(&Server::strict()),
        };
        let place = place.with(|settings| settings.shards = shards);
        let store = place.ready().await;
        for job_id in ["a", "b", "c"] {
            let stored = put(&store, job_id, "one", "us").await.unwrap();
            let shard = &sha256(job_id.as_bytes())[..digits];
            let path = format!("{shard}/{}", pdf_of(job_id));
            assert_eq!(place.read(&path).await, Some(pdf("one", "us")));
            assert_eq!(
                stored.manifest().artifact.uri,
                format!("{}/{path}", place.address())
            );
            let again = place.ready().await;
            let job = &manifest(job_id, "one").job;
            let recalled = again.recall(&key(job_id), job).await.unwrap();
            assert_eq!(recalled, Some(stored));
            assert_conflict(put(&again, job_id, "two", "us").await, job_id);
        }
        let files = place.files().await;
        let shards: BTreeSet<_> = files.iter().map(|file| &file[..digits]).collect();
        assert_eq!((files.len(), shards.len()), (6, 3), "{files:?}");
    }
}

async fn a_store_begun_with_other_shards_is_refused_and_untouched(place: Place) {
    put(&place.ready().await, "a", "one", "us")
        .await
        .map(drop)
        .unwrap();
    let marker = place.read(".banshi-ready").await;
    let place = place.with(|settings| settings.shards = 256);
    let outage = place.open().ready().await.unwrap_err();
    assert!(
        outage.message.contains("begun with store.shards = 0")
            && outage.message.contains("the settings say 256"),
        "{outage}"
    );
    assert_eq!(place.read(".banshi-ready").await, marker);
    place.with(|settings| settings.shards = 0).ready().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_ever_sees_half_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let big = "x".repeat(4 << 20);
    let watched = dir.path().to_owned();
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let whole = pdf(&big, "us").len() as u64;
    let watcher = std::thread::spawn(move || {
        let mut seen = 0;
        while ended.try_recv().is_err() {
            for round in 0..10 {
                if let Ok(metadata) =
                    fs::metadata(path_of(&watched, &pdf_of(&format!("job-{round}"))))
                {
                    assert_eq!(metadata.len(), whole);
                    seen += 1;
                }
            }
        }
        seen
    });
    for round in 0..10 {
        put(&store, &format!("job-{round}"), &big, "us")
            .await
            .map(drop)
            .unwrap();
    }
    end.send(()).unwrap();
    assert!(watcher.join().unwrap() > 10);
}

#[tokio::test]
async fn a_folder_in_the_way_is_an_outage_that_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    fs::write(dir.path().join("annual-report"), "a file").unwrap();
    assert_outage(
        put(&store, "a", "one", "us").await,
        "annual-report/2021/2023/a.pdf",
    );
}

#[tokio::test]
async fn readiness_writes_and_never_twice() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for _ in 0..3 {
        store.ready().await.unwrap();
    }
    assert!(files(dir.path()).is_empty(), "nothing but its own marker");
    fs::remove_dir_all(dir.path()).unwrap();
    fs::write(dir.path(), "a file where the folder was").unwrap();
    let outage = store.ready().await.unwrap_err();
    assert!(
        outage.message.contains(dir.path().to_str().unwrap()),
        "{outage}"
    );
}

#[tokio::test]
async fn a_folder_at_an_absolute_path_becomes_a_store_only_when_told() {
    let dir = tempfile::tempdir().unwrap();
    let full = dir.path().join("full");
    fs::create_dir_all(full.join("annual-report")).unwrap();
    fs::create_dir(dir.path().join("empty")).unwrap();
    for name in ["missing", "empty", "full"] {
        let path = dir.path().join(name);
        let there = path.exists().then(|| files(&path));
        for create in [Create::Auto, Create::Never] {
            let settings = config::Store {
                create,
                ..at(&format!("file:{}", path.display()))
            };
            let outage = Store::open(&settings).unwrap_err();
            for says in [
                format!("there is no store at {}", path.display()),
                "is it mounted?".to_owned(),
                "banshi store init".to_owned(),
            ] {
                assert!(outage.message.contains(&says), "{outage}");
            }
            assert_eq!(path.exists().then(|| files(&path)), there);
            assert!(!path.join(".banshi-lock").exists());

            // It was told once, and is found from then on.
            let told = open(&path);
            assert!(told.begin().await.unwrap());
            assert!(!told.begin().await.unwrap());
            Store::open(&settings).unwrap().ready().await.unwrap();
            fs::remove_file(path.join(".banshi-ready")).unwrap();
            fs::remove_file(path.join(".banshi-lock")).unwrap();
            if there.is_none() {
                fs::remove_dir(&path).unwrap();
            }
        }
    }
}

#[tokio::test]
async fn a_store_that_goes_while_it_is_used_is_not_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (here, away) = (dir.path().join("store"), dir.path().join("away"));
    let store = open(&here);
    store.ready().await.unwrap();
    put(&store, "a", "one", "us").await.map(drop).unwrap();

    fs::rename(&here, &away).unwrap();
    assert_outage(put(&store, "b", "one", "us").await, "mount or make it");
    assert!(!here.exists(), "it was made anew");
    fs::create_dir(&here).unwrap();
    let outage = store.probe().await.unwrap_err();
    assert!(outage.chain().contains("is it mounted?"), "{outage}");
    assert_outage(put(&store, "b", "one", "us").await, "mount or make it");
    assert_eq!(fs::read_dir(&here).unwrap().count(), 0);

    // As after a restore: the same store, in another folder of the same name.
    fs::remove_dir(&here).unwrap();
    let copied = Command::new("cp").arg("-a").arg(&away).arg(&here).status();
    assert!(copied.unwrap().success());
    store.probe().await.unwrap();
    put(&store, "b", "one", "us").await.map(drop).unwrap();
    assert_conflict(put(&store, "a", "two", "us").await, "a");

    fs::remove_file(here.join(".banshi-ready")).unwrap();
    let outage = store.probe().await.unwrap_err();
    assert!(outage.message.contains("there is no store at"), "{outage}");
    assert!(!here.join(".banshi-ready").exists());
}

#[test]
fn addresses_are_absolute_and_encoded() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("档案 50%#1"));
    let root = dir.path().canonicalize().unwrap();
    let encoded = "%E6%A1%A3%E6%A1%88%2050%25%231";
    assert_eq!(
        store.uri("a/b.pdf"),
        format!("file://{}/{encoded}/a/b.pdf", root.display())
    );
    let store = Store::open(&at(&format!("file://{}", dir.path().display()))).unwrap();
    assert_eq!(
        store.uri("b.pdf"),
        format!("file://{}/b.pdf", root.display())
    );
    let store = Store::open(&at("s3://bucket/档案/prefix/")).unwrap();
    assert_eq!(
        store.uri(&store.pdf(&key("x"))),
        "s3://bucket/档案/prefix/annual-report/2021/2023/x.pdf"
    );
    let store = Store::open(&at("s3://bucket")).unwrap();
    assert_eq!(
        store.uri(&store.manifest(&key("x"))),
        "s3://bucket/annual-report/2021/2023/x.json"
    );
}

#[test]
fn an_address_that_makes_no_sense_is_an_outage_that_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    for (url, says) in [
        ("gopher://x", "file:DIR"),
        ("file://host/dir", "file:///DIR"),
        ("s3://", "s3://bucket/prefix"),
        ("s3://bucket/a//b", "wrong prefix"),
        (&format!("file:{}", file.display()), "a file is in the way"),
        ("file:/proc/banshi", "/proc/banshi"),
    ] {
        let outage = Store::open(&at(url)).unwrap_err();
        assert_eq!(outage.part, Part::Store);
        assert!(outage.message.contains(says), "{url}: {outage}");
    }
}

#[test]
fn staged_files_are_swept_when_nobody_else_is_there_and_only_then() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("annual-report/2021/2023");
    fs::create_dir_all(&folder).unwrap();
    let leave = |name: &str| fs::write(folder.join(name), "half").unwrap();
    leave("a.pdf#1");
    leave("b.json#12");
    for format in [Format::Ofd, Format::Html] {
        leave(&format!("a.{}#1", format.as_str()));
    }
    for gives in [Gives::Pdf, Gives::Cms, Gives::Sm2] {
        leave(&format!("a.{}#1", gives.ending()));
    }
    leave("c.pdf");
    leave("notes#1");
    let first = open(dir.path());
    let kept =
        BTreeSet::from(["c.pdf", "notes#1"].map(|name| format!("annual-report/2021/2023/{name}")));
    assert_eq!(files(dir.path()), kept, "only what object_store stages");
    leave("d.pdf#1");
    let second = open(dir.path());
    assert_eq!(files(dir.path()).len(), 3, "it may be the other's");
    drop(first);
    drop(second);
    drop(open(dir.path()));
    assert_eq!(files(dir.path()), kept);
}

#[test]
fn a_pdfs_id_is_the_first_of_its_last_trailer() {
    for (pdf, id) in [
        ("trailer <</ID [(abc=) (def)]>>", Some("abc=")),
        ("/ID[<00ff> <01>]", Some("00ff")),
        ("/ID [(old) (1)] ... /ID\n[ (new) (2)] %%EOF", Some("new")),
        (
            "/ID [(right) (1)] a stream with /ID in it, /ID [7 and /ID [(open",
            Some("right"),
        ),
        (r"/ID [(a\)b(c)d) (e)]", Some(r"a\)b(c)d")),
        ("/ID [() ()]", None),
        ("/IDTree 3 0 R", None),
        ("", None),
        ("/I", None),
    ] {
        assert_eq!(document_id(pdf.as_bytes()), id.map(str::as_bytes), "{pdf}");
    }
}

/// Not a test of its own: the process that the next test kills. Without a folder on its standard
/// input it does nothing.
#[test]
#[ignore = "run by a_worker_killed_at_any_moment_leaves_what_the_next_one_completes"]
fn child_that_keeps_reports() {
    let mut dir = String::new();
    std::io::stdin().lock().read_line(&mut dir).unwrap();
    let Some((dir, start)) = dir.trim_end().rsplit_once(' ') else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let store = open(Path::new(dir));
    for number in start.parse::<usize>().unwrap().. {
        let job_id = format!("job-{number}");
        runtime
            .block_on(put(&store, &job_id, &content(number), "us"))
            .map(drop)
            .unwrap();
    }
}

fn content(number: usize) -> String {
    format!("content {number} ").repeat(20_000)
}

/// A test of this module in a process of its own, one that is `#[ignore]`d otherwise.
fn alone(name: &str) -> Command {
    let name = module_path!()
        .split_once("::")
        .map_or(name.to_owned(), |(_, module)| format!("{module}::{name}"));
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &name, "--ignored", "--nocapture"]);
    command
}

fn child(dir: &Path, start: usize) -> Child {
    let mut child = alone("child_that_keeps_reports")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    writeln!(child.stdin.take().unwrap(), "{} {start}", dir.display()).unwrap();
    child
}

#[tokio::test]
async fn a_worker_killed_at_any_moment_leaves_what_the_next_one_completes() {
    let dir = tempfile::tempdir().unwrap();
    let (mut next, mut between, mut staged) = (0, 0, 0);
    let start = Instant::now();
    for kill in 0..200_u64 {
        if (between > 2 && kill > 20) || start.elapsed() > Duration::from_secs(60) {
            break;
        }
        let mut child = child(dir.path(), next);
        let (pdf, json) = (
            pdf_of(&format!("job-{next}")),
            manifest_of(&format!("job-{next}")),
        );
        while !path_of(dir.path(), &pdf).exists() && !path_of(dir.path(), &json).exists() {
            std::thread::sleep(Duration::from_micros(200));
        }
        std::thread::sleep(Duration::from_micros(700 * (kill % 8)));
        child.kill().unwrap();
        child.wait().unwrap();

        let left = files(dir.path());
        staged += left.iter().filter(|file| file.contains('#')).count();
        let store = open(dir.path());
        while left.contains(&pdf_of(&format!("job-{next}"))) {
            between += usize::from(!left.contains(&manifest_of(&format!("job-{next}"))));
            let stored = put(&store, &format!("job-{next}"), &content(next), "us")
                .await
                .unwrap();
            let kept = fs::read(path_of(dir.path(), &pdf_of(&format!("job-{next}")))).unwrap();
            assert_eq!(kept, self::pdf(&content(next), "us"), "whole");
            assert_eq!(stored.manifest().artifact.sha256, sha256(&kept));
            next += 1;
        }
    }
    assert!(
        between > 0,
        "no kill hit the moment between PDF and manifest; {next} jobs"
    );
    let left = files(dir.path());
    assert_eq!(left.len(), 2 * next, "{left:?}");
    println!("{next} jobs, {between} killed between PDF and manifest, {staged} staged files swept");
}

/// Seconds that a call may take in the next test.
const TIMEOUT: u64 = 3;

#[test]
fn a_folder_that_hangs_is_an_outage_in_time_and_holds_few_threads() {
    let dir = tempfile::tempdir().unwrap();
    // As the process will see it, which resolves its store's folder.
    let store = dir.path().canonicalize().unwrap().join("store");
    let hang = Hang::below(&store);
    let mut child = alone("child_whose_store_hangs")
        .envs(hang.variables())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = child.stdin.take().unwrap();
    let mut says = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
    let mut wait_for = |what: &str| {
        let mut said = Vec::new();
        for line in &mut says {
            let line = line.unwrap();
            if line.ends_with(what) {
                return;
            }
            said.push(line);
        }
        panic!("it never said {what:?}: {said:#?}");
    };
    writeln!(told, "{}", store.display()).unwrap();
    wait_for("it is ready");
    hang.begin();
    writeln!(told).unwrap();
    wait_for("it has found out");
    hang.end();
    wait_for("all is done");
    assert!(child.wait().unwrap().success());
}

/// Not a test of its own: the process of the last one, which has a disk that hangs.
#[test]
#[ignore = "run by a_folder_that_hangs_is_an_outage_in_time_and_holds_few_threads"]
fn child_whose_store_hangs() {
    let mut lines = std::io::stdin().lock().lines();
    let Some(Ok(dir)) = lines.next() else { return };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    // Dropped, it would wait for the disk, and a test that failed would never say so.
    let runtime = std::mem::ManuallyDrop::new(runtime);
    runtime.block_on(use_a_store_that_hangs(&dir, &mut lines));
}

async fn use_a_store_that_hangs(
    dir: &str,
    lines: &mut impl Iterator<Item = std::io::Result<String>>,
) {
    let settings = config::Store {
        timeout: TIMEOUT,
        ..at(&format!("file:{dir}"))
    };
    let store = Arc::new(Store::open(&settings).unwrap());
    store.ready().await.unwrap();
    put(&store, "before", "one", "us").await.map(drop).unwrap();
    println!("it is ready");

    lines.next().unwrap().unwrap();
    let before = threads(std::process::id());
    let job_ids: Vec<_> = (0..300).map(|number| format!("job-{number}")).collect();
    let one_put = |job_id: &String| {
        let (store, job_id) = (Arc::clone(&store), job_id.clone());
        async move {
            let started = Instant::now();
            (put(&store, &job_id, "one", "us").await, started.elapsed())
        }
    };
    let soon = Duration::from_secs(TIMEOUT) + Duration::from_secs(10);
    for _ in 0..2 {
        for (result, elapsed) in side_by_side(job_ids.iter().map(one_put)).await {
            assert_outage(result, "it does not answer: look whether the disk");
            assert!(elapsed < soon, "after {elapsed:?}");
        }
    }
    let (before_key, before_job) = (key("before"), manifest("before", "one").job);
    let recalled = store.recall(&before_key, &before_job).await;
    assert_outage(recalled, "does not answer");
    let opened = Instant::now();
    let outage = Store::open(&settings).unwrap_err();
    assert!(outage.message.contains("does not answer"), "{outage}");
    assert!(opened.elapsed() < soon, "{:?}", opened.elapsed());
    let held = threads_at_most(std::process::id(), before + 66).await;
    for _ in 0..3 {
        let started = Instant::now();
        let outage = store.probe().await.unwrap_err();
        assert!(outage.message.contains("does not answer"), "{outage}");
        assert!(started.elapsed() < soon, "{:?}", started.elapsed());
    }
    // The one more is the trials'.
    threads_at_most(std::process::id(), held + 1).await;
    println!("it has found out");

    let started = Instant::now();
    while store.probe().await.is_err() {
        assert!(started.elapsed() < Duration::from_secs(60), "it is back");
    }
    // On a busy machine one may take longer than its time, and is done again, as by a worker.
    for job_id in &job_ids {
        while let (Err(failure), _) = one_put(job_id).await {
            assert!(matches!(failure, Failure::Outage(_)), "{failure}");
            assert!(started.elapsed() < Duration::from_secs(120), "{failure}");
        }
    }
    let left = files(Path::new(dir));
    assert_eq!(left.len(), 2 * (job_ids.len() + 1), "{left:?}");
    println!("all is done");
}

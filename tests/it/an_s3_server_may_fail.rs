//! An S3 server that is slow, cut off, wrong, refusing or careless of the condition on puts: what
//! is stored is whole, what is told is true, and what is wrong is said with what to do. The servers
//! are real; a wire between does the harm.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use banshi::config::ConditionalPut;
use banshi::digest::sha256;
use banshi::problem::{Failure, Outage};
use banshi::store::{Manifest, Store, Stored};
use serde_json::json;
use tokio::task::JoinSet;

use crate::support::deployment::Deployment;
use crate::support::jobs::{CORPUS, corpus};
use crate::support::side_by_side;
use crate::support::stores::{Place, Server};
use crate::support::wire::{Harm, Wire};
use crate::the_store_keeps_its_promises::{
    assert_conflict, assert_outage, key, manifest, manifest_of, pdf, pdf_of, put,
};

/// A place at the server that keeps the condition, by a wire.
fn wired() -> (Place, Wire) {
    let server = Server::strict();
    let wire = Wire::to(server.address());
    let place = Place::bucket(&server.at(wire.address()));
    (place.with(|settings| settings.timeout = 2), wire)
}

async fn assert_stored_once(place: &Place, stored: &Stored, job_id: &str, content: &str) {
    assert_eq!(place.read(&pdf_of(job_id)).await, Some(pdf(content, "us")));
    let told = place.read(&manifest_of(job_id)).await.unwrap();
    let told: Manifest = serde_json::from_slice(&told).unwrap();
    assert_eq!(&told, stored.manifest());
    assert_eq!(
        place.files().await,
        BTreeSet::from([pdf_of(job_id), manifest_of(job_id)])
    );
}

#[tokio::test]
async fn a_put_whose_answer_is_lost_is_done_once_and_told_as_it_was_done() {
    for harm in [Harm::CutTheAnswer, Harm::SwallowTheAnswer] {
        // The PDF's answer, then also the manifest's.
        for times in [1, 2] {
            let (place, wire) = wired();
            let store = place.ready().await;
            wire.harm(times, harm);
            let stored = put(&store, "a", "one", "us").await.unwrap();
            assert_eq!(wire.left(), 0, "{harm:?}");
            assert_stored_once(&place, &stored, "a", "one").await;
        }
    }
}

#[tokio::test]
async fn a_put_whose_answer_never_comes_is_an_outage_and_the_next_attempt_finds_it_done() {
    let (place, wire) = wired();
    let place = place.with(|settings| settings.timeout = 1);
    let store = place.ready().await;
    wire.harm(100, Harm::SwallowTheAnswer);
    let started = Instant::now();
    assert_outage(put(&store, "a", "one", "us").await, "a.pdf");
    assert!(
        started.elapsed() < Duration::from_secs(30),
        "it is requeued in time"
    );
    wire.harm(0, Harm::SwallowTheAnswer);
    let stored = put(&store, "a", "one", "us").await.unwrap();
    assert_stored_once(&place, &stored, "a", "one").await;
}

#[tokio::test]
async fn a_server_that_says_slow_down_for_a_moment_is_waited_for() {
    for (status, code) in [
        (503, "SlowDown"),
        (500, "InternalError"),
        (429, "TooManyRequests"),
    ] {
        let (place, wire) = wired();
        let store = place.ready().await;
        wire.harm(2, Harm::Answer(status, code));
        let stored = put(&store, "a", "one", "us").await.unwrap();
        assert_eq!(wire.left(), 0);
        assert_stored_once(&place, &stored, "a", "one").await;
    }
}

#[tokio::test]
async fn a_server_that_says_it_for_long_is_an_outage_and_nothing_is_stored() {
    let (place, wire) = wired();
    let store = place.ready().await;
    wire.harm(100, Harm::Answer(503, "SlowDown"));
    assert_outage(put(&store, "a", "one", "us").await, "too much to do");
    let outage = store.ready().await.unwrap_err();
    assert!(outage.message.contains("too much to do"), "{outage}");
    assert!(place.files().await.is_empty());
    wire.harm(0, Harm::Answer(503, "SlowDown"));
    store.ready().await.unwrap();
    put(&store, "a", "one", "us").await.map(drop).unwrap();
}

#[tokio::test]
async fn bytes_changed_on_their_way_are_refused_and_never_stored() {
    let (place, wire) = wired();
    let store = place.ready().await;
    wire.harm(1, Harm::ChangeTheBody);
    let result = put(&store, "a", "one", "us").await;
    assert_eq!(wire.left(), 0);
    assert_outage(result, "changed on their way");
    assert!(place.files().await.is_empty());
    let stored = put(&store, "a", "one", "us").await.unwrap();
    assert_stored_once(&place, &stored, "a", "one").await;
}

async fn refused(place: Place) -> Outage {
    let store = place.open();
    let outage = store.ready().await.unwrap_err();
    let Err(Failure::Outage(same)) = put(&store, "a", "one", "us").await else {
        panic!("a store that is not ready takes nothing")
    };
    assert_eq!(outage.part, same.part);
    outage
}

#[tokio::test]
async fn what_an_operator_has_to_mend_is_said_with_how() {
    let server = Server::strict();
    let nowhere = Server {
        bucket: "there-is-no-such-bucket".to_owned(),
        ..server.clone()
    };
    let closed = server.at("127.0.0.1:1");
    for (place, says) in [
        (Place::bucket(&nowhere), "make the bucket"),
        (
            Place::bucket(&server).variable("AWS_SECRET_ACCESS_KEY", Some("wrong")),
            "another secret",
        ),
        (
            Place::bucket(&server).variable("AWS_ACCESS_KEY_ID", Some("nobody")),
            "does not know this key",
        ),
        (Place::bucket(&closed), "check that the endpoint answers"),
    ] {
        let outage = refused(place).await;
        assert!(outage.message.contains(says), "{says}: {outage}");
        assert!(
            !outage.chain().contains(&server.secret),
            "no secret is shown: {}",
            outage.chain()
        );
    }
}

#[test]
fn nothing_is_sent_unencrypted_unless_told() {
    let place = Place::bucket(&Server::strict()).variable("AWS_ALLOW_HTTP", None);
    let outage = Store::open(&place.settings).unwrap_err();
    assert!(outage.message.contains("AWS_ALLOW_HTTP=true"), "{outage}");
}

#[tokio::test]
async fn credentials_come_from_a_file_and_may_change_while_a_worker_runs() {
    let server = Server::strict();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("credentials");
    let write = |secret: &str| {
        let Server { key, .. } = &server;
        let text = format!(
            "[default]\naws_access_key_id = nobody\naws_secret_access_key = x\n\n[reports]\n\
             aws_access_key_id = {key}\naws_secret_access_key = {secret}\n"
        );
        let elsewhere = folder.path().join("new");
        std::fs::write(&elsewhere, text).unwrap();
        std::fs::rename(elsewhere, &file).unwrap();
    };
    let place = Place::bucket(&server)
        .variable("AWS_ACCESS_KEY_ID", None)
        .variable("AWS_SECRET_ACCESS_KEY", None)
        .variable("AWS_SHARED_CREDENTIALS_FILE", file.to_str())
        .variable("AWS_PROFILE", Some("reports"));

    let outage = Store::open(&place.settings).unwrap_err();
    assert!(
        outage.chain().contains(file.to_str().unwrap()),
        "{}",
        outage.chain()
    );
    write("not the secret");
    let store = place.open();
    assert!(store.ready().await.is_err());
    write(&server.secret);
    store
        .ready()
        .await
        .expect("the same store reads the file anew");
    put(&store, "a", "one", "us").await.map(drop).unwrap();
    std::fs::write(&file, "[reports]\n").unwrap();
    let outage = store.ready().await.unwrap_err();
    assert!(
        outage
            .chain()
            .contains("there is no aws_access_key_id in [reports]"),
        "{}",
        outage.chain()
    );
}

#[test]
fn a_file_of_certificates_that_is_none_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    let place = Place::bucket(&Server::strict()).variable("AWS_CA_BUNDLE", file.to_str());
    for text in [None, Some("no certificate")] {
        if let Some(text) = text {
            std::fs::write(&file, text).unwrap();
        }
        let outage = Store::open(&place.settings).unwrap_err();
        assert!(outage.message.contains(file.to_str().unwrap()), "{outage}");
    }
}

// --- A server that ignores If-None-Match -------------------------------------------------------

/// A place there. What is put is looked at again after so many seconds: longer than any put of a
/// test takes.
fn lax(settle: u64) -> Place {
    Place::bucket(&Server::lax()).with(|settings| settings.settle = settle)
}

#[tokio::test]
async fn a_server_that_overwrites_is_found_out_and_used_only_where_that_is_allowed() {
    let place = lax(1).with(|settings| settings.conditional_put = ConditionalPut::Require);
    let outage = place.open().ready().await.unwrap_err();
    assert!(
        outage.message.contains("If-None-Match") && outage.message.contains("conditional_put"),
        "{outage}"
    );
    let place = place.with(|settings| settings.conditional_put = ConditionalPut::Prefer);
    let store = place.ready().await;
    store.ready().await.unwrap();
    // An object put past the condition shows which rule is used: this server would have
    // overwritten it.
    let before = pdf("one", "an earlier build");
    place.write(&pdf_of("a"), &before).await;
    let adopted = put(&store, "a", "one", "us").await.unwrap();
    assert_eq!(adopted.manifest().artifact.sha256, sha256(&before));
    assert_eq!(place.read(&pdf_of("a")).await, Some(before));
}

#[tokio::test]
async fn a_server_that_refuses_the_condition_is_used_by_the_same_rule() {
    let server = Server::lax();
    let wire = Wire::to(server.address());
    let place = Place::bucket(&server.at(wire.address())).with(|settings| settings.settle = 1);
    // object_store tries 5xx three times again.
    wire.harm(4, Harm::Answer(501, "NotImplemented"));
    let store = place.ready().await;
    assert_eq!(wire.left(), 0);
    let stored = put(&store, "a", "one", "us").await.unwrap();
    assert_stored_once(&place, &stored, "a", "one").await;

    let place = place.with(|settings| settings.conditional_put = ConditionalPut::Require);
    wire.harm(100, Harm::Answer(501, "NotImplemented"));
    let outage = place.open().ready().await.unwrap_err();
    assert!(outage.message.contains("If-None-Match"), "{outage}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn even_at_a_server_that_overwrites_one_job_has_one_result() {
    let place = lax(1);
    let store = place.ready().await;
    let first = put(&store, "a", "one", "us").await.unwrap();
    assert_stored_once(&place, &first, "a", "one").await;
    let again = put(&store, "a", "one", "a later build").await.unwrap();
    assert_eq!(first, again);
    let job = |content| manifest("a", content).job;
    let recalled = store.recall(&key("a"), &job("one")).await.unwrap();
    assert_eq!(recalled, Some(first.clone()));
    assert_conflict(put(&store, "a", "two", "us").await, "a");
    let recalled = store.recall(&key("a"), &job("two")).await;
    assert_conflict(recalled.map(Option::unwrap), "a");
    assert_stored_once(&place, &first, "a", "one").await;

    // A worker that was killed between PDF and manifest.
    place
        .write(&pdf_of("b"), &pdf("one", "an earlier build"))
        .await;
    let adopted = put(&store, "b", "one", "us").await.unwrap();
    let left = pdf("one", "an earlier build");
    assert_eq!(adopted.manifest().artifact.sha256, sha256(&left));
    assert_eq!(place.read(&pdf_of("b")).await, Some(left));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn at_a_server_that_overwrites_24_workers_with_one_job_tell_one_digest() {
    for same_build in [true, false] {
        let place = lax(10);
        let store = Arc::new(place.ready().await);
        let racers = (0..24).map(|racer| {
            let store = Arc::clone(&store);
            let build = if same_build { 0 } else { racer };
            async move {
                let manifest = Manifest {
                    completed_at: format!("2024-01-31T08:00:{racer:02}Z"),
                    ..manifest("a", "one")
                };
                let pdf = pdf("one", &format!("build {build}"));
                store.put(&key("a"), &pdf, &[], manifest).await
            }
        });
        let told = side_by_side(racers).await;
        let named: BTreeSet<_> = told
            .iter()
            .flatten()
            .map(|stored| stored.manifest().artifact.sha256.clone())
            .collect();
        let kept = place.read(&pdf_of("a")).await.unwrap();
        assert_eq!(named, BTreeSet::from([sha256(&kept)]));
        for result in told {
            match result {
                Ok(_) => {}
                // It read what another was just overwriting, cut short, or, of another build, the
                // other's PDF beside its manifest: it says nothing and tries again.
                Err(Failure::Outage(_)) => {}
                Err(failure @ Failure::Rejected(_)) => panic!("{failure:?}"),
            }
        }
        let later = put(&store, "a", "one", "build 0").await.unwrap();
        assert_eq!(later.manifest().artifact.sha256, sha256(&kept));
    }
}

/// Two workers at a server that overwrites; the first one's requests pass through a wire. What is
/// put is looked at again after six seconds, and the wire delays what it delays by two: the first
/// one has looked, and puts after the second.
async fn late_and_early() -> (Wire, Place, Store, Place, Store) {
    let server = Server::lax();
    let wire = Wire::to(server.address());
    let settle = |settings: &mut banshi::config::Store| settings.settle = 6;
    let early = Place::bucket(&server).with(settle);
    let late = Place::bucket(&server.at(wire.address())).with(settle);
    let url = early.settings.url.clone();
    let late = late.with(|settings| settings.url = url);
    let (late_store, early_store) = (late.ready().await, early.ready().await);
    (wire, late, late_store, early, early_store)
}

const LATE: Harm = Harm::Delay(Duration::from_secs(2));

async fn until_it_is_on_its_way(wire: &Wire) {
    while wire.left() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn at_a_server_that_overwrites_a_late_manifest_of_the_same_job_is_told_by_both() {
    let (wire, _late, late_store, early, early_store) = late_and_early().await;
    wire.harm_to("PUT", ".json", 1, LATE);
    let mut late = JoinSet::new();
    late.spawn(async move {
        let manifest = Manifest {
            completed_at: "2024-01-31T08:00:01Z".to_owned(),
            ..manifest("a", "one")
        };
        late_store
            .put(&key("a"), &pdf("one", "us"), &[], manifest)
            .await
            .unwrap()
    });
    until_it_is_on_its_way(&wire).await;
    let told = put(&early_store, "a", "one", "us").await.unwrap();
    assert_eq!(
        told.manifest().completed_at,
        "2024-01-31T08:00:01Z",
        "the late one has overwritten it"
    );
    assert_eq!(late.join_all().await.remove(0), told);
    assert_stored_once(&early, &told, "a", "one").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn at_a_server_that_overwrites_a_late_pdf_of_another_job_is_replaced_and_told_of() {
    let (wire, _late, late_store, early, early_store) = late_and_early().await;
    wire.harm_to("PUT", ".pdf", 1, LATE);
    let mut late = JoinSet::new();
    late.spawn(async move { put(&late_store, "a", "two", "us").await });
    until_it_is_on_its_way(&wire).await;
    let told = put(&early_store, "a", "one", "us").await.unwrap();
    assert_conflict(late.join_all().await.remove(0), "a");
    assert_stored_once(&early, &told, "a", "one").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn at_a_server_that_overwrites_a_pdf_without_a_manifest_refuses_nobody() {
    let (wire, _late, late_store, early, early_store) = late_and_early().await;
    wire.harm_to("PUT", ".pdf", 1, LATE);
    let mut late = JoinSet::new();
    late.spawn(async move { put(&late_store, "a", "one", "us").await });
    until_it_is_on_its_way(&wire).await;
    // As a worker leaves it that dies before its manifest. The late one puts its own over it, and
    // is not to tell of a job that was refused here.
    early.write(&pdf_of("a"), &pdf("two", "us")).await;
    let told = put(&early_store, "a", "one", "us").await.unwrap();
    assert_eq!(late.join_all().await.remove(0).unwrap(), told);
    assert_stored_once(&early, &told, "a", "one").await;
}

#[tokio::test]
async fn at_a_server_that_overwrites_a_manifest_without_its_pdf_is_done_again() {
    let place = lax(1);
    let store = place.ready().await;
    let first = put(&store, "a", "one", "us").await.unwrap();
    // As a worker leaves it that dies before it could put its PDF back.
    place.write(&pdf_of("a"), &pdf("two", "us")).await;
    let job = manifest("a", "one").job;
    assert_eq!(store.recall(&key("a"), &job).await.unwrap(), None);
    let again = put(&store, "a", "one", "us").await.unwrap();
    assert_eq!(again, first);
    assert_stored_once(&place, &again, "a", "one").await;

    place.write(&pdf_of("a"), &pdf("two", "us")).await;
    assert_conflict(put(&store, "a", "two", "us").await, "a");
    assert_outage(put(&store, "a", "one", "a later build").await, "restore it");

    place.remove(&pdf_of("a")).await;
    assert_eq!(store.recall(&key("a"), &job).await.unwrap(), None);
    let again = put(&store, "a", "one", "us").await.unwrap();
    assert_eq!(again, first);
    assert_stored_once(&place, &again, "a", "one").await;
}

// --- The whole pipeline --------------------------------------------------------------------------

#[tokio::test]
async fn a_job_ends_in_a_bucket_once_however_often_it_comes() {
    for (server, keeps) in [(Server::strict(), true), (Server::lax(), false)] {
        let place = Place::bucket(&server);
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let listen = port.local_addr().unwrap().to_string();
        drop(port);
        let deployment = Deployment::spool()
            .storing_at(&place)
            .with("STORE__SETTLE", "1")
            .with("ADMIN__LISTEN", &listen);
        let mut other = corpus(CORPUS[0]);
        let job = corpus(CORPUS[0]);
        other["data"]["issued_on"] = json!("2022-01-31");
        assert_ne!(job, other, "the same id, other content");
        let worker = deployment.worker();
        deployment.send("first", job.to_string().as_bytes()).await;
        let events = async |count| {
            deployment
                .until("it is said", async |deployment| {
                    deployment.events().await.len() == count
                })
                .await;
            deployment.events().await
        };
        let completed = events(1).await.remove(0);
        assert_eq!(completed["type"], json!("report.completed"));
        let uri = completed["data"]["artifact"]["uri"].as_str().unwrap();
        let path = uri.strip_prefix(&format!("{}/", place.address())).unwrap();
        let kept = place.read(path).await.unwrap();
        assert_eq!(
            completed["data"]["artifact"]["sha256"],
            json!(sha256(&kept))
        );
        assert_eq!(place.files().await.len(), 2);

        deployment.send("again", job.to_string().as_bytes()).await;
        deployment.send("other", other.to_string().as_bytes()).await;
        let all = events(2).await;
        assert!(all.contains(&completed), "said again to the byte");
        let refused = all.iter().find(|event| **event != completed).unwrap();
        assert_eq!(refused["type"], json!("report.rejected"));
        let code = &refused["data"]["problems"][0]["code"];
        assert_eq!(code, &json!("E-CONFLICT"));
        assert_eq!(place.read(path).await, Some(kept));
        assert_eq!(place.files().await.len(), 2);

        let metrics = scrape(&listen);
        let line = format!("banshi_store_conditional_put {}", u8::from(keeps));
        assert!(metrics.lines().any(|each| each == line), "{metrics}");
        let warned = worker.log().matches("If-None-Match").count();
        assert_eq!(warned, usize::from(!keeps), "{}", worker.log());
        assert_eq!(worker.stop(), Some(0));
    }
}

fn scrape(address: &str) -> String {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    let request = "GET /metrics HTTP/1.1\r\nHost: banshi\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

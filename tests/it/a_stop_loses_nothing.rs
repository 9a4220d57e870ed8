//! A worker that is told to stop leaves with 0 and loses nothing, whatever it is in the middle of.

use std::time::Duration;

use serde_json::json;

use crate::rabbitmq_keeps_its_promises::{PASS, Proxy, RESET, SILENT};
use crate::support::deployment::{Deployment, Worker, amqp_url, ask};
use crate::support::jobs::corpus;

const JOBS: usize = 12;

async fn send(deployment: &Deployment) {
    for number in 0..JOBS {
        let mut job = corpus("zibo-bigdata-2020");
        job["job_id"] = json!(format!("stop-{number}"));
        deployment
            .send(&format!("stop-{number}"), job.to_string().as_bytes())
            .await;
    }
}

async fn some_are_stored(deployment: &Deployment) {
    deployment
        .until("some are stored", async |it| it.store().len() >= 2)
        .await;
}

async fn logged(deployment: &Deployment, worker: &Worker, text: &str) {
    deployment
        .until(text, async |_| worker.log().contains(text))
        .await;
}

/// Another worker finds every job, and does what is not done.
async fn assert_nothing_is_lost(deployment: Deployment) {
    deployment.work_until_idle();
    let store = deployment.store();
    let results = store.iter().filter(|key| !key.contains('#'));
    assert_eq!(results.count(), 2 * JOBS, "{store:?}");
    let mut subjects: Vec<String> = Vec::new();
    for event in deployment.events().await {
        assert_eq!(event["type"], json!("report.completed"));
        subjects.push(event["subject"].to_string());
    }
    subjects.sort();
    subjects.dedup();
    assert_eq!(subjects.len(), JOBS);
    assert!(deployment.dead().await.is_empty());
    assert_eq!(deployment.left().await, Vec::<String>::new());
    deployment.remove().await;
}

/// A typesetter that hangs: the rest of the time is waited for it, and then its job goes back.
async fn a_typesetter_hangs(deployment: Deployment) {
    let deployment = deployment.with("WORKER__DRAIN_TIMEOUT", "2");
    send(&deployment).await;
    let worker = deployment.worker();
    some_are_stored(&deployment).await;
    worker.signal_typesetters("STOP");
    let log = worker.log();
    assert_eq!(worker.stop(), Some(0), "{log}");
    assert_nothing_is_lost(deployment).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_typesetter_hangs_over_rabbitmq() {
    a_typesetter_hangs(Deployment::amqp().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_typesetter_hangs_over_the_spool() {
    a_typesetter_hangs(Deployment::spool()).await;
}

/// The first signal would wait for ten minutes; the second one doesn't.
async fn a_second_signal(deployment: Deployment) {
    let deployment = deployment.with("WORKER__DRAIN_TIMEOUT", "600");
    send(&deployment).await;
    let worker = deployment.worker();
    some_are_stored(&deployment).await;
    worker.signal_typesetters("STOP");
    worker.signal("TERM");
    logged(&deployment, &worker, "stopping: no more jobs are taken in").await;
    worker.signal("TERM");
    assert_eq!(worker.wait(), Some(0));
    assert_nothing_is_lost(deployment).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_second_signal_at_once_over_rabbitmq() {
    a_second_signal(Deployment::amqp().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_second_signal_at_once_over_the_spool() {
    a_second_signal(Deployment::spool()).await;
}

async fn the_store_is_out(deployment: Deployment) {
    let (deployment, admin) = deployment.with_admin();
    let worker = deployment.worker();
    let status = || ask(&admin, "/readyz").map(|(status, _)| status);
    deployment
        .until("it is ready", async |_| status() == Some(200))
        .await;
    deployment.lose_store();
    send(&deployment).await;
    deployment
        .until("the store is out", async |_| status() == Some(503))
        .await;
    assert_eq!(worker.stop(), Some(0));
    deployment.restore_store();
    assert_nothing_is_lost(deployment).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_store_is_out_over_rabbitmq() {
    the_store_is_out(Deployment::amqp().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_store_is_out_over_the_spool() {
    the_store_is_out(Deployment::spool()).await;
}

/// The broker goes in the middle of a burst, and is not back when the worker is told to stop.
async fn the_broker_goes(fault: u8) {
    let proxy = Proxy::new(PASS).await;
    let deployment = Deployment::amqp().await;
    send(&deployment).await;
    let deployment = deployment
        .with("QUEUE__URL", &proxy.url)
        .with("WORKER__DRAIN_TIMEOUT", "3");
    let worker = deployment.worker();
    some_are_stored(&deployment).await;
    proxy.set(fault);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let log = worker.log();
    assert_eq!(worker.stop(), Some(0), "{log}");
    // The broker hears the end of the connections.
    proxy.set(RESET);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_nothing_is_lost(deployment.with("QUEUE__URL", &amqp_url())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_broker_is_gone() {
    the_broker_goes(RESET).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_network_is_silent() {
    the_broker_goes(SILENT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn before_there_ever_was_a_broker() {
    let nowhere = "amqp://guest:guest@127.0.0.1:1/%2f";
    let deployment = Deployment::spool().with("QUEUE__URL", nowhere);
    let worker = deployment.worker();
    logged(&deployment, &worker, "no jobs can come in").await;
    assert_eq!(worker.stop(), Some(0));
}

async fn it_starts(deployment: Deployment) {
    send(&deployment).await;
    let worker = deployment.worker();
    logged(&deployment, &worker, "starting").await;
    assert_eq!(worker.stop(), Some(0));
    assert_nothing_is_lost(deployment).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_it_starts_over_rabbitmq() {
    it_starts(Deployment::amqp().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_it_starts_over_the_spool() {
    it_starts(Deployment::spool()).await;
}

/// The datagrams that a service manager hears.
fn heard(socket: &std::os::unix::net::UnixDatagram) -> String {
    let mut bytes = [0; 4096];
    let length = socket.recv(&mut bytes).expect("it says something");
    let heard = String::from_utf8_lossy(&bytes[..length]);
    heard.trim_end().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn and_says_so_to_the_service_manager() {
    let deployment = Deployment::spool();
    let path = deployment.path("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).expect("a socket");
    let timeout = Some(Duration::from_secs(60));
    socket.set_read_timeout(timeout).expect("a timeout");
    let worker = deployment.worker_with("NOTIFY_SOCKET", &path.display().to_string());
    assert_eq!(heard(&socket), "READY=1");
    assert_eq!(heard(&socket), "STATUS=jobs can come in");
    worker.signal("TERM");
    assert!(heard(&socket).starts_with("STOPPING=1\n"));
    assert_eq!(worker.wait(), Some(0));
}

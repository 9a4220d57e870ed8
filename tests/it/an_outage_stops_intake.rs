//! What every job needs and is out (the store, the typesetters) costs no job an attempt: readiness
//! goes, jobs stay where they are, and when it is back they are done.

use std::cell::Cell;
use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::rabbitmq_keeps_its_promises::{PASS, Proxy, RESET};
use crate::support::deployment::{Deployment, Worker, ask};
use crate::support::hang::{Hang, threads};
use crate::support::jobs::corpus;
use crate::support::repository;

/// More than anybody has in hand, each with one attempt.
const JOBS: usize = 50;

fn job(number: usize) -> Value {
    let mut job = corpus("zibo-bigdata-2020");
    job["job_id"] = json!(format!("out-{number}"));
    job
}

fn is_ready(admin: &str) -> bool {
    ask(admin, "/readyz").is_some_and(|(status, _)| status == 200)
}

/// Something goes, fifty jobs come, it comes back.
async fn goes_and_comes_back(
    deployment: Deployment,
    part: &str,
    go: impl Fn(&Deployment, &Worker),
    come_back: impl Fn(&Deployment, &Worker),
) {
    let (deployment, admin) = deployment.with("WORKER__ATTEMPTS", "1").with_admin();
    let worker = deployment.worker();
    deployment
        .until("it is ready", async |_| is_ready(&admin))
        .await;
    go(&deployment, &worker);
    for number in 0..JOBS {
        deployment
            .send(&format!("out-{number}"), job(number).to_string().as_bytes())
            .await;
    }
    deployment
        .until("it says that no jobs come in, and why", async |_| {
            ask(&admin, "/readyz").is_some_and(|(status, why)| status == 503 && why.contains(part))
        })
        .await;
    // Those that were in hand go back to the others, and none is taken any more.
    deployment
        .until("all wait", async |it| it.waiting().await == JOBS)
        .await;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    assert_eq!(deployment.waiting().await, JOBS, "{}", worker.log());
    assert!(!is_ready(&admin));
    assert_eq!(ask(&admin, "/livez").map(|(status, _)| status), Some(200));

    come_back(&deployment, &worker);
    deployment
        .until("jobs come in again", async |_| is_ready(&admin))
        .await;
    let mut events = BTreeMap::new();
    deployment
        .until("all are published", async |it| {
            let published = it.events().await.into_iter();
            events.extend(published.map(|event| (event["id"].to_string(), event)));
            events.len() == JOBS
        })
        .await;
    assert_eq!(worker.stop(), Some(0));
    assert!(
        events
            .values()
            .all(|event| event["type"] == json!("report.completed"))
    );
    let store = deployment.store();
    let manifests = store.iter().filter(|key| key.ends_with(".json"));
    assert_eq!(manifests.count(), JOBS);
    assert!(deployment.dead().await.is_empty());
    assert_eq!(deployment.left().await, Vec::<String>::new());
    deployment.remove().await;
}

async fn the_store_goes(deployment: Deployment) {
    let go = |deployment: &Deployment, _: &Worker| deployment.lose_store();
    let come_back = |deployment: &Deployment, _: &Worker| deployment.restore_store();
    goes_and_comes_back(deployment, "store: ", go, come_back).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_out_for_a_while_costs_no_job_its_attempt_over_rabbitmq() {
    the_store_goes(Deployment::amqp().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_out_for_a_while_costs_no_job_its_attempt_over_the_spool() {
    the_store_goes(Deployment::spool()).await;
}

/// A network disk whose server is gone: nothing fails, and nothing answers.
async fn the_store_hangs(deployment: Deployment) {
    let store = deployment.folder().canonicalize().expect("it is there");
    let hang = Hang::below(&store.join("store"));
    let deployment = deployment
        .with("STORE__TIMEOUT", "2")
        .with_variables(hang.variables());
    let before = Cell::new(0);
    let go = |_: &Deployment, worker: &Worker| {
        before.set(threads(worker.pid()));
        hang.begin();
    };
    let come_back = |_: &Deployment, worker: &Worker| {
        let (before, now) = (before.get(), threads(worker.pid()));
        // As many calls may hang, and as many threads be idle that were busy a moment ago.
        assert!(now <= before + 2 * 65, "{before} threads became {now}");
        hang.end();
    };
    goes_and_comes_back(deployment, "does not answer", go, come_back).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_hangs_for_a_while_costs_no_job_its_attempt_over_rabbitmq() {
    the_store_hangs(Deployment::amqp().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_hangs_for_a_while_costs_no_job_its_attempt_over_the_spool() {
    the_store_hangs(Deployment::spool()).await;
}

/// A connection that is made anew while the store is out asks for no jobs either.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_goes_and_comes_back_meanwhile_changes_nothing() {
    let proxy = Proxy::new(PASS).await;
    let (deployment, admin) = Deployment::amqp()
        .await
        .with("WORKER__ATTEMPTS", "1")
        .with("QUEUE__URL", &proxy.url)
        .with_admin();
    let worker = deployment.worker();
    let why = || ask(&admin, "/readyz").map_or(String::new(), |(_, why)| why);
    let send = async |number: usize| {
        let name = format!("out-{number}");
        let body = job(number).to_string().into_bytes();
        deployment.send(&name, &body).await;
    };
    deployment
        .until("it is ready", async |_| is_ready(&admin))
        .await;
    deployment.lose_store();
    send(0).await;
    deployment
        .until("the store is out", async |_| why().starts_with("store: "))
        .await;
    proxy.set(RESET);
    deployment
        .until("the broker is, too", async |_| {
            !why().starts_with("store: ") && !is_ready(&admin)
        })
        .await;
    proxy.set(PASS);
    deployment
        .until("the store is still out", async |_| {
            why().starts_with("store: ")
        })
        .await;
    send(1).await;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert!(deployment.waiting().await > 0, "{}", worker.log());

    deployment.restore_store();
    deployment
        .until("both are stored", async |it| it.store().len() == 4)
        .await;
    // A job whose acknowledgement the broker's going has cut off waits a second time.
    deployment
        .until("nothing is left", async |it| it.left().await.is_empty())
        .await;
    assert_eq!(worker.stop(), Some(0));
    assert!(deployment.dead().await.is_empty());
    assert_eq!(deployment.left().await, Vec::<String>::new());
    deployment.remove().await;
}

/// Without its fonts a typesetter doesn't start. Those that run keep theirs, so they are killed.
async fn the_typesetters_go(deployment: Deployment) {
    let fonts = deployment.path("fonts");
    std::os::unix::fs::symlink(repository("fonts"), &fonts).expect("a link");
    let deployment = deployment.with("FONTS__DIR", &fonts.display().to_string());
    let go = |_: &Deployment, worker: &Worker| {
        std::fs::remove_file(&fonts).expect("it was there");
        worker.signal_typesetters("KILL");
    };
    let come_back = |_: &Deployment, _: &Worker| {
        std::os::unix::fs::symlink(repository("fonts"), &fonts).expect("a link");
    };
    goes_and_comes_back(deployment, "fonts: ", go, come_back).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn typesetters_that_cannot_be_started_cost_no_job_its_attempt_over_rabbitmq() {
    the_typesetters_go(Deployment::amqp().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn typesetters_that_cannot_be_started_cost_no_job_its_attempt_over_the_spool() {
    the_typesetters_go(Deployment::spool()).await;
}

/// A spool in which no event can be written, as on a full disk.
#[tokio::test(flavor = "multi_thread")]
async fn a_spool_that_takes_no_events_takes_in_no_jobs() {
    let deployment = Deployment::spool();
    let (events, away) = (
        deployment.path("spool/events"),
        deployment.path("spool/away"),
    );
    let go = |_: &Deployment, _: &Worker| {
        std::fs::rename(&events, &away).expect("it was there");
        std::fs::write(&events, "in the way").expect("a file");
    };
    let come_back = |_: &Deployment, _: &Worker| {
        std::fs::remove_file(&events).expect("it was in the way");
        std::fs::rename(&away, &events).expect("it was away");
    };
    goes_and_comes_back(deployment, "transport: ", go, come_back).await;
}

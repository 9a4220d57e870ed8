//! Each alert rings for the fault that it is named after, and for no other: the rules of the
//! repository in a real Prometheus, with workers at which the faults are made. Each has its pages.
//!
//! The rules wait for minutes, so that nobody is called for what heals; here their durations and
//! the ages that they allow are shortened, and nothing else is changed.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use lapin::options::{
    BasicPublishOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Connection, ConnectionProperties};
use serde_json::{Value, json};

use crate::support::console::Console;
use crate::support::deployment::{Deployment, Worker, succeeded};
use crate::support::jobs::{corpus, remove};
use crate::support::node::Node;
use crate::support::prometheus::{Prometheus, rules, tool};
use crate::support::stores::{Place, Server};
use crate::support::{in_seconds, listed, repository};

/// The names of the alerts.
fn alerts() -> BTreeSet<String> {
    let rules = rules();
    let names = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "));
    names.map(str::to_owned).collect()
}

#[test]
fn every_alert_has_its_page_in_both_languages_and_a_row_in_the_guide() {
    let alerts = alerts();
    assert!(alerts.len() >= 13, "{alerts:?}");
    let (rules, manuals) = (rules(), ["docs", "docs/zh"]);
    for folder in manuals {
        let pages = listed(&repository(&format!("{folder}/runbooks")));
        let pages = pages.iter().filter_map(|name| name.strip_suffix(".md"));
        assert_eq!(pages.map(str::to_owned).collect::<BTreeSet<_>>(), alerts);
        let guide = std::fs::read_to_string(repository(&format!("{folder}/operator.md"))).unwrap();
        for alert in &alerts {
            let row = format!("| [{alert}](runbooks/{alert}.md) | ");
            assert!(guide.contains(&row), "{row} is not in {folder}/operator.md");
        }
    }
    for alert in &alerts {
        let page = format!("runbook_url: docs/runbooks/{alert}.md\n");
        assert_eq!(rules.matches(&page).count(), 1, "{page}");
    }
    for words in [
        "summary: ",
        "description: ",
        "summary_zh: ",
        "description_zh: ",
    ] {
        let told = rules.lines().filter(|line| line.trim().starts_with(words));
        assert_eq!(told.count(), alerts.len(), "{words}");
    }
}

#[test]
fn promtool_finds_the_rules_right_and_each_fires_and_does_not() {
    let folder = repository("deploy/prometheus");
    for arguments in [
        ["check", "rules", "banshi.rules.yml"],
        ["check", "config", "prometheus.yml"],
        ["test", "rules", "banshi.rules.test.yml"],
    ] {
        let mut command = Command::new(tool("promtool"));
        let output = command.args(arguments).current_dir(&folder).output();
        let output = output.unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}");
        succeeded(&output);
    }
    // Each alert's cases: what fires, and where it does not.
    let tests = std::fs::read_to_string(folder.join("banshi.rules.test.yml")).unwrap();
    for alert in alerts() {
        let case = format!("alertname: {alert}\n        exp_alerts:");
        let cases = tests.split(&case).skip(1);
        let cases: Vec<bool> = cases.map(|case| case.starts_with(" []")).collect();
        assert!(cases.contains(&true), "{alert} is never silent");
        assert!(cases.contains(&false), "{alert} never fires");
    }
}

/// The rules with what they wait for shortened.
fn hasty() -> String {
    let rules: String = rules()
        .lines()
        .filter(|line| !line.trim().starts_with("for: "))
        .map(|line| format!("{line}\n"))
        .collect();
    let mut hasty = rules.clone();
    for (long, short) in [
        ("[5m]", "[20s]"),
        ("[15m]", "[20s]"),
        ("[1h]", "[20s]"),
        ("> 3600\n", "> 5\n"),
        ("> 60\n", "> 5\n"),
    ] {
        assert!(rules.contains(long), "{long}");
        hasty = hasty.replace(long, short);
    }
    hasty
}

fn named(id: &str) -> Vec<u8> {
    let mut job = corpus("pingtan-2023");
    job["job_id"] = json!(id);
    job.to_string().into_bytes()
}

/// Runs a command of a page.
fn run(deployment: &Deployment, arguments: &[&str]) -> String {
    let output = deployment.banshi(arguments).output().unwrap();
    succeeded(&output);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Waits until exactly one alert fires, and until the log has the words that its page searches for.
async fn rings(prometheus: &Prometheus, alert: &str, worker: &Worker, words: &[&str]) {
    prometheus.expect_firing(&[alert]).await;
    let page = std::fs::read_to_string(repository(&format!("docs/runbooks/{alert}.md"))).unwrap();
    for words in words {
        assert!(page.contains(words), "{alert} does not search for {words}");
        assert!(worker.log().contains(words), "{words}: {}", worker.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_that_somebody_has_to_look_at_ring() {
    let deployment = Deployment::amqp()
        .await
        .with("QUEUE__PREFETCH", "1")
        .with("RENDER__DEADLINE", "600");
    let (deployment, address) = deployment.with_admin();
    let worker = deployment.worker();
    let prometheus = Prometheus::start(&deployment, &[&address], &hasty());
    prometheus.expect("max(banshi_queue_jobs{queue='bulk'}) == 0");
    deployment.send("good", &named("good")).await;
    prometheus.expect("sum(banshi_jobs_total{outcome='completed'}) == 1");
    prometheus.expect_firing(&[]).await;

    // A report that is at fault.
    let mut bad = corpus("pingtan-2023");
    remove(&mut bad, "/data", "agency");
    deployment.send("bad", bad.to_string().as_bytes()).await;
    rings(&prometheus, "BanshiDeadGrows", &worker, &[]).await;
    let dead = run(&deployment, &["dead", "list", "--format", "json"]);
    let dead: Value = serde_json::from_str(dead.lines().next().unwrap()).unwrap();
    assert_eq!(dead["code"], "E-SCHEMA");
    // No news any more.
    prometheus.expect_firing(&[]).await;

    // A routing key that is no lane.
    let none = BasicProperties::default();
    deployment
        .send_by("Bulk", "lost", &named("lost"), none)
        .await;
    rings(&prometheus, "BanshiUnrouted", &worker, &[]).await;
    let all = ["dead", "replay", "--queue", "unrouted", "--all"];
    run(&deployment, &[&all[..], &["--dry-run"]].concat());
    run(&deployment, &all);
    prometheus.expect("sum(banshi_jobs_total{outcome='completed'}) == 2");
    prometheus.expect_firing(&[]).await;

    // A typesetter that hangs, and jobs behind it.
    worker.signal_typesetters("STOP");
    for number in 0..4 {
        let id = format!("waits-{number}");
        deployment.send(&id, &named(&id)).await;
    }
    rings(&prometheus, "BanshiOldestJobTooOld", &worker, &[]).await;
    worker.signal_typesetters("CONT");
    prometheus.expect("sum(banshi_jobs_total{outcome='completed'}) == 6");
    prometheus.expect_firing(&[]).await;
    worker.signal_typesetters("STOP");
    for number in 0..4 {
        let id = format!("urgent-{number}");
        deployment.send_urgent(&id, &named(&id)).await;
    }
    rings(&prometheus, "BanshiUrgentWaits", &worker, &[]).await;
    worker.signal_typesetters("CONT");
    prometheus.expect("sum(banshi_jobs_total{outcome='completed'}) == 10");
    prometheus.expect_firing(&[]).await;

    assert_eq!(worker.stop(), Some(0));
    deployment.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_that_are_out_ring() {
    let (deployment, address) = Deployment::amqp().await.with_admin();
    let worker = deployment.worker();
    let prometheus = Prometheus::start(&deployment, &[&address], &hasty());
    prometheus.expect("sum(banshi_transport_connected) == 1");
    deployment.send("good", &named("good")).await;
    prometheus.expect("sum(banshi_jobs_total{outcome='completed'}) == 1");
    prometheus.expect_firing(&[]).await;

    // A store that is out for every job.
    deployment.lose_store();
    deployment.send("late", &named("late")).await;
    let words = "the job waits until what is out is back";
    rings(&prometheus, "BanshiGateShut", &worker, &[words]).await;
    // Queues are counted all the same.
    deployment.send("later", &named("later")).await;
    prometheus.expect("max(banshi_queue_jobs{queue='bulk'}) >= 1");
    rings(&prometheus, "BanshiGateShut", &worker, &[]).await;
    deployment.restore_store();
    prometheus.expect("sum(banshi_jobs_total{outcome='completed'}) == 3");
    rings_no_more(&prometheus, &worker, "what was out is back").await;

    // A store that is out for one kind of job, and answers.
    let folder = deployment.path("store/annual-report/2021");
    std::fs::rename(&folder, folder.with_extension("away")).unwrap();
    std::fs::write(&folder, "in the way").unwrap();
    for id in ["single-0", "single-1", "single-2"] {
        deployment.send(id, &named(id)).await;
    }
    let words = "the job waits for another attempt";
    rings(&prometheus, "BanshiRetries", &worker, &[words]).await;
    std::fs::remove_file(&folder).unwrap();
    std::fs::rename(folder.with_extension("away"), &folder).unwrap();
    prometheus.expect("sum(banshi_jobs_total{outcome='completed'}) == 6");
    prometheus.expect_firing(&[]).await;

    // Typesetters that are killed. One that is killed as it starts is not counted.
    let die = async |_: &Deployment| {
        if !worker.typesetters().is_empty() {
            worker.signal_typesetters("KILL");
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        let firing = prometheus.firing();
        firing.is_some_and(|it| it.contains("BanshiTypesettersDie"))
    };
    deployment.until("it rings", die).await;
    rings(
        &prometheus,
        "BanshiTypesettersDie",
        &worker,
        &["it is replaced"],
    )
    .await;
    prometheus.expect_firing(&[]).await;

    // Another worker with another template, and its end without a word.
    let templates = deployment.path("templates");
    copy(&repository("typst-templates"), &templates);
    let changed = templates.join("annual-report/2021/main.typ");
    let text = std::fs::read_to_string(&changed).unwrap();
    std::fs::write(&changed, format!("{text}\n// Changed.\n")).unwrap();
    let folder = templates.to_str().unwrap().to_owned();
    let (deployment, second) = deployment.with("TEMPLATES__DIR", &folder).with_admin();
    let other = deployment.worker();
    prometheus.look_at(&[&address, &second]);
    rings(&prometheus, "BanshiMixedFleet", &worker, &[]).await;
    other.kill();
    prometheus.expect_firing(&["BanshiNotReady"]).await;
    prometheus.look_at(&[&address]);
    prometheus.expect_firing(&[]).await;
    assert_eq!(worker.stop(), Some(0));
    prometheus.expect_firing(&["BanshiNotReady"]).await;
    deployment.remove().await;
}

async fn rings_no_more(prometheus: &Prometheus, worker: &Worker, words: &str) {
    prometheus.expect_firing(&[]).await;
    assert!(worker.log().contains(words), "{words}: {}", worker.log());
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    let copied = Command::new("cp").arg("-r").args([from, to]).status();
    assert!(copied.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_overwrites_rings() {
    let place = Place::bucket(&Server::lax());
    let (deployment, address) = Deployment::spool().storing_at(&place).with_admin();
    let worker = deployment.worker();
    let prometheus = Prometheus::start(&deployment, &[&address], &hasty());
    let words = "although asked not to (If-None-Match: *)";
    rings(&prometheus, "BanshiStoreOverwrites", &worker, &[words]).await;
    assert_eq!(worker.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_console_sees_rings() {
    let Some(node) = Node::new() else { return };
    let node = node.with_plugins("rabbitmq_management");
    node.start();
    let url = format!("amqp://guest:guest@{}/%2f", node.address());
    let management = format!("http://guest:guest@{}", node.management_address());
    let deployment = Deployment::amqp_at(&url)
        .await
        .with("QUEUE__PREFETCH", "1")
        .with("CONSOLE__MANAGEMENT_URL", &management)
        .with("CONSOLE__DEADLINE", &in_seconds(3_600));
    let (deployment, address) = deployment.with_admin();
    let worker = deployment.worker();
    let console = Console::start(&deployment);
    let prometheus = Prometheus::start(&deployment, &[&address, &console.address], &hasty());
    prometheus.expect("max(banshi_events_queues) == 1");
    deployment.send("good", &named("good")).await;
    prometheus.expect("sum(banshi_jobs_total{outcome='completed'}) == 1");
    prometheus.expect_firing(&[]).await;

    // The archive's queue is gone.
    let connection = Connection::connect(&url, ConnectionProperties::default()).await;
    let connection = connection.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let [heard, events, log] =
        ["heard", "events", "events.log"].map(|name| ShortString::from(deployment.name(name)));
    let (all, none) = (ShortString::from("#"), FieldTable::default());
    let unbound = channel.queue_unbind(heard.clone(), events.clone(), all.clone(), none.clone());
    unbound.await.unwrap();
    prometheus.expect("max(banshi_events_queues) == 0");
    deployment.send("unheard", &named("unheard")).await;
    prometheus.expect_firing(&["BanshiNoEvents"]).await;
    let bind = QueueBindOptions::default();
    let bound = channel.queue_bind(heard, events.clone(), all.clone(), bind, none.clone());
    bound.await.unwrap();
    prometheus.expect_firing(&[]).await;

    // A typesetter that hangs, with reports due within the hour.
    worker.signal_typesetters("STOP");
    for number in 0..4 {
        let id = format!("due-{number}");
        deployment.send(&id, &named(&id)).await;
    }
    let late = ["BanshiBacklogWillBeLate", "BanshiOldestJobTooOld"];
    prometheus.expect_firing(&late).await;
    worker.signal_typesetters("CONT");
    prometheus.expect("sum(banshi_jobs_total{outcome='completed'}) == 6");
    prometheus.expect_firing(&[]).await;

    // A log that has reached its size. Its segments are small here, so that it soon drops one.
    let deleted = channel.queue_delete(log.clone(), QueueDeleteOptions::default());
    deleted.await.unwrap();
    let mut small = FieldTable::default();
    small.insert(
        "x-queue-type".into(),
        AMQPValue::LongString("stream".into()),
    );
    for (name, bytes) in [
        ("x-max-length-bytes", 400_000),
        ("x-stream-max-segment-size-bytes", 100_000),
    ] {
        small.insert(name.into(), AMQPValue::LongInt(bytes));
    }
    let declared = channel.queue_declare(log.clone(), QueueDeclareOptions::durable(), small);
    declared.await.unwrap();
    let bound = channel.queue_bind(log.clone(), events, all, bind, none);
    bound.await.unwrap();
    let event = deployment.events().await.pop().unwrap().to_string();
    let publish = async || {
        for _ in 0..1_000 {
            let (options, none) = (BasicPublishOptions::default(), BasicProperties::default());
            let event = event.as_bytes();
            let sent = channel.basic_publish("".into(), log.clone(), options, event, none);
            sent.await.unwrap();
        }
    };
    publish().await;
    let kept = || -> usize {
        let queues = node.ctl(&["list_queues", "--silent", "name", "messages"]);
        let mut queues = queues.lines().filter_map(|line| line.split_once('\t'));
        let (_, messages) = queues.find(|(name, _)| *name == log.as_str()).unwrap();
        messages.trim().parse().unwrap()
    };
    let drops = async |_: &Deployment| kept() < 1_000;
    deployment.until("it drops events", drops).await;
    // It is looked for at the start, and every five minutes.
    let another = Console::start(&deployment);
    prometheus.look_at(&[&address, &another.address]);
    prometheus.expect_firing(&["BanshiStreamNearEnd"]).await;
    let before = kept();
    let larger = r#"{"max-length-bytes": 50000000000}"#;
    let pattern = r"\.events\.log$";
    let policy = [
        "set_policy",
        "events-log",
        pattern,
        larger,
        "--apply-to",
        "queues",
    ];
    node.ctl(&policy);
    publish().await;
    deployment
        .until("it keeps more", async |_| kept() >= before + 1_000)
        .await;
    assert_eq!(worker.stop(), Some(0));
}

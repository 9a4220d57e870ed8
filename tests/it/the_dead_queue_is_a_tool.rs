//! `banshi dead`, over both transports: what is asked for is done to the jobs that were meant, to
//! no other, and nothing is removed before its copy is safe, whenever the command is killed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader};
use std::ops::ControlFlow;
use std::process::Stdio;
use std::time::{Duration, Instant};

use banshi::transport::{Client, DeadJob, Kept, Lane, Reason, Verdict};
use lapin::options::{
    BasicGetOptions, BasicNackOptions, BasicPublishOptions, ExchangeDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Confirmation};
use serde_json::{Value, json};

use crate::support::bench::{Bench, dead_soon, event, next, text};
use crate::support::deployment::{Deployment, succeeded};
use crate::support::jobs::{BROKEN, corpus};

/// Runs `banshi dead …`: its exit code, what it prints, what it says on standard error.
fn dead(deployment: &Deployment, arguments: &[&str]) -> (Option<i32>, Vec<String>, String) {
    let arguments = [&["dead"], arguments].concat();
    let output = deployment.banshi(&arguments).output().expect("it starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let lines = text(&output.stdout).lines().map(str::to_owned).collect();
    (output.status.code(), lines, text(&output.stderr))
}

/// The ids of those that a listing shows.
fn listed(deployment: &Deployment, arguments: &[&str]) -> Vec<String> {
    let (code, lines, err) = dead(deployment, &[&["list"], arguments].concat());
    assert_eq!(code, Some(0), "{err}");
    ids(&lines)
}

fn ids(lines: &[String]) -> Vec<String> {
    let id = |line: &String| line.split("  ").next().expect("a first column").to_owned();
    lines.iter().map(id).collect()
}

fn sorted(mut ids: Vec<String>) -> Vec<String> {
    ids.sort();
    ids
}

/// Sends jobs, and has a worker judge them.
fn work(deployment: &Deployment, jobs: &[Value]) {
    enqueue(deployment, jobs);
    deployment.work_until_idle();
}

fn enqueue(deployment: &Deployment, jobs: &[Value]) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("jobs.ndjson");
    let lines: Vec<_> = jobs.iter().map(|job| format!("{job}\n")).collect();
    std::fs::write(&file, lines.concat()).expect("a file");
    let file = file.display().to_string();
    let sent = deployment.banshi(&["enqueue", &file]).output();
    succeeded(&sent.expect("it starts"));
}

fn broken(id: &str) -> Value {
    let mut job = corpus(BROKEN);
    job["job_id"] = json!(id);
    job
}

/// Jobs that are rejected for three reasons, under two templates.
fn three_kinds() -> Vec<Value> {
    let mut unknown = broken("unknown");
    unknown["template"] = json!("annual-report/1999");
    let mut early = broken("early");
    early["template"] = json!("annual-report/2019");
    vec![broken("sum-1"), unknown, early, broken("sum-2")]
}

async fn chosen(deployment: Deployment) {
    work(&deployment, &three_kinds());
    let all = listed(&deployment, &[]);
    let set = |ids: &[String]| ids.iter().cloned().collect::<BTreeSet<_>>();
    let want = |ids: &[&str]| {
        ids.iter()
            .map(|id| (*id).to_owned())
            .collect::<BTreeSet<_>>()
    };
    assert_eq!(set(&all), want(&["sum-1", "unknown", "early", "sum-2"]));

    let cases: [(&[&str], &[&str]); 9] = [
        (&["--code", "R-REVIEW"], &["sum-1", "sum-2"]),
        (
            &["--code", "R-REVIEW", "--code", "e-template"],
            &["sum-1", "sum-2", "unknown"],
        ),
        (
            &["--template", "annual-report"],
            &["sum-1", "unknown", "early", "sum-2"],
        ),
        (&["--template", "annual-report/2019"], &["early"]),
        (
            &[
                "--template",
                "annual-report/2021",
                "--code",
                "R-REVIEW",
                "sum-2",
                "early",
            ],
            &["sum-2"],
        ),
        (&["--template", "annual"], &[]),
        (&["--older-than", "1h"], &[]),
        (
            &["--older-than", "0s"],
            &["sum-1", "unknown", "early", "sum-2"],
        ),
        (
            &["--older-than", "0s", "--code", "E-TEMPLATE"],
            &["unknown"],
        ),
    ];
    for (filter, ids) in cases {
        let arguments = [&["replay", "--dry-run"], filter].concat();
        let (code, lines, err) = dead(&deployment, &arguments);
        let found: BTreeSet<_> = lines
            .iter()
            .map(|line| line.strip_prefix("would be replayed: ").expect("only told"))
            .map(str::to_owned)
            .collect();
        assert_eq!(found, want(ids), "{filter:?}");
        // An id that the other conditions exclude is most likely a mistake.
        let missed = filter.contains(&"early") && !ids.contains(&"early");
        assert_eq!(code, Some(if missed { 2 } else { 0 }), "{filter:?}: {err}");
        assert_eq!(
            err.is_empty(),
            !ids.is_empty() && !missed,
            "{filter:?}: {err}"
        );
        if ids.is_empty() {
            assert!(
                err.contains("no job in the dead queue is like that"),
                "{err}"
            );
        }
    }
    assert_eq!(listed(&deployment, &[]), all, "nothing was done");
    assert_eq!(deployment.left().await, Vec::<String>::new());

    // For machines.
    let (_, lines, _) = dead(
        &deployment,
        &["list", "--format", "json", "--code", "E-TEMPLATE"],
    );
    let [line] = &lines[..] else {
        panic!("one line: {lines:?}")
    };
    let line: Value = serde_json::from_str(line).expect("JSON");
    assert_eq!(line["id"], "unknown");
    assert_eq!(line["template"], "annual-report/1999");
    assert_eq!(line["event"], "report.rejected");
    let since = line["buried_at"].as_str().expect("a time");
    assert!(since.starts_with("20") && since.ends_with('Z'), "{since}");
    let (_, lines, _) = dead(
        &deployment,
        &["show", "--format", "json", "unknown", "early"],
    );
    let bodies: BTreeMap<String, Value> = lines
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
        .map(|line| {
            let body = line["body"].as_str().expect("the job");
            let id = line["id"].as_str().expect("an id").to_owned();
            (id, serde_json::from_str(body).expect("as it was sent"))
        })
        .collect();
    let [_, unknown, early, _] = &three_kinds()[..] else {
        unreachable!()
    };
    assert_eq!((&bodies["unknown"], &bodies["early"]), (unknown, early));

    // Done to those that were meant, and to no other.
    let (code, lines, err) = dead(&deployment, &["drop", "--code", "R-REVIEW", "sum-1"]);
    assert_eq!(
        (code, &lines[..]),
        (Some(0), &["dropped sum-1".to_owned()][..]),
        "{err}"
    );
    let drop = [
        "drop",
        "--format",
        "json",
        "--template",
        "annual-report/2019",
    ];
    let (_, lines, _) = dead(&deployment, &drop);
    let line: Value = serde_json::from_str(&lines[0]).expect("JSON");
    assert_eq!(
        (&line["done"], &line["id"]),
        (&json!("dropped"), &json!("early"))
    );
    assert_eq!(set(&listed(&deployment, &[])), want(&["unknown", "sum-2"]));

    // An empty queue is no mistake when everything was asked for.
    assert_eq!(dead(&deployment, &["drop", "--all"]).1.len(), 2);
    let (code, lines, err) = dead(&deployment, &["replay", "--all"]);
    assert_eq!((code, lines.len(), err.as_str()), (Some(0), 0, ""));
    // To ask for nothing, or for nonsense, is one.
    for wrong in [
        &["replay"][..],
        &["drop", "--dry-run"],
        &["drop", "--older-than", "2"],
    ] {
        let (code, _, err) = dead(&deployment, wrong);
        assert_eq!(code, Some(2), "{wrong:?}: {err}");
    }
    deployment.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_chosen_by_id_code_template_and_age_over_rabbitmq() {
    chosen(Deployment::amqp().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_chosen_by_id_code_template_and_age_over_the_spool() {
    chosen(Deployment::spool()).await;
}

async fn mended(deployment: Deployment) {
    // Too large, for this worker.
    let job = corpus("zibo-bigdata-2020");
    let deployment = deployment.with("LIMITS__JOB_BYTES", "2000");
    work(&deployment, &[job, broken("hopeless")]);
    let found = listed(&deployment, &["--code", "E-JSON"]);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(deployment.store().is_empty());
    deployment.events().await;

    let deployment = deployment.with("LIMITS__JOB_BYTES", "1048576");
    let (code, lines, err) = dead(&deployment, &["replay", "--all"]);
    assert_eq!((code, lines.len()), (Some(0), 2), "{err}");
    deployment.work_until_idle();
    assert_eq!(deployment.store().len(), 2, "its PDF and its manifest");
    let events = deployment.events().await;
    let kinds: BTreeSet<_> = events.iter().filter_map(|it| it["type"].as_str()).collect();
    assert_eq!(
        kinds,
        BTreeSet::from(["report.completed", "report.rejected"])
    );
    assert_eq!(listed(&deployment, &["--code", "R-REVIEW"]), ["hopeless"]);
    assert_eq!(listed(&deployment, &[]).len(), 1);
    deployment.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_mended_is_completed_when_it_is_replayed_over_rabbitmq() {
    mended(Deployment::amqp().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_mended_is_completed_when_it_is_replayed_over_the_spool() {
    mended(Deployment::spool()).await;
}

/// Starts `banshi dead …` and kills it, without any warning, once it has printed so many lines.
fn killed_after(deployment: &Deployment, arguments: &[&str], lines: usize) {
    let mut child = deployment
        .banshi(&[&["dead"], arguments].concat())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let out = BufReader::new(child.stdout.take().expect("a pipe"));
    assert_eq!(out.lines().take(lines).count(), lines, "{arguments:?}");
    child.kill().expect("it was running");
    child.wait().expect("it is gone");
}

async fn killed(deployment: Deployment) {
    const JOBS: usize = 120;
    let jobs: Vec<_> = (0..JOBS)
        .map(|job| broken(&format!("job-{job:03}")))
        .collect();
    work(&deployment, &jobs);
    let all = listed(&deployment, &[]);
    assert_eq!(all.len(), JOBS);

    // A walk to the end, and one that ends early because nobody listens, leave their order.
    let mut early = deployment
        .banshi(&["dead", "list"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    drop(early.stdout.take());
    early.wait().expect("it ends");
    assert_eq!(listed(&deployment, &[]), all);
    // Killed in the middle, the broker puts them back, in an order of its own.
    for lines in [1, 50, JOBS - 1] {
        killed_after(&deployment, &["list"], lines);
        let again = async |it: &Deployment| listed(it, &[]).len() == JOBS;
        deployment.until("all are there again", again).await;
        assert_eq!(sorted(listed(&deployment, &[])), sorted(all.clone()));
    }

    // Replaying, cut off again and again.
    let mut kills = 0;
    while kills < 5 {
        killed_after(&deployment, &["replay", "--all"], 1 + kills * 4);
        kills += 1;
    }
    let (code, _, err) = dead(&deployment, &["replay", "--all"]);
    assert_eq!(code, Some(0), "{err}");
    deployment
        .until("the dead queue is empty", async |it| {
            dead(it, &["replay", "--all"]);
            listed(it, &[]).is_empty()
        })
        .await;
    // Now they are on their way again, each once, and one more for a kill at most.
    deployment.work_until_idle();
    let again = listed(&deployment, &[]);
    let set = |ids: &[String]| ids.iter().cloned().collect::<BTreeSet<_>>();
    assert_eq!(set(&again), set(&all), "none is lost");
    println!("{kills} kills, {} doubled", again.len() - all.len());
    assert!(again.len() <= all.len() + kills, "{}", again.len());
    deployment.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_killed_at_any_moment_loses_no_job_over_rabbitmq() {
    killed(Deployment::amqp().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_killed_at_any_moment_loses_no_job_over_the_spool() {
    killed(Deployment::spool()).await;
}

/// Starts `banshi dead …`, reads a line of it and listens no more: its exit code.
fn heard_once(deployment: &Deployment, arguments: &[&str]) -> Option<i32> {
    let mut child = deployment
        .banshi(&[&["dead"], arguments].concat())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut line = String::new();
    out.read_line(&mut line).expect("a line");
    assert!(!line.is_empty(), "{arguments:?}");
    drop(out);
    child.wait().expect("it ends").code()
}

/// Whether a job in the dead queue was taken out and requeued, ever: the broker counts that.
fn was_out(properties: &BasicProperties) -> bool {
    let headers = properties.headers().clone().unwrap_or_default();
    match headers.inner().get("x-delivery-count") {
        None => false,
        Some(AMQPValue::LongLongInt(count)) => *count > 0,
        Some(count) => panic!("a number: {count:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_rabbitmq_a_walk_that_nobody_hears_any_more_goes_no_further() {
    const JOBS: usize = 400;
    let deployment = Deployment::amqp().await;
    let jobs: Vec<_> = (0..JOBS)
        .map(|job| json!({ "job_id": format!("job-{job:03}") }))
        .collect();
    work(&deployment, &jobs);
    assert_eq!(heard_once(&deployment, &["drop", "--all"]), Some(3));
    assert_eq!(heard_once(&deployment, &["replay", "--all"]), Some(3));
    let (left, lanes) = (deployment.drain("dead").await, deployment.left().await);
    println!("{} left, {} replayed", left.len(), lanes.len());
    assert!(!lanes.is_empty() && left.len() + lanes.len() < JOBS);
    assert!(left.len() > JOBS / 2, "{}", left.len());
    // They were never out: they stand as they stood, and in nobody's way.
    let was_out = left.iter().filter(|(_, properties)| was_out(properties));
    assert_eq!(was_out.count(), 0);
    deployment.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_rabbitmq_a_walk_that_ends_early_leaves_those_that_it_passed_by_in_order() {
    const JOBS: usize = 300;
    let deployment = Deployment::amqp().await;
    let mut jobs = vec![broken("passed-by")];
    jobs.extend((0..JOBS).map(|job| json!({ "job_id": format!("job-{job:03}") })));
    work(&deployment, &jobs);
    let before = listed(&deployment, &[]);
    assert_eq!(
        heard_once(&deployment, &["drop", "--code", "E-SCHEMA"]),
        Some(3)
    );
    let after = listed(&deployment, &[]);
    assert!(after.len() > JOBS / 2 && after.len() < before.len());
    let still_there = before.into_iter().filter(|id| after.contains(id));
    assert_eq!(still_there.collect::<Vec<_>>(), after);
    deployment.remove().await;
}

async fn beside_a_worker(deployment: Deployment) {
    const JOBS: usize = 40;
    let jobs: Vec<_> = (0..JOBS)
        .map(|job| broken(&format!("job-{job:03}")))
        .collect();
    let worker = deployment.worker();
    enqueue(&deployment, &jobs);
    // Replayed while others are being rejected, and rejected again while others are replayed.
    let mut replayed = 0;
    let until = Instant::now() + Duration::from_secs(60);
    while replayed < 3 * JOBS {
        let (code, lines, err) = dead(&deployment, &["replay", "--all"]);
        assert_eq!(code, Some(0), "{err}");
        replayed += lines.len();
        assert!(Instant::now() < until, "{replayed} replayed");
    }
    deployment
        .until("all are dead again", async |it| {
            listed(it, &[]).len() == JOBS
        })
        .await;
    assert_eq!(worker.stop(), Some(0));
    let ids = sorted(listed(&deployment, &[]));
    let want: Vec<_> = (0..JOBS).map(|job| format!("job-{job:03}")).collect();
    assert_eq!(ids, want, "each once");
    assert_eq!(deployment.left().await, Vec::<String>::new());
    deployment.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replaying_beside_a_worker_loses_and_doubles_nothing_over_rabbitmq() {
    beside_a_worker(Deployment::amqp().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replaying_beside_a_worker_loses_and_doubles_nothing_over_the_spool() {
    beside_a_worker(Deployment::spool()).await;
}

async fn large(deployment: Deployment) {
    const JOBS: usize = 300;
    const BODY: usize = 500_000;
    let mut job = broken("large");
    job["data"]["agency"] = json!("x".repeat(BODY));
    let body = job.to_string().into_bytes();
    for number in 0..JOBS {
        let id = format!("large-{number}");
        let properties = BasicProperties::default().with_message_id(id.as_str().into());
        deployment.send_as(&id, &body, properties).await;
    }
    deployment.work_until_idle();

    // With less than that for all its data and stacks (setrlimit(2), RLIMIT_DATA).
    let mut limited = std::process::Command::new("sh");
    let list = deployment.banshi(&["dead", "list"]);
    limited.args(["-c", "ulimit -d 120000 && exec \"$@\"", "sh"]);
    limited.arg(list.get_program()).args(list.get_args());
    limited.envs(
        list.get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    // The allocator would have its room in advance.
    limited.env("MIMALLOC_DISALLOW_ARENA_ALLOC", "1");
    limited.current_dir(list.get_current_dir().expect("its folder"));
    let output = limited.output().expect("it starts");
    succeeded(&output);
    let lines = String::from_utf8_lossy(&output.stdout).lines().count();
    assert_eq!(lines, JOBS);
    deployment.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_queue_larger_than_memory_can_be_walked_over_rabbitmq() {
    large(Deployment::amqp().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_queue_larger_than_memory_can_be_walked_over_the_spool() {
    large(Deployment::spool()).await;
}

async fn dead_letter_next(intake: &mut banshi::transport::Intake) {
    let delivery = next(intake).await;
    let confirmed = delivery.publish(&event("x")).await.unwrap();
    let reason = Reason {
        code: "E-SCHEMA".to_owned(),
        message: "no".to_owned(),
        event: "report.rejected",
    };
    let dead_lettered = delivery.dead_letter(confirmed, &reason).await.unwrap();
    delivery.ack(dead_lettered).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn over_rabbitmq_a_replayed_job_is_the_one_that_was_sent() {
    let bench = Bench::new().await;
    let mut intake = bench.intake(2).await;
    let mut headers = FieldTable::default();
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    headers.insert("traceparent".into(), AMQPValue::LongString(trace.into()));
    headers.insert("tracestate".into(), AMQPValue::LongString("a=b".into()));
    headers.insert("tenant".into(), AMQPValue::LongInt(7));
    let sent = BasicProperties::default()
        .with_delivery_mode(2)
        .with_content_type("application/json".into())
        .with_message_id("job-9".into())
        .with_correlation_id("case 9".into())
        .with_reply_to("me".into())
        .with_type("report.render".into())
        .with_app_id("oa".into())
        .with_timestamp(1_700_000_000)
        .with_priority(3)
        .with_headers(headers);
    bench.publish("urgent", b"{\"n\":9}", sent.clone()).await;
    dead_letter_next(&mut intake).await;
    intake.close().await;

    let mut client = bench.client().await;
    dead_soon(&mut client, 1).await;
    client.walk_dead(|_| Verdict::Replay).await.unwrap();
    client.close().await;
    let got = bench.take(&bench.name("jobs.urgent")).await;
    assert_eq!(got.data, b"{\"n\":9}");
    assert_eq!(got.routing_key.as_str(), "urgent");
    let mut properties = got.properties.clone();
    let headers = properties.headers().clone().unwrap();
    let without_count: BTreeMap<_, _> = headers
        .into_iter()
        .filter(|(name, _)| name.as_str() != "x-delivery-count")
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    properties = properties.with_headers(without_count.into());
    assert_eq!(properties, sent, "to the last property");
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_rabbitmq_nothing_is_removed_while_its_lane_takes_nothing() {
    let bench = Bench::new().await;
    let mut intake = bench.intake(2).await;
    let mut client = bench.client().await;
    for job in 0..5 {
        client
            .send(&format!("job-{job}"), b"{}", Lane::Bulk)
            .await
            .unwrap();
    }
    for _ in 0..5 {
        dead_letter_next(&mut intake).await;
    }
    intake.close().await;
    let before = dead_soon(&mut client, 5).await;
    let gone = bench.channel.exchange_delete(
        bench.name("jobs").as_str().into(),
        ExchangeDeleteOptions::default(),
    );
    gone.await.unwrap();
    let mut settled = 0;
    let count = |_: &DeadJob| {
        settled += 1;
        ControlFlow::Continue(())
    };
    let walk = client.settle_dead(|_| Verdict::Replay, count);
    let said = walk.await.unwrap_err().chain();
    println!("{said}");
    assert!(said.contains(&bench.name("jobs")), "{said}");
    assert_eq!(settled, 0);
    client.close().await;

    // The next client declares it again.
    let mut client = Client::open(&bench.settings).await.unwrap();
    assert_eq!(dead_soon(&mut client, 5).await, before, "in their order");
    for dead in &before {
        assert!(dead.dead_lettered_at.is_some());
    }
    let count = |_: &DeadJob| {
        settled += 1;
        ControlFlow::Continue(())
    };
    let walk = client.settle_dead(|_| Verdict::Replay, count);
    walk.await.unwrap();
    assert_eq!(settled, 5);
    bench.ready_is("jobs.bulk", 5).await;
    let got = bench.take(&bench.name("jobs.bulk")).await;
    assert_eq!(text(&got.properties, "report_buried_at"), None);
    client.close().await;
    bench.end().await;
}

/// Sends a job with a routing key of the sender's own.
async fn misroute(bench: &Bench, id: &str, key: &str) {
    let properties = BasicProperties::default()
        .with_delivery_mode(2)
        .with_message_id(id.into())
        .with_correlation_id("case 3".into());
    bench
        .publish(key, format!("{{\"id\":\"{id}\"}}").as_bytes(), properties)
        .await;
}

/// What `banshi …` prints, when all is well.
fn printed(bench: &Bench, arguments: &[&str]) -> Vec<String> {
    let output = bench.banshi(arguments).output().expect("it starts");
    succeeded(&output);
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    lines.lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn over_rabbitmq_what_was_sent_to_no_lane_is_seen_and_sent_to_one() {
    let bench = Bench::new().await;
    bench.client().await.close().await;
    let keys = ["Bulk", "urgent ", "", "bulk.report", "Bulk"];
    for (job, key) in keys.iter().enumerate() {
        misroute(&bench, &format!("job-{job}"), key).await;
    }
    bench.ready_is("unrouted", 5).await;
    let list = ["dead", "list", "--queue", "unrouted"];
    // More often than the broker's default delivery limit, which would drop them.
    let mut client = bench.client().await;
    for _ in 0..30 {
        let mut seen = 0;
        let look = |_: &DeadJob| {
            seen += 1;
            Verdict::Keep
        };
        client
            .settle(Kept::Unrouted(None), look, |_| ControlFlow::Continue(()))
            .await
            .unwrap();
        assert_eq!(seen, 5);
    }
    client.close().await;
    let lines = printed(&bench, &list);
    assert_eq!(
        ids(&lines),
        ["job-0", "job-1", "job-2", "job-3", "job-4"],
        "the oldest first"
    );
    assert!(
        lines[0].contains("no lane of this name: routing key \"Bulk\""),
        "{lines:?}"
    );
    assert!(lines[2].contains("routing key \"\""), "{lines:?}");
    let output = bench
        .banshi(&["dead", "show", "--queue", "unrouted", "job-3"])
        .output();
    assert_eq!(output.expect("it starts").stdout, b"{\"id\":\"job-3\"}");

    let replay = ["dead", "--queue", "unrouted", "replay", "job-0"];
    assert_eq!(printed(&bench, &replay), ["replayed job-0"]);
    let replay = [
        "dead", "replay", "--queue", "unrouted", "--lane", "urgent", "job-1",
    ];
    assert_eq!(printed(&bench, &replay), ["replayed job-1"]);
    let drop = ["dead", "drop", "--queue", "unrouted", "job-2"];
    assert_eq!(printed(&bench, &drop), ["dropped job-2"]);
    assert_eq!(ids(&printed(&bench, &list)), ["job-3", "job-4"]);
    for (lane, id) in [("jobs.bulk", "job-0"), ("jobs.urgent", "job-1")] {
        let got = bench.take(&bench.name(lane)).await;
        assert_eq!(got.properties.message_id().as_ref().unwrap().as_str(), id);
        let correlation = got.properties.correlation_id();
        assert_eq!(correlation.as_ref().unwrap().as_str(), "case 3");
    }
    assert_eq!(bench.ready("dead").await, 0);
    let wrong = [
        &["dead", "replay", "--lane", "bulk", "--all"][..],
        &["dead", "replay", "--queue", "unrouted", "job-9"],
    ];
    for wrong in wrong {
        let output = bench.banshi(wrong).output().expect("it starts");
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
    }
    bench.end().await;
}

/// What is in the dead and in the unrouted queue.
async fn kept(bench: &Bench) -> (Vec<DeadJob>, Vec<DeadJob>) {
    let mut client = bench.client().await;
    let (mut dead, mut unrouted) = (Vec::new(), Vec::new());
    for (kept, into) in [
        (Kept::Dead, &mut dead),
        (Kept::Unrouted(None), &mut unrouted),
    ] {
        let look = |job: &DeadJob| {
            into.push(job.clone());
            Verdict::Keep
        };
        client
            .settle(kept, look, |_| ControlFlow::Continue(()))
            .await
            .unwrap();
    }
    client.close().await;
    (dead, unrouted)
}

#[tokio::test(flavor = "multi_thread")]
async fn over_rabbitmq_a_migration_keeps_every_job_and_why_it_is_here() {
    let bench = Bench::new().await;
    bench.as_the_first_version().await;
    let mut intake = bench.intake(2).await;
    let mut client = bench.client().await;
    for job in 0..3 {
        let (id, body) = (format!("job-{job}"), format!("[{job}]"));
        client
            .send(&id, body.as_bytes(), Lane::Urgent)
            .await
            .unwrap();
        dead_letter_next(&mut intake).await;
    }
    // One that killed its workers has its reason from the broker alone.
    client.send("killer", b"{}", Lane::Bulk).await.unwrap();
    for _ in 0..11 {
        drop(next(&mut intake).await);
    }
    let before = dead_soon(&mut client, 4).await;
    for (job, key) in ["Bulk", "weekly"].iter().enumerate() {
        misroute(&bench, &format!("lost-{job}"), key).await;
    }
    // Looking could lose them.
    let list = ["dead", "list", "--queue", "unrouted"];
    let output = bench.banshi(&list).output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(
        said.contains("21 times") && said.contains("banshi topology migrate"),
        "{said}"
    );
    let output = bench
        .banshi(&["topology", "check"])
        .output()
        .expect("it starts");
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("{lines}");
    assert_eq!(output.status.code(), Some(3));
    let wrong = |line: &&str| line.starts_with("wrong");
    assert_eq!(lines.lines().filter(wrong).count(), 2, "{lines}");
    let dead = format!("wrong  queue {}  4 messages  ", bench.name("dead"));
    assert!(
        lines.contains(&dead) && lines.contains("earlier version"),
        "{lines}"
    );

    // A worker runs meanwhile.
    let steps = printed(&bench, &["topology", "migrate"]);
    println!("{steps:#?}");
    let (after, unrouted) = kept(&bench).await;
    assert_eq!(after, before);
    let said: Vec<_> = unrouted
        .iter()
        .map(|job| (job.id.as_str(), job.message.as_str(), job.lane.as_str()))
        .collect();
    let want = [
        (
            "lost-0",
            "no lane of this name: routing key \"Bulk\"",
            "bulk",
        ),
        (
            "lost-1",
            "no lane of this name: routing key \"weekly\"",
            "bulk",
        ),
    ];
    assert_eq!(said, want);
    let lines = printed(&bench, &["topology", "check"]);
    println!("{lines:#?}");
    assert!(
        lines.iter().all(|line| line.starts_with("well")),
        "{lines:?}"
    );
    // What comes in now comes in as before, and a second run has nothing to do.
    client.send("late", b"{}", Lane::Bulk).await.unwrap();
    dead_letter_next(&mut intake).await;
    misroute(&bench, "late", "late").await;
    printed(&bench, &["topology", "migrate"]);
    let (after, unrouted) = kept(&bench).await;
    assert_eq!((after.len(), unrouted.len()), (5, 3));
    client.close().await;
    intake.close().await;
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_rabbitmq_a_migration_killed_at_any_moment_loses_no_job() {
    let bench = Bench::new().await;
    bench.as_the_first_version().await;
    let mut sent = (BTreeSet::new(), BTreeSet::new());
    let channel = &bench.channel;
    channel.confirm_select(Default::default()).await.unwrap();
    let mut send = async |count: usize| {
        for _ in 0..count {
            let id = format!("job-{:03}", sent.0.len());
            let properties = BasicProperties::default()
                .with_delivery_mode(2)
                .with_message_id(id.as_str().into());
            for (exchange, key) in [("dlx", "dead"), ("jobs", "Bulk")] {
                let (exchange, body) = (bench.name(exchange), id.as_bytes());
                let options = BasicPublishOptions {
                    mandatory: true,
                    ..Default::default()
                };
                let (exchange, properties) = (exchange.as_str().into(), properties.clone());
                let published =
                    channel.basic_publish(exchange, key.into(), options, body, properties);
                let confirmed = published.await.unwrap().await.unwrap();
                assert!(
                    matches!(confirmed, Confirmation::Ack(None)),
                    "{confirmed:?}"
                );
            }
            sent.0.insert(id.clone());
            sent.1.insert(id);
        }
    };
    send(100).await;
    let mut kills = 0;
    for wait in [
        20, 60, 100, 150, 250, 400, 700, 2300, 2500, 2700, 3000, 4500, 5200, 6500,
    ] {
        let mut child = bench
            .banshi(&["topology", "migrate"])
            .stdout(Stdio::null())
            .spawn()
            .expect("it starts");
        // What comes in meanwhile is not lost either.
        send(2).await;
        tokio::time::sleep(Duration::from_millis(wait)).await;
        if child.try_wait().expect("a child").is_none() {
            child.kill().expect("it was running");
            kills += 1;
        }
        child.wait().expect("it is gone");
        send(2).await;
    }
    for step in printed(&bench, &["topology", "migrate"]) {
        println!("{step}");
    }
    let lines = printed(&bench, &["topology", "check"]);
    assert!(
        lines.iter().all(|line| line.starts_with("well")),
        "{lines:#?}"
    );
    let (dead, unrouted) = kept(&bench).await;
    println!(
        "{kills} kills, {} sent to each, {} and {} there",
        sent.0.len(),
        dead.len(),
        unrouted.len()
    );
    assert!(kills > 5, "{kills} kills");
    let set = |jobs: &[DeadJob]| {
        jobs.iter()
            .map(|job| job.id.clone())
            .collect::<BTreeSet<_>>()
    };
    assert_eq!((set(&dead), set(&unrouted)), sent);
    for job in dead.iter().chain(&unrouted) {
        assert_eq!(job.body, job.id.as_bytes());
    }
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_rabbitmq_a_migration_waits_for_what_is_in_somebodys_hands() {
    let bench = Bench::new().await;
    bench.as_the_first_version().await;
    for job in 0..3 {
        misroute(&bench, &format!("job-{job}"), "weekly").await;
    }
    bench.ready_is("unrouted", 3).await;
    let queue = bench.name("unrouted");
    let look = BasicGetOptions { no_ack: false };
    let held = bench.channel.basic_get(queue.as_str().into(), look).await;
    let held = held.unwrap().expect("a job");
    let mut child = bench
        .banshi(&["topology", "migrate"])
        .stdout(Stdio::null())
        .spawn()
        .expect("it starts");
    tokio::time::sleep(Duration::from_secs(12)).await;
    assert!(child.try_wait().expect("a child").is_none(), "it waits");
    let back = BasicNackOptions {
        requeue: true,
        multiple: false,
    };
    held.acker.nack(back).await.unwrap();
    assert!(child.wait().expect("it ends").success());
    let (_, unrouted) = kept(&bench).await;
    assert_eq!(unrouted.len(), 3);
    bench.end().await;
}

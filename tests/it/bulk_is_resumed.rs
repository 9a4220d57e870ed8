//! Many jobs are sent with a journal: whenever the sender is killed, the same command goes on, and
//! every job is there; and it is told what became of each.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Child, Stdio};

use serde_json::{Value, json};

use crate::support::deployment::Deployment;
use crate::support::jobs::{BROKEN, corpus};
use crate::support::node::Node;
use crate::support::{ran, until};

/// As many as a kill may send twice (docs/send-many.md).
const IN_FLIGHT: usize = 64;

/// Lines of jobs that nobody works on.
fn lines(jobs: usize) -> String {
    (0..jobs).fold(String::new(), |all, number| {
        format!("{all}{{\"job_id\":\"job-{number}\",\"template\":\"annual-report/2021\"}}\n")
    })
}

/// The lines of a journal after its first, as far as they are whole.
fn noted(deployment: &Deployment) -> usize {
    let journal = std::fs::read(deployment.path("journal")).unwrap_or_default();
    let lines = journal.iter().filter(|byte| **byte == b'\n').count();
    lines.saturating_sub(1)
}

const SEND: [&str; 4] = ["enqueue", "--journal", "journal", "jobs.ndjson"];

fn kill(mut child: Child) {
    child.kill().expect("it was running, or has ended");
    child.wait().expect("it is gone");
}

/// How often each job is in the bulk lane.
async fn in_the_lane(deployment: &Deployment) -> BTreeMap<String, usize> {
    let mut ids = BTreeMap::new();
    for (_, properties) in deployment.drain("jobs.bulk").await {
        let id = properties.message_id().as_ref().expect("an id");
        *ids.entry(id.as_str().to_owned()).or_default() += 1;
    }
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_killed_at_any_moment_goes_on_and_every_job_is_there() {
    const JOBS: usize = 9_000;
    let deployment = Deployment::amqp().await;
    std::fs::write(deployment.path("jobs.ndjson"), lines(JOBS)).expect("a file");
    let mut kills = 0;
    for most in [1, 700, 1_500, 2_200] {
        let sender = deployment.banshi(&SEND).stderr(Stdio::null()).spawn();
        let sender = sender.expect("it starts");
        until("some jobs are noted", || noted(&deployment) >= most);
        kill(sender);
        kills += 1;
    }
    assert!(noted(&deployment) < JOBS, "it was killed on its way");
    let (code, out, err) = ran(&mut deployment.banshi(&SEND));
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("were sent before; 0 not sent"), "{out}");
    assert_eq!(noted(&deployment), JOBS);
    // Once more: there is nothing left.
    let (code, out, _) = ran(&mut deployment.banshi(&SEND));
    assert_eq!(code, Some(0));
    assert!(out.starts_with("sent 0 to the bulk lane"), "{out}");
    let ids = in_the_lane(&deployment).await;
    assert_eq!(ids.len(), JOBS, "none is missing");
    let repeats = ids.values().sum::<usize>() - JOBS;
    assert!(
        repeats <= kills * IN_FLIGHT,
        "{repeats} repeats of {kills} kills"
    );
    deployment.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_goes_away_and_a_full_lane_are_waited_for() {
    let Some(node) = Node::new() else { return };
    node.start();
    let mut deployment = Deployment::amqp_at(&node.url()).await;
    let policy = |most: &str| {
        let most = format!("{{\"max-length\":{most}}}");
        node.ctl(&[
            "set_policy",
            "full",
            "jobs.bulk$",
            &most,
            "--apply-to",
            "queues",
        ]);
    };
    policy("50");
    std::fs::write(deployment.path("jobs.ndjson"), lines(400)).expect("a file");
    let (code, out, err) =
        ran(&mut deployment.banshi(&[&SEND[..], &["--patience", "3s"]].concat()));
    assert_eq!((code, out.as_str()), (Some(3), ""), "{err}");
    assert!(err.contains("are left: the same command goes on"), "{err}");
    assert!(err.contains("full"), "{err}");

    let said = std::fs::File::create(deployment.path("said")).expect("a file");
    let sender = deployment.banshi(&SEND).stderr(said).spawn();
    let mut sender = sender.expect("it starts");
    let waits = || std::fs::read_to_string(deployment.path("said")).expect("a file");
    until("it waits for room", || waits().contains("waits"));
    node.kill();
    until("it waits for the broker", || {
        waits().contains("cannot reach")
    });
    node.start();
    policy("200");
    until("there was room for some", || noted(&deployment) >= 150);
    node.ctl(&["clear_policy", "full"]);
    assert_eq!(
        sender.wait().expect("it ends").code(),
        Some(0),
        "{}",
        waits()
    );
    assert_eq!(noted(&deployment), 400);
    deployment.reconnect(&node.url()).await;
    assert_eq!(in_the_lane(&deployment).await.len(), 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_files_are_told_at_the_end_all_together_and_stop_no_other() {
    for deployment in [Deployment::amqp().await, Deployment::spool()] {
        let folder = deployment.path("jobs");
        std::fs::create_dir(&folder).expect("a folder");
        let write = |name: &str, text: &str| {
            std::fs::write(folder.join(name), text).expect("a file");
        };
        write("a.json", "{");
        write("b.json", "{\"job_id\":\"b\"}");
        write(
            "c.ndjson",
            "{\"job_id\":\"c\"}\nno job\n{\"job_id\":\"d\"}\n{\"job_id\":\"c\"}\n",
        );
        write("e.json", "{\"job_id\":\"b\",\"data\":{}}");
        write("f.json", "{\"id\":\"f\"}");
        let send = ["enqueue", "--journal", "journal", "jobs"];
        let (code, out, err) = ran(&mut deployment.banshi(&send));
        assert_eq!(code, Some(1), "{err}");
        assert!(out.contains("sent 3 to"), "{out}");
        assert!(out.contains("1 were there twice; 4 not sent"), "{out}");
        let told = [
            "jobs/a.json: not sent: not JSON",
            "jobs/c.ndjson:2: not sent: not JSON",
            "jobs/e.json: not sent: jobs/b.json has its job_id with other content",
            "jobs/f.json: not sent: it has no \"job_id\"",
        ];
        let lines: Vec<&str> = err.lines().collect();
        assert_eq!(lines.len(), told.len(), "{err}");
        for (line, told) in lines.iter().zip(told) {
            assert!(line.starts_with(told), "{err}");
        }
        // What can't be read at all is the environment's fault, and the graver one.
        let (code, out, err) =
            ran(&mut deployment.banshi(&[&send[..], &["nowhere.json"]].concat()));
        assert_eq!(code, Some(3), "{err}");
        assert!(
            out.contains("sent 0 to") && out.contains("5 not sent"),
            "{out}{err}"
        );
        assert_eq!(deployment.waiting().await, 3);
        deployment.remove().await;
    }
}

#[test]
fn a_journal_is_of_one_input_and_of_one_lane() {
    let deployment = Deployment::spool();
    std::fs::write(deployment.path("jobs.ndjson"), lines(3)).expect("a file");
    let (code, out, err) = ran(&mut deployment.banshi(&SEND));
    assert_eq!(code, Some(0), "{err}");
    assert!(out.starts_with("sent 3 to"), "{out}");
    let (code, _, err) = ran(&mut deployment.banshi(&[&SEND[..], &["--lane", "urgent"]].concat()));
    assert_eq!(code, Some(3), "{err}");
    assert!(err.contains("is of jobs sent to the bulk lane"), "{err}");
    std::fs::write(deployment.path("jobs.ndjson"), lines(4)).expect("a file");
    let (code, _, err) = ran(&mut deployment.banshi(&SEND));
    assert_eq!(code, Some(3), "{err}");
    assert!(
        err.contains("was begun with other jobs (3; these are 4)"),
        "{err}"
    );
    let torn = std::fs::read(deployment.path("journal")).expect("a file");
    std::fs::write(deployment.path("journal"), &torn[..torn.len() - 5]).expect("a file");
    std::fs::write(deployment.path("jobs.ndjson"), lines(3)).expect("a file");
    let (code, out, err) = ran(&mut deployment.banshi(&SEND));
    assert_eq!(code, Some(0), "{err}");
    assert!(
        out.starts_with("sent 1 to") && out.contains("2 were sent before"),
        "{out}"
    );
}

#[test]
fn standard_input_is_sent_with_a_journal_too() {
    let deployment = Deployment::spool();
    let send = || {
        let mut command = deployment.banshi(&["enqueue", "--journal", "journal", "-"]);
        let streams = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut sender = streams.spawn().expect("it starts");
        let mut stdin = sender.stdin.take().expect("piped");
        stdin.write_all(lines(5).as_bytes()).expect("it reads");
        drop(stdin);
        let output = sender.wait_with_output().expect("it ends");
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    assert!(send().starts_with("sent 5 to"));
    assert!(send().contains("5 were sent before"));
}

/// Two good reports and one that breaks a rule.
fn reports(deployment: &Deployment) {
    std::fs::create_dir(deployment.path("jobs")).expect("a folder");
    for name in ["zibo-bigdata-2020", "shanghai-science-2024", BROKEN] {
        let file = deployment.path(&format!("jobs/{name}.json"));
        std::fs::write(file, corpus(name).to_string()).expect("a file");
    }
}

const SEND_REPORTS: [&str; 4] = ["enqueue", "--journal", "journal", "jobs"];
const WAIT: [&str; 3] = ["wait", "--journal", "journal"];

async fn told_when_all_have_ended(deployment: Deployment) {
    reports(&deployment);
    let (code, _, err) = ran(&mut deployment.banshi(&SEND_REPORTS));
    assert_eq!(code, Some(0), "{err}");
    let (code, out, err) = ran(&mut deployment.banshi(&[&WAIT[..], &["--timeout", "0s"]].concat()));
    assert_eq!(code, Some(4), "{err}");
    assert!(
        out.contains("0 completed 已完成") && out.contains("3 waiting 未结束"),
        "{out}"
    );

    let waiting = deployment.banshi(&WAIT).stdout(Stdio::piped()).spawn();
    let waiting = waiting.expect("it starts");
    deployment.work_until_idle();
    let output = waiting.wait_with_output().expect("it ends");
    let out = String::from_utf8(output.stdout).expect("UTF-8");
    assert_eq!(output.status.code(), Some(1), "one was rejected: {out}");
    let lines: Vec<&str> = out.lines().collect();
    assert!(
        lines[0].starts_with("jinhu-2023             rejected  已拒绝  R-REVIEW"),
        "{out}"
    );
    assert!(
        lines[1].contains("R-REVIEW /data/review_and_litigation"),
        "{out}"
    );
    assert!(lines[2].contains("由总计的含义推出"), "{out}");
    assert!(
        lines[3].starts_with("shanghai-science-2024  completed 已完成  file://"),
        "{out}"
    );
    assert!(lines[5].starts_with("3 jobs: 2 completed"), "{out}");

    // Whoever asks later hears the same.
    let (code, out, _) = ran(&mut deployment.banshi(&[&WAIT[..], &["--format", "json"]].concat()));
    assert_eq!(code, Some(1));
    let told: Vec<Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let states: Vec<_> = told
        .iter()
        .map(|it| it["state"].as_str().unwrap())
        .collect();
    assert_eq!(states, ["rejected", "completed", "completed"]);
    assert_eq!(told[0]["problems"][0]["code"], "R-REVIEW");
    let artifact = &told[2]["artifact"];
    let key = artifact["uri"]
        .as_str()
        .unwrap()
        .split_once("/store/")
        .unwrap()
        .1;
    let stored = banshi::digest::sha256(&deployment.stored(key));
    assert_eq!(artifact["sha256"], stored);
    let csv = ["wait", "jobs/zibo-bigdata-2020.json", "--format", "csv"];
    let (code, out, _) = ran(&mut deployment.banshi(&csv));
    assert_eq!(code, Some(0));
    let rows: Vec<&str> = out.split("\r\n").collect();
    assert_eq!(
        rows[0],
        "job_id,state,time,pages,uri,sha256,codes,message,message_zh"
    );
    assert!(rows[1].starts_with("zibo-bigdata-2020,completed,"), "{out}");
    assert!(rows[1].contains(&stored), "{out}");
    let by_id = ["wait", "--job", BROKEN, "--job", "zibo-bigdata-2020"];
    let (code, out, _) = ran(&mut deployment.banshi(&by_id));
    assert_eq!(code, Some(1), "{out}");
    assert!(
        out.contains("2 jobs: 1 completed 已完成, 1 rejected"),
        "{out}"
    );
    deployment.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_became_of_each_job_is_told_when_all_have_ended_over_rabbitmq() {
    told_when_all_have_ended(Deployment::amqp().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_became_of_each_job_is_told_when_all_have_ended_over_the_spool() {
    told_when_all_have_ended(Deployment::spool()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_event_was_before_the_journal_is_found_and_another_content_is_not_it() {
    let deployment = Deployment::amqp().await;
    let send = async |job: &Value| {
        let id = job["job_id"].as_str().expect("an id");
        deployment.send(id, job.to_string().as_bytes()).await;
        deployment.work_until_idle();
    };
    // Completed long ago, and rejected long ago with what has been mended since.
    let done = corpus("zibo-bigdata-2020");
    send(&done).await;
    let mended = corpus("shanghai-science-2024");
    let mut wrong = mended.clone();
    wrong["data"]["requests"]["received"]["total"] = json!(1_000_000);
    send(&wrong).await;
    let lines = format!("{done}\n{mended}\n");
    std::fs::write(deployment.path("jobs.ndjson"), lines).expect("a file");
    let (code, _, err) = ran(&mut deployment.banshi(&SEND));
    assert_eq!(code, Some(0), "{err}");
    // Nobody works, and the journal is of tomorrow: what is told was there before it.
    let journal = std::fs::read_to_string(deployment.path("journal")).expect("a file");
    let (_, began) = journal.split_once("\"began\":").expect("a time");
    let began: u64 = began
        .split('}')
        .next()
        .expect("a time")
        .parse()
        .expect("a time");
    let later = journal.replacen(&began.to_string(), &(began + 100_000).to_string(), 1);
    std::fs::write(deployment.path("journal"), later).expect("a file");
    let (code, out, err) = ran(&mut deployment.banshi(&[&WAIT[..], &["--timeout", "1s"]].concat()));
    assert_eq!(code, Some(4), "{err}");
    assert!(out.contains("zibo-bigdata-2020      completed"), "{out}");
    assert!(out.contains("shanghai-science-2024  waiting"), "{out}");
    deployment.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_outlasts_a_restart_of_the_broker() {
    let Some(node) = Node::new() else { return };
    node.start();
    let deployment = Deployment::amqp_at(&node.url()).await;
    reports(&deployment);
    std::fs::remove_file(deployment.path(&format!("jobs/{BROKEN}.json"))).expect("a file");
    let (code, _, err) = ran(&mut deployment.banshi(&SEND_REPORTS));
    assert_eq!(code, Some(0), "{err}");
    let said = std::fs::File::create(deployment.path("said")).expect("a file");
    let mut command = deployment.banshi(&WAIT);
    let waiting = command.stderr(said).stdout(Stdio::piped()).spawn();
    let waiting = waiting.expect("it starts");
    let said = || std::fs::read_to_string(deployment.path("said")).expect("a file");
    // It is connected as soon as the broker says so.
    until("it is connected", || {
        let clients = node.ctl(&["list_connections", "client_properties"]);
        clients.contains("observer")
    });
    node.kill();
    until("it has lost the broker", || said().contains("waits"));
    node.start();
    deployment.work_until_idle();
    let output = waiting.wait_with_output().expect("it ends");
    let out = String::from_utf8(output.stdout).expect("UTF-8");
    assert_eq!(output.status.code(), Some(0), "{out}{}", said());
    assert!(out.contains("2 jobs: 2 completed"), "{out}");
}

#[test]
fn a_journal_whose_jobs_are_not_all_sent_is_not_all_ended() {
    let deployment = Deployment::spool();
    reports(&deployment);
    ran(&mut deployment.banshi(&SEND_REPORTS));
    deployment.work_until_idle();
    let journal = std::fs::read_to_string(deployment.path("journal")).expect("a file");
    let whole: Vec<&str> = journal
        .lines()
        .filter(|line| !line.contains(BROKEN))
        .collect();
    std::fs::write(deployment.path("journal"), whole.join("\n") + "\n{\"sent\"").expect("a file");
    let (code, out, err) = ran(&mut deployment.banshi(&WAIT));
    assert_eq!(code, Some(4), "{out}");
    assert!(
        err.contains("1 of the 3 jobs of journal were not sent yet"),
        "{err}"
    );
    assert!(out.contains("2 jobs: 2 completed"), "{out}");
}

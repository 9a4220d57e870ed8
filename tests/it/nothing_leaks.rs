//! Secrets stay with the worker, reports stay out of the log, and foreign text steers no terminal
//! and no script.

use std::process::Command;
use std::time::Duration;

use lapin::BasicProperties;
use serde_json::{Value, json};

use crate::support::BANSHI;
use crate::support::deployment::{Deployment, succeeded};
use crate::support::jobs::{BROKEN, corpus};

#[tokio::test(flavor = "multi_thread")]
async fn a_typesetter_knows_none_of_the_workers_secrets() {
    // Its settings, the broker's password among them, are in a worker's environment here.
    let deployment = Deployment::amqp().await;
    let worker = deployment.worker_with("AWS_SECRET_ACCESS_KEY", "very-secret");
    let mut found = Vec::new();
    while found.is_empty() {
        tokio::time::sleep(Duration::from_millis(50)).await;
        found = worker.typesetters();
        // Between fork and exec a child is still its parent.
        let is_ready = |pid: &u32| {
            std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|it| it.starts_with(b"banshi"))
        };
        found.retain(is_ready);
    }
    for pid in found {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).expect("its environment");
        let environment = String::from_utf8(environment).expect("UTF-8");
        let variables = environment.split_terminator('\0');
        let names: Vec<&str> = variables
            .map(|it| it.split('=').next().expect("a name"))
            .collect();
        let needed = ["MIMALLOC_DISALLOW_ARENA_ALLOC", "RUST_BACKTRACE"];
        assert!(
            names.contains(&needed[0]) && names.iter().all(|name| needed.contains(name)),
            "{names:?}"
        );
    }
    assert_eq!(worker.stop(), Some(0));
    deployment.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_filter_of_the_log_lets_a_report_through() {
    const SECRET: &str = "SECRETWORD机密";
    let deployment = Deployment::amqp()
        .await
        .with("LOG__FILTER", "trace,lapin=trace");
    let worker = deployment.worker();
    // Nobody takes what is to be dead-lettered: the broker returns it, and lapin would log it
    // whole.
    deployment.delete_queue("dead").await;
    let mut job = corpus(BROKEN);
    job["data"]["overview"] = Value::Array(vec![json!(SECRET); 50_000]);
    job["data"]["no_such_field"] = json!("x");
    deployment
        .send("returned", job.to_string().as_bytes())
        .await;
    deployment
        .until("it is rejected", async |it| !it.events().await.is_empty())
        .await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let log = worker.log();
    worker.kill();

    assert!(log.contains("DEBUG") || log.contains("TRACE"), "{log}");
    let decimal = |text: &str| {
        let bytes: Vec<String> = text.bytes().map(|byte| byte.to_string()).collect();
        bytes.join(", ")
    };
    for text in ["SECRETWORD", "机密", "\\u673a"] {
        assert!(
            !log.contains(text),
            "{text} in a log of {} bytes",
            log.len()
        );
        let bytes = decimal(text);
        assert!(
            !log.contains(&bytes),
            "{text} in a log of {} bytes",
            log.len()
        );
    }
    for target in ["lapin", "amq_protocol", "async_rs"] {
        assert!(!log.contains(&format!(" {target}")), "{target}");
    }
    let longest = log.lines().map(str::len).max().unwrap_or_default();
    assert!(longest < 4096, "a line of {longest} bytes");
    deployment.remove().await;
}

/// Ids as a sender may choose them who knows what operators do with a list.
const IDS: [&str; 5] = [
    "--all",
    "two words",
    "x\nkept  report.failed  store  2026-01-01T00:00:00Z  x",
    "\u{1b}[2Jred\u{9b}31m\u{202e}x\u{7}",
    "$(touch stolen)'\"\\;%20",
];

/// Runs a line of a shell in which `banshi` is the program.
fn shell(deployment: &Deployment, line: &str) -> std::process::Output {
    let banshi = deployment.banshi(&[]);
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &format!("banshi() {{ {BANSHI} \"$@\"; }}; {line}")])
        .current_dir(banshi.get_current_dir().expect("its folder"))
        .env("BANSHI", BANSHI);
    for (name, value) in banshi.get_envs() {
        shell.env(name, value.expect("a value"));
    }
    shell.output().expect("it starts")
}

fn is_plain(text: &[u8]) -> bool {
    let text = std::str::from_utf8(text).expect("UTF-8");
    let steers = |c: char| c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c);
    !text.chars().any(|c| c != '\n' && steers(c))
}

async fn steers_nobody(deployment: Deployment) {
    let list = shell(&deployment, "banshi dead list");
    succeeded(&list);
    assert!(is_plain(&list.stdout));
    let text = String::from_utf8_lossy(&list.stdout).into_owned();
    assert_eq!(text.lines().count(), IDS.len() + 1, "{text}");
    let forged = |line: &&str| line.starts_with("kept ");
    assert_eq!(text.lines().filter(forged).count(), 1, "{text}");

    // An id finds its job as it is and as it is shown.
    for id in IDS {
        let arguments = ["dead", "show", "--format", "json", "--", id];
        let shown = deployment.banshi(&arguments).output().expect("it starts");
        // The last one is an id of its own, and the shown form of another that is not there.
        if id.contains("%20") {
            assert_eq!(shown.status.code(), Some(2));
            assert!(is_plain(&shown.stderr));
            continue;
        }
        succeeded(&shown);
        let line: Value = serde_json::from_slice(&shown.stdout).expect("a line of JSON");
        assert_eq!(line["id"], id);
    }

    // What operators do.
    let dropped = shell(
        &deployment,
        r#"banshi dead list | grep -v '^kept ' | awk '{print $1}' | xargs "$BANSHI" dead drop"#,
    );
    succeeded(&dropped);
    assert!(is_plain(&dropped.stdout));
    let lines = String::from_utf8_lossy(&dropped.stdout).lines().count();
    assert_eq!(lines, IDS.len());
    let left = shell(&deployment, "banshi dead list | awk '{print $1}'");
    assert_eq!(String::from_utf8_lossy(&left.stdout), "kept\n");
    assert!(!deployment.path("stolen").exists());
    deployment.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_the_dead_steers_nobody_over_rabbitmq() {
    let deployment = Deployment::amqp().await;
    for id in IDS.into_iter().chain(["kept"]) {
        // The reason repeats what the job says.
        let job = json!({ "job_id": id, "template": format!("\u{1b}[31m{id}"), "data": {} });
        let properties = BasicProperties::default().with_message_id(id.into());
        let body = job.to_string();
        deployment.send_as("job", body.as_bytes(), properties).await;
    }
    deployment.work_until_idle();
    steers_nobody(deployment).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_the_dead_steers_nobody_over_the_spool() {
    let deployment = Deployment::spool();
    let dead = deployment.path("spool/dead");
    std::fs::create_dir_all(&dead).expect("a folder");
    for id in IDS.into_iter().chain(["kept"]) {
        let reason = json!({ "code": "E-SCHEMA", "message": id, "event": "report.rejected" });
        std::fs::write(dead.join(format!("{id}.json")), "{}").expect("a job");
        let why = dead.join(format!("{id}.reason.json"));
        std::fs::write(why, reason.to_string()).expect("a reason");
    }
    steers_nobody(deployment).await;
}

#[test]
fn a_jobs_words_and_a_files_name_are_shown_and_not_obeyed() {
    let deployment = Deployment::spool();
    let name = "\u{1b}]0;x\u{7}\nforged: ok\u{202e}.json";
    let mut job = corpus("zibo-bigdata-2020");
    job["template"] = json!("\u{1b}[31m\nforged E-JSON /: x");
    std::fs::write(deployment.path(name), job.to_string()).expect("a file");
    for command in ["check", "render", "enqueue"] {
        let output = deployment.banshi(&[command, name]).output();
        let output = output.expect("it starts");
        for text in [&output.stdout, &output.stderr] {
            assert!(
                is_plain(text),
                "{command}: {}",
                String::from_utf8_lossy(text)
            );
            let forged = text.split(|byte| *byte == b'\n');
            let forged = forged.filter(|line| line.starts_with(b"forged"));
            assert_eq!(forged.count(), 0, "{command}");
        }
    }
}

//! `banshi status` says how it goes and where a job is: with a broker, with a spool, by a console,
//! and where something is not there. It takes nothing and leaves nothing behind.

use std::process::Output;

use banshi::fleet::{Load, Overview, Story, WorkerStatus};
use lapin::options::{ExchangeDeclareOptions, ExchangeDeleteOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Connection, ConnectionProperties, ExchangeKind};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::support::console::{Console, TOKEN};
use crate::support::deployment::Deployment;
use crate::support::jobs::corpus;
use crate::support::node::Node;

/// Long after the test, and long before it.
const LATER: &str = "2099-12-31";
const BEFORE: &str = "2001-01-31";

fn named(id: &str) -> Vec<u8> {
    let mut job = corpus("pingtan-2023");
    job["job_id"] = json!(id);
    job.to_string().into_bytes()
}

/// A report whose sum is wrong, and that says to refuse it for that.
fn wrong(id: &str) -> Vec<u8> {
    let mut job = corpus("pingtan-2025");
    job["job_id"] = json!(id);
    job["on_violation"] = json!("reject");
    job["data"]["requests"]["received"]["total"] = json!(161);
    job.to_string().into_bytes()
}

fn ran(deployment: &Deployment, arguments: &[&str]) -> Output {
    let mut command = deployment.banshi(&["status"]);
    command.args(arguments).output().unwrap()
}

/// What it says, and its exit code.
fn says(deployment: &Deployment, arguments: &[&str]) -> (String, Option<i32>) {
    let output = ran(deployment, arguments);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let wrong = String::from_utf8_lossy(&output.stderr);
    println!("banshi status {}\n{said}{wrong}", arguments.join(" "));
    (said + &wrong, output.status.code())
}

/// What it says with `--format json`, in the types of the library.
fn tells<T: DeserializeOwned>(deployment: &Deployment, arguments: &[&str]) -> Vec<T> {
    let output = ran(deployment, &[arguments, &["--format", "json"]].concat());
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines = lines.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().unwrap_or_else(|error| {
        panic!(
            "{error}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )
    })
}

fn overview(deployment: &Deployment) -> Overview {
    tells(deployment, &[]).remove(0)
}

fn story(deployment: &Deployment, id: &str) -> Story {
    tells(deployment, &[id]).remove(0)
}

/// Each row's beginning must be there.
fn has_rows(said: &str, rows: &[&str]) {
    for row in rows {
        let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let found = said.lines().any(|line| plain(line).starts_with(row));
        assert!(found, "{row} is not in\n{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_glance_tells_what_waits_how_fast_it_goes_and_whether_it_will_be_in_time() {
    let deployment = Deployment::amqp().await.with("CONSOLE__DEADLINE", LATER);
    let worker = deployment.worker();
    for id in ["one", "two", "three"] {
        deployment.send(id, &named(id)).await;
    }
    deployment.send("wrong", &wrong("wrong")).await;
    let mut events = 0;
    deployment
        .until("all is done", async |it| {
            events += it.events().await.len();
            events == 4
        })
        .await;

    let now = overview(&deployment);
    assert_eq!((now.backlog, now.time_to_empty_seconds), (Some(0), Some(0)));
    assert_eq!((now.hour.completed, now.hour.rejected), (3, 1));
    assert!(now.rate_per_minute > 0.0);
    assert_eq!(now.ready("dead"), Some(1));
    assert_eq!(now.deadline.unwrap().late, Some(false));
    let fleet = now.fleet;
    assert_eq!((fleet.workers, fleet.ready, fleet.silent), (1, 1, 0));
    assert!(fleet.typesetters >= 1 && fleet.mixed.is_empty() && fleet.unheard.is_none());
    let (said, code) = says(&deployment, &[]);
    assert_eq!(code, Some(0));
    has_rows(
        &said,
        &[
            "backlog 积压 0 (bulk 0, urgent 0, retry 0, in hand 0)",
            "rate 速度 ",
            "time to empty 清空 nothing waits",
            "deadline 截止 2099-12-31T15:59:59Z: in time 来得及",
            "last hour 近一小时 3 completed, 1 rejected, 0 failed",
            "dead 死信 1 (unrouted 0)",
            "workers 工作进程 1 ready of 1; 0 of ",
        ],
    );

    // The worker by itself.
    let mut workers: Vec<WorkerStatus> = tells(&deployment, &["--workers"]);
    assert_eq!(workers.len(), 1);
    let status = workers.remove(0);
    assert!(status.worker.ends_with(&format!("-{}", worker.pid())));
    assert!(status.ready && status.in_hand.is_empty());
    assert_eq!((status.jobs.completed, status.jobs.rejected), (3, 1));
    assert_eq!(status.templates_sha256.len(), 64);
    let (said, code) = says(&deployment, &["--workers"]);
    assert_eq!(code, Some(0));
    has_rows(
        &said,
        &[
            &format!("{} {} up ", status.worker, status.version),
            "typesetters ",
            "jobs 0 in hand; 3 completed, 1 rejected, 0 failed, 0 sent to wait",
            &format!(
                "made of {}, templates {}",
                status.engine,
                &status.templates_sha256[..12]
            ),
        ],
    );

    // What became of jobs.
    let load: Load = tells(&deployment, &["--since", "24h"]).remove(0);
    assert_eq!((load.all.completed, load.all.rejected), (3, 1));
    assert_eq!(load.templates["annual-report/2021"].completed, 3);
    assert_eq!(load.codes["R-COLUMN"], 1);
    let (said, code) = says(&deployment, &["--since", "1h"]);
    assert_eq!(code, Some(0));
    has_rows(
        &said,
        &[
            "since ",
            "annual-report 0 completed, 1 rejected",
            "annual-report/2021 3 completed, 0 rejected",
            "R-COLUMN 1",
        ],
    );

    // Nobody works, and jobs wait: at the rate of before in time, and late after the deadline.
    assert_eq!(worker.stop(), Some(0));
    for id in ["four", "five"] {
        deployment.send(id, &named(id)).await;
    }
    let now = overview(&deployment);
    assert_eq!((now.backlog, now.ready("bulk")), (Some(2), Some(2)));
    assert!(now.time_to_empty_seconds.is_some_and(|left| left > 0));
    assert_eq!(now.deadline.unwrap().late, Some(false));
    assert_eq!(now.fleet.workers, 0);
    let deployment = deployment.with("CONSOLE__DEADLINE", BEFORE);
    let (said, code) = says(&deployment, &[]);
    assert_eq!(code, Some(0));
    has_rows(
        &said,
        &[
            "deadline 截止 2001-01-31T15:59:59Z: will be LATE 将逾期",
            "workers 工作进程 none was heard",
        ],
    );
    // Nothing was taken for all that.
    assert_eq!(deployment.ready("jobs.bulk").await, 2);
    assert_eq!(deployment.ready("dead").await, 1);
    for (message, properties) in deployment.drain("jobs.bulk").await {
        assert!(!message.is_empty());
        let headers = properties.headers().clone().unwrap_or_default();
        let before = headers.inner().get("x-delivery-count");
        let never = matches!(before, None | Some(AMQPValue::LongLongInt(0)));
        assert!(never, "{headers:?}");
    }
    deployment.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_jobs_story_is_told_wherever_the_job_is() {
    let deployment = Deployment::amqp().await.with("RENDER__DEADLINE", "600");
    let worker = deployment.worker();
    deployment.send("good", &named("good")).await;
    deployment.send("wrong", &wrong("wrong")).await;
    let done = async |it: &Deployment| overview(it).hour.all() == 2;
    deployment.until("both have ended", done).await;

    let (said, code) = says(&deployment, &["good"]);
    assert_eq!(code, Some(0));
    has_rows(&said, &["good: completed", "file:"]);
    assert!(said.contains("report.completed") && said.contains("/good.pdf"));
    let (said, code) = says(&deployment, &["wrong"]);
    assert_eq!(code, Some(1));
    has_rows(
        &said,
        &[
            "wrong: rejected",
            "it is in the dead queue: banshi dead show",
        ],
    );
    assert!(said.contains("R-COLUMN /data/requests/outcome/total/total: "));
    let chinese = |line: &str| line.chars().any(|c| ('一'..='龥').contains(&c));
    assert!(said.lines().any(chinese), "{said}");
    let told = story(&deployment, "wrong");
    assert_eq!((told.state.as_str(), told.dead), ("rejected", Some(true)));
    assert_eq!(told.events.len(), 1);
    // It still is there.
    assert_eq!(deployment.ready("dead").await, 1);

    // In hand, with a typesetter that hangs.
    worker.signal_typesetters("STOP");
    deployment.send("held", &named("held")).await;
    deployment
        .until("it is in hand", async |it| {
            story(it, "held").state == "in_hand"
        })
        .await;
    let (said, code) = says(&deployment, &["held"]);
    assert_eq!(code, Some(0));
    has_rows(&said, &["held: in hand"]);
    let has = format!("-{} has it, attempt 1", worker.pid());
    assert!(said.contains(&has), "{said}");
    let now = overview(&deployment);
    assert_eq!((now.backlog, now.fleet.in_flight), (Some(1), 1));
    assert!(now.oldest_in_hand.is_some());
    worker.signal_typesetters("CONT");
    deployment
        .until("it is done", async |it| {
            story(it, "held").state == "completed"
        })
        .await;

    // Waiting for another attempt: its result has no place, and others have.
    let folder = deployment.path("store/annual-report/2021");
    std::fs::rename(&folder, folder.with_extension("away")).unwrap();
    std::fs::write(&folder, "in the way").unwrap();
    deployment.send("late", &named("late")).await;
    let mut told = story(&deployment, "late");
    let waits = async |it: &Deployment| {
        told = story(it, "late");
        told.state == "waiting"
    };
    deployment.until("it waits", waits).await;
    let (said, code) = says(&deployment, &["late"]);
    std::fs::remove_file(&folder).unwrap();
    std::fs::rename(folder.with_extension("away"), &folder).unwrap();
    deployment
        .until("it is done", async |it| {
            story(it, "late").state == "completed"
        })
        .await;

    assert_eq!(code, Some(0));
    assert!(said.contains("due again after attempt 1: "), "{said}");
    let wait = &told.waits[0];
    assert_eq!((wait.attempt, wait.part.as_str()), (1, "store"));

    // Never sent. It says how far it has looked.
    let (said, code) = says(&deployment, &["never-sent"]);
    assert_eq!(code, Some(1));
    has_rows(
        &said,
        &["never-sent: nothing is known of it: it may wait in a queue"],
    );
    assert!(
        said.contains("no event names it in the whole log"),
        "{said}"
    );
    assert_eq!(story(&deployment, "never-sent").dead, Some(false));
    assert_eq!(worker.stop(), Some(0));
    deployment.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_in_binary_mode_tells_the_same() {
    let deployment = Deployment::amqp().await;
    deployment.send("good", &named("good")).await;
    deployment.work_until_idle();
    let deployment = deployment.with("EVENTS__MODE", "binary");
    deployment.send("good", &named("good")).await;
    deployment.send("wrong", &wrong("wrong")).await;
    deployment.work_until_idle();

    let told = story(&deployment, "good");
    let [structured, binary] = &told.events[..] else {
        panic!("{told:?}")
    };
    assert_eq!(structured.event, binary.event);
    let (said, code) = says(&deployment, &["wrong"]);
    assert_eq!(code, Some(1));
    has_rows(&said, &["wrong: rejected"]);
    assert!(said.contains("R-COLUMN /data/requests/outcome/total/total: "));
    let hour = overview(&deployment).hour;
    assert_eq!((hour.completed, hour.rejected), (1, 1));
    deployment.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spool_is_told_of_the_same_way() {
    let deployment = Deployment::spool().with("RENDER__DEADLINE", "600");
    let worker = deployment.worker();
    deployment.send("good", &named("good")).await;
    deployment.send("wrong", &wrong("wrong")).await;
    deployment
        .until("both have ended", async |it| it.events().await.len() == 2)
        .await;
    let (said, code) = says(&deployment, &["good"]);
    assert_eq!(code, Some(0));
    has_rows(&said, &["good: completed"]);
    let (said, code) = says(&deployment, &["wrong"]);
    assert_eq!(code, Some(1));
    has_rows(&said, &["wrong: rejected", "it is in the dead queue"]);
    let (said, code) = says(&deployment, &["never-sent"]);
    assert_eq!(code, Some(1));
    has_rows(&said, &["never-sent: nothing is known of it"]);
    let load: Load = tells(&deployment, &["--since", "1h"]).remove(0);
    assert_eq!((load.all.completed, load.all.rejected), (1, 1));

    worker.signal_typesetters("STOP");
    deployment.send("held", &named("held")).await;
    deployment
        .until("it is in hand", async |it| {
            let now = overview(it);
            now.fleet.in_flight == 1 && now.backlog == Some(1)
        })
        .await;
    let now = overview(&deployment);
    assert_eq!((now.hour.completed, now.hour.rejected), (1, 1));
    assert_eq!((now.ready("dead"), now.fleet.workers), (Some(1), 1));
    let holders: Vec<Value> = tells(&deployment, &["--workers"]);
    assert_eq!(holders.len(), 1);
    assert_eq!(holders[0]["in_flight"], 1);
    let (said, code) = says(&deployment, &["--workers"]);
    assert_eq!(code, Some(0));
    assert!(said.contains("  1 in hand"), "{said}");
    // A console says the same of it.
    let console = Console::start(&deployment);
    let shown = console.until("/", |now| now["fleet"]["in_flight"] == 1);
    assert_eq!(shown["backlog"], 1);
    worker.signal_typesetters("CONT");
    deployment
        .until("all is done", async |it| it.events().await.len() == 3)
        .await;
    assert_eq!(worker.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_console_says_the_same_and_wants_its_token() {
    let deployment = Deployment::amqp().await.with("CONSOLE__TOKEN", TOKEN);
    let console = Console::start(&deployment);
    let worker = deployment.worker();
    deployment.send("good", &named("good")).await;
    deployment.send("wrong", &wrong("wrong")).await;
    console.until("/", |now| {
        let ended = now["hour"]["completed"] == 1 && now["hour"]["rejected"] == 1;
        let dead = now["queues"].as_array().unwrap().iter();
        ended
            && now["fleet"]["workers"] == 1
            && now["fleet"]["in_flight"] == 0
            && dead
                .into_iter()
                .any(|it| it["name"] == "dead" && it["ready"] == 1)
    });
    let url = format!("http://{}", console.address);
    let by_console = ["--console", url.as_str()];

    let (own, asked): (Overview, Overview) = (
        overview(&deployment),
        tells(&deployment, &by_console).remove(0),
    );
    assert_eq!(own.queues, asked.queues);
    assert_eq!((own.backlog, own.hour), (asked.backlog, asked.hour));
    assert_eq!(own.fleet, asked.fleet);
    // Which has read a day of the log.
    assert_eq!((own.day, asked.day), (None, Some(asked.hour)));
    for id in ["good", "wrong", "never-sent"] {
        let arguments = [&[id], &by_console[..]].concat();
        let (own, asked) = (says(&deployment, &[id]), says(&deployment, &arguments));
        assert_eq!(own, asked);
    }
    let of_today = [&["--since", "24h"], &by_console[..]].concat();
    let own: Load = tells(&deployment, &["--since", "24h"]).remove(0);
    assert_eq!(own, tells::<Load>(&deployment, &of_today).remove(0));
    // Its page with as many words.
    let (said, code) = says(&deployment, &by_console);
    assert_eq!(code, Some(0));
    has_rows(
        &said,
        &["last day 近一天 1 completed, 1 rejected, 0 failed"],
    );

    let deployment = deployment.with("CONSOLE__TOKEN", "not the token of it");
    let (said, code) = says(&deployment, &by_console);
    assert_eq!(code, Some(3));
    assert!(
        said.contains("asks for its token: set console.token"),
        "{said}"
    );
    assert_eq!(console.process.stop(), Some(0));
    let (said, code) = says(&deployment, &by_console);
    assert_eq!(code, Some(3));
    assert!(said.contains("the console does not answer at "), "{said}");
    assert_eq!(worker.stop(), Some(0));
    deployment.remove().await;
}

#[test]
fn what_is_not_there_is_named() {
    let deployment = Deployment::spool().with("QUEUE__URL", "amqp://guest:guest@127.0.0.1:1/%2f");
    for arguments in [&[][..], &["--workers"], &["--since", "1h"], &["a-job"]] {
        let (said, code) = says(&deployment, arguments);
        assert_eq!(code, Some(3), "{said}");
        assert!(said.contains("amqp://guest@127.0.0.1:1"), "{said}");
    }
    let nowhere = Deployment::spool();
    let (said, code) = says(&nowhere, &[]);
    assert_eq!(code, Some(3));
    assert!(said.contains("spool/events"), "{said}");
}

/// Waits until a worker takes jobs in.
async fn is_up(deployment: &Deployment, id: &str) {
    deployment.send(id, &named(id)).await;
    let done = async |it: &Deployment| story(it, id).state == "completed";
    deployment.until("a worker works", done).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_exchange_or_the_right_to_it_workers_work_and_are_not_heard() {
    let Some(node) = Node::new() else { return };
    node.start();
    let mut deployment = Deployment::amqp_at(&node.url()).await;
    let queues = || {
        let queues = node.ctl(&["list_queues", "name"]);
        queues.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let before = queues();
    let (_, code) = says(&deployment, &["--workers"]);
    assert_eq!(code, Some(0));
    let left: Vec<_> = queues()
        .into_iter()
        .filter(|it| !before.contains(it))
        .collect();
    assert!(left.is_empty(), "{left:?}");

    // As an administrator has set it up for an earlier version.
    let own = node.url();
    let connection = Connection::connect(&own, ConnectionProperties::default());
    let connection = connection.await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let status = deployment.name("status");
    let deleted = channel.exchange_delete(status.as_str().into(), ExchangeDeleteOptions::default());
    deleted.await.unwrap();
    deployment = deployment.with("QUEUE__TOPOLOGY", "verify");
    let worker = deployment.worker();
    is_up(&deployment, "first").await;
    let console = Console::start(&deployment);
    console.until("/", |now| now["hour"]["completed"] == 1);
    for arguments in [&[][..], &["--workers"]] {
        let (said, code) = says(&deployment, arguments);
        assert_eq!(code, Some(0));
        assert!(said.contains("none was heard") || said.contains("no worker was heard"));
        assert!(said.contains("not heard because"), "{said}");
        assert!(said.contains(&format!("no exchange '{status}'")), "{said}");
    }
    let fleet = console.until("/fleet", |_| true);
    assert!(
        fleet["unheard"].as_str().unwrap().contains(&status),
        "{fleet}"
    );
    assert_eq!(console.process.stop(), Some(0));
    assert_eq!(worker.stop(), Some(0));
    assert!(!node.ctl(&["list_exchanges", "name"]).contains(&status));

    // It is there, and the worker's user has what it needed before there was such an exchange.
    let options = ExchangeDeclareOptions {
        durable: true,
        ..ExchangeDeclareOptions::default()
    };
    let none = FieldTable::default();
    let declared =
        channel.exchange_declare(status.as_str().into(), ExchangeKind::Topic, options, none);
    declared.await.unwrap();
    node.ctl(&["add_user", "worker", "of-mine"]);
    let prefix = status.trim_end_matches(".status").to_owned();
    let (write, read) = (
        format!(r"^{prefix}\.(events|retry\..+|dlx|replies)$"),
        format!(r"^{prefix}\.jobs\..+$"),
    );
    node.ctl(&["set_permissions", "worker", "^$", &write, &read]);
    let url = node.url().replace("guest:guest@", "worker:of-mine@");
    let worker = deployment.worker_with("BANSHI__QUEUE__URL", &url);
    is_up(&deployment, "second").await;
    let (said, code) = says(&deployment, &["--workers"]);
    assert_eq!(code, Some(0));
    has_rows(&said, &["no worker was heard"]);
    assert!(!said.contains("not heard because"), "{said}");
    let log = worker.log();
    assert_eq!(log.matches("no status can be sent").count(), 1, "{log}");
    assert_eq!(worker.stop(), Some(0));

    // With the least that is documented, worker and console hear and are heard.
    let write = write.replace("replies", "replies|status");
    node.ctl(&["set_permissions", "worker", "^$", &write, &read]);
    let own = format!(r"^{prefix}\.status\..+$");
    let reads = format!(r"^{prefix}\.(status(\..+)?|events\.log|dead|unrouted)$");
    node.ctl(&["add_user", "looker", "of-mine"]);
    node.ctl(&["set_permissions", "looker", &own, &own, &reads]);
    let worker = deployment.worker_with("BANSHI__QUEUE__URL", &url);
    let deployment = deployment.with(
        "QUEUE__URL",
        &node.url().replace("guest:guest@", "looker:of-mine@"),
    );
    deployment
        .until("it is heard", async |it| {
            let now = overview(it);
            assert_eq!(now.fleet.unheard, None);
            now.fleet.ready == 1 && now.hour.completed == 2
        })
        .await;
    let (_, code) = says(&deployment, &["never-sent"]);
    assert_eq!(code, Some(1));
    let console = Console::start(&deployment);
    console.until("/", |now| {
        now["hour"]["completed"] == 2 && now["fleet"]["ready"] == 1
    });
    for path in ["/dead", "/dead?queue=unrouted"] {
        console.until(path, |kept| {
            kept["jobs"].as_array().is_some_and(Vec::is_empty)
        });
    }
    assert_eq!(worker.stop(), Some(0));
}

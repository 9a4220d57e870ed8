//! Each user that `deploy/rabbitmq/users` makes does its work, and may do nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Output};

use lapin::options::*;
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use serde_json::{Value, json};

use crate::support::node::Node;
use crate::support::{BANSHI, repository};

const EXCHANGES: [&str; 8] = [
    "jobs", "events", "retry.5s", "dlx", "replies", "status", "unrouted", "",
];
const QUEUES: [&str; 6] = [
    "jobs.bulk",
    "jobs.urgent",
    "retry.5s",
    "dead",
    "unrouted",
    "events.log",
];

fn full(name: &str) -> String {
    match name {
        // The default exchange has no name.
        "" => String::new(),
        name => format!("banshi.{name}"),
    }
}

/// A try, each on a channel of its own, as a refusal ends the channel.
async fn is_let(
    connection: &Connection,
    attempt: impl AsyncFnOnce(&Channel) -> Result<(), lapin::Error>,
) -> bool {
    let channel = connection.create_channel().await.expect("a channel");
    match attempt(&channel).await {
        Ok(()) => true,
        Err(error) if error.to_string().contains("ACCESS_REFUSED") => false,
        Err(error) => panic!("{error}"),
    }
}

/// All that a user is let do with what stands there, as `read dead`.
async fn rights(connection: &Connection) -> BTreeSet<String> {
    let mut rights = BTreeSet::new();
    let none = FieldTable::default;
    for exchange in EXCHANGES {
        let let_in = is_let(connection, async |channel| {
            channel
                .confirm_select(ConfirmSelectOptions::default())
                .await?;
            let (to, key) = (full(exchange).into(), "nobody".into());
            let (options, properties) =
                (BasicPublishOptions::default(), BasicProperties::default());
            let sent = channel.basic_publish(to, key, options, b"{}", properties);
            sent.await?.await.map(drop)
        });
        if let_in.await {
            rights.insert(format!("write {exchange}"));
        }
        if exchange.is_empty() {
            continue;
        }
        // Undone, which takes the same permissions as to bind; it was never made.
        let let_in = is_let(connection, async |channel| {
            let (queue, from) = (full("dead").into(), full(exchange).into());
            channel
                .queue_unbind(queue, from, "nobody".into(), none())
                .await
        });
        if let_in.await {
            rights.insert(format!("bind dead to {exchange}"));
        }
    }
    for queue in QUEUES {
        let let_in = is_let(connection, async |channel| {
            channel.basic_qos(1, BasicQosOptions::default()).await?;
            let options = BasicConsumeOptions::default();
            let consumer = channel.basic_consume(full(queue).into(), "".into(), options, none());
            drop(consumer.await?);
            channel.close(200, "OK".into()).await
        });
        if let_in.await {
            rights.insert(format!("read {queue}"));
        }
        // A queue that is there stays as it is, whatever is declared.
        let let_in = is_let(connection, async |channel| {
            let mut wrong = FieldTable::default();
            wrong.insert("x-max-length".into(), AMQPValue::LongLongInt(-1));
            let options = QueueDeclareOptions::durable();
            let declared = channel
                .queue_declare(full(queue).into(), options, wrong)
                .await;
            match declared {
                Err(error) if error.to_string().contains("PRECONDITION_FAILED") => Ok(()),
                other => other.map(drop),
            }
        });
        if let_in.await {
            rights.insert(format!("configure {queue}"));
        }
    }
    rights
}

#[tokio::test]
async fn each_user_may_do_its_own_work_and_nothing_else() {
    let Some(node) = Node::new() else { return };
    node.start();
    let script = repository("deploy/rabbitmq/users");
    let made = node.administer(&script, &["/"]);
    let passwords: BTreeMap<&str, &str> = made
        .lines()
        .map(|line| line.split_once(' ').expect("a name and a password"))
        .collect();
    let names: Vec<_> = passwords.keys().copied().collect();
    assert_eq!(
        names,
        ["archive", "console", "operator", "sender", "worker"].map(|name| format!("banshi-{name}"))
    );
    // A second time it has nothing to add.
    assert_eq!(node.administer(&script, &["/"]), "");

    let folder = tempfile::tempdir().expect("a folder");
    let url = |name: &str| {
        let user = format!("banshi-{name}");
        let login = format!("{user}:{}@", passwords[user.as_str()]);
        node.url().replace("guest:guest@", &login)
    };
    let banshi = |name: &str, topology: &str, arguments: &[&str]| -> Output {
        let output = Command::new(BANSHI)
            .args(arguments)
            .env("BANSHI__QUEUE__URL", url(name))
            .env("BANSHI__QUEUE__TOPOLOGY", topology)
            .env("BANSHI__FONTS__DIR", repository("fonts"))
            .env("BANSHI__ADMIN__LISTEN", "")
            .env("BANSHI__RENDER__THREADS", "1")
            .current_dir(folder.path())
            .output();
        output.expect("it starts")
    };
    let does = |name: &str, topology: &str, arguments: &[&str]| -> String {
        let output = banshi(name, topology, arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{name} {arguments:?}: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };

    // What each is for.
    does("operator", "declare", &["worker", "--until-idle"]);
    does("operator", "declare", &["topology", "check"]);
    let sample = does(
        "sender",
        "verify",
        &["templates", "annual-report/2021", "--sample"],
    );
    let job = folder.path().join("job.json");
    std::fs::write(&job, sample).expect("a file");
    let bad = "{\"job_id\": \"bad\", \"template\": \"annual-report/2021\"}";
    std::fs::write(folder.path().join("bad.json"), bad).expect("a file");
    does("sender", "verify", &["enqueue", "job.json", "bad.json"]);
    does("worker", "verify", &["worker", "--until-idle"]);
    // From 4.3 on, nobody is told the depth of a queue that they have no permission for.
    let tells = !node.ctl(&["version"]).starts_with("4.3");
    let status = does("console", "verify", &["status", "--format", "json"]);
    let status: Value = serde_json::from_str(&status).expect("JSON");
    let known = if tells { json!(0) } else { Value::Null };
    assert_eq!(
        (&status["backlog"], &status["time_to_empty_seconds"]),
        (&known, &known)
    );
    let ready = |queue: &str| {
        let queues = status["queues"].as_array().expect("a list");
        let queue = queues.iter().find(|it| it["name"] == queue);
        queue.expect("it is listed")["ready"].clone()
    };
    assert_eq!(
        ["bulk", "urgent", "retry"].map(ready),
        [0; 3].map(|_| known.clone())
    );
    assert_eq!(["dead", "unrouted"].map(ready), [json!(1), json!(0)]);
    let listed = does("operator", "verify", &["dead", "list"]);
    assert!(listed.contains("E-"), "{listed}");

    let once = ["archive", "packages", "--once"];
    let archived = does("archive", "verify", &once);
    assert!(archived.contains("1 new reports"), "{archived}");

    // And what each may not.
    let expected = |rights: &[&str]| -> BTreeSet<String> {
        rights.iter().map(|right| (*right).to_owned()).collect()
    };
    let mut found = BTreeMap::new();
    for name in ["archive", "console", "sender", "worker"] {
        let connection = Connection::connect(&url(name), ConnectionProperties::default()).await;
        found.insert(name, rights(&connection.expect("it is let in")).await);
    }
    let own: BTreeMap<_, _> = [
        ("archive", expected(&["read events.log"])),
        (
            "console",
            expected(&["read dead", "read events.log", "read unrouted"]),
        ),
        ("sender", expected(&["write jobs"])),
        (
            "worker",
            expected(&[
                "read jobs.bulk",
                "read jobs.urgent",
                "write dlx",
                "write events",
                "write replies",
                "write retry.5s",
                "write status",
            ]),
        ),
    ]
    .into();
    assert_eq!(found, own);
    // The operator may all, so that what was refused was refused for want of the permission.
    let connection = Connection::connect(&url("operator"), ConnectionProperties::default()).await;
    let all = rights(&connection.expect("it is let in")).await;
    assert_eq!(
        all.len(),
        2 * EXCHANGES.len() - 1 + 2 * QUEUES.len(),
        "{all:?}"
    );
}

//! Drills: something goes wrong, a screen shows it, a page of `docs/runbooks` says what to do, its
//! commands are run as they stand there, and afterwards every job has ended and none is lost.

use std::process::{Command, Output};

use banshi::fleet::{Overview, Story};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Connection, ConnectionProperties};
use serde_json::{Value, json};

use crate::a_full_disk_loses_nothing::{Ballast, run_on_a_small_disk, small_disk};
use crate::support::console::Console;
use crate::support::deployment::{Deployment, WRITE_DOWN_QUEUES, succeeded};
use crate::support::jobs::corpus;
use crate::support::node::Node;
use crate::support::prometheus::{Prometheus, rules};
use crate::support::{BANSHI, in_seconds, repository};

fn named(id: &str) -> Value {
    let mut job = corpus("pingtan-2023");
    job["job_id"] = json!(id);
    job
}

async fn send(deployment: &Deployment, ids: &[&str]) {
    for id in ids {
        let job = named(id).to_string();
        deployment.send(id, job.as_bytes()).await;
    }
}

fn said(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it));
    let said = format!("{out}{err}");
    println!("{said}");
    said
}

fn status(deployment: &Deployment) -> Output {
    deployment.banshi(&["status"]).output().unwrap()
}

fn overview(deployment: &Deployment) -> Overview {
    let mut command = deployment.banshi(&["status", "--format", "json"]);
    let output = command.output().unwrap();
    succeeded(&output);
    serde_json::from_slice(&output.stdout).unwrap()
}

fn story(deployment: &Deployment, id: &str) -> Story {
    let mut command = deployment.banshi(&["status", "--format", "json", id]);
    let output = command.output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Runs a command that the alert's page has, in both languages, with `JOB-ID` for a job's.
fn follow(deployment: &Deployment, alert: &str, command: &str, job_id: &str) -> Output {
    for folder in ["docs", "docs/zh"] {
        let page = repository(&format!("{folder}/runbooks/{alert}.md"));
        let page = std::fs::read_to_string(page).unwrap();
        assert!(page.contains(command), "{folder}: {alert} has no {command}");
    }
    println!("$ {command}");
    let settings = deployment.banshi(&[]);
    let settings = settings.get_envs();
    let programs = std::path::Path::new(BANSHI).parent().unwrap();
    let line = format!("PATH=\"$0:$PATH\"; {}", command.replace("JOB-ID", job_id));
    Command::new("sh")
        .args(["-c", &line])
        .arg(programs)
        .envs(settings.filter_map(|(name, value)| Some((name, value?))))
        .current_dir(deployment.folder())
        .output()
        .unwrap()
}

/// Waits until all of them have ended well, and nothing of them is left on the way or among the
/// dead.
async fn all_is_well(deployment: &Deployment, ids: &[&str]) {
    let mut ended = Vec::new();
    deployment
        .until("every job has ended", async |it| {
            for event in it.events().await {
                if event["type"] == "report.completed" {
                    ended.push(event["subject"].as_str().unwrap().to_owned());
                }
            }
            ids.iter().all(|id| ended.iter().any(|it| it == id))
        })
        .await;
    for id in ids {
        assert_eq!(story(deployment, id).state, "completed");
    }
    let now = overview(deployment);
    assert_eq!(now.backlog, Some(0), "{now:?}");
    for queue in now.queues {
        assert_eq!(queue.ready, Some(0), "{}", queue.name);
    }
    assert!(deployment.left().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_broker_goes_away() {
    let Some(node) = Node::new() else { return };
    node.start();
    let mut deployment = Deployment::amqp_at(&node.url()).await;
    let console = Console::start(&deployment);
    let worker = deployment.worker();
    send(&deployment, &["before"]).await;
    console.until("/", |now| now["hour"]["completed"] == 1);
    worker.signal_typesetters("STOP");
    let ids = ["one", "two", "three", "four", "five"];
    send(&deployment, &ids).await;
    console.until("/", |now| now["backlog"] == 5);
    node.ctl(&["eval", WRITE_DOWN_QUEUES]);
    node.kill();
    worker.signal_typesetters("CONT");

    // The console says that it hears nothing, and what it knew; the command that there is no broker.
    let picture = deployment.path("seen.png");
    let seen = json!({
        "path": "/", "words": ["Nothing new comes in."], "picture": picture,
    });
    tokio::task::block_in_place(|| console.check(&deployment, &seen, &["sees"]));
    let picture = std::fs::read(picture).unwrap();
    assert!(picture.starts_with(b"\x89PNG") && picture.len() > 10_000);
    let output = status(&deployment);
    assert_eq!(output.status.code(), Some(3));
    assert!(said(&output).contains("amqp://guest@127.0.0.1:"));

    // The page of what rings then.
    let output = follow(&deployment, "BanshiNotReady", "banshi doctor", "");
    assert_eq!(output.status.code(), Some(3));
    let told = said(&output);
    let broker = told.lines().find(|line| line.contains("broker "));
    assert!(broker.is_some_and(|line| line.contains("fail")), "{told}");

    node.start();
    deployment.reconnect(&node.url()).await;
    all_is_well(
        &deployment,
        &["before", "one", "two", "three", "four", "five"],
    )
    .await;
    let output = follow(&deployment, "BanshiNotReady", "banshi status --workers", "");
    let told = said(&output);
    assert!(
        told.contains("  ready") && told.contains("0 in hand"),
        "{told}"
    );
    console.until("/", |now| {
        now["hour"]["completed"] == 6 && now["backlog"] == 0
    });
    assert_eq!(worker.stop(), Some(0));
}

#[test]
fn the_store_is_full() {
    run_on_a_small_disk(module_path!(), "child_whose_store_gets_full");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by the_store_is_full"]
async fn child_whose_store_gets_full() {
    let Some(disk) = small_disk() else { return };
    let deployment = Deployment::amqp().await;
    let console = Console::start(&deployment);
    let worker = deployment.worker();
    send(&deployment, &["before"]).await;
    console.until("/", |now| now["hour"]["completed"] == 1);
    let ballast = Ballast::fill(&disk);
    send(&deployment, &["one", "two", "three"]).await;

    let shown = console.until("/", |now| {
        let not_ready = now["fleet"]["workers"] == 1 && now["fleet"]["ready"] == 0;
        not_ready && now["backlog"].as_u64() > Some(0)
    });
    let why = shown["fleet"]["why"][0].as_str().unwrap();
    assert!(
        why.contains("store") && why.contains("free some space"),
        "{why}"
    );
    let told = said(&status(&deployment));
    let because = told
        .lines()
        .find(|line| line.starts_with("not ready because"));
    assert!(
        because.is_some_and(|line| line.contains("free some space")),
        "{told}"
    );

    let output = follow(&deployment, "BanshiGateShut", "banshi doctor", "");
    assert_eq!(output.status.code(), Some(3));
    let told = said(&output);
    assert!(told.contains("free some space"), "{told}");

    drop(ballast);
    all_is_well(&deployment, &["before", "one", "two", "three"]).await;
    console.until("/", |now| now["fleet"]["ready"] == 1 && now["backlog"] == 0);
    let output = follow(&deployment, "BanshiGateShut", "banshi doctor", "");
    assert!(!said(&output).contains("fail"));
    assert_eq!(worker.stop(), Some(0));
    deployment.remove().await;
}

/// What makes a template take more memory than a typesetter may have, for one report.
const HUNGRY: &str = r#"
#let kept = if repr(json("report.json")).contains("饿") {
  range(600).map(a => range(1024).map(b => str(a * 1024 + b) + "x" * 1000))
}
"#;

/// Another edition of the templates.
fn templates(deployment: &Deployment, more: &str) -> String {
    let folder = deployment.path("templates");
    let main = folder.join("annual-report/2021/main.typ");
    std::fs::create_dir_all(main.parent().unwrap()).unwrap();
    let own = repository("typst-templates/annual-report/2021/main.typ");
    let own = std::fs::read_to_string(own).unwrap();
    std::fs::write(&main, format!("{own}{more}")).unwrap();
    folder.to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_kills_its_typesetters() {
    let deployment = Deployment::amqp().await.with("RENDER__MEMORY", "256");
    let console = Console::start(&deployment);
    let changed = templates(&deployment, HUNGRY);
    let worker = deployment.worker_with("BANSHI__TEMPLATES__DIR", &changed);
    let mut poison = named("poison");
    poison["data"]["overview"] = json!(["饿。"]);
    send(&deployment, &["before"]).await;
    let properties = BasicProperties::default().with_message_id("poison".into());
    let body = poison.to_string();
    deployment
        .send_as("poison", body.as_bytes(), properties)
        .await;
    send(&deployment, &["after"]).await;

    // The others are done all the same.
    console.until("/", |now| {
        now["hour"]["completed"] == 2 && now["hour"]["rejected"] == 1
    });
    let shown = console.until("/jobs/poison", |story| story["dead"] == true);
    assert_eq!(shown["state"], "rejected");
    let problem = &shown["events"][0]["event"]["data"]["problems"][0];
    assert_eq!(problem["code"], "E-LAYOUT");
    assert!(
        problem["message"]
            .as_str()
            .unwrap()
            .contains("render.memory")
    );
    let fleet = console.until("/fleet", |fleet| {
        fleet["workers"][0]["status"]["typesetters"]["replaced"].as_u64() >= Some(2)
    });
    assert_eq!(fleet["workers"][0]["status"]["ready"], true);
    assert_eq!(
        worker.log().matches("it is replaced").count(),
        2,
        "{}",
        worker.log()
    );

    // The page has the job looked at. It is right: the change of templates is at fault.
    const PAGE: &str = "BanshiTypesettersDie";
    let output = follow(&deployment, PAGE, "banshi dead list --code E-LAYOUT", "");
    let told = said(&output);
    assert!(
        told.starts_with("poison") && told.lines().count() == 1,
        "{told}"
    );
    let show = "banshi dead show JOB-ID > job.json";
    succeeded(&follow(&deployment, PAGE, show, "poison"));
    let kept = std::fs::read(deployment.path("job.json")).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&kept).unwrap(), poison);
    let check = "banshi check --layout job.json";
    succeeded(&follow(&deployment, PAGE, check, ""));
    assert_eq!(worker.stop(), Some(0));
    let worker = deployment.worker();
    let replay = "banshi dead replay JOB-ID";
    succeeded(&follow(&deployment, PAGE, replay, "poison"));
    all_is_well(&deployment, &["before", "poison", "after"]).await;
    assert_eq!(worker.stop(), Some(0));
    deployment.remove().await;
}

/// Messages that stand in the queue.
const BACKLOG: usize = 50_000;

/// Puts the backlog into the lane behind what is there: small jobs, which have no report.
async fn pile_up(url: &str, deployment: &Deployment) {
    let connection = Connection::connect(url, ConnectionProperties::default());
    let connection = connection.await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let confirms = ConfirmSelectOptions::default();
    channel.confirm_select(confirms).await.unwrap();
    let exchange = deployment.name("jobs");
    let mut confirmed = Vec::with_capacity(BACKLOG);
    for number in 0..BACKLOG {
        let job = json!({ "job_id": format!("job-{number}"), "template": "annual-report/2021" });
        let job = job.to_string();
        let sent = channel.basic_publish(
            exchange.as_str().into(),
            "bulk".into(),
            BasicPublishOptions::default(),
            job.as_bytes(),
            BasicProperties::default().with_delivery_mode(2),
        );
        confirmed.push(sent.await.unwrap());
    }
    for confirmed in confirmed {
        assert!(confirmed.await.unwrap().is_ack());
    }
    connection.close(200, "OK".into()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_will_be_late() {
    let (deployment, address) = Deployment::amqp()
        .await
        .with("QUEUE__PREFETCH", "1")
        .with("RENDER__DEADLINE", "600")
        .with_admin();
    let worker = deployment.worker();
    let first = ["one", "two", "three"];
    send(&deployment, &first).await;
    deployment
        .until("there is a rate", async |it| {
            overview(it).hour.completed == 3
        })
        .await;
    // One worker, which has one report in hand for as long as somebody looks.
    worker.signal_typesetters("STOP");
    send(&deployment, &["in-hand"]).await;
    deployment
        .until("it is in hand", async |it| {
            story(it, "in-hand").state == "in_hand"
        })
        .await;
    pile_up(&crate::support::deployment::amqp_url(), &deployment).await;

    // An hour is too little.
    let deployment = deployment.with("CONSOLE__DEADLINE", &in_seconds(3_600));
    let console = Console::start(&deployment);
    let shown = console.until("/", |now| {
        now["backlog"].as_u64() > Some(BACKLOG as u64) && now["hour"]["completed"] == 3
    });
    assert_eq!(shown["deadline"]["late"], true, "{shown}");
    assert!(
        shown["time_to_empty_seconds"].as_u64() > Some(3_600),
        "{shown}"
    );
    let output = follow(&deployment, "BanshiBacklogWillBeLate", "banshi status", "");
    let told = said(&output);
    assert!(told.contains("will be LATE 将逾期"), "{told}");
    let now = overview(&deployment);
    let bulk = now.queues.iter().find(|queue| queue.name == "bulk");
    assert!(
        bulk.is_some_and(|queue| queue.ready >= Some(BACKLOG as u64 - 1)),
        "{now:?}"
    );
    // The rule as it is, but that it does not wait.
    let rules = rules();
    let rules = rules
        .lines()
        .filter(|line| !line.trim().starts_with("for: "));
    let rules: String = rules.map(|line| format!("{line}\n")).collect();
    let prometheus = Prometheus::start(&deployment, &[&address, &console.address], &rules);
    let rings = async |rings: bool| {
        let ringing = async |_: &Deployment| {
            let firing = prometheus.firing();
            firing.is_some_and(|it| it.contains("BanshiBacklogWillBeLate") == rings)
        };
        deployment.until("the alert says so", ringing).await;
    };
    rings(true).await;

    // The page has the next deadline set, if it is last month's.
    let page = repository("docs/runbooks/BanshiBacklogWillBeLate.md");
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains("set `console.deadline` to the next"));
    let listen = console.address.clone();
    assert_eq!(console.process.stop(), Some(0));
    let later = [("BANSHI__CONSOLE__DEADLINE", "2099-12-31")];
    let console = Console::start_at(&deployment, &listen, &later);
    let shown = console.until("/", |now| now["hour"]["completed"] == 3);
    assert_eq!(shown["deadline"]["late"], false, "{shown}");
    let mut asked = deployment.banshi(&["status"]);
    let output = asked.envs(later).output().unwrap();
    assert!(said(&output).contains("2099-12-31T15:59:59Z: in time 来得及"));
    // The rule wants something to get done, too.
    worker.signal_typesetters("CONT");
    rings(false).await;
    println!("the alert is silent");

    // Those that were worked on have ended, as what they are; the others are there still.
    assert_eq!(story(&deployment, "in-hand").state, "completed");
    assert_eq!(worker.stop(), Some(0));
    let ended = deployment.ready("dead").await;
    println!("{ended} have ended");
    assert_eq!(deployment.purge("jobs.bulk").await + ended, BACKLOG);
    deployment.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_of_another_version_joins() {
    let deployment = Deployment::amqp().await;
    let console = Console::start(&deployment);
    let changed = templates(&deployment, "\n// Ours.\n");
    let worker = deployment.worker();
    let other = deployment.worker_with("BANSHI__TEMPLATES__DIR", &changed);
    send(&deployment, &["one", "two", "three"]).await;
    let shown = console.until("/", |now| now["fleet"]["workers"] == 2);
    assert_eq!(shown["fleet"]["mixed"], json!(["templates"]));
    let told = said(&status(&deployment));
    let mixed = told
        .lines()
        .find(|line| line.starts_with("mixed fleet 版本不一"));
    assert!(
        mixed.is_some_and(|line| line.ends_with("templates")),
        "{told}"
    );

    // The page has them compared: one has other templates.
    const PAGE: &str = "BanshiMixedFleet";
    let told = said(&follow(&deployment, PAGE, "banshi status --workers", ""));
    assert!(
        told.contains("the workers differ in: templates; restart those that are behind"),
        "{told}"
    );
    let made: Vec<_> = told
        .lines()
        .filter(|line| line.contains("made of"))
        .collect();
    assert_eq!(made.len(), 2);
    assert_ne!(made[0], made[1]);
    assert_eq!(other.stop(), Some(0));
    let again = deployment.worker();
    console.until("/", |now| {
        now["fleet"]["workers"] == 2 && now["fleet"]["mixed"] == json!([])
    });
    let told = said(&status(&deployment));
    assert!(!told.contains("mixed fleet"), "{told}");
    all_is_well(&deployment, &["one", "two", "three"]).await;
    assert_eq!(again.stop(), Some(0));
    assert_eq!(worker.stop(), Some(0));
    deployment.remove().await;
}

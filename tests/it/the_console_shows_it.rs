//! The console in a real browser, before real workers: every page, both languages, light and dark,
//! by keyboard, with axe-core; hostile jobs; what may be changed from it, and by whom.

use lapin::BasicProperties;
use serde_json::{Value, json};

use crate::a_signer_signs_it::cms;
use crate::support::console::{Console, TOKEN};
use crate::support::deployment::{Deployment, ask};
use crate::support::jobs::{bad, corpus};
use crate::support::repository;

/// Reports of agencies, the first of which is completed.
const REPORTS: [&str; 6] = [
    "pingtan-2025",
    "jinhu-2023",
    "suqian-2024",
    "hongze-2024",
    "shanghai-science-2024",
    "pingtan-2021",
];

/// Jobs before the fleet's console.
const JOBS: usize = 80;

fn named(name: &str, id: &str) -> Value {
    let mut job = corpus(name);
    job["job_id"] = json!(id);
    job
}

/// A report whose sum is wrong, and that says to refuse it for that.
fn wrong_sum(id: &str) -> Value {
    let mut job = named("pingtan-2025", id);
    job["on_violation"] = json!("reject");
    job["data"]["requests"]["received"]["total"] = json!(161);
    job
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_of_a_fleet_with_faults() {
    let folder = tempfile::tempdir().unwrap();
    // Another edition of the templates: a comment more.
    let templates = folder.path().join("templates");
    let main = templates.join("annual-report/2021/main.typ");
    std::fs::create_dir_all(main.parent().unwrap()).unwrap();
    let own = repository("typst-templates/annual-report/2021/main.typ");
    let mut text = std::fs::read_to_string(own).unwrap();
    text.push_str("\n// Ours.\n");
    std::fs::write(&main, text).unwrap();

    let deployment = Deployment::amqp()
        .await
        .with("CONSOLE__DEADLINE", "2099-01-31");
    let console = Console::start(&deployment);
    let _well = deployment.worker();
    let _other = deployment.worker_with("BANSHI__TEMPLATES__DIR", templates.to_str().unwrap());
    let doomed = deployment.worker();
    console.until("/fleet", |fleet| {
        let workers = fleet["workers"].as_array();
        workers.is_some_and(|workers| workers.len() == 3)
    });
    doomed.kill();

    // More than a page of the list has.
    for count in 0..JOBS {
        let id = format!("job-{count}");
        let job = match count % 11 {
            5 => wrong_sum(&id),
            _ => named(REPORTS[count % REPORTS.len()], &id),
        };
        deployment.send(&id, job.to_string().as_bytes()).await;
    }
    let wrong = wrong_sum("wrong-sum");
    deployment
        .send("wrong-sum", wrong.to_string().as_bytes())
        .await;
    let another = deployment.path("another.json");
    std::fs::write(&another, named("suqian-2024", "another").to_string()).unwrap();
    let jobs = json!({
        "completed": "job-0", "rejected": "wrong-sum", "code": "R-COLUMN",
        "another": another,
    });
    console.until("/jobs", |found| found["all"] == JOBS + 1);
    let checks = [
        "pages",
        "language",
        "keyboard",
        "rejected",
        "completed",
        "live",
        "fleet",
        "read_only",
    ];
    tokio::task::block_in_place(|| console.check(&deployment, &jobs, &checks));
    deployment.remove().await;
}

/// What would run, if a page took it for its own.
const HOSTILE: [&str; 4] = [
    "<script>window.pwned=1</script>",
    "\"><img src=x onerror=window.pwned=1>",
    "'-window.pwned-'</title><svg/onload=window.pwned=1>",
    "javascript:window.pwned=1//</textarea><iframe srcdoc='<script>parent.pwned=1</script>'>",
];

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_job_contains_runs_in_a_page_or_in_what_stands_beside_its_pdf() {
    let deployment = Deployment::amqp()
        .await
        .with("RENDER__FORMATS", "pdf,ofd,html");
    let deployment = cms(deployment);
    let console = Console::start(&deployment);
    let _worker = deployment.worker();
    let mut sent = 0;
    let mut ids = Vec::new();
    for (count, text) in HOSTILE.into_iter().enumerate() {
        // As the agency, in texts and keys, as the template, as the code of nothing.
        let mut in_texts = named("pingtan-2025", &format!("texts-{count}"));
        in_texts["data"]["agency"] = json!(text);
        in_texts["data"]["overview"] = json!([text, text]);
        let mut in_keys = named("pingtan-2025", &format!("keys-{count}"));
        in_keys["data"][text] = json!({ text: [text] });
        in_keys["data"]["requests"]["received"]["business"] = json!(text);
        let mut in_template = named("pingtan-2025", &format!("template-{count}"));
        in_template["template"] = json!(text);
        for job in [in_texts, in_keys, in_template] {
            let id = job["job_id"].as_str().unwrap().to_owned();
            deployment.send(&id, job.to_string().as_bytes()).await;
            ids.push(id);
            sent += 1;
        }
        // As the id of a message that is no job.
        let id = &text[..text.len().min(120)];
        let properties = BasicProperties::default().with_message_id(id.into());
        let body = format!("{{\"job_id\": {text}");
        deployment.send_as("", body.as_bytes(), properties).await;
        ids.push(id.to_owned());
        sent += 1;
    }
    for bad in bad() {
        deployment.send(bad.name, &bad.body).await;
        sent += 1;
    }
    console.until("/jobs", |found| found["all"] == sent);
    let jobs = json!({ "hostile": ids, "companions": "texts-0", "agency": HOSTILE[0] });
    tokio::task::block_in_place(|| {
        console.check(&deployment, &jobs, &["hostile", "companions"]);
    });
    deployment.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_replayed_and_dropped_only_by_whoever_may() {
    let deployment = Deployment::amqp()
        .await
        .with("CONSOLE__TOKEN", TOKEN)
        .with("CONSOLE__ACTIONS", "true");
    let console = Console::start(&deployment);
    let worker = deployment.worker();
    for id in ["to-replay", "to-drop", "to-stay"] {
        deployment
            .send(id, wrong_sum(id).to_string().as_bytes())
            .await;
    }
    console.until("/jobs", |found| found["all"] == 3);
    assert_eq!(deployment.events().await.len(), 3);
    assert_eq!(
        ask(&console.address, "/jobs").unwrap().0,
        303,
        "to the login"
    );
    assert_eq!(ask(&console.address, "/metrics").unwrap().0, 401);
    let jobs = json!({ "rejected": "to-replay", "dropped": "to-drop" });
    tokio::task::block_in_place(|| console.check(&deployment, &jobs, &["actions"]));
    // What was replayed is refused once more, under the id of the same event.
    deployment
        .until("the replayed job is back", async |it| {
            it.events().await.len() == 1
        })
        .await;
    let mut dead = Vec::new();
    for job in deployment.dead().await {
        dead.push(serde_json::from_slice::<Value>(&job.body).unwrap()["job_id"].clone());
    }
    dead.sort_by_key(ToString::to_string);
    assert_eq!(dead, ["to-replay", "to-stay"]);
    let log = console.process.log();
    for words in ["whoever has the token", "action=replay", "action=drop"] {
        assert!(log.contains(words), "{log}");
    }
    assert_eq!(worker.stop(), Some(0));
    deployment.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_console_that_is_started_again_has_read_the_log_again() {
    let deployment = Deployment::amqp().await;
    let worker = deployment.worker();
    for id in ["one", "two"] {
        let job = named("pingtan-2025", id);
        deployment.send(id, job.to_string().as_bytes()).await;
    }
    for _ in 0..2 {
        let console = Console::start(&deployment);
        console.until("/jobs", |found| found["all"] == 2);
        console.until("/jobs/one", |story| {
            story["state"] == "completed"
                && story["events"].as_array().is_some_and(|it| it.len() == 1)
        });
        assert_eq!(console.process.stop(), Some(0));
    }
    drop(worker);
    deployment.remove().await;
}

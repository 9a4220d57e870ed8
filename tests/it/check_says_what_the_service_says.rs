//! `banshi check --layout` and the worker come to the same verdict on every job, to the word; and
//! `banshi check` alone to the same but for what only the pages show.

use std::collections::BTreeMap;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use crate::support::deployment::Deployment;
use crate::support::jobs::{CORPUS, bad, case, corpus, spoilt_at_random};

/// A verdict: whether the job is taken, and what is said of it.
type Verdict = (bool, Value);

/// What `check` says of each file.
fn checked(deployment: &Deployment, files: &[String], more: &[&str]) -> Vec<Verdict> {
    let arguments = ["check", "--format", "json"].iter().chain(more).copied();
    let arguments: Vec<&str> = arguments.chain(files.iter().map(String::as_str)).collect();
    let ran = deployment.banshi(&arguments).output().expect("it starts");
    let (out, err) = [ran.stdout, ran.stderr]
        .map(|bytes| String::from_utf8(bytes).expect("UTF-8"))
        .into();
    assert_eq!(ran.status.code(), Some(1), "some are refused: {err}");
    let said: Vec<Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let names: Vec<&Value> = said.iter().map(|said| &said["file"]).collect();
    assert_eq!(
        names,
        files.iter().collect::<Vec<_>>(),
        "in the order of the files"
    );
    said.into_iter()
        .map(|mut said| match said["ok"] == json!(true) {
            true => (true, said["warnings"].take()),
            false => (false, said["problems"].take()),
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn check_with_layout_and_the_worker_come_to_the_same_verdict() {
    let seed = rand::random();
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let deployment = Deployment::spool().with("RENDER__THREADS", "2");
    let mut bodies: Vec<Vec<u8>> = bad().into_iter().map(|bad| bad.body).collect();
    let mut jobs: Vec<Value> = CORPUS.into_iter().map(corpus).collect();
    jobs.extend(crate::what_senders_send::CASES.map(case));
    jobs.extend((0..40).map(|_| spoilt_at_random(&mut rng)));
    for (number, job) in jobs.iter_mut().enumerate() {
        // Each a job of its own, but for those that have lost their id.
        if job["job_id"].is_string() && job["job_id"] != json!("") {
            job["job_id"] = json!(format!("job-{number}"));
        }
    }
    bodies.extend(jobs.iter().map(|job| job.to_string().into_bytes()));

    let mut files = Vec::new();
    for (number, body) in bodies.iter().enumerate() {
        let name = format!("{number:03}");
        let path = deployment.folder().join(format!("{name}.json"));
        std::fs::write(&path, body).expect("a file");
        files.push(path.display().to_string());
        deployment.send(&name, body).await;
    }
    deployment.work_until_idle();

    let mut told: BTreeMap<String, usize> = BTreeMap::new();
    let events = deployment.events().await;
    assert_eq!(events.len(), bodies.len());
    let verdicts = events.into_iter().map(|mut event| -> (Value, Verdict) {
        match event["type"] == json!("report.completed") {
            true => (
                event["subject"].take(),
                (true, event["data"]["warnings"].take()),
            ),
            false => (
                event["subject"].take(),
                (false, event["data"]["problems"].take()),
            ),
        }
    });
    for verdict in verdicts {
        *told.entry(format!("{verdict:?}")).or_default() += 1;
    }
    let mut said: BTreeMap<String, usize> = BTreeMap::new();
    let with_layout = checked(&deployment, &files, &["--layout"]);
    for (body, verdict) in bodies.iter().zip(&with_layout) {
        let job: Value = serde_json::from_slice(body).unwrap_or_default();
        let id = job.get("job_id").cloned().unwrap_or_default();
        let good = id.as_str().is_some_and(|id| {
            !id.is_empty()
                && id
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
        });
        let id = if good { id } else { json!(null) };
        *said.entry(format!("{:?}", (id, verdict))).or_default() += 1;
    }
    assert_eq!(said, told, "seed {seed}");

    // Without --layout the same, but for the reports that no page can hold.
    let without = checked(&deployment, &files, &[]);
    let mut only_pages_tell = 0;
    for (with, without) in with_layout.iter().zip(&without) {
        let code = &with.1[0]["code"];
        if !with.0 && *code == json!("E-LAYOUT") {
            assert!(without.0, "{without:?}");
            only_pages_tell += 1;
        } else {
            assert_eq!(with, without);
        }
    }
    assert!(
        only_pages_tell > 0,
        "one of the bad jobs has too many pages"
    );
    let codes: Vec<&Value> = without.iter().map(|(_, said)| &said[0]["code"]).collect();
    assert!(codes.contains(&&json!("E-GLYPH")), "{codes:?}");
}

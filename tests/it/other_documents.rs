//! The documents beside the annual report: each sample is set, archival, read back cell by cell
//! from its tags, verified, and goes through a real broker; bad jobs of each are refused.

use std::path::PathBuf;

use banshi::report::form::{Entry, Head};
use serde_json::{Value, json};

use crate::support::deployment::Deployment;
use crate::support::jobs::remove;
use crate::support::{Rendered, editions, pdf, refused, render, repository};

/// The sample job of every edition that is none of the annual report.
fn samples() -> Vec<Value> {
    let names = editions().into_keys();
    let others = names.filter(|name| !name.starts_with("annual-report/"));
    let samples: Vec<Value> = others.map(|name| sample(&name)).collect();
    assert!(samples.len() >= 4, "two documents in two editions each");
    samples
}

/// A template's sample job.
pub fn sample(name: &str) -> Value {
    let path = repository(&format!("typst-templates/{name}/sample.json"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
    serde_json::from_str(&text).expect("a sample is JSON")
}

#[test]
fn every_sample_is_archival_and_accessible() {
    let samples = samples();
    let rendered: Vec<Rendered> = samples.iter().map(render).collect();
    let files: Vec<PathBuf> = rendered.iter().map(Rendered::path).collect();
    // PDF/A-3a and PDF/UA-1 of each.
    for (verdict, sample) in pdf::verapdf(&files)
        .iter()
        .zip(samples.iter().flat_map(|s| [s, s]))
    {
        assert!(verdict.passes, "{}: {verdict:#?}", sample["template"]);
    }
}

/// The words over every cell of a table's row, from the outside in.
fn heads<'a>(list: &'a [Head], over: &[&'a str]) -> Vec<Vec<&'a str>> {
    let below = list.iter().flat_map(|head| {
        let own = [over, &[head.label.as_str()]].concat();
        match head.heads.is_empty() {
            true => vec![own],
            false => heads(&head.heads, &own),
        }
    });
    below.collect()
}

#[test]
fn every_figure_of_a_sample_is_read_back_under_its_heads() {
    let mut read = 0;
    for job in samples() {
        let form = &editions()[job["template"].as_str().unwrap()];
        let rendered = render(&job);
        let tables = pdf::tables(&rendered.path());
        for ((field, table), page) in form.tables().zip(&tables) {
            let cells = table.entries.iter().flat_map(Entry::cells);
            for (index, heads) in cells.zip(heads(&table.heads, &[])) {
                let pointer = &form.cells[index].pointer;
                let sent = &job["data"].pointer(pointer).cloned().unwrap_or_default();
                let printed = match sent {
                    Value::Null => continue,
                    Value::String(text) => text.clone(),
                    number => number.to_string(),
                };
                let heads: Vec<String> = heads.iter().map(|head| head.replace('\n', "")).collect();
                let heads: Vec<&str> = heads.iter().map(String::as_str).collect();
                let found = &page.labelled(&heads).text;
                // poppler runs a table's notes into its last cell.
                assert!(
                    *found == printed || found.starts_with(&format!("{printed}说明")),
                    "{}: {found}, not {printed}",
                    field.field
                );
                read += 1;
            }
        }
    }
    assert!(read > 40, "{read} figures");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_sample_goes_through_a_broker_and_is_verified() {
    let deployment = Deployment::amqp().await;
    let samples = samples();
    for job in &samples {
        let id = job["job_id"].as_str().unwrap();
        deployment.send(id, job.to_string().as_bytes()).await;
        let mut bad = job.clone();
        bad["job_id"] = json!(format!("{id}-bad"));
        remove(&mut bad, "/data", "agency");
        deployment
            .send(&format!("{id}-bad"), bad.to_string().as_bytes())
            .await;
    }
    deployment.work_until_idle();
    let events = deployment.events().await;
    for job in &samples {
        let id = job["job_id"].as_str().unwrap();
        let event = |id: &str| {
            let found = events.iter().find(|event| event["subject"] == json!(id));
            found.unwrap_or_else(|| panic!("an event of {id}")).clone()
        };
        assert_eq!(event(id)["type"], json!("report.completed"), "{id}");
        let bad = event(&format!("{id}-bad"));
        assert_eq!(bad["type"], json!("report.rejected"), "{id}");
        assert_eq!(bad["data"]["problems"][0]["path"], json!("/data/agency"));
    }
    for key in deployment
        .store()
        .iter()
        .filter(|key| key.ends_with(".pdf"))
    {
        let file = deployment.path("store").join(key);
        let verified = deployment
            .banshi(&["verify", file.to_str().unwrap()])
            .output();
        let said = String::from_utf8(verified.unwrap().stdout).unwrap();
        assert!(said.contains("authentic"), "{key}: {said}");
    }
    deployment.remove().await;
}

#[test]
fn an_enforcement_report_keeps_its_sums_and_names_what_is_unlikely() {
    let mut job = sample("enforcement-report/zhejiang-2024");
    assert_eq!(refused(&job), []);
    let total = &mut job["data"]["penalties"]["total"];
    *total = json!(total.as_u64().unwrap() + 1);
    let refusals = refused(&job);
    assert_eq!(refusals.len(), 1, "{refusals:?}");
    assert_eq!(refusals[0].0.as_str(), "R-TOTAL");
    assert_eq!(refusals[0].1, "/data/penalties/total");
}

//! `banshi demo`: real reports through the whole pipeline, in a temporary folder.

use std::path::Path;

use super::output::line;
use super::{Error, Exit, block_on};
use crate::config::{Create, Settings};
use crate::problem::{Outage, Part};
use crate::transport::{Client, Lane};

/// Real published reports, transcribed as jobs. `jinhu-2023` breaks a rule as published.
const REPORTS: [(&str, &str); 10] = [
    (
        "hongze-2024",
        include_str!("../../tests/corpus/hongze-2024.json"),
    ),
    (
        "jinhu-2023",
        include_str!("../../tests/corpus/jinhu-2023.json"),
    ),
    (
        "pingtan-2019",
        include_str!("../../tests/corpus/pingtan-2019.json"),
    ),
    (
        "pingtan-2021",
        include_str!("../../tests/corpus/pingtan-2021.json"),
    ),
    (
        "pingtan-2023",
        include_str!("../../tests/corpus/pingtan-2023.json"),
    ),
    (
        "pingtan-2024",
        include_str!("../../tests/corpus/pingtan-2024.json"),
    ),
    (
        "pingtan-2025",
        include_str!("../../tests/corpus/pingtan-2025.json"),
    ),
    (
        "shanghai-science-2024",
        include_str!("../../tests/corpus/shanghai-science-2024.json"),
    ),
    (
        "suqian-2024",
        include_str!("../../tests/corpus/suqian-2024.json"),
    ),
    (
        "zibo-bigdata-2020",
        include_str!("../../tests/corpus/zibo-bigdata-2020.json"),
    ),
];

pub fn demo(settings: &Settings) -> Result<Exit, Error> {
    let folder = tempfile::Builder::new().prefix("banshi-demo-").tempdir();
    let cannot = |error| Outage::because(Part::Disk, "cannot make a temporary folder", error);
    // It is for the user to look at, so it stays.
    let folder = folder.map_err(cannot)?.keep();
    let mut settings = settings.clone();
    settings.queue.url = format!("spool:{}", folder.join("spool").display());
    settings.store.url = format!("file:{}", folder.join("store").display());
    settings.store.create = Create::Always;
    settings.admin.listen = String::new();

    let (count, spool) = (REPORTS.len(), &settings.queue.url);
    line(format_args!("{count} real reports → {spool}"))?;
    block_on(async {
        let client = Client::open(&settings.queue).await?;
        for (id, job) in REPORTS {
            client.send(id, job.as_bytes(), Lane::Bulk).await?;
        }
        client.close().await;
        crate::worker::run(&settings, true, std::future::pending()).await?;
        Ok(())
    })?;
    print_results(&folder)?;
    Ok(Exit::Done)
}

/// Prints what the events say: the pipeline's own account of what became of each job.
fn print_results(folder: &Path) -> Result<(), Error> {
    let events = folder.join("spool/events");
    let cannot = |e| Outage::because(Part::Disk, format!("cannot read {}", events.display()), e);
    let mut lines = Vec::new();
    for entry in std::fs::read_dir(&events).map_err(cannot)? {
        let bytes = std::fs::read(entry.map_err(cannot)?.path()).map_err(cannot)?;
        let event: serde_json::Value = serde_json::from_slice(&bytes)
            .map_err(|e| Outage::because(Part::Disk, "an event is not JSON", e))?;
        lines.push(end(&event));
    }
    lines.sort();
    for end in lines {
        line(end)?;
    }
    line("")?;
    for (what, place) in [
        ("PDFs, and beside each its manifest", folder.join("store")),
        ("Events (CloudEvents)", events),
        ("Rejected jobs, kept as sent", folder.join("spool/dead")),
    ] {
        line(format_args!("{what}:"))?;
        line(format_args!("  {}", place.display()))?;
    }
    Ok(())
}

/// What became of a job, in a line.
fn end(event: &serde_json::Value) -> String {
    let data = &event["data"];
    let id = data["job_id"].as_str().unwrap_or("unknown");
    match event["type"].as_str() {
        Some("report.completed") => {
            let artifact = &data["artifact"];
            let uri = artifact["uri"].as_str().unwrap_or_default();
            let path = uri.strip_prefix("file://").unwrap_or(uri);
            format!("  {id:<22} completed  {} pages  {path}", artifact["pages"])
        }
        Some("report.rejected") => {
            let problem = &data["problems"][0];
            let code = problem["code"].as_str().unwrap_or_default();
            let message = problem["message_zh"].as_str().unwrap_or_default();
            format!("  {id:<22} rejected   {code}  {message}")
        }
        _ => {
            let error = &data["error"];
            let message = error["message"].as_str().unwrap_or_default();
            format!("  {id:<22} failed     {message}")
        }
    }
}

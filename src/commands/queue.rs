//! `banshi enqueue`: the sender's side of the queue.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};

use super::render::read_file;
use super::{EnqueueArgs, Error, Exit, block_on};
use crate::config::Settings;
use crate::problem::{Outage, Part};
use crate::transport::Client;

pub fn enqueue(settings: &Settings, args: &EnqueueArgs) -> Result<Exit, Error> {
    let mut files = Vec::new();
    for path in &args.jobs {
        list(path, &mut files)?;
    }
    if files.is_empty() {
        return Err(Error::Usage(
            "no .json or .ndjson file in the folders named".to_owned(),
        ));
    }
    block_on(async {
        let mut client = Client::open(&settings.queue).await?;
        let progress = progress(files.len() as u64);
        let (mut sent, mut unreadable) = (0_u64, 0_u64);
        for file in &files {
            let bytes = read_file(file)?;
            for (job, place) in jobs(file, &bytes) {
                match job_id(job) {
                    Ok(id) => {
                        client.send(&id, job, args.lane).await?;
                        sent += 1;
                    }
                    Err(why) => {
                        progress.suspend(|| eprintln!("{place}: not sent: {why}"));
                        unreadable += 1;
                    }
                }
            }
            progress.inc(1);
        }
        progress.finish_and_clear();
        client.close().await;
        let to = args.lane;
        writeln!(
            std::io::stdout(),
            "sent {sent} to the {to} lane, each confirmed; {unreadable} not sent"
        )?;
        Ok(if unreadable == 0 {
            Exit::Done
        } else {
            Exit::JobAtFault
        })
    })
}

/// A bar on standard error, when that is a terminal.
pub fn progress(length: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} files, {eta} left");
    ProgressBar::new(length).with_style(style.expect("the template is well formed"))
}

/// The files that a name stands for: itself, or those of a folder in the order of their names.
fn list(path: &Path, files: &mut Vec<PathBuf>) -> Result<(), Outage> {
    if !path.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    let cannot = |e| Outage::because(Part::Disk, format!("cannot list {}", path.display()), e);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(cannot)? {
        let path = entry.map_err(cannot)?.path();
        if is_json(&path) || is_ndjson(&path) {
            found.push(path);
        }
    }
    found.sort();
    files.append(&mut found);
    Ok(())
}

fn is_json(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "json")
}

fn is_ndjson(path: &Path) -> bool {
    path.extension()
        .is_some_and(|end| end == "ndjson" || end == "jsonl")
}

/// The jobs in a file, each with its place for messages. Standard input is one job when it is one
/// JSON value, and a job a line otherwise.
fn jobs<'a>(path: &Path, bytes: &'a [u8]) -> Vec<(&'a [u8], String)> {
    let name = path.display();
    let stdin = path == Path::new("-");
    let lines = is_ndjson(path)
        || (stdin && serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_err());
    if !lines {
        return vec![(bytes, name.to_string())];
    }
    bytes
        .split(|byte| *byte == b'\n')
        .enumerate()
        .filter(|(_, line)| !line.trim_ascii().is_empty())
        .map(|(index, line)| (line, format!("{name}:{}", index + 1)))
        .collect()
}

/// The id under which a job is sent. Everything else about it is for the worker to judge.
fn job_id(job: &[u8]) -> Result<String, String> {
    let job: serde_json::Value =
        serde_json::from_slice(job).map_err(|error| format!("not JSON: {error}"))?;
    match job.get("job_id").and_then(serde_json::Value::as_str) {
        Some(id) if !id.is_empty() => Ok(id.to_owned()),
        _ => Err("it has no \"job_id\"".to_owned()),
    }
}

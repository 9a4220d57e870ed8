//! `banshi enqueue` and `banshi dead`: the sender's and the operator's side of the queue.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};

use super::render::read_file;
use super::{DeadCommand, EnqueueArgs, Error, Exit, Format, Selection, block_on};
use crate::config::Settings;
use crate::problem::{Outage, Part};
use crate::transport::{Client, DeadJob, Verdict};

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
fn progress(length: u64) -> ProgressBar {
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

pub fn dead(settings: &Settings, command: &DeadCommand) -> Result<Exit, Error> {
    block_on(async {
        let mut client = Client::open(&settings.queue).await?;
        match command {
            DeadCommand::List { format } => list_dead(&mut client, *format).await?,
            DeadCommand::Show { id } => show_dead(&mut client, id).await?,
            DeadCommand::Replay(selection) => {
                judge(&mut client, selection, Verdict::Replay, "replayed").await?;
            }
            DeadCommand::Drop(selection) => {
                judge(&mut client, selection, Verdict::Drop, "dropped").await?;
            }
        }
        client.close().await;
        Ok(Exit::Done)
    })
}

async fn all_dead(client: &mut Client) -> Result<Vec<DeadJob>, Outage> {
    let mut jobs = Vec::new();
    client
        .walk_dead(|job| {
            jobs.push(job.clone());
            Verdict::Keep
        })
        .await?;
    Ok(jobs)
}

async fn list_dead(client: &mut Client, format: Format) -> Result<(), Error> {
    let mut out = std::io::stdout();
    for job in all_dead(client).await? {
        match format {
            Format::Text => {
                writeln!(
                    out,
                    "{}  {}  {}  {}",
                    job.id, job.event, job.code, job.message
                )?;
            }
            Format::Json => {
                let line = serde_json::to_string(&job).expect("a dead job is plain data");
                writeln!(out, "{line}")?;
            }
        }
    }
    Ok(())
}

async fn show_dead(client: &mut Client, id: &str) -> Result<(), Error> {
    let jobs = all_dead(client).await?;
    let Some(job) = jobs.iter().find(|job| job.id == id) else {
        return Err(no_such(id));
    };
    eprintln!("{}  {}  {}", job.event, job.code, job.message);
    std::io::stdout().write_all(&job.body)?;
    Ok(())
}

async fn judge(
    client: &mut Client,
    selection: &Selection,
    verdict: Verdict,
    done: &str,
) -> Result<(), Error> {
    let mut judged = Vec::new();
    client
        .walk_dead(|job| {
            if selection.all || selection.ids.contains(&job.id) {
                judged.push(job.id.clone());
                verdict
            } else {
                Verdict::Keep
            }
        })
        .await?;
    let mut out = std::io::stdout();
    for id in &judged {
        writeln!(out, "{done} {id}")?;
    }
    match selection.ids.iter().find(|id| !judged.contains(id)) {
        Some(id) => Err(no_such(id)),
        None => Ok(()),
    }
}

fn no_such(id: &str) -> Error {
    Error::Usage(format!(
        "there is no job {id} in the dead queue; `banshi dead list` shows what is"
    ))
}

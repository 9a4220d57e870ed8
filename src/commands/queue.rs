//! `banshi enqueue`: the sender's side of the queue.

use std::path::{Path, PathBuf};

use super::output::{line, print_stderr, progress};
use super::render::read_file;
use super::{EnqueueArgs, Error, Exit, block_on, finish, traces};
use crate::config::Settings;
use crate::problem::{Outage, Part};
use crate::telemetry::trace::{self, Destination, Span};
use crate::transport::{Client, Lane, Unsent};

pub fn enqueue(settings: &Settings, args: &EnqueueArgs) -> Result<Exit, Error> {
    let (mut files, mut unlisted) = (Vec::new(), 0);
    for path in &args.jobs {
        if let Err(outage) = list(path, &mut files) {
            unlisted += 1;
            print_stderr(format_args!(
                "{}: not sent: {}",
                path.display(),
                outage.reason()
            ));
        }
    }
    if files.is_empty() && unlisted == 0 {
        return Err(Error::Usage(
            "no .json or .ndjson file in the folders named".to_owned(),
        ));
    }
    let traces = traces(settings)?;
    block_on(async {
        let mut client = Client::open(&settings.queue).await?;
        let mut count = Count {
            unread: unlisted,
            ..Count::default()
        };
        let sent = send_all(&mut client, settings, &files, args.lane, &mut count);
        let stopped = trace::inherited(&settings.telemetry, sent).await;
        client.close().await;
        finish(traces).await;
        let Count {
            sent,
            unfit,
            unread,
        } = count;
        let to = args.lane;
        if let Err(Stopped { place, outage }) = stopped {
            print_stderr(format_args!(
                "banshi: stopped at {place}, which is not known to be sent; nothing after it \
                 is; before it: sent {sent} to the {to} lane, each confirmed; {} not sent",
                unfit + unread
            ));
            return Err(Error::Outage(outage));
        }
        line(format_args!(
            "sent {sent} to the {to} lane, each confirmed; {} not sent",
            unfit + unread
        ))?;
        Ok(match (unread, unfit) {
            (0, 0) => Exit::Done,
            (0, _) => Exit::JobAtFault,
            _ => Exit::Environment,
        })
    })
}

/// What became of the jobs.
#[derive(Debug, Default)]
struct Count {
    sent: u64,
    /// Jobs that cannot be sent as they are.
    unfit: u64,
    /// Files and folders that cannot be read.
    unread: u64,
}

/// The first job that is not known to be sent, and why none after it was tried.
struct Stopped {
    place: String,
    outage: Outage,
}

/// Sends all that can be sent, prints each that cannot, and stops only where the next would fare
/// no better.
async fn send_all(
    client: &mut Client,
    settings: &Settings,
    files: &[PathBuf],
    lane: Lane,
    count: &mut Count,
) -> Result<(), Stopped> {
    let progress = progress(files.len() as u64);
    let not_sent = |place: &str, why: &str| {
        progress.suspend(|| print_stderr(format_args!("{place}: not sent: {why}")));
    };
    for file in files {
        let bytes = match read_file(file) {
            Ok(bytes) => bytes,
            Err(outage) => {
                count.unread += 1;
                not_sent(&file.display().to_string(), &outage.reason());
                continue;
            }
        };
        for (job, place) in jobs(file, &bytes) {
            let sent = match job_id(job) {
                Ok(id) => {
                    let to = Destination::of(&settings.queue, "jobs", lane.as_str(), Some(&id));
                    Span::publish(&to).of(client.send(&id, job, lane)).await
                }
                Err(why) => Err(Unsent::Unfit(why)),
            };
            match sent {
                Ok(()) => count.sent += 1,
                Err(Unsent::Unfit(why)) => {
                    count.unfit += 1;
                    not_sent(&place, &why);
                }
                Err(Unsent::Outage(outage)) => {
                    progress.finish_and_clear();
                    return Err(Stopped { place, outage });
                }
            }
        }
        progress.inc(1);
    }
    progress.finish_and_clear();
    Ok(())
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
    let one = |bytes| serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok();
    let lines = is_ndjson(path) || (stdin && !one(unmarked(bytes)));
    if !lines {
        return vec![(bytes, name.to_string())];
    }
    bytes
        .split(|byte| *byte == b'\n')
        .enumerate()
        .filter(|(_, line)| !unmarked(line).trim_ascii().is_empty())
        .map(|(index, line)| (line, format!("{name}:{}", index + 1)))
        .collect()
}

/// A job without the mark that some systems put first, as the worker takes it (RFC 8259, 8.1).
fn unmarked(job: &[u8]) -> &[u8] {
    job.strip_prefix(b"\xef\xbb\xbf").unwrap_or(job)
}

/// The id under which a job is sent. Everything else about it is for the worker to judge.
fn job_id(job: &[u8]) -> Result<String, String> {
    let job: serde_json::Value =
        serde_json::from_slice(unmarked(job)).map_err(|error| format!("not JSON: {error}"))?;
    match job.get("job_id").and_then(serde_json::Value::as_str) {
        Some(id) if !id.is_empty() => Ok(id.to_owned()),
        _ => Err("it has no \"job_id\"".to_owned()),
    }
}

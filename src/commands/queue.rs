//! `banshi enqueue`: the sender's side of the queue.

use std::path::{Path, PathBuf};

use super::files::read_file;
use super::output::{line, print_stderr, progress};
use super::{EnqueueArgs, Error, Exit, block_on, finish, traces};
use crate::bulk::{self, Begun, Input, Journal, Sent, Told, Unusable, is_of_lines, job_id};
use crate::config::Settings;
use crate::job::unmarked;
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
    if let Some(journal) = &args.journal {
        return many(settings, args, journal, &files, unlisted);
    }
    let traces = traces(settings)?;
    block_on(async {
        let client = Client::open(&settings.queue).await?;
        let mut count = Count {
            unread: unlisted,
            ..Count::default()
        };
        let sent = send_all(&client, settings, &files, args.lane, &mut count);
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

/// Sends with a journal: many at once, and on after whatever is lost on the way.
fn many(
    settings: &Settings,
    args: &EnqueueArgs,
    journal: &Path,
    files: &[PathBuf],
    unlisted: u64,
) -> Result<Exit, Error> {
    let looking = progress(files.len() as u64, "files looked through");
    let input = Input::of(files, || looking.inc(1))?;
    looking.finish_and_clear();
    let jobs = input.items().len();
    let begun = Begun::now(input.digest(), jobs, args.lane, &settings.queue);
    let mut journal = Journal::open(journal, &begun)?;
    let traces = traces(settings)?;
    let bar = progress(jobs as u64, "jobs");
    let mut waits = String::new();
    let told = |told: Told<'_>| match told {
        Told::Sent(sent) => bar.set_position(sent),
        Told::Waits(outage) => {
            let why = outage.reason();
            if why != waits {
                bar.suspend(|| print_stderr(format_args!("banshi: waits: {why}")));
                waits = why;
            }
        }
    };
    let sent = block_on(async {
        let sending = bulk::send(
            &settings.queue,
            &input,
            args.lane,
            &mut journal,
            args.patience,
            told,
        );
        let sent = trace::inherited(&settings.telemetry, sending).await;
        finish(traces).await;
        Ok(sent?)
    })?;
    bar.finish_and_clear();
    let Sent {
        sent,
        before,
        unfit,
        stopped,
    } = sent;
    let mut unread = unlisted;
    for Unusable {
        place,
        why,
        unread: cannot_be_read,
    } in input.unusable.iter().chain(&unfit)
    {
        unread += u64::from(*cannot_be_read);
        print_stderr(format_args!("{place}: not sent: {why}"));
    }
    let bad = (input.unusable.len() + unfit.len()) as u64 + unlisted;
    let to = args.lane;
    let mut said = format!("sent {sent} to the {to} lane, each confirmed");
    if before > 0 {
        said += &format!("; {before} were sent before");
    }
    if input.repeated > 0 {
        said += &format!("; {} were there twice", input.repeated);
    }
    said += &format!("; {bad} not sent");
    if let Some(outage) = stopped {
        let left = jobs as u64 - sent - before - unfit.len() as u64;
        print_stderr(format_args!(
            "banshi: stopped: {said}; {left} are left: the same command goes on with them"
        ));
        return Err(Error::Outage(outage));
    }
    line(said)?;
    Ok(match (unread, bad) {
        (0, 0) => Exit::Done,
        (0, _) => Exit::JobAtFault,
        _ => Exit::Environment,
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
    client: &Client,
    settings: &Settings,
    files: &[PathBuf],
    lane: Lane,
    count: &mut Count,
) -> Result<(), Stopped> {
    let progress = progress(files.len() as u64, "files");
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
pub fn list(path: &Path, files: &mut Vec<PathBuf>) -> Result<(), Outage> {
    if !path.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    let cannot = |e| Outage::because(Part::Disk, format!("cannot list {}", path.display()), e);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(cannot)? {
        let path = entry.map_err(cannot)?.path();
        if is_json(&path) || is_of_lines(&path) {
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

/// The jobs in a file, each with its place for messages. Standard input is one job when it is one
/// JSON value, and a job a line otherwise.
fn jobs<'a>(path: &Path, bytes: &'a [u8]) -> Vec<(&'a [u8], String)> {
    let name = path.display();
    let stdin = path == Path::new("-");
    let one = |bytes| serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok();
    let lines = is_of_lines(path) || (stdin && !one(unmarked(bytes)));
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

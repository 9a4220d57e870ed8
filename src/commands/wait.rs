//! `banshi wait`: what became of jobs, when all have ended.

use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;

use serde_json::json;
use tokio::time::Instant;

use super::output::{as_it_is, json as print_json, line, print_stderr, progress};
use super::queue::list;
use super::{Error, Exit, Table, WaitArgs, block_on};
use crate::bulk::{Input, Journal, Unusable};
use crate::config::Settings;
use crate::escape;
use crate::event::Kind;
use crate::fleet::{End, Ends, Wanted, follow};
use crate::job;
use crate::problem::Outage;

pub fn wait(settings: &Settings, args: &WaitArgs) -> Result<Exit, Error> {
    let (mut wanted, mut unsent) = (Vec::new(), 0);
    if let Some(journal) = &args.journal {
        let (begun, noted) = Journal::read(journal)?;
        unsent = begun.jobs.saturating_sub(noted.len() as u64);
        wanted.extend(noted.into_iter().map(|noted| Wanted {
            job_id: noted.job_id.into(),
            sha256: Some(noted.sha256.into()),
            since: begun.began,
        }));
        if unsent > 0 {
            let (name, all) = (journal.display(), begun.jobs);
            print_stderr(format_args!(
                "banshi: {unsent} of the {all} jobs of {name} were not sent yet: what sends them is \
                 the `banshi enqueue` that began it"
            ));
        }
    }
    let unread = from_files(&args.jobs, &mut wanted)?;
    wanted.extend(args.job.iter().map(|id| Wanted {
        job_id: id.as_str().into(),
        sha256: None,
        since: 0,
    }));
    let mut ends = Ends::of(wanted);
    let bar = progress(ends.all() as u64, "jobs");
    let mut lost = String::new();
    let told = |ends: &Ends, outage: Option<&Outage>| {
        bar.set_position((ends.all() - ends.open()) as u64);
        match outage.map(Outage::reason) {
            None => lost.clear(),
            Some(why) if why == lost => {}
            Some(why) => {
                bar.suspend(|| print_stderr(format_args!("banshi: waits: {why}")));
                lost = why;
            }
        }
    };
    block_on(async {
        let deadline = args
            .timeout
            .and_then(|most| Instant::now().checked_add(most));
        Ok(follow(&settings.queue, &mut ends, deadline, told).await?)
    })?;
    bar.finish_and_clear();
    print(&ends, args.format)?;
    Ok(match (unread, ends.open(), unsent) {
        (true, ..) => Exit::Environment,
        (_, 0, 0) if ends.iter().all(|(_, end)| completed(end)) => Exit::Done,
        (_, 0, 0) => Exit::JobAtFault,
        _ => Exit::Unended,
    })
}

fn completed(end: Option<&End>) -> bool {
    end.is_some_and(|end| end.kind == Kind::Completed)
}

/// The jobs in files, by id and content; whether some could not be read.
fn from_files(paths: &[PathBuf], wanted: &mut Vec<Wanted>) -> Result<bool, Error> {
    let (mut files, mut unread) = (Vec::new(), false);
    for path in paths {
        if let Err(outage) = list(path, &mut files) {
            unread = true;
            print_stderr(format_args!("banshi: {}", outage.reason()));
        }
    }
    let input = Input::of(&files, || {})?;
    for Unusable { place, why, .. } in &input.unusable {
        unread = true;
        print_stderr(format_args!("{place}: not waited for: {why}"));
    }
    for (at, item) in input.items().iter().enumerate() {
        match input.body(at) {
            Ok(body) => wanted.push(Wanted {
                job_id: item.id.clone(),
                sha256: Some(job::content_sha256(&body).into()),
                since: 0,
            }),
            Err(why) => {
                unread = true;
                let place = input.place(at);
                print_stderr(format_args!("{place}: not waited for: {why}"));
            }
        }
    }
    Ok(unread)
}

/// How an end is called: in English, in Chinese.
fn state(end: Option<&End>) -> (&'static str, &'static str) {
    match end.map(|end| end.kind) {
        None => ("waiting", "未结束"),
        Some(Kind::Completed) => ("completed", "已完成"),
        Some(Kind::Rejected) => ("rejected", "已拒绝"),
        Some(Kind::Failed) => ("failed", "失败"),
    }
}

fn print(ends: &Ends, format: Table) -> Result<(), Error> {
    match format {
        Table::Json => {
            for (job, end) in ends.iter() {
                print_json(&as_json(job, end))?;
            }
        }
        Table::Csv => {
            let mut table = csv::WriterBuilder::new()
                .terminator(csv::Terminator::CRLF)
                .from_writer(Vec::new());
            table.write_record(COLUMNS).map_err(io::Error::from)?;
            for (job, end) in ends.iter() {
                let written = table.write_record(row(job, end));
                written.map_err(io::Error::from)?;
            }
            as_it_is(&table.into_inner().map_err(|error| error.into_error())?)?;
        }
        Table::Text => text(ends)?,
    }
    Ok(())
}

fn text(ends: &Ends) -> Result<(), Error> {
    let width = ends.iter().map(|(job, _)| job.job_id.chars().count()).max();
    let width = width.unwrap_or_default().min(40);
    let mut table = String::new();
    let (mut completed, mut rejected, mut failed) = (0, 0, 0);
    for (job, end) in ends.iter() {
        let (en, zh) = state(end);
        let id = escape::text(&job.job_id).to_string();
        let said = match end {
            None => String::new(),
            Some(end) => match end.kind {
                Kind::Completed => {
                    completed += 1;
                    let artifact = end.artifact.as_ref();
                    artifact.map_or(String::new(), |(uri, _, _)| uri.to_string())
                }
                Kind::Rejected => {
                    rejected += 1;
                    codes(end)
                }
                Kind::Failed => {
                    failed += 1;
                    let error = end.error.as_ref();
                    error.map_or(String::new(), |(code, message)| {
                        format!("{code}: {message}")
                    })
                }
            },
        };
        let said = escape::text(&said).to_string();
        table += format!("{id:width$}  {en:9} {zh}  {said}").trim_end();
        table.push('\n');
        for problem in end.into_iter().flat_map(|end| &end.problems) {
            table += &format!("    {}\n", problem.to_string().replace('\n', "\n    "));
        }
        if let Some(more @ 1..) = end.map(|end| end.more) {
            table += &format!("    and {more} more 另有{more}个\n");
        }
    }
    let (all, open) = (ends.all(), ends.open());
    writeln!(
        table,
        "{all} jobs: {completed} completed 已完成, {rejected} rejected 已拒绝, {failed} failed 失败, \
         {open} waiting 未结束"
    )
    .unwrap_or_default();
    as_it_is(table.as_bytes())?;
    if open > 0 {
        line(
            "of those that wait `banshi status JOB-ID` and `banshi dead list` may know more: a job \
             that killed its workers has no event",
        )?;
    }
    Ok(())
}

/// The codes of its problems, each once.
fn codes(end: &End) -> String {
    let mut codes: Vec<&str> = end.problems.iter().map(|it| it.code.as_str()).collect();
    codes.sort_unstable();
    codes.dedup();
    codes.join(" ")
}

const COLUMNS: [&str; 9] = [
    "job_id",
    "state",
    "time",
    "pages",
    "uri",
    "sha256",
    "codes",
    "message",
    "message_zh",
];

fn row(job: &Wanted, end: Option<&End>) -> [String; 9] {
    let none = || String::new();
    let artifact = end.and_then(|end| end.artifact.as_ref());
    let (uri, sha256, pages) = match artifact {
        Some((uri, sha256, pages)) => (uri.to_string(), sha256.to_string(), pages.to_string()),
        None => (none(), none(), none()),
    };
    let first = end.and_then(|end| end.problems.first());
    let error = end.and_then(|end| end.error.as_ref());
    let (codes, message) = match (end, error) {
        (_, Some((code, message))) => (code.to_string(), message.to_string()),
        (Some(end), _) => (codes(end), first.map_or(none(), |it| it.message.clone())),
        (None, None) => (none(), none()),
    };
    [
        job.job_id.to_string(),
        state(end).0.to_owned(),
        end.map_or(none(), |end| end.time.to_string()),
        pages,
        uri,
        sha256,
        codes,
        message,
        first.map_or(none(), |it| it.message_zh.clone()),
    ]
}

fn as_json(job: &Wanted, end: Option<&End>) -> serde_json::Value {
    let mut said = json!({ "job_id": job.job_id, "state": state(end).0 });
    let Some(end) = end else { return said };
    said["time"] = json!(end.time);
    said["event"] = json!(end.event);
    if let Some((uri, sha256, pages)) = &end.artifact {
        said["artifact"] = json!({ "uri": uri, "sha256": sha256, "pages": pages });
    }
    if end.kind == Kind::Rejected {
        said["problems"] = json!(end.problems);
        said["more_problems"] = json!(end.more);
    }
    if let Some((code, message)) = &end.error {
        said["error"] = json!({ "code": code, "message": message });
    }
    said
}

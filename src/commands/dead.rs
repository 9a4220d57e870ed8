//! `banshi dead`: the operator's side of the queue.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{DeadArgs, DeadCommand, Error, Exit, Filter, Format, Graves, Selection, block_on};
use crate::config::Settings;
use crate::transport::{Client, DeadJob, Kept, Verdict};

pub fn dead(settings: &Settings, args: &DeadArgs) -> Result<Exit, Error> {
    let DeadArgs { queue, command } = args;
    let lane = match command {
        DeadCommand::Replay { lane, .. } => *lane,
        _ => None,
    };
    let kept = match queue {
        Graves::Dead if lane.is_some() => {
            let why = "--lane is for --queue unrouted: a dead job goes back to its own lane";
            return Err(Error::Usage(why.to_owned()));
        }
        Graves::Dead => Kept::Dead,
        Graves::Unrouted if settings.queue.url.starts_with("spool:") => {
            let why = "a spool has one lane, and no jobs that were sent to none";
            return Err(Error::Usage(why.to_owned()));
        }
        Graves::Unrouted => Kept::Unrouted(lane),
    };
    if let DeadCommand::Replay { selection, .. } | DeadCommand::Drop(selection) = command
        && !selection.all
        && selection.filter.is_empty()
    {
        return Err(Error::Usage(
            "which jobs? Give their ids, --code, --template or --older-than, or --all".to_owned(),
        ));
    }
    block_on(async {
        let mut client = Client::open(&settings.queue).await?;
        let done = match command {
            DeadCommand::List { filter, format } => list(&mut client, kept, filter, *format).await,
            DeadCommand::Show { ids, format } => show(&mut client, kept, ids, *format).await,
            DeadCommand::Replay { selection, .. } => {
                settle(&mut client, kept, selection, Verdict::Replay, "replayed").await
            }
            DeadCommand::Drop(selection) => {
                settle(&mut client, kept, selection, Verdict::Drop, "dropped").await
            }
        };
        client.close().await;
        done.map(|()| Exit::Done)
    })
}

async fn list(
    client: &mut Client,
    kept: Kept,
    filter: &Filter,
    format: Format,
) -> Result<(), Error> {
    let tell = |job: &DeadJob| match format {
        Format::Text => {
            let DeadJob {
                id,
                event,
                code,
                message,
                ..
            } = job;
            let since = since(job).unwrap_or_else(|| "-".to_owned());
            writeln!(io::stdout(), "{id}  {event}  {code}  {since}  {message}")
        }
        Format::Json => print_json(&Line::of(job)),
    };
    walk(client, kept, filter, Verdict::Keep, tell).await
}

async fn show(
    client: &mut Client,
    kept: Kept,
    ids: &[String],
    format: Format,
) -> Result<(), Error> {
    let filter = Filter {
        ids: ids.to_vec(),
        ..Filter::default()
    };
    let tell = |job: &DeadJob| match format {
        Format::Text => {
            eprintln!("{}  {}  {}", job.event, job.code, job.message);
            io::stdout().write_all(&job.body)
        }
        Format::Json => {
            let body = String::from_utf8_lossy(&job.body);
            print_json(&Line {
                body: Some(&body),
                ..Line::of(job)
            })
        }
    };
    walk(client, kept, &filter, Verdict::Keep, tell).await
}

async fn settle(
    client: &mut Client,
    kept: Kept,
    selection: &Selection,
    verdict: Verdict,
    done: &str,
) -> Result<(), Error> {
    let (verdict, done) = match selection.dry_run {
        true => (Verdict::Keep, format!("would be {done}:")),
        false => (verdict, done.to_owned()),
    };
    let tell = |job: &DeadJob| match selection.format {
        Format::Text => writeln!(io::stdout(), "{done} {}", job.id),
        Format::Json => print_json(&Line {
            done: Some(done.trim_end_matches(':')),
            ..Line::of(job)
        }),
    };
    walk(client, kept, &selection.filter, verdict, tell).await
}

/// Walks through the queue, does what `verdict` says to each job that the filter lets
/// through, and tells of each when that is done. Never holds more than one job.
async fn walk(
    client: &mut Client,
    kept: Kept,
    filter: &Filter,
    verdict: Verdict,
    tell: impl FnMut(&DeadJob) -> io::Result<()>,
) -> Result<(), Error> {
    struct Walk<T> {
        tell: T,
        seen: BTreeSet<String>,
        matched: bool,
        told: io::Result<()>,
    }
    impl<T: FnMut(&DeadJob) -> io::Result<()>> Walk<T> {
        fn tell(&mut self, job: &DeadJob) {
            if self.told.is_ok() {
                self.told = (self.tell)(job);
            }
        }
    }
    let walk = RefCell::new(Walk {
        tell,
        seen: BTreeSet::new(),
        matched: false,
        told: Ok(()),
    });
    let now = now();
    let judge = |job: &DeadJob| {
        let mut walk = walk.borrow_mut();
        if walk.told.is_err() {
            // Nobody listens any more, and nothing is to be done unheard.
            return Verdict::Stop;
        }
        if !filter.lets_through(job, now) {
            return Verdict::Keep;
        }
        walk.matched = true;
        if filter.ids.contains(&job.id) {
            walk.seen.insert(job.id.clone());
        }
        if verdict == Verdict::Keep {
            walk.tell(job);
        }
        verdict
    };
    let walked = client
        .settle(kept, judge, |job| walk.borrow_mut().tell(job))
        .await;
    let Walk {
        seen,
        matched,
        told,
        ..
    } = walk.into_inner();
    walked?;
    told?;
    let queue = kept.as_str();
    let list = match kept {
        Kept::Dead => "banshi dead list",
        Kept::Unrouted(_) => "banshi dead list --queue unrouted",
    };
    if let Some(id) = filter.ids.iter().find(|id| !seen.contains(*id)) {
        let others = match filter.narrows() {
            true => " that the other conditions let through",
            false => "",
        };
        return Err(Error::Usage(format!(
            "there is no job {id} in the {queue} queue{others}; `{list}` shows what is"
        )));
    }
    if !matched && filter.narrows() {
        eprintln!("no job in the {queue} queue is like that; `{list}` shows what is there");
    }
    Ok(())
}

impl Filter {
    fn is_empty(&self) -> bool {
        self.ids.is_empty() && !self.narrows()
    }

    /// Whether it asks for more than ids.
    fn narrows(&self) -> bool {
        !self.code.is_empty() || self.template.is_some() || self.older_than.is_some()
    }

    fn lets_through(&self, job: &DeadJob, now: OffsetDateTime) -> bool {
        let code = |code: &String| code.eq_ignore_ascii_case(&job.code);
        let template = |want: &String| {
            template(job).is_some_and(|template| {
                template == *want || template.split('/').next() == Some(want.as_str())
            })
        };
        // Of a job whose time nobody knows it is not known that it is old.
        let old = |age: Duration| {
            job.buried_at
                .is_some_and(|buried_at| now - buried_at >= age)
        };
        (self.ids.is_empty() || self.ids.contains(&job.id))
            && (self.code.is_empty() || self.code.iter().any(code))
            && self.template.as_ref().is_none_or(template)
            && self.older_than.is_none_or(old)
    }
}

/// A dead job for machines.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    done: Option<&'a str>,
    id: &'a str,
    code: &'a str,
    message: &'a str,
    event: &'a str,
    lane: &'a str,
    template: Option<String>,
    buried_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a str>,
}

impl Line<'_> {
    fn of(job: &DeadJob) -> Line<'_> {
        Line {
            done: None,
            id: &job.id,
            code: &job.code,
            message: &job.message,
            event: &job.event,
            lane: &job.lane,
            template: template(job),
            buried_at: since(job),
            body: None,
        }
    }
}

fn print_json(line: &Line) -> io::Result<()> {
    let line = serde_json::to_string(line).expect("a line is plain data");
    writeln!(io::stdout(), "{line}")
}

/// The template that a job names, if it can be read at all.
fn template(job: &DeadJob) -> Option<String> {
    #[derive(Deserialize)]
    struct Envelope {
        template: String,
    }
    let envelope = serde_json::from_slice::<Envelope>(&job.body).ok()?;
    Some(envelope.template)
}

/// Since when it is here.
fn since(job: &DeadJob) -> Option<String> {
    let second = job.buried_at?.replace_nanosecond(0).ok()?;
    second.format(&Rfc3339).ok()
}

#[expect(
    clippy::disallowed_methods,
    reason = "a job's time in the dead queue outlives every process; no PDF sees it"
)]
fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

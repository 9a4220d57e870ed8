//! `banshi dead`: the operator's side of the queue.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io;
use std::ops::ControlFlow;
use std::time::Duration;

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::output::{foreign, json, line, print_stderr};
use super::{DeadArgs, DeadCommand, Error, Exit, Filter, Format, KeptIn, Selection, block_on};
use crate::config::Settings;
use crate::escape;
use crate::problem::{Outage, Part};
use crate::transport::{AsSent, Client, DeadJob, Kept, Verdict};

pub fn dead(settings: &Settings, args: &DeadArgs) -> Result<Exit, Error> {
    let DeadArgs { queue, command } = args;
    let lane = match command {
        DeadCommand::Replay { lane, .. } => *lane,
        _ => None,
    };
    let kept = match queue {
        KeptIn::Dead if lane.is_some() => {
            let why = "--lane is for --queue unrouted: a dead job goes back to its own lane";
            return Err(Error::Usage(why.to_owned()));
        }
        KeptIn::Dead => Kept::Dead,
        KeptIn::Unrouted if settings.queue.url.starts_with("spool:") => {
            let why = "a spool has one lane, and no jobs that were sent to none";
            return Err(Error::Usage(why.to_owned()));
        }
        KeptIn::Unrouted => Kept::Unrouted(lane),
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
        let job_bytes = settings.limits.job_bytes;
        let mut client = Client::open_within(&settings.queue, job_bytes).await?;
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
    let print = |job: &DeadJob| match format {
        Format::Text => {
            let DeadJob {
                event,
                code,
                message,
                ..
            } = job;
            let id = escape::id(&job.id);
            let since = since(job).unwrap_or_else(|| "-".to_owned());
            line(format_args!("{id}  {event}  {code}  {since}  {message}"))
        }
        Format::Json => json(&Line::of(job)),
    };
    walk(client, kept, filter, Verdict::Keep, print).await
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
    let print = |job: &DeadJob| match format {
        Format::Text => {
            let why = format!("{}  {}  {}", job.event, job.code, job.message);
            print_stderr(escape::text(&why));
            if job.as_sent == AsSent::Nothing {
                print_stderr(escape::text(&format!(
                    "the body of {} is too large to be shown",
                    job.id
                )));
            }
            foreign(&job.body)
        }
        Format::Json => {
            let body = String::from_utf8_lossy(&job.body);
            json(&Line {
                body: (job.as_sent != AsSent::Nothing).then_some(&body),
                ..Line::of(job)
            })
        }
    };
    walk(client, kept, &filter, Verdict::Keep, print).await
}

async fn settle(
    client: &mut Client,
    kept: Kept,
    selection: &Selection,
    verdict: Verdict,
    done: &str,
) -> Result<(), Error> {
    let mut held = 0;
    let replays = verdict == Verdict::Replay;
    let (verdict, done) = match selection.dry_run {
        true => (Verdict::Keep, format!("would be {done}:")),
        false => (verdict, done.to_owned()),
    };
    let print = |job: &DeadJob| match selection.format {
        Format::Text => line(format_args!("{done} {}", escape::id(&job.id))),
        Format::Json => json(&Line {
            done: Some(done.trim_end_matches(':')),
            ..Line::of(job)
        }),
    };
    let mut whole = |job: &DeadJob| {
        let whole = !replays || job.as_sent == AsSent::Whole;
        if !whole {
            held += 1;
            let why = format!(
                "not replayed: {}: what would be sent is not what is here: {}",
                job.id, job.message
            );
            print_stderr(escape::text(&why));
        }
        whole
    };
    walk_these(client, kept, &selection.filter, verdict, &mut whole, print).await?;
    if held > 0 {
        return Err(Error::Outage(Outage::new(
            Part::Transport,
            format!(
                "not replayed, for no true copy of them can be made: {held}. Their senders have to \
                 send them again; banshi dead drop removes them"
            ),
        )));
    }
    Ok(())
}

/// Walks through the dead queue, does what `verdict` says to each job that the filter lets
/// through, and prints each when that is done. Goes no further once nobody reads it. Never holds
/// more than one job.
async fn walk(
    client: &mut Client,
    kept: Kept,
    filter: &Filter,
    verdict: Verdict,
    print: impl FnMut(&DeadJob) -> io::Result<()>,
) -> Result<(), Error> {
    walk_these(client, kept, filter, verdict, &mut |_| true, print).await
}

/// The same for those of the jobs only for which `these` holds; the others stay and are not
/// printed.
async fn walk_these(
    client: &mut Client,
    kept: Kept,
    filter: &Filter,
    verdict: Verdict,
    these: &mut impl FnMut(&DeadJob) -> bool,
    print: impl FnMut(&DeadJob) -> io::Result<()>,
) -> Result<(), Error> {
    let filter = &named(client, filter).await?;
    struct Walk<T> {
        print: T,
        seen: BTreeSet<String>,
        matched: bool,
        printed: io::Result<()>,
    }
    impl<T: FnMut(&DeadJob) -> io::Result<()>> Walk<T> {
        fn print_job(&mut self, job: &DeadJob) -> ControlFlow<()> {
            if self.printed.is_ok() {
                self.printed = (self.print)(job);
            }
            match self.printed {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            }
        }
    }
    let walk = RefCell::new(Walk {
        print,
        seen: BTreeSet::new(),
        matched: false,
        printed: Ok(()),
    });
    let now = now();
    let judge = |job: &DeadJob| {
        let mut walk = walk.borrow_mut();
        if !filter.lets_through(job, now) {
            return Verdict::Keep;
        }
        walk.matched = true;
        if filter.names(&job.id) {
            walk.seen.insert(job.id.clone());
        }
        if !these(job) {
            return Verdict::Keep;
        }
        match verdict {
            // Nobody listens any more.
            Verdict::Keep if walk.print_job(job).is_break() => Verdict::Stop,
            verdict => verdict,
        }
    };
    let walked = client
        .settle(kept, judge, |job| walk.borrow_mut().print_job(job))
        .await;
    let Walk {
        seen,
        matched,
        printed,
        ..
    } = walk.into_inner();
    walked?;
    printed?;
    let found = |word: &String| seen.contains(&*escape::id_of(word));
    let queue = kept.as_str();
    let list = match kept {
        Kept::Dead => "banshi dead list",
        Kept::Unrouted(_) => "banshi dead list --queue unrouted",
    };
    if let Some(id) = filter.ids.iter().find(|word| !found(word)) {
        let others = match filter.narrows() {
            true => " that the other conditions let through",
            false => "",
        };
        return Err(Error::Usage(format!(
            "there is no job {id} in the {queue} queue{others}; `{list}` shows what is"
        )));
    }
    if !matched && filter.narrows() {
        print_stderr(format_args!(
            "no job in the {queue} queue is like that; `{list}` shows what is there"
        ));
    }
    Ok(())
}

/// The filter with the ids by which the dead queue knows the jobs.
async fn named(client: &mut Client, filter: &Filter) -> Result<Filter, Error> {
    let mut filter = filter.clone();
    for id in &mut filter.ids {
        let mut names = client.dead_ids(id).await?;
        match names.len() {
            // The walk says what is not there.
            0 => {}
            1 => *id = names.remove(0),
            _ => {
                return Err(Error::Usage(format!(
                    "there are several jobs {id} in the dead queue: name one of {}",
                    names.join(", ")
                )));
            }
        }
    }
    Ok(filter)
}

impl Filter {
    fn is_empty(&self) -> bool {
        self.ids.is_empty() && !self.narrows()
    }

    /// Whether it asks for more than ids.
    fn narrows(&self) -> bool {
        !self.code.is_empty() || self.template.is_some() || self.older_than.is_some()
    }

    /// Whether it asks for this id, given as it is or as the list shows it.
    fn names(&self, id: &str) -> bool {
        self.ids.iter().any(|word| escape::id_of(word) == id)
    }

    fn lets_through(&self, job: &DeadJob, now: OffsetDateTime) -> bool {
        let code = |code: &String| code.eq_ignore_ascii_case(&job.code);
        let template = |want: &String| {
            job.template().is_some_and(|template| {
                template == *want || template.split('/').next() == Some(want.as_str())
            })
        };
        // Of a job whose time nobody knows it is not known that it is old.
        let old = |age: Duration| {
            job.dead_lettered_at
                .is_some_and(|dead_lettered_at| now - dead_lettered_at >= age)
        };
        (self.ids.is_empty() || self.names(&job.id))
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
    #[serde(rename = "buried_at")]
    dead_lettered_at: Option<String>,
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
            template: job.template(),
            dead_lettered_at: since(job),
            body: None,
        }
    }
}

/// Since when it is here.
fn since(job: &DeadJob) -> Option<String> {
    let second = job.dead_lettered_at?.replace_nanosecond(0).ok()?;
    second.format(&Rfc3339).ok()
}

#[expect(
    clippy::disallowed_methods,
    reason = "a job's time in the dead queue outlives every process; no PDF sees it"
)]
fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

//! Reading the log and listening to the workers, for a command that asks once.

use std::time::Duration;

use tokio::time::timeout;

use super::history::History;
use super::outcome::Outcome;
use super::overview::Told;
use super::workers::Workers;
use crate::problem::Outage;
use crate::timing::{LISTEN, unix_seconds};
use crate::transport::{Entry, From, Observer};

/// Seconds of the log that are looked through at once, the newest first.
const WINDOW: u64 = 24 * 3_600;
/// Windows that are looked through: as long as the log is kept.
const WINDOWS: u64 = 31;
/// How long a log may take to hand over the next event, when there is one.
const SILENCE: Duration = Duration::from_secs(10);

/// What a part of the log gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogPart {
    /// Where it began.
    pub first: Option<u64>,
}

/// Reads the log from somewhere to its present end; `each` says whether to go on.
///
/// # Errors
/// When the broker or the disk fails on the way.
pub async fn follow_to_the_end(
    observer: &Observer,
    from: From,
    before: Option<u64>,
    mut each: impl FnMut(Entry),
) -> Result<LogPart, Outage> {
    let end = match before {
        Some(offset) => offset.checked_sub(1),
        None => observer.newest().await?,
    };
    let mut part = LogPart { first: None };
    let Some(end) = end else { return Ok(part) };
    let mut log = observer.log(from).await?;
    // What was there may go away meanwhile, at its age's end.
    while let Ok(entry) = timeout(SILENCE, log.next()).await {
        let entry = entry?;
        let offset = entry.offset;
        if offset <= end {
            part.first.get_or_insert(offset);
            each(entry);
        }
        if offset >= end {
            break;
        }
    }
    Ok(part)
}

/// Reads outcomes from a time on.
///
/// # Errors
/// As [`follow_to_the_end`].
pub async fn history(observer: &Observer, since: u64) -> Result<History, Outage> {
    let mut history = History::default();
    follow_to_the_end(observer, From::Time(since), None, |entry| {
        if let Some(outcome) = Outcome::read(&entry)
            && outcome.time >= since
        {
            history.note(outcome);
        }
    })
    .await?;
    Ok(history)
}

/// Listens until every worker that lives has said how it is.
///
/// # Errors
/// When the broker does not let us listen.
pub async fn listen(observer: &Observer) -> Result<Workers, Outage> {
    let mut workers = Workers::default();
    let Some(mut statuses) = observer.statuses().await? else {
        return Ok(workers);
    };
    let mut heard = Ok(());
    let listening = async {
        loop {
            match statuses.next().await {
                Ok(body) => workers.hear(&body, unix_seconds()),
                Err(outage) => break heard = Err(outage),
            }
        }
    };
    if timeout(LISTEN, listening).await.is_ok() {
        heard?;
    }
    Ok(workers)
}

/// What was told of a job, looked for from the newest day back, and since when the log was looked
/// through, in seconds since 1970; 0 is its beginning.
///
/// # Errors
/// As [`follow_to_the_end`].
pub async fn story(observer: &Observer, job_id: &str) -> Result<(Vec<Told>, u64), Outage> {
    let now = unix_seconds();
    let mut before = None;
    for window in 1..=WINDOWS {
        let since = now.saturating_sub(window * WINDOW);
        let mut events = Vec::new();
        let part = follow_to_the_end(observer, From::Time(since), before, |entry| {
            if let Some(outcome) = Outcome::read(&entry)
                && *outcome.job_id == *job_id
                && let Ok(event) = serde_json::from_slice(&entry.event)
            {
                events.push(Told {
                    offset: entry.offset,
                    event,
                });
            }
        })
        .await?;
        if !events.is_empty() {
            return Ok((events, since));
        }
        if part.first.is_some() {
            before = part.first;
        }
        if before == Some(0) {
            break;
        }
    }
    Ok((Vec::new(), 0))
}

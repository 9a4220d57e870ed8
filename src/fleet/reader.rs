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

/// The newest event, up to which the log is read.
struct End {
    offset: u64,
    /// When it was told, where it is one of ours.
    time: Option<u64>,
}

impl End {
    async fn of(observer: &Observer) -> Result<Option<End>, Outage> {
        let newest = observer.newest().await?;
        Ok(newest.map(|entry| End {
            offset: entry.offset,
            time: Outcome::read(&entry).map(|outcome| outcome.time),
        }))
    }

    /// Whether there is nothing from a time on.
    fn is_before(&self, since: u64) -> bool {
        self.time.is_some_and(|time| time < since)
    }
}

/// Reads the log from a time to an end, and gives the offset of what came first.
async fn read(
    observer: &Observer,
    since: u64,
    end: u64,
    mut each: impl FnMut(Entry),
) -> Result<Option<u64>, Outage> {
    let mut first = None;
    let mut log = observer.log(From::Time(since)).await?;
    // What was there may go away meanwhile, at its age's end.
    while let Ok(entry) = timeout(SILENCE, log.next()).await {
        let entry = entry?;
        let offset = entry.offset;
        if offset <= end {
            first.get_or_insert(offset);
            each(entry);
        }
        if offset >= end {
            break;
        }
    }
    Ok(first)
}

/// Reads outcomes from a time on.
///
/// # Errors
/// When the broker or the disk fails on the way.
pub async fn history(observer: &Observer, since: u64) -> Result<History, Outage> {
    let mut history = History::default();
    let end = End::of(observer).await?;
    let Some(end) = end.filter(|end| !end.is_before(since)) else {
        return Ok(history);
    };
    read(observer, since, end.offset, |entry| {
        if let Some(outcome) = Outcome::read(&entry)
            && outcome.time >= since
        {
            history.note(outcome);
        }
    })
    .await?;
    Ok(history)
}

/// Listens until every worker that lives has said how it is; of a spool, looks who is there. Where
/// the broker does not let us listen, the workers say why.
///
/// # Errors
/// When the broker or the disk fails on the way.
pub async fn listen(observer: &Observer) -> Result<Workers, Outage> {
    let mut workers = Workers::default();
    workers.holders = observer.holders().await?;
    let mut statuses = match observer.statuses().await {
        Ok(Some(statuses)) => statuses,
        Ok(None) => return Ok(workers),
        Err(outage) => {
            workers.unheard = Some(outage.chain());
            return Ok(workers);
        }
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
/// When the broker or the disk fails on the way.
pub async fn story(observer: &Observer, job_id: &str) -> Result<(Vec<Told>, u64), Outage> {
    let now = unix_seconds();
    let Some(newest) = End::of(observer).await? else {
        return Ok((Vec::new(), 0));
    };
    let mut end = newest.offset;
    for window in 1..=WINDOWS {
        let since = now.saturating_sub(window * WINDOW);
        if newest.is_before(since) {
            continue;
        }
        let mut events = Vec::new();
        let first = read(observer, since, end, |entry| {
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
        match first {
            None => {}
            Some(0) => break,
            // What is older.
            Some(first) => end = first - 1,
        }
    }
    Ok((Vec::new(), 0))
}

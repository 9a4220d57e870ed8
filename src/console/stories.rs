//! A job's story, from what is known and from the log.

use std::time::Duration;

use tokio::time::timeout;

use super::Console;
use crate::fleet::{self, Outcome, Story, Told};
use crate::problem::Outage;
use crate::timing::unix_seconds;
use crate::transport::Observer;

/// Events of a job that are fetched, the newest.
const EVENTS: usize = 20;
/// How long the log may be looked through for a job that is not known.
const LOOK: Duration = Duration::from_secs(20);

/// Where a job is and what has become of it.
///
/// # Errors
/// When the broker or the disk does not answer.
pub(super) async fn story(console: &Console, job_id: &str) -> Result<Story, Outage> {
    let (known, held, since) = {
        let facts = console.known.facts();
        let known: Vec<Outcome> = facts.history.of(job_id).cloned().collect();
        let now = unix_seconds();
        let held =
            facts.workers.holder(job_id, now).is_some() || !facts.workers.waits(job_id).is_empty();
        (known, held, facts.history.since().unwrap_or(now))
    };
    let (events, since) = if known.is_empty() && held {
        (Vec::new(), since)
    } else {
        let observer = Observer::open(&console.settings.queue).await?;
        let found = look(console, &observer, job_id, &known, since).await;
        observer.close().await;
        found?
    };
    let facts = console.known.facts();
    let now = unix_seconds();
    Ok(Story::new(job_id, &facts.workers, events, since, now))
}

async fn look(
    console: &Console,
    observer: &Observer,
    job_id: &str,
    known: &[Outcome],
    since: u64,
) -> Result<(Vec<Told>, u64), Outage> {
    if known.is_empty() {
        // Each looks through the log anew, which is work for the broker, too.
        let _alone = console.search.lock().await;
        return match timeout(LOOK, fleet::story(observer, job_id)).await {
            Ok(found) => found,
            Err(_) => Ok((Vec::new(), since)),
        };
    }
    let mut events = Vec::new();
    for outcome in known.iter().rev().take(EVENTS).rev() {
        if let Some(event) = observer.event(outcome.offset, &outcome.id).await?
            && let Ok(event) = serde_json::from_slice(&event)
        {
            events.push(Told {
                offset: outcome.offset,
                event,
            });
        }
    }
    Ok((events, since))
}

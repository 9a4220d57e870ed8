//! What keeps the console's knowledge up to date.
//!
//! Takes the log, the depths and the statuses as they come. A broker that goes away is waited for;
//! the log is then read on from where it was left.

use std::sync::Arc;
use std::time::Duration;

use metrics::gauge;
use tracing::{info, warn};

use super::Console;
use crate::fleet::Outcome;
use crate::problem::Outage;
use crate::telemetry::metric;
use crate::timing::unix_seconds;
use crate::transport::{Entry, From, Observer, Statuses};

/// Seconds of the log that are read at the start.
const PAST: u64 = 24 * 3_600;
/// How often the queues are looked at.
const LOOK: Duration = Duration::from_secs(2);
/// The wait before a broker that went away is tried again.
const AGAIN: Duration = Duration::from_secs(2);
/// How often listening to workers is tried, where the broker does not allow it.
const LISTEN: Duration = Duration::from_secs(60);
/// How often it is looked how far back the log goes.
const REACH: Duration = Duration::from_secs(300);
/// Events that are taken in before anything else has its turn.
const TOGETHER: usize = 500;

pub(super) struct Feed {
    console: Arc<Console>,
    /// Where the log goes on.
    next: From,
}

impl Feed {
    pub(super) fn new(console: Arc<Console>) -> Feed {
        let since = unix_seconds().saturating_sub(PAST);
        Feed {
            console,
            next: From::Time(since),
        }
    }

    /// Goes on for as long as the console is.
    pub(super) async fn run(mut self) {
        loop {
            if let Err(outage) = self.follow().await {
                self.note(Some(outage.chain()));
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn follow(&mut self) -> Result<(), Outage> {
        let observer = Observer::open(&self.console.settings.queue).await?;
        let followed = self.follow_with(&observer).await;
        observer.close().await;
        followed
    }

    async fn follow_with(&mut self, observer: &Observer) -> Result<(), Outage> {
        let newest = observer.newest().await?;
        let end = newest.as_ref().map(|entry| entry.offset);
        // From there on there is nothing yet.
        let at_end = match (&newest, self.next) {
            (None, _) => true,
            (Some(entry), From::Offset(next)) => entry.offset < next,
            (Some(entry), From::Time(since)) => {
                Outcome::read(entry).is_some_and(|outcome| outcome.time < since)
            }
        };
        let mut log = observer.log(self.next).await?;
        let mut statuses = self.listen(observer).await;
        let mut listen = tokio::time::interval_at(tokio::time::Instant::now() + LISTEN, LISTEN);
        let depths = observer.depths();
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut reach = tokio::time::interval(REACH);
        self.note(None);
        if !at_end {
            self.console.known.facts().caught_up = false;
        }
        self.progress(at_end);
        loop {
            tokio::select! {
                entries = log.some(TOGETHER) => {
                    let entries = entries?;
                    let last = entries.last().map(|entry| entry.offset);
                    self.take(entries);
                    if last >= end {
                        self.progress(true);
                    }
                }
                body = hear(&mut statuses) => {
                    let body = body?;
                    self.console.known.facts().workers.hear(&body, unix_seconds());
                }
                _ = listen.tick(), if statuses.is_none() => {
                    statuses = self.listen(observer).await;
                }
                _ = reach.tick() => {
                    let oldest = observer.oldest_after_dropped().await?;
                    let oldest = oldest.as_ref().and_then(Outcome::read);
                    let age = oldest.map(|oldest| unix_seconds().saturating_sub(oldest.time));
                    gauge!(metric::LOG_OLDEST).set(age.map_or(f64::NAN, |age| age as f64));
                }
                _ = look.tick() => {
                    let ready = depths().await?;
                    let holders = observer.holders().await?;
                    let now = unix_seconds();
                    let mut facts = self.console.known.facts();
                    facts.depths = ready;
                    facts.workers.holders = holders;
                    facts.sample(now);
                    drop(facts);
                    self.console.known.changed();
                }
            }
        }
    }

    /// Listens to the workers. Where that is not to be had, the rest is shown all the same.
    async fn listen(&self, observer: &Observer) -> Option<Statuses> {
        let (statuses, unheard) = match observer.statuses().await {
            Ok(statuses) => (statuses, None),
            Err(outage) => (None, Some(outage.chain())),
        };
        let mut facts = self.console.known.facts();
        if let Some(why) = &unheard
            && facts.workers.unheard != unheard
        {
            warn!(%why, "no worker can be heard");
        }
        facts.workers.unheard = unheard;
        statuses
    }

    /// Takes events in.
    fn take(&mut self, entries: Vec<Entry>) {
        let mut facts = self.console.known.facts();
        for entry in entries {
            self.next = From::Offset(entry.offset + 1);
            if let Some(outcome) = Outcome::read(&entry) {
                facts.history.note(outcome);
            }
        }
        let caught_up = facts.caught_up;
        let newest = facts.history.newest().map_or(0, |outcome| outcome.time);
        drop(facts);
        let behind = match caught_up {
            true => 0,
            false => unix_seconds().saturating_sub(newest),
        };
        gauge!(metric::LOG_BEHIND).set(behind as f64);
    }

    fn progress(&self, caught_up: bool) {
        let mut facts = self.console.known.facts();
        if caught_up && !facts.caught_up {
            facts.caught_up = true;
            let events = facts.history.read();
            info!(events, "the log of events is read to its end");
            gauge!(metric::LOG_BEHIND).set(0.0);
        }
    }

    /// Notes why nothing comes in, or that it does.
    fn note(&self, out: Option<String>) {
        let mut facts = self.console.known.facts();
        if facts.out != out {
            match &out {
                Some(why) => warn!(%why, "the console hears nothing new"),
                None => info!("the console hears what is new"),
            }
        }
        facts.out = out;
        drop(facts);
        self.console.known.changed();
    }
}

async fn hear(statuses: &mut Option<Statuses>) -> Result<Vec<u8>, Outage> {
    match statuses {
        Some(statuses) => statuses.next().await,
        None => std::future::pending().await,
    }
}

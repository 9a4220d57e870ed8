//! The queues of kept jobs: what is in them, and what somebody wants done with it.
//!
//! Takes a walk through the queue now and then, when somebody looks. If we crash here, what was
//! looked at is in its queue again.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::Mutex;

use crate::config::Settings;
use crate::problem::Outage;
use crate::transport::{AsSent, Client, DeadJob, Kept, Verdict};

/// How long what was found is shown again without another walk.
const FRESH: Duration = Duration::from_secs(10);
/// Jobs that are listed.
const LISTED: usize = 2_000;
/// Bytes of jobs that are kept to be shown.
const BYTES: usize = 32 << 20;

/// A kept job, as it is listed.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Entry {
    pub(super) id: String,
    /// The job's own id, if it can be read; else as above.
    pub(super) job_id: String,
    pub(super) code: String,
    pub(super) message: String,
    pub(super) event: String,
    pub(super) lane: String,
    /// In seconds since 1970; none, when that is not known.
    pub(super) since: Option<u64>,
    pub(super) template: String,
    /// Whether it can be replayed: it is in hand as it was sent.
    pub(super) whole: bool,
    pub(super) bytes: usize,
    /// Its body, where there is room for it.
    #[serde(skip)]
    pub(super) body: Option<Vec<u8>>,
}

impl Entry {
    fn of(job: &DeadJob, room: &mut usize) -> Entry {
        let body = (job.body.len() <= *room && job.as_sent != AsSent::Nothing).then(|| {
            *room -= job.body.len();
            job.body.clone()
        });
        Entry {
            id: job.id.clone(),
            job_id: job.job_id().unwrap_or_else(|| job.id.clone()),
            code: job.code.clone(),
            message: job.message.clone(),
            event: job.event.clone(),
            lane: job.lane.clone(),
            since: job
                .dead_lettered_at
                .and_then(|at| u64::try_from(at.unix_timestamp()).ok()),
            template: job.template().unwrap_or_default(),
            whole: job.as_sent == AsSent::Whole,
            bytes: job.body.len(),
            body,
        }
    }
}

/// What was found.
#[derive(Debug, Default, Serialize)]
pub(super) struct Listing {
    pub(super) jobs: Vec<Entry>,
    /// How many there are beyond those that are listed.
    pub(super) more: usize,
}

/// Which jobs, of those that are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Which {
    pub(super) code: String,
    pub(super) template: String,
    pub(super) text: String,
    /// Kept for longer than this, in seconds.
    pub(super) older_than: u64,
}

impl Which {
    pub(super) fn lets_through(&self, entry: &Entry, now: u64) -> bool {
        let template = &entry.template;
        (self.code.is_empty() || self.code == entry.code)
            && (self.template.is_empty()
                || *template == self.template
                || template
                    .strip_prefix(&self.template)
                    .is_some_and(|rest| rest.starts_with('/')))
            && (self.text.is_empty()
                || entry.id.contains(&self.text)
                || entry.job_id.contains(&self.text))
            && (self.older_than == 0
                || entry
                    .since
                    .is_some_and(|since| now.saturating_sub(since) > self.older_than))
    }
}

type Found = Option<(Instant, Arc<Listing>)>;

/// What was found lately, in either queue.
#[derive(Debug, Default)]
pub(super) struct Cache {
    dead: Mutex<Found>,
    unrouted: Mutex<Found>,
}

impl Cache {
    fn of(&self, kept: Kept) -> &Mutex<Found> {
        match kept {
            Kept::Dead => &self.dead,
            Kept::Unrouted(_) => &self.unrouted,
        }
    }

    /// What is in a queue, now or a few seconds ago. Several who ask at once cause one walk.
    pub(super) async fn list(
        &self,
        settings: &Settings,
        kept: Kept,
    ) -> Result<Arc<Listing>, Outage> {
        let mut found = self.of(kept).lock().await;
        if let Some((at, listing)) = &*found
            && at.elapsed() < FRESH
        {
            return Ok(Arc::clone(listing));
        }
        let mut listing = Listing::default();
        let mut room = BYTES;
        let mut client = open(settings).await?;
        let walked = client
            .settle(
                kept,
                |job| {
                    match listing.jobs.len() < LISTED {
                        true => listing.jobs.push(Entry::of(job, &mut room)),
                        false => listing.more += 1,
                    }
                    Verdict::Keep
                },
                |_| ControlFlow::Continue(()),
            )
            .await;
        client.close().await;
        walked?;
        let listing = Arc::new(listing);
        *found = Some((Instant::now(), Arc::clone(&listing)));
        Ok(listing)
    }

    /// Replays or drops the jobs of these ids. Gives the ids of those with which that was done.
    pub(super) async fn settle(
        &self,
        settings: &Settings,
        kept: Kept,
        ids: &[String],
        verdict: Verdict,
    ) -> Result<Vec<String>, Outage> {
        let mut found = self.of(kept).lock().await;
        *found = None;
        let mut done = Vec::new();
        let mut client = open(settings).await?;
        let walked = client
            .settle(
                kept,
                |job| match ids.contains(&job.id) {
                    true => verdict,
                    false => Verdict::Keep,
                },
                |job| {
                    done.push(job.id.clone());
                    ControlFlow::Continue(())
                },
            )
            .await;
        client.close().await;
        walked.map(|()| done)
    }
}

async fn open(settings: &Settings) -> Result<Client, Outage> {
    Client::open_within(&settings.queue, settings.limits.job_bytes).await
}

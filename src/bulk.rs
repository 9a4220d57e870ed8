//! Many jobs sent: with many on their way at once, and a journal by which a sender that was killed
//! goes on.
//!
//! Takes files, folders and lines of jobs, and the journal, gives confirmed jobs. Never notes a job
//! that was not confirmed, and never holds the jobs themselves: a hundred thousand are an index of
//! them and those on their way. If we crash here, what was confirmed and not yet noted is sent once
//! more: at most as many as are on their way at once.

mod input;
mod journal;

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::Instant;

pub use self::input::{Input, Item, Unusable, is_of_lines, job_id};
pub use self::journal::{Begun, Journal, Noted};
use crate::config;
use crate::job;
use crate::problem::Outage;
use crate::telemetry::trace::{Destination, Span};
use crate::timing::{BACKOFF, backoff};
use crate::transport::{Client, Lane, Unsent};

/// Jobs on their way at once: as many as the publisher has channels. It is also how many a kill may
/// send twice.
pub const IN_FLIGHT: usize = 64;

/// After so many rounds in which nothing was confirmed the connection is made anew, too: with it
/// comes whatever was missing at the broker.
const ROUNDS: u32 = 3;

/// What is told on the way.
#[derive(Debug)]
pub enum Told<'a> {
    /// So many jobs are confirmed and noted, those of earlier runs included.
    Sent(u64),
    /// Nothing more is sent for the moment, and why.
    Waits(&'a Outage),
}

/// How a run ended.
#[derive(Debug, Default)]
pub struct Sent {
    /// Jobs confirmed in this run.
    pub sent: u64,
    /// Jobs confirmed in earlier runs.
    pub before: u64,
    /// Jobs that cannot be sent as they are, each with its place and why.
    pub unfit: Vec<Unusable>,
    /// Why it ended before all were sent, if it did. The journal has what was.
    pub stopped: Option<Outage>,
}

/// Sends every job of an input that its journal does not have, and notes each.
///
/// A broker that goes away, and a lane that is full, are waited for, until nothing was confirmed
/// for as long as `patience`.
///
/// # Errors
/// When the broker can't be reached at first.
pub async fn send(
    settings: &config::Queue,
    input: &Input,
    lane: Lane,
    journal: &mut Journal,
    patience: Duration,
    mut told: impl FnMut(Told<'_>),
) -> Result<Sent, Outage> {
    let mut client = Client::open(settings).await?;
    let mut sent = Sent {
        before: journal.sent(),
        ..Sent::default()
    };
    told(Told::Sent(sent.before));
    let mut sending = Sending {
        settings,
        input,
        lane,
        next: 0,
        again: VecDeque::new(),
    };
    let (mut tries, mut confirmed_at) = (0, Instant::now());
    loop {
        let before = sent.sent;
        let round = sending.round(&client, journal, &mut sent, &mut told).await;
        let outage = match round {
            Ok(None) => break,
            Ok(Some(outage)) => outage,
            // The journal can't be written: nothing more must be sent.
            Err(outage) => {
                sent.stopped = Some(outage);
                break;
            }
        };
        if sent.sent > before {
            (tries, confirmed_at) = (0, Instant::now());
        }
        told(Told::Waits(&outage));
        let wait = backoff(BACKOFF, tries);
        tries += 1;
        if confirmed_at.elapsed() + wait > patience {
            sent.stopped = Some(outage);
            break;
        }
        tokio::time::sleep(wait).await;
        if !client.is_live() || tries > ROUNDS {
            match Client::open(settings).await {
                Ok(other) => std::mem::replace(&mut client, other).close().await,
                Err(outage) => told(Told::Waits(&outage)),
            }
        }
    }
    client.close().await;
    Ok(sent)
}

/// What is left to send.
struct Sending<'a> {
    settings: &'a config::Queue,
    input: &'a Input,
    lane: Lane,
    /// The first that was not yet looked at.
    next: usize,
    /// Those that are not known to be safe.
    again: VecDeque<usize>,
}

impl Sending<'_> {
    /// Sends until all is sent, or until one can't be; those on their way then are waited for.
    async fn round(
        &mut self,
        client: &Client,
        journal: &mut Journal,
        sent: &mut Sent,
        told: &mut impl FnMut(Told<'_>),
    ) -> Result<Option<Outage>, Outage> {
        let (settings, input, lane) = (self.settings, self.input, self.lane);
        let mut in_flight = FuturesUnordered::new();
        let mut held_up = None;
        loop {
            while held_up.is_none()
                && in_flight.len() < IN_FLIGHT
                && let Some(at) = self.take(journal)
            {
                in_flight.push(one(settings, client, input, lane, at));
            }
            let Some((at, done)) = in_flight.next().await else {
                journal.sync()?;
                return Ok(held_up);
            };
            match done {
                Ok(sha256) => {
                    // Before anything else: what is not noted is sent again after a kill.
                    journal.note(at, &input.items()[at].id, &sha256)?;
                    sent.sent += 1;
                    told(Told::Sent(journal.sent()));
                }
                Err(Unsent::Unfit(why)) => sent.unfit.push(Unusable {
                    place: input.place(at),
                    why,
                    unread: false,
                }),
                Err(Unsent::Outage(outage)) => {
                    self.again.push_back(at);
                    held_up = Some(outage);
                }
            }
        }
    }

    /// The next job that is to be sent.
    fn take(&mut self, journal: &Journal) -> Option<usize> {
        if let Some(at) = self.again.pop_front() {
            return Some(at);
        }
        while self.next < self.input.items().len() {
            self.next += 1;
            if !journal.has(self.next - 1) {
                return Some(self.next - 1);
            }
        }
        None
    }
}

/// Sends a job, and gives the digest of its content.
async fn one(
    settings: &config::Queue,
    client: &Client,
    input: &Input,
    lane: Lane,
    at: usize,
) -> (usize, Result<String, Unsent>) {
    let body = match input.body(at) {
        Ok(body) => body,
        // It was there a moment ago.
        Err(why) => return (at, Err(Unsent::Unfit(why))),
    };
    let id = &input.items()[at].id;
    let to = Destination::of(settings, "jobs", lane.as_str(), Some(id));
    let sent = Span::publish(&to).of(client.send(id, &body, lane)).await;
    (at, sent.map(|()| job::content_sha256(&body)))
}

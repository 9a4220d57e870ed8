//! What the console knows now.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::sync::watch;

use crate::fleet::{History, MINUTES, Overview, Workers};
use crate::transport::Depth;

/// Samples of the queues that are kept: a day of them.
const SAMPLES: usize = 24 * 60 * 6;
/// Seconds between two of them.
const SAMPLE: u64 = 10;

/// What waited at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Sample {
    pub(super) at: u64,
    pub(super) backlog: Option<u64>,
    pub(super) dead: Option<u64>,
}

/// What the console knows.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) history: History,
    pub(super) workers: Workers,
    pub(super) depths: Vec<Depth>,
    pub(super) samples: VecDeque<Sample>,
    /// Why nothing new comes in, while nothing does.
    pub(super) out: Option<String>,
    /// Whether the log was read to its end once.
    pub(super) caught_up: bool,
    /// What only the management API says.
    pub(super) management: Option<Management>,
}

/// What only the management API says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Management {
    /// Why it does not answer, while it does not.
    pub(super) out: Option<String>,
    /// Messages of both lanes that were delivered and are not acknowledged.
    pub(super) unacknowledged: u64,
    /// Queues beside the log that are bound to the events' exchange.
    pub(super) event_queues: u64,
}

impl Facts {
    pub(super) fn overview(&self, now: u64, deadline: Option<u64>) -> Overview {
        let (history, workers) = (&self.history, &self.workers);
        let mut overview = Overview::new(now, &self.depths, history, workers, deadline);
        overview.day = Some(history.ended(now, MINUTES));
        overview
    }

    pub(super) fn sample(&mut self, now: u64) {
        let last = self.samples.back().map_or(0, |sample| sample.at);
        if now < last + SAMPLE {
            return;
        }
        let overview = self.overview(now, None);
        let sample = Sample {
            at: now,
            backlog: overview.backlog,
            dead: overview.ready("dead"),
        };
        if self.samples.len() == SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
    }
}

/// The facts, and that they have changed.
#[derive(Debug, Default)]
pub(super) struct Known {
    facts: Mutex<Facts>,
    changes: watch::Sender<u64>,
}

impl Known {
    /// Looks. Nothing may be waited for meanwhile.
    pub(super) fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that something is new.
    pub(super) fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Hears when something is new.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

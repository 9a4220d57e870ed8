//! How long the oldest job of a lane can have waited.
//!
//! Takes when delivered jobs were sent and how many are ready, gives an upper bound: lanes are first
//! in, first out, so that what is ready was sent after what was delivered for the first time, and
//! after the lane was last seen empty. A job that comes back from a retry queue is older than that
//! and not counted. Never asks the broker. If we crash here, nothing is known until the next
//! delivery, and nothing is said until then.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::transport::Lane;

/// For each lane a time, in seconds since 1970, before which nothing was sent that is ready in it;
/// 0 where none is known.
#[derive(Debug, Default)]
pub(super) struct Oldest {
    urgent: AtomicU64,
    bulk: AtomicU64,
}

impl Oldest {
    fn of(&self, lane: Lane) -> &AtomicU64 {
        match lane {
            Lane::Urgent => &self.urgent,
            Lane::Bulk => &self.bulk,
        }
    }

    /// A job that was sent then was delivered for the first time.
    pub(super) fn delivered(&self, lane: Lane, sent: u64) {
        self.of(lane).fetch_max(sent, Ordering::Relaxed);
    }

    /// The most seconds that a job of a lane can have waited, when at a time so many are ready;
    /// none, when that is not known.
    pub(super) fn seconds(&self, lane: Lane, ready: u64, now: u64) -> Option<u64> {
        let since = self.of(lane);
        if ready == 0 {
            since.fetch_max(now, Ordering::Relaxed);
            return Some(0);
        }
        match since.load(Ordering::Relaxed) {
            0 => None,
            since => Some(now.saturating_sub(since)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_job_was_sent_after_the_last_delivered_and_after_the_lane_was_empty() {
        let oldest = Oldest::default();
        assert_eq!(
            oldest.seconds(Lane::Bulk, 7, 1_000),
            None,
            "nothing is known"
        );
        oldest.delivered(Lane::Bulk, 400);
        assert_eq!(oldest.seconds(Lane::Bulk, 7, 1_000), Some(600));
        oldest.delivered(Lane::Bulk, 300);
        assert_eq!(
            oldest.seconds(Lane::Bulk, 7, 1_000),
            Some(600),
            "another sender's"
        );
        assert_eq!(oldest.seconds(Lane::Bulk, 0, 2_000), Some(0));
        assert_eq!(oldest.seconds(Lane::Bulk, 1, 2_015), Some(15));
        assert_eq!(oldest.seconds(Lane::Urgent, 1, 2_015), None);
    }
}

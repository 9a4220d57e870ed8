//! Whose turn it is at the typesetters.
//!
//! Takes a lane, gives a [`Permit`]. Never lets jobs of the bulk lane hold up an urgent one for
//! longer than until the next typesetter is free. If we crash here, the permits go with us.

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::transport::Lane;

/// A permit for each typesetter, of which jobs in bulk may have some only.
#[derive(Debug)]
pub(super) struct Lanes {
    all: Semaphore,
    bulk: Semaphore,
}

/// A typesetter is free for whoever has this.
#[derive(Debug)]
pub(super) struct Permit<'a> {
    // Dropped in this order: an urgent job that waits has the permit before the next one in bulk
    // can ask for it.
    _any: SemaphorePermit<'a>,
    _bulk: Option<SemaphorePermit<'a>>,
}

impl Lanes {
    /// `bulk` permits for either lane, and `reserved` ones for urgent jobs only.
    pub(super) fn new(bulk: usize, reserved: usize) -> Lanes {
        Lanes {
            all: Semaphore::new(bulk + reserved),
            bulk: Semaphore::new(bulk),
        }
    }

    /// Waits for a permit. A job in bulk asks for one that it may have before it queues for any, so
    /// that at most as many of them as there are such permits stand in front of an urgent one.
    pub(super) async fn enter(&self, lane: Lane) -> Permit<'_> {
        let bulk = match lane {
            Lane::Bulk => Some(one(&self.bulk).await),
            Lane::Urgent => None,
        };
        Permit {
            _any: one(&self.all).await,
            _bulk: bulk,
        }
    }
}

async fn one(permits: &Semaphore) -> SemaphorePermit<'_> {
    permits.acquire().await.expect("it is never closed")
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn bulk_leaves_the_reserved_place_to_urgent_jobs() {
        let lanes = Lanes::new(2, 1);
        let first = lanes.enter(Lane::Bulk).now_or_never();
        let second = lanes.enter(Lane::Bulk).now_or_never();
        assert!(first.is_some() && second.is_some());
        assert!(lanes.enter(Lane::Bulk).now_or_never().is_none());
        let urgent = lanes.enter(Lane::Urgent).now_or_never();
        assert!(urgent.is_some());
        assert!(lanes.enter(Lane::Urgent).now_or_never().is_none());
        drop(first);
        assert!(lanes.enter(Lane::Bulk).now_or_never().is_some());
    }

    #[test]
    fn without_a_reserved_place_an_urgent_job_has_the_next_one() {
        let lanes = Lanes::new(1, 0);
        let busy = lanes.enter(Lane::Bulk).now_or_never();
        assert!(busy.is_some());
        let mut bulk = pin!(lanes.enter(Lane::Bulk));
        assert!(bulk.as_mut().now_or_never().is_none());
        let mut urgent = pin!(lanes.enter(Lane::Urgent));
        assert!(urgent.as_mut().now_or_never().is_none());
        drop(busy);
        // Asked first, and yet it comes second.
        assert!(bulk.as_mut().now_or_never().is_none());
        let permit = urgent.as_mut().now_or_never();
        assert!(permit.is_some());
        drop(permit);
        assert!(bulk.as_mut().now_or_never().is_some());
    }

    #[test]
    fn urgent_jobs_without_end_do_not_starve_the_bulk() {
        let lanes = Lanes::new(1, 0);
        let busy = lanes.enter(Lane::Urgent).now_or_never();
        let mut bulk = pin!(lanes.enter(Lane::Bulk));
        assert!(bulk.as_mut().now_or_never().is_none());
        let mut urgent = pin!(lanes.enter(Lane::Urgent));
        assert!(urgent.as_mut().now_or_never().is_none());
        drop(busy);
        assert!(bulk.as_mut().now_or_never().is_some());
    }
}

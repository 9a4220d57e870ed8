//! Time has one owner: when a job must have left our hands, and how long whatever holds one may
//! take.
//!
//! Takes settings, gives durations and [`Deadline`]s. Nothing here sleeps by itself. If we crash
//! here, nothing has been waited for. A part's rhythm of its own, as how often a folder is looked
//! at, stands beside the part; how long a store or a typesetter may take is a setting.
//!
//! The one time that others depend on is the lease of a delivery (`queue.lease`): the broker takes
//! a job back that was held for its `consumer_timeout` (RabbitMQ, "Consumers", "Delivery
//! Acknowledgement Timeout"; 30 minutes by default), and counts it as delivered once more. So
//! whatever is done for a job ends at its deadline, before the broker's.

use std::future::Future;
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, timeout_at};

/// How long a connection to the broker may take to be made.
pub const CONNECT: Duration = Duration::from_secs(10);
/// How long topology and consumers may take, which in a cluster is an election or two.
pub const PREPARE: Duration = Duration::from_secs(60);
/// How long a confirm, an acknowledgement or an answer of the broker may take. lapin waits for
/// ever.
pub const ANSWER: Duration = Duration::from_secs(30);
/// How long the broker may take to show that a connection on which a confirm is missing lives.
pub const SIGN_OF_LIFE: Duration = Duration::from_secs(5);
/// How long a channel is waited for that the connection has none left for.
pub const CHANNEL: Duration = Duration::from_secs(5);
/// How long a folder of the spool may take to answer.
pub const FOLDER: Duration = Duration::from_secs(30);
/// How long a connection may take to be closed.
pub const CLOSE: Duration = Duration::from_secs(5);
/// How long the copy of an event for `reply_to` may take, which is best effort.
pub const REPLY: Duration = Duration::from_secs(2);

/// The wait before a new session, and before something that the broker refused is published again:
/// from the first to a bound that doubles up to the last.
pub const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));
/// A session that has lived this long is no reason to wait longer than the first time.
pub const SETTLED: Duration = Duration::from_secs(30);
/// A session that ended sooner than this with jobs in hand may have ended of one of them.
pub const YOUNG: Duration = Duration::from_secs(10);
/// How long the broker may refuse a job's copy before no more jobs are asked for.
pub const REFUSED: Duration = Duration::from_secs(10);
/// How often a session in which nothing is published finds out whether the broker would take it.
pub const PROBE_INTERVAL: Duration = Duration::from_secs(30);
/// The least time between two repairs of the topology.
pub const REPAIR: Duration = Duration::from_secs(5);

/// How often an idle worker asks whether anything is left, when it is to leave then.
pub const IDLE_POLL: Duration = Duration::from_millis(300);
/// The longest that jobs which failed together are held before they are sent to wait, so that they
/// don't come back together. A retry queue has one wait for all that is in it, and no worker has
/// more jobs in hand than this spreads.
pub const SPREAD: Duration = Duration::from_secs(3);
/// How often a worker looks at the depths of the queues, for the metrics.
pub const DEPTHS: Duration = Duration::from_secs(15);
/// How long one listens for the workers' statuses: longer than the time between two (worker.status).
pub const LISTEN: Duration = Duration::from_millis(4_200);
/// How long a part may take to show that it is there.
pub const PROBE: Duration = Duration::from_secs(30);
/// The wait before a part that is out is tried again: between half of it and all of it, doubled
/// each time from the first to the last.
pub const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// The moment at which a delivery must have been settled or sent to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline(Option<Instant>);

impl Deadline {
    /// For what nobody takes back: a file in a spool.
    pub const NONE: Deadline = Deadline(None);

    /// In so long.
    pub fn after(lease: Duration) -> Deadline {
        Deadline(Instant::now().checked_add(lease))
    }

    /// Does some work, unless the deadline comes first; the work is then dropped. `None` when it
    /// came first.
    pub async fn limit<T>(self, work: impl Future<Output = T>) -> Option<T> {
        match self.0 {
            Some(at) => timeout_at(at, work).await.ok(),
            None => Some(work.await),
        }
    }
}

/// A wait before try number `tries` (from 0), drawn from the whole range so that workers which
/// lost something together don't come back together: from `first` to a bound that doubles up to
/// `last`.
pub fn backoff((first, last): (Duration, Duration), tries: u32) -> Duration {
    let bound = first
        .saturating_mul(2_u32.saturating_pow(tries.saturating_add(1)))
        .min(last);
    first + bound.saturating_sub(first).mul_f64(rand::random::<f64>())
}

/// The time of day: of what outlives this process, or is compared with another machine's clock. No
/// PDF sees it.
#[expect(
    clippy::disallowed_methods,
    reason = "no Instant means anything to others"
)]
pub fn wall_clock() -> SystemTime {
    SystemTime::now()
}

/// Seconds since 1970, for timestamps of messages.
pub fn unix_seconds() -> u64 {
    let since = wall_clock().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound_and_differ() {
        let (first, last) = BACKOFF;
        let longest = |tries| {
            let waits: Vec<_> = (0..500).map(|_| backoff(BACKOFF, tries)).collect();
            assert!(waits.iter().all(|wait| (first..=last).contains(wait)));
            let (least, most) = (waits.iter().min(), waits.iter().max());
            let (least, most) = (*least.expect("some"), *most.expect("some"));
            assert!(most - least > first / 2, "workers come back together");
            most
        };
        assert!(longest(0) < longest(3) && longest(3) < longest(u32::MAX));
    }

    #[tokio::test]
    async fn work_ends_at_its_deadline() {
        let deadline = Deadline::after(Duration::from_millis(50));
        assert_eq!(deadline.limit(std::future::ready(7)).await, Some(7));
        let endless = std::future::pending::<()>();
        assert_eq!(deadline.limit(endless).await, None);
        assert_eq!(Deadline::NONE.limit(std::future::ready(7)).await, Some(7));
    }
}

//! The answers to an operator's questions: will it be in time, and where is this job.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::history::{Bucket, History};
use super::status::{InHand, Waiting};
use super::workers::Workers;
use crate::transport::Depth;

/// A kind of queue and what is ready in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    /// `bulk`, `urgent`, `retry`, `dead` or `unrouted`.
    pub name: String,
    /// Messages that nobody has taken; none, where the broker does not tell this user.
    pub ready: Option<u64>,
}

/// By when everything must be out, and whether it will.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deadline {
    /// In seconds since 1970.
    pub at: u64,
    /// Whether the jobs that wait will be done after it, or it has passed with jobs left; none,
    /// where it is not known how many wait.
    pub late: Option<bool>,
}

/// The workers together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fleet {
    /// Workers that were heard lately.
    pub workers: u64,
    /// Those that are ready.
    pub ready: u64,
    /// Those that have fallen silent, of which nothing is known.
    pub silent: u64,
    /// Typesetters of the workers that were heard lately.
    pub typesetters: u64,
    /// Those with a report.
    pub busy: u64,
    /// Jobs in hand.
    pub in_flight: u64,
    /// What the workers differ in that should be the same.
    pub mixed: Vec<String>,
    /// Why workers are not ready, each reason once.
    pub why: Vec<String>,
    /// Why none can be heard, where that is so.
    #[serde(default)]
    pub unheard: Option<String>,
}

/// Everything at a glance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Overview {
    /// When, in seconds since 1970.
    pub at: u64,
    /// The queues, in the order of their names in the metrics.
    pub queues: Vec<Queue>,
    /// Jobs that wait: in the lanes, between attempts, and in hand; none, where the broker does not
    /// tell this user.
    pub backlog: Option<u64>,
    /// Jobs that end a minute, lately.
    pub rate_per_minute: f64,
    /// Seconds until the backlog is done at this rate; none, when nothing ends or it is not known.
    pub time_to_empty_seconds: Option<u64>,
    /// By when it must be, where that is set.
    pub deadline: Option<Deadline>,
    /// Since when the oldest job in hand is there, in seconds since 1970; none, when there is none.
    pub oldest_in_hand: Option<u64>,
    /// Outcomes of the last hour.
    pub hour: Bucket,
    /// Outcomes of the last day; none, where only the last hour was read.
    pub day: Option<Bucket>,
    /// The workers.
    pub fleet: Fleet,
}

impl Overview {
    /// Puts it together.
    pub fn new(
        now: u64,
        depths: &[Depth],
        history: &History,
        workers: &Workers,
        deadline: Option<u64>,
    ) -> Overview {
        let fleet = Fleet::of(workers, now);
        let ready = |name: &str| {
            let queue = depths.iter().find(|(queue, _)| *queue == name);
            queue.map_or(Some(0), |(_, ready)| *ready)
        };
        let waiting = ["bulk", "urgent", "retry"].map(ready).into_iter();
        let backlog = waiting.sum::<Option<u64>>();
        let backlog = backlog.map(|waiting| waiting + fleet.in_flight);
        let rate_per_minute = history.rate(now);
        let time_to_empty_seconds = match backlog {
            Some(0) => Some(0),
            Some(backlog) if rate_per_minute > 0.0 => {
                Some((backlog as f64 * 60.0 / rate_per_minute).ceil() as u64)
            }
            _ => None,
        };
        let deadline = deadline.map(|at| Deadline {
            at,
            late: backlog.map(|backlog| {
                backlog > 0 && time_to_empty_seconds.is_none_or(|left| now + left > at)
            }),
        });
        let in_hand = workers.live(now).flat_map(|status| &status.in_hand);
        Overview {
            at: now,
            queues: depths
                .iter()
                .map(|(name, ready)| Queue {
                    name: (*name).to_owned(),
                    ready: *ready,
                })
                .collect(),
            backlog,
            rate_per_minute,
            time_to_empty_seconds,
            deadline,
            oldest_in_hand: in_hand.map(|job| job.since).min(),
            hour: history.ended(now, 60),
            day: None,
            fleet,
        }
    }

    /// What is ready in a kind of queue; none, where the broker does not tell this user.
    pub fn ready(&self, name: &str) -> Option<u64> {
        let queue = self.queues.iter().find(|queue| queue.name == name);
        queue.map_or(Some(0), |queue| queue.ready)
    }
}

impl Fleet {
    fn of(workers: &Workers, now: u64) -> Fleet {
        let mut fleet = Fleet {
            mixed: workers.mixed(now).into_iter().map(str::to_owned).collect(),
            unheard: workers.unheard.clone(),
            // Whoever has a folder in a spool is there.
            workers: workers.holders.len() as u64,
            ready: workers.holders.len() as u64,
            in_flight: workers.holders.iter().map(|(_, held)| held).sum(),
            ..Fleet::default()
        };
        for heard in workers.all() {
            if heard.is_silent(now) {
                fleet.silent += 1;
                continue;
            }
            let status = &heard.status;
            let census = status.typesetters;
            fleet.workers += 1;
            fleet.ready += u64::from(status.ready);
            fleet.typesetters += (census.idle + census.busy + census.starting) as u64;
            fleet.busy += census.busy as u64;
            fleet.in_flight += status.in_flight;
            if let Some(why) = &status.why
                && !fleet.why.contains(why)
            {
                fleet.why.push(why.clone());
            }
        }
        fleet
    }
}

/// An event about a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Told {
    /// Its place in the log.
    pub offset: u64,
    /// The CloudEvent.
    pub event: Value,
}

/// Where a job is, and what has become of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Story {
    /// Its id.
    pub job_id: String,
    /// Where it is now: `completed`, `rejected`, `failed`, `in_hand`, `waiting` or `unknown`.
    pub state: String,
    /// Who has it in hand.
    pub worker: Option<String>,
    /// Since when, and in which attempt.
    pub in_hand: Option<InHand>,
    /// When it was sent to wait, as far as workers still say it, the newest last.
    pub waits: Vec<Waiting>,
    /// What was told of it, the oldest first.
    pub events: Vec<Told>,
    /// Whether it is in the dead queue now; none, when nobody has looked.
    pub dead: Option<bool>,
    /// From when on the log was looked through, in seconds since 1970; 0 is its beginning.
    pub looked_since: u64,
}

impl Story {
    /// Tells where a job is by all that is known.
    pub fn new(
        job_id: &str,
        workers: &Workers,
        events: Vec<Told>,
        looked_since: u64,
        now: u64,
    ) -> Story {
        let holder = workers.holder(job_id, now);
        let waits: Vec<_> = workers.waits(job_id).into_iter().cloned().collect();
        let last = events.last().and_then(|told| told.event["type"].as_str());
        let last = last.and_then(|kind| kind.strip_prefix("report."));
        let state = match (last, &holder) {
            (_, Some(_)) => "in_hand",
            (Some(state), _) => state,
            (None, None) if waits.iter().any(|wait| wait.until + 5 >= now) => "waiting",
            (None, None) => "unknown",
        };
        Story {
            job_id: job_id.to_owned(),
            state: state.to_owned(),
            worker: holder.map(|(status, _)| status.worker.clone()),
            in_hand: holder.map(|(_, job)| job.clone()),
            waits,
            events,
            dead: None,
            looked_since,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::outcome::Outcome;
    use super::*;
    use crate::event::Kind;

    const NOW: u64 = 1_800_000_000;

    fn history(outcomes: u64) -> History {
        let mut history = History::default();
        for number in 0..outcomes {
            history.note(Outcome {
                offset: number,
                id: number.to_string().into(),
                time: NOW / 60 * 60 - 300 + number * 300 / outcomes,
                kind: Kind::Completed,
                job_id: format!("job-{number}").into(),
                template: "annual-report/2021".into(),
                agency: "".into(),
                year: 2025,
                pages: 5,
                codes: Vec::new(),
            });
        }
        history
    }

    #[test]
    fn the_time_to_empty_is_the_backlog_at_the_rate_of_late() {
        let depths = [
            ("bulk", Some(5_000)),
            ("urgent", Some(0)),
            ("retry", Some(1_000)),
            ("dead", Some(9)),
        ];
        let at_hundred = history(500);
        let workers = Workers::default();
        let overview = |deadline| Overview::new(NOW, &depths, &at_hundred, &workers, deadline);
        let now = overview(Some(NOW + 3_600));
        assert_eq!(now.backlog, Some(6_000));
        assert_eq!(now.rate_per_minute, 100.0);
        assert_eq!(now.time_to_empty_seconds, Some(3_600));
        let late = |now: Overview| now.deadline.expect("it is set").late;
        assert_eq!(late(now), Some(false));
        assert_eq!(late(overview(Some(NOW + 3_599))), Some(true));
    }

    #[test]
    fn where_nothing_ends_a_backlog_has_no_end_and_is_late() {
        let (history, workers) = (History::default(), Workers::default());
        let now = Overview::new(
            NOW,
            &[("bulk", Some(1))],
            &history,
            &workers,
            Some(NOW + 999_999),
        );
        assert_eq!(now.time_to_empty_seconds, None);
        assert_eq!(now.deadline.expect("it is set").late, Some(true));
        let now = Overview::new(NOW, &[("bulk", Some(0))], &history, &workers, Some(NOW - 1));
        assert_eq!(now.time_to_empty_seconds, Some(0));
        assert_eq!(now.deadline.expect("it is set").late, Some(false));
    }

    #[test]
    fn what_the_broker_does_not_tell_is_not_said() {
        let depths = [("bulk", None), ("urgent", Some(0)), ("dead", Some(2))];
        let workers = Workers::default();
        let now = Overview::new(NOW, &depths, &history(500), &workers, Some(NOW + 1));
        assert_eq!((now.backlog, now.time_to_empty_seconds), (None, None));
        assert_eq!(now.deadline.expect("it is set").late, None);
        assert_eq!((now.ready("bulk"), now.ready("dead")), (None, Some(2)));
    }
}

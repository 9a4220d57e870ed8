//! What became of jobs, lately: the last outcomes, and counts by minute and by hour.
//!
//! Takes outcomes in the order of the log, gives lists, rates and sums. An event that was published
//! twice is counted once. Never holds more than its bounds, whatever is in the log.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use super::outcome::Outcome;
use crate::event::Kind;

/// Outcomes that are kept.
const OUTCOMES: usize = 100_000;
/// Minutes of which the counts are kept.
pub const MINUTES: u64 = 24 * 60;
/// Hours of which the counts are kept: as long as the log is.
const HOURS: usize = 31 * 24;
/// Names that are counted by themselves in an hour; the rest are `other`.
const NAMES: usize = 200;
/// The least minutes that a rate is taken over, and the most.
const RATE: (u64, u64) = (5, 60);
/// With as many outcomes a rate over fewer minutes is good enough.
const ENOUGH: u64 = 100;

/// Outcomes counted, by how jobs ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    /// Stored and announced.
    pub completed: u64,
    /// Refused.
    pub rejected: u64,
    /// Given up.
    pub failed: u64,
}

impl Bucket {
    fn add(&mut self, kind: Kind, count: u64) {
        match kind {
            Kind::Completed => self.completed += count,
            Kind::Rejected => self.rejected += count,
            Kind::Failed => self.failed += count,
        }
    }

    fn merge(&mut self, other: Bucket) {
        self.completed += other.completed;
        self.rejected += other.rejected;
        self.failed += other.failed;
    }

    /// All together.
    pub fn all(self) -> u64 {
        self.completed + self.rejected + self.failed
    }
}

/// An hour's counts.
#[derive(Debug, Clone, Default)]
struct Hour {
    all: Bucket,
    templates: BTreeMap<Box<str>, Bucket>,
    codes: BTreeMap<Box<str>, u64>,
}

/// What is counted of a time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// All together.
    pub all: Bucket,
    /// By template.
    pub templates: BTreeMap<String, Bucket>,
    /// By problem code, or the part that was out: events that name it.
    pub codes: BTreeMap<String, u64>,
    /// By hour, each by its beginning in seconds since 1970.
    pub hours: BTreeMap<u64, Bucket>,
}

/// Which outcomes are looked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// A part of the job's id, the agency's name, or the year, without regard to case.
    pub text: String,
    /// How it ended.
    pub kind: Option<Kind>,
    /// `NAME` or `NAME/EDITION`.
    pub template: String,
    /// A problem code, or a part.
    pub code: String,
    /// Not before this, in seconds since 1970.
    pub since: u64,
    /// Before this, in seconds since 1970; 0 is now.
    pub until: u64,
}

impl Filter {
    fn lets_through(&self, outcome: &Outcome, text: &str) -> bool {
        let template = |name: &str| {
            name == self.template
                || name
                    .strip_prefix(&self.template)
                    .is_some_and(|rest| rest.starts_with('/'))
        };
        outcome.time >= self.since
            && (self.until == 0 || outcome.time < self.until)
            && self.kind.is_none_or(|kind| kind == outcome.kind)
            && (self.template.is_empty() || template(&outcome.template))
            && (self.code.is_empty() || outcome.codes.iter().any(|code| **code == *self.code))
            && (text.is_empty()
                || outcome.job_id.to_lowercase().contains(text)
                || outcome.agency.to_lowercase().contains(text)
                || outcome.year.to_string() == text)
    }
}

/// A page of what was found, the newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search<'a> {
    /// The page.
    pub found: Vec<&'a Outcome>,
    /// How many there are on all pages.
    pub all: usize,
}

/// What became of jobs, lately.
#[derive(Debug, Clone, Default)]
pub struct History {
    outcomes: VecDeque<Outcome>,
    ids: BTreeSet<Box<str>>,
    minutes: BTreeMap<u64, Bucket>,
    hours: BTreeMap<u64, Hour>,
    /// Events that were read, each once.
    read: u64,
}

impl History {
    /// Notes an outcome; nothing, when it is known.
    pub fn note(&mut self, outcome: Outcome) {
        if !self.ids.insert(outcome.id.clone()) {
            return;
        }
        self.read += 1;
        let Outcome { time, kind, .. } = outcome;
        self.minutes.entry(time / 60).or_default().add(kind, 1);
        while self.minutes.len() as u64 > MINUTES {
            self.minutes.pop_first();
        }
        let hour = self.hours.entry(time / 3_600).or_default();
        hour.all.add(kind, 1);
        let name = counted(&hour.templates, &outcome.template);
        hour.templates.entry(name).or_default().add(kind, 1);
        for code in &outcome.codes {
            *hour.codes.entry(counted(&hour.codes, code)).or_default() += 1;
        }
        while self.hours.len() > HOURS {
            self.hours.pop_first();
        }
        self.outcomes.push_back(outcome);
        if self.outcomes.len() > OUTCOMES
            && let Some(oldest) = self.outcomes.pop_front()
        {
            self.ids.remove(&oldest.id);
        }
    }

    /// How many events were noted since the beginning.
    pub fn read(&self) -> u64 {
        self.read
    }

    /// The newest outcome.
    pub fn newest(&self) -> Option<&Outcome> {
        self.outcomes.back()
    }

    /// Since when outcomes are known one by one, in seconds since 1970.
    pub fn since(&self) -> Option<u64> {
        self.outcomes.front().map(|outcome| outcome.time)
    }

    /// What became of a job, the oldest first.
    pub fn of<'a>(&'a self, job_id: &'a str) -> impl Iterator<Item = &'a Outcome> {
        let all = self.outcomes.iter();
        all.filter(move |outcome| *outcome.job_id == *job_id)
    }

    /// A page of the outcomes that a filter lets through.
    pub fn search(&self, filter: &Filter, page: usize, rows: usize) -> Search<'_> {
        let text = filter.text.trim().to_lowercase();
        let (mut found, mut all) = (Vec::new(), 0);
        for outcome in self.outcomes.iter().rev() {
            if filter.lets_through(outcome, &text) {
                if all / rows.max(1) == page {
                    found.push(outcome);
                }
                all += 1;
            }
        }
        Search { found, all }
    }

    /// Outcomes a minute, at the end of `now`: over the last five minutes, or more, up to an hour,
    /// while there were few.
    pub fn rate(&self, now: u64) -> f64 {
        let last = now / 60;
        let (mut count, mut minutes) = (0, 0);
        // The running minute has not ended.
        for back in 1..=RATE.1 {
            let minute = self.minutes.get(&last.saturating_sub(back));
            count += minute.map_or(0, |minute| minute.all());
            minutes = back;
            if back >= RATE.0 && count >= ENOUGH {
                break;
            }
        }
        // Nothing is known of the time before the first.
        let first = self.minutes.keys().next().copied();
        let known = first.map_or(minutes, |first| last.saturating_sub(first));
        let minutes = minutes.min(known);
        if minutes == 0 {
            let running = self.minutes.get(&last).map_or(0, |minute| minute.all());
            let seconds = (now % 60).max(1);
            return running as f64 * 60.0 / seconds as f64;
        }
        count as f64 / minutes as f64
    }

    /// The counts of the last minutes, the oldest first, the running one last.
    pub fn minutes(&self, now: u64, minutes: u64) -> Vec<(u64, Bucket)> {
        let last = now / 60;
        let first = last.saturating_sub(minutes.saturating_sub(1));
        let bucket = |minute: u64| self.minutes.get(&minute).copied().unwrap_or_default();
        (first..=last).map(|it| (it * 60, bucket(it))).collect()
    }

    /// The counts of the last minutes, the running one included, together.
    pub fn ended(&self, now: u64, minutes: u64) -> Bucket {
        let mut ended = Bucket::default();
        for (_, minute) in self.minutes(now, minutes) {
            ended.merge(minute);
        }
        ended
    }

    /// What is counted from an hour on.
    pub fn load(&self, since: u64) -> Load {
        let mut load = Load::default();
        for (hour, counts) in self.hours.range(since / 3_600..) {
            load.all.merge(counts.all);
            load.hours.insert(hour * 3_600, counts.all);
            for (name, bucket) in &counts.templates {
                let sum = load.templates.entry(name.to_string()).or_default();
                sum.merge(*bucket);
            }
            for (code, count) in &counts.codes {
                *load.codes.entry(code.to_string()).or_default() += count;
            }
        }
        load
    }
}

/// The name under which something is counted.
fn counted<T>(names: &BTreeMap<Box<str>, T>, name: &str) -> Box<str> {
    match names.contains_key(name) || names.len() < NAMES {
        true => name.into(),
        false => "other".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn outcome(number: u64, time: u64, kind: Kind) -> Outcome {
        Outcome {
            offset: number,
            id: format!("event-{number}").into(),
            time,
            kind,
            job_id: format!("job-{number}").into(),
            template: "annual-report/2021".into(),
            agency: "平潭综合实验区".into(),
            year: 2025,
            pages: 5,
            codes: match kind {
                Kind::Completed => Vec::new(),
                _ => vec!["E-SUM".into()],
            },
        }
    }

    #[test]
    fn an_event_that_was_published_twice_is_counted_once() {
        let mut history = History::default();
        for number in [1, 2, 1] {
            history.note(outcome(number, NOW, Kind::Completed));
        }
        assert_eq!(history.load(0).all.completed, 2);
        assert_eq!(
            history.minutes(NOW, 1),
            [(NOW / 60 * 60, history.load(0).all)]
        );
    }

    #[test]
    fn the_rate_is_that_of_the_last_full_minutes() {
        let mut history = History::default();
        let full = NOW / 60 * 60;
        for number in 0..1_200 {
            // Two a second for ten minutes.
            history.note(outcome(number, full - 600 + number / 2, Kind::Completed));
        }
        assert_eq!(history.rate(full + 30), 120.0);
        // Half of the time that counts has nothing in it.
        assert_eq!(history.rate(full + 150), 72.0);
    }

    #[test]
    fn with_few_outcomes_the_rate_looks_further_back() {
        let mut history = History::default();
        let full = NOW / 60 * 60;
        history.note(outcome(0, full - 3_600, Kind::Completed));
        history.note(outcome(1, full - 60, Kind::Failed));
        assert_eq!(history.rate(full), 2.0 / 60.0);
        assert_eq!(History::default().rate(full), 0.0);
    }

    #[test]
    fn memory_is_bounded_whatever_is_in_the_log() {
        let mut history = History::default();
        for number in 0..OUTCOMES as u64 + 500 {
            let mut outcome = outcome(number, NOW + number * 7, Kind::Rejected);
            outcome.template = format!("made-up-{number}").into();
            outcome.codes = vec![format!("E-{number}").into()];
            history.note(outcome);
        }
        assert_eq!(history.outcomes.len(), OUTCOMES);
        assert_eq!(history.ids.len(), OUTCOMES);
        assert!(history.minutes.len() as u64 <= MINUTES);
        assert!(history.hours.len() <= HOURS);
        let most = |hour: &Hour| hour.templates.len().max(hour.codes.len());
        assert!(history.hours.values().all(|hour| most(hour) <= NAMES + 1));
        assert_eq!(history.read(), OUTCOMES as u64 + 500);
    }

    #[test]
    fn a_search_finds_by_every_field_newest_first() {
        let mut history = History::default();
        for number in 0..10 {
            let kind = match number % 2 {
                0 => Kind::Completed,
                _ => Kind::Rejected,
            };
            history.note(outcome(number, NOW + number, kind));
        }
        let count = |filter: Filter| history.search(&filter, 0, 100).all;
        let text = |text: &str| Filter {
            text: text.to_owned(),
            ..Filter::default()
        };
        assert_eq!(count(text("JOB-3")), 1);
        assert_eq!(count(text("平潭")), 10);
        assert_eq!(count(text("2025")), 10);
        assert_eq!(count(text("25")), 0);
        let rejected = Filter {
            kind: Some(Kind::Rejected),
            code: "E-SUM".to_owned(),
            template: "annual-report".to_owned(),
            since: NOW + 3,
            until: NOW + 9,
            ..Filter::default()
        };
        let found = history.search(&rejected, 1, 2);
        assert_eq!(found.all, 3);
        let ids: Vec<_> = found.found.iter().map(|it| &*it.job_id).collect();
        assert_eq!(ids, ["job-3"]);
        assert_eq!(
            count(Filter {
                template: "annual".to_owned(),
                ..Filter::default()
            }),
            0
        );
    }
}

//! What became of certain jobs: the log of events, followed until each has ended.
//!
//! Takes jobs, gives the end of each. Whose content is known is told by the id of its event, which
//! is made of that content: an earlier rejection of another report under the same `job_id` is not
//! this one's. Never holds more than an entry a job and [`PROBLEMS`] problems. If we crash here,
//! nobody misses us: the log is read again.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::{Instant, timeout, timeout_at};
use uuid::Uuid;

use crate::config;
use crate::event::{self, Kind};
use crate::job::is_id;
use crate::problem::{Code, Outage, Problem};
use crate::timing::{BACKOFF, backoff};
use crate::transport::{Entry, From, Log, Observer};

/// The problems that are kept of one job, and of all together. The rest are counted.
const PROBLEMS: (usize, usize) = (20, 20_000);
/// How much two clocks may differ, in seconds.
const CLOCKS: u64 = 600;
/// How often a log may be refused before it is taken for one that can't be read: a broker that just
/// came up refuses it for a moment.
const TRIES: u32 = 5;
/// A log that hands over nothing for so long has nothing more at the moment.
const SILENCE: Duration = Duration::from_secs(5);

/// A job whose end is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Its id.
    pub job_id: Box<str>,
    /// SHA-256 of its content, where that is known.
    pub sha256: Option<Box<str>>,
    /// When it was sent at the earliest, in seconds since 1970; 0 if nobody knows. An earlier
    /// rejection or failure is not its end; an earlier completion of the same content is.
    pub since: u64,
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// How.
    pub kind: Kind,
    /// When, as the event says.
    pub time: Box<str>,
    /// The event's id.
    pub event: Box<str>,
    /// Of a completed one: where its PDF is, with its SHA-256 and its pages.
    pub artifact: Option<(Box<str>, Box<str>, u32)>,
    /// Of a rejected one: what is wrong with it, the first of it at least.
    pub problems: Vec<Problem>,
    /// How many more problems it had.
    pub more: usize,
    /// Of a failed one: the part that was out, and why.
    pub error: Option<(Box<str>, Box<str>)>,
}

/// The ends of the jobs that are wanted.
#[derive(Debug, Default)]
pub struct Ends {
    wanted: Vec<Wanted>,
    ends: Vec<Option<End>>,
    /// By the ids of the events that each may end with.
    events: HashMap<Uuid, usize>,
    /// By the ids of the jobs.
    jobs: HashMap<Box<str>, Vec<usize>>,
    open: usize,
    problems: usize,
}

/// What is read of every event.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    time: Cow<'a, str>,
    #[serde(borrow, default)]
    subject: Option<Cow<'a, str>>,
}

/// What is read of those that are wanted.
#[derive(Deserialize)]
struct Body {
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    #[serde(default)]
    artifact: Option<Artifact>,
    #[serde(default)]
    problems: Vec<Problem>,
    #[serde(default)]
    error: Option<Error>,
}

#[derive(Deserialize)]
struct Artifact {
    uri: Box<str>,
    sha256: Box<str>,
    pages: u32,
}

#[derive(Deserialize)]
struct Error {
    code: Box<str>,
    message: Box<str>,
}

impl Ends {
    /// None is known yet. A job that is wanted twice is wanted once.
    pub fn of(wanted: impl IntoIterator<Item = Wanted>) -> Ends {
        let mut ends = Ends::default();
        for job in wanted {
            let at = ends.wanted.len();
            let same = ends.jobs.entry(job.job_id.clone()).or_default();
            if same.iter().any(|at| ends.wanted[*at].sha256 == job.sha256) {
                continue;
            }
            same.push(at);
            if let Some(sha256) = &job.sha256 {
                // An event says the id only of a job that has a right one.
                let id = Some(&*job.job_id).filter(|id| is_id(id));
                for kind in Kind::ALL {
                    ends.events.insert(event::id(kind, id, sha256), at);
                }
            }
            ends.wanted.push(job);
        }
        ends.open = ends.wanted.len();
        ends.ends.resize(ends.open, None);
        ends
    }

    /// The jobs in their order, each with its end, if it has one by now.
    pub fn iter(&self) -> impl Iterator<Item = (&Wanted, Option<&End>)> {
        self.wanted.iter().zip(self.ends.iter().map(Option::as_ref))
    }

    /// How many there are.
    pub fn all(&self) -> usize {
        self.wanted.len()
    }

    /// How many have not ended.
    pub fn open(&self) -> usize {
        self.open
    }

    /// From when on their events are looked for first, in seconds since 1970.
    fn since(&self) -> u64 {
        let first = self.wanted.iter().map(|job| job.since).min();
        first.unwrap_or_default().saturating_sub(CLOCKS)
    }

    /// Notes an event, if it is the end of one of them.
    fn note(&mut self, entry: &Entry) {
        let Ok(head) = serde_json::from_slice::<Head<'_>>(&entry.event) else {
            return;
        };
        let Some(kind) = Kind::named(&head.kind) else {
            return;
        };
        let exact = Uuid::parse_str(&head.id).ok();
        let exact = exact.and_then(|id| self.events.get(&id).copied());
        let others = head.subject.as_ref().and_then(|id| self.jobs.get(&**id));
        // Of a job whose content is known other events count only if the service can't read it as
        // JSON: then it has another digest there.
        let others = others.into_iter().flatten().copied().filter_map(|at| {
            let unread = self.wanted[at].sha256.is_some();
            (Some(at) != exact && !(unread && exact.is_some())).then_some((at, unread))
        });
        let candidates: Vec<_> = exact
            .map(|at| (at, false))
            .into_iter()
            .chain(others)
            .collect();
        let told = OffsetDateTime::parse(&head.time, &Rfc3339).ok();
        let told = told.and_then(|at| u64::try_from(at.unix_timestamp()).ok());
        for (at, unread) in candidates {
            let lately = told.is_none_or(|told| told + CLOCKS >= self.wanted[at].since);
            if kind != Kind::Completed && !lately {
                continue;
            }
            let Some(mut end) = end(kind, &head, entry, unread) else {
                continue;
            };
            let known = &mut self.ends[at];
            // What is stored stays.
            if known
                .as_ref()
                .is_some_and(|end| end.kind == Kind::Completed)
            {
                continue;
            }
            // One at least, of however many jobs.
            let room = PROBLEMS.1.saturating_sub(self.problems);
            let kept = room.clamp(1, PROBLEMS.0);
            end.more = end.problems.len().saturating_sub(kept);
            end.problems.truncate(kept);
            self.problems += end.problems.len();
            if known.replace(end).is_none() {
                self.open -= 1;
            }
        }
    }
}

/// The end that an event tells; none, where it tells another job's.
fn end(kind: Kind, head: &Head<'_>, entry: &Entry, unread: bool) -> Option<End> {
    let Data {
        artifact,
        problems,
        error,
    } = serde_json::from_slice::<Body>(&entry.event).ok()?.data;
    if unread && !problems.iter().any(|problem| problem.code == Code::JSON) {
        return None;
    }
    Some(End {
        kind,
        time: (*head.time).into(),
        event: (*head.id).into(),
        artifact: artifact.map(|it| (it.uri, it.sha256, it.pages)),
        problems,
        more: 0,
        error: error.map(|error| (error.code, error.message)),
    })
}

/// Follows the log until all have ended. It begins when they were sent, and looks at what was
/// before that when it has caught up with the log. A broker that goes away is waited for. `told` is
/// called with the reason then, and with none when something was read. Once the log was read as far
/// as it goes, it waits no longer than to the `deadline`.
///
/// # Errors
/// When the broker, or the spool, can't be reached at first, or has no log to be read.
pub async fn follow(
    settings: &config::Queue,
    ends: &mut Ends,
    deadline: Option<Instant>,
    mut told: impl FnMut(&Ends, Option<&Outage>),
) -> Result<(), Outage> {
    let mut observer = Observer::open(settings).await?;
    let mut place = Place {
        begun: false,
        newest: None,
        since: ends.since(),
        deadline,
        first: None,
        last: None,
        looked_back: false,
    };
    let (mut tries, mut refused) = (0, 0);
    while ends.open() > 0 {
        let before = place.last;
        let outage = match place.read(&observer, ends, &mut told).await {
            Ok(()) => break,
            Err(outage) => outage,
        };
        if place.last != before {
            tries = 0;
        }
        refused += u32::from(!place.begun);
        if refused >= TRIES {
            return Err(outage);
        }
        told(ends, Some(&outage));
        loop {
            if deadline.is_some_and(|at| Instant::now() >= at) {
                observer.close().await;
                return Ok(());
            }
            tokio::time::sleep(backoff(BACKOFF, tries)).await;
            tries += 1;
            match Observer::open(settings).await {
                Ok(other) => {
                    std::mem::replace(&mut observer, other).close().await;
                    break;
                }
                Err(outage) => told(ends, Some(&outage)),
            }
        }
    }
    observer.close().await;
    Ok(())
}

/// How far the log was read.
struct Place {
    /// Whether the log could be read at all.
    begun: bool,
    /// The newest event when it was.
    newest: Option<u64>,
    since: u64,
    deadline: Option<Instant>,
    /// The first and the last that were read.
    first: Option<u64>,
    last: Option<u64>,
    looked_back: bool,
}

impl Place {
    /// Reads on until all have ended, or the time is up.
    async fn read(
        &mut self,
        observer: &Observer,
        ends: &mut Ends,
        told: &mut impl FnMut(&Ends, Option<&Outage>),
    ) -> Result<(), Outage> {
        if !self.begun {
            self.newest = observer.newest().await?.map(|entry| entry.offset);
            self.begun = true;
        }
        let from = match (self.last, self.since) {
            (Some(last), _) => From::Offset(last + 1),
            (None, 0) => From::Offset(0),
            (None, since) => From::Time(since),
        };
        let mut log = observer.log(from).await?;
        self.looked_back |= self.since == 0;
        while ends.open() > 0 {
            let caught_up = self.newest.is_none_or(|newest| self.last >= Some(newest));
            if caught_up && !self.looked_back {
                self.look_back(observer, ends).await?;
                told(ends, None);
                continue;
            }
            let limit = match caught_up {
                true => self.deadline,
                false => Some(Instant::now() + SILENCE),
            };
            let entry = match limit {
                None => log.next().await,
                Some(at) => match timeout_at(at, log.next()).await {
                    Ok(entry) => entry,
                    Err(_) if caught_up => return Ok(()),
                    Err(_) => {
                        // All that it has is older.
                        self.newest = None;
                        continue;
                    }
                },
            };
            let entry = entry?;
            self.first.get_or_insert(entry.offset);
            self.last = Some(entry.offset);
            ends.note(&entry);
            told(ends, None);
        }
        Ok(())
    }

    /// Reads what was before the first that was read.
    async fn look_back(&mut self, observer: &Observer, ends: &mut Ends) -> Result<(), Outage> {
        let end = match self.first {
            Some(first) => first.checked_sub(1),
            None => observer.newest().await?.map(|entry| entry.offset),
        };
        if let Some(end) = end {
            let mut log: Log = observer.log(From::Offset(0)).await?;
            // What was there may go away meanwhile, at its age's end.
            while let Ok(entry) = timeout(SILENCE, log.next()).await {
                let entry = entry?;
                if entry.offset <= end {
                    ends.note(&entry);
                }
                if entry.offset >= end || ends.open() == 0 {
                    break;
                }
            }
        }
        self.looked_back = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::event::Event;
    use crate::job::Identity;

    const SENT: u64 = 1_900_000_000;

    fn wanted(job_id: &str, sha256: Option<&str>, since: u64) -> Wanted {
        Wanted {
            job_id: job_id.into(),
            sha256: sha256.map(Into::into),
            since,
        }
    }

    /// A rejection of a job with this content, told at a time.
    fn rejected(job_id: &str, sha256: &str, code: Code, at: u64) -> Entry {
        let identity = Identity {
            job_id: Some(job_id.to_owned()),
            template: None,
            key: None,
            sha256: sha256.to_owned(),
        };
        let problems = vec![Problem::new(code, "/data", "wrong", "错"); 30];
        let event = Event::rejected(&identity, &problems, "here");
        let mut event: serde_json::Value =
            serde_json::from_slice(&event.structured()).expect("JSON");
        let at = OffsetDateTime::from_unix_timestamp(at.cast_signed()).expect("a time");
        event["time"] = json!(at.format(&Rfc3339).expect("a time"));
        Entry {
            offset: 0,
            routing_key: String::new(),
            event: event.to_string().into_bytes(),
        }
    }

    fn codes(ends: &Ends) -> Vec<Option<Code>> {
        let end = |(_, end): (&Wanted, Option<&End>)| Some(end?.problems[0].code);
        ends.iter().map(end).collect()
    }

    #[test]
    fn the_end_of_other_content_under_the_same_id_is_not_the_jobs() {
        let mut ends = Ends::of([wanted("job", Some("new"), 0)]);
        ends.note(&rejected("job", "old", Code::SCHEMA, SENT));
        assert_eq!(ends.open(), 1);
        ends.note(&rejected("job", "new", Code::CONFLICT, SENT));
        assert_eq!((ends.open(), codes(&ends)), (0, vec![Some(Code::CONFLICT)]));
    }

    #[test]
    fn a_rejection_before_the_job_was_sent_is_not_its_end() {
        let mut ends = Ends::of([wanted("job", Some("same"), SENT)]);
        ends.note(&rejected("job", "same", Code::SCHEMA, SENT - 2 * CLOCKS));
        assert_eq!(ends.open(), 1);
        ends.note(&rejected("job", "same", Code::SCHEMA, SENT + 1));
        assert_eq!(ends.open(), 0);
    }

    #[test]
    fn a_job_that_the_service_cannot_read_has_another_digest_there() {
        let mut ends = Ends::of([wanted("job", Some("ours"), SENT)]);
        ends.note(&rejected("job", "theirs", Code::JSON, SENT));
        assert_eq!(codes(&ends), [Some(Code::JSON)]);
    }

    #[test]
    fn of_an_id_alone_the_last_end_counts_and_few_of_its_problems_are_kept() {
        let mut ends = Ends::of([wanted("job", None, 0), wanted("job", None, 0)]);
        assert_eq!(ends.all(), 1);
        ends.note(&rejected("job", "a", Code::SCHEMA, SENT));
        ends.note(&rejected("job", "b", Code::GLYPH, SENT));
        assert_eq!(codes(&ends), [Some(Code::GLYPH)]);
        let (_, end) = ends.iter().next().expect("one");
        let end = end.expect("its end");
        assert_eq!((end.problems.len(), end.more), (20, 10));
    }
}

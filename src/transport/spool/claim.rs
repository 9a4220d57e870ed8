//! Finding the jobs that wait, and holding one.
//!
//! Takes a [`Home`], gives a [`Claim`] on the job whose turn it is. Never lets go of one that was
//! not settled without requeueing it. If we crash here, the claim is in our folder, and the next
//! worker requeues it.

use std::collections::{BTreeSet, BinaryHeap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirEntry, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirEntryExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use metrics::gauge;
use opentelemetry::trace::SpanContext;
use tokio::sync::OwnedSemaphorePermit;

use super::folders::{Back, CLAIMED, Home, JOBS, Kind, RETRY, kind, open_job, read_job};
use super::ticket::{Ticket, millis, unix_millis};
use super::{Handle, LOOK};
use crate::disk;
use crate::problem::{Outage, Part};
use crate::telemetry::metric;
use crate::timing::Deadline;
use crate::transport::{self, Delivery, Lane, retry_wait};

/// How long a file whose name ends otherwise than a job's may be one that is still being written.
const WRITTEN: Duration = Duration::from_secs(60);

/// How many files that are no jobs are remembered as logged.
const LOGGED: usize = 1000;

/// How many names of a folder are held in memory. The rest is found when these are handed out.
const LISTING: usize = 10_000;

/// A job in our folder. Dropping it requeues it, unless it was settled.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) home: Arc<Home>,
    pub(super) path: PathBuf,
    pub(super) ticket: Ticket,
    /// Whether a worker has had it. Before that, requeueing it is not a try.
    handed_out: AtomicBool,
    settled: AtomicBool,
    /// Whether the disk did not do what was asked: then requeueing it is not a try either.
    excused: AtomicBool,
}

impl Claim {
    /// The disk did not do what was asked: no more jobs come in until it does, and this one's end
    /// is not its own fault.
    pub(super) fn excuse(&self) {
        self.home.mark_unwritable();
        self.excused.store(true, Ordering::SeqCst);
    }

    fn is_settled(&self) -> bool {
        self.settled.load(Ordering::SeqCst)
    }

    fn settle(&self) {
        self.settled.store(true, Ordering::SeqCst);
    }

    /// Moves the job to wait for its next attempt, safely.
    pub(super) fn retry(&self, attempt: u32) -> io::Result<()> {
        self.wait(retry_wait(attempt).1, attempt.saturating_add(1))
    }

    /// Moves the job to wait for a moment, safely.
    pub(super) fn postpone(&self) -> io::Result<()> {
        self.wait(retry_wait(1).1, self.ticket.attempt)
    }

    fn wait(&self, wait: Duration, attempt: u32) -> io::Result<()> {
        File::open(&self.path)?.sync_all()?;
        let ticket = Ticket {
            due: unix_millis() + millis(wait),
            attempt,
            ..self.ticket.clone()
        };
        self.home.wait(&self.path, ticket)?;
        self.settle();
        disk::sync_dir(&self.home.folder(RETRY))?;
        disk::sync_dir(&self.home.dir)
    }

    /// Removes the claim, and with it the job.
    pub(super) fn ack(&self) -> io::Result<()> {
        if self.is_settled() {
            return Ok(());
        }
        fs::remove_file(&self.path)?;
        self.settle();
        disk::sync_dir(&self.home.dir)
    }

    /// Puts the job back as it was: nobody worked on it.
    pub(super) fn release(&self) -> io::Result<()> {
        if !self.is_settled() {
            self.home.put_back(&self.path, self.ticket.clone())?;
            self.settle();
        }
        Ok(())
    }

    pub(super) fn outage(&self, what: &str, error: io::Error) -> Outage {
        disk::outage(Part::Transport, what, &self.path, error)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.is_settled() {
            return;
        }
        let flag = |flag: &AtomicBool| flag.load(Ordering::SeqCst);
        let back = match (flag(&self.handed_out), flag(&self.excused)) {
            (false, _) => Back::AsItWas,
            (true, true) => Back::Later,
            (true, false) => Back::Tried,
        };
        self.home.requeue_later(&self.path, &self.ticket, back);
    }
}

/// A job found and claimed, not yet handed out.
#[derive(Debug)]
pub(super) struct Found {
    claim: Claim,
    body: Vec<u8>,
    /// Whether it comes from among those that wait.
    waited: bool,
}

impl Found {
    /// Puts the job back as it was.
    pub(super) fn release(&self) -> io::Result<()> {
        self.claim.release()
    }

    pub(super) fn hand_out(self, permit: OwnedSemaphorePermit) -> Delivery {
        let Found {
            claim,
            body,
            waited,
        } = self;
        claim.handed_out.store(true, Ordering::SeqCst);
        Delivery {
            body,
            lane: Lane::Bulk,
            redelivered: waited || !claim.ticket.is_fresh(),
            attempt: claim.ticket.attempt,
            message_id: None,
            correlation_id: None,
            reply_to: None,
            trace: SpanContext::NONE,
            timestamp: None,
            deadline: Deadline::NONE,
            handle: transport::Handle::Spool(Handle {
                claim: Arc::new(claim),
                _permit: permit,
            }),
        }
    }
}

/// What is known of the jobs that wait.
#[derive(Debug)]
pub(super) struct Finder {
    home: Arc<Home>,
    /// In `retry/`, the first to be due at the front, with their names as they really are.
    retries: VecDeque<(Ticket, OsString)>,
    /// In `jobs/`, the oldest at the front.
    jobs: VecDeque<OsString>,
    /// When dead workers and `retry/` were last looked at.
    looked: Option<Instant>,
    /// Files among the jobs that are none, as far as they were logged.
    ignored: BTreeSet<OsString>,
}

impl Finder {
    pub(super) fn new(home: Arc<Home>) -> Finder {
        Finder {
            home,
            retries: VecDeque::new(),
            jobs: VecDeque::new(),
            looked: None,
            ignored: BTreeSet::new(),
        }
    }

    /// Claims the next job.
    pub(super) fn next(&mut self) -> Result<Option<Found>, Outage> {
        self.home.check_writable()?;
        if self.looked.is_none_or(|looked| looked.elapsed() >= LOOK) {
            self.look()?;
            self.looked = Some(Instant::now());
        }
        let now = unix_millis();
        while let Some((ticket, file)) = self.retries.pop_front_if(|(ticket, _)| ticket.is_due(now))
        {
            if let Some(found) = self.claim(RETRY, &file, ticket)? {
                return Ok(Some(found));
            }
        }
        if self.jobs.is_empty() {
            self.jobs = self.list_jobs()?;
        }
        while let Some(file) = self.jobs.pop_front() {
            let ticket = Ticket::fresh(&file, String::new());
            if let Some(found) = self.claim(JOBS, &file, ticket)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    pub(super) fn look(&mut self) -> Result<(), Outage> {
        let retry = self.home.folder(RETRY);
        let outage = |path: &Path| {
            let path = path.to_owned();
            move |error| disk::outage(Part::Transport, "list", &path, error)
        };
        self.home.requeue_dropped();
        self.home
            .sweep()
            .map_err(outage(&self.home.folder(CLAIMED)))?;
        let mut waiting = Oldest::default();
        for entry in fs::read_dir(&retry).map_err(outage(&retry))? {
            let entry = entry.map_err(outage(&retry))?;
            let file = entry.file_name();
            if let Some(ticket) = Ticket::parse(&file)
                && !self.home.unsettled.skips(&entry.path(), entry.ino())
            {
                waiting.add((ticket, file));
            }
        }
        self.retries = waiting.sorted();
        self.home.count_unsettled();
        Ok(())
    }

    /// The oldest jobs, by time and name. A file that cannot be looked at holds up no other.
    fn list_jobs(&mut self) -> Result<VecDeque<OsString>, Outage> {
        let jobs = self.home.folder(JOBS);
        let outage = |error| disk::outage(Part::Transport, "list", &jobs, error);
        let mut oldest = Oldest::default();
        let mut ignored = Ignored::default();
        let mut first = Ok(());
        for entry in fs::read_dir(&jobs).map_err(outage)? {
            let looked = entry.and_then(|entry| match kind(&entry)? {
                Kind::Job => self.age(&entry),
                Kind::Hidden => Ok(None),
                kind => {
                    ignored.add(&entry, kind);
                    Ok(None)
                }
            });
            match looked {
                Ok(Some(job)) => oldest.add(job),
                Ok(None) => {}
                Err(error) => first = first.and(Err(error)),
            }
        }
        self.log_ignored(ignored);
        let oldest = oldest.sorted();
        if oldest.is_empty() {
            first.map_err(outage)?;
        }
        Ok(oldest.into_iter().map(|(_, file)| file).collect())
    }

    /// A job and its age, unless it is to be left alone.
    fn age(&self, entry: &DirEntry) -> io::Result<Option<(SystemTime, OsString)>> {
        if self.home.unsettled.skips(&entry.path(), entry.ino()) {
            return Ok(None);
        }
        match entry.metadata().and_then(|metadata| metadata.modified()) {
            Ok(modified) => Ok(Some((modified, entry.file_name()))),
            // Claimed by another worker meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Logs of each file once that it is not taken, and what to do.
    fn log_ignored(&mut self, ignored: Ignored) {
        gauge!(metric::SPOOL_IGNORED).set(ignored.count as f64);
        let jobs = self.home.folder(JOBS);
        for (file, fix) in &ignored.logged {
            if !self.ignored.contains(file) {
                let path = jobs.join(file);
                tracing::warn!(file = %path.display(), "{} is not taken: {fix}", path.display());
            }
        }
        self.ignored = ignored.logged.into_iter().map(|(file, _)| file).collect();
    }

    /// Moves a job into our folder and reads it. `None` when another worker was faster, or the
    /// file is none that can be taken: that one stays where it is.
    fn claim(&self, folder: &str, file: &OsStr, ticket: Ticket) -> Result<Option<Found>, Outage> {
        let home = &self.home;
        let from = home.folder(folder).join(file);
        let outage = |error| disk::outage(Part::Transport, "claim", &from, error);
        // Before it is moved: moving takes no right to the file, putting it back would.
        match open_job(&from) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound && home.dir.exists() => {
                return Ok(None);
            }
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(outage(error)),
            Err(error) => {
                unreadable(home, &from, &error);
                return Ok(None);
            }
        }
        let ticket = Ticket {
            due: 0,
            token: home.token(),
            ..ticket
        };
        let path = home.dir.join(ticket.to_string());
        match fs::rename(&from, &path) {
            Ok(()) => {}
            // One of several workers gets it: a rename is done once.
            Err(error) if error.kind() == ErrorKind::NotFound && home.dir.exists() => {
                return Ok(None);
            }
            // This file's own trouble (it cannot be changed, its folder is sticky), where EACCES
            // is that of a folder.
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
                home.cannot("claim", &from, &error);
                return Ok(None);
            }
            Err(error) => return Err(outage(error)),
        }
        match read_job(&path) {
            Ok(body) => {
                home.unstuck(&from);
                let claim = Claim {
                    home: Arc::clone(home),
                    path,
                    ticket,
                    handed_out: AtomicBool::new(false),
                    settled: AtomicBool::new(false),
                    excused: AtomicBool::new(false),
                };
                let waited = folder == RETRY;
                Ok(Some(Found {
                    claim,
                    body,
                    waited,
                }))
            }
            Err(error) => {
                let back = match folder {
                    RETRY => fs::rename(&path, &from).map(|()| from.clone()),
                    _ => home.put_back(&path, ticket.clone()),
                };
                match back {
                    Ok(back) => unreadable(home, &back, &error),
                    Err(_) => home.requeue_later(&path, &ticket, Back::AsItWas),
                }
                Ok(None)
            }
        }
    }
}

fn unreadable(home: &Home, path: &Path, error: &io::Error) {
    let fix = match error.kind() {
        ErrorKind::PermissionDenied => "let the user that banshi runs as read it",
        kind => disk::fix(kind),
    };
    let message = format!(
        "cannot read {}, and leave it there: {error}; {fix}, and it is taken within a minute",
        path.display()
    );
    home.stuck(path, "unreadable", &message);
}

/// Files among the jobs that are none: how many, and the first of them, with what to do.
#[derive(Default)]
struct Ignored {
    count: usize,
    logged: Vec<(OsString, &'static str)>,
}

impl Ignored {
    fn add(&mut self, entry: &DirEntry, kind: Kind) {
        self.count += 1;
        let file = entry.file_name();
        let small = file.as_encoded_bytes().to_ascii_lowercase();
        let fix = match kind {
            Kind::Link => "it is a link; move the file itself there",
            Kind::NoFile => "it is no regular file; move the jobs themselves there",
            _ if small.ends_with(b".json") => {
                "rename it so that it ends in .json, in small letters"
            }
            _ if is_being_written(entry) => return,
            _ => "its name does not end in .json; rename it if it is a job, or move it elsewhere",
        };
        if self.logged.len() < LOGGED {
            self.logged.push((file, fix));
        }
    }
}

/// Whether a file was changed so short a time ago that it may get its name yet.
fn is_being_written(entry: &DirEntry) -> bool {
    let modified = entry.metadata().and_then(|metadata| metadata.modified());
    let age = modified.ok().and_then(|modified| modified.elapsed().ok());
    age.is_none_or(|age| age < WRITTEN)
}

/// The first of many, in order, without holding them all.
struct Oldest<T>(BinaryHeap<T>);

impl<T: Ord> Default for Oldest<T> {
    fn default() -> Self {
        Oldest(BinaryHeap::new())
    }
}

impl<T: Ord> Oldest<T> {
    fn add(&mut self, item: T) {
        self.0.push(item);
        if self.0.len() > LISTING {
            self.0.pop();
        }
    }

    fn sorted(self) -> VecDeque<T> {
        self.0.into_sorted_vec().into()
    }
}

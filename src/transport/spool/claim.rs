//! Finding the jobs that wait, and holding one.
//!
//! Takes a [`Home`], gives a [`Claim`] on the job whose turn it is. Never lets go of one that was
//! not settled without giving it back. If we crash here, the claim is in our folder, and the next
//! worker gives it back.

use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::OwnedSemaphorePermit;

use super::folders::{CLAIMED, Home, JOBS, RETRY, is_job, read_job};
use super::ticket::{Ticket, millis, unix_millis};
use super::{Handle, LOOK};
use crate::disk;
use crate::problem::{Outage, Part};
use crate::timing::Deadline;
use crate::transport::{self, Delivery, Lane, retry_wait};

/// How long a file that cannot be taken is left alone.
const SHUN: Duration = Duration::from_secs(60);

/// How many names of a folder are held in memory. The rest is found when these are handed out.
const LISTING: usize = 10_000;

/// A job in our folder. Dropping it gives it back, unless it was settled.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) home: Arc<Home>,
    pub(super) path: PathBuf,
    pub(super) ticket: Ticket,
    /// Whether a worker has had it. Before that, giving it back is not a try.
    handed_out: AtomicBool,
    settled: AtomicBool,
}

impl Claim {
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
        let back = match self.handed_out.load(Ordering::SeqCst) {
            _ if self.is_settled() => return,
            true => self.home.give_back(&self.path, &self.ticket),
            false => self.release(),
        };
        match back {
            Ok(()) => {}
            // Given back when the intake closed.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(%error, "cannot give back {}: {error}", self.path.display())
            }
        }
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
            traceparent: None,
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
    /// Files that could not be taken, and when.
    shunned: BTreeMap<OsString, Instant>,
}

impl Finder {
    pub(super) fn new(home: Arc<Home>) -> Finder {
        Finder {
            home,
            retries: VecDeque::new(),
            jobs: VecDeque::new(),
            looked: None,
            shunned: BTreeMap::new(),
        }
    }

    /// Claims the next job.
    pub(super) fn next(&mut self) -> Result<Option<Found>, Outage> {
        self.home.clear()?;
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
        self.home
            .sweep()
            .map_err(outage(&self.home.folder(CLAIMED)))?;
        let mut waiting = Oldest::default();
        for entry in fs::read_dir(&retry).map_err(outage(&retry))? {
            let file = entry.map_err(outage(&retry))?.file_name();
            if let Some(ticket) = Ticket::parse(&file) {
                waiting.add((ticket, file));
            }
        }
        self.retries = waiting.sorted();
        self.shunned.retain(|_, since| since.elapsed() < SHUN);
        Ok(())
    }

    /// The oldest jobs, by time and name.
    fn list_jobs(&self) -> Result<VecDeque<OsString>, Outage> {
        let jobs = self.home.folder(JOBS);
        let list = || {
            let mut oldest = Oldest::default();
            for entry in fs::read_dir(&jobs)? {
                let entry = entry?;
                if is_job(&entry)? && !self.shunned.contains_key(&entry.file_name()) {
                    match entry.metadata().and_then(|metadata| metadata.modified()) {
                        Ok(modified) => oldest.add((modified, entry.file_name())),
                        // Claimed by another worker meanwhile.
                        Err(error) if error.kind() == ErrorKind::NotFound => {}
                        Err(error) => return Err(error),
                    }
                }
            }
            Ok(oldest.sorted().into_iter().map(|(_, file)| file).collect())
        };
        list().map_err(|error| disk::outage(Part::Transport, "list", &jobs, error))
    }

    /// Moves a job into our folder and reads it. `None` when another worker was faster, or the
    /// file is none that can be taken.
    fn claim(
        &mut self,
        folder: &str,
        file: &OsStr,
        ticket: Ticket,
    ) -> Result<Option<Found>, Outage> {
        let home = &self.home;
        let from = home.folder(folder).join(file);
        let ticket = Ticket {
            due: 0,
            token: home.token(),
            ..ticket
        };
        let path = home.dir.join(ticket.to_string());
        let outage = |error| disk::outage(Part::Transport, "claim", &from, error);
        match fs::rename(&from, &path) {
            Ok(()) => {}
            // One of several workers gets it: a rename is done once.
            Err(error) if error.kind() == ErrorKind::NotFound && home.dir.exists() => {
                return Ok(None);
            }
            Err(error) => return Err(outage(error)),
        }
        match read_job(&path) {
            Ok(body) => {
                let (handed_out, settled) = (AtomicBool::new(false), AtomicBool::new(false));
                let claim = Claim {
                    home: Arc::clone(home),
                    path,
                    ticket,
                    handed_out,
                    settled,
                };
                let waited = folder == RETRY;
                Ok(Some(Found {
                    claim,
                    body,
                    waited,
                }))
            }
            Err(error) => {
                tracing::warn!(%error, "cannot read {}, and leave it there: {error}", from.display());
                let due = unix_millis() + millis(SHUN);
                let file = home
                    .put_back(&path, Ticket { due, ..ticket })
                    .map_err(outage)?;
                self.shunned.insert(file, Instant::now());
                Ok(None)
            }
        }
    }
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

//! Jobs and events as files in folders.
//!
//! Takes jobs from a folder, gives events into another. Never lets go of a job before its end is
//! safe on the disk: a job is always in exactly one of `jobs/`, `claimed/`, `retry/` and `dead/`
//! (a moment in two of them, never in none). If we crash here, the kernel lets go of our lock, and
//! the next worker finds our claims and gives them back.
//!
//! ```text
//! jobs/NAME.json                                     dropped in by the sender (written elsewhere, renamed in)
//! claimed/WORKER/.lock                               locked by the worker as long as it lives
//! claimed/WORKER/TICKET.NAME.json                    jobs it holds
//! retry/TICKET.NAME.json                             jobs that wait; TICKET begins with when they are due
//! events/EVENT-ID.json                               CloudEvents
//! dead/NAME.json, dead/NAME.reason.json              what was rejected, failed or crashed, and why
//! ```
//!
//! Everything that must be remembered of a job is in its file's name (see `Ticket`), so that it
//! changes in one rename with the place. Files are moved with hard links where the new name may
//! be taken by somebody else's file, and with renames where it is ours alone.

use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io::{self, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinHandle, spawn_blocking};

use super::{DeadJob, Delivery, Lane, RETRY_WAITS, Reason, State, Verdict, retry_wait};
use crate::disk;
use crate::event::Event;
use crate::problem::{Outage, Part};

/// The folders of a spool.
const FOLDERS: [&str; 5] = [JOBS, CLAIMED, RETRY, EVENTS, DEAD];
const JOBS: &str = "jobs";
const CLAIMED: &str = "claimed";
const RETRY: &str = "retry";
const EVENTS: &str = "events";
const DEAD: &str = "dead";

/// The file in a worker's folder that it holds a lock on.
const LOCK: &str = ".lock";

/// The end of the name of a dead job's reason.
const REASON: &str = ".reason";

/// The code of a job that killed its workers, or was dropped by them, too often.
const CRASHED: &str = "crashed";

/// How often a job may come back without a verdict: its worker died, or dropped it.
const MAX_TRIES: u32 = 10;

/// How long an empty spool is left alone.
const POLL: Duration = Duration::from_millis(250);

/// How often dead workers and jobs that have become due are looked for.
const LOOK: Duration = Duration::from_secs(1);

/// How long a file that cannot be taken is left alone.
const SHUN: Duration = Duration::from_secs(60);

/// How many names of a folder are held in memory. The rest is found when these are handed out.
const LISTING: usize = 10_000;

/// Bytes of a file that are read as a job, far above every limit: the rest cannot make it right.
const MAX_BODY: u64 = 64 << 20;

/// Bytes of NAME, so that a name with its ticket fits into the 255 of a file system.
const MAX_NAME: usize = 120;

/// The folder and its subfolders.
#[derive(Debug)]
struct Spool {
    root: PathBuf,
}

impl Spool {
    fn make(dir: &Path) -> Result<Spool, Outage> {
        let outage = |error| disk::outage(Part::Transport, "open the spool", dir, error);
        let dir = if dir.as_os_str().is_empty() {
            Path::new(".")
        } else {
            dir
        };
        disk::make_root(dir).map_err(outage)?;
        let root = dir.canonicalize().map_err(outage)?;
        for folder in FOLDERS {
            disk::make_dir(&root.join(folder), &root).map_err(outage)?;
        }
        Ok(Spool { root })
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }
}

/// What a job's file in `claimed/` or `retry/` is called:
/// `{due}.{attempt}.{tries}.{token}.{name}.json`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Ticket {
    /// When it is to be taken, in milliseconds since 1970. Padded, so that names sort by it.
    due: u64,
    /// The attempt it is on, from 1.
    attempt: u32,
    /// How often it came back without a verdict.
    tries: u32,
    /// Makes the name unique: worker and number.
    token: String,
    /// The sender's NAME, made harmless. It means nothing to us.
    name: String,
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ticket {
            due,
            attempt,
            tries,
            token,
            name,
        } = self;
        write!(f, "{due:013}.{attempt}.{tries}.{token}.{name}.json")
    }
}

impl Ticket {
    fn parse(file: &OsStr) -> Option<Ticket> {
        let mut parts = file.to_str()?.strip_suffix(".json")?.splitn(5, '.');
        let mut part = || parts.next();
        Some(Ticket {
            due: part()?.parse().ok()?,
            attempt: part()?.parse().ok().filter(|attempt| *attempt > 0)?,
            tries: part()?.parse().ok()?,
            token: part()?.to_owned(),
            name: part()?.to_owned(),
        })
    }

    /// A job that comes from `jobs/`: nothing is known of it.
    fn fresh(file: &OsStr, token: String) -> Ticket {
        let file = file.to_string_lossy();
        let name = safe_name(file.strip_suffix(".json").unwrap_or(&file));
        Ticket {
            due: 0,
            attempt: 1,
            tries: 0,
            token,
            name,
        }
    }

    fn is_fresh(&self) -> bool {
        self.attempt == 1 && self.tries == 0
    }

    /// Whether it may be taken. One that is further away than the longest wait was written by
    /// another clock, and is taken as well.
    fn is_due(&self, now: u64) -> bool {
        let longest = RETRY_WAITS
            .map(|(_, wait)| millis(wait))
            .into_iter()
            .max()
            .unwrap_or(0);
        self.due <= now || self.due > now.saturating_add(2 * longest)
    }
}

/// A worker's or a sender's own folder: `claimed/WORKER`, with a lock that says that it lives.
#[derive(Debug)]
struct Home {
    spool: Spool,
    name: String,
    dir: PathBuf,
    count: AtomicU64,
    _lock: File,
}

impl Home {
    /// Opens the spool and moves in. This also finds out whether files can be written and linked
    /// here, before a job depends on it.
    fn make(dir: &Path) -> Result<Home, Outage> {
        let spool = Spool::make(dir)?;
        let name = format!("{}-{:08x}", std::process::id(), rand::random::<u32>());
        let claimed = spool.folder(CLAIMED);
        // Locked before it gets its name: a named folder with a free lock is a dead worker's.
        let hidden = claimed.join(format!(".new-{name}"));
        let lock = Home::lock(&hidden).and_then(|lock| {
            fs::rename(&hidden, claimed.join(&name))?;
            Ok(lock)
        });
        let lock =
            lock.map_err(|error| disk::outage(Part::Transport, "open the spool", &claimed, error))?;
        let home = Home {
            dir: claimed.join(&name),
            spool,
            name,
            count: AtomicU64::new(0),
            _lock: lock,
        };
        let probe = home.dir.join(".probe");
        disk::put_new(&home.temp(), &probe, b"")
            .and_then(|_| fs::remove_file(&probe))
            .map_err(|error| {
                disk::outage(Part::Transport, "write and link files in", &home.dir, error)
            })?;
        Ok(home)
    }

    fn lock(dir: &Path) -> io::Result<File> {
        fs::create_dir(dir)?;
        let lock = File::create_new(dir.join(LOCK))?;
        lock.lock()?;
        Ok(lock)
    }

    /// A name that nobody has had.
    fn token(&self) -> String {
        format!(
            "{}-{}",
            self.name,
            self.count.fetch_add(1, Ordering::Relaxed)
        )
    }

    /// A place to write a file before it gets its name. Swept with this folder.
    fn temp(&self) -> PathBuf {
        self.dir.join(format!(".tmp-{}", self.token()))
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.spool.folder(name)
    }

    /// Moves a job that ended without a verdict back among those that wait, or, after too many
    /// times, among the dead.
    fn give_back(&self, path: &Path, ticket: &Ticket) -> io::Result<()> {
        let tries = ticket.tries + 1;
        if tries >= MAX_TRIES {
            let message = format!(
                "came back {tries} times without a verdict: its workers died or dropped it"
            );
            let reason = Reason {
                code: CRASHED.to_owned(),
                message,
                event: CRASHED,
            };
            self.bury(path, &ticket.name, &reason)?;
            tracing::error!(job.file = %ticket.name, "buried {}: {}", ticket.name, reason.message);
            return remove(path);
        }
        let wait = match tries {
            1 => Duration::ZERO,
            // Jobs that were in the same hands when a worker died come back apart, so that one
            // which kills its workers does not take the same neighbours along every time.
            _ => retry_wait(tries - 1)
                .1
                .mul_f64(rand::random_range(0.5..1.5)),
        };
        self.wait(
            path,
            Ticket {
                due: unix_millis() + millis(wait),
                tries,
                ..ticket.clone()
            },
        )
    }

    /// Moves a job back as it was, and says where to.
    fn put_back(&self, path: &Path, ticket: Ticket) -> io::Result<OsString> {
        if !ticket.is_fresh() {
            let file = ticket.to_string().into();
            return self.wait(path, ticket).map(|()| file);
        }
        let name = link_once(path, &self.folder(JOBS), &ticket.name)?;
        fs::remove_file(path)?;
        Ok(format!("{name}.json").into())
    }

    /// Moves a job among those that wait, in one step, under a name that is ours alone.
    fn wait(&self, path: &Path, ticket: Ticket) -> io::Result<()> {
        fs::rename(path, self.folder(RETRY).join(ticket.to_string()))
    }

    /// Gives a job a second name among the dead and writes its reason beside it.
    fn bury(&self, path: &Path, name: &str, reason: &Reason) -> io::Result<()> {
        // What was not synced by its sender is ours to sync now: the claim is going to go.
        File::open(path)?.sync_all()?;
        let dead = self.folder(DEAD);
        let buried = link_once(path, &dead, name)?;
        let text = json!({ "code": reason.code, "message": reason.message, "event": reason.event });
        let file = dead.join(format!("{buried}{REASON}.json"));
        disk::replace(&self.temp(), &file, format!("{text:#}\n").as_bytes())
    }

    /// Gives back what dead workers held.
    fn sweep(&self) -> io::Result<()> {
        for entry in fs::read_dir(self.folder(CLAIMED))? {
            let entry = entry?;
            let name = entry.file_name();
            let ours = name
                .to_str()
                .is_none_or(|name| name.starts_with('.') || name == self.name);
            if ours || !entry.file_type()?.is_dir() {
                continue;
            }
            if let Err(error) = self.inherit(&entry.path()) {
                tracing::warn!(%error, "cannot take over {}: {error}", entry.path().display());
            }
        }
        Ok(())
    }

    fn inherit(&self, dir: &Path) -> io::Result<()> {
        let lock = match File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(dir.join(LOCK))
        {
            Ok(lock) => lock,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let count = self.give_back_all(dir)?;
        if count > 0 {
            tracing::warn!(
                count,
                "gave back {count} jobs of a dead worker, {}",
                dir.display()
            );
        }
        remove(&dir.join(LOCK))?;
        fs::remove_dir(dir)
    }

    /// Gives back every job in a worker's folder, and removes what was only half written.
    fn give_back_all(&self, dir: &Path) -> io::Result<usize> {
        let mut count = 0;
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            // Another worker took it over first.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            let file = entry.file_name();
            if file == LOCK {
                continue;
            }
            if is_hidden(&file) {
                remove(&entry.path())?;
                continue;
            }
            let ticket = Ticket::parse(&file).unwrap_or_else(|| Ticket::fresh(&file, self.token()));
            match self.give_back(&entry.path(), &ticket) {
                Ok(()) => count += 1,
                // Its owner settled it just now.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(count)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // Fails when jobs are left, and then the folder is to stay for whoever comes next.
        let gone = remove(&self.dir.join(LOCK)).and_then(|()| fs::remove_dir(&self.dir));
        if let Err(error) = gone {
            tracing::warn!(%error, "cannot remove {}: {error}", self.dir.display());
        }
    }
}

/// A job in our folder. Dropping it gives it back, unless it was settled.
#[derive(Debug)]
struct Claim {
    home: Arc<Home>,
    path: PathBuf,
    ticket: Ticket,
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
    fn retry(&self, attempt: u32) -> io::Result<()> {
        File::open(&self.path)?.sync_all()?;
        let due = unix_millis() + millis(retry_wait(attempt).1);
        let ticket = Ticket {
            due,
            attempt: attempt.saturating_add(1),
            ..self.ticket.clone()
        };
        self.home.wait(&self.path, ticket)?;
        self.settle();
        disk::sync_dir(&self.home.folder(RETRY))?;
        disk::sync_dir(&self.home.dir)
    }

    /// Removes the claim, and with it the job.
    fn ack(&self) -> io::Result<()> {
        if self.is_settled() {
            return Ok(());
        }
        fs::remove_file(&self.path)?;
        self.settle();
        disk::sync_dir(&self.home.dir)
    }

    /// Puts the job back as it was: nobody worked on it.
    fn release(&self) -> io::Result<()> {
        if !self.is_settled() {
            self.home.put_back(&self.path, self.ticket.clone())?;
            self.settle();
        }
        Ok(())
    }

    fn outage(&self, what: &str, error: io::Error) -> Outage {
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

/// The transport's side of a delivery.
#[derive(Debug)]
pub struct Handle {
    claim: Arc<Claim>,
    _permit: OwnedSemaphorePermit,
}

/// The work of every function here is done where blocking is allowed, and to its end even when
/// its caller goes away: the claim is shared with it, so that a delivery dropped meanwhile is
/// given back only if that work did not settle it.
impl Handle {
    /// Writes the event, unless it is there.
    ///
    /// # Errors
    /// When it may not be safe.
    pub async fn publish(&self, event: &Event) -> Result<(), Outage> {
        let (id, body) = (event.id, event.body.clone());
        self.run("publish the event of", move |claim| {
            let file = claim.home.folder(EVENTS).join(format!("{id}.json"));
            // The same id is the same event: the first one stays, whoever read it need not again.
            disk::put_new(&claim.home.temp(), &file, &body).map(|_| ())
        })
        .await
    }

    /// Puts the file itself, so the job as it was sent, among the dead.
    ///
    /// # Errors
    /// When it may not be safe there.
    pub async fn bury(&self, _: &[u8], reason: &Reason) -> Result<(), Outage> {
        let reason = reason.clone();
        self.run("bury", move |claim| {
            claim.home.bury(&claim.path, &claim.ticket.name, &reason)
        })
        .await
    }

    /// Removes the job.
    ///
    /// # Errors
    /// When it may come again.
    pub async fn ack(self) -> Result<(), Outage> {
        self.run("acknowledge", Claim::ack).await
    }

    /// Moves the job to wait for its next attempt. Nothing is then left to acknowledge.
    ///
    /// # Errors
    /// When it may not be safe there.
    pub async fn retry(&self, attempt: u32) -> Result<(), Outage> {
        self.run("retry", move |claim| claim.retry(attempt)).await
    }

    /// Gives the job back as it was.
    pub async fn release(self) {
        if let Err(outage) = self.run("give back", Claim::release).await {
            tracing::warn!(error = %outage.chain(), "{}", outage.chain());
        }
    }

    async fn run(
        &self,
        what: &'static str,
        work: impl FnOnce(&Claim) -> io::Result<()> + Send + 'static,
    ) -> Result<(), Outage> {
        let claim = Arc::clone(&self.claim);
        let work = move || work(&claim).map_err(|error| claim.outage(what, error));
        spawn_blocking(work)
            .await
            .unwrap_or_else(|error| Err(stopping(error)))
    }
}

/// A job found and claimed, not yet handed out.
#[derive(Debug)]
struct Found {
    claim: Claim,
    body: Vec<u8>,
}

impl Found {
    fn hand_out(self, permit: OwnedSemaphorePermit) -> Delivery {
        let Found { claim, body } = self;
        claim.handed_out.store(true, Ordering::SeqCst);
        Delivery {
            body,
            lane: Lane::Bulk,
            redelivered: !claim.ticket.is_fresh(),
            attempt: claim.ticket.attempt,
            message_id: None,
            correlation_id: None,
            reply_to: None,
            traceparent: None,
            handle: super::Handle::Spool(Handle {
                claim: Arc::new(claim),
                _permit: permit,
            }),
        }
    }
}

/// What is known of the jobs that wait.
#[derive(Debug)]
struct Finder {
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
    /// Claims the next job.
    fn next(&mut self) -> Result<Option<Found>, Outage> {
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

    fn look(&mut self) -> Result<(), Outage> {
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
                Ok(Some(Found { claim, body }))
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

/// The stream of jobs.
#[derive(Debug)]
pub struct Intake {
    home: Arc<Home>,
    finder: Arc<Mutex<Finder>>,
    permits: Arc<Semaphore>,
    /// The permit for the next job. With `search` it is kept here and not in [`Intake::next`], so
    /// that nothing is lost when that is dropped while it waits.
    permit: Option<OwnedSemaphorePermit>,
    search: Option<JoinHandle<Result<Option<Found>, Outage>>>,
    rest_until: tokio::time::Instant,
    state: watch::Sender<State>,
    stopped: bool,
}

impl Intake {
    /// Makes the folders and takes over what dead workers held.
    ///
    /// # Errors
    /// When files cannot be written, linked and locked there.
    pub async fn open(dir: &Path, prefetch: u16) -> Result<Intake, Outage> {
        let home = Arc::new(open(dir).await?);
        let finder = Finder {
            home: Arc::clone(&home),
            retries: VecDeque::new(),
            jobs: VecDeque::new(),
            looked: None,
            shunned: BTreeMap::new(),
        };
        let finder = Arc::new(Mutex::new(finder));
        let looking = Arc::clone(&finder);
        blocking(move || lock(&looking).look()).await?;
        Ok(Intake {
            home,
            finder,
            permits: Arc::new(Semaphore::new(prefetch.max(1).into())),
            permit: None,
            search: None,
            rest_until: tokio::time::Instant::now(),
            state: watch::Sender::new(State::Up),
            stopped: false,
        })
    }

    /// The next job: one that is due again, or else the oldest. Cancel safe.
    ///
    /// # Errors
    /// When the process is stopping. Everything else is waited for, and said in the state.
    pub async fn next(&mut self) -> Result<Option<Delivery>, Outage> {
        while !self.stopped {
            tokio::time::sleep_until(self.rest_until).await;
            if self.permit.is_none() {
                // The semaphore is never closed.
                self.permit = Arc::clone(&self.permits).acquire_owned().await.ok();
            }
            // Claiming takes a rename and a read, sometimes a listing of a large folder or, on a
            // bad day, a slow disk: it is done where blocking is allowed.
            let search = self.search.get_or_insert_with(|| {
                let finder = Arc::clone(&self.finder);
                spawn_blocking(move || lock(&finder).next())
            });
            let found = search.await;
            self.search = None;
            match found {
                Ok(Ok(found)) => {
                    self.say(State::Up);
                    match (found, self.permit.take()) {
                        (Some(found), Some(permit)) => return Ok(Some(found.hand_out(permit))),
                        _ => self.rest_until = tokio::time::Instant::now() + POLL,
                    }
                }
                Ok(Err(outage)) => {
                    self.say(State::Down(outage.chain()));
                    self.rest_until = tokio::time::Instant::now() + LOOK;
                }
                Err(error) => return Err(stopping(error)),
            }
        }
        Ok(None)
    }

    fn say(&self, state: State) {
        self.state.send_if_modified(|old| {
            let new = *old != state;
            if new {
                match &state {
                    State::Up => {
                        tracing::info!("jobs come in again from {}", self.home.spool.root.display())
                    }
                    State::Down(why) => tracing::warn!("no jobs come in: {why}"),
                }
                *old = state;
            }
            new
        });
    }

    /// Files in `jobs/` and `retry/`.
    ///
    /// # Errors
    /// When a folder cannot be listed.
    pub async fn pending(&self) -> Result<u64, Outage> {
        let home = Arc::clone(&self.home);
        blocking(move || {
            let count = |folder: &str, counts: fn(&fs::DirEntry) -> io::Result<bool>| {
                let dir = home.folder(folder);
                let list = || {
                    fs::read_dir(&dir)?
                        .try_fold(0, |sum, entry| Ok(sum + u64::from(counts(&entry?)?)))
                };
                list().map_err(|error| disk::outage(Part::Transport, "list", &dir, error))
            };
            Ok(count(JOBS, is_job)?
                + count(RETRY, |entry| {
                    Ok(Ticket::parse(&entry.file_name()).is_some())
                })?)
        })
        .await
    }

    /// Whether the folders can be read.
    pub fn state(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// Takes in no more, and puts back a job that was claimed and not handed out.
    pub async fn stop(&mut self) {
        self.stopped = true;
        if let Some(search) = self.search.take() {
            // Dropping what it found puts that back.
            if let Err(error) = search.await {
                tracing::warn!(%error, "{error}");
            }
        }
        self.permit = None;
    }

    /// Gives back every job that is still held, counted as a try.
    pub async fn close(mut self) {
        self.stop().await;
        let home = Arc::clone(&self.home);
        let given_back = blocking(move || {
            let outage =
                |error| disk::outage(Part::Transport, "give back the jobs in", &home.dir, error);
            home.give_back_all(&home.dir).map_err(outage)
        });
        if let Err(outage) = given_back.await {
            tracing::warn!(error = %outage.chain(), "{}", outage.chain());
        }
    }
}

/// The sender's and the operator's side.
#[derive(Debug)]
pub struct Client {
    home: Arc<Home>,
}

impl Client {
    /// Makes the folders, so that jobs can be sent before the first worker starts.
    ///
    /// # Errors
    /// As [`Intake::open`].
    pub async fn open(dir: &Path) -> Result<Client, Outage> {
        Ok(Client {
            home: Arc::new(open(dir).await?),
        })
    }

    /// Drops a job into `jobs/`. One of that name with other content stays, and this one is named
    /// `NAME.2.json`; one with the same content is this one.
    ///
    /// # Errors
    /// When it may not be safe.
    pub async fn send(&mut self, id: &str, body: &[u8]) -> Result<(), Outage> {
        let (home, name, body) = (Arc::clone(&self.home), safe_name(id), body.to_vec());
        blocking(move || {
            let (jobs, temp) = (home.folder(JOBS), home.temp());
            let sent = disk::stage(&temp, &body).and_then(|()| link_once(&temp, &jobs, &name));
            disk::unstage(&temp, sent)
                .map(|_| ())
                .map_err(|error| disk::outage(Part::Transport, "send a job to", &jobs, error))
        })
        .await
    }

    /// Walks through `dead/`, oldest first.
    ///
    /// # Errors
    /// When a file cannot be read, moved or removed: the rest stays.
    pub async fn walk_dead(
        &mut self,
        mut judge: impl FnMut(&DeadJob) -> Verdict,
    ) -> Result<(), Outage> {
        let home = Arc::clone(&self.home);
        let names = blocking(move || list_dead(&home)).await?;
        for name in names {
            let (home, dead_name) = (Arc::clone(&self.home), name.clone());
            let Some(job) = blocking(move || read_dead(&home, &dead_name)).await? else {
                continue;
            };
            let verdict = judge(&job);
            if verdict != Verdict::Keep {
                let home = Arc::clone(&self.home);
                blocking(move || exhume(&home, &name, verdict == Verdict::Replay)).await?;
            }
        }
        Ok(())
    }
}

/// The names of the dead jobs, oldest first.
fn list_dead(home: &Home) -> Result<Vec<String>, Outage> {
    let dead = home.folder(DEAD);
    let list = || {
        let mut names = Vec::new();
        for entry in fs::read_dir(&dead)? {
            let entry = entry?;
            let file = entry.file_name();
            let name = file.to_str().and_then(|file| file.strip_suffix(".json"));
            if let (true, Some(name)) =
                (is_job(&entry)?, name.filter(|name| !name.ends_with(REASON)))
            {
                names.push((entry.metadata()?.modified()?, name.to_owned()));
            }
        }
        names.sort();
        Ok(names.into_iter().map(|(_, name)| name).collect())
    };
    list().map_err(|error| disk::outage(Part::Transport, "list", &dead, error))
}

/// A dead job and its reason; `None` when it has gone meanwhile.
fn read_dead(home: &Home, name: &str) -> Result<Option<DeadJob>, Outage> {
    let file = home.folder(DEAD).join(format!("{name}.json"));
    let body = match read_job(&file) {
        Ok(body) => body,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(disk::outage(Part::Transport, "read", &file, error)),
    };
    // A job put there by hand, or buried by a worker that was killed right then, has none.
    let reason =
        fs::read(home.folder(DEAD).join(format!("{name}{REASON}.json"))).unwrap_or_default();
    let reason: Value = serde_json::from_slice(&reason).unwrap_or_default();
    let text = |field: &str| reason[field].as_str().unwrap_or("unknown").to_owned();
    Ok(Some(DeadJob {
        id: name.to_owned(),
        code: text("code"),
        message: text("message"),
        event: text("event"),
        lane: Lane::Bulk.to_string(),
        body,
    }))
}

/// Removes a dead job, and before that puts it back among the jobs if it is to be replayed.
fn exhume(home: &Home, name: &str, replay: bool) -> Result<(), Outage> {
    let dead = home.folder(DEAD);
    let file = dead.join(format!("{name}.json"));
    let work = || {
        if replay {
            link_once(&file, &home.folder(JOBS), name)?;
        }
        // The reason last: without its job it is nothing, and the job is then not half dead.
        remove(&file)?;
        remove(&dead.join(format!("{name}{REASON}.json")))?;
        disk::sync_dir(&dead)
    };
    let what = if replay { "replay" } else { "drop" };
    work().map_err(|error| disk::outage(Part::Transport, what, &file, error))
}

async fn open(dir: &Path) -> Result<Home, Outage> {
    let dir = dir.to_owned();
    blocking(move || Home::make(&dir)).await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Outage> + Send + 'static,
) -> Result<T, Outage> {
    spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(stopping(error)))
}

fn stopping(error: tokio::task::JoinError) -> Outage {
    Outage::because(
        Part::Transport,
        "the work on a file of the spool was cut short",
        error,
    )
}

fn lock(finder: &Mutex<Finder>) -> std::sync::MutexGuard<'_, Finder> {
    finder.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives a file a second name in a folder: `NAME.json`, or `NAME.2.json` and so on where that
/// name is taken by other content, never overwriting any. Says which.
fn link_once(from: &Path, dir: &Path, name: &str) -> io::Result<String> {
    let mut chosen = name.to_owned();
    let mut number = 1;
    loop {
        let to = dir.join(format!("{chosen}.json"));
        if disk::link_new(from, &to)? || same_bytes(from, &to)? {
            return Ok(chosen);
        }
        number += 1;
        chosen = format!("{name}.{number}");
    }
}

fn same_bytes(one: &Path, other: &Path) -> io::Result<bool> {
    let other = match File::open(other) {
        Ok(other) => other,
        // Claimed or removed meanwhile.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let one = File::open(one)?;
    if one.metadata()?.len() != other.metadata()?.len() {
        return Ok(false);
    }
    let mut other = BufReader::new(other).bytes();
    for byte in BufReader::new(one).bytes() {
        if other.next().transpose()? != Some(byte?) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Reads a file that was dropped in by somebody.
fn read_job(path: &Path) -> io::Result<Vec<u8>> {
    if !fs::symlink_metadata(path)?.is_file() {
        return Err(io::Error::new(
            ErrorKind::InvalidInput,
            "it is no regular file",
        ));
    }
    let mut body = Vec::new();
    File::open(path)?.take(MAX_BODY).read_to_end(&mut body)?;
    Ok(body)
}

/// Whether a folder's entry is a job: a file, no link or folder, not hidden, named `*.json`.
fn is_job(entry: &fs::DirEntry) -> io::Result<bool> {
    let file = entry.file_name();
    Ok(!is_hidden(&file)
        && file.as_encoded_bytes().ends_with(b".json")
        && entry.file_type()?.is_file())
}

fn is_hidden(file: &OsStr) -> bool {
    file.as_encoded_bytes().starts_with(b".")
}

/// A name for a file, from one that somebody chose: short, visible and in one folder.
fn safe_name(name: &str) -> String {
    let safe = |char: char| char.is_alphanumeric() || ['.', '_', '-'].contains(&char);
    let mut safe: String = name
        .chars()
        .map(|char| if safe(char) { char } else { '_' })
        .collect();
    safe.truncate(safe.floor_char_boundary(MAX_NAME));
    if safe.is_empty() || safe.starts_with('.') {
        safe.insert(0, '_');
    }
    // That end is the reasons'.
    if safe.ends_with(REASON) {
        safe.push('_');
    }
    safe
}

/// Removes a file, if it is there.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[expect(
    clippy::disallowed_methods,
    reason = "a wait outlives this process, so it cannot be an Instant; no PDF sees it"
)]
fn unix_millis() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, millis)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever a sender calls a file, what we call it is one name that reads back.
        #[test]
        fn a_ticket_reads_back(due: u64, attempt in 1_u32.., tries: u32, name: String) {
            let name = safe_name(&name);
            prop_assert!(!name.contains('/') && !name.starts_with('.') && !name.ends_with(REASON) && !name.is_empty());
            let token = "4194304-0a1b2c3d-18446744073709551615".to_owned();
            let ticket = Ticket { due, attempt, tries, token, name };
            let file = ticket.to_string();
            prop_assert!(file.len() <= 255, "{}", file.len());
            prop_assert_eq!(Ticket::parse(OsStr::new(&file)), Some(ticket));
        }
    }

    #[test]
    fn what_is_no_ticket_is_none() {
        for file in [
            "",
            "a.json",
            "1.1.0.w-1.a",
            "1.0.0.w-1.a.json",
            "x.1.0.w-1.a.json",
            "1.1.-1.w-1.a.json",
        ] {
            assert_eq!(Ticket::parse(OsStr::new(file)), None, "{file}");
        }
    }
}

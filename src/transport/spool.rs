//! Jobs and events as files in folders.
//!
//! Takes jobs from a folder, gives events into another. Never lets go of a job before its end is
//! safe on the disk: a job is always in exactly one of `jobs/`, `claimed/`, `retry/` and `dead/`
//! (a moment in two of them, never in none). If we crash here, the kernel lets go of our lock, and
//! the next worker finds our claims and requeues them.
//!
//! ```text
//! jobs/NAME.json                         dropped in by the sender (written elsewhere, renamed in)
//! claimed/WORKER/.lock                   locked by the worker as long as it lives
//! claimed/WORKER/TICKET.NAME.json        jobs it holds
//! retry/TICKET.NAME.json                 jobs that wait; TICKET begins with when they are due
//! events/EVENT-ID.json                   CloudEvents
//! dead/NAME.json, dead/NAME.reason.json  what was rejected, failed or crashed, and why
//! ```
//!
//! Everything that must be remembered of a job is in its file's name (see `Ticket`), so that it
//! changes in one rename with the place. Files are moved with hard links where the new name may
//! be taken by somebody else's file, and with renames where it is ours alone. A file of another
//! user is never linked, but copied.
//!
//! The folders may be on a mount that hangs. Nothing waits for them longer than half a minute, and
//! the calls that hang are bounded; looking for jobs is one call, however long it takes.

mod claim;
mod client;
mod folders;
mod notes;
mod observer;
mod ticket;
mod unsettled;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinHandle, spawn_blocking};

use self::claim::{Claim, Finder, Found};
pub use self::client::Client;
use self::folders::{DEAD, EVENTS, Home, JOBS, RETRY, is_dead, is_job};
pub use self::observer::{Log, Observer};
use self::ticket::Ticket;
use super::{Delivery, Depths, Reason, State};
use crate::disk::{self, Calls};
use crate::event::Event;
use crate::problem::{Outage, Part};
use crate::timing::FOLDER;

/// How long an empty spool is left alone.
const POLL: Duration = Duration::from_millis(250);

/// How often dead workers and jobs that have become due are looked for.
const LOOK: Duration = Duration::from_secs(1);

/// How long it may take to requeue what is held when the intake closes: what it does not do in
/// this time the next worker does, and a service manager waits only so long.
const CLOSE: Duration = Duration::from_secs(10);

/// How much is asked of the disk at once.
const CALLS: usize = 32;

/// The transport's side of a delivery.
#[derive(Debug)]
pub struct Handle {
    claim: Arc<Claim>,
    _permit: OwnedSemaphorePermit,
}

/// The work of every function here is done where blocking is allowed, and to its end even when
/// its caller goes away: the claim is shared with it, so that a delivery dropped meanwhile is
/// requeued only if that work did not settle it.
impl Handle {
    /// Writes the event, unless it is there.
    ///
    /// # Errors
    /// When it may not be safe.
    pub async fn publish(&self, event: &Event) -> Result<(), Outage> {
        let (id, body) = (event.id, event.structured());
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
    pub async fn dead_letter(&self, _: &[u8], reason: &Reason) -> Result<(), Outage> {
        let reason = reason.clone();
        self.run("dead-letter", move |claim| {
            claim
                .home
                .dead_letter(&claim.path, &claim.ticket.name, &reason)
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

    /// Moves the job to wait for a moment, on the same attempt.
    ///
    /// # Errors
    /// When it may not be safe there.
    pub async fn postpone(&self) -> Result<(), Outage> {
        self.run("postpone", Claim::postpone).await
    }

    /// Requeues the job as it was.
    pub async fn release(self) {
        if let Err(outage) = self.run("requeue", Claim::release).await {
            tracing::warn!(error = %outage.chain(), "{}", outage.chain());
        }
    }

    async fn run(
        &self,
        what: &'static str,
        work: impl FnOnce(&Claim) -> io::Result<()> + Send + 'static,
    ) -> Result<(), Outage> {
        let (claim, calls) = (Arc::clone(&self.claim), &self.claim.home.calls);
        let done = calls.within(FOLDER, move || work(&claim).inspect_err(|_| claim.excuse()));
        done.await.map_err(|error| {
            self.claim.excuse();
            if error.kind() == io::ErrorKind::TimedOut {
                // Set here already: looking for jobs may wait for this very job to end.
                let home = &self.claim.home;
                home.set_state(State::Down(silent(home).chain()));
            }
            self.claim.outage(what, error)
        })
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
    search: Option<Search>,
    rest_until: tokio::time::Instant,
    /// Why no jobs are looked for, while none are.
    pause: watch::Sender<Option<String>>,
    stopped: bool,
}

/// A search for the next job. There is one at a time, however long it takes.
#[derive(Debug)]
struct Search {
    late: tokio::time::Instant,
    task: JoinHandle<Result<Option<Found>, Outage>>,
}

impl Intake {
    /// Makes the folders and takes over what dead workers held.
    ///
    /// # Errors
    /// When files cannot be written, linked and locked there.
    pub async fn open(dir: &Path, prefetch: u16) -> Result<Intake, Outage> {
        let home = Arc::new(open(dir).await?);
        let finder = Finder::new(Arc::clone(&home));
        let finder = Arc::new(Mutex::new(finder));
        let looking = Arc::clone(&finder);
        let sweeper = Arc::clone(&home);
        let look = move || {
            if let Err(error) = sweeper.sweep_notes() {
                tracing::debug!(%error, "old notes among the dead are left");
            }
            lock(&looking).look()
        };
        blocking(&home, look).await?;
        Ok(Intake {
            home,
            finder,
            permits: Arc::new(Semaphore::new(prefetch.max(1).into())),
            permit: None,
            search: None,
            rest_until: tokio::time::Instant::now(),
            pause: watch::Sender::default(),
            stopped: false,
        })
    }

    /// The next job: one that is due again, or else the oldest. Cancel safe.
    ///
    /// # Errors
    /// When the process is stopping. Everything else is waited for, and is in the state.
    pub async fn next(&mut self) -> Result<Option<Delivery>, Outage> {
        while !self.stopped {
            self.resumed().await;
            tokio::time::sleep_until(self.rest_until).await;
            if self.permit.is_none() {
                // The semaphore is never closed.
                self.permit = Arc::clone(&self.permits).acquire_owned().await.ok();
            }
            // Claiming takes a rename and a read, sometimes a listing of a large folder or, on a
            // bad day, a slow disk: it is done where blocking is allowed.
            let search = self.search.get_or_insert_with(|| {
                let finder = Arc::clone(&self.finder);
                Search {
                    late: tokio::time::Instant::now() + FOLDER,
                    task: spawn_blocking(move || lock(&finder).next()),
                }
            });
            let in_time = tokio::time::timeout_at(search.late, &mut search.task).await;
            let found = match in_time {
                Ok(found) => found,
                Err(_) => {
                    self.home.set_state(State::Down(silent(&self.home).chain()));
                    // There is no other way to find out that it answers again.
                    let Some(search) = &mut self.search else {
                        continue;
                    };
                    (&mut search.task).await
                }
            };
            self.search = None;
            match found {
                Ok(Ok(found)) => {
                    self.home.set_state(State::Up);
                    match (found, self.permit.take()) {
                        (Some(found), Some(permit)) => return Ok(Some(found.hand_out(permit))),
                        _ => self.rest_until = tokio::time::Instant::now() + POLL,
                    }
                }
                Ok(Err(outage)) => {
                    self.home.set_state(State::Down(outage.chain()));
                    self.rest_until = tokio::time::Instant::now() + LOOK;
                }
                Err(error) => return Err(stopping(error)),
            }
        }
        Ok(None)
    }

    /// Waits for the end of a pause. A job that was found just before it is put back.
    async fn resumed(&mut self) {
        let mut pause = self.pause.subscribe();
        let why = pause.borrow_and_update().clone();
        let Some(why) = why else { return };
        self.search = None;
        self.home.set_state(State::Down(why));
        // The sender is ours, so that there is always an answer.
        drop(pause.wait_for(Option::is_none).await);
    }

    /// Looks for no more jobs, or for them again.
    pub fn pause(&self, why: Option<String>) {
        self.pause.send_replace(why);
    }

    /// Files in `jobs/` and `retry/`, and those on their way back there. What this worker could
    /// not settle is left out: it does not get fewer by waiting, see [`Intake::settled`].
    ///
    /// # Errors
    /// When a folder cannot be listed.
    pub async fn pending(&self) -> Result<u64, Outage> {
        let home = Arc::clone(&self.home);
        let count = move || {
            let jobs = count(&home, JOBS, is_job)?;
            Ok(jobs + count(&home, RETRY, is_ticket)? + home.count_dropped())
        };
        blocking(&self.home, count).await
    }

    /// Counts what waits in each folder.
    pub fn depths(&self) -> Depths {
        let home = Arc::clone(&self.home);
        Box::new(move || {
            let home = Arc::clone(&home);
            let depths = async move {
                let all = Arc::clone(&home);
                let depths = move || {
                    Ok(vec![
                        ("bulk", Some(count(&all, JOBS, is_job)?)),
                        ("retry", Some(count(&all, RETRY, is_ticket)?)),
                        ("dead", Some(count(&all, DEAD, is_dead)?)),
                    ])
                };
                blocking(&home, depths).await
            };
            depths.boxed()
        })
    }

    /// Whether everything that this worker found could be settled.
    ///
    /// # Errors
    /// The files that could not, and how to learn why.
    pub fn settled(&self) -> Result<(), Outage> {
        let left = self.home.unsettled.paths();
        let Some(first) = left.first() else {
            return Ok(());
        };
        let more = match left.len() - 1 {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        Err(Outage::new(
            Part::Transport,
            format!(
                "{}{more} could not be settled; `banshi dead list` says why and what to do",
                first.display()
            ),
        ))
    }

    /// Whether the folders can be read.
    pub fn state(&self) -> watch::Receiver<State> {
        self.home.state.subscribe()
    }

    /// Takes in no more, and puts back a job that was claimed and not handed out.
    pub async fn stop(&mut self) {
        self.stopped = true;
        self.home
            .state
            .send_replace(State::Down("stopped".to_owned()));
        if let Some(Search { task, .. }) = self.search.take() {
            match tokio::time::timeout(FOLDER, task).await {
                Ok(Ok(Ok(Some(found)))) => {
                    let calls = &self.home.calls;
                    // If it cannot be put back now, dropping it tries again.
                    let back = calls.within(FOLDER, move || found.release()).await;
                    back.unwrap_or_else(|error| tracing::debug!(%error, "not put back yet"));
                }
                Ok(Ok(_)) => {}
                Ok(Err(error)) => tracing::warn!(%error, "{error}"),
                // What it finds is put back by whoever takes our folder over.
                Err(_) => tracing::warn!("{}", silent(&self.home).chain()),
            }
        }
        self.permit = None;
    }

    /// Requeues every job that is still held, counted as a try.
    pub async fn close(mut self) {
        self.stop().await;
        let Intake { home, finder, .. } = self;
        let calls = home.calls.clone();
        let root = home.spool.root.clone();
        let requeued = calls.within(CLOSE, move || {
            home.requeue_dropped();
            // What could not be requeued is logged already, and is there for the next worker.
            let (_, left) = home.requeue_all(&home.dir);
            left.unwrap_or_else(|error| tracing::debug!(%error, "jobs are left"));
            drop((home, finder));
            Ok(())
        });
        if let Err(error) = requeued.await {
            let outage = disk::outage(Part::Transport, "requeue the jobs in", &root, error);
            tracing::warn!(error = %outage.chain(), "{}", outage.chain());
        }
    }
}

/// The files of a folder that are counted, but for what cannot be settled.
fn count(
    home: &Home,
    folder: &str,
    counts: fn(&fs::DirEntry) -> io::Result<bool>,
) -> Result<u64, Outage> {
    let dir = home.folder(folder);
    let waits = |entry: &fs::DirEntry| -> io::Result<bool> {
        Ok(counts(entry)? && !home.unsettled.holds(&entry.path()))
    };
    number(&dir, waits).map_err(|error| disk::outage(Part::Transport, "list", &dir, error))
}

/// How many entries of a folder are counted.
fn number(dir: &Path, counts: impl Fn(&fs::DirEntry) -> io::Result<bool>) -> io::Result<u64> {
    fs::read_dir(dir)?.try_fold(0, |sum, entry| Ok(sum + u64::from(counts(&entry?)?)))
}

fn is_ticket(entry: &fs::DirEntry) -> io::Result<bool> {
    Ok(Ticket::parse(&entry.file_name()).is_some())
}

/// Tries out what a spool needs of its disk, in each of its folders, with files that nobody reads
/// and that are removed. Gives those folders that are not there yet, and how the slowest did.
///
/// # Errors
/// When files cannot be written, linked or read there, or the disk does not answer.
pub async fn examine(dir: &Path) -> Result<(Vec<PathBuf>, Option<disk::Trial>), Outage> {
    let root = dir.to_owned();
    let work = move || {
        let (mut missing, mut slowest) = (Vec::new(), None::<disk::Trial>);
        for folder in folders::FOLDERS {
            let folder = root.join(folder);
            let outage = |error| disk::outage(Part::Transport, "use", &folder, error);
            if !folder.try_exists().map_err(outage)? {
                missing.push(folder);
                continue;
            }
            let name = || folder.join(format!(".banshi-doctor-{:016x}", rand::random::<u64>()));
            let trial = disk::try_out(&name(), &name(), b"banshi doctor");
            let trial = trial.map_err(outage)?;
            if slowest.is_none_or(|slowest| trial.sync > slowest.sync) {
                slowest = Some(trial);
            }
        }
        Ok((missing, slowest))
    };
    answered(&Calls::new(1), dir, work).await
}

async fn open(dir: &Path) -> Result<Home, Outage> {
    let calls = Calls::new(CALLS);
    let (folder, shared) = (dir.to_owned(), calls.clone());
    answered(&calls, dir, move || Home::make(&folder, shared)).await
}

/// Does work on the folders, on a thread for that.
async fn blocking<T: Send + 'static>(
    home: &Home,
    work: impl FnOnce() -> Result<T, Outage> + Send + 'static,
) -> Result<T, Outage> {
    answered(&home.calls, &home.spool.root, work).await
}

async fn answered<T: Send + 'static>(
    calls: &Calls,
    root: &Path,
    work: impl FnOnce() -> Result<T, Outage> + Send + 'static,
) -> Result<T, Outage> {
    let done = calls.within(FOLDER, move || Ok(work())).await;
    done.unwrap_or_else(|error| Err(disk::outage(Part::Transport, "use", root, error)))
}

fn silent(home: &Home) -> Outage {
    let message = format!("no answer within {} s", FOLDER.as_secs());
    let error = io::Error::new(io::ErrorKind::TimedOut, message);
    disk::outage(Part::Transport, "look for jobs in", &home.spool.root, error)
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

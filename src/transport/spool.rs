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

mod claim;
mod client;
mod folders;
mod ticket;

use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinHandle, spawn_blocking};

use self::claim::{Claim, Finder, Found};
pub use self::client::Client;
use self::folders::{EVENTS, Home, JOBS, RETRY, is_job};
use self::ticket::Ticket;
use super::{Delivery, Reason, State};
use crate::disk;
use crate::event::Event;
use crate::problem::{Outage, Part};

/// How long an empty spool is left alone.
const POLL: Duration = Duration::from_millis(250);

/// How often dead workers and jobs that have become due are looked for.
const LOOK: Duration = Duration::from_secs(1);

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

    /// Moves the job to wait for a moment, on the same attempt.
    ///
    /// # Errors
    /// When it may not be safe there.
    pub async fn postpone(&self) -> Result<(), Outage> {
        self.run("postpone", Claim::postpone).await
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
        let work = move || {
            work(&claim).map_err(|error| {
                claim.home.doubt();
                claim.outage(what, error)
            })
        };
        spawn_blocking(work)
            .await
            .unwrap_or_else(|error| Err(stopping(error)))
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
    /// Why no jobs are looked for, while none are.
    pause: watch::Sender<Option<String>>,
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
        let finder = Finder::new(Arc::clone(&home));
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
            pause: watch::Sender::default(),
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

    /// Waits for the end of a pause. A job that was found just before it is put back.
    async fn resumed(&mut self) {
        let mut pause = self.pause.subscribe();
        let why = pause.borrow_and_update().clone();
        let Some(why) = why else { return };
        self.search = None;
        self.say(State::Down(why));
        // The sender is ours, so that there is always an answer.
        drop(pause.wait_for(Option::is_none).await);
    }

    /// Looks for no more jobs, or for them again.
    pub fn pause(&self, why: Option<String>) {
        self.pause.send_replace(why);
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
        self.state.send_replace(State::Down("stopped".to_owned()));
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

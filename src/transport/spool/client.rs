//! The sender's and the operator's side of a spool: jobs in, and the dead.
//!
//! Takes jobs and verdicts, gives dead jobs. Never has a dead job in two places, so that none is
//! taken for its own copy. If we crash here, whoever opens the spool next gives back what we held.

use std::fs;
use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use time::OffsetDateTime;

use super::folders::{DEAD, Home, JOBS, is_job, link_once, read_job, remove};
use super::ticket::{REASON, Ticket, safe_name};
use super::{blocking, open};
use crate::disk;
use crate::problem::{Outage, Part};
use crate::transport::{AsSent, DeadJob, Lane, Verdict};

/// The sender's and the operator's side.
#[derive(Debug)]
pub struct Client {
    home: Arc<Home>,
}

impl Client {
    /// Makes the folders, so that jobs can be sent before the first worker starts.
    ///
    /// # Errors
    /// As [`Intake::open`](super::Intake::open).
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
        mut settled: impl FnMut(&DeadJob) -> ControlFlow<()>,
    ) -> Result<(), Outage> {
        let home = Arc::clone(&self.home);
        let names = blocking(move || list_dead(&home)).await?;
        for name in names {
            let (home, dead_name) = (Arc::clone(&self.home), name.clone());
            let Some(job) = blocking(move || read_dead(&home, &dead_name)).await? else {
                continue;
            };
            let replay = match judge(&job) {
                Verdict::Keep => continue,
                Verdict::Stop => break,
                Verdict::Replay => true,
                Verdict::Drop => false,
            };
            let home = Arc::clone(&self.home);
            blocking(move || exhume(&home, &name, replay)).await?;
            if settled(&job).is_break() {
                break;
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
    let why = home.folder(DEAD).join(format!("{name}{REASON}.json"));
    let reason = fs::read(&why).unwrap_or_default();
    let reason: Value = serde_json::from_slice(&reason).unwrap_or_default();
    // The job's own time is its sender's.
    let buried_at = fs::metadata(&why).and_then(|reason| reason.modified());
    let text = |field: &str| reason[field].as_str().unwrap_or("unknown").to_owned();
    Ok(Some(DeadJob {
        as_sent: AsSent::Whole,
        id: name.to_owned(),
        code: text("code"),
        message: text("message"),
        event: text("event"),
        lane: Lane::Bulk.to_string(),
        buried_at: buried_at.ok().map(OffsetDateTime::from),
        body,
    }))
}

/// Removes a dead job, or moves it back among the jobs.
///
/// It is moved, not copied and removed: as soon as it is among the jobs a worker may have it and
/// bury it again, and what stands among the dead then is not ours to remove.
fn exhume(home: &Home, name: &str, replay: bool) -> Result<(), Outage> {
    let dead = home.folder(DEAD);
    let file = dead.join(format!("{name}.json"));
    let reason = dead.join(format!("{name}{REASON}.json"));
    let work = || {
        if replay {
            let ticket = Ticket::fresh(format!("{name}.json").as_ref(), home.token());
            let held = home.dir.join(ticket.to_string());
            match fs::rename(&file, &held) {
                Ok(()) => {}
                // Somebody else was faster.
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(error),
            }
            disk::sync_dir(&home.dir)?;
            remove(&reason)?;
            home.put_back(&held, ticket)?;
        } else {
            // The reason last: without its job it is nothing, and the job is then not half dead.
            remove(&file)?;
            remove(&reason)?;
        }
        disk::sync_dir(&dead)
    };
    let what = if replay { "replay" } else { "drop" };
    work().map_err(|error| disk::outage(Part::Transport, what, &file, error))
}

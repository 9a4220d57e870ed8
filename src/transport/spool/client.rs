//! The sender's and the operator's side of a spool: jobs in, and the dead.
//!
//! Takes jobs and verdicts, gives dead jobs. Never has a dead job in two places, so that none is
//! taken for its own copy. If we crash here, whoever opens the spool next requeues what we held.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, ErrorKind};
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use serde::Deserialize;
use serde_json::Value;
use time::OffsetDateTime;

use super::folders::{DEAD, Home, JOBS, is_dead, link_once, read_job, remove};
use super::notes::{Note, STUCK};
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
    pub async fn send(&self, id: &str, body: &[u8]) -> Result<(), Outage> {
        let (home, name, body) = (Arc::clone(&self.home), safe_name(id), body.to_vec());
        let send = move || {
            let (jobs, temp) = (home.folder(JOBS), home.temp());
            let sent = disk::stage(&temp, &body).and_then(|()| link_once(&temp, &jobs, &name));
            disk::unstage(&temp, sent)
                .map(|_| ())
                .map_err(|error| disk::outage(Part::Transport, "send a job to", &jobs, error))
        };
        blocking(&self.home, send).await
    }

    /// The names of the dead jobs that `id` is the name or the `job_id` of; the name goes before.
    ///
    /// # Errors
    /// When the files cannot be listed or read.
    pub async fn dead_ids(&mut self, id: &str) -> Result<Vec<String>, Outage> {
        let home = Arc::clone(&self.home);
        let entries = blocking(&self.home, move || list_dead(&home)).await?;
        if entries.iter().any(|entry| entry.id() == id) {
            return Ok(vec![id.to_owned()]);
        }
        let mut names = Vec::new();
        for entry in entries {
            let (home, name) = (Arc::clone(&self.home), entry.id());
            let job = blocking(&self.home, move || read_dead(&home, &entry)).await?;
            if job.is_some_and(|job| job_id(&job.body).as_deref() == Some(id)) {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// Walks through `dead/`, oldest first, and through what was noted of files that could not be
    /// settled. Those are tried again by themselves, and cannot be replayed.
    ///
    /// # Errors
    /// When a file cannot be read, moved or removed: the rest stays.
    pub async fn walk_dead(
        &mut self,
        mut judge: impl FnMut(&DeadJob) -> Verdict,
        mut settled: impl FnMut(&DeadJob) -> ControlFlow<()>,
    ) -> Result<(), Outage> {
        let home = Arc::clone(&self.home);
        let entries = blocking(&self.home, move || list_dead(&home)).await?;
        for entry in entries {
            let entry = Arc::new(entry);
            let (home, shown) = (Arc::clone(&self.home), Arc::clone(&entry));
            let read = move || read_dead(&home, &shown);
            let Some(job) = blocking(&self.home, read).await? else {
                continue;
            };
            let replay = match judge(&job) {
                Verdict::Keep => continue,
                Verdict::Stop => break,
                Verdict::Replay => true,
                Verdict::Drop => false,
            };
            let home = Arc::clone(&self.home);
            if blocking(&self.home, move || settle(&home, &entry, replay)).await?
                && settled(&job).is_break()
            {
                break;
            }
        }
        Ok(())
    }
}

/// What is listed.
#[derive(Debug)]
enum Entry {
    /// A job in `dead/`, by its file's name without `.json`.
    Dead(OsString),
    /// A file elsewhere that could not be settled.
    Stuck(SystemTime, Note),
}

impl Entry {
    /// What it is called. A job's name has no slash, the path of a file that is stuck has one.
    fn id(&self) -> String {
        match self {
            Entry::Dead(name) => name.to_string_lossy().into_owned(),
            Entry::Stuck(_, note) => note.file.clone(),
        }
    }
}

fn file_of(home: &Home, name: &OsStr, end: &str) -> PathBuf {
    let mut file = name.to_owned();
    file.push(end);
    home.folder(DEAD).join(file)
}

fn reason_of(home: &Home, name: &OsStr) -> PathBuf {
    file_of(home, name, &format!("{REASON}.json"))
}

/// The dead jobs, oldest first, and the files that are stuck, by when that was found.
fn list_dead(home: &Home) -> Result<Vec<Entry>, Outage> {
    let dead = home.folder(DEAD);
    let list = || {
        let mut entries = Vec::new();
        let mut first = Ok(());
        for entry in fs::read_dir(&dead)? {
            match entry.and_then(|entry| dead_name(&entry)) {
                Ok(Some((since, name))) => entries.push((since, Entry::Dead(name))),
                Ok(None) => {}
                // One that cannot be looked at hides no other.
                Err(error) => first = first.and(Err(error)),
            }
        }
        if entries.is_empty() {
            first?;
        } else if let Err(error) = first {
            tracing::warn!(%error, "not all of {} can be listed", dead.display());
        }
        for (since, note) in home.notes()? {
            entries.push((since, Entry::Stuck(since, note)));
        }
        entries.sort_by_cached_key(|(since, entry)| (*since, entry.id()));
        Ok(entries.into_iter().map(|(_, entry)| entry).collect())
    };
    list().map_err(|error: io::Error| disk::outage(Part::Transport, "list", &dead, error))
}

/// The name of a job among the dead, and its time; `None` for what is none, or has gone.
fn dead_name(entry: &fs::DirEntry) -> io::Result<Option<(SystemTime, OsString)>> {
    let file = entry.file_name();
    let Some(name) = file.as_bytes().strip_suffix(b".json") else {
        return Ok(None);
    };
    if !is_dead(entry)? {
        return Ok(None);
    }
    match entry.metadata().and_then(|metadata| metadata.modified()) {
        Ok(modified) => Ok(Some((modified, OsStr::from_bytes(name).to_owned()))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A dead job and its reason; `None` when it has gone meanwhile.
fn read_dead(home: &Home, entry: &Entry) -> Result<Option<DeadJob>, Outage> {
    let name = match entry {
        Entry::Dead(name) => name,
        Entry::Stuck(since, note) => {
            // Whether it can be read is the question; whoever can may look at it.
            let body = note.path(home).map(|path| read_job(&path));
            return Ok(body.map(|body| DeadJob {
                as_sent: AsSent::Whole,
                id: entry.id(),
                code: note.code.clone(),
                message: note.message.clone(),
                event: STUCK.to_owned(),
                lane: Lane::Bulk.to_string(),
                dead_lettered_at: Some(OffsetDateTime::from(*since)),
                body: body.unwrap_or_default(),
            }));
        }
    };
    let file = file_of(home, name, ".json");
    let body = match read_job(&file) {
        Ok(body) => body,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(disk::outage(Part::Transport, "read", &file, error)),
    };
    // A job put there by hand, or dead-lettered by a worker that was killed right then, has none.
    let why = reason_of(home, name);
    let reason = fs::read(&why).unwrap_or_default();
    let reason: Value = serde_json::from_slice(&reason).unwrap_or_default();
    // The job's own time is its sender's.
    let dead_lettered_at = fs::metadata(&why).and_then(|reason| reason.modified());
    let text = |field: &str| reason[field].as_str().unwrap_or("unknown").to_owned();
    Ok(Some(DeadJob {
        as_sent: AsSent::Whole,
        id: entry.id(),
        code: text("code"),
        message: text("message"),
        event: text("event"),
        lane: Lane::Bulk.to_string(),
        dead_lettered_at: dead_lettered_at.ok().map(OffsetDateTime::from),
        body,
    }))
}

/// The `job_id` that a job names, if it can be read at all.
fn job_id(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Envelope {
        job_id: String,
    }
    let envelope = serde_json::from_slice::<Envelope>(body).ok()?;
    Some(envelope.job_id)
}

/// Does what was decided, and says whether that was done.
fn settle(home: &Home, entry: &Entry, replay: bool) -> Result<bool, Outage> {
    let note = match entry {
        Entry::Dead(name) => return replay_or_drop(home, name, replay).map(|()| true),
        Entry::Stuck(_, note) => note,
    };
    if replay {
        tracing::warn!("{} is tried again by itself: {}", note.file, note.message);
        return Ok(false);
    }
    let Some(path) = note.path(home) else {
        return Ok(false);
    };
    let outage = |error| disk::outage(Part::Transport, "drop", &path, error);
    fs::remove_file(&path)
        .and_then(|()| disk::sync_parent(&path))
        .map_err(outage)?;
    home.remove_note(&path);
    Ok(true)
}

/// Removes a dead job, or moves it back among the jobs.
///
/// It is moved, not copied and removed: as soon as it is among the jobs a worker may have it and
/// dead-letter it again, and what stands among the dead then is not ours to remove.
fn replay_or_drop(home: &Home, name: &OsStr, replay: bool) -> Result<(), Outage> {
    let dead = home.folder(DEAD);
    let file = file_of(home, name, ".json");
    let reason = reason_of(home, name);
    let work = || {
        if replay {
            let ticket = Ticket::fresh(file.file_name().unwrap_or(name), home.token());
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

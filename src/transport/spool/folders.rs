//! The folders of a spool, and a worker's own among them.
//!
//! Takes the folder's path, gives a [`Home`]. Never writes over a file that may be somebody
//! else's, and never takes from a worker that lives. If we crash here, a job is in one of two
//! folders, or in both.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, TryLockError};
use std::io::{self, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;

use super::ticket::{REASON, Ticket, millis, unix_millis};
use crate::disk;
use crate::problem::{Outage, Part};
use crate::transport::{Reason, retry_wait};

/// The folders of a spool.
const FOLDERS: [&str; 5] = [JOBS, CLAIMED, RETRY, EVENTS, DEAD];
pub(super) const JOBS: &str = "jobs";
pub(super) const CLAIMED: &str = "claimed";
pub(super) const RETRY: &str = "retry";
pub(super) const EVENTS: &str = "events";
pub(super) const DEAD: &str = "dead";

/// The file in a worker's folder that it holds a lock on.
const LOCK: &str = ".lock";

/// The code of a job that killed its workers, or was dropped by them, too often.
const CRASHED: &str = "crashed";

/// How often a job may come back without a verdict: its worker died, or dropped it.
const MAX_TRIES: u32 = 10;

/// Bytes that must fit onto a disk that is not full.
const ROOM: usize = 1 << 20;

/// Bytes of a file that are read as a job, far above every limit: the rest cannot make it right.
const MAX_BODY: u64 = 64 << 20;

/// The folder and its subfolders.
#[derive(Debug)]
pub(super) struct Spool {
    pub(super) root: PathBuf,
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

/// A worker's or a sender's own folder: `claimed/WORKER`, with a lock that says that it lives.
#[derive(Debug)]
pub(super) struct Home {
    pub(super) spool: Spool,
    name: String,
    pub(super) dir: PathBuf,
    count: AtomicU64,
    /// Whether something could not be written since it was last seen that it can.
    doubted: AtomicBool,
    _lock: File,
}

impl Home {
    /// Opens the spool and moves in. This also finds out whether files can be written and linked
    /// here, before a job depends on it.
    pub(super) fn make(dir: &Path) -> Result<Home, Outage> {
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
            doubted: AtomicBool::new(false),
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

    /// Something could not be written: no more jobs are to come in until it can.
    pub(super) fn doubt(&self) {
        self.doubted.store(true, Ordering::SeqCst);
    }

    /// Finds out whether events can be written, if that is in doubt. A few bytes fit onto many a
    /// full disk, so it is done with many.
    pub(super) fn clear(&self) -> Result<(), Outage> {
        if !self.doubted.load(Ordering::SeqCst) {
            return Ok(());
        }
        let probe = self.folder(EVENTS).join(format!(".probe-{}", self.name));
        disk::put_new(&self.temp(), &probe, &vec![0; ROOM])
            .and_then(|_| fs::remove_file(&probe))
            .map_err(|error| disk::outage(Part::Transport, "write files in", &probe, error))?;
        self.doubted.store(false, Ordering::SeqCst);
        Ok(())
    }

    /// A name that nobody has had.
    pub(super) fn token(&self) -> String {
        format!(
            "{}-{}",
            self.name,
            self.count.fetch_add(1, Ordering::Relaxed)
        )
    }

    /// A place to write a file before it gets its name. Swept with this folder.
    pub(super) fn temp(&self) -> PathBuf {
        self.dir.join(format!(".tmp-{}", self.token()))
    }

    pub(super) fn folder(&self, name: &str) -> PathBuf {
        self.spool.folder(name)
    }

    /// Moves a job that ended without a verdict back among those that wait, or, after too many
    /// times, among the dead.
    pub(super) fn give_back(&self, path: &Path, ticket: &Ticket) -> io::Result<()> {
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
    pub(super) fn put_back(&self, path: &Path, ticket: Ticket) -> io::Result<OsString> {
        if !ticket.is_fresh() {
            let file = ticket.to_string().into();
            return self.wait(path, ticket).map(|()| file);
        }
        let name = link_once(path, &self.folder(JOBS), &ticket.name)?;
        fs::remove_file(path)?;
        Ok(format!("{name}.json").into())
    }

    /// Moves a job among those that wait, in one step, under a name that is ours alone.
    pub(super) fn wait(&self, path: &Path, ticket: Ticket) -> io::Result<()> {
        fs::rename(path, self.folder(RETRY).join(ticket.to_string()))
    }

    /// Gives a job a second name among the dead and writes its reason beside it.
    pub(super) fn bury(&self, path: &Path, name: &str, reason: &Reason) -> io::Result<()> {
        // What was not synced by its sender is ours to sync now: the claim is going to go.
        File::open(path)?.sync_all()?;
        let dead = self.folder(DEAD);
        let buried = link_once(path, &dead, name)?;
        let text = json!({ "code": reason.code, "message": reason.message, "event": reason.event });
        let file = dead.join(format!("{buried}{REASON}.json"));
        disk::replace(&self.temp(), &file, format!("{text:#}\n").as_bytes())
    }

    /// Gives back what dead workers held.
    pub(super) fn sweep(&self) -> io::Result<()> {
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
    pub(super) fn give_back_all(&self, dir: &Path) -> io::Result<usize> {
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

/// Gives a file a second name in a folder: `NAME.json`, or `NAME.2.json` and so on where that
/// name is taken by other content, never overwriting any. Says which.
pub(super) fn link_once(from: &Path, dir: &Path, name: &str) -> io::Result<String> {
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
pub(super) fn read_job(path: &Path) -> io::Result<Vec<u8>> {
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
pub(super) fn is_job(entry: &fs::DirEntry) -> io::Result<bool> {
    let file = entry.file_name();
    Ok(!is_hidden(&file)
        && file.as_encoded_bytes().ends_with(b".json")
        && entry.file_type()?.is_file())
}

fn is_hidden(file: &OsStr) -> bool {
    file.as_encoded_bytes().starts_with(b".")
}

/// Removes a file, if it is there.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

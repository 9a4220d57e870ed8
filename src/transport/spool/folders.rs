//! The folders of a spool, and a worker's own among them.
//!
//! Takes the folder's path, gives a [`Home`]. Never writes over a file that may be somebody
//! else's, never links one that is, and never takes from a worker that lives. If we crash here, a
//! job is in one of two folders, or in both.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::io::{self, BufReader, ErrorKind, Read};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use serde_json::json;
use tokio::sync::watch;

use super::ticket::{REASON, Ticket, millis, unix_millis};
use super::unsettled::Unsettled;
use crate::disk::{self, Calls};
use crate::problem::{Outage, Part};
use crate::transport::{Reason, State, retry_wait};

/// The folders of a spool.
pub(super) const FOLDERS: [&str; 5] = [JOBS, CLAIMED, RETRY, EVENTS, DEAD];
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

/// How long a folder that hangs holds up whoever leaves it.
const LEAVE: Duration = Duration::from_secs(2);

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
    /// What is under way to the disk.
    pub(super) calls: Calls,
    /// The user that our files belong to.
    owner: u32,
    count: AtomicU64,
    /// Whether something could not be written since it was last seen that it can.
    unwritable: AtomicBool,
    /// Whether jobs can come in.
    pub(super) state: watch::Sender<State>,
    /// Jobs that nobody holds any more and that are still in our folder.
    dropped: Mutex<BTreeMap<PathBuf, Dropped>>,
    pub(super) unsettled: Unsettled,
    _lock: File,
}

/// A job that goes back.
#[derive(Debug)]
struct Dropped {
    ticket: Ticket,
    back: Back,
    /// Whether a thread is at it.
    taken: bool,
}

/// How a job goes back that was not settled.
#[derive(Debug, Clone, Copy)]
pub(super) enum Back {
    /// Nobody worked on it.
    AsItWas,
    /// After a moment: the disk did not do what was asked, which is not the job's fault.
    Later,
    /// Counted: it was dropped without a verdict.
    Tried,
}

impl Home {
    /// Opens the spool and moves in. This also finds out whether files can be written and linked
    /// here, before a job depends on it.
    pub(super) fn make(dir: &Path, calls: Calls) -> Result<Home, Outage> {
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
        let dir = claimed.join(&name);
        let owner = fs::metadata(&dir)
            .map_err(|error| disk::outage(Part::Transport, "open the spool", &dir, error))?
            .uid();
        let home = Home {
            dir,
            spool,
            name,
            calls,
            owner,
            count: AtomicU64::new(0),
            unwritable: AtomicBool::new(false),
            state: watch::Sender::new(State::Up),
            dropped: Mutex::default(),
            unsettled: Unsettled::default(),
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
    pub(super) fn mark_unwritable(&self) {
        self.unwritable.store(true, Ordering::SeqCst);
    }

    /// Sets whether jobs can come in. The worker, which may have other reasons too, logs it.
    pub(super) fn set_state(&self, state: State) {
        self.state.send_if_modified(|old| {
            let new = *old != state;
            if new {
                match &state {
                    State::Up => {
                        tracing::debug!("the spool answers: {}", self.spool.root.display())
                    }
                    State::Down(why) => tracing::debug!(%why, "the spool gives no jobs"),
                }
                *old = state;
            }
            new
        });
    }

    /// Finds out whether events can be written, if that is in doubt. A few bytes fit onto many a
    /// full disk, so it is done with many.
    pub(super) fn check_writable(&self) -> Result<(), Outage> {
        if !self.unwritable.load(Ordering::SeqCst) {
            return Ok(());
        }
        let probe = self.folder(EVENTS).join(format!(".probe-{}", self.name));
        disk::put_new(&self.temp(), &probe, &vec![0; ROOM])
            .and_then(|_| fs::remove_file(&probe))
            .map_err(|error| disk::outage(Part::Transport, "write files in", &probe, error))?;
        self.unwritable.store(false, Ordering::SeqCst);
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
    pub(super) fn requeue(&self, path: &Path, ticket: &Ticket) -> io::Result<()> {
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
            self.dead_letter(path, &ticket.name, &reason)?;
            let Ticket { name, .. } = ticket;
            tracing::error!(job.file = %name, "dead-lettered {name}: {}", reason.message);
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
    pub(super) fn put_back(&self, path: &Path, ticket: Ticket) -> io::Result<PathBuf> {
        if ticket.is_fresh() {
            match self.place(path, JOBS, &ticket.name) {
                Ok(name) => {
                    fs::remove_file(path)?;
                    return Ok(self.folder(JOBS).join(format!("{name}.json")));
                }
                Err(error) if error.kind() == ErrorKind::NotFound => return Err(error),
                // It is another's, and cannot be read any more: moving takes no right to it, but
                // a name that is ours alone.
                Err(_) => {}
            }
        }
        let to = self.folder(RETRY).join(ticket.to_string());
        self.wait(path, ticket).map(|()| to)
    }

    /// Moves a job among those that wait, in one step, under a name that is ours alone.
    pub(super) fn wait(&self, path: &Path, ticket: Ticket) -> io::Result<()> {
        fs::rename(path, self.folder(RETRY).join(ticket.to_string()))
    }

    /// Gives a job a second name among the dead and writes its reason beside it.
    pub(super) fn dead_letter(&self, path: &Path, name: &str, reason: &Reason) -> io::Result<()> {
        // What was not synced by its sender is ours to sync now: the claim is going to go.
        File::open(path)?.sync_all()?;
        let dead_lettered = self.place(path, DEAD, name)?;
        let text = json!({ "code": reason.code, "message": reason.message, "event": reason.event });
        let file = self
            .folder(DEAD)
            .join(format!("{dead_lettered}{REASON}.json"));
        disk::replace(&self.temp(), &file, format!("{text:#}\n").as_bytes())
    }

    /// Gives a file a second name in a folder, as [`link_once`]. One that is another user's is
    /// copied: where hard links are protected the kernel refuses to link it, and its owner could
    /// go on writing to it.
    fn place(&self, path: &Path, folder: &str, name: &str) -> io::Result<String> {
        let dir = self.folder(folder);
        let file = fs::symlink_metadata(path)?;
        if !file.is_file() {
            return Err(no_file());
        }
        if file.uid() == self.owner {
            return link_once(path, &dir, name);
        }
        let temp = self.temp();
        let placed = disk::stage_copy(path, &temp).and_then(|()| link_once(&temp, &dir, name));
        disk::unstage(&temp, placed)
    }

    /// Lets go of a job in our folder, which goes back: at once, on a thread that may hang, or at
    /// the latest when dead workers are looked for.
    pub(super) fn requeue_later(self: &Arc<Home>, path: &Path, ticket: &Ticket, back: Back) {
        let dropped = Dropped {
            ticket: ticket.clone(),
            back,
            taken: false,
        };
        self.dropped().insert(path.to_owned(), dropped);
        let home = Arc::clone(self);
        self.calls.begin(move || home.requeue_dropped());
    }

    /// Requeues the jobs that nobody holds any more.
    pub(super) fn requeue_dropped(&self) {
        let mut left = Vec::new();
        // Each is taken by one thread, and no lock is held while the disk is asked.
        while let Some((path, ticket, back)) = self.take_dropped() {
            let gone = match back {
                Back::AsItWas => self.put_back(&path, ticket).map(|_| ()),
                Back::Tried => self.requeue(&path, &ticket),
                Back::Later => {
                    let due = unix_millis() + millis(retry_wait(1).1);
                    self.wait(&path, Ticket { due, ..ticket })
                }
            };
            match gone {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    self.cannot("requeue", &path, &error);
                    left.push(path);
                }
                // Where it is not found it was requeued when the intake closed.
                _ => {
                    self.unstuck(&path);
                    self.dropped().remove(&path);
                }
            }
        }
        let mut dropped = self.dropped();
        for path in left {
            dropped
                .entry(path)
                .and_modify(|dropped| dropped.taken = false);
        }
    }

    fn take_dropped(&self) -> Option<(PathBuf, Ticket, Back)> {
        let mut dropped = self.dropped();
        let (path, dropped) = dropped.iter_mut().find(|(_, dropped)| !dropped.taken)?;
        dropped.taken = true;
        Some((path.clone(), dropped.ticket.clone(), dropped.back))
    }

    /// How many jobs are on their way back.
    pub(super) fn count_dropped(&self) -> u64 {
        let dropped = self.dropped();
        let moving = dropped.keys().filter(|path| !self.unsettled.holds(path));
        moving.count() as u64
    }

    fn dropped(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Dropped>> {
        self.dropped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers and logs what could not be done to a file.
    pub(super) fn cannot(&self, what: &str, path: &Path, error: &io::Error) {
        let fix = disk::fix(error.kind());
        let message = format!("cannot {what} {}: {error}; {fix}", path.display());
        self.stuck(path, "unsettled", &message);
    }

    /// Requeues what dead workers held. One that cannot be taken over holds up no other.
    ///
    /// # Errors
    /// The first of the folder itself. What a worker's folder or file met is logged of that.
    pub(super) fn sweep(&self) -> io::Result<()> {
        let mut first = Ok(());
        for entry in fs::read_dir(self.folder(CLAIMED))? {
            first = first.and(entry.and_then(|entry| self.visit(&entry)));
        }
        first
    }

    fn visit(&self, entry: &fs::DirEntry) -> io::Result<()> {
        let (path, name) = (entry.path(), entry.file_name());
        if is_hidden(&name) || name == *self.name || !entry.file_type()?.is_dir() {
            return Ok(());
        }
        match self.take_over(&path) {
            Ok(()) => self.unstuck(&path),
            // Another worker took it over first.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => self.cannot("take over the jobs of a dead worker in", &path, &error),
        }
        Ok(())
    }

    fn take_over(&self, dir: &Path) -> io::Result<()> {
        let file = dir.join(LOCK);
        let mut options = File::options();
        let lock = options.read(true).write(true).create(true).truncate(false);
        let lock = match lock.open(&file) {
            Ok(lock) => lock,
            // Another user's: that it lives can be seen without the right to write.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                File::open(&file).map_err(|_| error)?
            }
            Err(error) => return Err(error),
        };
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let (count, left) = self.requeue_all(dir);
        if count > 0 {
            tracing::warn!(
                count,
                dir = %dir.display(),
                "jobs of a dead worker are requeued"
            );
        }
        if left.is_err() {
            // The folder stays for what is left in it, of which each was logged.
            return Ok(());
        }
        remove(&file)?;
        fs::remove_dir(dir)
    }

    /// Requeues every job in a worker's folder, and removes what was only half written. Counts
    /// those requeued; one that cannot be is logged, and holds up no other. Beside them the first
    /// error.
    pub(super) fn requeue_all(&self, dir: &Path) -> (usize, io::Result<()>) {
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            // Another worker took it over first.
            Err(error) if error.kind() == ErrorKind::NotFound => return (0, Ok(())),
            Err(error) => {
                self.cannot("list", dir, &error);
                return (0, Err(error));
            }
        };
        let (mut count, mut first) = (0, Ok(()));
        for entry in entries {
            match entry.and_then(|entry| self.requeue_entry(&entry)) {
                Ok(requeued) => count += usize::from(requeued),
                Err(error) => first = first.and(Err(error)),
            }
        }
        (count, first)
    }

    /// Whether it was a job that went back.
    fn requeue_entry(&self, entry: &fs::DirEntry) -> io::Result<bool> {
        let (path, file) = (entry.path(), entry.file_name());
        if file == LOCK {
            return Ok(false);
        }
        let requeued = if is_hidden(&file) {
            remove(&path).map(|()| false)
        } else {
            let ticket = Ticket::parse(&file).unwrap_or_else(|| Ticket::fresh(&file, self.token()));
            self.requeue(&path, &ticket).map(|()| true)
        };
        match requeued {
            Ok(requeued) => {
                self.unstuck(&path);
                Ok(requeued)
            }
            // Its owner settled it just now.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => {
                self.cannot("requeue", &path, &error);
                Err(error)
            }
        }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let dir = self.dir.clone();
        let (done, gone) = mpsc::channel::<()>();
        // On a thread of its own: whoever drops this may serve others, and the disk may hang.
        let leave = move || {
            // Fails when jobs are left, and then the folder is to stay for whoever comes next.
            let gone = remove(&dir.join(LOCK)).and_then(|()| fs::remove_dir(&dir));
            if let Err(error) = gone {
                tracing::warn!(%error, "cannot remove {}", dir.display());
            }
            drop(done);
        };
        match thread::Builder::new().spawn(leave) {
            // Ready as soon as the other end is dropped.
            Ok(_) => gone.recv_timeout(LEAVE).unwrap_or_default(),
            Err(error) => tracing::warn!(%error, "cannot remove {}", self.dir.display()),
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
    let mut body = Vec::new();
    open_job(path)?.take(MAX_BODY).read_to_end(&mut body)?;
    Ok(body)
}

/// Opens a file that was dropped in by somebody, who may put something else in its place at any
/// moment: no link is followed, and no pipe is waited for.
pub(super) fn open_job(path: &Path) -> io::Result<File> {
    let kind = fs::symlink_metadata(path)?;
    if !kind.is_file() {
        return Err(no_file());
    }
    let mut options = File::options();
    let file = options
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(no_file()),
    }
}

fn no_file() -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, "it is no regular file")
}

/// What a folder's entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A file, not hidden, named `*.json`.
    Job,
    /// Not yet a job, or nobody's.
    Hidden,
    /// A link, which is not followed.
    Link,
    /// A folder, a pipe.
    NoFile,
    /// A file of another name.
    OtherName,
}

/// What a folder's entry is.
pub(super) fn kind(entry: &fs::DirEntry) -> io::Result<Kind> {
    let file = entry.file_name();
    if is_hidden(&file) {
        return Ok(Kind::Hidden);
    }
    let kind = entry.file_type()?;
    Ok(match kind.is_file() {
        true if file.as_encoded_bytes().ends_with(b".json") => Kind::Job,
        true => Kind::OtherName,
        false if kind.is_symlink() => Kind::Link,
        false => Kind::NoFile,
    })
}

/// Whether a folder's entry is a job.
pub(super) fn is_job(entry: &fs::DirEntry) -> io::Result<bool> {
    Ok(kind(entry)? == Kind::Job)
}

/// Whether it is a job among the dead, beside which its reason stands.
pub(super) fn is_dead(entry: &fs::DirEntry) -> io::Result<bool> {
    let name = entry.file_name();
    let name = name.as_encoded_bytes().strip_suffix(b".json");
    let named = name.is_some_and(|name| !name.ends_with(REASON.as_bytes()));
    Ok(named && is_job(entry)?)
}

fn is_hidden(file: &OsStr) -> bool {
    file.as_encoded_bytes().starts_with(b".")
}

/// Removes a file, if it is there. One whose name is too long for the disk is not.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error)
            if !matches!(
                error.kind(),
                ErrorKind::NotFound | ErrorKind::InvalidFilename
            ) =>
        {
            Err(error)
        }
        _ => Ok(()),
    }
}

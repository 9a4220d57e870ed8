//! Files that outlast a power cut.
//!
//! Takes bytes or a file and the place for it, gives a file that is whole or not there at all.
//! Never overwrites, except where the name says so. If we crash here, a staged file stays behind
//! under a name that nobody reads, and whoever owns that folder sweeps it.
//!
//! A file is safe when its bytes are synced *and* the folder that names it is: a file linked but
//! not yet synced is seen by everyone and gone after a power cut. That is why finding a file that
//! another process put there is no proof, and every function below syncs the folder then, too.
//!
//! A disk may also never answer: a hard mount whose server is gone. [`Calls`] waits for one only
//! so long, and bounds how many threads it holds for ever.

use std::fs::{self, File, TryLockError};
use std::io::{self, BufRead as _, BufReader, ErrorKind, Seek as _, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::problem::{Outage, Part};

/// The calls that are under way to one disk. Clones share them.
///
/// A call that hangs cannot be ended from outside. It keeps its place until it does end, however
/// long nobody has waited for it, so that hanging calls cannot pile up: when all places are taken
/// by them, the next calls wait for a place, fail when their time has passed, and were not begun.
/// When the disk answers again the places become free, and nothing else has to be done.
#[derive(Debug, Clone)]
pub struct Calls(Arc<Semaphore>);

impl Calls {
    /// Places for so many calls at once.
    pub fn new(most: usize) -> Calls {
        Calls(Arc::new(Semaphore::new(most.max(1))))
    }

    /// Does work that blocks, on a thread for that, and waits for it so long.
    ///
    /// # Errors
    /// That of the work, or [`ErrorKind::TimedOut`], for which [`fix`] has the words. The work may
    /// then not have begun, or may still be done when the disk answers again.
    pub async fn within<T: Send + 'static>(
        &self,
        timeout: Duration,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let call = async {
            let place = self.place().await?;
            let work = move || {
                let done = work();
                drop(place);
                done
            };
            tokio::task::spawn_blocking(work)
                .await
                .unwrap_or_else(|error| Err(io::Error::other(error)))
        };
        answer(timeout, call).await
    }

    /// Begins work that nobody waits for, unless every place is taken: then it is not done.
    pub fn begin(&self, work: impl FnOnce() + Send + 'static) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return work();
        };
        if let Ok(place) = Arc::clone(&self.0).try_acquire_owned() {
            runtime.spawn_blocking(move || {
                work();
                drop(place);
            });
        }
    }

    /// As [`Calls::within`], for work that finds its threads itself. It goes on to its end even
    /// when nobody waits for it any more.
    ///
    /// # Errors
    /// Only those of the waiting: what the work answered is in the result.
    pub async fn within_async<T: Send + 'static>(
        &self,
        timeout: Duration,
        work: impl Future<Output = T> + Send + 'static,
    ) -> io::Result<T> {
        let call = async {
            let place = self.place().await?;
            let work = async move {
                let done = work.await;
                drop(place);
                done
            };
            #[expect(
                clippy::disallowed_methods,
                reason = "a hanging call is not to hold up a drain; its place must be kept till it \
                          ends"
            )]
            let work = tokio::spawn(work);
            work.await.map_err(io::Error::other)
        };
        answer(timeout, call).await
    }

    async fn place(&self) -> io::Result<OwnedSemaphorePermit> {
        // The semaphore is never closed.
        let place = Arc::clone(&self.0).acquire_owned().await;
        place.map_err(io::Error::other)
    }
}

async fn answer<T>(timeout: Duration, call: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(timeout, call)
        .await
        .unwrap_or_else(|_| {
            let message = format!("no answer within {} s", timeout.as_secs_f64());
            Err(io::Error::new(ErrorKind::TimedOut, message))
        })
}

/// Makes a folder inside `root`, and syncs every folder from it up to `root`.
///
/// # Errors
/// When one cannot be made or synced.
pub fn make_dir(dir: &Path, root: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    // Not only those made just now: another process may have made one and not come to sync it.
    for folder in dir.ancestors() {
        sync_dir(folder)?;
        if folder == root {
            break;
        }
    }
    Ok(())
}

/// Makes a folder wherever it is, with those above it, and syncs what it made.
///
/// # Errors
/// When it cannot be made or synced.
pub fn make_root(dir: &Path) -> io::Result<()> {
    let standing = dir
        .ancestors()
        .find(|folder| folder.exists())
        .unwrap_or(dir);
    make_dir(dir, standing)
}

/// Makes the names in a folder safe.
///
/// # Errors
/// When the folder cannot be opened or synced.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Writes a file that was not there, by way of `staged`, which must be on the same filesystem.
/// `false` when a file of that name is there already: it is left as it is.
///
/// # Errors
/// When it may not be safe. Nothing is then left at `staged`.
pub fn put_new(staged: &Path, target: &Path, bytes: &[u8]) -> io::Result<bool> {
    let linked = stage(staged, bytes).and_then(|()| link_new(staged, target));
    unstage(staged, linked)
}

/// Writes a file, in the place of one that may be there.
///
/// # Errors
/// As [`put_new`].
pub fn replace(staged: &Path, target: &Path, bytes: &[u8]) -> io::Result<()> {
    match stage(staged, bytes).and_then(|()| fs::rename(staged, target)) {
        Ok(()) => sync_parent(target),
        Err(error) => unstage(staged, Err(error)),
    }
}

/// Gives a file that is synced a second name, unless that name is taken (`false`), and syncs the
/// folder of that name.
///
/// # Errors
/// When the second name may not be safe.
pub fn link_new(from: &Path, to: &Path) -> io::Result<bool> {
    let new = match fs::hard_link(from, to) {
        Ok(()) => true,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => false,
        Err(error) => return Err(error),
    };
    sync_parent(to)?;
    Ok(new)
}

/// Syncs the folder that a file is in.
///
/// # Errors
/// As [`sync_dir`].
pub fn sync_parent(file: &Path) -> io::Result<()> {
    match file.parent() {
        Some(here) if here.as_os_str().is_empty() => sync_dir(Path::new(".")),
        Some(folder) => sync_dir(folder),
        None => Ok(()),
    }
}

/// Opens a file that lines are added to, and makes it where it is missing; none, where somebody else
/// has it open so.
///
/// # Errors
/// When the disk fails.
pub fn hold_lines(path: &Path) -> io::Result<Option<File>> {
    let mut open = File::options();
    let file = open.read(true).append(true).create(true).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Reads the whole lines of a file from its beginning, and gives how many bytes they have. What has
/// no line end is no line: who wrote it was killed, or is writing it. `each` has the number of a
/// line, from 1, and the line.
///
/// # Errors
/// When the disk fails, or the first of `each`.
pub fn whole_lines(
    path: &Path,
    file: &File,
    mut each: impl FnMut(u64, &[u8]) -> Result<(), Outage>,
) -> Result<u64, Outage> {
    let outage = |error| outage(Part::Disk, "read", path, error);
    let mut reader = BufReader::new(file);
    reader.rewind().map_err(outage)?;
    let (mut whole, mut line) = (0, Vec::new());
    for number in 1.. {
        line.clear();
        let bytes = reader.read_until(b'\n', &mut line).map_err(outage)?;
        if !line.ends_with(b"\n") {
            break;
        }
        each(number, &line)?;
        whole += bytes as u64;
    }
    Ok(whole)
}

/// Says what could not be done, where, and what to do about it.
pub fn outage(part: Part, what: &str, path: &Path, error: io::Error) -> Outage {
    let fix = fix(error.kind());
    Outage::because(
        part,
        format!("cannot {what} {}; {fix}", path.display()),
        error,
    )
}

/// What to do about an error of a disk.
pub fn fix(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::PermissionDenied => "let the user that banshi runs as read and write there",
        ErrorKind::ReadOnlyFilesystem => "mount it writable, or name another folder",
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "free some space there",
        ErrorKind::NotFound => "it is missing: mount or make it, or name another folder",
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists => {
            "a file is in the way: move it, or name another folder"
        }
        ErrorKind::TimedOut => "it does not answer: look whether the disk or its mount hangs",
        ErrorKind::Unsupported => "use a filesystem with hard links and locks",
        _ => "check the disk",
    }
}

/// Writes and syncs a file under a name that nobody reads.
///
/// # Errors
/// When it cannot; there may then be half a file.
pub fn stage(staged: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create_new(staged)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Copies and syncs a file under a name that nobody reads, with its time and no wider rights. The
/// copy is ours, except when we may give it to the file's owner: what root moves stays its user's.
///
/// # Errors
/// As [`stage`], and when the file cannot be read.
pub fn stage_copy(from: &Path, staged: &Path) -> io::Result<()> {
    let mut from = File::open(from)?;
    let metadata = from.metadata()?;
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .mode(metadata.mode() & 0o666 | 0o600)
        .open(staged)?;
    io::copy(&mut from, &mut file)?;
    // Refused to everybody but root, which is as well.
    fchown(&file, Some(metadata.uid()), Some(metadata.gid())).unwrap_or_default();
    file.set_modified(metadata.modified()?)?;
    file.sync_all()
}

/// Removes a staged file, whatever became of it. What it was for decides the result.
///
/// # Errors
/// That of the result, or when the file could not be removed.
pub fn unstage<T>(staged: &Path, result: io::Result<T>) -> io::Result<T> {
    match fs::remove_file(staged) {
        Err(error) if result.is_ok() && error.kind() != ErrorKind::NotFound => Err(error),
        _ => result,
    }
}

/// What is free on a disk, for a user that is not root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes.
    pub bytes: u64,
    /// Files that can still be made; none where the filesystem has no limit of its own.
    pub files: Option<u64>,
}

/// What is free on the disk that a folder is on. None, where the system is not asked: only Linux
/// is.
///
/// # Errors
/// When the folder can't be looked at.
#[cfg(target_os = "linux")]
pub fn space(dir: &Path) -> io::Result<Option<Space>> {
    let found = rustix::fs::statvfs(dir)?;
    Ok(Some(Space {
        bytes: found.f_bavail.saturating_mul(found.f_frsize),
        files: (found.f_files > 0).then_some(found.f_favail),
    }))
}

/// What is free on the disk that a folder is on: not asked here.
///
/// # Errors
/// None.
#[cfg(not(target_os = "linux"))]
pub fn space(_: &Path) -> io::Result<Option<Space>> {
    Ok(None)
}

/// What a disk did with a file that was written to find out.
#[derive(Debug, Clone, Copy)]
pub struct Trial {
    /// How long it took to write a few bytes so that they outlast a power cut.
    pub sync: Duration,
    /// The file's time, by the clock of the disk's machine.
    pub modified: SystemTime,
}

/// Writes and syncs a small file, gives it a second name, reads it back by that, and removes both.
/// `staged` and `linked` must be names that nobody reads, in one folder.
///
/// # Errors
/// What the disk does not do; what it reads back when that is something else.
pub fn try_out(staged: &Path, linked: &Path, bytes: &[u8]) -> io::Result<Trial> {
    let work = || {
        let began = Instant::now();
        stage(staged, bytes)?;
        sync_parent(staged)?;
        let sync = began.elapsed();
        let modified = fs::metadata(staged)?.modified()?;
        if !link_new(staged, linked)? || link_new(staged, linked)? {
            let wrong = "a second name could be taken twice";
            return Err(io::Error::new(ErrorKind::Unsupported, wrong));
        }
        if fs::read(linked)? != bytes {
            let wrong = "what was read back is not what was written";
            return Err(io::Error::new(ErrorKind::InvalidData, wrong));
        }
        Ok(Trial { sync, modified })
    };
    unstage(staged, unstage(linked, work()))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tokio::sync::mpsc::unbounded_channel;

    use super::*;

    const SOON: Duration = Duration::from_millis(50);
    const LATE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn calls_that_hang_are_given_up_and_bounded_until_the_disk_answers() {
        let calls = Calls::new(2);
        let (begins, mut begun) = unbounded_channel();
        let mut hung = Vec::new();
        for call in 0..5 {
            let (answers, disk) = mpsc::channel::<()>();
            let begins = begins.clone();
            let work = move || {
                begins.send(call).map_err(io::Error::other)?;
                // An error when the other end is dropped: the disk has answered.
                disk.recv().or(Ok(()))
            };
            let error = calls.within(SOON, work).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
            hung.push(answers);
        }
        let sixth = calls.within_async(SOON, async {}).await.unwrap_err();
        assert_eq!(sixth.kind(), ErrorKind::TimedOut, "{sixth}");
        // On a busy machine a thread may begin after its call was given up.
        let both = async { [begun.recv().await, begun.recv().await] };
        let mut held = tokio::time::timeout(LATE, both).await.unwrap();
        held.sort();
        assert_eq!(held, [Some(0), Some(1)]);

        drop(hung);
        calls.within(LATE, || Ok(())).await.unwrap();
        calls.within_async(LATE, async {}).await.unwrap();
        assert!(begun.try_recv().is_err());
    }
}

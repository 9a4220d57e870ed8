//! A store on a disk: what a folder needs beyond `object_store`.
//!
//! Takes the paths of objects, gives folders in which they last. Never removes a staged file that
//! a living process could still link, and never waits for a disk for ever. If we crash here, the
//! kernel lets go of our lock, and the next process sweeps what we left.
//!
//! # What `object_store` does on a disk
//!
//! `PutMode::Create` with `with_fsync(true)`, read in its 0.14.2: write `NAME#1` beside the
//! target, fsync it, hard-link it to the target, fsync the folder, unlink `NAME#1`. So a half file
//! is never seen and a success is durable. Three cases are left to us, and `Folder` has them:
//! a target that is *already there* may have been linked by a process that has not come to sync
//! the folder (or never will), so whoever believes in it syncs the folder first; likewise a
//! parent folder that somebody else is just making; and a killed process leaves its `NAME#1`.
//!
//! # A mount that goes
//!
//! Where a disk was mounted there is a folder still, mostly an empty one, and what is put there is
//! hidden when the disk is back. So before each put it is seen that the folder is the one that was
//! opened, or another with a marker in it: the store, mounted again.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::MARKER;
use crate::disk::{self, Calls};

/// The file in a folder that every process holds a shared lock on while it uses the folder.
const ALIVE: &str = ".banshi-lock";

/// Bytes that must fit onto a disk that is not full: more than most reports have.
const ROOM: usize = 1 << 20;

/// Calls at once. More would make no disk faster; and so many threads a disk that hangs may hold.
const CALLS: usize = 64;

/// How long a disk may take to show that it does not hang, when a call has just found that it does.
const SUSPECT: Duration = Duration::from_secs(2);

/// What a folder needs beyond `object_store`; see the module's head. Clones are the same folder.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    pub(super) root: PathBuf,
    home: Arc<Mutex<Home>>,
    /// How long a call is waited for.
    timeout: Duration,
    calls: Calls,
    /// The calls of trials: one at a time, or each trial of a disk that hangs would leave a thread.
    trials: Calls,
    /// Whether a call was given up since the last trial.
    hangs: Arc<AtomicBool>,
}

/// What is known of the folder that stands at the root now.
#[derive(Debug)]
struct Home {
    id: (u64, u64),
    /// The folders in it that are known to outlast a power cut.
    made: BTreeSet<PathBuf>,
    /// The shared lock that says that somebody uses this folder.
    _alive: File,
}

impl Folder {
    /// Whether there is a store in a folder.
    pub(super) fn is_store(root: &Path) -> io::Result<bool> {
        root.join(MARKER).try_exists()
    }

    /// Sweeps what killed processes left, if nobody else uses the folder, and says that we do.
    ///
    /// A staged file is certainly stale only when no process is left that could still link it.
    /// Its age proves nothing (clocks differ, processes are suspended), and removing one that is
    /// alive would let another process take its name, and the first one link the other's half
    /// file. So every process holds a shared lock, which the kernel lets go when it dies, and
    /// only who can have it exclusively sweeps. Otherwise the leftovers wait: they cost space
    /// and nothing else.
    pub(super) fn enter(root: &Path, timeout: Duration) -> io::Result<Folder> {
        let alive = open_alive(root)?;
        match alive.try_lock() {
            Ok(()) => {
                match sweep(root) {
                    Ok(0) => {}
                    Ok(count) => {
                        tracing::info!(count, "swept half written files of killed processes")
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot sweep {}", root.display())
                    }
                }
                alive.unlock()?;
            }
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
        alive.lock_shared()?;
        Folder::with(root, timeout, alive)
    }

    /// As [`Folder::enter`], and neither sweeps nor makes anything.
    pub(super) fn visit(root: &Path, timeout: Duration) -> io::Result<Folder> {
        let lock = File::options()
            .read(true)
            .write(true)
            .open(root.join(ALIVE));
        let alive = match lock {
            // A store that was copied without it. Nobody else uses this one now.
            Err(error) if error.kind() == ErrorKind::NotFound => File::open(root)?,
            // Of somebody who may only read here.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                File::open(root.join(ALIVE))?
            }
            lock => lock?,
        };
        alive.lock_shared()?;
        Folder::with(root, timeout, alive)
    }

    fn with(root: &Path, timeout: Duration, alive: File) -> io::Result<Folder> {
        Ok(Folder {
            root: root.to_owned(),
            home: Arc::new(Mutex::new(Home {
                id: id(root)?,
                made: BTreeSet::new(),
                _alive: alive,
            })),
            timeout,
            calls: Calls::new(CALLS),
            trials: Calls::new(1),
            hangs: Arc::default(),
        })
    }

    /// Tries out what a store needs of the disk, with files that are swept like staged ones.
    pub(super) fn trial(
        &self,
        bytes: Vec<u8>,
    ) -> impl FnOnce() -> io::Result<disk::Trial> + Send + 'static + use<> {
        let name = || format!("{MARKER}#{}", rand::random::<u64>());
        let (staged, linked) = (self.root.join(name()), self.root.join(name()));
        move || disk::try_out(&staged, &linked, &bytes)
    }

    /// The same folder for finding out whether it answers. The first to ask after a call was given
    /// up learns it soon, so that intake stops soon; whoever asks again has the time of every call.
    pub(super) fn on_trial(&self) -> Folder {
        let timeout = match self.hangs.swap(false, Ordering::Relaxed) {
            true => self.timeout.min(SUSPECT),
            false => self.timeout,
        };
        Folder {
            timeout,
            calls: self.trials.clone(),
            hangs: Arc::default(),
            ..self.clone()
        }
    }

    /// Does work that blocks where it holds nobody up, and waits for it as long as a call may take.
    ///
    /// # Errors
    /// That of the work; [`ErrorKind::TimedOut`] when it may yet be done.
    pub(super) async fn within<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        self.note(self.calls.within(self.timeout, work).await)
    }

    /// As [`Folder::within`], for the calls of `object_store`, which find their threads themselves.
    ///
    /// # Errors
    /// Only those of the waiting.
    pub(super) async fn within_async<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> io::Result<T> {
        self.note(self.calls.within_async(self.timeout, work).await)
    }

    fn note<T>(&self, answer: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &answer
            && error.kind() == ErrorKind::TimedOut
        {
            self.hangs.store(true, Ordering::Relaxed);
        }
        answer
    }

    /// Makes the folder of an object, once, if the store is there. Where an administrator removes
    /// it later, `object_store` makes it again.
    pub(super) fn make(
        &self,
        path: &str,
    ) -> impl FnOnce() -> io::Result<()> + Send + 'static + use<> {
        let (dir, root, home) = (self.dir(path), self.root.clone(), Arc::clone(&self.home));
        move || {
            present(&root, &home)?;
            if !lock(&home).made.contains(&dir) {
                disk::make_dir(&dir, &root)?;
                lock(&home).made.insert(dir);
            }
            Ok(())
        }
    }

    /// Sees to it that an object which was found stays.
    pub(super) fn settle(
        &self,
        path: &str,
    ) -> impl FnOnce() -> io::Result<()> + Send + 'static + use<> {
        let dir = self.dir(path);
        move || disk::sync_dir(&dir)
    }

    /// Finds out whether the store is there and a large report would fit, with a file that is swept
    /// like a staged one.
    pub(super) fn room(&self) -> impl FnOnce() -> io::Result<()> + Send + 'static + use<> {
        let staged = self
            .root
            .join(format!("{MARKER}#{}", rand::random::<u64>()));
        let (root, home) = (self.root.clone(), Arc::clone(&self.home));
        move || {
            present(&root, &home)?;
            let written = disk::stage(&staged, &vec![0; ROOM]);
            disk::unstage(&staged, written)
        }
    }

    fn dir(&self, path: &str) -> PathBuf {
        let mut dir = self.root.join(path);
        dir.pop();
        dir
    }
}

/// Sees that a folder is the one that was opened, or another with a store in it.
fn present(root: &Path, home: &Mutex<Home>) -> io::Result<()> {
    let id = id(root)?;
    let mut home = lock(home);
    if home.id == id {
        return Ok(());
    }
    if !Folder::is_store(root)? {
        let message = format!(
            "another folder without a store (no {MARKER} in it) is now at {}: is it mounted?",
            root.display()
        );
        return Err(io::Error::new(ErrorKind::NotFound, message));
    }
    let alive = open_alive(root)?;
    alive.lock_shared()?;
    *home = Home {
        id,
        made: BTreeSet::new(),
        _alive: alive,
    };
    tracing::info!("the store was mounted again at {}", root.display());
    Ok(())
}

/// Which folder stands at a path: its device and number.
fn id(root: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::metadata(root)?;
    Ok((metadata.dev(), metadata.ino()))
}

fn open_alive(root: &Path) -> io::Result<File> {
    File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(root.join(ALIVE))
}

fn lock(home: &Mutex<Home>) -> MutexGuard<'_, Home> {
    home.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes the staged files (`NAME#1`) below a folder, and counts them.
fn sweep(root: &Path) -> io::Result<usize> {
    let mut count = 0;
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() && entry.file_name().to_str().is_some_and(is_staged) {
                fs::remove_file(entry.path())?;
                count += 1;
            }
        }
    }
    Ok(count)
}

/// What the names of a store's objects end in.
const ENDINGS: [&str; 6] = [".pdf", ".json", ".html", ".ofd", ".p7s", ".sm2"];

/// Whether `object_store` stages under such a name: a name of ours, `#` and digits.
fn is_staged(name: &str) -> bool {
    let Some((target, number)) = name.rsplit_once('#') else {
        return false;
    };
    let ours = target == MARKER || ENDINGS.iter().any(|ending| target.ends_with(ending));
    ours && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}

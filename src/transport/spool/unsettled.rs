//! The files that this worker could not settle: not read, not taken over, not requeued.
//!
//! Takes a file and the time, gives whether to leave it alone for now. Never touches the file.
//! What is written down of it, for others: `notes.rs`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a file that could not be settled is left alone.
pub(super) const SKIPPED_FOR: Duration = Duration::from_secs(60);

/// The files, as this worker last saw them.
#[derive(Debug, Default)]
pub(super) struct Unsettled(Mutex<BTreeMap<PathBuf, Tried>>);

/// Which file it was, and when it was last tried. Another file of that name is another matter.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tried {
    pub(super) inode: u64,
    pub(super) at: Instant,
}

impl Unsettled {
    /// Whether a file is to be left alone for now.
    pub(super) fn skips(&self, path: &Path, inode: u64) -> bool {
        let tried = self.lock().get(path).copied();
        tried.is_some_and(|tried| tried.inode == inode && tried.at.elapsed() < SKIPPED_FOR)
    }

    /// Whether a file could not be settled the last time.
    pub(super) fn holds(&self, path: &Path) -> bool {
        self.lock().contains_key(path)
    }

    /// The files, by their paths.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        self.lock().keys().cloned().collect()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Tried>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

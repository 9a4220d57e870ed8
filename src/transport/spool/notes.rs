//! What is told of files that cannot be settled.
//!
//! Takes the file and what went wrong, gives one line in the log, a note among the dead that
//! `banshi dead list` shows, and a number for the metrics. Never touches the file itself, and
//! keeps nobody else waiting. If we crash here, the note stays as long as its file does.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use metrics::gauge;
use serde::{Deserialize, Serialize};

use super::folders::{DEAD, Home, remove};
use super::unsettled::Tried;
use crate::digest::sha256;
use crate::disk;
use crate::telemetry::metric;

/// The event of a note, where a dead job has that of its end.
pub(super) const STUCK: &str = "stuck";

/// How many notes a worker keeps. What keeps more files from being settled is seen in these.
const NOTES: usize = 1000;

/// The beginning of a note's name. Hidden, so that it is no dead job.
const NOTE: &str = ".stuck-";

/// What is written down of a file.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Note {
    /// The file below the spool, as it can be read.
    pub(super) file: String,
    /// The same, as it is.
    path: OsString,
    inode: u64,
    pub(super) code: String,
    pub(super) message: String,
}

impl Note {
    /// The file, if it is still there and still the same one.
    pub(super) fn path(&self, home: &Home) -> Option<PathBuf> {
        let path = home.spool.root.join(&self.path);
        let same = fs::symlink_metadata(&path).is_ok_and(|file| file.ino() == self.inode);
        same.then_some(path)
    }
}

impl Home {
    /// Remembers that a file could not be settled, and logs it if that is new.
    pub(super) fn stuck(&self, path: &Path, code: &str, message: &str) {
        // One that has gone meanwhile was settled by another worker.
        let Ok(file) = fs::symlink_metadata(path) else {
            return;
        };
        let (inode, at) = (file.ino(), Instant::now());
        let mut unsettled = self.unsettled.lock();
        let before = unsettled.insert(path.to_owned(), Tried { inode, at });
        let many = unsettled.len() > NOTES;
        drop(unsettled);
        if before.is_none_or(|before| before.inode != inode) {
            tracing::warn!(file = %path.display(), why = message, "a file could not be settled");
        }
        if many {
            return;
        }
        if let Err(error) = self.note(path, inode, code, message) {
            // It is in the log and in the metric; the next trial writes it again.
            tracing::debug!(%error, "cannot write a note on {}", path.display());
        }
    }

    fn note(&self, path: &Path, inode: u64, code: &str, message: &str) -> io::Result<()> {
        let below = path.strip_prefix(&self.spool.root).unwrap_or(path);
        let note = self.note_of(path);
        // Another worker's words on the same file are as good, and older.
        if read(&note).is_some_and(|note| note.inode == inode) {
            return Ok(());
        }
        let text = Note {
            file: below.display().to_string(),
            path: below.as_os_str().to_owned(),
            inode,
            code: code.to_owned(),
            message: message.to_owned(),
        };
        let text = serde_json::to_vec(&text).map_err(io::Error::other)?;
        disk::replace(&self.temp(), &note, &text)
    }

    fn note_of(&self, path: &Path) -> PathBuf {
        let below = path.strip_prefix(&self.spool.root).unwrap_or(path);
        let digest = sha256(below.as_os_str().as_bytes());
        self.folder(DEAD).join(format!("{NOTE}{digest}.json"))
    }

    /// Forgets what was noted of a file: it is settled, or has gone.
    pub(super) fn unstuck(&self, path: &Path) {
        if self.unsettled.lock().remove(path).is_some() {
            self.remove_note(path);
        }
    }

    pub(super) fn remove_note(&self, path: &Path) {
        if let Err(error) = remove(&self.note_of(path)) {
            // A note whose file has gone is not shown.
            tracing::debug!(%error, "cannot remove the note on {}", path.display());
        }
    }

    /// Forgets the files that have gone, and counts the others.
    pub(super) fn count_unsettled(&self) {
        for path in self.unsettled.paths() {
            if fs::symlink_metadata(&path).is_err() {
                self.unstuck(&path);
            }
        }
        gauge!(metric::SPOOL_UNSETTLED).set(self.unsettled.lock().len() as f64);
    }

    /// Removes the notes on files that were settled since by somebody who did not know of them.
    pub(super) fn sweep_notes(&self) -> io::Result<()> {
        for entry in fs::read_dir(self.folder(DEAD))? {
            let entry = entry?;
            let old = is_note(&entry)
                && read(&entry.path()).is_some_and(|note| note.path(self).is_none());
            if old {
                remove(&entry.path())?;
            }
        }
        Ok(())
    }

    /// The notes of all workers on files that are still there, and since when they say so.
    pub(super) fn notes(&self) -> io::Result<Vec<(SystemTime, Note)>> {
        let mut notes = Vec::new();
        for entry in fs::read_dir(self.folder(DEAD))? {
            let entry = entry?;
            if !is_note(&entry) {
                continue;
            }
            // One that cannot be read is being removed, or nobody's.
            let Some(note) = read(&entry.path()).filter(|note| note.path(self).is_some()) else {
                continue;
            };
            let since = entry.metadata().and_then(|note| note.modified());
            notes.push((since.unwrap_or(SystemTime::UNIX_EPOCH), note));
        }
        Ok(notes)
    }
}

fn is_note(entry: &fs::DirEntry) -> bool {
    entry.file_name().as_bytes().starts_with(NOTE.as_bytes())
}

fn read(note: &Path) -> Option<Note> {
    serde_json::from_slice(&fs::read(note).ok()?).ok()
}

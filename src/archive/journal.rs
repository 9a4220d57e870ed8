//! The archive's journal: what was kept, in the order in which it came.
//!
//! Takes lines, keeps them in `journal.jsonl`, synced before anybody acts on them, and locked while
//! somebody archives here. Never rewrites a line. If we crash here, the last line may be half
//! written: it is cut off, and what it spoke of is done again.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::disk;
use crate::problem::{Outage, Part};

/// Its name in the archive's folder.
pub(super) const JOURNAL: &str = "journal.jsonl";

/// Template, year and `job_id`: what a result is stored under.
pub(super) type Address = (String, u16, String);

/// An event, by what no two have.
pub(super) fn noted(source: &str, id: &str) -> String {
    format!("{source} {id}")
}

/// The id of an event; empty, where it has none.
pub(super) fn id_of(event: &[u8]) -> String {
    let head = serde_json::from_slice::<Value>(event).unwrap_or_default();
    head["id"].as_str().unwrap_or_default().to_owned()
}

/// A file of a package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// Its name in the report's folder.
    pub(super) name: String,
    pub(super) sha256: String,
    pub(super) bytes: u64,
}

/// A report in a package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Report {
    /// The event that told of it.
    pub(super) source: String,
    pub(super) id: String,
    /// `name/edition`.
    pub(super) template: String,
    pub(super) year: u16,
    pub(super) job_id: String,
    pub(super) agency: String,
    pub(super) title: String,
    /// 成文日期, `YYYY-MM-DD`, where the report has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) issued_on: Option<String>,
    pub(super) completed_at: String,
    /// Of the PDF.
    pub(super) sha256: String,
    /// The package, as `annual-report-2024-0001`.
    pub(super) bag: String,
    /// The folder in `data/` that it is in, with a folder of its own.
    pub(super) folder: String,
    pub(super) files: Vec<Entry>,
}

impl Report {
    /// Where it is stored.
    pub(super) fn address(&self) -> Address {
        (self.template.clone(), self.year, self.job_id.clone())
    }
}

/// A job that came to no report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Refused {
    pub(super) source: String,
    pub(super) id: String,
    /// `report.rejected` or `report.failed`.
    pub(super) kind: String,
    /// Empty, where none could be read.
    pub(super) job_id: String,
    /// Codes of its problems.
    pub(super) codes: Vec<String>,
}

/// A report that is not in the store as it was announced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Wrong {
    /// The event, as it was published.
    pub(super) event: String,
    pub(super) why: String,
}

impl Wrong {
    /// The event's id; empty, where it has none.
    pub(super) fn id(&self) -> String {
        id_of(self.event.as_bytes())
    }

    /// The event, by what no two have; empty, where it is none.
    pub(super) fn noted(&self) -> String {
        #[derive(Deserialize)]
        struct Head {
            source: String,
            id: String,
        }
        let head = serde_json::from_str(&self.event);
        head.map(|Head { source, id }| noted(&source, &id))
            .unwrap_or_default()
    }
}

/// A line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "line")]
pub(super) enum What {
    /// A report is in a package.
    Kept(Box<Report>),
    /// A job was refused or has failed.
    Refused(Refused),
    /// A report could not be kept; it is tried again at each start.
    Wrong(Wrong),
    /// Up to here the log of events was read, and nothing new was in it.
    Read { id: String },
    /// A package is closed: with this digest its `tagmanifest-sha256.txt` vouches for all of it.
    Closed { bag: String, sha256: String },
}

/// A line, and the place in the log of what it speaks of, where it was read there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Line {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) offset: Option<u64>,
    #[serde(flatten)]
    pub(super) what: What,
}

/// An open journal, which is nobody else's.
#[derive(Debug)]
pub(super) struct Journal(File);

impl Journal {
    /// Opens the journal of a folder, and reads what is in it.
    ///
    /// # Errors
    /// When somebody archives there, the disk fails, or a line is none of ours.
    pub(super) fn open(dir: &Path) -> Result<(Journal, Vec<Line>), Outage> {
        let path = dir.join(JOURNAL);
        let outage = |error| disk::outage(Part::Disk, "open", &path, error);
        let Some(file) = disk::hold_lines(&path).map_err(outage)? else {
            let message = format!("another `banshi archive` is at work in {}", dir.display());
            return Err(Outage::new(Part::Disk, message));
        };
        disk::sync_dir(dir).map_err(outage)?;
        let (lines, whole) = lines(&file, &path)?;
        file.set_len(whole).map_err(outage)?;
        Ok((Journal(file), lines))
    }

    /// Reads a journal that somebody may be writing; and whether somebody is. None, where there is
    /// no journal.
    ///
    /// # Errors
    /// As [`Journal::open`].
    pub(super) fn look(dir: &Path) -> Result<Option<(Vec<Line>, bool)>, Outage> {
        let path = dir.join(JOURNAL);
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(|error| disk::outage(Part::Disk, "open", &path, error))?,
        };
        let busy = file.try_lock_shared().is_err();
        Ok(Some((lines(&file, &path)?.0, busy)))
    }

    /// Adds lines. When this returns they outlast a power cut.
    ///
    /// # Errors
    /// When the disk fails; some of the lines may then be there.
    pub(super) fn append(&mut self, lines: &[Line]) -> io::Result<()> {
        let mut text = Vec::new();
        for line in lines {
            serde_json::to_writer(&mut text, line)?;
            text.push(b'\n');
        }
        self.0.write_all(&text)?;
        self.0.sync_data()
    }
}

/// The lines of a journal, and how many bytes the whole ones have.
fn lines(file: &File, path: &Path) -> Result<(Vec<Line>, u64), Outage> {
    let mut lines = Vec::new();
    let whole = disk::whole_lines(path, file, |number, text| {
        let line = serde_json::from_slice(text).map_err(|error| {
            let message = format!(
                "line {number} of {} is none of this version's; restore the file from a backup",
                path.display()
            );
            Outage::because(Part::Disk, message, error)
        })?;
        lines.push(line);
        Ok(())
    })?;
    Ok((lines, whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(offset: u64) -> Line {
        let id = "a".to_owned();
        Line {
            offset: Some(offset),
            what: What::Read { id },
        }
    }

    #[test]
    fn a_line_that_is_half_written_is_cut_off_and_the_others_stay() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, lines) = Journal::open(dir.path()).unwrap();
        assert!(lines.is_empty());
        journal.append(&[read(1), read(2)]).unwrap();
        let busy = Journal::open(dir.path()).unwrap_err().to_string();
        assert!(busy.contains("at work"), "{busy}");
        drop(journal);
        let path = dir.path().join(JOURNAL);
        let mut file = File::options().append(true).open(&path).unwrap();
        file.write_all(b"{\"offset\":3,\"line\":\"read\"").unwrap();
        let (mut journal, lines) = Journal::open(dir.path()).unwrap();
        assert_eq!(lines, [read(1), read(2)]);
        journal.append(&[read(4)]).unwrap();
        drop(journal);
        let (lines, busy) = Journal::look(dir.path()).unwrap().unwrap();
        assert_eq!((lines, busy), (vec![read(1), read(2), read(4)], false));
        std::fs::write(path, "{}\n").unwrap();
        assert!(Journal::open(dir.path()).is_err());
    }
}

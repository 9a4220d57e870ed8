//! The journal of a sender: which jobs of an input were confirmed.
//!
//! Takes confirmed jobs, gives those of earlier runs. A file of lines of JSON: what it belongs to,
//! then a line a job. Each line is handed to the system as soon as its job is confirmed, so that a
//! kill loses none; it is made safe from a power cut at least once a second, and at the end. If we
//! crash here, the last line may be torn: it is cut off, and its job is sent once more.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::config;
use crate::disk;
use crate::problem::{Outage, Part};
use crate::timing::unix_seconds;
use crate::transport::Lane;

/// How much of a power cut's time may be lost.
const SYNC: Duration = Duration::from_secs(1);
/// The journal's form. Another is not read.
const VERSION: u32 = 1;

/// What a journal belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// The journal's form.
    journal: u32,
    /// The digest of the input.
    input: String,
    /// How many jobs it has.
    pub jobs: u64,
    /// Where they go: the lane, and whose it is.
    lane: String,
    to: String,
    /// When it was begun, in seconds since 1970.
    pub began: u64,
}

impl Begun {
    /// Now.
    pub fn now(input: &str, jobs: usize, lane: Lane, settings: &config::Queue) -> Begun {
        Begun {
            journal: VERSION,
            input: input.to_owned(),
            jobs: jobs as u64,
            lane: lane.to_string(),
            to: place(settings),
            began: unix_seconds(),
        }
    }

    /// In what it belongs to something else than another does.
    fn other(&self, other: &Begun) -> Option<String> {
        let Begun {
            input,
            jobs,
            lane,
            to,
            ..
        } = self;
        if other.journal != VERSION {
            return Some("was written by another version".to_owned());
        }
        if (&other.lane, &other.to) != (lane, to) {
            let (lane, to) = (&other.lane, &other.to);
            return Some(format!("is of jobs sent to the {lane} lane of {to}"));
        }
        if (&other.input, other.jobs) != (input, *jobs) {
            let was = other.jobs;
            return Some(format!(
                "was begun with other jobs ({was}; these are {jobs}): name the same files in the \
                 same order, or another journal"
            ));
        }
        None
    }
}

/// Whose lanes: the broker's hosts may change, as those of a cluster do.
fn place(settings: &config::Queue) -> String {
    let (scheme, rest) = settings.url.split_once(':').unwrap_or_default();
    if scheme == "spool" {
        return settings.url.clone();
    }
    let (_, address) = rest.rsplit_once('@').unwrap_or(("", rest));
    let vhost = address.trim_start_matches('/').split_once('/');
    let vhost = vhost.map_or("", |(_, vhost)| vhost);
    let vhost = vhost.split('?').next().unwrap_or_default();
    format!("{} in the virtual host {vhost:?}", settings.prefix)
}

/// A job that was confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Noted {
    /// Its number in the input, from 1.
    sent: u64,
    /// Its `job_id`.
    pub job_id: String,
    /// SHA-256 of its content, as in manifests.
    pub sha256: String,
}

/// A journal that is being written.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    has: Vec<bool>,
    sent: u64,
    synced: Instant,
    line: Vec<u8>,
}

impl Journal {
    /// Opens the journal of an input, or begins one. Nobody else can write it meanwhile.
    ///
    /// # Errors
    /// When it belongs to something else, is damaged in the middle, is in use, or can't be written.
    pub fn open(path: &Path, begun: &Begun) -> Result<Journal, Outage> {
        let outage = |error| disk::outage(Part::Disk, "write", path, error);
        let Some(file) = disk::hold_lines(path).map_err(outage)? else {
            let why = format!("{} is being written by another enqueue", path.display());
            return Err(Outage::new(Part::Disk, why));
        };
        let mut has = vec![false; usize::try_from(begun.jobs).unwrap_or_default()];
        let (first, whole) = read(path, &file, |noted| {
            let at = usize::try_from(noted.sent).ok();
            let at = at.and_then(|at| has.get_mut(at.checked_sub(1)?));
            at.map(|has| *has = true).ok_or("is no job of its input")
        })?;
        if let Some(other) = first.and_then(|first| begun.other(&first)) {
            let why = format!("{} {other}", path.display());
            return Err(Outage::new(Part::Disk, why));
        }
        // What is behind the last whole line.
        file.set_len(whole).map_err(outage)?;
        let mut journal = Journal {
            path: path.to_owned(),
            sent: has.iter().filter(|has| **has).count() as u64,
            file,
            has,
            synced: Instant::now(),
            line: Vec::new(),
        };
        if whole == 0 {
            journal.write(begun).map_err(outage)?;
            let safe = journal.file.sync_all();
            let safe = safe.and_then(|()| disk::sync_parent(path));
            safe.map_err(outage)?;
        }
        Ok(journal)
    }

    /// What a journal says: what it belongs to, and each job that was confirmed, in the order of the
    /// input.
    ///
    /// # Errors
    /// When it is none, or damaged in the middle.
    pub fn read(path: &Path) -> Result<(Begun, Vec<Noted>), Outage> {
        let opened = File::open(path);
        let file = opened.map_err(|error| disk::outage(Part::Disk, "read", path, error))?;
        let mut jobs = Vec::new();
        let (begun, _) = read(path, &file, |noted| {
            jobs.push(noted);
            Ok(())
        })?;
        jobs.sort_unstable_by_key(|noted: &Noted| noted.sent);
        let begun = begun.filter(|begun| begun.journal == VERSION);
        let begun = begun.ok_or_else(|| {
            let why = format!("{} is no journal of this version", path.display());
            Outage::new(Part::Disk, why)
        })?;
        Ok((begun, jobs))
    }

    /// Whether a job was confirmed.
    pub fn has(&self, at: usize) -> bool {
        self.has.get(at).is_some_and(|has| *has)
    }

    /// How many were.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Notes a job that was confirmed.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn note(&mut self, at: usize, job_id: &str, sha256: &str) -> Result<(), Outage> {
        let noted = Noted {
            sent: at as u64 + 1,
            job_id: job_id.to_owned(),
            sha256: sha256.to_owned(),
        };
        let written = self.write(&noted);
        written.map_err(|error| disk::outage(Part::Disk, "write", &self.path, error))?;
        if let Some(has) = self.has.get_mut(at) {
            *has = true;
        }
        self.sent += 1;
        match self.synced.elapsed() < SYNC {
            true => Ok(()),
            false => self.sync(),
        }
    }

    /// Makes all that was noted safe from a power cut.
    ///
    /// # Errors
    /// When it may not be.
    pub fn sync(&mut self) -> Result<(), Outage> {
        let synced = self.file.sync_data();
        synced.map_err(|error| disk::outage(Part::Disk, "write", &self.path, error))?;
        self.synced = Instant::now();
        Ok(())
    }

    /// Writes a line, at once and in one piece.
    fn write(&mut self, line: &impl Serialize) -> io::Result<()> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, line)?;
        self.line.push(b'\n');
        self.file.write_all(&self.line)
    }
}

/// Reads the whole lines of a journal, and gives the first one and how many bytes they are. What
/// has no line end is no line: the writer was killed or is writing it.
fn read(
    path: &Path,
    file: &File,
    mut each: impl FnMut(Noted) -> Result<(), &'static str>,
) -> Result<(Option<Begun>, u64), Outage> {
    let mut begun = None;
    let whole = disk::whole_lines(path, file, |number, line| {
        let damaged = |why: &str| {
            let name = path.display();
            let why = format!("{name}:{number}: {why}; it is no journal, or it was changed");
            Outage::new(Part::Disk, why)
        };
        if number == 1 {
            let first = serde_json::from_slice(line);
            begun = Some(first.map_err(|error| damaged(&error.to_string()))?);
            return Ok(());
        }
        let noted = serde_json::from_slice(line);
        each(noted.map_err(|error| damaged(&error.to_string()))?).map_err(damaged)
    })?;
    Ok((begun, whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun(input: &str, lane: Lane) -> Begun {
        let settings = config::Settings::load(&[], []).expect("the defaults are right");
        Begun::now(input, 3, lane, &settings.queue)
    }

    #[test]
    fn a_torn_last_line_is_cut_off_and_its_job_is_not_known_to_be_sent() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("journal");
        let own = begun("a", Lane::Bulk);
        let mut journal = Journal::open(&path, &own).expect("a journal");
        journal.note(0, "one", "1").expect("written");
        journal.note(2, "three", "3").expect("written");
        drop(journal);
        let whole = std::fs::read(&path).expect("a file");
        // Killed at any byte.
        for bytes in 0..whole.len() {
            std::fs::write(&path, &whole[..bytes]).expect("a file");
            let mut journal = Journal::open(&path, &own).expect("a journal");
            let lines = whole[..bytes].iter().filter(|byte| **byte == b'\n').count();
            assert_eq!(journal.sent(), lines.saturating_sub(1) as u64, "{bytes}");
            assert!(!journal.has(2));
            journal.note(2, "three", "3").expect("written");
            drop(journal);
            let journal = Journal::open(&path, &own).expect("it is whole again");
            assert!(journal.has(2), "{bytes}");
        }
    }

    #[test]
    fn a_journal_of_something_else_or_with_a_damaged_line_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("journal");
        let mut journal = Journal::open(&path, &begun("a", Lane::Bulk)).expect("a journal");
        let second = Journal::open(&path, &begun("a", Lane::Bulk));
        assert!(
            second
                .expect_err("in use")
                .chain()
                .contains("another enqueue")
        );
        journal.note(0, "one", "1").expect("written");
        drop(journal);
        for (other, said) in [
            (begun("b", Lane::Bulk), "other jobs"),
            (begun("a", Lane::Urgent), "bulk lane"),
        ] {
            let refused = Journal::open(&path, &other).expect_err("another's");
            assert!(refused.chain().contains(said), "{}", refused.chain());
        }
        let text = std::fs::read_to_string(&path).expect("a file");
        std::fs::write(&path, text.replace("\"sent\":1", "\"sent\":x")).expect("a file");
        let damaged = Journal::open(&path, &begun("a", Lane::Bulk)).expect_err("damaged");
        assert!(damaged.chain().contains(":2:"), "{}", damaged.chain());
    }

    #[test]
    fn a_journal_is_bound_to_the_lanes_and_not_to_the_hosts_and_knows_no_password() {
        let place = |url: &str| {
            let settings = config::Settings::load(&[], []).expect("the defaults are right");
            let mut queue = settings.queue;
            queue.url = url.to_owned();
            place(&queue)
        };
        let one = place("amqp://me:secret@one:5672/reports?heartbeat=5");
        assert_eq!(one, "banshi in the virtual host \"reports\"");
        assert_eq!(one, place("amqps://other:p%40ss@two,three/reports"));
        assert_ne!(one, place("amqp://me:secret@one:5672/%2f"));
        assert_eq!(place("spool:./spool"), "spool:./spool");
    }
}

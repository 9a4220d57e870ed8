//! Looking at a spool without taking anything: the events' files, and what is in each folder.
//!
//! Takes the folder, gives entries and counts. Never makes, moves or opens a job's file. If we
//! crash here, nothing was changed.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use futures_util::FutureExt as _;
use tokio::task::spawn_blocking;

use super::folders::{CLAIMED, DEAD, EVENTS, JOBS, RETRY, is_dead, is_job};
use super::{is_ticket, number};
use crate::disk;
use crate::problem::{Outage, Part};
use crate::transport::{Depths, Entry, From};

/// How often new events are looked for.
const LOOK: Duration = Duration::from_secs(1);
/// How much older than the newest an event's file may be when it appears: it is written first and
/// moved in then.
const LATE: u64 = 60_000_000_000;

/// The eye on a spool.
#[derive(Debug)]
pub struct Observer {
    root: PathBuf,
}

/// An event's file, by when it was written.
type Place = (u64, PathBuf);

impl Observer {
    /// Looks whether this is a spool.
    ///
    /// # Errors
    /// When it is none.
    pub async fn open(dir: &Path) -> Result<Observer, Outage> {
        let root = dir.to_owned();
        let events = root.join(EVENTS);
        blocking(&events, |events| fs::metadata(events).map(drop)).await?;
        Ok(Observer { root })
    }

    /// Asks what waits in each folder.
    pub fn depths(&self) -> Depths {
        let root = self.root.clone();
        Box::new(move || {
            let root = root.clone();
            let count = async move {
                blocking(&root, |root| {
                    Ok(vec![
                        ("bulk", Some(number(&root.join(JOBS), is_job)?)),
                        ("retry", Some(number(&root.join(RETRY), is_ticket)?)),
                        ("dead", Some(number(&root.join(DEAD), is_dead)?)),
                    ])
                })
                .await
            };
            count.boxed()
        })
    }

    /// The newest event.
    ///
    /// # Errors
    /// When the disk fails.
    pub async fn newest(&self) -> Result<Option<Entry>, Outage> {
        let events = self.root.join(EVENTS);
        let newest = |events: &Path| {
            for (offset, file) in list(events, 0)?.into_iter().rev() {
                // None: an archive has taken it away.
                if let Some(event) = read(&file)? {
                    return Ok(Some(Entry::of_a_file(offset, event)));
                }
            }
            Ok(None)
        };
        blocking(&events, newest).await
    }

    /// The log, from somewhere on.
    pub fn log(&self, from: From) -> Log {
        let from = match from {
            From::Time(seconds) => seconds.saturating_mul(1_000_000_000),
            From::Offset(written) => written,
        };
        Log {
            events: self.root.join(EVENTS),
            from,
            seen: BTreeMap::new(),
            found: VecDeque::new(),
        }
    }

    /// One event, by its id.
    ///
    /// # Errors
    /// When the disk fails.
    pub async fn event(&self, id: &str) -> Result<Option<Vec<u8>>, Outage> {
        let plain = |c: char| c.is_ascii_hexdigit() || c == '-';
        if !id.chars().all(plain) {
            return Ok(None);
        }
        let file = self.root.join(EVENTS).join(format!("{id}.json"));
        blocking(&file, read).await
    }

    /// The workers, and how many jobs each holds.
    ///
    /// # Errors
    /// When the disk fails.
    pub async fn holders(&self) -> Result<Vec<(String, u64)>, Outage> {
        let claimed = self.root.join(CLAIMED);
        blocking(&claimed, |claimed| {
            let mut holders = Vec::new();
            for entry in fs::read_dir(claimed)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    let name = entry.file_name().to_string_lossy().into_owned();
                    match number(&entry.path(), is_ticket) {
                        Ok(held) => holders.push((name, held)),
                        // It has just left.
                        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                        Err(error) => return Err(error),
                    }
                }
            }
            holders.sort();
            Ok(holders)
        })
        .await
    }
}

impl Entry {
    fn of_a_file(offset: u64, event: Vec<u8>) -> Entry {
        Entry {
            offset,
            routing_key: String::new(),
            event,
        }
    }
}

/// A reader of the events' folder.
#[derive(Debug)]
pub struct Log {
    events: PathBuf,
    /// Nothing that was written before is of interest.
    from: u64,
    /// What was handed out lately.
    seen: BTreeMap<PathBuf, u64>,
    found: VecDeque<Place>,
}

impl Log {
    /// The next event; waits for it. Cancel safe.
    ///
    /// # Errors
    /// When the disk fails.
    pub async fn next(&mut self) -> Result<Entry, Outage> {
        loop {
            if let Some((offset, file)) = self.found.front() {
                let offset = *offset;
                let event = blocking(file, read).await?;
                self.found.pop_front();
                // None: an archive has taken it away.
                if let Some(event) = event {
                    return Ok(Entry::of_a_file(offset, event));
                }
                continue;
            }
            let from = self.from;
            let all = blocking(&self.events, move |events| list(events, from)).await?;
            let new = all
                .into_iter()
                .filter(|(_, file)| !self.seen.contains_key(file));
            self.found = new.collect();
            let Some((newest, _)) = self.found.back() else {
                tokio::time::sleep(LOOK).await;
                continue;
            };
            self.from = self.from.max(newest.saturating_sub(LATE));
            let from = self.from;
            self.seen.retain(|_, written| *written >= from);
            let found = self.found.iter();
            self.seen
                .extend(found.map(|(written, file)| (file.clone(), *written)));
        }
    }
}

/// A file's bytes; none, when it is not there.
fn read(file: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        read => read.map(Some),
    }
}

/// The events' files that were written at that time or later, in the order of their times.
fn list(events: &Path, from: u64) -> io::Result<Vec<Place>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(events)? {
        let entry = entry?;
        let path = entry.path();
        if path.extension().is_none_or(|ending| ending != "json") {
            continue;
        }
        let written = match entry.metadata().and_then(|file| file.modified()) {
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let written = written.duration_since(SystemTime::UNIX_EPOCH);
        let written = written.map_or(0, |since| since.as_nanos());
        let written = u64::try_from(written).unwrap_or(u64::MAX);
        if written >= from {
            all.push((written, path));
        }
    }
    all.sort();
    Ok(all)
}

/// Looks at the disk where blocking is allowed.
async fn blocking<T: Send + 'static>(
    path: &Path,
    look: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
) -> Result<T, Outage> {
    let path = path.to_owned();
    let place = path.clone();
    let looked = spawn_blocking(move || look(&path)).await;
    match looked.map_err(io::Error::other).and_then(|looked| looked) {
        Ok(found) => Ok(found),
        Err(error) => Err(disk::outage(Part::Transport, "look at", &place, error)),
    }
}

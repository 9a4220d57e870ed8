//! What a store does with an object that is put to find out.
//!
//! Takes an open store, gives what was seen. Never leaves anything behind: where objects can't be
//! removed, none is put, and only the marker is looked at. If we crash here, an object or a file
//! can be left under a name that nobody reads.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use object_store::ObjectStoreExt as _;

use super::errors::Answer;
use super::{MARKER, Place, Put, Store, folder_of, may_begin};
use crate::config;
use crate::digest::sha256;
use crate::problem::{Outage, Part};
use crate::timing::wall_clock;

/// Bytes of the object that is put to find out.
const BYTES: usize = 4096;

/// What a store does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examined {
    /// Whether it refuses to put an object where one is; none where no object could be put.
    pub keeps_condition: Option<bool>,
    /// Whether what was put was read back with the same digest.
    pub read_back: ReadBack,
    /// Its clock beside ours, where an object could be put.
    pub clock: Option<Clock>,
    /// How long it took to keep an object.
    pub took: Duration,
}

/// Whether an object was put and read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadBack {
    /// It was, with the same digest, and removed.
    Same,
    /// It was not put, because objects can't be removed here; what the store says to that.
    NotTried(String),
}

/// How far a store's clock is from ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// It is ahead by so much, give or take a second.
    Ahead(Duration),
    /// It is behind.
    Behind(Duration),
}

impl Clock {
    /// The store's time for something that was done between two moments of ours.
    fn between(before: SystemTime, theirs: SystemTime, after: SystemTime) -> Clock {
        // S3 has whole seconds, and a disk's time may be that of its last tick.
        let second = Duration::from_secs(1);
        if let Ok(behind) = before.duration_since(theirs)
            && behind > second
        {
            return Clock::Behind(behind);
        }
        Clock::Ahead(theirs.duration_since(after).unwrap_or_default())
    }

    /// The difference.
    pub fn skew(self) -> Duration {
        match self {
            Clock::Ahead(skew) | Clock::Behind(skew) => skew,
        }
    }
}

/// Where a store of the settings is, before it is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// The folder, for a store on a disk.
    pub folder: Option<PathBuf>,
    /// Whether a worker makes the store when there is none.
    pub may_begin: bool,
}

impl Store {
    /// Where the store of the settings is, or is to be. Nothing is opened.
    ///
    /// # Errors
    /// When the address is none.
    pub fn site(settings: &config::Store) -> Result<Site, Outage> {
        match settings.url.strip_prefix("file:") {
            Some(dir) => {
                let folder = folder_of(dir)?;
                let may_begin = may_begin(&folder, settings.create);
                Ok(Site {
                    folder: Some(folder),
                    may_begin,
                })
            }
            None => Ok(Site {
                folder: None,
                may_begin: settings.create != config::Create::Never,
            }),
        }
    }

    /// Whether there is a store: its marker is there, and says the layout of the settings.
    ///
    /// # Errors
    /// When the store does not answer, or is laid out otherwise.
    pub async fn is_begun(&self) -> Result<bool, Outage> {
        match self.read(MARKER).await? {
            Some(there) => self.same_layout(&there).map(|()| true),
            None => Ok(false),
        }
    }

    /// Puts an object, puts it again, reads it back and removes it; on a disk, files. The marker is
    /// not touched.
    ///
    /// # Errors
    /// When the store does not do it, with what to do.
    pub async fn examine(&self) -> Result<Examined, Outage> {
        let bytes: Vec<u8> = (0..BYTES).map(|_| rand::random()).collect();
        let Place::Folder(folder) = &self.place else {
            return self.examine_bucket(&bytes).await;
        };
        let before = wall_clock();
        let trial = folder.within(folder.trial(bytes)).await;
        let trial = trial.map_err(|error| self.disk_outage("use", "", error))?;
        Ok(Examined {
            keeps_condition: Some(true),
            read_back: ReadBack::Same,
            clock: Some(Clock::between(before, trial.modified, wall_clock())),
            took: trial.sync,
        })
    }

    async fn examine_bucket(&self, bytes: &[u8]) -> Result<Examined, Outage> {
        let path = format!(".banshi-doctor-{:016x}", rand::random::<u64>());
        if let Err(why) = self.remove(&path).await {
            // What is there already is put again, as each worker does at its start.
            let before = std::time::Instant::now();
            let keeps_condition = match self.read(MARKER).await? {
                Some(marker) => {
                    let put = self.put_if_absent(MARKER, &marker, "text/plain").await?;
                    Some(matches!(put, Put::Exists))
                }
                None => None,
            };
            return Ok(Examined {
                keeps_condition,
                read_back: ReadBack::NotTried(why.reason()),
                clock: None,
                took: before.elapsed(),
            });
        }
        let seen = self.put_and_read(&path, bytes).await;
        self.remove(&path).await?;
        seen
    }

    async fn put_and_read(&self, path: &str, bytes: &[u8]) -> Result<Examined, Outage> {
        let media_type = "application/octet-stream";
        let (before, began) = (wall_clock(), std::time::Instant::now());
        let mut unconditional = false;
        if let Put::Unconditional(_) = self.put_if_absent(path, bytes, media_type).await? {
            unconditional = true;
            self.overwrite(path, bytes, media_type).await?;
        }
        let (took, after) = (began.elapsed(), wall_clock());
        let again = self.put_if_absent(path, bytes, media_type).await?;
        let read = self.read_existing(path).await?;
        if sha256(&read) != sha256(bytes) {
            let message = format!(
                "what was read back from {} is not what was put there; don't use this store until \
                 it is known why: see to its disks, and to what stands between",
                self.uri(path)
            );
            return Err(Outage::new(Part::Store, message));
        }
        let location = self.location(path);
        let about = self.objects.head(&location).await;
        let about = about.map_err(|error| self.sort("read", path, error));
        let about = about.map_err(|answer| answer.into_outage(self, "read", path))?;
        let theirs = SystemTime::from(about.last_modified);
        // The time of the second put, where that was done.
        let after = if matches!(again, Put::Exists) {
            after
        } else {
            wall_clock()
        };
        Ok(Examined {
            keeps_condition: Some(!unconditional && matches!(again, Put::Exists)),
            read_back: ReadBack::Same,
            clock: Some(Clock::between(before, theirs, after)),
            took,
        })
    }

    /// Removes an object, or finds out that it could be removed.
    async fn remove(&self, path: &str) -> Result<(), Outage> {
        let (objects, location) = (Arc::clone(&self.objects), self.location(path));
        match objects.delete(&location).await {
            Ok(()) => Ok(()),
            Err(error) => match self.sort("remove", path, error) {
                Answer::NotFound(_) => Ok(()),
                answer => Err(answer.into_outage(self, "remove", path)),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_compared_with_the_time_that_it_took() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let clock = |theirs| Clock::between(at(1000), at(theirs), at(1010));
        assert_eq!(clock(1005), Clock::Ahead(Duration::ZERO));
        assert_eq!(clock(999), Clock::Ahead(Duration::ZERO));
        assert_eq!(clock(1070), Clock::Ahead(Duration::from_secs(60)));
        assert_eq!(clock(900), Clock::Behind(Duration::from_secs(100)));
    }
}

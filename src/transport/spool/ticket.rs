//! What the file of a job is called, which is all that is remembered of it.
//!
//! Takes a name that somebody chose or that we wrote, gives a [`Ticket`] and back. Never lets a
//! sender's name leave its folder, hide, or grow too long. If we crash here, nothing has moved.

use std::ffi::OsStr;
use std::fmt;
use std::time::{Duration, SystemTime};

use crate::timing::wall_clock;
use crate::transport::RETRY_WAITS;

/// The end of the name of a dead job's reason.
pub(super) const REASON: &str = ".reason";

/// Bytes of NAME, so that a name with its ticket fits into the 255 of a file system.
const MAX_NAME: usize = 120;

/// What a job's file in `claimed/` or `retry/` is called:
/// `{due}.{attempt}.{tries}.{token}.{name}.json`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket {
    /// When it is to be taken, in milliseconds since 1970. Padded, so that names sort by it.
    pub(super) due: u64,
    /// The attempt it is on, from 1.
    pub(super) attempt: u32,
    /// How often it came back without a verdict.
    pub(super) tries: u32,
    /// Makes the name unique: worker and number.
    pub(super) token: String,
    /// The sender's NAME, made harmless. It means nothing to us.
    pub(super) name: String,
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ticket {
            due,
            attempt,
            tries,
            token,
            name,
        } = self;
        write!(f, "{due:013}.{attempt}.{tries}.{token}.{name}.json")
    }
}

impl Ticket {
    pub(super) fn parse(file: &OsStr) -> Option<Ticket> {
        let mut parts = file.to_str()?.strip_suffix(".json")?.splitn(5, '.');
        let mut part = || parts.next();
        Some(Ticket {
            due: part()?.parse().ok()?,
            attempt: part()?.parse().ok().filter(|attempt| *attempt > 0)?,
            tries: part()?.parse().ok()?,
            token: part()?.to_owned(),
            name: part()?.to_owned(),
        })
    }

    /// A job that comes from `jobs/`: nothing is known of it.
    pub(super) fn fresh(file: &OsStr, token: String) -> Ticket {
        let file = file.to_string_lossy();
        let name = safe_name(file.strip_suffix(".json").unwrap_or(&file));
        Ticket {
            due: 0,
            attempt: 1,
            tries: 0,
            token,
            name,
        }
    }

    pub(super) fn is_fresh(&self) -> bool {
        self.attempt == 1 && self.tries == 0
    }

    /// Whether it may be taken. One that is further away than the longest wait was written by
    /// another clock, and is taken as well.
    pub(super) fn is_due(&self, now: u64) -> bool {
        let longest = RETRY_WAITS
            .map(|(_, wait)| millis(wait))
            .into_iter()
            .max()
            .unwrap_or(0);
        self.due <= now || self.due > now.saturating_add(2 * longest)
    }
}

/// A name for a file, from one that somebody chose: short, visible and in one folder.
pub(super) fn safe_name(name: &str) -> String {
    let safe = |char: char| char.is_alphanumeric() || ['.', '_', '-'].contains(&char);
    let mut safe: String = name
        .chars()
        .map(|char| if safe(char) { char } else { '_' })
        .collect();
    safe.truncate(safe.floor_char_boundary(MAX_NAME));
    if safe.is_empty() || safe.starts_with('.') {
        safe.insert(0, '_');
    }
    // That end is the reasons'.
    if safe.ends_with(REASON) {
        safe.push('_');
    }
    safe
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn unix_millis() -> u64 {
    wall_clock()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, millis)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever a sender calls a file, what we call it is one name that reads back.
        #[test]
        fn a_ticket_reads_back(due: u64, attempt in 1_u32.., tries: u32, name: String) {
            let name = safe_name(&name);
            prop_assert!(!name.contains('/') && !name.starts_with('.'));
            prop_assert!(!name.ends_with(REASON) && !name.is_empty());
            let token = "4194304-0a1b2c3d-18446744073709551615".to_owned();
            let ticket = Ticket { due, attempt, tries, token, name };
            let file = ticket.to_string();
            prop_assert!(file.len() <= 255, "{}", file.len());
            prop_assert_eq!(Ticket::parse(OsStr::new(&file)), Some(ticket));
        }
    }

    #[test]
    fn what_is_no_ticket_is_none() {
        for file in [
            "",
            "a.json",
            "1.1.0.w-1.a",
            "1.0.0.w-1.a.json",
            "x.1.0.w-1.a.json",
            "1.1.-1.w-1.a.json",
        ] {
            assert_eq!(Ticket::parse(OsStr::new(file)), None, "{file}");
        }
    }
}

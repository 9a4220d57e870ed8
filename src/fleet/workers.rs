//! The workers that were heard lately.

use std::collections::BTreeMap;

use super::status::{InHand, Waiting, WorkerStatus};

/// Seconds after which a worker that says nothing is one of which nothing is known.
const SILENT: u64 = 20;
/// Seconds after which it is forgotten.
const FORGOTTEN: u64 = 600;
/// The most workers that are remembered.
const MOST: usize = 2_000;

/// What a worker has said last.
#[derive(Debug, Clone, PartialEq)]
pub struct Heard {
    /// Its words.
    pub status: WorkerStatus,
    /// When we heard them, by our clock, in seconds since 1970.
    pub at: u64,
    /// Seconds by which its clock is ahead of ours, a few more or less.
    pub ahead: i64,
}

impl Heard {
    /// Whether it has said nothing for longer than it should.
    pub fn is_silent(&self, now: u64) -> bool {
        now.saturating_sub(self.at) > SILENT
    }
}

/// The workers.
#[derive(Debug, Clone, Default)]
pub struct Workers {
    /// Those that were heard, by their ids.
    heard: BTreeMap<String, Heard>,
    /// Those of a spool, which say nothing, and how many jobs each holds.
    pub holders: Vec<(String, u64)>,
    /// Why none can be heard, where that is so.
    pub unheard: Option<String>,
}

impl Workers {
    /// Notes what a worker has said; nothing, when it is no status.
    pub fn hear(&mut self, body: &[u8], now: u64) {
        let Some(status) = WorkerStatus::read(body) else {
            return;
        };
        self.heard
            .retain(|_, heard| now.saturating_sub(heard.at) <= FORGOTTEN);
        if self.heard.len() >= MOST && !self.heard.contains_key(&status.worker) {
            return;
        }
        let ahead = status.at.cast_signed().saturating_sub(now.cast_signed());
        let heard = Heard {
            at: now,
            ahead,
            status,
        };
        self.heard.insert(heard.status.worker.clone(), heard);
    }

    /// All that were heard, by their ids.
    pub fn all(&self) -> impl Iterator<Item = &Heard> {
        self.heard.values()
    }

    /// Those that were heard lately.
    pub fn live(&self, now: u64) -> impl Iterator<Item = &WorkerStatus> {
        let heard = self
            .heard
            .values()
            .filter(move |heard| !heard.is_silent(now));
        heard.map(|heard| &heard.status)
    }

    /// What makes workers differ that should be the same: several versions, templates or faces.
    pub fn mixed(&self, now: u64) -> Vec<&'static str> {
        type Of = fn(&WorkerStatus) -> &str;
        let mut mixed = Vec::new();
        let kinds: [(&'static str, Of); 4] = [
            ("version", |status| &status.version),
            ("engine", |status| &status.engine),
            ("templates", |status| &status.templates_sha256),
            ("fonts", |status| &status.fonts_sha256),
        ];
        for (name, of) in kinds {
            let mut all = self.live(now).map(of);
            let first = all.next();
            if all.any(|other| Some(other) != first) {
                mixed.push(name);
            }
        }
        mixed
    }

    /// Whoever has a job in hand, and since when.
    pub fn holder(&self, job_id: &str, now: u64) -> Option<(&WorkerStatus, &InHand)> {
        self.live(now).find_map(|status| {
            let mut in_hand = status.in_hand.iter();
            let job = in_hand.find(|job| job.job_id == job_id)?;
            Some((status, job))
        })
    }

    /// What is known of a job's waiting, the newest last.
    pub fn waits(&self, job_id: &str) -> Vec<&Waiting> {
        let all = self.heard.values().flat_map(|heard| &heard.status.waiting);
        let mut waits: Vec<_> = all.filter(|waiting| waiting.job_id == job_id).collect();
        waits.sort_by_key(|waiting| waiting.until);
        waits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(worker: &str, version: &str) -> Vec<u8> {
        let status = WorkerStatus {
            worker: worker.to_owned(),
            version: version.to_owned(),
            ..WorkerStatus::default()
        };
        serde_json::to_vec(&status).expect("JSON")
    }

    #[test]
    fn a_worker_that_says_nothing_is_silent_and_then_forgotten() {
        let mut workers = Workers::default();
        workers.hear(&status("a-1", "1"), 1_000);
        assert_eq!(workers.live(1_020).count(), 1);
        assert_eq!(workers.live(1_021).count(), 0);
        assert_eq!(workers.all().count(), 1);
        workers.hear(&status("b-1", "1"), 1_601);
        assert_eq!(workers.all().count(), 1);
    }

    #[test]
    fn a_fleet_of_two_versions_is_found_out_and_only_among_the_living() {
        let mut workers = Workers::default();
        workers.hear(&status("a-1", "1"), 1_000);
        workers.hear(&status("b-1", "2"), 1_000);
        assert_eq!(workers.mixed(1_001), ["version"]);
        workers.hear(&status("b-1", "2"), 1_100);
        assert!(workers.mixed(1_101).is_empty());
    }

    #[test]
    fn what_is_no_status_is_not_heard() {
        let mut workers = Workers::default();
        for body in [&b"{}"[..], b"", b"\xff", &vec![b' '; 1 << 20]] {
            workers.hear(body, 1);
        }
        workers.hear(&status("", "1"), 1);
        assert_eq!(workers.all().count(), 0);
    }
}

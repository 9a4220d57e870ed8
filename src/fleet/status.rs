//! What a worker says of itself every few seconds.
//!
//! Takes nothing, gives the message's JSON. Never has a report's text in it. If we crash here, the
//! message is lost without harm.

use serde::{Deserialize, Serialize};

use crate::typesetter::Census;

/// The most bytes of such a message that are read.
pub(super) const LARGEST: usize = 128 << 10;

/// A worker's status, as it is published to the exchange `banshi.status`. What a worker of another
/// version does not say is nothing, and what it says more is passed over.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkerStatus {
    /// Its id: the machine's name and the process's number.
    pub worker: String,
    /// Its version.
    pub version: String,
    /// What typesets, as manifests name it.
    pub engine: String,
    /// SHA-256 over its templates.
    pub templates_sha256: String,
    /// SHA-256 over its faces.
    pub fonts_sha256: String,
    /// When it started, in seconds since 1970.
    pub started_at: u64,
    /// When it said so, in seconds since 1970.
    pub at: u64,
    /// Whether jobs can come in and those in hand are not stuck.
    pub ready: bool,
    /// Why it is not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Its typesetters.
    pub typesetters: Census,
    /// What it has done since it started.
    pub jobs: Jobs,
    /// How many jobs it has in hand.
    pub in_flight: u64,
    /// Some of them, the oldest first.
    pub in_hand: Vec<InHand>,
    /// Jobs that it has sent to wait lately, the newest last.
    pub waiting: Vec<Waiting>,
    /// Seconds that jobs are in hand and none was settled.
    pub unsettled_seconds: u64,
}

/// How jobs have left a worker's hands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Jobs {
    /// Stored and announced.
    pub completed: u64,
    /// Refused for what they are.
    pub rejected: u64,
    /// Given up.
    pub failed: u64,
    /// Sent to wait.
    pub waiting: u64,
}

/// A job in a worker's hands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InHand {
    /// Its id; `unknown`, when it could not be read.
    pub job_id: String,
    /// Its template.
    pub template: String,
    /// Its lane.
    pub lane: String,
    /// Which attempt this is.
    pub attempt: u32,
    /// When it was delivered, in seconds since 1970.
    pub since: u64,
}

/// A job that was sent to wait.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Waiting {
    /// Its id.
    pub job_id: String,
    /// Which attempt has ended.
    pub attempt: u32,
    /// When it is due again, in seconds since 1970.
    pub until: u64,
    /// What was out.
    pub part: String,
    /// Why, in one line.
    pub why: String,
}

impl WorkerStatus {
    /// Reads what somebody has published. `None`, when that is no status.
    pub fn read(body: &[u8]) -> Option<WorkerStatus> {
        if body.len() > LARGEST {
            return None;
        }
        let status: WorkerStatus = serde_json::from_slice(body).ok()?;
        let named = !status.worker.is_empty() && status.worker.len() <= 255;
        named.then_some(status)
    }
}

/// The id of this worker: `MACHINE-PROCESS`, without dots, which part the words of a routing key.
pub fn this_worker() -> String {
    let machine = machine();
    let plain = |c: char| match c.is_ascii_alphanumeric() {
        true => c,
        false => '-',
    };
    let machine: String = machine.chars().take(64).map(plain).collect();
    format!("{machine}-{}", std::process::id())
}

#[cfg(target_os = "linux")]
fn machine() -> String {
    let names = rustix::system::uname();
    names.nodename().to_string_lossy().into_owned()
}

#[cfg(not(target_os = "linux"))]
fn machine() -> String {
    std::env::var("HOSTNAME").unwrap_or_else(|_| "worker".to_owned())
}

//! What the suite has in common with the other tests.

use std::path::PathBuf;

#[expect(dead_code, reason = "only the clean-up is used here")]
#[path = "../it/support/deployment.rs"]
pub mod deployment;
#[expect(dead_code, reason = "only the servers' addresses are used here")]
#[path = "../it/support/stores.rs"]
pub mod stores;
#[expect(dead_code, reason = "only puts are harmed here")]
#[path = "../it/support/wire.rs"]
pub mod wire;

#[expect(
    dead_code,
    reason = "threads are counted with the rest of what is used"
)]
#[path = "../it/support/hang.rs"]
pub mod hang;
#[path = "../it/support/raw_amqp.rs"]
pub mod raw_amqp;

#[path = "../it/support/figures.rs"]
pub mod figures;
#[expect(
    dead_code,
    unused_imports,
    reason = "only the jobs themselves are used here"
)]
#[path = "../it/support/jobs.rs"]
pub mod jobs;
#[expect(dead_code, reason = "only what adds up is used here")]
#[path = "../it/support/official.rs"]
pub mod official;

pub use crate::letters::settings;

/// The `banshi` program that is tested.
pub const BANSHI: &str = env!("CARGO_BIN_EXE_banshi");

/// A file of the repository.
pub fn repository(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

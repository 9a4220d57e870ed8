//! What a worker tells whoever listens, every few seconds.
//!
//! Takes what is in hand and how the typesetters are, publishes a status. Nothing waits for it, and
//! a status that is not heard is lost. If we crash here, the worker goes on without telling.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing::{debug, info};

use super::Pipeline;
use crate::fleet::{WorkerStatus, this_worker};
use crate::timing::unix_seconds;
use crate::transport::{State, StatusSender};

/// Statuses that are not sent after one that could not be: a user without the permission is not
/// refused every few seconds.
const SKIPPED: u32 = 12;

/// Tells how the worker is, again and again, for as long as it serves.
pub(super) async fn tell(
    send: StatusSender,
    pipeline: Arc<Pipeline>,
    ready: watch::Receiver<State>,
    every: Duration,
) {
    let mut status = WorkerStatus {
        worker: this_worker(),
        started_at: unix_seconds(),
        ..pipeline.identity()
    };
    let (mut said, mut refused) = (false, false);
    loop {
        status.at = unix_seconds();
        status.why = match &*ready.borrow() {
            State::Up => None,
            State::Down(why) => Some(why.clone()),
        };
        status.ready = status.why.is_none();
        status.typesetters = pipeline.pool.census();
        pipeline.progress.describe(&mut status);
        let body = serde_json::to_vec(&status).unwrap_or_default();
        let sent = send(status.worker.clone(), body).await;
        match sent {
            Ok(true) => (said, refused) = (true, false),
            // There is no session yet.
            Ok(false) => {}
            Err(outage) if said || refused => debug!(error = %outage.chain(), "no status was sent"),
            Err(outage) => {
                refused = true;
                info!(
                    error = %outage.chain(),
                    "no status can be sent: `banshi status --workers` does not show this worker"
                );
            }
        }
        tokio::time::sleep(if refused { every * SKIPPED } else { every }).await;
    }
}

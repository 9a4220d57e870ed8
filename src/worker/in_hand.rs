//! The jobs in hand: counted, waited for at the end, and whether more can come.
//!
//! Takes the tasks that jobs are, gives back what is not finished in time. Never waits longer than
//! it is told to. If we crash here, they all go back.

use std::time::Duration;

use metrics::gauge;
use tokio::sync::watch::Receiver;
use tokio::task::{JoinError, JoinSet};
use tracing::{error, info, warn};

use crate::telemetry::{self, metric};
use crate::transport::{Intake, State};

/// A job in hand, counted for as long as this is.
pub(super) struct InHand;

impl InHand {
    pub(super) fn new() -> InHand {
        gauge!(metric::INFLIGHT).increment(1.0);
        InHand
    }
}

impl Drop for InHand {
    fn drop(&mut self) {
        gauge!(metric::INFLIGHT).decrement(1.0);
    }
}

/// Gives back what was not begun and waits for the jobs in hand; what is not finished in time goes
/// back to the queue.
pub(super) async fn drain(intake: &mut Intake, jobs: &mut JoinSet<()>, timeout: Duration) {
    let finished = tokio::time::timeout(timeout, async {
        intake.stop().await;
        while let Some(ended) = jobs.join_next().await {
            note_panic(ended);
        }
    });
    if finished.await.is_err() {
        warn!(
            held = jobs.len(),
            timeout_s = timeout.as_secs(),
            "worker.drain_timeout passed: the jobs in hand go back to the queue"
        );
        jobs.shutdown().await;
    }
}

/// A panic on the road is our bug. Its job went back to the queue when its delivery was dropped.
pub(super) fn note_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        error!(%error, "a job's task panicked; the job goes back to the queue");
    }
}

/// Logs and counts whether jobs can come in, as it changes.
pub(super) async fn watch(mut state: Receiver<State>) {
    loop {
        let now = state.borrow_and_update().clone();
        gauge!(metric::CONNECTED).set(if now == State::Up { 1.0 } else { 0.0 });
        match now {
            State::Up => {
                telemetry::notify("STATUS=jobs can come in");
                info!("jobs can come in");
            }
            State::Down(why) => {
                let line = why.lines().next().unwrap_or_default();
                telemetry::notify(&format!("STATUS=no jobs can come in: {line}"));
                warn!(%why, "no jobs can come in");
            }
        }
        if state.changed().await.is_err() {
            return;
        }
    }
}

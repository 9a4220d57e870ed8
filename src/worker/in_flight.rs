//! The jobs in hand: counted, waited for at the end, and whether more can come.
//!
//! Takes the tasks that jobs are, requeues what is not finished in time. Never waits longer than
//! its timeout. If we crash here, they all go back.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::gauge;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::telemetry::{self, metric};
use crate::transport::{Intake, Lane, State};

/// The longest time between two looks at whether jobs are stuck.
const LOOK: Duration = Duration::from_secs(5);

/// The jobs in hand, and when one of them was last settled.
#[derive(Debug, Clone)]
pub(super) struct Progress(Arc<Mutex<(usize, Instant)>>);

impl Progress {
    pub(super) fn new() -> Progress {
        Progress(Arc::new(Mutex::new((0, Instant::now()))))
    }

    /// A job was taken in.
    pub(super) fn enter(&self, lane: Lane) -> InFlight {
        gauge!(metric::INFLIGHT, "lane" => lane.as_str()).increment(1.0);
        let mut now = self.lock();
        if now.0 == 0 {
            now.1 = Instant::now();
        }
        now.0 += 1;
        InFlight(self.clone(), lane)
    }

    /// How long no job was settled while jobs were in hand.
    pub(super) fn unsettled(&self) -> Duration {
        let now = self.lock();
        match now.0 {
            0 => Duration::ZERO,
            _ => now.1.elapsed(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, (usize, Instant)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A job in hand, counted for as long as this is.
#[derive(Debug)]
pub(super) struct InFlight(Progress, Lane);

impl InFlight {
    /// The job was settled.
    pub(super) fn settled(&self) {
        self.0.lock().1 = Instant::now();
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        gauge!(metric::INFLIGHT, "lane" => self.1.as_str()).decrement(1.0);
        self.0.lock().0 -= 1;
    }
}

/// Requeues what was not begun and waits for the jobs in hand; what is not finished in time goes
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

/// A panic in the pipeline is our bug. Its job went back to the queue when its delivery was
/// dropped.
pub(super) fn note_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        error!(%error, "a job's task panicked; the job goes back to the queue");
    }
}

/// Logs and counts whether jobs can come in, as it changes, and says whether the worker is ready:
/// jobs can come in, and those in hand are not stuck for longer than `bound`.
pub(super) async fn watch(
    mut state: watch::Receiver<State>,
    progress: Progress,
    bound: Duration,
    ready: watch::Sender<State>,
) {
    let look = (bound / 4).min(LOOK);
    let mut announced = None;
    loop {
        let now = state.borrow_and_update().clone();
        let unsettled = progress.unsettled();
        gauge!(metric::UNSETTLED).set(unsettled.as_secs_f64());
        let now = match now {
            State::Up if unsettled >= bound => State::Down(format!(
                "jobs are in hand, and none was settled for {} s; the log says what they wait for",
                bound.as_secs()
            )),
            now => now,
        };
        if announced.as_ref() != Some(&now) {
            announce(&now, announced.is_none());
            ready.send_replace(now.clone());
            announced = Some(now);
        }
        tokio::select! {
            changed = state.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(look) => {}
        }
    }
}

fn announce(state: &State, first: bool) {
    gauge!(metric::CONNECTED).set(if *state == State::Up { 1.0 } else { 0.0 });
    match state {
        State::Up => {
            telemetry::notify("STATUS=jobs can come in");
            info!("jobs can come in");
        }
        State::Down(why) => {
            let line = why.lines().next().unwrap_or_default();
            telemetry::notify(&format!("STATUS=no jobs can come in: {line}"));
            // It is not connected when it starts.
            if first {
                info!(%why, "no jobs can come in yet");
            } else {
                warn!(%why, "no jobs can come in");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn jobs_of_which_none_is_settled_make_a_worker_not_ready() {
        let bound = Duration::from_millis(400);
        let (ready, mut readiness) = watch::channel(State::Down("starting".to_owned()));
        let (_state, up) = watch::channel(State::Up);
        let progress = Progress::new();
        let (looking, slow, quick) = (
            progress.clone(),
            progress.enter(Lane::Bulk),
            progress.enter(Lane::Urgent),
        );
        let mut tasks = JoinSet::new();
        tasks.spawn(watch(up, looking, bound, ready));
        let mut becomes = async |wanted: fn(&State) -> bool| {
            let since = Instant::now();
            readiness.wait_for(wanted).await.expect("it is watched");
            since.elapsed()
        };
        becomes(|state| *state == State::Up).await;
        tokio::time::sleep(bound / 2).await;
        quick.settled();
        drop(quick);
        let stuck =
            becomes(|state| matches!(state, State::Down(why) if why.contains("none was settled")))
                .await;
        assert!(stuck >= bound, "counted from the last that was settled");
        slow.settled();
        becomes(|state| *state == State::Up).await;
        drop(slow);
        assert_eq!(progress.unsettled(), Duration::ZERO);
    }
}

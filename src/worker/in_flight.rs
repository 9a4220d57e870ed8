//! The jobs in hand: counted, waited for at the end, and whether more can come.
//!
//! Takes the tasks that jobs are, requeues what is not finished in time. Never waits longer than
//! its timeout. If we crash here, they all go back.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::gauge;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::Outcome;
use crate::fleet::{InHand, Jobs, Waiting, WorkerStatus};
use crate::telemetry::{self, metric};
use crate::transport::{Intake, Lane, State};

/// The longest time between two looks at whether jobs are stuck.
const LOOK: Duration = Duration::from_secs(5);

/// The most jobs that a status names: in hand, and sent to wait.
const NAMED: usize = 64;
/// The most bytes of a reason in a status.
const REASON: usize = 300;

/// The jobs in hand, and what became of the others.
#[derive(Debug, Clone)]
pub(super) struct Progress(Arc<Mutex<Now>>);

#[derive(Debug)]
struct Now {
    /// The jobs in hand in the order of their deliveries; none, of one that is not read yet.
    in_hand: BTreeMap<u64, Option<InHand>>,
    /// The number of the next.
    next: u64,
    /// When a job was last settled, or the first of those in hand came.
    settled: Instant,
    jobs: Jobs,
    waiting: VecDeque<Waiting>,
}

impl Progress {
    pub(super) fn new() -> Progress {
        Progress(Arc::new(Mutex::new(Now {
            in_hand: BTreeMap::new(),
            next: 0,
            settled: Instant::now(),
            jobs: Jobs::default(),
            waiting: VecDeque::new(),
        })))
    }

    /// A job was taken in.
    pub(super) fn enter(&self, lane: Lane) -> InFlight {
        gauge!(metric::INFLIGHT, "lane" => lane.as_str()).increment(1.0);
        let mut now = self.lock();
        if now.in_hand.is_empty() {
            now.settled = Instant::now();
        }
        let number = now.next;
        now.next += 1;
        now.in_hand.insert(number, None);
        InFlight(self.clone(), lane, number)
    }

    /// A job was sent to wait.
    pub(super) fn waits(&self, mut waiting: Waiting) {
        let end = waiting.why.floor_char_boundary(REASON);
        waiting.why.truncate(end);
        let mut now = self.lock();
        if now.waiting.len() == NAMED {
            now.waiting.pop_front();
        }
        now.waiting.push_back(waiting);
    }

    /// How long no job was settled while jobs were in hand.
    pub(super) fn unsettled(&self) -> Duration {
        let now = self.lock();
        match now.in_hand.is_empty() {
            true => Duration::ZERO,
            false => now.settled.elapsed(),
        }
    }

    /// Puts into a status what is in hand and what became of the others.
    pub(super) fn describe(&self, status: &mut WorkerStatus) {
        status.unsettled_seconds = self.unsettled().as_secs();
        let now = self.lock();
        status.in_flight = now.in_hand.len() as u64;
        let read = now.in_hand.values().flatten();
        status.in_hand = read.take(NAMED).cloned().collect();
        status.jobs = now.jobs;
        status.waiting = now.waiting.iter().cloned().collect();
    }

    fn lock(&self) -> MutexGuard<'_, Now> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A job in hand, counted for as long as this is.
#[derive(Debug)]
pub(super) struct InFlight(Progress, Lane, u64);

impl InFlight {
    /// What the job is, once it is read.
    pub(super) fn is(&self, job: InHand) {
        self.0.lock().in_hand.insert(self.2, Some(job));
    }

    /// The job was settled.
    pub(super) fn settled(&self, outcome: Outcome) {
        let mut now = self.0.lock();
        now.settled = Instant::now();
        match outcome {
            Outcome::Completed => now.jobs.completed += 1,
            Outcome::Rejected => now.jobs.rejected += 1,
            Outcome::Failed => now.jobs.failed += 1,
            Outcome::Waiting => now.jobs.waiting += 1,
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        gauge!(metric::INFLIGHT, "lane" => self.1.as_str()).decrement(1.0);
        self.0.lock().in_hand.remove(&self.2);
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
        quick.settled(Outcome::Completed);
        drop(quick);
        let stuck =
            becomes(|state| matches!(state, State::Down(why) if why.contains("none was settled")))
                .await;
        assert!(stuck >= bound, "counted from the last that was settled");
        slow.settled(Outcome::Completed);
        becomes(|state| *state == State::Up).await;
        drop(slow);
        assert_eq!(progress.unsettled(), Duration::ZERO);
    }
}

//! Whether jobs are let in, or something that every job needs is out.
//!
//! Takes what a job met, gives whose fault it was: that job's, or that of a part that is out for
//! all. Then it is closed, and that part is probed until it is back. Never takes one job's word for
//! it: the part itself is probed. If we crash here, nothing is forgotten, for nothing is
//! remembered.

use metrics::gauge;
use tokio::sync::{Mutex, watch};
use tokio::time::timeout;
use tracing::{debug, info};

use crate::problem::{Outage, Part};
use crate::telemetry::metric;
use crate::timing::{AGAIN, PROBE};

/// A part that is out for every job, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Closed {
    pub(super) part: Part,
    pub(super) why: String,
}

/// Lets jobs in while it is open: it is closed while a part that every job needs is known to be
/// out.
#[derive(Debug, Default)]
pub(super) struct Gate {
    closed: watch::Sender<Option<Closed>>,
    /// Many jobs meet an outage at once; one finds out about it.
    trying: Mutex<()>,
}

impl Gate {
    /// Why it is closed, as that changes.
    pub(super) fn state(&self) -> watch::Receiver<Option<Closed>> {
        self.closed.subscribe()
    }

    /// Lets a job pass.
    ///
    /// # Errors
    /// The part that is out, while the gate is closed: what follows would be done in vain.
    pub(super) fn pass(&self) -> Result<(), Outage> {
        match &*self.closed.borrow() {
            None => Ok(()),
            Some(Closed { part, why }) => Err(Outage::new(*part, why.clone())),
        }
    }

    /// Whether what a job met is out for every job. If so, the gate is closed from now on.
    pub(super) async fn closes(
        &self,
        outage: &Outage,
        probe: impl Future<Output = Result<(), Outage>>,
    ) -> bool {
        let _first = self.trying.lock().await;
        if self.closed.borrow().is_some() {
            return true;
        }
        let Err(found) = answer(outage.part, probe).await else {
            return false;
        };
        let why = found.reason();
        gauge!(metric::GATE_SHUT, "part" => found.part.as_str()).set(1.0);
        self.closed.send_replace(Some(Closed {
            part: found.part,
            why,
        }));
        true
    }

    /// Opens the gate each time that the part for which it was closed is back. Never ends.
    pub(super) async fn reopen<P>(&self, probe: impl Fn(Part) -> P)
    where
        P: Future<Output = Result<(), Outage>>,
    {
        let mut state = self.closed.subscribe();
        loop {
            let part = match state.wait_for(Option::is_some).await.as_deref() {
                Ok(Some(closed)) => closed.part,
                // The sender is ours.
                _ => return,
            };
            for tries in 0.. {
                tokio::time::sleep(again(tries)).await;
                match answer(part, probe(part)).await {
                    Ok(()) => break,
                    Err(outage) => {
                        debug!(%part, error = %outage.chain(), "what was out is not back yet")
                    }
                }
            }
            info!(%part, "what was out is back");
            gauge!(metric::GATE_SHUT, "part" => part.as_str()).set(0.0);
            self.closed.send_replace(None);
        }
    }
}

/// What a part says, or that it says nothing.
async fn answer(part: Part, probe: impl Future<Output = Result<(), Outage>>) -> Result<(), Outage> {
    // As long as a signature may take, which is a setting.
    if part == Part::Signer {
        return probe.await;
    }
    let silence = |_| {
        let seconds = PROBE.as_secs();
        Err(Outage::new(part, format!("no answer within {seconds} s")))
    };
    timeout(PROBE, probe).await.unwrap_or_else(silence)
}

/// Drawn, so that workers which lost a store together don't try it together.
fn again(tries: u32) -> std::time::Duration {
    let (first, last) = AGAIN;
    let bound = first.saturating_mul(2_u32.saturating_pow(tries)).min(last);
    bound.mul_f64(rand::random_range(0.5..1.0))
}

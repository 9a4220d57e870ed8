//! `banshi worker`.

use tokio::signal::unix::{SignalKind, signal};

use super::{Error, Exit, WorkerArgs, block_on, finish, traces};
use crate::config::Settings;
use crate::problem::{Outage, Part};

pub fn worker(settings: &Settings, args: &WorkerArgs) -> Result<Exit, Error> {
    let traces = traces(settings)?;
    block_on(async {
        let handler = |kind| {
            signal(kind).map_err(|e| Outage::because(Part::Disk, "cannot listen to signals", e))
        };
        let (mut term, mut int) = (
            handler(SignalKind::terminate())?,
            handler(SignalKind::interrupt())?,
        );
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let mut signals = tokio::task::JoinSet::new();
        let mut next = async move || {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
        };
        signals.spawn(async move {
            next().await;
            if stop.send(()).is_err() {
                return;
            }
            next().await;
            tracing::warn!("second signal: leaving at once; the jobs in hand go back");
        });
        let shutdown = async move { stopped.await.unwrap_or_default() };
        let work = async {
            let served = crate::worker::run(settings, args.until_idle, shutdown).await;
            finish(traces).await;
            served
        };
        tokio::select! {
            served = work => served?,
            // Leaving the runtime closes every connection, and what was not acknowledged with it.
            Some(_) = signals.join_next() => {}
        }
        Ok(Exit::Done)
    })
}

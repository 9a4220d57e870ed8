//! `banshi worker`.

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use super::{Error, Exit, WorkerArgs, block_on, finish, traces};
use crate::config::{LogFormat, Settings};
use crate::problem::{Outage, Part};

pub fn worker(settings: &Settings, args: &WorkerArgs) -> Result<Exit, Error> {
    match serve(settings, args) {
        // Every line of such a log is an object.
        Err(Error::Outage(outage)) if settings.log.format == LogFormat::Json => {
            tracing::error!(error = %outage.chain(), "the worker ends");
            Ok(Exit::Environment)
        }
        done => done,
    }
}

fn serve(settings: &Settings, args: &WorkerArgs) -> Result<Exit, Error> {
    let traces = traces(settings)?;
    block_on(async {
        let (shutdown, mut signals) = signals()?;
        let work = async {
            let served = crate::worker::run(settings, args.until_idle, shutdown).await;
            finish(traces).await;
            served
        };
        tokio::select! {
            served = work => served?,
            // Leaving the runtime closes every connection, and what was not acknowledged with it.
            Some(_) = signals.join_next() => {
                tracing::warn!("second signal: leaving at once; the jobs in hand go back");
            }
        }
        Ok(Exit::Done)
    })
}

/// Ready at the first SIGTERM or SIGINT; and a task that ends at the second.
pub(super) fn signals() -> Result<(impl Future<Output = ()> + Send + 'static, JoinSet<()>), Outage>
{
    let handler =
        |kind| signal(kind).map_err(|e| Outage::because(Part::Disk, "cannot listen to signals", e));
    let (mut term, mut int) = (
        handler(SignalKind::terminate())?,
        handler(SignalKind::interrupt())?,
    );
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let mut signals = JoinSet::new();
    let mut next = async move || {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    };
    signals.spawn(async move {
        next().await;
        if stop.send(()).is_ok() {
            next().await;
        }
    });
    Ok((async move { stopped.await.unwrap_or_default() }, signals))
}

//! The administration port: whether a worker lives, whether jobs can come in, and its metrics.
//!
//! Takes an address and the state of the intake, serves until it is told to stop. Never has a say
//! in what the worker does. If we crash here, nothing of a job is touched.

use std::convert::Infallible;
use std::future::{Future, IntoFuture as _};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use metrics::{describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_process::Collector;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::escape;
use crate::problem::{Outage, Part};
use crate::telemetry::metric;
use crate::transport::State;

/// How often samples that nobody fetches are put together. Until then each takes its own memory.
const UPKEEP: Duration = Duration::from_secs(5);

/// Starts the administration port: `/livez`, `/readyz` and `/metrics`. Nothing, when `listen` is
/// empty. The future serves until `stop` is ready.
///
/// # Errors
/// When the address cannot be had.
pub async fn port(
    listen: &str,
    recorder: Recorder,
    state: watch::Receiver<State>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<impl Future<Output = ()> + Send + 'static, Outage> {
    let server = if listen.is_empty() {
        None
    } else {
        let listener = TcpListener::bind(listen).await.map_err(|error| {
            let hint = format!(
                "cannot listen on admin.listen = \"{listen}\"; \
                 give each worker of a machine an address of its own, or \"\" for none"
            );
            Outage::because(Part::Admin, hint, error)
        })?;
        Some((listener, recorder.0))
    };
    Ok(async move {
        if let Some((listener, metrics)) = server {
            let served = axum::serve(listener, routes(state, metrics.clone()))
                .with_graceful_shutdown(stop)
                .into_future();
            let served = tokio::select! {
                served = served => served,
                never = upkeep(metrics, UPKEEP) => match never {},
            };
            if let Err(error) = served {
                tracing::error!(%error, "the administration port stopped");
            }
        }
    })
}

/// Puts together what was recorded, again and again: with nobody who fetches the metrics it would
/// grow with every job.
async fn upkeep(metrics: Option<PrometheusHandle>, every: Duration) -> Infallible {
    loop {
        tokio::time::sleep(every).await;
        if let Some(metrics) = &metrics {
            metrics.run_upkeep();
        }
    }
}

/// Where this process records its metrics.
#[derive(Debug, Clone)]
pub struct Recorder(Option<PrometheusHandle>);

/// Has the metrics recorded from now on; not at all, when `listen` is empty. A second worker in one
/// process (as in tests) shares none.
pub fn record(listen: &str) -> Recorder {
    Recorder(match listen.is_empty() {
        true => None,
        false => recorder(&metric::ALL),
    })
}

/// Has the console's metrics recorded from now on.
pub fn record_console() -> Recorder {
    Recorder(recorder(&metric::CONSOLE))
}

impl Recorder {
    /// The metrics, as Prometheus reads them.
    pub fn render(&self) -> String {
        let Some(metrics) = &self.0 else {
            return String::new();
        };
        Collector::default().collect();
        metrics.render()
    }
}

/// The process's recorder, with every metric described.
fn recorder(all: &[(&'static str, metric::Kind, &'static str)]) -> Option<PrometheusHandle> {
    let mut builder = PrometheusBuilder::new();
    for (name, kind, _) in all {
        if let metric::Kind::Histogram(buckets) = kind {
            let name = Matcher::Full((*name).to_owned());
            let set = builder.set_buckets_for_metric(name, buckets);
            builder = set.expect("every histogram has buckets");
        }
    }
    let handle = builder.install_recorder();
    let handle = handle
        .inspect_err(|error| tracing::debug!(%error, "metrics are recorded elsewhere"))
        .ok()?;
    for (name, kind, help) in all {
        match kind {
            metric::Kind::Counter => describe_counter!(*name, *help),
            metric::Kind::Gauge => describe_gauge!(*name, *help),
            metric::Kind::Histogram(_) => describe_histogram!(*name, *help),
        }
    }
    Collector::default().describe();
    Some(handle)
}

fn routes(state: watch::Receiver<State>, metrics: Option<PrometheusHandle>) -> Router {
    let ready = move || {
        let state = state.borrow().clone();
        async move {
            match state {
                State::Up => (StatusCode::OK, "ready\n".to_owned()),
                State::Down(why) => {
                    let why = format!("{}\n", escape::text(&why));
                    (StatusCode::SERVICE_UNAVAILABLE, why)
                }
            }
        }
    };
    let metrics = Recorder(metrics);
    let metrics = move || {
        let text = metrics.render();
        async move { text }
    };
    Router::new()
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
}

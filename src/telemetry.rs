//! What an operator sees: the log, and the administration port with health and metrics.
//!
//! A message reads alone and carries its fields: `job.id`, `template`, `artifact.sha256`,
//! `duration_ms`. A failure is logged once, where it is handled. The report's text is never
//! logged.

use std::future::Future;
use std::io::IsTerminal as _;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};
use crate::problem::{Outage, Part};
use crate::transport::State;

/// The names of the metrics. Base units, `_total` for counters, no job ids as labels.
pub mod metric {
    /// Jobs that ended, by lane and outcome (completed, rejected, failed).
    pub const JOBS: &str = "banshi_jobs_total";
    /// Deliveries that may have been worked on before.
    pub const REDELIVERED: &str = "banshi_redelivered_total";
    /// Jobs sent to wait for another attempt, by the part that was out.
    pub const RETRIES: &str = "banshi_retries_total";
    /// Seconds of each stage of a job.
    pub const STAGE: &str = "banshi_stage_duration_seconds";
    /// Jobs in hand.
    pub const INFLIGHT: &str = "banshi_inflight";
    /// Whether the store keeps the condition on puts: 1, or 0 where the weaker rule is used.
    pub const STORE_CONDITIONAL: &str = "banshi_store_conditional_put";
    /// Whether jobs can come in: 1 or 0.
    pub const CONNECTED: &str = "banshi_transport_connected";
    /// Files of the spool that this worker could not settle: not read, given back or taken over.
    pub const SPOOL_UNSETTLED: &str = "banshi_spool_unsettled";
    /// Files among the spool's jobs that are none, by their names or kinds.
    pub const SPOOL_IGNORED: &str = "banshi_spool_ignored";
}

/// Starts logging to standard error.
///
/// # Errors
/// When the filter does not parse.
pub fn start_log(log: &Log) -> Result<(), String> {
    let filter = EnvFilter::try_new(&log.filter)
        .map_err(|error| format!("log.filter: {error}: \"{}\"", log.filter))?;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // What cannot be logged is lost, and not said on the same standard error, which would
        // panic: a log on a full disk must not cost a job.
        .log_internal_errors(false)
        .with_writer(std::io::stderr);
    match log.format {
        LogFormat::Text => subscriber.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => subscriber.json().flatten_event(true).init(),
    }
    Ok(())
}

/// Tells the service manager how it goes (`sd_notify(3)`): `READY=1`, `STOPPING=1`, or a line of
/// `STATUS=`. Nothing, where none has asked for it.
#[expect(
    clippy::disallowed_methods,
    reason = "the socket is the service manager's, not a setting"
)]
pub fn notify(state: &str) {
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(&socket),
    };
    let sent = address
        .and_then(|address| UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address));
    if let Err(error) = sent {
        tracing::debug!(%error, state, "the service manager does not listen");
    }
}

/// Starts the administration port: `/livez`, `/readyz` and `/metrics`. Nothing, when `listen` is
/// empty. The future serves until `stop` is ready.
///
/// # Errors
/// When the address cannot be had.
pub async fn admin(
    listen: &str,
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
        Some((listener, routes(state, recorder())))
    };
    Ok(async move {
        if let Some((listener, routes)) = server {
            let served = axum::serve(listener, routes)
                .with_graceful_shutdown(stop)
                .await;
            if let Err(error) = served {
                tracing::error!(%error, "the administration port stopped");
            }
        }
    })
}

/// The process's recorder; a second worker in one process (as in tests) shares none.
fn recorder() -> Option<PrometheusHandle> {
    let handle = PrometheusBuilder::new().install_recorder();
    handle
        .inspect_err(|error| tracing::debug!(%error, "metrics are recorded elsewhere"))
        .ok()
}

fn routes(state: watch::Receiver<State>, metrics: Option<PrometheusHandle>) -> Router {
    let ready = move || {
        let state = state.borrow().clone();
        async move {
            match state {
                State::Up => (StatusCode::OK, "ready\n".to_owned()),
                State::Down(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
            }
        }
    };
    let metrics = move || {
        let text = metrics
            .as_ref()
            .map(PrometheusHandle::render)
            .unwrap_or_default();
        async move { text }
    };
    Router::new()
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
}

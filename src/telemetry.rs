//! What an operator sees: the log, and the administration port with health and metrics.
//!
//! A message reads alone and carries its fields: `job.id`, `template`, `artifact.sha256`,
//! `duration_ms`. A failure is logged once, where it is handled. The report's text is never
//! logged, whatever the filter: no library's event passes that was not read for it.

use std::convert::Infallible;
use std::future::{Future, IntoFuture as _};
use std::io::IsTerminal as _;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use sd_notify::NotifyState;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tracing::Dispatch;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::format::{DefaultFields, Writer};
use tracing_subscriber::fmt::{FormatFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{Log, LogFormat};
use crate::escape;
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
    /// Seconds since a job was last settled, while jobs are in hand; 0 with none in hand.
    pub const UNSETTLED: &str = "banshi_unsettled_seconds";
    /// Whether jobs can come in: 1 or 0.
    pub const CONNECTED: &str = "banshi_transport_connected";
    /// Files of the spool that this worker could not settle: not read, requeued or taken over.
    pub const SPOOL_UNSETTLED: &str = "banshi_spool_unsettled";
    /// Files among the spool's jobs that are none, by their names or kinds.
    pub const SPOOL_IGNORED: &str = "banshi_spool_ignored";
}

/// Whose events may reach the log, whatever `log.filter` says: ours, and those of libraries that
/// were read for it and print neither a body nor a header. lapin prints whole messages, some of
/// them at `warn`; h2 prints frames.
const LOGGED: [&str; 6] = [
    "banshi",
    "axum",
    "hyper_util",
    "object_store",
    "rustls",
    "rustls_platform_verifier",
];

/// How often samples that nobody fetches are put together. Until then each takes its own memory.
const UPKEEP: Duration = Duration::from_secs(5);

/// Starts logging to standard error.
///
/// # Errors
/// When the filter does not parse.
pub fn start_log(log: &Log) -> Result<(), String> {
    let colours = std::io::stderr().is_terminal();
    logger(log, colours, std::io::stderr)?.init();
    Ok(())
}

fn logger<W>(log: &Log, colours: bool, writer: W) -> Result<Dispatch, String>
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(&log.filter)
        .map_err(|error| format!("log.filter: {error}: \"{}\"", log.filter))?;
    let ours = filter_fn(|metadata| is_logged(metadata.target()));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // What cannot be logged is lost, and not said on the same standard error, which would
        // panic: a log on a full disk must not cost a job.
        .log_internal_errors(false)
        .with_writer(writer);
    Ok(match log.format {
        LogFormat::Text => {
            let subscriber = subscriber.with_ansi(colours).fmt_fields(OneLine);
            subscriber.finish().with(ours).into()
        }
        LogFormat::Json => {
            let subscriber = subscriber.json().flatten_event(true);
            subscriber.finish().with(ours).into()
        }
    })
}

fn is_logged(target: &str) -> bool {
    let library = target.split("::").next().unwrap_or_default();
    LOGGED.contains(&library)
}

/// Writes the message and the fields of an event in one line, as a terminal is to show them: a
/// job's words, and a broker's, are in them.
struct OneLine;

impl<'writer> FormatFields<'writer> for OneLine {
    fn format_fields<R: RecordFields>(
        &self,
        mut writer: Writer<'writer>,
        fields: R,
    ) -> std::fmt::Result {
        let mut text = String::new();
        DefaultFields::new().format_fields(Writer::new(&mut text), fields)?;
        write!(writer, "{}", escape::text(&text))
    }
}

/// Tells the service manager how it goes (`sd_notify(3)`): `READY=1`, `STOPPING=1`, or a line of
/// `STATUS=`. Nothing, where none has asked for it.
pub fn notify(state: &str) {
    if let Err(error) = sd_notify::notify(&[NotifyState::Custom(state)]) {
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
        Some((listener, recorder()))
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
                State::Down(why) => {
                    let why = format!("{}\n", escape::text(&why));
                    (StatusCode::SERVICE_UNAVAILABLE, why)
                }
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

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Seek as _};

    use tracing::dispatcher::with_default;
    use tracing::{error, info_span, trace, warn};

    use super::{Log, LogFormat, logger};

    /// What is logged of some events.
    fn logged(format: LogFormat, events: impl FnOnce()) -> String {
        let mut file = tempfile::tempfile().expect("a file");
        let log = Log {
            format,
            filter: "trace,lapin=trace".to_owned(),
        };
        let writer = file.try_clone().expect("the same file");
        let dispatch = logger(&log, true, writer).expect("a filter");
        with_default(&dispatch, events);
        let mut text = String::new();
        file.rewind().expect("a file");
        file.read_to_string(&mut text).expect("UTF-8");
        text
    }

    #[test]
    fn no_filter_lets_a_library_speak_that_may_print_a_message() {
        for format in [LogFormat::Text, LogFormat::Json] {
            let log = logged(format, || {
                error!(target: "lapin::returned_messages", "body");
                warn!(target: "amq_protocol", "body");
                error!(target: "h2::codec::framed_write", "body");
                error!(target: "banshi_but_another", "body");
                trace!(target: "object_store::client", "heard");
                trace!("heard");
            });
            assert_eq!(log.matches("heard").count(), 2, "{log}");
            assert!(!log.contains("body"), "{log}");
        }
    }

    #[test]
    fn an_event_is_one_line_whatever_a_job_says() {
        let foreign = "\u{1b}]0;x\u{7}\r\nERROR forged\u{9b}1m\u{202e}\u{2028}x";
        let log = logged(LogFormat::Text, || {
            let span = info_span!("job", job.id = %foreign);
            let _entered = span.enter();
            warn!(why = %foreign, quoted = foreign, "it says: {foreign}");
        });
        assert_eq!(log.matches('\n').count(), 1, "{log:?}");
        // The colours are ours.
        for (at, _) in log.match_indices('\u{1b}') {
            assert!(log[at..].starts_with("\u{1b}["), "{log:?}");
        }
        let steers = ['\r', '\u{7}', '\u{9b}', '\u{202e}', '\u{2028}'];
        assert!(!log.contains(steers), "{log:?}");
        assert!(log.contains(r"\u{d}\u{a}ERROR forged"), "{log:?}");
    }
}

//! What an operator sees: the log, the names of the metrics, and the traces.
//!
//! A message reads alone and carries its fields: `job.id`, `template`, `artifact.sha256`,
//! `duration_ms`. A failure is logged once, where it is handled. The report's text is never
//! logged, whatever the filter: no library's event passes that was not read for it.

pub mod trace;

use std::io::IsTerminal as _;
use std::time::Duration;

use sd_notify::NotifyState;
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

/// The metrics: base units, `_total` for counters, no ids and no texts of jobs as labels.
pub mod metric {
    /// Jobs that left the worker's hands, by lane, template and outcome.
    pub const JOBS: &str = "banshi_jobs_total";
    /// Problems told, by code.
    pub const PROBLEMS: &str = "banshi_problems_total";
    /// Seconds from a job's delivery to its end, by lane and outcome.
    pub const JOB_DURATION: &str = "banshi_job_duration_seconds";
    /// Seconds of each stage of a job.
    pub const STAGE: &str = "banshi_stage_duration_seconds";
    /// Seconds from the sender's timestamp to the first delivery, by lane.
    pub const QUEUE_WAIT: &str = "banshi_queue_wait_seconds";
    /// Jobs in hand, by lane.
    pub const INFLIGHT: &str = "banshi_inflight";
    /// Messages ready in the queues, or files in the spool's folders.
    pub const QUEUE_JOBS: &str = "banshi_queue_jobs";
    /// The most seconds that the oldest ready job of a lane can have waited.
    pub const QUEUE_OLDEST: &str = "banshi_queue_oldest_seconds";
    /// Typesetter processes, by state.
    pub const TYPESETTERS: &str = "banshi_typesetters";
    /// Typesetter processes that were replaced, by reason.
    pub const TYPESETTER_RESTARTS: &str = "banshi_typesetter_restarts_total";
    /// The memory of the largest typesetter process.
    pub const TYPESETTER_MEMORY: &str = "banshi_typesetter_memory_bytes";
    /// Deliveries that may have been worked on before.
    pub const REDELIVERED: &str = "banshi_redelivered_total";
    /// Jobs sent to wait, by the part that was out.
    pub const RETRIES: &str = "banshi_retries_total";
    /// Sessions with the broker that ended, by what ended them.
    pub const SESSIONS: &str = "banshi_sessions_total";
    /// Whether the gate is shut, by the part that is out.
    pub const GATE_SHUT: &str = "banshi_gate_shut";
    /// Bytes of the PDFs made, by template.
    pub const PDF_BYTES: &str = "banshi_pdf_bytes";
    /// Pages of the PDFs made, by template.
    pub const PDF_PAGES: &str = "banshi_pdf_pages";
    /// Whether the store keeps the condition on puts.
    pub const STORE_CONDITIONAL: &str = "banshi_store_conditional_put";
    /// Seconds since a job was last settled, while jobs are in hand.
    pub const UNSETTLED: &str = "banshi_unsettled_seconds";
    /// Whether jobs can come in.
    pub const CONNECTED: &str = "banshi_transport_connected";
    /// Files of the spool that could not be settled.
    pub const SPOOL_UNSETTLED: &str = "banshi_spool_unsettled";
    /// Files among the spool's jobs that are none.
    pub const SPOOL_IGNORED: &str = "banshi_spool_ignored";
    /// Spans that no collector has.
    pub const SPANS_LOST: &str = "banshi_spans_lost_total";
    /// What this worker is.
    pub const BUILD_INFO: &str = "banshi_build_info";

    /// Seconds that the console's reading of the events' log is behind.
    pub const LOG_BEHIND: &str = "banshi_events_log_behind_seconds";
    /// Age of the oldest event that the log keeps, once it has dropped some.
    pub const LOG_OLDEST: &str = "banshi_events_log_oldest_seconds";
    /// Queues that are bound to the events' exchange, beside the log.
    pub const EVENT_QUEUES: &str = "banshi_events_queues";
    /// By when every report must be out.
    pub const DEADLINE: &str = "banshi_deadline_timestamp_seconds";

    /// A metric's type, with the buckets of a histogram.
    #[derive(Debug, Clone, Copy)]
    pub enum Kind {
        /// Only grows.
        Counter,
        /// Goes up and down.
        Gauge,
        /// Values in buckets with these upper bounds.
        Histogram(&'static [f64]),
    }

    /// Seconds, to a day: a job may wait that long.
    const TIMES: &[f64] = &[
        0.005, 0.01, 0.02, 0.03, 0.05, 0.08, 0.125, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
        300.0, 900.0, 3_600.0, 14_400.0, 43_200.0, 86_400.0,
    ];
    const BYTES: &[f64] = &[
        65_536.0,
        131_072.0,
        262_144.0,
        524_288.0,
        1_048_576.0,
        4_194_304.0,
        16_777_216.0,
        67_108_864.0,
    ];
    const PAGES: &[f64] = &[1.0, 2.0, 4.0, 6.0, 8.0, 12.0, 20.0, 50.0, 100.0, 500.0];

    /// The console's metrics with what `# HELP` says of each.
    pub const CONSOLE: [(&str, Kind, &str); 4] = [
        (
            LOG_BEHIND,
            Kind::Gauge,
            "Age of the newest event that the console has read while there are more; 0 when it has read all.",
        ),
        (
            LOG_OLDEST,
            Kind::Gauge,
            "Age of the oldest event that the log still keeps; NaN while it has dropped none.",
        ),
        (
            EVENT_QUEUES,
            Kind::Gauge,
            "Queues that are bound to the events' exchange beside the log, as the management API says.",
        ),
        (
            DEADLINE,
            Kind::Gauge,
            "By when every report must be out (console.deadline), in seconds since 1970.",
        ),
    ];

    /// A worker's metrics with what `# HELP` says of each.
    pub const ALL: [(&str, Kind, &str); 24] = [
        (
            JOBS,
            Kind::Counter,
            "Jobs that left the worker's hands, by outcome: completed, rejected, failed, or waiting for another attempt.",
        ),
        (
            PROBLEMS,
            Kind::Counter,
            "Problems told of jobs, warnings too, by code.",
        ),
        (
            JOB_DURATION,
            Kind::Histogram(TIMES),
            "Time from a job's delivery to its acknowledgement.",
        ),
        (
            STAGE,
            Kind::Histogram(TIMES),
            "Time in check, wait (for a typesetter), layout, export, store, sign and publish.",
        ),
        (
            QUEUE_WAIT,
            Kind::Histogram(TIMES),
            "Time from the sender's timestamp to the first delivery, in whole seconds.",
        ),
        (INFLIGHT, Kind::Gauge, "Jobs in hand."),
        (
            QUEUE_JOBS,
            Kind::Gauge,
            "Messages ready in the queues bulk, urgent, retry, dead and unrouted; every worker says it, so take the max.",
        ),
        (
            QUEUE_OLDEST,
            Kind::Gauge,
            "The most that the oldest ready job of the lane can have waited; 0 with none ready; every worker has a bound of its own, so take the min.",
        ),
        (
            TYPESETTERS,
            Kind::Gauge,
            "Typesetter processes that are idle, busy or starting.",
        ),
        (
            TYPESETTER_RESTARTS,
            Kind::Counter,
            "Typesetter processes replaced: deadline, memory, crash, recycled, or abandoned by a job that went.",
        ),
        (
            TYPESETTER_MEMORY,
            Kind::Gauge,
            "Memory of its own of the largest typesetter process.",
        ),
        (
            REDELIVERED,
            Kind::Counter,
            "Deliveries that may have been worked on before.",
        ),
        (
            RETRIES,
            Kind::Counter,
            "Times that a job was sent to wait, by the part that was out.",
        ),
        (
            SESSIONS,
            Kind::Counter,
            "Sessions with the broker that ended: refused (none could be had), cancelled (a consumer was), connection (it ended), lane (a consumer failed).",
        ),
        (
            GATE_SHUT,
            Kind::Gauge,
            "1 while no jobs are taken in because this part is out.",
        ),
        (PDF_BYTES, Kind::Histogram(BYTES), "Size of the PDFs made."),
        (PDF_PAGES, Kind::Histogram(PAGES), "Pages of the PDFs made."),
        (
            STORE_CONDITIONAL,
            Kind::Gauge,
            "1 when the store refuses to overwrite, 0 when the weaker rule is used.",
        ),
        (
            UNSETTLED,
            Kind::Gauge,
            "Time since a job was last settled while jobs are in hand; 0 with none in hand.",
        ),
        (CONNECTED, Kind::Gauge, "1 when jobs can come in."),
        (
            SPOOL_UNSETTLED,
            Kind::Gauge,
            "Files of the spool that this worker could not settle: not read, requeued or taken over.",
        ),
        (
            SPOOL_IGNORED,
            Kind::Gauge,
            "Files among the spool's jobs that are none, by their names or kinds.",
        ),
        (
            SPANS_LOST,
            Kind::Counter,
            "Spans that no collector has: queue (too many waited) or export (it did not take them).",
        ),
        (
            BUILD_INFO,
            Kind::Gauge,
            "1; version, engine and the digests of templates and fonts are its labels.",
        ),
    ];
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

/// Starts logging to standard error.
///
/// # Errors
/// When the filter does not parse.
pub fn start_log(log: &Log) -> Result<(), String> {
    let colours = std::io::stderr().is_terminal();
    logger(log, colours, std::io::stderr)?.init();
    if log.format == LogFormat::Json {
        // Every line of such a log is an object.
        std::panic::set_hook(Box::new(
            |panic| tracing::error!(%panic, "banshi has a bug"),
        ));
    }
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
            // All spans are listed; the last would be told twice.
            let subscriber = subscriber.with_current_span(false);
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

/// Tells the service manager how it goes (`sd_notify(3)`): `READY=1`, `STOPPING=1`, `WATCHDOG=1`, or
/// a line of `STATUS=`. Nothing, where none has asked for it.
pub fn notify(state: &str) {
    if let Err(error) = sd_notify::notify(&[NotifyState::Custom(state)]) {
        tracing::debug!(%error, state, "the service manager does not listen");
    }
}

/// How often the service manager is told `WATCHDOG=1`, half of what it waits for
/// (`WatchdogSec=`); none, where it does not ask.
pub fn watchdog() -> Option<Duration> {
    let half = sd_notify::watchdog_enabled()? / 2;
    (!half.is_zero()).then_some(half)
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

//! Spans, in batches, to the collector.
//!
//! Takes spans that have ended, gives OTLP. Never holds more of them than fit into its queue, and
//! never waits in a thread that has anything else to do. If we crash here, what is in the queue is
//! lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use metrics::counter;
use opentelemetry::Context;
use opentelemetry_otlp::tonic_types::transport::ClientTlsConfig;
use opentelemetry_otlp::{ExporterBuildError, WithExportConfig as _, WithTonicConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Span, SpanData, SpanExporter, SpanProcessor,
};
use tokio::runtime::Runtime;
use tracing::{info, warn};

use crate::config::{Protocol, Telemetry, without_password};
use crate::telemetry::metric;

/// Spans that may wait to be handed over: some three hundred jobs'.
const QUEUE: usize = 4096;

/// How long a collector may take over a batch, with all that is tried again.
const EXPORT: Duration = Duration::from_secs(30);

/// What is lost, and what waits.
#[derive(Debug, Clone, Default)]
pub(super) struct Losses(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    waiting: AtomicUsize,
    lost: AtomicU64,
}

impl Losses {
    /// Spans lost so far.
    pub(super) fn total(&self) -> u64 {
        self.0.lost.load(Ordering::Relaxed)
    }

    fn add(&self, spans: usize, reason: &'static str) {
        let spans = spans as u64;
        self.0.lost.fetch_add(spans, Ordering::Relaxed);
        counter!(metric::SPANS_LOST, "reason" => reason).increment(spans);
    }
}

/// The library's queue and its thread, less what would not fit: of that the library doesn't tell.
#[derive(Debug)]
pub(super) struct Waiting {
    batches: BatchSpanProcessor,
    losses: Losses,
}

impl Waiting {
    pub(super) fn new(exporter: Exporter, losses: &Losses) -> Waiting {
        let config = BatchConfigBuilder::default().with_max_queue_size(QUEUE);
        Waiting {
            batches: BatchSpanProcessor::new(exporter, config.build()),
            losses: losses.clone(),
        }
    }
}

impl SpanProcessor for Waiting {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.batches.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        let waiting = &self.losses.0.waiting;
        if waiting.fetch_add(1, Ordering::Relaxed) < QUEUE {
            self.batches.on_end(span);
        } else {
            waiting.fetch_sub(1, Ordering::Relaxed);
            self.losses.add(1, "queue");
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.batches.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.batches.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.batches.set_resource(resource);
    }
}

/// The library's client of a collector, on a runtime that the thread of the queue drives and nobody
/// else waits for.
#[derive(Debug)]
pub(super) struct Exporter {
    client: opentelemetry_otlp::SpanExporter,
    runtime: Runtime,
    address: String,
    losses: Losses,
    out: AtomicBool,
}

impl Exporter {
    /// # Errors
    /// An address or a variable that makes no sense.
    pub(super) fn new(settings: &Telemetry, losses: &Losses) -> Result<Exporter, String> {
        let protocol = settings.protocol()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| format!("cannot start the runtime of the traces: {error}"))?;
        let own = settings.otlp.trim_end_matches('/');
        let named = [
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            "OTEL_EXPORTER_OTLP_ENDPOINT",
        ];
        let mut named = named.iter().filter_map(|name| settings.variable(name));
        let address = match own {
            "" => named.next().unwrap_or_default(),
            own => own,
        };
        crate::tls::provide();
        let entered = runtime.enter();
        let builder = opentelemetry_otlp::SpanExporter::builder();
        // Without an address of ours, the library reads it in the variables, as all else.
        let client = match protocol {
            Protocol::Grpc => {
                let mut builder = builder.with_tonic();
                if address.starts_with("https:") {
                    // The library trusts nobody by itself.
                    builder = builder.with_tls_config(ClientTlsConfig::new().with_native_roots());
                }
                match own {
                    "" => builder.build(),
                    own => builder.with_endpoint(own).build(),
                }
            }
            Protocol::Http => {
                let builder = builder.with_http();
                let builder = builder.with_protocol(opentelemetry_otlp::Protocol::HttpBinary);
                match own {
                    "" => builder.build(),
                    own => builder.with_endpoint(format!("{own}/v1/traces")).build(),
                }
            }
        };
        drop(entered);
        let wrong = |error: ExporterBuildError| without_password(&error.to_string());
        let client = client.map_err(|it| format!("telemetry.otlp or OTEL_*: {}", wrong(it)))?;
        Ok(Exporter {
            client,
            runtime,
            address: without_password(address),
            losses: losses.clone(),
            out: AtomicBool::new(false),
        })
    }

    /// Says it when the collector goes out, and when it is back.
    fn note(&self, exported: &OTelSdkResult, spans: usize) {
        let address = &self.address;
        match exported {
            Ok(()) if self.out.swap(false, Ordering::Relaxed) => {
                let lost = self.losses.total();
                info!(address, lost, "the collector takes spans again");
            }
            Ok(()) => {}
            Err(error) => {
                self.losses.add(spans, "export");
                if !self.out.swap(true, Ordering::Relaxed) {
                    warn!(
                        address,
                        %error,
                        "the collector takes no spans; they are lost until it does, and jobs go on"
                    );
                }
            }
        }
    }
}

impl SpanExporter for Exporter {
    /// Blocks, in the thread of the queue.
    fn export(&self, batch: Vec<SpanData>) -> impl Future<Output = OTelSdkResult> + Send {
        let spans = batch.len();
        self.losses.0.waiting.fetch_sub(spans, Ordering::Relaxed);
        let exported = self.runtime.block_on(async {
            let exported = tokio::time::timeout(EXPORT, self.client.export(batch)).await;
            exported.unwrap_or(Err(OTelSdkError::Timeout(EXPORT)))
        });
        self.note(&exported, spans);
        std::future::ready(exported)
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.client.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.client.set_resource(resource);
    }
}

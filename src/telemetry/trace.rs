//! Traces: a job's spans, to an OpenTelemetry collector, and the trace context in messages.
//!
//! Takes what a job's stages are called and what became of them, gives OTLP. Never takes a text of
//! a report, and never holds up a job: what a collector doesn't take is lost, counted, and said
//! once. Where no collector is named nothing is begun, and a sender's context is only passed on.
//! If we crash here, the last seconds' spans are lost.
//!
//! The span in hand is OpenTelemetry's current context, so that a module which has a stage need
//! not be handed its parent.

mod export;

use std::borrow::Cow;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use futures_util::FutureExt as _;
use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::{
    FutureExt as _, Link, Span as _, SpanBuilder, SpanContext, SpanKind, Status,
    TraceContextExt as _, Tracer as _, TracerProvider as _, WithContext,
};
use opentelemetry::{Array, Context, KeyValue, StringValue, Value};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};
use tracing::warn;

use self::export::{Exporter, Losses, Waiting};
use crate::config::{Queue, Telemetry};

/// The header, and in upper case the variable, of W3C's trace context.
pub const TRACEPARENT: &str = "traceparent";
/// What vendors add to it.
pub const TRACESTATE: &str = "tracestate";

/// Characters of a `tracestate` that is passed on; W3C asks for no more (Trace Context, 3.3.1.5).
const STATE: usize = 512;

/// How long the end of a process waits for the collector.
const FLUSH: Duration = Duration::from_secs(5);

/// What makes spans, once there is something to send them to.
static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// The traces of this process, while it runs.
#[derive(Debug)]
pub struct Traces(Option<(SdkTracerProvider, Losses)>);

/// Begins to make spans, if a collector is named.
///
/// # Errors
/// What the settings or the `OTEL_*` variables say that makes no sense.
pub fn start(settings: &Telemetry) -> Result<Traces, String> {
    if !settings.is_on() {
        return Ok(Traces(None));
    }
    let sampling = settings.sampling()?;
    let root = Sampler::TraceIdRatioBased(sampling.ratio);
    let sampler = match sampling.parent_based {
        true => Sampler::ParentBased(Box::new(root)),
        false => root,
    };
    let losses = Losses::default();
    let exporter = Exporter::new(settings, &losses)?;
    let provider = SdkTracerProvider::builder()
        .with_sampler(sampler)
        .with_resource(resource(settings))
        .with_span_processor(Waiting::new(exporter, &losses))
        .build();
    match TRACER.set(provider.tracer("banshi")) {
        Ok(()) => Ok(Traces(Some((provider, losses)))),
        Err(_) => Err("the traces of this process have begun already".to_owned()),
    }
}

impl Traces {
    /// Hands over what is left, for a moment, and says what was lost. Blocks.
    pub fn finish(self) {
        let Some((provider, losses)) = self.0 else {
            return;
        };
        let flushed = provider.shutdown_with_timeout(FLUSH);
        let lost = losses.total();
        if let Err(error) = flushed {
            warn!(lost, %error, "the last spans were not handed to the collector");
        } else if lost > 0 {
            warn!(lost, "spans were lost, for the collector did not take them");
        }
    }
}

/// What this process is to the collector. What the `OTEL_*` variables say of it wins.
fn resource(settings: &Telemetry) -> Resource {
    let attributes = settings
        .variable("OTEL_RESOURCE_ATTRIBUTES")
        .unwrap_or_default();
    let says = |key: &str| {
        let mut names = attributes
            .split(',')
            .filter_map(|pair| pair.split_once('='));
        names.any(|(name, _)| name.trim() == key)
    };
    let instance = uuid::Builder::from_random_bytes(rand::random()).into_uuid();
    let mut ours = vec![
        ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
        ("service.instance.id", instance.to_string()),
    ];
    if settings.variable("OTEL_SERVICE_NAME").is_none() {
        ours.push(("service.name", "banshi".to_owned()));
    }
    ours.retain(|(key, _)| !says(key));
    let ours = ours.into_iter();
    Resource::builder()
        .with_attributes(ours.map(|(key, value)| KeyValue::new(key, value)))
        .build()
}

/// A span that has begun, and ends with this; nothing, where no spans are made.
#[derive(Debug)]
#[must_use = "it ends when it is dropped"]
pub struct Span(Option<Context>);

/// Where a message comes from or goes to.
#[derive(Debug, Clone, Copy)]
pub struct Destination<'a> {
    queue: &'a Queue,
    exchange: &'static str,
    key: &'a str,
    id: Option<&'a str>,
}

impl<'a> Destination<'a> {
    /// An exchange of ours, `jobs` or `events`; with a routing key, and the id of the message.
    pub fn of(
        queue: &'a Queue,
        exchange: &'static str,
        key: &'a str,
        id: Option<&'a str>,
    ) -> Destination<'a> {
        Destination {
            queue,
            exchange,
            key,
            id,
        }
    }

    /// A span about it, by OpenTelemetry's conventions for messaging.
    fn span(&self, operation: &'static str, kind: SpanKind) -> SpanBuilder {
        // For a spool there is no word in the conventions.
        let system = match self.queue.url.starts_with("spool:") {
            true => "spool",
            false => "rabbitmq",
        };
        let name = format!("{}.{}", self.queue.prefix, self.exchange);
        let class = if kind == SpanKind::Producer {
            "send"
        } else {
            operation
        };
        let mut attributes = vec![
            KeyValue::new("messaging.system", system),
            KeyValue::new("messaging.operation.name", operation),
            KeyValue::new("messaging.operation.type", class),
            KeyValue::new("messaging.destination.name", name.clone()),
        ];
        if system == "rabbitmq" {
            let name = "messaging.rabbitmq.destination.routing_key";
            attributes.push(KeyValue::new(name, self.key.to_owned()));
        }
        if let Some(id) = self.id {
            attributes.push(KeyValue::new("messaging.message.id", id.to_owned()));
        }
        SpanBuilder::from_name(format!("{operation} {name}"))
            .with_kind(kind)
            .with_attributes(attributes)
    }
}

impl Span {
    /// A job's processing. Of a message that comes for the first time, its sender's context is the
    /// parent. One that may have been worked on before begins a trace of its own, with a link to
    /// the sender's: its first processing is in that one, is over, and was perhaps hours ago.
    pub fn process(from: &Destination<'_>, sender: &SpanContext, again: bool) -> Span {
        Span::begin(|tracer| {
            let builder = from.span("process", SpanKind::Consumer);
            let root = Context::new().with_value(Failed::default());
            if !sender.is_valid() {
                return (tracer.build_with_context(builder, &root), root);
            }
            if again {
                let builder = builder.with_links(vec![Link::with_context(sender.clone())]);
                return (tracer.build_with_context(builder, &root), root);
            }
            let parent = root.with_remote_span_context(sender.clone());
            (tracer.build_with_context(builder, &parent), parent)
        })
    }

    /// The publishing of a message, within the span in hand.
    pub fn publish(to: &Destination<'_>) -> Span {
        Span::within(|| to.span("publish", SpanKind::Producer))
    }

    /// A stage of a job, within the span in hand.
    pub fn stage(name: &'static str) -> Span {
        Span::within(|| SpanBuilder::from_name(name).with_kind(SpanKind::Internal))
    }

    /// A request to another system, within the span in hand.
    pub fn request(name: &'static str) -> Span {
        Span::within(|| SpanBuilder::from_name(name).with_kind(SpanKind::Client))
    }

    fn within(builder: impl FnOnce() -> SpanBuilder) -> Span {
        Span::begin(|tracer| {
            let parent = Context::current();
            (tracer.build_with_context(builder(), &parent), parent)
        })
    }

    fn begin(begun: impl FnOnce(&SdkTracer) -> (opentelemetry_sdk::trace::Span, Context)) -> Span {
        Span(TRACER.get().map(|tracer| {
            let (span, parent) = begun(tracer);
            parent.with_span(span)
        }))
    }

    /// The same, with one thing more said of it.
    pub fn with(self, attribute: KeyValue) -> Span {
        if let Some(context) = &self.0 {
            context.span().set_attribute(attribute);
        }
        self
    }

    // Combinators and no `async fn`, which would hold the work twice: a job's future is copied
    // more than once, and its size is what these cost where no spans are made.

    /// Work with this span in hand.
    pub fn around<F: Future>(&self, work: F) -> WithContext<F> {
        work.with_context(self.0.clone().unwrap_or_else(Context::current))
    }

    /// Work with this span in hand, which is at fault if that is. Ends it.
    pub fn of<T, E, F>(self, work: F) -> impl Future<Output = Result<T, E>> + use<T, E, F>
    where
        F: Future<Output = Result<T, E>>,
    {
        self.around(work).map(move |done| {
            if let (Err(_), Some(context)) = (&done, &self.0) {
                context.span().set_status(Status::error(""));
            }
            done
        })
    }

    /// The ids of trace and span, for the log.
    pub fn ids(&self) -> Option<(String, String)> {
        let context = self.0.as_ref()?.span().span_context().clone();
        Some((
            context.trace_id().to_string(),
            context.span_id().to_string(),
        ))
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if let Some(context) = &self.0 {
            context.span().end();
        }
    }
}

/// A part of the span in hand that is over, as another process has told.
pub fn past(name: &'static str, began: SystemTime, ended: SystemTime) {
    if let Some(tracer) = TRACER.get() {
        let builder = SpanBuilder::from_name(name).with_start_time(began);
        let mut span = tracer.build_with_context(builder, &Context::current());
        span.end_with_timestamp(ended);
    }
}

/// Adds to the span in hand.
pub fn describe<A: IntoIterator<Item = KeyValue>>(attributes: impl FnOnce() -> A) {
    if TRACER.get().is_some() {
        let span = |context: &Context| context.span().set_attributes(attributes());
        Context::map_current(span);
    }
}

/// Whether it was said of a job what made it fail: the first of it counts, and the library keeps
/// whatever it is told.
#[derive(Debug, Default)]
struct Failed(AtomicBool);

/// Says that the job in hand failed, and why: `error.type`, and a line for people.
pub fn fail(kind: &'static str, why: impl FnOnce() -> String) {
    Context::map_current(|context| {
        let failed = context.get::<Failed>();
        if failed.is_some_and(|failed| !failed.0.swap(true, Ordering::Relaxed)) {
            let span = context.span();
            span.set_attribute(KeyValue::new("error.type", kind));
            span.set_status(Status::error(why()));
        }
    });
}

/// An attribute.
pub fn text(key: &'static str, value: impl Into<Cow<'static, str>>) -> KeyValue {
    KeyValue::new(key, StringValue::from(value.into()))
}

/// An attribute that is a number.
pub fn number(key: &'static str, value: usize) -> KeyValue {
    KeyValue::new(key, i64::try_from(value).unwrap_or(i64::MAX))
}

/// An attribute that is a list.
pub fn list(key: &'static str, values: impl IntoIterator<Item = String>) -> KeyValue {
    let values = values.into_iter().map(StringValue::from);
    KeyValue::new(key, Value::Array(Array::String(values.collect())))
}

/// The context of whoever sent a message, by its headers; [`SpanContext::NONE`], where there is
/// none, or one that is not as W3C has it.
pub fn sender<'a>(header: impl Fn(&str) -> Option<Cow<'a, str>>) -> SpanContext {
    let Some(parent) = header(TRACEPARENT) else {
        return SpanContext::NONE;
    };
    let Some(parent) = well_formed(&parent) else {
        return SpanContext::NONE;
    };
    let state = header(TRACESTATE).filter(|state| state.len() <= STATE);
    let headers = Headers {
        parent,
        state: state.as_deref(),
    };
    let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &headers);
    context.span().span_context().clone()
}

/// The part of a `traceparent` that every version of it has, if it has that (Trace Context, 3.2).
/// The library takes much for one that is none, and splits it however long it is.
fn well_formed(parent: &str) -> Option<&str> {
    let known = parent.get(..55)?;
    let later = match &parent.as_bytes()[55..] {
        [] => true,
        [next, ..] => *next == b'-' && !known.starts_with("00"),
    };
    let mut bytes = known.bytes().enumerate();
    let shape = bytes.all(|(at, byte)| match at {
        2 | 35 | 52 => byte == b'-',
        _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
    });
    (shape && later).then_some(known)
}

struct Headers<'a> {
    parent: &'a str,
    state: Option<&'a str>,
}

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            TRACEPARENT => Some(self.parent),
            TRACESTATE => self.state,
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT, TRACESTATE]
    }
}

/// The headers of a message that is published now: the context of the span in hand, or that of the
/// sender of what it is about, or none.
pub fn headers(sender: &SpanContext) -> Vec<(&'static str, String)> {
    let current = Context::map_current(|context| context.span().span_context().clone());
    let context = if current.is_valid() { &current } else { sender };
    if !context.is_valid() {
        return Vec::new();
    }
    let (trace, span) = (context.trace_id(), context.span_id());
    let flags = u8::from(context.is_sampled());
    let mut headers = vec![(TRACEPARENT, format!("00-{trace}-{span}-{flags:02x}"))];
    let state = context.trace_state().header();
    if !state.is_empty() {
        headers.push((TRACESTATE, state));
    }
    headers
}

/// Work in the trace that this process was started in, if its environment names one.
pub fn inherited<F: Future>(settings: &Telemetry, work: F) -> WithContext<F> {
    let parent = sender(|name| {
        let value = settings.variable(&name.to_uppercase());
        value.map(|value| Cow::Owned(value.to_owned()))
    });
    let root = Context::new();
    work.with_context(match parent.is_valid() {
        true => root.with_remote_span_context(parent),
        // One that is none would pass for one that is not sampled.
        false => root,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn read(parent: &str, state: &str) -> Vec<(&'static str, String)> {
        headers(&sender(|name| {
            Some(if name == TRACEPARENT { parent } else { state }.into())
        }))
    }

    #[test]
    fn a_context_is_passed_on_as_it_came() {
        let wanted = [(TRACEPARENT, PARENT.to_owned())];
        assert_eq!(read(PARENT, ""), wanted);
        let wanted = [wanted[0].clone(), (TRACESTATE, "a=1,b=2".to_owned())];
        assert_eq!(read(PARENT, "a=1,b=2"), wanted);
        // Of a version to come, what we know of it.
        let later = format!("cc{}-what-the-future-will-be-like", &PARENT[2..]);
        assert_eq!(read(&later, "a=1,b=2"), wanted);
        let unsampled = format!("{}0", &PARENT[..54]);
        assert_eq!(read(&unsampled, ""), [(TRACEPARENT, unsampled.clone())]);
    }

    #[test]
    fn what_is_no_context_is_none() {
        let huge = format!("{PARENT}-{}", "x".repeat(1 << 20));
        for parent in [
            "",
            "x",
            &PARENT[1..],
            &PARENT[..54],
            &huge,
            &PARENT.to_uppercase(),
            &format!("ff{}", &PARENT[2..]),
            &format!("{PARENT}0"),
            &format!("{PARENT}-0"),
            &format!(" {PARENT}"),
            &PARENT.replacen("4bf9", "+bf9", 1),
            &PARENT.replacen("4bf9", "\u{fffd}bf", 1),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        ] {
            assert_eq!(read(parent, "a=1"), [], "{parent:.80}");
        }
    }

    #[test]
    fn a_state_that_is_none_is_left_out() {
        let wanted = [(TRACEPARENT, PARENT.to_owned())];
        let long = format!("a={}", "x".repeat(STATE));
        for state in ["no", "\u{0}=\u{1}", "a=1,a", &long] {
            assert_eq!(read(PARENT, state), wanted, "{state:.80}");
        }
    }
}

//! The properties and headers of messages.
//!
//! Takes a job's, gives those of its copies. Never passes on what the broker wrote there, or what
//! would end, reroute or refuse the copy. If we crash here, nothing has been sent yet.

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};

// Our headers. They don't begin with `x-`, for those the broker turns into annotations when a
// message leaves over AMQP 1.0 (RabbitMQ, "Message Conversions").

/// Which attempt this is, from 1.
pub(super) const ATTEMPT: &str = "report_attempt";
/// How often the job was sent to wait without using up an attempt.
pub(super) const POSTPONED: &str = "report_postponed";
/// The first problem's code, or the part that was out.
pub(super) const ERROR_CODE: &str = "report_error_code";
/// One line for people.
pub(super) const ERROR: &str = "report_error";
/// When it came into the dead queue, after RFC 3339.
pub(super) const DEAD_LETTERED_AT: &str = "report_buried_at";
/// The event that was published.
pub(super) const EVENT: &str = "report_event";
/// The lane that the job came by.
pub(super) const LANE: &str = "report_lane";
/// The key that an unrouted job was sent with, once it was moved.
pub(super) const ROUTING_KEY: &str = "report_routing_key";

/// The attributes of an event, each as the binding for RabbitMQ names its header and as the one for
/// AMQP 1.0 does. Both bindings allow them in structured mode, too, so that a consumer can filter
/// without reading the body. The subject is there where it can stand in a header as it is.
pub(super) const ATTRIBUTES: [[&str; 3]; 6] = [
    ["specversion", "ce-specversion", "cloudEvents_specversion"],
    ["id", "ce-id", "cloudEvents_id"],
    ["source", "ce-source", "cloudEvents_source"],
    ["type", "ce-type", "cloudEvents_type"],
    ["time", "ce-time", "cloudEvents_time"],
    [SUBJECT, "ce-subject", "cloudEvents_subject"],
];

/// The attribute that not every event's headers have.
pub(super) const SUBJECT: &str = "subject";

/// Whether a header is one of ours.
pub(super) fn is_ours(header: &str) -> bool {
    header.starts_with("report_")
}

/// Properties of a message that survives a restart of the broker.
pub(super) fn persistent() -> BasicProperties {
    BasicProperties::default().with_delivery_mode(2)
}

/// A job's properties for its copy, and its headers without what the broker put there.
///
/// `expiration` would end it where it waits, and `user_id` must be the publisher's own
/// (RabbitMQ, "Validated User-ID"). `CC` and `BCC` would send the copy to other queues as well.
pub(super) fn copy(of: &BasicProperties) -> (BasicProperties, FieldTable) {
    let mut copy = persistent();
    let with = |copy, value: &Option<_>, set: fn(BasicProperties, _) -> BasicProperties| match value
    {
        Some(value) => set(copy, ShortString::clone(value)),
        None => copy,
    };
    copy = with(copy, of.content_type(), BasicProperties::with_content_type);
    copy = with(
        copy,
        of.content_encoding(),
        BasicProperties::with_content_encoding,
    );
    copy = with(
        copy,
        of.correlation_id(),
        BasicProperties::with_correlation_id,
    );
    copy = with(copy, of.reply_to(), BasicProperties::with_reply_to);
    copy = with(copy, of.message_id(), BasicProperties::with_message_id);
    copy = with(copy, of.kind(), BasicProperties::with_type);
    copy = with(copy, of.app_id(), BasicProperties::with_app_id);
    if let Some(timestamp) = of.timestamp() {
        copy = copy.with_timestamp(*timestamp);
    }
    if let Some(priority) = of.priority() {
        copy = copy.with_priority(*priority);
    }
    let mut headers = FieldTable::default();
    for (name, value) in of.headers().iter().flat_map(|headers| headers.inner()) {
        if !is_the_brokers(name.as_str()) {
            headers.insert(name.clone(), value.clone());
        }
    }
    (copy, headers)
}

/// The properties of a message that is moved from one of our queues to another: how it died stays
/// with it.
pub(super) fn moved(of: &BasicProperties) -> BasicProperties {
    let (copy, mut headers) = copy(of);
    for (name, value) in of.headers().iter().flat_map(|headers| headers.inner()) {
        let counts = matches!(name.as_str(), "x-delivery-count" | "x-acquired-count");
        let reroutes = matches!(name.as_str(), "CC" | "BCC");
        if is_the_brokers(name.as_str()) && !counts && !reroutes {
            headers.insert(name.clone(), value.clone());
        }
    }
    copy.with_headers(headers)
}

/// Whether a header is one that the broker writes, which no copy has.
pub(super) fn is_the_brokers(header: &str) -> bool {
    header.starts_with("x-first-death-")
        || header.starts_with("x-last-death-")
        || matches!(
            header,
            "x-death" | "x-delivery-count" | "x-acquired-count" | "CC" | "BCC"
        )
}

pub(super) fn header<'a>(properties: &'a BasicProperties, name: &str) -> Option<&'a AMQPValue> {
    properties
        .headers()
        .as_ref()
        .and_then(|headers| headers.inner().get(name))
}

pub(super) fn put(headers: &mut FieldTable, name: &str, value: &str) {
    headers.insert(short(name), AMQPValue::LongString(LongString::from(value)));
}

/// A header's text.
pub(super) fn text(value: &AMQPValue) -> Option<String> {
    match value {
        AMQPValue::LongString(text) => Some(String::from_utf8_lossy(text.as_bytes()).into_owned()),
        AMQPValue::ShortString(text) => Some(text.to_string()),
        _ => None,
    }
}

/// A header's number: other clients choose another width.
pub(super) fn number(value: &AMQPValue) -> Option<i64> {
    match value {
        AMQPValue::ShortShortInt(number) => Some(i64::from(*number)),
        AMQPValue::ShortShortUInt(number) => Some(i64::from(*number)),
        AMQPValue::ShortInt(number) => Some(i64::from(*number)),
        AMQPValue::ShortUInt(number) => Some(i64::from(*number)),
        AMQPValue::LongInt(number) => Some(i64::from(*number)),
        AMQPValue::LongUInt(number) => Some(i64::from(*number)),
        AMQPValue::LongLongInt(number) => Some(*number),
        _ => None,
    }
}

/// A name as the protocol has it: at most 255 bytes. Longer ones are cut, for a name that comes
/// from a job must not end the process.
pub(super) fn short(text: &str) -> ShortString {
    ShortString::try_new(cut(text)).unwrap_or_default()
}

/// The first 255 bytes, and not half a character.
pub(super) fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(255)]
}

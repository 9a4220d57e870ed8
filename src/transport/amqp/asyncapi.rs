//! The exchanges, queues, messages and headers as an AsyncAPI 3.0 document.
//!
//! Takes the prefix, gives the document, whose names, kinds and arguments are those of the
//! [`Topology`] that is declared and whose headers are those that are written. What a message's body
//! is, is not known here: `#/components/schemas` is the caller's to fill in. Speaks to no broker, so
//! there is nothing to crash in the middle of.

use lapin::ExchangeKind;
use serde_json::{Map, Value, json};

use super::properties::{
    ATTEMPT, ATTRIBUTES, DEAD_LETTERED_AT, ERROR, ERROR_CODE, EVENT, LANE, POSTPONED, ROUTING_KEY,
    SUBJECT,
};
use super::topology::{Argument, Exchange, Queue, Topology};
use crate::event::{CONTENT_TYPE, DATA_CONTENT_TYPE, Kind};
use crate::telemetry::trace::{TRACEPARENT, TRACESTATE};
use crate::transport::Lane;

/// What one may want to know of an exchange or a queue, by its name without the prefix.
struct About {
    /// In English and Chinese.
    said: &'static str,
    /// The routing key that a message has there, with `{parameters}`.
    key: &'static str,
    /// The names of its messages.
    messages: &'static [&'static str],
}

const JOB: &[&str] = &["job"];
const EVENTS: &[&str] = &[
    "report.completed",
    "report.completed.binary",
    "report.rejected",
    "report.rejected.binary",
    "report.failed",
    "report.failed.binary",
];

/// What is said of each. Of the queues the key is their binding's.
fn about(name: &str) -> Option<About> {
    let (said, key, messages): (_, _, &[&str]) = match name {
        "exchange.jobs" => (
            "Where jobs are sent, by lane. / 任务的入口，按通道发送。",
            "{lane}",
            JOB,
        ),
        "exchange.unrouted" => (
            "Where a job goes that was sent with a routing key that is no lane. / 路由键不是通道的任务的去处。",
            "{key}",
            JOB,
        ),
        "exchange.dlx" => (
            "The way into the dead queue. / 死信队列的入口。",
            "dead",
            &["deadJob"],
        ),
        "exchange.events" => (
            "What has become of jobs. Bind a durable queue of your own. / 任务的结果。请绑定自己的持久队列。",
            "{type}.{name}",
            EVENTS,
        ),
        "exchange.replies" => (
            "Copies of events for whoever asks by reply_to, best effort. / 按reply_to另发的事件副本，尽力而为。",
            "{reply_to}",
            EVENTS,
        ),
        "exchange.status" => (
            "What workers say of themselves every few seconds; may be lost. / 工作进程每隔数秒的状态，可能丢失。",
            "worker.{worker}",
            &["status"],
        ),
        "queue.jobs.urgent" => (
            "Jobs that cannot wait behind the others. / 不能排在其他任务之后的任务。",
            "",
            JOB,
        ),
        "queue.jobs.bulk" => ("Jobs. / 任务。", "", JOB),
        "queue.dead" => (
            "Jobs that were rejected, failed, or killed their workers. / 被退回、失败或致使工作进程退出的任务。",
            "",
            &["deadJob"],
        ),
        "queue.unrouted" => (
            "Jobs that were sent with a routing key that is no lane. / 路由键不是通道的任务。",
            "",
            &["unroutedJob"],
        ),
        "queue.events.log" => (
            "Thirty days of events, to read again. / 三十天的事件，可重新读取。",
            "",
            EVENTS,
        ),
        retry if retry.starts_with("exchange.retry.") => (
            "The way to wait for the next attempt. / 等待下一次尝试的入口。",
            "{lane}",
            &["waitingJob"],
        ),
        retry if retry.starts_with("queue.retry.") => (
            "Jobs that wait for their next attempt. / 等待下一次尝试的任务。",
            "",
            &["waitingJob"],
        ),
        _ => return None,
    };
    Some(About {
        said,
        key,
        messages,
    })
}

/// The document, but for the schemas of the bodies.
pub fn asyncapi(prefix: &str) -> Value {
    let topology = Topology::new(prefix);
    let id = |kind: &str, name: &str| {
        let name = name.strip_prefix(prefix).unwrap_or(name);
        format!("{kind}{name}")
    };
    let mut channels = Map::new();
    for exchange in &topology.exchanges {
        let id = id("exchange", &exchange.name);
        channels.insert(id.clone(), of_exchange(exchange, &id));
    }
    for queue in &topology.queues {
        let id = id("queue", &queue.name);
        channels.insert(id.clone(), of_queue(queue, &id));
    }
    let lanes = Lane::ALL.map(|lane| lane.as_str());
    let kinds = Kind::ALL.map(Kind::as_str);
    json!({
        "asyncapi": "3.0.0",
        "id": "urn:banshi:asyncapi",
        "info": {
            "title": "banshi",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Report jobs in, archival PDFs out, an event of each. Names begin with \
                            queue.prefix, here as in the settings. / 报送报告任务，生成归档PDF，每个任务有一个事件。\
                            名称以queue.prefix开头，此处与设置一致。",
            "license": { "name": "Apache-2.0" },
            "tags": [{ "name": "reports" }, { "name": "cloudevents" }],
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations(&topology, &id),
        "components": {
            "parameters": {
                "lane": { "description": "An urgent job passes a full bulk lane. / urgent任务可越过已满的bulk通道。", "enum": lanes },
                "key": { "description": "Whatever was sent. / 发送时的路由键。" },
                "type": { "description": "What has become of the job. / 结果的类型。", "enum": kinds },
                "name": { "description": "The template without its edition; unknown, when it could not be read. / 模板名，不含版本；读不出时为unknown。" },
                "reply_to": { "description": "Of the job's sender. / 报送方所给的reply_to。" },
                "worker": { "description": "The machine's name and the process's number. / 机器名和进程号。" },
            },
            "messages": messages(),
        },
    })
}

fn of_exchange(exchange: &Exchange, id: &str) -> Value {
    let about = about(id);
    let key = about.as_ref().map(|about| about.key).unwrap_or_default();
    let parameters = key.split('{').skip(1).filter_map(|rest| {
        let name = rest.split('}').next()?;
        let reference = format!("#/components/parameters/{name}");
        Some((name.to_owned(), json!({ "$ref": reference })))
    });
    let mut channel = json!({
        "address": key,
        "title": exchange.name,
        "messages": listed(about.as_ref()),
        "bindings": { "amqp": {
            "is": "routingKey",
            "exchange": {
                "name": exchange.name,
                "type": kind(&exchange.kind),
                "durable": true,
                "autoDelete": false,
            },
            "bindingVersion": "0.3.0",
        } },
    });
    let parameters: Map<String, Value> = parameters.collect();
    if !parameters.is_empty() {
        channel["parameters"] = Value::Object(parameters);
    }
    if let Some(about) = about {
        channel["description"] = json!(about.said);
    }
    if let Some(alternate) = &exchange.alternate {
        channel["x-arguments"] = json!({ "alternate-exchange": alternate });
    }
    channel
}

fn kind(kind: &ExchangeKind) -> &str {
    match kind {
        ExchangeKind::Direct => "direct",
        ExchangeKind::Fanout => "fanout",
        ExchangeKind::Headers => "headers",
        ExchangeKind::Topic => "topic",
        ExchangeKind::Custom(name) => name,
    }
}

fn of_queue(queue: &Queue, id: &str) -> Value {
    let about = about(id);
    let arguments = queue.arguments.iter().map(|(name, value)| {
        let value = match value {
            Argument::Text(text) => json!(text),
            Argument::Number(number) => json!(number),
        };
        ((*name).to_owned(), value)
    });
    let mut channel = json!({
        "address": queue.name,
        "title": queue.name,
        "messages": listed(about.as_ref()),
        "bindings": { "amqp": {
            "is": "queue",
            "queue": {
                "name": queue.name,
                "durable": true,
                "exclusive": false,
                "autoDelete": false,
            },
            "bindingVersion": "0.3.0",
        } },
        "x-arguments": arguments.collect::<Map<_, _>>(),
        "x-binding": { "exchange": queue.exchange, "key": queue.key },
    });
    if let Some(about) = about {
        channel["description"] = json!(about.said);
    }
    channel
}

fn listed(about: Option<&About>) -> Map<String, Value> {
    let names = about.iter().flat_map(|about| about.messages);
    names
        .map(|name| {
            let reference = format!("#/components/messages/{name}");
            ((*name).to_owned(), json!({ "$ref": reference }))
        })
        .collect()
}

/// What a worker does.
fn operations(topology: &Topology, id: &impl Fn(&str, &str) -> String) -> Map<String, Value> {
    let operation = |action: &str, said: &str, channel: String, bindings: Value| {
        json!({
            "action": action,
            "description": said,
            "channel": { "$ref": format!("#/channels/{channel}") },
            "bindings": { "amqp": bindings },
        })
    };
    let taken = json!({ "ack": true, "bindingVersion": "0.3.0" });
    let kept = json!({ "deliveryMode": 2, "mandatory": true, "bindingVersion": "0.3.0" });
    let lost = json!({ "deliveryMode": 1, "mandatory": false, "bindingVersion": "0.3.0" });
    let mut operations = Map::new();
    for lane in Lane::ALL {
        let said = "Takes a job, and acknowledges it when its event is confirmed. / 取任务；事件确认后才应答。";
        let channel = id("queue", &topology.lane(lane));
        let operation = operation("receive", said, channel, taken.clone());
        operations.insert(format!("take.{lane}"), operation);
    }
    let sends = [
        (
            "events",
            "Says what has become of a job. / 告知任务的结果。",
        ),
        ("replies", "Sends a copy of the event. / 另发事件副本。"),
        (
            "dlx",
            "Keeps a job that was rejected or has failed. / 保留被退回或失败的任务。",
        ),
    ];
    for (name, said) in sends {
        let channel = format!("exchange.{name}");
        operations.insert(
            format!("send.{name}"),
            operation("send", said, channel, kept.clone()),
        );
    }
    for name in topology.retries() {
        let said = "Sends a job to wait. / 让任务等待。";
        let channel = id("exchange", &name);
        let operation = operation("send", said, channel, kept.clone());
        operations.insert(id("send", &name), operation);
    }
    let said = "Says how it is. / 告知自身状态。";
    let status = operation("send", said, "exchange.status".to_owned(), lost);
    operations.insert("send.status".to_owned(), status);
    operations
}

/// Headers or properties: a name, its JSON type, what it is, and whether it is always there.
type Field = (&'static str, &'static str, &'static str, bool);

const TRACE: [Field; 2] = [
    (
        TRACEPARENT,
        "string",
        "W3C trace context. / W3C跟踪上下文。",
        false,
    ),
    (
        TRACESTATE,
        "string",
        "W3C trace context. / W3C跟踪上下文。",
        false,
    ),
];

const OF_WAITING: [Field; 2] = [
    (
        ATTEMPT,
        "integer",
        "Which attempt this is, from 1. / 第几次尝试，从1起。",
        false,
    ),
    (
        POSTPONED,
        "integer",
        "How often it was sent to wait without using up an attempt. / 未计入尝试的等待次数。",
        false,
    ),
];

const OF_DEAD: [Field; 5] = [
    (
        ERROR_CODE,
        "string",
        "The first problem's code, or the part that was out. / 首个问题的代码，或出错的部分。",
        false,
    ),
    (
        ERROR,
        "string",
        "One line for people. / 供人阅读的一行说明。",
        false,
    ),
    (
        EVENT,
        "string",
        "The event that was published. / 已发布的事件。",
        false,
    ),
    (
        DEAD_LETTERED_AT,
        "string",
        "When, RFC 3339 in UTC. / 时间，RFC 3339，UTC。",
        false,
    ),
    (
        LANE,
        "string",
        "The lane that it came by. / 来时的通道。",
        false,
    ),
];

const OF_UNROUTED: [Field; 1] = [(
    ROUTING_KEY,
    "string",
    "The key that it was sent with, once it was moved. / 移动之后记下的原路由键。",
    false,
)];

const OF_JOB_PROPERTIES: [Field; 7] = [
    ("content_type", "string", "application/json", false),
    (
        "delivery_mode",
        "integer",
        "2, persistent: otherwise a restart of the broker may lose the job. / 2，持久；否则重启消息服务器可能丢失任务。",
        false,
    ),
    (
        "message_id",
        "string",
        "The job_id, or left out. / 即job_id，或不填。",
        false,
    ),
    (
        "correlation_id",
        "string",
        "The sender's; comes back on the event. / 报送方自定，随事件返回。",
        false,
    ),
    (
        "reply_to",
        "string",
        "A routing key of the exchange for replies, for a copy of the event. / 回复交换机的路由键，用于另发事件副本。",
        false,
    ),
    (
        "timestamp",
        "integer",
        "When it was sent, in seconds since 1970. / 发送时间，自1970年起的秒数。",
        false,
    ),
    (
        "app_id",
        "string",
        "The sender's program. / 报送方的程序。",
        false,
    ),
];

const OF_EVENT_PROPERTIES: [Field; 5] = [
    (
        "delivery_mode",
        "integer",
        "2, persistent. / 2，持久。",
        true,
    ),
    ("message_id", "string", "The event's id. / 事件的id。", true),
    ("type", "string", "The event's type. / 事件的type。", true),
    (
        "app_id",
        "string",
        "The program and its version. / 程序及其版本。",
        true,
    ),
    (
        "correlation_id",
        "string",
        "The job's. / 任务的correlation_id。",
        false,
    ),
];

const OF_STATUS_PROPERTIES: [Field; 4] = [
    ("content_type", "string", "application/json", true),
    (
        "delivery_mode",
        "integer",
        "1, transient. / 1，不持久。",
        true,
    ),
    (
        "timestamp",
        "integer",
        "When it was sent, in seconds since 1970. / 发送时间，自1970年起的秒数。",
        true,
    ),
    (
        "app_id",
        "string",
        "The program and its version. / 程序及其版本。",
        true,
    ),
];

fn fields(all: &[&[Field]]) -> Value {
    let each = || all.iter().copied().flatten();
    let properties = each().map(|(name, kind, said, _)| {
        let field = json!({ "type": kind, "description": said });
        ((*name).to_owned(), field)
    });
    let required = each().filter(|(.., always)| *always).map(|(name, ..)| name);
    json!({
        "type": "object",
        "properties": properties.collect::<Map<_, _>>(),
        "required": required.collect::<Vec<_>>(),
    })
}

fn messages() -> Value {
    let job = |title: &str, headers: &[&[Field]]| {
        json!({
            "title": title,
            "contentType": "application/json",
            "headers": fields(headers),
            "payload": { "$ref": "#/components/schemas/job" },
            "x-amqp-properties": fields(&[&OF_JOB_PROPERTIES]),
        })
    };
    // A sender's own headers stay with its job.
    let mut messages = json!({
        "job": job("Job / 任务", &[&TRACE, &OF_WAITING]),
        "waitingJob": job("Waiting job / 等待中的任务", &[&TRACE, &OF_WAITING]),
        "deadJob": job("Dead job, as it was sent / 死信任务，与发送时相同", &[&TRACE, &OF_WAITING, &OF_DEAD]),
        "unroutedJob": job("Job without a lane / 没有通道的任务", &[&TRACE, &OF_WAITING, &OF_UNROUTED]),
        "status": {
            "title": "Status of a worker / 工作进程的状态",
            "contentType": "application/json",
            "headers": fields(&[]),
            "payload": { "$ref": "#/components/schemas/status" },
            "x-amqp-properties": fields(&[&OF_STATUS_PROPERTIES]),
        },
    });
    // They may be anything: what is no job is one of these.
    messages["deadJob"]["payload"] = json!({ "description": "What was sent. / 发送的内容。" });
    messages["unroutedJob"]["payload"] = messages["deadJob"]["payload"].clone();
    let attributes: Vec<Field> = ATTRIBUTES
        .iter()
        .flat_map(|[attribute, names @ ..]| names.iter().map(move |name| (attribute, name)))
        .map(|(attribute, name)| match *attribute {
            SUBJECT => (
                *name,
                "string",
                "The subject, where a header can hold it. / 事件的subject；消息头放不下时没有。",
                false,
            ),
            _ => (
                *name,
                "string",
                "The event's attribute. / 事件的同名属性。",
                true,
            ),
        })
        .collect();
    for kind in Kind::ALL {
        let name = kind.as_str();
        let message = |title: String, content_type: &'static str, payload: String| {
            let content_type_property = ("content_type", "string", content_type, true);
            json!({
                "name": name,
                "title": title,
                "contentType": content_type,
                "headers": fields(&[&attributes, &TRACE]),
                "payload": { "$ref": format!("#/components/schemas/{payload}") },
                "bindings": { "amqp": { "messageType": name, "bindingVersion": "0.3.0" } },
                "x-amqp-properties": fields(&[&[content_type_property], &OF_EVENT_PROPERTIES]),
            })
        };
        messages[name] = message(name.to_owned(), CONTENT_TYPE, name.to_owned());
        let binary =
            format!("{name}, with events.mode = \"binary\" / {name}，events.mode为\"binary\"时");
        messages[format!("{name}.binary")] =
            message(binary, DATA_CONTENT_TYPE, format!("{name}.data"));
    }
    messages
}

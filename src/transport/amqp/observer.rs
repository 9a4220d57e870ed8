//! Looking at RabbitMQ without taking anything: the events' stream, the queues' depths, and what
//! workers publish of themselves.
//!
//! Takes the settings, gives entries, depths and statuses. Never consumes from a queue that holds
//! jobs. If we crash here, the broker removes our one queue, which was ours alone.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicQosOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Acker, BasicProperties, Channel, Connection, Consumer};
use tokio::time::timeout;
use uuid::Uuid;

use super::broker::{Broker, answered, close, outage};
use super::guard::Findings;
use super::properties::{header, short, text};
use super::questions::Questions;
use crate::config;
use crate::event::Event;
use crate::problem::{Outage, Part};
use crate::transport::{Depths, Entry, From, LARGEST};

/// Events that are on their way at once. A stream's consumer must have a bound.
const PREFETCH: u16 = 10_000;
/// Events that are acknowledged together.
const TOGETHER: u64 = 2_000;
/// How long a stream may take to hand over what it has: after that it has nothing more.
const SILENCE: Duration = Duration::from_millis(1_500);
/// Statuses that wait for a reader; the oldest are dropped.
const STATUSES: i32 = 10_000;

/// The eye on a broker.
#[derive(Debug)]
pub struct Observer {
    broker: Arc<Broker>,
    connection: Arc<Connection>,
    findings: Findings,
    questions: Arc<Questions>,
}

impl Observer {
    /// Connects, once.
    ///
    /// # Errors
    /// When the broker is not there or does not let us in.
    pub async fn open(settings: &config::Queue) -> Result<Observer, Outage> {
        let broker = Arc::new(Broker::new(settings, LARGEST)?);
        let (connection, findings) = broker.connect("observer").await?;
        Ok(Observer {
            broker,
            connection: Arc::new(connection),
            findings,
            questions: Arc::default(),
        })
    }

    /// Asks what is ready in each kind of queue. What is not there holds nothing.
    pub fn depths(&self) -> Depths {
        let (broker, connection) = (Arc::clone(&self.broker), Arc::clone(&self.connection));
        let questions = Arc::clone(&self.questions);
        Box::new(move || {
            let (broker, connection) = (Arc::clone(&broker), Arc::clone(&connection));
            let questions = Arc::clone(&questions);
            let ask = async move {
                let mut depths = Vec::new();
                for (kind, queues) in broker.topology.kinds() {
                    let ready = questions.count(&connection, queues, true).await?;
                    depths.push((kind, ready));
                }
                Ok(depths)
            };
            ask.boxed()
        })
    }

    /// The newest event, or nearly, where more come all the time; none, when there is no event.
    ///
    /// # Errors
    /// When the broker does not say.
    pub async fn newest(&self) -> Result<Option<Entry>, Outage> {
        // The newest chunk, which has at least one event.
        let last = AMQPValue::LongString("last".into());
        let mut log = self.read(last, PREFETCH).await?;
        let mut newest = None;
        let reading = async {
            loop {
                match log.next().await {
                    Ok(entry) => newest = Some(entry),
                    Err(outage) => break outage,
                }
            }
        };
        match timeout(SILENCE, reading).await {
            Ok(outage) => Err(outage),
            Err(_) => Ok(newest),
        }
    }

    /// The oldest event that is kept, unless none was dropped before it.
    ///
    /// # Errors
    /// When the broker does not say.
    pub async fn oldest_after_dropped(&self) -> Result<Option<Entry>, Outage> {
        let first = AMQPValue::LongString("first".into());
        let mut log = self.read(first, 1).await?;
        match timeout(SILENCE, log.next()).await {
            Ok(entry) => Ok(Some(entry?).filter(|entry| entry.offset > 0)),
            Err(_) => Ok(None),
        }
    }

    /// One event; none, when it is not kept any more.
    ///
    /// # Errors
    /// When the broker does not say.
    pub async fn event(&self, offset: u64) -> Result<Option<Vec<u8>>, Outage> {
        let mut log = self.log(From::Offset(offset)).await?;
        match timeout(SILENCE, log.next()).await {
            Ok(entry) => {
                let entry = entry?;
                Ok((entry.offset == offset).then_some(entry.event))
            }
            Err(_) => Ok(None),
        }
    }

    /// The log, from somewhere on.
    ///
    /// # Errors
    /// When it can't be read.
    pub async fn log(&self, from: From) -> Result<Log, Outage> {
        let offset = match from {
            From::Time(time) => AMQPValue::Timestamp(time),
            From::Offset(offset) => AMQPValue::LongLongInt(offset.try_into().unwrap_or(i64::MAX)),
        };
        self.read(offset, PREFETCH).await
    }

    async fn read(&self, offset: AMQPValue, prefetch: u16) -> Result<Log, Outage> {
        let queue = self.broker.topology.name("events.log");
        let what = format!("the log of events, {queue}");
        let channel = answered(&what, self.connection.create_channel()).await?;
        let qos = channel.basic_qos(prefetch, BasicQosOptions::default());
        answered(&what, qos).await?;
        let mut arguments = FieldTable::default();
        arguments.insert("x-stream-offset".into(), offset);
        let consumer = channel.basic_consume(
            short(&queue),
            short(""),
            BasicConsumeOptions::default(),
            arguments,
        );
        Ok(Log {
            consumer: answered(&what, consumer).await?,
            channel,
            findings: self.findings.clone(),
            unacknowledged: 0,
            last: None,
            _connection: Arc::clone(&self.connection),
        })
    }

    /// What workers say of themselves from now on.
    ///
    /// # Errors
    /// When the broker does not let us listen.
    pub async fn statuses(&self) -> Result<Statuses, Outage> {
        // Named after the prefix, for which a user has its permissions.
        let queue = self
            .broker
            .topology
            .name(&format!("status.{}", Uuid::from_u128(rand::random())));
        let exchange = self.broker.topology.name("status");
        let what = format!("the workers' status, {exchange}");
        let channel = answered(&what, self.connection.create_channel()).await?;
        let options = QueueDeclareOptions {
            exclusive: true,
            auto_delete: true,
            ..Default::default()
        };
        let mut arguments = FieldTable::default();
        arguments.insert("x-max-length".into(), AMQPValue::LongInt(STATUSES));
        answered(
            &what,
            channel.queue_declare(short(&queue), options, arguments),
        )
        .await?;
        let bound = channel.queue_bind(
            short(&queue),
            short(&exchange),
            short("worker.#"),
            QueueBindOptions::default(),
            FieldTable::default(),
        );
        answered(&what, bound).await?;
        let options = BasicConsumeOptions {
            no_ack: true,
            ..Default::default()
        };
        let consumer =
            channel.basic_consume(short(&queue), short(""), options, FieldTable::default());
        Ok(Statuses {
            consumer: answered(&what, consumer).await?,
            findings: self.findings.clone(),
            channel,
            _connection: Arc::clone(&self.connection),
        })
    }

    /// Ends the connection.
    pub async fn close(self) {
        close(&self.connection).await;
    }
}

/// A reader of the stream.
#[derive(Debug)]
pub struct Log {
    consumer: Consumer,
    channel: Channel,
    findings: Findings,
    unacknowledged: u64,
    last: Option<Acker>,
    _connection: Arc<Connection>,
}

impl Log {
    /// The next event; waits for it. Cancel safe.
    ///
    /// # Errors
    /// When the connection has ended.
    pub async fn next(&mut self) -> Result<Entry, Outage> {
        const WHAT: &str = "the log of events";
        loop {
            // Before the next is taken, so that none is lost when this is dropped half way.
            if self.unacknowledged >= TOGETHER
                && let Some(acker) = self.last.take()
            {
                self.unacknowledged = 0;
                let options = BasicAckOptions { multiple: true };
                answered(WHAT, acker.ack(options)).await?;
            }
            let Some(message) = self.consumer.next().await else {
                return Err(Outage::new(Part::Transport, format!("{WHAT} has ended")));
            };
            let message = message.map_err(|error| outage(WHAT, error))?;
            let unfit = self.findings.take(self.channel.id(), message.delivery_tag);
            self.unacknowledged += 1;
            self.last = Some(message.acker);
            let offset = match header(&message.properties, "x-stream-offset") {
                Some(AMQPValue::LongLongInt(offset)) => u64::try_from(*offset).ok(),
                _ => None,
            };
            // Somebody else's message, that is no event of ours.
            let (Some(offset), None) = (offset, unfit) else {
                continue;
            };
            return Ok(Entry {
                offset,
                routing_key: message.routing_key.as_str().to_owned(),
                event: structured(&message.properties, message.data),
            });
        }
    }
}

/// An event as structured JSON, in whichever mode its message has it. What is no event of ours stays
/// as it is.
fn structured(properties: &BasicProperties, body: Vec<u8>) -> Vec<u8> {
    let kind = properties.content_type().as_ref();
    if kind.is_some_and(|kind| kind.as_str().starts_with("application/cloudevents")) {
        return body;
    }
    let attribute = |name: &str| header(properties, &format!("ce-{name}")).and_then(text);
    match Event::from_binary(attribute, &body) {
        Some(event) => event.structured(),
        None => body,
    }
}

/// What workers say of themselves.
#[derive(Debug)]
pub struct Statuses {
    consumer: Consumer,
    findings: Findings,
    channel: Channel,
    _connection: Arc<Connection>,
}

impl Statuses {
    /// The next worker's status, as JSON; waits for it.
    ///
    /// # Errors
    /// When the connection has ended.
    pub async fn next(&mut self) -> Result<Vec<u8>, Outage> {
        const WHAT: &str = "the workers' status";
        let Some(message) = self.consumer.next().await else {
            return Err(Outage::new(Part::Transport, format!("{WHAT} has ended")));
        };
        let message = message.map_err(|error| outage(WHAT, error))?;
        drop(self.findings.take(self.channel.id(), message.delivery_tag));
        Ok(message.data)
    }
}

//! A session with the broker.
//!
//! Takes a broker, gives a [`Session`]: two connections that live and die together. Never mends
//! itself: whatever goes wrong ends the session, and its owner builds a new one. If we crash here,
//! the broker sees the connections end and gives the unacknowledged jobs to somebody else.

use std::fmt;

use futures_util::stream::{BoxStream, StreamExt, select};
use lapin::message::Delivery as Message;
use lapin::options::{
    BasicCancelOptions, BasicConsumeOptions, BasicQosOptions, QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, Consumer, ErrorKind, Event};
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::warn;

use super::broker::{
    Broker, CLOSE, Fault, PREPARE, answered, close, cure, is_missing, outage, plain,
};
use super::properties::short;
use super::publisher::{Publisher, Unsafe};
use crate::problem::{Outage, Part};
use crate::transport::Lane;

/// What a connection says of itself.
#[derive(Debug)]
pub(super) enum Sign {
    /// It has ended.
    Ended(String),
    /// The broker takes no messages for now, and why.
    Blocked(String),
    /// It takes them again.
    Unblocked,
}

/// What a connection says of itself. lapin says here, too, that the broker has closed one channel:
/// where messages are published that is the answer to one of them, and no more.
fn signs(connection: &Connection, publishes: bool) -> BoxStream<'static, Sign> {
    connection
        .events_listener()
        .filter_map(move |event| async move {
            match event {
                Event::Error(error) if publishes && error.is_amqp_soft_error() => None,
                Event::Error(error) => {
                    let said = error.to_string();
                    Some(Sign::Ended(format!("{said}{}", cure(&said))))
                }
                Event::ConnectionBlocked(reason) => Some(Sign::Blocked(reason)),
                Event::ConnectionUnblocked => Some(Sign::Unblocked),
                _ => None,
            }
        })
        .boxed()
}

/// Two connections, one to consume and one to publish, that live and die together.
pub(super) struct Session {
    consume: Connection,
    publisher: Publisher,
    /// The consumers' channels, on which acknowledgements go.
    lanes: Vec<Channel>,
    /// For questions, which can close a channel.
    questions: tokio::sync::Mutex<Option<Channel>>,
    /// Why it has ended.
    down: watch::Sender<Option<String>>,
}

/// A lane, on a channel of its own.
pub(super) struct Inlet {
    pub(super) lane: Lane,
    pub(super) channel: Channel,
    pub(super) flow: Flow,
}

/// Whether jobs come in by a lane.
pub(super) enum Flow {
    /// None do.
    Shut,
    /// They do.
    Open(Consumer),
    /// Those that were on their way when the consumer was cancelled, and then its end.
    Ebbing(Consumer),
}

impl Inlet {
    /// The next job, or the end of the consumer; waits for ever where there is no consumer.
    pub(super) async fn next(&mut self) -> Option<Result<Message, lapin::Error>> {
        match &mut self.flow {
            Flow::Open(consumer) | Flow::Ebbing(consumer) => consumer.next().await,
            Flow::Shut => std::future::pending().await,
        }
    }

    /// Cancels the consumer. What the broker sent before its answer still comes.
    pub(super) async fn shut(&mut self) -> Result<(), Outage> {
        let Flow::Open(consumer) = &self.flow else {
            return Ok(());
        };
        let options = BasicCancelOptions::default();
        let cancelled = self.channel.basic_cancel(consumer.tag(), options);
        answered("the end of a consumer", cancelled).await?;
        if let Flow::Open(consumer) = std::mem::replace(&mut self.flow, Flow::Shut) {
            self.flow = Flow::Ebbing(consumer);
        }
        Ok(())
    }
}

/// What comes in by a session.
pub(super) struct Incoming {
    pub(super) urgent: Inlet,
    pub(super) bulk: Inlet,
    /// What the connections say.
    pub(super) signs: BoxStream<'static, Sign>,
}

impl Incoming {
    /// Whether a lane is open that is to be shut, or the other way round.
    pub(super) fn is_to_change(&self, paused: bool) -> bool {
        [&self.urgent, &self.bulk]
            .iter()
            .any(|inlet| match inlet.flow {
                Flow::Open(_) => paused,
                Flow::Shut => !paused,
                // Its end comes first.
                Flow::Ebbing(_) => false,
            })
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("down", &self.down.borrow())
            .finish_non_exhaustive()
    }
}

impl Session {
    /// Connects twice, prepares the topology and, unless `paused`, registers the consumers.
    pub(super) async fn open(
        broker: &Broker,
        prefetch: u16,
        paused: bool,
    ) -> Result<(Session, Incoming), Fault> {
        let consume = broker.connect("consume").await?;
        let publish = match broker.connect("publish").await {
            Ok(publish) => publish,
            Err(fault) => {
                close(&consume).await;
                return Err(fault);
            }
        };
        if let Err(fault) = broker.prepare(&consume).await {
            tokio::join!(close(&consume), close(&publish));
            return Err(fault);
        }
        // Only from here on: refusals on the way would be taken for the end of the connection.
        let signs = select(signs(&consume, false), signs(&publish, true)).boxed();
        let publisher = Publisher::new(publish, true, &broker.channels);
        let in_hand = 2 * usize::from(prefetch);
        if let Some(channels) = publisher.few().filter(|channels| *channels < in_hand) {
            broker.few_channels.call_once(|| {
                warn!(
                    channels,
                    in_hand,
                    "the broker lets a connection have fewer channels than jobs can be in hand, \
                     which then wait for each other: raise channel_max in its rabbitmq.conf"
                );
            });
        }
        let mut session = Session {
            consume,
            publisher,
            lanes: Vec::new(),
            questions: tokio::sync::Mutex::default(),
            down: watch::Sender::new(None),
        };
        match session.start(broker, prefetch, paused).await {
            Ok((urgent, bulk)) => Ok((
                session,
                Incoming {
                    urgent,
                    bulk,
                    signs,
                },
            )),
            Err(fault) => {
                session.close().await;
                Err(fault)
            }
        }
    }

    async fn start(
        &mut self,
        broker: &Broker,
        prefetch: u16,
        paused: bool,
    ) -> Result<(Inlet, Inlet), Fault> {
        let inlets = async {
            let mut urgent = self.inlet(broker, Lane::Urgent, prefetch).await?;
            let mut bulk = self.inlet(broker, Lane::Bulk, prefetch).await?;
            if !paused {
                consume(broker, &mut urgent).await?;
                consume(broker, &mut bulk).await?;
            }
            Ok((urgent, bulk))
        };
        match timeout(PREPARE, inlets).await {
            Ok(inlets) => inlets,
            Err(_) => Err(Fault::Passing(broker.silent("consumers"))),
        }
    }

    async fn inlet(&mut self, broker: &Broker, lane: Lane, prefetch: u16) -> Result<Inlet, Fault> {
        let channel = async {
            let channel = self.consume.create_channel().await?;
            // For each consumer, and before it: the broker keeps back what is over this number
            // of unacknowledged jobs (RabbitMQ, "Consumer Prefetch").
            let options = BasicQosOptions::default();
            channel.basic_qos(prefetch, options).await?;
            Ok::<_, lapin::Error>(channel)
        };
        let channel = channel.await.map_err(|error| {
            Fault::Passing(outage(
                format!("cannot open a channel for lane {lane} at {broker}"),
                error,
            ))
        })?;
        self.lanes.push(channel.clone());
        Ok(Inlet {
            lane,
            channel,
            flow: Flow::Shut,
        })
    }

    /// Publishes and waits for the confirm. Whatever is not the broker's clear answer ends the
    /// session.
    pub(super) async fn publish(
        &self,
        exchange: &str,
        key: &str,
        body: &[u8],
        properties: BasicProperties,
    ) -> Result<(), Outage> {
        let sent = self.attempt(exchange, key, body, properties).await;
        // What is missing a new session declares again, or names.
        sent.map_err(|failure| {
            let ends = !matches!(failure, Unsafe::Refused(_));
            self.failed(failure, ends)
        })
    }

    /// As [`Session::publish`], for what is best effort: the exchange may be missing.
    pub(super) async fn offer(
        &self,
        exchange: &str,
        key: &str,
        body: &[u8],
        properties: BasicProperties,
    ) -> Result<(), Outage> {
        let sent = self.attempt(exchange, key, body, properties).await;
        sent.map_err(|failure| {
            let ends = matches!(failure, Unsafe::Unknown(_));
            self.failed(failure, ends)
        })
    }

    /// What a publish that failed comes to, and whether the session with it.
    fn failed(&self, failure: Unsafe, ends: bool) -> Outage {
        let outage = Outage::from(failure);
        if ends {
            self.end(plain(&outage));
        }
        outage
    }

    async fn attempt(
        &self,
        exchange: &str,
        key: &str,
        body: &[u8],
        properties: BasicProperties,
    ) -> Result<(), Unsafe> {
        tokio::select! {
            biased;
            why = self.ended() => Err(Unsafe::Unknown(Outage::new(
                Part::Transport,
                format!("the connection to the broker has ended: {why}"),
            ))),
            sent = self.publisher.publish(exchange, key, body, properties) => sent,
        }
    }

    /// Ready messages in these queues together.
    pub(super) async fn count(&self, queues: impl Iterator<Item = String>) -> Result<u64, Outage> {
        let mut slot = self.questions.lock().await;
        let channel = match slot.take() {
            Some(channel) if channel.status().connected() => channel,
            _ => answered("a channel", self.consume.create_channel()).await?,
        };
        let mut ready = 0;
        for queue in queues {
            let options = QueueDeclareOptions {
                passive: true,
                ..Default::default()
            };
            let asked = channel.queue_declare(short(&queue), options, FieldTable::default());
            let what = format!("the length of queue {queue}");
            ready += u64::from(answered(&what, asked).await?.message_count());
        }
        *slot = Some(channel);
        Ok(ready)
    }

    /// Ends the session. Who owns it builds another one.
    pub(super) fn end(&self, why: impl Into<String>) {
        let why = why.into();
        if !cure(&why).is_empty() {
            self.publisher.use_fewer();
        }
        self.down.send_if_modified(|down| {
            let first = down.is_none();
            if first {
                *down = Some(why);
            }
            first
        });
    }

    /// Whether it is still there, as far as anybody knows.
    pub(super) fn is_up(&self) -> bool {
        self.down.borrow().is_none()
    }

    /// Waits until it has ended, and says why.
    pub(super) async fn ended(&self) -> String {
        let mut down = self.down.subscribe();
        let why = down.wait_for(Option::is_some).await.map(|why| why.clone());
        // The sender is ours, so that there is always an answer.
        why.ok().flatten().unwrap_or_default()
    }

    /// Closes the channels, so that acknowledgements on their way arrive, and the connections.
    pub(super) async fn close(&self) {
        self.end("it was closed");
        for channel in &self.lanes {
            if channel.status().connected() {
                drop(timeout(CLOSE, channel.close(200, "OK".into())).await);
            }
        }
        tokio::join!(close(&self.consume), self.publisher.close());
    }
}

/// Registers a lane's consumer, if it has none.
pub(super) async fn consume(broker: &Broker, inlet: &mut Inlet) -> Result<(), Fault> {
    if !matches!(inlet.flow, Flow::Shut) {
        return Ok(());
    }
    let lane = inlet.lane;
    let queue = broker.topology.lane(lane);
    let consumer = inlet.channel.basic_consume(
        short(&queue),
        short(&format!("banshi.{lane}")),
        BasicConsumeOptions::default(),
        FieldTable::default(),
    );
    match consumer.await {
        Ok(consumer) => {
            inlet.flow = Flow::Open(consumer);
            Ok(())
        }
        Err(error) => {
            let lasting = is_missing(&error) || error.is_amqp_soft_error() && is_forbidden(&error);
            let outage = outage(
                format!("cannot consume from queue {queue} at {broker}"),
                error,
            );
            Err(if lasting {
                Fault::Lasting(outage)
            } else {
                Fault::Passing(outage)
            })
        }
    }
}

fn is_forbidden(error: &lapin::Error) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(refusal) if refusal.get_id() == 403)
}

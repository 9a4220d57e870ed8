//! Connections to RabbitMQ, and publishing with confirms on them.
//!
//! Takes an address, gives a [`Session`]: two connections that live and die together. Never mends
//! itself: whatever goes wrong ends the session, and its owner builds a new one. If we crash here,
//! the broker sees the connections end and gives the unacknowledged jobs to somebody else.

use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::stream::{BoxStream, StreamExt, select};
use lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
    QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::uri::AMQPUri;
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Consumer, ErrorKind,
    Event,
};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use super::Lane;
use super::topology::{Topology, Unfit, short};
use crate::config;
use crate::problem::{Outage, Part};

/// Who we are, to the broker and in `app_id`.
pub(super) const PRODUCT: &str = concat!("banshi/", env!("CARGO_PKG_VERSION"));

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(10);
/// How long topology and consumers may take, which in a cluster is an election or two.
const PREPARE: Duration = Duration::from_secs(60);
/// How long a confirm, an acknowledgement or an answer may take. lapin waits for ever.
pub(super) const ANSWER: Duration = Duration::from_secs(30);
/// How long a connection may take to be closed.
const CLOSE: Duration = Duration::from_secs(5);
/// Publishes in flight, each on a channel of its own. More than any worker has jobs in hand.
const CHANNELS: usize = 64;
/// The longest prefix: the broker's names have at most 255 bytes, and the prefix is not all.
const PREFIX: usize = 200;

/// Why there is no session.
#[derive(Debug)]
pub(super) enum Fault {
    /// Waiting may mend it.
    Passing(Outage),
    /// Only somebody can: credentials, virtual host, topology.
    Lasting(Outage),
}

impl From<Fault> for Outage {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Passing(outage) | Fault::Lasting(outage) => outage,
        }
    }
}

/// A broker's address, and what must stand there.
#[derive(Debug)]
pub(super) struct Broker {
    uri: AMQPUri,
    mode: config::Topology,
    /// The names.
    pub(super) topology: Topology,
}

impl Broker {
    /// Reads the address.
    pub(super) fn new(settings: &config::Queue) -> Result<Broker, Outage> {
        let wrong = |why: String| {
            let form = "want amqp://user:password@host:5672/vhost";
            Outage::new(
                Part::Transport,
                format!("queue.url is no address: {why}; {form}"),
            )
        };
        // The parser puts the address, and so the password, into some of its errors.
        let parsed = settings.url.parse();
        let mut uri: AMQPUri =
            parsed.map_err(|why: String| wrong(why.replace(&settings.url, "…")))?;
        let host = settings.url.rsplit('@').next().unwrap_or_default();
        if host.starts_with('[') || settings.url.contains("://[") {
            // lapin takes such a host for "localhost".
            return Err(wrong("an IPv6 address needs a host name here".to_owned()));
        }
        if settings.prefix.len() > PREFIX {
            let why = format!("queue.prefix is longer than {PREFIX} bytes");
            return Err(Outage::new(Part::Transport, why));
        }
        uri.query.heartbeat.get_or_insert(settings.heartbeat);
        Ok(Broker {
            uri,
            mode: settings.topology,
            topology: Topology::new(&settings.prefix),
        })
    }

    /// Connects. `role` is in the connection's name, for whoever looks at the broker.
    pub(super) async fn connect(&self, role: &str) -> Result<Connection, Fault> {
        let name = format!("{} {role}", PRODUCT);
        // No automatic recovery: after a restart of the broker it leaves consumers behind that
        // hold messages and that nobody reads.
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        match timeout(
            CONNECT,
            Connection::connect_uri(self.uri.clone(), properties),
        )
        .await
        {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(self.refusal(error)),
            Err(_) => Err(Fault::Passing(Outage::new(
                Part::Transport,
                format!(
                    "RabbitMQ at {self} did not answer within {} s",
                    CONNECT.as_secs()
                ),
            ))),
        }
    }

    /// What a connection's failure means.
    fn refusal(&self, error: lapin::Error) -> Fault {
        let user = &self.uri.authority.userinfo.username;
        let said = match error.kind() {
            ErrorKind::ProtocolError(refusal) => {
                (refusal.get_id(), refusal.get_message().as_str().to_owned())
            }
            _ => (0, String::new()),
        };
        match said {
            (403, _) => Fault::Lasting(outage(
                format!(
                    "RabbitMQ at {self} refuses the user {user:?} or the password. Check \
                     queue.url, or BANSHI__QUEUE__URL"
                ),
                error,
            )),
            // NOT_ALLOWED is a virtual host that is missing or closed to the user, or a limit of
            // connections, which passes.
            (530, said) if !said.contains("limit") => Fault::Lasting(outage(
                format!(
                    "RabbitMQ at {self} does not let {user:?} into the virtual host {:?}. Create \
                     it (rabbitmqctl add_vhost, set_permissions), or check the end of queue.url, \
                     where the virtual host / is written %2f",
                    self.uri.vhost
                ),
                error,
            )),
            _ => Fault::Passing(outage(
                format!(
                    "cannot reach RabbitMQ at {self}. Start it, or check queue.url \
                     (BANSHI__QUEUE__URL); \"spool:DIR\" needs no broker"
                ),
                error,
            )),
        }
    }

    /// Creates or checks what must stand.
    pub(super) async fn prepare(&self, connection: &Connection) -> Result<(), Fault> {
        match timeout(PREPARE, self.topology.ensure(connection, self.mode)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(Unfit::Wrong(lines))) => Err(Fault::Lasting(Outage::new(
                Part::Transport,
                format!(
                    "RabbitMQ at {self} is not as it must be:\n  {}",
                    lines.join("\n  ")
                ),
            ))),
            Ok(Err(Unfit::Unknown(error))) => Err(Fault::Passing(outage(
                format!("exchanges and queues cannot be checked at {self}"),
                error,
            ))),
            Err(_) => Err(Fault::Passing(self.silent("exchanges and queues"))),
        }
    }

    /// Whether the topology is ours to create.
    pub(super) fn declares(&self) -> bool {
        self.mode == config::Topology::Declare
    }

    fn silent(&self, what: &str) -> Outage {
        let seconds = PREPARE.as_secs();
        Outage::new(
            Part::Transport,
            format!("{what}: no answer from {self} within {seconds} s"),
        )
    }
}

/// The address without the password.
impl fmt::Display for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AMQPUri {
            scheme,
            authority,
            vhost,
            ..
        } = &self.uri;
        let vhost = vhost.replace('/', "%2f");
        let user = &authority.userinfo.username;
        write!(
            f,
            "{scheme}://{user}@{}:{}/{vhost}",
            authority.host, authority.port
        )
    }
}

/// An outage with the broker's or the system's own words as its cause.
pub(super) fn outage(message: impl Into<String>, error: lapin::Error) -> Outage {
    match error.kind() {
        ErrorKind::IOError(cause) => Outage::because(Part::Transport, message, cause.clone()),
        ErrorKind::ProtocolError(refusal) => {
            Outage::because(Part::Transport, message, refusal.get_message().as_str())
        }
        _ => Outage::because(Part::Transport, message, error),
    }
}

/// Waits for an answer, and not for ever.
pub(super) async fn answered<T>(
    what: &str,
    answer: impl Future<Output = lapin::Result<T>>,
) -> Result<T, Outage> {
    match timeout(ANSWER, answer).await {
        Ok(result) => result.map_err(|error| outage(what, error)),
        Err(_) => Err(Outage::new(
            Part::Transport,
            format!(
                "{what}: no answer from the broker within {} s",
                ANSWER.as_secs()
            ),
        )),
    }
}

/// A message that is not known to be safe.
#[derive(Debug)]
pub(super) enum Unsafe {
    /// The broker says that it has not taken it. The channel or at least the session is well.
    Refused(Outage),
    /// Something that must stand is gone.
    Missing(Outage),
    /// Nobody knows.
    Unknown(Outage),
}

impl From<Unsafe> for Outage {
    fn from(failure: Unsafe) -> Self {
        match failure {
            Unsafe::Refused(outage) | Unsafe::Missing(outage) | Unsafe::Unknown(outage) => outage,
        }
    }
}

/// Publishes with confirms, one message in flight on each channel.
///
/// lapin attaches a returned message to whichever confirm comes next, so that with two in flight
/// on one channel an unroutable message can pass for a safe one.
#[derive(Debug)]
pub(super) struct Publisher {
    connection: Connection,
    idle: Mutex<Vec<Channel>>,
    permits: Semaphore,
    /// Whether to wait while the broker takes no messages at all.
    patient: bool,
}

impl Publisher {
    /// A publisher on a connection of its own. An alarm of memory or disk blocks connections that
    /// publish (RabbitMQ, "Memory and Disk Alarms"): acknowledgements must not go that way.
    ///
    /// A `patient` one waits for the end of an alarm; to give up would only repeat the work, and
    /// count every job in hand as delivered once more.
    pub(super) fn new(connection: Connection, patient: bool) -> Publisher {
        let permits = Semaphore::new(CHANNELS);
        Publisher {
            connection,
            idle: Mutex::default(),
            permits,
            patient,
        }
    }

    /// Publishes and waits for the confirm. Only a plain confirm is a success.
    ///
    /// Dropped half way, the channel is not used again and the message may or may not be safe.
    pub(super) async fn publish(
        &self,
        exchange: &str,
        key: &str,
        body: &[u8],
        properties: BasicProperties,
    ) -> Result<(), Unsafe> {
        let Ok(_permit) = self.permits.acquire().await else {
            return Err(Unsafe::Unknown(closed()));
        };
        let mut in_flight = pin!(async {
            let channel = self.channel().await?;
            // mandatory: what no queue is bound for comes back, and is not silently dropped
            // (RabbitMQ, "Publishers", "Unroutable Message Handling").
            let options = BasicPublishOptions {
                mandatory: true,
                ..Default::default()
            };
            let (exchange, key) = (short(exchange), short(key));
            let sent = channel
                .basic_publish(exchange, key, options, body, properties)
                .await?;
            Ok::<_, lapin::Error>((channel, sent.await?))
        });
        let place = format!("exchange {exchange:?}, key {key:?}");
        let second = Duration::from_secs(1);
        let mut left = ANSWER;
        let (channel, confirmation) = loop {
            match timeout(second, &mut in_flight).await {
                Ok(Ok(answer)) => break answer,
                Ok(Err(error)) => return Err(refused(&place, error)),
                Err(_) if self.connection.status().blocked() && self.patient => left = ANSWER,
                Err(_) if left > second => left -= second,
                Err(_) => return Err(Unsafe::Unknown(self.unconfirmed(&place))),
            }
        };
        let refused = |why: String| Err(Unsafe::Refused(Outage::new(Part::Transport, why)));
        match confirmation {
            Confirmation::Ack(None) => {
                self.idle().push(channel);
                Ok(())
            }
            Confirmation::Ack(Some(returned)) => {
                self.idle().push(channel);
                let said = &returned.reply_text;
                refused(format!(
                    "{place}: no queue is bound for this message ({said})"
                ))
            }
            Confirmation::Nack(_) => {
                self.idle().push(channel);
                refused(format!(
                    "{place}: a queue is full and takes no more messages"
                ))
            }
            // A channel that lost its confirm mode. It is not used again.
            Confirmation::NotRequested => Err(Unsafe::Unknown(self.unconfirmed(&place))),
        }
    }

    /// A channel that nobody else uses.
    async fn channel(&self) -> lapin::Result<Channel> {
        loop {
            // A statement of its own, for the lock must not be held while waiting.
            let idle = self.idle().pop();
            match idle {
                Some(channel) if channel.status().connected() => return Ok(channel),
                Some(_) => {}
                None => {
                    let channel = self.connection.create_channel().await?;
                    channel
                        .confirm_select(ConfirmSelectOptions::default())
                        .await?;
                    return Ok(channel);
                }
            }
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Channel>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unconfirmed(&self, place: &str) -> Outage {
        let why = if self.connection.status().blocked() {
            "; the broker takes no messages, for want of memory or disk"
        } else {
            ""
        };
        let seconds = ANSWER.as_secs();
        Outage::new(
            Part::Transport,
            format!("{place}: no confirm within {seconds} s{why}"),
        )
    }

    /// A channel for anything but publishing.
    pub(super) async fn plain_channel(&self) -> lapin::Result<Channel> {
        self.connection.create_channel().await
    }

    pub(super) async fn close(&self) {
        self.idle().clear();
        close(&self.connection).await;
    }
}

/// What the error of a publish means.
fn refused(place: &str, error: lapin::Error) -> Unsafe {
    let missing = is_missing(&error);
    let soft = error.is_amqp_soft_error();
    let outage = outage(place, error);
    match (missing, soft) {
        (true, _) => Unsafe::Missing(outage),
        // The broker has closed this one channel: no permission, or the message is too large.
        (_, true) => Unsafe::Refused(outage),
        _ => Unsafe::Unknown(outage),
    }
}

/// "NOT_FOUND - no exchange …" or "… no queue …". Other 404s are queues that exist but are out.
fn is_missing(error: &lapin::Error) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(refusal)
        if refusal.get_message().as_str().starts_with("NOT_FOUND - no "))
}

fn closed() -> Outage {
    Outage::new(Part::Transport, "the connection to the broker was closed")
}

/// Ends a connection in order. lapin has a thread for each, which must not outlive the runtime.
pub(super) async fn close(connection: &Connection) {
    // A connection that is gone already, or that does not answer, is closed all the same.
    drop(timeout(CLOSE, connection.close(200, "OK".into())).await);
}

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
                Event::Error(error) => Some(Sign::Ended(error.to_string())),
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

/// A lane's consumer, on a channel of its own.
pub(super) struct Inlet {
    pub(super) lane: Lane,
    pub(super) channel: Channel,
    pub(super) consumer: Consumer,
}

/// What comes in by a session.
pub(super) struct Incoming {
    pub(super) urgent: Inlet,
    pub(super) bulk: Inlet,
    /// What the connections say.
    pub(super) signs: BoxStream<'static, Sign>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("down", &self.down.borrow())
            .finish_non_exhaustive()
    }
}

impl Session {
    /// Connects twice, prepares the topology and registers the consumers.
    pub(super) async fn open(broker: &Broker, prefetch: u16) -> Result<(Session, Incoming), Fault> {
        let consume = broker.connect("consume").await?;
        let publish = match broker.connect("publish").await {
            Ok(publish) => publish,
            Err(fault) => {
                close(&consume).await;
                return Err(fault);
            }
        };
        let signs = select(signs(&consume, false), signs(&publish, true)).boxed();
        let mut session = Session {
            consume,
            publisher: Publisher::new(publish, true),
            lanes: Vec::new(),
            questions: tokio::sync::Mutex::default(),
            down: watch::Sender::new(None),
        };
        match session.start(broker, prefetch).await {
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

    async fn start(&mut self, broker: &Broker, prefetch: u16) -> Result<(Inlet, Inlet), Fault> {
        broker.prepare(&self.consume).await?;
        let consumers = async {
            let urgent = self.consume(broker, Lane::Urgent, prefetch).await?;
            Ok((urgent, self.consume(broker, Lane::Bulk, prefetch).await?))
        };
        match timeout(PREPARE, consumers).await {
            Ok(consumers) => consumers,
            Err(_) => Err(Fault::Passing(broker.silent("consumers"))),
        }
    }

    async fn consume(
        &mut self,
        broker: &Broker,
        lane: Lane,
        prefetch: u16,
    ) -> Result<Inlet, Fault> {
        let queue = broker.topology.lane(lane);
        let consumer = async {
            let channel = self.consume.create_channel().await?;
            // For each consumer, and before it: the broker keeps back what is over this number
            // of unacknowledged jobs (RabbitMQ, "Consumer Prefetch").
            channel
                .basic_qos(prefetch, BasicQosOptions::default())
                .await?;
            let options = BasicConsumeOptions::default();
            let tag = short(&format!("banshi.{lane}"));
            let consumer = channel
                .basic_consume(short(&queue), tag, options, FieldTable::default())
                .await?;
            self.lanes.push(channel.clone());
            Ok::<_, lapin::Error>(Inlet {
                lane,
                channel,
                consumer,
            })
        };
        consumer.await.map_err(|error| {
            let lasting = is_missing(&error) || error.is_amqp_soft_error() && is_forbidden(&error);
            let outage = outage(
                format!("cannot consume from queue {queue} at {broker}"),
                error,
            );
            if lasting {
                Fault::Lasting(outage)
            } else {
                Fault::Passing(outage)
            }
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
        match self.attempt(exchange, key, body, properties).await {
            Ok(()) => Ok(()),
            Err(Unsafe::Refused(outage)) => Err(outage),
            // A new session declares it again, or says what is missing.
            Err(Unsafe::Missing(outage) | Unsafe::Unknown(outage)) => {
                self.end(outage.chain());
                Err(outage)
            }
        }
    }

    /// As [`Session::publish`], for what is best effort: the exchange may be missing.
    pub(super) async fn offer(
        &self,
        exchange: &str,
        key: &str,
        body: &[u8],
        properties: BasicProperties,
    ) -> Result<(), Outage> {
        match self.attempt(exchange, key, body, properties).await {
            Ok(()) => Ok(()),
            Err(Unsafe::Refused(outage) | Unsafe::Missing(outage)) => Err(outage),
            Err(Unsafe::Unknown(outage)) => {
                self.end(outage.chain());
                Err(outage)
            }
        }
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
        self.down.send_if_modified(|down| {
            let first = down.is_none();
            if first {
                *down = Some(why.into());
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

fn is_forbidden(error: &lapin::Error) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(refusal) if refusal.get_id() == 403)
}

//! A session with the broker.
//!
//! Takes a broker, gives a [`Session`]: two connections that live and die together. Never mends
//! itself: whatever goes wrong ends the session, and its owner builds a new one. If we crash here,
//! the broker sees the connections end and gives the unacknowledged jobs to somebody else.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use futures_util::stream::{BoxStream, StreamExt, select};
use lapin::message::Delivery as Message;
use lapin::types::ChannelId;
use lapin::{BasicProperties, Channel, Connection, Event};
use tokio::sync::{Mutex, Semaphore, watch};
use tokio::time::timeout;
use tracing::{info, warn};

use super::broker::{Broker, Fault, close, cure, outage, plain};
use super::guard::{Findings, Unfit};
use super::lane::LaneConsumer;
use super::publisher::{PublishError, Publisher};
use super::questions::Questions;
use super::session_state::SessionState;
use crate::problem::{Outage, Part};
use crate::timing::{CLOSE, PREPARE, REPAIR};
use crate::transport::{Lane, RETRY_WAITS};

/// Copies for `reply_to` under way at once. One more waits, as long as any of them may take.
const REPLIES: usize = 8;

/// The key of an empty message that shows whether the broker takes any. No queue is bound to it.
const PROBE_KEY: &str = "banshi.proof";

/// What a connection says of itself.
#[derive(Debug)]
pub(super) enum ConnectionEvent {
    /// It has ended.
    Ended(String),
    /// The broker takes no messages for now, and why.
    Blocked(String),
    /// It takes them again.
    Unblocked,
}

/// What a connection says of itself. lapin says here, too, that the broker has closed one channel:
/// where messages are published that is the answer to one of them, and no more.
pub(super) fn connection_events(
    connection: &Connection,
    publishes: bool,
) -> BoxStream<'static, ConnectionEvent> {
    connection
        .events_listener()
        .filter_map(move |event| async move {
            match event {
                Event::Error(error) if publishes && error.is_amqp_soft_error() => None,
                Event::Error(error) => {
                    let said = error.to_string();
                    Some(ConnectionEvent::Ended(format!("{said}{}", cure(&said))))
                }
                Event::ConnectionBlocked(reason) => Some(ConnectionEvent::Blocked(reason)),
                Event::ConnectionUnblocked => Some(ConnectionEvent::Unblocked),
                _ => None,
            }
        })
        .boxed()
}

/// Two connections, one to consume and one to publish, that live and die together.
pub(super) struct Session {
    consume: Connection,
    /// What is wrong with what came in.
    findings: Findings,
    publisher: Publisher,
    /// The consumers' channels, on which acknowledgements go.
    lanes: Vec<Channel>,
    questions: Questions,
    /// When the topology was last declared again. Many jobs miss something at once.
    repaired: Mutex<Option<Instant>>,
    replies: Semaphore,
    /// Why it has ended.
    down: watch::Sender<Option<String>>,
    /// Jobs whose copies the broker refuses.
    held: Arc<watch::Sender<Held>>,
    /// Whether the broker has refused a copy of a job.
    refused: AtomicBool,
    /// The lane of the last job that was acknowledged.
    settled: watch::Sender<Option<Lane>>,
    /// Jobs handed out and not settled.
    jobs: AtomicUsize,
}

/// Jobs that are held because the broker refuses their copies, and why.
#[derive(Debug, Default)]
pub(super) struct Held {
    jobs: usize,
    why: String,
}

impl Held {
    /// Why jobs are held, if any are.
    pub(super) fn why(&self) -> Option<&str> {
        (self.jobs > 0).then_some(self.why.as_str())
    }
}

/// A job that is held, for as long as this is.
pub(super) struct Hold(Arc<watch::Sender<Held>>);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.send_modify(|held| held.jobs -= 1);
    }
}

/// What comes in by a session.
pub(super) struct Incoming {
    pub(super) urgent: LaneConsumer,
    pub(super) bulk: LaneConsumer,
    /// What the connections say.
    pub(super) connection_events: BoxStream<'static, ConnectionEvent>,
}

impl Incoming {
    /// Whether a lane's consumer is not as the session's state wants it.
    pub(super) fn needs_change(&self, session_state: &SessionState) -> bool {
        self.urgent.needs_change(session_state) || self.bulk.needs_change(session_state)
    }

    /// Registers or cancels the lanes' consumers, as the session's state wants them.
    pub(super) async fn change(
        &mut self,
        broker: &Broker,
        session_state: &SessionState,
    ) -> Result<(), Outage> {
        self.urgent.change(broker, session_state).await?;
        self.bulk.change(broker, session_state).await
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
    /// Connects twice and prepares the topology. No jobs are asked for yet.
    pub(super) async fn open(broker: &Broker, prefetch: u16) -> Result<(Session, Incoming), Fault> {
        let (consume, findings) = broker.connect("consume").await?;
        let publish = match broker.connect("publish").await {
            Ok((publish, _)) => publish,
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
        let connection_events = select(
            connection_events(&consume, false),
            connection_events(&publish, true),
        )
        .boxed();
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
            findings,
            publisher,
            lanes: Vec::new(),
            questions: Questions::default(),
            repaired: Mutex::default(),
            replies: Semaphore::new(REPLIES),
            down: watch::Sender::new(None),
            held: Arc::default(),
            refused: AtomicBool::new(false),
            settled: watch::Sender::new(None),
            jobs: AtomicUsize::new(0),
        };
        let consumers = async {
            let urgent = session
                .lane_consumer(broker, Lane::Urgent, prefetch)
                .await?;
            let bulk = session.lane_consumer(broker, Lane::Bulk, prefetch).await?;
            Ok((urgent, bulk))
        };
        match timeout(PREPARE, consumers)
            .await
            .unwrap_or_else(|_| Err(Fault::Passing(broker.silent("channels"))))
        {
            Ok((urgent, bulk)) => Ok((
                session,
                Incoming {
                    urgent,
                    bulk,
                    connection_events,
                },
            )),
            Err(fault) => {
                session.close().await;
                Err(fault)
            }
        }
    }

    async fn lane_consumer(
        &mut self,
        broker: &Broker,
        lane: Lane,
        prefetch: u16,
    ) -> Result<LaneConsumer, Fault> {
        let channel = self.consume.create_channel().await.map_err(|error| {
            Fault::Passing(outage(
                format!("cannot open a channel for lane {lane} at {broker}"),
                error,
            ))
        })?;
        self.lanes.push(channel.clone());
        Ok(LaneConsumer::new(lane, channel, prefetch))
    }

    /// Publishes and waits for the confirm. A connection that is not to be trusted any more ends
    /// the session.
    pub(super) async fn publish(
        &self,
        exchange: &str,
        key: &str,
        body: &[u8],
        properties: BasicProperties,
    ) -> Result<(), PublishError> {
        let sent = self.attempt(exchange, key, body, properties).await;
        if let Err(PublishError::Unknown(outage)) = &sent {
            self.end(plain(outage));
        }
        sent
    }

    /// As [`Session::publish`], for what is best effort: it never ends the session, and few are
    /// under way at once.
    pub(super) async fn publish_best_effort(
        &self,
        exchange: &str,
        key: &str,
        body: &[u8],
        properties: BasicProperties,
    ) -> Result<(), Outage> {
        let Ok(_permit) = self.replies.acquire().await else {
            return Ok(());
        };
        Ok(self.attempt(exchange, key, body, properties).await?)
    }

    /// Publishes what may be lost. It never ends the session.
    pub(super) async fn offer(&self, exchange: &str, key: &str, body: &[u8]) -> Result<(), Outage> {
        tokio::select! {
            biased;
            why = self.ended() => Err(Outage::new(Part::Transport, why)),
            sent = self.publisher.offer(exchange, key, body) => sent,
        }
    }

    async fn attempt(
        &self,
        exchange: &str,
        key: &str,
        body: &[u8],
        properties: BasicProperties,
    ) -> Result<(), PublishError> {
        tokio::select! {
            biased;
            why = self.ended() => Err(PublishError::Unknown(Outage::new(
                Part::Transport,
                format!("the connection to the broker has ended: {why}"),
            ))),
            sent = self.publisher.publish(exchange, key, body, properties) => sent,
        }
    }

    /// Finds out whether the broker takes what we publish; waits while it takes nothing.
    /// `thorough`: of every exchange that a job's end needs, and their queues are there.
    pub(super) async fn probe(&self, broker: &Broker, thorough: bool) -> Result<(), Outage> {
        let replies = broker.topology.name("replies");
        let answer = self.publisher.probe(&replies, PROBE_KEY).await;
        if let Err(outage) = answer {
            self.end(plain(&outage));
            return Err(outage);
        }
        if !thorough {
            return Ok(());
        }
        if broker.declares() {
            broker.prepare(&self.consume).await?;
        }
        let retries = RETRY_WAITS
            .iter()
            .map(|(label, _)| format!("retry.{label}"));
        for exchange in ["events".to_owned(), "dlx".to_owned()]
            .into_iter()
            .chain(retries)
        {
            self.publisher
                .would_take(&broker.topology.name(&exchange))
                .await?;
        }
        let retries = RETRY_WAITS
            .iter()
            .map(|(label, _)| format!("retry.{label}"));
        let queues = retries.chain(["dead".to_owned()]);
        self.there(queues.map(|queue| broker.topology.name(&queue)))
            .await
    }

    /// Whether these queues are there, as far as we may know.
    async fn there(&self, queues: impl Iterator<Item = String>) -> Result<(), Outage> {
        self.count(queues).await.map(drop)
    }

    /// Declares again what is missing, where that is ours to do; once for all that miss it at the
    /// same time. Whether it is worth while to publish once more.
    pub(super) async fn repair(&self, broker: &Broker) -> bool {
        if !broker.declares() {
            return false;
        }
        let mut repaired = self.repaired.lock().await;
        if repaired.is_none_or(|at| at.elapsed() >= REPAIR) {
            if let Err(fault) = broker.prepare(&self.consume).await {
                warn!(error = %Outage::from(fault).chain(), "what is missing can't be declared");
                return false;
            }
            *repaired = Some(Instant::now());
            info!("exchanges and queues were declared again");
        }
        true
    }

    /// Ready messages in these queues together; none, where the broker does not tell of each.
    pub(super) async fn count(
        &self,
        queues: impl Iterator<Item = String>,
    ) -> Result<Option<u64>, Outage> {
        let queues = queues.collect();
        self.questions.count(&self.consume, queues, false).await
    }

    /// Says that the broker refuses the copy of a job, for as long as the hold is kept.
    pub(super) fn hold(&self, why: String) -> Hold {
        self.held.send_modify(|held| {
            held.jobs += 1;
            held.why = format!("the broker does not take what becomes of a job: {why}");
        });
        Hold(Arc::clone(&self.held))
    }

    /// Whether and why jobs are held, as it changes.
    pub(super) fn held(&self) -> watch::Receiver<Held> {
        self.held.subscribe()
    }

    /// Notes that the broker has refused a job's copy.
    pub(super) fn note_refusal(&self) {
        self.refused.store(true, Ordering::Relaxed);
    }

    pub(super) fn was_refused(&self) -> bool {
        self.refused.load(Ordering::Relaxed)
    }

    /// Notes that a job was handed out.
    pub(super) fn take(&self) {
        self.jobs.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether jobs are in hand, or were when it ended.
    pub(super) fn has_jobs(&self) -> bool {
        self.jobs.load(Ordering::Relaxed) > 0
    }

    /// Notes that a job of a lane was acknowledged.
    pub(super) fn settled(&self, lane: Lane) {
        self.jobs.fetch_sub(1, Ordering::Relaxed);
        self.settled.send_if_modified(|last| {
            let other = *last != Some(lane);
            *last = Some(lane);
            other
        });
    }

    /// The lanes of which a job was acknowledged, as they change.
    pub(super) fn lanes_settled(&self) -> watch::Receiver<Option<Lane>> {
        self.settled.subscribe()
    }

    /// What is wrong with a message that came in on a channel of ours, if anything is.
    pub(super) fn unfit(&self, channel: ChannelId, message: &Message) -> Option<Unfit> {
        self.findings.take(channel, message.delivery_tag)
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

//! The transport's side of a delivery: publishing for a job, and settling it.
//!
//! Takes an event or a reason, gives that it is safe with the broker. Never acknowledges,
//! requeues or forgets a message but on the channel that it came by, and never takes anything but
//! a plain confirm for a success. If we crash here, the broker sees the connections end and
//! delivers the job again.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use futures_util::FutureExt as _;
use lapin::message::Delivery as Message;
use lapin::options::{BasicAckOptions, BasicNackOptions, BasicRejectOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Acker, BasicProperties};
use tokio::time::timeout;
use tracing::{debug, warn};
use uuid::Uuid;

use super::broker::{Broker, PRODUCT, answered, plain};
use super::properties::{
    ATTEMPT, ATTRIBUTES, DEAD_LETTERED_AT, ERROR, ERROR_CODE, EVENT, LANE, POSTPONED, copy, cut,
    header, number, persistent, put, short, text,
};
use super::publisher::PublishError;
use super::session::Session;
use crate::event::{self, Event};
use crate::problem::{Outage, Part};
use crate::telemetry::trace;
use crate::timing::{ANSWER, BACKOFF, Deadline, REFUSED, REPLY, backoff};
use crate::transport::{self, Delivery, Lane, Reason, Unfit, retry_wait};

/// The transport's side of a delivery.
pub struct Handle {
    broker: Arc<Broker>,
    session: Arc<Session>,
    lane: Lane,
    acker: Acker,
    properties: Box<BasicProperties>,
    /// What is wrong with the message, if anything is. We have not got it as it was sent then, and
    /// make no copy of it.
    pub(in crate::transport) unfit: Option<Unfit>,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}

/// The copy of an event that `reply_to` asks for. It is offered after the acknowledgement: a queue
/// of the sender's that does not confirm must hold up no job.
pub struct Reply {
    session: Arc<Session>,
    exchange: String,
    key: String,
    event: Uuid,
    body: Vec<u8>,
    properties: BasicProperties,
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

impl Reply {
    /// Publishes it, best effort: what is not confirmed in a moment is given up.
    pub async fn offer(self) {
        let Reply {
            session,
            exchange,
            key,
            event,
            body,
            properties,
        } = self;
        let offered = timeout(
            REPLY,
            session.publish_best_effort(&exchange, &key, &body, properties),
        );
        let error = match offered.await {
            Ok(Ok(())) => return,
            Ok(Err(outage)) => outage.chain(),
            Err(_) => format!("no confirm within {} s", REPLY.as_secs()),
        };
        warn!(
            error,
            event.id = %event,
            "the copy of the event that reply_to asks for was not delivered"
        );
    }
}

impl Handle {
    /// Publishes an event. Gives the copy that `reply_to` asks for.
    ///
    /// # Errors
    /// When the event may not be safe.
    pub async fn publish(
        &self,
        delivery: &Delivery,
        event: &Event,
    ) -> Result<Option<Reply>, Outage> {
        let mut headers = FieldTable::default();
        let (id, kind) = (event.id.to_string(), event.kind.as_str());
        let subject = event.subject.as_deref().filter(|subject| is_plain(subject));
        let values = [
            Some(event::SPECVERSION),
            Some(id.as_str()),
            Some(event.source.as_str()),
            Some(kind),
            Some(event.time.as_str()),
            subject,
        ];
        for ([_, names @ ..], value) in ATTRIBUTES.iter().zip(values) {
            for name in names {
                if let Some(value) = value {
                    put(&mut headers, name, value);
                }
            }
        }
        for (name, value) in trace::headers(&delivery.trace) {
            put(&mut headers, name, &value);
        }
        let (body, content_type) = event.body();
        let mut properties = persistent()
            .with_content_type(short(content_type))
            .with_message_id(short(&id))
            .with_type(short(kind))
            .with_app_id(short(PRODUCT))
            .with_headers(headers);
        if let Some(correlation_id) = &delivery.correlation_id {
            properties = properties.with_correlation_id(short(correlation_id));
        }

        let exchange = self.name("events");
        let key = &event.routing_key;
        if self.unfit.is_some() {
            // It cannot be sent to wait outside: no copy can be made of it.
            self.publish_until_taken(&exchange, key, &body, properties.clone())
                .await?;
        } else {
            self.publish_or_repair(&exchange, key, &body, properties.clone())
                .await?;
        }
        let reply = |reply_to: &String| Reply {
            session: Arc::clone(&self.session),
            // Never the default exchange, which reaches every queue by its name: a job must not
            // steer the worker into somebody's queue.
            exchange: self.name("replies"),
            key: reply_to.clone(),
            event: event.id,
            body,
            properties,
        };
        Ok(delivery.reply_to.as_ref().map(reply))
    }

    /// Puts the job, with the reason in headers, into the dead queue.
    ///
    /// # Errors
    /// When it may not be safe there.
    pub async fn dead_letter(&self, delivery: &Delivery, reason: &Reason) -> Result<(), Outage> {
        self.is_whole()?;
        let (properties, mut headers) = copy(&self.properties);
        put(&mut headers, ERROR_CODE, cut(&reason.code));
        put(&mut headers, ERROR, cut(&reason.message));
        put(&mut headers, EVENT, reason.event);
        put(&mut headers, DEAD_LETTERED_AT, &event::now());
        put(&mut headers, LANE, delivery.lane.as_str());
        let properties = properties.with_headers(headers);
        self.publish_until_taken(&self.name("dlx"), "dead", &delivery.body, properties)
            .await
    }

    /// Has the broker put the message itself into the dead queue, as it was sent: it does when a
    /// message is rejected (RabbitMQ, "Dead Lettering"), and a lane keeps it until that is done.
    ///
    /// # Errors
    /// When the rejection may not have arrived: the job comes again.
    pub async fn dead_letter_original(self) -> Result<(), Outage> {
        let rejected = self.acker.reject(BasicRejectOptions { requeue: false });
        self.settled("the rejection", rejected).await
    }

    /// Acknowledges the job.
    ///
    /// # Errors
    /// When the acknowledgement may not have arrived.
    pub async fn ack(self) -> Result<(), Outage> {
        // By the delivery's own acker: a delivery tag means nothing on another channel, and
        // acknowledging one twice closes the channel (RabbitMQ, "Consumer Acknowledgements").
        let acked = self.acker.ack(BasicAckOptions::default());
        self.settled("the acknowledgement", acked).await
    }

    /// Waits until what ends a delivery is written.
    async fn settled(
        &self,
        what: &str,
        answer: impl Future<Output = lapin::Result<bool>>,
    ) -> Result<(), Outage> {
        match answered(what, answer).await {
            Ok(true) => {
                self.session.settled(self.lane);
                Ok(())
            }
            Ok(false) => {
                let why = format!("the job's channel had ended before {what}; it comes again");
                self.session.end(why.as_str());
                Err(Outage::new(Part::Transport, why))
            }
            Err(outage) => {
                self.session.end(plain(&outage));
                Err(outage)
            }
        }
    }

    /// Sends the job to wait for its next attempt.
    ///
    /// # Errors
    /// When it may not be safe there.
    pub async fn retry(&self, delivery: &Delivery) -> Result<(), Outage> {
        let next = i64::from(delivery.attempt.saturating_add(1));
        self.wait(delivery, retry_wait(delivery.attempt).0, ATTEMPT, next)
            .await
    }

    /// Sends the job to wait, longer each time, on the same attempt. Below 4.3 requeueing it
    /// would count towards the delivery limit; its copy in the retry queue begins anew.
    ///
    /// # Errors
    /// When it may not be safe there.
    pub async fn postpone(&self, delivery: &Delivery) -> Result<(), Outage> {
        let times = postponed(&self.properties).saturating_add(1);
        let (label, _) = retry_wait(u32::try_from(times).unwrap_or(u32::MAX));
        self.wait(delivery, label, POSTPONED, times).await
    }

    /// Publishes a copy into a retry queue, with one of our headers changed.
    async fn wait(
        &self,
        delivery: &Delivery,
        label: &str,
        header: &str,
        number: i64,
    ) -> Result<(), Outage> {
        self.is_whole()?;
        let (properties, mut headers) = copy(&self.properties);
        headers.insert(header.into(), AMQPValue::LongLongInt(number));
        let exchange = self.name(&format!("retry.{label}"));
        let properties = properties.with_headers(headers);
        // The lane's key stays with the message, and brings it back to its lane.
        let key = delivery.lane.as_str();
        self.publish_until_taken(&exchange, key, &delivery.body, properties)
            .await
    }

    /// Publishes a copy of the job, as often as the broker refuses it. Requeued, the job would
    /// come again at once, until its deliveries are used up and it is dead with no event published.
    /// So it is held, and after a moment no more jobs are asked for.
    ///
    /// # Errors
    /// When the session has ended, and with it the delivery.
    async fn publish_until_taken(
        &self,
        exchange: &str,
        key: &str,
        body: &[u8],
        properties: BasicProperties,
    ) -> Result<(), Outage> {
        let since = Instant::now();
        let mut tries = 0;
        let mut hold = None;
        loop {
            let outage = match self
                .publish_or_repair(exchange, key, body, properties.clone())
                .await
            {
                Err(outage) if self.session.is_up() => outage,
                ended => return ended,
            };
            if tries == 0 {
                // Should the session end of this, its successor is to look before it asks for jobs.
                self.session.note_refusal();
                warn!(error = %outage.chain(), "the job is held until the broker takes it");
            }
            if hold.is_none() && since.elapsed() >= REFUSED {
                hold = Some(self.session.hold(plain(&outage)));
            }
            tokio::select! {
                why = self.session.ended() => return Err(Outage::new(Part::Transport, why)),
                () = tokio::time::sleep(backoff(BACKOFF, tries)) => tries += 1,
            }
        }
    }

    /// Publishes to an exchange that a job's end needs. One that is missing, or without its queue,
    /// is declared again, where that is ours to do.
    async fn publish_or_repair(
        &self,
        exchange: &str,
        key: &str,
        body: &[u8],
        properties: BasicProperties,
    ) -> Result<(), Outage> {
        let session = &self.session;
        let sent = session
            .publish(exchange, key, body, properties.clone())
            .await;
        let failure = match sent {
            Err(PublishError::Missing(_)) if session.repair(&self.broker).await => {
                session.publish(exchange, key, body, properties).await.err()
            }
            sent => sent.err(),
        };
        failure.map_or(Ok(()), |failure| Err(failure.into()))
    }

    /// Requeues the job untouched. From 4.3 that is not counted as a delivery; before it is.
    pub async fn release(self) {
        requeue(&self.acker).await;
    }

    /// Whether the job is still ours: when its session has ended the broker has it again.
    pub fn is_live(&self) -> bool {
        self.session.is_up() && self.acker.usable()
    }

    /// Whether a copy of the message would be the message.
    fn is_whole(&self) -> Result<(), Outage> {
        match self.unfit {
            Some(_) => Err(Outage::new(
                Part::Transport,
                "no copy of this message can be made; it comes again",
            )),
            None => Ok(()),
        }
    }

    fn name(&self, rest: &str) -> String {
        self.broker.topology.name(rest)
    }
}

/// A job that was dropped (its task panicked or was cut off, or its end could not be published) is
/// rejected, which every version counts towards the delivery limit: it may be the job's doing.
impl Drop for Handle {
    fn drop(&mut self) {
        if self.acker.usable() {
            // The first poll hands the rejection to lapin's own task; there is nothing to wait for.
            let options = BasicRejectOptions { requeue: true };
            drop(self.acker.reject(options).now_or_never());
        }
    }
}

/// Requeues a delivery, and waits until that is written.
pub(super) async fn requeue(acker: &Acker) {
    let options = BasicNackOptions {
        requeue: true,
        multiple: false,
    };
    match timeout(ANSWER, acker.nack(options)).await {
        Ok(Ok(true)) => {}
        // The channel has ended, and with it the broker has the job back already.
        ended => debug!(?ended, "a job could not be requeued by hand"),
    }
}

/// A delivery, from lapin's.
pub(super) fn delivery(
    broker: &Arc<Broker>,
    session: &Arc<Session>,
    lane: Lane,
    message: Message,
    unfit: Option<Unfit>,
) -> Delivery {
    let Message {
        data,
        properties,
        acker,
        redelivered,
        ..
    } = message;
    let number = |name| header(&properties, name).and_then(number);
    let attempt = number(ATTEMPT).unwrap_or(1).clamp(1, i64::from(u32::MAX));
    // Missing on a first delivery from 4.0 on.
    let delivered = number("x-delivery-count").unwrap_or(0);
    let own = |text: &Option<ShortString>| text.as_ref().map(ShortString::to_string);
    let waited = attempt > 1 || postponed(&properties) > 0;
    session.take();
    Delivery {
        body: data,
        lane,
        redelivered: redelivered || delivered > 0 || waited,
        attempt: u32::try_from(attempt).unwrap_or(u32::MAX),
        message_id: own(properties.message_id()),
        correlation_id: own(properties.correlation_id()),
        reply_to: own(properties.reply_to()),
        trace: trace::sender(|name| header(&properties, name).and_then(text).map(Cow::Owned)),
        timestamp: *properties.timestamp(),
        deadline: Deadline::after(broker.lease),
        handle: transport::Handle::Amqp(Handle {
            broker: Arc::clone(broker),
            session: Arc::clone(session),
            lane,
            acker,
            properties: Box::new(properties),
            unfit,
        }),
    }
}

/// How often a job was sent to wait without using up an attempt.
fn postponed(properties: &BasicProperties) -> i64 {
    let times = header(properties, POSTPONED).and_then(number);
    times.unwrap_or(0).max(0)
}

/// Whether a subject can stand in a header as it is: a `job_id` that was read, but is none, can
/// be anything.
fn is_plain(subject: &str) -> bool {
    (1..=128).contains(&subject.len())
        && subject
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

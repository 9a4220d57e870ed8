//! Publishing with confirms.
//!
//! Takes a message, reports that it is safe. Never has two in flight on one channel, and never
//! takes an unroutable or refused message, or a silence, for a success. If we crash here, the
//! message may be safe or not, and whoever sent it sends it again.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::time::Duration;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ErrorKind};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::warn;

use super::broker::{CHANNELS, PRODUCT, close, outage};
use super::properties::{persistent, short};
use super::topology::is_missing;
use crate::problem::{Outage, Part};
use crate::timing::{ANSWER, CHANNEL, SIGN_OF_LIFE, unix_seconds};
use crate::transport::Unsent;

/// The key of what is published to find out whether an exchange would take a message.
const PROBE: &str = "banshi.probe";

/// A message that is not known to be safe.
#[derive(Debug)]
pub(super) enum PublishError {
    /// The broker has not taken it, or does not say within reason that it has, and answers
    /// otherwise: the session is well.
    Refused(Outage),
    /// The exchange, or a queue behind it, is not there.
    Missing(Outage),
    /// Nobody knows, and the connection is not to be trusted.
    Unknown(Outage),
}

impl From<PublishError> for Unsent {
    fn from(failure: PublishError) -> Self {
        Unsent::Outage(failure.into())
    }
}

impl From<PublishError> for Outage {
    fn from(failure: PublishError) -> Self {
        match failure {
            PublishError::Refused(outage)
            | PublishError::Missing(outage)
            | PublishError::Unknown(outage) => outage,
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
    /// How many permits there are.
    channels: usize,
    /// How many there are to be in the next session, which is made smaller once.
    next: (Arc<AtomicUsize>, Once),
    /// Whether to wait while the broker takes no messages at all.
    patient: bool,
}

impl Publisher {
    /// A publisher on a connection of its own. An alarm of memory or disk blocks connections that
    /// publish (RabbitMQ, "Memory and Disk Alarms"): acknowledgements must not go that way.
    ///
    /// A `patient` one waits for the end of an alarm; to give up would only repeat the work, and
    /// count every job in hand as delivered once more.
    ///
    /// `most` is what an earlier session found out about the limit that the user may have.
    pub(super) fn new(connection: Connection, patient: bool, most: &Arc<AtomicUsize>) -> Publisher {
        let channels = channels(connection.configuration().channel_max());
        let channels = channels.min(most.load(Ordering::Relaxed));
        Publisher {
            connection,
            idle: Mutex::default(),
            permits: Semaphore::new(channels),
            channels,
            next: (Arc::clone(most), Once::new()),
            patient,
        }
    }

    /// After the end of a connection for having had too many channels, so that the next one does
    /// not end in the same way, and every job in hand is counted as delivered once more.
    pub(super) fn use_fewer(&self) {
        let (most, once) = &self.next;
        once.call_once(|| {
            let in_flight = self.channels - self.permits.available_permits();
            let used = in_flight + self.idle().len();
            let channels = (used.min(self.channels) / 2).max(1);
            most.fetch_min(channels, Ordering::Relaxed);
            warn!(
                channels,
                "the user has reached its limit of channels: from now on fewer are used to publish"
            );
        });
    }

    /// How many publishes can be in flight, where the connection's limit makes them fewer.
    pub(super) fn few(&self) -> Option<usize> {
        let channels = channels(self.connection.configuration().channel_max());
        (channels < CHANNELS).then_some(channels)
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
    ) -> Result<(), PublishError> {
        // mandatory: what no queue is bound for comes back, and is not silently dropped
        // (RabbitMQ, "Publishers", "Unroutable Message Handling").
        let options = BasicPublishOptions {
            mandatory: true,
            ..Default::default()
        };
        let confirmation = self.send(exchange, key, options, body, properties).await?;
        let place = place(exchange, key);
        let refused = |why: String| Err(PublishError::Refused(Outage::new(Part::Transport, why)));
        match confirmation {
            Confirmation::Ack(None) => Ok(()),
            Confirmation::Ack(Some(returned)) => {
                let said = &returned.reply_text;
                let why = format!("{place}: no queue is bound for this message ({said})");
                Err(PublishError::Missing(Outage::new(Part::Transport, why)))
            }
            Confirmation::Nack(_) => refused(format!(
                "{place}: a queue is full and takes no more messages"
            )),
            // A channel that lost its confirm mode.
            Confirmation::NotRequested => Err(PublishError::Unknown(self.unconfirmed(&place))),
        }
    }

    /// Publishes and waits for the broker's answer, whatever it is.
    async fn send(
        &self,
        exchange: &str,
        key: &str,
        options: BasicPublishOptions,
        body: &[u8],
        properties: BasicProperties,
    ) -> Result<Confirmation, PublishError> {
        let Ok(_permit) = self.permits.acquire().await else {
            let why = "the connection to the broker was closed";
            return Err(PublishError::Unknown(Outage::new(Part::Transport, why)));
        };
        let mut in_flight = pin!(async {
            let channel = self.channel().await?;
            let (exchange, key) = (short(exchange), short(key));
            let sent = channel
                .basic_publish(exchange, key, options, body, properties)
                .await?;
            Ok::<_, lapin::Error>((channel, sent.await?))
        });
        let place = place(exchange, key);
        let second = Duration::from_secs(1);
        let mut left = ANSWER;
        let (channel, confirmation) = loop {
            match timeout(second, &mut in_flight).await {
                Ok(Ok(answer)) => break answer,
                Ok(Err(error)) => return Err(refused(&place, error)),
                Err(_) if self.connection.status().blocked() && self.patient => left = ANSWER,
                Err(_) if left > second => left -= second,
                // The channel goes with what is in flight on it, and nothing else.
                Err(_) => return Err(self.silence(&place).await),
            }
        };
        // After a refusal the channel is not used again: when the limit of the queue that refused
        // is taken away (a policy), the broker goes on refusing what comes by this channel, up to
        // its end (seen on 3.10).
        if matches!(confirmation, Confirmation::Ack(_)) {
            self.idle().push(channel);
        }
        Ok(confirmation)
    }

    /// What a missing confirm means: of one queue, if the broker answers otherwise, or of the
    /// connection.
    async fn silence(&self, place: &str) -> PublishError {
        match timeout(SIGN_OF_LIFE, self.connection.create_channel()).await {
            Ok(Ok(_)) => PublishError::Refused(self.unconfirmed(place)),
            // The broker was not asked; should it be gone, heartbeats find out.
            Ok(Err(error)) if is_out_of_channels(&error) => {
                PublishError::Refused(self.unconfirmed(place))
            }
            _ => PublishError::Unknown(self.unconfirmed(place)),
        }
    }

    /// Publishes what may be lost: no queue need be bound for it, and it need not outlive the
    /// broker's next start.
    ///
    /// # Errors
    /// When the broker has not taken it.
    pub(super) async fn offer(&self, exchange: &str, key: &str, body: &[u8]) -> Result<(), Outage> {
        let options = BasicPublishOptions::default();
        let properties = BasicProperties::default()
            .with_delivery_mode(1)
            .with_content_type(short("application/json"))
            .with_timestamp(unix_seconds())
            .with_app_id(short(PRODUCT));
        self.send(exchange, key, options, body, properties).await?;
        Ok(())
    }

    /// Publishes an empty message that no queue takes, and waits until the broker has answered in
    /// any way: one that takes no messages at all (an alarm) does not answer, for as long as that
    /// lasts.
    ///
    /// # Errors
    /// When it does not answer, and no alarm is the reason.
    pub(super) async fn probe(&self, exchange: &str, key: &str) -> Result<(), Outage> {
        // Not mandatory: what no queue takes is dropped, and confirmed.
        let options = BasicPublishOptions::default();
        match self.send(exchange, key, options, b"", persistent()).await {
            Ok(_) | Err(PublishError::Refused(_) | PublishError::Missing(_)) => Ok(()),
            Err(PublishError::Unknown(outage)) => Err(outage),
        }
    }

    /// Whether an exchange would take a message of ours: it is there and we may write to it. What
    /// is published to find out has an `expiration` that is none, at which the broker looks after
    /// it has looked at both, and which it refuses.
    ///
    /// # Errors
    /// The broker's words, when it would not.
    pub(super) async fn would_take(&self, exchange: &str) -> Result<(), Outage> {
        let options = BasicPublishOptions::default();
        let properties = persistent().with_expiration(short("none"));
        match self.send(exchange, PROBE, options, b"", properties).await {
            Err(PublishError::Refused(outage)) if outage.chain().contains("invalid expiration") => {
                Ok(())
            }
            Err(failure) => Err(failure.into()),
            // A broker that takes it has dropped or expired it.
            Ok(_) => Ok(()),
        }
    }

    /// A channel that nobody else uses.
    async fn channel(&self) -> lapin::Result<Channel> {
        let mut left = CHANNEL;
        loop {
            // A statement of its own, for the lock must not be held while waiting.
            let idle = self.idle().pop();
            match idle {
                Some(channel) if channel.status().connected() => return Ok(channel),
                Some(_) => {}
                None => {
                    let channel = match self.connection.create_channel().await {
                        // That of a publish which was dropped half way is just being closed.
                        Err(error) if is_out_of_channels(&error) && !left.is_zero() => {
                            let wait = Duration::from_millis(20);
                            tokio::time::sleep(wait).await;
                            left = left.saturating_sub(wait);
                            continue;
                        }
                        created => created?,
                    };
                    channel
                        .confirm_select(ConfirmSelectOptions::default())
                        .await?;
                    return Ok(channel);
                }
            }
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Channel>> {
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

    /// The connection, for questions.
    pub(super) fn connection(&self) -> &Connection {
        &self.connection
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

fn place(exchange: &str, key: &str) -> String {
    format!("exchange {exchange:?}, key {key:?}")
}

/// How many channels a publisher may use of a connection's: lapin counts its own channel 0 as one,
/// and one more is for [`Publisher::plain_channel`].
fn channels(channel_max: u16) -> usize {
    usize::from(channel_max)
        .saturating_sub(2)
        .clamp(1, CHANNELS)
}

/// The connection has as many channels as were agreed on: the broker was not even asked.
fn is_out_of_channels(error: &lapin::Error) -> bool {
    matches!(error.kind(), ErrorKind::ChannelsLimitReached)
}

/// What the error of a publish means.
fn refused(place: &str, error: lapin::Error) -> PublishError {
    if is_out_of_channels(&error) {
        let place = format!(
            "{place}: nothing was sent. Raise channel_max in the broker's rabbitmq.conf, or in \
             queue.url if it is there"
        );
        return PublishError::Refused(outage(place, error));
    }
    let missing = is_missing(&error);
    let soft = error.is_amqp_soft_error();
    let outage = outage(place, error);
    match (missing, soft) {
        (true, _) => PublishError::Missing(outage),
        // The broker has closed this one channel: no permission, or the message is too large.
        (_, true) => PublishError::Refused(outage),
        _ => PublishError::Unknown(outage),
    }
}

//! A lane's consumer, on a channel of its own.
//!
//! Takes a prefetch, gives deliveries. Never changes that of a consumer that is registered: the new
//! one is for the consumers after it. If we crash here, the broker has what was not acknowledged.

use lapin::message::Delivery as Message;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{ChannelId, FieldTable};
use lapin::{Acker, Channel, Consumer, ErrorKind};
use tokio::time::timeout;
use tracing::debug;

use futures_util::StreamExt as _;

use super::broker::{Broker, Fault, answered, outage};
use super::properties::short;
use super::session_state::{Prefetch, SessionState};
use super::topology::is_missing;
use crate::problem::Outage;
use crate::timing::PREPARE;
use crate::transport::Lane;

/// The consumer of a lane, on a channel of its own.
pub(super) struct LaneConsumer {
    pub(super) lane: Lane,
    channel: Channel,
    /// Unacknowledged jobs at [`Prefetch::Full`].
    prefetch: u16,
    consumer: Registered,
    /// Consumers registered so far.
    registered: u32,
}

/// Whether the lane has a consumer.
enum Registered {
    /// None.
    No,
    /// One, with this prefetch.
    Yes(Consumer, Prefetch),
    /// One that was cancelled: what the broker sent before its answer still comes, then the end.
    Cancelled(Consumer),
}

/// What a lane's consumer received.
pub(super) enum Received {
    Job(Box<Message>),
    /// The end of a consumer that we have cancelled.
    Drained,
    /// The end of one that we have not: its queue was deleted or, from 4.3, a job was held for too
    /// long (RabbitMQ, "Consumers", "Consumer Cancellation").
    Cancelled,
    Failed(lapin::Error),
}

impl LaneConsumer {
    pub(super) fn new(lane: Lane, channel: Channel, prefetch: u16) -> LaneConsumer {
        LaneConsumer {
            lane,
            channel,
            prefetch,
            consumer: Registered::No,
            registered: 0,
        }
    }

    /// The number of its channel.
    pub(super) fn channel(&self) -> ChannelId {
        self.channel.id()
    }

    /// What comes next; waits for ever where there is no consumer. Cancel safe.
    pub(super) async fn next(&mut self) -> Received {
        let (next, cancelled) = match &mut self.consumer {
            Registered::No => std::future::pending().await,
            Registered::Yes(consumer, _) => (consumer.next().await, false),
            Registered::Cancelled(consumer) => (consumer.next().await, true),
        };
        match next {
            Some(Ok(message)) => Received::Job(Box::new(message)),
            Some(Err(error)) => Received::Failed(error),
            None if cancelled => {
                self.consumer = Registered::No;
                Received::Drained
            }
            None => Received::Cancelled,
        }
    }

    /// Whether the consumer is not as the session's state wants it, and that can be changed now.
    pub(super) fn needs_change(&self, session_state: &SessionState) -> bool {
        let wanted = session_state.prefetch(self.lane);
        match &self.consumer {
            Registered::No => wanted.is_some(),
            Registered::Yes(_, allowed) => wanted != Some(*allowed),
            // Its end comes first.
            Registered::Cancelled(_) => false,
        }
    }

    /// Registers the consumer or cancels it, as the session's state wants it.
    pub(super) async fn change(
        &mut self,
        broker: &Broker,
        session_state: &SessionState,
    ) -> Result<(), Outage> {
        if !self.needs_change(session_state) {
            return Ok(());
        }
        match (&self.consumer, session_state.prefetch(self.lane)) {
            (Registered::No, Some(allowed)) => {
                match timeout(PREPARE, self.consume(broker, allowed)).await {
                    Ok(registered) => Ok(registered?),
                    Err(_) => Err(broker.silent("consumers")),
                }
            }
            _ => self.cancel().await,
        }
    }

    async fn consume(&mut self, broker: &Broker, allowed: Prefetch) -> Result<(), Fault> {
        let queue = broker.topology.lane(self.lane);
        let prefetch = match allowed {
            Prefetch::One => 1,
            Prefetch::Full => self.prefetch,
        };
        // A tag of its own each time: a quorum queue takes a consumer of the same tag for the one
        // that was cancelled, with the jobs that one has in hand.
        let tag = match self.registered {
            0 => format!("banshi.{}", self.lane),
            again => format!("banshi.{}.{again}", self.lane),
        };
        self.registered += 1;
        let registered = async {
            // For each consumer, and before it: the broker keeps back what is over this number
            // of unacknowledged jobs (RabbitMQ, "Consumer Prefetch").
            let options = BasicQosOptions::default();
            self.channel.basic_qos(prefetch, options).await?;
            let consume = self.channel.basic_consume(
                short(&queue),
                short(&tag),
                BasicConsumeOptions::default(),
                FieldTable::default(),
            );
            consume.await
        };
        match registered.await {
            Ok(consumer) => {
                self.consumer = Registered::Yes(consumer, allowed);
                Ok(())
            }
            Err(error) => {
                let lasting =
                    is_missing(&error) || error.is_amqp_soft_error() && is_forbidden(&error);
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

    /// Cancels the consumer. What the broker sent before its answer still comes.
    async fn cancel(&mut self) -> Result<(), Outage> {
        let Registered::Yes(consumer, _) = &self.consumer else {
            return Ok(());
        };
        let options = BasicCancelOptions::default();
        let cancelled = self.channel.basic_cancel(consumer.tag(), options);
        answered("the end of a consumer", cancelled).await?;
        if let Registered::Yes(consumer, _) = std::mem::replace(&mut self.consumer, Registered::No)
        {
            self.consumer = Registered::Cancelled(consumer);
        }
        Ok(())
    }

    /// Cancels the consumer and collects what lapin holds of it.
    pub(super) async fn drain(&mut self, held: &mut Vec<Acker>) {
        if let Err(outage) = self.cancel().await {
            debug!(lane = %self.lane, error = %outage.chain(), "a consumer could not be cancelled");
            return;
        }
        // What came in before the answer is in the stream, and then its end.
        while let Registered::Cancelled(_) = &self.consumer
            && let Received::Job(message) = self.next().await
        {
            held.push(message.acker);
        }
    }
}

/// Whether it is for want of a permission that the broker refused something.
pub(super) fn is_forbidden(error: &lapin::Error) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(refusal) if refusal.get_id() == 403)
}

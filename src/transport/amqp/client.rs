//! The sender's and the operator's side of RabbitMQ: jobs in, and the dead queue.
//!
//! Takes jobs and verdicts, gives dead jobs. Never removes a dead job before its copy is safe. If
//! we crash here, what was looked at is in the dead queue again, and a job may have been sent
//! twice.

use std::ops::ControlFlow;
use std::time::Duration;

use lapin::message::Delivery as Message;
use lapin::options::{BasicAckOptions, BasicGetOptions, BasicNackOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, DeliveryTag, FieldTable};
use lapin::{BasicProperties, Channel};
use opentelemetry::trace::SpanContext;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tracing::warn;

use super::broker::{Broker, PRODUCT, answered, close, outage};
use super::guard::{Findings, Unfit};
use super::properties::{
    DEAD_LETTERED_AT, ERROR, ERROR_CODE, EVENT, LANE, ROUTING_KEY, copy, cut, header, is_ours,
    persistent, put, short, text,
};
use super::publisher::{PublishError, Publisher};
use super::topology::Declared;
use crate::config;
use crate::problem::{Code, Outage, Part};
use crate::telemetry::trace;
use crate::timing::unix_seconds;
use crate::transport::{AsSent, DeadJob, Kept, LARGEST, Lane, Unsent, Verdict};
use crate::{digest, event, job};

/// What the broker itself says of a dead job that reached its delivery limit.
const CRASHED: &str = "crashed";

/// The code and the event of a job that was sent to no lane.
const UNROUTED: &str = "unrouted";

/// How many messages are requeued together. RabbitMQ has up to 32 on their way to a quorum queue
/// at once, and puts more than that into a map, out of which they come in no order.
const TOGETHER: usize = 16;

/// The sender's and the operator's side.
#[derive(Debug)]
pub struct Client {
    pub(super) broker: Box<Broker>,
    pub(super) publisher: Box<Publisher>,
    /// What is wrong with what is looked at.
    pub(super) findings: Findings,
    /// What a job may have.
    pub(super) job_bytes: usize,
}

impl Client {
    /// Connects, once. Creates the topology too, where the settings leave that to us: a job can
    /// be sent before the first worker has started.
    ///
    /// # Errors
    /// When the broker is not there, does not let us in, or is not as it must be.
    pub async fn open(settings: &config::Queue, job_bytes: usize) -> Result<Client, Outage> {
        let client = Client::attach(settings, job_bytes).await?;
        let connection = client.publisher.connection();
        if client.broker.declares()
            && let Err(fault) = client.broker.prepare(connection).await
        {
            close(connection).await;
            return Err(fault.into());
        }
        Ok(client)
    }

    /// Connects, once, whatever stands at the broker.
    ///
    /// # Errors
    /// When the broker is not there or does not let us in.
    pub async fn attach(settings: &config::Queue, job_bytes: usize) -> Result<Client, Outage> {
        // What is in the dead queue may be larger than a job may be, and is to be seen all the
        // same.
        let broker = Box::new(Broker::new(settings, LARGEST)?);
        let (connection, findings) = broker.connect("client").await?;
        // Somebody waits for it: an alarm of the broker is an error, not waited for.
        let publisher = Box::new(Publisher::new(connection, false, &broker.channels));
        Ok(Client {
            broker,
            publisher,
            findings,
            job_bytes,
        })
    }

    /// Sends a job and waits until it is safe.
    ///
    /// # Errors
    /// When the broker does not take it as it is, or it may not be safe.
    pub async fn send(&self, id: &str, body: &[u8], lane: Lane) -> Result<(), Unsent> {
        if id.len() > 255 {
            let why = format!("its id {:?}… is longer than 255 bytes", cut(id));
            return Err(Unsent::Unfit(why));
        }
        let mut properties = persistent()
            .with_content_type(short("application/json"))
            .with_message_id(short(id))
            .with_timestamp(unix_seconds())
            .with_app_id(short(PRODUCT));
        let mut headers = FieldTable::default();
        for (name, value) in trace::headers(&SpanContext::NONE) {
            put(&mut headers, name, &value);
        }
        if !headers.inner().is_empty() {
            properties = properties.with_headers(headers);
        }
        let exchange = self.broker.topology.name("jobs");
        let sent = self
            .publisher
            .publish(&exchange, lane.as_str(), body, properties);
        sent.await
            .map_err(|failure| unacceptable(&failure, body.len()).unwrap_or(failure.into()))
    }

    /// Whether its connection lives, as far as that is known.
    pub fn is_live(&self) -> bool {
        self.publisher.connection().status().connected()
    }

    /// Walks through a queue of kept jobs once. What is kept stays out of others' sight meanwhile.
    ///
    /// # Errors
    /// When the broker fails on the way: the rest stays.
    pub async fn walk(
        &mut self,
        which: Kept,
        mut judge: impl FnMut(&DeadJob) -> Verdict,
        mut settled: impl FnMut(&DeadJob) -> ControlFlow<()>,
    ) -> Result<(), Outage> {
        let queue = self.broker.topology.name(which.as_str());
        let what = format!("the queue {queue}");
        self.can_be_walked(which).await?;
        let channel = answered(&what, self.publisher.plain_channel()).await?;
        let jobs = self.ready(&channel, &queue).await?;
        let mut kept = Vec::new();
        let mut walked = Ok(());
        let mut ended = false;
        for _ in 0..jobs {
            if ended && kept.is_empty() {
                // Nothing is out that would have to go back in its order.
                break;
            }
            // Not acknowledged by itself: a walk that breaks off leaves everything as it was.
            let got = channel.basic_get(short(&queue), BasicGetOptions { no_ack: false });
            let Some(message) = answered(&what, got).await? else {
                // Somebody else has taken the rest.
                break;
            };
            let mut message = message.delivery;
            let unfit = self.findings.take(channel.id(), message.delivery_tag);
            // What is requeued goes behind what was requeued before. So after the end, too,
            // the rest is taken out, to go back together and in order.
            let job = (!ended).then(|| match which {
                Kept::Dead => self.dead_job(&mut message, unfit.as_ref()),
                Kept::Unrouted(lane) => unrouted_job(&mut message, unfit.as_ref(), lane),
            });
            let mut verdict = match &job {
                Some(job) => judge(job),
                None => Verdict::Keep,
            };
            if verdict == Verdict::Replay && unfit.is_some() {
                // What would be sent is not what is here.
                verdict = Verdict::Keep;
            }
            if let (Some(job), Verdict::Replay) = (&job, verdict) {
                walked = self.replay(job, &message.properties).await;
                if walked.is_err() {
                    verdict = Verdict::Stop;
                }
            }
            ended |= verdict == Verdict::Stop;
            match (job, verdict) {
                (Some(job), Verdict::Replay | Verdict::Drop) => {
                    let acked = message.acker.ack(BasicAckOptions::default());
                    if !answered(&what, acked).await? {
                        let why = format!("{what}: the channel has ended");
                        return Err(Outage::new(Part::Transport, why));
                    }
                    ended |= settled(&job).is_break();
                }
                _ => kept.push(message.delivery_tag),
            }
        }
        self.requeue(&channel, &queue, &kept).await?;
        answered(&what, channel.close(200, "OK".into())).await?;
        walked
    }

    /// Whether looking loses nothing. A part of the jobs can be elsewhere, which is logged.
    async fn can_be_walked(&self, kept: Kept) -> Result<(), Outage> {
        let topology = &self.broker.topology;
        let name = topology.name(kept.as_str());
        let Some(queue) = topology.kept().find(|queue| queue.name == name) else {
            return Ok(());
        };
        let temporary = topology.migrating(queue);
        if let Some(jobs) = self.there(&temporary).await? {
            warn!(
                jobs,
                "a part of {name} is in {temporary}, for its migration was cut off: run `banshi \
                 topology migrate`"
            );
        }
        if kept == Kept::Dead {
            return Ok(());
        }
        let looked = topology.look_at(queue, self.publisher.connection()).await;
        match looked.map_err(|error| outage(format!("the queue {name}"), error))? {
            (Declared::Earlier | Declared::Inequivalent(_), _) => Err(Outage::new(
                Part::Transport,
                format!(
                    "the queue {name} stands with the arguments of an earlier version, by which \
                     RabbitMQ 4 drops what was looked at 21 times: run `banshi topology migrate` \
                     first, which keeps what is in it"
                ),
            )),
            // A user without the right to configure can't ask.
            _ => Ok(()),
        }
    }

    /// Requeues messages in their order, and waits until whoever looks next sees them again.
    async fn requeue(
        &self,
        channel: &Channel,
        queue: &str,
        tags: &[DeliveryTag],
    ) -> Result<(), Outage> {
        let mut ready = self.ready(channel, queue).await?;
        for together in tags.chunks(TOGETHER) {
            let Some(last) = together.last() else { break };
            let options = BasicNackOptions {
                multiple: true,
                requeue: true,
            };
            answered(
                &format!("the queue {queue}"),
                channel.basic_nack(*last, options),
            )
            .await?;
            ready = ready.saturating_add(u32::try_from(together.len()).unwrap_or(u32::MAX));
            // The broker has no answer to that. It is there when the queue has grown by as many,
            // unless somebody else takes them at once.
            for _ in 0..100 {
                if self.ready(channel, queue).await? >= ready {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        Ok(())
    }

    async fn ready(&self, channel: &Channel, queue: &str) -> Result<u32, Outage> {
        let options = QueueDeclareOptions {
            passive: true,
            ..Default::default()
        };
        let asked = channel.queue_declare(short(queue), options, FieldTable::default());
        Ok(answered(&format!("the queue {queue}"), asked)
            .await?
            .message_count())
    }

    /// Sends a dead job to its lane as it was sent first.
    async fn replay(&self, job: &DeadJob, properties: &BasicProperties) -> Result<(), Outage> {
        let (properties, headers) = copy(properties);
        let mut first = FieldTable::default();
        for (name, value) in headers.inner() {
            if !is_ours(name.as_str()) {
                first.insert(name.clone(), value.clone());
            }
        }
        let exchange = self.broker.topology.name("jobs");
        let properties = properties.with_headers(first);
        Ok(self
            .publisher
            .publish(&exchange, &job.lane, &job.body, properties)
            .await?)
    }

    /// What a message in the dead queue says of itself. Its body is taken out of it.
    fn dead_job(&self, message: &mut Message, unfit: Option<&Unfit>) -> DeadJob {
        let body = std::mem::take(&mut message.data);
        let dropped = unfit.and_then(|unfit| unfit.dropped.as_ref());
        let as_sent = as_sent(unfit);
        let bytes = dropped.map_or(body.len() as u64, |(_, bytes)| *bytes);
        let properties = &message.properties;
        let own = |name| header(properties, name).and_then(text);
        let id = id_of(message, &body, unfit);
        if let (Some(code), Some(event)) = (own(ERROR_CODE), own(EVENT)) {
            let message = own(ERROR).unwrap_or_default();
            let lane = own(LANE).unwrap_or_else(|| Lane::Bulk.to_string());
            let dead_lettered_at = own(DEAD_LETTERED_AT);
            let dead_lettered_at =
                dead_lettered_at.and_then(|at| OffsetDateTime::parse(&at, &Rfc3339).ok());
            return DeadJob {
                id,
                code,
                message,
                event,
                lane,
                dead_lettered_at,
                body,
                as_sent,
            };
        }
        // Without our headers it was the broker that gave it up. x-first-death-reason would be the
        // wait in a retry queue, if there was one; the newest entry of x-death is the last death.
        let death = header(properties, "x-death").and_then(last_death);
        let of = |name| {
            death
                .and_then(|death| death.inner().get(name))
                .and_then(text)
        };
        let code = own("x-last-death-reason").or_else(|| of("reason"));
        let code = code.or_else(|| own("x-first-death-reason"));
        let code = code.unwrap_or_else(|| "unknown".to_owned());
        let queue = own("x-last-death-queue")
            .or_else(|| of("queue"))
            .unwrap_or_default();
        let lane = Lane::ALL
            .into_iter()
            .find(|lane| queue == self.broker.topology.lane(*lane));
        let dead_lettered_at = death.and_then(|death| death.inner().get("time"));
        let dead_lettered_at = dead_lettered_at.and_then(seconds);
        // Only a worker that cannot make a copy of a message has the broker dead-letter it.
        if code == "rejected" && lane.is_some() || unfit.is_some() && death.is_none() {
            return DeadJob {
                id,
                code: Code::JSON.to_string(),
                message: self.refusal(unfit, bytes),
                event: event::Kind::Rejected.as_str().to_owned(),
                lane: lane.unwrap_or(Lane::Bulk).to_string(),
                dead_lettered_at,
                body,
                as_sent,
            };
        }
        let message = match code.as_str() {
            "delivery_limit" => {
                "its workers ended before it did, every time that it was delivered".to_owned()
            }
            other => format!("the broker took it out of queue {queue:?}: {other}"),
        };
        let lane = lane.unwrap_or(Lane::Bulk).to_string();
        DeadJob {
            id,
            code,
            message,
            event: CRASHED.to_owned(),
            lane,
            dead_lettered_at,
            body,
            as_sent,
        }
    }

    /// Why a worker has refused a message that it could not copy: it is looked at in the same way.
    fn refusal(&self, unfit: Option<&Unfit>, bytes: u64) -> String {
        let mut problems = Vec::new();
        if let Some(unfit) = unfit {
            problems = unfit.problems(self.job_bytes);
        }
        if bytes > self.job_bytes as u64 && unfit.is_none_or(|unfit| unfit.dropped.is_none()) {
            problems.push(job::too_large(bytes, self.job_bytes));
        }
        let more = match problems.len().saturating_sub(1) {
            0 => String::new(),
            more => format!(" (and {more} more)"),
        };
        match problems.first() {
            Some(first) => format!("{}{more}", first.message),
            None => "a worker refused the message itself, and by these settings it is \
                     fit:                      replay it"
                .to_owned(),
        }
    }

    /// Ends the connection.
    pub async fn close(self) {
        self.publisher.close().await;
    }
}

/// A message that the broker will never take: it closes the channel with 406, as for one over
/// `max_message_size` (16 MiB by default from RabbitMQ 4.0 on), and says why.
fn unacceptable(failure: &PublishError, bytes: usize) -> Option<Unsent> {
    let PublishError::Refused(Outage { source, .. }) = failure else {
        return None;
    };
    let said = source.as_ref()?.to_string();
    said.starts_with("PRECONDITION_FAILED").then(|| {
        let why = format!("the broker does not take this job of {bytes} bytes: {said}");
        Unsent::Unfit(why)
    })
}

/// What a message says of itself that was sent to no lane. It goes to this lane, or to the one that
/// it names after all, or else to the bulk lane. Its body is taken out of it.
fn unrouted_job(message: &mut Message, unfit: Option<&Unfit>, lane: Option<Lane>) -> DeadJob {
    let body = std::mem::take(&mut message.data);
    let properties = &message.properties;
    let key = header(properties, ROUTING_KEY).and_then(text);
    let key = key.unwrap_or_else(|| message.routing_key.as_str().to_owned());
    let named = Lane::ALL.into_iter().find(|lane| lane.as_str() == key);
    let message_of = match named {
        Some(_) => format!("the queue of its lane was not there: routing key {key:?}"),
        None => format!("no lane of this name: routing key {key:?}"),
    };
    DeadJob {
        id: id_of(message, &body, unfit),
        code: UNROUTED.to_owned(),
        message: message_of,
        event: UNROUTED.to_owned(),
        lane: lane.or(named).unwrap_or(Lane::Bulk).to_string(),
        dead_lettered_at: None,
        body,
        as_sent: as_sent(unfit),
    }
}

/// How much of a message is in hand as it was sent.
fn as_sent(unfit: Option<&Unfit>) -> AsSent {
    match unfit {
        None => AsSent::Whole,
        Some(unfit) if unfit.dropped.is_some() => AsSent::Nothing,
        Some(_) => AsSent::Body,
    }
}

/// Its `message_id`, or the digest of its body, which need not be in hand.
fn id_of(message: &Message, body: &[u8], unfit: Option<&Unfit>) -> String {
    if let Some(id) = message.properties.message_id() {
        return id.as_str().to_owned();
    }
    let dropped = unfit.and_then(|unfit| unfit.dropped.as_ref());
    let sha256 = dropped.map_or_else(|| digest::sha256(body), |(sha256, _)| sha256.clone());
    format!("sha256:{sha256}")
}

/// The broker's time, in seconds since 1970.
fn seconds(value: &AMQPValue) -> Option<OffsetDateTime> {
    let AMQPValue::Timestamp(seconds) = value else {
        return None;
    };
    OffsetDateTime::from_unix_timestamp(i64::try_from(*seconds).ok()?).ok()
}

/// The newest entry of `x-death`, which the broker keeps newest first.
fn last_death(value: &AMQPValue) -> Option<&FieldTable> {
    value.as_array()?.as_slice().first()?.as_field_table()
}

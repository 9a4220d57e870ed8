//! Where jobs come from and events go: RabbitMQ, or folders with the same guarantees.
//!
//! Takes nothing, gives [`Delivery`]s; takes [`Event`]s, gives [`Confirmed`]. A delivery is
//! acknowledged only with a [`Confirmed`] in hand, which nobody but a transport can make. If we
//! crash here, whatever was not acknowledged is delivered again.

pub mod amqp;
mod observer;
pub mod spool;

use std::fmt;
use std::ops::ControlFlow;
use std::time::Duration;

use futures_util::future::BoxFuture;
pub use observer::{Entry, From, Log, Observer, Statuses};
use opentelemetry::trace::SpanContext;
use serde::Deserialize;
use time::OffsetDateTime;

use crate::config;
use crate::event::Event;
use crate::problem::{Outage, Part, Problem};
use crate::timing::Deadline;

/// The waits between attempts. The last one repeats.
pub const RETRY_WAITS: [(&str, Duration); 3] = [
    ("5s", Duration::from_secs(5)),
    ("30s", Duration::from_secs(30)),
    ("5m", Duration::from_secs(300)),
];

/// Which of the waits follows attempt number `attempt` (from 1).
pub fn retry_wait(attempt: u32) -> (&'static str, Duration) {
    let index = (attempt.max(1) as usize - 1).min(RETRY_WAITS.len() - 1);
    RETRY_WAITS[index]
}

/// The two lanes. An urgent job passes a full bulk lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum Lane {
    /// The January flood.
    Bulk,
    /// What cannot wait for it.
    Urgent,
}

impl Lane {
    /// Both lanes, the urgent one first.
    pub const ALL: [Lane; 2] = [Lane::Urgent, Lane::Bulk];

    /// The routing key of the jobs' exchange.
    pub fn as_str(self) -> &'static str {
        match self {
            Lane::Bulk => "bulk",
            Lane::Urgent => "urgent",
        }
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Proof that an event, and with it whatever else had to be published, is safe with the broker or
/// on the disk. Only a transport makes one; an acknowledgement takes it, and then offers the copy
/// that `reply_to` asks for.
#[derive(Debug)]
#[must_use = "a confirmed event is there to acknowledge its job"]
pub struct Confirmed(Option<amqp::Reply>);

/// Why a job ends in the dead queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// The first problem's code, or the part that was out.
    pub code: String,
    /// One line for people.
    pub message: String,
    /// `report.rejected` or `report.failed`.
    pub event: &'static str,
}

/// The largest body that is held where no limit is named.
pub const LARGEST: usize = 64 << 20;

/// What is wrong with a message before its job is read: it could not be handed on as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfit {
    /// At least one.
    pub problems: Vec<Problem>,
    /// The SHA-256 of its body, where that is not in hand.
    pub dropped: Option<String>,
}

/// A job in hand, not yet acknowledged. Dropping it requeues it.
#[derive(Debug)]
pub struct Delivery {
    /// The job's bytes, as sent.
    pub body: Vec<u8>,
    /// The lane it came by.
    pub lane: Lane,
    /// Whether it may have been worked on before: the manifest is looked for first.
    pub redelivered: bool,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// `message_id`, which must be the `job_id` when it is there. The spool has none.
    pub message_id: Option<String>,
    /// `correlation_id`, copied to the event.
    pub correlation_id: Option<String>,
    /// The routing key on the replies' exchange under which a copy of the event is wanted.
    pub reply_to: Option<String>,
    /// The sender's trace context. The spool has none.
    pub trace: SpanContext,
    /// When the sender says that it was sent, in seconds since 1970.
    pub timestamp: Option<u64>,
    /// When it must have been settled or sent to wait (`queue.lease`).
    pub deadline: Deadline,
    handle: Handle,
}

/// The transport's side of a delivery.
#[derive(Debug)]
enum Handle {
    Amqp(amqp::Handle),
    Spool(spool::Handle),
}

impl Delivery {
    /// Publishes an event about this job and waits until it is safe. A copy goes to whoever
    /// `reply_to` names, after the acknowledgement; that copy is best effort.
    ///
    /// # Errors
    /// When the event may not be safe. The delivery is then to be dropped: it comes again, and
    /// the event with it, under the same id.
    pub async fn publish(&self, event: &Event) -> Result<Confirmed, Outage> {
        let reply = match &self.handle {
            Handle::Amqp(handle) => handle.publish(self, event).await?,
            Handle::Spool(handle) => {
                handle.publish(event).await?;
                None
            }
        };
        Ok(Confirmed(reply))
    }

    /// Puts the job, as it was sent, into the dead queue, and waits until it is safe there.
    ///
    /// # Errors
    /// As [`Delivery::publish`].
    pub async fn dead_letter(
        &self,
        event: Confirmed,
        reason: &Reason,
    ) -> Result<Confirmed, Outage> {
        match &self.handle {
            Handle::Amqp(handle) => handle.dead_letter(self, reason).await?,
            Handle::Spool(handle) => handle.dead_letter(&self.body, reason).await?,
        }
        Ok(event)
    }

    /// What is wrong with its message, if anything is: such a job is refused, and
    /// [`Delivery::dead_letter_original`] ends it.
    pub fn unfit(&self) -> Option<&Unfit> {
        match &self.handle {
            Handle::Amqp(handle) => handle.unfit.as_ref(),
            // A file is a body and nothing else.
            Handle::Spool(_) => None,
        }
    }

    /// Has the broker itself put the message into the dead queue and so takes leave of it: for one
    /// of which we have no true copy.
    ///
    /// # Errors
    /// When that may not have been heard: the job comes again.
    pub async fn dead_letter_original(self, _: Confirmed) -> Result<(), Outage> {
        match self.handle {
            Handle::Amqp(handle) => handle.dead_letter_original().await,
            Handle::Spool(_) => Err(Outage::new(
                Part::Transport,
                "a spool's jobs are dead-lettered as they are",
            )),
        }
    }

    /// Acknowledges the job: it is done, and the world knows.
    ///
    /// # Errors
    /// When the acknowledgement may not have arrived: the job may come again, harmlessly.
    pub async fn ack(self, confirmed: Confirmed) -> Result<(), Outage> {
        match self.handle {
            Handle::Amqp(handle) => handle.ack().await?,
            Handle::Spool(handle) => handle.ack().await?,
        }
        if let Confirmed(Some(reply)) = confirmed {
            reply.offer().await;
        }
        Ok(())
    }

    /// Whether the job is still ours. When its session has ended the broker has it again, and what
    /// is begun for it now is done twice.
    pub fn is_live(&self) -> bool {
        match &self.handle {
            Handle::Amqp(handle) => handle.is_live(),
            Handle::Spool(_) => true,
        }
    }

    /// Sends the job to wait for its next attempt, outside this process, and lets go of it.
    ///
    /// # Errors
    /// When it may not be safe there: the job comes again at once.
    pub async fn retry(self) -> Result<(), Outage> {
        match &self.handle {
            Handle::Amqp(handle) => handle.retry(&self).await?,
            Handle::Spool(handle) => handle.retry(self.attempt).await?,
        }
        self.ack(Confirmed(None)).await
    }

    /// Sends the job to wait outside this process without using up an attempt: what it needs is
    /// out for every job, and nothing was found out about this one.
    ///
    /// # Errors
    /// As [`Delivery::retry`].
    pub async fn postpone(self) -> Result<(), Outage> {
        match &self.handle {
            Handle::Amqp(handle) => handle.postpone(&self).await?,
            Handle::Spool(handle) => handle.postpone().await?,
        }
        self.ack(Confirmed(None)).await
    }

    /// Requeues the job untouched, for another worker.
    pub async fn release(self) {
        match self.handle {
            Handle::Amqp(handle) => handle.release().await,
            Handle::Spool(handle) => handle.release().await,
        }
    }
}

/// Whether jobs can come in, for readiness.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Not yet connected, or not any more, and why.
    Down(String),
    /// Jobs come in.
    Up,
}

/// What is ready in the queues `bulk`, `urgent`, `retry`, `dead` and `unrouted`, as far as there
/// are these; none, where the broker does not tell this user.
pub type Depth = (&'static str, Option<u64>);

/// Asks for the depths of all queues.
pub type Depths = Box<dyn Fn() -> BoxFuture<'static, Result<Vec<Depth>, Outage>> + Send + Sync>;

/// Tells whoever listens how a worker is: its id, and its status as JSON. Lost without harm. Says
/// whether there was a session to tell it in.
pub type StatusSender =
    Box<dyn Fn(String, Vec<u8>) -> BoxFuture<'static, Result<bool, Outage>> + Send + Sync>;

/// The stream of jobs.
#[derive(Debug)]
pub enum Intake {
    /// From RabbitMQ.
    Amqp(amqp::Intake),
    /// From a folder.
    Spool(spool::Intake),
}

impl Intake {
    /// Starts taking jobs in. `prefetch` is the number of unacknowledged jobs held per lane. A
    /// broker that is not there yet is waited for.
    ///
    /// # Errors
    /// What waiting cannot mend: a wrong address, a folder that cannot be made.
    pub async fn open(settings: &config::Queue, prefetch: u16) -> Result<Intake, Outage> {
        Intake::open_within(settings, prefetch, LARGEST).await
    }

    /// The same; a body of more than `job_bytes` is not held, and its job is unfit.
    ///
    /// # Errors
    /// As [`Intake::open`].
    pub async fn open_within(
        settings: &config::Queue,
        prefetch: u16,
        job_bytes: usize,
    ) -> Result<Intake, Outage> {
        match settings.url.strip_prefix("spool:") {
            Some(dir) => Ok(Intake::Spool(
                spool::Intake::open(dir.as_ref(), prefetch).await?,
            )),
            None => Ok(Intake::Amqp(
                amqp::Intake::open(settings, prefetch, job_bytes).await?,
            )),
        }
    }

    /// The next job; waits for it. `None` after [`Intake::stop`]. Cancel safe.
    ///
    /// # Errors
    /// What waiting cannot mend: a topology that stands with other arguments, refused access.
    /// Everything else (a broker that went away) is mended inside.
    pub async fn next(&mut self) -> Result<Option<Delivery>, Outage> {
        match self {
            Intake::Amqp(intake) => intake.next().await,
            Intake::Spool(intake) => intake.next().await,
        }
    }

    /// Jobs that wait, in both lanes and between attempts, as the broker or the disk has it now.
    ///
    /// # Errors
    /// When the broker or the disk does not say.
    pub async fn pending(&self) -> Result<u64, Outage> {
        match self {
            Intake::Amqp(intake) => intake.pending().await,
            Intake::Spool(intake) => intake.pending().await,
        }
    }

    /// Asks what is ready in each queue, or waits in each folder, for as long as the intake is.
    pub fn depths(&self) -> Depths {
        match self {
            Intake::Amqp(intake) => intake.depths(),
            Intake::Spool(intake) => intake.depths(),
        }
    }

    /// Tells whoever listens how this worker is, for as long as the intake is. `None` of a spool,
    /// whose folders say who has what.
    pub fn status_sender(&self) -> Option<StatusSender> {
        match self {
            Intake::Amqp(intake) => Some(intake.status_sender()),
            Intake::Spool(_) => None,
        }
    }

    /// Whether everything that was found could be settled. A broker settles by itself.
    ///
    /// # Errors
    /// What could not be, and how to learn why.
    pub fn settled(&self) -> Result<(), Outage> {
        match self {
            Intake::Amqp(_) => Ok(()),
            Intake::Spool(intake) => intake.settled(),
        }
    }

    /// Whether jobs can come in, as it changes.
    pub fn state(&self) -> tokio::sync::watch::Receiver<State> {
        match self {
            Intake::Amqp(intake) => intake.state(),
            Intake::Spool(intake) => intake.state(),
        }
    }

    /// Asks for no more jobs until the reason is taken back with `None`, and says so in the state.
    /// What waits stays with the broker or in its folder; what the broker had sent already is
    /// still handed out.
    pub fn pause(&self, why: Option<String>) {
        match self {
            Intake::Amqp(intake) => intake.pause(why),
            Intake::Spool(intake) => intake.pause(why),
        }
    }

    /// Takes in no more: jobs not yet handed out go back. Those handed out can still be
    /// published, acknowledged, retried and released.
    pub async fn stop(&mut self) {
        match self {
            Intake::Amqp(intake) => intake.stop().await,
            Intake::Spool(intake) => intake.stop().await,
        }
    }

    /// Ends the connections. What was not acknowledged goes back.
    pub async fn close(self) {
        match self {
            Intake::Amqp(intake) => intake.close().await,
            Intake::Spool(intake) => intake.close().await,
        }
    }
}

/// How much of a dead job is in hand as it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AsSent {
    /// All of it.
    #[default]
    Whole,
    /// Its body. Its properties or headers cannot be read as they are.
    Body,
    /// Nothing: its body is larger than [`LARGEST`].
    Nothing,
}

/// A job in the dead queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadJob {
    /// Its `message_id`, or the spool's file name.
    pub id: String,
    /// Why it is here.
    pub code: String,
    /// One line for people.
    pub message: String,
    /// `report.rejected`, `report.failed`, `crashed` when it killed its workers, or `stuck` for a
    /// file of a spool that could not be settled and is still where it was.
    pub event: String,
    /// The lane it came by, when known.
    pub lane: String,
    /// Since when it is here, when known.
    pub dead_lettered_at: Option<OffsetDateTime>,
    /// The job's bytes, as sent, if they are in hand.
    pub body: Vec<u8>,
    /// Whether they are. Only what is whole can be replayed.
    pub as_sent: AsSent,
}

/// What a job says of itself around its report.
#[derive(Deserialize)]
struct Envelope {
    job_id: Option<String>,
    template: Option<String>,
}

impl DeadJob {
    /// The template that the job names, if it can be read at all.
    pub fn template(&self) -> Option<String> {
        self.envelope()?.template
    }

    /// The `job_id` that it names, if it can be read at all. Its message need not have it for an
    /// id, and of a spool that is a file's name.
    pub fn job_id(&self) -> Option<String> {
        self.envelope()?.job_id
    }

    fn envelope(&self) -> Option<Envelope> {
        serde_json::from_slice(&self.body).ok()
    }
}

/// A queue of jobs that nobody works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// Rejected, failed, or a killer of workers.
    Dead,
    /// Sent to a lane that is none. They are replayed to this lane; without one, to the lane that
    /// they name after all, or else to the bulk lane. The spool has none.
    Unrouted(Option<Lane>),
}

impl Kept {
    /// The last part of the queue's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Kept::Dead => "dead",
            Kept::Unrouted(_) => "unrouted",
        }
    }
}

/// What is to be done with a job in the dead queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It stays.
    Keep,
    /// It stays, and so do all after it: the walk ends.
    Stop,
    /// It goes back to its lane, as it was sent; removed here when its copy is safe. One that is
    /// not in hand as it was sent stays.
    Replay,
    /// It is removed.
    Drop,
}

/// Why a job was not sent.
#[derive(Debug, thiserror::Error)]
pub enum Unsent {
    /// It cannot be sent as it is, whenever that is tried; others can. What is wrong with it.
    #[error("{0}")]
    Unfit(String),
    /// It may or may not be safe, and others will fare no better.
    #[error("{}", .0.chain())]
    Outage(#[from] Outage),
}

/// The sender's and the operator's side: enqueue, and the dead queue.
#[derive(Debug)]
pub enum Client {
    /// RabbitMQ.
    Amqp(amqp::Client),
    /// A folder.
    Spool(spool::Client),
}

impl Client {
    /// Connects, once.
    ///
    /// # Errors
    /// When the broker is not there or does not let us in, with the address and what to do.
    pub async fn open(settings: &config::Queue) -> Result<Client, Outage> {
        Client::open_within(settings, LARGEST).await
    }

    /// The same, where a job may have `job_bytes`: a dead one that has more died of that.
    ///
    /// # Errors
    /// As [`Client::open`].
    pub async fn open_within(settings: &config::Queue, job_bytes: usize) -> Result<Client, Outage> {
        match settings.url.strip_prefix("spool:") {
            Some(dir) => Ok(Client::Spool(spool::Client::open(dir.as_ref()).await?)),
            None => Ok(Client::Amqp(amqp::Client::open(settings, job_bytes).await?)),
        }
    }

    /// Sends a job and waits until it is safe; many can be on their way at once. `id` becomes the
    /// `message_id`, or the file's name.
    ///
    /// # Errors
    /// When it cannot be sent as it is, or may not be safe: a full queue, a broker that went away.
    pub async fn send(&self, id: &str, body: &[u8], lane: Lane) -> Result<(), Unsent> {
        match self {
            Client::Amqp(client) => client.send(id, body, lane).await,
            Client::Spool(client) => Ok(client.send(id, body).await?),
        }
    }

    /// Whether its connection lives, as far as that is known. What failed on one that does may go
    /// well later: a full lane, a queue that is missing.
    pub fn is_live(&self) -> bool {
        match self {
            Client::Amqp(client) => client.is_live(),
            Client::Spool(_) => true,
        }
    }

    /// The ids of the dead jobs that `id` names: itself, or of a spool, where the id is a file's
    /// name, also those of the jobs with this `job_id`.
    ///
    /// # Errors
    /// When the disk fails.
    pub async fn dead_ids(&mut self, id: &str) -> Result<Vec<String>, Outage> {
        match self {
            Client::Amqp(_) => Ok(vec![id.to_owned()]),
            Client::Spool(client) => client.dead_ids(id).await,
        }
    }

    /// Walks through the dead queue once, from its head, and does what `judge` says of each job.
    /// Nothing is removed before its copy is safe.
    ///
    /// # Errors
    /// When the broker or the disk fails on the way: the rest stays.
    pub async fn walk_dead(
        &mut self,
        judge: impl FnMut(&DeadJob) -> Verdict,
    ) -> Result<(), Outage> {
        self.settle_dead(judge, |_| ControlFlow::Continue(())).await
    }

    /// The same, and calls `settled` for each job that was replayed or dropped; the walk
    /// ends when that asks for it.
    ///
    /// # Errors
    /// As [`Client::walk_dead`]; what `settled` was called for is done.
    pub async fn settle_dead(
        &mut self,
        judge: impl FnMut(&DeadJob) -> Verdict,
        settled: impl FnMut(&DeadJob) -> ControlFlow<()>,
    ) -> Result<(), Outage> {
        self.settle(Kept::Dead, judge, settled).await
    }

    /// The same, with either queue of kept jobs.
    ///
    /// # Errors
    /// As [`Client::settle_dead`], and where looking itself would lose jobs.
    pub async fn settle(
        &mut self,
        kept: Kept,
        judge: impl FnMut(&DeadJob) -> Verdict,
        settled: impl FnMut(&DeadJob) -> ControlFlow<()>,
    ) -> Result<(), Outage> {
        match (self, kept) {
            (Client::Amqp(client), kept) => client.walk(kept, judge, settled).await,
            (Client::Spool(client), Kept::Dead) => client.walk_dead(judge, settled).await,
            (Client::Spool(_), Kept::Unrouted(_)) => Ok(()),
        }
    }

    /// Ends the connection.
    pub async fn close(self) {
        match self {
            Client::Amqp(client) => client.close().await,
            Client::Spool(_) => {}
        }
    }
}

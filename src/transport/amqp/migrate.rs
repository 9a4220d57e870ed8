//! How everything stands at the broker, and the way from an earlier version's arguments to ours.
//!
//! Takes a client, gives a line for each exchange and queue; moves what is in the queues of kept
//! jobs out, has the queue made anew, and moves it back. Never deletes a queue that holds
//! anything, as far as the broker counts, and never lets go of a message before its copy is
//! confirmed. If we crash here, every job is in one of the two queues, one of them perhaps in
//! both; what comes in goes on being kept; and the next run ends what this one began.

use std::time::{Duration, Instant};

use lapin::Channel;
use lapin::options::{BasicAckOptions, BasicGetOptions, BasicNackOptions, QueueDeleteOptions};
use tokio::time::sleep;

use super::broker::{answered, outage};
use super::client::Client;
use super::properties::{ROUTING_KEY, moved, put, short};
use super::topology::{Declared, Queue, Unfit, ask, is_inequivalent};
use crate::problem::{Outage, Part};

/// For how long a queue must have been empty before it is deleted: what was on its way to it when
/// it left its exchange has arrived by then.
const SETTLE: Duration = Duration::from_secs(2);
/// How long somebody may hold what is in a queue before the migration stops.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a queue that was deleted may be there again with other arguments.
const ROUNDS: u32 = 3;

/// An exchange or a queue, as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceStatus {
    /// What it is, and its name.
    pub what: String,
    /// Messages in a queue that nobody has taken.
    pub ready: Option<u32>,
    /// What is wrong with it and what to do, if anything is.
    pub wrong: Option<String>,
}

impl Client {
    /// How everything stands. Changes nothing.
    ///
    /// # Errors
    /// When the broker does not say.
    pub async fn topology_status(&self) -> Result<Vec<ResourceStatus>, Outage> {
        let topology = &self.broker.topology;
        let migrate = "`banshi topology migrate` gives it ours and keeps what is in it";
        let found = topology.look(self.publisher.connection()).await;
        let found = found.map_err(|error| self.unknown(error))?;
        let mut lines = Vec::new();
        for (what, declared, held) in found {
            let moved = topology
                .kept()
                .any(|queue| what == format!("queue {}", queue.name));
            let wrong = match declared {
                Declared::Equivalent => None,
                Declared::Earlier => Some(format!(
                    "stands with the arguments of an earlier version; {migrate}"
                )),
                Declared::Inequivalent(said) if moved => {
                    Some(format!("stands with other arguments: {said}; {migrate}"))
                }
                Declared::Inequivalent(said) => {
                    Some(format!("stands with other arguments: {said}"))
                }
                Declared::Missing => Some(
                    "is not there; a worker with queue.topology = \"declare\" creates it".into(),
                ),
                Declared::AccessRefused(said) => {
                    Some(format!("cannot be looked at by this user: {said}"))
                }
            };
            let ready = held.map(|held| held.ready);
            lines.push(ResourceStatus { what, ready, wrong });
        }
        for queue in topology.kept() {
            let temporary = topology.migrating(queue);
            if let Some(held) = self.there(&temporary).await? {
                lines.push(ResourceStatus {
                    what: format!("queue {temporary}"),
                    ready: Some(held),
                    wrong: Some(format!(
                        "is left of a migration that was cut off; `banshi topology migrate` moves \
                         what is in it back to {}",
                        queue.name
                    )),
                });
            }
        }
        Ok(lines)
    }

    /// Gives the queues of kept jobs the arguments of this version, with what is in them. Creates
    /// what is missing, whatever `queue.topology` says. Reports each step that is done.
    ///
    /// # Errors
    /// When the broker fails or refuses something, or somebody holds what is in a queue. Nothing
    /// is lost then, and another run goes on.
    pub async fn migrate(&self, mut report: impl FnMut(&str)) -> Result<(), Outage> {
        let connection = self.publisher.connection();
        // What is missing, a queue included that was deleted before we were cut off. What is wrong
        // shows in the end.
        self.broker.topology.mark_warned();
        match self.broker.declare(connection).await {
            Ok(()) | Err(Unfit::Wrong(_)) => {}
            Err(Unfit::Unknown(error)) => return Err(self.unknown(error)),
        }
        for queue in self.broker.topology.kept() {
            self.recreate(queue, &mut report).await?;
        }
        match self.broker.declare(connection).await {
            Ok(()) => Ok(()),
            Err(Unfit::Wrong(lines)) => Err(Outage::new(
                Part::Transport,
                format!("RabbitMQ at {} is not as it must be:\n{lines}", self.broker),
            )),
            Err(Unfit::Unknown(error)) => Err(self.unknown(error)),
        }
    }

    /// Makes one queue anew, or ends what another run began.
    async fn recreate(&self, queue: &Queue, report: &mut impl FnMut(&str)) -> Result<(), Outage> {
        let topology = &self.broker.topology;
        let (name, temporary) = (queue.name.as_str(), topology.migrating(queue));
        let what = format!("the migration of queue {name}");
        for _ in 0..ROUNDS {
            let looked = topology.look_at(queue, self.publisher.connection()).await;
            let (declared, _) = looked.map_err(|error| self.unknown(error))?;
            let channel = answered(&what, self.publisher.plain_channel()).await?;
            match declared {
                Declared::Equivalent | Declared::Missing => {}
                Declared::AccessRefused(said) => {
                    let why = format!(
                        "{what} needs the permissions configure, write and read on {name}, \
                         {temporary} and the default exchange: {said}"
                    );
                    return Err(Outage::new(Part::Transport, why));
                }
                Declared::Earlier | Declared::Inequivalent(_) => {
                    // The other queue takes this one's place first: meanwhile what comes in goes
                    // to both, where else it would go to neither.
                    answered(&what, queue.declare_as(&channel, &temporary)).await?;
                    answered(&what, queue.bind_as(&channel, &temporary)).await?;
                    answered(&what, queue.unbind_as(&channel, name)).await?;
                    let jobs = self.move_all(&channel, queue, name, &temporary).await?;
                    report(&format!("{name}: {jobs} jobs moved to {temporary}"));
                    self.delete(&channel, name).await?;
                    report(&format!("{name}: deleted, to be made anew"));
                }
            }
            // Declared and bound before the other leaves its place.
            match queue.ensure(&channel, false).await {
                Ok(()) => {}
                // A worker of an earlier version was quicker.
                Err(error) if is_inequivalent(&error) => continue,
                Err(error) => return Err(outage(what, error)),
            }
            if self.there(&temporary).await?.is_some() {
                answered(&what, queue.unbind_as(&channel, &temporary)).await?;
                let jobs = self.move_all(&channel, queue, &temporary, name).await?;
                self.delete(&channel, &temporary).await?;
                report(&format!("{name}: {jobs} jobs moved back"));
            }
            report(&format!("{name}: as it must be"));
            // A channel that does not close changes nothing any more.
            drop(channel.close(200, "OK".into()).await);
            return Ok(());
        }
        Err(Outage::new(
            Part::Transport,
            format!(
                "{what}: somebody declares it with other arguments again and again; upgrade or \
                 stop the workers of earlier versions first. Its jobs are in {temporary}"
            ),
        ))
    }

    /// Moves every message, until the queue has held nothing for a while: nobody else's hands hold
    /// one either, which would be lost with the queue.
    async fn move_all(
        &self,
        channel: &Channel,
        queue: &Queue,
        from: &str,
        to: &str,
    ) -> Result<u64, Outage> {
        let what = format!("the queue {from}");
        let mut jobs = 0;
        let mut empty: Option<Instant> = None;
        let mut moved = Instant::now();
        loop {
            if self.move_one(channel, queue, from, to).await? {
                jobs += 1;
                (empty, moved) = (None, Instant::now());
                continue;
            }
            let held = answered(&what, ask(channel, from)).await?;
            if held.ready > 0 || held.consumers > 0 {
                empty = None;
                if moved.elapsed() > PATIENCE {
                    let why = format!(
                        "{what}: {} of its jobs are in somebody's hands, or {0} consumers are at \
                         it: end that (another `banshi dead`, another program), and run `banshi \
                         topology migrate` again. Nothing is lost: {jobs} jobs have been moved to \
                         {to}, and what comes in goes there",
                        held.consumers
                    );
                    return Err(Outage::new(Part::Transport, why));
                }
            } else if empty.get_or_insert_with(Instant::now).elapsed() > SETTLE {
                return Ok(jobs);
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Moves one message, if there is one.
    async fn move_one(
        &self,
        channel: &Channel,
        queue: &Queue,
        from: &str,
        to: &str,
    ) -> Result<bool, Outage> {
        let what = format!("the queue {from}");
        let got = channel.basic_get(short(from), BasicGetOptions { no_ack: false });
        let Some(message) = answered(&what, got).await? else {
            return Ok(false);
        };
        let message = message.delivery;
        if let Some(unfit) = self.findings.take(channel.id(), message.delivery_tag) {
            // It goes back by itself when the channel ends.
            let problems = unfit.problems(self.job_bytes);
            let why = problems.first().map_or("", |problem| &problem.message);
            return Err(Outage::new(
                Part::Transport,
                format!(
                    "{what}: a message in it cannot be copied as it was sent ({why}). Nothing is \
                     lost; take it out (`banshi dead list`, `banshi dead drop`), and run `banshi \
                     topology migrate` again"
                ),
            ));
        }
        let mut properties = moved(&message.properties);
        // The key that no lane has would be lost: the copy comes by the queue's own name.
        if queue.keeps_routing_key() && !message.exchange.as_str().is_empty() {
            let mut headers = properties.headers().clone().unwrap_or_default();
            put(&mut headers, ROUTING_KEY, message.routing_key.as_str());
            properties = properties.with_headers(headers);
        }
        let body = &message.data;
        if let Err(failure) = self.publisher.publish("", to, body, properties).await {
            let requeue = BasicNackOptions {
                requeue: true,
                multiple: false,
            };
            // It goes back by itself when the channel ends.
            drop(message.acker.nack(requeue).await);
            let why = format!(
                "{what}: a job cannot be moved to {to}. Nothing is lost; mend that, and run \
                 `banshi topology migrate` again"
            );
            return Err(Outage::because(
                Part::Transport,
                why,
                Outage::from(failure).reason(),
            ));
        }
        let acked = message.acker.ack(BasicAckOptions::default());
        match answered(&what, acked).await? {
            true => Ok(true),
            false => {
                let why = format!("{what}: the channel has ended");
                Err(Outage::new(Part::Transport, why))
            }
        }
    }

    /// Deletes a queue that was seen to be empty. The broker has no condition for that on quorum
    /// queues ("not supported by quorum queues", seen on 3.10, 4.0 and 4.3).
    async fn delete(&self, channel: &Channel, name: &str) -> Result<(), Outage> {
        let deleted = channel.queue_delete(short(name), QueueDeleteOptions::default());
        let lost = answered(&format!("the queue {name}"), deleted).await?;
        if lost > 0 {
            // Nothing of ours does that: its exchange had let go of it before it was emptied.
            let why = format!(
                "the queue {name} was deleted with {lost} messages in it, which somebody sent to \
                 it by its name after it was found empty"
            );
            return Err(Outage::new(Part::Transport, why));
        }
        Ok(())
    }

    /// How many messages are ready in a queue that need not be there.
    pub(super) async fn there(&self, name: &str) -> Result<Option<u32>, Outage> {
        let what = format!("the queue {name}");
        let channel = answered(&what, self.publisher.plain_channel()).await?;
        let there = match ask(&channel, name).await {
            Ok(held) => Some(held.ready),
            // Not there, or from 4.3 on nothing that this user may see.
            Err(error) if error.is_amqp_soft_error() => return Ok(None),
            Err(error) => return Err(outage(what, error)),
        };
        drop(channel.close(200, "OK".into()).await);
        Ok(there)
    }

    fn unknown(&self, error: lapin::Error) -> Outage {
        let what = format!(
            "exchanges and queues cannot be looked at, at {}",
            self.broker
        );
        outage(what, error)
    }
}

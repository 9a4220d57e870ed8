//! The exchanges and queues of RabbitMQ, in one table: what each is, and why.
//!
//! Takes a connection, reports that everything stands, or a line for each thing that does not.
//! Never changes or removes what stands: arguments of a queue cannot be changed, and what is in it
//! may be the only copy. If we crash here, some of it exists already, and the next start declares
//! the rest.

use std::sync::Once;

use lapin::options::{
    BasicConsumeOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable, LongString};
use lapin::{Channel, Connection, ErrorKind, ExchangeKind};
use tracing::warn;

use super::properties::short;
use crate::config;
use crate::transport::{Lane, RETRY_WAITS};

/// An exchange. All are durable.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) name: String,
    pub(super) kind: ExchangeKind,
    /// Where a message goes that no queue is bound for.
    pub(super) alternate: Option<String>,
    /// Whether a worker must be able to publish there.
    workers: bool,
    /// Whether a worker does its work without it: one that only looks has to do without, and what
    /// an administrator has created for an earlier version is used as it is.
    spare: bool,
}

/// A queue and its only binding. All are durable.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) name: String,
    pub(super) arguments: Arguments,
    /// Those that an earlier version gave it. A queue that stands with them is used as it is until
    /// it is migrated: a new version must be able to work at once.
    earlier: Option<Arguments>,
    pub(super) exchange: String,
    pub(super) key: String,
}

type Arguments = Vec<(&'static str, Argument)>;

/// The value of a queue's argument.
#[derive(Debug)]
pub(super) enum Argument {
    Text(String),
    Number(i64),
}

/// Everything that stands at the broker, under one prefix.
#[derive(Debug)]
pub(super) struct Topology {
    prefix: String,
    pub(super) exchanges: Vec<Exchange>,
    pub(super) queues: Vec<Queue>,
    /// That a queue stands with earlier arguments is logged once.
    warned: Once,
}

/// How an exchange or a queue is declared at the broker.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Declared {
    /// As it must.
    Equivalent,
    /// With the arguments that an earlier version gave it.
    Earlier,
    /// With others; the broker's words.
    Inequivalent(String),
    /// Not at all.
    Missing,
    /// There, but this user may not see how; the broker's words.
    AccessRefused(String),
}

/// What a queue holds, as the broker counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Held {
    /// Messages that nobody has taken.
    pub(super) ready: u32,
    /// Consumers, and messages that were taken out to look at and not yet requeued. With 0 here
    /// and 0 ready a quorum queue holds nothing (seen on 3.10, 4.0 and 4.3).
    pub(super) consumers: u32,
}

/// Why the topology is not as it must be.
#[derive(Debug)]
pub(super) enum Unfit {
    /// Something is missing, stands with other arguments, or may not be made: a line for each,
    /// and what to do.
    Wrong(String),
    /// The broker could not be asked.
    Unknown(lapin::Error),
}

/// What is to be done about something that is not as it must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Cure {
    Create,
    Migrate,
    Replace,
    Permit,
    Configure,
    Write,
}

impl Cure {
    fn words(self, prefix: &str) -> String {
        match self {
            Cure::Create => format!(
                "create what is missing (start one worker with \
                 queue.topology = \"declare\"), or check queue.prefix ({prefix})"
            ),
            Cure::Migrate => {
                "run `banshi topology migrate`: it gives these queues their arguments \
                              and keeps what is in them"
                    .to_owned()
            }
            Cure::Replace => {
                "arguments cannot be changed. Use it as it is with queue.topology = \"verify\", or \
                 choose another queue.prefix; or, once rabbitmqctl list_queues -p VHOST name \
                 messages says that there is nothing in it (0), delete it (rabbitmqctl \
                 delete_queue -p VHOST NAME): what is in a queue goes with it"
                    .to_owned()
            }
            Cure::Permit => {
                "that is the broker's own rule, and nothing has to be deleted. A limit on queues \
                 is raised with rabbitmqctl set_vhost_limits -p VHOST '{\"max-queues\": N}' or \
                 cleared with rabbitmqctl clear_vhost_limits -p VHOST; one of the whole cluster is \
                 cluster_queue_limit in its rabbitmq.conf. The broker's log says more"
                    .to_owned()
            }
            Cure::Configure => format!(
                "give this user the permission \"configure\" on {prefix}.*, or set \
                 queue.topology = \"verify\""
            ),
            Cure::Write => "give this user the permission \"write\" on these exchanges".to_owned(),
        }
    }
}

impl From<lapin::Error> for Unfit {
    fn from(error: lapin::Error) -> Self {
        Unfit::Unknown(error)
    }
}

impl Topology {
    /// The table, with its reasons.
    pub(super) fn new(prefix: &str) -> Topology {
        let name = |rest: &str| format!("{prefix}.{rest}");
        let text = |value: &str| Argument::Text(value.to_owned());

        // Quorum queues are the replicated ones, and the only ones that count deliveries
        // (RabbitMQ, "Quorum Queues"). At-least-once dead lettering keeps a message until its
        // copy is confirmed; at-most-once loses it when the target is missing. It needs
        // reject-publish, which also tells a sender that a queue is full, where the default
        // (drop-head) would silently drop the oldest job ("Dead Lettering", "Safety").
        let safe = |target: String| {
            vec![
                ("x-queue-type", text("quorum")),
                ("x-overflow", text("reject-publish")),
                ("x-dead-letter-exchange", Argument::Text(target)),
                ("x-dead-letter-strategy", text("at-least-once")),
            ]
        };

        let mut exchanges = vec![
            Exchange {
                name: name("jobs"),
                kind: ExchangeKind::Direct,
                // A job with a mistyped lane is kept, not dropped ("Alternate Exchanges").
                alternate: Some(name("unrouted")),
                workers: false,
                spare: false,
            },
            Exchange::new(name("unrouted"), ExchangeKind::Fanout, false),
            Exchange::new(name("dlx"), ExchangeKind::Direct, true),
            Exchange::new(name("events"), ExchangeKind::Topic, true),
            Exchange::new(name("replies"), ExchangeKind::Direct, false),
            Exchange {
                spare: true,
                // For whoever listens to one worker, or to all.
                ..Exchange::new(name("status"), ExchangeKind::Topic, false)
            },
        ];
        let mut queues = Vec::new();

        for lane in Lane::ALL {
            let mut arguments = safe(name("dlx"));
            arguments.extend([
                // The key of the dead queue, in place of the lane's.
                ("x-dead-letter-routing-key", text("dead")),
                // A job that kills its worker this often and once more is dead. Below 4.3 a
                // job requeued at a worker's end counts too, so it is not a low number
                // ("Quorum Queues", "Poison Message Handling").
                ("x-delivery-limit", Argument::Number(10)),
                ("x-max-length", Argument::Number(1_000_000)),
            ]);
            queues.push(Queue {
                name: name(&format!("jobs.{lane}")),
                arguments,
                earlier: None,
                exchange: name("jobs"),
                key: lane.as_str().to_owned(),
            });
        }
        for (label, wait) in RETRY_WAITS {
            let retry = name(&format!("retry.{label}"));
            // Fanout, and no dead-letter routing key: the message keeps its lane's key and
            // returns to its lane.
            exchanges.push(Exchange::new(retry.clone(), ExchangeKind::Fanout, true));
            let mut arguments = safe(name("jobs"));
            // A time for the queue, never for the message: only the head of a queue expires
            // ("Time-To-Live and Expiration").
            let wait = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
            arguments.push(("x-message-ttl", Argument::Number(wait)));
            queues.push(Queue {
                name: retry.clone(),
                arguments,
                earlier: None,
                exchange: retry,
                key: String::new(),
            });
        }
        // Looking at these requeues their messages, which counts as a delivery below 4.3; from
        // 4.0 the default limit is 20, after which a queue without a dead-letter exchange drops the
        // message. -1 (no limit) is refused by 3.10, so the limit is one that is never reached, the
        // same on every version. By reject-publish a length that a policy sets refuses the newest
        // job, which its worker then holds or its lane keeps; the default would drop the oldest.
        let limit = || ("x-delivery-limit", Argument::Number(1_000_000_000));
        let quorum = || ("x-queue-type", text("quorum"));
        let kept = || vec![quorum(), limit(), ("x-overflow", text("reject-publish"))];
        queues.push(Queue {
            name: name("dead"),
            arguments: kept(),
            earlier: Some(vec![quorum(), limit()]),
            exchange: name("dlx"),
            key: "dead".to_owned(),
        });
        queues.push(Queue {
            name: name("unrouted"),
            arguments: kept(),
            earlier: Some(vec![quorum()]),
            exchange: name("unrouted"),
            key: String::new(),
        });
        queues.push(Queue {
            name: name("events.log"),
            // A stream keeps what was read: every event is routable, whoever listens, and an
            // archive can read the last month again ("Streams", "Retention").
            arguments: vec![
                ("x-queue-type", text("stream")),
                ("x-max-age", text("30D")),
                ("x-max-length-bytes", Argument::Number(5_000_000_000)),
            ],
            earlier: None,
            exchange: name("events"),
            key: "#".to_owned(),
        });
        Topology {
            prefix: prefix.to_owned(),
            exchanges,
            queues,
            warned: Once::new(),
        }
    }

    /// Creates what is missing, or only looks for it, as the settings say.
    pub(super) async fn ensure(
        &self,
        connection: &Connection,
        mode: config::Topology,
    ) -> Result<(), Unfit> {
        let passive = mode == config::Topology::Verify;
        let mut wrong = Vec::new();
        let mut earlier = Vec::new();
        let mut channel = connection.create_channel().await?;
        for exchange in &self.exchanges {
            let result = exchange.ensure(&channel, passive).await;
            let what = format!("exchange {}", exchange.name);
            if passive && exchange.spare && result.as_ref().is_err_and(is_missing) {
                reopen(&mut channel, connection).await?;
                continue;
            }
            note(result, &what, mode, exchange.workers, false, &mut wrong)?;
            reopen(&mut channel, connection).await?;
        }
        for queue in &self.queues {
            let mut result = queue.ensure(&channel, passive).await;
            reopen(&mut channel, connection).await?;
            if result.as_ref().is_err_and(is_inequivalent)
                && self
                    .is_declared_as_earlier(queue, &mut channel, connection)
                    .await?
            {
                earlier.push(queue.name.as_str());
                result = Ok(());
            }
            // Whether a lane may be read shows when it is.
            let (what, ours) = (format!("queue {}", queue.name), queue.earlier.is_some());
            note(result, &what, mode, false, ours, &mut wrong)?;
        }
        if !earlier.is_empty() {
            self.warned.call_once(|| {
                warn!(
                    queues = earlier.join(", "),
                    "these queues stand with the arguments of an earlier version and are used as \
                     they are: a policy with max-length can drop jobs from them, and RabbitMQ 4 \
                     drops from {}.unrouted what was looked at 21 times; once every worker is of \
                     this version, `banshi topology migrate` mends that and keeps what is in them",
                    self.prefix
                );
            });
        }
        if !wrong.is_empty() {
            wrong.sort_by_key(|(_, cure)| *cure);
            let mut lines = String::new();
            for group in wrong.chunk_by(|(_, one), (_, other)| one == other) {
                for (line, _) in group {
                    lines.push_str(&format!("  {line}\n"));
                }
                lines.push_str(&format!("  → {}\n", group[0].1.words(&self.prefix)));
            }
            return Err(Unfit::Wrong(lines.trim_end().to_owned()));
        }
        // Nothing is in doubt any more, so a close that fails changes nothing.
        drop(channel.close(200, "OK".into()).await);
        Ok(())
    }

    /// Whether a queue stands with the arguments that an earlier version gave it. It is bound
    /// again then, unless a migration has just taken it out of its exchange.
    async fn is_declared_as_earlier(
        &self,
        queue: &Queue,
        channel: &mut Channel,
        connection: &Connection,
    ) -> Result<bool, lapin::Error> {
        let Some(earlier) = &queue.earlier else {
            return Ok(false);
        };
        let declared = queue.declare(channel, earlier).await;
        reopen(channel, connection).await?;
        if declared.is_err() {
            return Ok(false);
        }
        let migrating = ask(channel, &self.migrating(queue)).await.is_ok();
        reopen(channel, connection).await?;
        if !migrating {
            queue.bind(channel).await?;
        }
        Ok(true)
    }

    /// How everything stands, in the order of the table: what it is, how, and what a queue holds.
    /// Changes nothing.
    pub(super) async fn look(
        &self,
        connection: &Connection,
    ) -> Result<Vec<(String, Declared, Option<Held>)>, lapin::Error> {
        let mut found = Vec::new();
        let mut channel = connection.create_channel().await?;
        for exchange in &self.exchanges {
            let mut result = exchange.ensure(&channel, true).await;
            if result.is_ok() {
                result = exchange.ensure(&channel, false).await;
            }
            reopen(&mut channel, connection).await?;
            found.push((
                format!("exchange {}", exchange.name),
                declared(result)?,
                None,
            ));
        }
        for queue in &self.queues {
            let (declared, held) = self.look_at(queue, connection).await?;
            found.push((format!("queue {}", queue.name), declared, held));
        }
        Ok(found)
    }

    /// Whether a worker does its work without it; `exchange NAME`.
    pub(super) fn is_spare(&self, what: &str) -> bool {
        let mut spare = self.exchanges.iter().filter(|exchange| exchange.spare);
        spare.any(|exchange| what == format!("exchange {}", exchange.name))
    }

    /// How many exchanges and queues there are.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.exchanges.len(), self.queues.len())
    }

    /// What of it this user may not declare, each as `exchange NAME` or `queue NAME`. Changes
    /// nothing: what is declared to find out has an argument that is none, at which the broker
    /// looks after it has looked at the permission, and which it refuses.
    pub(super) async fn undeclarable(
        &self,
        connection: &Connection,
    ) -> Result<Vec<String>, lapin::Error> {
        let mut refused = Vec::new();
        let mut channel = connection.create_channel().await?;
        let durable = ExchangeDeclareOptions {
            durable: true,
            ..Default::default()
        };
        for Exchange { name, kind, .. } in &self.exchanges {
            let wrong = one("alternate-exchange", AMQPValue::LongLongInt(0));
            let declared = channel.exchange_declare(short(name), kind.clone(), durable, wrong);
            if is_forbidden(declared.await)? {
                refused.push(format!("exchange {name}"));
            }
            reopen(&mut channel, connection).await?;
        }
        for Queue { name, .. } in &self.queues {
            let wrong = one("x-max-length", AMQPValue::LongLongInt(-1));
            let options = QueueDeclareOptions {
                durable: true,
                ..Default::default()
            };
            let declared = channel.queue_declare(short(name), options, wrong).await;
            if is_forbidden(declared.map(drop))? {
                refused.push(format!("queue {name}"));
            }
            reopen(&mut channel, connection).await?;
        }
        Ok(refused)
    }

    /// What of the bindings this user may not make, each as `queue NAME to exchange NAME`. Changes
    /// nothing: what is undone to find out, which takes the same permissions, was never made.
    pub(super) async fn unbindable(
        &self,
        connection: &Connection,
    ) -> Result<Vec<String>, lapin::Error> {
        let mut refused = Vec::new();
        let mut channel = connection.create_channel().await?;
        for Queue { name, exchange, .. } in &self.queues {
            let key = short(&format!("banshi.doctor.{:016x}", rand::random::<u64>()));
            let none = FieldTable::default();
            let unbound = channel.queue_unbind(short(name), short(exchange), key, none);
            if is_forbidden(unbound.await)? {
                refused.push(format!("queue {name} to exchange {exchange}"));
            }
            reopen(&mut channel, connection).await?;
        }
        Ok(refused)
    }

    /// Which of these queues this user may not read, each as `queue NAME`. Takes nothing out of
    /// them: who asks to read has an argument that is none, at which the broker looks after it has
    /// looked at the permission, and which it refuses.
    pub(super) async fn unreadable(
        &self,
        queues: impl Iterator<Item = String>,
        connection: &Connection,
    ) -> Result<Vec<String>, lapin::Error> {
        let mut refused = Vec::new();
        let mut channel = connection.create_channel().await?;
        for name in queues {
            let wrong = one(
                "x-priority",
                AMQPValue::LongString(LongString::from("none")),
            );
            let options = BasicConsumeOptions::default();
            let consumed = channel.basic_consume(short(&name), short(""), options, wrong);
            if is_forbidden(consumed.await.map(drop))? {
                refused.push(format!("queue {name}"));
            }
            if channel.status().connected() {
                // A broker that took the argument: whatever it sends goes back at once.
                channel.close(200, "OK".into()).await?;
            }
            reopen(&mut channel, connection).await?;
        }
        Ok(refused)
    }

    /// How one queue stands, and what it holds.
    pub(super) async fn look_at(
        &self,
        queue: &Queue,
        connection: &Connection,
    ) -> Result<(Declared, Option<Held>), lapin::Error> {
        let mut channel = connection.create_channel().await?;
        // Looked for first: to declare what is not there would make it.
        let held = match ask(&channel, &queue.name).await {
            Ok(held) => held,
            Err(error) => return Ok((declared(Err(error))?, None)),
        };
        let mut found = declared(queue.declare(&channel, &queue.arguments).await)?;
        reopen(&mut channel, connection).await?;
        if let (Declared::Inequivalent(_), Some(earlier)) = (&found, &queue.earlier)
            && queue.declare(&channel, earlier).await.is_ok()
        {
            found = Declared::Earlier;
        }
        if channel.status().connected() {
            channel.close(200, "OK".into()).await?;
        }
        Ok((found, Some(held)))
    }

    /// The queues that hold what nobody works on, which a migration moves.
    pub(super) fn kept(&self) -> impl Iterator<Item = &Queue> {
        self.queues.iter().filter(|queue| queue.earlier.is_some())
    }

    /// Whoever would be warned of earlier arguments is about to mend them.
    pub(super) fn mark_warned(&self) {
        self.warned.call_once(|| ());
    }

    /// Where a migration keeps what is in a queue meanwhile.
    pub(super) fn migrating(&self, queue: &Queue) -> String {
        let rest = queue.name.strip_prefix(&self.prefix).unwrap_or_default();
        format!("{}.migrating{rest}", self.prefix)
    }

    /// The name of a lane's queue.
    pub(super) fn lane(&self, lane: Lane) -> String {
        format!("{}.jobs.{lane}", self.prefix)
    }

    /// The queues in which a job waits: both lanes, and between attempts.
    pub(super) fn waiting(&self) -> impl Iterator<Item = String> {
        let lanes = Lane::ALL.into_iter().map(|lane| self.lane(lane));
        lanes.chain(self.retries())
    }

    /// The names of the queues between attempts, and of the exchanges before them.
    pub(super) fn retries(&self) -> impl Iterator<Item = String> {
        let labels = RETRY_WAITS.iter();
        labels.map(|(label, _)| self.name(&format!("retry.{label}")))
    }

    /// The queues of each kind, as the metrics call them.
    pub(super) fn kinds(&self) -> [(&'static str, Vec<String>); 5] {
        [
            ("bulk", vec![self.lane(Lane::Bulk)]),
            ("urgent", vec![self.lane(Lane::Urgent)]),
            ("retry", self.retries().collect()),
            ("dead", vec![self.name("dead")]),
            ("unrouted", vec![self.name("unrouted")]),
        ]
    }

    /// The full name of an exchange or a queue.
    pub(super) fn name(&self, rest: &str) -> String {
        format!("{}.{rest}", self.prefix)
    }
}

impl Exchange {
    fn new(name: String, kind: ExchangeKind, workers: bool) -> Exchange {
        Exchange {
            name,
            kind,
            alternate: None,
            workers,
            spare: false,
        }
    }

    async fn ensure(&self, channel: &Channel, passive: bool) -> Result<(), lapin::Error> {
        let mut arguments = FieldTable::default();
        if let Some(alternate) = &self.alternate {
            let alternate = AMQPValue::LongString(LongString::from(alternate.as_str()));
            arguments.insert("alternate-exchange".into(), alternate);
        }
        let options = ExchangeDeclareOptions {
            passive,
            durable: true,
            ..Default::default()
        };
        channel
            .exchange_declare(short(&self.name), self.kind.clone(), options, arguments)
            .await
    }
}

impl Queue {
    /// Whether the key of a message says why it is here, and not the queue.
    pub(super) fn keeps_routing_key(&self) -> bool {
        self.key.is_empty()
    }

    pub(super) async fn ensure(
        &self,
        channel: &Channel,
        passive: bool,
    ) -> Result<(), lapin::Error> {
        if passive {
            // The protocol cannot ask for a binding; what is not bound shows when it is used.
            ask(channel, &self.name).await?;
            return Ok(());
        }
        self.declare(channel, &self.arguments).await?;
        self.bind(channel).await
    }

    /// Declares it with what a migration of it needs to keep for a while, under another name.
    pub(super) async fn declare_as(
        &self,
        channel: &Channel,
        name: &str,
    ) -> Result<(), lapin::Error> {
        declare(channel, name, &self.arguments).await
    }

    async fn declare(&self, channel: &Channel, arguments: &Arguments) -> Result<(), lapin::Error> {
        declare(channel, &self.name, arguments).await
    }

    async fn bind(&self, channel: &Channel) -> Result<(), lapin::Error> {
        self.bind_as(channel, &self.name).await
    }

    /// Binds a queue of another name in this one's place.
    pub(super) async fn bind_as(&self, channel: &Channel, name: &str) -> Result<(), lapin::Error> {
        let bind = QueueBindOptions::default();
        let (exchange, key) = (short(&self.exchange), short(&self.key));
        channel
            .queue_bind(short(name), exchange, key, bind, FieldTable::default())
            .await
    }

    /// The end of that. Fine if there is no such binding.
    pub(super) async fn unbind_as(
        &self,
        channel: &Channel,
        name: &str,
    ) -> Result<(), lapin::Error> {
        let (exchange, key) = (short(&self.exchange), short(&self.key));
        channel
            .queue_unbind(short(name), exchange, key, FieldTable::default())
            .await
    }
}

async fn declare(channel: &Channel, name: &str, arguments: &Arguments) -> Result<(), lapin::Error> {
    let mut table = FieldTable::default();
    for (name, value) in arguments {
        let value = match value {
            Argument::Text(text) => AMQPValue::LongString(LongString::from(text.as_str())),
            Argument::Number(number) => AMQPValue::LongLongInt(*number),
        };
        table.insert((*name).into(), value);
    }
    let options = QueueDeclareOptions {
        durable: true,
        ..Default::default()
    };
    channel.queue_declare(short(name), options, table).await?;
    Ok(())
}

/// What a queue holds, if it is there.
pub(super) async fn ask(channel: &Channel, name: &str) -> Result<Held, lapin::Error> {
    let options = QueueDeclareOptions {
        passive: true,
        durable: true,
        ..Default::default()
    };
    let asked = channel.queue_declare(short(name), options, FieldTable::default());
    let queue = asked.await?;
    Ok(Held {
        ready: queue.message_count(),
        consumers: queue.consumer_count(),
    })
}

/// What the answer to a declaration says of what stands.
fn declared(answer: Result<(), lapin::Error>) -> Result<Declared, lapin::Error> {
    let Err(error) = answer else {
        return Ok(Declared::Equivalent);
    };
    let ErrorKind::ProtocolError(refusal) = error.kind() else {
        return Err(error);
    };
    let said = refusal.get_message().as_str();
    match refusal.get_id() {
        404 if is_missing(&error) => Ok(Declared::Missing),
        403 => Ok(Declared::AccessRefused(said.to_owned())),
        406 => Ok(Declared::Inequivalent(said.to_owned())),
        _ => Err(error),
    }
}

/// A table with one argument.
fn one(name: &str, value: AMQPValue) -> FieldTable {
    let mut table = FieldTable::default();
    table.insert(short(name), value);
    table
}

/// Whether the broker refused something for want of a permission. That something is missing, or
/// wrong as it was meant to be, is no such refusal.
fn is_forbidden(answer: Result<(), lapin::Error>) -> Result<bool, lapin::Error> {
    let Err(error) = answer else { return Ok(false) };
    match error.kind() {
        ErrorKind::ProtocolError(refusal) => match refusal.get_id() {
            403 => Ok(true),
            404 | 406 => Ok(false),
            _ => Err(error),
        },
        _ => Err(error),
    }
}

/// It stands with other arguments. Other 406s are rules of the broker.
pub(super) fn is_inequivalent(error: &lapin::Error) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(refusal)
        if refusal.get_id() == 406 && refusal.get_message().as_str().contains("inequivalent arg"))
}

/// Turns the broker's refusal of one thing into a line about it; anything else ends the walk. A
/// worker needs some things to be there, and a migration moves what is in others.
fn note(
    result: Result<(), lapin::Error>,
    what: &str,
    mode: config::Topology,
    needed: bool,
    moved: bool,
    wrong: &mut Vec<(String, Cure)>,
) -> Result<(), Unfit> {
    let Err(error) = result else { return Ok(()) };
    let ErrorKind::ProtocolError(refusal) = error.kind() else {
        return Err(error.into());
    };
    let said = refusal.get_message().as_str();
    wrong.push(match (refusal.get_id(), mode) {
        // "NOT_FOUND - no queue …". Other 404s are queues that exist but are out.
        (404, config::Topology::Verify) if said.starts_with("NOT_FOUND - no ") => {
            (format!("{what} is not there"), Cure::Create)
        }
        (406, _) if is_inequivalent(&error) => (
            format!("{what} stands with other arguments: {said}"),
            if moved { Cure::Migrate } else { Cure::Replace },
        ),
        (406, _) => (format!("{what} is refused: {said}"), Cure::Permit),
        (403, config::Topology::Declare) => (
            format!("{what} may not be declared: {said}"),
            Cure::Configure,
        ),
        // From 4.3 on the broker shows only what the user has some permission for, and a worker
        // has none for much of this.
        (403, config::Topology::Verify) if !needed => return Ok(()),
        (403, config::Topology::Verify) => (format!("{what} may not be used: {said}"), Cure::Write),
        _ => return Err(error.into()),
    });
    Ok(())
}

/// A refusal closes the channel it came on (RabbitMQ, "Channels", "Error Handling").
async fn reopen(channel: &mut Channel, connection: &Connection) -> Result<(), lapin::Error> {
    if !channel.status().connected() {
        *channel = connection.create_channel().await?;
    }
    Ok(())
}

/// `NOT_FOUND - no exchange …` or `… no queue …`. Other 404s are queues that exist but are out.
pub(super) fn is_missing(error: &lapin::Error) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(refusal)
        if refusal.get_message().as_str().starts_with("NOT_FOUND - no "))
}

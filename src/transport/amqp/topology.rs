//! The exchanges and queues of RabbitMQ, in one table: what each is, and why.
//!
//! Takes a connection, gives back that everything stands, or a line for each thing that does not.
//! Never changes or removes what stands: arguments of a queue cannot be changed, and what is in it
//! may be the only copy. If we crash here, some of it exists already, and the next start declares
//! the rest.

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, LongString};
use lapin::{Channel, Connection, ErrorKind, ExchangeKind};

use super::properties::short;
use crate::config;
use crate::transport::{Lane, RETRY_WAITS};

/// An exchange. All are durable.
#[derive(Debug)]
struct Exchange {
    name: String,
    kind: ExchangeKind,
    /// Where a message goes that no queue is bound for.
    alternate: Option<String>,
    /// Whether a worker must be able to publish there.
    workers: bool,
}

/// A queue and its only binding. All are durable.
#[derive(Debug)]
struct Queue {
    name: String,
    arguments: Vec<(&'static str, Argument)>,
    exchange: String,
    key: String,
}

/// The value of a queue's argument.
#[derive(Debug)]
enum Argument {
    Text(String),
    Number(i64),
}

/// Everything that stands at the broker, under one prefix.
#[derive(Debug)]
pub(super) struct Topology {
    prefix: String,
    exchanges: Vec<Exchange>,
    queues: Vec<Queue>,
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
    Replace,
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
            Cure::Replace => "arguments cannot be changed: empty it and delete it (rabbitmqctl \
                              delete_queue NAME), or choose another queue.prefix, or use it as it \
                              is with queue.topology = \"verify\""
                .to_owned(),
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
            },
            Exchange::new(name("unrouted"), ExchangeKind::Fanout, false),
            Exchange::new(name("dlx"), ExchangeKind::Direct, true),
            Exchange::new(name("events"), ExchangeKind::Topic, true),
            Exchange::new(name("replies"), ExchangeKind::Direct, false),
        ];
        let mut queues = Vec::new();

        for lane in Lane::ALL {
            let mut arguments = safe(name("dlx"));
            arguments.extend([
                // The key of the dead queue, in place of the lane's.
                ("x-dead-letter-routing-key", text("dead")),
                // A job that kills its worker this often and once more is dead. Below 4.3 a
                // job given back at a worker's end counts too, so it is not a low number
                // ("Quorum Queues", "Poison Message Handling").
                ("x-delivery-limit", Argument::Number(10)),
                ("x-max-length", Argument::Number(1_000_000)),
            ]);
            queues.push(Queue {
                name: name(&format!("jobs.{lane}")),
                arguments,
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
                exchange: retry,
                key: String::new(),
            });
        }
        queues.push(Queue {
            name: name("dead"),
            arguments: vec![
                ("x-queue-type", text("quorum")),
                // Looking at the dead queue gives messages back to it, which counts as a
                // delivery below 4.3; from 4.0 the default limit is 20, after which a queue
                // without a dead-letter exchange drops the message. -1 (no limit) is refused by
                // 3.10, so the limit is one that is never reached, the same on every version.
                ("x-delivery-limit", Argument::Number(1_000_000_000)),
            ],
            exchange: name("dlx"),
            key: "dead".to_owned(),
        });
        queues.push(Queue {
            name: name("unrouted"),
            arguments: vec![("x-queue-type", text("quorum"))],
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
            exchange: name("events"),
            key: "#".to_owned(),
        });
        Topology {
            prefix: prefix.to_owned(),
            exchanges,
            queues,
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
        let mut channel = connection.create_channel().await?;
        for exchange in &self.exchanges {
            let result = exchange.ensure(&channel, passive).await;
            let what = format!("exchange {}", exchange.name);
            note(result, &what, mode, exchange.workers, &mut wrong)?;
            reopen(&mut channel, connection).await?;
        }
        for queue in &self.queues {
            let result = queue.ensure(&channel, passive).await;
            // Whether a lane may be read shows when it is.
            note(
                result,
                &format!("queue {}", queue.name),
                mode,
                false,
                &mut wrong,
            )?;
            reopen(&mut channel, connection).await?;
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

    /// The name of a lane's queue.
    pub(super) fn lane(&self, lane: Lane) -> String {
        format!("{}.jobs.{lane}", self.prefix)
    }

    /// The queues in which a job waits: both lanes, and between attempts.
    pub(super) fn waiting(&self) -> impl Iterator<Item = String> {
        let lanes = Lane::ALL.into_iter().map(|lane| self.lane(lane));
        let retries = RETRY_WAITS
            .iter()
            .map(|(label, _)| format!("{}.retry.{label}", self.prefix));
        lanes.chain(retries)
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
    async fn ensure(&self, channel: &Channel, passive: bool) -> Result<(), lapin::Error> {
        let mut arguments = FieldTable::default();
        for (name, value) in &self.arguments {
            let value = match value {
                Argument::Text(text) => AMQPValue::LongString(LongString::from(text.as_str())),
                Argument::Number(number) => AMQPValue::LongLongInt(*number),
            };
            arguments.insert((*name).into(), value);
        }
        let options = QueueDeclareOptions {
            passive,
            durable: true,
            ..Default::default()
        };
        channel
            .queue_declare(short(&self.name), options, arguments)
            .await?;
        if passive {
            // The protocol cannot ask for a binding; what is not bound shows when it is used.
            return Ok(());
        }
        let bind = QueueBindOptions::default();
        let (exchange, key) = (short(&self.exchange), short(&self.key));
        channel
            .queue_bind(
                short(&self.name),
                exchange,
                key,
                bind,
                FieldTable::default(),
            )
            .await
    }
}

/// Turns the broker's refusal of one thing into a line about it; anything else ends the walk.
fn note(
    result: Result<(), lapin::Error>,
    what: &str,
    mode: config::Topology,
    needed: bool,
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
        (406, _) => (
            format!("{what} stands with other arguments: {said}"),
            Cure::Replace,
        ),
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

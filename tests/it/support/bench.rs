//! A bench for the RabbitMQ transport alone: a prefix of its own at a real broker, and jobs done
//! by hand.

use std::process::Command;
use std::time::{Duration, Instant};

use banshi::config;
use banshi::event::{Event, Kind};
use banshi::transport::{Client, DeadJob, Delivery, Intake, State, Verdict};
use lapin::message::BasicGetMessage;
use lapin::options::{
    BasicGetOptions, BasicPublishOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use serde_json::json;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::deployment::{amqp_url, remove_topology};
use super::{BANSHI, repository};

/// In time, on a busy machine.
pub const SOON: Duration = Duration::from_secs(20);

/// A prefix of its own, whose exchanges and queues are removed at the end.
pub struct Bench {
    pub settings: config::Queue,
    pub connection: Connection,
    pub channel: Channel,
}

impl Bench {
    pub async fn new() -> Bench {
        Bench::at(&amqp_url()).await
    }

    /// At a broker of the test's own.
    pub async fn at(url: &str) -> Bench {
        let connection = Connection::connect(url, ConnectionProperties::default())
            .await
            .unwrap_or_else(|error| panic!("no broker at {url}: {error}"));
        let channel = connection.create_channel().await.unwrap();
        let settings = config::Queue {
            url: url.to_owned(),
            prefix: format!("test-{:016x}", rand::random::<u64>()),
            topology: config::Topology::Declare,
            prefetch: 0,
            heartbeat: 10,
            lease: 1200,
            tls: config::Tls::default(),
        };
        Bench {
            settings,
            connection,
            channel,
        }
    }

    pub fn name(&self, rest: &str) -> String {
        format!("{}.{rest}", self.settings.prefix)
    }

    pub async fn intake(&self, prefetch: u16) -> Intake {
        up(Intake::open(&self.settings, prefetch).await.unwrap()).await
    }

    pub async fn client(&self) -> Client {
        Client::open(&self.settings).await.unwrap()
    }

    /// Sends a job as a foreign system would.
    pub async fn publish(&self, key: &str, body: &[u8], properties: BasicProperties) {
        let exchange = self.name("jobs").as_str().into();
        let options = BasicPublishOptions {
            mandatory: true,
            ..Default::default()
        };
        let sent = self
            .channel
            .basic_publish(exchange, key.into(), options, body, properties);
        sent.await.unwrap().await.unwrap();
    }

    /// A queue that sees what an exchange gives under a key.
    pub async fn tap(&self, exchange: &str, key: &str) -> String {
        let queue = self.name(&format!("tap-{exchange}"));
        let (options, none) = (QueueDeclareOptions::default(), FieldTable::default());
        let options = QueueDeclareOptions {
            durable: true,
            ..options
        };
        self.channel
            .queue_declare(queue.as_str().into(), options, none.clone())
            .await
            .unwrap();
        let (bind, exchange) = (QueueBindOptions::default(), self.name(exchange));
        let (tap, exchange) = (queue.as_str().into(), exchange.as_str().into());
        self.channel
            .queue_bind(tap, exchange, key.into(), bind, none)
            .await
            .unwrap();
        queue
    }

    /// The next message of a queue, which is taken out of it.
    pub async fn take(&self, queue: &str) -> BasicGetMessage {
        let deadline = Instant::now() + SOON;
        loop {
            let options = BasicGetOptions { no_ack: true };
            if let Some(got) = self.channel.basic_get(queue.into(), options).await.unwrap() {
                return got;
            }
            assert!(Instant::now() < deadline, "nothing came to {queue}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ready messages of a queue.
    pub async fn ready(&self, queue: &str) -> u32 {
        let options = QueueDeclareOptions {
            passive: true,
            ..Default::default()
        };
        let name = self.name(queue);
        let asked =
            self.channel
                .queue_declare(name.as_str().into(), options, FieldTable::default());
        asked.await.unwrap().message_count()
    }

    pub async fn ready_is(&self, queue: &str, want: u32) {
        let deadline = Instant::now() + SOON;
        loop {
            let ready = self.ready(queue).await;
            if ready == want {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{queue} has {ready} ready messages, not {want}"
            );
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Puts the queues of kept jobs in place as the first version declared them: quorum queues, and
    /// no limit of deliveries but on the dead queue.
    pub async fn as_the_first_version(&self) {
        self.client().await.close().await;
        for (queue, exchange, key, limit) in [
            ("dead", "dlx", "dead", Some(1_000_000_000)),
            ("unrouted", "unrouted", "", None),
        ] {
            let mut arguments = FieldTable::default();
            let quorum = AMQPValue::LongString("quorum".into());
            arguments.insert("x-queue-type".into(), quorum);
            if let Some(limit) = limit {
                arguments.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(limit));
            }
            self.replace(queue, arguments, exchange, key).await;
        }
    }

    /// Deletes a queue and declares it with other arguments, bound as before.
    pub async fn replace(&self, queue: &str, arguments: FieldTable, exchange: &str, key: &str) {
        let (queue, exchange) = (self.name(queue), self.name(exchange));
        let gone = QueueDeleteOptions::default();
        let channel = &self.channel;
        channel
            .queue_delete(queue.as_str().into(), gone)
            .await
            .unwrap();
        let durable = QueueDeclareOptions::durable();
        let declared = channel.queue_declare(queue.as_str().into(), durable, arguments);
        declared.await.unwrap();
        let (bind, none) = (QueueBindOptions::default(), FieldTable::default());
        let (queue, exchange) = (queue.as_str().into(), exchange.as_str().into());
        let bound = channel.queue_bind(queue, exchange, key.into(), bind, none);
        bound.await.unwrap();
    }

    /// Runs the program on this queue.
    pub fn banshi(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(BANSHI);
        command
            .args(arguments)
            .current_dir(repository("target"))
            .env("BANSHI__QUEUE__URL", &self.settings.url)
            .env("BANSHI__QUEUE__PREFIX", &self.settings.prefix)
            .env("BANSHI__FONTS__DIR", repository("fonts"))
            .env("BANSHI__RENDER__THREADS", "1")
            .env("BANSHI__ADMIN__LISTEN", "");
        command
    }

    pub async fn end(self) {
        let own = ["tap-events", "tap-replies"];
        remove_topology(&self.channel, &self.settings.prefix, &own).await;
        self.connection.close(200, "OK".into()).await.unwrap();
    }
}

pub async fn up(intake: Intake) -> Intake {
    until(&intake, |state| *state == State::Up).await;
    intake
}

pub async fn until(intake: &Intake, want: impl FnMut(&State) -> bool) {
    let mut state = intake.state();
    let waited = timeout(Duration::from_secs(60), state.wait_for(want)).await;
    drop(waited.expect("the state in time").unwrap());
}

pub async fn next(intake: &mut Intake) -> Delivery {
    timeout(SOON, intake.next())
        .await
        .expect("a job in time")
        .unwrap()
        .expect("a job")
}

pub async fn nothing_comes(intake: &mut Intake) {
    let waited = timeout(Duration::from_millis(500), intake.next()).await;
    assert!(waited.is_err(), "something came: {waited:?}");
}

pub fn event(job_id: &str) -> Event {
    Event {
        id: Uuid::from_u128(0x5bd2),
        kind: Kind::Completed,
        subject: Some(job_id.to_owned()),
        source: "bench".to_owned(),
        time: "2026-01-31T10:00:00Z".to_owned(),
        data: json!({ "job_id": job_id }),
        routing_key: "report.completed.annual-report".to_owned(),
        mode: config::Mode::Structured,
    }
}

pub async fn finish(delivery: Delivery, job_id: &str) {
    let confirmed = delivery.publish(&event(job_id)).await.unwrap();
    delivery.ack(confirmed).await.unwrap();
}

pub fn text<'a>(properties: &'a BasicProperties, header: &str) -> Option<&'a str> {
    let value = properties.headers().as_ref()?.inner().get(header)?;
    std::str::from_utf8(value.as_long_string()?.as_bytes()).ok()
}

pub async fn dead(client: &mut Client) -> Vec<DeadJob> {
    let mut jobs = Vec::new();
    let walk = client.walk_dead(|job| {
        jobs.push(job.clone());
        Verdict::Keep
    });
    walk.await.unwrap();
    jobs
}

/// The same, when something is known to come.
pub async fn dead_soon(client: &mut Client, want: usize) -> Vec<DeadJob> {
    let deadline = Instant::now() + SOON;
    loop {
        let jobs = dead(client).await;
        if jobs.len() == want {
            return jobs;
        }
        assert!(
            Instant::now() < deadline,
            "{} dead jobs, not {want}",
            jobs.len()
        );
        sleep(Duration::from_millis(50)).await;
    }
}

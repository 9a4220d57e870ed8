//! An urgent job's time, from its publication to its event, past a backlog of 100,000.
//!
//! The worker is as it comes: beside its typesetters there is one for urgent jobs alone. An urgent
//! report therefore waits for no other; it shares the cores with those that are being set.

use std::process::Stdio;
use std::time::{Duration, Instant};

use banshi::transport::{Client, From, Lane, Observer};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Connection, ConnectionProperties};
use tokio::runtime::Runtime;

use crate::support::settings;
use crate::table::{Row, Target, row};
use crate::worker::{Broker, Disk};
use crate::{Options, Reports, cores, runtime};

/// Jobs in the bulk lane.
const BACKLOG: u64 = 100_000;

/// Urgent jobs of a round. One every so often.
const URGENT: u64 = 100;
const EVERY: Duration = Duration::from_millis(150);

/// Measures it with a core left for the broker, the urgent typesetter and the worker itself, and
/// without.
pub fn measure(options: &Options, reports: &mut Reports) {
    let Some(broker) = Broker::of_the_environment() else {
        eprintln!("urgent: not measured, for AMQP_URL names no broker; `make bench` starts one");
        return;
    };
    let (runtime, disk) = (runtime(), Disk::new());
    let mut sizes = vec![cores()];
    if cores() > 1 {
        sizes.insert(0, cores() - 1);
    }
    for size in sizes {
        // More real reports than the worker can do meanwhile; small ones, of which it sees none,
        // fill up behind them.
        let seconds = (EVERY.as_millis() as u64 * URGENT).div_ceil(1_000);
        let real = (options.rounds as u64 + 1) * seconds * 80 * size as u64;
        let numbers = reports.numbers(real);
        broker.send(&runtime, reports, numbers);
        runtime.block_on(fill(&broker, BACKLOG.saturating_sub(real)));
        let mut worker = broker
            .banshi("worker", &disk.folder())
            .env("BANSHI__RENDER__THREADS", size.to_string())
            .env("BANSHI__RENDER__URGENT", "1")
            .env("BANSHI__ADMIN__LISTEN", "")
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        // Until it is warm.
        times(&runtime, &broker, reports, 20);
        let (mut halves, mut worst) = (Vec::new(), Vec::new());
        for _ in 0..options.rounds {
            let mut times = times(&runtime, &broker, reports, URGENT);
            times.sort_by(f64::total_cmp);
            halves.push(times[times.len() / 2]);
            worst.push(times[times.len() * 99 / 100]);
        }
        worker.kill().expect("it runs");
        worker.wait().expect("it is gone");
        runtime.block_on(empty(&broker));
        let left = if size < cores() {
            "a core left"
        } else {
            "no core left"
        };
        for (which, rounds, target) in [
            ("p50", &halves, Target::None),
            (
                "p99",
                &worst,
                if size < cores() {
                    Target::AtMost(100.0)
                } else {
                    Target::None
                },
            ),
        ] {
            row(&Row {
                what: &format!("urgent past 100,000, typesetters: {size}, {left}: {which}"),
                unit: "ms",
                rounds,
                instructions: None,
                target,
            });
        }
    }
}

/// Milliseconds from just before the job is published until its event has come, of each urgent job
/// of so many.
fn times(runtime: &Runtime, broker: &Broker, reports: &mut Reports, count: u64) -> Vec<f64> {
    let mut queue = settings().queue;
    queue.url.clone_from(&broker.url);
    queue.prefix.clone_from(&broker.prefix);
    let numbers = reports.numbers(count);
    runtime.block_on(async {
        let observer = Observer::open(&queue).await.expect("the broker is there");
        let newest = observer.newest().await.expect("the log is there");
        let next = newest.map_or(0, |entry| entry.offset + 1);
        let mut log = observer
            .log(From::Offset(next))
            .await
            .expect("the log is there");
        let client = Client::open(&queue).await.expect("the broker is there");
        let mut times = Vec::new();
        for number in numbers {
            let job = reports.model.job(number);
            let id = job["job_id"].as_str().expect("a job has an id").to_owned();
            let body = job.to_string();
            let began = Instant::now();
            let sent = client.send(&id, body.as_bytes(), Lane::Urgent);
            sent.await.expect("it is confirmed");
            let subject = format!("\"subject\":\"{id}\"");
            loop {
                let entry = log.next().await.expect("the log goes on");
                let event = String::from_utf8(entry.event).expect("an event is text");
                if event.contains(&subject) {
                    break;
                }
            }
            times.push(began.elapsed().as_secs_f64() * 1e3);
            tokio::time::sleep(EVERY.saturating_sub(began.elapsed())).await;
        }
        client.close().await;
        observer.close().await;
        times
    })
}

/// Fills the bulk lane up with so many small messages.
async fn fill(broker: &Broker, count: u64) {
    let connection = Connection::connect(&broker.url, ConnectionProperties::default()).await;
    let connection = connection.expect("the broker is there");
    let channel = connection.create_channel().await.expect("a channel");
    let confirms = ConfirmSelectOptions::default();
    channel.confirm_select(confirms).await.expect("confirms");
    let exchange = format!("{}.jobs", broker.prefix);
    let mut confirmed = Vec::new();
    for number in 0..count {
        let job = format!("{{\"job_id\":\"small-{number}\"}}");
        let properties = BasicProperties::default().with_delivery_mode(2);
        let (options, body) = (BasicPublishOptions::default(), job.as_bytes());
        let sent = channel.basic_publish(
            exchange.as_str().into(),
            "bulk".into(),
            options,
            body,
            properties,
        );
        confirmed.push(sent.await.expect("it is sent"));
    }
    for confirmed in confirmed {
        assert!(
            confirmed.await.expect("an answer").is_ack(),
            "the broker takes it"
        );
    }
    connection.close(200, "OK".into()).await.expect("it closes");
}

/// Empties the bulk lane, so that the next worker finds its own jobs alone.
async fn empty(broker: &Broker) {
    let connection = Connection::connect(&broker.url, ConnectionProperties::default()).await;
    let connection = connection.expect("the broker is there");
    let channel = connection.create_channel().await.expect("a channel");
    let queue = format!("{}.jobs.bulk", broker.prefix);
    let purged = channel.queue_purge(queue.into(), Default::default()).await;
    purged.expect("it is emptied");
    connection.close(200, "OK".into()).await.expect("it closes");
}

//! The RabbitMQ transport, against a real broker: `AMQP_URL`. Each test has a prefix of its own.

#![expect(
    clippy::disallowed_methods,
    reason = "tests start helpers of their own"
)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use banshi::config;
use banshi::event;
use banshi::transport::{AsSent, Client, DeadJob, Intake, Lane, Reason, State, Verdict};
use lapin::BasicProperties;
use lapin::options::{
    BasicGetOptions, ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions,
    QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::uri::AMQPUri;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use crate::support::bench::{
    Bench, SOON, dead_soon, event, finish, next, nothing_comes, text, until, up,
};
use crate::support::deployment::amqp_url as url;

#[tokio::test(flavor = "multi_thread")]
async fn the_topology_may_be_declared_twice() {
    let bench = Bench::new().await;
    let first = bench.intake(2).await;
    let second = bench.intake(2).await;
    bench.client().await.close().await;
    second.close().await;
    first.close().await;
    let settings = config::Queue {
        topology: config::Topology::Verify,
        ..bench.settings.clone()
    };
    up(Intake::open(&settings, 2).await.unwrap())
        .await
        .close()
        .await;
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_with_other_arguments_is_named_with_the_fix() {
    let bench = Bench::new().await;
    let queue = bench.name("jobs.bulk");
    let mut arguments = FieldTable::default();
    arguments.insert(
        "x-queue-type".into(),
        AMQPValue::LongString("quorum".into()),
    );
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(3));
    let options = QueueDeclareOptions {
        durable: true,
        ..Default::default()
    };
    bench
        .channel
        .queue_declare(queue.as_str().into(), options, arguments)
        .await
        .unwrap();

    let mut intake = Intake::open(&bench.settings, 2).await.unwrap();
    let said = timeout(SOON, intake.next())
        .await
        .unwrap()
        .unwrap_err()
        .chain();
    println!("{said}");
    for part in [
        queue.as_str(),
        "inequivalent arg",
        "other arguments",
        "delete_queue",
    ] {
        assert!(said.contains(part), "{part} is not in: {said}");
    }
    assert!(matches!(&*intake.state().borrow(), State::Down(why) if why.contains(&queue)));
    intake.close().await;
    let said = Client::open(&bench.settings).await.unwrap_err().chain();
    assert!(said.contains(&queue), "{said}");
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_named_when_it_is_only_verified() {
    let bench = Bench::new().await;
    let settings = config::Queue {
        topology: config::Topology::Verify,
        ..bench.settings.clone()
    };
    let mut intake = Intake::open(&settings, 2).await.unwrap();
    let said = timeout(SOON, intake.next())
        .await
        .unwrap()
        .unwrap_err()
        .chain();
    println!("{said}");
    for part in [
        "exchange",
        "queue",
        "jobs.urgent is not there",
        "events.log",
        "queue.topology",
    ] {
        assert!(said.contains(part), "{part} is not in: {said}");
    }
    intake.close().await;
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_user_or_virtual_host_is_said_without_the_password() {
    let bench = Bench::new().await;
    let mut uri: AMQPUri = url().parse().unwrap();
    uri.authority.userinfo.password = "s3cr3t-s3cr3t".to_owned();
    let wrong_password = config::Queue {
        url: uri.to_string(),
        ..bench.settings.clone()
    };
    let mut uri: AMQPUri = url().parse().unwrap();
    uri.vhost = "no-such-vhost".to_owned();
    let wrong_vhost = config::Queue {
        url: uri.to_string(),
        ..bench.settings.clone()
    };
    for (settings, part) in [(wrong_password, "password"), (wrong_vhost, "no-such-vhost")] {
        let mut intake = Intake::open(&settings, 2).await.unwrap();
        let said = timeout(SOON, intake.next())
            .await
            .unwrap()
            .unwrap_err()
            .chain();
        println!("{said}");
        assert!(said.contains(part) && !said.contains("s3cr3t"), "{said}");
        intake.close().await;
        let said = Client::open(&settings).await.unwrap_err().chain();
        assert!(said.contains(part) && !said.contains("s3cr3t"), "{said}");
    }
    for url in [
        "amqp://u:s3cr3t@h:port/v",
        "amqp:s3cr3t",
        "http://u:s3cr3t@h/",
        "amqp://u:s3cr3t@[::1]:5672/%2f",
    ] {
        let settings = config::Queue {
            url: url.to_owned(),
            ..bench.settings.clone()
        };
        let said = Intake::open(&settings, 2).await.unwrap_err().chain();
        println!("{said}");
        assert!(
            said.contains("queue.url") && !said.contains("s3cr3t"),
            "{said}"
        );
    }
    let settings = config::Queue {
        url: "amqp://u:s3cr3t@127.0.0.1:1/%2f".to_owned(),
        ..bench.settings.clone()
    };
    let said = Client::open(&settings).await.unwrap_err().chain();
    println!("{said}");
    assert!(
        said.contains("127.0.0.1:1") && !said.contains("s3cr3t"),
        "{said}"
    );
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_comes_in_and_its_event_goes_out() {
    let bench = Bench::new().await;
    let mut intake = bench.intake(2).await;
    let events = bench.tap("events", "report.completed.#").await;
    let replies = bench.tap("replies", "to-the-sender").await;
    let mut headers = FieldTable::default();
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    headers.insert(
        "traceparent".into(),
        AMQPValue::LongString(traceparent.into()),
    );
    let properties = BasicProperties::default()
        .with_delivery_mode(2)
        .with_message_id("job-1".into())
        .with_correlation_id("case 7".into())
        .with_reply_to("to-the-sender".into())
        .with_headers(headers);
    bench
        .publish("bulk", b"{\"job_id\":\"job-1\"}", properties)
        .await;

    let delivery = next(&mut intake).await;
    assert_eq!(delivery.body, b"{\"job_id\":\"job-1\"}");
    assert_eq!(delivery.lane, Lane::Bulk);
    assert_eq!((delivery.attempt, delivery.redelivered), (1, false));
    assert_eq!(delivery.message_id.as_deref(), Some("job-1"));
    assert_eq!(delivery.correlation_id.as_deref(), Some("case 7"));
    assert_eq!(delivery.reply_to.as_deref(), Some("to-the-sender"));
    let trace = delivery.trace.trace_id().to_string();
    assert_eq!(trace, "4bf92f3577b34da6a3ce929d0e0e4736");
    finish(delivery, "job-1").await;
    nothing_comes(&mut intake).await;
    assert_eq!(intake.pending().await.unwrap(), 0);

    for (queue, exchange) in [(&events, "events"), (&replies, "replies")] {
        let got = bench.take(queue).await;
        assert_eq!(got.exchange.as_str(), bench.name(exchange));
        assert_eq!(got.data, event("job-1").structured());
        let properties = &got.properties;
        let id = Uuid::from_u128(0x5bd2).to_string();
        assert_eq!(
            properties.content_type().as_ref().unwrap().as_str(),
            event::CONTENT_TYPE
        );
        assert_eq!(properties.delivery_mode(), &Some(2));
        assert_eq!(properties.message_id().as_ref().unwrap().as_str(), id);
        assert_eq!(
            properties.correlation_id().as_ref().unwrap().as_str(),
            "case 7"
        );
        assert_eq!(
            properties.kind().as_ref().unwrap().as_str(),
            "report.completed"
        );
        assert!(
            properties
                .app_id()
                .as_ref()
                .unwrap()
                .as_str()
                .starts_with("banshi/")
        );
        assert_eq!(text(properties, "traceparent"), Some(traceparent));
        for (attribute, value) in [
            ("specversion", "1.0"),
            ("id", id.as_str()),
            ("source", "bench"),
            ("type", "report.completed"),
            ("time", "2026-01-31T10:00:00Z"),
            ("subject", "job-1"),
        ] {
            for prefix in ["ce-", "cloudEvents_"] {
                let name = format!("{prefix}{attribute}");
                assert_eq!(text(properties, &name), Some(value), "{name}");
            }
        }
    }
    bench.ready_is("events.log", 1).await;
    intake.close().await;
    // Had it not been acknowledged, it would be ready again.
    assert_eq!(bench.ready("jobs.bulk").await, 0);
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_that_nobody_waits_for_does_not_block() {
    let bench = Bench::new().await;
    let mut intake = bench.intake(2).await;
    let mut state = intake.state();
    state.borrow_and_update();
    let properties = BasicProperties::default().with_reply_to("nobody".into());
    bench.publish("urgent", b"{}", properties.clone()).await;
    let delivery = next(&mut intake).await;
    finish(delivery, "a").await;

    // Not even the exchange is there.
    let replies = bench.name("replies");
    let options = ExchangeDeleteOptions::default();
    bench
        .channel
        .exchange_delete(replies.as_str().into(), options)
        .await
        .unwrap();
    bench.publish("urgent", b"{}", properties).await;
    let delivery = next(&mut intake).await;
    finish(delivery, "b").await;
    assert!(!state.has_changed().unwrap(), "the session was not to end");
    bench.ready_is("events.log", 2).await;
    intake.close().await;
    assert_eq!(bench.ready("jobs.urgent").await, 0);
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_lettered_job_keeps_its_body_and_properties() {
    let bench = Bench::new().await;
    let mut intake = bench.intake(2).await;
    let mut headers = FieldTable::default();
    headers.insert("sender".into(), AMQPValue::LongString("oa".into()));
    headers.insert("x-tenant".into(), AMQPValue::LongInt(7));
    headers.insert("CC".into(), AMQPValue::FieldArray(Default::default()));
    let properties = BasicProperties::default()
        .with_content_type("application/json".into())
        .with_message_id("job-2".into())
        .with_correlation_id("case 8".into())
        .with_reply_to("me".into())
        .with_timestamp(1_700_000_000)
        .with_expiration("600000".into())
        .with_headers(headers);
    bench.publish("urgent", b"not json", properties).await;

    let delivery = next(&mut intake).await;
    let confirmed = delivery.publish(&event("job-2")).await.unwrap();
    let message = format!("{}。", "错".repeat(100));
    let reason = Reason {
        code: "E-JSON".to_owned(),
        message,
        event: "report.rejected",
    };
    let dead_lettered = delivery.dead_letter(confirmed, &reason).await.unwrap();
    delivery.ack(dead_lettered).await.unwrap();

    let mut client = bench.client().await;
    let jobs = dead_soon(&mut client, 1).await;
    let since = jobs[0].dead_lettered_at.expect("when it was dead-lettered");
    let want = DeadJob {
        id: "job-2".to_owned(),
        code: "E-JSON".to_owned(),
        message: "错".repeat(85),
        event: "report.rejected".to_owned(),
        lane: "urgent".to_owned(),
        dead_lettered_at: Some(since),
        body: b"not json".to_vec(),
        as_sent: AsSent::Whole,
    };
    assert_eq!(jobs, [want]);
    client.close().await;

    let got = bench.take(&bench.name("dead")).await;
    let properties = &got.properties;
    assert_eq!(got.data, b"not json");
    assert_eq!(
        properties.content_type().as_ref().unwrap().as_str(),
        "application/json"
    );
    assert_eq!(
        properties.correlation_id().as_ref().unwrap().as_str(),
        "case 8"
    );
    assert_eq!(properties.reply_to().as_ref().unwrap().as_str(), "me");
    assert_eq!(properties.timestamp(), &Some(1_700_000_000));
    assert_eq!(properties.expiration(), &None, "a dead job does not expire");
    assert_eq!(properties.delivery_mode(), &Some(2));
    assert_eq!(text(properties, "sender"), Some("oa"));
    let headers = properties.headers().as_ref().unwrap().inner();
    assert!(
        headers.contains_key("x-tenant") && !headers.contains_key("CC"),
        "{headers:?}"
    );
    intake.close().await;
    assert_eq!(bench.ready("jobs.urgent").await, 0);
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_comes_back_to_its_lane_after_five_seconds() {
    let bench = Bench::new().await;
    let mut intake = bench.intake(2).await;
    let client = bench.client().await;
    for lane in Lane::ALL {
        client.send(lane.as_str(), b"{}", lane).await.unwrap();
    }
    for _ in Lane::ALL {
        let delivery = next(&mut intake).await;
        assert_eq!(delivery.attempt, 1);
        delivery.retry().await.unwrap();
    }
    let since = Instant::now();
    assert_eq!(intake.pending().await.unwrap(), 2);
    for _ in Lane::ALL {
        let delivery = next(&mut intake).await;
        assert!(
            (4..8).contains(&since.elapsed().as_secs()),
            "{:?}",
            since.elapsed()
        );
        assert_eq!((delivery.attempt, delivery.redelivered), (2, true));
        assert_eq!(delivery.message_id.as_deref(), Some(delivery.lane.as_str()));
        finish(delivery, "x").await;
    }
    assert_eq!(intake.pending().await.unwrap(), 0);
    client.close().await;
    intake.close().await;
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_job_comes_again_and_is_dead_in_the_end() {
    let bench = Bench::new().await;
    let mut intake = bench.intake(2).await;
    let mut client = bench.client().await;
    client
        .send("poison", b"{\"poison\":1}", Lane::Urgent)
        .await
        .unwrap();
    let mut deliveries = 0;
    while let Ok(delivery) = timeout(Duration::from_secs(2), intake.next()).await {
        let delivery = delivery.unwrap().unwrap();
        deliveries += 1;
        assert_eq!(delivery.redelivered, deliveries > 1);
        drop(delivery);
    }
    assert_eq!(deliveries, 11, "the limit, and the first one");
    let jobs = dead_soon(&mut client, 1).await;
    println!("{jobs:?}");
    assert_eq!(
        (jobs[0].id.as_str(), jobs[0].event.as_str()),
        ("poison", "crashed")
    );
    assert_eq!(
        (jobs[0].code.as_str(), jobs[0].lane.as_str()),
        ("delivery_limit", "urgent")
    );
    assert_eq!(jobs[0].body, b"{\"poison\":1}");
    assert!(jobs[0].dead_lettered_at.is_some(), "the broker says when");

    // The same after a wait, which leaves traces of its own.
    client.walk_dead(|_| Verdict::Replay).await.unwrap();
    let delivery = next(&mut intake).await;
    assert_eq!((delivery.attempt, delivery.redelivered), (1, false));
    delivery.retry().await.unwrap();
    let mut deliveries = 0;
    while let Ok(delivery) = timeout(Duration::from_secs(7), intake.next()).await {
        drop(delivery);
        deliveries += 1;
    }
    assert_eq!(deliveries, 11);
    let jobs = dead_soon(&mut client, 1).await;
    println!("{jobs:?}");
    assert_eq!(
        (jobs[0].code.as_str(), jobs[0].lane.as_str()),
        ("delivery_limit", "urgent")
    );
    client.close().await;
    intake.close().await;
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_intake_gives_back_what_it_holds_and_finishes_the_rest() {
    let bench = Bench::new().await;
    let client = bench.client().await;
    for job in 0..12 {
        client
            .send(&format!("job-{job}"), b"{}", Lane::Bulk)
            .await
            .unwrap();
    }
    let mut intake = bench.intake(8).await;
    let (first, second, third) = (
        next(&mut intake).await,
        next(&mut intake).await,
        next(&mut intake).await,
    );
    bench.ready_is("jobs.bulk", 4).await;
    intake.stop().await;
    assert!(intake.next().await.unwrap().is_none());
    bench.ready_is("jobs.bulk", 9).await;
    assert_eq!(intake.pending().await.unwrap(), 9);

    finish(first, "job-0").await;
    second.release().await;
    bench.ready_is("jobs.bulk", 10).await;
    third.retry().await.unwrap();
    bench.ready_is("retry.5s", 1).await;
    intake.close().await;
    assert_eq!(bench.ready("jobs.bulk").await, 10);

    let mut intake = bench.intake(8).await;
    let mut order = Vec::new();
    for _ in 0..10 {
        let delivery = next(&mut intake).await;
        order.push(delivery.message_id.clone().unwrap());
        finish(delivery, "x").await;
    }
    println!("{order:?}");
    assert_eq!(order.iter().collect::<BTreeSet<_>>().len(), 10);
    let requeued: Vec<_> = (3..8).map(|job| format!("job-{job}")).collect();
    assert_eq!(order[..5], requeued, "they come back in their order");
    client.close().await;
    intake.close().await;
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_intake_gives_back_what_was_not_acknowledged() {
    let bench = Bench::new().await;
    let client = bench.client().await;
    for job in 0..5 {
        client
            .send(&format!("job-{job}"), b"{}", Lane::Urgent)
            .await
            .unwrap();
    }
    let mut intake = bench.intake(4).await;
    let held = next(&mut intake).await;
    intake.close().await;
    let late = held.publish(&event("job-0")).await.unwrap_err();
    println!("{}", late.chain());
    drop(held);
    bench.ready_is("jobs.urgent", 5).await;
    client.close().await;
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_urgent_job_passes_a_full_bulk_lane() {
    let bench = Bench::new().await;
    let client = bench.client().await;
    for job in 0..50 {
        client
            .send(&format!("bulk-{job}"), b"{}", Lane::Bulk)
            .await
            .unwrap();
    }
    let mut intake = bench.intake(10).await;
    let first = next(&mut intake).await;
    assert_eq!(first.lane, Lane::Bulk);
    client.send("urgent-1", b"{}", Lane::Urgent).await.unwrap();
    sleep(Duration::from_millis(300)).await;
    let mut before = 0;
    let mut held = vec![first];
    loop {
        let delivery = next(&mut intake).await;
        if delivery.lane == Lane::Urgent {
            break;
        }
        before += 1;
        held.push(delivery);
    }
    assert!(before <= 1, "{before} bulk jobs came before the urgent one");
    drop(held);
    client.close().await;
    intake.close().await;
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_than_the_prefetch_is_held() {
    let bench = Bench::new().await;
    let client = bench.client().await;
    for job in 0..20 {
        client
            .send(&format!("job-{job}"), b"{}", Lane::Bulk)
            .await
            .unwrap();
    }
    let mut intake = bench.intake(3).await;
    bench.ready_is("jobs.bulk", 17).await;
    let held = [
        next(&mut intake).await,
        next(&mut intake).await,
        next(&mut intake).await,
    ];
    nothing_comes(&mut intake).await;
    assert_eq!(intake.pending().await.unwrap(), 17);
    drop(held);
    client.close().await;
    intake.close().await;
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn next_may_be_cancelled_at_any_moment() {
    let bench = Bench::new().await;
    let client = bench.client().await;
    for job in 0..60 {
        client
            .send(&format!("job-{job}"), b"{}", Lane::Bulk)
            .await
            .unwrap();
    }
    let mut intake = bench.intake(5).await;
    let mut seen = BTreeSet::new();
    while seen.len() < 60 {
        let wait = Duration::from_micros(rand::random_range(0..300));
        if let Ok(delivery) = timeout(wait, intake.next()).await {
            let delivery = delivery.unwrap().unwrap();
            assert!(!delivery.redelivered);
            assert!(seen.insert(delivery.message_id.clone().unwrap()));
            finish(delivery, "x").await;
        }
    }
    client.close().await;
    intake.close().await;
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_and_a_missing_exchange_are_said() {
    let bench = Bench::new().await;
    bench.client().await.close().await;
    let queue = bench.name("jobs.bulk");
    let gone = bench
        .channel
        .queue_delete(queue.as_str().into(), QueueDeleteOptions::default());
    gone.await.unwrap();
    let mut arguments = FieldTable::default();
    arguments.insert(
        "x-queue-type".into(),
        AMQPValue::LongString("quorum".into()),
    );
    arguments.insert(
        "x-overflow".into(),
        AMQPValue::LongString("reject-publish".into()),
    );
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(2));
    let options = QueueDeclareOptions {
        durable: true,
        ..Default::default()
    };
    bench
        .channel
        .queue_declare(queue.as_str().into(), options, arguments)
        .await
        .unwrap();
    let bind = QueueBindOptions::default();
    let (name, exchange) = (queue.as_str().into(), bench.name("jobs"));
    let bound = bench.channel.queue_bind(
        name,
        exchange.as_str().into(),
        "bulk".into(),
        bind,
        FieldTable::default(),
    );
    bound.await.unwrap();

    let settings = config::Queue {
        topology: config::Topology::Verify,
        ..bench.settings.clone()
    };
    let client = Client::open(&settings).await.unwrap();
    let mut sent = 0;
    let said = loop {
        match client.send("job", b"{}", Lane::Bulk).await {
            Ok(()) => sent += 1,
            Err(unsent) => break unsent.to_string(),
        }
        assert!(sent < 20, "the queue takes everything");
    };
    println!("{sent}: {said}");
    assert!(
        said.contains("full") && said.contains(&bench.name("jobs")),
        "{said}"
    );
    // The client is none the worse for it.
    client.send("job", b"{}", Lane::Urgent).await.unwrap();

    let gone = bench
        .channel
        .exchange_delete(exchange.as_str().into(), ExchangeDeleteOptions::default());
    gone.await.unwrap();
    let said = client
        .send("job", b"{}", Lane::Urgent)
        .await
        .unwrap_err()
        .to_string();
    println!("{said}");
    assert!(
        said.contains(&bench.name("jobs")) && said.contains("no exchange"),
        "{said}"
    );
    client.close().await;
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_no_queue_takes_is_an_outage_where_nothing_is_declared() {
    let bench = Bench::new().await;
    let client = bench.client().await;
    let settings = config::Queue {
        topology: config::Topology::Verify,
        ..bench.settings.clone()
    };
    let mut intake = up(Intake::open(&settings, 2).await.unwrap()).await;
    client.send("job", b"{}", Lane::Bulk).await.unwrap();
    let log = bench.name("events.log");
    let gone = bench
        .channel
        .queue_delete(log.as_str().into(), QueueDeleteOptions::default());
    gone.await.unwrap();
    let delivery = next(&mut intake).await;
    let said = delivery.publish(&event("job")).await.unwrap_err().chain();
    println!("{said}");
    assert!(
        said.contains(&bench.name("events")) && said.contains("report.completed"),
        "{said}"
    );
    // The job waits outside, and is not counted.
    assert!(delivery.is_live());
    delivery.postpone().await.unwrap();
    bench.ready_is("retry.5s", 1).await;
    client.close().await;
    intake.close().await;
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_queue_is_declared_again() {
    let bench = Bench::new().await;
    let mut intake = bench.intake(2).await;
    let client = bench.client().await;
    for lane in Lane::ALL {
        let queue = bench.name(&format!("jobs.{lane}"));
        let gone = bench
            .channel
            .queue_delete(queue.as_str().into(), QueueDeleteOptions::default());
        gone.await.unwrap();
        until(&intake, |state| *state != State::Up).await;
        until(&intake, |state| *state == State::Up).await;
        client.send("job", b"{}", lane).await.unwrap();
        let delivery = next(&mut intake).await;
        assert_eq!(delivery.lane, lane);
        finish(delivery, "job").await;
    }
    client.close().await;
    intake.close().await;
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_jobs_end_needs_and_is_missing_is_declared_again_on_the_spot() {
    let bench = Bench::new().await;
    let mut intake = bench.intake(4).await;
    let mut state = intake.state();
    state.borrow_and_update();
    for gone in ["dead", "retry.5s", "events.log"] {
        let queue = bench.name(gone);
        let deleted = bench
            .channel
            .queue_delete(queue.as_str().into(), QueueDeleteOptions::default());
        deleted.await.unwrap();
    }
    for _ in 0..3 {
        bench
            .publish("bulk", b"{}", BasicProperties::default())
            .await;
    }
    finish(next(&mut intake).await, "completed").await;
    next(&mut intake).await.retry().await.unwrap();
    let rejected = next(&mut intake).await;
    let published = rejected.publish(&event("rejected")).await.unwrap();
    let reason = Reason {
        code: "E-SCHEMA".to_owned(),
        message: "no".to_owned(),
        event: "report.rejected",
    };
    let kept = rejected.dead_letter(published, &reason).await.unwrap();
    rejected.ack(kept).await.unwrap();
    bench.ready_is("events.log", 2).await;
    bench.ready_is("dead", 1).await;
    let again = next(&mut intake).await;
    assert_eq!(again.attempt, 2);
    finish(again, "retried").await;
    assert!(!state.has_changed().unwrap(), "the session was not to end");
    intake.close().await;
    bench.end().await;
}

/// The one that may have ended it comes alone, and is counted alone.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_session_that_died_young_jobs_come_one_at_a_time_until_one_is_settled() {
    let bench = Bench::new().await;
    let proxy = Proxy::new(PASS).await;
    let settings = config::Queue {
        url: proxy.url.clone(),
        ..bench.settings.clone()
    };
    let mut intake = up(Intake::open(&settings, 4).await.unwrap()).await;
    for _ in 0..6 {
        bench
            .publish("bulk", b"{}", BasicProperties::default())
            .await;
    }
    let in_hand = [next(&mut intake).await, next(&mut intake).await];
    proxy.set(RESET);
    until(&intake, |state| *state != State::Up).await;
    assert!(in_hand.iter().all(|delivery| !delivery.is_live()));
    drop(in_hand);
    proxy.set(PASS);
    let alone = next(&mut intake).await;
    nothing_comes(&mut intake).await;
    finish(alone, "alone").await;
    let mut together = Vec::new();
    for _ in 0..4 {
        together.push(next(&mut intake).await);
    }
    for delivery in together {
        finish(delivery, "together").await;
    }
    finish(next(&mut intake).await, "last").await;
    intake.close().await;
    assert_eq!(bench.ready("jobs.bulk").await, 0);
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dead_queue_is_kept_replayed_and_dropped() {
    let bench = Bench::new().await;
    let mut intake = bench.intake(10).await;
    let mut client = bench.client().await;
    for job in 0..6 {
        client
            .send(
                &format!("job-{job}"),
                format!("{{\"n\":{job}}}").as_bytes(),
                Lane::Bulk,
            )
            .await
            .unwrap();
    }
    for _ in 0..6 {
        let delivery = next(&mut intake).await;
        let confirmed = delivery.publish(&event("x")).await.unwrap();
        let reason = Reason {
            code: "E-SCHEMA".to_owned(),
            message: "no".to_owned(),
            event: "report.rejected",
        };
        let dead_lettered = delivery.dead_letter(confirmed, &reason).await.unwrap();
        delivery.ack(dead_lettered).await.unwrap();
    }
    let ids = |jobs: &[DeadJob]| jobs.iter().map(|job| job.id.clone()).collect::<Vec<_>>();
    let want: Vec<_> = (0..6).map(|job| format!("job-{job}")).collect();
    // More often than the broker's default delivery limit, which would drop them.
    for _ in 0..30 {
        assert_eq!(ids(&dead_soon(&mut client, 6).await), want);
    }

    let walk = client.walk_dead(|job| match job.id.as_str() {
        "job-1" | "job-4" => Verdict::Replay,
        "job-2" => Verdict::Drop,
        _ => Verdict::Keep,
    });
    walk.await.unwrap();
    assert_eq!(
        ids(&dead_soon(&mut client, 3).await),
        ["job-0", "job-3", "job-5"]
    );
    for job in ["job-1", "job-4"] {
        let delivery = next(&mut intake).await;
        assert_eq!(delivery.message_id.as_deref(), Some(job));
        assert_eq!((delivery.attempt, delivery.redelivered), (1, false));
        assert_eq!(delivery.lane, Lane::Bulk);
        assert_eq!(delivery.body, format!("{{\"n\":{}}}", &job[4..]).as_bytes());
        finish(delivery, job).await;
    }
    nothing_comes(&mut intake).await;

    // A walk that breaks off leaves everything as it was.
    let mut judged = 0;
    let walk = client.walk_dead(|_| {
        judged += 1;
        Verdict::Keep
    });
    drop(timeout(Duration::from_millis(2), walk).await);
    bench.ready_is("dead", 3).await;
    client.close().await;
    intake.close().await;
    bench.end().await;
}

/// A broker's address through which bytes can be cut off.
pub struct Proxy {
    pub url: String,
    mode: Arc<AtomicU8>,
}

pub const PASS: u8 = 0;
/// Every connection is reset, and new ones at once.
pub const RESET: u8 = 1;
/// Connections stay, and nothing passes.
pub const SILENT: u8 = 2;

impl Proxy {
    pub async fn new(mode: u8) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut uri: AMQPUri = url().parse().unwrap();
        let target = format!("{}:{}", uri.authority.host, uri.authority.port);
        uri.authority.host = "127.0.0.1".to_owned();
        uri.authority.port = listener.local_addr().unwrap().port();
        let mode = Arc::new(AtomicU8::new(mode));
        let now = Arc::clone(&mode);
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let (now, target) = (Arc::clone(&now), target.clone());
                tokio::spawn(async move {
                    let broker = TcpStream::connect(target).await.unwrap();
                    let (client_in, client_out) = client.into_split();
                    let (broker_in, broker_out) = broker.into_split();
                    let to_broker = pump(client_in, broker_out, Arc::clone(&now));
                    let to_client = pump(broker_in, client_out, now);
                    tokio::select! { () = to_broker => {}, () = to_client => {} }
                });
            }
        });
        Proxy {
            url: uri.to_string(),
            mode,
        }
    }

    pub fn set(&self, mode: u8) {
        self.mode.store(mode, Ordering::SeqCst);
    }
}

async fn pump(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mode: Arc<AtomicU8>,
) {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        match mode.load(Ordering::SeqCst) {
            PASS => {}
            RESET => return,
            _ => {
                sleep(Duration::from_millis(20)).await;
                continue;
            }
        }
        let read = match timeout(Duration::from_millis(20), from.read(&mut bytes)).await {
            Ok(Ok(0) | Err(_)) => return,
            Ok(Ok(read)) => read,
            Err(_) => continue,
        };
        if mode.load(Ordering::SeqCst) == RESET || to.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_not_there_yet_is_waited_for() {
    let bench = Bench::new().await;
    let proxy = Proxy::new(RESET).await;
    let settings = config::Queue {
        url: proxy.url.clone(),
        ..bench.settings.clone()
    };
    let mut intake = Intake::open(&settings, 2).await.unwrap();
    assert!(
        timeout(Duration::from_secs(2), intake.next())
            .await
            .is_err()
    );
    let said = intake.pending().await.unwrap_err().chain();
    println!("{said}");
    assert!(matches!(&*intake.state().borrow(), State::Down(_)));
    proxy.set(PASS);
    until(&intake, |state| *state == State::Up).await;
    intake.close().await;

    // And a stop while it waits is heard.
    proxy.set(RESET);
    let mut intake = Intake::open(&settings, 2).await.unwrap();
    sleep(Duration::from_millis(300)).await;
    timeout(SOON, intake.stop()).await.unwrap();
    assert!(intake.next().await.unwrap().is_none());
    timeout(SOON, intake.close()).await.unwrap();
    bench.end().await;
}

/// Jobs by hand through a proxy that fails in the meantime; every job must end, whatever happens.
async fn every_job_ends(fault: u8, pause: Duration) {
    const JOBS: usize = 300;
    let bench = Bench::new().await;
    let proxy = Proxy::new(PASS).await;
    let settings = config::Queue {
        url: proxy.url.clone(),
        heartbeat: 1,
        lease: 1200,
        ..bench.settings.clone()
    };
    let mut intake = up(Intake::open(&settings, 8).await.unwrap()).await;
    let events = bench.tap("events", "#").await;
    bench
        .channel
        .confirm_select(Default::default())
        .await
        .unwrap();
    for job in 0..JOBS {
        let id = format!("job-{job}");
        let properties = BasicProperties::default()
            .with_delivery_mode(2)
            .with_message_id(id.as_str().into());
        let lane = Lane::ALL[job % 2].as_str();
        bench.publish(lane, id.as_bytes(), properties).await;
    }
    let mut tasks = tokio::task::JoinSet::new();
    let (mut done, mut failed, mut faults) = (BTreeSet::new(), 0, 0);
    while done.len() < JOBS {
        tokio::select! {
            delivery = intake.next() => {
                let delivery = delivery.unwrap().unwrap();
                tasks.spawn(async move {
                    let id = delivery.message_id.clone().unwrap();
                    let confirmed = delivery.publish(&event(&id)).await?;
                    delivery.ack(confirmed).await?;
                    Ok::<_, banshi::problem::Outage>(id)
                });
            }
            Some(ended) = tasks.join_next() => match ended.unwrap() {
                Ok(id) => {
                    done.insert(id);
                    if done.len() >= (faults + 1) * JOBS / 4 && faults < 3 {
                        faults += 1;
                        proxy.set(fault);
                        let mode = Arc::clone(&proxy.mode);
                        tokio::spawn(async move {
                            sleep(pause).await;
                            mode.store(PASS, Ordering::SeqCst);
                        });
                    }
                }
                Err(_) => failed += 1,
            },
            () = sleep(Duration::from_secs(60)) => panic!("stuck at {} of {JOBS}", done.len()),
        }
    }
    println!("{JOBS} jobs, {faults} faults, {failed} ends that could not be published");
    // One that was acknowledged in vain comes again.
    while let Ok(delivery) = timeout(Duration::from_secs(3), intake.next()).await {
        finish(delivery.unwrap().unwrap(), "again").await;
    }
    intake.close().await;
    for queue in ["jobs.urgent", "jobs.bulk", "dead"] {
        bench.ready_is(queue, 0).await;
    }
    let mut published = BTreeSet::new();
    let options = BasicGetOptions { no_ack: true };
    while let Some(got) = bench
        .channel
        .basic_get(events.as_str().into(), options)
        .await
        .unwrap()
    {
        published.insert(
            text(&got.properties, "cloudEvents_subject")
                .unwrap()
                .to_owned(),
        );
    }
    published.remove("again");
    assert_eq!(published, done, "every job has its event");
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_cut_lose_no_job() {
    every_job_ends(RESET, Duration::from_millis(800)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_falls_silent_loses_no_job() {
    every_job_ends(SILENT, Duration::from_secs(5)).await;
}

/// An upgrade must be possible at any time of the year.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_starts_with_the_queues_of_an_earlier_version_and_names_the_migration() {
    let bench = Bench::new().await;
    bench.as_the_first_version().await;
    let mut intake = bench.intake(2).await;
    let client = bench.client().await;
    client.send("job", b"no", Lane::Bulk).await.unwrap();
    let delivery = next(&mut intake).await;
    let confirmed = delivery.publish(&event("x")).await.unwrap();
    let reason = Reason {
        code: "E-JSON".to_owned(),
        message: "no".to_owned(),
        event: "report.rejected",
    };
    let dead_lettered = delivery.dead_letter(confirmed, &reason).await.unwrap();
    delivery.ack(dead_lettered).await.unwrap();
    bench.ready_is("dead", 1).await;
    client.close().await;
    intake.close().await;

    let output = bench.banshi(&["dead", "list"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    println!("{said}");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        output.stdout.iter().filter(|byte| **byte == b'\n').count(),
        1
    );
    for part in [
        bench.name("dead"),
        bench.name("unrouted"),
        "banshi topology migrate".into(),
    ] {
        assert!(said.contains(&part), "{part} is not in: {said}");
    }

    // Other arguments than those are nobody's.
    let mut arguments = FieldTable::default();
    let quorum = AMQPValue::LongString("quorum".into());
    arguments.insert("x-queue-type".into(), quorum);
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(7));
    bench.replace("unrouted", arguments, "unrouted", "").await;
    let output = bench.banshi(&["worker"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    println!("{said}");
    assert_eq!(output.status.code(), Some(3));
    for part in ["x-max-length", "'7'", "banshi topology migrate"] {
        assert!(said.contains(part), "{part} is not in: {said}");
    }
    assert!(!said.contains("delete_queue"), "{said}");
    bench.end().await;
}

//! Over TLS both sides are checked; what the broker does to its clients (alarms, crashes,
//! timeouts, other settings) is lived through, or said with the fix. Each test has a node of its
//! own where it would disturb the others.

#![expect(
    clippy::disallowed_methods,
    reason = "tests start helpers of their own"
)]

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use banshi::config;
use banshi::transport::{Client, Intake, Lane, Reason, State};
use lapin::BasicProperties;
use lapin::options::{BasicPublishOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::uri::AMQPUri;
use tokio::time::{sleep, timeout};

use crate::rabbitmq_keeps_its_promises::{PASS, Proxy, RESET};
use crate::support::authority::{Authority, Identity};
use crate::support::bench::{Bench, SOON, dead, event, finish, next, nothing_comes, until, up};
use crate::support::deployment::WRITE_DOWN_QUEUES;
use crate::support::node::Node;
use crate::support::{BANSHI, repository};

/// Runs the program on this queue, until it ends.
fn banshi(settings: &config::Queue, arguments: &[&str]) -> Output {
    let file = |path: &PathBuf| path.display().to_string();
    let folder = tempfile::tempdir().expect("a folder");
    Command::new(BANSHI)
        .args(arguments)
        .current_dir(folder.path())
        .env("BANSHI__QUEUE__URL", &settings.url)
        .env("BANSHI__QUEUE__PREFIX", &settings.prefix)
        .env("BANSHI__QUEUE__TLS__CA", file(&settings.tls.ca))
        .env(
            "BANSHI__QUEUE__TLS__CERTIFICATE",
            file(&settings.tls.certificate),
        )
        .env("BANSHI__QUEUE__TLS__KEY", file(&settings.tls.key))
        .env("BANSHI__FONTS__DIR", repository("fonts"))
        .env("BANSHI__RENDER__THREADS", "1")
        .env("BANSHI__ADMIN__LISTEN", "")
        .output()
        .expect("it starts")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A node that speaks only to whoever shows a certificate of its authority.
struct Guarded {
    node: Node,
    authority: Authority,
}

impl Guarded {
    fn start() -> Option<Guarded> {
        let node = Node::new()?.with_plugins("rabbitmq_auth_mechanism_ssl");
        let folder = node.folder().to_owned();
        let authority = Authority::new(&folder, "authority");
        authority.host("broker", "localhost");
        let (folder, port) = (folder.display(), node.spare_port());
        node.configure(&format!(
            "listeners.ssl.1 = 127.0.0.1:{port}\n\
             ssl_options.cacertfile = {folder}/authority.pem\n\
             ssl_options.certfile = {folder}/broker.pem\n\
             ssl_options.keyfile = {folder}/broker.key.pem\n\
             ssl_options.verify = verify_peer\n\
             ssl_options.fail_if_no_peer_cert = true\n\
             ssl_cert_login_from = common_name\n\
             auth_mechanisms.1 = EXTERNAL\n\
             auth_mechanisms.2 = PLAIN\n"
        ));
        node.start();
        Some(Guarded { node, authority })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.node.folder().join(name)
    }

    /// The node's certificate from now on.
    fn show(&self, identity: &Identity) {
        std::fs::copy(&identity.certificate, self.file("broker.pem")).unwrap();
        std::fs::copy(&identity.key, self.file("broker.key.pem")).unwrap();
        self.node.ctl(&["eval", "ssl:clear_pem_cache()."]);
    }

    fn settings(&self, identity: Option<&Identity>) -> config::Queue {
        let (certificate, key) = match identity {
            Some(identity) => (identity.certificate.clone(), identity.key.clone()),
            None => Default::default(),
        };
        config::Queue {
            url: format!(
                "amqps://guest:guest@localhost:{}/%2f",
                self.node.spare_port()
            ),
            prefix: "banshi".to_owned(),
            topology: config::Topology::Declare,
            prefetch: 0,
            heartbeat: 10,
            lease: 1200,
            tls: config::Tls {
                ca: self.file("authority.pem"),
                certificate,
                key,
            },
        }
    }
}

/// What a worker and a sender say who are not let in. Neither tries on: only somebody's hand can
/// mend it.
async fn refused(settings: &config::Queue) -> String {
    let mut intake = Intake::open(settings, 2).await.unwrap();
    let said = timeout(SOON, intake.next()).await.expect("it gives up");
    let said = said.unwrap_err().chain();
    intake.close().await;
    let sender = Client::open(settings).await.unwrap_err().chain();
    // But for the time, which an expired certificate is told with.
    let what = |said: &str| said.split(": verification time").next().map(str::to_owned);
    // The broker's alert can be lost with the connection: a worker tries again, a sender says so.
    let lost = match settings.tls.identity() {
        Some(_) if said.contains("refuses our certificate") => "It may refuse our certificate",
        None if said.contains("wants to see a certificate") => "It may want to see a certificate",
        _ => "",
    };
    if lost.is_empty() || !sender.contains(lost) {
        assert_eq!(what(&said), what(&sender));
    }
    println!("{said}\n");
    said
}

fn assert_says(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "{part:?} is not in: {said}");
    }
    assert!(!said.contains("guest:guest"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_both_sides_show_a_certificate_and_each_refusal_says_what_to_do() {
    let Some(guarded) = Guarded::start() else {
        return;
    };
    let worker = guarded.authority.user("banshi-worker");
    let right = guarded.settings(Some(&worker));

    // A job's whole way.
    let mut intake = up(Intake::open(&right, 2).await.unwrap()).await;
    let client = Client::open(&right).await.unwrap();
    client.send("job", b"{}", Lane::Bulk).await.unwrap();
    finish(next(&mut intake).await, "job").await;
    nothing_comes(&mut intake).await;
    client.close().await;
    intake.close().await;
    for arguments in [&["dead", "list"][..], &["worker", "--until-idle"]] {
        let output = banshi(&right, arguments);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    }

    // With the certificate for a password.
    let external = config::Queue {
        url: format!(
            "amqps://localhost:{}/%2f?auth_mechanism=external",
            guarded.node.spare_port()
        ),
        ..right.clone()
    };
    let said = refused(&external).await;
    assert_says(
        &said,
        &["no user of the name in our certificate", "add_user"],
    );
    let node = &guarded.node;
    node.ctl(&["add_user", "banshi-worker", "not used"]);
    node.ctl(&["set_permissions", "banshi-worker", ".*", ".*", ".*"]);
    let intake = up(Intake::open(&external, 2).await.unwrap()).await;
    let users = node.ctl(&["list_connections", "user", "auth_mechanism"]);
    assert!(users.contains("banshi-worker\tEXTERNAL"), "{users}");
    intake.close().await;

    // Whom we don't trust.
    let others = Authority::new(guarded.node.folder(), "others");
    let mut settings = right.clone();
    settings.tls.ca = guarded.file("others.pem");
    let said = refused(&settings).await;
    assert_says(&said, &["signed by nobody", "others.pem", "queue.tls.ca"]);
    settings = right.clone();
    settings.url = settings.url.replace("localhost", "127.0.0.1");
    let said = refused(&settings).await;
    assert_says(&said, &["for another host", "localhost", "queue.url"]);
    guarded.show(&guarded.authority.expired_host("expired", "localhost"));
    assert_says(&refused(&right).await, &["has expired"]);
    guarded.show(&guarded.authority.host("renewed", "localhost"));
    up(Intake::open(&right, 2).await.unwrap())
        .await
        .close()
        .await;

    // Who doesn't trust us.
    let said = refused(&guarded.settings(None)).await;
    assert_says(
        &said,
        &["wants to see a certificate", "queue.tls.certificate"],
    );
    let stranger = others.user("stranger");
    let said = refused(&guarded.settings(Some(&stranger))).await;
    assert_says(&said, &["refuses our certificate", "stranger.pem"]);

    // What is not what its setting says.
    let cases = [
        ("missing.pem", "queue.tls.ca: cannot read"),
        ("broker.key.pem", "queue.tls.ca"),
    ];
    for (file, part) in cases {
        let mut settings = right.clone();
        settings.tls.ca = guarded.file(file);
        assert_says(&refused(&settings).await, &[part, file]);
    }
    let mut settings = right.clone();
    settings.tls.key = guarded.file("stranger.key.pem");
    let said = refused(&settings).await;
    assert_says(
        &said,
        &["queue.tls.key is not the key of queue.tls.certificate"],
    );
    settings.tls.key = guarded.file("authority.pem");
    let said = refused(&settings).await;
    assert_says(&said, &["queue.tls.key", "authority.pem", "PRIVATE KEY"]);
    settings = right.clone();
    let plain = guarded.node.url();
    settings.url = plain.replace("amqp://", "amqps://");
    assert_says(
        &refused(&settings).await,
        &["does not speak TLS", "amqps://"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_starts_later_crashes_and_comes_back_has_every_job() {
    let Some(node) = Node::new() else { return };
    let settings = config::Queue {
        url: node.url(),
        prefix: "banshi".to_owned(),
        topology: config::Topology::Declare,
        prefetch: 0,
        heartbeat: 10,
        lease: 1200,
        tls: config::Tls::default(),
    };
    let mut intake = Intake::open(&settings, 3).await.unwrap();
    nothing_comes(&mut intake).await;
    assert!(matches!(&*intake.state().borrow(), State::Down(why) if why.contains("cannot reach")));
    node.start();
    let mut intake = up(intake).await;
    let bench = Bench::at(&node.url()).await;
    let client = Client::open(&settings).await.unwrap();
    let sent: BTreeSet<_> = (0..9).map(|job| format!("job-{job}")).collect();
    for job in &sent {
        client.send(job, b"{}", Lane::Bulk).await.unwrap();
    }
    let first = next(&mut intake).await;
    let mut done = BTreeSet::from([first.message_id.clone().unwrap()]);
    finish(first, "first").await;
    let held = next(&mut intake).await;
    drop((client, bench));

    node.ctl(&["eval", WRITE_DOWN_QUEUES]);
    node.kill();
    until(&intake, |state| matches!(state, State::Down(_))).await;
    let late = held.publish(&event("late")).await.unwrap_err();
    println!("{}", late.chain());
    drop(held);
    node.start();
    let mut intake = up(intake).await;
    // The first one comes again if the crash was quicker than its acknowledgement.
    while done.len() < sent.len() {
        let delivery = next(&mut intake).await;
        done.insert(delivery.message_id.clone().unwrap());
        finish(delivery, "again").await;
    }
    assert_eq!(done, sent);
    nothing_comes(&mut intake).await;
    assert_eq!(intake.pending().await.unwrap(), 0);
    intake.close().await;
}

/// Requeued, it would come again at once, until the broker has had enough of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_the_broker_does_not_take_back_is_held_until_it_does() {
    let Some(node) = Node::new() else { return };
    node.start();
    let bench = Bench::at(&node.url()).await;
    let mut intake = bench.intake(2).await;
    let mut client = bench.client().await;
    for job in ["waits", "dies"] {
        client.send(job, b"{}", Lane::Bulk).await.unwrap();
    }
    let (waits, dies) = (next(&mut intake).await, next(&mut intake).await);
    let confirmed = dies.publish(&event("dies")).await.unwrap();

    node.ctl(&["set_permissions", "guest", ".*", "^none$", ".*"]);
    let waiting = tokio::spawn(waits.postpone());
    let reason = Reason {
        code: "E-JSON".to_owned(),
        message: "no JSON".to_owned(),
        event: "report.rejected",
    };
    let dying = tokio::spawn(async move {
        dies.dead_letter(confirmed, &reason)
            .await
            .map(|dead_lettered| (dies, dead_lettered))
    });
    sleep(Duration::from_secs(5)).await;
    assert!(!waiting.is_finished() && !dying.is_finished());
    nothing_comes(&mut intake).await;

    node.ctl(&["set_permissions", "guest", ".*", ".*", ".*"]);
    timeout(SOON, waiting)
        .await
        .expect("in time")
        .unwrap()
        .unwrap();
    let dead_lettered = timeout(SOON, dying).await.expect("in time");
    let (dies, dead_lettered) = dead_lettered.unwrap().unwrap();
    dies.ack(dead_lettered).await.unwrap();
    let waits = next(&mut intake).await;
    assert_eq!(waits.message_id.as_deref(), Some("waits"));
    assert_eq!(waits.attempt, 1);
    finish(waits, "waits").await;
    let dead = dead(&mut client).await;
    assert_eq!(dead.len(), 1, "{dead:?}");
    assert_eq!(dead[0].id, "dies");
}

/// However long the right to write is gone, a job is counted once for it: who comes after a session
/// that ended of it looks before it asks for jobs.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_right_to_write_stops_intake_over_every_session() {
    let Some(node) = Node::new() else { return };
    node.start();
    let bench = Bench::at(&node.url()).await;
    let mut intake = bench.intake(2).await;
    let client = bench.client().await;
    for job in 0..6 {
        let id = format!("job-{job}");
        client.send(&id, b"{}", Lane::Bulk).await.unwrap();
    }
    let held = next(&mut intake).await;
    // All but the copies for senders, which are best effort.
    let replies = format!("^{}$", bench.name("replies"));
    node.ctl(&["set_permissions", "guest", ".*", &replies, ".*"]);
    let waiting = tokio::spawn(held.postpone());
    until(
        &intake,
        |state| matches!(state, State::Down(why) if why.contains("does not take what becomes")),
    )
    .await;
    drop(next(&mut intake).await);
    for _ in 0..3 {
        node.ctl(&["close_all_connections", "maintenance"]);
        until(
            &intake,
            |state| matches!(state, State::Down(why) if why.contains("ACCESS_REFUSED")),
        )
        .await;
        nothing_comes(&mut intake).await;
    }
    assert!(waiting.await.unwrap().is_err(), "its session has ended");

    node.ctl(&["set_permissions", "guest", ".*", ".*", ".*"]);
    let mut counts = Vec::new();
    for _ in 0..6 {
        let job = next(&mut intake).await;
        counts.push(job.redelivered);
        finish(job, "job").await;
    }
    counts.sort_unstable();
    assert_eq!(counts, [false, false, false, false, true, true]);
    assert!(dead(&mut bench.client().await).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alarm_of_the_broker_stops_intake_and_holds_events_back_but_no_acknowledgements() {
    let Some(node) = Node::new() else { return };
    node.start();
    let bench = Bench::at(&node.url()).await;
    let mut intake = bench.intake(2).await;
    let client = bench.client().await;
    for job in 0..6 {
        client
            .send(&format!("job-{job}"), b"{}", Lane::Bulk)
            .await
            .unwrap();
    }
    let (first, second) = (next(&mut intake).await, next(&mut intake).await);
    let announced = first.publish(&event("job-0")).await.unwrap();

    node.ctl(&["set_vm_memory_high_watermark", "0.00001"]);
    let mut waiting = tokio::spawn(finish(second, "job-1"));
    until(
        &intake,
        |state| matches!(state, State::Down(why) if why.contains("takes no messages")),
    )
    .await;
    // The acknowledgement goes through, and no more jobs are asked for.
    first.ack(announced).await.unwrap();
    nothing_comes(&mut intake).await;
    bench.ready_is("jobs.bulk", 4).await;
    let early = timeout(Duration::from_secs(2), &mut waiting).await;
    assert!(early.is_err(), "an event was taken in an alarm");
    // A new session finds out before it asks for its first job.
    node.ctl(&["close_all_connections", "maintenance"]);
    until(
        &intake,
        |state| matches!(state, State::Down(why) if why.contains("maintenance")),
    )
    .await;
    until(
        &intake,
        |state| matches!(state, State::Down(why) if why.contains("takes no messages")),
    )
    .await;
    nothing_comes(&mut intake).await;
    assert!(waiting.await.is_err(), "its session has ended");
    let client = bench.client().await;
    // Somebody who waits is told, and does not wait for ever.
    let refused = timeout(
        Duration::from_secs(60),
        client.send("late", b"{}", Lane::Bulk),
    )
    .await;
    let refused = refused.expect("an answer").unwrap_err().to_string();
    println!("{refused}");
    assert!(refused.contains("memory or disk"), "{refused}");

    node.ctl(&["set_vm_memory_high_watermark", "0.6"]);
    until(&intake, |state| *state == State::Up).await;
    // Only the one that was in hand was counted, and on 4.x what was on its way to a consumer that
    // was just being replaced. The late one was sent all the same.
    let (mut left, mut counted) = (BTreeSet::new(), BTreeSet::new());
    while let Ok(delivery) = timeout(Duration::from_secs(2), intake.next()).await {
        let delivery = delivery.unwrap().unwrap();
        let id = delivery.message_id.clone().unwrap();
        if delivery.redelivered {
            counted.insert(id.clone());
        }
        left.insert(id);
        finish(delivery, "rest").await;
    }
    for job in ["job-1", "job-2", "job-3", "job-4", "job-5"] {
        assert!(left.contains(job), "{left:?}");
    }
    assert!(
        counted.contains("job-1") && counted.len() <= 2,
        "{counted:?}"
    );
    client.close().await;
    intake.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_held_longer_than_the_broker_allows_comes_again_and_its_end_is_forgotten() {
    let Some(node) = Node::new() else { return };
    node.start();
    node.ctl(&[
        "eval",
        "application:set_env(rabbit, consumer_timeout, 3000), \
         application:set_env(rabbit, channel_tick_interval, 1000).",
    ]);
    let bench = Bench::at(&node.url()).await;
    let mut intake = bench.intake(2).await;
    let client = bench.client().await;
    for job in 0..2 {
        client
            .send(&format!("job-{job}"), b"{}", Lane::Bulk)
            .await
            .unwrap();
    }
    let (held, other) = (next(&mut intake).await, next(&mut intake).await);
    let announced = held.publish(&event("job-0")).await.unwrap();
    // Until 4.0 the broker closes the channel, from 4.3 on it cancels the consumer.
    let mut why = String::new();
    until(&intake, |state| match state {
        State::Down(said) => {
            why.clone_from(said);
            true
        }
        State::Up => false,
    })
    .await;
    println!("{why}");
    assert!(
        why.contains("timed out") || why.contains("consumer_timeout"),
        "{why}"
    );
    let mut intake = up(intake).await;
    let mut state = intake.state();
    state.borrow_and_update();
    let late = held.ack(announced).await.unwrap_err().chain();
    println!("{late}");
    drop(other);
    let mut seen = BTreeSet::new();
    for _ in 0..2 {
        let delivery = next(&mut intake).await;
        assert!(delivery.redelivered);
        seen.insert(delivery.message_id.clone().unwrap());
        finish(delivery, "again").await;
    }
    assert_eq!(
        seen,
        BTreeSet::from(["job-0".to_owned(), "job-1".to_owned()])
    );
    nothing_comes(&mut intake).await;
    assert!(
        !state.has_changed().unwrap(),
        "the new session was not to end"
    );
    client.close().await;
    intake.close().await;
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledgement_of_a_lost_channel_is_forgotten() {
    let bench = Bench::new().await;
    let mut intake = bench.intake(2).await;
    let client = bench.client().await;
    client.send("job", b"{}", Lane::Bulk).await.unwrap();
    let held = next(&mut intake).await;
    let announced = held.publish(&event("job")).await.unwrap();
    // The other lane's queue goes, and with it the session.
    let urgent = bench.name("jobs.urgent");
    let gone = bench
        .channel
        .queue_delete(urgent.as_str().into(), QueueDeleteOptions::default());
    gone.await.unwrap();
    until(&intake, |state| *state != State::Up).await;
    let mut intake = up(intake).await;
    let mut state = intake.state();
    state.borrow_and_update();
    let again = next(&mut intake).await;
    // Its delivery tag may well be one of the new channel's.
    let late = held.ack(announced).await.unwrap_err().chain();
    println!("{late}");
    sleep(Duration::from_millis(500)).await;
    assert!(
        !state.has_changed().unwrap(),
        "the new session was not to end"
    );
    assert!(again.redelivered);
    finish(again, "job").await;
    nothing_comes(&mut intake).await;
    client.close().await;
    intake.close().await;
    assert_eq!(bench.ready("jobs.bulk").await, 0);
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_with_other_arguments_ends_the_worker_with_3_and_both_values() {
    let bench = Bench::new().await;
    let queue = bench.name("jobs.bulk");
    bench.client().await.close().await;
    let gone = bench
        .channel
        .queue_delete(queue.as_str().into(), QueueDeleteOptions::default());
    gone.await.unwrap();
    let mut arguments = FieldTable::default();
    let text = |value: &str| AMQPValue::LongString(value.into());
    for (name, value) in [
        ("x-queue-type", text("quorum")),
        ("x-overflow", text("reject-publish")),
        ("x-dead-letter-exchange", text(&bench.name("dlx"))),
        ("x-dead-letter-strategy", text("at-least-once")),
        ("x-dead-letter-routing-key", text("dead")),
        ("x-delivery-limit", AMQPValue::LongInt(3)),
        ("x-max-length", AMQPValue::LongInt(1_000_000)),
    ] {
        arguments.insert(name.into(), value);
    }
    let options = QueueDeclareOptions::durable();
    bench
        .channel
        .queue_declare(queue.as_str().into(), options, arguments)
        .await
        .unwrap();
    for command in [&["worker"][..], &["dead", "list"]] {
        let output = banshi(&bench.settings, command);
        assert_eq!(output.status.code(), Some(3), "{}", said(&output));
        let said = said(&output);
        println!("{said}");
        assert_says(
            &said,
            &[&queue, "x-delivery-limit", "'10'", "'3'", "delete_queue"],
        );
    }
    bench.end().await;
}

/// Sixteen jobs that reach their publish together.
async fn sixteen_at_once(intake: &mut Intake, client: &mut Client) {
    for job in 0..16 {
        let id = format!("job-{job}");
        client.send(&id, b"{}", Lane::Bulk).await.unwrap();
    }
    let mut held = Vec::new();
    for _ in 0..16 {
        held.push(next(intake).await);
    }
    let mut together = tokio::task::JoinSet::new();
    for delivery in held {
        together.spawn(async move {
            let announced = delivery.publish(&event("job")).await?;
            delivery.ack(announced).await
        });
    }
    let mut failed = Vec::new();
    while let Some(done) = together.join_next().await {
        failed.extend(done.unwrap().err().map(|outage| outage.chain()));
    }
    failed.dedup();
    assert!(failed.is_empty(), "{failed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_few_channels_jobs_wait_for_each_other_and_no_session_is_lost() {
    let Some(node) = Node::new() else { return };
    // Of which lapin keeps one, and a command one for its questions.
    node.configure("channel_max = 8\n");
    node.start();
    let bench = Bench::at(&node.url()).await;
    let mut intake = bench.intake(16).await;
    let mut state = intake.state();
    state.borrow_and_update();
    let mut client = bench.client().await;
    for _ in 0..3 {
        sixteen_at_once(&mut intake, &mut client).await;
    }
    assert!(!state.has_changed().unwrap(), "the session was not to end");
    assert_eq!(intake.pending().await.unwrap(), 0);
    client.close().await;
    intake.close().await;
    bench.ready_is("events.log", 48).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_users_limit_of_channels_is_named_and_kept_to_once_it_is_known() {
    let Some(node) = Node::new() else { return };
    node.start();
    let bench = Bench::at(&node.url()).await;
    let mut intake = bench.intake(16).await;
    let client = bench.client().await;
    // One is the bench's, two are the consumers', two the command's.
    node.ctl(&["set_user_limits", "guest", r#"{"max-channels": 9}"#]);
    for job in 0..16 {
        let id = format!("job-{job}");
        client.send(&id, b"{}", Lane::Bulk).await.unwrap();
    }
    let mut sessions = intake.state();
    let lost = tokio::spawn(async move {
        let mut lost = Vec::new();
        while sessions.changed().await.is_ok() {
            if let State::Down(why) = &*sessions.borrow_and_update() {
                lost.push(why.clone());
            }
        }
        lost
    });
    let mut left = 16;
    let mut together = tokio::task::JoinSet::new();
    while left > 0 {
        tokio::select! {
            // Each session that is lost waits longer than the one before.
            delivery = timeout(4 * SOON, intake.next()) => {
                let delivery = delivery.expect("a job in time").unwrap().unwrap();
                together.spawn(async move {
                    // They reach their publish together.
                    sleep(Duration::from_millis(300)).await;
                    let announced = delivery.publish(&event("job")).await?;
                    delivery.ack(announced).await
                });
            }
            Some(done) = together.join_next() => left -= usize::from(done.unwrap().is_ok()),
        }
    }
    client.close().await;
    intake.close().await;
    let lost = lost.await.unwrap();
    println!("{lost:#?}");
    let named = lost
        .iter()
        .filter(|why| why.contains("maximum allowed user limit"));
    let named: Vec<_> = named.collect();
    assert!((1..=4).contains(&named.len()), "{lost:?}");
    for part in ["set_user_limits", "clear_user_limits", "max-channels"] {
        assert!(named[0].contains(part), "{part} is not in: {}", named[0]);
    }
    assert_eq!(bench.ready("dead").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_of_queues_is_said_as_what_it_is() {
    let Some(node) = Node::new() else { return };
    node.start();
    node.ctl(&["set_vhost_limits", r#"{"max-queues": 3}"#]);
    let bench = Bench::at(&node.url()).await;
    let output = banshi(&bench.settings, &["dead", "list"]);
    assert_eq!(output.status.code(), Some(3));
    let said = said(&output);
    println!("{said}");
    assert_says(
        &said,
        &[
            "queue limit in vhost",
            &bench.name("dead"),
            "set_vhost_limits",
            "clear_vhost_limits",
        ],
    );
    for not in ["other arguments", "delete_queue"] {
        assert!(!said.contains(not), "{said}");
    }
    node.ctl(&["clear_vhost_limits"]);
    let output = banshi(&bench.settings, &["dead", "list"]);
    assert_eq!(output.status.code(), Some(0));
}

/// A policy for every queue, as administrators of shared brokers make them.
#[tokio::test(flavor = "multi_thread")]
async fn a_length_that_a_policy_sets_refuses_and_drops_nothing() {
    let Some(node) = Node::new() else { return };
    node.start();
    let bench = Bench::at(&node.url()).await;
    let mut intake = bench.intake(10).await;
    let client = bench.client().await;
    let channel = &bench.channel;
    channel.confirm_select(Default::default()).await.unwrap();
    for (set, clear) in [
        ("set_policy", "clear_policy"),
        ("set_operator_policy", "clear_operator_policy"),
    ] {
        let policy = r#"{"max-length": 3}"#;
        node.ctl(&[
            set,
            "short",
            "(dead|unrouted)$",
            policy,
            "--apply-to",
            "queues",
        ]);
        sleep(Duration::from_secs(1)).await;

        // Who sends to no lane is told.
        let mut taken = 0;
        for job in 0..8 {
            let id = format!("{set}-{job}");
            let properties = BasicProperties::default().with_message_id(id.as_str().into());
            let (exchange, none) = (bench.name("jobs"), BasicPublishOptions::default());
            let (exchange, key) = (exchange.as_str().into(), "Bulk".into());
            let sent = channel.basic_publish(exchange, key, none, b"{}", properties);
            let confirmed = sent.await.unwrap().await.unwrap();
            taken += usize::from(confirmed.is_ack());
        }
        assert!((3..8).contains(&taken), "{taken} of 8");
        assert_eq!(bench.ready("unrouted").await as usize, taken);

        // A worker holds what the dead queue does not take, until it does.
        let mut dead_lettering = tokio::task::JoinSet::new();
        for job in 0..8 {
            let id = format!("{set}-{job}");
            client.send(&id, b"no", Lane::Bulk).await.unwrap();
        }
        for _ in 0..8 {
            let delivery = next(&mut intake).await;
            dead_lettering.spawn(async move {
                let announced = delivery.publish(&event("x")).await.unwrap();
                let reason = Reason {
                    code: "E-JSON".to_owned(),
                    message: "no JSON".to_owned(),
                    event: "report.rejected",
                };
                let dead_lettered = delivery.dead_letter(announced, &reason).await.unwrap();
                delivery.ack(dead_lettered).await.unwrap();
            });
            // One after the other, by one channel: each has one message in advance.
            sleep(Duration::from_millis(300)).await;
        }
        sleep(Duration::from_secs(3)).await;
        let early = std::iter::from_fn(|| dead_lettering.try_join_next()).count();
        assert!((3..8).contains(&early), "{early} of 8");
        assert_eq!(bench.ready("dead").await as usize, early);
        node.ctl(&[clear, "short"]);
        while let Some(done) = timeout(SOON, dead_lettering.join_next())
            .await
            .expect("in time")
        {
            done.unwrap();
        }
        bench.ready_is("dead", 8).await;
        for queue in ["dead", "unrouted"] {
            let queue = bench.name(queue);
            let purged = channel.queue_purge(queue.as_str().into(), Default::default());
            purged.await.unwrap();
        }
    }
    client.close().await;
    intake.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_node_of_several_will_do() {
    let bench = Bench::new().await;
    let (one, other) = (Proxy::new(PASS).await, Proxy::new(RESET).await);
    let host = |url: &str| {
        let uri: AMQPUri = url.parse().unwrap();
        format!("127.0.0.1:{}", uri.authority.port)
    };
    let both = format!("{},{}", host(&one.url), host(&other.url));
    let settings = config::Queue {
        url: one.url.replace(&host(&one.url), &both),
        ..bench.settings.clone()
    };
    println!("{}", settings.url);
    for _ in 0..8 {
        // Whichever is tried first.
        Client::open(&settings).await.unwrap().close().await;
    }
    let mut intake = up(Intake::open(&settings, 2).await.unwrap()).await;
    for (gone, there) in [(&one, &other), (&other, &one)] {
        there.set(PASS);
        gone.set(RESET);
        until(&intake, |state| *state != State::Up).await;
        intake = up(intake).await;
        let client = Client::open(&settings).await.unwrap();
        client.send("job", b"{}", Lane::Bulk).await.unwrap();
        finish(next(&mut intake).await, "job").await;
        client.close().await;
    }
    intake.close().await;

    // Each is named, and why, without the password.
    let settings = config::Queue {
        url: "amqp://u:s3cr3t@127.0.0.1:1,localhost:2/v".to_owned(),
        ..bench.settings.clone()
    };
    let said = Client::open(&settings).await.unwrap_err().chain();
    println!("{said}");
    assert_says(
        &said,
        &[
            "no node",
            "amqp://u@127.0.0.1:1/v",
            "amqp://u@localhost:2/v",
            "refused",
        ],
    );
    assert!(!said.contains("s3cr3t"), "{said}");
    let intake = Intake::open(&settings, 2).await.unwrap();
    let State::Down(said) = intake.state().borrow().clone() else {
        panic!("nobody is there")
    };
    assert!(
        said.contains("amqp://u@127.0.0.1:1,localhost:2/v"),
        "{said}"
    );
    intake.close().await;
    // What one says of the user holds for all, whatever is wrong with the others.
    let url = bench
        .settings
        .url
        .replace("guest:guest@", "guest:s3cr3t@127.0.0.1:1,");
    let settings = config::Queue {
        url,
        ..bench.settings.clone()
    };
    let mut intake = Intake::open(&settings, 2).await.unwrap();
    let said = timeout(SOON, intake.next()).await.expect("it gives up");
    let said = said.unwrap_err().chain();
    assert_says(&said, &["127.0.0.1:1/", "refuses the user"]);
    assert!(!said.contains("s3cr3t"), "{said}");
    intake.close().await;
    for wrong in [
        "amqp://u:s3cr3t@one:5672,,two/v",
        "amqp://u:s3cr3t@one,[::1]:5672/v",
        "amqp://u:s3cr3t@one:port,two/v",
    ] {
        let settings = config::Queue {
            url: wrong.to_owned(),
            ..bench.settings.clone()
        };
        let said = Client::open(&settings).await.unwrap_err().chain();
        println!("{said}");
        assert!(
            said.contains("queue.url") && !said.contains("s3cr3t"),
            "{said}"
        );
    }
    bench.end().await;
}

//! A small worker made of the library's parts, in four kinds: one that is right, and three that
//! break the order of things where a hurried programmer would. The judge must see the difference
//! under the same faults. None of this is in the shipped program.

use std::collections::BTreeMap;
use std::time::Duration;

use banshi::config::Settings;
use banshi::digest::sha256;
use banshi::event::{self, Event};
use banshi::job::{self, Job};
use banshi::store::{Artifact, Content, FontFacts, Key, Manifest, Store, TemplateFacts};
use banshi::typesetter::{self, Manuscript, Pdf, Typesetter};
use clap::ValueEnum;
use futures_util::StreamExt as _;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;

/// How it is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Fault {
    /// Not at all.
    None,
    /// The job is acknowledged as soon as it is read.
    AckBeforeStore,
    /// The event is published as soon as the PDF is made.
    EventBeforeStore,
    /// The event's confirm is not waited for.
    NoConfirm,
}

/// Works until SIGTERM; ends in a panic when the connection does, and is then started anew.
pub async fn work(fault: Fault) {
    let settings = Settings::load(&[], std::env::vars()).expect("the settings");
    let typesetter = Typesetter::load(&settings).expect("a typesetter");
    let editions = typesetter.editions();
    let store = Store::open(&settings.store).expect("a store");
    let (_consume, jobs) = connect(&settings, "consume").await;
    let (_publish, events) = connect(&settings, "publish").await;
    if fault != Fault::NoConfirm {
        let confirms = events.confirm_select(ConfirmSelectOptions::default());
        confirms.await.expect("confirms");
    }
    let limited = jobs.basic_qos(4, BasicQosOptions::default());
    limited.await.expect("a limit");
    let consume = async |lane: &str| {
        let queue = format!("{}.jobs.{lane}", settings.queue.prefix);
        let (options, none) = (BasicConsumeOptions::default(), FieldTable::default());
        let consumer = jobs.basic_consume(queue.into(), lane.into(), options, none);
        consumer.await.expect("a consumer")
    };
    // Nothing comes by the urgent lane here.
    let (_urgent, mut consumer) = (consume("urgent").await, consume("bulk").await);
    println!("broken: jobs can come in");

    let mut term = signal(SignalKind::terminate()).expect("a signal");
    loop {
        let delivery = tokio::select! {
            _ = term.recv() => return,
            delivery = consumer.next() => delivery.expect("a connection").expect("a delivery"),
        };
        let ack = || async {
            let done = delivery.acker.ack(BasicAckOptions::default());
            assert!(done.await.expect("a connection"), "the channel has ended");
        };
        let job = job::read(&delivery.data, None, &settings.limits, &editions).expect("a good job");
        if fault == Fault::AckBeforeStore {
            ack().await;
        }
        let key = Key::new(&job.template, job.report().year(), &job.id);
        let pdf = typesetter.typeset(&Manuscript::of(&job)).expect("a PDF");
        let manifest = manifest(&settings, &typesetter, &store, &key, &job, &pdf);
        let exchange = format!("{}.events", settings.queue.prefix);
        if fault == Fault::EventBeforeStore {
            publish(&events, &exchange, &Event::completed(&manifest), true).await;
        }
        let stored = store
            .put(&key, &pdf.bytes, &[], manifest)
            .await
            .expect("it is stored");
        if fault != Fault::EventBeforeStore {
            let event = Event::completed(stored.manifest());
            publish(&events, &exchange, &event, fault != Fault::NoConfirm).await;
        }
        if fault != Fault::AckBeforeStore {
            ack().await;
        }
    }
}

async fn connect(settings: &Settings, role: &str) -> (Connection, Channel) {
    let name =
        ConnectionProperties::default().with_connection_name(format!("worker {role}").into());
    let connection = Connection::connect(&settings.queue.url, name)
        .await
        .expect("a connection");
    let channel = connection.create_channel().await.expect("a channel");
    (connection, channel)
}

async fn publish(channel: &Channel, exchange: &str, event: &Event, wait: bool) {
    let properties = BasicProperties::default().with_delivery_mode(2);
    let (key, options) = (event.routing_key.as_str(), BasicPublishOptions::default());
    let body = event.structured();
    let sent = channel.basic_publish(exchange.into(), key.into(), options, &body, properties);
    let confirm = sent.await.expect("a connection");
    if wait {
        let answer = timeout(Duration::from_secs(10), confirm).await;
        let answer = answer.expect("an answer").expect("a connection");
        assert!(matches!(answer, Confirmation::Ack(None)), "{answer:?}");
    }
}

fn manifest(
    settings: &Settings,
    typesetter: &Typesetter,
    store: &Store,
    key: &Key,
    job: &Job,
    pdf: &Pdf,
) -> Manifest {
    let edition = typesetter
        .templates()
        .edition(&job.template)
        .expect("it was read for it");
    let report = job.report();
    Manifest {
        job_id: job.id.clone(),
        job: Content {
            sha256: job.identity.sha256.clone(),
            bytes: job.bytes,
        },
        template: TemplateFacts {
            name: edition.name.clone(),
            version: edition.version.clone(),
            sha256: edition.sha256.clone(),
        },
        agency: report.author().to_owned(),
        year: report.year(),
        title: typesetter::title(report),
        artifact: Artifact {
            uri: store.uri(&store.pdf(key)),
            media_type: "application/pdf".to_owned(),
            sha256: sha256(&pdf.bytes),
            bytes: pdf.bytes.len() as u64,
            pages: pdf.pages,
            standard: typesetter::STANDARD.to_owned(),
        },
        companions: Vec::new(),
        uri: store.uri(&store.manifest(key)),
        fonts: FontFacts {
            embedded: pdf.fonts.clone(),
            sha256: typesetter.fonts().sha256().to_owned(),
            rare: pdf.rare.clone(),
        },
        warnings: Manifest::warnings(job.report.warnings()),
        engine: typesetter::ENGINE.to_owned(),
        product: banshi::PRODUCT.to_owned(),
        source: settings.events.source.clone(),
        completed_at: event::now(),
    }
}

/// The program that such a worker is: this one, with another argument.
pub fn command(fault: Fault, environment: &BTreeMap<String, String>) -> std::process::Command {
    let mut command = std::process::Command::new("/proc/self/exe");
    let name = fault.to_possible_value().expect("it has a name");
    command
        .args(["--broken", name.get_name()])
        .envs(environment);
    command
}

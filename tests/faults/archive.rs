//! The archive: hears every event, as whoever keeps the reports does.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt as _;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicQosOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::judge::ReceivedEvent;
use crate::node::{ANSWER, Line, Node, connect};
use crate::store_view::StoreView;

/// What hears every event: a quorum queue, which outlives its broker's crashes, and a consumer
/// that notes each event before it acknowledges it.
pub struct Archive {
    heard: Arc<Mutex<Vec<ReceivedEvent>>>,
    deaf: watch::Sender<bool>,
    hearing: JoinHandle<()>,
}

impl Archive {
    pub async fn open(node: &Arc<Node>, prefix: &str, store_view: StoreView) -> Archive {
        let (queue, exchange) = (format!("{prefix}.heard"), format!("{prefix}.events"));
        let line = node.line().await;
        let mut arguments = FieldTable::default();
        arguments.insert(
            "x-queue-type".into(),
            AMQPValue::LongString("quorum".into()),
        );
        line.channel
            .queue_declare(
                queue.as_str().into(),
                QueueDeclareOptions::durable(),
                arguments,
            )
            .await
            .expect("a queue");
        let (bind, none) = (QueueBindOptions::default(), FieldTable::default());
        line.channel
            .queue_bind(
                queue.as_str().into(),
                exchange.into(),
                "#".into(),
                bind,
                none,
            )
            .await
            .expect("a binding");
        let heard = Arc::new(Mutex::new(Vec::new()));
        let deaf = watch::Sender::new(false);
        let hearing = hear(
            node.url(),
            queue,
            store_view,
            Arc::clone(&heard),
            deaf.subscribe(),
        );
        Archive {
            heard,
            deaf,
            hearing: tokio::spawn(hearing),
        }
    }

    pub fn heard(&self) -> Vec<ReceivedEvent> {
        self.heard.lock().expect("it is whole").clone()
    }

    /// Notes what was heard by another way, unless it was heard already.
    pub async fn add(&self, body: &[u8], store_view: &StoreView) {
        note(body, true, store_view, &self.heard).await;
    }

    /// The ids of what was heard.
    pub fn ids(&self) -> BTreeSet<String> {
        let heard = self.heard.lock().expect("it is whole");
        heard
            .iter()
            .filter_map(|event| event_id(&event.body))
            .collect()
    }

    /// How much was heard.
    pub fn count(&self) -> usize {
        self.heard.lock().expect("it is whole").len()
    }

    /// Whether an event was heard.
    pub fn has(&self, id: &str) -> bool {
        // The latest first: that is where one looks for it.
        let heard = self.heard.lock().expect("it is whole");
        heard
            .iter()
            .rev()
            .any(|event| event_id(&event.body).as_deref() == Some(id))
    }

    /// Hears nothing for a while; the queue fills.
    pub fn deafen(&self, deaf: bool) {
        self.deaf.send_replace(deaf);
    }

    pub fn close(&self) {
        self.hearing.abort();
    }
}

/// Hears until it is told to stop, over as many connections as it takes.
async fn hear(
    url: String,
    queue: String,
    store_view: StoreView,
    heard: Arc<Mutex<Vec<ReceivedEvent>>>,
    mut deaf: watch::Receiver<bool>,
) {
    loop {
        if deaf.wait_for(|deaf| !deaf).await.is_err() {
            return;
        }
        if let Ok(line) = connect(&url).await {
            tokio::select! {
                () = hear_once(&line, &queue, &store_view, &heard) => {}
                _ = deaf.changed() => {}
            }
        }
        sleep(Duration::from_millis(100)).await;
    }
}

async fn hear_once(
    line: &Line,
    queue: &str,
    store_view: &StoreView,
    heard: &Mutex<Vec<ReceivedEvent>>,
) {
    let consuming = async {
        let limit = BasicQosOptions::default();
        line.channel.basic_qos(100, limit).await?;
        let (options, none) = (BasicConsumeOptions::default(), FieldTable::default());
        let consumer = line
            .channel
            .basic_consume(queue.into(), "archive".into(), options, none);
        consumer.await
    };
    let Ok(Ok(mut consumer)) = timeout(ANSWER, consuming).await else {
        return;
    };
    while let Some(Ok(delivery)) = consumer.next().await {
        note(&delivery.data, delivery.redelivered, store_view, heard).await;
        let acknowledged = delivery.acker.ack(BasicAckOptions::default());
        if !matches!(timeout(ANSWER, acknowledged).await, Ok(Ok(true))) {
            return;
        }
    }
}

async fn note(
    body: &[u8],
    redelivered: bool,
    store_view: &StoreView,
    heard: &Mutex<Vec<ReceivedEvent>>,
) {
    let stored_when_heard = store_view.holds_what_is_published(body).await;
    let mut heard = heard.lock().expect("it is whole");
    // One that we had heard before our connection was cut is not counted twice for that.
    if redelivered && heard.iter().any(|event| event.body == body) {
        return;
    }
    heard.push(ReceivedEvent {
        stored_when_heard,
        body: body.to_vec(),
    });
}

fn event_id(body: &[u8]) -> Option<String> {
    let event: Value = serde_json::from_slice(body).ok()?;
    Some(event["id"].as_str()?.to_owned())
}

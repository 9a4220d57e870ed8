//! The sender: an upstream system that keeps what it sends until the broker has confirmed it.

use std::time::Duration;

use lapin::options::BasicPublishOptions;
use lapin::{BasicProperties, Channel, Confirmation};
use tokio::time::{sleep, timeout};

use crate::letters::Letter;
use crate::node::{ANSWER, connect};

/// Publishes on their way at once.
const WINDOW: usize = 100;

/// Sends every letter until it is confirmed, as a sender with an outbox does.
pub async fn publish(url: &str, exchange: &str, letters: &[Letter], pause: Duration) {
    let mut waiting: Vec<&Letter> = letters.iter().collect();
    while !waiting.is_empty() {
        if let Ok(line) = connect(url).await {
            waiting = publish_once(&line.channel, exchange, waiting, pause).await;
        }
        if !waiting.is_empty() {
            sleep(Duration::from_millis(200)).await;
        }
    }
}

/// Sends over one connection, and gives what was not confirmed.
async fn publish_once<'a>(
    channel: &Channel,
    exchange: &str,
    letters: Vec<&'a Letter>,
    pause: Duration,
) -> Vec<&'a Letter> {
    let window = if pause.is_zero() { WINDOW } else { 1 };
    let mut letters = letters.into_iter();
    loop {
        let batch: Vec<&Letter> = letters.by_ref().take(window).collect();
        if batch.is_empty() {
            return Vec::new();
        }
        let mut confirms = Vec::new();
        for letter in &batch {
            let mut properties = BasicProperties::default()
                .with_content_type("application/json".into())
                .with_delivery_mode(2);
            if let Some(reply_to) = &letter.reply_to {
                properties = properties.with_reply_to(reply_to.as_str().into());
            }
            let lane = letter.lane.as_str();
            let options = BasicPublishOptions::default();
            let sent = channel.basic_publish(
                exchange.into(),
                lane.into(),
                options,
                &letter.body,
                properties,
            );
            confirms.push(timeout(ANSWER, sent).await);
        }
        let mut left = Vec::new();
        for (letter, sent) in batch.iter().zip(confirms) {
            let confirmed = match sent {
                Ok(Ok(confirm)) => {
                    let answer = timeout(ANSWER, confirm).await;
                    matches!(answer, Ok(Ok(Confirmation::Ack(None))))
                }
                _ => false,
            };
            if !confirmed {
                left.push(*letter);
            }
        }
        if !left.is_empty() {
            left.extend(letters);
            return left;
        }
        sleep(pause).await;
    }
}

//! Asking how long queues are.
//!
//! Takes a queue's name, gives what is ready in it. A refusal closes its channel, which is therefore
//! nobody else's; one that is well is kept for the next question. If we crash here, nothing has
//! changed.

use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use lapin::{Channel, Connection};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::broker::{answered, silence};
use super::properties::short;
use crate::problem::Outage;
use crate::timing::ANSWER;

/// The channel for questions, one at a time.
#[derive(Debug, Default)]
pub(super) struct Questions(Mutex<Option<Channel>>);

impl Questions {
    /// Messages that are ready in a queue, or the broker's refusal.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub(super) async fn ready(
        &self,
        connection: &Connection,
        queue: &str,
    ) -> Result<lapin::Result<u64>, Outage> {
        let mut slot = self.0.lock().await;
        let channel = match slot.take() {
            Some(channel) if channel.status().connected() => channel,
            _ => answered("a channel", connection.create_channel()).await?,
        };
        let options = QueueDeclareOptions {
            passive: true,
            ..Default::default()
        };
        let asked = channel.queue_declare(short(queue), options, FieldTable::default());
        let found = timeout(ANSWER, asked).await;
        let found = found.map_err(|_| silence(&about(queue)))?;
        if found.is_ok() {
            *slot = Some(channel);
        }
        Ok(found.map(|found| u64::from(found.message_count())))
    }
}

/// What is asked of a queue, for errors.
pub(super) fn about(queue: &str) -> String {
    format!("the length of queue {queue}")
}

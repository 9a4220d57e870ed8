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

use super::broker::{answered, outage, silence};
use super::lane::is_forbidden;
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

/// What a queue's length is; none, where the broker does not tell this user. From 4.3 on it tells
/// only who has some permission for the queue.
pub(super) fn told(queue: &str, asked: lapin::Result<u64>) -> Result<Option<u64>, Outage> {
    match asked {
        Ok(ready) => Ok(Some(ready)),
        Err(error) if is_forbidden(&error) => Ok(None),
        Err(error) => Err(outage(about(queue), error)),
    }
}

/// What is asked of a queue, for errors.
fn about(queue: &str) -> String {
    format!("the length of queue {queue}")
}

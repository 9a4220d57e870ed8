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
use super::topology::is_missing;
use crate::problem::Outage;
use crate::timing::ANSWER;

/// The channel for questions, one at a time.
#[derive(Debug, Default)]
pub(super) struct Questions(Mutex<Option<Channel>>);

impl Questions {
    /// Messages that are ready in these queues together; none, where the broker does not tell this
    /// user of each: from 4.3 on it tells only who has some permission for the queue. Where one may
    /// be missing, it holds nothing.
    ///
    /// # Errors
    /// When the broker does not answer, or a queue is missing that may not be.
    pub(super) async fn count(
        &self,
        connection: &Connection,
        queues: Vec<String>,
        may_be_missing: bool,
    ) -> Result<Option<u64>, Outage> {
        let mut ready = Some(0);
        for queue in queues {
            let found = match self.ready(connection, &queue).await? {
                Ok(found) => Some(found),
                Err(error) if is_forbidden(&error) => None,
                Err(error) if may_be_missing && is_missing(&error) => Some(0),
                Err(error) => return Err(outage(about(&queue), error)),
            };
            ready = ready.zip(found).map(|(ready, found)| ready + found);
        }
        Ok(ready)
    }

    /// Messages that are ready in a queue, or the broker's refusal.
    async fn ready(
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
fn about(queue: &str) -> String {
    format!("the length of queue {queue}")
}

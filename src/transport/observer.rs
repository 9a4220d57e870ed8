//! Whoever only looks: what has become of jobs, what waits, and how the workers are.
//!
//! Takes the settings, gives entries of the events' log, depths, and the workers' own words. Never
//! takes a job out, and nothing waits for it. If we crash here, nobody misses us: the log is read
//! again from wherever one likes.

use futures_util::FutureExt as _;

use super::{Depths, amqp, spool};
use crate::config;
use crate::problem::Outage;

/// Where to begin with the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// A little before this time, in seconds since 1970.
    Time(u64),
    /// With this offset.
    Offset(u64),
}

/// An event in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it is: the offset in the stream; of a spool, when its file was written, in
    /// nanoseconds since 1970.
    pub offset: u64,
    /// Its routing key, `TYPE.NAME`; empty in a spool.
    pub routing_key: String,
    /// The CloudEvent, structured JSON.
    pub event: Vec<u8>,
}

/// The eye on a broker or a spool.
#[derive(Debug)]
pub enum Observer {
    /// RabbitMQ.
    Amqp(amqp::Observer),
    /// A folder.
    Spool(spool::Observer),
}

impl Observer {
    /// Connects, once.
    ///
    /// # Errors
    /// When the broker is not there or does not let us in; when there is no such folder.
    pub async fn open(settings: &config::Queue) -> Result<Observer, Outage> {
        match settings.url.strip_prefix("spool:") {
            Some(dir) => Ok(Observer::Spool(spool::Observer::open(dir.as_ref()).await?)),
            None => Ok(Observer::Amqp(amqp::Observer::open(settings).await?)),
        }
    }

    /// Asks what is ready in each kind of queue, or waits in each folder.
    pub fn depths(&self) -> Depths {
        match self {
            Observer::Amqp(observer) => observer.depths(),
            Observer::Spool(observer) => observer.depths(),
        }
    }

    /// The newest event; none, when there is no event.
    ///
    /// # Errors
    /// When the broker or the disk does not say.
    pub async fn newest(&self) -> Result<Option<Entry>, Outage> {
        match self {
            Observer::Amqp(observer) => observer.newest().await,
            Observer::Spool(observer) => observer.newest().await,
        }
    }

    /// The oldest event that a broker keeps, unless it has dropped none yet. A spool drops none.
    ///
    /// # Errors
    /// When the broker does not say.
    pub async fn oldest_after_dropped(&self) -> Result<Option<Entry>, Outage> {
        match self {
            Observer::Amqp(observer) => observer.oldest_after_dropped().await,
            Observer::Spool(_) => Ok(None),
        }
    }

    /// The log of events, which goes on for as long as somebody reads.
    ///
    /// # Errors
    /// When it can't be read.
    pub async fn log(&self, from: From) -> Result<Log, Outage> {
        match self {
            Observer::Amqp(observer) => Ok(Log::Amqp(Box::new(observer.log(from).await?))),
            Observer::Spool(observer) => Ok(Log::Spool(observer.log(from))),
        }
    }

    /// One event, if it is still kept: by its offset, or in a spool by its id.
    ///
    /// # Errors
    /// When the broker or the disk does not say.
    pub async fn event(&self, offset: u64, id: &str) -> Result<Option<Vec<u8>>, Outage> {
        match self {
            Observer::Amqp(observer) => observer.event(offset).await,
            Observer::Spool(observer) => observer.event(id).await,
        }
    }

    /// What workers say of themselves from now on. `None` of a spool.
    ///
    /// # Errors
    /// When the broker does not let us listen.
    pub async fn statuses(&self) -> Result<Option<Statuses>, Outage> {
        match self {
            Observer::Amqp(observer) => Ok(Some(observer.statuses().await?)),
            Observer::Spool(_) => Ok(None),
        }
    }

    /// The workers of a spool, and how many jobs each holds. Those of a broker tell it themselves.
    ///
    /// # Errors
    /// When the disk does not say.
    pub async fn holders(&self) -> Result<Vec<(String, u64)>, Outage> {
        match self {
            Observer::Amqp(_) => Ok(Vec::new()),
            Observer::Spool(observer) => observer.holders().await,
        }
    }

    /// Ends the connection.
    pub async fn close(self) {
        match self {
            Observer::Amqp(observer) => observer.close().await,
            Observer::Spool(_) => {}
        }
    }
}

pub use amqp::Statuses;

/// A reader of the log.
#[derive(Debug)]
pub enum Log {
    /// Of a stream.
    Amqp(Box<amqp::Log>),
    /// Of a folder.
    Spool(spool::Log),
}

impl Log {
    /// The next event; waits for it. Cancel safe.
    ///
    /// # Errors
    /// When the connection has ended, or the disk fails.
    pub async fn next(&mut self) -> Result<Entry, Outage> {
        match self {
            Log::Amqp(log) => log.next().await,
            Log::Spool(log) => log.next().await,
        }
    }

    /// The next event, and of those that are there already up to `most` in all. Cancel safe: it waits
    /// for the first alone.
    ///
    /// # Errors
    /// As [`Log::next`].
    pub async fn some(&mut self, most: usize) -> Result<Vec<Entry>, Outage> {
        let mut entries = vec![self.next().await?];
        while entries.len() < most {
            match self.next().now_or_never() {
                Some(entry) => entries.push(entry?),
                None => break,
            }
        }
        Ok(entries)
    }
}

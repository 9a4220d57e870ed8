//! What a user may do at the broker, what the broker says of itself, and how everything stands.
//!
//! Takes a client, gives findings. Changes nothing: each permission is found out by asking for
//! something that the broker refuses in any case, and for want of the permission first. If we
//! crash here, nothing was begun.

use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::time::timeout;

use super::broker::outage;
use super::client::Client;
use super::guard::Server;
use super::session::{ConnectionEvent, connection_events};
use super::topology::Declared;
use crate::problem::{Outage, Part};
use crate::timing::PREPARE;
use crate::transport::Lane;

/// How long the broker may take to say that it takes no messages, after one was sent.
const ALARM: Duration = Duration::from_secs(3);

/// What a user needs a permission for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// To create exchanges and queues: the permission "configure".
    Configure,
    /// To bind queues: "write" on a queue and "read" on its exchange.
    Bind,
    /// To publish: "write" on an exchange.
    Write,
    /// To say how the worker is: "write" on an exchange that it can do without.
    Tell,
    /// To consume: "read" on a queue.
    Read,
}

/// What a user may not do, of what a worker does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permissions {
    /// For what.
    pub of: Use,
    /// How many things were asked for.
    pub asked: usize,
    /// What the user may not, as `queue banshi.jobs.bulk`.
    pub refused: Vec<String>,
}

/// How an exchange or a queue stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// As it must.
    Well,
    /// With the arguments that an earlier version gave it.
    Earlier,
    /// With others, in the broker's words; and whether a migration gives it ours.
    Other {
        /// The broker's words.
        said: String,
        /// Whether `banshi topology migrate` mends it.
        migrates: bool,
    },
    /// Not at all.
    Missing,
    /// Not at all, and a worker does its work without it.
    Spare,
    /// It can't be looked at by this user, in the broker's words.
    Unseen(String),
}

impl Client {
    /// Where the broker is, without the password.
    pub fn address(&self) -> String {
        self.broker.to_string()
    }

    /// The command that gives the user the least that a worker needs with these settings.
    pub fn grant(&self) -> String {
        let prefix = self.broker.topology.name("").replace('.', "\\.");
        let (configure, write, read) = match self.broker.declares() {
            true => (
                format!("^{prefix}.*$"),
                format!("^{prefix}.*$"),
                format!("^{prefix}.*$"),
            ),
            false => (
                "^$".to_owned(),
                format!("^{prefix}(events|retry\\..+|dlx|replies|status)$"),
                format!("^{prefix}jobs\\..+$"),
            ),
        };
        let (vhost, user) = self.broker.whose();
        format!(
            "rabbitmqctl set_permissions -p {} {} '{configure}' '{write}' '{read}'",
            word(vhost),
            word(user)
        )
    }

    /// The virtual host, as one word for a shell.
    pub fn vhost(&self) -> String {
        word(self.broker.whose().0)
    }

    /// Whether what passes is encrypted; and whether the broker is this machine.
    pub fn way(&self) -> (bool, bool) {
        self.broker.way()
    }

    /// What the broker says of itself, if it does.
    pub fn server(&self) -> Option<&Server> {
        self.findings.server()
    }

    /// What the user may not do, of what a worker does with these settings, in the order of
    /// [`Use`].
    ///
    /// # Errors
    /// When the broker does not say.
    pub async fn permissions(&self) -> Result<Vec<Permissions>, Outage> {
        let topology = &self.broker.topology;
        let connection = self.publisher.connection();
        let mut found = Vec::new();
        if self.broker.declares() {
            let (exchanges, queues) = topology.size();
            let refused = topology.undeclarable(connection);
            found.push(Permissions {
                of: Use::Configure,
                asked: exchanges + queues,
                refused: self.asked(refused).await?,
            });
            let refused = topology.unbindable(connection);
            found.push(Permissions {
                of: Use::Bind,
                asked: queues,
                refused: self.asked(refused).await?,
            });
        }
        let exchanges = ["events", "dlx", "replies"].map(|name| topology.name(name));
        let exchanges = exchanges.into_iter().chain(topology.retries());
        found.push(self.writes(Use::Write, exchanges).await);
        let status = [topology.name("status")];
        found.push(self.writes(Use::Tell, status.into_iter()).await);
        let lanes = Lane::ALL.map(|lane| topology.lane(lane));
        let asked = lanes.len();
        let refused = topology.unreadable(lanes.into_iter(), connection);
        found.push(Permissions {
            of: Use::Read,
            asked,
            refused: self.asked(refused).await?,
        });
        Ok(found)
    }

    /// Why the broker takes no messages, while it takes none (an alarm of memory or disk). It says
    /// so only to who publishes: a message that no exchange takes is sent to find out. After that
    /// nothing else can be asked of this connection.
    pub async fn blocked(&self) -> Option<String> {
        let connection = self.publisher.connection();
        let mut events = connection_events(connection, true);
        let replies = self.broker.topology.name("replies");
        let alarm = async {
            loop {
                match events.next().await {
                    Some(ConnectionEvent::Blocked(why)) => return Some(why),
                    Some(_) => {}
                    None => return None,
                }
            }
        };
        // The first message in an alarm may be answered yet: only then the broker reads no more.
        let answers = async {
            for _ in 0..2 {
                drop(self.publisher.would_take(&replies).await);
            }
        };
        tokio::select! {
            biased;
            why = timeout(ALARM, alarm) => why.unwrap_or_else(|_| {
                let blocked = connection.status().blocked();
                blocked.then(|| "it does not say why".to_owned())
            }),
            () = answers => None,
        }
    }

    /// How each exchange and queue stands, in the order of the code's table. Changes nothing.
    ///
    /// # Errors
    /// When the broker does not say.
    pub async fn standings(&self) -> Result<Vec<(String, Standing)>, Outage> {
        let topology = &self.broker.topology;
        let found = topology.look(self.publisher.connection());
        let found = self.asked(found).await?;
        let standing = |what: &str, declared| match declared {
            Declared::Equivalent => Standing::Well,
            Declared::Earlier => Standing::Earlier,
            Declared::Inequivalent(said) => Standing::Other {
                said,
                migrates: topology
                    .kept()
                    .any(|queue| what == format!("queue {}", queue.name)),
            },
            Declared::Missing if topology.is_spare(what) => Standing::Spare,
            Declared::Missing => Standing::Missing,
            Declared::AccessRefused(said) => Standing::Unseen(said),
        };
        let found = found.into_iter().map(|(what, declared, _)| {
            let standing = standing(&what, declared);
            (what, standing)
        });
        Ok(found.collect())
    }

    /// Which of these exchanges the user may not publish to.
    async fn writes(&self, of: Use, exchanges: impl Iterator<Item = String>) -> Permissions {
        let (mut asked, mut refused) = (0, Vec::new());
        for name in exchanges {
            asked += 1;
            if let Err(outage) = self.publisher.would_take(&name).await
                && outage.chain().contains("ACCESS_REFUSED")
            {
                refused.push(format!("exchange {name}"));
            }
        }
        Permissions { of, asked, refused }
    }

    /// Waits for the broker's answers, and not for ever.
    async fn asked<T>(
        &self,
        answers: impl Future<Output = Result<T, lapin::Error>>,
    ) -> Result<T, Outage> {
        match timeout(PREPARE, answers).await {
            Ok(found) => found.map_err(|error| {
                let what = format!("RabbitMQ at {} cannot be examined", self.broker);
                outage(what, error)
            }),
            Err(_) => Err(Outage::new(
                Part::Transport,
                format!(
                    "RabbitMQ at {} does not answer within {} s",
                    self.broker,
                    PREPARE.as_secs()
                ),
            )),
        }
    }
}

/// Text as one word for a shell.
fn word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/_-.".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

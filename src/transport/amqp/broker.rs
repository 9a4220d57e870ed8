//! The broker's address, and what its errors mean.
//!
//! Takes the settings, gives connections to a broker on which everything stands. Never shows the
//! password, and never waits for ever. If we crash here, nothing has been taken in yet.

use std::fmt;
use std::future::Future;
use std::slice;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Once};
use std::time::Duration;

use lapin::uri::{AMQPScheme, AMQPUri, SASLMechanism};
use lapin::{Connection, ConnectionProperties, ErrorKind};
use tokio::time::timeout;

use super::guard::{self, Findings};
use super::tls;
use super::topology::{Topology, Unfit};
use crate::config;
use crate::problem::{Outage, Part};
use crate::timing::{ANSWER, CLOSE, CONNECT, PREPARE};

/// Who we are, to the broker and in `app_id`.
pub(super) const PRODUCT: &str = concat!("banshi/", env!("CARGO_PKG_VERSION"));

/// Publishes in flight, each on a channel of its own, where the connection may have as many. A job
/// more waits for one to end.
pub(super) const CHANNELS: usize = 64;
/// The longest prefix: the broker's names have at most 255 bytes, and the prefix is not all.
const PREFIX: usize = 200;

/// Why there is no session.
#[derive(Debug)]
pub(super) enum Fault {
    /// Waiting may mend it.
    Passing(Outage),
    /// Only somebody can: credentials, virtual host, topology.
    Lasting(Outage),
}

impl From<Fault> for Outage {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Passing(outage) | Fault::Lasting(outage) => outage,
        }
    }
}

/// A broker's address, and what must stand there.
#[derive(Debug)]
pub(super) struct Broker {
    /// The address of each node, at least one: all but host and port is the same.
    nodes: Vec<AMQPUri>,
    /// The one that is tried first: the last that let us in, or any, so that workers which start
    /// together are not all at one.
    first: AtomicUsize,
    tls: config::Tls,
    mode: config::Topology,
    /// How long a job may be held.
    pub(super) lease: Duration,
    /// The largest body that is held.
    pub(super) body: usize,
    /// The names.
    pub(super) topology: Topology,
    /// How many channels are used to publish at most; fewer once the user's limit was reached.
    pub(super) channels: Arc<AtomicUsize>,
    /// That a connection may have few channels is logged once.
    pub(super) few_channels: Once,
}

impl Broker {
    /// Reads the address. Bodies of more than `body` bytes are not held.
    pub(super) fn new(settings: &config::Queue, body: usize) -> Result<Broker, Outage> {
        let mut nodes = nodes(&settings.url).map_err(|why| {
            let form = "want amqp://user:password@host:5672/vhost, or \
                        amqp://user:password@host1:5672,host2:5672/vhost";
            Outage::new(
                Part::Transport,
                format!("queue.url is no address: {why}; {form}"),
            )
        })?;
        if settings.prefix.len() > PREFIX {
            let why = format!("queue.prefix is longer than {PREFIX} bytes");
            return Err(Outage::new(Part::Transport, why));
        }
        for node in &mut nodes {
            node.query.heartbeat.get_or_insert(settings.heartbeat);
        }
        Ok(Broker {
            first: AtomicUsize::new(rand::random_range(0..nodes.len())),
            nodes,
            tls: settings.tls.clone(),
            mode: settings.topology,
            lease: Duration::from_secs(settings.lease),
            body,
            topology: Topology::new(&settings.prefix),
            channels: Arc::new(AtomicUsize::new(CHANNELS)),
            few_channels: Once::new(),
        })
    }

    /// Connects to the first node that lets us in, with the guard in between. `role` is in the
    /// connection's name, for whoever looks at the broker.
    pub(super) async fn connect(&self, role: &str) -> Result<(Connection, Findings), Fault> {
        let first = self.first.load(Ordering::Relaxed);
        let mut faults = Vec::new();
        for turn in 0..self.nodes.len() {
            let index = (first + turn) % self.nodes.len();
            match self.connect_to(&self.nodes[index], role).await {
                Ok(guarded) => {
                    self.first.store(index, Ordering::Relaxed);
                    return Ok(guarded);
                }
                Err(fault) => faults.push(fault),
            }
        }
        Err(together(faults))
    }

    /// Connects to one node.
    async fn connect_to(&self, uri: &AMQPUri, role: &str) -> Result<(Connection, Findings), Fault> {
        let name = format!("{} {role}", PRODUCT);
        // No automatic recovery: after a restart of the broker it leaves consumers behind that
        // hold messages and that nobody reads.
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let tls = tls::read(&self.tls).await.map_err(Fault::Lasting)?;
        let connecting = guard::connect(uri.clone(), properties, tls, self.body);
        match timeout(CONNECT, connecting).await {
            Ok(Ok(guarded)) => Ok(guarded),
            Ok(Err(error)) => Err(self.refusal(uri, error)),
            Err(_) => Err(Fault::Passing(Outage::new(
                Part::Transport,
                format!(
                    "RabbitMQ at {} did not answer within {} s",
                    At(slice::from_ref(uri)),
                    CONNECT.as_secs()
                ),
            ))),
        }
    }

    /// What a connection's failure means.
    fn refusal(&self, uri: &AMQPUri, error: lapin::Error) -> Fault {
        let node = At(slice::from_ref(uri));
        if let Some(why) = tls::meaning(&error, &self.tls) {
            let message = format!("no TLS with RabbitMQ at {node}: {why}");
            return Fault::Lasting(outage(message, error));
        }
        let user = &uri.authority.userinfo.username;
        let said = match error.kind() {
            ErrorKind::ProtocolError(refusal) => {
                (refusal.get_id(), refusal.get_message().as_str().to_owned())
            }
            _ => (0, String::new()),
        };
        match said {
            (403, _) if uri.query.auth_mechanism == Some(SASLMechanism::External) => {
                Fault::Lasting(outage(
                    format!(
                        "RabbitMQ at {node} has no user of the name in our certificate. Create it \
                         (rabbitmqctl add_user, clear_password), or check queue.tls.certificate \
                         and the broker's ssl_cert_login_from"
                    ),
                    error,
                ))
            }
            (403, _) => Fault::Lasting(outage(
                format!(
                    "RabbitMQ at {node} refuses the user {user:?} or the password. Check \
                     queue.url, or BANSHI__QUEUE__URL"
                ),
                error,
            )),
            // NOT_ALLOWED is a virtual host that is missing or closed to the user, or a limit of
            // connections, which passes.
            (530, said) if !said.contains("limit") => Fault::Lasting(outage(
                format!(
                    "RabbitMQ at {node} does not let {user:?} into the virtual host {:?}. Create \
                     it (rabbitmqctl add_vhost, set_permissions), or check the end of queue.url, \
                     where the virtual host / is written %2f",
                    uri.vhost
                ),
                error,
            )),
            _ => {
                let start = "Start it, or check queue.url (BANSHI__QUEUE__URL); \"spool:DIR\" \
                             needs no broker";
                let secure = uri.scheme == AMQPScheme::AMQPS;
                let fix = secure.then(|| tls::suspicion(&error, &self.tls)).flatten();
                let fix = fix.as_deref().unwrap_or(start);
                Fault::Passing(outage(
                    format!("cannot reach RabbitMQ at {node}. {fix}"),
                    error,
                ))
            }
        }
    }

    /// Creates or checks what must stand.
    pub(super) async fn prepare(&self, connection: &Connection) -> Result<(), Fault> {
        match timeout(PREPARE, self.topology.ensure(connection, self.mode)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(Unfit::Wrong(lines))) => Err(Fault::Lasting(Outage::new(
                Part::Transport,
                format!("RabbitMQ at {self} is not as it must be:\n{lines}"),
            ))),
            Ok(Err(Unfit::Unknown(error))) => Err(Fault::Passing(outage(
                format!("exchanges and queues cannot be checked at {self}"),
                error,
            ))),
            Err(_) => Err(Fault::Passing(self.silent("exchanges and queues"))),
        }
    }

    /// Creates what must stand, whatever the settings say.
    pub(super) async fn declare(&self, connection: &Connection) -> Result<(), Unfit> {
        let declare = config::Topology::Declare;
        self.topology.ensure(connection, declare).await
    }

    /// The virtual host and the user. A certificate's user is in the certificate.
    pub(super) fn whose(&self) -> (&str, &str) {
        self.nodes.first().map_or(("/", "USER"), |node| {
            let external = node.query.auth_mechanism == Some(SASLMechanism::External);
            let user = match external {
                true => "USER",
                false => node.authority.userinfo.username.as_str(),
            };
            (node.vhost.as_str(), user)
        })
    }

    /// Whether connections are encrypted, and whether every node is this machine.
    pub(super) fn way(&self) -> (bool, bool) {
        let local = |host: &str| host == "localhost" || host.starts_with("127.");
        (
            self.nodes
                .iter()
                .all(|node| node.scheme == AMQPScheme::AMQPS),
            self.nodes.iter().all(|node| local(&node.authority.host)),
        )
    }

    /// Whether the topology is ours to create.
    pub(super) fn declares(&self) -> bool {
        self.mode == config::Topology::Declare
    }

    pub(super) fn silent(&self, what: &str) -> Outage {
        let seconds = PREPARE.as_secs();
        Outage::new(
            Part::Transport,
            format!("{what}: no answer from {self} within {seconds} s"),
        )
    }
}

impl fmt::Display for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        At(&self.nodes).fmt(f)
    }
}

/// The address of some nodes, without the password.
struct At<'a>(&'a [AMQPUri]);

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(AMQPUri {
            scheme,
            authority,
            vhost,
            query,
        }) = self.0.first()
        else {
            return Ok(());
        };
        let vhost = vhost.replace('/', "%2f");
        write!(f, "{scheme}://")?;
        // Otherwise it is the name in the certificate, whatever the address says.
        if query.auth_mechanism != Some(SASLMechanism::External) {
            write!(f, "{}@", authority.userinfo.username)?;
        }
        for (index, AMQPUri { authority, .. }) in self.0.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{}:{}", authority.host, authority.port)?;
        }
        write!(f, "/{vhost}")
    }
}

/// The address of each node that one names: `amqp://user:password@one:5672,two,three/vhost`.
fn nodes(url: &str) -> Result<Vec<AMQPUri>, String> {
    let (scheme, rest) = url.split_once("://").ok_or("there is no ://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, place) = rest.split_at(end);
    let (user, hosts) = authority.split_at(authority.rfind('@').map_or(0, |at| at + 1));
    let mut nodes = Vec::new();
    for host in hosts.split(',').map(str::trim) {
        if host.starts_with('[') {
            // lapin takes such a host for "localhost".
            return Err("an IPv6 address needs a host name here".to_owned());
        }
        if host.is_empty() && hosts.contains(',') {
            return Err("there is a comma, and no host beside it".to_owned());
        }
        let node = format!("{scheme}://{user}{host}{place}");
        // The parser puts the address, and so the password, into some of its errors.
        let parsed = node.parse();
        nodes.push(parsed.map_err(|why: String| why.replace(&node, "…"))?);
    }
    Ok(nodes)
}

/// What the failures at all nodes come to. What one of them says of the user, the virtual host or a
/// certificate only somebody's hand can mend, whatever is wrong with the others.
fn together(mut faults: Vec<Fault>) -> Fault {
    if faults.len() == 1
        && let Some(fault) = faults.pop()
    {
        return fault;
    }
    let lasting = faults.iter().any(|it| matches!(it, Fault::Lasting(_)));
    let mut lines = "no node of RabbitMQ can be used:".to_owned();
    for fault in faults {
        lines.push_str(&format!("\n  {}", plain(&Outage::from(fault))));
    }
    let outage = Outage::new(Part::Transport, lines);
    match lasting {
        true => Fault::Lasting(outage),
        false => Fault::Passing(outage),
    }
}

/// An outage with the broker's or the system's own words as its cause.
pub(super) fn outage(message: impl Into<String>, error: lapin::Error) -> Outage {
    match error.kind() {
        ErrorKind::IOError(cause) => Outage::because(Part::Transport, message, cause.clone()),
        ErrorKind::ProtocolError(refusal) => {
            let said = refusal.get_message().as_str();
            Outage::because(Part::Transport, message, format!("{said}{}", cure(said)))
        }
        _ => Outage::because(Part::Transport, message, error),
    }
}

/// What to do about a limit on the user's channels, all its connections together, which ends the
/// connection that reaches it (RabbitMQ, "Per-User Resource Limits"). It can't be asked for.
pub(super) fn cure(said: &str) -> &'static str {
    match said.contains("channels") && said.contains("user limit") {
        true => {
            "; raise it (rabbitmqctl set_user_limits USER '{\"max-channels\": N}') or clear it \
             (rabbitmqctl clear_user_limits USER max-channels): a worker uses up to 67 channels"
        }
        false => "",
    }
}

/// An outage's chain of causes without the part, for a reason that stands in another sentence.
pub(super) fn plain(outage: &Outage) -> String {
    outage.reason()
}

/// Waits for an answer, and not for ever.
pub(super) async fn answered<T>(
    what: &str,
    answer: impl Future<Output = lapin::Result<T>>,
) -> Result<T, Outage> {
    match timeout(ANSWER, answer).await {
        Ok(result) => result.map_err(|error| outage(what, error)),
        Err(_) => Err(silence(what)),
    }
}

/// That the broker has not answered in time.
pub(super) fn silence(what: &str) -> Outage {
    let seconds = ANSWER.as_secs();
    Outage::new(
        Part::Transport,
        format!("{what}: no answer from the broker within {seconds} s"),
    )
}

/// Ends a connection in order. lapin has a thread for each, which must not outlive the runtime.
pub(super) async fn close(connection: &Connection) {
    // A connection that is gone already, or that does not answer, is closed all the same.
    drop(timeout(CLOSE, connection.close(200, "OK".into())).await);
}

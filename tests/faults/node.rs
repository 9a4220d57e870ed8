//! RabbitMQ nodes that may be killed: each a private one of `tests/tools/broker`, on a port of
//! its own, removed with the value.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use lapin::{Channel, Connection, ConnectionProperties};
use serde_json::Value;
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};

use crate::judge::Depth;
use crate::support::repository;

/// How long a node may take to answer. lapin waits for ever.
pub const ANSWER: Duration = Duration::from_secs(20);

/// A node.
pub struct Node {
    port: u16,
    environment: Vec<(&'static str, String)>,
}

/// A connection of our own, with a channel on which publishes are confirmed.
pub struct Line {
    pub channel: Channel,
    _connection: Connection,
}

impl Node {
    /// Whether RabbitMQ is installed here, so that nodes can be had.
    pub fn can_be_had() -> bool {
        let found = std::process::Command::new(tool_path())
            .arg("where")
            .output();
        found.is_ok_and(|output| output.status.success())
    }

    /// Starts a node on a port, with no data.
    pub async fn start(port: u16) -> Node {
        Node::start_with(port, Vec::new()).await
    }

    /// Another version of RabbitMQ, as `tests/tools/broker install VERSION` has unpacked it.
    pub async fn of_version(port: u16, version: &str) -> Node {
        let version = ("BANSHI_TEST_BROKER_VERSION", version.to_owned());
        Node::start_with(port, vec![version]).await
    }

    /// With lines of `rabbitmq.conf`.
    pub async fn of_conf(port: u16, lines: &str) -> Node {
        Node::of_conf_with(port, lines, Vec::new()).await
    }

    /// The same, with more settings for `tests/tools/broker`.
    pub async fn of_conf_with(
        port: u16,
        lines: &str,
        mut environment: Vec<(&'static str, String)>,
    ) -> Node {
        let folder = repository("target/faults");
        std::fs::create_dir_all(&folder).expect("a folder");
        let conf = folder.join(format!("{port}.conf"));
        std::fs::write(&conf, lines).expect("a file");
        environment.push(("BANSHI_TEST_BROKER_CONF", conf.display().to_string()));
        Node::start_with(port, environment).await
    }

    /// The same, with more settings for `tests/tools/broker`.
    pub async fn start_with(port: u16, environment: Vec<(&'static str, String)>) -> Node {
        let node = Node { port, environment };
        node.renew().await;
        node
    }

    /// Three nodes that are one broker, on ports of their own.
    pub async fn cluster() -> Vec<Arc<Node>> {
        let ports = [5910, 5911, 5912];
        let folder = repository("target/faults/cluster");
        std::fs::create_dir_all(&folder).expect("a folder");
        let conf = folder.join("cluster.conf");
        let mut lines = "cluster_formation.peer_discovery_backend = classic_config\n\
            cluster_formation.target_cluster_size_hint = 3\n\
            cluster_formation.node_type = disc\n"
            .to_owned();
        for (index, port) in ports.iter().enumerate() {
            let number = index + 1;
            lines += &format!(
                "cluster_formation.classic_config.nodes.{number} = banshi-{port}@localhost\n"
            );
        }
        std::fs::write(&conf, lines).expect("a file");
        let node = |port: u16| {
            let environment = vec![
                ("BANSHI_TEST_BROKER_CONF", conf.display().to_string()),
                ("BANSHI_TEST_BROKER_EPMD_PORT", "6910".to_owned()),
                ("BANSHI_TEST_BROKER_COOKIE", "banshi-faults".to_owned()),
            ];
            Arc::new(Node { port, environment })
        };
        let nodes: Vec<Arc<Node>> = ports.into_iter().map(node).collect();
        for node in &nodes {
            node.tool(&["wipe"]).await;
        }
        // At once: each waits for the others.
        futures_util::future::join_all(nodes.iter().map(|node| node.up())).await;
        nodes
    }

    /// Begins anew, with no data, after an experiment that broke off.
    pub async fn renew(&self) {
        self.tool(&["wipe"]).await;
        self.up().await;
    }

    /// Starts it (again), and waits until it accepts connections.
    pub async fn up(&self) {
        self.tool(&["start"]).await;
    }

    /// SIGKILL, as a crash does.
    pub async fn kill(&self) {
        self.tool(&["kill"]).await;
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.port)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `rabbitmqctl`.
    pub async fn ctl(&self, arguments: &[&str]) -> String {
        let mut all = vec!["ctl", "-q"];
        all.extend(arguments);
        self.tool(&all).await
    }

    /// The queues of a prefix, as the node counts them now, by the rest of their names.
    pub async fn queues(&self, prefix: &str) -> BTreeMap<String, Depth> {
        let columns = ["name", "messages_ready", "messages_unacknowledged"];
        let mut arguments = vec!["list_queues", "--formatter", "json"];
        arguments.extend(columns);
        arguments.push("consumers");
        let said = self.ctl(&arguments).await;
        let rows: Vec<Value> = serde_json::from_str(&said).expect("a list of queues");
        let count = |row: &Value, column: &str| row[column].as_u64().unwrap_or(0);
        rows.iter()
            .filter_map(|row| {
                let name = row["name"].as_str()?.strip_prefix(prefix)?;
                let depth = Depth {
                    ready: count(row, columns[1]),
                    unacked: count(row, columns[2]),
                    consumers: count(row, "consumers"),
                };
                Some((name.strip_prefix('.')?.to_owned(), depth))
            })
            .collect()
    }

    /// How long a message may be held, for channels that are opened from now on, which is looked at
    /// every so often: shortened, days become minutes.
    pub async fn hold_for(&self, timeout: Duration, every: Duration) {
        let (timeout, every) = (timeout.as_millis(), every.as_millis());
        let set = format!(
            "application:set_env(rabbit, consumer_timeout, {timeout}), \
             application:set_env(rabbit, channel_tick_interval, {every})."
        );
        self.ctl(&["eval", &set]).await;
    }

    /// As it is by default.
    pub async fn hold_as_ever(&self) {
        self.hold_for(Duration::from_secs(1800), Duration::from_secs(60))
            .await;
    }

    /// What it has logged since it was first started.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder().join("log/node.log")).unwrap_or_default()
    }

    /// A connection of our own; a node that is just starting is waited for.
    pub async fn line(&self) -> Line {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            match connect(&self.url()).await {
                Ok(line) => return line,
                Err(error) => assert!(Instant::now() < deadline, "{}: {error}", self.url()),
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Its data and log.
    fn folder(&self) -> PathBuf {
        repository(&format!("target/faults/broker-{}", self.port))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(tool_path());
        command
            .args(arguments)
            .env("BANSHI_TEST_BROKER_PORT", self.port.to_string())
            .env("BANSHI_TEST_BROKER_DIR", self.folder())
            .env_remove("AMQP_URL")
            .stdin(Stdio::null());
        for (key, value) in &self.environment {
            command.env(key, value);
        }
        command
    }

    async fn tool(&self, arguments: &[&str]) -> String {
        let ran = self.command(arguments).output().await;
        let ran = ran.expect("tests/tools/broker starts");
        assert!(
            ran.status.success(),
            "broker {arguments:?}: {}",
            String::from_utf8_lossy(&ran.stderr)
        );
        String::from_utf8_lossy(&ran.stdout).into_owned()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let ended = self.command(&["wipe"]).into_std().status();
        if !ended.is_ok_and(|status| status.success()) {
            eprintln!("the broker on port {} may still run", self.port);
        }
    }
}

fn tool_path() -> PathBuf {
    repository("tests/tools/broker")
}

/// Connects once, and does not wait for ever: a connection to a node that is killed, or is just
/// starting, may never be answered.
pub async fn connect(url: &str) -> Result<Line, String> {
    let connecting = async {
        let connection = Connection::connect(url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        channel.confirm_select(Default::default()).await?;
        Ok::<_, lapin::Error>(Line {
            channel,
            _connection: connection,
        })
    };
    match timeout(ANSWER, connecting).await {
        Ok(connected) => connected.map_err(|error| error.to_string()),
        Err(_) => Err("no answer".to_owned()),
    }
}

//! A RabbitMQ node of a test's own, for what would disturb the others: other settings, alarms,
//! crashes.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};

use super::deployment::succeeded;

/// The ports that the first node's follow from; `tests/tools/broker` uses twenty. Above those of the
/// experiments, which run at the same time.
static NEXT: AtomicU16 = AtomicU16::new(6010);

/// A node, removed with the value.
pub struct Node {
    script: String,
    port: u16,
    folder: tempfile::TempDir,
    plugins: String,
}

impl Node {
    /// A node that is not started yet. `None` where the tests run against somebody's broker and
    /// know of no way to start one.
    #[expect(
        clippy::disallowed_methods,
        reason = "how `make test` names its broker"
    )]
    pub fn new() -> Option<Node> {
        let Ok(script) = std::env::var("BANSHI_TEST_BROKER") else {
            println!("not run: BANSHI_TEST_BROKER does not say how to start a node");
            return None;
        };
        Some(Node {
            script,
            port: NEXT.fetch_add(20, Ordering::SeqCst),
            folder: tempfile::tempdir().expect("a folder"),
            plugins: String::new(),
        })
    }

    /// The same with plugins.
    pub fn with_plugins(mut self, plugins: &str) -> Node {
        self.plugins = plugins.to_owned();
        self
    }

    /// Its folder, which is the same to the node where that runs in a root of its own.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A port that only it uses.
    pub fn spare_port(&self) -> u16 {
        self.port + 5
    }

    /// Lines for its `rabbitmq.conf`, from the next start on.
    pub fn configure(&self, lines: &str) {
        std::fs::write(self.folder().join("more.conf"), lines).expect("a file");
    }

    /// `host:port` for AMQP.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `host:port` of its management API, with the plugin `rabbitmq_management`.
    pub fn management_address(&self) -> String {
        format!("127.0.0.1:{}", self.port + 10_000)
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.port)
    }

    /// Starts it and waits until it serves.
    pub fn start(&self) {
        self.tool(&["start"]);
    }

    /// Ends it as a crash does.
    pub fn kill(&self) {
        self.tool(&["kill"]);
    }

    /// `rabbitmqctl`.
    pub fn ctl(&self, arguments: &[&str]) -> String {
        self.tool(&[&["ctl", "--quiet"], arguments].concat())
    }

    /// Runs a script that calls `$RABBITMQCTL` on it, and gives what that prints.
    pub fn administer(&self, script: &Path, arguments: &[&str]) -> String {
        let mut command = self.environment(Command::new(script));
        command.env("RABBITMQCTL", format!("{} ctl", self.script));
        let output = command.args(arguments).output().expect("it starts");
        succeeded(&output);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn tool(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().expect("it starts");
        succeeded(&output);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.environment(Command::new(&self.script));
        command.args(arguments);
        command
    }

    fn environment(&self, mut command: Command) -> Command {
        command
            .env("BANSHI_TEST_BROKER_PORT", self.port.to_string())
            .env("BANSHI_TEST_BROKER_DIR", self.folder())
            .env("BANSHI_TEST_BROKER_PLUGINS", &self.plugins);
        let more = self.folder().join("more.conf");
        if more.exists() {
            command.env("BANSHI_TEST_BROKER_CONF", more);
        }
        command
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // A test that failed leaves no node behind.
        let stopped = self.command(&["stop"]).output();
        if !stopped.is_ok_and(|output| output.status.success()) {
            eprintln!("the node on port {} could not be stopped", self.port);
        }
    }
}

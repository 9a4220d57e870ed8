//! Garage, an S3 server that overwrites without a word, and that may be killed: a private one of
//! `tests/tools/s3`, on ports of its own, removed with the value.

use std::process::Stdio;

use tokio::process::Command;

use crate::support::repository;
use crate::support::stores::Server;

/// The port that its own two are counted from.
const PORT: u16 = 5850;

/// A server, with an empty bucket.
pub struct Garage {
    server: Server,
}

impl Garage {
    /// Starts one, with no data.
    pub async fn start() -> Garage {
        tool(&["wipe"]).await;
        let url = tool(&["start", "garage"]).await;
        let server = Server::parse(url.trim()).expect("a server and its bucket");
        Garage { server }
    }

    /// Where it is.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// SIGKILL, as a crash does.
    pub async fn kill(&self) {
        tool(&["kill", "garage"]).await;
    }

    /// Starts it again, and waits until it answers.
    pub async fn up(&self) {
        tool(&["start", "garage"]).await;
    }
}

impl Drop for Garage {
    fn drop(&mut self) {
        let ended = command(&["wipe"]).into_std().status();
        if !ended.is_ok_and(|status| status.success()) {
            eprintln!("Garage, counted from port {PORT}, may still run");
        }
    }
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(repository("tests/tools/s3"));
    command
        .args(arguments)
        .env("BANSHI_TEST_S3_PORT", PORT.to_string())
        .env("BANSHI_TEST_S3_DIR", repository("target/faults/garage"))
        .stdin(Stdio::null());
    command
}

async fn tool(arguments: &[&str]) -> String {
    let ran = command(arguments).output().await;
    let ran = ran.expect("tests/tools/s3 starts");
    assert!(
        ran.status.success(),
        "s3 {arguments:?}: {}",
        String::from_utf8_lossy(&ran.stderr)
    );
    String::from_utf8_lossy(&ran.stdout).into_owned()
}

//! Workers, as processes that can be killed.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

/// Longer than `worker.drain_timeout`.
const LEAVING: Duration = Duration::from_secs(60);

/// What a worker logs when it takes jobs in.
pub const READY: &str = ": jobs can come in";

/// A running worker.
pub struct Worker {
    child: Child,
    log: PathBuf,
    ended: bool,
    /// The port of its `/readyz` and `/metrics`, if it has one.
    pub admin: Option<u16>,
}

impl Worker {
    /// Starts a program that logs into a file.
    pub fn start(mut command: Command, log: PathBuf) -> Worker {
        let file = std::fs::File::create(&log).expect("a log");
        let errors = file.try_clone().expect("a log");
        let child = command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(errors)
            .spawn()
            .expect("it starts");
        Worker {
            child,
            log,
            ended: false,
            admin: None,
        }
    }

    /// Waits until it takes jobs in.
    pub async fn ready(&mut self) {
        if let Err(why) = self.gets_ready().await {
            panic!("a worker does not get ready: {why}");
        }
    }

    /// Waits until it takes jobs in, or tells how it is with it instead.
    pub async fn gets_ready(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + Duration::from_secs(120);
        while !self.log().contains(READY) {
            let ended = self.child.try_wait().expect("it can be waited for");
            if ended.is_some() || Instant::now() > deadline {
                return Err(format!("{ended:?}\n{}", self.log()));
            }
            sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// SIGKILL: no warning, no clean-up.
    pub fn kill(&mut self) {
        self.child.kill().expect("it was running");
        self.child.wait().expect("it is gone");
        self.ended = true;
    }

    /// Another signal.
    pub fn signal(&self, signal: &str) {
        send(signal, self.child.id());
    }

    /// SIGTERM, and its exit code once it has left. None when it did not leave, or not by itself.
    pub async fn leave(&mut self) -> Option<i32> {
        self.signal("TERM");
        self.left().await
    }

    /// Its exit code, if it has left by now.
    pub fn exit(&mut self) -> Option<Option<i32>> {
        let ended = self.child.try_wait().expect("it can be waited for")?;
        self.ended = true;
        Some(ended.code())
    }

    /// Its exit code once it has left.
    pub async fn left(&mut self) -> Option<i32> {
        let deadline = Instant::now() + LEAVING;
        loop {
            if let Some(status) = self.child.try_wait().expect("it can be waited for") {
                self.ended = true;
                return status.code();
            }
            if Instant::now() > deadline {
                self.kill();
                return None;
            }
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Whether it runs.
    pub fn lives(&mut self) -> bool {
        !self.ended && self.child.try_wait().is_ok_and(|ended| ended.is_none())
    }

    /// Its typesetters' process ids.
    pub fn typesetters(&self) -> Vec<u32> {
        let id = self.child.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
        // A child belongs to the thread that made it.
        let mut found: Vec<u32> = parse(&children.unwrap_or_default());
        let threads = std::fs::read_dir(format!("/proc/{id}/task"));
        for thread in threads.into_iter().flatten().flatten() {
            let children = std::fs::read_to_string(thread.path().join("children"));
            found.extend(parse(&children.unwrap_or_default()));
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Its resident memory in KiB, its open files and its threads.
    pub fn usage(&self) -> Option<Usage> {
        let id = self.child.id();
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name))?;
            line.split_whitespace().nth(1)?.parse().ok()
        };
        Some(Usage {
            memory: field("VmRSS:")?,
            peak: field("VmHWM:")?,
            threads: field("Threads:")?,
            files: std::fs::read_dir(format!("/proc/{id}/fd")).ok()?.count() as u64,
        })
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).expect("its log")
    }
}

/// What a process uses.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// Resident memory, KiB.
    pub memory: u64,
    /// The most that it ever was.
    pub peak: u64,
    pub threads: u64,
    /// Open files.
    pub files: u64,
}

impl Drop for Worker {
    fn drop(&mut self) {
        if self.lives() {
            self.kill();
        }
    }
}

/// What the administration port on a port of this machine says to a question, as `/readyz`: the
/// status and the text. Nothing, when nobody answers.
pub async fn ask(port: u16, path: &str) -> Option<(u16, String)> {
    let asking = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
        let question = format!("GET {path} HTTP/1.1\r\nHost: worker\r\nConnection: close\r\n\r\n");
        stream.write_all(question.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        let (head, text) = answer.split_once("\r\n\r\n")?;
        let status = head.split_whitespace().nth(1)?.parse().ok()?;
        Some((status, text.to_owned()))
    };
    timeout(Duration::from_secs(5), asking).await.ok()?
}

/// Sends a signal to a process; one that has just ended needs none.
pub fn send(signal: &str, process: u32) {
    let sent = Command::new("kill")
        .args([format!("-{signal}"), process.to_string()])
        .stderr(Stdio::null())
        .status();
    sent.expect("kill is there");
}

fn parse(children: &str) -> Vec<u32> {
    children
        .split_whitespace()
        .filter_map(|id| id.parse().ok())
        .collect()
}

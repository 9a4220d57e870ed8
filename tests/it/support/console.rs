//! A console, and a real browser in front of it.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::deployment::{Deployment, Worker, ask};
use super::{BANSHI, repository};

/// The token of a console that has one.
pub const TOKEN: &str = "a token of the tests";

/// A console that answers, and its address.
pub struct Console {
    pub process: Worker,
    pub address: String,
}

impl Console {
    pub fn start(deployment: &Deployment) -> Console {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap().to_string();
        drop(free);
        Console::start_at(deployment, &address, &[])
    }

    /// The same at an address, with other settings.
    pub fn start_at(deployment: &Deployment, address: &str, other: &[(&str, &str)]) -> Console {
        let mut command = deployment.banshi(&["console"]);
        command
            .env("BANSHI__CONSOLE__LISTEN", address)
            .envs(other.iter().copied());
        let process = deployment.start(&mut command);
        let address = address.to_owned();
        let began = Instant::now();
        while ask(&address, "/livez").is_none() {
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "{}",
                process.log()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
        Console { process, address }
    }

    /// Has the browser make these checks. `SCREENSHOTS` and `PICTURES`, where somebody has set
    /// them, are the browser's as well.
    pub fn check(&self, deployment: &Deployment, jobs: &Value, checks: &[&str]) {
        // What it starts itself has the deployment's settings.
        let settings = deployment.banshi(&[]);
        let settings = settings.get_envs();
        let output = Command::new("node")
            .arg(repository("tests/it/console/browser.mjs"))
            .args(checks)
            .envs(settings.filter_map(|(name, value)| Some((name, value?))))
            .env("BASE", format!("http://{}", self.address))
            .env("TOOLS", repository("target/tools/console"))
            .env("BANSHI", BANSHI)
            .env("CHROMIUM", "/usr/bin/chromium")
            .env("TOKEN", TOKEN)
            .env("JOBS", jobs.to_string())
            .output()
            .expect("node is there: tests/tools/install test");
        let told = String::from_utf8_lossy(&output.stdout);
        let wrong = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{told}{wrong}");
        assert_eq!(told.lines().count(), checks.len(), "{told}");
    }

    /// Waits until the console's JSON of a path is so.
    pub fn until(&self, path: &str, so: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let answer = json_of(&self.address, path);
            if let Some(answer) = &answer
                && so(answer)
            {
                return answer.clone();
            }
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "{path}: {answer:?}"
            );
            std::thread::sleep(Duration::from_millis(300));
        }
    }
}

/// What the console answers to who wants JSON.
pub fn json_of(address: &str, path: &str) -> Option<Value> {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(address).ok()?;
    write!(
        stream,
        "GET {path} HTTP/1.0\r\nHost: {address}\r\nAccept: application/json\r\n\
         Authorization: Bearer {TOKEN}\r\n\r\n"
    )
    .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
}

//! A real Prometheus that looks at workers, with the rules of the repository.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::deployment::{Deployment, ask};
use super::repository;

/// Longer than anything that is waited for takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// A tool that `tests/tools/install test` has put there.
pub fn tool(name: &str) -> PathBuf {
    let path = repository("target/tools/bin").join(name);
    assert!(path.is_file(), "{name} is needed: tests/tools/install test");
    path
}

/// The rules of the repository.
pub fn rules() -> String {
    let path = repository("deploy/prometheus/banshi.rules.yml");
    std::fs::read_to_string(path).unwrap()
}

/// A Prometheus of its own.
pub struct Prometheus {
    process: Child,
    address: String,
    targets: PathBuf,
}

impl Prometheus {
    /// Starts one that looks at these workers every second, and keeps these rules as often.
    pub fn start(deployment: &Deployment, workers: &[&str], rules: &str) -> Prometheus {
        let [config, targets, kept] =
            ["prometheus.yml", "targets.json", "rules.yml"].map(|name| deployment.path(name));
        let text = json!({
            "global": { "scrape_interval": "1s", "evaluation_interval": "1s" },
            "rule_files": [kept],
            "scrape_configs": [{
                "job_name": "banshi",
                "file_sd_configs": [{ "files": [targets], "refresh_interval": "1s" }],
            }],
        });
        // JSON is YAML.
        std::fs::write(&config, text.to_string()).unwrap();
        std::fs::write(&kept, rules).unwrap();
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap().to_string();
        drop(free);
        let argument = |name, value: &std::path::Path| format!("--{name}={}", value.display());
        let mut command = Command::new(tool("prometheus"));
        command
            .arg(argument("config.file", &config))
            .arg(argument("storage.tsdb.path", &deployment.path("tsdb")))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        set_targets(&targets, workers);
        Prometheus {
            process: command.spawn().unwrap(),
            address,
            targets,
        }
    }

    /// Looks at these workers from now on, and at no others.
    pub fn look_at(&self, workers: &[&str]) {
        set_targets(&self.targets, workers);
    }

    fn get(&self, path: &str) -> Option<Value> {
        let (_, answer) = ask(&self.address, path)?;
        serde_json::from_str(&answer).ok()
    }

    /// Waits until an expression has an answer of which some value is right.
    pub fn expect_answer(&self, what: &str, expression: &str, right: impl Fn(f64) -> bool) {
        let began = Instant::now();
        loop {
            let answer = self.query(expression).unwrap();
            assert_eq!(
                answer["status"], "success",
                "{what}: {expression}: {answer}"
            );
            let result = answer["data"]["result"].as_array().unwrap();
            let values: Vec<f64> = result
                .iter()
                .map(|series| series["value"][1].as_str().unwrap().parse().unwrap())
                .collect();
            if values.iter().any(|value| right(*value)) {
                return;
            }
            assert!(
                began.elapsed() < PATIENCE,
                "{what}: {expression}: {values:?}"
            );
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// What it answers to an expression.
    fn query(&self, expression: &str) -> Option<Value> {
        let encoded: String = expression
            .bytes()
            .map(|byte| match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => char::from(byte).to_string(),
                other => format!("%{other:02X}"),
            })
            .collect();
        self.get(&format!("/api/v1/query?query={encoded}"))
    }

    /// What an expression comes to; none, when it comes to nothing.
    pub fn ask(&self, expression: &str) -> Option<f64> {
        let answer = self.query(expression)?;
        let value = answer.pointer("/data/result/0/value/1")?.as_str()?;
        value.parse().ok()
    }

    /// Waits until an expression, which compares, holds.
    pub fn expect(&self, expression: &str) {
        let began = Instant::now();
        while self.ask(expression).is_none() {
            let plain = expression.split(" == ").next().unwrap_or_default();
            let now = self.ask(plain.split(" >").next().unwrap_or_default());
            assert!(
                began.elapsed() < PATIENCE,
                "{expression} does not hold: {now:?}\n{}",
                self.exposed()
            );
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// What the workers say now, for whoever asks why.
    fn exposed(&self) -> String {
        let targets = std::fs::read_to_string(&self.targets).unwrap();
        let targets: Value = serde_json::from_str(&targets).unwrap();
        let workers = targets[0]["targets"].as_array().cloned();
        let texts = workers.unwrap_or_default().into_iter().filter_map(|it| {
            let (_, text) = ask(it.as_str()?, "/metrics")?;
            Some(text)
        });
        let texts: String = texts.collect();
        let lines = texts
            .lines()
            .filter(|line| !line.starts_with('#') && !line.contains("_bucket"));
        lines.map(|line| format!("{line}\n")).collect()
    }

    /// The alerts that fire now; none, when it can't be asked yet.
    pub fn firing(&self) -> Option<BTreeSet<String>> {
        let answer = self.get("/api/v1/alerts")?;
        let alerts = answer.pointer("/data/alerts")?.as_array()?;
        let firing = alerts.iter().filter(|alert| alert["state"] == "firing");
        let name = |alert: &Value| Some(alert["labels"]["alertname"].as_str()?.to_owned());
        firing.map(name).collect()
    }

    /// Waits until exactly these alerts fire.
    pub async fn expect_firing(&self, alerts: &[&str]) {
        let wanted: BTreeSet<String> = alerts.iter().map(ToString::to_string).collect();
        let began = Instant::now();
        loop {
            let firing = self.firing();
            if firing.as_ref() == Some(&wanted) {
                return;
            }
            assert!(
                began.elapsed() < PATIENCE,
                "{firing:?} fire, not {wanted:?}\n{}",
                self.exposed()
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.process.kill().expect("it can be killed");
        self.process.wait().expect("it is gone");
    }
}

/// Written elsewhere and renamed, so that none is read half.
fn set_targets(path: &std::path::Path, workers: &[&str]) {
    let whole = path.with_extension("new");
    let targets = json!([{ "targets": workers }]);
    std::fs::write(&whole, targets.to_string()).unwrap();
    std::fs::rename(&whole, path).unwrap();
}

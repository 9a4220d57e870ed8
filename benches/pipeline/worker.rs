//! The whole worker: a job from its queue, checked, set, stored on a disk that is told to keep it,
//! announced, acknowledged; beside it, what its typesetters alone do with the same reports.
//!
//! The broker runs on the same machine and takes its share of the same cores, so that a worker with
//! as many typesetters as cores can't reach what they do alone. How far it falls short by its own
//! doing, its CPU says: what a report costs in the typesetters, in the worker around them, and in
//! the broker.

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Instant;

use banshi::transport::{Client, Lane};
use tokio::runtime::Runtime;

use crate::pool::{Children, pairs};
use crate::support::{repository, settings};
use crate::table::{Row, Target, row};
use crate::{BANSHI, Options, Reports, cores, process, runtime};

/// Reports of a round that are done before the clock starts: consumers, channels and the store's
/// folders are there then.
const FIRST: u64 = 20;

/// Bytes of a file for measuring the disk: those of a report's PDF.
const FILE: usize = 290_000;

/// How a round went: reports a second, and milliseconds of CPU a report.
struct Round {
    rate: f64,
    typesetters: f64,
    around: f64,
    broker: f64,
}

/// A broker that runs.
pub struct Broker {
    pub url: String,
    /// The prefix of our queues: a run that was cut off leaves jobs behind, which are not ours.
    pub prefix: String,
    /// Its process, where it is ours.
    pid: Option<u32>,
}

/// Measures the worker.
pub fn measure(options: &Options, reports: &mut Reports) {
    let Some(broker) = Broker::of_the_environment() else {
        eprintln!("worker: not measured, for AMQP_URL names no broker; `make bench` starts one");
        return;
    };
    let runtime = runtime();
    let disk = Disk::new();
    sync(&disk, options.rounds);
    ready(&disk, &broker, &runtime, options, reports);
    let mut sizes = vec![cores()];
    if cores() > 1 {
        sizes.push(cores() - 1);
    }
    for size in sizes {
        compare(size, &disk, &broker, &runtime, options, reports);
    }
    watch(&disk, &broker, &runtime, options, reports);
}

/// How often a watched worker's metrics are read a second: far more often than anybody would, so
/// that what a read costs stands out of the noise.
const READS: u32 = 50;

/// What it costs to be watched: a worker that says nothing of itself, and one whose metrics are
/// read, that tells how it is and that has a console before it, in turn. Its typesetters know
/// nothing of who watches and are left out of the difference.
fn watch(
    disk: &Disk,
    broker: &Broker,
    runtime: &Runtime,
    options: &Options,
    reports: &mut Reports,
) {
    let (mut added, mut console) = (Vec::new(), Vec::new());
    let mut plain = None;
    let all = |round: &Round| round.typesetters + round.around;
    for _ in 0..options.rounds {
        for eyes in [None, Some(Eyes::open(broker, disk))] {
            let numbers = reports.numbers(options.reports + FIRST);
            broker.send(runtime, reports, numbers);
            let before = eyes.as_ref().map(Eyes::cpu);
            let round = drain(1, disk, broker, options.reports, eyes.as_ref());
            match (before, &eyes) {
                (Some(before), Some(eyes)) => {
                    let cpu = (eyes.cpu() - before) * 1e3 / options.reports as f64;
                    console.push(100.0 * cpu / all(&round));
                    let plain: Round = plain.take().expect("a round without eyes is before it");
                    let more = round.around - plain.around;
                    added.push(100.0 * more / all(&plain) / f64::from(READS));
                }
                _ => plain = Some(round),
            }
        }
    }
    for (what, unit, rounds, target) in [
        (
            "CPU that metrics read each second add to a report, of the report's",
            "%",
            added,
            Target::AtMost(1.0),
        ),
        (
            "CPU of its console, of the worker's",
            "%",
            console,
            Target::AtMost(1.0),
        ),
    ] {
        row(&Row {
            what: &format!("worker: {what}"),
            unit,
            rounds: &rounds,
            instructions: None,
            target,
        });
    }
}

/// A console, and whoever reads a worker's metrics, [`READS`] times a second.
struct Eyes {
    console: Child,
    /// Where the worker's metrics are.
    admin: String,
    stop: std::sync::Arc<std::sync::atomic::AtomicBool>,
}

impl Eyes {
    fn open(broker: &Broker, disk: &Disk) -> Eyes {
        let free = || {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
            listener.local_addr().expect("an address").to_string()
        };
        let folder = disk.folder();
        let console = broker
            .banshi("console", &folder)
            .env("BANSHI__CONSOLE__LISTEN", free())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let admin = free();
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let (address, stopping) = (admin.clone(), std::sync::Arc::clone(&stop));
        std::thread::spawn(move || {
            use std::io::Read as _;
            // While it starts a worker has not all of them; then it never has fewer again.
            let mut all = false;
            while !stopping.load(std::sync::atomic::Ordering::Relaxed) {
                std::thread::sleep(std::time::Duration::from_secs(1) / READS);
                // Before the worker listens there is nothing to read.
                if let Ok(mut stream) = std::net::TcpStream::connect(&address) {
                    let asked = write!(stream, "GET /metrics HTTP/1.0\r\n\r\n");
                    asked.expect("it is asked");
                    let mut answer = String::new();
                    stream.read_to_string(&mut answer).expect("it answers");
                    let inflight = answer.contains("banshi_inflight");
                    assert!(inflight || !all, "{answer}");
                    all |= inflight;
                }
            }
        });
        Eyes {
            console,
            admin,
            stop,
        }
    }

    /// Seconds of CPU of the console.
    fn cpu(&self) -> f64 {
        process::cpu(self.console.id())
    }
}

impl Drop for Eyes {
    fn drop(&mut self) {
        self.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        self.console.kill().expect("it runs");
        self.console.wait().expect("it is gone");
    }
}

/// How long this disk takes to keep a file.
fn sync(disk: &Disk, rounds: usize) {
    let folder = disk.folder();
    let write = |number: usize| {
        let began = Instant::now();
        let path = folder.join(number.to_string());
        let mut file = std::fs::File::create_new(path).expect("a file");
        file.write_all(&vec![1; FILE]).expect("written");
        file.sync_all().expect("synced");
        began.elapsed().as_secs_f64() * 1e3
    };
    row(&Row {
        what: "worker: this disk writes and syncs a file of a PDF's size",
        unit: "ms",
        rounds: &(0..rounds * 10).map(write).collect::<Vec<_>>(),
        instructions: None,
        target: Target::None,
    });
}

/// How long a worker takes from nothing to its first report.
fn ready(
    disk: &Disk,
    broker: &Broker,
    runtime: &Runtime,
    options: &Options,
    reports: &mut Reports,
) {
    let (mut warm, mut done) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        broker.send(runtime, reports, reports.next..reports.next + 1);
        reports.next += 1;
        let folder = disk.folder();
        let began = Instant::now();
        let mut worker = Worker::start(broker, cores(), &folder, None);
        worker.until("ready");
        warm.push(began.elapsed().as_secs_f64() * 1e3);
        worker.until("completed");
        done.push(began.elapsed().as_secs_f64() * 1e3);
        worker.finish();
    }
    for (what, rounds) in [
        (
            "worker: from its start to its typesetters being warm",
            &warm,
        ),
        (
            "worker: from its start to its first report being acknowledged",
            &done,
        ),
    ] {
        row(&Row {
            what,
            unit: "ms",
            rounds,
            instructions: None,
            target: Target::None,
        });
    }
}

/// Typesetters alone and a worker with as many of them, in turn, on the same reports.
fn compare(
    size: usize,
    disk: &Disk,
    broker: &Broker,
    runtime: &Runtime,
    options: &Options,
    reports: &mut Reports,
) {
    let (mut alone, mut whole) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        let numbers = reports.numbers(options.reports + FIRST);
        let manuscripts = numbers
            .clone()
            .map(|number| reports.model.manuscript(number))
            .collect::<Vec<_>>();
        let children = Children::start(runtime, size);
        let (first, rest) = manuscripts.split_at(FIRST as usize);
        children.set(runtime, first);
        alone.push(children.set(runtime, rest).rate);
        children.stop(runtime);

        broker.send(runtime, reports, numbers);
        whole.push(drain(size, disk, broker, options.reports, None));
    }
    let figures = |figure: fn(&Round) -> f64| whole.iter().map(figure).collect::<Vec<_>>();
    let rates = figures(|round| round.rate);
    let share = figures(|round| 100.0 * round.around / (round.around + round.typesetters));
    for (what, unit, rounds, target) in [
        (
            "the typesetters alone",
            "reports/s",
            alone.clone(),
            Target::None,
        ),
        ("whole", "reports/s", rates.clone(), Target::None),
        (
            "whole to the typesetters alone",
            "ratio",
            pairs(&rates, &alone, |rate| *rate),
            Target::AtLeast(0.9),
        ),
        (
            "CPU a report in the typesetters",
            "ms",
            figures(|round| round.typesetters),
            Target::None,
        ),
        (
            "CPU a report around them",
            "ms",
            figures(|round| round.around),
            Target::None,
        ),
        (
            "the same of all CPU of the worker",
            "%",
            share,
            Target::AtMost(10.0),
        ),
        (
            "CPU a report in the broker",
            "ms",
            figures(|round| round.broker),
            Target::None,
        ),
    ] {
        if rounds.iter().all(|figure| figure.is_finite()) {
            row(&Row {
                what: &format!("worker, typesetters: {size}: {what}"),
                unit,
                rounds: &rounds,
                instructions: None,
                target,
            });
        }
    }
}

/// Lets a worker empty the queue, which holds [`FIRST`] jobs and so many more.
fn drain(size: usize, disk: &Disk, broker: &Broker, reports: u64, eyes: Option<&Eyes>) -> Round {
    let mut worker = Worker::start(broker, size, &disk.folder(), eyes);
    for _ in 1..FIRST {
        worker.until("completed");
    }
    // To look for them takes a while, in which the worker goes on: not on the clock.
    let own = worker.process.id();
    let typesetters = process::children(own);
    assert_eq!(typesetters.len(), size, "its children are its typesetters");
    let cpu = || {
        (
            typesetters.iter().copied().map(process::cpu).sum::<f64>(),
            process::cpu(own),
            broker.pid.map_or(f64::NAN, process::cpu),
        )
    };
    worker.until("completed");
    let (began, before) = (Instant::now(), cpu());
    for _ in 0..reports {
        worker.until("completed");
    }
    let (seconds, after) = (began.elapsed().as_secs_f64(), cpu());
    worker.finish();
    let a_report = |seconds: f64| seconds * 1e3 / reports as f64;
    Round {
        rate: reports as f64 / seconds,
        typesetters: a_report(after.0 - before.0),
        around: a_report(after.1 - before.1),
        broker: a_report(after.2 - before.2),
    }
}

impl Broker {
    /// The broker that `tests/tools/broker run` names.
    #[expect(
        clippy::disallowed_methods,
        reason = "how `make bench` names its broker"
    )]
    pub fn of_the_environment() -> Option<Broker> {
        let url = std::env::var("AMQP_URL").ok()?;
        let pid = std::env::var("BANSHI_TEST_BROKER").ok().and_then(|tool| {
            let status = Command::new(tool).arg("status").output().ok()?;
            let status = String::from_utf8(status.stdout).ok()?;
            let (_, pid) = status.split_once("pid ")?;
            pid.split(',').next()?.parse().ok()
        });
        let prefix = format!("banshi-bench-{}", std::process::id());
        Some(Broker { url, prefix, pid })
    }

    /// The program, with this broker and a store in a folder.
    pub fn banshi(&self, command: &str, folder: &Path) -> Command {
        let mut banshi = Command::new(BANSHI);
        banshi
            .arg(command)
            .env("BANSHI__QUEUE__URL", &self.url)
            .env("BANSHI__QUEUE__PREFIX", &self.prefix)
            .env("BANSHI__STORE__URL", format!("file:{}", folder.display()))
            .env("BANSHI__STORE__CREATE", "always")
            .env("BANSHI__FONTS__DIR", repository("fonts"))
            .env("BANSHI__FONTS__MORE", "")
            .env("BANSHI__RENDER__URGENT", "0")
            .env("BANSHI__LOG__FORMAT", "json")
            .current_dir(folder)
            .stdin(Stdio::null());
        banshi
    }

    /// Puts the jobs of these numbers into the bulk lane, each confirmed.
    pub fn send(&self, runtime: &Runtime, reports: &Reports, numbers: std::ops::Range<u64>) {
        let mut queue = settings().queue;
        queue.url.clone_from(&self.url);
        queue.prefix.clone_from(&self.prefix);
        runtime.block_on(async {
            let client = Client::open(&queue).await.expect("the broker is there");
            for number in numbers {
                let job = reports.model.job(number);
                let id = job["job_id"].as_str().expect("a job has an id");
                let body = job.to_string();
                let sent = client.send(id, body.as_bytes(), Lane::Bulk);
                sent.await.expect("it is confirmed");
            }
            client.close().await;
        });
    }
}

/// A worker that leaves when nothing is left to do, and what it logs.
struct Worker {
    process: Child,
    log: Lines<BufReader<ChildStderr>>,
}

impl Worker {
    fn start(broker: &Broker, typesetters: usize, folder: &Path, eyes: Option<&Eyes>) -> Worker {
        let (admin, status) = match eyes {
            Some(eyes) => (eyes.admin.as_str(), "3"),
            None => ("", "0"),
        };
        let mut process = broker
            .banshi("worker", folder)
            .arg("--until-idle")
            .env("BANSHI__RENDER__THREADS", typesetters.to_string())
            .env("BANSHI__ADMIN__LISTEN", admin)
            .env("BANSHI__WORKER__STATUS", status)
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let log = BufReader::new(process.stderr.take().expect("a pipe")).lines();
        Worker { process, log }
    }

    /// Waits for a line of the log with this message. Every job must end well.
    fn until(&mut self, message: &str) {
        let message = format!("\"message\":\"{message}\"");
        let mut said = Vec::new();
        for line in &mut self.log {
            let line = line.expect("its log is text");
            let found = line.contains(&message);
            let ended = line.contains("\"duration_ms\"");
            assert!(!ended || found, "the worker says: {line}");
            if found {
                return;
            }
            said.push(line);
        }
        let said = said.join("\n");
        panic!("the worker has ended before it said {message}; it said:\n{said}");
    }

    /// Waits until it has left.
    fn finish(mut self) {
        self.until("stopped");
        let status = self.process.wait().expect("it leaves");
        assert!(status.success(), "it leaves in order");
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // One whose round failed would wait for its broker for ever.
        if self.process.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.process.kill().expect("it can be killed");
        }
    }
}

/// A folder on the disk that the build is on: a temporary folder may be in memory, which syncs
/// nothing. What is in it stays until all is measured: ext4 looks long for a place for a new file
/// when many were removed within the last seconds, which no store's are.
pub struct Disk(tempfile::TempDir);

impl Disk {
    pub fn new() -> Disk {
        let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        Disk(tempfile::tempdir_in(target).expect("a temporary folder"))
    }

    /// A new folder.
    pub fn folder(&self) -> PathBuf {
        let folder = tempfile::tempdir_in(self.0.path());
        folder.expect("a temporary folder").keep()
    }
}

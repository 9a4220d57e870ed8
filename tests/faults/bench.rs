//! What every experiment stands on: a deployment of its own, the archive that hears its events,
//! the ledger of what was sent, and in the end the judge.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use banshi::digest::sha256;
use futures_util::StreamExt as _;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicQosOptions, QueueBindOptions, QueueDeclareOptions,
    QueueDeleteOptions, QueuePurgeOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::Stage;
use crate::archive::Archive;
use crate::judge::{
    Archived, Bound, Dead, Depth, Kind, Observation, Sent, Verdict, Violation, judge,
};
use crate::letters::{Letter, by_path, template_digests};
use crate::node::{Line, Node};
use crate::previous::{Build, Previous};
use crate::process::{READY, Worker, ask};
use crate::sender::publish;
use crate::store_view::StoreView;
use crate::support::deployment::{WRITE_DOWN_QUEUES, remove_topology};
use crate::support::hang::Hang;
use crate::support::raw_amqp::{RawAmqp, RawMessage};
use crate::support::stores::Server;
use crate::support::{BANSHI, repository};

/// The lanes and the retry queues: where nothing may stay.
const ON_THE_WAY: [&str; 6] = [
    "jobs.urgent",
    "jobs.bulk",
    "retry.5s",
    "retry.30s",
    "retry.5m",
    "unrouted",
];
const LANES: [&str; 2] = ["jobs.urgent", "jobs.bulk"];
/// How long nothing may happen before the experiment is judged as it stands.
const PATIENCE: Duration = Duration::from_secs(75);
/// The longest wait between two attempts, in which nothing need happen.
const LONGEST_WAIT: Duration = Duration::from_secs(330);
/// How long a consumer may outlive its worker.
const CONSUMERS: Duration = Duration::from_secs(30);
/// Messages in a queue that is not there: never none.
const NOT_THERE: u32 = u32::MAX / 16;

/// A deployment, and all that is known about it.
pub struct Bench {
    folder: Folder,
    node: Arc<Node>,
    prefix: String,
    settings: BTreeMap<String, String>,
    letters: Vec<Letter>,
    store_view: StoreView,
    archive: Archive,
    workers: Vec<Worker>,
    exits: Vec<Option<i32>>,
    /// The earlier build, where workers of both are at work.
    previous: Option<Previous>,
    /// Whether workers are to have an administration port each.
    watched: bool,
    /// How many sessions may be lost, where nothing is done to connections and processes.
    may_lose: Option<u64>,
    /// Workers that were started.
    started_workers: AtomicU64,
    /// Workers that ended by themselves.
    died: u64,
    bounds: Vec<Bound>,
    /// What was taken out of the dead queue so far.
    dead: Vec<Dead>,
    /// Messages that were thrown away with a dead queue.
    thrown_away: usize,
    archived: Option<Vec<Archived>>,
    faults: BTreeMap<String, u64>,
    patience: Duration,
    started: Instant,
    logged: usize,
    render_sample: usize,
    pub rng: StdRng,
}

/// A temporary folder, which is kept when an experiment breaks off.
struct Folder(Option<tempfile::TempDir>);

impl Folder {
    fn path(&self) -> &Path {
        self.0
            .as_ref()
            .expect("it is there until it is kept")
            .path()
    }

    fn keep(&mut self) -> PathBuf {
        self.0.take().expect("it is kept once").keep()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if std::thread::panicking() && self.0.is_some() {
            eprintln!("    logs and store are kept in {}", self.keep().display());
        }
    }
}

/// How an experiment ended.
pub struct Outcome {
    /// Jobs sent.
    pub size: usize,
    /// Faults injected, by kind.
    pub faults: BTreeMap<String, u64>,
    pub verdict: Verdict,
    pub seconds: u64,
    /// What else was measured, for the report.
    pub notes: Vec<String>,
    /// Where the traces of a failure are kept.
    pub kept: Option<PathBuf>,
}

impl Outcome {
    /// The same, with the faults' names saying where they were made.
    pub fn with_faults_of(mut self, place: &str) -> Outcome {
        let faults = std::mem::take(&mut self.faults).into_iter();
        self.faults = faults
            .map(|(kind, count)| (format!("{place}: {kind}"), count))
            .collect();
        self
    }

    /// This one and another one as one.
    pub fn and(mut self, other: Outcome) -> Outcome {
        self.size += other.size;
        self.seconds += other.seconds;
        for (kind, count) in other.faults {
            *self.faults.entry(kind).or_default() += count;
        }
        let (verdict, more) = (&mut self.verdict, other.verdict);
        verdict.completed += more.completed;
        verdict.rejected += more.rejected;
        verdict.failed += more.failed;
        verdict.repeats += more.repeats;
        verdict.violations.extend(more.violations);
        self.notes.extend(other.notes);
        self.kept = self.kept.or(other.kept);
        self
    }

    /// Adds what the judge cannot see.
    pub fn object(&mut self, what: impl Into<String>) {
        self.verdict.violations.push(Violation {
            kind: Kind::Disorder,
            what: what.into(),
        });
    }
}

impl Bench {
    /// On a node, with nothing in it. The topology is declared by a client, as by any worker.
    pub async fn on(stage: &Stage, node: &Arc<Node>) -> Bench {
        Bench::open(stage, node, None, None).await
    }

    /// The same, with everything declared by an earlier build, as it did when it was alone.
    pub async fn begun_by(stage: &Stage, previous: Previous) -> Bench {
        Bench::open(stage, stage.node(), None, Some(previous)).await
    }

    /// The same, with a part of a bucket for a store, which the workers reach by another address.
    pub async fn with_bucket(stage: &Stage, server: &Server, by: &str) -> Bench {
        let mut bench = Bench::open(stage, stage.node(), Some(server), None).await;
        let url = format!("s3://{}/{}", server.bucket, bench.prefix);
        bench.set("STORE__URL", url);
        bench.settings.extend(server.at(by).variables());
        bench
    }

    async fn open(
        stage: &Stage,
        node: &Arc<Node>,
        server: Option<&Server>,
        previous: Option<Previous>,
    ) -> Bench {
        let folder = tempfile::Builder::new()
            .prefix("banshi-faults-")
            .tempdir()
            .expect("a temporary folder");
        let prefix = format!("faults-{:08x}", rand::random::<u32>());
        let store = folder.path().join("store");
        std::fs::create_dir(&store).expect("a folder");
        let settings = [
            ("QUEUE__URL", node.url()),
            ("QUEUE__PREFIX", prefix.clone()),
            ("STORE__URL", format!("file:{}", store.display())),
            ("STORE__CREATE", "always".to_owned()),
            ("FONTS__DIR", repository("fonts").display().to_string()),
            ("ADMIN__LISTEN", String::new()),
            ("RENDER__MAX_PAGES", "40".to_owned()),
            ("RENDER__THREADS", "1".to_owned()),
        ];
        let settings: BTreeMap<String, String> = settings
            .into_iter()
            .map(|(key, value)| (format!("BANSHI__{key}"), value))
            .collect();
        match &previous {
            Some(previous) => previous.begin(&settings, folder.path()),
            None => declare(&node.url(), &prefix).await,
        }
        let store_view = match server {
            Some(server) => StoreView::bucket(server, &prefix),
            None => StoreView::Folder(store),
        };
        let archive = Archive::open(node, &prefix, store_view.clone()).await;
        node.ctl(&["eval", WRITE_DOWN_QUEUES]).await;
        Bench {
            folder: Folder(Some(folder)),
            node: Arc::clone(node),
            prefix,
            settings,
            letters: Vec::new(),
            store_view,
            archive,
            workers: Vec::new(),
            exits: Vec::new(),
            previous,
            watched: false,
            may_lose: None,
            started_workers: AtomicU64::new(0),
            died: 0,
            bounds: Vec::new(),
            dead: Vec::new(),
            thrown_away: 0,
            archived: None,
            faults: BTreeMap::new(),
            patience: PATIENCE,
            started: Instant::now(),
            logged: node.log().len(),
            render_sample: stage.pick(1, 5),
            rng: stage.rng(),
        }
    }

    /// Changes a setting of the workers that are started from now on, as `RENDER__THREADS`.
    pub fn set(&mut self, key: &str, value: impl Into<String>) {
        self.settings.insert(format!("BANSHI__{key}"), value.into());
    }

    /// Has the workers that are started from now on feel when their store hangs.
    pub fn hangs(&mut self) -> Hang {
        let hang = Hang::below(&self.store());
        let variables = hang
            .variables()
            .map(|(name, value)| (name.to_owned(), value));
        self.settings.extend(variables);
        hang
    }

    /// Gives the workers that are started from now on an administration port each.
    pub fn watched(&mut self) {
        self.watched = true;
    }

    /// Nothing is done here that may cost a worker its connections or its life: the judge is told
    /// of each that was lost. A worker that ends by itself is started again, as a supervisor does.
    pub fn undisturbed(&mut self) {
        self.may_lose(0);
    }

    /// The same, where so many sessions may be lost.
    pub fn may_lose(&mut self, sessions: u64) {
        self.may_lose = Some(sessions);
    }

    /// What was measured, and what it may be at most.
    pub fn bound(&mut self, what: impl Into<String>, seen: u64, most: u64) {
        let what = what.into();
        self.bounds.push(Bound { what, seen, most });
    }

    /// Has the workers that are started from now on reach the broker through another port.
    pub fn through(&mut self, port: u16) {
        self.set(
            "QUEUE__URL",
            format!("amqp://guest:guest@127.0.0.1:{port}/%2f"),
        );
    }

    /// How long nothing may happen before the experiment is judged as it stands.
    pub fn patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// An exchange or a queue, `jobs.bulk`.
    pub fn name(&self, rest: &str) -> String {
        format!("{}.{rest}", self.prefix)
    }

    pub fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Counts a fault.
    pub fn fault(&mut self, kind: &str) {
        self.faults(kind, 1);
    }

    /// Counts several.
    pub fn faults(&mut self, kind: &str, count: usize) {
        *self.faults.entry(kind.to_owned()).or_default() += count as u64;
    }

    /// How many faults of a kind were made.
    pub fn injected(&self, kind: &str) -> u64 {
        self.faults.get(kind).copied().unwrap_or_default()
    }

    /// The program, with the settings of this deployment.
    pub fn banshi(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(BANSHI);
        command
            .args(arguments)
            .envs(&self.settings)
            .current_dir(self.folder.path());
        command
    }

    /// A worker of its own hands, not yet ready.
    pub fn worker(&self) -> Worker {
        let mut command = self.banshi(&["worker"]);
        let admin = self.watched.then(free_port);
        if let Some(port) = admin {
            command.env("BANSHI__ADMIN__LISTEN", format!("127.0.0.1:{port}"));
        }
        let mut worker = self.start(command);
        worker.admin = admin;
        worker
    }

    /// A worker of one of two builds, not yet ready.
    pub fn worker_of(&self, build: Build) -> Worker {
        let Build::Previous = build else {
            return self.worker();
        };
        let previous = self.previous.as_ref().expect("there is an earlier build");
        self.start(previous.command(&["worker"], &self.settings, self.folder.path()))
    }

    /// The earlier build.
    pub fn previous(&self) -> Option<&Previous> {
        self.previous.as_ref()
    }

    /// Starts any program as a worker.
    pub fn start(&self, command: Command) -> Worker {
        let name = format!("worker-{:08x}.log", rand::random::<u32>());
        self.started_workers.fetch_add(1, Ordering::Relaxed);
        Worker::start(command, self.folder.path().join(name))
    }

    /// The settings as a worker gets them.
    pub fn environment(&self) -> &BTreeMap<String, String> {
        &self.settings
    }

    /// Starts workers that stay, and waits until they take jobs in.
    pub async fn work(&mut self, count: usize) {
        let mut fresh: Vec<Worker> = (0..count).map(|_| self.worker()).collect();
        for worker in &mut fresh {
            worker.ready().await;
        }
        self.workers.append(&mut fresh);
    }

    /// The workers that stay.
    pub fn workers(&mut self) -> &mut Vec<Worker> {
        &mut self.workers
    }

    /// Kills a worker with SIGKILL and starts another in its place, which may still get ready.
    pub fn replace(&mut self, index: usize) {
        self.workers[index].kill();
        self.fault("worker killed");
        self.workers[index] = self.worker();
    }

    /// Notes how a worker left.
    pub fn left(&mut self, exit: Option<i32>) {
        self.exits.push(exit);
    }

    /// Notes what is in the packages of `banshi archive`.
    pub fn note_archived(&mut self, archived: Vec<Archived>) {
        self.archived = Some(archived);
    }

    /// Sends and waits for the confirms.
    pub async fn send(&mut self, letters: Vec<Letter>) {
        publish(
            &self.node.url(),
            &self.name("jobs"),
            &letters,
            Duration::ZERO,
        )
        .await;
        self.letters.extend(letters);
    }

    /// Sends in the background, with a pause after each; what was sent is to be awaited with
    /// [`Bench::sent`].
    pub fn sending(&self, letters: Vec<Letter>, pause: Duration) -> JoinHandle<Vec<Letter>> {
        let (url, exchange) = (self.node.url(), self.name("jobs"));
        tokio::spawn(async move {
            publish(&url, &exchange, &letters, pause).await;
            letters
        })
    }

    /// Notes what was sent by other hands.
    pub fn note_sent(&mut self, letters: Vec<Letter>) {
        self.letters.extend(letters);
    }

    /// What the workers have logged that were or are ready, killed ones included.
    pub fn logs(&self) -> Vec<String> {
        let files = std::fs::read_dir(self.folder.path()).expect("a folder");
        files
            .map(|file| file.expect("an entry").path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
            .map(|path| std::fs::read_to_string(path).expect("a log"))
            .filter(|log| log.contains(READY))
            .collect()
    }

    /// Waits until all is sent.
    pub async fn sent(&mut self, sending: JoinHandle<Vec<Letter>>) {
        let letters = sending.await.expect("it is all sent");
        self.letters.extend(letters);
    }

    /// How many events were heard so far.
    pub fn heard(&self) -> usize {
        self.archive.count()
    }

    /// The ids of the events heard so far.
    pub fn ended(&self) -> BTreeSet<String> {
        self.archive.ids()
    }

    /// Waits until so many events were heard.
    pub async fn until_heard(&self, count: usize) {
        let mut progress = Progress::new(self.patience);
        while self.heard() < count && progress.hopeful(self.heard()) {
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Messages in a queue that wait.
    pub async fn ready(&self, queue: &str) -> u32 {
        let line = self.node.line().await;
        ready(&line, &self.name(queue)).await
    }

    /// Waits until every job has come to an end and nothing is on its way; gives up when nothing
    /// happens any more.
    pub async fn settle(&mut self) {
        let mut progress = Progress::new(self.patience);
        loop {
            if self.may_lose.is_some() {
                self.replace_the_dead();
            }
            let ended = self.ended();
            let open = self
                .letters
                .iter()
                .filter(|letter| !letter.sent.ends.any_in(&ended));
            let open: Vec<&Letter> = open.collect();
            let (mut waiting, mut between_attempts) = (0, 0);
            let line = self.node.line().await;
            for queue in ON_THE_WAY {
                let ready = ready(&line, &self.name(queue)).await;
                waiting += ready;
                if queue.starts_with("retry.") {
                    between_attempts += ready;
                }
            }
            progress.patience = match between_attempts {
                0 => self.patience,
                _ => self.patience + LONGEST_WAIT,
            };
            if open.is_empty() && waiting == 0 {
                let queues = self.node.queues(&self.prefix).await;
                if ON_THE_WAY.iter().all(|name| is_empty(queues.get(*name))) {
                    return;
                }
            }
            if !progress.hopeful((ended.len(), self.heard(), waiting)) {
                let some: Vec<&str> = open
                    .iter()
                    .take(5)
                    .map(|letter| letter.sent.job_id.as_deref().unwrap_or("no job_id"))
                    .collect();
                eprintln!(
                    "    nothing happens any more: {} jobs open, {waiting} messages wait; {some:?}",
                    open.len()
                );
                return;
            }
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// Lets everything come to its end, lets the workers go, and judges.
    pub async fn finish(mut self) -> Outcome {
        self.settle().await;
        self.bound("workers that ended by themselves", self.died, 0);
        if let Some(most) = self.may_lose {
            let sessions = self.sessions();
            let started = self.started_workers.load(Ordering::Relaxed);
            assert!(sessions >= started, "the broker's log names no connections");
            self.bound("sessions lost", sessions - started, most);
        }
        let workers = self
            .workers
            .iter_mut()
            .filter_map(|w| w.lives().then_some(()))
            .count() as u64;
        let queues = self.quiet(workers).await;
        for worker in &self.workers {
            worker.signal("TERM");
        }
        for mut worker in std::mem::take(&mut self.workers) {
            self.exits.push(worker.left().await);
        }
        self.judge(queues, workers).await
    }

    /// The queues, once nothing is held and the consumers are those of the workers, or as they
    /// are when that does not come.
    async fn quiet(&self, workers: u64) -> BTreeMap<String, Depth> {
        let deadline = Instant::now() + CONSUMERS;
        loop {
            let mut queues = self.node.queues(&self.prefix).await;
            queues.retain(|name, _| ON_THE_WAY.contains(&name.as_str()));
            let consumed = LANES.iter().all(|lane| {
                queues
                    .get(*lane)
                    .is_some_and(|depth| depth.consumers == workers)
            });
            if consumed && queues.values().all(|depth| depth.unacked == 0) {
                return queues;
            }
            if Instant::now() > deadline {
                return queues;
            }
            sleep(Duration::from_millis(500)).await;
        }
    }

    async fn judge(mut self, mut queues: BTreeMap<String, Depth>, workers: u64) -> Outcome {
        let line = self.node.line().await;
        // What the workers requeued, or a consumer that was none had held.
        for queue in ON_THE_WAY {
            let depth = queues.entry(queue.to_owned()).or_default();
            depth.ready = depth
                .ready
                .max(u64::from(ready(&line, &self.name(queue)).await));
        }
        self.drain_dead().await;
        let mut store = self.store_view.list().await;
        if store.keys().any(|path| path.contains('#')) {
            // What killed workers left half written is swept by the next one that is alone.
            let swept = self.banshi(&["worker", "--until-idle"]).output();
            self.exits.push(swept.expect("it starts").status.code());
            store = self.store_view.list().await;
        }
        let rendered = {
            let mut stored = by_path(&self.letters, &store);
            if self.previous.is_some() {
                // What the earlier build has set, this one may set otherwise.
                let ours = template_digests();
                stored.retain(|path, _| {
                    let manifest = store.get(&path.replace(".pdf", ".json"));
                    let manifest = manifest.and_then(|object| object.manifest.as_ref());
                    let set_with = manifest.and_then(|says| says["template"]["sha256"].as_str());
                    set_with.is_some_and(|digest| ours.contains(digest))
                });
            }
            let paths: Vec<&String> = stored.keys().collect();
            let sample = paths.sample(&mut self.rng, self.render_sample);
            sample
                .map(|path| ((*path).clone(), self.render(&stored[*path].body)))
                .collect()
        };
        let letters: Vec<Sent> = self
            .letters
            .iter()
            .map(|letter| letter.sent.clone())
            .collect();
        let seen = Observation {
            sent: letters,
            events: self.archive.heard(),
            store,
            rendered,
            dead: std::mem::take(&mut self.dead),
            thrown_away: std::mem::take(&mut self.thrown_away),
            queues,
            lanes: LANES.map(str::to_owned).into(),
            workers,
            exits: std::mem::take(&mut self.exits),
            complaints: complaints(&self.node.log()[self.logged..]),
            archived: self.archived.take(),
            bounds: std::mem::take(&mut self.bounds),
            may_fail: false,
            two_builds: self.previous.is_some(),
        };
        let verdict = judge(&seen);
        let measured = seen.bounds.iter();
        let measured =
            measured.map(|Bound { what, seen, most }| format!("{what}: {seen} ({most})"));
        self.archive.close();
        remove_topology(&line.channel, &self.prefix, &["heard"]).await;
        let kept = (!verdict.violations.is_empty()).then(|| self.folder.keep());
        Outcome {
            size: seen.sent.len(),
            faults: self.faults,
            verdict,
            seconds: self.started.elapsed().as_secs(),
            notes: measured.collect(),
            kept,
        }
    }

    /// Whether an event was heard.
    pub fn has_ended(&self, id: &str) -> bool {
        self.archive.has(id)
    }

    /// Starts those of the workers that have ended by themselves again, as a supervisor does: a
    /// worker that is refused says so and leaves.
    pub async fn revive(&mut self) {
        for index in 0..self.workers.len() {
            if !self.workers[index].lives() {
                let fresh = self.worker();
                self.workers[index] = fresh;
                self.fault("worker left and was started again");
            }
            self.workers[index].ready().await;
        }
    }

    /// Starts a worker in the place of each that has ended by itself, which may still get ready.
    pub fn replace_the_dead(&mut self) {
        for index in 0..self.workers.len() {
            if !self.workers[index].lives() {
                let fresh = self.worker();
                self.workers[index] = fresh;
                self.died += 1;
            }
        }
    }

    /// How many sessions the workers have had with the broker, as its log names their connections.
    fn sessions(&self) -> u64 {
        let log = self.node.log();
        let named = log[self.logged..]
            .lines()
            .filter(|line| line.contains("client-provided name: banshi"));
        named.filter(|line| line.ends_with(" consume")).count() as u64
    }

    /// What each worker says at `/readyz`.
    pub async fn looks(&self) -> Vec<Option<u16>> {
        let ports = self.workers.iter().filter_map(|worker| worker.admin);
        let asked = ports.map(|port| ask(port, "/readyz"));
        let answers = futures_util::future::join_all(asked).await;
        let status = |answer: Option<(u16, String)>| answer.map(|(status, _)| status);
        answers.into_iter().map(status).collect()
    }

    /// Lets a fault last, in which no worker may say, from a while after its beginning on, that
    /// jobs can come in.
    pub async fn unready(&mut self, fault: &str, lasts: Duration, grace: Duration) {
        let begun = Instant::now();
        let (mut looks, mut wrong) = (0, 0);
        while begun.elapsed() < lasts {
            sleep(Duration::from_millis(500)).await;
            if begun.elapsed() > grace {
                let seen = self.looks().await;
                looks += seen.len();
                wrong += seen.iter().filter(|status| **status != Some(503)).count();
            }
        }
        // For the moment between two sessions.
        self.bound(
            format!("of {looks} looks at /readyz while {fault}, those that were not told 503"),
            wrong as u64,
            looks as u64 / 20,
        );
    }

    /// Every worker must say now that jobs can come in, or soon.
    pub async fn ready_again(&mut self, within: Duration) {
        let begun = Instant::now();
        let mut unready = usize::MAX;
        while unready > 0 && begun.elapsed() < within {
            sleep(Duration::from_millis(200)).await;
            let looks = self.looks().await;
            unready = looks.iter().filter(|status| **status != Some(200)).count();
        }
        self.bound(
            "workers that do not say that they are ready again",
            unready as u64,
            0,
        );
    }

    /// The sum of a metric of all workers, by the beginning of its line.
    pub async fn metric(&self, line: &str) -> u64 {
        let ports = self.workers.iter().filter_map(|worker| worker.admin);
        let mut sum = 0.0;
        for port in ports {
            let (_, text) = ask(port, "/metrics").await.expect("metrics");
            let found = text.lines().find_map(|found| found.strip_prefix(line));
            let number = found.map(|number| number.trim().parse::<f64>().expect("a number"));
            sum += number.unwrap_or(0.0);
        }
        sum as u64
    }

    /// Has what is missing declared, as an administrator does.
    pub async fn declare(&self) {
        declare(&self.node.url(), &self.prefix).await;
    }

    /// Deletes the dead queue when what is in it is taken out, and nothing gets in any more. But a
    /// worker may find that and bind it again before it is gone; then the broker says how many
    /// messages went with it, which were safe until somebody threw them away.
    pub async fn delete_dead(&mut self) {
        let line = self.node.line().await;
        let (queue, exchange) = (self.name("dead"), self.name("dlx"));
        let none = FieldTable::default();
        let unbound = line
            .channel
            .queue_unbind(queue.into(), exchange.into(), "dead".into(), none);
        unbound.await.expect("it was bound");
        self.drain_dead().await;
        self.thrown_away += self.delete("dead").await as usize;
    }

    /// How much was taken out of the dead queue so far.
    pub fn drained(&self) -> usize {
        self.dead.len()
    }

    /// Takes everything out of the dead queue.
    pub async fn drain_dead(&mut self) {
        let (url, queue) = (self.node.url(), self.name("dead"));
        let drained = tokio::task::spawn_blocking(move || drain(&url, &queue)).await;
        self.dead.extend(drained.expect("a queue"));
    }

    /// Hears by the log of events what was said while no other queue was bound.
    pub async fn hear_the_log(&self) {
        let line = self.node.line().await;
        let channel = &line.channel;
        let limit = channel.basic_qos(100, BasicQosOptions::default());
        limit.await.expect("a limit");
        let mut first = FieldTable::default();
        first.insert(
            "x-stream-offset".into(),
            AMQPValue::LongString("first".into()),
        );
        let options = BasicConsumeOptions::default();
        let (queue, tag) = (self.name("events.log"), "log");
        let consumer = channel.basic_consume(queue.into(), tag.into(), options, first);
        let mut consumer = consumer.await.expect("a consumer");
        // A stream has no end: it is over when nothing comes for a while.
        while let Ok(Some(Ok(event))) = timeout(Duration::from_secs(2), consumer.next()).await {
            self.archive.add(&event.data, &self.store_view).await;
            let acknowledged = event.acker.ack(BasicAckOptions::default());
            acknowledged.await.expect("a connection");
        }
    }

    /// Deletes a queue, with what is in it.
    pub async fn delete(&self, queue: &str) -> u32 {
        let line = self.node.line().await;
        let deleted = line
            .channel
            .queue_delete(self.name(queue).into(), QueueDeleteOptions::default());
        deleted.await.expect("a queue")
    }

    /// Whether there is such a queue.
    pub async fn is_there(&self, queue: &str) -> bool {
        self.ready(queue).await != NOT_THERE
    }

    /// Waits until a queue is there again.
    pub async fn until_there(&self, queue: &str) {
        let mut progress = Progress::new(self.patience);
        while !self.is_there(queue).await && progress.hopeful(()) {
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Removes what waits in a queue, and says how much that was.
    pub async fn purge(&self, queue: &str) -> u64 {
        let line = self.node.line().await;
        let purged = line
            .channel
            .queue_purge(self.name(queue).into(), QueuePurgeOptions::default());
        u64::from(purged.await.expect("a queue"))
    }

    /// Strikes as many jobs out of the ledger as were purged, if so many have come to no end; what
    /// is missing beyond them is for the judge to see.
    pub async fn forget_the_purged(&mut self, purged: u64) {
        let mut quiet = Progress::new(Duration::from_secs(10));
        while quiet.hopeful(self.heard()) {
            sleep(Duration::from_millis(200)).await;
        }
        let ended = self.ended();
        let mut left = purged;
        self.letters.retain(|letter| {
            let open = !letter.sent.ends.any_in(&ended);
            let struck = open && left > 0;
            left -= u64::from(struck);
            !struck
        });
        assert_eq!(left, 0, "more was purged than is missing");
    }

    /// The archive hears nothing for a while; its queue fills.
    pub fn deafen(&self, deaf: bool) {
        self.archive.deafen(deaf);
    }

    /// No queue takes events any more.
    pub async fn unbind_events(&self) {
        let line = self.node.line().await;
        for queue in ["heard", "events.log"] {
            let (queue, exchange) = (self.name(queue), self.name("events"));
            let none = FieldTable::default();
            let unbound =
                line.channel
                    .queue_unbind(queue.into(), exchange.into(), "#".into(), none);
            unbound.await.expect("it was bound");
        }
    }

    /// They do again.
    pub async fn bind_events(&self) {
        let line = self.node.line().await;
        for queue in ["heard", "events.log"] {
            let (queue, exchange) = (self.name(queue), self.name("events"));
            let (bind, none) = (QueueBindOptions::default(), FieldTable::default());
            let bound =
                line.channel
                    .queue_bind(queue.into(), exchange.into(), "#".into(), bind, none);
            bound.await.expect("a binding");
        }
    }

    /// What `banshi render` makes of a job: the digest.
    fn render(&self, body: &[u8]) -> String {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join("job.json"), body).expect("a file");
        let ran = Command::new(BANSHI)
            .args(["render", "job.json", "-o", "report.pdf"])
            .envs(&self.settings)
            .current_dir(folder.path())
            .output()
            .expect("it starts");
        let said = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "{said}");
        sha256(&std::fs::read(folder.path().join("report.pdf")).expect("a PDF"))
    }
}

/// Whether something still happens.
struct Progress<T> {
    patience: Duration,
    last: Option<T>,
    since: Instant,
}

impl<T: PartialEq> Progress<T> {
    fn new(patience: Duration) -> Progress<T> {
        Progress {
            patience,
            last: None,
            since: Instant::now(),
        }
    }

    fn hopeful(&mut self, now: T) -> bool {
        if self.last.as_ref() != Some(&now) {
            (self.last, self.since) = (Some(now), Instant::now());
        }
        self.since.elapsed() < self.patience
    }
}

fn is_empty(depth: Option<&Depth>) -> bool {
    depth.is_none_or(|depth| depth.ready + depth.unacked == 0)
}

async fn ready(line: &Line, queue: &str) -> u32 {
    let options = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    let asked = line
        .channel
        .queue_declare(queue.into(), options, FieldTable::default());
    match asked.await {
        Ok(queue) => queue.message_count(),
        // A node that is just coming up does not know yet.
        Err(_) => NOT_THERE,
    }
}

/// Has the topology declared, as a sender does.
async fn declare(url: &str, prefix: &str) {
    let mut queue = crate::letters::settings().queue;
    queue.url = url.to_owned();
    queue.prefix = prefix.to_owned();
    let client = banshi::transport::Client::open(&queue)
        .await
        .expect("the topology");
    client.close().await;
}

/// Everything in the dead queue. By hand: some of it no library can read.
fn drain(url: &str, queue: &str) -> Vec<Dead> {
    let mut dead = Vec::new();
    let mut raw = RawAmqp::connect(url);
    while let Some(message) = raw.get(queue) {
        let code = header(&message, "report_error_code");
        let code = code.or_else(|| header(&message, "x-first-death-reason"));
        dead.push(Dead {
            code: code.unwrap_or_else(|| "none".to_owned()),
            body: sha256(&message.body),
        });
    }
    dead
}

/// A header that is text, if it is there.
fn header(message: &RawMessage, name: &str) -> Option<String> {
    let mut rest = &message.properties[..];
    let flags = u16::from_be_bytes([take(&mut rest, 1)?[0], take(&mut rest, 1)?[0]]);
    // content_type and content_encoding stand before the headers.
    for flag in [1 << 15, 1 << 14] {
        if flags & flag != 0 {
            short(&mut rest)?;
        }
    }
    let has_headers = flags & (1 << 13) != 0;
    let mut table = has_headers.then(|| long(&mut rest))??;
    while !table.is_empty() {
        let found = short(&mut table)?;
        let kind = take(&mut table, 1)?[0];
        // What is nested is passed over by its length, however deep it is.
        let value = match kind {
            b'S' | b'x' | b'A' | b'F' => long(&mut table)?,
            b'V' => &[],
            b't' | b'b' | b'B' => take(&mut table, 1)?,
            b's' | b'u' => take(&mut table, 2)?,
            b'I' | b'i' | b'f' => take(&mut table, 4)?,
            b'D' => take(&mut table, 5)?,
            _ => take(&mut table, 8)?,
        };
        if found == name.as_bytes() && kind == b'S' {
            return Some(String::from_utf8_lossy(value).into_owned());
        }
    }
    None
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(count)?;
    *rest = left;
    Some(taken)
}

fn short<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = take(rest, 1)?[0];
    take(rest, usize::from(length))
}

fn long<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = u32::from_be_bytes(take(rest, 4)?.try_into().ok()?);
    take(rest, length as usize)
}

/// A port of this machine that nobody listens on.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

/// What must not stand in the broker's log: an acknowledgement of what is not ours.
fn complaints(log: &str) -> Vec<String> {
    log.lines()
        .filter(|line| line.contains("unknown delivery tag"))
        .map(str::to_owned)
        .collect()
}

//! A deployment of its own for a test: a queue that nobody else uses, a store, and the real
//! program in processes of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use lapin::options::*;
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use serde_json::Value;

use super::{BANSHI, repository};

/// Longer than anything that is waited for takes; on the way there the wait is over in time.
const PATIENCE: Duration = Duration::from_secs(120);

/// A queue, a store and the settings for both.
pub struct Deployment {
    folder: tempfile::TempDir,
    queue: Queue,
    settings: BTreeMap<String, String>,
}

enum Queue {
    Amqp(Box<Broker>),
    Spool,
}

/// A connection of the test's own, and the prefix of its queues.
struct Broker {
    prefix: String,
    channel: Channel,
    _connection: Connection,
}

/// What lies in the dead queue.
pub struct Dead {
    pub body: Vec<u8>,
    pub code: String,
}

impl Deployment {
    /// Folders of files.
    pub fn spool() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let url = format!("spool:{}", folder.path().join("spool").display());
        Self::new(folder, Queue::Spool, [("QUEUE__URL", url)])
    }

    /// RabbitMQ at `AMQP_URL`, with a prefix of its own. A first worker declares the topology,
    /// and a queue of the test's own hears every event.
    pub async fn amqp() -> Self {
        Self::amqp_at(&amqp_url()).await
    }

    /// The same at another broker.
    pub async fn amqp_at(url: &str) -> Self {
        let url = url.to_owned();
        let connection = Connection::connect(&url, ConnectionProperties::default())
            .await
            .unwrap_or_else(|error| panic!("no broker at {url}: {error}"));
        let channel = connection.create_channel().await.expect("a channel");
        let prefix = format!("test-{:08x}", rand::random::<u32>());
        let settings = [("QUEUE__URL", url), ("QUEUE__PREFIX", prefix.clone())];
        let folder = tempfile::tempdir().expect("a temporary folder");
        let queue = Queue::Amqp(Box::new(Broker {
            prefix: prefix.clone(),
            channel,
            _connection: connection,
        }));
        let deployment = Self::new(folder, queue, settings);
        succeeded(
            &deployment
                .banshi(&["worker", "--until-idle"])
                .output()
                .expect("it starts"),
        );
        let Queue::Amqp(broker) = &deployment.queue else {
            unreachable!()
        };
        let channel = &broker.channel;
        let (heard, events) = (format!("{prefix}.heard"), format!("{prefix}.events"));
        let (durable, none) = (QueueDeclareOptions::durable(), FieldTable::default());
        channel
            .queue_declare(heard.clone().into(), durable, none.clone())
            .await
            .expect("a queue");
        let bind = QueueBindOptions::default();
        channel
            .queue_bind(heard.into(), events.into(), "#".into(), bind, none)
            .await
            .expect("a binding");
        deployment
    }

    fn new<const N: usize>(
        folder: tempfile::TempDir,
        queue: Queue,
        settings: [(&str, String); N],
    ) -> Self {
        let store = format!("file:{}", folder.path().join("store").display());
        let common = [
            ("STORE__URL", store),
            ("STORE__CREATE", "always".to_owned()),
            ("FONTS__DIR", repository("fonts").display().to_string()),
            ("ADMIN__LISTEN", String::new()),
            ("RENDER__MAX_PAGES", "40".to_owned()),
            ("RENDER__THREADS", "1".to_owned()),
        ];
        let settings = settings.into_iter().chain(common);
        let settings = settings
            .map(|(key, value)| (format!("BANSHI__{key}"), value))
            .collect();
        Deployment {
            folder,
            queue,
            settings,
        }
    }

    /// The same deployment with another setting, as `RENDER__THREADS`.
    pub fn with(mut self, key: &str, value: &str) -> Self {
        self.settings
            .insert(format!("BANSHI__{key}"), value.to_owned());
        self
    }

    /// The same deployment with variables that are no settings.
    pub fn with_variables<const N: usize>(mut self, variables: [(&str, String); N]) -> Self {
        let variables = variables.map(|(name, value)| (name.to_owned(), value));
        self.settings.extend(variables);
        self
    }

    /// The same deployment with a store elsewhere, and the variables that lead to it.
    pub fn storing_at(mut self, place: &super::stores::Place) -> Self {
        let variables = place.settings.aws.iter();
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        self.settings.extend(variables);
        self.with("STORE__URL", &place.settings.url)
    }

    /// The folder that everything of it is in.
    pub fn folder(&self) -> &Path {
        self.folder.path()
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

    /// A worker that runs until it is stopped or killed.
    pub fn worker(&self) -> Worker {
        self.start(&mut self.banshi(&["worker"]))
    }

    /// The same, with a variable that is no setting.
    pub fn worker_with(&self, variable: &str, value: &str) -> Worker {
        self.start(self.banshi(&["worker"]).env(variable, value))
    }

    /// A worker that was prepared otherwise.
    pub fn start(&self, command: &mut Command) -> Worker {
        let log = self
            .folder
            .path()
            .join(format!("worker-{:08x}.log", rand::random::<u32>()));
        let file = std::fs::File::create(&log).expect("a log");
        let child = command.stdin(Stdio::null()).stderr(file).spawn();
        Worker {
            child: child.expect("it starts"),
            log,
        }
    }

    /// A worker that leaves when nothing is left to do.
    pub fn work_until_idle(&self) {
        succeeded(
            &self
                .banshi(&["worker", "--until-idle"])
                .output()
                .expect("it starts"),
        );
    }

    /// Puts a job's bytes on the queue, as an upstream system does.
    pub async fn send(&self, name: &str, body: &[u8]) {
        self.send_as(name, body, BasicProperties::default()).await;
    }

    /// The same, with properties of the message.
    pub async fn send_as(&self, name: &str, body: &[u8], properties: BasicProperties) {
        self.send_by("bulk", name, body, properties).await;
    }

    /// The same, by the lane for what cannot wait.
    pub async fn send_urgent(&self, name: &str, body: &[u8]) {
        let properties = BasicProperties::default();
        self.send_by("urgent", name, body, properties).await;
    }

    /// The same, with a routing key.
    pub async fn send_by(&self, lane: &str, name: &str, body: &[u8], properties: BasicProperties) {
        match &self.queue {
            Queue::Spool => {
                let jobs = self.folder.path().join("spool/jobs");
                std::fs::create_dir_all(&jobs).expect("the spool");
                let elsewhere = self.folder.path().join(format!("{name}.part"));
                std::fs::write(&elsewhere, body).expect("a file");
                std::fs::rename(&elsewhere, jobs.join(format!("{name}.json"))).expect("renamed in");
            }
            Queue::Amqp(broker) => {
                let Broker {
                    prefix, channel, ..
                } = broker.as_ref();
                let properties = properties
                    .with_content_type("application/json".into())
                    .with_delivery_mode(2);
                let exchange = format!("{prefix}.jobs");
                let options = BasicPublishOptions::default();
                channel
                    .basic_publish(exchange.into(), lane.into(), options, body, properties)
                    .await
                    .expect("it is published");
            }
        }
    }

    /// Jobs that wait in the bulk lane, or in the folders of the spool: in nobody's hands.
    pub async fn waiting(&self) -> usize {
        match &self.queue {
            Queue::Spool => {
                let spool = self.folder.path().join("spool");
                let waiting = names(&spool.join("jobs")).len() + names(&spool.join("retry")).len();
                // Looked at last: a job that was just counted may be in hand by now.
                waiting.saturating_sub(claimed(&spool).len())
            }
            Queue::Amqp(broker) => {
                let options = QueueDeclareOptions {
                    passive: true,
                    ..QueueDeclareOptions::default()
                };
                let queue = format!("{}.jobs.bulk", broker.prefix).into();
                let asked = broker
                    .channel
                    .queue_declare(queue, options, FieldTable::default());
                asked.await.expect("a queue").message_count() as usize
            }
        }
    }

    /// The address of the administration port, of which there is one for a worker.
    pub fn with_admin(self) -> (Self, String) {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = free.local_addr().expect("an address").to_string();
        (self.with("ADMIN__LISTEN", &address), address)
    }

    /// A queue that hears the replies of one routing key.
    pub async fn listen_for_replies(&self, key: &str) {
        self.listen("replied", "replies", key).await;
    }

    /// A queue, `statuses`, that hears what workers say of themselves.
    pub async fn listen_for_statuses(&self) {
        self.listen("statuses", "status", "#").await;
    }

    async fn listen(&self, queue: &str, exchange: &str, key: &str) {
        let Queue::Amqp(broker) = &self.queue else {
            panic!("a spool has no exchange")
        };
        let (queue, exchange) = (self.name(queue), self.name(exchange));
        let channel = &broker.channel;
        // Exclusive: it goes with the test's connection.
        let options = QueueDeclareOptions {
            exclusive: true,
            ..QueueDeclareOptions::default()
        };
        let none = FieldTable::default();
        channel
            .queue_declare(queue.clone().into(), options, none.clone())
            .await
            .expect("a queue");
        let bind = QueueBindOptions::default();
        channel
            .queue_bind(queue.into(), exchange.into(), key.into(), bind, none)
            .await
            .expect("a binding");
    }

    /// Every event published so far and not yet read.
    pub async fn events(&self) -> Vec<Value> {
        let bodies = match &self.queue {
            Queue::Spool => read_folder(&self.folder.path().join("spool/events"), ".json"),
            Queue::Amqp(_) => self
                .drain("heard")
                .await
                .into_iter()
                .map(|(body, _)| body)
                .collect(),
        };
        bodies
            .iter()
            .map(|body| serde_json::from_slice(body).expect("an event is JSON"))
            .collect()
    }

    /// Everything in the dead queue, taken out.
    pub async fn dead(&self) -> Vec<Dead> {
        match &self.queue {
            Queue::Spool => {
                let folder = self.folder.path().join("spool/dead");
                let mut dead = Vec::new();
                for name in names(&folder) {
                    let Some(stem) = name.strip_suffix(".reason.json") else {
                        continue;
                    };
                    let reason = std::fs::read(folder.join(&name)).expect("a reason");
                    let reason: Value = serde_json::from_slice(&reason).expect("JSON");
                    let body = std::fs::read(folder.join(format!("{stem}.json"))).expect("a job");
                    dead.push(Dead {
                        body,
                        code: reason["code"].as_str().expect("a code").to_owned(),
                    });
                }
                dead
            }
            Queue::Amqp(_) => self
                .drain("dead")
                .await
                .into_iter()
                .map(|(body, properties)| {
                    let headers = properties.headers().clone().unwrap_or_default();
                    let code = match headers.inner().get("report_error_code") {
                        Some(code) => code.as_long_string().expect("text").to_string(),
                        // Without a reason of ours it was rejected itself, which the broker writes.
                        None => {
                            assert_eq!(died_of(&headers).as_deref(), Some("rejected"));
                            "E-JSON".to_owned()
                        }
                    };
                    Dead { body, code }
                })
                .collect(),
        }
    }

    /// Jobs that are left anywhere on their way.
    pub async fn left(&self) -> Vec<String> {
        match &self.queue {
            Queue::Spool => {
                let spool = self.folder.path().join("spool");
                let mut left = names(&spool.join("jobs"));
                left.append(&mut names(&spool.join("retry")));
                left.append(&mut claimed(&spool));
                left.retain(|name| name.ends_with(".json"));
                left
            }
            Queue::Amqp(_) => {
                let mut left = Vec::new();
                for queue in [
                    "jobs.bulk",
                    "jobs.urgent",
                    "retry.5s",
                    "retry.30s",
                    "retry.5m",
                    "unrouted",
                ] {
                    let found = self.drain(queue).await;
                    left.extend(found.iter().map(|_| queue.to_owned()));
                }
                left
            }
        }
    }

    /// The full name of an exchange or a queue.
    pub fn name(&self, rest: &str) -> String {
        let Queue::Amqp(broker) = &self.queue else {
            panic!("a spool has no names")
        };
        format!("{}.{rest}", broker.prefix)
    }

    /// Messages that are ready in a queue.
    pub async fn ready(&self, queue: &str) -> usize {
        let Queue::Amqp(broker) = &self.queue else {
            panic!("a spool has no queue")
        };
        let options = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        let name = self.name(queue).into();
        let asked = broker
            .channel
            .queue_declare(name, options, FieldTable::default());
        asked.await.expect("a queue").message_count() as usize
    }

    /// Takes everything out of a queue.
    pub async fn drain(&self, queue: &str) -> Vec<(Vec<u8>, BasicProperties)> {
        let Queue::Amqp(broker) = &self.queue else {
            panic!("a spool has no queue")
        };
        let Broker {
            prefix, channel, ..
        } = broker.as_ref();
        let queue = format!("{prefix}.{queue}");
        let mut found = Vec::new();
        let options = BasicGetOptions { no_ack: true };
        while let Some(message) = channel
            .basic_get(queue.clone().into(), options)
            .await
            .expect("a queue")
        {
            found.push((message.delivery.data, message.delivery.properties));
        }
        found
    }

    /// Removes what is ready in a queue, and says how much that was.
    pub async fn purge(&self, queue: &str) -> usize {
        let Queue::Amqp(broker) = &self.queue else {
            panic!("a spool has no queue")
        };
        let name = self.name(queue).into();
        let purged = broker
            .channel
            .queue_purge(name, QueuePurgeOptions::default());
        purged.await.expect("a queue") as usize
    }

    /// The test's own connection anew, after the broker was gone.
    pub async fn reconnect(&mut self, url: &str) {
        let Queue::Amqp(broker) = &mut self.queue else {
            panic!("a spool has no connection")
        };
        let connection = Connection::connect(url, ConnectionProperties::default())
            .await
            .unwrap_or_else(|error| panic!("no broker at {url}: {error}"));
        broker.channel = connection.create_channel().await.expect("a channel");
        broker._connection = connection;
    }

    /// Deletes one of its queues.
    pub async fn delete_queue(&self, queue: &str) {
        let Queue::Amqp(broker) = &self.queue else {
            panic!("a spool has no queue")
        };
        let (name, options) = (
            format!("{}.{queue}", broker.prefix),
            QueueDeleteOptions::default(),
        );
        let deleted = broker.channel.queue_delete(name.into(), options);
        deleted.await.expect("deleted");
    }

    /// A result's file, `annual-report/2020/2020/x.pdf`.
    pub fn stored(&self, key: &str) -> Vec<u8> {
        let path = self.folder.path().join("store").join(key);
        std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Puts a file where the store wants a folder: it can keep nothing until that is removed.
    pub fn break_store(&self) -> PathBuf {
        let in_the_way = self.folder.path().join("store/annual-report");
        std::fs::create_dir_all(in_the_way.parent().expect("it has one")).expect("the store");
        std::fs::write(&in_the_way, "in the way").expect("a file");
        in_the_way
    }

    /// Takes the whole store away, as a disk that is not mounted any more. With it comes back what
    /// was in it.
    pub fn lose_store(&self) {
        let store = self.folder.path().join("store");
        std::fs::rename(&store, store.with_extension("away")).expect("it was there");
        std::fs::write(&store, "in the way").expect("a file");
    }

    /// The end of that.
    pub fn restore_store(&self) {
        let store = self.folder.path().join("store");
        std::fs::remove_file(&store).expect("it was in the way");
        std::fs::rename(store.with_extension("away"), &store).expect("it was away");
    }

    /// A path in the deployment's own folder.
    pub fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// Every result in the store, by its key.
    pub fn store(&self) -> Vec<String> {
        fn walk(folder: &Path, prefix: &str, keys: &mut Vec<String>) {
            for name in names(folder) {
                let (path, key) = (folder.join(&name), format!("{prefix}{name}"));
                if path.is_dir() {
                    walk(&path, &format!("{key}/"), keys)
                } else {
                    keys.push(key)
                }
            }
        }
        let mut keys = Vec::new();
        walk(&self.folder.path().join("store"), "", &mut keys);
        // What the store keeps for itself has names that begin with a dot.
        keys.retain(|key| !key.starts_with('.'));
        keys
    }

    /// Waits until something is so.
    pub async fn until(&self, what: &str, mut so: impl AsyncFnMut(&Self) -> bool) {
        let started = Instant::now();
        while !so(self).await {
            assert!(started.elapsed() < PATIENCE, "waited in vain until {what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Removes what was declared at the broker.
    pub async fn remove(self) {
        let Queue::Amqp(broker) = &self.queue else {
            return;
        };
        let Broker {
            prefix, channel, ..
        } = broker.as_ref();
        remove_topology(channel, prefix, &["heard"]).await;
    }
}

/// What the broker says that a message died of last.
pub fn died_of(headers: &FieldTable) -> Option<String> {
    let deaths = headers.inner().get("x-death")?.as_array()?;
    let last = deaths.as_slice().first()?.as_field_table()?;
    let reason = last.inner().get("reason")?.as_long_string()?;
    Some(reason.to_string())
}

/// For `rabbitmqctl eval`, before a node is killed: every node writes down what it knows of its
/// queues. Mnesia has the queues and bindings; a DETS table (Ra's `names.dets`) has which log is
/// which queue's, and is written once nobody has asked it for half a second. A node that is killed
/// before that can come up with new queues that are out of reach.
pub const WRITE_DOWN_QUEUES: &str = "rpc:multicall(mnesia, sync_log, []), \
     [rpc:multicall(dets, sync, [Table]) || Table <- dets:all()].";

/// Removes what banshi declares under a prefix, and the test's own queues.
pub async fn remove_topology(channel: &Channel, prefix: &str, own: &[&str]) {
    const QUEUES: [&str; 8] = [
        "jobs.urgent",
        "jobs.bulk",
        "retry.5s",
        "retry.30s",
        "retry.5m",
        "dead",
        "unrouted",
        "events.log",
    ];
    const EXCHANGES: [&str; 9] = [
        "jobs",
        "unrouted",
        "retry.5s",
        "retry.30s",
        "retry.5m",
        "dlx",
        "events",
        "replies",
        "status",
    ];
    for queue in QUEUES.iter().chain(own) {
        let (name, options) = (format!("{prefix}.{queue}"), QueueDeleteOptions::default());
        channel
            .queue_delete(name.into(), options)
            .await
            .expect("deleted");
    }
    for exchange in EXCHANGES {
        let (name, options) = (
            format!("{prefix}.{exchange}"),
            ExchangeDeleteOptions::default(),
        );
        channel
            .exchange_delete(name.into(), options)
            .await
            .expect("deleted");
    }
}

/// A running worker.
pub struct Worker {
    child: Child,
    log: PathBuf,
}

impl Worker {
    /// SIGKILL: no warning, no clean-up.
    pub fn kill(mut self) {
        self.child.kill().expect("it was running");
        self.child.wait().expect("it is gone");
    }

    /// SIGTERM, and its exit code once it has left.
    pub fn stop(self) -> Option<i32> {
        self.signal("TERM");
        self.wait()
    }

    /// Its exit code, once it has left by itself.
    pub fn wait(mut self) -> Option<i32> {
        self.child.wait().expect("it leaves").code()
    }

    /// Its log and its exit code, once it has left by itself.
    pub fn ended(mut self) -> (String, Option<i32>) {
        let code = self.child.wait().expect("it leaves").code();
        (self.log(), code)
    }

    /// Sends it a signal.
    pub fn signal(&self, name: &str) {
        signal(&[self.child.id()], name);
    }

    /// Sends each of its typesetters a signal.
    pub fn signal_typesetters(&self, name: &str) {
        let children = self.typesetters();
        assert!(!children.is_empty(), "it has typesetters");
        signal(&children, name);
    }

    /// The process ids of its typesetters.
    pub fn typesetters(&self) -> Vec<u32> {
        let pid = self.child.id();
        let task = format!("/proc/{pid}/task");
        // A child belongs to the thread that started it.
        let children = names(Path::new(&task)).into_iter().flat_map(|thread| {
            let children = std::fs::read_to_string(format!("{task}/{thread}/children"));
            let children = children.unwrap_or_default();
            let pids = children.split_whitespace();
            pids.map(|pid| pid.parse().expect("a number"))
                .collect::<Vec<u32>>()
        });
        children.collect()
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The most memory that it has had at once, in KiB.
    pub fn most_memory(&self) -> u64 {
        let status = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(status).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let most = line.expect("its high-water mark").trim();
        let most = most.strip_suffix(" kB").expect("in KiB");
        most.parse().expect("a number")
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).expect("its log")
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // A test that failed leaves no worker behind; one that ended has none.
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.child.kill().expect("it can be killed");
        }
    }
}

fn signal(pids: &[u32], name: &str) {
    let sent = Command::new("kill")
        .arg(format!("-{name}"))
        .args(pids.iter().map(u32::to_string))
        .status();
    assert!(sent.expect("kill is there").success());
}

/// What a worker answers on its administration port, if it does: status and body.
pub fn ask(address: &str, path: &str) -> Option<(u16, String)> {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(address).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}

/// The broker of the tests.
#[expect(
    clippy::disallowed_methods,
    reason = "how `make test` names its broker"
)]
pub fn amqp_url() -> String {
    std::env::var("AMQP_URL").expect("AMQP_URL names a RabbitMQ; `make test` starts one")
}

/// A program must have ended well.
pub fn succeeded(output: &Output) {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The jobs in the hands of any worker.
fn claimed(spool: &Path) -> Vec<String> {
    let workers = names(&spool.join("claimed"));
    let mut claimed = workers
        .iter()
        .flat_map(|worker| names(&spool.join("claimed").join(worker)))
        .collect::<Vec<_>>();
    claimed.retain(|name| name.ends_with(".json"));
    claimed
}

fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.expect("an entry").file_name();
    let mut names: Vec<_> = entries
        .map(|entry| name(entry).to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn read_folder(folder: &Path, end: &str) -> Vec<Vec<u8>> {
    names(folder)
        .iter()
        .filter(|name| name.ends_with(end) && !name.starts_with('.'))
        .map(|name| std::fs::read(folder.join(name)).expect("a file"))
        .collect()
}

//! Workers that come and go, a few at a time or a machine at once.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::Stage;
use crate::autoscaler::{Autoscaler, Rules, objection};
use crate::bench::{Bench, Outcome, free_port};
use crate::letters::{Letter, long_report, mixed, report};
use crate::node::Node;
use crate::process::{Worker, ask, send};

/// The port of the node whose management API is asked.
const WITH_MANAGEMENT: u16 = 5950;

/// A worker that was told to leave.
struct Leaving {
    worker: Worker,
    since: Instant,
}

/// E35: what KEDA does with deploy/kubernetes. The management API is asked how many jobs the lanes
/// have, workers are added, and removed with SIGTERM, the busiest first; every second hangs in its
/// last moments and is killed when the grace period is over. A backlog, then bursts by both lanes,
/// and a few long reports before each removal, so that who is removed has one in hand.
///
/// The small run is a fraction of it: of the times, and of the jobs for each worker.
pub async fn autoscaled(stage: Stage) -> Outcome {
    let fraction = stage.pick(30, 1);
    let rules = Rules::read().in_small(fraction);
    let mut bench = Bench::on(&stage, &counting_node(fraction).await).await;
    bench.watched();
    bench.set("QUEUE__PREFETCH", stage.pick("2", "16"));
    bench.set("WORKER__DRAIN_TIMEOUT", stage.pick("1", "25"));
    let jobs = rules.triggers[0].value * stage.pick(4, 12);
    let backlog = mixed("e35", jobs as usize, &mut bench.rng);
    let jobs = backlog.len();
    let burst = mixed("e35-burst", jobs / 3, &mut bench.rng);
    let urgent = (0..stage.pick(6, 60))
        .map(|number| Letter::good(&report(&format!("e35-urgent-{number}"), "急件。")).urgent());
    let urgent: Vec<Letter> = urgent.collect();
    bench.send(backlog).await;
    until_counted(&bench, &rules, jobs).await;
    bench.work(rules.least).await;

    let mut bursts = vec![burst, urgent];
    let mut autoscaler = Autoscaler::new(rules.clone());
    let (mut counts, mut leaving, mut removed) = (Vec::new(), Vec::new(), 0_usize);
    let started = Instant::now();
    let patience = Duration::from_secs(stage.pick(90, 1800));
    while started.elapsed() < patience {
        sleep(rules.polling).await;
        if bench.heard() > jobs / 2
            && let Some(burst) = bursts.pop()
        {
            bench.send(burst).await;
        }
        see_off(&mut bench, &mut leaving, rules.grace);
        let waiting = waiting(&bench, &rules).await;
        let current = bench.workers().len();
        let wanted = autoscaler.decide(started.elapsed(), current, waiting.as_deref());
        for _ in current..wanted {
            let fresh = bench.worker();
            bench.workers().push(fresh);
            bench.fault("worker added");
        }
        for _ in wanted..current {
            let long = (0..4).map(|number| {
                let id = format!("e35-long-{removed}-{number}");
                Letter::good(&long_report(&id, 20))
            });
            bench.send(long.collect()).await;
            let (busiest, in_hand) = busiest(&mut bench).await;
            let worker = bench.workers().remove(busiest);
            worker.signal("TERM");
            removed += 1;
            if removed % 2 == 0 {
                worker.signal("STOP");
            }
            bench.fault(match in_hand {
                0 => "idle worker removed",
                _ => "busy worker removed",
            });
            leaving.push(Leaving {
                worker,
                since: Instant::now(),
            });
        }
        counts.push(bench.workers().len());
        if bursts.is_empty() && objection(rules.least, &counts).is_none() {
            break;
        }
    }
    while !leaving.is_empty() {
        sleep(Duration::from_millis(50)).await;
        see_off(&mut bench, &mut leaving, rules.grace);
    }
    let busy = bench.injected("busy worker removed");
    let killed = bench.injected("removed worker killed after its grace period");
    let mut outcome = bench.finish().await;
    if let Some(why) = objection(rules.least, &counts) {
        outcome.object(why);
    }
    if busy == 0 || killed == 0 {
        outcome.object("no busy worker was removed, or none was killed after its grace period");
    }
    let peak = counts.iter().max().copied().unwrap_or_default();
    outcome.notes.push(format!(
        "{} looks at the queues; {} workers, {peak} at most",
        counts.len(),
        rules.least
    ));
    outcome
}

/// A node with the management API, which counts in time.
async fn counting_node(fraction: u32) -> Arc<Node> {
    let interval = 5_000 / fraction.min(10);
    let plugins = "rabbitmq_management".to_owned();
    let environment = vec![("BANSHI_TEST_BROKER_PLUGINS", plugins)];
    let lines = format!("collect_statistics_interval = {interval}\n");
    let node = Node::of_conf_with(WITH_MANAGEMENT, &lines, environment).await;
    // Of a quorum queue the API knows what the queue tells at its own interval.
    let set = format!("application:set_env(rabbit, quorum_tick_interval, {interval}).");
    node.ctl(&["eval", &set]).await;
    Arc::new(node)
}

/// Waits until the management API has counted what was sent. It knows nothing of a young queue.
async fn until_counted(bench: &Bench, rules: &Rules, jobs: usize) {
    let since = Instant::now();
    loop {
        let counted = waiting(bench, rules).await;
        if counted.as_deref() == Some(&[jobs as u64, 0]) {
            return;
        }
        assert!(
            since.elapsed() < Duration::from_secs(60),
            "the management API counts {counted:?} and not {jobs}"
        );
        sleep(Duration::from_millis(200)).await;
    }
}

/// What the management API counts in the lanes, ready and held; none, when it does not say.
async fn waiting(bench: &Bench, rules: &Rules) -> Option<Vec<u64>> {
    let client = reqwest::Client::builder().timeout(Duration::from_secs(5));
    let client = client.build().expect("a client");
    let mut counts = Vec::new();
    for trigger in &rules.triggers {
        let queue = bench.name(&trigger.queue);
        let port = bench.node().port() + 10_000;
        let asked = client
            .get(format!("http://127.0.0.1:{port}/api/queues/%2f/{queue}"))
            .basic_auth("guest", Some("guest"));
        let answer = asked.send().await.ok()?.error_for_status().ok()?;
        let told: Value = serde_json::from_slice(&answer.bytes().await.ok()?).ok()?;
        // A queue that was just declared is not counted yet.
        counts.push(told["messages"].as_u64()?);
    }
    Some(counts)
}

/// The worker with the most jobs in hand, and how many. One that has any is waited for a little.
async fn busiest(bench: &mut Bench) -> (usize, u64) {
    let mut found = (0, 0);
    for _ in 0..20 {
        found = busiest_now(bench).await;
        if found.1 > 0 {
            break;
        }
        sleep(Duration::from_millis(50)).await;
    }
    found
}

async fn busiest_now(bench: &mut Bench) -> (usize, u64) {
    let mut most = (0, 0);
    for index in 0..bench.workers().len() {
        let port = bench.workers()[index].admin.expect("it has one");
        let told = ask(port, "/metrics").await;
        let text = told.map(|(_, text)| text).unwrap_or_default();
        let lanes = text
            .lines()
            .filter(|line| line.starts_with("banshi_inflight{"));
        let jobs = lanes.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
        let jobs = jobs.sum::<f64>() as u64;
        if jobs > most.1 {
            most = (index, jobs);
        }
    }
    most
}

/// Lets those go that have left, and kills those whose time is over.
fn see_off(bench: &mut Bench, leaving: &mut Vec<Leaving>, grace: Duration) {
    leaving.retain_mut(|Leaving { worker, since }| {
        if let Some(exit) = worker.exit() {
            bench.left(exit);
            return false;
        }
        if since.elapsed() < grace {
            return true;
        }
        worker.kill();
        bench.fault("removed worker killed after its grace period");
        false
    });
}

/// A machine: a folder for all that its programs write beside the store.
struct Machine {
    folder: PathBuf,
    workers: Vec<Worker>,
    console: Worker,
    console_port: u16,
}

impl Machine {
    async fn start(bench: &Bench, number: usize, workers: usize) -> Machine {
        let folder = bench.folder().join(format!("machine-{number}"));
        std::fs::create_dir_all(folder.join("tmp")).expect("a folder");
        let here = |mut command: Command| {
            command
                .current_dir(&folder)
                .env("TMPDIR", folder.join("tmp"));
            command
        };
        let worker = |_| bench.start(here(bench.banshi(&["worker"])));
        let mut workers: Vec<Worker> = (0..workers).map(worker).collect();
        let console_port = free_port();
        let mut console = here(bench.banshi(&["console"]));
        console.env(
            "BANSHI__CONSOLE__LISTEN",
            format!("127.0.0.1:{console_port}"),
        );
        let log = bench.folder().join(format!("console-{number}.log"));
        let console = Worker::start(console, log);
        for worker in &mut workers {
            worker.ready().await;
        }
        let machine = Machine {
            folder,
            workers,
            console,
            console_port,
        };
        let since = Instant::now();
        while !machine.console_answers().await {
            assert!(since.elapsed() < Duration::from_secs(60), "no console");
            sleep(Duration::from_millis(100)).await;
        }
        machine
    }

    async fn console_answers(&self) -> bool {
        let answer = ask(self.console_port, "/livez").await;
        answer.is_some_and(|(status, _)| status == 200)
    }

    /// Everything that runs here ends at once, and what it has written here is gone.
    fn lose(mut self) {
        for worker in &self.workers {
            let typesetters = worker.typesetters();
            worker.signal("KILL");
            typesetters.into_iter().for_each(|it| send("KILL", it));
        }
        self.console.kill();
        for worker in &mut self.workers {
            worker.kill();
        }
        std::fs::remove_dir_all(&self.folder).expect("its folder");
    }
}

/// E36: a machine is lost with two workers and a console, and all that they have written but the
/// store; in the full run a node of the broker's three with it. The other machines take over.
pub async fn machine_lost(stage: Stage) -> Outcome {
    let nodes = match stage.is_full() {
        true => Node::cluster().await,
        false => vec![Arc::clone(stage.node())],
    };
    // What is on no machine stays with the last one, which lives.
    let mut bench = Bench::on(&stage, &nodes[nodes.len() - 1]).await;
    let named: Vec<String> = nodes
        .iter()
        .map(|node| format!("127.0.0.1:{}", node.port()))
        .collect();
    bench.set(
        "QUEUE__URL",
        format!("amqp://guest:guest@{}/%2f", named.join(",")),
    );
    let mut machines = Vec::new();
    for number in 0..stage.pick(2, 3) {
        machines.push(Machine::start(&bench, number, 2).await);
    }
    let letters = mixed("e36", stage.pick(100, 900), &mut bench.rng);
    let (jobs, good) = (letters.len(), letters.iter());
    let good = good.filter(|letter| letter.sent.key.is_some()).count();
    let sending = bench.sending(letters, Duration::from_millis(2));
    bench.until_heard(jobs / 4).await;
    let lost = machines.remove(0);
    if let [first, _, _] = &nodes[..] {
        tokio::join!(first.kill(), async { lost.lose() });
        bench.fault("machine with a node of the broker lost");
    } else {
        lost.lose();
        bench.fault("machine lost");
    }
    bench.sent(sending).await;
    for machine in &mut machines {
        let workers = std::mem::take(&mut machine.workers);
        bench.workers().extend(workers);
    }
    bench.settle().await;
    let mut deaf = 0;
    for machine in &machines {
        deaf += u64::from(!machine.console_answers().await);
    }
    bench.bound("consoles elsewhere that do not answer", deaf, 0);
    let counted = counted(&bench).await;
    let missing = (good as u64).abs_diff(counted);
    bench.bound("results by which `banshi status` counts wrong", missing, 0);
    bench.finish().await
}

/// How many completed reports `banshi status` knows of.
async fn counted(bench: &Bench) -> u64 {
    let mut command = bench.banshi(&["status", "--since", "1h", "--format", "json"]);
    command.env("BANSHI__QUEUE__URL", bench.node().url());
    let ran = tokio::task::spawn_blocking(move || command.output()).await;
    let ran = ran.expect("it is waited for").expect("it starts");
    let said = String::from_utf8_lossy(&ran.stderr);
    let told: Value = serde_json::from_slice(&ran.stdout).unwrap_or_else(|_| panic!("{said}"));
    told["all"]["completed"].as_u64().expect("a number")
}

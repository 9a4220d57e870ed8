//! Many jobs sent by a sender with a journal.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures_util::StreamExt as _;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use rand::RngExt as _;
use tokio::time::{Instant, sleep, timeout};

use crate::Stage;
use crate::bench::Outcome;
use crate::judge::{Kind, Verdict, Violation};
use crate::node::Node;
use crate::support::BANSHI;
use crate::support::deployment::{WRITE_DOWN_QUEUES, remove_topology};

/// Jobs on their way at once: as many as a kill, or a lost connection, may repeat.
const IN_FLIGHT: usize = banshi::bulk::IN_FLIGHT;
/// A queue that hands over nothing for so long is empty.
const SILENCE: Duration = Duration::from_secs(5);
/// How long a sender may take to get on.
const PATIENCE: Duration = Duration::from_secs(300);

/// E37: `banshi enqueue --journal` is killed at random moments and started again, and so is the
/// broker, while a lane is full for a while. Nobody works: every job must be in its lane, and no
/// more of them twice than were on their way at the kills.
pub async fn resumed(stage: Stage) -> Outcome {
    let began = Instant::now();
    let (jobs, kills, restarts) = stage.pick((3_000, 6, 1), (100_000, 20, 4));
    let (node, mut rng) = (stage.node(), stage.rng());
    let prefix = format!("faults-{:08x}", rand::random::<u32>());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (input, journal) = (
        folder.path().join("jobs.ndjson"),
        folder.path().join("journal"),
    );
    std::fs::write(&input, lines(jobs)).expect("a file");
    let send = || {
        let mut command = Command::new(BANSHI);
        command
            .args(["enqueue", "--patience", "5m", "--journal"])
            .args([&journal, &input])
            .env("BANSHI__QUEUE__URL", node.url())
            .env("BANSHI__QUEUE__PREFIX", &prefix)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.spawn().expect("it starts")
    };
    let mut sender = send();
    until_noted(&journal, 1, &mut sender, &send).await;
    node.ctl(&["eval", WRITE_DOWN_QUEUES]).await;
    let (mut faults, mut cuts) = (BTreeMap::new(), 0);
    let mut fault = |kind: &str| *faults.entry(kind.to_owned()).or_default() += 1;
    // Both in the order of the jobs, at moments that are drawn.
    let at = |share: usize, of: usize, more: usize| (jobs * share / (of + 1) + more).min(jobs);
    let mut moments: Vec<(usize, bool)> = Vec::new();
    for kill in 1..=kills {
        moments.push((at(kill, kills, rng.random_range(0..jobs / kills / 2)), true));
    }
    for restart in 1..=restarts {
        moments.push((at(restart, restarts, rng.random_range(0..jobs / 20)), false));
    }
    moments.sort_unstable();
    for (number, (moment, kill)) in moments.into_iter().enumerate() {
        if number == kills / 2 {
            // A lane that takes nothing more, for a while.
            let full = format!(
                "{{\"max-length\":{}}}",
                moment.saturating_sub(jobs / 50).max(1)
            );
            let pattern = format!("^{prefix}[.]jobs[.]bulk$");
            let policy = [
                "set_policy",
                &prefix,
                &pattern,
                &full,
                "--apply-to",
                "queues",
            ];
            node.ctl(&policy).await;
            sleep(Duration::from_secs(stage.pick(3, 10))).await;
            node.ctl(&["clear_policy", &prefix]).await;
            fault("lane full");
        }
        until_noted(&journal, moment, &mut sender, &send).await;
        if kill {
            sleep(Duration::from_millis(rng.random_range(0..300))).await;
            // It may have sent all by then.
            sender.kill().expect("it can be killed");
            sender.wait().expect("it is gone");
            fault("sender killed");
            sender = send();
        } else {
            node.kill().await;
            sleep(Duration::from_millis(rng.random_range(200..2_000))).await;
            node.up().await;
            fault("broker killed");
        }
        cuts += 1;
    }
    until_noted(&journal, jobs, &mut sender, &send).await;
    let exit = tokio::task::spawn_blocking(move || sender.wait().expect("it ends"));
    let exit = exit.await.expect("it ends");
    let ids = in_the_lane(node, &prefix).await;
    let missing = (0..jobs)
        .filter(|job| !ids.contains_key(&format!("job-{job}")))
        .count();
    let repeats = ids.values().sum::<usize>() - ids.len();
    let mut outcome = Outcome {
        size: jobs,
        faults,
        verdict: Verdict {
            repeats,
            ..Verdict::default()
        },
        seconds: began.elapsed().as_secs(),
        notes: vec![format!(
            "{} ids in the lane, {missing} missing, {repeats} messages more than ids, of at most \
             {} that may be",
            ids.len(),
            cuts * IN_FLIGHT
        )],
        kept: None,
    };
    if missing > 0 {
        outcome.verdict.violations.push(Violation {
            kind: Kind::Lost,
            what: format!("{missing} jobs are not in the lane"),
        });
    }
    if noted(&journal) != jobs || exit.code() != Some(0) {
        let noted = noted(&journal);
        outcome.object(format!(
            "the sender ended with {exit}; {noted} of {jobs} are noted"
        ));
    }
    if repeats > cuts * IN_FLIGHT {
        outcome.object(format!(
            "{repeats} repeats of {cuts} kills and lost connections"
        ));
    }
    remove_topology(&node.line().await.channel, &prefix, &[]).await;
    outcome
}

/// Jobs of a line each, as many bytes as a small report.
fn lines(jobs: usize) -> String {
    let text = "政府信息公开。".repeat(80);
    (0..jobs).fold(String::new(), |mut all, number| {
        writeln!(all, "{{\"job_id\":\"job-{number}\",\"data\":\"{text}\"}}").expect("a string");
        all
    })
}

/// The jobs that a journal has: its whole lines but the first.
fn noted(journal: &Path) -> usize {
    let journal = std::fs::read(journal).unwrap_or_default();
    let lines = journal.iter().filter(|byte| **byte == b'\n').count();
    lines.saturating_sub(1)
}

/// Waits until so many jobs are noted. A sender that began while the broker was not there is started
/// again, as whoever started it does.
async fn until_noted(journal: &Path, jobs: usize, sender: &mut Child, send: &impl Fn() -> Child) {
    let deadline = Instant::now() + PATIENCE;
    while noted(journal) < jobs {
        let noted = noted(journal);
        assert!(
            Instant::now() < deadline,
            "{noted} of {jobs} are sent, and no more"
        );
        sleep(Duration::from_millis(50)).await;
        if sender.try_wait().expect("it can be waited for").is_some() {
            *sender = send();
        }
    }
}

/// How often each id is in the bulk lane, which is empty then.
async fn in_the_lane(node: &Node, prefix: &str) -> BTreeMap<String, usize> {
    let line = node.line().await;
    let qos = line.channel.basic_qos(2_000, BasicQosOptions::default());
    qos.await.expect("a prefetch");
    let consumer = line.channel.basic_consume(
        format!("{prefix}.jobs.bulk").into(),
        "".into(),
        BasicConsumeOptions::default(),
        FieldTable::default(),
    );
    let mut consumer = consumer.await.expect("a queue");
    let (mut ids, mut held) = (BTreeMap::new(), 0);
    while let Ok(Some(message)) = timeout(SILENCE, consumer.next()).await {
        let message = message.expect("a message");
        let id = message.properties.message_id().as_ref().expect("an id");
        *ids.entry(id.as_str().to_owned()).or_default() += 1;
        held += 1;
        if held % 1_000 == 0 {
            let options = BasicAckOptions { multiple: true };
            message.acker.ack(options).await.expect("acknowledged");
        }
    }
    ids
}

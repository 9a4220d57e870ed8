//! What the spool promises: everything that a transport promises, with folders, and with real
//! processes killed in the middle.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use banshi::config;
use banshi::digest::sha256;
use banshi::event::Event;
use banshi::job::Identity;
use banshi::problem::{Code, Outage, Part, Problem};
use banshi::transport::{Client, DeadJob, Delivery, Intake, Lane, Reason, State, Verdict};
use futures_util::FutureExt;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::BANSHI;
use crate::support::deployment::{Deployment, ask};
use crate::support::hang::{Hang, threads};
use crate::support::jobs::{BROKEN, corpus};

/// A spool in a folder of its own.
struct Spool(TempDir);

impl Spool {
    fn new() -> Spool {
        Spool(tempfile::tempdir().unwrap())
    }

    fn settings(&self) -> config::Queue {
        settings(self.0.path())
    }

    async fn intake(&self, prefetch: u16) -> Intake {
        Intake::open(&self.settings(), prefetch).await.unwrap()
    }

    async fn client(&self) -> Client {
        Client::open(&self.settings()).await.unwrap()
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    /// Drops a job in as a sender does, `age` seconds old.
    fn drop_in(&self, name: &str, body: &str, age: u64) {
        fs::create_dir_all(self.path("jobs")).unwrap();
        let (temp, file) = (self.path("jobs/.sending"), self.path("jobs").join(name));
        fs::write(&temp, body).unwrap();
        let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 - age);
        fs::File::options()
            .write(true)
            .open(&temp)
            .unwrap()
            .set_modified(then)
            .unwrap();
        fs::rename(temp, file).unwrap();
    }

    /// The files in a folder of the spool, workers' locks left out.
    fn list(&self, folder: &str) -> Vec<String> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.path(folder)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            match folder == "claimed" {
                true => names.extend(self.list(&format!("claimed/{name}"))),
                false if name != ".lock" => names.push(name),
                false => {}
            }
        }
        names.sort();
        names
    }

    /// What is where: jobs, claimed, retry, dead.
    fn counts(&self) -> [usize; 4] {
        ["jobs", "claimed", "retry", "dead"].map(|folder| self.list(folder).len())
    }

    /// Makes every job that waits due now.
    fn hurry(&self) {
        for name in self.list("retry") {
            let due = name.split_once('.').unwrap().1;
            let hurried = fs::rename(
                self.path("retry").join(&name),
                self.path("retry").join(format!("0.{due}")),
            );
            // A worker may have been faster.
            assert!(hurried.map_or_else(
                |error| error.kind() == std::io::ErrorKind::NotFound,
                |()| true
            ));
        }
    }
}

fn settings(dir: &Path) -> config::Queue {
    let mut settings = config::Settings::load(&[], []).unwrap().queue;
    settings.url = format!("spool:{}", dir.display());
    settings
}

async fn next(intake: &mut Intake) -> Delivery {
    let next = tokio::time::timeout(Duration::from_secs(10), intake.next());
    next.await
        .expect("a job within 10 s")
        .unwrap()
        .expect("the intake is open")
}

async fn nothing_comes(intake: &mut Intake) {
    let next = tokio::time::timeout(Duration::from_millis(1500), intake.next());
    assert!(next.await.is_err(), "a job came that should not");
}

fn text(delivery: &Delivery) -> &str {
    std::str::from_utf8(&delivery.body).unwrap()
}

/// An event about a job, the same for the same job.
fn event(body: &[u8]) -> Event {
    let identity = Identity {
        job_id: None,
        template: None,
        key: None,
        sha256: sha256(body),
    };
    Event::rejected(
        &identity,
        &[Problem::new(Code::JSON, "", "no", "不行")],
        "test",
    )
}

/// Drops a job, and waits until it has gone back.
async fn requeue(spool: &Spool, delivery: Delivery) {
    let held = spool.list("claimed").len();
    drop(delivery);
    let start = Instant::now();
    while spool.list("claimed").len() >= held {
        assert!(start.elapsed() < Duration::from_secs(10), "it stays");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn finish(delivery: Delivery) {
    let confirmed = delivery.publish(&event(&delivery.body)).await.unwrap();
    delivery.ack(confirmed).await.unwrap();
}

fn reason() -> Reason {
    Reason {
        code: "E-JSON".to_owned(),
        message: "not JSON".to_owned(),
        event: "report.rejected",
    }
}

async fn dead(client: &mut Client) -> Vec<DeadJob> {
    let mut jobs = Vec::new();
    client
        .walk_dead(|job| {
            jobs.push(job.clone());
            Verdict::Keep
        })
        .await
        .unwrap();
    jobs
}

#[tokio::test]
async fn a_job_dropped_in_arrives_as_it_was_sent() {
    let spool = Spool::new();
    let mut intake = spool.intake(2).await;
    assert_eq!(*intake.state().borrow(), State::Up);
    spool.drop_in("任意 name!.json", "{\"no\": JSON \u{0}", 0);
    let delivery = next(&mut intake).await;
    assert_eq!(text(&delivery), "{\"no\": JSON \u{0}");
    assert_eq!(
        (delivery.attempt, delivery.redelivered, delivery.lane),
        (1, false, Lane::Bulk)
    );
    assert_eq!(delivery.message_id, None, "a file's name is not a job's id");
    assert_eq!(
        (&delivery.correlation_id, &delivery.reply_to),
        (&None, &None)
    );
    assert!(!delivery.trace.is_valid());
    assert_eq!(spool.counts(), [0, 1, 0, 0]);
}

#[tokio::test]
async fn an_acknowledged_job_is_gone_and_its_event_is_there() {
    let spool = Spool::new();
    let mut intake = spool.intake(2).await;
    spool.drop_in("a.json", "one", 0);
    finish(next(&mut intake).await).await;
    assert_eq!(spool.counts(), [0; 4]);
    let event = event(b"one");
    assert_eq!(spool.list("events"), [format!("{}.json", event.id)]);
    assert_eq!(
        fs::read(spool.path("events").join(format!("{}.json", event.id))).unwrap(),
        event.structured()
    );
}

#[tokio::test]
async fn an_event_repeated_is_one_event_and_the_first_stays() {
    let spool = Spool::new();
    let mut intake = spool.intake(2).await;
    spool.drop_in("a.json", "one", 0);
    let delivery = next(&mut intake).await;
    let first = event(b"one");
    let later = Event {
        time: "2099-12-31T00:00:00Z".to_owned(),
        ..first.clone()
    };
    drop(delivery.publish(&first).await.unwrap());
    drop(delivery.publish(&later).await.unwrap());
    let file = spool.path("events").join(format!("{}.json", first.id));
    assert_eq!(fs::read(file).unwrap(), first.structured());
    assert_eq!(spool.list("events").len(), 1);
}

#[tokio::test]
async fn the_oldest_job_comes_first_and_of_one_age_by_name() {
    let spool = Spool::new();
    for (name, age) in [
        ("c.json", 10),
        ("b.json", 10),
        ("a.json", 5),
        ("z.json", 20),
    ] {
        spool.drop_in(name, name, age);
    }
    let mut intake = spool.intake(9).await;
    let mut held = Vec::new();
    for want in ["z.json", "b.json", "c.json", "a.json"] {
        held.push(next(&mut intake).await);
        assert_eq!(text(held.last().unwrap()), want);
    }
}

#[tokio::test]
async fn what_is_no_job_is_left_alone() {
    let spool = Spool::new();
    let mut intake = spool.intake(2).await;
    let jobs = spool.path("jobs");
    fs::write(jobs.join(".hidden.json"), "").unwrap();
    fs::write(jobs.join("half.json.part"), "").unwrap();
    fs::write(jobs.join("README"), "").unwrap();
    fs::create_dir(jobs.join("folder.json")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", jobs.join("link.json")).unwrap();
    std::os::unix::fs::symlink("nowhere", jobs.join("broken.json")).unwrap();
    fs::write(spool.path("retry/what.json"), "").unwrap();
    let before = (spool.list("jobs"), spool.list("retry"));
    assert_eq!(intake.pending().await.unwrap(), 0);
    nothing_comes(&mut intake).await;
    assert_eq!((spool.list("jobs"), spool.list("retry")), before);
}

#[tokio::test]
async fn names_cannot_lead_out_or_overflow_and_the_job_still_comes() {
    let spool = Spool::new();
    let mut intake = spool.intake(9).await;
    let jobs = spool.path("jobs");
    let long = format!("{}.json", "长".repeat(83));
    let odd = [
        b"new\nline.json".as_slice(),
        b"\xff\xfe.json",
        b"1.2.3.4.5.json",
        b"a.reason.json",
        long.as_bytes(),
    ];
    for name in odd {
        fs::write(jobs.join(std::ffi::OsStr::from_bytes(name)), name).unwrap();
    }
    let mut bodies = BTreeSet::new();
    for _ in odd {
        let delivery = next(&mut intake).await;
        assert_eq!(delivery.attempt, 1);
        bodies.insert(delivery.body.clone());
        let confirmed = delivery.publish(&event(&delivery.body)).await.unwrap();
        let confirmed = delivery.dead_letter(confirmed, &reason()).await.unwrap();
        delivery.ack(confirmed).await.unwrap();
    }
    assert_eq!(bodies, odd.map(<[u8]>::to_vec).into());
    let dead = dead(&mut spool.client().await).await;
    assert_eq!(dead.len(), odd.len(), "{dead:?}");
    assert!(
        dead.iter()
            .all(|job| job.code == "E-JSON" && job.id.len() <= 120),
        "{dead:?}"
    );
}

#[tokio::test]
async fn one_job_is_in_one_hand() {
    let spool = Spool::new();
    let mut intakes = [spool.intake(50).await, spool.intake(50).await];
    for number in 0..40 {
        spool.drop_in(&format!("{number}.json"), &number.to_string(), 0);
    }
    let [one, two] = &mut intakes;
    let mut held = Vec::new();
    while held.len() < 40 {
        tokio::select! {
            delivery = next(one) => held.push(delivery),
            delivery = next(two) => held.push(delivery),
        }
    }
    assert_eq!(held.iter().map(text).collect::<BTreeSet<_>>().len(), 40);
    nothing_comes(one).await;
    nothing_comes(two).await;
}

#[tokio::test]
async fn no_more_than_the_prefetch_is_held() {
    let spool = Spool::new();
    let mut intake = spool.intake(2).await;
    for number in 0..3 {
        spool.drop_in(&format!("{number}.json"), "", 0);
    }
    let held = [next(&mut intake).await, next(&mut intake).await];
    nothing_comes(&mut intake).await;
    assert_eq!(spool.counts(), [1, 2, 0, 0], "the third is free for others");
    let [first, _second] = held;
    finish(first).await;
    next(&mut intake).await;
}

#[tokio::test]
async fn a_dropped_job_comes_again_and_says_so() {
    let spool = Spool::new();
    let mut intake = spool.intake(1).await;
    spool.drop_in("a.json", "one", 0);
    requeue(&spool, next(&mut intake).await).await;
    assert_eq!(spool.counts(), [0, 0, 1, 0]);
    let again = next(&mut intake).await;
    assert_eq!(
        (text(&again), again.attempt, again.redelivered),
        ("one", 1, true)
    );
}

#[tokio::test]
async fn a_job_dropped_every_time_ends_among_the_dead() {
    let spool = Spool::new();
    let mut intake = spool.intake(1).await;
    spool.drop_in("a.json", "one", 0);
    for _ in 0..10 {
        requeue(&spool, next(&mut intake).await).await;
        spool.hurry();
    }
    let dead = dead(&mut spool.client().await).await;
    assert_eq!(dead.len(), 1);
    assert_eq!(
        (
            dead[0].code.as_str(),
            dead[0].event.as_str(),
            dead[0].body.as_slice()
        ),
        ("crashed", "crashed", &b"one"[..])
    );
    assert_eq!(spool.counts(), [0, 0, 0, 2]);
}

#[tokio::test]
async fn a_released_job_is_put_back_untouched() {
    let spool = Spool::new();
    let mut intake = spool.intake(1).await;
    spool.drop_in("a.json", "one", 0);
    for _ in 0..15 {
        next(&mut intake).await.release().await;
        assert_eq!(spool.list("jobs"), ["a.json"]);
    }
    let delivery = next(&mut intake).await;
    assert_eq!((delivery.attempt, delivery.redelivered), (1, false));
    spool.drop_in("a.json", "another of that name, meanwhile", 0);
    delivery.release().await;
    assert_eq!(
        spool.list("jobs"),
        ["a.2.json", "a.json"],
        "neither replaces the other"
    );
}

#[tokio::test]
async fn a_retried_job_waits_on_the_disk_and_comes_with_its_attempt() {
    let spool = Spool::new();
    let mut intake = spool.intake(1).await;
    spool.drop_in("a.json", "one", 0);
    for attempt in 1..=4 {
        let delivery = next(&mut intake).await;
        assert_eq!(
            (delivery.attempt, delivery.redelivered),
            (attempt, attempt > 1)
        );
        delivery.retry().await.unwrap();
        assert_eq!(spool.counts(), [0, 0, 1, 0]);
        let waiting = spool.list("retry").remove(0);
        let due: u128 = waiting.split('.').next().unwrap().parse().unwrap();
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis();
        let wait = [5_000, 30_000, 300_000, 300_000][attempt as usize - 1];
        assert!(
            (now + wait - 2000..now + wait + 1).contains(&due),
            "{due} is not {wait} after {now}"
        );
        // Another worker takes it over as it is, and one that requeues it changes nothing.
        intake.close().await;
        intake = spool.intake(1).await;
        spool.hurry();
        next(&mut intake).await.release().await;
    }
    assert_eq!(next(&mut intake).await.attempt, 5);
}

#[tokio::test]
async fn a_retried_job_comes_back_by_itself_and_not_before_its_time() {
    let spool = Spool::new();
    let mut intake = spool.intake(1).await;
    spool.drop_in("a.json", "one", 0);
    let start = Instant::now();
    next(&mut intake).await.retry().await.unwrap();
    next(&mut intake).await;
    let waited = start.elapsed();
    assert!(
        waited >= Duration::from_secs(5) && waited < Duration::from_secs(8),
        "{waited:?}"
    );
}

#[tokio::test]
async fn a_wait_written_by_a_clock_gone_wrong_is_no_wait() {
    let spool = Spool::new();
    let mut intake = spool.intake(1).await;
    fs::write(spool.path("retry/9999999999999.3.0.w-1.a.json"), "one").unwrap();
    let delivery = next(&mut intake).await;
    assert_eq!((delivery.attempt, text(&delivery)), (3, "one"));
}

#[tokio::test]
async fn a_dead_lettered_job_is_among_the_dead_as_it_was_sent_with_its_reason() {
    let spool = Spool::new();
    let mut intake = spool.intake(1).await;
    spool.drop_in("a.json", "one", 0);
    let delivery = next(&mut intake).await;
    let confirmed = delivery.publish(&event(b"one")).await.unwrap();
    let confirmed = delivery.dead_letter(confirmed, &reason()).await.unwrap();
    assert_eq!(
        spool.counts(),
        [0, 1, 0, 2],
        "it is safe there before it is let go here"
    );
    delivery.ack(confirmed).await.unwrap();
    assert_eq!(spool.counts(), [0, 0, 0, 2]);
    assert_eq!(
        fs::read_to_string(spool.path("dead/a.json")).unwrap(),
        "one"
    );
    let text = fs::read(spool.path("dead/a.reason.json")).unwrap();
    let text: serde_json::Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(
        text,
        serde_json::json!({"code": "E-JSON", "message": "not JSON", "event": "report.rejected"})
    );
}

#[tokio::test]
async fn a_job_dead_lettered_again_is_one_dead_job_and_two_of_one_name_are_two() {
    let spool = Spool::new();
    let mut intake = spool.intake(1).await;
    for body in ["one", "one", "two", "two", "one"] {
        spool.drop_in("a.json", body, 0);
        let delivery = next(&mut intake).await;
        let confirmed = delivery.publish(&event(body.as_bytes())).await.unwrap();
        // A worker killed before the acknowledgement dead-letters it again.
        let confirmed = delivery.dead_letter(confirmed, &reason()).await.unwrap();
        let confirmed = delivery.dead_letter(confirmed, &reason()).await.unwrap();
        delivery.ack(confirmed).await.unwrap();
    }
    assert_eq!(
        spool.list("dead"),
        ["a.2.json", "a.2.reason.json", "a.json", "a.reason.json"]
    );
    let dead = dead(&mut spool.client().await).await;
    let mut dead: Vec<_> = dead
        .iter()
        .map(|job| (job.id.as_str(), job.body.as_slice()))
        .collect();
    dead.sort_unstable();
    assert_eq!(dead, [("a", &b"one"[..]), ("a.2", &b"two"[..])]);
}

#[tokio::test]
async fn a_next_given_up_halfway_loses_nothing() {
    let spool = Spool::new();
    let mut intake = spool.intake(200).await;
    for number in 0..200 {
        spool.drop_in(&format!("{number}.json"), &number.to_string(), 0);
    }
    let mut held = Vec::new();
    let mut given_up = 0;
    let start = Instant::now();
    while held.len() < 200 && start.elapsed() < Duration::from_secs(20) {
        tokio::select! {
            biased;
            delivery = intake.next() => held.push(delivery.unwrap().unwrap()),
            () = tokio::task::yield_now() => given_up += 1,
        }
    }
    assert_eq!(held.iter().map(text).collect::<BTreeSet<_>>().len(), 200);
    assert!(
        held.iter().all(|delivery| !delivery.redelivered),
        "none was requeued on the way"
    );
    assert!(given_up > 50, "{given_up}");
}

#[tokio::test]
async fn a_stopped_intake_gives_nothing_and_what_it_gave_can_be_finished() {
    let spool = Spool::new();
    let mut intake = spool.intake(9).await;
    for number in 0..4 {
        spool.drop_in(&format!("{number}.json"), &number.to_string(), 0);
    }
    let first = next(&mut intake).await;
    let second = next(&mut intake).await;
    // One is claimed when the caller turns away.
    while let Some(delivery) = intake.next().now_or_never() {
        delivery.unwrap().unwrap().release().await;
    }
    std::thread::sleep(Duration::from_millis(200));
    intake.stop().await;
    assert_eq!(
        spool.counts(),
        [2, 2, 0, 0],
        "what was not handed out is back as it was"
    );
    assert!(intake.next().await.unwrap().is_none());
    finish(first).await;
    second.retry().await.unwrap();
    assert_eq!(intake.pending().await.unwrap(), 3);
    intake.close().await;
    assert_eq!(spool.counts(), [2, 0, 1, 0]);
}

#[tokio::test]
async fn a_closed_intake_holds_nothing() {
    let spool = Spool::new();
    let mut intake = spool.intake(9).await;
    spool.drop_in("a.json", "one", 0);
    spool.drop_in("b.json", "two", 0);
    let held = next(&mut intake).await;
    let mut late = next(&mut intake).await;
    if text(&late) != "two" {
        late = held;
    } else {
        requeue(&spool, held).await;
    }
    intake.close().await;
    assert_eq!(spool.counts(), [0, 0, 2, 0]);
    let confirmed = late.publish(&event(b"two")).await;
    // The job is no longer ours: it may come again, and the caller is told.
    if let Ok(confirmed) = confirmed {
        late.ack(confirmed).await.unwrap_err();
    }
    assert_eq!(spool.counts(), [0, 0, 2, 0]);
    let start = Instant::now();
    while fs::read_dir(spool.path("claimed")).unwrap().count() > 0 {
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "its folder stays"
        );
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let mut intake = spool.intake(9).await;
    assert!(next(&mut intake).await.redelivered);
}

#[tokio::test]
async fn pending_counts_what_waits() {
    let spool = Spool::new();
    let mut intake = spool.intake(9).await;
    for number in 0..5 {
        spool.drop_in(&format!("{number}.json"), "", 0);
    }
    assert_eq!(intake.pending().await.unwrap(), 5);
    let held = next(&mut intake).await;
    next(&mut intake).await.retry().await.unwrap();
    assert_eq!(
        intake.pending().await.unwrap(),
        4,
        "those between attempts too, those in hand not"
    );
    drop(held);
    assert_eq!(intake.pending().await.unwrap(), 5);
}

#[tokio::test]
async fn a_folder_that_goes_away_is_said_and_waited_for() {
    let spool = Spool::new();
    let mut intake = spool.intake(9).await;
    let mut state = intake.state();
    spool.drop_in("a.json", "one", 0);
    let (here, away) = (spool.path("jobs"), spool.path("elsewhere"));
    fs::rename(&here, &away).unwrap();
    nothing_comes(&mut intake).await;
    match &*state.borrow_and_update() {
        State::Down(why) => assert!(why.contains(here.to_str().unwrap()), "{why}"),
        State::Up => panic!("it should say that it is down"),
    }
    fs::rename(&away, &here).unwrap();
    assert_eq!(text(&next(&mut intake).await), "one");
    assert_eq!(*state.borrow_and_update(), State::Up);
}

#[tokio::test]
async fn a_spool_that_cannot_be_is_an_outage_that_names_it() {
    let spool = Spool::new();
    fs::write(spool.path("file"), "").unwrap();
    for (dir, fix) in [
        (spool.path("file"), "a file is in the way"),
        (PathBuf::from("/proc/banshi"), ""),
    ] {
        let assert = |Outage { part, message, .. }| {
            assert_eq!(part, Part::Transport);
            assert!(
                message.contains(dir.to_str().unwrap()) && message.contains(fix),
                "{message}"
            );
        };
        assert(Intake::open(&settings(&dir), 1).await.unwrap_err());
        assert(Client::open(&settings(&dir)).await.unwrap_err());
    }
}

#[tokio::test]
async fn a_large_folder_is_worked_off_in_order() {
    // More than the listing that is held in memory; in memory itself where there is such a place,
    // as each acknowledgement is a sync.
    let fast = Path::new("/dev/shm");
    let dir = if fast.is_dir() {
        tempfile::tempdir_in(fast)
    } else {
        tempfile::tempdir()
    };
    let spool = Spool(dir.unwrap());
    let mut intake = spool.intake(9).await;
    let count = 12_000;
    for number in 0..count {
        spool.drop_in(&format!("{:05}.json", (number * 7919) % count), "", 0);
    }
    assert_eq!(intake.pending().await.unwrap(), count);
    for _ in 0..count {
        let delivery = next(&mut intake).await;
        let confirmed = delivery.publish(&event(b"the same")).await.unwrap();
        delivery.ack(confirmed).await.unwrap();
    }
    assert_eq!(spool.counts(), [0; 4]);
}

// The sender's and the operator's side.

#[tokio::test]
async fn a_job_sent_is_there_whole_and_never_replaces_another() {
    let spool = Spool::new();
    let client = spool.client().await;
    client.send("a", b"one", Lane::Bulk).await.unwrap();
    client.send("a", b"one", Lane::Urgent).await.unwrap();
    client.send("a", b"two", Lane::Bulk).await.unwrap();
    client.send("a", b"two", Lane::Bulk).await.unwrap();
    assert_eq!(spool.list("jobs"), ["a.2.json", "a.json"]);
    assert_eq!(fs::read(spool.path("jobs/a.json")).unwrap(), b"one");
    assert_eq!(fs::read(spool.path("jobs/a.2.json")).unwrap(), b"two");
    client.close().await;
    assert_eq!(
        fs::read_dir(spool.path("claimed")).unwrap().count(),
        0,
        "the sender leaves nothing else"
    );
}

#[tokio::test]
async fn an_id_cannot_lead_out_of_the_folder() {
    let spool = Spool::new();
    let client = spool.client().await;
    let long = "长".repeat(500);
    let ids = [
        "../../etc/x",
        "/etc/y",
        ".hidden",
        "",
        "a\0b\nc",
        "x.reason",
        &long,
    ];
    for (number, id) in ids.iter().enumerate() {
        client
            .send(id, number.to_string().as_bytes(), Lane::Bulk)
            .await
            .unwrap();
    }
    assert_eq!(spool.list("jobs").len(), ids.len());
    let mut intake = spool.intake(9).await;
    assert_eq!(intake.pending().await.unwrap(), ids.len() as u64);
    for _ in ids {
        finish(next(&mut intake).await).await;
    }
}

/// Once it is among the jobs a worker can dead-letter it again before the replay is over: what is
/// among the dead must not be removed then.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_replayed_is_among_the_jobs_only_when_it_has_left_the_dead() {
    let spool = Spool::new();
    let mut client = spool.client().await;
    let (dead, jobs) = (spool.path("dead/again.json"), spool.path("jobs/again.json"));
    fs::write(&dead, "again").unwrap();
    for _ in 0..20 {
        let watched = std::thread::spawn({
            let (dead, jobs) = (dead.clone(), jobs.clone());
            move || {
                while !jobs.exists() {}
                !dead.exists()
            }
        });
        client.walk_dead(|_| Verdict::Replay).await.unwrap();
        assert!(watched.join().unwrap(), "it was in both");
        fs::rename(&jobs, &dead).unwrap();
    }
}

#[tokio::test]
async fn the_dead_are_kept_replayed_or_dropped_as_told() {
    let spool = Spool::new();
    let mut intake = spool.intake(9).await;
    let mut client = spool.client().await;
    for (age, name) in ["keep", "replay", "drop"].iter().enumerate() {
        spool.drop_in(&format!("{name}.json"), name, 10 - age as u64);
        let delivery = next(&mut intake).await;
        delivery.retry().await.unwrap();
        spool.hurry();
        let delivery = next(&mut intake).await;
        let confirmed = delivery.publish(&event(name.as_bytes())).await.unwrap();
        let confirmed = delivery.dead_letter(confirmed, &reason()).await.unwrap();
        delivery.ack(confirmed).await.unwrap();
    }
    spool.drop_in("replay.json", "another of that name", 0);
    let mut seen = Vec::new();
    client
        .walk_dead(|job| {
            seen.push(job.id.clone());
            assert_eq!(
                (job.code.as_str(), job.message.as_str()),
                ("E-JSON", "not JSON")
            );
            assert_eq!(
                (job.event.as_str(), job.lane.as_str()),
                ("report.rejected", "bulk")
            );
            assert_eq!(job.body, job.id.as_bytes());
            match job.id.as_str() {
                "replay" => Verdict::Replay,
                "drop" => Verdict::Drop,
                _ => Verdict::Keep,
            }
        })
        .await
        .unwrap();
    assert_eq!(seen, ["keep", "replay", "drop"], "from the oldest");
    assert_eq!(spool.list("dead"), ["keep.json", "keep.reason.json"]);
    assert_eq!(spool.list("jobs"), ["replay.2.json", "replay.json"]);
    let replayed = next(&mut intake).await;
    assert_eq!(
        (text(&replayed), replayed.attempt, replayed.redelivered),
        ("replay", 1, false)
    );
}

#[tokio::test]
async fn a_dead_job_without_a_reason_is_listed_all_the_same() {
    let spool = Spool::new();
    let mut client = spool.client().await;
    fs::write(spool.path("dead/a.json"), "one").unwrap();
    fs::write(spool.path("dead/b.reason.json"), "{}").unwrap();
    let dead = dead(&mut client).await;
    assert_eq!(dead.len(), 1);
    assert_eq!(
        (dead[0].id.as_str(), dead[0].code.as_str()),
        ("a", "unknown")
    );
}

// Workers that die. The child process is this very binary, running the one ignored test.

/// Not a test of its own: the process that the tests below kill. What it does is the first line
/// of its standard input; without one it does nothing.
#[test]
#[ignore = "run by the tests that kill it"]
fn child_that_works() {
    let mut order = String::new();
    std::io::stdin().lock().read_line(&mut order).unwrap();
    let Some((order, dir)) = order.trim_end().split_once(' ') else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut intake = Intake::open(&settings(Path::new(dir)), 4).await.unwrap();
        let mut held = Vec::new();
        loop {
            // The test that waits for it is not to wait for ever.
            let delivery = tokio::time::timeout(Duration::from_secs(30), intake.next())
                .await
                .unwrap();
            let delivery = delivery.unwrap().unwrap();
            println!("\nholding {}", text(&delivery));
            match order {
                "hold" => held.push(delivery),
                _ => finish(delivery).await,
            }
        }
    });
}

fn child(order: &str, dir: &Path) -> (Child, BufReader<ChildStdout>) {
    let name = "child_that_works";
    let name = module_path!()
        .split_once("::")
        .map_or(name.to_owned(), |(_, module)| format!("{module}::{name}"));
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &name, "--ignored", "--nocapture"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    writeln!(child.stdin.take().unwrap(), "{order} {}", dir.display()).unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    (child, out)
}

fn wait_until_it_holds(out: &mut BufReader<ChildStdout>, count: usize) {
    let mut holding = 0;
    for line in out.lines() {
        holding += usize::from(line.unwrap().starts_with("holding"));
        if holding == count {
            return;
        }
    }
    panic!("the child ended, holding {holding}");
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[tokio::test]
async fn a_killed_workers_jobs_are_taken_up_and_a_living_ones_are_not() {
    let spool = Spool::new();
    for number in 0..6 {
        spool.drop_in(&format!("{number}.json"), &number.to_string(), 0);
    }
    let (first, mut first_out) = child("hold", spool.0.path());
    wait_until_it_holds(&mut first_out, 4);
    let mut intake = spool.intake(9).await;
    let mut held = vec![next(&mut intake).await, next(&mut intake).await];
    assert!(held.iter().all(|delivery| !delivery.redelivered));
    nothing_comes(&mut intake).await;
    // Half a file, as a worker leaves that is killed while it writes.
    let home = fs::read_dir(spool.path("claimed"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    for home in home.filter(|home| fs::read_dir(home).unwrap().count() == 5) {
        fs::write(home.join(".tmp-1"), "half").unwrap();
    }
    kill(first);
    for _ in 0..4 {
        held.push(next(&mut intake).await);
        assert!(held.last().unwrap().redelivered);
        assert_eq!(held.last().unwrap().attempt, 1);
    }
    assert_eq!(held.iter().map(text).collect::<BTreeSet<_>>().len(), 6);
    assert_eq!(
        fs::read_dir(spool.path("claimed")).unwrap().count(),
        1,
        "the dead worker's folder is gone"
    );
}

#[tokio::test]
async fn a_job_that_kills_ten_workers_ends_among_the_dead() {
    let spool = Spool::new();
    spool.drop_in("poison.json", "poison", 0);
    for worker in 1..=10 {
        let (child, mut out) = child("hold", spool.0.path());
        wait_until_it_holds(&mut out, 1);
        kill(child);
        if worker < 10 {
            // The next one requeues it, and would wait longer each time.
            spool.intake(1).await.close().await;
            assert_eq!(spool.counts(), [0, 0, 1, 0], "after {worker}");
            spool.hurry();
        }
    }
    spool.drop_in("innocent.json", "innocent", 0);
    let mut intake = spool.intake(1).await;
    assert_eq!(text(&next(&mut intake).await), "innocent");
    let dead = dead(&mut spool.client().await).await;
    assert_eq!(dead.len(), 1);
    assert_eq!(
        (dead[0].id.as_str(), dead[0].code.as_str()),
        ("poison", "crashed")
    );
    assert_eq!(dead[0].body, b"poison");
}

#[tokio::test]
async fn workers_killed_at_any_moment_lose_no_job() {
    let spool = Spool::new();
    drop(spool.client().await);
    let count = 300;
    for number in 0..count {
        spool.drop_in(&format!("{number}.json"), &number.to_string(), 0);
    }
    let mut workers: Vec<_> = (0..2).map(|_| child("work", spool.0.path())).collect();
    for round in 0..14 {
        std::thread::sleep(Duration::from_millis(30 + 17 * (round % 5)));
        kill(workers.remove(0).0);
        workers.push(child("work", spool.0.path()));
        // Jobs that lost two workers wait; not here.
        spool.hurry();
    }
    let start = Instant::now();
    while spool.list("events").len() < count || spool.counts() != [0; 4] {
        spool.hurry();
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "{} events, {:?}",
            spool.list("events").len(),
            spool.counts()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    workers.into_iter().for_each(|(worker, _)| kill(worker));
    let want: BTreeSet<_> = (0..count)
        .map(|number| format!("{}.json", event(number.to_string().as_bytes()).id))
        .collect();
    assert_eq!(
        spool.list("events").into_iter().collect::<BTreeSet<_>>(),
        want
    );
}

// Names as they come from Windows, zip files and FTP.

/// A real report's job of this id, or one that breaks a rule.
fn job(id: &str, good: bool) -> Vec<u8> {
    let mut job = corpus(if good { "zibo-bigdata-2020" } else { BROKEN });
    job["job_id"] = json!(id);
    job.to_string().into_bytes()
}

/// 某区年报 in GBK.
const GBK: &[u8] = b"\xc4\xb3\xc7\xf8\xc4\xea\xb1\xa8";

/// Runs a command to its end: its exit code and what it said.
fn run(command: &mut Command) -> (Option<i32>, String, String) {
    let started = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = started.unwrap();
    let mut out = child.stdout.take().unwrap();
    let mut err = child.stderr.take().unwrap();
    let out = std::thread::spawn(move || std::io::read_to_string(&mut out).unwrap());
    let err = std::thread::spawn(move || std::io::read_to_string(&mut err).unwrap());
    let start = Instant::now();
    let code = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status.code();
        }
        if start.elapsed() > Duration::from_secs(90) {
            child.kill().unwrap();
            break None;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    (code, out.join().unwrap(), err.join().unwrap())
}

/// The `job_id`s that events of a kind name.
async fn ids_of(deployment: &Deployment, kind: &str) -> BTreeSet<String> {
    let events = deployment.events().await;
    let of_kind = events
        .iter()
        .filter(|event| event["type"].as_str().is_some_and(|it| it.contains(kind)));
    of_kind
        .map(|event| event["data"]["job_id"].as_str().unwrap().to_owned())
        .collect()
}

fn set<const N: usize>(ids: [&str; N]) -> BTreeSet<String> {
    ids.map(str::to_owned).into()
}

#[tokio::test]
async fn names_of_any_bytes_and_length_go_every_way() {
    let deployment = Deployment::spool();
    let jobs = deployment.path("spool/jobs");
    fs::create_dir_all(&jobs).unwrap();
    let put = |name: &[u8], id: &str, good: bool| {
        fs::write(jobs.join(std::ffi::OsStr::from_bytes(name)), job(id, good)).unwrap();
    };
    let long = format!("{}.json", "长".repeat(83));
    assert_eq!(long.len(), 254);
    put("某区年报.json".as_bytes(), "utf8", true);
    put(&[GBK, b".json"].concat(), "gbk", true);
    put(b"a b (1).json", "spaces", true);
    put(&[GBK, b"-2.json"].concat(), "gbk-broken", false);
    put(long.as_bytes(), "long-broken", false);
    // The same id under two names, as of a report that was sent again after it had been refused.
    put(b"first.json", "twice", false);
    put(&[GBK, b"-3.json"].concat(), "twice", false);
    let (code, _, said) = run(&mut deployment.banshi(&["worker", "--until-idle"]));
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(
        ids_of(&deployment, "completed").await,
        set(["utf8", "gbk", "spaces"])
    );
    assert_eq!(
        ids_of(&deployment, "rejected").await,
        set(["gbk-broken", "long-broken", "twice"])
    );
    assert_eq!(deployment.dead().await.len(), 4, "each with its reason");

    // A dead job is found by its own id as well as by its file's name.
    for id in ["gbk-broken", "long-broken", "first"] {
        let (code, out, said) = run(&mut deployment.banshi(&["dead", "show", id]));
        assert_eq!(code, Some(0), "{said}");
        let id = if id == "first" { "twice" } else { id };
        assert_eq!(out.as_bytes(), job(id, false));
    }
    for command in ["show", "replay", "drop"] {
        let (code, _, said) = run(&mut deployment.banshi(&["dead", command, "twice"]));
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains("first") && said.contains("-3"), "{said}");
    }
    let (code, _, said) = run(&mut deployment.banshi(&["dead", "show", "nobody"]));
    assert_eq!(code, Some(2), "{said}");
    for id in ["gbk-broken", "long-broken"] {
        let (code, _, said) = run(&mut deployment.banshi(&["dead", "replay", id]));
        assert_eq!(code, Some(0), "{said}");
    }
    assert_eq!(deployment.dead().await.len(), 2);
    assert_eq!(deployment.left().await.len(), 2);
    let (code, _, said) = run(&mut deployment.banshi(&["worker", "--until-idle"]));
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(deployment.dead().await.len(), 4, "each is refused again");
    let (code, _, said) = run(&mut deployment.banshi(&["dead", "drop", "gbk-broken"]));
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(deployment.dead().await.len(), 3);
}

/// As an operator puts them there, from a copy on another system.
#[tokio::test]
async fn dead_files_of_any_name_are_listed_and_replayed() {
    let spool = Spool::new();
    let mut client = spool.client().await;
    let long = "长".repeat(83);
    let names: [&[u8]; 2] = [GBK, long.as_bytes()];
    for name in names {
        let file = [name, b".json"].concat();
        fs::write(
            spool.path("dead").join(std::ffi::OsStr::from_bytes(&file)),
            name,
        )
        .unwrap();
    }
    let listed = dead(&mut client).await;
    let bodies: BTreeSet<_> = listed.iter().map(|job| job.body.as_slice()).collect();
    assert_eq!(bodies, names.into());
    client.walk_dead(|_| Verdict::Replay).await.unwrap();
    assert_eq!(spool.counts(), [2, 0, 0, 0]);
}

#[tokio::test]
async fn a_file_that_is_not_taken_is_said_once_and_counted() {
    let (deployment, admin) = Deployment::spool().with_admin();
    let jobs = deployment.path("spool/jobs");
    fs::create_dir_all(&jobs).unwrap();
    fs::write(jobs.join("REPORT.JSON"), job("upper", true)).unwrap();
    fs::write(deployment.path("elsewhere.json"), job("linked", true)).unwrap();
    symlink("../../elsewhere.json", jobs.join("link.json")).unwrap();
    fs::create_dir(jobs.join("folder")).unwrap();
    fs::write(jobs.join("half.json.part"), "").unwrap();
    fs::write(jobs.join(".hidden"), "").unwrap();
    let old = fs::File::create(jobs.join("old.txt")).unwrap();
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    old.set_modified(then).unwrap();
    let worker = deployment.worker();
    deployment
        .until("they are counted", async |_| {
            metric(&admin, "banshi_spool_ignored") == Some(5.0)
        })
        .await;
    // Every folder is listed four times a second.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let log = worker.log();
    for (file, fix) in [
        ("REPORT.JSON", "in small letters"),
        ("link.json", "it is a link"),
        ("folder", "no regular file"),
        ("old.txt", "does not end in .json"),
    ] {
        let said: Vec<_> = log
            .lines()
            .filter(|line| line.contains(&format!("{file} is not taken")))
            .collect();
        assert!(said.len() == 1 && said[0].contains(fix), "{file}: {log}");
    }
    assert!(!log.contains("half.json"), "it may be being written: {log}");
    assert!(!log.contains(".hidden"), "{log}");
    assert_eq!(worker.stop(), Some(0));
    let (code, _, said) = run(&mut deployment.banshi(&["worker", "--until-idle"]));
    assert_eq!(code, Some(0), "they are nobody's jobs: {said}");
    assert_eq!(fs::read_dir(&jobs).unwrap().count(), 6);
}

/// What a worker says of itself.
fn metric(admin: &str, name: &str) -> Option<f64> {
    let (_, text) = ask(admin, "/metrics")?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split(' ').next_back()?.parse().ok()
}

// Senders, workers and the archive are three users, as the operator's guide sets them up.

const SENDER: u32 = 12_001;
const WORKER: u32 = 12_002;
const ARCHIVE: u32 = 12_003;
/// The group that may write into `jobs/`. The archive is in the workers' group.
const SENDERS: u32 = 12_011;

/// Why there can be no other users here.
fn no_users() -> Option<String> {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        return Some("only root can be several users".to_owned());
    }
    let protected = fs::read_to_string("/proc/sys/fs/protected_hardlinks");
    if protected.is_ok_and(|value| value.trim() != "1") {
        return Some("fs.protected_hardlinks is not 1 here".to_owned());
    }
    let mut other = Command::new(BANSHI);
    let started = other.arg("--version").uid(WORKER).gid(WORKER).output();
    match started {
        Ok(output) if output.status.success() => None,
        _ => Some(format!("other users cannot run {BANSHI}")),
    }
}

/// What a user does in a shell, with the umask of most systems.
fn shell(user: u32, group: u32, dir: &Path, script: &str) {
    let mut shell = Command::new("sh");
    let script = format!("set -e; umask 022; {script}");
    shell.args(["-c", &script]).current_dir(dir);
    let (code, _, said) = run(shell.uid(user).gid(group));
    assert_eq!(code, Some(0), "{script}: {said}");
}

/// The program as the workers' user, with the umask of the unit.
fn as_worker(deployment: &Deployment, arguments: &[&str]) -> Command {
    let banshi = deployment.banshi(arguments);
    let settings = banshi
        .get_envs()
        .filter_map(|(key, value)| Some((key, value?)));
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "umask 027; exec \"$0\" \"$@\""])
        .arg(banshi.get_program())
        .args(banshi.get_args())
        .envs(settings)
        .current_dir(deployment.folder())
        .uid(WORKER)
        .gid(WORKER);
    shell
}

fn folder(path: &Path, user: u32, group: u32, mode: u32) {
    fs::create_dir_all(path).unwrap();
    chown(path, Some(user), Some(group)).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[tokio::test]
async fn senders_workers_and_archive_may_be_three_users() {
    if let Some(why) = no_users() {
        eprintln!("skipped: {why}");
        return;
    }
    let (deployment, admin) = Deployment::spool().with_admin();
    let spool = deployment.path("spool");
    folder(deployment.folder(), WORKER, WORKER, 0o755);
    folder(&spool, WORKER, WORKER, 0o751);
    folder(&spool.join("dead"), WORKER, WORKER, 0o750);
    folder(&spool.join("events"), WORKER, WORKER, 0o770);
    folder(&spool.join("jobs"), WORKER, SENDERS, 0o2770);
    folder(&spool.join("outbox"), WORKER, SENDERS, 0o2770);
    // A worker died: some of its jobs had come back nine times, their neighbours are innocent.
    let died = spool.join("claimed/1-0a0b0c0d");
    folder(&spool.join("claimed"), WORKER, WORKER, 0o750);
    folder(&died, WORKER, WORKER, 0o755);
    // And a folder that is not the workers' to change, with a job in it.
    let foreign = spool.join("claimed/2-0a0b0c0d");
    folder(&foreign, 0, 0, 0o755);
    fs::write(foreign.join("0.1.0.t-0.foreign.json"), job("foreign", true)).unwrap();
    for (name, tries, body) in [
        ("worst-1", 9, b"{}".to_vec()),
        ("n-1", 0, job("n-1", true)),
        ("n-2", 0, job("n-2", true)),
        ("worst-2", 9, b"{}".to_vec()),
        ("n-3", 0, job("n-3", true)),
        ("worst-3", 9, b"{}".to_vec()),
        ("n-4", 0, job("n-4", true)),
    ] {
        let file = died.join(format!("0.1.{tries}.t-{name}.{name}.json"));
        fs::write(&file, body).unwrap();
        chown(&file, Some(SENDER), Some(SENDERS)).unwrap();
    }
    for (name, body) in [
        ("good", job("good", true)),
        ("bad", job("bad", false)),
        ("secret", job("secret", true)),
    ] {
        let file = spool.join("outbox").join(format!("{name}.json"));
        fs::write(&file, body).unwrap();
        chown(&file, Some(SENDER), Some(SENDERS)).unwrap();
    }
    let send = "chmod 600 secret.json; mv bad.json secret.json good.json ../jobs/";
    shell(SENDER, SENDERS, &spool.join("outbox"), send);

    let worker = deployment.start(&mut as_worker(&deployment, &["worker"]));
    deployment
        .until("all that can be completed is", async |deployment| {
            ids_of(deployment, "completed").await == set(["good", "n-1", "n-2", "n-3", "n-4"])
        })
        .await;
    deployment
        .until("what cannot be settled is counted", async |_| {
            metric(&admin, "banshi_spool_unsettled") == Some(2.0)
        })
        .await;
    let (status, said) = ask(&admin, "/readyz").unwrap();
    assert_eq!(status, 200, "nobody is held up: {said}");
    tokio::time::sleep(Duration::from_secs(3)).await;
    let log = worker.log();
    let times = |what: &str| log.matches(what).count();
    assert_eq!(times("cannot read"), 1, "{log}");
    assert_eq!(times("cannot take over"), 1, "{log}");
    assert_eq!(times("not permitted"), 0, "{log}");
    assert_eq!(worker.stop(), Some(0));

    // The bad ones are among the dead, as they were sent and with their reasons.
    assert_eq!(ids_of(&deployment, "rejected").await, set(["bad"]));
    for (name, code, body) in [
        ("bad", "R-", job("bad", false)),
        ("worst-1", "crashed", b"{}".to_vec()),
        ("worst-2", "crashed", b"{}".to_vec()),
        ("worst-3", "crashed", b"{}".to_vec()),
    ] {
        let file = spool.join(format!("dead/{name}.json"));
        assert_eq!(fs::read(&file).unwrap(), body);
        assert_eq!(
            fs::metadata(&file).unwrap().uid(),
            WORKER,
            "a copy, not a link"
        );
        let reason = fs::read_to_string(spool.join(format!("dead/{name}.reason.json"))).unwrap();
        assert!(reason.contains(&format!("\"code\": \"{code}")), "{reason}");
    }
    // What could not be read is where it was, and whoever looks finds it.
    let secret = fs::metadata(spool.join("jobs/secret.json")).unwrap();
    assert_eq!((secret.uid(), secret.mode() & 0o777), (SENDER, 0o600));
    assert!(!died.exists(), "all of it was taken over");
    let list = ["dead", "list", "--format", "json"];
    for mut list in [as_worker(&deployment, &list), deployment.banshi(&list)] {
        let (code, out, said) = run(&mut list);
        assert_eq!(code, Some(0), "{said}");
        let lines: Vec<Value> = out
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let stuck = |id: &str| lines.iter().find(|line| line["id"] == id).unwrap().clone();
        let secret = stuck("jobs/secret.json");
        assert_eq!(
            (&secret["event"], &secret["code"]),
            (&json!("stuck"), &json!("unreadable"))
        );
        let message = secret["message"].as_str().unwrap();
        assert!(
            message.contains("let the user that banshi runs as read it"),
            "{message}"
        );
        assert_eq!(stuck("claimed/2-0a0b0c0d")["code"], "unsettled");
        assert_eq!(lines.len(), 6, "{out}");
    }
    let (code, _, said) = run(&mut as_worker(&deployment, &["worker", "--until-idle"]));
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("could not be settled"), "{said}");
    assert!(!said.contains("nothing is left to do"), "{said}");

    // As it says: then it is taken.
    shell(
        SENDER,
        SENDERS,
        &spool.join("jobs"),
        "chmod 644 secret.json",
    );
    folder(&foreign, WORKER, WORKER, 0o755);
    let (code, _, said) = run(&mut as_worker(&deployment, &["worker", "--until-idle"]));
    assert_eq!(code, Some(0), "{said}");
    let completed = ids_of(&deployment, "completed").await;
    assert!(
        completed.is_superset(&set(["secret", "foreign"])),
        "{completed:?}"
    );
    assert_eq!(run(&mut as_worker(&deployment, &list)).1.lines().count(), 4);

    // What root replays is still the workers' to read.
    let (code, _, said) = run(&mut deployment.banshi(&["dead", "replay", "bad"]));
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(deployment.left().await, ["bad.json"]);
    let (code, _, said) = run(&mut as_worker(&deployment, &["worker", "--until-idle"]));
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(deployment.dead().await.len(), 4);
    let read = "cat *.json > /dev/null; rm -- *.json";
    shell(ARCHIVE, WORKER, &spool.join("events"), read);
}

#[tokio::test]
async fn a_stuck_file_can_be_dropped_and_another_of_its_name_is_taken() {
    if let Some(why) = no_users() {
        eprintln!("skipped: {why}");
        return;
    }
    let deployment = Deployment::spool();
    let spool = deployment.path("spool");
    folder(deployment.folder(), WORKER, WORKER, 0o755);
    folder(&spool, WORKER, WORKER, 0o755);
    folder(&spool.join("jobs"), WORKER, SENDERS, 0o2770);
    let secret = |name: &str| {
        let file = spool.join("jobs").join(name);
        let hidden = spool.join("jobs/.sending");
        fs::write(&hidden, job("secret", true)).unwrap();
        chown(&hidden, Some(SENDER), Some(SENDERS)).unwrap();
        fs::set_permissions(&hidden, fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(hidden, file).unwrap();
    };
    secret("a.json");
    secret("b.json");
    assert_eq!(
        run(&mut as_worker(&deployment, &["worker", "--until-idle"])).0,
        Some(3)
    );
    // Another file of that name is not what was noted.
    fs::write(spool.join("jobs/.b"), job("b", true)).unwrap();
    fs::rename(spool.join("jobs/.b"), spool.join("jobs/b.json")).unwrap();
    let (_, listed, _) = run(&mut as_worker(&deployment, &["dead", "list"]));
    assert_eq!(listed.lines().count(), 1, "{listed}");
    assert!(
        listed.starts_with("jobs/a.json  stuck  unreadable  "),
        "{listed}"
    );
    let (code, out, said) = run(&mut as_worker(&deployment, &["dead", "replay", "--all"]));
    assert_eq!((code, out.as_str()), (Some(0), ""));
    assert!(said.contains("tried again by itself"), "{said}");
    let (code, out, said) = run(&mut as_worker(&deployment, &["dead", "drop", "--all"]));
    assert_eq!(
        (code, out.as_str()),
        (Some(0), "dropped jobs/a.json\n"),
        "{said}"
    );
    assert_eq!(deployment.left().await, ["b.json"]);
    let (code, _, said) = run(&mut as_worker(&deployment, &["worker", "--until-idle"]));
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(ids_of(&deployment, "completed").await, set(["b"]));
}

// A mount that hangs.

#[tokio::test]
async fn a_spool_that_hangs_is_an_outage_and_goes_on_when_it_answers() {
    let (deployment, admin) = Deployment::spool().with_admin();
    let hang = Hang::below(&deployment.path("spool"));
    let deployment = deployment.with_variables(hang.variables());
    let worker = deployment.worker();
    let send = async |batch: usize| {
        for number in 0..12 {
            let id = format!("{batch}-{number}");
            deployment.send(&id, &job(&id, number % 4 > 0)).await;
        }
    };
    send(1).await;
    deployment
        .until("the first is done", async |deployment| {
            !deployment.events().await.is_empty()
        })
        .await;
    let before = threads(worker.pid());
    hang.begin();
    send(2).await;
    let start = Instant::now();
    deployment
        .until("the outage is seen", async |_| {
            ask(&admin, "/readyz")
                .is_some_and(|(status, why)| status == 503 && why.contains("it does not answer"))
        })
        .await;
    let seen = start.elapsed();
    assert!(seen < Duration::from_secs(40), "{seen:?}");
    tokio::time::sleep(Duration::from_secs(5)).await;
    let hung = threads(worker.pid());
    tokio::time::sleep(Duration::from_secs(15)).await;
    let later = threads(worker.pid());
    // The jobs that were in hand, twice: their ends, and that they wait.
    assert!(hung <= before + 32, "{before} threads, then {hung}");
    assert!(later <= hung, "{hung} threads, then {later}");
    hang.end();
    deployment
        .until("all have ended", async |deployment| {
            deployment.left().await.is_empty() && deployment.events().await.len() == 24
        })
        .await;
    let mut dead = deployment.dead().await;
    dead.retain(|dead| dead.code == "crashed");
    assert!(dead.is_empty(), "nobody's fault");
    assert_eq!(deployment.dead().await.len(), 6);
    assert_eq!(worker.stop(), Some(0));
}

#[tokio::test]
async fn a_worker_that_stops_while_its_spool_hangs_leaves_in_time() {
    let deployment = Deployment::spool();
    let hang = Hang::below(&deployment.path("spool"));
    let deployment = deployment
        .with_variables(hang.variables())
        .with("WORKER__DRAIN_TIMEOUT", "1");
    let ids: BTreeSet<_> = (0..8).map(|number| number.to_string()).collect();
    for id in &ids {
        deployment.send(id, &job(id, true)).await;
    }
    let worker = deployment.worker();
    deployment
        .until("the first is done", async |deployment| {
            !deployment.events().await.is_empty()
        })
        .await;
    // With the others in hand.
    hang.begin();
    let start = Instant::now();
    worker.signal("TERM");
    let status = format!("/proc/{}/status", worker.pid());
    while !fs::read_to_string(&status).unwrap().contains("State:\tZ") {
        let waited = start.elapsed();
        assert!(waited < Duration::from_secs(30), "it has not left");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(worker.wait(), Some(0));
    hang.end();
    let (code, _, said) = run(&mut deployment.banshi(&["worker", "--until-idle"]));
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(ids_of(&deployment, "completed").await, ids);
}

//! A typesetter can set reports, and nothing else: what it is denied, what it may take, and what
//! a report, a template or a typesetter that went wrong can do about it.
//!
//! Some tests need a process of their own, because what is given up is not had again: they start
//! this program once more for the one test, with its part in [`PART`].

#![cfg(target_os = "linux")]

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use banshi::config::Confine;
use banshi::problem::{Code, Failure, Part};
use banshi::typesetter::{Manuscript, Pool, Typesetter, confine};
use rustix::process::{Pid, Resource, Rlimit, getppid, getrlimit, setrlimit, test_kill_process};
use serde_json::{Value, json};

use crate::support::jobs::{CORPUS, corpus};
use crate::support::notes::*;
use crate::support::{BANSHI, check, settings as defaults};

/// Names the part that a process started by a test has in it.
const PART: &str = "BANSHI_TEST_PART";

/// The part of this process; none, when it is the one that holds all tests.
#[expect(
    clippy::disallowed_methods,
    reason = "it is not a setting of banshi, but says which half of a test this is"
)]
fn part() -> Option<String> {
    std::env::var(PART).ok()
}

/// This program again, for one test and a part in it.
fn again(test: &str, part: &str) -> Command {
    let test = format!("typesetters_are_confined::{test}");
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([&test, "--exact", "--nocapture", "--test-threads=1"])
        .env(PART, part)
        // As the pool starts a typesetter.
        .env("MIMALLOC_DISALLOW_ARENA_ALLOC", "1")
        .stdout(Stdio::piped());
    command
}

/// The lines that the other half of a test says.
fn heard(test: &str, part: &str) -> Vec<String> {
    let output = again(test, part).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "{part}: {}", output.status);
    let output = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines = output.lines().filter_map(|line| line.strip_prefix(": "));
    lines.map(str::to_owned).collect()
}

/// What whoever takes a typesetter over may want, and what the system says to it.
fn attempts(worker: Pid, core: Rlimit) -> Vec<(&'static str, io::Result<()>)> {
    let folder = std::env::temp_dir();
    let own = folder.join(format!("banshi-confined-{}", std::process::id()));
    let mut no_program = Command::new("/bin/true");
    no_program.stdin(Stdio::inherit()).stdout(Stdio::inherit());
    let attempts = vec![
        ("read a file", File::open("/etc/passwd").map(drop)),
        ("read /proc", File::open("/proc/self/environ").map(drop)),
        ("list a folder", fs::read_dir("/etc").map(drop)),
        ("write a file", File::create(&own).map(drop)),
        (
            "link a file",
            std::os::unix::fs::symlink("/etc", own.with_extension("l")),
        ),
        ("make a folder", fs::create_dir(own.with_extension("d"))),
        ("ask about a file", fs::metadata("/etc/passwd").map(drop)),
        (
            "connect",
            within(TcpStream::connect("127.0.0.1:1").map(drop)),
        ),
        ("listen", TcpListener::bind("127.0.0.1:0").map(drop)),
        ("UDP", UdpSocket::bind("127.0.0.1:0").map(drop)),
        ("a pair of sockets", UnixStream::pair().map(drop)),
        ("run a program", no_program.status().map(drop)),
        (
            "start a thread",
            std::thread::Builder::new().spawn(|| ()).map(drop),
        ),
        (
            "signal its worker",
            test_kill_process(worker).map_err(io::Error::from),
        ),
        (
            "lift a limit",
            setrlimit(Resource::Core, core).map_err(io::Error::from),
        ),
    ];
    for end in ["", "l", "d"] {
        let path = own.with_extension(end);
        // Where it was not made, it need not go.
        drop(fs::remove_file(&path).or_else(|_| fs::remove_dir(&path)));
    }
    attempts
}

/// Refused by nobody who listens is as good as connected.
fn within(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        other => other,
    }
}

/// What fails once the process is confined, and as what, in the words of the other half of a test.
fn print_failures(confine: impl FnOnce()) {
    let (worker, core) = (getppid().unwrap(), getrlimit(Resource::Core));
    for (what, result) in attempts(worker, core) {
        assert!(
            result.is_ok(),
            "unconfined, it could not {what}: {result:?}"
        );
    }
    confine();
    println!();
    for (what, result) in attempts(worker, core) {
        let code = result.map_err(|error| error.raw_os_error());
        println!(": {what}: {code:?}");
    }
}

#[test]
fn by_the_filter_of_calls_alone_nothing_can_be_reached() {
    if part().is_some() {
        return print_failures(|| confine::calls().unwrap());
    }
    let said = heard(
        "by_the_filter_of_calls_alone_nothing_can_be_reached",
        "inside",
    );
    assert_eq!(said.len(), 15, "{said:#?}");
    for line in said {
        assert!(line.ends_with("Err(Some(1))"), "EPERM: {line}");
    }
}

#[test]
fn by_landlock_alone_no_file_can_be_opened() {
    if part().is_some() {
        return print_failures(|| confine::files().unwrap());
    }
    let said = heard("by_landlock_alone_no_file_can_be_opened", "inside").join("\n");
    for what in [
        "read a file",
        "read /proc",
        "list a folder",
        "write a file",
        "link a file",
        "make a folder",
        "run a program",
    ] {
        assert!(
            said.contains(&format!("{what}: Err(Some(13))")),
            "EACCES: {said}"
        );
    }
}

#[test]
fn no_program_takes_the_place_of_a_confined_one() {
    if part().is_some() {
        confine::calls().unwrap();
        let error = Command::new("/bin/true").exec();
        println!("\n: {:?}", error.raw_os_error());
        return;
    }
    let said = heard("no_program_takes_the_place_of_a_confined_one", "inside");
    assert_eq!(said, ["Some(1)"]);
}

#[test]
fn by_the_limits_alone_no_file_is_opened_and_memory_ends() {
    if part().is_some() {
        let more = |mib: usize| Vec::<u8>::new().try_reserve_exact(mib << 20).is_ok();
        assert!(more(300));
        confine::limits(256 << 20).unwrap();
        let file = File::open("/etc/passwd").map(drop);
        println!("\n: {:?}", file.map_err(|error| error.raw_os_error()));
        println!(": {} {}", more(100), more(300));
        return;
    }
    let said = heard(
        "by_the_limits_alone_no_file_is_opened_and_memory_ends",
        "inside",
    );
    assert_eq!(said, ["Err(Some(24))", "true false"]);
}

/// The pool's own children, as the kernel sees them, and with the strictest setting.
#[tokio::test(flavor = "multi_thread")]
async fn every_thread_of_a_typesetter_is_confined() {
    let (tree, children) = (tree(SLOW), Children::new());
    let mut settings = settings(tree.path());
    settings.render.confine = Confine::Require;
    settings.render.memory = 300;
    settings.render.deadline = 9;
    let pool = Pool::start(&settings, children.program()).await.unwrap();
    let process = format!("/proc/{}", children.pids()[0]);
    let mut threads = 0;
    for thread in fs::read_dir(format!("{process}/task")).unwrap() {
        let status = fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
        assert!(status.contains("NoNewPrivs:\t1"), "{status}");
        assert!(status.contains("Seccomp:\t2"), "{status}");
        threads += 1;
    }
    assert!(threads > 1);
    let limits = || fs::read_to_string(format!("{process}/limits")).unwrap();
    let limit = |name: &str| {
        let limits = limits();
        let line = limits.lines().find_map(|line| line.strip_prefix(name));
        let mut words = line.unwrap().split_whitespace().map(str::to_owned);
        (words.next().unwrap(), words.next().unwrap())
    };
    let memory = (300_u64 << 20).to_string();
    assert_eq!(limit("Max data size"), (memory.clone(), memory));
    assert_eq!(limit("Max open files"), ("0".to_owned(), "0".to_owned()));
    assert_eq!(limit("Max core file size").0, "0");
    // Time is granted anew for each report, and never more than that.
    for _ in 0..3 {
        pool.typeset(&slow(600)).await.unwrap();
        let seconds: u64 = limit("Max cpu time").0.parse().unwrap();
        assert!((12..30).contains(&seconds), "{seconds} s");
    }
    pool.close().await;
}

/// The kernel counts what may be written to, used or not. An allocator that takes more in advance
/// than the limit leaves a thread no stack, and whatever it has in advance is not limited.
#[tokio::test(flavor = "multi_thread")]
async fn a_warm_typesetter_has_most_of_its_memory_before_it() {
    let children = Children::new();
    let mut settings = defaults();
    settings.render.threads = 1;
    let pool = Pool::start(&settings, children.program()).await.unwrap();
    let status = fs::read_to_string(format!("/proc/{}/status", children.pids()[0])).unwrap();
    let taken = status.lines().find_map(|line| line.strip_prefix("VmData:"));
    let taken = taken.unwrap().trim().strip_suffix(" kB").unwrap();
    let (taken, limit) = (taken.parse::<u64>().unwrap(), settings.render.memory << 10);
    assert!(taken < limit / 2, "{taken} of {limit} kB");
    pool.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_confined_typesetter_gives_the_same_bytes_as_none() {
    let mut settings = defaults();
    settings.render.threads = 2;
    settings.render.confine = Confine::Require;
    let here = Typesetter::load(&settings).unwrap();
    let children = Children::new();
    let pool = Pool::start(&settings, children.program()).await.unwrap();
    let mut manuscripts = CORPUS.map(|name| manuscript(corpus(name))).to_vec();
    manuscripts.push(manuscript(long()));
    let mut pages = Vec::new();
    for manuscript in &manuscripts {
        let there = pool.typeset(manuscript).await.unwrap();
        pages.push(there.pages);
        assert!(
            there == here.typeset(manuscript).unwrap(),
            "{}",
            manuscript.title
        );
    }
    assert!(pages.last() > Some(&100), "{pages:?}");
    assert_eq!(children.pids().len(), 2, "no report cost its typesetter");
    pool.close().await;
}

fn manuscript(mut job: Value) -> Manuscript {
    job["on_violation"] = json!("warn");
    let job = check(job.to_string().as_bytes());
    let job = job.unwrap_or_else(|refusal| panic!("{:?}", refusal.rejection.problems()));
    Manuscript::of(&job)
}

/// A report of more than a hundred pages.
fn long() -> Value {
    let mut job = corpus(CORPUS[0]);
    let text = job["data"]["overview"].as_array_mut().unwrap();
    let paragraph = "深入推进政务公开，依申请公开办理规范有序，平台建设不断加强。".repeat(12);
    text.extend(std::iter::repeat_n(json!(paragraph), 200));
    job
}

// What reports and templates may want.

/// Does with a path what the report says.
const NOSY: &str = r#"
#let report = json("report.json")
#set page(width: 10cm, height: 10cm)
#let calls = (read: read, json: json, csv: csv, image: image, plugin: plugin)
#let call = report.at("call", default: none)
#if call == "import" { import report.path as it } else if call == "include" { include report.path } else if call == "eval" { eval(report.path) } else if call != none { (calls.at(call))(report.path) }
#par(report.text.join())
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_template_led_by_its_report_to_a_file_or_package_gets_a_problem() {
    let (tree, children) = (tree(NOSY), Children::new());
    let settings = settings(tree.path());
    let pool = Pool::start(&settings, children.program()).await.unwrap();
    for (call, path, says) in [
        (
            "read",
            "/etc/passwd",
            "there is no etc/passwd among the templates",
        ),
        ("read", "../../etc/passwd", "would escape the project root"),
        (
            "json",
            "/proc/self/environ",
            "there is no proc/self/environ among the templates",
        ),
        (
            "csv",
            "/etc/passwd",
            "there is no etc/passwd among the templates",
        ),
        (
            "image",
            "/etc/passwd.png",
            "there is no etc/passwd.png among the templates",
        ),
        (
            "plugin",
            "/bin/true",
            "there is no bin/true among the templates",
        ),
        (
            "include",
            "/etc/passwd",
            "there is no etc/passwd among the templates",
        ),
        (
            "import",
            "@preview/cetz:0.3.4",
            "there is no package @preview/cetz:0.3.4",
        ),
        (
            "import",
            "@local/x:1.0.0",
            "there is no package @local/x:1.0.0",
        ),
        (
            "eval",
            "read(\"/etc/passwd\")",
            "there is no etc/passwd among the templates",
        ),
    ] {
        let report = Manuscript {
            view: json!({ "text": ["正文。"], "call": call, "path": path }).to_string(),
            ..note(&["正文。"])
        };
        let said = said(pool.typeset(&report).await);
        assert!(
            said.starts_with("E-LAYOUT  the report could not be laid out"),
            "{said}"
        );
        assert!(said.contains(says), "{call} {path}: {said}");
    }
    let text = "#read(\"/etc/passwd\") #import \"@preview/cetz:0.3.4\"";
    pool.typeset(&note(&[text])).await.unwrap();
    assert_eq!(children.pids().len(), 1, "none of it cost the typesetter");
    pool.close().await;
}

// Memory.

/// Keeps as many MiB as it is asked to, a KiB at a time, until the page is set.
const HUNGRY: &str = r#"
#let report = json("report.json")
#set page(width: 10cm, height: 10cm)
#let kept = range(report.at("mib", default: 0)).map(a => range(1024).map(b => str(a * 1024 + b) + "x" * 1000))
#par(report.text.join() + str(kept.len()))
"#;

fn hungry(mib: u32) -> Manuscript {
    Manuscript {
        view: json!({ "text": ["饿"], "mib": mib }).to_string(),
        ..note(&["饿"])
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_takes_too_much_memory_costs_only_itself() {
    let (tree, children) = (tree(HUNGRY), Children::new());
    let mut settings = settings(tree.path());
    settings.render.threads = 2;
    settings.render.memory = 256;
    let pool = Pool::start(&settings, children.program()).await.unwrap();
    let (greedy, modest) = (hungry(400), hungry(1));
    let (refused, others) = tokio::join!(pool.typeset(&greedy), async {
        let mut others = Vec::new();
        for _ in 0..5 {
            others.push(pool.typeset(&modest).await);
        }
        others
    });
    for pdf in others {
        assert_eq!(pdf.unwrap().pages, 1);
    }
    let problems = problems(refused);
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].code, Code::LAYOUT);
    assert_eq!(
        problems[0].message,
        "the report could not be laid out: the typesetter needed more than 256 MiB of memory \
         (render.memory), twice"
    );
    assert_eq!(
        problems[0].message_zh,
        "报告无法排版：排版进程两次所需内存超过256 MiB（render.memory）"
    );
    assert_eq!(pool.typeset(&hungry(60)).await.unwrap().pages, 1);
    assert_eq!(children.pids().len(), 4, "two were lost and replaced");
    pool.close().await;
    assert_eq!(children.alive(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_typesetter_that_has_grown_is_replaced_between_two_reports() {
    let (tree, children) = (tree(HUNGRY), Children::new());
    let mut settings = settings(tree.path());
    settings.render.recycle = 40;
    let pool = Pool::start(&settings, children.program()).await.unwrap();
    let first = pool.typeset(&hungry(1)).await.unwrap();
    assert_eq!(pool.typeset(&hungry(1)).await.unwrap(), first);
    assert_eq!(children.pids().len(), 1, "it has not grown");
    pool.typeset(&hungry(100)).await.unwrap();
    assert_eq!(pool.typeset(&hungry(1)).await.unwrap(), first);
    assert_eq!(children.pids().len(), 2, "it has");
    assert_eq!(children.alive(), 1);
    pool.close().await;
    assert_eq!(children.alive(), 0);
}

// Time.

/// What a child says when it is ready, as the shell prints it.
fn greeting() -> String {
    let ready = r#"{"Ready":{"fingerprint":"x","unconfined":[]}}"#;
    format!("printf '\\000\\000\\000\\{:03o}%s' '{ready}'", ready.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_typesetter_that_computes_with_no_report_is_ended() {
    let (tree, children) = (tree(SLOW), Children::new());
    let mut settings = settings(tree.path());
    settings.render.deadline = 1;
    let idle = children.shell(&format!("{}; while :; do :; done", greeting()));
    let pool = Pool::start(&settings, idle).await.unwrap();
    let began = Instant::now();
    while children.pids().len() < 2 {
        assert!(
            began.elapsed() < Duration::from_secs(100),
            "it is still at it"
        );
        wait(0.2).await;
    }
    drop(pool);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_typesetter_costs_no_report() {
    let (tree, children) = (tree(SLOW), Children::new());
    let mut settings = settings(tree.path());
    settings.render.deadline = 3;
    let pool = Pool::start(&settings, children.program()).await.unwrap();
    children.kill("-STOP");
    assert_eq!(pool.typeset(&slow(0)).await.unwrap().pages, 1);
    assert_eq!(children.pids().len(), 2);
    pool.close().await;
    assert_eq!(children.alive(), 0);
}

/// The kernel continues and hangs up a stopped process whose parent is gone.
#[test]
fn a_stopped_typesetter_ends_with_its_worker() {
    if let Some(folder) = part() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        return runtime.block_on(async {
            let tree = tree(SLOW);
            let pids = Children::within(folder.into());
            let pool = Pool::start(&settings(tree.path()), pids.program()).await;
            let _pool = pool.unwrap();
            println!("\n: ready");
            wait(600.0).await;
        });
    }
    let children = Children::new();
    let folder = children.folder().to_str().unwrap().to_owned();
    let mut worker = again("a_stopped_typesetter_ends_with_its_worker", &folder)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(worker.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == ": ready"));
    children.kill("-STOP");
    let threads = format!("/proc/{}/task", children.living()[0]);
    let stopped = || {
        let mut threads = fs::read_dir(&threads).unwrap();
        threads.all(|thread| {
            let stat = fs::read_to_string(thread.unwrap().path().join("stat")).unwrap();
            stat.contains(") T ")
        })
    };
    while !stopped() {
        std::thread::sleep(Duration::from_millis(20));
    }
    worker.kill().unwrap();
    worker.wait().unwrap();
    let began = Instant::now();
    while children.alive() > 0 {
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "it is still there"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

// What a typesetter that has gone wrong may do to its worker.

/// What becomes of a report whose typesetters greet, and then do what the shell is told. It may
/// take so many seconds.
async fn misbehaving(does: impl AsRef<str>, report: &Manuscript, seconds: u64) -> String {
    let (tree, children) = (tree(SLOW), Children::new());
    let mut settings = settings(tree.path());
    settings.render.deadline = seconds;
    let program = children.shell(&format!("{}; {}", greeting(), does.as_ref()));
    let pool = Pool::start(&settings, program).await.unwrap();
    let said = said(pool.typeset(report).await);
    assert!(children.pids().len() >= 2, "it was replaced");
    pool.close().await;
    assert_eq!(children.alive(), 0);
    let (_, how) = said.split_once("the typesetter ").unwrap();
    how.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_typesetter_that_hangs_is_killed() {
    let short = note(&["短"]);
    // More than a pipe holds.
    let long = note(&[&"长".repeat(200_000)]);
    let said = tokio::join!(
        misbehaving("exec sleep 600", &long, 1),
        misbehaving("exec sleep 600", &short, 1),
        misbehaving("printf '\\000\\000\\000\\003a'; exec sleep 600", &short, 1),
    );
    let late = "was killed after 1 s (render.deadline), twice";
    assert_eq!((&*said.0, &*said.1, &*said.2), (late, late, late));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_typesetter_that_says_what_is_no_answer_is_killed() {
    let report = note(&["短"]);
    let said = tokio::join!(
        misbehaving("exec yes", &report, 30),
        misbehaving("printf '\\377\\377\\377\\377'; exec sleep 600", &report, 30),
        misbehaving(
            "printf '\\000\\000\\000\\003abc'; exec sleep 600",
            &report,
            30
        ),
    );
    let broken = "broke the pipe's protocol: a frame is too long, twice";
    assert_eq!((&*said.0, &*said.1), (broken, broken));
    let no_json = "broke the pipe's protocol: expected value";
    assert!(said.2.starts_with(no_json), "{}", said.2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_typesetter_that_ends_in_the_middle_says_how() {
    let report = note(&[&"长".repeat(200_000)]);
    let read = "head -c 300000 > /dev/null";
    let no_memory = "echo memory allocation of 5 bytes failed >&2";
    let said = tokio::join!(
        misbehaving(format!("{read}; exit 7"), &report, 30),
        misbehaving(format!("{read}; kill -ABRT $$"), &report, 30),
        misbehaving(format!("{read}; {no_memory}; kill -ABRT $$"), &report, 30),
        misbehaving(format!("{read}; kill -XCPU $$"), &report, 30),
    );
    assert_eq!(said.0, "ended with exit code 7, twice");
    assert_eq!(said.1, "died of signal 6 (SIGABRT), twice");
    let memory = "needed more than 512 MiB of memory (render.memory), twice";
    assert_eq!(said.2, memory);
    assert_eq!(said.3, "was killed after 30 s (render.deadline), twice");
}

/// Neither memory nor log of the worker is filled by what a typesetter says.
#[test]
fn a_typesetter_that_talks_without_end_is_heard_out_and_not_kept() {
    if let Some(folder) = part() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        return runtime.block_on(async {
            println!();
            tracing_subscriber::fmt().with_ansi(false).init();
            let (tree, children) = (tree(SLOW), Children::within(folder.into()));
            let talks = "yes 又一行 | head -c 20000000 >&2; head -c 300000000 /dev/zero >&2";
            let program = children.shell(&format!("{talks}; exec {BANSHI} typesetter"));
            let pool = Pool::start(&settings(tree.path()), program).await.unwrap();
            pool.typeset(&slow(0)).await.unwrap();
            pool.close().await;
            let status = fs::read_to_string("/proc/self/status").unwrap();
            let peak = status.lines().find(|line| line.starts_with("VmHWM"));
            println!(": {}", peak.unwrap());
        });
    }
    let children = Children::new();
    let folder = children.folder().to_str().unwrap().to_owned();
    let test = "a_typesetter_that_talks_without_end_is_heard_out_and_not_kept";
    let output = again(test, &folder).output().unwrap();
    let output = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.matches("a typesetter says: 又一行").count(), 99);
    assert_eq!(
        output
            .matches("a typesetter says more than is logged")
            .count(),
        1
    );
    let peak = output
        .lines()
        .find_map(|line| line.strip_prefix(": VmHWM:"));
    let peak = peak.unwrap_or_else(|| panic!("{output}"));
    let kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kib < 150 << 10, "{kib} KiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_is_lost_or_mixed_up_while_typesetters_are_killed() {
    let (tree, children) = (tree(SLOW), Children::new());
    let mut settings = settings(tree.path());
    settings.render.threads = 2;
    let pool = Pool::start(&settings, children.program()).await.unwrap();
    let here = Typesetter::load(&settings).unwrap();
    let reports = (0..40)
        .map(|n| Manuscript {
            ident: format!("report-{n}"),
            // Not one like the other, or the engine knows it already.
            ..slow(200 + n)
        })
        .collect::<Vec<_>>();
    let answered = AtomicUsize::new(0);
    let kills = async {
        let mut struck = 0;
        for kill in 1..=6 {
            // After some more answers, so that there is one that is at work, and not just starting.
            while answered.load(Ordering::Relaxed) < kill * 5 {
                wait(0.05).await;
            }
            if let Some(oldest) = children.living().first() {
                // It may have gone in the meantime.
                let killed = Command::new("kill").args(["-9", oldest]).status();
                struck += usize::from(killed.unwrap().success());
            }
        }
        struck
    };
    let answers = futures_util::future::join_all(reports.iter().map(async |one| {
        let answer = pool.typeset(one).await;
        answered.fetch_add(1, Ordering::Relaxed);
        answer
    }));
    let (answers, struck) = tokio::join!(answers, kills);
    assert!(struck >= 4, "{struck} of six");
    let mut unlucky = 0;
    for (report, answer) in reports.iter().zip(answers) {
        match answer {
            Ok(pdf) => assert!(pdf == here.typeset(report).unwrap(), "{}", report.ident),
            // No report is at fault for it.
            Err(Failure::Rejected(rejection)) => panic!("{rejection}"),
            // One that was struck twice, or whose fresh typesetter was.
            Err(Failure::Outage(outage)) => {
                let (twice, fresh) = (
                    "the typesetter died of signal 9 (SIGKILL), twice",
                    "a starting typesetter died of signal 9 (SIGKILL)",
                );
                let said = &outage.message;
                assert!(said.contains(twice) || said.contains(fresh), "{said}");
                unlucky += 1;
            }
        }
    }
    assert!(unlucky <= 3, "{unlucky} of them, with six killed");
    // The last may have struck one that was starting, and the next is tried after a while.
    let began = Instant::now();
    while pool.typeset(&slow(0)).await.is_err() {
        assert!(began.elapsed() < Duration::from_secs(60), "none came back");
        wait(0.2).await;
    }
    pool.close().await;
    assert_eq!(children.alive(), 0);
}

// Where the system can't confine.

/// As on a kernel, or in a container, that knows neither.
fn deny_confinement() {
    use seccompiler::{SeccompAction, SeccompFilter};
    let calls = [libc::SYS_seccomp, libc::SYS_landlock_create_ruleset];
    let filter = SeccompFilter::new(
        calls.map(|call| (call, Vec::new())).into(),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::ENOSYS.cast_unsigned()),
        std::env::consts::ARCH.try_into().unwrap(),
    );
    let filter: seccompiler::BpfProgram = filter.unwrap().try_into().unwrap();
    seccompiler::apply_filter_all_threads(&filter).unwrap();
}

#[test]
fn where_the_system_cannot_confine_the_pool_works_and_says_so_once() {
    if part().is_some() {
        deny_confinement();
        println!();
        tracing_subscriber::fmt().with_ansi(false).init();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        return runtime.block_on(async {
            let (tree, children) = (tree(SLOW), Children::new());
            let mut settings = settings(tree.path());
            settings.render.threads = 2;
            let pool = Pool::start(&settings, children.program()).await.unwrap();
            children.kill("-9");
            wait(0.5).await;
            let (one, other) = (slow(0), slow(0));
            let (one, other) = tokio::join!(pool.typeset(&one), pool.typeset(&other));
            println!(": {}", one.unwrap() == other.unwrap());
            pool.close().await;

            settings.render.confine = Confine::Require;
            let refused = Pool::start(&settings, children.program()).await;
            let refused = refused.err().unwrap();
            println!(": {} {}", refused.part == Part::Typesetter, refused.message);

            settings.render.confine = Confine::Off;
            let pool = Pool::start(&settings, children.program()).await.unwrap();
            println!(": {}", pool.typeset(&slow(0)).await.is_ok());
            pool.close().await;
        });
    }
    let test = "where_the_system_cannot_confine_the_pool_works_and_says_so_once";
    let output = again(test, "inside").output().unwrap();
    assert!(output.status.success());
    let output = String::from_utf8_lossy(&output.stdout).into_owned();
    let warnings = output
        .matches("the typesetters are not wholly confined")
        .count();
    assert_eq!(warnings, 1, "{output}");
    assert!(
        output.contains("Landlock (") && output.contains("seccomp ("),
        "{output}"
    );
    let said = output.lines().filter_map(|line| line.strip_prefix(": "));
    let said = said.collect::<Vec<_>>();
    assert_eq!((said[0], said[2]), ("true", "true"), "{output}");
    assert!(
        said[1].starts_with("true this system can't confine a typesetter by Landlock (")
            && said[1].contains("render.confine"),
        "{output}"
    );
}

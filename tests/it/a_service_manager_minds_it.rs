//! What the units of systemd say, and what a worker tells the service manager while it lives.

use std::io::Read as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::deployment::Deployment;
use crate::support::{BANSHI, repository};

const UNITS: [&str; 3] = [
    "banshi.service",
    "banshi@.service",
    "banshi-console.service",
];

/// What docs/install/systemd.md states of `systemd-analyze security`, in tenths.
const EXPOSURE: &str = "12";

fn unit(name: &str) -> String {
    std::fs::read_to_string(repository("deploy/systemd").join(name)).expect("a unit")
}

/// The units in a folder, with a program that is there.
fn units() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for name in UNITS {
        let text = unit(name).replace("\nExecStart=banshi ", &format!("\nExecStart={BANSHI} "));
        assert!(text.contains(BANSHI), "{name} starts banshi");
        std::fs::write(folder.path().join(name), text).expect("a file");
    }
    folder
}

fn analyze(arguments: &[&str], unit: &Path) -> (bool, String) {
    let mut command = Command::new("systemd-analyze");
    let output = command.args(arguments).arg(unit).output();
    let output = output.expect("systemd-analyze: tests/tools/install test");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    (output.status.success(), said)
}

#[test]
fn systemd_finds_no_fault_with_the_units() {
    let folder = units();
    let verify = ["verify", "--man=no", "--recursive-errors=no"];
    for name in UNITS {
        let (well, said) = analyze(&verify, &folder.path().join(name));
        assert!(well && said.is_empty(), "{name}: {said}");
    }
    let wrong = folder.path().join("banshi.service");
    let text = unit("banshi.service").replace("\nKillMode=mixed", "\nKillModus=mixed");
    std::fs::write(&wrong, text).expect("a file");
    let (_, said) = analyze(&verify, &wrong);
    assert!(
        said.contains("KillModus"),
        "it would have been told: {said}"
    );
}

#[test]
fn the_units_are_as_little_exposed_as_is_stated() {
    let folder = units();
    let threshold = format!("--threshold={EXPOSURE}");
    let security = ["security", "--offline=true", "--no-pager", &threshold];
    for name in UNITS {
        let (well, said) = analyze(&security, &folder.path().join(name));
        assert!(well, "{name}: {said}");
    }
    let stated = format!("{}.{}", &EXPOSURE[..1], &EXPOSURE[1..]);
    let page = std::fs::read_to_string(repository("docs/install/systemd.md")).expect("the page");
    assert!(page.contains(&format!("at most {stated}")), "{stated}");
}

#[test]
fn one_of_several_workers_is_as_the_only_one() {
    let settings = |name: &str| -> Vec<String> {
        let text = unit(name);
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.map(str::to_owned).collect()
    };
    let (only, one) = (settings("banshi.service"), settings("banshi@.service"));
    let differ: Vec<_> = one.iter().filter(|line| !only.contains(line)).collect();
    assert!(differ.iter().all(|line| line.contains("%i")), "{differ:?}");
    let lost: Vec<_> = only.iter().filter(|line| !one.contains(line)).collect();
    assert_eq!(lost.len() + 1, differ.len(), "{lost:?} and {differ:?}");
}

/// What is heard at a socket, until it is silent for this long.
fn heard(socket: &UnixDatagram, silence: Duration) -> Option<String> {
    socket.set_read_timeout(Some(silence)).expect("a timeout");
    let mut bytes = [0; 4096];
    match socket.recv(&mut bytes) {
        Ok(length) => Some(
            String::from_utf8_lossy(&bytes[..length])
                .trim_end()
                .to_owned(),
        ),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => None,
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_hangs_does_not_say_that_it_lives() {
    const PATIENCE: Duration = Duration::from_secs(120);
    // Many times as long as it is silent while it lives.
    const SILENCE: Duration = Duration::from_secs(4);
    let deployment = Deployment::spool();
    let path = deployment.path("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    // A log that nobody reads, as of a journal that hangs: who writes there hangs with it.
    let (mut log, full) = std::io::pipe().expect("a pipe");
    rustix::pipe::fcntl_setpipe_size(&full, 4096).expect("a small pipe");
    let mut worker = deployment.banshi(&["worker"]);
    worker
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "200000")
        .env("TOKIO_WORKER_THREADS", "1")
        .stdin(Stdio::null())
        .stderr(full);
    let mut child = worker.spawn().expect("it starts");
    // What is left of the writing end is the worker's.
    drop(worker);
    let until = |wanted: &str| {
        let began = Instant::now();
        while heard(&socket, PATIENCE).as_deref() != Some(wanted) {
            assert!(began.elapsed() < PATIENCE, "{wanted} was not heard");
        }
    };
    until("READY=1");
    until("WATCHDOG=1");
    until("WATCHDOG=1");

    for number in 0..100 {
        deployment.send(&format!("job-{number}"), b"{}").await;
    }
    let began = Instant::now();
    while heard(&socket, SILENCE).is_some() {
        assert!(
            began.elapsed() < PATIENCE,
            "it hangs, and says that it lives"
        );
    }

    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        log.read_to_string(&mut text).expect("a log");
        text
    });
    until("WATCHDOG=1");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
    // Heard to its end: who tells a manager waits until there is room for it.
    let ended = loop {
        match child.try_wait().expect("it is ours") {
            Some(ended) => break ended,
            None => drop(heard(&socket, Duration::from_millis(100))),
        }
    };
    assert!(ended.success());
    let log = reader.join().expect("read");
    assert!(log.len() > 4096, "more than there was room for: {log}");
}

#[test]
fn a_worker_that_is_not_watched_says_nothing_of_it() {
    let deployment = Deployment::spool();
    let path = deployment.path("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    let mut worker = deployment.banshi(&["worker", "--until-idle"]);
    let output = worker.env("NOTIFY_SOCKET", &path).output();
    assert!(output.expect("it starts").status.success());
    let mut said = Vec::new();
    while let Some(heard) = heard(&socket, Duration::from_millis(50)) {
        said.push(heard);
    }
    assert!(said.contains(&"READY=1".to_owned()), "{said:?}");
    assert!(!said.contains(&"WATCHDOG=1".to_owned()), "{said:?}");
}

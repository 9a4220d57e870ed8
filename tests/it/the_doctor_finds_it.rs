//! `banshi doctor` finds each fault, made for real, and says what to do; where there is none it
//! says so, and leaves nothing behind. `banshi config` says where each setting comes from, and no
//! secret.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

use banshi::config::{self, DEFAULTS};
use futures_util::TryStreamExt;
use lapin::types::{AMQPValue, FieldTable};
use object_store::ObjectStore;
use serde_json::{Value, json};

use crate::a_full_disk_loses_nothing::{Ballast, run_on_a_small_disk, small_disk};
use crate::support::bench::Bench;
use crate::support::deployment::Deployment;
use crate::support::node::Node;
use crate::support::stores::{Place, Server};
use crate::support::wire::{Harm, Wire};
use crate::support::{BANSHI, repository};

/// What the doctor found: of each check the worst status and all that was said, and how it ended.
struct Found {
    checks: BTreeMap<String, (String, String)>,
    code: Option<i32>,
}

impl Found {
    fn by(command: &mut Command) -> Found {
        let output = command.args(["--format", "json"]).output().unwrap();
        let told = String::from_utf8(output.stdout).unwrap();
        println!("{told}{}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stderr.is_empty());
        let mut checks = BTreeMap::<String, (String, String)>::new();
        for line in told.lines() {
            let finding: Value = serde_json::from_str(line).unwrap();
            let text = |name: &str| finding[name].as_str().unwrap_or_default().to_owned();
            let status = text("status");
            assert_eq!(
                status == "ok",
                text("message_zh").is_empty(),
                "what is to be done is said in Chinese, too: {line}"
            );
            let check = checks.entry(text("check")).or_default();
            if ["", "ok"].contains(&check.0.as_str()) || status == "fail" {
                check.0 = status;
            }
            check.1.push_str(&format!("{}\n", text("message")));
        }
        Found {
            checks,
            code: output.status.code(),
        }
    }

    /// That a check ended so, and said all this.
    #[track_caller]
    fn says(&self, check: &str, status: &str, words: &[&str]) {
        let Some((found, said)) = self.checks.get(check) else {
            panic!("there is no {check}");
        };
        assert_eq!(found, status, "{check}: {said}");
        for word in words {
            assert!(said.contains(word), "{check} does not say {word:?}: {said}");
        }
    }

    /// That nothing else was found.
    #[track_caller]
    fn else_all_is_ok(&self, but: &[&str]) {
        for (check, (status, said)) in &self.checks {
            assert!(
                status == "ok" || but.contains(&check.as_str()),
                "{check}: {said}"
            );
        }
    }
}

/// The doctor of a spool in an empty folder, with nothing wrong but what a test makes so.
fn alone(folder: &Path) -> Command {
    let mut command = Command::new(BANSHI);
    command
        .arg("doctor")
        .current_dir(folder)
        .env("BANSHI__QUEUE__URL", "spool:./spool")
        .env("BANSHI__FONTS__DIR", repository("fonts"))
        .env("BANSHI__RENDER__THREADS", "1");
    command
}

fn doctor_of(bench: &Bench, folder: &Path) -> Command {
    let mut command = bench.banshi(&["doctor"]);
    command.current_dir(folder);
    command
}

#[tokio::test]
async fn a_healthy_deployment_is_all_ok_and_stays_as_it_is() {
    let deployment = Deployment::amqp().await;
    let store = |deployment: &Deployment| {
        let mut files = deployment.store();
        files.extend(crate::support::listed(&deployment.folder().join("store")));
        files
    };
    deployment.send("a", b"{}").await;
    let before = store(&deployment);
    let strict = [
        "doctor",
        "--strict",
        "--text",
        "政府信息公开工作年度报告 2023",
    ];
    let found = Found::by(&mut deployment.banshi(&strict));
    found.else_all_is_ok(&[]);
    assert_eq!(found.code, Some(0));
    for check in [
        "settings",
        "clock",
        "broker",
        "broker.tls",
        "broker.version",
        "broker.alarm",
        "broker.configure",
        "broker.bind",
        "broker.write",
        "broker.read",
        "broker.topology",
        "broker.policies",
        "store",
        "store.space",
        "store.put-if-absent",
        "store.write",
        "store.clock",
        "templates",
        "fonts",
        "fonts.text",
        "typesetter",
        "typesetter.confinement",
        "typesetter.memory",
        "limits.files",
        "limits.process",
        "limits.memory",
    ] {
        found.says(check, "ok", &[]);
    }
    found.says("broker.topology", "ok", &["17 of 17"]);
    found.says("broker.version", "ok", &["RabbitMQ "]);

    // A line each for people.
    let told = deployment.banshi(&["doctor"]).output().unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    assert!(
        told.lines().all(|line| line.starts_with("ok    ")),
        "{told}"
    );

    assert_eq!(store(&deployment), before);
    assert_eq!(deployment.ready("jobs.bulk").await, 1, "the job is there");
    for queue in ["dead", "retry.5s", "unrouted"] {
        assert_eq!(deployment.ready(queue).await, 0, "{queue}");
    }
    deployment.remove().await;
}

#[test]
fn a_spool_is_tried_out_in_each_folder_and_left_as_it_was() {
    let deployment = Deployment::spool();
    let found = Found::by(&mut deployment.banshi(&["doctor"]));
    found.says("spool", "warn", &["a worker makes it at its start"]);
    found.says("store", "warn", &["banshi store init"]);
    found.else_all_is_ok(&["spool", "store"]);
    assert_eq!(found.code, Some(0));
    let found = Found::by(&mut deployment.banshi(&["doctor", "--strict"]));
    assert_eq!(found.code, Some(1));
    let made = crate::support::listed(deployment.folder());
    assert!(made.is_empty(), "nothing was made: {made:?}");

    deployment.work_until_idle();
    let found = Found::by(&mut deployment.banshi(&["doctor", "--strict"]));
    found.says("spool.write", "ok", &["in each folder"]);
    found.else_all_is_ok(&[]);
    assert_eq!(found.code, Some(0));
    let spool = deployment.folder().join("spool");
    for folder in ["jobs", "claimed", "retry", "events", "dead"] {
        assert!(crate::support::listed(&spool.join(folder)).is_empty());
    }

    std::fs::remove_dir(spool.join("events")).unwrap();
    std::fs::write(spool.join("events"), "").unwrap();
    let found = Found::by(&mut deployment.banshi(&["doctor"]));
    found.says("spool", "fail", &["events", "a file is in the way"]);
    assert_eq!(found.code, Some(3));
}

#[tokio::test]
async fn a_broker_that_does_not_let_us_in() {
    let bench = Bench::new().await;
    let folder = tempfile::tempdir().unwrap();
    let url = |url: &str| {
        let mut doctor = doctor_of(&bench, folder.path());
        let found = Found::by(doctor.env("BANSHI__QUEUE__URL", url));
        assert_eq!(found.code, Some(3));
        found
    };
    let found = url("amqp://guest:guest@127.0.0.1:1/%2f");
    found.says(
        "broker",
        "fail",
        &["cannot reach", "Start it, or check queue.url"],
    );
    found.else_all_is_ok(&["broker", "store"]);
    let own = &bench.settings.url;
    let found = url(&own.replace(":guest@", ":secret-of-mine@"));
    found.says(
        "broker",
        "fail",
        &[
            "refuses the user \"guest\" or the password",
            "Check queue.url",
        ],
    );
    assert!(!found.checks["broker"].1.contains("secret-of-mine"));
    let found = url(&own.replace("/%2f", "/nowhere"));
    found.says("broker", "fail", &["\"nowhere\"", "rabbitmqctl add_vhost"]);
    let found = url("amqps://guest:guest@127.0.0.1:1/%2f");
    found.says("broker", "fail", &["amqps://guest@127.0.0.1:1"]);
    bench.end().await;
}

#[tokio::test]
async fn permissions_one_by_one_and_an_alarm() {
    let Some(node) = Node::new() else { return };
    node.start();
    let bench = Bench::at(&node.url()).await;
    let folder = tempfile::tempdir().unwrap();
    node.ctl(&["add_user", "worker", "of-mine"]);
    let url = node.url().replace("guest:guest@", "worker:of-mine@");
    let prefix = bench.settings.prefix.clone();
    let doctor = |topology: &str, permissions: [&str; 3]| {
        let [configure, write, read] = permissions.map(|it| it.replace("PREFIX", &prefix));
        node.ctl(&["set_permissions", "worker", &configure, &write, &read]);
        let mut doctor = doctor_of(&bench, folder.path());
        doctor.env("BANSHI__QUEUE__URL", &url);
        Found::by(doctor.env("BANSHI__QUEUE__TOPOLOGY", topology))
    };
    let all = r"^PREFIX\..*$";
    let grant = format!("rabbitmqctl set_permissions -p / worker '^{prefix}\\..*$'");

    // Nothing is there yet, and nothing is made to find out.
    let found = doctor("declare", [all, all, all]);
    found.says("broker.topology", "warn", &["not there yet", "all 17"]);
    found.else_all_is_ok(&["broker.topology", "store"]);
    let found = doctor("declare", ["^$", "^$", "^$"]);
    for check in ["configure", "bind", "write", "read"] {
        found.says(&format!("broker.{check}"), "fail", &[&grant]);
    }
    assert!(!node.ctl(&["list_queues", "name"]).contains(&prefix));
    assert!(!node.ctl(&["list_exchanges", "name"]).contains(&prefix));
    let found = doctor("verify", [all, all, all]);
    found.says(
        "broker.topology",
        "fail",
        &["\"declare\"", "check queue.prefix"],
    );
    assert_eq!(found.code, Some(3));

    bench.client().await.close().await;
    let mut job = bench.banshi(&["templates", "annual-report/2021", "--sample"]);
    let job = job.output().unwrap().stdout;
    bench
        .publish("bulk", &job, lapin::BasicProperties::default())
        .await;
    let found = doctor("declare", [all, all, all]);
    found.says("broker.topology", "ok", &["17 of 17"]);
    found.else_all_is_ok(&["store"]);
    let found = doctor(
        "declare",
        [r"^PREFIX\.(jobs|retry|dlx|replies|unrouted).*$", all, all],
    );
    found.says(
        "broker.configure",
        "fail",
        &[
            &format!("exchange {prefix}.events, "),
            &format!("queue {prefix}.dead, "),
            &format!("queue {prefix}.events.log. "),
            "\"verify\"",
        ],
    );
    assert!(!found.checks["broker.configure"].1.contains("jobs.bulk"));
    found.says("broker.topology", "ok", &["13 of 17", "the other 4"]);
    found.else_all_is_ok(&["broker.configure", "store"]);

    // The least that is documented.
    let (write, read) = (
        r"^PREFIX\.(events|retry\..+|dlx|replies|status)$",
        r"^PREFIX\.jobs\..+$",
    );
    let found = doctor("verify", ["^$", write, read]);
    found.says("broker.topology", "ok", &["banshi topology check"]);
    found.else_all_is_ok(&["store"]);
    let found = doctor(
        "verify",
        ["^$", r"^PREFIX\.(events|retry\..+|replies|status)$", read],
    );
    let grant = r"(events|retry\..+|dlx|replies|status)$'";
    found.says(
        "broker.write",
        "fail",
        &[&format!("exchange {prefix}.dlx. "), grant],
    );
    found.else_all_is_ok(&["broker.write", "store"]);
    // What can be done without.
    let silent = write.replace("|status", "");
    let found = doctor("verify", ["^$", &silent, read]);
    found.says(
        "broker.write",
        "warn",
        &[
            &format!("exchange {prefix}.status. "),
            "banshi status",
            grant,
        ],
    );
    found.else_all_is_ok(&["broker.write", "store"]);
    let found = doctor("verify", ["^$", write, r"^PREFIX\.jobs\.urgent$"]);
    found.says(
        "broker.read",
        "fail",
        &[&format!("queue {prefix}.jobs.bulk. ")],
    );
    found.else_all_is_ok(&["broker.read", "store"]);

    bench.ready_is("jobs.bulk", 1).await;
    let got = bench.take(&bench.name("jobs.bulk")).await;
    assert!(!got.redelivered, "the job was never taken out");

    node.ctl(&["set_vm_memory_high_watermark", "0.00001"]);
    // The node says it is done before its connections know.
    while !node
        .ctl(&["eval", "rabbit_alarm:get_alarms()."])
        .contains("memory")
    {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let found = doctor("declare", [all, all, all]);
    found.says(
        "broker.alarm",
        "fail",
        &["low on memory", "rabbitmqctl status"],
    );
    found.says("broker.topology", "ok", &["17 of 17"]);
    assert_eq!(found.code, Some(3));
}

#[tokio::test]
async fn queues_with_other_arguments() {
    let bench = Bench::new().await;
    let folder = tempfile::tempdir().unwrap();
    bench.as_the_first_version().await;
    let found = Found::by(&mut doctor_of(&bench, folder.path()));
    let (dead, unrouted) = (bench.name("dead"), bench.name("unrouted"));
    found.says(
        "broker.topology",
        "warn",
        &[&dead, &unrouted, "banshi topology migrate", "15 of 17"],
    );
    let mut other = FieldTable::default();
    other.insert("x-max-length".into(), AMQPValue::LongLongInt(7));
    bench
        .replace("jobs.bulk", other.clone(), "jobs", "bulk")
        .await;
    bench.replace("dead", other, "dlx", "dead").await;
    let found = Found::by(&mut doctor_of(&bench, folder.path()));
    found.says(
        "broker.topology",
        "fail",
        &[
            &format!(
                "queue {} stands with other arguments",
                bench.name("jobs.bulk")
            ),
            "choose another queue.prefix",
            &format!("queue {dead} stands with other arguments"),
            "run `banshi topology migrate`",
        ],
    );
    assert_eq!(found.code, Some(3));
    bench.end().await;
}

#[test]
fn a_store_that_is_not_there_or_not_what_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("reports");
    let doctor = |shards: &str| {
        let mut doctor = alone(folder.path());
        doctor
            .env("BANSHI__STORE__URL", format!("file:{}", place.display()))
            .env("BANSHI__STORE__SHARDS", shards);
        Found::by(&mut doctor)
    };
    // A disk that is not mounted, twice: no folder, and an empty one.
    let words = [
        "no .banshi-ready in it",
        "is it mounted?",
        "banshi store init",
    ];
    doctor("0").says("store", "fail", &words);
    std::fs::create_dir(&place).unwrap();
    let found = doctor("0");
    found.says("store", "fail", &words);
    assert_eq!(found.code, Some(3));
    assert!(
        crate::support::listed(&place).is_empty(),
        "nothing was made"
    );

    let made = Command::new(BANSHI)
        .args(["store", "init"])
        .current_dir(folder.path())
        .env("BANSHI__STORE__URL", format!("file:{}", place.display()))
        .output();
    assert!(made.unwrap().status.success());
    std::fs::remove_file(place.join(".banshi-lock")).unwrap();
    doctor("0").else_all_is_ok(&["spool"]);
    assert_eq!(crate::support::listed(&place), [".banshi-ready"]);
    doctor("16").says("store", "fail", &["store.shards = 0", "Set it back"]);

    std::fs::remove_dir_all(&place).unwrap();
    std::fs::write(&place, "").unwrap();
    doctor("0").says("store", "fail", &["a file is in the way"]);
}

#[tokio::test]
async fn a_bucket_is_put_to_and_read_back_and_left_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let doctor = |place: &Place| {
        let mut doctor = alone(folder.path());
        doctor.env("BANSHI__STORE__URL", &place.settings.url);
        Found::by(doctor.envs(place.settings.aws.iter()))
    };
    let place = Place::bucket(&Server::strict());
    let found = doctor(&place);
    found.says("store", "warn", &["banshi store init"]);
    found.else_all_is_ok(&["store", "spool"]);
    assert!(place.read(".banshi-ready").await.is_none());
    drop(place.ready().await);
    let found = doctor(&place);
    found.says("store.put-if-absent", "ok", &[]);
    found.says("store.write", "ok", &["read back the same and removed"]);
    found.says("store.clock", "ok", &[]);
    found.else_all_is_ok(&["spool"]);

    let server = Server::strict();
    let wire = Wire::to(server.address());
    let wired = Place::bucket(&server.at(wire.address()));
    drop(wired.ready().await);
    wire.harm_to("HEAD", "", 9, Harm::AnswerOld);
    let found = doctor(&wired);
    found.says("store.clock", "warn", &[" s behind ours", "NTP"]);
    found.else_all_is_ok(&["store.clock", "spool"]);
    // Keys that may put and not remove: nothing is put that would stay.
    wire.harm_to("DELETE", "", 9, Harm::Answer(403, "AccessDenied"));
    let found = doctor(&wired);
    found.says("store.put-if-absent", "ok", &["refuses to put"]);
    found.says("store.write", "ok", &["not tried", "AccessDenied"]);
    found.else_all_is_ok(&["spool"]);
    assert_eq!(left_at(&server).await, [""; 0]);

    let wrong =
        Place::bucket(&Server::strict()).variable("AWS_SECRET_ACCESS_KEY", Some("not-the-secret"));
    let found = doctor(&wrong);
    found.says(
        "store",
        "fail",
        &["AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"],
    );
    assert!(!found.checks["store"].1.contains("not-the-secret"));
    let gone = Place::bucket(&Server::strict().at("127.0.0.1:1"));
    doctor(&gone).says("store", "fail", &["check that the endpoint answers"]);

    let lax = Place::bucket(&Server::lax());
    drop(lax.ready().await);
    let found = doctor(&lax);
    found.says(
        "store.put-if-absent",
        "warn",
        &["If-None-Match", "A server that overwrites"],
    );
    assert_eq!(left_at(&Server::lax()).await, [""; 0]);
}

/// What a doctor has left in a server's bucket.
async fn left_at(server: &Server) -> Vec<String> {
    let all: Vec<_> = server.client().list(None).try_collect().await.unwrap();
    let names = all.iter().map(|object| object.location.to_string());
    names
        .filter(|name| name.contains("banshi-doctor"))
        .collect()
}

#[test]
fn a_disk_that_is_nearly_full_full_or_read_only() {
    run_on_a_small_disk(module_path!(), "child_whose_disk_is_small");
}

#[test]
#[ignore = "run by a_disk_that_is_nearly_full_full_or_read_only"]
fn child_whose_disk_is_small() {
    let Some(disk) = small_disk() else { return };
    let store = disk.join("reports");
    let elsewhere = disk.join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    let banshi = |arguments: &[&str]| {
        let mut command = alone(&elsewhere);
        command.env("BANSHI__STORE__URL", format!("file:{}", store.display()));
        let mut other = Command::new(BANSHI);
        other.args(arguments).current_dir(&elsewhere);
        other.envs(
            command
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        );
        other
    };
    assert!(banshi(&["store", "init"]).status().unwrap().success());
    let found = Found::by(&mut banshi(&["doctor"]));
    found.says("store.space", "warn", &["MiB", "soon full"]);
    found.else_all_is_ok(&["store.space", "spool", "spool.space"]);
    let ballast = Ballast::fill(&disk);
    let found = Found::by(&mut banshi(&["doctor"]));
    found.says("store.space", "fail", &["free some space"]);
    found.says("store.write", "fail", &["free some space"]);
    assert_eq!(found.code, Some(3));
    drop(ballast);
    let mount = |how: &str| {
        let mut mount = Command::new("mount");
        let status = mount
            .args(["-o", &format!("remount,{how}")])
            .arg(&disk)
            .status();
        assert!(status.unwrap().success());
    };
    mount("ro");
    let found = Found::by(&mut banshi(&["doctor"]));
    mount("rw");
    found.says("store", "fail", &["mount it writable"]);
    assert_eq!(found.code, Some(3));
    let left = crate::support::listed(&store);
    assert_eq!(left, [".banshi-lock", ".banshi-ready"]);
}

#[test]
fn faces_that_are_missing_and_characters_that_no_face_has() {
    let folder = tempfile::tempdir().unwrap();
    let with = |key: &str, value: &str| {
        let mut doctor = alone(folder.path());
        Found::by(doctor.env(format!("BANSHI__FONTS__{key}"), value))
    };
    let found = with("ROLES__HEITI", "Nobody Sans");
    let words = ["fonts.roles.heiti (黑体", "Nobody Sans", "add a face"];
    found.says("fonts", "fail", &words);
    assert_eq!(found.code, Some(3));
    assert!(
        !found.checks.contains_key("typesetter"),
        "nothing to start it with"
    );
    let found = with("DIR", "/nowhere");
    found.says("fonts", "fail", &["fonts.dir: can't open /nowhere"]);

    // In none of the faces of the repository: a Han character of extension G.
    let (rare, point) = ("\u{30000}", "U+30000");
    let job = json!({ "data": { "agency": format!("{rare}县"), "texts": ["年度\n报告\t"] } });
    std::fs::write(folder.path().join("job.json"), job.to_string()).unwrap();
    std::fs::write(
        folder.path().join("agencies.txt"),
        format!("\u{feff}甲县\r\n{rare}县\r\n"),
    )
    .unwrap();
    for text in ["job.json", "agencies.txt", rare] {
        let found = Found::by(alone(folder.path()).args(["--text", text]));
        let words = ["no face draws 1 of", "E-GLYPH", point, "fonts.more"];
        found.says("fonts.text", "fail", &words);
        assert_eq!(found.code, Some(3));
    }
    let found = Found::by(alone(folder.path()).args(["--text", "淄博市大数据局"]));
    found.says("fonts.text", "ok", &["all 7 different characters"]);
    let mistaken = alone(folder.path())
        .args(["--text", "agences.txt"])
        .output();
    let mistaken = mistaken.unwrap();
    assert_eq!(mistaken.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&mistaken.stderr).contains("there is no file agences.txt"));
}

#[test]
fn limits_that_are_too_small() {
    let folder = tempfile::tempdir().unwrap();
    let limited = |before: &str| {
        let doctor = alone(folder.path());
        let mut shell = Command::new("sh");
        shell
            .args([
                "-c",
                &format!("{before} && exec \"$0\" \"$@\""),
                BANSHI,
                "doctor",
            ])
            .current_dir(folder.path())
            .envs(
                doctor
                    .get_envs()
                    .filter_map(|(name, value)| Some((name, value?))),
            );
        Found::by(&mut shell)
    };
    let found = limited("ulimit -n 100");
    found.says("limits.files", "warn", &["100 open files", "LimitNOFILE="]);
    found.else_all_is_ok(&["limits.files", "spool", "store"]);
    let found = limited("ulimit -d 400000");
    found.says(
        "limits.process",
        "warn",
        &["390 MiB", "ulimit -d", "render.memory"],
    );
    found.else_all_is_ok(&["limits.process", "spool", "store"]);
    let found = limited("ulimit -d 200000");
    found.says("limits.process", "fail", &["195 MiB", "ulimit -d"]);
    assert_eq!(found.code, Some(3));

    let mut doctor = alone(folder.path());
    let found = Found::by(doctor.env("BANSHI__RENDER__CONFINE", "off"));
    found.says("typesetter.confinement", "warn", &["render.confine"]);
    let mut doctor = alone(folder.path());
    let found = Found::by(doctor.env("BANSHI__RENDER__THREADS", "1024"));
    found.says(
        "limits.memory",
        "fail",
        &["1024 typesetters", "render.threads"],
    );
}

/// Needs the right to make a control group of version 1 or 2.
#[test]
fn a_control_group_that_is_too_small() {
    let name = format!("banshi-test-{:08x}", rand::random::<u32>());
    let groups = [
        ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
        ("/sys/fs/cgroup", "memory.max"),
    ];
    let made = groups.into_iter().find_map(|(root, file)| {
        let group = Path::new(root).join(&name);
        let limit = group.join(file);
        std::fs::create_dir(&group).ok()?;
        if std::fs::write(&limit, "500M").is_ok() {
            return Some((group, limit));
        }
        std::fs::remove_dir(&group).unwrap();
        None
    });
    let Some((group, limit)) = made else {
        println!("not run: no control group can be made here");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let doctor = || {
        let doctor = alone(folder.path());
        let mut shell = Command::new("sh");
        let enter = "echo $$ > \"$GROUP/cgroup.procs\" && exec \"$0\" \"$@\"";
        shell
            .args(["-c", enter, BANSHI, "doctor"])
            .current_dir(folder.path())
            .env("GROUP", &group)
            .envs(
                doctor
                    .get_envs()
                    .filter_map(|(name, value)| Some((name, value?))),
            );
        Found::by(&mut shell)
    };
    let warned = doctor();
    std::fs::write(&limit, "300M").unwrap();
    let failed = doctor();
    std::fs::remove_dir(&group).unwrap();
    warned.says(
        "limits.memory",
        "warn",
        &["500 MiB", "712 MiB", "control group"],
    );
    failed.says(
        "limits.memory",
        "fail",
        &["300 MiB", "350 MiB", "raise the limit"],
    );
    assert_eq!((warned.code, failed.code), (Some(0), Some(3)));
}

#[test]
fn settings_that_are_wrong_are_a_finding() {
    let folder = tempfile::tempdir().unwrap();
    let found = Found::by(alone(folder.path()).env("BANSHI__STORE__ULR", "x"));
    found.says(
        "settings",
        "fail",
        &["BANSHI__STORE__ULR", "did you mean store.url?"],
    );
    assert_eq!((found.code, found.checks.len()), (Some(3), 1));
    let told = config_of(folder.path(), &[("BANSHI__STORE__ULR", "x")], &[]);
    assert_eq!(told.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&told.stderr).contains("did you mean store.url?"));
}

fn config_of(folder: &Path, variables: &[(&str, &str)], arguments: &[&str]) -> Output {
    let mut command = Command::new(BANSHI);
    let command = command.arg("config").args(arguments).current_dir(folder);
    command.envs(variables.iter().copied()).output().unwrap()
}

#[test]
fn every_setting_is_told_with_its_source_and_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let file = "[render]\nthreads = 3\n[queue]\nprefix = \"of \\\"mine\\\"\"\n";
    std::fs::write(folder.path().join("banshi.toml"), file).unwrap();
    let variables = [
        (
            "BANSHI__QUEUE__URL",
            "amqp://worker:p@ss:w0rd@one,two:5673/reports?x=1",
        ),
        ("BANSHI__RENDER__DEADLINE", "61"),
        (
            "BANSHI__FONTS__ROLES__LATIN",
            "Times New Roman, Liberation Serif",
        ),
        ("AWS_REGION", "cn-north-1"),
        ("AWS_SECRET_ACCESS_KEY", "w0rd"),
        ("AWS_ACCESS_KEY_ID", "w0rd"),
        ("AWS_SESSION_TOKEN", "w0rd"),
        ("AWS_ENDPOINT_URL", "https://me:w0rd@s3.example"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://me:w0rd@collector"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=w0rd"),
    ];
    let told = config_of(folder.path(), &variables, &["--format", "json"]);
    let json = String::from_utf8(told.stdout).unwrap();
    assert!(told.status.success());
    let all: Vec<Value> = serde_json::from_str(&json).unwrap();
    let of = |key: &str| {
        let setting = all.iter().find(|setting| setting["key"] == key);
        let setting = setting.unwrap_or_else(|| panic!("no {key}"));
        (setting["value"].clone(), setting["source"].clone())
    };
    assert_eq!(of("render.threads"), (json!(3), json!("banshi.toml")));
    assert_eq!(
        of("queue.prefix"),
        (json!("of \"mine\""), json!("banshi.toml"))
    );
    assert_eq!(
        of("render.deadline"),
        (json!(61), json!("BANSHI__RENDER__DEADLINE"))
    );
    assert_eq!(of("render.confine"), (json!("try"), json!("default")));
    let latin = json!(["Times New Roman", "Liberation Serif"]);
    assert_eq!(
        of("fonts.roles.latin"),
        (latin, json!("BANSHI__FONTS__ROLES__LATIN"))
    );
    let url = json!("amqp://worker:***@one,two:5673/reports?x=1");
    assert_eq!(of("queue.url"), (url, json!("BANSHI__QUEUE__URL")));
    assert_eq!(of("AWS_REGION").0, json!("cn-north-1"));
    for name in [
        "AWS_SECRET_ACCESS_KEY",
        "AWS_ACCESS_KEY_ID",
        "AWS_SESSION_TOKEN",
        "OTEL_EXPORTER_OTLP_HEADERS",
    ] {
        assert_eq!(of(name), (json!("***"), json!(name)));
    }
    let collector = of("OTEL_EXPORTER_OTLP_ENDPOINT").0;
    assert_eq!(collector, json!("https://me:***@collector"));
    // In the order of the defaults.
    let at = |key: &str| DEFAULTS.lines().position(|line| line.starts_with(key));
    assert!(at("drain_timeout") < at("stuck"));
    let place = |key: &str| all.iter().position(|setting| setting["key"] == key);
    assert_eq!(place("queue.url"), Some(0));
    assert!(place("worker.drain_timeout") < place("worker.stuck"));

    let told = config_of(folder.path(), &variables, &[]);
    let text = String::from_utf8(told.stdout).unwrap();
    for shown in [&json, &text] {
        assert!(!shown.contains("w0rd"), "{shown}");
    }
    assert!(text.contains("\nthreads = 3  # banshi.toml\n"), "{text}");
    assert!(
        text.contains("\ndeadline = 61  # BANSHI__RENDER__DEADLINE\n"),
        "{text}"
    );

    // It is a file of settings that says the same.
    let copy = folder.path().join("copy.toml");
    std::fs::write(&copy, &text).unwrap();
    let read = config::Settings::load(&[copy], []).unwrap();
    assert_eq!((read.render.threads, read.render.deadline), (3, 61));
    assert_eq!(read.queue.prefix, "of \"mine\"");
    let named = ["--config", "copy.toml", "--format", "json"];
    let again = config_of(folder.path(), &[], &named);
    let again: Vec<Value> = serde_json::from_slice(&again.stdout).unwrap();
    let settings = all
        .iter()
        .filter(|it| it["key"].as_str().unwrap().contains('.'));
    let (ours, theirs) = (settings.count(), again.len());
    assert!(theirs >= ours);
    assert!(
        again[..ours]
            .iter()
            .all(|setting| setting["source"] == "copy.toml")
    );
}

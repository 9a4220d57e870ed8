//! The command line: exit codes, what goes where, and errors that say what to do.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::deployment::Deployment;
use crate::support::jobs::{BROKEN, corpus};
use crate::support::node::Node;
use crate::support::{BANSHI, listed, ran, repository};

fn banshi(arguments: &[&str]) -> Command {
    let mut command = Command::new(BANSHI);
    command
        .args(arguments)
        .env("BANSHI__FONTS__DIR", repository("fonts"));
    command
}

fn report(name: &str) -> String {
    repository(&format!("tests/corpus/{name}.json"))
        .display()
        .to_string()
}

#[test]
fn every_command_has_help_with_an_example() {
    let (code, help, _) = ran(&mut banshi(&["--help"]));
    assert_eq!(code, Some(0));
    let commands = [
        "render",
        "check",
        "import",
        "verify",
        "archive",
        "worker",
        "enqueue",
        "dead",
        "config",
        "doctor",
        "schema",
        "form",
        "templates",
        "fonts",
        "demo",
    ];
    for command in commands {
        assert!(
            help.contains(&format!("\n  {command} ")),
            "{command} in {help}"
        );
        let (code, help, _) = ran(&mut banshi(&[command, "--help"]));
        assert_eq!(code, Some(0), "{command}");
        assert!(help.contains("Example:\n  "), "{command}: {help}");
    }
    assert!(
        !help.contains("typesetter"),
        "the worker's own command is nobody else's: {help}"
    );
}

#[test]
fn render_writes_the_pdf_and_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let command = &mut banshi(&["render", &report("zibo-bigdata-2020")]);
    let (code, out, err) = ran(command.current_dir(folder.path()));
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let pdf = std::fs::read(folder.path().join("zibo-bigdata-2020.pdf")).expect("the default name");
    let sha256 = banshi::digest::sha256(&pdf);
    assert!(
        out.contains("wrote zibo-bigdata-2020.pdf: 5 pages") && out.contains(&sha256),
        "{out}"
    );
}

#[test]
fn render_draws_pictures_a_file_a_page() {
    let folder = tempfile::tempdir().expect("a folder");
    let job = report("zibo-bigdata-2020");
    let render = |arguments: &[&str]| {
        let command = &mut banshi(&["render", &job]);
        ran(command.args(arguments).current_dir(folder.path()))
    };
    let (code, out, err) = render(&["--format", "png", "--ppi", "36"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let pages = |stem: &str, ending: &str| -> Vec<String> {
        (1..=5).map(|n| format!("{stem}-{n}.{ending}")).collect()
    };
    assert_eq!(listed(folder.path()), pages("zibo-bigdata-2020", "png"));
    assert_eq!(out.lines().count(), 5, "{out}");
    assert!(
        out.starts_with("wrote zibo-bigdata-2020-1.png: page 1 of 5, "),
        "{out}"
    );
    // Width and height stand in a PNG's header: A4 at half a pixel a point.
    let first = std::fs::read(folder.path().join("zibo-bigdata-2020-1.png")).expect("a page");
    assert!(first.starts_with(b"\x89PNG"));
    assert_eq!(first[16..24], [0, 0, 1, 42, 0, 0, 1, 165]);

    let (code, _, err) = render(&["--format", "svg", "-o", "pages/of/it/"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let made = folder.path().join("pages/of/it");
    assert_eq!(listed(&made), pages("zibo-bigdata-2020", "svg"));
    let first = std::fs::read_to_string(made.join("zibo-bigdata-2020-1.svg")).expect("a page");
    assert!(first.starts_with("<svg "), "{first:.80}");

    // A name with the ending and one without mean the same, and so do the bytes.
    for name in ["a", "b.png"] {
        let (code, _, err) = render(&["--format", "png", "--ppi", "36", "-o", name]);
        assert_eq!((code, err.as_str()), (Some(0), ""));
    }
    for n in 1..=5 {
        let read = |name: &str| std::fs::read(folder.path().join(format!("{name}-{n}.png")));
        let first = read("zibo-bigdata-2020").expect("a page");
        assert_eq!(read("a").expect("a page"), first);
        assert_eq!(read("b").expect("a page"), first);
    }

    let (code, _, err) = render(&["-o", "pages"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(
        folder.path().join("pages/zibo-bigdata-2020.pdf").is_file(),
        "a PDF goes into a folder too"
    );
}

#[test]
fn the_numbers_of_pages_sort_as_the_pages_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut job = corpus("zibo-bigdata-2020");
    job["data"]["overview"] = Value::Array(vec![json!("政府信息公开。".repeat(60)); 14]);
    std::fs::write(folder.path().join("long.json"), job.to_string()).expect("a file");
    let command = &mut banshi(&["render", "long.json", "-o", "long/"]);
    let command = command.args(["--format", "png", "--ppi", "36"]);
    let (code, out, err) = ran(command.current_dir(folder.path()));
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let names = listed(&folder.path().join("long"));
    assert!(names.len() > 9, "{names:?}");
    for (n, (name, line)) in (1..).zip(names.iter().zip(out.lines())) {
        assert!(name.ends_with(&format!("-{n:02}.png")), "{name}");
        assert!(line.contains(name), "{line}");
    }
}

#[test]
fn pictures_pass_the_checks_of_the_pdf() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut job = corpus("zibo-bigdata-2020");
    job["data"]["agency"] = json!("淄博市\u{10FFFF}局");
    std::fs::write(folder.path().join("job.json"), job.to_string()).expect("a file");
    for format in ["pdf", "png", "svg"] {
        let command = &mut banshi(&["render", "job.json", "--format", format, "-o", "out/"]);
        let (code, out, err) = ran(command.current_dir(folder.path()));
        assert_eq!((code, out.as_str()), (Some(1), ""), "{format}");
        assert!(err.starts_with("E-GLYPH /data/agency: "), "{format}: {err}");
        assert_eq!(listed(folder.path()), ["job.json"], "{format}");
    }
}

#[test]
fn a_job_at_fault_ends_with_1_and_each_problem_with_its_path() {
    let (code, out, err) = ran(&mut banshi(&["render", &report(BROKEN)]));
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(
        err.starts_with("R-REVIEW /data/review_and_litigation/litigation/direct/total: "),
        "{err}"
    );
    assert!(
        err.contains("「行政诉讼 未经复议直接起诉」「总计」填0，而四种结果之和为3"),
        "{err}"
    );
}

#[test]
fn check_tells_people_and_machines() {
    let (good, broken) = (report("zibo-bigdata-2020"), report(BROKEN));
    let (code, out, _) = ran(&mut banshi(&["check", &good]));
    assert_eq!(code, Some(0));
    assert!(out.ends_with("zibo-bigdata-2020.json: ok\n"), "{out}");

    let (code, out, _) = ran(&mut banshi(&["check", "--format", "json", &good, &broken]));
    assert_eq!(code, Some(1));
    let lines: Vec<Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(
        (&lines[0]["ok"], &lines[0]["problems"]),
        (&json!(true), &json!([]))
    );
    assert_eq!(
        (&lines[1]["ok"], &lines[1]["problems"][0]["code"]),
        (&json!(false), &json!("R-REVIEW"))
    );
}

#[test]
fn a_wrong_command_line_ends_with_2() {
    let job = report("zibo-bigdata-2020");
    for wrong in [
        &["rendre"][..],
        &["render"],
        &["templates", "no/such", "--schema"],
        &["dead", "drop"],
        &["render", &job, "--format", "jpeg"],
        &["render", &job, "--format", "png", "--ppi", "35"],
        &["render", &job, "--format", "png", "--ppi", "601"],
        &["render", &job, "--format", "png", "--ppi", "1e2"],
        &["render", &job, "--ppi", "72"],
        &["render", &job, "--format", "svg", "--ppi", "72"],
        &["render", &job, "-o", "/nowhere/x.png"],
        &["render", &job, "--format", "svg", "-o", "/nowhere/x.pdf"],
    ] {
        let (code, _, err) = ran(&mut banshi(wrong));
        assert_eq!(code, Some(2), "{wrong:?}: {err}");
        assert!(!err.is_empty());
    }
}

#[test]
fn an_environment_at_fault_ends_with_3_and_names_what_to_do() {
    let job = report("zibo-bigdata-2020");
    let cases: [(&[&str], (&str, &str), &str); 6] = [
        (
            &["render", "/nowhere/job.json"],
            ("X", ""),
            "/nowhere/job.json",
        ),
        (
            &["render", &job, "-o", "/nowhere/x.pdf"],
            ("X", ""),
            "/nowhere/x.pdf",
        ),
        (
            &["render", &job],
            ("BANSHI__FONTS__DIR", "/nowhere"),
            "/nowhere",
        ),
        (
            &["check", &job],
            ("BANSHI__TEMPLATES__DIR", "/nowhere"),
            "/nowhere",
        ),
        (
            &["check", &job],
            ("BANSHI__QUEUE__ULR", "x"),
            "did you mean queue.url?",
        ),
        (
            &["enqueue", &job],
            ("BANSHI__QUEUE__URL", "amqp://me:secret@127.0.0.1:1/%2f"),
            "127.0.0.1:1",
        ),
    ];
    for (arguments, (name, value), said) in cases {
        let (code, _, err) = ran(banshi(arguments).env(name, value));
        assert_eq!(code, Some(3), "{arguments:?}: {err}");
        assert!(err.contains(said), "{arguments:?}: {err}");
        assert!(
            !err.contains("secret"),
            "a password is nobody's business: {err}"
        );
    }
}

#[test]
fn templates_are_listed_and_their_samples_are_good_jobs() {
    let (code, out, _) = ran(&mut banshi(&["templates"]));
    assert_eq!(code, Some(0));
    assert!(
        out.contains("annual-report/2019") && out.contains("annual-report/2021"),
        "{out}"
    );
    for template in ["annual-report/2019", "annual-report/2021"] {
        let (_, schema, _) = ran(&mut banshi(&["templates", template, "--schema"]));
        let schema: Value = serde_json::from_str(&schema).expect("a schema is JSON");
        assert_eq!(schema["properties"]["template"]["const"], json!(template));
        let (_, sample, _) = ran(&mut banshi(&["templates", template, "--sample"]));
        let mut check = banshi(&["check", "-"]);
        let mut child = check
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("it starts");
        child
            .stdin
            .take()
            .expect("piped")
            .write_all(sample.as_bytes())
            .expect("it reads");
        assert!(child.wait().expect("it ends").success(), "{template}");
    }
}

#[test]
fn fonts_are_listed_by_role_with_what_they_cover() {
    let (code, out, _) = ran(&mut banshi(&["fonts"]));
    assert_eq!(code, Some(0));
    for (role, face) in [
        ("fangsong", "Zhuque Fangsong"),
        ("kaiti", "LXGW WenKai GB Lite"),
        ("heiti", "Noto Sans CJK SC"),
        ("songti", "Noto Serif CJK SC"),
        ("biaosong", "Noto Serif CJK SC"),
        ("latin", "Liberation Serif"),
    ] {
        assert!(
            out.lines()
                .any(|line| line.starts_with(role) && line.contains(face)),
            "{role} in {out}"
        );
    }
    let (code, out, _) = ran(&mut banshi(&["fonts", "--text", "曌\u{e000}"]));
    assert_eq!(code, Some(1));
    assert!(
        out.contains("U+66CC") && out.contains("U+E000  no face draws it"),
        "{out}"
    );
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let mut command = banshi(&["templates", "annual-report/2021", "--schema"]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(
        (output.status.code(), output.stderr.as_slice()),
        (Some(0), &b""[..])
    );
}

#[test]
fn a_folder_of_templates_replaces_and_adds_without_a_build() {
    let folder = tempfile::tempdir().expect("a folder");
    let package = folder.path().join("annual-report/2021");
    std::fs::create_dir_all(&package).expect("a folder");
    let main = "#import \"/gongwen/lib.typ\": *\n#set document(title: \
                json(\"report.json\").title)\n改过的版式\n";
    std::fs::write(package.join("main.typ"), main).expect("a file");
    let pdf = folder.path().join("x.pdf");
    let command = &mut banshi(&[
        "render",
        &report("pingtan-2023"),
        "-o",
        &pdf.display().to_string(),
    ]);
    let (code, _, err) = ran(command.env("BANSHI__TEMPLATES__DIR", folder.path()));
    assert_eq!(code, Some(0), "{err}");
    assert!(crate::support::pdf::text(&pdf).contains("改过的版式"));

    std::fs::write(package.join("main.typ"), "#let x = \n#panic").expect("a file");
    let (code, _, err) = ran(banshi(&["worker", "--until-idle"])
        .env("BANSHI__TEMPLATES__DIR", folder.path())
        .env(
            "BANSHI__QUEUE__URL",
            format!("spool:{}", folder.path().join("spool").display()),
        )
        .env(
            "BANSHI__STORE__URL",
            format!("file:{}", folder.path().join("store").display()),
        )
        .env("BANSHI__STORE__CREATE", "always")
        .env("BANSHI__ADMIN__LISTEN", ""));
    assert_eq!(code, Some(3), "a broken template is found at start: {err}");
    assert!(
        err.contains("annual-report/2021/main.typ:1"),
        "with its place: {err}"
    );
}

#[test]
fn the_demo_runs_real_reports_through_the_whole_pipeline() {
    let folder = tempfile::tempdir().expect("a folder");
    let (code, out, err) = ran(banshi(&["demo"]).env("TMPDIR", folder.path()));
    assert_eq!(code, Some(0), "{err}");
    let mut completed = 0;
    for line in out.lines().filter(|line| line.contains(" completed ")) {
        let path = line.split_whitespace().last().expect("a path");
        assert!(
            std::fs::read(path).expect("a PDF").starts_with(b"%PDF"),
            "{line}"
        );
        completed += 1;
    }
    assert_eq!(completed, 9, "{out}");
    assert!(
        out.contains("jinhu-2023             rejected   R-REVIEW"),
        "{out}"
    );
}

/// Sends, looks at the dead queue, repairs nothing, replays and drops.
async fn enqueue_and_dead(deployment: Deployment) {
    let folder = tempfile::tempdir().expect("a folder");
    let in_folder = |name: &str| folder.path().join(name).display().to_string();
    std::fs::create_dir(in_folder("jobs")).expect("a folder");
    for name in ["zibo-bigdata-2020", BROKEN] {
        std::fs::copy(report(name), in_folder(&format!("jobs/{name}.json"))).expect("a copy");
    }
    let mut second = corpus("zibo-bigdata-2020");
    second["job_id"] = json!("second");
    std::fs::write(in_folder("more.ndjson"), format!("{second}\n\nnot a job\n")).expect("a file");

    let send = &mut deployment.banshi(&["enqueue", &in_folder("jobs"), &in_folder("more.ndjson")]);
    let (code, out, err) = ran(send);
    assert_eq!(code, Some(1), "one line is no job: {err}");
    assert!(out.starts_with("sent 3 to the bulk lane"), "{out}");
    assert!(err.contains("more.ndjson:3: not sent: not JSON"), "{err}");
    deployment.work_until_idle();
    assert_eq!(deployment.store().len(), 4);

    let list = || ran(&mut deployment.banshi(&["dead", "list"]));
    let (code, out, _) = list();
    assert_eq!(code, Some(0));
    assert!(
        out.starts_with("jinhu-2023  report.rejected  R-REVIEW  "),
        "{out}"
    );
    let (code, shown, _) = ran(&mut deployment.banshi(&["dead", "show", BROKEN]));
    assert_eq!(
        (code, serde_json::from_str::<Value>(&shown).expect("JSON")),
        (Some(0), corpus(BROKEN))
    );
    assert_eq!(list().1, out, "looking changes nothing");

    let (code, _, err) = ran(&mut deployment.banshi(&["dead", "replay", "nobody"]));
    assert_eq!(code, Some(2));
    assert!(
        err.contains("there is no job nobody in the dead queue"),
        "{err}"
    );
    let (code, out, _) = ran(&mut deployment.banshi(&["dead", "replay", BROKEN]));
    assert_eq!((code, out.as_str()), (Some(0), "replayed jinhu-2023\n"));
    assert_eq!(list().1, "", "it is on its way again");
    deployment.work_until_idle();
    assert!(
        list().1.starts_with("jinhu-2023  report.rejected"),
        "and is rejected again"
    );
    let (code, out, _) = ran(&mut deployment.banshi(&["dead", "drop", "--all"]));
    assert_eq!((code, out.as_str()), (Some(0), "dropped jinhu-2023\n"));
    assert_eq!(list().1, "");
    deployment.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn enqueue_and_the_dead_queue_over_rabbitmq() {
    enqueue_and_dead(Deployment::amqp().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn enqueue_and_the_dead_queue_over_the_spool() {
    enqueue_and_dead(Deployment::spool()).await;
}

/// Runs a command with its streams as a shell has them: `2>&-`, `| head -1`.
fn redirected(command: &Command, streams: &str) -> (Option<i32>, String, String) {
    let mut shell = Command::new("bash");
    let line = format!("\"$@\" {streams}; exit ${{PIPESTATUS[0]}}");
    shell.args(["-c", &line, "bash"]);
    shell.arg(command.get_program()).args(command.get_args());
    let variables = command.get_envs();
    shell.envs(variables.filter_map(|(name, value)| Some((name, value?))));
    if let Some(folder) = command.get_current_dir() {
        shell.current_dir(folder);
    }
    ran(&mut shell)
}

/// What a command does with standard output.
#[derive(PartialEq)]
enum Prints {
    Nothing,
    Shows,
    Changes,
}

const TEMPLATE: &str = "annual-report/2021";

/// A spool with so many dead jobs.
fn with_dead(jobs: usize) -> Deployment {
    let deployment = Deployment::spool();
    let dead = deployment.path("spool/dead");
    std::fs::create_dir_all(&dead).expect("a folder");
    for job in 0..jobs {
        let job = dead.join(format!("job-{job:04}.json"));
        std::fs::write(job, corpus(BROKEN).to_string()).expect("a job");
    }
    deployment
}

/// How many are left of them.
fn dead_left(deployment: &Deployment) -> usize {
    let dead = std::fs::read_dir(deployment.path("spool/dead")).expect("a folder");
    dead.count()
}

#[test]
fn a_command_keeps_its_exit_code_when_nobody_listens() {
    let (good, broken) = (report("zibo-bigdata-2020"), report(BROKEN));
    // Each with its exit code, and what it does with standard output: it prints nothing there,
    // shows something, or changes something that must be heard of.
    let cases: [(&[&str], i32, Prints); 22] = [
        (&["--help"], 0, Prints::Shows),
        (&["dead", "--help"], 0, Prints::Shows),
        (&["rendre"], 2, Prints::Nothing),
        (&["dead", "drop"], 2, Prints::Nothing),
        (&["render", "/nowhere/job.json"], 3, Prints::Nothing),
        (&["render", &broken], 1, Prints::Nothing),
        (&["check", &good], 0, Prints::Shows),
        (&["check", &broken, &good], 1, Prints::Shows),
        (&["check", "--format", "json", &broken], 1, Prints::Shows),
        (&["verify", &good], 1, Prints::Shows),
        (&["templates", TEMPLATE, "--sample"], 0, Prints::Shows),
        (&["fonts", "--text", "\u{e000}"], 1, Prints::Shows),
        (&["config"], 0, Prints::Shows),
        (&["doctor", "--strict"], 1, Prints::Shows),
        (&["dead", "list"], 0, Prints::Shows),
        (&["dead", "show", "job-0000"], 0, Prints::Shows),
        (&["dead", "drop", "--dry-run", "--all"], 0, Prints::Shows),
        (&["dead", "drop", "--all"], 0, Prints::Changes),
        (&["dead", "replay", "job-0000"], 0, Prints::Changes),
        (&["render", &good], 0, Prints::Changes),
        (&["enqueue", &broken], 0, Prints::Changes),
        (
            &["enqueue", &broken, "/nowhere/job.json"],
            3,
            Prints::Changes,
        ),
    ];
    for (arguments, code, prints) in cases {
        for streams in ["2>&-", "2>/dev/full", ">&-", ">/dev/full"] {
            let deployment = with_dead(3);
            let (found, _, err) = redirected(&deployment.banshi(arguments), streams);
            let unwritten = streams == ">/dev/full" && prints != Prints::Nothing;
            let code = if unwritten { 3 } else { code };
            assert_eq!(found, Some(code), "{arguments:?} {streams}: {err}");
            assert!(
                !unwritten || err.contains("standard output"),
                "{arguments:?}: {err}"
            );
        }
        let deployment = with_dead(3);
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let status = deployment.banshi(arguments).stdout(writer).status();
        let code = if prints == Prints::Changes { 3 } else { code };
        let found = status.expect("it starts").code();
        assert_eq!(found, Some(code), "{arguments:?} into a broken pipe");
    }
}

#[test]
fn what_nobody_hears_of_any_more_is_not_done() {
    const JOBS: usize = 3000;
    let deployment = with_dead(JOBS);
    let (code, out, err) = redirected(&deployment.banshi(&["dead", "list"]), "| head -1");
    assert_eq!((code, out.lines().count()), (Some(0), 1), "{err}");
    let (code, out, err) = redirected(&deployment.banshi(&["dead", "drop", "--all"]), "| head -1");
    assert_eq!((code, out.lines().count()), (Some(3), 1), "{err}");
    assert!(err.contains("standard output was closed"), "{err}");
    let left = dead_left(&deployment);
    assert!((JOBS / 2..JOBS).contains(&left), "{left}");
    // One that only says what it would do changes nothing.
    let dry = deployment.banshi(&["dead", "drop", "--all", "--dry-run"]);
    let (code, _, err) = redirected(&dry, "| head -1");
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert_eq!(dead_left(&deployment), left);

    // Where the exit code is the answer, it is the answer about all.
    let (good, broken) = (report("zibo-bigdata-2020"), report(BROKEN));
    let mut all = vec!["check"];
    all.extend(std::iter::repeat_n(good.as_str(), 200));
    all.push(&broken);
    let (code, out, _) = redirected(&banshi(&all), "2>/dev/null | head -1");
    assert_eq!((code, out.lines().count()), (Some(1), 1));
}

#[test]
fn enqueue_takes_a_byte_order_mark_as_the_worker_does() {
    let deployment = Deployment::spool();
    let marked = |job: &Value| format!("\u{feff}{job}\n");
    let (mut first, mut second) = (corpus(BROKEN), corpus(BROKEN));
    first["job_id"] = json!("first");
    second["job_id"] = json!("second");
    std::fs::write(deployment.path("one.json"), marked(&corpus(BROKEN))).expect("a file");
    let lines = format!("{}{second}\n", marked(&first));
    std::fs::write(deployment.path("more.ndjson"), lines).expect("a file");
    std::fs::write(deployment.path("empty.ndjson"), "\u{feff}\n").expect("a file");
    let files = ["enqueue", "one.json", "more.ndjson", "empty.ndjson"];
    let (code, out, err) = ran(&mut deployment.banshi(&files));
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(out.starts_with("sent 3 to"), "{out}");
    let stdin = redirected(&deployment.banshi(&["enqueue", "-"]), "< one.json");
    assert_eq!(stdin.0, Some(0), "{}", stdin.2);
    deployment.work_until_idle();
    let (code, out, _) = ran(&mut deployment.banshi(&["dead", "list", "--code", "R-REVIEW"]));
    assert_eq!((code, out.lines().count()), (Some(0), 3), "{out}");
}

#[test]
fn enqueue_sends_all_that_can_be_sent_and_names_what_cannot() {
    let deployment = Deployment::spool();
    std::fs::create_dir(deployment.path("jobs")).expect("a folder");
    for name in ["a", "z"] {
        let mut job = corpus(BROKEN);
        job["job_id"] = json!(name);
        std::fs::write(
            deployment.path(&format!("jobs/{name}.json")),
            job.to_string(),
        )
        .expect("a file");
    }
    std::fs::write(deployment.path("no.json"), "{").expect("a file");
    // What cannot be read is the environment's fault, and the graver one.
    let a = "jobs/a.json";
    let arguments = ["enqueue", a, "missing.json", "no.json", "jobs/z.json"];
    let (code, out, err) = ran(&mut deployment.banshi(&arguments));
    assert_eq!(code, Some(3), "{err}");
    assert!(out.starts_with("sent 2 to the bulk lane"), "{out}");
    assert!(out.contains("2 not sent"), "{out}");
    assert!(err.contains("missing.json: not sent: cannot read"), "{err}");
    assert!(err.contains("no.json: not sent: not JSON"), "{err}");
    // A name in a folder that leads nowhere.
    #[cfg(unix)]
    std::os::unix::fs::symlink("nowhere", deployment.path("jobs/lost.json")).expect("a link");
    let (code, out, err) = ran(&mut deployment.banshi(&["enqueue", "jobs"]));
    assert_eq!(code, Some(3), "{err}");
    assert!(
        out.starts_with("sent 2 to the bulk lane") && out.contains("1 not sent"),
        "{out}"
    );
    assert!(err.contains("jobs/lost.json: not sent"), "{err}");
}

#[test]
fn enqueue_goes_on_after_a_job_that_the_broker_refuses_and_stops_at_a_full_lane() {
    let Some(node) = Node::new() else { return };
    node.configure("max_message_size = 100000\n");
    node.start();
    let deployment = Deployment::spool().with("QUEUE__URL", &node.url());
    let write = |folder: &str, name: &str, bytes: usize| {
        let mut job = corpus(BROKEN);
        job["job_id"] = json!(name);
        job["data"]["overview"] = json!(["x".repeat(bytes)]);
        let folder = deployment.path(folder);
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join(format!("{name}.json")), job.to_string()).expect("a file");
    };
    write("large", "a-before", 10);
    write("large", "b-too-large", 100_000);
    write("large", "c-after", 10);
    write("large", "d-after", 10);
    let (code, out, err) = ran(&mut deployment.banshi(&["enqueue", "large"]));
    println!("{err}");
    assert_eq!(code, Some(1), "{err}");
    assert!(
        out.starts_with("sent 3 to the bulk lane") && out.contains("1 not sent"),
        "{out}"
    );
    let bytes = std::fs::metadata(deployment.path("large/b-too-large.json"));
    let bytes = bytes.expect("a file").len().to_string();
    for said in ["large/b-too-large.json: not sent", &bytes, "100000"] {
        assert!(err.contains(said), "{said}: {err}");
    }

    node.ctl(&[
        "set_policy",
        "full",
        "jobs.bulk$",
        "{\"max-length\":6}",
        "--apply-to",
        "queues",
    ]);
    for job in 0..40 {
        write("many", &format!("job-{job:02}"), 10);
    }
    let (code, out, err) = ran(&mut deployment.banshi(&["enqueue", "many"]));
    println!("{err}");
    assert_eq!((code, out.as_str()), (Some(3), ""), "{err}");
    let (_, rest) = err.split_once("sent ").expect("a number");
    let sent: usize = rest
        .split(' ')
        .next()
        .expect("a number")
        .parse()
        .expect("a number");
    assert!(
        err.contains(&format!("stopped at many/job-{sent:02}.json")),
        "{err}"
    );
    assert!(err.contains("full"), "{err}");
}

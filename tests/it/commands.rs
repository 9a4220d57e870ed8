//! The command line: exit codes, what goes where, and errors that say what to do.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::support::deployment::Deployment;
use crate::support::jobs::{BROKEN, corpus};
use crate::support::{BANSHI, repository};

fn banshi(arguments: &[&str]) -> Command {
    let mut command = Command::new(BANSHI);
    command
        .args(arguments)
        .env("BANSHI__FONTS__DIR", repository("fonts"));
    command
}

fn ran(command: &mut Command) -> (Option<i32>, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().expect("it starts");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (status.code(), text(stdout), text(stderr))
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
        "verify",
        "worker",
        "enqueue",
        "dead",
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

/// The files of a folder, by name.
fn listed(folder: &std::path::Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("an entry").file_name())
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
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
    let main = "#import \"/gongwen/lib.typ\": *\n#set document(title: json(\"report.json\").title)\n改过的版式\n";
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

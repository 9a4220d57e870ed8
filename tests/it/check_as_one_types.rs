//! `banshi check --serve` says of each job, as it is typed, what `banshi check` says of it in a
//! file: line by line, or over HTTP to this machine and to the pages that may ask.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

use crate::support::jobs::{CORPUS, bad, case, corpus, spoilt_at_random};
use crate::support::{BANSHI, check, commands, repository};
use crate::the_contracts_are_stated::held;

fn banshi(arguments: &[&str]) -> Command {
    let mut command = Command::new(BANSHI);
    command
        .args(arguments)
        .env("BANSHI__FONTS__DIR", repository("fonts"))
        .current_dir(std::env::temp_dir());
    command
}

/// What is said of lines, all written before any is read.
fn answers(lines: &[Vec<u8>]) -> Vec<Value> {
    let mut serve = banshi(&["check", "--serve"]);
    serve.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut serve = serve.spawn().expect("it starts");
    let mut input = serve.stdin.take().unwrap();
    let lines = lines.join(&b'\n');
    let writing = std::thread::spawn(move || input.write_all(&lines));
    let output = serve.wait_with_output().unwrap();
    writing.join().unwrap().unwrap();
    assert_eq!(
        output.status.code(),
        Some(0),
        "the end of the lines is no error"
    );
    let said = String::from_utf8(output.stdout).unwrap();
    said.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

/// Jobs of every kind, good and bad, each on one line.
fn jobs() -> Vec<Vec<u8>> {
    let mut rng = StdRng::seed_from_u64(7);
    let mut jobs: Vec<Vec<u8>> = bad().into_iter().map(|bad| bad.body).collect();
    let mut good: Vec<Value> = CORPUS.into_iter().map(corpus).collect();
    good.extend(crate::what_senders_send::CASES.map(case));
    good.extend((0..40).map(|_| spoilt_at_random(&mut rng)));
    jobs.extend(good.iter().map(|job| job.to_string().into_bytes()));
    jobs
}

/// What `check` says of jobs in files, without the files' names.
fn said_of_files(jobs: &[Vec<u8>]) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    let names = jobs.iter().enumerate().map(|(number, job)| {
        let path = folder.path().join(format!("{number:04}.json"));
        std::fs::write(&path, job).unwrap();
        path.display().to_string()
    });
    let names: Vec<String> = names.collect();
    let arguments = ["check", "--format", "json"].into_iter();
    let arguments: Vec<&str> = arguments.chain(names.iter().map(String::as_str)).collect();
    let output = banshi(&arguments).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let said = said.lines().map(|line| {
        let mut said: Value = serde_json::from_str(line).unwrap();
        said.as_object_mut().unwrap().remove("file");
        said
    });
    said.collect()
}

fn assert_follow_the_schema(answers: &[Value]) {
    let schema = "answer.schema.json";
    let answers = answers
        .iter()
        .map(|said| (schema.to_owned(), said.clone(), false));
    assert_eq!(held(&answers.collect::<Vec<_>>())["errors"], json!([]));
}

#[test]
fn a_line_is_answered_with_what_check_says_of_a_file() {
    let jobs = jobs();
    let answers = answers(&jobs);
    assert_eq!(answers, said_of_files(&jobs));
    assert_follow_the_schema(&answers);
}

#[test]
fn an_answer_repeats_the_id_of_its_line_as_it_was_written() {
    let job = corpus("pingtan-2023").to_string();
    let lines = [
        format!("{{\"id\":1,\"job\":{job}}}"),
        format!("{{\"job\":{job},\"id\":\"a\\u0062\"}}"),
        format!("{{ \"id\" : 12345678901234567890123 , \"job\" : {job} }}\r"),
        "{\"id\":4,\"job\":{}}".to_owned(),
        "{\"id\":5,\"job\":7}".to_owned(),
        "{\"job\":null}".to_owned(),
    ];
    let answers = answers(&lines.map(String::into_bytes));
    assert_follow_the_schema(&answers);
    let ids: Vec<&Value> = answers.iter().map(|said| &said["id"]).collect();
    assert_eq!(ids[..2], [&json!(1), &json!("ab")]);
    assert_eq!(
        ids[2].to_string(),
        json!(12345678901234567890123_f64).to_string()
    );
    assert_eq!(ids[3..], [&json!(4), &json!(5), &Value::Null]);
    let ok: Vec<&Value> = answers.iter().map(|said| &said["ok"]).collect();
    assert_eq!(ok[..3], [&json!(true); 3]);
    assert_eq!(ok[3..], [&json!(false); 3]);
    // The digest is the job's own, with or without a line around it.
    let sha256 = check(job.as_bytes()).unwrap().identity.sha256;
    assert_eq!(answers[2]["sha256"], json!(sha256));
}

/// A program that is asked in turns, as somebody types.
struct Asked {
    child: Child,
    answers: BufReader<std::process::ChildStdout>,
}

impl Asked {
    fn start() -> Asked {
        let mut serve = banshi(&["check", "--serve"]);
        serve.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = serve.spawn().expect("it starts");
        let answers = BufReader::new(child.stdout.take().unwrap());
        Asked { child, answers }
    }

    fn ask(&mut self, line: &[u8]) -> Value {
        let input = self.child.stdin.as_mut().unwrap();
        input
            .write_all(line)
            .and_then(|()| input.write_all(b"\n"))
            .unwrap();
        self.answer()
    }

    fn answer(&mut self) -> Value {
        let mut said = String::new();
        self.answers.read_line(&mut said).unwrap();
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said:?}"))
    }

    /// KiB in memory now.
    fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let line = line.expect("the system says how much");
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

/// What a sender may write by mistake or on purpose, so many lines of it.
fn odd_lines(count: usize) -> Vec<Vec<u8>> {
    let mut rng = StdRng::seed_from_u64(11);
    let good = corpus("zibo-bigdata-2020").to_string();
    let long = format!("\"{}\"", "x".repeat(1_100_000));
    let line = |number: usize| match number % 10 {
        0 => Vec::new(),
        1 => b"{\"id\":1,".to_vec(),
        2 => format!("{{\"id\":{number},\"job\":{good}}}").into_bytes(),
        3 => spoilt_at_random(&mut rng).to_string().into_bytes(),
        // Somewhere a byte is another, or the rest is gone; but it is one line.
        4 | 5 => {
            let mut line = good.clone().into_bytes();
            let at = rng.random_range(0..line.len());
            line[at] = rng.random_range(b'\x0b'..=b'\xff');
            line
        }
        6 => good.as_bytes()[..rng.random_range(0..good.len())].to_vec(),
        7 if number % 1000 == 7 => long.clone().into_bytes(),
        7 => vec![b'['; 5000],
        8 => good.clone().into_bytes(),
        _ => (0..200)
            .map(|_| rng.random_range(b'\x0b'..=b'\xff'))
            .collect(),
    };
    (0..count).map(line).collect()
}

#[test]
fn ten_thousand_lines_have_ten_thousand_answers_in_their_order_and_take_no_more_memory() {
    let lines = odd_lines(10_000);
    let mut asked = Asked::start();
    // The longest line, and enough others that nothing is new after them.
    let (first, rest) = lines.split_at(1_010);
    let mut said: Vec<Value> = first.iter().map(|line| asked.ask(line)).collect();
    let before = asked.resident();
    let mut input = asked.child.stdin.take().unwrap();
    let all = rest.join(&b'\n');
    let writing = std::thread::spawn(move || {
        input
            .write_all(&all)
            .and_then(|()| input.write_all(b"\n"))
            .unwrap();
        input
    });
    said.extend(rest.iter().map(|_| asked.answer()));
    let after = asked.resident();
    assert!(after < before + 8 * 1024, "{before} KiB, then {after} KiB");
    drop(writing.join().unwrap());
    let mut more = String::new();
    assert_eq!(asked.answers.read_line(&mut more).unwrap(), 0, "{more}");
    assert_eq!(asked.child.wait().unwrap().code(), Some(0));

    assert_eq!(said.len(), lines.len());
    for (number, said) in said.iter().enumerate() {
        let id = (number % 10 == 2).then_some(number);
        assert_eq!(said["id"].as_u64(), id.map(|id| id as u64), "{number}");
        let good = matches!(number % 10, 2 | 8);
        assert!(said["ok"] == json!(true) || !good, "{number}: {said}");
    }
    assert_follow_the_schema(&said[..2_000]);
    let long = &said[7]["problems"][0];
    assert_eq!(
        (&long["code"], &long["actual"]),
        (&json!("E-JSON"), &json!("1100002"))
    );
}

/// A program that is asked over HTTP.
struct Served {
    child: Child,
    address: String,
}

impl Served {
    fn start(arguments: &[&str]) -> Served {
        let arguments = [&["check", "--serve", "--listen", "127.0.0.1:0"], arguments].concat();
        let mut serve = banshi(&arguments);
        let mut child = serve.stderr(Stdio::piped()).spawn().expect("it starts");
        let mut said = String::new();
        let mut errors = BufReader::new(child.stderr.take().unwrap());
        errors.read_line(&mut said).unwrap();
        let address = said.trim().strip_prefix("checks jobs at http://");
        let address = address.and_then(|rest| rest.strip_suffix("/check"));
        let address = address.unwrap_or_else(|| panic!("{said}")).to_owned();
        Served { child, address }
    }

    /// The status, the headers and the body that curl gets.
    fn ask(&self, path: &str, arguments: &[&str], body: Option<&[u8]>) -> (u16, String, Vec<u8>) {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--include", "--max-time", "60"])
            .args(arguments)
            .arg(format!("http://{}{path}", self.address))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        if body.is_some() {
            curl.args([
                "--data-binary",
                "@-",
                "-H",
                "Content-Type: application/json",
            ]);
        }
        let mut curl = curl.spawn().expect("curl: tests/tools/install test");
        let mut input = curl.stdin.take().unwrap();
        let body = body.unwrap_or_default().to_vec();
        // curl may have its answer before it has sent all.
        let writing = std::thread::spawn(move || input.write_all(&body).is_ok());
        let output = curl.wait_with_output().unwrap();
        writing.join().unwrap();
        let mut rest = &output.stdout[..];
        loop {
            let end = rest.windows(4).position(|it| it == b"\r\n\r\n");
            let end = end.unwrap_or_else(|| panic!("{output:?}"));
            let (head, body) = (String::from_utf8_lossy(&rest[..end]), &rest[end + 4..]);
            let status: u16 = head.split(' ').nth(1).unwrap().parse().unwrap();
            if status == 100 {
                rest = body;
                continue;
            }
            return (status, head.to_lowercase(), body.to_vec());
        }
    }

    /// What is said of a job.
    fn check(&self, job: &[u8]) -> Value {
        let (status, _, body) = self.ask("/check", &[], Some(job));
        let body = String::from_utf8(body).unwrap();
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    /// The status, and why nothing was said.
    fn refused(&self, path: &str, arguments: &[&str], body: Option<&[u8]>) -> (u16, String) {
        let (status, head, body) = self.ask(path, arguments, body);
        assert!(
            head.contains("content-type: application/problem+json"),
            "{head}"
        );
        let problem: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(problem["status"], json!(status));
        let document = "openapi.json#/components/schemas/refusal".to_owned();
        let found = held(&[(document, problem.clone(), false)]);
        assert_eq!(found["errors"], json!([]));
        (status, problem["detail"].as_str().unwrap().to_owned())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // One that has ended already is no trouble.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn over_http_the_same_is_said() {
    let served = Served::start(&[]);
    let jobs = jobs();
    let jobs: Vec<_> = jobs
        .into_iter()
        .filter(|job| job.len() <= 1_048_576)
        .collect();
    let answers: Vec<Value> = jobs.iter().map(|job| served.check(job)).collect();
    assert_eq!(answers, said_of_files(&jobs));
    assert_follow_the_schema(&answers);
    // Many at a time, of which each has its own.
    std::thread::scope(|scope| {
        let ask = |at: usize| {
            let (served, jobs, answers) = (&served, &jobs, &answers);
            scope.spawn(move || {
                for at in (at..jobs.len()).step_by(8) {
                    assert_eq!(served.check(&jobs[at]), answers[at]);
                }
            })
        };
        (0..8).map(ask).for_each(drop);
    });
}

#[test]
fn only_this_machine_by_its_own_names_is_answered() {
    let served = Served::start(&[]);
    let job = corpus("pingtan-2023").to_string().into_bytes();
    for host in [
        "evil.example",
        "127.0.0.1.evil.example:9466",
        "10.0.0.7",
        "",
    ] {
        let host = format!("Host: {host}");
        for (path, body) in [("/check", Some(&job[..])), ("/openapi.json", None)] {
            let (status, why) = served.refused(path, &["-H", &host], body);
            assert_eq!(status, 403, "{why}");
        }
    }
    for host in ["Host: localhost:1", "Host: [::1]"] {
        assert_eq!(served.ask("/check", &["-H", host], Some(&job)).0, 200);
    }
    for origin in ["Origin: https://evil.example", "Origin: null"] {
        let (status, why) = served.refused("/check", &["-H", origin], Some(&job));
        assert_eq!(status, 403);
        assert!(why.contains("--allow-origin"), "{why}");
    }
    // Nobody else can be let in by mistake.
    let everywhere = ["check", "--serve", "--listen", "0.0.0.0:0"];
    let refused = banshi(&everywhere).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("--allow-remote"), "{said}");
    let remote = Served::start(&["--allow-remote"]);
    let host = ["-H", "Host: checks.example"];
    assert_eq!(remote.ask("/check", &host, Some(&job)).0, 200);
}

#[test]
fn an_origin_that_is_allowed_is_told_so_and_no_other() {
    let served = Served::start(&["--allow-origin", "https://forms.example"]);
    let origin = "Origin: https://forms.example";
    let (status, head, _) = served.ask("/check", &["-H", origin], Some(b"{}"));
    assert_eq!(status, 200);
    assert!(
        head.contains("access-control-allow-origin: https://forms.example\r\n"),
        "{head}"
    );
    assert!(head.contains("vary: origin"), "{head}");
    let preflight = [
        "-X",
        "OPTIONS",
        "-H",
        origin,
        "-H",
        "Access-Control-Request-Method: POST",
        "-H",
        "Access-Control-Request-Private-Network: true",
    ];
    let (status, head, _) = served.ask("/check", &preflight, None);
    assert_eq!(status, 204);
    for needed in [
        "-allow-methods: get, post",
        "-allow-headers: content-type",
        "-private-network: true",
    ] {
        assert!(
            head.contains(&format!(
                "access-control{}",
                needed.replace("-private", "-allow-private")
            )),
            "{needed}: {head}"
        );
    }
    let (status, head, _) = served.ask(
        "/check",
        &["-H", "Origin: https://forms.example.evil"],
        Some(b"{}"),
    );
    assert_eq!(status, 403);
    assert!(!head.contains("access-control"), "{head}");
    let (_, head, _) = served.ask("/check", &[], Some(b"{}"));
    assert!(!head.contains("access-control"), "{head}");
}

#[test]
fn whatever_else_is_asked_is_answered_with_why_not_and_ends_nothing() {
    let served = Served::start(&[]);
    let large = vec![b' '; 1_048_577];
    for arguments in [&[][..], &["-H", "Transfer-Encoding: chunked"]] {
        let (status, why) = served.refused("/check", arguments, Some(&large));
        assert_eq!(status, 413);
        assert!(why.contains("1048576"), "{why}");
    }
    assert_eq!(
        served.check(&large[1..])["problems"][0]["code"],
        json!("E-JSON")
    );
    assert_eq!(served.refused("/check", &[], None).0, 405);
    assert_eq!(
        served.refused("/openapi.json", &["-X", "DELETE"], None).0,
        405
    );
    assert_eq!(served.refused("/", &[], None).0, 404);
    for line in odd_lines(60) {
        if line.len() <= 1_048_576 {
            served.check(&line);
        }
    }
    assert_eq!(
        served.check(corpus("pingtan-2023").to_string().as_bytes())["ok"],
        json!(true)
    );
}

#[test]
fn it_ends_when_it_is_told_to() {
    let mut served = Served::start(&[]);
    served.check(b"{}");
    let pid = served.child.id().to_string();
    let told = Command::new("kill").args(["-TERM", &pid]).status().unwrap();
    assert!(told.success());
    assert_eq!(served.child.wait().unwrap().code(), Some(0));
}

#[test]
fn its_document_is_openapi() {
    let served = Served::start(&[]);
    let (status, _, body) = served.ask("/openapi.json", &[], None);
    assert_eq!(status, 200);
    let committed = repository("schemas/openapi.json");
    assert_eq!(body, std::fs::read(&committed).unwrap());
    let validator = repository("target/tools/openapi/bin/python");
    let verdict = |path: &Path| {
        let mut command = Command::new(&validator);
        command
            .args(["-m", "openapi_spec_validator", "--schema", "3.1"])
            .arg(path);
        command
            .output()
            .expect("tests/tools/install test installs what it needs")
    };
    let said = verdict(&committed);
    assert!(said.status.success(), "{said:?}");
    // And it has something to say.
    let mut spoilt: Value = serde_json::from_slice(&body).unwrap();
    spoilt["paths"]["/check"]["post"]["responses"] = json!([]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("openapi.json");
    std::fs::write(&path, spoilt.to_string()).unwrap();
    assert!(!verdict(&path).status.success());
}

/// The form of the documentation, in a real browser on a page of another origin.
#[test]
fn the_form_of_the_documentation_checks_as_one_types() {
    static PAGE: OnceLock<String> = OnceLock::new();
    let page = PAGE.get_or_init(|| {
        let docs = std::fs::read_to_string(repository("docs/check-as-you-type.md")).unwrap();
        let (_, html) = docs.split_once("```html\n").expect("a form");
        html.split_once("```").expect("its end").0.to_owned()
    });
    assert!(!commands("docs/check-as-you-type.md", "From a web page").is_empty());
    let run = |allowed: bool| {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let origin = format!("http://127.0.0.1:{port}");
        let served = match allowed {
            true => Served::start(&["--allow-origin", &origin]),
            false => Served::start(&[]),
        };
        let output = Command::new("node")
            .arg(repository("tests/it/console/typing.mjs"))
            .env("TOOLS", repository("target/tools/console"))
            .env("CHROMIUM", "/usr/bin/chromium")
            .env("PAGE", page.replace("127.0.0.1:9466", &served.address))
            .env("PORT", port.to_string())
            .env("ALLOWED", allowed.to_string())
            .output()
            .expect("node is there: tests/tools/install test");
        assert!(output.status.success(), "{output:?}");
    };
    run(true);
    run(false);
}

/// An option that would be passed over is refused.
#[test]
fn what_cannot_be_said_of_each_job_is_not_taken_beside_serve() {
    for more in [
        &["--layout"][..],
        &["--proof", "."],
        &["--prior", "last.json"],
        &["--format", "json"],
        &["job.json"],
    ] {
        let mut ran = banshi(&[&["check", "--serve"], more].concat());
        let ran = ran.stdin(Stdio::null()).output().unwrap();
        assert_eq!(ran.status.code(), Some(2), "{more:?}");
    }
}

//! docs/send-a-report.md, in both languages: its commands, typed as they stand there, answer as it
//! says; and of each code it has a mistake with its mend, both made and tried here. `UPDATE=1`
//! writes the mistakes anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use banshi::problem::{Code, Problem};
use serde_json::{Value, json};

use crate::pictures::update;
use crate::support::deployment::Deployment;
use crate::support::jobs::{bad, case, corpus};
use crate::support::node::Node;
use crate::support::{BANSHI, editions, ran, repository};

const PAGES: [&str; 2] = ["docs/send-a-report.md", "docs/zh/send-a-report.md"];
const CLIENTS: [(&str, &str, &str); 4] = [
    ("python", "Python", "report.py"),
    ("node", "Node.js", "report.mjs"),
    ("java", "Java", "Report.java"),
    ("go", "Go", "report/main.go"),
];
/// The folder of the repository, as the page has it.
const HOME: &str = "/home/you/banshi";

fn text(path: &str) -> String {
    fs::read_to_string(repository(path)).expect(path)
}

// The roads.

/// The boxes of a text, each with its kind and the heading that it stands under.
fn boxes(page: &str) -> Vec<(String, &str, &str)> {
    let (mut all, mut heading) = (Vec::new(), "");
    for (at, part) in page.split("```").enumerate() {
        if at % 2 == 0 {
            let mut titles = part.lines().filter_map(|line| line.strip_prefix("## "));
            heading = titles.next_back().unwrap_or(heading);
        } else {
            let (kind, inside) = part.split_once('\n').expect("a box has a line");
            all.push((heading.to_owned(), kind, inside));
        }
    }
    all
}

/// The roads of a page: what comes before the mistakes.
fn roads(page: &str) -> &str {
    page.split_once("\n### ").expect("mistakes").0
}

/// The commands of a text.
fn commands(text: &str) -> Vec<String> {
    let all = boxes(text).into_iter().filter(|(_, kind, _)| *kind == "sh");
    all.flat_map(|(_, _, inside)| own(inside)).collect()
}

/// The commands of a box, a line each, without comments and without what needs root: packages, which
/// must be those that the tests install, too.
fn own(inside: &str) -> Vec<String> {
    let installed = fs::read_to_string(repository("tests/tools/install")).expect("a script");
    let mut lines = Vec::new();
    for line in inside.replace("\\\n", " ").lines() {
        let line = line.split(" #").next().unwrap_or_default().trim_end();
        match line.strip_prefix("apt-get install ") {
            Some(packages) => {
                for package in packages.split_whitespace() {
                    let known =
                        package == "rabbitmq-server" || installed.contains(&format!("={package}"));
                    assert!(known, "the tests do not install {package}");
                }
            }
            None => lines.push(line.to_owned()),
        }
    }
    lines
}

/// What brings a library from its registry, and what stands for that here: the same library, as
/// `tests/tools/install` has brought it.
fn brought(line: &str) -> Option<String> {
    let tools = repository("target/tools/clients");
    let tools = tools.display();
    match line {
        "python3 -m venv venv" => Some(format!("ln -s {tools} venv")),
        // Python looks for the client beside the program, too.
        "venv/bin/pip install ./clients/python" => Some(String::new()),
        "npm --prefix clients/node install" => Some(format!(
            "ln -s {tools}/node_modules clients/node/node_modules; \
             clients/node/node_modules/.bin/tsc -p clients/node"
        )),
        _ => None,
    }
}

/// A folder as a fresh clone is, as far as the page needs it, whose clients speak to a broker.
fn clone(folder: &Path, broker: &str) {
    let copied = Command::new("cp")
        .arg("-r")
        .args([repository("clients"), folder.join("clients")])
        .status();
    assert!(copied.expect("cp").success());
    std::os::unix::fs::symlink(repository("fonts"), folder.join("fonts")).expect("a link");
    for (client, _, program) in CLIENTS {
        let path = folder.join("clients").join(client).join(program);
        let program = fs::read_to_string(&path).expect("a program");
        assert!(program.contains("127.0.0.1:5672"), "{}", path.display());
        fs::write(path, program.replace("127.0.0.1:5672", broker)).expect("a file");
    }
}

/// Whether an answer is as the page has it; `…` there stands for anything in a line.
fn answers(found: &str, page: &str) -> bool {
    let alike = |(found, page): (&str, &str)| match page.split_once('…') {
        Some((begin, end)) if !found.contains('…') => {
            found.len() >= begin.len() + end.len()
                && found.starts_with(begin)
                && found.ends_with(end)
        }
        _ => found == page,
    };
    found.lines().count() == page.lines().count() && found.lines().zip(page.lines()).all(alike)
}

#[test]
fn every_road_ends_as_the_page_says() {
    let Some(node) = Node::new() else { return };
    node.start();
    let folder = tempfile::tempdir().expect("a folder");
    let here = folder.path().canonicalize().expect("a folder");
    clone(&here, &node.address());
    let page = text(PAGES[0]);
    let boxes = boxes(roads(&page));
    // One shell for all, as somebody would have who reads on; what it answers to a box stands
    // after the box's number.
    let mut script = "exec 2>&1\ntrap 'kill $(jobs -p)' EXIT\n".to_owned();
    let mut replaced = 0;
    for (at, (_, kind, inside)) in boxes.iter().enumerate() {
        if *kind != "sh" {
            continue;
        }
        let told = boxes
            .get(at + 1)
            .is_some_and(|(_, kind, _)| *kind == "text");
        // Where nothing is said of the answer, all must go well.
        let set = if told { "set +e" } else { "set -e" };
        writeln!(script, "echo '== {at}'\n{set}").unwrap();
        for mut line in own(inside) {
            if let Some(other) = brought(&line) {
                (line, replaced) = (other, replaced + 1);
            }
            writeln!(
                script,
                "{}",
                line.replace("127.0.0.1:5672", &node.address())
            )
            .unwrap();
        }
    }
    assert_eq!(replaced, 3, "nobody uses the others");
    writeln!(script, "echo '== end'").unwrap();
    fs::write(here.join("script"), script).expect("a file");
    let programs = Path::new(BANSHI)
        .parent()
        .expect("a folder")
        .display()
        .to_string();
    #[expect(
        clippy::disallowed_methods,
        reason = "what is in it is found after banshi"
    )]
    let path = std::env::var("PATH").expect("a PATH");
    // Should it wait in vain, it says so.
    let (_, said, _) = ran(Command::new("timeout")
        .args(["600", "bash", "script"])
        .env("PATH", format!("{programs}:{path}"))
        .env(
            "BANSHI__ADMIN__LISTEN",
            format!("127.0.0.1:{}", node.spare_port()),
        )
        .current_dir(&here));
    let said = said.replace(&here.display().to_string(), HOME);
    let said = said.split("== ").filter_map(|part| part.split_once('\n'));
    let said: BTreeMap<&str, &str> = said.collect();
    for (at, (heading, kind, inside)) in boxes.iter().enumerate() {
        if *kind == "text" {
            let found = said.get((at - 1).to_string().as_str());
            let found = found.unwrap_or_else(|| panic!("{heading}: not come so far: {said:#?}"));
            assert!(
                answers(found, inside),
                "{heading}: it answers\n{found}and should\n{inside}"
            );
        }
    }
    assert!(said.contains_key("end"), "{said:#?}");
    for pdf in [
        "filled.pdf",
        "reports/annual-report/2021/2023/pingtan-2023.pdf",
    ] {
        assert!(fs::read(here.join(pdf)).expect(pdf).starts_with(b"%PDF-"));
    }
    assert!(
        here.join("proofs/wrong-proof-5.png").is_file(),
        "the page of 表三"
    );
}

/// What the page types was tried above; that of a client says the same.
#[test]
fn the_page_of_each_client_has_the_same_program_commands_and_answer() {
    let page = text(PAGES[0]);
    let typed = commands(roads(&page));
    for (client, heading, program) in CLIENTS {
        for language in ["README.md", "README.zh-CN.md"] {
            let readme = text(&format!("clients/{client}/{language}"));
            let shown = boxes(&readme);
            let program = text(&format!("clients/{client}/{program}"));
            assert!(
                shown.iter().any(|(_, _, inside)| *inside == program),
                "{client}"
            );
            let answer = |of: &[(String, &str, &str)], heading: &str| {
                let found = of
                    .iter()
                    .find(|(above, kind, _)| above == heading && *kind == "text");
                found
                    .map(|(_, _, inside)| (*inside).to_owned())
                    .expect(heading)
            };
            let (above, ..) = &shown[0];
            assert_eq!(
                answer(&shown, above),
                answer(&boxes(&page), heading),
                "{client}"
            );
            let mut rest = typed.iter();
            for line in commands(&readme) {
                assert!(
                    rest.any(|it| *it == line),
                    "{client}: {line} is not on the page, or not there"
                );
            }
        }
    }
}

// The mistakes.

/// A mistake, and the report without it.
struct Mistake {
    code: &'static str,
    /// What was done, and what mends it: in English, in Chinese.
    what: [&'static str; 2],
    wrong: Vec<u8>,
    right: Vec<u8>,
    /// What is shown of the two where one is no JSON.
    shown: Option<[&'static str; 2]>,
}

/// The codes that no job alone can earn, and why.
const NEVER: [(&str, [&str; 2]); 2] = [
    (
        "E-OFD",
        [
            "No job earns it with the faces and templates that banshi brings along; the operator's own may.\n\
             Tell the operator, and send the job again once that is mended.",
            "使用 banshi 自带的字体和模板，任何任务都不会有此问题；运维人员自己的字体和模板可能有。\n\
             请告知运维人员，改好后重新发送。",
        ],
    ),
    (
        "E-SIGN",
        [
            "No job earns it: a signing system that has been set up refuses the finished PDF, for reasons of\n\
             its own, which the message repeats. Ask who runs it.",
            "任务本身不会有此问题：这是所接的签名系统出于自身原因拒绝签署已生成的 PDF，消息中附有它的原话。\n\
             请向其运行方了解。",
        ],
    ),
];

/// A report without a single problem.
const RIGHT: &str = "hongze-2024";

/// A mistake in that report.
fn mistake(code: &'static str, what: [&'static str; 2], spoil: impl FnOnce(&mut Value)) -> Mistake {
    mistake_in(corpus(RIGHT), code, what, spoil)
}

fn mistake_in(
    right: Value,
    code: &'static str,
    what: [&'static str; 2],
    spoil: impl FnOnce(&mut Value),
) -> Mistake {
    let mut wrong = right.clone();
    spoil(&mut wrong);
    let [wrong, right] = [wrong, right].map(|job| job.to_string().into_bytes());
    Mistake {
        code,
        what,
        wrong,
        right,
        shown: None,
    }
}

/// One of the bad jobs that a worker must refuse, and the report that it was made of.
fn known(name: &'static str, what: [&'static str; 2], mend: impl FnOnce(&mut Value)) -> Mistake {
    let bad = bad().into_iter().find(|bad| bad.name == name).expect(name);
    let mut right = corpus("zibo-bigdata-2020");
    right["job_id"] = json!(name);
    mend(&mut right);
    let right = right.to_string().into_bytes();
    Mistake {
        code: bad.code,
        what,
        wrong: bad.body,
        right,
        shown: None,
    }
}

fn set(job: &mut Value, pointer: &str, value: Value) {
    *job.pointer_mut(pointer).expect(pointer) = value;
}

/// Adds to figures of table 3, as `outcome/granted/total`.
fn add(job: &mut Value, figures: &[&str], more: i64) {
    for figure in figures {
        let cell = job
            .pointer_mut(&format!("/data/requests/{figure}"))
            .expect("a figure");
        *cell = json!(cell.as_i64().expect("a number") + more);
    }
}

fn mistakes() -> Vec<Mistake> {
    let as_it_was = |_: &mut Value| {};
    let mut all = Vec::new();

    let (wrong, right) = (
        r#""template":"annual-report/2021",}"#,
        r#""template":"annual-report/2021"}"#,
    );
    let job = corpus(RIGHT).to_string();
    assert!(job.ends_with(right), "{job:.100}");
    all.push(Mistake {
        code: "E-JSON",
        what: [
            "The job is no JSON. Look at the line and the column named, or let a library write it.",
            "任务不是 JSON。查看所指的行和列，或改用程序库生成。",
        ],
        wrong: job.replace(right, wrong).into_bytes(),
        right: job.clone().into_bytes(),
        shown: Some([wrong, right]),
    });

    all.push(known(
        "misspelt",
        [
            "A field is misspelt: it is unknown, and the one that was meant is missing.",
            "字段名写错：所写的未知，应有的缺失。",
        ],
        as_it_was,
    ));
    all.push(known(
        "figure-as-text",
        [
            "A figure is a number, never a text.",
            "数据是数字，不是文本。",
        ],
        as_it_was,
    ));
    all.push(known(
        "money-as-float",
        [
            "Money is a text, so that no digit is lost.",
            "金额是文本，以免丢失数位。",
        ],
        |job| {
            let amount = "/data/proactive_disclosure/article_20_9/procurement/amount";
            set(job, amount, json!("2823.12"));
        },
    ));
    all.push(known(
        "two-paragraphs",
        ["A paragraph is a text of its own.", "一个段落为一个文本。"],
        |job| job["data"]["overview"] = json!(["一段。", "又一段。"]),
    ));
    all.push(known(
        "no-such-template",
        [
            "The edition is that of the notice, not the year of the report.",
            "版本是通知的版本，不是报告的年度。",
        ],
        as_it_was,
    ));
    all.push(known(
        "wrong-edition",
        [
            "The edition of 2019 is for the reports of 2019 and 2020. A report of 2023 takes the other one,\n\
             whose tables differ; here the year was the mistake.",
            "2019 版用于 2019 和 2020 年度的报告。2023 年度的应使用另一版，其表格也不同；此例中错的是年度。",
        ],
        as_it_was,
    ));

    let mut corrected = corpus(RIGHT);
    corrected["job_id"] = json!("hongze-2024-corrected");
    corrected["data"]["other_matters"] = json!(["2024年，未收取信息处理费。"]);
    all.push(mistake_in(
        corrected,
        "E-CONFLICT",
        [
            "The `job_id` was used before, with other content. What is stored stays as it is: send the\n\
             corrected report under an id of its own.",
            "该 `job_id` 已用于另一份内容。已存的保持不变：更正后的报告请使用新的编号。",
        ],
        |job| job["job_id"] = json!(RIGHT),
    ));
    all.push(known(
        "control",
        [
            "A character that nobody can draw. Here it is none that was meant; where a rare one is meant,\n\
             the operator adds a face that has it.",
            "无法排印的字符。此例中本不该有；确为生僻字的，由运维人员增加含有该字的字体。",
        ],
        |job| job["data"]["overview"] = json!(["控制"]),
    ));
    all.push(known(
        "too-many-pages",
        [
            "The report has more pages than the operator allows, here 40. Shorten it, or ask for more.",
            "报告的页数超过运维人员所设的上限，此例中为40页。请精简，或请其提高上限。",
        ],
        |job| job["data"]["overview"] = json!(["政府信息公开。".repeat(60)]),
    ));

    all.push(mistake(
        "R-COLUMN",
        [
            "Seven requests were received and neither answered nor carried over: count them where they went.",
            "有7件申请已收到，既未办结也未结转：请计入其去向。",
        ],
        |job| add(job, &["received/natural_person", "received/total"], 7),
    ));
    all.push(mistake(
        "R-OUTCOME",
        [
            "A row was corrected, and the total of all rows was not; a total that is left out is computed.",
            "改了一行，而总计一行没有改；总计可以不填，由程序计算。",
        ],
        |job| add(job, &["outcome/granted/natural_person", "outcome/granted/total"], -1),
    ));
    all.push(mistake(
        "R-ROW",
        [
            "A request was carried in and on, and added to no total.",
            "一件申请结转而来又结转下年，两行的总计都没有计入。",
        ],
        |job| add(job, &["carried_in/business", "carried_out/business"], 1),
    ));
    let direct = "/data/review_and_litigation/litigation/direct";
    let mut published = corpus("jinhu-2023");
    let total = format!("{direct}/total");
    let printed = published.pointer(&total).expect("a total").clone();
    set(&mut published, &total, json!(3));
    published["data"]["other_matters"] = json!(["2023年，未收取信息处理费。"]);
    all.push(mistake_in(
        published,
        "R-REVIEW",
        [
            "A total was forgotten, in a report as it was published.",
            "漏填总计，见于一份已公开的报告。",
        ],
        |job| set(job, &total, printed),
    ));
    let none = corpus(RIGHT)["data"]["requests"]["carried_in"].clone();
    let mut compared = corpus(RIGHT);
    compared["prior"] = json!({ "carried_out": none });
    all.push(mistake_in(
        compared,
        "R-PRIOR",
        [
            "What was carried in is not what last year carried on. Here last year's figure was mistyped.",
            "上年结转与上年度的结转下年不符。此例中是上年的数字写错。",
        ],
        |job| set(job, "/prior/carried_out/natural_person", json!(9)),
    ));
    let mut compared = corpus(RIGHT);
    let in_force = "/data/proactive_disclosure/article_20_1/normative_documents/in_force";
    compared["prior"] = json!({ "in_force": { "rules": 0, "normative_documents": 5 } });
    all.push(mistake_in(
        compared.clone(),
        "W-INFORCE",
        [
            "Last year's documents, those issued and those repealed give another number than is in force.",
            "上年有效件数加本年制发减本年废止，与现行有效件数不符。",
        ],
        |job| set(job, in_force, json!(7)),
    ));
    all.push(mistake(
        "W-FEE",
        [
            "Section 六 says nothing of 信息处理费. Say so even where there was none.",
            "第六部分没有提到信息处理费。没有收取的也应写明。",
        ],
        |job| job["data"]["other_matters"] = json!(["无。"]),
    ));
    all.push(mistake(
        "W-BLANK",
        [
            "A cell was left blank and counts as 0. Send 0 where that is meant.",
            "有格留空，按0计。确为零的请填0。",
        ],
        |job| set(job, "/data/requests/carried_out/other", json!(null)),
    ));
    all.push(mistake(
        "W-LENGTH",
        [
            "The overview has more than a thousand characters. Shorten it if you can.",
            "总体情况超过一千字。能精简的请精简。",
        ],
        |job| {
            let overview = job["data"]["overview"].as_array_mut().expect("blocks");
            overview.push(json!("持续做好政府信息公开工作。".repeat(50)));
        },
    ));
    let mut meant = case("kangxi-radicals");
    let sent = meant["data"].clone();
    meant["data"]["agency"] = json!("某市文化局");
    meant["data"]["overview"] = json!([
        "一是加强领导，二是完善工作机制，三是大力推进，方便群众。",
        "民生领域由长期联系人负责，见第六条。",
    ]);
    all.push(mistake_in(
        meant,
        "W-CHARACTER",
        [
            "Characters out of a PDF that only look like those meant. They are set as those; better send\n\
             those.",
            "从 PDF 中复制的字符，形同而编码不同。排印时已换为规范用字；最好直接发送规范用字。",
        ],
        |job| job["data"] = sent,
    ));
    all.push(mistake_in(
        compared,
        "W-PRIOR",
        [
            "With `banshi check --prior`: the job says otherwise of last year than last year's report does.",
            "使用 `banshi check --prior` 时：任务所填的上年数字与上年报告不符。",
        ],
        |job| set(job, "/prior/in_force/normative_documents", json!(1)),
    ));
    all
}

/// What is said of each job, in its order: problems, or else warnings.
fn said(deployment: &Deployment, jobs: &[&[u8]], more: &[&str]) -> Vec<Vec<Problem>> {
    let files: Vec<String> = (0..jobs.len()).map(|at| format!("{at}.json")).collect();
    for (file, job) in files.iter().zip(jobs) {
        fs::write(deployment.path(file), job).expect("a file");
    }
    let mut command = deployment.banshi(&["check", "--layout", "--format", "json"]);
    let (_, out, err) = ran(command.args(more).args(&files));
    let said: Vec<Vec<Problem>> = out
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
        .map(|mut said| match said["ok"] == json!(true) {
            true => said["warnings"].take(),
            false => said["problems"].take(),
        })
        .map(|problems| serde_json::from_value(problems).expect("problems"))
        .collect();
    assert_eq!(said.len(), jobs.len(), "{err}");
    said
}

/// What is said of both sides of each mistake.
async fn tried(mistakes: &[Mistake]) -> Vec<[Vec<Problem>; 2]> {
    let deployment = Deployment::spool();
    let mut last = corpus(RIGHT);
    last["data"]["year"] = json!(2023);
    set(
        &mut last,
        "/data/proactive_disclosure/article_20_1/normative_documents/in_force",
        json!(5),
    );
    fs::write(deployment.path("last.json"), last.to_string()).expect("a file");
    let jobs: Vec<&[u8]> = mistakes
        .iter()
        .flat_map(|it| [&it.wrong[..], &it.right])
        .collect();
    let mut answers = said(&deployment, &jobs, &[]).into_iter();
    let mut all = Vec::new();
    for mistake in mistakes {
        let mut sides = [(); 2].map(|()| answers.next().expect("an answer"));
        match mistake.code {
            "E-CONFLICT" => sides[0] = conflict(&deployment, mistake).await,
            "W-PRIOR" => {
                sides = [&mistake.wrong, &mistake.right].map(|job| {
                    let mut answers = said(&deployment, &[job], &["--prior", "last.json"]);
                    answers.remove(0)
                });
            }
            _ => {}
        }
        all.push(sides);
    }
    all
}

/// What becomes of a job whose `job_id` was used with other content, and of the same under an id of
/// its own.
async fn conflict(deployment: &Deployment, mistake: &Mistake) -> Vec<Problem> {
    let before = corpus(RIGHT).to_string();
    for job in [before.as_bytes(), &mistake.wrong, &mistake.right] {
        deployment.send("job", job).await;
        deployment.work_until_idle();
    }
    let mut events = deployment.events().await;
    let completed = events
        .iter()
        .filter(|it| it["type"] == json!("report.completed"));
    assert_eq!(completed.count(), 2, "{events:#?}");
    let rejected = events
        .iter_mut()
        .find(|it| it["type"] == json!("report.rejected"));
    let problems = rejected.expect("the other")["data"]["problems"].take();
    serde_json::from_value(problems).expect("problems")
}

/// What differs between two jobs: the lines of each object or array, by its place, that only one of
/// the two has.
fn differences(
    place: &str,
    [wrong, right]: [&Value; 2],
    hunks: &mut Vec<(String, [Vec<String>; 2])>,
) {
    let (fields, named) = match (wrong, right) {
        (Value::Object(wrong), Value::Object(right)) => {
            let names: BTreeSet<&String> = wrong.keys().chain(right.keys()).collect();
            let pair = |name: &&String| (name.to_string(), [wrong.get(*name), right.get(*name)]);
            (names.iter().map(pair).collect::<Vec<_>>(), true)
        }
        (Value::Array(wrong), Value::Array(right)) => {
            let pair = |at: usize| (at.to_string(), [wrong.get(at), right.get(at)]);
            ((0..wrong.len().max(right.len())).map(pair).collect(), false)
        }
        _ => unreachable!("{place}: two of a kind"),
    };
    let (mut own, mut below) = ([Vec::new(), Vec::new()], Vec::new());
    for (name, sides) in fields {
        let inside = match sides {
            [wrong, right] if wrong == right => continue,
            [Some(Value::Object(_)), Some(Value::Object(_))] => true,
            // What many were left out of is shown as it begins.
            [Some(Value::Array(wrong)), Some(Value::Array(right))] => {
                wrong.len().abs_diff(right.len()) < 4
            }
            _ => false,
        };
        if let ([Some(wrong), Some(right)], true) = (sides, inside) {
            differences(&format!("{place}/{name}"), [wrong, right], &mut below);
            continue;
        }
        for (lines, side) in own.iter_mut().zip(sides) {
            let name = if named {
                format!("\"{name}\": ")
            } else {
                String::new()
            };
            lines.extend(side.map(|value| format!("{name}{}", short(value))));
        }
    }
    if own.iter().any(|lines| !lines.is_empty()) {
        hunks.push((place.to_owned(), own));
    }
    hunks.append(&mut below);
}

/// A value as JSON, what is long cut; a character that looks like another, or like nothing, by its
/// number.
fn short(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .map(|(name, value)| format!("\"{name}\": {}", short(value)))
                .collect();
            cut(format!("{{ {} }}", fields.join(", ")), " … }")
        }
        Value::Array(items) => {
            let all: Vec<String> = items.iter().map(short).collect();
            match all.join(", ") {
                long if long.chars().count() > MOST && all.len() > 1 => {
                    format!("[{}, … +{}]", all[0], all.len() - 1)
                }
                whole => format!("[{whole}]"),
            }
        }
        other => {
            let mut shown = String::new();
            for c in other.to_string().chars() {
                match c {
                    '\u{2e80}'..='\u{2fdf}' | '\u{f900}'..='\u{faff}' => {
                        write!(shown, "\\u{:04x}", u32::from(c)).expect("a string");
                    }
                    c => shown.push(c),
                }
            }
            cut(shown, "…\"")
        }
    }
}

/// The most characters of a value that are shown.
const MOST: usize = 80;

fn cut(shown: String, end: &str) -> String {
    if shown.chars().count() <= MOST {
        return shown;
    }
    shown.chars().take(MOST).collect::<String>() + end
}

/// The mistakes as a page has them, in the order of docs/problems.md.
fn shown(mistakes: &[Mistake], said: &[[Vec<Problem>; 2]], language: usize) -> String {
    let order = text("docs/problems.md");
    let mut sections: BTreeMap<usize, String> = BTreeMap::new();
    let mut show = |code: &str, inside: &str| {
        let place = order.find(&format!("\n## {code}\n")).expect(code);
        let section = sections.entry(place).or_insert_with(|| {
            let more = ["[What it means]", "[含义]"][language];
            let end = [".", "。"][language];
            let anchor = code.to_lowercase();
            format!("\n### {code}\n\n{more}(problems.md#{anchor}){end}\n")
        });
        section.push_str(inside);
    };
    for (mistake, [problems, _]) in mistakes.iter().zip(said) {
        let mut hunks = Vec::new();
        match mistake.shown {
            Some(sides) => {
                hunks.push((String::new(), sides.map(|side| vec![side.to_owned()])));
            }
            None => {
                let [wrong, right] = [&mistake.wrong, &mistake.right]
                    .map(|job| serde_json::from_slice(job).expect("JSON"));
                differences("", [&wrong, &right], &mut hunks);
            }
        }
        let mut inside = format!("\n{}\n\n```diff\n", mistake.what[language]);
        for (place, sides) in hunks {
            let place = if place.is_empty() { "/" } else { &place };
            inside += &format!("@@ {place} @@\n");
            for (sign, lines) in ["-", "+"].into_iter().zip(sides) {
                inside.extend(lines.iter().map(|line| format!("{sign}{line}\n")));
            }
        }
        inside += "```\n\n```text\n";
        inside.extend(problems.iter().map(|problem| format!("{problem}\n")));
        inside += "```\n";
        show(mistake.code, &inside);
    }
    for (code, why) in NEVER {
        show(code, &format!("\n{}\n", why[language]));
    }
    sections.into_values().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_code_has_a_mistake_that_earns_it_alone_and_a_mend_after_which_nothing_is_said() {
    let mistakes = mistakes();
    let said = tried(&mistakes).await;
    for (mistake, [wrong, right]) in mistakes.iter().zip(&said) {
        let alone = wrong
            .iter()
            .all(|problem| problem.code.as_str() == mistake.code);
        assert!(alone && !wrong.is_empty(), "{}: {wrong:#?}", mistake.code);
        assert!(right.is_empty(), "{}: {right:#?}", mistake.code);
    }
    let mut codes: BTreeSet<String> = Code::OWN.iter().map(Code::to_string).collect();
    let forms = editions();
    let ours = forms
        .values()
        .filter(|form| form.name.starts_with("annual-report/"));
    codes.extend(
        ours.flat_map(|form| form.codes())
            .map(|code| code.to_string()),
    );
    let shown_here = mistakes.iter().map(|it| it.code);
    let shown_here = shown_here.chain(NEVER.map(|(code, _)| code));
    assert_eq!(
        shown_here.map(str::to_owned).collect::<BTreeSet<_>>(),
        codes
    );
    for (language, path) in PAGES.into_iter().enumerate() {
        let page = text(path);
        let made = format!(
            "{}{}",
            roads(&page).trim_end(),
            format_args!("\n{}", shown(&mistakes, &said, language))
        );
        if update() {
            fs::write(repository(path), &made).expect("the repository is ours");
        }
        assert!(
            text(path) == made,
            "{path} is stale: UPDATE=1 writes it anew"
        );
    }
}

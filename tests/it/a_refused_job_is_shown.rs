//! The proof of a refused job: its pages with what is wrong marked on them, each mark where the
//! problem's path says; and never a document.

use std::fs;
use std::path::Path;

use banshi::config::Settings;
use banshi::problem::{Code, Failure, Problem};
use banshi::report::form::{CellKind, Form};
use banshi::typesetter::proof::{self, Draft, MOST_PAGES, Mark, Proof};
use banshi::typesetter::{Manuscript, Pictures, Pool, Ppi, Typesetter};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use crate::long_lists;
use crate::other_documents::sample;
use crate::pictures::TYPESETTER;
use crate::support::deployment::{Deployment, succeeded};
use crate::support::jobs::{bad, case, corpus, remove, spoilt_at_random};
use crate::support::notes::{self, Children};
use crate::support::pdf::{self, Word};
use crate::support::picture::Picture;
use crate::support::{editions, repository, settings};

/// A pixel for two points: enough to see that there is a page.
fn small() -> Pictures {
    Pictures::Png(Ppi::new(36).expect("a fair number"))
}

/// What a job is refused for, and what there is to show of it.
fn draft(body: &[u8]) -> Draft {
    proof::draft(body, &[], &settings().limits, &editions())
}

fn shown(job: &Value) -> (Vec<Problem>, Proof) {
    let Draft { problems, sheet } = draft(job.to_string().as_bytes());
    let sheet = sheet.expect("it is a report");
    let proof = TYPESETTER.proof(&sheet, small());
    (problems, proof.expect("it can be laid out"))
}

/// All marks, each with its page from 0.
fn marks(proof: &Proof) -> Vec<(usize, &Mark)> {
    let pages = proof.pages.iter().enumerate();
    pages
        .flat_map(|(number, page)| page.marks.iter().map(move |mark| (number, mark)))
        .collect()
}

/// The marks of the one problem at a path, that are its own.
fn marked<'a>(problems: &[Problem], proof: &'a Proof, path: &str) -> Vec<(usize, &'a Mark)> {
    let at = problems.iter().position(|problem| problem.path == path);
    let at = at.unwrap_or_else(|| panic!("{path} in {problems:#?}"));
    let mut all = marks(proof);
    all.retain(|(_, mark)| !mark.part && mark.problems.contains(&at));
    all
}

fn holds(mark: &Mark, word: &Word) -> bool {
    let (x, y) = (
        (word.left + word.right) / 2.0,
        (word.top + word.bottom) / 2.0,
    );
    (mark.x..mark.x + mark.width).contains(&x) && (mark.y..mark.y + mark.height).contains(&y)
}

/// Puts another figure into each cell of a form that holds one, and gives each with its pointer.
fn every_figure(job: &mut Value, form: &Form) -> Vec<(String, String)> {
    let mut figures = Vec::new();
    for (number, cell) in (100_001..).zip(&form.cells) {
        let place = format!("/data{}", cell.pointer);
        let Some(node) = job.pointer_mut(&place) else {
            continue;
        };
        let figure = match cell.kind {
            CellKind::Count => {
                *node = json!(number);
                number.to_string()
            }
            CellKind::Money(_) => {
                *node = json!(format!("{number}.5"));
                format!("{number}.5")
            }
            _ => continue,
        };
        figures.push((place, figure));
    }
    job["on_violation"] = json!("warn");
    figures
}

/// Says of every figure of a job that it is wrong, and sees whether each mark is around the figure
/// where the PDF of the same figures has it.
fn each_mark_is_around_its_figure(typesetter: &Typesetter, limits: &Settings, mut job: Value) {
    let editions = typesetter.editions();
    let name = job["template"].as_str().expect("a template").to_owned();
    let form = match job.pointer("/data/units/rows").and_then(Value::as_array) {
        Some(rows) => editions[&name].with_rows(&[(
            editions[&name].field("units").expect("the list"),
            vec![None; rows.len()],
        )]),
        None => Ok(Form::clone(&editions[&name])),
    };
    let figures = every_figure(&mut job, &form.expect("a form"));
    assert!(figures.len() > 4, "{name}");
    let body = job.to_string().into_bytes();
    let read = banshi::job::read(&body, None, &limits.limits, &editions);
    let read = read.unwrap_or_else(|refusal| panic!("{name}: {:#?}", refusal.rejection));
    let pdf = typesetter.typeset(&Manuscript::of(&read));
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("report.pdf");
    fs::write(&file, pdf.expect("it is laid out").bytes).expect("a file");
    let words = pdf::words(&file);

    let told: Vec<Problem> = figures
        .iter()
        .map(|(path, _)| Problem::new(Code::SCHEMA, path, "wrong", "有误"))
        .collect();
    let draft = proof::draft(&body, &told, &limits.limits, &editions);
    assert_eq!(draft.problems, told);
    let proof = typesetter.proof(&draft.sheet.expect("a report"), small());
    let proof = proof.expect("it is laid out");
    assert_eq!(proof.all_pages, words.len(), "{name}");
    assert!(!proof.tables_alone);
    for (at, (path, figure)) in figures.iter().enumerate() {
        let mut own = marks(&proof);
        own.retain(|(_, mark)| mark.problems == [at]);
        let [(page, mark)] = own[..] else {
            panic!("{name}: {path}: {own:?}");
        };
        assert!(!mark.part && !mark.text, "{name}: {path}");
        let inside = words[page].iter().filter(|word| holds(mark, word));
        let inside: Vec<&str> = inside.map(|word| word.text.as_str()).collect();
        assert_eq!(inside, [figure], "{name}: {path}");
    }
    assert_eq!(proof.unmarked(told.len()), [0_usize; 0]);
}

#[test]
fn the_marked_cell_of_every_table_is_the_one_that_the_path_names() {
    let editions = editions();
    let with_tables = editions.iter().filter(|(_, form)| !form.cells.is_empty());
    let names: Vec<&String> = with_tables.map(|(name, _)| name).collect();
    assert!(names.len() >= 4, "two documents in two editions each");
    for name in names {
        each_mark_is_around_its_figure(&TYPESETTER, &settings(), sample(name));
    }
}

/// The place of a form that somebody else has made.
fn with_list() -> (Deployment, Settings) {
    let deployment = Deployment::spool();
    let templates = deployment.path("templates");
    fs::create_dir_all(&templates).expect("a folder");
    let package = templates.join("unit-permits");
    let new = ["templates", "new", package.to_str().expect("UTF-8")];
    succeeded(&deployment.banshi(&new).output().expect("it starts"));
    fs::write(package.join("1/form.toml"), long_lists::FORM).expect("a file");
    let mut settings = settings();
    settings.fonts.dir = repository("fonts");
    settings.templates.dir = templates;
    (deployment, settings)
}

#[test]
fn so_it_is_in_a_list_over_many_pages_of_a_form_made_by_others() {
    let (_deployment, settings) = with_list();
    let typesetter = Typesetter::load(&settings).expect("templates");
    each_mark_is_around_its_figure(&typesetter, &settings, long_lists::job(90));
}

#[test]
fn of_a_broken_equation_the_named_cell_is_marked_and_its_terms_lightly() {
    let mut job = sample("annual-report/2021");
    job["data"]["review_and_litigation"]["litigation"]["direct"]["total"] = json!(9);
    let (problems, proof) = shown(&job);
    let path = "/data/review_and_litigation/litigation/direct/total";
    let [problem] = &problems[..] else {
        panic!("{problems:#?}");
    };
    assert_eq!(problem.path, path);
    let [(page, total)] = marked(&problems, &proof, path)[..] else {
        panic!("{:#?}", marks(&proof));
    };
    let parts: Vec<_> = marks(&proof)
        .into_iter()
        .filter(|(_, mark)| mark.part)
        .collect();
    // 结果维持, 结果纠正, 其他结果, 尚未审结: the four before it in its row.
    assert_eq!(parts.len(), 4);
    for (at, part) in parts {
        assert_eq!((at, &part.problems[..]), (page, &[0][..]));
        assert!(part.x + part.width <= total.x + 0.1);
        assert!((part.y - total.y).abs() < 0.1);
    }
}

#[test]
fn a_cell_that_could_not_be_read_shows_what_was_sent_and_does_not_obey_it() {
    let path = "/data/requests/received/business";
    for (sent, said) in [
        (json!("12a"), true),
        (json!(-1), true),
        (json!(0.5), true),
        (json!("#panic()"), true),
        (json!("#read(\"/etc/passwd\")"), true),
        (json!("$x$ *b* _i_ `c` <a> @b = / //"), true),
        (json!("\\u{41}\u{1}\u{202e}\u{feff}\u{10FFFF}\n\n"), true),
        (json!("#".repeat(1_000_000)), true),
        (json!([[[["["]]]]), true),
        (json!({ "value": "x", "remark": "#y" }), true),
        (json!({ "a": 1 }), true),
        (Value::Null, false),
    ] {
        let mut job = sample("annual-report/2021");
        job["data"]["requests"]["received"]["business"] = sent.clone();
        // With another, so that it is refused in any case.
        job["data"]["requests"]["received"]["other"] = json!("x");
        let (problems, proof) = shown(&job);
        let others = ["/data/requests/received/other"];
        assert_eq!(marked(&problems, &proof, others[0]).len(), 1);
        if said {
            // A mark is set only where its cell shows what it should.
            let named = problems
                .iter()
                .find(|problem| problem.path.starts_with(path));
            let own = marked(&problems, &proof, &named.expect("it is told").path);
            assert_eq!(own.len(), 1, "{sent}");
        }
        assert!(!proof.tables_alone, "{sent}");
    }
}

#[test]
fn a_cell_or_row_that_is_missing_is_marked_where_it_should_be() {
    let mut job = sample("annual-report/2021");
    remove(&mut job, "/data/requests/carried_in", "research");
    remove(&mut job, "/data/requests", "carried_out");
    let (problems, proof) = shown(&job);
    let cell = marked(&problems, &proof, "/data/requests/carried_in/research");
    assert_eq!(cell.len(), 1);
    let row = marked(&problems, &proof, "/data/requests/carried_out");
    assert_eq!(row.len(), 7);
    // 四 is the last row of the table.
    assert!(row.iter().all(|(_, mark)| mark.y > cell[0].1.y));
}

#[test]
fn a_table_that_is_missing_is_there_and_marked() {
    let mut job = sample("annual-report/2021");
    remove(&mut job, "/data", "review_and_litigation");
    let (problems, proof) = shown(&job);
    let cells = marked(&problems, &proof, "/data/review_and_litigation");
    assert_eq!(cells.len(), 15);
}

#[test]
fn a_text_at_fault_is_marked_or_a_note_stands_in_its_place() {
    let mut job = sample("annual-report/2021");
    remove(&mut job, "/data", "overview");
    remove(&mut job, "/data", "agency");
    job["data"]["issued_on"] = json!("2024-02-30");
    job["data"]["year"] = json!(2019);
    job["data"]["introduction"] = json!(["一样的段落。", "一样的段落。", "两\n行", "一样的段落。"]);
    job["data"]["problems_and_improvements"] = json!("一段");
    job["data"]["other_matters"] = json!([
        { "table": { "columns": ["甲", "乙"], "rows": [["1", "1"], ["1"]] } },
    ]);
    let (problems, proof) = shown(&job);
    for (path, count) in [
        ("/data/overview", 1),
        ("/data/agency", 1),
        ("/data/issued_on", 1),
        ("/data/year", 1),
        ("/data/introduction/2", 1),
        ("/data/problems_and_improvements", 1),
        // The cells of its row.
        ("/data/other_matters/0/table/rows/1", 2),
    ] {
        let own = marked(&problems, &proof, path);
        assert_eq!(own.len(), count, "{path}: {own:#?}");
        assert_eq!(own[0].1.text, count == 1, "{path}");
    }
    assert_eq!(proof.unmarked(problems.len()), [0_usize; 0]);
}

#[test]
fn of_texts_that_are_the_same_the_one_that_is_told_is_marked() {
    let mut job = sample("annual-report/2021");
    job["data"]["introduction"] = json!(["一样的段落。", "一样的段落。", "一样的段落。"]);
    let body = job.to_string().into_bytes();
    let told = [0, 1, 2].map(|at| {
        let path = format!("/data/introduction/{at}");
        Problem::new(Code::SCHEMA, path, "wrong", "有误")
    });
    let draft = proof::draft(&body, &told, &settings().limits, &editions());
    let proof = TYPESETTER.proof(&draft.sheet.expect("a report"), small());
    let proof = proof.expect("it is laid out");
    let tops = [0, 1, 2].map(|at| {
        let own = marked(&told, &proof, &told[at].path);
        assert_eq!(own.len(), 1);
        own[0].1.y
    });
    assert!(tops[0] < tops[1] && tops[1] < tops[2], "{tops:?}");
}

/// Whether there is anything to show of a job, by what it is refused for.
fn can_be_shown(problems: &[Problem]) -> bool {
    let fatal = |problem: &Problem| {
        [Code::JSON, Code::TEMPLATE].contains(&problem.code)
            || ["", "/data", "/template"].contains(&problem.path.as_str())
                && problem.code == Code::SCHEMA
                && !problem.message.contains("limits.")
    };
    !problems.iter().any(fatal)
}

#[test]
fn every_refused_job_gives_a_proof_or_nothing_as_it_can() {
    let cases = crate::what_senders_send::CASES.map(|name| case(name).to_string().into_bytes());
    let jobs = bad().into_iter().map(|bad| bad.body).chain(cases);
    let (mut proofs, mut none) = (0, 0);
    for body in jobs {
        let Draft { problems, sheet } = draft(&body);
        assert_eq!(sheet.is_some(), can_be_shown(&problems), "{problems:#?}");
        let Some(sheet) = sheet else {
            none += 1;
            continue;
        };
        let proof = TYPESETTER.proof(&sheet, small());
        let proof = proof.unwrap_or_else(|failure| panic!("{problems:#?}: {failure:?}"));
        proofs += 1;
        assert!(!proof.tables_alone, "{problems:#?}");
        assert!(proof.pages.len() == proof.all_pages.min(MOST_PAGES));
        for at in proof.unmarked(problems.len()) {
            let path = &problems[at].path;
            assert!(!path.starts_with("/data/"), "{path} has no mark");
        }
        for page in &proof.pages {
            assert!(page.picture.starts_with(b"\x89PNG"));
        }
    }
    assert!(proofs > 25 && none > 9, "{proofs} and {none}");
}

#[test]
fn whatever_is_wrong_with_a_report_there_is_a_proof() {
    let seed = rand::random();
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    for _ in 0..40 {
        let job = spoilt_at_random(&mut rng);
        let Draft { problems, sheet } = draft(job.to_string().as_bytes());
        assert_eq!(sheet.is_some(), can_be_shown(&problems), "{problems:#?}");
        if let Some(sheet) = sheet {
            let proof = TYPESETTER.proof(&sheet, small());
            proof.unwrap_or_else(|failure| panic!("{job}: {failure:?}"));
        }
    }
}

/// The pixels of a page, of a thousand, that are the watermark's where the same page of the report
/// has none.
fn watermark(page: &[u8], report: &[u8]) -> usize {
    let (picture, report) = (Picture::read(page), Picture::read(report));
    let (width, height) = (picture.width, picture.height());
    let all = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
    let grey =
        |(x, y): &(usize, usize)| picture.at(*x, *y) == [238; 3] && report.at(*x, *y) == [255; 3];
    all.filter(grey).count() * 1000 / (width * height)
}

#[test]
fn every_page_says_that_it_is_no_document() {
    let mut job = corpus("pingtan-2023");
    job["data"]["requests"]["received"]["total"] = json!(0);
    let Draft { sheet, .. } = draft(job.to_string().as_bytes());
    let png = Pictures::Png(Ppi::new(72).expect("a fair number"));
    let proof = TYPESETTER.proof(&sheet.expect("a report"), png);
    let proof = proof.expect("it is laid out");
    job["on_violation"] = json!("warn");
    let report = crate::pictures::draw(&TYPESETTER, &job, 72);
    assert!(proof.pages.len() == report.len() && report.len() > 4);
    for (page, report) in proof.pages.iter().zip(&report) {
        let share = watermark(&page.picture, report);
        assert!(share > 10, "{share}");
        // The rule around the line above the text block is red.
        let picture = Picture::read(&page.picture);
        let red = |y: usize| {
            let row = (0..picture.width).map(|x| picture.at(x, y));
            row.filter(|[r, g, b]| *r > 200 && *g < 190 && *b < 190)
                .count()
        };
        assert!((20..32).any(|y| red(y) > 400));
    }
}

#[test]
fn a_proof_changes_nothing_of_the_reports_that_follow() {
    let report = |job: &Value| {
        let body = job.to_string();
        let read = banshi::job::read(body.as_bytes(), None, &settings().limits, &editions());
        let manuscript = Manuscript::of(&read.expect("a report"));
        TYPESETTER.typeset(&manuscript).expect("it is laid out")
    };
    let job = corpus("suqian-2024");
    let before = report(&job);
    let mut wrong = job.clone();
    wrong["data"]["requests"]["received"]["total"] = json!("x");
    shown(&wrong);
    assert!(report(&job) == before);
}

/// A template that fails on a word, and one that never ends on another.
const FRAGILE: &str = r#"
#let report = json("report.json")
#set page(paper: "a4")
#table(columns: 2, ..report.sections.cases.cells)
#for text in report.sections.overview.blocks.map(block => block.text) {
  if "失败" in text { panic("no such word") }
  if "不止" in text { while true { } }
  par(text)
}
"#;

const FRAGILE_FORM: &str = r#"
title = "报告"
notice = "无"
author = "agency"
year = "year"

[[field]]
field = "agency"
kind = "line"
label = "发文机关"

[[field]]
field = "year"
kind = "year"
label = "年度"

[[field]]
field = "overview"
kind = "blocks"
heading = "一、概述"

[[field]]
field = "cases"
kind = "row"
heading = "二、案件"
columns = [{ field = "opened", label = "立案" }, { field = "closed", label = "结案" }]
"#;

fn fragile(folder: &Path) -> Settings {
    let package = folder.join("note");
    fs::write(package.join("form.toml"), FRAGILE_FORM).expect("a file");
    let report = json!({ "sections": {
        "overview": { "blocks": [] },
        "cases": { "cells": ["1", "2"] },
    } });
    fs::write(package.join("report.json"), report.to_string()).expect("a file");
    let mut settings = notes::settings(folder);
    settings.fonts.dir = repository("fonts");
    settings.render.deadline = 3;
    settings
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_texts_cannot_be_laid_out_the_tables_are_shown_alone() {
    let tree = notes::tree(FRAGILE);
    let (settings, children) = (fragile(tree.path()), Children::new());
    let typesetter = Typesetter::load(&settings).expect("templates");
    let pool = Pool::start(&settings, children.program()).await.unwrap();
    // The last takes two children down, and the tables are set by a third.
    for (word, alone) in [("文字", false), ("失败", true), ("不止", true)] {
        let job = json!({
            "job_id": "note-1",
            "template": "note/1",
            "data": {
                "agency": "某局",
                "year": 2024,
                "overview": [word],
                "cases": { "opened": "x", "closed": 2 },
            },
        });
        let body = job.to_string();
        let draft = proof::draft(
            body.as_bytes(),
            &[],
            &settings.limits,
            &typesetter.editions(),
        );
        let proof = pool.proof(&draft.sheet.expect("a report"), small()).await;
        let proof = proof.unwrap_or_else(|failure| panic!("{word}: {failure:?}"));
        assert_eq!(proof.tables_alone, alone, "{word}");
        let own = marked(&draft.problems, &proof, "/data/cases/opened");
        assert_eq!(own.len(), 1, "{word}");
    }
    pool.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_confined_typesetter_draws_the_same_proof_as_none() {
    let children = Children::new();
    let mut settings = settings();
    settings.fonts.dir = repository("fonts");
    settings.render.threads = 1;
    let pool = Pool::start(&settings, children.program()).await.unwrap();
    let mut job = corpus("pingtan-2023");
    job["data"]["requests"]["received"]["total"] = json!("x");
    let sheet = draft(job.to_string().as_bytes()).sheet.expect("a report");
    for pictures in [small(), Pictures::Svg] {
        let there = pool.proof(&sheet, pictures).await.expect("it is drawn");
        let here = TYPESETTER.proof(&sheet, pictures).expect("it is drawn");
        assert!(there == here);
    }
    // And it can set reports as before.
    let mut gone = serde_json::to_value(&sheet).expect("JSON");
    gone["template"] = json!("annual-report/1999");
    let gone = serde_json::from_value(gone).expect("a sheet");
    let failed = pool.proof(&gone, small()).await;
    assert!(matches!(failed, Err(Failure::Rejected(_))));
    let read = crate::support::check(corpus("pingtan-2023").to_string().as_bytes());
    let manuscript = Manuscript::of(&read.expect("a report"));
    assert!(pool.typeset(&manuscript).await.expect("it is set").pages > 4);
    pool.close().await;
}

#[test]
fn check_draws_the_proofs_of_the_jobs_that_it_refuses() {
    let deployment = Deployment::spool();
    let mut wrong = corpus("pingtan-2023");
    wrong["data"]["requests"]["received"]["total"] = json!(0);
    for (name, body) in [
        ("wrong", wrong.to_string()),
        ("right", corpus("suqian-2024").to_string()),
        ("none", "{".to_owned()),
    ] {
        fs::write(deployment.path(&format!("{name}.json")), body).expect("a file");
    }
    let check = ["check", "--proof", "proofs", "--format", "json"];
    let files = ["wrong.json", "right.json", "none.json"];
    let ran = deployment.banshi(&[&check[..], &files[..]].concat());
    let ran = { ran }.output().expect("it starts");
    assert_eq!(ran.status.code(), Some(1));
    let said: Vec<Value> = String::from_utf8(ran.stdout)
        .expect("UTF-8")
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let pages = said[0]["proof"]["pages"].as_array().expect("pages");
    assert!(pages.len() > 4);
    let mark = pages
        .iter()
        .flat_map(|page| page["marks"].as_array().expect("marks"));
    assert!(mark.into_iter().any(|mark| mark["part"] == json!(false)));
    assert_eq!(said[0]["proof"]["unmarked"], json!([]));
    assert_eq!(said[1].get("proof"), None, "of what is taken there is none");
    assert_eq!(
        said[2]["proof"],
        Value::Null,
        "nothing of it can be laid out"
    );
    let drawn = crate::support::listed(&deployment.path("proofs"));
    let named: Vec<String> = (1..=pages.len())
        .map(|number| format!("wrong-proof-{number}.png"))
        .collect();
    assert_eq!(drawn, named);

    fs::create_dir(deployment.path("other")).expect("a folder");
    fs::write(deployment.path("other/wrong.json"), "{").expect("a file");
    let twice = [
        "check",
        "--proof",
        "proofs",
        "wrong.json",
        "other/wrong.json",
    ];
    let ran = deployment.banshi(&twice).output().expect("it starts");
    assert_eq!(ran.status.code(), Some(2), "one would overwrite the other");
}

//! A form is a file: what is wrong with one is told all at once, with line and fix; it can ask for
//! no more than it may; and a document that nobody has thought of works from a folder.

use std::fs;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use banshi::job;
use banshi::report::form::Form;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::long_lists;
use crate::support::deployment::Deployment;
use crate::support::jobs::corpus;
use crate::support::official::{APPLICANTS, FORMS, RESULTS};
use crate::support::{editions, pdf, repository, settings};

/// The mistakes of a form.
fn mistakes(text: &str) -> Vec<String> {
    Form::parse("a/1", "a/1/form.toml", text).expect_err("it has mistakes")
}

const HEAD: &str = r#"title = "{agency}{year}年报告"
notice = "某办〔2024〕1号"
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
"#;

const TABLE: &str = r#"
[[field]]
field = "cases"
kind = "row"
heading = "一、案件"
columns = [
  { field = "opened", label = "立案" },
  { field = "closed", label = "结案" },
  { field = "total", label = "合计" },
]
"#;

#[test]
fn every_mistake_is_told_at_once_with_its_line_and_its_fix() {
    let text = format!(
        r#"{HEAD}
[[field]]
field = "Cases"
kind = "rwo"
heading = "一、案件"

[[field]]
field = "agency"
kind = "line"
lable = "机关"
{TABLE}
[[rule]]
code = "E-TOTAL"
equation = "cases/total = cases/opened"

[[rule]]
code = "R-TOTAL"
table = "cases"
each = "row"
equation = "total = opend + closed"

[[rule]]
code = "R-SUM"
table = "cases"
each = "row"
equation = "total = sum(*)"
message = "{{clsoed}}"
message_zh = "合计"
"#
    );
    assert_eq!(
        mistakes(&text),
        [
            "a/1/form.toml:17: field[2].field: the name \"Cases\"; want a-z, 0-9 and _, a letter first",
            "a/1/form.toml:18: field[2].kind: no kind \"rwo\"; there are line, lines, text, year, date, \
             blocks, parts, bands, matrix, row, list; the nearest is \"row\"",
            "a/1/form.toml:22: field[3].field: the name \"agency\" is given twice; names beside each \
             other differ",
            "a/1/form.toml:21: field[3]: want a heading, of a section, or a label, of anything else",
            "a/1/form.toml:24: field[3]: unknown key \"lable\"; the nearest known one is \"label\"",
            "a/1/form.toml:37: rule[0].code: the code \"E-TOTAL\"; want R- or W- and capitals, as \
             \"R-TOTAL\"",
            "a/1/form.toml:44: rule[1].equation: no figure \"opend\"; the nearest is \"opened\"",
            "a/1/form.toml:51: rule[2].message: the message has no value for {clsoed}; the nearest is \
             {column}",
        ]
    );
}

#[test]
fn what_makes_no_sense_is_a_mistake_and_never_done_silently() {
    let rule = |text: &str| format!("{HEAD}{TABLE}\n[[rule]]\ncode = \"R-A\"\n{text}\n");
    let row = |equation: &str| rule(&format!("table = \"cases\"\neach = \"row\"\n{equation}"));
    let field = |text: &str| format!("{HEAD}\n[[field]]\nfield = \"x\"\n{text}\n");
    let cell = |text: &str| {
        field(&format!(
            "kind = \"row\"\nheading = \"表\"\ncolumns = [{{ field = \"a\", label = \"甲\", {text} }}]"
        ))
    };
    let mixed = field(
        "kind = \"row\"\nheading = \"表\"\ncolumns = [\n\
         { field = \"a\", label = \"件\" },\n\
         { field = \"b\", label = \"款（万元）\", kind = \"money\", unit = \"万元\" },\n\
         { field = \"c\", label = \"名\", kind = \"text\" },\n]\n\
         [[rule]]\ncode = \"R-A\"\ntable = \"x\"\neach = \"row\"\n",
    );
    let twice = "\n[[rule]]\ncode = \"R-B\"\ntable = \"cases\"\neach = \"row\"\ncomputes = true\n\
                 equation = \"total = opened\"\n";
    for (form, mistake) in [
        (
            HEAD.replace("{year}", "{yeer}"),
            "nothing is known to put for {yeer}; the nearest is {year}",
        ),
        (
            HEAD.replace("{agency}", "{agency"),
            "nothing is known to put for {agency{year}",
        ),
        (
            HEAD.replace("label = \"年度\"", "label = \"年度\"\noptional = true"),
            "\"year\" is optional",
        ),
        (
            field("kind = \"row\"\nlabel = \"表\"\ncolumns = [{ field = \"a\", label = \"甲\" }]"),
            "a table needs a heading",
        ),
        (
            field("kind = \"lines\"\nheading = \"人\""),
            "a heading is for blocks and tables",
        ),
        (
            field(
                "kind = \"list\"\nheading = \"表\"\ntotal = \"合计\"\ncolumns = [{ field = \"a\", label = \"甲\" }]",
            ),
            "the label of the total has no place",
        ),
        (
            cell("kind = \"money\", unit = \"元\", units = [\"万\"]"),
            "not both",
        ),
        (
            cell("kind = \"percent\", options = [\"好\"]"),
            "\"options\" is for choice, and this is a percent",
        ),
        (
            cell("unit = \"元\""),
            "\"unit\" is for money and decimal, and this is a count",
        ),
        (
            cell("kind = \"choice\", options = [\"好\", \"好\"]"),
            "an option is given twice",
        ),
        (
            row("computes = true\nequation = \"total <= opened\""),
            "a rule that computes has =, not <=",
        ),
        (
            row("computes = true\nequation = \"total = total + opened\""),
            "on both sides",
        ),
        (
            row(&format!(
                "computes = true\nequation = \"total = opened + closed\"\n{twice}"
            )),
            "R-A computes the same cell",
        ),
        (
            row("equation = \"total = opened\"\nat = [\"opend\"]"),
            "at: no figure \"opend\"; the nearest is \"opened\"",
        ),
        (
            rule("table = \"case\"\neach = \"row\"\nequation = \"total = opened\""),
            "no cells in a table \"case\"; the nearest is \"cases\"",
        ),
        (
            format!("{mixed}equation = \"a = b\"\n"),
            "figures of different kinds: counts, 万元",
        ),
        (
            format!("{mixed}equation = \"sum(*) > 0\"\n"),
            "figures of different kinds: counts, 万元",
        ),
        (
            format!("{mixed}equation = \"a = c\"\n"),
            "\"c\" holds words, and no figure",
        ),
    ] {
        let found = mistakes(&form).join("\n");
        assert!(
            found.contains(mistake),
            "{mistake}\nis not told, but\n{found}\nof\n{form}"
        );
    }
}

#[test]
fn what_is_no_toml_is_told_with_its_line() {
    let found = mistakes("title = \"a\nnotice = ");
    assert!(found[0].starts_with("a/1/form.toml:1: "), "{found:?}");
}

#[test]
fn a_form_can_ask_for_no_more_than_it_may() {
    let columns = |count: usize| {
        let columns = (0..count).map(|at| format!("{{ field = \"c{at}\", label = \"列\" }},"));
        let columns: String = columns.collect();
        format!(
            "{HEAD}\n[[field]]\nfield = \"t\"\nkind = \"row\"\nheading = \"表\"\ncolumns = [{columns}]\n"
        )
    };
    Form::parse("a/1", "f", &columns(300)).expect("300 columns are within the limits");
    assert!(mistakes(&columns(301))[0].contains("301 items; there may be 300"));
    let huge = format!("{HEAD}# {}", "x".repeat(256 * 1024));
    assert!(mistakes(&huge)[0].contains("larger than"));
    let rules =
        "[[rule]]\ncode = \"R-A\"\ntable = \"t\"\neach = \"row\"\nequation = \"c0 = sum(*)\"\n";
    let rows: String = (0..300)
        .map(|at| format!("{{ field = \"r{at}\", label = \"行\" }},"))
        .collect();
    let wide = columns(300).replace("kind = \"row\"", "kind = \"matrix\"\ncorner = \"角\"");
    let cells = format!("{wide}rows = [{rows}]\n");
    assert!(mistakes(&cells)[0].contains("5001 cells; there may be 5000"));
    let many = format!("{}{}", columns(300), rules.repeat(201));
    assert!(mistakes(&many)[0].contains("201 rules; there may be 200"));
}

#[test]
fn a_rule_may_have_its_cell_on_either_side() {
    let rules = |equation: &str| {
        format!(
            "{HEAD}{TABLE}\n[[rule]]\ncode = \"R-SUM\"\ntable = \"cases\"\neach = \"row\"\n\
             equation = \"{equation}\"\n"
        )
    };
    let job = json!({
        "job_id": "a", "template": "a/1",
        "data": { "agency": "某局", "year": 2024, "cases": { "opened": 1, "closed": 2, "total": 4 } },
    });
    for equation in ["sum(*) = 8", "8 = sum(*)", "opened + closed = total"] {
        let form = Form::parse("a/1", "f", &rules(equation)).expect(equation);
        let editions = [("a/1".to_owned(), Arc::new(form))].into();
        let read = job::read(
            job.to_string().as_bytes(),
            None,
            &settings().limits,
            &editions,
        );
        let refusal = read.expect_err(equation);
        let problems = refusal.rejection.problems();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(problems[0].path, "/data/cases/opened", "{equation}");
    }
    assert!(mistakes(&rules("1 = 2"))[0].contains("no row or column has all of these"));
}

#[test]
fn a_result_is_looked_up_by_the_field_that_the_form_calls_its_year() {
    let head = HEAD.replace("year = \"year\"", "year = \"approved_on\"");
    let head = head.replace(
        "field = \"year\"\nkind = \"year\"",
        "field = \"approved_on\"\nkind = \"date\"",
    );
    let form = Form::parse("a/1", "f", &head.replace("{year}", "")).expect("a form");
    let editions = [("a/1".to_owned(), Arc::new(form))].into();
    // Refused, and yet it may be stored already: by a worker with other limits.
    let job = json!({
        "job_id": "a", "template": "a/1", "data": { "approved_on": "2025-03-01" },
    });
    let read = job::read(
        job.to_string().as_bytes(),
        None,
        &settings().limits,
        &editions,
    );
    let key = read.expect_err("the agency is missing").identity.key;
    assert_eq!(key.expect("a key").year, 2025);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// Whatever becomes of a form's text, reading it ends with a form or with mistakes, soon.
    #[test]
    fn no_form_takes_a_worker_down(
        list in any::<bool>(),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0..40_usize, "[\\[\\]{}=\",a-z0-9*()+/ \n-]{0,12}"), 1..6),
    ) {
        let (form, job) = match list {
            true => (long_lists::FORM.to_owned(), long_lists::job(9)),
            false => {
                let path = repository("typst-templates/annual-report/2021/form.toml");
                (fs::read_to_string(path).unwrap(), corpus("pingtan-2023"))
            }
        };
        let mut text: Vec<char> = form.chars().collect();
        for (at, length, put) in cuts {
            let at = at.index(text.len());
            let end = (at + length).min(text.len());
            text.splice(at..end, put.chars());
        }
        let text: String = text.into_iter().collect();
        let began = std::time::Instant::now();
        let read = Form::parse("a/1", "f", &text);
        prop_assert!(began.elapsed() < Duration::from_secs(5));
        match read {
            Err(mistakes) => prop_assert!(!mistakes.is_empty()),
            // A job is read and checked with whatever it has become.
            Ok(form) => {
                let name = job["template"].as_str().unwrap().to_owned();
                let editions = [(name, Arc::new(form))].into();
                drop(job::read(job.to_string().as_bytes(), None, &settings().limits, &editions));
            }
        }
    }
}

/// The forms of the annual report hold the words of the official tables, and `src` none of them.
#[test]
fn official_labels_stand_in_the_form_files_alone() {
    fn sources(folder: &std::path::Path, all: &mut String) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, all);
            } else {
                // Tests in the sources, and comments, may quote what they are about.
                let text = fs::read_to_string(&path).unwrap_or_default();
                let code = text.split("#[cfg(test)]").next().unwrap_or_default();
                let lines = code
                    .lines()
                    .filter(|line| !line.trim_start().starts_with("//"));
                all.extend(lines);
            }
        }
    }
    let mut code = String::new();
    sources(&repository("src"), &mut code);
    for official in FORMS {
        let form = &editions()[official.name];
        let mut labels = Vec::new();
        for (band, item, figure) in official.figures() {
            let pointer = format!(
                "/proactive_disclosure/{}/{}/{}",
                band.field, item.field, figure.field
            );
            let cell = &form.cells[form.cell(&pointer).expect("a cell of table 2")];
            assert_eq!(
                (cell.row.as_str(), cell.column.as_str()),
                (item.label, &*figure.name())
            );
            labels.extend([band.label, item.label]);
        }
        for row in official.rows() {
            for (field, label) in APPLICANTS {
                let pointer = format!("/requests{}/{field}", row.pointer);
                let cell = &form.cells[form.cell(&pointer).expect("a cell of table 3")];
                assert_eq!((&cell.row, cell.column.as_str()), (&row.label, label));
            }
        }
        labels.extend(
            APPLICANTS
                .map(|(_, label)| label)
                .into_iter()
                .filter(|label| *label != "其他"),
        );
        labels.extend(RESULTS.map(|(_, label)| label));
        labels.retain(|label| label.chars().count() > 2);
        for label in labels {
            assert!(!code.contains(label), "{label} stands in src");
        }
    }
}

/// A document that is in no build: its form, its template, its sample and a job.
fn unheard_of(deployment: &Deployment) -> Value {
    let folder = deployment.folder().join("templates/school-meals");
    fs::create_dir_all(&folder).unwrap();
    let write = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
    write(
        "typst.toml",
        "[package]\nname = \"school-meals\"\nversion = \"1.0.0\"\n\
         [tool.banshi.editions.2024]\nentrypoint = \"main.typ\"\n",
    );
    write(
        "form.toml",
        r#"title = "{agency}{year}年学校供餐情况报告"
notice = "某教发〔2024〕1号"
keywords = ["学校供餐", "{year}"]
author = "agency"
year = "year"
date = "issued_on"

[[field]]
field = "agency"
kind = "line"
label = "发文机关"

[[field]]
field = "year"
kind = "year"
label = "年度"

[[field]]
field = "issued_on"
kind = "date"
label = "成文日期"
optional = true

[[field]]
field = "meals"
kind = "row"
heading = "一、供餐"
notes = ["按餐次计。"]
columns = [
  { field = "breakfast", label = "早餐" },
  { field = "lunch", label = "午餐" },
  { field = "total", label = "合计" },
]

[[field]]
field = "cost"
kind = "row"
heading = "二、经费"
columns = [
  { field = "food", label = "食材（万元）", kind = "money", unit = "万元" },
  { field = "wages", label = "人工（万元）", kind = "money", unit = "万元" },
  { field = "total", label = "合计（万元）", kind = "money", unit = "万元" },
]

[[field]]
field = "check"
kind = "row"
heading = "三、检查"
columns = [
  { field = "passed", label = "合格率", kind = "percent" },
  { field = "grade", label = "等级", kind = "choice", options = ["优", "良", "差"] },
  { field = "on", label = "日期", kind = "date" },
  { field = "public", label = "是否公开", kind = "yes_no" },
  { field = "by", label = "检查单位", kind = "text" },
]

[[field]]
field = "remarks"
kind = "blocks"
heading = "四、说明"

[[prior]]
field = "meals"
label = "上年度 供餐"
of = "meals"

[[rule]]
code = "R-TOTAL"
table = "meals"
each = "row"
computes = true
equation = "total = breakfast + lunch"

[[rule]]
code = "R-COST"
table = "cost"
each = "row"
computes = true
equation = "total = sum(*)"

[[rule]]
code = "W-FREE"
equation = "cost/food > 0"
when = "meals/total > 0"
message = "「{row}」: meals were served and no food was paid for"
message_zh = "有供餐而无食材支出"

[[rule]]
code = "W-GROWTH"
table = "meals"
each = "row"
equation = "total <= prior(total) + prior(total)"
"#,
    );
    write(
        "main.typ",
        r#"#import "/gongwen/lib.typ": *
#let view = json("report.json")
#show: gongwen.with(title: view.title, author: view.agency)
#document-title(view.title, agency: view.agency)
#for name in view.order {
  let section = view.sections.at(name)
  numbered-heading(section.heading)
  if "cells" in section {
    form-table(
      columns: (1fr,) * section.cells.len(),
      summary: section.heading,
      table.header(..section.heads.map(head => header-cell(head.label))),
      ..section.cells,
    )
    table-notes(section.notes)
  } else {
    for block in section.blocks { numbered-paragraph(block.text, lead: block.lead, level: block.level) }
  }
}
"#,
    );
    write(
        "report.json",
        r#"{ "title": "样张", "agency": "某市教育局", "order": [], "sections": {} }"#,
    );
    json!({
        "job_id": "meals-1",
        "template": "school-meals/2024",
        "data": {
            "agency": "某市教育局",
            "year": 2024,
            "issued_on": "2025-01-20",
            "meals": { "breakfast": 1200, "lunch": 3400 },
            "cost": { "food": "12.50", "wages": "3.25" },
            "check": { "passed": "98.5%", "grade": "优", "on": "2024-11-05", "public": true, "by": null },
            "remarks": ["供餐学校共18所。"],
        },
        "prior": { "meals": { "total": 4000 } },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_nobody_has_thought_of_works_from_a_folder() {
    let deployment = Deployment::spool();
    let job = unheard_of(&deployment);
    let templates = deployment.folder().join("templates");
    let deployment = deployment.with("TEMPLATES__DIR", &templates.display().to_string());

    // It is checked: totals computed, rules with the labels of the form in both languages.
    let file = deployment.folder().join("job.json");
    let checked = |job: &Value| {
        fs::write(&file, job.to_string()).unwrap();
        let arguments = ["check", "--format", "json", file.to_str().unwrap()];
        let ran = deployment.banshi(&arguments).output().unwrap();
        serde_json::from_slice::<Value>(&ran.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&ran.stderr)))
    };
    assert_eq!(checked(&job)["ok"], json!(true), "{}", checked(&job));
    let mut wrong = job.clone();
    wrong["data"]["meals"]["total"] = json!(5000);
    wrong["data"]["cost"]["total"] = json!("15.74");
    wrong["data"]["cost"]["food"] = json!("0");
    let said = checked(&wrong);
    let told = |said: &Value, list: &str| -> Vec<String> {
        let problems = said[list].as_array().cloned().unwrap_or_default();
        let line = |p: &Value| {
            let text = |name: &str| p[name].as_str().unwrap_or_default().to_owned();
            [
                text("code"),
                text("path"),
                text("message"),
                text("message_zh"),
            ]
            .join(" ")
        };
        problems.iter().map(line).collect()
    };
    assert_eq!(
        told(&said, "problems"),
        [
            "R-COST /data/cost/total 「二、经费」「合计（万元）」 is 15.74, but must be the sum of its \
             parts, which is 3.25 「二、经费」「合计（万元）」为15.74，应等于各分项之和，而后者为3.25",
            "R-TOTAL /data/meals/total 「一、供餐」「合计」 is 5000, but must be 「早餐」 + 「午餐」, \
             which is 4600 「一、供餐」「合计」为5000，应等于「早餐」 + 「午餐」，而后者为4600",
        ]
    );

    let mut wrong = job.clone();
    wrong["data"]["check"] = json!({
        "passed": "98.5", "grade": "中", "on": "2024-11-31", "public": "是", "by": "某局\t一处",
    });
    let said = told(&checked(&wrong), "problems");
    let begins = [
        "E-SCHEMA /data/check/by 「三、检查」「检查单位」: holds a tab",
        "E-SCHEMA /data/check/grade 「三、检查」「等级」: want one of 优, 良, 差; or null or a mark",
        "E-SCHEMA /data/check/on 「三、检查」「日期」: want a date that exists",
        "E-SCHEMA /data/check/passed 「三、检查」「合格率」: want a percentage, as \"85.3%\"",
        "E-SCHEMA /data/check/public 「三、检查」「是否公开」: want true or false",
    ];
    assert_eq!(said.len(), begins.len(), "{said:#?}");
    for (said, begins) in said.iter().zip(begins) {
        assert!(said.starts_with(begins), "{said}");
    }

    // It is told from what the build has.
    let listed = deployment.banshi(&["templates"]).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let line = |name: &str| listed.lines().find(|line| line.starts_with(name)).unwrap();
    assert!(line("school-meals/2024").ends_with("  from templates.dir"));
    assert!(line("annual-report/2021").ends_with("国办公开办函〔2021〕30号"));

    // Its schema is one, and its job is set, stored, announced, read back and verified.
    let arguments = ["templates", "school-meals/2024", "--schema"];
    let schema: Value =
        serde_json::from_slice(&deployment.banshi(&arguments).output().unwrap().stdout).unwrap();
    assert_eq!(
        schema["properties"]["data"]["properties"]["meals"]["required"],
        json!(["breakfast", "lunch"])
    );
    deployment.send("meals-1", job.to_string().as_bytes()).await;
    deployment.work_until_idle();
    let events = deployment.events().await;
    assert_eq!(events[0]["type"], json!("report.completed"), "{events:?}");
    let file = deployment
        .folder()
        .join("store/school-meals/2024/2024/meals-1.pdf");
    let tables = pdf::tables(&file);
    assert_eq!(tables[0].cell(&["午餐"]).text, "3400");
    // poppler runs the notes into the last cell.
    assert!(tables[0].cell(&["合计"]).text.starts_with("4600"));
    assert_eq!(tables[1].cell(&["合计（万元）"]).text, "15.75");
    let checked = ["合格率", "等级", "日期", "是否公开", "检查单位"];
    let checked = checked.map(|head| tables[2].cell(&[head]).text.as_str());
    assert_eq!(checked, ["98.5%", "优", "2024年11月5日", "是", ""]);
    assert!(pdf::text(&file).contains("按餐次计。"));
    let verified = deployment
        .banshi(&["verify", file.to_str().unwrap()])
        .output()
        .unwrap();
    assert!(
        String::from_utf8_lossy(&verified.stdout).contains("authentic"),
        "{verified:?}"
    );
}

/// A package as `banshi templates new` lays it out is right, and `check` says what is wrong once it
/// is not; with `--watch` whenever a file changes.
#[tokio::test(flavor = "multi_thread")]
async fn a_package_is_laid_out_and_checked_and_drawn_anew_when_it_changes() {
    let deployment = Deployment::spool();
    let package = deployment.path("templates/county-work");
    let named = package.to_str().unwrap().to_owned();
    fs::create_dir_all(package.parent().unwrap()).unwrap();
    let run = |arguments: &[&str]| {
        let ran = deployment.banshi(arguments).output().unwrap();
        let [out, err] = [ran.stdout, ran.stderr].map(|text| String::from_utf8(text).unwrap());
        (ran.status.code(), out, err)
    };
    assert_eq!(run(&["templates", "new", &named]).0, Some(0));
    assert_eq!(run(&["templates", "new", &named]).0, Some(2), "it exists");
    let (code, out, err) = run(&["templates", "check", &named]);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.starts_with("county-work/1: ok, 1 pages in "), "{out}");
    let page = package.join(".pages/1-1.png");
    assert!(page.is_file());

    let form = package.join("1/form.toml");
    let right = fs::read_to_string(&form).unwrap();
    fs::write(
        &form,
        right.replace("field = \"opened\"", "feild = \"opened\""),
    )
    .unwrap();
    let (code, _, err) = run(&["templates", "check", &named]);
    assert_eq!(code, Some(1));
    let said = "unknown key \"feild\"; the nearest known one is \"field\"";
    assert!(
        err.contains("county-work/1/form.toml:42: ") && err.contains(said),
        "{err}"
    );
    fs::write(&form, &right).unwrap();

    let mut watch = deployment.banshi(&["templates", "check", &named, "--watch"]);
    let mut watch = watch
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    fs::remove_file(&page).unwrap();
    let drawn = |what: &str| {
        let began = Instant::now();
        while !page.is_file() {
            assert!(began.elapsed() < Duration::from_secs(60), "{what}");
            std::thread::sleep(Duration::from_millis(50));
        }
        // A file that is there is whole a moment later.
        std::thread::sleep(Duration::from_millis(500));
        fs::remove_file(&page).unwrap();
    };
    drawn("at the start");
    fs::write(&form, right.replace("一、总体情况", "一、概况")).unwrap();
    drawn("after a change");
    watch.kill().unwrap();
    watch.wait().unwrap();
}

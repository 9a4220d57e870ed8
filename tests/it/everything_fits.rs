//! Nothing stands out of its cell, of the text block or of the paper; where it would, the report is
//! refused, and what does not fit is named.

use std::fs;
use std::path::Path;

use banshi::config::Settings;
use banshi::job;
use banshi::problem::{Code, Failure, Problem};
use banshi::typesetter::{Manuscript, Pdf, Typesetter};
use serde_json::{Value, json};

use crate::support::jobs::{CORPUS, case, corpus};
use crate::support::{editions, pdf, render, repository, settings};

/// The largest figure that a cell may hold, as wide as any.
const WIDEST: i64 = 1_000_000_000_000;

/// A typesetter with the embedded templates, and `files` in place of theirs.
fn typesetter(files: &[(&str, String)]) -> Typesetter {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let mut settings: Settings = settings();
    settings.templates.dir = folder.path().to_owned();
    Typesetter::load(&settings).unwrap()
}

/// A file of the templates, with a part of it replaced.
fn template(path: &str, part: &str, by: &str) -> (&'static str, String) {
    let file = repository("typst-templates").join(path);
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!(text.matches(part).count(), 1, "{part} in {path}");
    (path.to_owned().leak(), text.replace(part, by))
}

fn set(typesetter: &Typesetter, job: &Value) -> Result<Pdf, Failure> {
    let mut job = job.clone();
    job["on_violation"] = json!("warn");
    let job = job.to_string();
    let job = job::read(job.as_bytes(), None, &settings().limits, &editions());
    let job = job.unwrap_or_else(|refusal| panic!("{:?}", refusal.rejection.problems()));
    typesetter.typeset(&Manuscript::of(&job))
}

fn refused(typesetter: &Typesetter, job: &Value) -> Vec<Problem> {
    match set(typesetter, job) {
        Err(Failure::Rejected(rejection)) => rejection.into_problems(),
        other => panic!("wanted a rejection, got {other:?}"),
    }
}

/// Changes every figure of the official tables.
fn each_figure(job: &mut Value, change: impl Fn(&mut Value) + Copy) {
    fn walk(node: &mut Value, change: impl Fn(&mut Value) + Copy) {
        match node {
            Value::Object(fields) if !fields.contains_key("remark") => {
                for (name, field) in fields {
                    if name != "notes" && name != "change" {
                        walk(field, change);
                    }
                }
            }
            cell => change(cell),
        }
    }
    for section in ["proactive_disclosure", "requests", "review_and_litigation"] {
        walk(&mut job["data"][section], change);
    }
}

fn widest(name: &str) -> Value {
    let mut job = corpus(name);
    each_figure(&mut job, |cell| {
        if cell.is_number() || cell.get("remark").is_some() {
            *cell = json!(WIDEST);
        }
    });
    job
}

#[test]
fn every_report_fits_with_the_widest_figures_and_with_remarks() {
    let typesetter = typesetter(&[]);
    for name in CORPUS {
        set(&typesetter, &corpus(name)).unwrap();
        set(&typesetter, &widest(name)).unwrap();
    }
    for name in ["zibo-bigdata-2020", "pingtan-2023"] {
        for remark in [
            "其中1件",
            "详见https://www.example.gov.cn/zwgk/nb/2023.html，其中含上年结转123456789012件",
        ] {
            let mut job = corpus(name);
            each_figure(&mut job, |cell| {
                if cell.is_number() {
                    *cell = json!({ "value": 1_234_567, "remark": remark });
                }
            });
            job["data"]["requests"]["notes"] = json!([remark]);
            let pdf = set(&typesetter, &job).unwrap();
            assert!(pdf.pages > 5, "{name}");
        }
    }
}

/// Remarks make table 3 higher than a page: it is divided between rows, and whoever reads the
/// second page, or has it read aloud, is told what its rows belong to.
#[test]
fn a_group_that_goes_on_overleaf_is_labelled_there_again() {
    for (name, cells) in [("zibo-bigdata-2020", 161), ("pingtan-2023", 175)] {
        let mut job = corpus(name);
        job["on_violation"] = json!("warn");
        each_figure(&mut job, |cell| {
            if cell.is_number() {
                *cell = json!({ "value": 7, "remark": "其中1件涉及两个机构" });
            }
        });
        let pdf = render(&job);
        let table = &pdf::tables(&pdf.path())[1];
        assert_eq!(table.data(), cells, "{name}");
        let headers = |label: &str| {
            let headers = table.cells.iter().filter(|cell| cell.header);
            headers.filter(|cell| cell.text == label).count()
        };
        assert_eq!(
            headers("申请人情况"),
            1,
            "{name}: a repeated head is read once"
        );
        let last = table.cell(&["（七）总计", "自然人"]);
        assert!(table.labels(last).contains(&"三、本年度办理结果"), "{name}");
        let pages = pdf::pages(&pdf.path());
        let parts = pages
            .iter()
            .filter(|page| page.concat().contains("申请人情况"));
        let parts = parts.count();
        assert!(parts > 1, "{name}: the remarks make it too long for a page");
        assert_eq!(headers("三、本年度办理结果"), parts, "{name}");
    }
}

/// A table with a label and as many columns of figures, all of one width.
fn wide_table(columns: usize, digits: usize) -> (Value, String) {
    let figure = "1234567890123456789012345678"[..digits].to_owned();
    let heads: Vec<String> = (1..=columns).map(|month| format!("{month}月")).collect();
    let heads: Vec<&str> = std::iter::once("月份")
        .chain(heads.iter().map(String::as_str))
        .collect();
    let row: Vec<&str> = std::iter::once("网站访问量（人次）")
        .chain(std::iter::repeat_n(figure.as_str(), columns))
        .collect();
    let mut job = corpus("pingtan-2023");
    job["data"]["overview"] = json!([
        "统计情况见下表。",
        { "table": { "caption": "各月情况", "columns": heads, "rows": [row] } },
        "以上情况，特此说明。",
    ]);
    (job, figure)
}

#[test]
fn a_figure_in_a_table_of_the_text_is_never_broken() {
    // Upright, in smaller type, and standing sideways.
    for (columns, digits) in [(5, 9), (9, 9), (13, 7), (13, 8), (19, 8), (4, 28), (22, 8)] {
        let (mut job, figure) = wide_table(columns, digits);
        job["on_violation"] = json!("warn");
        let rendered = render(&job);
        let words = pdf::words(&rendered.path());
        let whole = words.iter().flatten().filter(|word| word.text == figure);
        assert_eq!(
            whole.count(),
            columns,
            "{columns} columns of {digits} digits"
        );
        let table = &pdf::tables(&rendered.path())[0];
        assert_eq!(table.data(), columns + 1);
    }
}

#[test]
fn a_table_of_the_months_of_a_year_has_each_figure_on_one_line() {
    let job = case("table-14-columns");
    let words = pdf::words(&render(&job).path());
    let page = &words[0];
    let table = &job["data"]["overview"][1]["table"];
    let figures = table["rows"].as_array().unwrap().iter().flat_map(|row| {
        let cells = row.as_array().unwrap().iter().skip(1);
        cells.map(|cell| cell.as_str().unwrap())
    });
    for figure in figures {
        assert!(page.iter().any(|word| word.text == figure), "{figure}");
    }
}

#[test]
fn a_table_of_the_text_that_has_no_room_for_its_figures_is_refused() {
    let (job, _) = wide_table(40, 12);
    let problems = refused(&typesetter(&[]), &job);
    assert!(!problems.is_empty());
    assert!(
        problems.iter().all(|problem| problem.code == Code::LAYOUT),
        "{problems:?}"
    );
}

#[test]
fn a_long_remark_makes_its_row_no_higher_than_it_needs() {
    let job = case("long-remarks");
    let row = &job["data"]["requests"]["outcome"]["refused"]["state_secret"];
    let remark = row["natural_person"]["remark"].as_str().unwrap();
    let rendered = render(&job);
    let text = pdf::text(&rendered.path()).replace('\n', "");
    assert_eq!(text.matches(remark).count(), 6);
    // From one label of a row to the next, on a page.
    let labels = ["1.属于国家秘密", "2.其他法律行政法规禁止公开"];
    let page = pdf::words(&rendered.path()).into_iter().find(|words| {
        labels
            .iter()
            .all(|label| words.iter().any(|word| &word.text == label))
    });
    let page = page.expect("both rows on a page");
    let [first, second] = labels.map(|label| {
        let word = page.iter().find(|word| word.text == label);
        word.expect("the label").top
    });
    assert!(second - first < 637.8 / 5.0, "{} pt", second - first);
}

#[test]
fn a_figure_that_leaves_its_cell_is_named_with_row_and_column() {
    // A template that makes nothing smaller.
    let proud = template(
        "gongwen/table.typ",
        "  let em = em-width(figure)\n  if em * size <= width { return figure }\n",
        "  return figure\n",
    );
    let mut job = corpus("pingtan-2023");
    job["data"]["requests"]["outcome"]["refused"]["internal_affairs"]["research"] = json!(WIDEST);
    let typesetter = typesetter(&[proud]);
    set(&typesetter, &corpus("pingtan-2023")).unwrap();
    let problems = refused(&typesetter, &job);
    let said = problems
        .iter()
        .map(|problem| {
            (
                problem.code,
                problem.path.as_str(),
                problem.message.as_str(),
            )
        })
        .collect::<Vec<_>>();
    assert_eq!(
        said,
        [(
            Code::LAYOUT,
            "",
            "“1000000000000” in the row 「5.属于三类内部事务信息」, column 「科研机构」 of a table on \
                 page 5 does not fit its cell; shorten it, or mend the template"
        ),]
    );
    assert_eq!(
        problems[0].message_zh,
        "第5页表格「5.属于三类内部事务信息」行「科研机构」列中的“1000000000000”超出单元格；请缩短，或修改模板"
    );
}

#[test]
fn lines_that_leave_a_row_are_found_too() {
    let flat = template(
        "gongwen/matrix.typ",
        "calc.max(measure(own).height, row-need(row.lines))",
        "row-need(row.lines)",
    );
    let mut job = corpus("pingtan-2023");
    job["data"]["requests"]["received"]["business"] = json!({
        "value": 1,
        "remark": "其中含上年度结转一件，另有两件由上级机关转来，均已在法定期限内答复申请人"
    });
    let problems = refused(&typesetter(&[flat]), &job);
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(
        problems[0]
            .message
            .contains("in the row 「一、本年新收政府信息公开申请数量」, column 「商业企业」"),
        "{problems:?}"
    );
    assert_eq!(problems[0].path, "/data/requests/received/business/remark");
}

#[test]
fn text_that_leaves_the_block_and_paper_that_is_too_large_are_named() {
    let shifted = template(
        "annual-report/common.typ",
        "  body-blocks(view.introduction).join()\n",
        "  body-blocks(view.introduction).join()\n  place(dx: 150mm, box(width: 60mm)[出了版心])\n",
    );
    let problems = refused(&typesetter(&[shifted]), &corpus("pingtan-2023"));
    assert_eq!(
        problems[0].message,
        "“出了版心” on page 1 stands out of the text block; shorten it, or mend the template"
    );
    assert_eq!(
        problems[0].message_zh,
        "第1页的“出了版心”超出版心；请缩短，或修改模板"
    );

    let sheet = template(
        "gongwen/page.typ",
        "    paper: \"a4\",\n",
        "    paper: \"a3\",\n",
    );
    let problems = refused(&typesetter(&[sheet]), &corpus("pingtan-2023"));
    assert_eq!(
        problems[0].message,
        "page 1 is 297 × 420 mm, larger than A4; mend the template"
    );
    assert!(problems.iter().all(|problem| problem.code == Code::LAYOUT));
    assert!(Path::new(&problems[0].path).as_os_str().is_empty());
}

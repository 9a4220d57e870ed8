//! A list over many pages: each row once, whole and in order; the head on every page, 续表 on all
//! but the first; 合计 once, at the end, with rows beside it; every border drawn.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::support::deployment::{Deployment, succeeded};
use crate::support::listed;
use crate::support::pdf::{self, Word};
use crate::support::picture::Picture;

/// A form with a list of units.
pub const FORM: &str = r#"
title = "{agency}{year}年度各单位行政许可情况"
notice = "某府办发〔2024〕1号"
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
field = "issued_on"
kind = "date"
label = "成文日期"
optional = true

[[field]]
field = "units"
kind = "list"
heading = "一、各单位行政许可情况"
serial = "序号"
total = "合计"
columns = [
  { field = "unit", label = "单位名称", kind = "text" },
  { label = "许可（件）", columns = [
    { field = "granted", label = "准予" },
    { field = "refused", label = "不予" },
    { field = "all", label = "合计" },
  ] },
  { field = "fees", label = "收费（万元）", kind = "money", unit = "万元" },
  { field = "on_time", label = "按时办结率", kind = "percent" },
  { field = "grade", label = "评价", kind = "choice", options = ["好", "一般", "差"] },
  { field = "note", label = "备注", kind = "text" },
]

[[rule]]
code = "R-ALL"
table = "units"
each = "row"
computes = true
equation = "all = granted + refused"

[[rule]]
code = "R-UNITS"
table = "units"
each = "column"
computes = true
equation = "total = sum(rows/*)"
"#;

/// A place where `unit-permits/1` is a template.
pub fn deployment() -> Deployment {
    let deployment = Deployment::spool();
    fs::create_dir_all(deployment.path("templates")).unwrap();
    let package = deployment.path("templates/unit-permits");
    let new = ["templates", "new", package.to_str().unwrap()];
    succeeded(&deployment.banshi(&new).output().unwrap());
    fs::write(package.join("1/form.toml"), FORM).unwrap();
    let folder = deployment.path("templates").display().to_string();
    let deployment = deployment.with("TEMPLATES__DIR", &folder);
    deployment.with("RENDER__MAX_PAGES", "200")
}

/// A job with so many units. Some names and notes are longer than their columns, some cells blank.
pub fn job(units: u64) -> Value {
    let unit = |number: u64| {
        let name = match number % 7 {
            0 => format!("第{number}号经济技术开发区政务服务管理局办公室"),
            _ => format!("第{number}号审批局"),
        };
        json!({
            "unit": name,
            "granted": number * 3,
            "refused": if number.is_multiple_of(5) { Value::Null } else { json!(number % 4) },
            "fees": format!("{}.25", number % 9),
            "on_time": if number.is_multiple_of(11) { "/" } else { "99.5%" },
            "grade": if number.is_multiple_of(2) { "好" } else { "一般" },
            "note": if number.is_multiple_of(50) { json!("本年度由市级机关委托办理，次年起收回") } else { Value::Null },
        })
    };
    json!({
        "job_id": "permits",
        "template": "unit-permits/1",
        "data": {
            "agency": "某区人民政府",
            "year": 2024,
            "units": {
                "rows": (1..=units).map(unit).collect::<Vec<_>>(),
                "total": { "on_time": "99.5%" },
            },
        },
    })
}

pub fn write(deployment: &Deployment, job: &Value) -> String {
    let path = deployment.path("job.json");
    fs::write(&path, job.to_string()).unwrap();
    path.to_str().unwrap().to_owned()
}

/// What stands in the row of a unit.
fn expected(job: &Value, number: u64) -> [String; 9] {
    let sent = &job["data"]["units"]["rows"][usize::try_from(number).unwrap() - 1];
    let text = |name: &str| sent[name].as_str().unwrap_or_default().to_owned();
    let granted = sent["granted"].as_u64().unwrap();
    let refused = sent["refused"].as_u64();
    [
        number.to_string(),
        text("unit"),
        granted.to_string(),
        refused.map_or_else(String::new, |refused| refused.to_string()),
        (granted + refused.unwrap_or_default()).to_string(),
        text("fees"),
        text("on_time"),
        text("grade"),
        text("note"),
    ]
}

/// What stands in the row of totals, as far as it has figures.
fn sums(job: &Value, units: u64) -> [String; 6] {
    let sum = |column: usize| -> u64 {
        let of = |number: u64| expected(job, number)[column].parse::<u64>();
        (1..=units)
            .map(|number| of(number).unwrap_or_default())
            .sum()
    };
    let fees = (1..=units)
        .map(|number| (number % 9) * 100 + 25)
        .sum::<u64>();
    let [granted, refused, all] = [2, 3, 4].map(|column| sum(column).to_string());
    let fees = format!("{}.{:02}", fees / 100, fees % 100);
    [
        "合计".to_owned(),
        granted,
        refused,
        all,
        fees,
        "99.5%".to_owned(),
    ]
}

fn set(deployment: &Deployment, job: &Value) -> PathBuf {
    let path = write(deployment, job);
    let file = deployment.path("list.pdf");
    let render = ["render", &path, "-o", file.to_str().unwrap()];
    succeeded(&deployment.banshi(&render).output().unwrap());
    file
}

#[test]
fn every_row_reads_back_from_its_tags() {
    const UNITS: u64 = 100;
    let deployment = deployment();
    let job = job(UNITS);
    let file = set(&deployment, &job);
    for verdict in pdf::verapdf(std::slice::from_ref(&file)) {
        assert!(verdict.passes, "{verdict:#?}");
    }
    let tables = pdf::tables(&file);
    assert_eq!(tables.len(), 1);
    let table = &tables[0];
    let mut rows: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
    for cell in &table.cells {
        rows.entry(cell.row).or_default().push(&cell.text);
    }
    let rows: Vec<Vec<&str>> = rows.into_values().collect();
    // Two rows of heads, the units, and the totals.
    assert_eq!(rows.len() as u64, UNITS + 3);
    for (number, row) in (1..=UNITS).zip(&rows[2..]) {
        assert_eq!(*row, expected(&job, number), "unit {number}");
    }
    let last: Vec<&str> = rows.last().unwrap().iter().take(6).copied().collect();
    assert_eq!(last, sums(&job, UNITS));
    // Overleaf, too, a figure has its unit and its heads.
    let cell = table.labelled(&["第88号审批局", "单位名称", "许可（件）", "准予"]);
    assert_eq!(cell.text, "264");
}

/// Where the columns of the table end, in points: the rules of a page.
fn columns(file: &Path) -> Vec<f64> {
    let page = drawn(file, 2);
    // Two begin under a head over three.
    let (_, down) = page_rules(&page, 90);
    assert_eq!(down.len(), 8);
    down.into_iter()
        .map(|x| x as f64 * 72.0 / PPI as f64)
        .collect()
}

#[test]
fn three_thousand_units_are_each_there_once_whole_and_in_order() {
    const UNITS: u64 = 3000;
    let deployment = deployment();
    let job = job(UNITS);
    let file = set(&deployment, &job);
    let columns = columns(&file);
    let column = |word: &Word| columns.partition_point(|&end| end < (word.left + word.right) / 2.0);
    let pages = pdf::words(&file);
    assert!(pages.len() > 60, "{} pages", pages.len());
    let mut read = 0;
    // The words of the columns whose texts take several lines, one after another.
    let (mut units, mut notes) = (String::new(), String::new());
    for (number, page) in (1..).zip(&pages) {
        let on = |text: &str| page.iter().filter(|word| word.text == text).count();
        assert_eq!(on("单位名称"), 1, "the head is on page {number}");
        assert_eq!(on("续表"), usize::from(number > 1), "page {number}");
        let last = number == pages.len();
        // One is in the head.
        assert_eq!(on("合计") - 1, usize::from(last), "page {number}");
        let middle = |word: &Word| (word.top + word.bottom) / 2.0;
        let head = page.iter().find(|word| word.text == "准予").unwrap().bottom;
        let total = page
            .iter()
            .rfind(|word| word.text == "合计")
            .filter(|_| last);
        let end = total.map_or(f64::MAX, |word| word.top - 3.0);
        let mut body: Vec<&Word> = page.iter().collect();
        body.retain(|word| middle(word) > head && middle(word) < end && word.bottom < 740.0);
        let before = read;
        let mut serials: Vec<&Word> = body.clone();
        serials.retain(|word| column(word) == 0);
        serials.sort_by(|a, b| a.top.total_cmp(&b.top));
        for serial in serials {
            read += 1;
            let expected = expected(&job, read);
            assert_eq!(serial.text, expected[0], "page {number}");
            // Figures stand in the middle of their rows, beside the serial number.
            let beside = |at: usize| -> String {
                let own = body.iter().filter(|word| {
                    column(word) == at && (middle(word) - middle(serial)).abs() < 3.0
                });
                own.map(|word| word.text.as_str()).collect()
            };
            for (at, expected) in (2..).zip(&expected[2..8]) {
                assert_eq!(beside(at), *expected, "unit {read}, column {at}");
            }
        }
        body.sort_by(|a, b| (a.top, a.left).partial_cmp(&(b.top, b.left)).unwrap());
        let texts = |at: usize| body.iter().filter(move |word| column(word) == at);
        units.extend(texts(1).map(|word| word.text.as_str()));
        notes.extend(texts(8).map(|word| word.text.as_str()));
        let least = if last { 2 } else { 15 };
        assert!(
            read - before >= least,
            "page {number} has {} rows",
            read - before
        );
        if let Some(total) = total {
            let row = page
                .iter()
                .filter(|word| (middle(word) - middle(total)).abs() < 3.0);
            let row: Vec<&str> = row.map(|word| word.text.as_str()).collect();
            assert_eq!(row, sums(&job, UNITS));
        }
    }
    assert_eq!(read, UNITS);
    let all = |column: usize| -> String {
        (1..=UNITS)
            .map(|number| expected(&job, number)[column].clone())
            .collect()
    };
    assert_eq!(units, all(1));
    assert_eq!(notes, all(8));
}

/// Pixels an inch of the pictures.
const PPI: usize = 150;

/// A page as poppler draws it.
fn drawn(file: &Path, page: usize) -> Picture {
    let (page, ppi) = (page.to_string(), PPI.to_string());
    let arguments = ["-png", "-r", &ppi, "-f", &page, "-l", &page];
    let drawn = Command::new("pdftoppm").args(arguments).arg(file).output();
    Picture::read(&drawn.unwrap().stdout)
}

fn pictures(deployment: &Deployment, job: &Value) -> Vec<Picture> {
    let path = write(deployment, job);
    let pages = deployment.path("pages");
    fs::create_dir_all(&pages).unwrap();
    let (ppi, folder) = (PPI.to_string(), pages.to_str().unwrap());
    let render = [
        "render", &path, "--format", "png", "--ppi", &ppi, "-o", folder,
    ];
    succeeded(&deployment.banshi(&render).output().unwrap());
    let number = |name: &String| -> usize {
        let digits = name.trim_end_matches(".png").rsplit('-').next().unwrap();
        digits.parse().unwrap()
    };
    let mut names = listed(&pages);
    names.sort_by_key(number);
    let read = |name: &String| Picture::read(&fs::read(pages.join(name)).unwrap());
    names.iter().map(read).collect()
}

/// The lines of a picture that are dark over so many hundredths of the longest.
fn rules(
    dark: impl Fn(usize, usize) -> bool,
    along: usize,
    across: usize,
    least: usize,
) -> Vec<usize> {
    let dark = &dark;
    let count = |at: usize| (0..across).filter(move |&x| dark(at, x)).count();
    let most = (0..along).map(count).max().unwrap_or_default();
    let full: Vec<usize> = (0..along)
        .filter(|&at| count(at) * 100 >= most * least)
        .collect();
    // A rule is a few pixels thick.
    full.iter()
        .copied()
        .filter(|at| !full.contains(&at.wrapping_sub(1)))
        .collect()
}

/// The rules of a page's table, from side to side and from its top to its bottom, without the
/// frame at its sides, in pixels.
fn page_rules(page: &Picture, least: usize) -> (Vec<usize>, Vec<usize>) {
    let dark = |x: usize, y: usize| {
        let colour = page.at(x, y);
        colour[..3].iter().map(|&part| u32::from(part)).sum::<u32>() < 3 * 200
    };
    let across = rules(|y, x| dark(x, y), page.height(), page.width, 98);
    let (top, bottom) = (across[0], across[across.len() - 1]);
    let mut down = rules(|x, y| dark(x, y + top), page.width, bottom - top, least);
    down.remove(0);
    down.pop();
    (across, down)
}

#[test]
fn every_border_is_drawn_on_every_page_blank_cells_too() {
    let deployment = deployment();
    let pages = pictures(&deployment, &job(120));
    assert!(pages.len() > 2);
    let mut rows = 0;
    for (number, page) in (1..).zip(&pages) {
        let (across, down) = page_rules(page, 98);
        // The rule under a head over three columns is no rule from side to side.
        rows += across.len() - 2;
        // Of the eight between nine columns two begin under a head over three, and one ends above
        // the label of the totals.
        let last = usize::from(number == pages.len());
        assert_eq!(down.len(), 6 - last, "page {number}: {down:?}");
    }
    // Of the units and of the totals.
    assert_eq!(rows, 121);
}

#[test]
fn what_is_wrong_in_a_row_is_told_by_its_place_and_its_name() {
    let deployment = deployment();
    let mut wrong = job(30);
    let rows = wrong["data"]["units"]["rows"].as_array_mut().unwrap();
    rows[2]["granted"] = json!("九");
    rows[4]["all"] = json!(99);
    rows[5].as_object_mut().unwrap().remove("grade");
    rows[6]["unit"] = json!(7);
    wrong["data"]["units"]["total"]["fees"] = json!("1.00");
    let path = write(&deployment, &wrong);
    let ran = deployment
        .banshi(&["check", "--format", "json", &path])
        .output()
        .unwrap();
    let said: Value = serde_json::from_slice(&ran.stdout).unwrap();
    let told: Vec<String> = said["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|problem| {
            let text = |name: &str| problem[name].as_str().unwrap_or_default().to_owned();
            let zh: String = text("message_zh").chars().take(20).collect();
            format!("{} {} {zh}", text("code"), text("path"))
        })
        .collect();
    assert_eq!(
        told,
        [
            "E-SCHEMA /data/units/rows/2/granted 「第3行（第3号审批局）」「准予」：应为",
            "R-ALL /data/units/rows/4/all 「第5行（第5号审批局）」「合计」为99",
            "E-SCHEMA /data/units/rows/5/grade 「第6行（第6号审批局）」「评价」：缺少",
            "E-SCHEMA /data/units/rows/6/unit 「第7行」「单位名称」：应为文本；无此项",
            "R-UNITS /data/units/total/fees 「收费（万元）」「合计」为1.00，应等",
        ],
        "{said:#}"
    );

    let mut empty = job(1);
    empty["data"]["units"]["rows"] = json!([]);
    let path = write(&deployment, &empty);
    let ran = deployment.banshi(&["check", &path]).output().unwrap();
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(said.contains("want a row at least"), "{said}");
    // What it asks for is taken.
    let names = [
        "unit", "granted", "refused", "all", "fees", "on_time", "grade", "note",
    ];
    let blank: Value = names
        .into_iter()
        .map(|name| (name.to_owned(), Value::Null))
        .collect();
    empty["data"]["units"]["rows"] = json!([blank]);
    let path = write(&deployment, &empty);
    succeeded(&deployment.banshi(&["check", &path]).output().unwrap());
}

#[test]
fn a_list_is_no_longer_than_the_service_takes() {
    let deployment = deployment().with("LIMITS__PARAGRAPHS", "20");
    let path = write(&deployment, &job(21));
    let ran = deployment.banshi(&["check", &path]).output().unwrap();
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(
        said.contains("/data/units/rows") && said.contains("21 rows; this service takes 20"),
        "{said}"
    );
}

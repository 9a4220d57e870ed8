//! `banshi form` and the way back: what a job holds is in its workbook, whoever saves it again;
//! totals and rules calculate in `LibreOffice`; what was typed wrong, or moved, is told by its cell.
//!
//! A workbook does not hold: whether a total was left out or sent (it is always read), whether an
//! optional text was left out or empty, and empty heads at the end of a table in the text.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Read as _, Write as _};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, LazyLock};

use banshi::import::{Imported, RemarkKind, workbook::workbook};
use banshi::report::form::Form;
use banshi::report::{Cell, Editions};
use banshi::typesetter::Templates;
use banshi::workbook::make;
use calamine::{Data, DataType as _, Reader as _, Xlsx};
use serde_json::{Value, json};

use crate::long_lists;
use crate::support::deployment::Deployment;
use crate::support::jobs::{BROKEN, CORPUS, corpus};
use crate::support::{editions, listed, pdf, render, repository, settings};

/// The forms of this build, and one with a list.
fn forms() -> Editions {
    let mut forms = editions();
    let list = Form::parse("unit-permits/1", "form.toml", long_lists::FORM).unwrap();
    forms.insert("unit-permits/1".to_owned(), Arc::new(list));
    forms
}

/// The real reports, the samples of every other document, a list, and what is rare in a cell.
fn jobs() -> BTreeMap<String, Value> {
    let mut jobs: BTreeMap<String, Value> = CORPUS
        .into_iter()
        .map(|name| (name.to_owned(), corpus(name)))
        .collect();
    let templates = Templates::load(None).unwrap();
    for edition in templates.editions() {
        let sample = templates.sample(edition).unwrap();
        let name = edition.name.replace('/', "-");
        jobs.insert(name, serde_json::from_slice(sample).unwrap());
    }
    jobs.insert("permits".to_owned(), long_lists::job(7));
    let mut rare = corpus("pingtan-2021");
    rare["on_violation"] = json!("warn");
    let data = &mut rare["data"];
    data["proactive_disclosure"]["article_20_1"] = json!({
        "rules": { "issued": { "value": 22, "remark": "其中修订16件" }, "repealed": "/", "in_force": null },
        "normative_documents": { "issued": 1, "repealed": "—", "in_force": 1_000_000_000_000_i64 },
    });
    data["proactive_disclosure"]["article_20_8"]["fees"]["amount"] = json!("4.10");
    data["proactive_disclosure"]["notes"] = json!(["注：一。", "注：二，\n两行。"]);
    data["requests"]["introduction"] = json!(["表前一段。", { "heading": "（一）小标题" }]);
    data["requests"]["received"]["business"] = json!("无");
    data["review_and_litigation"]["reconsideration"]["total"] = json!(null);
    data["overview"] = json!([
        "  首尾有空格  ",
        "=1+1",
        "2021",
        { "heading": "一个标题" },
        { "table": {
            "caption": "表1",
            "columns": ["项目", "数量", "备注"],
            "rows": [["甲", 3, ""], ["", "3", "“引号”&<尖括号>"]],
        } },
        { "table": { "columns": ["一"], "rows": [] } },
    ]);
    data["title"] = json!("标题\n两行");
    rare["prior"] = json!({ "carried_out": { "natural_person": 3 }, "in_force": { "rules": 0 } });
    jobs.insert("rare".to_owned(), rare);
    jobs
}

/// The workbook of a job.
fn made(job: &Value) -> Vec<u8> {
    let forms = forms();
    let name = job["template"].as_str().unwrap();
    let made = make(name, &forms[name], job, &BTreeMap::new()).unwrap();
    assert_eq!(made.left, [""; 0], "{}", job["job_id"]);
    made.bytes
}

fn read(bytes: &[u8]) -> Imported {
    workbook(bytes, &forms()).unwrap_or_else(|remark| panic!("{remark:?}"))
}

/// The pointers of the totals that a form computes, in a job.
fn totals(job: &Value) -> Vec<(String, Value)> {
    let forms = forms();
    let bytes = job.to_string();
    let legible = banshi::job::legible(bytes.as_bytes(), &settings().limits, &forms).unwrap();
    let form = &legible.report.form;
    let (_, made) = banshi::report::rules::trace(&legible.report, &legible.prior);
    let computed = form.rules.iter().flat_map(|rule| rule.computed());
    let totals = computed.map(|cell| {
        let place = &form.cells[cell];
        let total = match Cell::of(made[cell].unwrap(), &place.kind) {
            Cell::Number { value, .. } => json!(value),
            Cell::Money(money) => json!(money.text),
            other => panic!("{other:?}"),
        };
        (format!("/data{}", place.pointer), total)
    });
    totals.collect()
}

fn set(job: &mut Value, pointer: &str, value: Value) {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let mut at = &mut *job;
    for name in parent.split('/').skip(1) {
        at = match name.parse::<usize>() {
            Ok(index) if at.is_array() => &mut at[index],
            _ => &mut at[name],
        };
    }
    at[name] = value;
}

/// A job as its workbook holds it: with its totals.
fn held(job: &Value) -> Value {
    let mut held = job.clone();
    for (pointer, total) in totals(job) {
        if job.pointer(&pointer).is_none() {
            set(&mut held, &pointer, total);
        }
    }
    // An optional text without a paragraph is left out.
    if held["data"]["introduction"] == json!([]) {
        held["data"].as_object_mut().unwrap().remove("introduction");
    }
    held
}

/// A job without the totals that a form computes.
fn without_totals(job: &Value) -> Value {
    let mut bare = job.clone();
    for (pointer, _) in totals(job) {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        if let Some(row) = bare.pointer_mut(parent).and_then(Value::as_object_mut) {
            row.remove(name);
        }
        // A row of totals alone is left out whole.
        if bare.pointer(parent) == Some(&json!({}))
            && let Some((above, name)) = parent.rsplit_once('/')
            && let Some(above) = bare.pointer_mut(above).and_then(Value::as_object_mut)
        {
            above.remove(name);
        }
    }
    bare
}

#[track_caller]
fn assert_same(name: &str, found: &Value, expected: &Value) {
    let pretty = |value: &Value| serde_json::to_string_pretty(value).unwrap();
    let (found, expected) = (pretty(found), pretty(expected));
    let differs = found
        .lines()
        .zip(expected.lines())
        .find(|(one, other)| one != other);
    assert!(found == expected, "{name}: {differs:?}");
}

/// The parts of the file.
fn parts(bytes: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).unwrap();
    let mut parts = BTreeMap::new();
    for index in 0..archive.len() {
        let mut file = archive.by_index(index).unwrap();
        let mut content = Vec::new();
        file.read_to_end(&mut content).unwrap();
        parts.insert(file.name().to_owned(), content);
    }
    parts
}

fn file_of(parts: &BTreeMap<String, Vec<u8>>) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in parts {
        let options = zip::write::SimpleFileOptions::default();
        writer.start_file(name, options).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// The file with a part changed.
fn edited(bytes: &[u8], part: &str, edit: impl FnOnce(String) -> String) -> Vec<u8> {
    let mut parts = parts(bytes);
    let text = String::from_utf8(parts[part].clone()).unwrap();
    let new = edit(text.clone());
    assert_ne!(new, text, "{part} was edited");
    parts.insert(part.to_owned(), new.into_bytes());
    file_of(&parts)
}

fn open(bytes: &[u8]) -> Xlsx<Cursor<&[u8]>> {
    Xlsx::new(Cursor::new(bytes)).unwrap()
}

/// The part that holds a sheet of a workbook of ours.
fn part_of(bytes: &[u8], sheet: &str) -> String {
    let names = open(bytes).sheet_names();
    let at = names.iter().position(|name| name == sheet);
    format!(
        "xl/worksheets/sheet{}.xml",
        1 + at.unwrap_or_else(|| panic!("{sheet}"))
    )
}

/// What stands where, as the hidden sheet says: place, what, path.
fn spots(bytes: &[u8]) -> Vec<(String, String, String)> {
    let range = open(bytes).worksheet_range("banshi").unwrap();
    let text = |row: u32, column| {
        range
            .get_value((row, column))
            .map_or_else(String::new, Data::to_string)
    };
    let (rows, _) = range.end().unwrap();
    let spots = (4..=rows).map(|row| {
        let place = format!("{}!{}", text(row, 0), text(row, 1));
        (place, text(row, 2), text(row, 3))
    });
    spots.filter(|(_, what, _)| !what.is_empty()).collect()
}

/// Where a path of the job stands.
fn place(bytes: &[u8], path: &str) -> String {
    let spots = spots(bytes);
    let spot = spots.iter().find(|(_, _, found)| found == path);
    spot.unwrap_or_else(|| panic!("{path}")).0.clone()
}

/// What a cell shows.
fn value(bytes: &[u8], place: &str) -> String {
    let (sheet, cell) = place.split_once('!').unwrap();
    let range = open(bytes).worksheet_range(sheet).unwrap();
    let letters = cell.trim_end_matches(|c: char| c.is_ascii_digit());
    let column = letters.bytes().fold(0, |column, letter| {
        column * 26 + u32::from(letter - b'A') + 1
    });
    let row: u32 = cell[letters.len()..].parse().unwrap();
    range
        .get_value((row - 1, column - 1))
        .map_or_else(String::new, Data::to_string)
}

/// What is typed into a cell.
enum Typed<'a> {
    Number(&'a str),
    Text(&'a str),
    Error(&'a str),
}

/// The workbook with something typed into a cell.
fn typed(bytes: &[u8], place: &str, what: &Typed) -> Vec<u8> {
    let (sheet, cell) = place.split_once('!').unwrap();
    edited(bytes, &part_of(bytes, sheet), |xml| {
        let start = xml
            .find(&format!("<c r=\"{cell}\""))
            .unwrap_or_else(|| panic!("{place}"));
        let tag = start + xml[start..].find('>').unwrap();
        let end = match xml[..tag].ends_with('/') {
            true => tag + 1,
            false => start + xml[start..].find("</c>").unwrap() + "</c>".len(),
        };
        let style = xml[start..tag]
            .split("s=\"")
            .nth(1)
            .unwrap()
            .split('"')
            .next()
            .unwrap();
        let content = match what {
            Typed::Number(number) => format!("><v>{number}</v>"),
            Typed::Text(text) => {
                format!(" t=\"inlineStr\"><is><t xml:space=\"preserve\">{text}</t></is>")
            }
            Typed::Error(error) => format!(" t=\"e\"><v>{error}</v>"),
        };
        format!(
            "{}<c r=\"{cell}\" s=\"{style}\"{content}</c>{}",
            &xml[..start],
            &xml[end..]
        )
    })
}

/// The workbook with 0 for what every formula comes to.
fn uncalculated(bytes: &[u8]) -> Vec<u8> {
    let mut parts = parts(bytes);
    for (_, content) in parts
        .iter_mut()
        .filter(|(name, _)| name.starts_with("xl/worksheets/"))
    {
        let xml = String::from_utf8(content.clone()).unwrap();
        let mut pieces = xml.split("</f><v>");
        let mut new = pieces.next().unwrap().to_owned();
        for piece in pieces {
            let (_, rest) = piece.split_once("</v>").unwrap();
            new.push_str(&format!("</f><v>0</v>{rest}"));
        }
        *content = new.into_bytes();
    }
    file_of(&parts)
}

/// Files as `LibreOffice` makes them of workbooks, every formula calculated anew.
fn office(files: &BTreeMap<String, Vec<u8>>, ending: &str) -> BTreeMap<String, Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let [profile, from, to] = ["profile/user", "from", "to"].map(|name| folder.path().join(name));
    for folder in [&profile, &from, &to] {
        fs::create_dir_all(folder).unwrap();
    }
    fs::write(profile.join("registrymodifications.xcu"), ALWAYS_CALCULATE).unwrap();
    let fonts = folder.path().join("fonts.conf");
    fs::write(
        &fonts,
        FONTS.replace("FOLDER", repository("fonts").to_str().unwrap()),
    )
    .unwrap();
    let mut command = Command::new("soffice");
    command.env("FONTCONFIG_FILE", &fonts);
    let url = format!("file://{}", folder.path().join("profile").display());
    command.args([
        "--headless",
        "--norestore",
        &format!("-env:UserInstallation={url}"),
    ]);
    command.args(["--convert-to", ending, "--outdir", to.to_str().unwrap()]);
    for (name, bytes) in files {
        let path = from.join(format!("{name}.xlsx"));
        fs::write(&path, bytes).unwrap();
        command.arg(path);
    }
    let output = command
        .output()
        .expect("LibreOffice: tests/tools/install test");
    assert!(output.status.success(), "{output:?}");
    let converted = listed(&to).into_iter().map(|name| {
        let bytes = fs::read(to.join(&name)).unwrap();
        (
            Path::new(&name)
                .file_stem()
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned(),
            bytes,
        )
    });
    let converted: BTreeMap<String, Vec<u8>> = converted.collect();
    assert_eq!(converted.len(), files.len(), "{output:?}");
    converted
}

/// The faces of the repository for those that a workbook names.
const FONTS: &str = r#"<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
<dir>FOLDER</dir>
<alias binding="same"><family>宋体</family><prefer><family>Noto Serif CJK SC</family></prefer></alias>
<alias binding="same"><family>黑体</family><prefer><family>Noto Sans CJK SC</family></prefer></alias>
<alias binding="same"><family>楷体</family><prefer><family>LXGW WenKai GB Lite</family></prefer></alias>
</fontconfig>
"#;

const ALWAYS_CALCULATE: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<oor:items xmlns:oor="http://openoffice.org/2001/registry" xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
<item oor:path="/org.openoffice.Office.Calc/Formula/Load"><prop oor:name="OOXMLRecalcMode" oor:op="fuse"><value>0</value></prop></item>
</oor:items>
"#;

/// The report whose workbook a rule is broken in.
const RULED: &str = "pingtan-2023";

/// Every job's workbook, and those of `broken`, as `LibreOffice` saves them: it starts once.
static SAVED: LazyLock<BTreeMap<String, Vec<u8>>> = LazyLock::new(|| {
    let jobs = jobs().into_iter();
    let files = jobs.map(|(name, job)| (name, uncalculated(&made(&without_totals(&job)))));
    let mut files: BTreeMap<String, Vec<u8>> = files.collect();
    files.extend(
        broken()
            .into_iter()
            .map(|(name, bytes)| (name.to_owned(), uncalculated(&bytes))),
    );
    office(&files, "xlsx")
});

/// Workbooks in which somebody types a figure that breaks a rule, or leaves last year's alone.
fn broken() -> BTreeMap<&'static str, Vec<u8>> {
    let mut job = without_totals(&corpus(RULED));
    job["prior"] = json!({ "carried_out": { "business": 5 } });
    job["data"]["requests"]["carried_in"]["business"] = json!(5);
    let whole = made(&job);
    let carried = place(&whole, "/data/requests/carried_in/business");
    let prior = place(&whole, "/prior/carried_out/business");
    BTreeMap::from([
        ("column", typed(&whole, &carried, &Typed::Number("123"))),
        ("prior", typed(&whole, &prior, &Typed::Number("77"))),
    ])
}

#[test]
fn a_job_comes_back_out_of_its_workbook() {
    for (name, job) in jobs() {
        let read = read(&made(&job));
        assert_same(&name, &read.job, &held(&job));
        let unread = read
            .remarks
            .iter()
            .find(|remark| remark.kind == RemarkKind::Unread);
        assert_eq!(unread, None, "{name}");
    }
}

#[test]
fn the_job_is_the_same_after_libreoffice_saved_its_workbook() {
    for (name, job) in jobs() {
        let read = read(&SAVED[&name]);
        let unread = read
            .remarks
            .iter()
            .find(|remark| remark.kind == RemarkKind::Unread);
        assert_eq!(unread, None, "{name}");
        assert_same(&name, &read.job, &held(&without_totals(&job)));
    }
}

#[test]
fn libreoffice_calculates_the_totals_of_the_published_reports() {
    let mut compared = 0;
    for name in CORPUS.into_iter().filter(|name| *name != BROKEN) {
        let job = corpus(name);
        for (pointer, _) in totals(&job) {
            let Some(published) = job.pointer(&pointer).and_then(Value::as_i64) else {
                continue;
            };
            let saved = &SAVED[name];
            assert_eq!(
                value(saved, &place(saved, &pointer)),
                published.to_string(),
                "{name} {pointer}"
            );
            compared += 1;
        }
    }
    assert!(compared > 300, "{compared}");
}

#[test]
fn libreoffice_says_of_every_rule_what_banshi_says() {
    for (name, job) in jobs() {
        let forms = forms();
        let (bare, saved) = (without_totals(&job), &SAVED[&name]);
        let bytes = bare.to_string();
        let legible = banshi::job::legible(bytes.as_bytes(), &settings().limits, &forms).unwrap();
        let (broken, _) = banshi::report::rules::trace(&legible.report, &legible.prior);
        if !open(saved).sheet_names().contains(&"勾稽核对".to_owned()) {
            assert!(broken.is_empty(), "{name}");
            continue;
        }
        let range = open(saved).worksheet_range("勾稽核对").unwrap();
        let text = |row: u32, column| {
            range
                .get_value((row, column))
                .map_or_else(String::new, Data::to_string)
        };
        let (rows, _) = range.end().unwrap();
        let told = (4..=rows).filter(|row| ["不符合", "请核对"].contains(&text(*row, 0).as_str()));
        // The length of a text is no rule of figures.
        let told = told.filter(|row| text(*row, 1) != "W-LENGTH");
        let mut told: Vec<[String; 2]> = told.map(|row| [text(row, 3), text(row, 4)]).collect();
        let mut expected: Vec<[String; 2]> = broken
            .into_iter()
            .map(|(problem, _)| [problem.message_zh, problem.message])
            .collect();
        told.sort();
        expected.sort();
        assert_eq!(told, expected, "{name}");
    }
}

#[test]
fn a_figure_that_breaks_a_rule_is_red_and_the_rule_is_told_in_both_languages() {
    let column = &SAVED["column"];
    let total = place(column, "/data/requests/outcome/total/business");
    let carried = place(column, "/data/requests/carried_in/business");
    assert_eq!(
        red_by(&total, column),
        ["不符合"],
        "R-COLUMN, in its own place"
    );
    let told = value(column, "表三!A2");
    assert!(
        told.contains("不符合3处"),
        "R-COLUMN twice and R-PRIOR: {told}"
    );
    assert!(told.contains("Rules are broken"), "{told}");
    let [zh, en] = messages(column, &total);
    assert!(zh.contains("不符合表内“第一项加第二项之和"), "{zh}");
    assert!(en.contains("the form prints that they are equal"), "{en}");

    // The rule over two sheets.
    let prior = &SAVED["prior"];
    assert_eq!(red_by(&carried, prior), ["不符合"]);
    let [zh, en] = messages(prior, &carried);
    assert!(zh.contains("填5，而上年度") && zh.ends_with("为77"), "{zh}");
    assert!(en.ends_with("was 77"), "{en}");

    let kept = &SAVED[RULED];
    assert_eq!(red_by(&total, kept), [""; 0]);
    assert!(value(kept, "表三!A2").contains("未发现不符"));
}

/// Which words make a cell red, by the formulas of our own workbook and the values of `LibreOffice`.
fn red_by(place: &str, saved: &[u8]) -> Vec<String> {
    let ours = made(&corpus(RULED));
    let (sheet, cell) = place.split_once('!').unwrap();
    let xml = parts(&ours).remove(&part_of(&ours, sheet)).unwrap();
    let xml = String::from_utf8(xml).unwrap();
    let begins = format!("<conditionalFormatting sqref=\"{cell}\">");
    let formats = xml.split(&begins).skip(1);
    let rules = formats.flat_map(|format| {
        let format = format.split("</conditionalFormatting>").next().unwrap();
        format
            .split("<formula>")
            .skip(1)
            .map(|rule| rule.split("</formula>").next().unwrap())
    });
    let rules: Vec<String> = rules
        .map(|rule| rule.replace("&quot;", "\"").replace("&apos;", "'"))
        .collect();
    assert!(!rules.is_empty(), "{place} has a rule");
    let mut red = Vec::new();
    for rule in rules {
        let states = rule
            .strip_prefix("OR(")
            .and_then(|rest| rest.strip_suffix(')'))
            .unwrap();
        for state in states.split(',') {
            let (cell, word) = state.split_once('=').unwrap();
            let word = word.trim_matches('"');
            if value(saved, &cell.replace(['\'', '$'], "")) == word {
                red.push(word.to_owned());
            }
        }
    }
    red
}

/// What is said of the place of a rule.
fn messages(saved: &[u8], place: &str) -> [String; 2] {
    let range = open(saved).worksheet_range("勾稽核对").unwrap();
    let mut rows = range
        .rows()
        .filter(|row| row[2].get_string() == Some(place));
    let row = rows
        .find(|row| row[0].get_string() == Some("不符合"))
        .unwrap();
    [row[3].to_string(), row[4].to_string()]
}

#[test]
fn labels_and_totals_are_locked_and_what_is_filled_in_is_not() {
    let job = without_totals(&corpus("pingtan-2021"));
    let bytes = made(&job);
    let parts = parts(&bytes);
    let text = |name: &str| String::from_utf8(parts[name].clone()).unwrap();
    let styles = text("xl/styles.xml");
    let (_, styles) = styles.split_once("<cellXfs").unwrap();
    let (styles, _) = styles.split_once("</cellXfs>").unwrap();
    let unlocked: Vec<bool> = styles
        .split("<xf ")
        .skip(1)
        .map(|style| style.contains("<protection locked=\"0\""))
        .collect();
    let mut seen = BTreeMap::new();
    for sheet in open(&bytes).sheet_names() {
        let xml = text(&part_of(&bytes, &sheet));
        assert!(xml.contains("<sheetProtection "), "{sheet}");
        assert!(!xml.contains("password="), "{sheet}");
        for (place, what, _) in spots(&bytes) {
            let Some(cell) = place.strip_prefix(&format!("{sheet}!")) else {
                continue;
            };
            let cell = cell.split(':').next().unwrap();
            let (_, rest) = xml.split_once(&format!("<c r=\"{cell}\" s=\"")).unwrap();
            let style: usize = rest.split('"').next().unwrap().parse().unwrap();
            let open = ["value", "text"].contains(&what.as_str());
            assert_eq!(unlocked[style], open, "{place}, a {what}");
            *seen.entry(what).or_insert(0) += 1;
        }
    }
    let kinds: Vec<&str> = seen.keys().map(String::as_str).collect();
    assert_eq!(kinds, ["label", "made", "text", "total", "value"]);
    assert!(seen["value"] > 140, "{seen:?}");
}

#[test]
fn what_is_typed_wrong_is_told_by_its_cell() {
    let mut bytes = made(&corpus("pingtan-2021"));
    let wrong = [
        (
            "/data/requests/received/business",
            Typed::Text("很多"),
            "整数",
        ),
        (
            "/data/requests/received/research",
            Typed::Number("1.5"),
            "小数",
        ),
        (
            "/data/requests/carried_in/business",
            Typed::Number("-3"),
            "整数",
        ),
        (
            "/data/requests/carried_in/research",
            Typed::Error("#REF!"),
            "#REF!",
        ),
        (
            "/data/proactive_disclosure/article_20_8/fees/amount",
            Typed::Text("3元"),
            "金额|小数|万元",
        ),
        ("/data/year", Typed::Text("去年"), "年份"),
        ("/data/issued_on", Typed::Text("2021-02-30"), "日期"),
        ("/job_id", Typed::Text("县 1"), "字母"),
    ];
    let mut places = Vec::new();
    for (path, what, _) in &wrong {
        let place = place(&bytes, path);
        bytes = typed(&bytes, &place, what);
        places.push(place);
    }
    let read = read(&bytes);
    for ((path, _, zh), place) in wrong.iter().zip(&places) {
        let remarks = read.remarks.iter().filter(|remark| remark.place == *place);
        let remarks: Vec<_> = remarks.collect();
        assert_eq!(remarks.len(), 1, "{place}: {remarks:?}");
        assert_eq!(remarks[0].kind, RemarkKind::Unread);
        assert!(
            zh.split('|').any(|zh| remarks[0].zh.contains(zh)),
            "{remarks:?}"
        );
        assert!(remarks[0].en.is_ascii() || !remarks[0].en.is_empty());
        assert_eq!(read.job.pointer(path), None, "{path} is not in the job");
    }
    assert!(places[0].starts_with("表三!"), "{places:?}");
    // What adds them up is not made either, and said so.
    let total = place(&bytes, "/data/requests/received/total");
    assert!(
        read.remarks
            .iter()
            .any(|remark| remark.place == total && remark.zh.contains("合计"))
    );
}

#[test]
fn what_spreadsheets_and_people_make_of_a_figure_is_the_figure() {
    let whole = made(&corpus("pingtan-2021"));
    let count = "/data/requests/received/business";
    let money = "/data/proactive_disclosure/article_20_8/fees/amount";
    for (path, what, expected) in [
        (count, Typed::Number("3.0"), json!(3)),
        (count, Typed::Number("3E0"), json!(3)),
        (count, Typed::Text("3"), json!(3)),
        (count, Typed::Text(" １２ "), json!(12)),
        (count, Typed::Text("1,234"), json!(1234)),
        (
            count,
            Typed::Text("22（其中修订16件）"),
            json!({ "value": 22, "remark": "其中修订16件" }),
        ),
        (
            count,
            Typed::Text("22 (其中修订16件)"),
            json!({ "value": 22, "remark": "其中修订16件" }),
        ),
        (count, Typed::Text("－"), json!("－")),
        (count, Typed::Text(" 无 "), json!("无")),
        (money, Typed::Number("24252.31"), json!("24252.31")),
        (money, Typed::Number("0.30000000000000004"), json!("0.3")),
        (money, Typed::Text("24,252.31"), json!("24252.31")),
        (
            "/data/issued_on",
            Typed::Number("44222"),
            json!("2021-01-26"),
        ),
        (
            "/data/issued_on",
            Typed::Text("2021年1月26日"),
            json!("2021-01-26"),
        ),
        (
            "/data/issued_on",
            Typed::Text("2021/1/26"),
            json!("2021-01-26"),
        ),
        ("/data/year", Typed::Text("２０２１年"), json!(2021)),
    ] {
        let bytes = typed(&whole, &place(&whole, path), &what);
        assert_eq!(read(&bytes).job.pointer(path), Some(&expected), "{path}");
    }
}

#[test]
fn an_empty_cell_is_a_blank_one_and_an_empty_table_is_told() {
    let mut job = corpus("pingtan-2021");
    let fields = job["data"]["requests"]["received"].as_object_mut().unwrap();
    fields.remove("business");
    let bytes = made(&job);
    let place = place(&bytes, "/data/requests/received/business");
    let found = read(&bytes);
    let remark = found
        .remarks
        .iter()
        .find(|remark| remark.place == place)
        .unwrap();
    assert_eq!(remark.kind, RemarkKind::Assumed);
    assert_eq!(
        found.job["data"]["requests"]["received"]["business"],
        json!(null)
    );

    let forms = forms();
    let name = "annual-report/2021";
    let empty = make(name, &forms[name], &json!({}), &BTreeMap::new()).unwrap();
    // What adds nothing shows nothing, and not 0.
    let total = self::place(&empty.bytes, "/data/requests/received/total");
    assert_eq!(value(&empty.bytes, &total), "");
    let found = read(&empty.bytes);
    let unread = found
        .remarks
        .iter()
        .filter(|remark| remark.kind == RemarkKind::Unread);
    let places: Vec<&str> = unread.map(|remark| remark.place.as_str()).collect();
    let head = ["/data/agency", "/data/year"].map(|path| self::place(&empty.bytes, path));
    assert_eq!(places, [&head[0], &head[1], "表二", "表三", "表四"]);
    assert!(found.job["data"].get("requests").is_none());
}

#[test]
fn a_sheet_that_was_changed_is_told_and_not_read() {
    let job = corpus("pingtan-2021");
    let bytes = made(&job);
    let inserted = edited(&bytes, &part_of(&bytes, "表三"), |xml| moved(&xml, 6, 1));
    let deleted = edited(&bytes, &part_of(&bytes, "表三"), |xml| moved(&xml, 7, -1));
    let renamed = edited(&bytes, "xl/workbook.xml", |xml| {
        xml.replace("name=\"表三\"", "name=\"申请\"")
    });
    let relabelled = typed(&bytes, "表三!A4", &Typed::Text("别的"));
    let label = read(&relabelled).remarks.remove(0);
    for (changed, place, en) in [
        (&inserted, "表三!A6", "rows were inserted above it (1)"),
        (&deleted, "表三!B8", "must stand here, and there is"),
        (&renamed, "表三", "it was renamed or removed"),
    ] {
        let read = read(changed);
        let remark = &read.remarks[0];
        assert_eq!(remark.kind, RemarkKind::Unread);
        assert!(remark.en.contains(en), "{remark:?}");
        assert!(remark.place.starts_with("表三"), "{remark:?} {place}");
        assert!(!remark.zh.is_empty());
        let mut expected = job.clone();
        expected["data"].as_object_mut().unwrap().remove("requests");
        assert_same(en, &read.job, &expected);
    }
    assert!(
        label.place.starts_with("表三!") || label.kind == RemarkKind::Unread,
        "{label:?}"
    );

    let foreign = edited(&bytes, "xl/workbook.xml", |xml| {
        xml.replace("name=\"banshi\"", "name=\"b\"")
    });
    let told = workbook(&foreign, &forms()).unwrap_err();
    assert!(told.en.contains("no workbook of `banshi form`"), "{told:?}");
    let told = workbook(b"PK\x03\x04 and no more", &forms()).unwrap_err();
    assert!(told.zh.contains("无法作为.xlsx读取"), "{told:?}");
}

#[test]
fn what_a_workbook_claims_of_itself_is_not_believed() {
    let bytes = made(&corpus("pingtan-2021"));
    let told = |bytes: &[u8]| workbook(bytes, &forms()).unwrap_err().en;
    // Room would be made for all these texts before one is read.
    let many = edited(&bytes, "xl/sharedStrings.xml", |xml| {
        let (before, rest) = xml.split_once("uniqueCount=\"").unwrap();
        let (_, rest) = rest.split_once('"').unwrap();
        format!("{before}uniqueCount=\"99999999999999\"{rest}")
    });
    assert!(told(&many).contains("far larger unpacked"));
    let mut parts = parts(&bytes);
    parts.insert("xl/more.xml".to_owned(), vec![b' '; 256 << 20]);
    assert!(told(&file_of(&parts)).contains("far larger unpacked"));

    // The hidden sheet says what stands where.
    let hidden = |column: &str, text: &str| {
        edited(&bytes, &part_of(&bytes, "banshi"), |xml| {
            // The first that it has below the template and the form's digest.
            let at = xml.find("<row r=\"5\"").unwrap();
            let (before, rest) = xml.split_at(at);
            let (row, rest) = rest.split_once(&format!("<c r=\"{column}")).unwrap();
            let (number, _) = rest.split_once('"').unwrap();
            let (_, after) = rest.split_once("</c>").unwrap();
            let cell =
                format!("<c r=\"{column}{number}\" t=\"inlineStr\"><is><t>{text}</t></is></c>");
            format!("{before}{row}{cell}{after}")
        })
    };
    assert!(told(&hidden("B", "A20:A5")).contains("no workbook of `banshi form`"));
    let far = read(&hidden("D", "/data/lists/rows/9999999999/name"));
    assert!(far.job["data"].get("requests").is_some());
}

/// A sheet with its rows from one on moved down, or up over the one before.
fn moved(xml: &str, from: i64, by: i64) -> String {
    let mut new = String::new();
    let (before, rest) = xml.split_once("<sheetData>").unwrap();
    let (rows, after) = rest.split_once("</sheetData>").unwrap();
    new.push_str(before);
    new.push_str("<sheetData>");
    for row in rows.split_inclusive("</row>") {
        let Some((_, rest)) = row.split_once("<row r=\"") else {
            new.push_str(row);
            continue;
        };
        let number: i64 = rest.split('"').next().unwrap().parse().unwrap();
        match number {
            number if number >= from => {
                let to = number + by;
                let row = row.replace(&format!("<row r=\"{number}\""), &format!("<row r=\"{to}\""));
                let mut cells = String::new();
                for (at, piece) in row.split("<c r=\"").enumerate() {
                    if at == 0 {
                        cells.push_str(piece);
                        continue;
                    }
                    let (cell, rest) = piece.split_once('"').unwrap();
                    let letters = cell.trim_end_matches(|c: char| c.is_ascii_digit());
                    cells.push_str(&format!("<c r=\"{letters}{to}\"{rest}"));
                }
                new.push_str(&cells);
            }
            number if number >= from + by => {}
            _ => new.push_str(row),
        }
    }
    new.push_str("</sheetData>");
    new.push_str(after);
    new
}

#[test]
fn what_stands_beside_the_form_is_told_and_a_changed_total_is_made_anew() {
    let job = corpus("pingtan-2021");
    let bytes = made(&job);
    let total = place(&bytes, "/data/requests/received/total");
    let (sheet, cell) = total.split_once('!').unwrap();
    // A formula that shows something else than what it adds.
    let stale = edited(&bytes, &part_of(&bytes, sheet), |xml| {
        let start = xml.find(&format!("<c r=\"{cell}\"")).unwrap();
        let value = start + xml[start..].find("</f><v>").unwrap();
        let end = value + xml[value..].find("</v>").unwrap();
        format!("{}</f><v>9999{}", &xml[..value], &xml[end..])
    });
    let found = read(&stale);
    assert_same("stale", &found.job, &job);
    let remark = found
        .remarks
        .iter()
        .find(|remark| remark.place == total)
        .unwrap();
    assert!(remark.en.contains("9999"), "{remark:?}");
    // A number instead of the formula is what was typed.
    let over = typed(&bytes, &total, &Typed::Number("7"));
    assert_eq!(
        read(&over).job["data"]["requests"]["received"]["total"],
        json!(7)
    );

    let beside = edited(&bytes, &part_of(&bytes, "表三"), |xml| {
        xml.replacen(
            "</row></sheetData>",
            "<c r=\"Z99\"><v>5</v></c></row></sheetData>",
            1,
        )
    });
    let remarks = read(&beside).remarks;
    assert!(
        remarks.iter().any(|remark| remark.place == "表三!Z99"),
        "{remarks:?}"
    );
}

#[test]
fn texts_are_read_as_rows_and_what_is_none_is_told() {
    let bytes = made(&corpus("pingtan-2021"));
    let range = place(&bytes, "/data/overview");
    let (sheet, range) = range.split_once('!').unwrap();
    let first: u32 = range.split(':').next().unwrap()[1..].parse().unwrap();
    let cell = |column: &str, at: u32| format!("{sheet}!{column}{}", first + at);
    let two = typed(&bytes, &cell("B", 0), &Typed::Text("第一段。\n第二段。"));
    let overview = read(&two).job["data"]["overview"].clone();
    assert_eq!(overview[0], json!("第一段。"));
    assert_eq!(overview[1], json!("第二段。"));
    let word = typed(&bytes, &cell("A", 0), &Typed::Text("脚注"));
    let orphan = typed(&bytes, &cell("A", 0), &Typed::Text("表行"));
    for wrong in [word, orphan] {
        let remarks = read(&wrong).remarks;
        assert!(
            remarks.iter().any(|remark| remark.place == cell("A", 0)),
            "{remarks:?}"
        );
    }
}

#[test]
fn last_years_figures_come_from_its_job_or_its_pdf() {
    let deployment = Deployment::spool();
    let last = corpus("pingtan-2024");
    fs::write(deployment.path("last.json"), last.to_string()).unwrap();
    let pdf = render(&last);
    fs::copy(pdf.path(), deployment.path("last.pdf")).unwrap();
    let mut made = Vec::new();
    for (name, prior) in [("a", "last.json"), ("b", "last.pdf")] {
        let output = format!("{name}.xlsx");
        let arguments = [
            "form",
            "--template",
            "annual-report/2021",
            "--prior",
            prior,
            "-o",
            &output,
        ];
        let ran = deployment.banshi(&arguments).output().unwrap();
        assert!(ran.status.success(), "{ran:?}");
        assert_eq!(ran.stderr, b"");
        made.push(fs::read(deployment.path(&output)).unwrap());
    }
    assert!(made[0] == made[1], "the same figures, the same file");
    let carried = &last["data"]["requests"]["carried_out"];
    for (name, figure) in carried.as_object().unwrap() {
        let figure = figure.as_i64().unwrap().to_string();
        let prior = place(&made[0], &format!("/prior/carried_out/{name}"));
        assert_eq!(value(&made[0], &prior), figure, "{name}");
        // The rule says that this year's begin with it.
        if name != "total" {
            let own = place(&made[0], &format!("/data/requests/carried_in/{name}"));
            assert_eq!(value(&made[0], &own), figure, "{name}");
        }
    }
    let in_force = &last["data"]["proactive_disclosure"]["article_20_1"]["rules"]["in_force"];
    let prior = place(&made[0], "/prior/in_force/rules");
    assert_eq!(value(&made[0], &prior), in_force.to_string());
}

#[test]
fn the_command_says_what_it_wrote_and_what_it_could_not_hold() {
    let deployment = Deployment::spool();
    let mut job = corpus("pingtan-2021");
    job["data"]["requests"]["received"]["business"] = json!("很多");
    job["data"]["surprise"] = json!(1);
    fs::write(deployment.path("job.json"), job.to_string()).unwrap();
    let run = |arguments: &[&str]| {
        let ran = deployment.banshi(arguments).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (ran.status.code(), text(ran.stdout), text(ran.stderr))
    };
    let (code, said, told) = run(&["form", "--job", "job.json", "-o", "a.xlsx"]);
    assert_eq!(code, Some(0), "{told}");
    assert!(said.starts_with("wrote a.xlsx: "), "{said}");
    assert!(
        told.contains("/data/requests/received/business: "),
        "{told}"
    );
    assert!(told.contains("/data/surprise: "), "{told}");
    assert_eq!(told.lines().count(), 2, "{told}");
    run(&["form", "--job", "job.json", "-o", "b.xlsx"]);
    let files = ["a.xlsx", "b.xlsx"].map(|name| fs::read(deployment.path(name)).unwrap());
    assert!(files[0] == files[1], "the same input, the same bytes");
    for (arguments, expected) in [
        (
            &["form", "--template", "annual-report/1999", "-o", "c.xlsx"][..],
            2,
        ),
        (&["form", "-o", "c.xlsx"], 2),
        (
            &[
                "form",
                "--template",
                "annual-report/2019",
                "--job",
                "job.json",
                "-o",
                "c.xlsx",
            ],
            2,
        ),
        (&["form", "--job", "a.xlsx", "-o", "c.xlsx"], 1),
        (&["form", "--job", "none.json", "-o", "c.xlsx"], 3),
    ] {
        let (code, _, told) = run(arguments);
        assert_eq!(code, Some(expected), "{arguments:?}: {told}");
        assert!(!deployment.path("c.xlsx").exists());
    }
}

/// `make workbook-picture` draws the picture of the documentation so: one table of a report.
#[test]
fn a_workbook_prints_a_table_a_page() {
    let mut job = without_totals(&corpus(RULED));
    job["data"]["requests"]["carried_in"]["business"] = json!(2);
    let files = BTreeMap::from([("report".to_owned(), made(&job))]);
    let pdf = office(&files, "pdf").remove("report").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.pdf");
    fs::write(&path, pdf).unwrap();
    let pages: Vec<String> = pdf::pages(&path)
        .into_iter()
        .map(|lines| lines.concat())
        .collect();
    let page = |heading: &str| {
        let found = (0..pages.len())
            .filter(|at| pages[*at].contains(heading) && pages[*at].contains("勾稽关系："))
            .collect::<Vec<_>>();
        assert_eq!(found.len(), 1, "{heading} on {found:?}");
        found[0]
    };
    // Each official table is whole on its page.
    for (heading, last) in [
        ("二、主动公开政府信息情况", "行政事业性收费"),
        (
            "三、收到和处理政府信息公开申请情况",
            "四、结转下年度继续办理",
        ),
        ("四、政府信息公开行政复议", "复议后起诉"),
    ] {
        let text: String = pages[page(heading)].split_whitespace().collect();
        assert!(text.contains(last), "{heading}: {text}");
    }
    #[expect(
        clippy::disallowed_methods,
        reason = "`make workbook-picture` says where"
    )]
    let target = std::env::var("WORKBOOK_PICTURE");
    if let Ok(target) = target {
        let number = (page("三、收到和处理政府信息公开申请情况") + 1).to_string();
        let stem = repository(&target).with_extension("");
        let drawn = Command::new("pdftoppm")
            .args([
                "-png",
                "-singlefile",
                "-r",
                "72",
                "-f",
                &number,
                "-l",
                &number,
            ])
            .args([&path, &stem])
            .status();
        assert!(drawn.unwrap().success());
    }
}

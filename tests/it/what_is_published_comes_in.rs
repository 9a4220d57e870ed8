//! What is published comes in: a PDF of banshi, a report as text or as a web page becomes the job
//! that it was made of, and what cannot be read is told and never made up. Last year's report, in
//! any of these forms, is held against this year's.

use std::io::Write as _;
use std::process::{Command, Stdio};

use banshi::import::{self, Reading, RemarkKind, Unusable};
use serde_json::{Value, json};

use crate::support::jobs::{BROKEN, CORPUS, corpus};
use crate::support::official::{APPLICANTS, FORMS, Form, Kind, Line, RESULTS, REVIEW_GROUPS};
use crate::support::{BANSHI, check, editions, render, repository};

/// The texts of the official headings.
const HEADINGS: [(&str, &str); 6] = [
    ("overview", "一、总体情况"),
    ("proactive_disclosure", "二、主动公开政府信息情况"),
    ("requests", "三、收到和处理政府信息公开申请情况"),
    (
        "review_and_litigation",
        "四、政府信息公开行政复议、行政诉讼情况",
    ),
    ("problems_and_improvements", "五、存在的主要问题及改进情况"),
    ("other_matters", "六、其他需要报告的事项"),
];

fn intake(name: &str) -> Vec<u8> {
    std::fs::read(repository(&format!("tests/intake/{name}"))).expect("a published report")
}

fn read(bytes: &[u8]) -> Result<Reading, Unusable> {
    import::read(bytes, Some("job"), None, &editions())
}

/// The job and its remarks, `PLACE: what`, of a text that can be read.
fn imported(bytes: &[u8]) -> (Value, Vec<String>) {
    let reading = read(bytes).unwrap_or_else(|why| panic!("{why}"));
    let remarks = reading.imported.remarks.iter();
    let remarks = remarks.map(|remark| {
        let kind = match remark.kind {
            RemarkKind::Unread => "unread",
            RemarkKind::Assumed => "assumed",
        };
        assert!(
            !remark.zh.is_ascii() && !remark.place.is_empty(),
            "{remark:?}"
        );
        format!("{kind} {}: {}", remark.place, remark.en)
    });
    let remarks = remarks.collect();
    (reading.imported.job, remarks)
}

/// Where two values differ, and what they have there.
fn differences(pointer: &str, one: &Value, other: &Value) -> Vec<String> {
    match (one, other) {
        (Value::Object(a), Value::Object(b)) => {
            let names = a
                .keys()
                .chain(b.keys().filter(|name| !a.contains_key(*name)));
            let none = Value::Null;
            names
                .flat_map(|name| {
                    let pointer = format!("{pointer}/{name}");
                    match (a.get(name), b.get(name)) {
                        (Some(a), Some(b)) => differences(&pointer, a, b),
                        (a, b) => {
                            let (a, b) = (a.unwrap_or(&none), b.unwrap_or(&none));
                            vec![format!("{pointer}: {a} and {b}")]
                        }
                    }
                })
                .collect()
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => (0..)
            .zip(a.iter().zip(b))
            .flat_map(|(at, (a, b))| differences(&format!("{pointer}/{at}"), a, b))
            .collect(),
        (a, b) if a == b => Vec::new(),
        (a, b) => vec![format!("{pointer}: {a} and {b}")],
    }
}

/// What an import of a published report differs in from the job that was made of it by hand.
fn against_corpus(name: &str, job: &Value) -> Vec<String> {
    let expected = corpus(name);
    assert_eq!(job["template"], expected["template"], "{name}");
    differences("", &job["data"], &expected["data"])
}

#[test]
fn the_document_that_it_began_with_comes_back_from_its_text_as_its_job() {
    let text = intake("zibo-bigdata-2020.txt");
    let reading = import::read(&text, None, Some("zibo-bigdata-2020"), &editions());
    let reading = reading.unwrap_or_else(|why| panic!("{why}"));
    assert_eq!(reading.imported.job, corpus("zibo-bigdata-2020"));
    // What the text does not hold: the id of a job.
    let remarks: Vec<(&str, RemarkKind)> = reading
        .imported
        .remarks
        .iter()
        .map(|remark| (remark.place.as_str(), remark.kind))
        .collect();
    assert_eq!(remarks, [("/job_id", RemarkKind::Assumed)]);
    // Every cell and every paragraph has its place.
    let cell = "/data/proactive_disclosure/article_20_9/procurement/amount";
    let taken = reading
        .taken
        .iter()
        .find(|taken| taken.pointer == cell)
        .expect("a cell");
    assert_eq!(
        (taken.text.as_str(), taken.place.as_str()),
        ("2823.12万", "line 81")
    );
    assert!(taken.label.contains("采购总金额"), "{}", taken.label);
}

/// How a table is flattened to text.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Flat {
    /// A cell a line, after a tab; rows are parted by an empty line.
    Cells,
    /// The same without tabs and empty lines: blank cells are lost.
    Bare,
    /// A row a line, its cells parted by tabs.
    Tabs,
    /// A row a line, its cells parted by spaces.
    Spaces,
}

/// A published report as text.
fn published(job: &Value, flat: Flat) -> String {
    let data = &job["data"];
    let form = FORMS
        .into_iter()
        .find(|form| job["template"] == form.name)
        .expect("a form");
    let agency = data["agency"].as_str().expect("an agency");
    let title = match data["title"].as_str() {
        Some(title) => title.to_owned(),
        None => format!("{agency}{}年政府信息公开工作年度报告", data["year"]),
    };
    let mut text = format!("{title}\n\n");
    let prose = |text: &mut String, blocks: &Value| {
        for block in blocks.as_array().into_iter().flatten() {
            let line = block
                .as_str()
                .or(block["heading"].as_str())
                .expect("a line");
            text.push_str(&format!("    {line}\n"));
        }
    };
    prose(&mut text, &data["introduction"]);
    for (field, heading) in HEADINGS {
        text.push_str(&format!("{heading}\n"));
        let section = &data[field];
        match field {
            "proactive_disclosure" => text.push_str(&flattened(&disclosure(form, section), flat)),
            "requests" => text.push_str(&flattened(&requests(form, section), flat)),
            "review_and_litigation" => text.push_str(&flattened(&review(section), flat)),
            _ => prose(&mut text, section),
        }
    }
    if let Some(date) = data["issued_on"].as_str() {
        let mut parts = date.split('-').map(|part| part.trim_start_matches('0'));
        let mut part = || parts.next().expect("a date");
        let date = format!("{}年{}月{}日", part(), part(), part());
        text.push_str(&format!("\n              {agency}\n              {date}\n"));
    }
    text
}

fn flattened(rows: &[Vec<String>], flat: Flat) -> String {
    let line = |row: &Vec<String>| match flat {
        Flat::Cells => {
            row.iter()
                .map(|cell| format!("\t{cell}\n"))
                .collect::<String>()
                + "\n"
        }
        Flat::Bare => {
            let cells = row.iter().filter(|cell| !cell.is_empty());
            cells.map(|cell| format!("{cell}\n")).collect()
        }
        Flat::Tabs => format!("{}\n", row.join("\t")),
        Flat::Spaces => format!("  {}\n", row.join("   ")),
    };
    rows.iter().map(line).collect()
}

fn shown(value: &Value, kind: Kind) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        number => match (number.as_i64(), kind) {
            (Some(change @ 1..), Kind::Change) => format!("+{change}"),
            _ => number.to_string(),
        },
    }
}

fn row(label: &str, cells: impl IntoIterator<Item = String>) -> Vec<String> {
    std::iter::once(label.to_owned()).chain(cells).collect()
}

fn disclosure(form: &Form, section: &Value) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for band in form.disclosure {
        rows.push(row(band.label, []));
        rows.push(row(
            "信息内容",
            band.figures.iter().map(|figure| figure.name()),
        ));
        for item in band.items {
            let cells = &section[band.field][item.field];
            let figures = band.figures.iter();
            let figures = figures.map(|figure| shown(&cells[figure.field], figure.kind));
            rows.push(row(item.label, figures));
        }
    }
    rows
}

fn requests(form: &Form, section: &Value) -> Vec<Vec<String>> {
    let corner = "（本列数据的勾稽关系为：第一项加第二项之和，等于第三项加第四项之和）";
    let strings = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    let mut rows: Vec<Vec<String>> = vec![
        strings(&[corner, "申请人情况"]),
        strings(&["", "自然人", "法人或其他组织", "总计"]),
        strings(&[
            "",
            "",
            "商业企业",
            "科研机构",
            "社会公益组织",
            "法律服务机构",
            "其他",
            "",
        ]),
    ];
    fn walk(lines: &[Line], before: &[String], section: &Value, rows: &mut Vec<Vec<String>>) {
        // A group's label stands in its first row, and a blank cell under it.
        let mut before = before.to_vec();
        for line in lines {
            match line {
                Line::Row { field, label } => {
                    let figures = APPLICANTS.iter();
                    let figures =
                        figures.map(|(kind, _)| shown(&section[*field][*kind], Kind::Count));
                    let labels = before.iter().cloned().chain([(*label).to_owned()]);
                    rows.push(labels.chain(figures).collect());
                }
                Line::Group {
                    field,
                    label,
                    lines,
                } => {
                    let labels = [&before[..], &[(*label).to_owned()]].concat();
                    walk(lines, &labels, &section[*field], rows);
                }
            }
            before.iter_mut().for_each(String::clear);
        }
    }
    walk(form.requests, &[], section, &mut rows);
    rows
}

fn review(section: &Value) -> Vec<Vec<String>> {
    let strings = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    let results: Vec<&str> = RESULTS.iter().map(|(_, label)| *label).collect();
    let groups = ["未经复议直接起诉", "复议后起诉"];
    let cells = REVIEW_GROUPS.iter().flat_map(|(pointer, _)| {
        let group = section.pointer(pointer).expect("a group");
        RESULTS
            .iter()
            .map(|(field, _)| shown(&group[*field], Kind::Count))
    });
    vec![
        strings(&["行政复议", "行政诉讼"]),
        strings(&[&results[..], &groups].concat()),
        strings(&[&[""; 5][..], &results, &results].concat()),
        cells.collect(),
    ]
}

/// Columns, as a terminal has them.
fn columns(text: &str) -> usize {
    text.chars().map(|c| if c.is_ascii() { 1 } else { 2 }).sum()
}

/// A paragraph over lines of so many columns at most, where a word of Latin letters stays whole and
/// no line begins with a mark.
fn broken(paragraph: &str, indent: &str, width: usize) -> Vec<String> {
    let (mut lines, mut line) = (Vec::new(), indent.to_owned());
    let mut words: Vec<String> = Vec::new();
    for c in paragraph.chars() {
        let latin = |c: char| c.is_ascii_graphic();
        let stays = |word: &String| {
            "，。、；：！？）》”".contains(c)
                || word.chars().all(|it| "（《“".contains(it))
                || latin(c) && word.ends_with(latin)
        };
        match words.last_mut().filter(|word| stays(word)) {
            Some(word) => word.push(c),
            None => words.push(c.to_string()),
        }
    }
    for word in words {
        if columns(&line) + columns(&word) > width {
            lines.push(std::mem::take(&mut line));
        }
        if word != " " || !line.is_empty() {
            line.push_str(&word);
        }
    }
    lines.push(line);
    lines
}

#[test]
fn paragraphs_that_were_broken_over_lines_come_back_whole() {
    // But for the one whose texts are a word each.
    for name in CORPUS.into_iter().filter(|name| *name != BROKEN) {
        let whole = published(&corpus(name), Flat::Cells);
        let (expected, before) = imported(whole.as_bytes());
        for (width, indent) in [(60, "    "), (78, "　　"), (80, "   \n")] {
            let mut text = String::new();
            for line in whole.lines() {
                match (line.strip_prefix("    "), indent.strip_suffix('\n')) {
                    (None, _) => text += &format!("{line}\n"),
                    (Some(line), _) if line.starts_with(' ') => text += &format!("    {line}\n"),
                    (Some(line), None) => {
                        text += &(broken(line, indent, width).join("\n") + "\n");
                    }
                    // All of it begins at one column, and a paragraph ends with an empty line.
                    (Some(line), Some(indent)) => {
                        let lines = broken(line, "", width - indent.len());
                        let lines = lines.iter().map(|line| format!("{indent}{line}\n"));
                        text += &(lines.collect::<String>() + "\n");
                    }
                }
            }
            let (read, remarks) = imported(text.as_bytes());
            let bare = |job: &Value| job.to_string().replace(' ', "");
            let differs = differences("", &read, &expected);
            assert_eq!(
                bare(&read),
                bare(&expected),
                "{name}, {width}: {differs:#?}"
            );
            let told = |remark: &String| remark.contains("are broken over lines");
            assert!(remarks.iter().any(told), "{name}: {remarks:#?}");
            let others = remarks.iter().filter(|it| !told(it)).count();
            assert_eq!(others, before.len(), "{name}, {width}: {remarks:#?}");
        }
    }
}

#[test]
fn every_real_report_comes_back_from_its_text_however_its_tables_were_flattened() {
    for name in CORPUS {
        let job = corpus(name);
        for flat in [Flat::Cells, Flat::Bare, Flat::Tabs, Flat::Spaces] {
            let (read, remarks) = imported(published(&job, flat).as_bytes());
            let mut expected = Vec::new();
            let mut told = Vec::new();
            if job["data"]["title"].is_null() {
                let title = &read["data"]["title"];
                expected.push(format!("/title: {title} and null"));
            }
            if job["data"]["introduction"] == json!([]) {
                expected.push("/introduction: null and []".to_owned());
            }
            if name == "shanghai-science-2024" {
                // Its title has the agency's short name, and nobody signs; headings of its own are
                // sent as paragraphs.
                expected.push("/agency: \"上海市科委\" and \"上海市科学技术委员会\"".to_owned());
                let headings = [1, 4, 6, 8, 10].map(|at| {
                    let text = &job["data"]["overview"][at];
                    format!("/overview/{at}: {{\"heading\":{text}}} and {text}")
                });
                expected.extend(headings);
                if matches!(flat, Flat::Bare | Flat::Spaces) {
                    // A blank total, and nothing left where it stood.
                    let row = &job["data"]["requests"]["carried_out"];
                    let cells = row.as_object().expect("a row").iter();
                    expected.extend(cells.map(|(cell, value)| {
                        format!("/requests/carried_out/{cell}: null and {value}")
                    }));
                    told.push("「四、结转下年度继续办理」 has 6 figures here and 7 in the form");
                }
            }
            let mut found = against_corpus(name, &read);
            found.sort();
            expected.sort();
            assert_eq!(found, expected, "{name}, {flat:?}: {remarks:#?}");
            assert_eq!(remarks.len(), told.len(), "{name}, {flat:?}: {remarks:#?}");
            for (remark, told) in remarks.iter().zip(told) {
                assert!(remark.contains(told), "{remark}");
            }
        }
    }
}

#[test]
fn a_page_out_of_word_comes_in() {
    let page = intake("word.html");
    assert!(std::str::from_utf8(&page).is_err(), "it is in GBK");
    let (job, remarks) = imported(&page);
    assert_eq!(against_corpus("pingtan-2019", &job), [""; 0]);
    assert_eq!(remarks, [""; 0]);
}

#[test]
fn a_page_of_a_content_management_system_comes_in() {
    let (job, remarks) = imported(&intake("cms.html"));
    assert_eq!(against_corpus("pingtan-2023", &job), [""; 0]);
    assert_eq!(remarks, [""; 0]);
}

#[test]
fn a_page_that_is_one_table_with_pictures_for_headings_comes_in() {
    let (job, remarks) = imported(&intake("layout.html"));
    assert_eq!(against_corpus("hongze-2024", &job), [""; 0]);
    let [site] = remarks.as_slice() else {
        panic!("{remarks:#?}");
    };
    assert!(site.contains("it is taken to be the site's"), "{site}");
}

#[test]
fn a_pdf_comes_back_as_its_job() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut prior = corpus("pingtan-2024");
    prior["prior"] = json!({ "in_force": { "rules": 0 } });
    let mut broken = corpus(BROKEN);
    broken["on_violation"] = json!("warn");
    for (job, held) in [
        (corpus("zibo-bigdata-2020"), true),
        (corpus("shanghai-science-2024"), true),
        (broken, true),
        (prior, false),
    ] {
        let rendered = render(&job);
        let pdf = std::fs::read(rendered.path()).expect("the PDF");
        // Its content says what it is, not its name.
        let path = folder.path().join("report.txt");
        std::fs::write(&path, &pdf).expect("a file");
        let output = Command::new(BANSHI)
            .arg("import")
            .arg(&path)
            .output()
            .expect("it starts");
        let read: Value = serde_json::from_slice(&output.stdout).expect("a job");
        let said = String::from_utf8_lossy(&output.stderr);
        let mut expected = job.clone();
        if held {
            assert_eq!((output.status.code(), &*said), (Some(0), ""));
        } else {
            expected.as_object_mut().expect("a job").remove("prior");
            assert_eq!(output.status.code(), Some(1));
            assert!(said.starts_with("unread /prior: "), "{said}");
        }
        assert_eq!(read, expected);
    }
}

/// The seed's text, with one text for another.
fn changed(from: &str, to: &str) -> Vec<u8> {
    let text = String::from_utf8(intake("zibo-bigdata-2020.txt")).expect("UTF-8");
    assert!(text.contains(from), "{from}");
    text.replacen(from, to, 1).into_bytes()
}

#[test]
fn what_cannot_be_read_is_told_with_its_place_and_is_not_made_up() {
    let missing = |job: &Value| -> Vec<String> {
        let refused = check(job.to_string().as_bytes());
        let problems =
            refused.map_or_else(|refusal| refusal.rejection.into_problems(), |_| Vec::new());
        problems.into_iter().map(|problem| problem.path).collect()
    };
    // A word where a figure was, a figure lost, a row lost, and a whole table.
    let licensing = "/data/proactive_disclosure/article_20_5/licensing";
    let (job, remarks) = imported(&changed(
        "行政许可\n\t0\n\t0\n\t0",
        "行政许可\n\t0\n\t约5\n\t0",
    ));
    assert!(
        remarks[0].starts_with("unread line 38: ") && remarks[0].contains("约5"),
        "{remarks:?}"
    );
    assert_eq!(missing(&job), [format!("{licensing}/change")]);

    let (job, remarks) = imported(&changed("行政许可\n\t0\n\t0\n\t0", "行政许可\n\t0\n\t0"));
    assert!(
        remarks[0].contains("「行政许可」 has 2 figures here and 3"),
        "{remarks:?}"
    );
    assert_eq!(missing(&job).len(), 3);

    let (job, remarks) = imported(&changed("\t行政许可\n\t0\n\t0\n\t0\n", ""));
    assert!(
        remarks[0].contains("「行政许可」 is not found"),
        "{remarks:?}"
    );
    assert_eq!(missing(&job).len(), 3);

    let text = String::from_utf8(intake("zibo-bigdata-2020.txt")).expect("UTF-8");
    let (before, rest) = text
        .split_once("政府信息公开行政复议、行政诉讼情况\n")
        .expect("a heading");
    let (_, after) = rest.split_once("五、").expect("a heading");
    let (job, remarks) = imported(format!("{before}五、{after}").as_bytes());
    assert!(
        remarks[0].contains("heading 「四、政府信息公开行政复议、行政诉讼情况」 is not found"),
        "{remarks:?}"
    );
    assert_eq!(missing(&job), ["/data/review_and_litigation"]);

    // A character that was cut.
    let mut cut = changed("紧密联系当前大数据工作实际", "紧密联系当前大数据工作实际");
    let at = cut
        .windows(3)
        .position(|three| three == "紧".as_bytes())
        .expect("it is there");
    cut.remove(at + 1);
    let (job, remarks) = imported(&cut);
    assert!(
        remarks[0].starts_with("unread line 8: a character was lost"),
        "{remarks:?}"
    );
    assert_eq!(missing(&job), ["/data/overview/0"]);

    // A row that the form has not.
    let row = "\t规范性文件\n\t0\n\t0\n\t0\n";
    let (job, remarks) = imported(&changed(
        row,
        &format!("{row}\t其他主动公开文件\n\t7\n\t8\n\t9\n"),
    ));
    let unread: Vec<&String> = remarks
        .iter()
        .filter(|said| said.starts_with("unread"))
        .collect();
    assert!(
        unread[0].contains("“其他主动公开文件” has no place in the form"),
        "{remarks:?}"
    );
    assert_eq!(against_corpus("zibo-bigdata-2020", &job), [""; 0]);
    assert!(
        unread.len() == 4,
        "its figures are no other row's: {remarks:?}"
    );
}

#[test]
fn what_was_assumed_is_told() {
    for (from, to, told) in [
        (
            "其他法律行政法规禁止公开",
            "其他法律行政止公开",
            "is taken for 「2.其他法律行政法规禁止公开」",
        ),
        ("\n\t科研机构", "", "the head 「科研机构」 is not here"),
        (
            "\t商业企业\n\t科研机构",
            "\t科研机构\n\t商业企业",
            "in another order",
        ),
        (
            "\t行政许可\n\t0",
            "\t行政许可\n\t0件",
            "“0件” is taken for 0",
        ),
        (
            "\n五、存在的主要问题及改进情况\n",
            "\n",
            "what follows the table is taken for it",
        ),
        (
            "\n    一、总体情况\n",
            "\n",
            "all text before the first table is taken for it",
        ),
        (
            "2020年政府信息公开\n",
            "2022年政府信息公开\n",
            "its tables are those of annual-report/2019",
        ),
    ] {
        let (_, remarks) = imported(&changed(from, to));
        let [remark] = remarks.as_slice() else {
            panic!("{to}: {remarks:#?}");
        };
        assert!(
            remark.starts_with("assumed ") && remark.contains(told),
            "{remark}"
        );
    }
    // The unit of a head is the unit of its figures.
    let text = changed(
        "采购总金额\n\n\t政府集中采购\n\t4\n\t2823.12万",
        "采购总金额（万元）\n\n\t政府集中采购\n\t4\n\t2823.12",
    );
    let (job, remarks) = imported(&text);
    let amount = &job["data"]["proactive_disclosure"]["article_20_9"]["procurement"]["amount"];
    assert_eq!(amount, "2823.12万元");
    assert_eq!(remarks.len(), 1, "{remarks:?}");
}

#[test]
fn other_processing_in_one_row_is_divided_only_where_it_is_nothing() {
    let text = published(&corpus("hongze-2024"), Flat::Tabs);
    let lines = text.lines().filter(|line| {
        !["1.申请人无正当理由", "2.申请人逾期未按"]
            .iter()
            .any(|label| line.contains(label))
    });
    let lines: Vec<String> = lines
        .map(|line| line.replace("\t3.其他", "（六）其他处理"))
        .collect();
    let text = lines.join("\n");
    let (job, remarks) = imported(text.as_bytes());
    assert_eq!(against_corpus("hongze-2024", &job), [""; 0], "{remarks:?}");
    assert!(
        remarks[0].contains("is one row here and 3 in the form; all of them are 0"),
        "{remarks:?}"
    );
    assert_eq!(remarks.len(), 1, "{remarks:?}");

    let text = text.replace("（六）其他处理\t0", "（六）其他处理\t4");
    let (job, remarks) = imported(text.as_bytes());
    assert!(
        remarks[0].contains("how its figures are divided is not said"),
        "{remarks:?}"
    );
    assert_eq!(
        job["data"]["requests"]["outcome"]["other"]["other"],
        json!({})
    );
}

#[test]
fn a_file_that_is_no_report_is_refused_in_words_and_costs_no_more_than_its_bytes() {
    let whole = String::from_utf8(intake("layout.html")).expect("UTF-8");
    let spans = whole.replace("<TD>", "<TD colspan=1000000000 rowspan=1000000000>");
    let (job, _) = imported(spans.as_bytes());
    assert_eq!(against_corpus("hongze-2024", &job), [""; 0]);
    for end in (0..whole.len())
        .step_by(997)
        .filter(|&end| whole.is_char_boundary(end))
    {
        // Cut anywhere it is read as far as it goes, or refused.
        drop(read(&whole.as_bytes()[..end]));
    }
    let many = 2_000_000;
    let attributes: String = (0..500_000).map(|n| format!(" a{n}=1")).collect();
    let seed = String::from_utf8(intake("zibo-bigdata-2020.txt")).expect("UTF-8");
    let workbook = b"PK\x03\x04\x14\0\x01\0".to_vec();
    for (what, bytes, en) in [
        ("empty", Vec::new(), "it is empty"),
        ("zeros", vec![0; 1 << 20], "no text in UTF-8"),
        (
            "garbage",
            (0..1 << 20)
                .map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
                .collect(),
            "no text in UTF-8",
        ),
        ("large", vec![b'a'; 100 << 20], "larger than 64 MiB"),
        (
            "a job",
            b"{\"job_id\": 1}".to_vec(),
            "`banshi check` takes it",
        ),
        ("a picture", b"\x89PNG\r\n\x1a\n".to_vec(), "a picture"),
        (
            "old Word",
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1".to_vec(),
            "with a password",
        ),
        ("encrypted", workbook, "no .xlsx"),
        (
            "another PDF",
            b"%PDF-1.4\n1 0 obj\n<<>>\nendobj\nstartxref\n9\n".to_vec(),
            "not written as banshi",
        ),
        (
            "a PDF without end",
            [b"%PDF-1.4".to_vec(), vec![b'['; 1 << 20]].concat(),
            "not written as banshi",
        ),
        (
            "a novel",
            "很久以前。\n".repeat(1000).into_bytes(),
            "in no form that this build knows",
        ),
        ("lines", "a\n".repeat(many).into_bytes(), "no report has"),
        ("cells", "0\t".repeat(many).into_bytes(), "no report has"),
        (
            "tabs",
            format!("a\n{}", "\t".repeat(many)).into_bytes(),
            "no report has",
        ),
        (
            "table cells",
            format!("<table>{}", "<td>".repeat(many)).into_bytes(),
            "no report has",
        ),
        (
            "paragraphs",
            "<p>a".repeat(many).into_bytes(),
            "no report has",
        ),
        (
            "nested tables",
            "<table><tr><td>".repeat(100_000).into_bytes(),
            "tables stand in each other",
        ),
        (
            "nested tags",
            "<div>".repeat(many).into_bytes(),
            "in no form",
        ),
        (
            "unclosed tags",
            "<b><i><font>".repeat(many / 3).into_bytes(),
            "in no form",
        ),
        (
            "a tag without end",
            format!("<p {}", "a".repeat(many)).into_bytes(),
            "in no form",
        ),
        (
            "attributes",
            format!("<p{attributes}>").into_bytes(),
            "in no form",
        ),
        (
            "an unclosed comment",
            format!("<p><!--{}", seed.repeat(10)).into_bytes(),
            "in no form",
        ),
        (
            "entities",
            format!("<p>{}", "&#x4e00;".repeat(many / 4)).into_bytes(),
            "in no form",
        ),
    ] {
        let why = read(&bytes).expect_err(what);
        assert!(why.en.contains(en) && !why.zh.is_ascii(), "{what}: {why}");
    }
    // A report, and a great deal more after it: labels are looked for where the tables are.
    let noise = "行政许\n".repeat(100_000);
    let (job, _) = imported(format!("{seed}{noise}").as_bytes());
    assert_eq!(against_corpus("zibo-bigdata-2020", &job), [""; 0]);
    let inside = seed.replacen("\t规章\n", &format!("{noise}\t规章\n"), 1);
    let (_, remarks) = imported(inside.as_bytes());
    assert!(!remarks.is_empty());
}

/// Runs the program, with a text on its standard input; gives code, standard output and error.
fn ran(arguments: &[&str], input: &[u8]) -> (Option<i32>, String, String) {
    let mut child = Command::new(BANSHI)
        .args(arguments)
        .env("BANSHI__FONTS__DIR", repository("fonts"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    // It may leave before it has read all.
    drop(stdin.write_all(input));
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn import_says_by_its_exit_code_whether_all_was_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = intake("zibo-bigdata-2020.txt");
    let (code, out, err) = ran(&["import", "--job-id", "zibo-bigdata-2020", "-"], &text);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    // Its fields are in the order of the form.
    let names = [
        "\"job_id\"",
        "\"template\"",
        "\"agency\"",
        "\"introduction\"",
        "\"requests\"",
        "\"received\"",
        "\"natural_person\"",
        "\"carried_out\"",
        "\"other_matters\"",
    ];
    let places: Vec<Option<usize>> = names.iter().map(|name| out.find(name)).collect();
    assert!(places.is_sorted() && !places.contains(&None), "{out}");
    // What comes out goes in.
    let (code, out, err) = ran(&["check", "-"], out.as_bytes());
    assert_eq!((code, out.as_str(), err.as_str()), (Some(0), "-: ok\n", ""));

    let job = folder.path().join("job.json").display().to_string();
    let file = repository("tests/intake/zibo-bigdata-2020.txt")
        .display()
        .to_string();
    let (code, out, err) = ran(&["import", &file, "-o", &job, "--explain"], b"");
    assert_eq!((code, out), (Some(1), format!("wrote {job}\n")));
    assert!(
        err.contains("assumed /job_id: ") && err.contains("    /job_id：公开文本中没有job_id"),
        "{err}"
    );
    let cell = "read 已读 line 81: /data/proactive_disclosure/article_20_9/procurement/amount 「政府集中采购」「采购总金额」 2823.12万\n";
    assert!(err.contains(cell), "{err}");
    let read = std::fs::read_to_string(&job).expect("the job");
    assert_eq!(
        serde_json::from_str::<Value>(&read).expect("a job"),
        corpus("zibo-bigdata-2020")
    );

    let spoilt = changed("\t行政许可\n\t0", "\t行政许可\n\t\u{1b}[2J");
    let (code, _, err) = ran(&["import", "--job-id", "a", "-"], &spoilt);
    assert_eq!(code, Some(1));
    assert!(
        err.starts_with("unread line 36: ") && err.contains("    第36行："),
        "{err}"
    );
    assert!(!err.contains('\u{1b}'), "{err}");

    let (code, out, err) = ran(&["import", "-"], b"\x89PNG");
    assert_eq!((code, out.as_str()), (Some(5), ""));
    assert_eq!(
        err,
        "-: it is a picture: there is no text in it\n    这是图片，其中没有文字\n"
    );
    let (code, _, err) = ran(&["import", "/nonexistent"], b"");
    assert_eq!(code, Some(3), "{err}");
    let (code, _, err) = ran(&["import", "--job-id", "/", "-"], &text);
    assert_eq!(code, Some(2), "{err}");
}

/// What `check --prior LAST -` says of a job: exit code, then code and place of each problem.
fn compared(last: &str, job: &Value) -> (Option<i32>, Vec<(String, String)>) {
    let arguments = ["check", "--format", "json", "--prior", last, "-"];
    let (code, out, err) = ran(&arguments, job.to_string().as_bytes());
    let said: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{err}"));
    let problems = ["problems", "warnings"].map(|list| said[list].as_array().cloned());
    // What has nothing to do with last year's report is left out.
    let other = ["W-LENGTH", "W-FEE", "W-BLANK"];
    let problems = problems.into_iter().flatten().flatten();
    let problems = problems.filter(|problem| !other.iter().any(|code| problem["code"] == *code));
    let problems = problems.map(|problem| {
        assert!(problem["message_zh"].is_string());
        let text = |field: &str| problem[field].as_str().expect("a text").to_owned();
        (text("code"), text("path"))
    });
    (code, problems.collect())
}

#[test]
fn last_years_report_is_held_against_this_years() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).expect("a file");
        path.display().to_string()
    };
    let named = |problems: &[(&str, &str)]| -> Vec<(String, String)> {
        let owned = problems
            .iter()
            .map(|(code, path)| ((*code).to_owned(), (*path).to_owned()));
        owned.collect()
    };
    let last = corpus("pingtan-2023");
    let job = corpus("pingtan-2024");
    let in_force = "/data/proactive_disclosure/article_20_1/normative_documents/in_force";
    let agree = named(&[("W-INFORCE", in_force)]);
    let rendered = render(&last);
    let pdf = rendered.path().display().to_string();
    let page = repository("tests/intake/cms.html").display().to_string();
    let sent = file("last.json", last.to_string().as_bytes());
    // A job, its PDF and its page say the same.
    for last in [&sent, &pdf, &page] {
        assert_eq!(compared(last, &job), (Some(0), agree.clone()), "{last}");
    }

    // What was carried over is not what is carried in.
    let mut other = last.clone();
    other["data"]["requests"]["carried_out"]["business"] = json!(41);
    other["data"]["requests"]["carried_out"]
        .as_object_mut()
        .expect("a row")
        .remove("total");
    let other = file("other.json", other.to_string().as_bytes());
    let (code, problems) = compared(&other, &job);
    let carried_in = |column: &str| {
        (
            "R-PRIOR".to_owned(),
            format!("/data/requests/carried_in/{column}"),
        )
    };
    assert_eq!(
        (code, problems),
        (Some(1), vec![carried_in("business"), carried_in("total")])
    );

    // Another agency, another year, a sender who says otherwise; the report is right.
    let mut other = last.clone();
    other["data"]["agency"] = json!("平潭县");
    let other = file("agency.json", other.to_string().as_bytes());
    let expected = named(&[("W-PRIOR", "/data/agency"), ("W-INFORCE", in_force)]);
    assert_eq!(compared(&other, &job), (Some(0), expected));
    let expected = named(&[("W-PRIOR", "/data/year")]);
    assert_eq!(
        compared(&sent, &corpus("pingtan-2025")),
        (Some(0), expected)
    );
    let mut own = job.clone();
    own["prior"] = json!({ "in_force": { "normative_documents": 1 } });
    let expected = named(&[
        ("W-INFORCE", in_force),
        ("W-PRIOR", "/prior/in_force/normative_documents"),
    ]);
    assert_eq!(compared(&sent, &own), (Some(0), expected));

    // From one edition to the next; a report in another form; what is no report.
    let mut next = corpus("pingtan-2021");
    let old = file(
        "old.json",
        corpus("zibo-bigdata-2020").to_string().as_bytes(),
    );
    next["data"]["agency"] = json!("淄博市大数据局");
    next["data"]["requests"]["carried_in"]["research"] = json!(1);
    let (code, problems) = compared(&old, &next);
    assert_eq!(code, Some(1));
    assert!(problems.contains(&carried_in("research")), "{problems:?}");
    let form = editions()["enforcement-report/zhejiang-2024"].name.clone();
    let (code, sample, _) = ran(&["templates", &form, "--sample"], b"");
    assert_eq!(code, Some(0));
    let expected = named(&[("W-PRIOR", "/template")]);
    assert_eq!(
        compared(&file("form.json", sample.as_bytes()), &job),
        (Some(0), expected)
    );
    for (last, jobs) in [(file("no.json", b"{}"), vec!["-"]), (sent, vec!["-", "-"])] {
        let arguments = [vec!["check", "--prior", &last], jobs].concat();
        let (code, _, err) = ran(&arguments, job.to_string().as_bytes());
        assert_eq!(code, Some(2), "{err}");
        assert!(err.starts_with("banshi: --prior"), "{err}");
    }
}

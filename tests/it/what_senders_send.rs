//! What real senders send, and what becomes of it: numbers with a point, marks in cells, text out
//! of other programs, figures as text. Each case of `tests/cases` has its right outcome here.

use std::collections::BTreeSet;

use banshi::job::Job;
use banshi::problem::{Code, Problem};
use banshi::report::{Content, MARKS, Report, block_texts, view};
use serde_json::{Value, json};

use crate::support::jobs::{case, corpus};
use crate::support::official::{APPLICANTS, FORMS, Form, RESULTS, REVIEW_GROUPS};
use crate::support::pdf::{self, Table};
use crate::support::{check, editions, places, refused, render, rule, settings};

/// Every case. What the pages show of some is told where the pages are measured.
pub const CASES: [&str; 18] = [
    "audit-2020-text-above-table",
    "bureau-2023-slashes-and-blanks",
    "combining-marks",
    "dizhang-2023-old-tables",
    "figures-as-text",
    "kangxi-radicals",
    "level-sentence-at-page-foot",
    "line-ends",
    "long-remarks",
    "long-url",
    "mark-slash",
    "pasted-from-word",
    "pasted-indent",
    "pasted-line-separators",
    "quote-then-stop",
    "replacement-character",
    "table-14-columns",
    "whole-numbers-as-floats",
];

fn taken(job: &Value) -> Job {
    check(job.to_string().as_bytes()).unwrap_or_else(|refusal| panic!("{refusal:#?}"))
}

fn problems(job: &Value) -> Vec<Problem> {
    let refusal = check(job.to_string().as_bytes()).expect_err("it is refused");
    refusal.rejection.into_problems()
}

/// The problem at a place, of those that refuse a job.
fn problem(job: &Value, path: &str) -> Problem {
    let all = problems(job);
    let found = all.iter().find(|problem| problem.path == path);
    found
        .unwrap_or_else(|| panic!("{path} in {all:#?}"))
        .clone()
}

fn warnings(job: &Job) -> Vec<(Code, String)> {
    places(job.report.warnings())
}

fn overview(report: &Report) -> Vec<String> {
    let texts = report.blocks("overview").iter().flat_map(block_texts);
    texts.map(|(_, text)| text.to_owned()).collect()
}

// Numbers.

#[test]
fn a_whole_number_may_be_written_with_a_point_wherever_one_stands() {
    let decimal = case("whole-numbers-as-floats");
    assert!(decimal.to_string().contains("\"natural_person\":95.0"));
    let mut whole = decimal.clone();
    fn round(node: &mut Value) {
        match node {
            Value::Object(fields) => fields.values_mut().for_each(round),
            Value::Array(items) => items.iter_mut().for_each(round),
            Value::Number(number) => *node = json!(number.as_f64().unwrap() as i64),
            _ => {}
        }
    }
    round(&mut whole);
    let (decimal, whole) = (taken(&decimal), taken(&whole));
    assert_eq!(decimal.identity.sha256, whole.identity.sha256, "one job");
    assert_eq!(decimal.data, whole.data);
    assert_eq!(view::view(decimal.report()), view::view(whole.report()));
    assert_eq!(decimal.report().year(), 2024);
    assert_eq!(
        warnings(&decimal),
        [],
        "the figures of last year agree, too"
    );
    assert_eq!(
        overview(decimal.report())[3..],
        ["1月", "12", "2月", "3"].map(str::to_owned)
    );
}

#[test]
fn a_change_may_be_written_with_a_point_and_nothing_is_minus_nothing() {
    let mut job = corpus("zibo-bigdata-2020");
    let change = "/data/proactive_disclosure/article_20_5/licensing/change";
    for (sent, printed) in [("-18.0", "-18"), ("2e0", "+2"), ("-0.0", "0"), ("0.0", "0")] {
        *job.pointer_mut(change).unwrap() = serde_json::from_str(sent).unwrap();
        let view = view::view(taken(&job).report());
        let bands = &view["sections"]["proactive_disclosure"]["bands"];
        assert_eq!(bands[1]["rows"][0]["cells"][1], json!(printed), "{sent}");
    }
}

#[test]
fn what_is_not_whole_or_too_large_is_refused_in_any_spelling() {
    let cell = "/data/requests/carried_out/business";
    // The figure as it is spelt, which no value of serde_json keeps.
    let send = |number: &str| {
        let mut job = corpus("pingtan-2023");
        job["on_violation"] = json!("reject");
        let job = job.to_string();
        let row = "\"carried_out\":{\"business\":";
        let (before, after) = job.split_once(row).unwrap();
        let (_, after) = after.split_once(',').unwrap();
        format!("{before}{row}{number},{after}")
    };
    let said = |number: &str| match check(send(number).as_bytes()) {
        Ok(_) => Vec::new(),
        Err(refusal) => refusal.rejection.into_problems(),
    };
    for number in ["1.5", "0.1", "1e-3"] {
        let problems = said(number);
        assert_eq!(
            places(&problems),
            [(Code::SCHEMA, cell.to_owned())],
            "{number}"
        );
        assert!(
            problems[0].message.contains("found a decimal number"),
            "{problems:?}"
        );
        assert!(problems[0].message_zh.contains("实为小数"), "{problems:?}");
    }
    for number in [
        "1000000000001",
        "1e13",
        "1000000000001.0",
        "9007199254740993.0",
        "1e300",
        "-1.0",
    ] {
        assert_eq!(
            places(&said(number)),
            [(Code::SCHEMA, cell.to_owned())],
            "{number}"
        );
    }
    // The largest that there may be breaks the sums, and no more.
    for number in ["1000000000000", "1e12", "1000000000000.0"] {
        let problems = said(number);
        assert!(!problems.is_empty());
        assert!(
            problems.iter().all(|p| p.code != Code::SCHEMA),
            "{number}: {problems:?}"
        );
    }
    // Beyond what a double can be it is no number of JSON's.
    assert_eq!(places(&said("1e400")), [(Code::JSON, String::new())]);
}

// Marks.

/// Every cell of the three tables of a form: its place in the job, and its labels on the page.
fn cells(form: &'static Form) -> Vec<(String, usize, Vec<String>)> {
    let mut all = Vec::new();
    for (band, item, figure) in form.figures() {
        let path = format!(
            "proactive_disclosure/{}/{}/{}",
            band.field, item.field, figure.field
        );
        let labels = [band.label, "信息内容", item.label, &figure.name()];
        all.push((path, 0, labels.map(str::to_owned).to_vec()));
    }
    for row in form.rows() {
        for (field, applicant) in APPLICANTS {
            let mut labels: Vec<&str> = row.label.split(' ').collect();
            if row.pointer.starts_with("/outcome") {
                labels.push("三、本年度办理结果");
            }
            if !["natural_person", "total"].contains(&field) {
                labels.push("法人或其他组织");
            }
            labels.extend(["申请人情况", applicant]);
            let labels = labels.into_iter().map(str::to_owned).collect();
            all.push((format!("requests{}/{field}", row.pointer), 1, labels));
        }
    }
    for (pointer, group) in REVIEW_GROUPS {
        for (field, result) in RESULTS {
            let labels = group
                .split(' ')
                .chain([result])
                .map(str::to_owned)
                .collect();
            all.push((format!("review_and_litigation{pointer}/{field}"), 2, labels));
        }
    }
    all
}

/// Puts one mark after another into all cells of a report, and reads each back from its tags.
fn marks_read_back(name: &str, form: &'static Form) {
    let mut job = corpus(name);
    let cells = cells(form);
    for ((path, ..), mark) in cells.iter().zip(MARKS.iter().cycle()) {
        *job.pointer_mut(&format!("/data/{path}")).expect(path) = json!(mark);
    }
    let checked = taken(&job);
    let all = format!("{} cells are blank or hold a mark", cells.len());
    let listed =
        |warning: &&Problem| warning.code == Code::BLANK && warning.message.starts_with(&all);
    assert_eq!(checked.report.warnings().iter().filter(listed).count(), 1);
    let tables: Vec<Table> = pdf::tables(&render(&job).path());
    assert_eq!(tables.len(), 3);
    for ((path, table, labels), mark) in cells.iter().zip(MARKS.iter().cycle()) {
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        assert_eq!(tables[*table].labelled(&labels).text, *mark, "{path}");
    }
}

#[test]
fn marks_in_all_cells_of_2019_print_as_sent() {
    marks_read_back("zibo-bigdata-2020", FORMS[0]);
}

#[test]
fn marks_in_all_cells_of_2021_print_as_sent() {
    marks_read_back("pingtan-2023", FORMS[1]);
}

#[test]
fn a_mark_adds_nothing_and_is_listed_with_the_blanks() {
    let job = taken(&case("mark-slash"));
    let [warning] = job.report.warnings() else {
        panic!("{:?}", job.report.warnings())
    };
    assert_eq!(warning.code, Code::BLANK);
    for name in ["issued", "repealed", "in_force"] {
        let path = format!("/data/proactive_disclosure/article_20_1/rules/{name}");
        assert!(warning.message.contains(&path), "{warning}");
        assert!(warning.message_zh.contains(&path), "{warning}");
    }
    let job = taken(&case("bureau-2023-slashes-and-blanks"));
    let [warning] = job.report.warnings() else {
        panic!("{:?}", job.report.warnings())
    };
    let blank = 3 + 25 * 7 - 2;
    assert!(
        warning.message.starts_with(&format!("{blank} cells are")),
        "{warning}"
    );
}

#[test]
fn a_mark_in_a_total_stands_for_the_computed_value() {
    for mark in MARKS {
        let mut job = corpus("pingtan-2023");
        let all = APPLICANTS.map(|(field, _)| field);
        for field in all {
            job["data"]["requests"]["outcome"]["total"][field] = json!(mark);
        }
        for row in ["received", "carried_out"] {
            job["data"]["requests"][row]["total"] = json!(mark);
        }
        job["data"]["review_and_litigation"]["reconsideration"]["total"] = json!(mark);
        assert_eq!(refused(&job), [], "{mark}");
        // It stands for its sum: one request more received is one too many.
        let cell = &mut job["data"]["requests"]["received"]["natural_person"];
        *cell = json!(cell.as_u64().unwrap() + 1);
        let columns = ["natural_person", "total"];
        let column = |field| {
            (
                rule("R-COLUMN"),
                format!("/data/requests/outcome/total/{field}"),
            )
        };
        assert_eq!(refused(&job), columns.map(column), "{mark}");
    }
}

#[test]
fn any_other_text_in_a_cell_is_refused_and_the_marks_are_named() {
    for text in ["//", "不适用", "", "--", "无此项"] {
        let mut job = case("mark-slash");
        let path = "/data/requests/received/business";
        *job.pointer_mut(path).unwrap() = json!(text);
        let problem = problem(&job, path);
        assert!(problem.message.contains("/ ／ — － - 无"), "{problem}");
        assert!(problem.message_zh.contains("/ ／ — － - 无"), "{problem}");
    }
}

// Text.

#[test]
fn a_pasted_indent_is_not_set_a_second_time() {
    let sent = case("pasted-indent");
    let job = taken(&sent);
    let texts = [
        "全年公开信息50条，各项工作运行正常。",
        "（一）主动公开。公开信息50条。",
        "（二）依申请公开",
        "项目",
        "数量",
        "信息",
        "50",
        "公开情况",
    ];
    assert_eq!(overview(job.report()), texts);
    // Without its indent a paragraph takes its level.
    let blocks = &view::view(job.report())["sections"]["overview"]["blocks"];
    assert_eq!(blocks[1]["lead"], json!("（一）主动公开。"));
    assert_eq!(warnings(&job), []);
    let attached = pdf::attachment(&render(&sent).path(), "report.json");
    let attached: Value = serde_json::from_slice(&attached).unwrap();
    assert_eq!(attached, sent["data"], "the data stay as they were sent");
}

#[test]
fn spaces_out_of_word_become_one_and_what_shows_nothing_is_left_out() {
    let mut sent = case("pasted-from-word");
    let tab = problem(&sent, "/data/overview/1");
    assert_eq!(tab.code, Code::SCHEMA);
    assert!(tab.message.contains("a tab (U+0009)"), "{tab}");
    assert!(tab.message_zh.contains("制表符（U+0009）"), "{tab}");
    assert_eq!(problems(&sent).len(), 1);
    sent["data"]["overview"][1] = json!("收到申请0件。\u{a0}\u{2003} 答复0件。\t");
    let texts = [
        "全年 公开 信息 120条。其中政策解读5条。",
        "收到申请0件。 答复0件。",
    ];
    assert_eq!(overview(taken(&sent).report()), texts);
    let page: String = pdf::text(&render(&sent).path())
        .split_whitespace()
        .collect();
    assert!(
        page.contains("120条。其中政策解读5条。"),
        "a search finds it: {page}"
    );
}

#[test]
fn titles_names_notes_and_remarks_are_cleaned_too() {
    let mut job = corpus("pingtan-2023");
    job["data"]["agency"] = json!("\u{3000}平潭综合\u{200b}实验区 ");
    job["data"]["title"] = json!(" 平潭综合实验区\u{3000}\r\n\u{a0}年度报告 \n");
    job["data"]["requests"]["notes"] =
        json!(["\u{3000}\u{3000}注：甲\u{3000}\u{3000}乙。\n 丙 \n"]);
    let other = &mut job["data"]["requests"]["received"]["other"];
    let figure = other.clone();
    *other = json!({ "value": figure, "remark": " 无\u{ad}申请 " });
    let job = taken(&job);
    let report = job.report();
    assert_eq!(report.author(), "平潭综合实验区");
    assert_eq!(report.title(), "平潭综合实验区\n年度报告");
    let Some(Content::Table { notes, .. }) = report.field("requests") else {
        panic!("a table")
    };
    assert_eq!(notes[..], ["注：甲 乙。\n丙"]);
    let cells = &view::view(report)["sections"]["requests"]["rows"][0]["cells"];
    assert_eq!(cells[5], json!(format!("{figure}（无申请）")));
}

#[test]
fn a_line_end_in_a_paragraph_says_that_a_paragraph_is_one_string() {
    let [problem] = &problems(&case("line-ends"))[..] else {
        panic!("the line end at the end of a paragraph is none inside it")
    };
    assert_eq!(
        (problem.code, problem.path.as_str()),
        (Code::SCHEMA, "/data/overview/0")
    );
    assert!(
        problem.message.contains("a paragraph is one string"),
        "{problem}"
    );
    assert!(
        problem.message_zh.contains("一个段落为一个字符串"),
        "{problem}"
    );
}

#[test]
fn every_line_end_of_other_programs_is_named() {
    let problems = problems(&case("pasted-line-separators"));
    for (place, (point, zh)) in [
        ("U+000B", "Word软回车"),
        ("U+000C", "分页符"),
        ("U+0007", "Word单元格结束符"),
        ("U+0085", "换行符"),
        ("U+2028", "行分隔符"),
        ("U+2029", "段落分隔符"),
    ]
    .into_iter()
    .enumerate()
    {
        let problem = &problems[place];
        assert_eq!(problem.code, Code::SCHEMA);
        assert_eq!(problem.path, format!("/data/overview/{place}"));
        assert!(problem.message.contains(point), "{problem}");
        assert!(
            problem.message.contains("a paragraph is one string"),
            "{problem}"
        );
        assert!(problem.message_zh.contains(zh), "{problem}");
    }
}

/// In a heading and a name a line end is as wrong; in a title, a note, a caption and a cell of a
/// table it is the sender's choice, and a tab is not.
#[test]
fn lines_are_where_they_may_be() {
    let mut job = corpus("pingtan-2023");
    let data = &mut job["data"];
    data["title"] = json!("甲\n乙");
    data["requests"]["notes"] = json!(["甲\n乙"]);
    data["overview"] = json!([{ "table": {
        "columns": ["甲\n乙"], "rows": [["丙\r\n丁"]], "caption": "戊\n己",
    } }]);
    assert_eq!(refused(&job), []);
    let data = &mut job["data"];
    data["agency"] = json!("甲\n乙");
    data["title"] = json!("甲\t乙");
    data["overview"] = json!([
        { "heading": "甲\n乙" },
        { "table": { "columns": ["甲\u{b}乙"], "rows": [["丙\r丁"]], "caption": "戊\u{2028}己" } },
    ]);
    let places: BTreeSet<String> = refused(&job).into_iter().map(|(_, path)| path).collect();
    let expected = [
        "/data/agency",
        "/data/overview/0/heading",
        "/data/overview/1/table/caption",
        "/data/overview/1/table/columns/0",
        "/data/overview/1/table/rows/0/0",
        "/data/title",
    ];
    assert_eq!(places, BTreeSet::from(expected.map(str::to_owned)));
}

#[test]
fn radicals_and_compatibility_ideographs_are_set_as_the_characters_meant() {
    let sent = case("kangxi-radicals");
    let job = taken(&sent);
    assert_eq!(
        overview(job.report()),
        [
            "一是加强领导，二是完善工作机制，三是大力推进，方便群众。",
            "民生领域由长期联系人负责，见第六条。",
        ]
    );
    assert_eq!(job.report().author(), "某市文化局");
    let told = job.report.warnings();
    let paths = ["/data/agency", "/data/overview/0", "/data/overview/1"];
    assert_eq!(
        places(told),
        paths.map(|path| (Code::CHARACTER, path.to_owned()))
    );
    for said in ["⼀ (U+2F00) as 一 (U+4E00)", "⼯ (U+2F2F) as 工 (U+5DE5)"] {
        assert!(told[1].message.contains(said), "{}", told[1]);
    }
    assert!(
        told[2].message_zh.contains("⻓（U+2ED3）排为长（U+957F）"),
        "{}",
        told[2]
    );
    let pdf = render(&sent);
    let page: String = pdf::text(&pdf.path()).split_whitespace().collect();
    assert!(
        page.contains("三是大力推进，方便群众。"),
        "a search finds it: {page}"
    );
    let attached: Value =
        serde_json::from_slice(&pdf::attachment(&pdf.path(), "report.json")).unwrap();
    assert_eq!(attached, sent["data"], "the data stay as they were sent");
}

#[test]
fn a_job_full_of_radicals_is_no_event_that_a_broker_would_not_take() {
    let mut job = case("kangxi-radicals");
    let row = vec!["⼀⼆"; 100];
    job["data"]["overview"] =
        json!([{ "table": { "columns": row, "rows": vec![row.clone(); 400] } }]);
    let job = taken(&job);
    assert_eq!(job.report.warnings().len(), 101);
    assert!(
        job.report
            .warnings()
            .iter()
            .any(|w| w.message.contains("40001 more texts"))
    );
}

#[test]
fn characters_that_say_that_text_was_lost_are_refused_by_name() {
    let problems = problems(&case("replacement-character"));
    let overview = (Code::SCHEMA, "/data/overview/0".to_owned());
    assert_eq!(places(&problems), [overview.clone(), overview]);
    for (problem, name) in problems.iter().zip([
        "U+FFFD REPLACEMENT CHARACTER",
        "U+FFFC OBJECT REPLACEMENT CHARACTER",
    ]) {
        assert!(
            problem.message.contains(name) && problem.message.contains("lost"),
            "{problem}"
        );
        assert!(problem.message_zh.contains("丢失"), "{problem}");
    }
}

#[test]
fn combining_marks_are_set_with_their_letters_as_one_character() {
    let job = taken(&case("combining-marks"));
    let text = &overview(job.report())[0];
    assert!(text.starts_with("译名Résumé、München、lǚxing，"), "{text}");
    assert_eq!(warnings(&job), []);
}

// Figures as text.

#[test]
fn a_figure_sent_as_text_is_told_what_to_send() {
    let job = case("figures-as-text");
    for (path, en, zh) in [
        (
            "article_20_5/licensing/decisions",
            "send 12,",
            "请直接填数字12",
        ),
        (
            "article_20_6/penalties/decisions",
            "send 1234, without quotes or separators",
            "请直接填数字1234",
        ),
        (
            "article_20_6/coercion/decisions",
            "send {\"value\": 15, \"remark\": \"其中代履行2件\"}",
            "请填{\"value\": 15, \"remark\": \"其中代履行2件\"}",
        ),
        (
            "article_20_8/fees/amount",
            "send \"430851.10\"",
            "请填\"430851.10\"",
        ),
    ] {
        let problem = problem(&job, &format!("/data/proactive_disclosure/{path}"));
        assert_eq!(problem.code, Code::SCHEMA);
        assert!(problem.message.contains(en), "{problem}");
        assert!(problem.message_zh.contains(zh), "{problem}");
    }
    assert_eq!(problems(&job).len(), 4);
}

#[test]
fn money_sent_otherwise_is_told_what_to_send() {
    let mut job = corpus("pingtan-2023");
    let path = "/data/proactive_disclosure/article_20_8/fees/amount";
    for (sent, said) in [
        (json!(24252.31), "send \"24252.31\""),
        (json!(7545), "send \"7545\""),
        (json!("7545万元"), "send \"7545\""),
        (json!("75,450,000元"), "convert it"),
        (json!("１２．５"), "send \"12.5\""),
        (json!("约12"), "want a decimal string in 万元"),
        (json!("1,5"), "found a string"),
    ] {
        *job.pointer_mut(path).unwrap() = sent.clone();
        let problem = problem(&job, path);
        assert!(problem.message.contains(said), "{sent}: {problem}");
    }
    // A comma may be a point: nothing is guessed.
    let problem = problem(&job, path);
    assert!(problem.message.ends_with("found a string"), "{problem}");
}

#[test]
fn the_fee_is_heard_in_other_words() {
    let mut job = corpus("pingtan-2023");
    let mut silent = |text: &str| {
        job["data"]["other_matters"] = json!([text]);
        let job = taken(&job);
        job.report
            .warnings()
            .iter()
            .any(|warning| warning.code == rule("W-FEE"))
    };
    for said in [
        "2024年依申请公开未发生收费。",
        "本年度未收取任何费用。",
        "全年收取政府信息公开处理费0元。",
        "政府信息公开收费金额为零。",
        "没有发生收费情况。",
        "\u{2f46}收取信息处理费情况。",
    ] {
        assert!(!silent(said), "{said}");
    }
    for other in [
        "无。",
        "无其他需要报告的事项。",
        "已公开行政事业性收费目录，未出现差错。",
        "及时更新收费目录清单。",
    ] {
        assert!(silent(other), "{other}");
    }
}

// Text above a table.

#[test]
fn each_of_the_three_tables_may_have_text_above_it() {
    let sent = case("audit-2020-text-above-table");
    let job = taken(&sent);
    let sections = &view::view(job.report())["sections"];
    let blocks = |name: &str| sections[name]["introduction"].as_array().unwrap().clone();
    assert_eq!(blocks("proactive_disclosure").len(), 2);
    assert_eq!(
        blocks("proactive_disclosure")[0]["lead"],
        json!("（一）公开数量。")
    );
    assert_eq!(blocks("proactive_disclosure")[1]["kind"], json!("table"));
    assert_eq!(blocks("requests")[0]["kind"], json!("heading"));
    let said = "2020年，我局未发生因政府信息公开引起的行政复议和行政诉讼。";
    assert_eq!(blocks("review_and_litigation")[0]["text"], json!(said));
    assert_eq!(warnings(&job), []);
}

#[test]
fn the_text_above_a_table_stands_between_its_heading_and_the_table() {
    let job = case("audit-2020-text-above-table");
    let page: String = pdf::text(&render(&job).path()).split_whitespace().collect();
    for (heading, above, table) in [
        (
            "二、主动公开政府信息情况",
            "（一）公开数量。",
            "第二十条第（一）项",
        ),
        (
            "三、收到和处理政府信息公开申请情况",
            "（一）办理情况",
            "申请人情况",
        ),
        (
            "四、政府信息公开行政复议、行政诉讼情况",
            "未发生因政府信息公开",
            "结果维持",
        ),
    ] {
        let (_, section) = page.split_once(heading).expect(heading);
        let at = |text: &str| {
            section
                .find(text)
                .unwrap_or_else(|| panic!("{text}: {section}"))
        };
        assert!(at(above) < at(table), "{heading}: {section}");
        assert!(at(above) < 40, "{heading}: it comes first: {section}");
    }
}

#[test]
fn a_field_of_another_name_is_told_those_that_may_stand_there() {
    let mut job = case("audit-2020-text-above-table");
    let section = job["data"]["review_and_litigation"]
        .as_object_mut()
        .unwrap();
    let text = section.remove("introduction").unwrap();
    section.insert("text".into(), text);
    let problem = problem(&job, "/data/review_and_litigation/text");
    assert_eq!(
        problem.message,
        "unknown field \"text\"; known here: introduction, reconsideration, litigation, notes"
    );
}

#[test]
fn the_text_above_a_table_is_read_limited_and_drawn_like_any_other() {
    let mut job = case("audit-2020-text-above-table");
    for name in ["proactive_disclosure", "requests", "review_and_litigation"] {
        job["data"][name]["introduction"] = json!(["一\n二", 3]);
        let first = (Code::SCHEMA, format!("/data/{name}/introduction/0"));
        let second = (Code::SCHEMA, format!("/data/{name}/introduction/1"));
        assert_eq!(refused(&job), [first, second]);
        job["data"][name]["introduction"] = json!(["好。", "坏\u{e000}。"]);
        let manuscript = banshi::typesetter::Manuscript::of(&taken(&job));
        let text = (
            format!("/data/{name}/introduction/1"),
            "坏\u{e000}。".to_owned(),
        );
        assert!(manuscript.texts.contains(&text), "{:?}", manuscript.texts);
        job["data"][name]["introduction"] = json!([]);
    }
    for name in ["requests", "review_and_litigation"] {
        job["data"][name]["introduction"] = json!(["字".repeat(600)]);
    }
    let mut limits = settings().limits;
    limits.characters = 1000;
    let read = banshi::job::read(job.to_string().as_bytes(), None, &limits, &editions());
    let refusal = read.expect_err("over the limit together");
    let [over] = refusal.rejection.problems() else {
        panic!("{refusal:?}")
    };
    assert!(over.message.contains("limits.characters"), "{over}");
}

// What is no job, and the edition of another year.

#[test]
fn what_is_not_utf8_is_told_what_it_seems_to_be() {
    let text = corpus("zibo-bigdata-2020").to_string();
    let wide = |encode: fn(u16) -> [u8; 2], mark: &[u8]| -> Vec<u8> {
        mark.iter()
            .copied()
            .chain(text.encode_utf16().flat_map(encode))
            .collect()
    };
    // 「某市局」 in GBK; two characters that UTF-8 could read, and one of four bytes.
    let gbk = b"{\"job_id\": \"x\", \"data\": {\"agency\": \"\xc4\xb3\xca\xd0\xbe\xd6\"}}".to_vec();
    let gb18030 = b"{\"agency\": \"\x81\x30\x84\x36\xca\xd0\"}".to_vec();
    let mut gzip = b"\x1f\x8b\x08\x00".to_vec();
    gzip.extend([0; 20]);
    for (bytes, seems) in [
        (gbk, "GB 18030"),
        (gb18030, "GB 18030"),
        (wide(u16::to_le_bytes, b"\xff\xfe"), "UTF-16"),
        (wide(u16::to_be_bytes, b"\xfe\xff"), "UTF-16"),
        (wide(u16::to_le_bytes, b""), "UTF-16"),
        (wide(u16::to_be_bytes, b""), "UTF-16"),
        (gzip, "gzip"),
    ] {
        let refusal = check(&bytes).expect_err("not UTF-8");
        let [problem] = refusal.rejection.problems() else {
            panic!("{refusal:?}")
        };
        assert_eq!(problem.code, Code::JSON);
        for message in [&problem.message, &problem.message_zh] {
            assert!(
                message.contains(seems) && message.contains("UTF-8"),
                "{seems}: {problem}"
            );
        }
        assert!(problem.message.contains("send"), "{problem}");
    }
    // A byte that is none of these is only named.
    let broken = text.replacen('市', "@", 1).into_bytes();
    let at = broken.iter().position(|byte| *byte == b'@').unwrap();
    let broken = [&broken[..at], b"\xff", &broken[at + 1..]].concat();
    let refusal = check(&broken).expect_err("not UTF-8");
    let said = &refusal.rejection.problems()[0].message;
    assert!(
        said.contains(&format!("byte {at} begins no character")),
        "{said}"
    );
}

#[test]
fn the_cause_of_bad_json_is_told_in_both_languages() {
    for (text, en, zh) in [
        (
            "{\"job_id\": ",
            "EOF while parsing a value at line 1 column 11",
            "第1行第11列：此处应有值，而内容到此为止",
        ),
        ("{\"a\": 1,}", "trailing comma", "第1行第9列：末尾多了逗号"),
        (
            "{\"a\": \"一\n二\"}",
            "control character",
            "未转义的控制字符",
        ),
        (
            "{'a': 1}",
            "key must be a string",
            "字段名应为带双引号的字符串",
        ),
    ] {
        let refusal = check(text.as_bytes()).expect_err("not JSON");
        let problem = &refusal.rejection.problems()[0];
        assert!(problem.message.contains(en), "{problem}");
        assert!(problem.message_zh.contains(zh), "{problem}");
    }
}

/// The report of 2023 was published with the tables of the form before: those are of the years 2019
/// and 2020, by the notice, and the figures that the form of 2021 asks for are not in them.
#[test]
fn the_tables_of_the_form_before_are_refused_with_the_edition_to_use() {
    let [problem] = &problems(&case("dizhang-2023-old-tables"))[..] else {
        panic!("nothing else is wrong with it")
    };
    assert_eq!(
        (problem.code, problem.path.as_str()),
        (Code::EDITION, "/data/year")
    );
    assert!(
        problem
            .message
            .contains("the report for 2023 uses annual-report/2021"),
        "{problem}"
    );
    assert!(
        problem
            .message_zh
            .contains("annual-report/2021（国办公开办函〔2021〕30号）"),
        "{problem}"
    );
}

#[test]
fn no_case_is_left_out() {
    let folder = crate::support::repository("tests/cases");
    let entries = std::fs::read_dir(folder).expect("the cases are there");
    let names: BTreeSet<String> = entries
        .map(|entry| {
            entry
                .unwrap()
                .path()
                .file_stem()
                .unwrap()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    assert_eq!(names, BTreeSet::from(CASES.map(str::to_owned)));
}

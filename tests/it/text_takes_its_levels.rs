//! The text of a report: its levels in their faces (GB/T 9704-2012, 7.3.3), and how much of it
//! there may be, from nothing to a hundred pages.

use serde_json::{Value, json};

use crate::support::jobs::{corpus, remove};
use crate::support::{pdf, render};

const TEXT: &str = "做好登记、审核、办理、答复、归档等各项工作，提高答复质量和群众满意度。";

fn report() -> Value {
    let mut job = corpus("pingtan-2023");
    remove(&mut job, "/data", "introduction");
    job["data"]["overview"] = json!([TEXT]);
    job
}

#[test]
fn each_level_has_its_face_on_a_line_of_its_own_and_run_in() {
    let mut job = report();
    job["data"]["overview"] = json!([
        format!("一、组织领导。{TEXT}"),
        { "heading": "（一）主动公开" },
        TEXT,
        format!("（二）依申请公开。{TEXT}"),
        { "heading": "1.受理情况" },
        format!("2.答复情况。{TEXT}"),
        { "heading": "（1）当面受理" },
        format!("（2）信函受理。{TEXT}"),
    ]);
    let faces = pdf::faces(&render(&job).path());
    let face = |text: &str| {
        let found = faces.iter().find(|(run, _)| run.contains(text));
        found
            .map(|(_, face)| face.as_str())
            .unwrap_or_else(|| panic!("{text} in {faces:?}"))
    };
    for (text, expected) in [
        ("一、总体情况", "NotoSansCJKsc"),
        ("一、组织领导。", "NotoSansCJKsc"),
        ("（一）主动公开", "LXGWWenKaiGBLite"),
        ("（二）依申请公开。", "LXGWWenKaiGBLite"),
        ("受理情况", "ZhuqueFangsong"),
        ("答复情况。", "ZhuqueFangsong"),
        ("当面受理", "ZhuqueFangsong"),
        ("信函受理。", "ZhuqueFangsong"),
        ("做好登记、", "ZhuqueFangsong"),
        ("平潭综合实验区", "NotoSerifCJKsc"),
    ] {
        assert_eq!(face(text), expected, "{text}");
    }
}

/// An agency with nothing to say says nothing: the official heading stays, because the form has it,
/// and nothing is put in the agency's mouth.
#[test]
fn an_empty_section_keeps_its_heading_and_has_nothing_under_it() {
    let mut job = report();
    job["data"]["overview"] = json!([]);
    job["data"]["problems_and_improvements"] = json!([]);
    let rendered = render(&job);
    let lines = pdf::pages(&rendered.path()).concat();
    let after = |heading: &str| {
        let at = lines.iter().position(|line| line == heading);
        lines[at.unwrap_or_else(|| panic!("{heading} is there")) + 1].as_str()
    };
    assert_eq!(after("一、总体情况"), "二、主动公开政府信息情况");
    assert_eq!(
        after("五、存在的主要问题及改进情况"),
        "六、其他需要报告的事项"
    );
    assert_eq!(pdf::headings(&rendered.path()), [1; 6]);
}

#[test]
fn a_report_of_a_line_a_section_is_short_and_signed() {
    let mut job = report();
    job["data"]["problems_and_improvements"] = json!(["无。"]);
    job["data"]["other_matters"] = json!(["无。"]);
    let pages = pdf::pages(&render(&job).path());
    assert!(pages.len() <= 4, "{} pages", pages.len());
    let last = pages.last().expect("a page");
    let tail = &last[last.len() - 4..last.len() - 1];
    assert_eq!(tail, ["无。", "平潭综合实验区", "2024年3月8日"]);
}

#[test]
fn a_hundred_pages_are_numbered_and_outlined_to_the_end() {
    let mut job = report();
    let paragraph = json!(TEXT.repeat(19));
    let chapter = |number: usize| {
        let mut blocks = vec![json!({ "heading": format!("{number}.第{number}方面") })];
        blocks.extend(std::iter::repeat_n(paragraph.clone(), 9));
        blocks
    };
    job["data"]["overview"] = (1..=10).flat_map(chapter).collect();
    let rendered = render(&job);
    let pages = pdf::pages(&rendered.path());
    assert!((100..110).contains(&pages.len()), "{} pages", pages.len());
    for (number, page) in (1..).zip(&pages) {
        assert_eq!(
            page.last().map(String::as_str),
            Some(format!("—{number}—").as_str())
        );
    }
    assert_eq!(pdf::headings(&rendered.path()).len(), 16);
}

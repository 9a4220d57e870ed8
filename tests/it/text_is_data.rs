//! Text is data, never markup: what was sent is what the page says, to the character.

use serde_json::json;

use crate::support::jobs::corpus;
use crate::support::{BANSHI, pdf, render, repository};

/// Everything that means something to Typst or to a shell.
const HOSTILE: [&str; 12] = [
    "#panic(\"x\")",
    "#import \"/etc/passwd\"",
    "$x^2$",
    "@label",
    "\\u{41}\\",
    "`raw`",
    "*bold*",
    "_emph_",
    "<label>",
    "//comment",
    "say\"quote\"'s",
    "[content]{code}~-?",
];

/// The text layer without the spaces and breaks that setting puts in.
fn squeezed(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).collect()
}

#[test]
fn markup_comes_out_as_it_went_in() {
    let mut job = corpus("zibo-bigdata-2020");
    let hostile = HOSTILE.join("，");
    job["data"]["title"] = json!(format!("{}\n标题#1", HOSTILE[0]));
    job["data"]["overview"] = json!([
        hostile,
        { "heading": format!("（一）{}", HOSTILE[2]) },
        { "table": { "columns": HOSTILE, "rows": [HOSTILE], "caption": HOSTILE[3] } },
    ]);
    job["data"]["requests"]["notes"] = json!([HOSTILE[9]]);
    job["data"]["proactive_disclosure"]["article_20_1"]["rules"]["made"] =
        json!({ "value": 0, "remark": HOSTILE[4] });
    let rendered = render(&job);
    let text = squeezed(&pdf::text(&rendered.path()));
    for expected in [
        hostile.as_str(),
        "#panic(\"x\")标题#1",
        "（一）$x^2$",
        "//comment",
        "0（\\u{41}\\）",
    ] {
        assert!(text.contains(&squeezed(expected)), "{expected:?} in {text}");
    }
    let info = pdf::info(&rendered.path());
    assert!(
        info.contains("Title:           #panic(\"x\")标题#1"),
        "{info}"
    );
}

#[test]
fn what_cannot_be_drawn_is_named_with_its_place_and_never_an_empty_box() {
    let mut job = corpus("zibo-bigdata-2020");
    job["data"]["agency"] = json!("淄博市\u{e000}局");
    job["data"]["overview"] = json!(["好。", "控\u{1}，空\u{0}。"]);
    job["data"]["requests"]["notes"] = json!(["注：\u{10fffd}"]);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("job.json");
    std::fs::write(&path, job.to_string()).expect("a file");
    let ran = std::process::Command::new(BANSHI)
        .arg("render")
        .arg(&path)
        .env("BANSHI__FONTS__DIR", repository("fonts"))
        .current_dir(folder.path())
        .output()
        .expect("it starts");
    let said = String::from_utf8(ran.stderr).expect("UTF-8");
    assert_eq!(ran.status.code(), Some(1), "{said}");
    for (path, code) in [
        ("/data/agency", "U+E000"),
        ("/data/overview/1", "U+0001"),
        ("/data/overview/1", "U+0000"),
        ("/data/requests/notes/0", "U+10FFFD"),
    ] {
        let told = said
            .lines()
            .any(|line| line.starts_with(&format!("E-GLYPH {path}:")) && line.contains(code));
        assert!(told, "{path} {code} in {said}");
    }
    assert_eq!(
        std::fs::read_dir(folder.path()).expect("a folder").count(),
        1,
        "no PDF was written"
    );
}

#[test]
fn marks_of_direction_neither_crash_nor_turn_the_text() {
    let mut job = corpus("zibo-bigdata-2020");
    let marked = "甲\u{200f}乙\u{202e}丙丁\u{202c}戊\u{2067}己\u{2069}庚";
    job["data"]["overview"] = json!([marked]);
    let text = squeezed(&pdf::text(&render(&job).path()));
    let plain: String = text
        .chars()
        .filter(|c| ('\u{4e00}'..'\u{9fff}').contains(c))
        .collect();
    assert!(plain.contains("甲乙丙丁戊己庚"), "{text}");
}

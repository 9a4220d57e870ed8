//! Marks that meet give up half a character (标点挤压), quotation marks as all others: measured on
//! the finished page, glyph by glyph.

use serde_json::{Value, json};

use crate::support::jobs::{case, corpus};
use crate::support::pdf::{self, Glyph};
use crate::support::render;

const OPENING: &str = "“‘《〈（〔【「『";
const CLOSING: &str = "”’》〉）〕】」』，。、：；！？";
/// The advance of a character, in points.
const CHARACTER: f64 = 156.0 / 28.0 * 72.0 / 25.4;

/// A report with this text, one paragraph each.
fn job(paragraphs: &[String]) -> Value {
    let mut job = corpus("pingtan-2023");
    job["on_violation"] = json!("warn");
    job["data"]["overview"] = json!(paragraphs);
    job
}

/// The lines of a page: glyphs on one height, from left to right.
fn lines(glyphs: Vec<Glyph>) -> Vec<Vec<Glyph>> {
    let mut lines: Vec<Vec<Glyph>> = Vec::new();
    for glyph in glyphs {
        match lines
            .iter_mut()
            .find(|line| (line[0].y - glyph.y).abs() < 1.0)
        {
            Some(line) => line.push(glyph),
            None => lines.push(vec![glyph]),
        }
    }
    for line in &mut lines {
        line.sort_by(|a, b| a.x.total_cmp(&b.x));
    }
    lines.sort_by(|a, b| a[0].y.total_cmp(&b[0].y));
    lines
}

/// What a pair of marks advances between Han characters, in characters, after a lead in another
/// face.
fn advances(pairs: &[(char, char)], lead: &str) -> Vec<f64> {
    // A lead ends with its stop.
    let stop = if lead.is_empty() { "" } else { "。" };
    let text = |(a, b): &(char, char)| format!("{lead}国国国国{a}{b}国国国国{stop}");
    let texts: Vec<String> = pairs.iter().map(text).collect();
    let rendered = render(&job(&texts));
    let count = texts[0].chars().count();
    let start = lead.chars().count();
    let lines = pdf::glyphs(&rendered.path()).into_iter().flat_map(lines);
    let found = lines.filter(|line| line.len() == count).filter_map(|line| {
        let (before, after) = (&line[start..start + 4], &line[start + 6..start + 10]);
        let mut han = before.iter().chain(after);
        let ours = han.all(|glyph| glyph.shape == before[0].shape);
        ours.then(|| (after[0].x - before[3].x) / CHARACTER - 1.0)
    });
    let found: Vec<f64> = found.collect();
    assert_eq!(found.len(), pairs.len());
    found
}

#[test]
fn every_pair_of_marks_gives_up_half_a_character() {
    let marks: Vec<char> = OPENING.chars().chain(CLOSING.chars()).collect();
    let pairs: Vec<(char, char)> = marks
        .iter()
        .flat_map(|&first| marks.iter().map(move |&second| (first, second)))
        .collect();
    for (&(first, second), found) in pairs.iter().zip(advances(&pairs, "")) {
        // An opening mark has its space before it, a closing one after it.
        let wanted = if OPENING.contains(first) && CLOSING.contains(second) {
            2.0
        } else {
            1.5
        };
        assert!(
            (found - wanted).abs() < 0.03,
            "{first}{second}: {found}, not {wanted}"
        );
    }
}

#[test]
fn quotation_marks_are_squeezed_in_every_face_of_the_text() {
    // The first level is in 黑体, the second in 楷体.
    let pairs = [
        ('”', '，'),
        ('，', '“'),
        ('”', '（'),
        ('”', '“'),
        ('》', '“'),
        ('（', '“'),
    ];
    for lead in ["一、", "（一）"] {
        for (pair, found) in pairs.iter().zip(advances(&pairs, lead)) {
            assert!((found - 1.5).abs() < 0.03, "{lead} {pair:?}: {found}");
        }
    }
}

#[test]
fn a_middle_dot_stands_to_a_quotation_mark_as_to_any_other() {
    let pairs = [
        ('·', '“'),
        ('·', '《'),
        ('·', '”'),
        ('·', '》'),
        ('”', '·'),
        ('》', '·'),
        ('“', '·'),
        ('《', '·'),
    ];
    for (pair, found) in pairs.chunks(2).zip(advances(&pairs, "").chunks(2)) {
        assert!((found[0] - found[1]).abs() < 0.03, "{pair:?}: {found:?}");
    }
}

#[test]
fn a_quotation_mark_begins_and_ends_a_line_as_any_other_mark() {
    let text = "做到“应公开尽公开”，落实“三审三校”（含复核）；坚持“公开为常态、不公开为例外”。让政务\
                信息“看得懂、用得上、易监督”。";
    // Begun at every character, so that every mark comes to stand at both ends of a line.
    let around: Vec<char> = text.chars().collect();
    let han = (0..around.len()).filter(|&at| around[at].is_alphabetic());
    let texts = han.map(|at| around[at..].iter().chain(&around[..at]).collect::<String>());
    set_as_brackets_are(&texts.collect::<Vec<_>>());
}

#[test]
fn a_report_with_quotation_marks_before_stops_has_no_holes() {
    let job = case("quote-then-stop");
    let texts: Vec<String> = serde_json::from_value(job["data"]["overview"].clone()).unwrap();
    set_as_brackets_are(&texts);
}

/// Holds every glyph of paragraphs with quotation marks to its place in the same paragraphs with
/// the marks of book titles, which the engine squeezes itself.
fn set_as_brackets_are(quoted: &[String]) {
    let bracketed: Vec<String> = quoted
        .iter()
        .map(|text| text.replace('“', "《").replace('”', "》"))
        .collect();
    let places = |texts: &[String]| {
        let rendered = render(&job(texts));
        let text = pdf::pages(&rendered.path()).concat().concat();
        for sent in texts {
            assert!(text.contains(sent.as_str()), "{sent}");
        }
        let pages = pdf::glyphs(&rendered.path()).into_iter();
        pages.flat_map(lines).collect::<Vec<_>>()
    };
    let (quoted, bracketed) = (places(quoted), places(&bracketed));
    assert_eq!(quoted.len(), bracketed.len());
    for (number, (quoted, bracketed)) in quoted.iter().zip(&bracketed).enumerate() {
        assert_eq!(quoted.len(), bracketed.len(), "line {number}");
        for (one, other) in quoted.iter().zip(bracketed) {
            assert!(
                (one.x - other.x).abs() < 1.0,
                "line {number}: {one:?}, not {other:?}"
            );
        }
    }
}

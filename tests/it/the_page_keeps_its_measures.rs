//! The measures of GB/T 9704-2012, read off the finished page: the grid of 22 lines of 28
//! characters, the place of the page number, and that of signature and date.

use std::path::Path;

use serde_json::json;

use crate::support::jobs::corpus;
use crate::support::pdf::{self, Word};
use crate::support::render;

/// A character's advance and a line's pitch, in points.
const CHARACTER: f64 = 156.0 / 28.0 * MM;
const LINE: f64 = 28.95;
const MM: f64 = 72.0 / 25.4;
/// The edges of the text block.
const LEFT: f64 = 28.0 * MM;
const RIGHT: f64 = (28.0 + 156.0) * MM;
const BOTTOM: f64 = (37.0 + 225.0) * MM;

#[track_caller]
fn near(found: f64, wanted: f64) {
    assert!((found - wanted).abs() < 0.5, "{found} pt, not {wanted} pt");
}

/// The last word of this text on the last page.
fn last(path: &Path, text: &str) -> Word {
    let words = pdf::words(path).pop().expect("a page");
    let found = words.into_iter().rfind(|word| word.text == text);
    found.unwrap_or_else(|| panic!("{text} is on the last page"))
}

#[test]
fn a_full_page_has_22_lines_of_28_characters() {
    let mut job = corpus("zibo-bigdata-2020");
    job["data"]["overview"] = json!(["公".repeat(28 * 60)]);
    let rendered = render(&job);
    let pages = pdf::words(&rendered.path());
    let is_line = |word: &&Word| word.text.chars().all(|c| c == '公');
    let lines: Vec<&Word> = pages[1].iter().filter(is_line).collect();
    assert_eq!(lines.len(), 22);
    for (number, line) in lines.iter().enumerate() {
        assert_eq!(line.text.chars().count(), 28);
        near(line.left, LEFT);
        near(line.right, RIGHT);
        near(line.top, lines[0].top + number as f64 * LINE);
    }
}

#[test]
fn the_page_number_stands_a_character_in_at_the_outer_edge() {
    let rendered = render(&corpus("zibo-bigdata-2020"));
    for (index, words) in pdf::words(&rendered.path()).iter().enumerate() {
        let page = index + 1;
        let below = words.iter().filter(|word| word.top > BOTTOM);
        let [first, number, second] = below.collect::<Vec<_>>()[..] else {
            panic!("page {page} has its number below the text block, and nothing else")
        };
        let line = [first, number, second].map(|word| word.text.as_str());
        assert_eq!(line, ["—", &page.to_string(), "—"]);
        if page % 2 == 1 {
            near(second.right, RIGHT - CHARACTER);
        } else {
            near(first.left, LEFT + CHARACTER);
        }
    }
}

#[test]
fn the_date_begins_two_characters_right_of_the_agency() {
    for (agency, longer) in [
        ("淄博市大数据局", "date"),
        ("淄博市大数据发展管理局办公室", "agency"),
    ] {
        let mut job = corpus("zibo-bigdata-2020");
        job["data"]["agency"] = json!(agency);
        let rendered = render(&job);
        let signed = last(&rendered.path(), agency);
        let date = last(&rendered.path(), "2021");
        let day = last(&rendered.path(), "日");
        near(date.left, signed.left + 2.0 * CHARACTER);
        near(date.top - signed.top, LINE + 2.5); // the digits' own box is lower
        let edge = if longer == "date" {
            day.right
        } else {
            signed.right
        };
        near(edge, RIGHT - 2.0 * CHARACTER);
    }
}

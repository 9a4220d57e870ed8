//! The report as the templates see it: finished strings in the order of the page. A template
//! only lays out; it computes nothing and knows no rule.

use serde_json::{Value as Json, json};

use super::form::{APPLICANTS, Kind, Line, RECONCILIATION, RESULTS, SECTIONS};
use super::{Block, Cell, Report, Row, Value};

/// The report as JSON for its template.
pub fn view(report: &Report) -> Json {
    let sections: serde_json::Map<String, Json> = SECTIONS
        .into_iter()
        .map(|(name, heading)| {
            let mut section = match name {
                "overview" => json!({ "blocks": blocks(&report.overview) }),
                "proactive_disclosure" => disclosure(report),
                "requests" => requests(report),
                "review_and_litigation" => review(report),
                "problems_and_improvements" => {
                    json!({ "blocks": blocks(&report.problems_and_improvements) })
                }
                _ => json!({ "blocks": blocks(&report.other_matters) }),
            };
            section["heading"] = json!(heading);
            (name.to_owned(), section)
        })
        .collect();
    json!({
        "edition": report.form.edition,
        "agency": report.agency,
        "year": report.year,
        "title": report.title(),
        "issued_on": issued_on(report),
        "introduction": blocks(&report.introduction),
        "sections": sections,
    })
}

/// 成文日期 in Arabic digits, no leading zeros (GB/T 9704-2012, 7.3.5.4): 2021年1月26日.
pub fn issued_on(report: &Report) -> Option<String> {
    let date = report.issued_on?;
    Some(format!(
        "{}年{}月{}日",
        date.year(),
        u8::from(date.month()),
        date.day()
    ))
}

fn disclosure(report: &Report) -> Json {
    let mut values = report.disclosure.figures.iter();
    let bands: Vec<Json> = report
        .form
        .disclosure
        .iter()
        .map(|band| {
            let heads: Vec<&str> = std::iter::once("信息内容")
                .chain(band.figures.iter().map(|figure| figure.label))
                .collect();
            let rows: Vec<Json> = band
                .items
                .iter()
                .map(|item| {
                    let cells: Vec<String> = band
                        .figures
                        .iter()
                        .zip(values.by_ref())
                        .map(|(figure, value)| printed_figure(figure.kind, value))
                        .collect();
                    json!({ "label": item.label, "cells": cells })
                })
                .collect();
            json!({ "label": band.label, "heads": heads, "rows": rows })
        })
        .collect();
    let introduction = blocks(&report.disclosure.introduction);
    json!({ "introduction": introduction, "bands": bands, "notes": report.disclosure.notes })
}

fn printed_figure(kind: Kind, value: &Value) -> String {
    match value {
        Value::Number(Cell::Number { value, .. }) if kind == Kind::Change && *value > 0 => {
            format!("+{value}")
        }
        Value::Number(cell) => printed(cell),
        Value::Money(money) => money.text.clone(),
        Value::NoMoney(cell) => printed(cell),
    }
}

/// A cell as it is printed: `22（其中修订16件）`, a mark, or nothing.
fn printed(cell: &Cell) -> String {
    match cell {
        Cell::Number {
            value,
            remark: Some(remark),
        } => format!("{value}（{remark}）"),
        Cell::Number {
            value,
            remark: None,
        } => value.to_string(),
        Cell::Mark(mark) => (*mark).to_owned(),
        Cell::Blank | Cell::Absent | Cell::Unread => String::new(),
    }
}

fn requests(report: &Report) -> Json {
    fn walk(lines: &'static [Line], rows: &mut std::slice::Iter<'_, Row>) -> Vec<Json> {
        lines
            .iter()
            .map(|line| match line {
                Line::Row { label, .. } => {
                    let cells: Vec<String> =
                        rows.next().into_iter().flatten().map(printed).collect();
                    json!({ "label": label, "cells": cells })
                }
                Line::Group { label, lines, .. } => {
                    json!({ "label": label, "rows": walk(lines, rows) })
                }
            })
            .collect()
    }
    let [person, organisations @ .., total] = APPLICANTS.map(|(_, label)| label);
    json!({
        "introduction": blocks(&report.requests.introduction),
        "rule": RECONCILIATION,
        "applicants_label": "申请人情况",
        "applicants": [
            { "label": person },
            { "label": "法人或其他组织", "kinds": organisations },
            { "label": total },
        ],
        "rows": walk(report.form.requests, &mut report.requests.rows.iter()),
        "notes": report.requests.notes,
    })
}

fn review(report: &Report) -> Json {
    let [reconsideration, direct, after] = report
        .review
        .groups
        .each_ref()
        .map(|group| group.each_ref().map(printed));
    json!({
        "introduction": blocks(&report.review.introduction),
        "results": RESULTS.map(|(_, label)| label),
        "groups": [
            { "label": "行政复议", "cells": reconsideration },
            { "label": "行政诉讼", "groups": [
                { "label": "未经复议直接起诉", "cells": direct },
                { "label": "复议后起诉", "cells": after },
            ] },
        ],
        "notes": report.review.notes,
    })
}

fn blocks(blocks: &[Block]) -> Vec<Json> {
    blocks
        .iter()
        .map(|block| match block {
            Block::Paragraph(text) => {
                let (level, lead) = lead(text);
                json!({
                    "kind": "paragraph", "level": level, "lead": lead, "text": &text[lead.len()..],
                })
            }
            Block::Heading(text) => {
                json!({ "kind": "heading", "level": level(text).unwrap_or(2), "text": text })
            }
            Block::Table {
                columns,
                rows,
                caption,
            } => {
                json!({ "kind": "table", "columns": columns, "rows": rows, "caption": caption })
            }
        })
        .collect()
}

/// The opening sentence of a paragraph that begins with one of the official numbering levels,
/// and its level; level 0 and nothing for any other paragraph. The sentence ends with its 。, as
/// in `（一）主动公开情况。全年…`; a short paragraph without any stop is a heading that was sent as
/// text, `二、工作机制保障`, and is all of it.
fn lead(text: &str) -> (u8, &str) {
    const STOPS: [char; 7] = ['。', '，', '；', '：', '！', '？', '\n'];
    const HEADING: usize = 40;
    let Some(level) = level(text) else {
        return (0, "");
    };
    match text.find('。') {
        Some(stop) if !text[..stop].contains('\n') => (level, &text[..stop + '。'.len_utf8()]),
        None if !text.contains(STOPS) && text.chars().count() <= HEADING => (level, text),
        _ => (0, ""),
    }
}

/// The level of a heading by its number (GB/T 9704-2012, 7.3.3): 一、 is 1, （一） 2, 1. 3, （1） 4.
fn level(text: &str) -> Option<u8> {
    const HAN: &str = "一二三四五六七八九十百〇零";
    let number = |digits: &str, text: &str| {
        let end = text.find(|c| !digits.contains(c)).unwrap_or(text.len());
        (end > 0).then(|| text[end..].to_owned())
    };
    let arabic = "0123456789";
    if let Some(inner) = text.strip_prefix(['（', '(']) {
        if number(HAN, inner).is_some_and(|rest| rest.starts_with(['）', ')'])) {
            return Some(2);
        }
        if number(arabic, inner).is_some_and(|rest| rest.starts_with(['）', ')'])) {
            return Some(4);
        }
        return None;
    }
    if number(HAN, text).is_some_and(|rest| rest.starts_with('、')) {
        return Some(1);
    }
    let rest = number(arabic, text)?;
    let mut rest = rest.chars();
    // "1.5倍" is a figure, not a number of a paragraph.
    (matches!(rest.next(), Some('.' | '．' | '、'))
        && !rest.next().is_some_and(|c| c.is_ascii_digit()))
    .then_some(3)
}

#[cfg(test)]
mod tests {
    use super::{lead, level};

    #[test]
    fn a_paragraph_gets_the_face_of_its_number_for_its_opening_sentence() {
        for (text, expected) in [
            (
                "（一）主动公开情况。全年公开2428条。",
                (2, "（一）主动公开情况。"),
            ),
            ("1.加强组织领导。建立机制。", (3, "1.加强组织领导。")),
            ("（1）财政。公开预算。", (4, "（1）财政。")),
            ("（二）只有一句。", (2, "（二）只有一句。")),
            ("二、工作机制保障", (1, "二、工作机制保障")),
            ("（三）没有句号，但有逗号", (0, "")),
            ("2023年，全区公开13561条。", (0, "")),
            ("1.5倍增长。后文", (0, "")),
            ("（以下简称《条例》）规定。后文", (0, "")),
        ] {
            assert_eq!(lead(text), expected, "{text}");
        }
    }

    #[test]
    fn the_four_levels_of_the_standard() {
        let levels = ["一、总体", "（十二）公开", "12.其他", "（3）其他", "其他"].map(level);
        assert_eq!(levels, [Some(1), Some(2), Some(3), Some(4), None]);
    }
}

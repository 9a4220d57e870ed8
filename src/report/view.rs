//! The report as the templates see it: finished strings in the order of the page. A template
//! only lays out; it computes nothing and knows no rule.

use serde_json::{Map, Value as Json, json};

use super::form::{CellKind, Entry, Field, FieldKind, Head, Shape, Table};
use super::{Block, Content, Report, cell};

/// The report as JSON for its template: its fields, and under `sections` those with a heading;
/// `order` has their names in the order of the page.
pub fn view(report: &Report) -> Json {
    let mut view = Map::new();
    let mut sections = Map::new();
    let mut order = Vec::new();
    view.insert("edition".to_owned(), json!(report.form.edition()));
    for (field, content) in report.form.fields.iter().zip(&report.fields) {
        match &field.heading {
            // Nothing is left of a table that a job leaves out.
            Some(_) if *content == Content::Absent && matches!(field.kind, FieldKind::Table(_)) => {
            }
            Some(heading) => {
                let mut section = section(report, field, content);
                section["heading"] = json!(heading);
                sections.insert(field.field.clone(), section);
                order.push(json!(field.field));
            }
            None => {
                view.insert(field.field.clone(), plain(content, &field.kind));
            }
        }
    }
    view.insert("title".to_owned(), json!(report.title()));
    view.insert("order".to_owned(), order.into());
    view.insert("sections".to_owned(), sections.into());
    view.into()
}

/// A field that stands before the sections.
fn plain(content: &Content, kind: &FieldKind) -> Json {
    match content {
        Content::Absent
            if matches!(
                kind,
                FieldKind::Lines | FieldKind::Blocks(_) | FieldKind::Parts
            ) =>
        {
            json!([])
        }
        Content::Absent => Json::Null,
        Content::Text(text) => json!(text),
        Content::Year(year) => json!(year),
        Content::Date(day) => json!(cell::date(*day)),
        Content::Lines(lines) => json!(lines),
        Content::Blocks(list) => json!(blocks(list)),
        Content::Parts(parts) => {
            let parts = parts.iter().map(|(title, list)| (title, blocks(list)));
            parts
                .map(|(title, blocks)| json!({ "title": title, "blocks": blocks }))
                .collect()
        }
        Content::Table { .. } => Json::Null,
    }
}

fn section(report: &Report, field: &Field, content: &Content) -> Json {
    let table = match &field.kind {
        FieldKind::Table(table) => table,
        kind => return json!({ "blocks": plain(content, kind) }),
    };
    let mut section = match table.shape {
        Shape::Bands => json!({ "bands": bands(report, table) }),
        Shape::Matrix => json!({
            "rule": table.corner,
            "columns_label": table.columns_label,
            "columns": heads(&table.heads),
            "rows": rows(report, &table.entries),
        }),
        Shape::Row => json!({
            "heads": heads(&table.row_heads()),
            "cells": cells(report, &table.entries),
        }),
        Shape::List => list(report, table),
    };
    if let Content::Table {
        introduction,
        notes,
    } = content
    {
        section["introduction"] = json!(blocks(introduction));
        let notes: Vec<&String> = table.notes.iter().chain(notes).collect();
        section["notes"] = json!(notes);
    }
    section
}

/// A list: its heads, its rows with their serial numbers, which of a row's cells names it, and the
/// row of totals, whose label stands before the first figure.
fn list(report: &Report, table: &Table) -> Json {
    let Some((rows, total)) = table.entries.split_first() else {
        return json!({});
    };
    let serial = usize::from(table.serial.is_some());
    let head = table.serial.iter().map(|label| json!({ "label": label }));
    let all: Vec<Vec<String>> = (1..)
        .zip(rows.entries())
        .map(|(number, row)| {
            let number = table.serial.iter().map(|_| number.to_string());
            number.chain(cells(report, row.entries())).collect()
        })
        .collect();
    let first = rows.entries().first();
    let kinds = first.map_or_else(Vec::new, Entry::cells).into_iter();
    let kinds: Vec<&CellKind> = kinds.map(|cell| &report.form.cells[cell].kind).collect();
    let named = first.and_then(|first| report.form.naming_cell(first));
    let texts: Vec<usize> = (serial..)
        .zip(&kinds)
        .filter(|(_, kind)| ***kind == CellKind::Text)
        .map(|(at, _)| at)
        .collect();
    let before = kinds.iter().take_while(|kind| !kind.is_figure()).count();
    let total = total.first().map(|total| {
        let mut figures = cells(report, total.entries()).into_iter();
        let under = kinds
            .iter()
            .skip(before)
            .map(|kind| match kind.is_figure() {
                true => figures.next().unwrap_or_default(),
                false => String::new(),
            });
        json!({ "label": total.label, "span": serial + before, "cells": under.collect::<Vec<_>>() })
    });
    json!({
        "heads": head.chain(heads(&table.heads)).collect::<Vec<_>>(),
        "rows": all,
        "named": named.map(|at| serial + at),
        "texts": texts,
        "total": total,
    })
}

/// The cells of some entries as they are printed.
fn cells(report: &Report, entries: &[Entry]) -> Vec<String> {
    let indices = entries.iter().flat_map(Entry::cells);
    let printed =
        |index: usize| cell::printed(&report.cells[index], &report.form.cells[index].kind);
    indices.map(printed).collect()
}

fn bands(report: &Report, table: &Table) -> Vec<Json> {
    let band = |band: &Entry| {
        let columns = band.entries().first().map_or(&[][..], Entry::entries);
        let columns = columns.iter().map(|column| column.label.as_str());
        let heads: Vec<&str> = std::iter::once(table.corner.as_str())
            .chain(columns)
            .collect();
        let rows = rows(report, band.entries());
        json!({ "label": band.label, "heads": heads, "rows": rows })
    };
    table.entries.iter().map(band).collect()
}

/// Rows with their cells, and groups with rows of their own.
fn rows(report: &Report, entries: &[Entry]) -> Vec<Json> {
    let row = |entry: &Entry| {
        let label = &entry.label;
        if entry.is_row() {
            json!({ "label": label, "cells": cells(report, entry.entries()) })
        } else {
            json!({ "label": label, "rows": rows(report, entry.entries()) })
        }
    };
    entries.iter().map(row).collect()
}

fn heads(list: &[Head]) -> Vec<Json> {
    let head = |head: &Head| match head.heads.is_empty() {
        true => json!({ "label": head.label }),
        false => json!({ "label": head.label, "heads": heads(&head.heads) }),
    };
    list.iter().map(head).collect()
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
pub fn level(text: &str) -> Option<u8> {
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

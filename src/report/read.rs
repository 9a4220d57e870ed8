//! How the report is read out of JSON, field by field, in the order of the form.
//!
//! What cannot be read is noted and stands in the report as a placeholder, so that the rules
//! still see the rest and every problem is told at once.

use std::sync::Arc;

use super::form::{Entry, Field, FieldKind, Form, Holds, Table};
use super::json::{Fields, Node, Place, Problems, bad, items, wrong};
use super::text::{self, Kind as Text};
use super::{Block, Cell, Content, Prior, Report, block_texts, cell};
use crate::config::Limits;
use crate::problem::{Code, Problem};

/// Reads the `data` of a job. What cannot be read is noted in `problems` and stands in the
/// report as a placeholder, so that the rules still see the rest.
pub fn report(
    node: &Node,
    place: &Place,
    form: &Arc<Form>,
    limits: &Limits,
    problems: &mut Problems,
) -> Report {
    let form = match form.lists().next() {
        None => Arc::clone(form),
        Some(_) => Arc::new(with_rows(form, node, place, limits, problems)),
    };
    let mut report = Report {
        fields: vec![Content::Absent; form.fields.len()],
        cells: vec![Cell::Unread; form.cells.len()],
        form: Arc::clone(&form),
    };
    let Some(mut fields) = Fields::of(node, place, problems) else {
        return report;
    };
    let mut prose = Prose {
        limits,
        paragraphs: 0,
        characters: 0,
    };
    for (field, content) in form.fields.iter().zip(&mut report.fields) {
        let found = if field.optional {
            fields.optional(&field.field, &field.label)
        } else {
            fields.required(&field.field, &field.label, problems)
        };
        if let Some((node, place)) = found {
            let reading = Reading {
                form: &form,
                prose: &mut prose,
                cells: &mut report.cells,
                problems,
            };
            *content = reading.content(node, &place, field);
        }
    }
    fields.finish(problems);
    prose.check(place, problems);
    report
}

/// The longest name that a row of a list is called by in messages, in characters.
const MOST_NAME: usize = 40;

/// The form with as many rows in its lists as a job has. A list that is longer than the service
/// takes is told, and stays with one row.
fn with_rows(
    form: &Form,
    data: &Node,
    place: &Place,
    limits: &Limits,
    problems: &mut Problems,
) -> Form {
    let mut lists = Vec::new();
    for (at, list) in form.lists() {
        let field = &form.fields[at];
        let rows = data.get(&field.field).and_then(|list| list.get("rows"));
        let Some(Node::Array(rows)) = rows else {
            continue;
        };
        if rows.len() > limits.paragraphs {
            let (place, rows) = (place.field(&field.field, ""), rows.len());
            let most = limits.paragraphs;
            problems.push(
                Problem::new(
                    Code::SCHEMA,
                    place.field("rows", "").pointer,
                    format!("{rows} rows; this service takes {most} (limits.paragraphs)"),
                    format!("共{rows}行，超过上限{most}（limits.paragraphs）"),
                )
                .with(most, rows),
            );
            continue;
        }
        let like = list.entries().first();
        let named = like.and_then(|like| Some(&like.entries()[form.naming_cell(like)?]));
        let name = |row: &Node| {
            let name = row.get(&named?.field)?.as_str()?;
            let short = name.chars().count() <= MOST_NAME && !name.contains(char::is_control);
            short.then(|| name.to_owned())
        };
        lists.push((at, rows.iter().map(name).collect()));
    }
    form.with_rows(&lists).unwrap_or_else(|most| {
        problems.push(
            Problem::new(
                Code::SCHEMA,
                &place.pointer,
                format!("the lists have more than {most} cells, or their rules add more"),
                format!("各清单及其勾稽关系所涉单元格超过{most}个"),
            )
            .with(most, "more"),
        );
        form.clone()
    })
}

/// What reading a field needs beside its JSON.
struct Reading<'a, 'l> {
    form: &'a Form,
    prose: &'a mut Prose<'l>,
    cells: &'a mut [Cell],
    problems: &'a mut Problems,
}

impl Reading<'_, '_> {
    fn content(self, node: &Node, place: &Place, field: &Field) -> Content {
        let problems = self.problems;
        match &field.kind {
            FieldKind::Line => Content::Text(text::read(node, place, Text::Line, problems)),
            FieldKind::Text => Content::Text(text::read(node, place, Text::Lines, problems)),
            FieldKind::Year => Content::Year(read_year(node, place, self.form, problems)),
            FieldKind::Date => {
                cell::read_date(node, place, problems).map_or(Content::Absent, Content::Date)
            }
            FieldKind::Lines => Content::Lines(read_lines(node, place, Text::Line, problems)),
            FieldKind::Blocks(_) => Content::Blocks(self.prose.blocks(node, place, problems)),
            FieldKind::Parts => Content::Parts(self.prose.parts(node, place, problems)),
            FieldKind::Table(table) => {
                let reading = Reading { problems, ..self };
                reading.table(node, place, table)
            }
        }
    }

    /// A table: the text above it, its cells, its notes.
    fn table(self, node: &Node, place: &Place, table: &Table) -> Content {
        // Messages name row and column only; the section would be said in every one, and is where
        // there is one row, which has no other name.
        let rows = table
            .entries
            .iter()
            .any(|entry| !entry.entries().is_empty());
        let label = if rows { "" } else { &place.label };
        let place = Place::new(&place.pointer, label);
        let problems = self.problems;
        let (mut introduction, mut notes) = (Vec::new(), Vec::new());
        if let Some(mut fields) = Fields::of(node, &place, problems) {
            introduction = self.prose.introduction(&mut fields, problems);
            let mut cells = |index: usize, cell: Cell| self.cells[index] = cell;
            entries(&mut fields, &table.entries, self.form, &mut cells, problems);
            notes = read_notes(&mut fields, problems);
            fields.finish(problems);
        }
        Content::Table {
            introduction,
            notes,
        }
    }
}

/// Reads the entries of an object, and hands each cell to `take`. A cell that is not there is not
/// handed on, unless it may be left out.
fn entries<'a>(
    fields: &mut Fields<'a>,
    entries: &'a [Entry],
    form: &'a Form,
    take: &mut impl FnMut(usize, Cell),
    problems: &mut Problems,
) {
    for entry in entries {
        let found = if entry.optional {
            fields.optional(&entry.field, &entry.said)
        } else {
            fields.required(&entry.field, &entry.said, problems)
        };
        let Some((node, place)) = found else {
            if entry.optional {
                for index in entry.cells() {
                    take(index, Cell::Absent);
                }
            }
            continue;
        };
        match &entry.holds {
            Holds::Cell(index) => {
                let kind = &form.cells[*index].kind;
                take(*index, cell::read(node, &place, kind, problems));
            }
            Holds::Rows(rows) => {
                let found = items(node, &place, problems);
                if matches!(node, Node::Array(_)) && found.is_empty() {
                    let en = "want a row at least; where there is nothing to list, one whose cells \
                              are null";
                    let zh = "各行：至少要有一行；无可列者填一行，各格为null";
                    bad(problems, &place, en, zh);
                }
                // One that is longer than the service takes is told already.
                let whole = found.len() == rows.len();
                let place = Place::new(place.pointer, "");
                for (row, (node, _)) in rows.iter().zip(found).filter(|_| whole) {
                    let place = place.field(&row.field, &row.said);
                    object(node, &place, row.entries(), form, take, problems);
                }
            }
            Holds::Entries(inner) => {
                let place = if entry.leads {
                    place
                } else {
                    Place::new(place.pointer, "")
                };
                object(node, &place, inner, form, take, problems);
            }
        }
    }
}

fn object(
    node: &Node,
    place: &Place,
    inner: &[Entry],
    form: &Form,
    take: &mut impl FnMut(usize, Cell),
    problems: &mut Problems,
) {
    if let Some(mut fields) = Fields::of(node, place, problems) {
        entries(&mut fields, inner, form, take, problems);
        fields.finish(problems);
    }
}

fn read_year(node: &Node, place: &Place, form: &Form, problems: &mut Problems) -> u16 {
    let year = node.whole().and_then(|year| u16::try_from(year).ok());
    let Some(year) = year.filter(|year| (2008..=2100).contains(year)) else {
        wrong(
            problems,
            place,
            node,
            "a year from 2008 to 2100",
            "2008至2100的年份",
        );
        return 0;
    };
    if !form.years.contains(&year) {
        let (from, to) = (form.years.start(), form.years.end());
        let mut siblings = form.siblings.iter();
        let (en, zh) = match siblings.find(|form| form.years.contains(&year)) {
            Some(other) => (
                format!("; the report for {year} uses {}", other.name),
                format!("；{year}年度报告应使用 {}（{}）", other.name, other.notice),
            ),
            None => Default::default(),
        };
        let name = &form.name;
        problems.push(
            Problem::new(
                Code::EDITION,
                &place.pointer,
                format!("{name} serves the years {from} to {to}, not {year}{en}"),
                format!("{name}适用于{from}至{to}年度，不适用于{year}年度{zh}"),
            )
            .with(format!("{from}-{to}"), year),
        );
    }
    year
}

/// Reads the text, and counts what it uses of its limits.
struct Prose<'a> {
    limits: &'a Limits,
    paragraphs: usize,
    characters: usize,
}

impl Prose<'_> {
    fn check(&self, place: &Place, problems: &mut Problems) {
        let limits = self.limits;
        for (spent, limit, key, en, zh) in [
            (
                self.paragraphs,
                limits.paragraphs,
                "paragraphs",
                "paragraphs and rows",
                "个段落和表行",
            ),
            (
                self.characters,
                limits.characters,
                "characters",
                "characters",
                "个字符",
            ),
        ] {
            if spent > limit {
                problems.push(
                    Problem::new(
                        Code::SCHEMA,
                        &place.pointer,
                        format!(
                            "the text has {spent} {en}; this service takes {limit} (limits.{key})"
                        ),
                        format!("正文共{spent}{zh}，超过上限{limit}（limits.{key}）"),
                    )
                    .with(limit, spent),
                );
            }
        }
    }

    /// The blocks of an array.
    fn blocks(&mut self, node: &Node, place: &Place, problems: &mut Problems) -> Vec<Block> {
        let mut blocks = Vec::new();
        for (node, place) in items(node, place, problems) {
            if self.paragraphs > self.limits.paragraphs {
                // Over the limit already: count on, but collect no problems of what is not wanted.
                self.paragraphs += 1;
                continue;
            }
            if let Some(block) = read_block(node, &place, problems) {
                let texts = block_texts(&block);
                self.characters += texts
                    .iter()
                    .map(|(_, text)| text.chars().count())
                    .sum::<usize>();
                self.paragraphs += match &block {
                    Block::Table { rows, .. } => rows.len() + 1,
                    _ => 1,
                };
                blocks.push(block);
            }
        }
        blocks
    }

    /// Titles, each with its blocks: `{"title": …, "blocks": […]}`.
    fn parts(
        &mut self,
        node: &Node,
        place: &Place,
        problems: &mut Problems,
    ) -> Vec<(String, Vec<Block>)> {
        let mut parts = Vec::new();
        for (node, place) in items(node, place, problems) {
            let Some(mut fields) = Fields::of(node, &place, problems) else {
                continue;
            };
            let title = fields.required("title", "标题", problems);
            let blocks = fields.required("blocks", "正文", problems);
            fields.finish(problems);
            let title = title.map(|(node, place)| text::read(node, &place, Text::Lines, problems));
            let blocks = blocks.map(|(node, place)| self.blocks(node, &place, problems));
            parts.push((title.unwrap_or_default(), blocks.unwrap_or_default()));
        }
        parts
    }

    /// The text between the heading of a section and its table.
    fn introduction(&mut self, fields: &mut Fields<'_>, problems: &mut Problems) -> Vec<Block> {
        match fields.optional("introduction", "表前文字") {
            Some((node, place)) => self.blocks(node, &place, problems),
            None => Vec::new(),
        }
    }
}

fn read_block(node: &Node, place: &Place, problems: &mut Problems) -> Option<Block> {
    const EN: &str = "a paragraph, {\"heading\": …} or {\"table\": …}";
    const ZH: &str = "段落、{\"heading\": …}或{\"table\": …}";
    if let Node::String(_) = node {
        let text = text::read(node, place, Text::Paragraph, problems);
        return Some(Block::Paragraph(text));
    }
    let Node::Object(pairs) = node else {
        wrong(problems, place, node, EN, ZH);
        return None;
    };
    let mut fields = Fields::of(node, place, problems)?;
    let heading = fields.optional("heading", "");
    let table = fields.optional("table", "");
    fields.finish(problems);
    match (heading, table) {
        (Some((node, place)), None) => {
            let text = text::read(node, &place, Text::Line, problems);
            Some(Block::Heading(text))
        }
        (None, Some((node, place))) => read_table(node, &place, problems),
        (None, None) if !pairs.is_empty() => None, // an unknown field, noted already
        _ => {
            let name = place.name();
            bad(
                problems,
                place,
                &format!("want {EN}"),
                &format!("{name}应为{ZH}"),
            );
            None
        }
    }
}

fn read_table(node: &Node, place: &Place, problems: &mut Problems) -> Option<Block> {
    let mut fields = Fields::of(node, place, problems)?;
    let columns = fields.required("columns", "表头", problems);
    let rows = fields.required("rows", "表行", problems);
    let caption = fields.optional("caption", "表题");
    fields.finish(problems);

    let caption = caption.map(|(node, place)| text::read(node, &place, Text::Lines, problems));
    let (columns_node, columns_place) = columns?;
    let columns: Vec<String> = items(columns_node, &columns_place, problems)
        .into_iter()
        .map(|(node, place)| table_cell(node, &place, problems))
        .collect();
    if columns.is_empty() {
        bad(
            problems,
            &columns_place,
            "a table needs a column",
            "表格至少要有一列",
        );
    }
    let (rows_node, rows_place) = rows?;
    let mut cells = Vec::new();
    for (node, place) in items(rows_node, &rows_place, problems) {
        let row: Vec<String> = items(node, &place, problems)
            .into_iter()
            .map(|(node, place)| table_cell(node, &place, problems))
            .collect();
        if row.len() != columns.len() && matches!(node, Node::Array(_)) {
            let (want, found) = (columns.len(), row.len());
            problems.push(
                Problem::new(
                    Code::SCHEMA,
                    &place.pointer,
                    format!("the row has {found} cells, the table {want} columns"),
                    format!("本行有{found}格，而表头有{want}列"),
                )
                .with(want, found),
            );
        }
        cells.push(row);
    }
    Some(Block::Table {
        columns,
        rows: cells,
        caption,
    })
}

/// A cell of a table in the text: a string, which may be empty, or a whole number.
fn table_cell(node: &Node, place: &Place, problems: &mut Problems) -> String {
    match node {
        Node::String(_) => text::read(node, place, Text::Cell, problems),
        other => match other.whole() {
            Some(number) => number.to_string(),
            None => {
                let en = "a string, or a whole number that is less than 2^53";
                wrong(problems, place, other, en, "字符串，或小于2^53的整数");
                String::new()
            }
        },
    }
}

fn read_notes(fields: &mut Fields<'_>, problems: &mut Problems) -> Vec<String> {
    let Some((node, place)) = fields.optional("notes", "注") else {
        return Vec::new();
    };
    read_lines(node, &place, Text::Lines, problems)
}

/// The texts of an array.
fn read_lines(node: &Node, place: &Place, kind: Text, problems: &mut Problems) -> Vec<String> {
    items(node, place, problems)
        .into_iter()
        .map(|(node, place)| text::read(node, &place, kind, problems))
        .collect()
}

impl Prior {
    /// Reads the `prior` of a job.
    pub fn read(node: &Node, place: &Place, form: &Form, problems: &mut Problems) -> Prior {
        let mut prior = Prior::default();
        let mut take = |index: usize, cell: Cell| {
            if let Some(value) = cell.number() {
                prior.figures.insert(index, value);
            }
        };
        object(node, place, &form.prior, form, &mut take, problems);
        prior
    }
}

//! Reads a `form.toml`.
//!
//! Takes its text, gives a [`Form`], or every mistake of it at once, each with line, key and fix.
//! Never runs anything that a file says: what it can ask for is bounded by [`LIMITS`].

use std::collections::BTreeSet;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::equation::{self, RuleSource};
use super::mistakes::{At, LIMITS, Reader};
use super::{
    CellKind, CellPlace, Each, Entry, Field, FieldKind, Form, Head, Holds, Shape, Table, TextRule,
    TextRuleKind, braces, row_said,
};
use crate::problem::{Code, Severity};
use crate::report::json::nearest;

/// The years of a form that says none: those that a job's year may be.
const YEARS: std::ops::RangeInclusive<u16> = 2008..=2100;

/// Names that a job has of its own in every table.
const RESERVED: [&str; 2] = ["introduction", "notes"];

impl Form {
    /// Reads the form of the template `name` (`PACKAGE/EDITION`); `path` is what to call the file.
    ///
    /// # Errors
    /// Every mistake, as `path:line: key: what is wrong; what to do`.
    pub fn parse(name: &str, path: &str, text: &str) -> Result<Form, Vec<String>> {
        let mut reader = Reader {
            path,
            text,
            mistakes: Vec::new(),
        };
        if text.len() > LIMITS.bytes {
            let most = LIMITS.bytes;
            reader.note(0, "", &format!("the file is larger than {most} bytes"));
            return Err(reader.mistakes);
        }
        let (document, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            let at = error.span().map_or(0, |span| span.start);
            reader.note(at, "", error.message());
        }
        if !reader.mistakes.is_empty() {
            return Err(reader.mistakes);
        }
        let form = document_of(&document, name, &mut reader);
        match form {
            Some(form) if reader.mistakes.is_empty() => Ok(form),
            _ => Err(reader.mistakes),
        }
    }
}

/// The keys of a table, each asked for once; what is left at the end is unknown.
struct Keys<'a> {
    table: &'a DeTable<'a>,
    at: At,
    known: Vec<&'static str>,
}

impl<'a> Keys<'a> {
    fn of(value: &'a Spanned<DeValue<'a>>, key: String, reader: &mut Reader) -> Option<Keys<'a>> {
        let at = At {
            byte: value.span().start,
            key,
        };
        let Some(table) = value.get_ref().as_table() else {
            wrong(value, &at, "a table", reader);
            return None;
        };
        Some(Keys {
            table,
            at,
            known: Vec::new(),
        })
    }

    fn get(&mut self, key: &'static str) -> Option<(&'a Spanned<DeValue<'a>>, At)> {
        self.known.push(key);
        let value = self.table.get(key)?;
        let path = if self.at.key.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.at.key)
        };
        let at = At {
            byte: value.span().start,
            key: path,
        };
        Some((value, at))
    }

    /// A text with its place, for what may be wrong with it.
    fn placed(&mut self, key: &'static str, reader: &mut Reader) -> Option<(String, At)> {
        let (value, at) = self.get(key)?;
        Some((as_text(value, &at, reader)?, at))
    }

    fn text(&mut self, key: &'static str, reader: &mut Reader) -> Option<String> {
        self.placed(key, reader).map(|(text, _)| text)
    }

    /// A text that must be there; nothing, where that is noted.
    fn wanted(&mut self, key: &'static str, reader: &mut Reader) -> String {
        let found = self.required(key, reader);
        found.map_or_else(String::new, |(text, _)| text)
    }

    fn required(&mut self, key: &'static str, reader: &mut Reader) -> Option<(String, At)> {
        if !self.table.contains_key(key) {
            self.known.push(key);
            let what = format!("the key \"{key}\" is missing; add it");
            reader.note(self.at.byte, &self.at.key, &what);
            return None;
        }
        self.placed(key, reader)
    }

    fn flag(&mut self, key: &'static str, reader: &mut Reader) -> bool {
        let Some((value, at)) = self.get(key) else {
            return false;
        };
        value.get_ref().as_bool().unwrap_or_else(|| {
            wrong(value, &at, "true or false", reader);
            false
        })
    }

    fn number(&mut self, key: &'static str, reader: &mut Reader) -> Option<i64> {
        let (value, at) = self.get(key)?;
        as_number(value, &at, reader)
    }

    /// The tables of an array, each with its keys.
    fn tables(&mut self, key: &'static str, reader: &mut Reader) -> Vec<Keys<'a>> {
        let Some((value, at)) = self.get(key) else {
            return Vec::new();
        };
        let items = as_items(value, &at, reader);
        let keys = items
            .into_iter()
            .map(|(value, at)| Keys::of(value, at.key, reader));
        keys.collect::<Vec<_>>().into_iter().flatten().collect()
    }

    fn texts(&mut self, key: &'static str, reader: &mut Reader) -> Vec<String> {
        let texts = self.placed_texts(key, reader);
        texts.into_iter().map(|(text, _)| text).collect()
    }

    /// The texts of an array, each with its place.
    fn placed_texts(&mut self, key: &'static str, reader: &mut Reader) -> Vec<(String, At)> {
        let Some((value, at)) = self.get(key) else {
            return Vec::new();
        };
        let items = as_items(value, &at, reader).into_iter();
        let texts = items.map(|(item, at)| as_text(item, &at, reader).map(|text| (text, at)));
        texts.collect::<Vec<_>>().into_iter().flatten().collect()
    }

    fn finish(self, reader: &mut Reader) {
        for (key, _) in self.table {
            let name: &str = key.get_ref();
            if !self.known.contains(&name) {
                let near = nearest(name, self.known.iter().copied());
                let near = near.map_or_else(String::new, |near| {
                    format!("; the nearest known one is \"{near}\"")
                });
                let what = format!("unknown key \"{name}\"{near}");
                reader.note(key.span().start, &self.at.key, &what);
            }
        }
    }
}

fn wrong(value: &Spanned<DeValue<'_>>, at: &At, want: &str, reader: &mut Reader) {
    let found = value.get_ref().type_str();
    reader.note(at.byte, &at.key, &format!("want {want}, found {found}"));
}

fn as_text(value: &Spanned<DeValue<'_>>, at: &At, reader: &mut Reader) -> Option<String> {
    match value.get_ref().as_str() {
        Some(text) if !text.trim().is_empty() => Some(text.to_owned()),
        Some(_) => {
            reader.note(at.byte, &at.key, "must not be empty");
            None
        }
        None => {
            wrong(value, at, "a string", reader);
            None
        }
    }
}

fn as_number(value: &Spanned<DeValue<'_>>, at: &At, reader: &mut Reader) -> Option<i64> {
    let number = value.get_ref().as_integer();
    let number = number.and_then(|n| i64::from_str_radix(n.as_str(), n.radix()).ok());
    if number.is_none() {
        wrong(value, at, "a whole number", reader);
    }
    number
}

fn as_items<'a>(
    value: &'a Spanned<DeValue<'a>>,
    at: &At,
    reader: &mut Reader,
) -> Vec<(&'a Spanned<DeValue<'a>>, At)> {
    let Some(items) = value.get_ref().as_array() else {
        wrong(value, at, "an array", reader);
        return Vec::new();
    };
    if items.len() > LIMITS.items {
        let (found, most) = (items.len(), LIMITS.items);
        let what = format!("{found} items; there may be {most}");
        reader.note(at.byte, &at.key, &what);
        return Vec::new();
    }
    let item = |(index, item): (usize, &'a Spanned<DeValue<'a>>)| {
        let key = format!("{}[{index}]", at.key);
        let byte = item.span().start;
        (item, At { byte, key })
    };
    items.iter().enumerate().map(item).collect()
}

fn as_texts(value: &Spanned<DeValue<'_>>, at: &At, reader: &mut Reader) -> Vec<String> {
    let items = as_items(value, at, reader);
    let texts = items.iter().map(|(item, at)| as_text(item, at, reader));
    texts.collect::<Vec<_>>().into_iter().flatten().collect()
}

/// The name of a field in jobs.
fn name_of(keys: &mut Keys<'_>, names: &mut BTreeSet<String>, reader: &mut Reader) -> String {
    let Some((name, at)) = keys.required("field", reader) else {
        return String::new();
    };
    let right = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.chars().all(right) {
        let what = format!("the name \"{name}\"; want a-z, 0-9 and _, a letter first");
        reader.note(at.byte, &at.key, &what);
    } else if !names.insert(name.clone()) {
        let what = format!("the name \"{name}\" is given twice; names beside each other differ");
        reader.note(at.byte, &at.key, &what);
    }
    name
}

/// What a code does, if it is one that a form may have.
fn code_of(keys: &mut Keys<'_>, reader: &mut Reader) -> Option<Code> {
    let (text, at) = keys.required("code", reader)?;
    let code = Code::named(&text).filter(|code| code.severity() != Severity::Error);
    if code.is_none_or(|code| Code::OWN.contains(&code)) {
        let what = format!("the code \"{text}\"; want R- or W- and capitals, as \"R-TOTAL\"");
        reader.note(at.byte, &at.key, &what);
        return None;
    }
    code
}

fn document_of(document: &Spanned<DeTable<'_>>, name: &str, reader: &mut Reader) -> Option<Form> {
    let mut keys = Keys {
        table: document.get_ref(),
        at: At {
            byte: 0,
            key: String::new(),
        },
        known: Vec::new(),
    };
    let title = keys.required("title", reader);
    let notice = keys.required("notice", reader);
    let description = keys.placed("description", reader);
    let keywords = keys.placed_texts("keywords", reader);
    let succeeds = keys.text("succeeds", reader);
    let years = years_of(&mut keys, reader);
    let (author, year, date) = (
        keys.required("author", reader),
        keys.required("year", reader),
        keys.placed("date", reader),
    );
    let mut cells = Vec::new();
    let mut names = BTreeSet::new();
    let fields = keys.tables("field", reader);
    let fields: Vec<Field> = fields
        .into_iter()
        .map(|keys| field_of(keys, &mut names, &mut cells, reader))
        .collect();
    if fields.is_empty() {
        reader.note(0, "", "no [[field]]; a document has at least one");
    }
    if cells.len() > LIMITS.cells {
        let (found, most) = (cells.len(), LIMITS.cells);
        reader.note(0, "", &format!("{found} cells; there may be {most}"));
        return None;
    }
    let filled = fields.iter().filter(|field| {
        let kind = &field.kind;
        matches!(
            kind,
            FieldKind::Line | FieldKind::Text | FieldKind::Year | FieldKind::Date
        )
    });
    let filled = filled.map(|field| field.field.as_str()).chain(["notice"]);
    let filled: Vec<&str> = filled.collect();
    for text in title.iter().chain(&description).chain(&keywords) {
        check_braces(text, &filled, reader);
    }
    for named in [&author, &year].into_iter().flatten() {
        let optional = |field: &&Field| field.optional && field.field == named.0;
        if fields.iter().any(|field| optional(&field)) {
            let what = format!("\"{}\" is optional, and every document has one", named.0);
            reader.note(named.1.byte, &named.1.key, &what);
        }
    }
    let mut place = |named: Option<(String, At)>, kinds: fn(&FieldKind) -> bool, want: &str| {
        let (name, at) = named?;
        let found = fields
            .iter()
            .position(|field| field.field == name && kinds(&field.kind));
        if found.is_none() {
            let there = fields.iter().filter(|field| kinds(&field.kind));
            let near = nearest(&name, there.map(|field| field.field.as_str()));
            let near = near.map_or_else(String::new, |near| format!("; there is \"{near}\""));
            let what = format!("no field \"{name}\" that is {want}{near}");
            reader.note(at.byte, &at.key, &what);
        }
        found
    };
    let author = place(author, |kind| matches!(kind, FieldKind::Line), "a line");
    let year = place(
        year,
        |kind| matches!(kind, FieldKind::Year | FieldKind::Date),
        "a year or a date",
    );
    let date = place(date, |kind| matches!(kind, FieldKind::Date), "a date");

    let prior = keys.tables("prior", reader);
    let prior: Vec<Entry> = prior
        .into_iter()
        .filter_map(|keys| prior_of(keys, &cells, reader))
        .collect();
    let rules = keys.tables("rule", reader);
    let sources: Vec<RuleSource> = rules
        .into_iter()
        .filter_map(|keys| rule_of(keys, reader))
        .collect();
    keys.finish(reader);
    let rules = equation::compile(&sources, &cells, &prior, reader);
    let mut form = Form {
        name: name.to_owned(),
        title: title?.0,
        notice: notice?.0,
        years: years?,
        description: description.map_or_else(|| "按{notice}编制".to_owned(), |(text, _)| text),
        keywords: keywords.into_iter().map(|(text, _)| text).collect(),
        author: author?,
        year: year?,
        date,
        fields,
        cells,
        rules,
        sources: Vec::new(),
        prior,
        succeeds,
        siblings: Vec::new(),
    };
    if form.lists().next().is_some() {
        form.sources = sources;
    }
    form.mark_totals();
    Some(form)
}

impl Form {
    /// A row whose cells are all made by adding up columns may be left out of a job, and so may a
    /// cell that is made by adding up its row. Of a list's totals each may be left out that is made:
    /// what has no sum is beside them.
    pub(super) fn mark_totals(&mut self) {
        let computed = |down: bool| -> BTreeSet<usize> {
            let rules = self.rules.iter();
            let rules = rules.filter(|rule| (rule.each == Each::Column) == down);
            rules.flat_map(|rule| rule.computed()).collect()
        };
        fn mark(entries: &mut [Entry], down: &BTreeSet<usize>, cells: &BTreeSet<usize>) {
            for entry in entries {
                let all = entry.cells();
                match &mut entry.holds {
                    Holds::Cell(cell) => entry.optional = cells.contains(cell),
                    Holds::Rows(rows) => mark(rows, down, cells),
                    Holds::Entries(inner) => {
                        entry.optional = all.iter().all(|cell| down.contains(cell));
                        mark(inner, down, cells);
                    }
                }
            }
        }
        let (down, across) = (computed(true), computed(false));
        let both = &down | &across;
        for field in &mut self.fields {
            if let FieldKind::Table(table) = &mut field.kind {
                let cells = match table.shape {
                    Shape::List => &both,
                    _ => &across,
                };
                mark(&mut table.entries, &down, cells);
            }
        }
    }
}

fn years_of(keys: &mut Keys<'_>, reader: &mut Reader) -> Option<std::ops::RangeInclusive<u16>> {
    let Some((value, at)) = keys.get("years") else {
        return Some(YEARS);
    };
    let items = as_items(value, &at, reader);
    let years: Vec<u16> = items
        .iter()
        .filter_map(|(item, at)| as_number(item, at, reader))
        .filter_map(|year| u16::try_from(year).ok())
        .collect();
    match years[..] {
        [from, to] if from <= to => Some(from..=to),
        _ => {
            reader.note(at.byte, &at.key, "want [first, last], as [2021, 2100]");
            None
        }
    }
}

fn field_of(
    mut keys: Keys<'_>,
    names: &mut BTreeSet<String>,
    cells: &mut Vec<CellPlace>,
    reader: &mut Reader,
) -> Field {
    let field = name_of(&mut keys, names, reader);
    let kind = keys.required("kind", reader);
    let heading = keys.text("heading", reader);
    let label = keys.text("label", reader);
    let note = keys.text("note", reader);
    let optional = keys.flag("optional", reader);
    if heading.is_none() && label.is_none() {
        let what = "want a heading, of a section, or a label, of anything else";
        reader.note(keys.at.byte, &keys.at.key, what);
    }
    if let Some((kind, at)) = &kind {
        let table = ["bands", "matrix", "row", "list"].contains(&kind.as_str());
        if table && heading.is_none() {
            reader.note(keys.at.byte, &keys.at.key, "a table needs a heading");
        }
        let texts = ["line", "lines", "text", "year", "date", "parts"];
        if heading.is_some() && texts.contains(&kind.as_str()) {
            let what = "a heading is for blocks and tables; give a label, and set it in main.typ";
            reader.note(at.byte, &at.key, what);
        }
    }
    let pointer = format!("/{field}");
    let (name, at) = kind.unwrap_or_else(|| ("line".to_owned(), keys.at.clone()));
    let mut kind = match name.as_str() {
        "line" => FieldKind::Line,
        "text" => FieldKind::Text,
        "year" => FieldKind::Year,
        "date" => FieldKind::Date,
        "lines" => FieldKind::Lines,
        "blocks" => FieldKind::Blocks(text_rules_of(&mut keys, reader)),
        "parts" => FieldKind::Parts,
        "bands" => FieldKind::Table(bands_of(&mut keys, &pointer, cells, reader)),
        "matrix" => FieldKind::Table(matrix_of(&mut keys, &pointer, cells, reader)),
        "row" => {
            let named = heading.as_deref().unwrap_or_default();
            FieldKind::Table(row_of(&mut keys, &pointer, named, cells, reader))
        }
        "list" => FieldKind::Table(list_of(&mut keys, &pointer, cells, reader)),
        other => {
            let known = [
                "line", "lines", "text", "year", "date", "blocks", "parts", "bands", "matrix",
                "row", "list",
            ];
            let near = nearest(other, known.into_iter()).unwrap_or_default();
            let what = format!(
                "no kind \"{other}\"; there are {}; the nearest is \"{near}\"",
                known.join(", ")
            );
            reader.note(at.byte, &at.key, &what);
            FieldKind::Line
        }
    };
    if let FieldKind::Table(table) = &mut kind {
        table.notes = keys.texts("notes", reader);
    }
    keys.finish(reader);
    Field {
        field,
        label: heading.clone().or(label).unwrap_or_default(),
        heading,
        note,
        optional,
        kind,
    }
}

fn text_rules_of(keys: &mut Keys<'_>, reader: &mut Reader) -> Vec<TextRule> {
    let mut rules = Vec::new();
    for key in ["length", "mention"] {
        let Some((value, at)) = keys.get(key) else {
            continue;
        };
        let Some(mut inner) = Keys::of(value, at.key, reader) else {
            continue;
        };
        let code = code_of(&mut inner, reader);
        let message = inner.required("message", reader);
        let message_zh = inner.required("message_zh", reader);
        let kind = if key == "length" {
            let most = inner.number("most", reader).unwrap_or_default();
            TextRuleKind::Length(usize::try_from(most).unwrap_or_default())
        } else {
            let except = inner.texts("except", reader);
            TextRuleKind::Mention {
                except,
                any: words_of(&mut inner, reader),
            }
        };
        for message in [&message, &message_zh].into_iter().flatten() {
            check_braces(message, &["heading", "count"], reader);
        }
        inner.finish(reader);
        if let (Some(code), Some((en, _)), Some((zh, _))) = (code, message, message_zh) {
            rules.push(TextRule {
                code,
                kind,
                message: [en, zh],
            });
        }
    }
    rules
}

/// Notes names in braces that nothing will be put for.
fn check_braces((text, at): &(String, At), known: &[&str], reader: &mut Reader) {
    let Some((names, _)) = braces(text) else {
        reader.note(at.byte, &at.key, "a { without }");
        return;
    };
    for (_, name) in names {
        if !known.contains(&name) {
            let near = nearest(name, known.iter().copied()).unwrap_or_default();
            let what = format!("nothing is known to put for {{{name}}}; the nearest is {{{near}}}");
            reader.note(at.byte, &at.key, &what);
        }
    }
}

/// Lists of lists of lists of words.
fn words_of(keys: &mut Keys<'_>, reader: &mut Reader) -> Vec<Vec<Vec<String>>> {
    let Some((value, at)) = keys.get("any") else {
        let what = "the key \"any\" is missing; add lists of lists of words";
        reader.note(keys.at.byte, &keys.at.key, what);
        return Vec::new();
    };
    let mut any = Vec::new();
    for (value, at) in as_items(value, &at, reader) {
        let lists = as_items(value, &at, reader);
        let lists = lists.iter().map(|(value, at)| as_texts(value, at, reader));
        any.push(lists.collect());
    }
    any
}

/// A cell that the file declares; the words of the row it stands in come from around it.
fn cell_of(keys: &mut Keys<'_>, reader: &mut Reader) -> CellKind {
    let unit = keys.text("unit", reader);
    let units = keys.texts("units", reader);
    let options = keys.texts("options", reader);
    let kind = keys.placed("kind", reader);
    let named = kind.as_ref().map_or("count", |(kind, _)| kind.as_str());
    let mut only = |key: &str, there: bool, kinds: &[&str]| {
        if there && !kinds.contains(&named) {
            let what = format!(
                "\"{key}\" is for {}, and this is a {named}",
                kinds.join(" and ")
            );
            reader.note(keys.at.byte, &keys.at.key, &what);
        }
    };
    only("unit", unit.is_some(), &["money", "decimal"]);
    only("units", !units.is_empty(), &["money", "decimal"]);
    only("options", !options.is_empty(), &["choice"]);
    if unit.is_some() && !units.is_empty() {
        let what = "a unit, of the whole column, or units, one a cell; not both";
        reader.note(keys.at.byte, &keys.at.key, what);
    }
    if options.iter().collect::<BTreeSet<_>>().len() < options.len() {
        reader.note(keys.at.byte, &keys.at.key, "an option is given twice");
    }
    let Some((kind, at)) = kind else {
        return CellKind::Count;
    };
    match kind.as_str() {
        "count" => CellKind::Count,
        "change" => CellKind::Change,
        "percent" => CellKind::Percent,
        "text" => CellKind::Text,
        "date" => CellKind::Date,
        "yes_no" => CellKind::YesNo,
        "choice" if !options.is_empty() => CellKind::Choice(options),
        "choice" => {
            reader.note(at.byte, &at.key, "a choice needs options = [ … ]");
            CellKind::Count
        }
        "money" | "decimal" => match unit {
            Some(unit) => CellKind::Money(unit),
            None if !units.is_empty() => CellKind::MoneyWithUnit(units),
            None => {
                let what =
                    format!("{kind} needs a unit, of the whole column, or units, one a cell");
                reader.note(at.byte, &at.key, &what);
                CellKind::Count
            }
        },
        other => {
            let known = [
                "count", "change", "money", "decimal", "percent", "text", "date", "yes_no",
                "choice",
            ];
            let near = nearest(other, known.into_iter()).unwrap_or_default();
            let what = format!("no kind of cell \"{other}\"; the nearest is \"{near}\"");
            reader.note(at.byte, &at.key, &what);
            CellKind::Count
        }
    }
}

/// A column of figures that a table declares.
#[derive(Debug, Clone)]
struct Column {
    field: String,
    label: String,
    /// What messages call it: its label, or that and the heads over it where another has the same.
    said: String,
    /// The heads over it, one after another.
    over: String,
    kind: CellKind,
}

/// The columns of a table, and their heads as a tree.
fn columns_of(
    keys: &mut Keys<'_>,
    depth: usize,
    names: &mut BTreeSet<String>,
    columns: &mut Vec<Column>,
    reader: &mut Reader,
) -> Vec<Head> {
    let at = keys.at.clone();
    let begins = columns.len();
    let tables = keys.tables("columns", reader);
    if tables.is_empty() {
        reader.note(at.byte, &at.key, "no columns; add columns = [ … ]");
    }
    let mut heads = Vec::new();
    for mut keys in tables {
        let label = keys.wanted("label", reader);
        too_deep(&keys, "columns", depth, reader);
        let heads_below = if keys.table.contains_key("columns") && depth < LIMITS.depth {
            let first = columns.len();
            let below = columns_of(&mut keys, depth + 1, names, columns, reader);
            for column in &mut columns[first..] {
                column.over = format!("{}{}", label.replace('\n', ""), column.over);
            }
            below
        } else {
            let field = name_of(&mut keys, names, reader);
            let kind = cell_of(&mut keys, reader);
            columns.push(Column {
                field,
                said: label.replace('\n', ""),
                label: label.clone(),
                over: String::new(),
                kind,
            });
            Vec::new()
        };
        keys.finish(reader);
        heads.push(Head {
            label,
            heads: heads_below,
        });
    }
    // Once all are there: the outermost call has no heads over it.
    if begins == 0 && depth <= 1 {
        let said: Vec<String> = columns.iter().map(|column| column.said.clone()).collect();
        for column in columns {
            if said.iter().filter(|said| **said == column.said).count() > 1 {
                column.said = format!("{}{}", column.over, column.said);
            }
        }
    }
    heads
}

/// Notes rows or heads that nest deeper than they may.
fn too_deep(keys: &Keys<'_>, key: &str, depth: usize, reader: &mut Reader) {
    if keys.table.contains_key(key) && depth >= LIMITS.depth {
        let what = format!("{key} nest deeper than {} levels here", LIMITS.depth);
        reader.note(keys.at.byte, &keys.at.key, &what);
    }
}

/// The cells of a row under some columns.
fn row_cells(
    pointer: &str,
    said: &str,
    columns: &[Column],
    cells: &mut Vec<CellPlace>,
) -> Vec<Entry> {
    // A form with more is refused; it is not to take the memory for them before.
    let room = (LIMITS.cells + 1).saturating_sub(cells.len());
    let entries = columns.iter().take(room).map(|column| {
        let name = column.said.clone();
        cells.push(CellPlace {
            pointer: format!("{pointer}/{}", column.field),
            row: said.to_owned(),
            column: name.clone(),
            kind: column.kind.clone(),
        });
        Entry {
            field: column.field.clone(),
            label: column.label.clone(),
            said: name,
            leads: true,
            optional: false,
            holds: Holds::Cell(cells.len() - 1),
        }
    });
    entries.collect()
}

fn table(shape: Shape, entries: Vec<Entry>, heads: Vec<Head>) -> Table {
    Table {
        shape,
        entries,
        corner: String::new(),
        columns_label: String::new(),
        notes: Vec::new(),
        heads,
        serial: None,
    }
}

fn bands_of(
    keys: &mut Keys<'_>,
    pointer: &str,
    cells: &mut Vec<CellPlace>,
    reader: &mut Reader,
) -> Table {
    let corner = keys.wanted("corner", reader);
    let mut entries = Vec::new();
    let mut names = BTreeSet::from(RESERVED.map(str::to_owned));
    for mut keys in keys.tables("bands", reader) {
        let field = name_of(&mut keys, &mut names, reader);
        let label = keys.wanted("label", reader);
        let mut columns = Vec::new();
        columns_of(
            &mut keys,
            LIMITS.depth,
            &mut BTreeSet::new(),
            &mut columns,
            reader,
        );
        let mut rows = Vec::new();
        let mut inner = BTreeSet::new();
        for mut keys in keys.tables("rows", reader) {
            let item = name_of(&mut keys, &mut inner, reader);
            let label = keys.wanted("label", reader);
            keys.finish(reader);
            let pointer = format!("{pointer}/{field}/{item}");
            rows.push(Entry {
                holds: Holds::Entries(row_cells(&pointer, &label, &columns, cells)),
                field: item,
                said: label.clone(),
                label,
                leads: true,
                optional: false,
            });
        }
        keys.finish(reader);
        entries.push(Entry {
            field,
            said: label.clone(),
            label,
            leads: true,
            optional: false,
            holds: Holds::Entries(rows),
        });
    }
    Table {
        corner,
        ..table(Shape::Bands, entries, Vec::new())
    }
}

/// What `Walk` goes through: rows of a matrix, or groups of a row.
struct Walk<'a> {
    key: &'static str,
    columns: &'a [Column],
    depth: usize,
}

impl Walk<'_> {
    /// Rows under their groups. `said` is what the groups around are called.
    fn rows(
        &self,
        keys: &mut Keys<'_>,
        pointer: &str,
        said: &str,
        names: &mut BTreeSet<String>,
        cells: &mut Vec<CellPlace>,
        reader: &mut Reader,
    ) -> Vec<Entry> {
        let mut entries = Vec::new();
        for mut keys in keys.tables(self.key, reader) {
            let field = name_of(&mut keys, names, reader);
            let label = keys.wanted("label", reader);
            let unnamed = keys.flag("unnamed", reader);
            let pointer = format!("{pointer}/{field}");
            let own = match said {
                "" => label.clone(),
                said => format!("{said} {label}"),
            };
            too_deep(&keys, self.key, self.depth, reader);
            let group = keys.table.contains_key(self.key) && self.depth < LIMITS.depth;
            let holds = if group {
                let inner = Walk {
                    depth: self.depth + 1,
                    ..*self
                };
                let said = if unnamed { said } else { &own };
                inner.rows(
                    &mut keys,
                    &pointer,
                    said,
                    &mut BTreeSet::new(),
                    cells,
                    reader,
                )
            } else {
                row_cells(&pointer, &own, self.columns, cells)
            };
            keys.finish(reader);
            entries.push(Entry {
                field,
                said: if group { label.clone() } else { own },
                label,
                // Rows name their groups themselves.
                leads: !group,
                optional: false,
                holds: Holds::Entries(holds),
            });
        }
        entries
    }
}

fn matrix_of(
    keys: &mut Keys<'_>,
    pointer: &str,
    cells: &mut Vec<CellPlace>,
    reader: &mut Reader,
) -> Table {
    let corner = keys.wanted("corner", reader);
    let columns_label = keys.text("columns_label", reader);
    let mut columns = Vec::new();
    let heads = columns_of(keys, 1, &mut BTreeSet::new(), &mut columns, reader);
    let walk = Walk {
        key: "rows",
        columns: &columns,
        depth: 1,
    };
    let mut names = BTreeSet::from(RESERVED.map(str::to_owned));
    let entries = walk.rows(keys, pointer, "", &mut names, cells, reader);
    if entries.is_empty() {
        reader.note(keys.at.byte, &keys.at.key, "no rows; add rows = [ … ]");
    }
    Table {
        corner,
        columns_label: columns_label.unwrap_or_default(),
        ..table(Shape::Matrix, entries, heads)
    }
}

/// One row of figures, called as its section where it stands in no group.
fn row_of(
    keys: &mut Keys<'_>,
    pointer: &str,
    named: &str,
    cells: &mut Vec<CellPlace>,
    reader: &mut Reader,
) -> Table {
    let mut columns = Vec::new();
    let mut names = BTreeSet::from(RESERVED.map(str::to_owned));
    let grouped = keys.table.contains_key("groups");
    let mut own = BTreeSet::new();
    let heads = columns_of(
        keys,
        1,
        if grouped { &mut own } else { &mut names },
        &mut columns,
        reader,
    );
    let entries = if grouped {
        let walk = Walk {
            key: "groups",
            columns: &columns,
            depth: 1,
        };
        walk.rows(keys, pointer, "", &mut names, cells, reader)
    } else {
        row_cells(pointer, named, &columns, cells)
    };
    table(Shape::Row, entries, heads)
}

/// As many rows as a job has, all with these columns, and one of totals under the figures.
fn list_of(
    keys: &mut Keys<'_>,
    pointer: &str,
    cells: &mut Vec<CellPlace>,
    reader: &mut Reader,
) -> Table {
    let serial = keys.text("serial", reader);
    let total = keys.text("total", reader);
    let mut columns = Vec::new();
    let heads = columns_of(keys, 1, &mut BTreeSet::new(), &mut columns, reader);
    let mut entry = |field: &str, label: &str, below: &str, columns: &[Column]| Entry {
        field: field.to_owned(),
        label: label.to_owned(),
        said: label.to_owned(),
        leads: true,
        optional: false,
        holds: Holds::Entries(row_cells(
            &format!("{pointer}/{below}"),
            label,
            columns,
            cells,
        )),
    };
    let named = columns
        .first()
        .is_some_and(|column| !column.kind.is_figure());
    if total.is_some() && serial.is_none() && !named {
        let what = "the label of the total has no place: add serial, or a text as the first column";
        reader.note(keys.at.byte, &keys.at.key, what);
    }
    let row = entry("0", &row_said(0, None), "rows/0", &columns);
    columns.retain(|column| column.kind.is_figure());
    let total = total.map(|label| entry("total", &label, "total", &columns));
    let rows = Entry {
        field: "rows".to_owned(),
        label: "各行".to_owned(),
        said: "各行".to_owned(),
        leads: false,
        optional: false,
        holds: Holds::Rows(vec![row]),
    };
    Table {
        serial,
        ..table(
            Shape::List,
            [rows].into_iter().chain(total).collect(),
            heads,
        )
    }
}

/// Last year's figures: an object with a field for each cell that `of` names.
fn prior_of(mut keys: Keys<'_>, cells: &[CellPlace], reader: &mut Reader) -> Option<Entry> {
    let field = name_of(&mut keys, &mut BTreeSet::new(), reader);
    let label = keys.required("label", reader);
    let note = keys.text("note", reader);
    let of = keys.required("of", reader);
    keys.finish(reader);
    let (of, at) = of?;
    let pointer = format!("/{of}");
    // The last name of a pattern's cells is fixed, and the row's name varies; else the other way.
    let entry = |(index, cell): (usize, &CellPlace)| {
        let (row, column) = cell.parts();
        // A row of a list is not the same one each year.
        if row.ends_with("/rows/0") {
            return None;
        }
        let (field, said) = match pointer.split_once("/*/") {
            Some((before, after)) => {
                let named = row.strip_prefix(before)?.strip_prefix('/')?;
                (column == after && !named.contains('/')).then_some((named, &cell.row))?
            }
            None => (row == pointer).then_some((column, &cell.column))?,
        };
        Some(Entry {
            field: field.to_owned(),
            label: said.clone(),
            said: said.clone(),
            leads: true,
            optional: true,
            holds: Holds::Cell(index),
        })
    };
    let entries: Vec<Entry> = cells.iter().enumerate().filter_map(entry).collect();
    if entries.is_empty() {
        let what = format!("no cells \"{of}\"; want TABLE/ROW, or TABLE/*/COLUMN for a column");
        reader.note(at.byte, &at.key, &what);
    }
    Some(Entry {
        field,
        label: note.unwrap_or_default(),
        said: label?.0,
        leads: true,
        optional: true,
        holds: Holds::Entries(entries),
    })
}

fn rule_of(mut keys: Keys<'_>, reader: &mut Reader) -> Option<RuleSource> {
    let at = keys.at.clone();
    let code = code_of(&mut keys, reader);
    let table = keys.text("table", reader);
    let each = keys.placed("each", reader);
    let equation = keys.required("equation", reader);
    let computes = keys.flag("computes", reader);
    let when = keys.placed("when", reader);
    let places = keys.texts("at", reader);
    let message = keys.placed("message", reader);
    let message_zh = keys.placed("message_zh", reader);
    keys.finish(reader);
    Some(RuleSource {
        at,
        code: code?,
        table: table.map_or_else(String::new, |text| format!("/{text}")),
        each,
        equation: equation?,
        computes,
        when,
        places,
        message: [message, message_zh],
    })
}

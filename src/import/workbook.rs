//! A job out of a workbook of [`crate::workbook`] that was filled in.
//!
//! Takes the bytes of an `.xlsx` that any program may have saved again, gives the job and what
//! could not be read, cell by cell. What stands where is what the workbook's hidden sheet says,
//! and a sheet is read only while the form's own labels stand in their places: one with a row too
//! many is told and left alone. Totals that are formulas are made here, from what was read. If we
//! crash here, nothing has happened yet.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Cursor, Read as _};
use std::sync::Arc;

use calamine::{Data, ExcelDateTime, ExcelDateTimeType, Reader as _, Xlsx};
use serde_json::{Map, Value, json};
use unicode_normalization::UnicodeNormalization as _;

use super::{Imported, Remark};
use crate::digest;
use crate::job::is_id;
use crate::problem::{Problem, Severity};
use crate::report::cell::{self, plain_digits};
use crate::report::form::{CellKind, Entry, Field, FieldKind, Form, Holds, Shape};
use crate::report::json::{Node, Place, Problems};
use crate::report::text::{self, Kind as Text};
use crate::report::{Cell, Content, Editions, MARKS, Prior, Report, rules};
use crate::workbook::map::{self, Spot, What};
use crate::workbook::{digits, percentage};

/// The most that the parts of a workbook may come to unpacked, in bytes.
const UNPACKED: u64 = 256 << 20;

/// The most texts that a workbook may announce: room is made for all before one is read.
const TEXTS: u64 = 1 << 20;

/// The most rows of a list.
const ROWS: usize = 100_000;

/// What is said of a cell that is empty.
const EMPTY: (&str, &str) = (
    "empty: taken as left blank (null); write 0 where there were none",
    "未填，按空白（null）处理；没有发生的请填0",
);

/// A cell as a program saved it.
#[derive(Debug, Clone)]
struct Saved {
    value: Data,
    formula: bool,
}

type Sheet = BTreeMap<(u32, u16), Saved>;

/// Why a cell is not read: in English and in Chinese.
type Why = (String, String);

fn why(en: impl Into<String>, zh: impl Into<String>) -> Why {
    (en.into(), zh.into())
}

/// Reads a workbook.
///
/// # Errors
/// When it is none that `banshi form` made, for one of these forms: then nothing of it is read.
pub fn workbook(bytes: &[u8], editions: &Editions) -> Result<Imported, Remark> {
    let mut book = Book::open(bytes)?;
    let (template, digest, spots) = book.map()?;
    let Some(form) = editions.get(&template) else {
        let known: Vec<&str> = editions.keys().map(String::as_str).collect();
        let known = known.join(", ");
        return Err(Remark::unread(
            map::SHEET,
            format!("it is a workbook for {template}, which there is not; there are: {known}"),
            format!("该工作簿用于{template}，而没有此模板；现有：{known}"),
        ));
    };
    let mut reading = Reading {
        form,
        spots: &spots,
        sheets: BTreeMap::new(),
        refused: BTreeSet::new(),
        epoch_1904: book.file.has_1904_epoch(),
        job: json!({ "template": template, "data": {} }),
        remarks: Vec::new(),
        totals: Vec::new(),
    };
    if digest != map::digest_of(&template, form) {
        reading.remarks.push(Remark::assumed(
            map::SHEET,
            format!("it was made for another version of {template}; what both have is read"),
            format!("该工作簿按{template}的另一版本生成，只读取两者都有的内容"),
        ));
    }
    let names: BTreeSet<&str> = spots.iter().map(|spot| spot.sheet.as_str()).collect();
    for name in names {
        match book.sheet(name)? {
            Some(sheet) => {
                reading.sheets.insert(name.to_owned(), sheet);
            }
            None => {
                let there = book.file.sheet_names();
                let there: Vec<&str> = there
                    .iter()
                    .map(String::as_str)
                    .filter(|name| *name != map::SHEET)
                    .collect();
                reading.remarks.push(Remark::unread(
                    name,
                    format!(
                        "there is no such sheet: it was renamed or removed, and nothing of it is read; \
                         there are: {}",
                        there.join(", ")
                    ),
                    format!("没有此表：已改名或删除，其内容均未读取；现有：{}", there.join("、")),
                ));
                reading.refused.insert(name.to_owned());
            }
        }
    }
    reading.labels();
    reading.values();
    reading.strays();
    reading.lists();
    reading.total();
    reading.identify();
    reading.missing();
    Ok(Imported {
        job: reading.job,
        remarks: reading.remarks,
    })
}

/// The file.
struct Book<'a> {
    file: Xlsx<Cursor<&'a [u8]>>,
}

impl<'a> Book<'a> {
    fn open(bytes: &'a [u8]) -> Result<Book<'a>, Remark> {
        if is_too_large(bytes) {
            return Err(Remark::unread(
                "",
                "it is far larger unpacked than any report",
                "解压后过大，不会是报告的工作簿",
            ));
        }
        let file = Xlsx::new(Cursor::new(bytes)).map_err(|error| {
            Remark::unread(
                "",
                format!(
                    "it is no .xlsx that can be read: {error}; save it as .xlsx, without a password"
                ),
                format!("无法作为.xlsx读取：{error}；请另存为不加密的.xlsx"),
            )
        })?;
        Ok(Book { file })
    }

    /// What is in the cells of a sheet; none, where there is no such sheet.
    fn sheet(&mut self, name: &str) -> Result<Option<Sheet>, Remark> {
        if !self.file.sheet_names().iter().any(|there| there == name) {
            return Ok(None);
        }
        let wrong = |error: &dyn std::fmt::Display| {
            Remark::unread(
                name,
                format!("the sheet cannot be read: {error}"),
                format!("此表无法读取：{error}"),
            )
        };
        let mut cells = self
            .file
            .worksheet_cells_reader(name)
            .map_err(|error| wrong(&error))?;
        let mut sheet = Sheet::new();
        while let Some(cell) = cells
            .next_cell_with_formula()
            .map_err(|error| wrong(&error))?
        {
            let (row, column) = cell.pos;
            let saved = Saved {
                formula: cell.formula.is_some(),
                value: cell.value.into(),
            };
            let Ok(column) = u16::try_from(column) else {
                continue;
            };
            if !is_blank(&saved.value) || saved.formula {
                sheet.insert((row, column), saved);
            }
        }
        Ok(Some(sheet))
    }

    /// The template, the digest of the form, and what stands where.
    fn map(&mut self) -> Result<(String, String, Vec<Spot>), Remark> {
        let foreign = || {
            Remark::unread(
                map::SHEET,
                "it is no workbook of `banshi form`: its hidden sheet is not there",
                "不是banshi form生成的工作簿：没有其隐藏表",
            )
        };
        let sheet = self.sheet(map::SHEET)?.ok_or_else(foreign)?;
        let text = |cell: (u32, u16)| {
            sheet
                .get(&cell)
                .map(|saved| shown(&saved.value))
                .unwrap_or_default()
        };
        if text((0, 0)) != map::MARK {
            return Err(foreign());
        }
        let version = text((0, 1));
        if version != map::VERSION {
            return Err(Remark::unread(
                map::SHEET,
                format!(
                    "it was made by another version of banshi (workbook {version}); make it anew"
                ),
                format!("该工作簿由另一版本的banshi生成（{version}），请重新生成"),
            ));
        }
        let rows = sheet
            .keys()
            .map(|(row, _)| *row)
            .filter(|row| *row >= map::FIRST);
        let rows: BTreeSet<u32> = rows.collect();
        let mut spots = Vec::new();
        for row in rows {
            let word = text((row, 2));
            if word.is_empty() {
                // Lists to choose from stand beside.
                continue;
            }
            let (Some(what), Some(cells)) = (What::parse(&word), Spot::cells_of(&text((row, 1))))
            else {
                return Err(foreign());
            };
            spots.push(Spot {
                sheet: text((row, 0)),
                cells,
                what,
                path: text((row, 3)),
                text: text((row, 4)),
            });
        }
        Ok((text((1, 1)), text((2, 1)), spots))
    }
}

/// Whether a workbook unpacks to more than is ever read, or announces more texts. Of what is no
/// archive the reader says so.
fn is_too_large(bytes: &[u8]) -> bool {
    let Ok(mut parts) = zip::ZipArchive::new(Cursor::new(bytes)) else {
        return false;
    };
    let mut left = UNPACKED;
    for at in 0..parts.len() {
        let Ok(part) = parts.by_index(at) else {
            continue;
        };
        let mut content = Vec::new();
        // What can be read of a damaged part counts.
        part.take(left + 1).read_to_end(&mut content).ok();
        let Some(rest) = left.checked_sub(content.len() as u64) else {
            return true;
        };
        left = rest;
        if announced(&content) > TEXTS {
            return true;
        }
    }
    false
}

/// The most texts that a part announces (ECMA-376-1, 18.4.9).
fn announced(part: &[u8]) -> u64 {
    const COUNT: &[u8] = b"uniqueCount";
    let places = part.windows(COUNT.len()).enumerate();
    let counts = places.filter(|(_, word)| *word == COUNT).map(|(at, _)| {
        let rest = part[at + COUNT.len()..].iter();
        let digits = rest
            .skip_while(|byte| byte.is_ascii_whitespace() || b"=\"'+".contains(byte))
            .take_while(|byte| byte.is_ascii_digit());
        digits.fold(0_u64, |count, digit| {
            count
                .saturating_mul(10)
                .saturating_add(u64::from(digit - b'0'))
        })
    });
    counts.max().unwrap_or_default()
}

fn is_blank(value: &Data) -> bool {
    match value {
        Data::Empty => true,
        Data::String(text) => text.trim().is_empty(),
        _ => false,
    }
}

/// A value as a text.
fn shown(value: &Data) -> String {
    match value {
        Data::String(text) | Data::DateTimeIso(text) | Data::DurationIso(text) => text.clone(),
        Data::Float(number) => digits(*number),
        Data::Int(number) => number.to_string(),
        Data::Bool(yes) => yes.to_string(),
        Data::DateTime(date) => digits(date.as_f64()),
        Data::Error(error) => error.to_string(),
        Data::Empty => String::new(),
    }
}

/// A text without white space, which programs break otherwise.
fn bare(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).collect()
}

struct Reading<'a> {
    form: &'a Form,
    spots: &'a [Spot],
    sheets: BTreeMap<String, Sheet>,
    /// Sheets that are not read.
    refused: BTreeSet<String>,
    epoch_1904: bool,
    job: Value,
    remarks: Vec<Remark>,
    totals: Vec<Total<'a>>,
}

/// A total that is a formula.
struct Total<'a> {
    spot: &'a Spot,
    /// Its pointer in the job, where rows of a list may have been left out.
    path: String,
    /// The number that stands there.
    number: Option<f64>,
}

impl<'a> Reading<'a> {
    fn unread(&mut self, place: String, (en, zh): Why) {
        self.remarks.push(Remark::unread(place, en, zh));
    }

    fn assumed(&mut self, place: String, (en, zh): Why) {
        self.remarks.push(Remark::assumed(place, en, zh));
    }

    fn at(&self, spot: &Spot) -> Option<&Saved> {
        self.sheets.get(&spot.sheet)?.get(&spot.cells[0])
    }

    /// Refuses every sheet whose labels are not where they belong.
    fn labels(&mut self) {
        let labels = self.spots.iter().filter(|spot| spot.what == What::Label);
        for spot in labels {
            let Some(sheet) = self.sheets.get(&spot.sheet) else {
                continue;
            };
            if self.refused.contains(&spot.sheet) {
                continue;
            }
            let found = self
                .at(spot)
                .map(|saved| shown(&saved.value))
                .unwrap_or_default();
            let wanted = bare(&spot.text);
            if bare(&found) == wanted {
                continue;
            }
            let (row, column) = spot.cells[0];
            let elsewhere = sheet.iter().find(|(cell, saved)| {
                cell.1 == column && cell.0 != row && bare(&shown(&saved.value)) == wanted
            });
            let label = &spot.text;
            let (en, zh) = match elsewhere {
                Some((cell, _)) => {
                    let by = cell.0.abs_diff(row);
                    let place = map::address(*cell);
                    match cell.0 > row {
                        true => (
                            format!(
                                "「{label}」 stands at {place}: rows were inserted above it ({by})"
                            ),
                            format!("“{label}”在{place}：其上方插入了{by}行"),
                        ),
                        false => (
                            format!(
                                "「{label}」 stands at {place}: rows were deleted above it ({by})"
                            ),
                            format!("“{label}”在{place}：其上方删除了{by}行"),
                        ),
                    }
                }
                None => (
                    format!("「{label}」 must stand here, and there is 「{found}」"),
                    format!("此处应为“{label}”，而现为“{found}”"),
                ),
            };
            let (en, zh) = (
                format!("{en}; nothing of this sheet is read: put it back as it was"),
                format!("{zh}；本表均未读取，请恢复原样"),
            );
            self.refused.insert(spot.sheet.clone());
            self.unread(spot.place(), (en, zh));
        }
    }

    /// Reads what was filled in, in the order of the workbook.
    fn values(&mut self) {
        let empty = self.empty_tables();
        let mut told = BTreeSet::new();
        for spot in self.spots {
            if self.refused.contains(&spot.sheet) {
                continue;
            }
            if let Some(field) = self
                .field_of(spot)
                .filter(|field| empty.contains(&field.field))
            {
                if told.insert(&field.field) {
                    self.nothing(spot, field);
                }
                continue;
            }
            match spot.what {
                What::Label | What::Made => {}
                What::Value => self.value(spot),
                What::Total => match self.at(spot) {
                    Some(saved) if saved.formula => {
                        let number = match saved.value {
                            Data::Float(number) => Some(number),
                            Data::Int(number) => Some(number as f64),
                            _ => None,
                        };
                        let path = spot.path.clone();
                        self.totals.push(Total { spot, path, number });
                    }
                    _ => self.value(spot),
                },
                What::Text => self.text(spot),
            }
        }
    }

    /// The field that the cell of a table is of.
    fn field_of(&self, spot: &Spot) -> Option<&'a Field> {
        let name = spot.path.strip_prefix("/data/")?.split('/').next()?;
        let field = &self.form.fields[self.form.field(name)?];
        let cell = matches!(spot.what, What::Value | What::Total);
        (cell && matches!(field.kind, FieldKind::Table(_))).then_some(field)
    }

    /// The tables in which nothing is filled in.
    fn empty_tables(&self) -> BTreeSet<String> {
        let mut empty = BTreeSet::new();
        let mut filled = BTreeSet::new();
        for spot in self.spots {
            let Some(field) = self.field_of(spot) else {
                continue;
            };
            // A list may have nothing to list.
            if matches!(&field.kind, FieldKind::Table(table) if table.shape == Shape::List) {
                continue;
            }
            empty.insert(field.field.clone());
            if self.at(spot).is_some_and(|saved| !saved.formula) {
                filled.insert(field.field.clone());
            }
        }
        &empty - &filled
    }

    fn nothing(&mut self, spot: &Spot, field: &Field) {
        match field.optional {
            true => self.assumed(
                spot.sheet.clone(),
                why(
                    "nothing is filled in: the table is left out",
                    "均未填写，不含此表",
                ),
            ),
            false => self.unread(spot.sheet.clone(), why("nothing is filled in", "均未填写")),
        }
    }

    fn value(&mut self, spot: &'a Spot) {
        let saved = self.at(spot).cloned();
        let place = spot.place();
        let read = match self.kind_of(&spot.path) {
            Some(Kind::Id) => self.word(
                saved.as_ref(),
                is_id,
                "1 to 128 of A-Z, a-z, 0-9, '.', '_', '-'",
                "1至128个字母、数字、“.”、“_”、“-”",
            ),
            Some(Kind::OnViolation) => {
                let known = |word: &str| ["reject", "warn"].contains(&word);
                self.word(saved.as_ref(), known, "reject or warn", "reject或warn")
            }
            Some(Kind::Field(field)) => self.head(saved.as_ref(), field, &spot.path),
            Some(Kind::Cell(kind, prior)) => match &saved {
                // Last year's figures may be left out, and so may rows of a list.
                None if prior || spot.path.contains("/rows/") => Ok(None),
                None => {
                    self.assumed(place.clone(), why(EMPTY.0, EMPTY.1));
                    Ok(Some(Value::Null))
                }
                Some(saved) => self.figure(saved, kind, spot).map(Some),
            },
            None if saved.is_none() => Ok(None),
            None => Err(why(
                format!("this version of the form has no {}", spot.path),
                format!("本版表式没有{}", spot.path),
            )),
        };
        match read {
            Ok(Some(value)) => put(&mut self.job, &spot.path, value),
            Ok(None) => {}
            Err(why) => self.unread(place, why),
        }
    }

    /// What a path of the hidden sheet holds, as this build has the form.
    fn kind_of(&self, path: &str) -> Option<Kind<'a>> {
        match path {
            "/job_id" => return Some(Kind::Id),
            "/on_violation" => return Some(Kind::OnViolation),
            _ => {}
        }
        if let Some(prior) = path.strip_prefix("/prior/") {
            let (group, name) = prior.split_once('/')?;
            let group = self.form.prior.iter().find(|entry| entry.field == group)?;
            let entry = group.entries().iter().find(|entry| entry.field == name)?;
            let Holds::Cell(cell) = entry.holds else {
                return None;
            };
            return Some(Kind::Cell(&self.form.cells[cell].kind, true));
        }
        let below = path.strip_prefix("/data")?;
        let name = below.get(1..)?;
        if !name.contains('/') {
            let field = &self.form.fields[self.form.field(name)?];
            return Some(Kind::Field(field));
        }
        let cell = self.form.cell(&like_first_row(below))?;
        Some(Kind::Cell(&self.form.cells[cell].kind, false))
    }

    fn word(
        &self,
        saved: Option<&Saved>,
        right: impl Fn(&str) -> bool,
        en: &str,
        zh: &str,
    ) -> Result<Option<Value>, Why> {
        let Some(saved) = saved else {
            return Ok(None);
        };
        let word = shown(&saved.value).trim().to_owned();
        match right(&word) {
            true => Ok(Some(word.into())),
            false => Err(why(
                format!("want {en}, and there is \"{word}\""),
                format!("应为{zh}，而现为“{word}”"),
            )),
        }
    }

    /// A field of the first sheet.
    fn head(&self, saved: Option<&Saved>, field: &Field, path: &str) -> Result<Option<Value>, Why> {
        let Some(saved) = saved else {
            return match field.optional {
                true => Ok(None),
                false => Err(why("it is not filled in", "未填写")),
            };
        };
        if let Data::Error(error) = &saved.value {
            return Err(in_error(error));
        }
        let place = Place::new(path, &field.label);
        let line = |text: &str, kind: Text| {
            let mut problems = Problems::new();
            text::read(&Node::String(text.to_owned()), &place, kind, &mut problems);
            refused(problems)
        };
        match &field.kind {
            FieldKind::Year => {
                let year = match &saved.value {
                    Data::Float(number) => Some(*number),
                    Data::Int(number) => Some(*number as f64),
                    other => plain_digits(shown(other).trim_end_matches('年'))
                        .parse()
                        .ok(),
                };
                let years = &self.form.years;
                let year = year.filter(|year| year.fract() == 0.0);
                let year = year.filter(|year| *year >= 2008.0 && *year <= 2100.0);
                match year.map(|year| year as u16) {
                    Some(year) if years.contains(&year) => Ok(Some(json!(year))),
                    _ => {
                        let (from, to, found) = (years.start(), years.end(), shown(&saved.value));
                        Err(why(
                            format!("want a year from {from} to {to}, and there is \"{found}\""),
                            format!("应为{from}至{to}的年份，而现为“{found}”"),
                        ))
                    }
                }
            }
            FieldKind::Date => {
                let date = date_of(&saved.value, self.epoch_1904);
                date.map(|date| Some(date.into()))
                    .ok_or_else(|| no_date(&saved.value))
            }
            FieldKind::Lines => {
                let text = shown(&saved.value);
                let lines: Vec<&str> = text
                    .lines()
                    .filter(|line| !line.trim().is_empty())
                    .collect();
                for text in &lines {
                    line(text, Text::Line)?;
                }
                Ok(Some(json!(lines)))
            }
            FieldKind::Text => {
                let text = shown(&saved.value).replace('\r', "");
                line(&text, Text::Lines)?;
                Ok(Some(text.into()))
            }
            _ => {
                let text = shown(&saved.value);
                line(&text, Text::Line)?;
                Ok(Some(text.into()))
            }
        }
    }

    /// The cell of a table.
    fn figure(&self, saved: &Saved, kind: &CellKind, spot: &Spot) -> Result<Value, Why> {
        let value = sent(&saved.value, kind, &spot.text, self.epoch_1904)?;
        let node = serde_json::from_value::<Node>(value.clone()).unwrap_or(Node::Null);
        let mut problems = Problems::new();
        cell::read(&node, &Place::new(&spot.path, ""), kind, &mut problems);
        refused(problems).map(|()| value)
    }

    /// Blocks of text, or the notes of a table.
    fn text(&mut self, spot: &Spot) {
        let Some(sheet) = self.sheets.get(&spot.sheet) else {
            return;
        };
        let [(from, _), (to, _)] = spot.cells;
        let mut rows: BTreeMap<u32, BTreeMap<u16, Saved>> = BTreeMap::new();
        for (&(row, column), saved) in sheet.range((from, 0)..=(to, u16::MAX)) {
            rows.entry(row).or_default().insert(column, saved.clone());
        }
        let (parent, name) = spot.path.rsplit_once('/').unwrap_or_default();
        let field = parent.strip_prefix("/data/").unwrap_or(name);
        let Some(field) = self.form.field(field).map(|field| &self.form.fields[field]) else {
            if !rows.is_empty() {
                let why = why(
                    format!("this version of the form has no {}", spot.path),
                    format!("本版表式没有{}", spot.path),
                );
                self.unread(spot.place(), why);
            }
            return;
        };
        let notes = name == "notes" && matches!(field.kind, FieldKind::Table(_));
        let parts = matches!(field.kind, FieldKind::Parts);
        let mut blocks = Blocks::default();
        for (row, cells) in rows {
            if let Err((cell, why)) = blocks.row(row, &cells, notes, parts) {
                self.unread(map::place(&spot.sheet, cell), why);
            }
        }
        let blocks = blocks.finish();
        let optional = field.optional || matches!(field.kind, FieldKind::Table(_));
        match blocks.is_empty() {
            // A text that may not be left out may still be of no paragraphs.
            true if optional => {}
            true => {
                put(&mut self.job, &spot.path, json!([]));
                self.assumed(
                    spot.place(),
                    why(
                        "no text is written: taken as none",
                        "没有正文，按无正文处理",
                    ),
                );
            }
            false => put(&mut self.job, &spot.path, Value::Array(blocks)),
        }
    }

    /// What stands where the form has no place, and is not read.
    fn strays(&mut self) {
        let mut known: BTreeMap<&str, BTreeSet<(u32, u16)>> = BTreeMap::new();
        let mut texts: Vec<&Spot> = Vec::new();
        for spot in self.spots {
            known.entry(&spot.sheet).or_default().insert(spot.cells[0]);
            if spot.what == What::Text {
                texts.push(spot);
            }
        }
        let mut strays = Vec::new();
        for (name, sheet) in self
            .sheets
            .iter()
            .filter(|(name, _)| !self.refused.contains(*name))
        {
            for (cell, saved) in sheet {
                let text = texts.iter().any(|spot| {
                    let [(from, _), (to, _)] = spot.cells;
                    spot.sheet == *name && (from..=to).contains(&cell.0)
                });
                let place = known
                    .get(name.as_str())
                    .is_some_and(|known| known.contains(cell));
                if !text && !place && !is_blank(&saved.value) {
                    strays.push((map::place(name, *cell), shown(&saved.value)));
                }
            }
        }
        for (place, found) in strays {
            let why = why(
                format!("\"{found}\" stands where the form has no place; it is not read"),
                format!("“{found}”不在表式的填写位置，未读取"),
            );
            self.unread(place, why);
        }
    }

    /// Leaves out the rows of lists in which nothing is written, and fills the others.
    fn lists(&mut self) {
        for (field, list) in self.form.lists() {
            let field = &self.form.fields[field];
            let table = format!("/data/{}", field.field);
            let on = self
                .spots
                .iter()
                .find(|spot| spot.path.starts_with(&format!("{table}/rows/")));
            let Some(sheet) = on.map(|spot| spot.sheet.clone()) else {
                continue;
            };
            if self.refused.contains(&sheet) {
                continue;
            }
            let columns = list.entries().first().map_or(&[][..], Entry::entries);
            let rows = self
                .job
                .pointer(&format!("{table}/rows"))
                .and_then(Value::as_array);
            let written = rows.into_iter().flatten().enumerate();
            let mut written: Vec<(usize, Value)> = written
                .filter(|(_, row)| row.as_object().is_some_and(|row| !row.is_empty()))
                .map(|(at, row)| (at, row.clone()))
                .collect();
            if written.is_empty() && field.optional {
                let inside = format!("{table}/");
                self.totals.retain(|total| !total.path.starts_with(&inside));
                if let Some(data) = self.job["data"].as_object_mut() {
                    data.remove(&field.field);
                }
                let left = why(
                    "nothing is filled in: the table is left out",
                    "均未填写，不含此表",
                );
                self.assumed(sheet, left);
                continue;
            }
            if written.is_empty() {
                let blank = why(
                    "nothing is listed: one row is taken, left blank (null)",
                    "清单未填，按一个空白行（null）处理",
                );
                self.assumed(sheet.clone(), blank);
                let nulls = columns
                    .iter()
                    .map(|column| (column.field.clone(), Value::Null));
                written.push((usize::MAX, Value::Object(nulls.collect())));
            }
            for (at, row) in &mut written {
                for column in columns {
                    let path = format!("{table}/rows/{at}/{}", column.field);
                    let formula = self.totals.iter().any(|total| total.path == path);
                    if row.get(&column.field).is_some() || formula {
                        continue;
                    }
                    let spot = self.spots.iter().find(|spot| spot.path == path);
                    let place = spot.map_or_else(|| sheet.clone(), Spot::place);
                    // One that could not be read is told already, and stays out.
                    if !self.remarks.iter().any(|remark| remark.place == place) {
                        row[&column.field] = Value::Null;
                        self.assumed(place, why(EMPTY.0, EMPTY.1));
                    }
                }
            }
            // Totals of rows that are left out are, too; the others go up with their rows.
            let inside = format!("{table}/rows/");
            self.totals.retain_mut(|total| {
                let Some((row, column)) = total
                    .path
                    .strip_prefix(&inside)
                    .and_then(|rest| rest.split_once('/'))
                else {
                    return true;
                };
                let now = written.iter().position(|(at, _)| at.to_string() == row);
                if let Some(now) = now {
                    total.path = format!("{inside}{now}/{column}");
                }
                now.is_some()
            });
            let rows = written.into_iter().map(|(_, row)| row).collect();
            put(&mut self.job, &format!("{table}/rows"), Value::Array(rows));
        }
    }

    /// Makes the totals that are formulas, from what was read.
    fn total(&mut self) {
        let lists = self.form.lists().map(|(field, _)| {
            let name = &self.form.fields[field].field;
            let rows = self.job.pointer(&format!("/data/{name}/rows"));
            (
                field,
                vec![None; rows.and_then(Value::as_array).map_or(0, Vec::len)],
            )
        });
        let lists: Vec<(usize, Vec<Option<String>>)> = lists.collect();
        let form = match lists.is_empty() {
            true => self.form.clone(),
            false => self
                .form
                .with_rows(&lists)
                .unwrap_or_else(|_| self.form.clone()),
        };
        let form = Arc::new(form);
        let cells = form.cells.iter().map(|place| {
            let pointer = format!("/data{}", place.pointer);
            let Some(value) = self.job.pointer(&pointer) else {
                let total = self.totals.iter().any(|total| total.path == pointer);
                return if total { Cell::Absent } else { Cell::Unread };
            };
            let node = serde_json::from_value::<Node>(value.clone()).unwrap_or(Node::Null);
            cell::read(
                &node,
                &Place::new(pointer, ""),
                &place.kind,
                &mut Problems::new(),
            )
        });
        let report = Report {
            fields: vec![Content::Absent; form.fields.len()],
            cells: cells.collect(),
            form: Arc::clone(&form),
        };
        let (_, made) = rules::trace(&report, &Prior::default());
        for Total { spot, path, number } in std::mem::take(&mut self.totals) {
            let index = path.strip_prefix("/data").and_then(|path| form.cell(path));
            let Some((kind, Some(total))) =
                index.map(|index| (&form.cells[index].kind, made[index]))
            else {
                self.unread(
                    spot.place(),
                    why(
                        "the total cannot be made: what it adds could not be read",
                        "合计无法计算：所加各格有未能读取的",
                    ),
                );
                continue;
            };
            let shown = match kind {
                CellKind::Percent => number.map(percentage),
                _ => number.map(digits),
            };
            let (own, value) = match Cell::of(total, kind) {
                Cell::Number { value, .. } => (value.to_string(), json!(value)),
                Cell::Money(money) => {
                    let plain = total.normalize().to_string();
                    let unit = if *kind == CellKind::Percent { "%" } else { "" };
                    (format!("{plain}{unit}"), json!(money.text))
                }
                _ => continue,
            };
            if let Some(shown) = shown.filter(|shown| *shown != own) {
                self.assumed(
                    spot.place(),
                    why(
                        format!(
                            "the formula shows {shown}, and what it adds is {own}: {own} is taken"
                        ),
                        format!("公式显示{shown}，而各项之和为{own}，按{own}读取"),
                    ),
                );
            }
            put(&mut self.job, &path, value);
        }
    }

    /// Gives the job an id, where it has none: one for each document, by what each must say of
    /// itself, so that a corrected one has the same.
    fn identify(&mut self) {
        let fields = self.job.as_object();
        if fields.is_some_and(|fields| fields.contains_key("job_id")) {
            return;
        }
        let data = &self.job["data"];
        let fields = self.form.fields.iter();
        let own = fields.filter(|field| !field.optional && field.kind.is_short());
        let Some(own) = own
            .map(|field| data.get(&field.field).map(Value::to_string))
            .collect::<Option<Vec<_>>>()
        else {
            return;
        };
        let year = data[&self.form.fields[self.form.year].field].to_string();
        let year: String = year.chars().filter(char::is_ascii_digit).take(4).collect();
        let of = digest::sha256(own.join("\n").as_bytes());
        let (name, _) = self.form.name.split_once('/').unwrap_or_default();
        let id = format!("{name}-{year}-{}", &of[..8]);
        let place = self.spots.iter().find(|spot| spot.path == "/job_id");
        self.assumed(
            place.map(Spot::place).unwrap_or_default(),
            why(
                format!(
                    "no job_id: {id}, made of the form and of what the document must say of itself"
                ),
                format!("未填job_id，按表式和必填的基本信息取为{id}"),
            ),
        );
        self.job["job_id"] = json!(id);
    }

    /// What the form has and the workbook has no place for.
    fn missing(&mut self) {
        let known: BTreeSet<String> = self
            .spots
            .iter()
            .map(|spot| like_first_row(&spot.path))
            .collect();
        let cells = self.form.cells.iter();
        let paths = cells.map(|cell| format!("/data{}", cell.pointer));
        for path in paths
            .filter(|path| !known.contains(path))
            .collect::<Vec<_>>()
        {
            let why = why(
                format!("the workbook has no place for {path}, which the form has: make it anew"),
                format!("工作簿没有表式中的{path}，请重新生成"),
            );
            self.unread(map::SHEET.to_owned(), why);
        }
    }
}

/// What a path holds.
enum Kind<'a> {
    Id,
    OnViolation,
    Field(&'a Field),
    /// A cell, and whether it is of last year.
    Cell(&'a CellKind, bool),
}

/// The pointer of a list's cell in its first row, which all rows are like.
fn like_first_row(pointer: &str) -> String {
    let mut parts: Vec<&str> = pointer.split('/').collect();
    if let [.., rows, number, _] = &mut parts[..]
        && *rows == "rows"
        && number.bytes().all(|digit| digit.is_ascii_digit())
    {
        *number = "0";
    }
    parts.join("/")
}

/// The problems that refuse a job, as one reason.
fn refused(problems: Vec<Problem>) -> Result<(), Why> {
    let mut problems = problems.into_iter();
    let refuses = |problem: &Problem| problem.code.severity() == Severity::Error;
    match problems.find(refuses) {
        Some(problem) => Err((problem.message, problem.message_zh)),
        None => Ok(()),
    }
}

fn in_error(error: &calamine::CellErrorType) -> Why {
    why(
        format!("the cell shows an error: {error}"),
        format!("该格显示错误：{error}"),
    )
}

fn no_date(value: &Data) -> Why {
    let found = shown(value);
    why(
        format!("want a date, as 2021-01-26, and there is \"{found}\""),
        format!("应为日期，如2021-01-26，而现为“{found}”"),
    )
}

/// A date however it was typed.
fn date_of(value: &Data, epoch_1904: bool) -> Option<String> {
    let of_serial = |serial: f64| {
        let date = ExcelDateTime::new(serial, ExcelDateTimeType::DateTime, epoch_1904);
        let (year, month, day, ..) = date.to_ymd_hms_milli();
        (1.0..80_000.0)
            .contains(&serial)
            .then(|| format!("{year:04}-{month:02}-{day:02}"))
    };
    let text = match value {
        Data::DateTime(date) => return of_serial(date.as_f64()),
        Data::Float(serial) => return of_serial(*serial),
        Data::DateTimeIso(text) => text.get(..10)?.to_owned(),
        Data::String(text) => text.nfkc().filter(|c| !c.is_whitespace()).collect(),
        _ => return None,
    };
    let parts: Vec<&str> = text
        .trim_end_matches('日')
        .split(['-', '/', '.', '年', '月'])
        .collect();
    let [year, month, day] = parts[..] else {
        return None;
    };
    let month = time::Month::try_from(month.parse::<u8>().ok()?).ok()?;
    let year = year.parse().ok().filter(|_| year.len() == 4)?;
    let date = time::Date::from_calendar_date(year, month, day.parse().ok()?).ok()?;
    let (year, month, day) = (date.year(), u8::from(date.month()), date.day());
    Some(format!("{year:04}-{month:02}-{day:02}"))
}

/// What a cell holds, as a job says it. `was` is what was sent, where a number would not give it.
fn sent(value: &Data, kind: &CellKind, was: &str, epoch_1904: bool) -> Result<Value, Why> {
    let typed = shown(value);
    let mark = MARKS.into_iter().find(|mark| *mark == typed.trim());
    if let Some(mark) = mark.filter(|_| *kind != CellKind::Text) {
        return Ok(mark.into());
    }
    let number = match value {
        Data::Error(error) => return Err(in_error(error)),
        Data::Float(number) => Some(*number),
        Data::Int(number) => Some(*number as f64),
        Data::DateTime(_) | Data::DateTimeIso(_) | Data::DurationIso(_)
            if !matches!(kind, CellKind::Date | CellKind::Text) =>
        {
            return Err(why(
                format!("the program made a date or a time of what was typed ({typed})"),
                format!("所填被软件转成了日期或时间（{typed}）"),
            ));
        }
        _ => None,
    };
    Ok(match (kind, number) {
        (CellKind::Count | CellKind::Change, Some(number)) => match number.fract() == 0.0 {
            true => json!(number as i64),
            false => json!(number),
        },
        (CellKind::Count, None) => count_of(&typed),
        (CellKind::Change, None) => {
            let plain = plain_digits(&typed).replace('−', "-");
            whole(plain.trim_start_matches('+'))
                .map_or_else(|| typed.into(), |number| json!(number))
        }
        (CellKind::Money(_) | CellKind::MoneyWithUnit(_), Some(number)) => {
            match was.parse() == Ok(number) {
                true => was.into(),
                false => digits(number).into(),
            }
        }
        (CellKind::Percent, Some(number)) => {
            let made = percentage(number);
            let same = |was: &str| was.trim_end_matches('%').parse::<f64>().ok();
            match same(was).is_some() && same(was) == same(&made) {
                true => was.into(),
                false => made.into(),
            }
        }
        (CellKind::Money(_) | CellKind::MoneyWithUnit(_) | CellKind::Percent, None) => {
            plain_digits(&typed).into()
        }
        (CellKind::Date, _) => date_of(value, epoch_1904)
            .ok_or_else(|| no_date(value))?
            .into(),
        (CellKind::YesNo, _) => match typed.trim() {
            "是" | "true" => true.into(),
            "否" | "false" => false.into(),
            _ => typed.into(),
        },
        (CellKind::Choice(_), _) => typed.trim().into(),
        (CellKind::Text, _) => typed.into(),
    })
}

/// A whole number in plain digits, with a point and zeros or without.
fn whole(plain: &str) -> Option<i64> {
    let digits = match plain.split_once('.') {
        Some((whole, part)) if !part.is_empty() && part.bytes().all(|digit| digit == b'0') => whole,
        _ => plain,
    };
    digits.parse().ok()
}

/// A count that was typed as a text: `１２`, `1,234`, `22（其中修订16件）`. As it is, where it is none.
fn count_of(typed: &str) -> Value {
    if let Some(number) = whole(&plain_digits(typed)) {
        return json!(number);
    }
    let typed = typed.trim();
    let remark = typed.split_once(['（', '(']).and_then(|(number, rest)| {
        let remark = rest.strip_suffix(['）', ')'])?;
        Some((whole(&plain_digits(number))?, remark))
    });
    match remark {
        Some((value, remark)) => json!({ "value": value, "remark": remark }),
        None => typed.into(),
    }
}

/// Blocks of text, as they are read row by row.
#[derive(Default)]
struct Blocks {
    done: Vec<Value>,
    /// The caption of a table whose heads come next.
    caption: Option<String>,
    table: Option<Map<String, Value>>,
    /// How many columns the table has.
    columns: usize,
    /// The part whose blocks these are.
    part: Option<(String, Vec<Value>)>,
}

type Wrong = ((u32, u16), Why);

impl Blocks {
    fn row(
        &mut self,
        row: u32,
        cells: &BTreeMap<u16, Saved>,
        notes: bool,
        parts: bool,
    ) -> Result<(), Wrong> {
        for (column, saved) in cells {
            if let Data::Error(error) = &saved.value {
                return Err(((row, *column), in_error(error)));
            }
        }
        let text = |column: u16| cells.get(&column).map(|saved| shown(&saved.value));
        let word = text(0).unwrap_or_default();
        let word = word.trim();
        let written = text(1).unwrap_or_default().replace('\r', "");
        let table = [map::COLUMNS, map::ROW].contains(&word);
        if let Some(column) = cells.keys().find(|column| **column > 1 && !table) {
            return Err((
                (row, *column),
                why(
                    "only the rows of a table have cells here",
                    "只有表头、表行的右侧才填各格",
                ),
            ));
        }
        if written.trim().is_empty() && !table {
            return Ok(());
        }
        let orphan = || {
            let (first, zh) = (map::COLUMNS, map::ROW);
            Err((
                (row, 0),
                why(
                    format!("a {zh} stands after a {first}"),
                    format!("“{zh}”应在“{first}”之后"),
                ),
            ))
        };
        match word {
            "" | map::PARAGRAPH if notes => self.push(json!(written)),
            "" | map::PARAGRAPH => {
                self.close();
                for line in written.split('\n').filter(|line| !line.trim().is_empty()) {
                    self.push(json!(line));
                }
            }
            map::HEADING if !notes => {
                self.close();
                self.push(json!({ "heading": written }));
            }
            map::CAPTION if !notes => {
                self.close();
                self.caption = Some(written);
            }
            map::COLUMNS if !notes => {
                if self.table.is_some() {
                    self.close();
                }
                self.columns = cells.keys().max().map_or(0, |last| usize::from(*last));
                let mut table = Map::new();
                table.insert("columns".to_owned(), self.cells(cells));
                table.insert("rows".to_owned(), json!([]));
                if let Some(caption) = self.caption.take() {
                    table.insert("caption".to_owned(), caption.into());
                }
                self.table = Some(table);
            }
            map::ROW if !notes => {
                let values = self.cells(cells);
                let Some(table) = &mut self.table else {
                    return orphan();
                };
                let last = cells.keys().max().map_or(0, |last| usize::from(*last));
                if last > self.columns {
                    return Err((
                        (row, last as u16),
                        why(
                            "the row has more cells than the table has heads",
                            "本行的格数多于表头",
                        ),
                    ));
                }
                if let Some(rows) = table.get_mut("rows").and_then(Value::as_array_mut) {
                    rows.push(values);
                }
            }
            map::PART if parts => {
                self.close_part();
                self.part = Some((written, Vec::new()));
            }
            other => {
                return Err((
                    (row, 0),
                    why(
                        format!("\"{other}\" is not one of the words to choose from here"),
                        format!("“{other}”不在此处可选之列"),
                    ),
                ));
            }
        }
        if parts && self.part.is_none() {
            return Err((
                (row, 0),
                why(
                    format!("it stands before the first {}", map::PART),
                    format!("其前没有“{}”", map::PART),
                ),
            ));
        }
        Ok(())
    }

    /// The cells of a table's row: texts, and whole numbers as they are.
    fn cells(&self, cells: &BTreeMap<u16, Saved>) -> Value {
        let cell = |column: usize| match u16::try_from(column).ok().and_then(|at| cells.get(&at)) {
            Some(Saved {
                value: Data::Float(number),
                ..
            }) if number.fract() == 0.0 && number.abs() < 1e15 => json!(*number as i64),
            Some(saved) => json!(shown(&saved.value).replace('\r', "")),
            None => json!(""),
        };
        (1..=self.columns).map(cell).collect()
    }

    fn push(&mut self, block: Value) {
        match &mut self.part {
            Some((_, blocks)) => blocks.push(block),
            None => self.done.push(block),
        }
    }

    /// Ends a table.
    fn close(&mut self) {
        self.caption = None;
        if let Some(table) = self.table.take() {
            self.push(json!({ "table": table }));
        }
    }

    fn close_part(&mut self) {
        self.close();
        if let Some((title, blocks)) = self.part.take() {
            self.done.push(json!({ "title": title, "blocks": blocks }));
        }
    }

    fn finish(mut self) -> Vec<Value> {
        self.close_part();
        self.done
    }
}

/// Sets the value at a pointer, with what is around it. Below `rows` are the rows of a list.
fn put(job: &mut Value, pointer: &str, value: Value) {
    let mut at = job;
    for name in pointer.split('/').skip(1) {
        let index = name.parse::<usize>().ok();
        at = match (index, at.is_array()) {
            (Some(index), true) => {
                if index >= ROWS {
                    return;
                }
                let Some(items) = at.as_array_mut() else {
                    return;
                };
                while items.len() <= index {
                    items.push(json!({}));
                }
                &mut items[index]
            }
            _ => {
                if !at.is_object() {
                    *at = json!({});
                }
                let new = if name == "rows" { json!([]) } else { json!({}) };
                let Some(fields) = at.as_object_mut() else {
                    return;
                };
                fields.entry(name).or_insert(new)
            }
        };
    }
    *at = value;
}

//! What of a refused job can be laid out, and what is to be marked on it.
//!
//! Takes the bytes of a job, right or wrong, and its problems; gives a [`Draft`]. Whatever could
//! not be read stands on the page as it was sent, as text and cut to a length, or as a note that it
//! is missing. Never lays anything out, and never makes a [`Manuscript`](crate::typesetter::Manuscript)
//! of it, from which an official file could be made. If we crash here, nothing has happened yet.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::config::Limits;
use crate::job::{self, Legible};
use crate::problem::Problem;
use crate::report::form::{CellKind, Field, FieldKind};
use crate::report::json::{Node, Place, shown};
use crate::report::text::{self, Kind};
use crate::report::{Block, Cell, Content, Editions, Report, cell, rules, view};
use crate::typesetter::manuscript::field_texts;

/// The most characters of a text that are shown.
const MOST_TEXT: usize = 2000;

/// The most characters of what was sent for a cell that has no figure.
const MOST_CELL: usize = 24;

/// The most blocks of text, and rows and columns of a table in it, that are shown.
const MOST_BLOCKS: usize = 400;
const MOST_COLUMNS: usize = 30;

/// What there is to show of a refused job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// Its problems. On the pages each has a number, its index plus 1.
    pub problems: Vec<Problem>,
    /// What can be laid out; none, where the job is no report in a form that there is.
    pub sheet: Option<Sheet>,
}

/// What can be laid out of a refused job, and what is to be marked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sheet {
    /// The edition that lays it out.
    pub(in crate::typesetter) template: String,
    /// The digest of the job.
    pub(in crate::typesetter) ident: String,
    /// All that could be read.
    pub(super) whole: Views,
    /// The tables alone, for where the texts are what can't be laid out.
    pub(super) tables: Views,
    /// What is to be marked.
    pub(super) targets: Vec<Target>,
    /// How many problems there are.
    pub(super) problems: usize,
}

/// A report as its template sees it, twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Views {
    /// To be shown.
    pub(super) shown: String,
    /// To be looked through: each cell to be marked holds a key that no other has. So it is found
    /// wherever its template has put it.
    pub(super) keys: String,
}

/// Something to be marked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Target {
    /// Where it is.
    pub(super) place: Spot,
    /// The problems that name it.
    pub(super) faults: Vec<usize>,
    /// Those of whose equations it is another term.
    pub(super) parts: Vec<usize>,
}

/// Where something to be marked is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Spot {
    /// The cell of a table that has this key, and what is shown in it.
    Cell { key: String, shown: String },
    /// A text: of those that are the same, so many come before it. Where it is not on the pages, the
    /// heading of its section.
    Text {
        text: String,
        before: usize,
        heading: Option<String>,
    },
    /// The heading of a section.
    Heading(String),
    /// The year, in the title.
    Year(String),
}

/// What there is to show of a job that was refused for these problems; where none are told, for
/// those that are found now.
pub fn draft(body: &[u8], problems: &[Problem], limits: &Limits, editions: &Editions) -> Draft {
    let problems = match problems {
        [] => match job::read(body, None, limits, editions) {
            Ok(_) => Vec::new(),
            Err(refusal) => refusal.rejection.into_problems(),
        },
        told => told.to_vec(),
    };
    let legible = job::legible(body, limits, editions);
    let sheet = legible.map(|legible| sheet(legible, &problems));
    Draft { problems, sheet }
}

fn sheet(legible: Legible, problems: &[Problem]) -> Sheet {
    let Legible {
        template,
        sha256,
        data,
        mut report,
        prior,
    } = legible;
    let (traced, totals) = rules::trace(&report, &prior);
    rules::fill_in(&mut report, totals);
    let mut equations = BTreeMap::<_, Vec<_>>::new();
    for (told, cells) in &traced {
        let at = (told.code, told.path.as_str());
        equations.entry(at).or_default().push((told, cells));
    }
    for at in 0..report.cells.len() {
        if report.cells[at] == Cell::Unread {
            let node = within(&data, &report.form.cells[at].pointer);
            let kind = &report.form.cells[at].kind;
            report.cells[at] = Cell::Text(node.map_or_else(String::new, |node| sent(node, kind)));
        }
    }
    report.fields = texts(&report, &data);

    let pages = on_pages(&report);
    let mut marked = Marked::new(&report, &pages);
    for (number, problem) in problems.iter().enumerate() {
        marked.problem(number, problem, &data);
        let at = (problem.code, problem.path.as_str());
        let told = equations.get(&at).into_iter().flatten();
        let figures = |problem: &Problem| (problem.expected.clone(), problem.actual.clone());
        let own = told.filter(|(told, _)| figures(told) == figures(problem));
        for cell in own.flat_map(|(_, cells)| *cells) {
            let (_, parts) = marked.cells.entry(*cell).or_default();
            parts.insert(number);
        }
    }
    let mut keys = Keys::new(report.clone(), &pages);
    let targets = marked.targets(&mut keys);
    Sheet {
        template,
        ident: sha256,
        whole: Views {
            shown: view::view(&report).to_string(),
            keys: view::view(&keys.report).to_string(),
        },
        tables: Views {
            shown: view::view(&without_texts(&report)).to_string(),
            keys: view::view(&without_texts(&keys.report)).to_string(),
        },
        targets,
        problems: problems.len(),
    }
}

/// The value at a JSON Pointer below another.
fn within<'a>(node: &'a Node, pointer: &str) -> Option<&'a Node> {
    let mut names = pointer.split('/');
    names.next();
    names.try_fold(node, |node, name| match node {
        Node::Array(items) => items.get(name.parse::<usize>().ok()?),
        node => node.get(&name.replace("~1", "/").replace("~0", "~")),
    })
}

/// What was sent for a cell that could not be read: words as they are, anything else as JSON, so
/// that a figure in quotes is seen to be one.
fn sent(node: &Node, kind: &CellKind) -> String {
    let text = match node {
        Node::String(words) if !kind.is_figure() => words.clone(),
        Node::Object(_) => match node.get("value") {
            Some(value) => shown(value),
            None => shown(node),
        },
        node => shown(node),
    };
    clipped(&printable(&text), MOST_CELL)
}

/// A text without what has no place on a page. 〓 is what printers set for type that they have not.
fn printable(text: &str) -> String {
    let printed = |c: char| {
        if c.is_control() && c != '\n' {
            '〓'
        } else {
            c
        }
    };
    text.chars().map(printed).collect()
}

fn clipped(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}……", &text[..end]),
        None => text.to_owned(),
    }
}

/// A note in the place of what is missing, or could not be read.
fn note(label: &str, node: Option<&Node>) -> String {
    match node {
        None => format!("〔缺：{label}〕"),
        Some(node) => format!(
            "〔无法读取：{label}：{}〕",
            clipped(&printable(&shown(node)), MOST_CELL)
        ),
    }
}

/// A text as it was sent, whatever is wrong with it.
fn read(node: &Node, kind: Kind, label: &str) -> String {
    let Node::String(text) = node else {
        return note(label, Some(node));
    };
    let (long, text) = (
        text.chars().nth(MOST_TEXT).is_some(),
        clipped(text, MOST_TEXT),
    );
    let (place, mut problems) = (Place::new("", ""), Vec::new());
    let text = Node::String(text);
    let mut text = printable(&text::read(&text, &place, kind, &mut problems));
    if long {
        text.push_str("〔以下略〕");
    }
    match text.is_empty() && kind != Kind::Cell {
        true => note(label, None),
        false => text,
    }
}

/// The fields, with a note where one is missing or could not be read, and all items of an array in
/// their places.
fn texts(report: &Report, data: &Node) -> Vec<Content> {
    let mut left = MOST_BLOCKS;
    let fields = report.form.fields.iter().zip(&report.fields);
    fields
        .map(|(field, content)| self::content(field, content, data, &mut left))
        .collect()
}

fn content(field: &Field, content: &Content, data: &Node, left: &mut usize) -> Content {
    let label = &field.label;
    let node = match (data.get(&field.field), &field.kind) {
        (None, _) if field.optional => return Content::Absent,
        (Some(node), _) => node,
        (None, FieldKind::Blocks(_)) => {
            return Content::Blocks(vec![Block::Paragraph(note(label, None))]);
        }
        (None, FieldKind::Lines) => return Content::Lines(vec![note(label, None)]),
        (None, FieldKind::Year) => return Content::Year(0),
        (None, FieldKind::Parts) => return Content::Parts(Vec::new()),
        // Its cells are there all the same, each marked.
        (None, FieldKind::Table(_)) => {
            return Content::Table {
                introduction: Vec::new(),
                notes: Vec::new(),
            };
        }
        (None, FieldKind::Line | FieldKind::Text | FieldKind::Date) => {
            return Content::Text(note(label, None));
        }
    };
    match (&field.kind, content) {
        (FieldKind::Line, _) => Content::Text(read(node, Kind::Line, label)),
        (FieldKind::Text, _) => Content::Text(read(node, Kind::Lines, label)),
        (FieldKind::Year, _) => {
            let year = node.whole().and_then(|year| u16::try_from(year).ok());
            Content::Year(year.unwrap_or_default())
        }
        (FieldKind::Date, Content::Date(day)) => Content::Date(*day),
        (FieldKind::Date, _) => Content::Text(note(label, Some(node))),
        (FieldKind::Lines, _) => Content::Lines(lines(node, Kind::Line, label, left)),
        (FieldKind::Blocks(_), _) => Content::Blocks(blocks(node, label, left)),
        (FieldKind::Parts, _) => {
            let part = |node: &Node| {
                let title = node.get("title");
                let title = title.map_or_else(
                    || note("标题", None),
                    |title| read(title, Kind::Lines, "标题"),
                );
                let inner = node.get("blocks");
                (
                    title,
                    inner.map_or_else(Vec::new, |inner| blocks(inner, "正文", left)),
                )
            };
            Content::Parts(items(node).iter().map(part).collect())
        }
        (FieldKind::Table(_), _) => Content::Table {
            introduction: match node.get("introduction") {
                Some(inner) => blocks(inner, "表前文字", left),
                None => Vec::new(),
            },
            notes: match node.get("notes") {
                Some(inner) => lines(inner, Kind::Lines, "注", left),
                None => Vec::new(),
            },
        },
    }
}

fn items(node: &Node) -> &[Node] {
    match node {
        Node::Array(items) => items,
        _ => &[],
    }
}

/// As many as may still be shown.
fn some<'a>(list: &'a [Node], left: &mut usize) -> &'a [Node] {
    let count = list.len().min(*left);
    *left -= count;
    &list[..count]
}

fn lines(node: &Node, kind: Kind, label: &str, left: &mut usize) -> Vec<String> {
    let Node::Array(list) = node else {
        return vec![note(label, Some(node))];
    };
    let list = some(list, left).iter();
    list.map(|node| read(node, kind, label)).collect()
}

fn blocks(node: &Node, label: &str, left: &mut usize) -> Vec<Block> {
    let Node::Array(list) = node else {
        return vec![Block::Paragraph(note(label, Some(node)))];
    };
    let shown = some(list, left);
    let mut blocks: Vec<Block> = shown.iter().map(|node| block(node, label, left)).collect();
    if shown.len() < list.len() {
        blocks.push(Block::Paragraph("〔以下略〕".to_owned()));
    } else if list.is_empty() {
        blocks.push(Block::Paragraph(note(label, None)));
    }
    blocks
}

fn block(node: &Node, label: &str, left: &mut usize) -> Block {
    if let Node::String(_) = node {
        return Block::Paragraph(read(node, Kind::Paragraph, label));
    }
    if let Some(heading) = node.get("heading") {
        return Block::Heading(read(heading, Kind::Line, label));
    }
    let Some(table) = node.get("table") else {
        return Block::Paragraph(note(label, Some(node)));
    };
    let words = |node: &Node| match node {
        Node::String(_) => clipped(&read(node, Kind::Cell, ""), 200),
        node => clipped(&printable(&shown(node)), MOST_CELL),
    };
    let row = |node: &Node| -> Vec<String> {
        let cells = items(node).iter().take(MOST_COLUMNS);
        cells.map(words).collect()
    };
    let columns = table.get("columns").map_or_else(Vec::new, row);
    if columns.is_empty() {
        return Block::Paragraph(note(label, Some(node)));
    }
    let rows = table.get("rows").map_or(&[][..], items);
    let rows = some(rows, left).iter().map(|node| {
        let mut row = row(node);
        // Those of a row that is too long are not shown, where they have no column.
        row.resize(columns.len(), String::new());
        row
    });
    Block::Table {
        rows: rows.collect(),
        caption: table
            .get("caption")
            .map(|caption| read(caption, Kind::Lines, "表题")),
        columns,
    }
}

/// The report with its tables and nothing else that a sender wrote as text.
fn without_texts(report: &Report) -> Report {
    let fields = report.form.fields.iter().zip(&report.fields);
    let fields = fields.map(|(field, content)| match (&field.kind, content) {
        (_, Content::Absent) => Content::Absent,
        (FieldKind::Line | FieldKind::Text | FieldKind::Date, _) => {
            Content::Text(format!("〔{}〕", field.label))
        }
        (FieldKind::Lines, _) => Content::Lines(vec![format!("〔{}〕", field.label)]),
        (FieldKind::Blocks(_), _) => {
            Content::Blocks(vec![Block::Paragraph("〔正文略〕".to_owned())])
        }
        (FieldKind::Parts, _) => Content::Parts(Vec::new()),
        (FieldKind::Table(_), _) => Content::Table {
            introduction: Vec::new(),
            notes: Vec::new(),
        },
        (FieldKind::Year, content) => content.clone(),
    });
    Report {
        fields: fields.collect(),
        cells: report.cells.clone(),
        form: report.form.clone(),
    }
}

/// Every text on the pages, by its pointer below `data`.
fn on_pages(report: &Report) -> Vec<(String, String)> {
    field_texts(report, "", |content| match content {
        Content::Year(year) => Some(year.to_string()),
        Content::Date(day) => Some(cell::date(*day)),
        _ => None,
    })
}

/// Pointers in their order, each with an index.
type Pointers<'a> = BTreeMap<&'a str, usize>;

/// The indices of the pointers that a path names: itself, those below it, or else the next above.
fn named(path: &str, pointers: &Pointers<'_>) -> Vec<usize> {
    let below = format!("{path}/");
    let all = pointers.range(below.as_str()..);
    let all = all.take_while(|(pointer, _)| pointer.starts_with(&below));
    let own = pointers.get(path).into_iter();
    let found: Vec<usize> = own.chain(all.map(|(_, index)| index)).copied().collect();
    if !found.is_empty() {
        return found;
    }
    let mut above = path;
    while let Some((upper, _)) = above.rsplit_once('/') {
        if let Some(index) = pointers.get(upper) {
            return vec![*index];
        }
        above = upper;
    }
    Vec::new()
}

/// What the problems name.
struct Marked<'a> {
    report: &'a Report,
    texts: &'a [(String, String)],
    pointers: [Pointers<'a>; 2],
    /// By the index of a cell: what is wrong with it, and of what it is a part.
    cells: BTreeMap<usize, (BTreeSet<usize>, BTreeSet<usize>)>,
    /// By the index of a text.
    of_texts: BTreeMap<usize, BTreeSet<usize>>,
    /// By the index of a field.
    headings: BTreeMap<usize, BTreeSet<usize>>,
}

impl<'a> Marked<'a> {
    fn new(report: &'a Report, texts: &'a [(String, String)]) -> Self {
        let cells = report.form.cells.iter().map(|cell| cell.pointer.as_str());
        let of_texts = texts.iter().map(|(pointer, _)| pointer.as_str());
        Marked {
            report,
            texts,
            pointers: [cells.zip(0..).collect(), of_texts.zip(0..).collect()],
            cells: BTreeMap::new(),
            of_texts: BTreeMap::new(),
            headings: BTreeMap::new(),
        }
    }

    /// Finds what a problem names: a cell, all cells of a row or a table, a text, the heading of a
    /// section. A problem that is none of these, as one of the job as a whole, has no mark.
    fn problem(&mut self, number: usize, problem: &Problem, data: &Node) {
        let path = match problem.path.strip_prefix("/data") {
            Some(path) if path.starts_with('/') => path,
            _ => return,
        };
        let form = &self.report.form;
        let [cells, texts] = &self.pointers;
        let cells = named(path, cells);
        if !cells.is_empty() {
            for index in cells {
                self.cells.entry(index).or_default().0.insert(number);
            }
            return;
        }
        let texts = named(path, texts);
        let name = path[1..].split('/').next().unwrap_or_default();
        let heading = form.field(name);
        let heading = heading.filter(|at| form.fields[*at].heading.is_some());
        // Of a section as a whole the heading is marked; the note in its place, where it is missing.
        let whole = path[1..] == *name && matches!(data.get(name), Some(Node::Array(_)));
        match heading {
            Some(at) if whole || texts.is_empty() => {
                self.headings.entry(at).or_default().insert(number);
            }
            _ => {
                for index in texts {
                    self.of_texts.entry(index).or_default().insert(number);
                }
            }
        }
    }

    /// Everything to be marked; each cell gets its key.
    fn targets(&self, keys: &mut Keys) -> Vec<Target> {
        let mut targets = Vec::new();
        for (&index, (faults, parts)) in &self.cells {
            let (cell, place) = (&self.report.cells[index], &self.report.form.cells[index]);
            let shown = cell::printed(cell, &place.kind);
            targets.push(Target {
                place: Spot::Cell {
                    key: keys.of_cell(index),
                    shown,
                },
                faults: faults.iter().copied().collect(),
                parts: parts.difference(faults).copied().collect(),
            });
        }
        for (&index, faults) in &self.of_texts {
            let (pointer, text) = &self.texts[index];
            let name = pointer[1..].split('/').next().unwrap_or_default();
            let field = self.report.form.field(name);
            let heading = field.and_then(|at| self.report.form.fields[at].heading.clone());
            let before = self.texts[..index].iter();
            let year = field.filter(|at| matches!(self.report.fields[*at], Content::Year(_)));
            let place = match (year, keys.of_table(pointer)) {
                (Some(_), _) => Spot::Year(text.clone()),
                (None, Some(key)) => Spot::Cell {
                    key,
                    shown: text.clone(),
                },
                (None, None) => Spot::Text {
                    text: text.clone(),
                    before: before.filter(|(_, other)| other == text).count(),
                    heading,
                },
            };
            targets.push(Target {
                place,
                faults: faults.iter().copied().collect(),
                parts: Vec::new(),
            });
        }
        for (&at, faults) in &self.headings {
            let heading = self.report.form.fields[at].heading.clone();
            targets.push(Target {
                place: Spot::Heading(heading.unwrap_or_default()),
                faults: faults.iter().copied().collect(),
                parts: Vec::new(),
            });
        }
        targets
    }
}

/// The report with keys in the cells that are to be marked.
struct Keys {
    report: Report,
    /// What stands in cells, which no key may be.
    taken: BTreeSet<String>,
    given: usize,
}

impl Keys {
    fn new(report: Report, pages: &[(String, String)]) -> Keys {
        let cells = report.cells.iter().zip(&report.form.cells);
        let cells = cells.map(|(cell, place)| cell::printed(cell, &place.kind));
        let taken = cells.chain(pages.iter().map(|(_, text)| text.clone()));
        Keys {
            taken: taken.collect(),
            report,
            given: 0,
        }
    }

    /// As `A0B`: no wider than a figure, so that the table is not made anew for it.
    fn next(&mut self) -> String {
        const DIGITS: &[u8; 36] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
        loop {
            let (mut key, mut rest) = (String::new(), self.given);
            self.given += 1;
            while rest > 0 || key.len() < 2 {
                key.push(char::from(DIGITS[rest % 36]));
                rest /= 36;
            }
            key.push('K');
            if !self.taken.contains(&key) {
                return key;
            }
        }
    }

    fn of_cell(&mut self, index: usize) -> String {
        let key = self.next();
        self.report.cells[index] = Cell::Text(key.clone());
        key
    }

    /// Puts a key into the cell of a table in the text, if that is what a pointer names.
    fn of_table(&mut self, pointer: &str) -> Option<String> {
        let key = self.next();
        let names: Vec<&str> = pointer[1..].split('/').collect();
        let at = self.report.form.field(names.first()?)?;
        let content = self.report.fields.get_mut(at)?;
        let number = |name: Option<&&str>| name?.parse::<usize>().ok();
        let (blocks, rest) = match content {
            Content::Blocks(blocks) => (blocks, &names[1..]),
            Content::Table { introduction, .. } => (introduction, names.get(2..)?),
            Content::Parts(parts) => {
                let (_, blocks) = parts.get_mut(number(names.get(1))?)?;
                (blocks, names.get(3..)?)
            }
            _ => return None,
        };
        let Some(Block::Table { columns, rows, .. }) = blocks.get_mut(number(rest.first())?) else {
            return None;
        };
        let cell = match (
            rest.get(2).copied(),
            number(rest.get(3)),
            number(rest.get(4)),
        ) {
            (Some("columns"), Some(column), None) => columns.get_mut(column)?,
            (Some("rows"), Some(row), Some(column)) => rows.get_mut(row)?.get_mut(column)?,
            _ => return None,
        };
        cell.clone_from(&key);
        Some(key)
    }
}

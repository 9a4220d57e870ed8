//! What a form is: the fields of a document, its tables cell by cell, its rules, in the words of
//! the notice that prescribes it.
//!
//! A form is data, read once at start from the `form.toml` beside its template ([`Form::parse`]).
//! Reading, checking, the JSON Schema, the messages and the page are all made by walking it, so
//! that a label on the page and the same label in a message cannot differ.

mod equation;
mod file;
mod mistakes;

use std::borrow::Cow;
use std::ops::RangeInclusive;

use crate::problem::Code;

pub use equation::{Adds, Comparison, Each, Instance, Piece, Rule, Term};
pub use mistakes::LIMITS;

/// A form, ready to be walked.
#[derive(Debug, Clone)]
pub struct Form {
    /// What jobs call it, as `annual-report/2021`.
    pub name: String,
    /// The default title, with fields in braces.
    pub title: String,
    /// The notice that prescribes it.
    pub notice: String,
    /// The reporting years it serves.
    pub years: RangeInclusive<u16>,
    /// What the PDF says of the document after its title, with fields in braces.
    pub description: String,
    /// The PDF's keywords, with fields in braces.
    pub keywords: Vec<String>,
    /// The index in `fields` of the document's author.
    pub author: usize,
    /// The index in `fields` of its reporting year, or of the date whose year that is.
    pub year: usize,
    /// The index in `fields` of its date, if it has one.
    pub date: Option<usize>,
    /// The fields of a job's `data`, in the order of the page.
    pub fields: Vec<Field>,
    /// The cells of all its tables, in the order of the page.
    pub cells: Vec<CellPlace>,
    /// What the figures must keep, in the order of the file.
    pub rules: Vec<Rule>,
    /// The rules as the file has them, where its lists make them anew for each report.
    sources: Vec<equation::RuleSource>,
    /// What may be sent of last year: the fields of a job's `prior`.
    pub prior: Vec<Entry>,
    /// The edition that it took the place of.
    pub succeeds: Option<String>,
    /// Those that it succeeds or is succeeded by, to be named where a year is not this one's.
    pub siblings: Vec<Sibling>,
}

/// Another edition of a document.
#[derive(Debug, Clone)]
pub struct Sibling {
    /// As [`Form::name`].
    pub name: String,
    /// As [`Form::notice`].
    pub notice: String,
    /// As [`Form::years`].
    pub years: RangeInclusive<u16>,
}

/// A field of `data`.
#[derive(Debug, Clone)]
pub struct Field {
    /// Its name in a job.
    pub field: String,
    /// What messages call it.
    pub label: String,
    /// The heading of its section on the page; what has none stands before all sections.
    pub heading: Option<String>,
    /// What the JSON Schema says of it, where that is not the label.
    pub note: Option<String>,
    /// Whether a job may leave it out.
    pub optional: bool,
    /// What it holds.
    pub kind: FieldKind,
}

impl Field {
    /// What the JSON Schema and descriptions say of it.
    pub fn description(&self) -> &str {
        self.note.as_ref().unwrap_or(&self.label)
    }
}

/// What a field of `data` holds.
#[derive(Debug, Clone)]
pub enum FieldKind {
    /// A text on one line.
    Line,
    /// A text whose `\n` are line breaks.
    Text,
    /// A year.
    Year,
    /// A date.
    Date,
    /// Texts on one line each.
    Lines,
    /// Paragraphs, headings and tables.
    Blocks(Vec<TextRule>),
    /// Titles, each with paragraphs, headings and tables under it, as attachments are.
    Parts,
    /// An official table.
    Table(Table),
}

impl FieldKind {
    /// Whether it is a word or two, which stand beside the form's name for them.
    pub fn is_short(&self) -> bool {
        !matches!(
            self,
            FieldKind::Blocks(_) | FieldKind::Parts | FieldKind::Table(_)
        )
    }
}

/// What a text must keep.
#[derive(Debug, Clone)]
pub struct TextRule {
    /// The code of a text that does not.
    pub code: Code,
    /// What it is.
    pub kind: TextRuleKind,
    /// The message in English and in Chinese, with `{heading}` and `{count}`.
    pub message: [String; 2],
}

/// The kinds of [`TextRule`].
#[derive(Debug, Clone)]
pub enum TextRuleKind {
    /// At most so many characters that are not white space, tables aside.
    Length(usize),
    /// One sentence holds, for one of `any`, a word of each of its lists; `except` not counted.
    Mention {
        /// Words that are left out of account.
        except: Vec<String>,
        /// Lists of lists of words.
        any: Vec<Vec<Vec<String>>>,
    },
}

/// An official table.
#[derive(Debug, Clone)]
pub struct Table {
    /// Its shape.
    pub shape: Shape,
    /// Its objects and cells as a job has them.
    pub entries: Vec<Entry>,
    /// The text of the head's first cell.
    pub corner: String,
    /// What the columns of a matrix are together.
    pub columns_label: String,
    /// What the form itself says under the table, before a job's own notes.
    pub notes: Vec<String>,
    /// The heads of a matrix's columns, of a list's, and of a row's where all its groups have the
    /// same.
    pub heads: Vec<Head>,
    /// The head over the serial numbers of a list, where it has them.
    pub serial: Option<String>,
}

impl Table {
    /// The heads over a row of figures: those of its groups, with the columns of each, or the
    /// table's own.
    pub fn row_heads(&self) -> Cow<'_, [Head]> {
        fn of(entries: &[Entry]) -> Vec<Head> {
            let head = |entry: &Entry| Head {
                label: entry.label.clone(),
                heads: of(entry.entries()),
            };
            entries.iter().map(head).collect()
        }
        match self.entries.first().map(|entry| &entry.holds) {
            Some(Holds::Cell(_)) => Cow::Borrowed(&self.heads),
            _ => Cow::Owned(of(&self.entries)),
        }
    }
}

/// The shapes of official tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Bands under one another, each with columns of its own.
    Bands,
    /// A tree of rows against a tree of columns.
    Matrix,
    /// One row of figures under a tree of heads.
    Row,
    /// As many rows as a job has, and one of totals.
    List,
}

/// A column's head, or one over several.
#[derive(Debug, Clone)]
pub struct Head {
    /// Its text.
    pub label: String,
    /// The heads under it.
    pub heads: Vec<Head>,
}

/// An object or a cell of an official table, as a job has it.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its name in a job.
    pub field: String,
    /// Its text on the page.
    pub label: String,
    /// What messages call it: a row by its groups, too; nothing where that would say nothing.
    pub said: String,
    /// Whether messages name what is in it after it.
    pub leads: bool,
    /// Whether a job may leave it out: a total, which is then computed; a figure of last year.
    pub optional: bool,
    /// What it holds.
    pub holds: Holds,
}

/// What an [`Entry`] holds.
#[derive(Debug, Clone)]
pub enum Holds {
    /// Other entries.
    Entries(Vec<Entry>),
    /// The rows of a list, which are an array in a job. A form that is not yet a report's has the
    /// one that all are like: [`Form::with_rows`].
    Rows(Vec<Entry>),
    /// The cell of this index in [`Form::cells`].
    Cell(usize),
}

impl Entry {
    /// The entries in it; none in a cell.
    pub fn entries(&self) -> &[Entry] {
        match &self.holds {
            Holds::Entries(entries) | Holds::Rows(entries) => entries,
            Holds::Cell(_) => &[],
        }
    }

    /// Whether it holds cells alone, as a row does.
    pub fn is_row(&self) -> bool {
        let cell = |entry: &Entry| matches!(entry.holds, Holds::Cell(_));
        !self.entries().is_empty() && self.entries().iter().all(cell)
    }

    /// The indices of all cells in it, in the order of the page.
    pub fn cells(&self) -> Vec<usize> {
        match &self.holds {
            Holds::Cell(index) => vec![*index],
            _ => self.entries().iter().flat_map(Entry::cells).collect(),
        }
    }
}

/// The names in braces of a text, each with the text before it, and the text after the last. None,
/// where a `{` has no `}`.
pub(super) fn braces(text: &str) -> Option<(Vec<(&str, &str)>, &str)> {
    let (mut names, mut rest) = (Vec::new(), text);
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}')?;
        names.push((before, name));
        rest = after;
    }
    Some((names, rest))
}

/// What a row of a list is called: by its place, and by its name.
fn row_said(at: usize, name: Option<&str>) -> String {
    let name = name.map_or_else(String::new, |name| format!("（{name}）"));
    format!("第{}行{name}", at + 1)
}

impl Entry {
    /// The row of a list at another place. The first keeps its cells, each other has its own.
    fn repeated(&self, at: usize, said: &str, cells: &mut Vec<CellPlace>) -> Entry {
        let own = |entry: &Entry| {
            let Holds::Cell(index) = entry.holds else {
                return entry.clone();
            };
            if at == 0 {
                cells[index].row = said.to_owned();
                return entry.clone();
            }
            let (row, column) = cells[index].parts();
            let list = row.rsplit_once('/').map_or("", |(list, _)| list);
            cells.push(CellPlace {
                pointer: format!("{list}/{at}/{column}"),
                row: said.to_owned(),
                ..cells[index].clone()
            });
            Entry {
                holds: Holds::Cell(cells.len() - 1),
                ..entry.clone()
            }
        };
        let own = self.entries().iter().map(own).collect();
        Entry {
            field: at.to_string(),
            said: said.to_owned(),
            holds: Holds::Entries(own),
            ..self.clone()
        }
    }
}

/// A cell of an official table.
#[derive(Debug, Clone)]
pub struct CellPlace {
    /// JSON Pointer into a job's `data`, as `/requests/received/business`.
    pub pointer: String,
    /// The row's words.
    pub row: String,
    /// The column's words, on one line.
    pub column: String,
    /// What stands in it.
    pub kind: CellKind,
}

impl CellPlace {
    /// The object that it stands in, and its name there.
    pub fn parts(&self) -> (&str, &str) {
        self.pointer.rsplit_once('/').unwrap_or_default()
    }

    /// What messages call it: by its row and its column.
    pub fn name(&self) -> String {
        match self.row.is_empty() {
            true => format!("「{}」", self.column),
            false => format!("「{}」「{}」", self.row, self.column),
        }
    }
}

/// What stands in a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CellKind {
    /// A whole number that is not negative, with or without a remark.
    Count,
    /// A whole number with its sign.
    Change,
    /// An amount in the unit that the head names.
    Money(String),
    /// An amount with one of these units, or with none.
    MoneyWithUnit(Vec<String>),
    /// A percentage.
    Percent,
    /// A text on one line.
    Text,
    /// A date.
    Date,
    /// 是 or 否.
    YesNo,
    /// One of these words.
    Choice(Vec<String>),
}

impl CellKind {
    /// Whether it is a number, which rules may add.
    pub fn is_figure(&self) -> bool {
        match self {
            CellKind::Count
            | CellKind::Change
            | CellKind::Money(_)
            | CellKind::MoneyWithUnit(_)
            | CellKind::Percent => true,
            CellKind::Text | CellKind::Date | CellKind::YesNo | CellKind::Choice(_) => false,
        }
    }

    /// What its figures are in: those of two kinds are neither added nor compared.
    fn unit(&self) -> String {
        match self {
            CellKind::Money(unit) => unit.clone(),
            CellKind::MoneyWithUnit(units) => units.join("/"),
            CellKind::Percent => "%".to_owned(),
            _ => "counts".to_owned(),
        }
    }

    /// Whether a column of it has a sum: all its figures are in one unit, and parts of a whole.
    pub fn adds_up(&self) -> bool {
        match self {
            CellKind::MoneyWithUnit(_) | CellKind::Percent => false,
            kind => kind.is_figure(),
        }
    }
}

impl Form {
    /// The edition alone, as `2021`.
    pub fn edition(&self) -> &str {
        self.name.split_once('/').map_or("", |(_, edition)| edition)
    }

    /// The official tables, each with its field.
    pub fn tables(&self) -> impl Iterator<Item = (&Field, &Table)> {
        self.fields.iter().filter_map(|field| match &field.kind {
            FieldKind::Table(table) => Some((field, table)),
            _ => None,
        })
    }

    /// The lists, each with the index of its field.
    pub fn lists(&self) -> impl Iterator<Item = (usize, &Entry)> {
        let tables = self.fields.iter().enumerate();
        tables.filter_map(|(at, field)| match &field.kind {
            FieldKind::Table(table) if table.shape == Shape::List => {
                Some((at, table.entries.first()?))
            }
            _ => None,
        })
    }

    /// The form with as many rows in its lists as a report has. Each list is the index of its
    /// field, and what each of its rows is called; one without rows stays as it is.
    ///
    /// # Errors
    /// How many cells there may be, or how many the rules may add, where there are more.
    pub fn with_rows(&self, lists: &[(usize, Vec<Option<String>>)]) -> Result<Form, usize> {
        let mut form = self.clone();
        let mut cells = 0;
        for (field, names) in lists {
            let FieldKind::Table(table) = &mut form.fields[*field].kind else {
                continue;
            };
            let Some(Holds::Rows(rows)) = table.entries.first_mut().map(|rows| &mut rows.holds)
            else {
                continue;
            };
            let Some(like) = rows.first().cloned().filter(|_| !names.is_empty()) else {
                continue;
            };
            cells += like.entries().len() * names.len();
            if cells > LIMITS.list_cells {
                return Err(LIMITS.list_cells);
            }
            let row = |(at, name): (usize, &Option<String>)| {
                like.repeated(at, &row_said(at, name.as_deref()), &mut form.cells)
            };
            *rows = names.iter().enumerate().map(row).collect();
        }
        let rules = equation::compile_anew(&form.sources, &form.cells, &form.prior);
        form.rules = rules.ok_or(LIMITS.list_terms)?;
        form.mark_totals();
        Ok(form)
    }

    /// The codes that it brings.
    pub fn codes(&self) -> impl Iterator<Item = Code> {
        let rules = self.rules.iter().map(|rule| rule.code);
        rules.chain(self.text_rules().map(|(_, rule)| rule.code))
    }

    /// The rules of its texts, each with its field.
    pub fn text_rules(&self) -> impl Iterator<Item = (&Field, &TextRule)> {
        self.fields.iter().flat_map(|field| {
            let rules = match &field.kind {
                FieldKind::Blocks(rules) => &rules[..],
                _ => &[],
            };
            rules.iter().map(move |rule| (field, rule))
        })
    }

    /// Which of the cells of a list's row names it: the first text.
    pub fn naming_cell(&self, row: &Entry) -> Option<usize> {
        let text = |index: usize| self.cells[index].kind == CellKind::Text;
        row.cells().into_iter().position(text)
    }

    /// A field's index.
    pub fn field(&self, name: &str) -> Option<usize> {
        self.fields.iter().position(|field| field.field == name)
    }

    /// The index of a cell by its pointer below `data`.
    pub fn cell(&self, pointer: &str) -> Option<usize> {
        self.cells.iter().position(|cell| cell.pointer == pointer)
    }
}

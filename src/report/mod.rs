//! The report: typed values in the shape of the official form.
//!
//! Takes the `data` of a job as JSON, gives a [`Checked`] report. Never guesses: a missing figure
//! is a problem, never a zero. If we crash here, nothing has happened yet.

pub mod cell;
pub mod describe;
pub mod form;
pub mod json;
mod last;
pub mod read;
pub mod rules;
pub mod schema;
pub mod text;
pub mod view;

use std::collections::BTreeMap;
use std::sync::Arc;

use rust_decimal::Decimal;
use time::Date;

use crate::problem::{Code, Problem, Rejection, Severity};

use form::{CellKind, Form};
use json::Problems;

pub use last::Last;

/// The templates that there are: `name/edition`, and the form that each sets.
pub type Editions = BTreeMap<String, Arc<Form>>;

/// What agencies write into a cell where they have no such power, or nothing to count.
pub const MARKS: [&str; 6] = ["/", "／", "—", "－", "-", "无"];

/// The most texts that are told of with `W-CHARACTER`: a job could have a hundred thousand, and its
/// event would be more than a broker takes.
const MOST_TEXTS: usize = 100;

/// The largest count, 10^12: beyond it a figure is a mistake.
pub const MAX_COUNT: i64 = 1_000_000_000_000;

/// A report as it was sent. Only [`Checked`] reports go further.
#[derive(Debug, Clone)]
pub struct Report {
    /// The form that it is in.
    pub form: Arc<Form>,
    /// What its fields hold, in the order of [`Form::fields`].
    pub fields: Vec<Content>,
    /// What stands in its tables, in the order of [`Form::cells`].
    pub cells: Vec<Cell>,
}

/// What a field of a report holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Nothing: it was left out, or could not be read.
    Absent,
    /// A text.
    Text(String),
    /// A year; 0 when it could not be read.
    Year(u16),
    /// A date.
    Date(Date),
    /// Texts on one line each.
    Lines(Vec<String>),
    /// Paragraphs, headings and tables.
    Blocks(Vec<Block>),
    /// Titles, each with what stands under it.
    Parts(Vec<(String, Vec<Block>)>),
    /// What stands around an official table, whose cells are the report's.
    Table {
        /// The text between heading and table.
        introduction: Vec<Block>,
        /// Printed under the table.
        notes: Vec<String>,
    },
}

impl Report {
    /// A field by its name.
    pub fn field(&self, name: &str) -> Option<&Content> {
        self.fields.get(self.form.field(name)?)
    }

    /// A field that is a text.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.field(name)? {
            Content::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A field that is blocks of text.
    pub fn blocks(&self, name: &str) -> &[Block] {
        match self.field(name) {
            Some(Content::Blocks(blocks)) => blocks,
            _ => &[],
        }
    }

    /// Who publishes it: 发文机关.
    pub fn author(&self) -> &str {
        match &self.fields[self.form.author] {
            Content::Text(text) => text,
            _ => "",
        }
    }

    /// The reporting year.
    pub fn year(&self) -> u16 {
        match &self.fields[self.form.year] {
            Content::Year(year) => *year,
            Content::Date(date) => u16::try_from(date.year()).unwrap_or_default(),
            _ => 0,
        }
    }

    /// 成文日期, where it has one.
    pub fn date(&self) -> Option<Date> {
        match &self.fields[self.form.date?] {
            Content::Date(date) => Some(*date),
            _ => None,
        }
    }

    /// The title, with its chosen line breaks.
    pub fn title(&self) -> String {
        match self.text("title") {
            Some(title) => title.to_owned(),
            None => self.filled(&self.form.title),
        }
    }

    /// A text of the form with the report's values in its braces, and its `{notice}`.
    pub fn filled(&self, text: &str) -> String {
        let mut filled = String::new();
        // The form was refused, had a brace no end.
        let (names, rest) = form::braces(text).unwrap_or((Vec::new(), text));
        for (before, name) in names {
            filled.push_str(before);
            match (name, self.field(name)) {
                ("notice", _) => filled.push_str(&self.form.notice),
                (_, Some(Content::Text(text))) => filled.push_str(text),
                (_, Some(Content::Year(year))) => filled.push_str(&year.to_string()),
                (_, Some(Content::Date(date))) => filled.push_str(&cell::date(*date)),
                _ => {}
            }
        }
        filled + rest
    }
}

/// A piece of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Block {
    /// A paragraph.
    Paragraph(String),
    /// A heading on a line of its own.
    Heading(String),
    /// A table. Every row has as many cells as there are columns.
    Table {
        /// The heads.
        columns: Vec<String>,
        /// The rows.
        rows: Vec<Vec<String>>,
        /// Its caption.
        caption: Option<String>,
    },
}

/// What stands in a cell of the official tables.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Cell {
    /// A whole number, and what the agency says of it in the same cell.
    Number {
        /// Counts are not negative; 本年增/减 may be.
        value: i64,
        /// As `其中修订16件`.
        remark: Option<String>,
    },
    /// Money or another decimal, as it was sent.
    Money(Money),
    /// Words, which no rule adds.
    Text(String),
    /// `null`: prints blank, adds as 0.
    Blank,
    /// One of [`MARKS`]: prints as sent, adds as 0.
    Mark(&'static str),
    /// A total that was left out, to be computed.
    Absent,
    /// Could not be read; the problem is noted, and no rule looks at it.
    #[default]
    Unread,
}

impl Cell {
    /// What it adds: `None` when it could not be read.
    pub fn adds(&self) -> Option<Decimal> {
        match self {
            Cell::Blank | Cell::Mark(_) | Cell::Absent => Some(Decimal::ZERO),
            figure => figure.number(),
        }
    }

    /// Whether there is no figure in it: as a total it then stands for its computed value.
    pub fn is_open(&self) -> bool {
        matches!(self, Cell::Blank | Cell::Mark(_) | Cell::Absent)
    }

    /// A figure that was computed, with as many decimals as those that it was made of.
    pub fn of(total: Decimal, kind: &CellKind) -> Cell {
        let whole = matches!(kind, CellKind::Count | CellKind::Change);
        match i64::try_from(total) {
            Ok(value) if whole && total.is_integer() => Cell::Number {
                value,
                remark: None,
            },
            _ => {
                let unit = if *kind == CellKind::Percent { "%" } else { "" };
                Cell::Money(Money {
                    text: format!("{total}{unit}"),
                    amount: total,
                    unit: unit.to_owned(),
                })
            }
        }
    }

    /// Its number, when it has one.
    pub fn number(&self) -> Option<Decimal> {
        match self {
            Cell::Number { value, .. } => Some(Decimal::from(*value)),
            Cell::Money(money) => Some(money.amount),
            _ => None,
        }
    }
}

/// An amount of money: printed as sent, never a float.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Money {
    /// As sent, `2823.12万`.
    pub text: String,
    /// The number before the unit, exactly.
    pub amount: Decimal,
    /// 元, 万, 万元, 亿元, or nothing.
    pub unit: String,
}

/// Last year's figures, as far as the sender has them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Prior {
    /// By the index of the cell in [`Form::cells`].
    pub figures: BTreeMap<usize, Decimal>,
}

/// What a broken reconciliation rule (勾稽关系) does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnViolation {
    /// The job is rejected.
    #[default]
    Reject,
    /// The report is set, and the violations travel with it.
    Warn,
}

/// A report that keeps the rules, or whose sender chose to publish it as it is; its totals are
/// computed where they were left out.
#[derive(Debug, Clone)]
pub struct Checked {
    report: Report,
    warnings: Vec<Problem>,
}

impl Checked {
    /// The report.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// What was noticed and did not block.
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }
}

/// Checks a report against every rule. `problems` are those found on the way here; all of them
/// come back together.
///
/// # Errors
/// Every problem, when one of them rejects the job.
pub fn check(
    mut report: Report,
    prior: &Prior,
    on_violation: OnViolation,
    mut problems: Problems,
) -> Result<Checked, Rejection> {
    let totals = rules::check(&report, prior, &mut problems);
    count_texts(&mut problems);
    let rejects = |problem: &Problem| match problem.code.severity() {
        Severity::Error => true,
        Severity::Rule => on_violation == OnViolation::Reject,
        Severity::Warning => false,
    };
    if problems.iter().any(rejects) {
        problems.retain(|problem| problem.code.severity() != Severity::Warning);
        return Err(Rejection::new(problems));
    }
    problems.sort_by(|a, b| a.path.cmp(&b.path));
    rules::fill_in(&mut report, totals);
    Ok(Checked {
        report,
        warnings: problems,
    })
}

/// Leaves the first [`MOST_TEXTS`] of the warnings of characters, and counts the others.
fn count_texts(problems: &mut Problems) {
    let mut texts = 0_usize;
    problems.retain(|problem| {
        texts += usize::from(problem.code == Code::CHARACTER);
        problem.code != Code::CHARACTER || texts <= MOST_TEXTS
    });
    if let more @ 1.. = texts.saturating_sub(MOST_TEXTS) {
        problems.push(Problem::new(
            Code::CHARACTER,
            "/data",
            format!("and in {more} more texts, which are not listed"),
            format!("另有{more}处文字有同类字符，未列出"),
        ));
    }
}

/// Every text of a block, with the pointer below the block.
pub fn block_texts(block: &Block) -> Vec<(String, &str)> {
    match block {
        Block::Paragraph(text) => vec![(String::new(), text)],
        Block::Heading(text) => vec![("/heading".to_owned(), text)],
        Block::Table {
            columns,
            rows,
            caption,
        } => {
            let heads = columns
                .iter()
                .enumerate()
                .map(|(column, text)| (format!("/table/columns/{column}"), text.as_str()));
            let cells = rows.iter().enumerate().flat_map(|(row, cells)| {
                cells.iter().enumerate().map(move |(column, text)| {
                    (format!("/table/rows/{row}/{column}"), text.as_str())
                })
            });
            let caption = caption
                .iter()
                .map(|text| ("/table/caption".to_owned(), text.as_str()));
            heads.chain(cells).chain(caption).collect()
        }
    }
}

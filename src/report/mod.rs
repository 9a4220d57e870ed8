//! The report: typed values in the shape of the official form.
//!
//! Takes the `data` of a job as JSON, gives a [`Checked`] report. Never guesses: a missing figure
//! is a problem, never a zero. If we crash here, nothing has happened yet.

pub mod edition_2019;
pub mod edition_2021;
pub mod form;
pub mod json;
pub mod read;
pub mod rules;
pub mod schema;
pub mod text;
pub mod view;

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use time::Date;

use crate::problem::{Code, Problem, Rejection, Severity};

use form::Form;
use json::Problems;

/// The editions of the form that this build knows.
pub static FORMS: [&Form; 2] = [&edition_2019::FORM, &edition_2021::FORM];

/// The templates that there are: `name/edition`, and the form that each sets.
pub type Editions = BTreeMap<String, &'static Form>;

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
    /// The edition.
    pub form: &'static Form,
    /// 发文机关, in the title and the signature.
    pub agency: String,
    /// The reporting year.
    pub year: u16,
    /// The title that was chosen instead of the default; `\n` is a chosen line break.
    pub chosen_title: Option<String>,
    /// 成文日期.
    pub issued_on: Option<Date>,
    /// The text before section 一.
    pub introduction: Vec<Block>,
    /// 一、总体情况
    pub overview: Vec<Block>,
    /// 二、主动公开政府信息情况
    pub disclosure: Disclosure,
    /// 三、收到和处理政府信息公开申请情况
    pub requests: Requests,
    /// 四、政府信息公开行政复议、行政诉讼情况
    pub review: Review,
    /// 五、存在的主要问题及改进情况
    pub problems_and_improvements: Vec<Block>,
    /// 六、其他需要报告的事项
    pub other_matters: Vec<Block>,
}

impl Report {
    /// The title, with its chosen line breaks.
    pub fn title(&self) -> String {
        match &self.chosen_title {
            Some(title) => title.clone(),
            None => format!("{}{}年政府信息公开工作年度报告", self.agency, self.year),
        }
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

/// A cell of the official tables that holds a whole number.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Cell {
    /// A number, and what the agency says of it in the same cell.
    Number {
        /// Counts are not negative; 本年增/减 may be.
        value: i64,
        /// As `其中修订16件`.
        remark: Option<String>,
    },
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
    pub fn adds(&self) -> Option<i64> {
        match self {
            Cell::Number { value, .. } => Some(*value),
            Cell::Blank | Cell::Mark(_) | Cell::Absent => Some(0),
            Cell::Unread => None,
        }
    }

    /// Whether there is no figure in it: as a total it then stands for its computed value.
    pub fn is_open(&self) -> bool {
        matches!(self, Cell::Blank | Cell::Mark(_) | Cell::Absent)
    }

    /// Its number, when it has one.
    pub fn number(&self) -> Option<i64> {
        match self {
            Cell::Number { value, .. } => Some(*value),
            _ => None,
        }
    }
}

/// A cell of table 2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A count or a change.
    Number(Cell),
    /// Money, as it was sent.
    Money(Money),
    /// No money, where money stands: blank, a mark, or what could not be read.
    NoMoney(Cell),
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

/// 二、主动公开政府信息情况.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Disclosure {
    /// The text between heading and table.
    pub introduction: Vec<Block>,
    /// In the order of [`Form::figures`].
    pub figures: Vec<Value>,
    /// Printed under the table.
    pub notes: Vec<String>,
}

/// The seven cells of a row of table 3, in the order of [`form::APPLICANTS`].
pub type Row = [Cell; 7];

/// 三、收到和处理政府信息公开申请情况.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Requests {
    /// The text between heading and table.
    pub introduction: Vec<Block>,
    /// In the order of [`Form::rows`].
    pub rows: Vec<Row>,
    /// Printed under the table.
    pub notes: Vec<String>,
}

/// The five cells of a group of table 4, in the order of [`form::RESULTS`].
pub type Results = [Cell; 5];

/// 四、政府信息公开行政复议、行政诉讼情况.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Review {
    /// The text between heading and table.
    pub introduction: Vec<Block>,
    /// In the order of [`form::REVIEW_GROUPS`].
    pub groups: [Results; 3],
    /// Printed under the table.
    pub notes: Vec<String>,
}

/// Last year's figures, as far as the sender has them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Prior {
    /// Last year's 四、结转下年度继续办理, in the order of [`form::APPLICANTS`].
    pub carried_out: [Option<i64>; 7],
    /// Last year's 现行有效件数 of 规章.
    pub rules_in_force: Option<i64>,
    /// Last year's 现行有效件数 of 行政规范性文件.
    pub documents_in_force: Option<i64>,
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
    rules::check(&report, prior, &mut problems);
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
    rules::compute_totals(&mut report);
    problems.sort_by(|a, b| a.path.cmp(&b.path).then(a.code.cmp(&b.code)));
    Ok(Checked {
        report,
        warnings: problems,
    })
}

/// Leaves the first [`MOST_TEXTS`] of the warnings of characters, and counts the others.
fn count_texts(problems: &mut Problems) {
    let mut texts = 0_usize;
    problems.retain(|problem| {
        texts += usize::from(problem.code == Code::Character);
        problem.code != Code::Character || texts <= MOST_TEXTS
    });
    if let more @ 1.. = texts.saturating_sub(MOST_TEXTS) {
        problems.push(Problem::new(
            Code::Character,
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

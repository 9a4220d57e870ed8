//! The rules that a report must keep, as its form has them.
//!
//! Totals are made across first and then down: a row's total by the cells as they were sent, then
//! a column's by what the rows come to. Every sum takes a cell that is blank or holds a mark as 0,
//! and a total that does or was left out as its computed value; a sum with a cell that could not
//! be read is not made.

use rust_decimal::Decimal;

use super::form::{Adds, FieldKind, Instance, Piece, Rule, Term, TextRule, TextRuleKind};
use super::{Block, Cell, Content, Prior, Report, block_texts};
use crate::problem::{Code, Problem, Severity};

/// What every cell comes to: `None` for one that could not be read.
pub type Totals = Vec<Option<Decimal>>;

/// Notes every rule that the report breaks, and gives what its cells come to.
pub fn check(report: &Report, prior: &Prior, problems: &mut Vec<Problem>) -> Totals {
    // What is told keeps the order of the form.
    let mut broken = vec![Vec::new(); report.form.rules.len()];
    let totals = figures(report, prior, |at, _, problem| broken[at].push(problem));
    problems.extend(broken.into_iter().flatten());
    texts(report, problems);
    blank(report, problems);
    totals
}

/// The rules of figures that the report breaks, each with all cells that its equation is about; and
/// what the cells come to. For who wants to see where a mistake may be, and not only where it is
/// told.
pub fn trace(report: &Report, prior: &Prior) -> (Vec<(Problem, Vec<usize>)>, Totals) {
    let mut traced = Vec::new();
    let totals = figures(report, prior, |_, instance, problem| {
        let terms = instance.sides.iter().flatten();
        let cells = terms.flat_map(|term| match &term.adds {
            Adds::Cells(cells) => cells.as_slice(),
            Adds::Prior(_) | Adds::Number(_) => &[],
        });
        traced.push((problem, cells.copied().collect()));
    });
    (traced, totals)
}

/// Makes the totals, and tells of every rule that is broken: its index, for which cells, how.
fn figures(
    report: &Report,
    prior: &Prior,
    mut told: impl FnMut(usize, &Instance, Problem),
) -> Totals {
    let mut figures = Figures {
        report,
        prior,
        computed: vec![false; report.cells.len()],
        values: report.cells.iter().map(Cell::adds).collect(),
    };
    let rules = &report.form.rules;
    // What computes comes first, across and then down.
    let mut order: Vec<usize> = (0..rules.len()).collect();
    order.sort_by_key(|&at| (!rules[at].computes, rules[at].each));
    for at in order {
        figures.check(&rules[at], |instance, problem| told(at, instance, problem));
    }
    figures.values
}

/// Fills in the totals that were left out. A total that is `null` stays blank on the page.
pub fn fill_in(report: &mut Report, totals: Totals) {
    let places = report.form.cells.iter();
    for ((cell, place), total) in report.cells.iter_mut().zip(places).zip(totals) {
        if let (Cell::Absent, Some(total)) = (&*cell, total) {
            *cell = Cell::of(total, &place.kind);
        }
    }
}

/// The cells of a report with what they come to.
struct Figures<'a> {
    report: &'a Report,
    prior: &'a Prior,
    values: Totals,
    computed: Vec<bool>,
}

impl Figures<'_> {
    fn check(&mut self, rule: &Rule, mut told: impl FnMut(&Instance, Problem)) {
        for instance in &rule.instances {
            if rule.computes
                && let Some(target) = instance.target()
                && self.report.cells[target].is_open()
            {
                self.values[target] = self.side(instance, 1);
                self.computed[target] = true;
                continue;
            }
            let (Some(left), Some(right)) = (self.side(instance, 0), self.side(instance, 1)) else {
                continue;
            };
            let kept = rule.comparison.holds(left, right);
            let idle = rule.computes && self.nothing(instance);
            if !kept && !idle && self.applies(rule, instance) {
                told(instance, self.broken(rule, instance, left, right));
            }
        }
    }

    fn term(&self, adds: &Adds) -> Option<Decimal> {
        match adds {
            Adds::Cells(cells) => cells.iter().map(|&cell| self.values[cell]).sum(),
            Adds::Prior(cell) => self.prior.figures.get(cell).copied(),
            Adds::Number(number) => Some(Decimal::from(*number)),
        }
    }

    fn side(&self, instance: &Instance, side: usize) -> Option<Decimal> {
        self.sum(&instance.sides[side])
    }

    fn sum(&self, terms: &[Term]) -> Option<Decimal> {
        let values = terms.iter().map(|term| {
            let value = self.term(&term.adds)?;
            Some(if term.minus { -value } else { value })
        });
        values.sum()
    }

    /// Whether the rule's condition holds, where it has one.
    fn applies(&self, rule: &Rule, instance: &Instance) -> bool {
        let Some(comparison) = rule.when else {
            return true;
        };
        let sides = (self.sum(&instance.when[0]), self.sum(&instance.when[1]));
        matches!(sides, (Some(left), Some(right)) if comparison.holds(left, right))
    }

    /// Whether the right side has nothing to add up: all of it was left out, and nothing made it.
    fn nothing(&self, instance: &Instance) -> bool {
        instance.sides[1].iter().all(|term| match &term.adds {
            Adds::Cells(cells) => cells
                .iter()
                .all(|&cell| self.report.cells[cell] == Cell::Absent && !self.computed[cell]),
            Adds::Prior(_) | Adds::Number(_) => false,
        })
    }

    fn broken(&self, rule: &Rule, instance: &Instance, left: Decimal, right: Decimal) -> Problem {
        let absent = |cell: &usize| self.report.cells[*cell] == Cell::Absent;
        let places = &instance.places;
        let place = places.iter().find(|(_, row)| !row.iter().all(absent));
        let (cell, _) = place.unwrap_or(&places[0]);
        let cell = &self.report.form.cells[*cell];
        let message = |pieces: &[Piece]| {
            let said = pieces.iter().map(|piece| match piece {
                Piece::Text(text) => text.clone(),
                Piece::Row => cell.row.clone(),
                Piece::Column => cell.column.clone(),
                Piece::Side(0) => left.to_string(),
                Piece::Side(_) => right.to_string(),
                Piece::Term(side, at) => {
                    let term = self.term(&instance.sides[*side][*at].adds);
                    term.unwrap_or_default().to_string()
                }
            });
            said.collect::<String>()
        };
        let [en, zh] = &rule.message;
        Problem::new(
            rule.code,
            format!("/data{}", cell.pointer),
            message(en),
            message(zh),
        )
        .with(right, left)
    }
}

/// What the form asks of its texts.
fn texts(report: &Report, problems: &mut Vec<Problem>) {
    for (field, content) in report.form.fields.iter().zip(&report.fields) {
        let FieldKind::Blocks(rules) = &field.kind else {
            continue;
        };
        let blocks = match content {
            Content::Blocks(blocks) => blocks.as_slice(),
            _ => &[],
        };
        let path = format!("/data/{}", field.field);
        for rule in rules {
            let filled = |count: usize| {
                let heading = ("{heading}", field.label.as_str());
                rule.message.clone().map(|text| {
                    let text = text.replace(heading.0, heading.1);
                    text.replace("{count}", &count.to_string())
                })
            };
            if let Some((limit, count)) = broken(rule, blocks, &path, problems) {
                let [en, zh] = filled(count);
                let problem = Problem::new(rule.code, &path, en, zh);
                problems.push(match limit {
                    Some(limit) => problem.with(limit, count),
                    None => problem,
                });
            }
        }
    }
}

/// Whether blocks break a rule of texts: then its limit, where it has one, and what they have.
fn broken(
    rule: &TextRule,
    blocks: &[Block],
    path: &str,
    problems: &[Problem],
) -> Option<(Option<usize>, usize)> {
    match &rule.kind {
        TextRuleKind::Length(most) => {
            let prose = blocks.iter();
            let prose = prose.filter(|block| !matches!(block, Block::Table { .. }));
            let texts = prose.flat_map(block_texts);
            let shown = |text: &str| text.chars().filter(|c| !c.is_whitespace()).count();
            let count = texts.map(|(_, text)| shown(text)).sum();
            (count > *most).then_some((Some(*most), count))
        }
        TextRuleKind::Mention { except, any } => {
            let unread = problems.iter().any(|problem| {
                let wrong = problem.code.severity() == Severity::Error;
                wrong && problem.path.starts_with(path)
            });
            let mut texts = blocks.iter().flat_map(block_texts);
            let said = texts.any(|(_, text)| mentions(text, except, any));
            (!unread && !said).then_some((None, 0))
        }
    }
}

/// Whether a sentence of a text holds, for one of `any`, a word of each of its lists.
fn mentions(text: &str, except: &[String], any: &[Vec<Vec<String>>]) -> bool {
    let mut text = text.to_owned();
    for word in except {
        text = text.replace(word, "");
    }
    text.split(['。', '；', '！', '？', '\n']).any(|sentence| {
        let one = |words: &Vec<String>| words.iter().any(|word| sentence.contains(word.as_str()));
        any.iter().any(|lists| lists.iter().all(one))
    })
}

/// The most cells that W-BLANK lists: a list could have a hundred thousand.
const MOST_BLANK: usize = 500;

/// W-BLANK: cells of the tables are blank or hold a mark; lists them.
fn blank(report: &Report, problems: &mut Vec<Problem>) {
    let cells = report.form.cells.iter().zip(&report.cells);
    // Words may be missing.
    let open = cells.filter(|(place, cell)| {
        place.kind.is_figure() && matches!(cell, Cell::Blank | Cell::Mark(_))
    });
    let mut cells: Vec<String> = open
        .map(|(place, _)| format!("/data{}", place.pointer))
        .collect();
    let count = cells.len();
    if count > MOST_BLANK {
        cells.truncate(MOST_BLANK);
        cells.push("…".to_owned());
    }
    if let Some(first) = cells.first() {
        let list = cells.join(", ");
        let cells = if count == 1 {
            "1 cell is blank or holds a mark".to_owned()
        } else {
            format!("{count} cells are blank or hold a mark")
        };
        problems.push(Problem::new(
            Code::BLANK,
            first.clone(),
            format!("{cells}; printed as sent and added as 0: {list}"),
            format!("有{count}格留空或填符号，按原样打印，合计时按0计：{list}"),
        ));
    }
}

//! What cells come to, totals and rules as formulas of a workbook, in what Excel, WPS and
//! `LibreOffice` share: no array formulas, no names, no function that is younger than `IFERROR`.

use std::collections::BTreeMap;

use super::map::address;
use crate::report::MARKS;
use crate::report::form::{Adds, CellKind, Comparison, Form, Term};

/// The longest formula that a workbook may hold, in characters.
pub const LONGEST: usize = 8_192;

/// The longest text between quotes in one.
const LONGEST_TEXT: usize = 255;

/// A cell of a workbook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct At {
    /// The index of its sheet.
    pub sheet: usize,
    /// Its column, from 0.
    pub column: u16,
    /// Its row, from 0.
    pub row: u32,
}

/// Where the cells of a form are, for formulas that name them.
pub struct Formulas<'a> {
    /// The form.
    pub form: &'a Form,
    /// The names of the sheets.
    pub sheets: &'a [String],
    /// The places of the form's cells.
    pub cells: &'a [At],
    /// The places of last year's figures, by the cell that they are of.
    pub prior: &'a BTreeMap<usize, At>,
    /// The totals that are typed over, each with the place of what its rule makes of it.
    pub typed: &'a BTreeMap<usize, At>,
}

impl Formulas<'_> {
    /// A cell as a formula on the sheet `here` names it.
    pub fn reference(&self, at: At, here: usize) -> String {
        let cell = address((at.row, at.column));
        match at.sheet == here {
            true => cell,
            false => format!("'{}'!{cell}", self.sheets[at.sheet]),
        }
    }

    /// What a cell of the form comes to: 0 where it is blank, holds a mark or cannot be read.
    pub fn value(&self, cell: usize, here: usize) -> String {
        let x = self.reference(self.cells[cell], here);
        let value = number(&x, &self.form.cells[cell].kind);
        match self.typed.get(&cell) {
            Some(made) => {
                let made = self.reference(*made, here);
                format!("IF({},{made},{value})", is_mark(&x))
            }
            None => value,
        }
    }

    /// What cells come to together.
    fn sum(&self, cells: &[usize], here: usize) -> String {
        let mut parts = Vec::new();
        let mut plain = Vec::new();
        for &cell in cells {
            let several = matches!(
                self.form.cells[cell].kind,
                CellKind::Count | CellKind::Change | CellKind::Money(_)
            );
            match several && !self.typed.contains_key(&cell) {
                true => plain.push(cell),
                false => parts.push(self.value(cell, here)),
            }
        }
        for run in self.runs(&plain) {
            let [first, .., last] = run[..] else {
                parts.extend(run.iter().map(|cell| self.value(*cell, here)));
                continue;
            };
            let range = self.range([first, last], here);
            parts.push(format!("SUM({range})"));
            if self.form.cells[first].kind == CellKind::Count {
                // 22（其中修订16件）is a text, which SUM leaves out.
                let remark = format!("FIND(\"（\",{range})");
                parts.push(format!(
                    "SUMPRODUCT(VALUE(\"0\"&LEFT({range},(FIND(\"（\",{range}&\"（\")-1)*ISNUMBER({remark}))))"
                ));
            }
        }
        match parts.is_empty() {
            true => "0".to_owned(),
            false => parts.join("+"),
        }
    }

    fn range(&self, ends: [usize; 2], here: usize) -> String {
        let [first, last] = ends.map(|cell| self.cells[cell]);
        let last = address((last.row, last.column));
        format!("{}:{last}", self.reference(first, here))
    }

    /// Cells in rows or columns of neighbours of one kind, whichever are fewer.
    fn runs(&self, cells: &[usize]) -> Vec<Vec<usize>> {
        let gather = |down: bool| {
            let mut cells = cells.to_vec();
            cells.sort_by_key(|&cell| {
                let at = self.cells[cell];
                let across = (at.sheet, at.row, u32::from(at.column));
                let along = (at.sheet, u32::from(at.column), at.row);
                if down { along } else { across }
            });
            let mut runs: Vec<Vec<usize>> = Vec::new();
            for cell in cells {
                let at = self.cells[cell];
                let next = |&before: &usize| {
                    let (one, row) = (self.cells[before], u32::from(down));
                    let column = u16::from(!down);
                    let follows = one.sheet == at.sheet
                        && one.row + row == at.row
                        && one.column + column == at.column;
                    follows && self.form.cells[before].kind == self.form.cells[cell].kind
                };
                match runs.last_mut() {
                    Some(run) if run.last().is_some_and(next) => run.push(cell),
                    _ => runs.push(vec![cell]),
                }
            }
            runs
        };
        let (down, across) = (gather(true), gather(false));
        if across.len() < down.len() {
            across
        } else {
            down
        }
    }

    /// How many characters stand in cells: 0 where nothing is filled in.
    pub fn filled(&self, cells: &[usize], here: usize) -> String {
        let runs = self.runs(cells);
        let run = |run: &Vec<usize>| match run[..] {
            [first, .., last] => {
                format!("SUMPRODUCT(LEN({}))", self.range([first, last], here))
            }
            _ => {
                let cells = run.iter();
                let cells = cells.map(|cell| self.reference(self.cells[*cell], here));
                format!("LEN({})", cells.collect::<String>())
            }
        };
        match runs.is_empty() {
            true => "0".to_owned(),
            false => runs.iter().map(run).collect::<Vec<_>>().join("+"),
        }
    }

    /// What a term adds, without its sign.
    pub fn term(&self, adds: &Adds, here: usize) -> String {
        match adds {
            Adds::Cells(cells) => self.sum(cells, here),
            Adds::Prior(cell) => match self.prior.get(cell) {
                Some(at) => {
                    let x = self.reference(*at, here);
                    number(&x, &self.form.cells[*cell].kind)
                }
                None => "0".to_owned(),
            },
            Adds::Number(number) => number.to_string(),
        }
    }

    /// What a side of an equation comes to.
    pub fn side(&self, terms: &[Term], here: usize) -> String {
        let mut side = String::new();
        for (at, term) in terms.iter().enumerate() {
            let adds = self.term(&term.adds, here);
            match (at, term.minus) {
                (0, false) => side.push_str(&adds),
                (_, false) => side.push_str(&format!("+{adds}")),
                (_, true) => side.push_str(&format!("-({adds})")),
            }
        }
        match side.is_empty() {
            true => "0".to_owned(),
            false => side,
        }
    }
}

/// The number in a cell.
fn number(x: &str, kind: &CellKind) -> String {
    match kind {
        CellKind::Count => format!("(N({x})+IFERROR(VALUE(LEFT({x},FIND(\"（\",{x})-1)),0))"),
        CellKind::Percent => format!("100*N({x})"),
        CellKind::MoneyWithUnit(units) => {
            format!(
                "IF(ISNUMBER({x}),{x},IFERROR(VALUE({}),0))",
                without(x, units)
            )
        }
        _ => format!("N({x})"),
    }
}

/// The text of a cell without the characters of units.
fn without(x: &str, units: &[String]) -> String {
    let mut characters: Vec<char> = units.iter().flat_map(|unit| unit.chars()).collect();
    characters.sort_unstable();
    characters.dedup();
    characters.into_iter().fold(x.to_owned(), |text, c| {
        format!("SUBSTITUTE({text},\"{c}\",\"\")")
    })
}

/// Whether a cell is blank or holds a mark: a text without characters is found in every other.
pub fn is_mark(x: &str) -> String {
    format!("ISNUMBER(FIND({x},\"{}\"))", MARKS.concat())
}

/// Whether two sides that are numbers compare so. A workbook adds in binary fractions.
pub fn compared(left: &str, comparison: Comparison, right: &str) -> String {
    format!("ROUND({left}-{right},8){}0", comparison.as_str())
}

/// A text as a formula has it.
pub fn text(text: &str) -> String {
    let characters: Vec<char> = text.chars().collect();
    let pieces = characters.chunks(LONGEST_TEXT - 1).map(|piece| {
        let piece: String = piece.iter().collect();
        format!("\"{}\"", piece.replace('"', "\"\""))
    });
    match text {
        "" => "\"\"".to_owned(),
        _ => pieces.collect::<Vec<_>>().join("&"),
    }
}

/// What a cell of a kind may hold, as a formula that is true then; none, where it may hold
/// anything or is chosen from a list.
pub fn allowed(x: &str, kind: &CellKind) -> Option<String> {
    let mark = is_mark(x);
    let (number, otherwise) = match kind {
        CellKind::Count => (
            format!("AND({x}>=0,{x}=INT({x}),{x}<=10^12)"),
            format!("IFERROR(VALUE(LEFT({x},FIND(\"（\",{x})-1))>=0,{mark})"),
        ),
        CellKind::Change => (format!("AND({x}=INT({x}),ABS({x})<=10^12)"), mark),
        CellKind::Money(_) => (format!("{x}>=0"), mark),
        CellKind::MoneyWithUnit(units) => {
            let plain = without(x, units);
            (
                format!("{x}>=0"),
                format!("IFERROR(VALUE({plain})>=0,{mark})"),
            )
        }
        CellKind::Percent => ("TRUE".to_owned(), mark),
        CellKind::Date => (format!("AND({x}>=1,{x}<80000)"), mark),
        CellKind::Text | CellKind::YesNo | CellKind::Choice(_) => return None,
    };
    Some(format!("IF(ISNUMBER({x}),{number},{otherwise})"))
}

//! What goes where: the sheets of a form, its cells on them, what each holds and comes to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rust_decimal::Decimal;
use serde_json::Value;

use super::formula::At;
use super::grid::Grid;
use super::map;
use crate::report::cell;
use crate::report::form::{
    Adds, CellKind, Entry, FieldKind, Form, Holds, Instance, Rule, Term, TextRule, TextRuleKind,
};
use crate::report::json::{Node, Place, Problems};
use crate::report::{Cell, Content, Prior, Report, rules};

/// The row of a sheet where its table begins, below the heading and what is wrong.
pub const TOP: u32 = 2;

/// The row of the sheet of rules where they begin.
pub const RULES: u32 = 4;

/// The columns of that sheet: what became of the rule, and its two sides.
pub const STATE: u16 = 0;
/// What the left side comes to.
pub const LEFT: u16 = 5;
/// What the right side comes to.
pub const RIGHT: u16 = 6;

/// Rows of a list that are empty, for who fills it in: of a new one, and beside those of a job.
const ROWS: (usize, usize) = (40, 20);

/// The official tables' own sheet.
#[derive(Debug)]
pub struct TableSheet {
    /// The index of its field.
    pub field: usize,
    /// The index of its sheet.
    pub sheet: usize,
    /// Its table.
    pub grid: Grid,
}

/// A rule for one row or column, or a rule of a text.
#[derive(Debug, Clone, Copy)]
pub enum Check {
    /// The instance of a rule: their indices.
    Figures(usize, usize),
    /// A rule of a field's text: their indices.
    Text(usize, usize),
}

/// All that is known before a sheet is written.
#[derive(Debug)]
pub struct Plan {
    /// As jobs name it.
    pub template: String,
    /// The form, its lists with all their rows.
    pub form: Arc<Form>,
    /// The digest of the form.
    pub digest: String,
    /// The names of the sheets.
    pub sheets: Vec<String>,
    /// The official tables.
    pub tables: Vec<TableSheet>,
    /// The sheet of last year's figures, where the form asks for some.
    pub prior_sheet: Option<usize>,
    /// The sheet of texts.
    pub text_sheet: usize,
    /// The sheet of rules, where there are any.
    pub check_sheet: Option<usize>,
    /// Where the form's cells are.
    pub cells: Vec<At>,
    /// Where last year's figures are.
    pub prior: BTreeMap<usize, At>,
    /// What is checked, in the order of the sheet of rules.
    pub checks: Vec<Check>,
    /// The totals, each with the index of the check that computes it.
    pub computed: BTreeMap<usize, usize>,
    /// Those of them that hold something else than a formula.
    pub typed: BTreeMap<usize, At>,
    /// What the cells hold, and what the job has there.
    pub held: Vec<(Cell, Value)>,
    /// What they come to.
    pub totals: Vec<Decimal>,
    /// Whether anything is to be seen in them.
    pub shown: Vec<bool>,
    /// Last year's figures.
    pub last: BTreeMap<usize, Decimal>,
    /// What is left of the job, for texts and the head, and in the end what is not held.
    pub job: Value,
    /// What is not held, and why.
    pub left: Vec<String>,
}

impl Plan {
    /// The plan of a form, filled in from a job and last year's figures.
    pub fn of(template: &str, form: &Form, job: &Value, last: &BTreeMap<String, Decimal>) -> Plan {
        let digest = map::digest_of(template, form);
        let mut left = Vec::new();
        let form = with_rows(form, job, &mut left);
        let mut plan = Plan {
            template: template.to_owned(),
            digest,
            sheets: vec!["首页".to_owned()],
            tables: Vec::new(),
            prior_sheet: None,
            text_sheet: 0,
            check_sheet: None,
            cells: vec![
                At {
                    sheet: 0,
                    row: 0,
                    column: 0
                };
                form.cells.len()
            ],
            prior: BTreeMap::new(),
            checks: Vec::new(),
            computed: BTreeMap::new(),
            typed: BTreeMap::new(),
            held: Vec::new(),
            totals: Vec::new(),
            shown: Vec::new(),
            last: BTreeMap::new(),
            job: job.clone(),
            left,
            form: Arc::new(form),
        };
        plan.place();
        plan.hold(last);
        plan.come_to();
        plan
    }

    /// Gives every table, and what else there is, its sheet.
    fn place(&mut self) {
        let form = Arc::clone(&self.form);
        for (index, field) in form.fields.iter().enumerate() {
            let FieldKind::Table(table) = &field.kind else {
                continue;
            };
            let sheet = self.sheets.len();
            let grid = Grid::of(&form, table);
            for area in &grid.areas {
                if let super::grid::Is::Cell(cell) = area.is {
                    self.cells[cell] = At {
                        sheet,
                        row: TOP + area.row,
                        column: area.column,
                    };
                }
            }
            let name = table_name(&field.label, sheet);
            let name = match self.sheets.contains(&name) {
                true => format!("表{sheet}"),
                false => name,
            };
            self.sheets.push(name);
            self.tables.push(TableSheet {
                field: index,
                sheet,
                grid,
            });
        }
        if !form.prior.is_empty() {
            self.prior_sheet = Some(self.sheets.len());
            let mut row = TOP;
            for group in &form.prior {
                for (column, cell) in (0..).zip(group.cells()) {
                    let at = At {
                        sheet: self.sheets.len(),
                        row: row + 2,
                        column,
                    };
                    self.prior.insert(cell, at);
                }
                row += 4;
            }
            self.sheets.push("上年".to_owned());
        }
        self.text_sheet = self.sheets.len();
        self.sheets.push("正文".to_owned());
        for (at, rule) in form.rules.iter().enumerate() {
            let checks = (0..rule.instances.len()).map(|instance| Check::Figures(at, instance));
            self.checks.extend(checks);
        }
        for (at, field) in form.fields.iter().enumerate() {
            if let FieldKind::Blocks(rules) = &field.kind {
                let lengths = rules.iter().enumerate();
                let lengths =
                    lengths.filter(|(_, rule)| matches!(rule.kind, TextRuleKind::Length(_)));
                self.checks
                    .extend(lengths.map(|(rule, _)| Check::Text(at, rule)));
            }
        }
        // Across first and then down: where both meet, what stands in the cell is the sum down.
        let mut computing: Vec<usize> = (0..self.checks.len()).collect();
        computing.sort_by_key(|&at| self.rule(at).map(|(rule, _)| rule.each));
        for check in computing {
            if let Some((rule, instance)) = self.rule(check)
                && let Some(target) = instance.target().filter(|_| rule.computes)
            {
                self.computed.insert(target, check);
            }
        }
        if !self.checks.is_empty() {
            self.check_sheet = Some(self.sheets.len());
            self.sheets.push("勾稽核对".to_owned());
        }
        self.sheets.push(map::SHEET.to_owned());
    }

    /// The rule of figures behind a check.
    pub fn rule(&self, check: usize) -> Option<(&Rule, &Instance)> {
        match self.checks[check] {
            Check::Figures(rule, instance) => {
                let rule = &self.form.rules[rule];
                Some((rule, &rule.instances[instance]))
            }
            Check::Text(..) => None,
        }
    }

    /// The rule of texts behind a check.
    pub fn text_rule(&self, check: usize) -> Option<(usize, &TextRule)> {
        match self.checks[check] {
            Check::Text(field, rule) => match &self.form.fields[field].kind {
                FieldKind::Blocks(rules) => Some((field, &rules[rule])),
                _ => None,
            },
            Check::Figures(..) => None,
        }
    }

    /// Takes a value out of the job.
    pub fn take(&mut self, pointer: &str) -> Option<Value> {
        take(&mut self.job, pointer)
    }

    /// Reads what the job has in each cell, and what it has of last year.
    fn hold(&mut self, last: &BTreeMap<String, Decimal>) {
        let form = Arc::clone(&self.form);
        for group in &form.prior {
            for entry in group.entries() {
                let Holds::Cell(cell) = entry.holds else {
                    continue;
                };
                let pointer = format!("/prior/{}/{}", group.field, entry.field);
                let sent = self.take(&pointer);
                let number = sent.and_then(|value| {
                    let read = self.read(&pointer, &value, &form.cells[cell].kind);
                    read.number()
                });
                let number = number.or_else(|| last.get(&form.cells[cell].pointer).copied());
                if let Some(number) = number {
                    self.last.insert(cell, number);
                }
            }
        }
        for (cell, place) in form.cells.iter().enumerate() {
            let pointer = format!("/data{}", place.pointer);
            let held = match self.take(&pointer) {
                Some(value) => (self.read(&pointer, &value, &place.kind), value),
                None if self.computed.contains_key(&cell) => (Cell::Absent, Value::Null),
                None => (self.carried(cell), Value::Null),
            };
            self.held.push(held);
        }
    }

    /// What a rule says that a cell carries over from last year: the figure alone.
    fn carried(&self, cell: usize) -> Cell {
        let instances = self.form.rules.iter().flat_map(|rule| &rule.instances);
        let mut carried = instances.filter_map(|instance| match &instance.sides {
            [left, right] => match (&left[..], &right[..]) {
                (
                    [
                        Term {
                            adds: Adds::Cells(cells),
                            minus: false,
                        },
                    ],
                    [
                        Term {
                            adds: Adds::Prior(prior),
                            minus: false,
                        },
                    ],
                ) if cells[..] == [cell] => self.last.get(prior),
                _ => None,
            },
        });
        let figure = carried.next();
        figure.map_or(Cell::Blank, |figure| {
            Cell::of(*figure, &self.form.cells[cell].kind)
        })
    }

    /// A cell of a job. What is no figure stays to be seen, and is told.
    fn read(&mut self, pointer: &str, value: &Value, kind: &CellKind) -> Cell {
        let mut problems = Problems::new();
        let node = serde_json::from_value::<Node>(value.clone()).unwrap_or(Node::Null);
        let cell = cell::read(&node, &Place::new(pointer, ""), kind, &mut problems);
        if let Some(problem) = problems.first() {
            self.left.push(format!("{pointer}: {}", problem.message));
        }
        cell
    }

    /// What all cells come to, and which totals are not what their rules make.
    fn come_to(&mut self) {
        let form = Arc::clone(&self.form);
        let cells = self.held.iter().map(|(cell, _)| cell.clone());
        let report = Report {
            fields: vec![Content::Absent; form.fields.len()],
            cells: cells.collect(),
            form: Arc::clone(&form),
        };
        let prior = Prior {
            figures: self.last.clone(),
        };
        let (_, totals) = rules::trace(&report, &prior);
        self.totals = totals.into_iter().map(Option::unwrap_or_default).collect();
        let sheet = self.check_sheet.unwrap_or_default();
        for (&target, &check) in &self.computed {
            let Some((_, instance)) = self.rule(check) else {
                continue;
            };
            let made = Cell::of(self.side(&instance.sides[1]), &form.cells[target].kind);
            let held = &self.held[target].0;
            if *held != Cell::Absent && *held != made {
                let at = At {
                    sheet,
                    row: RULES + u32::try_from(check).unwrap_or_default(),
                    column: RIGHT,
                };
                self.typed.insert(target, at);
            }
        }
        let shown = |(cell, held): (usize, &(Cell, Value))| {
            let formula = self.computed.contains_key(&cell) && !self.typed.contains_key(&cell);
            !formula && !matches!(held.0, Cell::Blank | Cell::Absent)
        };
        self.shown = self.held.iter().enumerate().map(shown).collect();
        // A total is shown when any of its parts is; totals of totals come after.
        let formulas: Vec<usize> = self.computed.keys().copied().collect();
        for _ in 0..form.rules.len().min(4) {
            for &target in formulas
                .iter()
                .filter(|cell| !self.typed.contains_key(cell))
            {
                if let Some((_, instance)) = self.rule(self.computed[&target]) {
                    let parts = cells_of(&instance.sides[1]);
                    self.shown[target] = parts.iter().any(|part| self.shown[*part]);
                }
            }
        }
    }

    /// What a term adds, without its sign.
    pub fn term(&self, adds: &Adds) -> Decimal {
        match adds {
            Adds::Cells(cells) => cells.iter().map(|cell| self.totals[*cell]).sum(),
            Adds::Prior(cell) => self.last.get(cell).copied().unwrap_or_default(),
            Adds::Number(number) => Decimal::from(*number),
        }
    }

    /// What a side of an equation comes to.
    pub fn side(&self, terms: &[Term]) -> Decimal {
        let signed = terms.iter().map(|term| {
            let value = self.term(&term.adds);
            if term.minus { -value } else { value }
        });
        signed.sum()
    }

    /// The name of the sheet that a cell is on.
    pub fn sheet_of(&self, cell: usize) -> &str {
        &self.sheets[self.cells[cell].sheet]
    }
}

/// Takes a value out of a job.
pub fn take(job: &mut Value, pointer: &str) -> Option<Value> {
    let (parent, name) = pointer.rsplit_once('/')?;
    job.pointer_mut(parent)?.as_object_mut()?.remove(name)
}

/// The cells of this year that terms add.
pub fn cells_of(terms: &[Term]) -> Vec<usize> {
    let cells = terms.iter().flat_map(|term| match &term.adds {
        Adds::Cells(cells) => cells.as_slice(),
        Adds::Prior(_) | Adds::Number(_) => &[],
    });
    let cells: BTreeSet<usize> = cells.copied().collect();
    cells.into_iter().collect()
}

/// The cells whose last year's figures terms add.
pub fn prior_of(terms: &[Term]) -> Vec<usize> {
    let cells = terms.iter().filter_map(|term| match term.adds {
        Adds::Prior(cell) => Some(cell),
        Adds::Cells(_) | Adds::Number(_) => None,
    });
    cells.collect()
}

/// The form with room in its lists for the rows of the job and more.
fn with_rows(form: &Form, job: &Value, left: &mut Vec<String>) -> Form {
    if form.lists().next().is_none() {
        return form.clone();
    }
    let rows = |more: bool| -> Vec<(usize, Vec<Option<String>>)> {
        let list = |(field, _): (usize, &Entry)| {
            let pointer = format!("/data/{}/rows", form.fields[field].field);
            let rows = job.pointer(&pointer).and_then(Value::as_array);
            let count = match rows.map_or(0, Vec::len) {
                0 => ROWS.0,
                count => count + if more { ROWS.1 } else { 0 },
            };
            (field, vec![None; count])
        };
        form.lists().map(list).collect()
    };
    match form
        .with_rows(&rows(true))
        .or_else(|_| form.with_rows(&rows(false)))
    {
        Ok(form) => form,
        Err(most) => {
            left.push(format!("the rows of its lists: there may be {most} cells"));
            form.clone()
        }
    }
}

/// What the sheet of a table is called: by the number of its section, 表三, or its place.
fn table_name(heading: &str, place: usize) -> String {
    match heading.split_once('、') {
        Some((number, _)) if number.chars().all(|c| "一二三四五六七八九十".contains(c)) =>
        {
            format!("表{number}")
        }
        _ => format!("表{place}"),
    }
}

//! What the parts add up to, and the county's job made of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rust_decimal::Decimal;
use serde_json::{Map, Value, json};
use time::Date;

use super::part::{Part, Read};
use super::{Finding, Left};
use crate::report::cell::in_yuan;
use crate::report::form::{CellKind, CellPlace, Entry, FieldKind, Form, Holds};
use crate::report::json::Node;
use crate::report::{Cell, Content};

/// What the parts add up to.
#[derive(Debug)]
pub(super) struct Sums {
    pub form: Arc<Form>,
    /// By the index of the cell in the form's cells; none of what is not added, or computed.
    sums: Vec<Option<Sum>>,
    /// The cells of a list's rows.
    in_lists: BTreeSet<usize>,
    /// The cells that a rule computes.
    computed: BTreeSet<usize>,
    /// The rows of each list, by the index of its field.
    rows: BTreeMap<usize, Vec<Node>>,
    /// The tables that no part has.
    absent: BTreeSet<usize>,
    /// Last year's figures that every part has, and whether some had more.
    prior: BTreeMap<usize, Decimal>,
    part_of_prior: bool,
    /// The newest date of each field that is one.
    dates: BTreeMap<usize, Date>,
    year: u16,
}

/// A sum and its unit, where it stands beside the figure.
#[derive(Debug, Clone, Default)]
struct Sum {
    value: Decimal,
    unit: String,
}

/// What a cell adds: money with a unit in 元.
pub(super) fn amount(cell: &Cell) -> Option<Decimal> {
    let factor = match cell {
        Cell::Money(money) => in_yuan(&money.unit),
        _ => None,
    };
    Some(cell.adds()? * Decimal::from(factor.unwrap_or(1)))
}

impl Sums {
    /// Adds up parts that are all in one form, and says what could not be added.
    pub fn of(form: &Arc<Form>, parts: &[(&Part, &Read)]) -> (Sums, Vec<Finding>) {
        let mut found = Vec::new();
        let in_lists = form.lists().flat_map(|(_, list)| list.cells());
        let computed = form.rules.iter().flat_map(|rule| rule.computed());
        let mut sums = Sums {
            form: Arc::clone(form),
            sums: vec![None; form.cells.len()],
            in_lists: in_lists.collect(),
            computed: computed.collect(),
            rows: BTreeMap::new(),
            absent: BTreeSet::new(),
            prior: BTreeMap::new(),
            part_of_prior: false,
            dates: BTreeMap::new(),
            year: parts.first().map_or(0, |(_, read)| read.report.year()),
        };
        for (at, place) in form.cells.iter().enumerate() {
            if sums.in_lists.contains(&at) || sums.computed.contains(&at) {
                continue;
            }
            let cells = parts
                .iter()
                .map(|(part, read)| (*part, &read.report.cells[at]));
            for (part, cell) in cells.clone() {
                if let Cell::Number {
                    remark: Some(remark),
                    ..
                } = cell
                {
                    let name = place.name();
                    let said = (
                        format!("{name} has a remark, which is not taken over: {remark}"),
                        format!("{name}带有说明，汇总时不保留：{remark}"),
                    );
                    let path = format!("/data{}", place.pointer);
                    found.push(part.finding("remark", &path, said, false));
                }
            }
            sums.sums[at] = match &place.kind {
                CellKind::MoneyWithUnit(_) => with_units(cells, place, &mut found),
                kind if kind.adds_up() => {
                    let all = cells.filter_map(|(_, cell)| cell.adds());
                    Some(Sum {
                        value: all.sum(),
                        unit: String::new(),
                    })
                }
                _ => None,
            };
        }
        sums.add_fields(parts, &mut found);
        sums.add_prior(parts);
        (sums, found)
    }

    /// What is not a cell: rows of lists, notes, dates, tables that are not there.
    fn add_fields(&mut self, parts: &[(&Part, &Read)], found: &mut Vec<Finding>) {
        let form = Arc::clone(&self.form);
        for (at, field) in form.fields.iter().enumerate() {
            let mut there = false;
            for (part, read) in parts {
                match &read.report.fields[at] {
                    Content::Date(date) => {
                        let newest = self.dates.entry(at).or_insert(*date);
                        *newest = (*newest).max(*date);
                    }
                    Content::Table {
                        introduction,
                        notes,
                    } => {
                        there = true;
                        if !introduction.is_empty() || !notes.is_empty() {
                            let label = &field.label;
                            let said = (
                                format!("「{label}」 has text or notes, which are not taken over"),
                                format!("「{label}」带有文字或附注，汇总时不保留"),
                            );
                            let path = format!("/data/{}", field.field);
                            found.push(part.finding("notes", &path, said, false));
                        }
                    }
                    _ => {}
                }
            }
            if matches!(field.kind, FieldKind::Table(_)) && !there {
                self.absent.insert(at);
            }
        }
        for (at, _) in form.lists() {
            let field = &form.fields[at].field;
            let all = parts.iter().flat_map(|(_, read)| rows(&read.data, field));
            let mut all: Vec<Node> = all.cloned().collect();
            // A row of blanks says that there is nothing to list.
            if all.iter().any(|row| !is_blank(row)) {
                all.retain(|row| !is_blank(row));
            } else {
                all.truncate(1);
            }
            self.rows.insert(at, all);
        }
    }

    /// Last year's figures, where every part has them.
    fn add_prior(&mut self, parts: &[(&Part, &Read)]) {
        let cells = self.form.prior.iter().flat_map(Entry::cells);
        for cell in cells.collect::<Vec<_>>() {
            let figures = parts
                .iter()
                .filter_map(|(_, read)| read.prior.figures.get(&cell));
            let (count, sum) = (figures.clone().count(), figures.sum());
            match count {
                0 => {}
                count if count == parts.len() => {
                    self.prior.insert(cell, sum);
                }
                _ => self.part_of_prior = true,
            }
        }
    }

    pub fn is_in_a_list(&self, cell: usize) -> bool {
        self.in_lists.contains(&cell)
    }

    /// Whether the parts' figures in a cell make a sum.
    pub fn is_added(&self, cell: usize) -> bool {
        self.sums[cell].is_some() || self.computed.contains(&cell)
    }

    /// What [`amount`] is in, for messages.
    pub fn unit(&self, cell: usize) -> &str {
        match &self.form.cells[cell].kind {
            CellKind::Money(unit) => unit,
            CellKind::MoneyWithUnit(_) => "元",
            _ => "",
        }
    }

    /// The rows that a county's lists have and no department's has, and the other way round.
    pub fn other_rows(&self, county: &Part, read: &Read) -> Vec<Finding> {
        let mut found = Vec::new();
        for (at, own) in &self.rows {
            let field = &self.form.fields[*at].field;
            let mut balance: BTreeMap<String, i64> = BTreeMap::new();
            for row in own.iter().filter(|row| !is_blank(row)) {
                *balance.entry(row.canonical()).or_default() += 1;
            }
            for row in rows(&read.data, field).filter(|row| !is_blank(row)) {
                *balance.entry(row.canonical()).or_default() -= 1;
            }
            for (row, balance) in balance.into_iter().filter(|(_, balance)| *balance != 0) {
                let said = match balance > 0 {
                    true => (
                        format!("a department's row is not there: {row}"),
                        format!("缺少部门的一行：{row}"),
                    ),
                    false => (
                        format!("no department has this row: {row}"),
                        format!("各部门均无此行：{row}"),
                    ),
                };
                found.push(county.finding("differs", &format!("/data/{field}/rows"), said, true));
            }
        }
        found
    }

    /// The county's job. `totals` are its cells once they are computed; without them they are left
    /// out. Notes what is left to the county.
    pub fn job(
        &self,
        agency: &str,
        job_id: &str,
        template: &str,
        warn: bool,
        totals: Option<&[Cell]>,
        left: &mut Vec<Left>,
    ) -> Value {
        let mut data = Map::new();
        for (at, field) in self.form.fields.iter().enumerate() {
            let value = if at == self.form.author {
                json!(agency)
            } else if let FieldKind::Table(table) = &field.kind {
                if self.absent.contains(&at) {
                    continue;
                }
                Value::Object(self.entries(&table.entries, at, totals, left))
            } else if at != self.form.year && field.optional {
                continue;
            } else {
                self.own(at, left)
            };
            data.insert(field.field.clone(), value);
        }
        let mut job = Map::new();
        job.insert("job_id".to_owned(), json!(job_id));
        job.insert("template".to_owned(), json!(template));
        if warn {
            job.insert("on_violation".to_owned(), json!("warn"));
        }
        job.insert("data".to_owned(), data.into());
        let prior = self.prior_of(&self.form.prior);
        if !prior.is_empty() {
            job.insert("prior".to_owned(), prior.into());
        }
        if self.part_of_prior {
            left.push(Left {
                path: "/prior".to_owned(),
                label: "上年数".to_owned(),
                message: "only figures of last year that every department sent are added up"
                    .to_owned(),
                message_zh: "仅汇总各部门都填报的上年数".to_owned(),
            });
        }
        job.into()
    }

    /// A field that is the county's own.
    fn own(&self, at: usize, left: &mut Vec<Left>) -> Value {
        let field = &self.form.fields[at];
        let empty = ("is empty: yours to write", "为空，由汇总机关撰写");
        let (value, (en, zh)) = match &field.kind {
            FieldKind::Year => return json!(self.year),
            FieldKind::Date => {
                let date = self.dates.get(&at).map(|date| {
                    let (month, day) = (u8::from(date.month()), date.day());
                    format!("{}-{month:02}-{day:02}", date.year())
                });
                let said = (
                    "is the newest of the departments' dates: see whether it is yours",
                    "取各部门中最晚的日期，请核对",
                );
                (json!(date), said)
            }
            FieldKind::Line | FieldKind::Text => {
                let said = (
                    "has a placeholder: yours to write",
                    "为占位文字，由汇总机关撰写",
                );
                (json!(format!("〔待填：{}〕", field.label)), said)
            }
            FieldKind::Lines | FieldKind::Blocks(_) | FieldKind::Parts => (json!([]), empty),
            FieldKind::Table(_) => return Value::Null,
        };
        left.push(Left {
            path: format!("/data/{}", field.field),
            label: field.label.clone(),
            message: en.to_owned(),
            message_zh: zh.to_owned(),
        });
        value
    }

    /// The objects and cells of a table.
    fn entries(
        &self,
        entries: &[Entry],
        field: usize,
        totals: Option<&[Cell]>,
        left: &mut Vec<Left>,
    ) -> Map<String, Value> {
        let mut object = Map::new();
        for entry in entries {
            let value = match &entry.holds {
                Holds::Cell(at) => match self.cell(*at, totals, left) {
                    Some(value) => value,
                    None => continue,
                },
                Holds::Rows(_) => {
                    let rows = self.rows.get(&field).into_iter().flatten();
                    rows.map(value_of).collect()
                }
                Holds::Entries(inner) => {
                    let inner = self.entries(inner, field, totals, left);
                    if inner.is_empty() && entry.optional {
                        continue;
                    }
                    inner.into()
                }
            };
            object.insert(entry.field.clone(), value);
        }
        object
    }

    /// What stands in a cell; nothing yet in one that is computed.
    fn cell(&self, at: usize, totals: Option<&[Cell]>, left: &mut Vec<Left>) -> Option<Value> {
        let place = &self.form.cells[at];
        if self.computed.contains(&at) {
            return match totals?.get(at)? {
                Cell::Number { value, .. } => Some(json!(value)),
                Cell::Money(money) => Some(json!(money.text)),
                _ => None,
            };
        }
        if let Some(sum) = &self.sums[at] {
            return Some(match place.kind {
                CellKind::Count | CellKind::Change => {
                    // Beyond what a count may be it is refused with all its digits.
                    i64::try_from(sum.value).map_or(json!(sum.value.to_string()), |it| json!(it))
                }
                _ => json!(format!("{}{}", sum.value, sum.unit)),
            });
        }
        left.push(Left {
            path: format!("/data{}", place.pointer),
            label: place.name(),
            message: "is blank: no sum can be made of it".to_owned(),
            message_zh: "留空：无法求和".to_owned(),
        });
        Some(Value::Null)
    }

    fn prior_of(&self, entries: &[Entry]) -> Map<String, Value> {
        let mut object = Map::new();
        for entry in entries {
            let value = match &entry.holds {
                Holds::Cell(at) => {
                    let Some(figure) = self.prior.get(at) else {
                        continue;
                    };
                    match i64::try_from(*figure) {
                        Ok(whole) if !matches!(self.form.cells[*at].kind, CellKind::Money(_)) => {
                            json!(whole)
                        }
                        _ => json!(figure.to_string()),
                    }
                }
                Holds::Entries(inner) | Holds::Rows(inner) => {
                    let inner = self.prior_of(inner);
                    if inner.is_empty() {
                        continue;
                    }
                    inner.into()
                }
            };
            object.insert(entry.field.clone(), value);
        }
        object
    }
}

/// Adds amounts that have a unit each: in the smallest that one of them has, so that no digit is
/// lost. An amount without a unit is one of another kind, unless it is nothing.
fn with_units<'a>(
    cells: impl Iterator<Item = (&'a Part, &'a Cell)> + Clone,
    place: &CellPlace,
    found: &mut Vec<Finding>,
) -> Option<Sum> {
    let money = cells.filter_map(|(part, cell)| match cell {
        Cell::Money(money) if !money.amount.is_zero() => Some((part, money)),
        _ => None,
    });
    let mut units: Vec<&str> = money
        .clone()
        .map(|(_, money)| money.unit.as_str())
        .collect();
    units.sort_by_key(|unit| in_yuan(unit).unwrap_or(i64::MAX));
    let alike = units.windows(2).all(|pair| pair[0] == pair[1]);
    let unit = units.first().copied().unwrap_or_default().to_owned();
    let mut sum = Decimal::ZERO;
    for (part, money) in money {
        match (in_yuan(&money.unit), in_yuan(&unit)) {
            _ if alike => sum += money.amount,
            (Some(own), Some(unit)) => sum += money.amount * Decimal::from(own / unit),
            _ => {
                let (name, text) = (place.name(), &money.text);
                let said = (
                    format!("{name} is {text}, whose unit can't be added to the others' {unit}"),
                    format!("{name}为{text}，其单位无法与其他部门的{unit}相加"),
                );
                let path = format!("/data{}", place.pointer);
                found.push(part.finding("unit", &path, said, true));
            }
        }
    }
    Some(Sum { value: sum, unit })
}

/// The rows of a list as they were sent.
fn rows<'a>(data: &'a Node, field: &str) -> impl Iterator<Item = &'a Node> {
    let rows = data.get(field).and_then(|list| list.get("rows"));
    let rows = match rows {
        Some(Node::Array(rows)) => rows.as_slice(),
        _ => &[],
    };
    rows.iter()
}

fn is_blank(row: &Node) -> bool {
    match row {
        Node::Object(cells) => cells.iter().all(|(_, cell)| *cell == Node::Null),
        _ => false,
    }
}

fn value_of(node: &Node) -> Value {
    match node {
        Node::Null => Value::Null,
        Node::Bool(value) => json!(value),
        Node::Number(number) => Value::Number(number.clone()),
        Node::String(text) => json!(text),
        Node::Array(items) => items.iter().map(value_of).collect(),
        Node::Object(fields) => {
            let fields = fields
                .iter()
                .map(|(name, node)| (name.clone(), value_of(node)));
            Value::Object(fields.collect())
        }
    }
}

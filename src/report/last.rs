//! Last year's report, and what this year's says of it.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use super::form::{Entry, Holds};
use super::rules;
use super::{Prior, Report};
use crate::problem::{Code, Problem};

/// Last year's report, as far as this year's states something of it.
#[derive(Debug, Clone)]
pub struct Last {
    /// The form that it is in.
    form: String,
    author: String,
    year: u16,
    /// What its cells come to, by their pointers below `data`.
    figures: BTreeMap<String, Decimal>,
}

impl Last {
    /// What there is to compare of a report, whatever else is wrong with it.
    pub fn of(report: &Report) -> Last {
        let (_, totals) = rules::trace(report, &Prior::default());
        let figures = report.form.cells.iter().zip(totals);
        let figures = figures.filter_map(|(place, total)| Some((place.pointer.clone(), total?)));
        Last {
            form: report.form.name.clone(),
            author: report.author().to_owned(),
            year: report.year(),
            figures: figures.collect(),
        }
    }

    /// Notes where a report is not the one after this, or its sender says otherwise of last year,
    /// and puts this report's figures into `prior`, for the rules to be held to.
    pub fn compare(&self, report: &Report, prior: &mut Prior, problems: &mut Vec<Problem>) {
        let form = &report.form;
        let mut differs = |path: String, en: String, zh: String, last: &str, own: &str| {
            problems.push(Problem::new(Code::PRIOR, path, en, zh).with(last, own));
        };
        let package = |name: &str| name.split('/').next().unwrap_or_default().to_owned();
        if package(&self.form) != package(&form.name) {
            let (last, own) = (&self.form, &form.name);
            differs(
                "/template".to_owned(),
                format!("last year's report is {last}, and this {own}: nothing is compared"),
                format!("上年度报告为{last}，本年度为{own}，未作比对"),
                last,
                own,
            );
            return;
        }
        let (last, own) = (&self.author, report.author());
        if last != own && !own.is_empty() {
            let field = &form.fields[form.author].field;
            differs(
                format!("/data/{field}"),
                format!("the agency is {own}, and that of last year's report {last}"),
                format!("发文机关为{own}，而上年度报告的为{last}"),
                last,
                own,
            );
        }
        let (last, own) = (self.year, report.year());
        if own != 0 && last.saturating_add(1) != own {
            let field = &form.fields[form.year].field;
            differs(
                format!("/data/{field}"),
                format!(
                    "the report is for {own}, and last year's for {last}: no figure is compared"
                ),
                format!("本报告为{own}年度，而上年度报告为{last}年度，未比对数字"),
                &own.saturating_sub(1).to_string(),
                &last.to_string(),
            );
            return;
        }
        for (pointer, cell) in places("/prior", &form.prior) {
            let place = &form.cells[cell];
            let Some(&last) = self.figures.get(&place.pointer) else {
                continue;
            };
            if let Some(own) = prior.figures.insert(cell, last).filter(|own| *own != last) {
                let name = place.name();
                differs(
                    pointer,
                    format!(
                        "last year's {name} is sent as {own}, and last year's report says {last}"
                    ),
                    format!("所填上年度{name}为{own}，而上年度报告为{last}"),
                    &last.to_string(),
                    &own.to_string(),
                );
            }
        }
    }
}

/// The cells of entries, each with its pointer.
fn places(pointer: &str, entries: &[Entry]) -> Vec<(String, usize)> {
    let of = |entry: &Entry| {
        let pointer = format!("{pointer}/{}", entry.field);
        match &entry.holds {
            Holds::Cell(cell) => vec![(pointer, *cell)],
            _ => places(&pointer, entry.entries()),
        }
    };
    entries.iter().flat_map(of).collect()
}

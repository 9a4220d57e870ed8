//! A report as a workbook that a clerk fills in, with the form's own layout, totals and rules.
//!
//! Takes a form, and a job and last year's figures where there are any; gives the bytes of an
//! `.xlsx`, which are the same for the same input. [`crate::import::workbook`] reads it back by
//! what its hidden sheet says. Never holds a figure that the job does not: what it cannot hold it
//! names ([`Made::left`]). If we crash here, nothing is lost: nothing was written.

mod formula;
mod grid;
pub mod map;
mod plan;
mod sheets;

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use rust_xlsxwriter::XlsxError;
use serde_json::Value;

use crate::report::form::Form;

/// A workbook.
#[derive(Debug, Clone)]
pub struct Made {
    /// The file.
    pub bytes: Vec<u8>,
    /// What of the job it does not hold: JSON Pointers, and why where that is not plain.
    pub left: Vec<String>,
}

/// The workbook of a form under this template name, with what `job` holds filled in, and last
/// year's figures by the pointers of their cells below `data`. An empty job leaves it empty.
///
/// # Errors
/// When it cannot be written: a form with more than a workbook takes.
pub fn make(
    template: &str,
    form: &Form,
    job: &Value,
    last: &BTreeMap<String, Decimal>,
) -> Result<Made, XlsxError> {
    let plan = plan::Plan::of(template, form, job, last);
    sheets::write(&plan)
}

/// A number as decimal digits: the 15 that a workbook shows.
pub fn digits(number: f64) -> String {
    let rounded = Decimal::from_scientific(&format!("{number:.14e}"));
    rounded.map_or_else(
        |_| number.to_string(),
        |number| number.normalize().to_string(),
    )
}

/// The percentage that a number is, as `85.3%`.
pub fn percentage(number: f64) -> String {
    let hundredth = Decimal::from_scientific(&format!("{number:.14e}")).ok();
    match hundredth.and_then(|hundredth| hundredth.checked_mul(Decimal::ONE_HUNDRED)) {
        Some(percent) => format!("{}%", percent.normalize()),
        None => format!("{}%", number * 100.0),
    }
}

#[cfg(test)]
mod tests {
    use super::{digits, percentage};

    #[test]
    fn a_number_is_the_digits_that_a_workbook_shows() {
        for (number, expected) in [
            (3.0, "3"),
            (24252.311082, "24252.311082"),
            (0.1 + 0.2, "0.3"),
            (-18.0, "-18"),
            (1e12, "1000000000000"),
            (0.0, "0"),
        ] {
            assert_eq!(digits(number), expected);
        }
        assert_eq!(percentage(0.853), "85.3%");
        assert_eq!(percentage(1.0), "100%");
        assert!(percentage(1e27).ends_with("00000%"));
    }
}

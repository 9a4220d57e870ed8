//! Figures that add up. The benchmarks use this too.

use super::official::{
    APPLICANTS, CARRIED_IN, CARRIED_OUT, Form, RECEIVED, RESULTS, REVIEW_GROUPS, TOTAL,
};
use serde_json::{Value, json};

/// The kinds of applicants, without their total.
pub const KINDS: usize = 6;

/// Puts figures into tables 3 and 4 of a job so that every sum is right: of each row the kinds, of
/// each group the results. （七）总计 and 一 follow from the others, and every total.
pub fn consistent(
    job: &mut Value,
    form: &Form,
    mut rows: Vec<[u64; KINDS]>,
    results: [[u64; 4]; 3],
) {
    let places = form.rows();
    let row = |pointer: &str| {
        places
            .iter()
            .position(|place| place.pointer == pointer)
            .expect("a row")
    };
    for kind in 0..KINDS {
        let summands = places
            .iter()
            .zip(&rows)
            .filter(|(place, _)| place.is_summand());
        let total: u64 = summands.map(|(_, row)| row[kind]).sum();
        rows[row(TOTAL)][kind] = total;
        let out = total + rows[row(CARRIED_OUT)][kind];
        let carried_in = rows[row(CARRIED_IN)][kind].min(out);
        rows[row(CARRIED_IN)][kind] = carried_in;
        rows[row(RECEIVED)][kind] = out - carried_in;
    }
    for (place, row) in places.iter().zip(&rows) {
        let cells = job
            .pointer_mut(&format!("/data/requests{}", place.pointer))
            .expect("a row");
        for ((name, _), value) in APPLICANTS.iter().zip(row) {
            cells[*name] = json!(value);
        }
        cells["total"] = json!(row.iter().sum::<u64>());
    }
    for ((pointer, _), results) in REVIEW_GROUPS.iter().zip(&results) {
        let cells = job
            .pointer_mut(&format!("/data/review_and_litigation{pointer}"))
            .expect("a group");
        for ((name, _), value) in RESULTS.iter().zip(results) {
            cells[*name] = json!(value);
        }
        cells["total"] = json!(results.iter().sum::<u64>());
    }
}

//! A consistent random report passes, and any one changed figure of tables 3 and 4 is caught by
//! the right rule at the right path.

use std::collections::BTreeSet;

use banshi::problem::Code;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::jobs::{self, KINDS, corpus};
use crate::support::official::{APPLICANTS, FORMS, Form, RESULTS, REVIEW_GROUPS};
use crate::support::{check, refused, rule};

/// Random figures for the six kinds of each row, and for the results of each group.
#[derive(Debug, Clone)]
struct Figures {
    form: &'static Form,
    rows: Vec<[u32; KINDS]>,
    results: [[u32; 4]; 3],
}

fn figures() -> impl Strategy<Value = Figures> {
    (0..FORMS.len()).prop_flat_map(|form| {
        let form = FORMS[form];
        let rows = prop::collection::vec(prop::array::uniform6(0..100_000_u32), form.rows().len());
        let results = prop::array::uniform3(prop::array::uniform4(0..1000_u32));
        (rows, results).prop_map(move |(rows, results)| Figures {
            form,
            rows,
            results,
        })
    })
}

/// A job in which every sum is right.
fn consistent(figures: &Figures) -> Value {
    let base = if figures.form.edition == "2019" {
        "zibo-bigdata-2020"
    } else {
        "pingtan-2023"
    };
    let mut job = corpus(base);
    let rows = figures.rows.iter().map(|row| row.map(u64::from)).collect();
    let results = figures.results.map(|results| results.map(u64::from));
    jobs::consistent(&mut job, figures.form, rows, results);
    job
}

/// Every figure of tables 3 and 4: where it stands, and what must object when it alone changes.
fn figures_of(form: &Form) -> Vec<(String, BTreeSet<(Code, String)>)> {
    let mut all = Vec::new();
    for place in form.rows() {
        for (kind, _) in APPLICANTS {
            let path = format!("/data/requests{}/{kind}", place.pointer);
            let column = format!("/data/requests/outcome/total/{kind}");
            // A row's own total objects to every change in the row.
            let mut objections = BTreeSet::from([(
                rule("R-ROW"),
                format!("/data/requests{}/total", place.pointer),
            )]);
            if place.is_summand() || place.is_total() {
                objections.insert((rule("R-OUTCOME"), column.clone()));
            }
            if !place.is_summand() {
                objections.insert((rule("R-COLUMN"), column));
            }
            all.push((path, objections));
        }
    }
    for (pointer, _) in REVIEW_GROUPS {
        for (result, _) in RESULTS {
            let group = format!("/data/review_and_litigation{pointer}");
            let objections = BTreeSet::from([(rule("R-REVIEW"), format!("{group}/total"))]);
            all.push((format!("{group}/{result}"), objections));
        }
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_consistent_report_passes(figures in figures()) {
        prop_assert_eq!(refused(&consistent(&figures)), []);
    }

    #[test]
    fn one_changed_figure_is_caught_by_the_right_rule(
        figures in figures(), which in any::<prop::sample::Index>(), more in 1..1000_u64,
    ) {
        let all = figures_of(figures.form);
        let (path, objections) = which.get(&all);
        let mut job = consistent(&figures);
        let cell = job.pointer_mut(path).expect("a figure");
        *cell = json!(cell.as_u64().expect("a number") + more);
        let found: BTreeSet<_> = refused(&job).into_iter().collect();
        prop_assert_eq!(&found, objections, "{} raised by {}", path, more);
    }

    #[test]
    fn a_total_left_out_is_computed(figures in figures()) {
        let mut job = consistent(&figures);
        let whole = check(job.to_string().as_bytes()).expect("consistent");
        for place in figures.form.rows() {
            let row = job.pointer_mut(&format!("/data/requests{}", place.pointer)).expect("a row");
            row.as_object_mut().expect("cells").remove("total");
        }
        let rows = job.pointer_mut("/data/requests/outcome").and_then(Value::as_object_mut);
        rows.expect("rows").remove("total");
        for (pointer, _) in REVIEW_GROUPS {
            let group = job.pointer_mut(&format!("/data/review_and_litigation{pointer}"));
            let group = group.expect("a group");
            group.as_object_mut().expect("cells").remove("total");
        }
        let computed = check(job.to_string().as_bytes()).expect("totals may be left out");
        prop_assert_eq!(&computed.report().cells, &whole.report().cells);
    }
}

#[test]
fn a_blank_total_is_not_checked_and_stands_for_its_sum() {
    let figures = Figures {
        form: FORMS[1],
        rows: vec![[7; KINDS]; FORMS[1].rows().len()],
        results: [[1; 4]; 3],
    };
    let mut job = consistent(&figures);
    for kind in APPLICANTS.map(|(kind, _)| kind) {
        job["data"]["requests"]["outcome"]["total"][kind] = json!(null);
    }
    assert_eq!(refused(&job), []);
    // It stands for 21 × 7 in 第三项: one request more received is one too many.
    job["data"]["requests"]["received"]["business"] = json!(7 + 21 * 7 + 1 - 7);
    let column = (
        rule("R-COLUMN"),
        "/data/requests/outcome/total/business".to_owned(),
    );
    assert!(refused(&job).contains(&column));
}

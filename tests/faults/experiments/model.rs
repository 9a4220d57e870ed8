//! E20: the model, in many orders; and models that are wrong on purpose.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::Stage;
use crate::bench::Outcome;
use crate::judge::{Kind, Verdict, Violation};
use crate::model::{Flaw, WRONG, run};

/// Steps of a run in which things go wrong.
const ROUGH: u64 = 150;

pub async fn in_every_order(stage: Stage) -> Outcome {
    let started = Instant::now();
    let mut total = Verdict::default();
    let (mut steps, mut runs, mut notes) = (0, 0, Vec::new());
    let first = stage.seed() * 1_000_000;
    while steps < stage.pick(200_000, 3_000_000) {
        let (verdict, taken) = run(first + runs, ROUGH, Flaw::None);
        total.completed += verdict.completed;
        total.rejected += verdict.rejected;
        total.repeats += verdict.repeats;
        (steps, runs) = (steps + taken, runs + 1);
        if !verdict.violations.is_empty() {
            let (seed, rough) = smallest(first, Flaw::None).unwrap_or((first + runs - 1, ROUGH));
            notes.push(format!(
                "the smallest failing run: model seed {seed}, {rough} steps"
            ));
            total.violations = run(seed, rough, Flaw::None).0.violations;
            break;
        }
    }
    notes.push(format!("{runs} runs, {steps} steps"));
    for flaw in WRONG {
        match smallest(first, flaw) {
            Some((seed, rough)) => {
                let (verdict, _) = run(seed, rough, flaw);
                let seen = &verdict.violations[0];
                notes.push(format!(
                    "{flaw:?}: model seed {seed}, {rough} steps: {seen}"
                ));
            }
            None => total.violations.push(Violation {
                kind: Kind::Disorder,
                what: format!("the judge does not object to the model with {flaw:?}"),
            }),
        }
    }
    Outcome {
        size: total.completed + total.rejected,
        faults: BTreeMap::from([("rough step".to_owned(), runs * ROUGH)]),
        verdict: total,
        seconds: started.elapsed().as_secs(),
        notes,
        kept: None,
    }
}

/// The shortest run in which the judge objects, and its seed.
fn smallest(first: u64, flaw: Flaw) -> Option<(u64, u64)> {
    let lengths = (1..=15).map(|tens| tens * 10);
    lengths
        .flat_map(|rough| (first..first + 300).map(move |seed| (seed, rough)))
        .find(|(seed, rough)| !run(*seed, *rough, flaw).0.violations.is_empty())
}

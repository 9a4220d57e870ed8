//! The memory of a typesetter over many different reports.

use crate::pool::Children;
use crate::table::{Row, Target, row};
use crate::{Reports, process, runtime};

/// Reports between two looks at a child's memory.
const STEP: u64 = 1_000;

/// Reports that are made ready at a time.
const BATCH: u64 = 10;

/// Measures a child's memory after 10, 1,000 and `count` reports, and says on standard error how
/// it goes.
pub fn measure(count: u64, reports: &mut Reports) {
    let runtime = runtime();
    // Pages of the program and of the faces are shared only with somebody who uses them, too.
    let neighbour = Children::start(&runtime, 1);
    let measured = Children::start(&runtime, 1);
    let (mut child, mut replaced) = (measured.pids[0], 0);
    let mut looks = Vec::new();
    let mut done = 0;
    while done < count {
        let manuscripts = reports.manuscripts(BATCH.min(count - done));
        neighbour.set(&runtime, &manuscripts[..1]);
        measured.set(&runtime, &manuscripts);
        done += manuscripts.len() as u64;
        if done == BATCH || done % STEP == 0 || done == count {
            let now = process::children(std::process::id());
            if !now.contains(&child) {
                replaced += 1;
                let other = now.iter().find(|pid| **pid != neighbour.pids[0]);
                child = *other.expect("the pool has replaced it");
            }
            let memory = process::memory(child);
            eprintln!(
                "memory: {done:>7} reports, {:.1} MB resident, {:.1} MB its own, replaced \
                 {replaced} times",
                memory.resident, memory.own
            );
            looks.push((done, memory));
        }
    }
    neighbour.stop(&runtime);
    measured.stop(&runtime);

    let at = |count| {
        let look = looks.iter().find(|(done, _)| *done == count);
        look.map(|(_, memory)| *memory)
    };
    let mut told = vec![BATCH, STEP, count];
    told.dedup();
    for after in told {
        let Some(memory) = at(after) else { continue };
        row(&Row {
            what: &format!("memory of a typesetter, resident, after {after} reports"),
            unit: "MB",
            rounds: &[memory.resident],
            instructions: None,
            target: Target::None,
        });
        row(&Row {
            what: &format!("memory of a typesetter, not shared, after {after} reports"),
            unit: "MB",
            rounds: &[memory.own],
            instructions: None,
            target: Target::AtMost(40.0),
        });
    }
    row(&Row {
        what: &format!("memory: times that the typesetter was replaced in {count} reports"),
        unit: "times",
        rounds: &[f64::from(replaced)],
        instructions: None,
        target: Target::None,
    });
    if let (Some(early), Some(late)) = (at(STEP), at(count).filter(|_| count > STEP)) {
        row(&Row {
            what: &format!("memory, resident, after {count} reports to that after {STEP}"),
            unit: "ratio",
            rounds: &[late.resident / early.resident],
            instructions: None,
            target: Target::AtMost(1.1),
        });
    }
}

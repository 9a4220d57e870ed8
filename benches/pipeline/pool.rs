//! The pool: what a second typesetter adds, and what the pipe to a child costs.

use std::collections::BTreeSet;
use std::time::Instant;

use banshi::typesetter::{Manuscript, Pool, Typesetter};
use futures_util::StreamExt as _;
use tokio::runtime::Runtime;

use crate::support::settings;
use crate::table::{Row, Target, row};
use crate::{Options, Reports, cores, process, program, runtime};

/// A pool and its children.
pub struct Children {
    pool: Pool,
    pids: Vec<u32>,
}

/// How a round went.
#[derive(Debug, Clone, Copy)]
pub struct Round {
    /// Reports a second.
    pub rate: f64,
    /// Milliseconds of CPU a report, of everybody who had part in it.
    pub cpu: f64,
}

impl Children {
    /// Starts so many children and waits until they are warm.
    pub fn start(runtime: &Runtime, count: usize) -> Children {
        let own = std::process::id();
        let before = process::children(own).into_iter().collect::<BTreeSet<_>>();
        let mut settings = settings();
        settings.render.threads = count;
        let pool = runtime
            .block_on(Pool::start(&settings, program()))
            .expect("a pool");
        let mut pids = process::children(own);
        pids.retain(|pid| !before.contains(pid));
        assert_eq!(pids.len(), count, "each typesetter is a child of ours");
        Children { pool, pids }
    }

    /// Sets reports, always with one waiting for each child.
    pub fn set(&self, runtime: &Runtime, manuscripts: &[Manuscript]) -> Round {
        let cpu = || {
            let children = self.pids.iter().map(|pid| process::cpu(*pid));
            children.sum::<f64>() + process::cpu(std::process::id())
        };
        let (began, before) = (Instant::now(), cpu());
        runtime.block_on(futures_util::stream::iter(manuscripts).for_each_concurrent(
            2 * self.pids.len(),
            async |manuscript| {
                self.pool.typeset(manuscript).await.expect("a PDF");
            },
        ));
        round(manuscripts.len(), began, cpu() - before)
    }

    /// The process of the only child. One that the pool has replaced since is not measured on.
    pub fn only(&self) -> u32 {
        let [child] = self.pids[..] else {
            panic!("there is more than one");
        };
        let living = process::children(std::process::id());
        assert!(living.contains(&child), "the typesetter was replaced");
        child
    }

    /// Ends the children.
    pub fn stop(self, runtime: &Runtime) {
        runtime.block_on(self.pool.close());
    }
}

fn round(reports: usize, began: Instant, cpu: f64) -> Round {
    let reports = reports as f64;
    Round {
        rate: reports / began.elapsed().as_secs_f64(),
        cpu: cpu * 1e3 / reports,
    }
}

/// The same without a pool.
fn in_process(typesetter: &Typesetter, manuscripts: &[Manuscript]) -> Round {
    let own = std::process::id();
    let (began, before) = (Instant::now(), process::cpu(own));
    for manuscript in manuscripts {
        typesetter.typeset(manuscript).expect("a PDF");
    }
    round(manuscripts.len(), began, process::cpu(own) - before)
}

/// Measures the pool.
pub fn measure(options: &Options, reports: &mut Reports) {
    let runtime = runtime();
    let typesetter = Typesetter::load(&settings()).expect("a typesetter");
    let sizes = BTreeSet::from([1, 2, cores()]);
    let pools = sizes
        .iter()
        .map(|&size| (size, Children::start(&runtime, size)))
        .collect::<Vec<_>>();

    // Not measured: what is slower only once.
    let first = reports.manuscripts(10);
    in_process(&typesetter, &first);
    for (_, pool) in &pools {
        pool.set(&runtime, &first);
    }

    let mut alone = Vec::new();
    let mut pooled = vec![Vec::new(); pools.len()];
    for _ in 0..options.rounds {
        let manuscripts = reports.manuscripts(options.reports);
        alone.push(in_process(&typesetter, &manuscripts));
        for ((_, pool), rounds) in pools.iter().zip(&mut pooled) {
            rounds.push(pool.set(&runtime, &manuscripts));
        }
    }
    for (_, pool) in pools {
        pool.stop(&runtime);
    }

    let rates = |rounds: &[Round]| rounds.iter().map(|round| round.rate).collect::<Vec<_>>();
    row(&Row {
        what: "the engine in process, one thread",
        unit: "reports/s",
        rounds: &rates(&alone),
        instructions: None,
        target: Target::None,
    });
    for (size, rounds) in sizes.iter().zip(&pooled) {
        row(&Row {
            what: &format!("pool, typesetters: {size}"),
            unit: "reports/s",
            rounds: &rates(rounds),
            instructions: None,
            target: Target::None,
        });
    }
    let (one, two) = (&pooled[0], &pooled[1]);
    row(&Row {
        what: "pool, two typesetters to one",
        unit: "ratio",
        rounds: &pairs(two, one, |round| round.rate),
        instructions: None,
        target: Target::AtLeast(1.85),
    });
    row(&Row {
        what: "pool, CPU a report with both ends of the pipe to in process",
        unit: "ratio",
        rounds: &pairs(one, &alone, |round| round.cpu),
        instructions: None,
        target: Target::None,
    });
}

/// The ratios of what was measured in the same round.
pub fn pairs<T>(above: &[T], below: &[T], figure: impl Fn(&T) -> f64) -> Vec<f64> {
    above
        .iter()
        .zip(below)
        .map(|(above, below)| figure(above) / figure(below))
        .collect()
}

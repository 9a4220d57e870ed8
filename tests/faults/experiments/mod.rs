//! The experiments, a function each.

mod kills;

use std::future::Future;
use std::pin::Pin;

use crate::Stage;
use crate::bench::Outcome;

/// An experiment.
pub struct Experiment {
    pub name: &'static str,
    /// What is done to the deployment.
    pub fault: &'static str,
    pub in_small_run: bool,
    pub run: fn(Stage) -> Running,
}

type Running = Pin<Box<dyn Future<Output = Outcome>>>;

/// In the order of the table.
pub const EXPERIMENTS: &[Experiment] = &[
    Experiment {
        name: "E1",
        fault: "none",
        in_small_run: true,
        run: |stage| Box::pin(kills::none(stage)),
    },
    Experiment {
        name: "E2",
        fault: "workers and typesetters killed at random",
        in_small_run: true,
        run: |stage| Box::pin(kills::at_random(stage)),
    },
    Experiment {
        name: "E14",
        fault: "SIGTERM under load, workers rolling",
        in_small_run: true,
        run: |stage| Box::pin(kills::rolling(stage)),
    },
];

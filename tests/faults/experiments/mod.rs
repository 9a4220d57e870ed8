//! The experiments, a function each.

mod admin;
mod broken;
mod broker;
mod bulk;
mod disk;
mod ends;
mod fleet;
mod jobs;
mod kills;
mod lease;
mod long;
mod model;
mod network;
mod packages;
mod signing;
mod spool;
mod steps;
mod store;
mod upgrade;
mod versions;
mod wire;

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
        name: "E0",
        fault: "workers that are wrong on purpose: does the judge see it?",
        in_small_run: true,
        run: |stage| Box::pin(broken::seen(stage)),
    },
    Experiment {
        name: "E20",
        fault: "every step in every order, in a model of the protocol",
        in_small_run: true,
        run: |stage| Box::pin(model::in_every_order(stage)),
    },
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
        name: "E3",
        fault: "a worker killed after each step of a job",
        in_small_run: true,
        run: |stage| Box::pin(steps::after_each_step(stage)),
    },
    Experiment {
        name: "E4",
        fault: "the broker killed and started again, while senders send",
        in_small_run: true,
        run: |stage| Box::pin(broker::killed(stage)),
    },
    Experiment {
        name: "E5",
        fault: "nodes of a cluster of three killed",
        in_small_run: false,
        run: |stage| Box::pin(broker::clustered(stage)),
    },
    Experiment {
        name: "E6",
        fault: "the network to the broker silent, in one direction and in both",
        in_small_run: true,
        run: |stage| Box::pin(network::silent(stage)),
    },
    Experiment {
        name: "E7",
        fault: "the network to the broker reset, cut within messages, slow and narrow",
        in_small_run: false,
        run: |stage| Box::pin(network::rough(stage)),
    },
    Experiment {
        name: "E8",
        fault: "the broker out of memory, then of disk",
        in_small_run: false,
        run: |stage| Box::pin(broker::alarmed(stage)),
    },
    Experiment {
        name: "E9",
        fault: "an S3 store that errs, is out, or is cut off",
        in_small_run: true,
        run: |stage| Box::pin(store::failing(stage)),
    },
    Experiment {
        name: "E10",
        fault: "the store's disk full, then not",
        in_small_run: false,
        run: |stage| Box::pin(disk::full(stage)),
    },
    Experiment {
        name: "E11",
        fault: "bad and hostile jobs among good ones",
        in_small_run: true,
        run: |stage| Box::pin(jobs::hostile(stage)),
    },
    Experiment {
        name: "E12",
        fault: "reports that take too long, typesetters that stop",
        in_small_run: false,
        run: |stage| Box::pin(jobs::poison(stage)),
    },
    Experiment {
        name: "E13",
        fault: "jobs repeated and contradicted, three workers at once",
        in_small_run: true,
        run: |stage| Box::pin(jobs::repeated(stage)),
    },
    Experiment {
        name: "E14",
        fault: "SIGTERM under load, workers rolling",
        in_small_run: true,
        run: |stage| Box::pin(kills::rolling(stage)),
    },
    Experiment {
        name: "E15",
        fault: "the workers' clock jumps by hours and days",
        in_small_run: false,
        run: |stage| Box::pin(long::clock(stage)),
    },
    Experiment {
        name: "E16",
        fault: "a backlog without an end, urgent jobs",
        in_small_run: false,
        run: |stage| Box::pin(long::backlog(stage)),
    },
    Experiment {
        name: "E17",
        fault: "events that no queue takes",
        in_small_run: false,
        run: |stage| Box::pin(broker::deaf(stage)),
    },
    Experiment {
        name: "E18",
        fault: "connections closed and permissions revoked by an administrator",
        in_small_run: false,
        run: |stage| Box::pin(broker::administered(stage)),
    },
    Experiment {
        name: "E19",
        fault: "kills, a killed broker and repeats on RabbitMQ 4.0 and 4.3",
        in_small_run: false,
        run: |stage| Box::pin(versions::others(stage)),
    },
    Experiment {
        name: "E21",
        fault: "a bit of everything, for minutes",
        in_small_run: false,
        run: |stage| Box::pin(long::soak(stage)),
    },
    Experiment {
        name: "E22",
        fault: "workers on one spool killed at random",
        in_small_run: true,
        run: |stage| Box::pin(spool::raced(stage)),
    },
    Experiment {
        name: "E23",
        fault: "jobs repeated and contradicted at Garage, which overwrites; it and workers killed",
        in_small_run: false,
        run: |stage| Box::pin(store::overwriting(stage)),
    },
    Experiment {
        name: "E24",
        fault: "messages that cannot be read, among good jobs",
        in_small_run: true,
        run: |stage| Box::pin(wire::poisoned(stage)),
    },
    Experiment {
        name: "E25",
        fault: "nothing can be published for longer than eleven consumer_timeouts",
        in_small_run: false,
        run: |stage| Box::pin(lease::outlasted(stage)),
    },
    Experiment {
        name: "E26",
        fault: "the store's folder hangs for longer than eleven consumer_timeouts",
        in_small_run: false,
        run: |stage| Box::pin(lease::hung(stage)),
    },
    Experiment {
        name: "E27",
        fault: "fewer channels than jobs that end together",
        in_small_run: true,
        run: |stage| Box::pin(admin::few_channels(stage)),
    },
    Experiment {
        name: "E28",
        fault: "queues deleted that nobody consumes from",
        in_small_run: false,
        run: |stage| Box::pin(admin::deleted(stage)),
    },
    Experiment {
        name: "E29",
        fault: "a policy that lets queues hold three messages; looks at what has no lane",
        in_small_run: false,
        run: |stage| Box::pin(admin::policies(stage)),
    },
    Experiment {
        name: "E30",
        fault: "queues that never confirm, for replies and for events",
        in_small_run: false,
        run: |stage| Box::pin(lease::unconfirmed(stage)),
    },
    Experiment {
        name: "E31",
        fault: "large reports, every connection closed again and again",
        in_small_run: false,
        run: |stage| Box::pin(ends::sessions(stage)),
    },
    Experiment {
        name: "E32",
        fault: "one of three named nodes killed, and not started again",
        in_small_run: false,
        run: |stage| Box::pin(broker::several_named(stage)),
    },
    Experiment {
        name: "E33",
        fault: "stored jobs that come again to workers with other limits",
        in_small_run: false,
        run: |stage| Box::pin(ends::one_end(stage)),
    },
    Experiment {
        name: "E35",
        fault: "an autoscaler that adds workers and removes the busiest",
        in_small_run: true,
        run: |stage| Box::pin(fleet::autoscaled(stage)),
    },
    Experiment {
        name: "E36",
        fault: "a machine lost, with all that runs there",
        in_small_run: true,
        run: |stage| Box::pin(fleet::machine_lost(stage)),
    },
    Experiment {
        name: "E37",
        fault: "a sender with a journal killed at random, its broker too, its lane full for a while",
        in_small_run: true,
        run: |stage| Box::pin(bulk::resumed(stage)),
    },
    Experiment {
        name: "E38",
        fault: "the archive killed at random, the broker killed, the store silent to the archive",
        in_small_run: true,
        run: |stage| Box::pin(packages::archived(stage)),
    },
    Experiment {
        name: "E39",
        fault: "the signing system out, hanging and wrong, workers killed, some as a signature comes",
        in_small_run: true,
        run: |stage| Box::pin(signing::signed(stage)),
    },
];

/// Those with an earlier build and this one, which are run only where its program is named.
pub const OF_TWO_BUILDS: &[Experiment] = &[Experiment {
    name: "E34",
    fault: "an earlier build and this one on one queue, there and back again",
    in_small_run: true,
    run: |stage| Box::pin(upgrade::there_and_back(stage)),
}];

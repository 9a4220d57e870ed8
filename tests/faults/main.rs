//! Nothing is lost: the experiments. Faults of every kind are made while jobs are worked on, by
//! the real program with a real broker and a real store, and a judge who knows what was sent
//! compares it with what has become of it.
//!
//! ```sh
//! cargo test --test faults                       # the small run, as in `make test`
//! make faults                                    # the full run; writes target/faults/results.md
//! make faults SEED=7 ONLY=E4                     # one of it, with a seed
//! cargo test --test faults -- E26                # one in its small size
//! make upgrade-test PREVIOUS=REVISION            # those with an earlier build and this one
//! ```
//!
//! Read `judge.rs` first, then `bench.rs`, then the experiments.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it prints what it does and what it found"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "tests start helpers of their own"
)]

mod archive;
mod autoscaler;
mod bench;
mod broken;
mod experiments;
mod garage;
mod judge;
mod letters;
mod model;
mod node;
mod previous;
mod process;
mod proofs;
mod proxy;
mod sender;
mod store_view;
mod support;

use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use futures_util::FutureExt as _;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use self::bench::Outcome;
use self::experiments::{EXPERIMENTS, Experiment, OF_TWO_BUILDS};
use self::judge::Kind;
use self::node::Node;
use self::previous::Previous;
use self::support::repository;

/// The port of the node that the experiments share, and may kill.
const PORT: u16 = 5890;

#[derive(Parser)]
struct Arguments {
    /// The experiments to run, as E4; all when none is named
    only: Vec<String>,
    /// The full run, in the sizes of the published table
    #[arg(long)]
    full: bool,
    /// What the choices of faults and jobs are drawn from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How long E21 lasts
    #[arg(long, default_value_t = 5)]
    minutes: u64,
    /// The program of an earlier build, for the experiments with both
    #[arg(long, value_name = "PROGRAM")]
    previous: Option<PathBuf>,
    /// Names the experiments and runs none
    #[arg(long)]
    list: bool,
    /// To be one of the workers that are wrong on purpose
    #[arg(long, hide = true)]
    broken: Option<broken::Fault>,
}

/// What an experiment is told.
#[derive(Clone)]
pub struct Stage {
    name: &'static str,
    full: bool,
    seed: u64,
    minutes: u64,
    previous: Option<PathBuf>,
    node: Arc<Node>,
}

impl Stage {
    /// A size: of the small run, or of the full one.
    pub fn pick<T>(&self, small: T, full: T) -> T {
        if self.full { full } else { small }
    }

    /// Whether it is the full run.
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// The random numbers of this experiment: the same for the same seed.
    pub fn rng(&self) -> StdRng {
        let drawn = banshi::digest::sha256(format!("{} {}", self.seed, self.name).as_bytes());
        let seed = u64::from_str_radix(&drawn[..16], 16).expect("a digest is hexadecimal");
        StdRng::seed_from_u64(seed)
    }

    /// How long the soak lasts.
    pub fn soak(&self) -> Duration {
        Duration::from_secs(60 * self.minutes)
    }

    /// The earlier build.
    pub fn previous(&self) -> Previous {
        let program = self.previous.as_deref();
        Previous::at(program.expect("these experiments are run only with one"))
    }

    /// What everything random is drawn from.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The node that the experiments share.
    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// The same in the sizes of the small run, on another node.
    pub fn smaller_on(&self, node: Arc<Node>) -> Stage {
        Stage {
            full: false,
            node,
            ..self.clone()
        }
    }

    /// The command that runs this experiment again.
    fn again(&self) -> String {
        let (seed, name) = (self.seed, self.name);
        let previous = self.previous.as_deref().map(Path::display);
        match (self.full, previous) {
            (true, None) => format!("make faults SEED={seed} ONLY={name}"),
            (true, Some(path)) => format!("make faults SEED={seed} ONLY={name} PREVIOUS={path}"),
            (false, None) => format!("cargo test --locked --test faults -- --seed {seed} {name}"),
            (false, Some(path)) => format!(
                "cargo test --locked --test faults -- --seed {seed} --previous {path} {name}"
            ),
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    if let Some(fault) = arguments.broken {
        runtime.block_on(broken::work(fault));
        return ExitCode::SUCCESS;
    }
    let mut chosen: Vec<&Experiment> = EXPERIMENTS
        .iter()
        .chain(OF_TWO_BUILDS)
        .filter(|experiment| match arguments.only.is_empty() {
            true => arguments.full || experiment.in_small_run,
            // One that is named is run in either size.
            false => arguments.only.iter().any(|name| name == experiment.name),
        })
        .collect();
    if arguments.list || chosen.is_empty() {
        for experiment in &chosen {
            println!("{}: {}", experiment.name, experiment.fault);
        }
        return ExitCode::SUCCESS;
    }
    let alone = match arguments.previous {
        Some(_) => Vec::new(),
        None => without_two(&mut chosen),
    };
    if !alone.is_empty() && !arguments.only.is_empty() {
        // It was asked for by name.
        println!("{}", alone.join("\n"));
        return ExitCode::FAILURE;
    }
    if std::env::var("AMQP_URL").is_ok() && !Node::can_be_had() {
        // Somebody tests against a broker of their own, which is not ours to kill.
        println!("not run: the experiments kill brokers, and RabbitMQ is not installed here");
        return ExitCode::SUCCESS;
    }
    let passed = runtime.block_on(run(&arguments, &chosen));
    for line in alone {
        println!("{line}");
    }
    runtime.shutdown_timeout(Duration::from_secs(5));
    if passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Takes out the experiments that need the program of an earlier build, and says so, a line each.
fn without_two(chosen: &mut Vec<&Experiment>) -> Vec<String> {
    let needs = |experiment: &&Experiment| {
        let names = OF_TWO_BUILDS.iter().map(|one| one.name);
        names.into_iter().any(|name| name == experiment.name)
    };
    let said = chosen.iter().filter(|one| needs(one)).map(|one| {
        format!(
            "{} ({}): NOT RUN, for there is no earlier build: make upgrade-test PREVIOUS=REVISION",
            one.name, one.fault
        )
    });
    let said = said.collect();
    chosen.retain(|one| !needs(one));
    said
}

/// Runs the experiments one after another; whether every promise was kept.
async fn run(arguments: &Arguments, chosen: &[&Experiment]) -> bool {
    match proofs::hold() {
        Ok(count) => println!("the judge objects to each of {count} things that can be wrong"),
        Err(why) => {
            println!("the judge is wrong: {why}");
            return false;
        }
    }
    match autoscaler::hold() {
        Ok(count) => println!("the autoscaler decides as Kubernetes does in {count} cases"),
        Err(why) => {
            println!("the autoscaler is wrong: {why}");
            return false;
        }
    }
    let node = Arc::new(Node::start(PORT).await);
    let mut table = Table::new(arguments);
    for experiment in chosen {
        let stage = Stage {
            name: experiment.name,
            full: arguments.full,
            seed: arguments.seed,
            minutes: arguments.minutes,
            previous: arguments.previous.clone(),
            node: Arc::clone(&node),
        };
        println!("{}: {}", experiment.name, experiment.fault);
        let ran = AssertUnwindSafe((experiment.run)(stage.clone()))
            .catch_unwind()
            .await;
        if ran.is_err() {
            node.renew().await;
        }
        table.add(experiment, &stage, ran.ok());
    }
    table.end()
}

/// The results, printed as they come and written as Markdown at the end.
struct Table {
    rows: Vec<String>,
    path: std::path::PathBuf,
    full: bool,
    /// What is wrong, a line for each experiment: said last, where it is seen.
    broken: Vec<String>,
}

const HEAD: &str = "| | fault | jobs | faults injected | completed | rejected | failed | events \
                    repeated | lost | wrong bytes | stranded | conflicting | other | seconds | \
                    seed |\n|---|---|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|";

impl Table {
    fn new(arguments: &Arguments) -> Table {
        let name = if arguments.full {
            "results.md"
        } else {
            "small.md"
        };
        Table {
            rows: Vec::new(),
            path: repository("target/faults").join(name),
            full: arguments.full,
            broken: Vec::new(),
        }
    }

    /// Adds how an experiment ended; none when it could not be carried out.
    fn add(&mut self, experiment: &Experiment, stage: &Stage, outcome: Option<Outcome>) {
        let Some(outcome) = outcome else {
            let why = "the experiment could not be carried out (above)";
            println!("    FAILED: {why}; again:\n    {}", stage.again());
            self.broken.push(format!("{}: {why}", experiment.name));
            return;
        };
        let verdict = &outcome.verdict;
        let faults: Vec<String> = outcome
            .faults
            .iter()
            .map(|(kind, count)| format!("{kind} × {count}"))
            .collect();
        let broken = |kind| verdict.count(kind);
        let row = format!(
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            experiment.name,
            experiment.fault,
            outcome.size,
            faults.join(", "),
            verdict.completed,
            verdict.rejected,
            verdict.failed,
            verdict.repeats,
            broken(Kind::Lost),
            broken(Kind::WrongBytes),
            broken(Kind::Stranded),
            broken(Kind::Conflicting),
            broken(Kind::Disorder),
            outcome.seconds,
            stage.seed,
        );
        println!("    {row}");
        for note in &outcome.notes {
            println!("    {note}");
        }
        self.rows.push(row);
        if verdict.violations.is_empty() {
            return;
        }
        self.broken.push(format!(
            "{}: {} violations, the first {}",
            experiment.name,
            verdict.violations.len(),
            verdict.violations[0]
        ));
        for violation in verdict.violations.iter().take(20) {
            println!("    VIOLATION {violation}");
        }
        println!(
            "    {} violations; again:\n    {}",
            verdict.violations.len(),
            stage.again()
        );
        if let Some(kept) = &outcome.kept {
            println!("    logs and store are kept in {}", kept.display());
        }
    }

    fn end(self) -> bool {
        let text = format!("{HEAD}\n{}\n", self.rows.join("\n"));
        write(&self.path, &text);
        let run = if self.full { "full" } else { "small" };
        let how = match self.broken.is_empty() {
            true => "every promise kept",
            false => "promises BROKEN",
        };
        println!(
            "the {run} run: {how}; the table is in {}",
            self.path.display()
        );
        for line in &self.broken {
            println!("    {line}");
        }
        self.broken.is_empty()
    }
}

fn write(path: &Path, text: &str) {
    let folder = path.parent().expect("it has one");
    std::fs::create_dir_all(folder).expect("a folder");
    std::fs::write(path, text).expect("a file");
}

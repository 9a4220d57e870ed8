//! What banshi costs around the engine: the pool of typesetters, the whole worker with a real
//! broker and a real disk, an urgent job past a backlog, the start of a process, a county added up,
//! and memory over many reports. Every report is another one, in its text and in its figures.
//!
//! `make bench` runs it, and `benches/engine.rs` before it, and prints the machine above the
//! table. What is compared is measured in turn, A B A B, so that noise meets both.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it prints its table"
)]

mod memory;
mod merge;
mod pool;
mod process;
mod start;
mod table;
mod urgent;
mod worker;

#[path = "../support/mod.rs"]
mod support;

use std::path::Path;

use banshi::typesetter::{Manuscript, Program};
use clap::{Parser, ValueEnum};

use support::{Model, SEED};

/// The program that is measured.
const BANSHI: &str = env!("CARGO_BIN_EXE_banshi");

/// The stack of a thread that sets reports, in bytes: as much as a child gives it.
const STACK: usize = 64 << 20;

/// What banshi costs around the engine.
#[derive(Parser)]
struct Options {
    /// The parts to measure [default: all]
    parts: Vec<Part>,
    /// Rounds of each comparison
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Reports a round
    #[arg(long, default_value_t = 200)]
    reports: u64,
    /// Reports for the part `memory`
    #[arg(long, default_value_t = 1_000)]
    memory: u64,
    /// Rows only, below another program's head
    #[arg(long)]
    rows: bool,
    /// What cargo says to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// One typesetter and several, and the pipe to them
    Pool,
    /// From the queue to the acknowledgement, with the broker of `AMQP_URL`
    Worker,
    /// An urgent job past a backlog of 100,000, with the broker of `AMQP_URL`
    Urgent,
    /// From nothing to the first PDF
    Start,
    /// Two hundred departments into a county
    Merge,
    /// A typesetter's memory
    Memory,
}

fn main() {
    let options = Options::parse();
    // A child of the pool sets reports on a thread with a large stack, with rayon's pool being that
    // very thread. So do we, wherever a child is compared with the engine in process.
    let measure = move || {
        rayon::ThreadPoolBuilder::new()
            .num_threads(1)
            .use_current_thread()
            .build_global()
            .expect("nobody has made rayon's pool before");
        run(&options);
    };
    std::thread::Builder::new()
        .stack_size(STACK)
        .spawn(measure)
        .expect("a thread")
        .join()
        .expect("the benchmark has said what went wrong");
}

fn run(options: &Options) {
    let mut reports = Reports {
        model: Model::of(SEED),
        next: 0,
    };
    if !options.rows {
        table::head();
    }
    for part in Part::value_variants() {
        if !options.parts.is_empty() && !options.parts.contains(part) {
            continue;
        }
        match part {
            Part::Pool => pool::measure(options, &mut reports),
            Part::Worker => worker::measure(options, &mut reports),
            Part::Urgent => urgent::measure(options, &mut reports),
            Part::Start => start::measure(options, &mut reports),
            Part::Merge => merge::measure(options, &mut reports),
            Part::Memory => memory::measure(options.memory, &mut reports),
        }
    }
}

/// Reports, no two the same.
struct Reports {
    model: Model,
    next: u64,
}

impl Reports {
    /// The numbers of the next so many.
    fn numbers(&mut self, count: u64) -> std::ops::Range<u64> {
        let first = self.next;
        self.next += count;
        first..self.next
    }

    /// The next so many, checked and ready to be set.
    fn manuscripts(&mut self, count: u64) -> Vec<Manuscript> {
        self.numbers(count)
            .map(|number| self.model.manuscript(number))
            .collect()
    }
}

/// A typesetter process of the program that is measured.
fn program() -> Program {
    Program {
        path: Path::new(BANSHI).to_owned(),
        args: vec!["typesetter".to_owned()],
    }
}

/// The cores that we may use.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// A runtime for what waits: the pool's parent side, the sender's connection.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().expect("a runtime")
}

//! What it costs to check a report as one types, one after another in one thread: `check --serve`
//! without the pipe. Instructions, where valgrind is there to count them.
//!
//! ```sh
//! cargo bench --bench check                            # the table
//! cargo bench --bench check -- --report pingtan-2023   # of another report of tests/corpus
//! cargo bench --bench check -- --checks 20             # checks so many and says nothing
//! ```
//!
//! The last is there to be counted: the difference of two numbers is what the reports cost.

#![expect(clippy::print_stdout, reason = "it prints its table")]

#[expect(dead_code, reason = "nothing is set here")]
mod support;
#[path = "support/valgrind.rs"]
mod valgrind;

use std::io;
use std::time::Instant;

use banshi::check::Checker;
use support::{Model, SEED, settings};
use valgrind::counted;

/// Reports that are timed, of which so many are different: nothing is kept from one to the next.
const TIMED: usize = 10_000;
const DIFFERENT: usize = 100;

/// Times that they are.
const ROUNDS: usize = 5;

/// Reports that valgrind counts.
const COUNTED: u64 = 100;

fn main() {
    let (mut report, mut checks) = (SEED.to_owned(), None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().expect("the option has a value");
        match argument.as_str() {
            "--report" => report = value(),
            "--checks" => checks = Some(value().parse().expect("a number")),
            // Cargo says so to every benchmark.
            "--bench" => {}
            other => panic!("no such option: {other}; the head of benches/check.rs has them"),
        }
    }
    let model = Model::of(&report);
    let jobs: Vec<String> = (0..)
        .take(DIFFERENT)
        .map(|it| model.job(it).to_string())
        .collect();
    let checker = Checker::load(&settings()).expect("faces and templates");
    let answered = |reports: usize| {
        let lines: Vec<&str> = jobs
            .iter()
            .map(String::as_str)
            .cycle()
            .take(reports)
            .collect();
        let lines = lines.join("\n");
        let start = Instant::now();
        let answered = checker.answer_lines(lines.as_bytes(), io::sink());
        answered.expect("every line is answered");
        start.elapsed().as_secs_f64()
    };
    if let Some(checks) = checks {
        answered(checks);
        return;
    }
    answered(DIFFERENT);
    let mut times: Vec<f64> = (0..ROUNDS).map(|_| answered(TIMED)).collect();
    times.sort_by(f64::total_cmp);
    let [least, median, most] = [0, ROUNDS / 2, ROUNDS - 1].map(|at| times[at]);
    let bytes = jobs.iter().map(String::len).sum::<usize>() / DIFFERENT;
    println!("checks of {report}, {bytes} bytes a job; one thread, {TIMED} reports as lines");
    println!("  seconds, min median max     {least:7.2} {median:.2} {most:.2}");
    println!(
        "  a report, median            {:7.1} µs",
        median / TIMED as f64 * 1e6
    );
    let count = |reports: u64| counted(&["--report", &report, "--checks", &reports.to_string()]);
    match (count(10), count(10 + COUNTED)) {
        (Some(few), Some(many)) => {
            println!(
                "  instructions a report       {:7.3} M",
                (many - few) / COUNTED as f64
            );
        }
        _ => println!("  instructions: not counted, there is no valgrind"),
    }
}

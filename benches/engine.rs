//! The engine alone: what one report costs when everything is warm, in one thread, as in a child.
//! Layout and export apart; instructions, where valgrind is there to count them.
//!
//! ```sh
//! cargo bench --bench engine                              # the table
//! cargo bench --bench engine -- --report pingtan-2023     # of another report of tests/corpus
//! cargo bench --bench engine -- --documents 20            # sets so many and says nothing
//! cargo bench --bench engine -- --documents 20 --layout   # lays them out only
//! ```
//!
//! The last two are there to be counted: `valgrind --tool=callgrind` over two numbers of documents,
//! and the difference is what warm documents cost. Every document has its own text and figures.

mod support;

use std::process::Command;
use std::time::{Duration, Instant};

use banshi::typesetter::{Manuscript, Typesetter};
use support::{Model, SEED, settings};

/// Documents before the first that counts: by then the engine's caches hold what they will hold.
const WARM: u64 = 20;

/// Documents whose median counts.
const MEASURED: u64 = 200;

/// Documents that valgrind counts; it takes about a second for each.
const COUNTED: u64 = 10;

fn main() {
    // As in a child: this thread and no other.
    rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .use_current_thread()
        .build_global()
        .expect("the first pool");
    let wish = Wish::read();
    match wish.documents {
        Some(documents) => set(&wish, documents),
        None => table(&wish),
    }
}

/// What the command line asks for.
struct Wish {
    report: String,
    documents: Option<u64>,
    layout: bool,
}

impl Wish {
    fn read() -> Wish {
        let mut wish = Wish {
            report: SEED.to_owned(),
            documents: None,
            layout: false,
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().expect("the option has a value");
            match argument.as_str() {
                "--report" => wish.report = value(),
                "--documents" => wish.documents = Some(value().parse().expect("a number")),
                "--layout" => wish.layout = true,
                // Cargo says so to every benchmark.
                "--bench" => {}
                other => panic!("no such option: {other}; the head of benches/engine.rs has them"),
            }
        }
        wish
    }
}

/// Sets so many documents, or lays them out only, and says nothing.
fn set(wish: &Wish, documents: u64) {
    let typesetter = Typesetter::load(&settings()).expect("faces and templates");
    let model = Model::of(&wish.report);
    for number in 0..documents {
        let manuscript = model.manuscript(number);
        if wish.layout {
            typesetter.pages(&manuscript).expect("the report is set");
        } else {
            typesetter.typeset(&manuscript).expect("the report is set");
        }
    }
}

/// Measures, and prints what was measured.
fn table(wish: &Wish) {
    let start = Instant::now();
    let typesetter = Typesetter::load(&settings()).expect("faces and templates");
    let loaded = start.elapsed();
    let model = Model::of(&wish.report);
    let mut numbers = 0..;
    let mut next = |count: u64| -> Vec<Manuscript> {
        let numbers = numbers.by_ref().take(usize::try_from(count).expect("few"));
        numbers.map(|number| model.manuscript(number)).collect()
    };

    let cold = next(1);
    let (first, pdf) = timed(|| typesetter.typeset(&cold[0]).expect("the report is set"));
    for manuscript in next(WARM) {
        typesetter.typeset(&manuscript).expect("the report is set");
    }
    let mut whole = Vec::new();
    for manuscript in next(MEASURED) {
        let set = || typesetter.typeset(&manuscript).expect("the report is set");
        whole.push(timed(set).0);
    }
    // Set right after it was laid out, a document is laid out already.
    let (mut layouts, mut exports) = (Vec::new(), Vec::new());
    for manuscript in next(MEASURED) {
        let pages = || typesetter.pages(&manuscript).expect("the report is set");
        layouts.push(timed(pages).0);
        let export = || typesetter.typeset(&manuscript).expect("the report is set");
        exports.push(timed(export).0);
    }

    println!(
        "{}, {} pages, {} kB; one thread, every document different",
        wish.report,
        pdf.pages,
        pdf.bytes.len() / 1000
    );
    println!("  faces and templates loaded  {}", ms(loaded));
    println!("  the first document          {}", ms(first));
    println!("  a warm one, median          {}", ms(median(whole)));
    println!("    layout and checks         {}", ms(median(layouts)));
    println!("    export                    {}", ms(median(exports)));
    let [whole, layout] = [false, true].map(|layout| instructions(wish, layout));
    match (whole, layout) {
        (Some(whole), Some(layout)) => {
            println!("  instructions, warm          {whole:7.1} M");
            println!("    layout and checks         {layout:7.1} M");
            println!("    export                    {:7.1} M", whole - layout);
        }
        _ => println!("  instructions: not counted, there is no valgrind"),
    }
}

/// Millions of instructions that a warm document takes, as valgrind counts them; none without it.
fn instructions(wish: &Wish, layout: bool) -> Option<f64> {
    let program = std::env::current_exe().expect("this program");
    let count = |documents: u64| {
        let mut valgrind = Command::new("valgrind");
        valgrind
            .args([
                "--tool=cachegrind",
                "--cache-sim=no",
                "--cachegrind-out-file=/dev/null",
            ])
            .arg(&program)
            .args([
                "--report",
                &wish.report,
                "--documents",
                &documents.to_string(),
            ])
            .args(layout.then_some("--layout"));
        let ran = valgrind.output().ok()?;
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert!(ran.status.success(), "{said}");
        let line = said.lines().find_map(|line| line.split_once("I refs:"));
        let (_, count) = line.expect("valgrind says how many instructions it saw");
        Some(
            count
                .trim()
                .replace(',', "")
                .parse::<f64>()
                .expect("a number"),
        )
    };
    // The first documents fill the caches.
    let (few, many) = (count(3)?, count(3 + COUNTED)?);
    Some((many - few) / COUNTED as f64 / 1e6)
}

fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let start = Instant::now();
    let done = work();
    (start.elapsed(), done)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn ms(time: Duration) -> String {
    format!("{:7.1} ms", time.as_secs_f64() * 1e3)
}

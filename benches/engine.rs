//! The engine alone: what one report costs when everything is warm, in one thread, as in a child.
//! Layout and export apart; instructions, where valgrind is there to count them.
//!
//! ```sh
//! cargo bench --bench engine                              # the table
//! cargo bench --bench engine -- --report pingtan-2023     # of another report of tests/corpus
//! cargo bench --bench engine -- --templates DIR           # the files of DIR over the templates
//! cargo bench --bench engine -- --documents 20            # sets so many and says nothing
//! ```
//!
//! The last is there to be counted: `valgrind --tool=callgrind` over two numbers of documents, and
//! the difference is what warm documents cost. With `--only jobs` it makes the jobs and no more,
//! which is no cost of the engine's; with `--only layout` it doesn't export, with `--only both` it
//! makes an OFD beside the PDF. Every document has its own text and figures.

#![expect(clippy::print_stdout, reason = "it prints its table")]

mod support;
#[path = "support/valgrind.rs"]
mod valgrind;

use std::time::{Duration, Instant};

use banshi::config::Format;
use banshi::typesetter::{Manuscript, Typesetter};
use support::{Model, SEED, settings};
use valgrind::counted;

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
    templates: Option<String>,
    documents: Option<u64>,
    part: Part,
}

/// How far a document goes.
#[derive(Debug, Clone, Copy)]
enum Part {
    Jobs,
    Layout,
    Whole,
    /// The PDF, and the OFD beside it.
    Both,
}

impl Wish {
    fn read() -> Wish {
        let mut wish = Wish {
            report: SEED.to_owned(),
            templates: None,
            documents: None,
            part: Part::Whole,
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().expect("the option has a value");
            match argument.as_str() {
                "--report" => wish.report = value(),
                "--documents" => wish.documents = Some(value().parse().expect("a number")),
                "--templates" => wish.templates = Some(value()),
                "--only" => {
                    wish.part = match value().as_str() {
                        "jobs" => Part::Jobs,
                        "layout" => Part::Layout,
                        "both" => Part::Both,
                        other => panic!("--only jobs, layout or both, not {other}"),
                    }
                }
                // Cargo says so to every benchmark.
                "--bench" => {}
                other => panic!("no such option: {other}; the head of benches/engine.rs has them"),
            }
        }
        wish
    }

    fn typesetter(&self) -> Typesetter {
        let mut settings = settings();
        if let Some(templates) = &self.templates {
            settings.templates.dir = templates.into();
        }
        Typesetter::load(&settings).expect("faces and templates")
    }
}

/// Sets so many documents, or takes them as far as is wished, and says nothing.
fn set(wish: &Wish, documents: u64) {
    let typesetter = wish.typesetter();
    let model = Model::of(&wish.report);
    for number in 0..documents {
        let mut manuscript = model.manuscript(number);
        match wish.part {
            Part::Jobs => {}
            Part::Layout => {
                typesetter.pages(&manuscript).expect("the report is set");
            }
            Part::Whole => {
                typesetter.typeset(&manuscript).expect("the report is set");
            }
            Part::Both => {
                manuscript.companions = vec![Format::Ofd];
                typesetter.typeset(&manuscript).expect("the report is set");
            }
        }
    }
}

/// Measures, and prints what was measured.
fn table(wish: &Wish) {
    let start = Instant::now();
    let typesetter = wish.typesetter();
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
    let counts = ["", "layout", "jobs", "both"].map(|only| instructions(wish, only));
    if let [Some(whole), Some(layout), Some(jobs), Some(both)] = counts {
        println!("  instructions, warm          {:7.1} M", whole - jobs);
        println!("    layout and checks         {:7.1} M", layout - jobs);
        println!("    export                    {:7.1} M", whole - layout);
        let ratio = (both - jobs) / (whole - jobs);
        println!(
            "  with an OFD beside it       {:7.1} M, {ratio:.2} times",
            both - jobs
        );
    } else {
        println!("  instructions: not counted, there is no valgrind");
    }
}

/// Millions of instructions that a warm document takes, as valgrind counts them; none without it.
fn instructions(wish: &Wish, only: &str) -> Option<f64> {
    let count = |documents: u64| {
        let documents = documents.to_string();
        let mut arguments = vec!["--report", &wish.report, "--documents", &documents];
        if !only.is_empty() {
            arguments.extend(["--only", only]);
        }
        if let Some(templates) = &wish.templates {
            arguments.extend(["--templates", templates]);
        }
        counted(&arguments)
    };
    // The first documents fill the caches.
    let (few, many) = (count(3)?, count(3 + COUNTED)?);
    Some((many - few) / COUNTED as f64)
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

//! From nothing to the first PDF. The files of the program and of the faces are in the page cache,
//! as after the first start of a machine.

use std::process::{Command, Stdio};
use std::time::Instant;

use banshi::typesetter::{Fonts, Typesetter};

use crate::support::{repository, settings};
use crate::table::{Row, Target, median, row};
use crate::{BANSHI, Options, Reports};

/// Rounds for each of the caller's: a start takes a tenth of a second.
const MORE: usize = 4;

/// Measures the start of a process.
pub fn measure(options: &Options, reports: &mut Reports) {
    let rounds = options.rounds * MORE;
    let typesetter = Typesetter::load(&settings()).expect("a typesetter");
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary folder");
    let (job, pdf) = (folder.path().join("job.json"), folder.path().join("a.pdf"));
    for manuscript in reports.manuscripts(10) {
        typesetter.typeset(&manuscript).expect("a PDF");
    }

    let (mut cold, mut warm, mut mapping) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let number = reports.numbers(1).start;
        let text = reports.model.job(number).to_string();
        std::fs::write(&job, text).expect("a job");
        cold.push(milliseconds(|| render(&job, &pdf)));
        mapping.push(milliseconds(|| {
            let fonts = Fonts::load(&settings().fonts).expect("the faces");
            drop(fonts);
        }));
        let manuscript = &reports.manuscripts(1)[0];
        warm.push(milliseconds(|| {
            typesetter.typeset(manuscript).expect("a PDF");
        }));
    }
    let bound = 3.0 * median(&warm) + median(&mapping);
    let share = cold.iter().map(|cold| cold / bound).collect::<Vec<_>>();
    for (what, unit, rounds, target) in [
        ("one report in a warm process", "ms", &warm, Target::None),
        ("mapping the faces", "ms", &mapping, Target::None),
        (
            "`banshi render`, a fresh process to its end",
            "ms",
            &cold,
            Target::None,
        ),
        (
            "the same to 3 × warm + mapping",
            "ratio",
            &share,
            Target::AtMost(1.0),
        ),
    ] {
        row(&Row {
            what: &format!("start: {what}"),
            unit,
            rounds,
            instructions: None,
            target,
        });
    }
}

/// Sets one report with a process of its own.
fn render(job: &std::path::Path, pdf: &std::path::Path) {
    let status = Command::new(BANSHI)
        .arg("render")
        .arg(job)
        .arg("-o")
        .arg(pdf)
        .env("BANSHI__FONTS__DIR", repository("fonts"))
        .env("BANSHI__FONTS__MORE", "")
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .stdout(Stdio::null())
        .status()
        .expect("it starts");
    assert!(status.success(), "a report is set");
}

fn milliseconds(work: impl FnOnce()) -> f64 {
    let began = Instant::now();
    work();
    began.elapsed().as_secs_f64() * 1e3
}

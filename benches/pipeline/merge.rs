//! Two hundred departments' reports added up into the county's, by a process of its own.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::json;

use crate::table::{Row, Target, row};
use crate::{BANSHI, Options, Reports};

/// The departments of a large city.
const DEPARTMENTS: u64 = 200;

/// Measures `banshi merge`.
pub fn measure(options: &Options, reports: &mut Reports) {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary folder");
    let files: Vec<PathBuf> = reports
        .numbers(DEPARTMENTS)
        .map(|number| {
            let mut job = reports.model.job(number);
            job["data"]["agency"] = json!(format!("第{number}局"));
            let file = folder.path().join(format!("{number}.json"));
            std::fs::write(&file, job.to_string()).expect("a job");
            file
        })
        .collect();
    let rounds: Vec<f64> = (0..options.rounds)
        .map(|_| {
            let began = Instant::now();
            let status = Command::new(BANSHI)
                .args(["merge", "--agency", "某县人民政府", "-o"])
                .arg(folder.path().join("county.json"))
                .args(&files)
                .current_dir(env!("CARGO_TARGET_TMPDIR"))
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .expect("it starts");
            assert!(status.success(), "they add up");
            began.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    row(&Row {
        what: &format!("merge: {DEPARTMENTS} departments into a county, a fresh process"),
        unit: "ms",
        rounds: &rounds,
        instructions: None,
        target: Target::AtMost(1_000.0),
    });
}

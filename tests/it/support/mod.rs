//! The words that the tests are written in.

pub mod jobs;

use std::path::PathBuf;

use banshi::config::Settings;
use banshi::job::{self, Job, Refusal};
use banshi::problem::{Code, Problem};
use banshi::report::{Editions, FORMS};
use serde_json::Value;

/// A file of the repository.
pub fn repository(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The defaults, untouched by file or environment.
pub fn settings() -> Settings {
    Settings::load(Some(&repository("src/defaults.toml")), []).expect("the defaults are right")
}

/// The editions that this build knows, under the names of the embedded templates.
pub fn editions() -> Editions {
    FORMS.iter().map(|form| (form.name.to_owned(), *form)).collect()
}

/// Reads and checks a job.
pub fn check(job: &[u8]) -> Result<Job, Refusal> {
    job::read(job, None, &settings().limits, &editions())
}

/// What rejects a job: code and place of each problem.
pub fn refused(job: &Value) -> Vec<(Code, String)> {
    match check(job.to_string().as_bytes()) {
        Ok(_) => Vec::new(),
        Err(refusal) => places(refusal.rejection.problems()),
    }
}

/// Code and place of each problem.
pub fn places(problems: &[Problem]) -> Vec<(Code, String)> {
    problems.iter().map(|problem| (problem.code, problem.path.clone())).collect()
}

//! The JSON Schema refuses a job if and only if the reader does, by the word of a validator that
//! shares no code with banshi: a sender who validates before sending is told the same.
//!
//! What a schema can't say, and these spoilings don't do or are counted apart: a field given twice;
//! a row with another number of cells than its table; text over `limits.paragraphs` and
//! `limits.characters`; a `message_id` that is not the `job_id`. Which day exists is for `format`,
//! which a validator may ignore. The sums, and characters without a glyph, are no matter of form.

use std::io::Write as _;
use std::process::{Command, Stdio};

use banshi::problem::{Code, Problem};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde_json::Value;

use crate::support::jobs::{CORPUS, bad, case, corpus, spoilt_at_random};
use crate::support::{check, repository};

/// What the validator says of each job: nothing, or its first error.
fn validated(jobs: &[Value]) -> Vec<Option<String>> {
    let schema = |edition| {
        repository(&format!(
            "typst-templates/annual-report/{edition}/schema.json"
        ))
    };
    let mut child = Command::new("python3")
        .arg(repository("tests/tools/schema-verdicts"))
        .args([schema("2019"), schema("2021")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is there");
    let mut input = child.stdin.take().expect("piped");
    let lines: String = jobs.iter().map(|job| format!("{job}\n")).collect();
    let feeding = std::thread::spawn(move || input.write_all(lines.as_bytes()));
    let output = child.wait_with_output().expect("it ends");
    feeding.join().expect("no panic").expect("it reads");
    assert!(
        output.status.success(),
        "tests/tools/install test installs what it needs"
    );
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    let said: Vec<Option<String>> = said
        .lines()
        .map(|line| (line != "ok").then(|| line.to_owned()))
        .collect();
    assert_eq!(said.len(), jobs.len());
    said
}

/// The problems of form that the reader finds, but for those that no schema can say.
fn read(job: &Value) -> Vec<Problem> {
    let Err(refusal) = check(job.to_string().as_bytes()) else {
        return Vec::new();
    };
    let mut problems = refusal.rejection.into_problems();
    let of_form = [Code::SCHEMA, Code::TEMPLATE, Code::EDITION];
    problems.retain(|problem| of_form.contains(&problem.code));
    problems.retain(|problem| !problem.message.contains(" cells, the table "));
    problems
}

fn agree(jobs: &[Value]) -> (usize, usize) {
    let (mut taken, mut refused) = (0, 0);
    for (job, said) in jobs.iter().zip(validated(jobs)) {
        let found = read(job);
        assert_eq!(
            found.is_empty(),
            said.is_none(),
            "the schema: {said:?}\nthe reader: {found:#?}\n{job}"
        );
        match said {
            None => taken += 1,
            Some(_) => refused += 1,
        }
    }
    (taken, refused)
}

#[test]
fn real_reports_are_taken_by_both() {
    let jobs: Vec<Value> = CORPUS.into_iter().map(corpus).collect();
    assert_eq!(agree(&jobs), (CORPUS.len(), 0));
}

#[test]
fn the_bad_jobs_and_the_senders_cases_are_judged_alike() {
    let mut jobs: Vec<Value> = bad()
        .into_iter()
        .filter(|bad| bad.code != "E-JSON")
        .map(|bad| serde_json::from_slice(&bad.body).expect("JSON"))
        .collect();
    jobs.extend(crate::what_senders_send::CASES.map(case));
    let (taken, refused) = agree(&jobs);
    assert!(
        taken > 5 && refused > 10,
        "{taken} taken, {refused} refused"
    );
}

#[test]
fn whatever_is_changed_in_a_report_both_refuse_or_neither() {
    let seed = rand::random();
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let jobs: Vec<Value> = (0..600).map(|_| spoilt_at_random(&mut rng)).collect();
    let (taken, refused) = agree(&jobs);
    assert!(
        taken > 15 && refused > 300,
        "{taken} taken, {refused} refused"
    );
}

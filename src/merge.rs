//! Departments' reports added up into the county's (逐级汇总), cell by cell.
//!
//! Takes the departments' jobs, or the PDFs that were made of them, gives the county's job, or all
//! that is in its way, and whose fault it is. Never adds a report that the service would refuse, one
//! of another year or form, or the same one twice; never reads a missing figure as zero. If we crash
//! here, nothing has happened yet.
//!
//! What is added and what is not, the form says: figures in one unit are, and the rows of lists are
//! put one after another; texts, dates, choices and percentages are the county's own to write.

mod part;
mod sums;

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

pub use self::part::Part;
use self::part::Read;
use self::sums::{Sums, amount};
use crate::config::Limits;
use crate::digest::sha256;
use crate::job::{self, Job};
use crate::problem::Problem;
use crate::report::Editions;
use crate::report::rules;

/// What was found of a part, or of the county's job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Whose: the file.
    pub file: String,
    /// Whose: the agency; empty where it could not be read.
    pub agency: String,
    /// The code of a problem, as the service has it; or what is said of parts alone: `unreadable`,
    /// `template`, `year`, `repeated`, `agency`, `unit`, `remark`, `notes`, `differs`.
    pub code: String,
    /// JSON Pointer into the job.
    pub path: String,
    /// For people, in English.
    pub message: String,
    /// For people, in Chinese.
    pub message_zh: String,
    /// What should stand there, where that is one value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// What stands there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actual: Option<String>,
    /// Whether nothing can be added up before it is mended.
    pub blocks: bool,
}

/// A place of the county's job that is left to the county.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Left {
    /// JSON Pointer into the job.
    pub path: String,
    /// What the form calls it.
    pub label: String,
    /// What stands there now, in English.
    pub message: String,
    /// The same in Chinese.
    pub message_zh: String,
}

/// What came of it.
#[derive(Debug)]
pub struct Merged {
    /// The county's job and what is known of it; none, while something is in its way.
    pub county: Option<County>,
    /// What was found, the parts in their order and the county's job last.
    pub findings: Vec<Finding>,
}

/// The county's job.
#[derive(Debug)]
pub struct County {
    /// The job, its totals computed.
    pub job: Value,
    /// The same, checked.
    checked: Job,
    /// What is left to the county.
    pub left: Vec<Left>,
    sums: Sums,
}

impl County {
    /// Which parts it was made of, by digest: the contract has no place for that in the job itself.
    pub fn parts(&self, parts: &[Part]) -> Value {
        let parts: Vec<Value> = parts.iter().map(Part::named).collect();
        let Job {
            id,
            template,
            identity,
            ..
        } = &self.checked;
        let report = self.checked.report();
        json!({
            "job_id": id,
            "job_sha256": identity.sha256,
            "template": template,
            "agency": report.author(),
            "year": report.year(),
            "parts": parts,
        })
    }
}

/// What the county says of itself.
#[derive(Debug, Clone, Copy)]
pub struct Own<'a> {
    /// 发文机关.
    pub agency: &'a str,
    /// The id of its job; without one it is made of the parts' digests.
    pub job_id: Option<&'a str>,
}

/// Adds the parts up.
pub fn merge(parts: &[Part], own: Own<'_>, limits: &Limits, editions: &Editions) -> Merged {
    let mut findings: Vec<Finding> = Vec::new();
    for part in parts {
        findings.extend(part.findings.iter().cloned());
    }
    findings.extend(odd_ones(parts));
    findings.extend(repeated(parts, own.agency));
    let readable: Vec<(&Part, &Read)> = parts
        .iter()
        .filter_map(|part| Some((part, part.read.as_ref()?)))
        .collect();
    let blocked = |findings: &[Finding]| findings.iter().any(|finding| finding.blocks);
    let Some((_, first)) = readable.first().filter(|_| !blocked(&findings)) else {
        return Merged {
            county: None,
            findings,
        };
    };
    let form = &editions[&first.template];
    let (sums, found) = Sums::of(form, &readable);
    findings.extend(found);
    if blocked(&findings) {
        return Merged {
            county: None,
            findings,
        };
    }
    let warn = findings
        .iter()
        .any(|finding| finding.code.starts_with("R-"));
    let made = made_id(&readable, own.agency);
    let job_id = own.job_id.unwrap_or(&made);
    let template = &first.template;
    // First without the totals, which the check computes, and then with them.
    let (mut totals, mut left) = (None, Vec::new());
    let (job, checked) = loop {
        left.clear();
        let job = sums.job(
            own.agency,
            job_id,
            template,
            warn,
            totals.as_deref(),
            &mut left,
        );
        match job::read(job.to_string().as_bytes(), None, limits, editions) {
            Ok(checked) if totals.is_some() => break (job, checked),
            Ok(checked) => totals = Some(checked.report().cells.clone()),
            Err(refusal) => {
                // The sum keeps what its parts keep, but for limits and inequalities.
                let problems = refusal.rejection.into_problems().into_iter();
                let told = problems.map(|problem| Finding::of(problem, "", own.agency, true));
                findings.extend(told);
                return Merged {
                    county: None,
                    findings,
                };
            }
        }
    };
    Merged {
        county: Some(County {
            job,
            checked,
            left,
            sums,
        }),
        findings,
    }
}

/// Compares a county's job that somebody else has made with the sum of its departments: every cell
/// that differs, and by how much.
pub fn compare(county: &County, other: &Part) -> Vec<Finding> {
    let Some(read) = &other.read else {
        return Vec::new();
    };
    let (form, mut found) = (&county.sums.form, Vec::new());
    let ours = &county.checked;
    if read.template != ours.template || read.report.year() != ours.report().year() {
        let (template, year) = (&ours.template, ours.report().year());
        let (there, then) = (&read.template, read.report.year());
        let code = if there == template {
            "year"
        } else {
            "template"
        };
        found.push(other.finding(
            code,
            "",
            (
                format!("is {there} for {then}; the departments' are {template} for {year}"),
                format!("为{then}年度的{there}，而各部门的为{year}年度的{template}"),
            ),
            true,
        ));
        return found;
    }
    let (_, theirs) = rules::trace(&read.report, &read.prior);
    for (at, place) in form.cells.iter().enumerate() {
        if county.sums.is_in_a_list(at) {
            continue;
        }
        // What no sum is made of is the county's own.
        let sum = amount(&ours.report().cells[at]).filter(|_| county.sums.is_added(at));
        let stated = match read.report.cells[at].is_open() {
            true => theirs[at],
            false => amount(&read.report.cells[at]),
        };
        let (Some(sum), Some(stated)) = (sum, stated) else {
            continue;
        };
        if sum != stated {
            let (more, unit) = (stated - sum, county.sums.unit(at));
            let (by, zh) = match more.is_sign_negative() {
                true => (format!("{} less", -more), format!("少{}", -more)),
                false => (format!("{more} more"), format!("多{more}")),
            };
            let name = place.name();
            let mut finding = other.finding(
                "differs",
                &format!("/data{}", place.pointer),
                (
                    format!(
                        "{name} is {stated}{unit}; the departments add up to {sum}{unit}: {by}"
                    ),
                    format!("{name}为{stated}{unit}，各部门之和为{sum}{unit}，{zh}"),
                ),
                true,
            );
            finding.expected = Some(sum.to_string());
            finding.actual = Some(stated.to_string());
            found.push(finding);
        }
    }
    found.extend(county.sums.other_rows(other, read));
    found
}

/// An id that the same parts always give.
fn made_id(parts: &[(&Part, &Read)], agency: &str) -> String {
    let mut digests: Vec<&str> = parts.iter().map(|(_, read)| &*read.data_sha256).collect();
    digests.sort_unstable();
    let all = format!("{agency}\n{}", digests.join("\n"));
    let year = parts.first().map_or(0, |(_, read)| read.report.year());
    format!("merged-{year}-{}", &sha256(all.as_bytes())[..12])
}

/// The parts that are in another form or for another year than most are.
fn odd_ones(parts: &[Part]) -> Vec<Finding> {
    let read: Vec<(&Part, &Read)> = parts
        .iter()
        .filter_map(|part| Some((part, part.read.as_ref()?)))
        .collect();
    let (Some(template), Some(year)) = (
        most(read.iter().map(|(_, read)| read.template.clone())),
        most(read.iter().map(|(_, read)| read.report.year())),
    ) else {
        return Vec::new();
    };
    let mut odd = Vec::new();
    for (part, read) in read {
        let (own, then) = (&read.template, read.report.year());
        if *own != template {
            let said = (
                format!("is in {own}; the others are in {template}"),
                format!("用的是{own}，其他部门用的是{template}"),
            );
            odd.push(part.finding("template", "/template", said, true));
        }
        // One that could not be read is told already.
        if then != year && then != 0 {
            let said = (
                format!("is for {then}; the others are for {year}"),
                format!("是{then}年度的，其他部门是{year}年度的"),
            );
            let form = &read.report.form;
            let path = format!("/data/{}", form.fields[form.year].field);
            odd.push(part.finding("year", &path, said, true));
        }
    }
    odd
}

/// The value that most have; the first of those that equally many have.
fn most<T: Ord + Clone>(values: impl Iterator<Item = T>) -> Option<T> {
    let mut counts: Vec<(T, usize)> = Vec::new();
    for value in values {
        match counts.iter_mut().find(|(known, _)| *known == value) {
            Some((_, count)) => *count += 1,
            None => counts.push((value, 1)),
        }
    }
    let most = counts.iter().map(|(_, count)| *count).max()?;
    let first = counts.into_iter().find(|(_, count)| *count == most);
    first.map(|(value, _)| value)
}

/// The parts that are there already, by their content or by their agency; and the county's own.
fn repeated(parts: &[Part], county: &str) -> Vec<Finding> {
    let (mut contents, mut agencies) = (BTreeMap::new(), BTreeMap::new());
    let mut found = Vec::new();
    for part in parts {
        let Some(read) = &part.read else { continue };
        let agency = read.report.author().trim();
        if let Some(first) = contents.get(read.data_sha256.as_str()) {
            let said = (
                format!("is the same report as {first}"),
                format!("与{first}是同一份报告"),
            );
            found.push(part.finding("repeated", "/data", said, true));
            continue;
        }
        contents.insert(read.data_sha256.as_str(), part.file.as_str());
        let form = &read.report.form;
        let path = format!("/data/{}", form.fields[form.author].field);
        if agency.is_empty() {
            continue;
        }
        if agency == county.trim() {
            let said = (
                "is the county's own report, which is no part of itself".to_owned(),
                "是汇总机关自己的报告，不能作为其组成部分".to_owned(),
            );
            found.push(part.finding("agency", &path, said, true));
        } else if let Some(first) = agencies.get(agency) {
            let said = (
                format!("another report of {agency} is in {first}"),
                format!("{agency}另有一份报告在{first}中"),
            );
            found.push(part.finding("repeated", &path, said, true));
        } else {
            agencies.insert(agency, part.file.as_str());
        }
    }
    found
}

impl Finding {
    /// A problem of the job that a file holds.
    fn of(problem: Problem, file: &str, agency: &str, blocks: bool) -> Finding {
        Finding {
            file: file.to_owned(),
            agency: agency.to_owned(),
            code: problem.code.to_string(),
            path: problem.path,
            message: problem.message,
            message_zh: problem.message_zh,
            expected: problem.expected,
            actual: problem.actual,
            blocks,
        }
    }
}

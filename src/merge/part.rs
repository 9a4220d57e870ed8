//! A department's report, read as the service reads it.

use serde_json::{Value, json};

use super::Finding;
use crate::config::Limits;
use crate::digest::sha256;
use crate::job;
use crate::problem::Severity;
use crate::report::json::Node;
use crate::report::{Editions, Prior, Report};
use crate::typesetter::{DATA, PROVENANCE, Unattached, attached};

/// A file with a department's report, and what is wrong with it.
#[derive(Debug)]
pub struct Part {
    /// The file's name.
    pub file: String,
    /// SHA-256 of the file.
    sha256: String,
    /// Its `job_id`, where it has one.
    job_id: Option<String>,
    /// The report, as far as it could be read.
    pub(super) read: Option<Read>,
    /// What is wrong with it.
    pub(super) findings: Vec<Finding>,
}

/// What could be read.
#[derive(Debug)]
pub(super) struct Read {
    pub template: String,
    /// SHA-256 of the canonical `data`: the same report, however it came here.
    pub data_sha256: String,
    pub data: Node,
    pub report: Report,
    pub prior: Prior,
}

impl Part {
    /// Reads a job, or the job that a PDF was made of.
    pub fn read(file: &str, bytes: &[u8], limits: &Limits, editions: &Editions) -> Part {
        let mut part = Part {
            file: file.to_owned(),
            sha256: sha256(bytes),
            job_id: None,
            read: None,
            findings: Vec::new(),
        };
        let taken;
        let job = match bytes.starts_with(b"%PDF-") {
            false => bytes,
            true => match job_of(bytes) {
                Ok(job) => {
                    taken = job;
                    &taken
                }
                Err(said) => {
                    part.findings = vec![part.finding("unreadable", "", said, true)];
                    return part;
                }
            },
        };
        part.read = job::legible(job, limits, editions).map(|legible| Read {
            template: legible.template,
            data_sha256: sha256(legible.data.canonical().as_bytes()),
            data: legible.data,
            report: legible.report,
            prior: legible.prior,
        });
        let agency = part.agency().to_owned();
        let (id, problems, blocks) = match job::read(job, None, limits, editions) {
            Ok(job) => {
                // What it does not add up to travels with it; what else is told of it is not the
                // county's.
                let mut told = job.report.warnings().to_vec();
                told.retain(|problem| problem.code.severity() == Severity::Rule);
                (Some(job.id), told, false)
            }
            Err(refusal) => {
                let problems = refusal.rejection.into_problems();
                (refusal.identity.job_id, problems, true)
            }
        };
        part.job_id = id;
        let problems = problems.into_iter();
        part.findings = problems
            .map(|problem| Finding::of(problem, file, &agency, blocks))
            .collect();
        part
    }

    /// Whose report it is; empty where that could not be read.
    pub fn agency(&self) -> &str {
        self.read.as_ref().map_or("", |read| read.report.author())
    }

    /// What is wrong with it by itself.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Something found of it, said in English and in Chinese.
    pub(super) fn finding(
        &self,
        code: &str,
        path: &str,
        (message, message_zh): (String, String),
        blocks: bool,
    ) -> Finding {
        Finding {
            file: self.file.clone(),
            agency: self.agency().to_owned(),
            code: code.to_owned(),
            path: path.to_owned(),
            message,
            message_zh,
            expected: None,
            actual: None,
            blocks,
        }
    }

    /// It in the list of the county's parts.
    pub(super) fn named(&self) -> Value {
        json!({
            "file": self.file,
            "agency": self.agency(),
            "job_id": self.job_id,
            "sha256": self.sha256,
            "data_sha256": self.read.as_ref().map(|read| &read.data_sha256),
        })
    }
}

/// The job that a PDF was made of. It was published as it is, so that what does not add up in it is
/// told and does not refuse it.
fn job_of(pdf: &[u8]) -> Result<Vec<u8>, (String, String)> {
    let (made, data) = attached(pdf).map_err(|why| match why {
        Unattached::Missing(name, why) => (
            format!("{name} can't be had of this PDF: {why}"),
            format!("无法从该PDF中取出{name}：{why}"),
        ),
        Unattached::Unknown(error) => (
            format!("its {PROVENANCE} is none: {error}"),
            format!("其中的{PROVENANCE}无法识别：{error}"),
        ),
    })?;
    if sha256(&data) != made.data.sha256 {
        return Err((
            format!("its {DATA} is not the one that its {PROVENANCE} names: it was changed"),
            format!("其中的{DATA}与{PROVENANCE}所载不符，文件已被改动"),
        ));
    }
    let [id, template] = [made.job.id, made.template.name].map(|text| json!(text).to_string());
    let mut job =
        format!("{{\"job_id\":{id},\"template\":{template},\"on_violation\":\"warn\",\"data\":")
            .into_bytes();
    job.extend(data);
    job.push(b'}');
    Ok(job)
}

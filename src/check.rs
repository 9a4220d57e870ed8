//! What the service would say of a job, asked as one types.
//!
//! Takes the bytes of a job, gives what came of it: all that a worker would say before it lays out
//! any page. Faces, templates and forms are read once. Never stores or sends anything, and no job
//! ends it, whatever is in it. If we crash here, nothing is lost but the answers that were asked for.

pub mod http;
pub mod lines;

use serde::Serialize;

use crate::config::{Limits, Settings};
use crate::job::{self, Job, Refusal};
use crate::problem::{Outage, Problem, Rejection};
use crate::report::{Editions, Last};
use crate::typesetter::{Fonts, Templates, texts};

/// What is needed to check jobs.
pub struct Checker {
    fonts: Fonts,
    templates: Templates,
    editions: Editions,
    limits: Limits,
}

impl Checker {
    /// With the faces, templates and limits of the settings.
    ///
    /// # Errors
    /// As [`Fonts::load`] and [`Templates::load`].
    pub fn load(settings: &Settings) -> Result<Checker, Outage> {
        let templates = Templates::load(settings.templates.folder())?;
        Ok(Checker {
            fonts: Fonts::load(&settings.fonts)?,
            editions: templates.forms(),
            templates,
            limits: settings.limits.clone(),
        })
    }

    /// The job, if the service would take it.
    ///
    /// # Errors
    /// Every problem that the service would reject it for.
    pub fn check(&self, bytes: &[u8]) -> Result<Job, Refusal> {
        self.check_after(bytes, None)
    }

    /// The same, compared with last year's report.
    ///
    /// # Errors
    /// As [`Checker::check`].
    pub fn check_after(&self, bytes: &[u8], last: Option<&Last>) -> Result<Job, Refusal> {
        let job = job::read_after(bytes, None, last, &self.limits, &self.editions)?;
        match self.fonts.undrawable(&texts(job.report())) {
            Some(rejection) => Err(refused(job, rejection)),
            None => Ok(job),
        }
    }

    /// The forms that jobs are read by.
    pub fn editions(&self) -> &Editions {
        &self.editions
    }
}

/// A job that was read, refused for what its text or its pages are.
pub fn refused(job: Job, rejection: Rejection) -> Refusal {
    Refusal {
        identity: job.identity,
        rejection,
    }
}

/// What is said of a job: `schemas/answer.schema.json`.
#[derive(Debug, Serialize)]
pub struct Answer<'a> {
    job_id: Option<&'a str>,
    ok: bool,
    sha256: &'a str,
    problems: &'a [Problem],
    warnings: &'a [Problem],
}

impl<'a> From<&'a Result<Job, Refusal>> for Answer<'a> {
    fn from(result: &'a Result<Job, Refusal>) -> Self {
        match result {
            Ok(job) => Answer {
                job_id: Some(&job.id),
                ok: true,
                sha256: &job.identity.sha256,
                problems: &[],
                warnings: job.report.warnings(),
            },
            Err(refusal) => Answer {
                job_id: refusal.identity.job_id.as_deref(),
                ok: false,
                sha256: &refusal.identity.sha256,
                problems: refusal.rejection.problems(),
                warnings: &[],
            },
        }
    }
}

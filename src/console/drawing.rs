//! Pictures of pages, made in a typesetter of the console's own: the pages of what is stored, and
//! the proof of what was refused.
//!
//! A job is somebody else's data: it is laid out only in a confined process, with the limits of
//! the settings. The process is started when somebody first looks. If we crash here, nothing was
//! kept.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;

use crate::attachment::attachment;
use crate::config::{Format, Settings};
use crate::job;
use crate::problem::{Failure, Outage, Problem};
use crate::report::Editions;
use crate::store::{Key, Store};
use crate::typesetter::proof::{self, Draft, Proof};
use crate::typesetter::{DATA, Edition, Manuscript, Pictures, Pool, Ppi, Program, Templates};

/// Pixels per inch of the pictures.
const PPI: u16 = 110;
/// What was drawn lately and is kept.
const KEPT: usize = 12;

/// What was drawn of a job.
#[derive(Debug)]
pub(super) enum Drawn {
    /// The pages of what is stored, as PNG.
    Pages(Vec<Vec<u8>>),
    /// The problems of what was refused, and its proof, where anything could be laid out. A mark
    /// names a problem by its place.
    Proof(Vec<Problem>, Option<Proof>),
}

impl Drawn {
    /// The picture of a page, from 1.
    pub(super) fn picture(&self, number: usize) -> Option<&[u8]> {
        let index = number.checked_sub(1)?;
        match self {
            Drawn::Pages(pages) => pages.get(index).map(Vec::as_slice),
            Drawn::Proof(_, proof) => {
                let page = proof.as_ref()?.pages.get(index)?;
                Some(&page.picture)
            }
        }
    }
}

/// Whoever draws.
pub(super) struct Drawing {
    pub(super) editions: Editions,
    pub(super) templates: Templates,
    settings: Settings,
    pool: OnceCell<Pool>,
    store: OnceCell<Option<Store>>,
    drawn: Mutex<VecDeque<(String, Arc<Drawn>)>>,
}

impl std::fmt::Debug for Drawing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Drawing").finish_non_exhaustive()
    }
}

impl Drawing {
    /// Reads the templates.
    ///
    /// # Errors
    /// When they are wrong.
    pub(super) fn new(settings: &Settings) -> Result<Drawing, Outage> {
        let templates = Templates::load(settings.templates.folder())?;
        let mut settings = settings.clone();
        settings.render.threads = 1;
        Ok(Drawing {
            editions: templates.forms(),
            templates,
            settings,
            pool: OnceCell::new(),
            store: OnceCell::new(),
            drawn: Mutex::default(),
        })
    }

    async fn pool(&self) -> Result<&Pool, Outage> {
        let start = async || Pool::start(&self.settings, Program::this()?).await;
        self.pool.get_or_try_init(start).await
    }

    /// A file of a completed job, by what its name ends in; none, when it is not in this store.
    ///
    /// # Errors
    /// When the store does not answer.
    pub(super) async fn stored(
        &self,
        event: &serde_json::Value,
        ending: &str,
    ) -> Result<Option<Vec<u8>>, Outage> {
        let data = &event["data"];
        let template = data["template"].as_str();
        let year = data["year"].as_u64().and_then(|it| u16::try_from(it).ok());
        let job_id = data["job_id"].as_str();
        let (Some(template), Some(year), Some(job_id)) = (template, year, job_id) else {
            return Ok(None);
        };
        let open = async || Store::visit(&self.settings.store);
        let Some(store) = self.store.get_or_try_init(open).await? else {
            return Ok(None);
        };
        let key = Key::new(template, year, job_id);
        store.object(&key, ending).await
    }

    /// The proof of a job that was refused for these problems; without any they are found anew.
    ///
    /// # Errors
    /// When no typesetter is to be had.
    pub(super) async fn proof(
        &self,
        name: &str,
        body: &[u8],
        problems: &[Problem],
    ) -> Result<Arc<Drawn>, Outage> {
        if let Some(drawn) = self.kept(name) {
            return Ok(drawn);
        }
        let limits = &self.settings.limits;
        let Draft { problems, sheet } = proof::draft(body, problems, limits, &self.editions);
        let proof = match &sheet {
            None => None,
            Some(sheet) => match self.pool().await?.proof(sheet, pictures()).await {
                Ok(proof) => Some(proof),
                Err(Failure::Rejected(_)) => None,
                Err(Failure::Outage(outage)) => return Err(outage),
            },
        };
        Ok(self.keep(name, Drawn::Proof(problems, proof)))
    }

    /// The pages of a completed job, set again from what its PDF has in it; none, when it is not
    /// in this store, or this build sets it no more.
    ///
    /// # Errors
    /// When the store does not answer, or no typesetter is to be had.
    pub(super) async fn pages(
        &self,
        name: &str,
        event: &serde_json::Value,
    ) -> Result<Option<Arc<Drawn>>, Outage> {
        if let Some(drawn) = self.kept(name) {
            return Ok(Some(drawn));
        }
        let pdf = self.stored(event, Format::Pdf.as_str()).await?;
        let data = pdf.and_then(|pdf| attachment(&pdf, DATA).ok());
        let data = data.and_then(|data| String::from_utf8(data).ok());
        let Some(data) = data else { return Ok(None) };
        let limits = &self.settings.limits;
        let (id, template) = (&event["data"]["job_id"], &event["data"]["template"]);
        let job = format!(
            "{{\"job_id\":{id},\"template\":{template},\"on_violation\":\"warn\",\"data\":{data}}}"
        );
        let Ok(job) = job::read(job.as_bytes(), None, limits, &self.editions) else {
            return Ok(None);
        };
        self.set(name, &Manuscript::of(&job)).await
    }

    /// The pages of a template's sample; none, when it can't be set.
    ///
    /// # Errors
    /// When no typesetter is to be had.
    pub(super) async fn sample(&self, edition: &Edition) -> Result<Option<Arc<Drawn>>, Outage> {
        let name = format!("sample {}", edition.name);
        if let Some(drawn) = self.kept(&name) {
            return Ok(Some(drawn));
        }
        let limits = &self.settings.limits;
        let sample = self.templates.sample(edition)?;
        match job::read(sample, None, limits, &self.editions) {
            Ok(job) => self.set(&name, &Manuscript::of(&job)).await,
            Err(_) => Ok(None),
        }
    }

    async fn set(&self, name: &str, manuscript: &Manuscript) -> Result<Option<Arc<Drawn>>, Outage> {
        match self.pool().await?.picture(manuscript, pictures()).await {
            Ok(pages) => Ok(Some(self.keep(name, Drawn::Pages(pages)))),
            Err(Failure::Rejected(_)) => Ok(None),
            Err(Failure::Outage(outage)) => Err(outage),
        }
    }

    /// What was drawn lately under a name.
    pub(super) fn kept(&self, name: &str) -> Option<Arc<Drawn>> {
        let drawn = self.drawn.lock().unwrap_or_else(PoisonError::into_inner);
        let found = drawn.iter().find(|(kept, _)| kept == name);
        found.map(|(_, drawn)| Arc::clone(drawn))
    }

    fn keep(&self, name: &str, drawn: Drawn) -> Arc<Drawn> {
        let drawn = Arc::new(drawn);
        let mut all = self.drawn.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(kept, _)| kept != name);
        if all.len() == KEPT {
            all.pop_front();
        }
        all.push_back((name.to_owned(), Arc::clone(&drawn)));
        drawn
    }
}

fn pictures() -> Pictures {
    Pictures::Png(Ppi::new(PPI).unwrap_or_default())
}

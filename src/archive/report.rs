//! One report: from its event to its files, each held to what was announced.
//!
//! Takes an event of the log and the store, gives a folder with the report's files, synced. Never
//! takes the event's word, nor the manifest's, for what the PDF is. If we crash here, a folder is
//! left that nobody reads, and the next start sweeps it.

use std::fs;
use std::io;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::bag::{entry, metadata};
use super::journal::{Address, Entry, Refused, Report, noted};
use crate::attachment::attachment;
use crate::digest::sha256;
use crate::disk;
use crate::event::{Event, Kind};
use crate::job::is_id;
use crate::problem::{Outage, Part};
use crate::report::Editions;
use crate::report::form::Form;
use crate::store::{Companion, Key, Manifest, Store};
use crate::typesetter::DATA;
use crate::verify::Verifier;

/// An event, as far as it is read here.
#[derive(Debug, Clone, Deserialize)]
struct Head {
    id: String,
    source: String,
    #[serde(rename = "type")]
    kind: String,
    data: Value,
}

/// What an event says.
#[derive(Debug)]
pub(super) enum Told {
    Completed(Announced),
    /// Rejected or failed.
    Refused(Refused),
}

/// A report that was announced as stored.
#[derive(Debug, Clone)]
pub(super) struct Announced {
    pub(super) source: String,
    pub(super) id: String,
    pub(super) address: Address,
    pub(super) sha256: String,
    bytes: u64,
    companions: Vec<Companion>,
    /// The event, as it was published.
    pub(super) body: Vec<u8>,
}

impl Told {
    /// The event, by what no two have.
    pub(super) fn event(&self) -> String {
        match self {
            Told::Completed(Announced { source, id, .. }) => noted(source, id),
            Told::Refused(Refused { source, id, .. }) => noted(source, id),
        }
    }

    /// Reads an event. None, when it is none of ours.
    pub(super) fn read(body: &[u8]) -> Option<Told> {
        let Head {
            id,
            source,
            kind,
            data,
        } = serde_json::from_slice(body).ok()?;
        let text = |pointer: &str| data.pointer(pointer).and_then(Value::as_str);
        let job_id = text("/job_id").unwrap_or_default().to_owned();
        if Kind::named(&kind)? != Kind::Completed {
            let problems = data["problems"].as_array().into_iter().flatten();
            let coded = problems.chain(data.get("error"));
            let mut codes: Vec<String> = coded
                .filter_map(|problem| problem["code"].as_str().map(str::to_owned))
                .collect();
            codes.sort();
            codes.dedup();
            return Some(Told::Refused(Refused {
                source,
                id,
                kind,
                job_id,
                codes,
            }));
        }
        let template = text("/template")?;
        // All three become folders and names of files.
        let (name, edition) = template.split_once('/')?;
        if ![name, edition, &job_id].iter().all(|part| is_id(part)) {
            return None;
        }
        let year = u16::try_from(data["year"].as_u64()?).ok()?;
        let companions = match data.get("companions") {
            Some(companions) => Vec::deserialize(companions).ok()?,
            None => Vec::new(),
        };
        Some(Told::Completed(Announced {
            companions,
            address: (template.to_owned(), year, job_id),
            sha256: text("/artifact/sha256")?.to_owned(),
            bytes: data.pointer("/artifact/bytes")?.as_u64()?,
            source,
            id,
            body: body.to_vec(),
        }))
    }
}

impl Announced {
    /// What a manifest announces, whether its event is still to be had or not: the event is made
    /// from it alone, the same to the byte.
    ///
    /// # Errors
    /// Why it announces nothing.
    pub(super) fn by(manifest: &[u8]) -> Result<Announced, String> {
        let manifest: Manifest = serde_json::from_slice(manifest)
            .map_err(|error| format!("its manifest is none: {error}"))?;
        match Told::read(&Event::completed(&manifest).structured()) {
            Some(Told::Completed(announced)) => Ok(announced),
            _ => Err("its manifest names no result".to_owned()),
        }
    }

    /// The event, by what no two have.
    pub(super) fn event(&self) -> String {
        noted(&self.source, &self.id)
    }

    fn key(&self) -> Key {
        let (template, year, job_id) = &self.address;
        Key::new(template, *year, job_id)
    }
}

/// Where reports come from.
pub(super) struct Source {
    pub(super) store: Store,
    /// Makes each again, where that was asked for.
    pub(super) verifier: Option<Verifier>,
    /// The forms, for what their documents are called.
    pub(super) forms: Editions,
}

/// A report's files; or why it is not what was announced.
type Fetched = Result<(Report, Vec<(String, Vec<u8>)>), String>;

impl Source {
    /// Fetches a report and writes its files into a folder that is not there yet; or says why it
    /// is not what was announced.
    ///
    /// # Errors
    /// When the store does not answer, no typesetter is to be had, or the disk fails.
    pub(super) async fn stage(
        &self,
        announced: &Announced,
        folder: &Path,
    ) -> Result<Result<Report, String>, Outage> {
        let (mut report, files) = match self.fetch(announced).await? {
            Ok(fetched) => fetched,
            Err(why) => return Ok(Err(why)),
        };
        report.files = files
            .iter()
            .map(|(name, bytes)| entry(name, bytes))
            .collect::<Vec<Entry>>();
        let place = folder.to_owned();
        let written = tokio::task::spawn_blocking(move || write(&place, &files)).await;
        let written = written
            .map_err(io::Error::other)
            .and_then(|written| written);
        written.map_err(|error| disk::outage(Part::Disk, "write to", folder, error))?;
        Ok(Ok(report))
    }

    async fn fetch(&self, announced: &Announced) -> Result<Fetched, Outage> {
        let key = announced.key();
        let place = self.store.uri(&self.store.pdf(&key));
        let Some(text) = self.store.object(&key, "json").await? else {
            return Ok(Err(format!("{place} has no manifest beside it")));
        };
        let manifest: Manifest = match serde_json::from_slice(&text) {
            Ok(manifest) => manifest,
            Err(error) => return Ok(Err(format!("the manifest of {place} is none: {error}"))),
        };
        let (stated, (template, year, job_id)) = (&manifest.artifact, &announced.address);
        let same = manifest.template.name == *template
            && manifest.year == *year
            && manifest.job_id == *job_id
            && (&stated.sha256, stated.bytes) == (&announced.sha256, announced.bytes);
        if !same {
            return Ok(Err(format!(
                "the manifest of {place} is of another result than its event: sha256 {}, announced \
                 {}",
                stated.sha256, announced.sha256
            )));
        }
        if manifest.companions != announced.companions {
            return Ok(Err(format!(
                "the manifest of {place} names other companions than its event"
            )));
        }
        let Some(pdf) = self.store.object(&key, "pdf").await? else {
            return Ok(Err(format!("{place} is not there")));
        };
        if (sha256(&pdf), pdf.len() as u64) != (stated.sha256.clone(), stated.bytes) {
            return Ok(Err(format!(
                "{place} was changed after it was stored: sha256 {}, announced {}; restore it from \
                 a backup",
                sha256(&pdf),
                stated.sha256
            )));
        }
        if let Err(why) = self.made_again(&place, &pdf, &manifest, None).await? {
            return Ok(Err(why));
        }
        let issued_on = issued_on(&pdf);
        let metadata = metadata(&manifest, issued_on.as_deref());
        let mut files = vec![
            (format!("{job_id}.event.json"), announced.body.clone()),
            (format!("{job_id}.metadata.xml"), metadata.into_bytes()),
            (format!("{job_id}.pdf"), pdf),
        ];
        for companion in &manifest.companions {
            match self.companion(&key, &manifest, companion).await? {
                Ok(file) => files.push(file),
                Err(why) => return Ok(Err(why)),
            }
        }
        files.push((format!("{job_id}.json"), text));
        let report = Report {
            source: announced.source.clone(),
            id: announced.id.clone(),
            template: template.clone(),
            year: *year,
            job_id: job_id.clone(),
            sha256: announced.sha256.clone(),
            bag: String::new(),
            folder: format!("{}/{year}/{}", super::bag::REPORTS, self.category(template)),
            files: Vec::new(),
            issued_on,
            agency: manifest.agency,
            title: manifest.title,
            completed_at: manifest.completed_at,
        };
        Ok(Ok((report, files)))
    }

    /// Makes a file again, where that was asked for: a PDF, or what its manifest names beside it.
    async fn made_again(
        &self,
        place: &str,
        file: &[u8],
        manifest: &Manifest,
        companion: Option<&Companion>,
    ) -> Result<Result<(), String>, Outage> {
        let Some(verifier) = &self.verifier else {
            return Ok(Ok(()));
        };
        let finding = verifier.verify(file).await?;
        let agrees = finding.agrees_with(manifest, companion);
        if finding.is_good(Some(agrees.is_ok())) {
            return Ok(Ok(()));
        }
        let differs = agrees.err().unwrap_or_default().join("; ");
        Ok(Err(format!(
            "{place} is not what banshi made: {} {differs}",
            finding.message
        )))
    }

    /// What stands beside the PDF under the same name with another ending.
    async fn companion(
        &self,
        key: &Key,
        manifest: &Manifest,
        companion: &Companion,
    ) -> Result<Result<(String, Vec<u8>), String>, Outage> {
        let job_id = &manifest.job_id;
        let Companion {
            uri,
            sha256: announced,
            ..
        } = companion;
        let name = uri.rsplit('/').next().unwrap_or_default();
        let ending = name
            .strip_prefix(job_id.as_str())
            .and_then(|it| it.strip_prefix('.'));
        let Some(ending) = ending.filter(|ending| is_id(ending)) else {
            return Ok(Err(format!(
                "{uri} is named beside {job_id}.pdf, and is not"
            )));
        };
        let Some(bytes) = self.store.object(key, ending).await? else {
            return Ok(Err(format!("{uri} is not there")));
        };
        if sha256(&bytes) != *announced {
            return Ok(Err(format!("{uri} was changed after it was stored")));
        }
        if ["ofd", "signed.pdf"].contains(&ending) {
            let again = self.made_again(uri, &bytes, manifest, Some(companion));
            if let Err(why) = again.await? {
                return Ok(Err(why));
            }
        }
        Ok(Ok((name.to_owned(), bytes)))
    }

    /// 类别: what the form calls its documents, with the edition where another has the same name for
    /// those of the same years, as a `job_id` is one of an edition's only; of a form that this build
    /// does not know, or that has no name for them, the template's name and edition.
    fn category(&self, template: &str) -> String {
        let (name, edition) = template.split_once('/').unwrap_or((template, ""));
        let called = |form: &Form| {
            // 「{agency}{year}年政府信息公开工作年度报告」: what stands after the last brace.
            let called = form.title.rsplit('}').next().unwrap_or_default();
            let called = called.trim_start_matches("年度").trim_start_matches('年');
            let is_name = called.chars().all(char::is_alphanumeric) && !called.is_empty();
            is_name.then(|| called.to_owned())
        };
        let Some((form, title)) = self
            .forms
            .get(template)
            .and_then(|form| Some((form, called(form)?)))
        else {
            return format!("{name}-{edition}");
        };
        let mut others = self.forms.iter().filter(|(other, it)| {
            *other != template
                && other.split('/').next() == Some(name)
                && it.years.start() <= form.years.end()
                && form.years.start() <= it.years.end()
                && called(it).as_ref() == Some(&title)
        });
        match others.next() {
            None => title,
            Some(_) => format!("{title}-{edition}"),
        }
    }
}

/// 成文日期, as the data in the PDF say it.
fn issued_on(pdf: &[u8]) -> Option<String> {
    let data = attachment(pdf, DATA).ok()?;
    let data: Value = serde_json::from_slice(&data).ok()?;
    let day = data["issued_on"].as_str()?;
    let is_day = day.len() == 10 && day.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    is_day.then(|| day.to_owned())
}

fn write(folder: &Path, files: &[(String, Vec<u8>)]) -> io::Result<()> {
    // What is left of a try that was broken off.
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::create_dir(folder)?;
    for (name, bytes) in files {
        disk::stage(&folder.join(name), bytes)?;
    }
    disk::sync_dir(folder)
}

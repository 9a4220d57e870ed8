//! What is published already, back as a job: a PDF of banshi, a report as text or as a web page, a
//! workbook.
//!
//! Takes the bytes of any file, gives an [`Imported`] job with a remark for all that could not be
//! read or was assumed, or says why nothing can be made of it. Never reads a missing figure as zero:
//! what could not be read is not in the job, and `check` then asks for it. A file is data whoever
//! made it: sizes, lines, cells and nesting have limits. If we crash here, nothing has happened yet.

mod decode;
mod figure;
mod html;
mod page;
mod pdf;
mod published;
mod table;
mod text;
mod title;
mod words;
pub mod workbook;

use crate::digest;
use crate::job::is_id;
use crate::report::Editions;

pub use text::text;

/// The largest file that is read, in bytes.
pub const LARGEST: u64 = 64 << 20;

/// What was read from a file that is not a job.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// The job, ready for `check` and `enqueue` but for what the remarks say.
    pub job: serde_json::Value,
    /// What could not be read or was assumed.
    pub remarks: Vec<Remark>,
}

/// One thing that could not be read or was assumed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// Where: `表三!D7`, `line 42`.
    pub place: String,
    /// Which of the two it is.
    pub kind: RemarkKind,
    /// What, for people, in English.
    pub en: String,
    /// Where and what, for people, in Chinese.
    pub zh: String,
}

/// The kinds of [`Remark`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemarkKind {
    /// It stands in the file, or should, and is not in the job.
    Unread,
    /// It is in the job, and does not stand in the file like this.
    Assumed,
}

impl Remark {
    /// Something that is not in the job.
    pub fn unread(
        place: impl Into<String>,
        en: impl Into<String>,
        zh: impl Into<String>,
    ) -> Remark {
        Remark {
            place: place.into(),
            kind: RemarkKind::Unread,
            en: en.into(),
            zh: zh.into(),
        }
    }

    /// Something that is in the job as it says.
    pub fn assumed(
        place: impl Into<String>,
        en: impl Into<String>,
        zh: impl Into<String>,
    ) -> Remark {
        Remark {
            kind: RemarkKind::Assumed,
            ..Remark::unread(place, en, zh)
        }
    }
}

/// Something that was read, and what it was taken for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// Where it stands, as in a [`Remark`].
    pub place: String,
    /// JSON Pointer into the job; nothing for what is left out as no part of the report.
    pub pointer: String,
    /// The form's words for it.
    pub label: String,
    /// The text, as it stands there.
    pub text: String,
}

/// A job, and how it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// The job.
    pub imported: Imported,
    /// What was read, where the kind of file has places of its own.
    pub taken: Vec<Taken>,
}

/// Why nothing can be made of a file, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{en}\n{zh}")]
pub struct Unusable {
    /// In English.
    pub en: String,
    /// In Chinese.
    pub zh: String,
}

impl Unusable {
    fn new(en: impl Into<String>, zh: impl Into<String>) -> Unusable {
        let (en, zh) = (en.into(), zh.into());
        Unusable { en, zh }
    }
}

/// Reads a file. `job_id` is the one that the job is to have; `stem` is the file's name without its
/// ending, which becomes the id where neither that nor the file says any.
///
/// # Errors
/// Why nothing can be made of it.
pub fn read(
    bytes: &[u8],
    job_id: Option<&str>,
    stem: Option<&str>,
    editions: &Editions,
) -> Result<Reading, Unusable> {
    if bytes.len() as u64 > LARGEST {
        let most = LARGEST >> 20;
        return Err(Unusable::new(
            format!("the file is larger than {most} MiB: no report is"),
            format!("文件超过{most} MiB，不会是年度报告"),
        ));
    }
    let mut reading = match decode::kind(bytes)? {
        decode::Kind::Pdf => alone(pdf::read(bytes)?),
        decode::Kind::Zip => alone(of_workbook(bytes, editions)?),
        decode::Kind::Html(text) => published::read(&html::page(&text)?, editions)?,
        decode::Kind::Text(text) => published::read(&page::of_text(&text)?, editions)?,
    };
    identify(&mut reading.imported, job_id, stem);
    Ok(reading)
}

/// A workbook that `banshi form` made. Its remarks name their cell in both languages.
fn of_workbook(bytes: &[u8], editions: &Editions) -> Result<Imported, Unusable> {
    let mut imported = workbook::workbook(bytes, editions)
        .map_err(|remark| Unusable::new(remark.en, remark.zh))?;
    for remark in &mut imported.remarks {
        remark.zh = format!("{}：{}", remark.place, remark.zh);
    }
    Ok(imported)
}

/// What was read of a file whose parts have no places.
fn alone(imported: Imported) -> Reading {
    Reading {
        imported,
        taken: Vec::new(),
    }
}

/// Gives the job its id: the one asked for, the file's own, or one made of the file's name or of
/// what was read.
fn identify(imported: &mut Imported, job_id: Option<&str>, stem: Option<&str>) {
    let job = &mut imported.job;
    if let Some(id) = job_id {
        job["job_id"] = id.into();
        return;
    }
    if job["job_id"].is_string() {
        return;
    }
    let id = match stem.filter(|stem| is_id(stem)) {
        Some(stem) => stem.to_owned(),
        None => {
            let template = job["template"].as_str().unwrap_or_default();
            let sha256 = digest::sha256(job["data"].to_string().as_bytes());
            format!("{}-{:.12}", template.replace('/', "-"), sha256)
        }
    };
    imported.remarks.push(Remark {
        place: "/job_id".to_owned(),
        kind: RemarkKind::Assumed,
        en: format!("what is published has no job_id: {id} was made up; --job-id gives another"),
        zh: format!("/job_id：公开文本中没有job_id，已取为{id}；可用--job-id另行指定"),
    });
    job["job_id"] = id.into();
}

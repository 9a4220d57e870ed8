//! What the typesetter gets of a job: finished values, nothing to compute.

use super::{Edition, Manuscript, Templates};
use crate::job::Job;
use crate::report::{Block, Cell, Content, Report, block_texts, view};

impl Manuscript {
    /// The manuscript of a job.
    pub fn of(job: &Job) -> Manuscript {
        let report = job.report();
        let title = title(report);
        Manuscript {
            job_id: job.id.clone(),
            template: job.template.clone(),
            ident: job.identity.sha256.clone(),
            view: view::view(report).to_string(),
            data: job.data.clone(),
            texts: texts(report),
            description: format!("{title}，{}", report.filled(&report.form.description)),
            title,
            author: report.author().to_owned(),
            keywords: {
                let keywords = report.form.keywords.iter();
                keywords.map(|keyword| report.filled(keyword)).collect()
            },
            date: match report.date() {
                Some(date) => (date.year(), date.month().into(), date.day()),
                None => (report.year().into(), 12, 31),
            },
            companions: Vec::new(),
            sealed: false,
            made: None,
        }
    }

    /// The sample that an edition comes with, as its template reads it. It is no job, and no limit
    /// of a deployment holds for it.
    pub fn sample(templates: &Templates, edition: &Edition) -> Manuscript {
        let view = templates.file(&edition.report()).unwrap_or_default();
        Manuscript {
            template: edition.name.clone(),
            view: String::from_utf8_lossy(view).into_owned(),
            data: "{}".to_owned(),
            title: edition.name.clone(),
            author: "banshi".to_owned(),
            date: (2021, 1, 1),
            ..Manuscript::default()
        }
    }
}

/// The title on one line, as metadata and manifest have it.
pub fn title(report: &Report) -> String {
    report.title().replace(['\r', '\n'], "")
}

/// JSON Pointer and text of everything of the sender's that the page shows.
pub fn texts(report: &Report) -> Vec<(String, String)> {
    let mut texts = field_texts(report, "/data", |_| None);
    let cells = report.form.cells.iter().zip(&report.cells);
    texts.extend(cells.filter_map(|(place, cell)| match cell {
        Cell::Number {
            remark: Some(remark),
            ..
        } => Some((format!("/data{}/remark", place.pointer), remark.clone())),
        Cell::Text(text) => Some((format!("/data{}", place.pointer), text.clone())),
        _ => None,
    }));
    texts
}

/// The texts of a report's fields in their order, without those of its cells, by their pointers
/// below `root`; of a field that is no text, what `as_text` makes of it.
pub(super) fn field_texts(
    report: &Report,
    root: &str,
    as_text: impl Fn(&Content) -> Option<String>,
) -> Vec<(String, String)> {
    let mut texts = Vec::new();
    let blocks = |texts: &mut Vec<(String, String)>, path: &str, blocks: &[Block]| {
        for (index, block) in blocks.iter().enumerate() {
            for (pointer, text) in block_texts(block) {
                texts.push((format!("{path}/{index}{pointer}"), text.to_owned()));
            }
        }
    };
    for (field, content) in report.form.fields.iter().zip(&report.fields) {
        let path = format!("{root}/{}", field.field);
        match content {
            Content::Absent | Content::Year(_) | Content::Date(_) => {
                texts.extend(as_text(content).map(|text| (path, text)));
            }
            Content::Text(text) => texts.push((path, text.clone())),
            Content::Lines(lines) => {
                let lines = lines.iter().enumerate();
                texts.extend(lines.map(|(index, line)| (format!("{path}/{index}"), line.clone())));
            }
            Content::Blocks(list) => blocks(&mut texts, &path, list),
            Content::Parts(parts) => {
                for (index, (title, list)) in parts.iter().enumerate() {
                    texts.push((format!("{path}/{index}/title"), title.clone()));
                    blocks(&mut texts, &format!("{path}/{index}/blocks"), list);
                }
            }
            Content::Table {
                introduction,
                notes,
            } => {
                blocks(&mut texts, &format!("{path}/introduction"), introduction);
                let notes = notes.iter().enumerate();
                texts.extend(
                    notes.map(|(index, note)| (format!("{path}/notes/{index}"), note.clone())),
                );
            }
        }
    }
    texts
}

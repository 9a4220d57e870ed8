//! What the typesetter gets of a job: finished values, nothing to compute.

use super::{Edition, Manuscript, Templates};
use crate::job::Job;
use crate::report::{self, Report, Value, block_texts, view};

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
            description: format!("{title}，按{}规定的格式编制", report.form.notice),
            title,
            author: report.agency.clone(),
            keywords: vec![
                "政府信息公开".to_owned(),
                "年度报告".to_owned(),
                report.year.to_string(),
            ],
            date: match report.issued_on {
                Some(date) => (date.year(), date.month().into(), date.day()),
                None => (report.year.into(), 12, 31),
            },
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

/// Every text of the sender's that the page shows.
fn texts(report: &Report) -> Vec<(String, String)> {
    let mut texts = vec![("/data/agency".to_owned(), report.agency.clone())];
    if let Some(title) = &report.chosen_title {
        texts.push(("/data/title".to_owned(), title.clone()));
    }
    for (name, blocks) in [
        ("introduction", &report.introduction),
        ("overview", &report.overview),
        (
            "proactive_disclosure/introduction",
            &report.disclosure.introduction,
        ),
        ("requests/introduction", &report.requests.introduction),
        (
            "review_and_litigation/introduction",
            &report.review.introduction,
        ),
        (
            "problems_and_improvements",
            &report.problems_and_improvements,
        ),
        ("other_matters", &report.other_matters),
    ] {
        for (index, block) in blocks.iter().enumerate() {
            for (pointer, text) in block_texts(block) {
                texts.push((format!("/data/{name}/{index}{pointer}"), text.to_owned()));
            }
        }
    }
    for (name, notes) in [
        ("proactive_disclosure", &report.disclosure.notes),
        ("requests", &report.requests.notes),
        ("review_and_litigation", &report.review.notes),
    ] {
        for (index, note) in notes.iter().enumerate() {
            texts.push((format!("/data/{name}/notes/{index}"), note.clone()));
        }
    }
    texts.extend(remarks(report));
    texts
}

/// The remarks in the cells of the official tables.
fn remarks(report: &Report) -> Vec<(String, String)> {
    use report::Cell;
    use report::form::{APPLICANTS, RESULTS, REVIEW_GROUPS};
    let mut found = Vec::new();
    let mut note = |pointer: String, cell: &Cell| {
        if let Cell::Number {
            remark: Some(remark),
            ..
        } = cell
        {
            found.push((format!("/data/{pointer}/remark"), remark.clone()));
        }
    };
    for ((band, item, figure), value) in report.form.figures().zip(&report.disclosure.figures) {
        if let Value::Number(cell) = value {
            let (band, item, figure) = (band.field, item.field, figure.field);
            note(format!("proactive_disclosure/{band}/{item}/{figure}"), cell);
        }
    }
    for (place, row) in report.form.rows().iter().zip(&report.requests.rows) {
        for ((field, _), cell) in APPLICANTS.iter().zip(row) {
            note(format!("requests{}/{field}", place.pointer), cell);
        }
    }
    for ((pointer, _), group) in REVIEW_GROUPS.iter().zip(&report.review.groups) {
        for ((field, _), cell) in RESULTS.iter().zip(group) {
            note(format!("review_and_litigation{pointer}/{field}"), cell);
        }
    }
    found
}

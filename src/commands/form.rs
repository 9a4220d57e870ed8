//! `banshi form`: a workbook for a clerk to fill in.

use std::collections::BTreeMap;
use std::path::Path;

use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::files::{read_file, write_file};
use super::output::{line, print_stderr};
use super::{Error, Exit, FormArgs};
use crate::config::{Limits, Settings};
use crate::job;
use crate::problem::{Outage, Part};
use crate::report::{Cell, Editions, rules};
use crate::typesetter::{DATA, PROVENANCE, Templates, Unattached, attached};
use crate::workbook;

pub fn form(settings: &Settings, args: &FormArgs) -> Result<Exit, Error> {
    let forms = Templates::load(settings.templates.folder())?.forms();
    let job = match &args.job {
        Some(path) => read_job(&read_file(path)?, &settings.limits, &forms)?,
        None => json!({}),
    };
    let of_job = job.get("template").and_then(Value::as_str);
    let name = match (&args.template, of_job) {
        (Some(name), Some(other)) if name != other => {
            return Err(Error::Usage(format!(
                "the job is for {other}, not for {name}: leave --template out"
            )));
        }
        (Some(name), _) => name,
        (None, other) => other.unwrap_or_default(),
    };
    let Some(form) = forms.get(name) else {
        let known: Vec<&str> = forms.keys().map(String::as_str).collect();
        let known = known.join(", ");
        return Err(Error::Usage(format!(
            "there is no template {name}; there are: {known}"
        )));
    };
    let last = match &args.prior {
        Some(path) => last_year(path, &settings.limits, &forms)?,
        None => BTreeMap::new(),
    };
    let made = workbook::make(name, form, &job, &last)
        .map_err(|error| Outage::because(Part::Templates, "cannot make the workbook", error))?;
    write_file(&args.output, &made.bytes)?;
    for left in &made.left {
        print_stderr(format_args!(
            "{left}: the workbook does not hold it as it is / 工作簿未能按原样载入"
        ));
    }
    let (name, bytes) = (args.output.display(), made.bytes.len());
    line(format_args!("wrote {name}: {bytes} bytes"))?;
    Ok(Exit::Done)
}

/// A job, right or wrong, as long as it is one of a form that there is.
fn read_job(bytes: &[u8], limits: &Limits, forms: &Editions) -> Result<Value, Error> {
    let legible = job::legible(bytes, limits, forms).is_some();
    match serde_json::from_slice(bytes) {
        Ok(job) if legible => Ok(job),
        _ => Err(refused(bytes, limits, forms)),
    }
}

/// Why a file is no job.
fn refused(bytes: &[u8], limits: &Limits, forms: &Editions) -> Error {
    match job::read(bytes, None, limits, forms) {
        Err(refusal) => Error::Rejected(refusal.rejection),
        Ok(job) => Error::Usage(format!("the job {} cannot be read", job.id)),
    }
}

/// The figures of last year's report by their pointers, out of its job or its PDF.
fn last_year(
    path: &Path,
    limits: &Limits,
    forms: &Editions,
) -> Result<BTreeMap<String, Decimal>, Error> {
    let mut bytes = read_file(path)?;
    if bytes.starts_with(b"%PDF-") {
        bytes = job_of(&bytes)
            .map_err(|why| Error::Usage(format!("{}: {why}; give the job", path.display())))?;
    }
    let Some(legible) = job::legible(&bytes, limits, forms) else {
        return Err(refused(&bytes, limits, forms));
    };
    let (_, totals) = rules::trace(&legible.report, &legible.prior);
    let report = &legible.report;
    let figures = report.form.cells.iter().zip(&report.cells).zip(totals);
    let figures = figures.filter_map(|((place, cell), total)| {
        // What was blank is not known to have been 0.
        let blank = matches!(cell, Cell::Blank | Cell::Mark(_) | Cell::Unread);
        let total = total.filter(|_| place.kind.is_figure() && !blank)?;
        Some((place.pointer.clone(), total))
    });
    Ok(figures.collect())
}

/// The job that a PDF was made of, as far as it is attached.
fn job_of(pdf: &[u8]) -> Result<Vec<u8>, String> {
    let (made, data) = attached(pdf).map_err(|why| match why {
        Unattached::Missing(name, why) => format!("{name}: {why}"),
        Unattached::Unknown(error) => format!("{PROVENANCE}: {error}"),
    })?;
    let data = serde_json::from_slice::<Value>(&data);
    let data = data.map_err(|error| format!("{DATA}: {error}"))?;
    let job = json!({ "job_id": made.job.id, "template": made.template.name, "data": data });
    Ok(job.to_string().into_bytes())
}

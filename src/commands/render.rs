//! `banshi render` and `banshi check`: one job, no queue.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::{CheckArgs, Error, Exit, Format, RenderArgs, print_problems};
use crate::config::Settings;
use crate::digest;
use crate::job::{self, Job, Refusal};
use crate::problem::{Outage, Part};
use crate::typesetter::{Manuscript, Templates, Typesetter};

pub fn render(settings: &Settings, args: &RenderArgs) -> Result<Exit, Error> {
    let typesetter = Typesetter::load(settings)?;
    let bytes = read_file(&args.job)?;
    let job = match job::read(&bytes, None, &settings.limits, &typesetter.editions()?) {
        Ok(job) => job,
        Err(refusal) => return Err(Error::Rejected(refusal.rejection)),
    };
    print_problems(job.report.warnings());
    let pdf = typesetter.typeset(&Manuscript::of(&job))?;
    let path = args
        .output
        .clone()
        .unwrap_or_else(|| PathBuf::from(format!("{}.pdf", job.id)));
    write_file(&path, &pdf.bytes)?;
    let (pages, bytes, sha256) = (pdf.pages, pdf.bytes.len(), digest::sha256(&pdf.bytes));
    let plural = if pages == 1 { "" } else { "s" };
    writeln!(
        std::io::stdout(),
        "wrote {}: {pages} page{plural}, {bytes} bytes, sha256 {sha256}",
        path.display()
    )?;
    Ok(Exit::Done)
}

pub fn check(settings: &Settings, args: &CheckArgs) -> Result<Exit, Error> {
    let templates = Templates::load(settings.templates.folder())?;
    let editions = templates.forms()?;
    let mut exit = Exit::Done;
    for path in &args.jobs {
        let bytes = read_file(path)?;
        let checked = job::read(&bytes, None, &settings.limits, &editions);
        if checked.is_err() {
            exit = Exit::JobAtFault;
        }
        match args.format {
            Format::Text => say(path, &checked)?,
            Format::Json => writeln!(std::io::stdout(), "{}", as_json(path, &checked))?,
        }
    }
    Ok(exit)
}

fn say(path: &Path, checked: &Result<Job, Refusal>) -> Result<(), Error> {
    let name = path.display();
    match checked {
        Ok(job) => {
            let count = job.report.warnings().len();
            let warnings = match count {
                0 => String::new(),
                1 => ", 1 warning".to_owned(),
                _ => format!(", {count} warnings"),
            };
            writeln!(std::io::stdout(), "{name}: ok{warnings}")?;
            print_problems(job.report.warnings());
        }
        Err(refusal) => {
            let count = refusal.rejection.problems().len();
            let plural = if count == 1 { "" } else { "s" };
            writeln!(
                std::io::stdout(),
                "{name}: rejected, {count} problem{plural}"
            )?;
            print_problems(refusal.rejection.problems());
        }
    }
    Ok(())
}

fn as_json(path: &Path, checked: &Result<Job, Refusal>) -> serde_json::Value {
    match checked {
        Ok(job) => json!({
            "file": path.display().to_string(),
            "job_id": job.id,
            "ok": true,
            "sha256": job.identity.sha256,
            "problems": [],
            "warnings": job.report.warnings(),
        }),
        Err(refusal) => json!({
            "file": path.display().to_string(),
            "job_id": refusal.identity.job_id,
            "ok": false,
            "sha256": refusal.identity.sha256,
            "problems": refusal.rejection.problems(),
            "warnings": [],
        }),
    }
}

/// The bytes of a file, or of standard input for `-`.
pub fn read_file(path: &Path) -> Result<Vec<u8>, Outage> {
    let read = if path == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        std::fs::read(path)
    };
    read.map_err(|e| Outage::because(Part::Disk, format!("cannot read {}", path.display()), e))
}

/// Writes a file whole or not at all: beside its place, then renamed into it.
fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Outage> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let write = || {
        let mut file = tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        // A temporary file is its owner's only; a document is for those who may read the folder.
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            file.as_file()
                .set_permissions(std::fs::Permissions::from_mode(0o644))?;
        }
        file.persist(path)?;
        Ok::<_, std::io::Error>(())
    };
    write().map_err(|e| Outage::because(Part::Disk, format!("cannot write {}", path.display()), e))
}

//! `banshi render` and `banshi check`: one job, no queue.

use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use futures_util::stream::{self, StreamExt as _};
use serde_json::json;

use super::output::{json as print_json, line, or_unread, progress};
use super::{CheckArgs, Error, Exit, Format, Medium, RenderArgs, block_on, print_problems};
use crate::config::Settings;
use crate::digest;
use crate::job::{self, Job, Refusal};
use crate::problem::{Failure, Outage, Part, Rejection};
use crate::typesetter::{Manuscript, Pictures, Pool, Program, Typesetter};

pub fn render(settings: &Settings, args: &RenderArgs) -> Result<Exit, Error> {
    let pictures = pictures(args)?;
    let typesetter = Typesetter::load(settings)?;
    let bytes = read_file(&args.job)?;
    let job = match job::read(&bytes, None, &settings.limits, &typesetter.editions()) {
        Ok(job) => job,
        Err(refusal) => return Err(Error::Rejected(refusal.rejection)),
    };
    print_problems(job.report.warnings());
    let manuscript = Manuscript::of(&job);
    let Some(pictures) = pictures else {
        let pdf = typesetter.typeset(&manuscript)?;
        let path = target(args, &job.id)?;
        write_file(&path, &pdf.bytes)?;
        let (pages, bytes, sha256) = (pdf.pages, pdf.bytes.len(), digest::sha256(&pdf.bytes));
        let plural = if pages == 1 { "" } else { "s" };
        let name = path.display();
        line(format_args!(
            "wrote {name}: {pages} page{plural}, {bytes} bytes, sha256 {sha256}"
        ))?;
        return Ok(Exit::Done);
    };
    let pages = typesetter.picture(&manuscript, pictures)?;
    let path = target(args, &job.id)?;
    for (index, bytes) in pages.iter().enumerate() {
        let path = page(&path, index + 1, pages.len(), args.format);
        write_file(&path, bytes)?;
        let (name, number, bytes) = (path.display(), index + 1, bytes.len());
        let all = pages.len();
        line(format_args!(
            "wrote {name}: page {number} of {all}, {bytes} bytes"
        ))?;
    }
    Ok(Exit::Done)
}

/// Which pictures are asked for; none for the PDF. Finds what does not go together before
/// anything is loaded.
fn pictures(args: &RenderArgs) -> Result<Option<Pictures>, Error> {
    if args.ppi.is_some() && args.format != Medium::Png {
        let text = "--ppi is for --format png: the others have no pixels".to_owned();
        return Err(Error::Usage(text));
    }
    let ending = args.output.as_deref().and_then(Path::extension);
    for other in Medium::ALL {
        let named = ending.is_some_and(|ending| ending.eq_ignore_ascii_case(other.ending()));
        if named && other != args.format && !args.output.as_deref().is_some_and(is_folder) {
            return Err(Error::Usage(format!(
                "-o names a .{} file, and what is written is {}; add --format {0}, or name another \
                 file",
                other.ending(),
                args.format.ending()
            )));
        }
    }
    Ok(match args.format {
        Medium::Pdf => None,
        Medium::Png => Some(Pictures::Png(args.ppi.unwrap_or_default())),
        Medium::Svg => Some(Pictures::Svg),
    })
}

/// Where the file goes, or the files of the pages but for their numbers. Makes the folder.
fn target(args: &RenderArgs, id: &str) -> Result<PathBuf, Outage> {
    let name = format!("{id}.{}", args.format.ending());
    let Some(output) = &args.output else {
        return Ok(PathBuf::from(name));
    };
    if !is_folder(output) {
        return Ok(output.clone());
    }
    make_folder(output)?;
    Ok(output.join(name))
}

/// Makes a folder and those above it, unless they are there.
pub fn make_folder(path: &Path) -> Result<(), Outage> {
    std::fs::create_dir_all(path).map_err(|e| {
        let text = format!("cannot make the folder {}", path.display());
        Outage::because(Part::Disk, text, e)
    })
}

/// Whether `-o` names a folder: it is one, or says so with a separator at its end.
fn is_folder(path: &Path) -> bool {
    let text = path.as_os_str().to_string_lossy();
    text.ends_with(std::path::is_separator) || path.is_dir()
}

/// The file of a page: its number before the ending, with zeros so that names sort as the pages.
fn page(path: &Path, number: usize, pages: usize, medium: Medium) -> PathBuf {
    let ending = medium.ending();
    let own = path
        .extension()
        .is_some_and(|own| own.eq_ignore_ascii_case(ending));
    let stem = if own {
        path.file_stem()
    } else {
        path.file_name()
    };
    let stem = stem.unwrap_or_default().to_string_lossy();
    let width = pages.to_string().len();
    path.with_file_name(format!("{stem}-{number:0width$}.{ending}"))
}

pub fn check(settings: &Settings, args: &CheckArgs) -> Result<Exit, Error> {
    let typesetter = Typesetter::load(settings)?;
    let editions = typesetter.editions();
    let read = |bytes: &[u8]| {
        let job = job::read(bytes, None, &settings.limits, &editions)?;
        match typesetter.undrawable(&Manuscript::of(&job)) {
            Some(rejection) => Err(refused(job, rejection)),
            None => Ok(job),
        }
    };
    if args.layout {
        return block_on(lay_out(settings, args, read));
    }
    let mut exit = Exit::Done;
    for path in &args.jobs {
        let checked = read(&read_file(path)?);
        print_checked(path, &checked, args.format, &mut exit)?;
    }
    Ok(exit)
}

/// Checks jobs as `check` does and sets their pages, too, in typesetters as the service has them.
/// What came of each is printed in the order of the files.
async fn lay_out(
    settings: &Settings,
    args: &CheckArgs,
    read: impl Fn(&[u8]) -> Result<Job, Refusal>,
) -> Result<Exit, Error> {
    let pool = Pool::start(settings, Program::this()?).await?;
    let progress = progress(args.jobs.len() as u64);
    let mut exit = Exit::Done;
    {
        let looked = stream::iter(&args.jobs).map(|path| look(path, &read, &pool));
        let mut looked = std::pin::pin!(looked.buffered(settings.render.typesetters()));
        while let Some(checked) = looked.next().await {
            let (path, checked) = checked?;
            progress.suspend(|| print_checked(path, &checked, args.format, &mut exit))?;
            progress.inc(1);
        }
    }
    progress.finish_and_clear();
    pool.close().await;
    Ok(exit)
}

/// One job: read, and set in the next typesetter that is free.
async fn look<'a>(
    path: &'a Path,
    read: &impl Fn(&[u8]) -> Result<Job, Refusal>,
    pool: &Pool,
) -> Result<(&'a Path, Result<Job, Refusal>), Outage> {
    let job = match read(&read_file(path)?) {
        Ok(job) => job,
        Err(refusal) => return Ok((path, Err(refusal))),
    };
    match pool.typeset(&Manuscript::of(&job)).await {
        Ok(_) => Ok((path, Ok(job))),
        Err(Failure::Rejected(rejection)) => Ok((path, Err(refused(job, rejection)))),
        Err(Failure::Outage(outage)) => Err(outage),
    }
}

/// A job that was read, refused for what its text or its pages are.
fn refused(job: Job, rejection: Rejection) -> Refusal {
    Refusal {
        identity: job.identity,
        rejection,
    }
}

fn print_checked(
    path: &Path,
    checked: &Result<Job, Refusal>,
    format: Format,
    exit: &mut Exit,
) -> Result<(), Error> {
    if checked.is_err() {
        *exit = Exit::JobAtFault;
    }
    or_unread(match format {
        Format::Text => print(path, checked),
        Format::Json => print_json(&as_json(path, checked)),
    })
}

fn print(path: &Path, checked: &Result<Job, Refusal>) -> io::Result<()> {
    let name = path.display();
    let (said, problems) = match checked {
        Ok(job) => {
            let warnings = job.report.warnings();
            let said = match warnings.len() {
                0 => line(format_args!("{name}: ok")),
                1 => line(format_args!("{name}: ok, 1 warning")),
                count => line(format_args!("{name}: ok, {count} warnings")),
            };
            (said, warnings)
        }
        Err(refusal) => {
            let problems = refusal.rejection.problems();
            let (count, plural) = match problems.len() {
                1 => (1, ""),
                count => (count, "s"),
            };
            let said = line(format_args!("{name}: rejected, {count} problem{plural}"));
            (said, problems)
        }
    };
    // These have a place of their own, where somebody may read on.
    print_problems(problems);
    said
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
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Outage> {
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

//! `banshi render` and `banshi check`: one job, no queue.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use futures_util::stream::{self, StreamExt as _};
use serde_json::json;

use super::files::{make_folder, read_file, read_up_to, write_file};
use super::output::{json as print_json, line, or_unread, print_stderr, progress};
use super::{CheckArgs, Error, Exit, Format, Medium, RenderArgs, block_on, print_problems};
use crate::check::{Answer, Checker, refused};
use crate::config::{self, Settings};
use crate::digest;
use crate::import;
use crate::job::{self, Job, Refusal};
use crate::problem::{Failure, Outage};
use crate::report::{Editions, Last};
use crate::typesetter::proof::{self, Draft, Proof};
use crate::typesetter::{Manuscript, Pictures, Pool, Ppi, Program, Typesetter};

pub fn render(settings: &Settings, args: &RenderArgs) -> Result<Exit, Error> {
    let pictures = pictures(args)?;
    let typesetter = Typesetter::load(settings)?;
    let bytes = read_file(&args.job)?;
    let job = match job::read(&bytes, None, &settings.limits, &typesetter.editions()) {
        Ok(job) => job,
        Err(refusal) => return Err(Error::Rejected(refusal.rejection)),
    };
    print_problems(job.report.warnings());
    let mut manuscript = Manuscript::of(&job);
    let Some(pictures) = pictures else {
        manuscript.companions.extend(companion(args.format));
        let pdf = typesetter.typeset(&manuscript)?;
        let plural = if pdf.pages == 1 { "" } else { "s" };
        // What stands beside a PDF is made of a report that has passed all its checks.
        let (bytes, pages) = match pdf.companions.first() {
            Some((_, bytes)) => (bytes, String::new()),
            None => (&pdf.bytes, format!("{} page{plural}, ", pdf.pages)),
        };
        let path = target(args, &job.id)?;
        write_file(&path, bytes)?;
        let (name, sha256, bytes) = (path.display(), digest::sha256(bytes), bytes.len());
        line(format_args!(
            "wrote {name}: {pages}{bytes} bytes, sha256 {sha256}"
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

/// What is to be made beside the PDF, to be written in its place.
fn companion(medium: Medium) -> Option<config::Format> {
    match medium {
        Medium::Html => Some(config::Format::Html),
        Medium::Ofd => Some(config::Format::Ofd),
        Medium::Pdf | Medium::Png | Medium::Svg => None,
    }
}

/// Which pictures are asked for; none for the PDF and what may stand beside it. Finds what does not go together before
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
        Medium::Pdf | Medium::Html | Medium::Ofd => None,
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
    let checker = Checker::load(settings)?;
    let last = match &args.prior {
        Some(path) => Some(last(path, args, settings, checker.editions())?),
        None => None,
    };
    if args.layout || args.proof.is_some() {
        return block_on(lay_out(settings, args, &checker, last.as_ref()));
    }
    let mut exit = Exit::Done;
    for path in &args.jobs {
        let checked = Checked {
            path,
            result: checker.check_after(&read_file(path)?, last.as_ref()),
            proof: None,
        };
        print_checked(&checked, args.format, &mut exit)?;
    }
    Ok(exit)
}

/// Last year's report, of a job or of what `import` makes one of.
fn last(
    path: &Path,
    args: &CheckArgs,
    settings: &Settings,
    editions: &Editions,
) -> Result<Last, Error> {
    let name = path.display();
    if args.jobs.len() > 1 {
        return Err(Error::Usage(
            "--prior: last year's report is one agency's; check the jobs one by one".to_owned(),
        ));
    }
    let mut bytes = read_up_to(path, import::LARGEST + 1)?;
    if !job::unmarked(&bytes).trim_ascii_start().starts_with(b"{") {
        let reading = import::read(&bytes, Some("last"), None, editions);
        let imported = match reading {
            Ok(reading) => reading.imported,
            Err(why) => return Err(Error::Usage(format!("--prior {name}: {why}"))),
        };
        for remark in &imported.remarks {
            let (place, en, zh) = (&remark.place, &remark.en, &remark.zh);
            print_stderr(format_args!("{name}: {place}: {en}\n    {zh}"));
        }
        bytes = imported.job.to_string().into_bytes();
    }
    match job::legible(&bytes, &settings.limits, editions) {
        Some(legible) => Ok(Last::of(&legible.report)),
        None => Err(Error::Usage(format!(
            "--prior {name}: it is no report in a form that there is; `banshi check {name}` says why"
        ))),
    }
}

/// What came of a job.
struct Checked<'a> {
    path: &'a Path,
    result: Result<Job, Refusal>,
    /// The proof of a job that was refused, where one is asked for; none inside, where nothing of
    /// it can be laid out.
    proof: Option<Option<Drawn>>,
}

/// A proof, and its files.
struct Drawn {
    files: Vec<PathBuf>,
    proof: Proof,
    /// How many problems it was drawn for.
    problems: usize,
}

/// Checks jobs as `check` does and sets their pages, too, or draws the proofs of those that are
/// refused, in typesetters as the service has them. What came of each is printed in the order of
/// the files.
async fn lay_out(
    settings: &Settings,
    args: &CheckArgs,
    checker: &Checker,
    last: Option<&Last>,
) -> Result<Exit, Error> {
    if let Some(folder) = &args.proof {
        apart(&args.jobs)?;
        make_folder(folder)?;
    }
    let pool = Pool::start(settings, Program::this()?).await?;
    let progress = progress(args.jobs.len() as u64, "files");
    let mut exit = Exit::Done;
    {
        let pool = &pool;
        let one = async |path| {
            let bytes = read_file(path)?;
            let result = look(checker.check_after(&bytes, last), args.layout, pool).await?;
            let proof = match (&args.proof, &result) {
                (Some(folder), Err(refusal)) => {
                    let problems = refusal.rejection.problems();
                    let draft =
                        proof::draft(&bytes, problems, &settings.limits, checker.editions());
                    Some(draw(path, folder, &draft, pool).await?)
                }
                _ => None,
            };
            Ok::<_, Outage>(Checked {
                path,
                result,
                proof,
            })
        };
        let looked = stream::iter(&args.jobs).map(|path| one(path));
        let mut looked = std::pin::pin!(looked.buffered(settings.render.typesetters()));
        while let Some(checked) = looked.next().await {
            let checked = checked?;
            progress.suspend(|| print_checked(&checked, args.format, &mut exit))?;
            progress.inc(1);
        }
    }
    progress.finish_and_clear();
    pool.close().await;
    Ok(exit)
}

/// One job that was read, set in the next typesetter that is free where that is asked for.
async fn look(
    read: Result<Job, Refusal>,
    layout: bool,
    pool: &Pool,
) -> Result<Result<Job, Refusal>, Outage> {
    let job = match read {
        Ok(job) if layout => job,
        read => return Ok(read),
    };
    match pool.typeset(&Manuscript::of(&job)).await {
        Ok(_) => Ok(Ok(job)),
        Err(Failure::Rejected(rejection)) => Ok(Err(refused(job, rejection))),
        Err(Failure::Outage(outage)) => Err(outage),
    }
}

/// Draws the proof of a refused job into a folder; none, where nothing of it can be laid out.
async fn draw(
    path: &Path,
    folder: &Path,
    draft: &Draft,
    pool: &Pool,
) -> Result<Option<Drawn>, Outage> {
    let Some(sheet) = &draft.sheet else {
        return Ok(None);
    };
    let proof = match pool.proof(sheet, Pictures::Png(Ppi::default())).await {
        Ok(proof) => proof,
        Err(Failure::Rejected(rejection)) => {
            print_stderr(format_args!("no proof of {}: {rejection}", path.display()));
            return Ok(None);
        }
        Err(Failure::Outage(outage)) => return Err(outage),
    };
    let all = folder.join(proof_name(path));
    let mut files = Vec::new();
    for drawn in &proof.pages {
        let file = page(&all, drawn.number, proof.all_pages, Medium::Png);
        write_file(&file, &drawn.picture)?;
        files.push(file);
    }
    Ok(Some(Drawn {
        files,
        proof,
        problems: draft.problems.len(),
    }))
}

/// What the files of a job's proof are called, but for their numbers: after the job's own.
fn proof_name(path: &Path) -> String {
    let name = match path == Path::new("-") {
        true => "job".into(),
        false => path.file_stem().unwrap_or_default().to_string_lossy(),
    };
    format!("{name}-proof.png")
}

/// That no two jobs' proofs have one name.
fn apart(jobs: &[PathBuf]) -> Result<(), Error> {
    let mut names = BTreeSet::new();
    match jobs.iter().find(|path| !names.insert(proof_name(path))) {
        None => Ok(()),
        Some(path) => Err(Error::Usage(format!(
            "--proof: another job is called as {} is, and their proofs would overwrite each other; \
             check them one by one, with a folder each",
            path.display()
        ))),
    }
}

fn print_checked(checked: &Checked<'_>, format: Format, exit: &mut Exit) -> Result<(), Error> {
    if checked.result.is_err() {
        *exit = Exit::JobAtFault;
    }
    or_unread(match format {
        Format::Text => print(checked.path, &checked.result).and_then(|()| print_proof(checked)),
        Format::Json => print_json(&as_json(checked)),
    })
}

fn print_proof(checked: &Checked<'_>) -> io::Result<()> {
    let drawn = match &checked.proof {
        None => return Ok(()),
        Some(None) => {
            let name = checked.path.display();
            return line(format_args!("{name}: nothing of it can be laid out"));
        }
        Some(Some(drawn)) => drawn,
    };
    let all = drawn.proof.all_pages;
    for (file, page) in drawn.files.iter().zip(&drawn.proof.pages) {
        let (name, number, marks) = (file.display(), page.number, page.marks.len());
        let plural = if marks == 1 { "" } else { "s" };
        line(format_args!(
            "wrote {name}: page {number} of {all}, {marks} mark{plural}; for looking only"
        ))?;
    }
    Ok(())
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

fn as_json(checked: &Checked<'_>) -> serde_json::Value {
    let mut said = json!(Answer::from(&checked.result));
    said["file"] = json!(checked.path.display().to_string());
    if let Some(drawn) = &checked.proof {
        said["proof"] = drawn.as_ref().map_or(serde_json::Value::Null, proof_json);
    }
    said
}

/// A proof: its files, and where on them the problems are.
fn proof_json(drawn: &Drawn) -> serde_json::Value {
    let pages = drawn.files.iter().zip(&drawn.proof.pages);
    let pages = pages.map(|(file, page)| {
        json!({
            "file": file.display().to_string(),
            "number": page.number,
            "width": page.width,
            "height": page.height,
            "marks": page.marks,
        })
    });
    json!({
        "pages": pages.collect::<Vec<_>>(),
        "all_pages": drawn.proof.all_pages,
        "tables_alone": drawn.proof.tables_alone,
        "unmarked": drawn.proof.unmarked(drawn.problems),
    })
}

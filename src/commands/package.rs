//! `banshi templates new` and `banshi templates check`: for whoever writes a form and its template.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime};

use super::files::{make_folder, write_file};
use super::output::{line, print_stderr};
use super::{Error, Exit, print_problems};
use crate::config::Settings;
use crate::job;
use crate::problem::{Failure, Outage, Part, Problem};
use crate::typesetter::{Fonts, Manuscript, Pictures, Templates, Typesetter};

/// The files of a new package, with `{package}` for its name.
const SKELETON: [(&str, &str); 5] = [
    ("typst.toml", include_str!("skeleton/typst.toml")),
    ("1/form.toml", include_str!("skeleton/form.toml")),
    ("1/main.typ", include_str!("skeleton/main.typ")),
    ("1/sample.json", include_str!("skeleton/sample.json")),
    ("1/report.json", "{}"),
];

/// Where the pages of a package are drawn; a hidden folder is none of the templates'.
const PAGES: &str = ".pages";

/// How often files are looked at for a change.
const LOOK: Duration = Duration::from_millis(300);

/// Lays out a new package.
pub fn new(settings: &Settings, dir: &Path) -> Result<Exit, Error> {
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    let right = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.chars().all(right) {
        return Err(Error::Usage(format!(
            "a package is named by its folder, with a-z, 0-9 and -, as school-meals; not {name:?}"
        )));
    }
    let own = Templates::load(None)?;
    if name == "gongwen" || own.editions().any(|edition| edition.package() == name) {
        return Err(Error::Usage(format!(
            "{name} is a package of this build, and would take its place; name another"
        )));
    }
    if dir.exists() {
        let dir = dir.display();
        return Err(Error::Usage(format!("{dir} exists; name a new folder")));
    }
    for (path, text) in SKELETON {
        write(&dir.join(path), text.replace("{package}", &name).as_bytes())?;
    }
    // What the template reads while it is looked at in an editor.
    let templates = Templates::load(None)?.with(dir)?;
    if let Some(edition) = templates.edition(&format!("{name}/1")) {
        let sample = templates.sample(edition)?;
        let job = job::read(sample, None, &settings.limits, &templates.forms());
        let job = job.map_err(|refusal| Error::Usage(refusal.rejection.to_string()))?;
        write(
            &dir.join("1/report.json"),
            Manuscript::of(&job).view.as_bytes(),
        )?;
    }
    let dir = dir.display();
    line(format_args!("{dir}: a form and a template to begin with"))?;
    line(format_args!(
        "  banshi templates check {dir} --watch   checks them and draws the pages"
    ))?;
    Ok(Exit::Done)
}

/// Checks a package: its forms, its samples, its pages.
pub fn check(settings: &Settings, dir: &Path, watch: bool) -> Result<Exit, Error> {
    let dir = &dir.canonicalize().map_err(|error| {
        let text = format!("cannot look into {}", dir.display());
        Outage::because(Part::Disk, text, error)
    })?;
    let mut seen = changes(dir);
    let exit = look(settings, dir)?;
    if !watch {
        return Ok(exit);
    }
    loop {
        thread::sleep(LOOK);
        let now = changes(dir);
        if now != seen {
            seen = now;
            look(settings, dir)?;
        }
    }
}

/// One look at a package. What is wrong with its files is told, and is no error of the command's.
fn look(settings: &Settings, dir: &Path) -> Result<Exit, Error> {
    let templates = match Templates::load(settings.templates.folder())?.with(dir) {
        Ok(templates) => templates,
        Err(outage) => {
            print_stderr(outage.chain());
            return Ok(Exit::JobAtFault);
        }
    };
    let package = dir.file_name().unwrap_or_default().to_string_lossy();
    let typesetter = Typesetter::new(Fonts::load(&settings.fonts)?, templates, &settings.render)?;
    let templates = typesetter.templates();
    let mut exit = Exit::Done;
    let own = templates.editions();
    let own: Vec<_> = own.filter(|edition| edition.package() == package).collect();
    if own.is_empty() {
        let text =
            "no typst.toml in it declares an edition; name a package's folder, as templates/NAME";
        print_stderr(format_args!("{}: {text}", dir.display()));
        return Ok(Exit::JobAtFault);
    }
    for edition in own {
        let name = &edition.name[package.len() + 1..];
        let sample = templates.sample(edition).map_err(Failure::from);
        let set = sample.and_then(|sample| pages(settings, &typesetter, sample));
        match set {
            Ok((pages, warnings)) => {
                print_problems(&warnings);
                let count = pages.len();
                for (number, page) in (1..).zip(pages) {
                    write(&dir.join(PAGES).join(format!("{name}-{number}.png")), &page)?;
                }
                let place = dir.join(PAGES);
                let place = place.display();
                line(format_args!(
                    "{}: ok, {count} pages in {place}",
                    edition.name
                ))?;
            }
            Err(Failure::Rejected(rejection)) => {
                line(format_args!("{}: the sample is refused", edition.name))?;
                print_problems(rejection.problems());
                exit = Exit::JobAtFault;
            }
            Err(Failure::Outage(outage)) => {
                print_stderr(outage.chain());
                exit = Exit::JobAtFault;
            }
        }
    }
    Ok(exit)
}

/// The pages of a sample as pictures, once it is set as a PDF, too; and what is told of it.
fn pages(
    settings: &Settings,
    typesetter: &Typesetter,
    sample: &[u8],
) -> Result<(Vec<Vec<u8>>, Vec<Problem>), Failure> {
    let job = job::read(sample, None, &settings.limits, &typesetter.editions());
    let job = job.map_err(|refusal| Failure::from(refusal.rejection))?;
    let manuscript = Manuscript::of(&job);
    typesetter.typeset(&manuscript)?;
    let pages = typesetter.picture(&manuscript, Pictures::Png(Default::default()))?;
    Ok((pages, job.report.warnings().to_vec()))
}

/// The files of a folder, each with the time of its last change.
fn changes(dir: &Path) -> BTreeMap<PathBuf, SystemTime> {
    let mut found = BTreeMap::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let hidden = entry.file_name().to_string_lossy().starts_with('.');
            let Ok(about) = entry.metadata() else {
                continue;
            };
            match about.modified() {
                _ if hidden => {}
                _ if about.is_dir() => folders.push(entry.path()),
                Ok(changed) => {
                    found.insert(entry.path(), changed);
                }
                Err(_) => {}
            }
        }
    }
    found
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Outage> {
    if let Some(folder) = path.parent() {
        make_folder(folder)?;
    }
    write_file(path, bytes)
}

//! The templates: the tree that the binary carries, with the files of `templates.dir` over it.
//!
//! Takes a folder (or none), gives [`Templates`], a catalogue of editions and the bytes of every
//! file. Never reads that folder again after start, so that all reports of a run are set with the
//! same templates. If we crash here, nothing has begun.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;

use crate::digest;
use crate::problem::{Outage, Part};
use crate::report::Editions;
use crate::report::form::{Form, Sibling};
use crate::report::json::nearest;

/// The tree at the time of the build: path and content.
const EMBEDDED: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/templates.rs"));

/// The name, beside an entrypoint, of the sample in the tree and of the report itself in the world
/// that the template sees.
const REPORT: &str = "report.json";

/// The name, beside an entrypoint, of the form.
const FORM: &str = "form.toml";

/// The package that all others stand on.
const BASE: &str = "gongwen";

/// The largest file that `templates.dir` may hold, in bytes.
const LARGEST: u64 = 16 << 20;

/// The tree of templates and what it offers.
#[derive(Debug)]
pub struct Templates {
    files: BTreeMap<String, Cow<'static, [u8]>>,
    editions: Vec<Edition>,
    /// The forms, by [`Edition::form`].
    forms: Editions,
}

/// One edition of a form, as a `typst.toml` declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edition {
    /// `PACKAGE/EDITION`, as jobs name it: `annual-report/2021`.
    pub name: String,
    /// The edition whose form it lays out: itself, or another.
    pub form: String,
    /// The path, in the tree, of that form.
    pub form_file: String,
    /// The version of its package.
    pub version: String,
    /// The path, in the tree, of the file that lays it out.
    pub entrypoint: String,
    /// SHA-256 over the `sha256sum` listing of its package and of `gongwen`, sorted by path.
    pub sha256: String,
}

impl Edition {
    /// The package that it is of, as `annual-report`.
    pub fn package(&self) -> &str {
        self.name.split_once('/').map_or("", |(package, _)| package)
    }

    /// The path, in the tree, where the template finds its report.
    pub fn report(&self) -> String {
        beside(&self.entrypoint, REPORT)
    }
}

#[derive(Deserialize)]
struct Toml {
    package: Package,
    #[serde(default)]
    tool: Tool,
}

#[derive(Deserialize)]
struct Package {
    version: String,
}

#[derive(Default, Deserialize)]
struct Tool {
    #[serde(default)]
    banshi: Banshi,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Banshi {
    #[serde(default)]
    editions: BTreeMap<String, Declared>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Declared {
    entrypoint: String,
    form: Option<String>,
}

impl Templates {
    /// The embedded tree, overlaid file by file by `dir`: a file of the same path replaces, any
    /// other adds.
    ///
    /// # Errors
    /// When the folder can't be read, and for every mistake in the `typst.toml`s at once, each
    /// with its file and its fix.
    pub fn load(dir: Option<&Path>) -> Result<Templates, Outage> {
        let embedded = EMBEDDED
            .iter()
            .map(|&(path, bytes)| (path.to_owned(), bytes.into()));
        let mut files = embedded.collect::<BTreeMap<_, _>>();
        if let Some(dir) = dir {
            overlay(dir, "", &mut files)?;
        }
        Templates::of(files, dir)
    }

    /// These templates with the package of a folder over them, whose name is the folder's.
    ///
    /// # Errors
    /// As [`Templates::load`].
    pub fn with(self, folder: &Path) -> Result<Templates, Outage> {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let mut files = self.files;
        overlay(folder, &name, &mut files)?;
        Templates::of(files, Some(folder))
    }

    /// The templates of a tree; `dir` is what was laid over it, for messages.
    fn of(
        files: BTreeMap<String, Cow<'static, [u8]>>,
        dir: Option<&Path>,
    ) -> Result<Templates, Outage> {
        let mut wrong = Vec::new();
        let editions = catalogue(&files, &mut wrong);
        let forms = forms(&editions, &files, &mut wrong);
        if wrong.is_empty() && editions.is_empty() {
            wrong.push(
                "no typst.toml declares an edition; add [tool.banshi.editions.EDITION] to one"
                    .to_owned(),
            );
        }
        if wrong.is_empty() {
            return Ok(Templates {
                files,
                editions,
                forms,
            });
        }
        let place = dir.map_or_else(String::new, |dir| {
            format!(" (with {} over them)", dir.display())
        });
        let wrong = wrong.join("\n  ");
        Err(Outage::new(
            Part::Templates,
            format!("the templates{place} are wrong:\n  {wrong}"),
        ))
    }

    /// What can be laid out, by name.
    pub fn editions(&self) -> impl Iterator<Item = &Edition> {
        self.editions.iter()
    }

    /// The edition of this name.
    pub fn edition(&self, name: &str) -> Option<&Edition> {
        self.editions.iter().find(|edition| edition.name == name)
    }

    /// What is to be set before the first report: every edition that a file of `templates.dir` may
    /// have changed, and of each other document the last, which warms what its editions share. The
    /// build's own were set by its tests.
    pub fn tried(&self) -> impl Iterator<Item = &Edition> {
        let owned = self.files.iter();
        let owned = owned.filter(|(_, text)| matches!(text, Cow::Owned(_)));
        let owned = owned.filter_map(|(path, _)| path.split('/').next());
        let changed: BTreeSet<&str> = owned.collect();
        let next = self.editions.iter().skip(1).map(Some).chain([None]);
        let pairs = self.editions.iter().zip(next);
        let tried = pairs.filter(move |(edition, next)| {
            let own = edition.package();
            let last = next.is_none_or(|next| next.package() != own);
            last || changed.contains(BASE) || changed.contains(own)
        });
        tried.map(|(edition, _)| edition)
    }

    /// The form of each edition, for reading jobs.
    pub fn forms(&self) -> Editions {
        let form = |edition: &Edition| {
            let form = self.forms.get(&edition.form)?;
            Some((edition.name.clone(), Arc::clone(form)))
        };
        self.editions.iter().filter_map(form).collect()
    }

    /// The form that an edition lays out.
    pub(super) fn form(&self, name: &str) -> Option<&Form> {
        let edition = self.edition(name)?;
        self.forms.get(&edition.form).map(|form| &**form)
    }

    /// The sample job of an edition: `sample.json` beside its entrypoint.
    ///
    /// # Errors
    /// When it has none.
    pub fn sample(&self, edition: &Edition) -> Result<&[u8], Outage> {
        let path = beside(&edition.entrypoint, "sample.json");
        self.file(&path).ok_or_else(|| {
            let text = format!(
                "{} has no sample job; add {path} to the templates",
                edition.name
            );
            Outage::new(Part::Templates, text)
        })
    }

    /// The content of a file of the tree, by its path without a leading slash.
    pub fn file(&self, path: &str) -> Option<&[u8]> {
        self.files.get(path).map(|bytes| &**bytes)
    }

    /// Every file of the tree, by path.
    pub(super) fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.files
            .iter()
            .map(|(path, bytes)| (path.as_str(), &**bytes))
    }

    /// SHA-256 over the whole tree.
    pub(super) fn sha256(&self) -> String {
        sum(self.files())
    }
}

/// Reads the `form.toml` of every edition.
fn forms(
    editions: &[Edition],
    files: &BTreeMap<String, Cow<'static, [u8]>>,
    wrong: &mut Vec<String>,
) -> Editions {
    let mut forms: BTreeMap<String, Form> = BTreeMap::new();
    for edition in editions {
        let (name, form, path) = (&edition.name, &edition.form, &edition.form_file);
        if forms.contains_key(form) {
            continue;
        }
        let Some(bytes) = files.get(path) else {
            wrong.push(format!(
                "{name}: {path} is missing; add the form, or name one in form = \"PACKAGE/EDITION\""
            ));
            continue;
        };
        let read = match std::str::from_utf8(bytes) {
            Ok(text) => Form::parse(form, path, text),
            Err(_) => Err(vec![format!("{path}: not UTF-8; save it as UTF-8")]),
        };
        match read {
            Ok(read) => {
                forms.insert(form.clone(), read);
            }
            Err(mistakes) => wrong.extend(mistakes),
        }
    }
    for form in forms.values() {
        if let Some(other) = form
            .succeeds
            .as_ref()
            .filter(|other| !forms.contains_key(*other))
        {
            let known = forms.keys().map(String::as_str);
            let near = nearest(other, known).unwrap_or_default();
            wrong.push(format!(
                "{}: succeeds: no edition \"{other}\"; the nearest is \"{near}\"",
                form.name
            ));
        }
    }
    let siblings: Vec<(Sibling, Option<String>)> = forms
        .values()
        .map(|form| {
            let sibling = Sibling {
                name: form.name.clone(),
                notice: form.notice.clone(),
                years: form.years.clone(),
            };
            (sibling, form.succeeds.clone())
        })
        .collect();
    let related = forms.into_iter().map(|(name, mut form)| {
        let related = siblings.iter().filter(|(other, succeeds)| {
            form.succeeds.as_ref() == Some(&other.name) || succeeds.as_ref() == Some(&name)
        });
        form.siblings = related.map(|(other, _)| other.clone()).collect();
        (name, Arc::new(form))
    });
    related.collect()
}

/// Adds the files below `dir` to the tree, under `prefix`.
fn overlay(
    dir: &Path,
    prefix: &str,
    files: &mut BTreeMap<String, Cow<'static, [u8]>>,
) -> Result<(), Outage> {
    let failed = |path: &Path, error: std::io::Error| {
        Outage::because(
            Part::Templates,
            format!("templates.dir: can't read {}", path.display()),
            error,
        )
    };
    for entry in fs::read_dir(dir).map_err(|error| failed(dir, error))? {
        let path = entry.map_err(|error| failed(dir, error))?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if name.starts_with('.') || name == "tests" {
            continue;
        }
        let name = if prefix.is_empty() {
            name
        } else {
            format!("{prefix}/{name}")
        };
        let about = fs::metadata(&path).map_err(|error| failed(&path, error))?;
        if about.is_dir() {
            overlay(&path, &name, files)?;
        } else if about.len() > LARGEST {
            let text = format!(
                "templates.dir: {} is {} bytes, more than a template has any need of ({LARGEST}); \
                 is the folder the right one?",
                path.display(),
                about.len()
            );
            return Err(Outage::new(Part::Templates, text));
        } else {
            let bytes = fs::read(&path).map_err(|error| failed(&path, error))?;
            files.insert(name, bytes.into());
        }
    }
    Ok(())
}

/// Reads every `PACKAGE/typst.toml`.
fn catalogue(
    files: &BTreeMap<String, Cow<'static, [u8]>>,
    wrong: &mut Vec<String>,
) -> Vec<Edition> {
    let mut editions = Vec::new();
    if !files.contains_key("gongwen/typst.toml") {
        wrong.push(format!(
            "{BASE}/typst.toml is missing: every template stands on {BASE}"
        ));
    }
    for (path, bytes) in files {
        let Some(package) = path.strip_suffix("/typst.toml") else {
            continue;
        };
        if package.contains('/') {
            continue;
        }
        let Ok(text) = std::str::from_utf8(bytes) else {
            wrong.push(format!("{path}: not UTF-8; save it as UTF-8"));
            continue;
        };
        let toml = match toml::from_str::<Toml>(text) {
            Ok(toml) => toml,
            Err(error) => {
                wrong.push(format!(
                    "{path}: {}",
                    error.to_string().trim_end().replace('\n', "\n    ")
                ));
                continue;
            }
        };
        let mut sha256 = None;
        for (edition, Declared { entrypoint, form }) in toml.tool.banshi.editions {
            let here = format!("{path}: [tool.banshi.editions.{edition}]");
            let entrypoint = format!("{package}/{entrypoint}");
            if !files.contains_key(&entrypoint) {
                wrong.push(format!(
                    "{here}: entrypoint {entrypoint} does not exist; add it, or name the file \
                     there is"
                ));
                continue;
            }
            let sample = beside(&entrypoint, REPORT);
            if !files.contains_key(&sample) {
                wrong.push(format!(
                    "{here}: {sample} is missing; put a sample report beside the entrypoint"
                ));
                continue;
            }
            let right = |part: &str| {
                !part.is_empty()
                    && part
                        .bytes()
                        .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
            };
            let name = format!("{package}/{edition}");
            let (form, form_file) = match form {
                None => (name.clone(), beside(&entrypoint, FORM)),
                Some(form) if form.split('/').count() == 2 && form.split('/').all(right) => {
                    let file = format!("{form}/{FORM}");
                    (form, file)
                }
                Some(form) => {
                    wrong.push(format!(
                        "{here}: form {form:?}; want NAME/EDITION, as \"annual-report/2021\", or \
                         leave it out for {FORM} beside the entrypoint"
                    ));
                    continue;
                }
            };
            let sha256 = sha256.get_or_insert_with(|| {
                let of = |path: &str, package: &str| {
                    path.strip_prefix(package)
                        .is_some_and(|rest| rest.starts_with('/'))
                };
                let files = files.iter().map(|(path, bytes)| (path.as_str(), &**bytes));
                sum(files.filter(|(path, _)| of(path, package) || of(path, BASE)))
            });
            editions.push(Edition {
                name,
                form,
                form_file,
                version: toml.package.version.clone(),
                entrypoint,
                sha256: sha256.clone(),
            });
        }
    }
    editions.sort_by(|a, b| a.name.cmp(&b.name));
    editions
}

/// The path of a file beside an entrypoint.
fn beside(entrypoint: &str, name: &str) -> String {
    match entrypoint.rsplit_once('/') {
        Some((folder, _)) => format!("{folder}/{name}"),
        None => name.to_owned(),
    }
}

/// SHA-256 over the listing of some files, as `sha256sum` prints it.
fn sum<'a>(files: impl Iterator<Item = (&'a str, &'a [u8])>) -> String {
    let lines = files.map(|(path, bytes)| format!("{}  {path}\n", digest::sha256(bytes)));
    digest::sha256(lines.collect::<String>().as_bytes())
}

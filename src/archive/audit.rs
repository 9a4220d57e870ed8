//! The yearly audit of fixity: every file of every package against what the package says of it.
//!
//! Takes a folder of packages, or a package wherever it is, gives what is wrong in each. Never
//! stops at the first fault, and never writes. If we crash here, nothing was changed.
//!
//! A package says of itself what its files are. That the package is the one that was closed says
//! the journal beside it, which has the digest of its `tagmanifest-sha256.txt`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Component, Path, PathBuf};

use serde::Serialize;

use super::bag::{DATA, DECLARATION, MANIFEST, TAG_MANIFEST};
use super::journal::{Journal, What};
use super::keeper::{OPEN, packages};
use crate::digest::sha256;
use crate::disk;
use crate::problem::{Outage, Part};

/// What is wrong with a file, or with a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// 已改动. Its digest is another one than the package says.
    Changed,
    /// 缺失. The package names it, and it is not there.
    Missing,
    /// 多出. It is there, and the package does not name it.
    Extra,
    /// 格式错误. It should say what the files are, and does not.
    Malformed,
    /// 无法读取. It cannot be read, so that nobody knows.
    Unreadable,
}

impl Kind {
    /// As it is printed: in English and Chinese.
    pub fn words(self) -> (&'static str, &'static str) {
        match self {
            Kind::Changed => ("changed", "已改动"),
            Kind::Missing => ("missing", "缺失"),
            Kind::Extra => ("extra", "多出"),
            Kind::Malformed => ("malformed", "格式错误"),
            Kind::Unreadable => ("unreadable", "无法读取"),
        }
    }
}

/// A fault.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Fault {
    /// What is wrong.
    pub kind: Kind,
    /// With which file, from the package's folder; `.` is the package itself.
    pub path: String,
    /// More of it, where there is more.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub why: String,
}

impl Fault {
    fn new(kind: Kind, path: impl Into<String>, why: impl ToString) -> Fault {
        Fault {
            kind,
            path: path.into(),
            why: why.to_string(),
        }
    }
}

/// A package, looked through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Audited {
    /// Its name.
    pub package: String,
    /// Whether it is still being filled.
    pub open: bool,
    /// Whether somebody fills it now, so that it was not looked at.
    pub busy: bool,
    /// Files that are as the package says.
    pub files: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Whatever is not.
    pub faults: Vec<Fault>,
}

/// A folder of packages.
#[derive(Debug)]
pub struct Archive {
    packages: Vec<PathBuf>,
    /// The digests of closed packages, as the journal has them.
    closed: BTreeMap<String, String>,
    /// Packages that the journal knows.
    known: BTreeSet<String>,
    busy: bool,
}

impl Archive {
    /// Looks which packages there are: in a folder, or the folder itself.
    ///
    /// # Errors
    /// When it cannot be read, or there is none.
    pub fn open(dir: &Path) -> Result<Archive, Outage> {
        let outage = |error| disk::outage(Part::Disk, "look at", dir, error);
        let mut archive = Archive {
            packages: Vec::new(),
            closed: BTreeMap::new(),
            known: BTreeSet::new(),
            busy: false,
        };
        if dir.join(DECLARATION).try_exists().map_err(outage)? {
            archive.packages.push(dir.canonicalize().map_err(outage)?);
            return Ok(archive);
        }
        // Not there, or no folder.
        fs::read_dir(dir).map_err(outage)?;
        if let Some((lines, busy)) = Journal::look(dir)? {
            archive.busy = busy;
            for line in lines {
                match line.what {
                    What::Kept(report) => drop(archive.known.insert(report.bag)),
                    What::Closed { bag, sha256 } => drop(archive.closed.insert(bag, sha256)),
                    _ => {}
                }
            }
        }
        let names = packages(dir).map_err(outage)?;
        archive.packages = names.iter().map(|name| dir.join(name)).collect();
        if archive.packages.is_empty() && archive.known.is_empty() {
            let message = format!("{} holds no package (BagIt, RFC 8493)", dir.display());
            return Err(Outage::new(Part::Disk, message));
        }
        Ok(archive)
    }

    /// How many files there are to be read.
    pub fn size(&self) -> u64 {
        let files = self.packages.iter().filter_map(|dir| walk(dir).ok());
        files.map(|files| files.len() as u64).sum()
    }

    /// Looks through each package, and tells after each file that it was read.
    pub fn audit(&self, mut read: impl FnMut()) -> Vec<Audited> {
        let mut audited: Vec<Audited> = self
            .packages
            .iter()
            .map(|dir| self.package(dir, &mut read))
            .collect();
        let there: BTreeSet<&str> = audited.iter().map(|it| &*it.package).collect();
        let gone = self
            .known
            .iter()
            .filter(|name| !there.contains(&***name) && !there.contains(&*format!("{name}{OPEN}")));
        let why = "the journal says that it was made here; look for it where it was handed over";
        let gone: Vec<Audited> = gone
            .map(|name| Audited {
                package: name.clone(),
                open: false,
                busy: false,
                files: 0,
                bytes: 0,
                faults: vec![Fault::new(Kind::Missing, ".", why)],
            })
            .collect();
        audited.extend(gone);
        audited
    }

    fn package(&self, dir: &Path, read: &mut impl FnMut()) -> Audited {
        let name = dir.file_name().unwrap_or_default().to_string_lossy();
        let open = name.ends_with(OPEN);
        let mut audited = Audited {
            package: name.into_owned(),
            open,
            busy: open && self.busy,
            files: 0,
            bytes: 0,
            faults: Vec::new(),
        };
        if audited.busy {
            return audited;
        }
        let present = match walk(dir) {
            Ok(present) => present,
            Err(error) => {
                let fault = Fault::new(Kind::Unreadable, ".", error);
                audited.faults.push(fault);
                return audited;
            }
        };
        let mut stated = BTreeMap::new();
        for (manifest, is_payload) in [(MANIFEST, true), (TAG_MANIFEST, false)] {
            match said(dir, manifest, is_payload) {
                Ok(files) => stated.extend(files),
                Err(fault) => audited.faults.push(fault),
            }
        }
        for path in &present {
            let found = fs::read(dir.join(path));
            read();
            let fault = match (found, stated.remove(path)) {
                (Err(error), _) => Fault::new(Kind::Unreadable, path, error),
                (Ok(bytes), Some(sha)) if sha256(&bytes) == sha => {
                    audited.files += 1;
                    audited.bytes += bytes.len() as u64;
                    continue;
                }
                (Ok(_), Some(_)) => Fault::new(Kind::Changed, path, ""),
                (Ok(bytes), None) if path == TAG_MANIFEST => {
                    match self.closed.get(&audited.package) {
                        Some(sha) if *sha != sha256(&bytes) => {
                            let why = "the journal has another digest of the package";
                            Fault::new(Kind::Changed, path, why)
                        }
                        _ => continue,
                    }
                }
                (Ok(_), None) => Fault::new(Kind::Extra, path, ""),
            };
            audited.faults.push(fault);
        }
        let missing = stated.into_keys();
        audited
            .faults
            .extend(missing.map(|path| Fault::new(Kind::Missing, path, "")));
        audited.faults.sort();
        audited.faults.dedup();
        audited
    }
}

/// The digests that a manifest of a package says, by path.
fn said(dir: &Path, manifest: &str, is_payload: bool) -> Result<BTreeMap<String, String>, Fault> {
    let malformed = |why: String| Fault::new(Kind::Malformed, manifest, why);
    let bytes = match fs::read(dir.join(manifest)) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(Fault::new(Kind::Missing, manifest, ""));
        }
        Err(error) => return Err(Fault::new(Kind::Unreadable, manifest, error)),
        Ok(bytes) => bytes,
    };
    let text = String::from_utf8(bytes).map_err(|_| malformed("it is not UTF-8".to_owned()))?;
    let mut files = BTreeMap::new();
    for (number, line) in (1..).zip(text.lines()) {
        let wrong = || malformed(format!("line {number}: want a SHA-256 and a path"));
        let (sha256, path) = line.split_once(char::is_whitespace).ok_or_else(wrong)?;
        // RFC 8493, 2.1.3: these are encoded, and nothing else.
        let path = path.trim_start().trim_start_matches('*');
        let path = path.replace("%0A", "\n").replace("%0D", "\r");
        let path = path.replace("%25", "%");
        let inside = Path::new(&path)
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
        let is_data = path.starts_with(&format!("{DATA}/"));
        if sha256.len() != 64 || !inside || is_data != is_payload {
            return Err(wrong());
        }
        files.insert(path, sha256.to_lowercase());
    }
    Ok(files)
}

/// The files below a folder, by their paths from it. What is no folder counts as a file.
fn walk(dir: &Path) -> io::Result<BTreeSet<String>> {
    let (mut files, mut folders) = (BTreeSet::new(), vec![dir.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                folders.push(path);
            } else {
                let inside = path.strip_prefix(dir).unwrap_or(&path);
                files.insert(inside.to_string_lossy().into_owned());
            }
        }
    }
    Ok(files)
}

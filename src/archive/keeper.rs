//! The archive's folder: packages that are being filled, and what is known of all.
//!
//! Takes reports that were fetched and checked, puts them into packages. Never touches a package
//! that is closed, and never has a report twice. If we crash here:
//!
//! | when | what stands there | the next start |
//! |---|---|---|
//! | a report's files are half written | a folder in `.part` | sweeps it, fetches the report again |
//! | the report is in the package, the journal does not know | a folder too much | the same |
//! | the journal knows | the report; the package's texts are without it | writes the texts anew |
//! | the texts are half written | a package that does not agree with itself | the same |
//! | a package is to be closed, and has its old name | all of it | closes it |
//!
//! A package that is being filled is a folder `NAME.open`; to rename it is to close it.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::bag::{Bag, DATA, DECLARATION, REPORTS, TAG_MANIFEST};
use super::journal::{Address, JOURNAL, Journal, Line, Refused, Report, What, Wrong, noted};
use crate::digest::sha256;
use crate::disk;
use crate::job::is_id;
use crate::problem::{Outage, Part};

/// The end of the name of a package that is being filled.
pub(super) const OPEN: &str = ".open";
/// Where reports are written before they are whole.
const STAGED: &str = ".part";

/// What is known of a report that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) sha256: String,
    pub(super) agency: String,
    pub(super) bag: String,
}

/// What is to be noted, of a place in the log.
#[derive(Debug)]
pub(super) enum Item {
    /// A report whose files are in this folder.
    Report(PathBuf, Box<Report>),
    Refused(Refused),
    Wrong(Wrong),
}

/// An archive's folder, in our hands.
#[derive(Debug)]
pub(super) struct Keeper {
    root: PathBuf,
    journal: Journal,
    /// Reports in a package.
    most: usize,
    /// The events that are noted, by source and id.
    noted: HashSet<String>,
    kept: BTreeMap<Address, Kept>,
    /// By `job_id`, until a report of it is kept: it was mended and sent again.
    refused: BTreeMap<String, Vec<Refused>>,
    /// By source and id of their events.
    wrong: BTreeMap<String, Wrong>,
    /// The packages that are being filled, by document and year, and whether they have changed.
    open: BTreeMap<(String, u16), (Bag, bool)>,
    /// The number of the last package of each.
    numbers: BTreeMap<(String, u16), u32>,
    /// The last place in the log that is noted, with the event's id.
    last: Option<(u64, String)>,
    /// Folders that are known to outlast a power cut.
    made: BTreeSet<PathBuf>,
}

impl Keeper {
    /// Takes a folder, which is made when it is missing; goes on where it was left.
    ///
    /// # Errors
    /// When somebody archives there, the disk fails, or there are packages without their journal.
    pub(super) fn open(dir: &Path, most: usize) -> Result<Keeper, Outage> {
        let outage = |error| disk::outage(Part::Disk, "archive in", dir, error);
        disk::make_root(dir).map_err(outage)?;
        let root = dir.canonicalize().map_err(outage)?;
        let unknown = !root.join(JOURNAL).try_exists().map_err(outage)?;
        if unknown && let Some(bag) = packages(&root).map_err(outage)?.first() {
            let message = format!(
                "{} has packages ({bag}) and no {JOURNAL}, which says what is in them: restore it \
                 from a backup, or name an empty folder",
                root.display()
            );
            return Err(Outage::new(Part::Disk, message));
        }
        let (journal, lines) = Journal::open(&root)?;
        let mut keeper = Keeper {
            root,
            journal,
            most,
            noted: HashSet::new(),
            kept: BTreeMap::new(),
            refused: BTreeMap::new(),
            wrong: BTreeMap::new(),
            open: BTreeMap::new(),
            numbers: BTreeMap::new(),
            last: None,
            made: BTreeSet::new(),
        };
        keeper.begin(lines).map_err(outage)?;
        Ok(keeper)
    }

    fn begin(&mut self, lines: Vec<Line>) -> io::Result<()> {
        let staged = self.root.join(STAGED);
        match fs::remove_dir_all(&staged) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        disk::make_dir(&staged, &self.root)?;
        for name in packages(&self.root)? {
            let (closed, open) = match name.strip_suffix(OPEN) {
                Some(name) => (name, true),
                None => (&*name, false),
            };
            if let Some((document, year, number)) = parts(closed) {
                self.count(&document, year, number);
                if open {
                    let bag = Bag::new(&document, year, number);
                    self.open.insert((document, year), (bag, true));
                }
            }
        }
        let mut closed = HashSet::new();
        for line in lines {
            if let What::Closed { bag, .. } = &line.what {
                closed.insert(bag.clone());
            }
            self.note(line);
        }
        let bags: Vec<Bag> = self.open.values().map(|(bag, _)| bag.clone()).collect();
        for bag in bags {
            self.sweep(&bag)?;
            if closed.contains(&bag.name()) {
                self.close(&(bag.document, bag.year))?;
            }
        }
        Ok(())
    }

    /// Removes what was put into a package and is not in the journal: it will be fetched again.
    fn sweep(&self, bag: &Bag) -> io::Result<()> {
        let data = self.place(bag).join(DATA);
        let years = data.join(REPORTS);
        for year in folders(&years)? {
            for category in folders(&year)? {
                for report in folders(&category)? {
                    let own = report.strip_prefix(&data).unwrap_or(&report);
                    let own = own.to_string_lossy();
                    if !bag.reports.contains_key(own.as_ref()) {
                        fs::remove_dir_all(&report)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn count(&mut self, document: &str, year: u16, number: u32) {
        let last = self.numbers.entry((document.to_owned(), year)).or_default();
        *last = number.max(*last);
    }

    /// Takes a line into what is known.
    fn note(&mut self, Line { offset, what }: Line) {
        let id = match &what {
            What::Kept(report) => Some(report.id.clone()),
            What::Refused(refused) => Some(refused.id.clone()),
            What::Wrong(wrong) => Some(wrong.id()),
            What::Read { id } => Some(id.clone()),
            What::Closed { .. } => None,
        };
        if let (Some(offset), Some(id)) = (offset, id) {
            self.last = Some((offset, id));
        }
        match what {
            What::Kept(report) => {
                let event = noted(&report.source, &report.id);
                self.wrong.remove(&event);
                self.noted.insert(event);
                self.refused.remove(&report.job_id);
                let address = report.address();
                let kept = Kept {
                    sha256: report.sha256.clone(),
                    agency: report.agency.clone(),
                    bag: report.bag.clone(),
                };
                self.kept.insert(address, kept);
                if let Some((document, year, number)) = parts(&report.bag) {
                    self.count(&document, year, number);
                    if let Some((bag, _)) = self.open.get_mut(&(document, year))
                        && bag.number == number
                    {
                        bag.add(*report);
                    }
                }
            }
            What::Refused(refused) => {
                self.noted.insert(noted(&refused.source, &refused.id));
                let of_it = self.refused.entry(refused.job_id.clone());
                of_it.or_default().push(refused);
            }
            What::Wrong(wrong) => {
                let event = wrong.noted();
                self.noted.insert(event.clone());
                self.wrong.insert(event, wrong);
            }
            What::Read { .. } | What::Closed { .. } => {}
        }
    }

    /// The last place in the log that is noted, with the id of the event there.
    pub(super) fn last(&self) -> Option<&(u64, String)> {
        self.last.as_ref()
    }

    /// Whether an event is noted, by what no two have ([`noted`]).
    pub(super) fn has_noted(&self, event: &str) -> bool {
        self.noted.contains(event)
    }

    /// What is kept of a result.
    pub(super) fn kept(&self, address: &Address) -> Option<&Kept> {
        self.kept.get(address)
    }

    /// All that is kept.
    pub(super) fn all(&self) -> impl Iterator<Item = (&Address, &Kept)> {
        self.kept.iter()
    }

    /// The jobs that came to no report.
    pub(super) fn refused(&self) -> impl Iterator<Item = &Refused> {
        self.refused.values().flatten()
    }

    /// What could not be kept.
    pub(super) fn wrong(&self) -> impl Iterator<Item = &Wrong> {
        self.wrong.values()
    }

    /// A folder that is not there yet, in which a report's files are written before they are
    /// handed to [`Keeper::take`].
    pub(super) fn staging(&self, number: u64) -> PathBuf {
        self.root.join(STAGED).join(number.to_string())
    }

    /// Puts reports into their packages and notes all in the journal, in this order.
    ///
    /// # Errors
    /// When the disk fails. What is known is then not what is there: begin anew.
    pub(super) fn take(&mut self, items: Vec<(Option<u64>, Item)>) -> Result<(), Outage> {
        let taken = self.try_take(items);
        taken.map_err(|error| disk::outage(Part::Disk, "archive in", &self.root, error))
    }

    fn try_take(&mut self, items: Vec<(Option<u64>, Item)>) -> io::Result<()> {
        let (mut lines, mut touched) = (Vec::new(), BTreeSet::new());
        for (offset, item) in items {
            let what = match item {
                Item::Refused(refused) => What::Refused(refused),
                Item::Wrong(wrong) => What::Wrong(wrong),
                Item::Report(staged, mut report) => {
                    let document = report.template.split('/').next().unwrap_or_default();
                    let key = (document.to_owned(), report.year);
                    let bag = self.open.get(&key);
                    if bag.is_some_and(|(bag, _)| bag.reports.len() >= self.most) {
                        self.write_down(&mut lines, &mut touched)?;
                        self.close(&key)?;
                    }
                    touched.insert(self.put(&key, &staged, &mut report)?);
                    What::Kept(report)
                }
            };
            let line = Line { offset, what };
            self.note(line.clone());
            lines.push(line);
        }
        self.write_down(&mut lines, &mut touched)
    }

    /// Puts a report into the package that is being filled; and the folder that has changed.
    fn put(
        &mut self,
        key: &(String, u16),
        staged: &Path,
        report: &mut Report,
    ) -> io::Result<PathBuf> {
        if !self.open.contains_key(key) {
            let number = self.numbers.get(key).copied().unwrap_or_default() + 1;
            self.count(&key.0, key.1, number);
            let bag = Bag::new(&key.0, key.1, number);
            self.open.insert(key.clone(), (bag, true));
        }
        let (bag, changed) = self.open.get_mut(key).expect("it was just made");
        *changed = true;
        report.bag = bag.name();
        let place = self.root.join(format!("{}{OPEN}", bag.name()));
        let folder = place.join(DATA).join(&report.folder);
        if !self.made.contains(&folder) {
            disk::make_dir(&folder, &self.root)?;
            self.made.insert(folder.clone());
        }
        fs::rename(staged, folder.join(&report.job_id))?;
        Ok(folder)
    }

    /// Makes what was done outlast a power cut: the files first, then what says that they are there.
    fn write_down(
        &mut self,
        lines: &mut Vec<Line>,
        touched: &mut BTreeSet<PathBuf>,
    ) -> io::Result<()> {
        for folder in std::mem::take(touched) {
            disk::sync_dir(&folder)?;
        }
        match lines.is_empty() {
            true => Ok(()),
            false => self.journal.append(&std::mem::take(lines)),
        }
    }

    /// Notes how far the log was read, where the last of it was nothing new.
    ///
    /// # Errors
    /// When the disk fails.
    pub(super) fn read_to(&mut self, offset: u64, id: String) -> Result<(), Outage> {
        if self.last.as_ref() == Some(&(offset, id.clone())) {
            return Ok(());
        }
        let line = Line {
            offset: Some(offset),
            what: What::Read { id },
        };
        self.note(line.clone());
        let noted = self.journal.append(&[line]);
        noted.map_err(|error| disk::outage(Part::Disk, "archive in", &self.root, error))
    }

    /// Makes every package that is being filled agree with itself, and closes those that are full,
    /// or all.
    ///
    /// # Errors
    /// As [`Keeper::take`].
    pub(super) fn settle(&mut self, close: bool) -> Result<(), Outage> {
        let settled = self.try_settle(close);
        settled.map_err(|error| disk::outage(Part::Disk, "archive in", &self.root, error))
    }

    fn try_settle(&mut self, close: bool) -> io::Result<()> {
        let keys: Vec<(String, u16)> = self.open.keys().cloned().collect();
        for key in keys {
            let (bag, changed) = self.open[&key].clone();
            let full = bag.reports.len() >= self.most;
            if full || close && !bag.reports.is_empty() {
                self.close(&key)?;
            } else if changed && !bag.reports.is_empty() {
                self.complete(&bag)?;
                if let Some((_, changed)) = self.open.get_mut(&key) {
                    *changed = false;
                }
            }
        }
        Ok(())
    }

    /// Writes the texts of a package, those that are not there already; and gives the digest of
    /// the one that vouches for all.
    fn complete(&self, bag: &Bag) -> io::Result<String> {
        let (place, staged) = (self.place(bag), self.root.join(STAGED).join("text"));
        let mut vouches = String::new();
        for (path, bytes) in bag.texts() {
            let target = place.join(&path);
            if path == TAG_MANIFEST {
                vouches = sha256(&bytes);
            }
            match fs::read(&target) {
                Ok(there) if there == bytes => continue,
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            if let Some(folder) = target.parent() {
                disk::make_dir(folder, &self.root)?;
            }
            // Left by one that was killed, or failed.
            fs::remove_file(&staged).unwrap_or_default();
            disk::replace(&staged, &target, &bytes)?;
        }
        Ok(vouches)
    }

    /// Closes a package: from now on it is never touched.
    fn close(&mut self, key: &(String, u16)) -> io::Result<()> {
        let Some((bag, _)) = self.open.get(key) else {
            return Ok(());
        };
        let (bag, from) = (bag.clone(), self.place(bag));
        let sha256 = self.complete(&bag)?;
        let what = What::Closed {
            bag: bag.name(),
            sha256,
        };
        self.journal.append(&[Line { offset: None, what }])?;
        fs::rename(&from, self.root.join(bag.name()))?;
        disk::sync_dir(&self.root)?;
        self.made.retain(|folder| !folder.starts_with(&from));
        self.open.remove(key);
        tracing::info!(reports = bag.reports.len(), dir = %bag.name(), "a package is closed");
        Ok(())
    }

    fn place(&self, bag: &Bag) -> PathBuf {
        self.root.join(format!("{}{OPEN}", bag.name()))
    }
}

/// The names of the packages in a folder, in order: those that are being filled, and those that
/// say that they are bags.
pub(super) fn packages(root: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for path in folders(root)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_open = name.strip_suffix(OPEN).and_then(parts).is_some();
        if is_open || path.join(DECLARATION).try_exists()? {
            names.push(name.into_owned());
        }
    }
    Ok(names)
}

/// The folders in a folder, in order; none, where it is not there.
fn folders(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// Document, year and number of a package's name.
fn parts(name: &str) -> Option<(String, u16, u32)> {
    let (rest, number) = name.rsplit_once('-')?;
    let (document, year) = rest.rsplit_once('-')?;
    is_id(document).then_some(())?;
    Some((
        document.to_owned(),
        year.parse().ok()?,
        number.parse().ok()?,
    ))
}

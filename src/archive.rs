//! The archive: every report that was announced, fetched, checked and kept in packages that can be
//! handed over, a package for a document and year (BagIt, RFC 8493; inside, 档发〔2012〕7号).
//!
//! Takes the log of events and the store, gives a folder. Never changes the store, takes nothing
//! from a queue, and never touches a package that is closed. If we crash here, nothing is lost and
//! nothing is there twice: what is in a package is in the journal or is done again (`keeper.rs` has
//! the table). Read `keeper.rs`, then `report.rs`, then `bag.rs`.

pub mod audit;
mod bag;
mod journal;
mod keeper;
mod report;
pub mod roster;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::task::block_in_place;
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

pub use self::bag::{ELEMENTS, Known};
use self::journal::{Address, Wrong, id_of};
use self::keeper::{Item, Keeper};
use self::report::{Announced, Source, Told};
use crate::config::Settings;
use crate::problem::{Outage, Part};
use crate::store::Store;
use crate::timing::{AGAIN, backoff};
use crate::transport::{Entry, From, Log, Observer};
use crate::typesetter::Templates;
use crate::verify::Verifier;

/// Events that are taken in together: their journal is synced once.
const TOGETHER: usize = 64;
/// Reports that are fetched at once.
const AT_ONCE: usize = 8;
/// How long nothing may come before packages are made to agree with themselves.
const QUIET: Duration = Duration::from_secs(2);
/// How long they may disagree while something comes all the time.
const SETTLE: Duration = Duration::from_secs(60);
/// How long a log may take to hand over the next event, when there is one.
const SILENCE: Duration = Duration::from_secs(10);

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The archive's folder.
    pub dir: PathBuf,
    /// Whether each file is made again and compared.
    pub verify: bool,
    /// Whether to leave at the end of the log, as it is now.
    pub once: bool,
    /// Whether to close every package in the end.
    pub close: bool,
    /// Reports in a package, at least 1.
    pub max_reports: usize,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Reports that are new in the archive.
    pub new: usize,
    /// Whether the log no longer held what was missing, so that the store was listed: what was
    /// refused or has failed meanwhile is then not known.
    pub listed: bool,
    /// All that is in the archive.
    pub holdings: Holdings,
}

/// What an archive has, and what it knows of the rest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holdings {
    /// The reports, in order.
    pub reports: Vec<Held>,
    /// The jobs that came to no report, in the order in which they were told of.
    pub refused: Vec<Unkept>,
    /// The reports that are not in the store as they were announced.
    pub wrong: Vec<Unkept>,
}

/// A report in a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// `name/edition`.
    pub template: String,
    /// The reporting year.
    pub year: u16,
    /// The sender's key.
    pub job_id: String,
    /// As printed.
    pub agency: String,
    /// The package.
    pub bag: String,
}

/// A job without a report in the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unkept {
    /// The sender's key; empty, where none could be read.
    pub job_id: String,
    /// Codes of problems, or what is wrong.
    pub why: String,
}

/// Archives until the log is at its end, where that was asked for, or until the shutdown.
///
/// # Errors
/// When broker, store or folder are not to be had at the start, or the folder fails later. What
/// goes away later and is not the folder is waited for.
pub async fn run(
    settings: &Settings,
    options: &Options,
    shutdown: impl Future<Output = ()>,
) -> Result<Outcome, Outage> {
    let mut keeper = Keeper::open(&options.dir, options.max_reports)?;
    let store = store(settings).await?;
    let forms = Templates::load(settings.templates.folder())?.forms();
    let verifier = match options.verify {
        true => Some(Verifier::start(settings).await?),
        false => None,
    };
    let source = Source {
        store,
        verifier,
        forms,
    };
    let observer = Observer::open(&settings.queue).await?;
    let mut follower = Follower {
        keeper: &mut keeper,
        source: &source,
        once: options.once,
        staged: 0,
        new: 0,
        listed: false,
        read: None,
    };
    let following = follower.run(settings, observer);
    tokio::select! {
        ended = following => ended?,
        () = shutdown => {}
    }
    block_in_place(|| follower.end(options.close))?;
    let (new, listed) = (follower.new, follower.listed);
    if let Some(verifier) = source.verifier {
        verifier.close().await;
    }
    Ok(Outcome {
        new,
        listed,
        holdings: holdings(&keeper),
    })
}

async fn store(settings: &Settings) -> Result<Store, Outage> {
    match Store::visit(&settings.store)? {
        Some(store) if store.is_begun().await? => Ok(store),
        _ => {
            let url = &settings.store.url;
            let message = format!("there is no store at {url} yet: no worker has begun one there");
            Err(Outage::new(Part::Store, message))
        }
    }
}

fn holdings(keeper: &Keeper) -> Holdings {
    let held = |((template, year, job_id), kept): (&Address, &keeper::Kept)| Held {
        template: template.clone(),
        year: *year,
        job_id: job_id.clone(),
        agency: kept.agency.clone(),
        bag: kept.bag.clone(),
    };
    // What another event of the same result has brought meanwhile is kept.
    let unkept = |wrong: &Wrong| match Told::read(wrong.event.as_bytes()) {
        Some(Told::Completed(it)) => match keeper.kept(&it.address) {
            Some(kept) if kept.sha256 == it.sha256 => None,
            _ => Some(it.address.2),
        },
        _ => Some(String::new()),
    };
    Holdings {
        reports: keeper.all().map(held).collect(),
        refused: keeper
            .refused()
            .map(|refused| Unkept {
                job_id: refused.job_id.clone(),
                why: refused.codes.join(", "),
            })
            .collect(),
        wrong: keeper
            .wrong()
            .filter_map(|wrong| {
                Some(Unkept {
                    job_id: unkept(wrong)?,
                    why: wrong.why.clone(),
                })
            })
            .collect(),
    }
}

/// Whoever reads the log and fills packages.
struct Follower<'a> {
    keeper: &'a mut Keeper,
    source: &'a Source,
    once: bool,
    /// Reports that were fetched.
    staged: u64,
    /// Reports that are new.
    new: usize,
    listed: bool,
    /// The last event that was read.
    read: Option<(u64, String)>,
}

impl Follower<'_> {
    /// Goes on until the end, whatever goes away meanwhile and comes back: all but our own folder,
    /// of which we then no longer know what is there.
    async fn run(&mut self, settings: &Settings, observer: Observer) -> Result<(), Outage> {
        let mut observer = Some(observer);
        let mut tries = 0;
        let mut retried = false;
        loop {
            let followed = async {
                let observer = match observer.take() {
                    Some(observer) => observer,
                    None => Observer::open(&settings.queue).await?,
                };
                let followed = async {
                    if !retried {
                        self.retry().await?;
                        retried = true;
                    }
                    self.follow(&observer, &mut tries).await
                }
                .await;
                observer.close().await;
                followed
            }
            .await;
            let outage = match followed {
                Ok(()) => return Ok(()),
                Err(outage) if outage.part == Part::Disk => return Err(outage),
                Err(outage) => outage,
            };
            if tries == 0 {
                warn!(error = %outage.chain(), "the archive waits until what is out is back");
            }
            tokio::time::sleep(backoff(AGAIN, tries)).await;
            tries += 1;
        }
    }

    /// Tries again what could not be kept before.
    async fn retry(&mut self) -> Result<(), Outage> {
        let wrong = self.keeper.wrong();
        let events: Vec<Vec<u8>> = wrong.map(|wrong| wrong.event.clone().into()).collect();
        for event in events {
            if let Some(told) = Told::read(&event) {
                self.keep(vec![(None, told)]).await?;
            }
        }
        Ok(())
    }

    async fn follow(&mut self, observer: &Observer, tries: &mut u32) -> Result<(), Outage> {
        let end = match self.once {
            true => observer.newest().await?.map(|entry| entry.offset),
            false => None,
        };
        let (mut log, read) = self.resume(observer).await?;
        if self.once && end.is_some() && read >= end {
            return Ok(());
        }
        let mut settled = Instant::now();
        loop {
            let entries = match timeout(QUIET, log.some(TOGETHER)).await {
                Ok(entries) => entries?,
                Err(_) => {
                    block_in_place(|| self.end(false))?;
                    is_back(tries);
                    match self.once {
                        false => log.some(TOGETHER).await?,
                        // What was there may go away meanwhile, at its age's end.
                        true => match timeout(SILENCE, log.some(TOGETHER)).await {
                            Ok(entries) => entries?,
                            Err(_) => return Ok(()),
                        },
                    }
                }
            };
            let last = entries.last().map(|entry| entry.offset);
            self.take(entries).await?;
            is_back(tries);
            if self.once && end.is_some() && last >= end {
                return Ok(());
            }
            if settled.elapsed() > SETTLE {
                block_in_place(|| self.end(false))?;
                settled = Instant::now();
            }
        }
    }

    /// Goes on in the log after the last event that we know, whose place is given, too. Where the
    /// log no longer has that one, or no longer begins at its beginning, what may be missing is
    /// taken from the store first.
    async fn resume(&mut self, observer: &Observer) -> Result<(Log, Option<u64>), Outage> {
        // A spool's files are in the order of their times, which is nearly that in which they came.
        let is_spool = matches!(observer, Observer::Spool(_));
        let known = self.keeper.last().cloned().filter(|_| !is_spool);
        let from = match &known {
            Some((offset, _)) => From::Offset(*offset),
            None => From::Time(0),
        };
        let mut log = observer.log(from).await?;
        if is_spool {
            return Ok((log, None));
        }
        let first = match timeout(SILENCE, log.next()).await {
            Ok(first) => Some(first?),
            Err(_) => None,
        };
        let is_whole = match (&first, known) {
            (Some(first), Some((offset, id))) => {
                if first.offset == offset && id_of(&first.event) == id {
                    return Ok((log, Some(offset)));
                }
                false
            }
            (Some(first), None) => first.offset == 0,
            (None, known) => known.is_none(),
        };
        if !is_whole {
            self.listed = true;
            warn!(
                "the log of events no longer has what is missing here: that is taken from the \
                 store's manifests, and what was refused or has failed meanwhile is not known"
            );
        }
        if !is_whole || first.is_none() {
            self.list().await?;
        }
        Ok((observer.log(From::Time(0)).await?, None))
    }

    /// Takes in what the store holds and nobody told us of.
    async fn list(&mut self) -> Result<(), Outage> {
        let keys = self.source.store.keys().await?;
        let store = &self.source.store;
        let reading = keys.into_iter().map(async |key| {
            let manifest = store.object(&key, "json").await?;
            let place = store.uri(&store.manifest(&key));
            Ok::<_, Outage>((place, manifest))
        });
        let manifests: Vec<_> = stream::iter(reading)
            .buffer_unordered(AT_ONCE)
            .try_filter_map(async |(place, manifest)| {
                let announced = manifest.map(|it| Announced::by(&it));
                if let Some(Err(why)) = &announced {
                    warn!(file = %place, why, "what is stored is not archived");
                }
                Ok(announced.and_then(Result::ok))
            })
            .try_collect()
            .await?;
        let mut new: Vec<Announced> = manifests
            .into_iter()
            .filter(|it| !self.keeper.has_noted(&it.event()))
            .collect();
        new.sort_by(|one, other| one.address.cmp(&other.address));
        self.listed |= !new.is_empty();
        info!(
            reports = new.len(),
            "the store holds reports that are not archived yet"
        );
        let mut new = new.into_iter().peekable();
        while new.peek().is_some() {
            let some = new.by_ref().take(TOGETHER);
            let some = some.map(|it| (None, Told::Completed(it))).collect();
            self.keep(some).await?;
        }
        Ok(())
    }

    /// Takes events in.
    async fn take(&mut self, entries: Vec<Entry>) -> Result<(), Outage> {
        let read = entries.last();
        let read = read.map(|entry| (entry.offset, id_of(&entry.event)));
        let told = entries
            .iter()
            .filter_map(|entry| Some((Some(entry.offset), Told::read(&entry.event)?)));
        self.keep(told.collect()).await?;
        self.read = read;
        Ok(())
    }

    /// Fetches what is new, all at once, and keeps it in the order in which it came.
    async fn keep(&mut self, told: Vec<(Option<u64>, Told)>) -> Result<(), Outage> {
        let mut together = BTreeSet::new();
        let mut new = Vec::new();
        for (offset, told) in told {
            let event = told.event();
            // A repeat; but what was wrong before comes again without a place.
            if offset.is_some() && self.keeper.has_noted(&event) || !together.insert(event) {
                continue;
            }
            self.staged += 1;
            new.push((offset, told, self.keeper.staging(self.staged)));
        }
        let (source, keeper) = (self.source, &*self.keeper);
        let fetching = new.into_iter().map(async |(offset, told, folder)| {
            let announced = match told {
                Told::Refused(refused) => return Ok((offset, Some(Item::Refused(refused)))),
                Told::Completed(announced) => announced,
            };
            let kept = keeper.kept(&announced.address);
            let item = match kept {
                // Told of by an event with another source or id: the same result.
                Some(kept) if kept.sha256 == announced.sha256 => None,
                Some(kept) => Some(Err(format!(
                    "another result of this job_id is in the package {}",
                    kept.bag
                ))),
                None => Some(source.stage(&announced, &folder).await?),
            };
            let item = item.map(|staged| match staged {
                Ok(report) => Item::Report(folder, Box::new(report)),
                Err(why) => Item::Wrong(Wrong {
                    event: String::from_utf8_lossy(&announced.body).into_owned(),
                    why,
                }),
            });
            Ok::<_, Outage>((offset, item))
        });
        let fetched: Vec<_> = stream::iter(fetching)
            .buffered(AT_ONCE)
            .try_collect()
            .await?;
        let mut items = Vec::new();
        let mut taken = BTreeSet::new();
        for (offset, item) in fetched {
            match item {
                None => continue,
                Some(Item::Report(_, report)) if !taken.insert(report.address()) => continue,
                Some(Item::Wrong(wrong)) if self.is_known(&wrong) => continue,
                Some(Item::Wrong(wrong)) => {
                    let id = wrong.id();
                    warn!(event.id = %id, why = %wrong.why, "a report is not archived");
                    items.push((offset, Item::Wrong(wrong)));
                }
                Some(item) => {
                    self.new += usize::from(matches!(item, Item::Report(..)));
                    items.push((offset, item));
                }
            }
        }
        block_in_place(|| self.keeper.take(items))
    }

    /// Whether this was found wrong before, for the same reason.
    fn is_known(&self, wrong: &Wrong) -> bool {
        self.keeper.wrong().any(|known| known == wrong)
    }

    /// Makes the packages agree with themselves, and notes how far the log was read.
    fn end(&mut self, close: bool) -> Result<(), Outage> {
        if let Some((offset, id)) = self.read.take() {
            self.keeper.read_to(offset, id)?;
        }
        self.keeper.settle(close)
    }
}

/// Says that what was out is back, where something was.
fn is_back(tries: &mut u32) {
    if std::mem::take(tries) > 0 {
        info!("the archive goes on: what was out is back");
    }
}

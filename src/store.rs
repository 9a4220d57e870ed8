//! Where results are kept: `{template}/{year}/{job_id}.pdf` and beside it the manifest.
//!
//! Takes a PDF with its companions and what is known of its job, gives [`Stored`]. Never overwrites. The manifest is
//! the commit point: if we crash before it is there, the job is done again and its PDF found to
//! be the same; if we crash after it, the next delivery finds it, and only its event is published
//! again.
//!
//! # Two workers with one job
//!
//! A job can be in two hands at once: a worker cut off from the broker goes on working while its
//! job is given to another. Nobody can know that they are alone, so nobody may overwrite: each
//! object is put only if it is absent, the store picks the winner, and the loser reads what won
//! and goes on with *that*. Both then speak of the same bytes, and their events are the same. Had
//! the loser replaced the PDF with its own, a manifest or an event already sent would name a
//! digest that is no longer there.
//!
//! # A store that overwrites
//!
//! There are S3 servers that ignore the condition without a word. [`Store::ready`] finds them out,
//! and with them the rule is that of Fischer's lock (Lamport, "A fast mutual exclusion algorithm",
//! 1987): look; where nothing is, put; wait until everybody who looked at the same time has put,
//! too; look again, and speak only of what is there now. It holds as long as nobody takes longer
//! than the wait from their look to the end of their put, which a clock cannot promise.

mod bucket;
mod errors;
mod examine;
mod folder;
mod manifest;

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use futures_util::StreamExt as _;
use metrics::gauge;
use object_store::local::LocalFileSystem;
use object_store::{
    Attribute, Attributes, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload,
};
use tracing::{info, warn};

use self::errors::Answer;
pub use self::examine::{Clock, Examined, ReadBack, Site};
use self::folder::Folder;
pub use self::manifest::{Artifact, Companion, Content, FontFacts, Manifest, TemplateFacts};
use crate::config::{self, ConditionalPut, Create, Format};
use crate::digest::sha256;
use crate::disk;
use crate::problem::{Code, Failure, Outage, Part, Problem, Rejection};
use crate::telemetry::metric;
use crate::telemetry::trace::{self, Span};

/// The media type of a report.
pub const PDF: &str = "application/pdf";

/// The media type of a manifest.
const JSON: &str = "application/json";

/// The object by which [`Store::ready`] sees that the store takes an object, and takes it once. It
/// says how the store is laid out.
const MARKER: &str = ".banshi-ready";

/// Times that a put is tried whose answer does not come. Each takes `store.timeout`; what takes
/// longer is for the worker, whose retries wait outside.
const PUT_TRIES: u32 = 3;

/// The wait before a second try; the third waits twice as long.
const PAUSE: Duration = Duration::from_millis(200);

/// Where a job's objects are. Nobody else forms their names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    path: String,
    digest: String,
}

impl Key {
    /// The key of a job: its template as `name/edition`, its reporting year and its id.
    pub fn new(template: &str, year: u16, job_id: &str) -> Key {
        Key {
            path: format!("{template}/{year}/{job_id}"),
            digest: sha256(job_id.as_bytes()),
        }
    }

    /// The key of a manifest, by the end of its path; none, for what is no manifest's.
    fn of_manifest(path: &str) -> Option<Key> {
        let mut parts = path.strip_suffix(".json")?.rsplit('/');
        let (job_id, year) = (parts.next()?, parts.next()?.parse().ok()?);
        let (edition, name) = (parts.next()?, parts.next()?);
        Some(Key::new(&format!("{name}/{edition}"), year, job_id))
    }
}

/// Proof that a job's PDF and manifest are kept. Only the store makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "what is stored has to be announced"]
pub struct Stored(Manifest);

impl Stored {
    /// The manifest as it is stored, be it ours or that of another worker who was first.
    pub fn manifest(&self) -> &Manifest {
        &self.0
    }
}

/// A report of which nothing says yet that it is stored: its PDF is, and no manifest.
#[derive(Debug)]
pub struct Draft<'a> {
    /// The PDF that is there: the one that was to be put, or that of another build of the same job.
    pub pdf: Cow<'a, [u8]>,
    /// Whether one was there before. Others are then at the same job, or were.
    pub was_there: bool,
    /// What stands beside it already.
    pub kept: Vec<Beside<'a>>,
    /// What is to stand beside it.
    companions: Vec<Beside<'a>>,
    manifest: Manifest,
}

/// What a put has come to with the PDF.
#[derive(Debug)]
pub enum Begun<'a> {
    /// The manifest was there.
    Done(Stored),
    /// Nothing says yet that it is stored.
    Draft(Draft<'a>),
}

/// The same report in another format, or a signature of it, to be stored beside its PDF.
#[derive(Debug, Clone)]
pub struct Beside<'a> {
    /// Its name in manifests, and the ending of its file.
    pub format: &'static str,
    /// Its media type.
    pub media_type: &'static str,
    /// The file.
    pub bytes: Cow<'a, [u8]>,
}

/// A folder or a bucket. Clones are the same store.
#[derive(Debug, Clone)]
pub struct Store {
    objects: Arc<dyn ObjectStore>,
    place: Place,
    shards: usize,
    shard_digits: usize,
    conditional_put: ConditionalPut,
    settle: Duration,
    /// How long the next of a list may take.
    patience: Duration,
    /// Whether this store was seen to overwrite what was to be put only if it is absent.
    overwrites: Arc<AtomicBool>,
    /// Whether this may become a store, if it is none yet. A folder that was one may not again: its
    /// disk has gone.
    may_begin: Arc<AtomicBool>,
}

#[derive(Debug, Clone)]
enum Place {
    Folder(Folder),
    Bucket {
        bucket: String,
        prefix: object_store::path::Path,
    },
}

/// A folder that was entered; none, where there is no store yet.
type Entered = Option<(Arc<dyn ObjectStore>, Place)>;

/// For what a store is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    Use,
    Look,
}

/// What became of a put if absent.
enum Put {
    New,
    Exists,
    Unconditional(Answer),
}

impl Store {
    /// Opens the store of the settings. A folder is made when it is missing and may be
    /// (`store.create`), and what killed processes left half written in it is swept; a bucket is
    /// not asked anything yet, that is [`Store::ready`]'s task.
    ///
    /// # Errors
    /// A folder that is no store and may not become one, cannot be made or locked, or does not
    /// answer; an address or `AWS_*` variable that makes no sense.
    pub fn open(settings: &config::Store) -> Result<Store, Outage> {
        let opened = Store::open_as(settings, Entry::Use)?;
        opened.ok_or_else(|| no_store(&settings.url))
    }

    /// Opens the store for [`Store::examine`]: nothing is made, and nothing swept. None for a
    /// folder that is no store yet and that a worker makes one of.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn visit(settings: &config::Store) -> Result<Option<Store>, Outage> {
        Store::open_as(settings, Entry::Look)
    }

    fn open_as(settings: &config::Store, entry: Entry) -> Result<Option<Store>, Outage> {
        let url = &settings.url;
        let (objects, place, may_begin) = if let Some(dir) = url.strip_prefix("file:") {
            match open_folder(dir, settings, entry)? {
                (Some((objects, place)), may_begin) => (objects, place, may_begin),
                (None, _) => return Ok(None),
            }
        } else if let Some(rest) = url.strip_prefix("s3://") {
            let (objects, place) = open_bucket(rest, settings)?;
            (objects, place, settings.create != Create::Never)
        } else {
            let message = format!("store.url {url:?}: want file:DIR or s3://bucket/prefix");
            return Err(Outage::new(Part::Store, message));
        };
        Ok(Some(Store {
            objects,
            place,
            shards: settings.shards,
            shard_digits: settings.shard_digits(),
            conditional_put: settings.conditional_put,
            settle: Duration::from_secs(settings.settle),
            patience: Duration::from_secs(settings.timeout),
            overwrites: Arc::default(),
            may_begin: Arc::new(AtomicBool::new(may_begin)),
        }))
    }

    /// Where it is, for people.
    pub fn address(&self) -> String {
        match &self.place {
            Place::Folder(folder) => folder.root.display().to_string(),
            Place::Bucket { .. } => self.uri(""),
        }
    }

    /// The path of a job's PDF.
    pub fn pdf(&self, key: &Key) -> String {
        self.path(key, "pdf")
    }

    /// The path of a job's manifest.
    pub fn manifest(&self, key: &Key) -> String {
        self.path(key, "json")
    }

    /// With shards, their names come first: servers that divide their work by the beginning of the
    /// name then divide it evenly.
    fn path(&self, key: &Key, extension: &str) -> String {
        match self.shard_digits {
            0 => format!("{}.{extension}", key.path),
            digits => format!("{}/{}.{extension}", &key.digest[..digits], key.path),
        }
    }

    /// The address of an object, for people and for events.
    pub fn uri(&self, path: &str) -> String {
        let location = self.location(path);
        match &self.place {
            Place::Folder(folder) => file_uri(&folder.root.join(location.as_ref())),
            Place::Bucket { bucket, .. } => format!("s3://{bucket}/{location}"),
        }
    }

    /// Checks that the store answers, takes objects, is laid out as the settings say, and refuses
    /// to overwrite an object: what is put here a second time must be refused. There are S3
    /// servers that ignore the condition, and with them two workers could not agree; such a one is
    /// used by a weaker rule or not at all, as the settings say.
    ///
    /// It costs a small put and a small read, and changes nothing after the first time: it can be
    /// asked again and again whether a store that was out is back.
    ///
    /// # Errors
    /// When it does not, or is not there, with what to do.
    pub async fn ready(&self) -> Result<(), Outage> {
        if self.begin().await? {
            info!("began a new store: {}", self.address());
        }
        Ok(())
    }

    /// As [`Store::ready`], and says whether the store was begun just now.
    ///
    /// # Errors
    /// As [`Store::ready`].
    pub async fn begin(&self) -> Result<bool, Outage> {
        let note = format!(
            "banshi checks with this object that the store takes an object, and never overwrites \
             one.\nstore.shards = {}\n",
            self.shards
        );
        // One that is there already says what the layout is. Looked at before anything is put: at
        // a store that overwrites, what is put is no longer what was there.
        let there = self.read(MARKER).await?;
        match &there {
            Some(there) => self.same_layout(there)?,
            None if self.may_begin.load(Ordering::Relaxed) => {}
            None => return Err(no_store(&self.address())),
        }
        let mut keeps = false;
        for _ in 0..2 {
            match self
                .put_if_absent(MARKER, note.as_bytes(), "text/plain")
                .await?
            {
                Put::New => {}
                Put::Exists => {
                    keeps = true;
                    break;
                }
                Put::Unconditional(answer) if self.conditional_put == ConditionalPut::Require => {
                    return Err(answer.into_outage(self, "put", MARKER));
                }
                Put::Unconditional(_) => {
                    self.overwrite(MARKER, note.as_bytes(), "text/plain")
                        .await?;
                    break;
                }
            }
        }
        if there.is_none() {
            // Another worker, with other settings, may have been first.
            self.same_layout(&self.read_existing(MARKER).await?)?;
        }
        self.note_condition(keeps)?;
        if matches!(self.place, Place::Folder(_)) {
            self.may_begin.store(false, Ordering::Relaxed);
        }
        Ok(there.is_none())
    }

    fn note_condition(&self, keeps: bool) -> Result<(), Outage> {
        if !keeps && self.conditional_put == ConditionalPut::Require {
            let message = format!(
                "the store overwrites {}, although asked to put it only if it is absent \
                 (If-None-Match: *); use a store that keeps this condition, or \
                 store.conditional_put = \"prefer\" with what it does not promise",
                self.uri(MARKER)
            );
            return Err(Outage::new(Part::Store, message));
        }
        let overwrote = self.overwrites.swap(!keeps, Ordering::Relaxed);
        self.measure();
        if !keeps && !overwrote {
            warn!(
                settle_s = self.settle.as_secs(),
                "the store overwrites {} although asked not to (If-None-Match: *): banshi looks \
                 before each put and again after store.settle. Two workers that differ on one \
                 job_id can then still both announce it, if a put takes longer than that",
                self.uri(MARKER)
            );
        }
        Ok(())
    }

    /// Whether the store takes objects now: as [`Store::ready`], and on a disk whether there is
    /// room for a report. A few bytes fit onto many a full disk.
    ///
    /// # Errors
    /// When it does not, with what to do.
    pub async fn probe(&self) -> Result<(), Outage> {
        let Place::Folder(folder) = &self.place else {
            return self.ready().await;
        };
        let folder = folder.on_trial();
        self.blocking(MARKER, &folder, folder.room()).await?;
        let trial = Store {
            place: Place::Folder(folder),
            ..self.clone()
        };
        trial.ready().await
    }

    /// Says in the metrics whether the store keeps the condition on puts. A worker asks for it once
    /// they are recorded, which is after the store was first seen to be ready.
    pub fn measure(&self) {
        gauge!(metric::STORE_CONDITIONAL).set(if self.overwrites() { 0.0 } else { 1.0 });
    }

    /// Whether a marker was written with as many shards as we have. Otherwise what is stored would
    /// be looked for in the wrong place, not found, and stored a second time.
    fn same_layout(&self, marker: &[u8]) -> Result<(), Outage> {
        let text = String::from_utf8_lossy(marker);
        let theirs = text
            .lines()
            .find_map(|line| line.strip_prefix("store.shards = "));
        let ours = self.shards.to_string();
        match theirs {
            Some(theirs) if theirs != ours => Err(Outage::new(
                Part::Store,
                format!(
                    "the store was begun with store.shards = {theirs}, and the settings say \
                     {ours}: what is stored would not be found and be stored again. Set it back, \
                     or begin an empty store ({} says how it is laid out)",
                    self.uri(MARKER)
                ),
            )),
            _ => Ok(()),
        }
    }

    /// Whether this store was seen to ignore the condition on puts.
    fn overwrites(&self) -> bool {
        self.overwrites.load(Ordering::Relaxed)
    }

    /// The manifest at a key, of whichever job.
    ///
    /// # Errors
    /// When the store does not answer, or what is there is no manifest.
    pub async fn find(&self, key: &Key) -> Result<Option<Manifest>, Outage> {
        let path = self.manifest(key);
        match self.read(&path).await? {
            Some(bytes) => Ok(Some(self.parse(&path, &bytes)?)),
            None => Ok(None),
        }
    }

    /// One of a job's objects as it is stored, by the ending of its name; none, when there is none.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn object(&self, key: &Key, ending: &str) -> Result<Option<Vec<u8>>, Outage> {
        self.read(&self.path(key, ending)).await
    }

    /// The keys of all manifests, in no order.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn keys(&self) -> Result<Vec<Key>, Outage> {
        let prefix = match &self.place {
            Place::Folder(_) => None,
            Place::Bucket { prefix, .. } => Some(prefix.clone()),
        };
        let mut listed = self.objects.list(prefix.as_ref());
        let mut keys = Vec::new();
        loop {
            let next = tokio::time::timeout(self.patience, listed.next()).await;
            let next = next.map_err(|_| {
                let message = format!("{} does not answer when it is listed", self.address());
                Outage::new(Part::Store, message)
            })?;
            let Some(found) = next else { break };
            let found = found.map_err(|error| self.sort("list", "", error));
            match found {
                Ok(found) => keys.extend(Key::of_manifest(found.location.as_ref())),
                Err(answer) => return Err(answer.into_outage(self, "list", "")),
            }
        }
        Ok(keys)
    }

    fn parse(&self, path: &str, bytes: &[u8]) -> Result<Manifest, Outage> {
        serde_json::from_slice(bytes).map_err(|error| {
            let message = format!(
                "{} is no manifest of banshi; restore or remove it",
                self.uri(path)
            );
            Outage::because(Part::Store, message, error)
        })
    }

    /// What is already kept of this job: for a delivery that may have been worked on before. It
    /// takes a job's identity alone, not its report, which need not be one that this build would
    /// accept.
    ///
    /// # Errors
    /// As [`Store::find`], and `E-CONFLICT` when the id was used with other content.
    pub async fn recall(&self, key: &Key, job: &Content) -> Result<Option<Stored>, Failure> {
        let Some(manifest) = self.find(key).await? else {
            return Ok(None);
        };
        if !self.overwrites() {
            return Ok(Some(same_job(manifest, job)?));
        }
        // Its writer may have died before it saw whether all belong together: without what it
        // names it is as if it were not there, and the job is done again.
        let stored = self.settled(key, job).await?;
        for (path, named) in self.named_by(key, stored.manifest()) {
            if !self.holds(&path, named).await? {
                return Ok(None);
            }
        }
        Ok(Some(stored))
    }

    /// The path of each object that a manifest names, with its digest.
    fn named_by<'a>(&self, key: &Key, manifest: &'a Manifest) -> Vec<(String, &'a str)> {
        let pdf = (self.pdf(key), manifest.artifact.sha256.as_str());
        let companions = manifest.companions.iter();
        let companions = companions.map(|it| (self.path(key, &it.format), it.sha256.as_str()));
        std::iter::once(pdf).chain(companions).collect()
    }

    /// Whether an object is there and has this digest.
    async fn holds(&self, path: &str, named: &str) -> Result<bool, Outage> {
        let there = self.read(path).await?;
        Ok(there.is_some_and(|bytes| sha256(&bytes) == named))
    }

    /// Keeps a report: the PDF if it is absent, so each of its companions, then the manifest. What
    /// the store alone knows is filled in here: where they are, and the digests and sizes of what
    /// is really there.
    ///
    /// # Errors
    /// `E-CONFLICT` when the job's id was used with other content, which is untouched; an outage
    /// when either may not be safe: the job is then to be done again.
    pub async fn put(
        &self,
        key: &Key,
        pdf: &[u8],
        companions: &[(Format, Vec<u8>)],
        manifest: Manifest,
    ) -> Result<Stored, Failure> {
        match self.begin_put(key, pdf, companions, manifest).await? {
            Begun::Done(stored) => Ok(stored),
            Begun::Draft(draft) => self.commit(key, draft).await,
        }
    }

    /// The beginning of [`Store::put`]: the PDF, and nothing that says so.
    ///
    /// # Errors
    /// As [`Store::put`].
    pub async fn begin_put<'a>(
        &self,
        key: &Key,
        pdf: &'a [u8],
        companions: &'a [(Format, Vec<u8>)],
        mut manifest: Manifest,
    ) -> Result<Begun<'a>, Failure> {
        let companions = companions.iter().map(|(format, bytes)| Beside {
            format: format.as_str(),
            media_type: format.media_type(),
            bytes: bytes.into(),
        });
        let companions: Vec<_> = companions.collect();
        let pdf_path = self.pdf(key);
        let found = put_span("pdf").of(self.keep(&pdf_path, pdf, PDF)).await?;
        let was_there = found.is_some();
        let kept = found.filter(|kept| kept != pdf);
        let mut pdf = Cow::Borrowed(pdf);
        if let Some(kept) = kept {
            if let Some(theirs) = self.find(key).await? {
                let stored = if self.overwrites() {
                    // It may yet be overwritten; and its writer may have died before it put its PDF
                    // back, which we have.
                    let stored = self.settled(key, &manifest.job).await?;
                    self.reconcile(key, stored, &pdf, &companions).await
                } else {
                    self.agree(key, theirs, &manifest.job, &kept)
                };
                return stored.map(Begun::Done);
            }
            // No manifest: the PDF of a worker that was killed before it could commit, or of one
            // that is about to. The PDF's first /ID is made from the job's digest and outlives a
            // change of fonts or engine. The same id: the same job, set by another build. Its PDF
            // was first and stays, and whoever writes the manifest writes of that one.
            if same_document(&kept, &pdf) {
                match manifest.clone().of_found(&kept) {
                    Ok(theirs) => manifest = theirs,
                    Err(why) => warn!(
                        why,
                        "the PDF of another build, which was there, does not say how it was made: \
                         its manifest names this build"
                    ),
                }
                pdf = kept.into();
            } else if !self.overwrites() {
                return Err(Rejection::from(conflict(&manifest.job_id)).into());
            }
            // Of another job, where it may be overwritten yet: it decides nothing, the manifest
            // does.
        }
        Ok(Begun::Draft(Draft {
            pdf,
            was_there,
            kept: Vec::new(),
            companions,
            manifest,
        }))
    }

    /// Keeps one file more beside a PDF, if it is absent, and gives what is there instead, if
    /// something is.
    ///
    /// # Errors
    /// When it may not be safe.
    pub async fn keep_beside(
        &self,
        key: &Key,
        beside: &Beside<'_>,
    ) -> Result<Option<Vec<u8>>, Outage> {
        let path = self.path(key, beside.format);
        let kept = self.keep(&path, &beside.bytes, beside.media_type);
        put_span(beside.format).of(kept).await
    }

    /// The address of one of a job's objects, by the ending of its name.
    pub fn uri_of(&self, key: &Key, ending: &str) -> String {
        self.uri(&self.path(key, ending))
    }

    /// What a manifest says of a file beside its PDF.
    fn companion(&self, key: &Key, beside: &Beside<'_>, bytes: &[u8]) -> Companion {
        Companion {
            format: beside.format.to_owned(),
            uri: self.uri_of(key, beside.format),
            media_type: beside.media_type.to_owned(),
            sha256: sha256(bytes),
            bytes: bytes.len() as u64,
        }
    }

    /// The end of [`Store::put`]: the companions, and the manifest that names all of it.
    ///
    /// # Errors
    /// As [`Store::put`].
    pub async fn commit(&self, key: &Key, draft: Draft<'_>) -> Result<Stored, Failure> {
        let Draft {
            pdf,
            kept,
            mut companions,
            mut manifest,
            ..
        } = draft;
        let path = self.manifest(key);
        manifest.uri = self.uri(&path);
        manifest.artifact.uri = self.uri(&self.pdf(key));
        manifest.artifact.sha256 = sha256(&pdf);
        manifest.artifact.bytes = pdf.len() as u64;
        for ours in &companions {
            let path = self.path(key, ours.format);
            let kept = put_span(ours.format).of(self.keep(&path, &ours.bytes, ours.media_type));
            // Beside our job's PDF, so of our job, be it of another build; but where anybody may
            // overwrite it is what the manifest names that stays.
            let kept = kept.await?.filter(|_| !self.overwrites());
            let bytes = kept.as_deref().unwrap_or(&ours.bytes);
            manifest.companions.push(self.companion(key, ours, bytes));
        }
        for beside in &kept {
            manifest
                .companions
                .push(self.companion(key, beside, &beside.bytes));
        }
        companions.extend(kept);
        let mut text = serde_json::to_vec_pretty(&manifest).expect("a manifest is plain data");
        text.push(b'\n');
        let theirs = put_span("manifest")
            .of(self.keep(&path, &text, JSON))
            .await?;
        if self.overwrites() {
            let stored = self.settled(key, &manifest.job).await?;
            return self.reconcile(key, stored, &pdf, &companions).await;
        }
        match theirs {
            None => Ok(Stored(manifest)),
            Some(theirs) => self.agree(key, self.parse(&path, &theirs)?, &manifest.job, &pdf),
        }
    }

    /// Another worker's manifest wins if it is of the same job and speaks of the PDF that is there.
    fn agree(
        &self,
        key: &Key,
        theirs: Manifest,
        job: &Content,
        pdf: &[u8],
    ) -> Result<Stored, Failure> {
        let stored = same_job(theirs, job)?;
        match stored.manifest().artifact.sha256 == sha256(pdf) {
            true => Ok(stored),
            false => Err(self.changed(key, &self.pdf(key)).into()),
        }
    }

    fn changed(&self, key: &Key, path: &str) -> Outage {
        let message = format!(
            "{} is not the file that {} names; it was changed after it was stored: restore it from \
             a backup",
            self.uri(path),
            self.uri(&self.manifest(key))
        );
        Outage::new(Part::Store, message)
    }

    /// At a store that overwrites: the manifest that is there when everybody who could have looked
    /// at the same time as we has put theirs.
    async fn settled(&self, key: &Key, job: &Content) -> Result<Stored, Failure> {
        tokio::time::sleep(self.settle).await;
        match self.find(key).await? {
            Some(manifest) => Ok(same_job(manifest, job)?),
            None => Err(self.vanished(&self.manifest(key)).into()),
        }
    }

    /// At a store that overwrites: the manifest decides. Where another job, or another build, has
    /// put its own over what it names, whoever has that puts it back.
    async fn reconcile(
        &self,
        key: &Key,
        stored: Stored,
        pdf: &[u8],
        companions: &[Beside<'_>],
    ) -> Result<Stored, Failure> {
        for (path, named) in self.named_by(key, stored.manifest()) {
            if self.holds(&path, named).await? {
                continue;
            }
            let companions = companions.iter();
            let companions = companions.map(|ours| (&*ours.bytes, ours.media_type));
            let mut ours = std::iter::once((pdf, PDF)).chain(companions);
            let ours = ours.find(|(bytes, _)| sha256(bytes) == named);
            let Some((bytes, media_type)) = ours else {
                return Err(self.changed(key, &path).into());
            };
            self.overwrite(&path, bytes, media_type).await?;
        }
        Ok(stored)
    }

    /// Puts an object if it is absent, or gives what is there.
    async fn keep(
        &self,
        path: &str,
        bytes: &[u8],
        media_type: &'static str,
    ) -> Result<Option<Vec<u8>>, Outage> {
        // S3 answers a put that crosses another with 409 as if it were there, and the other may
        // yet fail.
        for _ in 0..3 {
            if self.create(path, bytes, media_type).await? {
                return Ok(None);
            }
            if let Some(there) = self.read(path).await? {
                return Ok(Some(there));
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(self.vanished(path))
    }

    /// Puts an object if it is absent; `false` when one is there.
    async fn create(
        &self,
        path: &str,
        bytes: &[u8],
        media_type: &'static str,
    ) -> Result<bool, Outage> {
        if self.overwrites() {
            if self.read(path).await?.is_some() {
                return Ok(false);
            }
            self.overwrite(path, bytes, media_type).await?;
            return Ok(true);
        }
        match self.put_if_absent(path, bytes, media_type).await? {
            Put::New => Ok(true),
            Put::Exists => Ok(false),
            Put::Unconditional(answer) => Err(answer.into_outage(self, "put", path)),
        }
    }

    /// The condition is the store's to keep. A put whose answer does not come may have been done,
    /// and is tried again: if it was, it now exists, and whoever finds something compares it.
    async fn put_if_absent(
        &self,
        path: &str,
        bytes: &[u8],
        media_type: &'static str,
    ) -> Result<Put, Outage> {
        let mut tries = 1;
        loop {
            let done = self.send(path, bytes, media_type, PutMode::Create).await?;
            match done.map_err(|error| self.sort("put", path, error)) {
                Ok(()) => return Ok(Put::New),
                Err(Answer::AlreadyExists) => return Ok(Put::Exists),
                Err(answer @ Answer::Unconditional(_)) => return Ok(Put::Unconditional(answer)),
                Err(Answer::Unknown(_)) if tries < PUT_TRIES => {
                    tokio::time::sleep(PAUSE * tries).await;
                    tries += 1;
                }
                Err(answer) => return Err(answer.into_outage(self, "put", path)),
            }
        }
    }

    /// For a store that overwrites anyway. `object_store` tries such a put again by itself.
    async fn overwrite(
        &self,
        path: &str,
        bytes: &[u8],
        media_type: &'static str,
    ) -> Result<(), Outage> {
        let mode = PutMode::Overwrite;
        self.send(path, bytes, media_type, mode)
            .await?
            .map_err(|error| self.sort("put", path, error).into_outage(self, "put", path))
    }

    async fn send(
        &self,
        path: &str,
        bytes: &[u8],
        media_type: &'static str,
        mode: PutMode,
    ) -> Result<Result<(), object_store::Error>, Outage> {
        let mut options = PutOptions::from(mode);
        match &self.place {
            // A disk has no place for media types, and object_store refuses them there.
            Place::Folder(folder) => self.blocking(path, folder, folder.make(path)).await?,
            Place::Bucket { .. } => {
                options.attributes = Attributes::from_iter([(Attribute::ContentType, media_type)]);
            }
        }
        let payload = PutPayload::from(bytes.to_vec());
        let (objects, location) = (Arc::clone(&self.objects), self.location(path));
        let put = async move {
            let put = objects.put_opts(&location, payload, options).await;
            put.map(drop)
        };
        self.answered("put", path, put).await
    }

    /// The bytes of an object, if it is there; and if so, it stays there.
    async fn read(&self, path: &str) -> Result<Option<Vec<u8>>, Outage> {
        let (objects, location) = (Arc::clone(&self.objects), self.location(path));
        let read = async move { objects.get(&location).await?.bytes().await };
        let answer = self.answered("read", path, read).await?;
        let bytes = match answer.map_err(|error| self.sort("read", path, error)) {
            Ok(bytes) => bytes,
            Err(Answer::NotFound(_)) => return Ok(None),
            Err(answer) => return Err(answer.into_outage(self, "read", path)),
        };
        if let Place::Folder(folder) = &self.place {
            self.blocking(path, folder, folder.settle(path)).await?;
        }
        Ok(Some(bytes.into()))
    }

    async fn read_existing(&self, path: &str) -> Result<Vec<u8>, Outage> {
        self.read(path).await?.ok_or_else(|| self.vanished(path))
    }

    /// Said to be there, and then not found: somebody removes objects, or puts that cross fail.
    fn vanished(&self, path: &str) -> Outage {
        Outage::new(
            Part::Store,
            format!(
                "{} was there and is gone; trying again finds out",
                self.uri(path)
            ),
        )
    }

    /// Waits for what `object_store` answers. A client of S3 has its own time-outs, a disk has
    /// none.
    async fn answered<T: Send + 'static>(
        &self,
        verb: &str,
        path: &str,
        call: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Outage> {
        match &self.place {
            Place::Folder(folder) => folder
                .within_async(call)
                .await
                .map_err(|error| self.disk_outage(verb, path, error)),
            Place::Bucket { .. } => Ok(call.await),
        }
    }

    /// Runs a disk's part of the work where it holds nobody up.
    async fn blocking(
        &self,
        path: &str,
        folder: &Folder,
        work: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> Result<(), Outage> {
        let done = folder.within(work).await;
        done.map_err(|error| self.disk_outage("keep", path, error))
    }

    fn disk_outage(&self, verb: &str, path: &str, error: io::Error) -> Outage {
        disk::outage(Part::Store, verb, Path::new(&self.uri(path)), error)
    }

    fn location(&self, path: &str) -> object_store::path::Path {
        match &self.place {
            Place::Folder(_) => path.into(),
            Place::Bucket { prefix, .. } => prefix
                .parts()
                .chain(object_store::path::Path::from(path).parts())
                .collect(),
        }
    }
}

/// The folder of a `file:` address.
fn folder_of(dir: &str) -> Result<PathBuf, Outage> {
    // file:///DIR is a URL with an empty host; file://DIR would name a host, not a folder.
    let dir = match dir.strip_prefix("//") {
        Some(path) if path.starts_with('/') => path,
        Some(_) => {
            let message = format!("store.url \"file:{dir}\": want file:DIR or file:///DIR");
            return Err(Outage::new(Part::Store, message));
        }
        None => dir,
    };
    Ok(PathBuf::from(if dir.is_empty() { "." } else { dir }))
}

/// Whether a folder that is no store may become one.
fn may_begin(dir: &Path, create: Create) -> bool {
    match create {
        Create::Auto => dir.is_relative(),
        Create::Always => true,
        Create::Never => false,
    }
}

fn open_folder(
    dir: &str,
    settings: &config::Store,
    entry: Entry,
) -> Result<(Entered, bool), Outage> {
    let dir = folder_of(dir)?;
    let may_begin = may_begin(&dir, settings.create);
    let timeout = Duration::from_secs(settings.timeout);
    // A thread that hangs with its disk is left behind: this is done once, before there is work.
    let (done, entered) = mpsc::channel();
    let enter = {
        let dir = dir.clone();
        move || {
            done.send(enter_folder(&dir, may_begin, timeout, entry))
                .is_ok()
        }
    };
    let outage = |error| disk::outage(Part::Store, "open the store", &dir, error);
    let thread = std::thread::Builder::new().name("store".to_owned());
    thread.spawn(enter).map_err(outage)?;
    let entered = entered.recv_timeout(timeout).unwrap_or_else(|_| {
        let message = format!("no answer within {} s", timeout.as_secs());
        Err(outage(io::Error::new(io::ErrorKind::TimedOut, message)))
    })?;
    Ok((entered, may_begin))
}

fn enter_folder(
    dir: &Path,
    may_begin: bool,
    timeout: Duration,
    entry: Entry,
) -> Result<Entered, Outage> {
    let outage = |error| disk::outage(Part::Store, "open the store", dir, error);
    if !Folder::is_store(dir).map_err(outage)? {
        if !may_begin {
            return Err(no_store(&dir.display().to_string()));
        }
        if entry == Entry::Look {
            return Ok(None);
        }
        disk::make_root(dir).map_err(outage)?;
    }
    let root = dir.canonicalize().map_err(outage)?;
    let folder = match entry {
        Entry::Use => Folder::enter(&root, timeout),
        Entry::Look => Folder::visit(&root, timeout),
    };
    let folder = folder.map_err(outage)?;
    let objects = LocalFileSystem::new_with_prefix(&root).map_err(|error| {
        let message = format!("cannot open the store {}", root.display());
        Outage::because(Part::Store, message, error)
    })?;
    let objects = Arc::new(objects.with_fsync(true));
    Ok(Some((objects, Place::Folder(folder))))
}

fn no_store(place: &str) -> Outage {
    let message = format!(
        "there is no store at {place} (no {MARKER} in it): is it mounted? If it is to be a new \
         store: banshi store init"
    );
    Outage::new(Part::Store, message)
}

fn open_bucket(
    rest: &str,
    settings: &config::Store,
) -> Result<(Arc<dyn ObjectStore>, Place), Outage> {
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() {
        let message = format!("store.url \"s3://{rest}\": want s3://bucket/prefix");
        return Err(Outage::new(Part::Store, message));
    }
    // Parsed, not converted: an object's name is as it is written here, 汉字 included.
    let prefix = object_store::path::Path::parse(prefix).map_err(|error| {
        let message = format!("store.url \"s3://{rest}\": wrong prefix");
        Outage::because(Part::Store, message, error)
    })?;
    let objects = Arc::new(bucket::open(bucket, settings)?);
    let place = Place::Bucket {
        bucket: bucket.to_owned(),
        prefix,
    };
    Ok((objects, place))
}

/// The span of a put.
fn put_span(object: &'static str) -> Span {
    Span::request("store.put").with(trace::text("banshi.object", object))
}

/// A manifest found is proof for the same job, and a conflict for any other.
fn same_job(theirs: Manifest, job: &Content) -> Result<Stored, Rejection> {
    if theirs.job.sha256 == job.sha256 {
        return Ok(Stored(theirs));
    }
    Err(conflict(&theirs.job_id)
        .with(&theirs.job.sha256, &job.sha256)
        .into())
}

fn conflict(job_id: &str) -> Problem {
    Problem::new(
        Code::CONFLICT,
        "/job_id",
        format!(
            "{job_id} was used with other content, whose report is stored and stays as it is; send \
             new content under a new job_id"
        ),
        format!(
            "job_id {job_id} 已用于另一份内容，已存报告保持不变；内容有变的，请使用新的 job_id 重新报送"
        ),
    )
}

/// Whether two PDFs were made of the same job. Two that do not say are not.
fn same_document(one: &[u8], other: &[u8]) -> bool {
    document_id(one).is_some_and(|id| document_id(other) == Some(id))
}

/// The id that a PDF keeps through its revisions: the first string of the last `/ID`, as written
/// (ISO 32000-1, 14.4). The typesetter has it made from the job's digest.
pub fn document_id(pdf: &[u8]) -> Option<&[u8]> {
    let mut before = pdf.len();
    while let Some(at) = pdf[..before].windows(3).rposition(|name| name == b"/ID") {
        if let Some(id) = first_string(&pdf[at + 3..]) {
            return Some(id);
        }
        before = at;
    }
    None
}

/// The first string of an array, without its delimiters.
fn first_string(array: &[u8]) -> Option<&[u8]> {
    let inner = array
        .trim_ascii_start()
        .strip_prefix(b"[")?
        .trim_ascii_start();
    let (open, string) = inner.split_first()?;
    let end = match open {
        b'<' => string.iter().position(|byte| *byte == b'>')?,
        b'(' => {
            let (mut depth, mut escaped) = (0, false);
            string.iter().position(|byte| {
                match (escaped, byte) {
                    (true, _) => escaped = false,
                    (false, b'\\') => escaped = true,
                    (false, b'(') => depth += 1,
                    (false, b')') => depth -= 1,
                    _ => {}
                }
                depth < 0
            })?
        }
        _ => return None,
    };
    Some(&string[..end]).filter(|id| !id.is_empty())
}

/// RFC 8089: an absolute path, percent-encoded.
fn file_uri(path: &Path) -> String {
    let mut uri = String::from("file://");
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'/' | b'-' | b'.' | b'_' | b'~' => {
                uri.push(char::from(*byte))
            }
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri
}

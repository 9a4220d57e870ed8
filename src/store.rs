//! Where results are kept: `{template}/{year}/{job_id}.pdf` and beside it the manifest.
//!
//! Takes a PDF and what is known of its job, gives [`Stored`]. Never overwrites. The manifest is
//! the commit point: if we crash before it is there, the job is done again and its PDF found to
//! be the same; if we crash after it, the next delivery finds it and only says the event again.
//!
//! # Two workers with one job
//!
//! A job can be in two hands at once: a worker cut off from the broker goes on working while its
//! job is given to another. Nobody can know that they are alone, so nobody may overwrite: each
//! object is put only if it is absent, the store picks the winner, and the loser reads what won
//! and goes on with *that*. Both then speak of the same bytes, and their events are the same. Had
//! the loser replaced the PDF with its own, a manifest or an event already sent would name a
//! digest that is no longer there.

mod errors;
mod folder;
mod manifest;

use std::io;
use std::path::Path;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::local::LocalFileSystem;
use object_store::{
    Attribute, Attributes, ClientConfigKey, ObjectStore, ObjectStoreExt, PutMode, PutOptions,
    PutPayload, RetryConfig,
};

use self::errors::Answer;
use self::folder::Folder;
pub use self::manifest::{Artifact, Content, FontFacts, Manifest, TemplateFacts};
use crate::config;
use crate::digest::sha256;
use crate::disk;
use crate::problem::{Code, Failure, Outage, Part, Problem, Rejection};

/// The media type of a report.
pub const PDF: &str = "application/pdf";

/// The object by which [`Store::ready`] sees that the store takes an object, and takes it once.
const MARKER: &str = ".banshi-ready";

/// Where a job's two objects are. Nobody else forms their names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key(String);

impl Key {
    /// The key of a job: its template as `name/edition`, its reporting year and its id.
    pub fn new(template: &str, year: u16, job_id: &str) -> Key {
        Key(format!("{template}/{year}/{job_id}"))
    }

    /// The path of the PDF.
    pub fn pdf(&self) -> String {
        format!("{}.pdf", self.0)
    }

    /// The path of the manifest.
    pub fn manifest(&self) -> String {
        format!("{}.json", self.0)
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

/// A folder or a bucket.
#[derive(Debug)]
pub struct Store {
    objects: Box<dyn ObjectStore>,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Folder(Folder),
    Bucket {
        bucket: String,
        prefix: object_store::path::Path,
    },
}

impl Store {
    /// Opens the store of the settings. A folder is made when it is missing, and what killed
    /// processes left half written in it is swept; a bucket is not asked anything yet, that is
    /// [`Store::ready`]'s task.
    ///
    /// # Errors
    /// A folder that cannot be made or locked, an address or `AWS_*` variable that makes no sense.
    pub fn open(settings: &config::Store) -> Result<Store, Outage> {
        let url = &settings.url;
        if let Some(dir) = url.strip_prefix("file:") {
            return Store::folder(dir);
        }
        if let Some(rest) = url.strip_prefix("s3://") {
            return Store::bucket(rest);
        }
        let message = format!("store.url {url:?}: want file:DIR or s3://bucket/prefix");
        Err(Outage::new(Part::Store, message))
    }

    fn folder(dir: &str) -> Result<Store, Outage> {
        // file:///DIR is a URL with an empty host; file://DIR would name a host, not a folder.
        let dir = match dir.strip_prefix("//") {
            Some(path) if path.starts_with('/') => path,
            Some(_) => {
                let message = format!("store.url \"file:{dir}\": want file:DIR or file:///DIR");
                return Err(Outage::new(Part::Store, message));
            }
            None => dir,
        };
        let dir = Path::new(if dir.is_empty() { "." } else { dir });
        let outage = |error| disk::outage(Part::Store, "open the store", dir, error);
        disk::make_root(dir).map_err(outage)?;
        let root = dir.canonicalize().map_err(outage)?;
        let folder = Folder::enter(&root).map_err(outage)?;
        let objects = LocalFileSystem::new_with_prefix(&root).map_err(|error| {
            Outage::because(
                Part::Store,
                format!("cannot open the store {}", root.display()),
                error,
            )
        })?;
        Ok(Store {
            objects: Box::new(objects.with_fsync(true)),
            place: Place::Folder(folder),
        })
    }

    /// Credentials, region and endpoint come from the `AWS_*` variables that every S3 tool reads.
    fn bucket(rest: &str) -> Result<Store, Outage> {
        let wrong = |message: String| Outage::new(Part::Store, message);
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err(wrong(format!(
                "store.url \"s3://{rest}\": want s3://bucket/prefix"
            )));
        }
        let builder = AmazonS3Builder::from_env();
        let value = |key| builder.get_config_value(&key);
        let endpoint =
            value(AmazonS3ConfigKey::S3Endpoint).or_else(|| value(AmazonS3ConfigKey::Endpoint));
        let plain = endpoint.filter(|endpoint| endpoint.starts_with("http://"));
        let allowed = value(AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp))
            .is_some_and(|yes| is_yes(&yes));
        if let (Some(endpoint), false) = (&plain, allowed) {
            return Err(wrong(format!(
                "the S3 endpoint {endpoint} is not encrypted; give an https:// one, or set AWS_ALLOW_HTTP=true where \
                 the network is trusted"
            )));
        }
        let objects = builder
            .with_bucket_name(bucket)
            .with_allow_http(plain.is_some())
            // A put that hangs is found out before the job's lease with the broker is in danger;
            // the worker has its own, longer, retries around these.
            .with_config(
                AmazonS3ConfigKey::Client(ClientConfigKey::Timeout),
                "10 seconds",
            )
            .with_retry(RetryConfig {
                max_retries: 3,
                retry_timeout: Duration::from_secs(30),
                ..RetryConfig::default()
            })
            .build()
            .map_err(|error| {
                let message =
                    format!("cannot use the store s3://{rest}; check the AWS_* variables");
                Outage::because(Part::Store, message, error)
            })?;
        // Parsed, not converted: an object's name is as it is written here, 汉字 included.
        let prefix = object_store::path::Path::parse(prefix).map_err(|error| {
            Outage::because(
                Part::Store,
                format!("store.url \"s3://{rest}\": wrong prefix"),
                error,
            )
        })?;
        let place = Place::Bucket {
            bucket: bucket.to_owned(),
            prefix,
        };
        Ok(Store {
            objects: Box::new(objects),
            place,
        })
    }

    /// The address of an object, for people and for events.
    pub fn uri(&self, path: &str) -> String {
        let location = self.location(path);
        match &self.place {
            Place::Folder(folder) => file_uri(&folder.root.join(location.as_ref())),
            Place::Bucket { bucket, .. } => format!("s3://{bucket}/{location}"),
        }
    }

    /// Checks that the store answers, takes objects, and refuses to overwrite one: what is put
    /// here a second time must be refused. There are S3 servers that ignore the condition, and
    /// with them two workers could not agree.
    ///
    /// # Errors
    /// When it does not, with what to do.
    pub async fn ready(&self) -> Result<(), Outage> {
        let note = b"banshi checks with this object that the store never overwrites one.\n";
        let new = self.create(MARKER, note, "text/plain").await?;
        if new && self.create(MARKER, note, "text/plain").await? {
            let message = format!(
                "the store overwrites {}, although asked to put it only if it is absent (If-None-Match: *); use a \
                 store that keeps this condition",
                self.uri(MARKER)
            );
            return Err(Outage::new(Part::Store, message));
        }
        Ok(())
    }

    /// Whether the store takes objects now: as [`Store::ready`], and on a disk whether there is room
    /// for a report. A few bytes fit onto many a full disk.
    ///
    /// # Errors
    /// When it does not, with what to do.
    pub async fn probe(&self) -> Result<(), Outage> {
        if let Place::Folder(folder) = &self.place {
            self.blocking(MARKER, folder.room()).await?;
        }
        self.ready().await
    }

    /// The manifest at a key, of whichever job.
    ///
    /// # Errors
    /// When the store does not answer, or what is there is no manifest.
    pub async fn find(&self, key: &Key) -> Result<Option<Manifest>, Outage> {
        let path = key.manifest();
        let Some(bytes) = self.read(&path).await? else {
            return Ok(None);
        };
        match serde_json::from_slice(&bytes) {
            Ok(manifest) => Ok(Some(manifest)),
            Err(error) => {
                let message = format!(
                    "{} is no manifest of banshi; restore or remove it",
                    self.uri(&path)
                );
                Err(Outage::because(Part::Store, message, error))
            }
        }
    }

    /// What is already kept of this job: for a delivery that may have been worked on before.
    ///
    /// # Errors
    /// As [`Store::find`], and `E-CONFLICT` when the id was used with other content.
    pub async fn recall(&self, key: &Key, job: &Content) -> Result<Option<Stored>, Failure> {
        match self.find(key).await? {
            Some(manifest) => Ok(Some(same_job(manifest, job)?)),
            None => Ok(None),
        }
    }

    /// Keeps a report: the PDF if it is absent, then the manifest if it is absent. What the store
    /// alone knows is filled in here: where the two are, and the digest and size of the PDF that
    /// is really there.
    ///
    /// # Errors
    /// `E-CONFLICT` when the job's id was used with other content, which is untouched; an outage
    /// when either may not be safe: the job is then to be done again.
    pub async fn put(
        &self,
        key: &Key,
        pdf: &[u8],
        mut manifest: Manifest,
    ) -> Result<Stored, Failure> {
        let kept = match self.create(&key.pdf(), pdf, PDF).await? {
            true => None,
            false => Some(self.read_existing(&key.pdf()).await?).filter(|kept| kept != pdf),
        };
        if let Some(kept) = &kept {
            if let Some(theirs) = self.find(key).await? {
                return self.agree(key, theirs, &manifest.job, kept);
            }
            // No manifest: the PDF of a worker that was killed before it could commit, or of one
            // that is about to. The PDF's first /ID is made from the job's digest and outlives a
            // change of fonts or engine. The same id: the same job, set by another build. Its PDF
            // was first and stays, and whoever writes the manifest writes of that one.
            if !same_document(kept, pdf) {
                return Err(Rejection::from(conflict(&manifest.job_id)).into());
            }
        }
        let pdf = kept.as_deref().unwrap_or(pdf);
        manifest.uri = self.uri(&key.manifest());
        manifest.artifact.uri = self.uri(&key.pdf());
        manifest.artifact.sha256 = sha256(pdf);
        manifest.artifact.bytes = pdf.len() as u64;
        let mut text = serde_json::to_vec_pretty(&manifest).expect("a manifest is plain data");
        text.push(b'\n');
        if self
            .create(&key.manifest(), &text, "application/json")
            .await?
        {
            return Ok(Stored(manifest));
        }
        match self.find(key).await? {
            Some(theirs) => self.agree(key, theirs, &manifest.job, pdf),
            None => Err(self.vanished(&key.manifest()).into()),
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
        if stored.manifest().artifact.sha256 == sha256(pdf) {
            return Ok(stored);
        }
        let message = format!(
            "{} is not the PDF that {} names; it was changed after it was stored: restore it from a backup",
            self.uri(&key.pdf()),
            self.uri(&key.manifest())
        );
        Err(Outage::new(Part::Store, message).into())
    }

    /// Puts an object if it is absent; `false` when one is there.
    async fn create(
        &self,
        path: &str,
        bytes: &[u8],
        media_type: &'static str,
    ) -> Result<bool, Outage> {
        let mut options = PutOptions::from(PutMode::Create);
        match &self.place {
            // A disk has no place for media types, and object_store refuses them there.
            Place::Folder(folder) => self.blocking(path, folder.make(path)).await?,
            Place::Bucket { .. } => {
                options.attributes = Attributes::from_iter([(Attribute::ContentType, media_type)]);
            }
        }
        let payload = PutPayload::from(bytes.to_vec());
        match self
            .objects
            .put_opts(&self.location(path), payload, options)
            .await
        {
            Ok(_) => Ok(true),
            Err(error) => match self.sort("put", path, error) {
                Answer::AlreadyExists => Ok(false),
                Answer::NotFound(error) => {
                    let message = format!(
                        "cannot put {}: there is no such bucket or folder",
                        self.uri(path)
                    );
                    Err(Outage::because(Part::Store, message, error))
                }
                Answer::Outage(outage) => Err(outage),
            },
        }
    }

    /// The bytes of an object, if it is there; and if so, it stays there.
    async fn read(&self, path: &str) -> Result<Option<Vec<u8>>, Outage> {
        let answer = match self.objects.get(&self.location(path)).await {
            Ok(object) => object.bytes().await,
            Err(error) => Err(error),
        };
        let bytes = match answer {
            Ok(bytes) => bytes,
            Err(error) => match self.sort("read", path, error) {
                Answer::NotFound(_) => return Ok(None),
                Answer::AlreadyExists => return Err(self.vanished(path)),
                Answer::Outage(outage) => return Err(outage),
            },
        };
        if let Place::Folder(folder) = &self.place {
            self.blocking(path, folder.settle(path)).await?;
        }
        Ok(Some(bytes.into()))
    }

    async fn read_existing(&self, path: &str) -> Result<Vec<u8>, Outage> {
        self.read(path).await?.ok_or_else(|| self.vanished(path))
    }

    /// Said to be there, and then not found: S3 answers a put that crosses another one with 409,
    /// and the other one may yet fail. Or somebody removes objects.
    fn vanished(&self, path: &str) -> Outage {
        Outage::new(
            Part::Store,
            format!(
                "{} was there and is gone; trying again finds out",
                self.uri(path)
            ),
        )
    }

    /// Runs a disk's part of the work where it holds nobody up.
    async fn blocking(
        &self,
        path: &str,
        work: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> Result<(), Outage> {
        let done = match tokio::task::spawn_blocking(work).await {
            Ok(done) => done,
            Err(error) => Err(io::Error::other(error)),
        };
        done.map_err(|error| disk::outage(Part::Store, "keep", Path::new(&self.uri(path)), error))
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
        Code::Conflict,
        "/job_id",
        format!(
            "{job_id} was used with other content, whose report is stored and stays as it is; send new content under \
             a new job_id"
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

/// What `object_store` takes for a yes in a variable.
fn is_yes(text: &str) -> bool {
    ["1", "true", "on", "yes", "y"]
        .iter()
        .any(|yes| text.eq_ignore_ascii_case(yes))
}

//! The settings, by section.
//!
//! Defaults, then files, then the environment. Everything is read and checked before anything
//! is opened, and every mistake is reported at once. Each part of banshi takes its own section
//! only.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use config::{Config, File, FileFormat, Map, Value, ValueKind};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The commented defaults. Every key that exists is in this file.
pub const DEFAULTS: &str = include_str!("defaults.toml");

/// The file that is read when there is one and none was named.
pub const FILE: &str = "banshi.toml";

/// The prefix of the environment's variables.
const PREFIX: &str = "BANSHI__";

/// The prefix of the variables that every S3 tool reads.
const AWS_PREFIX: &str = "AWS_";

/// The prefix of the variables that every program with OpenTelemetry reads.
const OTEL_PREFIX: &str = "OTEL_";

/// The trace context that a program is started in, W3C's headers as variables.
const TRACE_CONTEXT: [&str; 2] = ["TRACEPARENT", "TRACESTATE"];

/// All settings.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// `[queue]`
    pub queue: Queue,
    /// `[store]`
    pub store: Store,
    /// `[render]`
    pub render: Render,
    /// `[fonts]`
    pub fonts: Fonts,
    /// `[templates]`
    pub templates: Templates,
    /// `[limits]`
    pub limits: Limits,
    /// `[sign]`
    pub sign: Sign,
    /// `[worker]`
    pub worker: Worker,
    /// `[events]`
    pub events: Events,
    /// `[admin]`
    pub admin: Admin,
    /// `[console]`
    pub console: Console,
    /// `[log]`
    pub log: Log,
    /// `[telemetry]`
    pub telemetry: Telemetry,
}

/// Where jobs come from and events go.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Queue {
    /// `amqp://…`, `amqps://…` or `spool:DIR`.
    pub url: String,
    /// Prefix of every exchange and queue.
    pub prefix: String,
    /// Whether the topology is created or only checked.
    pub topology: Topology,
    /// Unacknowledged jobs held per lane; 0 is eight for each typesetter.
    pub prefetch: u16,
    /// Seconds between heartbeats.
    pub heartbeat: u16,
    /// Seconds that a job may be held unacknowledged.
    pub lease: u64,
    /// `[queue.tls]`
    pub tls: Tls,
}

/// How a server is trusted, and who we are to it. PEM files; an empty name is none.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// Authorities that are trusted besides the system's.
    pub ca: PathBuf,
    /// Our certificate, and those between it and its authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl Tls {
    /// The file of trusted authorities, when there is one.
    pub fn authorities(&self) -> Option<&Path> {
        named(&self.ca)
    }

    /// The files of our certificate and its key, when there are any.
    pub fn identity(&self) -> Option<(&Path, &Path)> {
        named(&self.certificate).map(|certificate| (certificate, self.key.as_path()))
    }

    /// Whether certificate and key are both named, or neither.
    fn is_whole(&self) -> bool {
        named(&self.certificate).is_some() == named(&self.key).is_some()
    }

    /// Whether nothing is asked of a connection.
    fn is_none(&self) -> bool {
        (self.authorities(), self.identity()) == (None, None)
    }
}

/// The file or folder of a setting, which is none where its name is empty.
fn named(path: &Path) -> Option<&Path> {
    Some(path).filter(|path| !path.as_os_str().is_empty())
}

/// What the worker does about exchanges and queues at start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Topology {
    /// Create what is missing.
    Declare,
    /// Only check that it is there.
    Verify,
}

/// Where PDFs and manifests go.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Store {
    /// `file:DIR` or `s3://bucket/prefix`.
    pub url: String,
    /// Whether what is not a store yet becomes one.
    pub create: Create,
    /// Leading folders that results are spread over: 0 (none), 16, 256 or 4096.
    pub shards: usize,
    /// Whether an S3 server that ignores the condition on puts may be used.
    pub conditional_put: ConditionalPut,
    /// Seconds after which, at such a server, what is there is taken for what stays there.
    pub settle: u64,
    /// Seconds that one request to an S3 server, or one use of a folder, may take.
    pub timeout: u64,
    /// The `AWS_*` variables: credentials, region, endpoint. In no file of settings.
    #[serde(skip)]
    pub aws: Variables,
}

impl Store {
    /// Hexadecimal digits in the name of a shard; none, when there are no shards.
    pub fn shard_digits(&self) -> usize {
        match self.shards {
            0 => 0,
            shards => shards.ilog(16) as usize,
        }
    }
}

/// Whether a folder or a prefix that has no `.banshi-ready` in it becomes a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Create {
    /// But for a folder at an absolute path: that may be a disk that is not mounted.
    Auto,
    /// Wherever it is.
    Always,
    /// Only by `banshi store init`.
    Never,
}

/// What to do with an S3 server that ignores `If-None-Match: *`, and so overwrites.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConditionalPut {
    /// Use it by a weaker rule, and say so.
    Prefer,
    /// Do not use it.
    Require,
}

/// Variables of the environment that other programs read, too. They hold secrets: only their names
/// are printed.
#[derive(Clone, Default)]
pub struct Variables(BTreeMap<String, String>);

impl Variables {
    /// A variable, when it is set.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl FromIterator<(String, String)> for Variables {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(variables: T) -> Self {
        Variables(variables.into_iter().collect())
    }
}

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// How reports are typeset.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Render {
    /// Typesetter processes; 0 is one per core.
    pub threads: usize,
    /// More of them with a broker, for urgent jobs only.
    pub urgent: usize,
    /// Seconds that a report may take.
    pub deadline: u64,
    /// MiB of memory of its own that a typesetter may take.
    pub memory: u64,
    /// MiB beyond its warm level that a typesetter may keep after a report.
    pub recycle: u64,
    /// Whether typesetters give up files, network and all else that they have no need of.
    pub confine: Confine,
    /// Pages that a report may have.
    pub max_pages: usize,
    /// What a report is made as: the PDF, and what else stands beside it.
    pub formats: Vec<Format>,
    /// How the bands of table 2 are filled.
    pub bands: Bands,
}

/// What a report is made as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// The archival document, which is always made.
    Pdf,
    /// The same document as GB/T 33190 has it.
    Ofd,
    /// A page for the web.
    Html,
}

impl Format {
    /// Its name in settings and manifests, and the ending of its files.
    pub fn as_str(self) -> &'static str {
        match self {
            Format::Pdf => "pdf",
            Format::Ofd => "ofd",
            Format::Html => "html",
        }
    }

    /// Its media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Format::Pdf => "application/pdf",
            Format::Ofd => "application/ofd",
            Format::Html => "text/html; charset=utf-8",
        }
    }
}

/// Whether typesetters confine themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Confine {
    /// As far as the system can, with a warning of what it can't.
    Try,
    /// Wholly, or there is no typesetter.
    Require,
    /// Not at all.
    Off,
}

/// The fill of the bands of table 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bands {
    /// The light blue of the official form.
    Blue,
    /// None, for printing in black only.
    None,
}

impl Render {
    /// The number of typesetter processes.
    pub fn typesetters(&self) -> usize {
        match self.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        }
    }

    /// What is made beside the PDF.
    pub fn companions(&self) -> Vec<Format> {
        let formats = self.formats.iter().copied();
        formats.filter(|format| *format != Format::Pdf).collect()
    }
}

/// Where the faces are, and which family serves which role.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fonts {
    /// Folder of the faces; empty: found beside the binary or in the repository.
    pub dir: PathBuf,
    /// More folders.
    pub more: Vec<PathBuf>,
    /// Families by role.
    pub roles: Roles,
}

/// Families by role, the first one present wins. `NAME:WEIGHT` asks for a weight.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Roles {
    /// 仿宋, the text.
    pub fangsong: Vec<String>,
    /// 楷体, the second level.
    pub kaiti: Vec<String>,
    /// 黑体, the first level.
    pub heiti: Vec<String>,
    /// 宋体, tables and page numbers.
    pub songti: Vec<String>,
    /// 小标宋, the title.
    pub biaosong: Vec<String>,
    /// 西文, digits and Latin.
    pub latin: Vec<String>,
    /// Rare characters, after every other face.
    pub fallback: Vec<String>,
}

/// Where the templates are.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Templates {
    /// Folder that replaces or adds to the embedded templates; empty: only those.
    pub dir: PathBuf,
}

impl Templates {
    /// The folder, when there is one.
    pub fn folder(&self) -> Option<&Path> {
        named(&self.dir)
    }
}

/// The limits of a job.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Bytes of the job.
    pub job_bytes: usize,
    /// Levels of nesting in its JSON.
    pub depth: usize,
    /// Paragraphs, headings and table rows of its text.
    pub paragraphs: usize,
    /// Characters of its text.
    pub characters: usize,
}

/// Who signs each PDF, and what of it is signed.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sign {
    /// A program and its arguments; empty: none.
    pub command: Vec<String>,
    /// `http://…` or `https://…` of a service; empty: none.
    pub url: String,
    /// What the signer gets of a PDF.
    pub takes: Takes,
    /// What it gives back.
    pub gives: Gives,
    /// The certificate or public key of whoever signs, PEM; empty: none.
    pub certificate: PathBuf,
    /// Seconds that one signature may take.
    pub timeout: u64,
    /// Signatures asked for at a time.
    pub at_once: usize,
    /// File with what `url` is shown as `Authorization: Bearer`; empty: none.
    pub token_file: PathBuf,
    /// `[sign.tls]`
    pub tls: Tls,
}

impl Sign {
    /// The file of the signer's certificate or public key, when there is one.
    pub fn signer(&self) -> Option<&Path> {
        named(&self.certificate)
    }

    /// The file of what the service is shown, when there is one.
    pub fn token(&self) -> Option<&Path> {
        named(&self.token_file)
    }

    /// Whether anything is signed at all.
    pub fn is_on(&self) -> bool {
        !self.command.is_empty() || !self.url.is_empty()
    }

    /// What types alone cannot say.
    fn check(&self, lease: u64, need: &mut impl FnMut(bool, &str)) {
        need(
            self.command.is_empty() || self.url.is_empty(),
            "sign.command and sign.url: want one of them, or neither",
        );
        need(
            self.command
                .first()
                .is_none_or(|program| !program.is_empty()),
            "sign.command: want the program first",
        );
        need(
            !self.command.iter().any(|part| part.contains('\0')),
            "sign.command: want no NUL, which no program can be given",
        );
        let of = |scheme| self.url.starts_with(scheme);
        need(
            self.url.is_empty() || of("http://") || of("https://"),
            "sign.url: want http://HOST/… or https://HOST/…",
        );
        need(
            self.gives == Gives::Cms || self.takes == Takes::File,
            "sign.takes: want \"file\" for what sign.gives says; of a digest alone only \"cms\" can be \
             made",
        );
        need(
            !(self.is_on() && self.gives == Gives::Sm2 && self.signer().is_none()),
            "sign.certificate: want the signer's certificate or public key, which an SM2 signature \
             alone does not bring",
        );
        need(self.timeout > 0, "sign.timeout: want at least 1 second");
        need(
            !self.is_on() || self.timeout <= lease / 4,
            "sign.timeout: want at most a quarter of queue.lease: a job is given back when that \
             has passed, and would never be done",
        );
        need(
            (1..=1024).contains(&self.at_once),
            "sign.at_once: want 1 to 1024",
        );
        need(
            self.tls.is_whole(),
            "sign.tls.certificate and sign.tls.key: want both or neither",
        );
        need(
            of("https://") || self.tls.is_none(),
            "sign.tls: want an https:// address in sign.url, or none of these files",
        );
        need(
            of("https://") || of("http://") || self.token().is_none(),
            "sign.token_file: want an address in sign.url, which is shown it",
        );
    }
}

/// What a signer gets of a PDF.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Takes {
    /// All of it.
    File,
    /// Its digest.
    Sha256,
    /// Its digest by GB/T 32905.
    Sm3,
}

impl Takes {
    /// Its name in settings, and to the signer.
    pub fn as_str(self) -> &'static str {
        match self {
            Takes::File => "file",
            Takes::Sha256 => "sha256",
            Takes::Sm3 => "sm3",
        }
    }
}

/// What a signer gives back, which is kept beside the PDF.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Gives {
    /// The PDF with a signature added in an increment.
    Pdf,
    /// A CMS without the content.
    Cms,
    /// An SM2 signature alone.
    Sm2,
}

impl Gives {
    /// Its name in settings, and to the signer.
    pub fn as_str(self) -> &'static str {
        match self {
            Gives::Pdf => "pdf",
            Gives::Cms => "cms",
            Gives::Sm2 => "sm2",
        }
    }

    /// What its file's name ends in, behind the `job_id` and a dot; also its format in manifests.
    pub fn ending(self) -> &'static str {
        match self {
            Gives::Pdf => "signed.pdf",
            Gives::Cms => "pdf.p7s",
            Gives::Sm2 => "pdf.sm2",
        }
    }

    /// Its media type. A bare SM2 signature has none of its own.
    pub fn media_type(self) -> &'static str {
        match self {
            Gives::Pdf => "application/pdf",
            Gives::Cms => "application/pkcs7-signature",
            Gives::Sm2 => "application/octet-stream",
        }
    }
}

/// How the worker behaves.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Worker {
    /// Seconds that a stopping worker takes to finish what it holds.
    pub drain_timeout: u64,
    /// Times that a job is tried while something outside it fails.
    pub attempts: u32,
    /// Seconds without a settled job, while jobs are in hand, after which the worker is not ready.
    pub stuck: u64,
    /// Seconds between two statuses; 0: none.
    pub status: u64,
}

/// What events say of their origin, and how messages carry them.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Events {
    /// The CloudEvents `source`.
    pub source: String,
    /// The content mode of messages.
    pub mode: Mode,
}

/// How a message carries an event (CloudEvents, "content modes").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// All of it in the body, as JSON.
    Structured,
    /// Its data in the body, its attributes in headers.
    Binary,
}

/// The console, `banshi console`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Console {
    /// Address that it listens on.
    pub listen: String,
    /// Whether jobs of the dead queue can be replayed and dropped from it.
    pub actions: bool,
    /// What whoever asks must know, at least 16 characters; empty: none, for a loopback address
    /// only.
    pub token: String,
    /// File with the token; empty: none.
    pub token_file: PathBuf,
    /// Header in which a proxy in front names the user; empty: none.
    pub user_header: String,
    /// `http://user:password@host:15672` of RabbitMQ's management API; empty: none.
    pub management_url: String,
    /// By when every report must be out: a date, at whose end in Beijing, or an RFC 3339 time;
    /// empty: none.
    pub deadline: String,
}

impl Console {
    /// The deadline, in seconds since 1970. `None`, when there is none.
    ///
    /// # Errors
    /// When it is neither a date nor a time.
    pub fn deadline(&self) -> Result<Option<u64>, String> {
        if self.deadline.is_empty() {
            return Ok(None);
        }
        // The day of a date ends in Beijing.
        let of_date = format!("{}T23:59:59+08:00", self.deadline);
        let time = OffsetDateTime::parse(&self.deadline, &Rfc3339)
            .or_else(|_| OffsetDateTime::parse(&of_date, &Rfc3339));
        let time = time.map_err(|_| {
            "console.deadline: want a date, as 2027-01-31, or a time, as \
             2027-01-31T18:00:00+08:00"
                .to_owned()
        })?;
        Ok(u64::try_from(time.unix_timestamp()).ok())
    }
}

/// The administration port.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    /// Address of `/metrics`, `/livez` and `/readyz`; empty: none.
    pub listen: String,
}

/// What is logged.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// The form of a line.
    pub format: LogFormat,
    /// tracing's `EnvFilter` syntax.
    pub filter: String,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Where spans go.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Telemetry {
    /// The OpenTelemetry collector's address; empty: what the `OTEL_*` variables name, or none.
    pub otlp: String,
    /// How the collector at `otlp` is spoken to.
    pub protocol: Protocol,
    /// The `OTEL_*` variables, and the trace context of this process. In no file of settings.
    #[serde(skip)]
    pub variables: Variables,
}

/// The two forms of OTLP that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// `OTLP/gRPC`, usually at port 4317.
    Grpc,
    /// `OTLP/HTTP` with protobuf, usually at port 4318.
    Http,
}

/// Which traces are kept, of those that begin here (`OTEL_TRACES_SAMPLER`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Whether a trace that did not begin here is kept as its sender has it.
    pub parent_based: bool,
    /// The share of the others, from 0 to 1.
    pub ratio: f64,
}

impl Telemetry {
    /// Whether spans are made at all.
    pub fn is_on(&self) -> bool {
        let named = |name| self.variable(name).is_some();
        let off = self.variable("OTEL_SDK_DISABLED") == Some("true")
            || self.variable("OTEL_TRACES_EXPORTER") == Some("none");
        let endpoint =
            named("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") || named("OTEL_EXPORTER_OTLP_ENDPOINT");
        (!self.otlp.is_empty() || endpoint) && !off
    }

    /// How the collector is spoken to. With the address of the variables goes their protocol, for
    /// which OpenTelemetry's own default is HTTP.
    ///
    /// # Errors
    /// The variable that names another one.
    pub fn protocol(&self) -> Result<Protocol, String> {
        if !self.otlp.is_empty() {
            return Ok(self.protocol);
        }
        for name in [
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
            "OTEL_EXPORTER_OTLP_PROTOCOL",
        ] {
            match self.variable(name) {
                None => {}
                Some("grpc") => return Ok(Protocol::Grpc),
                Some("http/protobuf") => return Ok(Protocol::Http),
                Some(_) => return Err(format!("{name}: want grpc or http/protobuf")),
            }
        }
        Ok(Protocol::Http)
    }

    /// Which traces are kept.
    ///
    /// # Errors
    /// The variable that says something else.
    pub fn sampling(&self) -> Result<Sampling, String> {
        const NAME: &str = "OTEL_TRACES_SAMPLER";
        let name = self.variable(NAME).unwrap_or("parentbased_always_on");
        let root = name.strip_prefix("parentbased_");
        let argument = || match self.variable("OTEL_TRACES_SAMPLER_ARG").map(str::parse) {
            None => Ok(1.0),
            Some(Ok(ratio)) if (0.0..=1.0).contains(&ratio) => Ok(ratio),
            Some(_) => Err("OTEL_TRACES_SAMPLER_ARG: want a number from 0 to 1".to_owned()),
        };
        let ratio = match root.unwrap_or(name) {
            "always_on" => 1.0,
            "always_off" => 0.0,
            "traceidratio" => argument()?,
            _ => {
                return Err(format!(
                    "{NAME}: want always_on, always_off or traceidratio, or one of these after \
                     parentbased_"
                ));
            }
        };
        Ok(Sampling {
            parent_based: root.is_some(),
            ratio,
        })
    }

    /// One of the variables; an empty one is none, as OpenTelemetry has it.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).filter(|value| !value.is_empty())
    }
}

/// Everything that is wrong with the settings, a line each.
#[derive(Debug, thiserror::Error)]
#[error("the settings are wrong:\n{0}")]
pub struct ConfigError(String);

impl ConfigError {
    /// The one thing that is wrong.
    pub fn of(line: &str) -> ConfigError {
        ConfigError(format!("  {line}"))
    }
}

impl Settings {
    /// Reads the settings: the defaults, then `files` in their order (or `banshi.toml`, when it is
    /// there and none is named), then the variables of `env` that begin with `BANSHI__`. Those that
    /// begin with `AWS_` are kept for the store, those of OpenTelemetry for the traces.
    ///
    /// # Errors
    /// Every unknown key and every value of the wrong kind, each with where it came from.
    pub fn load(
        files: &[PathBuf],
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Settings, ConfigError> {
        let mut wrong = Vec::new();
        let Some((mut table, others, _)) = merged(files, env, &mut wrong) else {
            return Err(report(wrong));
        };
        let (aws, otel): (BTreeMap<_, _>, BTreeMap<_, _>) = others
            .into_iter()
            .partition(|(name, _)| name.starts_with(AWS_PREFIX));
        split_lists(&mut table);
        let queue = section(&table, "queue", &mut wrong);
        let store = section(&table, "store", &mut wrong).map(|store: Store| Store {
            aws: Variables(aws),
            ..store
        });
        let render = section(&table, "render", &mut wrong);
        let fonts = section(&table, "fonts", &mut wrong);
        let templates = section(&table, "templates", &mut wrong);
        let limits = section(&table, "limits", &mut wrong);
        let sign = section(&table, "sign", &mut wrong);
        let worker = section(&table, "worker", &mut wrong);
        let events = section(&table, "events", &mut wrong);
        let admin = section(&table, "admin", &mut wrong);
        let console = section(&table, "console", &mut wrong);
        let log = section(&table, "log", &mut wrong);
        let telemetry =
            section(&table, "telemetry", &mut wrong).map(|telemetry: Telemetry| Telemetry {
                variables: Variables(otel),
                ..telemetry
            });
        let settings = || {
            Some(Settings {
                queue: queue?,
                store: store?,
                render: render?,
                fonts: fonts?,
                templates: templates?,
                limits: limits?,
                sign: sign?,
                worker: worker?,
                events: events?,
                admin: admin?,
                console: console?,
                log: log?,
                telemetry: telemetry?,
            })
        };
        let Some(settings) = settings() else {
            return Err(report(wrong));
        };
        settings.check(&mut wrong);
        if wrong.is_empty() {
            Ok(settings)
        } else {
            Err(report(wrong))
        }
    }

    /// What types alone cannot say.
    fn check(&self, wrong: &mut Vec<String>) {
        let mut need = |ok: bool, text: &str| {
            if !ok {
                wrong.push(text.to_owned());
            }
        };
        let url = &self.queue.url;
        need(
            ["amqp://", "amqps://", "spool:"]
                .iter()
                .any(|scheme| url.starts_with(scheme)),
            "queue.url: want amqp://…, amqps://… or spool:DIR",
        );
        let tls = &self.queue.tls;
        need(
            tls.is_whole(),
            "queue.tls.certificate and queue.tls.key: want both or neither",
        );
        need(
            url.starts_with("amqps://") || tls.is_none(),
            "queue.tls: want an amqps:// address in queue.url, or none of these files",
        );
        let url = &self.store.url;
        need(
            ["file:", "s3://"]
                .iter()
                .any(|scheme| url.starts_with(scheme)),
            "store.url: want file:DIR or s3://bucket/prefix",
        );
        need(
            [0, 16, 256, 4096].contains(&self.store.shards),
            "store.shards: want 0, 16, 256 or 4096",
        );
        need(
            self.store.timeout > 0,
            "store.timeout: want at least 1 second",
        );
        need(
            self.store.settle > 0,
            "store.settle: want at least 1 second",
        );
        need(
            self.queue.lease >= 60,
            "queue.lease: want at least 60 seconds, and less than the broker's consumer_timeout",
        );
        need(
            !self.queue.prefix.is_empty(),
            "queue.prefix: must not be empty",
        );
        need(
            self.render.threads <= 1024 && self.render.urgent <= 1024,
            "render.threads, render.urgent: want at most 1024 each",
        );
        need(
            self.render.deadline > 0,
            "render.deadline: want at least 1 second",
        );
        need(
            self.render.memory >= 256,
            "render.memory: want at least 256 MiB, of which a warm typesetter has some 90",
        );
        need(
            self.render.recycle > 0,
            "render.recycle: want at least 1 MiB",
        );
        need(
            self.render.max_pages > 0,
            "render.max_pages: want at least 1",
        );
        let formats = &self.render.formats;
        need(
            formats.contains(&Format::Pdf),
            "render.formats: want \"pdf\", and what is wanted beside it",
        );
        need(
            (1..formats.len()).all(|at| !formats[..at].contains(&formats[at])),
            "render.formats: want each format once",
        );
        need(self.limits.depth <= 100, "limits.depth: want at most 100");
        self.sign.check(self.queue.lease, &mut need);
        need(self.worker.attempts > 0, "worker.attempts: want at least 1");
        need(
            self.worker.stuck > 0,
            "worker.stuck: want at least 1 second",
        );
        if let Err(why) = self.console.deadline() {
            need(false, &why);
        }
        need(
            self.console.token.is_empty() || self.console.token.len() >= 16,
            "console.token: want at least 16 characters",
        );
        need(
            self.worker.status <= 15,
            "worker.status: want at most 15 seconds, after which a worker is taken for silent",
        );
        need(
            !self.events.source.is_empty(),
            "events.source: must not be empty",
        );
        let otlp = &self.telemetry.otlp;
        need(
            otlp.is_empty() || otlp.starts_with("http://") || otlp.starts_with("https://"),
            "telemetry.otlp: want http://HOST:PORT or https://HOST:PORT",
        );
        if self.telemetry.is_on() {
            wrong.extend(self.telemetry.protocol().err());
            wrong.extend(self.telemetry.sampling().err());
        }
    }
}

impl Settings {
    /// Typesetters that are kept for urgent jobs: a spool has one lane.
    pub fn reserved(&self) -> usize {
        match self.queue.url.starts_with("spool:") {
            true => 0,
            false => self.render.urgent,
        }
    }
}

/// A setting in force, with its value and where that came from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Setting {
    /// The key, as `queue.url`; or the name of an `AWS_*` or `OTEL_*` variable.
    pub key: String,
    /// The value. What is secret in it is `***`.
    pub value: serde_json::Value,
    /// `default`, the path of the file, or the name of the environment's variable.
    pub source: String,
}

/// What stands in the place of a secret.
const MASKED: &str = "***";

/// The settings that are secrets.
const SECRETS: [&str; 1] = ["console.token"];

/// The variables of others in which no secret stands. Of any other only the name is shown.
const SHOWN: [&str; 17] = [
    "AWS_ALLOW_HTTP",
    "AWS_CA_BUNDLE",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT",
    "AWS_ENDPOINT_URL",
    "AWS_PROFILE",
    "AWS_REGION",
    "AWS_SHARED_CREDENTIALS_FILE",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    "OTEL_SDK_DISABLED",
    "OTEL_SERVICE_NAME",
    "OTEL_TRACES_EXPORTER",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
];

impl Settings {
    /// The settings in force, read as [`Settings::load`] reads them: every key of [`DEFAULTS`], in
    /// its order, then the `AWS_*` and `OTEL_*` variables. Secrets are masked.
    ///
    /// # Errors
    /// As [`Settings::load`].
    pub fn in_force(
        files: &[PathBuf],
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Vec<Setting>, ConfigError> {
        let env: Vec<_> = env.into_iter().collect();
        let settings = Settings::load(files, env.iter().cloned())?;
        let mut wrong = Vec::new();
        let Some((table, others, said)) = merged(files, env, &mut wrong) else {
            return Err(report(wrong));
        };
        let values = serde_json::to_value(&settings).map_err(|error| {
            report(vec![format!(
                "a setting has a value that is no text: {error}"
            )])
        })?;
        let mut all = Vec::new();
        for key in ordered_keys() {
            let pointer = format!("/{}", key.replace('.', "/"));
            let value = values.pointer(&pointer).cloned().unwrap_or_default();
            let source = match origin(&table, &key) {
                None => "default".to_owned(),
                Some(variable) if variable.starts_with(PREFIX) => variable.to_owned(),
                // The library names the file from the working directory; we as it was given.
                Some(path) => {
                    let last = said.iter().rev().find(|(_, keys)| keys.contains(&key));
                    last.map_or(path.to_owned(), |(file, _)| file.display().to_string())
                }
            };
            let secret = SECRETS.contains(&key.as_str()) && value != "";
            all.push(Setting {
                value: match secret {
                    true => MASKED.into(),
                    false => masked(value),
                },
                key,
                source,
            });
        }
        for (name, value) in others {
            if TRACE_CONTEXT.contains(&name.as_str()) {
                continue;
            }
            let value = match SHOWN.contains(&name.as_str()) {
                true => masked(value.into()),
                false => MASKED.into(),
            };
            all.push(Setting {
                key: name.clone(),
                value,
                source: name,
            });
        }
        Ok(all)
    }
}

/// What [`merged`] gives.
type Merged = (
    Map<String, Value>,
    BTreeMap<String, String>,
    Vec<(PathBuf, BTreeSet<String>)>,
);

/// The files that are read.
fn named_files(files: &[PathBuf]) -> Vec<PathBuf> {
    match files {
        [] => Vec::from_iter(Some(PathBuf::from(FILE)).filter(|path| path.exists())),
        files => files.to_owned(),
    }
}

/// The defaults, the files and the environment in one table, each value with its origin; the
/// variables of others that are read; and the keys of each file. None, when they cannot be read;
/// what is wrong is noted.
fn merged(
    files: &[PathBuf],
    env: impl IntoIterator<Item = (String, String)>,
    wrong: &mut Vec<String>,
) -> Option<Merged> {
    let known = keys(&layer(Config::builder().add_source(defaults())).expect("the defaults parse"));

    let mut sources = Config::builder().add_source(defaults());
    let mut said = Vec::new();
    for path in named_files(files) {
        let source = File::from(path.clone()).format(FileFormat::Toml);
        match layer(Config::builder().add_source(source.clone())) {
            Ok(table) => {
                let keys = keys(&table);
                for key in keys.difference(&known) {
                    wrong.push(unknown(key, &path.display().to_string(), &known));
                }
                sources = sources.add_source(source);
                said.push((path, keys));
            }
            Err(error) => wrong.push(format!("{}: {error}", path.display())),
        }
    }
    let mut others = BTreeMap::new();
    for (name, value) in env {
        let of_others = name.starts_with(AWS_PREFIX) || name.starts_with(OTEL_PREFIX);
        if of_others || TRACE_CONTEXT.contains(&name.as_str()) {
            others.insert(name, value);
            continue;
        }
        let Some(rest) = name.strip_prefix(PREFIX) else {
            continue;
        };
        let key = rest.replace("__", ".").to_lowercase();
        if !known.contains(&key) {
            wrong.push(unknown(&key, &name, &known));
            continue;
        }
        let value = Value::new(Some(&name), ValueKind::String(value));
        sources = sources
            .set_override(key, value)
            .expect("a known key is a valid key");
    }
    match layer(sources) {
        Ok(table) => Some((table, others, said)),
        Err(error) => {
            wrong.push(error.to_string());
            None
        }
    }
}

/// Every key of [`DEFAULTS`], in its order.
fn ordered_keys() -> Vec<String> {
    let mut section = "";
    let mut keys = Vec::new();
    for line in DEFAULTS.lines() {
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            section = name;
        } else if let Some((key, _)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) {
            keys.push(format!("{section}.{key}"));
        }
    }
    keys
}

/// Where the value of a key came from; none for the defaults.
fn origin<'a>(table: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    let mut table = table;
    let mut names = key.split('.').peekable();
    while let Some(name) = names.next() {
        let value = table.get(name)?;
        match &value.kind {
            ValueKind::Table(inner) if names.peek().is_some() => table = inner,
            _ => return value.origin(),
        }
    }
    None
}

/// A value without the password of an address in it.
fn masked(value: serde_json::Value) -> serde_json::Value {
    match value {
        serde_json::Value::String(text) => without_password(&text).into(),
        serde_json::Value::Array(list) => list.into_iter().map(masked).collect(),
        other => other,
    }
}

/// An address with `***` for its password, however it is written.
pub fn without_password(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    // A password with a / in it is a mistake, and a secret all the same.
    let Some(at) = rest[..end].rfind('@').or_else(|| rest.rfind('@')) else {
        return text.to_owned();
    };
    match rest[..at].split_once(':') {
        Some((user, _)) => format!("{scheme}://{user}:{MASKED}{}", &rest[at..]),
        None => text.to_owned(),
    }
}

fn defaults() -> File<config::FileSourceString, FileFormat> {
    File::from_str(DEFAULTS, FileFormat::Toml)
}

type Builder = config::ConfigBuilder<config::builder::DefaultState>;

fn layer(builder: Builder) -> Result<Map<String, Value>, config::ConfigError> {
    builder.build()?.cache.into_table()
}

/// The dotted names of every value in a table.
#[expect(clippy::iter_over_hash_type, reason = "the names are sorted")]
fn keys(table: &Map<String, Value>) -> BTreeSet<String> {
    fn walk(prefix: &str, table: &Map<String, Value>, into: &mut BTreeSet<String>) {
        for (key, value) in table {
            let name = if prefix.is_empty() {
                key.clone()
            } else {
                format!("{prefix}.{key}")
            };
            match &value.kind {
                ValueKind::Table(inner) => walk(&name, inner, into),
                _ => {
                    into.insert(name);
                }
            }
        }
    }
    let mut names = BTreeSet::new();
    walk("", table, &mut names);
    names
}

/// A list given as one string, as the environment gives it, is split at its commas.
fn split_lists(table: &mut Map<String, Value>) {
    let split = |value: &mut Value| {
        if let ValueKind::String(text) = &value.kind {
            let parts = text
                .split(',')
                .map(str::trim)
                .filter(|part| !part.is_empty());
            let parts = parts.map(Value::from).collect::<Vec<_>>();
            value.kind = ValueKind::Array(parts);
        }
    };
    for (section, key) in [
        ("render", "formats"),
        ("fonts", "more"),
        ("sign", "command"),
    ] {
        if let Some(Value {
            kind: ValueKind::Table(section),
            ..
        }) = table.get_mut(section)
            && let Some(list) = section.get_mut(key)
        {
            split(list);
        }
    }
    let Some(Value {
        kind: ValueKind::Table(fonts),
        ..
    }) = table.get_mut("fonts")
    else {
        return;
    };
    if let Some(Value {
        kind: ValueKind::Table(roles),
        ..
    }) = fonts.get_mut("roles")
    {
        roles.values_mut().for_each(split);
    }
}

/// One section, or a line in `wrong` that names the key and where its value came from.
fn section<T: DeserializeOwned>(
    table: &Map<String, Value>,
    name: &str,
    wrong: &mut Vec<String>,
) -> Option<T> {
    let value = table
        .get(name)
        .cloned()
        .unwrap_or_else(|| Value::from(Map::<String, Value>::new()));
    match value.try_deserialize() {
        Ok(section) => Some(section),
        Err(error) => {
            wrong.push(format!("[{name}] {error}"));
            None
        }
    }
}

fn unknown(key: &str, origin: &str, known: &BTreeSet<String>) -> String {
    let mut line = format!("{origin}: there is no setting {key}");
    let near = known
        .iter()
        .max_by(|a, b| strsim::jaro_winkler(a, key).total_cmp(&strsim::jaro_winkler(b, key)));
    if let Some(near) = near.filter(|near| strsim::jaro_winkler(near, key) > 0.8) {
        line.push_str(&format!("; did you mean {near}?"));
    }
    line
}

fn report(wrong: Vec<String>) -> ConfigError {
    ConfigError(
        wrong
            .iter()
            .map(|line| format!("  {line}"))
            .collect::<Vec<_>>()
            .join("\n"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_the_keys_names_every_one() {
        let known = keys(&layer(Config::builder().add_source(defaults())).unwrap());
        let ordered = ordered_keys();
        assert_eq!(ordered.first().map(String::as_str), Some("queue.url"));
        assert_eq!(ordered.len(), known.len());
        assert_eq!(ordered.into_iter().collect::<BTreeSet<_>>(), known);
    }

    #[test]
    fn no_password_of_an_address_is_shown() {
        for (text, shown) in [
            ("amqp://u:p@h:5672/v", "amqp://u:***@h:5672/v"),
            ("amqp://u:p@ss@a,b/v?x=1", "amqp://u:***@a,b/v?x=1"),
            ("amqp://u:p/ss@h/v", "amqp://u:***@h/v"),
            ("amqp://u@h/v", "amqp://u@h/v"),
            ("amqp://h/v", "amqp://h/v"),
            ("spool:./a:b@c", "spool:./a:b@c"),
        ] {
            assert_eq!(without_password(text), shown);
        }
    }
}

//! The command line: what can be asked, and how each answer ends.

mod archive;
mod catalog;
mod config;
mod console;
mod dead;
mod demo;
mod doctor;
mod files;
mod form;
mod health;
mod import;
mod merge;
mod output;
mod package;
mod queue;
mod render;
mod schema;
mod serve;
mod status;
mod store;
mod topology;
mod verify;
mod wait;
mod worker;

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};
use output::print_stderr;

use crate::config::{ConfigError, Settings};
use crate::job;
use crate::problem::{Failure, Outage, Part, Problem, Rejection};
use crate::telemetry::{self, trace::Traces};
use crate::transport::{Lane, Unsent};
use crate::typesetter::Ppi;

/// How long a write that nobody waits for may take after the end.
const LEAVE: Duration = Duration::from_secs(2);

/// How a command ends. Scripts rely on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// All that was asked is done, and printed for whoever still reads.
    Done = 0,
    /// A job is at fault, each problem on standard error with its place; or a PDF is not what
    /// banshi made; or an archive is not as it should be; or `doctor --strict` has a warning; or
    /// what `health` asks is not ready; or not all of a file that was imported could be read as it
    /// stands.
    JobAtFault = 1,
    /// The command line is wrong. clap ends with the same code.
    Usage = 2,
    /// The environment is at fault: settings, fonts, disk, broker, store; or standard output,
    /// when it is full, or closed before a command that changes something had printed all of it.
    Environment = 3,
    /// The time is up, and not all has ended that was waited for.
    Unended = 4,
    /// Nothing can be made of the file that was to be imported.
    Unusable = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// Turns report jobs into the official, archival PDF.
#[derive(Debug, Parser)]
#[command(name = "banshi", version, max_term_width = 100)]
#[command(after_help = "Example:\n  \
                        banshi demo\n\n\
                        Exit codes: 0 done, 1 a job is at fault, 2 usage, 3 the environment is at \
                        fault, 4 not all has ended that was waited for, 5 nothing can be made of \
                        a file.")]
struct Cli {
    /// Settings file; can be given more than once, and later ones win [default: banshi.toml, when
    /// it is there]
    #[arg(long, global = true, value_name = "FILE")]
    config: Vec<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Typeset one job, without a queue
    #[command(after_help = "Example:\n  \
                            banshi render report.json -o report.pdf\n  \
                            banshi render report.json -o pages/ --format png --ppi 200\n\n\
                            html is a page for the web. png and svg are for looking at: a file a \
                            page, numbered before the ending,\n\
                            as report-1.png. The PDF is the archival document; ofd is the same for \
                            who takes the national\n\
                            format only.")]
    Render(RenderArgs),
    /// Say of jobs what the service would say, without a queue
    #[command(after_help = "Example:\n  \
                            banshi check reports/*.json\n  \
                            banshi check --layout --format json report.json | jq .problems\n  \
                            banshi check --proof proofs/ report.json\n  \
                            banshi check --prior last-year.pdf report.json\n  \
                            banshi check --serve < jobs.ndjson\n  \
                            banshi check --serve --listen 127.0.0.1:9466\n\n\
                            Without --layout everything but E-LAYOUT is told, in a fraction of a \
                            millisecond a job. Faces,\n\
                            templates and limits are those of the settings.")]
    Check(CheckArgs),
    /// Make a job of what is published already, a PDF of banshi, a report as text or web page, or of
    /// a workbook that was filled in
    #[command(after_help = "Example:\n  \
                            banshi import report.pdf -o job.json\n  \
                            banshi import --explain report.html > job.json\n  \
                            curl -s https://www.example.gov.cn/report.html | banshi import - | \
                            banshi check -\n\n\
                            What a file is, its content says. What could not be read is not in \
                            the job, and what was assumed\n\
                            is, each told on standard error with its place.\n\n\
                            Exit codes: 0 all was read as it stands; 1 something could not be \
                            read or was assumed; 2 usage; 3 the environment is at fault; 5 \
                            nothing can be made of the file.")]
    Import(ImportArgs),
    /// Check that PDFs and OFDs are what banshi made: each is made again from its attachments and compared
    #[command(after_help = "Example:\n  \
                            banshi verify annual-report/2021/2023/*.pdf\n  \
                            banshi verify --manifest --format json report.pdf | jq .verdict\n  \
                            banshi verify report.pdf --signature report.p7s\n\n\
                            Verdicts:\n  \
                            authentic   真实      this build makes the same bytes of the attached \
                            data\n  \
                            equivalent  等同      made by another version, with other templates or \
                            fonts; this build makes\n                        \
                            the same file but for the names of versions in it\n  \
                            signed      已签名    such a file, and after it nothing but signatures \
                            that hold; whether their\n                        \
                            certificates are to be trusted is not asked\n  \
                            unproven    未能核实  made by another version or with wider limits, and \
                            this build makes another\n                        \
                            file or none: the data are those that the file's provenance names, of \
                            the\n                        \
                            page only that version can tell\n  \
                            altered     已改动    not what banshi made: changed, saved again, or \
                            never banshi's\n\n\
                            Exit codes: 0 every file is authentic, or equivalent, or signed, or \
                            unproven with a manifest that agrees, and the signature beside it, if \
                            one was given, holds; 1 any other; 3 the environment is at fault. \
                            Templates and fonts are those of the settings.")]
    Verify(VerifyArgs),
    /// Keep every report that was announced in packages for the archive (BagIt, 档发〔2012〕7号); or
    /// audit such packages
    #[command(after_help = "Example:\n  \
                            banshi archive /srv/archive\n  \
                            banshi archive /srv/archive --once --verify --expect agencies.csv \
                            --year 2024\n  \
                            banshi archive check /srv/archive\n\n\
                            It follows the log of events, fetches each report from the store, and \
                            holds it to what was announced.\n\
                            Killed at any moment it goes on where it was. A package NAME.open is \
                            being filled; one that is closed is\n\
                            never touched again, and what comes later goes into the next.\n\n\
                            Exit codes: 0 done; 1 a report is not in the store as it was announced, \
                            or an agency that is to report has not; 3 the environment is at fault.")]
    Archive(ArchiveArgs),
    /// Serve the queue until SIGTERM or SIGINT
    #[command(after_help = "Example:\n  \
                            BANSHI__QUEUE__URL=amqp://user:password@broker/%2f banshi worker\n\n\
                            A second signal leaves at once; the jobs in hand go back to the \
                            queue.")]
    Worker(WorkerArgs),
    /// Send jobs to the queue, each confirmed by the broker
    #[command(after_help = "Example:\n  \
                            banshi enqueue reports/ late.json\n  \
                            cat jobs.ndjson | banshi enqueue --lane urgent -\n  \
                            banshi enqueue --journal january.journal reports/\n\n\
                            With a journal many jobs are on their way at once, and a broker that goes \
                            away or a lane that is\n\
                            full is waited for. Killed at any moment, the same command goes on where it \
                            was.")]
    Enqueue(EnqueueArgs),
    /// Wait until jobs have ended, and list what became of each
    #[command(after_help = "Example:\n  \
                            banshi wait --journal january.journal\n  \
                            banshi wait --timeout 2h --format csv reports/ > outcome.csv\n  \
                            banshi wait --job zibo-bigdata-2020\n\n\
                            It reads the log of events, takes nothing from a queue, and outlasts a \
                            restart of the broker.\n\n\
                            Exit codes: 0 all are completed; 1 some were rejected or have failed; 3 the \
                            environment is at fault; 4 not all have ended, or not all of the journal's \
                            were sent.")]
    Wait(WaitArgs),
    /// Add departments' reports up into the county's job (逐级汇总)
    #[command(after_help = "Example:\n  \
                            banshi merge departments/*.json --agency 某县人民政府 -o county.json\n  \
                            banshi merge departments/*.pdf --agree county.json\n\n\
                            Figures are added cell by cell, a mark as 0, rows of lists one after \
                            another; totals are computed.\n\
                            Texts are left to the county. Each report is checked as `banshi check` does, \
                            and all that does not\n\
                            add up is told with its file and agency.\n\n\
                            Exit codes: 0 added up, or agreed; 1 a report is at fault, or a cell differs; \
                            3 the environment is at fault.")]
    Merge(MergeArgs),
    /// Look after the dead queue: what was rejected, failed, or killed its workers
    #[command(after_help = "Example:\n  \
                            banshi dead list\n  \
                            banshi dead replay zibo-bigdata-2020\n  \
                            banshi dead list --queue unrouted")]
    Dead(DeadArgs),
    /// Say how it goes: what waits, how fast, until when, and how the workers are; or one job's
    /// story
    #[command(after_help = "Example:\n  \
                            banshi status\n  \
                            banshi status zibo-bigdata-2020\n  \
                            banshi status --since 24h\n  \
                            banshi status --workers --watch\n\n\
                            A job's story is read from the log of events, the newest day first, \
                            and says how far it looked. It\n\
                            changes nothing, and takes nothing from a queue.\n\n\
                            Exit codes: 0 all is told; 1 the job was rejected or has failed, or \
                            nothing is known of it; 3 the environment is at fault.")]
    Status(StatusArgs),
    /// Serve pages that show how it goes, job by job, until SIGTERM or SIGINT
    #[command(after_help = "Example:\n  \
                            banshi console\n  \
                            BANSHI__CONSOLE__DEADLINE=2027-01-31 banshi console\n\n\
                            It listens on console.listen, of this machine alone and read-only \
                            unless the settings say otherwise.\n\
                            Workers need not know of it; several consoles may run.")]
    Console,
    /// Say whether the worker of these settings, or the console, is well: for health checks
    #[command(
        after_help = "Example:\n  banshi health\n  banshi health --console\n\n\
                            It asks at admin.listen or console.listen, from this machine.\n\n\
                            Exit codes: 0 well, 1 it runs and is not ready, 3 nobody answers."
    )]
    Health(HealthArgs),
    /// Print the settings in force, each with where it comes from
    #[command(after_help = "Example:\n  \
                            banshi --config /etc/banshi/banshi.toml config\n  \
                            banshi config --format json | jq '.[] | select(.source != \
                            \"default\")'\n\n\
                            Passwords and secrets are shown as ***. Settings that are wrong are \
                            told as by every command.")]
    Config(ConfigArgs),
    /// Check all that a worker needs, from the broker to the fonts, and say what to do
    #[command(after_help = "Example:\n  \
                            runuser -u banshi -- banshi --config /etc/banshi/banshi.toml doctor\n  \
                            banshi doctor --strict --text agencies.txt\n\n\
                            Run it as the user and with the environment of the worker. It changes \
                            nothing that it doesn't remove\n\
                            again, and workers may run meanwhile.\n\n\
                            Exit codes: 0 nothing fails, 1 there is a warning (with --strict), 3 \
                            something fails.")]
    Doctor(DoctorArgs),
    /// Make the store that workers put results into
    #[command(after_help = "Example:\n  banshi store init")]
    Store(StoreArgs),
    /// Look after the broker's exchanges and queues
    #[command(after_help = "Example:\n  banshi topology check\n  banshi topology migrate")]
    Topology(TopologyArgs),
    /// List the templates; print a template's JSON Schema or sample job
    #[command(after_help = "Example:\n  \
                            banshi templates\n  \
                            banshi templates annual-report/2021 --sample > report.json")]
    Templates(TemplatesArgs),
    /// Print the contracts in standard formats: JSON Schema of jobs, events, manifests and answers,
    /// the broker's side as AsyncAPI
    #[command(after_help = "Example:\n  \
                            banshi schema\n  \
                            banshi schema job annual-report/2021 > schema.json\n  \
                            banshi schema events\n  \
                            banshi schema --all schemas/\n\n\
                            Templates and names of queues are those of the settings.")]
    Schema(SchemaArgs),
    /// Make a workbook in the form's layout, for a clerk to fill in; totals and rules calculate
    #[command(after_help = "Example:\n  \
                            banshi form --template annual-report/2021 -o form.xlsx\n  \
                            banshi form --template annual-report/2021 --prior last-year.pdf -o \
                            form.xlsx\n  \
                            banshi form --job report.json -o report.xlsx\n\n\
                            For Excel, WPS and LibreOffice. Its sheets are protected without a \
                            password; which cell is which figure\n\
                            stands on a hidden sheet.")]
    Form(FormArgs),
    /// List the font roles, their faces and what they cover
    #[command(after_help = "Example:\n  banshi fonts\n  banshi fonts --text 䶮曌祎")]
    Fonts(FontsArgs),
    /// Run real reports through the whole pipeline in a temporary folder
    #[command(after_help = "Example:\n  banshi demo")]
    Demo,
    /// A typesetter process; the worker starts these
    #[command(hide = true)]
    Typesetter,
}

impl Command {
    /// Whether it changes something, so that it must be known what was done.
    fn changes(&self) -> bool {
        match self {
            Command::Dead(args) => match &args.command {
                DeadCommand::List { .. } | DeadCommand::Show { .. } => false,
                DeadCommand::Replay { selection, .. } | DeadCommand::Drop(selection) => {
                    !selection.dry_run
                }
            },
            Command::Render(_) | Command::Worker(_) | Command::Enqueue(_) | Command::Store(_) => {
                true
            }
            Command::Topology(args) => matches!(args.command, TopologyCommand::Migrate),
            Command::Schema(args) => args.all.is_some(),
            Command::Import(args) => args.output.is_some(),
            Command::Form(_) => true,
            Command::Merge(args) => args.output.is_some() || args.parts.is_some(),
            Command::Check(_)
            | Command::Archive(_)
            | Command::Status(_)
            | Command::Wait(_)
            | Command::Console
            | Command::Health(_)
            | Command::Verify(_)
            | Command::Config(_)
            | Command::Doctor(_)
            | Command::Templates(_)
            | Command::Fonts(_)
            | Command::Demo
            | Command::Typesetter => false,
        }
    }
}

#[derive(Debug, Args)]
struct RenderArgs {
    /// The job, or - for standard input
    #[arg(value_name = "JOB.json")]
    job: PathBuf,
    /// The file; or a folder, there already or named with a / at its end, for a file named by the
    /// job's id [default: the working directory]
    #[arg(short, long, value_name = "FILE-or-DIR")]
    output: Option<PathBuf>,
    /// What is written
    #[arg(long, value_enum, default_value_t = Medium::Pdf)]
    format: Medium,
    /// Pixels per inch of png, 36 to 600 [default: 144]
    #[arg(long, value_name = "N", value_parser = ppi)]
    ppi: Option<Ppi>,
}

/// What `render` writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Medium {
    /// The archival document
    Pdf,
    /// A page for the web, whole in itself
    Html,
    /// A picture of each page
    Png,
    /// A drawing of each page, its text as outlines
    Svg,
    /// The same document as OFD (GB/T 33190, OFD-A)
    Ofd,
}

impl Medium {
    const ALL: [Medium; 5] = [
        Medium::Pdf,
        Medium::Html,
        Medium::Png,
        Medium::Svg,
        Medium::Ofd,
    ];

    /// The ending of its files.
    fn ending(self) -> &'static str {
        match self {
            Medium::Pdf => "pdf",
            Medium::Html => "html",
            Medium::Png => "png",
            Medium::Svg => "svg",
            Medium::Ofd => "ofd",
        }
    }
}

fn ppi(text: &str) -> Result<Ppi, String> {
    let number = text.parse().ok().and_then(Ppi::new);
    number.ok_or_else(|| {
        let (least, most) = (Ppi::RANGE.start(), Ppi::RANGE.end());
        format!("want a whole number from {least} to {most}")
    })
}

#[derive(Debug, Args)]
struct CheckArgs {
    /// The jobs, or - for standard input
    #[arg(value_name = "JOB.json", required_unless_present = "serve")]
    jobs: Vec<PathBuf>,
    /// Answer jobs as they come: a line of JSON on standard input, job or {"id": …, "job": …}, is a
    /// line on standard output
    #[arg(long, conflicts_with_all = ["jobs", "layout", "proof", "prior", "format"])]
    serve: bool,
    /// With --serve, answer over HTTP at this address: POST /check, GET /openapi.json
    #[arg(long, value_name = "ADDRESS:PORT", requires = "serve")]
    listen: Option<SocketAddr>,
    /// With --listen, at an address that other machines reach: whoever reaches it may ask
    #[arg(long, requires = "listen")]
    allow_remote: bool,
    /// With --listen, let pages of this origin, as `https://forms.example`, ask in a browser; can be
    /// given more than once
    #[arg(long, value_name = "ORIGIN", requires = "listen")]
    allow_origin: Vec<String>,
    /// Set the pages too, with render.threads typesetters: tells E-LAYOUT as well
    #[arg(long)]
    layout: bool,
    /// Draw the pages of each job that is refused into this folder, as NAME-proof-1.png, with what is
    /// wrong marked; for looking only
    #[arg(long, value_name = "DIR")]
    proof: Option<PathBuf>,
    /// Compare the job with last year's report: a job, a PDF of banshi, or anything that import
    /// reads
    #[arg(long, value_name = "LAST")]
    prior: Option<PathBuf>,
    /// How the problems are printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Args)]
struct ImportArgs {
    /// A PDF of banshi, a workbook, a web page or a text, or - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The file for the job [default: standard output]
    #[arg(short, long, value_name = "JOB.json")]
    output: Option<PathBuf>,
    /// The id of the job [default: the file's own, or else its name]
    #[arg(long, value_name = "ID", value_parser = job_id)]
    job_id: Option<String>,
    /// Print what was read, cell by cell and line by line, on standard error
    #[arg(long)]
    explain: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people, in English and Chinese
    Text,
    /// One JSON object a line
    Json,
}

#[derive(Debug, Args)]
struct VerifyArgs {
    /// The PDFs and OFDs
    #[arg(value_name = "FILE.pdf", required = true)]
    files: Vec<PathBuf>,
    /// Also hold each against the manifest beside it, of the same name with .json
    #[arg(long)]
    manifest: bool,
    /// Also say whether this signature beside the file is of it: CMS (PKCS#7, GB/T 35275) as PEM or
    /// DER, or an SM2 signature alone
    #[arg(long, value_name = "FILE.sig")]
    signature: Option<PathBuf>,
    /// The certificate or public key that the signature beside the file has to be by, where it does
    /// not bring its own or that is not enough
    #[arg(long, value_name = "PEM", requires = "signature")]
    certificate: Option<PathBuf>,
    /// How the findings are printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct ArchiveArgs {
    #[command(subcommand)]
    command: Option<ArchiveCommand>,
    /// The archive's folder; made when it is missing
    #[arg(value_name = "DIR", required = true)]
    dir: Option<PathBuf>,
    /// Leave when the log is read to its end, as it is now
    #[arg(long, visible_alias = "until-idle")]
    once: bool,
    /// Make each file again and compare, as `banshi verify --manifest` does
    #[arg(long)]
    verify: bool,
    /// In the end close the packages that are being filled, for handing over
    #[arg(long, requires = "once")]
    close: bool,
    /// Reports in a package; the next one goes into a new package
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = at_least_one)]
    max_reports: usize,
    /// Follow the events of this spool, whatever queue.url says
    #[arg(long, value_name = "DIR")]
    spool: Option<PathBuf>,
    /// In the end say who has reported and who has not, by this roster: CSV in UTF-8 with a column
    /// `name` (机构名称), and `aliases` (别名), `expected` (应报), `job_id` (任务编号), `code` (机构代码),
    /// `fonds` (全宗号) where they are known
    #[arg(long, value_name = "FILE.csv", requires_all = ["year", "once"])]
    expect: Option<PathBuf>,
    /// The reporting year of which --expect tells
    #[arg(long, requires = "expect")]
    year: Option<u16>,
    /// The document of which --expect tells: a template's name without its edition
    #[arg(long, value_name = "NAME", default_value = "annual-report")]
    template: String,
    /// How it is printed
    #[arg(long, value_enum, default_value_t = Table::Text)]
    format: Table,
}

#[derive(Debug, Subcommand)]
enum ArchiveCommand {
    /// Hold every file of every package to what the packages say of them
    #[command(after_help = "Example:\n  \
                            banshi archive check /srv/archive\n  \
                            banshi archive check --format json /mnt/copy/annual-report-2024-0001\n\n\
                            Exit codes: 0 all is as it was kept; 1 a file is changed, missing or too \
                            much, each is named; 3 something cannot be read.")]
    Check {
        /// An archive's folder, or one package wherever it is
        #[arg(value_name = "DIR")]
        dir: PathBuf,
        /// How it is printed
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
}

/// How a table is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Table {
    /// For people, in English and Chinese
    Text,
    /// For spreadsheets (RFC 4180), below a line of names
    Csv,
    /// One JSON object a line
    Json,
}

fn job_id(text: &str) -> Result<String, String> {
    let id = job::is_id(text).then(|| text.to_owned());
    id.ok_or_else(|| {
        "want 1 to 128 of A-Z, a-z, 0-9, '.', '_', '-', starting with a letter or digit".to_owned()
    })
}

fn at_least_one(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| "want a whole number, 1 or more".to_owned())
}

#[derive(Debug, Args)]
struct WorkerArgs {
    /// Leave when the queue is empty and nothing is in hand
    #[arg(long)]
    until_idle: bool,
}

#[derive(Debug, Args)]
struct EnqueueArgs {
    /// Jobs: .json files, .ndjson files with a job a line, folders of either, or - for standard
    /// input
    #[arg(value_name = "FILE-or-DIR", required = true)]
    jobs: Vec<PathBuf>,
    /// The lane; an urgent job passes a full bulk lane
    #[arg(long, value_enum, default_value_t = Lane::Bulk)]
    lane: Lane,
    /// Note each confirmed job in this file, and send only what it does not have
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
    /// End with 3 when nothing was confirmed for so long: 90s, 30m, 2h, 7d
    #[arg(
        long,
        value_name = "AGE",
        value_parser = age,
        default_value = "10m",
        requires = "journal"
    )]
    patience: Duration,
}

#[derive(Debug, Args)]
struct WaitArgs {
    /// Jobs: .json files, .ndjson files with a job a line, folders of either, or - for standard
    /// input
    #[arg(value_name = "FILE-or-DIR", required_unless_present_any = ["journal", "job"])]
    jobs: Vec<PathBuf>,
    /// The jobs that `enqueue --journal` noted in this file
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
    /// A job's id; can be given more than once
    #[arg(long, value_name = "JOB-ID")]
    job: Vec<String>,
    /// Wait no longer than this, and list what is known then: 90s, 30m, 2h, 7d; 0s does not wait
    #[arg(long, value_name = "AGE", value_parser = age)]
    timeout: Option<Duration>,
    /// How the list is printed
    #[arg(long, value_enum, default_value_t = Table::Text)]
    format: Table,
}

#[derive(Debug, Args)]
struct MergeArgs {
    /// The departments' jobs, or the PDFs that banshi made of them
    #[arg(value_name = "DEPT.json|DEPT.pdf", required = true)]
    reports: Vec<PathBuf>,
    /// 发文机关: whose job is made
    #[arg(long, value_name = "NAME", required_unless_present = "agree")]
    agency: Option<String>,
    /// The id of its job [default: merged-YEAR- and a digest of the parts]
    #[arg(long, value_name = "JOB-ID", value_parser = job_id)]
    job_id: Option<String>,
    /// Where its job is written [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write down there which reports it was made of, by digest
    #[arg(long, value_name = "FILE")]
    parts: Option<PathBuf>,
    /// Compare this county's job, or its PDF, with the sum, and name each cell that differs
    #[arg(long, value_name = "COUNTY.json|COUNTY.pdf")]
    agree: Option<PathBuf>,
    /// How what was found is printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Args)]
struct DeadArgs {
    /// Which queue
    #[arg(long, value_enum, default_value_t = KeptIn::Dead, global = true)]
    queue: KeptIn,
    #[command(subcommand)]
    command: DeadCommand,
}

/// The queues of jobs that nobody works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum KeptIn {
    /// Jobs that were rejected, failed, or killed their workers
    Dead,
    /// Jobs that were sent with a routing key that is no lane
    Unrouted,
}

#[derive(Debug, Subcommand)]
enum DeadCommand {
    /// What is in it and why, the oldest first
    #[command(after_help = "Example:\n  \
                            banshi dead list\n  \
                            banshi dead list --code E-GLYPH --older-than 7d")]
    List {
        #[command(flatten)]
        filter: Filter,
        /// How it is printed
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// Print jobs as they were sent; why they are here is on standard error
    #[command(after_help = "Example:\n  banshi dead show zibo-bigdata-2020 > job.json")]
    Show {
        /// The jobs' ids
        #[arg(value_name = "JOB-ID", required = true)]
        ids: Vec<String>,
        /// How they are printed; json has the job with its reason
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// Send jobs back to their lanes, as they were sent
    #[command(after_help = "Example:\n  \
                            banshi dead replay zibo-bigdata-2020\n  \
                            banshi dead replay --code store --dry-run\n\n\
                            What is given together narrows: a job must have one of the ids, one of \
                            the codes, and so on.")]
    Replay {
        #[command(flatten)]
        selection: Selection,
        /// With --queue unrouted, the lane that they go to [default: the one that their routing
        /// key names after all, or else bulk]
        #[arg(long, value_enum)]
        lane: Option<Lane>,
    },
    /// Remove jobs for good
    #[command(after_help = "Example:\n  \
                            banshi dead drop zibo-bigdata-2020\n  \
                            banshi dead drop --template annual-report/2019 --older-than 30d\n\n\
                            What is given together narrows: a job must have one of the ids, one of \
                            the codes, and so on.")]
    Drop(Selection),
}

/// Which of the dead jobs. What is given together narrows.
#[derive(Debug, Clone, Default, Args)]
struct Filter {
    /// The jobs' ids
    #[arg(value_name = "JOB-ID")]
    ids: Vec<String>,
    /// Jobs with this code, as the list shows it; can be given more than once
    #[arg(long, value_name = "CODE")]
    code: Vec<String>,
    /// Jobs for this template, or for this edition of it
    #[arg(long, value_name = "NAME[/EDITION]")]
    template: Option<String>,
    /// Jobs that have been here for longer than this: 90s, 30m, 2h, 7d
    #[arg(long, value_name = "AGE", value_parser = age)]
    older_than: Option<Duration>,
}

#[derive(Debug, Args)]
struct Selection {
    #[command(flatten)]
    filter: Filter,
    /// Every job
    #[arg(long)]
    all: bool,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// How it is said
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

fn age(text: &str) -> Result<Duration, String> {
    let number = text.trim_end_matches(|char: char| char.is_ascii_alphabetic());
    let seconds = match &text[number.len()..] {
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => 0,
    };
    let number = number.parse::<u64>().ok();
    let whole = number.and_then(|number| number.checked_mul(seconds));
    whole
        .filter(|_| seconds > 0)
        .map(Duration::from_secs)
        .ok_or_else(|| "want a whole number and s, m, h or d, as 36h".to_owned())
}

#[derive(Debug, Args)]
struct StatusArgs {
    /// The job whose story is told
    #[arg(value_name = "JOB-ID", conflicts_with_all = ["workers", "since", "watch"])]
    job: Option<String>,
    /// Each worker by itself
    #[arg(long)]
    workers: bool,
    /// What became of jobs in this time, by template, problem code and hour: 90s, 30m, 24h, 7d
    #[arg(long, value_name = "AGE", value_parser = age, conflicts_with = "workers")]
    since: Option<Duration>,
    /// How it is printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Go on, every few seconds, until interrupted
    #[arg(long)]
    watch: bool,
    /// Ask the console at this address, which knows it already; its token is read from the settings
    #[arg(long, value_name = "URL", conflicts_with = "workers")]
    console: Option<String>,
}

#[derive(Debug, Args)]
struct HealthArgs {
    /// The console, whether it lives; not the worker, whether it is ready
    #[arg(long)]
    console: bool,
}

#[derive(Debug, Args)]
struct ConfigArgs {
    /// How the settings are printed
    #[arg(long, value_enum, default_value_t = Listing::Text)]
    format: Listing,
}

/// How a list is printed that belongs together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Listing {
    /// TOML, with where each value comes from as a comment
    Text,
    /// One JSON array of key, value and source
    Json,
}

#[derive(Debug, Args)]
struct DoctorArgs {
    /// Check that the faces draw every character of this text, or of this file; of a file of JSON,
    /// of every string in it
    #[arg(long, value_name = "FILE-or-TEXT")]
    text: Option<String>,
    /// End with 1 when there is a warning
    #[arg(long)]
    strict: bool,
    /// How the findings are printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Args)]
struct StoreArgs {
    #[command(subcommand)]
    command: StoreCommand,
}

#[derive(Debug, Subcommand)]
enum StoreCommand {
    /// Make a new store where store.url says, unless there is one
    #[command(after_help = "Example:\n  \
                            runuser -u banshi -- banshi --config /etc/banshi/banshi.toml store \
                            init\n\n\
                            The folder with its .banshi-ready. A worker doesn't make one at an \
                            absolute path: it may be a disk that\n\
                            isn't mounted. Done a second time, it changes nothing.")]
    Init,
}

#[derive(Debug, Args)]
struct TopologyArgs {
    #[command(subcommand)]
    command: TopologyCommand,
}

#[derive(Debug, Subcommand)]
enum TopologyCommand {
    /// Say how each exchange and queue stands, and what to do; changes nothing
    #[command(after_help = "Example:\n  \
                            banshi topology check\n\n\
                            Exit codes: 0 all stands as it must; 3 something does not, or the \
                            broker does not say.\n\
                            What policies do to the queues cannot be seen from here: rabbitmqctl \
                            list_queues name policy\n\
                            operator_policy effective_policy_definition.")]
    Check,
    /// Give the dead and the unrouted queue this version's arguments, with what is in them
    #[command(after_help = "Example:\n  \
                            banshi topology migrate\n\n\
                            Each queue's jobs are moved to a queue beside it, the queue is made \
                            anew, and they are moved back. Workers\n\
                            of this version may run meanwhile. Killed at any moment it loses \
                            nothing, and the next run ends what it began;\n\
                            a job may then be there twice.")]
    Migrate,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
struct TemplatesArgs {
    #[command(subcommand)]
    command: Option<TemplatesCommand>,
    /// The template
    #[arg(
        value_name = "NAME/EDITION",
        required_if_eq_any([("schema", "true"), ("sample", "true"), ("describe", "true")])
    )]
    name: Option<String>,
    /// Print the JSON Schema of its jobs
    #[arg(long, conflicts_with_all = ["sample", "describe"])]
    schema: bool,
    /// Print its fields, its tables and its rules as Markdown
    #[arg(long, conflicts_with = "sample")]
    describe: bool,
    /// Print a sample job
    #[arg(long)]
    sample: bool,
}

#[derive(Debug, Subcommand)]
enum TemplatesCommand {
    /// Lay out a package with a form and a template to begin with
    New {
        /// Its folder; the last name is the package's
        dir: PathBuf,
    },
    /// Check form, template and sample of a package, and draw its pages into .pages
    Check {
        /// Its folder
        dir: PathBuf,
        /// Do it again whenever a file changes
        #[arg(long)]
        watch: bool,
    },
}

#[derive(Debug, Args)]
struct SchemaArgs {
    /// Which [default: the list of all]
    #[arg(value_enum, value_name = "WHICH")]
    contract: Option<Contract>,
    /// Of a job the template, as annual-report/2021; of events a type, as report.completed, for its
    /// data alone
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Write all of them into this folder
    #[arg(long, value_name = "DIR", conflicts_with_all = ["contract", "name"])]
    all: Option<PathBuf>,
}

/// What others rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Contract {
    /// A job: what all have, or all of a template's
    Job,
    /// The events
    Events,
    /// What is written beside each PDF
    Manifest,
    /// What a PDF says of how it was made
    Provenance,
    /// What `check --format json` prints
    Check,
    /// What `check --serve` answers
    Answer,
    /// `check --serve` over HTTP
    Openapi,
    /// Exchanges, queues, messages and headers
    Asyncapi,
}

#[derive(Debug, Args)]
struct FormArgs {
    /// The template [default: the job's]
    #[arg(long, value_name = "NAME/EDITION", required_unless_present = "job")]
    template: Option<String>,
    /// The file
    #[arg(short, long, value_name = "FILE.xlsx")]
    output: PathBuf,
    /// Fill in what this job holds, or - for standard input
    #[arg(long, value_name = "JOB.json")]
    job: Option<PathBuf>,
    /// Fill in last year's figures from its job, or from its PDF by banshi
    #[arg(long, value_name = "LAST.json|LAST.pdf")]
    prior: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct FontsArgs {
    /// Say which face draws each of these characters
    #[arg(long, value_name = "TEXT")]
    text: Option<String>,
}

/// What the command line takes, for its manual pages and the completions of shells.
pub fn command_line() -> clap::Command {
    Cli::command()
}

/// Reads the command line, does what it asks, and says how it ended.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(said) => return unparsed(&said).into(),
    };
    if let Command::Typesetter = cli.command {
        return crate::typesetter::child();
    }
    let settings = match (Settings::load(&cli.config, environment()), &cli.command) {
        (Ok(settings), _) => settings,
        (Err(error), Command::Doctor(args)) => {
            return doctor::unreadable(&error, args)
                .unwrap_or_else(|error| fail(&error))
                .into();
        }
        (Err(error), _) => return fail(&Error::Config(error)).into(),
    };
    let mut log = settings.log.clone();
    match cli.command {
        Command::Worker(_) | Command::Console => {}
        Command::Archive(ArchiveArgs { command: None, .. }) => {}
        // What it finds it prints itself, warnings included; but what a typesetter says that can't
        // start is in the log alone.
        Command::Doctor(_) => {
            log.filter = "off,banshi::typesetter::pool::process=warn".to_owned();
        }
        // What the other commands do they print themselves.
        _ => log.filter = "warn".to_owned(),
    }
    if let Err(error) = telemetry::start_log(&log) {
        print_stderr(format_args!("banshi: {error}"));
        return Exit::Environment.into();
    }
    let changes = cli.command.changes();
    let done = match cli.command {
        Command::Render(args) => render::render(&settings, &args),
        Command::Check(args) if args.serve => serve::serve(&settings, &args),
        Command::Check(args) => render::check(&settings, &args),
        Command::Import(args) => import::import(&settings, &args),
        Command::Verify(args) => verify::verify(&settings, &args),
        Command::Archive(args) => archive::archive(&settings, &args),
        Command::Config(args) => {
            let all = Settings::in_force(&cli.config, environment());
            all.map_err(Error::Config)
                .and_then(|all| config::config(&all, &args))
        }
        Command::Doctor(args) => {
            let all = Settings::in_force(&cli.config, environment());
            all.map_err(Error::Config)
                .and_then(|all| doctor::doctor(&settings, &all, &args))
        }
        Command::Console => console::console(&settings),
        Command::Status(args) => status::status(&settings, &args),
        Command::Health(args) => health::health(&settings, &args),
        Command::Worker(args) => worker::worker(&settings, &args),
        Command::Enqueue(args) => queue::enqueue(&settings, &args),
        Command::Wait(args) => wait::wait(&settings, &args),
        Command::Merge(args) => merge::merge(&settings, &args),
        Command::Dead(args) => dead::dead(&settings, &args),
        Command::Topology(args) => topology::topology(&settings, &args.command),
        Command::Store(args) => store::store(&settings, &args.command),
        Command::Templates(args) => catalog::templates(&settings, &args),
        Command::Schema(args) => schema::schema(&settings, &args),
        Command::Form(args) => form::form(&settings, &args),
        Command::Fonts(args) => catalog::fonts(&settings, &args),
        Command::Demo => demo::demo(&settings),
        Command::Typesetter => unreachable!("answered above"),
    };
    match done {
        Ok(exit) => exit,
        Err(Error::BrokenPipe) if changes => {
            print_stderr(
                "banshi: standard output was closed before all was done and told; what was not \
                 told of may be done or not",
            );
            Exit::Environment
        }
        Err(error) => fail(&error),
    }
    .into()
}

/// Prints what clap has to say, help or a mistake.
fn unparsed(said: &clap::Error) -> Exit {
    let printed = said.print().and_then(|()| std::io::stdout().flush());
    match (said.use_stderr(), printed) {
        (true, _) => Exit::Usage,
        (false, Ok(())) => Exit::Done,
        (false, Err(error)) => fail(&error.into()),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the environment"
)]
fn environment() -> impl Iterator<Item = (String, String)> {
    // A variable that is not UTF-8 cannot be one of ours.
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// Why a command could not do what was asked.
#[derive(Debug)]
enum Error {
    Config(ConfigError),
    Usage(String),
    Rejected(Rejection),
    Outage(Outage),
    /// Standard output went away, as in `banshi templates | head -1`: nobody is left to tell.
    BrokenPipe,
}

impl From<Outage> for Error {
    fn from(outage: Outage) -> Self {
        Error::Outage(outage)
    }
}

impl From<Unsent> for Error {
    fn from(unsent: Unsent) -> Self {
        match unsent {
            Unsent::Unfit(why) => Error::Outage(Outage::new(Part::Transport, why)),
            Unsent::Outage(outage) => Error::Outage(outage),
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Rejected(rejection) => Error::Rejected(rejection),
            Failure::Outage(outage) => Error::Outage(outage),
        }
    }
}

/// Standard output's errors; files have outages that name them.
impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            Error::BrokenPipe
        } else {
            Error::Outage(Outage::because(
                Part::Disk,
                "cannot write to standard output",
                error,
            ))
        }
    }
}

/// Says why on standard error, and with which code to end.
fn fail(error: &Error) -> Exit {
    match error {
        Error::Config(error) => {
            print_stderr(format_args!("banshi: {error}"));
            print_stderr("The settings and their defaults: docs/configuration.md");
            Exit::Environment
        }
        Error::Usage(message) => {
            print_stderr(format_args!("banshi: {message}"));
            Exit::Usage
        }
        Error::Rejected(rejection) => {
            print_problems(rejection.problems());
            Exit::JobAtFault
        }
        Error::Outage(outage) => {
            print_stderr(format_args!("banshi: {}", outage.chain()));
            Exit::Environment
        }
        Error::BrokenPipe => Exit::Done,
    }
}

fn print_problems(problems: &[Problem]) {
    for problem in problems {
        print_stderr(problem);
    }
}

/// Begins the traces of a command that has jobs in hand.
fn traces(settings: &Settings) -> Result<Traces, Error> {
    let begun = telemetry::trace::start(&settings.telemetry);
    begun.map_err(|why| Error::Config(ConfigError::of(&why)))
}

/// Hands over what is left of them, where that holds up nothing else.
async fn finish(traces: Traces) {
    let finished = tokio::task::spawn_blocking(|| traces.finish()).await;
    finished.unwrap_or_else(|error| tracing::warn!(%error, "the traces could not be ended"));
}

/// The runtime of the commands that talk to a broker or a folder.
fn block_on<T>(future: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Outage::because(Part::Disk, "cannot start the runtime", error))?;
    let done = runtime.block_on(future);
    // Nobody waits for what is still being written, and a disk that hangs must not keep us.
    runtime.shutdown_timeout(LEAVE);
    done
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_well_formed() {
        super::command_line().debug_assert();
    }
}

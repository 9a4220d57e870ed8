//! The words that the tests are written in.

pub mod authority;
pub mod bench;
pub mod cases;
pub mod console;
pub mod deployment;
pub mod figures;
pub mod hang;
pub mod jobs;
pub mod node;
pub mod notes;
pub mod ofd;
pub mod official;
pub mod pdf;
pub mod picture;
pub mod prometheus;
pub mod raw_amqp;
pub mod signing;
pub mod stores;
pub mod wire;

use std::path::{Path, PathBuf};
use std::process::Command;

use banshi::config::Settings;
use banshi::job::{self, Job, Refusal};
use banshi::problem::{Code, Problem};
use banshi::report::Editions;
use banshi::timing::unix_seconds;
use banshi::typesetter::Templates;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Runs tasks side by side on all threads of the test, and gives what came of them in their order.
pub async fn side_by_side<T: Send + 'static>(
    tasks: impl IntoIterator<Item = impl Future<Output = T> + Send + 'static>,
) -> Vec<T> {
    let mut running = tokio::task::JoinSet::new();
    for (place, task) in tasks.into_iter().enumerate() {
        running.spawn(async move { (place, task.await) });
    }
    let mut ended = running.join_all().await;
    ended.sort_by_key(|(place, _)| *place);
    ended.into_iter().map(|(_, result)| result).collect()
}

/// A file of the repository.
pub fn repository(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The first block of commands under a heading of a page.
pub fn commands(page: &str, heading: &str) -> String {
    let page = std::fs::read_to_string(repository(page)).expect("the page");
    let (_, section) = page
        .split_once(&format!("\n## {heading}\n"))
        .expect("the heading");
    let (_, block) = section.split_once("```sh\n").expect("commands");
    let (block, _) = block.split_once("```").expect("their end");
    block.to_owned()
}

/// The time so many seconds from now, as settings take it.
pub fn in_seconds(seconds: u64) -> String {
    let at = (unix_seconds() + seconds).cast_signed();
    let at = OffsetDateTime::from_unix_timestamp(at).unwrap();
    at.format(&Rfc3339).unwrap()
}

/// Waits until something is so, which it is in time.
#[track_caller]
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    let began = std::time::Instant::now();
    while !so() {
        assert!(began.elapsed().as_secs() < 120, "not in time: {what}");
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
}

/// The names of what is in a folder, in order.
pub fn listed(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder);
    let entries = entries.unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("an entry").file_name())
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// The defaults, untouched by file or environment.
pub fn settings() -> Settings {
    Settings::load(&[repository("src/defaults.toml")], []).expect("the defaults are right")
}

/// The editions that this build knows, under the names of the embedded templates.
pub fn editions() -> Editions {
    let templates = Templates::load(None).expect("the embedded templates are right");
    templates.forms()
}

/// A code that a form brings.
pub fn rule(code: &str) -> Code {
    Code::named(code).expect("a code")
}

/// The `banshi` program that is tested.
pub const BANSHI: &str = env!("CARGO_BIN_EXE_banshi");

/// A finished PDF, removed with the value.
pub struct Rendered(tempfile::TempDir);

impl Rendered {
    /// Where it is.
    pub fn path(&self) -> PathBuf {
        self.0.path().join("report.pdf")
    }
}

/// The PDF of a job, made by the program in a process of its own.
pub fn render(job: &Value) -> Rendered {
    let folder = tempfile::tempdir().expect("a temporary folder");
    render_as(job, folder.path(), "report", "pdf");
    Rendered(folder)
}

/// The file of a job in a format, `NAME.FORMAT` in a folder, made by the program in a process of its
/// own.
pub fn render_as(job: &Value, folder: &Path, name: &str, format: &str) -> PathBuf {
    let source = folder.join(format!("{name}.json"));
    std::fs::write(&source, job.to_string()).expect("a file");
    let target = folder.join(format!("{name}.{format}"));
    let (code, _, err) = ran(Command::new(BANSHI)
        .args(["render", "--format", format, "-o"])
        .args([&target, &source])
        .env("BANSHI__FONTS__DIR", repository("fonts"))
        .current_dir(folder));
    assert_eq!(code, Some(0), "{name}: {err}");
    target
}

/// How a command ends, and what it says: its exit code, standard output, standard error.
pub fn ran(command: &mut Command) -> (Option<i32>, String, String) {
    let output = command.output().expect("the program starts");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

/// Reads and checks a job.
pub fn check(job: &[u8]) -> Result<Job, Refusal> {
    job::read(job, None, &settings().limits, &editions())
}

/// What rejects a job: code and place of each problem.
pub fn refused(job: &Value) -> Vec<(Code, String)> {
    match check(job.to_string().as_bytes()) {
        Ok(_) => Vec::new(),
        Err(refusal) => places(refusal.rejection.problems()),
    }
}

/// Code and place of each problem.
pub fn places(problems: &[Problem]) -> Vec<(Code, String)> {
    problems
        .iter()
        .map(|problem| (problem.code, problem.path.clone()))
        .collect()
}

/// Does something in a repository of the test's own, whoever runs it.
pub fn git(folder: &Path, arguments: &[&str]) {
    let mut command = Command::new("git");
    command
        .current_dir(folder)
        .args(["-c", "user.name=a", "-c", "user.email=a@localhost"]);
    command.args(["-c", "commit.gpgSign=false", "-c", "tag.gpgSign=false"]);
    let output = command.args(arguments).output().expect("git");
    assert!(output.status.success(), "{arguments:?}: {output:?}");
}

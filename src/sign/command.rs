//! A program that signs: `sign.command`.
//!
//! Takes a question, runs the program with what is to be signed on its standard input, gives what
//! it wrote on its standard output. Never gives it a variable of the worker's but those that any
//! program has, and never leaves it or what it has started behind: it has a process group of its
//! own, which is killed when it has ended or is not waited for any more, for whatever reason; only
//! what has left the group stays, as a daemon does. If we crash here, its standard input ends.

use std::ffi::OsString;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

use super::{Question, Trouble, UNTOLD};
use crate::escape;
use crate::problem::{Outage, Part};

/// Of the worker's environment: what a program needs to find others and to write its language.
const VARIABLES: [&str; 6] = ["PATH", "HOME", "TMPDIR", "TZ", "LANG", "LC_ALL"];

/// The exit codes that mean something, as `sysexits.h` has them: the document is at fault; what is
/// needed is not there; try again.
const DATA: i32 = 65;
const UNAVAILABLE: i32 = 69;
const TEMPORARY: i32 = 75;

/// The most that is read of what it says on its standard error, and repeated of it, in bytes.
const HEARD: u64 = 64 << 10;
const REPEATED: usize = 500;

/// A program, and its arguments.
#[derive(Debug)]
pub(super) struct Program {
    path: PathBuf,
    arguments: Vec<String>,
}

/// A program that runs: its group is killed in the end, whether it was waited for or not.
struct Running {
    child: Child,
    /// The child does not tell it any more once it was waited for.
    #[cfg(target_os = "linux")]
    group: Option<rustix::process::Pid>,
}

impl Running {
    fn new(child: Child) -> Running {
        Running {
            #[cfg(target_os = "linux")]
            group: child
                .id()
                .and_then(|id| i32::try_from(id).ok())
                .and_then(rustix::process::Pid::from_raw),
            child,
        }
    }

    /// How it ends. What it has left behind is killed then, as that may hold its output open.
    async fn end(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait().await?;
        self.kill();
        Ok(status)
    }

    /// Kills its group, once.
    fn kill(&mut self) {
        #[cfg(target_os = "linux")]
        if let Some(group) = self.group.take() {
            use rustix::{io::Errno, process};
            match process::kill_process_group(group, process::Signal::KILL) {
                // It has left nothing behind.
                Ok(()) | Err(Errno::SRCH) => {}
                Err(error) => tracing::debug!(%error, "the signing program can't be killed"),
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Program {
    pub(super) fn new(program: &str, arguments: &[String]) -> Program {
        Program {
            path: program.into(),
            arguments: arguments.to_vec(),
        }
    }

    pub(super) fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// Where it is.
    pub(super) fn is_there(&self) -> Result<String, Outage> {
        let runs = |path: &Path| {
            let about = std::fs::metadata(path).ok()?;
            let runs = about.is_file() && about.permissions().mode() & 0o111 != 0;
            runs.then(|| path.display().to_string())
        };
        let found = match self.path.components().count() {
            1 => {
                let path = inherited("PATH").unwrap_or_default();
                std::env::split_paths(&path).find_map(|dir| runs(&dir.join(&self.path)))
            }
            _ => runs(&self.path),
        };
        found.ok_or_else(|| {
            Outage::new(
                Part::Signer,
                format!(
                    "sign.command: there is no program {} that can be run; name it with its folder",
                    self.name()
                ),
            )
        })
    }

    /// Its answer.
    pub(super) async fn ask(&self, question: &Question<'_>) -> Result<Vec<u8>, Trouble> {
        let mut command = Command::new(&self.path);
        command
            .args(&self.arguments)
            .env_clear()
            .envs(
                VARIABLES
                    .iter()
                    .filter_map(|name| Some((name, inherited(name)?))),
            )
            .envs(variables(question))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let not_there = |error: io::Error| {
            let message = format!("sign.command: cannot start {}", self.name());
            Trouble::Away(Outage::because(Part::Signer, message, error), None)
        };
        let child = command.spawn().map_err(|error| match error.kind() {
            // What else it gets is short, and of the settings, which have no NUL.
            io::ErrorKind::ArgumentListTooLong | io::ErrorKind::InvalidInput => {
                Trouble::Refused(UNTOLD.to_owned())
            }
            _ => not_there(error),
        })?;
        let mut running = Running::new(child);
        let (Some(mut input), Some(output), Some(errors)) = (
            running.child.stdin.take(),
            running.child.stdout.take(),
            running.child.stderr.take(),
        ) else {
            return Err(not_there(io::ErrorKind::BrokenPipe.into()));
        };
        let most = question.most();
        let (mut answer, mut said) = (Vec::new(), Vec::new());
        let unread = |error: io::Error| {
            let message = format!("cannot read what {} answers", self.name());
            Trouble::Wrong(Outage::because(Part::Signer, message, error))
        };
        let tell = async {
            // One that does not read all of it says why by its exit code.
            let told = input.write_all(question.input()).await;
            drop((input, told));
            Ok::<_, Trouble>(())
        };
        let read = async {
            let mut output = output.take(most as u64 + 1);
            output.read_to_end(&mut answer).await.map_err(unread)?;
            match answer.len() > most {
                false => Ok(()),
                true => Err(Trouble::wrong(format!(
                    "{} wrote more than {most} bytes, which no signature of this PDF has",
                    self.name()
                ))),
            }
        };
        let hear = async {
            let mut errors = errors;
            let heard = (&mut errors).take(HEARD).read_to_end(&mut said).await;
            heard.map_err(unread)?;
            let rest = tokio::io::copy(&mut errors, &mut tokio::io::sink()).await;
            rest.map_err(unread)
        };
        let end = async { running.end().await.map_err(unread) };
        let ((), (), _, status) = tokio::try_join!(tell, read, hear, end)?;
        match status.code() {
            Some(0) => Ok(answer),
            Some(DATA) => Err(Trouble::Refused(words(&said))),
            Some(UNAVAILABLE | TEMPORARY) => Err(Trouble::away(self.ended(status, &said))),
            _ => Err(Trouble::wrong(self.ended(status, &said))),
        }
    }

    fn ended(&self, status: ExitStatus, said: &[u8]) -> String {
        // "exit status: 3", "signal: 9 (SIGKILL)"
        format!("{} ended with {status}: {}", self.name(), words(said))
    }
}

/// What the program is told, as variables.
fn variables(question: &Question<'_>) -> Vec<(&'static str, String)> {
    let document = question.document;
    let mut variables = vec![
        ("BANSHI_JOB_ID", document.job_id.clone()),
        ("BANSHI_TEMPLATE", document.template.clone()),
        ("BANSHI_AGENCY", document.agency.clone()),
        ("BANSHI_TITLE", document.title.clone()),
        ("BANSHI_YEAR", document.year.to_string()),
        ("BANSHI_SHA256", question.sha256.clone()),
        ("BANSHI_BYTES", document.pdf.len().to_string()),
        ("BANSHI_TAKES", question.takes.as_str().to_owned()),
        ("BANSHI_GIVES", question.gives.as_str().to_owned()),
    ];
    if let Some(seal) = &document.seal {
        let [left, bottom, right, top] = seal.rect;
        variables.push(("BANSHI_SEAL_PAGE", seal.page.to_string()));
        variables.push(("BANSHI_SEAL_RECT", format!("{left} {bottom} {right} {top}")));
    }
    variables
}

/// The last of what it said, on one line.
fn words(said: &[u8]) -> String {
    let said = String::from_utf8_lossy(said);
    let lines: Vec<_> = said
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let line = lines.join(" / ");
    let line = match line.is_empty() {
        true => "it says nothing on its standard error",
        false => &line[line.ceil_char_boundary(line.len().saturating_sub(REPEATED))..],
    };
    escape::text(line).to_string()
}

/// A variable of the worker's environment.
#[expect(
    clippy::disallowed_methods,
    reason = "what any program has, and no setting"
)]
fn inherited(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

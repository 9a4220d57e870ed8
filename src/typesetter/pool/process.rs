//! The parent's end: a child as its parent sees it.
//!
//! Takes some [`Work`], gives what the child answered. Never goes on with a child whose answer
//! was none, and never lets a child make it keep or log more than a little. If we crash here, the
//! child sees its pipe close and ends.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::ffi::OsString;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;
use tracing::warn;

use super::kernel;
use super::pipe::{Order, PROTOCOL, Reply, Setup, Verdict, broken, checked, length, named};
use super::{Made, Program, Shared, Work};
use crate::problem::{Failure, Outage, Part, Rejection};
use crate::typesetter::Pdf;
use crate::typesetter::proof::{MOST_PAGES, Proof};

/// How long a child whose pipe is broken may take to be gone.
const GONE: Duration = Duration::from_secs(5);

/// Processor time that a report may take beyond its deadline, whose watch may be late.
const LATE: Duration = Duration::from_secs(2);

/// Lines of a child's standard error that are logged.
const LINES: usize = 100;

/// Bytes of a line of it.
const LINE: u64 = 4096;

/// What Rust's standard library prints before it aborts a process that finds no memory: these
/// words around a number of bytes.
const NO_MEMORY: (&[u8], &[u8]) = (b"memory allocation of ", b" bytes failed");

/// A process and the pipe to it.
pub(super) struct Child {
    number: usize,
    pub(super) process: tokio::process::Child,
    orders: ChildStdin,
    replies: BufReader<ChildStdout>,
    /// Ends with whether it said that it found no memory.
    errors: JoinHandle<bool>,
    reports: u64,
    /// Its own memory when it was warm, in bytes, where that can be known.
    warm: Option<u64>,
    /// Whether its processor time can be limited.
    timed: bool,
}

/// What a child says when it is ready.
pub(super) struct Greeting {
    pub(super) fingerprint: String,
    pub(super) unconfined: Vec<String>,
}

/// Why a child exited.
pub(super) enum ExitCause {
    /// It wanted more memory than it may have.
    Memory,
    /// It used more processor time than it may have.
    Time,
    /// By a SIGKILL that was not ours, as the rest of a sentence.
    Killed(String),
    /// Otherwise, as the rest of a sentence.
    Other(String),
}

impl Child {
    pub(super) fn spawn(number: usize, shared: &Shared) -> Result<Child, Outage> {
        let Program { path, args } = &shared.program;
        let failed = |error: io::Error| {
            Outage::because(
                Part::Typesetter,
                format!("can't start {}", path.display()),
                error,
            )
        };
        let mut command = Command::new(path);
        command
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.kill_on_drop(true);
        // A child that is taken over must find nothing worth having, and its settings come by the
        // pipe: the worker's environment has the passwords of the broker and the store.
        command.env_clear();
        command.envs(backtrace());
        // mimalloc would take a gigabyte of address space in advance, which is more than
        // `render.memory`: the first thread to need a stack of its own would find no memory, and
        // a report that needs too much would end in a fault that says nothing. Like this it asks
        // the kernel for what it uses, and hears when there is no more.
        command.env("MIMALLOC_DISALLOW_ARENA_ALLOC", "1");
        #[cfg(unix)]
        {
            // A terminal's Ctrl-C goes to the worker alone, which lets its children finish.
            command.process_group(0);
            command.arg0("banshi");
        }
        let mut process = command.spawn().map_err(failed)?;
        let (Some(orders), Some(replies), Some(errors)) = (
            process.stdin.take(),
            process.stdout.take(),
            process.stderr.take(),
        ) else {
            return Err(failed(io::ErrorKind::BrokenPipe.into()));
        };
        kernel::widen(&replies);
        let errors = shared.tasks.spawn(listen(number, errors));
        let replies = BufReader::new(replies);
        Ok(Child {
            number,
            process,
            orders,
            replies,
            errors,
            reports: 0,
            warm: None,
            timed: false,
        })
    }

    /// Says hello, and hears what the child found.
    pub(super) async fn greet(&mut self, setup: &Setup) -> io::Result<Result<Greeting, Outage>> {
        let hello = Order::Hello {
            protocol: PROTOCOL,
            product: crate::PRODUCT.to_owned(),
            setup: serde_json::to_value(setup)?,
        };
        self.order(&hello).await?;
        match self.reply().await? {
            Reply::Ready {
                fingerprint,
                mut unconfined,
            } => {
                self.warm = self.own_memory();
                let timed = self.limit_cpu_time(setup.render.deadline);
                self.timed = timed.is_ok();
                unconfined.extend(
                    timed
                        .err()
                        .map(|error| format!("limit of processor time ({error})")),
                );
                Ok(Ok(Greeting {
                    fingerprint,
                    unconfined,
                }))
            }
            Reply::Refused { part, message } => Ok(Err(Outage::new(named(&part), message))),
            Reply::Done { .. } => Err(broken("it answered before it was asked")),
        }
    }

    /// Has something made, which may take so many seconds of processor time. An error means that
    /// the child can't be used any more.
    pub(super) async fn make(
        &mut self,
        work: &Work,
        seconds: u64,
    ) -> io::Result<Result<Made, Failure>> {
        if self.timed {
            self.limit_cpu_time(seconds)?;
        }
        self.reports += 1;
        let asked = self.reports;
        let order = match work {
            Work::Report(manuscript) => Order::Set {
                number: asked,
                manuscript: Cow::Borrowed(manuscript),
            },
            Work::Pictures(manuscript, pictures) => Order::Picture {
                number: asked,
                manuscript: Cow::Borrowed(manuscript),
                pictures: *pictures,
            },
            Work::Proof {
                sheet,
                tables_alone,
                pictures,
            } => Order::Prove {
                number: asked,
                sheet: Cow::Borrowed(sheet),
                tables_alone: *tables_alone,
                pictures: *pictures,
            },
        };
        self.order(&order).await?;
        let Reply::Done {
            number,
            verdict,
            remarks,
        } = self.reply().await?
        else {
            return Err(broken("it answered something else"));
        };
        if number != asked {
            return Err(broken("it answered another question"));
        }
        let result = match (verdict, work) {
            (
                Verdict::Set {
                    companions: formats,
                    pages,
                    fonts,
                    rare,
                    seal,
                    took,
                },
                Work::Report(manuscript),
            ) => {
                if formats != manuscript.companions {
                    return Err(broken("it made other formats"));
                }
                let bytes = self.frame().await?;
                let mut companions = Vec::new();
                for format in formats {
                    companions.push((format, self.frame().await?));
                }
                Ok(Made::Pdf(Pdf {
                    bytes,
                    companions,
                    pages,
                    fonts,
                    rare,
                    seal,
                    took,
                }))
            }
            (Verdict::Drawn { pages, all_pages }, Work::Proof { tables_alone, .. }) => {
                if pages.len() > MOST_PAGES {
                    return Err(broken("it drew more pages than a proof has"));
                }
                let mut drawn = Vec::new();
                for page in pages {
                    drawn.push(page.with(self.frame().await?));
                }
                Ok(Made::Proof(Proof {
                    pages: drawn,
                    all_pages,
                    tables_alone: *tables_alone,
                }))
            }
            (Verdict::Pictured { pages }, Work::Pictures(..)) => {
                if pages > MOST_PAGES {
                    return Err(broken("it drew more pages than it may"));
                }
                let mut drawn = Vec::new();
                for _ in 0..pages {
                    drawn.push(self.frame().await?);
                }
                Ok(Made::Pictures(drawn))
            }
            (Verdict::Set { .. } | Verdict::Pictured { .. } | Verdict::Drawn { .. }, _) => {
                return Err(broken("it made something else"));
            }
            (Verdict::Rejected { problems }, _) if problems.is_empty() => {
                return Err(broken("it rejected a report for no reason"));
            }
            (Verdict::Rejected { problems }, _) => Err(Rejection::new(problems).into()),
            (Verdict::Outage { part, message }, _) => {
                Err(Outage::new(named(&part), message).into())
            }
        };
        let (template, job) = work.of();
        remarks
            .iter()
            .for_each(|remark| remark.log_of(template, job));
        Ok(result)
    }

    async fn order(&mut self, order: &Order<'_>) -> io::Result<()> {
        let frame = serde_json::to_vec(order)?;
        self.orders.write_all(&length(&frame)?).await?;
        self.orders.write_all(&frame).await?;
        self.orders.flush().await
    }

    async fn reply(&mut self) -> io::Result<Reply> {
        Ok(serde_json::from_slice(&self.frame().await?)?)
    }

    async fn frame(&mut self) -> io::Result<Vec<u8>> {
        let mut length = [0; 4];
        self.replies.read_exact(&mut length).await?;
        let mut frame = vec![0; checked(length)?];
        self.replies.read_exact(&mut frame).await?;
        Ok(frame)
    }

    /// The memory of its own, and by how much that has grown since it was warm, in bytes.
    pub(super) fn memory(&self) -> (u64, u64) {
        let own = self.own_memory().unwrap_or_default();
        (own, own.saturating_sub(self.warm.unwrap_or(own)))
    }

    /// Reports that it has been given.
    pub(super) fn reports(&self) -> u64 {
        self.reports
    }

    /// None, where the system doesn't say, and when the child is gone.
    pub(super) fn own_memory(&self) -> Option<u64> {
        kernel::own_memory(self.process.id()?).ok()
    }

    fn limit_cpu_time(&self, seconds: u64) -> io::Result<()> {
        let process = self.process.id().ok_or(io::ErrorKind::NotFound)?;
        kernel::limit_cpu_time(process, Duration::from_secs(seconds) + LATE)
    }

    /// Why a child exited, whose pipe failed.
    pub(super) async fn cause_of_exit(&mut self, error: &io::Error) -> ExitCause {
        let broke = || ExitCause::Other(format!("broke the pipe's protocol: {error}"));
        if error.kind() == io::ErrorKind::InvalidData {
            return broke();
        }
        let (status, no_memory) = tokio::join!(
            tokio::time::timeout(GONE, self.process.wait()),
            tokio::time::timeout(GONE, &mut self.errors),
        );
        match status {
            Ok(Ok(_)) if matches!(no_memory, Ok(Ok(true))) => ExitCause::Memory,
            Ok(Ok(status)) if kernel::out_of_time(status) => ExitCause::Time,
            Ok(Ok(status)) if is_killed(status) => ExitCause::Killed(exit_status(status)),
            Ok(Ok(status)) => ExitCause::Other(exit_status(status)),
            Ok(Err(error)) => ExitCause::Other(format!("can't be waited for: {error}")),
            Err(_) => broke(),
        }
    }

    /// Ends the child at once.
    pub(super) async fn kill(mut self) {
        if let Err(error) = self.process.kill().await {
            warn!(typesetter = self.number, %error, "a typesetter can't be killed");
        }
    }

    /// Closes the pipe, at which the child ends by itself.
    pub(super) async fn stop(self) {
        let Child {
            number,
            mut process,
            orders,
            ..
        } = self;
        drop(orders);
        if tokio::time::timeout(GONE, process.wait()).await.is_err() {
            warn!(
                typesetter = number,
                "a typesetter did not end by itself and is killed"
            );
            if let Err(error) = process.kill().await {
                warn!(typesetter = number, %error, "a typesetter can't be killed");
            }
        }
    }
}

/// What a child may know of the worker's environment: how much a panic is to say.
#[expect(
    clippy::disallowed_methods,
    reason = "the standard library's variable, and not a setting"
)]
fn backtrace() -> Option<(&'static str, OsString)> {
    const NAME: &str = "RUST_BACKTRACE";
    Some((NAME, std::env::var_os(NAME)?))
}

/// Logs what a child says on its standard error, until it ends; whether it said that it found no
/// memory. Reads on when it has logged enough, so that the child need not wait.
async fn listen(number: usize, errors: ChildStderr) -> bool {
    let mut errors = BufReader::new(errors);
    let (mut line, mut lines, mut no_memory) = (Vec::new(), 0, false);
    while (&mut errors)
        .take(LINE)
        .read_until(b'\n', &mut line)
        .await
        .is_ok_and(|read| read > 0)
    {
        let said = line.trim_ascii_end();
        no_memory |= said.starts_with(NO_MEMORY.0) && said.ends_with(NO_MEMORY.1);
        lines += 1;
        match lines.cmp(&LINES) {
            Ordering::Less => warn!(
                typesetter = number,
                "a typesetter says: {}",
                String::from_utf8_lossy(said)
            ),
            Ordering::Equal => warn!(typesetter = number, "a typesetter says more than is logged"),
            Ordering::Greater => {}
        }
        line.clear();
    }
    no_memory
}

/// Whether a process died of a SIGKILL, which nothing that it does itself can cause.
fn is_killed(status: ExitStatus) -> bool {
    #[cfg(unix)]
    return std::os::unix::process::ExitStatusExt::signal(&status) == Some(9);
    #[cfg(not(unix))]
    false
}

/// How a process ended, as the rest of a sentence.
pub(super) fn exit_status(status: ExitStatus) -> String {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        let name = match signal {
            4 => " (SIGILL)",
            6 => " (SIGABRT)",
            7 => " (SIGBUS)",
            9 => " (SIGKILL)",
            11 => " (SIGSEGV)",
            24 => " (SIGXCPU)",
            _ => "",
        };
        return format!("died of signal {signal}{name}");
    }
    match status.code() {
        Some(code) => format!("ended with exit code {code}"),
        None => "ended".to_owned(),
    }
}

//! The parent's end: a child as its parent sees it.
//!
//! Takes a [`Manuscript`], gives what the child answered. Never goes on with a child whose answer
//! was none. If we crash here, the child sees its pipe close and ends.

use std::borrow::Cow;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{ChildStdin, ChildStdout, Command};
use tracing::warn;

use super::pipe::{Order, PROTOCOL, Reply, Setup, Verdict, broken, checked, length, named};
use super::{Program, Shared};
use crate::problem::{Failure, Outage, Part, Rejection};
use crate::typesetter::{Manuscript, Pdf};

/// How long a child whose pipe is broken may take to be gone.
const GONE: Duration = Duration::from_secs(5);

/// A process and the pipe to it.
pub(super) struct Child {
    number: usize,
    pub(super) process: tokio::process::Child,
    orders: ChildStdin,
    replies: BufReader<ChildStdout>,
    reports: u64,
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
        let mut errors = BufReader::new(errors);
        shared.tasks.spawn(async move {
            let mut line = Vec::new();
            while errors
                .read_until(b'\n', &mut line)
                .await
                .is_ok_and(|read| read > 0)
            {
                let text = String::from_utf8_lossy(&line);
                warn!(typesetter = number, "it says: {}", text.trim_end());
                line.clear();
            }
        });
        let replies = BufReader::new(replies);
        Ok(Child {
            number,
            process,
            orders,
            replies,
            reports: 0,
        })
    }

    /// Says hello. Gives the fingerprint of what the child found.
    pub(super) async fn greet(&mut self, setup: &Setup) -> io::Result<Result<String, Outage>> {
        let setup = serde_json::to_value(setup)?;
        let hello = Order::Hello {
            protocol: PROTOCOL,
            product: crate::PRODUCT.to_owned(),
            setup,
        };
        self.order(&hello).await?;
        match self.reply().await? {
            Reply::Ready { fingerprint } => Ok(Ok(fingerprint)),
            Reply::Refused { part, message } => Ok(Err(Outage::new(named(&part), message))),
            Reply::Done { .. } => Err(broken("it answered before it was asked")),
        }
    }

    /// Has a report set. An error means that the child can't be used any more.
    pub(super) async fn set(
        &mut self,
        manuscript: &Manuscript,
    ) -> io::Result<Result<Pdf, Failure>> {
        self.reports += 1;
        let asked = self.reports;
        self.order(&Order::Set {
            number: asked,
            manuscript: Cow::Borrowed(manuscript),
        })
        .await?;
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
        let result = match verdict {
            Verdict::Set { pages, fonts, rare } => {
                let bytes = self.frame().await?;
                Ok(Pdf {
                    bytes,
                    pages,
                    fonts,
                    rare,
                })
            }
            Verdict::Rejected { problems } if problems.is_empty() => {
                return Err(broken("it rejected a report for no reason"));
            }
            Verdict::Rejected { problems } => Err(Rejection::new(problems).into()),
            Verdict::Outage { part, message } => Err(Outage::new(named(&part), message).into()),
        };
        remarks.iter().for_each(|remark| remark.log(manuscript));
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

    /// What became of a child whose pipe failed.
    pub(super) async fn epitaph(&mut self, error: &io::Error) -> String {
        match tokio::time::timeout(GONE, self.process.wait()).await {
            Ok(Ok(status)) => how(status),
            Ok(Err(error)) => format!("can't be waited for: {error}"),
            Err(_) => format!("broke the pipe's protocol: {error}"),
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

/// How a process ended, as the rest of a sentence.
pub(super) fn how(status: ExitStatus) -> String {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        let name = match signal {
            4 => " (SIGILL)",
            6 => " (SIGABRT)",
            7 => " (SIGBUS)",
            9 => " (SIGKILL)",
            11 => " (SIGSEGV)",
            _ => "",
        };
        return format!("died of signal {signal}{name}");
    }
    match status.code() {
        Some(code) => format!("ended with exit code {code}"),
        None => "ended".to_owned(),
    }
}

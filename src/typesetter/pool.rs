//! The typesetter processes, and both ends of the pipe to them.
//!
//! Takes a [`Manuscript`], gives what a child made of it. Never lets a report cost more than
//! itself: a child that takes too long or dies is killed and replaced while the others go on. If
//! we crash here, the children see their pipe close and end too, in the middle of a page if need
//! be.
//!
//! # The pipe
//!
//! A frame is a length (4 bytes, big endian, at most [`FRAME`]) and that many bytes. Parent to
//! child, on its standard input: one [`Order::Hello`], then [`Order::Set`] after `Set`, the next
//! after the answer to the last. Child to parent, on its standard output: [`Reply::Ready`] or
//! [`Reply::Refused`], then a [`Reply::Done`] for each `Set`, each frame JSON; after a `Done` with
//! a PDF comes one frame more, the file.

use std::borrow::Cow;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{ChildStdin, ChildStdout, Command};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio_util::task::TaskTracker;
use tracing::{debug, error, warn};

use super::{Fonts, Manuscript, Pdf, Rare, Remark, Templates, Typesetter};
use crate::config::{self, Settings};
use crate::problem::{Code, Failure, Outage, Part, Problem, Rejection};

/// The version of what crosses the pipe.
const PROTOCOL: u32 = 1;

/// The largest frame, in bytes.
const FRAME: usize = 256 << 20;

/// The stack of a child's typesetting thread, in bytes. The engine recurses over what is nested,
/// and the operating system gives it only what it touches.
const STACK: usize = 64 << 20;

/// How long a child may take to get ready.
const START: Duration = Duration::from_secs(120);

/// How long to wait before trying again to start a child that didn't.
const AGAIN: Duration = Duration::from_secs(2);

/// How long a child whose pipe is broken may take to be gone.
const GONE: Duration = Duration::from_secs(5);

/// What the parent says.
#[derive(Serialize, Deserialize)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one at a time, on its way through the pipe"
)]
enum Order<'a> {
    /// The first word. The setup is read only once the versions are found to be the same.
    Hello {
        protocol: u32,
        product: String,
        setup: serde_json::Value,
    },
    /// A report to be set.
    Set {
        number: u64,
        manuscript: Cow<'a, Manuscript>,
    },
}

/// What a child says.
#[derive(Serialize, Deserialize)]
enum Reply {
    /// Faces mapped, templates checked, every sample set.
    Ready { fingerprint: String },
    /// It can't work, and why. It ends.
    Refused { part: String, message: String },
    /// What became of a report.
    Done {
        number: u64,
        verdict: Verdict,
        remarks: Vec<Remark>,
    },
}

/// What became of a report.
#[derive(Serialize, Deserialize)]
enum Verdict {
    /// It is set; the file is the next frame.
    Set {
        pages: usize,
        fonts: Vec<String>,
        rare: Vec<Rare>,
    },
    /// It can't be.
    Rejected { problems: Vec<Problem> },
    /// Something else is wrong.
    Outage { part: String, message: String },
}

/// What a child needs of the settings.
#[derive(Clone, Serialize, Deserialize)]
struct Setup {
    fonts: config::Fonts,
    templates: config::Templates,
    render: config::Render,
}

/// How a child is started.
#[derive(Debug, Clone)]
pub struct Program {
    /// The executable.
    pub path: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
}

impl Program {
    /// This very program, as `banshi typesetter`.
    ///
    /// # Errors
    /// When the operating system doesn't say which program this is.
    pub fn this() -> Result<Program, Outage> {
        let args = vec!["typesetter".to_owned()];
        // On Linux this is the program that runs, even after its file was replaced by another
        // version, as an upgrade under a running worker does.
        let itself = PathBuf::from("/proc/self/exe");
        if itself.exists() {
            return Ok(Program { path: itself, args });
        }
        match std::env::current_exe() {
            Ok(path) => Ok(Program { path, args }),
            Err(error) => {
                let text =
                    "the path of this program is not known, and it is what a typesetter runs";
                Err(Outage::because(Part::Typesetter, text, error))
            }
        }
    }
}

// The parent's end.

/// The children, each with one report at a time.
pub struct Pool {
    requests: mpsc::Sender<Request>,
    tasks: TaskTracker,
}

/// A report on its way to a child, and the way back.
struct Request {
    manuscript: Manuscript,
    reply: oneshot::Sender<Result<Pdf, Failure>>,
}

impl Request {
    /// Answers. Nobody to answer is no error: the caller has left, and the job comes again.
    fn answer(self, result: Result<Pdf, Failure>) {
        if self.reply.send(result).is_err() {
            debug!(
                job.digest = self.manuscript.ident,
                "nobody waits for this report any more"
            );
        }
    }
}

impl Pool {
    /// Starts `render.threads` children and waits until all are ready.
    ///
    /// # Errors
    /// Why a child can't work: faces missing, templates wrong, no process to be had.
    pub async fn start(settings: &Settings, program: Program) -> Result<Pool, Outage> {
        let tasks = TaskTracker::new();
        let (requests, queue) = mpsc::channel(1);
        let slots = settings.render.typesetters();
        let shared = Arc::new(Shared {
            program,
            setup: Setup {
                fonts: settings.fonts.clone(),
                templates: settings.templates.clone(),
                render: settings.render.clone(),
            },
            queue: Mutex::new(queue),
            up: AtomicUsize::new(slots),
            fingerprint: OnceLock::new(),
            tasks: tasks.clone(),
        });
        let start = |number| {
            let slot = Slot {
                number,
                shared: Arc::clone(&shared),
            };
            async move { slot.start().await.map(|child| (slot, child)) }
        };
        let ready = futures_util::future::try_join_all((1..=slots).map(start)).await?;
        for (slot, child) in ready {
            tasks.spawn(slot.run(child));
        }
        tasks.close();
        Ok(Pool { requests, tasks })
    }

    /// Sets a report in the next free child. Safe to drop at any point: the child that was at it
    /// is then killed and replaced.
    ///
    /// # Errors
    /// What [`Typesetter::typeset`] says; `E-LAYOUT` when the report took two children down, by
    /// taking longer than `render.deadline` or otherwise; an outage when no child can be had.
    pub async fn typeset(&self, manuscript: &Manuscript) -> Result<Pdf, Failure> {
        let stopped = || Outage::new(Part::Typesetter, "the typesetters have stopped");
        let (reply, answer) = oneshot::channel();
        let request = Request {
            manuscript: manuscript.clone(),
            reply,
        };
        self.requests.send(request).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }

    /// Lets the children finish what they have, and waits until they are gone.
    pub async fn close(self) {
        drop(self.requests);
        self.tasks.wait().await;
    }
}

/// What the slots share.
struct Shared {
    program: Program,
    setup: Setup,
    queue: Mutex<mpsc::Receiver<Request>>,
    /// Slots that have a child, or are sure to have one in a moment.
    up: AtomicUsize,
    /// The faces and templates of the first child. One with others would make other bytes of the
    /// same job.
    fingerprint: OnceLock<String>,
    tasks: TaskTracker,
}

/// The place of one child: there is one at a time, and the next when that one is gone.
struct Slot {
    number: usize,
    shared: Arc<Shared>,
}

/// How it went with a report and a child.
enum Ended {
    /// The child answered, and can have the next one.
    Answered(Result<Pdf, Failure>),
    /// The child is gone or has to go.
    Lost(Loss),
    /// Nobody waits for the answer. The child is still at it and has to go.
    Abandoned,
}

impl Slot {
    /// Serves requests until there are no more to come.
    async fn run(self, child: Child) {
        let mut child = Some(child);
        loop {
            let mut live = match child.take() {
                Some(live) => live,
                None => match self.replace().await {
                    Some(live) => live,
                    None => return,
                },
            };
            tokio::select! {
                request = self.next() => match request {
                    Some(request) => child = self.serve(live, request).await,
                    None => return live.stop().await,
                },
                status = live.process.wait() => {
                    let how = status.map_or_else(|error| error.to_string(), how);
                    warn!(typesetter = self.number, "an idle typesetter {how}; it is replaced");
                }
            }
        }
    }

    /// The next request that somebody still waits for; none, when the pool is closed.
    async fn next(&self) -> Option<Request> {
        let mut queue = self.shared.queue.lock().await;
        loop {
            let request = queue.recv().await?;
            if !request.reply.is_closed() {
                return Some(request);
            }
        }
    }

    /// A new child, however long it takes; none, when the pool is closed. While no slot has a
    /// child, requests are answered with the outage, so that nobody waits for nothing.
    async fn replace(&self) -> Option<Child> {
        let mut down = false;
        loop {
            let outage = match self.start().await {
                Ok(child) => {
                    if down {
                        self.shared.up.fetch_add(1, Ordering::SeqCst);
                    }
                    return Some(child);
                }
                Err(outage) => outage.chain(),
            };
            if !down {
                down = true;
                self.shared.up.fetch_sub(1, Ordering::SeqCst);
            }
            error!(
                typesetter = self.number,
                error = outage,
                "a typesetter can't be replaced"
            );
            let mut again = std::pin::pin!(tokio::time::sleep(AGAIN));
            loop {
                tokio::select! {
                    () = &mut again => break,
                    request = self.next(), if self.shared.up.load(Ordering::SeqCst) == 0 => {
                        let outage = Outage::new(Part::Typesetter, outage.clone());
                        request?.answer(Err(outage.into()));
                    }
                }
            }
        }
    }

    /// Sets a report with this child, and once more with a fresh one when it is lost. Gives back
    /// the child that can have the next one.
    async fn serve(&self, mut child: Child, mut request: Request) -> Option<Child> {
        let mut lost = Vec::new();
        loop {
            match self.attempt(&mut child, &mut request).await {
                Ended::Answered(result) => {
                    request.answer(result);
                    return Some(child);
                }
                Ended::Abandoned => {
                    debug!(
                        typesetter = self.number,
                        "its report was abandoned; it is replaced"
                    );
                    child.kill().await;
                    return None;
                }
                Ended::Lost(how) => {
                    child.kill().await;
                    let (digest, try_) = (&request.manuscript.ident, lost.len() + 1);
                    warn!(
                        typesetter = self.number,
                        job.digest = digest,
                        attempt = try_,
                        "the typesetter {}",
                        how.en
                    );
                    lost.push(how);
                }
            }
            if let [first, second] = lost.as_slice() {
                let problem = hopeless(first, second);
                request.answer(Err(Rejection::from(problem).into()));
                return None;
            }
            child = match self.start().await {
                Ok(child) => child,
                Err(outage) => {
                    request.answer(Err(outage.into()));
                    return None;
                }
            };
        }
    }

    async fn attempt(&self, child: &mut Child, request: &mut Request) -> Ended {
        let Request { manuscript, reply } = request;
        let deadline = Duration::from_secs(self.shared.setup.render.deadline);
        tokio::select! {
            biased;
            done = tokio::time::timeout(deadline, child.set(manuscript)) => match done {
                Ok(Ok(result)) => Ended::Answered(result),
                Ok(Err(error)) => Ended::Lost(Loss {
                    en: child.epitaph(&error).await,
                    zh: "意外终止".to_owned(),
                }),
                Err(_) => {
                    let seconds = deadline.as_secs();
                    Ended::Lost(Loss {
                        en: format!("was killed after {seconds} s (render.deadline)"),
                        zh: format!("超过{seconds}秒被终止（render.deadline）"),
                    })
                }
            },
            () = reply.closed() => Ended::Abandoned,
        }
    }

    /// Starts a child and waits until it is ready.
    async fn start(&self) -> Result<Child, Outage> {
        let mut child = Child::spawn(self.number, &self.shared)?;
        let ready = tokio::time::timeout(START, child.greet(&self.shared.setup)).await;
        let fingerprint = match ready {
            Ok(Ok(fingerprint)) => fingerprint?,
            Ok(Err(error)) => {
                let how = child.epitaph(&error).await;
                child.kill().await;
                let text = format!("a starting typesetter {how}; its standard error is in the log");
                return Err(Outage::new(Part::Typesetter, text));
            }
            Err(_) => {
                child.kill().await;
                let text = format!("a typesetter was not ready after {} s", START.as_secs());
                return Err(Outage::new(Part::Typesetter, text));
            }
        };
        if *self.shared.fingerprint.get_or_init(|| fingerprint.clone()) != fingerprint {
            child.kill().await;
            let text = "the faces or templates are others than when this worker started, and would \
                        make other pages; restart the worker to use them";
            return Err(Outage::new(Part::Typesetter, text));
        }
        Ok(child)
    }
}

/// How a child was lost, in both languages.
#[derive(PartialEq)]
struct Loss {
    en: String,
    zh: String,
}

/// `E-LAYOUT` for a report that took two children down.
fn hopeless(first: &Loss, second: &Loss) -> Problem {
    let (en, zh) = if first == second {
        (format!("{}, twice", first.en), format!("两次{}", first.zh))
    } else {
        (
            format!("{}, then {}", first.en, second.en),
            format!("先{}，后{}", first.zh, second.zh),
        )
    };
    Problem::new(
        Code::Layout,
        "",
        format!("the report could not be laid out: the typesetter {en}"),
        format!("报告无法排版：排版进程{zh}"),
    )
}

/// A process and the pipe to it.
struct Child {
    number: usize,
    process: tokio::process::Child,
    orders: ChildStdin,
    replies: BufReader<ChildStdout>,
    reports: u64,
}

impl Child {
    fn spawn(number: usize, shared: &Shared) -> Result<Child, Outage> {
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
    async fn greet(&mut self, setup: &Setup) -> io::Result<Result<String, Outage>> {
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
    async fn set(&mut self, manuscript: &Manuscript) -> io::Result<Result<Pdf, Failure>> {
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
    async fn epitaph(&mut self, error: &io::Error) -> String {
        match tokio::time::timeout(GONE, self.process.wait()).await {
            Ok(Ok(status)) => how(status),
            Ok(Err(error)) => format!("can't be waited for: {error}"),
            Err(_) => format!("broke the pipe's protocol: {error}"),
        }
    }

    /// Ends the child at once.
    async fn kill(mut self) {
        if let Err(error) = self.process.kill().await {
            warn!(typesetter = self.number, %error, "a typesetter can't be killed");
        }
    }

    /// Closes the pipe, at which the child ends by itself.
    async fn stop(self) {
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
fn how(status: ExitStatus) -> String {
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

// The child's end.

/// What `banshi typesetter` does: sets reports until its standard input closes.
pub fn child() -> ExitCode {
    let (send, orders) = std::sync::mpsc::channel();
    let reader = move || {
        let mut input = io::stdin().lock();
        // The parent has closed the pipe, or is gone. Whatever is being set, nobody will read it.
        while let Ok(frame) = read(&mut input) {
            if send.send(frame).is_err() {
                break;
            }
        }
        leave()
    };
    let setter = move || {
        let mut output = io::stdout().lock();
        work(&orders, &mut output)
    };
    let named = |name: &str| std::thread::Builder::new().name(name.to_owned());
    let ended = outlive_signals()
        .and_then(|()| named("reader").spawn(reader))
        .and_then(|_| named("typesetter").stack_size(STACK).spawn(setter))
        .map(std::thread::JoinHandle::join);
    match ended {
        Ok(Ok(Ok(code))) => code,
        // The panic has been printed.
        Ok(Err(_)) => ExitCode::from(101),
        Ok(Ok(Err(error))) | Err(error) => {
            eprintln!("the typesetter can't work: {error}");
            ExitCode::FAILURE
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the thread that sets can't be asked to stop, only the process can"
)]
fn leave() {
    std::process::exit(0)
}

/// A stop signal to the whole group of processes, as systemd sends it, is for the worker: a child
/// ends when the worker closes the pipe, after the reports in hand.
#[cfg(unix)]
fn outlive_signals() -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let _entered = runtime.enter();
    // What is once caught stays caught, also when nobody listens any more.
    drop(signal(SignalKind::terminate())?);
    drop(signal(SignalKind::interrupt())?);
    Ok(())
}

#[cfg(not(unix))]
fn outlive_signals() -> io::Result<()> {
    Ok(())
}

/// Answers orders until there are no more.
fn work(
    orders: &std::sync::mpsc::Receiver<Vec<u8>>,
    output: &mut impl Write,
) -> io::Result<ExitCode> {
    // The engine spreads its work over rayon's pool. Its cores belong to the other children, so
    // the pool is this thread and nothing else, with its large stack.
    rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .use_current_thread()
        .build_global()
        .map_err(io::Error::other)?;
    let Ok(hello) = orders.recv() else {
        return Ok(ExitCode::SUCCESS);
    };
    let typesetter = match get_ready(&hello) {
        Ok(typesetter) => typesetter,
        Err(outage) => {
            let (part, message) = (outage.part.as_str().to_owned(), reason(&outage));
            write(
                output,
                &serde_json::to_vec(&Reply::Refused { part, message })?,
            )?;
            return Ok(ExitCode::from(3));
        }
    };
    let fingerprint = format!(
        "{} {}",
        typesetter.fonts.fingerprint(),
        typesetter.templates.sha256()
    );
    write(output, &serde_json::to_vec(&Reply::Ready { fingerprint })?)?;
    while let Ok(order) = orders.recv() {
        let Order::Set { number, manuscript } = serde_json::from_slice(&order)? else {
            return Err(broken("a second hello"));
        };
        let (result, remarks) = typesetter.set(&manuscript);
        let (verdict, file) = match result {
            Ok(Pdf {
                bytes,
                pages,
                fonts,
                rare,
            }) => (Verdict::Set { pages, fonts, rare }, Some(bytes)),
            Err(Failure::Rejected(rejection)) => (
                Verdict::Rejected {
                    problems: rejection.into_problems(),
                },
                None,
            ),
            Err(Failure::Outage(outage)) => {
                let (part, message) = (outage.part.as_str().to_owned(), reason(&outage));
                (Verdict::Outage { part, message }, None)
            }
        };
        write(
            output,
            &serde_json::to_vec(&Reply::Done {
                number,
                verdict,
                remarks,
            })?,
        )?;
        if let Some(file) = file {
            write(output, &file)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A warm typesetter, as the hello asks for.
fn get_ready(hello: &[u8]) -> Result<Typesetter, Outage> {
    let unclear = |error| Outage::because(Part::Typesetter, "the hello can't be read", error);
    let Order::Hello {
        protocol,
        product,
        setup,
    } = serde_json::from_slice(hello).map_err(unclear)?
    else {
        return Err(Outage::new(
            Part::Typesetter,
            "a report came before the hello",
        ));
    };
    if protocol != PROTOCOL || product != crate::PRODUCT {
        let text = format!(
            "the worker is {product} (protocol {protocol}) and this typesetter {} (protocol {PROTOCOL}); \
             restart the worker, so that both are of one version",
            crate::PRODUCT
        );
        return Err(Outage::new(Part::Typesetter, text));
    }
    let Setup {
        fonts,
        templates,
        render,
    } = serde_json::from_value(setup).map_err(unclear)?;
    let templates = Templates::load(templates.folder())?;
    let typesetter = Typesetter::new(Fonts::load(&fonts)?, templates, &render)?;
    typesetter.check()?;
    Ok(typesetter)
}

/// An outage's message and its causes, without its part.
fn reason(outage: &Outage) -> String {
    let prefix = format!("{}: ", outage.part);
    let chain = outage.chain();
    chain.strip_prefix(&prefix).unwrap_or(&chain).to_owned()
}

/// The part of this name, of those that can be out in a child.
fn named(part: &str) -> Part {
    let known = [Part::Fonts, Part::Templates, Part::Disk];
    known
        .into_iter()
        .find(|known| known.as_str() == part)
        .unwrap_or(Part::Typesetter)
}

// Frames.

fn read(input: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    input.read_exact(&mut length)?;
    let mut frame = vec![0; checked(length)?];
    input.read_exact(&mut frame)?;
    Ok(frame)
}

fn write(output: &mut impl Write, frame: &[u8]) -> io::Result<()> {
    output.write_all(&length(frame)?)?;
    output.write_all(frame)?;
    output.flush()
}

fn length(frame: &[u8]) -> io::Result<[u8; 4]> {
    match u32::try_from(frame.len()) {
        Ok(length) if frame.len() <= FRAME => Ok(length.to_be_bytes()),
        _ => Err(broken("a frame is too long")),
    }
}

fn checked(length: [u8; 4]) -> io::Result<usize> {
    let length = u32::from_be_bytes(length) as usize;
    if length <= FRAME {
        Ok(length)
    } else {
        Err(broken("a frame is too long"))
    }
}

fn broken(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

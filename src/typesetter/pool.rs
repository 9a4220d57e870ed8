//! The typesetter processes, and both ends of the pipe to them.
//!
//! Takes a [`Manuscript`], gives what a child made of it. Never lets a report cost more than
//! itself: a child that takes too long, wants too much memory or dies is replaced while the others
//! go on, and one that has kept too much of what a report took is replaced before the next. If we
//! crash here, the children see their pipe close and end too, in the middle of a page if need be.

mod child;
pub mod confine;
mod kernel;
mod pipe;
mod process;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use metrics::{counter, gauge};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio_util::task::TaskTracker;
use tracing::{debug, error, info, warn};

pub use self::child::child;
use self::pipe::Setup;
use self::process::{Child, ExitCause, Greeting, exit_status};
use super::proof::{Proof, Sheet};
use super::{Manuscript, Pdf, Pictures, fonts};
use crate::config::{Confine, Render, Settings};
use crate::problem::{Code, Failure, Outage, Part, Problem, Rejection};
use crate::telemetry::metric;

/// How long a child may take to get ready.
const START: Duration = Duration::from_secs(120);

/// How long to wait before trying again to start a child that didn't.
const AGAIN: Duration = Duration::from_secs(2);

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

/// How the children of a pool are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Census {
    /// Children that wait for a report.
    pub idle: usize,
    /// Children with a report.
    pub busy: usize,
    /// Children that are being started.
    pub starting: usize,
    /// Children that had to be replaced since the pool was started.
    pub replaced: u64,
    /// The memory of its own of the largest child, after its last report.
    pub memory_bytes: u64,
}

/// The children, each with one report at a time.
pub struct Pool {
    requests: mpsc::Sender<Request>,
    shared: Arc<Shared>,
    tasks: TaskTracker,
    unconfined: Vec<String>,
    warm: Option<u64>,
}

/// Says once how the children are confined.
fn report(unconfined: &[String], wanted: Confine) {
    match wanted {
        Confine::Off => info!("the typesetters are not confined (render.confine)"),
        _ if unconfined.is_empty() => debug!("the typesetters are confined"),
        _ => warn!(
            without = unconfined.join(", "),
            "the typesetters are not wholly confined, because this system doesn't do it"
        ),
    }
}

/// A report on its way to a child, and the way back.
struct Request {
    work: Work,
    /// Whose it is, for the log.
    span: tracing::Span,
    reply: oneshot::Sender<Result<Made, Failure>>,
}

/// What a child is to do.
enum Work {
    /// To set a report.
    Report(Manuscript),
    /// To set a report and to draw its pages.
    Pictures(Manuscript, Pictures),
    /// To draw a refused job.
    Proof {
        sheet: Sheet,
        tables_alone: bool,
        pictures: Pictures,
    },
}

impl Work {
    /// The template and the job's digest, for the log.
    fn of(&self) -> (&str, &str) {
        match self {
            Work::Report(manuscript) | Work::Pictures(manuscript, _) => {
                (&manuscript.template, &manuscript.ident)
            }
            Work::Proof { sheet, .. } => (&sheet.template, &sheet.ident),
        }
    }
}

/// What a child has made of its work.
enum Made {
    Pdf(Pdf),
    Pictures(Vec<Vec<u8>>),
    Proof(Proof),
}

impl Request {
    /// Answers. Nobody to answer is no error: the caller has left, and the job comes again.
    fn answer(self, result: Result<Made, Failure>) {
        let Request { work, span, reply } = self;
        if reply.send(result).is_err() {
            // Within the span: a JSON log lists what one is within, not an event's parent.
            let _within = span.enter();
            debug!(
                job.digest = work.of().1,
                "nobody waits for this report any more"
            );
        }
    }
}

impl Pool {
    /// Starts `render.threads` children and waits until all are ready.
    ///
    /// # Errors
    /// Why a child can't work: faces missing, templates wrong, no process to be had, or one that
    /// can't be confined where `render.confine` requires it.
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
                digests: fonts::known(),
            },
            queue: Mutex::new(queue),
            up: AtomicUsize::new(slots),
            memory: (0..slots).map(|_| AtomicU64::new(0)).collect(),
            states: Default::default(),
            replaced: AtomicU64::new(0),
            fingerprint: OnceLock::new(),
            tasks: tasks.clone(),
        });
        let start = |number| {
            let slot = Slot {
                number,
                shared: Arc::clone(&shared),
            };
            async move {
                let (child, unconfined) = slot.start().await?;
                Ok::<_, Outage>((slot, child, unconfined))
            }
        };
        let ready = futures_util::future::try_join_all((1..=slots).map(start)).await?;
        // The same for all of them, and for those to come.
        let first = ready.first();
        let unconfined = first.map_or_else(Vec::new, |(_, _, unconfined)| unconfined.clone());
        let warm = first.and_then(|(_, child, _)| child.own_memory());
        report(&unconfined, settings.render.confine);
        for (slot, child, _) in ready {
            tasks.spawn(slot.run(child));
        }
        tasks.close();
        Ok(Pool {
            requests,
            shared,
            tasks,
            unconfined,
            warm,
        })
    }

    /// What the children could not be confined or held to limits by, on this system.
    pub fn unconfined(&self) -> &[String] {
        &self.unconfined
    }

    /// The memory that a child had for itself when it was warm, in bytes; none, where the system
    /// doesn't say.
    pub fn warm(&self) -> Option<u64> {
        self.warm
    }

    /// How the children are now.
    pub fn census(&self) -> Census {
        let states = &self.shared.states;
        let in_state = |state: State| states[state as usize].load(Ordering::Relaxed);
        Census {
            idle: in_state(State::Idle),
            busy: in_state(State::Busy),
            starting: in_state(State::Starting),
            replaced: self.shared.replaced.load(Ordering::Relaxed),
            memory_bytes: self.shared.largest(),
        }
    }

    /// Sets a report in the next free child. Safe to drop at any point: the child that was at it
    /// is then killed and replaced.
    ///
    /// # Errors
    /// What [`Typesetter::typeset`](super::Typesetter::typeset) says; `E-LAYOUT` when the report
    /// took two children down, by taking longer than `render.deadline`, more memory than
    /// `render.memory` or otherwise; an outage when no child can be had.
    pub async fn typeset(&self, manuscript: &Manuscript) -> Result<Pdf, Failure> {
        match self.ask(Work::Report(manuscript.clone())).await? {
            Made::Pdf(pdf) => Ok(pdf),
            Made::Pictures(_) | Made::Proof(_) => Err(mistaken().into()),
        }
    }

    /// Sets a report as pictures of its first pages, as many as a proof has, in the next free
    /// child. Safe to drop as [`Pool::typeset`] is.
    ///
    /// # Errors
    /// As [`Pool::typeset`].
    pub async fn picture(
        &self,
        manuscript: &Manuscript,
        pictures: Pictures,
    ) -> Result<Vec<Vec<u8>>, Failure> {
        match self
            .ask(Work::Pictures(manuscript.clone(), pictures))
            .await?
        {
            Made::Pictures(drawn) => Ok(drawn),
            Made::Pdf(_) | Made::Proof(_) => Err(mistaken().into()),
        }
    }

    /// Sets what can be set of a refused job, as pictures, in the next free child: all that could
    /// be read, or the tables alone where the texts can't be laid out. Safe to drop as
    /// [`Pool::typeset`] is, and held to the same deadline and memory.
    ///
    /// # Errors
    /// A rejection, where not even the tables can be laid out; an outage when no child can be had.
    pub async fn proof(&self, sheet: &Sheet, pictures: Pictures) -> Result<Proof, Failure> {
        let mut tables_alone = false;
        loop {
            let work = Work::Proof {
                sheet: sheet.clone(),
                tables_alone,
                pictures,
            };
            match self.ask(work).await {
                Ok(Made::Proof(proof)) => return Ok(proof),
                Ok(Made::Pdf(_) | Made::Pictures(_)) => return Err(mistaken().into()),
                Err(Failure::Rejected(_)) if !tables_alone => tables_alone = true,
                Err(failure) => return Err(failure),
            }
        }
    }

    /// Has the next free child do something.
    async fn ask(&self, work: Work) -> Result<Made, Failure> {
        let stopped = || Outage::new(Part::Typesetter, "the typesetters have stopped");
        let (reply, answer) = oneshot::channel();
        let request = Request {
            work,
            span: tracing::Span::current(),
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

/// A child that makes something else is let go before anybody sees it.
fn mistaken() -> Outage {
    Outage::new(
        Part::Typesetter,
        "a typesetter made something else than it was asked for",
    )
}

/// What the slots share.
struct Shared {
    program: Program,
    setup: Setup,
    queue: Mutex<mpsc::Receiver<Request>>,
    /// Slots that have a child, or are sure to have one in a moment.
    up: AtomicUsize,
    /// The memory of its own of each slot's child, in bytes, after its last report.
    memory: Vec<AtomicU64>,
    /// Slots in each [`State`].
    states: [AtomicUsize; 3],
    /// Children that had to be replaced.
    replaced: AtomicU64,
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

/// How the children are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Busy,
    Starting,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            State::Idle => "idle",
            State::Busy => "busy",
            State::Starting => "starting",
        }
    }
}

/// A slot in a state, counted for as long as this is.
struct Counted<'a>(&'a Shared, State);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        let Counted(shared, state) = self;
        gauge!(metric::TYPESETTERS, "state" => state.as_str()).decrement(1.0);
        shared.states[*state as usize].fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shared {
    fn count(&self, state: State) -> Counted<'_> {
        gauge!(metric::TYPESETTERS, "state" => state.as_str()).increment(1.0);
        self.states[state as usize].fetch_add(1, Ordering::Relaxed);
        Counted(self, state)
    }

    /// Counts a child that has to be replaced.
    fn count_replaced(&self, reason: &'static str) {
        counter!(metric::TYPESETTER_RESTARTS, "reason" => reason).increment(1);
        self.replaced.fetch_add(1, Ordering::Relaxed);
    }

    /// The memory of its own of the largest child, in bytes.
    fn largest(&self) -> u64 {
        let all = self.memory.iter().map(|own| own.load(Ordering::Relaxed));
        all.max().unwrap_or_default()
    }
}

/// How it went with a report and a child.
enum Ended {
    /// The child answered, and can have the next one.
    Answered(Result<Made, Failure>),
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
            let idle = self.shared.count(State::Idle);
            tokio::select! {
                request = self.next() => match request {
                    Some(request) => {
                        drop(idle);
                        child = self.serve(live, request).await;
                    }
                    None => return live.stop().await,
                },
                status = live.process.wait() => {
                    self.shared.count_replaced("crash");
                    let how = status.map_or_else(|error| error.to_string(), exit_status);
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
                Ok((child, _)) => {
                    if down {
                        self.shared.up.fetch_add(1, Ordering::SeqCst);
                        info!(
                            typesetter = self.number,
                            "a typesetter is replaced after all"
                        );
                    }
                    return Some(child);
                }
                Err(outage) => outage.chain(),
            };
            if !down {
                down = true;
                self.shared.up.fetch_sub(1, Ordering::SeqCst);
                let typesetter = self.number;
                error!(
                    typesetter,
                    error = outage,
                    "a typesetter can't be replaced; trying on"
                );
            }
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

    /// Sets a report with this child, and once more with a fresh one when it is lost. Returns
    /// the child that can have the next one.
    async fn serve(&self, mut child: Child, mut request: Request) -> Option<Child> {
        let _busy = self.shared.count(State::Busy);
        let mut lost = Vec::new();
        loop {
            match self.attempt(&mut child, &mut request).await {
                Ended::Answered(result) => {
                    request.answer(result);
                    return self.keep(child).await;
                }
                Ended::Abandoned => {
                    self.shared.count_replaced("abandoned");
                    request.span.in_scope(|| {
                        debug!(
                            typesetter = self.number,
                            "a typesetter's report was abandoned; it is replaced"
                        );
                    });
                    child.kill().await;
                    return None;
                }
                Ended::Lost(how) => {
                    child.kill().await;
                    self.shared.count_replaced(how.reason);
                    let (digest, try_) = (request.work.of().1, lost.len() + 1);
                    request.span.in_scope(|| {
                        warn!(
                            typesetter = self.number,
                            job.digest = digest,
                            attempt = try_,
                            "a typesetter {}; it is replaced",
                            how.en
                        );
                    });
                    lost.push(how);
                }
            }
            if let [first, second] = lost.as_slice() {
                request.answer(Err(failed_twice(first, second)));
                return None;
            }
            child = match self.start().await {
                Ok((child, _)) => child,
                Err(outage) => {
                    request.answer(Err(outage.into()));
                    return None;
                }
            };
        }
    }

    /// The child, for the next report; none, when it keeps too much memory and was let go.
    async fn keep(&self, child: Child) -> Option<Child> {
        let (memory, grown) = child.memory();
        self.weigh(memory);
        let (grown, reports) = (grown >> 20, child.reports());
        if grown < self.shared.setup.render.recycle {
            return Some(child);
        }
        info!(
            typesetter = self.number,
            grown_mib = grown,
            reports,
            "a typesetter keeps more memory than render.recycle; it is replaced"
        );
        self.shared.count_replaced("recycled");
        child.stop().await;
        None
    }

    /// Notes the memory of its child, in bytes, and which child has the most.
    fn weigh(&self, memory: u64) {
        if let Some(own) = self.shared.memory.get(self.number - 1) {
            own.store(memory, Ordering::Relaxed);
        }
        gauge!(metric::TYPESETTER_MEMORY).set(self.shared.largest() as f64);
    }

    async fn attempt(&self, child: &mut Child, request: &mut Request) -> Ended {
        let Request { work, reply, .. } = request;
        let render = &self.shared.setup.render;
        let deadline = Duration::from_secs(render.deadline);
        let set = tokio::time::timeout(deadline, child.make(work, render.deadline));
        let done = tokio::select! {
            biased;
            done = set => done,
            () = reply.closed() => return Ended::Abandoned,
        };
        match done {
            Ok(Ok(result)) => Ended::Answered(result),
            Ok(Err(error)) => Ended::Lost(Loss::of(child.cause_of_exit(&error).await, render)),
            Err(_) => Ended::Lost(Loss::of(ExitCause::Time, render)),
        }
    }

    /// Starts a child and waits until it is ready. Gives it with what it could not be confined by.
    /// One that somebody else kills meanwhile is no sign that none can be had.
    async fn start(&self) -> Result<(Child, Vec<String>), Outage> {
        match self.start_one().await {
            Err(Unready { outage, foreign }) if foreign => {
                let error = outage.chain();
                warn!(
                    typesetter = self.number,
                    error, "a typesetter is started again"
                );
                self.start_one().await
            }
            started => started,
        }
        .map_err(|unready| unready.outage)
    }

    async fn start_one(&self) -> Result<(Child, Vec<String>), Unready> {
        let _starting = self.shared.count(State::Starting);
        let mut child = Child::spawn(self.number, &self.shared)?;
        let ready = tokio::time::timeout(START, child.greet(&self.shared.setup)).await;
        let render = &self.shared.setup.render;
        let Greeting {
            fingerprint,
            unconfined,
        } = match ready {
            Ok(Ok(greeting)) => greeting?,
            Ok(Err(error)) => {
                let Loss { en, foreign, .. } = Loss::of(child.cause_of_exit(&error).await, render);
                child.kill().await;
                let text = format!("a starting typesetter {en}; its standard error is in the log");
                let outage = Outage::new(Part::Typesetter, text);
                return Err(Unready { outage, foreign });
            }
            Err(_) => {
                child.kill().await;
                let text = format!("a typesetter was not ready after {} s", START.as_secs());
                return Err(Outage::new(Part::Typesetter, text).into());
            }
        };
        if *self.shared.fingerprint.get_or_init(|| fingerprint.clone()) != fingerprint {
            child.kill().await;
            let text = "the faces or templates are others than when this worker started, and would \
                        make other pages; restart the worker to use them";
            return Err(Outage::new(Part::Typesetter, text).into());
        }
        if render.confine == Confine::Require && !unconfined.is_empty() {
            child.kill().await;
            let text = format!(
                "this system can't confine a typesetter by {}, which render.confine = \"require\" \
                 asks for; \"try\" does without",
                unconfined.join(", ")
            );
            return Err(Outage::new(Part::Typesetter, text).into());
        }
        Ok((child, unconfined))
    }
}

/// Why a child did not get ready.
struct Unready {
    outage: Outage,
    /// As in [`Loss`].
    foreign: bool,
}

impl From<Outage> for Unready {
    fn from(outage: Outage) -> Unready {
        let foreign = false;
        Unready { outage, foreign }
    }
}

/// How a child was lost, in both languages.
#[derive(PartialEq)]
struct Loss {
    en: String,
    zh: String,
    /// What the metrics call it.
    reason: &'static str,
    /// Whether somebody else killed it: the kernel for want of memory, an operator.
    foreign: bool,
}

impl Loss {
    fn of(cause: ExitCause, render: &Render) -> Loss {
        let Render {
            memory, deadline, ..
        } = render;
        match cause {
            ExitCause::Memory => Loss {
                en: format!("needed more than {memory} MiB of memory (render.memory)"),
                zh: format!("所需内存超过{memory} MiB（render.memory）"),
                reason: "memory",
                foreign: false,
            },
            ExitCause::Time => Loss {
                en: format!("was killed after {deadline} s (render.deadline)"),
                zh: format!("超过{deadline}秒被终止（render.deadline）"),
                reason: "deadline",
                foreign: false,
            },
            ExitCause::Killed(en) => Loss {
                en,
                zh: "被外部终止".to_owned(),
                reason: "crash",
                foreign: true,
            },
            ExitCause::Other(en) => Loss {
                en,
                zh: "意外终止".to_owned(),
                reason: "crash",
                foreign: false,
            },
        }
    }
}

/// `E-LAYOUT` for a report that took two children down; an outage, when one of them was killed by
/// somebody else, for then the report need not have anything to do with it.
fn failed_twice(first: &Loss, second: &Loss) -> Failure {
    let (en, zh) = if first == second {
        (format!("{}, twice", first.en), format!("两次{}", first.zh))
    } else {
        (
            format!("{}, then {}", first.en, second.en),
            format!("先{}，后{}", first.zh, second.zh),
        )
    };
    if first.foreign || second.foreign {
        let text = format!(
            "the typesetter {en}; see whether the machine is short of memory (dmesg), or who ends \
             processes"
        );
        return Outage::new(Part::Typesetter, text).into();
    }
    let problem = Problem::new(
        Code::LAYOUT,
        "",
        format!("the report could not be laid out: the typesetter {en}"),
        format!("报告无法排版：排版进程{zh}"),
    );
    Rejection::from(problem).into()
}

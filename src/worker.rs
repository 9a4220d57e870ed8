//! The only module that knows the order of things:
//!
//! > validate → (redelivered: is there a manifest?) → typeset → put the PDF (and what stands beside
//! > it) → have it signed, if it is to be → put the manifest, the commit point → publish the event
//! > and wait for its confirm → acknowledge the job
//!
//! Takes the settings and a signal to stop, gives nothing until it has stopped. Never
//! acknowledges what is not published, never publishes what is not stored. If we crash here, at any
//! line, the job comes again: before the manifest the work is repeated, after it only the event is.
//!
//! What fails is one of three things. The report's fault ([`Rejection`], and with it a report that
//! took two typesetters down) is final. The world's fault ([`Outage`]) is tried again: if the part
//! answers all the same, it was this job's own trouble, which uses up an attempt; if it does not,
//! it is out for every job, which uses up none and closes the gate until the part is back.

mod bulletin;
mod gate;
mod in_flight;
mod lanes;
mod oldest;
mod signing;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::{counter, gauge, histogram};
use opentelemetry::KeyValue;
use tokio::task::JoinSet;
use tracing::{Instrument as _, debug, error, info, info_span, warn};
use uuid::Uuid;

use self::gate::Gate;
use self::in_flight::{Progress, drain, note_panic, watch};
use self::lanes::Lanes;
use self::oldest::Oldest;
use self::signing::Signing;
use crate::admin;
use crate::config::Settings;
use crate::digest;
use crate::event::{self, Event};
use crate::fleet::{InHand, Waiting, WorkerStatus};
use crate::job::{self, Identity, Job};
use crate::problem::{Code, Failure, Outage, Part, Problem, Rejection};
use crate::report::Editions;
use crate::sign::{Document, Signer};
use crate::store::{
    Artifact, Begun, Content, FontFacts, Key, Manifest, Store, Stored, TemplateFacts,
};
use crate::telemetry::trace::{self, Destination, Span};
use crate::telemetry::{self, metric};
use crate::timing::{DEPTHS, IDLE_POLL, SPREAD, unix_seconds, wall_clock};
use crate::transport::{Confirmed, Delivery, Depths, Intake, Lane, Reason, State, retry_wait};
use crate::typesetter::{self, Edition, Fonts, Manuscript, Pdf, Pool, Program, Templates};

/// Jobs held per lane for each typesetter. A job is with a disk and the broker for longer than with
/// a typesetter; with two a typesetter, these were idle for a quarter of the time.
const PREFETCH: usize = 8;

/// Serves the queue until `shutdown` is ready, then finishes what it holds and leaves. With
/// `until_idle` it also leaves when nothing is left to do.
///
/// # Errors
/// When something outside is out that waiting cannot mend: fonts, templates, a topology that
/// stands with other arguments, an address that cannot be had.
pub async fn run(
    settings: &Settings,
    until_idle: bool,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Outage> {
    // What happens at the start is counted, too.
    let recorder = admin::record(&settings.admin.listen);
    let mut shutdown = std::pin::pin!(shutdown);
    let (pipeline, mut intake) = tokio::select! {
        biased;
        () = &mut shutdown => {
            info!("stopped before it was ready");
            return Ok(());
        }
        started = start(settings) => started?,
    };

    let (stop_admin, admin_stopped) = tokio::sync::oneshot::channel::<()>();
    let (ready, readiness) = tokio::sync::watch::channel(intake.state().borrow().clone());
    let listen = &settings.admin.listen;
    let admin = admin::port(listen, recorder, readiness, async move {
        // Either way, an end of the sender is an end of the worker.
        admin_stopped.await.unwrap_or_default();
    });
    let (mut admin_port, mut watchers) = (JoinSet::new(), JoinSet::new());
    admin_port.spawn(admin.await?);
    pipeline.store.measure();
    pipeline.introduce();
    // A broker that is out has no session to ask; a folder that hangs is not asked once more.
    let answers = matches!(intake, Intake::Spool(_)).then(|| intake.state());
    watchers.spawn(watch_depths(
        intake.depths(),
        answers,
        Arc::clone(&pipeline.oldest),
    ));
    let every = settings.worker.status;
    if let Some(send) = intake.status_sender().filter(|_| every > 0) {
        let readiness = ready.subscribe();
        let every = Duration::from_secs(every);
        watchers.spawn(bulletin::tell(
            send,
            Arc::clone(&pipeline),
            readiness,
            every,
        ));
    }
    let stuck = Duration::from_secs(settings.worker.stuck);
    watchers.spawn(watch(
        intake.state(),
        pipeline.progress.clone(),
        stuck,
        ready,
    ));
    let reopener = Arc::clone(&pipeline);
    watchers.spawn(async move { reopener.gate.reopen(|part| reopener.probe(part)).await });

    let mut jobs = JoinSet::new();
    let served = serve(&mut intake, &pipeline, &mut jobs, until_idle, shutdown).await;

    // From here on the connection ends because we end it.
    watchers.shutdown().await;
    let timeout = Duration::from_secs(settings.worker.drain_timeout);
    drain(&mut intake, &mut jobs, timeout).await;
    intake.close().await;
    if let Some(pipeline) = Arc::into_inner(pipeline) {
        pipeline.pool.close().await;
    }
    drop(stop_admin);
    admin_port.shutdown().await;
    info!("stopped");
    served
}

/// Sees that everything is there, and asks for the first jobs.
async fn start(settings: &Settings) -> Result<(Arc<Pipeline>, Intake), Outage> {
    info!(queue = %settings.queue.prefix, store = %settings.store.url, "starting");
    let typesetters = settings.render.typesetters();
    let reserved = settings.reserved();
    let prefetch = match settings.queue.prefetch {
        0 => u16::try_from(typesetters.saturating_mul(PREFETCH)).unwrap_or(u16::MAX),
        prefetch => prefetch,
    };
    let store = Store::open(&settings.store)?;
    store.ready().await?;
    let pipeline = Pipeline::new(settings, store, typesetters, reserved).await?;
    let intake = Intake::open_within(&settings.queue, prefetch, settings.limits.job_bytes).await?;
    // A broker that is out is waited for: no reason for a service manager to start us again.
    telemetry::notify("READY=1");
    info!(typesetters, reserved, prefetch, "ready");
    Ok((Arc::new(pipeline), intake))
}

/// Takes jobs in and starts them in the pipeline, until it is to stop.
async fn serve(
    intake: &mut Intake,
    pipeline: &Arc<Pipeline>,
    jobs: &mut JoinSet<()>,
    until_idle: bool,
    mut shutdown: Pin<&mut impl Future<Output = ()>>,
) -> Result<(), Outage> {
    let mut gate = pipeline.gate.state();
    let mut watchdog = telemetry::watchdog().map(tokio::time::interval);
    let mut idle = 0;
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => {
                telemetry::notify("STOPPING=1\nSTATUS=finishing the jobs in hand");
                info!(held = jobs.len(), "stopping: no more jobs are taken in");
                return Ok(());
            }
            // From nowhere else: a loop that hangs, or a runtime none of whose threads is free, is
            // found out and ended.
            () = beat(&mut watchdog) => telemetry::notify("WATCHDOG=1"),
            Some(ended) = jobs.join_next() => note_panic(ended),
            Ok(()) = gate.changed() => {
                let closed = gate.borrow_and_update().clone();
                intake.pause(closed.map(|closed| format!("{}: {}", closed.part, closed.why)));
            }
            delivery = intake.next() => {
                let Some(delivery) = delivery? else { return Ok(()) };
                idle = 0;
                let pipeline = Arc::clone(pipeline);
                jobs.spawn(async move { pipeline.process(delivery).await });
            }
            () = tokio::time::sleep(IDLE_POLL), if until_idle && jobs.is_empty() => {
                // Twice in a row, because a job may be on its way to us when it is counted. An
                // intake that cannot say is not empty: the broker is waited for.
                idle = if matches!(intake.pending().await, Ok(0)) { idle + 1 } else { 0 };
                if idle >= 2 {
                    intake.settled()?;
                    info!("nothing is left to do");
                    return Ok(());
                }
            }
        }
    }
}

/// When the service manager is to be told that we live; never, where it does not ask.
async fn beat(watchdog: &mut Option<tokio::time::Interval>) {
    match watchdog {
        Some(interval) => drop(interval.tick().await),
        None => std::future::pending().await,
    }
}

/// What a job passes through, from its delivery to its acknowledgement.
struct Pipeline {
    settings: Settings,
    editions: Editions,
    templates: Vec<TemplateFacts>,
    fonts_sha256: String,
    /// What every typesetter can set.
    sample: Manuscript,
    pool: Pool,
    lanes: Lanes,
    store: Store,
    signing: Option<Signing>,
    gate: Gate,
    progress: Progress,
    oldest: Arc<Oldest>,
}

/// The time that a stage of a job took, from its beginning to now.
fn record(stage: &'static str, began: Instant) {
    histogram!(metric::STAGE, "stage" => stage).record(began.elapsed().as_secs_f64());
}

/// Counts problems that are told, by their codes.
fn count_problems(problems: &[Problem]) {
    let mut counts: BTreeMap<Code, u64> = BTreeMap::new();
    for problem in problems {
        *counts.entry(problem.code).or_default() += 1;
    }
    for (code, count) in counts {
        counter!(metric::PROBLEMS, "code" => code.to_string()).increment(count);
    }
}

/// Each code of what is told of a job once, for its span; none, where nothing is.
fn problem_codes(codes: impl Iterator<Item = String>) -> Option<KeyValue> {
    let codes: BTreeSet<String> = codes.collect();
    let told = !codes.is_empty();
    told.then(|| trace::list("banshi.problem_codes", codes))
}

/// Seconds since a sender's timestamp; none, where its clock is ahead of ours.
fn waited(timestamp: u64) -> Option<f64> {
    let waited = unix_seconds().checked_sub(timestamp)?;
    Some(waited as f64)
}

/// Looks at the depths of the queues again and again, also while no jobs are taken in; with a state,
/// only while that is up.
async fn watch_depths(
    depths: Depths,
    mut answers: Option<tokio::sync::watch::Receiver<State>>,
    oldest: Arc<Oldest>,
) {
    let lane = |queue: &str| Lane::ALL.into_iter().find(|lane| lane.as_str() == queue);
    // Over a fleet `max` and `min` pass over what is no number; they would take a number of an hour
    // ago for one of now.
    let unknown = |queue| {
        gauge!(metric::QUEUE_JOBS, "queue" => queue).set(f64::NAN);
        if lane(queue).is_some() {
            gauge!(metric::QUEUE_OLDEST, "queue" => queue).set(f64::NAN);
        }
    };
    let mut known = Vec::new();
    loop {
        if let Some(state) = &mut answers
            && state.wait_for(|state| *state == State::Up).await.is_err()
        {
            return;
        }
        // Before the answer: what is sent meanwhile is younger.
        let asked = unix_seconds();
        match depths().await {
            Ok(depths) => {
                known = depths.iter().map(|(queue, _)| *queue).collect();
                for (queue, jobs) in depths {
                    let Some(jobs) = jobs else {
                        unknown(queue);
                        continue;
                    };
                    gauge!(metric::QUEUE_JOBS, "queue" => queue).set(jobs as f64);
                    if let Some(age) =
                        lane(queue).and_then(|lane| oldest.seconds(lane, jobs, asked))
                    {
                        gauge!(metric::QUEUE_OLDEST, "queue" => queue).set(age as f64);
                    }
                }
            }
            Err(outage) => {
                debug!(error = %outage.chain(), "the queues' depths are not known");
                known.drain(..).for_each(unknown);
            }
        }
        tokio::time::sleep(DEPTHS).await;
    }
}

/// Why nothing was made of a job.
#[derive(Debug)]
enum Stop {
    /// The job's fault, or something is out.
    Failed(Failure),
    /// Its deadline came first.
    Late,
    /// It is not ours any more.
    Gone,
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Stop::Failed(failure)
    }
}

impl From<Outage> for Stop {
    fn from(outage: Outage) -> Self {
        Stop::Failed(outage.into())
    }
}

/// How a job left our hands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// Stored and announced.
    Completed,
    /// Its own fault, published and kept in the dead queue.
    Rejected,
    /// Something else's, until its attempts were used up; published and kept in the dead queue.
    Failed,
    /// Sent to wait outside, for another attempt or for what is out.
    Waiting,
}

impl Outcome {
    fn as_str(self) -> &'static str {
        match self {
            Outcome::Completed => "completed",
            Outcome::Rejected => "rejected",
            Outcome::Failed => "failed",
            Outcome::Waiting => "waiting",
        }
    }
}

impl Pipeline {
    async fn new(
        settings: &Settings,
        store: Store,
        typesetters: usize,
        reserved: usize,
    ) -> Result<Pipeline, Outage> {
        let signing = Signer::open(&settings.sign)?.map(Signing::new);
        let fonts = Fonts::load(&settings.fonts)?;
        let templates = Templates::load(settings.templates.folder())?;
        let editions = templates.forms();
        let facts = |edition: &Edition| TemplateFacts {
            name: edition.name.clone(),
            version: edition.version.clone(),
            sha256: edition.sha256.clone(),
        };
        let first = templates.editions().next();
        let first = first.ok_or_else(|| Outage::new(Part::Templates, "there is no template"))?;
        let sample = Manuscript::sample(&templates, first);
        let templates = templates.editions().map(facts).collect();
        let fonts_sha256 = fonts.sha256().to_owned();
        let mut settings = settings.clone();
        settings.render.threads = typesetters + reserved;
        let pool = Pool::start(&settings, Program::this()?).await?;
        Ok(Pipeline {
            settings,
            editions,
            templates,
            fonts_sha256,
            sample,
            pool,
            lanes: Lanes::new(typesetters, reserved),
            store,
            signing,
            gate: Gate::default(),
            progress: Progress::new(),
            oldest: Arc::default(),
        })
    }

    /// What this worker is.
    fn identity(&self) -> WorkerStatus {
        let templates = self.templates.iter();
        let templates = templates.map(|facts| format!("{} {}\n", facts.sha256, facts.name));
        let templates: String = templates.collect();
        WorkerStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            engine: typesetter::ENGINE.to_owned(),
            templates_sha256: digest::sha256(templates.as_bytes()),
            fonts_sha256: self.fonts_sha256.clone(),
            ..WorkerStatus::default()
        }
    }

    /// Says what this worker is, so that a fleet of several versions is found out.
    fn introduce(&self) {
        let WorkerStatus {
            version,
            engine,
            templates_sha256,
            fonts_sha256,
            ..
        } = self.identity();
        let labels = [
            ("version", version),
            ("engine", engine),
            ("templates_sha256", templates_sha256),
            ("fonts_sha256", fonts_sha256),
        ];
        gauge!(metric::BUILD_INFO, &labels).set(1.0);
    }

    /// What the metrics call a template: no name that a sender made up.
    fn label(&self, template: Option<&str>) -> String {
        let known = template.filter(|name| self.editions.contains_key(*name));
        known.unwrap_or("other").to_owned()
    }

    /// Whether a part does now what it is there for.
    async fn probe(&self, part: Part) -> Result<(), Outage> {
        match (part, &self.signing) {
            (Part::Store, _) => return self.store.probe().await,
            (Part::Signer, Some(signing)) => return signing.probe(&self.store).await,
            _ => {}
        }
        match self.pool.typeset(&self.sample).await {
            Err(Failure::Outage(outage)) => Err(outage),
            // A verdict of any kind takes a typesetter.
            Err(Failure::Rejected(_)) | Ok(_) => Ok(()),
        }
    }

    /// One job, from its delivery to its acknowledgement.
    async fn process(&self, delivery: Delivery) {
        let id = delivery.message_id.as_deref().filter(|id| job::is_id(id));
        let from = Destination::of(&self.settings.queue, "jobs", delivery.lane.as_str(), id);
        let span = Span::process(&from, &delivery.trace, delivery.redelivered);
        let ids = span.ids();
        span.around(self.work(delivery, ids)).await;
    }

    /// The same, within its span, whose ids are for the log.
    async fn work(&self, delivery: Delivery, ids: Option<(String, String)>) {
        let started = Instant::now();
        let lane = delivery.lane;
        let in_flight = self.progress.enter(lane);
        if delivery.redelivered {
            counter!(metric::REDELIVERED).increment(1);
        } else if let Some(sent) = delivery.timestamp
            && let Some(waited) = waited(sent)
        {
            histogram!(metric::QUEUE_WAIT, "lane" => lane.as_str()).record(waited);
            self.oldest.delivered(lane, sent);
        }
        let check = Span::stage("check");
        let message_id = delivery.message_id.as_deref();
        let (limits, editions) = (&self.settings.limits, &self.editions);
        let read = match delivery.unfit() {
            None => job::read(&delivery.body, message_id, limits, editions),
            Some(unfit) => {
                let body = match &unfit.dropped {
                    None => Ok(&delivery.body[..]),
                    Some(sha256) => Err(&sha256[..]),
                };
                let problems = unfit.problems.clone();
                Err(job::refuse(problems, body, message_id, limits, editions))
            }
        };
        drop(check);
        record("check", started);
        let identity = match &read {
            Ok(job) => job.identity.clone(),
            Err(refusal) => refusal.identity.clone(),
        };
        in_flight.is(InHand {
            job_id: identity.job_id.as_deref().unwrap_or("unknown").to_owned(),
            template: identity.template_name().unwrap_or("unknown").to_owned(),
            lane: lane.to_string(),
            attempt: delivery.attempt,
            since: unix_seconds(),
        });
        // Where no spans are made, the trace is the one that the sender speaks of.
        let sender = delivery.trace.trace_id();
        let sender = || delivery.trace.is_valid().then(|| sender.to_string());
        let (trace_id, span_id) = ids.unzip();
        let span = info_span!(
            "job",
            job.id = identity.job_id.as_deref().unwrap_or("unknown"),
            template = identity.template_name().unwrap_or("unknown"),
            %lane,
            attempt = delivery.attempt,
            code = tracing::field::Empty,
            trace_id = trace_id.or_else(sender).map(tracing::field::display),
            span_id = span_id.map(tracing::field::display),
        );
        trace::describe(|| {
            let id = identity.job_id.clone().filter(|id| job::is_id(id));
            [
                trace::text("banshi.job_id", id.unwrap_or_else(|| "unknown".to_owned())),
                trace::text("banshi.template", self.label(identity.template.as_deref())),
            ]
        });
        async {
            let made = match read {
                Ok(job) => self.in_time(&delivery, self.make(&job, &delivery)).await,
                Err(refusal) => Err(Failure::from(refusal.rejection).into()),
            };
            match self.settle(delivery, &identity, made).await {
                Ok(Some(ended)) => {
                    in_flight.settled(ended);
                    let (lane, outcome) = (lane.as_str(), ended.as_str());
                    trace::describe(|| [trace::text("banshi.outcome", outcome)]);
                    let template = self.label(identity.template.as_deref());
                    counter!(
                        metric::JOBS,
                        "lane" => lane, "template" => template, "outcome" => outcome
                    )
                    .increment(1);
                    let took = started.elapsed();
                    histogram!(metric::JOB_DURATION, "lane" => lane, "outcome" => outcome)
                        .record(took.as_secs_f64());
                    let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
                    match ended {
                        Outcome::Completed => info!(duration_ms, "completed"),
                        Outcome::Rejected => info!(duration_ms, "rejected"),
                        // Why was said where it was decided.
                        Outcome::Failed | Outcome::Waiting => debug!(duration_ms, "{outcome}"),
                    }
                }
                Ok(None) => {
                    trace::describe(|| [trace::text("banshi.outcome", "requeued")]);
                    info!("the job is requeued: its session has ended before its turn came")
                }
                Err(outage) => {
                    trace::describe(|| [trace::text("banshi.outcome", "requeued")]);
                    trace::fail(outage.part.as_str(), || outage.reason());
                    let error = outage.chain();
                    warn!(%error, "the job is requeued: its end could not be published");
                }
            }
        }
        .instrument(span)
        .await;
    }

    /// The end of what is made for a job, before its deadline: the broker takes back, and counts,
    /// what is held for longer.
    async fn in_time(
        &self,
        delivery: &Delivery,
        made: impl Future<Output = Result<Stored, Stop>>,
    ) -> Result<Stored, Stop> {
        delivery
            .deadline
            .limit(made)
            .await
            .unwrap_or(Err(Stop::Late))
    }

    /// Publishes what was made of a job, and settles it. `None`: there is nothing left to settle.
    async fn settle(
        &self,
        delivery: Delivery,
        identity: &Identity,
        made: Result<Stored, Stop>,
    ) -> Result<Option<Outcome>, Outage> {
        let ended = match made {
            Ok(stored) => self.complete(delivery, &stored).await,
            Err(Stop::Gone) => return Ok(None),
            Err(Stop::Late) => {
                trace::fail("lease", || {
                    "queue.lease passed before it was done".to_owned()
                });
                warn!(
                    "it was not its turn, or it was not signed, before queue.lease had passed; the \
                     job waits outside"
                );
                delivery.postpone().await.map(|()| Outcome::Waiting)
            }
            Err(Stop::Failed(Failure::Outage(outage))) => {
                self.retry(delivery, identity, &outage).await
            }
            // Nothing but its rejection can be done: no copy can be made of it that could wait.
            Err(Stop::Failed(Failure::Rejected(rejection))) if delivery.unfit().is_some() => {
                self.reject(delivery, identity, &rejection).await
            }
            Err(Stop::Failed(Failure::Rejected(rejection))) => {
                match self.stored_already(identity).await {
                    Ok(Some(stored)) => self.complete(delivery, &stored).await,
                    Ok(None) => self.reject(delivery, identity, &rejection).await,
                    Err(outage) => self.retry(delivery, identity, &outage).await,
                }
            }
        };
        ended.map(Some)
    }

    /// What is stored of a job that would be rejected. It was judged otherwise before, by another
    /// version or with other limits or fonts; what is stored and announced stays.
    async fn stored_already(&self, identity: &Identity) -> Result<Option<Stored>, Outage> {
        let Some(job::ResultKey {
            template,
            year,
            job_id,
            bytes,
        }) = identity.key.as_deref()
        else {
            return Ok(None);
        };
        self.gate.pass()?;
        let key = Key::new(template, *year, job_id);
        let content = Content {
            sha256: identity.sha256.clone(),
            bytes: *bytes,
        };
        match self.store.recall(&key, &content).await {
            Ok(Some(stored)) => {
                info!("stored already, and not judged again: only the event is published again");
                Ok(Some(stored))
            }
            // Another job's: this one is rejected for what it is.
            Ok(None) | Err(Failure::Rejected(_)) => Ok(None),
            Err(Failure::Outage(outage)) => Err(outage),
        }
    }

    /// Sets and stores a report, or finds that it is done already.
    async fn make(&self, job: &Job, delivery: &Delivery) -> Result<Stored, Stop> {
        if let Some(problem) = self.signing.as_ref().and_then(|it| it.in_the_way(&job.id)) {
            return Err(Failure::Rejected(problem.into()).into());
        }
        self.gate.pass()?;
        let key = Key::new(&job.template, job.report().year(), &job.id);
        let recall = async || self.store.recall(&key, &content(job)).await;
        if delivery.redelivered
            && let Some(stored) = recall().await?
        {
            info!("stored already: only the event is published again");
            return Ok(stored);
        }
        let began = Instant::now();
        let waits = Span::stage("wait");
        let permit = self.lanes.enter(delivery.lane).await;
        drop(waits);
        record("wait", began);
        self.gate.pass()?;
        if !delivery.is_live() {
            return Err(Stop::Gone);
        }
        // Another worker may have had it while this one waited.
        if delivery.redelivered
            && let Some(stored) = recall().await?
        {
            info!("stored meanwhile: only the event is published again");
            return Ok(stored);
        }
        let pdf = self.typeset(job).await?;
        drop(permit);
        for (stage, took) in [("layout", pdf.took.layout), ("export", pdf.took.export)] {
            histogram!(metric::STAGE, "stage" => stage).record(took.as_secs_f64());
        }
        let label = || job.template.clone();
        histogram!(metric::PDF_BYTES, "template" => label()).record(pdf.bytes.len() as f64);
        histogram!(metric::PDF_PAGES, "template" => label()).record(pdf.pages as f64);
        count_problems(job.report.warnings());
        let (began, manifest) = (Instant::now(), self.manifest(job, &pdf));
        if let Some(signing) = &self.signing {
            return Ok(self.keep_signed(&key, job, &pdf, manifest, signing).await?);
        }
        let put = self.store.put(&key, &pdf.bytes, &pdf.companions, manifest);
        let stored = put.await?;
        record("store", began);
        Ok(stored)
    }

    /// Stores a report, and has its PDF signed before anything says that it is stored.
    async fn keep_signed(
        &self,
        key: &Key,
        job: &Job,
        pdf: &Pdf,
        manifest: Manifest,
        signing: &Signing,
    ) -> Result<Stored, Failure> {
        let began = Instant::now();
        let begun = self
            .store
            .begin_put(key, &pdf.bytes, &pdf.companions, manifest);
        let mut draft = match begun.await? {
            Begun::Done(stored) => return Ok(stored),
            Begun::Draft(draft) => draft,
        };
        // A job that comes again is not signed again.
        if draft.was_there
            && let Some(stored) = self.store.recall(key, &content(job)).await?
        {
            return Ok(stored);
        }
        let put = began.elapsed();
        let (began, report) = (Instant::now(), job.report());
        let document = Document {
            pdf: draft.pdf.as_ref().into(),
            job_id: job.id.clone(),
            template: job.template.clone(),
            agency: report.author().to_owned(),
            title: typesetter::title(report),
            year: report.year(),
            seal: pdf.seal,
        };
        let signed = signing.of(&self.store, key, document, draft.was_there);
        draft.kept.push(Span::stage("sign").of(signed).await?);
        record("sign", began);
        let began = Instant::now();
        let stored = self.store.commit(key, draft).await?;
        histogram!(metric::STAGE, "stage" => "store").record((put + began.elapsed()).as_secs_f64());
        Ok(stored)
    }

    /// The pages of a report, and what its typesetter says of how long they took.
    async fn typeset(&self, job: &Job) -> Result<Pdf, Failure> {
        let work = Span::stage("typeset").of(async {
            let mut manuscript = Manuscript::of(job);
            manuscript.companions = self.settings.render.companions();
            manuscript.sealed = self.signing.is_some();
            let pdf = self.pool.typeset(&manuscript).await?;
            // The typesetter has told how long each took; the second ended just now.
            let ended = wall_clock();
            let laid_out = ended - pdf.took.export;
            trace::past("layout", laid_out - pdf.took.layout, laid_out);
            trace::past("export", laid_out, ended);
            Ok(pdf)
        });
        work.await
    }

    fn manifest(&self, job: &Job, pdf: &Pdf) -> Manifest {
        let report = job.report();
        let template = self
            .templates
            .iter()
            .find(|facts| facts.name == job.template);
        Manifest {
            job_id: job.id.clone(),
            job: content(job),
            template: template
                .cloned()
                .expect("a job is read for a template that there is"),
            agency: report.author().to_owned(),
            year: report.year(),
            title: typesetter::title(report),
            // The store fills in what it alone knows: where they are, and the bytes that are
            // really there.
            artifact: Artifact {
                uri: String::new(),
                media_type: "application/pdf".to_owned(),
                sha256: String::new(),
                bytes: 0,
                pages: pdf.pages,
                standard: typesetter::STANDARD.to_owned(),
            },
            companions: Vec::new(),
            uri: String::new(),
            fonts: FontFacts {
                embedded: pdf.fonts.clone(),
                sha256: self.fonts_sha256.clone(),
                rare: pdf.rare.clone(),
            },
            warnings: Manifest::warnings(job.report.warnings()),
            engine: typesetter::ENGINE.to_owned(),
            product: crate::PRODUCT.to_owned(),
            source: self.settings.events.source.clone(),
            completed_at: event::now(),
        }
    }

    async fn complete(&self, delivery: Delivery, stored: &Stored) -> Result<Outcome, Outage> {
        let manifest = stored.manifest();
        trace::describe(|| {
            let warnings = manifest.warnings.iter();
            let codes = warnings.filter_map(|warning| Code::named(warning["code"].as_str()?));
            let codes = problem_codes(codes.map(|code| code.to_string()));
            let pages = trace::number("banshi.pages", manifest.artifact.pages);
            codes.into_iter().chain([pages])
        });
        let event = Event::completed(manifest).sent_in(self.settings.events.mode);
        let Some((delivery, confirmed)) = self.publish(delivery, &event).await? else {
            return Ok(Outcome::Waiting);
        };
        ack(delivery, confirmed).await?;
        Ok(Outcome::Completed)
    }

    async fn reject(
        &self,
        delivery: Delivery,
        identity: &Identity,
        rejection: &Rejection,
    ) -> Result<Outcome, Outage> {
        count_problems(rejection.problems());
        let codes = rejection.problems().iter();
        trace::describe(|| problem_codes(codes.map(|problem| problem.code.to_string())));
        let events = &self.settings.events;
        let event = Event::rejected(identity, rejection.problems(), &events.source);
        let event = event.sent_in(events.mode);
        self.dead_letter(delivery, &event, &reason(rejection), Outcome::Rejected)
            .await
    }

    /// An outage is not the job's fault: it waits outside. Where the part is out for every job that
    /// is all; where it is not, an attempt is used up, until there are none left.
    async fn retry(
        &self,
        delivery: Delivery,
        identity: &Identity,
        outage: &Outage,
    ) -> Result<Outcome, Outage> {
        let (attempt, attempts) = (delivery.attempt, self.settings.worker.attempts);
        trace::fail(outage.part.as_str(), || outage.reason());
        counter!(metric::RETRIES, "part" => outage.part.as_str()).increment(1);
        let waits = |wait: Duration| Waiting {
            job_id: identity.job_id.as_deref().unwrap_or("unknown").to_owned(),
            attempt,
            until: unix_seconds() + wait.as_secs(),
            part: outage.part.as_str().to_owned(),
            why: outage.reason(),
        };
        if self.gate.closes(outage, self.probe(outage.part)).await {
            warn!(attempt, error = %outage.chain(), "the job waits until what is out is back");
            delivery.postpone().await?;
            self.progress.waits(waits(retry_wait(1).1));
            return Ok(Outcome::Waiting);
        }
        if attempt < attempts {
            warn!(attempt, attempts, error = %outage.chain(), "the job waits for another attempt");
            let wait = retry_wait(attempt).1;
            tokio::time::sleep(spread(wait)).await;
            delivery.retry().await?;
            self.progress.waits(waits(wait));
            return Ok(Outcome::Waiting);
        }
        error!(attempt, attempts, error = %outage.chain(), "the job's attempts are used up");
        // The code says the part already.
        let (code, message) = (outage.part.as_str(), outage.reason());
        let events = &self.settings.events;
        let event = Event::failed(identity, code, &message, attempt, &events.source);
        let event = event.sent_in(events.mode);
        let reason = Reason {
            code: code.to_owned(),
            message,
            event: event.kind.as_str(),
        };
        self.dead_letter(delivery, &event, &reason, Outcome::Failed)
            .await
    }

    /// Publishes what became of a job and dead-letters it, both safe before it is
    /// acknowledged.
    async fn dead_letter(
        &self,
        delivery: Delivery,
        event: &Event,
        reason: &Reason,
        outcome: Outcome,
    ) -> Result<Outcome, Outage> {
        tracing::Span::current().record("code", &reason.code);
        let Some((delivery, confirmed)) = self.publish(delivery, event).await? else {
            return Ok(Outcome::Waiting);
        };
        if delivery.unfit().is_some() {
            delivery.dead_letter_original(confirmed).await?;
            return Ok(outcome);
        }
        let dead_lettered = delivery.dead_letter(confirmed, reason).await?;
        ack(delivery, dead_lettered).await?;
        Ok(outcome)
    }

    /// Publishes an event. One that the broker would not take sends its job to wait outside,
    /// however often: requeueing it at once would spin, and what is done is done.
    async fn publish(
        &self,
        delivery: Delivery,
        event: &Event,
    ) -> Result<Option<(Delivery, Confirmed)>, Outage> {
        let began = Instant::now();
        let mut buffer = Uuid::encode_buffer();
        let id = &*event.id.hyphenated().encode_lower(&mut buffer);
        let queue = &self.settings.queue;
        let to = Destination::of(queue, "events", &event.routing_key, Some(id));
        let published = Span::publish(&to).of(delivery.publish(event)).await;
        record("publish", began);
        match published {
            Ok(confirmed) => Ok(Some((delivery, confirmed))),
            Err(outage) => {
                trace::fail(outage.part.as_str(), || outage.reason());
                counter!(metric::RETRIES, "part" => Part::Transport.as_str()).increment(1);
                warn!(error = %outage.chain(), "the event could not be published; the job waits");
                delivery.postpone().await?;
                Ok(None)
            }
        }
    }
}

/// Acknowledges a job.
async fn ack(delivery: Delivery, confirmed: Confirmed) -> Result<(), Outage> {
    Span::request("ack").of(delivery.ack(confirmed)).await
}

/// A wait before the wait, drawn: up to a fifth of it.
fn spread(wait: Duration) -> Duration {
    (wait / 5).min(SPREAD).mul_f64(rand::random::<f64>())
}

/// The digest and size of a job.
fn content(job: &Job) -> Content {
    Content {
        sha256: job.identity.sha256.clone(),
        bytes: job.bytes,
    }
}

/// One line on a rejection, for the headers of the dead queue.
fn reason(rejection: &Rejection) -> Reason {
    let problems = rejection.problems();
    let first = &problems[0];
    let more = match problems.len() - 1 {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    Reason {
        code: first.code.to_string(),
        message: format!("{}: {}{more}", first.path, first.message),
        event: event::Kind::Rejected.as_str(),
    }
}

//! The only module that knows the order of things:
//!
//! > validate → (redelivered: is there a manifest?) → typeset → put the PDF → put the manifest,
//! > the commit point → publish the event and wait for its confirm → acknowledge the job
//!
//! Takes the settings and a signal to stop, gives nothing until it has stopped. Never
//! acknowledges what is not said, never says what is not stored. If we crash here, at any line,
//! the job comes again: before the manifest the work is repeated, after it only the event is.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::{counter, gauge, histogram};
use tokio::task::JoinSet;
use tracing::{Instrument as _, error, info, info_span, warn};

use crate::config::Settings;
use crate::event::{self, Event};
use crate::job::{self, Identity, Job, Refusal};
use crate::problem::{Failure, Outage, Part, Rejection};
use crate::report::Editions;
use crate::store::{Artifact, Content, FontFacts, Key, Manifest, Store, Stored, TemplateFacts};
use crate::telemetry::{self, metric};
use crate::transport::{Delivery, Intake, Reason, State};
use crate::typesetter::{self, Edition, Fonts, Manuscript, Pdf, Pool, Program, Templates};

/// How often an idle worker asks whether anything is left, when it is to leave then.
const IDLE_POLL: Duration = Duration::from_millis(300);

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
    let typesetters = settings.render.typesetters();
    let prefetch = match settings.queue.prefetch {
        0 => u16::try_from(typesetters.saturating_mul(2)).unwrap_or(u16::MAX),
        prefetch => prefetch,
    };
    let store = Store::open(&settings.store)?;
    store.ready().await?;
    let road = Arc::new(Road::new(settings, store).await?);
    let mut intake = Intake::open(&settings.queue, prefetch).await?;

    let (stop_admin, admin_stopped) = tokio::sync::oneshot::channel::<()>();
    let admin = telemetry::admin(&settings.admin.listen, intake.state(), async move {
        // Either way, an end of the sender is an end of the worker.
        admin_stopped.await.unwrap_or_default();
    });
    let (mut admin_port, mut watcher) = (JoinSet::new(), JoinSet::new());
    admin_port.spawn(admin.await?);
    road.store.measure();
    watcher.spawn(watch(intake.state()));

    info!(typesetters, prefetch, queue = %settings.queue.prefix, store = %settings.store.url, "ready");
    let mut jobs = JoinSet::new();
    let served = serve(&mut intake, &road, &mut jobs, until_idle, shutdown).await;

    // From here on the connection ends because we end it.
    watcher.shutdown().await;
    intake.stop().await;
    drain(
        &mut jobs,
        Duration::from_secs(settings.worker.drain_timeout),
    )
    .await;
    intake.close().await;
    if let Some(road) = Arc::into_inner(road) {
        road.pool.close().await;
    }
    drop(stop_admin);
    admin_port.shutdown().await;
    info!("stopped");
    served
}

/// Takes jobs in and starts them on the road, until told to stop.
async fn serve(
    intake: &mut Intake,
    road: &Arc<Road>,
    jobs: &mut JoinSet<()>,
    until_idle: bool,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Outage> {
    let mut shutdown = std::pin::pin!(shutdown);
    let mut idle = 0;
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => {
                info!(held = jobs.len(), "stopping: no more jobs are taken in");
                return Ok(());
            }
            Some(ended) = jobs.join_next() => note_panic(ended),
            delivery = intake.next() => {
                let Some(delivery) = delivery? else { return Ok(()) };
                idle = 0;
                let road = Arc::clone(road);
                jobs.spawn(async move { road.walk(delivery).await });
            }
            () = tokio::time::sleep(IDLE_POLL), if until_idle && jobs.is_empty() => {
                // Twice in a row, because a job may be on its way to us when it is counted. An
                // intake that cannot say is not empty: the broker is waited for.
                idle = if matches!(intake.pending().await, Ok(0)) { idle + 1 } else { 0 };
                if idle >= 2 {
                    info!("nothing is left to do");
                    return Ok(());
                }
            }
        }
    }
}

/// Waits for the jobs in hand; what is not finished in time goes back to the queue.
async fn drain(jobs: &mut JoinSet<()>, timeout: Duration) {
    let finished = tokio::time::timeout(timeout, async {
        while let Some(ended) = jobs.join_next().await {
            note_panic(ended);
        }
    });
    if finished.await.is_err() {
        warn!(
            held = jobs.len(),
            timeout_s = timeout.as_secs(),
            "worker.drain_timeout passed: the jobs in hand go back to the queue"
        );
        jobs.shutdown().await;
    }
}

/// A panic on the road is our bug. Its job went back to the queue when its delivery was dropped.
fn note_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        error!(%error, "a job's task panicked; the job goes back to the queue");
    }
}

/// Logs and counts whether jobs can come in, as it changes.
async fn watch(mut state: tokio::sync::watch::Receiver<State>) {
    loop {
        let now = state.borrow_and_update().clone();
        gauge!(metric::CONNECTED).set(if now == State::Up { 1.0 } else { 0.0 });
        match now {
            State::Up => info!("connected: jobs can come in"),
            State::Down(why) => warn!(%why, "not connected: no jobs can come in"),
        }
        if state.changed().await.is_err() {
            return;
        }
    }
}

/// A job in hand, counted for as long as this is.
struct InHand;

impl InHand {
    fn new() -> InHand {
        gauge!(metric::INFLIGHT).increment(1.0);
        InHand
    }
}

impl Drop for InHand {
    fn drop(&mut self) {
        gauge!(metric::INFLIGHT).decrement(1.0);
    }
}

/// What a job meets on its way.
struct Road {
    settings: Settings,
    editions: Editions,
    templates: Vec<TemplateFacts>,
    fonts_sha256: String,
    pool: Pool,
    store: Store,
}

impl Road {
    async fn new(settings: &Settings, store: Store) -> Result<Road, Outage> {
        let fonts = Fonts::load(&settings.fonts)?;
        let templates = Templates::load(settings.templates.folder())?;
        let editions = templates.forms()?;
        let facts = |edition: &Edition| TemplateFacts {
            name: edition.name.clone(),
            version: edition.version.clone(),
            sha256: edition.sha256.clone(),
        };
        let templates = templates.editions().map(facts).collect();
        let fonts_sha256 = fonts.sha256().to_owned();
        let pool = Pool::start(settings, Program::this()?).await?;
        Ok(Road {
            settings: settings.clone(),
            editions,
            templates,
            fonts_sha256,
            pool,
            store,
        })
    }

    /// One job, from its delivery to its acknowledgement.
    async fn walk(&self, delivery: Delivery) {
        let started = Instant::now();
        let _in_hand = InHand::new();
        let lane = delivery.lane;
        if delivery.redelivered {
            counter!(metric::REDELIVERED).increment(1);
        }
        let message_id = delivery.message_id.as_deref();
        let (identity, outcome) = match job::read(
            &delivery.body,
            message_id,
            &self.settings.limits,
            &self.editions,
        ) {
            Ok(job) => {
                let span = info_span!("job", job.id = %job.id, template = %job.template);
                let made = self.make(&job, delivery.redelivered).instrument(span).await;
                (job.identity, made)
            }
            Err(refusal) => (refusal.identity, Err(refusal.rejection.into())),
        };
        let span = info_span!(
            "job",
            job.id = identity.job_id.as_deref().unwrap_or("unknown"),
            %lane,
            attempt = delivery.attempt
        );
        let ended = async {
            match outcome {
                Ok(stored) => self.complete(delivery, &stored).await,
                Err(Failure::Rejected(rejection)) => {
                    self.reject(
                        delivery,
                        &Refusal {
                            identity,
                            rejection,
                        },
                    )
                    .await
                }
                Err(Failure::Outage(outage)) => self.retry(delivery, &identity, &outage).await,
            }
        };
        match ended.instrument(span.clone()).await {
            Ok(outcome) => {
                counter!(metric::JOBS, "lane" => lane.as_str(), "outcome" => outcome).increment(1);
                let duration_ms = started.elapsed().as_millis();
                span.in_scope(|| info!(duration_ms, "{outcome}"));
            }
            Err(outage) => span.in_scope(|| {
                warn!(error = %outage.chain(), "the job is given back: its end could not be told");
            }),
        }
    }

    /// Sets and stores a report, or finds that it is done already.
    async fn make(&self, job: &Job, redelivered: bool) -> Result<Stored, Failure> {
        let key = Key::new(&job.template, job.report().year, &job.id);
        if redelivered && let Some(stored) = self.store.recall(&key, &content(job)).await? {
            info!("stored already: only the event is said again");
            return Ok(stored);
        }
        let started = Instant::now();
        let pdf = self.pool.typeset(&Manuscript::of(job)).await?;
        histogram!(metric::STAGE, "stage" => "typeset").record(started.elapsed().as_secs_f64());
        let started = Instant::now();
        let stored = self
            .store
            .put(&key, &pdf.bytes, self.manifest(job, &pdf))
            .await?;
        histogram!(metric::STAGE, "stage" => "store").record(started.elapsed().as_secs_f64());
        Ok(stored)
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
            agency: report.agency.clone(),
            year: report.year,
            title: typesetter::title(report),
            // The store fills in what it alone knows: where the two are, and the bytes that are
            // really there.
            artifact: Artifact {
                uri: String::new(),
                media_type: "application/pdf".to_owned(),
                sha256: String::new(),
                bytes: 0,
                pages: pdf.pages,
                standard: typesetter::STANDARD.to_owned(),
            },
            uri: String::new(),
            fonts: FontFacts {
                embedded: pdf.fonts.clone(),
                sha256: self.fonts_sha256.clone(),
                rare: pdf.rare.clone(),
            },
            warnings: job.report.warnings().to_vec(),
            engine: typesetter::ENGINE.to_owned(),
            product: crate::PRODUCT.to_owned(),
            source: self.settings.events.source.clone(),
            completed_at: event::now(),
        }
    }

    async fn complete(&self, delivery: Delivery, stored: &Stored) -> Result<&'static str, Outage> {
        let Some((delivery, said)) = self
            .say(delivery, &Event::completed(stored.manifest()))
            .await?
        else {
            return Ok("waiting");
        };
        delivery.ack(said).await?;
        Ok("completed")
    }

    async fn reject(&self, delivery: Delivery, refusal: &Refusal) -> Result<&'static str, Outage> {
        let Refusal {
            identity,
            rejection,
        } = refusal;
        let event = Event::rejected(identity, rejection.problems(), &self.settings.events.source);
        self.bury(delivery, &event, &reason(rejection), "rejected")
            .await
    }

    /// An outage is not the job's fault: it waits outside for its next attempt, until they are
    /// used up.
    async fn retry(
        &self,
        delivery: Delivery,
        identity: &Identity,
        outage: &Outage,
    ) -> Result<&'static str, Outage> {
        let (attempt, attempts) = (delivery.attempt, self.settings.worker.attempts);
        counter!(metric::RETRIES, "part" => outage.part.as_str()).increment(1);
        if attempt < attempts {
            warn!(attempt, attempts, error = %outage.chain(), "the job waits for another attempt");
            delivery.retry().await?;
            return Ok("waiting");
        }
        error!(attempt, attempts, error = %outage.chain(), "the job's attempts are used up");
        // The code says the part already.
        let (code, chain) = (outage.part.as_str(), outage.chain());
        let message = chain
            .strip_prefix(&format!("{code}: "))
            .unwrap_or(&chain)
            .to_owned();
        let event = Event::failed(
            identity,
            code,
            &message,
            attempt,
            &self.settings.events.source,
        );
        let reason = Reason {
            code: code.to_owned(),
            message,
            event: event.kind.as_str(),
        };
        self.bury(delivery, &event, &reason, "failed").await
    }

    /// Says what became of a job and keeps it in the dead queue, both safe before it is
    /// acknowledged.
    async fn bury(
        &self,
        delivery: Delivery,
        event: &Event,
        reason: &Reason,
        outcome: &'static str,
    ) -> Result<&'static str, Outage> {
        let Some((delivery, said)) = self.say(delivery, event).await? else {
            return Ok("waiting");
        };
        let buried = delivery.bury(said, reason).await?;
        delivery.ack(buried).await?;
        Ok(outcome)
    }

    /// Publishes an event. One that the broker would not take sends its job to wait outside,
    /// however often: giving it straight back would spin, and what is done is done.
    async fn say(
        &self,
        delivery: Delivery,
        event: &Event,
    ) -> Result<Option<(Delivery, crate::transport::Confirmed)>, Outage> {
        match delivery.publish(event).await {
            Ok(said) => Ok(Some((delivery, said))),
            Err(outage) => {
                counter!(metric::RETRIES, "part" => Part::Transport.as_str()).increment(1);
                warn!(error = %outage.chain(), "the event could not be said; the job waits");
                delivery.retry().await?;
                Ok(None)
            }
        }
    }
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

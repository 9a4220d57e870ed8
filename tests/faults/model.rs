//! E20: the protocol as a state machine, run in every order that a seed can think of.
//!
//! A model of the order of steps, of a broker and of a store, and not of the program: it shows
//! that the protocol is right, quickly and in orders that no real run meets, and the other
//! experiments show that the program follows it. A crash, a lost connection, an answer that is
//! lost after the deed, a duplicate and a delay can come before and after every step, and workers
//! of two builds, which make different bytes of the same job, work side by side. It ends before
//! the same judge. Models that are wrong on purpose must not pass him.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;

use crate::judge::{Dead, Ends, Object, Observation, ReceivedEvent, Sent, Verdict, Want, judge};

/// How the model is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    None,
    AckBeforeStore,
    EventBeforeStore,
    NoConfirm,
    /// An object that is there is replaced.
    Overwrite,
    /// The event is made from what the worker would have stored, not from what is stored.
    OwnManifest,
    /// A job is acknowledged before it is safe in the retry queue.
    AckBeforeRetry,
    /// A job is acknowledged before it is safe in the dead queue.
    AckBeforeDeadLetter,
}

pub const WRONG: [Flaw; 7] = [
    Flaw::AckBeforeStore,
    Flaw::EventBeforeStore,
    Flaw::NoConfirm,
    Flaw::Overwrite,
    Flaw::OwnManifest,
    Flaw::AckBeforeRetry,
    Flaw::AckBeforeDeadLetter,
];

/// Jobs' ids; every other one is also sent with other content.
const IDS: u8 = 3;
const WORKERS: usize = 3;
const PREFETCH: usize = 2;

/// A job: its id, and which of its contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Job {
    id: u8,
    content: u8,
}

/// A PDF: of which content, by which build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pdf {
    content: u8,
    build: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Manifest {
    content: u8,
    pdf: Pdf,
    time: u64,
}

#[derive(Debug, Clone, Copy)]
struct Message {
    job: Job,
    redelivered: bool,
    serial: u64,
}

/// Where a task is in the pipeline.
#[derive(Debug, Clone, Copy)]
enum Step {
    Recall,
    Typeset,
    PutPdf(Pdf),
    PutManifest(Pdf),
    Complete(Manifest),
    /// Only with `EventBeforeStore`: what is still to be stored.
    StoreAfter(Pdf, Manifest),
    SayConflict,
    DeadLetter,
    Retry,
    Ack,
}

#[derive(Debug, Clone)]
struct Task {
    message: Message,
    session: u64,
    step: Step,
}

struct Worker {
    session: u64,
    build: u8,
    tasks: Vec<Task>,
}

/// What a step comes to.
enum Next {
    To(Step),
    /// The task is over.
    Over,
}

struct World {
    rng: StdRng,
    flaw: Flaw,
    /// Whether anything can still go wrong.
    rough: bool,
    clock: u64,
    queue: Vec<Message>,
    waiting: Vec<Message>,
    /// What a session holds unacknowledged.
    held: Vec<(u64, Message)>,
    dead: Vec<Job>,
    events: Vec<ReceivedEvent>,
    pdfs: BTreeMap<u8, Pdf>,
    manifests: BTreeMap<u8, Manifest>,
    workers: Vec<Worker>,
    sessions: u64,
}

/// Runs the model for so many steps in which everything can go wrong, and then to its end.
pub fn run(seed: u64, rough_steps: u64, flaw: Flaw) -> (Verdict, u64) {
    let mut world = World::new(seed, flaw);
    for _ in 0..rough_steps {
        world.step();
    }
    world.rough = false;
    while !world.idle() {
        world.step();
    }
    (judge(&world.observation()), world.clock)
}

impl World {
    fn new(seed: u64, flaw: Flaw) -> World {
        let mut world = World {
            rng: StdRng::seed_from_u64(seed),
            flaw,
            rough: true,
            clock: 0,
            queue: Vec::new(),
            waiting: Vec::new(),
            held: Vec::new(),
            dead: Vec::new(),
            events: Vec::new(),
            pdfs: BTreeMap::new(),
            manifests: BTreeMap::new(),
            workers: Vec::new(),
            sessions: 0,
        };
        for (serial, job) in jobs().into_iter().enumerate() {
            // A sender that repeats itself sends the same message.
            for _ in 0..world.rng.random_range(1..3) {
                world.queue.push(Message {
                    job,
                    redelivered: false,
                    serial: serial as u64,
                });
            }
        }
        for number in 0..WORKERS {
            let session = world.session();
            world.workers.push(Worker {
                session,
                build: u8::from(number == 0),
                tasks: Vec::new(),
            });
        }
        world
    }

    fn session(&mut self) -> u64 {
        self.sessions += 1;
        self.sessions
    }

    fn idle(&self) -> bool {
        self.queue.is_empty()
            && self.waiting.is_empty()
            && self.workers.iter().all(|worker| worker.tasks.is_empty())
    }

    fn chance(&mut self, of: f64) -> bool {
        self.rough && self.rng.random_bool(of)
    }

    /// Something happens, somewhere.
    fn step(&mut self) {
        self.clock += 1;
        let index = self.rng.random_range(0..self.workers.len());
        if self.chance(0.03) {
            return self.crash(index);
        }
        if self.chance(0.03) {
            return self.lose_session(index);
        }
        if !self.waiting.is_empty() && self.rng.random_bool(0.2) {
            let message = self.waiting.remove(0);
            self.queue.push(message);
            return;
        }
        let tasks = self.workers[index].tasks.len();
        if !self.queue.is_empty() && tasks < PREFETCH && (tasks == 0 || self.rng.random_bool(0.5)) {
            return self.deliver(index);
        }
        if tasks > 0 {
            let task = self.rng.random_range(0..tasks);
            self.advance(index, task);
        }
    }

    /// Messages can come in any order.
    fn deliver(&mut self, index: usize) {
        let any = self.rng.random_range(0..self.queue.len());
        let message = self.queue.remove(any);
        let session = self.workers[index].session;
        self.held.push((session, message));
        let step = match message.redelivered {
            true => Step::Recall,
            false => Step::Typeset,
        };
        self.workers[index].tasks.push(Task {
            message,
            session,
            step,
        });
    }

    /// The worker is gone, and a new one in its place.
    fn crash(&mut self, index: usize) {
        self.lose_session(index);
        self.workers[index].tasks.clear();
    }

    /// The broker gives what the session held to others. Its tasks go on, and don't know yet.
    fn lose_session(&mut self, index: usize) {
        let lost = self.workers[index].session;
        let (back, held) = std::mem::take(&mut self.held)
            .into_iter()
            .partition(|(session, _)| *session == lost);
        self.held = held;
        self.requeue(back);
        self.workers[index].session = self.session();
    }

    fn requeue(&mut self, messages: Vec<(u64, Message)>) {
        for (_, message) in messages {
            self.queue.push(Message {
                redelivered: true,
                ..message
            });
        }
    }

    fn advance(&mut self, index: usize, task: usize) {
        let now = self.workers[index].tasks[task].clone();
        if matches!(now.step, Step::Typeset) && self.flaw == Flaw::AckBeforeStore {
            self.acknowledge(&now);
        }
        match self.go(index, &now) {
            Next::To(step) => self.workers[index].tasks[task].step = step,
            Next::Over => drop(self.workers[index].tasks.remove(task)),
        }
    }

    fn go(&mut self, index: usize, task: &Task) -> Next {
        let job = task.message.job;
        match task.step {
            Step::Recall => {
                if self.chance(0.1) {
                    return Next::To(Step::Retry);
                }
                Next::To(match self.manifests.get(&job.id) {
                    None => Step::Typeset,
                    Some(theirs) if theirs.content == job.content => Step::Complete(*theirs),
                    Some(_) => Step::SayConflict,
                })
            }
            Step::Typeset => {
                let pdf = Pdf {
                    content: job.content,
                    build: self.workers[index].build,
                };
                match self.flaw {
                    Flaw::EventBeforeStore => {
                        let manifest = self.manifest(job, pdf);
                        Next::To(Step::StoreAfter(pdf, manifest))
                    }
                    _ => Next::To(Step::PutPdf(pdf)),
                }
            }
            Step::StoreAfter(pdf, manifest) => {
                match self.publish_completed(index, task, manifest) {
                    true => Next::To(Step::PutPdf(pdf)),
                    false => Next::Over,
                }
            }
            Step::PutPdf(pdf) => self.put_pdf(job, pdf),
            Step::PutManifest(pdf) => self.put_manifest(job, pdf),
            Step::Complete(manifest) => {
                let published = self.flaw == Flaw::EventBeforeStore
                    || self.publish_completed(index, task, manifest);
                if published {
                    Next::To(Step::Ack)
                } else {
                    Next::Over
                }
            }
            Step::SayConflict => {
                if self.flaw == Flaw::AckBeforeDeadLetter {
                    self.acknowledge(task);
                }
                let event = json!({
                    "id": format!("rejected {} {}", job.id, job.content), "type": "report.rejected",
                    "subject": subject(job), "time": self.clock,
                    "data": {"problems": [{"code": "E-CONFLICT"}]},
                });
                match self.publish(index, task, |world| world.hear(&event)) {
                    true => Next::To(Step::DeadLetter),
                    false => Next::Over,
                }
            }
            Step::DeadLetter => match self.publish(index, task, |world| world.dead.push(job)) {
                true => Next::To(Step::Ack),
                false => Next::Over,
            },
            Step::Retry => {
                if self.flaw == Flaw::AckBeforeRetry {
                    self.acknowledge(task);
                }
                let again = Message {
                    redelivered: true,
                    ..task.message
                };
                match self.publish(index, task, |world| world.waiting.push(again)) {
                    true => Next::To(Step::Ack),
                    false => Next::Over,
                }
            }
            Step::Ack => {
                self.acknowledge(task);
                Next::Over
            }
        }
    }

    fn manifest(&self, job: Job, pdf: Pdf) -> Manifest {
        Manifest {
            content: job.content,
            pdf,
            time: self.clock,
        }
    }

    /// As `Store::put` up to the manifest.
    fn put_pdf(&mut self, job: Job, pdf: Pdf) -> Next {
        if self.chance(0.1) {
            return Next::To(Step::Retry);
        }
        let kept = match self.flaw {
            Flaw::Overwrite => None,
            _ => self.pdfs.get(&job.id).copied(),
        };
        if kept.is_none() {
            self.pdfs.insert(job.id, pdf);
            // The deed is done, and the answer lost.
            if self.chance(0.1) {
                return Next::To(Step::Retry);
            }
        }
        let Some(kept) = kept.filter(|kept| *kept != pdf) else {
            return Next::To(Step::PutManifest(pdf));
        };
        if let Some(theirs) = self.manifests.get(&job.id) {
            return self.agree(job, *theirs);
        }
        match kept.content == pdf.content {
            true => Next::To(Step::PutManifest(kept)),
            false => Next::To(Step::SayConflict),
        }
    }

    fn put_manifest(&mut self, job: Job, pdf: Pdf) -> Next {
        if self.chance(0.1) {
            return Next::To(Step::Retry);
        }
        let own = self.manifest(job, pdf);
        let there = match self.flaw {
            Flaw::Overwrite => None,
            _ => self.manifests.get(&job.id).copied(),
        };
        match there {
            Some(_) if self.flaw == Flaw::OwnManifest => Next::To(Step::Complete(own)),
            Some(theirs) => self.agree(job, theirs),
            None => {
                self.manifests.insert(job.id, own);
                if self.chance(0.1) {
                    return Next::To(Step::Retry);
                }
                Next::To(Step::Complete(own))
            }
        }
    }

    fn agree(&self, job: Job, theirs: Manifest) -> Next {
        Next::To(match theirs.content == job.content {
            true => Step::Complete(theirs),
            false => Step::SayConflict,
        })
    }

    fn publish_completed(&mut self, index: usize, task: &Task, manifest: Manifest) -> bool {
        let job = task.message.job;
        let event = json!({
            "id": format!("completed {} {}", job.id, job.content), "type": "report.completed",
            "subject": subject(job), "time": manifest.time,
            "data": {"template": "t/1", "year": 2023, "artifact": artifact(manifest.pdf)},
        });
        if self.flaw == Flaw::NoConfirm && self.chance(0.1) {
            return true;
        }
        self.publish(index, task, |world| world.hear(&event))
    }

    /// Publishes and waits for the confirm. False: the connection is lost, and the task over; what
    /// was published may have arrived all the same. A connection that was lost may not know yet.
    fn publish(&mut self, index: usize, task: &Task, deed: impl FnOnce(&mut World)) -> bool {
        let stale = task.session != self.workers[index].session;
        if stale && self.rng.random_bool(0.5) || self.chance(0.05) {
            self.drop_task(task);
            return false;
        }
        deed(self);
        if self.chance(0.1) {
            self.drop_task(task);
            return false;
        }
        true
    }

    /// A task that ends without an acknowledgement requeues its message.
    fn drop_task(&mut self, task: &Task) {
        if let Some(at) = self.position(task) {
            let back = vec![self.held.remove(at)];
            self.requeue(back);
        }
    }

    fn acknowledge(&mut self, task: &Task) {
        // Without a session that holds the message, nothing comes of it.
        if let Some(at) = self.position(task)
            && !self.chance(0.1)
        {
            self.held.remove(at);
        } else {
            // The acknowledgement is lost with its connection.
            self.drop_task(task);
        }
    }

    fn position(&self, task: &Task) -> Option<usize> {
        self.held.iter().position(|(session, message)| {
            *session == task.session && message.serial == task.message.serial
        })
    }

    fn hear(&mut self, event: &serde_json::Value) {
        let id = event["subject"].as_str().unwrap_or_default();
        let stored = self.manifests.keys().any(|key| subject_of(*key) == id);
        self.events.push(ReceivedEvent {
            body: event.to_string().into_bytes(),
            stored_when_heard: stored || event["type"] != "report.completed",
        });
    }

    fn observation(&self) -> Observation {
        let mut seen = Observation {
            events: self.events.clone(),
            ..Observation::default()
        };
        for job in jobs() {
            seen.sent.push(Sent {
                ends: Ends {
                    completed: format!("completed {} {}", job.id, job.content),
                    rejected: format!("rejected {} {}", job.id, job.content),
                    failed: String::new(),
                },
                job_id: Some(subject(job)),
                key: Some(key(job.id)),
                content: content(job),
                body: content(job),
                want: Want::Result,
            });
        }
        for (id, pdf) in &self.pdfs {
            let object = object(digest(*pdf), None);
            seen.store.insert(format!("{}.pdf", key(*id)), object);
        }
        for (id, manifest) in &self.manifests {
            let of = Job {
                id: *id,
                content: manifest.content,
            };
            let says = json!({
                "job": {"sha256": content(of)}, "artifact": artifact(manifest.pdf),
                "completed_at": manifest.time,
            });
            let object = object("manifest".to_owned(), Some(says));
            seen.store.insert(format!("{}.json", key(*id)), object);
        }
        for job in &self.dead {
            seen.dead.push(Dead {
                body: content(*job),
                code: "E-CONFLICT".to_owned(),
            });
        }
        seen
    }
}

fn jobs() -> Vec<Job> {
    let mut jobs = Vec::new();
    for id in 0..IDS {
        jobs.push(Job { id, content: 0 });
        if id % 2 == 0 {
            jobs.push(Job { id, content: 1 });
        }
    }
    jobs
}

fn subject(job: Job) -> String {
    subject_of(job.id)
}

fn subject_of(id: u8) -> String {
    format!("job-{id}")
}

fn key(id: u8) -> String {
    format!("t/1/2023/{}", subject_of(id))
}

fn content(job: Job) -> String {
    format!("content {} of {}", job.content, subject(job))
}

fn digest(pdf: Pdf) -> String {
    format!("content {} by build {}", pdf.content, pdf.build)
}

fn artifact(pdf: Pdf) -> serde_json::Value {
    json!({"uri": "u", "sha256": digest(pdf), "bytes": 1, "pages": 1})
}

fn object(sha256: String, manifest: Option<serde_json::Value>) -> Object {
    Object {
        sha256,
        bytes: 1,
        manifest,
        damage: None,
    }
}

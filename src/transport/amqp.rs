//! RabbitMQ: jobs in from two lanes, events out, and the dead queue.
//!
//! Takes the settings, gives deliveries. Never acknowledges, requeues or forgets a message but
//! on the channel that it came by, and never takes anything but a plain confirm for a success. If
//! we crash here, the broker sees the connections end and delivers again what was not
//! acknowledged, counting it, so that a job that kills its workers ends in the dead queue.
//!
//! An [`Intake`] has a supervisor, which keeps a session; a session is two connections,
//! and its state is what it may do; a lane is a consumer; a handle settles a delivery.

mod asyncapi;
mod broker;
mod client;
mod examine;
mod guard;
mod handle;
mod lane;
mod migrate;
mod observer;
mod properties;
mod publisher;
mod questions;
mod session;
mod session_state;
mod supervisor;
mod tls;
mod topology;

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt as _;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tracing::error;

pub use self::asyncapi::asyncapi;
use self::broker::Broker;
pub use self::client::Client;
pub use self::examine::{Permissions, Standing, Use};
pub use self::guard::Server;
use self::handle::requeue;
pub use self::handle::{Handle, Reply};
pub use self::migrate::ResourceStatus;
pub use self::observer::{Log, Observer, Statuses};
use self::session::Session;
use self::supervisor::{Stop, Supervisor};
use super::{Delivery, Depths, State, StatusSender};
use crate::config;
use crate::problem::{Outage, Part};

/// Why no jobs come in after [`Intake::stop`].
const STOPPED: &str = "stopped";

/// The stream of jobs.
#[derive(Debug)]
pub struct Intake {
    /// One in advance at most: the rest waits in lapin, where an urgent one can still pass.
    deliveries: mpsc::Receiver<Result<Delivery, Outage>>,
    /// Closed, it ends the supervisor.
    stops: mpsc::Sender<Stop>,
    /// Why no jobs are asked for, while none are.
    pause: watch::Sender<Option<String>>,
    state: watch::Receiver<State>,
    current: Current,
    broker: Arc<Broker>,
    supervisor: JoinHandle<()>,
    stopped: bool,
}

/// The session of the moment.
#[derive(Debug, Clone, Default)]
struct Current(Arc<Mutex<Option<Arc<Session>>>>);

impl Current {
    fn set(&self, session: Option<Arc<Session>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = session;
    }

    fn get(&self) -> Option<Arc<Session>> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Intake {
    /// Starts to connect, in the background. A body of more than `job_bytes` is not held.
    ///
    /// # Errors
    /// When the address is none.
    pub async fn open(
        settings: &config::Queue,
        prefetch: u16,
        job_bytes: usize,
    ) -> Result<Intake, Outage> {
        let broker = Arc::new(Broker::new(settings, job_bytes)?);
        let (deliver, deliveries) = mpsc::channel(1);
        let (stops, stopping) = mpsc::channel(1);
        let (pause, paused) = watch::channel(None);
        let (state_sender, state) = watch::channel(State::Down(format!("connecting to {broker}")));
        let current = Current::default();
        let supervisor = Supervisor {
            broker: Arc::clone(&broker),
            prefetch,
            deliver,
            stopping,
            paused,
            state: state_sender,
            current: current.clone(),
        };
        #[expect(
            clippy::disallowed_methods,
            reason = "one task for the whole life of the intake, awaited by close"
        )]
        let supervisor = tokio::spawn(supervisor.run());
        Ok(Intake {
            deliveries,
            stops,
            pause,
            state,
            current,
            broker,
            supervisor,
            stopped: false,
        })
    }

    /// The next job; waits for it. `None` after [`Intake::stop`]. Cancel safe.
    ///
    /// # Errors
    /// When the first session cannot be had and waiting would not help.
    pub async fn next(&mut self) -> Result<Option<Delivery>, Outage> {
        loop {
            match self.deliveries.recv().await {
                // One whose session has ended is with the broker again.
                Some(Ok(delivery)) if !delivery.is_live() => {}
                Some(next) => return next.map(Some),
                None if self.stopped => return Ok(None),
                None => return Err(Outage::new(Part::Transport, "the intake has ended")),
            }
        }
    }

    /// Jobs that wait in the lanes and between attempts. A job on its way from a retry queue to
    /// its lane can be in neither for a moment.
    ///
    /// # Errors
    /// When there is no session, or no answer.
    pub async fn pending(&self) -> Result<u64, Outage> {
        match self.current.get() {
            Some(session) => {
                let count = session.count(self.broker.topology.waiting()).await?;
                count.ok_or_else(|| {
                    let why = "the broker does not tell this user how long its queues are";
                    Outage::new(Part::Transport, why)
                })
            }
            None => {
                let why = match &*self.state.borrow() {
                    State::Down(why) => why.clone(),
                    State::Up => "the connection is being made".to_owned(),
                };
                Err(Outage::new(Part::Transport, why))
            }
        }
    }

    /// Asks what is ready in each kind of queue.
    pub fn depths(&self) -> Depths {
        let (current, broker) = (self.current.clone(), Arc::clone(&self.broker));
        Box::new(move || {
            let (current, broker) = (current.clone(), Arc::clone(&broker));
            let ask = async move {
                let none = || Outage::new(Part::Transport, "there is no connection");
                let session = current.get().ok_or_else(none)?;
                let mut depths = Vec::new();
                for (kind, queues) in broker.topology.kinds() {
                    depths.push((kind, session.count(queues.into_iter()).await?));
                }
                Ok(depths)
            };
            ask.boxed()
        })
    }

    /// Publishes a worker's status, while there is a session, and says whether there was one.
    pub fn status_sender(&self) -> StatusSender {
        let (current, broker) = (self.current.clone(), Arc::clone(&self.broker));
        Box::new(move |worker, status| {
            let (current, broker) = (current.clone(), Arc::clone(&broker));
            let send = async move {
                let Some(session) = current.get() else {
                    return Ok(false);
                };
                let key = format!("worker.{worker}");
                let exchange = broker.topology.name("status");
                session.offer(&exchange, &key, &status).await?;
                Ok(true)
            };
            send.boxed()
        })
    }

    /// Whether jobs can come in, as it changes.
    pub fn state(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    /// Cancels the consumers, or registers them again.
    pub fn pause(&self, why: Option<String>) {
        self.pause.send_replace(why);
    }

    /// Cancels the consumers and requeues what was not handed out. Deliveries that were stay
    /// good.
    pub async fn stop(&mut self) {
        if std::mem::replace(&mut self.stopped, true) {
            return;
        }
        let (answer, answered) = oneshot::channel();
        let held = match self.stops.send(answer).await {
            Ok(()) => answered.await.unwrap_or_default(),
            // A supervisor that has ended holds nothing.
            Err(_) => Vec::new(),
        };
        self.deliveries.close();
        // Oldest first: a quorum queue delivers what came back in the order in which it came back.
        while let Ok(next) = self.deliveries.try_recv() {
            if let Ok(delivery) = next {
                delivery.release().await;
            }
        }
        for acker in &held {
            requeue(acker).await;
        }
    }

    /// Ends the connections.
    pub async fn close(mut self) {
        self.stop().await;
        drop(self.stops);
        if let Err(error) = self.supervisor.await {
            error!(%error, "the supervisor of the broker's connections failed");
        }
    }
}

//! Keeps a session with the broker: builds one, feeds deliveries from it, and builds the next when
//! it ends.
//!
//! Takes wishes (stop, pause), gives deliveries and a state. What a session may do is decided by
//! [`SessionState`] alone; here it is done. If we crash here, the broker has what was not
//! acknowledged.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use futures_util::FutureExt as _;
use futures_util::StreamExt as _;
use lapin::Acker;
use metrics::counter;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};
use tracing::{debug, error, warn};

use super::broker::{Broker, Fault, outage, plain};
use super::handle::delivery;
use super::lane::Received;
use super::session::{ConnectionEvent, Incoming, Session};
use super::session_state::{Conditions, LanePrefetch, SessionEvent, SessionState};
use super::{Current, STOPPED};
use crate::problem::Outage;
use crate::telemetry::metric;
use crate::timing::{BACKOFF, CLOSE, PROBE_INTERVAL, SETTLED, YOUNG, backoff};
use crate::transport::{Delivery, State};

/// A wish to take in no more, answered with what was not handed out.
pub(super) type Stop = oneshot::Sender<Vec<Acker>>;

/// Keeps a session.
pub(super) struct Supervisor {
    pub(super) broker: Arc<Broker>,
    pub(super) prefetch: u16,
    pub(super) deliver: mpsc::Sender<Result<Delivery, Outage>>,
    pub(super) stopping: mpsc::Receiver<Stop>,
    pub(super) paused: watch::Receiver<Option<String>>,
    pub(super) state: watch::Sender<State>,
    pub(super) current: Current,
}

/// How the feeding from a session ends.
enum Ended {
    /// The session is over: what the metrics call that, and why.
    Session(&'static str, String),
    /// The intake wants no more. `None` when it is gone altogether.
    Intake(Option<Stop>),
}

/// A probe of whether the broker takes what we publish.
type Probe<'a> = Pin<Box<dyn Future<Output = Result<(), Outage>> + Send + 'a>>;

impl Supervisor {
    pub(super) async fn run(mut self) {
        let mut ever_up = false;
        let mut tries = 0;
        let mut session_state = SessionState::new(false, LanePrefetch::FULL);
        loop {
            let opened = tokio::select! {
                biased;
                stop = self.stopping.recv() => return self.finish(stop),
                opened = Session::open(&self.broker, self.prefetch) => opened,
            };
            match opened {
                Ok((session, mut incoming)) => {
                    ever_up = true;
                    let session = Arc::new(session);
                    let since = Instant::now();
                    self.current.set(Some(Arc::clone(&session)));
                    let ended = self.feed(&session, &mut incoming, &mut session_state).await;
                    let why = match ended {
                        Ended::Session(by, why) => {
                            counter!(metric::SESSIONS, "ended" => by).increment(1);
                            why
                        }
                        Ended::Intake(stop) => return self.drain(&session, incoming, stop).await,
                    };
                    session.end(why.as_str());
                    self.current.set(None);
                    self.set_state(State::Down(why));
                    let young = since.elapsed() < YOUNG && session.has_jobs();
                    session_state = session_state.after(session.was_refused(), young);
                    session.close().await;
                    if since.elapsed() > SETTLED {
                        tries = 0;
                    }
                }
                Err(Fault::Lasting(outage)) if !ever_up => {
                    self.set_state(State::Down(plain(&outage)));
                    // An intake that is gone wants no answer.
                    drop(self.deliver.send(Err(outage)).await);
                    return;
                }
                Err(fault) => {
                    counter!(metric::SESSIONS, "ended" => "refused").increment(1);
                    let lasting = matches!(fault, Fault::Lasting(_));
                    let why = plain(&Outage::from(fault));
                    if self.set_state(State::Down(why.clone())) && lasting {
                        error!(%why, "the broker needs somebody's hand; trying on");
                    }
                }
            }
            tokio::select! {
                biased;
                stop = self.stopping.recv() => return self.finish(stop),
                () = sleep(backoff(BACKOFF, tries)) => tries += 1,
            }
        }
    }

    /// Hands out deliveries, the urgent ones first, until the session or the intake ends.
    async fn feed(
        &mut self,
        session: &Arc<Session>,
        incoming: &mut Incoming,
        session_state: &mut SessionState,
    ) -> Ended {
        let Supervisor {
            broker: shared,
            deliver,
            stopping,
            paused,
            state,
            ..
        } = self;
        let broker: &Broker = shared;
        let mut held = session.held();
        let mut settled = session.lanes_settled();
        let mut blocked = None;
        let mut event = SessionEvent::ConditionsChanged;
        let mut probe: Option<Probe> = None;
        let mut probe_failure = None;
        let mut tries = 0;
        let mut permit = None;
        loop {
            let conditions = Conditions {
                blocked: blocked.clone(),
                refused: held.borrow_and_update().why().map(str::to_owned),
                paused: paused.borrow_and_update().clone(),
            };
            let before = session_state.clone();
            *session_state = before.clone().next(&conditions, event);
            event = SessionEvent::ConditionsChanged;
            if *session_state != before {
                probe = None;
            }
            if incoming.needs_change(session_state) {
                let changed = tokio::select! {
                    biased;
                    stop = stopping.recv() => return Ended::Intake(stop),
                    why = session.ended() => return Ended::Session("connection", why),
                    changed = incoming.change(broker, session_state) => changed,
                };
                if let Err(outage) = changed {
                    return Ended::Session("lane", plain(&outage));
                }
            }
            match &*session_state {
                SessionState::Held { why, .. } => set_state(state, State::Down(why.clone())),
                SessionState::Serving { .. } => set_state(state, State::Up),
                // The state before holds until the probe passes: why there was no session, or
                // why it was held.
                SessionState::Probing { .. } => probe_failure
                    .clone()
                    .is_some_and(|why| set_state(state, State::Down(why))),
            };
            let trial = match &*session_state {
                SessionState::Held { .. } => None,
                SessionState::Probing { thorough, .. } => Some((*thorough, tries > 0)),
                // An alarm that comes while nothing is published would be found out by the jobs.
                SessionState::Serving { .. } => Some((false, true)),
            };
            if let (None, Some((thorough, later))) = (&probe, trial) {
                let wait = match (&*session_state, later) {
                    (SessionState::Serving { .. }, _) => PROBE_INTERVAL,
                    (_, true) => backoff(BACKOFF, tries),
                    (_, false) => std::time::Duration::ZERO,
                };
                probe = Some(
                    async move {
                        sleep(wait).await;
                        session.probe(broker, thorough).await
                    }
                    .boxed(),
                );
            }
            let probed = async {
                match &mut probe {
                    Some(probe) => probe.await,
                    None => std::future::pending().await,
                }
            };
            let Incoming {
                urgent,
                bulk,
                connection_events,
            } = &mut *incoming;
            // biased: in this order, so that a stop is heard and the urgent lane wins. A permit
            // is had before a delivery is taken, so that no more than one is ever between.
            let (lane, channel, received) = tokio::select! {
                biased;
                stop = stopping.recv() => return Ended::Intake(stop),
                why = session.ended() => return Ended::Session("connection", why),
                changed = paused.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return Ended::Intake(None),
                },
                connection_event = connection_events.next() => match connection_event {
                    Some(ConnectionEvent::Blocked(why)) => {
                        blocked = Some(format!("the broker takes no messages: {why}"));
                        continue;
                    }
                    Some(ConnectionEvent::Unblocked) => {
                        blocked = None;
                        continue;
                    }
                    Some(ConnectionEvent::Ended(why)) => return Ended::Session("connection", why),
                    None => {
                        let why = "the connection has ended".to_owned();
                        return Ended::Session("connection", why);
                    }
                },
                // The senders are the session's own, so that these never end.
                Ok(()) = held.changed() => continue,
                Ok(()) = settled.changed() => {
                    if let Some(lane) = *settled.borrow_and_update() {
                        event = SessionEvent::Settled(lane);
                    }
                    continue;
                }
                found = probed => {
                    probe = None;
                    match found {
                        Ok(()) => {
                            (tries, probe_failure) = (0, None);
                            event = SessionEvent::ProbePassed;
                        }
                        Err(outage) => {
                            tries += 1;
                            let why = plain(&outage);
                            if probe_failure.as_ref() != Some(&why) {
                                debug!(%why, "the broker does not take what a job's end needs");
                            }
                            probe_failure = Some(why);
                            event = SessionEvent::ProbeFailed;
                        }
                    }
                    continue;
                }
                reserved = deliver.reserve(), if permit.is_none() => match reserved {
                    Ok(reserved) => {
                        permit = Some(reserved);
                        continue;
                    }
                    Err(_) => return Ended::Intake(None),
                },
                received = urgent.next(), if permit.is_some() => {
                    (urgent.lane, urgent.channel(), received)
                }
                received = bulk.next(), if permit.is_some() => {
                    (bulk.lane, bulk.channel(), received)
                }
            };
            match received {
                Received::Job(message) => {
                    if let Some(permit) = permit.take() {
                        let unfit = session.unfit(channel, &message);
                        let unfit = unfit.map(|unfit| unfit.for_delivery(broker.body));
                        permit.send(Ok(delivery(shared, session, lane, *message, unfit)));
                    }
                }
                Received::Drained => {}
                Received::Failed(error) => {
                    let why = plain(&outage(format!("lane {lane}"), error));
                    return Ended::Session("lane", why);
                }
                Received::Cancelled => {
                    let why = format!(
                        "the broker has cancelled lane {lane}: its queue was deleted, or a job was \
                         held for longer than consumer_timeout"
                    );
                    return Ended::Session("cancelled", why);
                }
            }
        }
    }

    /// After a stop: keeps the session for the deliveries that were handed out, until the intake is
    /// closed.
    async fn drain(mut self, session: &Session, incoming: Incoming, stop: Option<Stop>) {
        let Incoming {
            mut urgent,
            mut bulk,
            mut connection_events,
        } = incoming;
        let mut held = Vec::new();
        for consumer in [&mut urgent, &mut bulk] {
            // A broker that doesn't answer must not use up the time that is left for the jobs in
            // hand; what it had sent goes back when the channel is closed.
            if timeout(CLOSE, consumer.drain(&mut held)).await.is_err() {
                debug!("a consumer's end was not answered");
            }
        }
        self.set_state(State::Down(STOPPED.to_owned()));
        if let Some(stop) = stop {
            answer(stop, held);
            loop {
                tokio::select! {
                    stop = self.stopping.recv() => match stop {
                        Some(stop) => answer(stop, Vec::new()),
                        None => break,
                    },
                    why = session.ended() => {
                        warn!(%why, "the connection ended before the last jobs were finished");
                        break;
                    }
                    Some(ConnectionEvent::Ended(why)) = connection_events.next() => {
                        session.end(why);
                    }
                }
            }
        }
        self.current.set(None);
        session.close().await;
    }

    /// The end without a session.
    fn finish(self, stop: Option<Stop>) {
        self.set_state(State::Down(STOPPED.to_owned()));
        if let Some(stop) = stop {
            answer(stop, Vec::new());
        }
    }

    fn set_state(&self, state: State) -> bool {
        set_state(&self.state, state)
    }
}

/// Publishes a state, if it is another one than before.
fn set_state(states: &watch::Sender<State>, state: State) -> bool {
    states.send_if_modified(|before| {
        let other = *before != state;
        *before = state;
        other
    })
}

fn answer(stop: Stop, held: Vec<Acker>) {
    // With nobody to requeue them, the broker does when the channel is closed.
    drop(stop.send(held));
}

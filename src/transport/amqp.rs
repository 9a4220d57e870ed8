//! RabbitMQ: jobs in from two lanes, events out, and the dead queue.
//!
//! Takes the settings, gives deliveries. Never acknowledges, gives back or forgets a message but
//! on the channel that it came by, and never takes anything but a plain confirm for a success. If
//! we crash here, the broker sees the connections end and delivers again what was not
//! acknowledged, counting it, so that a job that kills its workers ends in the dead queue.

mod broker;
mod client;
mod migrate;
mod properties;
mod publisher;
mod session;
mod tls;
mod topology;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::StreamExt as _;
use lapin::message::Delivery as Message;
use lapin::options::{BasicAckOptions, BasicNackOptions, BasicRejectOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Acker, BasicProperties};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::{debug, error, warn};

use self::broker::{ANSWER, Broker, CLOSE, Fault, PREPARE, PRODUCT, answered, outage, plain};
pub use self::client::Client;
pub use self::migrate::Standing;
use self::properties::{
    ATTEMPT, BURIED_AT, ERROR, ERROR_CODE, EVENT, LANE, POSTPONED, TRACEPARENT, copy, cut, header,
    number, persistent, put, short, text,
};
use self::session::{Flow, Incoming, Inlet, Session, Sign, consume};
use super::{Delivery, Lane, Reason, State, retry_wait};
use crate::config;
use crate::event::{self, Event};
use crate::problem::{Outage, Part};

/// The wait before a new session is between the first and a bound that doubles up to the last.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));
/// A session that has lived this long is no reason to wait longer than the first time.
const SETTLED: Duration = Duration::from_secs(30);
/// Why no jobs come in after [`Intake::stop`].
const STOPPED: &str = "stopped";

/// The transport's side of a delivery.
pub struct Handle {
    broker: Arc<Broker>,
    session: Arc<Session>,
    acker: Acker,
    properties: Box<BasicProperties>,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}

impl Handle {
    /// Publishes an event, and a copy to whoever `reply_to` names.
    ///
    /// # Errors
    /// When the event may not be safe.
    pub async fn publish(&self, delivery: &Delivery, event: &Event) -> Result<(), Outage> {
        let mut headers = FieldTable::default();
        // The same attributes as in the body, which the CloudEvents AMQP binding allows for
        // structured mode (3.2.3), so that a consumer can filter without reading it.
        put(&mut headers, "cloudEvents_specversion", "1.0");
        put(&mut headers, "cloudEvents_id", &event.id.to_string());
        put(&mut headers, "cloudEvents_type", event.kind.as_str());
        if let Some(subject) = event.subject.as_deref().filter(|subject| is_plain(subject)) {
            put(&mut headers, "cloudEvents_subject", subject);
        }
        if let Some(traceparent) = &delivery.traceparent {
            put(&mut headers, TRACEPARENT, traceparent);
        }
        let mut properties = persistent()
            .with_content_type(short(event::CONTENT_TYPE))
            .with_message_id(short(&event.id.to_string()))
            .with_type(short(event.kind.as_str()))
            .with_app_id(short(PRODUCT))
            .with_headers(headers);
        if let Some(correlation_id) = &delivery.correlation_id {
            properties = properties.with_correlation_id(short(correlation_id));
        }

        let exchange = self.name("events");
        let (key, body) = (&event.routing_key, &event.body);
        self.session
            .publish(&exchange, key, body, properties.clone())
            .await?;

        if let Some(reply_to) = &delivery.reply_to {
            // Never the default exchange, which reaches every queue by its name: a job must not
            // steer the worker into somebody's queue.
            let exchange = self.name("replies");
            let copied = self
                .session
                .offer(&exchange, reply_to, body, properties)
                .await;
            if let Err(outage) = copied {
                warn!(
                    error = %outage.chain(),
                    event.id = %event.id,
                    "the copy of the event that reply_to asks for was not delivered"
                );
            }
        }
        Ok(())
    }

    /// Puts the job, with the reason in headers, into the dead queue.
    ///
    /// # Errors
    /// When it may not be safe there.
    pub async fn bury(&self, delivery: &Delivery, reason: &Reason) -> Result<(), Outage> {
        let (properties, mut headers) = copy(&self.properties);
        put(&mut headers, ERROR_CODE, cut(&reason.code));
        put(&mut headers, ERROR, cut(&reason.message));
        put(&mut headers, EVENT, reason.event);
        put(&mut headers, BURIED_AT, &event::now());
        put(&mut headers, LANE, delivery.lane.as_str());
        let properties = properties.with_headers(headers);
        self.insist(&self.name("dlx"), "dead", &delivery.body, properties)
            .await
    }

    /// Acknowledges the job.
    ///
    /// # Errors
    /// When the acknowledgement may not have arrived.
    pub async fn ack(self) -> Result<(), Outage> {
        // By the delivery's own acker: a delivery tag means nothing on another channel, and
        // acknowledging one twice closes the channel (RabbitMQ, "Consumer Acknowledgements").
        match answered(
            "the acknowledgement",
            self.acker.ack(BasicAckOptions::default()),
        )
        .await
        {
            Ok(true) => Ok(()),
            Ok(false) => {
                let why = "the job's channel had ended before its acknowledgement; it comes again";
                self.session.end(why);
                Err(Outage::new(Part::Transport, why))
            }
            Err(outage) => {
                self.session.end(plain(&outage));
                Err(outage)
            }
        }
    }

    /// Sends the job to wait for its next attempt.
    ///
    /// # Errors
    /// When it may not be safe there.
    pub async fn retry(&self, delivery: &Delivery) -> Result<(), Outage> {
        let next = i64::from(delivery.attempt.saturating_add(1));
        self.wait(delivery, retry_wait(delivery.attempt).0, ATTEMPT, next)
            .await
    }

    /// Sends the job to wait, longer each time, on the same attempt. Below 4.3 giving it back
    /// would count towards the delivery limit; its copy in the retry queue begins anew.
    ///
    /// # Errors
    /// When it may not be safe there.
    pub async fn postpone(&self, delivery: &Delivery) -> Result<(), Outage> {
        let times = postponed(&self.properties).saturating_add(1);
        let (label, _) = retry_wait(u32::try_from(times).unwrap_or(u32::MAX));
        self.wait(delivery, label, POSTPONED, times).await
    }

    /// Publishes a copy into a retry queue, with one of our headers changed.
    async fn wait(
        &self,
        delivery: &Delivery,
        label: &str,
        header: &str,
        number: i64,
    ) -> Result<(), Outage> {
        let (properties, mut headers) = copy(&self.properties);
        headers.insert(header.into(), AMQPValue::LongLongInt(number));
        let exchange = self.name(&format!("retry.{label}"));
        let properties = properties.with_headers(headers);
        // The lane's key stays with the message, and brings it back to its lane.
        let key = delivery.lane.as_str();
        self.insist(&exchange, key, &delivery.body, properties)
            .await
    }

    /// Publishes a copy of the job, as often as the broker refuses it: whoever may not write holds
    /// what is in hand and so takes in no more. Given back, the job would come again at once, until
    /// its deliveries are used up and it is buried with nobody told.
    ///
    /// # Errors
    /// When the session has ended, and with it the delivery.
    async fn insist(
        &self,
        exchange: &str,
        key: &str,
        body: &[u8],
        properties: BasicProperties,
    ) -> Result<(), Outage> {
        let mut tries = 0;
        loop {
            let sent = self
                .session
                .publish(exchange, key, body, properties.clone());
            let outage = match sent.await {
                Err(outage) if self.session.is_up() => outage,
                ended => return ended,
            };
            if tries == 0 {
                warn!(error = %outage.chain(), "the job is held until the broker takes it");
            }
            tokio::select! {
                why = self.session.ended() => return Err(Outage::new(Part::Transport, why)),
                () = tokio::time::sleep(backoff(tries)) => tries += 1,
            }
        }
    }

    /// Gives the job back untouched. From 4.3 that is not counted as a delivery; before it is.
    pub async fn release(self) {
        give_back(&self.acker).await;
    }

    fn name(&self, rest: &str) -> String {
        self.broker.topology.name(rest)
    }
}

/// A job that was dropped (its task panicked or was cut off, or its end could not be told) is
/// rejected, which every version counts towards the delivery limit: it may be the job's doing.
impl Drop for Handle {
    fn drop(&mut self) {
        if self.acker.usable() {
            // The first poll hands the rejection to lapin's own task; there is nothing to wait for.
            let options = BasicRejectOptions { requeue: true };
            drop(self.acker.reject(options).now_or_never());
        }
    }
}

/// Gives a delivery back, and waits until that is written.
async fn give_back(acker: &Acker) {
    let options = BasicNackOptions {
        requeue: true,
        multiple: false,
    };
    match timeout(ANSWER, acker.nack(options)).await {
        Ok(Ok(true)) => {}
        // The channel has ended, and with it the broker has the job back already.
        ended => debug!(?ended, "a job could not be given back by hand"),
    }
}

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

/// A wish to take in no more, answered with what was not handed out.
type Stop = oneshot::Sender<Vec<Acker>>;

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
    /// Starts to connect, in the background.
    ///
    /// # Errors
    /// When the address is none.
    pub async fn open(settings: &config::Queue, prefetch: u16) -> Result<Intake, Outage> {
        let broker = Arc::new(Broker::new(settings)?);
        let (deliver, deliveries) = mpsc::channel(1);
        let (stops, stopping) = mpsc::channel(1);
        let (pause, paused) = watch::channel(None);
        let (say, state) = watch::channel(State::Down(format!("connecting to {broker}")));
        let current = Current::default();
        let supervisor = Supervisor {
            broker: Arc::clone(&broker),
            prefetch,
            deliver,
            stopping,
            paused,
            state: say,
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
                Some(Ok(delivery)) if !is_live(&delivery) => {}
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
            Some(session) => session.count(self.broker.topology.waiting()).await,
            None => {
                let why = match &*self.state.borrow() {
                    State::Down(why) => why.clone(),
                    State::Up => "the connection is being made".to_owned(),
                };
                Err(Outage::new(Part::Transport, why))
            }
        }
    }

    /// Whether jobs can come in, as it changes.
    pub fn state(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    /// Cancels the consumers, or registers them again.
    pub fn pause(&self, why: Option<String>) {
        self.pause.send_replace(why);
    }

    /// Cancels the consumers and gives back what was not handed out. Deliveries that were stay
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
            give_back(acker).await;
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

fn is_live(delivery: &Delivery) -> bool {
    match &delivery.handle {
        super::Handle::Amqp(handle) => handle.session.is_up() && handle.acker.usable(),
        super::Handle::Spool(_) => true,
    }
}

/// Keeps a session: builds one, feeds deliveries from it, and builds the next when it ends.
struct Supervisor {
    broker: Arc<Broker>,
    prefetch: u16,
    deliver: mpsc::Sender<Result<Delivery, Outage>>,
    stopping: mpsc::Receiver<Stop>,
    paused: watch::Receiver<Option<String>>,
    state: watch::Sender<State>,
    current: Current,
}

/// How the feeding from a session ends.
enum Ended {
    /// The session is over, and why.
    Session(String),
    /// The intake wants no more. `None` when it is gone altogether.
    Intake(Option<Stop>),
}

impl Supervisor {
    async fn run(mut self) {
        let mut ever_up = false;
        let mut tries = 0;
        loop {
            let paused = self.paused.borrow().is_some();
            let opened = tokio::select! {
                biased;
                stop = self.stopping.recv() => return self.finish(stop),
                opened = Session::open(&self.broker, self.prefetch, paused) => opened,
            };
            match opened {
                Ok((session, mut incoming)) => {
                    ever_up = true;
                    let session = Arc::new(session);
                    let since = Instant::now();
                    self.current.set(Some(Arc::clone(&session)));
                    let ended = self.feed(&session, &mut incoming).await;
                    let why = match ended {
                        Ended::Session(why) => why,
                        Ended::Intake(stop) => return self.wind_up(&session, incoming, stop).await,
                    };
                    session.end(why.as_str());
                    self.current.set(None);
                    self.say(State::Down(why));
                    session.close().await;
                    if since.elapsed() > SETTLED {
                        tries = 0;
                    }
                }
                Err(Fault::Lasting(outage)) if !ever_up => {
                    self.say(State::Down(plain(&outage)));
                    // An intake that is gone wants no answer.
                    drop(self.deliver.send(Err(outage)).await);
                    return;
                }
                Err(fault) => {
                    let lasting = matches!(fault, Fault::Lasting(_));
                    let why = plain(&Outage::from(fault));
                    if self.say(State::Down(why.clone())) && lasting {
                        error!(%why, "the broker needs somebody's hand; trying on");
                    }
                }
            }
            tokio::select! {
                biased;
                stop = self.stopping.recv() => return self.finish(stop),
                () = tokio::time::sleep(backoff(tries)) => tries += 1,
            }
        }
    }

    /// Hands out deliveries, the urgent ones first, until the session or the intake ends.
    async fn feed(&mut self, session: &Arc<Session>, incoming: &mut Incoming) -> Ended {
        let Supervisor {
            broker,
            deliver,
            stopping,
            paused,
            state,
            ..
        } = self;
        let mut blocked = None;
        let mut place = None;
        loop {
            let pause = paused.borrow_and_update().clone();
            if incoming.is_to_change(pause.is_some()) {
                let changed = tokio::select! {
                    biased;
                    stop = stopping.recv() => return Ended::Intake(stop),
                    why = session.ended() => return Ended::Session(why),
                    changed = regulate(broker, incoming, pause.is_some()) => changed,
                };
                if let Err(outage) = changed {
                    return Ended::Session(plain(&outage));
                }
            }
            say(
                state,
                match pause.or_else(|| blocked.clone()) {
                    Some(why) => State::Down(why),
                    None => State::Up,
                },
            );
            let Incoming {
                urgent,
                bulk,
                signs,
            } = &mut *incoming;
            // biased: in this order, so that a stop is heard and the urgent lane wins. A place is
            // had before a delivery is taken, so that no more than one is ever between.
            let (inlet, next) = tokio::select! {
                biased;
                stop = stopping.recv() => return Ended::Intake(stop),
                why = session.ended() => return Ended::Session(why),
                changed = paused.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return Ended::Intake(None),
                },
                sign = signs.next() => match sign {
                    Some(Sign::Blocked(why)) => {
                        blocked = Some(format!("the broker takes no messages: {why}"));
                        continue;
                    }
                    Some(Sign::Unblocked) => {
                        blocked = None;
                        continue;
                    }
                    Some(Sign::Ended(why)) => return Ended::Session(why),
                    None => return Ended::Session("the connection has ended".to_owned()),
                },
                reserved = deliver.reserve(), if place.is_none() => match reserved {
                    Ok(reserved) => {
                        place = Some(reserved);
                        continue;
                    }
                    Err(_) => return Ended::Intake(None),
                },
                next = urgent.next(), if place.is_some() => (urgent, next),
                next = bulk.next(), if place.is_some() => (bulk, next),
            };
            let lane = inlet.lane;
            match next {
                Some(Ok(message)) => {
                    if let Some(place) = place.take() {
                        place.send(Ok(delivery(broker, session, lane, message)));
                    }
                }
                Some(Err(error)) => {
                    return Ended::Session(plain(&outage(format!("lane {lane}"), error)));
                }
                None if matches!(inlet.flow, Flow::Ebbing(_)) => inlet.flow = Flow::Shut,
                // The broker cancels a consumer when its queue is deleted or, from 4.3, when a
                // job was held for too long (RabbitMQ, "Consumers", "Consumer Cancellation").
                None => {
                    return Ended::Session(format!(
                        "the broker has cancelled lane {lane}: its queue was deleted, or a job was \
                         held for longer than consumer_timeout"
                    ));
                }
            }
        }
    }

    /// After a stop: keeps the session for the deliveries that were handed out, until the intake is
    /// closed.
    async fn wind_up(mut self, session: &Session, incoming: Incoming, stop: Option<Stop>) {
        let Incoming {
            mut urgent,
            mut bulk,
            mut signs,
        } = incoming;
        let mut held = Vec::new();
        for inlet in [&mut urgent, &mut bulk] {
            // A broker that doesn't answer must not use up the time that is left for the jobs in
            // hand; what it had sent goes back when the channel is closed.
            if timeout(CLOSE, dam(inlet, &mut held)).await.is_err() {
                debug!("a consumer's end was not answered");
            }
        }
        self.say(State::Down(STOPPED.to_owned()));
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
                    Some(Sign::Ended(why)) = signs.next() => session.end(why),
                }
            }
        }
        self.current.set(None);
        session.close().await;
    }

    /// The end without a session.
    fn finish(self, stop: Option<Stop>) {
        self.say(State::Down(STOPPED.to_owned()));
        if let Some(stop) = stop {
            answer(stop, Vec::new());
        }
    }

    fn say(&self, state: State) -> bool {
        say(&self.state, state)
    }
}

/// Says a state, if it is another one than before.
fn say(states: &watch::Sender<State>, state: State) -> bool {
    states.send_if_modified(|before| {
        let other = *before != state;
        *before = state;
        other
    })
}

fn answer(stop: Stop, held: Vec<Acker>) {
    // With nobody to give them back by hand, they go back when the channel is closed.
    drop(stop.send(held));
}

/// Cancels or registers both consumers, as far as they are not yet.
async fn regulate(broker: &Broker, incoming: &mut Incoming, paused: bool) -> Result<(), Outage> {
    for inlet in [&mut incoming.urgent, &mut incoming.bulk] {
        if paused {
            inlet.shut().await?;
        } else {
            match timeout(PREPARE, consume(broker, inlet)).await {
                Ok(consuming) => consuming?,
                Err(_) => return Err(broker.silent("consumers")),
            }
        }
    }
    Ok(())
}

/// Cancels a consumer and collects what lapin holds of it.
async fn dam(inlet: &mut Inlet, held: &mut Vec<Acker>) {
    if let Err(outage) = inlet.shut().await {
        debug!(lane = %inlet.lane, error = %outage.chain(), "a consumer could not be cancelled");
        return;
    }
    // What came in before the answer is in the stream, and then its end.
    while let Flow::Ebbing(consumer) = &mut inlet.flow
        && let Some(Ok(message)) = consumer.next().await
    {
        held.push(message.acker);
    }
}

/// A wait before the next try, drawn from the whole range so that workers which lost their broker
/// together don't come back together.
fn backoff(tries: u32) -> Duration {
    let (first, last) = BACKOFF;
    let bound = first
        .saturating_mul(2_u32.saturating_pow(tries.saturating_add(1)))
        .min(last);
    first + bound.saturating_sub(first).mul_f64(rand::random::<f64>())
}

/// A delivery, from lapin's.
fn delivery(
    broker: &Arc<Broker>,
    session: &Arc<Session>,
    lane: Lane,
    message: Message,
) -> Delivery {
    let Message {
        data,
        properties,
        acker,
        redelivered,
        ..
    } = message;
    let number = |name| header(&properties, name).and_then(number);
    let attempt = number(ATTEMPT).unwrap_or(1).clamp(1, i64::from(u32::MAX));
    // Missing on a first delivery from 4.0 on.
    let delivered = number("x-delivery-count").unwrap_or(0);
    let own = |text: &Option<ShortString>| text.as_ref().map(ShortString::to_string);
    let waited = attempt > 1 || postponed(&properties) > 0;
    Delivery {
        body: data,
        lane,
        redelivered: redelivered || delivered > 0 || waited,
        attempt: u32::try_from(attempt).unwrap_or(u32::MAX),
        message_id: own(properties.message_id()),
        correlation_id: own(properties.correlation_id()),
        reply_to: own(properties.reply_to()),
        traceparent: header(&properties, TRACEPARENT).and_then(text),
        handle: super::Handle::Amqp(Handle {
            broker: Arc::clone(broker),
            session: Arc::clone(session),
            acker,
            properties: Box::new(properties),
        }),
    }
}

/// How often a job was sent to wait without using up an attempt.
fn postponed(properties: &BasicProperties) -> i64 {
    let times = header(properties, POSTPONED).and_then(number);
    times.unwrap_or(0).max(0)
}

/// Whether a subject can stand in a header as it is: a `job_id` that was read, but is none, can
/// be anything.
fn is_plain(subject: &str) -> bool {
    (1..=128).contains(&subject.len())
        && subject
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_for_the_broker_grow_to_a_bound_and_differ() {
        let (first, last) = BACKOFF;
        let longest = |tries| {
            let waits: Vec<_> = (0..500).map(|_| backoff(tries)).collect();
            assert!(waits.iter().all(|wait| (first..=last).contains(wait)));
            let (least, most) = (waits.iter().min(), waits.iter().max());
            let (least, most) = (*least.expect("some"), *most.expect("some"));
            assert!(most - least > first / 2, "workers come back together");
            most
        };
        assert!(longest(0) < longest(3) && longest(3) < longest(u32::MAX));
    }
}

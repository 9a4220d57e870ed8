//! The guard beneath the client library: a stream of our own, above TCP and TLS.
//!
//! Takes the broker's bytes, gives the library those that it can read. lapin goes down a level of
//! its thread's stack for each level of a header, ends the connection over a name that is not
//! UTF-8 or a frame that is too large, and collects a body whole before anybody sees its size: any
//! sender could end the process, or the connection with all jobs that it holds. What the
//! [`scanner`] found wrong with a message waits here for whoever takes its delivery, under the
//! channel and the tag that the broker gave, which no sender can write. Never changes what we
//! write, or a message in which nothing is wrong. If we crash here, the broker delivers again what
//! was not acknowledged.

mod header;
#[cfg(test)]
mod oracle;
mod scanner;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use async_rs::traits::Reactor;
use async_rs::util::RuntimeParts;
use async_rs::{Runtime, Tokio};
use futures_io::{AsyncRead, AsyncWrite};
use futures_util::Stream;
use lapin::protocol::connection::AMQPMethod as Method;
use lapin::protocol::{AMQPClass, parse_class};
use lapin::tcp::{AMQPUriTcpExt as _, AsyncTcpStream, OwnedTLSConfig};
use lapin::types::AMQPValue;
use lapin::uri::AMQPUri;
use lapin::{Connection, ConnectionProperties};

use self::header::{DEPTH, Fault, Limits, Owner, Place};
use self::scanner::{Broken, Found, Scanner};
use super::properties::{is_ours, is_the_brokers};
use crate::job;
use crate::problem::{Code, Problem};
use crate::telemetry::trace::{TRACEPARENT, TRACESTATE};
use crate::transport;

pub(super) use self::scanner::Unfit;

/// What we ask for, and the default of RabbitMQ. lapin has room for 32 frames in each direction, so
/// that a broker without a limit must not be taken at its word.
const FRAME_MAX: u32 = 131_072;

/// Bytes that are read at once.
const READ: usize = 64 * 1024;

/// Messages that are unfit and were not taken yet, at most: more than two lanes can hold.
const MOST: usize = 2 << 16;

/// What was found on one connection and was not taken yet; and what the broker says it is.
#[derive(Debug, Clone, Default)]
pub(super) struct Findings(
    Arc<Mutex<BTreeMap<(u16, u64), Unfit>>>,
    Arc<OnceLock<Server>>,
);

/// What a broker says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// `RabbitMQ`.
    pub product: String,
    /// As `3.10.8`.
    pub version: String,
}

impl Server {
    /// From the first frame that the library gets, without its head: `connection.start`.
    fn of(frame: &[u8]) -> Option<Server> {
        let Ok((_, AMQPClass::Connection(Method::Start(start)))) = parse_class(frame) else {
            return None;
        };
        let text = |name: &str| match start.server_properties.inner().get(name) {
            Some(AMQPValue::LongString(text)) => text.to_string(),
            _ => "unknown".to_owned(),
        };
        Some(Server {
            product: text("product"),
            version: text("version"),
        })
    }
}

impl Findings {
    /// What the broker says of itself, if it does.
    pub(super) fn server(&self) -> Option<&Server> {
        self.1.get()
    }

    /// What is wrong with a delivery, if anything is. It is handed out once.
    pub(super) fn take(&self, channel: u16, tag: u64) -> Option<Unfit> {
        let mut findings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        findings.remove(&(channel, tag))
    }

    fn note(&self, found: Found) -> Result<(), Broken> {
        let mut findings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match found {
            Found::Opened { channel } => findings.retain(|(other, _), _| *other != channel),
            // An unfit message must not pass for a fit one, so nothing is forgotten here.
            Found::Unfit { .. } if findings.len() >= MOST => {
                return Err(Broken("it sends more unfit messages than were asked for"));
            }
            Found::Unfit {
                channel,
                tag,
                message,
            } => {
                findings.insert((channel, tag), message);
            }
        }
        Ok(())
    }
}

/// Connects as lapin does, with the guard in between. Bodies of more than `body` bytes are not
/// held.
pub(super) async fn connect(
    mut uri: AMQPUri,
    properties: ConnectionProperties,
    tls: OwnedTLSConfig,
    body: usize,
) -> lapin::Result<(Connection, Findings)> {
    let frame_max = *uri.query.frame_max.get_or_insert(FRAME_MAX);
    let limits = Limits {
        // lapin takes 0 for the broker's choice.
        frame_max: if frame_max == 0 { FRAME_MAX } else { frame_max } as usize,
        owner,
    };
    let tokio = Runtime::new(Tokio::current());
    let runtime = RuntimeParts::new(Tokio::current(), Guarding(Tokio::current()));
    let findings = Findings::default();
    let kept = findings.clone();
    let connection = Connection::connector(
        uri,
        Runtime::new(runtime),
        async move |uri, _| {
            let stream = uri.connect_with_config_async(tls.as_ref(), &tokio).await?;
            let scanner = Scanner::new(limits, body as u64);
            Ok(AsyncTcpStream::Plain(Guarded {
                stream,
                scanner,
                findings: kept.clone(),
                input: vec![0; READ].into(),
                start: 0,
                end: 0,
                broken: None,
                greeting: Some(Vec::new()),
            }))
        },
        properties,
    );
    Ok((connection.await?, findings))
}

/// Whose a header is.
fn owner(name: &str) -> Owner {
    if is_the_brokers(name) {
        Owner::Broker
    } else if is_ours(name) || [TRACEPARENT, TRACESTATE].contains(&name) {
        Owner::Own
    } else {
        Owner::Sender
    }
}

impl Unfit {
    /// The same for whoever takes the delivery.
    pub(super) fn for_delivery(self, limit: usize) -> transport::Unfit {
        transport::Unfit {
            problems: self.problems(limit),
            dropped: self.dropped.map(|(sha256, _)| sha256),
        }
    }

    /// A problem for each fault, in the words of who sends jobs. `limit` is what a job may have.
    pub(super) fn problems(&self, limit: usize) -> Vec<Problem> {
        let mut problems: Vec<_> = self.faults.iter().map(|it| problem(it, limit)).collect();
        problems.dedup();
        problems
    }
}

/// The problem that a fault is to a sender.
fn problem(fault: &Fault, limit: usize) -> Problem {
    let (en, zh) = match fault {
        Fault::NotUtf8 { place, bytes } => {
            let bytes: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let bytes = bytes.join(" ");
            let (en, zh) = words(place);
            (
                format!("{en} is not UTF-8 (its bytes begin with {bytes}); send UTF-8"),
                format!("{zh}不是UTF-8编码（开头字节为{bytes}），请用UTF-8发送"),
            )
        }
        Fault::TooDeep { header } => (
            format!(
                "the header {header:?} is nested deeper than {DEPTH} tables and arrays; send it \
                 flat, or as one string"
            ),
            format!("消息头{header:?}嵌套超过{DEPTH}层，请展开或改为一个字符串"),
        ),
        Fault::Malformed { place } => {
            let (en, zh) = words(place);
            (
                format!("{en} cannot be read, for its lengths or types are wrong; leave it out"),
                format!("{zh}的长度或类型有误，无法读取，请去掉"),
            )
        }
        Fault::HeaderTooLarge { bytes, limit } => {
            let problem = Problem::new(
                Code::JSON,
                "",
                format!(
                    "properties and headers of the message take {bytes} bytes; this service takes \
                     {limit} (half a frame of the broker): leave out what is large"
                ),
                format!(
                    "消息的属性和消息头共{bytes}字节，超过上限{limit}字节（一帧的一半），请去掉较大的消息头"
                ),
            );
            return problem.with(limit, bytes);
        }
        Fault::BodyTooLarge { bytes, .. } => return job::too_large(*bytes, limit),
    };
    Problem::new(Code::JSON, "", en, zh)
}

/// A place in the words of English and Chinese.
fn words(place: &Place) -> (String, String) {
    match place {
        Place::Property("headers") => (
            "the table of headers".to_owned(),
            "消息头（headers）".to_owned(),
        ),
        Place::Property(name) => (format!("the message's {name}"), format!("消息的{name}")),
        Place::Header(name) => (
            format!("a name in the header {name:?}"),
            format!("消息头{name:?}中的名称"),
        ),
    }
}

/// A stream that lapin reads by the scanner, and writes as it is.
#[derive(Debug)]
struct Guarded<S> {
    stream: S,
    scanner: Scanner,
    findings: Findings,
    /// What was read and is not scanned yet stands between `start` and `end`.
    input: Box<[u8]>,
    start: usize,
    end: usize,
    broken: Option<Broken>,
    /// The first frame as far as it was read; none once it is whole.
    greeting: Option<Vec<u8>>,
}

impl<S> Guarded<S> {
    /// Keeps what the first frame says of the broker.
    fn greet(greeting: &mut Option<Vec<u8>>, findings: &Findings, bytes: &[u8]) {
        let Some(frame) = greeting else { return };
        frame.extend_from_slice(bytes);
        // Type, channel, length; the content; the end.
        let Some((&[_, _, _, a, b, c, d], content)) = frame.split_first_chunk() else {
            return;
        };
        if content.len() <= u32::from_be_bytes([a, b, c, d]) as usize {
            return;
        }
        if let Some(server) = Server::of(content) {
            findings.1.get_or_init(|| server);
        }
        *greeting = None;
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        output: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let Guarded {
            stream,
            scanner,
            findings,
            input,
            start,
            end,
            broken,
            greeting,
        } = self.get_mut();
        loop {
            if let Some(Broken(why)) = broken {
                let why = format!("the broker's answer cannot be read: {why}");
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, why)));
            }
            let mut too_many = None;
            let mut note = |found| too_many = too_many.or(findings.note(found).err());
            match scanner.scan(&input[*start..*end], output, &mut note) {
                Ok(progress) => {
                    *start += progress.read;
                    *broken = too_many;
                    if progress.written > 0 || output.is_empty() {
                        Self::greet(greeting, findings, &output[..progress.written]);
                        return Poll::Ready(Ok(progress.written));
                    }
                }
                Err(why) => *broken = Some(why),
            }
            if broken.is_none() {
                // Nothing was written where there was room, so that everything was read.
                let count = ready!(Pin::new(&mut *stream).poll_read(cx, input))?;
                if count == 0 {
                    return Poll::Ready(Ok(0));
                }
                (*start, *end) = (0, count);
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}

/// tokio's reactor, but for the type of its streams: lapin takes that of the runtime.
#[derive(Debug, Clone)]
struct Guarding(Tokio);

impl Reactor for Guarding {
    type TcpStream = Guarded<AsyncTcpStream<<Tokio as Reactor>::TcpStream>>;
    type Sleep = <Tokio as Reactor>::Sleep;

    fn register<H: io::Read + io::Write + Send + 'static>(
        &self,
        _: H,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
        Err::<Self::TcpStream, _>(unguarded())
    }

    fn sleep(&self, time: Duration) -> Self::Sleep {
        self.0.sleep(time)
    }

    fn interval(&self, time: Duration) -> impl Stream<Item = Instant> + Send + 'static {
        self.0.interval(time)
    }

    fn tcp_connect_addr(
        &self,
        _: SocketAddr,
    ) -> impl Future<Output = io::Result<Self::TcpStream>> + Send + 'static {
        std::future::ready(Err(unguarded()))
    }
}

/// [`connect`] makes the streams, with what each is held to.
fn unguarded() -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        "the guard connects by itself, and no other way",
    )
}

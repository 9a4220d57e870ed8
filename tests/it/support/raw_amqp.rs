//! A sender that writes AMQP 0-9-1 by hand, for messages that no client library sends: names that
//! are not UTF-8, headers nested without end, headers that fill a frame.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// A connection with one channel in confirm mode.
pub struct RawAmqp {
    stream: TcpStream,
    /// What the broker lets a frame take.
    pub frame_max: usize,
}

/// The properties of a message, byte for byte.
#[derive(Debug, Clone, Default)]
pub struct RawProperties {
    /// Flag and content of each, put into their order when they are written.
    fields: Vec<(u16, Vec<u8>)>,
    headers: Vec<u8>,
}

/// A message of a queue, byte for byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawMessage {
    /// Flags and properties, as they stand in the content header.
    pub properties: Vec<u8>,
    /// The body.
    pub body: Vec<u8>,
}

/// What the broker says of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is safe.
    Confirmed,
    /// A queue is full.
    Refused,
    /// No queue is bound for it.
    Returned,
    /// The channel, or the connection, is closed with these words.
    Closed(String),
}

const CONTENT_TYPE: u16 = 0x8000;
const HEADERS: u16 = 0x2000;
const DELIVERY_MODE: u16 = 0x1000;
const CORRELATION_ID: u16 = 0x0400;
const MESSAGE_ID: u16 = 0x0080;

impl RawProperties {
    /// Those of a job: persistent JSON.
    pub fn json() -> Self {
        let fields = vec![
            (CONTENT_TYPE, short(b"application/json")),
            (DELIVERY_MODE, vec![2]),
        ];
        RawProperties {
            fields,
            headers: Vec::new(),
        }
    }

    /// `message_id`, at most 255 bytes of anything.
    pub fn message_id(mut self, id: &[u8]) -> Self {
        self.fields.push((MESSAGE_ID, short(id)));
        self
    }

    /// `correlation_id`, at most 255 bytes of anything.
    pub fn correlation_id(mut self, id: &[u8]) -> Self {
        self.fields.push((CORRELATION_ID, short(id)));
        self
    }

    /// A header of any name with any bytes for a value, its type first.
    pub fn header(mut self, name: &[u8], value: &[u8]) -> Self {
        self.headers.extend(short(name));
        self.headers.extend(value);
        self
    }

    /// A header with a text.
    pub fn text(self, name: &[u8], text: &[u8]) -> Self {
        self.header(name, &[b"S".to_vec(), long(text)].concat())
    }

    /// A header that is arrays inside each other, so many.
    pub fn nested(self, name: &[u8], levels: usize) -> Self {
        // From the outermost, which has all others inside.
        let inside = |level: usize| u32::try_from(5 * (levels - 1 - level)).expect("it fits");
        let levels = (0..levels).flat_map(|level| {
            let length = inside(level).to_be_bytes();
            [b'A', length[0], length[1], length[2], length[3]]
        });
        self.header(name, &levels.collect::<Vec<u8>>())
    }

    /// Flags and fields, as they stand in a content header.
    fn bytes(&self) -> Vec<u8> {
        let mut fields = self.fields.clone();
        if !self.headers.is_empty() {
            fields.push((HEADERS, long(&self.headers)));
        }
        fields.sort_by_key(|(flag, _)| std::cmp::Reverse(*flag));
        let flags = fields.iter().fold(0, |flags, (flag, _)| flags | flag);
        let mut bytes = flags.to_be_bytes().to_vec();
        bytes.extend(fields.into_iter().flat_map(|(_, field)| field));
        bytes
    }
}

impl RawAmqp {
    /// Connects to `amqp://user:password@host:port/vhost`.
    pub fn connect(url: &str) -> RawAmqp {
        let rest = url.strip_prefix("amqp://").expect("amqp://");
        let (user, rest) = rest.split_once('@').expect("a user");
        let (user, password) = user.split_once(':').expect("a password");
        let (address, vhost) = rest.split_once('/').expect("a virtual host");
        let vhost = vhost.replace("%2f", "/").replace("%2F", "/");
        let stream = TcpStream::connect(address).expect("the broker is there");
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .expect("a time-out");
        let mut raw = RawAmqp {
            stream,
            frame_max: 4096,
        };
        raw.write(b"AMQP\0\0\x09\x01");
        raw.expect(10, 10);
        let login = format!("\0{user}\0{password}");
        let start_ok = [
            long(b""),
            short(b"PLAIN"),
            long(login.as_bytes()),
            short(b"en_US"),
        ];
        raw.method(0, 10, 11, &start_ok.concat());
        let tune = raw.expect(10, 30);
        let frame_max = u32::from_be_bytes([tune[2], tune[3], tune[4], tune[5]]);
        raw.frame_max = frame_max as usize;
        // As the broker has it, but without heartbeats.
        raw.method(0, 10, 31, &[&tune[..6], &[0, 0]].concat());
        raw.method(0, 10, 40, &[short(vhost.as_bytes()), vec![0, 0]].concat());
        raw.expect(10, 41);
        raw.method(1, 20, 10, &[0]);
        raw.expect(20, 11);
        raw.method(1, 85, 10, &[0]);
        raw.expect(85, 11);
        raw
    }

    /// Publishes, mandatory, and waits for what the broker says.
    pub fn publish(
        &mut self,
        exchange: &str,
        key: &[u8],
        properties: &RawProperties,
        body: &[u8],
    ) -> Answer {
        let publish = [
            vec![0, 0],
            short(exchange.as_bytes()),
            short(key),
            vec![1], // mandatory
        ];
        self.method(1, 60, 40, &publish.concat());
        let header = [
            &60_u16.to_be_bytes()[..],
            &[0, 0],
            &(body.len() as u64).to_be_bytes(),
            &properties.bytes(),
        ];
        self.frame(2, 1, &header.concat());
        for piece in body.chunks(self.frame_max - 8) {
            self.frame(3, 1, piece);
        }
        let mut returned = false;
        loop {
            let (kind, payload) = self.read();
            let id = match kind {
                1 => (payload[1], payload[3]),
                _ => continue, // a returned message, or a heartbeat
            };
            match id {
                (60, 50) => returned = true,
                (60, 80) if returned => return Answer::Returned,
                (60, 80) => return Answer::Confirmed,
                (60, 120) => return Answer::Refused,
                (20, 40) | (10, 50) => {
                    let text = &payload[7..7 + usize::from(payload[6])];
                    return Answer::Closed(String::from_utf8_lossy(text).into_owned());
                }
                _ => {}
            }
        }
    }

    /// Takes the next message out of a queue.
    pub fn get(&mut self, queue: &str) -> Option<RawMessage> {
        // no_ack
        let get = [vec![0, 0], short(queue.as_bytes()), vec![1]];
        self.method(1, 60, 70, &get.concat());
        let (_, got) = self.read();
        assert_eq!(got[1], 60, "an answer of the class basic");
        if got[3] == 72 {
            return None;
        }
        let (_, header) = self.read();
        let size = u64::from_be_bytes(header[4..12].try_into().expect("eight bytes"));
        let mut body = Vec::new();
        while (body.len() as u64) < size {
            body.extend(self.read().1);
        }
        Some(RawMessage {
            properties: header[12..].to_vec(),
            body,
        })
    }

    /// Waits for a method, and gives its arguments.
    fn expect(&mut self, class: u8, method: u8) -> Vec<u8> {
        loop {
            let (kind, payload) = self.read();
            if kind == 8 {
                continue;
            }
            assert_eq!((kind, payload[1], payload[3]), (1, class, method));
            return payload[4..].to_vec();
        }
    }

    fn read(&mut self) -> (u8, Vec<u8>) {
        let mut head = [0; 7];
        self.stream.read_exact(&mut head).expect("a frame's head");
        let size = u32::from_be_bytes([head[3], head[4], head[5], head[6]]);
        let mut payload = vec![0; size as usize + 1];
        self.stream.read_exact(&mut payload).expect("a frame");
        assert_eq!(payload.pop(), Some(0xCE), "a frame's end");
        (head[0], payload)
    }

    fn method(&mut self, channel: u16, class: u16, method: u16, arguments: &[u8]) {
        let id = [class.to_be_bytes(), method.to_be_bytes()].concat();
        self.frame(1, channel, &[&id, arguments].concat());
    }

    fn frame(&mut self, kind: u8, channel: u16, payload: &[u8]) {
        let mut head = vec![kind];
        head.extend(channel.to_be_bytes());
        head.extend(u32::try_from(payload.len()).expect("it fits").to_be_bytes());
        self.write(&head);
        self.write(payload);
        self.write(&[0xCE]);
    }

    fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the broker reads");
    }
}

fn short(text: &[u8]) -> Vec<u8> {
    let length = u8::try_from(text.len()).expect("at most 255 bytes");
    [&[length], text].concat()
}

fn long(text: &[u8]) -> Vec<u8> {
    let length = u32::try_from(text.len()).expect("it fits");
    [&length.to_be_bytes(), text].concat()
}

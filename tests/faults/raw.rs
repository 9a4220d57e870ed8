//! AMQP 0-9-1 by hand, for messages that no library sends or reads: frames over a socket, what is
//! in them left as it is. It blocks; whoever is async gives it a thread.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use banshi::digest::sha256;

use crate::node::ANSWER;

/// The most that a frame of ours may have, as RabbitMQ proposes.
pub const FRAME_MAX: usize = 131_072;
/// What a frame has around its payload.
const AROUND: usize = 8;
const CHANNEL: u16 = 1;
const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const HEARTBEAT: u8 = 8;
const END: u8 = 0xCE;

/// Classes and methods, as the specification numbers them.
const START: (u16, u16) = (10, 10);
const START_OK: (u16, u16) = (10, 11);
const TUNE: (u16, u16) = (10, 30);
const TUNE_OK: (u16, u16) = (10, 31);
const OPEN: (u16, u16) = (10, 40);
const OPEN_OK: (u16, u16) = (10, 41);
const CHANNEL_OPEN: (u16, u16) = (20, 10);
const CHANNEL_OPEN_OK: (u16, u16) = (20, 11);
const SELECT: (u16, u16) = (85, 10);
const SELECT_OK: (u16, u16) = (85, 11);
const PUBLISH: (u16, u16) = (60, 40);
const ACK: (u16, u16) = (60, 80);
const NACK: (u16, u16) = (60, 120);
const GET: (u16, u16) = (60, 70);
const GET_OK: (u16, u16) = (60, 71);
const GET_EMPTY: (u16, u16) = (60, 72);

/// The properties of a message that are sent here, as bytes.
#[derive(Debug, Clone, Default)]
pub struct Properties {
    /// The fields of the table, without its length.
    pub headers: Vec<u8>,
    pub correlation_id: Option<Vec<u8>>,
    pub message_id: Option<Vec<u8>>,
}

impl Properties {
    fn bytes(&self) -> Vec<u8> {
        const HEADERS: u16 = 1 << 13;
        const DELIVERY_MODE: u16 = 1 << 12;
        const CORRELATION_ID: u16 = 1 << 10;
        const MESSAGE_ID: u16 = 1 << 7;
        let mut flags = HEADERS | DELIVERY_MODE;
        flags |= u16::from(self.correlation_id.is_some()) * CORRELATION_ID;
        flags |= u16::from(self.message_id.is_some()) * MESSAGE_ID;
        let mut bytes = flags.to_be_bytes().to_vec();
        long_string(&mut bytes, &self.headers);
        bytes.push(2);
        for id in [&self.correlation_id, &self.message_id]
            .into_iter()
            .flatten()
        {
            short_string(&mut bytes, id);
        }
        bytes
    }
}

/// A field of a table that is a long string.
pub fn text_field(name: &[u8], text: &[u8]) -> Vec<u8> {
    let mut field = Vec::new();
    short_string(&mut field, name);
    field.push(b'S');
    long_string(&mut field, text);
    field
}

/// A field that is an array in an array, so many times.
pub fn nested_field(name: &[u8], levels: usize) -> Vec<u8> {
    // The innermost is empty; each has five bytes before what is in it.
    let mut field = Vec::new();
    short_string(&mut field, name);
    for level in (0..levels).rev() {
        field.push(b'A');
        let inside = u32::try_from(5 * level).expect("it fits a frame");
        field.extend(inside.to_be_bytes());
    }
    field
}

/// A message that was got.
#[derive(Debug)]
pub struct Got {
    /// The digest of its body.
    pub sha256: String,
    properties: Vec<u8>,
}

impl Got {
    /// A header that is text, if it is there.
    pub fn header(&self, name: &str) -> Option<String> {
        let mut reader = Reader(&self.properties);
        let flags = reader.u16()?;
        for flag in [1 << 15, 1 << 14] {
            if flags & flag != 0 {
                reader.short()?;
            }
        }
        if flags & (1 << 13) == 0 {
            return None;
        }
        let mut table = Reader(reader.long()?);
        while !table.0.is_empty() {
            let found = table.short()?;
            let (kind, value) = table.value()?;
            if found == name.as_bytes() && kind == b'S' {
                return Some(String::from_utf8_lossy(&value[4..]).into_owned());
            }
        }
        None
    }
}

/// A connection with one channel, on which publishes are confirmed.
pub struct Raw {
    socket: TcpStream,
}

impl Raw {
    /// To a port of this machine, as guest.
    pub fn connect(port: u16) -> Raw {
        let socket = TcpStream::connect(("127.0.0.1", port)).expect("a broker");
        // A body of 100 MB takes its time.
        let patience = Some(6 * ANSWER);
        socket.set_read_timeout(patience).expect("a socket");
        socket.set_write_timeout(patience).expect("a socket");
        let mut raw = Raw { socket };
        raw.socket
            .write_all(b"AMQP\x00\x00\x09\x01")
            .expect("a broker");
        raw.expect(START);
        let mut login = 0u32.to_be_bytes().to_vec();
        short_string(&mut login, b"PLAIN");
        long_string(&mut login, b"\0guest\0guest");
        short_string(&mut login, b"en_US");
        raw.method(0, START_OK, &login);
        raw.expect(TUNE);
        let mut tuned = CHANNEL.to_be_bytes().to_vec();
        let frame_max = u32::try_from(FRAME_MAX).expect("it is small");
        tuned.extend(frame_max.to_be_bytes());
        tuned.extend(0u16.to_be_bytes());
        raw.method(0, TUNE_OK, &tuned);
        raw.method(0, OPEN, b"\x01/\x00\x00");
        raw.expect(OPEN_OK);
        raw.method(CHANNEL, CHANNEL_OPEN, b"\x00");
        raw.expect(CHANNEL_OPEN_OK);
        raw.method(CHANNEL, SELECT, b"\x00");
        raw.expect(SELECT_OK);
        raw
    }

    /// Publishes; whether the broker confirms it, or refuses.
    pub fn publish(
        &mut self,
        exchange: &str,
        key: &str,
        properties: &Properties,
        body: &[u8],
    ) -> bool {
        let mut to = 0u16.to_be_bytes().to_vec();
        short_string(&mut to, exchange.as_bytes());
        short_string(&mut to, key.as_bytes());
        to.push(0);
        self.method(CHANNEL, PUBLISH, &to);
        let mut header = PUBLISH.0.to_be_bytes().to_vec();
        header.extend(0u16.to_be_bytes());
        header.extend((body.len() as u64).to_be_bytes());
        header.extend(properties.bytes());
        let fits = header.len() + AROUND <= FRAME_MAX;
        assert!(fits, "a content header is one frame");
        self.frame(HEADER, CHANNEL, &header);
        for piece in body.chunks(FRAME_MAX - AROUND) {
            self.frame(BODY, CHANNEL, piece);
        }
        self.expect_one_of(&[ACK, NACK]) == ACK
    }

    /// Takes the next message out of a queue for good, whatever its headers are.
    pub fn get(&mut self, queue: &str) -> Option<Got> {
        let mut from = 0u16.to_be_bytes().to_vec();
        short_string(&mut from, queue.as_bytes());
        from.push(1);
        self.method(CHANNEL, GET, &from);
        if self.expect_one_of(&[GET_OK, GET_EMPTY]) == GET_EMPTY {
            return None;
        }
        let (_, header) = self.read_frame();
        let mut fields = Reader(&header);
        fields.take(4)?;
        let size = fields.u64()?;
        let properties = fields.0.to_vec();
        let mut body = Vec::new();
        while (body.len() as u64) < size {
            let (kind, piece) = self.read_frame();
            assert_eq!(kind, BODY, "the rest of a body");
            body.extend(piece);
        }
        Some(Got {
            sha256: sha256(&body),
            properties,
        })
    }

    fn method(&mut self, channel: u16, (class, method): (u16, u16), arguments: &[u8]) {
        let mut payload = class.to_be_bytes().to_vec();
        payload.extend(method.to_be_bytes());
        payload.extend(arguments);
        self.frame(METHOD, channel, &payload);
    }

    fn frame(&mut self, kind: u8, channel: u16, payload: &[u8]) {
        let mut frame = Vec::with_capacity(payload.len() + AROUND);
        frame.push(kind);
        frame.extend(channel.to_be_bytes());
        let size = u32::try_from(payload.len()).expect("it fits a frame");
        frame.extend(size.to_be_bytes());
        frame.extend(payload);
        frame.push(END);
        self.socket.write_all(&frame).expect("the broker takes it");
    }

    fn expect(&mut self, wanted: (u16, u16)) {
        self.expect_one_of(&[wanted]);
    }

    fn expect_one_of(&mut self, wanted: &[(u16, u16)]) -> (u16, u16) {
        let (kind, payload) = self.read_frame();
        let mut reader = Reader(&payload);
        let method = (
            reader.u16().unwrap_or_default(),
            reader.u16().unwrap_or_default(),
        );
        let said = String::from_utf8_lossy(&payload);
        let is_wanted = kind == METHOD && wanted.contains(&method);
        assert!(is_wanted, "not {wanted:?} but {method:?}: {said}");
        method
    }

    /// The next frame that is no heartbeat.
    fn read_frame(&mut self) -> (u8, Vec<u8>) {
        loop {
            let mut head = [0; 7];
            self.socket.read_exact(&mut head).expect("a frame");
            let size = u32::from_be_bytes([head[3], head[4], head[5], head[6]]);
            let mut payload = vec![0; size as usize + 1];
            self.socket.read_exact(&mut payload).expect("a frame");
            assert_eq!(payload.pop(), Some(END), "the end of a frame");
            if head[0] != HEARTBEAT {
                return (head[0], payload);
            }
        }
    }
}

fn short_string(bytes: &mut Vec<u8>, text: &[u8]) {
    bytes.push(u8::try_from(text.len()).expect("a short string"));
    bytes.extend(text);
}

fn long_string(bytes: &mut Vec<u8>, text: &[u8]) {
    let length = u32::try_from(text.len()).expect("it fits a frame");
    bytes.extend(length.to_be_bytes());
    bytes.extend(text);
}

/// Reads fields; nothing where there are no bytes left.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_be_bytes(self.take(8)?.try_into().ok()?))
    }

    fn short(&mut self) -> Option<&'a [u8]> {
        let length = self.take(1)?[0];
        self.take(usize::from(length))
    }

    fn long(&mut self) -> Option<&'a [u8]> {
        let length = u32::from_be_bytes(self.take(4)?.try_into().ok()?);
        self.take(length as usize)
    }

    /// The kind of a value, and its bytes with their length before them where it has one; what is
    /// inside is not looked at.
    fn value(&mut self) -> Option<(u8, &'a [u8])> {
        let kind = self.take(1)?[0];
        let size = match kind {
            b'V' => 0,
            b't' | b'b' | b'B' => 1,
            b's' | b'u' => 2,
            b'I' | b'i' | b'f' => 4,
            b'D' => 5,
            b'l' | b'L' | b'd' | b'T' => 8,
            b'S' | b'x' | b'A' | b'F' => {
                let length: [u8; 4] = self.0.get(..4)?.try_into().ok()?;
                4 + u32::from_be_bytes(length) as usize
            }
            _ => return None,
        };
        Some((kind, self.take(size)?))
    }
}

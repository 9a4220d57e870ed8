//! The frames that come from the broker, looked at before the client library reads them.
//!
//! Takes bytes in any pieces, gives the bytes that the library is to read: the same ones, but where
//! a message would end the connection or the process, or is larger than its limit, a content
//! header that is fit, and no body that is not wanted. What was wrong goes by [`Found`], for the
//! channel and the delivery tag that the broker gave. Never holds more than one method or
//! content header, never a body, never recurses, and needs nothing but `std` and a hash, so that
//! it can be fuzzed alone. If we crash here, the broker delivers again what was not acknowledged.

use sha2::{Digest as _, Sha256};

use super::header::{self, Fault, Limits};

/// The smallest `frame_max` that there is.
const FRAME_MIN: usize = 4096;
/// By how much a content header may be over `frame_max` and still be held: the broker does not look
/// when it adds its own headers. Of a larger one the rest is skipped.
const SLACK: usize = 64 * 1024;

/// A frame's head: type, channel, size.
const HEAD: usize = 7;
/// A frame's last byte.
const END: u8 = 0xCE;
const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const HEARTBEAT: u8 = 8;
/// The frame that says that the broker is alive.
const ALIVE: [u8; 8] = [HEARTBEAT, 0, 0, 0, 0, 0, 0, END];
/// What a broker says first that does not speak our version; it is no frame.
const OTHER_VERSION: &[u8; HEAD] = b"AMQP\0\0\x09";

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A channel was opened, and its delivery tags begin anew.
    Opened {
        /// The channel.
        channel: u16,
    },
    /// A message is unfit.
    Unfit {
        /// The channel that it came on.
        channel: u16,
        /// Its delivery tag.
        tag: u64,
        /// What is wrong, and what was done about it.
        message: Unfit,
    },
}

/// A message that is not handed on as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Unfit {
    /// What is wrong with it: one fault at least.
    pub faults: Vec<Fault>,
    /// Whether its properties or headers are others than were sent. A copy of it would not be it.
    pub altered: bool,
    /// The SHA-256 and the size of its body, where that was not handed on.
    pub dropped: Option<(String, u64)>,
}

/// Not what a broker says: the connection is of no use any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken(pub &'static str);

/// How far a scan came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the input that were used.
    pub read: usize,
    /// Bytes of the output that were written.
    pub written: usize,
}

/// Looks at what comes from one broker by one connection.
#[derive(Debug)]
pub struct Scanner {
    limits: Limits,
    /// The largest body that is handed on.
    body: u64,
    state: State,
    /// What is collected of a frame or, once it is `ready`, what is to be written.
    frame: Vec<u8>,
    ready: bool,
    written: usize,
    /// Messages whose content header or unwanted body is still to come: one a channel at most.
    contents: Vec<Content>,
}

/// What the next byte of the input is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Of a frame's head.
    Head,
    /// Of a method or a content header, until that is `keep` bytes long with its head; then `skip`
    /// more.
    Collect { keep: usize, skip: usize },
    /// The last one of a frame that was collected.
    End,
    /// One of so many that are handed on, the frame's end included.
    Pass { left: usize },
    /// One of so many that are not handed on, of the body of this one of the contents.
    Drop { content: usize, left: usize },
    /// The last one of such a frame.
    DropEnd { content: usize },
    /// The last one of the version that the broker speaks instead of ours.
    Version,
}

/// A message between its method and its end.
#[derive(Debug)]
struct Content {
    channel: u16,
    /// `None` for one that was returned to us.
    tag: Option<u64>,
    unfit: Unfit,
    /// The body, if it is not handed on.
    dropping: Option<Box<Dropping>>,
}

#[derive(Debug)]
struct Dropping {
    hash: Sha256,
    bytes: u64,
    left: u64,
    /// The frame of the content header, which the library gets at the end of the body: the message
    /// is there only when all is known of it.
    header: Vec<u8>,
}

/// A part of a method.
#[derive(Debug, Clone, Copy)]
enum Field {
    Octet,
    Short,
    Long,
    Tag,
    Text,
    Table,
}

/// The methods with text that is not ours, and what is in them: a routing key is the sender's, and
/// the broker cuts what it says after 255 bytes, wherever that is.
fn fields(class: u16, method: u16) -> &'static [Field] {
    use Field::*;
    match (class, method) {
        // connection.start, close, blocked
        (10, 10) => &[Octet, Octet, Table],
        (10, 50) => &[Short, Text],
        (10, 60) => &[Text],
        // channel.close
        (20, 40) => &[Short, Text],
        // basic.return, deliver, get-ok
        (60, 50) => &[Short, Text, Text, Text],
        (60, 60) => &[Text, Tag, Octet, Text, Text],
        (60, 71) => &[Tag, Octet, Text, Text, Long],
        _ => &[],
    }
}

impl Scanner {
    /// For a connection that is about to be made, on which we ask for the `frame_max` of these
    /// limits. `body` is the largest body that is handed on.
    pub fn new(limits: Limits, body: u64) -> Scanner {
        Scanner {
            limits,
            body,
            state: State::Head,
            frame: Vec::new(),
            ready: false,
            written: 0,
            contents: Vec::new(),
        }
    }

    /// Goes on with the next bytes of the broker, as far as there is room for what comes of them.
    /// After an error there is nothing to go on with.
    ///
    /// # Errors
    /// When these are no frames.
    pub fn scan(
        &mut self,
        input: &[u8],
        output: &mut [u8],
        found: &mut impl FnMut(Found),
    ) -> Result<Progress, Broken> {
        let (mut read, mut written) = (0, 0);
        loop {
            if self.ready {
                let rest = &self.frame[self.written..];
                let count = rest.len().min(output.len() - written);
                output[written..written + count].copy_from_slice(&rest[..count]);
                written += count;
                self.written += count;
                if self.written < self.frame.len() {
                    break;
                }
                self.frame.clear();
                self.ready = false;
            }
            let rest = &input[read..];
            if rest.is_empty() {
                break;
            }
            match self.state {
                State::Head => {
                    read += self.collect(rest, HEAD);
                    if self.frame.len() == HEAD {
                        self.head()?;
                    }
                }
                State::Collect { keep, skip } => {
                    let count = self.collect(rest, keep);
                    read += count;
                    if self.frame.len() == keep {
                        let skipped = skip.min(rest.len() - count);
                        read += skipped;
                        self.state = match skip - skipped {
                            0 => State::End,
                            skip => State::Collect { keep, skip },
                        };
                    }
                }
                State::End => {
                    ends(rest[0])?;
                    read += 1;
                    self.state = State::Head;
                    self.judge(found)?;
                }
                State::Pass { left } => {
                    let count = left.min(rest.len()).min(output.len() - written);
                    if count == 0 {
                        break;
                    }
                    if count == left {
                        ends(rest[count - 1])?;
                    }
                    output[written..written + count].copy_from_slice(&rest[..count]);
                    read += count;
                    written += count;
                    self.state = match left - count {
                        0 => State::Head,
                        left => State::Pass { left },
                    };
                }
                State::Drop { content, left } => {
                    let count = left.min(rest.len());
                    if let Some(dropping) = &mut self.contents[content].dropping {
                        dropping.hash.update(&rest[..count]);
                        dropping.left = dropping.left.saturating_sub(count as u64);
                    }
                    read += count;
                    self.state = match left - count {
                        0 => State::DropEnd { content },
                        left => State::Drop { content, left },
                    };
                }
                State::DropEnd { content } => {
                    ends(rest[0])?;
                    read += 1;
                    self.state = State::Head;
                    self.dropped(content, found);
                }
                State::Version => {
                    self.frame.push(rest[0]);
                    read += 1;
                    self.state = State::Head;
                    self.write();
                }
            }
        }
        Ok(Progress { read, written })
    }

    /// Adds to the frame until it has so many bytes.
    fn collect(&mut self, input: &[u8], until: usize) -> usize {
        let count = (until - self.frame.len()).min(input.len());
        self.frame.extend_from_slice(&input[..count]);
        count
    }

    /// What was collected is to be written.
    fn write(&mut self) {
        self.ready = true;
        self.written = 0;
    }

    fn channel(&self) -> u16 {
        u16::from_be_bytes([self.frame[1], self.frame[2]])
    }

    fn size(&self) -> usize {
        u32::from_be_bytes([self.frame[3], self.frame[4], self.frame[5], self.frame[6]]) as usize
    }

    /// What to do with a frame, by its head.
    fn head(&mut self) -> Result<(), Broken> {
        let (channel, size) = (self.channel(), self.size());
        let most = self.limits.frame_max + SLACK;
        if self.frame == OTHER_VERSION {
            self.state = State::Version;
            return Ok(());
        }
        self.state = match self.frame[0] {
            HEADER if size < header::FIXED => return Err(Broken("a content header is too short")),
            HEADER if size > most => State::Collect {
                keep: HEAD + most,
                skip: size - most,
            },
            METHOD | BODY | HEARTBEAT if size > most => {
                return Err(Broken("a frame is larger than was agreed upon"));
            }
            METHOD | HEADER => State::Collect {
                keep: HEAD + size,
                skip: 0,
            },
            BODY | HEARTBEAT => {
                let dropped =
                    |content: &Content| content.channel == channel && content.dropping.is_some();
                match self.contents.iter().position(dropped) {
                    Some(content) if self.frame[0] == BODY => {
                        self.frame.clear();
                        match size {
                            0 => State::DropEnd { content },
                            left => State::Drop { content, left },
                        }
                    }
                    _ => {
                        self.write();
                        State::Pass { left: size + 1 }
                    }
                }
            }
            _ => return Err(Broken("this is not AMQP 0-9-1")),
        };
        Ok(())
    }

    /// A frame that is collected: what becomes of it.
    fn judge(&mut self, found: &mut impl FnMut(Found)) -> Result<(), Broken> {
        match self.frame[0] {
            METHOD => {
                self.method(found)?;
                self.frame.push(END);
                self.write();
            }
            _ => self.content_header(found)?,
        }
        Ok(())
    }

    fn method(&mut self, found: &mut impl FnMut(Found)) -> Result<(), Broken> {
        let (channel, limits) = (self.channel(), self.limits);
        let Some((id, arguments)) = self.frame[HEAD..].split_first_chunk_mut::<4>() else {
            return Err(Broken("a method is too short"));
        };
        let id = (
            u16::from_be_bytes([id[0], id[1]]),
            u16::from_be_bytes([id[2], id[3]]),
        );
        let mut content = Content {
            channel,
            tag: None,
            unfit: Unfit::default(),
            dropping: None,
        };
        let mut rest = arguments;
        for field in fields(id.0, id.1) {
            let length = match field {
                Field::Octet => 1,
                Field::Short => 2,
                Field::Long => 4,
                Field::Tag => 8,
                Field::Text => 1 + rest.first().copied().map_or(0, usize::from),
                Field::Table => match rest.first_chunk::<4>() {
                    Some(length) => 4usize.saturating_add(u32::from_be_bytes(*length) as usize),
                    None => 4,
                },
            };
            let Some((value, after)) = rest.split_at_mut_checked(length) else {
                return Err(Broken("a method is cut off"));
            };
            match field {
                Field::Tag => {
                    let tag = value.first_chunk().map(|tag| u64::from_be_bytes(*tag));
                    content.tag = tag;
                }
                // Nothing depends on it: which lane a job came by is known without.
                Field::Text => mend(&mut value[1..]),
                // The broker's own, in the first of its methods: nothing to be mended there.
                Field::Table if !header::is_fit(&value[4..], &limits) => {
                    return Err(Broken("the broker says of itself what cannot be read"));
                }
                _ => {}
            }
            rest = after;
        }
        match id {
            (10, 30) => {
                let Some(asked) = self.frame[HEAD + 4..].get(2..6) else {
                    return Err(Broken("a method is cut off"));
                };
                let asked = u32::from_be_bytes([asked[0], asked[1], asked[2], asked[3]]) as usize;
                if asked > 0 {
                    let ours = self.limits.frame_max;
                    self.limits.frame_max = asked.min(ours).max(FRAME_MIN);
                }
            }
            (20, 11) => {
                self.contents.retain(|content| content.channel != channel);
                found(Found::Opened { channel });
            }
            (60, 50 | 60 | 71) => {
                self.contents.retain(|content| content.channel != channel);
                self.contents.push(content);
            }
            _ => {}
        }
        Ok(())
    }

    fn content_header(&mut self, found: &mut impl FnMut(Found)) -> Result<(), Broken> {
        let (channel, whole) = (self.channel(), self.size());
        let payload = &self.frame[HEAD..];
        let body = match payload.first_chunk::<12>() {
            Some([c0, c1, _, _, size @ ..]) if u16::from_be_bytes([*c0, *c1]) == header::CLASS => {
                u64::from_be_bytes(*size)
            }
            _ => return Err(Broken("a content header is of no class that has content")),
        };
        let known = self.contents.iter().position(|it| it.channel == channel);
        let mut content = match known {
            Some(place) => self.contents.swap_remove(place),
            None => Content {
                channel,
                tag: None,
                unfit: Unfit::default(),
                dropping: None,
            },
        };
        let mut faults = header::faults(payload, whole, &self.limits);
        content.unfit.altered = !faults.is_empty();
        content.unfit.faults.append(&mut faults);
        // What was returned to us is our own.
        let drops = content.tag.is_some() && body > self.body;
        if drops {
            content.unfit.faults.push(Fault::BodyTooLarge {
                bytes: body,
                limit: self.body,
            });
        }
        if content.unfit.altered || drops {
            let mut frame = self.frame[..HEAD].to_vec();
            let body = if drops { 0 } else { body };
            if content.unfit.altered {
                header::mended(payload, body, &self.limits, &mut frame);
                let size = u32::try_from(frame.len() - HEAD).unwrap_or_default();
                frame[3..HEAD].copy_from_slice(&size.to_be_bytes());
            } else {
                frame.extend_from_slice(payload);
                frame[HEAD + 4..HEAD + 12].copy_from_slice(&body.to_be_bytes());
            }
            self.frame = frame;
        }
        self.frame.push(END);
        if drops {
            content.dropping = Some(Box::new(Dropping {
                hash: Sha256::new(),
                bytes: body,
                left: body,
                header: std::mem::take(&mut self.frame),
            }));
            self.contents.push(content);
            return Ok(());
        }
        self.write();
        report(content, found);
        Ok(())
    }

    /// A frame of an unwanted body is over.
    fn dropped(&mut self, content: usize, found: &mut impl FnMut(Found)) {
        let done = |dropping: &mut Box<Dropping>| dropping.left == 0;
        let content = &mut self.contents[content];
        match content.dropping.take_if(done) {
            Some(dropping) => {
                let Dropping {
                    hash,
                    bytes,
                    header,
                    ..
                } = *dropping;
                let digest = hash.finalize();
                let digest = digest.iter().map(|byte| format!("{byte:02x}")).collect();
                content.unfit.dropped = Some((digest, bytes));
                self.frame = header;
                let channel = content.channel;
                let place = self.contents.iter().position(|it| it.channel == channel);
                if let Some(place) = place {
                    report(self.contents.swap_remove(place), found);
                }
            }
            // However long it takes, the library hears that the broker is alive.
            None => self.frame.extend_from_slice(&ALIVE),
        }
        self.write();
    }
}

/// Reports a message, if there is anything wrong with it.
fn report(content: Content, found: &mut impl FnMut(Found)) {
    if let Content {
        channel,
        tag: Some(tag),
        unfit,
        ..
    } = content
        && !unfit.faults.is_empty()
    {
        found(Found::Unfit {
            channel,
            tag,
            message: unfit,
        });
    }
}

fn ends(byte: u8) -> Result<(), Broken> {
    match byte {
        END => Ok(()),
        _ => Err(Broken("a frame has no end")),
    }
}

/// Puts as many question marks in the place of what is not UTF-8, so that no length changes.
fn mend(text: &mut [u8]) {
    let mut from = 0;
    while let Err(error) = std::str::from_utf8(&text[from..]) {
        let start = from + error.valid_up_to();
        let end = error
            .error_len()
            .map_or(text.len(), |length| start + length);
        text[start..end].fill(b'?');
        from = end;
    }
}

#[cfg(test)]
mod tests {
    use amq_protocol::frame::{AMQPContentHeader, AMQPFrame, WriteContext, gen_frame};
    use amq_protocol::protocol::BasicProperties;
    use amq_protocol::types::{
        AMQPValue, DecimalValue, FieldArray, FieldTable, LongString, ShortString,
    };
    use proptest::prelude::*;

    use super::super::header::{DEPTH, Place};
    use super::super::oracle::{
        LARGEST, LIMITS, deliver, frame, frames, hold_to_frames, hold_to_header, scan,
    };
    use super::*;

    const WHOLE: &[usize] = &[usize::MAX];

    /// A content header of these properties, as the library writes it.
    fn written(channel: u16, body: u64, properties: BasicProperties) -> Vec<u8> {
        let header = AMQPContentHeader {
            class_id: 60,
            body_size: body,
            properties,
        };
        let header = AMQPFrame::Header(channel, header);
        let written = gen_frame(&header)(WriteContext::from(Vec::new()));
        written.expect("it can be written").into_inner().0
    }

    /// The frame of a content header: flags, then the fields byte for byte.
    fn content(channel: u16, body: u64, flags: u16, fields: &[u8]) -> Vec<u8> {
        let payload = [
            &[0, 60, 0, 0][..],
            &body.to_be_bytes(),
            &flags.to_be_bytes(),
            fields,
        ];
        frame(HEADER, channel, &payload.concat())
    }

    /// A header of this name with arrays inside each other.
    fn nested(name: &[u8], levels: usize) -> Vec<u8> {
        let mut value = Vec::new();
        for level in 0..levels {
            let inside = u32::try_from(5 * (levels - 1 - level)).expect("it fits");
            value.push(b'A');
            value.extend(inside.to_be_bytes());
        }
        [&[u8::try_from(name.len()).expect("short")], name, &value].concat()
    }

    fn long(content: &[u8]) -> Vec<u8> {
        let length = u32::try_from(content.len()).expect("it fits");
        [&length.to_be_bytes(), content].concat()
    }

    /// One message, looked at: what the library reads of it, and what was found.
    fn looked_at(header: &[u8]) -> (AMQPContentHeader, Option<Unfit>) {
        let stream = [&deliver(1, 5, b"bulk")[..], header].concat();
        let mut outcome = scan(LIMITS, &stream, WHOLE);
        assert_eq!(outcome.broken, None);
        let (mut read, rest) = frames(&outcome.bytes);
        assert_eq!(rest, b"");
        let Some(AMQPFrame::Header(1, header)) = read.pop() else {
            panic!("a header at the end")
        };
        let unfit = outcome.found.pop().map(|found| match found {
            Found::Unfit {
                channel: 1,
                tag: 5,
                message,
            } => message,
            other => panic!("{other:?}"),
        });
        (header, unfit)
    }

    fn text(value: &str) -> AMQPValue {
        AMQPValue::LongString(LongString::from(value))
    }

    #[test]
    fn a_level_more_than_the_limit_is_too_deep_and_the_rest_of_the_message_stays() {
        // content_type, headers, message_id
        let message = |levels| {
            let headers = [
                nested(b"deep", levels),
                b"\x0btraceparentS\0\0\0\x02ab".to_vec(),
                b"\x05otherV".to_vec(),
            ];
            let fields = [&b"\x01j"[..], &long(&headers.concat()), b"\x03job"];
            content(1, 3, 0xA080, &fields.concat())
        };
        let (header, unfit) = looked_at(&message(DEPTH));
        assert_eq!(unfit, None);
        assert_eq!(
            header
                .properties
                .headers()
                .as_ref()
                .map(|it| it.inner().len()),
            Some(3)
        );

        for levels in [DEPTH + 1, 3000, 25_000] {
            let (header, unfit) = looked_at(&message(levels));
            let unfit = unfit.expect("unfit");
            let deep = Fault::TooDeep {
                header: "deep".to_owned(),
            };
            assert_eq!(unfit.faults.first(), Some(&deep));
            assert!(unfit.altered && unfit.dropped.is_none());
            assert_eq!(header.body_size, 3);
            let properties = header.properties;
            assert_eq!(
                properties.message_id().as_ref().map(ShortString::as_str),
                Some("job")
            );
            assert_eq!(
                properties.content_type().as_ref().map(ShortString::as_str),
                Some("j")
            );
            let headers = properties.headers().clone().expect("headers");
            let left: Vec<_> = headers.inner().keys().map(ShortString::as_str).collect();
            assert_eq!(left, ["traceparent"], "what we read or the broker wrote");
        }
    }

    #[test]
    fn a_short_string_that_is_not_utf8_is_left_out_and_a_long_one_may_be_anything() {
        let bytes = AMQPValue::LongString(LongString::from(vec![0xff, 0xfe]));
        let mut headers = FieldTable::default();
        headers.insert("x".into(), bytes);
        let properties = BasicProperties::default().with_headers(headers);
        assert_eq!(looked_at(&written(1, 0, properties)).1, None);

        let not_utf8 = |place, bytes: &[u8]| Fault::NotUtf8 {
            place,
            bytes: bytes.to_vec(),
        };
        // correlation_id, message_id
        let (header, unfit) = looked_at(&content(1, 0, 0x0480, b"\x01c\x02\xff\xfe"));
        let place = Place::Property("message_id");
        assert_eq!(unfit.expect("unfit").faults, [not_utf8(place, b"\xff\xfe")]);
        assert_eq!(header.properties.message_id(), &None);
        assert_eq!(header.properties.correlation_id(), &Some("c".into()));

        // A header's own name, and one inside.
        let table = [&b"\x02\xd6\xd0V"[..], b"\x01aF\0\0\0\x03\x01\xffV"].concat();
        let (header, unfit) = looked_at(&content(1, 0, 0x2000, &long(&table)));
        let faults = unfit.expect("unfit").faults;
        let first = not_utf8(Place::Header("\u{fffd}\u{fffd}".to_owned()), b"\xd6\xd0");
        let second = not_utf8(Place::Header("a".to_owned()), b"\xff");
        assert_eq!(faults, [first, second]);
        assert_eq!(header.properties.headers(), &None);
    }

    #[test]
    fn wrong_lengths_and_types_are_malformed_and_what_follows_them_stays_if_it_can_be_found() {
        let inside = |table: &[u8]| content(1, 0, 0x2080, &[&long(table), &b"\x01m"[..]].concat());
        let cases: [(Vec<u8>, Place); 6] = [
            // A type that there is none of, a string that is longer than its table, an array.
            (inside(b"\x01az"), Place::Header("a".to_owned())),
            (inside(b"\x01aS\0\0\0\x09x"), Place::Header("a".to_owned())),
            (
                inside(b"\x01aA\xff\xff\xff\xff"),
                Place::Header("a".to_owned()),
            ),
            (
                inside(b"\x01aF\0\0\0\x02\x01b"),
                Place::Header("a".to_owned()),
            ),
            (inside(b"\x09a"), Place::Property("headers")),
            // The table itself.
            (
                content(1, 0, 0x2000, &[0, 0, 1, 0, 1]),
                Place::Property("headers"),
            ),
        ];
        for (message, place) in cases {
            let (header, unfit) = looked_at(&message);
            let kept = header.properties.message_id().is_some();
            assert_eq!(kept, message.ends_with(b"\x01m\xce"));
            assert_eq!(unfit.expect("unfit").faults, [Fault::Malformed { place }]);
        }
        let (_, unfit) = looked_at(&content(1, 0, 0x0080, b"\x01mmore"));
        assert!(unfit.expect("unfit").altered, "bytes behind the properties");
    }

    #[test]
    fn the_senders_headers_may_take_half_a_frame_and_the_brokers_any_part_of_it() {
        let message = |sender: usize, broker: usize| {
            let mut headers = FieldTable::default();
            headers.insert("baggage".into(), text(&"k".repeat(sender)));
            headers.insert("x-death".into(), text(&"k".repeat(broker)));
            let properties = BasicProperties::default().with_message_id("m".into());
            written(1, 0, properties.with_headers(headers))
        };
        let half = LIMITS.frame_max / 2;
        assert_eq!(looked_at(&message(half - 100, 50_000)).1, None);
        let large = |bytes: usize| Fault::HeaderTooLarge { bytes, limit: half };
        // The frame around is more than the library takes.
        for (sender, broker) in [
            (half, 10),
            (half - 100, 70_000),
            (100, 131_000),
            (130_900, 0),
        ] {
            let (header, unfit) = looked_at(&message(sender, broker));
            let faults = unfit.expect("unfit").faults;
            let [Fault::HeaderTooLarge { bytes, .. }] = faults[..] else {
                panic!("{faults:?}");
            };
            assert_eq!(faults[0], large(bytes));
            assert_eq!(header.properties.message_id(), &Some("m".into()));
        }
        // More than is ever held: the rest is skipped, and the frames after it are seen.
        let huge = message(300_000, 0);
        let stream = [&deliver(1, 5, b"bulk")[..], &huge, &ALIVE].concat();
        for pieces in [WHOLE, &[1000, 7], &[1]] {
            let outcome = scan(LIMITS, &stream, pieces);
            let [Found::Unfit { message, .. }] = &outcome.found[..] else {
                panic!("{:?}", outcome.found);
            };
            let [Fault::HeaderTooLarge { bytes, .. }] = message.faults[..] else {
                panic!("{:?}", message.faults);
            };
            assert!(bytes > 300_000);
            assert!(outcome.bytes.ends_with(&ALIVE));
        }
    }

    #[test]
    fn what_fits_goes_by_the_frame_max_that_the_broker_names() {
        let tune = |frame_max: u32| {
            let method = [
                &[0, 10, 0, 30, 7, 255][..],
                &frame_max.to_be_bytes(),
                &[0, 60],
            ];
            frame(METHOD, 0, &method.concat())
        };
        let mut headers = FieldTable::default();
        headers.insert("baggage".into(), text(&"k".repeat(5000)));
        let header = written(1, 0, BasicProperties::default().with_headers(headers));
        let found = |frame_max| {
            let stream = [tune(frame_max), deliver(1, 5, b"bulk"), header.clone()];
            scan(LIMITS, &stream.concat(), WHOLE).found.len()
        };
        // 0 is none, and ours stands.
        assert_eq!([0, 131_072, 1 << 30, 10_200].map(found), [0; 4]);
        assert_eq!([8192, 4096, 10].map(found), [1; 3]);
    }

    #[test]
    fn the_largest_header_of_an_unfit_message_fits_into_the_smallest_frame() {
        let name = "n".repeat(255);
        let name = || ShortString::from(name.as_str());
        let mut headers = FieldTable::default();
        for number in 0..100 {
            let deaths = vec![text(&"d".repeat(200)), AMQPValue::LongInt(number)];
            headers.insert(
                "x-death".into(),
                AMQPValue::FieldArray(FieldArray::from(deaths)),
            );
            headers.insert(format!("x-{number}").into(), text(&"d".repeat(200)));
        }
        headers.insert("report_attempt".into(), text(&"d".repeat(200)));
        let properties = BasicProperties::default()
            .with_content_type(name())
            .with_content_encoding(name())
            .with_headers(headers)
            .with_delivery_mode(2)
            .with_priority(1)
            .with_correlation_id(name())
            .with_reply_to(name())
            .with_expiration(name())
            .with_message_id(name())
            .with_timestamp(1)
            .with_type(name())
            .with_user_id(name())
            .with_app_id(name())
            .with_cluster_id(name());
        let limits = Limits {
            frame_max: 4096,
            ..LIMITS
        };
        let stream = [deliver(1, 5, b"bulk"), written(1, 0, properties.clone())].concat();
        let outcome = scan(limits, &stream, WHOLE);
        let header = &outcome.bytes[deliver(1, 5, b"bulk").len()..];
        assert!((3000..=4096).contains(&header.len()), "{}", header.len());
        let Some(AMQPFrame::Header(1, read)) = frames(header).0.pop() else {
            panic!("a header")
        };
        assert_eq!(read.properties.cluster_id(), properties.cluster_id());
        let left = read.properties.headers().clone().expect("headers");
        assert_eq!(left.inner().len(), 2, "{left:?}");
    }

    #[test]
    fn a_body_over_the_limit_is_hashed_and_dropped_while_others_pass() {
        let body: Vec<u8> = (0..=255).cycle().take(2500).collect();
        let header = |channel, size| {
            let properties = BasicProperties::default().with_message_id("m".into());
            written(channel, size, properties)
        };
        let pieces: Vec<_> = body
            .chunks(1000)
            .map(|piece| frame(BODY, 1, piece))
            .collect();
        let other = [
            deliver(2, 8, b"bulk"),
            header(2, 4),
            frame(BODY, 2, b"body"),
        ]
        .concat();
        let next = [deliver(1, 6, b"bulk"), header(1, 2), frame(BODY, 1, b"ok")].concat();
        let stream = [
            deliver(1, 5, b"bulk"),
            header(1, 2500),
            pieces[0].clone(),
            other.clone(),
            pieces[1].clone(),
            // An empty one is allowed.
            frame(BODY, 1, b""),
            pieces[2].clone(),
            next.clone(),
        ];
        let want = [
            deliver(1, 5, b"bulk"),
            ALIVE.to_vec(),
            other,
            ALIVE.to_vec(),
            ALIVE.to_vec(),
            header(1, 0),
            next,
        ];
        for sizes in [WHOLE, &[1], &[13, 5, 1000]] {
            let outcome = scan(LIMITS, &stream.concat(), sizes);
            assert_eq!(outcome.bytes, want.concat());
            let digest = Sha256::digest(&body);
            let digest = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            let message = Unfit {
                faults: vec![Fault::BodyTooLarge {
                    bytes: 2500,
                    limit: LARGEST,
                }],
                altered: false,
                dropped: Some((digest, 2500)),
            };
            let found = Found::Unfit {
                channel: 1,
                tag: 5,
                message,
            };
            assert_eq!(outcome.found, [found]);
        }
    }

    #[test]
    fn what_is_returned_to_us_may_be_as_large_as_we_sent_it() {
        let returned = [&[0, 60, 0, 50, 1, 56][..], b"\x08NO_ROUTE\x01e\x02\xffk"].concat();
        let message = [
            written(1, 5000, BasicProperties::default()),
            frame(BODY, 1, &[b'x'; 5000]),
        ];
        let stream = [frame(METHOD, 1, &returned), message.concat()].concat();
        let outcome = scan(LIMITS, &stream, WHOLE);
        assert_eq!(outcome.found, []);
        let mended = stream.len() - message.concat().len() - 3;
        assert_eq!((stream[mended], outcome.bytes[mended]), (0xff, b'?'));
        assert_eq!(outcome.bytes[mended + 1..], stream[mended + 1..]);
        assert_eq!(frames(&outcome.bytes).1, b"");
    }

    #[test]
    fn a_channel_that_is_opened_anew_has_no_message_half_way() {
        let opened = frame(METHOD, 1, &[0, 20, 0, 11, 0, 0, 0, 0]);
        let large = [
            deliver(1, 5, b"bulk"),
            written(1, 5000, BasicProperties::default()),
            frame(BODY, 1, b"begun"),
        ];
        let next = [
            deliver(1, 1, b"bulk"),
            written(1, 2, BasicProperties::default()),
            frame(BODY, 1, b"ok"),
        ];
        let stream = [large.concat(), opened, next.concat()].concat();
        let outcome = scan(LIMITS, &stream, WHOLE);
        assert_eq!(outcome.found, [Found::Opened { channel: 1 }]);
        assert!(outcome.bytes.ends_with(&next.concat()));
    }

    #[test]
    fn what_is_no_frame_ends_it_and_another_version_is_told() {
        let broken = |bytes: &[u8]| scan(LIMITS, bytes, WHOLE).broken.is_some();
        assert!(broken(b"HTTP/1.1 400 Bad Request"));
        assert!(broken(&[8, 0, 0, 0, 0, 0, 0, 0]), "no end");
        assert!(broken(&[3, 0, 1, 0, 0, 0, 1, b'x', 0]), "no end");
        assert!(broken(&[3, 0, 1, 255, 255, 255, 255]), "a body of 4 GiB");
        assert!(broken(&frame(HEADER, 1, &[0, 60])));
        assert!(broken(&frame(METHOD, 1, &[0, 60])));
        // Its own first words have arrays inside each other.
        let start = [&[0, 10, 0, 10, 0, 9][..], &long(&nested(b"deep", 2000))].concat();
        assert!(broken(&frame(METHOD, 0, &start)));
        let version = scan(LIMITS, b"AMQP\0\0\x09\x01", &[3]);
        assert_eq!(
            (version.broken, &version.bytes[..]),
            (None, &b"AMQP\0\0\x09\x01"[..])
        );
    }

    #[test]
    fn a_message_with_very_many_faults_is_told_a_few_and_keeps_what_the_broker_wrote() {
        let names: Vec<u8> = (0..1000).flat_map(|_| [1, 0xff, b'V']).collect();
        let table = [&names[..], b"\x10x-delivery-countb\x02"].concat();
        let (header, unfit) = looked_at(&content(1, 0, 0x2000, &long(&table)));
        assert_eq!(unfit.expect("unfit").faults.len(), 16);
        let headers = header.properties.headers().clone().expect("headers");
        assert_eq!(headers.inner().len(), 1);
    }

    prop_compose! {
        fn name()(name in "\\PC{0,60}") -> ShortString {
            ShortString::from(name)
        }
    }

    fn value() -> impl Strategy<Value = AMQPValue> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(AMQPValue::Boolean),
            any::<i8>().prop_map(AMQPValue::ShortShortInt),
            any::<u8>().prop_map(AMQPValue::ShortShortUInt),
            any::<i16>().prop_map(AMQPValue::ShortInt),
            any::<u16>().prop_map(AMQPValue::ShortUInt),
            any::<i32>().prop_map(AMQPValue::LongInt),
            any::<u32>().prop_map(AMQPValue::LongUInt),
            any::<i64>().prop_map(AMQPValue::LongLongInt),
            any::<i16>().prop_map(|number| AMQPValue::Float(f32::from(number))),
            any::<i32>().prop_map(|number| AMQPValue::Double(f64::from(number))),
            any::<(u8, u32)>()
                .prop_map(|(scale, value)| AMQPValue::DecimalValue(DecimalValue { scale, value })),
            any::<Vec<u8>>().prop_map(|bytes| AMQPValue::LongString(bytes.into())),
            any::<Vec<u8>>().prop_map(|bytes| AMQPValue::ByteArray(bytes.into())),
            any::<u64>().prop_map(AMQPValue::Timestamp),
            Just(AMQPValue::Void),
        ];
        leaf.prop_recursive(20, 60, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5)
                    .prop_map(|values| AMQPValue::FieldArray(values.into())),
                prop::collection::btree_map(name(), inner, 0..5)
                    .prop_map(|values| AMQPValue::FieldTable(values.into())),
            ]
        })
    }

    prop_compose! {
        /// Properties that a library can write.
        fn properties()(
            headers in prop::option::of(prop::collection::btree_map(name(), value(), 0..8)),
            names in prop::array::uniform4(prop::option::of(name())),
            numbers in any::<(Option<u8>, Option<u64>)>(),
        ) -> BasicProperties {
            let mut properties = BasicProperties::default();
            let [content_type, correlation_id, message_id, app_id] = names;
            if let Some(name) = content_type { properties = properties.with_content_type(name) }
            if let Some(name) = correlation_id { properties = properties.with_correlation_id(name) }
            if let Some(name) = message_id { properties = properties.with_message_id(name) }
            if let Some(name) = app_id { properties = properties.with_app_id(name) }
            if let Some(headers) = headers { properties = properties.with_headers(headers.into()) }
            if let Some(priority) = numbers.0 { properties = properties.with_priority(priority) }
            if let Some(time) = numbers.1 { properties = properties.with_timestamp(time) }
            properties
        }
    }

    prop_compose! {
        /// Messages on some channels, their frames in turn as they may come.
        fn clean_stream()(
            messages in prop::collection::vec(
                (1_u16..4, any::<u64>(), properties(), 0..LARGEST, 1..400_usize), 1..6),
            order in prop::collection::vec(0..4_usize, 64),
        ) -> Vec<u8> {
            let mut lines: [Vec<Vec<u8>>; 4] = Default::default();
            for (channel, tag, properties, size, piece) in messages {
                let line = &mut lines[usize::from(channel)];
                line.push(deliver(channel, tag, "键".as_bytes()));
                line.push(written(channel, size, properties));
                let body = vec![0xCE; usize::try_from(size).expect("small")];
                line.extend(body.chunks(piece).map(|piece| frame(BODY, channel, piece)));
            }
            lines[0] = vec![ALIVE.to_vec(); 3];
            let mut stream = Vec::new();
            for line in order.into_iter().chain((0..4).cycle()) {
                if !lines[line].is_empty() {
                    stream.extend(lines[line].remove(0));
                }
                if lines.iter().all(Vec::is_empty) {
                    break;
                }
            }
            stream
        }
    }

    /// Small changes at some places.
    fn spoilt(mut bytes: Vec<u8>, changes: &[(usize, u8)], end: Option<usize>) -> Vec<u8> {
        for (place, byte) in changes {
            if !bytes.is_empty() {
                let place = place % bytes.len();
                bytes[place] = *byte;
            }
        }
        if let Some(end) = end {
            bytes.truncate(end % (bytes.len() + 1));
        }
        bytes
    }

    fn changes() -> impl Strategy<Value = (Vec<(usize, u8)>, Option<usize>)> {
        let byte = prop_oneof![any::<u8>(), Just(b'A'), Just(b'F'), Just(0), Just(0xff)];
        let changes = prop::collection::vec((any::<usize>(), byte), 0..6);
        (changes, prop::option::weighted(0.2, any::<usize>()))
    }

    fn sizes() -> impl Strategy<Value = Vec<usize>> {
        prop::collection::vec(1..3000_usize, 1..6)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn clean_frames_pass_byte_for_byte_in_any_pieces(
            stream in clean_stream(), sizes in sizes(),
        ) {
            let outcome = scan(LIMITS, &stream, &sizes);
            prop_assert_eq!(outcome.broken, None);
            prop_assert_eq!(outcome.found, vec![]);
            prop_assert_eq!(outcome.bytes, stream);
        }

        #[test]
        fn any_bytes_come_out_as_frames_that_the_library_can_read(
            stream in clean_stream(), changes in changes(), sizes in sizes(),
        ) {
            hold_to_frames(&spoilt(stream, &changes.0, changes.1), &sizes);
        }

        #[test]
        fn what_the_library_can_read_passes_and_what_it_cannot_is_replaced(
            properties in properties(), size in 0..2 * LARGEST,
            changes in changes(), sizes in sizes(),
        ) {
            let header = written(7, size, properties);
            let payload = header[HEAD..header.len() - 1].to_vec();
            // The fixed part but the flags stands.
            let (fixed, rest) = payload.split_at(12);
            let rest = spoilt(rest.to_vec(), &changes.0, changes.1);
            hold_to_header(&[fixed, &rest].concat(), &sizes);
        }
    }
}

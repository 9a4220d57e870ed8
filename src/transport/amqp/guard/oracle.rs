//! What the scanner is held to, by its tests and by the fuzzer: the client library's own parser.

use amq_protocol::frame::{AMQPFrame, parse_frame};
use amq_protocol::types::AMQPValue;

use super::header::{DEPTH, FIXED, Fault, Limits, Owner};
use super::scanner::{Broken, Found, Scanner, Unfit};

/// The limits of a usual connection.
pub const LIMITS: Limits = Limits {
    frame_max: 131_072,
    owner,
};

/// The largest body.
pub const LARGEST: u64 = 1000;

/// Whose headers are, in short.
pub fn owner(name: &str) -> Owner {
    match name {
        "x-death" | "x-delivery-count" => Owner::Broker,
        "traceparent" | "report_attempt" => Owner::Own,
        _ => Owner::Sender,
    }
}

/// What comes out of a scanner.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// What the library reads.
    pub bytes: Vec<u8>,
    /// What it is not told.
    pub found: Vec<Found>,
    /// Why it ended early.
    pub broken: Option<Broken>,
}

/// Gives a scanner the bytes in pieces of these sizes, again and again, and room of these sizes.
pub fn scan(limits: Limits, input: &[u8], sizes: &[usize]) -> Outcome {
    let mut scanner = Scanner::new(limits, LARGEST);
    let mut outcome = Outcome {
        bytes: Vec::new(),
        found: Vec::new(),
        broken: None,
    };
    let mut sizes = sizes.iter().copied().cycle().map(|size| size.max(1));
    let mut rest = input;
    let mut room = vec![0; 1 << 16];
    loop {
        let given = sizes.next().unwrap_or(usize::MAX).min(rest.len());
        let space = sizes.next().unwrap_or(usize::MAX).min(room.len());
        let found = &mut outcome.found;
        match scanner.scan(&rest[..given], &mut room[..space], &mut |it| found.push(it)) {
            Ok(progress) => {
                assert!(progress.read <= given && progress.written <= space);
                assert!(
                    progress.read > 0 || progress.written > 0 || rest.is_empty(),
                    "it stands still"
                );
                outcome.bytes.extend_from_slice(&room[..progress.written]);
                rest = &rest[progress.read..];
                if rest.is_empty() && progress.written == 0 {
                    return outcome;
                }
            }
            Err(broken) => {
                outcome.broken = Some(broken);
                return outcome;
            }
        }
    }
}

/// The frames that the library reads, and what is left at the first one that it cannot read yet.
///
/// # Panics
/// When it cannot read a frame that can have come from a sender.
pub fn frames(mut bytes: &[u8]) -> (Vec<AMQPFrame>, &[u8]) {
    let mut frames = Vec::new();
    loop {
        match parse_frame(bytes) {
            Ok((rest, frame)) => {
                frames.push(frame);
                bytes = rest;
            }
            Err(error) => {
                // Which methods there are is between broker and library.
                assert!(
                    error.is_incomplete() || bytes[0] == 1 || bytes[0] == b'A',
                    "{error:?}: {bytes:?}"
                );
                return (frames, bytes);
            }
        }
    }
}

/// Any bytes, in any pieces: it ends, it says the same, and the library can read what it says.
///
/// # Panics
/// When that is not so.
pub fn hold_to_frames(input: &[u8], sizes: &[usize]) {
    let whole = scan(LIMITS, input, &[usize::MAX]);
    let pieces = scan(LIMITS, input, sizes);
    if whole.broken.is_none() {
        assert_eq!(whole, pieces);
    } else {
        // What had no room when it ended is not missed.
        assert_eq!((&whole.found, whole.broken), (&pieces.found, pieces.broken));
    }
    for frame in frames(&whole.bytes).0 {
        if let AMQPFrame::Header(_, header) = &frame {
            assert!(depth(header) <= DEPTH + 1, "{frame:?}");
        }
    }
}

/// A content header of this payload, in a delivery with a body: it passes as it is if the library
/// can read it, or is replaced by one that it can read.
///
/// # Panics
/// When that is not so.
pub fn hold_to_header(payload: &[u8], sizes: &[usize]) {
    if payload.len() < FIXED || payload[..2] != [0, 60] {
        return;
    }
    let size = u64::from_be_bytes(payload[4..12].try_into().expect("eight bytes"));
    // As much of it as is needed to see that a large one is dropped.
    let body = vec![b'x'; usize::try_from(size.min(3000)).expect("a small number")];
    let mut input = deliver(7, 42, b"bulk");
    input.extend(frame(2, 7, payload));
    let frame_of_body = frame(3, 7, &body);
    input.extend(&frame_of_body);
    input.extend(frame(8, 0, b""));
    let outcome = scan(LIMITS, &input, sizes);
    assert_eq!(outcome.broken, None);

    let (read, rest) = frames(&outcome.bytes);
    assert_eq!(rest, b"");
    let unread = parse_frame(&input[deliver(7, 42, b"bulk").len()..]);
    let readable = match &unread {
        Ok((_, AMQPFrame::Header(_, header))) => depth(header) <= DEPTH + 1,
        _ => false,
    };
    let small = payload.len() <= LIMITS.frame_max / 2;
    let complete = size <= LARGEST || body.len() as u64 == size;
    match &outcome.found[..] {
        // Its end never comes, and until then nothing is said of it.
        [] if size > LARGEST => {
            assert!(!complete, "a large body was handed on");
            let header = |frame: &AMQPFrame| matches!(frame, AMQPFrame::Header(..));
            assert!(!read.iter().any(header));
        }
        [] => {
            assert!(readable, "the library would not have read this");
            assert_eq!(outcome.bytes, input, "byte for byte");
        }
        [
            Found::Unfit {
                channel,
                tag,
                message,
            },
        ] => {
            assert_eq!((*channel, *tag), (7, 42));
            let Unfit {
                faults,
                altered,
                dropped,
            } = message;
            assert!(!faults.is_empty());
            let bodies = |fault: &&Fault| matches!(fault, Fault::BodyTooLarge { .. });
            assert_eq!(dropped.is_some(), faults.iter().any(|fault| bodies(&fault)));
            assert_eq!(dropped.is_some(), size > LARGEST);
            assert_eq!(*altered, !faults.iter().all(|fault| bodies(&fault)));
            assert!(
                !(*altered && readable && small),
                "the library would have read this: {faults:?}"
            );
            let header = read.iter().find_map(|frame| match frame {
                AMQPFrame::Header(7, header) => Some(header),
                _ => None,
            });
            let header = header.expect("a header in its place");
            assert_eq!(header.body_size, if dropped.is_some() { 0 } else { size });
            if let (false, Ok((_, AMQPFrame::Header(_, unread)))) = (altered, &unread) {
                assert_eq!(header.properties, unread.properties);
            }
        }
        others => panic!("one message, and {others:?}"),
    }
}

/// Tables and arrays inside each other, the headers themselves included.
fn depth(header: &amq_protocol::frame::AMQPContentHeader) -> usize {
    let headers = header.properties.headers().iter();
    let values = headers.flat_map(|headers| headers.inner().values());
    let mut open: Vec<(&AMQPValue, usize)> = values.map(|value| (value, 1)).collect();
    let mut deepest = 0;
    while let Some((value, depth)) = open.pop() {
        deepest = deepest.max(depth);
        match value {
            AMQPValue::FieldArray(array) => {
                deepest = deepest.max(depth + 1);
                open.extend(array.as_slice().iter().map(|value| (value, depth + 1)));
            }
            AMQPValue::FieldTable(table) => {
                deepest = deepest.max(depth + 1);
                open.extend(table.inner().values().map(|value| (value, depth + 1)));
            }
            _ => {}
        }
    }
    deepest
}

/// A frame.
pub fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![kind];
    frame.extend(channel.to_be_bytes());
    frame.extend(u32::try_from(payload.len()).expect("small").to_be_bytes());
    frame.extend(payload);
    frame.push(0xCE);
    frame
}

/// The frame of `basic.deliver`.
pub fn deliver(channel: u16, tag: u64, key: &[u8]) -> Vec<u8> {
    let mut method = vec![0, 60, 0, 60, 1, b'c'];
    method.extend(tag.to_be_bytes());
    method.extend([0, 1, b'e']);
    method.push(u8::try_from(key.len()).expect("short"));
    method.extend(key);
    frame(1, channel, &method)
}

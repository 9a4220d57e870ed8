//! A content header of AMQP 0-9-1 (section 2.3.5.2), looked at before the client library does.
//!
//! Takes the payload of a content header frame, gives what is unfit in it and, where anything is,
//! a payload that is fit in its place. Never recurses, never trusts a length, and needs nothing
//! but `std`, so that it can be fuzzed alone. If we crash here, nothing has been handed on yet.

/// Tables and arrays inside the value of one header. The client library goes down a level of its
/// stack for each, and a frame has room for twenty-six thousand.
pub const DEPTH: usize = 32;

/// The most faults that are told of one message.
const FAULTS: usize = 16;

/// The bytes that are told of a string that is not UTF-8.
const SHOWN: usize = 16;

/// What a content header cannot do without: class, weight, the body's size, the flags.
pub const FIXED: usize = 14;

/// The class `basic`, the only one with content.
pub const CLASS: u16 = 60;

/// The most that the properties other than `headers` take, with [`FIXED`], the frame's own eight
/// bytes and the length of the table.
const PROPERTIES_TAKE: usize = FIXED + 8 + 4 + 10 * 256 + 1 + 1 + 8;

/// The most headers that stay with a message that is unfit.
const KEPT: usize = 16 * 1024;

/// One of our own headers, name and all, is never longer: a text of 255 bytes is the longest value.
const OWN: usize = 320;

/// Whose a header is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// The broker wrote it, and our copies do without.
    Broker,
    /// We wrote it, or read it.
    Own,
    /// Anything else.
    Sender,
}

/// What is wrong with a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// A short string that is not UTF-8.
    NotUtf8 {
        /// Where it stands.
        place: Place,
        /// Its first bytes.
        bytes: Vec<u8>,
    },
    /// A header whose value is nested deeper than [`DEPTH`].
    TooDeep {
        /// The header's name.
        header: String,
    },
    /// Lengths that don't fit together, or a type that there is none of.
    Malformed {
        /// Where it stands.
        place: Place,
    },
    /// More than there is room for.
    HeaderTooLarge {
        /// How large it is: the sender's part, or the frame.
        bytes: usize,
        /// How large it may be.
        limit: usize,
    },
    /// A body over the limit.
    BodyTooLarge {
        /// Its bytes.
        bytes: u64,
        /// How many it may have.
        limit: u64,
    },
}

/// Where a fault stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A property.
    Property(&'static str),
    /// The value of a header of this name, or the name itself, as far as it can be read.
    Header(String),
}

/// What is asked of a header.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The negotiated `frame_max`.
    pub frame_max: usize,
    /// Whose a header of this name is.
    pub owner: fn(&str) -> Owner,
}

impl Limits {
    /// What the sender's part of a header may take. Half of a frame: our copies carry the sender's
    /// headers and ours, which take some 800 bytes, and at the smallest `frame_max` that the
    /// protocol has (4096) the other half still has room for them; a round number can be told to
    /// senders.
    fn senders(&self) -> usize {
        self.frame_max / 2
    }

    /// What may stay of the headers of an unfit message, so that its frame fits in any case.
    fn kept(&self) -> usize {
        self.frame_max.saturating_sub(PROPERTIES_TAKE).min(KEPT)
    }
}

/// The kinds of property.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Short,
    Octet,
    Time,
    Headers,
}

/// The properties of the class `basic`, in their order (section 1.8 of the protocol's definition).
const PROPERTIES: [(&str, Kind); 14] = [
    ("content_type", Kind::Short),
    ("content_encoding", Kind::Short),
    ("headers", Kind::Headers),
    ("delivery_mode", Kind::Octet),
    ("priority", Kind::Octet),
    ("correlation_id", Kind::Short),
    ("reply_to", Kind::Short),
    ("expiration", Kind::Short),
    ("message_id", Kind::Short),
    ("timestamp", Kind::Time),
    ("type", Kind::Short),
    ("user_id", Kind::Short),
    ("app_id", Kind::Short),
    ("cluster_id", Kind::Short),
];

/// The flag of a property.
fn flag(index: usize) -> u16 {
    0x8000 >> index
}

/// What is wrong with a header, nothing when it is fit. `whole` is the size of the payload, which
/// may be more than is there.
pub fn faults(payload: &[u8], whole: usize, limits: &Limits) -> Vec<Fault> {
    let mut walk = Walk::default();
    walk.payload(payload, limits, |_| {});
    let Walk {
        mut faults, spared, ..
    } = walk;
    if payload.len() < whole {
        // That lengths lead out of what is there says nothing.
        faults.retain(|fault| !matches!(fault, Fault::Malformed { .. }));
    }
    // The library ends the connection over a frame that is larger than frame_max.
    let (frame, senders, limit) = (whole + 8, whole - spared.min(whole), limits.senders());
    if senders > limit || frame > limits.frame_max {
        let bytes = if senders > limit { senders } else { frame };
        faults.push(Fault::HeaderTooLarge { bytes, limit });
    }
    faults
}

/// Whether a table can be read.
pub fn is_fit(table: &[u8], limits: &Limits) -> bool {
    let mut walk = Walk::default();
    walk.headers(table, limits, &mut |_| {});
    walk.count == 0
}

/// A header that is fit, in the place of one that is not, for a body of `body` bytes: the
/// properties that are fit, and of the headers those that are not the sender's. Nobody publishes it
/// again, so that there is no use for the rest.
pub fn mended(payload: &[u8], body: u64, limits: &Limits, into: &mut Vec<u8>) {
    let start = into.len();
    let mut flags = 0;
    let room = limits.kept();
    into.extend([0; FIXED]);
    // The length of the table, once it has one.
    let mut table: Option<usize> = None;
    Walk::default().payload(payload, limits, |part| match part {
        Part::Property(index, bytes) => {
            flags |= flag(index);
            into.extend(bytes);
        }
        Part::Header(owner, bytes) => {
            let at = *table.get_or_insert_with(|| {
                into.extend([0; 4]);
                into.len()
            });
            let length = into.len() - at + bytes.len();
            if owner == Owner::Sender || length > room {
                return;
            }
            into.extend(bytes);
            flags |= flag(2);
            let length = u32::try_from(length).unwrap_or_default();
            into[at - 4..at].copy_from_slice(&length.to_be_bytes());
        }
        Part::HeadersEnd => {
            if let Some(at) = table
                && into.len() == at
            {
                into.truncate(at - 4);
            }
        }
    });
    let fixed = &mut into[start..start + FIXED];
    fixed[..2].copy_from_slice(&CLASS.to_be_bytes());
    fixed[4..12].copy_from_slice(&body.to_be_bytes());
    fixed[12..].copy_from_slice(&flags.to_be_bytes());
}

/// What a walk through a header comes by that is fit.
enum Part<'a> {
    /// A property that is there, by its place in [`PROPERTIES`], with its length where it has one.
    Property(usize, &'a [u8]),
    /// A header, name, type and value.
    Header(Owner, &'a [u8]),
    /// There are no more of these.
    HeadersEnd,
}

/// A walk through a header from its first byte to its last.
#[derive(Default)]
struct Walk {
    faults: Vec<Fault>,
    /// How many faults there are, the ones that are not told included.
    count: usize,
    /// Bytes that don't count as the sender's.
    spared: usize,
}

impl Walk {
    fn note(&mut self, fault: Fault) {
        self.count += 1;
        if self.faults.len() < FAULTS {
            self.faults.push(fault);
        }
    }

    fn payload<'a>(&mut self, payload: &'a [u8], limits: &Limits, mut fit: impl FnMut(Part<'a>)) {
        let mut all = Cursor::new(payload);
        let flags = all
            .take(FIXED)
            .map_or(0, |fixed| u16::from_be_bytes([fixed[12], fixed[13]]));
        for (index, (name, kind)) in PROPERTIES.into_iter().enumerate() {
            if flags & flag(index) == 0 {
                continue;
            }
            let start = all.at;
            let read = match kind {
                Kind::Octet => all.take(1),
                Kind::Time => all.take(8),
                Kind::Short => all.short(),
                Kind::Headers => all.long(),
            };
            let Some(content) = read else {
                self.note(Fault::Malformed {
                    place: Place::Property(name),
                });
                return;
            };
            match kind {
                Kind::Headers => {
                    self.headers(content, limits, &mut fit);
                    fit(Part::HeadersEnd);
                }
                Kind::Short if std::str::from_utf8(content).is_err() => {
                    self.note(not_utf8(Place::Property(name), content));
                }
                Kind::Short | Kind::Octet | Kind::Time => {
                    fit(Part::Property(index, &payload[start..all.at]));
                }
            }
        }
        if all.at != payload.len() || payload.len() < FIXED {
            self.note(Fault::Malformed {
                place: Place::Property("headers"),
            });
        }
    }

    /// The table of headers, entry by entry.
    fn headers<'a>(&mut self, table: &'a [u8], limits: &Limits, fit: &mut impl FnMut(Part<'a>)) {
        let mut all = Cursor::new(table);
        while all.at < table.len() {
            let (start, before) = (all.at, self.count);
            let Some(name) = all.short() else {
                return self.note(Fault::Malformed {
                    place: Place::Property("headers"),
                });
            };
            let owner = match std::str::from_utf8(name) {
                Ok(name) => (limits.owner)(name),
                Err(_) => {
                    self.note(not_utf8(Place::Header(lossy(name)), name));
                    Owner::Sender
                }
            };
            let Some(end) = self.value(table, all.at, name) else {
                return;
            };
            all.at = end;
            let entry = &table[start..end];
            // One of our names with anything else in it is the sender's.
            let owner = match owner {
                Owner::Own if entry.len() > OWN => Owner::Sender,
                owner => owner,
            };
            if owner != Owner::Sender {
                self.spared += entry.len();
            }
            if self.count == before {
                fit(Part::Header(owner, entry));
            }
        }
    }

    /// One value of the table of headers from its type on: gives where it ends, if that can be
    /// said. Inside it goes on after a fault, as long as there is a length to go by.
    fn value(&mut self, table: &[u8], at: usize, header: &[u8]) -> Option<usize> {
        // The containers that we are in, from the outermost: where each ends, and whether it has
        // names.
        let mut open = [(0, false); DEPTH];
        let mut depth = 0;
        let mut all = Cursor { bytes: table, at };
        loop {
            // All that are at their end are closed.
            while depth > 0 && all.at == open[depth - 1].0 {
                depth -= 1;
            }
            let (end, named) = match depth {
                0 if all.at > at => return Some(all.at),
                0 => (table.len(), false),
                _ => open[depth - 1],
            };
            // No length inside may lead out of where we are.
            all.bytes = &table[..end];
            let step = 'step: {
                if named {
                    let Some(name) = all.short() else {
                        break 'step None;
                    };
                    if std::str::from_utf8(name).is_err() {
                        self.note(not_utf8(Place::Header(lossy(header)), name));
                    }
                }
                all.step()
            };
            match step {
                Some(Step::Scalar) => {}
                Some(Step::Container { end, named }) if depth < DEPTH => {
                    open[depth] = (end, named);
                    depth += 1;
                }
                Some(Step::Container { end, .. }) => {
                    let header = lossy(header);
                    let told = matches!(
                        self.faults.last(),
                        Some(Fault::TooDeep { header: last }) if *last == header
                    );
                    if !told {
                        self.note(Fault::TooDeep { header });
                    }
                    all.at = end;
                }
                None => {
                    self.note(Fault::Malformed {
                        place: Place::Header(lossy(header)),
                    });
                    // After the outermost container there is something to go by again.
                    return (depth > 0).then(|| open[0].0);
                }
            }
        }
    }
}

/// A string's place and its first bytes.
fn not_utf8(place: Place, bytes: &[u8]) -> Fault {
    Fault::NotUtf8 {
        place,
        bytes: bytes[..bytes.len().min(SHOWN)].to_vec(),
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A place in bytes that are read from left to right.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// What stands at the beginning of a value.
enum Step {
    /// All of it.
    Scalar,
    /// A table, whose entries are named, or an array, and where it ends. We are inside.
    Container { end: usize, named: bool },
}

impl<'a> Cursor<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Cursor { bytes, at: 0 }
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(count)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    fn octet(&mut self) -> Option<u8> {
        self.take(1).map(|byte| byte[0])
    }

    /// A string of at most 255 bytes.
    fn short(&mut self) -> Option<&'a [u8]> {
        let length = self.octet()?;
        self.take(usize::from(length))
    }

    fn length(&mut self) -> Option<usize> {
        let length = self.take(4)?;
        let length = u32::from_be_bytes([length[0], length[1], length[2], length[3]]);
        usize::try_from(length).ok()
    }

    /// A string or a table.
    fn long(&mut self) -> Option<&'a [u8]> {
        let length = self.length()?;
        self.take(length)
    }

    /// A value's type, and the value unless it has others inside: the types of RabbitMQ, which are
    /// those that the library knows.
    fn step(&mut self) -> Option<Step> {
        let fixed = match self.octet()? {
            b'V' => 0,
            b't' | b'b' | b'B' => 1,
            b's' | b'U' | b'u' => 2,
            b'I' | b'i' | b'f' => 4,
            b'D' => 5,
            b'L' | b'l' | b'd' | b'T' => 8,
            b'S' | b'x' => self.length()?,
            container @ (b'A' | b'F') => {
                let length = self.length()?;
                let end = self.at.checked_add(length)?;
                let named = container == b'F';
                return (end <= self.bytes.len()).then_some(Step::Container { end, named });
            }
            _ => return None,
        };
        self.take(fixed)?;
        Some(Step::Scalar)
    }
}

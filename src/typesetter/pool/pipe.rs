//! What crosses the pipe between a worker and its typesetters.
//!
//! A frame is a length (4 bytes, big endian, at most [`FRAME`]) and that many bytes. Parent to
//! child, on its standard input: one [`Order::Hello`], then [`Order::Set`] after `Set`, the next
//! after the answer to the last. Child to parent, on its standard output: [`Reply::Ready`] or
//! [`Reply::Refused`], then a [`Reply::Done`] for each `Set`, each frame JSON; after a `Done` with
//! a PDF comes one frame more, the file, and one for each of its companions. A proof is ordered with [`Order::Prove`] in the place of a
//! `Set`, and after its `Done` comes a frame for each page.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

use crate::config::{self, Format};
use crate::problem::{Outage, Part, Problem};
use crate::typesetter::proof::{Outline, Sheet};
use crate::typesetter::{Manuscript, Pictures, Place, Rare, Remark, Took};

/// The version of what crosses the pipe.
pub(super) const PROTOCOL: u32 = 6;

/// The largest frame, in bytes.
const FRAME: usize = 256 << 20;

/// What the parent says.
#[derive(Serialize, Deserialize)]
pub(super) enum Order<'a> {
    /// The first word. The setup is read only once the versions are found to be the same.
    Hello {
        protocol: u32,
        product: String,
        setup: serde_json::Value,
    },
    /// A report to be set.
    Set {
        number: u64,
        manuscript: Cow<'a, Manuscript>,
    },
    /// A report, of which pictures are to be made.
    Picture {
        number: u64,
        manuscript: Cow<'a, Manuscript>,
        pictures: Pictures,
    },
    /// A refused job, of which pictures are to be made.
    Prove {
        number: u64,
        sheet: Cow<'a, Sheet>,
        tables_alone: bool,
        pictures: Pictures,
    },
}

/// What a child says.
#[derive(Serialize, Deserialize)]
pub(super) enum Reply {
    /// Faces mapped, templates checked, confined but for what is listed, samples set.
    Ready {
        fingerprint: String,
        unconfined: Vec<String>,
    },
    /// It can't work, and why. It ends.
    Refused { part: String, message: String },
    /// What became of a report.
    Done {
        number: u64,
        verdict: Verdict,
        remarks: Vec<Remark>,
    },
}

/// What became of a report.
#[derive(Serialize, Deserialize)]
pub(super) enum Verdict {
    /// It is set; the file is the next frame, and those of these formats follow.
    Set {
        companions: Vec<Format>,
        pages: usize,
        fonts: Vec<String>,
        rare: Vec<Rare>,
        seal: Option<Place>,
        took: Took,
    },
    /// It is set, and its pages are drawn; so many pictures are the next frames.
    Pictured { pages: usize },
    /// It is drawn; the pictures of these pages are the next frames.
    Drawn {
        pages: Vec<Outline>,
        all_pages: usize,
    },
    /// It can't be.
    Rejected { problems: Vec<Problem> },
    /// Something else is wrong.
    Outage { part: String, message: String },
}

/// What a child needs of the settings.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Setup {
    pub(super) fonts: config::Fonts,
    pub(super) templates: config::Templates,
    pub(super) render: config::Render,
    /// What the parent knows of the faces' digests, so that no child has to read them all.
    pub(super) digests: BTreeMap<String, String>,
}

/// An outage's message and its causes, without its part.
pub(super) fn reason(outage: &Outage) -> String {
    let prefix = format!("{}: ", outage.part);
    let chain = outage.chain();
    chain.strip_prefix(&prefix).unwrap_or(&chain).to_owned()
}

/// The part of this name, of those that can be out in a child.
pub(super) fn named(part: &str) -> Part {
    let known = [Part::Fonts, Part::Templates, Part::Disk];
    known
        .into_iter()
        .find(|known| known.as_str() == part)
        .unwrap_or(Part::Typesetter)
}

// Frames.

pub(super) fn read(input: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    input.read_exact(&mut length)?;
    let mut frame = vec![0; checked(length)?];
    input.read_exact(&mut frame)?;
    Ok(frame)
}

pub(super) fn write(output: &mut impl Write, frame: &[u8]) -> io::Result<()> {
    output.write_all(&length(frame)?)?;
    output.write_all(frame)?;
    output.flush()
}

pub(super) fn length(frame: &[u8]) -> io::Result<[u8; 4]> {
    match u32::try_from(frame.len()) {
        Ok(length) if frame.len() <= FRAME => Ok(length.to_be_bytes()),
        _ => Err(broken("a frame is too long")),
    }
}

pub(super) fn checked(length: [u8; 4]) -> io::Result<usize> {
    let length = u32::from_be_bytes(length) as usize;
    if length <= FRAME {
        Ok(length)
    } else {
        Err(broken("a frame is too long"))
    }
}

pub(super) fn broken(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

//! The package: a ZIP (GB/T 33190-2016, 6) written in one fixed way, and read in that way only.
//!
//! Takes files by name, gives the bytes of the package, the same for the same files: in the order
//! given, deflated, the date that ZIP begins with, nothing extra. Reading takes the bytes of any
//! file and gives its entries. Never reads more than banshi's own way of writing, and takes no more
//! memory than [`LARGEST`] for an entry. If we crash here, on whatever file, that is a fault.
//!
//! A reader of any ZIP would have to believe one of three places about each entry, and guess where
//! the directory is. Here all three must say the same, and no byte may be left over.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::ops::Range;

use flate2::read::DeflateDecoder;
use flate2::{Compress, Compression, Crc, FlushCompress, Status};

/// The largest entry that is read, in bytes: as of an attachment of a PDF.
pub(super) const LARGEST: u64 = 64 << 20;

/// The most entries: a multiple of what any report has.
const MOST: usize = 10_000;

const LOCAL: u32 = 0x0403_4b50;
const CENTRAL: u32 = 0x0201_4b50;
const END: u32 = 0x0605_4b50;

const LOCAL_LENGTH: usize = 30;
const CENTRAL_LENGTH: usize = 46;
const END_LENGTH: usize = 22;

/// The version of ZIP that deflate needs, and deflate.
const VERSION: u16 = 20;
const DEFLATE: u16 = 8;

/// How hard deflate looks for what repeats: in XML much does, in outlines of glyphs hardly anything.
/// At 6, too, faces would be a fortieth smaller for half as much work again.
const TEXT: u32 = 6;
const FACE: u32 = 2;

/// 1980-01-01, the first day that ZIP can name.
const DATE: u16 = 0x21;

/// What local header and directory say alike of an entry.
struct Header {
    crc: u32,
    packed: u32,
    plain: u32,
    name_length: u16,
}

impl Header {
    /// From the version needed to the length of the extra field.
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(26);
        for short in [VERSION, 0, DEFLATE, 0, DATE] {
            bytes.extend_from_slice(&short.to_le_bytes());
        }
        for long in [self.crc, self.packed, self.plain] {
            bytes.extend_from_slice(&long.to_le_bytes());
        }
        for short in [self.name_length, 0] {
            bytes.extend_from_slice(&short.to_le_bytes());
        }
        bytes
    }
}

/// A package of these files.
///
/// # Panics
/// When a file or the package is larger than 4 GB, which no report is.
pub(super) fn write(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let long = |length: usize| u32::try_from(length).expect("less than 4 GB");
    let short = |length: usize| u16::try_from(length).expect("few files, short names");
    let (mut package, mut directory) = (Vec::new(), Vec::new());
    let (mut texts, mut faces) = (deflater(TEXT), deflater(FACE));
    for (name, bytes) in files {
        let deflater = match name.ends_with(".ttf") {
            true => &mut faces,
            false => &mut texts,
        };
        let packed = deflate(deflater, bytes);
        let mut crc = Crc::new();
        crc.update(bytes);
        let header = Header {
            crc: crc.sum(),
            packed: long(packed.len()),
            plain: long(bytes.len()),
            name_length: short(name.len()),
        };
        let header = header.bytes();

        directory.extend_from_slice(&CENTRAL.to_le_bytes());
        directory.extend_from_slice(&VERSION.to_le_bytes());
        directory.extend_from_slice(&header);
        // No comment, the first disk, and no attributes.
        directory.extend_from_slice(&[0; 10]);
        directory.extend_from_slice(&long(package.len()).to_le_bytes());
        directory.extend_from_slice(name.as_bytes());

        package.extend_from_slice(&LOCAL.to_le_bytes());
        package.extend_from_slice(&header);
        package.extend_from_slice(name.as_bytes());
        package.extend_from_slice(&packed);
    }
    let count = short(files.len()).to_le_bytes();
    let (start, length) = (long(package.len()), long(directory.len()));
    package.extend_from_slice(&directory);
    package.extend_from_slice(&END.to_le_bytes());
    package.extend_from_slice(&[0; 4]);
    package.extend_from_slice(&count);
    package.extend_from_slice(&count);
    package.extend_from_slice(&length.to_le_bytes());
    package.extend_from_slice(&start.to_le_bytes());
    package.extend_from_slice(&[0; 2]);
    package
}

fn deflater(level: u32) -> Compress {
    Compress::new(Compression::new(level), false)
}

/// Deflates a file whole. One deflater takes one after another: to begin another costs as much as a
/// small file.
fn deflate(deflater: &mut Compress, bytes: &[u8]) -> Vec<u8> {
    deflater.reset();
    let mut packed = Vec::with_capacity(bytes.len() / 2 + 64);
    loop {
        let rest = &bytes[deflater.total_in() as usize..];
        let status = deflater.compress_vec(rest, &mut packed, FlushCompress::Finish);
        match status.expect("a deflater that was reset takes any bytes") {
            Status::StreamEnd => return packed,
            // There is no more room.
            Status::Ok | Status::BufError => packed.reserve(packed.capacity()),
        }
    }
}

/// An entry of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its path.
    pub name: String,
    /// Where its deflated bytes are.
    place: Range<usize>,
    crc: u32,
    plain: u32,
}

/// The entries of a package that is written as `write()` writes; none, of any other file.
pub fn entries(package: &[u8]) -> Option<Vec<Entry>> {
    let end = package.len().checked_sub(END_LENGTH)?;
    let record = package.get(end..)?;
    let (count, start) = (short(record, 8)?, long(record, 16)? as usize);
    let wanted = [
        &END.to_le_bytes()[..],
        &[0; 4],
        &count.to_le_bytes(),
        &count.to_le_bytes(),
        &u32::try_from(end.checked_sub(start)?).ok()?.to_le_bytes(),
        &record[16..20],
        &[0; 2],
    ];
    if record != wanted.concat() || usize::from(count) > MOST {
        return None;
    }
    let (mut entries, mut names) = (Vec::new(), BTreeSet::new());
    // What comes next in the directory, and among the files.
    let (mut at, mut file) = (start, 0_usize);
    for _ in 0..count {
        let directory = package.get(at..at.checked_add(CENTRAL_LENGTH)?)?;
        let header = Header {
            crc: long(directory, 16)?,
            packed: long(directory, 20)?,
            plain: long(directory, 24)?,
            name_length: short(directory, 28)?,
        };
        let bytes = header.bytes();
        at += CENTRAL_LENGTH;
        let name = package.get(at..at + usize::from(header.name_length))?;
        at += name.len();
        let wanted = [
            &CENTRAL.to_le_bytes()[..],
            &VERSION.to_le_bytes(),
            &bytes,
            &[0; 10],
            &u32::try_from(file).ok()?.to_le_bytes(),
        ];
        if directory != wanted.concat() || at > end {
            return None;
        }
        let local = [&LOCAL.to_le_bytes()[..], &bytes, name].concat();
        if package.get(file..file + local.len())? != local {
            return None;
        }
        let place = file + LOCAL_LENGTH + name.len();
        file = place.checked_add(header.packed as usize)?;
        let name = std::str::from_utf8(name).ok().filter(|name| plain(name))?;
        if file > start || !names.insert(name) {
            return None;
        }
        entries.push(Entry {
            name: name.to_owned(),
            place: place..file,
            crc: header.crc,
            plain: header.plain,
        });
    }
    (at == end && file == start).then_some(entries)
}

impl Entry {
    /// What a package has of it, still deflated.
    pub fn packed<'a>(&self, package: &'a [u8]) -> &'a [u8] {
        package.get(self.place.clone()).unwrap_or_default()
    }

    /// Its bytes; none, when they are not as many or not those that its header says, or more than
    /// `LARGEST`.
    pub fn read(&self, package: &[u8]) -> Option<Vec<u8>> {
        if u64::from(self.plain) > LARGEST {
            return None;
        }
        let mut bytes = Vec::new();
        let mut inflated =
            DeflateDecoder::new(self.packed(package)).take(u64::from(self.plain) + 1);
        inflated.read_to_end(&mut bytes).ok()?;
        let mut crc = Crc::new();
        crc.update(&bytes);
        (bytes.len() == self.plain as usize && crc.sum() == self.crc).then_some(bytes)
    }
}

/// A path within the package, of the letters that banshi's have.
fn plain(name: &str) -> bool {
    let right = |part: &str| {
        let letter = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        !part.is_empty() && !part.starts_with('.') && part.bytes().all(letter)
    };
    name.split('/').all(right)
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at + 2)?;
    Some(u16::from_le_bytes(bytes.try_into().ok()?))
}

fn long(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> Vec<(String, Vec<u8>)> {
        vec![
            ("OFD.xml".to_owned(), b"<ofd:OFD/>".to_vec()),
            ("Doc_0/Document.xml".to_owned(), vec![b'x'; 3000]),
            ("Doc_0/empty".to_owned(), Vec::new()),
        ]
    }

    fn named(name: &str) -> Vec<u8> {
        write(&[(name.to_owned(), b"x".to_vec())])
    }

    #[test]
    fn what_is_written_is_read_and_written_the_same_again() {
        let package = write(&files());
        assert_eq!(package, write(&files()));
        let entries = entries(&package).unwrap();
        let read = entries
            .iter()
            .map(|entry| (entry.name.clone(), entry.read(&package).unwrap()));
        assert_eq!(read.collect::<Vec<_>>(), files());
        assert_eq!(super::entries(&write(&[])), Some(Vec::new()));
    }

    #[test]
    fn names_that_lead_elsewhere_or_come_twice_are_refused() {
        assert!(entries(&named("a/b.xml")).is_some());
        for name in [
            "../a", "a/../b", "/a", "a//b", "a/", "", ".", "a\\b", "C:a", "a\0", "数", "a b",
        ] {
            assert_eq!(entries(&named(name)), None, "{name:?}");
        }
        let twice = ["a", "a"].map(|name| (name.to_owned(), b"x".to_vec()));
        assert_eq!(entries(&write(&twice)), None);
    }

    #[test]
    fn what_would_take_all_memory_is_refused() {
        let bomb = vec![0; usize::try_from(LARGEST).unwrap() + 1];
        let package = write(&[("a".to_owned(), bomb)]);
        assert!(package.len() < 100_000);
        let entries = entries(&package).unwrap();
        assert_eq!(entries[0].read(&package), None);
    }

    #[test]
    fn an_entry_is_as_long_as_its_header_says_and_has_its_sum() {
        let package = write(&files());
        let entry = entries(&package).unwrap().remove(1);
        for (crc, plain) in [
            (entry.crc ^ 1, entry.plain),
            (entry.crc, entry.plain - 1),
            (entry.crc, entry.plain + 1),
            (entry.crc, u32::MAX),
        ] {
            let other = Entry {
                crc,
                plain,
                ..entry.clone()
            };
            assert_eq!(other.read(&package), None);
        }
    }

    #[test]
    fn no_byte_can_be_cut_off_put_before_or_after() {
        let package = write(&files());
        for end in 0..package.len() {
            assert_eq!(entries(&package[..end]), None, "{end}");
        }
        assert_eq!(entries(&[&package, &b"x"[..]].concat()), None);
        assert_eq!(entries(&[&b"x"[..], &package].concat()), None);
    }

    proptest::proptest! {
        /// A changed byte is either seen here, or is one of an entry, and then of its content.
        #[test]
        fn no_damage_goes_unseen(at in 0_usize..10_000, with_byte in 0_u8..) {
            let package = write(&files());
            let mut changed = package.clone();
            let at = at % package.len();
            changed[at] = with_byte;
            let read = |package: &[u8]| {
                let entries = entries(package)?;
                let read = entries.iter().map(|entry| Some((entry.name.clone(), entry.read(package)?)));
                read.collect::<Option<Vec<_>>>()
            };
            match read(&changed) {
                // One deflated stream may say the same as another.
                Some(read) => assert_eq!(read, files()),
                None => assert_ne!(changed, package),
            }
        }
    }
}

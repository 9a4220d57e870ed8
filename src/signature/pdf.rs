//! The revisions of a PDF, read as the standard says and no other way (ISO 32000-1, 7.5).
//!
//! A reader that repairs what it finds may see another file than the next reader does, and what is
//! hidden between the two is how signed files are forged. So every byte of an update has to be an
//! object that its cross-reference table names, the table, the trailer, or white space; a name that
//! stands twice in a dictionary, an offset that is not its object's, a length that does not end at
//! `endstream` make it unreadable.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::attachment::{is_regular, is_space};

/// How deep arrays and dictionaries may nest.
const DEPTH: usize = 32;

/// The most revisions of a file.
const REVISIONS: usize = 32;

/// How much all updates may add, in bytes.
const ADDED: usize = 64 << 20;
/// The most of it outside of streams, in bytes, and the most values of one object: each is some
/// fifty bytes when it is read.
const PLAIN: usize = 8 << 20;
const VALUES: usize = 1 << 20;

/// The most objects that one update may bring.
const OBJECTS: usize = 2_000;

/// The longest object that is a stream's length, in bytes: it is read anew for each stream.
const LENGTH: usize = 64;

/// How far from the end of the file the last `startxref` may stand, in bytes.
const TAIL: usize = 128;

pub type Dictionary = BTreeMap<Vec<u8>, Object>;

/// A value. Those that mean the same are equal, however they are written.
#[derive(Debug, Clone, PartialEq)]
pub enum Object {
    Null,
    Boolean(bool),
    Number(f64),
    Name(Vec<u8>),
    String(Vec<u8>),
    Array(Vec<Object>),
    Dictionary(Dictionary),
    Reference(u32),
    /// The place of its bytes in the file, as they are written there.
    Stream(Dictionary, Range<usize>),
}

impl Object {
    /// The entries of a dictionary or of a stream's.
    pub fn entries(&self) -> Option<&Dictionary> {
        match self {
            Object::Dictionary(entries) | Object::Stream(entries, _) => Some(entries),
            _ => None,
        }
    }

    pub fn get(&self, key: &str) -> Option<&Object> {
        self.entries()?.get(key.as_bytes())
    }

    pub fn array(&self) -> Option<&[Object]> {
        match self {
            Object::Array(items) => Some(items),
            _ => None,
        }
    }

    pub fn number(&self) -> Option<f64> {
        match self {
            Object::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// A whole number that is none below zero, such as an offset.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole, and in bounds"
    )]
    pub fn whole(&self) -> Option<usize> {
        let number = self.number()?;
        let fits = number >= 0.0 && number <= f64::from(u32::MAX) && number.fract() == 0.0;
        fits.then_some(number as usize)
    }

    pub fn reference(&self) -> Option<u32> {
        match self {
            Object::Reference(number) => Some(*number),
            _ => None,
        }
    }

    pub fn string(&self) -> Option<&[u8]> {
        match self {
            Object::String(bytes) => Some(bytes),
            _ => None,
        }
    }

    pub fn is_name(&self, name: &str) -> bool {
        matches!(self, Object::Name(found) if found == name.as_bytes())
    }
}

/// What was appended at once: objects, their table, a trailer.
#[derive(Debug)]
pub struct Revision {
    /// From the end of the revision before it to the end of the line after its `%%EOF`.
    pub place: Range<usize>,
    /// Where its `%%EOF` ends.
    pub mark: usize,
    /// Where each object stands that it brings.
    pub objects: BTreeMap<u32, usize>,
    /// The numbers that it takes back.
    pub freed: Vec<u32>,
    pub trailer: Dictionary,
}

/// Why a file can't be read, and from which byte on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreadable {
    pub at: usize,
    pub en: &'static str,
    pub zh: &'static str,
}

fn unreadable(at: usize, en: &'static str, zh: &'static str) -> Unreadable {
    Unreadable { at, en, zh }
}

/// The revisions of a file, from the first on, which ends at `first`: it is believed, those after
/// it are read to the last byte.
pub fn revisions(file: &[u8], first: usize) -> Result<Vec<Revision>, Unreadable> {
    let own = |at| unreadable(at, "the first revision can't be read", "首个版本无法读取");
    let table = last_table(&file[..first]).ok_or_else(|| own(first))?;
    let base = section(&file[..first], table, usize::MAX).map_err(|_| own(table))?;
    if base.trailer.contains_key(b"Prev".as_slice()) {
        return Err(own(table));
    }
    if file.len() - first > ADDED {
        let (en, zh) = (
            "more was added than is ever read",
            "追加的内容过多，不予读取",
        );
        return Err(unreadable(first, en, zh));
    }
    let mut tables = Vec::new();
    let mut next = last_table(file).ok_or_else(|| {
        unreadable(
            file.len(),
            "it does not end with startxref, an offset and %%EOF, as an update does",
            "文件末尾不是增量更新应有的startxref、偏移量与%%EOF",
        )
    })?;
    while next != table {
        if next < first || tables.last().is_some_and(|last| *last <= next) {
            let (en, zh) = (
                "the cross-reference tables do not lead back to the first revision",
                "交叉引用表未能依次回溯到首个版本",
            );
            return Err(unreadable(next, en, zh));
        }
        if tables.len() == REVISIONS {
            return Err(unreadable(next, "too many updates", "增量更新次数过多"));
        }
        tables.push(next);
        let prev = section(file, next, OBJECTS)?.trailer;
        next = prev
            .get(b"Prev".as_slice())
            .and_then(Object::whole)
            .ok_or_else(|| {
                unreadable(
                    next,
                    "the trailer has no Prev, so that all that went before is left out",
                    "文件尾缺少Prev，此前的全部内容会被略去",
                )
            })?;
    }
    let mut revisions = vec![Revision {
        place: 0..first,
        ..base
    }];
    for table in tables.into_iter().rev() {
        let begin = revisions[revisions.len() - 1].place.end;
        let mut revision = section(file, table, OBJECTS)?;
        revision.place.start = begin;
        tiled(file, begin, table, &revision)?;
        revisions.push(revision);
    }
    let end = revisions[revisions.len() - 1].place.end;
    if end != file.len() {
        let (en, zh) = (
            "bytes follow the end of the last update",
            "最后一次增量更新之后还有内容",
        );
        return Err(unreadable(end, en, zh));
    }
    Ok(revisions)
}

/// Where the last cross-reference table stands, as the end of the file says.
fn last_table(file: &[u8]) -> Option<usize> {
    const MARK: &[u8] = b"startxref";
    let tail = file.len().saturating_sub(TAIL);
    let found = file[tail..].windows(MARK.len()).rposition(|w| w == MARK)?;
    let mut cursor = Cursor::at(file, tail + found + MARK.len());
    cursor.space();
    cursor.digits()
}

/// The table at an offset, of at most so many entries, and the trailer after it.
fn section(file: &[u8], table: usize, most: usize) -> Result<Revision, Unreadable> {
    let mut cursor = Cursor::at(file, table);
    let wrong = |at: usize| {
        let (en, zh) = (
            "no cross-reference table of entries of 20 bytes, with a trailer and %%EOF, is there",
            "此处没有以20字节条目写成的交叉引用表及其后的文件尾与%%EOF",
        );
        unreadable(at, en, zh)
    };
    if !cursor.word(b"xref") {
        return Err(wrong(table));
    }
    let (mut objects, mut freed) = (BTreeMap::new(), Vec::new());
    let mut seen = std::collections::BTreeSet::new();
    cursor.space();
    while !cursor.word(b"trailer") {
        let at = cursor.at;
        let mut entries = || {
            let first = cursor.digits()?;
            cursor.word(b" ").then_some(())?;
            let count = cursor.digits()?;
            cursor.blanks();
            cursor.line()?;
            for number in first..first.checked_add(count)? {
                let number = u32::try_from(number).ok()?;
                let entry = cursor.take(20)?;
                let (place, used) = entry_of(entry)?;
                (seen.insert(number) && seen.len() <= most).then_some(())?;
                match used {
                    true => {
                        objects.insert(number, place);
                    }
                    false => freed.push(number),
                }
            }
            Some(())
        };
        entries().ok_or_else(|| wrong(at))?;
    }
    let mut rest = || {
        let Object::Dictionary(trailer) = cursor.object(DEPTH)? else {
            return None;
        };
        cursor.gap()?;
        cursor.word(b"startxref").then_some(())?;
        cursor.space();
        (cursor.digits()? == table).then_some(())?;
        cursor.space();
        cursor.word(b"%%EOF").then_some(())?;
        let mark = cursor.at;
        // A file may end without the line's end.
        cursor.line();
        Some((trailer, mark))
    };
    let (trailer, mark) = rest().ok_or_else(|| wrong(table))?;
    let place = 0..cursor.at;
    Ok(Revision {
        place,
        mark,
        objects,
        freed,
        trailer,
    })
}

/// What an entry says: the place, and whether it is in use.
fn entry_of(entry: &[u8]) -> Option<(usize, bool)> {
    let (place, rest) = entry.split_at_checked(10)?;
    let (generation, rest) = rest.split_at_checked(7)?;
    if !place.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let place = std::str::from_utf8(place).ok()?.parse().ok()?;
    let used = match rest {
        b"n \n" | b"n \r" | b"n\r\n" if generation == b" 00000 " => true,
        b"f \n" | b"f \r" | b"f\r\n" => false,
        _ => return None,
    };
    Some((place, used))
}

/// Every byte between the end of the last revision and the table is an object of the table, or
/// white space.
fn tiled(file: &[u8], begin: usize, table: usize, revision: &Revision) -> Result<(), Unreadable> {
    let mut places: Vec<(usize, u32)> = revision.objects.iter().map(|(n, at)| (*at, *n)).collect();
    places.sort_unstable();
    let (mut end, mut plain) = (begin, 0);
    let hidden = |at| {
        let (en, zh) = (
            "bytes that belong to no object of the cross-reference table",
            "此处的内容不属于交叉引用表所列的任何对象",
        );
        unreadable(at, en, zh)
    };
    let length = |number: u32| {
        let at = revision.objects.get(&number)?;
        length_of(file, number, *at)
    };
    for (at, number) in places {
        let mut gap = Cursor::at(file, end);
        gap.gap();
        if gap.at != at {
            return Err(hidden(end));
        }
        let (found, after) = object(file, number, at, length).ok_or_else(|| {
            let (en, zh) = (
                "an object that can't be read as the standard writes it",
                "此处的对象不能按标准读取",
            );
            unreadable(at, en, zh)
        })?;
        let data = match &found {
            Object::Stream(_, data) => data.len(),
            _ => 0,
        };
        plain += after - at - data;
        if plain > PLAIN {
            let (en, zh) = (
                "more was added than is ever read",
                "追加的内容过多，不予读取",
            );
            return Err(unreadable(at, en, zh));
        }
        end = after;
    }
    let mut gap = Cursor::at(file, end);
    gap.gap();
    match gap.at == table {
        true => Ok(()),
        false => Err(hidden(end)),
    }
}

/// The object of this number at this place, and where it ends; `length` looks up a stream's, where
/// that is an object of its own.
pub fn object(
    file: &[u8],
    number: u32,
    at: usize,
    length: impl Fn(u32) -> Option<usize>,
) -> Option<(Object, usize)> {
    let mut cursor = Cursor::at(file, at);
    cursor.header(number)?;
    let object = cursor.object(DEPTH)?;
    cursor.space();
    let object = match object {
        Object::Dictionary(entries) if cursor.word(b"stream") => {
            let length = match entries.get(b"Length".as_slice())? {
                Object::Reference(number) => length(*number)?,
                length => length.whole()?,
            };
            // A lone carriage return ends no line here (7.3.8.1).
            let ends = cursor.word(b"\r\n") || cursor.word(b"\n");
            ends.then_some(())?;
            let data = cursor.at..cursor.at.checked_add(length)?;
            cursor.take(length)?;
            cursor.space();
            cursor.word(b"endstream").then_some(())?;
            cursor.space();
            Object::Stream(entries, data)
        }
        object => object,
    };
    cursor.word(b"endobj").then_some(())?;
    Some((object, cursor.at))
}

/// The whole number that is the object of this number at this place, such as a stream's length.
pub fn length_of(file: &[u8], number: u32, at: usize) -> Option<usize> {
    let end = at.saturating_add(LENGTH).min(file.len());
    object(&file[..end], number, at, |_| None)?.0.whole()
}

/// Where the value of an entry of the dictionary stands that is the object of this number at this
/// place.
pub fn entry(file: &[u8], number: u32, at: usize, key: &str) -> Option<Range<usize>> {
    let mut cursor = Cursor::at(file, at);
    cursor.header(number)?;
    cursor.word(b"<<").then_some(())?;
    loop {
        cursor.space();
        let Object::Name(found) = cursor.object(DEPTH)? else {
            return None;
        };
        cursor.space();
        let begin = cursor.at;
        cursor.object(DEPTH)?;
        if found == key.as_bytes() {
            return Some(begin..cursor.at);
        }
    }
}

/// A place in the file.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    /// How many values are still read.
    values: usize,
}

impl<'a> Cursor<'a> {
    fn at(bytes: &'a [u8], at: usize) -> Cursor<'a> {
        let at = at.min(bytes.len());
        Cursor {
            bytes,
            at,
            values: VALUES,
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(count)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    /// Takes what belongs together.
    fn run(&mut self, belongs: impl Fn(u8) -> bool) -> &'a [u8] {
        let rest = &self.bytes[self.at..];
        let count = rest.iter().position(|byte| !belongs(*byte));
        let count = count.unwrap_or(rest.len());
        self.at += count;
        &rest[..count]
    }

    fn space(&mut self) {
        self.run(is_space);
    }

    /// Blanks within a line.
    fn blanks(&mut self) {
        self.run(|byte| byte == b' ');
    }

    /// Takes these bytes, if they come next.
    fn word(&mut self, word: &[u8]) -> bool {
        let found = self.bytes[self.at..].starts_with(word);
        if found {
            self.at += word.len();
        }
        found
    }

    /// Takes the end of a line.
    fn line(&mut self) -> Option<()> {
        (self.word(b"\r\n") || self.word(b"\n") || self.word(b"\r")).then_some(())
    }

    /// White space, and comments that say nothing which a reader in need might take for a part of
    /// the file.
    fn gap(&mut self) -> Option<()> {
        const TELLING: [&[u8]; 4] = [b"obj", b"stream", b"xref", b"%EOF"];
        loop {
            self.space();
            let begin = self.at;
            if self.peek() != Some(b'%') || self.bytes[self.at..].starts_with(b"%%EOF") {
                return Some(());
            }
            let comment = self.run(|byte| byte != b'\n' && byte != b'\r');
            let tells = |word: &&[u8]| comment.windows(word.len()).any(|found| found == *word);
            if TELLING.iter().any(tells) || comment.contains(&0) {
                self.at = begin;
                return None;
            }
        }
    }

    /// At most as many digits as an offset has in a table.
    fn digits(&mut self) -> Option<usize> {
        let digits = self.run(|byte| byte.is_ascii_digit());
        let text = std::str::from_utf8(digits).ok()?;
        (text.len() <= 10).then(|| text.parse().ok())?
    }

    /// The beginning of an object of this number and of no other generation than the first.
    fn header(&mut self, number: u32) -> Option<()> {
        (self.digits()? == usize::try_from(number).ok()?).then_some(())?;
        self.space();
        (self.digits()? == 0).then_some(())?;
        self.space();
        self.word(b"obj").then_some(())?;
        self.space();
        Some(())
    }

    /// The object that comes next, with at most `depth` levels below it.
    fn object(&mut self, depth: usize) -> Option<Object> {
        let depth = depth.checked_sub(1)?;
        self.values = self.values.checked_sub(1)?;
        self.space();
        match self.peek()? {
            b'<' if self.word(b"<<") => {
                let mut entries = Dictionary::new();
                loop {
                    self.space();
                    if self.word(b">>") {
                        return Some(Object::Dictionary(entries));
                    }
                    let Object::Name(key) = self.object(depth)? else {
                        return None;
                    };
                    let value = self.object(depth)?;
                    // Which of two counts, readers do not agree upon. None is the same as absent.
                    if entries.contains_key(&key) {
                        return None;
                    }
                    if value != Object::Null {
                        entries.insert(key, value);
                    }
                }
            }
            b'<' => self.hexadecimal(),
            b'[' => {
                self.at += 1;
                let mut items = Vec::new();
                loop {
                    self.space();
                    if self.word(b"]") {
                        return Some(Object::Array(items));
                    }
                    items.push(self.object(depth)?);
                }
            }
            b'/' => {
                self.at += 1;
                self.name()
            }
            b'(' => {
                self.at += 1;
                self.literal()
            }
            b'+' | b'-' | b'.' | b'0'..=b'9' => self.number(),
            _ => match self.run(is_regular) {
                b"true" => Some(Object::Boolean(true)),
                b"false" => Some(Object::Boolean(false)),
                b"null" => Some(Object::Null),
                _ => None,
            },
        }
    }

    /// A number, or the first of a reference.
    fn number(&mut self) -> Option<Object> {
        let text = self.run(is_regular);
        let plain = |byte: &u8| byte.is_ascii_digit() || b"+-.".contains(byte);
        if text.len() > 40 || !text.iter().all(plain) {
            return None;
        }
        if text.iter().all(u8::is_ascii_digit) {
            let begin = self.at;
            self.space();
            if self.word(b"0") && self.peek().is_some_and(is_space) {
                self.space();
                if self.word(b"R") && !self.peek().is_some_and(is_regular) {
                    let text = std::str::from_utf8(text).ok()?;
                    return text.parse().ok().map(Object::Reference);
                }
            }
            self.at = begin;
        }
        let number = std::str::from_utf8(text).ok()?.parse().ok()?;
        Some(Object::Number(number))
    }

    /// A name after its slash.
    fn name(&mut self) -> Option<Object> {
        let text = self.run(is_regular);
        let mut name = Vec::new();
        let mut rest = text.iter();
        while let Some(byte) = rest.next() {
            name.push(match byte {
                b'#' => hex(*rest.next()?)? << 4 | hex(*rest.next()?)?,
                byte => *byte,
            });
        }
        Some(Object::Name(name))
    }

    fn hexadecimal(&mut self) -> Option<Object> {
        self.at += 1;
        let text = self.run(|byte| byte.is_ascii_hexdigit() || is_space(byte));
        self.word(b">").then_some(())?;
        let digits: Vec<u8> = text.iter().copied().filter_map(hex).collect();
        let pairs = digits.chunks(2);
        let bytes = pairs.map(|pair| pair[0] << 4 | pair.get(1).unwrap_or(&0));
        Some(Object::String(bytes.collect()))
    }

    /// A string after its parenthesis (7.3.4.2).
    fn literal(&mut self) -> Option<Object> {
        let (mut bytes, mut open) = (Vec::new(), 1_usize);
        loop {
            let byte = self.take(1)?[0];
            match byte {
                b'(' => open += 1,
                b')' => open -= 1,
                b'\\' => {
                    if self.line().is_some() {
                        continue;
                    }
                    bytes.push(match self.take(1)?[0] {
                        b'n' => b'\n',
                        b'r' => b'\r',
                        b't' => b'\t',
                        b'b' => 8,
                        b'f' => 12,
                        digit @ b'0'..=b'7' => {
                            let mut code = u32::from(digit - b'0');
                            for _ in 0..2 {
                                let Some(digit @ b'0'..=b'7') = self.peek() else {
                                    break;
                                };
                                self.at += 1;
                                code = code * 8 + u32::from(digit - b'0');
                            }
                            u8::try_from(code & 0xFF).ok()?
                        }
                        other => other,
                    });
                    continue;
                }
                b'\r' => {
                    self.word(b"\n");
                    bytes.push(b'\n');
                    continue;
                }
                _ => {}
            }
            if open == 0 {
                return Some(Object::String(bytes));
            }
            bytes.push(byte);
        }
    }
}

fn hex(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of two objects, and an update of the second.
    fn updated(object: &str) -> (Vec<u8>, usize) {
        let mut file = b"%PDF-1.7\n".to_vec();
        let mut section = |objects: &[(u32, &str)], prev: &str| {
            let mut table = String::new();
            for (number, object) in objects {
                table += &format!("{number} 1\n{:010} 00000 n \n", file.len());
                file.extend(format!("{number} 0 obj\n{object}\nendobj\n").bytes());
            }
            let at = file.len();
            let trailer =
                format!("trailer\n<</Size 3/Root 1 0 R{prev}>>\nstartxref\n{at}\n%%EOF\n");
            file.extend(format!("xref\n{table}{trailer}").bytes());
            (at, file.len())
        };
        let (table, first) = section(&[(1, "<</Type/Catalog>>"), (2, "(old)")], "");
        section(&[(2, object)], &format!("/Prev {table}"));
        (file, first)
    }

    fn read(object: &str) -> Option<Object> {
        let (file, first) = updated(object);
        let revisions = revisions(&file, first).ok()?;
        assert_eq!(revisions.len(), 2);
        let update = &revisions[1];
        assert_eq!(update.place, first..file.len());
        Some(super::object(&file, 2, update.objects[&2], |_| None)?.0)
    }

    #[test]
    fn what_means_the_same_is_the_same() {
        for (one, other) in [
            ("(a\\(b\\)\\101\\n\\\nc)", "<61 286229 41 0A 63>"),
            ("/A#20B", "/A#20B"),
            ("[1.50 +2 -.5 null]", "[1.5 2 -0.5 null]"),
            ("<</A 1/B null>>", "<< /A 1 >>"),
            ("[1 0 R 1 0]", "[ 1  0  R 1 0 ]"),
        ] {
            let (one, other) = (read(one), read(other));
            assert!(one.is_some() && one == other, "{one:?} {other:?}");
        }
        assert_ne!(read("(a)"), read("/a"));
    }

    #[test]
    fn what_readers_read_differently_is_not_read() {
        for object in [
            "<</A 1/A 2>>",
            "<</A 1",
            "<</A 1 2>>",
            "(a",
            "<6g>",
            "1 2 R",
            "1e5",
            "% a comment\n1",
            "1\nendobj\n3 0 obj\n2",
            "<</Length 3>>\nstream\n12345\nendstream",
            "<</Length 5>>\nstream\r12345\nendstream",
        ] {
            assert_eq!(read(object), None, "{object}");
        }
        assert!(read("<</Length 5>>\nstream\r\n12345\nendstream").is_some());
    }

    proptest::proptest! {
        /// Whatever becomes of a byte or two, and wherever the file ends, there is an answer.
        #[test]
        fn no_damage_brings_it_down(
            at in 0_usize..600, with in 0_u8.., other in 0_usize..600, end in 0_usize..600,
        ) {
            let (mut file, first) = updated("<</A[1 0 R(a)<62>]/Length 2>>\nstream\nab\nendstream");
            let length = file.len();
            for place in [at, other] {
                file[place % length] = with;
            }
            file.truncate(end.max(first));
            let answer = revisions(&file, first);
            if let Ok(revisions) = answer {
                for (number, at) in &revisions[revisions.len() - 1].objects {
                    let _object = super::object(&file, *number, *at, |_| None);
                }
            }
        }
    }
}

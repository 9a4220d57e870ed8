//! What is in a PDF that banshi wrote: what is attached, the pages, the faces.
//!
//! Takes the bytes of any file, gives the attachment of a name, or the number of pages and the
//! faces. Never reads more than banshi's own way of writing a PDF: a plain cross-reference table, a
//! flat list of names, streams that are deflated or nothing. If we crash here, on whatever file,
//! that is a fault: every place is looked up with its bounds, nesting and sizes have limits, and
//! nothing is followed twice.
//!
//! A reader of any PDF would read more, and be at the mercy of who made the file: those that are to
//! be had recurse as deep as it nests. Nothing is lost by reading less, since what another program
//! has saved again is not banshi's file any more.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;

use flate2::read::ZlibDecoder;

/// The largest attachment, in bytes: a multiple of any job.
const LARGEST: u64 = 64 << 20;

/// How deep arrays and dictionaries may nest.
const DEPTH: usize = 16;

/// Why an attachment can't be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It does not begin as a PDF does.
    #[error("it is not a PDF")]
    NotPdf,
    /// It is one, but not written as banshi writes it.
    #[error("it is not written as banshi writes a PDF; another program made it or saved it again")]
    Foreign,
    /// Nothing of that name is attached.
    #[error("nothing of that name is attached")]
    Absent,
}

/// The content of the first file of this name that is attached, in the first revision of the PDF.
///
/// # Errors
/// When it can't be had, and why.
pub fn attachment(pdf: &[u8], name: &str) -> Result<Vec<u8>, Unreadable> {
    if !pdf.starts_with(b"%PDF-") {
        return Err(Unreadable::NotPdf);
    }
    let file = File::read(pdf).ok_or(Unreadable::Foreign)?;
    let names = file.attached().ok_or(Unreadable::Foreign)?;
    let spec = names.chunks_exact(2).find_map(|pair| match pair {
        [Object::String(found), spec] if found == name.as_bytes() => Some(spec),
        _ => None,
    });
    let spec = spec.ok_or(Unreadable::Absent)?;
    file.content(spec).ok_or(Unreadable::Foreign)
}

/// Where the first revision of a PDF ends, with the line end after its `%%EOF`.
pub fn first_revision(pdf: &[u8]) -> Option<usize> {
    let mut cursor = first_startxref(pdf)?;
    cursor.number()?;
    cursor.word(b"%%EOF").then_some(())?;
    Some(cursor.line().unwrap_or(cursor.at))
}

/// After the first `startxref` of a file.
fn first_startxref(bytes: &[u8]) -> Option<Cursor<'_>> {
    const MARK: &[u8] = b"startxref";
    let mark = bytes.windows(MARK.len()).position(|found| found == MARK)?;
    Some(Cursor::at(bytes, mark + MARK.len()))
}

/// What a PDF has, whoever says what made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// Its pages.
    pub pages: usize,
    /// The PostScript names of the faces embedded, sorted.
    pub faces: Vec<String>,
}

/// The pages and the faces of the first revision of the PDF.
///
/// # Errors
/// When they can't be had, and why.
pub fn contents(pdf: &[u8]) -> Result<Contents, Unreadable> {
    if !pdf.starts_with(b"%PDF-") {
        return Err(Unreadable::NotPdf);
    }
    let file = File::read(pdf).ok_or(Unreadable::Foreign)?;
    let pages = file.pages().ok_or(Unreadable::Foreign)?;
    let faces = file.faces();
    Ok(Contents { pages, faces })
}

/// A value, as far as it is needed here.
#[derive(Debug, Clone, PartialEq)]
enum Object {
    Dictionary(BTreeMap<Vec<u8>, Object>),
    Array(Vec<Object>),
    Name(Vec<u8>),
    String(Vec<u8>),
    Number(u64),
    Reference(u64),
    /// `true`, `null`, a fraction or a sign: of no use here.
    Other,
}

impl Object {
    fn get(&self, key: &str) -> Option<&Object> {
        match self {
            Object::Dictionary(entries) => entries.get(key.as_bytes()),
            _ => None,
        }
    }
}

struct File<'a> {
    bytes: &'a [u8],
    /// Where each object begins.
    places: BTreeMap<u64, usize>,
    trailer: Object,
}

impl<'a> File<'a> {
    /// Reads the first cross-reference table. What was appended later stands after it.
    fn read(bytes: &'a [u8]) -> Option<File<'a>> {
        let mut cursor = first_startxref(bytes)?;
        let table = usize::try_from(cursor.number()?).ok()?;
        let mut cursor = Cursor::at(bytes, table);
        let mut places = BTreeMap::new();
        cursor.word(b"xref").then_some(())?;
        while !cursor.word(b"trailer") {
            let (first, count) = (cursor.number()?, cursor.number()?);
            for number in 0..count {
                let place = cursor.number()?;
                cursor.number()?;
                if cursor.word(b"n") {
                    places.insert(first.checked_add(number)?, usize::try_from(place).ok()?);
                } else {
                    cursor.word(b"f").then_some(())?;
                }
            }
        }
        let trailer = cursor.object(DEPTH)?;
        Some(File {
            bytes,
            places,
            trailer,
        })
    }

    /// Names and file specifications, one after the other.
    fn attached(&self) -> Option<Vec<Object>> {
        let root = self.follow(self.trailer.get("Root")?)?;
        let Some(names) = root.get("Names") else {
            return Some(Vec::new());
        };
        let names = self.follow(names)?;
        let Some(files) = names.get("EmbeddedFiles") else {
            return Some(Vec::new());
        };
        match self.follow(self.follow(files)?.get("Names")?)? {
            Object::Array(names) => Some(names),
            _ => None,
        }
    }

    fn pages(&self) -> Option<usize> {
        let root = self.follow(self.trailer.get("Root")?)?;
        match self.follow(root.get("Pages")?)?.get("Count")? {
            Object::Number(count) => usize::try_from(*count).ok(),
            _ => None,
        }
    }

    /// The names in the font descriptors. Before a subset's stands a tag, `ABCDEF+` (ISO 32000-1,
    /// 9.6.4).
    fn faces(&self) -> Vec<String> {
        let objects = self.places.keys().filter_map(|number| self.object(*number));
        let names = objects.filter_map(|(object, _)| match object.get("FontName")? {
            Object::Name(name) => Some(String::from_utf8_lossy(name).into_owned()),
            _ => None,
        });
        let plain = |name: String| match name.split_once('+') {
            Some((_, plain)) => plain.to_owned(),
            None => name,
        };
        let names: BTreeSet<String> = names.map(plain).collect();
        names.into_iter().collect()
    }

    /// The bytes of the file that a specification stands for.
    fn content(&self, spec: &Object) -> Option<Vec<u8>> {
        let spec = self.follow(spec)?;
        let files = self.follow(spec.get("EF")?)?;
        let Object::Reference(number) = files.get("F")? else {
            return None;
        };
        let (stream, mut cursor) = self.object(*number)?;
        if !cursor.word(b"stream") || stream.get("DecodeParms").is_some() {
            return None;
        }
        let Object::Number(length) = self.follow(stream.get("Length")?)? else {
            return None;
        };
        let start = cursor.line()?;
        let end = start.checked_add(usize::try_from(length).ok()?)?;
        let data = self.bytes.get(start..end)?;
        let mut content = Vec::new();
        match stream.get("Filter") {
            None => content.extend_from_slice(data),
            Some(Object::Name(filter)) if filter == b"FlateDecode" => {
                let mut inflated = ZlibDecoder::new(data).take(LARGEST + 1);
                inflated.read_to_end(&mut content).ok()?;
            }
            Some(_) => return None,
        }
        (content.len() as u64 <= LARGEST).then_some(content)
    }

    /// The object behind a reference, or the object itself. What refers to a reference is not ours.
    fn follow(&self, object: &Object) -> Option<Object> {
        match object {
            Object::Reference(number) => Some(self.object(*number)?.0),
            object => Some(object.clone()),
        }
    }

    /// An object by its number, and the place after it.
    fn object(&self, number: u64) -> Option<(Object, Cursor<'a>)> {
        let mut cursor = Cursor::at(self.bytes, *self.places.get(&number)?);
        if cursor.number()? != number {
            return None;
        }
        cursor.number()?;
        cursor.word(b"obj").then_some(())?;
        let object = cursor.object(DEPTH)?;
        Some((object, cursor))
    }
}

/// A place in the file.
#[derive(Clone, Copy)]
struct Cursor<'a> {
    /// What follows.
    rest: &'a [u8],
    /// How much went before.
    at: usize,
}

impl<'a> Cursor<'a> {
    /// The place at an offset; the end, if that is beyond it.
    fn at(bytes: &'a [u8], at: usize) -> Cursor<'a> {
        Cursor {
            rest: bytes.get(at..).unwrap_or_default(),
            at,
        }
    }

    fn skip(&mut self, count: usize) {
        self.rest = self.rest.get(count..).unwrap_or_default();
        self.at += count;
    }

    fn space(&mut self) {
        let is_text = |byte: &u8| !is_space(*byte);
        let count = self.rest.iter().position(is_text);
        self.skip(count.unwrap_or(self.rest.len()));
    }

    /// Takes these bytes, if they come next.
    fn word(&mut self, word: &[u8]) -> bool {
        self.space();
        let found = self.rest.starts_with(word);
        if found {
            self.skip(word.len());
        }
        found
    }

    /// The place after the end of the line that ends here.
    fn line(mut self) -> Option<usize> {
        if self.rest.starts_with(b"\r") {
            self.skip(1);
        }
        self.rest.starts_with(b"\n").then(|| self.at + 1)
    }

    fn number(&mut self) -> Option<u64> {
        self.space();
        let digits = self.take(|byte| byte.is_ascii_digit());
        std::str::from_utf8(digits).ok()?.parse().ok()
    }

    fn take(&mut self, belongs: impl Fn(u8) -> bool) -> &'a [u8] {
        let count = self.rest.iter().position(|byte| !belongs(*byte));
        let (taken, _) = self.rest.split_at(count.unwrap_or(self.rest.len()));
        self.skip(taken.len());
        taken
    }

    /// The object that comes next, with at most `depth` levels below it.
    fn object(&mut self, depth: usize) -> Option<Object> {
        let depth = depth.checked_sub(1)?;
        if self.word(b"<<") {
            let mut entries = BTreeMap::new();
            while !self.word(b">>") {
                let Object::Name(key) = self.object(depth)? else {
                    return None;
                };
                let value = self.object(depth)?;
                entries.entry(key).or_insert(value);
            }
            return Some(Object::Dictionary(entries));
        }
        if self.word(b"[") {
            let mut items = Vec::new();
            while !self.word(b"]") {
                items.push(self.object(depth)?);
            }
            return Some(Object::Array(items));
        }
        if self.word(b"/") {
            return Some(Object::Name(self.take(is_regular).to_vec()));
        }
        if self.word(b"(") {
            return self.string();
        }
        if self.word(b"<") {
            // Names of ours are plain; this one is of something else.
            self.take(|byte| byte != b'>');
            return self.word(b">").then_some(Object::Other);
        }
        let mut ahead = *self;
        match ahead.number() {
            Some(number) if !ahead.rest.starts_with(b".") => {
                *self = ahead;
                if ahead.number().is_some() && ahead.word(b"R") {
                    *self = ahead;
                    return Some(Object::Reference(number));
                }
                return Some(Object::Number(number));
            }
            _ => {}
        }
        let other = self.take(is_regular);
        (!other.is_empty()).then_some(Object::Other)
    }

    /// The rest of a string after its `(`. Names of ours hold no escapes, and are compared only.
    fn string(&mut self) -> Option<Object> {
        let (mut open, mut escaped) = (1_usize, false);
        let end = self.rest.iter().position(|byte| {
            match (escaped, byte) {
                (true, _) => escaped = false,
                (false, b'\\') => escaped = true,
                (false, b'(') => open += 1,
                (false, b')') => open -= 1,
                _ => {}
            }
            open == 0
        })?;
        let string = self.rest.get(..end)?.to_vec();
        self.skip(end + 1);
        Some(Object::String(string))
    }
}

/// White space (ISO 32000-1, 7.2.2).
pub(crate) fn is_space(byte: u8) -> bool {
    matches!(byte, 0 | b'\t' | b'\n' | 0x0C | b'\r' | b' ')
}

/// What a name, a number or a keyword is made of (ISO 32000-1, 7.2.2).
pub(crate) fn is_regular(byte: u8) -> bool {
    !is_space(byte) && !b"()<>[]{}/%".contains(&byte)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// A small PDF with this stream attached as `a.json`; `more` goes into the stream's dictionary.
    fn with(stream: &[u8], more: &str) -> Vec<u8> {
        let mut pdf = b"%PDF-1.7\n".to_vec();
        let mut places = Vec::new();
        let catalog = "<</Pages 4 0 R/Names<</EmbeddedFiles<</Names[(b.json)2 0 R(a.json)2 0 R]>>>>/X[1.5 -1 \
                       true(\\))<FF>]>>";
        let length = stream.len();
        for (index, (body, stream)) in [
            (catalog.to_owned(), None),
            ("<</EF<</F 3 0 R>>>>".to_owned(), None),
            (format!("<</Length {length}{more}>>"), Some(stream)),
            ("<</Type/Pages/Count 3>>".to_owned(), None),
            ("<</FontName/ABCDEF+Song-Bold>>".to_owned(), None),
            ("<</FontName/Fangsong>>".to_owned(), None),
        ]
        .into_iter()
        .enumerate()
        {
            places.push(pdf.len());
            write!(pdf, "{} 0 obj\n{body}\n", index + 1).unwrap();
            if let Some(stream) = stream {
                pdf.extend_from_slice(b"stream\n");
                pdf.extend_from_slice(stream);
                pdf.extend_from_slice(b"\nendstream\n");
            }
            pdf.extend_from_slice(b"endobj\n");
        }
        let table = pdf.len();
        pdf.extend_from_slice(b"xref\n0 7\n0000000000 65535 f\r\n");
        for place in places {
            write!(pdf, "{place:010} 00000 n\r\n").unwrap();
        }
        write!(pdf, "trailer\n<</Root 1 0 R>>\nstartxref\n{table}\n%%EOF").unwrap();
        pdf
    }

    fn deflated(bytes: &[u8]) -> Vec<u8> {
        let mut encoder =
            flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn an_attachment_is_read_plain_and_deflated() {
        let found = attachment(&with(b"{}", ""), "a.json");
        assert_eq!(found, Ok(b"{}".to_vec()));
        let pdf = with(&deflated(b"[1]"), "/Filter/FlateDecode");
        assert_eq!(attachment(&pdf, "a.json"), Ok(b"[1]".to_vec()));
        assert_eq!(attachment(&pdf, "b.json"), Ok(b"[1]".to_vec()));
        assert_eq!(attachment(&pdf, "c.json"), Err(Unreadable::Absent));
        assert_eq!(attachment(b"{}", "a.json"), Err(Unreadable::NotPdf));
        assert_eq!(attachment(b"%PDF-1.7", "a.json"), Err(Unreadable::Foreign));
    }

    #[test]
    fn the_first_revision_ends_with_its_line() {
        let pdf = with(b"{}", "");
        assert_eq!(first_revision(&pdf), Some(pdf.len()));
        for (more, line) in [("\n", 1), ("\r\n1 0 obj", 2), ("1 0 obj", 0)] {
            let longer = [&pdf[..], more.as_bytes()].concat();
            assert_eq!(first_revision(&longer), Some(pdf.len() + line), "{more:?}");
        }
        assert_eq!(first_revision(b"%PDF-1.7"), None);
    }

    #[test]
    fn pages_are_counted_and_faces_are_named_without_their_tags() {
        let found = contents(&with(b"{}", ""));
        let faces = ["Fangsong", "Song-Bold"].map(str::to_owned).to_vec();
        assert_eq!(found, Ok(Contents { pages: 3, faces }));
        assert_eq!(contents(b"{}"), Err(Unreadable::NotPdf));
        assert_eq!(contents(b"%PDF-1.7"), Err(Unreadable::Foreign));
    }

    #[test]
    fn what_would_take_all_memory_is_refused() {
        let bomb = deflated(&vec![0; usize::try_from(LARGEST).unwrap() + 1]);
        let pdf = with(&bomb, "/Filter/FlateDecode");
        assert_eq!(attachment(&pdf, "a.json"), Err(Unreadable::Foreign));
    }

    #[test]
    fn what_nests_without_end_is_refused() {
        for open in ["[", "<<", "<</A", "[<</A "] {
            let deep = open.repeat(200_000);
            let pdf = format!("%PDF-1.7\nxref\ntrailer\n{deep}\nstartxref\n9\n%%EOF");
            let found = attachment(pdf.as_bytes(), "a.json");
            assert_eq!(found, Err(Unreadable::Foreign), "{open}");
        }
    }

    #[test]
    fn a_list_that_says_it_is_endless_ends_with_the_file() {
        let pdf = b"%PDF-1.7\nxref\n0 18446744073709551615\nstartxref\n9\n%%EOF";
        assert_eq!(attachment(pdf, "a.json"), Err(Unreadable::Foreign));
    }

    proptest::proptest! {
        /// Whatever becomes of a byte or two, and wherever the file ends, there is an answer.
        #[test]
        fn no_damage_brings_it_down(
            at in 0_usize..800, with_byte in 0_u8.., other in 0_usize..800, end in 0_usize..900,
        ) {
            let mut pdf = with(&deflated(b"[1]"), "/Filter/FlateDecode");
            for place in [at, other] {
                let length = pdf.len();
                pdf[place % length] = with_byte;
            }
            pdf.truncate(end);
            let _answer = (attachment(&pdf, "a.json"), contents(&pdf));
        }
    }
}

//! PDFs as an independent reader (poppler) sees them.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;

/// The output of a program that must succeed. What it says on standard error is its own business:
/// poppler complains of things that veraPDF finds right.
fn output(program: &str, arguments: &[&str], pdf: &Path) -> Vec<u8> {
    let to_stdout = (program == "pdftotext").then_some("-");
    let ran = Command::new(program)
        .args(arguments)
        .arg(pdf)
        .args(to_stdout)
        .stderr(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{program} is needed (tests/tools/install test): {error}"));
    assert!(
        ran.status.success(),
        "{program} {arguments:?} {} failed",
        pdf.display()
    );
    ran.stdout
}

/// The text layer, in reading order.
pub fn text(pdf: &Path) -> String {
    String::from_utf8(output("pdftotext", &["-raw"], pdf)).expect("pdftotext writes UTF-8")
}

/// The words of each line of each page, put together by their places: poppler takes a mark that is
/// set close to another for a line of its own.
pub fn lines(pdf: &Path) -> Vec<Vec<Vec<Word>>> {
    let page = |mut words: Vec<Word>| {
        let place = |word: &Word| (word.bottom.round() as i64, word.left.round() as i64);
        words.sort_by_key(place);
        let mut lines: Vec<(i64, Vec<Word>)> = Vec::new();
        for word in words {
            let (y, _) = place(&word);
            match lines.last_mut() {
                // Faces differ in how far down they reach.
                Some((last, line)) if y - *last <= 4 => line.push(word),
                _ => lines.push((y, vec![word])),
            }
        }
        let in_order = |(_, mut line): (i64, Vec<Word>)| {
            line.sort_by(|a, b| a.left.total_cmp(&b.left));
            line
        };
        lines.into_iter().map(in_order).collect()
    };
    words(pdf).into_iter().map(page).collect()
}

/// The text of each page, line by line as it stands there, without spaces.
pub fn pages(pdf: &Path) -> Vec<Vec<String>> {
    let joined = |line: Vec<Word>| line.into_iter().map(|word| word.text).collect();
    let page = |lines: Vec<Vec<Word>>| lines.into_iter().map(joined).collect();
    lines(pdf).into_iter().map(page).collect()
}

/// A glyph where it is drawn, in points from the page's upper left corner.
#[derive(Debug, Clone, PartialEq)]
pub struct Glyph {
    pub x: f64,
    pub y: f64,
    /// The same for the same glyph of the same face, on one page.
    pub shape: String,
}

/// The glyphs of each page, in the order of the file.
pub fn glyphs(pdf: &Path) -> Vec<Vec<Glyph>> {
    let page = |number: usize| {
        let number = number.to_string();
        let drawn = Command::new("pdftocairo")
            .args(["-svg", "-f", &number, "-l", &number])
            .args([pdf, Path::new("-")])
            .stderr(Stdio::null())
            .output();
        let svg = String::from_utf8(drawn.expect("pdftocairo runs").stdout).expect("UTF-8");
        let glyph = |line: &str| {
            let value = |name: &str| {
                let rest = line.split(&format!("{name}=\"")).nth(1)?;
                rest.split('"').next().map(str::to_owned)
            };
            let (x, y) = (value(" x")?.parse().ok()?, value(" y")?.parse().ok()?);
            let shape = value("href")?;
            Some(Glyph { x, y, shape })
        };
        let uses = svg.split('<').filter(|tag| tag.starts_with("use "));
        uses.filter_map(glyph).collect()
    };
    (1..=words(pdf).len()).map(page).collect()
}

/// Each run of text and the family that it is set in.
pub fn faces(pdf: &Path) -> Vec<(String, String)> {
    let run = Command::new("pdftohtml")
        .args(["-xml", "-stdout", "-i"])
        .arg(pdf)
        .stderr(Stdio::null())
        .output();
    let xml = String::from_utf8(run.expect("pdftohtml runs").stdout).expect("UTF-8");
    let value = |line: &str, name: &str| {
        let (_, rest) = line
            .split_once(&format!(" {name}=\""))
            .expect("the attribute");
        rest.split('"').next().unwrap_or_default().to_owned()
    };
    let mut families = std::collections::BTreeMap::new();
    let mut runs = Vec::new();
    for line in xml.lines().map(str::trim) {
        if line.starts_with("<fontspec") {
            let family = value(line, "family");
            let family = family
                .split_once('+')
                .map_or(family.as_str(), |(_, name)| name);
            families.insert(value(line, "id"), family.to_owned());
        } else if line.starts_with("<text") {
            let text = line.split_once('>').expect("a text").1;
            let text = text
                .replace("<b>", "")
                .replace("</b>", "")
                .replace("</text>", "");
            runs.push((text, families[&value(line, "font")].clone()));
        }
    }
    runs
}

/// The levels of the headings in the structure tree, in reading order.
pub fn headings(pdf: &Path) -> Vec<usize> {
    let tree = output("pdfinfo", &["-struct"], pdf);
    let tree = String::from_utf8_lossy(&tree);
    let levels = tree.lines().filter_map(|line| {
        let tag = line.split_whitespace().next()?;
        tag.strip_prefix('H')?.parse().ok()
    });
    levels.collect()
}

/// The file's objects, as qpdf shows them.
pub fn objects(pdf: &Path) -> serde_json::Value {
    let json = output("qpdf", &["--json", "--json-key=qpdf"], pdf);
    serde_json::from_slice(&json).expect("qpdf writes JSON")
}

/// A word and its box, in points from the page's upper left corner.
pub struct Word {
    pub left: f64,
    pub top: f64,
    pub right: f64,
    pub bottom: f64,
    pub text: String,
}

/// The words of each page, in the order of the file.
pub fn words(pdf: &Path) -> Vec<Vec<Word>> {
    let boxes = String::from_utf8(output("pdftotext", &["-bbox"], pdf)).expect("UTF-8");
    let mut pages: Vec<Vec<Word>> = Vec::new();
    for line in boxes.lines().map(str::trim_start) {
        if line.starts_with("<page ") {
            pages.push(Vec::new());
        }
        let Some(word) = line.strip_prefix("<word ") else {
            continue;
        };
        let side = |name: &str| -> f64 {
            let value = word.split(&format!("{name}=\"")).nth(1).expect("a side");
            value
                .split('"')
                .next()
                .expect("a number")
                .parse()
                .expect("a number")
        };
        let text = word.split_once('>').expect("its text").1;
        let text = text.trim_end_matches("</word>");
        let text = text.replace("&lt;", "<").replace("&gt;", ">");
        let word = Word {
            left: side("xMin"),
            top: side("yMin"),
            right: side("xMax"),
            bottom: side("yMax"),
            text: text.replace("&quot;", "\"").replace("&amp;", "&"),
        };
        pages.last_mut().expect("a page").push(word);
    }
    pages
}

/// What `pdfinfo` says of the file.
pub fn info(pdf: &Path) -> String {
    String::from_utf8_lossy(&output("pdfinfo", &["-isodates"], pdf)).into_owned()
}

/// The XMP metadata.
pub fn metadata(pdf: &Path) -> String {
    String::from_utf8_lossy(&output("pdfinfo", &["-meta"], pdf)).into_owned()
}

/// The file's objects in the clear, nothing compressed.
pub fn plain(pdf: &Path) -> String {
    let shown = Command::new("qpdf")
        .args(["--qdf", "--object-streams=disable"])
        .arg(pdf)
        .arg("-")
        .output()
        .unwrap_or_else(|error| panic!("qpdf is needed (tests/tools/install test): {error}"));
    String::from_utf8_lossy(&shown.stdout).into_owned()
}

/// What veraPDF says of files: of each, for PDF/A-3a and for PDF/UA-1, whether it passes, and the
/// rules that it breaks.
pub fn verapdf(files: &[PathBuf]) -> Vec<Verdict> {
    let ran = Command::new(super::repository("tests/tools/verapdf"))
        .args(files)
        .stderr(Stdio::inherit())
        .output()
        .expect("it starts");
    let said = String::from_utf8(ran.stdout).expect("UTF-8");
    let mut verdicts: Vec<Verdict> = Vec::new();
    for line in said.lines() {
        if let (Some(rule), Some(verdict)) = (line.strip_prefix("  "), verdicts.last_mut()) {
            verdict.broken.push(rule.to_owned());
            continue;
        }
        let mut words = line.splitn(3, ' ');
        let mut word = || words.next().expect("three words").to_owned();
        verdicts.push(Verdict {
            passes: word() == "PASS",
            flavour: word(),
            file: word().into(),
            broken: Vec::new(),
        });
    }
    assert_eq!(
        verdicts.len(),
        2 * files.len(),
        "it ended with {}: {said}",
        ran.status
    );
    verdicts
}

/// veraPDF's verdict on a file and a flavour.
#[derive(Debug)]
pub struct Verdict {
    pub passes: bool,
    pub flavour: String,
    pub file: PathBuf,
    pub broken: Vec<String>,
}

/// The content of a file that is attached, by its name.
pub fn attachment(pdf: &Path, name: &str) -> Vec<u8> {
    let shown = Command::new("qpdf")
        .arg(format!("--show-attachment={name}"))
        .arg(pdf)
        .output()
        .unwrap_or_else(|error| panic!("qpdf is needed (tests/tools/install test): {error}"));
    assert!(
        shown.status.success(),
        "{}",
        String::from_utf8_lossy(&shown.stderr)
    );
    shown.stdout
}

/// A table cell of the structure tree, at its place in the grid.
#[derive(Debug, Clone)]
pub struct Cell {
    pub row: usize,
    pub column: usize,
    pub rows: usize,
    pub columns: usize,
    pub header: bool,
    pub text: String,
    headers: Vec<String>,
    id: String,
}

/// A tagged table.
#[derive(Debug, Default)]
pub struct Table {
    pub cells: Vec<Cell>,
}

impl Table {
    /// The data cell whose headers hold all these labels.
    pub fn cell(&self, labels: &[&str]) -> &Cell {
        let found: Vec<&Cell> = self
            .cells
            .iter()
            .filter(|cell| !cell.header)
            .filter(|cell| labels.iter().all(|label| self.names(cell, label)))
            .collect();
        assert_eq!(found.len(), 1, "{labels:?} name one cell: {found:#?}");
        found[0]
    }

    /// Every label of a cell: those of the header cells that its `Headers` name, and of those that
    /// theirs name in turn, as the standard has them evaluated (ISO 32000-2, 14.8.5.7). Nothing
    /// is concluded from where a cell stands.
    pub fn labels(&self, cell: &Cell) -> Vec<&str> {
        let mut ids = cell.headers.clone();
        let mut labels = Vec::new();
        let mut next = 0;
        while let Some(id) = ids.get(next).cloned() {
            let header = self.cells.iter().find(|other| other.id == id);
            let header = header.unwrap_or_else(|| panic!("{id} is a cell of the table"));
            assert!(header.header, "{id} is a header cell: {header:?}");
            labels.push(header.text.as_str());
            for id in &header.headers {
                if !ids.contains(id) {
                    ids.push(id.clone());
                }
            }
            next += 1;
        }
        labels
    }

    /// The data cell that has just these labels, in any order.
    pub fn labelled(&self, labels: &[&str]) -> &Cell {
        let wanted: BTreeSet<&str> = labels.iter().copied().collect();
        let found: Vec<&Cell> = self
            .cells
            .iter()
            .filter(|cell| !cell.header && BTreeSet::from_iter(self.labels(cell)) == wanted)
            .collect();
        assert_eq!(found.len(), 1, "{labels:?} are one cell's: {found:#?}");
        found[0]
    }

    /// Whether a data cell has this label.
    fn names(&self, cell: &Cell, label: &str) -> bool {
        self.labels(cell).contains(&label)
    }

    /// The number of data cells, which are those that have headers.
    pub fn data(&self) -> usize {
        let cells = self.cells.iter().filter(|cell| !cell.header);
        cells.filter(|cell| !cell.headers.is_empty()).count()
    }
}

/// The tables of the structure tree, in reading order.
pub fn tables(pdf: &Path) -> Vec<Table> {
    let tree = output("pdfinfo", &["-struct-text"], pdf);
    let tree = String::from_utf8_lossy(&tree);
    let mut tables: Vec<Table> = Vec::new();
    let (mut row, mut taken) = (0, BTreeSet::new());
    let mut open = false;
    for line in tree.lines() {
        let line = line.trim_start();
        if line.starts_with("Table") {
            tables
                .last_mut()
                .into_iter()
                .for_each(|table| place(table, &mut taken));
            tables.push(Table::default());
            (row, taken, open) = (0, BTreeSet::new(), false);
            continue;
        }
        let Some(table) = tables.last_mut() else {
            continue;
        };
        if line == "TR" {
            place(table, &mut taken);
            row = table.cells.last().map_or(0, |cell| cell.row + 1);
            open = false;
        } else if (line.starts_with("TH") && !line.starts_with("THead")) || line.starts_with("TD") {
            place(table, &mut taken);
            let id = line.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
            let header = line.starts_with("TH");
            table.cells.push(Cell {
                row,
                column: usize::MAX,
                rows: 1,
                columns: 1,
                header,
                text: String::new(),
                headers: Vec::new(),
                id,
            });
            open = true;
        } else if let Some(cell) = table.cells.last_mut().filter(|_| open) {
            if let Some(rows) = line.strip_prefix("/RowSpan ") {
                cell.rows = rows.parse().expect("a number");
            } else if let Some(columns) = line.strip_prefix("/ColSpan ") {
                cell.columns = columns.parse().expect("a number");
            } else if let Some(ids) = line.strip_prefix("/Headers ") {
                let ids = ids
                    .split(['[', ']', '(', ')', ' '])
                    .filter(|id| !id.is_empty());
                cell.headers = ids.map(str::to_owned).collect();
            } else if let Some(text) = line
                .strip_prefix('"')
                .and_then(|text| text.strip_suffix('"'))
            {
                cell.text.push_str(text);
            } else if line.starts_with(|c: char| c.is_ascii_uppercase()) && !inside_a_cell(line) {
                open = false;
            }
        }
    }
    if let Some(table) = tables.last_mut() {
        place(table, &mut taken);
    }
    tables
}

fn inside_a_cell(line: &str) -> bool {
    ["P ", "Span", "Div"]
        .iter()
        .any(|tag| line.starts_with(tag))
}

/// Gives the last cell its column: the first that no cell spans into.
fn place(table: &mut Table, taken: &mut BTreeSet<(usize, usize)>) {
    let Some(cell) = table
        .cells
        .last_mut()
        .filter(|cell| cell.column == usize::MAX)
    else {
        return;
    };
    cell.column = (0..)
        .find(|column| !taken.contains(&(cell.row, *column)))
        .expect("a column");
    for row in cell.row..cell.row + cell.rows {
        for column in cell.column..cell.column + cell.columns {
            taken.insert((row, column));
        }
    }
}

/// Replaces `from` in the first stream that has it, as somebody does who knows PDF: length and
/// cross-references are put right, and all else stays to the byte.
pub fn edited(pdf: &[u8], from: &str, to: &str) -> Vec<u8> {
    let mut at = 0;
    while let Some(found) = find(&pdf[at..], b"stream\n") {
        let start = at + found + b"stream\n".len();
        let end = start + find(&pdf[start..], b"\nendstream").expect("its end");
        at = end + b"\nendstream".len();
        let mut plain = Vec::new();
        let inflated = ZlibDecoder::new(&pdf[start..end]).read_to_end(&mut plain);
        let place = find(&plain, from.as_bytes());
        let (Ok(_), Some(place)) = (inflated, place) else {
            continue;
        };
        plain.splice(place..place + from.len(), to.bytes());
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&plain).expect("memory");
        let stream = encoder.finish().expect("memory");
        let length = format!("/Length {}", end - start);
        let head = pdf[..start]
            .windows(length.len())
            .rposition(|bytes| bytes == length.as_bytes())
            .expect("its length");
        let new = [
            format!("/Length {}", stream.len()).as_bytes(),
            &pdf[head + length.len()..start],
            &stream,
        ]
        .concat();
        return spliced(pdf, head..end, &new);
    }
    panic!("no stream has {from:?}")
}

/// Replaces `from` where it first stands outside of streams, in the same way.
pub fn replaced(pdf: &[u8], from: &str, to: &str) -> Vec<u8> {
    let place = find(pdf, from.as_bytes()).unwrap_or_else(|| panic!("it has no {from:?}"));
    spliced(pdf, place..place + from.len(), to.as_bytes())
}

/// The file with other bytes at a place, and every cross-reference to what stands after it moved.
fn spliced(pdf: &[u8], place: Range<usize>, new: &[u8]) -> Vec<u8> {
    let moved = |offset: usize| {
        if offset < place.end {
            offset
        } else {
            offset - place.len() + new.len()
        }
    };
    let table = find(pdf, b"\nxref\n").expect("a table") + 1;
    let mut file = [&pdf[..place.start], new, &pdf[place.end..table]].concat();
    for line in pdf[table..].split_inclusive(|byte| *byte == b'\n') {
        let text = String::from_utf8_lossy(line);
        if line.len() == 20 && text.contains(" 00000 n") {
            let offset = moved(text[..10].parse().expect("an offset"));
            write!(file, "{offset:010}{}", &text[10..]).expect("memory");
        } else if file.ends_with(b"startxref\n") {
            writeln!(file, "{}", moved(table)).expect("memory");
        } else {
            file.extend_from_slice(line);
        }
    }
    file
}

fn find(bytes: &[u8], word: &[u8]) -> Option<usize> {
    bytes.windows(word.len()).position(|found| found == word)
}

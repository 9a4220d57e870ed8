//! A web page as lines of cells.
//!
//! Only what its text and its tables are is looked at, tag by tag, as a browser shows them: what is
//! hidden, scripts and forms are no text; a table that holds tables is only there for the layout.
//! Tags that are not closed are where HTML says that they are. Nothing is built that nests, so that
//! neither depth nor length of a page costs more than its bytes; spans are of no use to the reader,
//! which goes by what stands next to what.

use html5gum::emitters::callback::{CallbackEmitter, CallbackEvent};
use html5gum::{Span, Tokenizer};

use super::Unusable;
use super::page::{At, Line, Page, too_long};

/// How deep tables may stand in tables.
const MOST_NESTED: usize = 32;

/// The most cells of a page, those of tables for the layout included.
const MOST_CELLS: usize = 400_000;

/// The longest text that is a cell of an official table, in characters. What is longer is a column
/// of the page.
const LONGEST_CELL: usize = 300;

/// What begins and ends a line.
const BLOCKS: [&str; 37] = [
    "address",
    "article",
    "aside",
    "blockquote",
    "body",
    "br",
    "caption",
    "center",
    "dd",
    "div",
    "dl",
    "dt",
    "fieldset",
    "figcaption",
    "figure",
    "footer",
    "form",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "header",
    "hr",
    "html",
    "legend",
    "li",
    "main",
    "nav",
    "ol",
    "p",
    "pre",
    "section",
    "title",
    "ul",
    "head",
];

/// What holds no text that is shown, or none of the document.
const UNSHOWN: [&str; 17] = [
    "audio", "button", "canvas", "datalist", "iframe", "math", "noframes", "noscript", "object",
    "script", "select", "style", "svg", "template", "textarea", "video", "xml",
];

/// What has no end tag.
const VOID: [&str; 14] = [
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source",
    "track", "wbr",
];

/// What ends where another of the same kind, or a block, begins.
const OPEN_ENDED: [&str; 5] = ["dd", "dt", "li", "option", "p"];

/// A tag or a text, and where in the page it begins.
enum Piece {
    Open {
        name: String,
        hidden: bool,
        alt: String,
        at: usize,
    },
    Close {
        name: String,
    },
    Text {
        text: String,
        at: usize,
    },
}

/// Reads a page.
pub(super) fn page(html: &str) -> Result<Page, Unusable> {
    let mut reader = Reader::default();
    let mut lines = Lines {
        bytes: html.as_bytes(),
        counted: 0,
        line: 1,
    };
    for piece in pieces(html) {
        match piece {
            Piece::Text { text, at } => reader.text(&text, lines.of(at)),
            Piece::Open {
                name,
                hidden,
                alt,
                at,
            } => reader.open(&name, hidden, &alt, lines.of(at))?,
            Piece::Close { name } => reader.close(&name)?,
        }
    }
    reader.finish()
}

/// The tags and texts of a page, one after the other.
fn pieces(html: &str) -> impl Iterator<Item = Piece> {
    #[derive(Default)]
    struct Tag {
        name: String,
        attribute: Vec<u8>,
        hidden: bool,
        alt: String,
        at: usize,
    }
    let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut tag = Tag::default();
    let event = move |event: CallbackEvent<'_>, span: Span<usize>| match event {
        CallbackEvent::OpenStartTag { name } => {
            tag = Tag {
                name: lossy(name),
                at: span.start,
                ..Tag::default()
            };
            None
        }
        CallbackEvent::AttributeName { name } => {
            tag.hidden |= name == b"hidden";
            tag.attribute.clear();
            tag.attribute.extend_from_slice(name);
            None
        }
        CallbackEvent::AttributeValue { value } => {
            match tag.attribute.as_slice() {
                b"style" => tag.hidden |= hides(&lossy(value)),
                b"alt" => tag.alt = lossy(value),
                _ => {}
            }
            None
        }
        CallbackEvent::CloseStartTag { .. } => {
            let Tag {
                name,
                hidden,
                alt,
                at,
                ..
            } = std::mem::take(&mut tag);
            Some(Piece::Open {
                name,
                hidden,
                alt,
                at,
            })
        }
        CallbackEvent::EndTag { name } => Some(Piece::Close { name: lossy(name) }),
        CallbackEvent::String { value } => Some(Piece::Text {
            text: lossy(value),
            at: span.start,
        }),
        _ => None,
    };
    let mut emitter = CallbackEmitter::new(event);
    // Scripts and styles hold no tags.
    emitter.naively_switch_states(true);
    Tokenizer::new_with_emitter(html, emitter).map(|piece| match piece {
        Ok(piece) => piece,
        Err(never) => match never {},
    })
}

/// Whether a style hides what has it, in a browser or in Word.
fn hides(style: &str) -> bool {
    let plain: String = style.chars().filter(|c| !c.is_whitespace()).collect();
    let plain = plain.to_ascii_lowercase();
    let hides = |rule: &str| {
        matches!(rule, "visibility:hidden" | "mso-hide:all") || rule.starts_with("display:none")
    };
    plain.split(';').any(hides)
}

/// Which line of the file a byte is on. Bytes are asked for in their order.
struct Lines<'a> {
    bytes: &'a [u8],
    counted: usize,
    line: usize,
}

impl Lines<'_> {
    fn of(&mut self, at: usize) -> usize {
        let at = at.min(self.bytes.len());
        if let Some(passed) = self.bytes.get(self.counted..at) {
            self.line += passed.iter().filter(|&&byte| byte == b'\n').count();
            self.counted = at;
        }
        self.line
    }
}

/// What is hidden at present: up to the end of the tag that hides it.
struct Hidden {
    name: String,
    /// How many of that name are open in it, itself included.
    depth: usize,
    /// How many tables.
    tables: usize,
}

/// A table that is open.
struct Table {
    number: usize,
    rows: usize,
    row: Option<Vec<Cell>>,
    cell: Option<Cell>,
}

/// A cell with its lines, those of tables in it included.
#[derive(Default)]
struct Cell {
    lines: Vec<Line>,
    holds_table: bool,
    line: usize,
}

#[derive(Default)]
struct Reader {
    page: Page,
    tables: Vec<Table>,
    /// How many tables have begun.
    numbered: usize,
    cells: usize,
    hidden: Option<Hidden>,
    /// The text since the last end of a line, and the line of the file that it began on.
    text: String,
    began: usize,
}

impl Reader {
    fn text(&mut self, text: &str, line: usize) {
        if self.hidden.is_some() {
            return;
        }
        if !self.text.is_empty() {
            self.text.push_str(text);
            return;
        }
        // A line begins with its first word, and not with the white space before it.
        let words = text.trim_start();
        let space = &text[..text.len() - words.len()];
        self.began = line + space.matches('\n').count();
        self.text.push_str(words);
    }

    fn open(&mut self, name: &str, hidden: bool, alt: &str, line: usize) -> Result<(), Unusable> {
        if let Some(inside) = &mut self.hidden {
            let ends = inside.tables == 0 && ends_at(&inside.name, name);
            if !ends {
                inside.depth += usize::from(inside.name == name);
                inside.tables += usize::from(name == "table");
                return Ok(());
            }
            self.hidden = None;
        }
        let structure = matches!(
            name,
            "table" | "tr" | "td" | "th" | "tbody" | "thead" | "tfoot"
        );
        if structure || BLOCKS.contains(&name) {
            self.end_line()?;
        }
        if (hidden || UNSHOWN.contains(&name)) && !VOID.contains(&name) {
            if structure && name != "table" {
                self.structure(name, line)?;
            }
            self.hidden = Some(Hidden {
                name: name.to_owned(),
                depth: 1,
                tables: 0,
            });
            return Ok(());
        }
        if name == "img" && !hidden && self.text.is_empty() {
            let alt: String = alt.split_whitespace().collect();
            if !alt.is_empty() {
                self.began = line;
                self.line(alt, true)?;
            }
        }
        self.structure(name, line)
    }

    /// Begins what belongs to tables.
    fn structure(&mut self, name: &str, line: usize) -> Result<(), Unusable> {
        match name {
            "table" => {
                if self.tables.len() == MOST_NESTED {
                    return Err(Unusable::new(
                        format!("line {line}: more than {MOST_NESTED} tables stand in each other"),
                        format!("第{line}行：表格嵌套超过{MOST_NESTED}层"),
                    ));
                }
                self.numbered += 1;
                self.tables.push(Table {
                    number: self.numbered,
                    rows: 0,
                    row: None,
                    cell: None,
                });
            }
            "tr" | "tbody" | "thead" | "tfoot" => {
                self.end_row()?;
                if let (Some(table), "tr") = (self.tables.last_mut(), name) {
                    table.rows += 1;
                    table.row = Some(Vec::new());
                }
            }
            "td" | "th" => {
                self.end_cell();
                self.cells += 1;
                if self.cells > MOST_CELLS {
                    return Err(too_long());
                }
                if let Some(table) = self.tables.last_mut() {
                    if table.row.is_none() {
                        table.rows += 1;
                        table.row = Some(Vec::new());
                    }
                    table.cell = Some(Cell {
                        line,
                        ..Cell::default()
                    });
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn close(&mut self, name: &str) -> Result<(), Unusable> {
        if let Some(inside) = &mut self.hidden {
            inside.depth -= usize::from(inside.name == name);
            let outer = inside.tables == 0 && closes_at(&inside.name, name);
            if name == "table" {
                inside.tables = inside.tables.saturating_sub(1);
            }
            if inside.depth > 0 && !outer {
                return Ok(());
            }
            self.hidden = None;
            if !outer && !matches!(name, "td" | "th" | "tr") {
                return Ok(());
            }
        }
        match name {
            "td" | "th" => {
                self.end_line()?;
                self.end_cell();
            }
            "tr" | "tbody" | "thead" | "tfoot" => {
                self.end_line()?;
                self.end_row()?;
            }
            "table" => {
                self.end_line()?;
                self.end_table()?;
            }
            // `</br>` and `</p>` alone are one, too.
            _ if BLOCKS.contains(&name) => self.end_line()?,
            _ => {}
        }
        Ok(())
    }

    /// Ends the line that the text since the last end makes.
    fn end_line(&mut self) -> Result<(), Unusable> {
        let text = std::mem::take(&mut self.text);
        let text = shown(&text);
        match text.is_empty() {
            true => Ok(()),
            false => self.line(text, false),
        }
    }

    fn line(&mut self, text: String, picture: bool) -> Result<(), Unusable> {
        let innermost = self.tables.last().filter(|table| table.cell.is_some());
        let at = At {
            line: self.began,
            table: innermost.map(|table| (table.number, table.rows)),
        };
        let line = Line {
            picture,
            ..Line::of(at, text)
        };
        self.add(vec![line])
    }

    /// Adds lines to the cell that is open, or to the page. Text between cells stands before their
    /// table, as browsers show it.
    fn add(&mut self, lines: Vec<Line>) -> Result<(), Unusable> {
        self.cells += lines.len();
        if self.cells > MOST_CELLS {
            return Err(too_long());
        }
        let cells = self.tables.iter_mut().rev();
        match cells.filter_map(|table| table.cell.as_mut()).next() {
            Some(cell) => cell.lines.extend(lines),
            None => {
                for line in lines {
                    self.page.push(line)?;
                }
            }
        }
        Ok(())
    }

    fn end_cell(&mut self) {
        if let Some(table) = self.tables.last_mut()
            && let (Some(cell), Some(row)) = (table.cell.take(), &mut table.row)
        {
            row.push(cell);
        }
    }

    /// Ends a row. One that is there for the layout, or has one cell, is the lines of its cells.
    fn end_row(&mut self) -> Result<(), Unusable> {
        self.end_cell();
        let Some(table) = self.tables.last_mut() else {
            return Ok(());
        };
        let (number, row) = (table.number, table.rows);
        let Some(cells) = table.row.take() else {
            return Ok(());
        };
        let long = |cell: &Cell| {
            let characters = cell.lines.iter().flat_map(|line| &line.cells);
            let characters = characters.map(|cell| cell.chars().count());
            characters.sum::<usize>() > LONGEST_CELL
        };
        if cells.len() <= 1 || cells.iter().any(|cell| cell.holds_table || long(cell)) {
            let lines = cells.into_iter().flat_map(|cell| cell.lines).collect();
            return self.add(lines);
        }
        let at = At {
            line: cells[0].line,
            table: Some((number, row)),
        };
        let text = |cell: Cell| {
            let lines = cell.lines.iter().filter(|line| !line.picture);
            lines
                .flat_map(|line| &line.cells)
                .map(String::as_str)
                .collect()
        };
        let cells: Vec<String> = cells.into_iter().map(text).collect();
        self.cells += cells.len();
        self.add(vec![Line {
            cells,
            ..Line::of(at, String::new())
        }])
    }

    fn end_table(&mut self) -> Result<(), Unusable> {
        self.end_row()?;
        self.tables.pop();
        if let Some(outer) = self
            .tables
            .iter_mut()
            .rev()
            .find_map(|table| table.cell.as_mut())
        {
            outer.holds_table = true;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Page, Unusable> {
        self.end_line()?;
        while !self.tables.is_empty() {
            self.end_table()?;
        }
        Ok(self.page)
    }
}

/// Whether what is hidden by a tag without an end ends where another begins.
fn ends_at(hidden: &str, name: &str) -> bool {
    match hidden {
        "td" | "th" => matches!(name, "td" | "th" | "tr" | "tbody" | "thead" | "tfoot"),
        "tr" => matches!(name, "tr" | "tbody" | "thead" | "tfoot"),
        "p" => BLOCKS.contains(&name) && name != "br" || name == "table",
        hidden => OPEN_ENDED.contains(&hidden) && hidden == name,
    }
}

/// Whether what is hidden by a tag ends where what it stands in does.
fn closes_at(hidden: &str, name: &str) -> bool {
    match hidden {
        "td" | "th" => matches!(name, "tr" | "tbody" | "thead" | "tfoot" | "table"),
        "tr" => matches!(name, "tbody" | "thead" | "tfoot" | "table"),
        // Whatever else it is, it stands in the cell.
        _ => matches!(name, "td" | "th" | "tr" | "table") && hidden != "table",
    }
}

/// Text as a browser shows it: runs of white space are one, and none where a line of the file ends
/// between two characters of Chinese.
fn shown(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text.trim();
    while let Some(at) = rest.find(char::is_whitespace) {
        let (words, after) = rest.split_at(at);
        shown.push_str(words);
        rest = after.trim_start();
        let space = &after[..after.len() - rest.len()];
        let wide = |c: Option<char>| c.is_some_and(|c| !c.is_ascii());
        let joined = wide(shown.chars().next_back()) && wide(rest.chars().next());
        if !(space.contains('\n') && joined) {
            shown.push(' ');
        }
    }
    shown + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(html: &str) -> Vec<Vec<String>> {
        let page = page(html).unwrap();
        page.lines.into_iter().map(|line| line.cells).collect()
    }

    #[test]
    fn text_is_in_lines_and_tables_are_in_rows() {
        let read = lines(
            "<title>t</title><body><p>一&nbsp;、<font><span>总体</span></font>\n情况<p>a<br>b</p>\
             <table><tr><td rowspan=2>规<br>章<td><p>0</p></td><td colspan=1000000000>1\
             <tr><td>&nbsp;<td>2</table>c",
        );
        let expected = [
            &["t"][..],
            &["一 、总体情况"],
            &["a"],
            &["b"],
            &["规章", "0", "1"],
            &["", "2"],
            &["c"],
        ];
        assert_eq!(read, expected);
    }

    #[test]
    fn what_is_not_shown_is_not_read() {
        for html in [
            "<script>var a = '<p>no</p>';</script>yes",
            "<style>p { no }</style>yes",
            "<div style='DISPLAY: none'>no<div>no</div>no</div>yes",
            "<p style=display:none>no<p>yes",
            "<!-- no --><p hidden>no</p>yes",
            "<span style='mso-hide:all'>no</span>yes",
            "<table><tr><td style='display:none'>no<td>yes</table>",
            "<table><tr style='display:none'><td>no<tr><td>yes</table>",
            "<table><tr><td><span style='display:none'>no</td></tr></table>yes",
            "<xml><o:p>no</o:p></xml>yes<input hidden>",
            "<select><option>no<option>no</select>yes",
        ] {
            let read = lines(html).concat();
            let read: Vec<&String> = read.iter().filter(|text| !text.is_empty()).collect();
            assert_eq!(read, ["yes"], "{html}");
        }
    }

    #[test]
    fn a_table_for_the_layout_is_what_stands_in_it() {
        let read = lines(
            "<table><tr><td>menu<td><p>一</p><table><tr><td>规章<td>0</table><p>二</p></table>",
        );
        assert_eq!(read, [&["menu"][..], &["一"], &["规章", "0"], &["二"]]);
        let read = lines("<img alt='一、总体情况'><td>stray</td></table></tr>");
        assert_eq!(read, [["一、总体情况"], ["stray"]]);
    }

    #[test]
    fn nothing_that_a_page_does_costs_more_than_its_bytes() {
        assert!(page(&"<table><tr><td>".repeat(1000)).is_err());
        assert!(page(&"<td>".repeat(500_000)).is_err());
        assert!(page(&"<p>a".repeat(300_000)).is_err());
        assert_eq!(lines(&format!("{}a", "<div>".repeat(300_000))), [["a"]]);
        assert_eq!(lines(&format!("{}a", "<b x=1>".repeat(300_000))), [["a"]]);
        let attributes: String = (0..100_000).map(|n| format!(" a{n}")).collect();
        assert_eq!(lines(&format!("<b{attributes}>a")), [["a"]]);
        assert_eq!(
            lines(&format!("{}a", "<div hidden>".repeat(300_000))),
            [[""; 0]; 0]
        );
        assert_eq!(lines(&"<".repeat(300_000)).len(), 1);
    }
}

//! A published document as lines of cells, whatever kind of file it is in.

use super::Unusable;
use crate::report::view::level;

/// The most lines and the most cells of a document. A report has a thousand cells.
const MOST_LINES: usize = 200_000;
const MOST_CELLS: usize = 400_000;

/// A document.
#[derive(Debug, Default)]
pub(super) struct Page {
    /// Its lines, without empty ones.
    pub(super) lines: Vec<Line>,
    cells: usize,
    broken: Option<Broken>,
}

/// A line: a paragraph, which is one cell, or the row of a table, or a part of one.
#[derive(Debug, Clone)]
pub(super) struct Line {
    /// Where it stands.
    pub(super) at: At,
    /// The texts of its cells; that of a blank cell is empty.
    pub(super) cells: Vec<String>,
    /// Whether it is only the description of a picture.
    pub(super) picture: bool,
    /// The columns of a text that it begins and ends at; both 0 in a web page.
    pub(super) span: (usize, usize),
}

/// That paragraphs of a text are broken over lines, as a mail or a terminal has them.
#[derive(Debug)]
struct Broken {
    /// The columns that a line may have.
    width: usize,
    /// The column at which a line begins that is not the first of its paragraph.
    indent: usize,
    /// Whether paragraphs are told apart: the first line of one begins further right, or an empty
    /// line stands between two.
    marked: bool,
}

/// Where a line stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct At {
    /// The line of the file, from 1.
    pub(super) line: usize,
    /// In a table of a web page, its number and its row, from 1.
    pub(super) table: Option<(usize, usize)>,
}

impl Line {
    /// A line without cells.
    pub(super) fn of(at: At, text: String) -> Line {
        Line {
            at,
            cells: vec![text],
            picture: false,
            span: (0, 0),
        }
    }

    /// All of it as one text.
    pub(super) fn text(&self) -> String {
        let cells = self.cells.iter().filter(|cell| !cell.is_empty());
        let cells: Vec<&str> = cells.map(String::as_str).collect();
        cells.join(" ")
    }

    /// Where one of its cells stands: in English and in Chinese.
    pub(super) fn place(&self, cell: usize) -> (String, String) {
        let number = cell + 1;
        let line = self.at.line;
        match (self.at.table, self.cells.len()) {
            (Some((table, row)), _) => (
                format!("table {table}, row {row}, cell {number} (line {line})"),
                format!("表{table}第{row}行第{number}格（第{line}行）"),
            ),
            (None, 1) => (format!("line {line}"), format!("第{line}行")),
            (None, _) => (
                format!("line {line}, cell {number}"),
                format!("第{line}行第{number}格"),
            ),
        }
    }

    /// Where it stands, all of it.
    pub(super) fn whole(&self) -> (String, String) {
        let line = self.at.line;
        match self.at.table {
            Some((table, row)) => (
                format!("table {table}, row {row} (line {line})"),
                format!("表{table}第{row}行（第{line}行）"),
            ),
            None => (format!("line {line}"), format!("第{line}行")),
        }
    }
}

impl Page {
    /// The columns at which its lines were broken, if they were.
    pub(super) fn width(&self) -> Option<usize> {
        self.broken.as_ref().map(|broken| broken.width)
    }

    /// Whether the line after one goes on with its paragraph: the first word there had no room any
    /// more, and nothing says that a paragraph begins.
    pub(super) fn goes_on(&self, at: usize) -> bool {
        let Some(broken) = &self.broken else {
            return false;
        };
        let Some([line, next]) = self.lines.get(at..at + 2) else {
            return false;
        };
        let ends = line.cells[0].ends_with(STOPS) && !broken.marked;
        full(line, next, broken.width)
            && next.span.0 <= broken.indent + 1 // a space that had no room, either
            && !ends
            && level(&next.cells[0]).is_none()
    }

    /// Adds a line, if a report may have that many.
    pub(super) fn push(&mut self, line: Line) -> Result<(), Unusable> {
        self.cells += line.cells.len();
        self.lines.push(line);
        if self.lines.len() > MOST_LINES || self.cells > MOST_CELLS {
            return Err(too_long());
        }
        Ok(())
    }
}

/// That a document has more lines or cells than any report.
pub(super) fn too_long() -> Unusable {
    Unusable::new(
        format!("it has more than {MOST_LINES} lines or {MOST_CELLS} cells: no report has"),
        format!("超过{MOST_LINES}行或{MOST_CELLS}格，不会是年度报告"),
    )
}

/// A text: a line is a paragraph, a cell, or a row whose cells stand apart by tabs or by two spaces
/// and more.
pub(super) fn of_text(text: &str) -> Result<Page, Unusable> {
    let mut page = Page::default();
    // Windows, Unix, old Mac, Word's soft line end, a new page.
    let text = text.replace("\r\n", "\n");
    let ends = [
        '\n', '\r', '\u{B}', '\u{C}', '\u{85}', '\u{2028}', '\u{2029}',
    ];
    for (number, line) in (1..).zip(text.split(ends)) {
        let cells = cells(line);
        if !cells.is_empty() {
            let at = At {
                line: number,
                table: None,
            };
            page.push(Line {
                at,
                cells,
                picture: false,
                span: span(line),
            })?;
        }
    }
    page.broken = broken(&page.lines);
    Ok(page)
}

/// What ends a sentence.
const STOPS: [char; 5] = ['。', '！', '？', '：', '；'];

/// Whether a text is broken over lines at a width: the one at which most lines end where the first
/// word of the next had no room. Few are longer, as the labels of a table may be; where paragraphs
/// are lines, most are.
fn broken(lines: &[Line]) -> Option<Broken> {
    const LEAST: usize = 40;
    const MOST: usize = 160;
    const SEVERAL: usize = 5;
    let mut full_at = [0_usize; MOST + 1];
    for pair in lines.windows(2) {
        let room = room(&pair[0], &pair[1]).unwrap_or_default();
        let counted = full_at.get_mut(room.start..room.end.min(MOST + 1));
        counted.into_iter().flatten().for_each(|count| *count += 1);
    }
    let width = (LEAST..=MOST).max_by_key(|&width| full_at[width])?;
    let (mut going_on, mut sentences) = (Vec::new(), Vec::new());
    for pair in lines.windows(2) {
        let [line, next] = pair else { continue };
        if full(line, next, width) {
            going_on.push((line, next));
        } else if line.cells.len() == 1 && line.cells[0].ends_with('。') {
            sentences.push((line, next));
        }
    }
    let indent = going_on.iter().map(|(_, next)| next.span.0).min()?;
    let indented = |(line, _): &&(&Line, &Line)| (indent + 2..indent + 9).contains(&line.span.0);
    let indented = going_on.iter().filter(indented).count() > 1;
    let gap = |(line, next): &(&Line, &Line)| next.at.line > line.at.line + 1;
    let parted = !sentences.is_empty() && sentences.iter().all(gap);
    let longer = |line: &&Line| line.cells.len() == 1 && line.span.1 > width + HANGING;
    let longer = lines.iter().filter(longer).count();
    let at_indent = |(_, next): &&(&Line, &Line)| next.span.0 == indent;
    let count = going_on.iter().filter(at_indent).count();
    (count >= SEVERAL && count > 2 * longer).then_some(Broken {
        width,
        indent,
        marked: indented || parted,
    })
}

/// A mark at the end of a line may hang out by its own width.
const HANGING: usize = 2;

/// The widths at which the first word of the next line had no room in this one, both without cells.
fn room(line: &Line, next: &Line) -> Option<std::ops::Range<usize>> {
    let together = line.cells.len() == 1 && next.cells.len() == 1;
    let end = line.span.1;
    (together && next.at.line == line.at.line + 1)
        .then(|| end.saturating_sub(HANGING)..end + first_word(&next.cells[0]))
}

/// Whether the first word of the next line had no room in this one at a width.
fn full(line: &Line, next: &Line, width: usize) -> bool {
    room(line, next).is_some_and(|room| room.contains(&width))
}

/// The columns of what must not be parted at the beginning of a text: a word of Latin letters or
/// digits or one other character, with the marks around it.
fn first_word(text: &str) -> usize {
    const OPENING: &str = "（《“‘〔【「『(";
    const CLOSING: &str = "，。、；：！？）》”’〕】」』),.;:!?%";
    let opening = text.chars().take_while(|&c| OPENING.contains(c)).count();
    let mut rest = text.chars().skip(opening).peekable();
    let mut word: usize = text.chars().take(opening).map(columns).sum();
    word += rest.next().map_or(0, |c| {
        let mut word = columns(c);
        while let Some(more) = rest.next_if(|more| c.is_ascii_graphic() && more.is_ascii_graphic())
        {
            word += columns(more);
        }
        word
    });
    word + rest
        .take_while(|&c| CLOSING.contains(c))
        .map(columns)
        .sum::<usize>()
}

/// The columns that a line's text begins and ends at.
fn span(line: &str) -> (usize, usize) {
    let end = line.trim_end_matches(is_space);
    let text = end.trim_start_matches(is_space);
    let before = &end[..end.len() - text.len()];
    let indent = before.chars().map(columns).sum();
    (indent, indent + text.chars().map(columns).sum::<usize>())
}

/// The columns of a character, as Chinese text is set: what is not Latin is wide.
fn columns(c: char) -> usize {
    match c {
        '\u{200B}' | '\u{FEFF}' | '\u{AD}' => 0,
        '\t' => 8,
        '‘' | '’' | '“' | '”' | '—' | '…' | '·' => 2,
        '\u{0}'..'\u{1100}' => 1,
        _ => 2,
    }
}

/// The cells of a line; none of an empty one. One of tabs alone has a blank cell for each, as
/// programs write tables out: what precedes the first text is an indent.
fn cells(line: &str) -> Vec<String> {
    let line = line.trim_matches(|c: char| c != '\t' && is_space(c));
    let text = line.trim_start_matches(is_space);
    if text.is_empty() {
        let tabs = line.chars().filter(|&c| c == '\t').take(MOST_CELLS + 1);
        return tabs.map(|_| String::new()).collect();
    }
    let (mut cells, mut cell) = (Vec::new(), String::new());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        if cells.len() > MOST_CELLS {
            break; // It is refused for that.
        }
        if !is_space(c) {
            cell.push(c);
            continue;
        }
        let (mut tabs, mut spaces) = (usize::from(c == '\t'), 1);
        while let Some(c) = rest.next_if(|&c| is_space(c)) {
            tabs += usize::from(c == '\t');
            spaces += 1;
        }
        if tabs == 0 && spaces == 1 {
            cell.push(c);
            continue;
        }
        cells.push(std::mem::take(&mut cell));
        // Two tabs have a blank cell between them.
        cells.extend((1..tabs.min(MOST_CELLS)).map(|_| String::new()));
    }
    cells.push(cell);
    cells
}

/// White space, and what shows nothing either.
fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{200B}' | '\u{FEFF}' | '\u{7}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_stand_apart_by_tabs_or_by_several_spaces() {
        for (line, expected) in [
            ("", &[][..]),
            ("  \u{3000}", &[]),
            ("\t", &[""]),
            ("\t\t", &["", ""]),
            ("\t规章", &["规章"]),
            ("    一、总体情况 ", &["一、总体情况"]),
            ("规章\t0\t\t2", &["规章", "0", "", "2"]),
            ("规章\t0\t1\t", &["规章", "0", "1", ""]),
            ("规章   0  1 \t 2", &["规章", "0", "1", "2"]),
            ("成立 70 周年", &["成立 70 周年"]),
        ] {
            assert_eq!(cells(line), expected, "{line:?}");
        }
    }

    #[test]
    fn a_word_and_its_marks_are_not_parted() {
        for (text, expected) in [
            ("", 0),
            ("公开", 2),
            ("公，开", 4),
            ("（《公》）开", 10),
            ("2023年", 4),
            ("www.example.gov.cn。好", 20),
            ("a b", 1),
            ("//www.zibo.gov.cn/）", 20),
        ] {
            assert_eq!(first_word(text), expected, "{text}");
        }
        assert_eq!(span("\t  　公开a “。” "), (12, 24));
    }

    #[test]
    fn a_line_goes_on_where_the_next_word_had_no_room_and_no_paragraph_begins() {
        let going_on = |lines: &[&str]| {
            let page = of_text(&lines.join("\n")).expect("a text");
            let marks = (0..lines.len()).map(|at| if page.goes_on(at) { '+' } else { '.' });
            marks.collect::<String>()
        };
        let full = &*"公".repeat(20);
        let stop = &*format!("{}。", "公".repeat(19));
        let first = &*format!("　　{}", "公".repeat(18));
        let item = "（一）公开。";
        let last = "公开。";
        for (lines, expected) in [
            // A paragraph may begin after a sentence, where nothing tells.
            (
                &[full, full, full, full, full, stop, full, last][..],
                "+++++.+.",
            ),
            (
                &[
                    first, full, full, full, full, stop, full, last, first, full, last,
                ],
                "+++++++.++.",
            ),
            (&[full, full, full, full, full, full, item], "+++++.."),
            // So few may end alike by chance.
            (&[full, full, full, last], "...."),
        ] {
            assert_eq!(going_on(lines), expected);
        }
    }

    #[test]
    fn a_text_of_a_million_lines_is_refused() {
        assert!(of_text(&"0\n".repeat(1_000_000)).is_err());
        assert!(of_text(&"0\t".repeat(1_000_000)).is_err());
    }
}

//! A published document as lines of cells, whatever kind of file it is in.

use super::Unusable;

/// The most lines and the most cells of a document. A report has a thousand cells.
const MOST_LINES: usize = 200_000;
const MOST_CELLS: usize = 400_000;

/// A document.
#[derive(Debug, Default)]
pub(super) struct Page {
    /// Its lines, without empty ones.
    pub(super) lines: Vec<Line>,
    cells: usize,
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
            })?;
        }
    }
    Ok(page)
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
    fn a_text_of_a_million_lines_is_refused() {
        assert!(of_text(&"0\n".repeat(1_000_000)).is_err());
        assert!(of_text(&"0\t".repeat(1_000_000)).is_err());
    }
}

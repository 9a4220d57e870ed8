//! What stands where in a workbook: written into its hidden sheet, and read back from there.

use crate::report::form::Form;
use crate::{digest, report::describe};

/// The name of the hidden sheet.
pub const SHEET: &str = "banshi";

/// What stands in its first cell.
pub const MARK: &str = "banshi workbook";

/// How it is written, beside the mark.
pub const VERSION: &str = "1";

/// The row of its first entry; above are the mark, the template and the digest of the form.
pub const FIRST: u32 = 4;

/// The kinds of blocks on the sheet of texts, as they stand beside each.
pub const PARAGRAPH: &str = "段落";
/// A heading on a line of its own.
pub const HEADING: &str = "小标题";
/// The caption of a table.
pub const CAPTION: &str = "表题";
/// The heads of a table, a cell each.
pub const COLUMNS: &str = "表头";
/// A row of a table.
pub const ROW: &str = "表行";
/// The title of a part, with its blocks after it.
pub const PART: &str = "附件题名";

/// What stands at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// A text of the form, which must stand there for its sheet to be read.
    Label,
    /// What the workbook makes itself and nobody reads.
    Made,
    /// What is filled in.
    Value,
    /// A total: a formula, unless it was typed over.
    Total,
    /// Blocks of text, a row each: what it is, and beside it the text.
    Text,
}

impl What {
    const ALL: [What; 5] = [
        What::Label,
        What::Made,
        What::Value,
        What::Total,
        What::Text,
    ];

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            What::Label => "label",
            What::Made => "made",
            What::Value => "value",
            What::Total => "total",
            What::Text => "text",
        }
    }

    /// What a word of the sheet means.
    pub fn parse(word: &str) -> Option<What> {
        What::ALL.into_iter().find(|what| what.as_str() == word)
    }
}

/// A place and what stands there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spot {
    /// The sheet's name.
    pub sheet: String,
    /// Its first cell and its last: row and column from 0.
    pub cells: [(u32, u16); 2],
    /// What stands there.
    pub what: What,
    /// JSON Pointer into the job; nothing of what is not in a job.
    pub path: String,
    /// Of a label, its text. Of a value, what was sent where a number would not give it back:
    /// `4.10`.
    pub text: String,
}

impl Spot {
    /// As `表三!D7`.
    pub fn place(&self) -> String {
        place(&self.sheet, self.cells[0])
    }

    /// Its cells, as `D7` or `A5:K20`.
    pub fn range(&self) -> String {
        let [first, last] = self.cells.map(address);
        if first == last {
            first
        } else {
            format!("{first}:{last}")
        }
    }

    /// The cells of a range, first and last.
    pub fn cells_of(range: &str) -> Option<[(u32, u16); 2]> {
        let (first, last) = range.split_once(':').unwrap_or((range, range));
        let (first, last) = (cell_of(first)?, cell_of(last)?);
        (first.0 <= last.0 && first.1 <= last.1).then_some([first, last])
    }
}

/// A cell of a sheet, as `表三!D7`.
pub fn place(sheet: &str, cell: (u32, u16)) -> String {
    format!("{sheet}!{}", address(cell))
}

/// A cell as workbooks name it, as `D7`.
pub fn address((row, column): (u32, u16)) -> String {
    let mut letters = Vec::new();
    let mut rest = u32::from(column) + 1;
    while rest > 0 {
        rest -= 1;
        letters.push(char::from(
            b'A' + u8::try_from(rest % 26).unwrap_or_default(),
        ));
        rest /= 26;
    }
    let letters: String = letters.into_iter().rev().collect();
    format!("{letters}{}", row + 1)
}

/// The row and the column of `D7`.
fn cell_of(address: &str) -> Option<(u32, u16)> {
    let digits = address.find(|c: char| c.is_ascii_digit())?;
    let (letters, row) = address.split_at(digits);
    let column = letters.bytes().try_fold(0_u16, |column, letter| {
        let digit = letter.is_ascii_uppercase().then(|| letter - b'A' + 1)?;
        column.checked_mul(26)?.checked_add(u16::from(digit))
    })?;
    let row = row.parse::<u32>().ok()?;
    Some((row.checked_sub(1)?, column.checked_sub(1)?))
}

/// The digest of a form: another one has other fields, labels or rules.
pub fn digest_of(template: &str, form: &Form) -> String {
    digest::sha256(describe::describe(template, form).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::{Spot, address};

    #[test]
    fn a_cell_is_named_as_workbooks_do() {
        for (cell, name) in [
            ((0, 0), "A1"),
            ((6, 3), "D7"),
            ((99, 25), "Z100"),
            ((0, 26), "AA1"),
            ((0, 701), "ZZ1"),
            ((0, 702), "AAA1"),
        ] {
            assert_eq!(address(cell), name);
            assert_eq!(Spot::cells_of(name), Some([cell, cell]));
        }
        assert_eq!(Spot::cells_of("A5:K20"), Some([(4, 0), (19, 10)]));
        for wrong in ["", "A", "7", "A0", "d7", "A5:", "A-1", "AAAAAA1"] {
            assert_eq!(Spot::cells_of(wrong), None, "{wrong}");
        }
    }
}

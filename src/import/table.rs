//! An official table in a document: the form's heads and labels are looked for in its order, and the
//! figures are those that stand after them.
//!
//! What a cell stands next to is all that is relied on, so that it is the same whether a table has
//! kept its rows, spans and blank cells or was flattened to a cell a line.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use serde_json::Value as Json;

use super::figure::{self, unit_of};
use super::page::Page;
use super::words::{Label, alike, bare, norm};
use super::{Remark, RemarkKind, Taken};
use crate::report::form::{CellKind, Entry, Form, Head, Shape, Table};

/// How many pieces a label may be broken into: of one that stands upright each character is one.
const PIECES: usize = 16;

/// The most cells after a section's heading that its table is looked for in; the largest of the
/// forms has three hundred.
const REACH: usize = 4000;

/// The longest text that may be a label, in bytes.
const LONGEST: usize = 400;

/// The most lines that are told of as unread within one table.
const MOST_TOLD: usize = 20;

/// A cell of the document.
#[derive(Debug)]
pub(super) struct Token {
    /// The index of its line.
    pub(super) line: usize,
    /// Its index there.
    pub(super) cell: usize,
    /// Its text for comparing; nothing for one that is too long to be a label.
    pub(super) norm: String,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Blank,
    Figure,
    Words,
}

/// The cells of a document in their order.
pub(super) fn tokens(page: &Page) -> Vec<Token> {
    let mut tokens = Vec::new();
    for (line, of) in page.lines.iter().enumerate() {
        for (cell, text) in of.cells.iter().enumerate() {
            let norm = match text.len() {
                0..=LONGEST => norm(text),
                _ => String::new(),
            };
            let kind = match (text.trim().is_empty(), figure::is_figure(text)) {
                (true, _) => Kind::Blank,
                (_, true) => Kind::Figure,
                _ => Kind::Words,
            };
            tokens.push(Token {
                line,
                cell,
                norm,
                kind,
            });
        }
    }
    tokens
}

/// What was read so far, and what was noticed.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// By the index of the cell in [`Form::cells`].
    pub(super) cells: BTreeMap<usize, Json>,
    pub(super) taken: Vec<Taken>,
    pub(super) remarks: Vec<Remark>,
}

impl Found {
    pub(super) fn remark(
        &mut self,
        (place, place_zh): (String, String),
        kind: RemarkKind,
        en: String,
        zh: String,
    ) {
        self.remarks.push(Remark {
            place,
            kind,
            en,
            zh: format!("{place_zh}：{zh}"),
        });
    }

    fn unread(&mut self, place: (String, String), en: String, zh: String) {
        self.remark(place, RemarkKind::Unread, en, zh);
    }

    fn assumed(&mut self, place: (String, String), en: String, zh: String) {
        self.remark(place, RemarkKind::Assumed, en, zh);
    }
}

/// All labels of a table: what a figure never is.
pub(super) fn labels(table: &Table) -> Vec<&str> {
    fn of_heads<'a>(heads: &'a [Head], labels: &mut Vec<&'a str>) {
        for head in heads {
            labels.push(&head.label);
            of_heads(&head.heads, labels);
        }
    }
    fn of_entries<'a>(entries: &'a [Entry], labels: &mut Vec<&'a str>) {
        for entry in entries {
            labels.push(&entry.label);
            of_entries(entry.entries(), labels);
        }
    }
    let mut labels = vec![table.corner.as_str(), table.columns_label.as_str()];
    of_heads(&table.heads, &mut labels);
    of_entries(&table.entries, &mut labels);
    labels.retain(|label| !label.is_empty());
    labels
}

/// Where a label stands: its first cell, and the one after its last.
#[derive(Debug, Clone, Copy)]
struct Hit {
    at: usize,
    after: usize,
}

/// A table that is being read.
pub(super) struct Walk<'a> {
    form: &'a Form,
    table: &'a Table,
    page: &'a Page,
    tokens: &'a [Token],
    /// Where it is looked for.
    range: Range<usize>,
    labels: BTreeSet<String>,
    /// Which cells of the range have been understood.
    used: BTreeSet<usize>,
    found: &'a mut Found,
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        form: &'a Form,
        table: &'a Table,
        page: &'a Page,
        tokens: &'a [Token],
        range: Range<usize>,
        found: &'a mut Found,
    ) -> Walk<'a> {
        let labels = labels(table).into_iter().map(norm);
        let labels = labels
            .flat_map(|norm| [bare(&norm).to_owned(), norm])
            .collect();
        let end = range.end.min(range.start + REACH);
        Walk {
            form,
            table,
            page,
            tokens,
            range: range.start..end,
            labels,
            used: BTreeSet::new(),
            found,
        }
    }

    /// Reads the table, and gives the lines that it stands on; none, where it is not there.
    pub(super) fn read(mut self, heading: &str) -> Option<Range<usize>> {
        let Range { start, end } = self.range;
        match self.table.shape {
            Shape::Bands => self.bands(start, end),
            Shape::Matrix => self.matrix(start, end),
            Shape::Row => self.wide(start, end),
            Shape::List => {}
        }
        let (first, last) = match (self.used.first(), self.used.last()) {
            (Some(first), Some(last)) => (*first, *last),
            _ => {
                // One remark for all.
                let place = self.place(start.min(self.tokens.len().saturating_sub(1)));
                self.found.unread(
                    place,
                    format!("the table of 「{heading}」 is not here"),
                    format!("此处未找到「{heading}」的表格"),
                );
                return None;
            }
        };
        let first = self.above(first);
        self.leftovers(first, last);
        Some(self.tokens[first].line..self.tokens[last].line + 1)
    }

    fn place(&self, token: usize) -> (String, String) {
        match self.tokens.get(token) {
            Some(token) => self.page.lines[token.line].place(token.cell),
            None => ("the end".to_owned(), "文末".to_owned()),
        }
    }

    fn text(&self, tokens: Range<usize>) -> String {
        let texts = self.tokens[tokens].iter();
        let texts = texts.map(|token| self.page.lines[token.line].cells[token.cell].trim());
        texts.collect()
    }

    /// Where a label stands first within a range, in one piece or broken over cells.
    fn find(&self, label: &Label, from: usize, to: usize) -> Option<Hit> {
        (from..to).find_map(|at| {
            let mut said = String::new();
            for next in at..to.min(at + PIECES) {
                let token = &self.tokens[next];
                // The figure before a label is no number of it.
                if token.norm.is_empty() || next == at && token.kind == Kind::Figure {
                    return None;
                }
                said.push_str(&token.norm);
                if label.is(&said) {
                    let after = next + 1;
                    return Some(Hit { at, after });
                }
                if !label.begins_with(&said) {
                    return None;
                }
            }
            None
        })
    }

    /// Where a label stands with a slip in it: what is most like it, and no other label.
    fn similar(&self, label: &Label, from: usize, to: usize) -> Option<Hit> {
        let words = (from..to).filter(|&at| {
            let token = &self.tokens[at];
            token.kind == Kind::Words && !token.norm.is_empty() && !self.is_label(&token.norm)
        });
        let alike = words.filter_map(|at| {
            let alike = alike(label.bare(), bare(&self.tokens[at].norm))?;
            Some((alike, at))
        });
        let (_, at) = alike.max_by(|(a, _), (b, _)| a.total_cmp(b))?;
        Some(Hit { at, after: at + 1 })
    }

    /// A label as it stands, or with a slip in it, which is told.
    fn look(&mut self, text: &str, from: usize, to: usize) -> Option<Hit> {
        let label = Label::of(text);
        let hit = self.find(&label, from, to).or_else(|| {
            let hit = self.similar(&label, from, to)?;
            let (said, text) = (self.text(hit.at..hit.after), text.replace('\n', ""));
            let place = self.place(hit.at);
            self.found.assumed(
                place,
                format!("「{said}」 is taken for 「{text}」"),
                format!("「{said}」按「{text}」读取"),
            );
            Some(hit)
        })?;
        self.used.extend(hit.at..hit.after);
        Some(hit)
    }

    fn is_label(&self, norm: &str) -> bool {
        let bare = bare(norm);
        let known = |text: &str| !text.is_empty() && self.labels.contains(text);
        let explained = bare.split_once('(').map_or("", |(label, _)| label);
        known(norm) || known(bare) || known(explained)
    }

    /// Heads that stand beside one another. Gives for each the unit that it names.
    fn heads(&mut self, heads: &[&str], from: usize, to: usize) -> Vec<Option<&'static str>> {
        let mut at = from;
        let mut units = Vec::new();
        for head in heads {
            let ahead = self.find(&Label::of(head), at, to);
            let hit = match ahead {
                Some(_) => self.look(head, at, to),
                None => self.look(head, from, to),
            };
            let name = head.replace('\n', "");
            let Some(hit) = hit else {
                let place = self.place(from);
                self.found.assumed(
                    place,
                    format!(
                        "the head 「{name}」 is not here; the figures under it are taken by their \
                         order"
                    ),
                    format!("此处未找到表头「{name}」，其下各格按顺序读取"),
                );
                units.push(None);
                continue;
            };
            if hit.at < at {
                let place = self.place(hit.at);
                self.found.assumed(
                    place,
                    format!(
                        "the head 「{name}」 stands in another order than in the form; the figures \
                         are taken in the form's: compare them"
                    ),
                    format!("表头「{name}」的次序与格式不同，各格仍按格式的次序读取：请核对"),
                );
            }
            at = at.max(hit.after);
            units.push(unit_of(&self.text(hit.at..hit.after)));
        }
        units
    }

    fn bands(&mut self, from: usize, to: usize) {
        let table = self.table;
        let mut at = from;
        for (index, band) in table.entries.iter().enumerate() {
            let Some(hit) = self.look(&band.label, at, to) else {
                self.missing(band, at);
                continue;
            };
            let later = table.entries[index + 1..].iter();
            let end = later
                .filter_map(|band| self.find(&Label::of(&band.label), hit.after, to))
                .map(|hit| hit.at)
                .min()
                .unwrap_or(to);
            let rows = band.entries();
            let columns = rows.first().map_or(&[][..], Entry::entries);
            let columns: Vec<&str> = columns.iter().map(|column| column.label.as_str()).collect();
            let first = rows.first();
            let first = first.and_then(|row| self.find(&Label::of(&row.label), hit.after, end));
            let units = self.heads(&columns, hit.after, first.map_or(end, |hit| hit.at));
            at = hit.after;
            for row in rows {
                at = self.row(row, at, end, &units);
            }
            at = at.max(hit.after);
        }
    }

    fn matrix(&mut self, from: usize, to: usize) {
        let table = self.table;
        let first = leaves(&table.entries)
            .into_iter()
            .find_map(|row| self.find(&Label::of(&row.label), from, to));
        let Some(first) = first else {
            return;
        };
        self.siblings(&table.heads, from, first.at);
        let mut columns = Vec::new();
        ends(&table.heads, &mut columns);
        let units = vec![None; columns.len()];
        self.rows(&table.entries, from, to, &units);
    }

    /// The heads of a tree, those beside one another in their order.
    fn siblings(&mut self, heads: &[Head], from: usize, to: usize) {
        let labels: Vec<&str> = heads.iter().map(|head| head.label.as_str()).collect();
        self.heads(&labels, from, to);
        for head in heads.iter().filter(|head| !head.heads.is_empty()) {
            self.siblings(&head.heads, from, to);
        }
    }

    /// The rows of a tree. Gives the place after them.
    fn rows(
        &mut self,
        entries: &[Entry],
        from: usize,
        to: usize,
        units: &[Option<&'static str>],
    ) -> usize {
        let mut at = from;
        for entry in entries {
            if entry.is_row() {
                at = self.row(entry, at, to, units);
                continue;
            }
            let leaves = leaves(entry.entries());
            let inner = leaves
                .iter()
                .find_map(|row| self.find(&Label::of(&row.label), at, to));
            let limit = inner.map_or(to, |hit| hit.at);
            if let Some(hit) = self.find(&Label::of(&entry.label), at, limit) {
                self.used.extend(hit.at..hit.after);
                at = hit.after;
                let after = match inner {
                    None => self.in_one(entry, &leaves, at, to),
                    Some(_) => None,
                };
                if let Some(after) = after {
                    at = after;
                    continue;
                }
            }
            at = self.rows(entry.entries(), at, to, units);
        }
        at
    }

    /// A group that the document has in one row, as older forms do. Only where all of it is 0 is it
    /// known what its parts are.
    fn in_one(&mut self, group: &Entry, leaves: &[&Entry], at: usize, to: usize) -> Option<usize> {
        let columns = leaves.first()?.cells().len();
        let (figures, after) = self.after(at, to, columns);
        let kind = |token: usize| self.tokens[token].kind;
        if figures
            .first()
            .is_none_or(|&first| kind(first) != Kind::Figure)
        {
            return None;
        }
        let figures = align(&figures, columns, kind)?;
        self.used.extend(at..after);
        let kinds = leaves[0].cells();
        let zero = figures.iter().zip(&kinds).all(|(&token, &cell)| {
            let text = self.text(token..token + 1);
            let read = figure::read(&text, &self.form.cells[cell].kind, None);
            read.is_some_and(|(value, _)| value == 0)
        });
        let (label, rows, place) = (&group.label, leaves.len(), self.place(at));
        if !zero {
            self.found.unread(
                place,
                format!(
                    "「{label}」 is one row here and {rows} in the form: how its figures are \
                     divided is not said"
                ),
                format!("「{label}」此处为一行，而格式为{rows}行，各行数字无从得知"),
            );
            return Some(after);
        }
        self.found.assumed(
            place,
            format!(
                "「{label}」 is one row here and {rows} in the form; all of them are 0, as it is"
            ),
            format!("「{label}」此处为一行，而格式为{rows}行；该行各格为0，各行均按0读取"),
        );
        for cell in leaves.iter().flat_map(|row| row.cells()) {
            self.found.cells.insert(cell, Json::from(0));
        }
        Some(after)
    }

    /// A row: its label, and the figures after it. Gives the place after them.
    fn row(
        &mut self,
        row: &Entry,
        from: usize,
        to: usize,
        units: &[Option<&'static str>],
    ) -> usize {
        match self.look(&row.label, from, to) {
            Some(hit) => self.figures(&row.cells(), hit.after, to, units),
            None => {
                self.missing(row, from);
                from
            }
        }
    }

    fn missing(&mut self, entry: &Entry, from: usize) {
        let (label, cells) = (entry.label.replace('\n', ""), entry.cells().len());
        let place = self.place(from);
        self.found.unread(
            place,
            format!("「{label}」 is not found from here on, nor its {cells} figures"),
            format!("自此处起未找到「{label}」，其{cells}格未读取"),
        );
    }

    /// The cells after a label that may be its figures, so many as are wanted or more, and the place
    /// after them: those that are left of its row; or, where a cell is a line, those up to the next
    /// label.
    fn after(&self, at: usize, to: usize, wanted: usize) -> (Vec<usize>, usize) {
        let line = |at: usize| self.tokens.get(at).map(|token| token.line);
        let label = at.checked_sub(1).and_then(line);
        let row: Vec<usize> = (at..to).take_while(|&next| line(next) == label).collect();
        let blank = |next: &usize| self.tokens[*next].kind == Kind::Blank;
        if !row.iter().all(blank) || row.len() >= wanted {
            return (row.clone(), at + row.len());
        }
        let (mut figures, mut next, mut shown) = (row.clone(), at + row.len(), 0);
        while next < to {
            let token = &self.tokens[next];
            let cells = self.page.lines[token.line].cells.len();
            if cells > 1 && figures.iter().all(blank) && token.kind != Kind::Words {
                // A line of its own has all of them.
                let row = (next..to).take_while(|&other| line(other) == Some(token.line));
                let row: Vec<usize> = row.collect();
                let after = next + row.len();
                return (row, after);
            }
            // A remark may stand among them, and not before the first or after the last. A figure
            // too many is one of them: then it is not plain which.
            let words = token.kind == Kind::Words
                && (shown == 0 || shown >= wanted || token.norm.is_empty());
            if cells > 1 || words || self.is_label(&token.norm) {
                break;
            }
            shown += usize::from(token.kind != Kind::Blank);
            figures.push(next);
            next += 1;
        }
        (figures, next)
    }

    /// Reads the figures after a label into cells. Gives the place after them.
    fn figures(
        &mut self,
        cells: &[usize],
        at: usize,
        to: usize,
        units: &[Option<&'static str>],
    ) -> usize {
        let (all, after) = self.after(at, to, cells.len());
        let Some(figures) = align(&all, cells.len(), |token| self.tokens[token].kind) else {
            let place = self.place(at.saturating_sub(1));
            let row = cells.first().map(|&cell| self.form.cells[cell].row.clone());
            let (row, want) = (row.unwrap_or_default(), cells.len());
            let found = all
                .iter()
                .filter(|&&token| self.tokens[token].kind != Kind::Blank);
            let found = found.count();
            self.found.unread(
                place,
                format!(
                    "「{row}」 has {found} figures here and {want} in the form: which are which \
                         is not plain"
                ),
                format!("「{row}」此处有{found}格，而格式为{want}格，无法对应"),
            );
            self.used.extend(all);
            return at;
        };
        self.used.extend(&all);
        for (index, (&cell, token)) in cells.iter().zip(figures).enumerate() {
            self.cell(cell, token, units.get(index).copied().flatten());
        }
        after
    }

    fn cell(&mut self, cell: usize, token: usize, unit: Option<&str>) {
        let place = self.place(token);
        let text = self.text(token..token + 1);
        let own = &self.form.cells[cell];
        let label = own.name();
        let Some((value, assumed)) = figure::read(&text, &own.kind, unit) else {
            let (en, zh) = wanted(&own.kind);
            self.found.unread(
                place,
                format!("{label}: “{text}” is no {en}"),
                format!("{label}：“{text}”不是{zh}"),
            );
            return;
        };
        self.found.taken.push(Taken {
            place: place.0.clone(),
            pointer: format!("/data{}", own.pointer),
            label: label.clone(),
            text,
        });
        self.found.cells.insert(cell, value);
        if let Some((en, zh)) = assumed {
            self.found
                .assumed(place, format!("{label}: {en}"), format!("{label}：{zh}"));
        }
    }

    /// One row of figures under a tree of heads: all of them stand after the last head.
    fn wide(&mut self, from: usize, to: usize) {
        let table = self.table;
        let cells: Vec<usize> = table.entries.iter().flat_map(Entry::cells).collect();
        let last = (from..to)
            .rev()
            .find(|&at| self.is_label(&self.tokens[at].norm));
        let Some(last) = last else {
            return;
        };
        let tree = table.row_heads();
        self.siblings(&tree, from, last + 1);
        let units: Vec<Option<&'static str>> = {
            let mut columns = Vec::new();
            ends(&tree, &mut columns);
            let unit = |label: &&str| {
                let hit = self.find(&Label::of(label), from, last + 1)?;
                unit_of(&self.text(hit.at..hit.after))
            };
            columns.iter().map(unit).collect()
        };
        // Words may stand before the first figure of its line, as a row's name would.
        let first = (last + 1..to).find(|&at| self.tokens[at].kind == Kind::Figure);
        let name = first.and_then(|first| {
            let line = self.tokens[first].line;
            (last + 1..first).rev().find(|&at| {
                let token = &self.tokens[at];
                token.line == line && token.kind == Kind::Words
            })
        });
        let start = name.unwrap_or(last) + 1;
        self.figures(&cells, start, to, &units);
    }

    /// Where the table begins, of which this is the first cell that was looked for: labels before it
    /// are of the table, too, as those in its corner.
    fn above(&self, first: usize) -> usize {
        let before = (self.range.start..first).rev().take_while(|&at| {
            let token = &self.tokens[at];
            token.kind == Kind::Blank || self.is_label(&token.norm)
        });
        let labels = before.filter(|&at| self.tokens[at].kind != Kind::Blank);
        labels.last().unwrap_or(first)
    }

    /// Tells what stands inside the table and was not understood.
    fn leftovers(&mut self, first: usize, last: usize) {
        let mut lines: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for at in first..=last {
            let token = &self.tokens[at];
            let known = self.used.contains(&at) || self.is_label(&token.norm);
            if token.kind != Kind::Blank && !known {
                lines.entry(token.line).or_default().push(at);
            }
        }
        for tokens in lines.values().take(MOST_TOLD) {
            let place = self.place(tokens[0]);
            let texts: Vec<String> = tokens.iter().map(|&at| self.text(at..at + 1)).collect();
            let text: String = texts.join(" ").chars().take(80).collect();
            self.found.unread(
                place,
                format!("“{text}” has no place in the form"),
                format!("“{text}”在格式中没有位置"),
            );
        }
        if let more @ 1.. = lines.len().saturating_sub(MOST_TOLD) {
            let place = self.place(last);
            self.found.unread(
                place,
                format!("and {more} more lines of this table have no place in the form"),
                format!("本表另有{more}行在格式中没有位置"),
            );
        }
    }
}

/// The rows of a tree, in order.
fn leaves(entries: &[Entry]) -> Vec<&Entry> {
    let of = |entry| match Entry::is_row(entry) {
        true => vec![entry],
        false => leaves(entry.entries()),
    };
    entries.iter().flat_map(of).collect()
}

/// The labels at the ends of a tree of heads.
fn ends<'a>(heads: &'a [Head], labels: &mut Vec<&'a str>) {
    for head in heads {
        match head.heads.is_empty() {
            true => labels.push(&head.label),
            false => ends(&head.heads, labels),
        }
    }
}

/// So many figures as are wanted out of those that may be them. The surplus is words before them, or
/// blank cells on one side, as rows have that go on with a label above; blank cells on both sides
/// may be figures or not.
fn align(all: &[usize], wanted: usize, kind: impl Fn(usize) -> Kind) -> Option<Vec<usize>> {
    let is_blank = |at: &&usize| kind(**at) == Kind::Blank;
    let mut all = all;
    while let (true, [first, rest @ ..]) = (all.len() > wanted, all) {
        if kind(*first) != Kind::Words {
            break;
        }
        all = rest;
    }
    let surplus = all.len().checked_sub(wanted)?;
    let shown: Vec<usize> = all.iter().filter(|at| !is_blank(at)).copied().collect();
    if surplus > 0 && shown.len() == wanted {
        return Some(shown);
    }
    let leading = all.iter().take_while(is_blank).count();
    let trailing = all.iter().rev().take_while(is_blank).count();
    match (leading, trailing) {
        _ if surplus == 0 || leading == all.len() => Some(all[..wanted].to_vec()),
        (0, trailing) if trailing >= surplus => Some(all[..wanted].to_vec()),
        (leading, 0) if leading >= surplus => Some(all[surplus..].to_vec()),
        _ => None,
    }
}

/// What a cell of a kind holds, in words.
fn wanted(kind: &CellKind) -> (&'static str, &'static str) {
    match kind {
        CellKind::Count => ("count", "计数"),
        CellKind::Change => ("whole number", "整数"),
        CellKind::Money(_) | CellKind::MoneyWithUnit(_) => ("amount", "金额"),
        CellKind::Percent => ("percentage", "百分数"),
        CellKind::Text => ("text", "文本"),
        CellKind::Date => ("date", "日期"),
        CellKind::YesNo => ("是 or 否", "“是”或“否”"),
        CellKind::Choice(_) => ("one of the words of this column", "本列所列之一"),
    }
}

//! Tables: each an HTML table whose every figure has the row and the column that it stands in as
//! its headers.
//!
//! The official tables are drawn for A4. Here each is a column of rows that fits a phone, or
//! scrolls in a frame of its own: groups of rows stand over their rows and not beside them, a row of
//! figures stands upright, and bands are tables of their own. Names and order are the form's.

use maud::{Markup, html};
use serde::Deserialize;
use serde_json::Value;

use super::{Block, Writer, lines};
use crate::report::form::{Shape, Table};

/// Columns of figures from which on a table may be wider than a phone.
const WIDE: usize = 4;

/// What stands around an official table.
#[derive(Deserialize)]
pub(super) struct Section {
    #[serde(default)]
    pub(super) introduction: Vec<Block>,
    #[serde(default)]
    pub(super) notes: Vec<String>,
}

/// A column's head, or one over several.
#[derive(Clone, Deserialize)]
struct Head {
    label: String,
    #[serde(default)]
    heads: Vec<Head>,
}

impl Head {
    /// The columns under it.
    fn leaves(&self) -> usize {
        self.heads.iter().map(Head::leaves).sum::<usize>().max(1)
    }

    /// The rows of heads that it takes.
    fn depth(&self) -> usize {
        1 + self.heads.iter().map(Head::depth).max().unwrap_or(0)
    }
}

/// A row with its cells, or a group with its rows.
#[derive(Deserialize)]
struct Row {
    label: String,
    #[serde(default)]
    cells: Vec<String>,
    #[serde(default)]
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct Bands {
    bands: Vec<Band>,
}

#[derive(Deserialize)]
struct Band {
    label: String,
    heads: Vec<String>,
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct Matrix {
    rule: String,
    columns_label: String,
    columns: Vec<Head>,
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct Line {
    heads: Vec<Head>,
    cells: Vec<String>,
}

#[derive(Deserialize)]
struct List {
    #[serde(default)]
    heads: Vec<Head>,
    #[serde(default)]
    rows: Vec<Vec<String>>,
    named: Option<usize>,
    #[serde(default)]
    texts: Vec<usize>,
    total: Option<Total>,
}

#[derive(Deserialize)]
struct Total {
    label: String,
    span: usize,
    cells: Vec<String>,
}

/// A table of figures: rows, in groups or not, against columns.
struct Grid<'a> {
    caption: &'a str,
    /// Whether the caption says more than the heading above.
    shown: bool,
    corner: &'a str,
    /// None, where each row has one figure that its label says all of.
    columns: Vec<Head>,
    rows: &'a [Row],
}

impl Writer<'_> {
    /// An official table.
    pub(super) fn official(
        &mut self,
        found: &Value,
        table: &Table,
        caption: &str,
    ) -> Result<Markup, serde_json::Error> {
        let grid = |corner, columns, rows| Grid {
            caption,
            shown: false,
            corner,
            columns,
            rows,
        };
        Ok(match table.shape {
            Shape::Bands => {
                let Bands { bands } = Bands::deserialize(found)?;
                let bands = bands.iter().map(|band| {
                    let (corner, columns) = band
                        .heads
                        .split_first()
                        .map_or(("", &[][..]), |(corner, columns)| {
                            (corner.as_str(), columns)
                        });
                    let column = |label: &String| Head {
                        label: label.clone(),
                        heads: Vec::new(),
                    };
                    let columns = columns.iter().map(column).collect();
                    self.grid(&Grid {
                        caption: &band.label,
                        shown: true,
                        corner,
                        columns,
                        rows: &band.rows,
                    })
                });
                let bands: Vec<Markup> = bands.collect();
                html! { div.bands { @for band in &bands { (band) } } }
            }
            Shape::Matrix => {
                let Matrix {
                    rule,
                    columns_label,
                    columns,
                    rows,
                } = Matrix::deserialize(found)?;
                let columns = match columns_label.is_empty() {
                    true => columns,
                    false => vec![Head {
                        label: columns_label,
                        heads: columns,
                    }],
                };
                self.grid(&grid(&rule, columns, &rows))
            }
            Shape::Row => {
                let Line { heads, cells } = Line::deserialize(found)?;
                let mut cells = cells.into_iter();
                match common(&heads) {
                    Some(columns) => {
                        let columns = columns.to_vec();
                        let rows = upright(heads, &mut cells, columns.len());
                        self.grid(&grid("", columns, &rows))
                    }
                    None => {
                        let rows = upright(heads, &mut cells, 0);
                        self.grid(&grid("", Vec::new(), &rows))
                    }
                }
            }
            Shape::List => self.list(&List::deserialize(found)?, caption),
        })
    }

    /// The number of the next table, of which its ids are made.
    fn next(&mut self) -> String {
        self.tables += 1;
        format!("t{}", self.tables)
    }

    fn grid(&mut self, grid: &Grid) -> Markup {
        let id = self.next();
        let grouped = grid.rows.iter().any(|row| !row.rows.is_empty());
        let thead = Heads::of(&id, &grid.columns, grouped);
        let explicit = thead.explicit;
        let mut body = Body {
            id: &id,
            columns: &thead.paths,
            explicit,
            width: 1 + thead.paths.len().max(1),
            rows: 0,
        };
        let table = html! {
            table.figures.single[grid.columns.is_empty()] {
                caption.vh[!grid.shown] { (lines(grid.caption)) }
                @if !grid.columns.is_empty() {
                    colgroup { col; }
                    @for head in &grid.columns { colgroup span=(head.leaves()) {} }
                    thead { @for (at, row) in thead.rows.iter().enumerate() {
                        tr {
                            @if at == 0 { (corner(grid.corner, thead.depth)) }
                            (row)
                        }
                    } }
                }
                @for row in grid.rows { tbody { (body.row(row, "", 0)) } }
            }
        };
        framed(grid.caption, thead.paths.len() > WIDE, table)
    }

    fn list(&mut self, list: &List, caption: &str) -> Markup {
        let id = self.next();
        let thead = Heads::of(&id, &list.heads, false);
        let explicit = thead.explicit;
        let cell = |row: usize, at: usize, text: &str| {
            let column = thead.paths.get(at).map_or("", String::as_str);
            let named = list
                .named
                .map(|_| format!(" {id}r{row}"))
                .unwrap_or_default();
            let headers = explicit.then(|| format!("{column}{named}"));
            match list.named == Some(at) {
                true => {
                    html! { th scope="row" id=[explicit.then(|| format!("{id}r{row}"))] headers=[explicit.then_some(column)] { (lines(text)) } }
                }
                false => data(text, list.texts.contains(&at), headers.as_deref()),
            }
        };
        let table = html! {
            table.list {
                caption.vh { (lines(caption)) }
                @for head in &list.heads { colgroup span=(head.leaves()) {} }
                thead { @for row in &thead.rows { tr { (row) } } }
                tbody { @for (number, row) in list.rows.iter().enumerate() {
                    tr { @for (at, text) in row.iter().enumerate() { (cell(number, at, text)) } }
                } }
                @if let Some(Total { label, span, cells }) = &list.total {
                    tfoot { tr {
                        @let row = list.rows.len();
                        th scope="row" colspan=(span) id=[explicit.then(|| format!("{id}r{row}"))] { (lines(label)) }
                        @for (at, text) in cells.iter().enumerate() {
                            @let column = thead.paths.get(span + at).map_or("", String::as_str);
                            (data(text, false, explicit.then(|| format!("{column} {id}r{row}")).as_deref()))
                        }
                    } }
                }
            }
        };
        framed(caption, thead.paths.len() > WIDE, table)
    }

    /// A table of the text.
    pub(super) fn free_table(
        &mut self,
        columns: &[String],
        rows: &[Vec<String>],
        caption: Option<&str>,
    ) -> Markup {
        self.tables += 1;
        let numbered = format!("表{}", self.tables);
        let is_text = |at: usize| {
            let figure = |text: &String| {
                text.chars()
                    .all(|c| c.is_ascii_digit() || "+-.,%/".contains(c))
            };
            !rows.iter().filter_map(|row| row.get(at)).all(figure)
        };
        let texts: Vec<bool> = (0..columns.len()).map(is_text).collect();
        let is_text = |at: usize| texts.get(at).copied().unwrap_or(true);
        let table = html! {
            table.free {
                caption.vh[caption.is_none()] { (lines(caption.unwrap_or(&numbered))) }
                thead { tr { @for column in columns {
                    @if column.is_empty() { td {} } @else { th scope="col" { (lines(column)) } }
                } } }
                tbody { @for row in rows {
                    tr { @for (at, text) in row.iter().enumerate() { (data(text, is_text(at), None)) } }
                } }
            }
        };
        framed(caption.unwrap_or(&numbered), columns.len() > WIDE, table)
    }
}

/// A table in a frame of its own, where it may be wider than the screen: the frame scrolls, by
/// keyboard too.
fn framed(caption: &str, wide: bool, table: Markup) -> Markup {
    match wide {
        true => html! { section.wide aria-label={ "表格：" (caption) } tabindex="0" { (table) } },
        false => table,
    }
}

/// The head over the rows' labels; no head where it says nothing.
fn corner(text: &str, depth: usize) -> Markup {
    let span = (depth > 1).then_some(depth);
    html! {
        @if text.is_empty() { td rowspan=[span] {} }
        @else { th scope="col" rowspan=[span] { (lines(text)) } }
    }
}

fn data(text: &str, is_text: bool, headers: Option<&str>) -> Markup {
    let class = match text {
        _ if is_text => Some("t"),
        "0" => Some("z"),
        _ => None,
    };
    html! { td class=[class] headers=[headers] { (lines(text)) } }
}

/// The heads of a table, row by row.
struct Heads {
    depth: usize,
    /// Whether the cells name their headers: there are spans that say which are whose.
    explicit: bool,
    rows: Vec<Markup>,
    /// Of each column the ids of its heads, from above.
    paths: Vec<String>,
}

impl Heads {
    /// The heads of a table, whose rows may be in groups.
    fn of(id: &str, heads: &[Head], grouped: bool) -> Heads {
        let depth = heads.iter().map(Head::depth).max().unwrap_or(0);
        let mut all = Heads {
            depth,
            explicit: grouped || depth > 1,
            rows: (0..depth).map(|_| html! {}).collect(),
            paths: Vec::new(),
        };
        let mut count = 0;
        for head in heads {
            all.add(id, head, "", 0, &mut count);
        }
        all
    }

    fn add(&mut self, id: &str, head: &Head, above: &str, level: usize, count: &mut usize) {
        *count += 1;
        let own = format!("{id}c{count}");
        let path = joined(above, &own);
        let leaf = head.heads.is_empty();
        let (across, down) = (head.leaves(), self.depth - level);
        let cell = html! {
            th id=[self.explicit.then_some(&own)]
                scope=(if level == 0 && !leaf { "colgroup" } else { "col" })
                colspan=[(!leaf).then_some(across)]
                rowspan=[(leaf && down > 1).then_some(down)]
                headers=[Some(above).filter(|above| !above.is_empty())]
            { span { (lines(&head.label)) } }
        };
        self.rows[level].0.push_str(&cell.0);
        if leaf {
            self.paths.push(path);
            return;
        }
        for head in &head.heads {
            self.add(id, head, &path, level + 1, count);
        }
    }
}

/// The rows of a table of figures.
struct Body<'a> {
    id: &'a str,
    columns: &'a [String],
    /// Whether the cells name their headers.
    explicit: bool,
    /// Columns, with that of the labels.
    width: usize,
    /// Labels so far.
    rows: usize,
}

impl Body<'_> {
    fn row(&mut self, row: &Row, above: &str, level: usize) -> Markup {
        self.rows += 1;
        let own = format!("{}r{}", self.id, self.rows);
        let path = joined(above, &own);
        let under = Some(above).filter(|above| !above.is_empty());
        let id = self.explicit.then_some(&own);
        let class = format!("g{level}");
        if !row.rows.is_empty() {
            let rows: Vec<Markup> = row
                .rows
                .iter()
                .map(|row| self.row(row, &path, level + 1))
                .collect();
            return html! {
                tr class={ "group " (class) } {
                    th id=[id] scope="rowgroup" colspan=(self.width) headers=[under] { span { (lines(&row.label)) } }
                }
                @for row in &rows { (row) }
            };
        }
        let headers = |at: usize| {
            let column = self.columns.get(at).map_or("", String::as_str);
            self.explicit.then(|| joined(column, &path))
        };
        html! {
            tr class=(class) {
                th id=[id] scope="row" headers=[under] { (lines(&row.label)) }
                @for (at, text) in row.cells.iter().enumerate() { (data(text, false, headers(at).as_deref())) }
            }
        }
    }
}

/// Two lists of ids as one.
fn joined(one: &str, other: &str) -> String {
    format!("{one} {other}").trim_start().to_owned()
}

/// The columns that all groups of heads have in common, where a row of figures has such groups: it
/// is then a table with a row for each.
fn common(heads: &[Head]) -> Option<&[Head]> {
    fn groups<'a>(heads: &'a [Head], found: &mut Vec<&'a [Head]>) -> bool {
        let leaves = heads.iter().filter(|head| head.heads.is_empty()).count();
        if leaves == heads.len() {
            found.push(heads);
            return true;
        }
        leaves == 0 && heads.iter().all(|head| groups(&head.heads, found))
    }
    let mut found = Vec::new();
    if !groups(heads, &mut found) || found.len() < 2 {
        return None;
    }
    let labels = |heads: &[Head]| {
        heads
            .iter()
            .map(|head| head.label.clone())
            .collect::<Vec<_>>()
    };
    let first = *found.first()?;
    found
        .iter()
        .all(|heads| labels(heads) == labels(first))
        .then_some(first)
}

/// A row of figures with its heads as rows: groups of `columns` figures, or each figure by itself.
fn upright(heads: Vec<Head>, cells: &mut impl Iterator<Item = String>, columns: usize) -> Vec<Row> {
    let row = |Head { label, heads }: Head| {
        let bottom = heads.iter().all(|head| head.heads.is_empty());
        if heads.is_empty() || columns > 0 && bottom {
            let cells = cells.by_ref().take(columns.max(1)).collect();
            return Row {
                label,
                cells,
                rows: Vec::new(),
            };
        }
        let rows = upright(heads, cells, columns);
        Row {
            label,
            cells: Vec::new(),
            rows,
        }
    };
    heads.into_iter().map(row).collect()
}

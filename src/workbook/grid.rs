//! An official table as a grid of cells, as the page has it: which label spans what, where each
//! figure stands, how wide and high it all is.

use crate::report::form::{CellKind, Entry, Form, Head, Shape, Table};

/// The width of an upright A4 page between its margins, in pixels of 1/96 inch.
pub const PAGE: u32 = 660;

/// A rectangle of cells that is one.
#[derive(Debug, Clone)]
pub struct Area {
    /// Its first row, from 0.
    pub row: u32,
    /// Its first column, from 0.
    pub column: u16,
    /// How many rows it has.
    pub rows: u32,
    /// How many columns it has.
    pub columns: u16,
    /// What it is.
    pub is: Is,
}

/// What an [`Area`] is.
#[derive(Debug, Clone)]
pub enum Is {
    /// The sentence in the first cell of a head.
    Corner(String),
    /// The head of a column or of several.
    Head(String),
    /// The head of a band.
    Band(String),
    /// The label of several rows, set upright.
    Upright(String),
    /// The label of several rows.
    Group(String),
    /// The label of a row.
    Label(String),
    /// The serial number of a list's row.
    Serial(usize),
    /// The cell of this index in the form.
    Cell(usize),
    /// Nothing, and never will be.
    Empty,
}

impl Is {
    /// Its text, where the form gives it.
    pub fn text(&self) -> Option<&str> {
        match self {
            Is::Corner(text)
            | Is::Head(text)
            | Is::Band(text)
            | Is::Upright(text)
            | Is::Group(text)
            | Is::Label(text) => Some(text),
            Is::Serial(_) | Is::Cell(_) | Is::Empty => None,
        }
    }
}

/// A table as a grid.
#[derive(Debug, Clone)]
pub struct Grid {
    /// Its cells.
    pub areas: Vec<Area>,
    /// The widths of its columns, in pixels.
    pub widths: Vec<u32>,
    /// The heights of its rows, in points.
    pub heights: Vec<f64>,
    /// The size of its type, in points.
    pub size: f64,
}

impl Grid {
    /// The grid of a table.
    pub fn of(form: &Form, table: &Table) -> Grid {
        let mut areas = Vec::new();
        let (widths, size) = match table.shape {
            Shape::Bands => bands(table, &mut areas),
            Shape::Matrix => matrix(table, &mut areas),
            Shape::Row => row(table, &mut areas),
            Shape::List => list(form, table, &mut areas),
        };
        // Four characters in a narrow head stand two by two, as on the page.
        for area in &mut areas {
            if let Is::Head(text) = &mut area.is
                && area.columns == 1
                && widths[usize::from(area.column)] < 60
                && text.chars().count() == 4
                && let Some((second, _)) = text.char_indices().nth(2)
            {
                text.insert(second, '\n');
            }
        }
        let heights = heights(&areas, &widths, size);
        Grid {
            areas,
            widths,
            heights,
            size,
        }
    }

    /// How wide it is, in pixels.
    pub fn width(&self) -> u32 {
        self.widths.iter().sum()
    }
}

fn area(areas: &mut Vec<Area>, [row, rows]: [u32; 2], [column, columns]: [u16; 2], is: Is) {
    areas.push(Area {
        row,
        column,
        rows,
        columns,
        is,
    });
}

/// A count of rows or columns, which are fewer than a sheet has.
fn short(count: usize) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}

fn bands(table: &Table, areas: &mut Vec<Area>) -> (Vec<u32>, f64) {
    let columns = |band: &Entry| band.entries().first().map_or(0, |row| row.entries().len());
    let most = table.entries.iter().map(columns).max().unwrap_or(0);
    let all = short(1 + most);
    let mut at = 0;
    // The last head of a band, and the last figure of its rows, take the rest.
    let spread = |row: u32, cells: Vec<Is>, areas: &mut Vec<Area>| {
        let last = short(cells.len());
        for (column, is) in (1..).zip(cells) {
            let span = if column == last { all - column } else { 1 };
            area(areas, [row, 1], [column, span], is);
        }
    };
    for band in &table.entries {
        area(areas, [at, 1], [0, all], Is::Band(band.label.clone()));
        area(areas, [at + 1, 1], [0, 1], Is::Head(table.corner.clone()));
        let first = band.entries().first().map_or(&[][..], Entry::entries);
        let heads = first.iter().map(|cell| Is::Head(cell.label.clone()));
        spread(at + 1, heads.collect(), areas);
        at += 2;
        for row in band.entries() {
            area(areas, [at, 1], [0, 1], Is::Label(row.label.clone()));
            let cells = row.cells().into_iter().map(Is::Cell);
            spread(at, cells.collect(), areas);
            at += 1;
        }
    }
    (vec![PAGE / u32::from(all); all.into()], 12.0)
}

fn matrix(table: &Table, areas: &mut Vec<Area>) -> (Vec<u32>, f64) {
    let labels = short(label_columns(&table.entries));
    let over = u32::from(!table.columns_label.is_empty());
    let head = over + head_rows(&table.heads);
    area(
        areas,
        [0, head],
        [0, labels],
        Is::Corner(table.corner.clone()),
    );
    let leaves = heads(&table.heads, [over, head], labels, areas) - labels;
    if over > 0 {
        let label = Is::Head(table.columns_label.clone());
        area(areas, [0, 1], [labels, leaves], label);
    }
    let mut at = head;
    matrix_rows(&table.entries, [0, labels], &mut at, areas);
    // Groups are narrow, as on the page, and a row's own label has what the figures leave.
    let figure = (PAGE / 2 / u32::from(leaves.max(1))).clamp(48, 90);
    let groups = u32::from(labels.saturating_sub(1));
    let mut widths: Vec<u32> = (0..groups)
        .map(|at| if at == 0 { 34 } else { 80 })
        .collect();
    let used = widths.iter().sum::<u32>() + figure * u32::from(leaves);
    widths.push(PAGE.saturating_sub(used).max(180));
    widths.extend(std::iter::repeat_n(figure, leaves.into()));
    (widths, 10.0)
}

fn matrix_rows(entries: &[Entry], [depth, labels]: [u16; 2], at: &mut u32, areas: &mut Vec<Area>) {
    for entry in entries {
        let label = entry.label.clone();
        if entry.is_row() {
            area(areas, [*at, 1], [depth, labels - depth], Is::Label(label));
            for (column, cell) in (labels..).zip(entry.cells()) {
                area(areas, [*at, 1], [column, 1], Is::Cell(cell));
            }
            *at += 1;
            continue;
        }
        let from = *at;
        matrix_rows(entry.entries(), [depth + 1, labels], at, areas);
        let is = if depth == 0 {
            Is::Upright(label)
        } else {
            Is::Group(label)
        };
        area(areas, [from, *at - from], [depth, 1], is);
    }
}

/// How many columns the labels of rows take: one a level of groups, and one.
fn label_columns(entries: &[Entry]) -> usize {
    let below = |entry: &Entry| match entry.is_row() {
        true => 1,
        false => 1 + label_columns(entry.entries()),
    };
    entries.iter().map(below).max().unwrap_or(1)
}

fn row(table: &Table, areas: &mut Vec<Area>) -> (Vec<u32>, f64) {
    let tree = table.row_heads();
    let head = head_rows(&tree);
    let leaves = heads(&tree, [0, head], 0, areas);
    let cells = table.entries.iter().flat_map(Entry::cells);
    for (column, cell) in (0..).zip(cells) {
        area(areas, [head, 1], [column, 1], Is::Cell(cell));
    }
    let width = (PAGE / u32::from(leaves.max(1))).max(44);
    (vec![width; leaves.into()], 10.0)
}

fn list(form: &Form, table: &Table, areas: &mut Vec<Area>) -> (Vec<u32>, f64) {
    let serial = short(usize::from(table.serial.is_some()));
    let head = head_rows(&table.heads);
    if let Some(label) = &table.serial {
        area(areas, [0, head], [0, 1], Is::Head(label.clone()));
    }
    heads(&table.heads, [0, head], serial, areas);
    let rows = table.entries.first().map_or(&[][..], Entry::entries);
    let mut at = head;
    for (number, row) in (1..).zip(rows) {
        if serial > 0 {
            area(areas, [at, 1], [0, 1], Is::Serial(number));
        }
        for (column, cell) in (serial..).zip(row.cells()) {
            area(areas, [at, 1], [column, 1], Is::Cell(cell));
        }
        at += 1;
    }
    let first = rows.first().map_or_else(Vec::new, Entry::cells);
    let kinds: Vec<&CellKind> = first.iter().map(|cell| &form.cells[*cell].kind).collect();
    if let Some(total) = table.entries.get(1) {
        let before = short(kinds.iter().take_while(|kind| !kind.is_figure()).count());
        if serial + before > 0 {
            let label = Is::Label(total.label.clone());
            area(areas, [at, 1], [0, serial + before], label);
        }
        let mut cells = total.cells().into_iter();
        for (column, kind) in (serial + before..).zip(&kinds[before.into()..]) {
            let is = match kind.is_figure() {
                true => cells.next().map_or(Is::Empty, Is::Cell),
                false => Is::Empty,
            };
            area(areas, [at, 1], [column, 1], is);
        }
    }
    let share = |kind: &&CellKind| if **kind == CellKind::Text { 130 } else { 66 };
    let mut widths: Vec<u32> = kinds.iter().map(share).collect();
    let used = widths.iter().sum::<u32>() + 40 * u32::from(serial);
    // What is left of the page goes to the texts, or to all.
    let texts = kinds
        .iter()
        .filter(|kind| ***kind == CellKind::Text)
        .count();
    let wide = |kind: &CellKind| texts == 0 || *kind == CellKind::Text;
    let count = u32::try_from(kinds.iter().filter(|kind| wide(kind)).count()).unwrap_or(1);
    for (width, _) in widths.iter_mut().zip(&kinds).filter(|(_, kind)| wide(kind)) {
        *width += PAGE.saturating_sub(used) / count.max(1);
    }
    let serials = (0..serial).map(|_| 40);
    (serials.chain(widths).collect(), 10.0)
}

/// How many rows a tree of heads takes.
fn head_rows(heads: &[Head]) -> u32 {
    let below = |head: &Head| 1 + head_rows(&head.heads);
    heads.iter().map(below).max().unwrap_or(0)
}

/// Places a tree of heads between two rows from a column on; gives the column after the last.
fn heads(list: &[Head], [from, to]: [u32; 2], column: u16, areas: &mut Vec<Area>) -> u16 {
    let mut column = column;
    for head in list {
        let is = Is::Head(head.label.clone());
        if head.heads.is_empty() {
            area(areas, [from, to - from], [column, 1], is);
            column += 1;
        } else {
            let after = heads(&head.heads, [from + 1, to], column, areas);
            area(areas, [from, 1], [column, after - column], is);
            column = after;
        }
    }
    column
}

/// The height that each row needs for what stands in it, in points.
fn heights(areas: &[Area], widths: &[u32], size: f64) -> Vec<f64> {
    let count = areas.iter().map(|area| area.row + area.rows).max();
    let mut heights = vec![size * 1.35 + 5.0; count.unwrap_or(0) as usize];
    let need = |area: &Area| {
        let columns = usize::from(area.column)..usize::from(area.column + area.columns);
        let width: u32 = widths.get(columns).map_or(0, |widths| widths.iter().sum());
        let text = match &area.is {
            Is::Upright(_) => "",
            Is::Group(text) => return text_height(&group_label(text), width, size),
            is => is.text().unwrap_or_default(),
        };
        text_height(text, width, size)
    };
    for area in areas.iter().filter(|area| area.rows == 1) {
        let height = &mut heights[area.row as usize];
        *height = height.max(need(area));
    }
    // What spans several rows has its need met by the last of them.
    for area in areas.iter().filter(|area| area.rows > 1) {
        let rows = area.row as usize..(area.row + area.rows) as usize;
        let missing = need(area) - heights[rows.clone()].iter().sum::<f64>();
        if missing > 0.0 {
            heights[rows.end - 1] += missing;
        }
    }
    heights
}

/// The label of a group with its number on a line of its own, as on the page.
pub fn group_label(label: &str) -> String {
    match label.split_once('）') {
        Some((number, rest)) if number.starts_with('（') && !rest.is_empty() => {
            format!("{number}）\n{rest}")
        }
        _ => label.to_owned(),
    }
}

/// The height of a text that wraps in a cell of this width, in points.
pub fn text_height(text: &str, width: u32, size: f64) -> f64 {
    let em = size * 96.0 / 72.0;
    let room = ((f64::from(width) - 8.0) / em).max(1.0);
    let lines = text.split('\n').map(|line| {
        let wide = line.chars().filter(|c| !c.is_ascii()).count() as f64;
        let narrow = line.chars().filter(char::is_ascii).count() as f64;
        // A character that does not fit leaves its half line empty.
        ((wide + narrow * 0.55) / room.floor().max(1.0))
            .ceil()
            .max(1.0)
    });
    lines.sum::<f64>() * size * 1.35 + 5.0
}

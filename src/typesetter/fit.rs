//! Whether everything on the pages stands where it belongs: on paper no larger than A4, inside the
//! text block that the template declares, and, in a table, inside its own cell.
//!
//! Takes finished pages, gives every text that stands out, with its place. A template shrinks and
//! wraps what is too wide; this is what says so when a template does not.

use std::collections::HashMap;

use typst::foundations::{Label, Packed, Smart, StyleChain, Value};
use typst::introspection::{Introspector, Location, MetadataElem, Tag};
use typst::layout::{Abs, Frame, FrameItem, Point, Rect, Transform};
use typst::model::{TableCell, TableElem};
use typst::pdf::{ArtifactElem, TableCellKind};
use typst::text::TextItem;
use typst::utils::PicoStr;
use typst::visualize::Geometry;
use typst_layout::{Page, PagedDocument};

/// The label of the metadata by which a template declares its text block (版心): a dictionary of
/// the lengths `left`, `top`, `width` and `height`.
const BLOCK: &str = "text-block";

/// Something that does not fit.
#[derive(Debug, PartialEq)]
pub(super) enum Misfit {
    /// A page larger than A4: its number, width and height in millimetres.
    Page(usize, f64, f64),
    /// Text outside the text block, or off the paper.
    Block { page: usize, text: String },
    /// Text outside its cell of a table.
    Cell {
        page: usize,
        row: String,
        column: String,
        text: String,
    },
}

/// Everything that does not fit, in the order of the pages.
pub(super) fn misfits(document: &PagedDocument) -> Vec<Misfit> {
    let mut walk = Walk {
        block: block(document),
        misfits: Vec::new(),
        open: Vec::new(),
        tables: Vec::new(),
        page: Sheet::default(),
    };
    for (number, page) in (1..).zip(document.pages()) {
        walk.page(number, page);
    }
    walk.misfits
}

/// The text block that the template declares.
fn block(document: &PagedDocument) -> Option<Rect> {
    let label = Label::new(PicoStr::intern(BLOCK))?;
    let found = document.introspector().query_label(label).ok()?;
    let Value::Dict(dict) = &found.to_packed::<MetadataElem>()?.value else {
        return None;
    };
    let length = |key| match dict.get(key) {
        Ok(Value::Length(length)) => Some(length.abs),
        _ => None,
    };
    let min = Point::new(length("left")?, length("top")?);
    let max = min + Point::new(length("width")?, length("height")?);
    Some(Rect::new(min, max))
}

/// A tag that has begun and not ended.
enum Open {
    Table(usize),
    Cell(usize, usize),
    Artifact,
    Other,
}

/// A table, over all its pages.
struct Table {
    elem: Packed<TableElem>,
    cells: Vec<Cell>,
    at: HashMap<Location, usize>,
}

/// A cell of a table.
struct Cell {
    elem: Packed<TableCell>,
    text: String,
}

/// What stands in tables on one page.
#[derive(Default)]
struct Sheet {
    number: usize,
    /// The rules of each table.
    rules: Vec<(usize, Rect)>,
    /// The texts of each cell, and all the room that they take.
    texts: Vec<((usize, usize), Rect)>,
}

struct Walk {
    block: Option<Rect>,
    misfits: Vec<Misfit>,
    /// What is open; a table stays so from page to page.
    open: Vec<(Location, Open)>,
    tables: Vec<Table>,
    page: Sheet,
}

impl Walk {
    fn page(&mut self, number: usize, page: &Page) {
        self.page = Sheet {
            number,
            ..Sheet::default()
        };
        let size = page.frame.size();
        let (a4, slack) = (Point::new(Abs::mm(210.0), Abs::mm(297.0)), Abs::mm(0.1));
        if size.x > a4.x + slack || size.y > a4.y + slack {
            let (width, height) = (size.x.to_mm(), size.y.to_mm());
            self.misfits.push(Misfit::Page(number, width, height));
        }
        let paper = Rect::new(Point::zero(), size.to_point());
        each_item(&page.frame, Transform::identity(), &mut |item, ts| {
            self.item(item, ts, paper);
        });
        self.compare();
    }

    fn item(&mut self, item: &FrameItem, ts: Transform, paper: Rect) {
        match item {
            FrameItem::Text(text) => self.text(text, ts, paper),
            FrameItem::Shape(shape, _) if shape.stroke.is_some() => {
                if let (Some((_, Open::Table(table))), Geometry::Line(to)) =
                    (self.open.last(), &shape.geometry)
                {
                    let rule = around(Point::zero(), *to, ts);
                    self.page.rules.push((*table, rule));
                }
            }
            FrameItem::Tag(Tag::Start(elem, _)) => {
                let Some(location) = elem.location() else {
                    return;
                };
                let open = if let Some(table) = elem.to_packed::<TableElem>() {
                    self.tables.push(Table {
                        elem: table.clone(),
                        cells: Vec::new(),
                        at: HashMap::new(),
                    });
                    Open::Table(self.tables.len() - 1)
                } else if let Some(cell) = elem.to_packed::<TableCell>() {
                    self.cell(location, cell)
                } else if elem.is::<ArtifactElem>() {
                    Open::Artifact
                } else {
                    Open::Other
                };
                // What says nothing of a place need not be kept.
                if !matches!(open, Open::Other) {
                    self.open.push((location, open));
                }
            }
            FrameItem::Tag(Tag::End(location, ..)) => {
                if let Some(begun) = self.open.iter().rposition(|(open, _)| open == location) {
                    self.open.truncate(begun);
                }
            }
            _ => {}
        }
    }

    fn cell(&mut self, location: Location, cell: &Packed<TableCell>) -> Open {
        let table = self.open.iter().rev().find_map(|(_, open)| match open {
            Open::Table(table) => Some(*table),
            _ => None,
        });
        let Some(table) = table else {
            return Open::Other;
        };
        let Table { cells, at, .. } = &mut self.tables[table];
        let index = *at.entry(location).or_insert_with(|| {
            cells.push(Cell {
                elem: cell.clone(),
                text: String::new(),
            });
            cells.len() - 1
        });
        Open::Cell(table, index)
    }

    fn text(&mut self, text: &TextItem, ts: Transform, paper: Rect) {
        if text.text.trim().is_empty() {
            return;
        }
        // From the line to the height of a digit: whatever a face calls its height.
        let (up, across) = (text.size * -0.7, text.width());
        let room = around(Point::with_y(up), Point::with_x(across), ts);
        let mut artifact = false;
        for (_, open) in self.open.iter().rev() {
            match open {
                // 续表 is placed from a cell of the head, above the table.
                Open::Cell(..) if artifact => break,
                Open::Cell(table, cell) => {
                    let place = (*table, *cell);
                    self.tables[*table].cells[*cell].text += text.text.as_str();
                    match self.page.texts.last_mut() {
                        Some((last, all)) if *last == place => *all = union(*all, room),
                        _ => self.page.texts.push((place, room)),
                    }
                    break;
                }
                Open::Artifact => artifact = true,
                Open::Table(_) | Open::Other => break,
            }
        }
        let bounds = match self.block {
            Some(block) if !artifact => block,
            _ => paper,
        };
        if holds(bounds, room) {
            return;
        }
        // Its ink may: a justified line adds space after its last character, and a mark at its end
        // stands in the left half of its square.
        let ink = around(Point::with_y(up), Point::with_x(text.bbox().max.x), ts);
        if !holds(bounds, ink) {
            self.misfits.push(Misfit::Block {
                page: self.page.number,
                text: text.text.to_string(),
            });
        }
    }

    /// Text that touches a rule of its table has left its cell: rules run only between cells.
    fn compare(&mut self) {
        let page = std::mem::take(&mut self.page);
        for ((table, cell), room) in &page.texts {
            let own = page.rules.iter().filter(|(of, _)| of == table);
            if own.into_iter().any(|(_, rule)| crosses(*room, *rule)) {
                let table = &self.tables[*table];
                let (row, column) = table.names(&table.cells[*cell]);
                self.misfits.push(Misfit::Cell {
                    page: page.number,
                    row,
                    column,
                    text: table.cells[*cell].text.clone(),
                });
            }
        }
    }
}

impl Table {
    /// The label of a cell's row and the head of its column, so far as there are any.
    fn names(&self, cell: &Cell) -> (String, String) {
        let styles = StyleChain::default();
        let place = |cell: &Cell| {
            let (x, y) = (cell.elem.x.get(styles), cell.elem.y.get(styles));
            let (columns, rows) = (cell.elem.colspan.get(styles), cell.elem.rowspan.get(styles));
            let (x, y) = (x.unwrap_or(0), y.unwrap_or(0));
            (x..x + columns.get(), y..y + rows.get())
        };
        let headers = self.elem.grid.as_ref().map(|grid| &grid.headers);
        let in_header = |y: usize| {
            let mut headers = headers.into_iter().flatten();
            headers.any(|header| header.range.contains(&y))
        };
        let labels = |cell: &Cell| {
            let kind = cell.elem.kind.get(styles);
            matches!(kind, Smart::Custom(TableCellKind::Header(..)))
        };
        let (own_x, own_y) = place(cell);
        // The label next to the cell, the head next above it: cells that span come in any order.
        let (mut row, mut column) = (None, None);
        let nearer = |place: usize, found: Option<(usize, &Cell)>| {
            found.is_none_or(|(before, _)| place > before)
        };
        for other in &self.cells {
            let (x, y) = place(other);
            let beside = labels(other) && y.contains(&own_y.start) && x.end <= own_x.start;
            if beside && nearer(x.end, row) {
                row = Some((x.end, other));
            }
            let above = in_header(y.start) && y.end <= own_y.start;
            if above && x.contains(&own_x.start) && nearer(y.end, column) {
                column = Some((y.end, other));
            }
        }
        let text = |found: Option<(usize, &Cell)>| {
            found.map_or_else(String::new, |(_, cell)| cell.text.clone())
        };
        (text(row), text(column))
    }
}

/// Every item of a frame and of the groups in it, in their order, with what places it on the page.
pub(super) fn each_item(
    frame: &Frame,
    ts: Transform,
    seen: &mut impl FnMut(&FrameItem, Transform),
) {
    for (at, item) in frame.items() {
        let ts = ts.pre_concat(Transform::translate(at.x, at.y));
        match item {
            FrameItem::Group(group) => {
                each_item(&group.frame, ts.pre_concat(group.transform), seen);
            }
            item => seen(item, ts),
        }
    }
}

/// The rectangle around two corners.
pub(super) fn around(a: Point, b: Point, ts: Transform) -> Rect {
    let (a, b) = (a.transform(ts), b.transform(ts));
    Rect::new(a.min(b), a.max(b))
}

/// The rectangle around two others.
pub(super) fn union(a: Rect, b: Rect) -> Rect {
    Rect::new(a.min.min(b.min), a.max.max(b.max))
}

/// Whether a room lies inside bounds, but for what nobody sees: a Latin mark may hang by as much.
fn holds(bounds: Rect, room: Rect) -> bool {
    let slack = Abs::pt(3.0);
    room.min.x >= bounds.min.x - slack
        && room.max.x <= bounds.max.x + slack
        && room.min.y >= bounds.min.y - slack
        && room.max.y <= bounds.max.y + slack
}

/// Whether a rule runs through a room.
fn crosses(room: Rect, rule: Rect) -> bool {
    let slack = Abs::pt(0.25);
    rule.min.x < room.max.x - slack
        && rule.max.x > room.min.x + slack
        && rule.min.y < room.max.y - slack
        && rule.max.y > room.min.y + slack
}

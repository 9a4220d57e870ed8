//! The structure that the engine's tags tell, as custom tags (自定义标引) of GB/T 33190-2016, 16:
//! title, headings, paragraphs, and tables by rows and columns, each with what shows it.
//!
//! Takes tags in the frames' order, gives a tree and the outline. Never concludes anything from
//! where a thing stands. If we crash here, nothing is lost: nothing was written.

use std::collections::HashMap;

use typst::foundations::{Content, Packed, Smart, StyleChain};
use typst::introspection::Location;
use typst::layout::{FrameParent, HideElem, RepeatElem};
use typst::model::{HeadingElem, ParElem, TableCell, TableElem, TitleElem};
use typst::pdf::{ArtifactElem, TableCellKind, TableHeaderScope};

use super::xml::{Mm, Xml};
use crate::typesetter::joiner;

/// The namespace of the structure file: ours, with the names of ISO 32000-1, 14.8.4.
pub(super) const NAMESPACE: &str = "urn:banshi:structure:1";

/// What is open, and the tree so far.
#[derive(Default)]
pub(super) struct Structure {
    nodes: Vec<Node>,
    /// The children of the document.
    top: Vec<Child>,
    open: Vec<(Option<Location>, Open)>,
    at: HashMap<Location, usize>,
    pub(super) headings: Vec<Heading>,
}

/// A heading of the outline.
pub(super) struct Heading {
    pub(super) level: usize,
    pub(super) title: String,
    pub(super) page: usize,
    pub(super) top: Mm,
}

struct Node {
    kind: Kind,
    children: Vec<Child>,
}

enum Kind {
    Title,
    Heading(usize),
    Paragraph,
    Table(Packed<TableElem>),
    Cell(Cell),
}

/// A cell and where it stands, counted from 1.
struct Cell {
    row: usize,
    column: usize,
    rows: usize,
    columns: usize,
    /// What it is the head of; none, when it is data.
    heads: Option<&'static str>,
}

#[derive(Clone, Copy)]
enum Child {
    Node(usize),
    /// A page, and the place of a graphic unit on it.
    Unit(usize, usize),
}

/// What a tag has opened.
#[derive(Clone, Copy)]
enum Open {
    Node(usize),
    /// Page numbers, 续表, repeated heads: no part of what is said.
    Artifact,
}

impl Structure {
    /// An element begins.
    pub(super) fn start(&mut self, elem: &Content, page: usize, top: Mm) {
        let Some(location) = elem.location() else {
            return;
        };
        if let Some(opened) = self.opened(location, elem, page, top) {
            self.open.push((Some(location), opened));
        }
    }

    fn opened(&mut self, location: Location, elem: &Content, page: usize, top: Mm) -> Option<Open> {
        let artifact =
            elem.is::<ArtifactElem>() || elem.is::<HideElem>() || elem.is::<RepeatElem>();
        if artifact {
            return Some(Open::Artifact);
        }
        if matches!(self.open.last(), Some((_, Open::Artifact))) {
            return None;
        }
        let styles = StyleChain::default();
        if let Some(cell) = elem.to_packed::<TableCell>() {
            if cell.is_repeated.get(styles) {
                return Some(Open::Artifact);
            }
            return self.cell(location, cell);
        }
        if let Some(table) = elem.to_packed::<TableElem>() {
            return Some(self.node(location, Kind::Table(table.clone())));
        }
        // What stands in a cell or a heading is its text.
        let within = |kind: &Kind| !matches!(kind, Kind::Table(_));
        if matches!(self.open.last(), Some((_, Open::Node(node))) if within(&self.nodes[*node].kind))
        {
            return None;
        }
        let kind = if let Some(heading) = elem.to_packed::<HeadingElem>() {
            let level = heading.resolve_level(styles).get();
            let listed = heading.bookmarked.get(styles);
            if listed.unwrap_or_else(|| heading.outlined.get(styles)) {
                let text = joiner::out_of(&heading.body.plain_text());
                let title = match &heading.numbers {
                    Some(numbers) => format!("{numbers} {text}"),
                    None => text,
                };
                self.headings.push(Heading {
                    level,
                    title,
                    page,
                    top,
                });
            }
            Kind::Heading(level)
        } else if elem.is::<TitleElem>() {
            Kind::Title
        } else if elem.is::<ParElem>() {
            Kind::Paragraph
        } else {
            return None;
        };
        Some(self.node(location, kind))
    }

    /// A cell of the table that is open; one over two pages is met twice.
    fn cell(&mut self, location: Location, cell: &Packed<TableCell>) -> Option<Open> {
        if let Some(known) = self.at.get(&location) {
            return Some(Open::Node(*known));
        }
        let table = self.open.iter().rev().find_map(|(_, open)| match open {
            Open::Node(node) => match &self.nodes[*node].kind {
                Kind::Table(table) => Some((*node, table)),
                _ => None,
            },
            Open::Artifact => None,
        });
        let (node, table) = table?;
        let cell = Cell::of(cell, table);
        let place = self.nodes.len();
        self.nodes.push(Node {
            kind: Kind::Cell(cell),
            children: Vec::new(),
        });
        self.nodes[node].children.push(Child::Node(place));
        self.at.insert(location, place);
        Some(Open::Node(place))
    }

    /// A new node, below what is open.
    fn node(&mut self, location: Location, kind: Kind) -> Open {
        let place = self.nodes.len();
        self.append(Child::Node(place));
        self.nodes.push(Node {
            kind,
            children: Vec::new(),
        });
        self.at.insert(location, place);
        Open::Node(place)
    }

    fn append(&mut self, child: Child) {
        let siblings = match self.open.last() {
            Some((_, Open::Node(node))) => &mut self.nodes[*node].children,
            Some((_, Open::Artifact)) => return,
            None => &mut self.top,
        };
        siblings.push(child);
    }

    /// An element ends.
    pub(super) fn end(&mut self, location: Location) {
        let begun = self
            .open
            .iter()
            .rposition(|(open, _)| *open == Some(location));
        if let Some(begun) = begun {
            self.open.truncate(begun);
        }
    }

    /// What follows belongs to an element that began elsewhere, as the rest of a cell on its next
    /// page does. Gives what [`Structure::outside`] wants.
    pub(super) fn inside(&mut self, parent: Option<FrameParent>) -> Option<usize> {
        let node = *self.at.get(&parent?.location)?;
        self.open.push((None, Open::Node(node)));
        Some(self.open.len() - 1)
    }

    /// The end of that.
    pub(super) fn outside(&mut self, depth: Option<usize>) {
        if let Some(depth) = depth {
            self.open.truncate(depth);
        }
    }

    /// A graphic unit that says something is drawn.
    pub(super) fn add(&mut self, page: usize, unit: usize) {
        self.append(Child::Unit(page, unit));
    }

    /// The structure file, and nothing where there is no structure. `ids` are those of the pages, and
    /// `id` of a unit by its page and place.
    pub(super) fn xml(&self, ids: &[u64], id: impl Fn(usize, usize) -> u64) -> Vec<u8> {
        let mut xml = Xml::new("Document");
        xml.attribute("xmlns", NAMESPACE);
        self.children(&mut xml, &self.top, ids, &id);
        xml.finish()
    }

    fn children(
        &self,
        xml: &mut Xml,
        children: &[Child],
        ids: &[u64],
        id: &impl Fn(usize, usize) -> u64,
    ) {
        for child in children {
            let node = match *child {
                Child::Unit(page, unit) => {
                    xml.begin("ofd:ObjectRef").attribute("PageRef", ids[page]);
                    xml.text(id(page, unit)).end();
                    continue;
                }
                Child::Node(node) => &self.nodes[node],
            };
            match &node.kind {
                Kind::Title => xml.begin("Title"),
                Kind::Heading(level) => xml.begin(heading(*level)),
                Kind::Paragraph if node.children.is_empty() => continue,
                Kind::Paragraph => xml.begin("P"),
                Kind::Table(_) => {
                    xml.begin("Table");
                    self.rows(xml, &node.children, ids, id);
                    xml.end();
                    continue;
                }
                Kind::Cell(cell) => cell.begin(xml),
            };
            self.children(xml, &node.children, ids, id);
            xml.end();
        }
    }

    /// The cells of a table by rows: those that span come in any order.
    fn rows(
        &self,
        xml: &mut Xml,
        children: &[Child],
        ids: &[u64],
        id: &impl Fn(usize, usize) -> u64,
    ) {
        let place = |child: &Child| match child {
            Child::Node(node) => match &self.nodes[*node].kind {
                Kind::Cell(cell) => Some((cell.row, cell.column)),
                _ => None,
            },
            Child::Unit(..) => None,
        };
        let cells = children.iter().filter(|child| place(child).is_some());
        let mut cells: Vec<Child> = cells.copied().collect();
        cells.sort_by_key(place);
        let row = |child: &Child| place(child).map(|(row, _)| row);
        for cells in cells.chunk_by(|a, b| row(a) == row(b)) {
            xml.begin("TR");
            self.children(xml, cells, ids, id);
            xml.end();
        }
    }
}

impl Cell {
    fn of(cell: &Packed<TableCell>, table: &Packed<TableElem>) -> Cell {
        let styles = StyleChain::default();
        let (x, y) = (cell.x.get(styles), cell.y.get(styles));
        let (x, y) = (x.unwrap_or(0), y.unwrap_or(0));
        let headers = table.grid.as_ref().map(|grid| &grid.headers);
        let mut headers = headers.into_iter().flatten();
        let kind = match cell.kind.get(styles) {
            Smart::Custom(kind) => kind,
            Smart::Auto => match headers.find(|header| header.range.contains(&y)) {
                Some(header) => TableCellKind::Header(header.level, TableHeaderScope::Column),
                None => TableCellKind::Data,
            },
        };
        Cell {
            row: y + 1,
            column: x + 1,
            rows: cell.rowspan.get(styles).get(),
            columns: cell.colspan.get(styles).get(),
            heads: match kind {
                TableCellKind::Header(_, TableHeaderScope::Both) => Some("Both"),
                TableCellKind::Header(_, TableHeaderScope::Column) => Some("Column"),
                TableCellKind::Header(_, TableHeaderScope::Row) => Some("Row"),
                TableCellKind::Footer | TableCellKind::Data => None,
            },
        }
    }

    fn begin<'a>(&self, xml: &'a mut Xml) -> &'a mut Xml {
        let more = |spans: usize| (spans > 1).then_some(spans);
        xml.begin(if self.heads.is_some() { "TH" } else { "TD" })
            .attribute("Row", self.row)
            .attribute("Column", self.column)
            .maybe("RowSpan", more(self.rows))
            .maybe("ColSpan", more(self.columns))
            .maybe("Scope", self.heads)
    }
}

/// The name of a heading. PDF has six as well (ISO 32000-1, 14.8.4.3.2).
fn heading(level: usize) -> &'static str {
    match level {
        1 => "H1",
        2 => "H2",
        3 => "H3",
        4 => "H4",
        5 => "H5",
        _ => "H6",
    }
}

//! The proof (校样) of a refused job: what its pages would look like, for looking only, with what
//! is wrong marked on them.
//!
//! Takes a [`Sheet`], gives a [`Proof`]: pictures of pages, each with a watermark, and where on them
//! the problems are. Never a PDF, never stored, never announced: there is no way from a sheet to a
//! [`Manuscript`](super::Manuscript), nor from a proof to a [`Pdf`](super::Pdf). What a job sends is
//! data here as anywhere. If we crash here, nothing has been shown.
//!
//! A template puts figures where it likes, so the report is laid out twice: once with a key in each
//! cell that is to be marked, to see in which cell of which table it ends up; and once as it is
//! shown. Only what shows there what it should is marked.

mod sheet;

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use serde_json::json;
use typst::foundations::StyleChain;
use typst::introspection::{Location, Tag};
use typst::layout::{Frame, FrameItem, Point, Rect, Transform};
use typst::model::{Document as _, HeadingElem, ParElem, TableCell, TableElem, TitleElem};
use typst::pdf::ArtifactElem;
use typst::text::TextItem;
use typst::visualize::{Color, Geometry, Paint, Shape};
use typst_layout::PagedDocument;

pub use sheet::{Draft, Sheet, draft};

use super::fit::{around, each_item};
use super::pictures::{self, Pictures};
use super::world::{Desk, Play};
use super::{Evict, Typesetter, joiner, refusal};
use crate::problem::{Failure, Problem, Rejection};
use sheet::{Spot, Target};

/// The most pages that are drawn.
pub const MOST_PAGES: usize = 30;

/// The fill of a cell at fault, and of one that is another term of its equation.
const FAULT: (u8, u8, u8) = (0xff, 0xc4, 0xc4);
const PART: (u8, u8, u8) = (0xff, 0xec, 0xec);

/// The most numbers that stand at a mark.
const MOST_NUMBERS: usize = 3;

/// Pictures of the pages of a refused job, for looking only.
#[derive(Debug, Clone, PartialEq)]
pub struct Proof {
    /// Its pages, no more than [`MOST_PAGES`]: of more, those where something is wrong first.
    pub pages: Vec<Page>,
    /// How many pages there would be.
    pub all_pages: usize,
    /// Whether only the tables could be laid out, and not the texts.
    pub tables_alone: bool,
}

impl Proof {
    /// The indices of the problems, of so many, that no mark names: those of the job as a whole, or
    /// on pages that are not drawn.
    pub fn unmarked(&self, problems: usize) -> Vec<usize> {
        unmarked(self.pages.iter().flat_map(|page| &page.marks), problems)
    }
}

/// A page of a proof.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// Which it is, from 1.
    pub number: usize,
    /// PNG or SVG, as it was asked for.
    pub picture: Vec<u8>,
    /// Its width in points.
    pub width: f64,
    /// Its height in points.
    pub height: f64,
    /// What is marked on it.
    pub marks: Vec<Mark>,
}

/// Something on a page that problems name: a cell, or a text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    /// Its left edge, in points from the left of the page.
    pub x: f64,
    /// Its upper edge, in points from the top of the page.
    pub y: f64,
    /// In points.
    pub width: f64,
    /// In points.
    pub height: f64,
    /// The indices of the problems that name it; then of those of whose equations it is a term.
    pub problems: Vec<usize>,
    /// Whether it is a term of an equation that is broken, and no problem names it: marked lightly.
    pub part: bool,
    /// Whether it is a text, and not a cell of a table.
    pub text: bool,
}

/// A page without its picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Outline {
    pub(super) number: usize,
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) marks: Vec<Mark>,
}

impl Page {
    /// The page without its picture, and the picture.
    pub(super) fn parted(self) -> (Outline, Vec<u8>) {
        let Page {
            number,
            picture,
            width,
            height,
            marks,
        } = self;
        let outline = Outline {
            number,
            width,
            height,
            marks,
        };
        (outline, picture)
    }
}

impl Outline {
    /// The page with its picture.
    pub(super) fn with(self, picture: Vec<u8>) -> Page {
        let Outline {
            number,
            width,
            height,
            marks,
        } = self;
        Page {
            number,
            picture,
            width,
            height,
            marks,
        }
    }
}

impl Typesetter {
    /// Sets what can be set of a refused job, in this process. For jobs of others there is
    /// [`Pool::proof`](super::Pool::proof), whose processes are confined.
    ///
    /// # Errors
    /// What the engine refuses even of the tables alone.
    pub fn proof(&self, sheet: &Sheet, pictures: Pictures) -> Result<Proof, Failure> {
        match self.prove(sheet, false, pictures) {
            Err(Failure::Rejected(_)) => self.prove(sheet, true, pictures),
            proof => proof,
        }
    }

    /// Sets all that could be read, or the tables alone.
    pub(super) fn prove(
        &self,
        sheet: &Sheet,
        tables_alone: bool,
        pictures: Pictures,
    ) -> Result<Proof, Failure> {
        let views = match tables_alone {
            true => &sheet.tables,
            false => &sheet.whole,
        };
        let _evict = Evict;
        let (keys, pages) = {
            let document = self.trial(sheet, &views.keys)?;
            (Walk::of(&document).keyed(), document.pages().len())
        };
        if pages > MOST_PAGES {
            // What is kept of a long document, and of the same once more, would be too much.
            typst::comemo::evict(0);
        }
        let document = self.trial(sheet, &views.shown)?;
        let all_pages = document.pages().len();
        let walk = Walk::of(&document);

        let mut marks: Vec<Vec<Marking>> = vec![Vec::new(); all_pages];
        let mut fills = BTreeMap::new();
        for target in &sheet.targets {
            for place in self.places(target, &keys, &walk) {
                if let Some(fill) = place.fill {
                    let part = target.faults.is_empty();
                    fills.insert(fill, if part { PART } else { FAULT });
                }
                marks[place.page].push(Marking::new(target, &place));
            }
        }
        let mut drawn: Vec<Drawing> = (1..)
            .zip(document.pages())
            .zip(marks)
            .map(|((number, page), marks)| Drawing {
                number,
                page: page.clone(),
                marks,
            })
            .collect();
        choose(&mut drawn);
        for drawn in &mut drawn {
            let mut at = walk.first[drawn.number - 1];
            paint(&mut drawn.page.frame, &fills, &mut at);
        }
        drop((keys, walk));
        self.mark(sheet, tables_alone, &mut drawn, all_pages)?;
        let pages = drawn.iter().map(|drawn| drawn.page.clone()).collect();
        let document = PagedDocument::new(pages, document.info().clone());
        let pages = drawn.into_iter().zip(pictures::of(&document, pictures));
        let pages = pages.map(|(drawn, picture)| {
            let size = drawn.page.frame.size();
            Page {
                number: drawn.number,
                picture,
                width: size.x.to_pt(),
                height: size.y.to_pt(),
                marks: drawn
                    .marks
                    .into_iter()
                    .map(|marking| marking.mark)
                    .collect(),
            }
        });
        Ok(Proof {
            pages: pages.collect(),
            all_pages,
            tables_alone,
        })
    }

    /// Lays out a view of the sheet, and checks nothing.
    fn trial(&self, sheet: &Sheet, view: &str) -> Result<PagedDocument, Failure> {
        let edition = self.templates.edition(&sheet.template);
        let edition = edition.ok_or_else(|| self.unknown(&sheet.template))?;
        let view = &self.drawable(view);
        let about = json!({ "entrypoint": format!("/{}", edition.entrypoint) });
        let desk = Desk::of(
            &self.shelf,
            &self.fonts,
            Play::Proof {
                edition,
                view,
                about,
            },
        )?;
        compiled(&desk).map(joiner::without)
    }

    /// Text in which 〓 stands for what no face can draw.
    fn drawable(&self, text: &str) -> String {
        let text = text.chars().filter(|&c| !super::fonts::left_out(c));
        text.map(|c| {
            if c.is_ascii() || self.fonts.covers(c) {
                c
            } else {
                '〓'
            }
        })
        .collect()
    }

    /// Where on the pages a target is.
    fn places(&self, target: &Target, keys: &Keyed, walk: &Walk) -> Vec<Place> {
        match &target.place {
            Spot::Cell { key, shown } => {
                let Some(Some(cell)) = keys.get(key) else {
                    return Vec::new();
                };
                let seen = walk.cells.get(cell).map_or("", String::as_str);
                if seen != plain(&self.drawable(shown)) {
                    return Vec::new();
                }
                walk.fills(*cell)
            }
            Spot::Text {
                text,
                before,
                heading,
            } => {
                let found = walk.find(&plain(&self.drawable(text)), *before);
                match heading {
                    Some(heading) if found.is_empty() => walk.heading(heading),
                    _ => found,
                }
            }
            Spot::Heading(heading) => walk.heading(heading),
            Spot::Year(year) => walk.in_title(year),
        }
    }

    /// Puts the marks over the pages, and on each that it is no document.
    fn mark(
        &self,
        sheet: &Sheet,
        tables_alone: bool,
        drawn: &mut [Drawing],
        all_pages: usize,
    ) -> Result<(), Failure> {
        let mut notes = Vec::new();
        if tables_alone {
            notes.push("正文无法排版，仅示表格 · the texts could not be laid out".to_owned());
        }
        if all_pages > drawn.len() {
            let shown = drawn.len();
            notes.push(format!(
                "共{all_pages}页，仅示{shown}页 · {shown} of {all_pages} pages"
            ));
        }
        let all = drawn.iter().flat_map(|drawn| &drawn.marks);
        let elsewhere = unmarked(all.map(|marking| &marking.mark), sheet.problems);
        if !elsewhere.is_empty() {
            let numbers = numbers(&elsewhere, 20);
            notes.push(format!(
                "未标于页面的问题 · problems not marked on the pages: {numbers}"
            ));
        }
        let sheets: Vec<_> = drawn
            .iter()
            .enumerate()
            .map(|(at, drawn)| {
                let size = drawn.page.frame.size();
                json!({
                    "width": size.x.to_pt(),
                    "height": size.y.to_pt(),
                    "marks": drawn.marks.iter().map(Marking::json).collect::<Vec<_>>(),
                    "notes": if at == 0 { &notes[..] } else { &[] },
                })
            })
            .collect();
        let desk = Desk::of(&self.shelf, &self.fonts, Play::Marks(json!(sheets)))?;
        let over = compiled(&desk)?;
        if over.pages().len() != drawn.len() {
            let problem = "a proof without its watermark is not shown";
            return Err(
                crate::problem::Outage::new(crate::problem::Part::Typesetter, problem).into(),
            );
        }
        for (drawn, over) in drawn.iter_mut().zip(over.pages()) {
            let frame = over.frame.clone();
            drawn.page.frame.push_frame(Point::zero(), frame);
        }
        Ok(())
    }
}

/// A page that is to be drawn.
struct Drawing {
    number: usize,
    page: typst_layout::Page,
    marks: Vec<Marking>,
}

/// A mark, and how many of its problems name it.
#[derive(Clone)]
struct Marking {
    mark: Mark,
    faults: usize,
}

impl Marking {
    fn new(target: &Target, place: &Place) -> Marking {
        let (min, size) = (place.rect.min, place.rect.size());
        let mark = Mark {
            x: min.x.to_pt(),
            y: min.y.to_pt(),
            width: size.x.to_pt(),
            height: size.y.to_pt(),
            problems: [&target.faults[..], &target.parts].concat(),
            part: target.faults.is_empty(),
            text: place.fill.is_none(),
        };
        let faults = target.faults.len();
        Marking { mark, faults }
    }

    /// As `marks.typ` reads it.
    fn json(&self) -> serde_json::Value {
        let Marking { mark, faults } = self;
        json!({
            "rect": [mark.x, mark.y, mark.width, mark.height],
            "part": mark.part,
            "text": mark.text,
            "label": numbers(&mark.problems[..*faults], MOST_NUMBERS),
        })
    }
}

/// Leaves [`MOST_PAGES`] pages: those where something is wrong first, then the first of the others.
fn choose(pages: &mut Vec<Drawing>) {
    pages.sort_by_key(|page| page.marks.iter().all(|marking| marking.mark.part));
    pages.truncate(MOST_PAGES);
    pages.sort_by_key(|page| page.number);
}

/// What a desk lays out; a rejection with what the engine says, if it doesn't.
fn compiled(desk: &Desk<'_>) -> Result<PagedDocument, Failure> {
    let document = typst::compile::<PagedDocument>(desk).output;
    document.map_err(|diagnostics| {
        let problems = diagnostics.iter();
        let problems = problems.map(|found| refusal(&desk.explain(found), &found.message));
        Rejection::new(problems.collect::<Vec<Problem>>()).into()
    })
}

fn unmarked<'a>(marks: impl Iterator<Item = &'a Mark>, problems: usize) -> Vec<usize> {
    let mut left = vec![true; problems];
    for number in marks.flat_map(|mark| &mark.problems) {
        if let Some(left) = left.get_mut(*number) {
            *left = false;
        }
    }
    (0..problems).filter(|number| left[*number]).collect()
}

/// The numbers of problems as they stand on the page, from 1.
fn numbers(problems: &[usize], most: usize) -> String {
    let shown = problems.iter().take(most).map(|at| (at + 1).to_string());
    let shown = shown.collect::<Vec<_>>().join(",");
    match problems.len() > most {
        true => format!("{shown},…"),
        false => shown,
    }
}

/// Text without white space, by which it is compared: lines are broken anywhere.
fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).collect()
}

/// Gives the fills that name cells their colours, and takes the others out. They are counted as
/// [`Walk`] counts them.
fn paint(frame: &mut Frame, fills: &BTreeMap<usize, (u8, u8, u8)>, at: &mut usize) {
    frame.retain(|item| {
        match item {
            FrameItem::Group(group) => paint(&mut group.frame, fills, at),
            FrameItem::Shape(shape, _) if named(shape).is_some() => {
                let fill = fills.get(at);
                *at += 1;
                let Some(&(r, g, b)) = fill else {
                    return false;
                };
                shape.fill = Some(Paint::Solid(Color::from_u8(r, g, b, 255)));
            }
            _ => {}
        }
        true
    });
}

/// The column and the row that a cell's fill says, as `proof.typ` has it.
fn named(shape: &Shape) -> Option<(usize, usize)> {
    let Shape {
        geometry: Geometry::Rect(_),
        fill: Some(Paint::Solid(color)),
        stroke: None,
        ..
    } = shape
    else {
        return None;
    };
    let [r, g, b, 0] = color.to_vec4_u8() else {
        return None;
    };
    let number = usize::from(r) << 16 | usize::from(g) << 8 | usize::from(b);
    Some((number % 512, number / 512))
}

/// Somewhere on the pages.
struct Place {
    page: usize,
    rect: Rect,
    /// The fill of the cell that it is, by its count.
    fill: Option<usize>,
}

/// A cell: its table, column and row.
type At = (usize, usize, usize);

/// Cells by what stands in them.
type Keyed = HashMap<String, Option<At>>;

/// A tag that has begun and not ended.
#[derive(Clone, Copy)]
enum Open {
    Table(usize),
    Cell(At),
    Run(usize),
    Artifact,
}

/// What stands together: a paragraph, a heading, what is outside of both.
#[derive(Default)]
struct Run {
    heading: bool,
    title: bool,
    text: String,
    /// Where each piece of the text ends, its page and its room.
    pieces: Vec<(usize, usize, Rect)>,
}

/// What stands on some pages: texts, cells of tables, and where.
#[derive(Default)]
struct Walk {
    open: Vec<(Location, Open)>,
    tables: usize,
    page: usize,
    /// The text of each cell.
    cells: BTreeMap<At, String>,
    /// The rooms of cells, a part on each page.
    rooms: Vec<(usize, Rect)>,
    /// The index of the first room of each page, or of what comes after it.
    first: Vec<usize>,
    /// The indices of the rooms of each cell.
    of_cells: HashMap<At, Vec<usize>>,
    runs: Vec<Run>,
    of: HashMap<Location, usize>,
    /// The run of what stands in none.
    loose: Option<usize>,
}

impl Walk {
    fn of(document: &PagedDocument) -> Walk {
        let mut walk = Walk::default();
        for (page, sheet) in document.pages().iter().enumerate() {
            walk.page = page;
            walk.first.push(walk.rooms.len());
            each_item(&sheet.frame, Transform::identity(), &mut |item, ts| {
                walk.item(item, ts);
            });
        }
        walk
    }

    fn item(&mut self, item: &FrameItem, ts: Transform) {
        match item {
            FrameItem::Text(text) => self.text(text, ts),
            FrameItem::Shape(shape, _) => {
                if let (Some((x, y)), Geometry::Rect(size)) = (named(shape), &shape.geometry) {
                    let tables = self.open.iter().rev();
                    let mut tables = tables.filter_map(|(_, open)| match open {
                        Open::Table(table) => Some(*table),
                        _ => None,
                    });
                    let cell = tables.next().map(|table| (table, x, y));
                    let room = around(Point::zero(), size.to_point(), ts);
                    if let Some(cell) = cell {
                        let own = self.of_cells.entry(cell).or_default();
                        own.push(self.rooms.len());
                    }
                    self.rooms.push((self.page, room));
                }
            }
            FrameItem::Tag(tag) => self.tag(tag),
            _ => {}
        }
    }

    fn tag(&mut self, tag: &Tag) {
        let elem = match tag {
            Tag::Start(elem, _) => elem,
            Tag::End(location, ..) => {
                if let Some(begun) = self.open.iter().rposition(|(open, _)| open == location) {
                    self.open.truncate(begun);
                }
                return;
            }
        };
        let Some(location) = elem.location() else {
            return;
        };
        let open = if elem.is::<TableElem>() {
            self.tables += 1;
            Open::Table(self.tables - 1)
        } else if let Some(cell) = elem.to_packed::<TableCell>() {
            let table = self.open.iter().rev().find_map(|(_, open)| match open {
                Open::Table(table) => Some(*table),
                _ => None,
            });
            let Some(table) = table else {
                return;
            };
            let styles = StyleChain::default();
            let (x, y) = (cell.x.get(styles), cell.y.get(styles));
            let at = (table, x.unwrap_or(0), y.unwrap_or(0));
            self.cells.entry(at).or_default();
            Open::Cell(at)
        } else if elem.is::<ArtifactElem>() {
            Open::Artifact
        } else if elem.is::<ParElem>() || elem.is::<HeadingElem>() || elem.is::<TitleElem>() {
            // A paragraph in a heading is the heading.
            if let Some((_, Open::Run(run))) = self.open.last() {
                Open::Run(*run)
            } else {
                let runs = &mut self.runs;
                let run = *self.of.entry(location).or_insert_with(|| {
                    runs.push(Run {
                        heading: elem.is::<HeadingElem>(),
                        title: elem.is::<TitleElem>(),
                        ..Run::default()
                    });
                    runs.len() - 1
                });
                Open::Run(run)
            }
        } else {
            return;
        };
        self.loose = None;
        self.open.push((location, open));
    }

    fn text(&mut self, text: &TextItem, ts: Transform) {
        let shown = plain(&text.text);
        if shown.is_empty() {
            return;
        }
        let mut run = None;
        for (_, open) in self.open.iter().rev() {
            match open {
                Open::Artifact => return,
                Open::Cell(at) => {
                    self.cells.entry(*at).or_default().push_str(&shown);
                    return;
                }
                Open::Run(of) => run = run.or(Some(*of)),
                Open::Table(_) => {}
            }
        }
        let run = run.or(self.loose).unwrap_or_else(|| {
            self.runs.push(Run::default());
            self.loose = Some(self.runs.len() - 1);
            self.runs.len() - 1
        });
        let (above, below) = (text.size * -0.88, text.size * 0.12);
        let room = around(Point::with_y(above), Point::new(text.width(), below), ts);
        let run = &mut self.runs[run];
        run.text.push_str(&shown);
        run.pieces.push((run.text.len(), self.page, room));
    }

    /// The cells by what stands in them; none, where several have the same.
    fn keyed(self) -> Keyed {
        let mut keyed = HashMap::new();
        for (at, text) in self.cells {
            let one = keyed.entry(text);
            one.and_modify(|one| *one = None).or_insert(Some(at));
        }
        keyed
    }

    fn fills(&self, cell: At) -> Vec<Place> {
        let rooms = self.of_cells.get(&cell).into_iter().flatten();
        let place = |&fill: &usize| {
            let (page, rect) = self.rooms[fill];
            Place {
                page,
                rect,
                fill: Some(fill),
            }
        };
        rooms.map(place).collect()
    }

    /// Where a text stands: alone in its paragraph, as that which so many others like it come
    /// before; or as a part of one.
    fn find(&self, text: &str, before: usize) -> Vec<Place> {
        if text.is_empty() {
            return Vec::new();
        }
        let mut alone = self.runs.iter().filter(|run| run.text == text);
        let run = alone.nth(before);
        let run = run.or_else(|| self.runs.iter().find(|run| run.text.contains(text)));
        run.map_or_else(Vec::new, |run| run.places(text))
    }

    /// Where a part of the title stands, or all of it where that is not in it.
    fn in_title(&self, part: &str) -> Vec<Place> {
        let title = self.runs.iter().find(|run| run.title);
        title.map_or_else(Vec::new, |title| match title.places(part) {
            places if places.is_empty() => title.places(&title.text),
            places => places,
        })
    }

    /// Where a heading stands: whole, or without its number.
    fn heading(&self, heading: &str) -> Vec<Place> {
        let whole = plain(heading);
        let name = whole.split_once('、').map_or("", |(_, name)| name);
        for words in [whole.as_str(), name] {
            let mut runs = self.runs.iter().filter(|run| run.heading);
            if let Some(run) = runs.find(|run| !words.is_empty() && run.text.contains(words)) {
                return run.places(words);
            }
        }
        Vec::new()
    }
}

impl Run {
    /// Where a part of it stands, on each page.
    fn places(&self, part: &str) -> Vec<Place> {
        let Some(start) = self.text.find(part) else {
            return Vec::new();
        };
        let (end, mut from) = (start + part.len(), 0);
        let mut places: Vec<Place> = Vec::new();
        for (to, page, rect) in &self.pieces {
            if *to > start && from < end {
                match places.last_mut() {
                    Some(last) if last.page == *page => {
                        last.rect =
                            Rect::new(last.rect.min.min(rect.min), last.rect.max.max(rect.max));
                    }
                    _ => places.push(Place {
                        page: *page,
                        rect: *rect,
                        fill: None,
                    }),
                }
            }
            from = *to;
        }
        places
    }
}

//! From the engine's frames to graphic units (图元) of GB/T 33190-2016, 8.5: text as text, rules
//! and fills as paths, pictures.
//!
//! Takes finished pages, gives what stands on each, in the frames' order, and the structure that
//! the engine's tags tell. Never writes XML, and never bends what OFD-A has no word for: that is
//! told as [`Unwritable`]. If we crash here, nothing is lost: nothing was written.

use std::collections::BTreeSet;

use typst::introspection::Tag;
use typst::layout::{Abs, Frame, FrameItem, GroupItem, Point, Rect, Size, Transform};
use typst::text::{TextItem, is_default_ignorable};
use typst::visualize::{
    Curve, CurveItem, ExchangeFormat, FillRule, FixedStroke, Geometry, Image, ImageKind, LineCap,
    LineJoin, Paint, RasterFormat, Shape,
};
use typst_layout::PagedDocument;

use super::Unwritable;
use super::faces::Faces;
use super::structure::Structure;
use super::xml::{Factor, Mm};

/// What a document shows.
#[derive(Default)]
pub(super) struct Walk {
    pub(super) sheets: Vec<Sheet>,
    pub(super) faces: Faces,
    pub(super) pictures: Vec<Picture>,
    pub(super) structure: Structure,
    /// What can't be written.
    pub(super) wrong: BTreeSet<Unwritable>,
}

/// A page.
pub(super) struct Sheet {
    pub(super) width: Mm,
    pub(super) height: Mm,
    pub(super) units: Vec<Unit>,
}

/// A picture's file.
pub(super) struct Picture {
    /// `PNG` or `JPEG`.
    pub(super) format: &'static str,
    pub(super) image: Image,
}

impl Picture {
    /// The file as the template has it.
    pub(super) fn bytes(&self) -> &[u8] {
        match self.image.kind() {
            ImageKind::Raster(raster) => raster.data(),
            // Never taken.
            ImageKind::Svg(_) | ImageKind::Pdf(_) => &[],
        }
    }
}

/// A graphic unit.
pub(super) struct Unit {
    /// Where it is on the page: left, top, width, height. What it draws counts from there.
    pub(super) boundary: [Mm; 4],
    /// What is applied to it within its boundary (`CTM`), where that is more than to place it.
    pub(super) matrix: Option<Matrix>,
    pub(super) drawn: Drawn,
}

/// A transformation: four factors, and a displacement.
pub(super) struct Matrix {
    pub(super) linear: [Factor; 4],
    pub(super) moved: [Mm; 2],
}

pub(super) enum Drawn {
    Text(Text),
    Path(Path),
    /// Which picture.
    Image(usize),
}

/// A run of text in one face and size (11.3).
pub(super) struct Text {
    pub(super) face: usize,
    pub(super) size: Mm,
    /// The width of its characters to what their height asks for.
    pub(super) scale: Option<Factor>,
    pub(super) fill: Colour,
    pub(super) stroke: Option<Stroke>,
    pub(super) code: String,
    /// Where the first character stands, and how much further each other than the one before.
    pub(super) x: Mm,
    pub(super) y: Mm,
    pub(super) across: Vec<Mm>,
    pub(super) down: Vec<Mm>,
    /// The glyphs, in the numbers of the cut face, where the characters alone don't say which.
    pub(super) glyphs: Option<Vec<u16>>,
}

/// Lines and curves (9.1).
pub(super) struct Path {
    pub(super) steps: Vec<Step>,
    pub(super) fill: Option<Colour>,
    pub(super) even_odd: bool,
    pub(super) stroke: Option<Stroke>,
}

/// A step of a path (9.1, table 36).
#[derive(Clone, Copy)]
pub(super) enum Step {
    Move([Mm; 2]),
    Line([Mm; 2]),
    Cubic([Mm; 6]),
    Close,
}

/// How a line is drawn (8.2).
pub(super) struct Stroke {
    pub(super) colour: Colour,
    pub(super) width: Mm,
    pub(super) cap: Option<&'static str>,
    pub(super) join: Option<&'static str>,
    pub(super) miter: Option<Factor>,
    pub(super) dashes: Vec<Mm>,
    pub(super) phase: Option<Mm>,
}

/// A colour (8.3): red, green and blue, and how far it covers.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct Colour {
    pub(super) rgb: [u8; 3],
    pub(super) alpha: u8,
}

/// A glyph and where it is drawn, from the start of its run, y down.
struct Placed {
    id: u16,
    at: Point,
}

/// Glyphs that stand for a piece of text together.
struct Cluster<'a> {
    start: u16,
    text: &'a str,
    glyphs: Vec<Placed>,
    advance: Abs,
}

impl Cluster<'_> {
    /// Its one character and one glyph.
    fn simple(&self) -> Option<(char, &Placed)> {
        let mut chars = self.text.chars();
        match (chars.next(), chars.next(), self.glyphs.as_slice()) {
            (Some(c), None, [glyph]) => Some((c, glyph)),
            _ => None,
        }
    }
}

impl Walk {
    /// Walks all pages.
    pub(super) fn of(document: &PagedDocument) -> Walk {
        let mut walk = Walk::default();
        for page in document.pages() {
            let size = page.frame.size();
            walk.sheets.push(Sheet {
                width: Mm::of(size.x),
                height: Mm::of(size.y),
                units: Vec::new(),
            });
            if let Some(fill) = page.fill_or_transparent() {
                let shape = Geometry::Rect(size).filled(fill);
                walk.shape(&shape, Transform::identity());
            }
            walk.frame(&page.frame, Transform::identity(), None);
        }
        walk
    }

    fn frame(&mut self, frame: &Frame, ts: Transform, clip: Option<Rect>) {
        for (at, item) in frame.items() {
            let ts = ts.pre_concat(Transform::translate(at.x, at.y));
            let before = self.units();
            match item {
                FrameItem::Group(group) => self.group(group, ts, clip),
                FrameItem::Text(text) => self.text(text, ts),
                FrameItem::Shape(shape, _) => self.shape(shape, ts),
                FrameItem::Image(image, size, _) => self.image(image, *size, ts),
                FrameItem::Tag(Tag::Start(elem, flags)) if flags.tagged => {
                    let page = self.sheets.len() - 1;
                    self.structure.start(elem, page, Mm::of(ts.ty));
                }
                FrameItem::Tag(Tag::End(location, _, flags)) if flags.tagged => {
                    self.structure.end(*location);
                }
                // OFD-A keeps no actions on what is drawn (GB/T 42133-2022, 6.3.3 b).
                FrameItem::Tag(_) | FrameItem::Link(..) => {}
            }
            if let (Some(clip), false) = (clip, matches!(item, FrameItem::Group(_))) {
                self.cut(before, clip);
            }
        }
    }

    fn units(&self) -> usize {
        self.sheets.last().map_or(0, |sheet| sheet.units.len())
    }

    fn group(&mut self, group: &GroupItem, ts: Transform, clip: Option<Rect>) {
        let ts = ts.pre_concat(group.transform);
        let own = group.clip.as_ref().map(|curve| bounds(curve, ts));
        let clip = match (clip, own) {
            (Some(a), Some(b)) => Some(Rect::new(a.min.max(b.min), a.max.min(b.max))),
            (a, b) => a.or(b),
        };
        let depth = self.structure.inside(group.parent);
        self.frame(&group.frame, ts, clip);
        self.structure.outside(depth);
    }

    /// OFD-A has no clip around what lies within it anyway (GB/T 42133-2022, 6.3.2), and here nothing
    /// is clipped: what would be cut is told.
    fn cut(&mut self, before: usize, clip: Rect) {
        let (left, top) = (Mm::below(clip.min.x), Mm::below(clip.min.y));
        let (right, bottom) = (Mm::above(clip.max.x), Mm::above(clip.max.y));
        let Some(sheet) = self.sheets.last() else {
            return;
        };
        let slack = Mm(500);
        let held = sheet.units[before..].iter().all(|unit| {
            let [x, y, width, height] = unit.boundary;
            x + slack >= left
                && y + slack >= top
                && x + width <= right + slack
                && y + height <= bottom + slack
        });
        if !held {
            self.wrong.insert(Unwritable::Clip(self.sheets.len()));
        }
    }

    /// The solid colour of a paint; of another, black, and a complaint.
    fn colour(&mut self, paint: &Paint) -> Colour {
        match paint {
            Paint::Solid(color) => {
                let [red, green, blue, alpha] = color.to_vec4_u8();
                Colour {
                    rgb: [red, green, blue],
                    alpha,
                }
            }
            Paint::Gradient(_) | Paint::Tiling(_) => {
                self.wrong.insert(Unwritable::Paint(self.sheets.len()));
                Colour {
                    rgb: [0; 3],
                    alpha: u8::MAX,
                }
            }
        }
    }

    /// A stroke, and how far it reaches to either side of a line, its ends and right corners
    /// counted.
    fn stroke(&mut self, stroke: &FixedStroke, scale: f64) -> Option<(Stroke, Abs)> {
        let width = stroke.thickness * scale;
        if width <= Abs::zero() {
            return None;
        }
        let cap = match stroke.cap {
            LineCap::Butt => None,
            LineCap::Round => Some("Round"),
            LineCap::Square => Some("Square"),
        };
        let join = match stroke.join {
            LineJoin::Miter => None,
            LineJoin::Round => Some("Round"),
            LineJoin::Bevel => Some("Bevel"),
        };
        let dash = stroke.dash.as_ref();
        let dashes = dash.map_or(&[][..], |dash| &dash.array);
        let phase = dash.map(|dash| Mm::of(dash.phase * scale));
        let pen = Stroke {
            colour: self.colour(&stroke.paint),
            width: Mm::of(width).max(Mm(1)),
            cap,
            join,
            miter: join.is_none().then_some(Factor(stroke.miter_limit.get())),
            dashes: dashes.iter().map(|dash| Mm::of(*dash * scale)).collect(),
            phase: phase.filter(|phase| *phase != Mm(0)),
        };
        Some((pen, width * 0.75))
    }

    fn add(&mut self, unit: Unit) {
        let page = self.sheets.len() - 1;
        let sheet = &mut self.sheets[page];
        if !matches!(unit.drawn, Drawn::Path(_)) {
            self.structure.add(page, sheet.units.len());
        }
        sheet.units.push(unit);
    }

    /// A shape, in the coordinates of the page.
    fn shape(&mut self, shape: &Shape, ts: Transform) {
        let scale = similar(ts);
        let fill = shape.fill.as_ref().map(|paint| self.colour(paint));
        let stroke = shape.stroke.as_ref().and_then(|stroke| {
            if scale.is_none() {
                self.wrong.insert(Unwritable::Line(self.sheets.len()));
            }
            self.stroke(stroke, scale.unwrap_or(1.0))
        });
        if fill.is_none() && stroke.is_none() {
            return;
        }
        let curve = match &shape.geometry {
            Geometry::Line(to) => {
                &Curve(vec![CurveItem::Move(Point::zero()), CurveItem::Line(*to)])
            }
            Geometry::Rect(size) => &Curve::rect(*size),
            Geometry::Curve(curve) => curve,
        };
        // Only what bends can have a spike at its corners.
        let plain = !matches!(shape.geometry, Geometry::Curve(_));
        let (mut pen, mut reach) = (None, Abs::zero());
        if let Some((mut stroke, out)) = stroke {
            if plain {
                stroke.miter = None;
            }
            let spike = stroke.miter.map_or(1.0, |limit| limit.0.max(1.0));
            reach = out * spike;
            pen = Some(stroke);
        }
        // A tenth of a millimetre more: no side is nothing, and a rounded number cuts nothing off.
        let boundary = grown(bounds(curve, ts), reach + Abs::mm(0.1));
        let [left, top, ..] = boundary;
        let place = |point: &Point| {
            let point = point.transform(ts);
            [Mm::of(point.x) - left, Mm::of(point.y) - top]
        };
        let steps = curve.0.iter().map(|item| match item {
            CurveItem::Move(to) => Step::Move(place(to)),
            CurveItem::Line(to) => Step::Line(place(to)),
            CurveItem::Cubic(a, b, to) => {
                let ([a, b], [c, d], [e, f]) = (place(a), place(b), place(to));
                Step::Cubic([a, b, c, d, e, f])
            }
            CurveItem::Close => Step::Close,
        });
        let path = Path {
            steps: steps.collect(),
            fill,
            even_odd: shape.fill_rule == FillRule::EvenOdd,
            stroke: pen,
        };
        self.add(Unit {
            boundary,
            matrix: None,
            drawn: Drawn::Path(path),
        });
    }

    fn image(&mut self, image: &Image, size: Size, ts: Transform) {
        let format = match image.kind() {
            ImageKind::Raster(raster)
                if raster.exif_rotation().is_none_or(|turned| turned == 1) =>
            {
                match raster.format() {
                    RasterFormat::Exchange(ExchangeFormat::Png) => Some("PNG"),
                    RasterFormat::Exchange(ExchangeFormat::Jpg) => Some("JPEG"),
                    _ => None,
                }
            }
            _ => None,
        };
        let Some(format) = format else {
            self.wrong.insert(Unwritable::Image(self.sheets.len()));
            return;
        };
        let known = |picture: &Picture| picture.image == *image;
        let place = self.pictures.iter().position(known).unwrap_or_else(|| {
            self.pictures.push(Picture {
                format,
                image: image.clone(),
            });
            self.pictures.len() - 1
        });
        let around = rect(Rect::from_pos_size(Point::zero(), size), ts);
        let boundary = grown(around, Abs::zero());
        let [left, top, ..] = boundary;
        // A picture is a square of one (10).
        let (width, height) = (size.x.to_mm(), size.y.to_mm());
        let matrix = Matrix {
            linear: [
                Factor(ts.sx.get() * width),
                Factor(ts.ky.get() * width),
                Factor(ts.kx.get() * height),
                Factor(ts.sy.get() * height),
            ],
            moved: [Mm::of(ts.tx) - left, Mm::of(ts.ty) - top],
        };
        self.add(Unit {
            boundary,
            matrix: Some(matrix),
            drawn: Drawn::Image(place),
        });
    }

    fn text(&mut self, item: &TextItem, ts: Transform) {
        let face = self.faces.place(&item.font);
        let clusters = clusters(item);
        // By sofd the steps of narrowed text are narrowed, too, by ofd-core they are not: such text is
        // written a character at a time, and has no steps.
        let narrowed = upright(ts).is_some_and(|(x, y)| (x / y - 1.0).abs() > 1e-6);
        let mut rest = clusters.as_slice();
        while let Some(first) = rest.first() {
            // Where each character has one glyph, all are one run; any other cluster is its own.
            let length = match first.simple() {
                Some(_) if narrowed => 1,
                Some(_) => rest
                    .iter()
                    .position(|cluster| cluster.simple().is_none())
                    .unwrap_or(rest.len()),
                None => 1,
            };
            let (run, others) = rest.split_at(length);
            rest = others;
            // Readers leave out white space at either end, and then all that follows is amiss.
            let blank = |cluster: &Cluster| cluster.text.chars().all(char::is_whitespace);
            let Some(begin) = run.iter().position(|cluster| !blank(cluster)) else {
                continue;
            };
            let end = run.iter().rposition(|cluster| !blank(cluster));
            self.run(item, face, &run[begin..=end.unwrap_or(begin)], ts);
        }
    }

    /// A run of text as one object.
    fn run(&mut self, item: &TextItem, face: usize, run: &[Cluster], ts: Transform) {
        let size = item.size;
        let fill = self.colour(&item.fill);
        let upright = upright(ts);
        let stroke = item.stroke.as_ref().and_then(|stroke| {
            let scale = similar(ts).unwrap_or(1.0);
            self.stroke(stroke, if upright.is_some() { scale } else { 1.0 })
        });
        let reach = stroke.as_ref().map_or(Abs::zero(), |(_, reach)| *reach);

        let shown = self.faces.get(face);
        let unit = size / shown.font.units_per_em();
        let first = run[0].glyphs[0].at;
        // From the line to where a line of this size ends, and all that is drawn.
        let mut ink = Rect::new(
            first + Point::with_y(size * -0.88),
            first + Point::with_y(size * 0.22),
        );
        let mut own = true;
        let mut glyphs = Vec::new();
        let mut places = Vec::new();
        for cluster in run {
            let simple = cluster.simple().map(|(c, _)| c);
            for glyph in &cluster.glyphs {
                let met = shown.show(simple, glyph.id);
                if let Some(drawn) = met.ink {
                    let corner = |x: i16, y: i16| {
                        glyph.at + Point::new(unit * f64::from(x), unit * -f64::from(y))
                    };
                    ink.min = ink.min.min(corner(drawn.x_min, drawn.y_max));
                    ink.max = ink.max.max(corner(drawn.x_max, drawn.y_min));
                }
                if !met.is_outline {
                    let (name, text) = (shown.name(), cluster.text.to_owned());
                    self.wrong.insert(Unwritable::Glyph(name, text));
                }
                // By ofdrw and sofd a character beyond U+FFFF is drawn by its glyph or not at all.
                own &= met.is_own && simple.is_some_and(|c| c <= '\u{FFFF}');
                glyphs.push(met.new);
                places.push(glyph.at);
                ink.max.x = ink.max.x.max(glyph.at.x + cluster.advance);
            }
        }

        let (boundary, matrix, places, size, scale) = match upright {
            Some((x, y)) => {
                let boundary = grown(rect(ink, ts), reach);
                let [left, top, ..] = boundary;
                let on_page = |at: &Point| {
                    let at = at.transform(ts);
                    [Mm::of(at.x) - left, Mm::of(at.y) - top]
                };
                let places: Vec<[Mm; 2]> = places.iter().map(on_page).collect();
                let scale = (x / y - 1.0).abs() > 1e-6;
                let scale = scale.then_some(Factor(x / y));
                (boundary, None, places, size * y, scale)
            }
            None => {
                let boundary = grown(rect(ink, ts), reach);
                let [left, top, ..] = boundary;
                let matrix = Matrix {
                    linear: [ts.sx, ts.ky, ts.kx, ts.sy].map(|factor| Factor(factor.get())),
                    moved: [Mm::of(ts.tx) - left, Mm::of(ts.ty) - top],
                };
                let in_run = |at: &Point| [Mm::of(at.x), Mm::of(at.y)];
                let places: Vec<[Mm; 2]> = places.iter().map(in_run).collect();
                (boundary, Some(matrix), places, size, None)
            }
        };
        let steps = |side: usize| -> Vec<Mm> {
            let pairs = places.windows(2);
            pairs.map(|pair| pair[1][side] - pair[0][side]).collect()
        };
        let (across, mut down) = (steps(0), steps(1));
        if down.iter().all(|step| *step == Mm(0)) {
            down.clear();
        }
        let [x, y] = places[0];
        let text = Text {
            face,
            size: Mm::of(size),
            scale,
            fill,
            stroke: stroke.map(|(stroke, _)| stroke),
            code: run.iter().map(|cluster| cluster.text).collect(),
            x,
            y,
            across,
            down,
            glyphs: (!own).then_some(glyphs),
        };
        self.add(Unit {
            boundary,
            matrix,
            drawn: Drawn::Text(text),
        });
    }
}

/// The clusters of a run, in the order of its text.
fn clusters(item: &TextItem) -> Vec<Cluster<'_>> {
    let mut clusters: Vec<Cluster> = Vec::new();
    let mut pen = Point::zero();
    for glyph in &item.glyphs {
        let offset = Point::new(glyph.x_offset.at(item.size), glyph.y_offset.at(item.size));
        let at = pen + offset;
        let placed = Placed {
            id: glyph.id,
            // Within a run, y is up.
            at: Point::new(at.x, -at.y),
        };
        let advance = glyph.x_advance.at(item.size);
        pen += Point::new(advance, glyph.y_advance.at(item.size));
        match clusters.last_mut() {
            Some(last) if last.start == glyph.range.start => {
                last.glyphs.push(placed);
                last.advance += advance;
            }
            _ => {
                let text = &item.text[glyph.range()];
                let seen = text.trim_matches(is_default_ignorable);
                clusters.push(Cluster {
                    start: glyph.range.start,
                    text: if seen.is_empty() { text } else { seen },
                    glyphs: vec![placed],
                    advance,
                });
            }
        }
    }
    // What runs from right to left is drawn in its order and read in that of its text.
    clusters.sort_by_key(|cluster| cluster.start);
    clusters
}

/// How far a transformation that only places and scales does so, across and down.
fn upright(ts: Transform) -> Option<(f64, f64)> {
    let (x, y) = (ts.sx.get(), ts.sy.get());
    let turned = ts.kx.get() != 0.0 || ts.ky.get() != 0.0;
    (!turned && x > 0.0 && y > 0.0).then_some((x, y))
}

/// The scale of a transformation that keeps angles; none, when it doesn't.
fn similar(ts: Transform) -> Option<f64> {
    let [a, b, c, d] = [ts.sx, ts.ky, ts.kx, ts.sy].map(|factor| factor.get());
    let (first, second) = (a.hypot(b), c.hypot(d));
    let even = (first - second).abs() < 1e-6 && (a * c + b * d).abs() < 1e-6;
    even.then_some(first)
}

/// The rectangle around a curve's points.
fn bounds(curve: &Curve, ts: Transform) -> Rect {
    let points = curve.0.iter().flat_map(|item| match item {
        CurveItem::Move(to) | CurveItem::Line(to) => vec![*to],
        CurveItem::Cubic(a, b, to) => vec![*a, *b, *to],
        CurveItem::Close => Vec::new(),
    });
    let mut points = points.map(|point| point.transform(ts));
    let first = points.next().unwrap_or_default();
    points.fold(Rect::new(first, first), |all, point| {
        Rect::new(all.min.min(point), all.max.max(point))
    })
}

/// The rectangle around a transformed one.
fn rect(of: Rect, ts: Transform) -> Rect {
    let corners = [
        of.min,
        Point::new(of.max.x, of.min.y),
        of.max,
        Point::new(of.min.x, of.max.y),
    ];
    let [first, others @ ..] = corners.map(|corner| corner.transform(ts));
    others
        .into_iter()
        .fold(Rect::new(first, first), |all, corner| {
            Rect::new(all.min.min(corner), all.max.max(corner))
        })
}

/// A rectangle grown on all sides, to whole thousandths: left, top, width, height.
fn grown(of: Rect, by: Abs) -> [Mm; 4] {
    let (left, top) = (Mm::below(of.min.x - by), Mm::below(of.min.y - by));
    let (right, bottom) = (Mm::above(of.max.x + by), Mm::above(of.max.y + by));
    let side = |length: Mm| length.max(Mm(1));
    [left, top, side(right - left), side(bottom - top)]
}

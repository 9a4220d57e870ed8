//! The document as OFD (GB/T 33190-2016), from the pages that the PDF is made of: for agencies whose
//! exchange and archive systems take the national format.
//!
//! Takes a document that has passed every check, gives a package, restricted as GB/T 42133-2022
//! (OFD-A) asks of files to be kept: everything inside, text as text in embedded subsets, nothing
//! that acts. Never draws what it has no word for: a face, a paint or a picture that can't be
//! written is told with its place, and there is no file. If we crash here, nothing has been stored.
//!
//! Which clauses are met, and which are not known, is in docs/ofd.md.

mod faces;
mod package;
mod structure;
mod walk;
mod xml;

use typst::text::FontFlags;
use typst_layout::PagedDocument;

pub use package::{Entry, entries};

use super::fonts::Fonts;
use super::{DATA, Manuscript, PROVENANCE, Provenance, shown};
use crate::attachment::Unreadable;
use crate::problem::{Code, Problem, Rejection};
use structure::Heading;
use walk::{Colour, Drawn, Matrix, Step, Stroke, Text, Unit, Walk};
use xml::{Array, Factor, Mm, Value, Xml};

/// The standards that every OFD keeps, as its provenance names them.
pub const STANDARD: &str = "GB/T 33190-2016, OFD-A";

/// What OFD has no word for, or OFD-A no place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Unwritable {
    /// A face without TrueType outlines.
    Outlines(String),
    /// A glyph of a face that is a picture or in several colours.
    Glyph(String, String),
    /// A face that can't be cut, and why.
    Face(String, String),
    /// A gradient or a tiling, on this page.
    Paint(usize),
    /// Something that is cut off by a clip.
    Clip(usize),
    /// A line that is scaled more in one direction than in the other.
    Line(usize),
    /// A picture that is neither PNG nor JPEG, or is to be turned.
    Image(usize),
}

impl Unwritable {
    fn problem(&self) -> Problem {
        let (en, zh) = match self {
            Unwritable::Outlines(face) => (
                format!(
                    "the face {face} has no TrueType outlines, and OFD-A keeps no others (GB/T \
                     42133, 6.2.6 c); configure a TrueType face"
                ),
                format!(
                    "字体{face}不是TrueType轮廓，OFD-A只保留此种轮廓（GB/T 42133，6.2.6 \
                     c）；请改用TrueType字体"
                ),
            ),
            Unwritable::Glyph(face, text) => (
                format!(
                    "the face {face} draws “{text}” as a picture or in several colours; use a face \
                     with outlines"
                ),
                format!("字体{face}以图片或多种颜色绘制“{text}”；请改用轮廓字体"),
            ),
            Unwritable::Face(face, why) => (
                format!("the face {face} can't be cut to a subset: {why}; use another"),
                format!("字体{face}不能裁剪为子集：{why}；请改用其他字体"),
            ),
            Unwritable::Paint(page) => (
                format!("page {page} has a gradient or a pattern; let the template fill plainly"),
                format!("第{page}页有渐变或图案填充；请在模板中改用单色"),
            ),
            Unwritable::Clip(page) => (
                format!("page {page} has something that a clip cuts off; mend the template"),
                format!("第{page}页有内容被裁剪区截断；请修改模板"),
            ),
            Unwritable::Line(page) => (
                format!(
                    "page {page} has a line that is scaled more in one direction; mend the template"
                ),
                format!("第{page}页有线条在两个方向上缩放不同；请修改模板"),
            ),
            Unwritable::Image(page) => (
                format!("page {page} has a picture that is not an upright PNG or JPEG; convert it"),
                format!("第{page}页有图片不是PNG或JPEG，或带有旋转标记；请转换"),
            ),
        };
        Problem::new(
            Code::OFD,
            "",
            format!("the report cannot be written as OFD: {en}"),
            format!("报告不能生成OFD：{zh}"),
        )
    }
}

/// A document as OFD.
///
/// # Errors
/// `E-OFD` for everything that can't be written.
pub(super) fn of(
    document: &PagedDocument,
    manuscript: &Manuscript,
    provenance: &Provenance,
    fonts: &Fonts,
) -> Result<Vec<u8>, Rejection> {
    let walk = Walk::of(document);
    let mut wrong = walk.wrong.clone();
    let mut faces = Vec::new();
    for face in walk.faces.iter() {
        match face.cut() {
            Ok(cut) => faces.push(cut),
            Err(unwritable) => {
                wrong.insert(unwritable);
            }
        }
    }
    if !wrong.is_empty() {
        return Err(Rejection::new(
            wrong.iter().map(Unwritable::problem).collect(),
        ));
    }

    let ids = Ids::of(&walk);
    let (year, month, day) = manuscript.date;
    let date = format!("{year:04}-{month:02}-{day:02}");
    let provenance_json = provenance.json();
    let attached = [
        (DATA, "report", manuscript.data.as_bytes()),
        (PROVENANCE, "provenance", provenance_json.as_bytes()),
    ];
    let mut files = vec![
        ("OFD.xml".to_owned(), main(manuscript, provenance, &date)),
        ("Doc_0/Document.xml".to_owned(), root(&walk, &ids)),
        ("Doc_0/PublicRes.xml".to_owned(), public(&walk, &ids, fonts)),
    ];
    if !walk.pictures.is_empty() {
        let resources = pictures(&walk, &ids);
        files.push(("Doc_0/DocumentRes.xml".to_owned(), resources));
    }
    for (place, cut) in faces.into_iter().enumerate() {
        files.push((format!("Doc_0/Res/{}", ids.font_file(place)), cut));
    }
    for (place, picture) in walk.pictures.iter().enumerate() {
        let name = ids.picture_file(place, picture.format);
        files.push((format!("Doc_0/Res/{name}"), picture.bytes().to_vec()));
    }
    for (place, sheet) in walk.sheets.iter().enumerate() {
        let first = &walk.sheets[0];
        let usual = (sheet.width, sheet.height) == (first.width, first.height);
        let area = (!usual).then_some((sheet.width, sheet.height));
        let page = page(area, &sheet.units, place, &ids);
        files.push((format!("Doc_0/Pages/Page_{place}/Content.xml"), page));
    }
    files.push(("Doc_0/Tags/CustomTags.xml".to_owned(), tags()));
    let structure = walk
        .structure
        .xml(&ids.pages, |page, unit| ids.unit(page, unit));
    files.push(("Doc_0/Tags/structure.xml".to_owned(), structure));
    files.push((
        "Doc_0/Attachs/Attachments.xml".to_owned(),
        attachments(&attached, &date),
    ));
    for (name, _, bytes) in attached {
        files.push((attached_as(name), bytes.to_vec()));
    }
    Ok(package::write(&files))
}

/// The path of an attachment.
fn attached_as(name: &str) -> String {
    format!("Doc_0/Attachs/{name}")
}

/// The content of a file that is attached to an OFD of banshi's.
///
/// # Errors
/// When it can't be had, and why.
pub fn attachment(ofd: &[u8], name: &str) -> Result<Vec<u8>, Unreadable> {
    let entries = entries(ofd).ok_or(Unreadable::Foreign)?;
    let path = attached_as(name);
    let entry = entries.iter().find(|entry| entry.name == path);
    let entry = entry.ok_or(Unreadable::Absent)?;
    entry.read(ofd).ok_or(Unreadable::Foreign)
}

/// The numbers of everything that has one: a single sequence in a document (7.3, `ST_ID`).
struct Ids {
    /// The first of the faces, and of the pictures.
    fonts: u64,
    pictures: u64,
    pages: Vec<u64>,
    last: u64,
}

impl Ids {
    fn of(walk: &Walk) -> Ids {
        let fonts = 1;
        let pictures = fonts + walk.faces.iter().count() as u64;
        let mut next = pictures + walk.pictures.len() as u64;
        let mut pages = Vec::new();
        for sheet in &walk.sheets {
            pages.push(next);
            // The page, its layer, and what is in that.
            next += 2 + sheet.units.len() as u64;
        }
        Ids {
            fonts,
            pictures,
            pages,
            last: next - 1,
        }
    }

    fn font(&self, place: usize) -> u64 {
        self.fonts + place as u64
    }

    fn font_file(&self, place: usize) -> String {
        format!("font_{}.ttf", self.font(place))
    }

    fn picture(&self, place: usize) -> u64 {
        self.pictures + place as u64
    }

    fn picture_file(&self, place: usize, format: &str) -> String {
        let ending = format.to_lowercase();
        format!("image_{}.{ending}", self.picture(place))
    }

    fn layer(&self, page: usize) -> u64 {
        self.pages[page] + 1
    }

    fn unit(&self, page: usize, unit: usize) -> u64 {
        self.pages[page] + 2 + unit as u64
    }
}

/// The main entry (7.4), with the document's metadata.
fn main(manuscript: &Manuscript, provenance: &Provenance, date: &str) -> Vec<u8> {
    let mut xml = Xml::new("ofd:OFD");
    xml.attribute("Version", "1.0");
    xml.attribute("DocType", "OFD-A");
    xml.begin("ofd:DocBody").begin("ofd:DocInfo");
    let id: String = manuscript.ident.chars().take(32).collect();
    xml.leaf("ofd:DocID", id);
    let (title, author) = (shown(&manuscript.title), shown(&manuscript.author));
    xml.leaf("ofd:Title", &title);
    xml.leaf("ofd:Author", &author);
    xml.leaf("ofd:Subject", shown(&manuscript.description));
    xml.leaf("ofd:CreationDate", date);
    xml.leaf("ofd:ModDate", date);
    xml.leaf("ofd:DocUsage", "Normal");
    if !manuscript.keywords.is_empty() {
        xml.begin("ofd:Keywords");
        for keyword in &manuscript.keywords {
            xml.leaf("ofd:Keyword", shown(keyword));
        }
        xml.end();
    }
    let product = provenance.product.as_str();
    let (creator, version) = product.rsplit_once(' ').unwrap_or((product, ""));
    xml.leaf("ofd:Creator", creator);
    xml.leaf("ofd:CreatorVersion", version);
    // By the names of DA/T 46 (GB/T 42133-2022, 6.2.1 b).
    xml.begin("ofd:CustomDatas");
    for (name, value) in [
        ("题名", &*title),
        ("责任者", &*author),
        ("日期", date),
        ("电子文件号", &manuscript.job_id),
    ] {
        xml.begin("ofd:CustomData").attribute("Name", name);
        xml.text(value).end();
    }
    xml.end().end();
    xml.leaf("ofd:DocRoot", "Doc_0/Document.xml");
    xml.finish()
}

/// The root of the document (7.5).
fn root(walk: &Walk, ids: &Ids) -> Vec<u8> {
    let mut xml = Xml::new("ofd:Document");
    xml.begin("ofd:CommonData");
    xml.leaf("ofd:MaxUnitID", ids.last);
    if let Some(sheet) = walk.sheets.first() {
        xml.begin("ofd:PageArea");
        physical(&mut xml, sheet.width, sheet.height);
        xml.end();
    }
    xml.leaf("ofd:PublicRes", "PublicRes.xml");
    if !walk.pictures.is_empty() {
        xml.leaf("ofd:DocumentRes", "DocumentRes.xml");
    }
    xml.end();
    xml.begin("ofd:Pages");
    for (place, id) in ids.pages.iter().enumerate() {
        let content = format!("Pages/Page_{place}/Content.xml");
        xml.begin("ofd:Page").attribute("ID", id);
        xml.attribute("BaseLoc", content).end();
    }
    xml.end();
    if !walk.structure.headings.is_empty() {
        xml.begin("ofd:Outlines");
        outline(&mut xml, &walk.structure.headings, ids);
        xml.end();
    }
    xml.leaf("ofd:CustomTags", "Tags/CustomTags.xml");
    xml.leaf("ofd:Attachments", "Attachs/Attachments.xml");
    xml.finish()
}

fn physical(xml: &mut Xml, width: Mm, height: Mm) {
    xml.leaf("ofd:PhysicalBox", Array(&[Mm(0), Mm(0), width, height]));
}

/// The outline (7.8): each heading with those below it.
fn outline(xml: &mut Xml, headings: &[Heading], ids: &Ids) {
    let mut rest = headings;
    while let Some((heading, others)) = rest.split_first() {
        let below = others
            .iter()
            .position(|other| other.level <= heading.level)
            .unwrap_or(others.len());
        let (below, others) = others.split_at(below);
        rest = others;
        xml.begin("ofd:OutlineElem");
        xml.attribute("Title", shown(&heading.title));
        xml.begin("ofd:Actions").begin("ofd:Action");
        xml.attribute("Event", "CLICK");
        xml.begin("ofd:Goto").begin("ofd:Dest");
        xml.attribute("Type", "XYZ");
        xml.attribute("PageID", ids.pages[heading.page]);
        xml.attribute("Left", Mm(0));
        xml.attribute("Top", heading.top.max(Mm(0)));
        xml.attribute("Zoom", Mm(0));
        xml.end().end().end().end();
        outline(xml, below, ids);
        xml.end();
    }
}

/// The public resources (7.9): the faces (11.1).
fn public(walk: &Walk, ids: &Ids, fonts: &Fonts) -> Vec<u8> {
    let mut xml = Xml::new("ofd:Res");
    xml.attribute("BaseLoc", "Res");
    for (place, face) in walk.faces.iter().enumerate() {
        if place == 0 {
            xml.begin("ofd:Fonts");
        }
        let info = face.font.font().info();
        let weight = info.variant.weight.to_number();
        let yes = |is: bool| is.then_some("true");
        xml.begin("ofd:Font").attribute("ID", ids.font(place));
        xml.attribute("FontName", face.name());
        let role = fonts.role_of(&info.family, weight);
        xml.attribute("FamilyName", substitute(role).unwrap_or(&info.family));
        xml.maybe("Bold", yes(weight >= 600));
        xml.maybe("Serif", yes(role != Some("heiti")));
        xml.maybe("FixedWidth", yes(info.flags.contains(FontFlags::MONOSPACE)));
        xml.leaf("ofd:FontFile", ids.font_file(place)).end();
    }
    xml.finish()
}

/// The family by which a reader that ignores embedded faces finds one of its own (11.1,
/// `FamilyName`): what GB/T 9704 calls the face of each role, as systems here have it.
fn substitute(role: Option<&str>) -> Option<&'static str> {
    Some(match role? {
        "fangsong" => "仿宋",
        "kaiti" => "楷体",
        "heiti" => "黑体",
        "biaosong" => "方正小标宋简体",
        "latin" => "Times New Roman",
        _ => "宋体",
    })
}

/// The document's resources (7.9): the pictures.
fn pictures(walk: &Walk, ids: &Ids) -> Vec<u8> {
    let mut xml = Xml::new("ofd:Res");
    xml.attribute("BaseLoc", "Res").begin("ofd:MultiMedias");
    for (place, picture) in walk.pictures.iter().enumerate() {
        xml.begin("ofd:MultiMedia");
        xml.attribute("ID", ids.picture(place));
        xml.attribute("Type", "Image");
        xml.attribute("Format", picture.format);
        let file = ids.picture_file(place, picture.format);
        xml.leaf("ofd:MediaFile", file).end();
    }
    xml.finish()
}

/// A page (7.7), with its size, if that is not the usual one.
fn page(area: Option<(Mm, Mm)>, units: &[Unit], place: usize, ids: &Ids) -> Vec<u8> {
    let mut xml = Xml::new("ofd:Page");
    if let Some((width, height)) = area {
        xml.begin("ofd:Area");
        physical(&mut xml, width, height);
        xml.end();
    }
    xml.begin("ofd:Content").begin("ofd:Layer");
    xml.attribute("ID", ids.layer(place));
    xml.attribute("Type", "Body");
    for (number, unit) in units.iter().enumerate() {
        let name = match unit.drawn {
            Drawn::Text(_) => "ofd:TextObject",
            Drawn::Path(_) => "ofd:PathObject",
            Drawn::Image(_) => "ofd:ImageObject",
        };
        xml.begin(name).attribute("ID", ids.unit(place, number));
        xml.attribute("Boundary", Array(&unit.boundary));
        if let Some(Matrix { linear, moved }) = &unit.matrix {
            xml.attribute("CTM", (Array(linear), Array(moved)));
        }
        match &unit.drawn {
            Drawn::Text(text) => write_text(&mut xml, text, ids),
            Drawn::Path(path) => write_path(&mut xml, path),
            Drawn::Image(picture) => {
                xml.attribute("ResourceID", ids.picture(*picture));
            }
        }
        xml.end();
    }
    xml.finish()
}

fn write_text(xml: &mut Xml, text: &Text, ids: &Ids) {
    xml.attribute("Font", ids.font(text.face));
    xml.attribute("Size", text.size);
    xml.maybe("HScale", text.scale);
    if let Some(stroke) = &text.stroke {
        xml.attribute("Stroke", "true");
        pen(xml, stroke);
    }
    colour(xml, "ofd:FillColor", text.fill);
    if let Some(stroke) = &text.stroke {
        colour(xml, "ofd:StrokeColor", stroke.colour);
    }
    if let Some(glyphs) = &text.glyphs {
        xml.begin("ofd:CGTransform")
            .attribute("CodePosition", 0_u64);
        xml.attribute("CodeCount", text.code.encode_utf16().count());
        xml.attribute("GlyphCount", glyphs.len());
        xml.leaf("ofd:Glyphs", Array(glyphs)).end();
    }
    xml.begin("ofd:TextCode");
    xml.attribute("X", text.x).attribute("Y", text.y);
    xml.maybe("DeltaX", any(&text.across));
    xml.maybe("DeltaY", any(&text.down));
    xml.text(&text.code).end();
}

fn write_path(xml: &mut Xml, path: &walk::Path) {
    match &path.stroke {
        Some(stroke) => pen(xml, stroke),
        // And then nothing more of it (GB/T 42133-2022, 6.3.3 c).
        None => {
            xml.attribute("Stroke", "false");
        }
    }
    xml.maybe("Fill", path.fill.map(|_| "true"));
    xml.maybe("Rule", path.even_odd.then_some("Even-Odd"));
    if let Some(stroke) = &path.stroke {
        colour(xml, "ofd:StrokeColor", stroke.colour);
    }
    if let Some(fill) = path.fill {
        colour(xml, "ofd:FillColor", fill);
    }
    xml.leaf("ofd:AbbreviatedData", Array(&path.steps));
}

impl Value for Step {
    fn put(&self, text: &mut String) {
        match self {
            Step::Move(to) => ("M", Array(to)).put(text),
            Step::Line(to) => ("L", Array(to)).put(text),
            Step::Cubic(points) => ("B", Array(points)).put(text),
            Step::Close => "C".put(text),
        }
    }
}

/// How a line is drawn (8.2), where it is not as by default.
fn pen(xml: &mut Xml, stroke: &Stroke) {
    xml.attribute("LineWidth", stroke.width);
    xml.maybe("Cap", stroke.cap);
    xml.maybe("Join", stroke.join);
    xml.maybe("MiterLimit", stroke.miter);
    xml.maybe("DashOffset", stroke.phase);
    xml.maybe("DashPattern", any(&stroke.dashes));
}

/// An array, if there is anything in it.
fn any(lengths: &[Mm]) -> Option<Array<'_, Mm>> {
    (!lengths.is_empty()).then_some(Array(lengths))
}

fn colour(xml: &mut Xml, name: &'static str, colour: Colour) {
    xml.begin(name).attribute("Value", Array(&colour.rgb));
    let alpha = (colour.alpha != u8::MAX).then_some(colour.alpha);
    xml.maybe("Alpha", alpha).end();
}

/// The custom tags (16).
fn tags() -> Vec<u8> {
    let mut xml = Xml::new("ofd:CustomTags");
    xml.begin("ofd:CustomTag");
    xml.attribute("NameSpace", structure::NAMESPACE);
    xml.leaf("ofd:FileLoc", "structure.xml");
    xml.finish()
}

/// The attachments (20): text, as GB/T 42133-2022, 6.15.1 keeps them.
fn attachments(attached: &[(&str, &str, &[u8])], date: &str) -> Vec<u8> {
    let mut xml = Xml::new("ofd:Attachments");
    for (name, id, bytes) in attached {
        xml.begin("ofd:Attachment").attribute("ID", id);
        xml.attribute("Name", name).attribute("Format", "txt");
        xml.attribute("CreationDate", format!("{date}T00:00:00"));
        // In KB.
        xml.attribute("Size", Factor(bytes.len() as f64 / 1024.0));
        xml.attribute("Usage", "none");
        xml.leaf("ofd:FileLoc", name).end();
    }
    xml.finish()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fmt::Write as _;
    use std::path::Path;

    use ttf_parser::{Face, GlyphId, OutlineBuilder};
    use typst::layout::{Abs, Frame, FrameItem, Point, Transform};

    use super::*;
    use crate::config::Settings;
    use crate::job;
    use crate::typesetter::Typesetter;

    /// A glyph with ink as it is drawn: its outline in units of its face, the size in mm, and where
    /// on which page its origin and the end of its em are.
    #[derive(Debug)]
    struct Glyph {
        page: usize,
        outline: String,
        places: [(f64, f64); 2],
    }

    impl OutlineBuilder for Glyph {
        fn move_to(&mut self, x: f32, y: f32) {
            write!(self.outline, "M{x} {y}").unwrap();
        }

        fn line_to(&mut self, x: f32, y: f32) {
            write!(self.outline, "L{x} {y}").unwrap();
        }

        fn quad_to(&mut self, a: f32, b: f32, x: f32, y: f32) {
            write!(self.outline, "Q{a} {b} {x} {y}").unwrap();
        }

        fn curve_to(&mut self, a: f32, b: f32, c: f32, d: f32, x: f32, y: f32) {
            write!(self.outline, "C{a} {b} {c} {d} {x} {y}").unwrap();
        }

        fn close(&mut self) {
            self.outline.push('Z');
        }
    }

    /// What the frames draw.
    fn of_frames(frame: &Frame, page: usize, ts: Transform, glyphs: &mut Vec<Glyph>) {
        for (at, item) in frame.items() {
            let ts = ts.pre_concat(Transform::translate(at.x, at.y));
            match item {
                FrameItem::Group(group) => {
                    of_frames(&group.frame, page, ts.pre_concat(group.transform), glyphs);
                }
                FrameItem::Text(text) => {
                    let mut pen = Abs::zero();
                    for glyph in &text.glyphs {
                        let origin = Point::new(
                            pen + glyph.x_offset.at(text.size),
                            -glyph.y_offset.at(text.size),
                        );
                        pen += glyph.x_advance.at(text.size);
                        let place = |point: Point| {
                            let point = point.transform(ts);
                            (point.x.to_mm(), point.y.to_mm())
                        };
                        let mut drawn = Glyph {
                            page,
                            outline: String::new(),
                            places: [place(origin), place(origin + Point::with_x(text.size))],
                        };
                        let face = text.font.ttf();
                        if face.outline_glyph(GlyphId(glyph.id), &mut drawn).is_some() {
                            glyphs.push(drawn);
                        }
                    }
                }
                _ => {}
            }
        }
    }

    fn attribute<'a>(tag: &'a str, name: &str) -> Option<&'a str> {
        let (_, rest) = tag.split_once(&format!(" {name}=\""))?;
        rest.split('"').next()
    }

    fn numbers(text: &str) -> Vec<f64> {
        text.split(' ')
            .map(|number| number.parse().unwrap())
            .collect()
    }

    fn within<'a>(text: &'a str, element: &str) -> Option<&'a str> {
        let (_, rest) = text.split_once(&format!("<ofd:{element}"))?;
        let (_, rest) = rest.split_once('>')?;
        rest.split("</").next()
    }

    /// What the package draws: faces, sizes, places, characters by the cmap or glyphs by number.
    fn of_package(package: &[u8]) -> Vec<Glyph> {
        let entries = entries(package).unwrap();
        let read = |name: &str| {
            let entry = entries.iter().find(|entry| entry.name == name);
            entry.map(|entry| entry.read(package).unwrap())
        };
        let text = |name: &str| read(name).map(|bytes| String::from_utf8(bytes).unwrap());
        let resources = text("Doc_0/PublicRes.xml").unwrap();
        let faces = resources.split("<ofd:Font ").skip(1).map(|font| {
            let font = format!(" {font}");
            let file = within(&font, "FontFile").unwrap();
            let id = attribute(&font, "ID").unwrap().to_owned();
            (id, read(&format!("Doc_0/Res/{file}")).unwrap())
        });
        let faces: BTreeMap<String, Vec<u8>> = faces.collect();
        let mut glyphs = Vec::new();
        for page in 0.. {
            let Some(content) = text(&format!("Doc_0/Pages/Page_{page}/Content.xml")) else {
                break;
            };
            for unit in content.split("<ofd:TextObject").skip(1) {
                let unit = unit.split("</ofd:TextObject>").next().unwrap();
                let face = Face::parse(&faces[attribute(unit, "Font").unwrap()], 0).unwrap();
                let size: f64 = attribute(unit, "Size").unwrap().parse().unwrap();
                let boundary = numbers(attribute(unit, "Boundary").unwrap());
                let matrix =
                    attribute(unit, "CTM").map_or(vec![1.0, 0.0, 0.0, 1.0, 0.0, 0.0], numbers);
                let scale: f64 = attribute(unit, "HScale").map_or(1.0, |it| it.parse().unwrap());
                let code = within(unit, "TextCode").unwrap();
                let code = code
                    .replace("&lt;", "<")
                    .replace("&gt;", ">")
                    .replace("&quot;", "\"");
                let code = code.replace("&amp;", "&");
                let drawn: Vec<u16> = match within(unit, "Glyphs") {
                    Some(glyphs) => glyphs
                        .split(' ')
                        .map(|glyph| glyph.parse().unwrap())
                        .collect(),
                    None => code
                        .chars()
                        .map(|c| face.glyph_index(c).unwrap().0)
                        .collect(),
                };
                let mut steps = attribute(unit, "DeltaX")
                    .map_or(Vec::new(), numbers)
                    .into_iter();
                let mut x: f64 = attribute(unit, "X").unwrap().parse().unwrap();
                let y: f64 = attribute(unit, "Y").unwrap().parse().unwrap();
                for glyph in drawn {
                    let place = |x: f64, y: f64| {
                        let [a, b, c, d, e, f] = matrix[..] else {
                            panic!()
                        };
                        (
                            boundary[0] + a * x + c * y + e,
                            boundary[1] + b * x + d * y + f,
                        )
                    };
                    let mut drawn = Glyph {
                        page,
                        outline: String::new(),
                        places: [place(x, y), place(x + size * scale, y)],
                    };
                    if face.outline_glyph(GlyphId(glyph), &mut drawn).is_some() {
                        // All that it draws lies in its boundary.
                        let ((px, py), slack) = (drawn.places[0], 0.01);
                        assert!(px >= boundary[0] - slack - size && py >= boundary[1] - slack);
                        assert!(px <= boundary[0] + boundary[2] + size);
                        assert!(py <= boundary[1] + boundary[3] + slack);
                        glyphs.push(drawn);
                    }
                    x += steps.next().unwrap_or_default();
                }
            }
        }
        glyphs
    }

    fn typesetter() -> Typesetter {
        let mut settings = Settings::load(&[], []).unwrap();
        settings.fonts.dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fonts");
        Typesetter::load(&settings).unwrap()
    }

    /// Lays out a job and says how many glyphs it has, after each was found to be the same in the
    /// package.
    fn same_glyphs(typesetter: &Typesetter, job: &str) -> usize {
        let job = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(job)).unwrap();
        let mut job: serde_json::Value = serde_json::from_slice(&job).unwrap();
        job["on_violation"] = "warn".into();
        let limits = Settings::load(&[], []).unwrap().limits;
        let job = job.to_string();
        let job = job::read(job.as_bytes(), None, &limits, &typesetter.editions()).unwrap();
        let manuscript = Manuscript::of(&job);
        let mut frames = Vec::new();
        let document = typesetter
            .lay_out(&manuscript, &mut Vec::new(), |document, _| {
                Ok(document.clone())
            })
            .unwrap();
        for (number, page) in document.pages().iter().enumerate() {
            of_frames(&page.frame, number, Transform::identity(), &mut frames);
        }
        let package = of_package(&typesetter.as_ofd(&document, &manuscript).unwrap());
        assert_eq!(frames.len(), package.len());
        for (frame, own) in frames.iter().zip(&package) {
            assert_eq!((frame.page, &frame.outline), (own.page, &own.outline));
            for ((x, y), (own_x, own_y)) in frame.places.into_iter().zip(own.places) {
                // Of the em's end, a thousandth for the rounded size as well.
                let near = (x - own_x).abs() < 0.003 && (y - own_y).abs() < 0.003;
                assert!(near, "{frame:?}\n{own:?}");
            }
        }
        frames.len()
    }

    /// Of upright text, of tables that stand sideways, of a head that is set narrower.
    #[test]
    fn every_glyph_is_the_one_of_the_frame_in_its_place() {
        let typesetter = typesetter();
        for job in [
            "tests/corpus/pingtan-2019.json",
            "tests/corpus/pingtan-2023.json",
            "tests/corpus/suqian-2024.json",
            "typst-templates/enforcement-report/shanxi-2021/sample.json",
            "typst-templates/official-letter/letter/sample.json",
        ] {
            assert!(same_glyphs(&typesetter, job) > 200, "{job}");
        }
    }

    #[test]
    fn an_outline_leads_down_and_up_again() {
        let heading = |level, title: &str| Heading {
            level,
            title: title.to_owned(),
            page: 0,
            top: Mm(0),
        };
        let headings = [
            heading(1, "a"),
            heading(2, "b"),
            heading(3, "c"),
            heading(2, "d"),
            heading(1, "e"),
        ];
        let ids = Ids {
            fonts: 1,
            pictures: 1,
            pages: vec![1],
            last: 2,
        };
        let mut xml = Xml::new("ofd:Outlines");
        outline(&mut xml, &headings, &ids);
        let text = String::from_utf8(xml.finish()).unwrap();
        let mut depth = 0;
        let mut found = Vec::new();
        for tag in text.split('<') {
            if let Some(title) = tag.strip_prefix("ofd:OutlineElem Title=\"") {
                depth += 1;
                found.push((depth, title.split('"').next().unwrap()));
            }
            depth -= usize::from(tag.starts_with("/ofd:OutlineElem>"));
        }
        assert_eq!(found, [(1, "a"), (2, "b"), (3, "c"), (2, "d"), (1, "e")]);
    }
}

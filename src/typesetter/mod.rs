//! The report set in type: from finished values to the archival PDF, or to pictures of its pages.
//!
//! Takes a [`Manuscript`], gives a [`Pdf`], an [`ofd`], or the [`Pictures`] of its pages for who only
//! wants to look: all are made of one layout, which has passed every check. (What can be shown of a job that
//! has not is a [`proof`], and never a document.) Never reads a clock, the
//! network or a file beyond the faces, so the same manuscript gives the same bytes anywhere. If we
//! crash here, nothing has been stored or published: the child is gone, and the job is set again in
//! another.

mod fit;
mod fonts;
mod joiner;
mod manuscript;
pub mod ofd;
mod pictures;
mod pool;
pub mod proof;
mod provenance;
mod seal;
mod templates;
mod world;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::json;
use typst::diag::{SourceDiagnostic, SourceResult, Warned};
use typst::foundations::Smart;
use typst::layout::{Frame, FrameItem};
use typst::text::is_default_ignorable;
use typst_layout::PagedDocument;
use typst_pdf::{PdfOptions, PdfStandard, PdfStandards};

pub use fonts::{Fonts, Role};
pub use manuscript::{texts, title};
pub use pictures::{Pictures, Ppi};
pub use pool::{Census, Pool, Program, child, confine};
pub use provenance::{DATA, PROVENANCE, Provenance, Unattached, attached};
pub use seal::Place;
pub use templates::{Edition, Templates};

use crate::config::{self, Format, Settings};
use crate::problem::{Code, Failure, Outage, Part, Problem, Rejection};
use crate::report::Editions;
use crate::webpage;
use fit::Misfit;
use world::{Desk, Shelf};

/// The engine and its version.
pub const ENGINE: &str = "typst 0.15.1";

/// The standards that every PDF keeps, as the manifest names them.
pub const STANDARD: &str = "PDF/A-3a, PDF/UA-1";

/// Everything the typesetter needs of a report: finished values, nothing to compute.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manuscript {
    /// The sender's key, for `provenance.json`.
    pub job_id: String,
    /// The edition that lays it out: `annual-report/2021`.
    pub template: String,
    /// What the PDF's identifier is made from: the digest of the job.
    pub ident: String,
    /// The JSON that the template lays out.
    pub view: String,
    /// The canonical JSON of the job's `data`, attached as `report.json`.
    pub data: String,
    /// JSON Pointer and text of everything that the pages show and that the sender wrote.
    pub texts: Vec<(String, String)>,
    /// The document's title, on one line.
    pub title: String,
    /// The document's author: the agency.
    pub author: String,
    /// What the document is.
    pub description: String,
    /// The document's keywords.
    pub keywords: Vec<String>,
    /// The document's date: year, month, day.
    pub date: (i32, u8, u8),
    /// What is to be made beside the PDF.
    pub companions: Vec<Format>,
    /// Whether it is asked where the template has the place of a seal.
    pub sealed: bool,
    /// What the PDF says of how it was made. None: the truth. Only who checks a PDF of another
    /// version sets it, to see whether anything but the versions differs.
    pub made: Option<Box<Provenance>>,
}

/// A report's PDF.
#[derive(Clone)]
pub struct Pdf {
    /// The file.
    pub bytes: Vec<u8>,
    /// The same report in the other formats that were asked for, in their order.
    pub companions: Vec<(Format, Vec<u8>)>,
    /// Pages.
    pub pages: usize,
    /// PostScript names of the faces embedded, sorted.
    pub fonts: Vec<String>,
    /// The rare characters (生僻字) that a face of the role `fallback` has drawn, in their order.
    pub rare: Vec<Rare>,
    /// The place of a seal, where it was asked for and the template declares one.
    pub seal: Option<Place>,
    /// How long it took.
    pub took: Took,
}

/// How long it took is no part of what was made.
impl PartialEq for Pdf {
    fn eq(&self, other: &Pdf) -> bool {
        let names = (&self.fonts, &self.rare) == (&other.fonts, &other.rare);
        let files = (&self.bytes, &self.companions) == (&other.bytes, &other.companions);
        files && self.pages == other.pages && names && self.seal == other.seal
    }
}

/// How long the making of a PDF took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Took {
    /// Until the pages were laid out and checked.
    pub layout: Duration,
    /// The export that followed.
    pub export: Duration,
}

/// A character that no face of the text has, drawn by one for rare characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Rare {
    /// The character.
    #[serde(rename = "char")]
    pub character: char,
    /// Its code point, as `U+20087`.
    pub code_point: String,
    /// The PostScript name of the face.
    pub face: String,
}

impl std::fmt::Debug for Pdf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Pdf {
            bytes,
            companions: _,
            pages,
            fonts,
            rare,
            seal: _,
            took: _,
        } = self;
        write!(
            f,
            "Pdf {{ {} bytes, {pages} pages, fonts {fonts:?}, rare {rare:?} }}",
            bytes.len()
        )
    }
}

/// Sets reports, one after another. Built once: the faces mapped, the templates parsed.
pub struct Typesetter {
    fonts: Fonts,
    templates: Templates,
    shelf: Shelf,
    standards: PdfStandards,
    max_pages: usize,
    bands: config::Bands,
}

impl Typesetter {
    /// A typesetter with the faces and templates of the settings.
    ///
    /// # Errors
    /// What [`Fonts::load`], [`Templates::load`] and [`Typesetter::new`] say.
    pub fn load(settings: &Settings) -> Result<Self, Outage> {
        let fonts = Fonts::load(&settings.fonts)?;
        let templates = Templates::load(settings.templates.folder())?;
        Typesetter::new(fonts, templates, &settings.render)
    }

    /// A typesetter with these faces and templates.
    ///
    /// # Errors
    /// When a file of the tree has a name that no template could import, or isn't UTF-8.
    pub fn new(
        fonts: Fonts,
        templates: Templates,
        render: &config::Render,
    ) -> Result<Self, Outage> {
        let shelf = Shelf::new(&templates, &fonts, render)?;
        let standards = PdfStandards::new(&[PdfStandard::A_3a, PdfStandard::Ua_1])
            .map_err(|error| Outage::new(Part::Typesetter, error.message().as_str()))?;
        Ok(Typesetter {
            fonts,
            templates,
            shelf,
            standards,
            max_pages: render.max_pages,
            bands: render.bands,
        })
    }

    /// The faces.
    pub fn fonts(&self) -> &Fonts {
        &self.fonts
    }

    /// The templates.
    pub fn templates(&self) -> &Templates {
        &self.templates
    }

    /// The form of each edition, for reading jobs.
    pub fn editions(&self) -> Editions {
        self.templates.forms()
    }

    /// Sets one report. Blocks for as long as that takes, tens of milliseconds when warm.
    ///
    /// # Errors
    /// `E-TEMPLATE` when there is no such edition; `E-GLYPH` for every character that can't be
    /// drawn; `E-LAYOUT` when it has too many pages, something stands out of the text block or of
    /// its cell, or the engine refuses.
    pub fn typeset(&self, manuscript: &Manuscript) -> Result<Pdf, Failure> {
        let (result, remarks) = self.set(manuscript);
        remarks.iter().for_each(|remark| remark.log(manuscript));
        result
    }

    /// The pages as OFD.
    fn as_ofd(
        &self,
        document: &PagedDocument,
        manuscript: &Manuscript,
    ) -> Result<Vec<u8>, Failure> {
        let edition = self.templates.edition(&manuscript.template);
        let edition = edition.ok_or_else(|| self.unknown(&manuscript.template))?;
        let mut made = self.made(manuscript, edition);
        // Who checks an OFD has its own.
        if made.standard == STANDARD {
            ofd::STANDARD.clone_into(&mut made.standard);
        }
        Ok(ofd::of(document, manuscript, &made, &self.fonts)?)
    }

    /// What a file says of how it was made.
    fn made(&self, manuscript: &Manuscript, edition: &Edition) -> Provenance {
        match &manuscript.made {
            Some(made) => Provenance::clone(made),
            None => Provenance::of(manuscript, edition, self.fonts.sha256(), self.bands),
        }
    }

    /// Sets one report as pictures of its pages, a file a page. They show what the PDF shows; only
    /// what the export to PDF itself refuses, as characters of a template that PDF/A can't hold,
    /// is not seen here.
    ///
    /// # Errors
    /// As [`Typesetter::typeset`].
    pub fn picture(
        &self,
        manuscript: &Manuscript,
        pictures: Pictures,
    ) -> Result<Vec<Vec<u8>>, Failure> {
        let mut remarks = Vec::new();
        let result = self.lay_out(manuscript, &mut remarks, |document, _| {
            Ok(pictures::of(document, pictures))
        });
        remarks.iter().for_each(|remark| remark.log(manuscript));
        result
    }

    /// Lays out one report and makes every check, and gives the number of its pages. Everything
    /// but the export, and what only that refuses.
    ///
    /// # Errors
    /// As [`Typesetter::typeset`].
    pub fn pages(&self, manuscript: &Manuscript) -> Result<usize, Failure> {
        let mut remarks = Vec::new();
        let result = self.lay_out(manuscript, &mut remarks, |document, _| {
            Ok(document.pages().len())
        });
        remarks.iter().for_each(|remark| remark.log(manuscript));
        result
    }

    /// Sets the samples of [`Templates::tried`], which also warms everything.
    ///
    /// # Errors
    /// What the engine says of each template that fails, with path, line and column.
    pub fn check(&self) -> Result<(), Outage> {
        let mut wrong = Vec::new();
        for edition in self.templates.tried() {
            let sample = Manuscript::sample(&self.templates, edition);
            let (result, remarks) = self.set(&sample);
            remarks.iter().for_each(|remark| remark.log(&sample));
            match result {
                Ok(_) => {}
                Err(Failure::Outage(outage)) => return Err(outage),
                Err(Failure::Rejected(rejection)) => wrong.extend(
                    rejection
                        .problems()
                        .iter()
                        .map(|p| format!("{}: {}", edition.name, p.message)),
                ),
            }
        }
        if wrong.is_empty() {
            return Ok(());
        }
        let text = format!("the samples can't be set:\n  {}", wrong.join("\n  "));
        Err(Outage::new(Part::Templates, text))
    }

    /// Sets one report, and says what is to be logged of it.
    fn set(&self, manuscript: &Manuscript) -> (Result<Pdf, Failure>, Vec<Remark>) {
        let mut remarks = Vec::new();
        let made = manuscript.made.as_deref();
        let product = made.map_or(crate::PRODUCT, |made| &made.product);
        let began = Instant::now();
        let result = self.lay_out(manuscript, &mut remarks, |document, ink| {
            let options = PdfOptions {
                ident: Smart::Custom(manuscript.ident.clone()),
                creator: Smart::Custom(Some(product.to_owned())),
                timestamp: None,
                page_ranges: None,
                standards: self.standards.clone(),
                tagged: true,
                pretty: false,
            };
            let layout = began.elapsed();
            let mut bytes = typst_pdf::pdf(document, &options)?;
            // The line end after `%%EOF` that ISO 19005-3, 6.1.3 allows. Without it the first object
            // that a signature adds begins in this line, which 6.1.9 forbids.
            bytes.push(b'\n');
            let companions = manuscript.companions.iter();
            let companions = companions
                .map(|format| Ok((*format, self.companion(*format, document, manuscript)?)));
            let companions = match companions.collect::<Result<_, Failure>>() {
                Ok(companions) => companions,
                Err(failure) => return Ok(Err(failure)),
            };
            let export = began.elapsed() - layout;
            Ok(Ok(Pdf {
                bytes,
                companions,
                pages: document.pages().len(),
                fonts: ink.fonts.into_iter().collect(),
                rare: ink.rare.into_iter().collect(),
                seal: manuscript.sealed.then(|| seal::place(document)).flatten(),
                took: Took { layout, export },
            }))
        });
        let result = result.and_then(|made| made);
        (result, remarks)
    }

    /// What stands beside the PDF in a format.
    fn companion(
        &self,
        format: Format,
        document: &PagedDocument,
        manuscript: &Manuscript,
    ) -> Result<Vec<u8>, Failure> {
        match format {
            Format::Pdf => {
                Err(Outage::new(Part::Typesetter, "the PDF is no companion of itself").into())
            }
            Format::Ofd => self.as_ofd(document, manuscript),
            Format::Html => Ok(self.web_page(manuscript)?.into_bytes()),
        }
    }

    /// The report as a page for the web.
    fn web_page(&self, manuscript: &Manuscript) -> Result<String, Outage> {
        let form = self.templates.form(&manuscript.template);
        let form = form.ok_or_else(|| Outage::new(Part::Templates, "the form is gone"))?;
        let unfit = |error| {
            let text = format!(
                "the view of a report for {} is not its form's",
                manuscript.template
            );
            Outage::because(Part::Typesetter, text, error)
        };
        webpage::page(&webpage::Source {
            form,
            view: &serde_json::from_str(&shown(&manuscript.view)).map_err(unfit)?,
            title: &shown(&manuscript.title),
            description: &shown(&manuscript.description),
            keywords: &manuscript.keywords,
            data: &manuscript.data,
        })
        .map_err(unfit)
    }

    /// Lays out one report, makes every check, and only then exports it.
    fn lay_out<T>(
        &self,
        manuscript: &Manuscript,
        remarks: &mut Vec<Remark>,
        export: impl FnOnce(&PagedDocument, Ink) -> SourceResult<T>,
    ) -> Result<T, Failure> {
        let edition = self.templates.edition(&manuscript.template);
        let edition = edition.ok_or_else(|| self.unknown(&manuscript.template))?;
        if let Some(undrawable) = self.fonts.undrawable(&manuscript.texts) {
            return Err(undrawable.into());
        }
        let (view, about) = (shown(&manuscript.view), about(manuscript, edition));
        let made = self.made(manuscript, edition);
        let desk = Desk::new(
            &self.shelf,
            &self.fonts,
            edition,
            &view,
            shown(&about).into(),
            &manuscript.data,
            made.json(),
        )?;

        let _evict = Evict;
        let Warned { output, warnings } = typst::compile::<PagedDocument>(&desk);
        remarks.extend(
            warnings
                .iter()
                .map(|warning| Remark::new(Grade::Warn, desk.explain(warning))),
        );
        let refused = |diagnostics: &[SourceDiagnostic], remarks: &mut Vec<Remark>| {
            let lines = diagnostics
                .iter()
                .map(|diagnostic| desk.explain(diagnostic))
                .collect::<Vec<_>>();
            remarks.extend(
                lines
                    .iter()
                    .map(|line| Remark::new(Grade::Error, line.clone())),
            );
            Rejection::new(
                lines
                    .iter()
                    .zip(diagnostics)
                    .map(|(line, d)| refusal(line, &d.message))
                    .collect(),
            )
        };
        let document = output.map_err(|diagnostics| refused(&diagnostics, remarks))?;
        let document = joiner::without(document);
        let pages = document.pages().len();
        if pages > self.max_pages {
            return Err(Rejection::from(too_long(pages, self.max_pages)).into());
        }
        let mut ink = Ink {
            fallback: self.fonts.fallback(),
            ..Ink::default()
        };
        document
            .pages()
            .iter()
            .for_each(|page| ink.read(&page.frame));
        if !ink.missing.is_empty() {
            let places = |c: char| {
                manuscript
                    .texts
                    .iter()
                    .filter(move |(_, text)| text.contains(c))
            };
            let problems = ink.missing.iter().flat_map(|&c| {
                let mut paths = places(c).map(|(path, _)| path.as_str()).collect::<Vec<_>>();
                if paths.is_empty() {
                    paths.push("");
                }
                paths.into_iter().map(move |path| undrawable(path, c))
            });
            return Err(Rejection::new(problems.collect()).into());
        }
        let misfits = fit::misfits(&document);
        if !misfits.is_empty() {
            let problems = misfits
                .iter()
                .map(|misfit| unfit(misfit, &manuscript.texts));
            return Err(Rejection::new(problems.collect()).into());
        }
        export(&document, ink)
            .map_err(|diagnostics| refused(&diagnostics, remarks))
            .map_err(Failure::from)
    }

    fn unknown(&self, template: &str) -> Rejection {
        let known = self
            .templates
            .editions()
            .map(|edition| edition.name.as_str());
        let known = known.collect::<Vec<_>>().join(", ");
        Rejection::from(
            Problem::new(
                Code::TEMPLATE,
                "/template",
                format!("there is no template {template:?}; there are {known}"),
                format!("没有模板{template:?}；现有{known}"),
            )
            .with(known, template),
        )
    }
}

impl Fonts {
    /// `E-GLYPH` for every character of a report's [`texts`] that can't be drawn, once for each
    /// text; none, where there is none. What is found without laying anything out.
    pub fn undrawable(&self, texts: &[(String, String)]) -> Option<Rejection> {
        let mut problems = Vec::new();
        for (path, text) in texts {
            let mut seen = BTreeSet::new();
            for c in text.chars().filter(|&c| !self.covers(c)) {
                if seen.insert(c) {
                    problems.push(undrawable(path, c));
                }
            }
        }
        (!problems.is_empty()).then(|| Rejection::new(problems))
    }
}

/// Text without what is left out of the page.
fn shown(text: &str) -> Cow<'_, str> {
    if text.contains(fonts::left_out) {
        text.replace(fonts::left_out, "").into()
    } else {
        text.into()
    }
}

/// What the frame reads of the document.
fn about(manuscript: &Manuscript, edition: &Edition) -> String {
    let authors = Some(&manuscript.author).filter(|author| !author.is_empty());
    let (year, month, day) = manuscript.date;
    json!({
        "title": manuscript.title,
        "author": authors.into_iter().collect::<Vec<_>>(),
        "description": manuscript.description,
        "keywords": manuscript.keywords,
        "year": year,
        "month": month,
        "day": day,
        "entrypoint": format!("/{}", edition.entrypoint),
    })
    .to_string()
}

/// `E-GLYPH` for a character of the text at `path`.
fn undrawable(path: &str, c: char) -> Problem {
    let point = format!("U+{:04X}", u32::from(c));
    // What can't be seen, or would spoil the message that names it.
    let unseen =
        c.is_control() || c.is_whitespace() || fonts::private(c) || is_default_ignorable(c);
    let (name, name_zh) = if unseen {
        (point.clone(), point)
    } else {
        (format!("“{c}” ({point})"), format!("“{c}”（{point}）"))
    };
    let fix = "add a face that has it to fonts.more, or write another";
    let fix_zh = "请在 fonts.more 中增加含有该字的字体，或改用其他字";
    Problem::new(
        Code::GLYPH,
        path,
        format!("the character {name} cannot be drawn by any configured font; {fix}"),
        format!("字符{name_zh}在所配置的字体中没有字形；{fix_zh}"),
    )
}

/// `E-LAYOUT` for too many pages.
fn too_long(pages: usize, limit: usize) -> Problem {
    Problem::new(
        Code::LAYOUT,
        "",
        format!(
            "the report has {pages} pages and may have {limit} (render.max_pages); shorten it or \
             raise the limit"
        ),
        format!("报告共{pages}页，超过上限{limit}页（render.max_pages）；请精简内容或提高上限"),
    )
    .with(limit, pages)
}

/// `E-LAYOUT` for what does not fit.
fn unfit(misfit: &Misfit, texts: &[(String, String)]) -> Problem {
    match misfit {
        Misfit::Page(page, width, height) => Problem::new(
            Code::LAYOUT,
            "",
            format!(
                "page {page} is {width:.0} × {height:.0} mm, larger than A4; mend the template"
            ),
            format!("第{page}页为{width:.0}×{height:.0}毫米，大于A4；请修改模板"),
        ),
        Misfit::Block { page, text } => Problem::new(
            Code::LAYOUT,
            sender_of(text, texts),
            format!(
                "“{text}” on page {page} stands out of the text block; shorten it, or mend the \
                 template"
            ),
            format!("第{page}页的“{text}”超出版心；请缩短，或修改模板"),
        ),
        Misfit::Cell {
            page,
            row,
            column,
            text,
        } => Problem::new(
            Code::LAYOUT,
            sender_of(text, texts),
            format!(
                "“{text}” in the row 「{row}」, column 「{column}」 of a table on page {page} does \
                 not fit its cell; shorten it, or mend the template"
            ),
            format!(
                "第{page}页表格「{row}」行「{column}」列中的“{text}”超出单元格；请缩短，或修改模板"
            ),
        ),
    }
}

/// The place of the one text of the sender's that holds a text of the page, or that it holds.
fn sender_of<'a>(shown: &str, texts: &'a [(String, String)]) -> &'a str {
    let holds = |text: &str| !text.is_empty() && (text.contains(shown) || shown.contains(text));
    let mut places = texts.iter().filter(|(_, text)| holds(text));
    match (places.next(), places.next()) {
        (Some((place, _)), None) => place,
        _ => "",
    }
}

/// What the engine refused, as a problem of the job.
fn refusal(line: &str, message: &str) -> Problem {
    // What the export says of characters that PDF/A can't hold. A check of the texts comes first,
    // so this is about text of the template's own, or a gap in that check.
    let glyph = message.contains("could not be displayed with")
        || message.contains("codepoint")
        || message.contains("code point");
    if glyph {
        let text = format!("a character cannot be drawn or archived: {line}");
        return Problem::new(
            Code::GLYPH,
            "",
            text,
            format!("有字符无法排印或归档：{line}"),
        );
    }
    Problem::new(
        Code::LAYOUT,
        "",
        format!("the report could not be laid out: {line}"),
        format!("报告无法排版：{line}"),
    )
}

/// What stands on the pages.
#[derive(Default)]
struct Ink<'a> {
    fallback: BTreeSet<&'a str>,
    fonts: BTreeSet<String>,
    rare: BTreeSet<Rare>,
    missing: BTreeSet<char>,
}

impl Ink<'_> {
    fn read(&mut self, frame: &Frame) {
        for (_, item) in frame.items() {
            match item {
                FrameItem::Group(group) => self.read(&group.frame),
                FrameItem::Text(text) => {
                    let font = text.font.font();
                    let name = font
                        .post_script_name()
                        .unwrap_or_else(|| font.info().family.clone());
                    if self.fallback.contains(font.info().family.as_str()) {
                        let drawn = text.text.chars().filter(|c| !c.is_whitespace());
                        self.rare.extend(drawn.map(|character| Rare {
                            character,
                            code_point: format!("U+{:04X}", u32::from(character)),
                            face: name.clone(),
                        }));
                    }
                    self.fonts.insert(name);
                    for glyph in text.glyphs.iter().filter(|glyph| glyph.id == 0) {
                        self.missing.extend(text.text[glyph.range()].chars());
                    }
                }
                _ => {}
            }
        }
    }
}

/// Something to be logged of a report: by the caller, or by the parent of the child that set it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Remark {
    grade: Grade,
    text: String,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
enum Grade {
    Warn,
    Error,
}

impl Remark {
    fn new(grade: Grade, text: String) -> Self {
        Remark { grade, text }
    }

    fn log(&self, manuscript: &Manuscript) {
        self.log_of(&manuscript.template, &manuscript.ident);
    }

    fn log_of(&self, template: &str, job: &str) {
        match self.grade {
            Grade::Warn => tracing::warn!(
                template,
                job.digest = job,
                "the engine warns: {}",
                self.text
            ),
            Grade::Error => tracing::error!(
                template,
                job.digest = job,
                "the engine refused: {}",
                self.text
            ),
        }
    }
}

/// Throws out of the engine's caches what the last report didn't use, whichever way we leave.
/// At age 1 templates and faces stay and memory stays flat.
struct Evict;

impl Drop for Evict {
    fn drop(&mut self) {
        typst::comemo::evict(1);
    }
}

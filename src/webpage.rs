//! A report as a page for the web: one file of HTML, whole in itself.
//!
//! Takes what a template sees of a report, its form and its data, gives the text of the page. All
//! forms are set by their tables alone, in the order of the form: no template is asked. The page has
//! no script and nothing from elsewhere, and all text in it is data. Never reads a file or a clock,
//! so the same report gives the same bytes. If we crash here, nothing has been stored.

mod table;

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::report::form::{Field, FieldKind, Form};
use table::Section;

/// The page's whole style.
const STYLE: &str = include_str!("webpage/style.css");

/// Nothing but the page's own style, not even where somebody else's text would ask for it.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let digest = BASE64.encode(Sha256::digest(STYLE));
    format!("default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'")
});

/// Sections and attachments from which on a page has a list of them.
const CONTENTS: usize = 3;

/// What a page is made of.
pub struct Source<'a> {
    /// The form that the report is in.
    pub form: &'a Form,
    /// The report as its template sees it ([`crate::report::view`]).
    pub view: &'a Value,
    /// The title on one line.
    pub title: &'a str,
    /// What the document is.
    pub description: &'a str,
    /// Its keywords.
    pub keywords: &'a [String],
    /// The canonical JSON of the job's `data`.
    pub data: &'a str,
}

/// A piece of the text, as the view has it.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Block {
    Paragraph {
        level: u8,
        lead: String,
        text: String,
    },
    Heading {
        level: u8,
        text: String,
    },
    Table {
        columns: Vec<String>,
        rows: Vec<Vec<String>>,
        caption: Option<String>,
    },
}

/// An attachment.
#[derive(Deserialize)]
struct Part {
    title: String,
    blocks: Vec<Block>,
}

/// What the list of contents names: an anchor and its heading.
type Contents = Vec<(String, String)>;

/// The page of a report.
///
/// # Errors
/// When the view is not one of the form's.
pub fn page(source: &Source) -> Result<String, serde_json::Error> {
    let Source {
        form,
        view,
        title,
        description,
        keywords,
        data,
    } = source;
    let author = text_of(&view[&form.fields[form.author].field]);
    let mut writer = Writer {
        view,
        contents: Vec::new(),
        tables: 0,
    };
    let is_text = |field: &Field| {
        field.heading.is_some() || matches!(field.kind, FieldKind::Blocks(_) | FieldKind::Parts)
    };
    let first = form.fields.iter().position(is_text);
    let (before, after) = form.fields.split_at(first.unwrap_or(form.fields.len()));
    let mut body = Vec::new();
    for field in after {
        body.push(writer.field(field)?);
    }
    let attachments = writer.attachments(after)?;
    let contents = &writer.contents;
    let listed = contents.len() >= CONTENTS;
    let date = form.date.map(|date| &form.fields[date]);
    let signed = date.map(|field| text_of(&view[&field.field]));
    let signed = signed.filter(|date| !date.is_empty());
    // The date is in the signature, if it does not stand above.
    let last = after
        .iter()
        .filter(|field| date.is_none_or(|date| date.field != field.field));
    let markup = html! {
        (DOCTYPE)
        html lang="zh-CN" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(*POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                meta name="description" content=(description);
                meta name="keywords" content=(keywords.join(","));
                meta name="author" content=(author);
                meta name="generator" content=(crate::PRODUCT);
                style { (PreEscaped(STYLE)) }
            }
            body {
                a.skip href="#text" { "跳到正文" }
                main {
                    header {
                        h1 { (lines(&text_of(&view["title"]))) }
                        (facts(view, before.iter()))
                    }
                    div.columns[listed] {
                        @if listed {
                            nav aria-labelledby="contents" {
                                p #contents { "目录" }
                                ol { @for (anchor, heading) in contents {
                                    li { a href={ "#" (anchor) } { (heading) } }
                                } }
                            }
                        }
                        article #text {
                            @for piece in &body { (piece) }
                            @if let Some(date) = signed {
                                p.signature { (author) br; (date) }
                            }
                            (facts(view, last))
                            (attachments)
                        }
                    }
                }
                footer { p { "格式依据：" (form.notice) } }
                script type="application/json" id="report" { (PreEscaped(harmless(data))) }
            }
        }
    };
    Ok(markup.into_string() + "\n")
}

/// JSON in which nothing ends the element that it stands in: `<` is only in strings there.
fn harmless(json: &str) -> String {
    json.replace('<', "\\u003c")
}

/// The text of a field that is one; a year in its digits.
fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Array(lines) => {
            let lines = lines.iter().filter_map(Value::as_str);
            lines.collect::<Vec<_>>().join("\n")
        }
        _ => String::new(),
    }
}

/// Text with its chosen line breaks.
fn lines(text: &str) -> Markup {
    html! {
        @for (at, line) in text.lines().enumerate() {
            @if at > 0 { br; }
            (line)
        }
    }
}

/// The fields that are a word or two, each with what the form calls it.
fn facts<'a>(view: &Value, fields: impl Iterator<Item = &'a Field>) -> Markup {
    let short =
        |field: &&Field| field.kind.is_short() && field.heading.is_none() && field.field != "title";
    let facts = fields.filter(short);
    let facts = facts.map(|field| (&field.label, text_of(&view[&field.field])));
    let facts: Vec<_> = facts.filter(|(_, text)| !text.is_empty()).collect();
    html! {
        @if !facts.is_empty() {
            dl.facts { @for (label, text) in facts {
                div { dt { (label) } dd { (lines(&text)) } }
            } }
        }
    }
}

/// What writes the page's fields, one after another.
struct Writer<'a> {
    view: &'a Value,
    contents: Contents,
    /// Tables so far.
    tables: usize,
}

impl Writer<'_> {
    /// A field that is text, or a table with the text around it. Attachments come later.
    fn field(&mut self, field: &Field) -> Result<Markup, serde_json::Error> {
        let Some(heading) = &field.heading else {
            return match field.kind {
                FieldKind::Blocks(_) => {
                    let blocks = Vec::deserialize(&self.view[&field.field])?;
                    Ok(self.prose(&blocks, 1))
                }
                _ => Ok(html! {}),
            };
        };
        let found = &self.view["sections"][&field.field];
        if found.is_null() {
            // Nothing is left of a table that a job leaves out.
            return Ok(html! {});
        }
        let anchor = self.anchor(heading);
        let content = match &field.kind {
            FieldKind::Table(table) => {
                let around = Section::deserialize(found)?;
                html! {
                    (self.prose(&around.introduction, 2))
                    (self.official(found, table, heading)?)
                    @for note in &around.notes { p.note { (note) } }
                }
            }
            FieldKind::Blocks(_) => self.prose(&Vec::deserialize(&found["blocks"])?, 2),
            _ => html! { p { (lines(&text_of(&found["blocks"]))) } },
        };
        Ok(html! { section aria-labelledby=(anchor) { h2 id=(anchor) { (heading) } (content) } })
    }

    /// What is attached to the text, each with a title.
    fn attachments(&mut self, fields: &[Field]) -> Result<Markup, serde_json::Error> {
        let mut all = Vec::new();
        for field in fields {
            if !matches!(field.kind, FieldKind::Parts) {
                continue;
            }
            let found = match &field.heading {
                None => &self.view[&field.field],
                Some(_) => &self.view["sections"][&field.field]["blocks"],
            };
            let parts: Vec<Part> = Vec::deserialize(found)?;
            let number = |at: usize| match parts.len() {
                1 => String::new(),
                _ => (at + 1).to_string(),
            };
            for (at, part) in parts.iter().enumerate() {
                let label = format!("{}{}", field.label, number(at));
                let anchor = self.anchor(&format!("{label} {}", part.title.replace('\n', "")));
                all.push(html! {
                    section.attachment aria-labelledby=(anchor) {
                        h2 id=(anchor) { span.kind { (label) } " " (lines(&part.title)) }
                        (self.prose(&part.blocks, 2))
                    }
                });
            }
        }
        Ok(html! { @for part in &all { (part) } })
    }

    /// The anchor of a heading, which the list of contents has.
    fn anchor(&mut self, heading: &str) -> String {
        let anchor = format!("s{}", self.contents.len() + 1);
        self.contents.push((anchor.clone(), heading.to_owned()));
        anchor
    }

    /// Text under a heading of some rank. A heading in it is a rank below the one that it stands
    /// under, whatever ranks the official levels leave out.
    fn prose(&mut self, blocks: &[Block], under: usize) -> Markup {
        let mut open: Vec<u8> = Vec::new();
        let mut rank = |level: u8| {
            while open.last().is_some_and(|last| *last >= level) {
                open.pop();
            }
            open.push(level);
            under + open.len()
        };
        let pieces = blocks.iter().enumerate().map(|(at, block)| match block {
            Block::Heading { level, text } => heading(rank(*level), text),
            Block::Paragraph { level, lead, text }
                if text.is_empty() && stands_over(*level, blocks.get(at + 1)) =>
            {
                heading(rank(*level), lead)
            }
            Block::Paragraph { level, lead, text } => html! {
                p {
                    @if !lead.is_empty() { b.{ "l" (level) } { (lead) } }
                    (lines(text))
                }
            },
            Block::Table {
                columns,
                rows,
                caption,
            } => self.free_table(columns, rows, caption.as_deref()),
        });
        let pieces: Vec<Markup> = pieces.collect();
        html! { @if !pieces.is_empty() { div.prose { @for piece in &pieces { (piece) } } } }
    }
}

/// Whether a numbered opening sentence that is a paragraph of its own is a heading: what follows has
/// no number, or one of a deeper level.
fn stands_over(level: u8, next: Option<&Block>) -> bool {
    level > 0
        && next.is_some_and(|next| match next {
            Block::Table { .. } => true,
            Block::Paragraph { level: other, .. } => *other == 0 || *other > level,
            Block::Heading { level: other, .. } => *other > level,
        })
}

fn heading(rank: usize, text: &str) -> Markup {
    html! {
        @match rank {
            2 => h2 { (text) },
            3 => h3 { (text) },
            4 => h4 { (text) },
            5 => h5 { (text) },
            _ => h6 { (text) },
        }
    }
}

//! The word joiner (U+2060), by which templates keep a number and its unit on one line, and the
//! zero width space (U+200B), by which they let a long address break.
//!
//! They do their work while lines are broken. Left in the pages, they would be in the text layer
//! too: a search for 13561条 would find nothing, and a copy would hold what nobody sent.

use typst::layout::{Frame, FrameItem};
use typst::model::Document as _;
use typst::text::TextItem;
use typst_layout::PagedDocument;

/// What tells where lines may break, and has neither width nor ink.
const JOINERS: [char; 2] = ['\u{2060}', '\u{200B}'];

/// The document without them.
pub(super) fn without(document: PagedDocument) -> PagedDocument {
    if !document.pages().iter().any(|page| joined(&page.frame)) {
        return document;
    }
    let mut pages = document.pages().to_vec();
    for page in &mut pages {
        part(&mut page.frame);
    }
    PagedDocument::new(pages.into(), document.info().clone())
}

fn joined(frame: &Frame) -> bool {
    frame.items().any(|(_, item)| match item {
        FrameItem::Group(group) => joined(&group.frame),
        FrameItem::Text(text) => text.text.contains(JOINERS),
        _ => false,
    })
}

fn part(frame: &mut Frame) {
    if !joined(frame) {
        return;
    }
    frame.retain(|item| {
        match item {
            FrameItem::Group(group) => part(&mut group.frame),
            FrameItem::Text(text) if text.text.contains(JOINERS) => strip(text),
            _ => {}
        }
        true
    });
}

/// Takes the joiners out of a run; its glyphs then stand for what is left of their text.
fn strip(text: &mut TextItem) {
    let full = text.text.clone();
    // A glyph's range is of bytes.
    let left = |end: u16| {
        let before = &full[..usize::from(end)];
        let kept = before.chars().filter(|c| !JOINERS.contains(c));
        u16::try_from(kept.map(char::len_utf8).sum::<usize>()).unwrap_or(end)
    };
    for glyph in &mut text.glyphs {
        glyph.range = left(glyph.range.start)..left(glyph.range.end);
    }
    // A joiner that has a glyph of its own has one without width or ink.
    text.glyphs.retain(|glyph| !glyph.range.is_empty());
    text.text = out_of(&full).into();
}

/// A text without them.
pub(super) fn out_of(text: &str) -> String {
    text.replace(JOINERS, "")
}

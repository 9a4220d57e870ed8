//! Where a seal goes: over what the template has labelled `<seal>`, the signature and the date
//! (GB/T 9704-2012, 7.3.5).
//!
//! Takes finished pages, gives the room that the text of that element takes. Never moves anything:
//! a document is the same whether its place is looked for or not. If we crash here, nothing is made.

use serde::{Deserialize, Serialize};
use typst::foundations::{Label, Selector};
use typst::introspection::{Introspector, Tag};
use typst::layout::{FrameItem, Point, Rect, Transform};
use typst::utils::PicoStr;
use typst_layout::PagedDocument;

use super::fit::{around, each_item, union};

/// The label by which a template declares it.
const SEAL: &str = "seal";

/// The room that a seal is centred on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Place {
    /// The page, from 1.
    pub page: usize,
    /// Left, bottom, right and top in points, from the lower left corner of the page as in the PDF.
    pub rect: [f64; 4],
}

/// The place that the template declares: that of the last element so labelled, on its last page.
pub(super) fn place(document: &PagedDocument) -> Option<Place> {
    let selector = Selector::Label(Label::new(PicoStr::intern(SEAL))?);
    let location = document
        .introspector()
        .query(&selector)
        .last()?
        .location()?;
    let mut found = None;
    let mut inside = false;
    for (page, laid_out) in (1..).zip(document.pages()) {
        let mut room: Option<Rect> = None;
        each_item(&laid_out.frame, Transform::identity(), &mut |item, ts| {
            match item {
                FrameItem::Text(text) if inside && !text.text.trim().is_empty() => {
                    // The square of a Chinese character: it stands 0.12 of it below the line.
                    let from = Point::with_y(text.size * -0.88);
                    let to = Point::new(text.width(), text.size * 0.12);
                    let own = around(from, to, ts);
                    room = Some(room.map_or(own, |all| union(all, own)));
                }
                FrameItem::Tag(Tag::Start(elem, _)) if elem.location() == Some(location) => {
                    inside = true;
                }
                FrameItem::Tag(Tag::End(ended, ..)) if *ended == location => inside = false,
                _ => {}
            }
        });
        if let Some(room) = room {
            let height = laid_out.frame.height();
            let [left, right] = [room.min.x, room.max.x].map(|x| x.to_pt());
            let [bottom, top] = [room.max.y, room.min.y].map(|y| (height - y).to_pt());
            // To a hundredth, which nobody sees.
            let rect = [left, bottom, right, top].map(|at| (at * 100.0).round() / 100.0);
            found = Some(Place { page, rect });
        }
    }
    found
}

//! Where a seal goes: over what the template has labelled `<seal>`, the signature and the date
//! (GB/T 9704-2012, 7.3.5).
//!
//! Takes finished pages, gives the room that the text of that element takes. Never moves anything:
//! a document is the same whether its place is looked for or not. If we crash here, nothing is made.

use serde::{Deserialize, Serialize};
use typst::foundations::{Label, Selector};
use typst::introspection::{Introspector, Location, Tag};
use typst::layout::{Frame, FrameItem, Point, Rect, Transform};
use typst::utils::PicoStr;
use typst_layout::PagedDocument;

use super::fit::{around, union};

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
    let mut walk = Walk {
        location,
        inside: false,
        room: None,
    };
    for (page, laid_out) in (1..).zip(document.pages()) {
        walk.frame(&laid_out.frame, Transform::identity());
        if let Some(room) = walk.room.take() {
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

struct Walk {
    location: Location,
    inside: bool,
    room: Option<Rect>,
}

impl Walk {
    fn frame(&mut self, frame: &Frame, ts: Transform) {
        for (at, item) in frame.items() {
            let ts = ts.pre_concat(Transform::translate(at.x, at.y));
            match item {
                FrameItem::Group(group) => {
                    self.frame(&group.frame, ts.pre_concat(group.transform));
                }
                FrameItem::Text(text) if self.inside && !text.text.trim().is_empty() => {
                    // The square of a Chinese character: it stands 0.12 of it below the line.
                    let from = Point::with_y(text.size * -0.88);
                    let to = Point::new(text.width(), text.size * 0.12);
                    let room = around(from, to, ts);
                    self.room = Some(self.room.map_or(room, |all| union(all, room)));
                }
                FrameItem::Tag(Tag::Start(elem, _)) if elem.location() == Some(self.location) => {
                    self.inside = true;
                }
                FrameItem::Tag(Tag::End(location, ..)) if *location == self.location => {
                    self.inside = false;
                }
                _ => {}
            }
        }
    }
}

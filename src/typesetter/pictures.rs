//! Pictures of the pages, for people who want to look.
//!
//! Takes a document that has passed every check, gives a file a page. Drawn by the engine itself,
//! from the faces it was laid out with: the same document gives the same pictures. Never the
//! document of record, which is the PDF. If we crash here, nothing has been written.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use typst::utils::Scalar;
use typst_layout::PagedDocument;
use typst_render::RenderOptions;
use typst_svg::SvgOptions;

/// Which pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pictures {
    /// PNG, in so many pixels per inch.
    Png(Ppi),
    /// SVG, the text as outlines.
    Svg,
}

/// Pixels per inch, in a range that gives a picture to look at and one that memory holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ppi(u16);

impl Ppi {
    /// What there is to choose from.
    pub const RANGE: RangeInclusive<u16> = 36..=600;

    /// So many pixels per inch; none, when that is too few or too many.
    pub fn new(ppi: u16) -> Option<Ppi> {
        Ppi::RANGE.contains(&ppi).then_some(Ppi(ppi))
    }
}

impl Default for Ppi {
    /// Two pixels a point: sharp on a screen.
    fn default() -> Self {
        Ppi(144)
    }
}

/// A file for each page.
pub(super) fn of(document: &PagedDocument, pictures: Pictures) -> Vec<Vec<u8>> {
    let pages = document.pages().iter();
    match pictures {
        Pictures::Png(Ppi(ppi)) => {
            let options = RenderOptions {
                pixel_per_pt: Scalar::new(f64::from(ppi) / 72.0),
                render_bleed: false,
            };
            pages
                .map(|page| typst_render::render(page, &options))
                .map(|pixels| pixels.encode_png().expect("pixels in memory make a PNG"))
                .collect()
        }
        Pictures::Svg => pages
            .map(|page| typst_svg::svg(page, &SvgOptions::default()).into_bytes())
            .collect(),
    }
}

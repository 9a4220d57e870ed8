//! The faces of a document, cut down to what it shows.
//!
//! Takes glyphs as they are met, gives each its number in the face to come, and in the end the
//! faces: TrueType with the tables that GB/T 42133-2022, 6.2.6 c) wants kept (cmap, loca, glyf, head,
//! hhea, hmtx, maxp, name, OS/2, post). Never draws. If we crash here, nothing is lost: nothing was
//! written.

use std::collections::BTreeMap;
use std::fmt::Display;

use subsetter::{GlyphRemapper, Tag as Axis};
use ttf_parser::{GlyphId, RawFace, Rect, Tag};
use typst::text::{FontInstance, color};
use write_fonts::tables::cmap::Cmap;
use write_fonts::{FontBuilder, types};

use super::Unwritable;

const OS2: &[u8; 4] = b"OS/2";

/// The faces in the order in which they were met.
#[derive(Default)]
pub(super) struct Faces(Vec<Face>);

/// A face, and what of it is shown.
pub(super) struct Face {
    pub(super) font: FontInstance,
    new: GlyphRemapper,
    /// The characters whose own glyph is shown: the cmap of the cut face, by old glyphs.
    shown: BTreeMap<char, u16>,
    /// What was met, by the new number of the glyph, with the character that it stood for last.
    met: Vec<Option<(Option<char>, Glyph)>>,
}

/// What is asked of a glyph each time that it is drawn.
#[derive(Clone, Copy)]
pub(super) struct Glyph {
    /// Its number in the cut face.
    pub(super) new: u16,
    /// Whether it is what the face itself has for the character.
    pub(super) is_own: bool,
    /// Whether it is an outline, and not a picture or in several colours.
    pub(super) is_outline: bool,
    /// The box around its ink, in units of the face, y up; none, where it has none.
    pub(super) ink: Option<Rect>,
}

impl Faces {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Face> {
        self.0.iter()
    }

    pub(super) fn get(&mut self, index: usize) -> &mut Face {
        &mut self.0[index]
    }

    /// The place of a face.
    pub(super) fn place(&mut self, font: &FontInstance) -> usize {
        // Where it lies in memory mostly says which it is. A process that has loaded a file twice may
        // have a frame with both, since the engine remembers what it shaped: then its bytes do.
        let same = |face: &Face| {
            let (known, new) = (face.font.data(), font.data());
            (std::ptr::eq(known.as_ptr(), new.as_ptr()) || known == new)
                && face.font.index() == font.index()
                && face.font.variations() == font.variations()
        };
        self.0.iter().position(same).unwrap_or_else(|| {
            self.0.push(Face {
                font: font.clone(),
                new: GlyphRemapper::new(),
                shown: BTreeMap::new(),
                met: Vec::new(),
            });
            self.0.len() - 1
        })
    }
}

impl Face {
    /// Its name, as the PDF has it.
    pub(super) fn name(&self) -> String {
        let font = self.font.font();
        font.post_script_name()
            .unwrap_or_else(|| font.info().family.clone())
    }

    /// Shows a glyph, of one character or of several.
    pub(super) fn show(&mut self, c: Option<char>, glyph: u16) -> Glyph {
        let new = self.new.remap(glyph);
        let place = usize::from(new);
        match self.met.get(place) {
            Some(Some((of, met))) if *of == c => return *met,
            Some(_) => {}
            None => self.met.resize(place + 1, None),
        }
        let (face, id) = (self.font.ttf(), GlyphId(glyph));
        let tables = face.tables();
        // Most faces have nothing but outlines, and nothing has to be looked up.
        let plain = tables.colr.is_none()
            && tables.svg.is_none()
            && tables.sbix.is_none()
            && tables.cbdt.is_none();
        let own = c.filter(|&c| face.glyph_index(c) == Some(id));
        if let Some(c) = own {
            self.shown.insert(c, glyph);
        }
        let met = Glyph {
            new,
            is_own: own.is_some(),
            is_outline: plain || color::should_outline(&self.font, id),
            ink: match tables.glyf.filter(|_| self.font.variations().0.is_empty()) {
                // As its header says it, without its points.
                Some(glyf) => glyf.bbox(id),
                None => face.glyph_bounding_box(id),
            },
        };
        self.met[place] = Some((c, met));
        met
    }

    /// The face with the glyphs that are shown, and no others.
    pub(super) fn cut(&self) -> Result<Vec<u8>, Unwritable> {
        let font = self.font.font();
        if self.font.ttf().tables().glyf.is_none() {
            return Err(Unwritable::Outlines(self.name()));
        }
        let axes = self.font.variations().0.iter();
        let axes: Vec<(Axis, f32)> = axes
            .map(|(tag, value)| (Axis::new(&tag.to_bytes()), value.0))
            .collect();
        let wrong = |why: &dyn Display| Unwritable::Face(self.name(), why.to_string());
        let cut = subsetter::subset_with_variations(font.data(), font.index(), &axes, &self.new)
            .map_err(|error| wrong(&error))?;
        let glyphs = self.shown.iter().filter_map(|(&c, &glyph)| {
            let new = self.new.get(glyph)?;
            Some((c, types::GlyphId::from(new)))
        });
        let cmap = Cmap::from_mappings(glyphs).map_err(|error| wrong(&error))?;
        let mut builder = FontBuilder::new();
        builder.add_table(&cmap).map_err(|error| wrong(&error))?;
        if let Some(os2) = self.font.ttf().raw_face().table(Tag::from_bytes(OS2)) {
            builder.add_raw(types::Tag::new(OS2), self.os2(os2));
        }
        let cut = RawFace::parse(&cut, 0).map_err(|error| wrong(&error))?;
        for record in cut.table_records {
            if let Some(table) = cut.table(record.tag) {
                builder.add_raw(types::Tag::new(&record.tag.to_bytes()), table);
            }
        }
        Ok(builder.build())
    }

    /// The face's OS/2 with the range of characters that are left: usFirstCharIndex and
    /// usLastCharIndex, at 64 and 66.
    fn os2(&self, whole: &[u8]) -> Vec<u8> {
        let mut os2 = whole.to_vec();
        let bmp = |c: Option<(&char, &u16)>| {
            let c = c.map_or(0, |(&c, _)| u32::from(c));
            u16::try_from(c).unwrap_or(u16::MAX).to_be_bytes()
        };
        let range = [
            bmp(self.shown.first_key_value()),
            bmp(self.shown.last_key_value()),
        ];
        if let Some(place) = os2.get_mut(64..68) {
            place.copy_from_slice(range.as_flattened());
        }
        os2
    }
}

//! Pictures of pages: read, written small, compared.
//!
//! A page holds few colours: black, the bands' blue, and what lies between them and the paper.
//! Each channel is kept in sixteen steps, and a file has a palette of what occurs.

use std::path::Path;

use png::{BitDepth, ColorType, Compression, Decoder, Encoder, Filter, Transformations};

/// Red, green, blue.
pub type Colour = [u8; 3];

/// White.
const PAPER: Colour = [255, 255, 255];

/// What separates pages that stand side by side.
const BACKGROUND: Colour = [221, 221, 221];

/// A step of a channel. As much may come from rounding on another processor; a line that moves by
/// a tenth of a pixel changes more.
const STEP: u8 = 17;

/// Pixels.
#[derive(Clone, PartialEq, Eq)]
pub struct Picture {
    /// Pixels in a row.
    pub width: usize,
    pixels: Vec<Colour>,
}

impl Picture {
    /// One colour everywhere.
    fn blank(width: usize, height: usize, colour: Colour) -> Picture {
        Picture {
            width,
            pixels: vec![colour; width * height],
        }
    }

    /// Rows of pixels.
    pub fn height(&self) -> usize {
        self.pixels.len() / self.width
    }

    /// The pixel at a place.
    pub fn at(&self, x: usize, y: usize) -> Colour {
        self.pixels[y * self.width + x]
    }

    /// Sets the pixel at a place.
    pub fn set(&mut self, x: usize, y: usize, colour: Colour) {
        self.pixels[y * self.width + x] = colour;
    }

    /// A PNG's pixels, each channel at the nearest step.
    ///
    /// # Panics
    /// When it is no PNG.
    pub fn read(bytes: &[u8]) -> Picture {
        let mut decoder = Decoder::new(std::io::Cursor::new(bytes));
        decoder.set_transformations(Transformations::EXPAND | Transformations::STRIP_16);
        let mut reader = decoder.read_info().expect("a PNG");
        let size = reader
            .output_buffer_size()
            .expect("a picture that memory holds");
        let mut samples = vec![0; size];
        let info = reader.next_frame(&mut samples).expect("a whole PNG");
        let near: [u8; 256] =
            std::array::from_fn(|value| (value as u8).saturating_add(STEP / 2) / STEP * STEP);
        let near = |value: &u8| near[usize::from(*value)];
        let pixels = samples[..info.buffer_size()]
            .chunks_exact(info.color_type.samples())
            .map(|pixel| match pixel {
                [r, g, b, ..] => [near(r), near(g), near(b)],
                [grey, ..] => [near(grey); 3],
                [] => PAPER,
            })
            .collect();
        Picture {
            width: info.width as usize,
            pixels,
        }
    }

    /// The picture in as few bytes as a palette allows.
    pub fn write(&self) -> Vec<u8> {
        let mut colours = self.pixels.clone();
        colours.dedup();
        colours.sort_unstable();
        colours.dedup();
        let mut bytes = Vec::new();
        let [width, height] = [self.width, self.height()].map(|n| n as u32);
        let mut encoder = Encoder::new(&mut bytes, width, height);
        encoder.set_compression(Compression::High);
        let data = if colours.len() > 256 {
            encoder.set_color(ColorType::Rgb);
            self.pixels.concat()
        } else {
            let index =
                |pixel: &Colour| colours.binary_search(pixel).expect("it is one of them") as u8;
            encoder.set_color(ColorType::Indexed);
            encoder.set_filter(Filter::NoFilter);
            encoder.set_palette(colours.concat());
            let indices = self.pixels.iter().map(index);
            if colours.len() > 16 {
                indices.collect()
            } else {
                encoder.set_depth(BitDepth::Four);
                let indices: Vec<u8> = indices.collect();
                let packed = |pair: &[u8]| pair[0] << 4 | pair.get(1).copied().unwrap_or(0);
                let rows = indices.chunks(self.width);
                rows.flat_map(|row| row.chunks(2).map(packed)).collect()
            }
        };
        let mut writer = encoder.write_header().expect("memory takes it");
        writer.write_image_data(&data).expect("memory takes it");
        writer.finish().expect("memory takes it");
        bytes
    }

    /// The picture of a file, if there is one.
    pub fn load(path: &Path) -> Option<Picture> {
        std::fs::read(path).ok().map(|bytes| Picture::read(&bytes))
    }

    /// Pages side by side, so many in a row, each with an edge.
    pub fn sheet(pages: &[Picture], columns: usize) -> Picture {
        const GAP: usize = 9;
        let columns = columns.min(pages.len());
        let rows = pages.len().div_ceil(columns);
        let width = pages.iter().map(|page| page.width).max().unwrap_or(0) + GAP;
        let height = pages.iter().map(Picture::height).max().unwrap_or(0) + GAP;
        let mut sheet = Picture::blank(columns * width + GAP, rows * height + GAP, BACKGROUND);
        for (index, page) in pages.iter().enumerate() {
            let (left, top) = (
                index % columns * width + GAP,
                index / columns * height + GAP,
            );
            sheet.put(page, left, top);
        }
        sheet
    }

    fn put(&mut self, other: &Picture, left: usize, top: usize) {
        for y in 0..other.height() {
            for x in 0..other.width {
                self.set(left + x, top + y, other.at(x, y));
            }
        }
    }

    /// What differs from another picture; none, when nothing does that one can see.
    pub fn difference(&self, other: &Picture) -> Option<Difference> {
        let (width, height) = (
            self.width.max(other.width),
            self.height().max(other.height()),
        );
        let pixel = |picture: &Picture, x, y| {
            (x < picture.width && y < picture.height()).then(|| picture.at(x, y))
        };
        fn row(picture: &Picture, y: usize) -> Option<&[Colour]> {
            let start = y * picture.width;
            picture.pixels.get(start..start + picture.width)
        }
        let mut different = Vec::new();
        for y in 0..height {
            // Most rows are the same, and quickly seen to be.
            if row(self, y) == row(other, y) {
                continue;
            }
            for x in 0..width {
                let same = match (pixel(self, x, y), pixel(other, x, y)) {
                    (Some(one), Some(two)) => one
                        .iter()
                        .zip(two)
                        .all(|(one, two)| one.abs_diff(two) <= STEP),
                    _ => false,
                };
                if !same {
                    different.push((x, y));
                }
            }
        }
        let ((_, first), (_, last)) = (*different.first()?, *different.last()?);
        let mut marked = Picture::blank(width, height, PAPER);
        for y in 0..self.height() {
            for x in 0..self.width {
                marked.set(x, y, self.at(x, y).map(|channel| 191 + channel / 4));
            }
        }
        for &(x, y) in &different {
            marked.set(x, y, [221, 0, 0]);
        }
        Some(Difference {
            pixels: different.len(),
            first,
            last,
            marked,
        })
    }
}

/// How a picture differs from another.
pub struct Difference {
    /// How many pixels.
    pub pixels: usize,
    /// The first row of pixels with one.
    pub first: usize,
    /// The last.
    pub last: usize,
    /// The picture, faint, and what differs in red.
    pub marked: Picture,
}

//! The faces, and which of them draws what.
//!
//! Takes the folders and the families by role, gives [`Fonts`]: the faces in one fixed order, and
//! for each role the chain of families that the templates set it with. Never looks at the
//! system's own fonts: the same folders give the same pages on any machine. If we crash here,
//! nothing has begun.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use memmap2::Mmap;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use typst::foundations::Bytes;
use typst::layout::Abs;
use typst::text::{
    Font, FontBook, FontStretch, FontStyle, FontVariant, FontVariations, FontWeight,
    is_default_ignorable,
};
use typst::utils::LazyHash;

use crate::config;
use crate::problem::{Outage, Part};

/// How deep the folders of faces are searched.
const DEPTH: usize = 4;

/// The weight of a role whose family names none.
const REGULAR: u16 = 400;

/// What the latin role draws in every other role: ASCII and the minus sign, which Chinese faces
/// draw too wide for a number.
const LATIN: &str = "[ -~−]";

/// Characters that Chinese text wants a whole em wide and that some faces draw narrow, for their
/// Latin side: quotes, dashes, and signs from the first row of GB 2312.
const WIDE: &str = "“”‘’—…×±÷≠≤≥≈∞√∑∏•◇◆□■△▲→←↑↓";

/// 间隔号, which takes half an em (GB/T 15834).
const DOT: char = '·';

/// The faces, and the chains of the roles.
pub struct Fonts {
    faces: Vec<Face>,
    book: LazyHash<FontBook>,
    roles: String,
    drawable: Bits,
    digest: OnceLock<String>,
}

/// A face and the file that it is in.
struct Face {
    path: PathBuf,
    font: Font,
}

/// A role of the configuration.
struct Role<'a> {
    key: &'static str,
    what: &'static str,
    wanted: &'a [String],
}

/// A role with the families that are there.
struct Cast {
    key: &'static str,
    weight: u16,
    families: Vec<String>,
}

impl Fonts {
    /// Maps the faces of the folders and finds the families of each role among them.
    ///
    /// # Errors
    /// When there is no folder, when a face can't be read, and when a role has no face: with the
    /// folders searched and what would help.
    pub fn load(settings: &config::Fonts) -> Result<Fonts, Outage> {
        let dir = folder(&settings.dir)?;
        let mut folders = vec![dir];
        folders.extend(
            settings
                .more
                .iter()
                .filter(|folder| folder.is_dir())
                .cloned(),
        );
        let mut faces = Vec::new();
        for folder in &folders {
            let mut files = Vec::new();
            collect(folder, DEPTH, &mut files)?;
            files.sort();
            for path in files {
                map(path, &mut faces)?;
            }
        }
        let book = FontBook::from_fonts(faces.iter().map(|face| &face.font));
        let cast = cast(&settings.roles, &book, &folders)?;
        let chains = chains(&cast, &book, &faces);
        let drawable = drawable(&cast, &chains, &book);
        let roles = cast
            .iter()
            .zip(&chains)
            .filter(|(role, _)| role.key != "fallback");
        let roles = roles.map(|(role, chain)| {
            let chain = chain.iter().map(Link::json).collect::<Vec<_>>();
            (
                role.key.to_owned(),
                json!({ "weight": role.weight, "chain": chain }),
            )
        });
        let roles = Value::Object(roles.collect::<Map<_, _>>()).to_string();
        Ok(Fonts {
            faces,
            book: LazyHash::new(book),
            roles,
            drawable,
            digest: OnceLock::new(),
        })
    }

    /// Whether every role can draw the character. Invisible characters that layout or shaping
    /// takes up, as a line feed or a zero width space, need no glyph.
    ///
    /// Private use characters are not covered even when a face has them: they mean nothing to
    /// anyone else, and PDF/A-3a refuses them.
    pub fn covers(&self, c: char) -> bool {
        match c {
            '\n' | '\t' => true,
            _ if c.is_control() || private(c) => false,
            _ => is_default_ignorable(c) || self.drawable.has(c),
        }
    }

    /// SHA-256 over the digests of all faces, in their order, as lower-case hexadecimal. Reads
    /// every face to its end the first time.
    pub fn sha256(&self) -> &str {
        self.digest.get_or_init(|| {
            let mut all = Sha256::new();
            let mut seen = BTreeSet::new();
            for Face { path, font } in &self.faces {
                if seen.insert(path) {
                    all.update(Sha256::digest(font.data()));
                }
            }
            super::hex(&all.finalize())
        })
    }

    /// The families of the faces, sorted.
    pub fn families(&self) -> BTreeSet<&str> {
        self.book.families().map(|(family, _)| family).collect()
    }

    /// `gongwen/fonts.json`: what stands behind each role.
    pub fn roles(&self) -> &str {
        &self.roles
    }

    /// What the engine selects from.
    pub(super) fn book(&self) -> &LazyHash<FontBook> {
        &self.book
    }

    /// The face at this place in the book.
    pub(super) fn face(&self, index: usize) -> Option<Font> {
        self.faces.get(index).map(|face| face.font.clone())
    }

    /// Path, size and time of every file: cheap, and changes when a face is replaced.
    pub(super) fn fingerprint(&self) -> String {
        let mut hasher = Sha256::new();
        for Face { path, font } in &self.faces {
            let time = fs::metadata(path).and_then(|about| about.modified()).ok();
            hasher.update(format!(
                "{}\0{}\0{time:?}\0",
                path.display(),
                font.data().len()
            ));
        }
        super::hex(&hasher.finalize())
    }
}

/// Private use: no meaning but what sender and reader agree on.
fn private(c: char) -> bool {
    matches!(u32::from(c), 0xE000..=0xF8FF | 0xF_0000..=0xF_FFFF | 0x10_0000..=0x10_FFFF)
}

/// The folder of the faces: the one that is set, or the first `fonts` that holds any.
fn folder(dir: &Path) -> Result<PathBuf, Outage> {
    if !dir.as_os_str().is_empty() {
        return match fs::metadata(dir) {
            Ok(about) if about.is_dir() => Ok(dir.to_owned()),
            Ok(_) => Err(Outage::new(
                Part::Fonts,
                format!(
                    "fonts.dir: {} is not a folder; name the folder of the faces",
                    dir.display()
                ),
            )),
            Err(error) => Err(Outage::because(
                Part::Fonts,
                format!(
                    "fonts.dir: can't open {}; name the folder of the faces",
                    dir.display()
                ),
                error,
            )),
        };
    }
    let mut places = Vec::new();
    if let Ok(program) = std::env::current_exe() {
        places.extend(program.ancestors().skip(1).map(|above| above.join("fonts")));
    }
    if let Ok(here) = std::env::current_dir() {
        places.push(here.join("fonts"));
    }
    for place in &places {
        let mut files = Vec::new();
        if place.is_dir() && collect(place, DEPTH, &mut files).is_ok() && !files.is_empty() {
            return Ok(place.clone());
        }
    }
    let places = places
        .iter()
        .map(|place| place.display().to_string())
        .collect::<Vec<_>>();
    Err(Outage::new(
        Part::Fonts,
        format!(
            "no faces found; set fonts.dir to their folder. Looked at {}",
            places.join(", ")
        ),
    ))
}

/// The font files below a folder.
fn collect(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), Outage> {
    let failed = |error| {
        Outage::because(
            Part::Fonts,
            format!("can't list the faces in {}", folder.display()),
            error,
        )
    };
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            if depth > 0 {
                collect(&path, depth - 1, files)?;
            }
            continue;
        }
        let extension = path
            .extension()
            .and_then(|extension| extension.to_str())
            .unwrap_or_default();
        if ["ttf", "otf", "ttc", "otc"]
            .iter()
            .any(|known| extension.eq_ignore_ascii_case(known))
        {
            files.push(path);
        }
    }
    Ok(())
}

/// Maps a file and adds its faces.
fn map(path: PathBuf, faces: &mut Vec<Face>) -> Result<(), Outage> {
    let failed = |error| {
        Outage::because(
            Part::Fonts,
            format!("can't read the face {}", path.display()),
            error,
        )
    };
    let file = File::open(&path).map_err(failed)?;
    #[expect(
        unsafe_code,
        reason = "a mapped file must not shrink or change. Faces are installed once and replaced by \
                  rename, which leaves the mapped file as it was; and whoever can rewrite them in \
                  place can replace the program too. What it buys: all children share one copy"
    )]
    // SAFETY: nobody writes to the file while it is mapped, as the reason above says.
    let data = unsafe { Mmap::map(&file) }.map_err(failed)?;
    let before = faces.len();
    let data = Bytes::new(data);
    faces.extend(Font::iter(data).map(|font| Face {
        path: path.clone(),
        font,
    }));
    if faces.len() == before {
        let text = format!(
            "{} is no font that can be read; replace or remove it",
            path.display()
        );
        return Err(Outage::new(Part::Fonts, text));
    }
    Ok(())
}

/// The families of each role that are there, the first one first.
fn cast(roles: &config::Roles, book: &FontBook, folders: &[PathBuf]) -> Result<Vec<Cast>, Outage> {
    let roles = [
        Role {
            key: "fangsong",
            what: "仿宋, the text",
            wanted: &roles.fangsong,
        },
        Role {
            key: "kaiti",
            what: "楷体, the second level",
            wanted: &roles.kaiti,
        },
        Role {
            key: "heiti",
            what: "黑体, the first level",
            wanted: &roles.heiti,
        },
        Role {
            key: "songti",
            what: "宋体, tables and page numbers",
            wanted: &roles.songti,
        },
        Role {
            key: "biaosong",
            what: "小标宋, the title",
            wanted: &roles.biaosong,
        },
        Role {
            key: "latin",
            what: "西文, digits and Latin",
            wanted: &roles.latin,
        },
        Role {
            key: "fallback",
            what: "rare characters",
            wanted: &roles.fallback,
        },
    ];
    let mut wrong = Vec::new();
    let mut cast = Vec::new();
    for Role { key, what, wanted } in roles {
        let wanted = wanted.iter().map(|name| weighted(name)).collect::<Vec<_>>();
        let there = wanted.iter().filter_map(|&(name, weight)| {
            let index = book.select_family(&name.to_lowercase()).next()?;
            Some((book.info(index)?.family.clone(), weight))
        });
        let mut there = there.collect::<Vec<_>>();
        there.dedup_by(|a, b| a.0 == b.0);
        if there.is_empty() && key != "fallback" {
            let names = wanted
                .iter()
                .map(|&(name, _)| name)
                .collect::<Vec<_>>()
                .join(", ");
            wrong.push(format!(
                "fonts.roles.{key} ({what}): none of {names} is there; add a face of one of them \
                 to fonts.dir, or name a family that is there"
            ));
        }
        let weight = there.first().map_or(REGULAR, |&(_, weight)| weight);
        let families = there.into_iter().map(|(family, _)| family).collect();
        cast.push(Cast {
            key,
            weight,
            families,
        });
    }
    if wrong.is_empty() {
        return Ok(cast);
    }
    let folders = folders
        .iter()
        .map(|folder| folder.display().to_string())
        .collect::<Vec<_>>();
    let mut families = book
        .families()
        .map(|(family, _)| family)
        .collect::<Vec<_>>()
        .join(", ");
    if families.is_empty() {
        families.push_str("none");
    }
    Err(Outage::new(
        Part::Fonts,
        format!(
            "roles without a face:\n  {}\n  searched {}; families there: {families}",
            wrong.join("\n  "),
            folders.join(", "),
        ),
    ))
}

/// `NAME:WEIGHT` as name and weight.
fn weighted(name: &str) -> (&str, u16) {
    let weight = name
        .rsplit_once(':')
        .and_then(|(name, weight)| Some((name, weight.parse().ok()?)));
    weight
        .filter(|(_, weight)| (100..=900).contains(weight))
        .unwrap_or((name, REGULAR))
}

/// A family in a chain, for all characters or some.
struct Link {
    family: String,
    covers: Option<String>,
}

impl Link {
    fn all(family: &str) -> Self {
        Link {
            family: family.to_owned(),
            covers: None,
        }
    }

    fn only(family: &str, covers: &str) -> Self {
        Link {
            family: family.to_owned(),
            covers: Some(covers.to_owned()),
        }
    }

    fn json(&self) -> Value {
        match &self.covers {
            None => json!({ "name": self.family }),
            Some(covers) => json!({ "name": self.family, "covers": covers }),
        }
    }
}

/// The chain of each role: what its own face draws too narrow from the first face that doesn't,
/// digits and Latin from the latin role, then its own families, 宋体, 黑体, every other role's,
/// and the rare characters' last. So every chain has every family, and a character that any of
/// them has is drawn in every role.
fn chains(cast: &[Cast], book: &FontBook, faces: &[Face]) -> Vec<Vec<Link>> {
    let first = |key: &str| cast.iter().find(|role| role.key == key);
    let latin = first("latin").and_then(|role| role.families.first());
    cast.iter()
        .map(|role| {
            let mut families = role.families.iter().collect::<Vec<_>>();
            let others = ["songti", "heiti"].into_iter().filter_map(first);
            let others = others.chain(cast.iter().filter(|role| role.key != "fallback"));
            let others = others.chain(first("fallback"));
            families.extend(others.flat_map(|role| &role.families));
            let mut seen = BTreeSet::new();
            families.retain(|&family| seen.insert(family));

            let mut chain = Vec::<Link>::new();
            if let (Some(own), true) = (families.first(), role.key != "latin") {
                let right = |family: &str, c| {
                    let em = width(family, role.weight, c, book, faces);
                    if c == DOT {
                        (0.4..=0.6).contains(&em)
                    } else {
                        em >= 0.85
                    }
                };
                for c in WIDE.chars().chain([DOT]).filter(|&c| !right(own, c)) {
                    let Some(donor) = families.iter().find(|family| right(family, c)) else {
                        continue;
                    };
                    match chain.iter_mut().find(|link| link.family == **donor) {
                        Some(Link {
                            covers: Some(covers),
                            ..
                        }) => covers.insert(covers.len() - 1, c),
                        _ => chain.push(Link::only(donor, &format!("[{c}]"))),
                    }
                }
                chain.extend(latin.map(|latin| Link::only(latin, LATIN)));
            }
            chain.extend(families.into_iter().map(|family| Link::all(family)));
            chain
        })
        .collect()
}

/// The advance of a character in em, 0 when the family doesn't have it.
fn width(family: &str, weight: u16, c: char, book: &FontBook, faces: &[Face]) -> f64 {
    let Some(face) = book.select(&family.to_lowercase(), variant(weight)) else {
        return 0.0;
    };
    let Some(Face { font, .. }) = faces.get(face) else {
        return 0.0;
    };
    let font = font
        .clone()
        .instantiate(variant(weight), Abs::pt(16.0), &FontVariations::default());
    let glyph = font.ttf().glyph_index(c);
    glyph
        .and_then(|glyph| font.x_advance(glyph.0))
        .map_or(0.0, |em| em.get())
}

fn variant(weight: u16) -> FontVariant {
    FontVariant::new(
        FontStyle::Normal,
        FontWeight::from_number(weight),
        FontStretch::NORMAL,
    )
}

/// The characters that every role can draw.
fn drawable(cast: &[Cast], chains: &[Vec<Link>], book: &FontBook) -> Bits {
    let mut every = Bits::full();
    for (role, chain) in cast
        .iter()
        .zip(chains)
        .filter(|(role, _)| role.key != "fallback")
    {
        let mut any = Bits::empty();
        for link in chain.iter().filter(|link| link.covers.is_none()) {
            let face = book.select(&link.family.to_lowercase(), variant(role.weight));
            if let Some(info) = face.and_then(|face| book.info(face)) {
                info.coverage.iter().for_each(|c| any.add(c));
            }
        }
        every.keep(&any);
    }
    every
}

/// A set of code points. 136 KiB, and one step to ask.
struct Bits(Vec<u64>);

impl Bits {
    const WORDS: usize = (char::MAX as usize + 1) / 64;

    fn empty() -> Self {
        Bits(vec![0; Self::WORDS])
    }

    fn full() -> Self {
        Bits(vec![u64::MAX; Self::WORDS])
    }

    fn add(&mut self, c: u32) {
        if let Some(word) = self.0.get_mut(c as usize / 64) {
            *word |= 1 << (c % 64);
        }
    }

    fn keep(&mut self, other: &Bits) {
        self.0
            .iter_mut()
            .zip(&other.0)
            .for_each(|(word, other)| *word &= other);
    }

    fn has(&self, c: char) -> bool {
        let c = c as u32;
        self.0
            .get(c as usize / 64)
            .is_some_and(|word| word & (1 << (c % 64)) != 0)
    }
}

//! The faces, and which of them draws what.
//!
//! Takes the folders and the families by role, gives [`Fonts`]: the faces in one fixed order, and
//! for each role the chain of families that the templates set it with. Never looks at the
//! system's own fonts: the same folders give the same pages on any machine. If we crash here,
//! nothing has begun.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use memmap2::Mmap;
use serde_json::{Map, Value, json};
use typst::foundations::Bytes;
use typst::layout::Abs;
use typst::text::{
    Font, FontBook, FontStretch, FontStyle, FontVariant, FontVariations, FontWeight,
    is_default_ignorable,
};
use typst::utils::LazyHash;

use crate::config;
use crate::digest;
use crate::problem::{Outage, Part};

/// How deep the folders of faces are searched.
const DEPTH: usize = 4;

/// The weight of a role whose family names none.
const REGULAR: u16 = 400;

/// The minus sign, which Chinese faces draw too wide for a number: Latin like ASCII.
const MINUS: char = '−';

/// Characters that Chinese text wants a whole em wide and that some faces draw narrow, for their
/// Latin side: quotes, dashes, and signs from the first row of GB 2312.
const WIDE: &str = "“”‘’—…×±÷≠≤≥≈∞√∑∏•◇◆□■△▲→←↑↓";

/// 间隔号, which takes half an em (GB/T 15834).
const DOT: char = '·';

/// What `banshi fonts` counts a face's characters in.
const SETS: [(&str, std::ops::RangeInclusive<u32>); 9] = [
    ("Han, GBK and basic block", 0x4E00..=0x9FA5),
    ("Han, extension A", 0x3400..=0x4DBF),
    ("Han, extension B", 0x2_0000..=0x2_A6DF),
    ("Han, extension C", 0x2_A700..=0x2_B739),
    ("Han, extension D", 0x2_B740..=0x2_B81D),
    ("Han, extension E", 0x2_B820..=0x2_CEA1),
    ("Han, extension F", 0x2_CEB0..=0x2_EBE0),
    ("Han, extension G", 0x3_0000..=0x3_134A),
    ("Han, extension I", 0x2_EBF0..=0x2_EE5D),
];

/// The faces, and the chains of the roles.
pub struct Fonts {
    faces: Vec<Face>,
    book: LazyHash<FontBook>,
    roles: Vec<Role>,
    drawable: Bits,
    fingerprint: String,
    sha256: String,
}

/// A face and the file that it is in.
struct Face {
    path: PathBuf,
    font: Font,
}

/// A role and what stands behind it.
pub struct Role {
    /// Its key in the settings, as `fangsong`.
    pub key: &'static str,
    /// Its name and use, as `仿宋, the text`.
    pub what: &'static str,
    /// The first of its families that is there.
    pub family: String,
    /// The file of the face that it is set in.
    pub file: PathBuf,
    weight: u16,
    families: Vec<String>,
    chain: Vec<Link>,
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
        let fingerprint = fingerprint(&faces);
        // At the same time, because both read every face to its end: the engine has a hash of its
        // own, for its caches.
        let (sha256, roles) = std::thread::scope(|scope| {
            let reading = scope.spawn(|| digest(&fingerprint, &faces));
            let roles = chained(&settings.roles, &book, &faces, &folders);
            (reading.join().expect("reading mapped files"), roles)
        });
        let roles = roles?;
        let drawable = drawable(&roles, &book);
        let book = LazyHash::new(book);
        Ok(Fonts {
            faces,
            book,
            roles,
            drawable,
            fingerprint,
            sha256,
        })
    }

    /// Whether every role can draw the character, or nothing needs to be drawn. What the engine,
    /// PDF/A-3a or a reader would make something else of is not covered, even when a face has it:
    ///
    /// - private use characters, which mean nothing to anyone else and which PDF/A-3a refuses;
    /// - controls. A tab draws nothing at all, and two figures with a tab between become one;
    /// - invisible characters, but for those that have a use in this kind of text and those that
    ///   are left out of the page without harm.
    pub fn covers(&self, c: char) -> bool {
        match c {
            // Most of a text, and nothing below is one of them.
            '\u{4E00}'..='\u{9FFF}' => self.drawable.has(c),
            // A chosen line break.
            '\n' => true,
            // Soft hyphen, grapheme joiner, zero width space and joiners, word joiner, and the
            // selectors of variants of Han characters.
            '\u{AD}' | '\u{34F}' | '\u{200B}'..='\u{200D}' | '\u{2060}' => true,
            '\u{FE00}'..='\u{FE0F}' | '\u{E0100}'..='\u{E01EF}' => true,
            // Spaces, which shaping makes of the plain one where a face has none.
            '\u{2000}'..='\u{200A}' | '\u{202F}' | '\u{205F}' | '\u{3000}' => true,
            _ if left_out(c) => true,
            _ if c.is_control() || private(c) || is_default_ignorable(c) => false,
            _ => self.drawable.has(c),
        }
    }

    /// The family that draws the character in the text, 仿宋's role; none, when no face has it.
    pub fn face_of(&self, c: char) -> Option<&str> {
        let role = self.roles.first().filter(|_| self.covers(c))?;
        let has = |link: &&Link| {
            self.book
                .select(&link.family.to_lowercase(), variant(role.weight))
                .and_then(|face| self.book.info(face))
                .is_some_and(|info| link.takes(c) && info.coverage.contains(c.into()))
        };
        role.chain.iter().find(has).map(|link| link.family.as_str())
    }

    /// The roles that have a face, with what stands behind them.
    pub fn roles(&self) -> impl Iterator<Item = &Role> {
        self.roles.iter().filter(|role| !role.family.is_empty())
    }

    /// How much of each set of Han characters a family has, where it has any: name of the set and
    /// `N of M`.
    pub fn coverage(&self, family: &str) -> impl Iterator<Item = (&'static str, String)> {
        let infos = self.book.select_family(&family.to_lowercase());
        let infos = infos
            .filter_map(|face| self.book.info(face))
            .collect::<Vec<_>>();
        SETS.into_iter().filter_map(move |(name, set)| {
            let all = set.end() - set.start() + 1;
            let has = |&c: &u32| infos.iter().any(|info| info.coverage.contains(c));
            let count = set.filter(has).count();
            (count > 0).then(|| (name, format!("{count} of {all}")))
        })
    }

    /// SHA-256 over the digests of all faces in their order, each a line of lower-case
    /// hexadecimal.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// The families that draw only what no other has: those of the role `fallback` alone.
    pub(super) fn fallback(&self) -> BTreeSet<&str> {
        let (last, others): (Vec<&Role>, Vec<&Role>) =
            self.roles.iter().partition(|role| role.key == "fallback");
        let others = others.iter().flat_map(|role| &role.families);
        let others = others.map(String::as_str).collect::<BTreeSet<_>>();
        let last = last.iter().flat_map(|role| &role.families);
        let last = last.map(String::as_str);
        last.filter(|family| !others.contains(family)).collect()
    }

    /// The role that a face is there for, by its family and weight: the first that is set in it, or
    /// has its family.
    pub(super) fn role_of(&self, family: &str, weight: u16) -> Option<&'static str> {
        let of = |role: &&Role| role.families.iter().any(|own| own == family);
        let exact = |role: &&Role| of(role) && role.weight == weight;
        let roles = || self.roles.iter();
        let role = roles().find(exact).or_else(|| roles().find(of))?;
        Some(role.key)
    }

    /// The families of the faces, sorted.
    pub fn families(&self) -> BTreeSet<&str> {
        self.book.families().map(|(family, _)| family).collect()
    }

    /// `gongwen/fonts.json`: what stands behind each role, as the templates read it.
    pub fn json(&self) -> String {
        let roles = self.roles.iter().filter(|role| role.key != "fallback");
        let roles = roles.map(
            |Role {
                 key, weight, chain, ..
             }| {
                let chain = chain.iter().map(Link::json).collect::<Vec<_>>();
                (
                    (*key).to_owned(),
                    json!({ "weight": weight, "chain": chain }),
                )
            },
        );
        Value::Object(roles.collect::<Map<_, _>>()).to_string()
    }

    /// What the engine selects from.
    pub(super) fn book(&self) -> &LazyHash<FontBook> {
        &self.book
    }

    /// The face at this place in the book.
    pub(super) fn face(&self, index: usize) -> Option<Font> {
        self.faces.get(index).map(|face| face.font.clone())
    }

    /// What the files were when they were mapped, by path, size and time: cheap, and changes when a
    /// face is replaced.
    pub(super) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }
}

/// The digests of faces that were read, by the fingerprint of their files. A worker hands its own
/// to its children, which would read 50 MB each time that one starts.
static READ: Mutex<BTreeMap<String, String>> = Mutex::new(BTreeMap::new());

/// The digests of faces that this process knows, by fingerprint.
pub(super) fn known() -> BTreeMap<String, String> {
    READ.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Adds to the digests that this process knows.
pub(super) fn know(digests: BTreeMap<String, String>) {
    let mut read = READ.lock().unwrap_or_else(PoisonError::into_inner);
    read.extend(digests);
}

/// What [`Fonts::sha256`] is. Reads every face to its end the first time that this process, or the
/// one that started it, meets these files.
fn digest(fingerprint: &str, faces: &[Face]) -> String {
    if let Some(digest) = known().remove(fingerprint) {
        return digest;
    }
    // The faces of a collection stand in one file, and one after another.
    let mut files = faces.iter().collect::<Vec<_>>();
    files.dedup_by_key(|face| &face.path);
    let lines = files
        .into_iter()
        .map(|face| digest::sha256(face.font.data()) + "\n");
    let digest = digest::sha256(lines.collect::<String>().as_bytes());
    know([(fingerprint.to_owned(), digest.clone())].into());
    digest
}

/// Characters that come in with text from elsewhere, draw nothing, and are left out of page and
/// metadata (the attached data keeps them): the marks and controls of direction, which would show
/// figures and names in another order than they were sent in, and the byte order mark, which
/// PDF/A-3a refuses. Letters that run from right to left do so without them.
pub(super) fn left_out(c: char) -> bool {
    matches!(
        c,
        '\u{61C}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}'
    ) || matches!(c, '\u{2066}'..='\u{2069}' | '\u{FEFF}')
}

/// Private use: no meaning but what sender and reader agree on.
pub(super) fn private(c: char) -> bool {
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
        for above in program.ancestors().skip(1) {
            places.extend([above.join("fonts"), above.join("share/banshi/fonts")]);
        }
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

/// Path, size and time of every file.
fn fingerprint(faces: &[Face]) -> String {
    let lines = faces.iter().map(|Face { path, font }| {
        let time = fs::metadata(path).and_then(|about| about.modified()).ok();
        format!("{}\0{}\0{time:?}\n", path.display(), font.data().len())
    });
    digest::sha256(lines.collect::<String>().as_bytes())
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
        reason = "a mapped file must not shrink or change. Faces are installed once and replaced \
                  by rename, which leaves the mapped file as it was; and whoever can rewrite them \
                  in place can replace the program too. What it buys: all children share one copy"
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

/// The roles with their chains.
fn chained(
    roles: &config::Roles,
    book: &FontBook,
    faces: &[Face],
    folders: &[PathBuf],
) -> Result<Vec<Role>, Outage> {
    let mut roles = cast(roles, book, faces, folders)?;
    let chains = roles
        .iter()
        .map(|role| chain(role, &roles, book, faces))
        .collect::<Vec<_>>();
    roles
        .iter_mut()
        .zip(chains)
        .for_each(|(role, chain)| role.chain = chain);
    Ok(roles)
}

/// The families of each role that are there, the first one first. Without chains yet: a chain has
/// the other roles' families too.
fn cast(
    roles: &config::Roles,
    book: &FontBook,
    faces: &[Face],
    folders: &[PathBuf],
) -> Result<Vec<Role>, Outage> {
    let roles = [
        ("fangsong", "仿宋, the text", &roles.fangsong),
        ("kaiti", "楷体, the second level", &roles.kaiti),
        ("heiti", "黑体, the first level", &roles.heiti),
        ("songti", "宋体, tables and page numbers", &roles.songti),
        ("biaosong", "小标宋, the title", &roles.biaosong),
        ("latin", "西文, digits and Latin", &roles.latin),
        ("fallback", "生僻字, rare characters", &roles.fallback),
    ];
    let mut wrong = Vec::new();
    let mut cast = Vec::new();
    for (key, what, wanted) in roles {
        let wanted = wanted.iter().map(|name| weighted(name)).collect::<Vec<_>>();
        let there = wanted.iter().filter_map(|&(name, weight)| {
            let index = book.select_family(&name.to_lowercase()).next()?;
            Some((book.info(index)?.family.clone(), weight))
        });
        let there = there.collect::<Vec<_>>();
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
        let (family, weight) = there.first().cloned().unwrap_or((String::new(), REGULAR));
        let face = book.select(&family.to_lowercase(), variant(weight));
        let face = face.and_then(|face| faces.get(face));
        cast.push(Role {
            key,
            what,
            family,
            file: face.map(|face| face.path.clone()).unwrap_or_default(),
            weight,
            families: there.into_iter().map(|(family, _)| family).collect(),
            chain: Vec::new(),
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
    covers: Covers,
}

/// Which characters a family is asked for.
enum Covers {
    All,
    /// ASCII and the minus sign.
    Latin,
    /// These.
    Only(String),
    /// All but Latin and these.
    Rest(String),
}

impl Covers {
    fn is_latin(c: char) -> bool {
        matches!(c, ' '..='~' | MINUS)
    }
}

impl Link {
    fn takes(&self, c: char) -> bool {
        match &self.covers {
            Covers::All => true,
            Covers::Latin => Covers::is_latin(c),
            Covers::Only(these) => these.contains(c),
            Covers::Rest(these) => !Covers::is_latin(c) && !these.contains(c),
        }
    }

    fn json(&self) -> Value {
        match &self.covers {
            Covers::All => json!({ "name": self.family }),
            Covers::Latin => json!({ "name": self.family, "covers": format!("[ -~{MINUS}]") }),
            // None of them means anything in a character class.
            Covers::Only(these) => json!({ "name": self.family, "covers": format!("[{these}]") }),
            Covers::Rest(these) => {
                json!({ "name": self.family, "covers": format!("[^ -~{MINUS}{these}]") })
            }
        }
    }
}

/// The chain of a role: its own face but for what follows, digits and Latin from the latin role,
/// what its own face draws too narrow from the first face that doesn't; then its own families,
/// 宋体, 黑体, every other role's, and the rare characters' last. So every chain has every family, and
/// a character that any of them has is drawn in every role. The engine tries a text on one link
/// after another and each time goes on with what was not drawn: so what draws most comes first.
fn chain(role: &Role, roles: &[Role], book: &FontBook, faces: &[Face]) -> Vec<Link> {
    let of = |key: &str| roles.iter().find(|role| role.key == key);
    let mut families = role.families.iter().collect::<Vec<_>>();
    let others = ["songti", "heiti"].into_iter().filter_map(of);
    let others = others.chain(roles.iter().filter(|role| role.key != "fallback"));
    let others = others.chain(of("fallback"));
    families.extend(others.flat_map(|role| &role.families));
    let mut seen = BTreeSet::new();
    families.retain(|&family| seen.insert(family));

    let mut chain = Vec::<Link>::new();
    let link = |family: &String, covers| Link {
        family: family.clone(),
        covers,
    };
    if role.key != "latin" {
        let right = |family: &str, c| {
            let em = width(family, role.weight, c, book, faces);
            if c == DOT {
                (0.4..=0.6).contains(&em)
            } else {
                em >= 0.85
            }
        };
        let mut donated = String::new();
        for c in WIDE
            .chars()
            .chain([DOT])
            .filter(|&c| !right(&role.family, c))
        {
            let Some(&donor) = families.iter().find(|family| right(family, c)) else {
                continue;
            };
            donated.push(c);
            match chain.iter_mut().find(|link| link.family == *donor) {
                Some(Link {
                    covers: Covers::Only(these),
                    ..
                }) => these.push(c),
                _ => chain.push(link(donor, Covers::Only(c.to_string()))),
            }
        }
        chain.splice(
            0..0,
            of("latin").map(|latin| link(&latin.family, Covers::Latin)),
        );
        chain.insert(0, link(&role.family, Covers::Rest(donated)));
    }
    chain.extend(families.into_iter().map(|family| link(family, Covers::All)));
    chain
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
fn drawable(roles: &[Role], book: &FontBook) -> Bits {
    let mut every = Bits::full();
    for role in roles.iter().filter(|role| role.key != "fallback") {
        let mut any = Bits::empty();
        for link in role
            .chain
            .iter()
            .filter(|link| matches!(link.covers, Covers::All))
        {
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

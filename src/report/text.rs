//! Text as it comes out of other programs, and as it is set.
//!
//! Takes a string of a job, gives the text for the page: without the indent that the page makes
//! itself and the characters that show nothing, and with the characters that were meant where
//! others only look like them. Never guesses what was lost: a text that says so is refused. What
//! is attached to the PDF stays as it was sent. If we crash here, nothing has happened yet.
//!
//! The JSON Schema says the same in a pattern, made here from the same lists.

use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::{decompose_canonical, decompose_compatible};
use unicode_normalization::{IsNormalized, is_nfc_quick};

use super::json::{Node, Place, Problems, bad, wrong};
use crate::problem::{Code, Problem};

/// Where a text stands, which says what may be in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A paragraph: one string.
    Paragraph,
    /// A heading, a name, a remark: one line.
    Line,
    /// A title, a note, a caption: `\n` is a line break that the sender chose.
    Lines,
    /// A cell of a table in the text: as `Lines`, or nothing.
    Cell,
}

impl Kind {
    fn takes_lines(self) -> bool {
        matches!(self, Kind::Lines | Kind::Cell)
    }
}

/// Characters that show nothing and are not set: zero width space, byte order mark, soft hyphen.
const UNSET: [char; 3] = ['\u{200B}', '\u{FEFF}', '\u{AD}'];

/// What ends a line, a page or a cell elsewhere, or moves to a stop, and has no place inside a
/// text: the character and what it is.
const BREAKS: [(char, &str, &str); 9] = [
    ('\n', "a line end", "换行符"),
    ('\r', "a line end", "换行符"),
    ('\t', "a tab", "制表符"),
    (
        '\u{7}',
        "the end mark of a cell in Word",
        "Word单元格结束符",
    ),
    ('\u{B}', "a line break of Word", "Word软回车"),
    ('\u{C}', "a page break", "分页符"),
    ('\u{85}', "a line end", "换行符"),
    ('\u{2028}', "a line separator", "行分隔符"),
    ('\u{2029}', "a paragraph separator", "段落分隔符"),
];

/// What other programs put where they lost something.
const LOST: [(char, &str, &str); 2] = [
    (
        '\u{FFFD}',
        "U+FFFD REPLACEMENT CHARACTER: a character was lost before the text came here",
        "U+FFFD（替换字符），说明原有文字在转换中已丢失",
    ),
    (
        '\u{FFFC}',
        "U+FFFC OBJECT REPLACEMENT CHARACTER: a picture or another object was lost before the text \
         came here",
        "U+FFFC（对象替换字符），说明原有图片等对象已丢失",
    ),
];

/// The most characters of a text that a warning names, more than there are Kangxi radicals; more
/// are counted.
const NAMED: usize = 250;

/// Reads a text of this kind, as it is to be set.
pub fn read(node: &Node, place: &Place, kind: Kind, problems: &mut Problems) -> String {
    let Node::String(sent) = node else {
        wrong(problems, place, node, "a string", "字符串");
        return String::new();
    };
    for (lost, en, zh) in LOST {
        if sent.contains(lost) {
            let (en, zh) = (
                format!("holds {en}; send what stood there"),
                format!("含有{zh}；请补回原文"),
            );
            bad(problems, place, &en, &zh);
        }
    }
    let text = sent.replace("\r\n", "\n").replace(UNSET, "");
    let text = text.trim();
    if text.is_empty() && kind != Kind::Cell {
        bad(problems, place, "must not be empty", "不能为空");
    }
    let allowed = |c| c == '\n' && kind.takes_lines();
    let found = |&(c, ..): &(char, &str, &str)| text.contains(c) && !allowed(c);
    if let Some((c, en, zh)) = BREAKS.into_iter().find(found) {
        let point = format!("U+{:04X}", u32::from(c));
        let (fix, fix_zh) = match kind {
            Kind::Paragraph => (
                "a paragraph is one string: send each paragraph as a string of its own",
                "一个段落为一个字符串，请将各段分别作为数组的一项",
            ),
            Kind::Line => ("it must be one line", "不能换行"),
            Kind::Lines | Kind::Cell => ("only \\n ends a line here", "此处仅可用\\n换行"),
        };
        let (en, zh) = (
            format!("holds {en} ({point}); {fix}"),
            format!("含有{zh}（{point}）；{fix_zh}"),
        );
        bad(problems, place, &en, &zh);
    }
    meant(&plain(text), place, problems)
}

/// The text with one space for each run of white space in a line, and no empty lines.
fn plain(text: &str) -> String {
    let mut lines = Vec::new();
    for line in text.split('\n') {
        let words = line.split_whitespace().collect::<Vec<_>>();
        if !words.is_empty() {
            lines.push(words.join(" "));
        }
    }
    lines.join("\n")
}

/// The text with the characters that were meant: those that others only look like, which is told,
/// and composed ones (NFC), which are the same by definition.
fn meant(text: &str, place: &Place, problems: &mut Problems) -> String {
    let mut alike = Vec::new();
    let mut text: String = text
        .chars()
        .map(|c| {
            let Some(meant) = unified(c) else { return c };
            if !alike.contains(&(c, meant)) {
                alike.push((c, meant));
            }
            meant
        })
        .collect();
    if is_nfc_quick(text.chars()) != IsNormalized::Yes {
        text = text.nfc().collect();
    }
    if alike.is_empty() {
        return text;
    }
    let (mut en, mut zh) = (Vec::new(), Vec::new());
    for (sent, meant) in alike.iter().take(NAMED) {
        let points = [sent, meant].map(|c| format!("U+{:04X}", u32::from(*c)));
        let [from, to] = points;
        en.push(format!("{sent} ({from}) as {meant} ({to})"));
        zh.push(format!("{sent}（{from}）排为{meant}（{to}）"));
    }
    let (mut en, mut zh) = (en.join(", "), zh.join("、"));
    if let more @ 1.. = alike.len().saturating_sub(NAMED) {
        en.push_str(&format!(" and {more} more"));
        zh.push_str(&format!("等，另有{more}个"));
    }
    problems.push(Problem::new(
        Code::CHARACTER,
        &place.pointer,
        format!("characters that only look like the ones meant are set as those: {en}"),
        format!("有字符与规范用字形同而编码不同，已按规范用字排印：{zh}"),
    ));
    text
}

/// The character that is meant by one that only looks like it: by a Kangxi radical, another CJK
/// radical with a unified equivalent, or a compatibility ideograph.
fn unified(c: char) -> Option<char> {
    let mut meant = None;
    let mut take = |to| meant = Some(to);
    match c {
        '\u{2E80}'..='\u{2EFF}' => meant = radical(c),
        '\u{2F00}'..='\u{2FDF}' => decompose_compatible(c, take),
        '\u{F900}'..='\u{FAFF}' | '\u{2F800}'..='\u{2FA1F}' => decompose_canonical(c, &mut take),
        _ => {}
    }
    meant.filter(|&meant| meant != c)
}

fn radical(c: char) -> Option<char> {
    let mut characters = RADICALS.chars();
    while let (Some(radical), Some(unified)) = (characters.next(), characters.next()) {
        if radical == c {
            return Some(unified);
        }
    }
    None
}

/// The radicals of the block U+2E80–2EFF, each followed by its unified equivalent: what the Unicode
/// Character Database's `EquivalentUnifiedIdeograph.txt` (14.0) has of that block. Normalisation
/// knows only two of them.
const RADICALS: &str = "\
    ⺁厂⺂乛⺃乚⺄乙⺅亻⺆冂⺇𠘨⺈刀⺉刂⺊卜⺋㔾⺌小⺍小⺎兀⺏尣⺐尢⺑𡯂⺒巳⺓幺⺔彑\
    ⺕彐⺖忄⺗心⺘扌⺙攵⺛旡⺜日⺝月⺞歺⺟母⺠民⺡氵⺢氺⺣灬⺤爫⺥爫⺦丬⺧牛⺨犭⺩王\
    ⺪𤴔⺫目⺬示⺭礻⺮𥫗⺯糹⺰纟⺱罓⺲罒⺳㓁⺴冗⺵𦉫⺶羊⺷𦍌⺸𦍋⺹耂⺺肀⺻聿⺼肉⺽𦥑\
    ⺾艹⺿艹⻀艹⻁虎⻂衤⻃覀⻄西⻅见⻆角⻇𧢲⻈讠⻉贝⻊𧾷⻋车⻌辶⻍辶⻎辶⻏邑⻐钅⻑長\
    ⻒镸⻓长⻔门⻕𨸏⻖阝⻗雨⻘青⻙韦⻚页⻛风⻜飞⻝食⻞𩙿⻟飠⻠饣⻡𩠐⻢马⻣骨⻤鬼⻥鱼\
    ⻦鸟⻧卤⻨麦⻩黄⻪黾⻫斉⻬齐⻭歯⻮齿⻯竜⻰龙⻱龜⻲亀⻳龟";

/// A regular expression for the texts of a kind that [`read`] takes, in what ECMA 262 and all
/// validators share.
pub fn pattern(kind: Kind) -> String {
    let listed = |characters: &mut dyn Iterator<Item = char>| -> String {
        characters
            .map(|c| format!("\\u{:04X}", u32::from(c)))
            .collect()
    };
    let white = (0..=0xFFFF).filter_map(char::from_u32);
    let white = white.filter(|c| c.is_whitespace());
    // What is not set at either end; what is never there; what is not there but at the ends.
    let ends = listed(&mut white.chain(UNSET));
    let never = listed(&mut LOST.map(|(c, ..)| c).into_iter().chain(['\u{7}']));
    let breaks = listed(&mut BREAKS.map(|(c, ..)| c).into_iter());
    let lost = listed(&mut LOST.map(|(c, ..)| c).into_iter());
    let shown = format!("[^{ends}{never}]");
    let inside = match kind.takes_lines() {
        false => format!("[^{breaks}{lost}]"),
        true => format!("(?:[^{breaks}{lost}]|\\r?\\n)"),
    };
    let text = format!("{shown}(?:{inside}*{shown})?[{ends}]*");
    match kind {
        Kind::Cell => format!("^[{ends}]*(?:{text})?$"),
        _ => format!("^[{ends}]*{text}$"),
    }
}

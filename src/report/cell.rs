//! How a cell of the official tables is read, and how it is printed.

use rust_decimal::Decimal;
use time::Date;
use unicode_normalization::UnicodeNormalization as _;

use super::form::CellKind;
use super::json::{Fields, Node, Place, Problems, wrong, wrong_but};
use super::text::{self, Kind as Text};
use super::{Cell, MARKS, MAX_COUNT, Money};

/// The units of money, each with its multiple of 元; those that another begins come first.
pub const UNITS: [(&str, i64); 4] = [
    ("亿元", 100_000_000),
    ("万元", 10_000),
    ("万", 10_000),
    ("元", 1),
];

/// How many 元 a unit of money is; none, of what is no such unit.
pub fn in_yuan(unit: &str) -> Option<i64> {
    let known = UNITS.iter().find(|(known, _)| *known == unit);
    known.map(|(_, factor)| *factor)
}

/// Reads what stands in a cell. What cannot be read is noted, and is [`Cell::Unread`].
pub fn read(node: &Node, place: &Place, kind: &CellKind, problems: &mut Problems) -> Cell {
    if let Some(cell) = open(node) {
        return cell;
    }
    match kind {
        CellKind::Count => read_count(node, place, problems),
        CellKind::Change => read_change(node, place, problems),
        CellKind::Money(unit) => read_money(node, place, Units::Of(unit), problems),
        CellKind::MoneyWithUnit(units) => read_money(node, place, Units::Any(units), problems),
        CellKind::Percent => read_money(node, place, Units::Percent, problems),
        CellKind::Text => match node {
            Node::String(_) => Cell::Text(text::read(node, place, Text::Line, problems)),
            _ => unread(node, place, ("a text", "文本"), None, problems),
        },
        CellKind::Date => match read_date(node, place, problems) {
            Some(day) => Cell::Text(date(day)),
            None => Cell::Unread,
        },
        CellKind::YesNo => match node {
            Node::Bool(yes) => Cell::Text(if *yes { "是" } else { "否" }.to_owned()),
            _ => unread(
                node,
                place,
                ("true or false", "true或false"),
                None,
                problems,
            ),
        },
        CellKind::Choice(options) => match node.as_str() {
            Some(word) if options.iter().any(|option| option == word) => {
                Cell::Text(word.to_owned())
            }
            _ => {
                let (en, zh) = (options.join(", "), options.join("、"));
                let (en, zh) = (format!("one of {en}"), format!("以下之一：{zh}"));
                unread(node, place, (&en, &zh), None, problems)
            }
        },
    }
}

/// A cell of the wrong kind, and what to send instead where that is plain.
fn unread(
    node: &Node,
    place: &Place,
    (en, zh): (&str, &str),
    instead: Option<(String, String)>,
    problems: &mut Problems,
) -> Cell {
    let marks = MARKS.join(" ");
    let en = format!("{en}; or null or a mark ({marks}) where there is none");
    let zh = format!("{zh}；无此项的填null或{marks}之一");
    wrong_but(problems, place, node, (&en, &zh), instead);
    Cell::Unread
}

/// A date that exists.
pub(super) fn read_date(node: &Node, place: &Place, problems: &mut Problems) -> Option<Date> {
    let form = time::macros::format_description!("[year]-[month]-[day]");
    let date = node.as_str().and_then(|text| Date::parse(text, form).ok());
    if date.is_none() {
        let (en, zh) = (
            "a date that exists, as \"2021-01-26\"",
            "真实日期，格式如“2021-01-26”",
        );
        wrong(problems, place, node, en, zh);
    }
    date
}

/// A date in Arabic digits, no leading zeros (GB/T 9704-2012, 7.3.5.4): 2021年1月26日.
pub fn date(date: Date) -> String {
    let (year, month, day) = (date.year(), u8::from(date.month()), date.day());
    format!("{year}年{month}月{day}日")
}

/// A cell as it is printed: `22（其中修订16件）`, `+2`, a mark, or nothing.
pub fn printed(cell: &Cell, kind: &CellKind) -> String {
    match cell {
        Cell::Number {
            value,
            remark: Some(remark),
        } => format!("{value}（{remark}）"),
        Cell::Number {
            value,
            remark: None,
        } if *kind == CellKind::Change && *value > 0 => {
            format!("+{value}")
        }
        Cell::Number {
            value,
            remark: None,
        } => value.to_string(),
        Cell::Money(money) => money.text.clone(),
        Cell::Text(text) => text.clone(),
        Cell::Mark(mark) => (*mark).to_owned(),
        Cell::Blank | Cell::Absent | Cell::Unread => String::new(),
    }
}

/// The units that an amount may have.
#[derive(Clone, Copy)]
enum Units<'a> {
    /// None: the column has this one.
    Of(&'a str),
    /// One of these, or none.
    Any(&'a [String]),
    /// The sign of percentages.
    Percent,
}

impl Units<'_> {
    fn take(self, unit: &str) -> bool {
        match self {
            Units::Of(_) => unit.is_empty(),
            Units::Any(units) => unit.is_empty() || units.iter().any(|known| known == unit),
            Units::Percent => unit == "%",
        }
    }
}

/// A cell that holds no figure and says so: `null`, or a mark.
fn open(node: &Node) -> Option<Cell> {
    match node {
        Node::Null => Some(Cell::Blank),
        Node::String(text) => {
            let mark = MARKS.into_iter().find(|mark| mark == text)?;
            Some(Cell::Mark(mark))
        }
        _ => None,
    }
}

/// A change: a whole number with or without a sign, `null`, or a mark.
fn read_change(node: &Node, place: &Place, problems: &mut Problems) -> Cell {
    match node.whole() {
        Some(value) if value.abs() <= MAX_COUNT => Cell::Number {
            value,
            remark: None,
        },
        _ => {
            let want = (
                "a whole number from -10^12 to 10^12, as 2 or -18",
                "-10^12至10^12的整数，如 2 或 -18",
            );
            unread(node, place, want, instead(node, -MAX_COUNT), problems)
        }
    }
}

/// Digits before and after the point of an amount: what a decimal holds exactly.
pub(super) const MONEY_DIGITS: (usize, usize) = (18, 10);

/// The units that money is sent in.
const MONEY_UNITS: [&str; 4] = ["元", "万", "万元", "亿元"];

/// An amount with one of the units.
fn money(sent: &str, units: Units<'_>) -> Option<Money> {
    // A share may fall.
    let (sign, text) = match (units, sent.strip_prefix('-')) {
        (Units::Percent, Some(rest)) => (-Decimal::ONE, rest),
        _ => (Decimal::ONE, sent),
    };
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let plain = (1..=MONEY_DIGITS.0).contains(&whole.len())
        && (1..=MONEY_DIGITS.1).contains(&part.len())
        && !part.contains('.');
    let amount = Decimal::from_str_exact(number).ok().filter(|_| plain)?;
    units.take(unit).then(|| Money {
        text: sent.to_owned(),
        amount: sign * amount,
        unit: unit.to_owned(),
    })
}

fn read_money(node: &Node, place: &Place, units: Units<'_>, problems: &mut Problems) -> Cell {
    if let Some(money) = node.as_str().and_then(|text| money(text, units)) {
        return Cell::Money(money);
    }
    let (en, zh) = match units {
        Units::Of(unit) => (
            format!("a decimal string in {unit}, as \"24252.311082\""),
            format!("以{unit}为单位的小数字符串，如“24252.311082”"),
        ),
        Units::Percent => (
            "a percentage, as \"85.3%\"".to_owned(),
            "百分数，如“85.3%”".to_owned(),
        ),
        Units::Any(units) => {
            let unit = units.get(1).or(units.first()).map_or("", String::as_str);
            (
                format!(
                    "a decimal string with {} or no unit, as \"2823.12{unit}\"",
                    units.join(", ")
                ),
                format!(
                    "小数字符串，单位为{}或不写，如“2823.12{unit}”",
                    units.join("、")
                ),
            )
        }
    };
    let instead = instead_of_money(node, units);
    unread(node, place, (&en, &zh), instead, problems)
}

/// Digits as other programs write them, as plain ones: full width, with spaces and thousands
/// separators. A comma that separates no thousands may be a point, and stays.
pub fn plain_digits(text: &str) -> String {
    let plain: String = text.nfkc().filter(|c| !c.is_whitespace()).collect();
    let digits = |part: &str| part.bytes().take_while(u8::is_ascii_digit).count();
    let mut parts = plain.split(',');
    let first = parts.next().unwrap_or_default();
    match (1..=3).contains(&digits(first)) && parts.all(|part| digits(part) == 3) {
        true => plain.replace(',', ""),
        false => plain,
    }
}

/// What to send instead of a figure that was sent as text; `least` is the least that it may be.
fn instead(node: &Node, least: i64) -> Option<(String, String)> {
    let plain = plain_digits(node.as_str()?);
    let taken = |digits: &str| {
        let digits = match digits.split_once('.') {
            Some((whole, part)) if part.chars().all(|c| c == '0') => whole,
            _ => digits,
        };
        let number = digits.parse::<i64>().ok();
        number.filter(|number| (least..=MAX_COUNT).contains(number))
    };
    if let Some(number) = taken(&plain) {
        return Some((
            format!("the figure was sent as text: send {number}, without quotes or separators"),
            format!("所填为文本，请直接填数字{number}，不加引号和分隔符"),
        ));
    }
    // 22（其中修订16件）, or 22件, in one string. NFKC has made the brackets plain.
    let (digits, rest) = plain.split_at(plain.find(|c: char| !c.is_ascii_digit())?);
    let number = taken(digits)?;
    let remark = rest
        .strip_prefix('(')
        .and_then(|rest| rest.strip_suffix(')'));
    let sent = match remark.filter(|_| least == 0) {
        Some(remark) => format!("{{\"value\": {number}, \"remark\": \"{remark}\"}}"),
        None => number.to_string(),
    };
    Some((
        format!("the figure was sent as text: send {sent}"),
        format!("所填为文本，请填{sent}"),
    ))
}

/// What to send instead of money that was sent otherwise.
fn instead_of_money(node: &Node, units: Units<'_>) -> Option<(String, String)> {
    let wanted = |text: &str| money(text, units).map(|money| money.text);
    if let Node::Number(number) = node {
        let text = wanted(&number.to_string())?;
        return Some((
            format!("money is a string, so that no digit is lost: send \"{text}\""),
            format!("金额须为字符串，以免丢失精度：请填\"{text}\""),
        ));
    }
    let plain = plain_digits(node.as_str()?);
    if let Some(text) = wanted(&plain) {
        return Some((
            format!("send \"{text}\": plain digits, without separators or spaces"),
            format!("请填\"{text}\"，不用千位分隔符、空格和全角数字"),
        ));
    }
    // The unit that the column has already, or another.
    let Units::Of(own) = units else {
        return None;
    };
    let known = MONEY_UNITS.map(str::to_owned);
    let other = money(&plain, Units::Any(&known))?;
    if other.unit.trim_end_matches('元') == own.trim_end_matches('元') {
        let text = plain.trim_end_matches(other.unit.as_str());
        return Some((
            format!("the column says {own} already: send \"{text}\""),
            format!("表头已注明单位为{own}：请填\"{text}\""),
        ));
    }
    let unit = other.unit;
    Some((
        format!(
            "the column is in {own}, and this in {unit}: convert it, and send the number alone"
        ),
        format!("表头单位为{own}，所填为{unit}：请换算后只填数字"),
    ))
}

/// A count: a whole number, `null`, a mark, or a number with a remark.
fn read_count(node: &Node, place: &Place, problems: &mut Problems) -> Cell {
    let number = |value: Option<i64>, remark| match value {
        Some(value) => Cell::Number { value, remark },
        None => Cell::Unread,
    };
    let Node::Object(_) = node else {
        return number(read_number(node, place, problems), None);
    };
    let Some(mut fields) = Fields::of(node, place, problems) else {
        return Cell::Unread;
    };
    let value = fields.required("value", "", problems);
    let remark = fields.required("remark", "", problems);
    fields.finish(problems);
    let remark = remark.map(|(node, place)| text::read(node, &place, Text::Line, problems));
    let value = value.and_then(|(node, place)| read_number(node, &place, problems));
    number(value, remark)
}

fn read_number(node: &Node, place: &Place, problems: &mut Problems) -> Option<i64> {
    let number = node.whole().filter(|value| (0..=MAX_COUNT).contains(value));
    if number.is_none() {
        let marks = MARKS.join(" ");
        let en = format!(
            "a whole number from 0 to 10^12; null or a mark ({marks}) where the agency has none; \
             or {{\"value\", \"remark\"}}"
        );
        let zh = format!(
            "0至10^12的整数；机关无此项的填null或{marks}之一；带说明的用{{\"value\", \"remark\"}}"
        );
        wrong_but(problems, place, node, (&en, &zh), instead(node, 0));
    }
    number
}

//! The text of a cell as the figure that a job has for it.

use rust_decimal::Decimal;
use serde_json::{Value as Json, json};
use unicode_normalization::UnicodeNormalization as _;

use super::words;
use crate::report::cell::{UNITS, in_yuan};
use crate::report::form::CellKind;
use crate::report::{MARKS, MAX_COUNT};

/// What is counted, and said after the number.
const COUNTED: [&str; 9] = ["件", "条", "项", "次", "个", "份", "起", "宗", "人次"];

/// Marks as other keyboards have them, and that of the job that is meant.
const DASHES: [&str; 9] = ["——", "－－", "--", "–", "―", "─", "━", "\\", "＼"];

/// What a cell was taken for; what was assumed in it: English and Chinese.
pub(super) type Figure = (Json, Option<(String, String)>);

/// The unit that a head names for the figures under it.
pub(super) fn unit_of(head: &str) -> Option<&'static str> {
    let head = words::norm(head);
    let named = |unit: &&(&str, i64)| head.contains(unit.0);
    UNITS.iter().find(named).map(|(unit, _)| *unit)
}

/// A text without white space and with plain digits.
fn plain(text: &str) -> String {
    let shown = text.nfkc().filter(|c| !c.is_whitespace());
    shown
        .filter(|c| !"\u{200B}\u{FEFF}\u{AD}".contains(*c))
        .collect()
}

/// Whether a text can be a cell's figure and no sentence or label: a number with or without a unit
/// or a remark, or a mark.
pub(super) fn is_figure(text: &str) -> bool {
    const MOST: usize = 40;
    if text.len() > MOST * 4 {
        return false;
    }
    let text = plain(text);
    if mark(&text).is_some() {
        return true;
    }
    let Some((_, rest)) = number(&text) else {
        return false;
    };
    let units = COUNTED.iter().copied().chain(UNITS.map(|(unit, _)| unit));
    let rest = units
        .chain(["%"])
        .filter_map(|unit| rest.strip_prefix(unit))
        .min_by_key(|rest| rest.len())
        .unwrap_or(rest);
    rest.is_empty() || rest.starts_with('(') && rest.ends_with(')')
}

/// The mark of a job that a text of [`plain`] is, and whether it is written so.
fn mark(plain: &str) -> Option<&'static str> {
    let own = MARKS.into_iter().find(|mark| *mark == plain);
    own.or_else(|| DASHES.contains(&plain).then_some("—"))
}

/// The number that a text of [`plain`] begins with, without separators of thousands, and the rest.
fn number(plain: &str) -> Option<(String, &str)> {
    let (sign, text) = match plain.chars().next()? {
        '+' => ("", &plain[1..]),
        '-' => ("-", &plain[1..]),
        '−' => ("-", &plain['−'.len_utf8()..]),
        _ => ("", plain),
    };
    let end = text.find(|c: char| !c.is_ascii_digit() && c != ',' && c != '.');
    let (digits, rest) = text.split_at(end.unwrap_or(text.len()));
    let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
    let mut groups = whole.split(',');
    let first = groups.next().unwrap_or_default();
    let all = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let grouped = !whole.contains(',') || first.len() <= 3;
    let right = all(first) && grouped && groups.all(|group| group.len() == 3 && all(group));
    let number = format!("{sign}{}", digits.replace(',', ""));
    (right && all(part)).then_some((number, rest))
}

/// A whole number within what a job may have.
fn whole(number: &str) -> Option<i64> {
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let whole = whole
        .parse::<i64>()
        .ok()
        .filter(|whole| whole.abs() <= MAX_COUNT);
    whole.filter(|_| part.bytes().all(|digit| digit == b'0'))
}

/// Reads the text of a cell of this kind; `head` is the unit that the head of its column names. None
/// for what is no such figure.
pub(super) fn read(text: &str, kind: &CellKind, head: Option<&str>) -> Option<Figure> {
    let trimmed = text.trim();
    let plain = plain(text);
    if plain.is_empty() {
        return Some((Json::Null, None));
    }
    if MARKS.contains(&trimmed) {
        return Some((json!(trimmed), None));
    }
    if let Some(mark) = mark(&plain) {
        let assumed = MARKS.contains(&plain.as_str()).then_some(None);
        return Some((json!(mark), assumed.unwrap_or(told(trimmed, mark))));
    }
    match kind {
        CellKind::Count => count(trimmed, &plain),
        CellKind::Change => change(trimmed, &plain),
        CellKind::Money(unit) => money(trimmed, &plain, unit, head),
        CellKind::MoneyWithUnit(units) => money_with_unit(&plain, units, head),
        CellKind::Percent => {
            let (number, rest) = number(&plain)?;
            let assumed = match rest {
                "%" => None,
                "" => told(trimmed, &format!("{number}%")),
                _ => return None,
            };
            Some((json!(format!("{number}%")), assumed))
        }
        CellKind::Text => {
            let words: Vec<&str> = text.split_whitespace().collect();
            Some((json!(words.join(" ")), None))
        }
        CellKind::Date => words::date(&plain).map(|date| (json!(date.to_string()), None)),
        CellKind::YesNo => match plain.as_str() {
            "是" => Some((json!(true), None)),
            "否" => Some((json!(false), None)),
            _ => None,
        },
        CellKind::Choice(options) => {
            let option = options.iter().find(|option| *option == trimmed)?;
            Some((json!(option), None))
        }
    }
}

/// That one text was taken for another.
fn told(text: &str, taken: &str) -> Option<(String, String)> {
    Some((
        format!("“{text}” is taken for {taken}"),
        format!("“{text}”按{taken}读取"),
    ))
}

/// 22, 22件, 22（其中修订16件）.
fn count(text: &str, plain: &str) -> Option<Figure> {
    let (number, rest) = number(plain)?;
    let value = whole(&number).filter(|value| *value >= 0)?;
    let (unit, rest) = match COUNTED.into_iter().find_map(|unit| rest.strip_prefix(unit)) {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let inner = |text: &str| {
        let (_, inner) = text.split_once(['（', '('])?;
        let (inner, after) = inner.rsplit_once(['）', ')'])?;
        let words: Vec<&str> = inner.split_whitespace().collect();
        (after.trim().is_empty() && !words.is_empty()).then(|| words.join(" "))
    };
    let figure = match rest {
        "" => json!(value),
        _ if rest.starts_with('(') => json!({ "value": value, "remark": inner(text)? }),
        _ => return None,
    };
    let assumed = unit.then(|| told(text, &figure.to_string())).flatten();
    Some((figure, assumed))
}

/// 2, +2, -18, 减少18.
fn change(text: &str, plain: &str) -> Option<Figure> {
    let words = [
        ("增加", ""),
        ("减少", "-"),
        ("增", ""),
        ("减", "-"),
        ("新增", ""),
    ];
    let worded = words
        .into_iter()
        .find_map(|(word, sign)| Some((plain.strip_prefix(word)?, sign)));
    let (digits, sign) = worded.unwrap_or((plain, ""));
    let (number, rest) = number(digits)?;
    let unit = COUNTED.contains(&rest);
    let value = whole(&format!("{sign}{number}")).filter(|_| rest.is_empty() || unit)?;
    let changed = worded.is_some() || unit;
    let assumed = changed.then(|| told(text, &value.to_string())).flatten();
    Some((json!(value), assumed))
}

/// An amount and its unit, if it has one, in brackets or not.
fn amount(plain: &str) -> Option<(String, Option<&'static str>)> {
    let (number, rest) = number(plain)?;
    let unit = rest
        .strip_prefix('(')
        .and_then(|rest| rest.strip_suffix(')'));
    let unit = unit.unwrap_or(rest);
    match UNITS.into_iter().find(|(known, _)| *known == unit) {
        Some((unit, _)) => Some((number, Some(unit))),
        None => unit.is_empty().then_some((number, None)),
    }
}

/// An amount in the unit of the form's head. One in another unit is converted, exactly.
fn money(text: &str, plain: &str, own: &str, head: Option<&str>) -> Option<Figure> {
    let (number, unit) = amount(plain)?;
    let unit = unit.or(head).unwrap_or(own);
    if unit == own || in_yuan(unit) == in_yuan(own) {
        return Some((json!(number), None));
    }
    let value = Decimal::from_str_exact(&number).ok()?;
    let value = value.checked_mul(Decimal::from(in_yuan(unit)?))?;
    let value = value.checked_div(Decimal::from(in_yuan(own)?))?.normalize();
    let taken = format!("{value}{own}");
    Some((
        json!(value.to_string()),
        told(&format!("{text} {unit}"), &taken),
    ))
}

/// An amount with the agency's own unit, which may stand in the head instead.
fn money_with_unit(plain: &str, units: &[String], head: Option<&str>) -> Option<Figure> {
    let (number, unit) = amount(plain)?;
    let known = |unit: &&str| units.iter().any(|known| known == unit);
    match unit {
        Some(unit) => known(&unit).then(|| (json!(format!("{number}{unit}")), None)),
        None => match head.filter(|unit| known(unit)) {
            Some(unit) => {
                let taken = format!("{number}{unit}");
                Some((json!(taken), told(&number, &taken)))
            }
            None => Some((json!(number), None)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wan() -> CellKind {
        CellKind::Money("万元".to_owned())
    }

    fn any() -> CellKind {
        CellKind::MoneyWithUnit(["元", "万", "万元", "亿元"].map(str::to_owned).to_vec())
    }

    #[test]
    fn a_cell_is_read_as_agencies_write_it() {
        for (text, kind, expected, assumed) in [
            ("0", CellKind::Count, json!(0), false),
            (" １２ ", CellKind::Count, json!(12), false),
            ("1,234", CellKind::Count, json!(1234), false),
            ("1234", CellKind::Count, json!(1234), false),
            ("3.00", CellKind::Count, json!(3), false),
            ("22件", CellKind::Count, json!(22), true),
            ("", CellKind::Count, Json::Null, false),
            ("\u{a0}", CellKind::Count, Json::Null, false),
            ("/", CellKind::Count, json!("/"), false),
            ("／", CellKind::Count, json!("／"), false),
            ("无", CellKind::Count, json!("无"), false),
            ("——", CellKind::Count, json!("—"), true),
            ("+2", CellKind::Change, json!(2), false),
            ("－18", CellKind::Change, json!(-18), false),
            ("减少18", CellKind::Change, json!(-18), true),
            ("24252.311082", wan(), json!("24252.311082"), false),
            ("2823.12万元", wan(), json!("2823.12"), false),
            ("251000元", wan(), json!("25.1"), true),
            ("2823.12万", any(), json!("2823.12万"), false),
            ("75,394,432.52元", any(), json!("75394432.52元"), false),
            ("20000", any(), json!("20000"), false),
            ("85.3％", CellKind::Percent, json!("85.3%"), false),
            ("是", CellKind::YesNo, json!(true), false),
        ] {
            let read = read(text, &kind, None);
            let read = read.map(|(figure, said)| (figure, said.is_some()));
            assert_eq!(read, Some((expected, assumed)), "{text}");
        }
        let remark = json!({ "value": 22, "remark": "其中修订16件" });
        let read_remark = read("22（其中修订16件）", &CellKind::Count, None);
        assert_eq!(read_remark, Some((remark, None)));
        let (figure, assumed) = read("20000", &any(), Some("万元")).unwrap();
        assert_eq!((figure, assumed.is_some()), (json!("20000万元"), true));
        let (figure, assumed) = read("75", &wan(), Some("元")).unwrap();
        assert_eq!((figure, assumed.is_some()), (json!("0.0075"), true));
    }

    #[test]
    fn what_is_no_figure_is_none() {
        for text in [
            "-1",
            "1.5",
            "12,34",
            "约20",
            "1.属于国家秘密",
            "9999999999999",
        ] {
            assert_eq!(read(text, &CellKind::Count, None), None, "{text}");
        }
        for text in [
            "0",
            "-18",
            "2823.12万",
            "/",
            "22（其中修订16件）",
            "1,234件",
            "—",
        ] {
            assert!(is_figure(text), "{text}");
        }
        for text in ["", "1.属于国家秘密", "2020年，在市委", "规章", "1．"] {
            assert!(!is_figure(text), "{text}");
        }
    }
}

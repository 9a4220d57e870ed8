//! Words as agencies write them, and whether two of them are the same: the form's labels are looked
//! for in documents that number, quote and space them otherwise.

use time::{Date, Month};
use unicode_normalization::UnicodeNormalization as _;

/// A text for comparing: without white space and quotation marks, wide letters and brackets as
/// plain ones, the number of an item with a point.
pub(super) fn norm(text: &str) -> String {
    let shown = text.nfkc().filter(|&c| {
        !c.is_whitespace()
            && !"“”\"‘’'「」『』".contains(c)
            && !"\u{200B}\u{FEFF}\u{AD}".contains(c)
    });
    let mut norm: String = shown.collect();
    let digits = norm.len() - norm.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    if digits > 0 && norm[digits..].starts_with('、') {
        norm.replace_range(digits..digits + '、'.len_utf8(), ".");
    }
    norm
}

/// The numbers of Chinese.
const HAN: &str = "一二三四五六七八九十";

/// The number before a text that [`norm`] has made, and the text: 一、, (一), 1. and (1).
pub(super) fn numbered(norm: &str) -> (&str, &str) {
    let is_han = |c: char| HAN.contains(c);
    let is_digit = |c: char| c.is_ascii_digit();
    let end = |text: &str, of: &dyn Fn(char) -> bool, mark: char| {
        let rest = text.trim_start_matches(of);
        let rest = rest
            .strip_prefix(mark)
            .filter(|_| rest.len() < text.len())?;
        Some(norm.len() - rest.len())
    };
    let at = match norm.strip_prefix('(') {
        Some(inner) => end(inner, &is_han, ')').or_else(|| end(inner, &is_digit, ')')),
        None => end(norm, &is_han, '、').or_else(|| end(norm, &is_digit, '.')),
    };
    norm.split_at(at.unwrap_or(0))
}

/// A text of [`norm`] without its number, if anything is left then.
pub(super) fn bare(norm: &str) -> &str {
    match numbered(norm) {
        (_, "") => norm,
        (_, bare) => bare,
    }
}

/// How alike two texts must be to be one with a slip in it.
const ALIKE: f64 = 0.75;

/// How alike two texts are, from 0 to 1; nothing, if that is too little to be the same one.
pub(super) fn alike(one: &str, other: &str) -> Option<f64> {
    let (a, b) = (one.chars().count(), other.chars().count());
    let (short, long) = (a.min(b), a.max(b));
    if short < 3 || short as f64 / (long as f64) < 0.5 {
        return None;
    }
    // 规范性文件 in the place of 行政规范性文件.
    let part = short >= 4 && (one.contains(other) || other.contains(one));
    let alike = if part { ALIKE } else { 0.0 };
    let alike = alike.max(strsim::normalized_levenshtein(one, other));
    (alike >= ALIKE).then_some(alike)
}

/// A label of the form.
#[derive(Debug, Clone)]
pub(super) struct Label {
    norm: String,
}

impl Label {
    pub(super) fn of(text: &str) -> Label {
        Label { norm: norm(text) }
    }

    /// Without its number.
    pub(super) fn bare(&self) -> &str {
        bare(&self.norm)
    }

    /// Whether a text of [`norm`] says it: with another number or with none, with an explanation in
    /// brackets after it, or without the one that the form has.
    pub(super) fn is(&self, said: &str) -> bool {
        let (own, said) = (self.bare(), bare(said));
        let explained = |long: &str, short: &str| {
            let rest = long.strip_prefix(short);
            short.chars().count() >= 2 && rest.is_some_and(|rest| rest.starts_with('('))
        };
        self.norm == said || own == said || explained(said, own) || explained(own, said)
    }

    /// Whether a text of [`norm`] may be its beginning.
    pub(super) fn begins_with(&self, said: &str) -> bool {
        self.norm.starts_with(said) || self.bare().starts_with(bare(said))
    }
}

/// A year in a text: where it stands, with what it is.
pub(super) fn year(text: &str) -> Option<(std::ops::Range<usize>, u16)> {
    let digits: Vec<(usize, char, Option<u16>)> = text
        .char_indices()
        .map(|(at, c)| (at, c, digit(c)))
        .collect();
    digits.windows(4).find_map(|run| {
        let year = run
            .iter()
            .try_fold(0, |year, (_, _, digit)| Some(year * 10 + (*digit)?))?;
        let (first, (last, c, _)) = (run[0].0, run[3]);
        let before = text[..first].chars().next_back().and_then(digit);
        let after = text[last + c.len_utf8()..].chars().next().and_then(digit);
        let alone = before.is_none() && after.is_none();
        let range = first..last + c.len_utf8();
        (alone && (2000..=2100).contains(&year)).then_some((range, year))
    })
}

/// A digit, plain, wide or Chinese.
fn digit(c: char) -> Option<u16> {
    const ZEROS: &str = "〇○零";
    match c {
        '0'..='9' => c.to_digit(10).and_then(|digit| u16::try_from(digit).ok()),
        '０'..='９' => u16::try_from(u32::from(c) - u32::from('０')).ok(),
        _ if ZEROS.contains(c) => Some(0),
        _ => {
            let at = HAN.chars().take(9).position(|han| han == c)?;
            u16::try_from(at + 1).ok()
        }
    }
}

/// The date that a text is: 2021年1月26日 or 二〇二一年一月二十六日.
pub(super) fn date(text: &str) -> Option<Date> {
    let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let (year_text, rest) = text.split_once('年')?;
    let (month, rest) = rest.split_once('月')?;
    let day = rest.strip_suffix('日')?;
    let (range, year) = year(year_text)?;
    if range != (0..year_text.len()) {
        return None;
    }
    let month = Month::try_from(small(month)?).ok()?;
    Date::from_calendar_date(i32::from(year), month, small(day)?).ok()
}

/// A number below a hundred: 26, ２６, 二十六.
fn small(text: &str) -> Option<u8> {
    if let Some((tens, ones)) = text.split_once('十') {
        let part = |text: &str, empty| match text {
            "" => Some(empty),
            text => digits(text).filter(|number| *number < 10),
        };
        return Some(part(tens, 1)? * 10 + part(ones, 0)?);
    }
    digits(text)
}

/// A number of one or two digits.
fn digits(text: &str) -> Option<u8> {
    let digits: Option<Vec<u16>> = text.chars().take(3).map(digit).collect();
    let digits = digits.filter(|digits| (1..=2).contains(&digits.len()))?;
    let number = digits.iter().fold(0, |number, digit| number * 10 + digit);
    u8::try_from(number).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_known_however_it_is_numbered_spaced_and_quoted() {
        for (label, said) in [
            ("1.属于国家秘密", "1．属于国家秘密"),
            ("1.属于国家秘密", "1、 属于国家秘密"),
            ("1.属于国家秘密", "属于国家秘密"),
            ("3.危及“三安全一稳定”", "3.危及\"三安全一稳定\""),
            ("四、结转下年度继续办理", "四、结转下年\n度继续办理"),
            ("（一）予以公开", "(一)予以公开"),
            ("采购总金额", "采购总金额（万元）"),
            ("规章", "规章（设区的市应提供）"),
            ("（二）部分公开（区分处理的）", "（二）部分公开"),
        ] {
            assert!(Label::of(label).is(&norm(said)), "{label}: {said}");
        }
        for (label, said) in [
            ("行政处罚", "行政强制"),
            ("其他", "其他结果"),
            ("规章", "规章制度"),
        ] {
            assert!(!Label::of(label).is(&norm(said)), "{label}: {said}");
        }
        let slip = ("其他法律行政法规禁止公开", "其他法律行政止公开");
        assert!(alike(slip.0, slip.1).is_some());
        assert!(alike("行政规范性文件", "规范性文件").is_some());
        assert!(alike("本年制发件数", "本年废止件数").is_none());
    }

    #[test]
    fn years_and_dates_are_read_in_all_digits() {
        assert_eq!(year("某局2020年").map(|(_, year)| year), Some(2020));
        assert_eq!(year("二〇二一年度").map(|(_, year)| year), Some(2021));
        assert_eq!(year("12020年"), None);
        for (text, iso) in [
            ("2021年1月26日", "2021-01-26"),
            ("２０２１ 年 01 月 26 日", "2021-01-26"),
            ("二〇二一年一月二十六日", "2021-01-26"),
            ("二○二○年十二月三十日", "2020-12-30"),
            ("二〇二〇年十月十日", "2020-10-10"),
        ] {
            assert_eq!(
                date(text).map(|date| date.to_string()),
                Some(iso.to_owned())
            );
        }
        for text in [
            "2021年2月30日",
            "截至2021年1月26日",
            "2021年1月26日。",
            "1月26日",
            "2021年二十十月1日",
            &format!("2021年{}月1日", "十".repeat(300_000)),
        ] {
            assert_eq!(date(text), None, "{text}");
        }
    }
}

//! Points in time, as PDF and certificates write them.

use time::format_description::well_known::Rfc3339;
use time::{Date, Month, OffsetDateTime, PrimitiveDateTime, Time, UtcOffset};

use super::asn1::Item;

/// A `UTCTime` or a `GeneralizedTime` in UTC (X.690, 11.7 and 11.8).
pub fn of_item(item: Item) -> Option<OffsetDateTime> {
    let text = std::str::from_utf8(item.value).ok()?.strip_suffix('Z')?;
    let text = match item.tag {
        0x17 => {
            let year: u8 = text.get(..2)?.parse().ok()?;
            format!("{}{text}", if year < 50 { "20" } else { "19" })
        }
        0x18 => text.to_owned(),
        _ => return None,
    };
    let (text, fraction) = text.split_at_checked(14)?;
    let fits = match fraction.strip_prefix('.') {
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_digit()),
        None => fraction.is_empty(),
    };
    fits.then(|| moment(text, "Z"))?
}

/// `D:20261130095328+08'00'` (ISO 32000-1, 7.9.4), down to the second.
pub fn of_pdf(bytes: &[u8]) -> Option<OffsetDateTime> {
    let text = std::str::from_utf8(bytes).ok()?.strip_prefix("D:")?;
    let (text, offset) = text.split_at_checked(14)?;
    moment(text, offset)
}

/// In RFC 3339, in UTC.
pub fn text(at: OffsetDateTime) -> Option<String> {
    at.to_offset(UtcOffset::UTC).format(&Rfc3339).ok()
}

/// Fourteen digits from the year to the second, and an offset from UTC.
fn moment(text: &str, offset: &str) -> Option<OffsetDateTime> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then_some(())?;
    let number = |at: usize| text.get(at..at + 2)?.parse::<u8>().ok();
    let month = Month::try_from(number(4)?).ok()?;
    let date = Date::from_calendar_date(text.get(..4)?.parse().ok()?, month, number(6)?).ok()?;
    let time = Time::from_hms(number(8)?, number(10)?, number(12)?).ok()?;
    let digits: String = offset.chars().filter(char::is_ascii_digit).collect();
    let part = |at: usize| match digits.get(at..at + 2) {
        Some(digits) => digits.parse::<i8>().ok(),
        None => Some(0),
    };
    let sign = if offset.starts_with('-') { -1 } else { 1 };
    let offset = UtcOffset::from_hms(sign * part(0)?, sign * part(2)?, 0).ok()?;
    // A year of this century's: no moment near the ends of what can be counted.
    (1900..=2999).contains(&date.year()).then_some(())?;
    Some(PrimitiveDateTime::new(date, time).assume_offset(offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_told_in_utc() {
        let of = |text: &str| of_pdf(text.as_bytes()).and_then(super::text);
        for (written, meant) in [
            ("D:20261130095328Z", Some("2026-11-30T09:53:28Z")),
            ("D:20261130095328+08'00'", Some("2026-11-30T01:53:28Z")),
            ("D:20261130095328-03'30", Some("2026-11-30T13:23:28Z")),
            ("D:20261130095328", Some("2026-11-30T09:53:28Z")),
            ("D:20261330095328Z", None),
            ("D:2026", None),
            ("D:20261130095328+99'00'", None),
            ("yesterday", None),
        ] {
            assert_eq!(of(written).as_deref(), meant, "{written}");
        }
    }
}

//! How foreign text is shown where people read it: ids, messages, file names, a broker's words.
//!
//! Takes text that anybody may have written, gives text that a terminal shows and does not obey.
//! Never changes what is kept or sent: only what is printed, logged or told to a service manager.
//! JSON has escapes of its own and needs none of these.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

/// Characters that a terminal obeys, or by which a line looks like another one: the control
/// characters (C0, DEL, C1), the separators of lines, and those that turn the direction of writing.
fn is_steering(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

/// Text in one line: what a terminal would obey is written as `\u{1b}`.
pub fn text(text: &str) -> impl fmt::Display {
    Shown(text)
}

struct Shown<'a>(&'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some(at) = rest.find(is_steering) {
            let (before, found) = rest.split_at(at);
            let mut found = found.chars();
            let c = found.next().map_or(0, u32::from);
            write!(f, "{before}\\u{{{c:x}}}")?;
            rest = found.as_str();
        }
        f.write_str(rest)
    }
}

/// Text that may have several lines: each is as [`text`] gives it, and all but the first are
/// indented, so that none can pass for a message of its own.
pub fn lines(text: &str) -> String {
    let mut shown = String::new();
    for (number, line) in text.split('\n').enumerate() {
        let indent = match number {
            0 => "",
            _ if line.starts_with("  ") || line.is_empty() => "\n",
            _ => "\n    ",
        };
        write!(shown, "{indent}{}", Shown(line)).unwrap_or_default();
    }
    shown
}

/// Text as a segment of a path, or a value in a query (RFC 3986, 2.3): whatever is not unreserved is
/// percent-encoded.
pub fn segment(text: &str) -> String {
    let mut segment = String::new();
    for byte in text.bytes() {
        match byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            true => segment.push(char::from(byte)),
            false => write!(segment, "%{byte:02X}").unwrap_or_default(),
        }
    }
    segment
}

/// An id as one word that a shell, `xargs` and `awk` leave alone and that no command takes for an
/// option. What could not stand there is percent-encoded (RFC 3986), and so is the percent sign.
pub fn id(id: &str) -> Cow<'_, str> {
    let plain = |at: usize, c: char| match c {
        '-' => at > 0,
        _ if c.is_ascii() => c.is_ascii_alphanumeric() || "._:/@+=,".contains(c),
        _ => !c.is_whitespace() && !is_steering(c),
    };
    if !id.is_empty() && id.char_indices().all(|(at, c)| plain(at, c)) {
        return Cow::Borrowed(id);
    }
    let mut word = String::new();
    for (at, c) in id.char_indices() {
        if plain(at, c) {
            word.push(c);
            continue;
        }
        for byte in c.encode_utf8(&mut [0; 4]).bytes() {
            write!(word, "%{byte:02X}").unwrap_or_default();
        }
    }
    if word.is_empty() {
        // The empty id: no other is written like this.
        word.push('%');
    }
    Cow::Owned(word)
}

/// The id that a word stands for, as [`id`] wrote it. A word that [`id`] cannot have written is
/// the id itself.
pub fn id_of(word: &str) -> Cow<'_, str> {
    match word {
        "%" => Cow::Borrowed(""),
        _ => decoded(word).map_or(Cow::Borrowed(word), Cow::Owned),
    }
}

fn decoded(word: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = word.as_bytes();
    while let [first, more @ ..] = rest {
        rest = more;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let [high, low, more @ ..] = rest else {
            return None;
        };
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let byte = digit(*high)? * 16 + digit(*low)?;
        bytes.push(u8::try_from(byte).ok()?);
        rest = more;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::{id, id_of, lines, text};

    #[test]
    fn what_a_terminal_would_obey_is_written_out() {
        let said = text("\u{1b}[31m红\n\t\u{9b}2J\u{7f}\u{202e}abc\u{2066}\u{2028}").to_string();
        assert_eq!(
            said,
            r"\u{1b}[31m红\u{a}\u{9}\u{9b}2J\u{7f}\u{202e}abc\u{2066}\u{2028}"
        );
        let plain = "淄博市2020年 “年报” C:\\x %20";
        assert_eq!(text(plain).to_string(), plain);
    }

    #[test]
    fn no_line_of_several_passes_for_another_message() {
        let said = lines("no\nbanshi: yes\n  indented\r\n");
        assert_eq!(said, "no\n    banshi: yes\n  indented\\u{d}\n");
    }

    #[test]
    fn an_id_is_one_word_and_leads_back() {
        for plain in ["zibo-bigdata-2020", "a.b_c", "sha256:0f", "局1", "Å/x@y"] {
            assert_eq!(id(plain), plain);
            assert_eq!(id_of(plain), plain);
        }
        for (foreign, word) in [
            ("", "%"),
            ("%", "%25"),
            ("two words", "two%20words"),
            ("--all", "%2D-all"),
            ("a\nfake", "a%0Afake"),
            ("a\u{3000}b", "a%E3%80%80b"),
            ("\u{202e}x", "%E2%80%AEx"),
            ("100%25", "100%2525"),
            ("$(reboot)", "%24%28reboot%29"),
            (
                r#"'"\`;&|<>*?[]{}!#~^"#,
                "%27%22%5C%60%3B%26%7C%3C%3E%2A%3F%5B%5D%7B%7D%21%23%7E%5E",
            ),
        ] {
            assert_eq!(id(foreign), word);
            assert_eq!(id_of(word), foreign);
        }
        // As it may be given by hand.
        for given in ["two words", "100%", "100%zz", "%ff", "--all"] {
            assert_eq!(id_of(given), given);
        }
    }
}

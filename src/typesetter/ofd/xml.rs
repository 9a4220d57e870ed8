//! XML as OFD has it: elements in the order in which they are written, numbers as the schema reads
//! them.
//!
//! Takes names, attributes and text, gives a document in UTF-8. Never sorts or checks: the order
//! of the schema (GB/T 33190-2016, annex A) is the caller's. If we crash here, nothing is lost:
//! nothing was written.

use std::fmt::{self, Display, Write};
use std::ops::{Add, Neg, Sub};

use typst::layout::Abs;

/// The namespace of GB/T 33190-2016.
pub(super) const NAMESPACE: &str = "http://www.ofdspec.org/2016";

/// A document that is being written.
pub(super) struct Xml {
    text: String,
    open: Vec<&'static str>,
    /// Whether the last start tag may have more attributes.
    in_tag: bool,
}

impl Xml {
    /// A document with this root, which declares OFD's namespace.
    pub(super) fn new(root: &'static str) -> Xml {
        let mut xml = Xml {
            text: "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned(),
            open: Vec::new(),
            in_tag: false,
        };
        xml.begin(root).attribute("xmlns:ofd", NAMESPACE);
        xml
    }

    /// Begins an element.
    pub(super) fn begin(&mut self, name: &'static str) -> &mut Xml {
        self.close_tag();
        self.text.push('<');
        self.text.push_str(name);
        self.open.push(name);
        self.in_tag = true;
        self
    }

    /// Adds an attribute to the element that has just begun.
    pub(super) fn attribute(&mut self, name: &str, value: impl Display) -> &mut Xml {
        self.text.push(' ');
        self.text.push_str(name);
        self.text.push_str("=\"");
        self.escape(value);
        self.text.push('"');
        self
    }

    /// Adds an attribute, if there is something to say.
    pub(super) fn maybe(&mut self, name: &str, value: Option<impl Display>) -> &mut Xml {
        match value {
            Some(value) => self.attribute(name, value),
            None => self,
        }
    }

    /// Adds text.
    pub(super) fn text(&mut self, text: impl Display) -> &mut Xml {
        self.close_tag();
        self.escape(text);
        self
    }

    /// Ends the innermost element.
    pub(super) fn end(&mut self) -> &mut Xml {
        let name = self.open.pop().unwrap_or_default();
        if std::mem::take(&mut self.in_tag) {
            self.text.push_str("/>");
        } else {
            self.text.push_str("</");
            self.text.push_str(name);
            self.text.push('>');
        }
        self
    }

    /// Adds an element with nothing but text.
    pub(super) fn leaf(&mut self, name: &'static str, text: impl Display) -> &mut Xml {
        self.begin(name).text(text).end()
    }

    /// The document, with what is still open ended.
    pub(super) fn finish(mut self) -> Vec<u8> {
        while !self.open.is_empty() {
            self.end();
        }
        self.text.push('\n');
        self.text.into_bytes()
    }

    fn close_tag(&mut self) {
        if std::mem::take(&mut self.in_tag) {
            self.text.push('>');
        }
    }

    fn escape(&mut self, value: impl Display) {
        let written = write!(Escaped(&mut self.text), "{value}");
        written.expect("memory takes it");
    }
}

/// Escapes what is written through it, for text and for attributes.
struct Escaped<'a>(&'a mut String);

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\t' | '\n' | '\r' => write!(self.0, "&#{};", u32::from(c))?,
                c => self.0.push(c),
            }
        }
        Ok(())
    }
}

/// A length, or a coordinate from the upper left, in thousandths of a millimetre: OFD's unit is the
/// millimetre (7.3), and this is as exact as anything is written. Whole numbers, so that
/// differences of places add up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mm(pub(super) i64);

impl Mm {
    /// The nearest.
    pub(super) fn of(length: Abs) -> Mm {
        Mm((length.to_mm() * 1000.0).round() as i64)
    }

    /// The next that is not greater.
    pub(super) fn below(length: Abs) -> Mm {
        Mm((length.to_mm() * 1000.0).floor() as i64)
    }

    /// The next that is not less.
    pub(super) fn above(length: Abs) -> Mm {
        Mm((length.to_mm() * 1000.0).ceil() as i64)
    }
}

impl Add for Mm {
    type Output = Mm;

    fn add(self, other: Mm) -> Mm {
        Mm(self.0 + other.0)
    }
}

impl Sub for Mm {
    type Output = Mm;

    fn sub(self, other: Mm) -> Mm {
        Mm(self.0 - other.0)
    }
}

impl Neg for Mm {
    type Output = Mm;

    fn neg(self) -> Mm {
        Mm(-self.0)
    }
}

impl Display for Mm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        decimal(f, self.0, 1000)
    }
}

/// A factor, to the millionth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Factor(pub(super) f64);

impl Display for Factor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        decimal(f, (self.0 * 1e6).round() as i64, 1_000_000)
    }
}

/// So many parts of one: no exponent, no zeros at the end, no sign on a zero.
fn decimal(f: &mut fmt::Formatter<'_>, number: i64, of: i64) -> fmt::Result {
    let (whole, part) = (number.abs() / of, number.abs() % of);
    if number < 0 {
        f.write_char('-')?;
    }
    write!(f, "{whole}")?;
    if part != 0 {
        // The leading one is never written: it keeps the zeros after the point.
        let part = (of + part).to_string();
        write!(f, ".{}", part[1..].trim_end_matches('0'))?;
    }
    Ok(())
}

/// An array of numbers (7.3, `ST_Array`): with a space between.
pub(super) struct Array<'a, T>(pub(super) &'a [T]);

impl<T: Display> Display for Array<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, item) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_char(' ')?;
            }
            item.fmt(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_no_exponent_and_no_idle_zeros() {
        let written = |number| Mm(number).to_string();
        assert_eq!(written(0), "0");
        assert_eq!(written(-1), "-0.001");
        assert_eq!(written(210_000), "210");
        assert_eq!(written(-1500), "-1.5");
        assert_eq!(Mm::of(Abs::pt(16.0)).to_string(), "5.644");
        assert_eq!(Mm::of(Abs::pt(-0.000_1)).to_string(), "0");
        assert_eq!(Factor(0.5).to_string(), "0.5");
        assert_eq!(Factor(-1e-9).to_string(), "0");
        assert_eq!(Array(&[Mm(1), Mm(2000)]).to_string(), "0.001 2");
    }

    #[test]
    fn text_is_escaped_in_elements_and_attributes() {
        let mut xml = Xml::new("ofd:Page");
        xml.begin("ofd:A").attribute("Title", "a\"<&>\n").end();
        xml.leaf("ofd:B", "x < y & z");
        let text = String::from_utf8(xml.finish()).unwrap();
        assert!(
            text.ends_with(
                "<ofd:A Title=\"a&quot;&lt;&amp;&gt;&#10;\"/><ofd:B>x &lt; y &amp; z</ofd:B>\
                 </ofd:Page>\n"
            ),
            "{text}"
        );
    }
}

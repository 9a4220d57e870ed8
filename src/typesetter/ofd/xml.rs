//! XML as OFD has it: elements in the order in which they are written, numbers as the schema reads
//! them.
//!
//! Takes names, attributes and text, gives a document in UTF-8. Never sorts or checks: the order
//! of the schema (GB/T 33190-2016, annex A) is the caller's. If we crash here, nothing is lost:
//! nothing was written.

use std::borrow::Cow;
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
    pub(super) fn attribute(&mut self, name: &str, value: impl Value) -> &mut Xml {
        self.text.push(' ');
        self.text.push_str(name);
        self.text.push_str("=\"");
        value.put(&mut self.text);
        self.text.push('"');
        self
    }

    /// Adds an attribute, if there is something to say.
    pub(super) fn maybe(&mut self, name: &str, value: Option<impl Value>) -> &mut Xml {
        match value {
            Some(value) => self.attribute(name, value),
            None => self,
        }
    }

    /// Adds text.
    pub(super) fn text(&mut self, text: impl Value) -> &mut Xml {
        self.close_tag();
        text.put(&mut self.text);
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
    pub(super) fn leaf(&mut self, name: &'static str, text: impl Value) -> &mut Xml {
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
}

/// What stands as text or as an attribute. Most are numbers, thousands in a document: they are put
/// into it without a detour over the machinery of formats, and nothing in them is to be escaped.
pub(super) trait Value {
    /// Adds it at the end.
    fn put(&self, text: &mut String);
}

impl<T: Value + ?Sized> Value for &T {
    fn put(&self, text: &mut String) {
        (**self).put(text);
    }
}

impl Value for str {
    fn put(&self, text: &mut String) {
        for c in self.chars() {
            match c {
                '&' => text.push_str("&amp;"),
                '<' => text.push_str("&lt;"),
                '>' => text.push_str("&gt;"),
                '"' => text.push_str("&quot;"),
                '\t' => text.push_str("&#9;"),
                '\n' => text.push_str("&#10;"),
                '\r' => text.push_str("&#13;"),
                c => text.push(c),
            }
        }
    }
}

impl Value for String {
    fn put(&self, text: &mut String) {
        self.as_str().put(text);
    }
}

impl Value for Cow<'_, str> {
    fn put(&self, text: &mut String) {
        (**self).put(text);
    }
}

impl Value for u8 {
    fn put(&self, text: &mut String) {
        decimal(text, i64::from(*self), 0);
    }
}

impl Value for u16 {
    fn put(&self, text: &mut String) {
        decimal(text, i64::from(*self), 0);
    }
}

impl Value for usize {
    fn put(&self, text: &mut String) {
        decimal(text, *self as i64, 0);
    }
}

impl Value for u64 {
    fn put(&self, text: &mut String) {
        decimal(text, *self as i64, 0);
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

impl Value for Mm {
    fn put(&self, text: &mut String) {
        decimal(text, self.0, 3);
    }
}

/// A factor, to the millionth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Factor(pub(super) f64);

impl Value for Factor {
    fn put(&self, text: &mut String) {
        decimal(text, (self.0 * 1e6).round() as i64, 6);
    }
}

/// A number of so many decimals: no exponent, no zeros at the end, no sign on a zero.
fn decimal(text: &mut String, number: i64, mut decimals: usize) {
    let mut rest = number.unsigned_abs();
    while decimals > 0 && rest.is_multiple_of(10) {
        rest /= 10;
        decimals -= 1;
    }
    // From the end: at most twenty digits, a point and a sign.
    let mut digits = [0; 22];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        match decimals {
            0 if rest == 0 => break,
            0 => {}
            1 => {
                at -= 1;
                digits[at] = b'.';
                decimals = 0;
            }
            _ => decimals -= 1,
        }
    }
    if number < 0 {
        at -= 1;
        digits[at] = b'-';
    }
    text.push_str(std::str::from_utf8(&digits[at..]).unwrap_or_default());
}

/// One and the other, with a space between.
impl<A: Value, B: Value> Value for (A, B) {
    fn put(&self, text: &mut String) {
        self.0.put(text);
        text.push(' ');
        self.1.put(text);
    }
}

/// An array of numbers (7.3, `ST_Array`): with a space between.
pub(super) struct Array<'a, T>(pub(super) &'a [T]);

impl<T: Value> Value for Array<'_, T> {
    fn put(&self, text: &mut String) {
        for (index, item) in self.0.iter().enumerate() {
            if index > 0 {
                text.push(' ');
            }
            item.put(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_no_exponent_and_no_idle_zeros() {
        fn put(value: impl Value) -> String {
            let mut text = String::new();
            value.put(&mut text);
            text
        }
        let written = |number| put(Mm(number));
        assert_eq!(written(0), "0");
        assert_eq!(written(-1), "-0.001");
        assert_eq!(written(210_000), "210");
        assert_eq!(written(-1500), "-1.5");
        assert_eq!(written(i64::MIN), "-9223372036854775.808");
        assert_eq!(put(10_020_u16), "10020");
        assert_eq!(put(Mm::of(Abs::pt(16.0))), "5.644");
        assert_eq!(put(Mm::of(Abs::pt(-0.000_1))), "0");
        assert_eq!(put(Factor(0.5)), "0.5");
        assert_eq!(put(Factor(-1e-9)), "0");
        assert_eq!(put(Array(&[Mm(1), Mm(2000)])), "0.001 2");
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

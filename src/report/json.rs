//! JSON as it was sent, and how a value is read out of it: the kind it must be, where it stands,
//! what it is called in the form.
//!
//! Nothing here stops at the first mistake. A value that cannot be read becomes a placeholder,
//! the problem is noted, and reading goes on.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

use crate::problem::{Code, Problem};

/// The largest whole number that a double, and so every reader of JSON, holds exactly (RFC 7493).
pub const WHOLE: i64 = 9_007_199_254_740_991;

/// A JSON value that keeps the order of its fields and the ones given twice, which
/// `serde_json::Value` would drop in silence.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number.
    Number(Number),
    /// Text.
    String(String),
    /// `[…]`
    Array(Vec<Node>),
    /// `{…}`, in the order sent.
    Object(Vec<(String, Node)>),
}

impl Node {
    /// The field of an object; the first, when it is given twice.
    pub fn get(&self, name: &str) -> Option<&Node> {
        match self {
            Node::Object(fields) => fields
                .iter()
                .find(|(field, _)| field == name)
                .map(|(_, node)| node),
            _ => None,
        }
    }

    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Node::String(text) => Some(text),
            _ => None,
        }
    }

    /// The value of a number that is whole, however it is written: 3, 3.0 and 3e0 are one number
    /// (JSON Schema 2020-12, `integer`). None beyond [`WHOLE`].
    pub fn whole(&self) -> Option<i64> {
        let Node::Number(number) = self else {
            return None;
        };
        let value = number.as_f64()?;
        (value.fract() == 0.0 && value.abs() <= WHOLE as f64).then_some(value as i64)
    }

    /// What it is, for messages: English and Chinese.
    pub fn kind(&self) -> (&'static str, &'static str) {
        match self {
            Node::Null => ("null", "null"),
            Node::Bool(_) => ("a boolean", "布尔值"),
            Node::Number(number) if number.as_f64().is_some_and(|n| n.fract() != 0.0) => {
                ("a decimal number", "小数")
            }
            Node::Number(_) => ("a number", "数字"),
            Node::String(_) => ("a string", "字符串"),
            Node::Array(_) => ("an array", "数组"),
            Node::Object(_) => ("an object", "对象"),
        }
    }

    /// The levels of nesting below and with this value; a scalar has none.
    pub fn depth(&self) -> usize {
        match self {
            Node::Array(items) => 1 + items.iter().map(Node::depth).max().unwrap_or(0),
            Node::Object(fields) => {
                1 + fields
                    .iter()
                    .map(|(_, node)| node.depth())
                    .max()
                    .unwrap_or(0)
            }
            _ => 0,
        }
    }

    /// The canonical form (RFC 8785): fields sorted, no space. Two jobs are the same job when
    /// their canonical forms are the same bytes.
    pub fn canonical(&self) -> String {
        let mut out = String::new();
        self.write_canonical(&mut out);
        out
    }

    fn write_canonical(&self, out: &mut String) {
        match self {
            Node::Null => out.push_str("null"),
            Node::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Node::Number(number) => write_number(number, out),
            Node::String(text) => write_quoted(text, out),
            Node::Array(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    item.write_canonical(out);
                }
                out.push(']');
            }
            Node::Object(fields) => {
                let mut sorted: Vec<&(String, Node)> = fields.iter().collect();
                sorted.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
                out.push('{');
                for (index, (name, node)) in sorted.into_iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    write_quoted(name, out);
                    out.push(':');
                    node.write_canonical(out);
                }
                out.push('}');
            }
        }
    }
}

/// A number as [`written`]; most are whole and stand for themselves.
fn write_number(number: &Number, out: &mut String) {
    match number.as_i64().filter(|it| (-WHOLE..=WHOLE).contains(it)) {
        // Writing to a text can't fail.
        Some(whole) => drop(write!(out, "{whole}")),
        None => out.push_str(&written(number)),
    }
}

/// A number as ECMAScript writes it (RFC 8785, 3.2.2.3): the shortest digits that give the double
/// back, so that 3, 3.0 and 3e0 are one number and -0.0 is 0.
fn written(number: &Number) -> String {
    let value = number.as_f64().unwrap_or_default();
    if value == 0.0 {
        return "0".to_owned();
    }
    // The digits are the serialiser's; where it puts the point is its own affair.
    let text = Number::from_f64(value.abs()).map_or_else(String::new, |number| number.to_string());
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{part}");
    let leading = all.len() - all.trim_start_matches('0').len();
    let digits = all.trim_matches('0');
    let (count, exponent) = (
        digits.len() as i32,
        exponent.parse::<i32>().unwrap_or_default(),
    );
    // Where the point stands among the digits.
    let point = whole.len() as i32 - leading as i32 + exponent;
    let zeros = |count: i32| "0".repeat(count.unsigned_abs() as usize);
    let parted = |at: usize| format!("{}.{}", &digits[..at], &digits[at..]);
    let unsigned = match point {
        _ if (count..=21).contains(&point) => format!("{digits}{}", zeros(point - count)),
        1..=21 => parted(point as usize),
        -5..=0 => format!("0.{}{digits}", zeros(point)),
        _ if count == 1 => format!("{digits}e{:+}", point - 1),
        _ => format!("{}e{:+}", parted(1), point - 1),
    };
    let sign = if value < 0.0 { "-" } else { "" };
    format!("{sign}{unsigned}")
}

/// A string; most have nothing in them that is escaped.
fn write_quoted(text: &str, out: &mut String) {
    if text.bytes().any(|b| b < b' ' || b == b'"' || b == b'\\') {
        return out.push_str(&serde_json::Value::from(text).to_string());
    }
    out.push('"');
    out.push_str(text);
    out.push('"');
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NodeVisitor;
        impl<'de> Visitor<'de> for NodeVisitor {
            type Value = Node;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }
            fn visit_unit<E>(self) -> Result<Node, E> {
                Ok(Node::Null)
            }
            fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
                Ok(Node::Bool(value))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
                Ok(Node::Number(value.into()))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
                Ok(Node::Number(value.into()))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
                Ok(Number::from_f64(value).map_or(Node::Null, Node::Number))
            }
            fn visit_str<E>(self, value: &str) -> Result<Node, E> {
                Ok(Node::String(value.to_owned()))
            }
            fn visit_string<E>(self, value: String) -> Result<Node, E> {
                Ok(Node::String(value))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Node::Array(items))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Node::Object(fields))
            }
        }
        deserializer.deserialize_any(NodeVisitor)
    }
}

/// Where a value stands: its JSON Pointer, and its name in the words of the form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// JSON Pointer (RFC 6901) into the job.
    pub pointer: String,
    /// As `「（三）不予公开 1.属于国家秘密」「自然人」`; empty where the form has no word for it.
    pub label: String,
}

impl Place {
    /// The place of a pointer with a label.
    pub fn new(pointer: impl Into<String>, label: impl Into<String>) -> Self {
        Place {
            pointer: pointer.into(),
            label: label.into(),
        }
    }

    /// The place of a field with the form's word for it, which may be empty.
    pub fn field(&self, name: &str, label: &str) -> Place {
        let mut pointer = String::with_capacity(self.pointer.len() + 1 + name.len());
        pointer.push_str(&self.pointer);
        pointer.push('/');
        match name.contains(['~', '/']) {
            true => pointer.push_str(&name.replace('~', "~0").replace('/', "~1")),
            false => pointer.push_str(name),
        }
        Place {
            pointer,
            label: match label.is_empty() {
                true => self.label.clone(),
                false => format!("{}「{label}」", self.label),
            },
        }
    }

    /// The place of an item of an array, which the reader counts from 1.
    pub fn item(&self, index: usize) -> Place {
        Place {
            pointer: format!("{}/{index}", self.pointer),
            label: format!("{}第{}项", self.label, index + 1),
        }
    }

    /// What to call it in a message: the form's words, or the last name of the pointer.
    pub fn name(&self) -> &str {
        if self.label.is_empty() {
            self.pointer.rsplit('/').next().unwrap_or_default()
        } else {
            &self.label
        }
    }
}

/// The problems found so far.
pub type Problems = Vec<Problem>;

/// A value of the wrong kind: says what was wanted and what was found.
pub fn wrong(problems: &mut Problems, place: &Place, found: &Node, en: &str, zh: &str) {
    wrong_but(problems, place, found, (en, zh), None);
}

/// The same, with what to send instead where that is plain: English and Chinese.
pub fn wrong_but(
    problems: &mut Problems,
    place: &Place,
    found: &Node,
    (en, zh): (&str, &str),
    instead: Option<(String, String)>,
) {
    let (found_en, found_zh) = found.kind();
    let name = place.name();
    let (fix_en, fix_zh) = match instead {
        Some((en, zh)) => (format!("; {en}"), format!("；{zh}")),
        None => Default::default(),
    };
    problems.push(
        Problem::new(
            Code::SCHEMA,
            &place.pointer,
            format!("{name}: want {en}, found {found_en}{fix_en}"),
            format!("{name}：应为{zh}，实为{found_zh}{fix_zh}"),
        )
        .with(en, shown(found)),
    );
}

/// A value of the right kind that will not do, and why.
pub fn bad(problems: &mut Problems, place: &Place, en: &str, zh: &str) {
    let name = place.name();
    problems.push(Problem::new(
        Code::SCHEMA,
        &place.pointer,
        format!("{name}: {en}"),
        format!("{name}：{zh}"),
    ));
}

/// A value as a message quotes it: short.
pub fn shown(node: &Node) -> String {
    const MOST: usize = 60;
    let text = match node {
        // Every digit that was read, where the canonical form has those of a double.
        Node::Number(number) => number.to_string(),
        node => node.canonical(),
    };
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// The fields of an object, each asked for once; what is left at the end is unknown.
pub struct Fields<'a> {
    place: &'a Place,
    fields: &'a [(String, Node)],
    known: Vec<&'a str>,
}

impl<'a> Fields<'a> {
    /// The fields of `node`, or a problem when it is no object.
    pub fn of(node: &'a Node, place: &'a Place, problems: &mut Problems) -> Option<Self> {
        match node {
            Node::Object(fields) => Some(Fields {
                place,
                fields,
                known: Vec::new(),
            }),
            other => {
                wrong(problems, place, other, "an object", "对象");
                None
            }
        }
    }

    /// A field that may be absent.
    pub fn optional(&mut self, name: &'a str, label: &str) -> Option<(&'a Node, Place)> {
        self.known.push(name);
        let (_, node) = self.fields.iter().find(|(field, _)| field == name)?;
        Some((node, self.place.field(name, label)))
    }

    /// A field that must be there, or a problem.
    pub fn required(
        &mut self,
        name: &'a str,
        label: &str,
        problems: &mut Problems,
    ) -> Option<(&'a Node, Place)> {
        let found = self.optional(name, label);
        if found.is_none() {
            let place = self.place.field(name, label);
            bad(
                problems,
                &place,
                &format!("the field \"{name}\" is missing"),
                &format!("缺少字段“{name}”"),
            );
        }
        found
    }

    /// Notes every field that was never asked for, with the nearest one that could have been
    /// meant, and every field given twice.
    pub fn finish(self, problems: &mut Problems) {
        let mut names = BTreeSet::new();
        for (name, _) in self.fields {
            if !self.known.contains(&name.as_str()) {
                let (en, zh) = self.meant(name);
                problems.push(Problem::new(
                    Code::SCHEMA,
                    self.place.field(name, "").pointer,
                    format!("unknown field \"{name}\"{en}"),
                    format!("未知字段“{name}”{zh}"),
                ));
            }
            if !names.insert(name) {
                problems.push(Problem::new(
                    Code::SCHEMA,
                    self.place.field(name, "").pointer,
                    format!("the field \"{name}\" is given twice; keep one"),
                    format!("字段“{name}”重复出现，只能保留一个"),
                ));
            }
        }
    }

    /// Which known field an unknown one may mean: one spelt alike, else any of the few there are.
    fn meant(&self, name: &str) -> (String, String) {
        /// Jaro and Winkler's likeness of a misspelling; of other words it is less.
        const ALIKE: f64 = 0.8;
        const FEW: usize = 8;
        let Some(near) = nearest(name, self.known.iter().copied()) else {
            return Default::default();
        };
        if strsim::jaro_winkler(near, name) < ALIKE && self.known.len() <= FEW {
            let known = self.known.join(", ");
            return (
                format!("; known here: {known}"),
                format!("，此处可用的字段：{known}"),
            );
        }
        (
            format!("; the nearest known one is \"{near}\""),
            format!("，最接近的字段是“{near}”"),
        )
    }
}

/// The name most like `name`.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known.max_by(|a, b| strsim::jaro_winkler(a, name).total_cmp(&strsim::jaro_winkler(b, name)))
}

/// The items of an array, each with its place, or a problem.
pub fn items<'a>(node: &'a Node, place: &Place, problems: &mut Problems) -> Vec<(&'a Node, Place)> {
    match node {
        Node::Array(items) => items
            .iter()
            .enumerate()
            .map(|(index, node)| (node, place.item(index)))
            .collect(),
        other => {
            wrong(problems, place, other, "an array", "数组");
            Vec::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(text: &str) -> Node {
        serde_json::from_str(text).expect("JSON")
    }

    /// The samples of RFC 8785, appendix B, and where the notations meet.
    #[test]
    fn numbers_are_written_as_ecmascript_writes_them() {
        let canonical = |number: Number| {
            let mut out = String::new();
            super::write_number(&number, &mut out);
            out
        };
        for (bits, written) in [
            (0x0000_0000_0000_0000, "0"),
            (0x8000_0000_0000_0000, "0"),
            (0x0000_0000_0000_0001, "5e-324"),
            (0x8000_0000_0000_0001, "-5e-324"),
            (0x7fef_ffff_ffff_ffff, "1.7976931348623157e+308"),
            (0x4340_0000_0000_0000, "9007199254740992"),
            (0xc340_0000_0000_0000, "-9007199254740992"),
            (0x4430_0000_0000_0000, "295147905179352830000"),
            (0x44b5_2d02_c7e1_4af5, "9.999999999999997e+22"),
            (0x44b5_2d02_c7e1_4af6, "1e+23"),
            (0x444b_1ae4_d6e2_ef4f, "999999999999999900000"),
            (0x444b_1ae4_d6e2_ef50, "1e+21"),
            (0x3eb0_c6f7_a0b5_ed8c, "9.999999999999997e-7"),
            (0x3eb0_c6f7_a0b5_ed8d, "0.000001"),
            (0x41b3_de43_5555_5553, "333333333.3333332"),
            (0xbecb_f647_612f_3696, "-0.0000033333333333333333"),
            (0x4314_3ff3_c1cb_0959, "1424953923781206.2"),
        ] {
            let number = Number::from_f64(f64::from_bits(bits)).expect("finite");
            assert_eq!(super::written(&number), written);
            assert_eq!(canonical(number), written);
        }
        // Whole numbers as a reader of JSON has them, at the ends of what each is.
        for (whole, written) in [
            (super::WHOLE, "9007199254740991"),
            (-super::WHOLE, "-9007199254740991"),
            (super::WHOLE + 1, "9007199254740992"),
            (i64::MAX, "9223372036854776000"),
            (i64::MIN + 1, "-9223372036854776000"),
            (i64::MIN, "-9223372036854776000"),
        ] {
            assert_eq!(canonical(Number::from(whole)), written, "{whole}");
        }
    }

    #[test]
    fn one_number_has_one_canonical_form_however_it_is_written() {
        for (spellings, canonical) in [
            (
                &["3", "3.0", "3e0", "0.3e1", "30E-1", "3.000000000000"][..],
                "3",
            ),
            (&["0", "-0", "0.0", "-0.0", "0e9"], "0"),
            (
                &["1000000000000", "1e12", "1000000000000.0"],
                "1000000000000",
            ),
            (&["-18", "-18.0", "-1.8e1"], "-18"),
            (&["1.5", "15e-1"], "1.5"),
        ] {
            for spelling in spellings {
                assert_eq!(node(spelling).canonical(), canonical, "{spelling}");
            }
        }
    }

    #[test]
    fn a_whole_number_is_one_in_any_spelling() {
        for (text, whole) in [
            ("3.0", Some(3)),
            ("3e0", Some(3)),
            ("-0.0", Some(0)),
            ("1e12", Some(1_000_000_000_000)),
            ("999999999999.00", Some(999_999_999_999)),
            ("9007199254740991", Some(9_007_199_254_740_991)),
            ("9007199254740993.0", None),
            ("9007199254740993", None),
            ("18446744073709551615", None),
            ("1e300", None),
            ("1.5", None),
            ("1e-3", None),
            ("\"3\"", None),
        ] {
            assert_eq!(node(text).whole(), whole, "{text}");
        }
    }
}

//! JSON as it was sent, and how a value is read out of it: the kind it must be, where it stands,
//! what it is called in the form.
//!
//! Nothing here stops at the first mistake. A value that cannot be read becomes a placeholder,
//! the problem is noted, and reading goes on.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

use crate::problem::{Code, Problem};

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

    /// What it is, for messages: English and Chinese.
    pub fn kind(&self) -> (&'static str, &'static str) {
        match self {
            Node::Null => ("null", "null"),
            Node::Bool(_) => ("a boolean", "布尔值"),
            Node::Number(number) if number.is_f64() => ("a decimal number", "小数"),
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
            Node::Number(number) => out.push_str(&number.to_string()),
            Node::String(text) => out.push_str(&quoted(text)),
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
                    out.push_str(&quoted(name));
                    out.push(':');
                    node.write_canonical(out);
                }
                out.push('}');
            }
        }
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
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
        let name = name.replace('~', "~0").replace('/', "~1");
        Place {
            pointer: format!("{}/{name}", self.pointer),
            label: format!("{}{}", self.label, cited(label)),
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

fn cited(label: &str) -> String {
    if label.is_empty() {
        String::new()
    } else {
        format!("「{label}」")
    }
}

/// The problems found so far.
pub type Problems = Vec<Problem>;

/// A value of the wrong kind: says what was wanted and what was found.
pub fn wrong(problems: &mut Problems, place: &Place, found: &Node, en: &str, zh: &str) {
    let (found_en, found_zh) = found.kind();
    let name = place.name();
    problems.push(
        Problem::new(
            Code::Schema,
            &place.pointer,
            format!("{name}: want {en}, found {found_en}"),
            format!("{name}：应为{zh}，实为{found_zh}"),
        )
        .with(en, shown(found)),
    );
}

/// A value of the right kind that will not do, and why.
pub fn bad(problems: &mut Problems, place: &Place, en: &str, zh: &str) {
    let name = place.name();
    problems.push(Problem::new(
        Code::Schema,
        &place.pointer,
        format!("{name}: {en}"),
        format!("{name}：{zh}"),
    ));
}

/// A value as a message quotes it: short.
fn shown(node: &Node) -> String {
    const MOST: usize = 60;
    let text = node.canonical();
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// The fields of an object, each asked for once; what is left at the end is unknown.
pub struct Fields<'a> {
    place: &'a Place,
    fields: &'a [(String, Node)],
    known: Vec<&'static str>,
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
    pub fn optional(&mut self, name: &'static str, label: &str) -> Option<(&'a Node, Place)> {
        self.known.push(name);
        let (_, node) = self.fields.iter().find(|(field, _)| field == name)?;
        Some((node, self.place.field(name, label)))
    }

    /// A field that must be there, or a problem.
    pub fn required(
        &mut self,
        name: &'static str,
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
            let place = self.place.field(name, "");
            if !self.known.contains(&name.as_str()) {
                let (en, zh) = match nearest(name, self.known.iter().copied()) {
                    Some(near) => (
                        format!("; the nearest known one is \"{near}\""),
                        format!("，最接近的字段是“{near}”"),
                    ),
                    None => Default::default(),
                };
                problems.push(Problem::new(
                    Code::Schema,
                    &place.pointer,
                    format!("unknown field \"{name}\"{en}"),
                    format!("未知字段“{name}”{zh}"),
                ));
            }
            if !names.insert(name) {
                problems.push(Problem::new(
                    Code::Schema,
                    &place.pointer,
                    format!("the field \"{name}\" is given twice; keep one"),
                    format!("字段“{name}”重复出现，只能保留一个"),
                ));
            }
        }
    }
}

/// The name most like `name`.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known.max_by(|a, b| strsim::jaro_winkler(a, name).total_cmp(&strsim::jaro_winkler(b, name)))
}

/// Text of at least one character that is not a space. `\n` is allowed where `lines` says so.
pub fn text(node: &Node, place: &Place, lines: bool, problems: &mut Problems) -> String {
    match node {
        Node::String(text) if text.trim().is_empty() => {
            bad(problems, place, "must not be empty", "不能为空");
            String::new()
        }
        Node::String(text) if !lines && text.contains(['\n', '\r']) => {
            bad(problems, place, "must be one line", "不能换行");
            text.clone()
        }
        Node::String(text) => text.clone(),
        other => {
            wrong(problems, place, other, "a string", "字符串");
            String::new()
        }
    }
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

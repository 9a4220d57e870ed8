//! The JSON Schema (2020-12) of a job, made from the form.
//!
//! It says what a schema can say; the sums and the other rules are `banshi check`'s.

use serde_json::{Map, Value, json};

use super::cell::MONEY_DIGITS;
use super::form::{CellKind, Entry, Field, FieldKind, Form, Holds, Shape, Table};
use super::json::WHOLE;
use super::text::{self, pattern};
use super::{MARKS, MAX_COUNT};

/// The schema of a job for this form under this template name.
pub fn schema(template: &str, form: &Form) -> Value {
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": format!("banshi job: {template}（{}）", form.notice),
        "type": "object",
        "properties": {
            "job_id": {
                "type": "string",
                "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$",
                "description": "The idempotency key: one id, one content, one stored result.",
            },
            "template": { "const": template },
            "data": data(form),
            "prior": prior(form),
            "on_violation": {
                "enum": ["reject", "warn"],
                "default": "reject",
                "description": "What a broken reconciliation rule (勾稽关系) does.",
            },
        },
        "required": ["job_id", "template", "data"],
        "additionalProperties": false,
        "$defs": {
            "text": {
                "description": "Text; \\n is a line break that the sender chose.",
                "type": "string",
                "pattern": pattern(text::Kind::Lines),
            },
            "line": {
                "description": "Text on one line. White space at its ends is not set.",
                "type": "string",
                "pattern": pattern(text::Kind::Line),
            },
            "cell": {
                "description": "A cell of a table in the text; it may be empty.",
                "type": ["string", "integer"],
                "minimum": -WHOLE,
                "maximum": WHOLE,
                "pattern": pattern(text::Kind::Cell),
            },
            "count": count(),
            "block": block(),
            "blocks": { "type": "array", "items": { "$ref": "#/$defs/block" } },
            "notes": {
                "type": "array",
                "items": { "$ref": "#/$defs/text" },
                "description": "Printed under the table.",
            },
        },
    });
    for (name, row) in shared(form) {
        schema["$defs"][name] = cells(form, row.entries());
    }
    if form.prior.is_empty() {
        schema["properties"]
            .as_object_mut()
            .map(|fields| fields.remove("prior"));
    }
    schema
}

/// The rows that others of their table have the cells of: the name of their definition.
fn shared(form: &Form) -> Vec<(&'static str, &Entry)> {
    fn first(entries: &[Entry]) -> Option<&Entry> {
        entries.iter().find_map(|entry| match entry.is_row() {
            true => Some(entry),
            false => first(entry.entries()),
        })
    }
    let named = form
        .tables()
        .filter_map(|(_, table)| Some((definition(table)?, first(&table.entries)?)));
    named.collect()
}

/// What the rows of a table are called in the schema.
fn definition(table: &Table) -> Option<&'static str> {
    match table.shape {
        Shape::Matrix => Some("row"),
        Shape::Row if !matches!(table.entries.first()?.holds, Holds::Cell(_)) => Some("results"),
        Shape::Row | Shape::Bands | Shape::List => None,
    }
}

/// An object of required fields; `optional` ones may be left out.
fn object<'a>(
    fields: impl IntoIterator<Item = (&'a str, Value)>,
    optional: &[&str],
    description: &str,
) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for (name, value) in fields {
        if !optional.contains(&name) {
            required.push(name);
        }
        properties.insert(name.to_owned(), value);
    }
    let mut object = json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    });
    if !description.is_empty() {
        object["description"] = json!(description);
    }
    object
}

fn described(reference: &str, description: &str) -> Value {
    json!({ "$ref": format!("#/$defs/{reference}"), "description": description })
}

fn count() -> Value {
    json!({
        "description": "A count; null, or a mark as agencies write where they have no such power; \
                        with a remark: {\"value\": 22, \"remark\": \"其中修订16件\"}.",
        "type": ["integer", "null", "string", "object"],
        "pattern": format!("^{}$", marks()),
        "minimum": 0,
        "maximum": MAX_COUNT,
        "properties": {
            "value": { "type": "integer", "minimum": 0, "maximum": MAX_COUNT },
            "remark": { "$ref": "#/$defs/line" },
        },
        "required": ["value", "remark"],
        "additionalProperties": false,
    })
}

/// The marks that a cell may hold, as a regular expression.
fn marks() -> String {
    format!("({})", MARKS.join("|"))
}

fn block() -> Value {
    let cell = json!({ "$ref": "#/$defs/cell" });
    json!({
        "description": "A paragraph, {\"heading\": …} or {\"table\": …}.",
        "type": ["string", "object"],
        "pattern": pattern(text::Kind::Paragraph),
        "properties": {
            "heading": { "$ref": "#/$defs/line" },
            "table": object(
                [
                    ("columns", json!({ "type": "array", "items": cell, "minItems": 1 })),
                    (
                        "rows",
                        json!({ "type": "array", "items": { "type": "array", "items": cell } }),
                    ),
                    ("caption", json!({ "$ref": "#/$defs/text" })),
                ],
                &["caption"],
                "Every row has as many cells as there are columns.",
            ),
        },
        "minProperties": 1,
        "maxProperties": 1,
        "additionalProperties": false,
    })
}

/// The cells of a row.
fn cells(form: &Form, entries: &[Entry]) -> Value {
    let note = "A total that is left out is computed; one that is there is checked.";
    entries_of(form, None, entries, Vec::new(), note)
}

/// Entries as the fields of an object, and `more` fields that may be left out. Rows of a table
/// that has a `definition` of them are that.
fn entries_of(
    form: &Form,
    definition: Option<&str>,
    entries: &[Entry],
    more: Vec<(&str, Value)>,
    description: &str,
) -> Value {
    let optional = entries.iter().filter(|entry| entry.optional);
    let optional = optional.map(|entry| entry.field.as_str());
    let optional: Vec<&str> = optional.chain(more.iter().map(|(name, _)| *name)).collect();
    let fields = entries.iter().map(|entry| {
        let value = match (&entry.holds, definition) {
            (Holds::Cell(index), _) => cell(&form.cells[*index].kind, &entry.said),
            (Holds::Rows(rows), _) => {
                let row = rows.first().map_or(&[][..], Entry::entries);
                let row = cells(form, row);
                json!({ "type": "array", "items": row, "minItems": 1, "description": entry.label })
            }
            (Holds::Entries(_), Some(name)) if entry.is_row() => described(name, &entry.label),
            (Holds::Entries(inner), _) => {
                entries_of(form, definition, inner, Vec::new(), &entry.label)
            }
        };
        (entry.field.as_str(), value)
    });
    object(fields.chain(more.iter().cloned()), &optional, description)
}

fn data(form: &Form) -> Value {
    let optional = form.fields.iter().filter(|field| field.optional);
    let optional: Vec<&str> = optional.map(|field| field.field.as_str()).collect();
    let fields = form.fields.iter();
    let fields = fields.map(|field| (field.field.as_str(), field_of(form, field)));
    object(fields, &optional, "")
}

fn field_of(form: &Form, field: &Field) -> Value {
    let description = field.description();
    match &field.kind {
        FieldKind::Line => described("line", description),
        FieldKind::Text => described("text", description),
        FieldKind::Lines => json!({
            "type": "array",
            "items": { "$ref": "#/$defs/line" },
            "description": description,
        }),
        FieldKind::Blocks(_) => described("blocks", description),
        FieldKind::Parts => {
            let title = json!({ "$ref": "#/$defs/text" });
            let blocks = json!({ "$ref": "#/$defs/blocks" });
            let part = object([("title", title), ("blocks", blocks)], &[], "");
            json!({ "type": "array", "items": part, "description": description })
        }
        FieldKind::Year => json!({
            "type": "integer",
            "minimum": form.years.start(),
            "maximum": form.years.end(),
            "description": description,
        }),
        FieldKind::Date => json!({
            "type": "string",
            "format": "date",
            "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$",
            "description": description,
        }),
        FieldKind::Table(table) => {
            let entries = &table.entries;
            entries_of(
                form,
                definition(table),
                entries,
                around().into(),
                description,
            )
        }
    }
}

/// What may stand around each of the official tables, and need not.
fn around() -> [(&'static str, Value); 2] {
    let introduction = described("blocks", "The text between the heading and the table.");
    let notes = json!({ "$ref": "#/$defs/notes" });
    [("introduction", introduction), ("notes", notes)]
}

fn cell(kind: &CellKind, label: &str) -> Value {
    let (whole, part) = MONEY_DIGITS;
    let amount = format!("[0-9]{{1,{whole}}}(\\.[0-9]{{1,{part}}})?");
    let (types, text) = match kind {
        CellKind::Count => return described("count", label),
        CellKind::Choice(options) => {
            let words = options.iter().map(String::as_str).chain(MARKS);
            let words = words.map(Value::from).chain([Value::Null]);
            return json!({ "enum": words.collect::<Vec<_>>(), "description": label });
        }
        // Any text is one, marks too.
        CellKind::Text => (json!(["string", "null"]), pattern(text::Kind::Line)),
        CellKind::Change => (json!(["integer", "null", "string"]), or_mark("")),
        CellKind::YesNo => (json!(["boolean", "string", "null"]), or_mark("")),
        CellKind::Money(_) => (json!(["string", "null"]), or_mark(&amount)),
        CellKind::MoneyWithUnit(units) => {
            let units = units.join("|");
            (
                json!(["string", "null"]),
                or_mark(&format!("{amount}({units})?")),
            )
        }
        CellKind::Percent => (json!(["string", "null"]), or_mark(&format!("-?{amount}%"))),
        CellKind::Date => (
            json!(["string", "null"]),
            or_mark("[0-9]{4}-[0-9]{2}-[0-9]{2}"),
        ),
    };
    let mut cell = json!({ "type": types, "pattern": text, "description": label });
    let example = match kind {
        CellKind::Percent => Some(json!("85.3%")),
        CellKind::Date => Some(json!("2025-01-20")),
        CellKind::YesNo => Some(json!(true)),
        _ => None,
    };
    if let Some(example) = example {
        cell["examples"] = json!([example]);
    }
    if *kind == CellKind::Change {
        cell["minimum"] = json!(-MAX_COUNT);
        cell["maximum"] = json!(MAX_COUNT);
    }
    cell
}

/// A regular expression for texts, or a mark instead; for marks alone where there are no texts.
fn or_mark(text: &str) -> String {
    match text {
        "" => format!("^{}$", marks()),
        text => format!("^({text}|{})$", marks()),
    }
}

fn prior(form: &Form) -> Value {
    let note = "Last year's figures, for the year-over-year checks.";
    entries_of(form, None, &form.prior, Vec::new(), note)
}

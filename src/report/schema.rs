//! The JSON Schema (2020-12) of a job, made from the form.
//!
//! It says what a schema can say; the sums and the other rules are `banshi check`'s.

use serde_json::{Map, Value, json};

use super::form::{APPLICANTS, Form, Kind, Line, RESULTS, SECTIONS};
use super::json::WHOLE;
use super::read::MONEY_DIGITS;
use super::text::{self, pattern};
use super::{MARKS, MAX_COUNT};

/// The schema of a job for this edition under this template name.
pub fn schema(template: &str, form: &Form) -> Value {
    json!({
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
            "row": cells(&APPLICANTS),
            "results": cells(&RESULTS),
        },
    })
}

/// An object of required fields; `optional` ones may be left out.
fn object(
    fields: impl IntoIterator<Item = (&'static str, Value)>,
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

fn cells(columns: &[(&'static str, &str)]) -> Value {
    let fields = columns
        .iter()
        .map(|(name, label)| (*name, described("count", label)));
    object(
        fields,
        &["total"],
        "A total that is left out is computed; one that is there is checked.",
    )
}

fn data(form: &Form) -> Value {
    let line = |description: &str| described("line", description);
    let blocks = |description: &str| described("blocks", description);
    let year = json!({
        "type": "integer",
        "minimum": form.years.start(),
        "maximum": form.years.end(),
        "description": "The reporting year.",
    });
    let date = json!({
        "type": "string",
        "format": "date",
        "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$",
        "description": "成文日期; without it there is no signature block.",
    });
    let head = [
        ("agency", line("发文机关")),
        ("year", year),
        (
            "title",
            described(
                "text",
                "Default: {agency}{year}年政府信息公开工作年度报告; \\n is a chosen line break.",
            ),
        ),
        ("issued_on", date),
        ("introduction", blocks("The text before section 一.")),
    ];
    let sections = SECTIONS.map(|(name, heading)| {
        let value = match name {
            "proactive_disclosure" => disclosure(form, heading),
            "requests" => requests(form, heading),
            "review_and_litigation" => review(heading),
            _ => blocks(heading),
        };
        (name, value)
    });
    object(
        head.into_iter().chain(sections),
        &["title", "issued_on", "introduction"],
        "",
    )
}

fn disclosure(form: &Form, heading: &str) -> Value {
    let bands = form.disclosure.iter().map(|band| {
        let items = band.items.iter().map(|item| {
            let figures = band
                .figures
                .iter()
                .map(|figure| (figure.field, figure_schema(figure.kind, &figure.name())));
            (item.field, object(figures, &[], item.label))
        });
        (band.field, object(items, &[], band.label))
    });
    object(bands.chain(around()), &AROUND, heading)
}

/// What may stand around each of the official tables, and need not.
const AROUND: [&str; 2] = ["introduction", "notes"];

fn around() -> [(&'static str, Value); 2] {
    let introduction = described("blocks", "The text between the heading and the table.");
    let notes = json!({ "$ref": "#/$defs/notes" });
    [(AROUND[0], introduction), (AROUND[1], notes)]
}

fn figure_schema(kind: Kind, label: &str) -> Value {
    let (whole, part) = MONEY_DIGITS;
    let amount = format!("[0-9]{{1,{whole}}}(\\.[0-9]{{1,{part}}})?");
    match kind {
        Kind::Count => described("count", label),
        Kind::Change => json!({
            "type": ["integer", "null", "string"],
            "pattern": format!("^{}$", marks()),
            "minimum": -MAX_COUNT,
            "maximum": MAX_COUNT,
            "description": label,
        }),
        Kind::Amount => json!({
            "type": ["string", "null"],
            "pattern": format!("^({amount}(元|万|万元|亿元)?|{})$", marks()),
            "description": label,
        }),
        Kind::AmountWan => json!({
            "type": ["string", "null"],
            "pattern": format!("^({amount}|{})$", marks()),
            "description": label,
        }),
    }
}

fn requests(form: &Form, heading: &str) -> Value {
    fn lines_of(lines: &'static [Line], more: Vec<(&'static str, Value)>, label: &str) -> Value {
        let fields = lines.iter().map(|line| match line {
            Line::Row { field, label } => (*field, described("row", label)),
            Line::Group {
                field,
                label,
                lines: inner,
            } => (*field, lines_of(inner, Vec::new(), label)),
        });
        object(fields.chain(more), &["total", AROUND[0], AROUND[1]], label)
    }
    lines_of(form.requests, around().into(), heading)
}

fn review(heading: &str) -> Value {
    let litigation = [
        ("direct", described("results", "未经复议直接起诉")),
        ("after_reconsideration", described("results", "复议后起诉")),
    ];
    let fields = [
        ("reconsideration", described("results", "行政复议")),
        ("litigation", object(litigation, &[], "行政诉讼")),
    ];
    object(fields.into_iter().chain(around()), &AROUND, heading)
}

fn prior(form: &Form) -> Value {
    let mut carried_out = cells(&APPLICANTS);
    carried_out["required"] = json!([]);
    carried_out["description"] = json!("Last year's 四、结转下年度继续办理.");
    let mut fields = vec![("carried_out", carried_out)];
    if form
        .figures()
        .any(|(.., figure)| figure.field == "in_force")
    {
        let counts = [
            ("rules", described("count", "规章")),
            ("normative_documents", described("count", "行政规范性文件")),
        ];
        fields.push((
            "in_force",
            object(
                counts,
                &["rules", "normative_documents"],
                "Last year's 现行有效件数.",
            ),
        ));
    }
    object(
        fields,
        &["carried_out", "in_force"],
        "Last year's figures, for the year-over-year checks.",
    )
}

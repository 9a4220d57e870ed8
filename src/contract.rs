//! What others rely on, in standard formats: JSON Schema (2020-12) of what comes in and goes out,
//! and an AsyncAPI document of the broker's side.
//!
//! Takes the templates and the prefix of the queues, gives documents with their paths, as they
//! stand in `schemas/`. A job's schema is made from its form and the exchanges, queues and headers
//! from the code that declares and writes them; the others are texts in `schemas/`, which the tests
//! hold to what is really written. Never reads or writes a file. If we crash here, nothing has been
//! printed.

use serde_json::{Map, Value, json};

use crate::event::Kind;
use crate::report::schema;
use crate::transport::amqp;
use crate::typesetter::Templates;

/// The ending of the schemas' files.
const ENDING: &str = ".schema.json";

/// Those that are texts.
const TEXTS: [(&str, &str); 5] = [
    ("job", JOB),
    ("event", EVENT),
    ("manifest", include_str!("../schemas/manifest.schema.json")),
    (
        "provenance",
        include_str!("../schemas/provenance.schema.json"),
    ),
    ("check", include_str!("../schemas/check.schema.json")),
];

const JOB: &str = include_str!("../schemas/job.schema.json");
const EVENT: &str = include_str!("../schemas/event.schema.json");

/// What the schema of a job says in English, by its first words, in Chinese. All else in it are the
/// words of the official forms.
const IN_CHINESE: [(&str, &str); 14] = [
    (
        "A count; null, or a mark",
        "数量；没有此项职权的，填null或符号；可附说明。",
    ),
    (
        "What a broken reconciliation rule",
        "勾稽关系不成立时如何处理。",
    ),
    (
        "A cell of a table in the text; it may be empty.",
        "正文中表格的一格，可为空。",
    ),
    (
        "A paragraph, {\"heading\": …} or {\"table\": …}.",
        "一段文字，或{\"heading\": …}，或{\"table\": …}。",
    ),
    (
        "A total that is left out is computed; one that is there is checked.",
        "总计不填则自动计算，填了则核对。",
    ),
    (
        "Every row has as many cells as there are columns.",
        "每行的格数与columns相同。",
    ),
    (
        "Last year's figures, for the year-over-year checks.",
        "上年数据，供年度间核对。",
    ),
    ("Printed under the table.", "印在表下。"),
    (
        "Text on one line. White space at its ends is not set.",
        "一行文字，首尾空白不排。",
    ),
    (
        "Text; \\n is a line break that the sender chose.",
        "文字；\\n为报送方选定的换行处。",
    ),
    (
        "The idempotency key: one id, one content, one stored result.",
        "幂等键：一个编号对应一份内容、一份入库结果。",
    ),
    ("The reporting year.", "报告年度。"),
    (
        "The text between the heading and the table.",
        "标题与表格之间的文字。",
    ),
    ("Whose figures these are.", "填报单位。"),
];

/// A document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Where it stands in `schemas/`.
    pub path: String,
    /// JSON, for people too.
    pub text: String,
}

/// All of them, in the order of their paths. `prefix` is that of the exchanges and queues.
pub fn all(templates: &Templates, prefix: &str) -> Vec<Document> {
    let mut all: Vec<Document> = TEXTS
        .iter()
        .map(|(name, text)| Document {
            path: format!("{name}{ENDING}"),
            text: (*text).to_owned(),
        })
        .collect();
    let made = |path: String, value: &Value| Document {
        path,
        text: format!("{value:#}\n"),
    };
    let event = parsed(EVENT);
    for kind in Kind::ALL {
        let name = kind.as_str();
        all.push(made(
            format!("event/{name}{ENDING}"),
            &data_of(&event, name),
        ));
    }
    for edition in templates.editions() {
        let name = &edition.name;
        let path = format!("job/{name}{ENDING}");
        all.push(made(path, &job(templates, name)));
    }
    all.push(made("asyncapi.json".to_owned(), &asyncapi(&event, prefix)));
    all.sort_by(|one, other| one.path.cmp(&other.path));
    all
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).expect("a file of schemas/ is JSON")
}

/// The schema of a template's jobs, as `banshi templates NAME --schema` prints it, with its name
/// and an example. It is not the one beside the template: that is a part of the template, and with
/// its digest each PDF.
fn job(templates: &Templates, name: &str) -> Value {
    let forms = templates.forms();
    let form = &forms[name];
    let mut schema = schema::schema(name, form);
    translate(&mut schema);
    schema["$id"] = json!(format!("urn:banshi:schema:job:{name}"));
    let notice = &form.notice;
    schema["title"] = json!(format!("Job: {name} / 任务：{name}（{notice}）"));
    // A package of somebody's own may have no sample yet.
    let sample = templates
        .edition(name)
        .and_then(|edition| templates.sample(edition).ok());
    if let Some(sample) = sample.and_then(|sample| serde_json::from_slice(sample).ok()) {
        let sample: Value = sample;
        schema["examples"] = json!([sample]);
    }
    schema
}

/// Adds to each description in English what it says in Chinese.
fn translate(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if let Some(Value::String(said)) = fields.get_mut("description") {
                let chinese = IN_CHINESE
                    .iter()
                    .find(|(begins, _)| said.starts_with(begins));
                if let Some((_, chinese)) = chinese {
                    *said = format!("{said} / {chinese}");
                }
            }
            fields.values_mut().for_each(translate);
        }
        Value::Array(items) => items.iter_mut().for_each(translate),
        _ => {}
    }
}

/// The schema of an event's `data`.
fn data_of(event: &Value, kind: &str) -> Value {
    let defs = &event["$defs"];
    let mut schema = defs[kind].clone();
    let mut used = Map::new();
    collect(&schema, defs, &mut used);
    schema["$schema"] = event["$schema"].clone();
    schema["$id"] = json!(format!("urn:banshi:schema:event:{kind}"));
    schema["$defs"] = Value::Object(used);
    schema
}

/// The definitions that a schema refers to, and those that these do.
fn collect(schema: &Value, defs: &Value, used: &mut Map<String, Value>) {
    match schema {
        Value::Object(fields) => {
            let reference = fields.get("$ref").and_then(Value::as_str);
            if let Some(name) = reference.and_then(|it| it.strip_prefix("#/$defs/"))
                && !used.contains_key(name)
            {
                used.insert(name.to_owned(), defs[name].clone());
                collect(&defs[name], defs, used);
            }
            fields.values().for_each(|value| collect(value, defs, used));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, defs, used)),
        _ => {}
    }
}

/// The broker's side, with the schemas of the bodies. A reader of AsyncAPI 3.0 need not know JSON
/// Schema 2020-12: they are written as its own schema objects.
fn asyncapi(event: &Value, prefix: &str) -> Value {
    let mut schemas = Map::new();
    schemas.insert("job".to_owned(), parsed(JOB));
    schemas.insert("status".to_owned(), status());
    let defs = event["$defs"].as_object().expect("it has definitions");
    for (name, schema) in defs {
        schemas.insert(in_asyncapi(name), schema.clone());
    }
    for kind in Kind::ALL {
        schemas.insert(kind.as_str().to_owned(), whole(event, kind));
    }
    for schema in schemas.values_mut() {
        if let Some(fields) = schema.as_object_mut() {
            for of_a_file in ["$schema", "$id", "$defs", "allOf"] {
                fields.remove(of_a_file);
            }
        }
        refer(schema);
    }
    let mut document = amqp::asyncapi(prefix);
    document["components"]["schemas"] = Value::Object(schemas);
    document
}

/// The schema of the whole event of one type.
fn whole(event: &Value, kind: Kind) -> Value {
    let name = kind.as_str();
    let mut schema = event.clone();
    schema["title"] = json!(name);
    schema["properties"]["type"]["const"] = json!(name);
    schema["properties"]["data"] = json!({ "$ref": format!("#/$defs/{name}") });
    let conditions = event["allOf"].as_array().expect("one for each type");
    let own = conditions
        .iter()
        .find(|it| it["if"]["properties"]["type"]["const"] == name);
    let more = own.and_then(|own| own["then"]["required"].as_array());
    if let (Some(required), Some(more)) = (schema["required"].as_array_mut(), more) {
        required.extend(more.iter().cloned());
    }
    if let Some(fields) = schema["properties"]["type"].as_object_mut() {
        fields.remove("enum");
    }
    if let Some(examples) = schema["examples"].as_array_mut() {
        examples.retain(|example| example["type"] == name);
    }
    schema
}

/// What a definition of the event's schema is called there: the name of a type is the whole event's.
fn in_asyncapi(name: &str) -> String {
    match Kind::named(name) {
        Some(_) => format!("{name}.data"),
        None => name.to_owned(),
    }
}

fn refer(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if let Some(Value::String(reference)) = fields.get_mut("$ref")
                && let Some(name) = reference.strip_prefix("#/$defs/")
            {
                *reference = format!("#/components/schemas/{}", in_asyncapi(name));
            }
            fields.values_mut().for_each(refer);
        }
        Value::Array(items) => items.iter_mut().for_each(refer),
        _ => {}
    }
}

/// What of a worker's status others may rely on.
fn status() -> Value {
    let field = |kind: &str, said: &str| json!({ "type": kind, "description": said });
    json!({
        "title": "Status of a worker / 工作进程的状态",
        "description": "For `banshi status` and the console: what else is in it may change. / \
                        供`banshi status`和控制台使用；其他字段可能变化。",
        "type": "object",
        "required": ["worker", "version", "at", "ready"],
        "properties": {
            "worker": field("string", "Its id. / 标识。"),
            "version": field("string", "Its version. / 版本。"),
            "at": field("integer", "When it said so, in seconds since 1970. / 时间，自1970年起的秒数。"),
            "ready": field("boolean", "Whether it can work. / 是否可以工作。"),
        },
    })
}

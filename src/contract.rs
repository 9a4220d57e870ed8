//! What others rely on, in standard formats: JSON Schema (2020-12) of what comes in and goes out,
//! an AsyncAPI document of the broker's side, and an `OpenAPI` document of `check --serve`.
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
    ("check", CHECK),
];

const JOB: &str = include_str!("../schemas/job.schema.json");
const EVENT: &str = include_str!("../schemas/event.schema.json");
const CHECK: &str = include_str!("../schemas/check.schema.json");

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
    all.push(made(format!("answer{ENDING}"), &answer()));
    all.push(made("asyncapi.json".to_owned(), &asyncapi(&event, prefix)));
    all.push(Document {
        path: "openapi.json".to_owned(),
        text: openapi(templates),
    });
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

/// The schema of an answer of `check --serve`: what `check` says of a file, without the file.
fn answer() -> Value {
    let mut schema = parsed(CHECK);
    schema["$id"] = json!("urn:banshi:schema:answer");
    schema["title"] = json!("Answer of check --serve / check --serve 的答复");
    schema["description"] = json!(
        "What is said of a job: a line of `banshi check --serve`, or the body of a 200 over HTTP. \
         Later versions may add fields: pass over those that are not here. / \
         对一个任务的答复：`banshi check --serve` 的一行，或HTTP 200的正文。\
         后续版本可能增加字段，不认识的请忽略。"
    );
    let object = |value: &mut Value, gone: &[&str]| {
        if let Some(fields) = value.as_object_mut() {
            fields.retain(|name, _| !gone.contains(&name.as_str()));
        }
    };
    object(&mut schema["properties"], &["file", "proof"]);
    object(&mut schema["$defs"], &["proof", "page", "mark"]);
    schema["properties"]["id"] = json!({
        "description": "That of the line, as it was written; not there where the line had none. / \
                        该行所带的id，原样返回；没有则不出现。",
        "type": ["string", "number"],
    });
    if let Some(required) = schema["required"].as_array_mut() {
        required.retain(|name| name != "file");
    }
    if let Some(examples) = schema["examples"].as_array_mut() {
        examples.iter_mut().for_each(|it| object(it, &["file"]));
    }
    schema
}

/// `check --serve` over HTTP.
pub fn openapi(templates: &Templates) -> String {
    let mut schemas = Map::new();
    let answer = answer();
    for (name, schema) in answer["$defs"].as_object().into_iter().flatten() {
        schemas.insert(name.clone(), schema.clone());
    }
    let mut jobs = Vec::new();
    for edition in templates.editions() {
        let schema = job(templates, &edition.name);
        let name = edition.name.replace('/', ".");
        for (own, schema) in schema["$defs"].as_object().into_iter().flatten() {
            schemas.insert(format!("{name}.{own}"), schema.clone());
        }
        jobs.push(json!({ "$ref": format!("#/components/schemas/{name}") }));
        schemas.insert(name, schema);
    }
    schemas.insert("answer".to_owned(), answer);
    for (name, schema) in &mut schemas {
        // Those of a job are its form's.
        let own = name.split('.').take(2).collect::<Vec<_>>().join(".");
        let prefix = if name.contains('.') {
            format!("{own}.")
        } else {
            String::new()
        };
        if let Some(fields) = schema.as_object_mut() {
            for of_a_file in ["$schema", "$id", "$defs"] {
                fields.remove(of_a_file);
            }
        }
        refer_to(schema, &|name| format!("{prefix}{name}"));
    }
    schemas.insert(
        "job".to_owned(),
        json!({
            "title": "Job / 任务",
            "description": "A job of one of the templates. / 任一模板的任务。",
            "oneOf": jobs,
        }),
    );
    schemas.insert("refusal".to_owned(), json!({
        "title": "Refusal / 拒绝",
        "description": "Why nothing was said of a job (RFC 9457). / 没有答复的原因（RFC 9457）。",
        "type": "object",
        "required": ["title", "status", "detail"],
        "properties": {
            "title": { "description": "The status in words. / 状态的文字。", "type": "string" },
            "status": { "description": "The status. / 状态码。", "type": "integer" },
            "detail": { "description": "Why, and what to do. / 原因和处理办法。", "type": "string" },
        },
    }));
    let refused = |said: &str| {
        json!({
            "description": said,
            "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/refusal" } } },
        })
    };
    let foreign = refused(
        "The Host is not this machine's, or the Origin is not allowed. / Host不是本机，或Origin未获允许。",
    );
    let document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "banshi check",
            "summary": "What the service would say of a job, asked as one types. / 边填边查：服务会如何答复一个任务。",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "http://127.0.0.1:9466" }],
        "security": [],
        "paths": {
            "/check": { "post": {
                "operationId": "check",
                "summary": "Say of a job what the service would say / 按服务的标准检查一个任务",
                "requestBody": {
                    "required": true,
                    "content": { "application/json": { "schema": { "$ref": "#/components/schemas/job" } } },
                },
                "responses": {
                    "200": {
                        "description": "What is said of the job, whether it is taken or not, JSON or not. / 对任务的答复，无论是否接受、是否为JSON。",
                        "content": { "application/json": { "schema": { "$ref": "#/components/schemas/answer" } } },
                    },
                    "403": foreign.clone(),
                    "408": refused("The body took too long to come. / 正文传输超时。"),
                    "413": refused("The job has more bytes than the service takes. / 任务超过字节上限。"),
                },
            } },
            "/openapi.json": { "get": {
                "operationId": "openapi",
                "summary": "This document / 本文档",
                "responses": {
                    "200": {
                        "description": "This document. / 本文档。",
                        "content": { "application/json": { "schema": { "type": "object" } } },
                    },
                    "403": foreign,
                },
            } },
        },
        "components": { "schemas": schemas },
    });
    format!("{document:#}\n")
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
        refer_to(schema, &in_asyncapi);
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

/// Has the references of a schema lead to a document's components, by what these are called there.
fn refer_to(schema: &mut Value, called: &impl Fn(&str) -> String) {
    match schema {
        Value::Object(fields) => {
            if let Some(Value::String(reference)) = fields.get_mut("$ref")
                && let Some(name) = reference.strip_prefix("#/$defs/")
            {
                *reference = format!("#/components/schemas/{}", called(name));
            }
            let values = fields.values_mut();
            values.for_each(|value| refer_to(value, called));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| refer_to(item, called)),
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

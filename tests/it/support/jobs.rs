//! Jobs to test with: the real reports, and every way to spoil one.

use serde_json::{Value, json};

pub use super::figures::{KINDS, consistent};
use super::repository;

/// The real published reports, by name.
pub const CORPUS: [&str; 10] = [
    "hongze-2024",
    "jinhu-2023",
    "pingtan-2019",
    "pingtan-2021",
    "pingtan-2023",
    "pingtan-2024",
    "pingtan-2025",
    "shanghai-science-2024",
    "suqian-2024",
    "zibo-bigdata-2020",
];

/// The one that breaks a rule as published.
pub const BROKEN: &str = "jinhu-2023";

/// A real report's job.
pub fn corpus(name: &str) -> Value {
    let path = repository(&format!("tests/corpus/{name}.json"));
    let text = std::fs::read_to_string(&path).expect("the real reports are in tests/corpus");
    serde_json::from_str(&text).expect("a real report's job is JSON")
}

/// A job that a worker must refuse.
pub struct Bad {
    /// What is wrong with it; becomes its `job_id` where it can have one.
    pub name: &'static str,
    /// Its bytes.
    pub body: Vec<u8>,
    /// The code of the problem.
    pub code: &'static str,
    /// The place of the problem.
    pub path: &'static str,
}

/// A job of the seed's report, spoilt.
fn spoilt(
    name: &'static str,
    code: &'static str,
    path: &'static str,
    spoil: impl FnOnce(&mut Value),
) -> Bad {
    let mut job = corpus("zibo-bigdata-2020");
    job["job_id"] = json!(name);
    spoil(&mut job);
    Bad {
        name,
        body: job.to_string().into_bytes(),
        code,
        path,
    }
}

fn raw(name: &'static str, body: impl Into<Vec<u8>>) -> Bad {
    Bad {
        name,
        body: body.into(),
        code: "E-JSON",
        path: "",
    }
}

/// At least one bad job of every `E-` code that a job alone can earn (`E-CONFLICT` takes two).
/// The worker that refuses them has `render.max_pages = 40`.
pub fn bad() -> Vec<Bad> {
    let deep = format!("{}{}", "[".repeat(40), "]".repeat(40));
    vec![
        raw("empty", ""),
        raw("not-json", "{\"job_id\": "),
        raw("not-utf8", b"{\"job_id\": \"\xff\xfe\"}".to_vec()),
        raw("too-deep", deep),
        raw("too-deep-for-a-stack", "[".repeat(100_000)),
        raw("too-large", format!("\"{}\"", "x".repeat(1_100_000))),
        raw("two-values", "{} {}"),
        Bad {
            name: "no-object",
            body: b"[1]".to_vec(),
            code: "E-SCHEMA",
            path: "",
        },
        spoilt("no-agency", "E-SCHEMA", "/data/agency", |job| {
            remove(job, "/data", "agency")
        }),
        spoilt("misspelt", "E-SCHEMA", "/data/requests/recieved", |job| {
            let row = job["data"]["requests"]["received"].take();
            remove(job, "/data/requests", "received");
            job["data"]["requests"]["recieved"] = row;
        }),
        spoilt(
            "negative",
            "E-SCHEMA",
            "/data/requests/received/business",
            |job| {
                job["data"]["requests"]["received"]["business"] = json!(-1);
            },
        ),
        spoilt(
            "half-a-request",
            "E-SCHEMA",
            "/data/requests/received/business",
            |job| {
                job["data"]["requests"]["received"]["business"] = json!(0.5);
            },
        ),
        spoilt(
            "money-as-float",
            "E-SCHEMA",
            "/data/proactive_disclosure/article_20_9/procurement/amount",
            |job| {
                job["data"]["proactive_disclosure"]["article_20_9"]["procurement"]["amount"] =
                    json!(2823.12);
            },
        ),
        spoilt("no-such-day", "E-SCHEMA", "/data/issued_on", |job| {
            job["data"]["issued_on"] = json!("2021-02-30")
        }),
        spoilt("id-with-path", "E-SCHEMA", "/job_id", |job| {
            job["job_id"] = json!("../../etc/passwd")
        }),
        spoilt("no-such-template", "E-TEMPLATE", "/template", |job| {
            job["template"] = json!("annual-report/2020")
        }),
        spoilt("no-such-name", "E-TEMPLATE", "/template", |job| {
            job["template"] = json!("yearly-report/2021")
        }),
        spoilt("wrong-edition", "E-EDITION", "/data/year", |job| {
            job["data"]["year"] = json!(2023)
        }),
        spoilt("undrawable", "E-GLYPH", "/data/agency", |job| {
            job["data"]["agency"] = json!("淄博市\u{10FFFF}局")
        }),
        spoilt("control", "E-GLYPH", "/data/overview/0", |job| {
            job["data"]["overview"] = json!(["响铃\u{7}"])
        }),
        spoilt("too-many-pages", "E-LAYOUT", "", |job| {
            job["data"]["overview"] =
                Value::Array(vec![json!("政府信息公开。".repeat(60)); 120]);
        }),
    ]
}

/// Removes a field of the object at a pointer.
pub fn remove(job: &mut Value, pointer: &str, field: &str) {
    let object = job.pointer_mut(pointer).and_then(Value::as_object_mut);
    object
        .expect("there is such an object")
        .remove(field)
        .expect("there is such a field");
}

//! Jobs to test with: the real reports, and every way to spoil one.

use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
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
        raw("compressed", b"\x1f\x8b\x08\0\0\0\0\0\0\x03".to_vec()),
        raw("in-gbk", b"{\"agency\": \"\xca\xd0\xbe\xd6\"}".to_vec()),
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
        spoilt(
            "figure-as-text",
            "E-SCHEMA",
            "/data/requests/carried_in/total",
            |job| {
                job["data"]["requests"]["carried_in"]["total"] = json!("0");
            },
        ),
        spoilt("two-paragraphs", "E-SCHEMA", "/data/overview/0", |job| {
            job["data"]["overview"] = json!(["一段。\n又一段。"])
        }),
        spoilt("text-lost", "E-SCHEMA", "/data/overview/0", |job| {
            job["data"]["overview"] = json!(["联系人：张\u{FFFD}"])
        }),
        spoilt("control", "E-GLYPH", "/data/overview/0", |job| {
            job["data"]["overview"] = json!(["控制\u{1}"])
        }),
        spoilt("too-many-pages", "E-LAYOUT", "", |job| {
            job["data"]["overview"] =
                Value::Array(vec![json!("政府信息公开。".repeat(60)); 120]);
        }),
    ]
}

/// A job that somebody sent, or as good as; in `tests/cases`.
pub fn case(name: &str) -> Value {
    let path = repository(&format!("tests/cases/{name}.json"));
    let text = std::fs::read_to_string(&path).expect("it is in tests/cases");
    serde_json::from_str(&text).expect("a case is JSON")
}

/// A real report's job with one or two of its values changed at random: left out, replaced by
/// what belongs elsewhere or nowhere, or joined by a field that is not known.
pub fn spoilt_at_random(rng: &mut StdRng) -> Value {
    let name = *CORPUS.choose(rng).expect("a report");
    let mut job = corpus(name);
    for _ in 0..rng.random_range(1..=2) {
        let mut places = Vec::new();
        pointers(&job, String::new(), &mut places);
        let place = places.choose(rng).expect("a place").clone();
        let value = odd_value(rng);
        let (above, field) = place.rsplit_once('/').expect("a pointer");
        let choice = rng.random_range(0..8);
        match job.pointer_mut(above).expect("it is there") {
            Value::Object(fields) if choice == 0 => {
                fields.remove(field);
            }
            Value::Object(fields) if choice == 1 => {
                fields.insert(format!("{field}s"), value);
            }
            Value::Array(items) if choice < 2 => items.push(value),
            _ => *job.pointer_mut(&place).expect("it is there") = value,
        }
    }
    job
}

/// The place of every value but the job itself.
fn pointers(value: &Value, place: String, places: &mut Vec<String>) {
    if !place.is_empty() {
        places.push(place.clone());
    }
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                pointers(value, format!("{place}/{name}"), places);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                pointers(value, format!("{place}/{index}"), places);
            }
        }
        _ => {}
    }
}

/// A value of every kind that the form has somewhere, and some that it has nowhere.
fn odd_value(rng: &mut StdRng) -> Value {
    let texts = [
        "",
        " ",
        "\u{3000}\u{a0}",
        "\u{200b}",
        "/",
        "／",
        "—",
        "－",
        "-",
        "无",
        "//",
        " / ",
        "12",
        "1,234",
        "2823.12万",
        "2823.12亿",
        "24252.311082",
        "1234567890123456789",
        "0.12345678901",
        ".5",
        "5.",
        "2021-01-26",
        "2021-02-30",
        "文本",
        "\u{3000}\u{3000}文本 ",
        "一\n二",
        "一\r\n二",
        "一\r二",
        "文本\r\n",
        "\t文本",
        "文\t本",
        "文\u{b}本",
        "文本\u{b}",
        "文\u{c}本",
        "文\u{7}本",
        "文本\u{7}",
        "文\u{85}本",
        "文\u{2028}本",
        "文\u{2029}本",
        "文\u{fffd}本",
        "文\u{fffc}本",
        "文\u{200b}\u{feff}\u{ad}本",
        "\u{7}",
        "\u{2f42}本",
        "\u{ad}文\u{ad}",
        "一\n\u{200b}\n二",
        "一\r\u{200b}\n二",
        "annual-report/2021",
        "warn",
        "reject",
    ];
    let numbers = [
        "0",
        "-0.0",
        "3",
        "3.0",
        "-3",
        "-18.0",
        "1.5",
        "2024",
        "2020.0",
        "1e12",
        "1000000000000.5",
        "1000000000001",
        "-1e12",
        "-1000000000001",
        "1e15",
        "9007199254740991",
        "9007199254740993",
        "1e300",
        "1e-3",
    ];
    match rng.random_range(0..10) {
        0..=4 => json!(texts.choose(rng)),
        5..=6 => serde_json::from_str(numbers.choose(rng).expect("a number")).expect("JSON"),
        _ => {
            let values = [
                json!(null),
                json!(true),
                json!([]),
                json!({}),
                json!(["文本", { "heading": "（一）标题" }]),
                json!({ "value": 22, "remark": "其中修订16件" }),
                json!({ "value": 22.0, "remark": "其中\n修订" }),
                json!({ "value": "22", "remark": " " }),
                json!({ "value": "/", "remark": "无" }),
                json!({ "value": 22 }),
                json!({ "heading": " 标题" }),
                json!({ "heading": "标\n题" }),
                json!({ "heading": "标题", "table": {} }),
                json!({ "table": {
                    "columns": ["甲"], "rows": [["乙"], [3.0], [""]], "caption": "表",
                } }),
                json!({ "table": { "columns": [], "rows": [] } }),
                json!({ "table": { "columns": ["甲"], "rows": [[1.5]] } }),
                json!({ "table": { "columns": ["甲"], "rows": [[null]], "caption": "" } }),
                json!({ "table": { "columns": ["甲"], "rows": "乙" } }),
            ];
            values.choose(rng).expect("a value").clone()
        }
    }
}

/// Removes a field of the object at a pointer.
pub fn remove(job: &mut Value, pointer: &str, field: &str) {
    let object = job.pointer_mut(pointer).and_then(Value::as_object_mut);
    object
        .expect("there is such an object")
        .remove(field)
        .expect("there is such a field");
}

//! Beside each template stand its JSON Schema, a sample job and the sample as the template sees
//! it. All three are made from the code; `UPDATE=1 cargo test` writes them anew.

use banshi::report::{schema, view};
use serde_json::{Value, json};

use crate::support::jobs::corpus;
use crate::support::{check, editions, repository};

/// The sample of a template: of the annual report a real one.
fn sample(template: &str) -> Value {
    let mut job = match template {
        "annual-report/2019" => corpus("zibo-bigdata-2020"),
        "annual-report/2021" => corpus("pingtan-2023"),
        other => return crate::other_documents::sample(other),
    };
    job["on_violation"] = json!("reject");
    job
}

#[expect(
    clippy::disallowed_methods,
    reason = "a switch for maintainers, not a setting"
)]
fn same(path: &str, made: &Value) {
    let path = repository(path);
    let made = format!(
        "{}\n",
        serde_json::to_string_pretty(made).expect("plain JSON")
    );
    if std::env::var("UPDATE").is_ok() {
        std::fs::write(&path, &made).expect("the templates' folder can be written");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == made,
        "{} is stale: UPDATE=1 cargo test writes it anew",
        path.display()
    );
}

#[test]
fn schema_sample_and_view_are_what_the_code_makes() {
    for (name, form) in editions() {
        let folder = format!("typst-templates/{name}");
        let job = sample(&name);
        let checked = check(job.to_string().as_bytes()).expect("a sample is a good job");
        same(
            &format!("{folder}/schema.json"),
            &schema::schema(&name, &form),
        );
        same(&format!("{folder}/sample.json"), &job);
        same(
            &format!("{folder}/report.json"),
            &view::view(checked.report()),
        );
    }
}

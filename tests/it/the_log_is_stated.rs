//! The log says what is documented of it: each line of a JSON log follows the schema, whatever
//! happens to a worker, and the words that a manual tells to search for are those of a message.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use syn::buffer::{Cursor, TokenBuffer};

use crate::support::deployment::{Deployment, Worker};
use crate::support::jobs::{corpus, remove};
use crate::support::{listed, repository};

const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn schema() -> Value {
    serde_json::from_str(&text(&repository("docs/log.schema.json"))).unwrap()
}

/// What the macros of the log are given in the source: messages, fields of events, fields of spans.
#[derive(Default)]
struct Logged {
    messages: Vec<String>,
    fields: BTreeSet<String>,
    of_spans: BTreeSet<String>,
}

impl Logged {
    fn read() -> Logged {
        let mut logged = Logged::default();
        logged.folder(&repository("src"));
        assert!(logged.messages.len() > 50, "{:?}", logged.messages);
        logged
    }

    fn folder(&mut self, folder: &Path) {
        for name in listed(folder) {
            let path = folder.join(&name);
            if path.is_dir() {
                self.folder(&path);
                continue;
            }
            if !name.ends_with(".rs") {
                continue;
            }
            // The tests of a module come last in it.
            let whole = text(&path);
            let code = whole.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
            // As one macro, for its tokens: some of these stand in the tokens of others.
            let all: syn::Macro = syn::parse_str(&format!("all! {{ {code}\n }}")).unwrap();
            self.walk(TokenBuffer::new2(all.tokens).begin());
        }
    }

    fn walk(&mut self, mut at: Cursor) {
        while let Some((_, next)) = at.token_tree() {
            if let Some((name, rest)) = at.ident()
                && let Some((mark, rest)) = rest.punct()
                && mark.as_char() == '!'
                && let Some((inside, ..)) = rest.any_group()
            {
                let name = name.to_string();
                if LEVELS.contains(&name.as_str()) {
                    self.arguments(inside, false);
                } else if name.ends_with("_span") {
                    self.arguments(inside, true);
                }
            }
            if let Some((inside, ..)) = at.any_group() {
                self.walk(inside);
            }
            at = next;
        }
    }

    /// `target: "…"`, `field = value`, `%field`, `field`, and then a message.
    fn arguments(&mut self, mut at: Cursor, span: bool) {
        while !at.eof() {
            let (mut name, mut first) = (String::new(), true);
            let mut is_field = true;
            while let Some((_, next)) = at.token_tree() {
                match at.punct() {
                    Some((mark, rest)) if mark.as_char() == ',' => {
                        at = rest;
                        break;
                    }
                    Some((mark, _)) if mark.as_char() == '.' && is_field => name.push('.'),
                    Some((mark, _)) if first && ['%', '?'].contains(&mark.as_char()) => {}
                    // A value follows, or it is `target:`.
                    Some((mark, _)) => {
                        if mark.as_char() == ':' && is_field {
                            name.clear();
                        }
                        is_field = false;
                    }
                    None => {
                        if let Some((word, _)) = at.ident()
                            && is_field
                        {
                            name.push_str(&word.to_string());
                        } else if first
                            && !span
                            && let Some((literal, _)) = at.literal()
                        {
                            let literal: syn::LitStr =
                                syn::parse_str(&literal.to_string()).unwrap();
                            self.messages.push(literal.value());
                            // What follows is what it is formatted with.
                            return;
                        }
                    }
                }
                (at, first) = (next, false);
            }
            if !name.is_empty() {
                let fields = if span {
                    &mut self.of_spans
                } else {
                    &mut self.fields
                };
                fields.insert(name);
            }
        }
    }
}

/// What a schema says of the properties of an object.
fn properties(schema: &Value) -> BTreeSet<String> {
    schema["properties"]
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect()
}

#[test]
fn every_field_that_the_source_logs_is_in_the_schema_and_no_other() {
    let (logged, schema) = (Logged::read(), schema());
    let mut stated = properties(&schema);
    for own in ["timestamp", "level", "target", "message", "spans"] {
        assert!(stated.remove(own), "{own}");
    }
    assert_eq!(logged.fields, stated);
    let mut of_spans = properties(&schema["$defs"]["span"]);
    assert!(of_spans.remove("name"));
    assert!(
        of_spans.is_subset(&logged.of_spans),
        "{:?}",
        logged.of_spans
    );
}

/// The manuals and the pages of the alerts, in both languages.
fn manuals() -> Vec<PathBuf> {
    let folders = ["docs", "docs/runbooks", "docs/zh", "docs/zh/runbooks"];
    let pages = folders.iter().flat_map(|folder| {
        let pages = listed(&repository(folder)).into_iter();
        let pages = pages.filter(|name| name.ends_with(".md"));
        pages.map(|name| repository(folder).join(name))
    });
    pages.collect()
}

/// What a page tells to search the log for, or says that the log says: `grep -F '…'`, and a code
/// span after “the log says” or “日志写”.
fn search_words(page: &str) -> Vec<String> {
    let mut words = Vec::new();
    for after in page.split("grep -F ").skip(1) {
        let quote = after.chars().next().unwrap();
        assert!(['\'', '"'].contains(&quote), "grep -F {after}");
        words.push(after[1..].split(quote).next().unwrap().to_owned());
    }
    for says in ["the log says `", "日志写 `"] {
        let spans = page.split(says).skip(1);
        let spans = spans.map(|after| after.split('`').next().unwrap().to_owned());
        words.extend(spans);
    }
    words
}

#[test]
fn the_words_to_search_the_log_for_are_a_messages_own_words() {
    let messages = Logged::read().messages;
    let mut found = 0;
    let mut stale = Vec::new();
    for path in manuals() {
        for words in search_words(&text(&path)) {
            found += 1;
            if words.len() < 8 || !messages.iter().any(|message| message.contains(&words)) {
                stale.push(format!("{}: no message says {words:?}", path.display()));
            }
        }
    }
    assert!(stale.is_empty(), "{}", stale.join("\n"));
    assert!(found > 20, "{found}");
    assert!(
        messages
            .iter()
            .all(|it| !it.contains("a message of nobody"))
    );
    let page = "`grep -F 'one'` and the log says `two`, 日志写 `three`";
    assert_eq!(search_words(page), ["one", "two", "three"]);
}

/// Validates lines against the schema, and holds the fields of banshi's own against its list.
fn validate(log: &str) -> Vec<Value> {
    let mut child = Command::new("python3")
        .arg(repository("tests/tools/schema-verdicts"))
        .arg(repository("docs/log.schema.json"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let all = log.to_owned();
    let feeding = std::thread::spawn(move || input.write_all(all.as_bytes()));
    let output = child.wait_with_output().unwrap();
    feeding.join().unwrap().unwrap();
    assert!(output.status.success(), "not JSON:\n{log}");
    let verdicts = String::from_utf8(output.stdout).unwrap();
    assert_eq!(verdicts.lines().count(), log.lines().count());
    for (verdict, line) in verdicts.lines().zip(log.lines()) {
        assert_eq!(verdict, "ok", "{line}");
    }
    let stated = properties(&schema());
    let lines = log.lines().map(|line| {
        let line: Value = serde_json::from_str(line).unwrap();
        if line["target"].as_str().unwrap().starts_with("banshi") {
            let fields: BTreeSet<_> = line.as_object().unwrap().keys().cloned().collect();
            assert!(fields.is_subset(&stated), "{line}");
        }
        line
    });
    lines.collect()
}

/// How often a message was logged of a job.
fn times(log: &[Value], id: &str, message: &str) -> usize {
    let of_job = log.iter().filter(|line| line["spans"][0]["job.id"] == id);
    of_job.filter(|line| line["message"] == message).count()
}

fn named(id: &str) -> Value {
    let mut job = corpus("pingtan-2023");
    job["job_id"] = json!(id);
    job
}

async fn until_logged(deployment: &Deployment, worker: &Worker, words: &str) {
    let logged = async |_: &Deployment| worker.log().contains(words);
    deployment.until(words, logged).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_line_of_a_json_log_follows_the_schema_and_tells_an_event_once() {
    let deployment = Deployment::amqp()
        .await
        .with("LOG__FORMAT", "json")
        .with("LOG__FILTER", "debug");
    let worker = deployment.worker();
    deployment
        .send("good", named("good").to_string().as_bytes())
        .await;
    let mut bad = named("bad");
    remove(&mut bad, "/data", "agency");
    deployment.send("bad", bad.to_string().as_bytes()).await;
    deployment
        .until("both are done", async |it| it.ready("heard").await == 2)
        .await;
    worker.signal_typesetters("KILL");
    until_logged(&deployment, &worker, "it is replaced").await;
    deployment.lose_store();
    deployment
        .send("delayed", named("delayed").to_string().as_bytes())
        .await;
    until_logged(
        &deployment,
        &worker,
        "the job waits until what is out is back",
    )
    .await;
    deployment.restore_store();
    until_logged(&deployment, &worker, "what was out is back").await;
    let delayed = async |_: &Deployment| {
        let log = worker.log();
        let mut lines = log.lines().filter(|line| line.contains("\"delayed\""));
        lines.any(|line| line.contains("\"completed\""))
    };
    deployment.until("the delayed one is done", delayed).await;
    worker.signal("TERM");
    until_logged(&deployment, &worker, "\"stopped\"").await;
    let log = validate(&worker.log());

    assert_eq!(times(&log, "good", "completed"), 1);
    assert_eq!(times(&log, "bad", "rejected"), 1);
    assert_eq!(times(&log, "delayed", "completed"), 1);
    let rejected = log.iter().find(|line| line["message"] == "rejected");
    let rejected = &rejected.unwrap()["spans"][0];
    assert_eq!(rejected["code"], "E-SCHEMA");
    assert_eq!(rejected["lane"], "bulk");
    // Each time that jobs stop coming in, and come in again, is told once.
    let states = |message: &str| log.iter().filter(|it| it["message"] == message).count();
    assert_eq!(
        states("no jobs can come in") + 1,
        states("jobs can come in")
    );
    assert_eq!(states("what was out is back"), 1);
    // Nothing of this calls for anybody: it heals by itself.
    let called = log.iter().filter(|line| line["level"] == "ERROR");
    assert_eq!(called.count(), 0);
    assert_eq!(worker.wait(), Some(0));
    deployment.remove().await;
}

#[test]
fn a_worker_that_ends_with_a_json_log_says_why_in_it() {
    let deployment = Deployment::spool()
        .with("LOG__FORMAT", "json")
        .with("FONTS__DIR", "/nowhere");
    let ended = deployment.banshi(&["worker"]).output().unwrap();
    assert_eq!(ended.status.code(), Some(3));
    let log = validate(&String::from_utf8(ended.stderr).unwrap());
    let last = log.last().unwrap();
    assert_eq!(last["message"], "the worker ends");
    assert_eq!(last["level"], "ERROR");
    assert!(
        last["error"].as_str().unwrap().contains("/nowhere"),
        "{last}"
    );
}

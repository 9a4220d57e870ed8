//! What others rely on is stated in standard formats, in `schemas/`: what banshi really reads and
//! writes is held to it by readers that share no code with it, and it to what is written. What
//! would break somebody is found before it is released.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use banshi::attachment::attachment;
use banshi::contract;
use banshi::problem::{Code, Part};
use banshi::typesetter::{PROVENANCE, Templates};
use lapin::BasicProperties;
use lapin::types::AMQPValue;
use serde_json::{Map, Value, json};

use crate::support::deployment::Deployment;
use crate::support::jobs::{CORPUS, bad, case, corpus};
use crate::support::{BANSHI, editions, git, repository};

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

fn committed(path: &str) -> Value {
    let path = repository("schemas").join(path);
    parsed(&fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

/// The files below a folder, by their paths in it.
fn files(folder: &Path) -> BTreeMap<String, String> {
    fn walk(folder: &Path, prefix: &str, found: &mut BTreeMap<String, String>) {
        for name in crate::support::listed(folder) {
            let (path, within) = (folder.join(&name), format!("{prefix}{name}"));
            match path.is_dir() {
                true => walk(&path, &format!("{within}/"), found),
                false => {
                    found.insert(within, fs::read_to_string(&path).expect("text"));
                }
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(folder, "", &mut found);
    found
}

fn schema(arguments: &[&str]) -> Output {
    let mut command = Command::new(BANSHI);
    let command = command.arg("schema").args(arguments);
    command.output().expect("it starts")
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a switch for maintainers, not a setting"
)]
fn the_schemas_are_what_the_program_writes() {
    let folder = tempfile::tempdir().unwrap();
    let all = schema(&["--all", folder.path().to_str().unwrap()]);
    assert!(all.status.success(), "{all:?}");
    let made = files(folder.path());
    if std::env::var("UPDATE").is_ok() {
        let stale = files(&repository("schemas")).into_keys();
        for path in stale.filter(|path| !made.contains_key(path)) {
            fs::remove_file(repository("schemas").join(path)).unwrap();
        }
        for (path, text) in &made {
            let path = repository("schemas").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }
    let committed = files(&repository("schemas"));
    let names = |files: &BTreeMap<String, String>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&committed), names(&made), "UPDATE=1 writes them anew");
    for (path, text) in &made {
        assert!(
            committed[path] == *text,
            "schemas/{path} is stale: UPDATE=1 writes it anew"
        );
    }
}

#[test]
fn the_program_lists_them_prints_each_and_names_those_there_are() {
    let committed = files(&repository("schemas"));
    let list = String::from_utf8(schema(&[]).stdout).unwrap();
    assert!(list.lines().eq(committed.keys()), "{list}");
    for (arguments, path) in [
        (&["job"][..], "job.schema.json"),
        (
            &["job", "annual-report/2021"],
            "job/annual-report/2021.schema.json",
        ),
        (&["events"], "event.schema.json"),
        (
            &["events", "report.failed"],
            "event/report.failed.schema.json",
        ),
        (&["manifest"], "manifest.schema.json"),
        (&["provenance"], "provenance.schema.json"),
        (&["check"], "check.schema.json"),
        (&["answer"], "answer.schema.json"),
        (&["openapi"], "openapi.json"),
        (&["asyncapi"], "asyncapi.json"),
    ] {
        let printed = String::from_utf8(schema(arguments).stdout).unwrap();
        assert!(printed == committed[path], "{arguments:?}: {printed:.100}");
    }
    let unknown = schema(&["job", "annual-report/2020"]);
    assert_eq!(unknown.status.code(), Some(2));
    let said = String::from_utf8(unknown.stderr).unwrap();
    assert!(
        said.contains("there are: annual-report/2019, annual-report/2021"),
        "{said}"
    );
}

/// The names of the exchanges and queues are those of the settings.
#[test]
fn the_brokers_document_has_the_prefix_of_the_settings() {
    let mut command = Command::new(BANSHI);
    let command = command
        .args(["schema", "asyncapi"])
        .env("BANSHI__QUEUE__PREFIX", "city.reports");
    let printed = String::from_utf8(command.output().unwrap().stdout).unwrap();
    let document = parsed(&printed);
    let channels = document["channels"].as_object().unwrap();
    assert_eq!(
        channels["queue.jobs.bulk"]["address"],
        "city.reports.jobs.bulk"
    );
    assert!(!printed.contains("\"banshi."), "{printed}");
}

/// Titles and descriptions without Chinese.
fn english_alone(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for key in ["title", "description"] {
                let chinese = |c: char| ('\u{4e00}'..='\u{9fff}').contains(&c);
                if let Some(Value::String(said)) = fields.get(key)
                    && !said.chars().any(chinese)
                {
                    found.push(said.clone());
                }
            }
            let fields = fields.iter().filter(|(key, _)| *key != "examples");
            fields.for_each(|(_, value)| english_alone(value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| english_alone(item, found)),
        _ => {}
    }
}

fn all() -> Vec<(String, Value)> {
    let templates = Templates::load(None).unwrap();
    let all = contract::all(&templates, "banshi").into_iter();
    all.map(|document| (document.path, parsed(&document.text)))
        .collect()
}

#[test]
fn every_schema_has_a_name_of_its_own_and_an_example_and_speaks_both_languages() {
    let mut ids = BTreeSet::new();
    for (path, schema) in all() {
        if !path.ends_with(".schema.json") {
            continue;
        }
        let mut found = Vec::new();
        let id = schema["$id"].as_str().unwrap().to_owned();
        assert!(ids.insert(id), "{path}");
        assert!(!schema["examples"].as_array().unwrap().is_empty(), "{path}");
        english_alone(&schema, &mut found);
        assert_eq!(found, [""; 0], "{path}");
    }
}

#[test]
fn what_stands_in_several_schemas_is_the_same_in_all() {
    let mut defs: Map<String, Value> = Map::new();
    for (path, schema) in all() {
        let own = schema["$defs"].as_object().cloned().unwrap_or_default();
        for (name, schema) in own.into_iter().filter(|_| !path.starts_with("job/")) {
            let first = defs.entry(name.clone()).or_insert_with(|| schema.clone());
            assert_eq!(*first, schema, "{name} in {path}");
        }
    }
    assert!(defs.len() > 5, "{defs:?}");
}

#[test]
fn the_codes_in_the_schemas_are_those_of_the_code() {
    let event = committed("event.schema.json");
    let listed = |value: &Value| -> BTreeSet<String> {
        let values = value.as_array().unwrap().iter();
        values
            .map(|value| value.as_str().unwrap().to_owned())
            .collect()
    };
    let code = &event["$defs"]["problem"]["properties"]["code"];
    let mut codes: BTreeSet<String> = Code::OWN
        .iter()
        .map(|code| code.as_str().to_owned())
        .collect();
    for form in editions().values() {
        codes.extend(form.codes().map(|code| code.as_str().to_owned()));
    }
    assert_eq!(listed(&code["examples"]), codes);
    let parts = &event["$defs"]["report.failed"]["properties"]["error"]["properties"]["code"];
    // The administration port is no part of a job's way.
    let parts_of_a_job = [
        Part::Transport,
        Part::Store,
        Part::Typesetter,
        Part::Fonts,
        Part::Templates,
        Part::Disk,
        Part::Signer,
    ];
    let parts_of_a_job = parts_of_a_job.map(|part| part.as_str().to_owned());
    assert_eq!(listed(&parts["enum"]), BTreeSet::from(parts_of_a_job));
}

#[test]
fn every_exchange_and_queue_is_described_and_says_which_messages_it_has() {
    let document = committed("asyncapi.json");
    let channels = document["channels"].as_object().unwrap();
    assert!(channels.len() > 12);
    for (id, channel) in channels {
        assert!(
            channel["description"].is_string(),
            "{id}: src/transport/amqp/asyncapi.rs, about"
        );
        for message in channel["messages"].as_object().unwrap().values() {
            let reference = message["$ref"].as_str().unwrap();
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{id}: {reference}");
        }
        assert!(!channel["messages"].as_object().unwrap().is_empty(), "{id}");
    }
    for operation in document["operations"].as_object().unwrap().values() {
        let reference = operation["channel"]["$ref"].as_str().unwrap();
        let id = reference.strip_prefix("#/channels/").unwrap();
        assert!(channels.contains_key(id), "{id}");
    }
}

/// What a tool of `tests/tools` says of these lines.
fn asked(command: &mut Command, lines: &[Value]) -> String {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("tests/tools/install test installs what it needs");
    let mut input = child.stdin.take().unwrap();
    let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let feeding = std::thread::spawn(move || input.write_all(lines.as_bytes()));
    let output = child.wait_with_output().unwrap();
    feeding.join().unwrap().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

/// What the strict validator finds of documents, each with its schema.
pub fn held(documents: &[(String, Value, bool)]) -> Value {
    let lines: Vec<Value> = documents
        .iter()
        .map(|(schema, document, whole)| json!({ "schema": schema, "document": document, "whole": whole }))
        .collect();
    let mut command = Command::new("python3");
    command
        .arg(repository("tests/tools/schema-strict"))
        .arg(repository("schemas"));
    parsed(&asked(&mut command, &lines))
}

/// A message's headers but for those that the broker adds, and its properties, as JSON.
fn described(properties: &BasicProperties) -> (Value, Value) {
    let value = |value: &AMQPValue| match value {
        AMQPValue::LongString(text) => json!(String::from_utf8_lossy(text.as_bytes())),
        AMQPValue::LongLongInt(number) => json!(number),
        other => panic!("no header of ours is {other:?}"),
    };
    let headers = properties
        .headers()
        .iter()
        .flat_map(|headers| headers.inner());
    let headers = headers.filter(|(name, _)| !name.as_str().starts_with("x-"));
    let headers: Map<_, _> = headers
        .map(|(name, it)| (name.to_string(), value(it)))
        .collect();
    let mut own = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        own.extend(value.map(|value| (name.to_owned(), value)));
    };
    let text =
        |text: &Option<lapin::types::ShortString>| text.as_ref().map(|text| json!(text.as_str()));
    put("content_type", text(properties.content_type()));
    put("content_encoding", text(properties.content_encoding()));
    put(
        "delivery_mode",
        properties.delivery_mode().map(|mode| json!(mode)),
    );
    put(
        "priority",
        properties.priority().map(|priority| json!(priority)),
    );
    put("correlation_id", text(properties.correlation_id()));
    put("reply_to", text(properties.reply_to()));
    put("expiration", text(properties.expiration()));
    put("message_id", text(properties.message_id()));
    put("timestamp", properties.timestamp().map(|time| json!(time)));
    put("type", text(properties.kind()));
    put("user_id", text(properties.user_id()));
    put("app_id", text(properties.app_id()));
    (Value::Object(headers), Value::Object(own))
}

/// A message as the document of the broker's side has it.
fn as_message(name: &str, properties: &BasicProperties) -> [(String, Value, bool); 2] {
    let (headers, properties) = described(properties);
    let place = |part: &str| format!("asyncapi.json#/components/messages/{name}/{part}");
    [
        (place("headers"), headers, false),
        (place("x-amqp-properties"), properties, false),
    ]
}

/// What the SDKs of CloudEvents for Python and for Node read of these messages is their event.
fn assert_cloud_events(messages: &[(&[u8], &BasicProperties, Value)]) {
    let lines: Vec<Value> = messages
        .iter()
        .map(|(body, properties, _)| {
            let (headers, own) = described(properties);
            let body = std::str::from_utf8(body).unwrap();
            json!({ "headers": headers, "content_type": own["content_type"], "body": body })
        })
        .collect();
    for (reader, tool) in [
        (
            repository("target/tools/cloudevents/bin/python"),
            "cloudevents-read",
        ),
        ("node".into(), "cloudevents-read.cjs"),
    ] {
        let mut command = Command::new(reader);
        let tool = repository("tests/tools").join(tool);
        let read = asked(command.arg(tool), &lines);
        assert_eq!(read.lines().count(), messages.len());
        for (line, (_, _, event)) in read.lines().zip(messages) {
            let read = parsed(line);
            assert_eq!(read["data"], event["data"]);
            let plain = [
                "id",
                "source",
                "type",
                "specversion",
                "datacontenttype",
                "subject",
            ];
            for name in plain {
                let said = read["attributes"].get(name);
                assert_eq!(said, event.get(name), "{name} of {event}");
            }
            // Each writes it in its own way, with `T` or a blank, `Z` or an offset.
            let time = read["attributes"]["time"]
                .as_str()
                .unwrap()
                .replace(' ', "T");
            assert_eq!(time[..19], event["time"].as_str().unwrap()[..19]);
        }
    }
}

/// Faces of which only that of the role `fallback` has 㐂, and a page for the web beside the PDF.
const FACES: &str = r#"
[render]
formats = ["pdf", "html"]
[fonts]
more = []
[fonts.roles]
kaiti = ["Zhuque Fangsong (technical preview)"]
fallback = ["LXGW WenKai GB Lite"]
"#;

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_worker_writes_follows_the_schemas_and_they_ask_for_nothing_else() {
    let deployment = Deployment::amqp()
        .await
        .with("RENDER__THREADS", "2")
        .with("WORKER__ATTEMPTS", "1");
    let mut documents: Vec<(String, Value, bool)> = Vec::new();

    // Every kind of job: real reports, templates' samples, what senders send, and bad ones.
    let mut bodies: Vec<Vec<u8>> = bad().into_iter().map(|bad| bad.body).collect();
    let mut jobs: Vec<Value> = CORPUS.into_iter().map(corpus).collect();
    jobs.extend(["mark-slash", "kangxi-radicals", "replacement-character"].map(case));
    let templates = Templates::load(None).unwrap();
    for edition in templates.editions() {
        jobs.push(serde_json::from_slice(templates.sample(edition).unwrap()).unwrap());
    }
    for (number, job) in jobs.iter_mut().enumerate() {
        job["job_id"] = json!(format!("job-{number}"));
    }
    bodies.extend(jobs.iter().map(|job| job.to_string().into_bytes()));
    let mut paths = Vec::new();
    for (number, body) in bodies.iter().enumerate() {
        let name = format!("{number:03}");
        let path = deployment.folder().join(format!("{name}.json"));
        fs::write(&path, body).unwrap();
        paths.push(path.display().to_string());
        let properties = BasicProperties::default().with_correlation_id("request-42".into());
        deployment.send_as(&name, body, properties).await;
    }
    let unrouted = jobs[0].to_string().into_bytes();
    deployment
        .send_by(
            "mistyped",
            "unrouted",
            &unrouted,
            BasicProperties::default(),
        )
        .await;
    deployment.work_until_idle();
    let mut rare = corpus("pingtan-2023");
    rare["job_id"] = json!("rare");
    rare["data"]["overview"][0] = json!("联系人：王㐂。");
    deployment.send("rare", rare.to_string().as_bytes()).await;
    fs::write(deployment.path("faces.toml"), FACES).unwrap();
    let arguments = ["--config", "faces.toml", "worker", "--until-idle"];
    let ran = deployment.banshi(&arguments).output().unwrap();
    assert!(ran.status.success(), "{ran:?}");
    let stored = deployment.store();
    for key in &stored {
        let bytes = deployment.stored(key);
        if key.ends_with(".json") {
            let manifest = serde_json::from_slice(&bytes).unwrap();
            documents.push(("manifest.schema.json".to_owned(), manifest, true));
        } else if key.ends_with(".pdf") {
            let provenance = attachment(&bytes, PROVENANCE).unwrap();
            let provenance = serde_json::from_slice(&provenance).unwrap();
            documents.push(("provenance.schema.json".to_owned(), provenance, true));
        }
    }
    assert!(stored.len() > 30, "{stored:?}");

    // One that fails.
    fs::rename(
        deployment.path("store/annual-report"),
        deployment.path("elsewhere"),
    )
    .unwrap();
    deployment.break_store();
    let mut failing = corpus("zibo-bigdata-2020");
    failing["job_id"] = json!("failing");
    deployment
        .send("failing", failing.to_string().as_bytes())
        .await;
    deployment.work_until_idle();

    let heard = deployment.drain("heard").await;
    assert_eq!(heard.len(), bodies.len() + 2);
    let mut events = BTreeMap::new();
    let mut messages = Vec::new();
    for (body, properties) in &heard {
        let event: Value = serde_json::from_slice(body).unwrap();
        let kind = event["type"].as_str().unwrap().to_owned();
        let data = (
            format!("event/{kind}.schema.json"),
            event["data"].clone(),
            false,
        );
        documents.push(data);
        documents.extend(as_message(&kind, properties));
        documents.push(("event.schema.json".to_owned(), event.clone(), true));
        messages.push((&body[..], properties, event.clone()));
        events.insert(event["id"].as_str().unwrap().to_owned(), event);
    }
    let kinds: BTreeSet<_> = events
        .values()
        .map(|event| event["type"].as_str())
        .collect();
    assert_eq!(kinds.len(), 3, "{kinds:?}");
    assert_cloud_events(&messages);

    // The same jobs, their events in binary mode: the failing one first, while the store is out.
    let deployment = deployment.with("EVENTS__MODE", "binary");
    let body = failing.to_string().into_bytes();
    deployment.listen_for_replies("me").await;
    let properties = BasicProperties::default().with_reply_to("me".into());
    deployment.send_as("failing", &body, properties).await;
    deployment.work_until_idle();
    fs::remove_file(deployment.path("store/annual-report")).unwrap();
    fs::rename(
        deployment.path("elsewhere"),
        deployment.path("store/annual-report"),
    )
    .unwrap();
    for (number, body) in bodies.iter().enumerate() {
        deployment.send(&format!("{number:03}"), body).await;
    }
    deployment.work_until_idle();
    let heard = deployment.drain("heard").await;
    let replied = deployment.drain("replied").await;
    assert_eq!((heard.len(), replied.len()), (bodies.len() + 1, 1));
    let mut messages = Vec::new();
    for (body, properties) in heard.iter().chain(&replied) {
        let (headers, own) = described(properties);
        let kind = own["type"].as_str().unwrap();
        let mut event = events[headers["ce-id"].as_str().unwrap()].clone();
        // Completed, it is the same to the byte; otherwise it happened once more.
        assert!(kind != "report.completed" || event["time"] == headers["ce-time"]);
        event["time"] = headers["ce-time"].clone();
        let data = serde_json::from_slice(body).unwrap();
        documents.push((format!("event/{kind}.schema.json"), data, false));
        documents.extend(as_message(&format!("{kind}.binary"), properties));
        if headers.get("ce-subject").is_none() {
            event.as_object_mut().unwrap().remove("subject");
        }
        messages.push((&body[..], properties, event));
    }
    assert_cloud_events(&messages);

    // A job that waits between two attempts, and what its worker says of itself.
    fs::rename(
        deployment.path("store/annual-report"),
        deployment.path("elsewhere"),
    )
    .unwrap();
    deployment.break_store();
    deployment.listen_for_statuses().await;
    let worker = deployment.worker_with("BANSHI__WORKER__ATTEMPTS", "2");
    deployment.send("failing", &body).await;
    let waits =
        async |it: &Deployment| it.ready("retry.5s").await == 1 && it.ready("statuses").await > 0;
    deployment.until("the job waits", waits).await;
    worker.kill();
    for (_, properties) in deployment.drain("retry.5s").await {
        documents.extend(as_message("waitingJob", &properties));
    }
    let stated = committed("asyncapi.json");
    let stated = stated["components"]["schemas"]["status"]["properties"].as_object();
    for (body, properties) in deployment.drain("statuses").await {
        documents.extend(as_message("status", &properties));
        // What else is in it may change.
        let mut status: Map<String, Value> = serde_json::from_slice(&body).unwrap();
        status.retain(|name, _| stated.is_some_and(|stated| stated.contains_key(name)));
        let schema = "asyncapi.json#/components/schemas/status".to_owned();
        documents.push((schema, Value::Object(status), false));
    }
    for (body, properties) in deployment.drain("dead").await {
        assert!(bodies.contains(&body) || body == failing.to_string().as_bytes());
        documents.extend(as_message("deadJob", &properties));
    }
    for (_, properties) in deployment.drain("unrouted").await {
        documents.extend(as_message("unroutedJob", &properties));
    }

    // And what `check` says of the same jobs.
    let proofs = deployment.folder().join("proofs").display().to_string();
    let arguments = ["check", "--format", "json", "--proof", &proofs].into_iter();
    let arguments: Vec<&str> = arguments.chain(paths.iter().map(String::as_str)).collect();
    let ran = deployment.banshi(&arguments).output().unwrap();
    let said = String::from_utf8(ran.stdout).unwrap();
    assert_eq!(said.lines().count(), bodies.len());
    let said = said.lines().map(parsed);
    documents.extend(said.map(|said| ("check.schema.json".to_owned(), said, true)));

    // The good jobs follow the schema of their template, and the envelope.
    for job in jobs
        .iter()
        .filter(|job| crate::support::check(job.to_string().as_bytes()).is_ok())
    {
        let template = job["template"].as_str().unwrap();
        documents.push((format!("job/{template}.schema.json"), job.clone(), false));
        documents.push(("job.schema.json".to_owned(), job.clone(), false));
    }

    let found = held(&documents);
    assert_eq!(found["errors"], json!([]));
    assert_eq!(
        found["needless"],
        json!([]),
        "required, and nobody misses it"
    );
    assert_eq!(found["unseen"], json!([]), "stated, and never written");
    // Only a body that is no JSON, over a transport that does not name it, has no id.
    let always = ["event.schema.json /$defs/report.failed/job_id"];
    assert_eq!(
        found["always"],
        json!(always),
        "not required, and always written"
    );
    deployment.remove().await;
}

#[test]
fn the_examples_are_what_they_are_examples_of() {
    let mut documents = Vec::new();
    for (path, schema) in all() {
        for example in schema["examples"].as_array().into_iter().flatten() {
            documents.push((path.clone(), example.clone(), false));
        }
    }
    assert!(documents.len() > 12);
    assert_eq!(held(&documents)["errors"], json!([]));
}

/// The validator has something to say of what is not as it must be.
#[test]
fn what_does_not_follow_a_schema_is_found() {
    let schema = committed("event.schema.json");
    let example = &schema["examples"][0];
    let spoilt = |spoil: fn(&mut Value)| {
        let mut event = example.clone();
        spoil(&mut event);
        let found = held(&[("event.schema.json".to_owned(), event, true)]);
        found["errors"].as_array().unwrap().len()
    };
    assert_eq!(spoilt(|_| ()), 0);
    assert_eq!(spoilt(|event| event["more"] = json!(1)), 1);
    assert_eq!(spoilt(|event| event["data"]["more"] = json!(1)), 1);
    assert_eq!(
        spoilt(|event| event["data"]["artifact"]["pages"] = json!("7")),
        1
    );
    assert_eq!(spoilt(|event| event["time"] = json!("today")), 1);
    assert_eq!(spoilt(|event| event["type"] = json!("report.rejected")), 1);
    // And what of a schema none of these is.
    let one = |example: &Value| held(&[("event.schema.json".to_owned(), example.clone(), true)]);
    let found = one(example);
    assert_eq!(found["always"], json!(["event.schema.json /subject"]));
    // Only a report in several formats has these.
    let companions = "event.schema.json /$defs/report.completed/companions";
    assert_eq!(found["unseen"], json!([companions]));
    let mut less = schema["examples"][1].clone();
    without(&mut less, "/data/problems/0", "actual");
    let unseen = json!(["event.schema.json /$defs/problem/actual"]);
    assert_eq!(one(&less)["unseen"], unseen);
}

/// What `tests/tools/contract-changes` says of a change to the schemas.
fn changes(change: impl Fn(&Path)) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files(&repository("schemas")) {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    change(folder.path());
    let mut command = Command::new(repository("tests/tools/contract-changes"));
    let output = command
        .arg(repository("schemas"))
        .arg(folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        output.status.code(),
        Some(i32::from(!said.is_empty())),
        "{err}"
    );
    said.lines().map(str::to_owned).collect()
}

/// The same of a change to one of them.
fn changed(path: &str, change: impl Fn(&mut Value)) -> Vec<String> {
    changes(|folder| {
        let mut schema = committed(path);
        change(&mut schema);
        fs::write(folder.join(path), schema.to_string()).unwrap();
    })
}

fn without(schema: &mut Value, pointer: &str, name: &str) {
    let inside = schema.pointer_mut(pointer).unwrap();
    match inside {
        Value::Object(fields) => drop(fields.remove(name).unwrap()),
        Value::Array(items) => items.retain(|item| item != name),
        other => panic!("{other}"),
    }
}

const JOB: &str = "job/annual-report/2021.schema.json";
const EVENT: &str = "event.schema.json";

#[test]
fn nothing_is_broken_by_what_others_pass_over() {
    assert_eq!(changes(|_| ()), [""; 0]);
    // More is taken: a field that may be left out, a value, a smaller least; and words say nothing.
    let wider = changed(JOB, |job| {
        job["properties"]["data"]["properties"]["more"] = json!({ "type": "string" });
        job["properties"]["on_violation"]["enum"] = json!(["reject", "warn", "ignore"]);
        job["properties"]["data"]["properties"]["year"]["maximum"] = json!(3000);
        job["title"] = json!("Another / 另一个");
        without(job, "/properties/data/required", "agency");
    });
    assert_eq!(wider, [""; 0]);
    // What is sent is more, or said more exactly.
    let more = changed(EVENT, |event| {
        event["properties"]["more"] = json!({ "type": "string" });
        event["required"] = json!(
            event["required"]
                .as_array()
                .unwrap()
                .iter()
                .cloned()
                .chain([json!("more")])
                .collect::<Vec<_>>()
        );
        event["$defs"]["artifact"]["properties"]["pages"]["maximum"] = json!(500);
    });
    assert_eq!(more, [""; 0]);
    let new = changes(|folder| fs::write(folder.join("job/new.schema.json"), "{}").unwrap());
    assert_eq!(new, [""; 0]);
    let channel = changed("asyncapi.json", |it| {
        it["channels"]["queue.more"] = json!({ "address": "banshi.more" });
        it["components"]["messages"]["report.failed"]["headers"]["properties"]["more"] = json!({});
    });
    assert_eq!(channel, [""; 0]);
}

#[test]
fn what_takes_less_or_sends_other_things_is_breaking_and_named() {
    let breaking = |path: &str, change: fn(&mut Value), named: &str| {
        let said = changed(path, change);
        assert!(
            said.iter().any(|line| line.contains(named)),
            "{named}: {said:?}"
        );
    };
    breaking(
        JOB,
        |it| without(it, "/properties/data/properties", "issued_on"),
        "issued_on is no more",
    );
    breaking(
        JOB,
        |it| it["required"] = json!(["job_id", "template", "data", "prior"]),
        "prior is required now",
    );
    breaking(
        JOB,
        |it| it["properties"]["on_violation"]["enum"] = json!(["reject"]),
        "/on_violation: its values",
    );
    breaking(
        JOB,
        |it| it["$defs"]["count"]["maximum"] = json!(100),
        "maximum was",
    );
    breaking(
        JOB,
        |it| it["$defs"]["count"]["type"] = json!(["integer", "object"]),
        "type was",
    );
    breaking(
        JOB,
        |it| it["$defs"]["line"]["pattern"] = json!("^[a-z]*$"),
        "pattern was",
    );
    breaking(
        JOB,
        |it| it["properties"]["job_id"]["maxLength"] = json!(8),
        "/job_id: maxLength",
    );
    breaking(
        EVENT,
        |it| without(it, "/$defs/artifact/properties", "sha256"),
        "sha256 is no more",
    );
    breaking(
        EVENT,
        |it| without(it, "/$defs/artifact/required", "pages"),
        "pages need not be there",
    );
    breaking(
        EVENT,
        |it| {
            it["$defs"]["report.failed"]["properties"]["error"]["properties"]["code"]["enum"] =
                json!(["disk", "more"])
        },
        "/error/code: its values",
    );
    breaking(
        EVENT,
        |it| it["$defs"]["artifact"]["properties"]["pages"]["type"] = json!("number"),
        "type was",
    );
    breaking(
        EVENT,
        |it| it["$defs"]["artifact"]["properties"]["media_type"]["const"] = json!("image/png"),
        "its values",
    );
    breaking(
        EVENT,
        |it| without(it, "/$defs/sha256", "pattern"),
        "pattern was",
    );
    breaking(
        "manifest.schema.json",
        |it| it["properties"]["year"]["type"] = json!("string"),
        "/year: type",
    );
    breaking(
        "asyncapi.json",
        |it| without(it, "/channels", "queue.jobs.bulk"),
        "queue.jobs.bulk: is no more",
    );
    breaking(
        "asyncapi.json",
        |it| it["channels"]["queue.dead"]["address"] = json!("banshi.grave"),
        "/queue.dead/address: was",
    );
    breaking(
        "asyncapi.json",
        |it| it["channels"]["queue.dead"]["x-arguments"]["x-max-length"] = json!(9),
        "x-max-length: is new",
    );
    breaking(
        "asyncapi.json",
        |it| {
            it["channels"]["exchange.events"]["bindings"]["amqp"]["exchange"]["type"] =
                json!("fanout")
        },
        "type: was",
    );
    breaking(
        "asyncapi.json",
        |it| {
            without(
                it,
                "/components/messages/deadJob/headers/properties",
                "report_error",
            )
        },
        "report_error is no more",
    );
    let gone = changes(|folder| fs::remove_file(folder.join(JOB)).unwrap());
    assert_eq!(gone, [format!("{JOB}: is no more")]);
}

fn since_release(folder: &Path) -> (Option<i32>, String) {
    let mut command = Command::new(repository("tests/tools/contract-changes"));
    let output = command
        .arg("--released")
        .current_dir(folder)
        .output()
        .unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stdout).unwrap(),
    )
}

#[test]
fn the_last_release_is_what_a_change_is_held_to() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("schemas/manifest.schema.json");
    fs::create_dir(file.parent().unwrap()).unwrap();
    let schema = committed("manifest.schema.json");
    fs::write(&file, schema.to_string()).unwrap();
    git(folder.path(), &["init", "--quiet"]);
    git(folder.path(), &["add", "."]);
    git(folder.path(), &["commit", "--quiet", "--message", "one"]);
    let mut less = schema.clone();
    without(&mut less, "/properties", "engine");
    fs::write(&file, less.to_string()).unwrap();
    assert_eq!(
        since_release(folder.path()),
        (Some(0), String::new()),
        "nothing is released"
    );
    git(folder.path(), &["tag", "v1.0.0"]);
    let said = (
        Some(1),
        "manifest.schema.json /: engine is no more\n".to_owned(),
    );
    assert_eq!(since_release(folder.path()), said);
}

/// Before a major version is released, this is where the rule stops it.
#[test]
fn nothing_that_was_released_is_broken() {
    assert_eq!(since_release(&repository("")), (Some(0), String::new()));
}

//! Traces: from the sender through the worker to the event, as a collector that is none of ours
//! receives them; and what becomes of jobs whose collector is out.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use lapin::options::{BasicGetOptions, BasicNackOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Connection, ConnectionProperties};
use serde_json::{Value, json};

use crate::support::authority::Authority;
use crate::support::deployment::{Deployment, amqp_url, ask, succeeded};
use crate::support::jobs::{corpus, remove};
use crate::support::repository;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// An OpenTelemetry collector of its own.
struct Collector {
    process: Child,
    folder: PathBuf,
    grpc: String,
    http: String,
}

impl Collector {
    fn start(folder: &Path, options: &[&str]) -> Collector {
        let python = repository("target/tools/collector/bin/python");
        assert!(python.is_file(), "tests/tools/install test");
        let folder = folder.join("collected");
        std::fs::create_dir_all(&folder).unwrap();
        let mut process = Command::new(python)
            .arg(repository("tests/tools/collector"))
            .arg(&folder)
            .args(options)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        output.read_line(&mut said).unwrap();
        let ports: Value = serde_json::from_str(&said).unwrap();
        let address = |of: &str| format!("http://127.0.0.1:{}", ports[of]);
        Collector {
            process,
            folder,
            grpc: address("grpc"),
            http: address("http"),
        }
    }

    /// What it has received so far.
    fn spans(&self) -> Spans {
        let text = std::fs::read_to_string(self.folder.join("spans")).unwrap_or_default();
        Spans(
            text.lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect(),
        )
    }

    /// The bytes of that.
    fn bytes(&self) -> Vec<u8> {
        let files = std::fs::read_dir(&self.folder).unwrap();
        let files = files.map(|file| file.unwrap().path());
        let files = files.filter(|path| path.extension().is_some());
        files
            .flat_map(|path| std::fs::read(path).unwrap())
            .collect()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.process.kill().expect("it can be killed");
        self.process.wait().expect("it is gone");
    }
}

struct Spans(Vec<Value>);

impl Spans {
    /// The one span of this name.
    fn one(&self, name: &str) -> &Value {
        let found: Vec<_> = self.named(name).collect();
        let all: Vec<_> = self.0.iter().map(|span| &span["name"]).collect();
        assert_eq!(found.len(), 1, "{name} in {all:?}");
        found[0]
    }

    fn named<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
        let wanted = json!(name);
        self.0.iter().filter(move |span| span["name"] == wanted)
    }

    /// Names and kinds of a span's children, in the order in which they began.
    fn children(&self, of: &Value) -> Vec<(&str, &str)> {
        let mut children: Vec<_> = self
            .0
            .iter()
            .filter(|span| span["parent"] == of["span"])
            .collect();
        children.sort_by_key(|span| span["start"].as_u64());
        for child in &children {
            assert_eq!(child["trace"], of["trace"], "{child}");
            let within = |at: &str| {
                let at = child[at].as_u64().unwrap();
                (of["start"].as_u64().unwrap()..=of["end"].as_u64().unwrap()).contains(&at)
            };
            // What another process does is done later.
            let elsewhere = child["resource"] != of["resource"];
            assert!(
                elsewhere || within("start") && within("end"),
                "{child} in {of}"
            );
        }
        children
            .iter()
            .map(|span| {
                (
                    span["name"].as_str().unwrap(),
                    span["kind"].as_str().unwrap(),
                )
            })
            .collect()
    }
}

/// A sender's own headers.
fn sent(headers: &[(&str, &str)]) -> BasicProperties {
    let mut table = FieldTable::default();
    for (name, value) in headers {
        table.insert((*name).into(), AMQPValue::LongString((*value).into()));
    }
    BasicProperties::default().with_headers(table)
}

fn header<'a>(properties: &'a BasicProperties, name: &str) -> Option<&'a str> {
    let value = properties.headers().as_ref()?.inner().get(name)?;
    std::str::from_utf8(value.as_long_string()?.as_bytes()).ok()
}

/// `traceparent` of what comes after a span.
fn context(span: &Value) -> String {
    let id = |key: &str| span[key].as_str().unwrap().to_owned();
    format!("00-{}-{}-01", id("trace"), id("span"))
}

/// A job's file.
fn file(deployment: &Deployment, job: &Value) -> String {
    let path = deployment.path("job.json");
    std::fs::write(&path, job.to_string()).unwrap();
    path.display().to_string()
}

/// A worker's log, once nothing is left to do.
fn worked(deployment: &Deployment) -> String {
    let worker = deployment.banshi(&["worker", "--until-idle"]).output();
    let worker = worker.unwrap();
    succeeded(&worker);
    String::from_utf8(worker.stderr).unwrap()
}

/// Every text of a value, but for what is no secret of a report: ids, names and numbers.
fn texts(of: &Value, into: &mut Vec<String>) {
    match of {
        Value::String(text) if !text.is_ascii() => into.push(text.clone()),
        Value::Array(list) => list.iter().for_each(|value| texts(value, into)),
        Value::Object(map) => map.values().for_each(|value| texts(value, into)),
        _ => {}
    }
}

/// One job from `banshi enqueue` to its event.
async fn one_trace_from_the_sender_to_the_event(over_http: bool) {
    let deployment = Deployment::amqp().await;
    let collector = Collector::start(deployment.folder(), &[]);
    let deployment = deployment.with("LOG__FORMAT", "json");
    let deployment = match over_http {
        true => deployment.with_variables([
            ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.http.clone()),
            ("OTEL_SERVICE_NAME", "reports".to_owned()),
            ("OTEL_RESOURCE_ATTRIBUTES", "site=north".to_owned()),
        ]),
        false => deployment.with("TELEMETRY__OTLP", &collector.grpc),
    };
    let mut job = corpus("pingtan-2023");
    job["job_id"] = json!("one-trace");
    let name = file(&deployment, &job);
    succeeded(&deployment.banshi(&["enqueue", &name]).output().unwrap());
    let log = worked(&deployment);

    let spans = collector.spans();
    let name = |verb: &str, exchange: &str| format!("{verb} {}", deployment.name(exchange));
    let root = spans.one(&name("publish", "jobs"));
    assert_eq!(
        (&root["parent"], &root["kind"]),
        (&json!(""), &json!("PRODUCER"))
    );
    let process = name("process", "jobs");
    assert_eq!(spans.children(root), [(process.as_str(), "CONSUMER")]);
    let process = spans.one(&process);
    let publish = name("publish", "events");
    let wanted = [
        ("check", "INTERNAL"),
        ("wait", "INTERNAL"),
        ("typeset", "INTERNAL"),
        ("store.put", "CLIENT"),
        ("store.put", "CLIENT"),
        (&publish, "PRODUCER"),
        ("ack", "CLIENT"),
    ];
    assert_eq!(spans.children(process), wanted);
    let parts = [("layout", "INTERNAL"), ("export", "INTERNAL")];
    assert_eq!(spans.children(spans.one("typeset")), parts);
    assert_eq!(spans.0.len(), 11, "and nothing else");
    let objects: Vec<_> = spans
        .named("store.put")
        .map(|put| &put["attributes"]["banshi.object"])
        .collect();
    assert_eq!(objects, ["pdf", "manifest"]);

    let messaging = |operation: &str, class: &str, exchange: &str, key: &str, id: &Value| {
        json!({
            "messaging.system": "rabbitmq",
            "messaging.operation.name": operation,
            "messaging.operation.type": class,
            "messaging.destination.name": deployment.name(exchange),
            "messaging.rabbitmq.destination.routing_key": key,
            "messaging.message.id": id,
        })
    };
    let id = json!("one-trace");
    assert_eq!(
        root["attributes"],
        messaging("publish", "send", "jobs", "bulk", &id)
    );
    let mut wanted = messaging("process", "process", "jobs", "bulk", &id);
    wanted["banshi.job_id"] = id.clone();
    wanted["banshi.template"] = json!("annual-report/2021");
    wanted["banshi.outcome"] = json!("completed");
    wanted["banshi.problem_codes"] = json!(["W-LENGTH"]);
    wanted["banshi.pages"] = process["attributes"]["banshi.pages"].clone();
    assert_eq!(process["attributes"], wanted);
    assert!(wanted["banshi.pages"].as_u64().unwrap() > 1);

    let (body, properties) = deployment.drain("heard").await.pop().unwrap();
    let event: Value = serde_json::from_slice(&body).unwrap();
    let publish = spans.one(&publish);
    let key = "report.completed.annual-report";
    let wanted = messaging("publish", "send", "events", key, &event["id"]);
    assert_eq!(publish["attributes"], wanted);
    assert_eq!(
        header(&properties, "traceparent"),
        Some(context(publish).as_str())
    );
    assert_eq!(header(&properties, "tracestate"), None);

    for span in &spans.0 {
        assert_eq!(
            (&span["status"], &span["links"]),
            (&json!("UNSET"), &json!([])),
            "{span}"
        );
        assert_eq!(span["events"], 0);
        let resource = &span["resource"];
        assert_eq!(resource["service.version"], env!("CARGO_PKG_VERSION"));
        match over_http {
            true => assert_eq!(
                (&resource["service.name"], &resource["site"]),
                (&json!("reports"), &json!("north"))
            ),
            false => assert_eq!(resource["service.name"], "banshi"),
        }
    }
    assert_ne!(
        root["resource"]["service.instance.id"], process["resource"]["service.instance.id"],
        "two processes"
    );

    // Nothing that anybody wrote.
    let mut texts_of_it = Vec::new();
    texts(&job["data"], &mut texts_of_it);
    assert!(
        texts_of_it.len() > 5
            && texts_of_it.contains(&job["data"]["agency"].as_str().unwrap().to_owned())
    );
    let bytes = collector.bytes();
    let contains = |text: &str| {
        bytes
            .windows(text.len())
            .any(|part| part == text.as_bytes())
    };
    assert!(contains("one-trace") && contains("annual-report/2021"));
    for text in texts_of_it {
        assert!(!contains(&text), "{text}");
    }

    let mut lines = 0;
    for line in log.lines().filter(|line| line.contains("one-trace")) {
        let line: Value = serde_json::from_str(line).unwrap();
        let span = &line["spans"][0];
        assert_eq!(
            (&span["trace_id"], &span["span_id"]),
            (&process["trace"], &process["span"]),
            "{line}"
        );
        lines += 1;
    }
    assert!(lines > 0, "{log}");
    deployment.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_leads_from_the_sender_to_the_event_over_grpc() {
    one_trace_from_the_sender_to_the_event(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_leads_from_the_sender_to_the_event_over_http() {
    one_trace_from_the_sender_to_the_event(true).await;
}

/// A deployment whose worker speaks to a collector over gRPC.
async fn traced() -> (Deployment, Collector) {
    let deployment = Deployment::amqp().await;
    let collector = Collector::start(deployment.folder(), &[]);
    let deployment = deployment.with("TELEMETRY__OTLP", &collector.grpc);
    (deployment.with("LOG__FORMAT", "json"), collector)
}

fn named(id: &str) -> Value {
    let mut job = corpus("pingtan-2023");
    job["job_id"] = json!(id);
    job
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_delivery_is_in_its_senders_trace_and_what_comes_again_is_linked_to_it() {
    let (deployment, collector) = traced().await;
    let job = named("again").to_string();
    let headers = [("traceparent", PARENT), ("tracestate", "vendor=1")];
    let process = format!("process {}", deployment.name("jobs"));
    let (trace, span) = (&PARENT[3..35], &PARENT[36..52]);

    deployment
        .send_as("first", job.as_bytes(), sent(&headers))
        .await;
    worked(&deployment);
    let spans = collector.spans();
    let first = spans.one(&process);
    assert_eq!(
        (&first["trace"], &first["parent"]),
        (&json!(trace), &json!(span))
    );
    assert_eq!(
        (&first["links"], &first["state"]),
        (&json!([]), &json!("vendor=1"))
    );
    let (_, event) = deployment.drain("heard").await.pop().unwrap();
    let publish = spans.one(&format!("publish {}", deployment.name("events")));
    assert_eq!(
        header(&event, "traceparent"),
        Some(context(publish).as_str())
    );
    assert_eq!(header(&event, "tracestate"), Some("vendor=1"));

    // Somebody had it in hand, and was gone before it was settled.
    deployment
        .send_as("second", job.as_bytes(), sent(&headers))
        .await;
    let connection = Connection::connect(&amqp_url(), ConnectionProperties::default()).await;
    let channel = connection.unwrap().create_channel().await.unwrap();
    let mut got = None;
    while got.is_none() {
        let lane = deployment.name("jobs.bulk");
        got = channel
            .basic_get(lane.into(), BasicGetOptions::default())
            .await
            .unwrap();
    }
    let requeue = BasicNackOptions {
        requeue: true,
        ..BasicNackOptions::default()
    };
    got.unwrap().delivery.acker.nack(requeue).await.unwrap();
    let log = worked(&deployment);
    let spans = collector.spans();
    let again = spans
        .named(&process)
        .find(|it| it["trace"] != trace)
        .unwrap();
    assert_eq!(again["parent"], "");
    assert_eq!(again["links"], json!([{ "trace": trace, "span": span }]));
    // It is stored already.
    let publish = format!("publish {}", deployment.name("events"));
    let wanted = [
        ("check", "INTERNAL"),
        (&publish, "PRODUCER"),
        ("ack", "CLIENT"),
    ];
    assert_eq!(spans.children(again), wanted);
    assert_eq!(again["attributes"]["banshi.outcome"], "completed");
    assert!(log.contains(again["trace"].as_str().unwrap()), "{log}");
    deployment.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_job_has_its_codes_and_its_context_in_the_dead_queue() {
    let (deployment, collector) = traced().await;
    let mut job = named("refused");
    remove(&mut job, "/data", "agency");
    job["data"]["year"] = json!("机密");
    let properties = sent(&[("traceparent", PARENT)]);
    deployment
        .send_as("refused", job.to_string().as_bytes(), properties)
        .await;
    // Its id and its template are no more than what somebody wrote.
    let mut foreign = named("某机关的机密");
    foreign["template"] = json!("机密/机密");
    deployment
        .send("foreign", foreign.to_string().as_bytes())
        .await;
    let log = worked(&deployment);

    let spans = collector.spans();
    let process = format!("process {}", deployment.name("jobs"));
    let refused = |id: &str| {
        let mut all = spans.named(&process);
        all.find(|it| it["attributes"]["banshi.job_id"] == *id)
            .unwrap()
    };
    let (first, second) = (refused("refused"), refused("unknown"));
    let codes = |of: &Value| of["attributes"]["banshi.problem_codes"].clone();
    assert_eq!(codes(first), json!(["E-SCHEMA"]));
    assert!(
        codes(second)
            .as_array()
            .unwrap()
            .contains(&json!("E-TEMPLATE")),
        "{second}"
    );
    assert_eq!(second["attributes"]["banshi.template"], "other");
    let publish = format!("publish {}", deployment.name("events"));
    for refused in [first, second] {
        assert_eq!(refused["attributes"]["banshi.outcome"], "rejected");
        // The worker did what it is there for.
        assert_eq!(refused["status"], "UNSET");
        let wanted = [
            ("check", "INTERNAL"),
            (&publish, "PRODUCER"),
            ("ack", "CLIENT"),
        ];
        assert_eq!(spans.children(refused), wanted);
    }
    let mut bytes = collector.bytes();
    let secret = "机密".as_bytes();
    assert!(!bytes.windows(secret.len()).any(|part| part == secret));
    bytes.clear();

    let dead = deployment.drain("dead").await;
    let parents: Vec<_> = dead
        .iter()
        .map(|(_, of)| header(of, "traceparent"))
        .collect();
    assert!(
        parents.contains(&Some(PARENT)) && parents.contains(&None),
        "{parents:?}"
    );
    assert!(
        log.contains(&format!("\"trace_id\":\"{}\"", &PARENT[3..35])),
        "{log}"
    );
    deployment.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_failed_says_which_part_was_out() {
    let (deployment, collector) = traced().await;
    let deployment = deployment.with("WORKER__ATTEMPTS", "1");
    deployment.break_store();
    deployment
        .send("failed", named("failed").to_string().as_bytes())
        .await;
    worked(&deployment);
    let spans = collector.spans();
    let process = spans.one(&format!("process {}", deployment.name("jobs")));
    assert_eq!(process["attributes"]["banshi.outcome"], "failed");
    assert_eq!(process["attributes"]["error.type"], "store");
    assert_eq!(process["status"], "ERROR");
    let why = process["message"].as_str().unwrap();
    assert!(why.contains("annual-report"), "{why}");
    assert_eq!(spans.one("store.put")["status"], "ERROR");
    assert_eq!(spans.one("typeset")["status"], "UNSET");
    deployment.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_context_is_no_context() {
    let (deployment, collector) = traced().await;
    let huge = "0".repeat(30_000);
    let long = format!("{PARENT}-{huge}");
    for (number, parent) in ["", "\u{0}\r\nx: y", "机密", &huge, &long]
        .iter()
        .enumerate()
    {
        let headers = [("traceparent", *parent), ("tracestate", &huge)];
        let id = format!("hostile-{number}");
        let job = named(&id).to_string();
        deployment
            .send_as(&id, job.as_bytes(), sent(&headers))
            .await;
    }
    let mut table = FieldTable::default();
    table.insert(
        "traceparent".into(),
        AMQPValue::LongString(vec![0xff_u8; 55].into()),
    );
    table.insert("tracestate".into(), AMQPValue::LongInt(7));
    let job = named("hostile-5").to_string();
    let properties = BasicProperties::default().with_headers(table);
    deployment
        .send_as("hostile-5", job.as_bytes(), properties)
        .await;
    worked(&deployment);

    let spans = collector.spans();
    let processes = spans.named(&format!("process {}", deployment.name("jobs")));
    let mut traces = BTreeMap::new();
    for process in processes {
        assert_eq!(
            process["attributes"]["banshi.outcome"], "completed",
            "{process}"
        );
        assert_eq!(
            (&process["parent"], &process["links"]),
            (&json!(""), &json!([]))
        );
        assert_eq!(process["state"], "");
        traces.insert(process["trace"].to_string(), process);
    }
    assert_eq!(traces.len(), 6, "a trace of its own each");
    let events = deployment.drain("heard").await;
    assert_eq!(events.len(), 6);
    for (_, properties) in events {
        let parent = header(&properties, "traceparent").unwrap();
        assert!(
            traces.keys().any(|trace| trace.contains(&parent[3..35])),
            "{parent}"
        );
        assert_eq!(header(&properties, "tracestate"), None);
    }
    deployment.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_there_are_no_traces_a_context_is_passed_on_from_the_environment_to_the_event() {
    let deployment = Deployment::amqp().await.with("LOG__FORMAT", "json");
    let name = file(&deployment, &named("passed-on"));
    let enqueue = |parent: &str| {
        let mut command = deployment.banshi(&["enqueue", &name]);
        command
            .env("TRACEPARENT", parent)
            .env("TRACESTATE", "vendor=1");
        succeeded(&command.output().unwrap());
    };
    enqueue(PARENT);
    let log = worked(&deployment);
    let (_, event) = deployment.drain("heard").await.pop().unwrap();
    assert_eq!(header(&event, "traceparent"), Some(PARENT));
    assert_eq!(header(&event, "tracestate"), Some("vendor=1"));
    // The log still says whose trace it is.
    let line = log.lines().find(|line| line.contains("passed-on")).unwrap();
    let line: Value = serde_json::from_str(line).unwrap();
    assert_eq!(line["spans"][0]["trace_id"], PARENT[3..35]);
    assert_eq!(line["spans"][0].get("span_id"), None);

    enqueue("not a context");
    let log = worked(&deployment);
    let (_, event) = deployment.drain("heard").await.pop().unwrap();
    assert_eq!(
        (header(&event, "traceparent"), header(&event, "tracestate")),
        (None, None)
    );
    assert!(
        log.contains("passed-on") && !log.contains("trace_id"),
        "{log}"
    );
    deployment.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_sent_within_the_trace_that_enqueue_was_started_in() {
    let (deployment, collector) = traced().await;
    let name = file(&deployment, &named("within"));
    let mut command = deployment.banshi(&["enqueue", &name]);
    succeeded(&command.env("TRACEPARENT", PARENT).output().unwrap());
    let spans = collector.spans();
    let publish = spans.one(&format!("publish {}", deployment.name("jobs")));
    assert_eq!(
        (&publish["trace"], &publish["parent"]),
        (&json!(PARENT[3..35]), &json!(PARENT[36..52]))
    );
    let (_, job) = deployment.drain("jobs.bulk").await.pop().unwrap();
    assert_eq!(header(&job, "traceparent"), Some(context(publish).as_str()));
    deployment.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_sampled_is_passed_on_as_such_and_not_exported() {
    let (deployment, collector) = traced().await;
    let job = named("unsampled").to_string();
    let unsampled = format!("{}0", &PARENT[..54]);
    let properties = sent(&[("traceparent", &unsampled)]);
    deployment
        .send_as("unsampled", job.as_bytes(), properties)
        .await;
    worked(&deployment);
    assert!(collector.spans().0.is_empty());
    let (_, event) = deployment.drain("heard").await.pop().unwrap();
    let parent = header(&event, "traceparent").unwrap();
    assert!(
        parent.starts_with(&PARENT[..36]) && parent.ends_with("-00"),
        "{parent}"
    );

    // Whatever the sender says, by the usual variables.
    let deployment = deployment.with_variables([("OTEL_TRACES_SAMPLER", "always_on".to_owned())]);
    let properties = sent(&[("traceparent", &unsampled)]);
    deployment
        .send_as(
            "sampled",
            named("sampled").to_string().as_bytes(),
            properties,
        )
        .await;
    worked(&deployment);
    assert_eq!(collector.spans().0.len(), 10);
    deployment.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_a_spool_a_trace_begins_at_the_worker() {
    let deployment = Deployment::spool();
    let collector = Collector::start(deployment.folder(), &[]);
    let deployment = deployment
        .with("TELEMETRY__OTLP", &collector.http)
        .with("TELEMETRY__PROTOCOL", "http");
    let name = file(&deployment, &named("spooled"));
    let mut command = deployment.banshi(&["enqueue", &name]);
    succeeded(&command.env("TRACEPARENT", PARENT).output().unwrap());
    let log = worked(&deployment);
    let spans = collector.spans();
    let process = spans.one("process banshi.jobs");
    assert_eq!(
        (&process["parent"], &process["links"]),
        (&json!(""), &json!([]))
    );
    assert_eq!(process["attributes"]["messaging.system"], "spool");
    assert_eq!(spans.children(process).len(), 7);
    // In lines for people, too.
    let trace = process["trace"].as_str().unwrap();
    assert!(log.contains(&format!("trace_id={trace}")), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_befell_a_typesetter_is_logged_in_the_trace_of_the_job_that_it_had() {
    let (deployment, collector) = traced().await;
    let (deployment, admin) = deployment.with_admin();
    let worker = deployment.worker();
    let shows = |line: &'static str| {
        let admin = admin.clone();
        async move |_: &Deployment| {
            ask(&admin, "/metrics").is_some_and(|(_, metrics)| metrics.contains(line))
        }
    };
    let idle = shows("banshi_typesetters{state=\"idle\"} 2");
    deployment.until("its typesetters are warm", idle).await;
    worker.signal_typesetters("STOP");
    let job = named("befallen").to_string();
    deployment.send("befallen", job.as_bytes()).await;
    let busy = shows("banshi_typesetters{state=\"busy\"} 1");
    deployment.until("one has the job", busy).await;
    worker.signal_typesetters("KILL");
    deployment
        .until("its event is there", async |it| {
            it.ready("heard").await == 1
        })
        .await;
    worker.signal("TERM");
    let (log, ended) = worker.ended();
    assert_eq!(ended, Some(0), "{log}");
    let spans = collector.spans();
    let process = spans.one(&format!("process {}", deployment.name("jobs")));
    let mut lines = log.lines();
    let line = lines
        .find(|line| line.contains("job.digest"))
        .expect("it says so");
    let line: Value = serde_json::from_str(line).unwrap();
    assert_eq!(line["spans"][0]["trace_id"], process["trace"], "{line}");
    assert_eq!(line["spans"][0]["job.id"], "befallen", "{line}");
    deployment.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_is_spoken_to_over_tls_where_the_system_trusts_its_authority() {
    let deployment = Deployment::spool();
    let authority = Authority::new(deployment.folder(), "authority");
    let host = authority.host("collector", "localhost");
    let [certificate, key] = [host.certificate, host.key].map(|path| path.display().to_string());
    let collector = Collector::start(deployment.folder(), &["--tls", &certificate, &key]);
    let trusted = deployment.path("authority.pem");
    for (protocol, address) in [("grpc", &collector.grpc), ("http", &collector.http)] {
        let address = address.replace("http://127.0.0.1", "https://localhost");
        let id = format!("over-{protocol}");
        let name = file(&deployment, &named(&id));
        let enqueue = |trusted: Option<&Path>| {
            let mut command = deployment.banshi(&["enqueue", &name]);
            command
                .env("BANSHI__TELEMETRY__OTLP", &address)
                .env("BANSHI__TELEMETRY__PROTOCOL", protocol);
            let command = match trusted {
                Some(path) => command.env("SSL_CERT_FILE", path),
                None => &mut command,
            };
            let output = command.output().unwrap();
            succeeded(&output);
            String::from_utf8(output.stderr).unwrap()
        };
        let said = enqueue(None);
        assert!(said.contains("the collector takes no spans"), "{said}");
        let said = enqueue(Some(&trusted));
        assert_eq!(said, "");
        let spans = collector.spans();
        let sent = spans.named("publish banshi.jobs");
        let of_it = sent
            .filter(|it| it["attributes"]["messaging.message.id"] == *id)
            .count();
        assert_eq!(of_it, 1);
    }
}

/// Three jobs one after the other; the collector fails each time, and is complained of once.
async fn jobs_go_on_without(collector: &str, why: &str) {
    let deployment = Deployment::amqp().await;
    let (deployment, admin) = deployment.with("TELEMETRY__OTLP", collector).with_admin();
    let deployment = deployment.with_variables([
        ("OTEL_BSP_SCHEDULE_DELAY", "100".to_owned()),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "500".to_owned()),
    ]);
    let worker = deployment.worker();
    let lost = || {
        let (_, metrics) = ask(&admin, "/metrics")?;
        let mut lines = metrics.lines();
        let line =
            lines.find_map(|it| it.strip_prefix("banshi_spans_lost_total{reason=\"export\"} "))?;
        line.parse::<u64>().ok()
    };
    let mut before = 0;
    for number in 1..=3 {
        let id = format!("job-{number}");
        deployment
            .send(&id, named(&id).to_string().as_bytes())
            .await;
        deployment
            .until("its event is there", async |it| {
                it.ready("heard").await == number
            })
            .await;
        let more = async |_: &Deployment| lost().is_some_and(|lost| lost > before);
        deployment.until("its spans are lost", more).await;
        before = lost().unwrap();
    }
    worker.signal("TERM");
    let (log, ended) = worker.ended();
    assert_eq!(ended, Some(0), "{log}");
    assert_eq!(
        log.matches("the collector takes no spans").count(),
        1,
        "{log}"
    );
    assert!(log.contains(why) && log.contains(collector), "{log}");
    assert_eq!(log.matches("spans were lost").count(), 1, "{log}");
    deployment.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_go_on_without_a_collector() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    jobs_go_on_without(&address, "Connection refused").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_go_on_with_a_collector_that_does_not_answer() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", silent.local_addr().unwrap());
    jobs_go_on_without(&address, "imeout").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_go_on_with_a_collector_that_takes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let collector = Collector::start(folder.path(), &["--refuse"]);
    jobs_go_on_without(&collector.grpc, "PermissionDenied").await;
    assert!(collector.spans().0.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_comes_back_gets_the_spans_from_then_on() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port().to_string();
    drop(free);
    let address = format!("http://127.0.0.1:{port}");
    let deployment = Deployment::amqp().await.with("TELEMETRY__OTLP", &address);
    let deployment = deployment.with_variables([
        ("OTEL_BSP_SCHEDULE_DELAY", "100".to_owned()),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "500".to_owned()),
    ]);
    let worker = deployment.worker();
    deployment
        .send("lost", named("lost").to_string().as_bytes())
        .await;
    let told = |text: &'static str| {
        let log = || worker.log();
        async move |_: &Deployment| log().contains(text)
    };
    deployment
        .until("it is missed", told("the collector takes no spans"))
        .await;
    let collector = Collector::start(deployment.folder(), &["--grpc", &port]);
    deployment
        .send("kept", named("kept").to_string().as_bytes())
        .await;
    deployment
        .until("it is back", told("the collector takes spans again"))
        .await;
    assert_eq!(worker.stop(), Some(0));
    let spans = collector.spans();
    let mut all = spans.named("ack");
    assert!(all.next().is_some(), "flushed at the end");
    deployment.remove().await;
}

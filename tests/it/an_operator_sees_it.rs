//! What an operator sees of workers: metrics that a real Prometheus reads, described, and moved by
//! what happens.

use std::io::Write as _;
use std::process::{Command, Stdio};

use banshi::telemetry::metric;
use lapin::BasicProperties;
use serde_json::{Value, json};

use crate::support::deployment::{Deployment, ask};
use crate::support::jobs::{corpus, remove};
use crate::support::prometheus::{Prometheus, rules, tool};
use crate::support::repository;
use crate::the_dashboard_shows_it::every_panel_is_answered;

fn named(name: &str, id: &str) -> Value {
    let mut job = corpus(name);
    job["job_id"] = json!(id);
    job
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prometheus_sees_every_metric_move_over_two_workers() {
    let deployment = Deployment::amqp().await;
    let (deployment, first) = deployment.with("RENDER__THREADS", "1").with_admin();
    let one = deployment.worker();
    let (deployment, second) = deployment.with_admin();
    let two = deployment.worker();
    let prometheus = Prometheus::start(&deployment, &[&first, &second], &rules());
    prometheus.expect("sum(banshi_transport_connected) == 2");
    prometheus.expect("sum(banshi_typesetters{state='idle'}) >= 2");
    // What the fleet is, and that it is of one kind.
    prometheus.expect("count(banshi_build_info) == 2");
    prometheus.expect("count(count by (version, engine, templates_sha256, fonts_sha256) (banshi_build_info)) == 1");

    // Six good jobs that waited for a minute, two of them urgent; a bad one, and one of no template.
    let sent = banshi::timing::unix_seconds() - 60;
    for number in 0..4 {
        let id = format!("bulk-{number}");
        let properties = BasicProperties::default().with_timestamp(sent);
        let job = named("pingtan-2023", &id).to_string();
        deployment.send_as(&id, job.as_bytes(), properties).await;
    }
    for id in ["urgent-0", "urgent-1"] {
        let job = named("pingtan-2019", id).to_string();
        deployment.send_urgent(id, job.as_bytes()).await;
    }
    let mut bad = named("pingtan-2023", "bad");
    remove(&mut bad, "/data", "agency");
    remove(&mut bad, "/data", "year");
    deployment.send("bad", bad.to_string().as_bytes()).await;
    let mut foreign = named("pingtan-2023", "foreign");
    foreign["template"] = json!("no/such");
    deployment
        .send("foreign", foreign.to_string().as_bytes())
        .await;

    let jobs = |labels: &str| format!("sum(banshi_jobs_total{{{labels}}})");
    prometheus.expect(&format!(
        "{} == 4",
        jobs("lane='bulk',template='annual-report/2021',outcome='completed'")
    ));
    prometheus.expect(&format!(
        "{} == 2",
        jobs("lane='urgent',template='annual-report/2019',outcome='completed'")
    ));
    prometheus.expect(&format!(
        "{} == 1",
        jobs("template='other',outcome='rejected'")
    ));
    prometheus.expect("sum(banshi_problems_total{code='E-SCHEMA'}) == 2");
    prometheus.expect("sum(banshi_problems_total{code='E-TEMPLATE'}) == 1");
    prometheus.expect("sum(banshi_job_duration_seconds_count{outcome='completed'}) == 6");
    for stage in ["layout", "export", "store", "wait"] {
        prometheus.expect(&format!(
            "sum(banshi_stage_duration_seconds_count{{stage='{stage}'}}) == 6"
        ));
    }
    for stage in ["check", "publish"] {
        prometheus.expect(&format!(
            "sum(banshi_stage_duration_seconds_count{{stage='{stage}'}}) == 8"
        ));
    }
    // Histograms add up over workers.
    prometheus.expect(
        "histogram_quantile(0.9, sum by (le) (banshi_queue_wait_seconds_bucket{lane='bulk'})) > 30",
    );
    prometheus.expect("sum(banshi_pdf_pages_count{template='annual-report/2021'}) == 4");
    prometheus.expect("sum(banshi_pdf_bytes_sum) > 600000");
    prometheus.expect("max(banshi_queue_jobs{queue='dead'}) == 2");
    prometheus.expect("max(banshi_queue_jobs{queue='bulk'}) == 0");
    prometheus.expect("sum(banshi_inflight{lane='bulk'}) == 0");
    prometheus.expect("max(banshi_typesetter_memory_bytes) > 10000000");
    prometheus.expect("min(banshi_store_conditional_put) == 1");
    prometheus.expect("sum(process_resident_memory_bytes) > 20000000");

    // How long it will be until the lane is empty, as the guide has it.
    let guide = std::fs::read_to_string(repository("docs/operator.md")).unwrap();
    let empty = guide
        .lines()
        .find(|line| line.starts_with("max(banshi_queue_jobs"));
    // Nothing for nothing, where no job has ended lately.
    prometheus.expect(&format!("count({}) == 1", empty.unwrap()));

    // Faults: typesetters that die, a store that is out, a session that ends.
    one.signal_typesetters("KILL");
    prometheus.expect("sum(banshi_typesetter_restarts_total{reason='crash'}) >= 1");
    deployment.lose_store();
    let late = named("pingtan-2021", "late").to_string();
    deployment.send("late", late.as_bytes()).await;
    prometheus.expect("max(banshi_gate_shut{part='store'}) == 1");
    prometheus.expect("sum(banshi_retries_total{part='store'}) >= 1");
    deployment.restore_store();
    prometheus.expect(&format!("{} == 7", jobs("outcome='completed'")));
    prometheus.expect("max(banshi_gate_shut{part='store'}) == 0");
    prometheus.expect("sum(banshi_redelivered_total) >= 1");
    deployment.delete_queue("jobs.bulk").await;
    prometheus.expect("sum(banshi_sessions_total{ended='cancelled'}) >= 1");
    prometheus.expect("sum(banshi_transport_connected) == 2");

    // No job waits any more.
    prometheus.expect("max(banshi_queue_oldest_seconds{queue='bulk'}) == 0");
    prometheus.expect("count(banshi:time_to_empty_seconds{lane='bulk'}) == 1");

    every_panel_is_answered(&prometheus);

    // All that is exposed has its words, and Prometheus' own checker finds nothing to say.
    let (_, exposed) = ask(&second, "/metrics").unwrap();
    let mut check = Command::new(tool("promtool"))
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    check
        .stdin
        .take()
        .unwrap()
        .write_all(exposed.as_bytes())
        .unwrap();
    let checked = check.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(checked.status.success() && said.is_empty(), "{said}");
    for line in exposed.lines().filter(|line| line.starts_with("banshi_")) {
        let known = metric::ALL.iter().any(|(name, ..)| line.starts_with(name));
        assert!(known, "{line} is not described");
    }
    assert_eq!(one.stop(), Some(0));
    assert_eq!(two.stop(), Some(0));
    deployment.remove().await;
}

#[test]
fn every_metric_is_in_the_operators_guide() {
    let guide = std::fs::read_to_string(repository("docs/operator.md")).unwrap();
    for (name, ..) in metric::ALL {
        assert!(
            guide.contains(&format!("| `{name}` |")),
            "{name} is not in docs/operator.md"
        );
    }
}

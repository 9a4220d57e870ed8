//! The dashboard for Grafana: its panels stand side by side, say what they show in both languages
//! and ask for what there is. That each query has an answer is seen where a Prometheus has seen
//! faults (`an_operator_sees_it`).

use std::collections::BTreeSet;

use banshi::telemetry::metric;
use serde_json::Value;

use crate::support::prometheus::{Prometheus, rules};
use crate::support::repository;

fn dashboard() -> Value {
    let text = std::fs::read_to_string(repository("deploy/grafana/banshi.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn word<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// Each query of each panel, with the panel's title.
fn queries(dashboard: &Value) -> Vec<(String, String)> {
    let panels = list(dashboard, "panels").iter();
    let queries = panels.flat_map(|panel| {
        let targets = list(panel, "targets").iter();
        targets.map(|target| (word(panel, "title").into(), word(target, "expr").into()))
    });
    queries.collect()
}

/// Asks each panel's queries, and those of the choices above them, as Grafana does with everything
/// chosen. None may be refused or be answered with nothing.
pub fn every_panel_is_answered(prometheus: &Prometheus) {
    let dashboard = dashboard();
    let mut asked = 0;
    for (title, query) in queries(&dashboard) {
        let query = query
            .replace("$__rate_interval", "10m")
            .replace("$__range", "1h")
            .replace("\"$job\"", "\".*\"")
            .replace("\"$instance\"", "\".*\"");
        assert!(!query.contains('$'), "{title}: {query}");
        // Only a console says when the deadline is; without one the panel says that there is none.
        let no_console = query.contains("banshi_deadline_timestamp_seconds");
        prometheus.expect_answer(&title, &query, |value| value.is_finite() || no_console);
        asked += 1;
    }
    assert!(asked > 40, "{asked}");
    for variable in list(&dashboard["templating"], "list") {
        let Some(query) = variable["definition"].as_str() else {
            continue;
        };
        let (series, label) = query
            .strip_prefix("label_values(")
            .and_then(|it| it.strip_suffix(')')?.rsplit_once(", "))
            .unwrap();
        let series = series.replace("\"$job\"", "\".*\"");
        prometheus.expect(&format!("count(count by ({label}) ({series})) >= 1"));
    }
}

#[test]
fn panels_stand_side_by_side_within_the_width() {
    let dashboard = dashboard();
    let place = |panel: &Value| {
        let of = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        (of("x"), of("y"), of("w"), of("h"))
    };
    let panels = list(&dashboard, "panels");
    for (number, panel) in panels.iter().enumerate() {
        let (x, y, w, h) = place(panel);
        assert!(w > 0 && h > 0 && x + w <= 24, "{}", panel["title"]);
        for other in &panels[..number] {
            let (left, top, wide, high) = place(other);
            let apart = x >= left + wide || left >= x + w || y >= top + high || top >= y + h;
            assert!(apart, "{} lies on {}", panel["title"], other["title"]);
        }
    }
    // No gaps either: each line of the grid is full, or a heading.
    let bottom = panels.iter().map(|panel| place(panel).1 + place(panel).3);
    for line in 0..bottom.max().unwrap() {
        let crossed = panels.iter().map(place);
        let wide = crossed.filter(|(_, y, _, h)| (*y..y + h).contains(&line));
        assert_eq!(wide.map(|(_, _, w, _)| w).sum::<u64>(), 24, "line {line}");
    }
}

#[test]
fn each_panel_says_what_it_shows_and_asks_for_what_there_is() {
    let dashboard = dashboard();
    let (mut ids, mut titles) = (BTreeSet::new(), BTreeSet::new());
    let rules = rules();
    let recorded: Vec<&str> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- record: "))
        .collect();
    for panel in list(&dashboard, "panels") {
        let title = word(panel, "title");
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}");
        assert!(titles.insert(title), "{title} twice");
        if panel["type"] == "row" {
            continue;
        }
        let chinese = |c: char| ('\u{4e00}'..='\u{9fff}').contains(&c);
        assert!(word(panel, "description").contains(chinese), "{title}");
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        let defaults = &panel["fieldConfig"]["defaults"];
        let unit = match word(panel, "type") {
            "heatmap" => word(&panel["options"]["yAxis"], "unit"),
            // Its cells are names.
            "table" => "none",
            _ => word(defaults, "unit"),
        };
        assert!(!unit.is_empty(), "{title} has no unit");
        for target in list(panel, "targets") {
            let several = panel["type"] == "timeseries";
            assert!(
                !several || !word(target, "legendFormat").is_empty(),
                "{title}"
            );
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
        }
        if panel["type"] == "stat" {
            assert!(defaults["thresholds"]["steps"].is_array(), "{title}");
        }
    }
    let of_console = ["banshi_deadline_timestamp_seconds"];
    let names = |c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':';
    for (title, query) in queries(&dashboard) {
        for name in query.split(names).filter(|name| name.starts_with("banshi")) {
            let plain = ["_bucket", "_sum", "_count"]
                .into_iter()
                .find_map(|end| name.strip_suffix(end))
                .unwrap_or(name);
            let there = metric::ALL.iter().any(|(known, ..)| *known == plain)
                || recorded.contains(&name)
                || of_console.contains(&name);
            assert!(there, "{title}: there is no {name}");
        }
    }
}

#[test]
fn its_rows_are_in_the_order_of_the_questions() {
    let dashboard = dashboard();
    let rows = list(&dashboard, "panels").iter();
    let rows = rows.filter(|panel| panel["type"] == "row");
    let rows: Vec<&str> = rows
        .map(|row| word(row, "title").split(" · ").next().unwrap())
        .collect();
    let wanted = [
        "Will it be in time",
        "Throughput and outcomes",
        "Latency by stage",
        "Queues",
        "Typesetters",
        "Faults",
        "Process",
    ];
    assert_eq!(rows, wanted);
}

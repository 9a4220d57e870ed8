//! Jobs that are repeated, contradictory, hostile or too much.

use std::time::Duration;

use rand::RngExt as _;
use rand::seq::SliceRandom as _;
use serde_json::json;

use crate::Stage;
use crate::bench::{Bench, Outcome};
use crate::letters::{Letter, mixed, report};
use crate::process::send;
use crate::support::jobs::bad;

/// E11: every kind of bad job that we know, among good ones.
pub async fn hostile(stage: Stage) -> Outcome {
    let mut bench = Bench::on(&stage, stage.node()).await;
    let mut letters: Vec<Letter> = Vec::new();
    for number in 0..stage.pick(40, 500) {
        letters.push(Letter::good(&report(&format!("e11-{number}"), "正常。")));
    }
    for kind in bad() {
        letters.push(Letter::refused(kind.body, kind.code));
        bench.fault("bad job");
    }
    for (body, code) in more_hostile() {
        letters.push(Letter::refused(body, code));
        bench.fault("hostile job");
    }
    letters.shuffle(&mut bench.rng);
    bench.work(2).await;
    bench.send(letters).await;
    bench.finish().await
}

/// Bytes that try the reader, the paths and the memory.
fn more_hostile() -> Vec<(Vec<u8>, &'static str)> {
    let good = |id: &str| report(id, "正常。").to_string();
    let mut hostile: Vec<(Vec<u8>, &'static str)> = Vec::new();
    let ids = [
        "",
        ".",
        "..",
        "../up",
        "a/b",
        "a\\b",
        "/etc/passwd",
        "a\u{0}b",
        "a\nb",
        "-rf",
        "~root",
        "年报",
        "a%2fb",
        "a b",
        "a\u{202e}b",
        &"a".repeat(129),
    ];
    for id in ids {
        let job = report(id, "正常。");
        hostile.push((job.to_string().into_bytes(), "E-SCHEMA"));
    }
    let keys: Vec<String> = (0..60_000).map(|key| format!("\"k{key}\":{key}")).collect();
    hostile.push((format!("{{{}}}", keys.join(",")).into_bytes(), "E-SCHEMA"));
    let duplicate = good("e11-twice").replacen("{", "{\"job_id\":\"e11-other\",", 1);
    hostile.push((duplicate.into_bytes(), "E-SCHEMA"));
    let infinite = good("e11-infinite").replacen("\"year\":2020", "\"year\":1e999", 1);
    hostile.push((infinite.into_bytes(), "E-JSON"));
    let surrogate = good("e11-surrogate").replacen("正常", "\\ud800", 1);
    hostile.push((surrogate.into_bytes(), "E-JSON"));
    for body in ["null", "true", "0", "\"\"", "[]"] {
        hostile.push((body.as_bytes().to_vec(), "E-SCHEMA"));
    }
    hostile.push((vec![0; 1000], "E-JSON"));
    hostile.push(("\u{feff}{}".as_bytes().to_vec(), "E-SCHEMA"));
    hostile.push(("{".repeat(500_000).into_bytes(), "E-JSON"));
    hostile
}

/// E12: reports that take too long, and typesetters that stop in the middle: they cost themselves
/// and not their neighbours.
pub async fn poison(stage: Stage) -> Outcome {
    let mut bench = Bench::on(&stage, stage.node()).await;
    bench.set("RENDER__DEADLINE", "4");
    let mut letters = mixed("e12", stage.pick(60, 300), &mut bench.rng);
    let text = "政府信息公开工作依法推进。".repeat(6);
    for number in 0..stage.pick(1, 5) {
        let mut job = report(&format!("e12-endless-{number}"), "");
        job["data"]["overview"] = json!(vec![text.clone(); 3500]);
        letters.insert(
            letters.len() / 2,
            Letter::refused(job.to_string().into_bytes(), "E-LAYOUT"),
        );
        bench.fault("report that takes too long");
    }
    bench.work(2).await;
    let jobs = letters.len();
    bench.send(letters).await;
    for round in 1..=stage.pick(1, 5) {
        bench.until_heard(jobs * round / stage.pick(4, 8)).await;
        if let Some(typesetter) = bench.workers()[round % 2].typesetters().first() {
            send("STOP", *typesetter);
            bench.fault("typesetter stopped");
        }
    }
    bench.finish().await
}

/// E13: every job up to four times, in any order, to three workers at once; every tenth id with
/// two contents.
pub async fn repeated(stage: Stage) -> Outcome {
    let mut bench = Bench::on(&stage, stage.node()).await;
    let mut letters = Vec::new();
    for number in 0..stage.pick(40, 500) {
        let id = format!("e13-{number}");
        let letter = Letter::good(&report(&id, "一次。"));
        for _ in 0..bench.rng.random_range(0..4) {
            let again = letter.clone();
            // The lanes have consumers of their own: the same job in two hands at once.
            letters.push(if bench.rng.random_bool(0.5) {
                again.urgent()
            } else {
                again
            });
            bench.fault("repeated job");
        }
        letters.push(letter);
        if number % 10 == 0 {
            letters.push(Letter::good(&report(&id, "另一份内容。")));
            bench.fault("other content under the same id");
        }
    }
    letters.shuffle(&mut bench.rng);
    bench.work(3).await;
    bench.send(letters).await;
    bench.patience(Duration::from_secs(60));
    bench.finish().await
}

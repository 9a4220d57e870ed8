//! The same job gives the same bytes, on any machine, at any time.

use serde_json::{Value, json};

use crate::support::jobs::corpus;
use crate::support::{pdf, render};

fn bytes(job: &Value) -> Vec<u8> {
    std::fs::read(render(job).path()).expect("the PDF")
}

#[test]
fn in_two_processes() {
    for name in ["zibo-bigdata-2020", "hongze-2024"] {
        let job = corpus(name);
        assert!(bytes(&job) == bytes(&job), "{name}");
    }
}

#[test]
fn and_another_job_gives_others() {
    let job = corpus("zibo-bigdata-2020");
    let mut other = job.clone();
    other["data"]["introduction"] = json!(["只差这一段。"]);
    assert!(bytes(&job) != bytes(&other));
}

#[test]
fn the_file_says_what_it_is_and_carries_its_data() {
    let job = corpus("zibo-bigdata-2020");
    let rendered = render(&job);
    let info = pdf::info(&rendered.path());
    for line in [
        "Title:           淄博市大数据局2020年政府信息公开工作年度报告",
        "Author:          淄博市大数据局",
        "Keywords:        政府信息公开, 年度报告, 2020",
        "CreationDate:    2021-01-26T00:00:00Z",
        "Tagged:          yes",
        "JavaScript:      no",
        "Encrypted:       no",
        "Page size:       595.276 x 841.89 pts (A4)",
        "PDF version:     1.7",
    ] {
        assert!(info.contains(line), "{line} in {info}");
    }
    let attached = pdf::attachment(&rendered.path(), "report.json");
    let attached: Value = serde_json::from_slice(&attached).expect("report.json is JSON");
    assert_eq!(attached, job["data"]);
    let xmp = pdf::metadata(&rendered.path());
    for part in [
        "<pdfaid:part>3</pdfaid:part>",
        "<pdfaid:conformance>A</pdfaid:conformance>",
        "<pdfuaid:part>1</pdfuaid:part>",
        "zh",
    ] {
        assert!(xmp.contains(part), "{part} in {xmp}");
    }
}

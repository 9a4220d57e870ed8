//! The file keeps its standards and says what it is: the same in both places for metadata, and in
//! two attachments the data it was made from and what made it.

use serde_json::{Value, json};

use banshi::digest::sha256;
use banshi::typesetter::{ENGINE, Provenance, STANDARD};

use crate::support::jobs::{CORPUS, corpus};
use crate::support::signing::{Signer, Update};
use crate::support::{BANSHI, Rendered, check, pdf, render, repository};

/// The PDF of a real report, whatever rules it breaks.
fn published(name: &str) -> (Value, Rendered) {
    let mut job = corpus(name);
    job["on_violation"] = json!("warn");
    let rendered = render(&job);
    (job, rendered)
}

#[test]
fn the_metadata_are_the_reports_and_the_same_in_both_places() {
    for name in CORPUS {
        let (job, rendered) = published(name);
        let (info, xmp) = (pdf::info(&rendered.path()), pdf::metadata(&rendered.path()));
        let read = check(job.to_string().as_bytes()).expect("a good job");
        let report = read.report();
        let title = report.title().replace('\n', "");
        let issued = job["data"]["issued_on"].as_str().map(str::to_owned);
        let date = issued.unwrap_or_else(|| format!("{}-12-31", report.year())) + "T00:00:00Z";
        let subject = format!("{title}，按{}规定的格式编制", report.form.notice);
        let keywords = format!("政府信息公开, 年度报告, {}", report.year());
        for (key, element, value) in [
            ("Title", "dc:title", title.as_str()),
            ("Author", "dc:creator", report.author()),
            ("Subject", "dc:description", &subject),
            ("Keywords", "pdf:Keywords", &keywords),
            ("Creator", "xmp:CreatorTool", banshi::PRODUCT),
            ("CreationDate", "xmp:CreateDate", &date),
            ("ModDate", "xmp:ModifyDate", &date),
        ] {
            let found = info
                .lines()
                .find_map(|line| line.strip_prefix(&format!("{key}:")))
                .map(str::trim);
            assert_eq!(found, Some(value), "{name}: {key} in {info}");
            assert_eq!(element_text(&xmp, element), value, "{name}: {element}");
        }
        assert_eq!(element_text(&xmp, "dc:language"), "zh-CN");
        assert!(xmp.contains("<pdfaid:part>3</pdfaid:part>"), "{xmp}");
        assert!(
            xmp.contains("<pdfaid:conformance>A</pdfaid:conformance>"),
            "{xmp}"
        );
        assert!(xmp.contains("<pdfuaid:part>1</pdfuaid:part>"), "{xmp}");
    }
}

/// The text of an element of the XMP, without the lists that RDF wraps it in.
fn element_text(xmp: &str, element: &str) -> String {
    let (start, end) = (format!("<{element}>"), format!("</{element}>"));
    let inner = xmp
        .split_once(&start)
        .and_then(|(_, rest)| rest.split_once(&end))
        .unwrap_or_else(|| panic!("{element} in {xmp}"))
        .0;
    let texts = inner
        .split('<')
        .map(|part| part.split_once('>').map_or(part, |(_, text)| text));
    texts.collect()
}

#[test]
fn provenance_names_what_made_the_file_and_of_what() {
    let (job, rendered) = published("zibo-bigdata-2020");
    let attached = pdf::attachment(&rendered.path(), "provenance.json");
    let provenance: Provenance = serde_json::from_slice(&attached).expect("a provenance");
    let data = pdf::attachment(&rendered.path(), "report.json");
    let read = check(job.to_string().as_bytes()).expect("a good job");
    assert_eq!(data, read.data.as_bytes());
    let provenance = serde_json::to_value(provenance).expect("JSON");
    // Of the template and the faces, the program says the same elsewhere.
    let template = said(&["templates", "annual-report/2019"]);
    let version = template
        .lines()
        .find_map(|line| line.trim().strip_prefix("version"))
        .expect("a version");
    let digest = template
        .lines()
        .find_map(|line| line.trim().strip_prefix("sha256"))
        .expect("a digest");
    let fonts = said(&["fonts"]);
    let faces = fonts
        .lines()
        .last()
        .and_then(|line| line.split(' ').next_back());
    assert_eq!(
        provenance,
        json!({
            "product": banshi::PRODUCT,
            "engine": ENGINE,
            "template": {
                "name": "annual-report/2019",
                "version": version.trim(),
                "sha256": digest.trim(),
            },
            "fonts": { "sha256": faces },
            "bands": "blue",
            "standard": STANDARD,
            "job": { "id": "zibo-bigdata-2020", "sha256": read.identity.sha256 },
            "data": { "name": "report.json", "sha256": sha256(&data), "bytes": data.len() },
        })
    );
    let plain = pdf::plain(&rendered.path());
    for part in ["/AFRelationship /Source", "/AFRelationship /Supplement"] {
        assert!(plain.contains(part), "{part}");
    }
}

/// What the program says of itself.
fn said(arguments: &[&str]) -> String {
    let ran = std::process::Command::new(BANSHI)
        .args(arguments)
        .env("BANSHI__FONTS__DIR", repository("fonts"))
        .output()
        .expect("it starts");
    String::from_utf8(ran.stdout).expect("UTF-8")
}

#[test]
fn provenance_is_the_same_every_time_and_follows_the_job() {
    let attached = |job: &Value| pdf::attachment(&render(job).path(), "provenance.json");
    let job = corpus("hongze-2024");
    assert_eq!(attached(&job), attached(&job));
    let mut other = job.clone();
    other["job_id"] = json!("another-id");
    assert_ne!(attached(&job), attached(&other));
}

/// What spoils a good PDF: name, what is replaced by what outside of its streams, and the rule that
/// veraPDF must then find broken.
const FAULTS: [(&str, &str, &str, &str, &str); 5] = [
    (
        "no-font",
        "/FontFile",
        "/NoFile",
        "3a",
        "clause 6.2.11.4.1-1 ",
    ),
    ("no-language", "/Lang(zh-CN)", "", "ua1", "clause 7.2-"),
    (
        "script",
        "/Type/Catalog",
        r"/Type/Catalog/OpenAction<</S/JavaScript/JS(app.beep\(0\))>>",
        "3a",
        "clause 6.5.1-1 ",
    ),
    (
        "no-unicode",
        "/ToUnicode",
        "/NoUnicode",
        "3a",
        "clause 6.2.11.7.2-1 ",
    ),
    (
        "no-relationship",
        "/AFRelationship/Supplement",
        "",
        "3a",
        "clause 6.8-",
    ),
];

/// One Java process for all of it, since its start is what takes long.
#[test]
fn every_real_report_passes_verapdf_and_what_is_wrong_fails() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut files = Vec::new();
    let mut add = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(format!("{name}.pdf"));
        std::fs::write(&path, bytes).expect("a file");
        files.push(path);
    };
    for name in CORPUS {
        let pdf = std::fs::read(published(name).1.path()).expect("the PDF");
        add(name, &pdf);
    }
    let sound = std::fs::read(published("hongze-2024").1.path()).expect("the PDF");
    for (name, from, to, ..) in FAULTS {
        add(name, &pdf::replaced(&sound, from, to));
    }
    assert!(sound.ends_with(b"%%EOF\n"), "one line end, and no CR");
    let signer = Signer::new("rsa:2048");
    add("signed", &signer.copy(&sound, ""));
    let said = signer.run("pdfsig", "signed.pdf");
    assert!(said.contains("Total document signed"), "{said}");
    add("sealed", &Update::seal(&sound).signed(&signer));
    signer.authority();
    add("archival", &signer.copy(&sound, "--archival ."));
    // The way of spoiling them spoils nothing by itself.
    add(
        "spaced",
        &pdf::replaced(&sound, "/Type/Catalog", "/Type   /Catalog"),
    );
    let verdicts = pdf::verapdf(&files);
    let copies = ["spaced", "signed", "sealed", "archival"];
    for name in CORPUS.into_iter().chain(copies) {
        for verdict in verdicts
            .iter()
            .filter(|verdict| verdict.file.ends_with(format!("{name}.pdf")))
        {
            assert!(verdict.passes, "{verdict:#?}");
        }
    }
    for (name, _, _, flavour, rule) in FAULTS {
        let verdict = verdicts
            .iter()
            .find(|verdict| {
                verdict.file.ends_with(format!("{name}.pdf")) && verdict.flavour == flavour
            })
            .expect("a verdict");
        let found = verdict.broken.iter().any(|broken| broken.starts_with(rule));
        assert!(!verdict.passes && found, "{rule} in {verdict:#?}");
    }
}

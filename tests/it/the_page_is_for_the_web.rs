//! A report as a page for the web: every figure in its cell under its official heads, found by
//! readers that share no code with what wrote it; nothing runs, nothing is asked from elsewhere, and
//! nobody is kept out, on a phone or a desk, by day or by night.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use banshi::digest::sha256;
use banshi::report::cell;
use banshi::report::form::{Entry, Head, Shape, Table};
use banshi::report::json::Node;
use serde_json::{Value, json};

use crate::long_lists;
use crate::other_documents::sample;
use crate::support::deployment::{Deployment, succeeded};
use crate::support::jobs::{CORPUS, case, corpus};
use crate::support::{BANSHI, check, editions, listed, render_as, repository};

/// The page of a job, as `render` writes it.
fn page(folder: &Path, name: &str, job: &Value) -> PathBuf {
    render_as(job, folder, name, "html")
}

/// What a browser sees of pages, which it finds no fault with.
fn seen(pages: &[PathBuf]) -> Vec<Value> {
    let output = Command::new("node")
        .arg(repository("tests/it/console/page.mjs"))
        .args(pages)
        .env("TOOLS", repository("target/tools/console"))
        .env("CHROMIUM", "/usr/bin/chromium")
        .output()
        .expect("node is there: tests/tools/install test");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let seen = said.lines().map(|line| serde_json::from_str(line).unwrap());
    let seen: Vec<Value> = seen.collect();
    assert_eq!(seen.len(), pages.len());
    seen
}

/// That html-validate finds no fault with pages.
fn assert_valid(pages: &[PathBuf]) {
    let tool = repository("target/tools/html/node_modules/.bin/html-validate");
    let output = Command::new(tool)
        .args(pages)
        .current_dir(repository("target/tools/html"))
        .output()
        .expect("tests/tools/install test installs it");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
}

/// A figure as the page must have it: the words of its heads, and what is printed.
type Figure = (BTreeSet<String>, String);

fn on_one_line(label: &str) -> String {
    label.replace('\n', "")
}

/// The words over each column of a tree of heads.
fn heads(list: &[Head], over: &BTreeSet<String>) -> Vec<BTreeSet<String>> {
    let below = list.iter().flat_map(|head| {
        let mut own = over.clone();
        own.insert(on_one_line(&head.label));
        match head.heads.is_empty() {
            true => vec![own],
            false => heads(&head.heads, &own),
        }
    });
    below.collect()
}

/// Each cell of a tree of entries with the words of those that it is in.
fn entries(list: &[Entry], within: &BTreeSet<String>, found: &mut Vec<(usize, BTreeSet<String>)>) {
    for entry in list {
        let mut own = within.clone();
        own.insert(on_one_line(&entry.label));
        match entry.entries() {
            [] => found.extend(entry.cells().into_iter().map(|cell| (cell, own.clone()))),
            inner => entries(inner, &own, found),
        }
    }
}

/// The cells of a table with the words of their heads, by the form.
fn cells(table: &Table) -> Vec<(usize, BTreeSet<String>)> {
    let none = BTreeSet::new();
    let mut found = Vec::new();
    match table.shape {
        // Each band is a table by its own name.
        Shape::Bands => {
            for band in &table.entries {
                entries(band.entries(), &none, &mut found);
            }
        }
        Shape::Row
            if table
                .entries
                .iter()
                .all(|entry| !entry.entries().is_empty()) =>
        {
            entries(&table.entries, &none, &mut found);
        }
        Shape::Row => {
            let cells = table.entries.iter().flat_map(Entry::cells);
            found.extend(cells.zip(heads(&table.heads, &none)));
        }
        Shape::Matrix => {
            fn rows(
                list: &[Entry],
                within: &BTreeSet<String>,
                columns: &[BTreeSet<String>],
                found: &mut Vec<(usize, BTreeSet<String>)>,
            ) {
                for entry in list {
                    let mut own = within.clone();
                    own.insert(on_one_line(&entry.label));
                    if !entry.is_row() {
                        rows(entry.entries(), &own, columns, found);
                        continue;
                    }
                    for (cell, column) in entry.cells().into_iter().zip(columns) {
                        found.push((cell, own.union(column).cloned().collect()));
                    }
                }
            }
            let over = Some(&table.columns_label).filter(|label| !label.is_empty());
            let columns = heads(&table.heads, &over.into_iter().cloned().collect());
            rows(&table.entries, &none, &columns, &mut found);
        }
        // A list is tried by itself.
        Shape::List => {}
    }
    found
}

/// The figures of a job by its form, section by section.
fn figures(job: &Value) -> Vec<(String, Vec<Figure>)> {
    let checked = check(job.to_string().as_bytes()).unwrap();
    let report = checked.report();
    let tables = report.form.tables().map(|(field, table)| {
        let printed =
            |index: usize| cell::printed(&report.cells[index], &report.form.cells[index].kind);
        let figures = cells(table)
            .into_iter()
            .map(|(index, heads)| (heads, printed(index)));
        (field.heading.clone().unwrap(), figures.collect())
    });
    tables.collect()
}

fn assert_figures(job: &Value, seen: &Value) {
    let name = &job["job_id"];
    let mut count = 0;
    for (section, expected) in figures(job) {
        let tables = seen["tables"].as_array().unwrap().iter();
        let own: Vec<&Value> = tables
            .filter(|table| table["section"] == json!(section))
            .collect();
        assert!(
            own.iter().all(|table| table["caption"] != json!("")),
            "{name}, {section}"
        );
        let cells = own
            .iter()
            .flat_map(|table| table["cells"].as_array().unwrap());
        let cells = cells.map(|cell| {
            let heads = cell["heads"].as_array().unwrap().iter();
            let heads: BTreeSet<String> = heads
                .map(|head| head.as_str().unwrap().to_owned())
                .collect();
            (heads, cell["text"].as_str().unwrap().to_owned())
        });
        let cells: Vec<Figure> = cells.collect();
        // Every figure, in the order of the form, and no other; the text above may have tables too.
        let official = &cells[cells.len() - expected.len()..];
        assert_eq!(official, expected, "{name}, {section}");
        count += expected.len();
    }
    assert!(
        count > 0
            || job["template"]
                .as_str()
                .unwrap()
                .starts_with("official-letter"),
        "{name}"
    );
}

fn assert_data(job: &Value, seen: &Value) {
    let data: Node = serde_json::from_str(seen["data"].as_str().unwrap()).unwrap();
    let sent = check(job.to_string().as_bytes()).unwrap().data;
    assert_eq!(data.canonical(), sent);
}

#[test]
fn every_figure_stands_under_its_official_heads_and_nobody_is_kept_out() {
    let folder = tempfile::tempdir().unwrap();
    let mut jobs: Vec<Value> = CORPUS.into_iter().map(corpus).collect();
    // The one that breaks a rule is published as its sender wants it.
    jobs.iter_mut()
        .for_each(|job| job["on_violation"] = json!("warn"));
    jobs.extend(editions().into_keys().map(|name| sample(&name)));
    jobs.extend(
        [
            "table-14-columns",
            "long-url",
            "audit-2020-text-above-table",
        ]
        .map(case),
    );
    let pages = jobs.iter().enumerate();
    let pages = pages.map(|(at, job)| page(folder.path(), &format!("{at:02}"), job));
    let pages: Vec<PathBuf> = pages.collect();
    assert_valid(&pages);
    for (job, seen) in jobs.iter().zip(seen(&pages)) {
        assert_figures(job, &seen);
        assert_data(job, &seen);
        let headings = seen["headings"].as_array().unwrap();
        let form = &editions()[job["template"].as_str().unwrap()];
        let title = check(job.to_string().as_bytes()).unwrap().report().title();
        assert_eq!(headings[0], json!(on_one_line(&title)));
        let official = form
            .fields
            .iter()
            .filter_map(|field| field.heading.as_deref());
        let found: Vec<&str> = headings.iter().filter_map(Value::as_str).collect();
        let mut rest = found.iter();
        for heading in official {
            assert!(
                rest.any(|it| *it == heading),
                "{heading} in its order: {found:?}"
            );
        }
    }
}

#[test]
fn a_list_has_its_rows_under_their_names() {
    let deployment = long_lists::deployment();
    let job = long_lists::job(30);
    let path = long_lists::write(&deployment, &job);
    let page = deployment.path("list.html");
    let render = [
        "render",
        &path,
        "--format",
        "html",
        "-o",
        page.to_str().unwrap(),
    ];
    succeeded(&deployment.banshi(&render).output().unwrap());
    assert_valid(std::slice::from_ref(&page));
    let seen = seen(&[page]).remove(0);
    let cells = seen["tables"][0]["cells"].as_array().unwrap();
    let found = |heads: &[&str]| {
        let heads: BTreeSet<&str> = heads.iter().copied().collect();
        let cell = cells.iter().find(|cell| {
            let own = cell["heads"].as_array().unwrap().iter();
            own.filter_map(Value::as_str).collect::<BTreeSet<_>>() == heads
        });
        cell.unwrap_or_else(|| panic!("{heads:?}"))["text"]
            .as_str()
            .unwrap()
    };
    let unit = "第29号审批局";
    assert_eq!(found(&[unit, "序号"]), "29");
    assert_eq!(found(&[unit, "许可（件）", "准予"]), "87");
    assert_eq!(found(&[unit, "许可（件）", "合计"]), "88");
    assert_eq!(found(&[unit, "按时办结率"]), "99.5%");
    assert_eq!(found(&["合计", "许可（件）", "准予"]), "1395");
}

/// What would mean something to a browser.
const HOSTILE: [&str; 10] = [
    "<script>window.ran = 1</script>",
    "</script><img src=x onerror=\"window.ran = 2\">",
    "<!--<script>",
    "\"><svg onload=window.ran=3>",
    "'-window.ran=4-'",
    "javascript:window.ran=5",
    "&lt;b&gt;&amp;nbsp;",
    "</style><style>*{display:none}",
    "<iframe srcdoc=\"<script>parent.ran=6</script>\">",
    "]]></title><base href=\"https://evil.example/\">",
];

#[test]
fn whatever_a_job_says_is_text() {
    let folder = tempfile::tempdir().unwrap();
    let mut job = corpus("zibo-bigdata-2020");
    let hostile = HOSTILE.join("，");
    job["data"]["title"] = json!(format!("{}\n{}", HOSTILE[0], HOSTILE[9]));
    job["data"]["agency"] = json!(HOSTILE[3]);
    job["data"]["overview"] = json!([
        hostile,
        { "heading": format!("（一）{}", HOSTILE[1]) },
        { "table": { "columns": HOSTILE[..4], "rows": [HOSTILE[4..8]], "caption": HOSTILE[8] } },
    ]);
    job["data"]["requests"]["notes"] = json!(HOSTILE);
    job["data"]["proactive_disclosure"]["article_20_1"]["rules"]["made"] =
        json!({ "value": 0, "remark": HOSTILE[1] });
    let page = page(folder.path(), "hostile", &job);
    let text = fs::read_to_string(&page).unwrap();
    assert_eq!(text.matches("<script").count(), 1, "the data's own");
    assert_eq!(text.matches("</script").count(), 1);
    let policy = text
        .split("Content-Security-Policy\" content=\"")
        .nth(1)
        .unwrap();
    assert!(
        policy.starts_with("default-src 'none'; style-src 'sha256-"),
        "{policy:.200}"
    );
    let seen = seen(&[page]).remove(0);
    assert_data(&job, &seen);
    assert_figures(&job, &seen);
    let shown = seen["text"].as_str().unwrap();
    for hostile in HOSTILE {
        assert!(shown.contains(hostile), "{hostile} in {shown:.2000}");
    }
}

#[test]
fn the_same_report_gives_the_same_bytes_and_another_gives_others() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = |name: &str, job: &Value| fs::read(page(folder.path(), name, job)).unwrap();
    let job = corpus("pingtan-2023");
    let one = bytes("one", &job);
    assert!(one == bytes("two", &job));
    let mut other = job.clone();
    other["data"]["issued_on"] = json!("2024-03-09");
    assert!(one != bytes("three", &other));
    // What is refused has no page.
    let mut refused = job;
    refused["data"]["agency"] = json!("某\u{10FFFF}局");
    fs::write(folder.path().join("bad.json"), refused.to_string()).unwrap();
    let mut render = Command::new(BANSHI);
    render
        .args(["render", "bad.json", "--format", "html", "-o", "bad.html"])
        .env("BANSHI__FONTS__DIR", repository("fonts"))
        .current_dir(folder.path());
    assert_eq!(render.output().unwrap().status.code(), Some(1));
    assert!(!listed(folder.path()).contains(&"bad.html".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_asked_to_stores_page_and_ofd_and_names_them() {
    let deployment = Deployment::spool();
    let mut job = corpus("pingtan-2023");
    job["job_id"] = json!("a");
    deployment.send("a", job.to_string().as_bytes()).await;
    deployment.work_until_idle();
    // Who does not ask for it has manifest and event as before.
    let plain = deployment.store();
    assert_eq!(plain.len(), 2, "{plain:?}");
    let manifest =
        |key: &str| -> Value { serde_json::from_slice(&deployment.stored(key)).unwrap() };
    let json = |keys: &[String]| {
        keys.iter()
            .find(|key| key.ends_with(".json"))
            .unwrap()
            .clone()
    };
    assert_eq!(manifest(&json(&plain)).get("companions"), None);
    assert_eq!(deployment.events().await[0]["data"].get("companions"), None);

    let deployment = Deployment::spool().with("RENDER__FORMATS", "pdf,html,ofd");
    deployment.send("a", job.to_string().as_bytes()).await;
    deployment.work_until_idle();
    let stored = deployment.store();
    assert_eq!(stored.len(), 4, "{stored:?}");
    let key = stored.iter().find(|key| key.ends_with(".html")).unwrap();
    let bytes = deployment.stored(key);
    let rendered = tempfile::tempdir().unwrap();
    assert!(bytes == fs::read(page(rendered.path(), "a", &job)).unwrap());
    let manifest: Value = serde_json::from_slice(&deployment.stored(&json(&stored))).unwrap();
    let companion = &manifest["companions"][0];
    assert_eq!(
        *companion,
        json!({
            "format": "html",
            "uri": manifest["artifact"]["uri"].as_str().unwrap().replace(".pdf", ".html"),
            "media_type": "text/html; charset=utf-8",
            "sha256": sha256(&bytes),
            "bytes": bytes.len(),
        })
    );
    let ofd = deployment.stored(&key.replace(".html", ".ofd"));
    assert_eq!(
        manifest["companions"][1],
        json!({
            "format": "ofd",
            "uri": manifest["artifact"]["uri"].as_str().unwrap().replace(".pdf", ".ofd"),
            "media_type": "application/ofd",
            "sha256": sha256(&ofd),
            "bytes": ofd.len(),
        })
    );
    let alone = rendered.path().join("a.ofd");
    let ran = deployment
        .banshi(&["render", "--format", "ofd", "-o"])
        .args([&alone, &rendered.path().join("a.json")])
        .output()
        .unwrap();
    assert!(ran.status.success(), "{ran:?}");
    assert!(ofd == fs::read(alone).unwrap(), "one way leads to both");
    assert_eq!(
        deployment.events().await[0]["data"]["companions"],
        manifest["companions"]
    );

    // And `verify` holds each to that.
    let pdf = key.replace(".html", ".pdf");
    let pdf = deployment.path(&format!("store/{pdf}"));
    let ofd = pdf.with_extension("ofd");
    let verify = || {
        let arguments = ["verify", "--manifest"];
        let ran = deployment.banshi(&arguments).args([&pdf, &ofd]).output();
        let ran = ran.unwrap();
        (ran.status.code(), String::from_utf8(ran.stdout).unwrap())
    };
    let (code, said) = verify();
    let agrees = "authentic 真实, as its manifest says 与清单相符";
    let both = format!(
        "{}: {agrees}, with a.html, a.ofd\n{}: {agrees}\n",
        pdf.display(),
        ofd.display()
    );
    assert_eq!((code, said), (Some(0), both));
    let beside = pdf.with_extension("html");
    fs::write(&beside, "changed").unwrap();
    let (code, said) = verify();
    assert_eq!(code, Some(1));
    assert!(
        said.contains("真实, and not all is as its manifest says 与清单不符\n"),
        "{said}"
    );
    let changed = "a.html is not the file that the manifest names beside the PDF";
    assert!(said.contains(changed), "{said}");
    fs::remove_file(&beside).unwrap();
    let (code, said) = verify();
    assert_eq!(code, Some(1));
    assert!(said.contains("a.html is not here"), "{said}");
    // An OFD of another job is not the one that is named.
    let mut manifest = manifest;
    manifest["companions"][1]["sha256"] = json!("another");
    fs::write(pdf.with_extension("json"), manifest.to_string()).unwrap();
    let (_, said) = verify();
    assert!(
        said.contains("companions, sha256: the manifest says another, the file"),
        "{said}"
    );
    // And one that is no ending of a file is looked for nowhere.
    manifest["companions"][0]["format"] = json!("../a");
    fs::write(pdf.with_extension("json"), manifest.to_string()).unwrap();
    let (code, said) = verify();
    assert_eq!(code, Some(1));
    assert!(said.contains("../a is not here"), "{said}");
}

#[test]
fn settings_name_the_formats_that_there_are() {
    let said = |formats: &str| {
        let deployment = Deployment::spool().with("RENDER__FORMATS", formats);
        let ran = deployment.banshi(&["config"]).output().unwrap();
        (ran.status.code(), String::from_utf8(ran.stderr).unwrap())
    };
    assert_eq!(said("pdf").0, Some(0));
    assert_eq!(said("html, pdf").0, Some(0));
    for (formats, why) in [
        ("html", "want \"pdf\""),
        ("pdf,html,pdf", "each format once"),
        ("pdf,docx", "docx"),
    ] {
        let (code, said) = said(formats);
        assert_eq!(code, Some(3));
        assert!(said.contains("render") && said.contains(why), "{said}");
    }
}

//! The documents beside the annual report: each sample is set, archival, read back cell by cell
//! from its tags, verified, and goes through a real broker; bad jobs of each are refused.

use std::path::PathBuf;

use banshi::report::form::{Entry, Head};
use serde_json::{Value, json};

use crate::pictures::{TYPESETTER, draw};
use crate::support::deployment::Deployment;
use crate::support::jobs::remove;
use crate::support::picture::{Colour, Picture};
use crate::support::{Rendered, editions, pdf, refused, render, repository};

/// The sample job of every edition that is none of the annual report.
fn samples() -> Vec<Value> {
    let names = editions().into_keys();
    let others = names.filter(|name| !name.starts_with("annual-report/"));
    let samples: Vec<Value> = others.map(|name| sample(&name)).collect();
    assert!(samples.len() >= 4, "two documents in two editions each");
    samples
}

/// A template's sample job.
pub fn sample(name: &str) -> Value {
    let path = repository(&format!("typst-templates/{name}/sample.json"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
    serde_json::from_str(&text).expect("a sample is JSON")
}

#[test]
fn every_sample_is_archival_and_accessible() {
    let samples = samples();
    let rendered: Vec<Rendered> = samples.iter().map(render).collect();
    let files: Vec<PathBuf> = rendered.iter().map(Rendered::path).collect();
    // PDF/A-3a and PDF/UA-1 of each.
    for (verdict, sample) in pdf::verapdf(&files)
        .iter()
        .zip(samples.iter().flat_map(|s| [s, s]))
    {
        assert!(verdict.passes, "{}: {verdict:#?}", sample["template"]);
    }
}

/// The words over every cell of a table's row, from the outside in.
fn heads<'a>(list: &'a [Head], over: &[&'a str]) -> Vec<Vec<&'a str>> {
    let below = list.iter().flat_map(|head| {
        let own = [over, &[head.label.as_str()]].concat();
        match head.heads.is_empty() {
            true => vec![own],
            false => heads(&head.heads, &own),
        }
    });
    below.collect()
}

#[test]
fn every_figure_of_a_sample_is_read_back_under_its_heads() {
    let mut read = 0;
    for job in samples() {
        let form = &editions()[job["template"].as_str().unwrap()];
        let rendered = render(&job);
        let tables = pdf::tables(&rendered.path());
        for ((field, table), page) in form.tables().zip(&tables) {
            let cells = table.entries.iter().flat_map(Entry::cells);
            for (index, heads) in cells.zip(heads(&table.heads, &[])) {
                let pointer = &form.cells[index].pointer;
                let sent = &job["data"].pointer(pointer).cloned().unwrap_or_default();
                let printed = match sent {
                    Value::Null => continue,
                    Value::String(text) => text.clone(),
                    number => number.to_string(),
                };
                let heads: Vec<String> = heads.iter().map(|head| head.replace('\n', "")).collect();
                let heads: Vec<&str> = heads.iter().map(String::as_str).collect();
                let found = &page.labelled(&heads).text;
                // poppler runs a table's notes into its last cell.
                assert!(
                    *found == printed || found.starts_with(&format!("{printed}说明")),
                    "{}: {found}, not {printed}",
                    field.field
                );
                read += 1;
            }
        }
    }
    assert!(read > 40, "{read} figures");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_sample_goes_through_a_broker_and_is_verified() {
    let deployment = Deployment::amqp().await;
    let samples = samples();
    for job in &samples {
        let id = job["job_id"].as_str().unwrap();
        deployment.send(id, job.to_string().as_bytes()).await;
        let mut bad = job.clone();
        bad["job_id"] = json!(format!("{id}-bad"));
        remove(&mut bad, "/data", "agency");
        deployment
            .send(&format!("{id}-bad"), bad.to_string().as_bytes())
            .await;
    }
    deployment.work_until_idle();
    let events = deployment.events().await;
    for job in &samples {
        let id = job["job_id"].as_str().unwrap();
        let event = |id: &str| {
            let found = events.iter().find(|event| event["subject"] == json!(id));
            found.unwrap_or_else(|| panic!("an event of {id}")).clone()
        };
        assert_eq!(event(id)["type"], json!("report.completed"), "{id}");
        let bad = event(&format!("{id}-bad"));
        assert_eq!(bad["type"], json!("report.rejected"), "{id}");
        assert_eq!(bad["data"]["problems"][0]["path"], json!("/data/agency"));
    }
    for key in deployment
        .store()
        .iter()
        .filter(|key| key.ends_with(".pdf"))
    {
        let file = deployment.path("store").join(key);
        let verified = deployment
            .banshi(&["verify", file.to_str().unwrap()])
            .output();
        let said = String::from_utf8(verified.unwrap().stdout).unwrap();
        assert!(said.contains("authentic"), "{key}: {said}");
    }
    deployment.remove().await;
}

#[test]
fn an_enforcement_report_keeps_its_sums_and_names_what_is_unlikely() {
    let mut job = sample("enforcement-report/zhejiang-2024");
    assert_eq!(refused(&job), []);
    let total = &mut job["data"]["penalties"]["total"];
    *total = json!(total.as_u64().unwrap() + 1);
    let refusals = refused(&job);
    assert_eq!(refusals.len(), 1, "{refusals:?}");
    assert_eq!(refusals[0].0.as_str(), "R-TOTAL");
    assert_eq!(refusals[0].1, "/data/penalties/total");
}

/// What is drawn in a colour on a page, from the top: bands without a gap between, each with its
/// four sides in millimetres.
fn bands(page: &Picture, colour: impl Fn(Colour) -> bool) -> Vec<[f64; 4]> {
    // Ten pixels a millimetre.
    let rows = (0..page.height()).map(|y| {
        let mut inked = (0..page.width).filter(|&x| colour(page.at(x, y)));
        let left = inked.next()?;
        Some((left, inked.last().unwrap_or(left)))
    });
    let mut bands: Vec<[f64; 4]> = Vec::new();
    let mut open = false;
    for (y, row) in rows.enumerate() {
        if let Some((left, right)) = row {
            let [left, right] = [left as f64 / 10.0, (right + 1) as f64 / 10.0];
            let bottom = (y + 1) as f64 / 10.0;
            match bands.last_mut() {
                Some(band) if open => {
                    *band = [band[0], bottom, band[2].min(left), band[3].max(right)];
                }
                _ => bands.push([y as f64 / 10.0, bottom, left, right]),
            }
        }
        open = row.is_some();
    }
    bands
}

fn red([r, g, b]: Colour) -> bool {
    r > 200 && g < 130 && b < 130
}

fn dark([r, g, b]: Colour) -> bool {
    r < 130 && g < 130 && b < 130
}

/// The pages of a sample, ten pixels a millimetre.
fn drawn(template: &str) -> Vec<Picture> {
    let pages = draw(&TYPESETTER, &sample(template), 254);
    pages.iter().map(|page| Picture::read(page)).collect()
}

#[track_caller]
fn near(found: f64, wanted: f64) {
    assert!((found - wanted).abs() < 0.25, "{found} mm, not {wanted}");
}

/// GB/T 9704-2012, 7.2.4, 7.2.5, 7.2.7, 7.4: what stands around the text of a document.
#[test]
fn a_notice_keeps_the_measures_of_the_standard() {
    let pages = drawn("official-letter/notice");
    let [mark, rule] = bands(&pages[0], red)[..] else {
        panic!("the mark and a rule are red")
    };
    // 35 mm below the upper edge of the text block; within the block.
    near(mark[0], 37.0 + 35.0);
    assert!(mark[2] >= 28.0 && mark[3] <= 184.0, "{mark:?}");
    // 4 mm below the document number, as wide as the block.
    let black = bands(&pages[0], dark);
    let number = black
        .iter()
        .find(|band| band[1] > mark[1])
        .expect("a number");
    near(rule[0], number[1] + 4.0);
    near(rule[2], 28.0);
    near(rule[3], 184.0);
    near((number[2] + number[3]) / 2.0, 28.0 + 78.0);
    // The colophon at the foot of the last page: rules of 0.35, 0.25 and 0.35 mm.
    let last = bands(pages.last().expect("pages"), dark);
    let rules: Vec<&[f64; 4]> = last
        .iter()
        .filter(|band| band[3] - band[2] > 150.0)
        .collect();
    assert_eq!(rules.len(), 3, "{last:?}");
    near(rules[2][1], 37.0 + 225.0);
    for (rule, height) in rules.iter().zip([0.35, 0.25, 0.35]) {
        near(rule[1] - rule[0], height);
    }
    assert_eq!(pages.len() % 2, 0, "it stands on an even page");
}

/// GB/T 9704-2012, 10.1: the format of letters.
#[test]
fn a_letter_keeps_the_measures_of_the_standard() {
    let pages = drawn("official-letter/letter");
    let red = bands(&pages[0], red);
    let [mark, thick, thin, lower_thin, lower_thick] = red[..] else {
        panic!("the mark and two double rules are red: {red:?}")
    };
    near(mark[0], 30.0);
    near(thick[0], mark[1] + 4.0);
    near(lower_thick[1], 297.0 - 20.0);
    for rule in [thick, thin, lower_thin, lower_thick] {
        near(rule[2], 20.0);
        near(rule[3], 190.0);
    }
    // Thick over thin above, thin over thick below.
    let height = |band: [f64; 4]| band[1] - band[0];
    assert!(height(thick) > height(thin) && height(lower_thick) > height(lower_thin));
    // The number at the right of the block; no page number on the first page.
    let black = bands(&pages[0], dark);
    assert!(black[0][3] > 182.0 && black[0][2] > 100.0, "{:?}", black[0]);
    assert!(black.iter().all(|band| band[1] < 262.5), "{black:?}");
    let second = bands(&pages[1], dark);
    assert!(second.iter().any(|band| band[0] > 264.0), "a page number");
}

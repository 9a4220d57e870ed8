//! A county's report is the sum of its departments' (逐级汇总): every cell, every total, and every
//! report that is in its way, by file, agency and cell.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use banshi::digest::sha256;
use serde_json::{Value, json};

use crate::long_lists;
use crate::support::deployment::{Deployment, succeeded};
use crate::support::jobs::{self, KINDS, corpus};
use crate::support::official::{FORMS, Form};
use crate::support::{BANSHI, check, ran, repository};

const COUNTY: &str = "某县人民政府";

/// A department's report: its figures are its own, and add up.
fn department(form: &Form, number: u64) -> Value {
    let base = match form.edition {
        "2019" => "zibo-bigdata-2020",
        _ => "pingtan-2024",
    };
    let mut job = corpus(base);
    job["job_id"] = json!(format!("department-{number}"));
    job["data"]["agency"] = json!(format!("某县第{number}局"));
    let figure = |row: usize, kind: usize| (number * 7 + row as u64 * 3 + kind as u64) % 11;
    let rows = (0..form.rows().len()).map(|row| std::array::from_fn(|kind| figure(row, kind)));
    let results = std::array::from_fn(|group| std::array::from_fn(|it| figure(group, it)));
    let rows: Vec<[u64; KINDS]> = rows.collect();
    jobs::consistent(&mut job, form, rows, results);
    let disclosure = &mut job["data"]["proactive_disclosure"];
    match form.edition {
        "2019" => {
            disclosure["article_20_5"]["licensing"]["change"] = json!(3 - number.cast_signed());
            disclosure["article_20_9"]["procurement"]["amount"] = json!(format!("{number}.25万"));
        }
        _ => disclosure["article_20_8"]["fees"]["amount"] = json!(format!("{number}.000125")),
    }
    job
}

/// A folder with a file for each job, and their paths.
struct Files {
    folder: tempfile::TempDir,
    paths: Vec<PathBuf>,
}

impl Files {
    fn of(jobs: &[Value]) -> Files {
        let folder = tempfile::tempdir().expect("a folder");
        let paths = jobs.iter().enumerate().map(|(number, job)| {
            let path = folder.path().join(format!("{number}.json"));
            std::fs::write(&path, job.to_string()).expect("a file");
            path
        });
        let paths = paths.collect();
        Files { folder, paths }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, value: &Value) -> String {
        let path = self.path(name);
        std::fs::write(&path, value.to_string()).expect("a file");
        path.display().to_string()
    }

    /// `banshi merge` of all of them: its exit code, its answer, and what is on standard error.
    fn merge(&self, more: &[&str]) -> (Option<i32>, String, String) {
        ran(Command::new(BANSHI)
            .arg("merge")
            .args(&self.paths)
            .args(more))
    }

    /// The same for the county, with an answer for machines.
    fn answer(&self, more: &[&str]) -> (Option<i32>, Value) {
        let mut all = vec!["--agency", COUNTY, "--format", "json"];
        all.extend(more);
        let (code, out, err) = self.merge(&all);
        let answer = serde_json::from_str(&out);
        (
            code,
            answer.unwrap_or_else(|error| panic!("{error}: {out}\n{err}")),
        )
    }
}

fn read(path: &Path) -> Value {
    let bytes = std::fs::read(path).expect("a file");
    serde_json::from_slice(&bytes).expect("JSON")
}

/// Every number below a place, by its pointer.
fn numbers(value: &Value, pointer: &str, found: &mut BTreeMap<String, i64>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                numbers(value, &format!("{pointer}/{name}"), found);
            }
        }
        Value::Number(number) => {
            *found.entry(pointer.to_owned()).or_default() += number.as_i64().expect("whole");
        }
        _ => {}
    }
}

/// The figures of the three tables of all jobs together.
fn added(jobs: &[Value]) -> BTreeMap<String, i64> {
    let mut sum = BTreeMap::new();
    for job in jobs {
        for table in ["proactive_disclosure", "requests", "review_and_litigation"] {
            numbers(&job["data"][table], &format!("/{table}"), &mut sum);
        }
    }
    sum
}

#[test]
fn every_cell_and_every_total_of_the_county_is_the_sum_of_its_departments() {
    for form in FORMS {
        let departments: Vec<Value> = (1..=5).map(|number| department(form, number)).collect();
        let files = Files::of(&departments);
        let county = files.path("county.json");
        let (code, out, err) = files.merge(&["--agency", COUNTY, "-o", county.to_str().unwrap()]);
        assert_eq!(code, Some(0), "{err}");
        assert!(out.contains("county.json: 5 reports added up"), "{out}");
        let county = read(&county);
        assert_eq!(added(std::slice::from_ref(&county)), added(&departments));
        assert_eq!(county["template"], form.name);
        let data = &county["data"];
        assert_eq!(data["agency"], COUNTY);
        assert_eq!(data["year"], departments[0]["data"]["year"]);
        let disclosure = &data["proactive_disclosure"];
        match form.edition {
            "2019" => {
                let amount = &disclosure["article_20_9"]["procurement"]["amount"];
                assert_eq!(amount, "16.25万");
            }
            _ => assert_eq!(disclosure["article_20_8"]["fees"]["amount"], "15.000625"),
        }
        // What nobody can add is the county's to write, and said so in both languages.
        assert_eq!(data["overview"], json!([]));
        assert!(data.get("introduction").is_none());
        assert!(
            err.contains("left /data/overview: 「一、总体情况」 is empty"),
            "{err}"
        );
        assert!(err.contains("为空，由汇总机关撰写"), "{err}");
        let county = check(county.to_string().as_bytes());
        county.unwrap_or_else(|refusal| panic!("{:?}", refusal.rejection.problems()));
    }
}

#[test]
fn totals_that_departments_leave_out_are_computed_and_marks_add_nothing() {
    let form = FORMS[1];
    let whole: Vec<Value> = (1..=2).map(|number| department(form, number)).collect();
    let mut open = whole.clone();
    for job in &mut open {
        let requests = job["data"]["requests"].as_object_mut().expect("rows");
        requests["received"]
            .as_object_mut()
            .unwrap()
            .remove("total");
        requests["outcome"].as_object_mut().unwrap().remove("total");
    }
    let cells = ["rules", "normative_documents"];
    for (cell, mark) in cells.into_iter().zip([json!("/"), json!(null)]) {
        let place = format!("/data/proactive_disclosure/article_20_1/{cell}/issued");
        *open[0].pointer_mut(&place).expect("a cell") = mark;
    }
    let (code, answer) = Files::of(&open).answer(&[]);
    assert_eq!(code, Some(0), "{answer:#}");
    let mut expected = added(&whole);
    for cell in cells {
        let place = format!("/proactive_disclosure/article_20_1/{cell}/issued");
        let own = whole[0]["data"].pointer(&place).and_then(Value::as_i64);
        *expected.get_mut(&place).expect("a figure") -= own.expect("a number");
    }
    assert_eq!(added(&[answer["job"].clone()]), expected);
}

#[test]
fn all_that_is_wrong_is_told_at_once_with_file_agency_and_cell_in_both_languages() {
    let mut jobs: Vec<Value> = (1..=8).map(|number| department(FORMS[1], number)).collect();
    jobs[1]["data"]["requests"]["received"]["total"] = json!(1_000_000);
    jobs[2]["data"]["review_and_litigation"]["reconsideration"]["total"] = json!(999);
    jobs[3]["data"]["year"] = json!(2023);
    jobs[4] = department(FORMS[0], 5);
    jobs[5] = jobs[0].clone();
    jobs[5]["job_id"] = json!("sent-again");
    jobs[6]["data"]["agency"] = jobs[0]["data"]["agency"].clone();
    jobs[7]["data"]["agency"] = json!(COUNTY);
    let files = Files::of(&jobs);
    let county = files.path("county.json");
    let (code, answer) = files.answer(&["-o", county.to_str().unwrap()]);
    assert_eq!((code, &answer["ok"]), (Some(1), &json!(false)));
    assert!(!county.exists(), "nothing is written");
    let found: Vec<(String, &str, &str, &str)> = answer["findings"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|it| {
            let text = |field: &str| it[field].as_str().expect("a text");
            assert!(!text("message").is_empty() && !text("message_zh").is_empty());
            let file = Path::new(text("file")).file_name().expect("a name");
            let file = file.to_string_lossy().into_owned();
            (file, text("agency"), text("code"), text("path"))
        })
        .collect();
    let expected = [
        (
            "1.json",
            "某县第2局",
            "R-ROW",
            "/data/requests/received/total",
        ),
        (
            "2.json",
            "某县第3局",
            "R-REVIEW",
            "/data/review_and_litigation/reconsideration/total",
        ),
        ("3.json", "某县第4局", "year", "/data/year"),
        ("4.json", "某县第5局", "template", "/template"),
        ("5.json", "某县第1局", "repeated", "/data"),
        ("6.json", "某县第1局", "repeated", "/data/agency"),
        ("7.json", COUNTY, "agency", "/data/agency"),
    ];
    for (file, agency, code, path) in expected {
        let one = (file.to_owned(), agency, code, path);
        assert!(found.contains(&one), "{one:?} in {found:#?}");
    }
    let (code, _, err) = files.merge(&["--agency", COUNTY]);
    assert_eq!(code, Some(1));
    assert!(
        err.contains("2.json (某县第3局): R-REVIEW /data/review_and_litigation"),
        "{err}"
    );
    assert!(err.contains("与") && err.contains("是同一份报告"), "{err}");
}

#[test]
fn a_report_that_is_published_with_what_does_not_add_up_is_added_and_told() {
    let mut jobs: Vec<Value> = (1..=2).map(|number| department(FORMS[1], number)).collect();
    jobs[0]["on_violation"] = json!("warn");
    jobs[0]["data"]["review_and_litigation"]["reconsideration"]["total"] = json!(999);
    let (code, answer) = Files::of(&jobs).answer(&[]);
    assert_eq!(code, Some(0), "{answer:#}");
    let finding = &answer["findings"][0];
    assert_eq!(
        (&finding["code"], &finding["agency"], &finding["blocks"]),
        (&json!("R-REVIEW"), &json!("某县第1局"), &json!(false))
    );
    // The county's total is that of its cells.
    let group = &answer["job"]["data"]["review_and_litigation"]["reconsideration"];
    let cells = ["upheld", "corrected", "other", "pending"];
    let sum: i64 = cells
        .iter()
        .map(|cell| group[*cell].as_i64().unwrap())
        .sum();
    assert_eq!(group["total"], sum);
}

#[test]
fn a_county_that_somebody_else_added_up_is_compared_cell_by_cell() {
    let departments: Vec<Value> = (1..=3).map(|number| department(FORMS[1], number)).collect();
    let files = Files::of(&departments);
    let (_, answer) = files.answer(&[]);
    let mut county = answer["job"].clone();
    let agrees = files.write("agrees.json", &county);
    let (code, out, err) = files.merge(&["--agree", &agrees]);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("agrees with the sum of 3 reports"), "{out}");

    let cells = &mut county["data"]["proactive_disclosure"];
    let licensing = &mut cells["article_20_5"]["licensing"]["decisions"];
    let sum = licensing.as_i64().expect("a number");
    *licensing = json!(sum - 4);
    cells["article_20_8"]["fees"]["amount"] = json!("7");
    let differs = files.write("differs.json", &county);
    let (code, answer) = files.answer(&["--agree", &differs]);
    assert_eq!(code, Some(1), "{answer:#}");
    let found: Vec<_> = answer["findings"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|it| {
            let text = |field: &str| it[field].as_str().expect("a text").to_owned();
            (text("path"), text("expected"), text("actual"))
        })
        .collect();
    let place = |cell: &str| format!("/data/proactive_disclosure/{cell}");
    let expected = [
        (
            place("article_20_5/licensing/decisions"),
            sum.to_string(),
            (sum - 4).to_string(),
        ),
        (
            place("article_20_8/fees/amount"),
            "6.000375".to_owned(),
            "7".to_owned(),
        ),
    ];
    assert_eq!(found, expected);
    let (_, _, err) = files.merge(&["--agree", &differs]);
    assert!(err.contains(": 4 less") && err.contains("少4"), "{err}");
    assert!(
        err.contains("0.999625 more") && err.contains("多0.999625"),
        "{err}"
    );
}

#[test]
fn amounts_in_several_units_are_added_without_losing_a_digit() {
    let mut jobs: Vec<Value> = (1..=4).map(|number| department(FORMS[0], number)).collect();
    let place = "/data/proactive_disclosure/article_20_9/procurement/amount";
    for (job, amount) in jobs.iter_mut().zip(["2823.12万", "0.5亿元", "0.07元", "0"]) {
        *job.pointer_mut(place).expect("a cell") = json!(amount);
    }
    let (code, answer) = Files::of(&jobs).answer(&[]);
    assert_eq!(code, Some(0), "{answer:#}");
    assert_eq!(answer["job"].pointer(place), Some(&json!("78231200.07元")));
    // One without a unit is in nobody knows what.
    *jobs[2].pointer_mut(place).expect("a cell") = json!("251000");
    let (code, answer) = Files::of(&jobs).answer(&[]);
    assert_eq!(code, Some(1));
    let finding = &answer["findings"][0];
    assert_eq!(
        (&finding["code"], &finding["path"]),
        (&json!("unit"), &json!(place))
    );
}

#[test]
fn last_years_figures_are_added_where_every_department_has_them() {
    let mut jobs: Vec<Value> = (1..=2).map(|number| department(FORMS[1], number)).collect();
    for job in &mut jobs {
        let mut carried = job["data"]["requests"]["carried_in"].clone();
        carried.as_object_mut().expect("cells").remove("total");
        job["prior"] = json!({ "carried_out": carried });
    }
    jobs[0]["prior"]["in_force"] = json!({ "rules": 1 });
    let (code, answer) = Files::of(&jobs).answer(&[]);
    assert_eq!(code, Some(0), "{answer:#}");
    let (prior, own) = (&answer["job"]["prior"], &answer["job"]["data"]["requests"]);
    assert_eq!(
        prior["carried_out"]["business"],
        own["carried_in"]["business"]
    );
    assert!(prior.get("in_force").is_none());
    let left = answer["left"].as_array().expect("a list");
    assert!(left.iter().any(|it| it["path"] == "/prior"), "{left:?}");
}

#[test]
fn parts_are_known_by_digest_whether_they_come_as_jobs_or_as_pdfs() {
    let departments: Vec<Value> = (1..=2).map(|number| department(FORMS[1], number)).collect();
    let mut files = Files::of(&departments);
    let (list, of_jobs) = (files.path("parts.json"), files.answer(&[]).1);
    let pdf = files.path("0.pdf");
    let rendered = Command::new(BANSHI)
        .args(["render", files.paths[0].to_str().unwrap(), "-o"])
        .arg(&pdf)
        .env("BANSHI__FONTS__DIR", repository("fonts"))
        .output();
    succeeded(&rendered.expect("it starts"));
    files.paths[0] = pdf.clone();
    let (code, answer) = files.answer(&["--parts", list.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{answer:#}");
    assert_eq!(answer["job"], of_jobs["job"], "the id included");
    let list = read(&list);
    assert_eq!(list, answer["merged"]);
    let job = check(answer["job"].to_string().as_bytes()).expect("a good job");
    assert_eq!(list["job_sha256"], job.identity.sha256);
    for (part, path) in list["parts"]
        .as_array()
        .expect("a list")
        .iter()
        .zip(&files.paths)
    {
        let bytes = std::fs::read(path).expect("a file");
        assert_eq!(part["sha256"], sha256(&bytes));
    }
    let digests = |answer: &Value| {
        let parts = answer["merged"]["parts"]
            .as_array()
            .expect("a list")
            .clone();
        parts
            .into_iter()
            .map(|part| part["data_sha256"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(digests(&answer), digests(&of_jobs));

    // The same report twice, once as a job and once as a PDF.
    files.paths.push(files.path("0.json"));
    let (code, answer) = files.answer(&[]);
    assert_eq!(
        (code, &answer["findings"][0]["code"]),
        (Some(1), &json!("repeated"))
    );
    // A PDF that was changed is no part.
    let bytes = std::fs::read(&pdf).expect("a file");
    std::fs::write(&pdf, &bytes[..bytes.len() / 2]).expect("a file");
    let (code, answer) = files.answer(&[]);
    assert_eq!(
        (code, &answer["findings"][0]["code"]),
        (Some(1), &json!("unreadable"))
    );
}

#[test]
fn the_rows_of_lists_are_put_one_after_another_and_their_totals_computed() {
    let deployment = Deployment::spool();
    let templates = deployment.path("templates");
    std::fs::create_dir_all(&templates).expect("a folder");
    let package = templates.join("unit-permits");
    let new = deployment
        .banshi(&["templates", "new", package.to_str().unwrap()])
        .output();
    succeeded(&new.expect("it starts"));
    std::fs::write(package.join("1/form.toml"), long_lists::FORM).expect("a file");
    let deployment = deployment.with("TEMPLATES__DIR", templates.to_str().unwrap());
    let department = |name: &str, units: u64| {
        let mut job = long_lists::job(units);
        job["data"]["agency"] = json!(name);
        job
    };
    let nothing = json!({
        "unit": null, "granted": null, "refused": null, "fees": null, "on_time": null,
        "grade": null, "note": null,
    });
    let mut idle = department("丙局", 1);
    idle["data"]["units"]["rows"] = json!([nothing]);
    let jobs = [department("甲局", 3), department("乙局", 2), idle];
    let files = Files::of(&jobs);
    let merge = |more: &[&str]| {
        let mut command = deployment.banshi(&["merge", "--agency", COUNTY, "--format", "json"]);
        let (code, out, err) = ran(command.args(&files.paths).args(more));
        let answer: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{err}"));
        (code, answer)
    };
    let (code, answer) = merge(&[]);
    assert_eq!(code, Some(0), "{answer:#}");
    let list = &answer["job"]["data"]["units"];
    let rows = |job: &Value| {
        job["data"]["units"]["rows"]
            .as_array()
            .expect("rows")
            .clone()
    };
    let expected: Vec<Value> = jobs[..2].iter().flat_map(rows).collect();
    assert_eq!(list["rows"], json!(expected));
    let granted = expected.iter().filter_map(|row| row["granted"].as_i64());
    assert_eq!(list["total"]["granted"], granted.sum::<i64>());
    // A share of different wholes has no sum.
    assert_eq!(list["total"]["on_time"], Value::Null);
    let left = answer["left"].as_array().expect("a list");
    assert!(
        left.iter()
            .any(|it| it["path"] == "/data/units/total/on_time"),
        "{left:?}"
    );

    let mut county = answer["job"].clone();
    county["data"]["units"]["rows"]
        .as_array_mut()
        .expect("rows")
        .pop();
    county["data"]["units"]
        .as_object_mut()
        .expect("a list")
        .remove("total");
    county["data"]["units"]["total"] = json!({ "on_time": "99%" });
    let county = files.write("county.json", &county);
    let (code, answer) = merge(&["--agree", &county]);
    assert_eq!(code, Some(1));
    let found = answer["findings"].as_array().expect("a list");
    let missing = |it: &Value| {
        it["message"]
            .as_str()
            .unwrap()
            .contains("a department's row")
    };
    assert!(found.iter().any(missing), "{found:#?}");
    let total = |it: &Value| it["path"] == "/data/units/total/granted";
    assert!(found.iter().any(total), "{found:#?}");
}

#[test]
fn what_cannot_be_read_is_told_all_at_once_and_adds_up_to_nothing() {
    let mut files = Files::of(&[department(FORMS[1], 1)]);
    files.paths.push(files.path("missing.json"));
    files.paths.push(files.path("gone.json"));
    let (code, out, err) = files.merge(&["--agency", COUNTY]);
    assert_eq!((code, out.as_str()), (Some(3), ""), "{err}");
    assert!(
        err.contains("missing.json") && err.contains("gone.json"),
        "{err}"
    );
    let (code, _, err) = files.merge(&[]);
    assert_eq!(code, Some(2), "whose job is it? {err}");
}

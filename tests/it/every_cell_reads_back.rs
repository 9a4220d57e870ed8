//! The figures on the page are the job's: each cell of the three official tables of every real
//! report is read back from the PDF's structure tree, in its official row and column, as a screen
//! reader finds them: by the headers that the cell itself names.

use serde_json::{Value, json};

use crate::support::jobs::{CORPUS, corpus};
use crate::support::official::{APPLICANTS, FORMS, Form, Kind, RESULTS, REVIEW_GROUPS};
use crate::support::pdf::{self, Table};
use crate::support::render;

/// A figure as the contract says that it prints.
fn printed(figure: &Value, kind: Kind) -> String {
    match figure {
        Value::Null => String::new(),
        Value::String(money) => money.clone(),
        Value::Object(_) => {
            format!(
                "{}（{}）",
                figure["value"],
                figure["remark"].as_str().expect("a remark")
            )
        }
        number if kind == Kind::Change && number.as_i64() > Some(0) => format!("+{number}"),
        number => number.to_string(),
    }
}

fn figure<'a>(job: &'a Value, pointer: &str) -> &'a Value {
    job.pointer(pointer)
        .unwrap_or_else(|| panic!("{pointer} is in the job"))
}

fn disclosure(job: &Value, form: &Form, table: &Table) -> usize {
    let mut cells = 0;
    for (band, item, column) in form.figures() {
        let path = format!(
            "/data/proactive_disclosure/{}/{}/{}",
            band.field, item.field, column.field
        );
        let cell = table.labelled(&[band.label, "信息内容", item.label, &column.name()]);
        assert_eq!(
            cell.text,
            printed(figure(job, &path), column.kind),
            "{path}"
        );
        cells += 1;
    }
    cells
}

fn requests(job: &Value, form: &Form, table: &Table) -> usize {
    let mut cells = 0;
    for place in form.rows() {
        for (field, applicant) in APPLICANTS {
            let path = format!("/data/requests{}/{field}", place.pointer);
            let organisation = !["natural_person", "total"].contains(&field);
            let mut labels: Vec<&str> = place.label.split(' ').collect();
            if place.pointer.starts_with("/outcome") {
                labels.push("三、本年度办理结果");
            }
            if organisation {
                labels.push("法人或其他组织");
            }
            labels.extend(["申请人情况", applicant]);
            let found = table.labelled(&labels);
            assert_eq!(
                found.text,
                printed(figure(job, &path), Kind::Count),
                "{path}"
            );
            cells += 1;
        }
    }
    cells
}

fn review(job: &Value, table: &Table) -> usize {
    let mut cells = 0;
    for (pointer, group) in REVIEW_GROUPS {
        for (field, result) in RESULTS {
            let path = format!("/data/review_and_litigation{pointer}/{field}");
            let labels: Vec<&str> = group.split(' ').chain([result]).collect();
            assert_eq!(
                table.labelled(&labels).text,
                printed(figure(job, &path), Kind::Count),
                "{path}"
            );
            cells += 1;
        }
    }
    cells
}

fn reads_back(name: &str) {
    let mut job = corpus(name);
    job["on_violation"] = json!("warn");
    let pdf = render(&job);
    figures_stand(&job, &pdf::tables(&pdf.path()));
}

/// Every figure of a job stands in its official row and column of the three official tables, and
/// nothing else does.
pub fn figures_stand(job: &Value, tables: &[Table]) {
    let template = job["template"].as_str().expect("a template");
    let form = FORMS
        .into_iter()
        .find(|form| form.name == template)
        .expect("an edition");
    let [table2, table3, table4] = tables else {
        panic!("the three official tables, found {}", tables.len())
    };
    let cells = [
        disclosure(job, form, table2),
        requests(job, form, table3),
        review(job, table4),
    ];
    // 22 + 161 + 15 cells in the 2019 form, 10 + 175 + 15 in that of 2021; and no others.
    assert_eq!(
        cells,
        if form.edition == "2019" {
            [22, 161, 15]
        } else {
            [10, 175, 15]
        }
    );
    assert_eq!(cells, [table2.data(), table3.data(), table4.data()]);
}

macro_rules! each_report {
    ($($test:ident = $name:literal,)*) => {
        $(#[test] fn $test() { reads_back($name) })*

        #[test]
        fn no_real_report_is_left_out() {
            assert_eq!([$($name),*], CORPUS);
        }
    };
}

each_report! {
    hongze_2024 = "hongze-2024",
    jinhu_2023 = "jinhu-2023",
    pingtan_2019 = "pingtan-2019",
    pingtan_2021 = "pingtan-2021",
    pingtan_2023 = "pingtan-2023",
    pingtan_2024 = "pingtan-2024",
    pingtan_2025 = "pingtan-2025",
    shanghai_science_2024 = "shanghai-science-2024",
    suqian_2024 = "suqian-2024",
    zibo_bigdata_2020 = "zibo-bigdata-2020",
}

/// The example that the official form gives a blind reader most trouble with: two levels of rows
/// and two of columns.
#[test]
fn a_screen_reader_says_the_group_the_row_and_the_columns() {
    let table = &pdf::tables(&render(&corpus("pingtan-2023")).path())[1];
    let cell = table.cell(&["4.保护第三方合法权益", "自然人"]);
    assert_eq!(cell.text, "1");
    let labels = table.labels(cell);
    assert_eq!(
        labels,
        [
            "申请人情况",
            "自然人",
            "4.保护第三方合法权益",
            "（三）不予公开",
            "三、本年度办理结果",
        ]
    );
    let organisation = table.cell(&["（三）不予公开", "8.属于行政查询事项", "科研机构"]);
    assert_eq!(
        table.labels(organisation)[..3],
        ["申请人情况", "法人或其他组织", "科研机构"]
    );
}

/// 国办's six sections, then the agency's own under them; no level is left out on the way down.
#[test]
fn headings_go_down_a_level_at_a_time() {
    for name in CORPUS {
        let mut job = corpus(name);
        job["on_violation"] = json!("warn");
        let levels = pdf::headings(&render(&job).path());
        assert_eq!(
            levels.iter().filter(|level| **level == 1).count(),
            6,
            "{name}"
        );
        assert_eq!(levels[0], 1, "{name}");
        for pair in levels.windows(2) {
            assert!(pair[1] <= pair[0] + 1, "{name}: {levels:?}");
        }
    }
}

#[test]
fn the_window_shows_the_title_and_the_language_is_said() {
    let job = corpus("pingtan-2023");
    let pdf = render(&job);
    let objects = pdf::objects(&pdf.path());
    let objects = &objects["qpdf"][1];
    let root = objects["trailer"]["value"]["/Root"]
        .as_str()
        .expect("a root");
    let root = &objects[format!("obj:{root}")]["value"];
    assert_eq!(root["/Lang"], "u:zh-CN");
    assert_eq!(root["/ViewerPreferences"]["/DisplayDocTitle"], true);
    assert_eq!(root["/MarkInfo"]["/Marked"], true);
    let title = job["data"]["title"].as_str().expect("a title");
    assert!(pdf::info(&pdf.path()).contains(title));
}

#[test]
fn remarks_changes_and_blanks_print_as_the_contract_says() {
    let mut job = corpus("zibo-bigdata-2020");
    let disclosure = &mut job["data"]["proactive_disclosure"];
    disclosure["article_20_1"]["normative_documents"]["made"] =
        json!({ "value": 22, "remark": "其中修订16件" });
    disclosure["article_20_5"]["licensing"]["change"] = json!(2);
    disclosure["article_20_6"]["penalties"]["change"] = json!(-18);
    disclosure["article_20_9"]["procurement"]["amount"] = json!(null);
    let table = &pdf::tables(&render(&job).path())[0];
    let cell = |labels: &[&str]| table.cell(labels).text.clone();
    assert_eq!(
        cell(&["规范性文件", "本年新制作数量"]),
        "22（其中修订16件）"
    );
    assert_eq!(cell(&["行政许可", "本年增/减"]), "+2");
    assert_eq!(cell(&["行政处罚", "本年增/减"]), "-18");
    assert_eq!(cell(&["行政强制", "本年增/减"]), "0");
    assert_eq!(cell(&["政府集中采购", "采购总金额"]), "");
}

//! The rules that a report must keep: one function a code, each in the words of its source.
//!
//! Only R-COLUMN is printed in the official form; the other R- rules follow from what the totals
//! mean, and their messages say so. Every sum takes a cell that is blank or holds a mark as 0, and
//! a total that does or was left out as its computed value; a sum with a cell that could not be
//! read is not made.

use super::form::{
    ALL_APPLICANTS, ALL_RESULTS, APPLICANTS, CARRIED_IN, CARRIED_OUT, RECEIVED, REVIEW_GROUPS,
    RowPlace, TOTAL,
};
use super::{Block, Cell, Prior, Report, Row, Value};
use crate::problem::{Code, Problem, Severity};

/// Where table 3 stands in the job.
const REQUESTS: &str = "/data/requests";
/// Where table 4 stands in the job.
const REVIEW: &str = "/data/review_and_litigation";
/// Where table 2 stands in the job.
const DISCLOSURE: &str = "/data/proactive_disclosure";

/// Every rule, in the order of the codes.
const RULES: [fn(&Report, &Prior, &mut Vec<Problem>); 9] = [
    column, outcome, row, review, prior, in_force, fee, blank, length,
];

/// Notes every rule that the report breaks.
pub fn check(report: &Report, prior: &Prior, problems: &mut Vec<Problem>) {
    for rule in RULES {
        rule(report, prior, problems);
    }
}

/// The rows of table 3 with what they add: `None` for a cell that could not be read.
struct Sums {
    places: Vec<RowPlace>,
    rows: Vec<[Option<i64>; 7]>,
}

impl Sums {
    fn of(report: &Report) -> Sums {
        let places = report.form.rows();
        let mut rows: Vec<_> = report.requests.rows.iter().map(effective).collect();
        // A （七）总计 that was left out, is blank or holds a mark stands for the sum of the rows above
        // it.
        if let Some(total) = index(&places, TOTAL) {
            for column in 0..APPLICANTS.len() {
                let cell = report.requests.rows.get(total).map(|row| &row[column]);
                if cell.is_some_and(Cell::is_open) {
                    rows[total][column] = outcome_sum(&places, &rows, column);
                }
            }
        }
        Sums { places, rows }
    }

    fn row(&self, pointer: &str) -> Option<&[Option<i64>; 7]> {
        self.rows.get(index(&self.places, pointer)?)
    }
}

fn index(places: &[RowPlace], pointer: &str) -> Option<usize> {
    places.iter().position(|place| place.pointer == pointer)
}

/// What a row adds, with its total computed where there is no figure in it.
fn effective(row: &Row) -> [Option<i64>; 7] {
    let mut sums: [Option<i64>; 7] = std::array::from_fn(|column| row[column].adds());
    if row[ALL_APPLICANTS].is_open() {
        sums[ALL_APPLICANTS] = sums[..ALL_APPLICANTS].iter().copied().sum();
    }
    sums
}

/// The sum of the outcome's rows in one column.
fn outcome_sum(places: &[RowPlace], rows: &[[Option<i64>; 7]], column: usize) -> Option<i64> {
    places
        .iter()
        .zip(rows)
        .filter(|(place, _)| place.is_summand())
        .map(|(_, row)| row[column])
        .sum()
}

/// R-COLUMN: 第一项加第二项之和，等于第三项加第四项之和, per column.
fn column(report: &Report, _: &Prior, problems: &mut Vec<Problem>) {
    let sums = Sums::of(report);
    let rows = [RECEIVED, CARRIED_IN, TOTAL, CARRIED_OUT].map(|pointer| sums.row(pointer));
    let [
        Some(received),
        Some(carried_in),
        Some(total),
        Some(carried_out),
    ] = rows
    else {
        return;
    };
    // The problem stands at the outcome's total, or at 四 when that total was left out.
    let absent = index(&sums.places, TOTAL)
        .and_then(|index| report.requests.rows.get(index))
        .is_some_and(|row| row.iter().all(|cell| *cell == Cell::Absent));
    let pointer = if absent { CARRIED_OUT } else { TOTAL };
    for (column, (field, label)) in APPLICANTS.into_iter().enumerate() {
        let cells = [received, carried_in, total, carried_out].map(|row| row[column]);
        let [Some(one), Some(two), Some(three), Some(four)] = cells else {
            continue;
        };
        if one + two != three + four {
            problems.push(
                Problem::new(
                    Code::Column,
                    format!("{REQUESTS}{pointer}/{field}"),
                    format!(
                        "column 「{label}」: 一 + 二 = {one} + {two} = {}, but 三（七）总计 + 四 = {three} + \
                         {four} = {}; the form prints that they are equal",
                        one + two,
                        three + four
                    ),
                    format!(
                        "「{label}」一列：第一项加第二项为{one}+{two}={}，第三项加第四项为{three}+{four}={}，\
                         不符合表内“第一项加第二项之和，等于第三项加第四项之和”",
                        one + two,
                        three + four
                    ),
                )
                .with(one + two, three + four),
            );
        }
    }
}

/// R-OUTCOME: per column, （七）总计 is the sum of the outcome's rows.
fn outcome(report: &Report, _: &Prior, problems: &mut Vec<Problem>) {
    let sums = Sums::of(report);
    let Some(total) = sums.row(TOTAL) else { return };
    for (column, (field, label)) in APPLICANTS.into_iter().enumerate() {
        let (Some(given), Some(sum)) =
            (total[column], outcome_sum(&sums.places, &sums.rows, column))
        else {
            continue;
        };
        if given != sum {
            problems.push(
                Problem::new(
                    Code::Outcome,
                    format!("{REQUESTS}{TOTAL}/{field}"),
                    format!(
                        "「（七）总计」「{label}」 is {given}, but the rows （一） to （六） add up to {sum}; \
                         this follows from what the total means"
                    ),
                    format!("「（七）总计」「{label}」填{given}，而（一）至（六）各行之和为{sum}（由总计的含义推出）"),
                )
                .with(sum, given),
            );
        }
    }
}

/// R-ROW: per row, 总计 is the sum of its six kinds of applicant.
fn row(report: &Report, _: &Prior, problems: &mut Vec<Problem>) {
    for (place, row) in report.form.rows().iter().zip(&report.requests.rows) {
        let Some(given) = row[ALL_APPLICANTS].number() else {
            continue;
        };
        let Some(sum) = row[..ALL_APPLICANTS]
            .iter()
            .map(Cell::adds)
            .sum::<Option<i64>>()
        else {
            continue;
        };
        // A （七）总计 left out but for its own total has nothing to add up here.
        if row[..ALL_APPLICANTS]
            .iter()
            .all(|cell| *cell == Cell::Absent)
        {
            continue;
        }
        if given != sum {
            let label = &place.label;
            problems.push(
                Problem::new(
                    Code::Row,
                    format!("{REQUESTS}{}/total", place.pointer),
                    format!(
                        "「{label}」「总计」 is {given}, but its six kinds of applicant add up to {sum}; \
                         this follows from what the total means"
                    ),
                    format!("「{label}」「总计」填{given}，而六类申请人之和为{sum}（由总计的含义推出）"),
                )
                .with(sum, given),
            );
        }
    }
}

/// R-REVIEW: per group, 总计 is 结果维持 + 结果纠正 + 其他结果 + 尚未审结.
fn review(report: &Report, _: &Prior, problems: &mut Vec<Problem>) {
    for ((pointer, label), cells) in REVIEW_GROUPS.into_iter().zip(&report.review.groups) {
        let Some(given) = cells[ALL_RESULTS].number() else {
            continue;
        };
        let Some(sum) = cells[..ALL_RESULTS]
            .iter()
            .map(Cell::adds)
            .sum::<Option<i64>>()
        else {
            continue;
        };
        if given != sum {
            problems.push(
                Problem::new(
                    Code::Review,
                    format!("{REVIEW}{pointer}/total"),
                    format!(
                        "「{label}」「总计」 is {given}, but its four results add up to {sum}; \
                         this follows from what the total means"
                    ),
                    format!(
                        "「{label}」「总计」填{given}，而四种结果之和为{sum}（由总计的含义推出）"
                    ),
                )
                .with(sum, given),
            );
        }
    }
}

/// R-PRIOR: 二、上年结转 is last year's 四、结转下年度继续办理, per column.
fn prior(report: &Report, prior: &Prior, problems: &mut Vec<Problem>) {
    let sums = Sums::of(report);
    let Some(carried_in) = sums.row(CARRIED_IN) else {
        return;
    };
    for (column, (field, label)) in APPLICANTS.into_iter().enumerate() {
        let (Some(before), Some(now)) = (prior.carried_out[column], carried_in[column]) else {
            continue;
        };
        if before != now {
            problems.push(
                Problem::new(
                    Code::Prior,
                    format!("{REQUESTS}{CARRIED_IN}/{field}"),
                    format!(
                        "「二、上年结转政府信息公开申请数量」「{label}」 is {now}, but last year's \
                         「四、结转下年度继续办理」 was {before}"
                    ),
                    format!("「二、上年结转政府信息公开申请数量」「{label}」填{now}，而上年度「四、结转下年度继续办理」为{before}"),
                )
                .with(before, now),
            );
        }
    }
}

/// W-INFORCE: 现行有效件数 is last year's + 本年制发件数 − 本年废止件数.
fn in_force(report: &Report, prior: &Prior, problems: &mut Vec<Problem>) {
    let figures: Vec<_> = report
        .form
        .figures()
        .zip(&report.disclosure.figures)
        .collect();
    for (item_field, before) in [
        ("rules", prior.rules_in_force),
        ("normative_documents", prior.documents_in_force),
    ] {
        let Some(before) = before else { continue };
        let cell = |name: &str| {
            figures
                .iter()
                .find_map(|((_, item, figure), value)| match value {
                    Value::Number(cell) if item.field == item_field && figure.field == name => {
                        cell.adds().map(|adds| (adds, item.label))
                    }
                    _ => None,
                })
        };
        let (Some((issued, label)), Some((repealed, _)), Some((in_force, _))) =
            (cell("issued"), cell("repealed"), cell("in_force"))
        else {
            continue;
        };
        let expected = before + issued - repealed;
        if expected != in_force {
            problems.push(
                Problem::new(
                    Code::InForce,
                    format!("{DISCLOSURE}/article_20_1/{item_field}/in_force"),
                    format!(
                        "「{label}」「现行有效件数」 is {in_force}, but last year's {before} + {issued} \
                         issued − {repealed} repealed is {expected}"
                    ),
                    format!(
                        "「{label}」「现行有效件数」填{in_force}，而上年度{before}加本年制发{issued}\
                         减本年废止{repealed}为{expected}"
                    ),
                )
                .with(expected, in_force),
            );
        }
    }
}

/// W-FEE: 依据《政府信息公开信息处理费管理办法》收取信息处理费的情况，在此处专门报告: section 六
/// of the 2021 form states it even when it is nil.
fn fee(report: &Report, _: &Prior, problems: &mut Vec<Problem>) {
    let unread = problems.iter().any(|problem| {
        let wrong = problem.code.severity() == Severity::Error;
        wrong && problem.path.starts_with("/data/other_matters")
    });
    if !report.form.states_fee || unread {
        return;
    }
    let said = report
        .other_matters
        .iter()
        .flat_map(super::block_texts)
        .any(|(_, text)| speaks_of_fee(text));
    if !said {
        problems.push(Problem::new(
            Code::Fee,
            "/data/other_matters",
            "「六、其他需要报告的事项」 says nothing of 信息处理费, which the form asks for even when there was none",
            "「六、其他需要报告的事项」未说明收取信息处理费的情况；没有收取的也应专门报告",
        ));
    }
}

/// Whether a text says what became of the fee, by its name or in other words: 未发生收费,
/// 未收取任何费用, 收费金额为0元. Fees that the agency takes for its services (行政事业性收费) and lists
/// of fees that it has published are others.
fn speaks_of_fee(text: &str) -> bool {
    const SAID: [&str; 8] = ["未", "没有", "无", "不收", "免", "零", "元", "0"];
    let text = text.replace("行政事业性收费", "");
    text.split(['。', '；', '！', '？', '\n']).any(|sentence| {
        let has = |words: &[&str]| words.iter().any(|word| sentence.contains(word));
        has(&["处理费"])
            || (has(&["收费", "收取", "费用"]) && sentence.contains('费') && has(&SAID))
    })
}

/// W-BLANK: cells of the tables are blank or hold a mark; lists them.
fn blank(report: &Report, _: &Prior, problems: &mut Vec<Problem>) {
    let open = |cell: &Cell| matches!(cell, Cell::Blank | Cell::Mark(_));
    let mut cells = Vec::new();
    for ((band, item, figure), value) in report.form.figures().zip(&report.disclosure.figures) {
        let (Value::Number(cell) | Value::NoMoney(cell)) = value else {
            continue;
        };
        if open(cell) {
            cells.push(format!(
                "{DISCLOSURE}/{}/{}/{}",
                band.field, item.field, figure.field
            ));
        }
    }
    for (place, row) in report.form.rows().iter().zip(&report.requests.rows) {
        for ((field, _), cell) in APPLICANTS.into_iter().zip(row) {
            if open(cell) {
                cells.push(format!("{REQUESTS}{}/{field}", place.pointer));
            }
        }
    }
    for ((pointer, _), group) in REVIEW_GROUPS.into_iter().zip(&report.review.groups) {
        for ((field, _), cell) in super::form::RESULTS.into_iter().zip(group) {
            if open(cell) {
                cells.push(format!("{REVIEW}{pointer}/{field}"));
            }
        }
    }
    if let Some(first) = cells.first() {
        let (count, list) = (cells.len(), cells.join(", "));
        let cells = if count == 1 {
            "1 cell is blank or holds a mark".to_owned()
        } else {
            format!("{count} cells are blank or hold a mark")
        };
        problems.push(Problem::new(
            Code::Blank,
            first.clone(),
            format!("{cells}; printed as sent and added as 0: {list}"),
            format!("有{count}格留空或填符号，按原样打印，合计时按0计：{list}"),
        ));
    }
}

/// W-LENGTH: 总体情况 of the 2021 form 原则上不超过一千字.
fn length(report: &Report, _: &Prior, problems: &mut Vec<Problem>) {
    let Some(limit) = report.form.overview_characters else {
        return;
    };
    let characters = report
        .overview
        .iter()
        .filter(|block| !matches!(block, Block::Table { .. }))
        .flat_map(super::block_texts)
        .map(|(_, text)| text.chars().filter(|c| !c.is_whitespace()).count())
        .sum::<usize>();
    if characters > limit {
        problems.push(
            Problem::new(
                Code::Length,
                "/data/overview",
                format!("「一、总体情况」 has {characters} characters; the notice says 原则上不超过一千字"),
                format!("「一、总体情况」共{characters}字，超过“原则上不超过一千字”"),
            )
            .with(limit, characters),
        );
    }
}

/// Fills in the totals that were left out. A total that is `null` stays blank on the page.
pub fn compute_totals(report: &mut Report) {
    let sums = Sums::of(report);
    for (row, sums) in report.requests.rows.iter_mut().zip(&sums.rows) {
        for (cell, sum) in row.iter_mut().zip(sums) {
            if let (Cell::Absent, Some(value)) = (&*cell, *sum) {
                *cell = Cell::Number {
                    value,
                    remark: None,
                };
            }
        }
    }
    for group in &mut report.review.groups {
        let sum: Option<i64> = group[..ALL_RESULTS].iter().map(Cell::adds).sum();
        if let (Cell::Absent, Some(value)) = (&group[ALL_RESULTS], sum) {
            group[ALL_RESULTS] = Cell::Number {
                value,
                remark: None,
            };
        }
    }
}

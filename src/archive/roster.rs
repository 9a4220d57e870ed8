//! Who should have reported, and who has.
//!
//! Takes a roster (名册, CSV) and what an archive holds, gives a line for each agency and for each
//! report that nobody expected. Never guesses whose a report is: the agency's name as printed, or
//! another name that the roster gives it. If we crash here, nothing was changed.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::Holdings;
use crate::job::unmarked;

/// An agency that reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agency {
    /// Its name, as its reports print it.
    pub name: String,
    /// Other names of it.
    pub aliases: Vec<String>,
    /// Whether it is to report.
    pub expected: bool,
    /// The ids of its jobs, where they are known beforehand.
    pub job_ids: Vec<String>,
    /// 统一社会信用代码 or another code, carried through.
    pub code: String,
    /// 全宗号, carried through.
    pub fonds: String,
}

/// How it stands with an agency, or with a report that nobody expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// 已报.
    Reported,
    /// 重复: more than one report, of which a person says which counts.
    Repeated,
    /// 缺报.
    Missing,
    /// 未通过: its job was refused or has failed, and no report is there. Also of a job that is
    /// nobody's in the roster, since an event does not say whose job was refused.
    Refused,
    /// 名册外: a report of an agency that the roster does not expect.
    Unlisted,
}

impl Status {
    /// All of them, in the order in which they are counted.
    pub const ALL: [Status; 5] = [
        Status::Reported,
        Status::Missing,
        Status::Repeated,
        Status::Refused,
        Status::Unlisted,
    ];

    /// As it is printed: in English and Chinese.
    pub fn words(self) -> (&'static str, &'static str) {
        match self {
            Status::Reported => ("reported", "已报"),
            Status::Repeated => ("repeated", "重复"),
            Status::Missing => ("missing", "缺报"),
            Status::Refused => ("refused", "未通过"),
            Status::Unlisted => ("unlisted", "名册外"),
        }
    }
}

/// A line of the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// How it stands.
    pub status: Status,
    /// The agency as the roster has it, or as a report prints it; empty, where only a job is known.
    pub agency: String,
    /// From the roster.
    pub code: String,
    /// From the roster.
    pub fonds: String,
    /// Whether the roster expects a report of it.
    pub expected: bool,
    /// The jobs whose reports are there, or that were refused.
    pub job_ids: Vec<String>,
    /// The packages that they are in.
    pub packages: Vec<String>,
    /// Why jobs of it were refused or have failed.
    pub problems: Vec<String>,
}

/// Reads a roster: CSV in UTF-8, whose first row names the columns, in English or Chinese. Other
/// columns are passed over.
///
/// # Errors
/// What is wrong with it, and where.
pub fn read(bytes: &[u8]) -> Result<Vec<Agency>, String> {
    let text = std::str::from_utf8(unmarked(bytes))
        .map_err(|_| "it is not UTF-8: save it as “CSV UTF-8”".to_owned())?;
    let mut rows = csv::ReaderBuilder::new()
        .flexible(true)
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes());
    let heads = rows.headers().map_err(|error| error.to_string())?.clone();
    let column = |names: [&str; 2]| heads.iter().position(|head| names.contains(&head));
    let name = column(["name", "机构名称"])
        .ok_or("its first row names no column name (机构名称), the agency as reports print it")?;
    let others = [
        ["aliases", "别名"],
        ["expected", "应报"],
        ["job_id", "任务编号"],
        ["code", "机构代码"],
        ["fonds", "全宗号"],
    ];
    let [aliases, expected, job_ids, code, fonds] = others.map(column);
    let (mut agencies, mut names) = (Vec::new(), BTreeMap::new());
    for row in rows.records() {
        let row = row.map_err(|error| error.to_string())?;
        let line = row.position().map_or(0, csv::Position::line);
        let cell = |column: Option<usize>| column.and_then(|it| row.get(it)).unwrap_or_default();
        if row.iter().all(str::is_empty) {
            continue;
        }
        let agency = Agency {
            name: cell(Some(name)).to_owned(),
            aliases: several(cell(aliases)),
            expected: match cell(expected).to_lowercase().as_str() {
                "" | "yes" | "true" | "1" | "是" => true,
                "no" | "false" | "0" | "否" => false,
                other => {
                    return Err(format!(
                        "line {line}: expected is {other:?}: want yes or no"
                    ));
                }
            },
            job_ids: several(cell(job_ids)),
            code: cell(code).to_owned(),
            fonds: cell(fonds).to_owned(),
        };
        if agency.name.is_empty() {
            return Err(format!("line {line}: there is no name"));
        }
        for name in std::iter::once(&agency.name).chain(&agency.aliases) {
            if let Some(before) = names.insert(name.clone(), line) {
                return Err(format!("line {line}: {name} is in line {before}, too"));
            }
        }
        agencies.push(agency);
    }
    Ok(agencies)
}

/// The values of a cell that may have several.
fn several(cell: &str) -> Vec<String> {
    let values = cell.split([';', '；', '|']).map(str::trim);
    let values = values.filter(|value| !value.is_empty());
    values.map(str::to_owned).collect()
}

/// How it stands with every agency of a roster, in its order, then with what nobody expected. Of a
/// document, by the template's name without its edition, and of a year.
pub fn compare(agencies: &[Agency], holdings: &Holdings, document: &str, year: u16) -> Vec<Row> {
    let is_of = |template: &str| template.split('/').next() == Some(document);
    let reports = holdings.reports.iter();
    let reports: Vec<_> = reports
        .filter(|held| held.year == year && is_of(&held.template))
        .collect();
    // What of other years is kept under the same id says nothing of this year's.
    let kept: BTreeSet<&str> = reports.iter().map(|it| &*it.job_id).collect();
    let unkept = holdings.refused.iter().chain(&holdings.wrong);
    let mut unkept: BTreeMap<&str, &str> = unkept
        .filter(|it| !kept.contains(&*it.job_id))
        .map(|it| (&*it.job_id, &*it.why))
        .collect();
    let mut rows = Vec::new();
    let mut claimed = BTreeSet::new();
    for agency in agencies {
        let theirs: Vec<_> = reports
            .iter()
            .filter(|held| held.agency == agency.name || agency.aliases.contains(&held.agency))
            .collect();
        claimed.extend(theirs.iter().map(|held| &*held.agency));
        let refused: Vec<(String, String)> = agency
            .job_ids
            .iter()
            .filter_map(|id| Some((id.clone(), unkept.remove(&**id)?.to_owned())))
            .collect();
        let status = match (theirs.len(), refused.is_empty()) {
            (0, true) if !agency.expected => continue,
            (0, true) => Status::Missing,
            (0, false) => Status::Refused,
            (_, _) if !agency.expected => Status::Unlisted,
            (1, _) => Status::Reported,
            (_, _) => Status::Repeated,
        };
        let mut job_ids: Vec<String> = theirs.iter().map(|held| held.job_id.clone()).collect();
        job_ids.extend(refused.iter().map(|(id, _)| id.clone()));
        rows.push(Row {
            status,
            agency: agency.name.clone(),
            code: agency.code.clone(),
            fonds: agency.fonds.clone(),
            expected: agency.expected,
            job_ids,
            packages: theirs.iter().map(|held| held.bag.clone()).collect(),
            problems: refused.into_iter().map(|(_, why)| why).collect(),
        });
    }
    let row = |status, agency: &str, job_id: &str, package: Option<&str>, why: Option<&str>| Row {
        status,
        agency: agency.to_owned(),
        code: String::new(),
        fonds: String::new(),
        expected: false,
        job_ids: vec![job_id.to_owned()],
        packages: package.map(str::to_owned).into_iter().collect(),
        problems: why.map(str::to_owned).into_iter().collect(),
    };
    let unlisted = reports.iter().filter(|it| !claimed.contains(&*it.agency));
    rows.extend(unlisted.map(|it| {
        let (agency, job_id) = (&it.agency, &it.job_id);
        row(Status::Unlisted, agency, job_id, Some(&it.bag), None)
    }));
    let unkept = unkept.into_iter();
    rows.extend(unkept.map(|(job_id, why)| row(Status::Refused, "", job_id, None, Some(why))));
    rows
}

/// Whether every agency that is to report has.
pub fn is_complete(rows: &[Row]) -> bool {
    let open = [Status::Missing, Status::Refused];
    !rows
        .iter()
        .any(|row| row.expected && open.contains(&row.status))
}

#[cfg(test)]
mod tests {
    use super::super::{Held, Unkept};
    use super::*;

    fn held(agency: &str, job_id: &str) -> Held {
        Held {
            template: "annual-report/2021".to_owned(),
            year: 2024,
            job_id: job_id.to_owned(),
            agency: agency.to_owned(),
            bag: "annual-report-2024-0001".to_owned(),
        }
    }

    fn unkept(job_id: &str, why: &str) -> Unkept {
        Unkept {
            job_id: job_id.to_owned(),
            why: why.to_owned(),
        }
    }

    #[test]
    fn who_has_reported_is_told_by_name_and_alias_and_by_job_where_none_was_kept() {
        let roster = "\u{feff}机构名称,别名,应报,任务编号,备注\n\
                      甲局,甲委；旧甲局,,,\n\
                      乙局,,是,,x\n\
                      丙局,,是,c-1,\n\
                      丁局,,否,,\n\
                      戊局,,,e-1;e-2,\n";
        let agencies = read(roster.as_bytes()).unwrap();
        let mut old = held("乙局", "b-0");
        old.year = 2023;
        let mut again = held("丙局", "c-1");
        again.year = 2023;
        let mut other = held("乙局", "b-1");
        other.template = "official-letter/letter".to_owned();
        let holdings = Holdings {
            reports: vec![
                held("旧甲局", "a-1"),
                held("甲局", "a-2"),
                held("戊局", "e-1"),
                held("己局", "f-1"),
                old,
                again,
                other,
            ],
            refused: vec![
                unkept("c-1", "R-ROW"),
                unkept("e-1", "E-SCHEMA"),
                unkept("g-1", "E-JSON"),
            ],
            wrong: Vec::new(),
        };
        let rows = compare(&agencies, &holdings, "annual-report", 2024);
        let said: Vec<String> = rows
            .iter()
            .map(|row| {
                let (_, status) = row.status.words();
                format!("{status} {} {}", row.agency, row.job_ids.join("+"))
            })
            .collect();
        let want = [
            "重复 甲局 a-1+a-2",
            "缺报 乙局 ",
            "未通过 丙局 c-1",
            "已报 戊局 e-1",
            "名册外 己局 f-1",
            "未通过  g-1",
        ];
        assert_eq!(said, want);
        assert_eq!(rows[2].problems, ["R-ROW"]);
        assert!(!is_complete(&rows));
        assert!(is_complete(&rows[3..]));
    }

    #[test]
    fn a_roster_that_is_wrong_says_where() {
        let why = |text: &str| read(text.as_bytes()).unwrap_err();
        assert!(why("机构\n甲局\n").contains("机构名称"));
        assert!(why("name\n甲局\n甲局\n").starts_with("line 3: 甲局 is in line 2"));
        assert!(why("name,expected\n甲局,maybe\n").starts_with("line 2: expected"));
        assert!(why("name,code\n,1\n").starts_with("line 2: there is no name"));
        assert!(read(b"name\n\xbc\xd7\n").unwrap_err().contains("UTF-8"));
    }
}

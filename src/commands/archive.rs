//! `banshi archive`: reports into packages that can be handed over, and the packages' audit.

use std::path::Path;

use serde_json::json;

use super::files::read_file;
use super::output::{as_it_is, json as print_json, line, or_unread, print_stderr, progress};
use super::worker::signals;
use super::{ArchiveArgs, ArchiveCommand, Error, Exit, Format, Table, block_on};
use crate::archive::audit::{Archive, Audited, Kind};
use crate::archive::roster::{self, Row, Status};
use crate::archive::{self, Options, Outcome};
use crate::config::Settings;
use crate::escape;

pub fn archive(settings: &Settings, args: &ArchiveArgs) -> Result<Exit, Error> {
    if let Some(ArchiveCommand::Check { dir, format }) = &args.command {
        return check(dir, *format);
    }
    let Some(dir) = args.dir.clone() else {
        return Err(Error::Usage("name the archive's folder".to_owned()));
    };
    let agencies = match &args.expect {
        None => None,
        Some(file) => Some(
            roster::read(&read_file(file)?)
                .map_err(|why| Error::Usage(format!("the roster {}: {why}", file.display())))?,
        ),
    };
    let mut settings = settings.clone();
    if let Some(spool) = &args.spool {
        settings.queue.url = format!("spool:{}", spool.display());
    }
    let options = Options {
        dir,
        verify: args.verify,
        once: args.once,
        close: args.close,
        max_reports: args.max_reports,
    };
    let outcome = block_on(async {
        let (shutdown, mut signals) = signals()?;
        tokio::select! {
            outcome = archive::run(&settings, &options, shutdown) => Ok(Some(outcome?)),
            // Leaving at once loses nothing: the next start goes on from the journal.
            Some(_) = signals.join_next() => Ok(None),
        }
    })?;
    let Some(outcome) = outcome else {
        return Ok(Exit::Done);
    };
    let complete = match (&agencies, args.year) {
        (Some(agencies), Some(year)) => {
            let rows = roster::compare(agencies, &outcome.holdings, &args.template, year);
            print_stderr(summary(&outcome, &options.dir));
            or_unread(print_rows(&rows, args.format))?;
            roster::is_complete(&rows)
        }
        _ => {
            or_unread(match args.format {
                Table::Json => print_json(&as_json(&outcome)),
                Table::Text | Table::Csv => line(summary(&outcome, &options.dir)),
            })?;
            true
        }
    };
    for wrong in &outcome.holdings.wrong {
        let (job_id, why) = (escape::id(&wrong.job_id), &wrong.why);
        print_stderr(format_args!("{job_id}: not archived 未归档: {why}"));
    }
    Ok(match complete && outcome.holdings.wrong.is_empty() {
        true => Exit::Done,
        false => Exit::JobAtFault,
    })
}

fn summary(outcome: &Outcome, dir: &Path) -> String {
    let Outcome {
        new,
        listed,
        holdings,
    } = outcome;
    let (all, refused, wrong) = (
        holdings.reports.len(),
        holdings.refused.len(),
        holdings.wrong.len(),
    );
    let listed = match listed {
        true => "; the store was listed 已清点存储",
        false => "",
    };
    format!(
        "{}: {new} new reports 新归档, {all} in all 共存; {refused} jobs refused or failed 未通过; \
         {wrong} not archived 未归档{listed}",
        dir.display()
    )
}

fn as_json(outcome: &Outcome) -> serde_json::Value {
    let holdings = &outcome.holdings;
    let unkept = |all: &[archive::Unkept]| {
        let each = all
            .iter()
            .map(|it| json!({ "job_id": it.job_id, "why": it.why }));
        each.collect::<Vec<_>>()
    };
    json!({
        "new": outcome.new,
        "reports": holdings.reports.len(),
        "store_listed": outcome.listed,
        "refused": unkept(&holdings.refused),
        "wrong": unkept(&holdings.wrong),
    })
}

/// A line for each agency and each report that nobody expected; of text and JSON the counts last.
fn print_rows(rows: &[Row], format: Table) -> std::io::Result<()> {
    let expected = rows.iter().filter(|row| row.expected).count();
    let counts = Status::ALL.map(|status| {
        let count = rows.iter().filter(|row| row.status == status).count();
        (status, count)
    });
    match format {
        Table::Text => {
            for row in rows {
                let (status, status_zh) = row.status.words();
                let lists = [&row.job_ids, &row.packages, &row.problems];
                let lists = lists.map(|list| list.join(", "));
                let parts = [&row.agency].into_iter().chain(&lists);
                let parts: Vec<&str> = parts
                    .map(String::as_str)
                    .filter(|part| !part.is_empty())
                    .collect();
                line(format_args!("{status_zh} {status}: {}", parts.join("  ")))?;
            }
            let counts = counts.map(|(status, count)| format!("{} {count}", status.words().1));
            line(format_args!("应报 {expected}  {}", counts.join("  ")))
        }
        Table::Json => {
            for row in rows {
                print_json(row)?;
            }
            let mut all = json!({ "expected": expected });
            for (status, count) in counts {
                all[status.words().0] = json!(count);
            }
            print_json(&json!({ "counts": all }))
        }
        Table::Csv => as_it_is(&csv(rows)?),
    }
}

/// The same as a spreadsheet reads it: with the mark that says that it is UTF-8.
fn csv(rows: &[Row]) -> std::io::Result<Vec<u8>> {
    let mut table = csv::Writer::from_writer(b"\xef\xbb\xbf".to_vec());
    let heads = [
        "状态",
        "机构名称",
        "机构代码",
        "全宗号",
        "任务编号",
        "归档包",
        "问题",
    ];
    table.write_record(heads)?;
    for row in rows {
        let [job_ids, packages, problems] =
            [&row.job_ids, &row.packages, &row.problems].map(|list| list.join("; "));
        let cells = [
            row.status.words().1,
            &row.agency,
            &row.code,
            &row.fonds,
            &job_ids,
            &packages,
            &problems,
        ];
        table.write_record(cells)?;
    }
    table.into_inner().map_err(|error| error.into_error())
}

/// Every file of every package against its manifests.
fn check(dir: &Path, format: Format) -> Result<Exit, Error> {
    let archive = Archive::open(dir)?;
    let bar = progress(archive.size(), "files");
    let audited = archive.audit(|| bar.inc(1));
    bar.finish_and_clear();
    for package in &audited {
        or_unread(match format {
            Format::Text => print_package(package),
            Format::Json => print_json(package),
        })?;
    }
    let faults = || audited.iter().flat_map(|package| &package.faults);
    Ok(match faults().next() {
        None => Exit::Done,
        Some(_) if faults().any(|fault| fault.kind == Kind::Unreadable) => Exit::Environment,
        Some(_) => Exit::JobAtFault,
    })
}

fn print_package(package: &Audited) -> std::io::Result<()> {
    let Audited {
        package: name,
        open,
        busy,
        files,
        bytes,
        faults,
    } = package;
    if *busy {
        return line(format_args!(
            "{name}: being filled, not looked at 正在归档，未检查"
        ));
    }
    let verdict = match faults.len() {
        0 => "good 完好".to_owned(),
        count => format!("{count} FAULTS 有误"),
    };
    let open = match open {
        true => ", still open 未封包",
        false => "",
    };
    line(format_args!(
        "{name}: {verdict}; {files} files, {bytes} bytes as they were kept{open}"
    ))?;
    for fault in faults {
        let (kind, kind_zh) = fault.kind.words();
        let why = match fault.why.as_str() {
            "" => String::new(),
            why => format!(": {why}"),
        };
        line(format_args!("    {kind} {kind_zh} {}{why}", fault.path))?;
    }
    Ok(())
}

//! `banshi merge`: departments' reports added up into the county's.

use std::io::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use super::files::{read_file, write_file};
use super::output::{as_it_is, json as print_json, line, print_stderr};
use super::{Error, Exit, Format, MergeArgs};
use crate::config::Settings;
use crate::escape;
use crate::merge::{County, Finding, Merged, Own, Part, compare, merge as add_up};
use crate::typesetter::Templates;

pub fn merge(settings: &Settings, args: &MergeArgs) -> Result<Exit, Error> {
    let editions = Templates::load(settings.templates.folder())?.forms();
    let (mut parts, mut unread) = (Vec::new(), false);
    let mut read = |path: &Path| match read_file(path) {
        Ok(bytes) => {
            let file = path.display().to_string();
            Some(Part::read(&file, &bytes, &settings.limits, &editions))
        }
        Err(outage) => {
            unread = true;
            print_stderr(format_args!("banshi: {}", outage.reason()));
            None
        }
    };
    for path in &args.reports {
        parts.extend(read(path));
    }
    let other = args.agree.as_deref().and_then(&mut read);
    if unread {
        // The sum of what is left would be somebody else's.
        return Ok(Exit::Environment);
    }
    let agency = args.agency.as_deref();
    let agency = agency.or_else(|| other.as_ref().map(Part::agency));
    let own = Own {
        agency: agency.unwrap_or_default(),
        job_id: args.job_id.as_deref(),
    };
    let Merged {
        county,
        mut findings,
    } = add_up(&parts, own, &settings.limits, &editions);
    if let Some(other) = &other {
        findings.extend(other.findings().iter().cloned());
        if let Some(county) = &county {
            findings.extend(compare(county, other));
        }
    }
    let at_fault = findings.iter().any(|finding| finding.blocks);
    if let (Some(county), Some(path)) = (&county, &args.output) {
        write_file(path, &pretty(&county.job))?;
    }
    if let (Some(county), Some(path)) = (&county, &args.parts) {
        write_file(path, &pretty(&county.parts(&parts)))?;
    }
    match args.format {
        Format::Json => print_json(&answer(args, county.as_ref(), &parts, &findings, at_fault))?,
        Format::Text => print(args, county.as_ref(), &parts, &findings)?,
    }
    Ok(match at_fault {
        true => Exit::JobAtFault,
        false => Exit::Done,
    })
}

fn pretty(value: &Value) -> Vec<u8> {
    format!("{value:#}\n").into_bytes()
}

/// Whether the county's job is asked for on standard output.
fn is_wanted(args: &MergeArgs) -> bool {
    args.output.is_none() && args.agree.is_none()
}

fn print(
    args: &MergeArgs,
    county: Option<&County>,
    parts: &[Part],
    findings: &[Finding],
) -> Result<(), Error> {
    let mut told = String::new();
    for finding in findings {
        let Finding {
            file,
            agency,
            code,
            path,
            message,
            message_zh,
            ..
        } = finding;
        let place = match (file.as_str(), agency.as_str()) {
            ("", agency) => agency.to_owned(),
            (file, "") => file.to_owned(),
            (file, agency) => format!("{file} ({agency})"),
        };
        let path = if path.is_empty() { "/" } else { path };
        let (place, path) = (escape::text(&place), escape::text(path));
        let (message, message_zh) = (escape::text(message), escape::text(message_zh));
        told += &format!("{place}: {code} {path}: {message}\n    {message_zh}\n");
    }
    let Some(county) = county else {
        told +=
            "banshi: nothing is added up before this is mended\n    请先改正以上问题，再行汇总\n";
        print_told(&told);
        return Ok(());
    };
    if args.agree.is_none() || args.output.is_some() {
        for left in &county.left {
            let (path, label) = (escape::text(&left.path), escape::text(&left.label));
            let (message, message_zh) = (&left.message, &left.message_zh);
            told += &format!("left {path}: 「{label}」 {message}\n    {message_zh}\n");
        }
    }
    print_told(&told);
    let count = parts.len();
    if is_wanted(args) {
        as_it_is(&pretty(&county.job))?;
    }
    if let Some(path) = &args.output {
        let name = path.display();
        line(format_args!("wrote {name}: {count} reports added up"))?;
    }
    if let Some(path) = &args.parts {
        line(format_args!(
            "wrote {}: the parts by digest",
            path.display()
        ))?;
    }
    if let Some(path) = &args.agree {
        let (name, differ) = (
            path.display(),
            findings.iter().filter(|it| it.code == "differs").count(),
        );
        line(match differ {
            0 => format!("{name}: agrees with the sum of {count} reports 与{count}份报告之和一致"),
            _ => format!("{name}: differs in {differ} places 有{differ}处不一致"),
        })?;
    }
    Ok(())
}

/// On standard error, at once: there may be thousands of lines.
fn print_told(told: &str) {
    drop(std::io::stderr().lock().write_all(told.as_bytes()));
}

fn answer(
    args: &MergeArgs,
    county: Option<&County>,
    parts: &[Part],
    findings: &[Finding],
    at_fault: bool,
) -> Value {
    let mut answer = json!({
        "ok": !at_fault,
        "reports": parts.len(),
        "findings": findings,
    });
    if let Some(county) = county {
        answer["merged"] = county.parts(parts);
        answer["left"] = json!(county.left);
        if is_wanted(args) {
            answer["job"] = county.job.clone();
        }
    }
    answer
}

//! `banshi doctor`: whether a worker would work here, and what to do where it would not.
//!
//! Each check is a line, printed when it is done. What is written or sent to find out is removed
//! again, or refused by the other side in any case.

mod broker;
mod fonts;
mod machine;
mod places;
mod signer;

use std::collections::BTreeSet;

use serde::Serialize;

use super::output::{as_it_is, json, or_unread};
use super::{DoctorArgs, Error, Exit, Format, block_on};
use crate::config::{ConfigError, Setting, Settings};
use crate::escape;
use crate::problem::Outage;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    /// As it must be.
    Ok,
    /// A worker works, and not as well or as safely as it could.
    Warn,
    /// A worker does not work.
    Fail,
}

/// What a check found.
#[derive(Debug, Serialize)]
struct Finding<'a> {
    check: &'a str,
    status: Status,
    /// What was found, and what to do.
    message: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    message_zh: String,
}

/// Prints findings as they come, and keeps the worst.
struct Report {
    format: Format,
    worst: Status,
}

impl Report {
    fn new(format: Format) -> Report {
        let worst = Status::Ok;
        Report { format, worst }
    }

    fn ok(&mut self, check: &str, message: impl Into<String>) -> Result<(), Error> {
        self.add(check, Status::Ok, message.into(), String::new())
    }

    fn warn(
        &mut self,
        check: &str,
        message: impl Into<String>,
        message_zh: impl Into<String>,
    ) -> Result<(), Error> {
        self.add(check, Status::Warn, message.into(), message_zh.into())
    }

    fn fail(
        &mut self,
        check: &str,
        message: impl Into<String>,
        message_zh: impl Into<String>,
    ) -> Result<(), Error> {
        self.add(check, Status::Fail, message.into(), message_zh.into())
    }

    /// A part that is out. What it says has the fix.
    fn out(&mut self, check: &str, outage: &Outage, message_zh: &str) -> Result<(), Error> {
        self.fail(check, outage.reason(), message_zh)
    }

    fn add(
        &mut self,
        check: &str,
        status: Status,
        message: String,
        message_zh: String,
    ) -> Result<(), Error> {
        self.worst = self.worst.max(status);
        if self.format == Format::Json {
            return or_unread(json(&Finding {
                check,
                status,
                message,
                message_zh,
            }));
        }
        let word = match status {
            Status::Ok => "ok",
            Status::Warn => "warn",
            Status::Fail => "fail",
        };
        let mut text = format!("{word:<4}  {check:<22}  {message}");
        if !message_zh.is_empty() {
            text.push('\n');
            text.push_str(&message_zh);
        }
        or_unread(as_it_is(format!("{}\n", escape::lines(&text)).as_bytes()))
    }

    /// How the command ends.
    fn exit(&self, args: &DoctorArgs) -> Exit {
        match self.worst {
            Status::Fail => Exit::Environment,
            Status::Warn if args.strict => Exit::JobAtFault,
            Status::Warn | Status::Ok => Exit::Done,
        }
    }
}

/// Looks at everything that a worker with these settings needs.
pub fn doctor(settings: &Settings, all: &[Setting], args: &DoctorArgs) -> Result<Exit, Error> {
    let text = args.text.as_deref().map(fonts::Text::read).transpose()?;
    let mut report = Report::new(args.format);
    report.ok("settings", sources(all))?;
    machine::clock(&mut report)?;
    block_on(async {
        match settings.queue.url.strip_prefix("spool:") {
            Some(dir) => places::spool(&mut report, dir).await?,
            None => broker::broker(&mut report, settings).await?,
        }
        places::store(&mut report, &settings.store).await?;
        signer::signer(&mut report, &settings.sign).await?;
        if fonts::fonts(&mut report, settings, text.as_ref())? {
            machine::typesetter(&mut report, settings).await?;
        }
        machine::limits(&mut report, settings)
    })?;
    Ok(report.exit(args))
}

/// Settings that are wrong: nothing else can be looked at.
pub fn unreadable(error: &ConfigError, args: &DoctorArgs) -> Result<Exit, Error> {
    let mut report = Report::new(args.format);
    let message = format!("{error}\n  The settings and their defaults: docs/configuration.md");
    report.fail(
        "settings",
        message,
        "配置有误，请按上述各行修改；配置项及默认值见 docs/configuration.md",
    )?;
    Ok(report.exit(args))
}

/// Where the settings come from, in one line.
fn sources(all: &[Setting]) -> String {
    let settings = || all.iter().filter(|setting| setting.key.contains('.'));
    let mut parts = Vec::new();
    let variables = settings().filter(|setting| setting.source.starts_with("BANSHI__"));
    let variables = variables.count();
    let files: BTreeSet<&str> = settings()
        .map(|setting| setting.source.as_str())
        .filter(|source| *source != "default" && !source.starts_with("BANSHI__"))
        .collect();
    for file in files {
        let count = settings().filter(|setting| setting.source == file).count();
        parts.push(format!("{count} from {file}"));
    }
    if variables > 0 {
        parts.push(format!("{variables} from the environment"));
    }
    match parts.is_empty() {
        true => "all are the defaults (banshi config shows them)".to_owned(),
        false => format!(
            "{}; the rest are the defaults (banshi config shows them)",
            parts.join(", ")
        ),
    }
}

/// A number of bytes, for people.
fn size(bytes: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("TiB", 40), ("GiB", 30), ("MiB", 20)];
    let unit = UNITS.into_iter().find(|(_, shift)| bytes >> shift >= 10);
    let (unit, shift) = unit.unwrap_or(("MiB", 20));
    format!("{} {unit}", bytes >> shift)
}

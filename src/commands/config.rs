//! `banshi config`: the settings in force, and where each comes from.

use std::fmt::Write as _;

use super::output::{as_it_is, line};
use super::{ConfigArgs, Error, Exit, Listing};
use crate::config::Setting;

/// What stands over the variables, in the place of a section.
const VARIABLES: &str = "# The variables for the store, which are read from the environment alone:";

pub fn config(settings: &[Setting], args: &ConfigArgs) -> Result<Exit, Error> {
    if args.format == Listing::Json {
        let list = serde_json::to_string_pretty(settings).map_err(std::io::Error::from)?;
        as_it_is(format!("{list}\n").as_bytes())?;
        return Ok(Exit::Done);
    }
    let mut within = String::new();
    for Setting { key, value, source } in settings {
        // A variable of the environment has no place in the file.
        let (heading, entry) = match key.rsplit_once('.') {
            Some((section, name)) => (
                format!("[{section}]"),
                format!("{name} = {}  # {source}", toml(value)),
            ),
            None => (VARIABLES.to_owned(), format!("# {key} = {}", toml(value))),
        };
        if within != heading {
            if !within.is_empty() {
                line("")?;
            }
            line(&heading)?;
            within = heading;
        }
        line(entry)?;
    }
    Ok(Exit::Done)
}

/// A value as TOML has it: for texts, numbers and lists of texts that is how JSON has it, but for
/// the characters that neither TOML nor a terminal should meet.
fn toml(value: &serde_json::Value) -> String {
    let mut toml = String::new();
    for c in value.to_string().chars() {
        match c {
            '\u{7f}'..='\u{9f}'
            | '\u{61c}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}' => {
                write!(toml, "\\u{:04X}", u32::from(c)).unwrap_or_default();
            }
            c => toml.push(c),
        }
    }
    toml
}

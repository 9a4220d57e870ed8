//! What the commands print.
//!
//! Takes text, prints it: on standard output what was asked for, on standard error what is said
//! about it. Whatever text it is, a terminal shows it and does not obey it. Standard output that
//! cannot be written to is an error; standard error is not, since nobody is left to hear of it,
//! and the exit code is to stay what it is.

use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write as _};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::Error;
use crate::escape;

/// A line on standard output.
pub(super) fn line(text: impl Display) -> io::Result<()> {
    let text = text.to_string();
    as_it_is(format!("{}\n", escape::text(&text)).as_bytes())
}

/// A bar on standard error, when that is a terminal.
pub(super) fn progress(length: u64, of: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} {msg}, {eta} left");
    let style = style.expect("the template is well formed");
    ProgressBar::new(length).with_style(style).with_message(of)
}

/// A line of JSON.
pub(super) fn json(value: &impl Serialize) -> io::Result<()> {
    let line = serde_json::to_string(value)?;
    as_it_is(format!("{line}\n").as_bytes())
}

/// Bytes that somebody else wrote: as they are into a file or a pipe, as text on a terminal.
pub(super) fn foreign(bytes: &[u8]) -> io::Result<()> {
    if !io::stdout().is_terminal() {
        return as_it_is(bytes);
    }
    for line in String::from_utf8_lossy(bytes).split_inclusive('\n') {
        let end = line.strip_suffix('\n').map_or("", |_| "\n");
        let text = line.trim_end_matches('\n');
        as_it_is(format!("{}{end}", escape::text(text)).as_bytes())?;
    }
    Ok(())
}

/// Bytes of our own. Written when this returns, and not kept for the end, when nobody would hear
/// that it failed.
pub(super) fn as_it_is(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

/// A line on standard error, if anybody reads it.
pub(super) fn print_stderr(text: impl Display) {
    let text = format!("{}\n", escape::lines(&text.to_string()));
    drop(io::stderr().lock().write_all(text.as_bytes()));
}

/// What is printed by a command whose exit code is an answer too: that is due even when nobody
/// reads the lines any more, as in `banshi check *.json | head -1`.
pub(super) fn or_unread(printed: io::Result<()>) -> Result<(), Error> {
    match printed {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        printed => Ok(printed?),
    }
}

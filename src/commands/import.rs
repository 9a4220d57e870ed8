//! `banshi import`: what is published already, back as a job.

use super::files::{read_up_to, write_file};
use super::output::{as_it_is, line, or_unread, print_stderr};
use super::{Error, Exit, ImportArgs};
use crate::config::Settings;
use crate::import::{self, LARGEST, Reading, RemarkKind, Taken, Unusable};
use crate::typesetter::Templates;

pub fn import(settings: &Settings, args: &ImportArgs) -> Result<Exit, Error> {
    let editions = Templates::load(settings.templates.folder())?.forms();
    let bytes = read_up_to(&args.file, LARGEST + 1)?;
    let stem = args.file.file_stem().and_then(|stem| stem.to_str());
    let read = import::read(&bytes, args.job_id.as_deref(), stem, &editions);
    let Reading { imported, taken } = match read {
        Ok(reading) => reading,
        Err(Unusable { en, zh }) => {
            let name = args.file.display();
            print_stderr(format_args!("{name}: {en}\n    {zh}"));
            return Ok(Exit::Unusable);
        }
    };
    if args.explain {
        explain(&taken);
    }
    for remark in &imported.remarks {
        let kind = match remark.kind {
            RemarkKind::Unread => "unread",
            RemarkKind::Assumed => "assumed",
        };
        let (place, en, zh) = (&remark.place, &remark.en, &remark.zh);
        print_stderr(format_args!("{kind} {place}: {en}\n    {zh}"));
    }
    let text = import::text(&imported.job, &editions);
    match &args.output {
        Some(path) => {
            write_file(path, text.as_bytes())?;
            line(format_args!("wrote {}", path.display()))?;
        }
        None => or_unread(as_it_is(text.as_bytes()))?,
    }
    Ok(match imported.remarks.is_empty() {
        true => Exit::Done,
        false => Exit::JobAtFault,
    })
}

/// Prints what was read, a line each: place, pointer, the form's words, text.
fn explain(taken: &[Taken]) {
    const MOST: usize = 60;
    for Taken {
        place,
        pointer,
        label,
        text,
    } in taken
    {
        let text = match text.char_indices().nth(MOST) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text.clone(),
        };
        print_stderr(match pointer.is_empty() {
            true => format!("left out 未取 {place}: {text}"),
            false => format!("read 已读 {place}: {pointer} {label} {text}"),
        });
    }
}

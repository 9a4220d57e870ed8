//! `banshi templates` and `banshi fonts`: what this build can set, and with what.

use super::output::{as_it_is, line, or_unread};
use super::package;
use super::{Error, Exit, FontsArgs, TemplatesArgs, TemplatesCommand};
use crate::config::Settings;
use crate::report::{describe, schema};
use crate::typesetter::{Fonts, Templates};

pub fn templates(settings: &Settings, args: &TemplatesArgs) -> Result<Exit, Error> {
    match &args.command {
        Some(TemplatesCommand::New { dir }) => return package::new(settings, dir),
        Some(TemplatesCommand::Check { dir, watch }) => {
            return package::check(settings, dir, *watch);
        }
        None => {}
    }
    let templates = Templates::load(settings.templates.folder())?;
    let forms = templates.forms();
    let Some(name) = &args.name else {
        let embedded = Templates::load(None)?;
        for edition in templates.editions() {
            let form = &forms[&edition.name];
            let other = match embedded.edition(&edition.name) {
                Some(own) if own.sha256 == edition.sha256 => "",
                Some(_) => "  changed by templates.dir",
                None => "  from templates.dir",
            };
            let (from, to) = (form.years.start(), form.years.end());
            let (name, version, notice) = (&edition.name, &edition.version, &form.notice);
            line(format_args!(
                "{name}  version {version}  years {from}-{to}  {notice}{other}"
            ))?;
        }
        return Ok(Exit::Done);
    };
    let (Some(edition), Some(form)) = (templates.edition(name), forms.get(name)) else {
        let known: Vec<&str> = forms.keys().map(String::as_str).collect();
        let known = known.join(", ");
        return Err(Error::Usage(format!(
            "there is no template {name}; there are: {known}"
        )));
    };
    if args.schema {
        let schema = serde_json::to_string_pretty(&schema::schema(name, form));
        as_it_is(format!("{}\n", schema.expect("a schema is plain JSON")).as_bytes())?;
    } else if args.describe {
        as_it_is(describe::describe(name, form).as_bytes())?;
    } else if args.sample {
        as_it_is(templates.sample(edition)?)?;
    } else {
        let (version, sha256) = (&edition.version, &edition.sha256);
        line(name)?;
        line(format_args!("  version  {version}"))?;
        line(format_args!("  sha256   {sha256}"))?;
        line(format_args!("  notice   {}", form.notice))?;
        line(
            "  --schema prints the JSON Schema of its jobs, --sample a job, --describe its fields and \
             rules",
        )?;
    }
    Ok(Exit::Done)
}

pub fn fonts(settings: &Settings, args: &FontsArgs) -> Result<Exit, Error> {
    let fonts = Fonts::load(&settings.fonts)?;
    if let Some(text) = &args.text {
        let mut missing = false;
        for c in text.chars() {
            let code = u32::from(c);
            let face = fonts.face_of(c);
            missing |= face.is_none();
            let face = face.unwrap_or("no face draws it: E-GLYPH");
            or_unread(line(format_args!("{c}  U+{code:04X}  {face}")))?;
        }
        return Ok(if missing {
            Exit::JobAtFault
        } else {
            Exit::Done
        });
    }
    for role in fonts.roles() {
        let (key, what, family, file) = (role.key, role.what, &role.family, role.file.display());
        let covered = fonts.coverage(family);
        line(format_args!("{key:<9} {what}  {family}"))?;
        line(format_args!("          {file}"))?;
        for (set, share) in covered {
            line(format_args!("          {set}: {share}"))?;
        }
    }
    line(format_args!("sha256 of all faces: {}", fonts.sha256()))?;
    Ok(Exit::Done)
}

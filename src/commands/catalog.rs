//! `banshi templates` and `banshi fonts`: what this build can set, and with what.

use std::io::Write as _;

use super::{Error, Exit, FontsArgs, TemplatesArgs};
use crate::config::Settings;
use crate::report::schema;
use crate::typesetter::{Fonts, Templates};

pub fn templates(settings: &Settings, args: &TemplatesArgs) -> Result<Exit, Error> {
    let templates = Templates::load(settings.templates.folder())?;
    let forms = templates.forms()?;
    let mut out = std::io::stdout();
    let Some(name) = &args.name else {
        for edition in templates.editions() {
            let form = forms[&edition.name];
            let (from, to) = (form.years.start(), form.years.end());
            let (name, version, notice) = (&edition.name, &edition.version, form.notice);
            writeln!(
                out,
                "{name}  version {version}  years {from}-{to}  {notice}"
            )?;
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
        writeln!(out, "{}", schema.expect("a schema is plain JSON"))?;
    } else if args.sample {
        out.write_all(templates.sample(edition)?)?;
    } else {
        let (version, sha256) = (&edition.version, &edition.sha256);
        writeln!(
            out,
            "{name}\n  version  {version}\n  sha256   {sha256}\n  notice   {}",
            form.notice
        )?;
        writeln!(
            out,
            "  --schema prints the JSON Schema of its jobs, --sample a job"
        )?;
    }
    Ok(Exit::Done)
}

pub fn fonts(settings: &Settings, args: &FontsArgs) -> Result<Exit, Error> {
    let fonts = Fonts::load(&settings.fonts)?;
    let mut out = std::io::stdout();
    if let Some(text) = &args.text {
        let mut missing = false;
        for c in text.chars() {
            let code = u32::from(c);
            match fonts.face_of(c) {
                Some(face) => writeln!(out, "{c}  U+{code:04X}  {face}")?,
                None => {
                    missing = true;
                    writeln!(out, "{c}  U+{code:04X}  no face draws it: E-GLYPH")?;
                }
            }
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
        writeln!(out, "{key:<9} {what}  {family}")?;
        writeln!(out, "          {file}")?;
        for (set, share) in covered {
            writeln!(out, "          {set}: {share}")?;
        }
    }
    writeln!(out, "sha256 of all faces: {}", fonts.sha256())?;
    Ok(Exit::Done)
}

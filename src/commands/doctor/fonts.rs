//! The faces and templates, and whether they draw the agency's own texts.

use std::collections::BTreeSet;
use std::path::Path;

use super::Report;
use crate::commands::Error;
use crate::commands::files::read_file;
use crate::config::Settings;
use crate::typesetter::{Fonts, Templates};

/// Characters that are named in one line at most.
const NAMED: usize = 20;

/// Characters that the faces must draw, and where they stand.
pub(super) struct Text {
    characters: BTreeSet<char>,
    from: String,
}

impl Text {
    /// Of a file, when there is one of that name; else of the text itself.
    pub(super) fn read(argument: &str) -> Result<Text, Error> {
        let path = Path::new(argument);
        if !path.is_file() {
            let named = argument.is_ascii() && argument.contains(['.', '/']);
            if named && !argument.contains(' ') {
                return Err(Error::Usage(format!(
                    "--text: there is no file {argument}; text that looks like a file's name needs \
                     a space in it"
                )));
            }
            return Ok(Text::of(argument, "the text".to_owned()));
        }
        let bytes = read_file(path)?;
        let Ok(text) = String::from_utf8(bytes) else {
            return Err(Error::Usage(format!(
                "--text: {argument} is not UTF-8; save it as UTF-8"
            )));
        };
        let mut strings = String::new();
        match serde_json::from_str(text.trim_start_matches('\u{feff}')) {
            Ok(value) => collect(&value, &mut strings),
            Err(_) => strings = text,
        }
        Ok(Text::of(&strings, argument.to_owned()))
    }

    fn of(text: &str, from: String) -> Text {
        let drawn = |c: &char| !c.is_whitespace() && !c.is_control();
        Text {
            characters: text.chars().filter(drawn).collect(),
            from,
        }
    }
}

/// Every text of a JSON value. Its names are not on the page.
fn collect(value: &serde_json::Value, into: &mut String) {
    match value {
        serde_json::Value::String(text) => into.push_str(text),
        serde_json::Value::Array(list) => list.iter().for_each(|value| collect(value, into)),
        serde_json::Value::Object(map) => map.values().for_each(|value| collect(value, into)),
        _ => {}
    }
}

/// Whether a typesetter has what it needs.
pub(super) fn fonts(
    report: &mut Report,
    settings: &Settings,
    text: Option<&Text>,
) -> Result<bool, Error> {
    let templates = match Templates::load(settings.templates.folder()) {
        Ok(templates) => {
            let count = templates.editions().count();
            let from = match settings.templates.folder() {
                Some(folder) => format!("with those of {}", folder.display()),
                None => "those of this build".to_owned(),
            };
            report.ok("templates", format!("{count} editions, {from}"))?;
            true
        }
        Err(outage) => {
            report.out(
                "templates",
                &outage,
                "模板有误：请按上文修改 templates.dir 中的文件",
            )?;
            false
        }
    };
    let fonts = match Fonts::load(&settings.fonts) {
        Ok(fonts) => fonts,
        Err(outage) => {
            report.out(
                "fonts",
                &outage,
                "缺少字体：请把所缺字体放入 fonts.dir，或在 fonts.roles 中指定现有的字体",
            )?;
            return Ok(false);
        }
    };
    let roles: Vec<_> = fonts
        .roles()
        .map(|role| format!("{} {}", role.key, role.family))
        .collect();
    let rare = match fonts.roles().any(|role| role.key == "fallback") {
        true => "",
        false => "; none for rare characters (fallback), which are then refused",
    };
    report.ok("fonts", format!("{}{rare}", roles.join(", ")))?;
    if let Some(text) = text {
        coverage(report, &fonts, text)?;
    }
    Ok(templates)
}

fn coverage(report: &mut Report, fonts: &Fonts, text: &Text) -> Result<(), Error> {
    const CHECK: &str = "fonts.text";
    let missing: Vec<_> = text
        .characters
        .iter()
        .filter(|&&c| !fonts.covers(c))
        .collect();
    let (all, from) = (text.characters.len(), &text.from);
    if missing.is_empty() {
        return report.ok(CHECK, format!("all {all} different characters of {from}"));
    }
    let count = missing.len();
    let named: Vec<_> = missing
        .iter()
        .take(NAMED)
        .map(|&&c| format!("{c} (U+{:04X})", u32::from(c)))
        .collect();
    let (named, more) = (named.join(" "), if count > NAMED { " …" } else { "" });
    report.fail(
        CHECK,
        format!(
            "no face draws {count} of the {all} different characters of {from}, and a job with one \
             is refused (E-GLYPH): {named}{more}. Add a face that has them to fonts.more and its \
             family to fonts.roles.fallback"
        ),
        format!(
            "{from} 的 {all} 个不同字符中有 {count} 个没有字形：{named}{more}；请在 fonts.more \
             中增加含有这些字的字体，并列入 fonts.roles.fallback"
        ),
    )
}

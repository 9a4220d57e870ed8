//! A form as a page of Markdown, for those who fill it in: its fields, the official words for each
//! cell of its tables, and what its figures must keep.

use super::form::{CellKind, Entry, Field, FieldKind, Form, Holds, Piece, Rule};

/// The page of a form under this template name.
pub fn describe(template: &str, form: &Form) -> String {
    let (from, to) = (form.years.start(), form.years.end());
    let mut page = format!("# {template}\n\n{}, {from}–{to}.\n", form.notice);
    page.push_str("\n## Fields of `data`\n\n| field | what | holds |\n|---|---|---|\n");
    for field in &form.fields {
        let optional = if field.optional { ", optional" } else { "" };
        let (name, what) = (&field.field, field.description());
        page.push_str(&format!(
            "| `{name}`{optional} | {what} | {} |\n",
            holds(field)
        ));
    }
    for (field, table) in form.tables() {
        let (name, heading) = (&field.field, &field.label);
        page.push_str(&format!("\n## `{name}` {heading}\n\n```text\n"));
        entries(form, &table.entries, "", &mut page);
        page.push_str("```\n");
    }
    if !form.prior.is_empty() {
        page.push_str("\n## Fields of `prior`\n\n```text\n");
        entries(form, &form.prior, "", &mut page);
        page.push_str("```\n");
    }
    let texts: Vec<String> = form
        .text_rules()
        .map(|(field, rule)| {
            let told = rule.message[0].replace("{heading}", &field.label);
            format!("| `{}` | {} | |\n", rule.code, told.replace("{count}", "…"))
        })
        .collect();
    if !form.rules.is_empty() || !texts.is_empty() {
        page.push_str("\n## Rules\n\n| code | what is told | equation |\n|---|---|---|\n");
        for rule in &form.rules {
            let (code, equation) = (rule.code, &rule.equation);
            let table = rule.table.trim_start_matches('/');
            let below = if table.is_empty() {
                String::new()
            } else {
                format!(", below `{table}`")
            };
            let message = message(rule);
            let when = rule.condition.iter();
            let when: String = when.map(|when| format!(", when `{when}`")).collect();
            page.push_str(&format!(
                "| `{code}` | {message} | `{equation}`{below}{when} |\n"
            ));
        }
        page.push_str(&texts.concat());
    }
    page
}

fn holds(field: &Field) -> &'static str {
    match field.kind {
        FieldKind::Line => "a text on one line",
        FieldKind::Lines => "texts on one line each",
        FieldKind::Text => "a text, `\\n` are line breaks",
        FieldKind::Year => "a year",
        FieldKind::Date => "a date, `YYYY-MM-DD`",
        FieldKind::Blocks(_) => "paragraphs, headings and tables",
        FieldKind::Parts => "parts with `title` and `blocks`",
        FieldKind::Table(_) => "an official table, below",
    }
}

/// The names and the words of entries, a line each, by their depth.
fn entries(form: &Form, list: &[Entry], indent: &str, page: &mut String) {
    for entry in list {
        let optional = if entry.optional { " (optional)" } else { "" };
        let label = match entry.label.as_str() {
            "" => &entry.said,
            label => label,
        };
        let (name, label) = (&entry.field, label.replace('\n', ""));
        let (kind, inner) = match &entry.holds {
            Holds::Cell(cell) => (kind(&form.cells[*cell].kind), &[][..]),
            Holds::Entries(inner) => (String::new(), &inner[..]),
            // All are like the first.
            Holds::Rows(rows) => (
                ", an array of".to_owned(),
                rows.first().map_or(&[][..], Entry::entries),
            ),
        };
        page.push_str(&format!("{indent}{name}{optional}  {label}{kind}\n"));
        entries(form, inner, &format!("{indent}  "), page);
    }
}

fn kind(kind: &CellKind) -> String {
    match kind {
        CellKind::Count => String::new(),
        CellKind::Change => ", with its sign".to_owned(),
        CellKind::Money(unit) => format!(", in {unit}, sent without the unit"),
        CellKind::MoneyWithUnit(units) => format!(", sent with its unit: {}", units.join(", ")),
        CellKind::Percent => ", a percentage".to_owned(),
        CellKind::Text => ", a text".to_owned(),
        CellKind::Date => ", a date".to_owned(),
        CellKind::YesNo => ", true or false".to_owned(),
        CellKind::Choice(options) => format!(", one of {}", options.join(", ")),
    }
}

fn message(rule: &Rule) -> String {
    let [en, _] = &rule.message;
    let pieces = en.iter().map(|piece| match piece {
        Piece::Text(text) => text.as_str(),
        Piece::Row => "(row)",
        Piece::Column => "(column)",
        Piece::Side(_) | Piece::Term(..) => "…",
    });
    pieces.collect()
}

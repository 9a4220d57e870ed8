//! A job as text for people: its fields in the order of the form, which a JSON value does not keep.

use serde::Serialize;
use serde::ser::{SerializeMap as _, Serializer};
use serde_json::Value as Json;

use crate::report::Editions;
use crate::report::form::{Entry, FieldKind, Form};

/// A job, with a line for each of its fields.
pub fn text(job: &Json, editions: &Editions) -> String {
    let form = job["template"].as_str().and_then(|name| editions.get(name));
    let names = form.map_or(Names::Any, |form| Names::Job(form));
    let text = serde_json::to_string_pretty(&Ordered { value: job, names });
    text.expect("a job is plain data") + "\n"
}

/// A value, and what says in which order its fields stand.
struct Ordered<'a> {
    value: &'a Json,
    names: Names<'a>,
}

#[derive(Clone, Copy)]
enum Names<'a> {
    Job(&'a Form),
    Data(&'a Form),
    Entries(&'a [Entry]),
    Any,
}

impl<'a> Names<'a> {
    /// Where a field stands, and what orders those in it.
    fn of(self, name: &str) -> (usize, Names<'a>) {
        let place = |names: &[&str]| names.iter().position(|known| *known == name);
        match self {
            Names::Job(form) => {
                let at = place(&["job_id", "template", "data"]).unwrap_or(usize::MAX);
                let inner = match name {
                    "data" => Names::Data(form),
                    _ => Names::Any,
                };
                (at, inner)
            }
            Names::Data(form) => {
                let at = form.field(name);
                let inner = at.map_or(Names::Any, |at| match &form.fields[at].kind {
                    FieldKind::Table(table) => Names::Entries(&table.entries),
                    _ => Names::Any,
                });
                (at.unwrap_or(usize::MAX), inner)
            }
            Names::Entries(entries) => match entries.iter().position(|entry| entry.field == name) {
                Some(at) => (at + 1, Names::Entries(entries[at].entries())),
                None => (place(&["introduction"]).unwrap_or(usize::MAX), Names::Any),
            },
            Names::Any => (0, Names::Any),
        }
    }
}

impl Serialize for Ordered<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Json::Object(fields) = self.value else {
            return self.value.serialize(serializer);
        };
        let mut fields: Vec<_> = fields
            .iter()
            .map(|(name, value)| (self.names.of(name), name, value))
            .collect();
        fields.sort_by_key(|((at, _), name, _)| (*at, name.as_str()));
        let mut map = serializer.serialize_map(Some(fields.len()))?;
        for ((_, names), name, value) in fields {
            map.serialize_entry(name, &Ordered { value, names })?;
        }
        map.end()
    }
}

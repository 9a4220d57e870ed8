//! `banshi schema`: the contracts in standard formats.

use super::files::{make_folder, write_file};
use super::output::{as_it_is, line};
use super::{Contract, Error, Exit, SchemaArgs};
use crate::config::Settings;
use crate::contract::{self, Document};
use crate::typesetter::Templates;

pub fn schema(settings: &Settings, args: &SchemaArgs) -> Result<Exit, Error> {
    let templates = Templates::load(settings.templates.folder())?;
    let all = contract::all(&templates, &settings.queue.prefix);
    if let Some(folder) = &args.all {
        for Document { path, text } in &all {
            let path = folder.join(path);
            make_folder(path.parent().unwrap_or(folder))?;
            write_file(&path, text.as_bytes())?;
            line(format_args!("wrote {}", path.display()))?;
        }
        return Ok(Exit::Done);
    }
    let Some(contract) = args.contract else {
        for Document { path, .. } in &all {
            line(path)?;
        }
        return Ok(Exit::Done);
    };
    let file = match contract {
        Contract::Job => "job",
        Contract::Events => "event",
        Contract::Manifest => "manifest",
        Contract::Provenance => "provenance",
        Contract::Check => "check",
        Contract::Answer => "answer",
        Contract::Openapi => "openapi",
        Contract::Asyncapi => "asyncapi",
    };
    let path = match (contract, &args.name) {
        (Contract::Asyncapi | Contract::Openapi, None) => format!("{file}.json"),
        (_, None) => format!("{file}.schema.json"),
        (_, Some(name)) => format!("{file}/{name}.schema.json"),
    };
    let Some(document) = all.iter().find(|document| document.path == path) else {
        let folder = format!("{file}/");
        let known = all.iter().filter_map(|document| {
            let name = document.path.strip_prefix(&folder)?;
            name.strip_suffix(".schema.json")
        });
        let known: Vec<&str> = known.collect();
        let name = args.name.as_deref().unwrap_or_default();
        return Err(Error::Usage(match known.is_empty() {
            true => format!("there is one schema for all of these, and none for {name}"),
            false => format!(
                "there is no schema for {name}; there are: {}",
                known.join(", ")
            ),
        }));
    };
    as_it_is(document.text.as_bytes())?;
    Ok(Exit::Done)
}

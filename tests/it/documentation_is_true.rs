//! What the documentation repeats of the code is what the code says.

use banshi::problem::Code;

use crate::support::{editions, listed, repository};

fn text(path: &str) -> String {
    let path = repository(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_settings_are_documented_word_for_word() {
    let defaults = text("src/defaults.toml");
    let documented = text("docs/configuration.md");
    assert!(
        documented.contains(defaults.trim_end()),
        "docs/configuration.md must hold src/defaults.toml word for word"
    );
}

#[test]
fn every_code_has_its_section_and_no_other_has() {
    let documented = text("docs/problems.md");
    let sections: Vec<&str> = documented
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .filter(|title| {
            ["E-", "R-", "W-"]
                .iter()
                .any(|kind| title.starts_with(kind))
        })
        .collect();
    let mut codes: Vec<String> = Code::OWN
        .iter()
        .map(|code| code.as_str().to_owned())
        .collect();
    for form in editions()
        .values()
        .filter(|form| form.name.starts_with("annual-report/"))
    {
        codes.extend(form.codes().map(|code| code.as_str().to_owned()));
    }
    codes.sort();
    codes.dedup();
    let mut documented = sections.clone();
    documented.sort_unstable();
    assert_eq!(documented, codes);
}

#[test]
fn every_link_leads_somewhere() {
    let mut documents = [
        "README.md",
        "SECURITY.md",
        "CHANGELOG.md",
        "docs/gallery/README.md",
        "clients/README.md",
        "clients/conformance/README.md",
    ]
    .map(str::to_owned)
    .to_vec();
    for folder in ["docs", "docs/install", "docs/runbooks"] {
        let pages = listed(&repository(folder)).into_iter();
        let pages = pages.filter(|name| name.ends_with(".md"));
        documents.extend(pages.map(|name| format!("{folder}/{name}")));
    }
    let mut dead = Vec::new();
    for document in &documents {
        let folder = repository(document).parent().expect("a folder").to_owned();
        for target in text(document)
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let file = target.split('#').next().unwrap_or_default();
            if !target.contains("://") && !file.is_empty() && !folder.join(file).exists() {
                dead.push(format!("{document}: {target}"));
            }
        }
    }
    assert!(dead.is_empty(), "{dead:#?}");
}

//! What `deploy/release` refuses to make a release of, and what stands in the file of licences
//! that goes with one. How a whole release is made and read back, `tests/deploy/release` tries.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::{git, listed, repository};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A repository of its own with what is looked at before anything is made.
fn checkout() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("deploy")).unwrap();
    for file in ["deploy/release", "Cargo.toml"] {
        fs::copy(repository(file), folder.path().join(file)).unwrap();
    }
    git(folder.path(), &["init", "--quiet"]);
    changes(
        folder.path(),
        &format!("# Changes\n\n## {VERSION}\n\n- It works.\n\n## 0.0.9\n\n- It did not.\n"),
    );
    folder
}

/// Commits a `CHANGELOG.md` of this text, and tags that.
fn changes(folder: &Path, text: &str) {
    fs::write(folder.join("CHANGELOG.md"), text).unwrap();
    git(folder, &["add", "."]);
    git(folder, &["commit", "--quiet", "--message", "changes"]);
    git(folder, &["tag", "--force", &format!("v{VERSION}")]);
}

/// What `deploy/release --check` says: the notes, or why it refuses.
fn check(folder: &Path, tag: &str) -> Result<String, String> {
    let mut command = Command::new(folder.join("deploy/release"));
    let output = command.args(["--check", tag]).output().expect("bash");
    let text = |bytes| String::from_utf8(bytes).unwrap();
    match output.status.code() {
        Some(0) => Ok(text(output.stdout)),
        Some(1) => Err(text(output.stderr)),
        other => panic!("{other:?}: {}", text(output.stderr)),
    }
}

#[test]
fn a_tag_of_this_version_with_its_changes_can_be_released_and_they_are_its_notes() {
    let folder = checkout();
    let tag = format!("v{VERSION}");
    assert_eq!(check(folder.path(), &tag).unwrap(), "- It works.\n");
    let dated = format!("## {VERSION}, 2026-12-01\n\n- It works.\n");
    changes(folder.path(), &dated);
    assert_eq!(check(folder.path(), &tag).unwrap(), "- It works.\n");
}

#[test]
fn what_is_not_committed_tagged_and_described_is_not_released() {
    let folder = checkout();
    let here = folder.path();
    let tag = format!("v{VERSION}");
    let refused = |tag: &str, why: &str| {
        let said = check(here, tag).unwrap_err();
        assert!(said.starts_with("release: refused: "), "{said}");
        assert!(said.contains(why), "{said}, and not {why}");
    };
    refused("v9.9.9", &format!("the tag v9.9.9 is not {tag}"));
    refused(VERSION, &format!("the tag {VERSION} is not {tag}"));

    fs::write(here.join("left"), "").unwrap();
    refused(
        &tag,
        "not what is tagged: commit it and tag that, or put it away:\n?? left",
    );
    fs::remove_file(here.join("left")).unwrap();
    fs::write(here.join("CHANGELOG.md"), "").unwrap();
    refused(&tag, " M CHANGELOG.md");
    git(here, &["commit", "--quiet", "--all", "--message", "later"]);
    refused(
        &tag,
        &format!("another commit than that of {tag} is checked out"),
    );

    for text in [
        format!("## Unreleased: {VERSION}\n\n- It works.\n"),
        format!("## {VERSION}\n\n## 0.0.9\n\n- It did not.\n"),
        format!("## {VERSION}1\n\n- It works.\n"),
    ] {
        changes(here, &text);
        let heading = format!("CHANGELOG.md has nothing under a heading “## {VERSION}”");
        refused(&tag, &heading);
    }
    git(here, &["tag", "--delete", &tag]);
    refused(&tag, &format!("there is no tag {tag}"));
}

#[test]
fn all_that_ships_is_named_with_its_licence_whose_text_stands_once() {
    let output = Command::new(repository("deploy/bom"))
        .arg("licences")
        .output();
    let output = output.expect("python3");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let said = String::from_utf8(output.stdout).unwrap();
    let line = format!("\n{}\n", "-".repeat(100));
    let mut blocks = said.split(&line);
    let parts = blocks.next().unwrap();
    let mut texts = BTreeMap::new();
    for block in blocks {
        let (number, text) = block.split_once("\n\n").unwrap();
        let words: Vec<_> = text.split_whitespace().map(str::to_lowercase).collect();
        let before = texts.insert(words, number.to_owned());
        assert_eq!(before, None, "the text of {number} stands twice");
    }
    let numbers: BTreeSet<_> = texts.values().map(String::as_str).collect();
    assert!(numbers.len() > 10, "{numbers:?}");

    let mut named = BTreeMap::new();
    for line in parts.lines().filter(|line| !line.starts_with(' ')) {
        let Some((name, licence)) = line.split_once(": ") else {
            continue;
        };
        let cited: Vec<_> = licence
            .split(' ')
            .filter(|word| word.starts_with('['))
            .collect();
        assert!(cited.iter().all(|it| numbers.contains(it)), "{line}");
        // 0BSD asks for nothing.
        assert!(
            !cited.is_empty() || licence.contains("0BSD"),
            "{line}: no text"
        );
        named.insert(name.to_owned(), licence.to_owned());
    }
    let is_named = |start: &str| named.keys().any(|name| name.starts_with(start));
    let lock = fs::read_to_string(repository("Cargo.lock")).unwrap();
    for one in ["lapin", "tokio", "typst", "rustls", "object_store"] {
        let entry = format!("name = \"{one}\"\nversion = \"");
        let (_, rest) = lock.split_once(&entry).unwrap();
        let version = rest.split('"').next().unwrap();
        assert!(is_named(&format!("{one} {version}")), "{one} {version}");
    }
    for script in listed(&repository("src/console/assets")) {
        if repository("src/console/assets").join(&script).is_dir() {
            let name = named
                .keys()
                .find(|name| name.to_lowercase().starts_with(&script));
            assert!(name.is_some(), "{script}");
        }
    }
    for face in listed(&repository("fonts")) {
        if face.ends_with(".ttf") {
            let name = named.iter().find(|(name, _)| name.starts_with(&face));
            let (_, licence) = name.unwrap_or_else(|| panic!("{face}"));
            assert!(licence.starts_with("OFL-1.1 ["), "{licence}");
        }
    }
    assert!(!is_named("proptest"), "what only tests need is not in it");
    let here = repository("").display().to_string();
    assert!(!said.contains(&here), "it names a folder of this machine");
}

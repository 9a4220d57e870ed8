//! Lists the files of `typst-templates/`, so that the binary carries them.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

#[expect(
    clippy::disallowed_methods,
    reason = "how cargo speaks to a build script"
)]
fn main() {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let root = root.join("typst-templates");
    let mut files = Vec::new();
    collect(&root, &mut files);
    files.sort();
    let mut list = String::from("&[\n");
    for file in &files {
        let name = file.strip_prefix(&root).expect("it was found there");
        let name = name
            .to_str()
            .expect("the names of templates are UTF-8")
            .replace('\\', "/");
        let file = file.to_str().expect("the repository's path is UTF-8");
        writeln!(list, "    ({name:?}, include_bytes!({file:?})),").expect("a string takes it");
    }
    list.push_str("]\n");
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets it"));
    fs::write(out.join("templates.rs"), list).expect("the build folder is writable");
}

/// Every file below `folder` but those of tests and hidden ones. Cargo watches each folder, so
/// that a new file is seen.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    println!("cargo::rerun-if-changed={}", folder.display());
    let entries = fs::read_dir(folder).unwrap_or_else(|error| {
        panic!(
            "{} holds the templates and can't be read: {error}",
            folder.display()
        )
    });
    for entry in entries {
        let path = entry.expect("a folder can be listed").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with('.') || name == "tests" {
            continue;
        }
        if path.is_dir() {
            collect(&path, files);
        } else {
            println!("cargo::rerun-if-changed={}", path.display());
            files.push(path);
        }
    }
}

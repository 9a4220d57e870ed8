//! OFD packages as an independent reader (tests/tools/ofd-read) sees them.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::{BANSHI, repository};

/// What is in packages, of each what `ofd-read` says.
pub fn read(files: &[PathBuf]) -> Vec<Value> {
    let ran = Command::new(repository("tests/tools/ofd-read"))
        .args(files)
        .output()
        .expect("it starts");
    let error = String::from_utf8_lossy(&ran.stderr);
    assert!(
        ran.status.success(),
        "ofd-read (tests/tools/install test): {error}"
    );
    let said = String::from_utf8(ran.stdout).expect("UTF-8");
    let read = said
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"));
    let read: Vec<Value> = read.collect();
    assert_eq!(read.len(), files.len(), "{error}");
    read
}

/// What is in a package of these bytes, after nothing was found wrong with it.
pub fn sound(ofd: &[u8]) -> Value {
    let file = tempfile::NamedTempFile::with_suffix(".ofd").expect("a file");
    std::fs::write(file.path(), ofd).expect("a file");
    let read = read(&[file.path().to_owned()]).remove(0);
    assert_eq!(read["faults"], serde_json::json!([]), "{}", read["file"]);
    read
}

/// The OFD of a job, made by the program into a folder under its id.
pub fn render(job: &Value, folder: &Path) -> PathBuf {
    let id = job["job_id"].as_str().expect("an id");
    let source = folder.join(format!("{id}.json"));
    std::fs::write(&source, job.to_string()).expect("a file");
    let target = folder.join(format!("{id}.ofd"));
    let ran = Command::new(BANSHI)
        .args(["render", "--format", "ofd", "-o"])
        .args([&target, &source])
        .env("BANSHI__FONTS__DIR", repository("fonts"))
        .output()
        .expect("the program starts");
    assert!(
        ran.status.success(),
        "{}",
        String::from_utf8_lossy(&ran.stderr)
    );
    target
}

/// The texts of a package in the order of its pages.
pub fn texts(read: &Value) -> Vec<String> {
    let pages = read["pages"].as_array().expect("pages").iter();
    let units = pages.flat_map(|page| page["units"].as_array().expect("units"));
    units
        .filter_map(|unit| unit["text"].as_str().map(str::to_owned))
        .collect()
}

//! OFD packages as an independent reader (tests/tools/ofd-read) sees them.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};
use serde_json::Value;

use banshi::config::Format;
use banshi::problem::Failure;
use banshi::typesetter::{Manuscript, Typesetter};

use super::{render_as, repository};

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

/// A manuscript as it is set beside its PDF.
pub fn set(typesetter: &Typesetter, manuscript: &Manuscript) -> Result<Vec<u8>, Failure> {
    let manuscript = Manuscript {
        companions: vec![Format::Ofd],
        ..manuscript.clone()
    };
    let mut set = typesetter.typeset(&manuscript)?;
    Ok(set.companions.remove(0).1)
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
    render_as(job, folder, id, "ofd")
}

/// The texts of a package in the order of its pages.
pub fn texts(read: &Value) -> Vec<String> {
    let pages = read["pages"].as_array().expect("pages").iter();
    let units = pages.flat_map(|page| page["units"].as_array().expect("units"));
    units
        .filter_map(|unit| unit["text"].as_str().map(str::to_owned))
        .collect()
}

/// An entry as it is written, with what its headers say of it: the truth, unless a test says
/// otherwise.
#[derive(Clone)]
pub struct Stored {
    pub name: String,
    pub packed: Vec<u8>,
    pub crc: u32,
    pub plain: u32,
}

impl Stored {
    pub fn new(name: &str, bytes: &[u8]) -> Stored {
        // Of faces at level 2, of all else at 6.
        let level = if name.ends_with(".ttf") { 2 } else { 6 };
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::new(level));
        encoder.write_all(bytes).expect("memory");
        let mut crc = Crc::new();
        crc.update(bytes);
        Stored {
            name: name.to_owned(),
            packed: encoder.finish().expect("memory"),
            crc: crc.sum(),
            plain: u32::try_from(bytes.len()).expect("small"),
        }
    }
}

/// A package, written by the description of the format (APPNOTE.TXT 4.3) and not by banshi.
pub fn package(entries: &[Stored]) -> Vec<u8> {
    let long = |length: usize| u32::try_from(length).expect("small").to_le_bytes();
    let short = |length: usize| u16::try_from(length).expect("few").to_le_bytes();
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for entry in entries {
        // Version 2.0, no flags, deflate, 1980-01-01 at midnight.
        let mut about = [20, 0, 0, 0, 8, 0, 0, 0, 0x21, 0].to_vec();
        about.extend(entry.crc.to_le_bytes());
        about.extend(long(entry.packed.len()));
        about.extend(entry.plain.to_le_bytes());
        about.extend(short(entry.name.len()));
        about.extend([0; 2]);
        directory.extend(b"PK\x01\x02\x14\0");
        directory.extend(&about);
        directory.extend([0; 10]);
        directory.extend(long(file.len()));
        directory.extend(entry.name.as_bytes());
        file.extend(b"PK\x03\x04");
        file.extend(&about);
        file.extend(entry.name.as_bytes());
        file.extend(&entry.packed);
    }
    let start = file.len();
    file.extend(&directory);
    file.extend(b"PK\x05\x06\0\0\0\0");
    file.extend(short(entries.len()));
    file.extend(short(entries.len()));
    file.extend(long(directory.len()));
    file.extend(long(start));
    file.extend([0; 2]);
    file
}

/// The entries of a package of banshi's, to be changed and packed again.
pub fn unpacked(ofd: &[u8]) -> Vec<Stored> {
    let entries = banshi::typesetter::ofd::entries(ofd).expect("a package");
    let stored = entries.iter().map(|entry| {
        let bytes = entry.read(ofd).expect("its bytes");
        Stored::new(&entry.name, &bytes)
    });
    stored.collect()
}

/// The package with other bytes in an entry.
pub fn edited(ofd: &[u8], name: &str, from: &str, to: &str) -> Vec<u8> {
    let entries = banshi::typesetter::ofd::entries(ofd).expect("a package");
    let entries = entries.iter().map(|entry| {
        let bytes = entry.read(ofd).expect("its bytes");
        if entry.name != name {
            return Stored::new(&entry.name, &bytes);
        }
        let text = String::from_utf8(bytes).expect("UTF-8");
        assert!(text.contains(from), "{name} has {from:?}");
        Stored::new(name, text.replacen(from, to, 1).as_bytes())
    });
    package(&entries.collect::<Vec<_>>())
}

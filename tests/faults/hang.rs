//! A disk that hangs, for a worker: a library that is loaded into it (`hang.c`) has calls that
//! reach below a folder wait for as long as is wanted.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::repository;

/// A folder that can hang.
#[derive(Debug)]
pub struct Hang {
    below: PathBuf,
    /// Hangs while this file is there.
    file: PathBuf,
    library: PathBuf,
}

impl Hang {
    /// Of a folder; `file` is a name that nobody else uses.
    pub fn of(below: &Path, file: PathBuf) -> Hang {
        let library = repository("target/faults/hang.so");
        let folder = library.parent().expect("it has one");
        std::fs::create_dir_all(folder).expect("a folder");
        let made = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(&library)
            .arg(repository("tests/faults/hang.c"))
            .arg("-ldl")
            .status();
        let made = made.is_ok_and(|status| status.success());
        assert!(made, "tests/faults/hang.c is compiled with cc");
        Hang {
            below: below.to_owned(),
            file,
            library,
        }
    }

    /// What a process that is to feel it needs in its environment.
    pub fn variables(&self) -> [(&'static str, String); 3] {
        [
            ("LD_PRELOAD", self.library.display().to_string()),
            ("BANSHI_HANG_BELOW", self.below.display().to_string()),
            ("BANSHI_HANG_WHILE", self.file.display().to_string()),
        ]
    }

    /// From now on it hangs.
    pub fn hold(&self) {
        std::fs::write(&self.file, "").expect("a file");
    }

    /// It answers again.
    pub fn release(&self) {
        std::fs::remove_file(&self.file).expect("it was held");
    }
}

/// An experiment that breaks off leaves nobody hanging, who then could not even be killed well.
impl Drop for Hang {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.file));
    }
}

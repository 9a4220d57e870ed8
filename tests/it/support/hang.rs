//! A disk that hangs: a folder of which a process gets no answer, by a library that is loaded into
//! it before libc (`hang.c`).

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::repository;

/// The library and the file by which it is told.
pub struct Hang {
    folder: tempfile::TempDir,
    below: PathBuf,
}

impl Hang {
    /// For a folder, by its absolute path. It answers until [`Hang::begin`].
    pub fn below(folder: &Path) -> Hang {
        let hang = Hang {
            folder: tempfile::tempdir().expect("a temporary folder"),
            below: folder.to_owned(),
        };
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
            .arg(hang.library())
            .arg(repository("tests/it/support/hang.c"))
            .arg("-ldl")
            .output()
            .expect("cc is there: the tests build a library in C");
        let said = String::from_utf8_lossy(&built.stderr);
        assert!(built.status.success(), "{said}");
        hang
    }

    /// What a process needs in its environment to feel it.
    pub fn variables(&self) -> [(&'static str, String); 3] {
        [
            ("LD_PRELOAD", self.library().display().to_string()),
            ("HANG_BELOW", self.below.display().to_string()),
            ("HANG_WHILE", self.flag().display().to_string()),
        ]
    }

    /// From now on it does not answer.
    pub fn begin(&self) {
        std::fs::write(self.flag(), "").expect("a file");
    }

    /// It answers again, and does what it was asked meanwhile.
    pub fn end(&self) {
        std::fs::remove_file(self.flag()).expect("it was there");
    }

    fn library(&self) -> PathBuf {
        self.folder.path().join("hang.so")
    }

    fn flag(&self) -> PathBuf {
        self.folder.path().join("hangs")
    }
}

/// Threads of a process.
pub fn threads(pid: u32) -> usize {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    tasks.count()
}

/// Waits until a process has no more threads than so many, and gives their number. Those that are
/// idle, which a burst of work leaves, go after ten seconds; those that hang stay.
pub async fn threads_at_most(pid: u32, most: usize) -> usize {
    let started = Instant::now();
    loop {
        let now = threads(pid);
        if now <= most {
            return now;
        }
        let waited = started.elapsed();
        assert!(
            waited < Duration::from_secs(40),
            "{now} threads, not {most}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

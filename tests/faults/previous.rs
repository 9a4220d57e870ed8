//! An earlier build, at work beside this one.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::judge::Want;
use crate::letters::Letter;

/// Which of two builds a worker is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Build {
    /// The earlier one.
    Previous,
    /// The one that is tested.
    This,
}

impl fmt::Display for Build {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Build::Previous => "the earlier build",
            Build::This => "this build",
        })
    }
}

/// The program of an earlier build, which has its faces beside it.
pub struct Previous {
    program: PathBuf,
}

impl Previous {
    pub fn at(program: &Path) -> Previous {
        let program = program.canonicalize();
        Previous {
            program: program.expect("the program of the earlier build"),
        }
    }

    /// It, with those of the settings that it knows: of faces it takes its own.
    pub fn command(
        &self,
        arguments: &[&str],
        settings: &BTreeMap<String, String>,
        folder: &Path,
    ) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).current_dir(folder);
        for (key, value) in settings {
            if key != "BANSHI__FONTS__DIR" && self.knows(key, value) {
                command.env(key, value);
            }
        }
        command
    }

    fn knows(&self, key: &str, value: &str) -> bool {
        let mut command = Command::new(&self.program);
        command.arg("templates").env(key, value);
        let silent = command.stdout(Stdio::null()).stderr(Stdio::null());
        silent.status().expect("it starts").success()
    }

    /// Has it declare everything: a worker with nothing to do.
    pub fn begin(&self, settings: &BTreeMap<String, String>, folder: &Path) {
        let mut command = self.command(&["worker", "--until-idle"], settings, folder);
        let ran = command.output().expect("it starts");
        let said = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "the earlier build: {said}");
    }

    /// Those of the letters of which it says what this build does, and how many it does not.
    pub fn agreed(&self, letters: Vec<Letter>) -> (Vec<Letter>, usize) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let all = letters.len();
        let file = |number: usize| format!("{number:05}.json");
        for (number, letter) in letters.iter().enumerate() {
            std::fs::write(folder.path().join(file(number)), &letter.body).expect("a file");
        }
        let names: Vec<String> = (0..all).map(file).collect();
        let checked = Command::new(&self.program)
            .args(["check", "--format", "json"])
            .args(&names)
            .current_dir(folder.path())
            .output()
            .expect("it starts");
        let told = String::from_utf8_lossy(&checked.stdout);
        let mut first: BTreeMap<String, Option<String>> = BTreeMap::new();
        for line in told.lines() {
            let said: Value = serde_json::from_str(line).expect("an object a line");
            let name = said["file"].as_str().expect("a file").to_owned();
            let code = said["problems"][0]["code"].as_str().map(str::to_owned);
            first.insert(name, code);
        }
        let agreed = letters.into_iter().zip(names).filter(|(letter, name)| {
            let said = first.get(name).expect("every file is checked");
            match &letter.sent.want {
                Want::Result => said.is_none(),
                Want::Rejection(code) => said.as_ref() == Some(code),
            }
        });
        let agreed: Vec<Letter> = agreed.map(|(letter, _)| letter).collect();
        let others = all - agreed.len();
        (agreed, others)
    }
}

//! A template of a few lines, reports for it, and the typesetters of one test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use banshi::config::Settings;
use banshi::problem::{Failure, Problem};
use banshi::typesetter::{Manuscript, Pdf, Program, Typesetter};
use tempfile::TempDir;

use super::BANSHI;

/// A tree with one edition, `note/1`, that sets `report.json`'s `text` and no more.
pub const TEMPLATE: &str = r#"
#let roles = json("/gongwen/fonts.json")
#let face(role) = (
  font: role.chain.map(link => if "covers" in link {
    (name: link.name, covers: regex(link.covers))
  } else { link.name }),
  weight: role.weight,
)
#let report = json("report.json")
#set page(paper: "a4", numbering: "1")
#set text(..face(roles.fangsong), fallback: false, size: 16pt)
#set par(justify: true)
#heading(report.at("title", default: "标题"))
#for paragraph in report.text { par(paragraph) }
"#;

/// The form of `note/1`.
const FORM: &str = r#"
title = "标题"
notice = "无"
author = "agency"
year = "year"

[[field]]
field = "agency"
kind = "line"
label = "发文机关"

[[field]]
field = "year"
kind = "year"
label = "年度"

[[field]]
field = "text"
kind = "lines"
label = "正文"
"#;

/// The default settings, with the templates of a folder.
pub fn settings(templates: &Path) -> Settings {
    let mut settings = Settings::load(&[], []).unwrap();
    settings.templates.dir = templates.to_owned();
    settings.render.threads = 1;
    settings
}

/// A folder of templates with `note/1`, laid out by `main`.
pub fn tree(main: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let note = dir.path().join("note");
    fs::create_dir(&note).unwrap();
    fs::write(
        note.join("typst.toml"),
        "[package]\nname = \"note\"\nversion = \"0.1.0\"\n\
         [tool.banshi.editions.1]\nentrypoint = \"main.typ\"\n",
    )
    .unwrap();
    fs::write(note.join("form.toml"), FORM).unwrap();
    fs::write(note.join("main.typ"), main).unwrap();
    fs::write(note.join("report.json"), r#"{"text": ["样张"]}"#).unwrap();
    dir
}

pub fn typesetter(templates: &TempDir) -> Typesetter {
    Typesetter::load(&settings(templates.path())).unwrap()
}

pub fn note(text: &[&str]) -> Manuscript {
    Manuscript {
        job_id: "note-1".to_owned(),
        template: "note/1".to_owned(),
        ident: "0123456789abcdef".to_owned(),
        view: serde_json::json!({ "text": text }).to_string(),
        data: r#"{"text":"数据"}"#.to_owned(),
        texts: text
            .iter()
            .enumerate()
            .map(|(n, text)| (format!("/data/text/{n}"), (*text).to_owned()))
            .collect(),
        title: "某市2021年政府信息公开工作年度报告".to_owned(),
        author: "某市人民政府".to_owned(),
        description: "年度报告".to_owned(),
        keywords: vec!["政府信息公开".to_owned(), "2021".to_owned()],
        date: (2022, 1, 26),
        companions: Vec::new(),
        sealed: false,
        made: None,
    }
}

pub fn problems(result: Result<Pdf, Failure>) -> Vec<Problem> {
    match result {
        Err(Failure::Rejected(rejection)) => rejection.into_problems(),
        other => panic!("wanted a rejection, got {other:?}"),
    }
}

/// The messages of a rejection's problems, a line each, as `CODE path message`.
pub fn said(result: Result<Pdf, Failure>) -> String {
    let lines = problems(result)
        .into_iter()
        .map(|p| format!("{} {} {}", p.code, p.path, p.message));
    lines.collect::<Vec<_>>().join("\n")
}

/// [`TEMPLATE`] on a small page, which first counts to as many thousands as it is asked to.
pub const SLOW: &str = r#"
#let report = json("report.json")
#set page(width: 10cm, height: 10cm)
#for a in range(report.at("slow", default: 0)) { for b in range(1000) { if a == b - 2000 [x] } }
#par(report.text.join())
"#;

/// A note that takes a while: about half a second for each 1000.
pub fn slow(thousands: u32) -> Manuscript {
    Manuscript {
        view: serde_json::json!({ "text": ["慢"], "slow": thousands }).to_string(),
        ..note(&["慢"])
    }
}

/// The children of one test, and their process ids.
pub struct Children {
    folder: PathBuf,
    _temporary: Option<TempDir>,
}

impl Children {
    pub fn new() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        Children {
            folder: temporary.path().to_owned(),
            _temporary: Some(temporary),
        }
    }

    /// Those that another process starts, or looks for.
    pub fn within(folder: PathBuf) -> Self {
        Children {
            folder,
            _temporary: None,
        }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn program(&self) -> Program {
        self.shell(&format!("exec {BANSHI} typesetter"))
    }

    /// In the place of a child, whatever the shell makes of a line.
    pub fn shell(&self, line: &str) -> Program {
        let pids = self.folder.join("pids");
        let line = format!("echo $$ >> {}; {line}", pids.display());
        Program {
            path: "/bin/sh".into(),
            args: vec!["-c".to_owned(), line],
        }
    }

    pub fn pids(&self) -> Vec<String> {
        let pids = fs::read_to_string(self.folder.join("pids")).unwrap_or_default();
        pids.lines().map(str::to_owned).collect()
    }

    pub fn kill(&self, signal: &str) {
        let pid = self.pids().pop().unwrap();
        assert!(
            Command::new("kill")
                .args([signal, &pid])
                .status()
                .unwrap()
                .success()
        );
    }

    /// How many are still there.
    pub fn alive(&self) -> usize {
        self.living().len()
    }

    /// Those that are still there, the oldest first.
    pub fn living(&self) -> Vec<String> {
        let there = |pid: &String| {
            let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            state
                .rsplit(')')
                .next()
                .is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
        };
        self.pids().into_iter().filter(there).collect()
    }
}

pub async fn wait(seconds: f64) {
    tokio::time::sleep(std::time::Duration::from_secs_f64(seconds)).await;
}

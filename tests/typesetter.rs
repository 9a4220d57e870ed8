//! The typesetter: what it promises of every PDF, and what it refuses.

use std::fs;
use std::path::Path;
use std::process::Command;

use banshi::config::Settings;
use banshi::problem::{Code, Failure, Problem};
use banshi::typesetter::{Fonts, Manuscript, Pdf, Templates, Typesetter};
use tempfile::TempDir;

/// A tree with one edition, `note/1`, that sets `report.json`'s `text` and no more.

const TEMPLATE: &str = r#"
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

fn settings() -> Settings {
    Settings::load(None, []).unwrap()
}

/// A folder of templates with `note/1`, as `main` lays it out.
fn tree(main: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let note = dir.path().join("note");
    fs::create_dir(&note).unwrap();
    fs::write(
        note.join("typst.toml"),
        "[package]\nname = \"note\"\nversion = \"0.1.0\"\n\
         [tool.banshi.editions.1]\nentrypoint = \"main.typ\"\nform = \"note/1\"\n",
    )
    .unwrap();
    fs::write(note.join("main.typ"), main).unwrap();
    fs::write(note.join("report.json"), r#"{"text": ["样张"]}"#).unwrap();
    dir
}

fn typesetter(dir: Option<&Path>) -> Typesetter {
    let settings = settings();
    let fonts = Fonts::load(&settings.fonts).unwrap();
    Typesetter::new(fonts, Templates::load(dir).unwrap(), &settings.render).unwrap()
}

fn note(text: &[&str]) -> Manuscript {
    Manuscript {
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
    }
}

fn problems(result: Result<Pdf, Failure>) -> Vec<Problem> {
    match result {
        Err(Failure::Rejected(rejection)) => rejection.into_problems(),
        other => panic!("wanted a rejection, got {other:?}"),
    }
}

/// What a reader's search finds, with poppler's tools.
fn text_of(pdf: &Pdf) -> String {
    tool(pdf, "pdftotext", &["-raw", "FILE", "-"])
}

fn tool(pdf: &Pdf, name: &str, args: &[&str]) -> String {
    let file = tempfile::NamedTempFile::with_suffix(".pdf").unwrap();
    fs::write(file.path(), &pdf.bytes).unwrap();
    let args = args.iter().map(|arg| {
        if *arg == "FILE" {
            file.path().to_str().unwrap()
        } else {
            arg
        }
    });
    let output = Command::new(name).args(args).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_same_manuscript_gives_the_same_bytes() {
    let tree = tree(TEMPLATE);
    let first = typesetter(Some(tree.path()))
        .typeset(&note(&["第一段。", "第二段。"]))
        .unwrap();
    let typesetter = typesetter(Some(tree.path()));
    typesetter.typeset(&note(&["别的报告。"])).unwrap();
    let second = typesetter.typeset(&note(&["第一段。", "第二段。"])).unwrap();
    assert_eq!(first, second);
    assert_eq!(first.pages, 1);
    if let Some(out) = option_env!("BANSHI_TEST_OUT") {
        fs::write(out, &first.bytes).unwrap();
    }
}

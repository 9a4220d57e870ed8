//! `banshi verify`: a file that banshi made is told from one that was changed, by anybody, in
//! anything.

use std::path::{Path, PathBuf};
use std::process::Command;

use banshi::digest::sha256;
use banshi::typesetter::{Manuscript, Provenance, Typesetter};
use serde_json::{Value, json};

use crate::support::deployment::Deployment;
use crate::support::jobs::{CORPUS, corpus};
use crate::support::signing::{Signer, Update};
use crate::support::{BANSHI, check, pdf, ran, render, repository, settings};

/// Files to be verified, in a folder of their own.
pub struct Files(tempfile::TempDir);

impl Files {
    pub fn new() -> Files {
        Files(tempfile::tempdir().expect("a folder"))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn add(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).expect("a file");
    }

    /// A copy of a file, made by qpdf with these arguments.
    fn saved_again(&self, from: &str, to: &str, arguments: &[&str]) {
        let ran = Command::new("qpdf")
            .args(arguments)
            .args([self.path(from), self.path(to)])
            .output()
            .unwrap_or_else(|error| panic!("qpdf is needed (tests/tools/install test): {error}"));
        assert!(
            ran.status.success(),
            "{}",
            String::from_utf8_lossy(&ran.stderr)
        );
    }

    /// Verifies files: exit code and the findings, in their order.
    pub fn verify(&self, names: &[&str]) -> (Option<i32>, Vec<Value>) {
        self.verify_with(&["--format", "json"], names, &[])
    }

    pub fn verify_with(
        &self,
        arguments: &[&str],
        names: &[&str],
        environment: &[(&str, &Path)],
    ) -> (Option<i32>, Vec<Value>) {
        let ran = Command::new(BANSHI)
            .arg("verify")
            .args(arguments)
            .args(names)
            .env("BANSHI__FONTS__DIR", repository("fonts"))
            .envs(environment.iter().copied())
            .current_dir(self.0.path())
            .output()
            .expect("it starts");
        let said = String::from_utf8(ran.stdout).expect("UTF-8");
        let findings = said
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"));
        let findings: Vec<Value> = findings.collect();
        let error = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(findings.len(), names.len(), "{said}{error}");
        (ran.status.code(), findings)
    }

    /// What `verify` says to these arguments: exit code, standard output and error.
    pub fn say(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        ran(Command::new(BANSHI)
            .arg("verify")
            .args(arguments)
            .env("BANSHI__FONTS__DIR", repository("fonts"))
            .current_dir(self.0.path()))
    }

    /// Verifies one file: verdict and why, after the exit code was held against the verdict.
    fn verdict(&self, name: &str) -> (String, String) {
        let (code, findings) = self.verify(&[name]);
        let finding = &findings[0];
        let good = ["authentic", "equivalent"].contains(&text(finding, "verdict"));
        assert_eq!(code, Some(if good { 0 } else { 1 }), "{finding}");
        assert_eq!(finding["ok"], json!(good), "{finding}");
        let (verdict, message) = (text(finding, "verdict"), text(finding, "message"));
        (verdict.to_owned(), message.to_owned())
    }

    /// The file is one that every reader takes.
    fn sound(&self, name: &str) {
        let ran = Command::new("qpdf")
            .arg("--check")
            .arg(self.path(name))
            .output();
        let ran = ran.expect("qpdf is needed (tests/tools/install test)");
        assert!(
            ran.status.success(),
            "{}",
            String::from_utf8_lossy(&ran.stderr)
        );
    }

    pub fn altered(&self, name: &str, why: &str) {
        let (verdict, message) = self.verdict(name);
        assert_eq!(verdict, "altered", "{name}: {message}");
        assert!(message.contains(why), "{name}: {why:?} in {message:?}");
    }
}

pub fn text<'a>(finding: &'a Value, key: &str) -> &'a str {
    finding[key].as_str().expect("text")
}

fn seed() -> Vec<u8> {
    std::fs::read(render(&corpus("zibo-bigdata-2020")).path()).expect("the PDF")
}

/// A typesetter of the tests' own, which sets whatever it is given.
pub fn typesetter() -> Typesetter {
    let mut settings = settings();
    settings.fonts.dir = repository("fonts");
    Typesetter::load(&settings).expect("fonts and templates")
}

pub fn manuscript(job: &Value) -> Manuscript {
    Manuscript::of(&check(job.to_string().as_bytes()).expect("a good job"))
}

#[test]
fn every_real_report_is_authentic() {
    let files = Files::new();
    let names = CORPUS.map(|name| format!("{name}.pdf"));
    for (name, file) in CORPUS.into_iter().zip(&names) {
        let mut job = corpus(name);
        job["on_violation"] = json!("warn");
        files.add(file, &std::fs::read(render(&job).path()).expect("the PDF"));
    }
    let (code, findings) = files.verify(&names.each_ref().map(String::as_str));
    for finding in &findings {
        assert_eq!(finding["verdict"], "authentic", "{finding}");
        assert_eq!(finding["data_agree"], true, "{finding}");
    }
    assert_eq!(code, Some(0));
}

#[test]
fn a_digit_changed_on_the_page_is_found() {
    let (files, pdf) = (Files::new(), seed());
    // The title's 2020, by its glyphs: the first two of the face that draws digits.
    let changed = pdf::edited(
        &pdf,
        r"\000\001\000\002\000\001\000\002",
        r"\000\001\000\002\000\001\000\001",
    );
    files.add("page.pdf", &changed);
    files.sound("page.pdf");
    let mut shown = pdf::text(&files.path("page.pdf"));
    shown.retain(|c| !c.is_whitespace());
    assert!(shown.contains("2022年政府信息公开"), "it shows: {shown}");
    files.altered("page.pdf", "not what this very version makes of its data");
}

#[test]
fn a_digit_changed_in_the_attachment_is_found() {
    let (files, pdf) = (Files::new(), seed());
    let changed = pdf::edited(&pdf, "2823.12万", "2823.13万");
    files.add("data.pdf", &changed);
    files.sound("data.pdf");
    let attached = pdf::attachment(&files.path("data.pdf"), "report.json");
    assert!(String::from_utf8_lossy(&attached).contains("2823.13万"));
    files.altered("data.pdf", "report.json is not the one");
    let (_, findings) = files.verify(&["data.pdf"]);
    assert_eq!(findings[0]["data_agree"], false);
    // And with a provenance that names the changed data.
    let original = sha256(&pdf::attachment(
        &render(&corpus("zibo-bigdata-2020")).path(),
        "report.json",
    ));
    let both = pdf::edited(&changed, &original, &sha256(&attached));
    files.add("both.pdf", &both);
    let (_, findings) = files.verify(&["both.pdf"]);
    assert_eq!(findings[0]["data_agree"], true);
    files.altered("both.pdf", "not what this very version makes of its data");
}

#[test]
fn a_page_set_by_banshi_itself_of_other_figures_is_found() {
    let files = Files::new();
    let job = corpus("zibo-bigdata-2020");
    let mut other = job.clone();
    other["data"]["proactive_disclosure"]["article_20_9"]["procurement"]["items"] = json!(5);
    let forged = Manuscript {
        data: manuscript(&job).data,
        ident: manuscript(&job).ident,
        ..manuscript(&other)
    };
    let pdf = typesetter().typeset(&forged).expect("a PDF");
    files.add("forged.pdf", &pdf.bytes);
    files.altered("forged.pdf", "not what this very version makes of its data");
}

#[test]
fn no_byte_can_be_changed_cut_off_or_added() {
    let (files, pdf) = (Files::new(), seed());
    let mut names = Vec::new();
    for place in (0..pdf.len()).step_by(pdf.len() / 80) {
        let mut changed = pdf.clone();
        changed[place] ^= 1;
        names.push(format!("{place}.pdf"));
        files.add(&names[names.len() - 1], &changed);
    }
    let names = names.iter().map(String::as_str).collect::<Vec<_>>();
    let (code, findings) = files.verify(&names);
    assert_eq!(code, Some(1));
    for finding in &findings {
        assert_eq!(finding["verdict"], "altered", "{finding}");
    }
    files.add("cut.pdf", &pdf[..pdf.len() - 2]);
    files.altered("cut.pdf", "");
    files.add("added.pdf", &[&pdf, &b"\n"[..]].concat());
    files.altered("added.pdf", "1 bytes were added after them");
}

/// What builds before the line end after `%%EOF` have stored is still theirs, and so is what was
/// signed of it.
#[test]
fn a_file_without_the_last_line_end_is_equivalent() {
    let (files, pdf) = (Files::new(), seed());
    assert!(pdf.ends_with(b"%%EOF\n"));
    let bare = &pdf[..pdf.len() - 1];
    files.add("earlier.pdf", bare);
    let (verdict, message) = files.verdict("earlier.pdf");
    assert_eq!(verdict, "equivalent", "{message}");
    assert!(
        message.contains("but for the line end after %%EOF"),
        "{message}"
    );
    files.add("signed.pdf", &[bare, b"\r\n1 0 obj"].concat());
    let begins = format!(
        "its first {} bytes are equivalent, and 9 bytes were added",
        bare.len()
    );
    files.altered("signed.pdf", &begins);
}

#[test]
fn what_another_program_saved_or_made_is_not_banshis() {
    let files = Files::new();
    files.add("a.pdf", &seed());
    let foreign = "not written as banshi writes a PDF";
    for (name, arguments, why) in [
        ("resaved", &[][..], "not what this very version makes"),
        ("linear", &["--linearize"], foreign),
        ("packed", &["--object-streams=generate"], foreign),
        ("secret", &["--encrypt", "", "", "256", "--"], ""),
        (
            "bare",
            &["--remove-attachment=provenance.json"],
            "no provenance.json is attached",
        ),
        (
            "no-data",
            &["--remove-attachment=report.json"],
            "no report.json is attached",
        ),
    ] {
        let name = format!("{name}.pdf");
        files.saved_again("a.pdf", &name, arguments);
        files.altered(&name, why);
    }
    files.add("empty.pdf", b"");
    files.altered("empty.pdf", "it is not a PDF");
    files.add("text.pdf", "一段文字".as_bytes());
    files.altered("text.pdf", "it is not a PDF");
    let nested = format!("%PDF-1.7\n{}\nstartxref\n9\n%%EOF", "[".repeat(1_000_000));
    files.add("nested.pdf", nested.as_bytes());
    files.altered("nested.pdf", foreign);
}

/// What a manuscript's PDF says of itself, with another version in it.
fn of_another_version(manuscript: &Manuscript, typesetter: &Typesetter) -> Manuscript {
    let pdf = typesetter.typeset(manuscript).expect("a PDF");
    let files = Files::new();
    files.add("own.pdf", &pdf.bytes);
    let own = pdf::attachment(&files.path("own.pdf"), "provenance.json");
    let own: Provenance = serde_json::from_slice(&own).expect("a provenance");
    Manuscript {
        made: Some(Box::new(Provenance {
            product: "banshi 0.0.9\u{1b}[2J".to_owned(),
            ..own
        })),
        ..manuscript.clone()
    }
}

#[test]
fn another_version_that_sets_the_same_page_is_equivalent() {
    let (files, typesetter) = (Files::new(), typesetter());
    let manuscript = manuscript(&corpus("hongze-2024"));
    let older = of_another_version(&manuscript, &typesetter);
    files.add(
        "older.pdf",
        &typesetter.typeset(&older).expect("a PDF").bytes,
    );
    let (verdict, message) = files.verdict("older.pdf");
    assert_eq!(verdict, "equivalent", "{message}");
    let named = format!(
        "made with banshi 0.0.9\u{fffd}[2J; this build has {}",
        banshi::PRODUCT
    );
    assert!(message.starts_with(&named), "{message}");
}

#[test]
fn another_version_is_no_excuse_for_another_page() {
    let (files, typesetter) = (Files::new(), typesetter());
    let job = corpus("zibo-bigdata-2020");
    let mut other = job.clone();
    other["data"]["proactive_disclosure"]["article_20_9"]["procurement"]["items"] = json!(5);
    let older = of_another_version(&manuscript(&job), &typesetter);
    let forged = Manuscript {
        data: older.data,
        ident: older.ident,
        made: older.made,
        ..manuscript(&other)
    };
    files.add(
        "forged.pdf",
        &typesetter.typeset(&forged).expect("a PDF").bytes,
    );
    let (verdict, message) = files.verdict("forged.pdf");
    assert_eq!(verdict, "unproven", "{message}");
    assert!(message.contains("The data are those that its provenance names"));
}

#[test]
fn white_bands_are_a_setting_and_no_change() {
    let files = Files::new();
    let mut settings = settings();
    settings.fonts.dir = repository("fonts");
    settings.render.bands = banshi::config::Bands::None;
    let typesetter = Typesetter::load(&settings).expect("fonts and templates");
    let pdf = typesetter.typeset(&manuscript(&corpus("hongze-2024")));
    files.add("white.pdf", &pdf.expect("a PDF").bytes);
    let (verdict, message) = files.verdict("white.pdf");
    assert_eq!(verdict, "unproven", "{message}");
    assert!(message.contains("made with bands not filled"), "{message}");
}

#[test]
fn other_templates_are_told_and_prove_the_file_that_they_made() {
    let files = Files::new();
    let templates = files.path("templates");
    let page = "typst-templates/gongwen/page.typ";
    let page = std::fs::read_to_string(repository(page)).expect("the template");
    std::fs::create_dir_all(templates.join("gongwen")).expect("a folder");
    let wider = page.replace("28.95pt", "28.9pt");
    assert_ne!(page, wider);
    std::fs::write(templates.join("gongwen/page.typ"), wider).expect("a file");
    let mut settings = settings();
    settings.fonts.dir = repository("fonts");
    settings.templates.dir = templates.clone();
    let typesetter = Typesetter::load(&settings).expect("fonts and templates");
    let manuscript = manuscript(&corpus("hongze-2024"));
    files.add(
        "a.pdf",
        &typesetter.typeset(&manuscript).expect("a PDF").bytes,
    );
    let (verdict, message) = files.verdict("a.pdf");
    assert_eq!(verdict, "unproven", "{message}");
    assert!(
        message.contains("made with annual-report/2021"),
        "{message}"
    );
    let with_them = [("BANSHI__TEMPLATES__DIR", templates.as_path())];
    let (code, findings) = files.verify_with(&["--format", "json"], &["a.pdf"], &with_them);
    assert_eq!(
        (code, text(&findings[0], "verdict")),
        (Some(0), "authentic")
    );
}

#[test]
fn what_the_settings_refuse_is_not_called_altered() {
    let files = Files::new();
    let mut job = corpus("zibo-bigdata-2020");
    job["data"]["overview"] = json!(vec!["政府信息公开。".repeat(60); 12]);
    let long = std::fs::read(render(&job).path()).expect("the PDF");
    files.add("a.pdf", &long);
    for (setting, value, why) in [
        ("BANSHI__RENDER__MAX_PAGES", "8", "E-LAYOUT"),
        ("BANSHI__LIMITS__CHARACTERS", "100", "limits.characters"),
    ] {
        let narrow = [(setting, Path::new(value))];
        let (code, findings) = files.verify_with(&["--format", "json"], &["a.pdf"], &narrow);
        let finding = &findings[0];
        assert_eq!((code, text(finding, "verdict")), (Some(1), "unproven"));
        assert!(text(finding, "message").contains(why), "{finding}");
    }
}

#[test]
fn data_that_are_more_than_the_data_are_found() {
    let (files, seed) = (Files::new(), seed());
    files.add("a.pdf", &seed);
    let data = pdf::attachment(&files.path("a.pdf"), "report.json");
    let own = pdf::attachment(&files.path("a.pdf"), "provenance.json");
    let mut own: Provenance = serde_json::from_slice(&own).expect("a provenance");
    let data = String::from_utf8(data).expect("UTF-8");
    for (from, to) in [
        ("{\"agency\"", "{ \"agency\""),
        ("\"year\":2020}", "\"year\":2020},\"on_violation\":\"warn\""),
        ("\"year\":2020}", "\"year\":2020},\"prior\":{}"),
    ] {
        let more = data.replacen(from, to, 1);
        assert_ne!(more, data);
        let mut manuscript = manuscript(&corpus("zibo-bigdata-2020"));
        own.data.sha256 = sha256(more.as_bytes());
        own.data.bytes = more.len();
        manuscript.data = more;
        manuscript.made = Some(Box::new(own.clone()));
        let pdf = typesetter().typeset(&manuscript).expect("a PDF");
        files.add("more.pdf", &pdf.bytes);
        let (verdict, message) = files.verdict("more.pdf");
        assert!(
            ["altered", "unproven"].contains(&verdict.as_str()),
            "{message}"
        );
    }
}

#[tokio::test]
async fn a_stored_file_agrees_with_its_manifest_and_nothing_else_does() {
    let deployment = Deployment::spool();
    let job = corpus("zibo-bigdata-2020");
    deployment.send("a", job.to_string().as_bytes()).await;
    deployment.work_until_idle();
    let key = "annual-report/2019/2020/zibo-bigdata-2020";
    let (pdf, manifest) = (
        deployment.stored(&format!("{key}.pdf")),
        deployment.stored(&format!("{key}.json")),
    );
    let files = Files::new();
    let with = ["--manifest", "--format", "json"];
    let differences = |name: &str, manifest: &[u8]| {
        files.add(&format!("{name}.pdf"), &pdf);
        files.add(&format!("{name}.json"), manifest);
        let (code, findings) = files.verify_with(&with, &[&format!("{name}.pdf")], &[]);
        assert_eq!(findings[0]["verdict"], "authentic");
        (code, findings[0]["manifest"]["differences"].to_string())
    };
    assert_eq!(differences("stored", &manifest), (Some(0), "[]".to_owned()));
    let manifest: Value = serde_json::from_slice(&manifest).expect("JSON");
    for (pointer, name) in [
        ("/artifact/sha256", "artifact.sha256"),
        ("/job/sha256", "job.sha256"),
        ("/job_id", "job_id"),
        ("/fonts/sha256", "fonts.sha256"),
        ("/template/version", "template.version"),
    ] {
        let mut other = manifest.clone();
        *other.pointer_mut(pointer).expect("it is there") = json!("another");
        let (code, said) = differences("other", other.to_string().as_bytes());
        assert_eq!(code, Some(1), "{said}");
        let wanted = format!("{name}: the manifest says another, the file ");
        assert!(said.contains(&wanted), "{wanted} in {said}");
    }
    let (code, said) = differences("broken", b"{}");
    assert_eq!(code, Some(1));
    assert!(said.contains("broken.json is no manifest"), "{said}");
    std::fs::remove_file(files.path("broken.json")).expect("it was there");
    let (code, findings) = files.verify_with(&with, &["broken.pdf"], &[]);
    assert_eq!(code, Some(1));
    assert!(
        findings[0]["manifest"]["differences"][0]
            .to_string()
            .contains("cannot read")
    );

    // A signed copy agrees with it by the file that was signed.
    let signer = Signer::new("rsa:2048");
    files.add("signed.pdf", &Update::signature(&pdf).signed(&signer));
    files.add("signed.json", manifest.to_string().as_bytes());
    let (code, findings) = files.verify_with(&with, &["signed.pdf"], &[]);
    assert_eq!((code, text(&findings[0], "verdict")), (Some(0), "signed"));
    assert_eq!(findings[0]["manifest"]["agrees"], true);
    let other = manifest
        .to_string()
        .replace(&sha256(&pdf), &sha256(b"other"));
    files.add("signed.json", other.as_bytes());
    let (code, findings) = files.verify_with(&with, &["signed.pdf"], &[]);
    assert_eq!((code, text(&findings[0], "verdict")), (Some(1), "signed"));

    // A manifest vouches for a file of which this build alone cannot tell, and for its signed copy.
    let templates = files.path("templates");
    std::fs::create_dir_all(templates.join("gongwen")).expect("a folder");
    let page = std::fs::read_to_string(repository("typst-templates/gongwen/page.typ"));
    let page = page.expect("the template").replace("28.95pt", "28.9pt");
    std::fs::write(templates.join("gongwen/page.typ"), page).expect("a file");
    let deployment = Deployment::spool().with("TEMPLATES__DIR", templates.to_str().expect("UTF-8"));
    deployment.send("a", job.to_string().as_bytes()).await;
    deployment.work_until_idle();
    let old = deployment.stored(&format!("{key}.pdf"));
    files.add("old.pdf", &old);
    files.add("old.json", &deployment.stored(&format!("{key}.json")));
    let (code, findings) = files.verify_with(&with, &["old.pdf"], &[]);
    assert_eq!((code, text(&findings[0], "verdict")), (Some(0), "unproven"));
    assert_eq!(files.verify(&["old.pdf"]).0, Some(1));
    files.add("old.pdf", &Update::signature(&old).signed(&signer));
    let (code, findings) = files.verify_with(&with, &["old.pdf"], &[]);
    assert_eq!((code, text(&findings[0], "verdict")), (Some(0), "unproven"));
    assert_eq!(findings[0]["original"]["bytes"], old.len());
    assert_eq!(findings[0]["signatures"].as_array().map(Vec::len), Some(1));
    let mut update = Update::signature(&old);
    update.add(update.catalog, "/OpenAction<<>>");
    files.add("old.pdf", &update.signed(&signer));
    assert_eq!(files.verify_with(&with, &["old.pdf"], &[]).0, Some(1));
}

#[test]
fn people_are_told_in_both_languages_and_a_missing_file_is_the_environments_fault() {
    let (files, pdf) = (Files::new(), seed());
    files.add("a.pdf", &pdf);
    files.add("b.pdf", &pdf[..1000]);
    let ran = |names: &[&str]| {
        let ran = Command::new(BANSHI)
            .arg("verify")
            .args(names)
            .env("BANSHI__FONTS__DIR", repository("fonts"))
            .current_dir(files.0.path())
            .output()
            .expect("it starts");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        (ran.status.code(), text(ran.stdout), text(ran.stderr))
    };
    let (code, out, _) = ran(&["a.pdf", "b.pdf"]);
    assert_eq!(code, Some(1));
    let lines = out.lines().collect::<Vec<_>>();
    assert_eq!(
        lines[..2],
        ["a.pdf: authentic 真实", "b.pdf: altered 已改动"]
    );
    assert!(lines[3].contains("被其他软件重新保存"), "{out}");
    let (code, _, err) = ran(&["missing.pdf"]);
    assert_eq!(code, Some(3));
    assert!(err.contains("cannot read missing.pdf"), "{err}");
}

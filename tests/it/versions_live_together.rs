//! What one version has made the next one takes as it is, and last year's pages can be set when
//! this year's have changed: docs/upgrade.md. (Two builds on one queue: tests/faults, E34.)

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use banshi::digest::sha256;
use serde_json::{Value, json};

use crate::support::deployment::{Deployment, succeeded};
use crate::support::jobs::corpus;
use crate::support::{commands, pdf, repository};

/// The template's file that lays a whole report out, as another version might: a page more.
fn with_a_page_more(folder: &Path, file: &str) {
    let text = fs::read_to_string(repository("typst-templates").join(file)).unwrap();
    let changed = folder.join(file);
    fs::create_dir_all(changed.parent().unwrap()).unwrap();
    fs::write(changed, text + "\n#pagebreak()\n附页。\n").unwrap();
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn render(deployment: &Deployment, templates: &Path, job: &Value) -> PathBuf {
    let folder = deployment.folder();
    fs::write(folder.join("job.json"), job.to_string()).unwrap();
    let mut command = deployment.banshi(&["render", "job.json", "-o", "other.pdf"]);
    command.env("BANSHI__TEMPLATES__DIR", templates);
    succeeded(&command.output().unwrap());
    folder.join("other.pdf")
}

/// What `banshi verify` says of a file with the templates of a folder.
fn verdict(deployment: &Deployment, templates: &Path, file: &Path) -> String {
    let mut command = deployment.banshi(&["verify", "--format", "json"]);
    command.arg(file).env("BANSHI__TEMPLATES__DIR", templates);
    let told = command.output().unwrap();
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
    told["verdict"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn of_a_pdf_that_another_build_has_set_the_manifest_says_what_is_so() {
    let deployment = Deployment::spool();
    deployment.work_until_idle();
    let other = deployment.folder().join("other");
    with_a_page_more(&other, "annual-report/2021/main.typ");
    let mut job = corpus("pingtan-2023");
    job["job_id"] = json!("begun-before");
    let theirs = fs::read(render(&deployment, &other, &job)).unwrap();

    // Its worker was killed before it could write the manifest.
    let stored = deployment.folder().join("store/annual-report/2021/2023");
    fs::create_dir_all(&stored).unwrap();
    fs::write(stored.join("begun-before.pdf"), &theirs).unwrap();
    let name = "begun-before";
    deployment.send(name, job.to_string().as_bytes()).await;
    deployment.work_until_idle();

    let (file, manifest) = (
        stored.join("begun-before.pdf"),
        read(&stored.join("begun-before.json")),
    );
    assert_eq!(fs::read(&file).unwrap(), theirs, "what was first stays");
    let says: Value =
        serde_json::from_slice(&pdf::attachment(&file, "provenance.json")).unwrap();
    assert_eq!(manifest["template"], says["template"]);
    assert_eq!(manifest["fonts"]["sha256"], says["fonts"]["sha256"]);
    assert_eq!(manifest["artifact"]["sha256"], sha256(&theirs));
    let pages = pdf::pages(&file).len();
    assert_eq!(manifest["artifact"]["pages"], pages);
    let event = &deployment.events().await[0];
    assert_eq!(event["data"]["artifact"]["pages"], pages);

    let ours = render(&deployment, Path::new(""), &job);
    assert_eq!(pdf::pages(&ours).len() + 1, pages, "this build sets one less");
    let mut faces: Vec<String> = pdf::faces(&file).into_iter().map(|(name, _)| name).collect();
    faces.sort();
    faces.dedup();
    assert_eq!(manifest["fonts"]["embedded"], json!(faces));

    let mut verify = deployment.banshi(&["verify", "--manifest"]);
    succeeded(&verify.arg(&file).output().unwrap());
}

#[tokio::test]
async fn last_years_pages_are_set_beside_this_years() {
    let folder = tempfile::tempdir().unwrap();
    let kept = Command::new("bash")
        .args(["-euc", &commands("docs/upgrade.md", "Last year's pages")])
        .current_dir(folder.path())
        .env("RELEASE", repository(""))
        .output()
        .unwrap();
    succeeded(&kept);
    // This year's template is another one, and so is what it stands on.
    let templates = folder.path().join("templates");
    with_a_page_more(&templates, "annual-report/2021/main.typ");
    let base = fs::read_to_string(repository("typst-templates/gongwen/page.typ")).unwrap();
    let narrower = base.replace("width: 156mm", "width: 150mm");
    assert_ne!(narrower, base);
    fs::create_dir_all(templates.join("gongwen")).unwrap();
    fs::write(templates.join("gongwen/page.typ"), narrower).unwrap();

    let deployment = Deployment::spool().with("TEMPLATES__DIR", templates.to_str().unwrap());
    let mut pages = Vec::new();
    for template in ["annual-report/2021", "annual-report-2025/2021"] {
        let mut job = corpus("pingtan-2023");
        job["template"] = json!(template);
        let id = template.replace('/', "-");
        job["job_id"] = json!(id);
        deployment.send(&id, job.to_string().as_bytes()).await;
        let file = format!("store/{template}/2023/{id}.pdf");
        pages.push((deployment.folder().join(file), job));
    }
    deployment.work_until_idle();
    for (file, _) in &pages {
        assert_eq!(verdict(&deployment, &templates, file), "authentic");
    }

    // As the release set it that is called last year's here, but for the names.
    let (kept, mut job) = pages.remove(1);
    job["template"] = json!("annual-report/2021");
    let then = render(&deployment, Path::new(""), &job);
    assert_eq!(pdf::words(&kept), pdf::words(&then));
    let (this_years, _) = pages.remove(0);
    assert_ne!(pdf::words(&this_years), pdf::words(&kept));

    // And the next release, which changes what this year's stand on, makes the same file of it.
    fs::remove_file(templates.join("gongwen/page.typ")).unwrap();
    assert_eq!(verdict(&deployment, &templates, &kept), "equivalent");
    assert_eq!(verdict(&deployment, &templates, &this_years), "unproven");
}

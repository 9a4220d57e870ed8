//! What one version has made the next one takes as it is, and last year's pages can be set when
//! this year's have changed: docs/upgrade.md. (Two builds on one queue: tests/faults, E34.)

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use banshi::digest::sha256;
use banshi::fleet::WorkerStatus;
use serde_json::{Value, json};

use crate::support::deployment::{Deployment, succeeded};
use crate::support::jobs::corpus;
use crate::support::{BANSHI, commands, pdf, repository, until};

/// What all templates stand on, as another version might have it: fewer lines a page, and so more pages.
fn with_fewer_lines(folder: &Path) {
    let file = "gongwen/page.typ";
    let text = fs::read_to_string(repository("typst-templates").join(file)).unwrap();
    let other = text.replace("28.95pt", "37.5pt");
    assert_ne!(other, text);
    fs::create_dir_all(folder.join("gongwen")).unwrap();
    fs::write(folder.join(file), other).unwrap();
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
    with_fewer_lines(&other);
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
    let says: Value = serde_json::from_slice(&pdf::attachment(&file, "provenance.json")).unwrap();
    assert_eq!(manifest["template"], says["template"]);
    assert_eq!(manifest["fonts"]["sha256"], says["fonts"]["sha256"]);
    assert_eq!(manifest["artifact"]["sha256"], sha256(&theirs));
    let pages = pdf::pages(&file).len();
    assert_eq!(manifest["artifact"]["pages"], pages);
    let event = &deployment.events().await[0];
    assert_eq!(event["data"]["artifact"]["pages"], pages);

    let ours = render(&deployment, Path::new(""), &job);
    assert_ne!(pdf::pages(&ours).len(), pages, "this build sets less");
    let listed = Command::new("pdffonts").arg(&file).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let names = listed
        .lines()
        .skip(2)
        .filter_map(|line| line.split(' ').next());
    let faces: BTreeSet<&str> = names
        .filter_map(|name| Some(name.split_once('+')?.1))
        .collect();
    assert_eq!(manifest["fonts"]["embedded"], json!(faces));

    let mut verify = deployment.banshi(&["verify", "--manifest"]);
    succeeded(&verify.arg(&file).output().unwrap());
}

#[tokio::test]
async fn a_worker_goes_on_with_its_own_typesetters_when_its_program_is_replaced() {
    let deployment = Deployment::spool();
    let program = deployment.folder().join("banshi");
    fs::copy(BANSHI, &program).unwrap();
    // The program, the arguments and the variables of a worker, from another place.
    let usual = deployment.banshi(&["worker"]);
    let mut command = Command::new(&program);
    let variables = usual
        .get_envs()
        .filter_map(|(name, value)| Some((name, value?)));
    command
        .arg("worker")
        .envs(variables)
        .current_dir(deployment.folder());
    let worker = deployment.start(&mut command);
    until("jobs can come in", || {
        worker.log().contains("jobs can come in")
    });

    // As a package does it: another file takes the name.
    let other = deployment.folder().join("other");
    fs::copy("/bin/false", &other).unwrap();
    fs::rename(&other, &program).unwrap();
    worker.signal_typesetters("KILL");
    let job = corpus("pingtan-2023");
    deployment.send("after", job.to_string().as_bytes()).await;
    until("the job is done by a new typesetter", || {
        let stored = deployment.folder().join("store/annual-report/2021/2023");
        stored.join("pingtan-2023.json").exists()
    });
    assert_eq!(worker.stop(), Some(0));
}

#[test]
fn what_a_worker_of_another_version_says_of_itself_is_heard() {
    let ours = WorkerStatus {
        worker: "machine-1".to_owned(),
        version: "0.1.0".to_owned(),
        ready: true,
        ..WorkerStatus::default()
    };
    let mut later = json!(ours);
    later["said_by_a_later_version"] = json!({"more": [1]});
    let heard = WorkerStatus::read(later.to_string().as_bytes());
    assert_eq!(
        heard,
        Some(ours.clone()),
        "what is not known is passed over"
    );

    let mut earlier = json!({"worker": "machine-1", "version": "0.1.0", "ready": true});
    let heard = WorkerStatus::read(earlier.to_string().as_bytes());
    assert_eq!(heard, Some(ours), "what it does not say is nothing");
    earlier["worker"] = json!("");
    let heard = WorkerStatus::read(earlier.to_string().as_bytes());
    assert_eq!(heard, None, "but it has a name");
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
    // This year's templates stand on something else.
    let templates = folder.path().join("templates");
    with_fewer_lines(&templates);

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

    // As the release set it that is called last year's here.
    let (kept, mut job) = pages.remove(1);
    job["template"] = json!("annual-report/2021");
    let then = render(&deployment, Path::new(""), &job);
    assert_eq!(pdf::text(&kept), pdf::text(&then));
    let (this_years, _) = pages.remove(0);
    assert_ne!(pdf::text(&this_years), pdf::text(&kept));

    // And the next release, whose templates stand on something else again, makes the same of it.
    fs::remove_file(templates.join("gongwen/page.typ")).unwrap();
    assert_eq!(verdict(&deployment, &templates, &kept), "equivalent");
    assert_eq!(verdict(&deployment, &templates, &this_years), "unproven");
}

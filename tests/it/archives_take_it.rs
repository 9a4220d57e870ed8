//! `banshi archive`: what was announced is kept in packages that other programs find valid, once,
//! whatever happens; and who has not reported is told.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use banshi::archive::{ELEMENTS, Known};
use banshi::digest::sha256;
use serde_json::{Value, json};

use crate::support::deployment::Deployment;
use crate::support::jobs::{BROKEN, corpus};
use crate::support::{BANSHI, listed, repository};

/// The package of the year 2023.
const BAG: &str = "annual-report-2023-0001";
const KEY: &str = "annual-report/2021/2023/pingtan-2023";

/// Runs `banshi archive`: exit code, what it printed, and what it said.
fn archive(deployment: &Deployment, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = deployment
        .banshi(&["archive"])
        .args(arguments)
        .output()
        .expect("it starts");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

/// The same to the end of the log, in JSON.
fn archive_once(deployment: &Deployment, dir: &str, more: &[&str]) -> (Option<i32>, Value) {
    let mut arguments = vec![dir, "--once", "--format", "json"];
    arguments.extend(more);
    let (code, out, err) = archive(deployment, &arguments);
    let told = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{err}"));
    (code, told)
}

/// The audit: exit code, and each package's faults as `kind path`.
fn check(deployment: &Deployment, dir: &str) -> (Option<i32>, BTreeMap<String, Vec<String>>) {
    let (code, out, err) = archive(deployment, &["check", dir, "--format", "json"]);
    let packages = out.lines().map(|line| {
        let package: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{out}{err}"));
        let faults = package["faults"].as_array().expect("a list").iter();
        let faults = faults.map(|it| format!("{} {}", text(&it["kind"]), text(&it["path"])));
        (text(&package["package"]).to_owned(), faults.collect())
    });
    (code, packages.collect())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// What the Library of Congress's BagIt says of a package.
fn validated(package: &Path) -> bool {
    let python = repository("target/tools/deploy/bin/python");
    let ran = Command::new(python)
        .args(["-m", "bagit", "--quiet", "--validate"])
        .arg(package)
        .output()
        .expect("tests/tools/install test");
    println!("{}", String::from_utf8_lossy(&ran.stderr));
    ran.status.success()
}

/// The digests of the files below a folder, by their paths.
fn files(dir: &Path) -> BTreeMap<String, String> {
    let (mut files, mut folders) = (BTreeMap::new(), vec![dir.to_owned()]);
    while let Some(folder) = folders.pop() {
        for name in listed(&folder) {
            let path = folder.join(name);
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let inside = path.strip_prefix(dir).expect("below it").display();
            let bytes = std::fs::read(&path).expect("a file");
            files.insert(inside.to_string(), sha256(&bytes));
        }
    }
    files
}

/// The packages of an archive, without what it keeps for itself.
fn packages(dir: &Path) -> BTreeMap<String, String> {
    let mut all = files(dir);
    assert!(all.remove("journal.jsonl").is_some(), "a journal");
    all
}

/// Sends real reports, and has them worked on.
async fn reported(deployment: &Deployment, names: &[&str]) {
    for name in names {
        deployment
            .send(name, corpus(name).to_string().as_bytes())
            .await;
    }
    deployment.work_until_idle();
}

/// Another report of the agency of one.
async fn corrected(deployment: &Deployment, name: &str, job_id: &str) {
    let mut job = corpus(name);
    job["job_id"] = json!(job_id);
    job["data"]["overview"] = json!(["更正后的总体情况。"]);
    deployment.send(job_id, job.to_string().as_bytes()).await;
    deployment.work_until_idle();
}

/// Where a report's files are in a package.
fn folder(archive: &Path, bag: &str, year: u16, job_id: &str) -> PathBuf {
    let reports = archive.join(bag).join("data/电子档案");
    reports.join(format!("{year}/政府信息公开工作年度报告/{job_id}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_announced_is_kept_once_in_valid_bags_of_the_same_bytes_each_time() {
    let deployment = Deployment::amqp().await;
    let names = ["pingtan-2023", "pingtan-2024", "suqian-2024", BROKEN];
    reported(&deployment, &names).await;
    let events = deployment.events().await;
    let (code, told) = archive_once(&deployment, "archive", &["--verify"]);
    assert_eq!((code, &told["new"]), (Some(0), &json!(3)), "{told}");
    assert_eq!(
        told["refused"],
        json!([{"job_id": BROKEN, "why": "R-REVIEW"}])
    );
    let dir = deployment.path("archive");
    let open = format!("{BAG}.open");
    assert_eq!(
        listed(&dir),
        [
            ".part",
            &open,
            "annual-report-2024-0001.open",
            "journal.jsonl"
        ]
    );
    assert!(validated(&dir.join(&open)));

    // A report's folder has what is stored and what was published, as they are.
    let report = folder(&dir, &open, 2023, "pingtan-2023");
    let read = |ending: &str| std::fs::read(report.join(format!("pingtan-2023.{ending}"))).unwrap();
    assert_eq!(listed(&report).len(), 4);
    assert!(read("pdf") == deployment.stored(&format!("{KEY}.pdf")));
    assert!(read("json") == deployment.stored(&format!("{KEY}.json")));
    let event: Value = serde_json::from_slice(&read("event.json")).unwrap();
    assert!(events.contains(&event), "{event}");
    let metadata = String::from_utf8(read("metadata.xml")).unwrap();
    let manifest: Value = serde_json::from_slice(&read("json")).unwrap();
    for (element, value) in [
        ("电子文件号", "pingtan-2023"),
        ("年度", "2023"),
        ("题名", text(&manifest["title"])),
        ("责任者", "平潭综合实验区"),
        ("日期", "2024-03-08"),
        ("页数", &manifest["artifact"]["pages"].to_string()),
    ] {
        let line = format!("  <{element}>{value}</{element}>\n");
        assert!(metadata.contains(&line), "{line} in {metadata}");
    }
    // What only the archive can say is in none of it.
    for (element, known) in ELEMENTS {
        let is_there = metadata.contains(&format!("<{element}>"));
        assert_eq!(is_there, known != Known::ByTheArchive, "{element}");
    }
    let catalogue = dir.join(&open).join("data/文件目录.XML");
    let catalogue = std::fs::read_to_string(catalogue).unwrap();
    assert!(
        catalogue.contains("<责任者>平潭综合实验区</责任者>")
            && catalogue.contains("<日期>20240308</日期>")
            && catalogue.contains("pingtan-2023/pingtan-2023.pdf</电子档案名称>"),
        "{catalogue}"
    );

    // A second time there is nothing new, and nothing changes.
    let before = packages(&dir);
    let (code, told) = archive_once(&deployment, "archive", &[]);
    assert_eq!((code, &told["new"]), (Some(0), &json!(0)), "{told}");
    assert!(before == packages(&dir));
    // Another archive has the same bytes, and closed packages are the open ones under their names.
    let (code, told) = archive_once(&deployment, "other", &["--close"]);
    assert_eq!((code, &told["new"]), (Some(0), &json!(3)), "{told}");
    let closed = packages(&deployment.path("other"));
    let renamed = before
        .iter()
        .map(|(path, digest)| (path.replace("-0001.open/", "-0001/"), digest.clone()));
    assert!(closed == renamed.collect());
    assert!(validated(&deployment.path(&format!("other/{BAG}"))));
    let (code, packages) = check(&deployment, "other");
    assert_eq!(code, Some(0), "{packages:?}");
    assert_eq!(packages.len(), 2);
    deployment.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_names_each_file_that_was_changed_removed_or_added() {
    let deployment = Deployment::spool();
    reported(&deployment, &["pingtan-2023", "pingtan-2024"]).await;
    let (code, told) = archive_once(&deployment, "archive", &["--close"]);
    assert_eq!(code, Some(0), "{told}");
    let dir = deployment.path("archive");
    let (code, all) = check(&deployment, "archive");
    assert_eq!(code, Some(0), "{all:?}");
    let report = folder(&dir, BAG, 2023, "pingtan-2023");
    let inside = |name: &str| {
        let report = report.strip_prefix(dir.join(BAG)).unwrap();
        report.join(name).display().to_string()
    };
    let faults = || {
        let (code, mut all) = check(&deployment, "archive");
        assert!(all["annual-report-2024-0001"].is_empty(), "{all:?}");
        (code, all.remove(BAG).unwrap())
    };
    let pdf = report.join("pingtan-2023.pdf");
    let mut bytes = std::fs::read(&pdf).unwrap();
    bytes[1000] ^= 1;
    std::fs::write(&pdf, &bytes).unwrap();
    std::fs::remove_file(report.join("pingtan-2023.json")).unwrap();
    std::fs::write(report.join("note.txt"), "x").unwrap();
    let mut want = [
        format!("changed {}", inside("pingtan-2023.pdf")),
        format!("missing {}", inside("pingtan-2023.json")),
        format!("extra {}", inside("note.txt")),
    ];
    assert_eq!(faults(), (Some(1), want.to_vec()));
    assert!(!validated(&dir.join(BAG)));
    let (code, out, _) = archive(&deployment, &["check", "archive"]);
    assert_eq!(code, Some(1));
    assert!(
        out.contains(&format!("{BAG}: 3 FAULTS 有误"))
            && out.contains(&format!(
                "    changed 已改动 {}",
                inside("pingtan-2023.pdf")
            ))
            && out.contains("annual-report-2024-0001: good 完好"),
        "{out}"
    );

    // One that cannot be read is named, too, and the exit code says that not all is known.
    std::fs::remove_file(&pdf).unwrap();
    std::os::unix::fs::symlink("nowhere", &pdf).unwrap();
    want[0] = format!("unreadable {}", inside("pingtan-2023.pdf"));
    want.rotate_left(1);
    assert_eq!(faults(), (Some(3), want.to_vec()));

    // Whoever changes a file and all that vouches for it in the package is found by the journal.
    std::fs::remove_file(report.join("note.txt")).unwrap();
    std::fs::remove_file(&pdf).unwrap();
    let python = repository("target/tools/deploy/bin/python");
    let saved = "import bagit, sys; bagit.Bag(sys.argv[1]).save(manifests=True)";
    let ran = Command::new(python)
        .args(["-c", saved])
        .arg(dir.join(BAG))
        .output();
    assert!(ran.unwrap().status.success());
    assert!(validated(&dir.join(BAG)));
    let tags = ["changed tagmanifest-sha256.txt".to_owned()];
    assert_eq!(faults(), (Some(1), tags.to_vec()));
    // Elsewhere, without the journal, the package agrees with itself.
    std::fs::rename(dir.join(BAG), deployment.path(BAG)).unwrap();
    let (code, all) = check(&deployment, BAG);
    assert_eq!((code, all[BAG].len()), (Some(0), 0));
    // And where it was it is missed.
    assert_eq!(faults(), (Some(1), vec!["missing .".to_owned()]));
    let (code, _, err) = archive(&deployment, &["check", "store"]);
    assert_eq!(code, Some(3), "{err}");
    assert!(err.contains("holds no package"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_not_reported_is_told_by_the_roster() {
    let deployment = Deployment::spool();
    reported(&deployment, &["pingtan-2023", "pingtan-2024", BROKEN]).await;
    corrected(&deployment, "pingtan-2023", "pingtan-2023-2").await;
    let roster = "机构名称,别名,应报,任务编号,机构代码,全宗号\n\
                  平潭县,平潭综合实验区,是,,12350000,0012\n\
                  金湖县,,是,jinhu-2023,,\n\
                  没有局,,是,,,\n\
                  已撤局,,否,,,\n";
    std::fs::write(deployment.path("roster.csv"), roster).unwrap();
    let expect = |year: &str, format: &str| {
        let arguments = [
            "archive",
            "--once",
            "--expect",
            "roster.csv",
            "--year",
            year,
            "--format",
            format,
        ];
        archive(&deployment, &arguments)
    };
    let (code, out, err) = expect("2023", "text");
    assert_eq!(code, Some(1), "{err}");
    assert_eq!(
        out,
        format!(
            "重复 repeated: 平潭县  pingtan-2023, pingtan-2023-2  {BAG}, {BAG}\n\
             未通过 refused: 金湖县  jinhu-2023  R-REVIEW\n\
             缺报 missing: 没有局\n\
             应报 3  已报 0  缺报 1  重复 1  未通过 1  名册外 0\n"
        )
    );
    assert!(err.contains("3 in all"), "{err}");
    let (_, out, _) = expect("2024", "csv");
    assert_eq!(
        out.trim_start_matches('\u{feff}'),
        "状态,机构名称,机构代码,全宗号,任务编号,归档包,问题\n\
         已报,平潭县,12350000,0012,pingtan-2024,annual-report-2024-0001,\n\
         未通过,金湖县,,,jinhu-2023,,R-REVIEW\n\
         缺报,没有局,,,,,\n"
    );
    let (_, out, _) = expect("2023", "json");
    let rows: Vec<Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(rows[0]["status"], "repeated");
    assert_eq!(rows[3]["counts"]["expected"], 3, "{out}");

    // When all have reported, the exit code says so.
    let roster = "name\n平潭综合实验区\n";
    std::fs::write(deployment.path("roster.csv"), roster).unwrap();
    let (code, out, err) = expect("2024", "text");
    assert_eq!(code, Some(0), "{err}");
    assert!(out.starts_with("已报 reported: 平潭综合实验区"), "{out}");
    // The year is asked for, and a roster that is none is told.
    let (code, ..) = archive(
        &deployment,
        &["archive", "--once", "--expect", "roster.csv"],
    );
    assert_eq!(code, Some(2));
    std::fs::write(deployment.path("roster.csv"), b"name\n\xcc\xec\n").unwrap();
    let (code, _, err) = expect("2024", "text");
    assert_eq!(code, Some(2));
    assert!(err.contains("CSV UTF-8"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_after_a_package_is_closed_goes_into_the_next() {
    let deployment = Deployment::spool();
    reported(&deployment, &["pingtan-2023"]).await;
    let (code, told) = archive_once(&deployment, "archive", &["--close"]);
    assert_eq!(code, Some(0), "{told}");
    let closed = files(&deployment.path(&format!("archive/{BAG}")));
    corrected(&deployment, "pingtan-2023", "pingtan-2023-2").await;
    corrected(&deployment, "pingtan-2023", "pingtan-2023-3").await;
    let (code, told) = archive_once(&deployment, "archive", &["--max-reports", "1"]);
    assert_eq!((code, &told["new"]), (Some(0), &json!(2)), "{told}");
    assert!(closed == files(&deployment.path(&format!("archive/{BAG}"))));
    let dir = deployment.path("archive");
    let all = (1..=3).map(|number| format!("annual-report-2023-{number:04}"));
    for (package, number) in all.zip(1..) {
        assert!(validated(&dir.join(&package)), "{package}");
        let info = std::fs::read_to_string(dir.join(package).join("bag-info.txt")).unwrap();
        for line in [
            "Bag-Group-Identifier: annual-report-2023\n",
            &format!("Bag-Count: {number} of ?\n"),
        ] {
            assert!(info.contains(line), "{info}");
        }
    }
    // A package that was handed over and is no longer here counts.
    std::fs::remove_dir_all(dir.join("annual-report-2023-0003")).unwrap();
    corrected(&deployment, "pingtan-2023", "pingtan-2023-4").await;
    let (_, told) = archive_once(&deployment, "archive", &[]);
    assert_eq!(told["new"], 1, "{told}");
    assert!(dir.join("annual-report-2023-0004.open").is_dir());
    // Packages without their journal are nobody's.
    std::fs::remove_file(dir.join("journal.jsonl")).unwrap();
    let (code, _, err) = archive(&deployment, &["archive", "--once"]);
    assert_eq!(code, Some(3));
    assert!(err.contains("no journal.jsonl"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_it_goes_on_and_has_each_report_once() {
    let deployment = Deployment::amqp().await;
    for number in 0..40 {
        let mut job = corpus("zibo-bigdata-2020");
        job["job_id"] = json!(format!("report-{number:02}"));
        job["data"]["overview"] = json!([format!("第{number}份。")]);
        let name = format!("report-{number:02}");
        deployment.send(&name, job.to_string().as_bytes()).await;
    }
    deployment.work_until_idle();
    let most = ["--max-reports", "15"];
    let mut kills = 0;
    loop {
        let mut command = deployment.banshi(&["archive", "archive", "--once"]);
        command
            .args(most)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut running = command.spawn().expect("it starts");
        // Later each time: it gets through in the end, and each try ends at another moment.
        tokio::time::sleep(Duration::from_millis(20 + 90 * kills)).await;
        match running.try_wait().unwrap() {
            Some(ended) => {
                assert_eq!(ended.code(), Some(0));
                break;
            }
            None => {
                running.kill().unwrap();
                running.wait().unwrap();
                kills += 1;
            }
        }
    }
    assert!(kills > 2, "{kills}");
    let (code, told) = archive_once(&deployment, "archive", &most);
    assert_eq!((code, &told["reports"]), (Some(0), &json!(40)), "{told}");
    archive_once(&deployment, "in-one-go", &most);
    let one = packages(&deployment.path("archive"));
    let pdfs = one.keys().filter(|path| path.ends_with(".pdf")).count();
    assert_eq!(pdfs, 40);
    assert!(one == packages(&deployment.path("in-one-go")));
    let (code, all) = check(&deployment, "archive");
    assert_eq!((code, all.len()), (Some(0), 3), "{all:?}");
    for package in all.keys() {
        assert!(validated(&deployment.path("archive").join(package)));
    }
    deployment.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_is_not_as_it_was_announced_is_named_and_the_rest_is_kept() {
    let deployment = Deployment::spool();
    reported(&deployment, &["pingtan-2023", "pingtan-2024"]).await;
    let store = deployment.path("store").join(format!("{KEY}.pdf"));
    let right = std::fs::read(&store).unwrap();
    let mut wrong = right.clone();
    wrong[1000] ^= 1;
    std::fs::write(&store, &wrong).unwrap();
    for _ in 0..2 {
        let (code, out, err) = archive(&deployment, &["archive", "--once"]);
        assert_eq!(code, Some(1), "{out}");
        assert!(
            out.contains("1 in all") && out.contains("1 not archived"),
            "{out}"
        );
        let why = "pingtan-2023: not archived 未归档: file://";
        assert!(
            err.contains(why) && err.contains("was changed after"),
            "{err}"
        );
    }
    std::fs::remove_file(&store).unwrap();
    let (code, told) = archive_once(&deployment, "archive", &[]);
    assert_eq!(code, Some(1));
    assert!(
        text(&told["wrong"][0]["why"]).ends_with("is not there"),
        "{told}"
    );
    // Once it is restored it is taken.
    std::fs::write(&store, &right).unwrap();
    let (code, told) = archive_once(&deployment, "archive", &[]);
    assert_eq!((code, &told["new"]), (Some(0), &json!(1)), "{told}");
    assert!(validated(&deployment.path(&format!("archive/{BAG}.open"))));

    // One that all agree about, and banshi never made: only making it again tells.
    let manifest = store.with_extension("json");
    let event = listed(&deployment.path("spool/events"))
        .into_iter()
        .map(|name| deployment.path("spool/events").join(name))
        .find(|path| {
            std::fs::read_to_string(path)
                .unwrap()
                .contains("pingtan-2023")
        })
        .expect("its event");
    for file in [manifest, event] {
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text.replace(&sha256(&right), &sha256(&wrong))).unwrap();
    }
    std::fs::write(&store, &wrong).unwrap();
    let (code, told) = archive_once(&deployment, "trusting", &[]);
    assert_eq!((code, &told["new"]), (Some(0), &json!(2)), "{told}");
    let (code, told) = archive_once(&deployment, "strict", &["--verify"]);
    assert_eq!((code, &told["new"]), (Some(1), &json!(1)), "{told}");
    assert!(
        text(&told["wrong"][0]["why"]).contains("not what banshi made"),
        "{told}"
    );
    // To the first archive, which has the right one, it is another result.
    let (code, told) = archive_once(&deployment, "archive", &[]);
    assert_eq!((code, &told["new"]), (Some(0), &json!(0)), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_log_no_longer_has_is_taken_from_the_stores_manifests() {
    let deployment = Deployment::amqp().await;
    reported(&deployment, &["pingtan-2023"]).await;
    let (code, told) = archive_once(&deployment, "archive", &[]);
    assert_eq!((code, &told["store_listed"]), (Some(0), &json!(false)));
    reported(&deployment, &["pingtan-2024", "suqian-2024"]).await;
    let events = deployment.events().await;
    // As after thirty days, and a worker declares it anew.
    deployment.delete_queue("events.log").await;
    reported(&deployment, &["pingtan-2021"]).await;
    let (code, out, err) = archive(&deployment, &["archive", "--once"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(
        out.contains("3 new") && out.contains("the store was listed"),
        "{out}"
    );
    assert!(
        err.contains("what was refused or has failed meanwhile is not known"),
        "{err}"
    );
    // Its event is made from the manifest, and is the one that was published.
    let report = folder(
        &deployment.path("archive"),
        "annual-report-2024-0001.open",
        2024,
        "suqian-2024",
    );
    let event = std::fs::read(report.join("suqian-2024.event.json")).unwrap();
    let event: Value = serde_json::from_slice(&event).unwrap();
    assert!(events.contains(&event), "{event}");
    // And then it goes on by the log.
    let (code, told) = archive_once(&deployment, "archive", &[]);
    assert_eq!((code, &told["new"]), (Some(0), &json!(0)));
    assert_eq!(told["store_listed"], json!(false), "{told}");
    deployment.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_manifest_names_beside_the_pdf_is_kept_with_it() {
    let deployment = Deployment::spool().with("RENDER__FORMATS", "pdf,ofd");
    reported(&deployment, &["pingtan-2023"]).await;
    let manifest = deployment.path("store").join(format!("{KEY}.json"));
    let ofd = manifest.with_extension("ofd");
    let (says, made) = (
        std::fs::read(&manifest).unwrap(),
        std::fs::read(&ofd).unwrap(),
    );
    let wrong = async |want: &str| {
        let (code, told) = archive_once(&deployment, "archive", &[]);
        assert_eq!(code, Some(1), "{told}");
        assert!(text(&told["wrong"][0]["why"]).contains(want), "{told}");
    };
    std::fs::write(&ofd, "other").unwrap();
    wrong("pingtan-2023.ofd was changed").await;
    // A manifest can be changed with what it names; an event can't.
    let mut other: Value = serde_json::from_slice(&says).unwrap();
    other["companions"][0]["sha256"] = json!(sha256(b"other"));
    std::fs::write(&manifest, other.to_string()).unwrap();
    wrong("names other companions than its event").await;
    std::fs::write(&manifest, says).unwrap();
    std::fs::write(&ofd, &made).unwrap();
    let (code, told) = archive_once(&deployment, "archive", &["--verify"]);
    assert_eq!((code, &told["new"]), (Some(0), &json!(1)), "{told}");
    assert_eq!(told["wrong"], json!([]), "{told}");
    let dir = deployment.path("archive");
    let report = folder(&dir, &format!("{BAG}.open"), 2023, "pingtan-2023");
    assert_eq!(
        std::fs::read(report.join("pingtan-2023.ofd")).unwrap(),
        made
    );
    assert!(validated(&dir.join(format!("{BAG}.open"))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_and_a_notice_of_one_number_are_two_documents() {
    let deployment = Deployment::spool();
    for edition in ["letter", "notice"] {
        let template = format!("official-letter/{edition}");
        let sample = repository(&format!("typst-templates/{template}/sample.json"));
        let mut job: Value = serde_json::from_slice(&std::fs::read(sample).unwrap()).unwrap();
        job["job_id"] = json!("001");
        job["data"]["issued_on"] = json!("2018-12-29");
        deployment.send(edition, job.to_string().as_bytes()).await;
    }
    deployment.work_until_idle();
    let (code, told) = archive_once(&deployment, "archive", &["--close"]);
    assert_eq!((code, &told["new"]), (Some(0), &json!(2)), "{told}");
    let dir = deployment.path("archive");
    let bags = listed(&dir)
        .into_iter()
        .filter(|it| it.starts_with("official-letter-"));
    let kept: Vec<String> = bags
        .flat_map(|bag| files(&dir.join(bag)).into_keys())
        .filter(|path| path.ends_with("/001.pdf"))
        .collect();
    assert_eq!(kept.len(), 2, "{kept:?}");
    for (path, edition) in kept.iter().zip(["letter", "notice"]) {
        assert!(
            path.contains(&format!("official-letter-{edition}/001/")),
            "{path}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_that_was_to_be_closed_is_closed() {
    let deployment = Deployment::spool();
    reported(&deployment, &["pingtan-2023"]).await;
    let (code, _) = archive_once(&deployment, "archive", &["--close"]);
    assert_eq!(code, Some(0));
    let dir = deployment.path("archive");
    let before = files(&dir.join(BAG));
    // As when it is killed after its journal knows, and before the folder has its name.
    std::fs::rename(dir.join(BAG), dir.join(format!("{BAG}.open"))).unwrap();
    corrected(&deployment, "pingtan-2023", "pingtan-2023-b").await;
    let (code, told) = archive_once(&deployment, "archive", &[]);
    assert_eq!((code, &told["new"]), (Some(0), &json!(1)), "{told}");
    assert_eq!(files(&dir.join(BAG)), before);
    assert!(dir.join("annual-report-2023-0002.open").is_dir());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_archive_at_a_time_and_it_leaves_when_it_is_asked_to() {
    let deployment = Deployment::amqp().await;
    let running = deployment.start(&mut deployment.banshi(&["archive", "archive"]));
    reported(&deployment, &["pingtan-2023"]).await;
    let open = deployment.path(&format!("archive/{BAG}.open"));
    let whole = async |_: &Deployment| open.join("tagmanifest-sha256.txt").exists();
    deployment.until("it is archived", whole).await;
    let (code, _, err) = archive(&deployment, &["archive", "--once"]);
    assert_eq!(code, Some(3));
    assert!(err.contains("another `banshi archive` is at work"), "{err}");
    // What is being filled is not looked at meanwhile.
    let (code, out, _) = archive(&deployment, &["check", "archive"]);
    assert_eq!(code, Some(0));
    assert!(out.contains("being filled, not looked at"), "{out}");
    assert_eq!(running.stop(), Some(0));
    assert!(validated(&open));
    // Without a store, or without a broker, it does not begin.
    deployment.lose_store();
    let (code, _, err) = archive(&deployment, &["archive", "--once"]);
    assert_eq!(code, Some(3), "{err}");
    deployment.restore_store();
    deployment.remove().await;
}

#[test]
fn the_archivists_manual_says_who_fills_in_which_element() {
    let manual = std::fs::read_to_string(repository("docs/archive.md")).unwrap();
    for (element, known) in ELEMENTS {
        let cell = match known {
            Known::From(_) => format!("| {element} | banshi |"),
            Known::ByTheArchive => format!("| {element} | the archive |"),
        };
        assert!(manual.contains(&cell), "{cell}");
    }
}

/// The lines that the manual shows in its sections of this name.
fn shown(manual: &str, section: &str) -> Vec<String> {
    let from = format!("\n## {section}\n");
    let (_, text) = manual.split_once(&from).expect(section);
    let text = text.split("\n## ").next().unwrap_or_default();
    let blocks = text.split("```sh\n").skip(1);
    let blocks = blocks.map(|block| block.split("```").next().unwrap_or_default());
    blocks.flat_map(str::lines).map(str::to_owned).collect()
}

/// As an archivist types them: one after another in one shell, in the folder of the year's reports.
/// veraPDF's own command line is not here: its library says it, as `tests/tools/verapdf` has it, of
/// both flavours at once and once, since package and store have the same bytes.
#[tokio::test(flavor = "multi_thread")]
async fn each_line_that_the_archivists_manual_shows_finds_all_well() {
    let deployment = Deployment::spool().with("RENDER__FORMATS", "pdf,ofd,html");
    reported(&deployment, &["pingtan-2023"]).await;
    let dir = deployment.path("archive");
    let dir = dir.to_str().expect("UTF-8");
    let (code, told) = archive_once(&deployment, dir, &["--close"]);
    assert_eq!((code, &told["new"]), (Some(0), &json!(1)), "{told}");

    let manual = std::fs::read_to_string(repository("docs/archive.md")).unwrap();
    let mut lines = shown(&manual, "To check a file");
    lines.extend(shown(&manual, "To check a package"));
    assert!(lines.len() > 20, "{lines:?}");
    let tools = format!(
        "PATH={}:$PATH\n\
         verapdf() {{ [[ $asked ]] || asked=$({} \"$3\") && grep \" $2 \" <<<\"$asked\"; }}\n\
         bagit.py() {{ {} -m bagit \"$@\"; }}\n",
        Path::new(BANSHI).parent().expect("a folder").display(),
        repository("tests/tools/verapdf").display(),
        repository("target/tools/deploy/bin/python").display()
    );
    let run = lines.iter().map(|line| {
        let line = line.replace("/srv/archive", dir);
        // Which line said what, and with which code it ended.
        format!("{line}\necho \"=$?\"\n")
    });
    let settings = deployment.banshi(&[]);
    let settings = settings.get_envs();
    let output = Command::new("bash")
        .args(["-o", "pipefail", "-c"])
        .arg(tools + &run.collect::<String>())
        .envs(settings.filter_map(|(name, value)| Some((name, value?))))
        .current_dir(deployment.path("store/annual-report/2021/2023"))
        .output()
        .expect("bash is there");
    let said = String::from_utf8_lossy(&output.stdout);
    let whole = format!("{said}{}", String::from_utf8_lossy(&output.stderr));
    let codes = said.lines().filter_map(|line| line.strip_prefix('='));
    let codes: Vec<&str> = codes.collect();
    assert_eq!(codes.len(), lines.len(), "{whole}");
    for (line, code) in lines.iter().zip(codes) {
        // pdfsig ends with 2 where it finds no signature.
        let expected = if line.starts_with("pdfsig ") {
            "2"
        } else {
            "0"
        };
        assert_eq!(code, expected, "{line}: {whole}");
    }
    for well in [
        "pingtan-2023.pdf: authentic 真实, as its manifest says 与清单相符, with pingtan-2023.ofd",
        "pingtan-2023.pdf: OK",
        "No syntax or stream encoding errors found",
        "PASS 3a pingtan-2023.pdf",
        "PASS ua1 pingtan-2023.pdf",
        "pingtan-2023.ofd: OK",
        "pingtan-2023.html: OK",
        "No errors detected",
        "does not contain any signatures",
        "good 完好",
    ] {
        assert!(whole.contains(well), "{well}: {whole}");
    }
}

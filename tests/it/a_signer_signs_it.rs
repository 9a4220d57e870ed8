//! What a signing system does with a PDF: its signature is checked, stored beside the PDF and
//! announced; and whatever the signing system does wrong costs no job and no attempt.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use banshi::config::{self, Gives};
use banshi::digest::sha256;
use banshi::problem::Outage;
use banshi::sign::{self, Trouble};
use banshi::typesetter::{Manuscript, Place, Typesetter, attached};
use serde_json::{Value, json};

use crate::support::deployment::{Deployment, ask};
use crate::support::jobs::corpus;
use crate::support::signing::{Signer, Update};
use crate::support::{check, pdf, render, repository, settings, until};

/// A key and its certificate, of this moment.
fn authority(deployment: &Deployment, kind: &str) {
    let make = format!(
        "openssl req -x509 -newkey {kind} -noenc -keyout key.pem -out certificate.pem -days 30 \
         -subj /CN=test -addext keyUsage=digitalSignature,nonRepudiation"
    );
    shell(deployment, &make);
}

/// What a line of commands says, in the deployment's folder.
fn shell(deployment: &Deployment, line: &str) -> String {
    let ran = Command::new("sh")
        .args(["-euc", line])
        .current_dir(deployment.folder())
        .output()
        .expect("a shell");
    let (said, error) = (
        String::from_utf8_lossy(&ran.stdout).into_owned(),
        String::from_utf8_lossy(&ran.stderr),
    );
    assert!(ran.status.success(), "{line}: {said}{error}");
    said
}

/// A program that writes down for which job it is asked, and does what stands in `does` instead of
/// what it is for, where that is there.
fn signer(deployment: Deployment, sign: &str) -> Deployment {
    let folder = deployment.folder().display().to_string();
    let script = format!(
        "#!/bin/sh\ncd '{folder}'\necho \"$BANSHI_JOB_ID\" >> asked\n[ -e does ] && . ./does\n\
         exec {sign}\n"
    );
    let path = deployment.path("signer");
    fs::write(&path, script).expect("a file");
    shell(&deployment, "chmod +x signer");
    deployment.with("SIGN__COMMAND", &path.display().to_string())
}

/// By pyHanko, with a key of this moment.
fn pades(deployment: Deployment) -> Deployment {
    authority(&deployment, "rsa:2048");
    let python = repository("target/tools/documents/bin/python");
    let pades = repository("deploy/sign/pades");
    let sign = format!(
        "'{}' '{}' --key key.pem --certificate certificate.pem",
        python.display(),
        pades.display()
    );
    signer(deployment, &sign)
}

/// A CMS by OpenSSL, with a key of this moment.
pub fn cms(deployment: Deployment) -> Deployment {
    authority(&deployment, "rsa:2048");
    let sign = "openssl cms -sign -binary -signer certificate.pem -inkey key.pem -outform DER";
    signer(deployment, sign).with("SIGN__GIVES", "cms")
}

/// What the program does from now on; as it should, with "".
fn does(deployment: &Deployment, what: &str) {
    let path = deployment.path("does");
    match what {
        "" => fs::remove_file(&path).expect("it did something else"),
        what => {
            fs::write(deployment.path("does.part"), what).expect("a file");
            fs::rename(deployment.path("does.part"), path).expect("renamed");
        }
    }
}

/// For which jobs it was asked.
fn asked(deployment: &Deployment) -> Vec<String> {
    let asked = fs::read_to_string(deployment.path("asked")).unwrap_or_default();
    asked.lines().map(str::to_owned).collect()
}

async fn send(deployment: &Deployment, name: &str, report: &str) {
    let mut job = corpus(report);
    job["job_id"] = json!(name);
    deployment.send(name, job.to_string().as_bytes()).await;
}

/// The one object of the store with this ending.
fn stored(deployment: &Deployment, ending: &str) -> Option<(PathBuf, Vec<u8>)> {
    let keys = deployment.store();
    let key = keys.iter().find(|key| key.ends_with(ending))?;
    Some((
        deployment.path(&format!("store/{key}")),
        deployment.stored(key),
    ))
}

async fn completed(deployment: &Deployment) -> Value {
    let events = deployment.events().await;
    let [event] = &events[..] else {
        panic!("{events:#?}")
    };
    assert_eq!(event["type"], "report.completed", "{event:#}");
    event["data"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_copy_stands_beside_the_pdf_and_in_its_event() {
    let plain = Deployment::spool();
    send(&plain, "a", "pingtan-2023").await;
    plain.work_until_idle();
    let (_, unsigned) = stored(&plain, "/a.pdf").expect("a PDF");

    let deployment = pades(Deployment::spool());
    send(&deployment, "a", "pingtan-2023").await;
    deployment.work_until_idle();
    let data = completed(&deployment).await;
    let (path, copy) = stored(&deployment, "/a.signed.pdf").expect("a signed copy");
    let (original, bytes) = stored(&deployment, "/a.pdf").expect("a PDF");
    assert!(bytes == unsigned, "what is signed is what is made anyway");
    assert!(copy.starts_with(&bytes));
    assert_eq!(
        data["companions"],
        json!([{
            "format": "signed.pdf",
            "uri": data["artifact"]["uri"].as_str().unwrap().replace("a.pdf", "a.signed.pdf"),
            "media_type": "application/pdf",
            "sha256": sha256(&copy),
            "bytes": copy.len(),
        }])
    );
    assert_eq!(data["artifact"]["sha256"], json!(sha256(&unsigned)));

    let said = shell(&deployment, &format!("pdfsig '{}'", path.display()));
    assert!(said.contains("Signature is Valid."), "{said}");
    assert!(said.contains("Total document signed"), "{said}");
    let verified = deployment
        .banshi(&["verify", "--manifest"])
        .arg(&original)
        .output()
        .unwrap();
    assert!(verified.status.success(), "{verified:?}");

    // Whatever comes again asks nobody.
    send(&deployment, "a", "pingtan-2023").await;
    deployment.work_until_idle();
    assert_eq!(asked(&deployment), ["a"]);
    assert!(stored(&deployment, "/a.signed.pdf").unwrap().1 == copy);
}

/// What asks a signer, with this in the settings.
fn asks(set: impl FnOnce(&mut config::Sign)) -> Result<sign::Signer, Outage> {
    let mut settings = settings().sign;
    set(&mut settings);
    sign::Signer::open(&settings).map(|signer| signer.expect("there is one"))
}

/// Whether a worker would take a signed copy.
async fn taken(pdf: &[u8], copy: &[u8]) -> Result<Vec<u8>, String> {
    let signer = asks(|it| it.command = vec!["true".to_owned()]).expect("it is right");
    signer.check(&pdf.into(), copy.to_vec()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_copy_is_by_the_certificate_of_the_settings() {
    let rendered = render(&corpus("zibo-bigdata-2020"));
    let pdf = fs::read(rendered.path()).unwrap();
    let signers = [Signer::new("rsa:2048"), Signer::new("rsa:2048")];
    let copy = signers[0].copy(&pdf, "");
    let gives = |gives, certificate: PathBuf| {
        asks(|it| {
            it.command = vec!["true".to_owned()];
            it.gives = gives;
            it.certificate = certificate;
        })
    };
    let by = |certificate| gives(Gives::Pdf, certificate);
    let [own, other] = [0, 1].map(|at| by(signers[at].path("certificate.pem")).expect("right"));
    let pdf = pdf.as_slice().into();
    assert_eq!(own.check(&pdf, copy.clone()).await.as_ref(), Ok(&copy));
    let why = other.check(&pdf, copy).await.expect_err("another's");
    assert!(
        why.contains("another certificate than sign.certificate"),
        "{why}"
    );

    // And what is none is told when a worker begins, not by each job.
    signers[0].run(
        "openssl",
        "x509 -in certificate.pem -noout -pubkey -out public.pem",
    );
    for (kind, name, want) in [
        (
            Gives::Pdf,
            "key.pem",
            "no PEM of a CERTIFICATE or a PUBLIC KEY",
        ),
        (Gives::Pdf, "public.pem", "want a certificate"),
        (Gives::Sm2, "certificate.pem", "its key is RSA"),
        (Gives::Sm2, "public.pem", "its key is RSA"),
    ] {
        let why = gives(kind, signers[0].path(name)).expect_err(name).reason();
        assert!(
            why.contains("sign.certificate: ") && why.contains(want),
            "{why}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_no_signer_can_be_told_of_is_refused_and_is_no_outage() {
    let program = asks(|it| it.command = vec!["true".to_owned()]).expect("right");
    // Nobody is asked: nothing listens there.
    let service = asks(|it| it.url = "http://127.0.0.1:1".to_owned()).expect("right");
    let long = "长".repeat(50_000);
    for (signer, title) in [(&program, &*long), (&program, "\0"), (&service, &*long)] {
        let document = sign::Document {
            pdf: b"%PDF-1.7".as_slice().into(),
            job_id: "a".to_owned(),
            template: "annual-report/2021".to_owned(),
            agency: String::new(),
            title: title.to_owned(),
            year: 2023,
            seal: None,
        };
        let trouble = signer.sign(&document).await.expect_err("no signature");
        let Trouble::Refused(why) = trouble else {
            panic!("{trouble:?}")
        };
        assert!(why.contains("too long"), "{why}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_pdf_would_be_the_signed_copy_of_another_is_rejected() {
    let deployment = pades(Deployment::spool());
    send(&deployment, "a.signed", "zibo-bigdata-2020").await;
    send(&deployment, "a", "zibo-bigdata-2020").await;
    deployment.work_until_idle();
    let events = deployment.events().await;
    let of = |name: &str| {
        let found = events.iter().find(|event| event["subject"] == name);
        found.expect("it has ended")
    };
    assert_eq!(of("a")["type"], "report.completed");
    assert_eq!(of("a.signed")["type"], "report.rejected");
    let problem = &of("a.signed")["data"]["problems"][0];
    assert_eq!(
        (&problem["code"], &problem["path"]),
        (&json!("E-SCHEMA"), &json!("/job_id"))
    );
    assert_eq!(asked(&deployment), ["a"]);

    // A detached signature has another name.
    let deployment = cms(Deployment::spool());
    send(&deployment, "a.signed", "zibo-bigdata-2020").await;
    deployment.work_until_idle();
    completed(&deployment).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_has_signed_leaves_nothing_behind() {
    let deployment = cms(Deployment::spool());
    // With its output open, too: nobody waits for that.
    for (id, output) in [("a", "> /dev/null 2>&1"), ("b", "")] {
        let sleep = format!("sleep 1000 < /dev/null {output} & echo $! > sleeper");
        does(&deployment, &sleep);
        send(&deployment, id, "zibo-bigdata-2020").await;
        deployment.work_until_idle();
        let sleeper = fs::read_to_string(deployment.path("sleeper")).unwrap();
        let sleeper = PathBuf::from(format!("/proc/{}", sleeper.trim()));
        until("it is gone", || !sleeper.exists());
    }
    assert_eq!(asked(&deployment), ["a", "b"]);
    let events = deployment.events().await;
    let kinds: Vec<&Value> = events.iter().map(|event| &event["type"]).collect();
    assert_eq!(kinds, ["report.completed"; 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_keeps_pdfa_and_pdfua_with_a_seal_or_without() {
    let rendered = render(&corpus("pingtan-2023"));
    let pdf = fs::read(rendered.path()).unwrap();
    let signer = Signer::new("rsa:2048");
    let invisible = signer.copy(&pdf, "");
    // A picture, with its tag.
    let seal = Update::seal(&pdf).signed(&signer);
    let files = [("invisible", invisible), ("seal", seal)].map(|(name, copy)| {
        let file = signer.path(&format!("{name}.pdf"));
        fs::write(&file, &copy).unwrap();
        (file, copy)
    });
    for (_, copy) in &files {
        assert_eq!(taken(&pdf, copy).await.as_ref(), Ok(copy));
    }
    for verdict in pdf::verapdf(&files.map(|(file, _)| file)) {
        assert!(verdict.passes, "{verdict:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seal_that_breaks_them_is_not_taken_and_the_message_says_why() {
    let rendered = render(&corpus("zibo-bigdata-2020"));
    let pdf = fs::read(rendered.path()).unwrap();
    let signer = Signer::new("rsa:2048");
    let mut untagged = Update::signature(&pdf);
    let field = untagged.field;
    untagged.edit(
        field,
        "/Rect[0 0 0 0]",
        &format!("/Rect[400 100 500 200]/AP<</N {} 0 R>>", field + 2),
    );
    let picture = "/Type/XObject/Subtype/Form/BBox[0 0 100 100]";
    untagged.stream(field + 2, picture, b"0 0 100 100 re f");
    let why = taken(&pdf, &untagged.signed(&signer))
        .await
        .expect_err("untagged");
    assert!(why.contains("7.18.4"), "{why}");

    // As pyHanko draws one by itself.
    let text = signer.copy(&pdf, "--shown");
    let why = taken(&pdf, &text).await.expect_err("text");
    assert!(why.contains("6.2.11.4.1"), "{why}");
}

/// What a worker leaves that is killed between the signed copy and the manifest.
#[tokio::test(flavor = "multi_thread")]
async fn a_signature_that_is_there_is_taken_and_none_is_put_over_another() {
    let deployment = pades(Deployment::spool());
    send(&deployment, "a", "zibo-bigdata-2020").await;
    deployment.work_until_idle();
    let (_, copy) = stored(&deployment, "/a.signed.pdf").expect("a signed copy");
    let (manifest, _) = stored(&deployment, "/a.json").expect("a manifest");
    let forget = || {
        fs::remove_file(&manifest).unwrap();
        fs::remove_dir_all(deployment.path("spool/events")).unwrap();
    };
    forget();
    send(&deployment, "a", "zibo-bigdata-2020").await;
    deployment.work_until_idle();
    assert_eq!(asked(&deployment), ["a"], "nobody was asked again");
    assert!(stored(&deployment, "/a.signed.pdf").unwrap().1 == copy);
    let data = completed(&deployment).await;
    assert_eq!(data["companions"][0]["sha256"], json!(sha256(&copy)));

    // And what is no signature of it stays where it is, and is not announced.
    forget();
    let (path, _) = stored(&deployment, "/a.signed.pdf").unwrap();
    fs::write(&path, "somebody else's").unwrap();
    send(&deployment, "a", "zibo-bigdata-2020").await;
    let deployment = deployment.with("WORKER__ATTEMPTS", "1");
    deployment.work_until_idle();
    let events = deployment.events().await;
    assert_eq!(events[0]["type"], "report.failed", "{events:#?}");
    let why = events[0]["data"]["error"]["message"].as_str().unwrap();
    assert!(
        why.contains("a.signed.pdf is there and is no signature of"),
        "{why}"
    );
    assert_eq!(asked(&deployment), ["a"]);
    assert_eq!(fs::read(&path).unwrap(), b"somebody else's");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_is_told_of_the_document_and_nothing_of_the_worker() {
    let deployment = pades(Deployment::spool()).with_variables([
        ("AWS_SECRET_ACCESS_KEY", "secret".to_owned()),
        ("OTHER", "of somebody's".to_owned()),
    ]);
    does(&deployment, "env > told; cat > got; exit 65");
    send(&deployment, "a", "pingtan-2023").await;
    deployment.work_until_idle();
    let told = fs::read_to_string(deployment.path("told")).unwrap();
    let mut names: Vec<_> = told
        .lines()
        .filter_map(|line| Some(line.split_once('=')?.0))
        .collect();
    // Those of the shell itself, and of any program.
    names.retain(|name| !["PWD", "OLDPWD", "SHLVL", "_"].contains(name));
    names.retain(|name| !["PATH", "HOME", "TMPDIR", "TZ", "LANG", "LC_ALL"].contains(name));
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "BANSHI_AGENCY",
            "BANSHI_BYTES",
            "BANSHI_GIVES",
            "BANSHI_JOB_ID",
            "BANSHI_SEAL_PAGE",
            "BANSHI_SEAL_RECT",
            "BANSHI_SHA256",
            "BANSHI_TAKES",
            "BANSHI_TEMPLATE",
            "BANSHI_TITLE",
            "BANSHI_YEAR",
        ]
    );
    let (_, pdf) = stored(&deployment, "/a.pdf").expect("it is stored");
    assert!(fs::read(deployment.path("got")).unwrap() == pdf);
    for line in [
        "BANSHI_JOB_ID=a",
        "BANSHI_TEMPLATE=annual-report/2021",
        "BANSHI_AGENCY=平潭综合实验区",
        "BANSHI_YEAR=2023",
        "BANSHI_TAKES=file",
        "BANSHI_GIVES=pdf",
        &format!("BANSHI_SHA256={}", sha256(&pdf)),
        &format!("BANSHI_BYTES={}", pdf.len()),
    ] {
        assert!(told.lines().any(|told| told == line), "{line}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_takes_a_digest_gets_its_32_bytes_and_no_file() {
    let deployment = cms(Deployment::spool()).with("SIGN__TAKES", "sm3");
    does(&deployment, "cat > got; exit 65");
    send(&deployment, "a", "zibo-bigdata-2020").await;
    deployment.work_until_idle();
    let (pdf, _) = stored(&deployment, "/a.pdf").expect("it is stored");
    let digest = format!("openssl dgst -sm3 -binary -out digest '{}'", pdf.display());
    shell(&deployment, &digest);
    let [got, digest] = ["got", "digest"].map(|name| fs::read(deployment.path(name)).unwrap());
    assert_eq!(got, digest);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_the_signer_refuses_is_rejected_with_its_words_and_no_other_is() {
    let deployment = pades(Deployment::spool());
    does(
        &deployment,
        "[ \"$BANSHI_JOB_ID\" = bad ] && { echo 本单位无权签署 >&2; exit 65; }",
    );
    send(&deployment, "bad", "zibo-bigdata-2020").await;
    send(&deployment, "good", "zibo-bigdata-2020").await;
    deployment.work_until_idle();
    let events = deployment.events().await;
    let of = |name: &str| {
        events
            .iter()
            .find(|event| event["subject"] == name)
            .unwrap()
    };
    assert_eq!(of("good")["type"], "report.completed");
    assert_eq!(of("bad")["type"], "report.rejected");
    let problem = &of("bad")["data"]["problems"][0];
    assert_eq!(
        (&problem["code"], &problem["path"]),
        (&json!("E-SIGN"), &json!(""))
    );
    for words in ["message", "message_zh"] {
        assert!(
            problem[words].as_str().unwrap().contains("本单位无权签署"),
            "{problem}"
        );
    }
    assert!(
        stored(&deployment, "/bad.json").is_none(),
        "it has no manifest"
    );
    assert_eq!(deployment.dead().await[0].code, "E-SIGN");
}

/// Whatever a signer does wrong, `why` is told, nothing is lost, and no job has an attempt less.
async fn goes_and_comes_back(deployment: Deployment, wrong: &str, why: &str) -> Deployment {
    let deployment = deployment.with("WORKER__ATTEMPTS", "1");
    let (deployment, admin) = deployment.with_admin();
    does(&deployment, wrong);
    let worker = deployment.worker();
    for name in ["a", "b", "c"] {
        send(&deployment, name, "zibo-bigdata-2020").await;
    }
    deployment
        .until("it says that no jobs come in, and why", async |_| {
            let (status, said) = ask(&admin, "/readyz").unwrap_or_default();
            status == 503 && said.contains("signer: ") && said.contains(why)
        })
        .await;
    let metrics = ask(&admin, "/metrics").expect("metrics").1;
    assert!(
        metrics.contains("banshi_gate_shut{part=\"signer\"} 1"),
        "{metrics}"
    );
    does(&deployment, "");
    let mut ended = BTreeMap::new();
    deployment
        .until("all are published", async |it| {
            let events = it.events().await.into_iter();
            ended.extend(events.map(|event| (event["subject"].to_string(), event)));
            ended.len() == 3
        })
        .await;
    assert_eq!(worker.stop(), Some(0));
    for event in ended.values() {
        assert_eq!(event["type"], "report.completed", "{event:#}");
        let companion = &event["data"]["companions"][0];
        let (name, format) = (&event["subject"], &companion["format"]);
        let (name, format) = (name.as_str().unwrap(), format.as_str().unwrap());
        let (_, signature) = stored(&deployment, &format!("/{name}.{format}")).expect("it is");
        assert_eq!(companion["sha256"], json!(sha256(&signature)));
    }
    assert!(deployment.dead().await.is_empty());
    assert_eq!(deployment.left().await, Vec::<String>::new());
    deployment
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signer_that_is_out_shuts_the_gate_until_it_is_back_over_rabbitmq() {
    let away = "echo the token is locked >&2; exit 75";
    let deployment = pades(Deployment::amqp().await);
    let deployment = goes_and_comes_back(deployment, away, "the token is locked").await;
    deployment.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signer_that_hangs_is_killed_with_what_it_has_started() {
    let deployment = cms(Deployment::spool()).with("SIGN__TIMEOUT", "5");
    let hangs = "sleep 1000 & echo $! >> sleepers; wait";
    let why = "gave no signature within 5 s";
    let deployment = goes_and_comes_back(deployment, hangs, why).await;
    let sleepers = fs::read_to_string(deployment.path("sleepers")).unwrap();
    for sleeper in sleepers.lines() {
        until("it is gone", || {
            !PathBuf::from(format!("/proc/{sleeper}")).exists()
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_no_signature_of_this_very_pdf_is_an_outage_and_says_why() {
    let why = "is no signature of the PDF: ";
    let of_another = "echo | openssl cms -sign -binary -signer certificate.pem -inkey key.pem \
                      -outform DER; exit 0";
    goes_and_comes_back(cms(Deployment::spool()), of_another, why).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_it_fails_with_alone_uses_up_its_attempts_and_holds_up_no_other() {
    let deployment = pades(Deployment::spool()).with("WORKER__ATTEMPTS", "2");
    does(
        &deployment,
        "[ \"$BANSHI_JOB_ID\" = bad ] && { echo out of memory >&2; exit 1; }",
    );
    let worker = deployment.worker();
    send(&deployment, "bad", "zibo-bigdata-2020").await;
    let mut sent = 0;
    let mut failed = json!(null);
    deployment
        .until("it has failed", async |it| {
            // Others come all the while.
            if it.events().await.len() == sent && sent < 50 {
                send(it, &format!("good-{sent}"), "zibo-bigdata-2020").await;
                sent += 1;
            }
            let events = it.events().await;
            let ended = events.into_iter().find(|event| event["subject"] == "bad");
            failed = ended.unwrap_or_default();
            !failed.is_null()
        })
        .await;
    assert_eq!(failed["type"], "report.failed");
    assert_eq!(failed["data"]["error"]["code"], "signer");
    let why = failed["data"]["error"]["message"].as_str().unwrap();
    assert!(why.contains("out of memory"), "{why}");
    deployment
        .until("all others are done", async |it| {
            it.events().await.len() == sent + 1
        })
        .await;
    assert_eq!(worker.stop(), Some(0));
    let events = deployment.events().await;
    let completed = events
        .iter()
        .filter(|event| event["type"] == "report.completed");
    assert_eq!(completed.count(), sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_detached_cms_is_one_that_openssl_verifies() {
    let deployment = cms(Deployment::spool());
    send(&deployment, "a", "zibo-bigdata-2020").await;
    deployment.work_until_idle();
    let data = completed(&deployment).await;
    let (signature, _) = stored(&deployment, "/a.pdf.p7s").expect("a signature");
    let (pdf, _) = stored(&deployment, "/a.pdf").expect("a PDF");
    assert_eq!(data["companions"][0]["format"], "pdf.p7s");
    assert_eq!(
        data["companions"][0]["media_type"],
        "application/pkcs7-signature"
    );
    let verify = format!(
        "openssl cms -verify -binary -inform DER -in '{}' -content '{}' -CAfile certificate.pem \
         -purpose any -out /dev/null",
        signature.display(),
        pdf.display()
    );
    shell(&deployment, &verify);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_sm2_signature_is_one_that_openssl_verifies() {
    let deployment = Deployment::spool();
    shell(
        &deployment,
        "openssl genpkey -algorithm SM2 -out key.pem; openssl pkey -in key.pem -pubout -out public.pem",
    );
    let certificate = deployment.path("public.pem").display().to_string();
    let sign = format!("'{}' key.pem", repository("deploy/sign/sm2").display());
    let deployment = signer(deployment, &sign)
        .with("SIGN__GIVES", "sm2")
        .with("SIGN__CERTIFICATE", &certificate);
    send(&deployment, "a", "zibo-bigdata-2020").await;
    deployment.work_until_idle();
    let data = completed(&deployment).await;
    let (signature, _) = stored(&deployment, "/a.pdf.sm2").expect("a signature");
    let (pdf, _) = stored(&deployment, "/a.pdf").expect("a PDF");
    assert_eq!(data["companions"][0]["format"], "pdf.sm2");
    let said = shell(
        &deployment,
        &format!(
            "openssl pkeyutl -verify -pubin -inkey public.pem -in '{}' -sigfile '{}' -rawin \
             -digest sm3 -pkeyopt distid:1234567812345678",
            pdf.display(),
            signature.display()
        ),
    );
    assert!(said.contains("Signature Verified Successfully"), "{said}");
}

/// A service that signs, until it is dropped.
struct Service(Child);

impl Service {
    /// By the same program, with a key of this moment.
    fn new(deployment: Deployment) -> (Service, Deployment) {
        authority(&deployment, "rsa:2048");
        fs::write(deployment.path("token"), "of the worker\n").unwrap();
        let service = Command::new(repository("tests/tools/sign-service"))
            .args([".", "key.pem", "certificate.pem"])
            .current_dir(deployment.folder())
            .stdin(Stdio::null())
            .spawn()
            .expect("tests/tools/install test");
        let service = Service(service);
        let address = deployment.path("address");
        until("it listens", || address.exists());
        let url = fs::read_to_string(address).unwrap();
        let token = deployment.path("token").display().to_string();
        let deployment = deployment.with("SIGN__URL", &url);
        (service, deployment.with("SIGN__TOKEN_FILE", &token))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.0.kill().expect("it runs");
        self.0.wait().expect("it is gone");
    }
}

fn told(deployment: &Deployment) -> Vec<Value> {
    let asked = fs::read_to_string(deployment.path("asked")).unwrap_or_default();
    let told = asked.lines().map(serde_json::from_str);
    told.collect::<Result<_, _>>().expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_signs_what_is_posted_to_it() {
    let (_service, deployment) = Service::new(Deployment::spool());
    send(&deployment, "a", "pingtan-2023").await;
    deployment.work_until_idle();
    let data = completed(&deployment).await;
    assert_eq!(data["companions"][0]["format"], "signed.pdf");
    let (pdf, bytes) = stored(&deployment, "/a.pdf").expect("a PDF");
    let mut told = told(&deployment);
    let seal = told[0]
        .as_object_mut()
        .unwrap()
        .remove("seal")
        .expect("a place");
    let last = pdf::pages(&pdf).len();
    assert_eq!(seal["page"], json!(last));
    assert_eq!(
        told,
        [json!({
            "job_id": "a",
            "template": "annual-report/2021",
            "agency": data["agency"],
            "title": data["title"],
            "year": 2023,
            "takes": "file",
            "gives": "pdf",
            "sha256": sha256(&bytes),
            "bytes": bytes.len(),
        })]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_gets_a_digest_alone_gives_a_cms_of_it() {
    let (_service, deployment) = Service::new(Deployment::spool());
    let deployment = deployment
        .with("SIGN__TAKES", "sha256")
        .with("SIGN__GIVES", "cms");
    send(&deployment, "a", "zibo-bigdata-2020").await;
    deployment.work_until_idle();
    let data = completed(&deployment).await;
    assert_eq!(data["companions"][0]["format"], "pdf.p7s");
    let told = told(&deployment);
    assert_eq!(told[0]["digest"], data["artifact"]["sha256"]);
    let (signature, _) = stored(&deployment, "/a.pdf.p7s").expect("a signature");
    let (pdf, _) = stored(&deployment, "/a.pdf").expect("a PDF");
    let verify = format!(
        "openssl cms -verify -cades -binary -inform DER -in '{}' -content '{}' -CAfile \
         certificate.pem -purpose any -out /dev/null",
        signature.display(),
        pdf.display()
    );
    shell(&deployment, &verify);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_service_says_is_a_refusal_or_an_outage_by_its_status() {
    let (_service, deployment) = Service::new(Deployment::spool());
    let says = |what: &str| fs::write(deployment.path("says"), what).unwrap();
    says("422\n\nthis agency has no certificate");
    send(&deployment, "a", "zibo-bigdata-2020").await;
    deployment.work_until_idle();
    let events = deployment.events().await;
    assert_eq!(events[0]["type"], "report.rejected");
    let problem = &events[0]["data"]["problems"][0];
    assert_eq!(problem["code"], "E-SIGN");
    let message = problem["message"].as_str().unwrap();
    assert!(
        message.contains("this agency has no certificate"),
        "{message}"
    );

    let (deployment, admin) = deployment.with_admin();
    let says = |what: &str| fs::write(deployment.path("says"), what).unwrap();
    let shut = async |why: &str| {
        deployment
            .until(why, async |_| {
                let (status, said) = ask(&admin, "/readyz").unwrap_or_default();
                status == 503 && said.contains("signer: ") && said.contains(why)
            })
            .await;
    };
    let done = async |jobs: usize| {
        fs::remove_file(deployment.path("says")).unwrap();
        let is_done = async |it: &Deployment| it.events().await.len() == jobs;
        deployment.until("the job is done", is_done).await;
    };
    says("503\nRetry-After: 1\nthe HSM is locked");
    let worker = deployment.worker();
    send(&deployment, "b", "zibo-bigdata-2020").await;
    shut("503 Service Unavailable: the HSM is locked").await;
    done(2).await;
    // The token is for this address.
    says("307\nLocation: http://127.0.0.1:1/\n");
    send(&deployment, "c", "zibo-bigdata-2020").await;
    shut("307 Temporary Redirect").await;
    done(3).await;
    fs::write(deployment.path("token"), "of nobody").unwrap();
    says("");
    send(&deployment, "d", "zibo-bigdata-2020").await;
    fs::write(deployment.path("token"), "of the worker").unwrap();
    done(4).await;
    assert_eq!(worker.stop(), Some(0));
    let events = deployment.events().await;
    let completed = events
        .iter()
        .filter(|event| event["type"] == "report.completed");
    assert_eq!(completed.count(), 3, "{events:#?}");
}

#[test]
fn the_doctor_says_whether_a_signer_is_there_and_has_nothing_signed() {
    let says = |deployment: &Deployment| -> Option<Value> {
        let ran = deployment
            .banshi(&["doctor", "--format", "json"])
            .output()
            .unwrap();
        let said = String::from_utf8(ran.stdout).unwrap();
        let mut found = said
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        found.find(|found| found["check"] == "signer")
    };
    assert_eq!(says(&Deployment::spool()), None, "nothing is signed");
    let deployment = pades(Deployment::spool());
    let found = says(&deployment).expect("a check");
    assert_eq!(found["status"], "ok", "{found}");
    let gone = deployment.with("SIGN__COMMAND", "no-such-signer");
    let found = says(&gone).expect("a check");
    assert_eq!(found["status"], "fail");
    assert!(
        found["message"]
            .as_str()
            .unwrap()
            .contains("no-such-signer"),
        "{found}"
    );
    assert_eq!(asked(&gone), Vec::<String>::new());

    let (service, deployment) = Service::new(Deployment::spool());
    let found = says(&deployment).expect("a check");
    // Its address has no encryption, and is shown the token.
    assert_eq!(found["status"], "warn", "{found}");
    drop(service);
    let found = says(&deployment).expect("a check");
    assert_eq!(found["status"], "fail", "{found}");
    assert!(told(&deployment).is_empty());
}

/// The words within a place of a page.
fn words_in(pdf: &[u8], Place { page, rect }: Place) -> String {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.pdf"), pdf).unwrap();
    let [left, bottom, right, top] = rect;
    let (x, y) = (left.floor() - 1.0, (841.89 - top).floor() - 1.0);
    let (width, height) = ((right - left).ceil() + 2.0, (top - bottom).ceil() + 2.0);
    let crop = format!("-r 72 -f {page} -l {page} -x {x} -y {y} -W {width} -H {height} a.pdf -");
    let ran = Command::new("pdftotext")
        .args(crop.split(' '))
        .current_dir(folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8(ran.stdout).unwrap();
    said.split_whitespace().collect()
}

#[test]
fn the_place_of_a_seal_is_that_of_agency_and_date() {
    let typesetter = Typesetter::load(&settings()).expect("a typesetter");
    let set = |job: &Value| {
        let job = check(job.to_string().as_bytes()).expect("a job");
        let sealed = Manuscript {
            sealed: true,
            ..Manuscript::of(&job)
        };
        let pdf = typesetter.typeset(&sealed).expect("a PDF");
        let unsealed = typesetter.typeset(&Manuscript::of(&job)).expect("a PDF");
        assert!(pdf.bytes == unsealed.bytes);
        assert_eq!(unsealed.seal, None, "nobody has asked");
        pdf
    };
    let report = set(&corpus("pingtan-2023"));
    let place = report.seal.expect("the template declares one");
    assert_eq!(place.page, report.pages);
    assert_eq!(words_in(&report.bytes, place), "平潭综合实验区2024年3月8日");

    // Over a date with a seal's room above it, on the page before its attachments.
    let templates = typesetter.templates();
    let letter = templates
        .edition("official-letter/notice")
        .expect("an edition");
    let letter: Value = serde_json::from_slice(templates.sample(letter).unwrap()).unwrap();
    let letter = set(&letter);
    let place = letter.seal.expect("the template declares one");
    assert!(place.page < letter.pages);
    assert_eq!(
        words_in(&letter.bytes, place),
        "某省依法行政工作领导小组办公室2018年12月29日"
    );

    let mut undated = corpus("pingtan-2023");
    undated["data"].as_object_mut().unwrap().remove("issued_on");
    assert_eq!(
        set(&undated).seal,
        None,
        "without a date there is no signature"
    );
}

/// But for the digest of the template's files, which it names.
#[test]
fn the_label_of_a_seal_changes_no_byte_of_a_pdf() {
    let job = check(corpus("pingtan-2023").to_string().as_bytes()).expect("a job");
    let typesetter = Typesetter::load(&settings()).expect("a typesetter");
    let labelled = typesetter.typeset(&Manuscript::of(&job)).expect("a PDF");
    let folder = tempfile::tempdir().unwrap();
    let file = "gongwen/signature.typ";
    let source = fs::read_to_string(repository("typst-templates").join(file)).unwrap();
    assert_eq!(source.matches(" <seal>]").count(), 3);
    fs::create_dir(folder.path().join("gongwen")).unwrap();
    fs::write(folder.path().join(file), source.replace(" <seal>]", "]")).unwrap();
    let mut others = settings();
    others.templates.dir = folder.path().to_owned();
    let (made, _) = attached(&labelled.bytes).expect("it says how it was made");
    let manuscript = Manuscript {
        made: Some(Box::new(made)),
        sealed: true,
        ..Manuscript::of(&job)
    };
    let typesetter = Typesetter::load(&others).expect("a typesetter");
    let unlabelled = typesetter.typeset(&manuscript).expect("a PDF");
    assert_eq!(unlabelled.seal, None);
    assert!(unlabelled.bytes == labelled.bytes);
}

//! A signing system, and workers that have their PDFs signed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use banshi::digest::sha256;
use banshi::signature;
use rand::RngExt as _;
use serde_json::Value;
use tokio::time::sleep;

use crate::Stage;
use crate::bench::{Bench, Outcome};
use crate::letters::mixed;

/// What signs: a CMS by OpenSSL, after whatever `does` says. With `kills` there, the worker is killed
/// in the moments in which its signature comes and is stored.
const SIGNER: &str = r#"#!/bin/sh
cd "$(dirname "$0")"
echo "$BANSHI_JOB_ID" >> asked
[ -e does ] && . ./does
if mv kills killing.$$ 2>/dev/null; then
  worker=$PPID
  (exec >/dev/null 2>&1; setsid sh -c "sleep 0.0$(($$ % 9)); kill -9 $worker" &)
fi
"#;

const SIGNS: &str = "openssl cms -sign -binary -signer certificate.pem -inkey key.pem -outform DER";

/// E39: a signing system is out, hangs, and gives signatures of something else, while workers are
/// killed, some as their signature comes. In the end each result has one signature, which is of it
/// and the one that is announced, and no more were made than the kills and the outages can explain.
pub async fn signed(stage: Stage) -> Outcome {
    let mut bench = Bench::on(&stage, stage.node()).await;
    let signer = Signer::new(bench.folder());
    bench.set("SIGN__COMMAND", signer.program.display().to_string());
    bench.set("SIGN__GIVES", "cms");
    bench.set("SIGN__TIMEOUT", "5");
    let letters = mixed("e39", stage.pick(60, 2_000), &mut bench.rng);
    let jobs = letters.len();
    bench.work(2).await;
    let sending = bench.sending(letters, Duration::from_millis(20));
    // A job that waits for the third time waits for five minutes: in the small run there are two
    // outages.
    let faults = stage.pick(5, 24);
    for fault in 0..faults {
        bench.until_heard(jobs * fault / (faults + 1)).await;
        let pause = bench.rng.random_range(200..stage.pick(1_500, 4_000));
        sleep(Duration::from_millis(pause)).await;
        match fault % 6 {
            0 => signer.does(&mut bench, "out", "exit 75", pause).await,
            1 | 4 => {
                std::fs::write(signer.folder.join("kills"), "").expect("a file");
                sleep(Duration::from_millis(pause)).await;
                bench.revive().await;
            }
            2 => {
                let index = bench.rng.random_range(0..2);
                bench.replace(index);
            }
            3 => {
                signer
                    .does(&mut bench, "wrong", &format!("echo | {SIGNS}"), pause)
                    .await
            }
            _ => signer.does(&mut bench, "hanging", "sleep 60", pause).await,
        }
    }
    bench.sent(sending).await;
    bench.until_heard(jobs).await;
    let kills = signer.spares();
    bench.faults("worker killed as its signature comes", kills);
    sleep(Duration::from_millis(500)).await;
    bench.revive().await;
    bench.settle().await;
    let (results, wrong) = held(&bench.store());
    bench.bound(
        format!("of {results} results, those without a signature that is theirs and announced"),
        wrong,
        0,
    );
    let (made, kept) = (signer.asked(), results);
    let mut outcome = bench.finish().await;
    outcome
        .notes
        .push(format!("asked for {made} signatures, kept {kept}"));
    outcome
}

struct Signer {
    folder: PathBuf,
    program: PathBuf,
}

impl Signer {
    fn new(folder: &Path) -> Signer {
        let folder = folder.join("signer");
        std::fs::create_dir(&folder).expect("a folder");
        let make = "openssl req -x509 -newkey rsa:2048 -noenc -keyout key.pem -out certificate.pem \
                    -days 30 -subj /CN=test";
        let made = Command::new("openssl")
            .args(make.split_whitespace().skip(1))
            .current_dir(&folder)
            .output()
            .expect("OpenSSL");
        assert!(made.status.success(), "{made:?}");
        let program = folder.join("sign");
        std::fs::write(&program, format!("{SIGNER}exec {SIGNS}\n")).expect("a file");
        let runs = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&program, runs).expect("it is ours");
        Signer { folder, program }
    }

    /// Has it do something else for a while.
    async fn does(&self, bench: &mut Bench, fault: &str, what: &str, lasts: u64) {
        let (part, does) = (self.folder.join("part"), self.folder.join("does"));
        std::fs::write(&part, format!("{what}; exit\n")).expect("a file");
        std::fs::rename(part, &does).expect("it is renamed");
        sleep(Duration::from_millis(2_000 + lasts)).await;
        std::fs::remove_file(does).expect("it is there");
        bench.fault(&format!("signer {fault}"));
    }

    /// Has it kill nobody any more, and says how many it has killed.
    fn spares(&self) -> usize {
        match std::fs::remove_file(self.folder.join("kills")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{error}"),
            _ => {}
        }
        let files = std::fs::read_dir(&self.folder).expect("a folder");
        let names = files.map(|file| file.expect("an entry").file_name());
        names
            .filter(|name| name.to_string_lossy().starts_with("killing."))
            .count()
    }

    /// How often it was asked.
    fn asked(&self) -> usize {
        let asked = std::fs::read_to_string(self.folder.join("asked"));
        asked.unwrap_or_default().lines().count()
    }
}

/// The results of a store, and how many of them have not the one signature that they name.
fn held(store: &Path) -> (u64, u64) {
    let files: BTreeMap<String, PathBuf> = files(store);
    let (mut results, mut wrong) = (0, 0);
    for (name, path) in files.iter().filter(|(name, _)| name.ends_with(".json")) {
        results += 1;
        let read = |path: &Path| std::fs::read(path).unwrap_or_default();
        let manifest: Value = serde_json::from_slice(&read(path)).unwrap_or_default();
        let key = name.trim_end_matches(".json");
        let signature = files.get(&format!("{key}.pdf.p7s")).map(|path| read(path));
        let pdf = files.get(&format!("{key}.pdf")).map(|path| read(path));
        let named = &manifest["companions"][0]["sha256"];
        let fits = signature.zip(pdf).is_some_and(|(signature, pdf)| {
            *named == sha256(&signature).as_str()
                && signature::detached(&pdf, &signature, None).is_ok()
        });
        wrong += u64::from(!fits);
    }
    (results, wrong)
}

/// The files below a folder by their names.
fn files(folder: &Path) -> BTreeMap<String, PathBuf> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                true => folders.push(path),
                false => {
                    let name = path.display().to_string();
                    found.insert(name, path);
                }
            }
        }
    }
    found.retain(|name, _| !name.contains("/."));
    found
}

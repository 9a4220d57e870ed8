//! `banshi verify`: whether PDFs are what banshi made.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::json;

use super::output::{json as print_json, line, or_unread};
use super::{Error, Exit, Format, VerifyArgs, block_on};
use crate::config::Settings;
use crate::job;
use crate::problem::{Outage, Part};
use crate::store::Manifest;
use crate::verify::{Finding, Verdict, Verifier, companion_agrees};

/// The largest file that is read, in bytes: a typesetter gives no larger one.
const LARGEST: u64 = 256 << 20;

/// What was found of a file, and of its manifest if that was asked for: which other files it names
/// that are there, or what differs.
struct Checked<'a> {
    path: &'a Path,
    finding: Finding,
    manifest: Option<Result<Vec<String>, Vec<String>>>,
}

impl Checked<'_> {
    /// Whether the file is shown to be what banshi made.
    fn good(&self) -> bool {
        let agrees = self.manifest.as_ref().map(Result::is_ok);
        self.finding.is_good(agrees)
    }
}

pub fn verify(settings: &Settings, args: &VerifyArgs) -> Result<Exit, Error> {
    let mut settings = settings.clone();
    let threads = settings.render.typesetters().min(args.files.len());
    settings.render.threads = threads;
    block_on(async {
        let verifier = Verifier::start(&settings).await?;
        let mut exit = Exit::Done;
        let files = args
            .files
            .iter()
            .map(|path| check(&verifier, path, args.manifest));
        let mut checked = stream::iter(files).buffered(threads);
        while let Some(checked) = checked.try_next().await? {
            if !checked.good() {
                exit = Exit::JobAtFault;
            }
            or_unread(match args.format {
                Format::Text => print(&checked),
                Format::Json => print_json(&as_json(&checked)),
            })?;
        }
        drop(checked);
        verifier.close().await;
        Ok(exit)
    })
}

async fn check<'a>(
    verifier: &Verifier,
    path: &'a Path,
    with_manifest: bool,
) -> Result<Checked<'a>, Outage> {
    let pdf = read(path)?;
    let finding = verifier.verify(&pdf).await?;
    let manifest = with_manifest.then(|| agrees(&finding, path));
    Ok(Checked {
        path,
        finding,
        manifest,
    })
}

/// A file up to a byte more than is ever read: what is larger is no file of banshi's.
fn read(path: &Path) -> Result<Vec<u8>, Outage> {
    let read = || {
        let mut bytes = Vec::new();
        File::open(path)?
            .take(LARGEST + 1)
            .read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let cannot =
        |e: io::Error| Outage::because(Part::Disk, format!("cannot read {}", path.display()), e);
    read().map_err(cannot)
}

/// Holds a file against the manifest beside it, and with a PDF what else that names, which is given
/// by name. A manifest that is not there or not to be read agrees with nothing.
fn agrees(finding: &Finding, file: &Path) -> Result<Vec<String>, Vec<String>> {
    let path = file.with_extension("json");
    let bytes = read(&path).map_err(|outage| vec![outage.chain()])?;
    let manifest: Manifest = serde_json::from_slice(&bytes)
        .map_err(|error| vec![format!("{} is no manifest: {error}", path.display())])?;
    let ending = file.extension().and_then(OsStr::to_str).unwrap_or_default();
    let own = manifest.companions.iter().find(|it| it.format == ending);
    let agrees = finding.agrees_with(&manifest, own);
    let (mut beside, mut wrong) = (Vec::new(), agrees.err().unwrap_or_default());
    // What stands beside a PDF is looked at with it.
    let others = match own {
        None => manifest.companions.as_slice(),
        Some(_) => &[],
    };
    for companion in others {
        let other = file.with_extension(&companion.format);
        let name = other.file_name().unwrap_or_default().to_string_lossy();
        // Of a later version it may name what is no ending of a file.
        let bytes = job::is_id(&companion.format)
            .then(|| read(&other).ok())
            .flatten();
        match companion_agrees(companion, &name, bytes.as_deref()) {
            Ok(()) => beside.push(name.into_owned()),
            Err(why) => wrong.push(why),
        }
    }
    if wrong.is_empty() {
        Ok(beside)
    } else {
        Err(wrong)
    }
}

fn print(checked: &Checked) -> io::Result<()> {
    let (finding, name) = (&checked.finding, checked.path.display());
    let (verdict, verdict_zh) = finding.verdict.words();
    let manifest = match &checked.manifest {
        None => String::new(),
        Some(Ok(beside)) if beside.is_empty() => ", as its manifest says 与清单相符".to_owned(),
        Some(Ok(beside)) => {
            let beside = beside.join(", ");
            format!(", as its manifest says 与清单相符, with {beside}")
        }
        Some(Err(_)) => ", and not all is as its manifest says 与清单不符".to_owned(),
    };
    line(format_args!("{name}: {verdict} {verdict_zh}{manifest}"))?;
    if finding.verdict != Verdict::Authentic {
        line(format_args!("    {}", finding.message))?;
        line(format_args!("    {}", finding.message_zh))?;
    }
    if let Some(Err(wrong)) = &checked.manifest {
        for difference in wrong {
            line(format_args!("    {difference}"))?;
        }
    }
    Ok(())
}

fn as_json(checked: &Checked) -> serde_json::Value {
    let Finding {
        verdict,
        message,
        message_zh,
        sha256,
        data_agree,
        provenance,
    } = &checked.finding;
    let manifest = checked.manifest.as_ref().map(|manifest| match manifest {
        Ok(_) => json!({ "agrees": true, "differences": [] }),
        Err(wrong) => json!({ "agrees": false, "differences": wrong }),
    });
    json!({
        "file": checked.path.display().to_string(),
        "ok": checked.good(),
        "verdict": verdict,
        "message": message,
        "message_zh": message_zh,
        "sha256": sha256,
        "data_agree": data_agree,
        "provenance": provenance,
        "manifest": manifest,
    })
}

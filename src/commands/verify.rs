//! `banshi verify`: whether PDFs are what banshi made, and what was signed of them.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::json;

use super::files::read_up_to;
use super::output::{json as print_json, line, or_unread};
use super::{Error, Exit, Format, VerifyArgs, block_on};
use crate::config::Settings;
use crate::escape;
use crate::job;
use crate::problem::Outage;
use crate::signature::{self, Kind, Refusal, Signature};
use crate::store::{Companion, Manifest};
use crate::verify::{Finding, Verdict, Verifier, companion_agrees};

/// The largest file that is read, in bytes: a typesetter gives no larger one.
const LARGEST: u64 = 256 << 20;

/// What was found of a file, and of its manifest if that was asked for: which other files it names
/// that are there, or what differs.
struct Checked<'a> {
    path: &'a Path,
    finding: Finding,
    manifest: Option<Result<Vec<String>, Vec<String>>>,
    /// What the signature beside it is, if one was given.
    beside: Option<Result<Signature, Refusal>>,
}

impl Checked<'_> {
    /// Whether the file is shown to be what banshi made, and what the signature beside it is of.
    fn good(&self) -> bool {
        let agrees = self.manifest.as_ref().map(Result::is_ok);
        self.finding.is_good(agrees) && !matches!(self.beside, Some(Err(_)))
    }

    /// All that hold: those within the file, and the one beside it.
    fn signatures(&self) -> impl Iterator<Item = &Signature> {
        let beside = self.beside.as_ref().and_then(|beside| beside.as_ref().ok());
        self.finding.signatures.iter().chain(beside)
    }
}

/// A signature beside a file, and whose it is if it doesn't say.
struct Beside {
    signature: Vec<u8>,
    certificate: Option<Vec<u8>>,
}

impl Beside {
    fn read(args: &VerifyArgs) -> Result<Option<Beside>, Outage> {
        let Some(path) = &args.signature else {
            return Ok(None);
        };
        let certificate = args.certificate.as_deref().map(read).transpose()?;
        Ok(Some(Beside {
            signature: read(path)?,
            certificate,
        }))
    }
}

pub fn verify(settings: &Settings, args: &VerifyArgs) -> Result<Exit, Error> {
    if args.signature.is_some() && args.files.len() > 1 {
        return Err(Error::Usage(
            "--signature is of one file: name that one".to_owned(),
        ));
    }
    let mut settings = settings.clone();
    let threads = settings.render.typesetters().min(args.files.len());
    settings.render.threads = threads;
    let beside = Beside::read(args)?;
    block_on(async {
        let verifier = Verifier::start(&settings).await?;
        let mut exit = Exit::Done;
        let files = args
            .files
            .iter()
            .map(|path| check(&verifier, path, args.manifest, beside.as_ref()));
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
    beside: Option<&Beside>,
) -> Result<Checked<'a>, Outage> {
    let pdf = read(path)?;
    let finding = verifier.verify(&pdf).await?;
    let manifest = with_manifest.then(|| agrees(&finding, path));
    let beside = beside
        .map(|beside| signature::detached(&pdf, &beside.signature, beside.certificate.as_deref()));
    Ok(Checked {
        path,
        finding,
        manifest,
        beside,
    })
}

/// A file up to a byte more than is ever read: what is larger is no file of banshi's.
fn read(path: &Path) -> Result<Vec<u8>, Outage> {
    read_up_to(path, LARGEST + 1)
}

/// The manifest beside a file: of a signed copy, which has a longer ending, that of its PDF.
fn manifest_of(file: &Path) -> PathBuf {
    let path = file.with_extension("json");
    let name = file.file_name().and_then(OsStr::to_str).unwrap_or_default();
    match name.strip_suffix(".signed.pdf") {
        Some(id) if !path.exists() => file.with_file_name(format!("{id}.json")),
        _ => path,
    }
}

/// Holds a file against the manifest beside it, and with a PDF what else that names, which is given
/// by name. A manifest that is not there or not to be read agrees with nothing.
fn agrees(finding: &Finding, file: &Path) -> Result<Vec<String>, Vec<String>> {
    let path = manifest_of(file);
    let bytes = read(&path).map_err(|outage| vec![outage.chain()])?;
    let manifest: Manifest = serde_json::from_slice(&bytes).map_err(|error| {
        vec![format!(
            "{} is no manifest 不是清单: {error}",
            path.display()
        )]
    })?;
    // Of a later version, or of a stranger, a format may be what is no ending of a file.
    let place = |it: &Companion| job::is_id(&it.format).then(|| path.with_extension(&it.format));
    let mut companions = manifest.companions.iter();
    let own = companions.find(|it| place(it).as_deref() == Some(file));
    let agrees = finding.agrees_with(&manifest, own);
    let (mut beside, mut wrong) = (Vec::new(), agrees.err().unwrap_or_default());
    // What stands beside a PDF is looked at with it.
    let others = match own {
        None => manifest.companions.as_slice(),
        Some(_) => &[],
    };
    for companion in others {
        let other = place(companion);
        let name = other.as_deref().and_then(Path::file_name);
        let name = name.unwrap_or(companion.format.as_ref());
        let name = escape::text(&name.to_string_lossy()).to_string();
        let bytes = other.and_then(|other| read(&other).ok());
        match companion_agrees(companion, &name, bytes.as_deref()) {
            Ok(()) => beside.push(name),
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
    for signature in checked.signatures() {
        line(format_args!("    {}", told(signature)))?;
        line(format_args!("    {}", told_zh(signature)))?;
    }
    if let Some(Err(refusal)) = &checked.beside {
        line(format_args!(
            "    the signature beside it does not hold: {refusal}"
        ))?;
        line(format_args!("    旁附的签名无效：{}", refusal.zh()))?;
    }
    if let Some(Err(wrong)) = &checked.manifest {
        for difference in wrong {
            line(format_args!("    {difference}"))?;
        }
    }
    Ok(())
}

/// A signature in one line.
fn told(signature: &Signature) -> String {
    let what = match signature.kind {
        Kind::Signature => "signed by",
        Kind::TimeStamp => "time stamp by",
        Kind::Detached => "signed, beside the file, by",
    };
    let signer = signature.signer.as_deref().unwrap_or("the key given");
    let issuer = signature.issuer.as_ref();
    let issuer = issuer.map_or(String::new(), |issuer| format!(" (issued by {issuer})"));
    let at = match (&signature.at, signature.time_stamped, &signature.stamped_by) {
        (Some(at), true, Some(by)) => format!(", at {at} by the time stamp of {by}"),
        (Some(at), true, None) => format!(", at {at}"),
        (Some(at), false, _) => format!(", at {at} as the signer says"),
        (None, ..) => String::new(),
    };
    let level = signature
        .level
        .map_or(String::new(), |level| format!(", PAdES {}", level.name()));
    let seal = signature.seal.map_or(String::new(), |seal| {
        let [left, bottom, right, top] = seal.rect;
        format!(
            ", shown on page {} from ({left:.0}, {bottom:.0}) to ({right:.0}, {top:.0}) pt",
            seal.page
        )
    });
    format!(
        "{what} {signer}{issuer}{at}; {}{level}, bytes 0 to {}{seal}; the certificate's chain is not checked",
        signature.algorithm, signature.covers
    )
}

/// The same in Chinese.
fn told_zh(signature: &Signature) -> String {
    let what = match signature.kind {
        Kind::Signature => "签名人：",
        Kind::TimeStamp => "时间戳：",
        Kind::Detached => "旁附签名的签名人：",
    };
    let signer = signature.signer.as_deref().unwrap_or("所给密钥");
    let issuer = signature.issuer.as_ref();
    let issuer = issuer.map_or(String::new(), |issuer| format!("（签发者{issuer}）"));
    let at = match (&signature.at, signature.time_stamped, &signature.stamped_by) {
        (Some(at), true, Some(by)) => format!("，时间{at}（{by}的时间戳）"),
        (Some(at), true, None) => format!("，时间{at}"),
        (Some(at), false, _) => format!("，时间{at}（签名人自述）"),
        (None, ..) => String::new(),
    };
    let level = signature
        .level
        .map_or(String::new(), |level| format!("，PAdES {}", level.name()));
    let seal = signature.seal.map_or(String::new(), |seal| {
        let [left, bottom, right, top] = seal.rect;
        format!(
            "，显示于第{}页({left:.0}, {bottom:.0})至({right:.0}, {top:.0})点",
            seal.page
        )
    });
    format!(
        "{what}{signer}{issuer}{at}；{}{level}，第0至{}字节{seal}；未核验证书链",
        signature.algorithm, signature.covers
    )
}

fn as_json(checked: &Checked) -> serde_json::Value {
    let Finding {
        verdict,
        message,
        message_zh,
        sha256,
        data_agree,
        provenance,
        original,
        signatures: _,
    } = &checked.finding;
    let manifest = checked.manifest.as_ref().map(|manifest| match manifest {
        Ok(_) => json!({ "agrees": true, "differences": [] }),
        Err(wrong) => json!({ "agrees": false, "differences": wrong }),
    });
    let beside = checked.beside.as_ref().map(|beside| match beside {
        Ok(_) => json!({ "holds": true, "faults": [] }),
        Err(refusal) => json!({ "holds": false, "faults": refusal }),
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
        "original": original,
        "signatures": checked.signatures().collect::<Vec<_>>(),
        "manifest": manifest,
        "signature": beside,
    })
}

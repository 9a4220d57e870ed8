//! Signatures that others have put on a file: on a copy of a PDF, or beside any file.
//!
//! Takes the bytes of a file and of its signed copy, or of a detached signature; gives what was
//! signed, by whom and when, or every reason why it is no signed copy. Never judges whether a
//! certificate is to be trusted: who is behind it, whether its chain ends at an anchor and whether
//! it was revoked are questions to whoever runs the authority, and a [`Signature`] says that it
//! was not asked. Never signs. No clock, no network, no file: bytes in, findings out. If we crash
//! here, on whatever file, that is a fault: every place is looked up with its bounds, nesting,
//! counts and sizes have limits, and nothing is followed twice.

mod asn1;
mod changes;
mod cms;
mod date;
mod key;
mod pdf;
mod xmp;

use std::fmt;

use serde::Serialize;

use changes::{Found, judge};
use cms::{Given, Held, Over};
use pdf::{Object, Revision};

/// What a signature is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Of whoever holds the key, within the PDF.
    Signature,
    /// Of a time stamping authority over the whole document (RFC 3161), within the PDF.
    TimeStamp,
    /// Of whoever holds the key, in a file beside the one that is signed.
    Detached,
}

/// What a signature carries for its own later proof (ETSI EN 319 142-1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Level {
    /// The certificate that signs is itself signed.
    #[serde(rename = "B-B")]
    Basic,
    /// And a time stamp of the signature.
    #[serde(rename = "B-T")]
    Stamped,
    /// And certificates with their revocation data, in the document.
    #[serde(rename = "B-LT")]
    LongTerm,
    /// And a time stamp over all of that.
    #[serde(rename = "B-LTA")]
    Archival,
}

impl Level {
    /// As the standard calls it.
    pub fn name(self) -> &'static str {
        match self {
            Level::Basic => "B-B",
            Level::Stamped => "B-T",
            Level::LongTerm => "B-LT",
            Level::Archival => "B-LTA",
        }
    }
}

/// Where a signature shows on a page.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Seal {
    /// The page, from 1.
    pub page: usize,
    /// Left, bottom, right and top in points, as the page counts them.
    pub rect: [f64; 4],
    /// Whether it can show text, for which PDF/A wants faces embedded.
    #[serde(skip)]
    pub text: bool,
    /// Whether it is tagged, as PDF/UA wants it.
    #[serde(skip)]
    pub tagged: bool,
}

/// A signature that holds: the bytes it covers have the digest that was signed, and the key of its
/// certificate signed it. Whether that certificate is to be trusted was not asked.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Signature {
    /// What it is of.
    pub kind: Kind,
    /// The subject of the certificate, as RFC 4514 writes it; none, when only a key was given.
    pub signer: Option<String>,
    /// Who issued the certificate, as RFC 4514 writes it.
    pub issuer: Option<String>,
    /// The serial number of the certificate, in lower-case hexadecimal.
    pub serial: Option<String>,
    /// SHA-256 of the certificate, in lower-case hexadecimal.
    pub certificate_sha256: Option<String>,
    /// Key, padding and digest, such as `RSA PKCS#1 v1.5, SHA-256`.
    pub algorithm: String,
    /// The `SubFilter` of a signature within a PDF.
    pub sub_filter: Option<String>,
    /// When it was signed, RFC 3339 in UTC.
    pub at: Option<String>,
    /// Whether a time stamp says so, which holds too. Otherwise the signer says so.
    pub time_stamped: bool,
    /// The subject of the certificate of that time stamp, where it is of this signature alone.
    pub stamped_by: Option<String>,
    /// Of a signature within a PDF that keeps `PAdES`, how much of it.
    pub level: Option<Level>,
    /// How many bytes it covers, from the first on; but for the place of the signature itself.
    pub covers: usize,
    /// Where it shows, if it does.
    pub seal: Option<Seal>,
}

/// One reason why it is no signed copy, or no signature of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// In English, with the object or the byte.
    pub message: String,
    /// In Chinese, with the object or the byte.
    pub message_zh: String,
}

impl Fault {
    fn new(en: impl Into<String>, zh: impl Into<String>) -> Fault {
        Fault {
            message: en.into(),
            message_zh: zh.into(),
        }
    }

    /// The same, after what it is of.
    fn of(self, en: impl fmt::Display, zh: impl fmt::Display) -> Fault {
        Fault::new(
            format!("{en}: {}", self.message),
            format!("{zh}：{}", self.message_zh),
        )
    }
}

/// Every reason at once; never none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Refusal(Vec<Fault>);

impl Refusal {
    /// Every reason, in the order in which they were found.
    pub fn faults(&self) -> &[Fault] {
        &self.0
    }

    /// All reasons in Chinese, on one line.
    pub fn zh(&self) -> String {
        let each = self.0.iter().map(|fault| fault.message_zh.as_str());
        each.collect::<Vec<_>>().join("；")
    }
}

impl fmt::Display for Refusal {
    /// All reasons in English, on one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let each = self.0.iter().map(|fault| fault.message.as_str());
        f.write_str(&each.collect::<Vec<_>>().join("; "))
    }
}

impl std::error::Error for Refusal {}

/// The signatures of a signed copy of a PDF, in the order in which they were added: `copy` begins
/// with every byte of `original`, a PDF as banshi writes it, and adds in one or more incremental
/// updates (ISO 32000-1, 7.5.6) nothing but signatures that hold, and what belongs to them: their
/// fields, a seal within the field's own rectangle, certificates and revocation data (DSS), time
/// stamps, and who saved it when.
///
/// # Errors
/// When it adds anything else, or nothing: everything that was found, each with its object.
pub fn copy(original: &[u8], copy: &[u8]) -> Result<Vec<Signature>, Refusal> {
    if !copy.starts_with(original) {
        let mut each = original.iter().zip(copy);
        let place = each.position(|(one, other)| one != other);
        let place = place.unwrap_or(copy.len());
        return Err(Refusal(vec![Fault::new(
            format!("it does not begin with the original: other bytes from byte {place} on"),
            format!("开头不是原件：自第{place}字节起不一致"),
        )]));
    }
    if copy.len() == original.len() {
        return Err(Refusal(vec![nothing_signed()]));
    }
    let revisions = pdf::revisions(copy, original.len()).map_err(|why| {
        Refusal(vec![Fault::new(
            format!("byte {}: {}", why.at, why.en),
            format!("第{}字节：{}", why.at, why.zh),
        )])
    })?;
    let changes = judge(copy, &revisions);
    let mut faults = changes.faults;
    let mut signatures = Vec::new();
    for found in &changes.found {
        // Each is a digest of the whole file.
        if faults.len() >= changes::FAULTS {
            break;
        }
        match within(copy, &revisions[found.revision], found) {
            Ok((held, sub_filter)) => signatures.push((found, held, sub_filter)),
            Err(fault) => {
                let number = found.number;
                faults.push(fault.of(
                    format!("object {number}, a signature"),
                    format!("签名（对象{number}）"),
                ));
            }
        }
    }
    if faults.is_empty() && signatures.is_empty() {
        faults.push(nothing_signed());
    }
    if !faults.is_empty() {
        return Err(Refusal(faults));
    }
    let stamps = signatures
        .iter()
        .filter(|(_, _, sub_filter)| sub_filter == STAMP);
    let stamps: Vec<usize> = stamps.map(|(found, ..)| found.revision).collect();
    let each = signatures.into_iter().map(|(found, held, sub_filter)| {
        let brought = |at: usize| changes.certificates.iter().find(|brought| **brought >= at);
        let level = (sub_filter == PADES && held.names_certificate).then(|| {
            match (held.time_stamped, brought(found.revision)) {
                (false, _) => Level::Basic,
                (true, None) => Level::Stamped,
                (true, Some(brought)) if stamps.iter().any(|stamp| stamp >= brought) => {
                    Level::Archival
                }
                (true, Some(_)) => Level::LongTerm,
            }
        });
        let kind = match sub_filter == STAMP {
            true => Kind::TimeStamp,
            false => Kind::Signature,
        };
        Signature {
            sub_filter: Some(sub_filter),
            level,
            seal: found.seal,
            ..held.signature(kind, revisions[found.revision].place.end)
        }
    });
    Ok(each.collect())
}

fn nothing_signed() -> Fault {
    Fault::new("nothing was signed after the original", "原件之后没有签名")
}

/// `PAdES`, and what came before it.
const PADES: &str = "ETSI.CAdES.detached";
const PKCS7: &str = "adbe.pkcs7.detached";
/// A time stamp over the document.
const STAMP: &str = "ETSI.RFC3161";

/// Whether a signature within a PDF holds, over all of its revision but for its own place; and its
/// `SubFilter`.
fn within(file: &[u8], revision: &Revision, found: &Found) -> Result<(Held, String), Fault> {
    let get = |key: &str| found.entries.get(key.as_bytes());
    let ranges = get("ByteRange").and_then(Object::array).unwrap_or_default();
    let ranges: Vec<usize> = ranges.iter().filter_map(Object::whole).collect();
    let place = revision.objects.get(&found.number);
    let hole = place.and_then(|at| pdf::entry(file, found.number, *at, "Contents"));
    let (Some(hole), &[0, end, start, length]) = (hole, &ranges[..]) else {
        return Err(Fault::new(
            "it has no ByteRange of two ranges from the first byte on, or no Contents",
            "没有自首字节起由两段组成的ByteRange，或没有Contents",
        ));
    };
    let last = start.saturating_add(length);
    let is_hexadecimal = file
        .get(hole.clone())
        .is_some_and(|hole| hole.starts_with(b"<"));
    if (end, start) != (hole.start, hole.end) || !is_hexadecimal {
        return Err(Fault::new(
            format!(
                "its ByteRange leaves out bytes {end} to {start}, its Contents are bytes {} to {}",
                hole.start, hole.end
            ),
            format!(
                "ByteRange略去第{end}至{start}字节，而Contents在第{}至{}字节",
                hole.start, hole.end
            ),
        ));
    }
    if last < revision.mark || last > revision.place.end {
        return Err(Fault::new(
            format!(
                "its ByteRange ends at byte {last}, its revision at byte {}",
                revision.place.end
            ),
            format!(
                "ByteRange止于第{last}字节，所在版本止于第{}字节",
                revision.place.end
            ),
        ));
    }
    let contents = get("Contents").and_then(Object::string).unwrap_or_default();
    let contents = cms::padded(contents).ok_or_else(|| {
        Fault::new(
            "its Contents are no DER, or more than zeros follow it",
            "Contents不是DER，或其后还有非零内容",
        )
    })?;
    let covered = [&file[..end], &file[start..last]];
    let sub_filter = match get("SubFilter") {
        Some(Object::Name(name)) => String::from_utf8_lossy(name).into_owned(),
        _ => String::new(),
    };
    let is_stamp = get("Type").is_some_and(|kind| kind.is_name("DocTimeStamp"));
    let over = match sub_filter.as_str() {
        PADES | PKCS7 if !is_stamp => Over::Message(&covered),
        STAMP => Over::Stamp(&covered),
        _ => {
            let other = sub_filter.replace(char::is_control, "\u{fffd}");
            return Err(Fault::new(
                format!("its SubFilter {other:?} is none of {PADES}, {PKCS7} and {STAMP}"),
                format!("SubFilter {other:?}不是{PADES}、{PKCS7}或{STAMP}"),
            ));
        }
    };
    let mut held = cms::holds(contents, over, None)?;
    if !held.time_stamped {
        let said = get("M").and_then(Object::string).and_then(date::of_pdf);
        held.at = said.or(held.at);
    }
    Ok((held, sub_filter))
}

impl Held {
    fn signature(self, kind: Kind, covers: usize) -> Signature {
        Signature {
            kind,
            signer: self.signer,
            issuer: self.issuer,
            serial: self.serial,
            certificate_sha256: self.certificate_sha256,
            algorithm: self.algorithm,
            sub_filter: None,
            at: self.at.and_then(date::text),
            time_stamped: self.time_stamped,
            stamped_by: self.stamped_by,
            level: None,
            covers,
            seal: None,
        }
    }
}

/// Who signs: a certificate, or a public key alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signatory {
    /// SHA-256 of the certificate, in lower-case hexadecimal; none of a public key.
    pub certificate_sha256: Option<String>,
    /// The kind of its key: `RSA`, `P-256`, `P-384` or `SM2`.
    pub key: &'static str,
}

impl Signatory {
    /// As PEM has it.
    ///
    /// # Errors
    /// When it is neither, or its key is of no kind that is read here.
    pub fn of(pem: &[u8]) -> Result<Signatory, Fault> {
        let given = Given::of(pem)?;
        Ok(Signatory {
            certificate_sha256: given.sha256(),
            key: given.key()?.name(),
        })
    }
}

/// A signature beside a file, as PEM or DER: CMS `SignedData` without the content (RFC 5652, PKCS#7,
/// GB/T 35275) by RSA with PKCS#1 v1.5 or PSS, ECDSA over P-256 or P-384, or SM2; or an SM2
/// signature alone (GB/T 35276: a sequence of `r` and `s`), with the signer's identity
/// `1234567812345678`.
///
/// `certificate` is a certificate or a public key as PEM. An SM2 signature alone needs it, a CMS
/// that brings no certificate, too; where the CMS brings one, the signature has to be by this one.
///
/// # Errors
/// When it is no signature of this file, and why.
pub fn detached(
    original: &[u8],
    signature: &[u8],
    certificate: Option<&[u8]>,
) -> Result<Signature, Refusal> {
    let held = || {
        let given = certificate.map(Given::of).transpose()?;
        cms::beside(original, signature, given.as_ref())
    };
    let held = held().map_err(|fault| Refusal(vec![fault]))?;
    Ok(held.signature(Kind::Detached, original.len()))
}

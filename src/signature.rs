//! Signatures that others have put on a file: on a copy of a PDF, or beside any file.
//!
//! Takes the bytes of a file and of its signed copy, or of a detached signature; gives what was
//! signed, by whom and when, or every reason why it is no signed copy. Never judges whether a
//! certificate is to be trusted: who is behind it, whether its chain ends at an anchor and whether
//! it was revoked are questions to whoever runs the authority, and a [`Signature`] says that it
//! was not asked. Never signs. No clock, no network, no file: bytes in, findings out. If we crash
//! here, on whatever file, that is a fault: every place is looked up with its bounds, nesting,
//! counts and sizes have limits, and nothing is followed twice.

use std::fmt;

use serde::Serialize;

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

/// Where a signature shows on a page.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Seal {
    /// The page, from 1.
    pub page: usize,
    /// Left, bottom, right and top in points, as the page counts them.
    pub rect: [f64; 4],
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
    /// Of a signature within a PDF that keeps PAdES, how much of it.
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
    let _ = (original, copy);
    Err(Refusal(vec![Fault {
        message: "not built yet".to_owned(),
        message_zh: "尚未实现".to_owned(),
    }]))
}

/// A signature beside a file, as PEM or DER: CMS SignedData without the content (RFC 5652, PKCS#7,
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
    let _ = (original, signature, certificate);
    Err(Refusal(vec![Fault {
        message: "not built yet".to_owned(),
        message_zh: "尚未实现".to_owned(),
    }]))
}

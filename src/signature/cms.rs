//! Signatures apart from the file they are in: CMS `SignedData` (RFC 5652), time stamps (RFC 3161),
//! and an SM2 signature alone.

use der::asn1::ObjectIdentifier as Oid;
use der::{Decode as _, Document};
use time::OffsetDateTime;
use x509_cert::Certificate;
use x509_cert::ext::pkix::SubjectKeyIdentifier;
use x509_cert::name::Name;
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};

use super::asn1::{Item, Items};
use super::key::{Digest, Key, Scheme, is_two_numbers};
use super::{Fault, date};
use crate::digest::sha256;

/// The largest certificate, in bytes.
const CERTIFICATE: usize = 32 << 10;

/// The most certificates of a signature.
const CERTIFICATES: usize = 64;

const SIGNED_DATA: Oid = Oid::new_unwrap("1.2.840.113549.1.7.2");
const DATA: Oid = Oid::new_unwrap("1.2.840.113549.1.7.1");
/// The same of GB/T 35275.
const SM2_SIGNED_DATA: Oid = Oid::new_unwrap("1.2.156.10197.6.1.4.2.2");
const SM2_DATA: Oid = Oid::new_unwrap("1.2.156.10197.6.1.4.2.1");
const STAMP_INFO: Oid = Oid::new_unwrap("1.2.840.113549.1.9.16.1.4");

// Attributes.
const CONTENT_TYPE: Oid = Oid::new_unwrap("1.2.840.113549.1.9.3");
const MESSAGE_DIGEST: Oid = Oid::new_unwrap("1.2.840.113549.1.9.4");
const SIGNING_TIME: Oid = Oid::new_unwrap("1.2.840.113549.1.9.5");
const SIGNING_CERTIFICATE: Oid = Oid::new_unwrap("1.2.840.113549.1.9.16.2.47");
const TIME_STAMP: Oid = Oid::new_unwrap("1.2.840.113549.1.9.16.2.14");

/// A signature that holds.
pub struct Held {
    pub signer: Option<String>,
    pub issuer: Option<String>,
    pub serial: Option<String>,
    pub certificate_sha256: Option<String>,
    pub algorithm: String,
    /// What a time stamp says, or else the signer.
    pub at: Option<OffsetDateTime>,
    pub time_stamped: bool,
    /// Whose time stamp of this signature it is.
    pub stamped_by: Option<String>,
    /// Whether the certificate is signed, too.
    pub names_certificate: bool,
}

impl Held {
    /// By whom, for people.
    fn by(known: Option<&Known>, algorithm: String) -> Held {
        let of = known.map(|known| &known.certificate.tbs_certificate);
        let printable = |name: &Name| name.to_string().replace(char::is_control, "\u{fffd}");
        let serial = of.map(|of| of.serial_number.as_bytes().iter());
        Held {
            signer: of.map(|of| printable(&of.subject)),
            issuer: of.map(|of| printable(&of.issuer)),
            serial: serial.map(|bytes| bytes.map(|byte| format!("{byte:02x}")).collect()),
            certificate_sha256: known.map(|known| sha256(&known.bytes)),
            algorithm,
            at: None,
            time_stamped: false,
            stamped_by: None,
            names_certificate: false,
        }
    }
}

/// A certificate, with the very bytes that it was read from.
pub struct Known {
    bytes: Vec<u8>,
    certificate: Certificate,
}

impl Known {
    fn read(bytes: &[u8]) -> Option<Known> {
        if bytes.len() > CERTIFICATE {
            return None;
        }
        let certificate = Certificate::from_der(bytes).ok()?;
        let bytes = bytes.to_vec();
        Some(Known { bytes, certificate })
    }

    fn key(&self) -> Result<Key, Fault> {
        Key::of(&self.certificate.tbs_certificate.subject_public_key_info)
    }
}

/// A certificate or a key that was given beside the signature.
pub enum Given {
    Certificate(Box<Known>),
    Key(Key),
}

impl Given {
    /// Out of a PEM.
    pub fn of(pem: &[u8]) -> Result<Given, Fault> {
        let wrong = || {
            Fault::new(
                "the certificate is no PEM of a CERTIFICATE or a PUBLIC KEY",
                "证书文件不是PEM格式的CERTIFICATE或PUBLIC KEY",
            )
        };
        let (label, document) = unarmored(pem).ok_or_else(wrong)?;
        let bytes = document.as_bytes();
        match label.as_str() {
            "CERTIFICATE" => Known::read(bytes)
                .map(|found| Given::Certificate(Box::new(found)))
                .ok_or_else(wrong),
            "PUBLIC KEY" => {
                let info = SubjectPublicKeyInfoOwned::from_der(bytes).map_err(|_| wrong())?;
                Ok(Given::Key(Key::of(&info)?))
            }
            _ => Err(wrong()),
        }
    }

    /// Of the certificate.
    pub fn sha256(&self) -> Option<String> {
        match self {
            Given::Certificate(found) => Some(sha256(&found.bytes)),
            Given::Key(_) => None,
        }
    }

    /// That of the certificate, or the one given alone.
    pub fn key(&self) -> Result<Key, Fault> {
        match self {
            Given::Certificate(found) => found.key(),
            Given::Key(key) => Ok(key.clone()),
        }
    }

    /// Whether a signature by this certificate is by the one given.
    fn is(&self, found: &Known) -> Result<bool, Fault> {
        match self {
            Given::Certificate(given) => Ok(given.bytes == found.bytes),
            Given::Key(given) => Ok(*given == found.key()?),
        }
    }
}

/// The first PEM in a text: its label and what is in it.
fn unarmored(pem: &[u8]) -> Option<(String, Document)> {
    let text = std::str::from_utf8(pem).ok()?;
    let (_, text) = text.split_once("-----BEGIN ")?;
    let (label, _) = text.split_once("-----")?;
    let end = format!("-----END {label}-----");
    let (text, _) = text.split_once(&end)?;
    let plain = format!("-----BEGIN {text}{end}\n");
    let (label, document) = Document::from_pem(&plain).ok()?;
    Some((label.to_owned(), document))
}

/// A signature beside a file.
pub fn beside(file: &[u8], signature: &[u8], given: Option<&Given>) -> Result<Held, Fault> {
    let document = unarmored(signature);
    let bytes = document.as_ref().map_or(signature, |(_, d)| d.as_bytes());
    if !is_two_numbers(bytes) {
        return holds(bytes, Over::Message(&[file]), given);
    }
    let given = given.ok_or_else(|| {
        Fault::new(
            "an SM2 signature alone does not say whose it is: give the certificate or the public \
             key",
            "单独的SM2签名值不含签名人信息：请给出证书或公钥",
        )
    })?;
    let key = given.key()?;
    if !matches!(key, Key::Sm2(_)) {
        return Err(Fault::new(
            "a signature alone is read of SM2 only, and the key is another",
            "单独的签名值只支持SM2，所给密钥不是SM2密钥",
        ));
    }
    let signed = key.signed(Scheme::Sm2, &[file], bytes)?;
    let algorithm = signed.ok_or_else(not_signed)?;
    let of = match given {
        Given::Certificate(found) => Some(&**found),
        Given::Key(_) => None,
    };
    Ok(Held::by(of, algorithm))
}

fn not_signed() -> Fault {
    Fault::new(
        "the signature was not made of this with the certificate's key",
        "签名值与内容或证书中的公钥不符",
    )
}

/// What a `SignedData` is over.
#[derive(Clone, Copy)]
pub enum Over<'a> {
    /// A message that it does not hold, in pieces.
    Message(&'a [&'a [u8]]),
    /// A time stamp of it, which holds what it signs.
    Stamp(&'a [&'a [u8]]),
}

/// The parts of a `SignedData` with one signer.
struct SignedData<'a> {
    kind: Oid,
    content: Option<&'a [u8]>,
    certificates: Vec<&'a [u8]>,
    /// Who signed: issuer and serial number, or a key identifier.
    by: Item<'a>,
    digest: Digest,
    attributes: Option<Item<'a>>,
    scheme: Scheme,
    signature: &'a [u8],
    unsigned: Option<Item<'a>>,
}

fn shapeless() -> Fault {
    Fault::new(
        "it is no SignedData in DER with one signer (RFC 5652, GB/T 35275)",
        "不是含一个签名人、以DER编码的SignedData（RFC 5652、GB/T 35275）",
    )
}

impl<'a> SignedData<'a> {
    fn read(bytes: &'a [u8]) -> Result<SignedData<'a>, Fault> {
        let (found, algorithms) = SignedData::parts(bytes).ok_or_else(shapeless)?;
        let (mut found, digest, algorithm) = (found, algorithms.0, algorithms.1);
        found.digest = Digest::of_oid(digest)?;
        found.scheme = Scheme::of(&algorithm, found.digest)?;
        Ok(found)
    }

    fn parts(bytes: &'a [u8]) -> Option<(SignedData<'a>, (Oid, AlgorithmIdentifierOwned))> {
        let mut outer = Items::of(bytes)?;
        let mut info = outer.only(0x30)?;
        outer.done()?;
        let kind = Oid::from_der(info.take(0x06)?.whole).ok()?;
        [SIGNED_DATA, SM2_SIGNED_DATA]
            .contains(&kind)
            .then_some(())?;
        let mut data = info.only(0xA0)?.only(0x30)?;
        info.done()?;
        data.take(0x02)?;
        data.take(0x31)?;
        let mut content = data.only(0x30)?;
        let kind = Oid::from_der(content.take(0x06)?.whole).ok()?;
        let held = match content.take(0xA0) {
            Some(held) => Some(held.inside()?.take(0x04)?.value),
            None => None,
        };
        content.done()?;
        let mut certificates = Vec::new();
        if let Some(set) = data.take(0xA0) {
            let mut set = set.inside()?;
            while let Some(found) = set.next() {
                certificates.push(found.whole);
            }
            set.done()?;
        }
        (certificates.len() <= CERTIFICATES).then_some(())?;
        data.take(0xA1);
        let mut signers = data.only(0x31)?;
        data.done()?;
        let mut signer = signers.only(0x30)?;
        signers.done()?;
        signer.take(0x02)?;
        let by = signer.next()?;
        let digest = Oid::from_der(signer.only(0x30)?.take(0x06)?.whole).ok()?;
        let attributes = signer.take(0xA0);
        let algorithm = AlgorithmIdentifierOwned::from_der(signer.take(0x30)?.whole).ok()?;
        let signature = signer.take(0x04)?.value;
        let unsigned = signer.take(0xA1);
        signer.done()?;
        let found = SignedData {
            kind,
            content: held,
            certificates,
            by,
            digest: Digest::Sha256,
            attributes,
            scheme: Scheme::Sm2,
            signature,
            unsigned,
        };
        Some((found, (digest, algorithm)))
    }

    /// The certificate that the signer names.
    fn certificate(&self) -> Option<Known> {
        let mut each = self.certificates.iter();
        let named = each.find(|bytes| self.names(bytes).unwrap_or(false))?;
        Known::read(named)
    }

    /// Whether the signer names this one: by issuer and serial number, or by the identifier of its
    /// key.
    fn names(&self, bytes: &[u8]) -> Option<bool> {
        if self.by.tag == 0x80 {
            let certificate = Known::read(bytes)?.certificate.tbs_certificate;
            let (_, identifier) = certificate.get::<SubjectKeyIdentifier>().ok()??;
            return Some(identifier.0.as_bytes() == self.by.value);
        }
        let mut by = (self.by.tag == 0x30).then(|| self.by.inside())??;
        let (issuer, serial) = (by.take(0x30)?.whole, by.take(0x02)?.whole);
        let mut certificate = Items::of(bytes)?.only(0x30)?.only(0x30)?;
        certificate.take(0xA0);
        let same_serial = certificate.take(0x02)?.whole == serial;
        certificate.take(0x30)?;
        Some(same_serial && certificate.take(0x30)?.whole == issuer)
    }
}

/// The values of the attribute of this type: one, or none. Two are none that can be relied upon.
fn attribute(attributes: Option<Item>, kind: Oid) -> Option<Item> {
    let mut each = attributes?.inside()?;
    let mut found = None;
    while let Some(next) = each.next() {
        let mut parts = next.inside()?;
        if Oid::from_der(parts.take(0x06)?.whole).ok()? != kind {
            continue;
        }
        let mut values = parts.only(0x31)?;
        let value = values.next()?;
        values.done()?;
        if found.replace(value).is_some() {
            return None;
        }
    }
    found
}

/// Whether a `SignedData` holds over this, and whose it is.
pub fn holds(bytes: &[u8], over: Over, given: Option<&Given>) -> Result<Held, Fault> {
    let signed = SignedData::read(bytes)?;
    let stamp = match (over, signed.content) {
        (Over::Message(_), None) => None,
        (Over::Message(_), Some(_)) => {
            return Err(Fault::new(
                "it holds a content of its own, and is not of the file alone",
                "签名自带内容，不是对文件的分离式签名",
            ));
        }
        (Over::Stamp(_), content) => Some(content.ok_or_else(shapeless)?),
    };
    let fits = match over {
        Over::Message(_) => [DATA, SM2_DATA].contains(&signed.kind),
        Over::Stamp(_) => signed.kind == STAMP_INFO,
    };
    if !fits {
        let kind = signed.kind;
        return Err(Fault::new(
            format!("it is of a content of type {kind}, not of plain data or a time stamp"),
            format!("签名内容类型为{kind}，不是普通数据或时间戳"),
        ));
    }
    let own;
    let message = match (over, stamp) {
        (Over::Message(message), _) => message,
        (Over::Stamp(_), stamp) => {
            own = [stamp.unwrap_or_default()];
            &own[..]
        }
    };
    let certificate = signed.certificate();
    let key = match (&certificate, given) {
        (Some(found), Some(given)) if !given.is(found)? => {
            return Err(Fault::new(
                "it was signed with another certificate than the one given",
                "签名所用证书与所给证书不是同一个",
            ));
        }
        (Some(found), _) => found.key()?,
        (None, Some(given)) => given.key()?,
        (None, None) => {
            return Err(Fault::new(
                "it does not bring the certificate of its signer",
                "签名中没有签名人的证书",
            ));
        }
    };
    let algorithm = match signed.attributes {
        None => key.signed(signed.scheme, message, signed.signature)?,
        Some(attributes) => {
            attributes_agree(&signed, message)?;
            // Signed as a SET, sent as `[0]` (RFC 5652, 5.4): the length is the same.
            let rest = attributes.whole.get(1..).unwrap_or_default();
            key.signed(signed.scheme, &[&[0x31], rest], signed.signature)?
        }
    };
    let algorithm = algorithm.ok_or_else(not_signed)?;
    let of = match (&certificate, given) {
        (Some(found), _) => Some(found),
        (None, Some(Given::Certificate(found))) => Some(&**found),
        (None, _) => None,
    };
    let mut held = Held::by(of, algorithm);
    if let Some(of) = of {
        held.names_certificate = names_certificate(&signed, of)?;
    }
    match (over, stamp, attribute(signed.unsigned, TIME_STAMP)) {
        (Over::Stamp(stamped), Some(info), _) => {
            held.at = Some(stamp_time(info, stamped)?);
            held.time_stamped = true;
        }
        (_, _, Some(token)) => {
            let stamped = [signed.signature];
            let stamp = holds(token.whole, Over::Stamp(&stamped), None)
                .map_err(|fault| fault.of("its time stamp does not hold", "其时间戳无效"))?;
            held.at = stamp.at;
            held.time_stamped = true;
            held.stamped_by = stamp.signer;
        }
        (_, _, None) => {
            let said = attribute(signed.attributes, SIGNING_TIME);
            held.at = said.and_then(|said| date::of_item(said));
        }
    }
    Ok(held)
}

/// The signed attributes name the content's type and digest.
fn attributes_agree(signed: &SignedData, message: &[&[u8]]) -> Result<(), Fault> {
    let kind = attribute(signed.attributes, CONTENT_TYPE);
    let kind = kind.and_then(|kind| Oid::from_der(kind.whole).ok());
    if kind != Some(signed.kind) {
        return Err(Fault::new(
            "its signed attributes do not name the type of what was signed",
            "已签属性所载内容类型与签名内容不符",
        ));
    }
    let digest = attribute(signed.attributes, MESSAGE_DIGEST);
    let digest = digest.filter(|digest| digest.tag == 0x04);
    match digest {
        Some(digest) if digest.value == signed.digest.of(message) => Ok(()),
        _ => Err(Fault::new(
            "what it covers is not what was signed: the digests differ",
            "所覆盖的内容不是签名时的内容：摘要不符",
        )),
    }
}

/// Whether the signer's certificate is signed, too (RFC 5035); another one must not be.
fn names_certificate(signed: &SignedData, of: &Known) -> Result<bool, Fault> {
    let Some(value) = attribute(signed.attributes, SIGNING_CERTIFICATE) else {
        return Ok(false);
    };
    let read = || {
        let mut first = value.inside()?.only(0x30)?.only(0x30)?;
        let digest = match first.take(0x30) {
            Some(digest) => {
                Digest::of_oid(Oid::from_der(digest.inside()?.take(0x06)?.whole).ok()?).ok()?
            }
            None => Digest::Sha256,
        };
        let named = first.take(0x04)?.value;
        Some(digest.of(&[&of.bytes]) == named)
    };
    match read() {
        Some(true) => Ok(true),
        _ => Err(Fault::new(
            "it names another certificate than the one it brings",
            "已签属性所指证书与所附证书不是同一个",
        )),
    }
}

/// When this was stamped, by what the time stamp holds: a `TSTInfo` (RFC 3161, 2.4.2).
fn stamp_time(info: &[u8], stamped: &[&[u8]]) -> Result<OffsetDateTime, Fault> {
    let read = || {
        let mut info = Items::of(info)?.only(0x30)?;
        info.take(0x02)?;
        info.take(0x06)?;
        let mut imprint = info.only(0x30)?;
        let digest = Oid::from_der(imprint.only(0x30)?.take(0x06)?.whole).ok()?;
        let imprint = imprint.take(0x04)?.value;
        info.take(0x02)?;
        let at = date::of_item(info.next()?)?;
        Some((digest, imprint, at))
    };
    let (digest, imprint, at) = read().ok_or_else(shapeless)?;
    if Digest::of_oid(digest)?.of(stamped) == imprint {
        Ok(at)
    } else {
        Err(Fault::new(
            "it is the time stamp of something else: the digests differ",
            "时间戳所对应的不是此内容：摘要不符",
        ))
    }
}

/// The `SignedData` at the beginning of these bytes; nothing but zeros may follow.
pub fn padded(bytes: &[u8]) -> Option<&[u8]> {
    let first = Items::of(bytes)?.next()?.whole;
    let rest = bytes.get(first.len()..)?;
    rest.iter().all(|byte| *byte == 0).then_some(first)
}

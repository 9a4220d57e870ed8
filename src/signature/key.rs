//! Keys, digests, and whether a key signed a message.

use der::asn1::ObjectIdentifier as Oid;
use der::{Decode as _, Encode as _};
use ring::signature::{self as by, UnparsedPublicKey, VerificationAlgorithm};
use sm2::dsa::signature::MultipartVerifier as _;
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};

use super::Fault;
use super::asn1::Items;

/// The identity that SM2 signs with where nothing else was agreed upon (GB/T 35276).
const IDENTITY: &str = "1234567812345678";

const fn oid(text: &str) -> Oid {
    Oid::new_unwrap(text)
}

const RSA: Oid = oid("1.2.840.113549.1.1.1");
const RSA_PSS: Oid = oid("1.2.840.113549.1.1.10");
const RSA_SHA256: Oid = oid("1.2.840.113549.1.1.11");
const RSA_SHA384: Oid = oid("1.2.840.113549.1.1.12");
const RSA_SHA512: Oid = oid("1.2.840.113549.1.1.13");
const MGF1: Oid = oid("1.2.840.113549.1.1.8");
const EC: Oid = oid("1.2.840.10045.2.1");
const P256: Oid = oid("1.2.840.10045.3.1.7");
const P384: Oid = oid("1.3.132.0.34");
const ECDSA_SHA256: Oid = oid("1.2.840.10045.4.3.2");
const ECDSA_SHA384: Oid = oid("1.2.840.10045.4.3.3");
const SM2: Oid = oid("1.2.156.10197.1.301");
const SM2_SIGNATURE: Oid = oid("1.2.156.10197.1.301.1");
const SM2_SM3: Oid = oid("1.2.156.10197.1.501");

/// A digest that still stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Digest {
    Sha256,
    Sha384,
    Sha512,
    Sm3,
}

impl Digest {
    pub fn of_oid(given: Oid) -> Result<Digest, Fault> {
        const DIGESTS: [(Oid, Digest); 5] = [
            (oid("2.16.840.1.101.3.4.2.1"), Digest::Sha256),
            (oid("2.16.840.1.101.3.4.2.2"), Digest::Sha384),
            (oid("2.16.840.1.101.3.4.2.3"), Digest::Sha512),
            (oid("1.2.156.10197.1.401"), Digest::Sm3),
            (oid("1.2.156.10197.1.401.1"), Digest::Sm3),
        ];
        let found = DIGESTS.iter().find(|(known, _)| *known == given);
        found.map(|(_, digest)| *digest).ok_or_else(|| {
            Fault::new(
                format!("digest {given} is none of SHA-256, SHA-384, SHA-512 and SM3"),
                format!("摘要算法{given}不是SHA-256、SHA-384、SHA-512或SM3"),
            )
        })
    }

    fn name(self) -> &'static str {
        match self {
            Digest::Sha256 => "SHA-256",
            Digest::Sha384 => "SHA-384",
            Digest::Sha512 => "SHA-512",
            Digest::Sm3 => "SM3",
        }
    }

    /// Of the pieces, one after the other.
    pub fn of(self, pieces: &[&[u8]]) -> Vec<u8> {
        fn run<D: sha2::Digest>(pieces: &[&[u8]]) -> Vec<u8> {
            let mut digest = D::new();
            pieces.iter().for_each(|piece| digest.update(piece));
            digest.finalize().to_vec()
        }
        match self {
            Digest::Sha256 => run::<sha2::Sha256>(pieces),
            Digest::Sha384 => run::<sha2::Sha384>(pieces),
            Digest::Sha512 => run::<sha2::Sha512>(pieces),
            Digest::Sm3 => run::<sm3::Sm3>(pieces),
        }
    }
}

/// How a message was signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    Rsa(Digest),
    RsaPss(Digest),
    Ecdsa(Digest),
    Sm2,
}

impl Scheme {
    /// As the signer of a CMS says it, with the digest of the message.
    pub fn of(algorithm: &AlgorithmIdentifierOwned, digest: Digest) -> Result<Scheme, Fault> {
        Ok(match algorithm.oid {
            RSA => Scheme::Rsa(digest),
            RSA_SHA256 => Scheme::Rsa(Digest::Sha256),
            RSA_SHA384 => Scheme::Rsa(Digest::Sha384),
            RSA_SHA512 => Scheme::Rsa(Digest::Sha512),
            RSA_PSS => Scheme::RsaPss(pss(algorithm)?),
            EC if digest == Digest::Sm3 => Scheme::Sm2,
            EC => Scheme::Ecdsa(digest),
            ECDSA_SHA256 => Scheme::Ecdsa(Digest::Sha256),
            ECDSA_SHA384 => Scheme::Ecdsa(Digest::Sha384),
            SM2 | SM2_SIGNATURE | SM2_SM3 => Scheme::Sm2,
            oid => return Err(unknown(&format!("{oid}"))),
        })
    }

    fn name(self) -> String {
        match self {
            Scheme::Rsa(digest) => format!("RSA PKCS#1 v1.5, {}", digest.name()),
            Scheme::RsaPss(digest) => format!("RSA PSS, {}", digest.name()),
            Scheme::Ecdsa(digest) => format!("ECDSA, {}", digest.name()),
            Scheme::Sm2 => "SM2, SM3".to_owned(),
        }
    }
}

/// The digest of RSA PSS, which has to be that of its mask, too, with a salt as long.
fn pss(algorithm: &AlgorithmIdentifierOwned) -> Result<Digest, Fault> {
    let read = || -> Option<Oid> {
        let parameters = algorithm.parameters.as_ref()?.to_der().ok()?;
        let mut fields = Items::of(&parameters)?.only(0x30)?;
        let mut digest = fields.take(0xA0)?.inside()?.only(0x30)?;
        let digest = Oid::from_der(digest.take(0x06)?.whole).ok()?;
        let mut mask = fields.take(0xA1)?.inside()?.only(0x30)?;
        let mgf = Oid::from_der(mask.take(0x06)?.whole).ok()?;
        let mut masks = mask.only(0x30)?;
        let masks = Oid::from_der(masks.take(0x06)?.whole).ok()?;
        let salt = fields.take(0xA2)?.inside()?.take(0x02)?.value;
        let length = Digest::of_oid(digest).ok()?.of(&[]).len();
        let fits = mgf == MGF1 && masks == digest && salt == [u8::try_from(length).ok()?];
        fits.then_some(digest)
    };
    let digest = read().ok_or_else(|| {
        Fault::new(
            "RSA PSS is read where digest and mask are of one of SHA-256, SHA-384 and SHA-512, with \
             a salt as long",
            "RSA PSS只支持摘要与掩码同为SHA-256、SHA-384或SHA-512且盐长等于摘要长的签名",
        )
    })?;
    Digest::of_oid(digest)
}

fn unknown(what: &str) -> Fault {
    Fault::new(
        format!(
            "signature algorithm {what} is not read here: RSA of 2048 to 8192 bits, ECDSA over \
             P-256 and P-384 and SM2 are, with SHA-256, SHA-384, SHA-512 and SM3"
        ),
        format!(
            "不支持签名算法{what}：支持2048至8192位RSA、P-256与P-384上的ECDSA及SM2，摘要为SHA-256、\
             SHA-384、SHA-512、SM3"
        ),
    )
}

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    Rsa(Vec<u8>),
    P256(Vec<u8>),
    P384(Vec<u8>),
    Sm2(Vec<u8>),
}

impl Key {
    /// Of a certificate, or as it stands in a PEM alone.
    pub fn of(info: &SubjectPublicKeyInfoOwned) -> Result<Key, Fault> {
        let bits = info.subject_public_key.raw_bytes().to_vec();
        let curve = info.algorithm.parameters.as_ref();
        let curve = curve.and_then(|curve| curve.decode_as::<Oid>().ok());
        match (info.algorithm.oid, curve) {
            (RSA | RSA_PSS, _) => Ok(Key::Rsa(bits)),
            (EC, Some(P256)) => Ok(Key::P256(bits)),
            (EC, Some(P384)) => Ok(Key::P384(bits)),
            (EC, Some(SM2)) | (SM2, _) => Ok(Key::Sm2(bits)),
            (oid, Some(curve)) => Err(unknown(&format!("{oid} over {curve}"))),
            (oid, None) => Err(unknown(&format!("{oid}"))),
        }
    }

    /// Whether this key signed these pieces: then how, for people; none, if it didn't.
    pub fn signed(
        &self,
        scheme: Scheme,
        pieces: &[&[u8]],
        signature: &[u8],
    ) -> Result<Option<String>, Fault> {
        let algorithm: &'static dyn VerificationAlgorithm = match (self, scheme) {
            (Key::Rsa(_), Scheme::Rsa(Digest::Sha256)) => &by::RSA_PKCS1_2048_8192_SHA256,
            (Key::Rsa(_), Scheme::Rsa(Digest::Sha384)) => &by::RSA_PKCS1_2048_8192_SHA384,
            (Key::Rsa(_), Scheme::Rsa(Digest::Sha512)) => &by::RSA_PKCS1_2048_8192_SHA512,
            (Key::Rsa(_), Scheme::RsaPss(Digest::Sha256)) => &by::RSA_PSS_2048_8192_SHA256,
            (Key::Rsa(_), Scheme::RsaPss(Digest::Sha384)) => &by::RSA_PSS_2048_8192_SHA384,
            (Key::Rsa(_), Scheme::RsaPss(Digest::Sha512)) => &by::RSA_PSS_2048_8192_SHA512,
            (Key::P256(_), Scheme::Ecdsa(Digest::Sha256)) => &by::ECDSA_P256_SHA256_ASN1,
            (Key::P256(_), Scheme::Ecdsa(Digest::Sha384)) => &by::ECDSA_P256_SHA384_ASN1,
            (Key::P384(_), Scheme::Ecdsa(Digest::Sha256)) => &by::ECDSA_P384_SHA256_ASN1,
            (Key::P384(_), Scheme::Ecdsa(Digest::Sha384)) => &by::ECDSA_P384_SHA384_ASN1,
            (Key::Sm2(key), Scheme::Sm2) => {
                let signed = sm2_signed(key, pieces, signature);
                return Ok(signed.map(|()| scheme.name()));
            }
            (key, scheme) => {
                let (key, scheme) = (key.name(), scheme.name());
                return Err(unknown(&format!("{scheme} with a key of {key}")));
            }
        };
        let message = pieces.concat();
        let signed = UnparsedPublicKey::new(algorithm, self.bits()).verify(&message, signature);
        Ok(signed.is_ok().then(|| match scheme {
            Scheme::Ecdsa(digest) => format!("ECDSA {}, {}", self.name(), digest.name()),
            scheme => scheme.name(),
        }))
    }

    fn bits(&self) -> &[u8] {
        let (Key::Rsa(bits) | Key::P256(bits) | Key::P384(bits) | Key::Sm2(bits)) = self;
        bits
    }

    /// As people call its kind.
    pub fn name(&self) -> &'static str {
        match self {
            Key::Rsa(_) => "RSA",
            Key::P256(_) => "P-256",
            Key::P384(_) => "P-384",
            Key::Sm2(_) => "SM2",
        }
    }
}

/// A signature by SM2 is a sequence of two numbers, below the order of the curve.
fn sm2_signed(key: &[u8], pieces: &[&[u8]], signature: &[u8]) -> Option<()> {
    let mut numbers = Items::of(signature)?.only(0x30)?;
    let mut bytes = [0; 64];
    for half in bytes.chunks_exact_mut(32) {
        let number = numbers.take(0x02)?.value;
        let number = match number {
            [0, rest @ ..] => rest,
            [first, ..] if *first >= 0x80 => return None,
            number => number,
        };
        let start = half.len().checked_sub(number.len())?;
        half[start..].copy_from_slice(number);
    }
    numbers.done()?;
    let signature = sm2::dsa::Signature::from_slice(&bytes).ok()?;
    let key = sm2::dsa::VerifyingKey::from_sec1_bytes(IDENTITY, key).ok()?;
    key.multipart_verify(pieces, &signature).ok()
}

/// Whether these bytes are of the shape of an SM2 signature alone.
pub fn is_two_numbers(signature: &[u8]) -> bool {
    let read = || {
        let mut numbers = Items::of(signature)?.only(0x30)?;
        numbers.take(0x02)?;
        numbers.take(0x02)?;
        numbers.done()
    };
    read().is_some()
}

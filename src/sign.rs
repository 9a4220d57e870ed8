//! Who signs PDFs: a program or a service that has the keys, which banshi never sees.
//!
//! Takes a [`Document`], gives a signed copy of it or a detached signature, which was checked:
//! nothing that is not a signature of this very PDF comes out of here. Never signs, never keeps
//! anything, and shows the signer nothing of the worker's own: a program gets an environment of
//! its own, a service the headers that are named here. If we crash here, the program is killed with
//! whatever it has started, a service has perhaps made a signature that nobody asks for again, and
//! the job is done again.

mod command;
mod service;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

use self::command::Program;
use self::service::Service;
use crate::config::{self, Gives, Takes};
use crate::digest;
use crate::disk;
use crate::problem::{Code, Failure, Outage, Part, Problem};
use crate::signature::{self, Kind, Seal, Signatory};
use crate::typesetter::Place;

/// Times that a signer is asked which says that it can't just now.
const TRIES: u32 = 3;

/// The wait before the second time; the third comes after twice as long.
const PAUSE: Duration = Duration::from_millis(200);

/// What an answer may be larger than the PDF, in bytes: certificates, revocation data and a picture.
const ROOM: usize = 16 << 20;

/// Why a document is not shown to a signer: a variable or a header has a longest length.
const UNTOLD: &str =
    "it can't be told of it: its title and agency are too long (标题和机关名称过长，无法告知)";

/// A PDF to be signed, and what the signer is told of it.
#[derive(Debug, Clone)]
pub struct Document {
    /// The file, as it is stored.
    pub pdf: Arc<[u8]>,
    /// The sender's key.
    pub job_id: String,
    /// `name/edition`.
    pub template: String,
    /// 发文机关.
    pub agency: String,
    /// The title on one line.
    pub title: String,
    /// The reporting year.
    pub year: u16,
    /// Where the template has the place of a seal.
    pub seal: Option<Place>,
}

/// Why there is no signature.
#[derive(Debug)]
pub enum Trouble {
    /// The signer won't sign this document, whenever it is asked.
    Refused(String),
    /// It is not there, or has said that it can't now; perhaps when it is to be asked again.
    Away(Outage, Option<Duration>),
    /// What it did was no signature of the document: it is out of order, unless it signs others.
    Wrong(Outage),
}

impl Trouble {
    fn away(message: impl Into<String>) -> Trouble {
        Trouble::Away(Outage::new(Part::Signer, message), None)
    }

    fn wrong(message: impl Into<String>) -> Trouble {
        Trouble::Wrong(Outage::new(Part::Signer, message))
    }
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Failure {
        match trouble {
            Trouble::Refused(why) => Failure::Rejected(refusal(&why).into()),
            Trouble::Away(outage, _) | Trouble::Wrong(outage) => Failure::Outage(outage),
        }
    }
}

/// `E-SIGN`, with the signer's own words.
fn refusal(why: &str) -> Problem {
    Problem::new(
        Code::SIGN,
        "",
        format!(
            "the signing system does not sign this document: {why}; ask who runs it: once it would \
             sign, the same job sent again or replayed is signed; new content needs a new job_id"
        ),
        format!(
            "签名系统拒绝签署本文件：{why}；请向其运行方了解原因：愿意签署之后，再次发送或重放同一任务即可签好；\
             内容有变的须使用新的 job_id"
        ),
    )
}

/// A signer, as the settings have it.
#[derive(Debug)]
pub struct Signer {
    way: Way,
    takes: Takes,
    gives: Gives,
    certificate: Option<Arc<[u8]>>,
    /// SHA-256 of that certificate, by which every signature of a signed copy has to be.
    by: Option<String>,
    timeout: Duration,
    turns: Semaphore,
}

#[derive(Debug)]
enum Way {
    Program(Program),
    Service(Box<Service>),
}

/// What is asked of a signer.
struct Question<'a> {
    document: &'a Document,
    takes: Takes,
    gives: Gives,
    /// SHA-256 of the PDF, in lower-case hexadecimal.
    sha256: String,
    /// The digest that is to be signed; none, where the PDF is.
    digest: Option<Vec<u8>>,
}

impl Question<'_> {
    /// What the signer gets to sign.
    fn input(&self) -> &[u8] {
        self.digest.as_deref().unwrap_or(&self.document.pdf)
    }

    /// The most that its answer may be, in bytes.
    fn most(&self) -> usize {
        self.document.pdf.len() + ROOM
    }

    /// What a service is told of it.
    fn facts(&self) -> serde_json::Value {
        let Document {
            pdf,
            job_id,
            template,
            agency,
            title,
            year,
            seal,
        } = self.document;
        let mut facts = json!({
            "job_id": job_id, "template": template, "agency": agency, "title": title, "year": year,
            "takes": self.takes.as_str(), "gives": self.gives.as_str(),
            "sha256": self.sha256, "bytes": pdf.len(),
        });
        if let Some(seal) = seal {
            facts["seal"] = json!(seal);
        }
        if let Some(digest) = &self.digest {
            facts["digest"] = json!(digest::hex(digest));
        }
        facts
    }
}

impl Signer {
    /// The signer of the settings; none, where nothing is signed.
    ///
    /// # Errors
    /// A file of the settings that can't be read or is not what it must be.
    pub fn open(settings: &config::Sign) -> Result<Option<Signer>, Outage> {
        if !settings.is_on() {
            return Ok(None);
        }
        let timeout = Duration::from_secs(settings.timeout);
        let way = match settings.command.split_first() {
            Some((program, arguments)) => Way::Program(Program::new(program, arguments)),
            None => Way::Service(Box::new(Service::new(settings, timeout)?)),
        };
        let (certificate, by) = match settings.signer() {
            None => (None, None),
            Some(path) => {
                let pem = pem("sign.certificate", path)?;
                let by = certificate(&pem, settings)?;
                (Some(pem.into()), by)
            }
        };
        Ok(Some(Signer {
            way,
            takes: settings.takes,
            gives: settings.gives,
            certificate,
            by,
            timeout,
            turns: Semaphore::new(settings.at_once),
        }))
    }

    /// What it is called, for people.
    pub fn name(&self) -> String {
        match &self.way {
            Way::Program(program) => program.name(),
            Way::Service(service) => service.name(),
        }
    }

    /// What its signatures are.
    pub fn gives(&self) -> Gives {
        self.gives
    }

    /// Whether it is there, as far as can be seen without a signature.
    ///
    /// # Errors
    /// When it is not, with what to do.
    pub async fn is_there(&self) -> Result<String, Outage> {
        match &self.way {
            Way::Program(program) => program.is_there(),
            Way::Service(service) => service.is_there().await,
        }
    }

    /// Has a document signed, and checks what comes back. Waits for its turn; only a signer that
    /// says that it can't just now is asked again at once.
    ///
    /// # Errors
    /// Why there is no signature of it.
    pub async fn sign(&self, document: &Document) -> Result<Vec<u8>, Trouble> {
        let _turn = self.turns.acquire().await.expect("it is never closed");
        let question = self.question(document);
        let mut tries = 1;
        let answer = loop {
            match self.ask(&question).await {
                Err(Trouble::Away(_, None)) if tries < TRIES => {
                    tokio::time::sleep(PAUSE * tries).await;
                    tries += 1;
                }
                asked => break asked?,
            }
        };
        let checked = self.check(&document.pdf, answer).await;
        checked.map_err(|why| {
            Trouble::wrong(format!(
                "what {} gave is no signature of the PDF: {why}",
                self.name()
            ))
        })
    }

    fn question<'a>(&self, document: &'a Document) -> Question<'a> {
        let sha256 = digest::sha256_bytes(&document.pdf);
        let digest = match self.takes {
            Takes::File => None,
            Takes::Sha256 => Some(sha256.to_vec()),
            Takes::Sm3 => Some(digest::sm3(&document.pdf).to_vec()),
        };
        Question {
            document,
            takes: self.takes,
            gives: self.gives,
            sha256: digest::hex(&sha256),
            digest,
        }
    }

    async fn ask(&self, question: &Question<'_>) -> Result<Vec<u8>, Trouble> {
        let answer = async {
            match &self.way {
                Way::Program(program) => program.ask(question).await,
                Way::Service(service) => service.ask(question).await,
            }
        };
        let silence = || {
            Trouble::wrong(format!(
                "{} gave no signature within {} s (sign.timeout)",
                self.name(),
                self.timeout.as_secs()
            ))
        };
        timeout(self.timeout, answer)
            .await
            .unwrap_or_else(|_| Err(silence()))
    }

    /// The bytes, if they are a signature of this PDF.
    ///
    /// # Errors
    /// Why they are none.
    pub async fn check(&self, pdf: &Arc<[u8]>, signed: Vec<u8>) -> Result<Vec<u8>, String> {
        let (pdf, certificate) = (Arc::clone(pdf), self.certificate.clone());
        let (gives, by) = (self.gives, self.by.clone());
        // Megabytes of a stranger's, whose reading must hold nobody up.
        let reading = spawn_blocking(move || {
            let beside = || {
                let found = signature::detached(&pdf, &signed, certificate.as_deref());
                found.map(|signature| vec![signature])
            };
            let found = match gives {
                Gives::Pdf => signature::copy(&pdf, &signed),
                Gives::Cms if begins_with(&signed, OBJECT_IDENTIFIER) => beside(),
                Gives::Cms => return Err("it is no CMS in DER".to_owned()),
                Gives::Sm2 if begins_with(&signed, INTEGER) => beside(),
                Gives::Sm2 => return Err("it is no SM2 signature in DER".to_owned()),
            };
            let found = found.map_err(|refusal| refusal.to_string())?;
            if found.iter().all(|it| it.kind == Kind::TimeStamp) {
                return Err("it has time stamps only".to_owned());
            }
            let mut own = found.iter().filter(|it| it.kind == Kind::Signature);
            if by.is_some() && own.any(|it| it.certificate_sha256 != by) {
                return Err("it is by another certificate than sign.certificate".to_owned());
            }
            match found.iter().find_map(|it| it.seal.and_then(breaks)) {
                None => Ok(signed),
                Some(why) => Err(why.to_owned()),
            }
        });
        within(self.timeout, reading).await
    }
}

/// What a reading gives, if it does not take longer than this. It can't be stopped; nobody waits
/// for it.
async fn within<T>(limit: Duration, reading: JoinHandle<Result<T, String>>) -> Result<T, String> {
    match timeout(limit, reading).await {
        Ok(Ok(read)) => read,
        Ok(Err(error)) => Err(format!("it could not be read: {error}")),
        Err(_) => Err("reading it took too long (sign.timeout)".to_owned()),
    }
}

/// What in a seal breaks the standards that the PDF keeps.
fn breaks(seal: Seal) -> Option<&'static str> {
    if seal.text {
        return Some(
            "its seal has text, for which PDF/A-3a wants embedded faces (ISO 19005-3, 6.2.11.4.1): \
             let it be a picture, or nothing",
        );
    }
    (!seal.tagged).then_some(
        "its seal is not tagged (no StructParent at its field), which PDF/UA-1 wants (7.18.4): let \
         it have a Form element, or let it be nothing",
    )
}

/// The tags of what a CMS begins with, and an SM2 signature.
const OBJECT_IDENTIFIER: u8 = 0x06;
const INTEGER: u8 = 0x02;

/// Whether it is a sequence in DER, or in BER of unknown length, whose first element has this tag.
fn begins_with(der: &[u8], tag: u8) -> bool {
    let length = match der {
        [0x30, 0x81..=0x84, ..] => 1 + usize::from(der[1] & 0x7f),
        [0x30, ..] => 1,
        _ => return false,
    };
    der.get(1 + length) == Some(&tag)
}

/// A PEM file.
fn pem(setting: &str, path: &Path) -> Result<Vec<u8>, Outage> {
    let unread = |error| disk::outage(Part::Signer, &format!("read {setting}"), path, error);
    let pem = fs::read(path).map_err(unread)?;
    match pem.windows(11).any(|at| at == b"-----BEGIN ") {
        true => Ok(pem),
        false => Err(Outage::new(
            Part::Signer,
            format!("{setting}: {} is no PEM file", path.display()),
        )),
    }
}

/// SHA-256 of `sign.certificate`, which can be a public key for all but a signed copy.
fn certificate(pem: &[u8], settings: &config::Sign) -> Result<Option<String>, Outage> {
    let wrong = |why: &str| {
        let path = settings.certificate.display();
        Outage::new(Part::Signer, format!("sign.certificate: {path}: {why}"))
    };
    let signatory = Signatory::of(pem).map_err(|fault| wrong(&fault.message))?;
    match settings.gives {
        Gives::Pdf if signatory.certificate_sha256.is_none() => Err(wrong(
            "want a certificate, by which a signed copy is; a public key is for a detached signature",
        )),
        Gives::Sm2 if signatory.key != "SM2" => Err(wrong(&format!(
            "want a certificate or a public key of SM2, as sign.gives is \"sm2\"; its key is {}",
            signatory.key
        ))),
        _ => Ok(signatory.certificate_sha256),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[tokio::test]
    async fn a_reading_that_takes_too_long_is_not_waited_for() {
        let (ends, ended) = channel::<()>();
        let reading = spawn_blocking(move || Ok(ended.recv().is_ok()));
        let why = within(Duration::from_millis(1), reading).await;
        drop(ends);
        assert!(why.is_err_and(|why| why.contains("took too long")));
        let read = within(Duration::from_secs(60), spawn_blocking(|| Ok(1))).await;
        assert_eq!(read, Ok(1));
    }
}

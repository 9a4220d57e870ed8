//! The signature of a PDF, between its putting and its manifest, and whether a signer that fails is
//! out for every document.
//!
//! Takes a PDF that is stored and has no manifest, gives a signature of it, which is stored beside
//! it. Never has a document signed of which a signature is there, and never puts one over another:
//! a signature can't be made twice the same, and the first is the one that is announced. If we crash
//! here, before the signature is stored another is made, after it that one is found.
//!
//! # Whose trouble it is
//!
//! A signer can't be asked how it is but by having something signed, and nothing is signed only to
//! find out. So what is tried again is the document that it failed with last; what comes of that is
//! kept, and found when its job comes back. A document that it fails with while it signs others
//! uses up its attempts. Where there are no others to be seen, because none are let in, some are
//! after a while.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;
use tracing::info;

use crate::problem::{Code, Failure, Outage, Part, Problem};
use crate::sign::{Document, Signer, Trouble};
use crate::store::{Beside, Key, Store};

/// Tries after which others are let in to see whether the signer signs those, and times that they are
/// doubled while it signs none.
const TRIES: u32 = 6;
const DOUBLED: u32 = 4;

/// The most documents whose troubles are remembered.
const REMEMBERED: usize = 64;

/// A signer, and how it has done.
#[derive(Debug)]
pub(super) struct Signing {
    signer: Signer,
    past: Mutex<Past>,
}

#[derive(Debug, Default)]
struct Past {
    /// Documents that it has signed.
    signed: u64,
    /// With which it has failed, and how many it had signed before.
    failed: VecDeque<(Key, u64)>,
    /// With which it has failed since it last signed one; whether with others, too.
    since: Option<Key>,
    several: bool,
    /// Whether it was away the last time, of which no document is the cause.
    away: bool,
    /// The last of them.
    last: Option<(Key, Document)>,
    /// Tries that may have been that document's own trouble, since others were let in, and how often
    /// these were.
    tries: u32,
    let_in: u32,
    /// When it wants to be asked again, and why it could not sign.
    again: Option<(Instant, String)>,
}

impl Signing {
    pub(super) fn new(signer: Signer) -> Signing {
        info!("{} signs what is made from now on", signer.name());
        Signing {
            signer,
            past: Mutex::default(),
        }
    }

    /// Why there can be no job of this id: its PDF would be where another's signed copy is.
    pub(super) fn in_the_way(&self, job_id: &str) -> Option<Problem> {
        let other = format!("{job_id}.pdf");
        let other = other.strip_suffix(&format!(".{}", self.signer.gives().ending()))?;
        let (en, zh) = (
            format!(
                "{job_id}.pdf is the place of the signed copy of the job {other}: want a job_id \
                 that does not end in .signed, where PDFs are signed"
            ),
            format!(
                "{job_id}.pdf 是任务 {other} 的签名件的位置：在需要签名之处，job_id 不得以 .signed 结尾"
            ),
        );
        Some(Problem::new(Code::SCHEMA, "/job_id", en, zh))
    }

    /// The signature of a PDF that is stored, which is stored, too; with `look`, the one that may be
    /// there already.
    pub(super) async fn of(
        &self,
        store: &Store,
        key: &Key,
        document: Document,
        look: bool,
    ) -> Result<Beside<'static>, Failure> {
        if look && let Some(there) = store.object(key, self.signer.gives().ending()).await? {
            info!("signed already: the signature that is there is taken");
            return Ok(self.adopt(store, key, &document, there).await?);
        }
        match self.signer.sign(&document).await {
            Ok(signature) => {
                self.past().signs(key);
                Ok(self.keep(store, key, &document, signature).await?)
            }
            Err(trouble) => {
                self.past().fails(key, document, &trouble);
                Err(trouble.into())
            }
        }
    }

    /// Stores a signature, or takes the one that is there.
    async fn keep(
        &self,
        store: &Store,
        key: &Key,
        document: &Document,
        signature: Vec<u8>,
    ) -> Result<Beside<'static>, Outage> {
        let ours = self.beside(signature);
        match store.keep_beside(key, &ours).await? {
            None => Ok(ours),
            Some(theirs) => self.adopt(store, key, document, theirs).await,
        }
    }

    /// A signature that was there: of another worker with the same job, or of one that was killed.
    async fn adopt(
        &self,
        store: &Store,
        key: &Key,
        document: &Document,
        there: Vec<u8>,
    ) -> Result<Beside<'static>, Outage> {
        let checked = self.signer.check(&document.pdf, there).await;
        let checked = checked.map_err(|why| {
            let ending = self.signer.gives().ending();
            let message = format!(
                "{} is there and is no signature of {}: {why}; see whose it is, and move it away",
                store.uri_of(key, ending),
                store.uri_of(key, "pdf"),
            );
            Outage::new(Part::Store, message)
        })?;
        Ok(self.beside(checked))
    }

    fn beside(&self, signature: Vec<u8>) -> Beside<'static> {
        let gives = self.signer.gives();
        Beside {
            format: gives.ending(),
            media_type: gives.media_type(),
            bytes: signature.into(),
        }
    }

    /// Whether it signs: the document that it failed with last is tried again. Takes as long as a
    /// signature may.
    pub(super) async fn probe(&self, store: &Store) -> Result<(), Outage> {
        let (key, document) = {
            let past = self.past();
            let Some(last) = past.last.clone().filter(|_| past.is_out()) else {
                return Ok(());
            };
            if let Some((again, why)) = &past.again
                && *again > Instant::now()
            {
                return Err(Outage::new(Part::Signer, why.clone()));
            }
            last
        };
        let ending = self.signer.gives().ending();
        if store.object(&key, ending).await?.is_some() {
            // Another worker has had it signed. Others show whether it signs for us.
            self.past().last = None;
            return Ok(());
        }
        match self.signer.sign(&document).await {
            Ok(signature) => {
                self.past().signs(&key);
                self.keep(store, &key, &document, signature).await.map(drop)
            }
            Err(trouble) => {
                let opens = self.past().fails_again(&key, &trouble);
                match trouble.into() {
                    Failure::Outage(outage) if !opens => Err(outage),
                    // A refusal is for the job to hear.
                    _ => Ok(()),
                }
            }
        }
    }

    fn past(&self) -> MutexGuard<'_, Past> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Past {
    fn signs(&mut self, key: &Key) {
        self.signed += 1;
        self.failed.retain(|(failed, _)| failed != key);
        if self.last.as_ref().is_some_and(|(last, _)| last == key) {
            self.last = None;
        }
        (self.since, self.several, self.away) = (None, false, false);
        (self.tries, self.let_in) = (0, 0);
        self.again = None;
    }

    fn fails(&mut self, key: &Key, document: Document, trouble: &Trouble) {
        if let Trouble::Refused(_) = trouble {
            self.refuses(key);
            return;
        }
        self.hears(trouble);
        if !self.failed.iter().any(|(failed, _)| failed == key) {
            if self.failed.len() == REMEMBERED {
                self.failed.pop_front();
            }
            self.failed.push_back((key.clone(), self.signed));
        }
        let since = self.since.get_or_insert_with(|| key.clone());
        self.several |= since != key;
        self.last = Some((key.clone(), document));
    }

    /// Notes that it will never sign a document, which is not tried again.
    fn refuses(&mut self, key: &Key) {
        if self.last.as_ref().is_some_and(|(last, _)| last == key) {
            self.last = None;
        }
    }

    /// Notes that it has failed with the last document once more; whether others are let in now.
    fn fails_again(&mut self, key: &Key, trouble: &Trouble) -> bool {
        self.hears(trouble);
        if let Trouble::Refused(_) = trouble {
            self.refuses(key);
            return true;
        }
        if self.away {
            return false;
        }
        self.tries += 1;
        let opens = self.tries >= TRIES << self.let_in.min(DOUBLED);
        if opens {
            self.tries = 0;
            self.let_in += 1;
        }
        opens
    }

    /// Notes whether it is away, and when it wants to be asked again.
    fn hears(&mut self, trouble: &Trouble) {
        self.away = matches!(trouble, Trouble::Away(..));
        self.again = match trouble {
            Trouble::Away(why, Some(after)) => Some((Instant::now() + *after, why.reason())),
            _ => None,
        };
    }

    /// Whether it may be out for all: it is away, or has failed with several since it last signed
    /// one, or has signed none since it first failed with the last.
    fn is_out(&self) -> bool {
        let last = self.last.as_ref().map(|(key, _)| key);
        let first = self.failed.iter().find(|(key, _)| Some(key) == last);
        self.away || self.several || first.is_some_and(|(_, signed)| *signed == self.signed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(job: &str) -> Key {
        Key::new("note/1", 2024, job)
    }

    impl Past {
        fn wrong(&mut self, job: &str) {
            self.meets(job, &Trouble::Wrong(Outage::new(Part::Signer, "500")));
        }

        fn meets(&mut self, job: &str, trouble: &Trouble) {
            let document = Document {
                pdf: b"%PDF-1.7".as_slice().into(),
                job_id: job.to_owned(),
                template: "note/1".to_owned(),
                agency: String::new(),
                title: String::new(),
                year: 2024,
                seal: None,
            };
            self.fails(&key(job), document, trouble);
        }
    }

    #[test]
    fn a_signer_is_out_that_has_signed_none_since_it_failed() {
        let mut past = Past::default();
        past.signs(&key("a"));
        past.wrong("b");
        assert!(past.is_out());
        past.signs(&key("b"));
        past.wrong("b");
        assert!(past.is_out(), "what was signed is forgotten");
    }

    #[test]
    fn a_document_that_it_fails_with_while_it_signs_others_is_in_trouble_itself() {
        let mut past = Past::default();
        past.wrong("bad");
        past.signs(&key("good"));
        assert!(!past.is_out());
        past.wrong("bad");
        assert!(!past.is_out());
        past.wrong("another");
        assert!(past.is_out(), "two in a row are no document's trouble");
    }

    #[test]
    fn no_document_is_the_cause_that_a_signer_is_away() {
        let mut past = Past::default();
        past.wrong("bad");
        past.signs(&key("good"));
        let away = || Trouble::Away(Outage::new(Part::Signer, "503"), None);
        past.meets("bad", &away());
        assert!(past.is_out());
        assert!(
            (0..1_000).all(|_| !past.fails_again(&key("bad"), &away())),
            "nobody is let in"
        );
    }

    #[test]
    fn a_document_that_it_has_refused_is_not_tried_again_and_shuts_nobody_out() {
        let refused = || Trouble::Refused("no".to_owned());
        let mut past = Past::default();
        past.wrong("bad");
        assert!(
            past.fails_again(&key("bad"), &refused()),
            "others are let in"
        );
        assert!(past.last.is_none() && !past.is_out());
        past.wrong("bad");
        past.meets("other", &refused());
        assert!(past.last.is_some(), "that says nothing of this one");
        past.meets("bad", &refused());
        assert!(past.last.is_none());
    }

    #[test]
    fn others_are_let_in_after_more_and_more_tries() {
        let mut past = Past::default();
        past.wrong("bad");
        let wrong = Trouble::Wrong(Outage::new(Part::Signer, "500"));
        let mut again = || past.fails_again(&key("bad"), &wrong);
        let mut tries = || (1..).find(|_| again()).expect("at last");
        let tries: Vec<u32> = (0..7).map(|_| tries()).collect();
        assert_eq!(tries, [6, 12, 24, 48, 96, 96, 96]);
    }
}

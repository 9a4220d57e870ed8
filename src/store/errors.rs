//! What the store's errors mean.
//!
//! Takes an error of `object_store`, gives an [`Answer`]. Never takes one for the job's fault. If
//! we crash here, nothing has been decided yet.

use std::error::Error as _;
use std::io;

use object_store::Error;
use object_store::client::{HttpError, HttpErrorKind};

use super::{Place, Store};
use crate::disk;
use crate::problem::{Outage, Part};

/// What the store said.
pub(super) enum Answer {
    AlreadyExists,
    NotFound(Error),
    /// It does not know the condition that was asked for.
    Unconditional(Error),
    /// No answer came in time or whole: what was asked for may have been done.
    Unknown(Outage),
    Outage(Outage),
}

impl Answer {
    /// The outage that it is, where nothing else was expected.
    pub(super) fn into_outage(self, store: &Store, verb: &str, path: &str) -> Outage {
        let (fix, error) = match self {
            Answer::Unknown(outage) | Answer::Outage(outage) => return outage,
            Answer::AlreadyExists => return store.vanished(path),
            Answer::NotFound(error) => ("make the bucket, or correct store.url", error),
            Answer::Unconditional(error) => (
                "the store must put objects only if they are absent (If-None-Match: *)",
                error,
            ),
        };
        let message = format!("cannot {verb} {}; {fix}", store.uri(path));
        Outage::because(Part::Store, message, error)
    }
}

impl Store {
    /// What an error of the store means to us. `object_store` has retried what certainly was not
    /// done: 5xx, 429, no connection. The rest is left to its caller; nothing that a store says is
    /// ever the job's fault.
    pub(super) fn sort(&self, verb: &str, path: &str, error: Error) -> Answer {
        match &error {
            // Also 409, which S3 says when two conditional puts cross.
            Error::AlreadyExists { .. } => return Answer::AlreadyExists,
            // Neither is asked for but with a put.
            Error::Precondition { .. } | Error::NotModified { .. } => return Answer::AlreadyExists,
            Error::NotFound { .. } => return Answer::NotFound(error),
            // By AWS_CONDITIONAL_PUT=disabled.
            Error::NotImplemented { .. } | Error::NotSupported { .. } => {
                return Answer::Unconditional(error);
            }
            _ => {}
        }
        let code = s3_code(&error);
        if code.as_deref() == Some("NotImplemented") {
            return Answer::Unconditional(error);
        }
        let unanswered = unanswered(&error);
        let fix = self.fix(&error, code.as_deref());
        let message = format!("cannot {verb} {}; {fix}", self.uri(path));
        let outage = Outage::because(Part::Store, message, error);
        match unanswered {
            true => Answer::Unknown(outage),
            false => Answer::Outage(outage),
        }
    }

    /// What an operator can do about an error. The code that S3 gives is more exact than its
    /// status.
    fn fix(&self, error: &Error, code: Option<&str>) -> &'static str {
        match code {
            Some("InvalidAccessKeyId" | "SignatureDoesNotMatch") => {
                return "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the file of \
                        credentials: the store does not know this key, or it has another secret";
            }
            Some("ExpiredToken" | "InvalidToken" | "TokenRefreshRequired") => {
                return "the credentials are no longer valid: renew them";
            }
            Some("RequestTimeTooSkewed" | "RequestExpired") => {
                return "the clocks of this machine and of the store differ: set them";
            }
            Some("PermanentRedirect" | "AuthorizationHeaderMalformed") => {
                return "the bucket is in another region: set AWS_REGION";
            }
            Some("QuotaExceeded" | "InsufficientStorage") => {
                return "the store is full, or the bucket's quota is: free some space there";
            }
            Some("SlowDown" | "ServiceUnavailable" | "InternalError" | "RequestTimeout") => {
                return "the store is out or has too much to do; it is tried again";
            }
            Some("BadDigest" | "XAmzContentSHA256Mismatch" | "InvalidDigest") => {
                return "the bytes were changed on their way to the store; it is tried again";
            }
            _ => {}
        }
        match error {
            Error::PermissionDenied { .. } => {
                "check the AWS_* keys, and that they may s3:GetObject, s3:PutObject and \
                 s3:ListBucket (without the last, S3 says of what is missing that it is forbidden)"
            }
            Error::Unauthenticated { .. } => {
                "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or the file \
                 of credentials"
            }
            Error::UnknownConfigurationKey { .. } => "check the AWS_* variables",
            Error::InvalidPath { .. } => "check store.url",
            Error::JoinError { .. } => "banshi is stopping",
            // Network, time, 5xx; a full or broken disk; and what a later object_store may add.
            _ => self.generic_fix(error),
        }
    }

    fn generic_fix(&self, error: &Error) -> &'static str {
        match &self.place {
            Place::Folder(_) => match cause::<io::Error>(error) {
                Some(error) => disk::fix(error.kind()),
                None => "check the disk",
            },
            Place::Bucket { .. } => {
                "check that the endpoint answers and the AWS_* variables are right"
            }
        }
    }
}

/// The first error of a type among those that an error came from.
fn cause<T: std::error::Error + 'static>(error: &Error) -> Option<&T> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        cause = error.source();
    }
    None
}

/// Whether a request was sent and its answer did not come.
fn unanswered(error: &Error) -> bool {
    cause::<HttpError>(error).is_some_and(|error| {
        matches!(
            error.kind(),
            HttpErrorKind::Timeout | HttpErrorKind::Interrupted | HttpErrorKind::Unknown
        )
    })
}

/// The code in the body of an answer of S3: `<Error><Code>NoSuchBucket</Code>…`. `object_store`
/// gives the body in its messages alone.
fn s3_code(error: &Error) -> Option<String> {
    let text = error.to_string();
    let (_, rest) = text.split_once("<Code>")?;
    let (code, _) = rest.split_once("</Code>")?;
    Some(code.to_owned())
}

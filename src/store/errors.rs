//! What the store's errors mean.
//!
//! Takes an error of `object_store`, gives an [`Answer`]. Never takes one for the job's fault. If
//! we crash here, nothing has been decided yet.

use std::error::Error as _;
use std::io;

use object_store::Error;

use super::{Place, Store};
use crate::disk;
use crate::problem::{Outage, Part};

/// What the store said.
pub(super) enum Answer {
    AlreadyExists,
    NotFound(Error),
    Outage(Outage),
}

impl Store {
    /// What an error of the store means to us. `object_store` retries what it can by itself and
    /// leaves the rest to its caller; nothing that a store says is ever the job's fault.
    pub(super) fn sort(&self, verb: &str, path: &str, error: Error) -> Answer {
        let fix = match &error {
            // Also 409, which S3 says when two conditional puts cross.
            Error::AlreadyExists { .. } => return Answer::AlreadyExists,
            Error::NotFound { .. } => return Answer::NotFound(error),
            Error::PermissionDenied { .. } => {
                "check the AWS_* keys, and that they may s3:GetObject, s3:PutObject and s3:ListBucket (without the last, \
                 S3 says of what is missing that it is forbidden)"
            }
            Error::Unauthenticated { .. } => {
                "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN"
            }
            Error::NotImplemented { .. } | Error::NotSupported { .. } => {
                "the store must put objects only if they are absent; AWS_CONDITIONAL_PUT must not be disabled"
            }
            Error::UnknownConfigurationKey { .. } => "check the AWS_* variables",
            Error::InvalidPath { .. } => "check store.url",
            // A put with If-None-Match that was refused is AlreadyExists; neither is asked for elsewhere.
            Error::Precondition { .. } | Error::NotModified { .. } => {
                "the store answered a question not asked"
            }
            Error::JoinError { .. } => "banshi is stopping",
            // Network, time, 5xx; a full or broken disk.
            Error::Generic { .. } => self.generic_fix(&error),
            // What a later object_store may add is not the job's fault either.
            _ => self.generic_fix(&error),
        };
        let message = format!("cannot {verb} {}; {fix}", self.uri(path));
        Answer::Outage(Outage::because(Part::Store, message, error))
    }

    fn generic_fix(&self, error: &Error) -> &'static str {
        match &self.place {
            Place::Folder(_) => {
                let mut cause = error.source();
                while let Some(error) = cause {
                    if let Some(error) = error.downcast_ref::<io::Error>() {
                        return disk::fix(error.kind());
                    }
                    cause = error.source();
                }
                "check the disk"
            }
            Place::Bucket { .. } => {
                "check that the endpoint answers and the AWS_* variables are right"
            }
        }
    }
}

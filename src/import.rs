//! A job out of a file that is not one, as a workbook that a clerk has filled in.
//!
//! Takes the bytes of a file, gives the job that they hold and a [`Remark`] for each place that
//! could not be read or where something was assumed. Never guesses a figure: what could not be
//! read is not in the job, so that `banshi check` misses it too. If we crash here, nothing has
//! happened yet.

pub mod workbook;

use serde_json::Value;

/// What was read from a file that is not a job.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// The job, without what could not be read. It has not been checked.
    pub job: Value,
    /// What could not be read and what was assumed, in the order of the file.
    pub remarks: Vec<Remark>,
}

/// One thing that could not be read or was assumed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// Where, in the words of who has the file open: `表三!D7`, `line 42`.
    pub place: String,
    /// Which of the two.
    pub kind: RemarkKind,
    /// What, in English.
    pub en: String,
    /// What, in Chinese.
    pub zh: String,
}

/// The kinds of [`Remark`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemarkKind {
    /// It is not in the job.
    Unread,
    /// It is in the job as the remark says.
    Assumed,
}

impl Remark {
    /// Something that is not in the job.
    pub fn unread(
        place: impl Into<String>,
        en: impl Into<String>,
        zh: impl Into<String>,
    ) -> Remark {
        Remark {
            place: place.into(),
            kind: RemarkKind::Unread,
            en: en.into(),
            zh: zh.into(),
        }
    }

    /// Something that is in the job as it says.
    pub fn assumed(
        place: impl Into<String>,
        en: impl Into<String>,
        zh: impl Into<String>,
    ) -> Remark {
        Remark {
            kind: RemarkKind::Assumed,
            ..Remark::unread(place, en, zh)
        }
    }
}

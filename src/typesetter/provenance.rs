//! What a PDF says of how it was made: `provenance.json`, its second attachment.

use serde::{Deserialize, Serialize};

use super::{ENGINE, Edition, Manuscript, STANDARD};
use crate::attachment::{Unreadable, attachment};
use crate::config::Bands;
use crate::digest;

/// The name under which it is attached.
pub const PROVENANCE: &str = "provenance.json";

/// The name under which the job's `data` is attached.
pub const DATA: &str = "report.json";

/// What made a PDF, and of what. With `report.json` it is all that is needed to set the document
/// again: the template and the job's digest are here, and nothing else of a job changes the page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// The product and its version, as `banshi 0.1.0`.
    pub product: String,
    /// The engine and its version, as `typst 0.15.1`.
    pub engine: String,
    /// What laid it out.
    pub template: Template,
    /// The faces that it could use.
    pub fonts: Faces,
    /// What of the settings changes the page: the fill of the bands, `render.bands`.
    pub bands: Bands,
    /// The standards that it keeps, as `PDF/A-3a, PDF/UA-1`.
    pub standard: String,
    /// What it was made of: the job.
    pub job: JobFacts,
    /// What of the job it shows: its `data`, which is attached.
    pub data: DataFacts,
}

/// Why a PDF does not say what it was made of.
#[derive(Debug)]
pub enum Unattached {
    /// The attachment of this name can't be had.
    Missing(&'static str, Unreadable),
    /// [`PROVENANCE`] is none.
    Unknown(serde_json::Error),
}

/// What a PDF says of how it was made, and the data that are attached to it. Whether the one names
/// the other is not looked at.
///
/// # Errors
/// When one of them can't be had.
pub fn attached(pdf: &[u8]) -> Result<(Provenance, Vec<u8>), Unattached> {
    let of = |name| attachment(pdf, name).map_err(|why| Unattached::Missing(name, why));
    let (made, data) = (of(PROVENANCE)?, of(DATA)?);
    let made = serde_json::from_slice(&made).map_err(Unattached::Unknown)?;
    Ok((made, data))
}

/// An edition of a template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Template {
    /// `name/edition`.
    pub name: String,
    /// The version in its `typst.toml`.
    pub version: String,
    /// SHA-256 over its files.
    pub sha256: String,
}

/// The faces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Faces {
    /// SHA-256 over the digests of all configured faces.
    pub sha256: String,
}

/// The job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobFacts {
    /// The sender's key.
    pub id: String,
    /// SHA-256 of its canonical JSON (RFC 8785). The PDF's identifier is made from it.
    pub sha256: String,
}

/// The attached data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataFacts {
    /// The attachment's name.
    pub name: String,
    /// SHA-256 of its bytes.
    pub sha256: String,
    /// Its bytes.
    pub bytes: usize,
}

impl Provenance {
    /// What this build says of a manuscript that it sets with this edition and these faces.
    pub(super) fn of(
        manuscript: &Manuscript,
        edition: &Edition,
        fonts_sha256: &str,
        bands: Bands,
    ) -> Provenance {
        Provenance {
            product: crate::PRODUCT.to_owned(),
            engine: ENGINE.to_owned(),
            template: Template {
                name: edition.name.clone(),
                version: edition.version.clone(),
                sha256: edition.sha256.clone(),
            },
            fonts: Faces {
                sha256: fonts_sha256.to_owned(),
            },
            bands,
            standard: STANDARD.to_owned(),
            job: JobFacts {
                id: manuscript.job_id.clone(),
                sha256: manuscript.ident.clone(),
            },
            data: DataFacts {
                name: DATA.to_owned(),
                sha256: digest::sha256(manuscript.data.as_bytes()),
                bytes: manuscript.data.len(),
            },
        }
    }

    /// The text that is attached: for people too, so with a field a line, in the order above.
    pub fn json(&self) -> String {
        let text = serde_json::to_string_pretty(self);
        text.expect("a provenance is plain data") + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_text_reads_back_and_is_the_same_again() {
        let manuscript = Manuscript {
            job_id: "编号-1".to_owned(),
            ident: "00".to_owned(),
            ..Manuscript::default()
        };
        let edition = Edition {
            name: "note/1".to_owned(),
            form: "note/1".to_owned(),
            form_file: "note/form.toml".to_owned(),
            version: "1.2.3".to_owned(),
            entrypoint: "note/main.typ".to_owned(),
            sha256: "11".to_owned(),
        };
        let provenance = Provenance::of(&manuscript, &edition, "22", Bands::Blue);
        let text = provenance.json();
        let read: Provenance = serde_json::from_str(&text).unwrap();
        assert_eq!(read, provenance);
        assert_eq!(read.json(), text);
    }
}

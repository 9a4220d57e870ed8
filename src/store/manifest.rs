//! What is known of a stored report, as it is written beside it.
//!
//! The data alone: the store fills in what it alone knows, and the event is made from the rest.
//!
//! A manifest may have been written by a later version, whose job then comes again to this one. So
//! nothing in it is refused for being unknown: warnings are kept as they stand there, since the
//! event repeats them, and fields that this version does not have are passed over.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::attachment::{Contents, attachment, contents};
use crate::problem::Problem;
use crate::typesetter::{PROVENANCE, Rare};

/// What is written beside each PDF. The event is made from it alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The sender's idempotency key.
    pub job_id: String,
    /// The job's canonical JSON: its digest and size.
    pub job: Content,
    /// Which template set the report.
    pub template: TemplateFacts,
    /// 发文机关.
    pub agency: String,
    /// The reporting year.
    pub year: u16,
    /// The report's title on one line.
    pub title: String,
    /// The PDF.
    pub artifact: Artifact,
    /// What stands beside it; not there when there is nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub companions: Vec<Companion>,
    /// Where this manifest is.
    pub uri: String,
    /// The names of the faces embedded in the PDF, and the digest of all faces it could use.
    pub fonts: FontFacts,
    /// What was noticed and did not block: [`Problem`]s, of which a later version has others.
    pub warnings: Vec<Value>,
    /// The engine and its version, as `typst 0.15.1`.
    pub engine: String,
    /// The product and its version, as `banshi 0.1.0`.
    pub product: String,
    /// The deployment that made it: the `source` of its event.
    pub source: String,
    /// When it was committed, RFC 3339 in UTC.
    pub completed_at: String,
}

impl Manifest {
    /// The warnings of a report, as a manifest has them.
    pub fn warnings(problems: &[Problem]) -> Vec<Value> {
        problems.iter().map(|problem| json!(problem)).collect()
    }

    /// The same of a PDF that another build has set of the same job: what that says of itself, and
    /// shows.
    ///
    /// # Errors
    /// When it does not say all of it.
    pub fn of_found(mut self, pdf: &[u8]) -> Result<Manifest, String> {
        let attached = attachment(pdf, PROVENANCE).map_err(|why| why.to_string())?;
        let Contents { pages, faces } = contents(pdf).map_err(|why| why.to_string())?;
        // Read without its whole shape, which a later version may have changed.
        let says: Value = serde_json::from_slice(&attached).map_err(|why| why.to_string())?;
        let text = |pointer: &str| match says.pointer(pointer).and_then(Value::as_str) {
            Some(text) => Ok(text.to_owned()),
            None => Err(format!("its {PROVENANCE} has no {pointer}")),
        };
        self.product = text("/product")?;
        self.engine = text("/engine")?;
        self.template = TemplateFacts {
            name: text("/template/name")?,
            version: text("/template/version")?,
            sha256: text("/template/sha256")?,
        };
        self.artifact.standard = text("/standard")?;
        self.artifact.pages = pages;
        self.fonts.sha256 = text("/fonts/sha256")?;
        self.fonts.rare.retain(|rare| faces.contains(&rare.face));
        self.fonts.embedded = faces;
        Ok(self)
    }
}

/// The digest and size of some bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// Lower-case hexadecimal SHA-256.
    pub sha256: String,
    /// Bytes.
    pub bytes: u64,
}

/// Which template set a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateFacts {
    /// `name/edition`.
    pub name: String,
    /// The version in its `typst.toml`.
    pub version: String,
    /// SHA-256 over its files.
    pub sha256: String,
}

/// The faces of a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FontFacts {
    /// PostScript names of the faces embedded, sorted.
    pub embedded: Vec<String>,
    /// SHA-256 over the digests of all configured faces.
    pub sha256: String,
    /// The characters that a face of the role `fallback` has drawn; not there when there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rare: Vec<Rare>,
}

/// The PDF of a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// Where it is.
    pub uri: String,
    /// `application/pdf`.
    pub media_type: String,
    /// Lower-case hexadecimal SHA-256.
    pub sha256: String,
    /// Bytes.
    pub bytes: u64,
    /// Pages.
    pub pages: usize,
    /// The standards it keeps, as `PDF/A-3a, PDF/UA-1`.
    pub standard: String,
}

/// The same report in another format, or its signature, beside its PDF.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Companion {
    /// As the setting `render.formats` has it, or of a signature `sign.gives`; a later version has
    /// others.
    pub format: String,
    /// Where it is.
    pub uri: String,
    /// As `text/html; charset=utf-8`.
    pub media_type: String,
    /// Lower-case hexadecimal SHA-256.
    pub sha256: String,
    /// Bytes.
    pub bytes: u64,
}

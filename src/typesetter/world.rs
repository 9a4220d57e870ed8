//! What a template can see: the tree, its report, the faces. Nothing else exists.
//!
//! Takes the path of a file, gives its bytes. Never opens a file, a package or a clock: what is
//! not in memory is an error that says so. If we crash here, the child dies and nothing else.

use std::collections::HashMap;

use serde_json::json;
use typst::diag::{FileError, FileResult, SourceDiagnostic};
use typst::ecow::{EcoString, eco_format};
use typst::foundations::{Bytes, Datetime, Duration};
use typst::syntax::{FileId, RootedPath, Source, VirtualPath, VirtualRoot};
use typst::text::{Font, FontBook};
use typst::utils::LazyHash;
use typst::{Feature, Library, LibraryExt, World, WorldExt};

use super::fonts::Fonts;
use super::templates::{Edition, Templates};
use crate::config::Render;
use crate::problem::{Outage, Part};

/// The document around the report. Constant: what it says of a report it reads from a file, so
/// that data is never code.
const FRAME: &str = include_str!("frame.typ");

/// The same around a report that was refused, and what stands over its pages.
const PROOF: &str = include_str!("proof.typ");
const MARKS: &str = include_str!("marks.typ");

/// What all reports share: the engine's library, and the files of the templates, parsed once.
pub(super) struct Shelf {
    library: LazyHash<Library>,
    files: HashMap<FileId, File>,
    frame: FileId,
    proof: FileId,
    marks: FileId,
    about: FileId,
    data: FileId,
    provenance: FileId,
}

/// What is laid out of a refused job.
pub(super) enum Play<'a> {
    /// A view of its report.
    Proof {
        edition: &'a Edition,
        view: &'a str,
        about: serde_json::Value,
    },
    /// What stands over its pages.
    Marks(serde_json::Value),
}

/// A file of the tree.
struct File {
    bytes: Bytes,
    /// There for `.typ` files. Parsed once, which also keeps the engine's caches valid.
    source: Option<Source>,
}

impl Shelf {
    /// Parses the tree, and puts what stands behind the roles, and the settings of the pages, where
    /// the templates look for them.
    pub(super) fn new(
        templates: &Templates,
        fonts: &Fonts,
        render: &Render,
    ) -> Result<Shelf, Outage> {
        let library = Library::builder().with_features([Feature::A11yExtras].into_iter().collect());
        let mut files = HashMap::new();
        for (path, bytes) in templates.files() {
            let id = id(path)?;
            let source = match std::str::from_utf8(bytes) {
                Ok(text) if path.ends_with(".typ") => {
                    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
                    Some(Source::new(id, text.to_owned()))
                }
                Err(error) if path.ends_with(".typ") => {
                    let text = format!("{path}: not UTF-8 ({error}); save it as UTF-8");
                    return Err(Outage::new(Part::Templates, text));
                }
                _ => None,
            };
            files.insert(
                id,
                File {
                    bytes: Bytes::new(bytes.to_vec()),
                    source,
                },
            );
        }
        let roles = File {
            bytes: Bytes::from_string(fonts.json()),
            source: None,
        };
        files.insert(id("gongwen/fonts.json")?, roles);
        let settings = json!({ "bands": render.bands });
        let settings = File {
            bytes: Bytes::from_string(settings.to_string()),
            source: None,
        };
        files.insert(id("gongwen/settings.json")?, settings);
        let mut own = |path, text: &'static str| {
            let id = id(path)?;
            let file = File {
                bytes: Bytes::from_string(text),
                source: Some(Source::new(id, text.to_owned())),
            };
            files.insert(id, file);
            Ok::<_, Outage>(id)
        };
        let frame = own("banshi/frame.typ", FRAME)?;
        let proof = own("banshi/proof.typ", PROOF)?;
        let marks = own("banshi/marks.typ", MARKS)?;
        let about = id("banshi/about.json")?;
        let data = id("banshi/data.json")?;
        let provenance = id("banshi/provenance.json")?;
        Ok(Shelf {
            library: LazyHash::new(library.build()),
            files,
            frame,
            proof,
            marks,
            about,
            data,
            provenance,
        })
    }
}

/// The Typst `World` of one report: the [`Shelf`], the faces, and the files that are its own.
pub(super) struct Desk<'a> {
    shelf: &'a Shelf,
    fonts: &'a Fonts,
    main: FileId,
    own: Vec<(FileId, Bytes)>,
}

impl<'a> Desk<'a> {
    /// A world in which the edition finds `view` as its report, and the frame finds `about`,
    /// `data` and `provenance`.
    pub(super) fn new(
        shelf: &'a Shelf,
        fonts: &'a Fonts,
        edition: &Edition,
        view: &str,
        about: String,
        data: &str,
        provenance: String,
    ) -> Result<Self, Outage> {
        let own = vec![
            (id(&edition.report())?, Bytes::from_string(view.to_owned())),
            (shelf.about, Bytes::from_string(about)),
            (shelf.data, Bytes::from_string(data.to_owned())),
            (shelf.provenance, Bytes::from_string(provenance)),
        ];
        let main = shelf.frame;
        Ok(Desk {
            shelf,
            fonts,
            main,
            own,
        })
    }

    /// A world for what is only looked at: there is nothing in it to attach.
    pub(super) fn of(shelf: &'a Shelf, fonts: &'a Fonts, play: Play<'_>) -> Result<Self, Outage> {
        let (main, own) = match play {
            Play::Proof {
                edition,
                view,
                about,
            } => {
                let view = Bytes::from_string(view.to_owned());
                let about = Bytes::from_string(about.to_string());
                (
                    shelf.proof,
                    vec![(id(&edition.report())?, view), (shelf.about, about)],
                )
            }
            Play::Marks(marks) => {
                let marks = Bytes::from_string(marks.to_string());
                (shelf.marks, vec![(id("banshi/marks.json")?, marks)])
            }
        };
        Ok(Desk {
            shelf,
            fonts,
            main,
            own,
        })
    }

    /// A diagnostic in one line: `path:line:column: message; hint: …; while …`.
    pub(super) fn explain(&self, diagnostic: &SourceDiagnostic) -> String {
        let mut line = String::new();
        if let Some(id) = diagnostic.span.id() {
            line.push_str(id.vpath().get_without_slash());
            if let Some((row, column)) = self.place(diagnostic) {
                line.push_str(&format!(":{}:{}", row + 1, column + 1));
            }
            line.push_str(": ");
        }
        line.push_str(&diagnostic.message);
        for hint in &diagnostic.hints {
            line.push_str("; hint: ");
            line.push_str(&hint.v);
        }
        let frame = Some(self.main);
        for step in diagnostic
            .trace
            .iter()
            .filter(|step| step.span.id() != frame)
        {
            line.push_str(&format!("; {}", step.v));
        }
        line
    }

    /// Row and column of a diagnostic, from 0.
    fn place(&self, diagnostic: &SourceDiagnostic) -> Option<(usize, usize)> {
        let id = diagnostic.span.id()?;
        let start = self.range(diagnostic.span)?.start;
        match self.source(id) {
            Ok(source) => source.lines().byte_to_line_column(start),
            // A place in a data file, as where JSON goes wrong.
            Err(_) => self.file(id).ok()?.lines().ok()?.byte_to_line_column(start),
        }
    }
}

impl World for Desk<'_> {
    fn library(&self) -> &LazyHash<Library> {
        &self.shelf.library
    }

    fn book(&self) -> &LazyHash<FontBook> {
        self.fonts.book()
    }

    fn main(&self) -> FileId {
        self.main
    }

    fn source(&self, id: FileId) -> FileResult<Source> {
        match self.shelf.files.get(&id) {
            Some(File {
                source: Some(source),
                ..
            }) => Ok(source.clone()),
            Some(_) => Err(FileError::NotSource),
            None => Err(absent(id)),
        }
    }

    fn file(&self, id: FileId) -> FileResult<Bytes> {
        if let Some((_, bytes)) = self.own.iter().find(|(own, _)| *own == id) {
            return Ok(bytes.clone());
        }
        self.shelf
            .files
            .get(&id)
            .map(|file| file.bytes.clone())
            .ok_or_else(|| absent(id))
    }

    fn font(&self, index: usize) -> Option<Font> {
        self.fonts.face(index)
    }

    /// There is no clock: a report's dates are in its data.
    fn today(&self, _: Option<Duration>) -> Option<Datetime> {
        None
    }
}

/// The name of a file in the tree, for the engine.
fn id(path: &str) -> Result<FileId, Outage> {
    let path = VirtualPath::new(path).map_err(|error| {
        let text = format!("a template can't be named {path:?}: {error:?}; rename the file");
        Outage::new(Part::Templates, text)
    })?;
    Ok(RootedPath::new(VirtualRoot::Project, path).intern())
}

/// What a template is told that reaches for something else.
fn absent(id: FileId) -> FileError {
    let text: EcoString = match id.root() {
        VirtualRoot::Project => eco_format!(
            "there is no {} among the templates, and a template sees nothing else",
            id.vpath().get_without_slash()
        ),
        VirtualRoot::Package(package) => eco_format!(
            "there is no package {package}: templates use no packages; copy what is needed into \
             the tree"
        ),
    };
    FileError::Other(Some(text))
}

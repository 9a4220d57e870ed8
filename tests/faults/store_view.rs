//! The store as the judge sees it, by a way that does not pass through banshi: a folder, or a
//! part of a bucket.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use banshi::digest::sha256;
use futures_util::TryStreamExt as _;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt as _};
use serde_json::Value;

use crate::judge::Object;
use crate::support::stores::Server;

/// Where results are.
#[derive(Clone)]
pub enum StoreView {
    Folder(PathBuf),
    Bucket {
        client: Arc<dyn ObjectStore>,
        prefix: ObjectPath,
    },
}

impl StoreView {
    /// A part of a server's bucket.
    pub fn bucket(server: &Server, prefix: &str) -> StoreView {
        let client = server.client();
        StoreView::Bucket {
            client: Arc::new(client),
            prefix: prefix.into(),
        }
    }

    /// Whether the manifest that an event speaks of is there now.
    pub async fn holds_what_is_published(&self, event: &[u8]) -> bool {
        let Ok(event) = serde_json::from_slice::<Value>(event) else {
            return false;
        };
        if event["type"] != "report.completed" {
            return true;
        }
        let data = &event["data"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (template, job_id) = (text(&data["template"]), text(&data["job_id"]));
        let path = format!("{template}/{}/{job_id}.json", data["year"]);
        match self {
            StoreView::Folder(root) => root.join(path).is_file(),
            StoreView::Bucket { client, prefix } => {
                let whole = prefix
                    .parts()
                    .chain(ObjectPath::from(path).parts())
                    .collect();
                client.head(&whole).await.is_ok()
            }
        }
    }

    /// Everything that is there but what the store keeps for itself, whose names begin with a
    /// dot; the PDFs opened. One file at a time: after hours they are more than memory holds.
    pub async fn list(&self) -> BTreeMap<String, Object> {
        let mut objects = BTreeMap::new();
        for path in self.names().await {
            let bytes = self.read(&path).await;
            let object = object(&path, &bytes);
            objects.insert(path, object);
        }
        for path in chosen(&objects) {
            if let Some(damage) = damage(&self.read(&path).await) {
                let object = objects.get_mut(&path).expect("it is there");
                object.damage.get_or_insert(damage);
            }
        }
        objects
    }

    /// The names of what is there.
    async fn names(&self) -> Vec<String> {
        let mut names = match self {
            StoreView::Folder(root) => walk(root),
            StoreView::Bucket { client, prefix } => {
                let listed: Vec<_> = client
                    .list(Some(prefix))
                    .try_collect()
                    .await
                    .expect("a list");
                let inside = listed.iter().map(|found| {
                    let parts = found.location.prefix_match(prefix);
                    let parts = parts.expect("below the prefix");
                    let parts: Vec<String> = parts.map(|part| part.as_ref().to_owned()).collect();
                    parts.join("/")
                });
                inside.collect()
            }
        };
        names.retain(|name| !name.starts_with('.'));
        names.sort();
        names
    }

    async fn read(&self, name: &str) -> Vec<u8> {
        match self {
            StoreView::Folder(root) => std::fs::read(root.join(name)).expect("a file"),
            StoreView::Bucket { client, prefix } => {
                let name = ObjectPath::from(name);
                let whole: ObjectPath = prefix.parts().chain(name.parts()).collect();
                let got = client.get(&whole).await.expect("an object");
                got.bytes().await.expect("its bytes").to_vec()
            }
        }
    }
}

/// The names of the files below a folder.
fn walk(root: &Path) -> Vec<String> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let inside = path.strip_prefix(root).expect("below the store");
                files.push(inside.to_str().expect("a name of ours").to_owned());
            }
        }
    }
    files
}

fn object(path: &str, bytes: &[u8]) -> Object {
    let whole = bytes.starts_with(b"%PDF-1.7") && bytes.trim_ascii_end().ends_with(b"%%EOF");
    Object {
        sha256: sha256(bytes),
        bytes: bytes.len() as u64,
        manifest: match path.ends_with(".json") {
            true => serde_json::from_slice(bytes).ok(),
            false => None,
        },
        damage: (path.ends_with(".pdf") && !whole).then(|| "it is no whole PDF".to_owned()),
    }
}

/// The PDFs that qpdf looks at: all if they are few, some otherwise.
fn chosen(objects: &BTreeMap<String, Object>) -> Vec<String> {
    const AT_MOST: usize = 40;
    let pdfs = objects.keys().filter(|path| path.ends_with(".pdf"));
    let pdfs: Vec<&String> = pdfs.collect();
    let step = pdfs.len().div_ceil(AT_MOST).max(1);
    pdfs.into_iter().step_by(step).cloned().collect()
}

/// What qpdf finds wrong in a PDF.
fn damage(pdf: &[u8]) -> Option<String> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("report.pdf");
    std::fs::write(&file, pdf).expect("a file");
    let ran = Command::new("qpdf").arg("--check").arg(&file).output();
    let ran = ran.expect("qpdf is there; tests/tools/install test");
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    (!ran.status.success()).then_some(said)
}

//! The store as the judge sees it, by a way that does not pass through banshi: a folder, or a
//! part of a bucket.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use banshi::digest::sha256;
use futures_util::TryStreamExt as _;
use object_store::aws::AmazonS3Builder;
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
        let client = AmazonS3Builder::new()
            .with_access_key_id(&server.key)
            .with_secret_access_key(&server.secret)
            .with_endpoint(&server.endpoint)
            .with_allow_http(true)
            .with_bucket_name(&server.bucket)
            .build()
            .expect("a client");
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
    /// dot; the PDFs opened.
    pub async fn list(&self) -> BTreeMap<String, Object> {
        let files = match self {
            StoreView::Folder(root) => walk(root),
            StoreView::Bucket { client, prefix } => fetch(client.as_ref(), prefix).await,
        };
        let mut objects = BTreeMap::new();
        for (path, bytes) in &files {
            objects.insert(path.clone(), object(path, bytes));
        }
        for (path, damage) in damaged(&files) {
            let object = objects.get_mut(&path).expect("it is there");
            object.damage.get_or_insert(damage);
        }
        objects
    }
}

/// The files below a folder.
fn walk(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let inside = path.strip_prefix(root).expect("below the store");
            let inside = inside.to_str().expect("a name of ours").to_owned();
            if path.is_dir() {
                folders.push(path);
            } else if !inside.starts_with('.') {
                files.insert(inside, std::fs::read(&path).expect("a file"));
            }
        }
    }
    files
}

/// The objects below a prefix.
async fn fetch(client: &dyn ObjectStore, prefix: &ObjectPath) -> BTreeMap<String, Vec<u8>> {
    let listed: Vec<_> = client
        .list(Some(prefix))
        .try_collect()
        .await
        .expect("a list");
    let mut files = BTreeMap::new();
    for found in listed {
        let parts = found
            .location
            .prefix_match(prefix)
            .expect("below the prefix");
        let inside: Vec<String> = parts.map(|part| part.as_ref().to_owned()).collect();
        let inside = inside.join("/");
        if !inside.starts_with('.') {
            let got = client.get(&found.location).await.expect("an object");
            let bytes = got.bytes().await.expect("its bytes");
            files.insert(inside, bytes.to_vec());
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

/// What qpdf finds wrong in the PDFs: in all if they are few, in some otherwise.
fn damaged(files: &BTreeMap<String, Vec<u8>>) -> Vec<(String, String)> {
    const AT_MOST: usize = 40;
    let pdfs: Vec<&String> = files.keys().filter(|path| path.ends_with(".pdf")).collect();
    let step = pdfs.len().div_ceil(AT_MOST).max(1);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("report.pdf");
    let mut damaged = Vec::new();
    for path in pdfs.into_iter().step_by(step) {
        std::fs::write(&file, &files[path]).expect("a file");
        let ran = Command::new("qpdf").arg("--check").arg(&file).output();
        let ran = ran.expect("qpdf is there; tests/tools/install test");
        if !ran.status.success() {
            let said = String::from_utf8_lossy(&ran.stderr).into_owned();
            damaged.push((path.clone(), said));
        }
    }
    damaged
}

//! Stores of a test's own, and a way to what is in them that does not pass through banshi.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use banshi::config;
use banshi::store::Store;
use futures_util::TryStreamExt;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};

use super::settings;

/// A folder, or a part of a bucket that nobody else uses.
pub struct Place {
    pub settings: config::Store,
    objects: Objects,
}

enum Objects {
    Folder(tempfile::TempDir),
    Bucket {
        client: Box<dyn ObjectStore>,
        prefix: String,
    },
}

/// A server and a bucket there, as `http://KEY:SECRET@HOST:PORT/BUCKET`.
#[derive(Clone)]
pub struct Server {
    pub key: String,
    pub secret: String,
    pub endpoint: String,
    pub bucket: String,
}

impl Server {
    /// From its URL.
    pub fn parse(url: &str) -> Option<Server> {
        let (scheme, rest) = url.split_once("://")?;
        let (credentials, rest) = rest.split_once('@')?;
        let (key, secret) = credentials.split_once(':')?;
        let (host, bucket) = rest.split_once('/')?;
        Some(Server {
            key: key.to_owned(),
            secret: secret.to_owned(),
            endpoint: format!("{scheme}://{host}"),
            bucket: bucket.to_owned(),
        })
    }

    /// A client of its bucket.
    pub fn client(&self) -> AmazonS3 {
        banshi::tls::provide();
        AmazonS3Builder::new()
            .with_access_key_id(&self.key)
            .with_secret_access_key(&self.secret)
            .with_endpoint(&self.endpoint)
            .with_allow_http(true)
            .with_bucket_name(&self.bucket)
            .build()
            .expect("a client")
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "how `make test` names its servers"
    )]
    fn named(variable: &str) -> Server {
        let url = std::env::var(variable).unwrap_or_else(|_| {
            panic!(
                "{variable} names an S3 server; `make test` starts one, and `tests/tools/s3 run \
                 CMD` does"
            )
        });
        Server::parse(&url)
            .unwrap_or_else(|| panic!("{variable}: {url}: want http://KEY:SECRET@HOST:PORT/BUCKET"))
    }

    /// A server that keeps `If-None-Match: *`.
    pub fn strict() -> Server {
        Server::named("BANSHI_TEST_S3_URL")
    }

    /// A server that ignores it.
    pub fn lax() -> Server {
        Server::named("BANSHI_TEST_S3_LAX_URL")
    }

    /// `host:port`.
    pub fn address(&self) -> &str {
        self.endpoint
            .split_once("://")
            .map_or("", |(_, address)| address)
    }

    /// The same server by another address, such as that of a [`super::wire::Wire`].
    pub fn at(&self, address: &str) -> Server {
        Server {
            endpoint: format!("http://{address}"),
            ..self.clone()
        }
    }

    /// The variables by which banshi finds it.
    pub fn variables(&self) -> Vec<(String, String)> {
        [
            ("AWS_ACCESS_KEY_ID", self.key.as_str()),
            ("AWS_SECRET_ACCESS_KEY", &self.secret),
            ("AWS_ENDPOINT_URL", &self.endpoint),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ALLOW_HTTP", "true"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }
}

impl Place {
    /// An empty folder.
    pub fn folder() -> Place {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let settings = config::Store {
            url: format!("file:{}", folder.path().display()),
            create: config::Create::Always,
            ..settings().store
        };
        Place {
            settings,
            objects: Objects::Folder(folder),
        }
    }

    /// An empty part of a server's bucket.
    pub fn bucket(server: &Server) -> Place {
        let prefix = format!("测试/{:016x}", rand::random::<u64>());
        let client = server.client();
        let settings = config::Store {
            url: format!("s3://{}/{prefix}", server.bucket),
            aws: server.variables().into_iter().collect(),
            ..settings().store
        };
        Place {
            settings,
            objects: Objects::Bucket {
                client: Box::new(client),
                prefix,
            },
        }
    }

    /// The same place, reached by other settings.
    pub fn with(mut self, change: impl FnOnce(&mut config::Store)) -> Place {
        change(&mut self.settings);
        self
    }

    /// The same place, with another `AWS_*` variable, or without it.
    pub fn variable(self, name: &str, value: Option<&str>) -> Place {
        self.with(|settings| {
            let mut variables: Vec<_> = settings
                .aws
                .iter()
                .filter(|(other, _)| *other != name)
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect();
            variables.extend(value.map(|value| (name.to_owned(), value.to_owned())));
            settings.aws = variables.into_iter().collect();
        })
    }

    pub fn open(&self) -> Store {
        Store::open(&self.settings).expect("the store opens")
    }

    /// Open, and known to take objects.
    pub async fn ready(&self) -> Store {
        let store = self.open();
        store.ready().await.expect("the store is ready");
        store
    }

    /// The folder, of a place that is one.
    pub fn path(&self) -> &Path {
        match &self.objects {
            Objects::Folder(folder) => folder.path(),
            Objects::Bucket { .. } => panic!("a bucket is no folder"),
        }
    }

    /// The beginning of its objects' addresses.
    pub fn address(&self) -> String {
        match &self.objects {
            Objects::Folder(folder) => {
                let path = folder.path().canonicalize().expect("it is there");
                format!("file://{}", path.display())
            }
            Objects::Bucket { .. } => self.settings.url.clone(),
        }
    }

    pub async fn read(&self, path: &str) -> Option<Vec<u8>> {
        match &self.objects {
            Objects::Folder(folder) => std::fs::read(folder.path().join(path)).ok(),
            Objects::Bucket { client, prefix } => match client.get(&object(prefix, path)).await {
                Ok(object) => Some(object.bytes().await.expect("its bytes").to_vec()),
                Err(object_store::Error::NotFound { .. }) => None,
                Err(error) => panic!("{path}: {error}"),
            },
        }
    }

    pub async fn write(&self, path: &str, bytes: &[u8]) {
        match &self.objects {
            Objects::Folder(folder) => {
                let file = folder.path().join(path);
                std::fs::create_dir_all(file.parent().expect("it has one")).expect("a folder");
                std::fs::write(file, bytes).expect("a file");
            }
            Objects::Bucket { client, prefix } => {
                let payload = PutPayload::from(bytes.to_vec());
                let put = client.put(&object(prefix, path), payload).await;
                put.map(drop).expect("it is put");
            }
        }
    }

    pub async fn remove(&self, path: &str) {
        match &self.objects {
            Objects::Folder(folder) => {
                std::fs::remove_file(folder.path().join(path)).expect("it was there");
            }
            Objects::Bucket { client, prefix } => {
                let removed = client.delete(&object(prefix, path)).await;
                removed.expect("it was there");
            }
        }
    }

    /// Everything in it but what the store keeps for itself.
    pub async fn files(&self) -> BTreeSet<String> {
        let mut files = match &self.objects {
            Objects::Folder(folder) => files_below(folder.path()),
            Objects::Bucket { client, prefix } => {
                let listed: Vec<_> = client
                    .list(Some(&ObjectPath::parse(prefix).expect("a path")))
                    .try_collect()
                    .await
                    .expect("a list");
                let name = |object: &object_store::ObjectMeta| {
                    let path = object.location.as_ref();
                    path[prefix.len() + 1..].to_owned()
                };
                listed.iter().map(name).collect()
            }
        };
        files.retain(|file| !file.starts_with(".banshi"));
        files
    }
}

fn object(prefix: &str, path: &str) -> ObjectPath {
    ObjectPath::parse(format!("{prefix}/{path}")).expect("a path")
}

fn files_below(dir: &Path) -> BTreeSet<String> {
    let mut files = BTreeSet::new();
    let mut folders: Vec<PathBuf> = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                true => folders.push(path),
                false => {
                    let name = path.strip_prefix(dir).expect("below it");
                    files.insert(name.display().to_string());
                }
            }
        }
    }
    files
}

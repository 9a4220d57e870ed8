//! A bucket of an S3 server: address, credentials, timeouts, checksums.
//!
//! Takes the settings and the `AWS_*` variables, gives a client. Never sends anything unencrypted
//! unless told to, and keeps no secret in a log. If we crash here, nothing was sent yet.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, AwsCredential, Checksum};
use object_store::{
    Certificate, ClientConfigKey, ClientOptions, CredentialProvider, Error, RetryConfig,
};

use crate::config;
use crate::disk;
use crate::problem::{Outage, Part};

/// Tries of one request after the first, for what certainly was not done: no connection, 5xx, 429.
/// A worker has longer retries around these; here only a hiccup is to be got over.
const RETRIES: usize = 3;

/// How long the tries of one request may take together.
const RETRY_TIMEOUT: Duration = Duration::from_secs(30);

/// The variables that name files, which `object_store` does not know.
const CREDENTIALS_FILE: &str = "AWS_SHARED_CREDENTIALS_FILE";
const PROFILE: &str = "AWS_PROFILE";
const CA_BUNDLE: &str = "AWS_CA_BUNDLE";

/// A client for a bucket. Nothing is asked of the server yet.
///
/// # Errors
/// Variables that make no sense, a file of them that cannot be read, plain http not asked for.
pub(super) fn open(bucket: &str, settings: &config::Store) -> Result<AmazonS3, Outage> {
    crate::tls::provide();
    let mut builder = AmazonS3Builder::new();
    let mut client = ClientOptions::new();
    for (name, value) in settings.aws.iter() {
        // Others are for other tools: AWS_PAGER.
        match name.to_ascii_lowercase().parse() {
            Ok(AmazonS3ConfigKey::Client(key)) => client = client.with_config(key, value),
            Ok(key) => builder = builder.with_config(key, value),
            Err(_) => {}
        }
    }
    let value = |key| builder.get_config_value(&key);

    let endpoint =
        value(AmazonS3ConfigKey::S3Endpoint).or_else(|| value(AmazonS3ConfigKey::Endpoint));
    let plain = endpoint.filter(|endpoint| endpoint.starts_with("http://"));
    let allowed = client
        .get_config_value(&ClientConfigKey::AllowHttp)
        .is_some_and(|yes| is_yes(&yes));
    if let (Some(endpoint), false) = (&plain, allowed) {
        let message = format!(
            "the S3 endpoint {endpoint} is not encrypted; give an https:// one, or set \
             AWS_ALLOW_HTTP=true where the network is trusted"
        );
        return Err(Outage::new(Part::Store, message));
    }
    // A request that hangs is found out before the job's lease with the broker is in danger.
    client = client
        .with_timeout(Duration::from_secs(settings.timeout))
        .with_allow_http(plain.is_some());
    if let Some(file) = settings.aws.get(CA_BUNDLE) {
        for certificate in certificates(Path::new(file))? {
            client = client.with_root_certificate(certificate);
        }
    }

    let given = value(AmazonS3ConfigKey::AccessKeyId).is_some()
        || value(AmazonS3ConfigKey::SecretAccessKey).is_some()
        || value(AmazonS3ConfigKey::WebIdentityTokenFile).is_some();
    if let (Some(file), false) = (settings.aws.get(CREDENTIALS_FILE), given) {
        let profile = settings.aws.get(PROFILE).unwrap_or("default").to_owned();
        let file = CredentialsFile {
            path: file.into(),
            profile,
        };
        // Tried now, so that a wrong path is found at the start.
        file.read().map_err(|error| {
            let message = format!("cannot use {CREDENTIALS_FILE}");
            Outage::because(Part::Store, message, error)
        })?;
        builder = builder.with_credentials(Arc::new(file));
    }
    if builder
        .get_config_value(&AmazonS3ConfigKey::Checksum)
        .is_none()
    {
        // Kept by the server beside the object, where it knows it; the signature has the same
        // digest, so that a byte changed on the way is refused by those that do not.
        builder = builder.with_checksum_algorithm(Checksum::SHA256);
    }
    builder
        .with_bucket_name(bucket)
        // One object at a time is what every server removes; it is only ever one.
        .with_disable_bulk_delete(true)
        .with_client_options(client)
        .with_retry(RetryConfig {
            max_retries: RETRIES,
            retry_timeout: RETRY_TIMEOUT,
            ..RetryConfig::default()
        })
        .build()
        .map_err(|error| {
            let message = format!("cannot use the bucket {bucket}; check the AWS_* variables");
            Outage::because(Part::Store, message, error)
        })
}

/// The certificates of a file, beside those of the system.
fn certificates(file: &Path) -> Result<Vec<Certificate>, Outage> {
    let pem = fs::read(file).map_err(|error| disk::outage(Part::Store, "read", file, error))?;
    let wrong = |message: &str| format!("{CA_BUNDLE}: {}: {message}", file.display());
    match Certificate::from_pem_bundle(&pem) {
        Ok(certificates) if certificates.is_empty() => {
            let message = wrong("want certificates in PEM, and there are none");
            Err(Outage::new(Part::Store, message))
        }
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(Outage::because(
            Part::Store,
            wrong("want certificates in PEM"),
            error,
        )),
    }
}

/// A file of credentials as every S3 tool reads it:
///
/// ```ini
/// [default]
/// aws_access_key_id = …
/// aws_secret_access_key = …
/// aws_session_token = …
/// ```
///
/// It is read anew for each request, so that keys can be changed while workers run. To let nobody
/// read half of it, put the new one in its place by renaming.
#[derive(Debug)]
struct CredentialsFile {
    path: PathBuf,
    profile: String,
}

impl CredentialsFile {
    fn read(&self) -> Result<AwsCredential, Error> {
        let text =
            fs::read_to_string(&self.path).map_err(|error| self.wrong(&error.to_string()))?;
        let value = |name: &str| profile_value(&text, &self.profile, name).map(str::to_owned);
        let need = |name: &str| {
            value(name)
                .ok_or_else(|| self.wrong(&format!("there is no {name} in [{}]", self.profile)))
        };
        Ok(AwsCredential {
            key_id: need("aws_access_key_id")?,
            secret_key: need("aws_secret_access_key")?,
            token: value("aws_session_token"),
        })
    }

    fn wrong(&self, what: &str) -> Error {
        Error::Unauthenticated {
            path: self.path.display().to_string(),
            source: what.into(),
        }
    }
}

#[async_trait]
impl CredentialProvider for CredentialsFile {
    type Credential = AwsCredential;

    // A file of a few lines, which the kernel has in memory: waiting for it holds nobody up.
    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        self.read().map(Arc::new)
    }
}

/// A value of a profile, in a file of `[profile]`, `name = value` and comments.
fn profile_value<'a>(text: &'a str, profile: &str, name: &str) -> Option<&'a str> {
    let mut inside = false;
    let mut found = None;
    for line in text.lines().map(str::trim) {
        if let Some(header) = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            inside = header.trim() == profile;
        } else if inside
            && !line.starts_with(['#', ';'])
            && let Some((key, value)) = line.split_once('=')
            && key.trim() == name
        {
            found = Some(value.trim()).filter(|value| !value.is_empty());
        }
    }
    found
}

/// What `object_store` takes for a yes in a variable.
fn is_yes(text: &str) -> bool {
    ["1", "true", "on", "yes", "y"]
        .iter()
        .any(|yes| text.eq_ignore_ascii_case(yes))
}

#[cfg(test)]
mod tests {
    use super::profile_value;

    #[test]
    fn a_profiles_values_are_its_own() {
        let text = "# keys\naws_access_key_id = nobody's\n[default]\n aws_access_key_id=a=b \n; \
                    aws_session_token = x\naws_session_token =\n\n[ other ]\naws_access_key_id = \
                    c\n";
        assert_eq!(
            profile_value(text, "default", "aws_access_key_id"),
            Some("a=b")
        );
        assert_eq!(profile_value(text, "default", "aws_session_token"), None);
        assert_eq!(profile_value(text, "other", "aws_access_key_id"), Some("c"));
        assert_eq!(profile_value(text, "third", "aws_access_key_id"), None);
    }
}

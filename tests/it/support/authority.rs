//! A certificate authority of the test's own.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose as Purpose, IsCa, Issuer,
    KeyPair, date_time_ymd,
};

/// An authority, and the folder where its certificates are, as PEM files.
pub struct Authority {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key.
pub struct Identity {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    /// Makes one; its own certificate is `NAME.pem`.
    pub fn new(folder: &Path, name: &str) -> Authority {
        let key = KeyPair::generate().expect("a key");
        let mut params = named(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let own = params.self_signed(&key).expect("a certificate");
        let folder = folder.to_owned();
        write(&folder.join(format!("{name}.pem")), &own.pem());
        let issuer = Issuer::new(params, key);
        Authority { folder, issuer }
    }

    /// A certificate for a host, as `NAME.pem` and `NAME.key.pem`.
    pub fn host(&self, name: &str, host: &str) -> Identity {
        self.sign(name, for_host(host))
    }

    /// The same, of a time long past.
    pub fn expired_host(&self, name: &str, host: &str) -> Identity {
        let mut params = for_host(host);
        params.not_before = date_time_ymd(2019, 1, 1);
        params.not_after = date_time_ymd(2020, 1, 1);
        self.sign(name, params)
    }

    /// A certificate for somebody who connects.
    pub fn user(&self, name: &str) -> Identity {
        let mut params = named(name);
        params.extended_key_usages = vec![Purpose::ClientAuth];
        self.sign(name, params)
    }

    fn sign(&self, name: &str, params: CertificateParams) -> Identity {
        let own_key = KeyPair::generate().expect("a key");
        let signed = params.signed_by(&own_key, &self.issuer);
        let certificate = self.folder.join(format!("{name}.pem"));
        let key = self.folder.join(format!("{name}.key.pem"));
        write(&certificate, &signed.expect("a certificate").pem());
        write(&key, &own_key.serialize_pem());
        Identity { certificate, key }
    }
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn for_host(host: &str) -> CertificateParams {
    let mut params = CertificateParams::new([host.to_owned()]).expect("a host's name");
    params.distinguished_name.push(DnType::CommonName, host);
    params.extended_key_usages = vec![Purpose::ServerAuth];
    params
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

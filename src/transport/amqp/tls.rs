//! TLS: whom we trust, who we are, and what a handshake that failed means.
//!
//! Takes the settings' files, gives lapin's. Never goes on without a file that was named, and
//! never trusts a broker less strictly than the settings say. If we crash here, nothing has been
//! sent to anybody.

use std::error::Error as _;
use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
use std::path::Path;

use lapin::ErrorKind;
use lapin::tcp::{OwnedIdentity, OwnedTLSConfig};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{AlertDescription, CertificateError, InvalidMessage};

use crate::config;
use crate::problem::{Outage, Part};

/// Reads the files, anew for each connection: a certificate that was renewed is used without a
/// restart.
///
/// # Errors
/// When one is missing or is not what its setting says, with the setting, the file and the fix.
pub(super) async fn read(settings: &config::Tls) -> Result<OwnedTLSConfig, Outage> {
    let cert_chain = match settings.authorities() {
        Some(path) => Some(certificates("queue.tls.ca", path).await?),
        None => None,
    };
    let identity = match settings.identity() {
        Some((certificate, key)) => Some(OwnedIdentity::PKCS8 {
            pem: certificates("queue.tls.certificate", certificate)
                .await?
                .into_bytes(),
            key: private_key("queue.tls.key", key).await?.into_bytes(),
        }),
        None => None,
    };
    Ok(OwnedTLSConfig {
        identity,
        cert_chain,
    })
}

async fn certificates(setting: &str, path: &Path) -> Result<String, Outage> {
    let text = pem(setting, path).await?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(text),
        Ok(_) => Err(not_pem(setting, path, "-----BEGIN CERTIFICATE-----")),
        Err(error) => {
            let what = format!("{setting}: {} is no PEM file", path.display());
            Err(Outage::because(Part::Transport, what, error))
        }
    }
}

async fn private_key(setting: &str, path: &Path) -> Result<String, Outage> {
    let text = pem(setting, path).await?;
    // The error is not shown: it could hold a part of the key.
    match PrivateKeyDer::from_pem_slice(text.as_bytes()) {
        Ok(_) => Ok(text),
        Err(_) => Err(not_pem(
            setting,
            path,
            "-----BEGIN PRIVATE KEY-----, without a password",
        )),
    }
}

async fn pem(setting: &str, path: &Path) -> Result<String, Outage> {
    let read = tokio::fs::read_to_string(path).await;
    read.map_err(|error| {
        let what = format!("{setting}: cannot read {}", path.display());
        Outage::because(Part::Transport, what, error)
    })
}

fn not_pem(setting: &str, path: &Path, want: &str) -> Outage {
    let path = path.display();
    Outage::new(
        Part::Transport,
        format!("{setting}: {path} is not what it must be: want a PEM file with {want}"),
    )
}

/// What a failed handshake means and what to do, when only somebody's hand can mend it.
pub(super) fn meaning(error: &lapin::Error, settings: &config::Tls) -> Option<String> {
    use CertificateError as Certificate;
    Some(match of_tls(error)? {
        rustls::Error::InvalidCertificate(why) => match why {
            Certificate::UnknownIssuer | Certificate::BadSignature => {
                let trusted = match settings.authorities() {
                    Some(path) => format!("{} and the system's store", path.display()),
                    None => "the system's store".to_owned(),
                };
                format!(
                    "its certificate is signed by nobody that {trusted} vouches for; put the \
                     certificate of its authority into queue.tls.ca"
                )
            }
            Certificate::NotValidForName => {
                "its certificate is for another host; put the name that it is for into queue.url"
                    .to_owned()
            }
            Certificate::NotValidForNameContext { presented, .. } => format!(
                "its certificate is for another host ({}); put that name into queue.url",
                presented
                    .iter()
                    .map(|name| bare(name))
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
            Certificate::Expired | Certificate::ExpiredContext { .. } => {
                "its certificate has expired; renew it, or set this machine's clock".to_owned()
            }
            Certificate::NotValidYet | Certificate::NotValidYetContext { .. } => {
                "its certificate is not valid yet; set the clocks".to_owned()
            }
            _ => "its certificate is not to be trusted; have a look at it with \
                  openssl s_client -showcerts -connect HOST:PORT"
                .to_owned(),
        },
        rustls::Error::AlertReceived(alert) => refused(*alert, settings)?,
        rustls::Error::InconsistentKeys(_) => {
            "queue.tls.key is not the key of queue.tls.certificate".to_owned()
        }
        // The first bytes were no TLS: the port of amqp://.
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "this port does not speak TLS; amqps:// usually has port 5671".to_owned()
        }
        _ => return None,
    })
}

/// What may lie behind a connection that ended in the middle of the handshake: by TLS 1.3 a broker
/// that does not accept our certificate hears from us before its alert is read, and the alert can
/// be lost with the connection.
pub(super) fn suspicion(error: &lapin::Error, settings: &config::Tls) -> Option<String> {
    let ErrorKind::IOError(error) = error.kind() else {
        return None;
    };
    let (ConnectionReset | ConnectionAborted | BrokenPipe | UnexpectedEof) = error.kind() else {
        return None;
    };
    Some(match settings.identity() {
        Some((path, _)) => format!(
            "It may refuse our certificate {}; its log says why",
            path.display()
        ),
        None => "It may want to see a certificate; name one in queue.tls.certificate, and its \
                 key in queue.tls.key"
            .to_owned(),
    })
}

/// A name of a certificate, which rustls writes as `DnsName("host")`.
fn bare(name: &str) -> &str {
    name.split('"').nth(1).unwrap_or(name)
}

/// What the broker says of our certificate.
fn refused(alert: AlertDescription, settings: &config::Tls) -> Option<String> {
    use AlertDescription as Alert;
    let certificate = match settings.identity() {
        Some((path, _)) => path.display(),
        // OpenSSL's and Erlang's word for "none" is a different one in each version of TLS.
        None => {
            return match alert {
                Alert::CertificateRequired | Alert::HandshakeFailure | Alert::BadCertificate => {
                    Some(
                        "it wants to see a certificate; name one in queue.tls.certificate, and \
                         its key in queue.tls.key"
                            .to_owned(),
                    )
                }
                _ => None,
            };
        }
    };
    let why = match alert {
        Alert::UnknownCA => "it does not know its authority",
        Alert::CertificateExpired => "it has expired",
        Alert::CertificateRevoked => "it was revoked",
        Alert::BadCertificate
        | Alert::CertificateUnknown
        | Alert::UnsupportedCertificate
        | Alert::AccessDenied
        | Alert::CertificateRequired => "it does not accept it; its log says why",
        _ => return None,
    };
    Some(format!("it refuses our certificate {certificate}: {why}"))
}

/// The error of TLS inside an error of lapin: wrapped in one or two of the system's.
fn of_tls(error: &lapin::Error) -> Option<&rustls::Error> {
    let ErrorKind::IOError(error) = error.kind() else {
        return None;
    };
    let mut inner = error.get_ref().map(|inner| inner as &dyn std::error::Error);
    while let Some(error) = inner {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        inner = match error.downcast_ref::<std::io::Error>() {
            Some(wrapper) => wrapper
                .get_ref()
                .map(|inner| inner as &dyn std::error::Error),
            None => error.source(),
        };
    }
    error.source()?.downcast_ref()
}

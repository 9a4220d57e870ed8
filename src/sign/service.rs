//! A service that signs: `sign.url`.
//!
//! Takes a question, posts it, gives the body of the answer. Never follows a redirect, which would
//! show the token and the document to somebody else. If we crash here, the service may have made a
//! signature that nobody has.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Identity, RequestBuilder, Response, StatusCode};

use super::{Question, Trouble, UNTOLD, pem};
use crate::config;
use crate::disk;
use crate::escape;
use crate::problem::{Outage, Part};

/// The header with what a service is told of a PDF that is the body.
const DOCUMENT: &str = "banshi-document";

/// The most that most servers take of a header, in bytes.
const HEADER: usize = 8000;

/// The longest that a service may have itself waited for.
const LONGEST: Duration = Duration::from_secs(300);

/// The most that is repeated of what it says, in bytes.
const REPEATED: usize = 500;

/// A service, and how it is spoken to.
#[derive(Debug)]
pub(super) struct Service {
    url: String,
    client: Client,
    token_file: Option<PathBuf>,
}

impl Service {
    pub(super) fn new(settings: &config::Sign, timeout: Duration) -> Result<Service, Outage> {
        let mut client = crate::tls::http()
            .timeout(timeout)
            .redirect(Policy::none())
            .user_agent(concat!("banshi/", env!("CARGO_PKG_VERSION")));
        let tls = &settings.tls;
        let not_pem = |setting: &str| {
            let message = format!("{setting}: want PEM");
            move |error: reqwest::Error| Outage::because(Part::Signer, message, error)
        };
        if let Some(path) = tls.authorities() {
            let ca = Certificate::from_pem_bundle(&pem("sign.tls.ca", path)?);
            for ca in ca.map_err(not_pem("sign.tls.ca"))? {
                client = client.add_root_certificate(ca);
            }
        }
        if let Some((certificate, key)) = tls.identity() {
            let mut identity = pem("sign.tls.certificate", certificate)?;
            identity.push(b'\n');
            identity.extend(pem("sign.tls.key", key)?);
            let identity = Identity::from_pem(&identity);
            client = client.identity(identity.map_err(not_pem("sign.tls.certificate and key"))?);
        }
        let client = client.build().map_err(|error| {
            Outage::because(Part::Signer, "sign.url: no client can be made", error)
        })?;
        Ok(Service {
            url: settings.url.clone(),
            client,
            token_file: settings.token().map(Path::to_owned),
        })
    }

    pub(super) fn name(&self) -> String {
        let mut url = config::without_password(&self.url);
        // What follows may be a secret.
        url.truncate(url.find(['?', '#']).unwrap_or(url.len()));
        url
    }

    /// Whether anything answers, and what. It is not asked for a signature.
    pub(super) async fn is_there(&self) -> Result<String, Outage> {
        let trouble = match self.send(self.client.get(&self.url)).await {
            // What a proxy says before it, where nothing is behind it.
            Ok(answer)
                if !is_away(answer.status()) && !matches!(answer.status().as_u16(), 502 | 504) =>
            {
                return Ok(format!("{} answers ({})", self.name(), answer.status()));
            }
            Ok(answer) => {
                let status = answer.status();
                return Err(Outage::new(
                    Part::Signer,
                    format!("{} says {status}: it can't sign now", self.name()),
                ));
            }
            Err(Trouble::Away(outage, _) | Trouble::Wrong(outage)) => outage,
            Err(Trouble::Refused(why)) => Outage::new(Part::Signer, why),
        };
        Err(trouble)
    }

    /// Its answer.
    pub(super) async fn ask(&self, question: &Question<'_>) -> Result<Vec<u8>, Trouble> {
        let facts = question.facts().to_string();
        let post = self.client.post(&self.url);
        let post = match &question.digest {
            Some(_) => post.header(CONTENT_TYPE, "application/json").body(facts),
            None => {
                let facts = in_ascii(&facts);
                if facts.len() > HEADER {
                    return Err(Trouble::Refused(UNTOLD.to_owned()));
                }
                post.header(CONTENT_TYPE, "application/pdf")
                    .header(DOCUMENT, facts)
                    .body(question.input().to_vec())
            }
        };
        let mut answer = self.send(post).await?;
        let status = answer.status();
        let again = retry_after(&answer);
        let most = question.most();
        let mut body = Vec::new();
        let wrong = |error: reqwest::Error| {
            let message = format!("the answer of {} breaks off", self.name());
            Trouble::Wrong(Outage::because(Part::Signer, message, error.without_url()))
        };
        while let Some(piece) = answer.chunk().await.map_err(wrong)? {
            body.extend_from_slice(&piece);
            if body.len() > most {
                return Err(Trouble::wrong(format!(
                    "{} answers with more than {most} bytes, which no signature of this PDF has",
                    self.name()
                )));
            }
        }
        match status {
            StatusCode::OK => Ok(body),
            // What else begins with 4 says that it was asked in a wrong way, as every document is.
            StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY => {
                Err(Trouble::Refused(words(&body)))
            }
            _ => {
                let message = format!("{} says {status}: {}", self.name(), words(&body));
                let outage = Outage::new(Part::Signer, message);
                Err(match is_away(status) {
                    true => Trouble::Away(outage, again),
                    false => Trouble::Wrong(outage),
                })
            }
        }
    }

    async fn send(&self, mut request: RequestBuilder) -> Result<Response, Trouble> {
        if let Some(path) = &self.token_file {
            let unread = |error: std::io::Error| {
                let outage = disk::outage(Part::Signer, "read sign.token_file", path, error);
                Trouble::Away(outage, None)
            };
            let token = tokio::fs::read_to_string(path).await.map_err(unread)?;
            let bearer = HeaderValue::try_from(format!("Bearer {}", token.trim()));
            let mut bearer = bearer.map_err(|_| {
                Trouble::away(format!(
                    "sign.token_file: {} has what no header can have; want the token on one line",
                    path.display()
                ))
            })?;
            bearer.set_sensitive(true);
            request = request.header(AUTHORIZATION, bearer);
        }
        request.send().await.map_err(|error| {
            let away = error.is_connect();
            let message = format!("{} does not answer", self.name());
            let outage = Outage::because(Part::Signer, message, error.without_url());
            match away {
                true => Trouble::Away(outage, None),
                // It may have begun to sign.
                false => Trouble::Wrong(outage),
            }
        })
    }
}

/// Whether a status says that nothing can be signed now, whatever it is.
fn is_away(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 425 | 429 | 503)
}

/// When it wants to be asked again (RFC 9110, 10.2.3), in seconds; a date is passed over.
fn retry_after(answer: &Response) -> Option<Duration> {
    let after = answer.headers().get(RETRY_AFTER)?.to_str().ok()?;
    let after = Duration::from_secs(after.trim().parse().ok()?);
    Some(after.min(LONGEST))
}

/// The first of what it says, on one line.
fn words(body: &[u8]) -> String {
    let said = String::from_utf8_lossy(&body[..body.len().min(4 * REPEATED)]);
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    match said.is_empty() {
        true => "and nothing more".to_owned(),
        false => escape::text(&said[..said.floor_char_boundary(REPEATED)]).to_string(),
    }
}

/// JSON for a header: what is not ASCII, and DEL, which no header has, as `\u` and its UTF-16.
fn in_ascii(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_ascii() && c != '\u{7f}' {
            text.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            text.push_str(&format!("\\u{unit:04x}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use reqwest::header::HeaderValue;

    use super::{Service, in_ascii};
    use crate::config::Settings;

    #[test]
    fn the_name_of_a_service_has_no_secret_of_its_address() {
        let mut settings = Settings::load(&[], []).unwrap().sign;
        settings.url = "https://u:p@sign/pdf?key=secret#x".to_owned();
        let service = Service::new(&settings, Duration::from_secs(1)).unwrap();
        assert_eq!(service.name(), "https://u:***@sign/pdf");
    }

    #[test]
    fn json_for_a_header_reads_back() {
        let title = "某区2024年报告\u{20087}\u{7f}\0";
        let text = in_ascii(&serde_json::json!({ "title": title }).to_string());
        assert!(HeaderValue::try_from(&text).is_ok(), "{text}");
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read["title"], title);
    }
}

//! Who may come in, and who may change something.
//!
//! A console of this machine alone asks for nothing but that the browser means this machine; any
//! other asks for the token. Never answers a request that another site's page has made.

use std::net::SocketAddr;
use std::time::Duration;

use axum::http::header::{AUTHORIZATION, COOKIE, HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderName, StatusCode};

use crate::config;
use crate::digest::sha256;
use crate::loopback::is_this_machine;
use crate::problem::{Outage, Part};

/// The cookie of whoever has shown the token.
pub(super) const SESSION: &str = "banshi_session";
/// The cookie of the chosen language.
pub(super) const LANG: &str = "banshi_lang";
/// What a wrong token costs.
pub(super) const WRONG: Duration = Duration::from_millis(700);

/// The console's door.
#[derive(Debug)]
pub(super) struct Door {
    token: Option<Token>,
    /// What CSRF tokens are made of, new with every start.
    secret: String,
    user_header: Option<HeaderName>,
    actions: bool,
}

/// The token's digest, and the session's that shows that it was given.
struct Token {
    digest: String,
    session: String,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

/// Why a request is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It has to show the token first.
    Unknown,
    /// It was made by another site's page, or to another name of this machine.
    Foreign,
    /// It would change something, and nothing is to be changed from here.
    ReadOnly,
}

impl Refusal {
    pub(super) fn status(self) -> StatusCode {
        match self {
            Refusal::Unknown => StatusCode::UNAUTHORIZED,
            Refusal::Foreign | Refusal::ReadOnly => StatusCode::FORBIDDEN,
        }
    }
}

impl Door {
    pub(super) fn new(settings: &config::Console, address: SocketAddr) -> Result<Door, Outage> {
        let token = super::token(settings)?;
        if token.is_empty() && !address.ip().is_loopback() {
            let why = format!(
                "console.listen = {:?} can be reached from other machines: set console.token or \
                 console.token_file (at least 16 characters), or listen on 127.0.0.1",
                settings.listen
            );
            return Err(Outage::new(Part::Admin, why));
        }
        let secret = format!("{:032x}", rand::random::<u128>());
        let user_header = match settings.user_header.as_str() {
            "" => None,
            name => Some(HeaderName::try_from(name).map_err(|error| {
                let why = format!("console.user_header: {name:?} is no name of a header");
                Outage::because(Part::Admin, why, error)
            })?),
        };
        Ok(Door {
            token: (!token.is_empty()).then(|| Token {
                digest: sha256(token.as_bytes()),
                session: sha256(format!("{secret} session {token}").as_bytes()),
            }),
            secret,
            user_header,
            actions: settings.actions,
        })
    }

    /// Whether anything can be changed from here.
    pub(super) fn actions(&self) -> bool {
        self.actions
    }

    /// Whether there is a token to be shown.
    pub(super) fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// Whether a request may be answered.
    pub(super) fn admits(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let Some(token) = &self.token else {
            // A name of another site that leads here (DNS rebinding) would let that site's pages
            // read ours.
            let host = headers.get(HOST).and_then(|host| host.to_str().ok());
            return match host.is_some_and(is_this_machine) {
                true => Ok(()),
                false => Err(Refusal::Foreign),
            };
        };
        let bearer = headers.get(AUTHORIZATION).and_then(|it| it.to_str().ok());
        let bearer = bearer.and_then(|it| it.strip_prefix("Bearer "));
        if bearer.is_some_and(|shown| self.is_token(shown)) {
            return Ok(());
        }
        match cookie(headers, SESSION) {
            Some(session) if same(session, &token.session) => Ok(()),
            _ => Err(Refusal::Unknown),
        }
    }

    /// The session's cookie for whoever has shown the right token.
    pub(super) fn session(&self, shown: &str) -> Option<&str> {
        let token = self.token.as_ref()?;
        self.is_token(shown).then_some(token.session.as_str())
    }

    fn is_token(&self, shown: &str) -> bool {
        let shown = sha256(shown.trim().as_bytes());
        let token = self.token.as_ref();
        token.is_some_and(|token| same(&shown, &token.digest))
    }

    /// What a form must have in it, which no other site's page can know.
    pub(super) fn csrf(&self) -> String {
        sha256(format!("{} csrf", self.secret).as_bytes())
    }

    /// Whether a request may change something.
    pub(super) fn lets_act(&self, headers: &HeaderMap, csrf: &str) -> Result<(), Refusal> {
        if !self.actions {
            return Err(Refusal::ReadOnly);
        }
        self.is_own_form(headers, csrf)
    }

    /// Whether a form was sent from one of our own pages.
    pub(super) fn is_own_form(&self, headers: &HeaderMap, csrf: &str) -> Result<(), Refusal> {
        let text = |name| headers.get(name).and_then(|it| it.to_str().ok());
        let site = headers
            .get("sec-fetch-site")
            .and_then(|it| it.to_str().ok());
        if site.is_some_and(|site| !matches!(site, "same-origin" | "none")) {
            return Err(Refusal::Foreign);
        }
        if let (Some(origin), Some(host)) = (text(ORIGIN), text(HOST))
            && origin.split_once("://").is_none_or(|(_, it)| it != host)
        {
            return Err(Refusal::Foreign);
        }
        match same(csrf, &self.csrf()) {
            true => Ok(()),
            false => Err(Refusal::Foreign),
        }
    }

    /// Who asks, as far as that is known.
    pub(super) fn who(&self, headers: &HeaderMap) -> String {
        let named = self.user_header.as_ref().and_then(|it| headers.get(it));
        let named = named
            .and_then(|it| it.to_str().ok())
            .filter(|it| !it.is_empty());
        match (named, &self.token) {
            (Some(user), _) => user.chars().take(100).collect(),
            (None, Some(_)) => "whoever has the token".to_owned(),
            (None, None) => "somebody on this machine".to_owned(),
        }
    }
}

/// A cookie of a request.
pub(super) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let cookies = headers.get_all(COOKIE).into_iter();
    let mut pairs = cookies
        .filter_map(|it| it.to_str().ok())
        .flat_map(|it| it.split(';'));
    pairs.find_map(|pair| {
        let (key, value) = pair.trim().split_once('=')?;
        (key == name).then_some(value)
    })
}

/// Whether two digests are the same, in a time that does not tell where they differ.
fn same(one: &str, other: &str) -> bool {
    let differs = one.bytes().zip(other.bytes());
    one.len() == other.len() && differs.fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(token: &str) -> config::Console {
        config::Console {
            listen: "127.0.0.1:0".to_owned(),
            actions: true,
            token: token.to_owned(),
            token_file: "".into(),
            user_header: "X-Forwarded-User".to_owned(),
            management_url: String::new(),
            deadline: String::new(),
        }
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, value.parse().expect("a header"));
        }
        headers
    }

    fn loopback() -> SocketAddr {
        "127.0.0.1:9465".parse().expect("an address")
    }

    #[test]
    fn an_address_of_the_network_needs_a_token() {
        let network = "0.0.0.0:9465".parse().expect("an address");
        assert!(Door::new(&settings(""), network).is_err());
        assert!(Door::new(&settings("sixteen characters"), network).is_ok());
        assert!(Door::new(&settings(""), loopback()).is_ok());
    }

    #[test]
    fn without_a_token_only_this_machine_by_its_own_names_is_admitted() {
        let door = Door::new(&settings(""), loopback()).expect("a door");
        for host in [
            "127.0.0.1:9465",
            "localhost:9465",
            "[::1]:9465",
            "LOCALHOST",
        ] {
            assert_eq!(door.admits(&headers(&[("host", host)])), Ok(()), "{host}");
        }
        for host in [
            "evil.example:9465",
            "127.0.0.1.evil.example",
            "10.0.0.7:9465",
            "",
        ] {
            let refused = door.admits(&headers(&[("host", host)]));
            assert_eq!(refused, Err(Refusal::Foreign), "{host}");
        }
    }

    #[test]
    fn with_a_token_one_shows_it_or_the_session_that_it_gave() {
        let token = "sixteen characters";
        let door = Door::new(&settings(token), loopback()).expect("a door");
        let session = door.session(token).expect("a session").to_owned();
        assert_eq!(door.session("sixteen charactars"), None);
        for admitted in [
            headers(&[("authorization", &format!("Bearer {token}"))]),
            headers(&[("cookie", &format!("a=b; {SESSION}={session}"))]),
        ] {
            assert_eq!(door.admits(&admitted), Ok(()));
        }
        for refused in [
            headers(&[("host", "127.0.0.1:9465")]),
            headers(&[("authorization", "Bearer wrong")]),
            headers(&[("cookie", &format!("{SESSION}={token}"))]),
        ] {
            assert_eq!(door.admits(&refused), Err(Refusal::Unknown));
        }
    }

    #[test]
    fn another_sites_page_can_change_nothing() {
        let door = Door::new(&settings(""), loopback()).expect("a door");
        let csrf = door.csrf();
        let own = [
            ("host", "127.0.0.1:9465"),
            ("origin", "http://127.0.0.1:9465"),
        ];
        assert_eq!(door.lets_act(&headers(&own), &csrf), Ok(()));
        assert_eq!(
            door.lets_act(&headers(&own), "guessed"),
            Err(Refusal::Foreign)
        );
        for foreign in [
            ("origin", "http://evil.example"),
            ("sec-fetch-site", "cross-site"),
        ] {
            let both = headers(&[own[0], foreign]);
            assert_eq!(door.lets_act(&both, &csrf), Err(Refusal::Foreign));
        }
        let mut read_only = settings("");
        read_only.actions = false;
        let door = Door::new(&read_only, loopback()).expect("a door");
        let refused = door.lets_act(&headers(&own), &door.csrf());
        assert_eq!(refused, Err(Refusal::ReadOnly));
    }
}

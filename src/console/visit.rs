//! A visit to a page: who asks, in which language, and whether for the page or for its JSON.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Query, State};
use axum::http::header::{ACCEPT, ACCEPT_LANGUAGE, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, Uri};
use axum::response::{Html, IntoResponse as _, Response};
use maud::Markup;
use serde::Serialize;

use super::Console;
use super::door::{LANG, cookie};
use super::words::Lang;

/// What every handler is given.
pub(super) type Shared = State<Arc<Console>>;

/// Who asks, and how the answer is to be.
#[derive(Debug, Clone)]
pub(super) struct Visit {
    pub(super) lang: Lang,
    /// Whether JSON is wanted.
    pub(super) json: bool,
    /// The path with its query, for the links that change the language.
    pub(super) uri: Uri,
}

impl<S: Send + Sync> FromRequestParts<S> for Visit {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Visit, Infallible> {
        Ok(Visit::of(&parts.headers, &parts.uri))
    }
}

impl Visit {
    pub(super) fn of(headers: &HeaderMap, uri: &Uri) -> Visit {
        let text = |name: HeaderName| headers.get(name).and_then(|it| it.to_str().ok());
        let asked = query(uri, "lang");
        let chosen = asked.or_else(|| cookie(headers, LANG));
        let accepts = text(ACCEPT).unwrap_or_default();
        Visit {
            lang: Lang::of(chosen, text(ACCEPT_LANGUAGE)),
            json: accepts.contains("application/json") && !accepts.contains("text/html"),
            uri: uri.clone(),
        }
    }

    /// The page or its JSON.
    pub(super) fn answer(&self, value: &impl Serialize, page: impl FnOnce() -> Markup) -> Response {
        match self.json {
            true => json(value),
            false => Html(page().into_string()).into_response(),
        }
    }
}

/// An answer in JSON.
pub(super) fn json(value: &impl Serialize) -> Response {
    let body = serde_json::to_vec(value).unwrap_or_default();
    ([(CONTENT_TYPE, "application/json")], body).into_response()
}

/// A parameter of a query, where it has nothing that would have to be decoded.
pub(super) fn query<'a>(uri: &'a Uri, name: &str) -> Option<&'a str> {
    let pairs = uri
        .query()?
        .split('&')
        .filter_map(|pair| pair.split_once('='));
    pairs
        .into_iter()
        .find_map(|(key, value)| (key == name).then_some(value))
}

/// The query of a page; what is wrong in it is as if it were not there.
pub(super) fn asked<T: Default>(query: Result<Query<T>, impl Sized>) -> T {
    query.map(|Query(asked)| asked).unwrap_or_default()
}

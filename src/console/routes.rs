//! The paths, and what every answer has in common.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Form, Path, Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, LOCATION, REFERRER_POLICY,
    SET_COOKIE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderName, StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{Html, IntoResponse as _, Response};
use axum::routing::{get, post};
use futures_util::Stream;
use serde::Deserialize;
use tracing::warn;

use super::Console;
use super::assets::asset;
use super::door::{LANG, Refusal, SESSION, WRONG};
use super::pages;
use super::visit::{Shared, Visit, query};

/// The least time between two signs that something is new.
const BEAT: Duration = Duration::from_secs(2);

/// Nothing from elsewhere, no script or style in the page itself, no frame around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// All paths.
pub(super) fn all(console: Arc<Console>) -> Router {
    let mut reports = Router::new();
    for file in pages::job::given_out() {
        let path = format!("/jobs/{{id}}/report.{}", file.ending);
        let report = get(move |console: Shared, visit: Visit, id: Path<String>| {
            pages::job::report(console, visit, id, file)
        });
        reports = reports.route(&path, report);
    }
    let inside = reports
        .route("/", get(pages::overview::overview))
        .route("/load", get(pages::overview::load))
        .route("/load/minutes", get(pages::overview::minutes))
        .route("/load/queues", get(pages::overview::samples))
        .route("/jobs", get(pages::jobs::jobs))
        .route("/jobs/{id}", get(pages::job::job))
        .route("/jobs/{id}/pages/{page}", get(pages::job::picture))
        .route("/jobs/{id}/proof/{page}", get(pages::job::picture))
        .route("/dead", get(pages::dead::dead))
        .route("/dead/{action}", post(pages::dead::act))
        .route("/fleet", get(pages::fleet::fleet))
        .route("/templates", get(pages::templates::templates))
        .route(
            "/templates/{name}/{edition}",
            get(pages::templates::template),
        )
        .route(
            "/templates/{name}/{edition}/sample/{page}",
            get(pages::templates::sample),
        )
        .route("/live", get(live))
        .route("/metrics", get(metrics))
        .fallback(missing)
        .layer(middleware::from_fn_with_state(Arc::clone(&console), let_in));
    Router::new()
        .route("/livez", get(|| async { "alive\n" }))
        .route("/assets/{name}", get(asset))
        .route("/login", get(pages::login).post(login))
        .merge(inside)
        .layer(middleware::from_fn(sealed))
        .with_state(console)
}

/// Lets in who may come in, and remembers a language that was chosen.
async fn let_in(State(console): Shared, uri: Uri, request: Request, next: Next) -> Response {
    let visit = Visit::of(request.headers(), &uri);
    if let Err(refusal) = console.door.admits(request.headers()) {
        let signs_in = refusal == Refusal::Unknown && !visit.json;
        if signs_in && request.method() == axum::http::Method::GET && uri.path() != "/metrics" {
            return (StatusCode::SEE_OTHER, [(LOCATION, "/login")]).into_response();
        }
        return pages::refuse(&console, &visit, refusal);
    }
    let mut response = next.run(request).await;
    if let Some(lang @ ("en" | "zh")) = query(&uri, "lang") {
        let cookie = format!("{LANG}={lang}; Path=/; Max-Age=31536000; SameSite=Strict");
        if let Ok(cookie) = HeaderValue::try_from(cookie) {
            response.headers_mut().append(SET_COOKIE, cookie);
        }
    }
    response
}

/// What every answer has: nothing of it may be kept, framed or mixed with what is elsewhere.
async fn sealed(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let mut set = |name: HeaderName, value: &'static str| {
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    };
    set(CONTENT_SECURITY_POLICY, POLICY);
    set(X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(X_FRAME_OPTIONS, "DENY");
    set(REFERRER_POLICY, "same-origin");
    set(CACHE_CONTROL, "no-store");
    set(
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    );
    set(
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    );
    response
}

#[derive(Deserialize)]
struct Login {
    token: String,
}

/// `POST /login`.
async fn login(State(console): Shared, visit: Visit, Form(login): Form<Login>) -> Response {
    let Some(session) = console.door.session(&login.token) else {
        warn!("somebody has shown a wrong token to the console");
        tokio::time::sleep(WRONG).await;
        let page = pages::login_page(&console, &visit, true).into_string();
        return (StatusCode::UNAUTHORIZED, Html(page)).into_response();
    };
    let cookie = format!("{SESSION}={session}; Path=/; HttpOnly; SameSite=Strict");
    let headers = [(SET_COOKIE, cookie), (LOCATION, "/".to_owned())];
    (StatusCode::SEE_OTHER, headers).into_response()
}

/// `GET /live`: a sign each time that something is new, but not more often than pages should be
/// fetched.
async fn live(State(console): Shared) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let (changes, stopping) = (console.known.changes(), console.stopping.clone());
    let beats = futures_util::stream::unfold((changes, stopping), async |(mut new, mut stop)| {
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return None,
            changed = async {
                tokio::time::sleep(BEAT).await;
                new.changed().await
            } => changed.ok()?,
        }
        let count = new.borrow_and_update().to_string();
        Some((Ok(Event::default().data(count)), (new, stop)))
    });
    Sse::new(beats).keep_alive(KeepAlive::default())
}

/// `GET /metrics`.
async fn metrics(State(console): Shared) -> Response {
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(CONTENT_TYPE, kind)], console.recorder.render()).into_response()
}

async fn missing(State(console): Shared, visit: Visit) -> Response {
    let why = visit.lang.say("there is no such page", "没有这个页面");
    pages::trouble(&console, &visit, StatusCode::NOT_FOUND, why)
}

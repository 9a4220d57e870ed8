//! The same over HTTP: `POST /check` with a job, `GET /openapi.json` for how.
//!
//! Takes an address and what may ask there, answers until it is told to stop. What is said of a job,
//! whether it is taken or not, is a 200; any other status says why nothing was said (RFC 9457).
//! Never holds more bodies at a time than it has promised, and never for long.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest as _, Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_MAX_AGE, CACHE_CONTROL, CONTENT_TYPE, HOST, ORIGIN, VARY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::{Answer, Checker};
use crate::contract;
use crate::loopback::is_this_machine;
use crate::problem::{Outage, Part};

/// Jobs that may be in hand at a time; others wait for their turn.
const IN_HAND: usize = 64;

/// How long a body may take to come.
const BODY: Duration = Duration::from_secs(30);

/// A page of a site that asks something of this machine announces it with this, and hears whether
/// it may.
const PRIVATE: (HeaderName, HeaderName) = (
    HeaderName::from_static("access-control-request-private-network"),
    HeaderName::from_static("access-control-allow-private-network"),
);

/// Who may ask.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// Whether other machines may.
    pub remote: bool,
    /// The origins whose pages may read the answers in a browser, as `https://forms.example`.
    pub origins: Vec<String>,
}

/// What the handlers share.
struct Desk {
    checker: Checker,
    access: Access,
    openapi: String,
    in_hand: Arc<Semaphore>,
}

type Shared = State<Arc<Desk>>;

/// Starts to listen. Gives the address that it has, and a future that answers until `stop` is ready.
///
/// # Errors
/// When the address cannot be had.
pub async fn serve(
    checker: Checker,
    listen: SocketAddr,
    access: Access,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(SocketAddr, impl Future<Output = Result<(), Outage>>), Outage> {
    let cannot = |error| {
        let hint = format!("cannot listen on {listen}; choose another address with --listen");
        Outage::because(Part::Admin, hint, error)
    };
    let listener = TcpListener::bind(listen).await.map_err(cannot)?;
    let address = listener.local_addr().map_err(cannot)?;
    let routes = routes(checker, access);
    Ok((address, async move {
        let served = axum::serve(listener, routes).with_graceful_shutdown(stop);
        let stopped = |error| Outage::because(Part::Admin, "the checks stopped", error);
        served.await.map_err(stopped)
    }))
}

fn routes(checker: Checker, access: Access) -> Router {
    let limit = checker.limits.job_bytes;
    let desk = Arc::new(Desk {
        openapi: contract::openapi(&checker.templates),
        checker,
        access,
        in_hand: Arc::new(Semaphore::new(IN_HAND)),
    });
    let wrong_method = || async {
        refusal(
            StatusCode::METHOD_NOT_ALLOWED,
            "POST a job to /check, GET /openapi.json",
        )
    };
    Router::new()
        .route("/check", post(check).fallback(wrong_method))
        .route("/openapi.json", get(openapi).fallback(wrong_method))
        .fallback(|| async { refusal(StatusCode::NOT_FOUND, "there are /check and /openapi.json") })
        .layer(DefaultBodyLimit::max(limit))
        .layer(middleware::from_fn_with_state(Arc::clone(&desk), let_in))
        .with_state(desk)
}

/// `POST /check`.
async fn check(State(desk): Shared, request: Request) -> Response {
    let Ok(turn) = Arc::clone(&desk.in_hand).acquire_owned().await else {
        return refusal(StatusCode::SERVICE_UNAVAILABLE, "it is stopping");
    };
    let body = match tokio::time::timeout(BODY, Bytes::from_request(request, &())).await {
        Ok(Ok(body)) => body,
        Ok(Err(rejection)) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            let most = desk.checker.limits.job_bytes;
            let why = format!("a job may have {most} bytes (limits.job_bytes)");
            return refusal(StatusCode::PAYLOAD_TOO_LARGE, &why);
        }
        Ok(Err(rejection)) => return refusal(rejection.status(), "the body could not be read"),
        Err(_) => {
            return refusal(
                StatusCode::REQUEST_TIMEOUT,
                "the body took too long to come",
            );
        }
    };
    let work = Arc::clone(&desk);
    let checked = tokio::task::spawn_blocking(move || {
        // Kept until the job is checked, also when who asked has gone.
        let _turn = turn;
        serde_json::to_vec(&Answer::from(&work.checker.check(&body)))
    });
    match checked.await {
        Ok(Ok(answer)) => ([(CONTENT_TYPE, "application/json")], answer).into_response(),
        Ok(Err(_)) | Err(_) => {
            tracing::error!("a job could not be checked");
            refusal(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the job could not be checked",
            )
        }
    }
}

/// `GET /openapi.json`.
async fn openapi(State(desk): Shared) -> Response {
    let kind = [(CONTENT_TYPE, "application/json")];
    (kind, desk.openapi.clone()).into_response()
}

/// Lets in who may ask, and says to a browser whose page may read the answer.
async fn let_in(State(desk): Shared, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let host = text(headers, HOST).unwrap_or_default();
    if !desk.access.remote && !is_this_machine(host) {
        return refusal(
            StatusCode::FORBIDDEN,
            "the Host is not this machine's own name",
        );
    }
    let origin = headers.get(ORIGIN).cloned();
    let allowed = origin.filter(|origin| {
        let origins = desk.access.origins.iter();
        origins
            .into_iter()
            .any(|allowed| allowed.as_bytes() == origin.as_bytes())
    });
    let own = text(headers, ORIGIN).is_none_or(|origin| {
        let named = origin.split_once("://").map(|(_, host)| host);
        named == Some(host)
    });
    if allowed.is_none() && !own {
        return refusal(
            StatusCode::FORBIDDEN,
            "pages of this origin may not ask; --allow-origin names those that may",
        );
    }
    let private = headers.contains_key(&PRIVATE.0);
    let mut response = match *request.method() {
        Method::OPTIONS => StatusCode::NO_CONTENT.into_response(),
        _ => next.run(request).await,
    };
    let headers = response.headers_mut();
    headers.insert(VARY, HeaderValue::from_static("Origin"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Some(origin) = allowed {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(
            ACCESS_CONTROL_ALLOW_METHODS,
            HeaderValue::from_static("GET, POST"),
        );
        headers.insert(
            ACCESS_CONTROL_ALLOW_HEADERS,
            HeaderValue::from_static("content-type"),
        );
        headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("7200"));
        if private {
            headers.insert(PRIVATE.1, HeaderValue::from_static("true"));
        }
    }
    response
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// Why nothing was said of a job (RFC 9457).
fn refusal(status: StatusCode, why: &str) -> Response {
    let title = status.canonical_reason().unwrap_or_default();
    let body = json!({ "title": title, "status": status.as_u16(), "detail": why });
    let kind = [(CONTENT_TYPE, "application/problem+json")];
    (status, kind, body.to_string()).into_response()
}

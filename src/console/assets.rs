//! What the pages load: a style, a script, and uPlot, which draws the plots. All are in the program.

use axum::extract::Path;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};

const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";
const TEXT: &str = "text/plain; charset=utf-8";

/// The files, by their names.
const FILES: [(&str, &str, &str); 6] = [
    ("console.css", CSS, include_str!("assets/console.css")),
    ("console.js", JS, include_str!("assets/console.js")),
    ("icon.svg", SVG, include_str!("assets/icon.svg")),
    ("uPlot.css", CSS, include_str!("assets/uplot/uPlot.min.css")),
    (
        "uPlot.js",
        JS,
        include_str!("assets/uplot/uPlot.iife.min.js"),
    ),
    (
        "uPlot-LICENSE.txt",
        TEXT,
        include_str!("assets/uplot/LICENSE"),
    ),
];

/// `GET /assets/NAME`. The pages name the version, so that a browser may keep them.
pub(super) async fn asset(Path(name): Path<String>) -> Response {
    match FILES.iter().find(|(file, ..)| *file == name) {
        Some((_, kind, text)) => {
            let headers = [(CONTENT_TYPE, *kind), (CACHE_CONTROL, "max-age=86400")];
            (headers, *text).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

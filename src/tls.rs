//! The cryptography of every TLS connection: `ring`, as it is built in seconds by the C compiler
//! that is there anyway.
//!
//! Takes nothing, gives nothing. If we crash here, nothing has begun.

/// Makes `ring` the process's, unless it has one. Before anything makes a client that may use TLS:
/// `reqwest` panics where there is none.
pub fn provide() {
    // Refused where it is there already: by another client, or by who uses this crate.
    drop(rustls::crypto::ring::default_provider().install_default());
}

/// A client of HTTP that may use TLS.
pub fn http() -> reqwest::ClientBuilder {
    provide();
    reqwest::Client::builder()
}

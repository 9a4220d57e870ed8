//! Whether a request over HTTP means this machine.
//!
//! A browser asks whatever a name leads to: a page of another site can have a name of its own that
//! leads to 127.0.0.1 (DNS rebinding), and would read what is answered here. So what listens on this
//! machine alone answers to this machine's own names alone.

use std::net::IpAddr;

/// Whether a `Host` names this machine.
pub fn is_this_machine(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    let address = name.parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|it| it.is_loopback())
}

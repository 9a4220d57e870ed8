//! `banshi health`: whether the worker or the console of these settings is well, for the health
//! check of a container that has no other program in it.

use std::net::SocketAddr;
use std::time::Duration;

use super::output::line;
use super::{Error, Exit, HealthArgs, block_on};
use crate::config::Settings;
use crate::problem::{Outage, Part};

/// The time that an answer may take.
const ANSWER: Duration = Duration::from_secs(5);

pub fn health(settings: &Settings, args: &HealthArgs) -> Result<Exit, Error> {
    let (name, listen, path) = match args.console {
        false => ("admin.listen", &settings.admin.listen, "/readyz"),
        true => ("console.listen", &settings.console.listen, "/livez"),
    };
    if listen.is_empty() {
        let text = format!("{name} is empty, so that there is nobody to ask; give it an address");
        return Err(Error::Outage(Outage::new(Part::Admin, text)));
    }
    let url = format!("http://{}{path}", from_within(listen));
    block_on(async {
        let out = |error: reqwest::Error| {
            let text = format!("nobody answers at {url}; see whether it runs, and {name}");
            Error::Outage(Outage::because(Part::Admin, text, error.without_url()))
        };
        // What is asked is on this machine: no proxy is.
        let client = crate::tls::http().no_proxy().timeout(ANSWER);
        let answer = client.build().map_err(out)?.get(&url).send().await;
        let answer = answer.map_err(out)?;
        let exit = match answer.status().as_u16() {
            200 => Exit::Done,
            503 => Exit::JobAtFault,
            other => {
                let text = format!("what answers at {url} is no banshi: it says {other}");
                return Err(Error::Outage(Outage::new(Part::Admin, text)));
            }
        };
        let said = answer.text().await.map_err(out)?;
        line(said.trim_end())?;
        Ok(exit)
    })
}

/// Where a program of this machine reaches what listens there.
fn from_within(listen: &str) -> String {
    match listen.parse::<SocketAddr>() {
        Ok(SocketAddr::V4(all)) if all.ip().is_unspecified() => {
            format!("127.0.0.1:{}", all.port())
        }
        Ok(SocketAddr::V6(all)) if all.ip().is_unspecified() => format!("[::1]:{}", all.port()),
        _ => listen.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::from_within;

    #[test]
    fn what_listens_everywhere_is_asked_on_this_machine() {
        for (listen, asked) in [
            ("0.0.0.0:9464", "127.0.0.1:9464"),
            ("[::]:9464", "[::1]:9464"),
            ("10.0.0.7:9464", "10.0.0.7:9464"),
            ("localhost:9464", "localhost:9464"),
        ] {
            assert_eq!(from_within(listen), asked);
        }
    }
}

//! `banshi check --serve`: jobs checked one after another, in one process.

use std::io;
use std::net::SocketAddr;

use super::output::print_stderr;
use super::worker::signals;
use super::{CheckArgs, Error, Exit, block_on};
use crate::check::Checker;
use crate::check::http::{self, Access};
use crate::config::Settings;
use crate::telemetry;

pub fn serve(settings: &Settings, args: &CheckArgs) -> Result<Exit, Error> {
    let Some(listen) = args.listen else {
        let checker = Checker::load(settings)?;
        checker.answer_lines(io::stdin().lock(), io::stdout().lock())?;
        return Ok(Exit::Done);
    };
    if !listen.ip().is_loopback() && !args.allow_remote {
        return Err(Error::Usage(format!(
            "--listen {listen} can be reached from other machines, and whoever reaches it may ask: \
             listen on 127.0.0.1, or add --allow-remote"
        )));
    }
    block_on(over_http(settings, args, listen))
}

async fn over_http(
    settings: &Settings,
    args: &CheckArgs,
    listen: SocketAddr,
) -> Result<Exit, Error> {
    let (shutdown, mut signals) = signals()?;
    let access = Access {
        remote: args.allow_remote,
        origins: args.allow_origin.clone(),
    };
    let checker = Checker::load(settings)?;
    let (address, served) = http::serve(checker, listen, access, shutdown).await?;
    print_stderr(format_args!("checks jobs at http://{address}/check"));
    telemetry::notify("READY=1");
    tokio::select! {
        served = served => served?,
        Some(_) = signals.join_next() => {}
    }
    Ok(Exit::Done)
}

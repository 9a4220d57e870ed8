//! `banshi console`: how it goes, in a browser.

use super::worker::signals;
use super::{Error, Exit, block_on};
use crate::config::Settings;

pub fn console(settings: &Settings) -> Result<Exit, Error> {
    block_on(async {
        let (shutdown, mut signals) = signals()?;
        tokio::select! {
            served = crate::console::run(settings, shutdown) => served?,
            Some(_) = signals.join_next() => {}
        }
        Ok(Exit::Done)
    })
}

//! `banshi store`: what is done to a store by hand.

use super::output::line;
use super::{Error, Exit, StoreCommand, block_on};
use crate::config::{self, Create, Settings};
use crate::store::Store;

pub fn store(settings: &Settings, command: &StoreCommand) -> Result<Exit, Error> {
    match command {
        StoreCommand::Init => init(&settings.store),
    }
}

/// Makes the store, unless it is there.
fn init(settings: &config::Store) -> Result<Exit, Error> {
    let settings = config::Store {
        create: Create::Always,
        ..settings.clone()
    };
    let (address, new) = block_on(async {
        let store = Store::open(&settings)?;
        let new = store.begin().await?;
        Ok((store.address(), new))
    })?;
    let what = match new {
        true => "a new store",
        false => "a store already; nothing was changed",
    };
    line(format_args!("{address}: {what}"))?;
    Ok(Exit::Done)
}

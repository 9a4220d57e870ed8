//! The console: how it goes, job by job and all together, in a browser.
//!
//! Takes the settings, reads what everybody may read (the events' log, the queues' depths, the
//! workers' own words; of a spool its folders), serves pages. Nothing in a worker waits for it, and
//! several may run. Changes nothing, unless `console.actions` lets somebody replay or drop dead
//! jobs. If we crash here, what it knew is read again from the log.

mod assets;
mod dead;
mod door;
mod drawing;
mod feed;
mod known;
mod management;
mod pages;
mod routes;
mod stories;
mod visit;
mod words;

use std::future::Future;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::info;

use self::door::Door;
use self::drawing::Drawing;
use self::feed::Feed;
use self::known::Known;
use crate::admin::{self, Recorder};
use crate::config::{self, Settings};
use crate::disk;
use crate::problem::{Outage, Part};
use crate::telemetry;

/// What the handlers share.
#[derive(Debug)]
struct Console {
    settings: Settings,
    known: Known,
    door: Door,
    drawing: Drawing,
    dead: dead::Cache,
    /// Held by whoever looks through the whole log.
    search: tokio::sync::Mutex<()>,
    recorder: Recorder,
    /// Whether the console is about to end: a page that is watched must not hold it up.
    stopping: watch::Receiver<bool>,
}

/// Serves the console until `shutdown` is ready.
///
/// # Errors
/// An address that cannot be had, or one of the network without a token.
pub async fn run(
    settings: &Settings,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Outage> {
    let listen = &settings.console.listen;
    let recorder = admin::record_console();
    let listener = TcpListener::bind(listen).await.map_err(|error| {
        let hint = format!("cannot listen on console.listen = {listen:?}; choose another address");
        Outage::because(Part::Admin, hint, error)
    })?;
    let address = listener
        .local_addr()
        .map_err(|error| Outage::because(Part::Admin, "no address to listen on", error))?;
    let door = Door::new(&settings.console, address)?;
    let (stop, stopping) = watch::channel(false);
    let console = Arc::new(Console {
        settings: settings.clone(),
        known: Known::default(),
        door,
        drawing: Drawing::new(settings)?,
        dead: dead::Cache::default(),
        search: tokio::sync::Mutex::default(),
        recorder,
        stopping,
    });
    let mut feed = JoinSet::new();
    feed.spawn(Feed::new(Arc::clone(&console)).run());
    feed.spawn(management::run(Arc::clone(&console)));
    info!(%address, actions = settings.console.actions, "the console is at http://{address}/");
    telemetry::notify("READY=1");
    let served = axum::serve(listener, routes::all(Arc::clone(&console)))
        .with_graceful_shutdown(async move {
            shutdown.await;
            telemetry::notify("STOPPING=1");
            stop.send_replace(true);
        })
        .await;
    feed.shutdown().await;
    served.map_err(|error| Outage::because(Part::Admin, "the console stopped", error))?;
    info!("stopped");
    Ok(())
}

/// The token that whoever asks must know; empty, when there is none.
///
/// # Errors
/// When its file can't be read, or holds no token.
pub fn token(settings: &config::Console) -> Result<String, Outage> {
    let file = &settings.token_file;
    if file.as_os_str().is_empty() {
        return Ok(settings.token.clone());
    }
    let token = std::fs::read_to_string(file)
        .map_err(|error| disk::outage(Part::Disk, "read console.token_file", file, error))?;
    let token = token.trim();
    if token.len() < 16 {
        let why = format!(
            "console.token_file: {} has a token of fewer than 16 characters",
            file.display()
        );
        return Err(Outage::new(Part::Disk, why));
    }
    Ok(token.to_owned())
}

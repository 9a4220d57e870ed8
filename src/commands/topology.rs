//! `banshi topology`: how exchanges and queues stand, and the way to this version's arguments.

use super::output::line;
use super::{Error, Exit, TopologyCommand, block_on};
use crate::config::Settings;
use crate::transport::amqp::{Client, ResourceStatus};

pub fn topology(settings: &Settings, command: &TopologyCommand) -> Result<Exit, Error> {
    if settings.queue.url.starts_with("spool:") {
        return Err(Error::Usage(
            "a spool has no exchanges and queues; queue.url names one".to_owned(),
        ));
    }
    block_on(async {
        let client = Client::attach(&settings.queue, settings.limits.job_bytes).await?;
        let done = match command {
            TopologyCommand::Check => check(&client).await,
            TopologyCommand::Migrate => migrate(&client).await,
        };
        client.close().await;
        done
    })
}

async fn check(client: &Client) -> Result<Exit, Error> {
    let mut exit = Exit::Done;
    for ResourceStatus { what, ready, wrong } in client.topology_status().await? {
        let holds = match ready {
            Some(1) => "  1 message".to_owned(),
            Some(ready) => format!("  {ready} messages"),
            None => String::new(),
        };
        match wrong {
            None => line(format_args!("well   {what}{holds}"))?,
            Some(wrong) => {
                exit = Exit::Environment;
                line(format_args!("wrong  {what}{holds}  {wrong}"))?;
            }
        }
    }
    Ok(exit)
}

async fn migrate(client: &Client) -> Result<Exit, Error> {
    let mut printed = Ok(());
    // Half done it would be in nobody's way, but nobody would know: it is done to its end, whoever
    // listens.
    let report = |step: &str| {
        if printed.is_ok() {
            printed = line(step);
        }
    };
    client.migrate(report).await?;
    printed?;
    Ok(Exit::Done)
}

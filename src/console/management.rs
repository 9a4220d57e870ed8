//! What AMQP does not say and RabbitMQ's management API does: messages that are not acknowledged,
//! and which queues are bound to the events' exchange.

use std::sync::Arc;
use std::time::Duration;

use metrics::gauge;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Console;
use super::known::Management;
use crate::telemetry::metric;

/// How often it is asked.
const ASK: Duration = Duration::from_secs(10);
/// How long it may take to answer.
const ANSWER: Duration = Duration::from_secs(8);

#[derive(Deserialize)]
struct Binding {
    destination: String,
    destination_type: String,
}

#[derive(Deserialize)]
struct Queue {
    #[serde(default)]
    messages_unacknowledged: u64,
}

/// Asks again and again, for as long as the console is; never, where there is no address.
pub(super) async fn run(console: Arc<Console>) {
    if let Ok(Some(deadline)) = console.settings.console.deadline() {
        gauge!(metric::DEADLINE).set(deadline as f64);
    }
    let settings = &console.settings;
    let url = settings.console.management_url.trim_end_matches('/');
    if url.is_empty() || settings.queue.url.starts_with("spool:") {
        return;
    }
    let client = match crate::tls::http().timeout(ANSWER).build() {
        Ok(client) => client,
        Err(error) => {
            tracing::warn!(%error, "the management API can't be asked");
            return;
        }
    };
    let vhost = vhost(&settings.queue.url);
    let prefix = &settings.queue.prefix;
    loop {
        let asked = ask(&client, url, &vhost, prefix).await;
        let found = match asked {
            Ok(found) => {
                gauge!(metric::EVENT_QUEUES).set(found.event_queues as f64);
                found
            }
            Err(why) => Management {
                out: Some(why),
                ..Management::default()
            },
        };
        console.known.facts().management = Some(found);
        tokio::time::sleep(ASK).await;
    }
}

async fn ask(
    client: &reqwest::Client,
    url: &str,
    vhost: &str,
    prefix: &str,
) -> Result<Management, String> {
    let path = format!("{url}/api/exchanges/{vhost}/{prefix}.events/bindings/source");
    let bindings: Vec<Binding> = get(client, path).await?;
    let log = format!("{prefix}.events.log");
    let others = bindings
        .iter()
        .filter(|binding| binding.destination_type != "queue" || binding.destination != log);
    let mut found = Management {
        event_queues: others.count() as u64,
        ..Management::default()
    };
    for lane in crate::transport::Lane::ALL {
        let path = format!("{url}/api/queues/{vhost}/{prefix}.jobs.{lane}");
        let queue: Queue = get(client, path).await?;
        found.unacknowledged += queue.messages_unacknowledged;
    }
    Ok(found)
}

async fn get<T: DeserializeOwned>(client: &reqwest::Client, url: String) -> Result<T, String> {
    // The address has the password in it.
    let out = |error: reqwest::Error| error.without_url().to_string();
    let answer = client.get(url).send().await.map_err(out)?;
    let answer = answer.error_for_status().map_err(out)?;
    let bytes = answer.bytes().await.map_err(out)?;
    serde_json::from_slice(&bytes).map_err(|error| format!("its answer can't be read: {error}"))
}

/// The virtual host of a broker's address, as a segment of a path.
fn vhost(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = rest.split_once('/').map_or("", |(_, path)| path);
    match path.split(['?', '#']).next().unwrap_or_default() {
        "" => "%2f".to_owned(),
        vhost => vhost.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::vhost;

    #[test]
    fn a_virtual_host_is_a_segment_of_a_path() {
        for (url, segment) in [
            ("amqp://u:p@h:5672/%2f", "%2f"),
            ("amqp://u:p@h:5672", "%2f"),
            ("amqps://u:p@a,b/reports?heartbeat=5", "reports"),
        ] {
            assert_eq!(vhost(url), segment);
        }
    }
}

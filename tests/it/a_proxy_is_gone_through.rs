//! What goes through the proxy of the environment, as docs/install/from-source.md says, and what
//! does not.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::json;

use crate::support::deployment::Deployment;
use crate::support::jobs::{CORPUS, corpus};
use crate::support::stores::{Place, Server};
use crate::support::wire::request;

/// A host that only the proxy finds.
const STORE: &str = "store.invalid";
const COLLECTOR: &str = "collector.invalid";

/// An HTTP proxy, which ends with the process.
struct Proxy {
    url: String,
    asked: Arc<Mutex<BTreeSet<String>>>,
}

impl Proxy {
    /// One that takes [`STORE`] to a server and answers for [`COLLECTOR`].
    fn to(server: &Server) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(BTreeSet::new()));
        let (store, shared) = (server.address().to_owned(), Arc::clone(&asked));
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (store, asked) = (store.clone(), Arc::clone(&shared));
                std::thread::spawn(move || carry(client?, &store, &asked));
            }
        });
        Proxy { url, asked }
    }

    /// The hosts that it was asked for since it was last looked at.
    fn asked(&self) -> Vec<String> {
        let mut asked = self.asked.lock().unwrap();
        std::mem::take(&mut *asked).into_iter().collect()
    }
}

/// One request, which names what it is for in its first line, and its answer.
fn carry(
    mut client: TcpStream,
    store: &str,
    asked: &Mutex<BTreeSet<String>>,
) -> std::io::Result<()> {
    let (head, body) = request(&mut client)?;
    let target = head.split(' ').nth(1).unwrap_or_default();
    let rest = target.strip_prefix("http://").unwrap_or(target);
    let host = rest.split(['/', ':']).next().unwrap_or_default();
    asked.lock().unwrap().insert(host.to_owned());
    match host {
        STORE => {
            let head = head.replacen(&format!("http://{STORE}"), "", 1);
            let head = head.replacen("\r\n", "\r\nConnection: close\r\n", 1);
            let mut server = TcpStream::connect(store)?;
            server.write_all(head.as_bytes())?;
            server.write_all(&body)?;
            let mut answer = Vec::new();
            server.read_to_end(&mut answer)?;
            client.write_all(&answer)
        }
        COLLECTOR => client.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        _ => client.write_all(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"),
    }
}

async fn deployment(server: &Server) -> Deployment {
    let place = Place::bucket(server);
    Deployment::amqp()
        .await
        .storing_at(&place)
        .with("STORE__TIMEOUT", "5")
        .with_variables([("AWS_ENDPOINT_URL", format!("http://{STORE}"))])
}

#[tokio::test]
async fn the_store_and_traces_over_http_go_through_the_proxy_and_neither_broker_nor_grpc_does() {
    let server = Server::strict();
    let proxy = Proxy::to(&server);
    // What there is in the environment of these tests is not asked.
    let variables = ["ALL_PROXY", "HTTP_PROXY"].map(|name| (name, proxy.url.clone()));
    for (protocol, hosts) in [("http", vec![COLLECTOR, STORE]), ("grpc", vec![STORE])] {
        let deployment = deployment(&server)
            .await
            .with_variables(variables.clone())
            .with_variables([("NO_PROXY", String::new())])
            .with("TELEMETRY__OTLP", &format!("http://{COLLECTOR}:4318"))
            .with("TELEMETRY__PROTOCOL", protocol);
        let job = corpus(CORPUS[0]).to_string();
        deployment.send("a", job.as_bytes()).await;
        deployment.work_until_idle();
        let events = deployment.events().await;
        assert_eq!(events[0]["type"], json!("report.completed"), "{protocol}");
        assert_eq!(proxy.asked(), hosts, "{protocol}");
        deployment.remove().await;
    }
}

#[tokio::test]
async fn the_store_has_a_proxy_of_its_own_and_hosts_that_are_reached_without_one() {
    let server = Server::strict();
    let proxy = Proxy::to(&server);
    let store = async |variables: [(&str, String); 2]| {
        let deployment = deployment(&server).await.with_variables(variables);
        let doctor = deployment.banshi(&["doctor"]).output().unwrap();
        let said = String::from_utf8_lossy(&doctor.stdout).into_owned();
        deployment.remove().await;
        let mut lines = said.lines();
        let line = lines.find(|line| line.split_whitespace().nth(1) == Some("store"));
        line.unwrap_or_else(|| panic!("{said}")).to_owned()
    };
    let said = store([
        ("AWS_PROXY_URL", proxy.url.clone()),
        ("NO_PROXY", String::new()),
    ])
    .await;
    assert!(said.contains("there is no store at"), "it answered: {said}");
    assert_eq!(proxy.asked(), [STORE]);

    let said = store([
        ("HTTP_PROXY", proxy.url.clone()),
        ("NO_PROXY", STORE.to_owned()),
    ])
    .await;
    assert!(said.starts_with("fail"), "{said}");
    assert_eq!(proxy.asked(), [""; 0]);
}

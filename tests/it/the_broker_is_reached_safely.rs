//! Over TLS both sides are checked; what the broker does to its clients (alarms, crashes,
//! timeouts, other settings) is lived through, or said with the fix. Each test has a node of its
//! own where it would disturb the others.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use banshi::config;
use banshi::transport::{Client, Intake, Lane, State};
use tokio::time::{sleep, timeout};

use crate::support::BANSHI;
use crate::support::authority::{Authority, Identity};
use crate::support::bench::{Bench, SOON, event, finish, next, nothing_comes, until, up};
use crate::support::node::Node;

/// A node that speaks only to whoever shows a certificate of its authority.
struct Guarded {
    node: Node,
    authority: Authority,
}

impl Guarded {
    fn start() -> Option<Guarded> {
        let node = Node::new()?.with_plugins("rabbitmq_auth_mechanism_ssl");
        let folder = node.folder().to_owned();
        let authority = Authority::new(&folder, "authority");
        authority.host("broker", "localhost");
        let (folder, port) = (folder.display(), node.spare_port());
        node.configure(&format!(
            "listeners.ssl.1 = 127.0.0.1:{port}\n\
             ssl_options.cacertfile = {folder}/authority.pem\n\
             ssl_options.certfile = {folder}/broker.pem\n\
             ssl_options.keyfile = {folder}/broker.key.pem\n\
             ssl_options.verify = verify_peer\n\
             ssl_options.fail_if_no_peer_cert = true\n\
             ssl_cert_login_from = common_name\n\
             auth_mechanisms.1 = EXTERNAL\n\
             auth_mechanisms.2 = PLAIN\n"
        ));
        node.start();
        Some(Guarded { node, authority })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.node.folder().join(name)
    }

    /// The node's certificate from now on.
    fn show(&self, identity: &Identity) {
        std::fs::copy(&identity.certificate, self.file("broker.pem")).unwrap();
        std::fs::copy(&identity.key, self.file("broker.key.pem")).unwrap();
        self.node.ctl(&["eval", "ssl:clear_pem_cache()."]);
    }

    fn settings(&self, identity: Option<&Identity>) -> config::Queue {
        let (certificate, key) = match identity {
            Some(identity) => (identity.certificate.clone(), identity.key.clone()),
            None => Default::default(),
        };
        config::Queue {
            url: format!(
                "amqps://guest:guest@localhost:{}/%2f",
                self.node.spare_port()
            ),
            prefix: "banshi".to_owned(),
            topology: config::Topology::Declare,
            prefetch: 0,
            heartbeat: 10,
            tls: config::Tls {
                ca: self.file("authority.pem"),
                certificate,
                key,
            },
        }
    }
}

/// What a worker and a sender say who are not let in. Neither tries on: only somebody's hand can
/// mend it.
async fn refused(settings: &config::Queue) -> String {
    let mut intake = Intake::open(settings, 2).await.unwrap();
    let said = timeout(SOON, intake.next()).await.expect("it gives up");
    let said = said.unwrap_err().chain();
    intake.close().await;
    let sender = Client::open(settings).await.unwrap_err().chain();
    assert_eq!(said, sender);
    println!("{said}\n");
    said
}

fn assert_says(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "{part:?} is not in: {said}");
    }
    assert!(!said.contains("guest:guest"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_both_sides_show_a_certificate_and_each_refusal_says_what_to_do() {
    let Some(guarded) = Guarded::start() else {
        return;
    };
    let worker = guarded.authority.user("banshi-worker");
    let right = guarded.settings(Some(&worker));

    // A job's whole way.
    let mut intake = up(Intake::open(&right, 2).await.unwrap()).await;
    let mut client = Client::open(&right).await.unwrap();
    client.send("job", b"{}", Lane::Bulk).await.unwrap();
    finish(next(&mut intake).await, "job").await;
    nothing_comes(&mut intake).await;
    client.close().await;
    intake.close().await;

    // With the certificate for a password.
    let external = config::Queue {
        url: format!(
            "amqps://localhost:{}/%2f?auth_mechanism=external",
            guarded.node.spare_port()
        ),
        ..right.clone()
    };
    let said = refused(&external).await;
    assert_says(
        &said,
        &["no user of the name in our certificate", "add_user"],
    );
    let node = &guarded.node;
    node.ctl(&["add_user", "banshi-worker", "not used"]);
    node.ctl(&["set_permissions", "banshi-worker", ".*", ".*", ".*"]);
    let intake = up(Intake::open(&external, 2).await.unwrap()).await;
    let users = node.ctl(&["list_connections", "user", "auth_mechanism"]);
    assert!(users.contains("banshi-worker\tEXTERNAL"), "{users}");
    intake.close().await;

    // Whom we don't trust.
    let others = Authority::new(guarded.node.folder(), "others");
    let mut settings = right.clone();
    settings.tls.ca = guarded.file("others.pem");
    let said = refused(&settings).await;
    assert_says(&said, &["signed by nobody", "others.pem", "queue.tls.ca"]);
    settings = right.clone();
    settings.url = settings.url.replace("localhost", "127.0.0.1");
    let said = refused(&settings).await;
    assert_says(&said, &["for another host", "localhost", "queue.url"]);
    guarded.show(&guarded.authority.expired_host("expired", "localhost"));
    assert_says(&refused(&right).await, &["has expired"]);
    guarded.show(&guarded.authority.host("renewed", "localhost"));
    up(Intake::open(&right, 2).await.unwrap())
        .await
        .close()
        .await;

    // Who doesn't trust us.
    let said = refused(&guarded.settings(None)).await;
    assert_says(
        &said,
        &["wants to see a certificate", "queue.tls.certificate"],
    );
    let stranger = others.user("stranger");
    let said = refused(&guarded.settings(Some(&stranger))).await;
    assert_says(&said, &["refuses our certificate", "stranger.pem"]);

    // What is not what its setting says.
    let cases = [
        ("missing.pem", "queue.tls.ca: cannot read"),
        ("broker.key.pem", "queue.tls.ca"),
    ];
    for (file, part) in cases {
        let mut settings = right.clone();
        settings.tls.ca = guarded.file(file);
        assert_says(&refused(&settings).await, &[part, file]);
    }
    let mut settings = right.clone();
    settings.tls.key = guarded.file("stranger.key.pem");
    let said = refused(&settings).await;
    assert_says(
        &said,
        &["queue.tls.key is not the key of queue.tls.certificate"],
    );
    settings.tls.key = guarded.file("authority.pem");
    let said = refused(&settings).await;
    assert_says(&said, &["queue.tls.key", "authority.pem", "PRIVATE KEY"]);
    settings = right.clone();
    let plain = guarded.node.url();
    settings.url = plain.replace("amqp://", "amqps://");
    assert_says(
        &refused(&settings).await,
        &["does not speak TLS", "amqps://"],
    );
}

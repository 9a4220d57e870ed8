//! With the policies of `deploy/s3` each does its work at the store, and may do nothing else. At
//! Ceph's Object Gateway, which knows policies.

use std::process::Command;

use object_store::aws::AmazonS3;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _, PutMode, PutOptions};

use crate::support::deployment::succeeded;
use crate::support::stores::Server;
use crate::support::{BANSHI, repository};

/// A user of the gateway that has this policy and nothing else.
fn user(script: &str, server: &Server, policy: &str) -> Server {
    let name = format!("{policy}-{:08x}", rand::random::<u32>());
    let admin = |arguments: &[&str]| {
        let output = Command::new(script).arg("admin").args(arguments).output();
        succeeded(&output.expect("it starts"));
    };
    let (uid, key) = (format!("--uid={name}"), format!("--access-key={name}"));
    admin(&[
        "user",
        "create",
        &uid,
        "--display-name=x",
        &key,
        "--secret-key=of-mine",
    ]);
    admin(&["caps", "add", "--uid=banshi", "--caps=user-policy=*"]);
    let text = std::fs::read_to_string(repository("deploy/s3").join(format!("{policy}.json")));
    let text = text.expect("a policy");
    let text = text.replace(
        "arn:aws:s3:::reports",
        &format!("arn:aws:s3:::{}", server.bucket),
    );
    let output = Command::new("curl")
        .args(["-sS", "--fail-with-body", "-X", "POST"])
        .args(["--aws-sigv4", "aws:amz:us-east-1:s3"])
        .args(["--user", &format!("{}:{}", server.key, server.secret)])
        .args(["--data-urlencode", "Action=PutUserPolicy"])
        .args(["--data-urlencode", &format!("UserName={name}")])
        .args(["--data-urlencode", "PolicyName=banshi"])
        .args(["--data-urlencode", &format!("PolicyDocument={text}")])
        .arg(format!("{}/", server.endpoint))
        .output();
    succeeded(&output.expect("curl is there"));
    Server {
        key: name,
        secret: "of-mine".to_owned(),
        ..server.clone()
    }
}

/// What a client is let do with an object that is there, and beside it.
async fn rights(client: &AmazonS3, there: &Path, elsewhere: &Path) -> Vec<&'static str> {
    let mut rights = Vec::new();
    let mut note = |right, tried: Result<(), object_store::Error>| match tried {
        Ok(()) => rights.push(right),
        Err(object_store::Error::PermissionDenied { .. }) => {}
        Err(error) => panic!("{right}: {error}"),
    };
    note("get", client.get(there).await.map(drop));
    let absent = there.as_ref().to_owned() + ".absent";
    match client.get(&Path::from(absent)).await {
        Err(object_store::Error::NotFound { .. }) => note("be told that nothing is there", Ok(())),
        other => note("be told that nothing is there", other.map(drop)),
    }
    let beside = Path::from(format!("{there}.{:08x}", rand::random::<u32>()));
    let create = || PutOptions::from(PutMode::Create);
    let put = client.put_opts(&beside, "x".into(), create()).await;
    note("put", put.map(drop));
    note("remove", client.delete(there).await);
    note("get elsewhere", client.get(elsewhere).await.map(drop));
    let beside = Path::from(format!("{elsewhere}.{:08x}", rand::random::<u32>()));
    let put = client.put_opts(&beside, "x".into(), create()).await;
    note("put elsewhere", put.map(drop));
    rights
}

#[tokio::test]
#[expect(
    clippy::disallowed_methods,
    reason = "how `make test` names its servers"
)]
async fn each_key_may_do_its_own_work_and_nothing_else() {
    let Ok(script) = std::env::var("BANSHI_TEST_S3") else {
        println!("not run: BANSHI_TEST_S3 does not say how to make a user");
        return;
    };
    let server = Server::strict();
    let (worker, reader) = (
        user(&script, &server, "worker"),
        user(&script, &server, "reader"),
    );
    let folder = tempfile::tempdir().expect("a folder");
    let place = format!("banshi/{:08x}", rand::random::<u32>());
    let banshi = |server: &Server, arguments: &[&str]| {
        let output = Command::new(BANSHI)
            .args(arguments)
            .envs(server.variables())
            .env(
                "BANSHI__STORE__URL",
                format!("s3://{}/{place}", server.bucket),
            )
            .env("BANSHI__QUEUE__URL", "spool:spool")
            .env("BANSHI__FONTS__DIR", repository("fonts"))
            .env("BANSHI__ADMIN__LISTEN", "")
            .env("BANSHI__RENDER__THREADS", "1")
            .current_dir(folder.path())
            .output();
        output.expect("it starts")
    };
    // A whole report, as the worker.
    let sample = banshi(&worker, &["templates", "annual-report/2021", "--sample"]);
    std::fs::write(folder.path().join("job.json"), sample.stdout).expect("a file");
    succeeded(&banshi(&worker, &["enqueue", "job.json"]));
    succeeded(&banshi(&worker, &["worker", "--until-idle"]));
    let events = std::fs::read_dir(folder.path().join("spool/events")).expect("events");
    assert_eq!(events.count(), 1);
    let all = server.client();
    let elsewhere = Path::from(format!("elsewhere-{:08x}", rand::random::<u32>()));
    all.put(&elsewhere, "x".into()).await.expect("put");
    let there = Path::from(format!("{place}/there"));
    all.put(&there, "x".into()).await.expect("put");
    let may = rights(&worker.client(), &there, &elsewhere).await;
    assert_eq!(may, ["get", "be told that nothing is there", "put"]);
    let may = rights(&reader.client(), &there, &elsewhere).await;
    assert_eq!(may, ["get", "be told that nothing is there"]);
    let may = rights(&all, &there, &elsewhere).await;
    assert_eq!(
        may.len(),
        6,
        "what was refused is refused by the policy: {may:?}"
    );
}

//! deploy/container and deploy/compose are what their tools take, and agree with what
//! deploy/kubernetes says of the broker; health checks need no other program. `make deploy-test`
//! runs them.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::support::deployment::{Deployment, succeeded};
use crate::support::{commands, repository};

/// A checker that `tests/tools/install test` has put there.
fn tool(name: &str) -> Command {
    let path = repository("target/tools").join(name);
    assert!(path.is_file(), "{name} is needed: tests/tools/install test");
    Command::new(path)
}

fn hadolint(file: &Path) -> Output {
    tool("deploy/bin/hadolint").arg(file).output().unwrap()
}

#[test]
fn the_containerfile_is_well_made_and_mistakes_are_found() {
    let path = repository("deploy/container/Containerfile");
    let found = hadolint(&path);
    assert!(
        found.status.success(),
        "{}",
        String::from_utf8_lossy(&found.stdout)
    );
    let folder = tempfile::tempdir().unwrap();
    let wrong = folder.path().join("Containerfile");
    let text = fs::read_to_string(path).unwrap();
    fs::write(&wrong, text.replace("USER 65532:65532", "USER root")).unwrap();
    assert!(
        !hadolint(&wrong).status.success(),
        "the last user must not be root"
    );
}

#[tokio::test]
async fn health_says_whether_a_worker_is_ready_is_not_or_is_not_there() {
    let (deployment, _) = Deployment::spool().with_admin();
    let health = || {
        let mut asked = deployment.banshi(&["health"]);
        // No proxy is between.
        let asked = asked.env("http_proxy", "http://127.0.0.1:1").output();
        let asked = asked.unwrap();
        let said = String::from_utf8_lossy(&asked.stdout).into_owned();
        (asked.status.code(), said)
    };
    assert_eq!(health(), (Some(3), String::new()));
    let worker = deployment.worker();
    let well = (Some(0), "ready\n".to_owned());
    deployment
        .until("it is ready", async |_| health() == well)
        .await;
    deployment.lose_store();
    deployment
        .send(
            "a",
            &fs::read(repository("tests/corpus/zibo-bigdata-2020.json")).unwrap(),
        )
        .await;
    let store_is_out = || {
        let (code, said) = health();
        code == Some(1) && said.contains("store")
    };
    deployment
        .until("the store is out", async |_| store_is_out())
        .await;
    assert_eq!(worker.stop(), Some(0));
    assert_eq!(health(), (Some(3), String::new()));
    let silent = deployment.with("ADMIN__LISTEN", "");
    let asked = silent.banshi(&["health"]).output().unwrap();
    assert_eq!(asked.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&asked.stderr).contains("admin.listen is empty"));
}

#[test]
fn dockers_profile_lets_typesetters_be_confined() {
    let profile = fs::read(repository("tests/tools/docker-seccomp.json")).unwrap();
    let profile: Value = serde_json::from_slice(&profile).unwrap();
    let rules = profile["syscalls"].as_array().unwrap();
    let allowed = |name: &str| {
        rules.iter().any(|rule| {
            let names = rule["names"].as_array().unwrap();
            rule["action"] == "SCMP_ACT_ALLOW"
                && rule["includes"]["caps"].is_null()
                && names.iter().any(|it| it == name)
        })
    };
    for name in [
        "seccomp",
        "landlock_create_ruleset",
        "landlock_add_rule",
        "landlock_restrict_self",
    ] {
        assert!(allowed(name), "{name}");
    }
    assert!(!allowed("mount"));
}

/// The folder of Compose, with the passwords that the page makes.
fn compose() -> (tempfile::TempDir, Value) {
    let folder = tempfile::tempdir().unwrap();
    let copied = Command::new("cp")
        .arg("-r")
        .args([&repository("deploy"), folder.path()])
        .status();
    assert!(copied.unwrap().success());
    let here = folder.path().join("deploy/compose");
    let made = commands("docs/install/compose.md", "Start");
    let (made, up) = made.trim_end().rsplit_once('\n').unwrap();
    assert!(up.starts_with("docker compose up "), "{up}");
    let made = Command::new("bash")
        .args(["-euc", made])
        .current_dir(&here)
        .output();
    succeeded(&made.unwrap());
    let config = tool("bin/docker-compose")
        .args(["-f", "compose.yaml", "config", "--format", "json"])
        .current_dir(&here)
        .env("HOME", folder.path())
        .output()
        .unwrap();
    succeeded(&config);
    let config = serde_json::from_slice(&config.stdout).unwrap();
    (folder, config)
}

#[test]
fn compose_takes_the_file_and_every_file_that_it_names_is_there() {
    let schema = tool("deploy/bin/check-jsonschema")
        .args(["--builtin-schema", "vendor.compose-spec"])
        .arg(repository("deploy/compose/compose.yaml"))
        .output()
        .unwrap();
    assert!(
        schema.status.success(),
        "{}",
        String::from_utf8_lossy(&schema.stdout)
    );
    let (_folder, config) = compose();
    let services = config["services"].as_object().unwrap();
    assert_eq!(services.len(), 9);
    for (name, service) in services {
        for volume in service["volumes"].as_array().into_iter().flatten() {
            if volume["type"] == "bind" {
                let source = Path::new(volume["source"].as_str().unwrap());
                assert!(source.exists(), "{name}: {}", source.display());
            }
        }
        for port in service["ports"].as_array().into_iter().flatten() {
            assert_eq!(port["host_ip"], "127.0.0.1", "{name}");
        }
        if service["image"].as_str().unwrap().starts_with("banshi:") {
            assert_eq!(service["read_only"], true, "{name}");
            assert_eq!(service["cap_drop"], serde_json::json!(["ALL"]), "{name}");
            let health = service["healthcheck"]["test"].to_string();
            assert_eq!(health.contains("--console"), name == "console");
        }
    }
}

#[test]
fn compose_and_kubernetes_set_a_broker_up_alike() {
    let overlay = crate::it_runs_on_kubernetes::Overlay::build("region");
    let path = repository("deploy/compose/setup/definitions.json");
    let definitions = overlay.definitions();
    if crate::pictures::update() {
        fs::write(&path, &definitions).unwrap();
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), definitions);

    let script = fs::read_to_string(repository("deploy/compose/setup/setup.sh")).unwrap();
    // Lines that go on, and JSON's backslashes.
    let script = script.replace("\\\n", "").replace("\\\\", "\\");
    for (user, permissions) in overlay.permissions() {
        if user == "keda" {
            continue;
        }
        let (_, rest) = script.split_once(&format!("\nuser {user} ")).unwrap();
        let line = rest.lines().next().unwrap();
        for permission in &permissions {
            assert!(line.contains(&format!("'{permission}'")), "{user}: {line}");
        }
    }
}

//! deploy/kubernetes is what a cluster takes, and what a worker needs. There is no cluster here:
//! kustomize builds the manifests, Kubernetes' own schemas judge them, a real broker is set up as
//! the operators would, and the pods' programs run as processes with the pods' files, variables
//! and users.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::support::deployment::{Deployment, succeeded};
use crate::support::node::Node;
use crate::support::stores::Server;
use crate::support::{BANSHI, commands, repository, until};

const OVERLAYS: [&str; 2] = ["single", "region"];

/// What an overlay comes to, its secrets made as the page says.
pub struct Overlay {
    objects: Vec<Value>,
}

/// `tests/tools/manifests`.
fn manifests(arguments: &[&str], input: &Value) -> Output {
    let mut child = Command::new(repository("tests/tools/manifests"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A tool that wants no input may have left already.
    stdin.write_all(input.to_string().as_bytes()).ok();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    succeeded(&output);
    output
}

impl Overlay {
    /// With a store whose keys nobody uses.
    pub fn build(name: &str) -> Overlay {
        Overlay::build_storing(name, "key", "secret")
    }

    fn build_storing(name: &str, key: &str, secret: &str) -> Overlay {
        let folder = tempfile::tempdir().unwrap();
        let copied = Command::new("cp")
            .arg("-r")
            .args([&repository("deploy/kubernetes"), folder.path()])
            .status();
        assert!(copied.unwrap().success());
        let overlay = folder.path().join("kubernetes/overlays").join(name);
        let made = Command::new("bash")
            .args(["-euc", &commands("docs/install/kubernetes.md", "Secrets")])
            .current_dir(&overlay)
            .env("S3_KEY", key)
            .env("S3_SECRET", secret)
            .env("S3_READ_KEY", key)
            .env("S3_READ_SECRET", secret)
            .output();
        succeeded(&made.unwrap());
        let built = manifests(&["build", overlay.to_str().unwrap()], &Value::Null);
        let objects = serde_json::from_slice(&built.stdout).unwrap();
        Overlay { objects }
    }

    /// Its topology as RabbitMQ's own definitions.
    pub fn definitions(&self) -> String {
        let output = manifests(&["definitions"], &json!(self.objects));
        String::from_utf8(output.stdout).unwrap()
    }

    /// What each user may at the broker: configure, write, read.
    pub fn permissions(&self) -> BTreeMap<String, [String; 3]> {
        let each = self.of("Permission").map(|it| {
            let user = it["spec"]["userReference"]["name"].as_str().unwrap();
            let may = &it["spec"]["permissions"];
            let may = ["configure", "write", "read"].map(|of| may[of].as_str().unwrap().to_owned());
            (user.trim_start_matches("banshi-").to_owned(), may)
        });
        each.collect()
    }

    fn of(&self, kind: &str) -> impl Iterator<Item = &Value> {
        self.objects.iter().filter(move |it| it["kind"] == kind)
    }

    fn named(&self, kind: &str, name: &str) -> &Value {
        let mut found = self.of(kind).filter(|it| it["metadata"]["name"] == name);
        let one = found.next();
        one.unwrap_or_else(|| panic!("there is no {kind} {name}"))
    }

    fn secret(&self, name: &str, key: &str) -> String {
        let value = self.named("Secret", name)["data"][key].as_str().unwrap();
        let mut child = Command::new("base64")
            .arg("-d")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(value.as_bytes()).unwrap();
        drop(stdin);
        String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
    }

    /// The settings that its pods read.
    fn settings(&self) -> toml::Table {
        let mut maps = self.of("ConfigMap");
        let text = maps.find_map(|it| it["data"]["banshi.toml"].as_str());
        text.expect("the settings").parse().unwrap()
    }

    /// The pods' templates, by the names of their deployments.
    fn pods(&self) -> BTreeMap<String, &Value> {
        let deployments = self.of("Deployment");
        let pod = |it: &'_ Value| it["metadata"]["name"].as_str().unwrap().to_owned();
        deployments
            .map(|it| (pod(it), &it["spec"]["template"]))
            .collect()
    }

    /// A pod's program as a process: its files below a folder, in which it runs, and its variables;
    /// what is said of the cluster's broker and of the container's files is said of these.
    fn process(&self, deployment: &str, root: &Path, node: &Node) -> Pod {
        let pod = &self.pods()[deployment]["spec"].clone();
        let container = &pod["containers"][0];
        let here = |text: &str| {
            text.replace("@banshi-rabbitmq:5672/", &format!("@{}/", node.address()))
                .replace(
                    "@banshi-rabbitmq:15672",
                    &format!("@{}", node.management_address()),
                )
                .replace(
                    "/etc/banshi",
                    &root.join("etc/banshi").display().to_string(),
                )
        };
        for mount in list(&container["volumeMounts"]) {
            let volumes = list(&pod["volumes"]).iter();
            let mut volumes = volumes.filter(|volume| volume["name"] == mount["name"]);
            let volume = volumes.next().expect("a volume for each mount");
            let files: Vec<(String, String)> =
                if let Some(name) = volume["secret"]["secretName"].as_str() {
                    let keys = self.named("Secret", name)["data"]
                        .as_object()
                        .unwrap()
                        .keys();
                    keys.map(|key| (key.clone(), self.secret(name, key)))
                        .collect()
                } else if let Some(name) = volume["configMap"]["name"].as_str() {
                    let data = self.named("ConfigMap", name)["data"].as_object().unwrap();
                    let text = |value: &Value| here(value.as_str().unwrap());
                    data.iter()
                        .map(|(key, value)| (key.clone(), text(value)))
                        .collect()
                } else {
                    assert!(volume["emptyDir"].is_object(), "{volume}");
                    continue;
                };
            let path = root.join(mount["mountPath"].as_str().unwrap().trim_start_matches('/'));
            for (key, text) in files {
                let file = match mount["subPath"].as_str() {
                    None => path.join(key),
                    Some(sub) if sub == key => path.clone(),
                    Some(_) => continue,
                };
                fs::create_dir_all(file.parent().unwrap()).unwrap();
                fs::write(file, text).unwrap();
            }
        }
        let mut variables = BTreeMap::new();
        for from in list(&container["envFrom"]) {
            let map = self.named("ConfigMap", from["configMapRef"]["name"].as_str().unwrap());
            for (name, value) in map["data"].as_object().unwrap() {
                variables.insert(name.clone(), value.as_str().unwrap().to_owned());
            }
        }
        for variable in list(&container["env"]) {
            let name = variable["name"].as_str().unwrap();
            let value = match &variable["valueFrom"]["secretKeyRef"] {
                Value::Null => {
                    let mut value = variable["value"].as_str().unwrap().to_owned();
                    for (name, known) in &variables {
                        value = value.replace(&format!("$({name})"), known);
                    }
                    here(&value)
                }
                secret => self.secret(
                    secret["name"].as_str().unwrap(),
                    secret["key"].as_str().unwrap(),
                ),
            };
            variables.insert(name.to_owned(), value);
        }
        let arguments = list(&container["args"]).iter();
        let arguments = arguments.map(|it| here(it.as_str().unwrap())).collect();
        Pod {
            root: root.to_owned(),
            arguments,
            variables,
        }
    }
}

/// What a pod's program is started with.
struct Pod {
    root: PathBuf,
    arguments: Vec<String>,
    variables: BTreeMap<String, String>,
}

impl Pod {
    /// With the settings of its file, and no command yet.
    fn banshi(&self) -> Command {
        let mut command = Command::new(BANSHI);
        command
            .args(&self.arguments[..2])
            .current_dir(&self.root)
            .env_clear()
            .envs(&self.variables)
            .env("BANSHI__FONTS__DIR", repository("fonts"));
        command
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn number(value: &Value) -> i64 {
    value
        .as_i64()
        .unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn a_cluster_takes_the_manifests_and_mistakes_are_found() {
    for name in OVERLAYS {
        let overlay = Overlay::build(name);
        let objects = json!(overlay.objects);
        let wrong = manifests(&["check"], &objects).stdout;
        assert_eq!(String::from_utf8_lossy(&wrong), "", "{name}");
        for (kind, pointer) in [
            ("Deployment", "/spec/template/spec/readonlyRootFilesystem"),
            ("Queue", "/spec/argument"),
            ("ServiceMonitor", "/spec/endpoint"),
        ] {
            let mut objects = objects.clone();
            let at = objects.as_array_mut().unwrap().iter_mut();
            let mut at = at.filter(|it| it["kind"] == kind);
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            at.next().unwrap().pointer_mut(parent).unwrap()[key] = json!(true);
            let wrong = manifests(&["check"], &objects).stdout;
            let wrong = String::from_utf8_lossy(&wrong);
            assert!(
                wrong.contains(key) && wrong.lines().count() == 1,
                "{kind}: {wrong}"
            );
        }
    }
}

#[test]
fn prometheus_rules_are_those_of_deploy_prometheus() {
    let path = repository("deploy/kubernetes/components/prometheus/rules.yaml");
    let rules = manifests(&["rules"], &Value::Null).stdout;
    let rules = String::from_utf8(rules).unwrap();
    if crate::pictures::update() {
        fs::write(&path, &rules).unwrap();
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), rules);
}

/// MiB.
fn memory(value: &Value) -> i64 {
    let text = value.as_str().unwrap();
    let (number, unit) = text.split_at(text.len() - 2);
    let number: i64 = number.parse().unwrap();
    match unit {
        "Mi" => number,
        "Gi" => number * 1024,
        _ => panic!("{text}"),
    }
}

#[test]
fn settings_memory_and_times_fit_together() {
    for name in OVERLAYS {
        let overlay = Overlay::build(name);
        let settings = overlay.settings();
        let setting = |section: &str, key: &str| settings[section][key].as_integer().unwrap();
        let pods = overlay.pods();
        let pod = &pods["banshi-worker"]["spec"];
        let grace = number(&pod["terminationGracePeriodSeconds"]);
        assert!(grace > setting("worker", "drain_timeout") + 20, "{grace}");
        let typesetters = setting("render", "threads") + setting("render", "urgent");
        let resources = &pod["containers"][0]["resources"];
        let asked = memory(&resources["requests"]["memory"]);
        let most = memory(&resources["limits"]["memory"]);
        assert_eq!(asked, 200 + 150 * typesetters, "docs/operator.md, Memory");
        assert_eq!(most, 200 + 450 * typesetters, "docs/operator.md, Memory");
        assert_eq!(
            resources["requests"]["cpu"],
            setting("render", "threads").to_string()
        );
        for scaled in overlay.of("ScaledObject") {
            let triggers = list(&scaled["spec"]["triggers"]);
            assert_eq!(triggers.len(), 2);
            for trigger in triggers {
                let metadata = &trigger["metadata"];
                let value: i64 = metadata["value"].as_str().unwrap().parse().unwrap();
                assert_eq!(value % setting("queue", "prefetch"), 0);
                assert_eq!(metadata["protocol"], "http");
                assert_eq!(metadata["excludeUnacknowledged"], "false");
                let host = "http://banshi-rabbitmq.banshi.svc:15672/";
                assert_eq!(metadata["host"], host, "KEDA is in another namespace");
            }
        }
    }
}

#[test]
fn no_pod_may_more_than_it_must() {
    for name in OVERLAYS {
        let overlay = Overlay::build(name);
        for (name, pod) in overlay.pods() {
            let spec = &pod["spec"];
            assert_eq!(spec["automountServiceAccountToken"], false, "{name}");
            let security = &spec["securityContext"];
            assert_eq!(security["runAsNonRoot"], true, "{name}");
            assert_eq!(security["runAsUser"], 65532, "{name}");
            assert_eq!(
                security["seccompProfile"]["type"], "RuntimeDefault",
                "{name}"
            );
            for container in list(&spec["containers"]) {
                let security = &container["securityContext"];
                assert_eq!(security["readOnlyRootFilesystem"], true, "{name}");
                assert_eq!(security["allowPrivilegeEscalation"], false, "{name}");
                assert_eq!(security["capabilities"]["drop"], json!(["ALL"]), "{name}");
            }
        }
        let deny = &overlay.named("NetworkPolicy", "default-deny")["spec"];
        assert_eq!(deny["podSelector"], json!({}));
        assert_eq!(deny["policyTypes"], json!(["Ingress", "Egress"]));
        assert_eq!(
            (&deny["ingress"], &deny["egress"]),
            (&Value::Null, &Value::Null)
        );
    }
}

/// Whether labels have all that a selector's `matchLabels` asks for.
fn selects(labels: &Value, selector: &Value) -> bool {
    let wanted = selector.as_object().expect("labels");
    !wanted.is_empty() && wanted.iter().all(|(key, value)| labels[key] == *value)
}

#[test]
fn what_is_named_is_there() {
    for name in OVERLAYS {
        let overlay = Overlay::build(name);
        let pods = overlay.pods();
        for pod in pods.values() {
            let text = pod.to_string();
            let container = &pod["spec"]["containers"][0];
            for variable in list(&container["env"]) {
                let secret = &variable["valueFrom"]["secretKeyRef"];
                if let Some(name) = secret["name"].as_str() {
                    let key = secret["key"].as_str().unwrap();
                    assert_ne!(overlay.secret(name, key), "", "{name}");
                }
            }
            assert!(!text.contains("\"banshi:latest\""), "{text}");
            let ports = list(&container["ports"]).iter().map(|port| &port["name"]);
            let ports: Vec<&Value> = ports.collect();
            for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
                let port = &container[probe]["httpGet"]["port"];
                assert!(ports.contains(&port), "{probe}: {port}");
            }
        }
        for service in overlay.of("Service") {
            let selector = &service["spec"]["selector"];
            let mut chosen = pods.values();
            let pod = chosen.find(|pod| selects(&pod["metadata"]["labels"], selector));
            let pod = pod.unwrap_or_else(|| panic!("{selector} selects no pod"));
            for port in list(&service["spec"]["ports"]) {
                let ports = list(&pod["spec"]["containers"][0]["ports"]);
                let target = |it: &&Value| it["name"] == port["targetPort"];
                let target = ports.iter().find(target).expect("the port");
                assert_eq!(target["containerPort"], port["port"]);
            }
        }
        for monitor in overlay.of("ServiceMonitor") {
            let selector = &monitor["spec"]["selector"]["matchLabels"];
            let mut services = overlay.of("Service");
            let service = services.find(|it| selects(&it["metadata"]["labels"], selector));
            let service = service.expect("the service that is scraped");
            for endpoint in list(&monitor["spec"]["endpoints"]) {
                let ports = list(&service["spec"]["ports"]);
                assert!(ports.iter().any(|port| port["name"] == endpoint["port"]));
                let token = &endpoint["authorization"]["credentials"];
                if let Some(name) = token["name"].as_str() {
                    overlay.secret(name, token["key"].as_str().unwrap());
                }
            }
        }
        for user in overlay.of("User") {
            let name = user["spec"]["importCredentialsSecret"]["name"].as_str();
            assert_eq!(
                overlay.secret(name.unwrap(), "username"),
                user["metadata"]["name"].as_str().unwrap()
            );
            assert!(overlay.secret(name.unwrap(), "password").len() >= 32);
        }
        for it in overlay.of("TriggerAuthentication") {
            for parameter in list(&it["spec"]["secretTargetRef"]) {
                let (name, key) = (parameter["name"].as_str(), parameter["key"].as_str());
                assert_ne!(overlay.secret(name.unwrap(), key.unwrap()), "");
            }
        }
    }
}

/// What a virtual host has, without its name.
fn definitions(node: &Node, vhost: &str) -> BTreeSet<String> {
    let file = node.folder().join("definitions.json");
    node.ctl(&["export_definitions", file.to_str().unwrap()]);
    let all: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let mut found = BTreeSet::new();
    for kind in ["exchanges", "queues", "bindings"] {
        for it in list(&all[kind]).iter().filter(|it| it["vhost"] == vhost) {
            let mut it = it.clone();
            it.as_object_mut().unwrap().remove("vhost");
            found.insert(format!("{kind}: {it}"));
        }
    }
    found
}

/// A broker that RabbitMQ's operators have set up with an overlay's objects.
fn set_up(overlay: &Overlay) -> Option<Node> {
    let node = Node::new()?.with_plugins("rabbitmq_management");
    node.start();
    let url = format!("http://guest:guest@{}", node.management_address());
    manifests(&["apply", &url], &json!(overlay.objects));
    Some(node)
}

#[test]
fn the_brokers_operators_make_what_a_worker_would() {
    let overlay = Overlay::build("region");
    let Some(node) = set_up(&overlay) else { return };
    let deployment = Deployment::spool();
    let at = |vhost: &str| format!("amqp://guest:guest@{}/{vhost}", node.address());
    node.ctl(&["add_vhost", "declared"]);
    node.ctl(&[
        "set_permissions",
        "-p",
        "declared",
        "guest",
        ".*",
        ".*",
        ".*",
    ]);
    node.ctl(&[
        "set_permissions",
        "-p",
        "reports",
        "guest",
        ".*",
        ".*",
        ".*",
    ]);
    let declare = deployment
        .banshi(&["worker", "--until-idle"])
        .env("BANSHI__QUEUE__URL", at("declared"))
        .output();
    succeeded(&declare.unwrap());
    let (made, declared) = (
        definitions(&node, "reports"),
        definitions(&node, "declared"),
    );
    assert!(declared.len() > 20, "{declared:?}");
    assert_eq!(made, declared);
    let checked = deployment
        .banshi(&["topology", "check"])
        .env("BANSHI__QUEUE__URL", at("reports"))
        .output()
        .unwrap();
    succeeded(&checked);
    let checked = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(
        checked.lines().all(|line| line.starts_with("well")),
        "{checked}"
    );

    // A policy for everything, which would drop jobs, finds these queues taken. The log of events
    // is a stream, which takes neither.
    let all = r#"{"message-ttl":1}"#;
    node.ctl(&["set_policy", "-p", "reports", "all", ".*", all]);
    let policies = node.ctl(&["list_queues", "-p", "reports", "name", "policy"]);
    let mut policies: BTreeMap<_, _> = policies
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .collect();
    assert_eq!(policies.remove("name"), Some("policy"));
    assert_eq!(policies.remove("banshi.events.log"), Some(""));
    assert!(policies.len() > 6, "{policies:?}");
    assert!(
        policies.values().all(|policy| *policy == "banshi"),
        "{policies:?}"
    );
}

#[test]
fn the_pods_do_their_work_with_the_users_and_files_they_are_given() {
    let server = Server::strict();
    let overlay = Overlay::build_storing("region", &server.key, &server.secret);
    let Some(node) = set_up(&overlay) else { return };
    let folder = tempfile::tempdir().unwrap();
    let bucket = format!(
        "s3://{}/kubernetes-{:08x}",
        server.bucket,
        rand::random::<u32>()
    );
    let mut pods = BTreeMap::new();
    for name in ["banshi-worker", "banshi-console"] {
        let mut pod = overlay.process(name, &folder.path().join(name), &node);
        let variables = &mut pod.variables;
        assert_eq!(variables["BANSHI__STORE__URL"], "s3://reports/banshi");
        variables.insert("BANSHI__STORE__URL".to_owned(), bucket.clone());
        variables.insert("AWS_ENDPOINT_URL".to_owned(), server.endpoint.clone());
        variables.insert("AWS_ALLOW_HTTP".to_owned(), "true".to_owned());
        pods.insert(name, pod);
    }
    let [worker, console] = ["banshi-worker", "banshi-console"].map(|name| &pods[name]);
    let [metrics, pages] = [1, 2].map(|more| format!("127.0.0.1:{}", node.spare_port() + more));
    let mut command = worker.banshi();
    let command = command.arg("doctor").env("BANSHI__ADMIN__LISTEN", "");
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");

    let deployment = Deployment::spool();
    let running = deployment.start(
        worker
            .banshi()
            .args(&worker.arguments[2..])
            .env("BANSHI__ADMIN__LISTEN", &metrics),
    );
    let shown = deployment.start(
        console
            .banshi()
            .args(&console.arguments[2..])
            .env("BANSHI__CONSOLE__LISTEN", &pages),
    );
    let health = |arguments: &[&str]| {
        let mut command = Command::new(BANSHI);
        command
            .arg("health")
            .args(arguments)
            .env("BANSHI__ADMIN__LISTEN", &metrics)
            .env("BANSHI__CONSOLE__LISTEN", &pages);
        command.output().unwrap().status.code()
    };
    until("the worker is ready", || health(&[]) == Some(0));
    until("the console lives", || health(&["--console"]) == Some(0));

    let sender = format!(
        "amqp://{}:{}@{}/reports",
        overlay.secret("banshi-sender", "username"),
        overlay.secret("banshi-sender", "password"),
        node.address()
    );
    let sample = Command::new(BANSHI)
        .args(["templates", "annual-report/2021", "--sample"])
        .output()
        .unwrap();
    let job: Value = serde_json::from_slice(&sample.stdout).unwrap();
    let id = job["job_id"].as_str().unwrap();
    fs::write(folder.path().join("report.json"), &sample.stdout).unwrap();
    let sent = Command::new(BANSHI)
        .args(["enqueue", "report.json"])
        .current_dir(folder.path())
        .env("BANSHI__QUEUE__TOPOLOGY", "verify")
        .env("BANSHI__QUEUE__URL", sender)
        .output()
        .unwrap();
    succeeded(&sent);
    until("the job is completed", || {
        let mut command = console.banshi();
        let told = command.args(["status", id]).output().unwrap();
        String::from_utf8_lossy(&told.stdout).contains("completed")
    });

    let token = overlay.secret("banshi-console-token", "token");
    let scraped = curl(&[
        "-H",
        &format!("Authorization: Bearer {token}"),
        &format!("http://{pages}/metrics"),
    ]);
    assert!(scraped.contains("# HELP"), "{scraped}");
    // By the users' rights: one may say how it is, the other may hear it.
    until("the console has heard the worker", || {
        let fleet = curl(&[
            "-H",
            &format!("Authorization: Bearer {token}"),
            "-H",
            "Accept: application/json",
            &format!("http://{pages}/fleet"),
        ]);
        let fleet: Value = serde_json::from_str(&fleet).unwrap();
        list(&fleet["workers"]).len() == 1
    });

    // What KEDA asks, as KEDA.
    for scaled in overlay.of("ScaledObject") {
        for trigger in list(&scaled["spec"]["triggers"]) {
            let metadata = &trigger["metadata"];
            let user = format!(
                "{}:{}",
                overlay.secret("banshi-keda", "username"),
                overlay.secret("banshi-keda", "password")
            );
            let path = format!(
                "api/queues/{}/{}",
                metadata["vhostName"].as_str().unwrap(),
                metadata["queueName"].as_str().unwrap()
            );
            let url = format!("http://{}/{path}", node.management_address());
            // The broker's management takes its counts of a queue every five seconds.
            until("the queue has been counted", || {
                let queue: Value = serde_json::from_str(&curl(&["-u", &user, &url])).unwrap();
                queue["messages"].is_number() && queue["messages_unacknowledged"].is_number()
            });
        }
    }
    assert_eq!(running.stop(), Some(0));
    assert_eq!(shown.stop(), Some(0));
}

fn curl(arguments: &[&str]) -> String {
    let mut command = Command::new("curl");
    let output = command
        .args(["-sS", "--fail", "--max-time", "30"])
        .args(arguments)
        .output();
    let output = output.unwrap();
    succeeded(&output);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

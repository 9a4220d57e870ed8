//! Settings: defaults, then a file, then the environment; every mistake at once.

use std::path::{Path, PathBuf};

use banshi::config::Settings;

fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn wrong(file: &str, pairs: &[(&str, &str)]) -> String {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("banshi.toml");
    std::fs::write(&path, file).expect("a file");
    Settings::load(&[path], env(pairs))
        .expect_err("the settings are wrong")
        .to_string()
}

#[test]
fn the_environment_wins_over_the_file_and_the_file_over_the_defaults() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("banshi.toml");
    std::fs::write(
        &path,
        "[render]\nthreads = 3\ndeadline = 7\n[queue]\nurl = \"spool:./x\"",
    )
    .expect("a file");
    let pairs = [
        ("BANSHI__RENDER__THREADS", "5"),
        ("BANSHI__FONTS__MORE", "/a,/b"),
        ("HOME", "/root"),
    ];
    let settings = Settings::load(&[path], env(&pairs)).expect("right");
    assert_eq!((settings.render.threads, settings.render.deadline), (5, 7));
    assert_eq!(settings.queue.url, "spool:./x");
    assert_eq!(settings.fonts.more, [Path::new("/a"), Path::new("/b")]);
    assert_eq!(settings.queue.prefix, "banshi");
}

#[test]
fn all_mistakes_are_told_at_once_each_with_its_origin() {
    let said = wrong(
        "[queue]\nurll = \"x\"\n[render]\nthreads = \"many\"",
        &[
            ("BANSHI__STORE__ULR", "x"),
            ("BANSHI__ADMIN__LISTEN", "127.0.0.1:1"),
        ],
    );
    assert!(
        said.contains("banshi.toml: there is no setting queue.urll; did you mean queue.url?"),
        "{said}"
    );
    assert!(
        said.contains("BANSHI__STORE__ULR: there is no setting store.ulr; did you mean store.url?"),
        "{said}"
    );
    assert!(
        said.contains("[render]") && said.contains("threads"),
        "{said}"
    );
}

#[test]
fn addresses_of_no_known_kind_are_refused() {
    let said = wrong(
        "[queue]\nurl = \"redis://x\"\n[store]\nurl = \"ftp://x\"",
        &[],
    );
    assert!(
        said.contains("queue.url") && said.contains("store.url"),
        "{said}"
    );
}

#[test]
fn what_no_typesetter_could_work_with_is_refused() {
    let said = wrong(
        "[render]\nmemory = 100\nrecycle = 0\ndeadline = 0\nconfine = \"try\"",
        &[],
    );
    for key in ["render.memory", "render.recycle", "render.deadline"] {
        assert!(said.contains(&format!("{key}: want at least ")), "{said}");
    }
    let said = wrong("[render]\nconfine = \"maybe\"", &[]);
    assert!(said.contains("confine") && said.contains("maybe"), "{said}");
}

#[test]
fn what_tls_is_asked_for_must_be_meant() {
    let said = wrong(
        "[queue]\nurl = \"amqps://broker/%2f\"\n[queue.tls]\ncertificate = \"worker.pem\"",
        &[],
    );
    assert!(
        said.contains("queue.tls.key: want both or neither"),
        "{said}"
    );
    // Over amqp:// the certificates would guard nothing.
    let said = wrong("", &[("BANSHI__QUEUE__TLS__CA", "authority.pem")]);
    assert!(
        said.contains("queue.tls: want an amqps:// address"),
        "{said}"
    );
}

#[test]
fn of_several_files_the_last_wins_and_each_is_named() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let files = ["banshi.toml", "secrets.toml"].map(|name| dir.path().join(name));
    let common = "[queue]\nurl = \"amqp://one\"\nprefix = \"x\"\n";
    std::fs::write(&files[0], common).expect("a file");
    std::fs::write(&files[1], "[queue]\nurl = \"amqp://u:p@two\"\n").expect("a file");
    let settings = Settings::load(&files, []).expect("right");
    assert_eq!(settings.queue.url, "amqp://u:p@two");
    assert_eq!(settings.queue.prefix, "x");
    let said = Settings::in_force(&files, []).expect("right");
    let from = |key: &str| {
        let setting = said.iter().find(|setting| setting.key == key);
        setting.expect("it is in force").source.clone()
    };
    assert_eq!(from("queue.url"), files[1].display().to_string());
    assert_eq!(from("queue.prefix"), files[0].display().to_string());
    assert_eq!(from("queue.lease"), "default");

    std::fs::write(&files[1], "[queue]\nurll = 1\n").expect("a file");
    let wrong = Settings::load(&files, []).expect_err("a key that is none");
    let wrong = wrong.to_string();
    assert!(
        wrong.contains("secrets.toml: there is no setting queue.urll"),
        "{wrong}"
    );
}

#[test]
fn a_file_that_was_named_must_be_there() {
    let missing = PathBuf::from("/nowhere/banshi.toml");
    let said = Settings::load(&[missing], [])
        .expect_err("it isn't there")
        .to_string();
    assert!(said.contains("/nowhere/banshi.toml"), "{said}");
}

#[test]
fn a_store_has_no_odd_number_of_shards_and_waits_for_something() {
    let said = wrong(
        "[store]\nshards = 100\ntimeout = 0\nsettle = 0\nconditional_put = \"maybe\"",
        &[],
    );
    assert!(said.contains("conditional_put"), "{said}");
    let said = wrong("[store]\nshards = 100\ntimeout = 0\nsettle = 0", &[]);
    for key in ["store.shards", "store.timeout", "store.settle"] {
        assert!(said.contains(key), "{said}");
    }
}

#[test]
fn credentials_come_from_the_environment_only_and_are_never_printed() {
    let said = wrong("[store]\naws = { AWS_SECRET_ACCESS_KEY = \"hidden\" }", &[]);
    assert!(said.contains("there is no setting store.aws"), "{said}");
    let pairs = [("AWS_SECRET_ACCESS_KEY", "hidden"), ("AWS_REGION", "here")];
    let settings = Settings::load(&[], env(&pairs)).expect("right");
    assert_eq!(settings.store.aws.get("AWS_REGION"), Some("here"));
    assert!(!format!("{settings:?}").contains("hidden"));
    let written = serde_json::to_string(&settings).expect("plain data");
    assert!(!written.contains("hidden"));
}

#[test]
fn what_the_variables_of_opentelemetry_say_must_make_sense_where_they_are_used() {
    let nonsense = [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
        ("OTEL_TRACES_SAMPLER_ARG", "2"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=hidden"),
    ];
    let settings = Settings::load(&[], env(&nonsense)).expect("they are for other programs");
    assert!(!settings.telemetry.is_on());
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
    let said = wrong("", &[&nonsense[..], &[endpoint]].concat());
    for name in ["OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_TRACES_SAMPLER_ARG"] {
        assert!(said.contains(&format!("{name}: want")), "{said}");
    }
    assert!(!said.contains("hidden"), "{said}");
    let said = wrong("", &[endpoint, ("OTEL_TRACES_SAMPLER", "xray")]);
    assert!(said.contains("OTEL_TRACES_SAMPLER: want"), "{said}");
    let said = wrong("[telemetry]\notlp = \"collector:4317\"", &[]);
    assert!(said.contains("telemetry.otlp: want http://"), "{said}");

    let on = |pairs: &[(&str, &str)]| {
        let settings = Settings::load(&[], env(pairs)).expect("right");
        settings.telemetry.is_on()
    };
    assert!(on(&[endpoint]));
    assert!(on(&[("BANSHI__TELEMETRY__OTLP", "https://collector:4317")]));
    assert!(!on(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")]));
    assert!(!on(&[endpoint, ("OTEL_SDK_DISABLED", "true")]));
    assert!(!on(&[endpoint, ("OTEL_TRACES_EXPORTER", "none")]));
}

#[test]
fn a_signer_is_one_and_what_it_gives_can_be_made_of_what_it_takes() {
    for (sign, why) in [
        (
            "command = [\"sign\"]\nurl = \"https://sign\"",
            "sign.command and sign.url: want one of them",
        ),
        ("command = [\"\"]", "sign.command: want the program first"),
        ("url = \"ldap://sign\"", "sign.url: want http"),
        ("takes = \"sm3\"", "sign.takes: want \"file\""),
        (
            "command = [\"sign\"]\ngives = \"sm2\"",
            "sign.certificate: want the signer's certificate",
        ),
        ("timeout = 0", "sign.timeout"),
        (
            "command = [\"sign\"]\ntimeout = 301",
            "sign.timeout: want at most a quarter of queue.lease",
        ),
        ("command = [\"a\\u0000\"]", "sign.command: want no NUL"),
        ("at_once = 0", "sign.at_once"),
        ("token_file = \"token\"", "sign.token_file: want an address"),
        (
            "[sign.tls]\nca = \"ca.pem\"",
            "sign.tls: want an https:// address",
        ),
        (
            "url = \"https://sign\"\n[sign.tls]\nkey = \"key.pem\"",
            "sign.tls.certificate and sign.tls.key: want both or neither",
        ),
    ] {
        let said = wrong(&format!("[sign]\n{sign}"), &[]);
        assert!(said.contains(why), "{sign}: {said}");
    }
}

#[test]
fn a_signature_may_take_a_quarter_of_the_lease() {
    let timeout = |seconds| ("BANSHI__SIGN__TIMEOUT", seconds);
    let signs = ("BANSHI__SIGN__COMMAND", "sign");
    assert!(
        Settings::load(&[], env(&[timeout("301")])).is_ok(),
        "nothing is signed"
    );
    assert!(Settings::load(&[], env(&[signs, timeout("300")])).is_ok());
    let lease = ("BANSHI__QUEUE__LEASE", "1199");
    assert!(Settings::load(&[], env(&[signs, timeout("300"), lease])).is_err());
}

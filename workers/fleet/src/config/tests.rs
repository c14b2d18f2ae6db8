//! Tests of the configuration as a whole.

use super::*;
use publish::{SaslMechanism, Security};
use std::time::Duration;

/// A file with enough to run.
const SOUND: &str = r#"
environment = "staging"
[kafka]
brokers = ["b1:9092", "b2:9092"]
group_instance_id = "analytics-0"
[registry]
url = "http://registry:8081"
[database]
url = "postgres://db:5432"
"#;

pub fn load(file: &str, variables: &[(&str, &str)]) -> Loaded {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fleet.toml");
    std::fs::write(&path, file).unwrap();
    let variables = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Loaded::from_sources(Some(&path), variables)
}

pub fn sound(extra: &str, variables: &[(&str, &str)]) -> Config {
    let loaded = load(&format!("{SOUND}{extra}"), variables);
    assert_eq!(loaded.problems, []);
    loaded.config
}

/// The problems' lines.
fn lines(file: &str, variables: &[(&str, &str)]) -> Vec<String> {
    load(file, variables)
        .problems
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn a_sound_file_has_no_problem_and_sensible_defaults() {
    let config = sound("", &[]);
    assert_eq!(config.missing(), []);
    assert_eq!(config.environment, Environment::Staging);
    assert_eq!(config.kafka.session_timeout, Duration::from_secs(6));
    assert_eq!(
        config.kafka_settings().unwrap().brokers,
        ["b1:9092", "b2:9092"]
    );
    assert_eq!(config.engine.lanes, 2);
    assert_eq!(config.http.listen.to_string(), "127.0.0.1:9464");
    assert_eq!(config.registry_name(), "http://registry:8081");
}

#[test]
fn nothing_at_all_is_sound_but_lacks_what_running_needs() {
    let loaded = load("", &[]);
    assert_eq!(loaded.problems, []);
    let missing: Vec<String> = loaded
        .config
        .missing()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(missing.len(), 3, "{missing:#?}");
    assert!(missing[0].starts_with("error: kafka.brokers (FLEET__KAFKA__BROKERS) is missing; set"));
    assert!(missing[1].starts_with("error: registry.url (FLEET__REGISTRY__URL) is missing; set"));
    assert!(missing[2].starts_with("error: database.url (FLEET__DATABASE__URL) is missing; set"));
}

#[test]
fn the_environment_overrides_the_file_and_origins_are_kept() {
    let variables = [
        ("FLEET__KAFKA__BROKERS", "c1:1, c2:2"),
        ("FLEET__ENGINE__LANES", "7"),
        ("FLEET__DATABASE__PLATFORM_CONFIG__USER", "pc"),
        ("UNRELATED", "x"),
    ];
    let loaded = load(SOUND, &variables);
    assert_eq!(loaded.problems, []);
    assert_eq!(loaded.config.kafka.brokers, ["c1:1", "c2:2"]);
    assert_eq!(loaded.config.engine.lanes, 7);
    let login = &loaded.config.database.logins["platform_config"];
    assert_eq!(login.user.as_deref(), Some("pc"));
    let origin = |key: &str| {
        let shown = loaded
            .effective
            .iter()
            .find(|shown| shown.key == key)
            .unwrap();
        (shown.value.as_str(), shown.origin.as_str())
    };
    assert_eq!(
        origin("kafka.brokers"),
        ("c1:1, c2:2", "FLEET__KAFKA__BROKERS")
    );
    assert!(origin("registry.url").1.ends_with("fleet.toml"));
    assert_eq!(origin("engine.linger_ms"), ("5", "default"));
}

#[test]
fn a_secret_may_stand_in_a_file_and_looks_like_no_number() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("password");
    std::fs::write(&path, "00712\n").unwrap();
    let path = path.to_str().unwrap();
    let variables = [
        ("FLEET__KAFKA__SASL_USER", "007"),
        ("FLEET__KAFKA__SASL_PASSWORD_FILE", path),
        ("FLEET__REGISTRY__TOKEN", "0815"),
    ];
    let loaded = load(SOUND, &variables);
    assert_eq!(loaded.problems, []);
    let Security::SaslTls(sasl, _) = &loaded.config.kafka.security else {
        panic!("another mode")
    };
    assert_eq!(
        (sasl.user.as_str(), sasl.password.expose()),
        ("007", "00712")
    );
    assert_eq!(sasl.mechanism, SaslMechanism::ScramSha512);

    let both = [
        ("FLEET__REGISTRY__TOKEN", "a"),
        ("FLEET__REGISTRY__TOKEN_FILE", path),
    ];
    assert!(lines(SOUND, &both)[0].contains("are both set"));
    let nowhere = [("FLEET__REGISTRY__TOKEN_FILE", "/nowhere/token")];
    let line = &lines(SOUND, &nowhere)[0];
    assert!(line.contains("FLEET__REGISTRY__TOKEN_FILE") && line.contains("/nowhere/token"));
}

#[test]
fn no_secret_is_ever_shown() {
    let file = r#"
        [kafka]
        brokers = "b:1"
        sasl_user = "u"
        sasl_password = "hunter2"
        tls_key_password = "hunter2"
        [registry]
        url = "http://r"
        token = "hunter2"
        [database]
        url = "postgres://u:hunter2@db/x"
        admin_url = "postgres://u:hunter2@db:port"
        [database.analytics]
        password = "hunter2"
    "#;
    let loaded = load(
        file,
        &[("FLEET__DATABASE__SEARCH__URL", "nonsense:hunter2")],
    );
    let missing = loaded.config.missing();
    assert!(!missing.is_empty());
    let shown = format!("{loaded:?} {missing:?} {}", Unusable(missing.clone()));
    assert!(!shown.contains("hunter2"), "{shown}");
}

/// A piece of configuration, and what its only line must say.
const ONE_PROBLEM: &[(&str, &[&str])] = &[
    (
        "[kafka]\nbroker = 'x'",
        &["kafka.broker ", "did you mean kafka.brokers"],
    ),
    (
        "[kafak]\nbrokers = 'x'",
        &["kafak.brokers", "did you mean kafka.brokers"],
    ),
    (
        "colour = 'red'",
        &["colour", "FLEET__COLOUR", "did you mean"],
    ),
    ("kafka = 'x'", &["kafka ", "is a section"]),
    (
        "environment = 'production'",
        &["environment", "FLEET__ENVIRONMENT", "\"prod\""],
    ),
    (
        "[kafka]\nsession_timeout_ms = 5000",
        &["kafka.session_timeout_ms", "at least 6000"],
    ),
    (
        "[kafka]\nsession_timeout_ms = 'soon'",
        &["kafka.session_timeout_ms", "a whole number"],
    ),
    (
        "[kafka]\nsession_timeout_ms = -1",
        &["kafka.session_timeout_ms", "a whole number"],
    ),
    (
        "[kafka]\nsession_timeout_ms = 300000",
        &[
            "kafka.session_timeout_ms",
            "less than kafka.max_poll_interval_ms",
        ],
    ),
    (
        "[kafka]\nshutdown = 'now'",
        &["kafka.shutdown", "\"stay\", \"leave\""],
    ),
    (
        "[kafka]\nstart = 'middle'",
        &["kafka.start", "\"earliest\", \"latest\""],
    ),
    (
        "[kafka]\nbrokers = ''",
        &["kafka.brokers", "a list of texts"],
    ),
    (
        "[kafka]\nbrokers = [1]",
        &["kafka.brokers", "a list of texts"],
    ),
    (
        "[kafka]\ngroup_instance_id = 'a b'",
        &["kafka.group_instance_id", "only letters"],
    ),
    (
        "[kafka]\ngroup_protocol = 'consumer'\ngroup_instance_id = 'a'",
        &["kafka.group_instance_id", "\"none\""],
    ),
    (
        "[kafka]\nsasl_user = 'u'",
        &["kafka.sasl_password", "is missing"],
    ),
    (
        "[kafka]\nsecurity = 'plaintext'\nsasl_user = 'u'",
        &["kafka.security", "no authentication", "kafka.sasl_user"],
    ),
    (
        "[kafka]\nsecurity = 'sasl_plaintext'\nsasl_user = 'u'\nsasl_password = 'p'",
        &["kafka.security", "allow_unencrypted_sasl"],
    ),
    (
        "[kafka]\ntls_ca = '/nowhere'",
        &["kafka.tls_ca", "/nowhere", "cannot be read"],
    ),
    (
        "[kafka]\nsasl_mechanism = 'GSSAPI'\nsasl_user = 'u'\nsasl_password = 'p'",
        &["kafka.sasl_mechanism", "SCRAM-SHA-512"],
    ),
    (
        "[registry]\nbundled = true\nurl = 'http://r'",
        &["registry.bundled", "registry.url"],
    ),
    (
        "[registry]\nuser = 'u'",
        &["registry.user", "registry.password"],
    ),
    (
        "[registry]\ntoken = 't'\nuser = 'u'\npassword = 'p'",
        &["registry.token", "registry.user"],
    ),
    (
        "environment = 'prod'\n[registry]\nbundled = true\n[kafka]\nsecurity = 'tls'",
        &["registry.bundled", "must not be true in prod"],
    ),
    ("[engine]\nlanes = 0", &["engine.lanes", "at least 1"]),
    (
        "[engine]\nbatch_events = 60000",
        &["engine.batch_events", "more than engine.budget_events"],
    ),
    (
        "[engine]\nbatch_bytes = 999999999",
        &["engine.batch_bytes", "engine.budget_bytes"],
    ),
    (
        "[engine]\nstatement_timeout_ms = 300000",
        &["engine.statement_timeout_ms", "kafka.max_poll_interval_ms"],
    ),
    (
        "[engine]\ndrain_deadline_s = 300",
        &["engine.drain_deadline_s", "kafka.max_poll_interval_ms"],
    ),
    (
        "[engine]\nlock_timeout_ms = 30000",
        &["engine.lock_timeout_ms", "engine.statement_timeout_ms"],
    ),
    (
        "[engine]\nbackoff_base_ms = 30000",
        &["engine.backoff_base_ms", "engine.backoff_cap_ms"],
    ),
    (
        "[engine]\nflood_ratio = 1.5",
        &["engine.flood_ratio", "share"],
    ),
    (
        "[engine]\nflood_ratio = 0",
        &["engine.flood_ratio", "share"],
    ),
    (
        "[engine]\ninbox_retention_days = 30",
        &[
            "engine.inbox_retention_days",
            "billing.subscriptions",
            "at least 491",
        ],
    ),
    (
        "[engine]\ninbox_retention_days = 'always'",
        &["engine.inbox_retention_days", "\"forever\""],
    ),
    (
        "[http]\nlisten = '9464'",
        &["http.listen", "127.0.0.1:9464"],
    ),
    ("[log]\nformat = 'xml'", &["log.format", "\"json\""]),
    ("[log]\nlevel = 'fleet=loud'", &["log.level", "is no level"]),
    (
        "[database.analytics]\npasword = 'p'",
        &[
            "database.analytics.pasword",
            "did you mean database.analytics.password",
        ],
    ),
    (
        "[database.crm]\nurl = 'postgres://x'",
        &["database.crm.url", "did you mean"],
    ),
];

#[test]
fn each_mistake_is_one_line_that_names_the_setting_and_the_fix() {
    for (file, expected) in ONE_PROBLEM {
        let lines = lines(file, &[]);
        assert_eq!(lines.len(), 1, "{file}\n{lines:#?}");
        assert_eq!(lines[0].lines().count(), 1, "{}", lines[0]);
        for part in *expected {
            assert!(
                lines[0].contains(part),
                "{file}\n{}\nlacks {part}",
                lines[0]
            );
        }
    }
}

#[test]
fn every_mistake_is_listed_and_not_only_the_first() {
    let all: Vec<&str> = vec![
        "[kafka]\nsession_timeout_ms = 400000\nshutdown = 'now'\nbroker = 'x'",
        "[engine]\nlanes = 0\ndrain_deadline_s = 400\nbatch_events = 60000\ninbox_retention_days = 1",
        "[http]\nlisten = 'x'",
    ];
    assert_eq!(lines(&all.join("\n"), &[]).len(), 8);
}

#[test]
fn a_setting_that_cannot_be_read_is_not_complained_about_twice() {
    let file = "[kafka]\nmax_poll_interval_ms = 'x'\nsession_timeout_ms = 400000";
    let lines = lines(file, &[]);
    assert_eq!(lines.len(), 1, "{lines:#?}");
}

#[test]
fn a_file_that_is_missing_or_no_toml_is_an_error_that_names_it() {
    let loaded = Loaded::from_sources(Some(Path::new("/nowhere/fleet.toml")), std::iter::empty());
    assert!(
        loaded.problems[0]
            .to_string()
            .contains("/nowhere/fleet.toml cannot be read")
    );
    let secret = "[kafka]\nbrokers = 'x'\nsasl_password = \"hunter2\n";
    let unfinished = lines(secret, &[]);
    assert!(
        unfinished[0].contains("line 3") && !unfinished[0].contains("hunter2"),
        "{unfinished:?}"
    );
    let lines = lines("[kafka\n", &[]);
    assert!(lines[0].contains("is not TOML at line 1"), "{lines:?}");
    assert_eq!(lines[0].lines().count(), 1);
}

#[test]
fn misspelt_variables_are_unknown_settings_too() {
    let lines = lines(
        SOUND,
        &[
            ("FLEET__KAFKA__BROKRES", "x"),
            ("FLEET__KAFKA_BROKERS", "x"),
        ],
    );
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert!(
        lines
            .iter()
            .all(|line| line.contains("did you mean kafka.brokers (FLEET__KAFKA__BROKERS)"))
    );
    assert!(
        lines
            .iter()
            .any(|line| line.contains("FLEET__KAFKA__BROKRES")),
        "{lines:#?}"
    );
}

#[test]
fn warnings_let_the_configuration_pass_and_errors_do_not() {
    let production = SOUND.replace("staging", "prod");
    let loaded = load(&production, &[]);
    let mut warnings = Vec::new();
    loaded
        .usable(|problem| warnings.push(problem.to_string()))
        .unwrap();
    let about = ["kafka.security", "registry.url", "database.url"];
    assert_eq!(warnings.len(), about.len(), "{warnings:#?}");
    for (warning, key) in warnings.iter().zip(about) {
        assert!(
            warning.starts_with(&format!("warning: {key} ")),
            "{warning}"
        );
    }
    let error = load("[engine]\nlanes = 0", &[]).usable(|_| ()).unwrap_err();
    assert!(error.to_string().contains("engine.lanes"));
}

#[test]
fn the_example_file_has_every_setting_with_its_default() {
    let example = include_str!("../../fleet.example.toml");
    let loaded = load(example, &[]);
    assert_eq!(loaded.problems, []);
    let file = |shown: &&Shown| shown.origin.ends_with("fleet.toml");
    let given: Vec<(&str, &str)> = loaded
        .effective
        .iter()
        .filter(file)
        .map(|shown| (shown.key.as_str(), shown.value.as_str()))
        .collect();
    let defaults = load("", &[]).effective;
    let defaults: Vec<(&str, &str)> = defaults
        .iter()
        .filter(|shown| shown.key != "kafka.group_instance_id")
        .map(|shown| (shown.key.as_str(), shown.value.as_str()))
        .collect();
    assert_eq!(given, defaults);

    let uncommented: String = example
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(setting) if setting.split(' ').nth(1) == Some("=") => format!("{setting}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let unknown: Vec<String> = load(&uncommented, &[])
        .problems
        .iter()
        .map(ToString::to_string)
        .filter(|line| line.contains("is no setting"))
        .collect();
    // Those of [database.analytics], whose heading stays a comment, land in [database].
    assert!(
        unknown.iter().all(|line| line.contains("error: database.")),
        "{unknown:#?}"
    );
}

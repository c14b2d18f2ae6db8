//! `fleet check-config` and how every other subcommand takes a bad configuration.
#![allow(clippy::unwrap_used)]

mod support;

use support::Fleet;

const ENOUGH: &[(&str, &str)] = &[
    ("kafka.brokers", "b:9092"),
    ("registry.url", "http://r:8081"),
    ("database.url", "postgres://db:5432"),
];

#[test]
fn a_sound_configuration_is_shown_with_origins_and_without_secrets() {
    let mut settings = ENOUGH.to_vec();
    settings.extend([
        ("database.analytics.password", "hunter2"),
        ("engine.lanes", "3"),
    ]);
    let fleet = Fleet::new(&settings);
    fleet.write("fleet.toml", "[engine]\nlanes = 2\nlinger_ms = 7\n");
    let said = fleet.run(&["check-config"]).expect(0);
    let line = |key: &str| {
        let found = said
            .out
            .lines()
            .find(|line| line.starts_with(key))
            .unwrap_or_default();
        found.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(
        line("engine.lanes"),
        "engine.lanes = 3 (FLEET__ENGINE__LANES)"
    );
    assert_eq!(
        line("engine.linger_ms"),
        "engine.linger_ms = 7 (fleet.toml)"
    );
    assert_eq!(
        line("engine.batch_events"),
        "engine.batch_events = 5000 (default)"
    );
    let password = "database.analytics.password = *** (FLEET__DATABASE__ANALYTICS__PASSWORD)";
    assert_eq!(line("database.analytics.password"), password);
    assert!(!format!("{}{}", said.out, said.err).contains("hunter2"));
    assert!(
        said.err.ends_with("the configuration can be used\n"),
        "{}",
        said.err
    );
}

#[test]
fn every_problem_is_one_line_and_the_exit_code_is_2() {
    let fleet = Fleet::new(&[("kafka.broker", "b:1"), ("database.url", "nonsense")]);
    fleet.write("fleet.toml", "[engine]\nlanes = 0\nbatch_events = 999999\n");
    let said = fleet.run(&["check-config"]).expect(2);
    let begins = [
        "error: engine.lanes (FLEET__ENGINE__LANES) is 0; it must be at least 1",
        "error: engine.batch_events (FLEET__ENGINE__BATCH_EVENTS) is 999999, but must not be more",
        "error: kafka.broker (FLEET__KAFKA__BROKER) is no setting",
        "error: kafka.brokers (FLEET__KAFKA__BROKERS) is missing",
        "error: registry.url (FLEET__REGISTRY__URL) is missing",
        "error: database.url (FLEET__DATABASE__URL) must begin with postgres://",
        "the configuration cannot be used: 6 errors",
    ];
    assert_eq!(said.err.lines().count(), begins.len(), "{}", said.err);
    for (line, begin) in said.err.lines().zip(begins) {
        assert!(
            line.starts_with(begin),
            "{line}\nshould begin with\n{begin}"
        );
    }
}

#[test]
fn a_tool_that_needs_a_setting_says_so_and_does_nothing() {
    let fleet = Fleet::new(&[]);
    for (arguments, missing) in [
        (&["topics", "apply"][..], "kafka.brokers"),
        (&["schemas", "register"], "registry.url"),
        (&["schemas", "check", "--registry"], "registry.url"),
        (&["migrate"], "database.admin_url"),
    ] {
        let said = fleet.run(arguments).expect(2);
        assert!(
            said.err.contains(missing) && said.err.contains("is missing"),
            "{}",
            said.err
        );
    }
}

#[test]
fn a_contradiction_anywhere_stops_every_tool_that_reads_the_configuration() {
    let mut settings = ENOUGH.to_vec();
    settings.extend([
        ("engine.drain_deadline_s", "400"),
        ("database.admin_url", "postgres://db"),
    ]);
    let fleet = Fleet::new(&settings);
    for arguments in [
        &["topics", "apply"][..],
        &["schemas", "register"],
        &["migrate"],
    ] {
        let said = fleet.run(arguments).expect(2);
        assert!(said.err.contains("engine.drain_deadline_s"), "{}", said.err);
    }
    // What needs no configuration does not care.
    fleet.run(&["schemas", "check"]).expect(0);
    fleet.run(&["topics", "list"]).expect(0);
}

#[test]
fn a_named_file_must_be_there_and_the_usual_one_need_not() {
    let fleet = Fleet::new(ENOUGH);
    fleet.run(&["check-config"]).expect(0);
    let said = fleet
        .run(&["check-config", "--config", "other.toml"])
        .expect(2);
    assert!(
        said.err.contains("other.toml cannot be read"),
        "{}",
        said.err
    );
}

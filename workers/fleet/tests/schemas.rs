//! `fleet schemas` against a real registry, and in a folder like the repository's.
#![allow(clippy::unwrap_used)]

mod support;

use events::EventType;
use std::path::{Path, PathBuf};
use support::Fleet;
use testkit::Registry;

const EVENT: EventType = EventType::CourseFollowed;

fn fleet(registry: &Registry) -> Fleet {
    Fleet::new(&[
        ("registry.url", &registry.url()),
        ("registry.timeout_ms", "20000"),
    ])
}

/// Registers a schema as someone else might.
async fn register_by_hand(registry: &Registry, schema: &serde_json::Value) {
    let subject = EVENT.contract().registry_subject();
    let answer = reqwest::Client::new()
        .post(format!("{}/subjects/{subject}/versions", registry.url()))
        .json(&serde_json::json!({ "schema": schema.to_string() }))
        .send()
        .await
        .unwrap();
    answer.error_for_status().unwrap();
}

#[tokio::test]
async fn every_schema_is_registered_once_and_keeps_its_id() {
    let registry = Registry::start().await.unwrap();
    let fleet = fleet(&registry);
    let count = EventType::ALL.len();

    let said = fleet.run(&["schemas", "register", "--dry-run"]).expect(0);
    assert_eq!(
        said.out.matches("would be registered as v1").count(),
        count,
        "{}",
        said.out
    );
    let first = fleet.run(&["schemas", "register"]).expect(0);
    assert_eq!(
        first.out.matches(" registered, id ").count(),
        count,
        "{}",
        first.out
    );
    let second = fleet.run(&["schemas", "register"]).expect(0);
    assert_eq!(
        second.out,
        first.out.replace(" registered, id ", " already there, id ")
    );
    let said = fleet.run(&["schemas", "register", "--dry-run"]).expect(0);
    assert_eq!(said.out, second.out);

    let said = fleet.run(&["schemas", "check", "--registry"]).expect(0);
    assert_eq!(said.out, "");
    let subject = EVENT.contract().registry_subject();
    let config = reqwest::get(format!("{}/config/{subject}", registry.url()))
        .await
        .unwrap();
    assert!(config.text().await.unwrap().contains("FULL_TRANSITIVE"));
}

#[tokio::test]
async fn a_schema_that_the_registry_cannot_take_is_refused_and_the_others_are_registered() {
    let registry = Registry::start().await.unwrap();
    let fleet = fleet(&registry);
    let mut other: serde_json::Value = serde_json::from_str(EVENT.contract().schema).unwrap();
    other["fields"] = serde_json::json!([{ "name": "shoe_size", "type": "int" }]);
    register_by_hand(&registry, &other).await;

    let said = fleet.run(&["schemas", "check", "--registry"]).expect(1);
    let line = said.out.lines().next().unwrap_or_default();
    let subject = "registry subject progress.learning-com.learnexpert.progress.CourseFollowed: ";
    assert!(
        line.starts_with(subject) && line.contains("shoe_size"),
        "{}",
        said.out
    );
    let said = fleet.run(&["schemas", "register", "--dry-run"]).expect(1);
    assert!(
        said.err
            .contains("COURSE_FOLLOWED: the schema registry refuses"),
        "{}",
        said.err
    );

    let said = fleet.run(&["schemas", "register"]).expect(1);
    assert!(
        said.err
            .contains("COURSE_FOLLOWED: the schema registry refuses"),
        "{}",
        said.err
    );
    assert_eq!(
        said.out.matches(" registered, id ").count(),
        EventType::ALL.len() - 1
    );
}

#[test]
fn a_registry_that_is_down_stops_registering_with_its_address() {
    let fleet = Fleet::new(&[("registry.url", "http://127.0.0.1:1")]);
    let said = fleet.run(&["schemas", "register"]).expect(1);
    assert!(
        said.err.contains("http://127.0.0.1:1: ") && said.err.contains("refused"),
        "{}",
        said.err
    );
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry: PathBuf = entry.unwrap().path();
        let target = to.join(entry.file_name().unwrap());
        if entry.is_dir() {
            copy(&entry, &target);
        } else {
            std::fs::copy(&entry, &target).unwrap();
        }
    }
}

#[test]
fn a_changed_schema_is_checked_and_released_in_the_repositorys_folder() {
    let fleet = Fleet::new(&[]);
    let avro = fleet.folder().join("avro");
    copy(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("../../avro"),
        &avro,
    );
    fleet.run(&["schemas", "check", "--path", "avro"]).expect(0);
    let said = fleet.run(&["schemas", "release"]).expect(0);
    assert_eq!(said.out, "", "nothing has changed");

    let file = avro.join("progress/CourseFollowed.avsc");
    let original = std::fs::read_to_string(&file).unwrap();
    std::fs::write(
        &file,
        original.replace("timestamp-micros", "timestamp-millis"),
    )
    .unwrap();
    let said = fleet.run(&["schemas", "check", "--path", "avro"]).expect(1);
    assert!(said.out.contains("avro/progress/CourseFollowed.avsc: ") && said.out.contains("fix: "));
    let said = fleet.run(&["schemas", "release"]).expect(1);
    assert!(said.err.contains("nothing was released"), "{}", said.err);

    let mut schema: serde_json::Value = serde_json::from_str(&original).unwrap();
    let campaign = serde_json::json!({
        "name": "campaign", "doc": "What led there.", "type": ["null", "string"], "default": null
    });
    schema["fields"].as_array_mut().unwrap().push(campaign);
    std::fs::write(&file, schema.to_string()).unwrap();
    let said = fleet.run(&["schemas", "check", "--path", "avro"]).expect(0);
    assert!(said.err.contains("fleet schemas release"), "{}", said.err);
    let said = fleet.run(&["schemas", "release"]).expect(0);
    assert_eq!(said.out, "avro/released/progress/CourseFollowed/v2.avsc\n");
    fleet.run(&["schemas", "check", "--path", "avro"]).expect(0);
}

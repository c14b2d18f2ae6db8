//! The client against a real registry server.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use events::EventType;
use events::wire::SchemaId;
use publish::registry::{Registry, RegistryError, RegistrySettings};
use std::time::Duration;

const EVENT: EventType = EventType::CourseEnrolled;

fn client(server: &testkit::Registry) -> Registry {
    let mut settings = RegistrySettings::new([server.url()]);
    // The server shares this machine with the rest of the tests.
    settings.timeout = Duration::from_secs(10);
    Registry::connect(&settings).unwrap()
}

async fn put(server: &testkit::Registry, path: &str, body: serde_json::Value) {
    let client = reqwest::Client::new();
    let request = client.put(format!("{}{path}", server.url())).json(&body);
    request.send().await.unwrap().error_for_status().unwrap();
}

/// Registers a schema as another version of the event's record, bypassing the client.
async fn register_by_hand(server: &testkit::Registry, schema: &serde_json::Value) {
    let subject = EVENT.contract().registry_subject();
    let response = reqwest::Client::new()
        .post(format!("{}/subjects/{subject}/versions", server.url()))
        .json(&serde_json::json!({ "schema": schema.to_string() }))
        .send()
        .await
        .unwrap();
    response.error_for_status().unwrap();
}

#[tokio::test]
async fn a_schema_is_unknown_until_it_is_registered_and_keeps_its_id() {
    let server = testkit::Registry::start().await.unwrap();
    let registry = client(&server);
    let error = registry.id_of(EVENT).await.unwrap_err();
    assert!(matches!(error, RegistryError::Unknown(_)), "{error:?}");
    let error = registry.schema_by_id(SchemaId(4711)).await.unwrap_err();
    assert!(matches!(error, RegistryError::Unknown(_)), "{error:?}");
    assert_eq!(registry.versions(EVENT).await.unwrap(), []);

    let id = registry.register(EVENT).await.unwrap();
    assert_eq!(registry.register(EVENT).await.unwrap(), id);
    assert_eq!(registry.id_of(EVENT).await.unwrap(), id);
    assert_eq!(client(&server).id_of(EVENT).await.unwrap(), id);

    let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    let text = registry.schema_by_id(id).await.unwrap();
    assert_eq!(parse(&text), parse(EVENT.contract().schema));
    let versions = registry.versions(EVENT).await.unwrap();
    assert_eq!(versions.len(), 1);
    assert_eq!((versions[0].version, versions[0].id), (1, id));
}

#[tokio::test]
async fn registering_demands_compatibility_and_an_incompatible_schema_is_refused() {
    let server = testkit::Registry::start().await.unwrap();
    let registry = client(&server);
    // Someone has registered a version whose readers would break.
    let mut other: serde_json::Value = serde_json::from_str(EVENT.contract().schema).unwrap();
    other["fields"] = serde_json::json!([{ "name": "shoe_size", "type": "int" }]);
    register_by_hand(&server, &other).await;

    let error = registry.register(EVENT).await.unwrap_err();
    assert!(matches!(error, RegistryError::Refused(_)), "{error:?}");
    assert!(error.to_string().contains("shoe_size"), "{error}");
    assert_eq!(registry.versions(EVENT).await.unwrap().len(), 1);

    let subject = EVENT.contract().registry_subject();
    let config = reqwest::get(format!("{}/config/{subject}", server.url()))
        .await
        .unwrap();
    let config: serde_json::Value = config.json().await.unwrap();
    assert_eq!(config["compatibilityLevel"], "FULL_TRANSITIVE");

    put(
        &server,
        &format!("/config/{subject}"),
        serde_json::json!({ "compatibility": "NONE" }),
    )
    .await;
    let error = registry.register(EVENT).await.unwrap_err();
    assert!(
        matches!(error, RegistryError::Refused(_)),
        "the level is set anew: {error:?}"
    );
}

#[tokio::test]
async fn a_registry_that_is_gone_is_unavailable_and_what_was_asked_before_is_still_known() {
    let mut server = testkit::Registry::start_persistent().await.unwrap();
    let registry = client(&server);
    let known = registry.register(EVENT).await.unwrap();
    let later = registry.register(EventType::UserRegistered).await.unwrap();
    let text = registry.schema_by_id(known).await.unwrap();
    assert_eq!(registry.id_of(EVENT).await.unwrap(), known);

    server.stop().await.unwrap();
    assert_eq!(registry.schema_by_id(known).await.unwrap(), text);
    assert_eq!(registry.id_of(EVENT).await.unwrap(), known);
    let error = registry.schema_by_id(later).await.unwrap_err();
    assert!(matches!(error, RegistryError::Unavailable(_)), "{error:?}");

    server.start_again().await.unwrap();
    registry.schema_by_id(later).await.unwrap();
    assert_eq!(
        registry.id_of(EventType::UserRegistered).await.unwrap(),
        later
    );
}

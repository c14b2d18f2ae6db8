//! What each answer of a schema registry is taken for, and what is remembered.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod scripted;

use events::EventType;
use events::wire::SchemaId;
use publish::Secret;
use publish::registry::{Registry, RegistryAuth, RegistryError, RegistrySettings};
use scripted::Answer::{Nothing, Says};
use scripted::{ScriptedRegistry, client};

const NOT_FOUND: &str = r#"{"error_code":40403,"message":"Schema not found"}"#;
const NO_SUBJECT: &str = r#"{"error_code":40401,"message":"Subject not found"}"#;
const SCHEMA: &str = r#"{"schema":"\"string\""}"#;
const ID: &str = r#"{"subject":"s","version":1,"id":7,"schema":"\"string\""}"#;
const EVENT: EventType = EventType::UserRegistered;

/// An address at which nothing listens.
async fn dead_address() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[tokio::test]
async fn only_the_registrys_own_not_found_means_that_a_schema_is_unknown() {
    let server = ScriptedRegistry::start(Nothing).await;
    let registry = client(&[&server.url]);
    let outages = [
        Nothing,
        Says(200, "no json"),
        Says(200, "{}"),
        Says(200, ""),
        Says(301, NOT_FOUND),
        Says(400, NOT_FOUND),
        Says(401, r#"{"error_code":40101,"message":"who?"}"#),
        Says(403, "{}"),
        Says(404, "<html>no such page</html>"),
        Says(404, r#"{"error_code":404,"message":"HTTP 404 Not Found"}"#),
        Says(404, NO_SUBJECT),
        Says(404, ""),
        Says(409, NOT_FOUND),
        Says(422, NOT_FOUND),
        Says(429, NOT_FOUND),
        Says(500, NOT_FOUND),
        Says(502, "<html>bad gateway</html>"),
        Says(503, NOT_FOUND),
        Says(504, NOT_FOUND),
    ];
    for answer in outages {
        server.now_answers(answer);
        let error = registry.schema_by_id(SchemaId(7)).await.unwrap_err();
        assert!(
            matches!(error, RegistryError::Unavailable(_)),
            "{answer:?} gave {error:?}"
        );
        assert!(error.to_string().contains(&server.url), "{error}");
    }
    server.now_answers(Says(404, NOT_FOUND));
    let error = registry.schema_by_id(SchemaId(7)).await.unwrap_err();
    assert_eq!(
        error,
        RegistryError::Unknown("a schema with id 7".to_owned())
    );
}

#[tokio::test]
async fn a_registry_that_does_not_listen_is_unavailable_and_the_cause_is_named() {
    let registry = client(&[&dead_address().await]);
    let error = registry
        .schema_by_id(SchemaId(7))
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("onnection refused"), "{error}");
}

#[tokio::test]
async fn a_success_is_asked_once_and_a_failure_again_each_time() {
    let server = ScriptedRegistry::start(Says(500, "")).await;
    let registry = client(&[&server.url]);
    for answer in [Says(500, ""), Says(404, NOT_FOUND), Says(504, "")] {
        server.now_answers(answer);
        registry.schema_by_id(SchemaId(7)).await.unwrap_err();
        registry.id_of(EVENT).await.unwrap_err();
    }
    assert_eq!(server.requests().len(), 6);

    server.now_answers(Says(200, SCHEMA));
    assert_eq!(
        registry.schema_by_id(SchemaId(7)).await.unwrap(),
        "\"string\""
    );
    server.now_answers(Says(200, ID));
    assert_eq!(registry.id_of(EVENT).await.unwrap(), SchemaId(7));
    server.now_answers(Says(500, ""));
    assert_eq!(
        registry.clone().schema_by_id(SchemaId(7)).await.unwrap(),
        "\"string\""
    );
    assert_eq!(registry.clone().id_of(EVENT).await.unwrap(), SchemaId(7));
    assert_eq!(server.requests().len(), 8);
}

#[tokio::test]
async fn a_schema_that_is_not_registered_is_named_with_its_subject() {
    let server = ScriptedRegistry::start(Says(404, NO_SUBJECT)).await;
    let registry = client(&[&server.url]);
    for body in [NO_SUBJECT, NOT_FOUND] {
        server.now_answers(Says(404, body));
        let error = registry.id_of(EVENT).await.unwrap_err();
        assert!(matches!(error, RegistryError::Unknown(_)), "{error:?}");
        let subject = "iam.users-com.learnexpert.iam.UserRegistered";
        assert!(error.to_string().contains(subject), "{error}");
    }
    let lookup = "POST /subjects/iam.users-com.learnexpert.iam.UserRegistered?deleted=false";
    assert_eq!(server.requests()[0], lookup);
}

#[tokio::test]
async fn a_subject_that_does_not_exist_has_no_versions() {
    let server = ScriptedRegistry::start(Says(404, NO_SUBJECT)).await;
    let registry = client(&[&server.url]);
    assert_eq!(registry.versions(EVENT).await.unwrap(), []);
    server.now_answers(Says(500, NO_SUBJECT));
    assert!(registry.versions(EVENT).await.is_err());
}

#[tokio::test]
async fn only_registering_can_be_refused() {
    let server =
        ScriptedRegistry::start(Says(409, r#"{"error_code":409,"message":"not so"}"#)).await;
    let registry = client(&[&server.url]);
    let error = registry.id_of(EVENT).await.unwrap_err();
    assert!(matches!(error, RegistryError::Unavailable(_)), "{error:?}");
    // The compatibility is set first, and that is refused here too: nothing may be registered.
    let error = registry.register(EVENT).await.unwrap_err();
    assert!(matches!(error, RegistryError::Unavailable(_)), "{error:?}");
    assert!(
        server
            .requests()
            .last()
            .unwrap()
            .starts_with("PUT /config/iam.users-")
    );
}

#[tokio::test]
async fn the_next_address_is_asked_when_one_is_silent_and_stays_the_first() {
    let dead = dead_address().await;
    let server = ScriptedRegistry::start(Says(200, SCHEMA)).await;
    let registry = client(&[&dead, &server.url]);
    registry.schema_by_id(SchemaId(1)).await.unwrap();
    registry.schema_by_id(SchemaId(2)).await.unwrap();
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn a_schema_is_not_called_unknown_while_another_address_is_silent() {
    let server = ScriptedRegistry::start(Says(404, NOT_FOUND)).await;
    let registry = client(&[&server.url, &dead_address().await]);
    let error = registry.schema_by_id(SchemaId(1)).await.unwrap_err();
    assert!(matches!(error, RegistryError::Unavailable(_)), "{error:?}");

    let second = ScriptedRegistry::start(Says(404, NOT_FOUND)).await;
    let registry = client(&[&server.url, &second.url]);
    let error = registry.schema_by_id(SchemaId(1)).await.unwrap_err();
    assert!(matches!(error, RegistryError::Unknown(_)), "{error:?}");
    second.now_answers(Says(200, SCHEMA));
    registry.schema_by_id(SchemaId(1)).await.unwrap();
}

#[tokio::test]
async fn credentials_go_with_every_kind_of_request() {
    let basic = RegistryAuth::Basic {
        user: "u".to_owned(),
        password: Secret::new("p"),
    };
    let cases = [
        (basic, "Basic dTpw"),
        (RegistryAuth::Token(Secret::new("t")), "Bearer t"),
    ];
    for (auth, header) in cases {
        let server = ScriptedRegistry::start(Says(200, ID)).await;
        let mut settings = RegistrySettings::new([&server.url]);
        settings.auth = auth;
        let registry = Registry::connect(&settings).unwrap();
        registry.schema_by_id(SchemaId(7)).await.unwrap();
        registry.id_of(EVENT).await.unwrap();
        registry.register(EVENT).await.unwrap();
        assert_eq!(server.requests().len(), 4);
        assert_eq!(server.authorizations(), [header; 4]);
    }
}

#[test]
fn addresses_that_cannot_work_are_refused_before_anything_is_asked() {
    for urls in [
        &[][..],
        &["registry:8081"],
        &["ftp://registry"],
        &["http://u:p@registry"],
    ] {
        let error = Registry::connect(&RegistrySettings::new(urls.iter().copied())).unwrap_err();
        assert!(
            matches!(error, RegistryError::Settings(_)),
            "{urls:?} gave {error:?}"
        );
        assert!(!error.to_string().contains("u:p"), "{error}");
    }
    let mut settings = RegistrySettings::new(["https://registry"]);
    settings.ca = Some("/nowhere/ca.pem".into());
    let error = Registry::connect(&settings).unwrap_err().to_string();
    assert!(error.contains("/nowhere/ca.pem"), "{error}");
}

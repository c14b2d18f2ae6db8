//! The real schema registry: it takes and gives schemas, and keeps them if it should.

use std::net::TcpListener;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use testkit::Registry;

const SCHEMA: &str = r#"{"type":"record","name":"Fact","fields":[{"name":"id","type":"string"}]}"#;

async fn register(registry: &Registry, subject: &str) -> Result<i64> {
    let answer: Value = reqwest::Client::new()
        .post(format!("{}/subjects/{subject}/versions", registry.url()))
        .json(&json!({ "schema": SCHEMA }))
        .send()
        .await?
        .error_for_status()?
        .json()
        .await?;
    answer["id"]
        .as_i64()
        .with_context(|| format!("no id in {answer}"))
}

async fn fetch(registry: &Registry, id: i64) -> Result<Value> {
    let answer: Value = reqwest::get(format!("{}/schemas/ids/{id}", registry.url()))
        .await?
        .error_for_status()?
        .json()
        .await?;
    let schema = answer["schema"]
        .as_str()
        .with_context(|| format!("no schema in {answer}"))?;
    Ok(serde_json::from_str(schema)?)
}

#[tokio::test]
async fn a_persistent_registry_keeps_schemas_and_ids_through_a_kill_and_a_stop() -> Result<()> {
    let mut registry = Registry::start_persistent().await?;
    let url = registry.url();
    assert!(url.ends_with("/apis/ccompat/v7"), "{url}");
    let expected: Value = serde_json::from_str(SCHEMA)?;
    let id = register(&registry, "iam.users-Fact").await?;
    assert_eq!(fetch(&registry, id).await?, expected);

    registry.kill().await?;
    registry.start_again().await?;
    assert_eq!(registry.url(), url);
    assert_eq!(fetch(&registry, id).await?, expected);

    registry.stop().await?;
    registry.start_again().await?;
    assert_eq!(fetch(&registry, id).await?, expected);
    assert_eq!(register(&registry, "iam.users-Fact").await?, id);
    Ok(())
}

#[tokio::test]
async fn a_registry_in_memory_is_empty_after_a_restart() -> Result<()> {
    let mut registry = Registry::start().await?;
    register(&registry, "iam.users-Fact").await?;
    registry.stop().await?;
    registry.start_again().await?;
    let subjects: Vec<String> = reqwest::get(format!("{}/subjects", registry.url()))
        .await?
        .json()
        .await?;
    assert_eq!(subjects, Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn a_port_taken_while_the_registry_was_stopped_is_named() -> Result<()> {
    let mut registry = Registry::start().await?;
    let address = registry
        .url()
        .replace("http://", "")
        .replace("/apis/ccompat/v7", "");
    registry.stop().await?;
    let thief = TcpListener::bind(address)?;
    let text = registry.start_again().await.unwrap_err().to_string();
    assert!(
        text.contains("seems to be in use by another process"),
        "{text}"
    );
    drop(thief);
    registry.start_again().await?;
    Ok(())
}

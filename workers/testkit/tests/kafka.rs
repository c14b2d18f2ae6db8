//! The real Kafka broker: it takes and gives records, and keeps them.

use std::net::TcpListener;
use std::time::Duration;

use anyhow::{Context, Result};
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{ClientConfig, Message};
use testkit::{Error, Kafka};

const DEADLINE: Duration = Duration::from_secs(60);

async fn produce(kafka: &Kafka, topic: &str, payload: &str) -> Result<()> {
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", kafka.bootstrap())
        .set("enable.idempotence", "true")
        .create()?;
    let record = FutureRecord::to(topic).key("key").payload(payload);
    producer
        .send(record, DEADLINE)
        .await
        .map_err(|(error, _record)| error)?;
    Ok(())
}

/// Reads `count` records of a topic from its start, as a member of a new group.
async fn consume(kafka: &Kafka, topic: &str, count: usize) -> Result<Vec<String>> {
    let consumer: StreamConsumer = ClientConfig::new()
        .set("bootstrap.servers", kafka.bootstrap())
        .set("group.id", uuid::Uuid::now_v7().to_string())
        .set("auto.offset.reset", "earliest")
        .create()?;
    consumer.subscribe(&[topic])?;
    let mut payloads = Vec::new();
    while payloads.len() < count {
        let record = tokio::time::timeout(DEADLINE, consumer.recv())
            .await
            .context("no record")??;
        payloads.push(String::from_utf8(
            record.payload().context("no payload")?.to_vec(),
        )?);
    }
    Ok(payloads)
}

#[tokio::test]
async fn records_survive_a_kill_and_a_stop_at_the_same_address() -> Result<()> {
    let mut kafka = Kafka::start().await?;
    let (bootstrap, first_pid) = (kafka.bootstrap(), kafka.pid());
    kafka.create_topic("iam.users", 3, &[]).await?;
    produce(&kafka, "iam.users", "first").await?;
    assert_eq!(consume(&kafka, "iam.users", 1).await?, ["first"]);

    kafka.kill().await?;
    assert_eq!(kafka.pid(), None);
    kafka.start_again().await?;
    assert_eq!(kafka.bootstrap(), bootstrap);
    assert_ne!(kafka.pid(), first_pid);
    produce(&kafka, "iam.users", "second").await?;
    assert_eq!(consume(&kafka, "iam.users", 2).await?, ["first", "second"]);

    kafka.stop().await?;
    kafka.start_again().await?;
    assert_eq!(consume(&kafka, "iam.users", 2).await?, ["first", "second"]);
    Ok(())
}

#[tokio::test]
async fn topics_are_created_deleted_and_refused_as_asked() -> Result<()> {
    let kafka = Kafka::builder()
        .property("message.max.bytes", "2000")
        .start()
        .await?;
    kafka
        .create_topic("compacted", 12, &[("cleanup.policy", "compact")])
        .await?;

    let exists = kafka.create_topic("compacted", 12, &[]).await.unwrap_err();
    assert!(matches!(exists, Error::Kafka { .. }), "{exists:?}");
    assert!(
        format!("{exists:?}").contains("create the topic compacted"),
        "{exists:?}"
    );
    let config = kafka
        .create_topic("odd", 1, &[("cleanup.policy", "odd")])
        .await
        .unwrap_err();
    assert!(
        format!("{config:?}").contains("InvalidConfig"),
        "{config:?}"
    );

    produce(&kafka, "compacted", "old").await?;
    kafka.delete_topic("compacted").await?;
    kafka.create_topic("compacted", 1, &[]).await?;
    produce(&kafka, "compacted", "new").await?;
    assert_eq!(consume(&kafka, "compacted", 1).await?, ["new"]);

    let missing = kafka.delete_topic("absent").await.unwrap_err();
    assert!(
        format!("{missing:?}").contains("UnknownTopicOrPartition"),
        "{missing:?}"
    );
    let too_large = produce(&kafka, "compacted", &"x".repeat(3000))
        .await
        .unwrap_err();
    assert!(
        format!("{too_large:?}").contains("MessageSizeTooLarge"),
        "{too_large:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_property_that_the_broker_refuses_shows_in_the_error() {
    let error = Kafka::builder()
        .property("log.retention.ms", "long")
        .start()
        .await
        .unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::ProcessFailed { .. }), "{text}");
    assert!(
        text.contains("Invalid value long for configuration log.retention.ms"),
        "{text}"
    );
}

#[tokio::test]
async fn a_port_taken_while_the_broker_was_stopped_is_named() -> Result<()> {
    let mut kafka = Kafka::start().await?;
    kafka.stop().await?;
    let thief = TcpListener::bind(kafka.bootstrap())?;
    let text = kafka.start_again().await.unwrap_err().to_string();
    assert!(text.contains("Address already in use"), "{text}");
    drop(thief);
    kafka.start_again().await?;
    Ok(())
}

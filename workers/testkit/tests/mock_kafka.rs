//! The mock cluster: a quick broker that fails on demand.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::error::KafkaError;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientConfig, Message};
use testkit::{ApiKey, MockCoordinator, MockKafka, ResponseError};

const DEADLINE: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(500);

fn producer(cluster: &MockKafka, deadline: Duration) -> Result<FutureProducer> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", cluster.bootstrap())
        .set("message.timeout.ms", deadline.as_millis().to_string())
        .set("reconnect.backoff.ms", "10")
        .set("reconnect.backoff.max.ms", "50")
        .set("retry.backoff.ms", "10");
    Ok(config.create()?)
}

async fn send(producer: &FutureProducer, topic: &str) -> Result<(), KafkaError> {
    let record = FutureRecord::to(topic).key("key").payload("payload");
    producer
        .send(record, DEADLINE)
        .await
        .map(|_delivery| ())
        .map_err(|(error, _record)| error)
}

#[tokio::test]
async fn a_record_goes_in_and_comes_out() -> Result<()> {
    let cluster = MockKafka::start(3)?;
    cluster.create_topic("iam.users", 4)?;
    cluster.coordinator(MockCoordinator::Group(String::from("group")), 2)?;
    let producer = producer(&cluster, DEADLINE)?;
    send(&producer, "iam.users").await?;

    let metadata = producer
        .client()
        .fetch_metadata(Some("iam.users"), DEADLINE)?;
    assert_eq!(metadata.brokers().len(), 3);
    assert_eq!(metadata.topics()[0].partitions().len(), 4);

    let consumer: StreamConsumer = ClientConfig::new()
        .set("bootstrap.servers", cluster.bootstrap())
        .set("group.id", "group")
        .set("auto.offset.reset", "earliest")
        .create()?;
    consumer.subscribe(&["iam.users"])?;
    let record = tokio::time::timeout(DEADLINE, consumer.recv())
        .await
        .context("no record")??;
    assert_eq!(record.payload(), Some(&b"payload"[..]));
    Ok(())
}

#[tokio::test]
async fn a_broker_that_is_down_takes_nothing_until_it_is_up_again() -> Result<()> {
    let cluster = MockKafka::start(1)?;
    cluster.create_topic("topic", 1)?;
    send(&producer(&cluster, DEADLINE)?, "topic").await?;

    cluster.broker_down(None)?;
    let error = send(&producer(&cluster, SHORT)?, "topic")
        .await
        .unwrap_err();
    assert_eq!(
        error.rdkafka_error_code(),
        Some(RDKafkaErrorCode::MessageTimedOut)
    );

    cluster.broker_up(Some(1))?;
    send(&producer(&cluster, DEADLINE)?, "topic").await?;
    Ok(())
}

#[tokio::test]
async fn answers_are_as_slow_as_asked() -> Result<()> {
    let cluster = MockKafka::start(1)?;
    cluster.create_topic("topic", 1)?;
    let producer = producer(&cluster, DEADLINE)?;
    send(&producer, "topic").await?;

    cluster.round_trip_time(Some(1), SHORT)?;
    let before = Instant::now();
    send(&producer, "topic").await?;
    assert!(before.elapsed() >= SHORT, "{:?}", before.elapsed());
    Ok(())
}

#[tokio::test]
async fn queued_errors_are_answered_until_they_are_cleared() -> Result<()> {
    let cluster = MockKafka::start(1)?;
    cluster.create_topic("topic", 1)?;
    let producer = producer(&cluster, DEADLINE)?;
    send(&producer, "topic").await?;

    let too_large = ResponseError::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
    cluster.request_errors(ApiKey::Produce, &[too_large, too_large])?;
    let error = send(&producer, "topic").await.unwrap_err();
    assert_eq!(
        error.rdkafka_error_code(),
        Some(RDKafkaErrorCode::MessageSizeTooLarge)
    );

    cluster.clear_request_errors(ApiKey::Produce)?;
    send(&producer, "topic").await?;
    Ok(())
}

#[tokio::test]
async fn a_partition_without_a_leader_takes_nothing_until_it_has_one() -> Result<()> {
    let cluster = MockKafka::start(2)?;
    cluster.create_topic("topic", 1)?;
    cluster.partition_leader("topic", 0, None)?;
    let error = send(&producer(&cluster, SHORT)?, "topic")
        .await
        .unwrap_err();
    assert_eq!(
        error.rdkafka_error_code(),
        Some(RDKafkaErrorCode::MessageTimedOut)
    );

    cluster.partition_leader("topic", 0, Some(2))?;
    send(&producer(&cluster, DEADLINE)?, "topic").await?;
    Ok(())
}

#[tokio::test]
async fn a_topic_error_is_seen_by_every_client() -> Result<()> {
    let cluster = MockKafka::start(1)?;
    cluster.create_topic("topic", 1)?;
    let denied = ResponseError::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    cluster.topic_error("topic", denied)?;
    let client = producer(&cluster, DEADLINE)?;
    let metadata = client.client().fetch_metadata(Some("topic"), DEADLINE)?;
    assert_eq!(metadata.topics()[0].error(), Some(denied));
    Ok(())
}

#[tokio::test]
async fn the_cluster_can_be_used_from_many_threads() -> Result<()> {
    let cluster = std::sync::Arc::new(MockKafka::start(1)?);
    let threads: Vec<_> = (0..8)
        .map(|number| {
            let cluster = std::sync::Arc::clone(&cluster);
            std::thread::spawn(move || cluster.create_topic(&format!("topic-{number}"), 1))
        })
        .collect();
    for thread in threads {
        thread.join().unwrap()?;
    }
    let error = cluster.create_topic("topic-0", 1).unwrap_err();
    assert!(
        format!("{error:?}").starts_with("could not create the topic topic-0"),
        "{error:?}"
    );
    Ok(())
}

//! The producer against a broker: a mock cluster for failures, a real one for the whole path.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod murmur2;

use chrono::{TimeZone, Utc};
use events::{
    CourseFollowed, Envelope, Event, EventType, FollowTarget, Json, Payload, WriterSchema, wire,
};
use publish::registry::{Registry, RegistrySettings};
use publish::{
    Compression, Fault, KafkaSettings, Meta, OutgoingEvent, ProducerSettings, PublishError,
    Publisher,
};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::path::Path;
use std::time::{Duration, Instant};
use testkit::{ApiKey, Kafka, MockKafka, ResponseError};
use uuid::Uuid;

const TOPIC: &str = "progress.learning";
const PATIENCE: Duration = Duration::from_secs(30);

fn followed(user_id: Uuid) -> CourseFollowed {
    CourseFollowed {
        user_id,
        company_id: None,
        course_id: None,
        course_version_id: None,
        follow_target: FollowTarget::Category,
        followed_id: Uuid::from_u128(7),
        followed_at: Utc
            .timestamp_opt(1_780_000_000, 123_456_000)
            .unwrap()
            .into(),
    }
}

fn quick(delivery_timeout: Duration) -> ProducerSettings {
    ProducerSettings {
        delivery_timeout,
        linger: Duration::ZERO,
        ..ProducerSettings::default()
    }
}

fn publisher(brokers: &str, settings: &ProducerSettings) -> Publisher {
    let kafka = KafkaSettings::plaintext(brokers);
    Publisher::with_settings(&kafka, Registry::bundled(), "progress-service", settings).unwrap()
}

fn mock() -> (MockKafka, String) {
    let mock = MockKafka::start(1).unwrap();
    mock.create_topic(TOPIC, 12).unwrap();
    let bootstrap = mock.bootstrap().to_owned();
    (mock, bootstrap)
}

/// Reads one record back.
fn read<T>(brokers: &str, at: (&str, i32, i64), look: impl FnOnce(&BorrowedMessage<'_>) -> T) -> T {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "reader")
        .set("enable.auto.commit", "false")
        .create()
        .unwrap();
    let mut assignment = TopicPartitionList::new();
    assignment
        .add_partition_offset(at.0, at.1, Offset::Offset(at.2))
        .unwrap();
    consumer.assign(&assignment).unwrap();
    let record = consumer.poll(PATIENCE).expect("a record").unwrap();
    assert_eq!((record.partition(), record.offset()), (at.1, at.2));
    look(&record)
}

fn envelope(record: &BorrowedMessage<'_>) -> Envelope {
    let headers = record.headers().unwrap();
    Envelope::from_headers(headers.iter().map(|header| (header.key, header.value))).unwrap()
}

#[tokio::test]
async fn what_is_published_is_what_readers_decode() {
    let kafka = Kafka::start().await.unwrap();
    let server = testkit::Registry::start().await.unwrap();
    kafka.create_topic(TOPIC, 12, &[]).await.unwrap();
    let mut settings = RegistrySettings::new([server.url()]);
    settings.timeout = PATIENCE;
    let registry = Registry::connect(&settings).unwrap();
    let publisher = Publisher::new(
        &KafkaSettings::plaintext(&kafka.bootstrap()),
        registry.clone(),
        "progress-service",
    )
    .unwrap();
    let payload = followed(Uuid::from_u128(0x0198_b0e2_7c00_7000_8000_0000_0000_00aa));
    let time = Utc.timestamp_opt(1_780_000_001, 5_000).unwrap();
    let meta = Meta::new()
        .time(time)
        .correlation_id("order-1")
        .causation_id("cause-1")
        .traceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");

    let error = publisher
        .publish(payload.clone(), meta.clone())
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("fleet schemas register"),
        "{error}"
    );
    assert_eq!(error.fault(), Fault::Environment);

    registry.register(EventType::CourseFollowed).await.unwrap();
    let published = publisher
        .publish(payload.clone(), meta.clone())
        .await
        .unwrap();
    assert_eq!(
        (published.id, published.topic, published.offset),
        (meta.id(), TOPIC, 0)
    );
    assert_eq!(
        published.partition,
        murmur2::partition(&payload.user_id.to_string(), 12)
    );

    let (envelope, key, value) = read(
        &kafka.bootstrap(),
        (TOPIC, published.partition, 0),
        |record| {
            (
                envelope(record),
                record.key().unwrap().to_vec(),
                record.payload().unwrap().to_vec(),
            )
        },
    );
    assert_eq!(envelope.id, meta.id());
    assert_eq!(envelope.time, time);
    assert_eq!(envelope.source, "progress-service");
    assert_eq!(envelope.subject, payload.followed_id.to_string());
    assert_eq!(envelope.correlation_id.as_deref(), Some("order-1"));
    assert_eq!(envelope.causation_id.as_deref(), Some("cause-1"));
    assert!(envelope.traceparent.is_some());
    let (id, datum) = wire::split(Some(&value)).unwrap();
    let schema = WriterSchema::parse(&registry.schema_by_id(id).await.unwrap()).unwrap();
    let event = Event::decode(envelope, &schema, datum, Json::Unwanted).unwrap();
    event.check_key(Some(&key)).unwrap();
    assert_eq!(event.payload, Some(Payload::from(payload)));
}

/// Hashes that other implementations publish for the same texts.
#[test]
fn the_reference_hash_agrees_with_the_java_clients_own_test_vectors() {
    let vectors = [
        ("21", -973_932_308),
        ("foobar", -790_332_482),
        ("a-little-bit-long-string", -985_981_536),
        ("a-little-bit-longer-string", -1_486_304_829),
        (
            "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
            -58_897_971,
        ),
        ("abc", 479_470_107),
    ];
    for (text, hash) in vectors {
        assert_eq!(murmur2::murmur2(text.as_bytes()), hash, "{text}");
    }
}

#[tokio::test]
async fn a_key_goes_to_the_partition_where_a_java_client_would_put_it() {
    let (_mock, brokers) = mock();
    let publisher = publisher(&brokers, &quick(PATIENCE));
    // As computed by `Utils.toPositive(Utils.murmur2(key)) % 12` of kafka-clients 4.1.2.
    let golden = [
        ("00000000-0000-0000-0000-000000000000", 9),
        ("019cad9c-9140-7210-b10c-3412994f89ce", 9),
        ("0198b0e2-7c00-7000-8000-0000000000aa", 1),
        ("0199b964-9200-7168-8cdd-91548c5a8c87", 9),
        ("ffffffff-ffff-ffff-ffff-ffffffffffff", 6),
    ];
    for (key, partition) in golden {
        let payload = followed(Uuid::try_parse(key).unwrap());
        let published = publisher.publish(payload, Meta::new()).await.unwrap();
        assert_eq!(published.partition, murmur2::partition(key, 12), "{key}");
        assert_eq!(published.partition, partition, "{key}");
    }
    for n in 0..100_u128 {
        let key = Uuid::from_u128(n.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835));
        let published = publisher.publish(followed(key), Meta::new()).await.unwrap();
        assert_eq!(
            published.partition,
            murmur2::partition(&key.to_string(), 12),
            "{key}"
        );
    }
}

#[tokio::test]
async fn events_of_one_key_that_are_sent_at_once_stay_in_order() {
    let (_mock, brokers) = mock();
    let publisher = publisher(&brokers, &quick(PATIENCE));
    let mut acks = Vec::new();
    for _ in 0..500 {
        acks.push(
            publisher
                .send(followed(Uuid::from_u128(1)), Meta::new())
                .await
                .unwrap(),
        );
    }
    let mut offsets = Vec::new();
    for ack in acks {
        offsets.push(ack.await.unwrap().offset);
    }
    assert_eq!(offsets, (0..500).collect::<Vec<i64>>());
}

#[tokio::test]
async fn errors_of_the_broker_that_pass_are_retried_without_a_second_copy() {
    let (mock, brokers) = mock();
    let publisher = publisher(&brokers, &quick(PATIENCE));
    let transient = [ResponseError::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT; 3];
    mock.request_errors(ApiKey::Produce, &transient).unwrap();
    let key = Uuid::from_u128(1);
    assert_eq!(
        publisher
            .publish(followed(key), Meta::new())
            .await
            .unwrap()
            .offset,
        0
    );
    assert_eq!(
        publisher
            .publish(followed(key), Meta::new())
            .await
            .unwrap()
            .offset,
        1
    );
}

#[tokio::test]
async fn a_broker_that_is_down_gives_an_error_that_says_so_and_the_same_meta_goes_again() {
    let (mock, brokers) = mock();
    let publisher = publisher(&brokers, &quick(Duration::from_secs(1)));
    mock.broker_down(None).unwrap();
    let meta = Meta::new();
    let error = publisher
        .publish(followed(Uuid::nil()), meta.clone())
        .await
        .unwrap_err();
    assert_eq!(error.fault(), Fault::Environment);
    assert!(
        matches!(error, PublishError::NotAcknowledged { id, .. } if id == meta.id()),
        "{error}"
    );
    let text = error.to_string();
    assert!(
        text.contains("timed out") && text.contains("last trouble"),
        "{text}"
    );

    mock.broker_up(None).unwrap();
    let published = testkit::eventually(PATIENCE, "the event is stored", async || {
        publisher
            .publish(followed(Uuid::nil()), meta.clone())
            .await
            .map(Some)
    })
    .await
    .unwrap();
    assert_eq!(published.id, meta.id());
}

#[tokio::test]
async fn a_topic_that_does_not_exist_names_the_command_that_creates_it() {
    let kafka = Kafka::start().await.unwrap();
    let publisher = publisher(&kafka.bootstrap(), &quick(PATIENCE));
    let error = publisher
        .publish(followed(Uuid::nil()), Meta::new())
        .await
        .unwrap_err();
    let expected = "the topic progress.learning does not exist; run `fleet topics apply`";
    assert_eq!(error.to_string(), expected);
    assert_eq!(error.fault(), Fault::Environment);
}

#[tokio::test]
async fn an_event_that_is_too_large_is_the_events_fault() {
    let (_mock, brokers) = mock();
    let publisher = publisher(&brokers, &quick(PATIENCE));
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../avro/examples/COURSE_ENROLLED.json");
    let mut json: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    json["course_title"] = "x".repeat(2_000_000).into();
    let event = OutgoingEvent::from_json("COURSE_ENROLLED", &json, Meta::new(), "s").unwrap();
    let outcome = match publisher.send_event(&event).await {
        Ok(ack) => ack.await,
        Err(error) => Err(error),
    };
    let error = outcome.unwrap_err();
    assert!(matches!(error, PublishError::TooLarge { .. }), "{error}");
    assert_eq!(error.fault(), Fault::Event);
}

#[tokio::test]
async fn what_was_handed_over_is_stored_when_the_publisher_is_dropped_or_closed() {
    let (_mock, brokers) = mock();
    let lingering = ProducerSettings {
        linger: Duration::from_secs(60),
        delivery_timeout: Duration::from_secs(120),
        compression: Compression::None,
    };
    for close in [false, true] {
        let publisher = publisher(&brokers, &lingering);
        let started = Instant::now();
        let ack = publisher
            .send(followed(Uuid::nil()), Meta::new())
            .await
            .unwrap();
        if close {
            publisher.close(PATIENCE).await.unwrap();
            let published = ack.await.unwrap();
            assert_eq!(published.offset, 1);
        } else {
            drop(ack);
            drop(publisher);
        }
        assert!(
            started.elapsed() < Duration::from_secs(30),
            "nothing waits for the linger time"
        );
    }
    let stored = read(
        &brokers,
        (TOPIC, murmur2::partition(&Uuid::nil().to_string(), 12), 0),
        envelope,
    );
    assert_eq!(stored.event_type, "COURSE_FOLLOWED");
}

#[tokio::test]
async fn dropping_a_publisher_ends_within_a_bound_when_no_broker_answers() {
    let (mock, brokers) = mock();
    let publisher = publisher(&brokers, &quick(Duration::from_secs(300)));
    mock.broker_down(None).unwrap();
    let ack = publisher
        .send(followed(Uuid::nil()), Meta::new())
        .await
        .unwrap();
    let error = publisher
        .clone()
        .close(Duration::from_millis(100))
        .await
        .unwrap_err();
    assert!(
        matches!(error, PublishError::Unflushed { unsent: 1, .. }),
        "{error}"
    );
    let started = Instant::now();
    drop(ack);
    drop(publisher);
    let waited = started.elapsed();
    assert!(waited < Duration::from_secs(10), "{waited:?}");
}

#[test]
fn settings_that_cannot_work_are_refused_at_once() {
    let registry = Registry::bundled;
    let kafka = KafkaSettings::plaintext("localhost:9092");
    assert!(matches!(
        Publisher::new(&kafka, registry(), ""),
        Err(PublishError::Attribute(_))
    ));
    let mut kafka = kafka;
    kafka.security = publish::Security::Tls(publish::Tls {
        ca: Some("/nowhere.pem".into()),
        ..publish::Tls::default()
    });
    let error = Publisher::new(&kafka, registry(), "s").err().unwrap();
    assert!(error.to_string().contains("/nowhere.pem"), "{error}");
}

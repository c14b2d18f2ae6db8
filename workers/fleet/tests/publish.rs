//! `fleet publish` against a real broker and registry, read back as a worker reads.
#![allow(clippy::unwrap_used)]

mod support;

use events::{Envelope, Event, EventType, Json, Payload, WriterSchema, plain_json, wire};
use publish::registry::RegistrySettings;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message, OwnedMessage};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};
use support::Fleet;
use testkit::{Kafka, Registry};

const PATIENCE: Duration = Duration::from_secs(30);

fn example(event: EventType) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = path.join(format!("../../avro/examples/{event}.json"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Every event of the platform once.
fn one_of_each() -> Vec<Value> {
    EventType::ALL
        .into_iter()
        .map(|event| {
            json!({
                "type": event.contract().name,
                "payload": example(event),
                "aggregate_version": 1,
                "correlation_id": "test-run"
            })
        })
        .collect()
}

/// Everything that stands in the topics, by event name.
fn read_back(brokers: &str, expected: usize) -> BTreeMap<String, (Envelope, OwnedMessage)> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "reader")
        .set("auto.offset.reset", "earliest")
        .create()
        .unwrap();
    let topics: Vec<&str> = events::catalogue::TOPICS
        .iter()
        .map(|topic| topic.name)
        .collect();
    consumer.subscribe(&topics).unwrap();
    let mut found = BTreeMap::new();
    let last_moment = Instant::now() + PATIENCE;
    while found.len() < expected {
        assert!(
            Instant::now() < last_moment,
            "{} of {expected} events in time",
            found.len()
        );
        // A poll also ends without a record when the assignment has changed.
        let Some(record) = consumer.poll(Duration::from_secs(1)) else {
            continue;
        };
        let record = record.unwrap().detach();
        let headers = record.headers().unwrap().iter().map(|h| (h.key, h.value));
        let envelope = Envelope::from_headers(headers).unwrap();
        found.insert(envelope.event_type.clone(), (envelope, record));
    }
    found
}

#[tokio::test]
async fn events_from_a_file_reach_their_topics_and_decode_to_what_was_written() {
    let kafka = Kafka::start().await.unwrap();
    let server = Registry::start().await.unwrap();
    let fleet = Fleet::new(&[
        ("kafka.brokers", &kafka.bootstrap()),
        ("registry.url", &server.url()),
        ("registry.timeout_ms", "20000"),
    ]);
    fleet.write("events.json", &Value::from(one_of_each()).to_string());
    let count = EventType::ALL.len();

    let said = fleet.run(&["publish", "events.json"]).expect(1);
    assert!(
        said.err.contains("run `fleet schemas register`"),
        "{}",
        said.err
    );
    assert!(
        said.err.contains(&format!("0 of {count} events published")),
        "{}",
        said.err
    );
    fleet.run(&["schemas", "register"]).expect(0);
    let said = fleet.run(&["publish", "events.json"]).expect(1);
    assert!(
        said.err.contains("run `fleet topics apply`"),
        "{}",
        said.err
    );
    fleet.run(&["topics", "apply"]).expect(0);

    let said = fleet.run(&["publish", "events.json"]).expect(0);
    assert_eq!(said.out.lines().count(), count, "{}", said.out);
    let registry = publish::registry::Registry::connect(&RegistrySettings {
        timeout: PATIENCE,
        ..RegistrySettings::new([server.url()])
    })
    .unwrap();
    let found = read_back(&kafka.bootstrap(), count);
    for event in EventType::ALL {
        let (envelope, record) = &found[event.contract().name];
        assert_eq!(record.topic(), event.contract().topic.name);
        assert_eq!(envelope.source, "fleet");
        assert_eq!(envelope.correlation_id.as_deref(), Some("test-run"));
        let (topic, partition, offset) = (record.topic(), record.partition(), record.offset());
        let line = format!("{topic}[{partition}]@{offset} {event} {}", envelope.id);
        assert!(
            said.out.lines().any(|said| said == line),
            "{line}\nis not in\n{}",
            said.out
        );
        let (id, datum) = wire::split(record.payload()).unwrap();
        let schema = WriterSchema::parse(&registry.schema_by_id(id).await.unwrap()).unwrap();
        let decoded = Event::decode(envelope.clone(), &schema, datum, Json::Unwanted).unwrap();
        decoded.check_key(record.key()).unwrap();
        let written: Payload = plain_json::read(event, &example(event)).unwrap();
        assert_eq!(decoded.payload, Some(written), "{event}");
    }
}

#[test]
fn nothing_is_sent_when_one_event_is_wrong() {
    // A broker that would be needed to send anything is not there.
    let fleet = Fleet::new(&[
        ("kafka.brokers", "127.0.0.1:1"),
        ("registry.bundled", "true"),
    ]);
    let mut events = one_of_each();
    events[3]["payload"]["shoe_size"] = 44.into();
    events[5]["type"] = "NONSENSE".into();
    let lines: Vec<String> = events.iter().map(ToString::to_string).collect();
    fleet.write("events.jsonl", &lines.join("\n"));
    let said = fleet.run(&["publish", "events.jsonl"]).expect(1);
    assert_eq!(said.out, "");
    let lines: Vec<&str> = said.err.lines().collect();
    assert!(
        lines[0].starts_with("events.jsonl: event 4 (") && lines[0].contains("payload.shoe_size")
    );
    assert!(lines[1].starts_with("events.jsonl: event 6 (NONSENSE): type: no event is called"));
    assert_eq!(lines[2], "nothing was published: 2 problems");
}

#[test]
fn a_dry_run_needs_no_server_and_takes_standard_input() {
    let fleet = Fleet::new(&[]);
    let input = one_of_each()[0].to_string();
    let said = fleet
        .run_with_input(&["publish", "-", "--dry-run"], &input)
        .expect(0);
    let event = EventType::ALL[0];
    let key = example(event)[event.contract().key_field]
        .as_str()
        .unwrap()
        .to_owned();
    let begin = format!("{} key {key} {event} ", event.contract().topic.name);
    assert!(said.out.starts_with(&begin), "{}", said.out);
    let said = fleet
        .run_with_input(&["publish", "-", "--dry-run"], "{")
        .expect(1);
    assert!(
        said.err.starts_with("standard input: is not JSON: "),
        "{}",
        said.err
    );
    let said = fleet.run(&["publish", "nowhere.json"]).expect(1);
    assert!(
        said.err.starts_with("nowhere.json cannot be read"),
        "{}",
        said.err
    );
}

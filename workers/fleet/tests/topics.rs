//! `fleet topics` against a real broker.
#![allow(clippy::unwrap_used)]

mod support;

use events::catalogue::{DEAD_LETTER, TOPICS};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use std::collections::BTreeMap;
use std::time::Duration;
use support::Fleet;
use testkit::Kafka;

/// The settings of a topic, as the broker has them.
async fn settings(kafka: &Kafka, topic: &str) -> BTreeMap<String, String> {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", kafka.bootstrap())
        .create()
        .unwrap();
    let topic = [ResourceSpecifier::Topic(topic)];
    let mut answers = admin
        .describe_configs(&topic, &AdminOptions::new())
        .await
        .unwrap();
    let entries = answers.remove(0).unwrap().entries;
    entries
        .into_iter()
        .filter_map(|entry| Some((entry.name, entry.value?)))
        .collect()
}

fn partitions(kafka: &Kafka) -> BTreeMap<String, usize> {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", kafka.bootstrap())
        .create()
        .unwrap();
    let metadata = admin
        .inner()
        .fetch_metadata(None, Duration::from_secs(30))
        .unwrap();
    let topics = metadata.topics().iter();
    topics
        .map(|topic| (topic.name().to_owned(), topic.partitions().len()))
        .collect()
}

fn fleet(kafka: &Kafka) -> Fleet {
    Fleet::new(&[("kafka.brokers", &kafka.bootstrap())])
}

#[tokio::test]
async fn missing_topics_are_created_once_and_a_second_run_changes_nothing() {
    let kafka = Kafka::start().await.unwrap();
    let fleet = fleet(&kafka);
    let count = TOPICS.len() + DEAD_LETTER.groups.len();

    let said = fleet.run(&["topics", "apply", "--dry-run"]).expect(0);
    assert_eq!(
        said.out.matches("would be created").count(),
        count,
        "{}",
        said.out
    );
    assert!(partitions(&kafka).is_empty(), "a dry run changes nothing");

    let said = fleet.run(&["topics", "apply"]).expect(0);
    assert_eq!(
        said.out
            .matches(": created: 12 partitions, 1 replicas")
            .count(),
        count,
        "{}",
        said.out
    );
    let there = testkit::eventually(Duration::from_secs(30), "all topics", async || {
        let there = partitions(&kafka);
        anyhow::Ok((there.len() == count).then_some(there))
    })
    .await
    .unwrap();
    for topic in &TOPICS {
        assert_eq!(
            there[topic.name],
            usize::try_from(topic.partitions).unwrap()
        );
        let settings = settings(&kafka, topic.name).await;
        assert_eq!(
            settings["retention.ms"],
            topic.retention.as_millis().to_string()
        );
        assert_eq!(settings["cleanup.policy"], topic.cleanup_policy);
    }
    let dead_letters = settings(&kafka, "learnexpert.analytics.dlq").await;
    assert_eq!(
        dead_letters["retention.ms"],
        DEAD_LETTER.retention.as_millis().to_string()
    );

    let said = fleet.run(&["topics", "apply"]).expect(0);
    assert_eq!(
        said.out
            .matches("has the settings that it should have")
            .count(),
        count,
        "{}",
        said.out
    );
}

#[tokio::test]
async fn settings_that_drifted_are_corrected_and_partitions_are_left_alone() {
    let kafka = Kafka::start().await.unwrap();
    let own = [
        ("retention.ms", "604800000"),
        ("max.message.bytes", "2000000"),
    ];
    kafka.create_topic("iam.users", 12, &own).await.unwrap();
    let compacted = [("cleanup.policy", "compact")];
    kafka
        .create_topic("catalog.courses", 6, &compacted)
        .await
        .unwrap();
    let fleet = fleet(&kafka);

    for (arguments, what) in [
        (&["topics", "apply", "--dry-run"][..], "would be changed"),
        (&["topics", "apply"], "changed"),
    ] {
        let said = fleet.run(arguments).expect(1);
        let users =
            format!("iam.users: {what}: retention.ms 604800000 (7 days) -> 2592000000 (30 days)\n");
        assert!(said.out.contains(&users), "{}", said.out);
        let courses = format!("catalog.courses: {what}: cleanup.policy compact -> delete");
        assert!(said.out.contains(&courses), "{}", said.out);
        let refusal =
            "catalog.courses: has 6 partitions, topics/catalog.courses.toml says 12; left alone";
        assert!(said.err.contains(refusal), "{}", said.err);
    }
    let users = testkit::eventually(Duration::from_secs(30), "the change", async || {
        let users = settings(&kafka, "iam.users").await;
        anyhow::Ok((users["retention.ms"] == "2592000000").then_some(users))
    })
    .await
    .unwrap();
    assert_eq!(
        users["max.message.bytes"], "2000000",
        "a setting of the topic's own is kept"
    );
    assert_eq!(
        settings(&kafka, "catalog.courses").await["cleanup.policy"],
        "delete"
    );
    assert_eq!(partitions(&kafka)["catalog.courses"], 6);

    let said = fleet.run(&["topics", "apply"]).expect(1);
    assert!(!said.out.contains("changed"), "{}", said.out);
    assert!(
        said.err.contains("catalog.courses: has 6 partitions"),
        "still said: {}",
        said.err
    );
}

#[tokio::test]
async fn more_replicas_than_brokers_are_an_error_for_each_topic() {
    let kafka = Kafka::start().await.unwrap();
    let said = fleet(&kafka)
        .run(&["topics", "apply", "--replication-factor", "3"])
        .expect(1);
    assert!(
        said.err.contains("iam.users: not created: "),
        "{}",
        said.err
    );
    assert!(
        said.err.to_lowercase().contains("replication factor"),
        "{}",
        said.err
    );
}

#[test]
fn the_list_shows_every_event_under_its_topic() {
    let said = Fleet::new(&[]).run(&["topics", "list"]).expect(0);
    for event in events::EventType::ALL {
        assert!(said.out.contains(event.contract().name), "{event}");
    }
    assert!(said.out.contains("learnexpert.analytics.dlq"));
}

#[test]
fn a_reader_that_goes_away_does_not_break_a_tool_off() {
    assert_eq!(Fleet::new(&[]).run_unread(&["topics", "list"]), 0);
}

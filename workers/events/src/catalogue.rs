//! What `topics/` says: which topic carries an event, what its key is, how long it is kept.

pub use crate::generated::{DEAD_LETTER, TOPICS};
use crate::{EventType, Payload};
use std::fmt;

/// One topic of the platform.
#[derive(Debug)]
pub struct Topic {
    /// The topic's name in Kafka; no prefixes, one cluster per environment.
    pub name: &'static str,
    /// What it carries, for people.
    pub description: &'static str,
    /// What the key means and what therefore stays in order.
    pub key: &'static str,
    /// Number of partitions; never grown in place, since that would move keys.
    pub partitions: i32,
    /// How long records are kept.
    pub retention: Retention,
    /// Kafka's `cleanup.policy`.
    pub cleanup_policy: &'static str,
    /// The services that publish here.
    pub written_by: &'static [&'static str],
    /// The workers that read here.
    pub read_by: &'static [&'static str],
    /// The events carried.
    pub events: &'static [EventType],
}

/// The dead letter topic that every consumer group has.
#[derive(Debug)]
pub struct DeadLetterTopic {
    /// The pattern of the name: `<group>.dlq`.
    pub name: &'static str,
    /// What it carries, for people.
    pub description: &'static str,
    /// Number of partitions.
    pub partitions: i32,
    /// How long dead letters are kept, and so how long they can be replayed.
    pub retention: Retention,
    /// Kafka's `cleanup.policy`.
    pub cleanup_policy: &'static str,
    /// The consumer groups that have one.
    pub groups: &'static [&'static str],
}

/// How long a topic keeps its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// This many days.
    Days(u32),
    /// For ever.
    Unlimited,
}

impl Retention {
    /// Kafka's `retention.ms`: milliseconds, or -1 for unlimited.
    pub fn as_millis(self) -> i64 {
        match self {
            Self::Days(days) => i64::from(days) * 24 * 60 * 60 * 1000,
            Self::Unlimited => -1,
        }
    }
}

impl fmt::Display for Retention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Days(days) => write!(f, "{days} days"),
            Self::Unlimited => f.write_str("unlimited"),
        }
    }
}

/// What `avro/` and `topics/` say of one event.
#[derive(Debug)]
pub struct EventContract {
    /// The platform's name of the event: `USER_REGISTERED`.
    pub name: &'static str,
    /// The topic that carries it.
    pub topic: &'static Topic,
    /// The full name of its Avro record.
    pub record: &'static str,
    /// Where its schema stands in the repository.
    pub schema_file: &'static str,
    /// The schema, as the file has it.
    pub schema: &'static str,
    /// One believable payload in plain JSON, for producers and for trying things out.
    pub example: &'static str,
    /// The field whose value is the Kafka key.
    pub key_field: &'static str,
    /// The field whose value is `ce_subject`.
    pub subject_field: &'static str,
    /// Whether `ce_aggregateversion` is required, because readers keep only the newest state.
    pub carries_state: bool,
}

impl EventContract {
    /// The example as a typed payload.
    ///
    /// # Errors
    /// The example does not fit the schema; a test over all contracts keeps that from happening.
    pub fn example_payload(&self) -> Result<Payload, crate::plain_json::Mismatch> {
        let event_type = EventType::from_name(self.name);
        let json = serde_json::from_str(self.example);
        match (event_type, json) {
            (Some(event_type), Ok(json)) => crate::plain_json::read(event_type, &json),
            _ => Err(crate::plain_json::Mismatch {
                event: self.name,
                file: self.schema_file,
                problems: Vec::new(),
            }),
        }
    }

    /// The registry subject, by `TopicRecordNameStrategy`: topic, dash, record.
    pub fn registry_subject(&self) -> String {
        format!("{}-{}", self.topic.name, self.record)
    }
}

/// The topic of that name, if the platform has it.
pub fn topic(name: &str) -> Option<&'static Topic> {
    TOPICS.iter().find(|topic| topic.name == name)
}

/// The name of a consumer group's dead letter topic.
pub fn dead_letter_topic(group: &str) -> String {
    DEAD_LETTER.name.replace("<group>", group)
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.contract().name)
    }
}

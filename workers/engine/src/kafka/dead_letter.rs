//! Sending records to the group's dead letter topic.
//!
//! Invariant: the only source of an [`Acknowledged`] is a broker that has the record on all its
//! replicas; without one no position moves past a bad event.

use crate::record::Record;
use crate::scheduling::prefix::Acknowledged;
use crate::store::set_aside::Origin;
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::util::Timeout;
use std::time::Duration;

/// How long one record may take before it counts as an outage; it is then sent again.
const DELIVERY: Duration = Duration::from_secs(10);

/// The producer for one group's dead letters.
pub struct DeadLetters {
    producer: FutureProducer,
    topic: String,
    group: String,
}

impl std::fmt::Debug for DeadLetters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeadLetters")
            .field("topic", &self.topic)
            .finish_non_exhaustive()
    }
}

impl DeadLetters {
    /// A producer that waits for all replicas.
    ///
    /// # Errors
    /// The configuration is not one that the client library takes.
    pub fn new(config: &ClientConfig, group: &str) -> Result<Self, KafkaError> {
        let producer = config
            .clone()
            .set("acks", "all")
            // Not idempotent: repeats are told apart by their origin, and a producer that was once
            // refused an idempotent session stays refused for good.
            //
            // A missing topic is known as such before a delivery times out.
            .set("topic.metadata.propagation.max.ms", "5000")
            .set("partitioner", "murmur2_random")
            .set("delivery.timeout.ms", DELIVERY.as_millis().to_string())
            .set("message.max.bytes", "20000000")
            .create()?;
        let topic = events::catalogue::dead_letter_topic(group);
        Ok(Self {
            producer,
            topic,
            group: group.to_owned(),
        })
    }

    /// The topic's name.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Sends the original key, headers and value with the reason, and waits for the broker.
    ///
    /// # Errors
    /// Why the broker did not take it: an outage, to be tried again.
    pub async fn send(
        &self,
        origin: &Origin<'_>,
        kind: &str,
        reason: &str,
    ) -> Result<Acknowledged, String> {
        let headers = self.headers(origin, kind, reason);
        let mut record = FutureRecord::<[u8], [u8]>::to(&self.topic).headers(headers);
        if let Some(key) = origin.record.key() {
            record = record.key(key);
        }
        if let Some(value) = origin.record.value() {
            record = record.payload(value);
        }
        match self.producer.send(record, Timeout::After(DELIVERY)).await {
            Ok(delivery) => Ok(Acknowledged::by_broker(delivery.partition, delivery.offset)),
            Err((
                KafkaError::MessageProduction(
                    RDKafkaErrorCode::UnknownTopic
                    | RDKafkaErrorCode::UnknownTopicOrPartition
                    | RDKafkaErrorCode::UnknownPartition,
                ),
                _,
            )) => Err(format!(
                "the broker has no topic {}; create it with: fleet topics apply",
                self.topic
            )),
            Err((error, _)) => Err(format!("dead letter topic {}: {error}", self.topic)),
        }
    }

    fn headers(&self, origin: &Origin<'_>, kind: &str, reason: &str) -> OwnedHeaders {
        let record: &Record = origin.record;
        let mut headers = OwnedHeaders::new();
        for (name, value) in record.headers() {
            headers = headers.insert(Header { key: name, value });
        }
        let added = [
            ("dlq_group", self.group.clone()),
            ("dlq_topic", origin.partition.topic.to_string()),
            ("dlq_topic_id", origin.topic_id.to_string()),
            ("dlq_partition", origin.partition.partition.to_string()),
            ("dlq_offset", record.offset.to_string()),
            (
                "dlq_timestamp_ms",
                record
                    .timestamp_ms
                    .map(|t| t.to_string())
                    .unwrap_or_default(),
            ),
            ("dlq_kind", kind.to_owned()),
            ("dlq_reason", reason.to_owned()),
        ];
        for (name, value) in &added {
            headers = headers.insert(Header {
                key: name,
                value: Some(value),
            });
        }
        headers
    }
}

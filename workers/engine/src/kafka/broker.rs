//! What the broker says of partitions before they are read: topic id, both ends of the log, and
//! the group's committed offset.

use super::native;
use crate::scheduling::offsets::{NextOffset, TopicPartition};
use crate::store::claim::Observed;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use uuid::Uuid;

/// How long the broker may take for one answer.
const ANSWER: Duration = Duration::from_secs(5);

/// How a topic's id is learnt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicIds {
    /// The broker is asked.
    FromBroker,
    /// Derived from the name: for the embedded broker, which has none. A recreated topic is then
    /// not recognised.
    FromName,
}

/// Why a partition could not be observed now; it is tried again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObserveError {
    /// The broker does not have the topic.
    #[error("the broker has no topic {0}; create it with: fleet topics apply")]
    NoTopic(String),
    /// The broker could not be asked.
    #[error("{0}")]
    Unavailable(String),
}

impl From<KafkaError> for ObserveError {
    fn from(error: KafkaError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

/// A client beside the consumer, without membership in the group.
pub struct Broker {
    client: BaseConsumer,
    ids: TopicIds,
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broker")
            .field("ids", &self.ids)
            .finish_non_exhaustive()
    }
}

impl Broker {
    /// Connects in the background; `config` names the brokers and the group.
    ///
    /// # Errors
    /// The configuration is not one that the client library takes.
    pub fn new(config: &ClientConfig, ids: TopicIds) -> Result<Self, KafkaError> {
        let mut config = config.clone();
        // The group's offsets are read, but this client never joins it.
        config.remove("group.instance.id");
        Ok(Self {
            client: config.create()?,
            ids,
        })
    }

    /// Observes partitions. Blocks; run it where blocking is allowed.
    ///
    /// # Errors
    /// [`ObserveError`], the first one met.
    pub fn observe(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, Observed>, ObserveError> {
        let topics: BTreeSet<&str> = partitions.iter().map(|p| &*p.topic).collect();
        let topics: Vec<&str> = topics.into_iter().collect();
        let ids = self.topic_ids(&topics)?;
        let mut asked = TopicPartitionList::new();
        for partition in partitions {
            asked.add_partition(&partition.topic, partition.partition);
        }
        let committed = self.client.committed_offsets(asked, ANSWER)?;
        let mut observed = BTreeMap::new();
        for partition in partitions {
            let topic_id = *ids
                .get(&*partition.topic)
                .ok_or_else(|| ObserveError::NoTopic(partition.topic.to_string()))?;
            let (low, high) =
                self.client
                    .fetch_watermarks(&partition.topic, partition.partition, ANSWER)?;
            let hint = committed
                .find_partition(&partition.topic, partition.partition)
                .and_then(|found| match found.offset() {
                    Offset::Offset(offset) => Some(NextOffset(offset)),
                    _ => None,
                });
            observed.insert(
                partition.clone(),
                Observed {
                    topic_id,
                    low: NextOffset(low),
                    high: NextOffset(high),
                    hint,
                },
            );
        }
        Ok(observed)
    }

    fn topic_ids(&self, topics: &[&str]) -> Result<BTreeMap<String, Uuid>, ObserveError> {
        match self.ids {
            TopicIds::FromBroker => native::topic_ids(self.client.client(), topics, ANSWER)
                .map_err(ObserveError::Unavailable),
            TopicIds::FromName => Ok(topics
                .iter()
                .map(|topic| {
                    (
                        (*topic).to_owned(),
                        Uuid::new_v5(&Uuid::NAMESPACE_URL, topic.as_bytes()),
                    )
                })
                .collect()),
        }
    }
}

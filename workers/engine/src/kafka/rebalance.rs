//! The rebalance callback.
//!
//! Invariant: it never waits. An assignment is accepted at once with an empty list and noted; the
//! partitions are started one by one when they have been claimed. A revocation gives back what was
//! started and is noted. Deferring the answer instead was measured to cost every partition when a
//! member joined.

use crate::scheduling::offsets::TopicPartition;
use rdkafka::TopicPartitionList;
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaRespErr;
use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What the group coordinator decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// These partitions are ours from now on.
    Assigned(Vec<TopicPartition>),
    /// These are not any more.
    Revoked(Vec<TopicPartition>),
}

/// Notes changes for the thread that polls, which is also the one that runs the callback.
#[derive(Debug, Default)]
pub struct Rebalancer {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    changes: Vec<Change>,
    started: BTreeSet<TopicPartition>,
    broker_error: Option<String>,
}

impl Rebalancer {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What has changed since the last call.
    pub fn take_changes(&self) -> Vec<Change> {
        std::mem::take(&mut self.state().changes)
    }

    /// The last thing that went wrong between us and the brokers, once.
    pub fn take_broker_error(&self) -> Option<String> {
        self.state().broker_error.take()
    }

    /// A partition's records are being fetched from now on.
    pub fn started(&self, partition: TopicPartition) {
        self.state().started.insert(partition);
    }

    /// A partition's records are no longer fetched. Says whether they were.
    pub fn stopped(&self, partition: &TopicPartition) -> bool {
        self.state().started.remove(partition)
    }
}

impl ClientContext for Rebalancer {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(error = %error, reason, "kafka client");
        self.state().broker_error = Some(format!("{error}: {reason}"));
    }
}

impl ConsumerContext for Rebalancer {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        event: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        let named: Vec<TopicPartition> = partitions
            .elements()
            .iter()
            .map(|e| TopicPartition {
                topic: e.topic().into(),
                partition: e.partition(),
            })
            .collect();
        let answered = if event == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            self.state().changes.push(Change::Assigned(named));
            consumer.incremental_assign(&TopicPartitionList::new())
        } else {
            let mut given_back = TopicPartitionList::new();
            for partition in &named {
                if self.stopped(partition) {
                    given_back.add_partition(&partition.topic, partition.partition);
                }
            }
            self.state().changes.push(Change::Revoked(named));
            consumer.incremental_unassign(&given_back)
        };
        if let Err(error) = answered {
            tracing::error!(%error, "the rebalance could not be answered");
            self.state().broker_error = Some(error.to_string());
        }
    }

    fn commit_callback(
        &self,
        result: rdkafka::error::KafkaResult<()>,
        _offsets: &TopicPartitionList,
    ) {
        if let Err(error) = result {
            // Only a hint; the position is in the database.
            tracing::debug!(%error, "offset hint not committed");
        }
    }
}

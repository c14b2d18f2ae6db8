//! librdkafka's mock cluster: a broker inside the test process that starts in milliseconds and
//! fails on demand.
//!
//! The cluster is a raw pointer and may not leave its thread. Here it has a thread of its own,
//! to which every call is sent; so a [`MockKafka`] can be shared like any other value.

use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::error::KafkaResult;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

use crate::{Error, Result};

pub use rdkafka::mocking::MockCoordinator;
pub use rdkafka::types::{RDKafkaApiKey as ApiKey, RDKafkaRespErr as ResponseError};

const ALL_BROKERS: i32 = -1;

type Cluster = MockCluster<'static, DefaultProducerContext>;
type Call = Box<dyn FnOnce(&Cluster) + Send>;

/// A mock Kafka cluster. Dropping it ends it.
///
/// It keeps no more than 5 MiB for each partition, knows no topic ids and no admin requests, and
/// creates topics on first use. Brokers are numbered from 1.
#[derive(Debug)]
pub struct MockKafka {
    calls: Option<mpsc::Sender<Call>>,
    thread: Option<JoinHandle<()>>,
    bootstrap: String,
    brokers: u16,
}

impl MockKafka {
    /// Starts a cluster of `brokers` brokers.
    ///
    /// # Errors
    ///
    /// [`Error::Kafka`] when librdkafka cannot create it.
    pub fn start(brokers: u16) -> Result<Self> {
        let (calls, queue) = mpsc::channel::<Call>();
        let (started, start) = mpsc::sync_channel(1);
        let thread = std::thread::Builder::new()
            .name(String::from("mock kafka"))
            .spawn(move || match MockCluster::new(i32::from(brokers)) {
                Ok(cluster) => {
                    let _nobody_left_to_tell = started.send(Ok(cluster.bootstrap_servers()));
                    for call in queue {
                        call(&cluster);
                    }
                }
                Err(error) => {
                    let _nobody_left_to_tell = started.send(Err(error));
                }
            })
            .map_err(Error::io("start a thread"))?;
        let bootstrap = start
            .recv()
            .map_err(|_ended| thread_ended())?
            .map_err(Error::kafka("start a mock cluster"))?;
        Ok(Self {
            calls: Some(calls),
            thread: Some(thread),
            bootstrap,
            brokers,
        })
    }

    /// The brokers' addresses, for `bootstrap.servers`.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Creates a topic; each broker has a replica of each partition.
    ///
    /// # Errors
    ///
    /// [`Error::Kafka`] when the topic exists.
    pub fn create_topic(&self, name: &str, partitions: u16) -> Result<()> {
        let (topic, replicas) = (name.to_owned(), i32::from(self.brokers));
        self.call(format!("create the topic {name}"), move |cluster| {
            cluster.create_topic(&topic, i32::from(partitions), replicas)
        })
    }

    /// Cuts the connections to a broker, or to all of them with `None`, and accepts no new ones.
    /// Leadership does not move.
    ///
    /// # Errors
    ///
    /// [`Error::Kafka`] when there is no such broker.
    pub fn broker_down(&self, broker: Option<i32>) -> Result<()> {
        self.call("take a broker down", move |cluster| {
            cluster.broker_down(broker.unwrap_or(ALL_BROKERS))
        })
    }

    /// Accepts connections again.
    ///
    /// # Errors
    ///
    /// As [`MockKafka::broker_down`].
    pub fn broker_up(&self, broker: Option<i32>) -> Result<()> {
        self.call("bring a broker up", move |cluster| {
            cluster.broker_up(broker.unwrap_or(ALL_BROKERS))
        })
    }

    /// Delays every answer of a broker, or of all of them with `None`.
    ///
    /// # Errors
    ///
    /// As [`MockKafka::broker_down`].
    pub fn round_trip_time(&self, broker: Option<i32>, delay: Duration) -> Result<()> {
        self.call("set a round trip time", move |cluster| {
            cluster.broker_round_trip_time(broker.unwrap_or(ALL_BROKERS), delay)
        })
    }

    /// Answers the next requests of a kind with these errors, one each, in this order.
    /// `RD_KAFKA_RESP_ERR__TRANSPORT` cuts the connection instead.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when the cluster's thread has ended.
    pub fn request_errors(&self, requests: ApiKey, errors: &[ResponseError]) -> Result<()> {
        let errors = errors.to_vec();
        self.call("queue request errors", move |cluster| {
            cluster.request_errors(requests, &errors);
            Ok(())
        })
    }

    /// Forgets the errors that are still queued for requests of a kind.
    ///
    /// # Errors
    ///
    /// As [`MockKafka::request_errors`].
    pub fn clear_request_errors(&self, requests: ApiKey) -> Result<()> {
        self.call("clear request errors", move |cluster| {
            cluster.clear_request_errors(requests);
            Ok(())
        })
    }

    /// Answers metadata requests for a topic with an error; `RD_KAFKA_RESP_ERR_NO_ERROR` ends
    /// that.
    ///
    /// # Errors
    ///
    /// [`Error::Kafka`] when the name is not a valid one.
    pub fn topic_error(&self, topic: &str, error: ResponseError) -> Result<()> {
        let topic = topic.to_owned();
        self.call("set a topic error", move |cluster| {
            cluster.topic_error(&topic, error)
        })
    }

    /// Moves the leadership of a partition to a broker; with `None` it has no leader.
    ///
    /// # Errors
    ///
    /// [`Error::Kafka`] when there is no such broker.
    pub fn partition_leader(&self, topic: &str, partition: i32, broker: Option<i32>) -> Result<()> {
        let topic = topic.to_owned();
        self.call("move a leader", move |cluster| {
            cluster.partition_leader(&topic, partition, broker)
        })
    }

    /// Makes a broker the coordinator of a consumer group or of a transactional id.
    ///
    /// # Errors
    ///
    /// [`Error::Kafka`] when librdkafka refuses.
    pub fn coordinator(&self, of: MockCoordinator, broker: i32) -> Result<()> {
        self.call("move a coordinator", move |cluster| {
            cluster.coordinator(of, broker)
        })
    }

    fn call(
        &self,
        attempt: impl Into<String>,
        operation: impl FnOnce(&Cluster) -> KafkaResult<()> + Send + 'static,
    ) -> Result<()> {
        let (done, result) = mpsc::sync_channel(1);
        let call: Call = Box::new(move |cluster| {
            let _nobody_left_to_tell = done.send(operation(cluster));
        });
        self.calls
            .as_ref()
            .and_then(|calls| calls.send(call).ok())
            .ok_or_else(thread_ended)?;
        result
            .recv()
            .map_err(|_ended| thread_ended())?
            .map_err(Error::kafka(attempt))
    }
}

impl Drop for MockKafka {
    fn drop(&mut self) {
        // Without a sender the thread's queue ends, and with it the cluster.
        self.calls = None;
        if let Some(thread) = self.thread.take() {
            let _panicked_or_not = thread.join();
        }
    }
}

fn thread_ended() -> Error {
    Error::io("use the mock cluster")(std::io::Error::other("its thread has ended"))
}

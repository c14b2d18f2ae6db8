//! The producer.
//!
//! Invariants:
//!
//! - A record is written once by the broker however often it is retried here (idempotence, all
//!   replicas), and records that were sent one after the other with the same key stay in order.
//! - The same key goes to the same partition as with the Java clients (murmur2).
//! - What was handed over is not dropped silently: the last owner waits for it, within a bound.

use crate::outgoing::{OutgoingEvent, check_source};
use crate::registry::{Registry, RegistryError};
use crate::{KafkaSettings, Meta, PublishError};
use events::wire;
use events::{EventId, EventType, Payload};
use rdkafka::client::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::future_producer::OwnedDeliveryResult;
use rdkafka::producer::{DeliveryFuture, FutureProducer, FutureRecord, Producer};
use rdkafka::util::Timeout;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

/// How long the last owner waits, when dropped, for what is still under way.
const DROP_FLUSH: Duration = Duration::from_secs(5);

/// How long the client looks for a topic that the brokers do not know: long enough for one that was
/// just created.
const TOPIC_PROPAGATION: Duration = Duration::from_secs(5);

/// How long to wait until the full queue is looked at again.
const QUEUE_PAUSE: Duration = Duration::from_millis(10);

/// How much may wait in the client, in KiB.
const QUEUE_KBYTES: u32 = 64 * 1024;

/// Publishes events as one source. Cheap to clone; clones share the connection.
///
/// See the [crate page](crate) for an example.
#[derive(Clone)]
pub struct Publisher {
    inner: Arc<Inner>,
}

/// What can be chosen about a producer; the defaults suit services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerSettings {
    /// How batches are compressed.
    pub compression: Compression,
    /// How long an event may take to be acknowledged, retries included.
    pub delivery_timeout: Duration,
    /// How long a batch waits for company.
    pub linger: Duration,
}

impl Default for ProducerSettings {
    fn default() -> Self {
        Self {
            compression: Compression::Lz4,
            delivery_timeout: Duration::from_secs(30),
            linger: Duration::from_millis(5),
        }
    }
}

/// How batches are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// LZ4.
    Lz4,
    /// Not at all.
    None,
}

/// Where an event was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// The event's id.
    pub id: EventId,
    /// The topic.
    pub topic: &'static str,
    /// The partition.
    pub partition: i32,
    /// The offset in the partition.
    pub offset: i64,
}

impl Publisher {
    /// A publisher with the default [`ProducerSettings`]. `source` is the service that speaks
    /// (`iam-service`). Nothing is connected yet: a broker that is down delays the first event.
    ///
    /// # Errors
    /// [`PublishError::Settings`], [`PublishError::Attribute`].
    pub fn new(
        kafka: &KafkaSettings,
        registry: Registry,
        source: impl Into<String>,
    ) -> Result<Self, PublishError> {
        Self::with_settings(kafka, registry, source, &ProducerSettings::default())
    }

    /// As [`Publisher::new`], with other settings.
    ///
    /// # Errors
    /// As [`Publisher::new`].
    pub fn with_settings(
        kafka: &KafkaSettings,
        registry: Registry,
        source: impl Into<String>,
        settings: &ProducerSettings,
    ) -> Result<Self, PublishError> {
        let source = source.into();
        check_source(&source)?;
        kafka.check_files().map_err(PublishError::Settings)?;
        let mut config = kafka.client_config();
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("partitioner", "murmur2_random")
            // A topic that does not exist is an error that names the fix, not a topic made by
            // accident with the broker's defaults.
            .set("allow.auto.create.topics", "false")
            .set(
                "topic.metadata.propagation.max.ms",
                TOPIC_PROPAGATION.as_millis().to_string(),
            )
            .set(
                "message.timeout.ms",
                settings.delivery_timeout.as_millis().to_string(),
            )
            .set("linger.ms", settings.linger.as_millis().to_string())
            .set("queue.buffering.max.kbytes", QUEUE_KBYTES.to_string())
            .set(
                "compression.type",
                match settings.compression {
                    Compression::Lz4 => "lz4",
                    Compression::None => "none",
                },
            );
        let troubles = Troubles::default();
        let producer = config
            .create_with_context(troubles.clone())
            .map_err(|e| PublishError::Settings(e.to_string()))?;
        Ok(Self {
            inner: Arc::new(Inner {
                producer,
                troubles,
                registry,
                source,
            }),
        })
    }

    /// Publishes an event and waits until all replicas have it.
    ///
    /// On an error of [`Fault::Environment`](crate::Fault::Environment) publish again with a clone
    /// of the same `meta`: readers then see one event, whatever the brokers had stored.
    ///
    /// # Errors
    /// See [`PublishError`].
    pub async fn publish(
        &self,
        payload: impl Into<Payload>,
        meta: Meta,
    ) -> Result<Published, PublishError> {
        self.send(payload, meta).await?.await
    }

    /// Hands an event over and returns its acknowledgement as a future, so that many can be under
    /// way at once. Waits only while the client's queue is full.
    ///
    /// Events sent one after the other with the same key are stored in that order. When an
    /// acknowledgement fails, later events may have been stored already; who cannot accept that
    /// waits for each one with [`Publisher::publish`].
    ///
    /// # Errors
    /// Those that are known before the event is handed over; the others come from [`Ack`].
    pub async fn send(&self, payload: impl Into<Payload>, meta: Meta) -> Result<Ack, PublishError> {
        let event = OutgoingEvent::new(payload, meta, &self.inner.source)?;
        self.send_event(&event).await
    }

    /// As [`Publisher::send`], for an event that was made ready before: from JSON, or in the name
    /// of another source.
    ///
    /// # Errors
    /// As [`Publisher::send`].
    pub async fn send_event(&self, event: &OutgoingEvent) -> Result<Ack, PublishError> {
        let event_type = event.event_type();
        let schema = self
            .inner
            .registry
            .id_of(event_type)
            .await
            .map_err(|e| match e {
                RegistryError::Unknown(_) => PublishError::NotRegistered(event_type),
                other => PublishError::Registry(other),
            })?;
        let value = wire::join(schema, event.datum());
        let key = event.key().to_string();
        let mut record = FutureRecord::to(event.topic())
            .key(&key)
            .payload(&value)
            .headers(event.headers());
        loop {
            match self.inner.producer.send_result(record) {
                Ok(delivery) => {
                    return Ok(Ack {
                        delivery,
                        inner: Arc::clone(&self.inner),
                        event: event_type,
                        id: event.envelope().id,
                        bytes: key.len() + value.len(),
                    });
                }
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), again)) => {
                    record = again;
                    tokio::time::sleep(QUEUE_PAUSE).await;
                }
                Err((error, _)) => {
                    let id = event.envelope().id;
                    return Err(self
                        .inner
                        .failure(error, event_type, id, key.len() + value.len()));
                }
            }
        }
    }

    /// The source that events are published as.
    pub fn source(&self) -> &str {
        &self.inner.source
    }

    /// Waits until everything that was handed over has been acknowledged or has failed. Without
    /// this, dropping the last clone does the same, but blocks its thread for up to 5 s.
    ///
    /// # Errors
    /// [`PublishError::Unflushed`] when that takes longer than `patience`.
    pub async fn close(self, patience: Duration) -> Result<(), PublishError> {
        let inner = Arc::clone(&self.inner);
        let flush = move || inner.flush(patience);
        match tokio::task::spawn_blocking(flush).await {
            Ok(outcome) => outcome,
            Err(stopped) => Err(PublishError::Broken(stopped.to_string())),
        }
    }
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Publisher({})", self.inner.source)
    }
}

/// The acknowledgement of one event that was handed over. Dropping it does not recall the event.
#[must_use = "an event may fail after it was handed over; await its acknowledgement"]
pub struct Ack {
    delivery: DeliveryFuture,
    inner: Arc<Inner>,
    event: EventType,
    id: EventId,
    bytes: usize,
}

impl fmt::Debug for Ack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ack({} {})", self.event, self.id)
    }
}

impl Future for Ack {
    type Output = Result<Published, PublishError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = ready!(Pin::new(&mut self.delivery).poll(context));
        Poll::Ready(match outcome {
            Ok(delivered) => self.outcome(delivered),
            Err(_canceled) => Err(PublishError::Broken("it has ended".to_owned())),
        })
    }
}

impl Ack {
    fn outcome(&self, delivered: OwnedDeliveryResult) -> Result<Published, PublishError> {
        match delivered {
            Ok(delivery) => Ok(Published {
                id: self.id,
                topic: self.event.contract().topic.name,
                partition: delivery.partition,
                offset: delivery.offset,
            }),
            Err((error, _record)) => {
                Err(self.inner.failure(error, self.event, self.id, self.bytes))
            }
        }
    }
}

struct Inner {
    producer: FutureProducer<Troubles>,
    troubles: Troubles,
    registry: Registry,
    source: String,
}

impl Inner {
    fn failure(
        &self,
        error: KafkaError,
        event: EventType,
        id: EventId,
        bytes: usize,
    ) -> PublishError {
        use RDKafkaErrorCode as Code;
        match error.rdkafka_error_code() {
            Some(Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition) => {
                PublishError::UnknownTopic(event.contract().topic.name)
            }
            Some(Code::MessageSizeTooLarge | Code::InvalidMessageSize) => {
                PublishError::TooLarge { event, id, bytes }
            }
            Some(Code::Fatal) => {
                let reason = self.producer.client().fatal_error();
                PublishError::Broken(reason.map_or_else(|| error.to_string(), |(_, why)| why))
            }
            code => {
                let what = code.map_or_else(|| error.to_string(), |code| code.to_string());
                let why = match self.troubles.recent() {
                    Some(trouble) => format!("{what} (the client's last trouble: {trouble})"),
                    None => what,
                };
                PublishError::NotAcknowledged { event, id, why }
            }
        }
    }

    fn flush(&self, patience: Duration) -> Result<(), PublishError> {
        let unsent = || usize::try_from(self.producer.in_flight_count()).unwrap_or_default();
        if unsent() == 0 || self.producer.flush(Timeout::After(patience)).is_ok() {
            return Ok(());
        }
        Err(PublishError::Unflushed {
            unsent: unsent(),
            waited: patience,
        })
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // librdkafka's own end throws away what is queued.
        if let Err(error) = self.flush(DROP_FLUSH) {
            tracing::error!(source = self.source, "{error}");
        }
    }
}

/// For how long a trouble with a broker explains why an event was not acknowledged.
const TROUBLE_EXPLAINS: Duration = Duration::from_secs(60);

/// Keeps the last trouble that the client had with a broker: why an event was not acknowledged is
/// otherwise said only in the log.
#[derive(Clone, Default)]
struct Troubles {
    last: Arc<Mutex<Option<(Instant, String)>>>,
}

impl Troubles {
    fn recent(&self) -> Option<String> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = last
            .as_ref()
            .filter(|(since, _)| since.elapsed() < TROUBLE_EXPLAINS);
        recent.map(|(_, reason)| reason.clone())
    }
}

impl ClientContext for Troubles {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(%error, reason, "the producer has trouble with a broker");
        // That all brokers are down follows from what was said before, and says less.
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            *last = Some((Instant::now(), reason.to_owned()));
        }
    }
}

//! The stream: a day's story with repeats within a batch, across batches and across partitions,
//! late events, events of a type that nobody knows, and records that nobody can read.

use crate::servers::{Endpoints, Origin, PARTITIONS};
use chrono::Utc;
use demo::ledger::{Entry, Ledger};
use demo::story::{Cast, Told, disorder, tell};
use events::wire::{self, SchemaId};
use events::{Envelope, EventId, EventType, encode};
use publish::registry::{Registry, RegistrySettings};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use std::collections::HashMap;
use std::time::Duration;

/// Sent over about a minute, so that the kills meet it.
const LEARNERS: usize = 900;
const PER_SECOND: u32 = 250;
const GARBAGE_EVERY: usize = 600;

pub struct Sent {
    pub ledger: Vec<Entry>,
    pub garbage: Vec<(Origin, Option<Vec<u8>>)>,
}

impl Sent {
    pub fn records(&self) -> usize {
        self.ledger.len()
    }
}

struct Sender {
    producer: FutureProducer,
    registry: Registry,
    schema_ids: HashMap<EventType, SchemaId>,
    ledger: Ledger,
    garbage: Vec<(Origin, Option<Vec<u8>>)>,
}

pub async fn send(endpoints: Endpoints, seed: u64) -> Sent {
    let folder = tempfile::tempdir().unwrap();
    let mut sender = Sender {
        producer: ClientConfig::new()
            .set("bootstrap.servers", &endpoints.brokers)
            .set("partitioner", "murmur2_random")
            .set("linger.ms", "2")
            .create()
            .unwrap(),
        registry: Registry::connect(&RegistrySettings::new([endpoints.registry])).unwrap(),
        schema_ids: HashMap::new(),
        ledger: Ledger::create(&folder.path().join("ledger.jsonl")).unwrap(),
        garbage: Vec::new(),
    };
    let cast = Cast {
        learners: LEARNERS,
        courses: 20,
        companies: 6,
    };
    let story = tell(seed, cast, Utc::now()).unwrap();
    let mut random = StdRng::seed_from_u64(seed ^ 0x10ad);
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    for (index, sending) in disorder(seed, story.len(), 0.05, 0.04).iter().enumerate() {
        if index % (PER_SECOND / 50) as usize == 0 {
            tick.tick().await;
        }
        let told = &story[sending.event];
        // A repeat may come to any partition, as from a producer with another partitioner.
        let partition = match sending.again && random.random_bool(0.5) {
            true => Some(random.random_range(0..i32::from(PARTITIONS))),
            false => None,
        };
        sender.event(told, partition).await;
        if index % 97 == 0 {
            // Within the same batch.
            sender.event(told, None).await;
        }
        if index % 301 == 5 {
            sender.of_unknown_type(told).await;
        }
        if index % GARBAGE_EVERY == 17 {
            sender.broken(told, index / GARBAGE_EVERY).await;
        }
    }
    Sent {
        ledger: sender.ledger.close().unwrap(),
        garbage: sender.garbage,
    }
}

impl Sender {
    async fn event(&mut self, told: &Told, partition: Option<i32>) {
        let event_type = told.payload.event_type();
        let schema = match self.schema_ids.get(&event_type) {
            Some(id) => *id,
            None => {
                let id = self.registry.id_of(event_type).await.unwrap();
                self.schema_ids.insert(event_type, id);
                id
            }
        };
        self.ledger.event(told).unwrap();
        let value = wire::join(schema, &encode(&told.payload).unwrap());
        self.record(told, &envelope(told).to_headers(), Some(&value), partition)
            .await;
    }

    /// An event that a newer producer publishes and this build knows nothing of.
    async fn of_unknown_type(&mut self, told: &Told) {
        const NAME: &str = "LEARNER_CHEERED";
        let told = Told {
            id: uuid::Uuid::now_v7(),
            ..told.clone()
        };
        self.ledger.event_named(&told, NAME).unwrap();
        let schema = self.schema_ids[&told.payload.event_type()];
        let value = wire::join(schema, &encode(&told.payload).unwrap());
        let mut envelope = envelope(&told);
        envelope.event_type = NAME.to_owned();
        self.record(&told, &envelope.to_headers(), Some(&value), None)
            .await;
    }

    /// One of the ways in which a record can be unreadable.
    async fn broken(&mut self, told: &Told, which: usize) {
        let schema = self.schema_ids[&told.payload.event_type()];
        let whole = wire::join(schema, &encode(&told.payload).unwrap());
        let mut envelope = envelope(told);
        envelope.id = EventId(uuid::Uuid::now_v7());
        let mut headers = envelope.to_headers();
        let (what, value) = match which % 6 {
            0 => ("a truncated value", Some(whole[..whole.len() / 2].to_vec())),
            1 => ("JSON instead of Avro", Some(b"{\"user_id\": 1}".to_vec())),
            2 => (
                "an unknown schema id",
                Some(wire::join(SchemaId(987_654), &whole[5..])),
            ),
            3 => ("no value", None),
            4 => {
                headers.retain(|(name, _)| *name != "ce_id");
                ("no id", Some(whole))
            }
            _ => (
                "noise",
                Some(vec![0, 0xff, 0xfe, 0, 1, 2, 3, 250, 251, 252]),
            ),
        };
        self.ledger.garbage(what).unwrap();
        let origin = self.record(told, &headers, value.as_deref(), None).await;
        self.garbage.push((origin, value));
    }

    async fn record(
        &self,
        told: &Told,
        headers: &[(&'static str, String)],
        value: Option<&[u8]>,
        partition: Option<i32>,
    ) -> Origin {
        let topic = told.payload.event_type().contract().topic.name;
        let key = told.payload.key().to_string();
        let mut all = OwnedHeaders::new();
        for (name, text) in headers {
            all = all.insert(Header {
                key: name,
                value: Some(text),
            });
        }
        let mut record = FutureRecord::<str, [u8]>::to(topic).key(&key).headers(all);
        record.payload = value;
        record.partition = partition;
        let delivery = self
            .producer
            .send(record, Duration::from_secs(60))
            .await
            .unwrap();
        (topic.to_owned(), delivery.partition, delivery.offset)
    }
}

fn envelope(told: &Told) -> Envelope {
    Envelope {
        id: EventId(told.id),
        event_type: told.payload.event_type().contract().name.to_owned(),
        source: told.source.to_owned(),
        time: told.time,
        subject: told.payload.subject().to_string(),
        aggregate_version: told.version,
        correlation_id: None,
        causation_id: None,
        traceparent: None,
    }
}

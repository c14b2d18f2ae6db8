//! A bed for engine tests: real PostgreSQL, librdkafka's mock cluster, bundled schemas.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use databases::{Environment, Request, Service, migrate};
use engine::{FloodLimits, GroupProtocol, Limits, Running, Settings, Shutdown, Start, Timeouts, TopicIds, Worker};
use events::{Envelope, EventId, EventType, Payload, plain_json, wire};
use publish::KafkaSettings;
use publish::registry::Registry;
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use std::str::FromStr;
use std::time::Duration;
use testkit::{MockKafka, Postgres};
use uuid::Uuid;

pub const TOPIC: &str = "progress.learning";
pub const PARTITIONS: u16 = 4;
/// How long a test waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Bed {
    pub kafka: MockKafka,
    pub postgres: Postgres,
    pub pool: PgPool,
    pub database: String,
    producer: FutureProducer,
}

impl Bed {
    pub async fn start() -> Self {
        let kafka = MockKafka::start(1).unwrap();
        Self::with_kafka(kafka, &[TOPIC, "learnexpert.followers.dlq"]).await
    }

    pub async fn with_kafka(kafka: MockKafka, topics: &[&str]) -> Self {
        for topic in topics {
            kafka.create_topic(topic, PARTITIONS).unwrap();
        }
        let postgres = Postgres::builder().setting("max_connections", "60").start().await.unwrap();
        let admin = PgConnectOptions::from_str(&postgres.url("postgres")).unwrap();
        let mut request = Request::new(admin, Environment::Test);
        request.services = vec![Service::Analytics];
        migrate(&request, &mut |_| {}).await.unwrap();
        let database = Service::Analytics.database(Environment::Test);
        let pool = PgPoolOptions::new().max_connections(4).connect(&postgres.url(&database)).await.unwrap();
        sqlx::raw_sql(
            "CREATE TABLE follower_counts (followed_id uuid PRIMARY KEY, followers bigint NOT NULL)",
        )
        .execute(&pool)
        .await
        .unwrap();
        let producer = ClientConfig::new()
            .set("bootstrap.servers", kafka.bootstrap())
            .set("linger.ms", "1")
            .create()
            .unwrap();
        Self { kafka, postgres, pool, database, producer }
    }

    pub fn settings(&self) -> Settings {
        Settings {
            kafka: KafkaSettings::plaintext(self.kafka.bootstrap()),
            topic_ids: TopicIds::FromName,
            instance_id: None,
            group_protocol: GroupProtocol::Classic,
            session_timeout: Duration::from_secs(6),
            max_poll_interval: Duration::from_secs(60),
            start: Start::Earliest,
            shutdown: Shutdown::Leave,
            registry: Registry::bundled(),
            registry_name: "bundled".to_owned(),
            unknown_schema_wait: Duration::from_secs(3),
            database: PgConnectOptions::from_str(&self.postgres.url(&self.database)).unwrap(),
            timeouts: Timeouts {
                statement: Duration::from_secs(10),
                lock: Duration::from_secs(8),
                idle_in_transaction: Duration::from_secs(5),
            },
            lanes: 2,
            batch_events: 500,
            batch_bytes: 4 << 20,
            linger: Duration::from_millis(5),
            budget: Limits { events: 20_000, bytes: 64 << 20 },
            backoff: (Duration::from_millis(50), Duration::from_millis(500)),
            flood: FloodLimits { consecutive: 20, ratio: 0.5, window: 100 },
            drain_deadline: Duration::from_secs(20),
        }
    }

    /// Sends a record as it is.
    pub async fn send_raw(&self, partition: Option<i32>, record: RawRecord) -> (i32, i64) {
        let mut headers = OwnedHeaders::new();
        for (key, value) in &record.headers {
            headers = headers.insert(Header { key, value: Some(value) });
        }
        let mut to_send = FutureRecord::<[u8], [u8]>::to(TOPIC).headers(headers);
        to_send.partition = partition;
        if let Some(key) = &record.key {
            to_send = to_send.key(key);
        }
        if let Some(value) = &record.value {
            to_send = to_send.payload(value);
        }
        let delivery = self.producer.send(to_send, Duration::from_secs(30)).await.unwrap();
        (delivery.partition, delivery.offset)
    }

    /// Sends an event to the partition of its key.
    pub async fn send(&self, record: RawRecord) -> (i32, i64) {
        let key: Vec<u8> = record.key.clone().unwrap();
        let partition = i32::from(key[0] ^ key[key.len() - 1]) % i32::from(PARTITIONS);
        self.send_raw(Some(partition), record).await
    }

    pub async fn followers(&self, of: Uuid) -> i64 {
        sqlx::query_scalar("SELECT coalesce(sum(followers), 0)::bigint FROM follower_counts WHERE followed_id = $1")
            .bind(of)
            .fetch_one(&self.pool)
            .await
            .unwrap()
    }

    pub async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.pool).await.unwrap()
    }

    /// Waits until a query answers as expected; fails with the last answer.
    pub async fn until(&self, sql: &'static str, expected: i64) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let answer = self.count(sql).await;
            if answer == expected {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "{sql} answers {answer}, expected {expected}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub fn run<W: Worker>(&self, worker: W) -> Running {
        engine::start(worker, self.settings()).unwrap()
    }
}

/// Waits for a condition that is asked for, not timed.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline, "{what} did not come true");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[derive(Clone, Debug)]
pub struct RawRecord {
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Vec<u8>)>,
}

impl RawRecord {
    pub fn of(payload: &Payload) -> Self {
        Self::with_id(payload, Uuid::now_v7())
    }

    pub fn with_id(payload: &Payload, id: Uuid) -> Self {
        let envelope = Envelope {
            id: EventId(id),
            event_type: payload.event_type().contract().name.to_owned(),
            source: "progress-service".to_owned(),
            time: chrono::Utc::now(),
            subject: payload.subject().to_string(),
            aggregate_version: Some(1),
            correlation_id: None,
            causation_id: None,
            traceparent: None,
        };
        let headers =
            envelope.to_headers().into_iter().map(|(n, v)| (n.to_owned(), v.into_bytes())).collect();
        let datum = events::encode(payload).unwrap();
        let value = wire::join(schema_id(payload.event_type()), &datum);
        Self { key: Some(payload.key().to_string().into_bytes()), value: Some(value), headers }
    }

    pub fn set_header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self.headers.push((name.to_owned(), value.as_bytes().to_vec()));
        self
    }
}

/// The id under which the bundled registry has a schema.
pub fn schema_id(event_type: EventType) -> wire::SchemaId {
    let position = EventType::ALL.iter().position(|t| *t == event_type).unwrap();
    wire::SchemaId(u32::try_from(position).unwrap() + 1)
}

pub fn example(event_type: EventType) -> Payload {
    let path = format!("{}/../../avro/examples/{event_type}.json", env!("CARGO_MANIFEST_DIR"));
    plain_json::read(event_type, &serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()).unwrap()
}

/// Someone follows something.
pub fn followed(user: Uuid, what: Uuid) -> Payload {
    let Payload::CourseFollowed(mut event) = example(EventType::CourseFollowed) else { panic!() };
    event.user_id = user;
    event.followed_id = what;
    Payload::CourseFollowed(event)
}

//! A bed for engine tests: real PostgreSQL, librdkafka's mock cluster, bundled schemas.
#![allow(
    dead_code,
    unused_imports,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

pub mod records;
pub mod scripted;
pub mod server;

use engine::status::{Phase, Snapshot, Waiting};
use engine::{
    FloodLimits, GroupProtocol, Limits, Running, Settings, Shutdown, Start, Timeouts, TopicIds,
    Worker,
};
use publish::KafkaSettings;
use publish::registry::Registry;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
pub use records::{RawRecord, event};
use server::Database;
use sqlx::AssertSqlSafe;
use sqlx::postgres::{PgConnection, PgPool, PgPoolOptions};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use testkit::{Kafka, MockKafka, Postgres};
use uuid::Uuid;

pub const TOPIC: &str = "progress.learning";
pub const DEAD_LETTERS: &str = "learnexpert.scripted.dlq";
pub const PARTITIONS: u16 = 4;
/// How long a test waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What the events go through.
pub enum Broker {
    Mock(MockKafka),
    Real(Box<Kafka>),
}

impl Broker {
    /// The mock cluster, with one broker.
    pub fn mock() -> Self {
        Self::Mock(MockKafka::start(1).unwrap())
    }

    fn bootstrap(&self) -> String {
        match self {
            Self::Mock(kafka) => kafka.bootstrap().to_owned(),
            Self::Real(kafka) => kafka.bootstrap(),
        }
    }

    async fn create_topic(&self, name: &str) {
        match self {
            Self::Mock(kafka) => kafka.create_topic(name, PARTITIONS).unwrap(),
            Self::Real(kafka) => kafka.create_topic(name, PARTITIONS, &[]).await.unwrap(),
        }
    }
}

pub struct Bed {
    broker: Broker,
    pub server: Arc<Postgres>,
    pub database: Database,
    /// The database's owner, who sees and may do everything.
    pub pool: PgPool,
    producer: FutureProducer,
}

impl Bed {
    /// A mock broker and a database on the shared server, with the scripted worker's tables.
    pub async fn start() -> Self {
        Self::with("").await
    }

    /// With further tables.
    pub async fn with(tables: &str) -> Self {
        Self::on(server::shared().await, Broker::mock(), tables).await
    }

    pub async fn on(server: Arc<Postgres>, broker: Broker, tables: &str) -> Self {
        for topic in [TOPIC, DEAD_LETTERS] {
            broker.create_topic(topic).await;
        }
        let tables = format!("{}{tables}", scripted::TABLES);
        let tables = tables.as_str();
        let database = Database::create(&server, tables).await;
        let pool = PgPoolOptions::new()
            .max_connections(4)
            .connect_lazy(&server.url(&database.name))
            .unwrap();
        let producer = ClientConfig::new()
            .set("bootstrap.servers", broker.bootstrap())
            .set("linger.ms", "1")
            .create()
            .unwrap();
        Self {
            broker,
            server,
            database,
            pool,
            producer,
        }
    }

    /// The mock cluster, to make it fail.
    pub fn kafka(&self) -> &MockKafka {
        match &self.broker {
            Broker::Mock(kafka) => kafka,
            Broker::Real(_) => panic!("a real broker cannot be made to fail"),
        }
    }

    /// The server, of which this must be the only user.
    pub fn own_server(&mut self) -> &mut Postgres {
        Arc::get_mut(&mut self.server).unwrap()
    }

    /// The address for the worker's role.
    pub fn url(&self) -> String {
        self.server
            .url_as(&self.database.role, &self.database.name)
            .replace(":postgres@", &format!(":{}@", self.database.password))
    }

    pub fn settings(&self) -> Settings {
        Settings {
            kafka: KafkaSettings::plaintext(&self.broker.bootstrap()),
            topic_ids: match self.broker {
                Broker::Mock(_) => TopicIds::FromName,
                Broker::Real(_) => TopicIds::FromBroker,
            },
            instance_id: None,
            group_protocol: GroupProtocol::Classic,
            session_timeout: Duration::from_secs(6),
            max_poll_interval: Duration::from_secs(60),
            start: Start::Earliest,
            shutdown: Shutdown::Leave,
            registry: Registry::bundled(),
            registry_name: "bundled".to_owned(),
            unknown_schema_wait: Duration::from_secs(3),
            database: self.url().parse().unwrap(),
            timeouts: Timeouts {
                statement: Duration::from_secs(10),
                lock: Duration::from_secs(8),
                idle_in_transaction: Duration::from_secs(5),
            },
            lanes: 2,
            batch_events: 500,
            batch_bytes: 4 << 20,
            linger: Duration::from_millis(5),
            budget: Limits {
                events: 20_000,
                bytes: 64 << 20,
            },
            backoff: (Duration::from_millis(50), Duration::from_millis(500)),
            flood: FloodLimits {
                consecutive: 20,
                ratio: 0.5,
                window: 100,
            },
            drain_deadline: Duration::from_secs(20),
        }
    }

    pub fn run<W: Worker>(&self, worker: W) -> Running {
        engine::start(worker, self.settings()).unwrap()
    }

    /// Sends a record as it is.
    pub async fn send_raw(&self, partition: i32, record: RawRecord) -> (i32, i64) {
        let mut headers = OwnedHeaders::new();
        for (key, value) in &record.headers {
            headers = headers.insert(Header {
                key,
                value: Some(value),
            });
        }
        let mut to_send = FutureRecord::<[u8], [u8]>::to(TOPIC)
            .headers(headers)
            .partition(partition);
        if let Some(key) = &record.key {
            to_send = to_send.key(key);
        }
        if let Some(value) = &record.value {
            to_send = to_send.payload(value);
        }
        let delivery = self
            .producer
            .send(to_send, Duration::from_secs(30))
            .await
            .unwrap();
        (delivery.partition, delivery.offset)
    }

    /// Sends an event to the partition of its key.
    pub async fn send(&self, record: RawRecord) -> (i32, i64) {
        let partition = partition_of(record.key.as_deref().unwrap_or_default());
        self.send_raw(partition, record).await
    }

    /// Sends many, each after the broker has the one before.
    pub async fn send_all(&self, records: impl IntoIterator<Item = RawRecord>) {
        for record in records {
            self.send(record).await;
        }
    }

    /// Runs statements as the owner.
    pub async fn sql(&self, sql: &str) {
        let done = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
            .execute(&self.pool)
            .await;
        done.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// A connection of the owner's, for what is done inside a transaction.
    pub async fn session(&self) -> PgConnection {
        server::connect(&self.server.url(&self.database.name)).await
    }

    pub async fn count(&self, sql: &str) -> i64 {
        sqlx::query_scalar(AssertSqlSafe(sql.to_owned()))
            .fetch_one(&self.pool)
            .await
            .unwrap()
    }

    /// Waits until a query answers as expected; fails with the last answer.
    pub async fn until(&self, sql: &str, expected: i64) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let answer = self.count(sql).await;
            if answer == expected {
                return;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "{sql} answers {answer}, expected {expected}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until so many rows of `applied` are there.
    pub async fn until_applied(&self, events: i64) {
        self.until("SELECT count(*) FROM applied", events).await;
    }

    /// Waits until every position is at the end of its log.
    pub async fn until_caught_up(&self) {
        for partition in 0..i32::from(PARTITIONS) {
            let (_, end) = self.watermarks(partition).await;
            let position =
                "SELECT coalesce(sum(next_offset), 0)::bigint FROM engine.partition_position";
            self.until(&format!("{position} WHERE partition = {partition}"), end)
                .await;
        }
    }

    /// The first offset that the log of a partition still has.
    pub async fn log_start(&self, partition: i32) -> i64 {
        self.watermarks(partition).await.0
    }

    async fn watermarks(&self, partition: i32) -> (i64, i64) {
        let producer = self.producer.clone();
        let asked = tokio::task::spawn_blocking(move || {
            producer
                .client()
                .fetch_watermarks(TOPIC, partition, PATIENCE)
        });
        asked.await.unwrap().unwrap()
    }

    /// The position of a partition.
    pub async fn position(&self, partition: i32) -> i64 {
        let position =
            "SELECT coalesce(sum(next_offset), 0)::bigint FROM engine.partition_position";
        self.count(&format!("{position} WHERE partition = {partition}"))
            .await
    }

    /// The offset that the group has committed to Kafka.
    pub async fn hint(&self, partition: i32) -> Option<i64> {
        let bootstrap = self.broker.bootstrap();
        tokio::task::spawn_blocking(move || read_hint(&bootstrap, partition))
            .await
            .unwrap()
    }

    /// Every id that was applied, in the order of application.
    pub async fn applied(&self) -> Vec<Uuid> {
        let query = sqlx::query_scalar("SELECT event_id FROM applied ORDER BY position");
        query.fetch_all(&self.pool).await.unwrap()
    }

    /// Exactly these ids were applied, each once.
    pub async fn assert_applied(&self, expected: impl IntoIterator<Item = Uuid>) {
        let mut expected: Vec<Uuid> = expected.into_iter().collect();
        let mut applied = self.applied().await;
        expected.sort();
        applied.sort();
        assert!(
            applied == expected,
            "{} rows for {} events, or for others",
            applied.len(),
            expected.len()
        );
    }

    /// Within each key, numbers only rise.
    pub async fn assert_order_within_keys(&self) {
        let fallen = "SELECT count(*) FROM (
              SELECT sequence <= lag(sequence) OVER (PARTITION BY key ORDER BY position) AS fell FROM applied
            ) numbers WHERE fell";
        assert_eq!(
            self.count(fallen).await,
            0,
            "events of a key were applied out of order"
        );
    }

    /// Ends the worker's sessions, as a restart or a failover does.
    pub async fn end_sessions(&self) {
        let role = &self.database.role;
        self.sql(&format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'"
        ))
        .await;
    }

    /// Reads what the dead letter topic has, until it has entries from so many origins. Repeats,
    /// which an at-least-once topic may have, are left out.
    pub async fn dead_letters(&self, origins: usize) -> BTreeMap<(i32, i64), RawRecord> {
        let bootstrap = self.broker.bootstrap();
        tokio::task::spawn_blocking(move || read_dead_letters(&bootstrap, origins))
            .await
            .unwrap()
    }
}

/// The partition of a key: the tests' own partitioner.
pub fn partition_of(key: &[u8]) -> i32 {
    let bytes = key
        .iter()
        .fold(0_u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(*byte));
    i32::from(bytes) % i32::from(PARTITIONS)
}

/// A new key whose events go to this partition.
pub fn key_in(partition: i32) -> Uuid {
    loop {
        let key = Uuid::now_v7();
        if partition_of(key.to_string().as_bytes()) == partition {
            return key;
        }
    }
}

fn read_hint(bootstrap: &str, partition: i32) -> Option<i64> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "learnexpert.scripted")
        .create()
        .unwrap();
    let mut asked = TopicPartitionList::new();
    asked.add_partition(TOPIC, partition);
    let committed = consumer.committed_offsets(asked, PATIENCE).unwrap();
    match committed.find_partition(TOPIC, partition).unwrap().offset() {
        Offset::Offset(offset) => Some(offset),
        _ => None,
    }
}

fn read_dead_letters(bootstrap: &str, origins: usize) -> BTreeMap<(i32, i64), RawRecord> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "a reader of dead letters")
        .create()
        .unwrap();
    let mut partitions = TopicPartitionList::new();
    for partition in 0..i32::from(PARTITIONS) {
        partitions
            .add_partition_offset(DEAD_LETTERS, partition, Offset::Beginning)
            .unwrap();
    }
    consumer.assign(&partitions).unwrap();
    let mut found = BTreeMap::new();
    let deadline = std::time::Instant::now() + PATIENCE;
    while found.len() < origins {
        assert!(
            std::time::Instant::now() < deadline,
            "{} of {origins} dead letters came",
            found.len()
        );
        let Some(Ok(message)) = consumer.poll(Duration::from_millis(50)) else {
            continue;
        };
        let headers = message.headers().unwrap().iter();
        let record = RawRecord {
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers: headers
                .map(|h| (h.key.to_owned(), h.value.unwrap_or_default().to_vec()))
                .collect(),
        };
        let number = |name| record.header(name).unwrap().parse::<i64>().unwrap();
        let origin = (
            i32::try_from(number("dlq_partition")).unwrap(),
            number("dlq_offset"),
        );
        found.insert(origin, record);
    }
    found
}

/// Waits for a condition that is asked for, not timed.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !holds() {
        assert!(
            tokio::time::Instant::now() < deadline,
            "{what} did not come true"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What lanes and partitions wait for now.
pub fn waits(snapshot: &Snapshot) -> Vec<Waiting> {
    let partitions = snapshot
        .partitions
        .values()
        .filter_map(|status| match &status.phase {
            Phase::Waiting(waiting) => Some(waiting.clone()),
            _ => None,
        });
    snapshot
        .lanes
        .iter()
        .filter_map(|lane| lane.waiting.clone())
        .chain(partitions)
        .collect()
}

/// Waits until something waits with these words in its message.
pub async fn until_waiting(running: &Running, on: &str, words: &str) -> Waiting {
    let board = running.board();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let snapshot = board.snapshot();
        if let Some(found) = waits(&snapshot)
            .into_iter()
            .find(|w| w.on == on && w.message.contains(words))
        {
            return found;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "nothing waits on {on} with {words:?}; the board says {snapshot:?}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until nothing waits.
pub async fn until_nothing_waits(running: &Running) {
    let board = running.board();
    eventually("nothing waits", || waits(&board.snapshot()).is_empty()).await;
}

/// Waits until so many partitions are being read.
pub async fn until_reading(running: &Running, partitions: usize) {
    let board = running.board();
    eventually(&format!("{partitions} partitions are read"), || {
        board
            .snapshot()
            .partitions
            .values()
            .filter(|p| p.phase == Phase::Running)
            .count()
            == partitions
    })
    .await;
}

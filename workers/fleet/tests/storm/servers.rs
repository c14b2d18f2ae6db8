//! The real servers, migrated and registered.

use crate::workers::Fleet;
use databases::{Environment, Password, Request, Role, Service, migrate};
use events::EventType;
use events::catalogue::{TOPICS, dead_letter_topic};
use publish::registry::{Registry, RegistrySettings};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use sqlx::Connection;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use std::str::FromStr;
use std::time::{Duration, Instant};
use testkit::{Kafka, Postgres};

pub const PARTITIONS: u16 = 6;
pub const GROUP: &str = "learnexpert.analytics";
pub const PASSWORD: &str = "storm";
const PATIENCE: Duration = Duration::from_secs(180);

/// Where a record came from: topic, partition, offset.
pub type Origin = (String, i32, i64);

#[derive(Clone, Debug)]
pub struct Endpoints {
    pub brokers: String,
    pub registry: String,
}

pub struct Servers {
    pub kafka: Kafka,
    pub registry: testkit::Registry,
    pub postgres: Postgres,
    pub database: String,
}

impl Servers {
    pub async fn start() -> Self {
        let (kafka, registry, postgres) = tokio::join!(
            Kafka::start(),
            testkit::Registry::start(),
            Postgres::builder().setting("max_connections", "80").start()
        );
        let (kafka, registry, postgres) = (kafka.unwrap(), registry.unwrap(), postgres.unwrap());
        for topic in &TOPICS {
            kafka
                .create_topic(topic.name, PARTITIONS, &[])
                .await
                .unwrap();
        }
        kafka
            .create_topic(&dead_letter_topic(GROUP), PARTITIONS, &[])
            .await
            .unwrap();
        let client = Registry::connect(&RegistrySettings::new([registry.url()])).unwrap();
        for event_type in EventType::ALL {
            client.register(event_type).await.unwrap();
        }
        let admin = PgConnectOptions::from_str(&postgres.url("postgres")).unwrap();
        let mut request = Request::new(admin, Environment::Test);
        request.services = vec![Service::Analytics];
        request
            .passwords
            .insert(Role::Worker(Service::Analytics), Password::new(PASSWORD));
        migrate(&request, &mut |_| {}).await.unwrap();
        Self {
            kafka,
            registry,
            postgres,
            database: Service::Analytics.database(Environment::Test),
        }
    }

    pub fn endpoints(&self) -> Endpoints {
        Endpoints {
            brokers: self.kafka.bootstrap(),
            registry: self.registry.url(),
        }
    }

    pub async fn administrator(&self) -> PgConnection {
        PgConnection::connect(&self.postgres.url(&self.database))
            .await
            .unwrap()
    }

    /// Whether a worker's backend is inside a transaction right now.
    pub async fn is_in_transaction(&self, connection: &mut PgConnection, instance: &str) -> bool {
        let open: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity
             WHERE application_name LIKE $1 AND xact_start IS NOT NULL AND state <> 'idle'",
        )
        .bind(format!("{GROUP} {instance} lane %"))
        .fetch_one(connection)
        .await
        .unwrap();
        open > 0
    }

    /// Waits until the positions stand at the ends of all logs.
    pub async fn until_everything_is_read(&self, fleet: &Fleet) {
        let ends = self.log_ends();
        let mut connection = self.administrator().await;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let read: i64 = sqlx::query_scalar(
                "SELECT coalesce(sum(next_offset), 0)::bigint FROM engine.partition_position",
            )
            .fetch_one(&mut connection)
            .await
            .unwrap();
            if read == ends {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{read} of {ends} records were read\n{}",
                fleet.logs()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn log_ends(&self) -> i64 {
        let consumer = self.consumer();
        let patience = Duration::from_secs(10);
        let ends = |topic: &str| -> i64 {
            (0..i32::from(PARTITIONS))
                .map(|partition| {
                    consumer
                        .fetch_watermarks(topic, partition, patience)
                        .unwrap()
                        .1
                })
                .sum()
        };
        TOPICS.iter().map(|topic| ends(topic.name)).sum()
    }

    fn consumer(&self) -> BaseConsumer {
        ClientConfig::new()
            .set("bootstrap.servers", self.kafka.bootstrap())
            .set("group.id", "storm-check")
            .set("enable.auto.commit", "false")
            .create()
            .unwrap()
    }

    /// Everything in the dead letter topic: origin and value. An origin may be there twice.
    pub async fn dead_letters(&self) -> Vec<(Origin, Option<Vec<u8>>)> {
        let topic = dead_letter_topic(GROUP);
        let consumer = self.consumer();
        let mut list = TopicPartitionList::new();
        let mut left = 0;
        for partition in 0..i32::from(PARTITIONS) {
            let (_, high) = consumer
                .fetch_watermarks(&topic, partition, Duration::from_secs(10))
                .unwrap();
            left += high;
            list.add_partition_offset(&topic, partition, Offset::Beginning)
                .unwrap();
        }
        consumer.assign(&list).unwrap();
        let mut found = Vec::new();
        while left > 0 {
            let message = consumer
                .poll(Duration::from_secs(10))
                .expect("more dead letters")
                .unwrap();
            let header = |name: &str| -> String {
                let headers = message.headers().unwrap();
                let header = headers.iter().find(|h| h.key == name).unwrap();
                String::from_utf8(header.value.unwrap().to_vec()).unwrap()
            };
            let origin = (
                header("dlq_topic"),
                header("dlq_partition").parse().unwrap(),
                header("dlq_offset").parse().unwrap(),
            );
            found.push((origin, message.payload().map(<[u8]>::to_vec)));
            left -= 1;
        }
        found
    }

    /// A hash over every row that events have caused.
    pub async fn contents(&self) -> Vec<Option<String>> {
        let mut connection = self.administrator().await;
        let mut hashes = Vec::new();
        for table in [
            "raw_events_log",
            "course_engagement_summary",
            "company_learning_summary",
            "company_active_learners",
        ] {
            let sql = format!(
                "SELECT count(*) || ' ' || sum(hashtextextended(t::text, 0)::numeric) FROM {table} t"
            );
            let hash = sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
                .fetch_one(&mut connection)
                .await;
            hashes.push(hash.unwrap());
        }
        hashes
    }

    /// As after a loss of all bookkeeping of positions: everything is read again.
    pub async fn forget_positions(&self) {
        let mut connection = self.administrator().await;
        sqlx::raw_sql("UPDATE engine.partition_position SET next_offset = 0")
            .execute(&mut connection)
            .await
            .unwrap();
    }
}

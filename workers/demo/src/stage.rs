//! The stage: a throwaway PostgreSQL, librdkafka's mock cluster as the broker, and the worker, all
//! in this process or below it. Everything disappears with it.

use analytics::Analytics;
use anyhow::{Context, Result, ensure};
use databases::{Environment, Password, Request, Role, Service, migrate};
use engine::{
    FloodLimits, GroupProtocol, Limits, Running, RunningService, Settings, Shutdown, Start,
    Timeouts, TopicIds,
};
use events::catalogue::{self, TOPICS};
use publish::registry::Registry;
use publish::{KafkaSettings, Publisher};
use sqlx::Connection;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use std::str::FromStr;
use std::time::Duration;
use testkit::{MockKafka, Postgres};
use uuid::Uuid;

/// Few, because the embedded broker keeps all in this process.
const PARTITIONS: u16 = 4;

/// Everything that runs during the demo.
pub struct Stage {
    /// The broker.
    pub kafka: MockKafka,
    /// The database server.
    pub postgres: Postgres,
    /// The analytics worker.
    pub worker: Running,
    partitions: RunningService,
    database: String,
    password: String,
}

impl Stage {
    /// Starts the servers, migrates and starts the worker, telling each step.
    ///
    /// # Errors
    /// A server could not be started; the message names what is missing.
    pub async fn build(mut tell: impl FnMut(&str)) -> Result<Self> {
        tell("starting a throwaway PostgreSQL");
        let postgres = Postgres::builder()
            .setting("track_commit_timestamp", "on")
            .setting("shared_buffers", "256MB")
            .start()
            .await
            .context("start PostgreSQL")?;
        tell("starting the embedded Kafka broker");
        let kafka = MockKafka::start(1).context("start the embedded broker")?;
        for topic in &TOPICS {
            kafka.create_topic(topic.name, PARTITIONS)?;
        }
        kafka.create_topic(
            &catalogue::dead_letter_topic("learnexpert.analytics"),
            PARTITIONS,
        )?;

        tell("migrating the analytics database");
        let password = Uuid::new_v4().simple().to_string();
        let admin = PgConnectOptions::from_str(&postgres.url("postgres"))?;
        let mut request = Request::new(admin, Environment::Dev);
        request.services = vec![Service::Analytics];
        request.passwords.insert(
            Role::Worker(Service::Analytics),
            Password::new(password.clone()),
        );
        migrate(&request, &mut |_| {})
            .await
            .context("migrate the analytics database")?;

        tell("starting the analytics worker");
        let database = Service::Analytics.database(Environment::Dev);
        let url = worker_url(&postgres, &database, &password);
        let settings = settings(kafka.bootstrap(), &url)?;
        let partitions = RunningService::start(
            engine::service::DayPartitions::new(&settings, "learnexpert.analytics"),
            settings.backoff,
        );
        let worker = engine::start(Analytics, settings)?;
        until_ready(&worker).await?;
        Ok(Self {
            kafka,
            postgres,
            worker,
            partitions,
            database,
            password,
        })
    }

    /// A producer that speaks for a service.
    ///
    /// # Errors
    /// The producer cannot be made.
    pub fn publisher(&self, source: &str) -> Result<Publisher> {
        let kafka = KafkaSettings::plaintext(self.kafka.bootstrap());
        Ok(Publisher::new(&kafka, Registry::bundled(), source)?)
    }

    /// A connection as the server's administrator, for counting.
    ///
    /// # Errors
    /// The database cannot be reached.
    pub async fn administrator(&self) -> Result<PgConnection> {
        Ok(PgConnection::connect(&self.postgres.url(&self.database)).await?)
    }

    /// How an analyst connects.
    pub fn analyst_url(&self) -> String {
        self.postgres.url(&self.database)
    }

    /// How a worker connects.
    pub fn worker_url(&self) -> String {
        worker_url(&self.postgres, &self.database, &self.password)
    }

    /// Stops the worker and the servers.
    ///
    /// # Errors
    /// The worker had failed.
    pub async fn clear(self) -> Result<()> {
        self.worker.stop().await?;
        self.partitions.stop().await;
        Ok(())
    }
}

/// How long the worker may take to become a member of its group and claim its partitions.
const READY: Duration = Duration::from_secs(60);

async fn until_ready(worker: &Running) -> Result<()> {
    let deadline = tokio::time::Instant::now() + READY;
    while let Err(why) = worker.board().ready() {
        ensure!(
            tokio::time::Instant::now() < deadline,
            "the worker is not ready: {why}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

fn worker_url(postgres: &Postgres, database: &str, password: &str) -> String {
    let role = Role::Worker(Service::Analytics).name();
    format!(
        "postgres://{role}:{password}@127.0.0.1:{}/{database}",
        postgres.port()
    )
}

fn settings(brokers: &str, database: &str) -> Result<Settings> {
    Ok(Settings {
        kafka: KafkaSettings::plaintext(brokers),
        topic_ids: TopicIds::FromName,
        instance_id: Some("analytics-0".to_owned()),
        group_protocol: GroupProtocol::Classic,
        session_timeout: Duration::from_secs(6),
        max_poll_interval: Duration::from_secs(300),
        start: Start::Earliest,
        shutdown: Shutdown::Stay,
        registry: Registry::bundled(),
        registry_name: "bundled".to_owned(),
        unknown_schema_wait: Duration::from_secs(2),
        database: PgConnectOptions::from_str(database)?,
        timeouts: Timeouts {
            statement: Duration::from_secs(10),
            lock: Duration::from_secs(8),
            idle_in_transaction: Duration::from_secs(5),
        },
        lanes: 2,
        batch_events: 5_000,
        batch_bytes: 8 << 20,
        linger: Duration::from_millis(5),
        budget: Limits {
            events: 50_000,
            bytes: 64 << 20,
        },
        backoff: (Duration::from_millis(100), Duration::from_secs(10)),
        flood: FloodLimits {
            consecutive: 20,
            ratio: 0.5,
            window: 200,
        },
        drain_deadline: Duration::from_secs(20),
    })
}

//! The analytics worker in a process of its own, so that its processor time and memory are its own.

use analytics::Analytics;
use anyhow::Result;
use clap::Args;
use engine::{FloodLimits, GroupProtocol, Limits, Settings, Shutdown, Start, Timeouts, TopicIds};
use publish::KafkaSettings;
use publish::registry::Registry;
use sqlx::postgres::PgConnectOptions;
use std::str::FromStr;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// How the worker is run.
#[derive(Args, Clone, Debug)]
pub struct Options {
    #[arg(long)]
    pub brokers: String,
    #[arg(long)]
    pub database: String,
    #[arg(long)]
    pub lanes: usize,
    #[arg(long)]
    pub batch: usize,
}

/// Runs until SIGTERM.
pub async fn run(options: Options) -> Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter("warn")
        .with_writer(std::io::stderr)
        .init();
    let mut running = engine::start(Analytics, settings(&options)?)?;
    let mut stop = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = stop.recv() => Ok(running.stop().await?),
        error = running.failed() => Err(error.into()),
    }
}

fn settings(options: &Options) -> Result<Settings> {
    Ok(Settings {
        kafka: KafkaSettings::plaintext(&options.brokers),
        topic_ids: TopicIds::FromBroker,
        instance_id: Some("bench-0".to_owned()),
        group_protocol: GroupProtocol::Classic,
        session_timeout: Duration::from_secs(6),
        max_poll_interval: Duration::from_secs(300),
        start: Start::Earliest,
        shutdown: Shutdown::Leave,
        registry: Registry::bundled(),
        registry_name: "bundled".to_owned(),
        unknown_schema_wait: Duration::from_secs(60),
        database: PgConnectOptions::from_str(&options.database)?,
        timeouts: Timeouts {
            statement: Duration::from_secs(30),
            lock: Duration::from_secs(10),
            idle_in_transaction: Duration::from_secs(5),
        },
        lanes: options.lanes,
        batch_events: options.batch,
        batch_bytes: 16 << 20,
        linger: Duration::from_millis(5),
        budget: Limits {
            events: options.batch * 3,
            bytes: 48 << 20,
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

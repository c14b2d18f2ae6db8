//! `fleet run`: runs workers until SIGTERM.
//!
//! Invariant: the process is healthy as a whole or not at all. A worker that ends by itself, or
//! that stands still, ends the process, so that whoever supervises it starts it again; that is safe
//! at any moment.

use crate::config::{Config, Loaded, Unusable};
use crate::telemetry::{self, Health};
use analytics::Analytics;
use anyhow::{Context, Result, bail};
use databases::Service;
use engine::status::Board;
use engine::{Running, RunningService, Settings, TopicIds};
use sqlx::Connection;
use sqlx::postgres::PgConnection;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// Runs workers until they are told to stop (SIGTERM or Ctrl-C)
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Which workers
    #[arg(required = true, value_enum, value_name = "WORKER")]
    workers: Vec<Name>,
}

/// The workers that can be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
enum Name {
    /// The raw event log and the daily summaries
    Analytics,
}

/// How often the process looks whether it still makes progress.
const WATCH: Duration = Duration::from_secs(5);

struct Boards {
    boards: Vec<Arc<Board>>,
    stall_limit: Duration,
}

impl Health for Boards {
    fn live(&self) -> Result<(), String> {
        self.boards
            .iter()
            .try_for_each(|board| board.live(self.stall_limit))
    }

    fn ready(&self) -> Result<(), String> {
        self.boards.iter().try_for_each(|board| board.ready())
    }

    fn status(&self) -> serde_json::Value {
        let snapshots: Vec<_> = self.boards.iter().map(|board| board.snapshot()).collect();
        serde_json::json!({ "version": env!("CARGO_PKG_VERSION"), "workers": snapshots })
    }
}

/// Runs until stopped.
///
/// # Errors
/// A configuration that cannot work, an address that is taken, or a worker that failed.
pub async fn run(args: Args, read: impl FnOnce() -> Loaded) -> Result<ExitCode> {
    let mut warnings = Vec::new();
    let config = read().usable(|problem| warnings.push(problem.to_string()))?;
    telemetry::log(&config.log)?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let metrics = telemetry::record_metrics()?;
    let mut names = args.workers;
    names.sort_unstable();
    names.dedup();

    let mut workers = Vec::with_capacity(names.len());
    let mut services = Vec::new();
    for name in names {
        let settings = settings(&config, name)?;
        check_database(&settings, database_of(name)).await?;
        let group = group_of(name);
        let partitions = engine::service::DayPartitions::new(&settings, &group);
        services.push(RunningService::start(partitions, settings.backoff));
        workers.push(start(name, settings)?);
    }
    let health = Arc::new(Boards {
        boards: workers.iter().map(Running::board).collect(),
        // Before the broker gives up on a member that stands still, the member itself does.
        stall_limit: config.kafka.max_poll_interval / 2,
    });
    let server = telemetry::serve(config.http.listen, metrics, Arc::clone(&health) as _).await?;
    tracing::info!(address = %server.address(), "health, status and metrics");

    let ended = until_stopped(&mut workers, &health).await;
    let mut outcome = ended;
    for worker in workers {
        let stopped = worker.stop().await.context("stop a worker");
        outcome = outcome.and(stopped);
    }
    for service in services {
        service.stop().await;
    }
    server.stop().await;
    outcome.map(|()| ExitCode::SUCCESS)
}

/// Refuses a database that is behind this binary. One that cannot be reached is waited for later,
/// like any outage.
async fn check_database(settings: &Settings, service: Service) -> Result<()> {
    match PgConnection::connect_with(&settings.database).await {
        Ok(mut connection) => {
            databases::check(&mut connection, service).await?;
            Ok(())
        }
        Err(error) => {
            tracing::warn!(%error, "the database cannot be reached yet");
            Ok(())
        }
    }
}

async fn until_stopped(workers: &mut [Running], health: &Boards) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut watch = tokio::time::interval(WATCH);
    loop {
        let failures = workers.iter_mut().map(|worker| Box::pin(worker.failed()));
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            interrupted = tokio::signal::ctrl_c() => return interrupted.context("listen for Ctrl-C"),
            (failure, _, _) = futures::future::select_all(failures) => {
                return Err(failure).context("a worker failed");
            }
            _ = watch.tick() => {
                if let Err(stalled) = health.live() {
                    // Stopping in order would wait for what stands still.
                    tracing::error!(stalled, "no progress; the process ends so that it is started again");
                    bail!("no progress: {stalled}");
                }
            }
        }
    }
}

fn group_of(name: Name) -> String {
    match name {
        Name::Analytics => engine::group_of(&Analytics),
    }
}

fn start(name: Name, settings: Settings) -> Result<Running> {
    let running = match name {
        Name::Analytics => engine::start(Analytics, settings),
    };
    running.with_context(|| format!("start {}", group_of(name)))
}

const fn database_of(name: Name) -> Service {
    match name {
        Name::Analytics => Service::Analytics,
    }
}

fn settings(config: &Config, name: Name) -> Result<Settings, Unusable> {
    settings_for(config, database_of(name))
}

/// The engine's settings for a worker of one service.
///
/// # Errors
/// A setting that is missing.
pub fn settings_for(config: &Config, service: Service) -> Result<Settings, Unusable> {
    let engine = &config.engine;
    Ok(Settings {
        kafka: config.kafka_settings()?,
        topic_ids: TopicIds::FromBroker,
        instance_id: config.kafka.group_instance_id.clone(),
        group_protocol: config.kafka.group_protocol,
        session_timeout: config.kafka.session_timeout,
        max_poll_interval: config.kafka.max_poll_interval,
        start: config.kafka.start,
        shutdown: config.kafka.shutdown,
        registry: config.registry()?,
        registry_name: config.registry_name(),
        unknown_schema_wait: config.registry.unknown_schema_wait,
        database: config.database(service)?,
        timeouts: engine.timeouts,
        lanes: engine.lanes,
        batch_events: engine.batch_events,
        batch_bytes: engine.batch_bytes,
        linger: engine.linger,
        budget: engine.budget,
        backoff: engine.backoff,
        flood: engine.flood,
        drain_deadline: engine.drain_deadline,
    })
}

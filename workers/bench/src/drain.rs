//! `drain`: a backlog on a real Kafka through the whole worker into PostgreSQL, interleaved with the
//! limit, contents compared; then the latency at a steady pace.

use crate::usage::{cpu_micros, median, peak_memory_mb};
use crate::{backlog, limit};
use anyhow::{Context, Result, ensure};
use clap::Args;
use databases::{Environment, Request, Service, migrate};
use demo::story::Told;
use sqlx::Connection;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use std::str::FromStr;
use std::time::{Duration, Instant};
use testkit::{Kafka, Postgres, Process, Signal};

/// What is measured.
#[derive(Args, Clone, Copy, Debug)]
pub struct Options {
    /// Distinct events in the backlog; one in a hundred is sent twice
    #[arg(long, default_value_t = 400_000)]
    events: usize,
    /// Connections that write
    #[arg(long, default_value_t = 1)]
    lanes: usize,
    /// Events of one transaction
    #[arg(long, default_value_t = 5_000)]
    batch: usize,
    /// Partitions of the topic
    #[arg(long, default_value_t = 6)]
    partitions: u16,
    /// How often each side is measured; the median counts
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Events per second for the latency
    #[arg(long, default_value_t = 1_000)]
    pace: u32,
}

struct Servers {
    _postgres: Postgres,
    kafka: Kafka,
    url: String,
}

struct Drained {
    seconds: f64,
    cpu_us_per_event: f64,
    memory_mb: u64,
}

/// Measures and prints.
pub async fn measure(options: Options) -> Result<()> {
    println!(
        "drain: {} events, {} connection(s), batches of {}",
        options.events, options.lanes, options.batch
    );
    let servers = start(options).await?;
    let events = backlog::events(options.events)?;
    let lines = limit::lines(&events)?;
    let records = backlog::send(&servers.kafka.bootstrap(), &events).await?;
    println!(
        "backlog: {records} records on {} partitions",
        options.partitions
    );

    let (mut fleet, mut limits, mut cpu, mut memory) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for round in 1..=options.rounds {
        empty(&servers.url).await?;
        let took = limit::run(&servers.url, &lines, options.lanes, options.batch).await?;
        let by_limit = contents(&servers.url).await?;
        limits.push(events.len() as f64 / took.as_secs_f64());

        empty(&servers.url).await?;
        let drained = drain(&servers, options, records).await?;
        ensure!(
            contents(&servers.url).await? == by_limit,
            "the worker's tables differ from the limit's"
        );
        fleet.push(events.len() as f64 / drained.seconds);
        cpu.push(drained.cpu_us_per_event);
        memory = memory.max(drained.memory_mb);
        println!(
            "round {round}: fleet {:.0}/s, limit {:.0}/s, ratio {:.2}, worker {:.1} µs/event; contents equal",
            fleet[round - 1],
            limits[round - 1],
            fleet[round - 1] / limits[round - 1],
            cpu[round - 1]
        );
    }
    let (p50, p99) = latency(&servers, options).await?;
    let (fleet, limits) = (median(&mut fleet), median(&mut limits));
    println!(
        "drain: fleet={fleet:.0}/s limit={limits:.0}/s ratio={:.2} cpu_us={:.1} rss_mb={memory} p50_ms={p50:.1} p99_ms={p99:.1}",
        fleet / limits,
        median(&mut cpu)
    );
    Ok(())
}

async fn start(options: Options) -> Result<Servers> {
    let postgres = Postgres::builder()
        .setting("shared_buffers", "1GB")
        .setting("max_wal_size", "4GB")
        .setting("fsync", "on")
        .setting("synchronous_commit", "on")
        .setting("track_commit_timestamp", "on")
        .start()
        .await?;
    let admin = PgConnectOptions::from_str(&postgres.url("postgres"))?;
    let mut request = Request::new(admin, Environment::Test);
    request.services = vec![Service::Analytics];
    migrate(&request, &mut |_| {}).await?;
    let url = postgres.url(&Service::Analytics.database(Environment::Test));
    let kafka = Kafka::start().await?;
    for topic in &events::catalogue::TOPICS {
        kafka
            .create_topic(topic.name, options.partitions, &[])
            .await?;
    }
    Ok(Servers {
        _postgres: postgres,
        kafka,
        url,
    })
}

async fn empty(url: &str) -> Result<()> {
    let mut connection = PgConnection::connect(url).await?;
    sqlx::raw_sql(
        "TRUNCATE raw_events_log, course_engagement_summary, company_learning_summary,
           company_active_learners, engine.partition_position, engine.partition_fence;
         CHECKPOINT",
    )
    .execute(&mut connection)
    .await?;
    Ok(())
}

/// Sums of hashes over all columns that both sides fill, independent of order.
async fn contents(url: &str) -> Result<Vec<Option<String>>> {
    let mut connection = PgConnection::connect(url).await?;
    let mut sums = Vec::new();
    for rows in [
        "SELECT id, event_timestamp, event_source_service, event_type, user_id, company_id, entity_id, payload FROM raw_events_log",
        "SELECT * FROM course_engagement_summary",
        "SELECT * FROM company_learning_summary",
        "SELECT * FROM company_active_learners",
    ] {
        let sql = format!(
            "SELECT count(*) || ' rows, ' || sum(hashtextextended(r::text, 0)::numeric) FROM ({rows}) r"
        );
        sums.push(
            sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
                .fetch_one(&mut connection)
                .await?,
        );
    }
    Ok(sums)
}

fn worker(servers: &Servers, options: Options) -> Result<Process> {
    let program = std::env::current_exe().context("find this program")?;
    Ok(Process::builder(program)
        .name("worker")
        .args([
            "worker",
            "--brokers",
            &servers.kafka.bootstrap(),
            "--database",
            &servers.url,
        ])
        .args([
            "--lanes",
            &options.lanes.to_string(),
            "--batch",
            &options.batch.to_string(),
        ])
        .spawn()?)
}

async fn drain(servers: &Servers, options: Options, records: u64) -> Result<Drained> {
    let process = worker(servers, options)?;
    let mut connection = PgConnection::connect(&servers.url).await?;
    // Joining the group is not draining: the clock starts at the first claim.
    position_reaches(&mut connection, &process, 0).await?;
    let (started, cpu) = (Instant::now(), cpu_micros(process.pid())?);
    position_reaches(&mut connection, &process, records).await?;
    let seconds = started.elapsed().as_secs_f64();
    let cpu = cpu_micros(process.pid())? - cpu;
    let memory_mb = peak_memory_mb(process.pid())?;
    process
        .stop(Signal::SIGTERM, Duration::from_secs(30))
        .await?;
    Ok(Drained {
        seconds,
        cpu_us_per_event: cpu as f64 / records as f64,
        memory_mb,
    })
}

async fn position_reaches(
    connection: &mut PgConnection,
    process: &Process,
    records: u64,
) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(600);
    loop {
        let position: Option<i64> = sqlx::query_scalar(
            "SELECT sum(next_offset)::bigint FROM engine.partition_position WHERE topic = $1",
        )
        .bind(backlog::TOPIC)
        .fetch_one(&mut *connection)
        .await?;
        if position.is_some_and(|position| position.unsigned_abs() >= records) {
            return Ok(());
        }
        if process.exit_status().is_some() || Instant::now() > deadline {
            anyhow::bail!(
                "the worker came to {position:?} of {records} only:\n{}",
                process.log()?
            );
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// From handing an event to the producer to its commit, by PostgreSQL's commit timestamps.
async fn latency(servers: &Servers, options: Options) -> Result<(f64, f64)> {
    const SECONDS: u32 = 10;
    let process = worker(servers, options)?;
    let mut connection = PgConnection::connect(&servers.url).await?;
    let before: i64 = sqlx::query_scalar(
        "SELECT sum(next_offset)::bigint FROM engine.partition_position WHERE topic = $1",
    )
    .bind(backlog::TOPIC)
    .fetch_one(&mut connection)
    .await?;
    // Two seconds of the same pace first, until the worker has its partitions again.
    let pace = options.pace as usize;
    let events: Vec<Told> = backlog::events(pace * (SECONDS as usize + 5))?;
    let (warm_up, measured) = events.split_at(pace * 5);
    backlog::send_at(&servers.kafka.bootstrap(), warm_up, options.pace).await?;
    let times = backlog::send_at(&servers.kafka.bootstrap(), measured, options.pace).await?;
    position_reaches(
        &mut connection,
        &process,
        before.unsigned_abs() + events.len() as u64,
    )
    .await?;
    process
        .stop(Signal::SIGTERM, Duration::from_secs(30))
        .await?;

    let ids: Vec<uuid::Uuid> = measured.iter().map(|told| told.id).collect();
    let mut waits: Vec<f64> = sqlx::query_scalar(
        "SELECT (extract(epoch FROM pg_xact_commit_timestamp(r.xmin) - s.at) * 1000)::float8
         FROM raw_events_log r JOIN unnest($1::uuid[], $2::timestamptz[]) AS s(id, at) USING (id)",
    )
    .bind(&ids)
    .bind(&times)
    .fetch_all(&mut connection)
    .await?;
    ensure!(
        waits.len() == measured.len(),
        "{} of {} events arrived",
        waits.len(),
        measured.len()
    );
    waits.sort_by(f64::total_cmp);
    let at = |share: f64| waits[((waits.len() - 1) as f64 * share).round() as usize];
    Ok((at(0.5), at(0.99)))
}

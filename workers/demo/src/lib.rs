//! A believable day on the platform, played through the real worker on throwaway servers, and an
//! independent count of what became of it.
//!
//! *Architecture invariant:* [`ledger`] and [`fold`] know nothing of the workers; [`check`] asks the
//! databases in plain SQL. So the last line of the demo is a proof, not a claim.

pub mod check;
pub mod fold;
pub mod ledger;
mod show;
mod stage;
pub mod story;

use anyhow::{Context, Result, bail};
use check::Verdict;
use chrono::Utc;
use events::{Envelope, EventId, EventType};
use fold::Expected;
use indicatif::{ProgressBar, ProgressStyle};
use ledger::Ledger;
use publish::Meta;
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use stage::Stage;
use std::collections::HashMap;
use std::time::Duration;
use story::{Cast, Told, disorder, tell};
use uuid::Uuid;

/// How the demo is played.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The same seed plays the same day.
    pub seed: u64,
    /// People who sign up and learn.
    pub learners: usize,
    /// Leave everything running at the end.
    pub keep: bool,
}

/// Events per second while the day is played.
const PACE: u32 = 2_000;
/// How long the worker may take to catch up at the end.
const CATCH_UP: Duration = Duration::from_secs(60);

/// Records that no reader can understand: what is wrong, whether they have headers, the value.
const BROKEN: [(&str, bool, &[u8]); 3] = [
    ("JSON instead of Avro", true, b"{\"user\":\"ada\"}"),
    ("a truncated value", true, &[0, 0, 0, 0, 44, 72, 48, 49]),
    ("no headers", false, b"ping"),
];

/// Plays the day and says whether everything took effect exactly once.
///
/// # Errors
/// A server could not be started, or the count does not come out.
pub async fn play(options: Options) -> Result<()> {
    let stage = Stage::build(|step| println!("· {step}")).await?;
    let folder = tempfile::tempdir().context("create a folder for the ledger")?;
    let ledger = Ledger::create(&folder.path().join("ledger.jsonl"))?;

    let cast = Cast {
        learners: options.learners,
        courses: 12,
        companies: 5,
    };
    let story = tell(options.seed, cast, Utc::now())?;
    let ledger = send(&stage, &story, options.seed, ledger).await?;
    let expected = Expected::of(ledger.close()?);

    let verdict = catch_up(&stage, &expected).await?;
    let mut connection = stage.administrator().await?;
    let (p50, p99) = check::latency_ms(&mut connection, &expected).await?;
    show::analyst(&mut connection).await?;
    show::ops(&mut connection, &verdict).await?;
    let Verdict {
        sent,
        applied,
        duplicates,
        dead_lettered,
        lost,
        doubled,
        ..
    } = verdict;
    let counts = format!(
        "sent={sent} applied={applied} duplicates={duplicates} dead_lettered={dead_lettered} lost={lost} doubled={doubled} p50_ms={p50:.0} p99_ms={p99:.0}"
    );
    if options.keep {
        wait_for_visitors(&stage).await?;
    }
    drop(connection);
    stage.clear().await?;
    let as_expected = verdict.is_clean() && dead_lettered == expected.garbage;
    if !as_expected {
        println!("demo failed: {counts}");
        bail!("the ledger and the database disagree");
    }
    println!("\ndemo ok: {counts}");
    Ok(())
}

async fn send(stage: &Stage, story: &[Told], seed: u64, mut ledger: Ledger) -> Result<Ledger> {
    let sendings = disorder(seed, story.len(), 0.05, 0.02);
    println!(
        "· playing a day: {} events, 2 % sent twice, 5 % late, 3 broken records",
        story.len()
    );
    let progress = ProgressBar::new(sendings.len() as u64).with_style(
        ProgressStyle::with_template("  {bar:40} {pos}/{len} {per_sec} {elapsed}")?,
    );
    let mut publishers = HashMap::new();
    for told in story {
        if !publishers.contains_key(told.source) {
            publishers.insert(told.source, stage.publisher(told.source)?);
        }
    }
    let mut tick = tokio::time::interval(Duration::from_millis(10));
    let mut acknowledgements = Vec::with_capacity(sendings.len());
    for (index, sending) in sendings.iter().enumerate() {
        if index % (PACE / 100) as usize == 0 {
            tick.tick().await;
        }
        let told = &story[sending.event];
        let mut meta = Meta::new().event_id(told.id).time(told.time);
        if let Some(version) = told.version {
            meta = meta.aggregate_version(version);
        }
        ledger.event(told)?;
        let publisher = publishers
            .get(told.source)
            .context("a publisher for every source")?;
        acknowledgements.push(publisher.send(told.payload.clone(), meta).await?);
        progress.inc(1);
    }
    for acknowledgement in acknowledgements {
        acknowledgement.await?;
    }
    send_broken(stage, &mut ledger).await?;
    progress.finish();
    Ok(ledger)
}

async fn send_broken(stage: &Stage, ledger: &mut Ledger) -> Result<()> {
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", stage.kafka.bootstrap())
        .create()?;
    for (what, with_headers, value) in BROKEN {
        ledger.garbage(what)?;
        let mut headers = OwnedHeaders::new();
        for (name, text) in broken_envelope().to_headers() {
            if with_headers {
                headers = headers.insert(Header {
                    key: name,
                    value: Some(&text),
                });
            }
        }
        let record = FutureRecord::<[u8], [u8]>::to("iam.users")
            .payload(value)
            .headers(headers);
        producer
            .send(record, Duration::from_secs(10))
            .await
            .map_err(|(error, _)| error)
            .with_context(|| format!("send a broken record ({what})"))?;
    }
    Ok(())
}

/// The envelope is in order; it is the value that nobody can read.
fn broken_envelope() -> Envelope {
    Envelope {
        id: EventId(Uuid::now_v7()),
        event_type: EventType::UserRegistered.contract().name.to_owned(),
        source: "iam-service".to_owned(),
        time: Utc::now(),
        subject: Uuid::now_v7().to_string(),
        aggregate_version: Some(1),
        correlation_id: None,
        causation_id: None,
        traceparent: None,
    }
}

/// Waits until everything that was sent has been read, or nothing moves any more.
async fn catch_up(stage: &Stage, expected: &Expected) -> Result<Verdict> {
    let deadline = tokio::time::Instant::now() + CATCH_UP;
    let mut connection = stage.administrator().await?;
    loop {
        let verdict = check::analytics(&mut connection, expected).await?;
        let read = verdict.applied + verdict.duplicates + verdict.dead_lettered;
        if read >= verdict.sent || tokio::time::Instant::now() > deadline {
            return Ok(verdict);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn wait_for_visitors(stage: &Stage) -> Result<()> {
    println!("\nLeft running; stop with Ctrl-C.");
    println!(
        "  PostgreSQL, to look at everything: psql {}",
        stage.analyst_url()
    );
    println!(
        "  PostgreSQL, as the worker:         psql {}",
        stage.worker_url()
    );
    println!(
        "  Kafka (embedded broker):           {}",
        stage.kafka.bootstrap()
    );
    tokio::signal::ctrl_c().await.context("wait for Ctrl-C")
}

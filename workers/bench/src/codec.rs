//! `codec`: how long one event takes by each candidate, on one core.

use anyhow::Result;
use clap::Args;
use events::{Envelope, Event, EventId, EventType, Json, WriterSchema, encode};
use std::hint::black_box;
use std::time::Instant;
use uuid::Uuid;

/// What is measured.
#[derive(Args, Clone, Copy, Debug)]
pub struct Options {
    /// How often each candidate decodes the event
    #[arg(long, default_value_t = 200_000)]
    times: u32,
}

/// Measures and prints.
pub fn measure(options: Options) -> Result<()> {
    let event_type = EventType::LessonCompleted;
    let contract = event_type.contract();
    let payload = contract.example_payload()?;
    let datum = encode(&payload)?;
    println!(
        "codec: {} of {} bytes, {} times each",
        contract.name,
        datum.len(),
        options.times
    );
    let own = WriterSchema::of_contract(event_type);
    let schema = apache_avro::Schema::parse_str(contract.schema)?;
    let reader = apache_avro::reader::datum::GenericDatumReader::builder(&schema).build()?;
    let resolving = apache_avro::reader::datum::GenericDatumReader::builder(&schema)
        .reader_schema(&schema)
        .build()?;
    let envelope = Envelope {
        id: EventId(Uuid::now_v7()),
        event_type: contract.name.to_owned(),
        source: "progress-service".to_owned(),
        time: chrono::Utc::now(),
        subject: payload.subject().to_string(),
        aggregate_version: None,
        correlation_id: None,
        causation_id: None,
        traceparent: None,
    };
    let decode = |json| Event::decode(envelope.clone(), own, &datum, json);
    time(
        options.times,
        "ours: typed + content hash (serde_avro_fast)",
        || black_box(decode(Json::Unwanted)).is_ok(),
    );
    time(
        options.times,
        "ours: typed + content hash + plain JSON",
        || black_box(decode(Json::Wanted)).is_ok(),
    );
    time(
        options.times,
        "apache-avro: value tree, writer schema only",
        || black_box(reader.read_value(&mut datum.as_slice())).is_ok(),
    );
    time(
        options.times,
        "apache-avro: value tree, resolved to a reader schema",
        || black_box(resolving.read_value(&mut datum.as_slice())).is_ok(),
    );
    time(options.times, "encode typed (serde_avro_fast)", || {
        black_box(encode(&payload)).is_ok()
    });
    Ok(())
}

fn time(times: u32, what: &str, mut once: impl FnMut() -> bool) {
    let started = Instant::now();
    let worked = (0..times).filter(|_| once()).count();
    let nanos = started.elapsed().as_nanos() / u128::from(times);
    println!("  {nanos:>6} ns  {what} ({worked} ok)");
}

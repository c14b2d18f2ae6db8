//! Rows for events that are not applied now: dead letters (the bytes are in the dead letter topic),
//! parked and quarantined events (the bytes are here).
//!
//! Invariant: a row is keyed by where the record came from, and written in the transaction that
//! moves the position past it.

use crate::record::Record;
use crate::scheduling::offsets::TopicPartition;
use crate::scheduling::prefix::Acknowledged;
use chrono::{DateTime, Utc};
use sqlx::postgres::PgConnection;
use uuid::Uuid;

/// Where a record came from, and under which name.
#[derive(Clone, Debug)]
pub struct Origin<'r> {
    /// The topic's id.
    pub topic_id: Uuid,
    /// The partition.
    pub partition: &'r TopicPartition,
    /// The record itself.
    pub record: &'r Record,
    /// The event's id, where the record has a readable one.
    pub event_id: Option<Uuid>,
    /// The event's name, where the record has one.
    pub event_type: Option<String>,
}

/// Longer keys are not parked: a valid key is a UUID.
const LONGEST_PARKED_KEY: usize = 1024;

/// Remembers an event that the dead letter topic has.
pub async fn insert_dead_letter(
    connection: &mut PgConnection,
    group: &str,
    origin: &Origin<'_>,
    kind: &str,
    reason: &str,
    dead_letter_topic: &str,
    at: Acknowledged,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO engine.dead_letters
           (consumer_group, topic_id, topic, partition, record_offset, event_id, event_type, key,
            event_time, kind, reason, dlq_topic, dlq_partition, dlq_offset)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
         ON CONFLICT (consumer_group, topic_id, partition, record_offset) DO UPDATE
           SET attempts = engine.dead_letters.attempts + 1, kind = excluded.kind, reason = excluded.reason,
               dlq_partition = excluded.dlq_partition, dlq_offset = excluded.dlq_offset, updated_at = now()",
    )
    .bind(group)
    .bind(origin.topic_id)
    .bind(&*origin.partition.topic)
    .bind(origin.partition.partition)
    .bind(origin.record.offset.0)
    .bind(origin.event_id)
    .bind(without_nul(origin.event_type.as_deref()))
    .bind(origin.record.key())
    .bind(time_of(origin.record))
    .bind(kind)
    .bind(without_nul(Some(reason)))
    .bind(dead_letter_topic)
    .bind(at.partition())
    .bind(at.offset())
    .execute(connection)
    .await?;
    Ok(())
}

/// From now on, events of this key wait.
pub async fn insert_parked_key(
    connection: &mut PgConnection,
    group: &str,
    origin: &Origin<'_>,
    key: &[u8],
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO engine.parked_keys (consumer_group, topic, partition, key, dead_letter_offset)
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
    )
    .bind(group)
    .bind(&*origin.partition.topic)
    .bind(origin.partition.partition)
    .bind(key)
    .bind(origin.record.offset.0)
    .execute(connection)
    .await?;
    Ok(())
}

/// The key under which successors can be parked.
pub fn parkable_key(record: &Record) -> Option<&[u8]> {
    record.key().filter(|key| key.len() <= LONGEST_PARKED_KEY)
}

/// Keeps an event whose predecessor is dead-lettered.
pub async fn insert_parked(
    connection: &mut PgConnection,
    group: &str,
    origin: &Origin<'_>,
) -> Result<(), sqlx::Error> {
    let (names, values) = headers_of(origin.record);
    sqlx::query(
        "INSERT INTO engine.parked_events
           (consumer_group, topic_id, topic, partition, record_offset, key, event_id, event_type, value,
            header_names, header_values, record_timestamp)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
         ON CONFLICT (consumer_group, topic_id, partition, record_offset) DO NOTHING",
    )
    .bind(group)
    .bind(origin.topic_id)
    .bind(&*origin.partition.topic)
    .bind(origin.partition.partition)
    .bind(origin.record.offset.0)
    .bind(origin.record.key())
    .bind(origin.event_id)
    .bind(origin.event_type.as_deref())
    .bind(origin.record.value())
    .bind(names)
    .bind(values)
    .bind(time_of(origin.record))
    .execute(connection)
    .await?;
    Ok(())
}

/// Keeps an event that only a person can judge.
pub async fn insert_quarantined(
    connection: &mut PgConnection,
    group: &str,
    origin: &Origin<'_>,
    kind: &str,
    reason: &str,
) -> Result<(), sqlx::Error> {
    let (names, values) = headers_of(origin.record);
    sqlx::query(
        "INSERT INTO engine.quarantined_events
           (consumer_group, topic_id, topic, partition, record_offset, event_id, event_type, kind, reason,
            key, value, header_names, header_values, record_timestamp)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
         ON CONFLICT (consumer_group, topic_id, partition, record_offset) DO NOTHING",
    )
    .bind(group)
    .bind(origin.topic_id)
    .bind(&*origin.partition.topic)
    .bind(origin.partition.partition)
    .bind(origin.record.offset.0)
    .bind(origin.event_id)
    .bind(origin.event_type.as_deref())
    .bind(kind)
    .bind(reason)
    .bind(origin.record.key())
    .bind(origin.record.value())
    .bind(names)
    .bind(values)
    .bind(time_of(origin.record))
    .execute(connection)
    .await?;
    Ok(())
}

fn headers_of(record: &Record) -> (Vec<String>, Vec<Option<&[u8]>>) {
    record
        .headers()
        .map(|(name, value)| (name.replace('\0', "\u{fffd}"), value))
        .unzip()
}

fn time_of(record: &Record) -> Option<DateTime<Utc>> {
    record
        .timestamp_ms
        .and_then(DateTime::from_timestamp_millis)
}

/// PostgreSQL's text cannot hold NUL, and what a foreign record says must not keep its own row out.
fn without_nul(text: Option<&str>) -> Option<String> {
    text.map(|text| text.replace('\0', "\u{fffd}"))
}

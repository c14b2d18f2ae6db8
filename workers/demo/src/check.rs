//! The independent count: the ledger against plain SQL, contents and not only numbers.

use crate::fold::{Expected, id};
use anyhow::Result;
use chrono::{DateTime, NaiveDate, Utc};
use sqlx::postgres::PgConnection;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// What the comparison found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Records sent, repeats and garbage among them.
    pub sent: u64,
    /// Distinct events in the log.
    pub applied: u64,
    /// Repeats that changed nothing.
    pub duplicates: u64,
    /// Records in the dead letter bookkeeping.
    pub dead_lettered: u64,
    /// Events that were sent and are nowhere.
    pub lost: u64,
    /// Events that took effect more than once.
    pub doubled: u64,
    /// Every difference in content, in words (the first hundred).
    pub differences: Vec<String>,
}

impl Verdict {
    /// Whether everything that was sent took effect exactly once.
    pub fn is_clean(&self) -> bool {
        self.lost == 0
            && self.doubled == 0
            && self.differences.is_empty()
            && self.applied + self.duplicates + self.dead_lettered == self.sent
    }
}

const MOST_DIFFERENCES: usize = 100;

type LogRow = (
    Uuid,
    DateTime<Utc>,
    String,
    String,
    Option<Uuid>,
    Option<Uuid>,
    Option<Uuid>,
    serde_json::Value,
);

const LOG: &str = "
    SELECT id, event_timestamp, event_source_service, event_type, user_id, company_id, entity_id, payload
    FROM raw_events_log";
const COURSES: &str = "
    SELECT course_id, summary_date, total_enrollments_on_day, total_completions_on_day,
           total_learning_time_seconds_on_day
    FROM course_engagement_summary";
const COMPANIES: &str = "
    SELECT company_id, summary_date, active_learners_count, total_certificates_earned_on_day
    FROM company_learning_summary";
const SET_ASIDE: &str = "
    SELECT event_id FROM engine.dead_letters WHERE event_id IS NOT NULL
    UNION SELECT event_id FROM engine.parked_events WHERE event_id IS NOT NULL
    UNION SELECT event_id FROM engine.quarantined_events";

/// Compares the analytics database with the ledger.
///
/// # Errors
/// The database cannot be asked.
pub async fn analytics(connection: &mut PgConnection, expected: &Expected) -> Result<Verdict> {
    let mut verdict = Verdict {
        sent: expected.sent(),
        ..Verdict::default()
    };
    let rows: Vec<LogRow> = sqlx::query_as(LOG).fetch_all(&mut *connection).await?;
    let mut seen: BTreeMap<Uuid, u64> = BTreeMap::new();
    for row in &rows {
        *seen.entry(row.0).or_default() += 1;
        compare_row(expected, row, &mut verdict.differences);
    }
    let aside: Vec<Uuid> = sqlx::query_scalar(SET_ASIDE)
        .fetch_all(&mut *connection)
        .await?;
    let aside: BTreeSet<Uuid> = aside.into_iter().collect();
    let missing = expected
        .events
        .keys()
        .filter(|id| !seen.contains_key(id) && !aside.contains(id));
    verdict.lost = missing.count() as u64;
    verdict.doubled = seen.values().filter(|count| **count > 1).count() as u64;
    verdict.applied = seen.len() as u64;
    let dead: i64 = sqlx::query_scalar("SELECT count(*) FROM engine.dead_letters")
        .fetch_one(&mut *connection)
        .await?;
    verdict.dead_lettered = u64::try_from(dead).unwrap_or_default();
    // Whatever was read and is neither in the log nor set aside was recognised as a repeat.
    let read: i64 = sqlx::query_scalar(
        "SELECT coalesce(sum(next_offset), 0)::bigint FROM engine.partition_position",
    )
    .fetch_one(&mut *connection)
    .await?;
    verdict.duplicates = u64::try_from(read)
        .unwrap_or_default()
        .saturating_sub(verdict.applied + verdict.dead_lettered);
    compare_summaries(connection, expected, &mut verdict.differences).await?;
    verdict.differences.truncate(MOST_DIFFERENCES);
    Ok(verdict)
}

fn compare_row(expected: &Expected, row: &LogRow, differences: &mut Vec<String>) {
    let (event, time, source, event_type, user, company, entity, payload) = row;
    let Some(sent) = expected.events.get(event) else {
        differences.push(format!("{event}: in the log, but never sent"));
        return;
    };
    let mut differ = |what: &str, ours: String, theirs: String| {
        if ours != theirs {
            differences.push(format!(
                "{event} {event_type}: {what} is {ours}, sent was {theirs}"
            ));
        }
    };
    differ(
        "event_timestamp",
        micros(*time).to_string(),
        micros(sent.time).to_string(),
    );
    differ("event_source_service", source.clone(), sent.source.clone());
    differ("event_type", event_type.clone(), sent.event_type.clone());
    differ(
        "user_id",
        format!("{user:?}"),
        format!("{:?}", id(&sent.payload["user_id"])),
    );
    differ(
        "company_id",
        format!("{company:?}"),
        format!("{:?}", id(&sent.payload["company_id"])),
    );
    differ(
        "entity_id",
        format!("{entity:?}"),
        format!("{:?}", Some(sent.subject)),
    );
    if *payload != sent.payload {
        differ("payload", payload.to_string(), sent.payload.to_string());
    }
}

/// PostgreSQL and the envelope keep microseconds.
fn micros(time: DateTime<Utc>) -> i64 {
    time.timestamp_micros()
}

async fn compare_summaries(
    connection: &mut PgConnection,
    expected: &Expected,
    differences: &mut Vec<String>,
) -> Result<()> {
    let rows: Vec<(Uuid, NaiveDate, i32, i32, i64)> =
        sqlx::query_as(COURSES).fetch_all(&mut *connection).await?;
    let found = rows
        .into_iter()
        .map(|(id, day, a, b, c)| ((id, day), (a, b, c)))
        .collect();
    compare_maps(
        "course_engagement_summary",
        &expected.courses,
        &found,
        differences,
    );
    let rows: Vec<(Uuid, NaiveDate, i32, i32)> = sqlx::query_as(COMPANIES)
        .fetch_all(&mut *connection)
        .await?;
    let found = rows
        .into_iter()
        .map(|(id, day, a, b)| ((id, day), (a, b)))
        .collect();
    compare_maps(
        "company_learning_summary",
        &expected.companies(),
        &found,
        differences,
    );
    Ok(())
}

fn compare_maps<V: PartialEq + std::fmt::Debug>(
    table: &str,
    expected: &BTreeMap<(Uuid, NaiveDate), V>,
    found: &BTreeMap<(Uuid, NaiveDate), V>,
    differences: &mut Vec<String>,
) {
    let keys: BTreeSet<_> = expected.keys().chain(found.keys()).collect();
    for key in keys {
        let (theirs, ours) = (expected.get(key), found.get(key));
        if theirs != ours {
            differences.push(format!(
                "{table} {} {}: {ours:?}, the ledger says {theirs:?}",
                key.0, key.1
            ));
        }
    }
}

/// From handing an event to the producer to the commit of its row: median and 99th percentile, in
/// milliseconds. Needs `track_commit_timestamp`.
///
/// # Errors
/// The database cannot be asked.
pub async fn latency_ms(connection: &mut PgConnection, expected: &Expected) -> Result<(f64, f64)> {
    let rows: Vec<(Uuid, DateTime<Utc>)> =
        sqlx::query_as("SELECT id, pg_xact_commit_timestamp(xmin) FROM raw_events_log")
            .fetch_all(connection)
            .await?;
    let mut millis: Vec<f64> = rows
        .into_iter()
        .filter_map(|(id, committed)| {
            let waited = committed - expected.events.get(&id)?.sent_at;
            Some(waited.num_microseconds()? as f64 / 1000.0)
        })
        .collect();
    millis.sort_by(f64::total_cmp);
    let at = |share: f64| {
        let index = (share * millis.len().saturating_sub(1) as f64).round() as usize;
        millis.get(index).copied().unwrap_or(0.0)
    };
    Ok((at(0.5), at(0.99)))
}

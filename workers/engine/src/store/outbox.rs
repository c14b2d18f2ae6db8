//! Events that a worker emits. Invariant: their ids are derived from their cause, so that a
//! repeated cause emits the same ids and a reader recognises the repeat.

use crate::worker::{ApplyError, Reject};
use events::{Envelope, EventId, Payload, plain_json};
use sqlx::postgres::PgConnection;
use uuid::Uuid;

/// One row of `outbox_events`.
#[derive(Clone, Debug)]
pub struct Emitted {
    /// The derived id.
    pub id: EventId,
    event_type: &'static str,
    key: String,
    subject: String,
    aggregate_version: Option<i64>,
    payload: serde_json::Value,
    headers: serde_json::Value,
}

impl Emitted {
    /// The row for an event that another one caused.
    pub fn caused_by(
        cause: &Envelope,
        payload: &Payload,
        aggregate_version: Option<i64>,
        ordinal: u32,
    ) -> Result<Self, ApplyError> {
        let contract = payload.event_type().contract();
        if contract.carries_state && aggregate_version.is_none() {
            let why = format!(
                "{} carries state; emit it with its aggregate version",
                contract.name
            );
            return Err(ApplyError::Reject(Reject(why)));
        }
        let json = plain_json::write(payload).map_err(|e| Reject(e.to_string()))?;
        let mut headers = serde_json::Map::new();
        headers.insert("ce_causationid".to_owned(), cause.id.to_string().into());
        let correlation = cause
            .correlation_id
            .clone()
            .unwrap_or_else(|| cause.id.to_string());
        headers.insert("ce_correlationid".to_owned(), correlation.into());
        if let Some(trace) = &cause.traceparent {
            headers.insert("traceparent".to_owned(), trace.clone().into());
        }
        Ok(Self {
            id: cause.id.derived(cause.time, contract.name, ordinal),
            event_type: contract.name,
            key: payload.key().to_string(),
            subject: payload.subject().to_string(),
            aggregate_version,
            payload: json,
            headers: headers.into(),
        })
    }
}

const INSERT: &str = "
    INSERT INTO outbox_events (id, type, key, subject, aggregate_version, payload, headers)
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::jsonb[], $7::jsonb[])
    ON CONFLICT (id) DO NOTHING";

/// Writes the rows. An id that is there already is the same event, emitted by the same cause.
pub async fn insert(connection: &mut PgConnection, rows: &[Emitted]) -> Result<(), sqlx::Error> {
    if rows.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = rows.iter().map(|r| r.id.0).collect();
    let types: Vec<&str> = rows.iter().map(|r| r.event_type).collect();
    let keys: Vec<&str> = rows.iter().map(|r| r.key.as_str()).collect();
    let subjects: Vec<&str> = rows.iter().map(|r| r.subject.as_str()).collect();
    let versions: Vec<Option<i64>> = rows.iter().map(|r| r.aggregate_version).collect();
    let payloads: Vec<&serde_json::Value> = rows.iter().map(|r| &r.payload).collect();
    let headers: Vec<&serde_json::Value> = rows.iter().map(|r| &r.headers).collect();
    sqlx::query(INSERT)
        .bind(&ids)
        .bind(&types)
        .bind(&keys)
        .bind(&subjects)
        .bind(&versions)
        .bind(&payloads)
        .bind(&headers)
        .execute(connection)
        .await?;
    Ok(())
}

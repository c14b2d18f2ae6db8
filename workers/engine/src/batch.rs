//! What `apply` is given: the new events and the open transaction, as one value.

use crate::store::outbox::Emitted;
use events::{ContentHash, Envelope, EventId, Payload};
use sqlx::postgres::{PgArguments, PgConnection, PgRow};
use sqlx::query::{Query, QueryAs};
use sqlx::{FromRow, Postgres};
use std::collections::HashMap;
use uuid::Uuid;

/// An event that is new, and what it asks for.
#[derive(Debug)]
pub struct Accepted<P> {
    /// Identity, type, source, time, subject. Its id is the `triggering_event_id` of every row
    /// and every send that the event causes.
    pub envelope: Envelope,
    /// What [`plan`](crate::Worker::plan) made of it.
    pub plan: P,
    /// The event may have caused external effects before (the database was restored to an earlier
    /// point): record them as held, do not repeat them.
    pub held: bool,
    pub(crate) content_hash: ContentHash,
}

impl<P> Accepted<P> {
    /// The id that everything caused by this event carries.
    pub const fn triggering_event_id(&self) -> Uuid {
        self.envelope.id.0
    }
}

/// The new events of a batch, and the transaction in which to apply them.
#[derive(Debug)]
pub struct Fresh<'t, P> {
    events: &'t [&'t Accepted<P>],
    tx: Tx<'t>,
    emitted: Vec<Emitted>,
    ordinals: HashMap<(EventId, &'static str), u32>,
}

impl<'t, P> Fresh<'t, P> {
    pub(crate) fn new(events: &'t [&'t Accepted<P>], connection: &'t mut PgConnection) -> Self {
        Self {
            events,
            tx: Tx { connection },
            emitted: Vec::new(),
            ordinals: HashMap::new(),
        }
    }

    /// The new events, each once, in the order of their partitions.
    pub const fn events(&self) -> &'t [&'t Accepted<P>] {
        self.events
    }

    /// The open transaction.
    pub const fn tx(&mut self) -> &mut Tx<'t> {
        &mut self.tx
    }

    /// Publishes an event because of another, through the outbox of this database: it is
    /// published if and only if this transaction commits. Its id is derived from its cause, so
    /// that a repeated cause emits the same id.
    ///
    /// `aggregate_version` is required for events that carry state.
    ///
    /// # Errors
    /// The payload does not fit its schema, or lacks its version: a defect of the worker's, which
    /// is treated as bad data of the causing event.
    pub fn emit(
        &mut self,
        cause: &Accepted<P>,
        payload: impl Into<Payload>,
        aggregate_version: Option<i64>,
    ) -> Result<EventId, crate::worker::ApplyError> {
        let payload = payload.into();
        let name = payload.event_type().contract().name;
        let ordinal = self.ordinals.entry((cause.envelope.id, name)).or_default();
        let emitted = Emitted::caused_by(&cause.envelope, &payload, aggregate_version, *ordinal)?;
        *ordinal += 1;
        let id = emitted.id;
        self.emitted.push(emitted);
        Ok(id)
    }

    pub(crate) fn into_emitted(self) -> Vec<Emitted> {
        self.emitted
    }
}

/// The engine's open transaction, without the means to end it.
#[derive(Debug)]
pub struct Tx<'t> {
    connection: &'t mut PgConnection,
}

impl<'t> Tx<'t> {
    pub(crate) const fn new(connection: &'t mut PgConnection) -> Self {
        Self { connection }
    }

    /// Runs a statement and says how many rows it touched.
    ///
    /// # Errors
    /// Any database error; hand it on, the engine decides what it means.
    pub async fn execute(
        &mut self,
        query: Query<'_, Postgres, PgArguments>,
    ) -> Result<u64, sqlx::Error> {
        Ok(query.execute(&mut *self.connection).await?.rows_affected())
    }

    /// Runs a query and collects its rows.
    ///
    /// # Errors
    /// Any database error; hand it on, the engine decides what it means.
    pub async fn fetch_all<T>(
        &mut self,
        query: QueryAs<'_, Postgres, T, PgArguments>,
    ) -> Result<Vec<T>, sqlx::Error>
    where
        T: for<'r> FromRow<'r, PgRow> + Send + Unpin,
    {
        query.fetch_all(&mut *self.connection).await
    }
}

//! What a worker is. This page is all that the author of a worker has to know.
//!
//! A worker says which events it wants ([`Worker::subscription`]), what one event asks for
//! ([`Worker::plan`], pure) and how many plans become SQL ([`Worker::apply`]). Everything else is
//! the engine's: partitions, batches, duplicates, retries, dead letters, positions, transactions.
//!
//! *Architecture invariant:* a worker cannot see an offset, commit, or forget the inbox. `apply`
//! is handed only the plans of events that are new, inside the value that holds the open
//! transaction; what it does there is committed together with the inbox rows and the positions,
//! or not at all.
//!
//! A complete worker, which runs as a test of this crate:
//!
//! ```no_run
#![doc = include_str!("../examples/fifth_worker.rs")]
//! ```

pub use crate::batch::{Accepted, Fresh, Tx};
pub use crate::inbox::{Column, Inbox, Value};
use events::{Event, EventType};
use std::collections::BTreeSet;
use std::future::Future;

/// A consumer of events that writes to one service database.
pub trait Worker: Send + Sync + 'static {
    /// What one event asks for. Computed once per event and kept until its batch is committed.
    type Plan: Send + Sync + 'static;

    /// The worker's name; its consumer group is `learnexpert.<name>`.
    fn name(&self) -> &'static str;

    /// The events that it wants.
    fn subscription(&self) -> Subscription;

    /// Where the ids of applied events are remembered.
    fn inbox(&self) -> Inbox<Self::Plan> {
        Inbox::shared()
    }

    /// Whether an event must wait for a dead-lettered predecessor of the same key.
    fn order(&self) -> Order {
        Order::PerKey
    }

    /// What the event asks for. Pure: no I/O, no clock, the same plan for the same event.
    ///
    /// # Errors
    /// [`Reject`] if the event is well-formed but makes no sense to this worker; it goes to the
    /// dead letter topic with the reason.
    fn plan(&self, event: &Event) -> Result<Self::Plan, Reject>;

    /// Turns the plans of new events into SQL. May be called again with the same plans after a
    /// failure, in another transaction; keep all state in the database.
    ///
    /// # Errors
    /// Any database error: the engine decides what it means. [`Reject`] if an event turns out to
    /// make no sense; the engine finds out which one it is.
    fn apply(
        &self,
        fresh: &mut Fresh<'_, Self::Plan>,
    ) -> impl Future<Output = Result<(), ApplyError>> + Send;

    /// The database was restored to an earlier point: events that come now may have caused
    /// external effects (mail, HTTP calls) before. Called inside the claiming transaction, before
    /// any of them is applied; their [`Accepted::held`] is true. A worker without external effects
    /// has nothing to do.
    ///
    /// # Errors
    /// Any database error; the claim is then tried again.
    fn rewound(&self, _tx: &mut Tx<'_>) -> impl Future<Output = Result<(), sqlx::Error>> + Send {
        async { Ok(()) }
    }
}

/// Which events a worker wants.
#[derive(Clone, Debug)]
pub struct Subscription {
    types: Option<BTreeSet<EventType>>,
    json: bool,
}

impl Subscription {
    /// These events, from the topics that carry them. Others on the same topics are skipped and
    /// counted without being decoded.
    pub fn to(types: impl IntoIterator<Item = EventType>) -> Self {
        Self {
            types: Some(types.into_iter().collect()),
            json: false,
        }
    }

    /// Every event of every topic, also of types that this build does not know; those have no
    /// [`Event::payload`] but their JSON by the writer's schema.
    pub const fn everything() -> Self {
        Self {
            types: None,
            json: true,
        }
    }

    /// Also wants [`Event::json`].
    #[must_use]
    pub const fn with_json(mut self) -> Self {
        self.json = true;
        self
    }

    /// The topics to read.
    pub fn topics(&self) -> Vec<&'static str> {
        let wanted = |topic: &&events::Topic| match &self.types {
            None => true,
            Some(types) => topic.events.iter().any(|event| types.contains(event)),
        };
        events::catalogue::TOPICS
            .iter()
            .filter(wanted)
            .map(|topic| topic.name)
            .collect()
    }

    /// Whether an event of this name is wanted.
    pub fn wants(&self, event_name: &str) -> bool {
        match &self.types {
            None => true,
            Some(types) => EventType::from_name(event_name).is_some_and(|t| types.contains(&t)),
        }
    }

    pub(crate) const fn json(&self) -> events::Json {
        if self.json {
            events::Json::Wanted
        } else {
            events::Json::Unwanted
        }
    }
}

/// What a dead-lettered event means for its successors with the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// They are parked until the dead letter is replayed or discarded.
    PerKey,
    /// They are applied: the worker's effects do not depend on order (sums, sets).
    Any,
}

/// An event makes no sense to the worker: bad data, for which retrying cannot help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Reject(
    /// Why, for the person who reads the dead letter.
    pub String,
);

/// Why plans could not be applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The database refused or could not be reached.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// An event makes no sense.
    #[error(transparent)]
    Reject(#[from] Reject),
}

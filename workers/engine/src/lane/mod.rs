//! A lane: one connection and the partitions whose batches it applies, one batch after the other.
//!
//! Two tasks form it: [`prepare`] understands records while [`settle`] has the previous batch in
//! the database. Both are plain loops; nothing else in the process waits for them.
//!
//! Invariant: the batches of a partition are settled in the order in which its records were read,
//! so that the position can only move along.

pub mod prepare;
pub mod settle;
mod transaction;

use crate::batch::Accepted;
use crate::inbox::Inbox;
use crate::kafka::consumer::{Assignment, Command};
use crate::kafka::dead_letter::DeadLetters;
use crate::record::Record;
use crate::scheduling::offsets::{FenceEpoch, NextOffset};
use crate::scheduling::prefix::Acknowledged;
use crate::schemas::Schemas;
use crate::settings::Settings;
use crate::status::Board;
use crate::store::inbox::InboxTable;
use crate::worker::Worker;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;
use uuid::Uuid;

/// What all parts of one running worker share.
pub struct Shared<W: Worker> {
    /// The worker.
    pub worker: W,
    /// `learnexpert.<name>`.
    pub group: String,
    /// How it is run.
    pub settings: Settings,
    /// Writers' schemas.
    pub schemas: Schemas,
    /// What ops see.
    pub board: Arc<Board>,
    /// The group's dead letter topic.
    pub dead_letters: DeadLetters,
    /// The worker's inbox.
    pub inbox: InboxTable<W::Plan>,
}

impl<W: Worker> Shared<W> {
    /// The worker's inbox table, as SQL.
    pub fn inbox_of(worker: &W) -> InboxTable<W::Plan> {
        let inbox: Inbox<W::Plan> = worker.inbox();
        InboxTable::new(inbox)
    }
}

/// A claim on a partition, for as long as the assignment lasts.
#[derive(Debug)]
pub struct Claim {
    /// The period of assignment.
    pub assignment: Arc<Assignment>,
    /// The database's number of the claim.
    pub epoch: FenceEpoch,
    /// The topic's id.
    pub topic_id: Uuid,
    /// Where reading begins.
    pub position: NextOffset,
    /// Events below may have had external effects already.
    pub hold_below: NextOffset,
    /// Keys whose events have to be parked.
    pub parked_keys: HashSet<Vec<u8>>,
}

/// What has been made of one record.
#[derive(Debug)]
pub struct Item<P> {
    /// Index into [`Batch::claims`].
    pub claim: usize,
    /// The record, kept for dead letters and parking.
    pub record: Record,
    /// What is to be done.
    pub step: Step<P>,
}

/// What is to be done with one record.
#[derive(Debug)]
pub enum Step<P> {
    /// Nothing: the worker does not want its type.
    Skip,
    /// Apply it, if it is new.
    Apply(Box<Accepted<P>>),
    /// Send it to the dead letter topic.
    Bad(Box<Bad>),
}

/// A record that cannot be applied.
#[derive(Debug)]
pub struct Bad {
    /// What kind of bad.
    pub kind: BadKind,
    /// For the person who reads the dead letter.
    pub reason: String,
    /// The event's id, where readable.
    pub event_id: Option<Uuid>,
    /// The event's name, where readable.
    pub event_type: Option<String>,
    /// Set once the dead letter topic has it.
    pub acknowledged: Option<Acknowledged>,
}

/// Why a record cannot be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadKind {
    /// Not in the wire format, or not what its schema says.
    Undecodable,
    /// The envelope, key or schema breaks the contract.
    ContractViolation,
    /// The registry does not know the schema id, and enough time has passed.
    UnknownSchema,
    /// The worker rejected it.
    Rejected,
    /// The database rejected its data.
    SqlData,
}

impl BadKind {
    /// As it stands in `dead_letters.kind` and in the header `dlq_kind`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Undecodable => "undecodable",
            Self::ContractViolation => "contract_violation",
            Self::UnknownSchema => "unknown_schema",
            Self::Rejected => "rejected",
            Self::SqlData => "sql_data",
        }
    }
}

/// Prepared records of several partitions, each partition's in order.
#[derive(Debug)]
pub struct Batch<P> {
    /// The claims that the items belong to.
    pub claims: Vec<Arc<Claim>>,
    /// Grouped by claim, in offset order within each.
    pub items: Vec<Item<P>>,
    /// Per claim, when the oldest record that still waits was produced.
    pub oldest_waiting_ms: Vec<Option<i64>>,
    /// Partitions that cannot go on after these items.
    pub blocked: Vec<Blocked>,
}

/// A partition that has to wait for something other than the database.
#[derive(Debug)]
pub struct Blocked {
    /// Which.
    pub assignment: Arc<Assignment>,
    /// What it waits for.
    pub on: &'static str,
    /// Why.
    pub message: String,
    /// When to try again.
    pub again: Duration,
}

/// Sends commands to the consumer thread. A thread that is gone needs none.
#[derive(Clone, Debug)]
pub struct Commands(pub Sender<Command>);

impl Commands {
    /// Hands a command over.
    pub fn send(&self, command: Command) {
        let _ = self.0.send(command);
    }
}

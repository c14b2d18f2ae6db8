//! One batch, one transaction: fence check, inbox, effects, set-aside rows, positions.
//!
//! Invariant: all of it is committed or none, and effects apply only to events whose ids were new
//! to the inbox in this very transaction.

use super::settle::{Owned, Slice};
use super::{Shared, Step};
use crate::batch::{Accepted, Fresh};
use crate::scheduling::offsets::TopicPartition;
use crate::scheduling::prefix::{Finished, OutOfOrder, Prefix};
use crate::status::Counts;
use crate::store::failure::{Failure, Stage};
use crate::store::outbox;
use crate::store::positions::{self, Held, Move, Violation};
use crate::store::set_aside::{self, Origin};
use crate::worker::{ApplyError, Order, Worker};
use events::{ContentHash, EventId};
use sqlx::postgres::PgConnection;
use std::collections::{BTreeSet, HashMap, HashSet};
use uuid::Uuid;

/// Why a transaction was not committed.
#[derive(Debug)]
pub enum NotCommitted {
    /// These partitions belong to another owner now; the rest may be tried again without them.
    Fenced(BTreeSet<TopicPartition>),
    /// The database or the worker said no.
    Failed(Failure),
    /// The bookkeeping does not add up: a defect, or another writer.
    Violated(Violation),
}

impl From<sqlx::Error> for NotCommitted {
    fn from(error: sqlx::Error) -> Self {
        Self::Failed(Failure::of(&error, Stage::Effects))
    }
}

impl From<ApplyError> for NotCommitted {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::Database(error) => error.into(),
            ApplyError::Reject(reject) => Self::Failed(Failure::Data {
                sqlstate: None,
                message: reject.0,
            }),
        }
    }
}

impl From<OutOfOrder> for NotCommitted {
    fn from(_: OutOfOrder) -> Self {
        Self::Violated(Violation::PositionMoved(0, 0))
    }
}

/// What was committed.
#[derive(Debug)]
pub struct Committed {
    /// How far each claim came.
    pub moves: Vec<(usize, Prefix)>,
    /// Keys that wait from now on.
    pub parked_keys: Vec<(usize, Vec<u8>)>,
    /// What happened to the events.
    pub counts: Counts,
    /// How many new schemas were saved.
    pub schemas_saved: usize,
}

/// How each live item ends, in their order.
enum Fate<'s> {
    Done(Finished),
    Quarantined { kind: &'static str, reason: String },
    DeadLettered { key: Option<&'s [u8]> },
}

/// Runs one attempt inside an open transaction, up to and with COMMIT.
pub async fn run<W: Worker>(
    shared: &Shared<W>,
    connection: &mut PgConnection,
    slice: &Slice<'_, W::Plan>,
    owned: &HashMap<usize, &Owned>,
) -> Result<Committed, NotCommitted> {
    let batch = Uuid::new_v4().to_string();
    sqlx::raw_sql("BEGIN").execute(&mut *connection).await?;
    check_fence(shared, connection, slice, &batch).await?;

    let (mut fates, candidates) = triage(shared.worker.order(), slice, owned);
    let new = deduplicate(shared, connection, slice, &candidates, &mut fates).await?;
    shared
        .inbox
        .insert(connection, &new)
        .await
        .map_err(|error| NotCommitted::Failed(Failure::of(&error, Stage::Inbox)))?;
    if !new.is_empty() {
        let mut fresh = Fresh::new(&new, connection);
        shared.worker.apply(&mut fresh).await?;
        let emitted = fresh.into_emitted();
        outbox::insert(connection, &emitted).await?;
    }
    set_aside_all(shared, connection, slice, &fates).await?;
    let schemas_saved = shared.schemas.save(connection).await?;
    let committed = finish(slice, owned, &fates, schemas_saved)?;

    let moves: Vec<Move> = committed
        .moves
        .iter()
        .map(|(claim, prefix)| Move {
            held: slice.held(*claim),
            prefix: *prefix,
        })
        .collect();
    positions::move_positions(connection, &shared.group, &batch, &moves)
        .await?
        .map_err(NotCommitted::Violated)?;
    sqlx::raw_sql("COMMIT").execute(&mut *connection).await?;
    Ok(committed)
}

async fn check_fence<W: Worker>(
    shared: &Shared<W>,
    connection: &mut PgConnection,
    slice: &Slice<'_, W::Plan>,
    batch: &str,
) -> Result<(), NotCommitted> {
    let held: Vec<Held> = slice.claims().map(|claim| slice.held(claim)).collect();
    let ours = positions::check_fence(connection, &shared.group, batch, &held).await?;
    let lost: BTreeSet<TopicPartition> = held
        .into_iter()
        .map(|h| h.partition)
        .filter(|p| !ours.contains(p))
        .collect();
    if lost.is_empty() {
        Ok(())
    } else {
        Err(NotCommitted::Fenced(lost))
    }
}

type Candidates<'s, P> = Vec<(usize, &'s Accepted<P>)>;

/// Decides everything that needs no database. The fates of candidates are filled in later.
fn triage<'s, P>(
    order: Order,
    slice: &Slice<'s, P>,
    owned: &HashMap<usize, &Owned>,
) -> (Vec<Fate<'s>>, Candidates<'s, P>) {
    let mut parking: HashSet<(usize, &[u8])> = HashSet::new();
    let mut fates = Vec::with_capacity(slice.items().len());
    let mut candidates = Vec::with_capacity(slice.items().len());
    for (index, item) in slice.items().iter().enumerate() {
        let key = set_aside::parkable_key(&item.record).filter(|_| order == Order::PerKey);
        let is_parked = key.is_some_and(|key| {
            parking.contains(&(item.claim, key))
                || owned
                    .get(&item.claim)
                    .is_some_and(|o| o.parked_keys.contains(key))
        });
        fates.push(match &item.step {
            Step::Skip => Fate::Done(Finished::Skipped),
            Step::Bad(_) => {
                if let Some(key) = key {
                    parking.insert((item.claim, key));
                }
                Fate::DeadLettered { key }
            }
            Step::Apply(_) if is_parked => Fate::Done(Finished::Parked),
            Step::Apply(accepted) => {
                candidates.push((index, &**accepted));
                Fate::Done(Finished::Applied)
            }
        });
    }
    (fates, candidates)
}

/// Keeps the candidates that are new: each id once, unknown to the inbox, not older than it.
async fn deduplicate<'s, W: Worker>(
    shared: &Shared<W>,
    connection: &mut PgConnection,
    slice: &Slice<'s, W::Plan>,
    candidates: &Candidates<'s, W::Plan>,
    fates: &mut [Fate<'s>],
) -> Result<Vec<&'s Accepted<W::Plan>>, NotCommitted> {
    if candidates.is_empty() {
        return Ok(Vec::new());
    }
    let mut seen: HashMap<EventId, ContentHash> = HashMap::with_capacity(candidates.len());
    let ids: Vec<Uuid> = candidates
        .iter()
        .map(|(_, accepted)| accepted.envelope.id.0)
        .collect();
    let floor = shared.inbox.floor(connection).await?;
    for (id, hash) in shared.inbox.known(connection, &ids).await? {
        seen.insert(EventId(id), ContentHash(hash));
    }
    let mut new = Vec::with_capacity(candidates.len());
    for (index, accepted) in candidates {
        let id = accepted.envelope.id;
        fates[*index] = match seen.get(&id) {
            Some(hash) if *hash == accepted.content_hash => Fate::Done(Finished::Duplicate),
            Some(_) => Fate::Quarantined {
                kind: "conflict",
                reason: format!("event {id} was applied before with other content"),
            },
            None if id.0.get_version_num() == 7 && floor.is_some_and(|floor| id.0 < floor) => {
                Fate::Quarantined {
                    kind: "expired",
                    reason: format!(
                        "event {id} is older than the inbox remembers; it may be a repeat"
                    ),
                }
            }
            None => {
                seen.insert(id, accepted.content_hash);
                new.push(*accepted);
                Fate::Done(Finished::Applied)
            }
        };
    }
    debug_assert!(new.len() <= slice.items().len());
    Ok(new)
}

async fn set_aside_all<W: Worker>(
    shared: &Shared<W>,
    connection: &mut PgConnection,
    slice: &Slice<'_, W::Plan>,
    fates: &[Fate<'_>],
) -> Result<(), NotCommitted> {
    for (item, fate) in slice.items().iter().zip(fates) {
        let origin = || slice.origin(item);
        let group = shared.group.as_str();
        match (fate, &item.step) {
            (Fate::DeadLettered { key }, Step::Bad(bad)) => {
                let Some(at) = bad.acknowledged else {
                    return Err(NotCommitted::Failed(unsent()));
                };
                let topic = shared.dead_letters.topic();
                let origin: Origin<'_> = origin();
                set_aside::insert_dead_letter(
                    connection,
                    group,
                    &origin,
                    bad.kind.as_str(),
                    &bad.reason,
                    topic,
                    at,
                )
                .await?;
                if let Some(key) = key {
                    set_aside::insert_parked_key(connection, group, &origin, key).await?;
                }
            }
            (Fate::Done(Finished::Parked), _) => {
                set_aside::insert_parked(connection, group, &origin()).await?;
            }
            (Fate::Quarantined { kind, reason }, _) => {
                set_aside::insert_quarantined(connection, group, &origin(), kind, reason).await?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn unsent() -> Failure {
    Failure::Outage {
        sqlstate: None,
        message: "a dead letter was not acknowledged yet".to_owned(),
    }
}

/// Walks the prefix of each claim and counts.
fn finish<P>(
    slice: &Slice<'_, P>,
    owned: &HashMap<usize, &Owned>,
    fates: &[Fate<'_>],
    schemas_saved: usize,
) -> Result<Committed, NotCommitted> {
    let mut prefixes: HashMap<usize, Prefix> = HashMap::new();
    let mut counts = Counts::default();
    let mut parked_keys = Vec::new();
    for (item, fate) in slice.items().iter().zip(fates) {
        let start = owned.get(&item.claim).map(|o| o.position);
        let Some(start) = start else { continue };
        let how = match (fate, &item.step) {
            (Fate::Done(how), _) => *how,
            (Fate::Quarantined { .. }, _) => Finished::Quarantined,
            (Fate::DeadLettered { key }, Step::Bad(bad)) => {
                parked_keys.extend(key.map(|key| (item.claim, key.to_vec())));
                Finished::DeadLettered(
                    bad.acknowledged
                        .ok_or_else(|| NotCommitted::Failed(unsent()))?,
                )
            }
            (Fate::DeadLettered { .. }, _) => return Err(NotCommitted::Failed(unsent())),
        };
        prefixes
            .entry(item.claim)
            .or_insert_with(|| Prefix::starting_at(start))
            .finish(item.record.offset, how)?;
        match how {
            Finished::Applied => counts.applied += 1,
            Finished::Duplicate => counts.duplicates += 1,
            Finished::Skipped => counts.skipped += 1,
            Finished::Parked => counts.parked += 1,
            Finished::Quarantined => counts.quarantined += 1,
            Finished::DeadLettered(_) => counts.dead_lettered += 1,
        }
    }
    let mut moves: Vec<(usize, Prefix)> = prefixes.into_iter().collect();
    moves.sort_by_key(|(claim, _)| *claim);
    Ok(Committed {
        moves,
        parked_keys,
        counts,
        schemas_saved,
    })
}

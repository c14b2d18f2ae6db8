//! The fence check at the start of a batch's transaction and the positions at its end.
//!
//! Invariants: nothing of a fenced owner is committed, because the fence rows are share-locked
//! from the check to the commit and a claim updates them. A position moves only from where this
//! owner knows it to be, and only if the transaction is still the one that the fence was checked
//! in (a worker that managed to end it is found out here).

use crate::scheduling::offsets::{FenceEpoch, TopicPartition};
use crate::scheduling::prefix::Prefix;
use sqlx::Row;
use sqlx::postgres::PgConnection;
use std::collections::BTreeSet;

/// One partition of a batch, as this process holds it.
#[derive(Clone, Debug)]
pub struct Held {
    /// Which partition.
    pub partition: TopicPartition,
    /// The claim under which it is held.
    pub epoch: FenceEpoch,
}

/// How far one partition moves.
#[derive(Clone, Debug)]
pub struct Move {
    /// Which partition, and under which claim.
    pub held: Held,
    /// From where to where.
    pub prefix: Prefix,
}

/// Positions did not move as they should have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// The transaction in which the fence was checked has ended: the worker committed or rolled
    /// back by itself.
    #[error("the transaction was ended by the worker; apply must not send COMMIT or ROLLBACK")]
    TransactionEnded,
    /// A stored position is not where this owner left it.
    #[error("{0} of {1} positions moved; another writer changed the rest")]
    PositionMoved(usize, usize),
}

const FENCE: &str = "
    SELECT f.topic, f.partition, set_config('engine.batch', $5, true)
    FROM engine.partition_fence f
    JOIN unnest($2::text[], $3::int[], $4::bigint[]) AS held(topic, partition, epoch)
      ON held.topic = f.topic AND held.partition = f.partition AND held.epoch = f.epoch
    WHERE f.consumer_group = $1
    ORDER BY f.topic, f.partition
    FOR SHARE OF f";

const MOVE: &str = "
    UPDATE engine.partition_position p
    SET next_offset = m.next_offset, epoch = m.epoch, updated_at = now()
    FROM unnest($2::text[], $3::int[], $4::bigint[], $5::bigint[], $6::bigint[])
      AS m(topic, partition, epoch, from_offset, next_offset)
    WHERE p.consumer_group = $1 AND p.topic = m.topic AND p.partition = m.partition
      AND p.next_offset IN (m.from_offset, m.next_offset)
      AND current_setting('engine.batch', true) = $7";

/// Share-locks the fences of a batch's partitions until the transaction ends, and names the
/// partitions that are still held. The others are fenced: nothing of theirs may be written.
pub async fn check_fence(
    connection: &mut PgConnection,
    group: &str,
    batch: &str,
    held: &[Held],
) -> Result<BTreeSet<TopicPartition>, sqlx::Error> {
    let columns = Columns::of(held);
    let rows = sqlx::query(FENCE)
        .bind(group)
        .bind(&columns.topics)
        .bind(&columns.partitions)
        .bind(&columns.epochs)
        .bind(batch)
        .fetch_all(connection)
        .await?;
    rows.iter()
        .map(|row| {
            let topic: String = row.try_get(0)?;
            Ok(TopicPartition {
                topic: topic.into(),
                partition: row.try_get(1)?,
            })
        })
        .collect()
}

/// Moves the positions, all or none.
pub async fn move_positions(
    connection: &mut PgConnection,
    group: &str,
    batch: &str,
    moves: &[Move],
) -> Result<Result<(), Violation>, sqlx::Error> {
    let held: Vec<Held> = moves.iter().map(|m| m.held.clone()).collect();
    let columns = Columns::of(&held);
    let from: Vec<i64> = moves.iter().map(|m| m.prefix.from().0).collect();
    let next: Vec<i64> = moves.iter().map(|m| m.prefix.next().0).collect();
    let moved = sqlx::query(MOVE)
        .bind(group)
        .bind(&columns.topics)
        .bind(&columns.partitions)
        .bind(&columns.epochs)
        .bind(&from)
        .bind(&next)
        .bind(batch)
        .execute(&mut *connection)
        .await?
        .rows_affected();
    let moved = usize::try_from(moved).unwrap_or(usize::MAX);
    if moved == moves.len() {
        return Ok(Ok(()));
    }
    let same_transaction: bool =
        sqlx::query_scalar("SELECT coalesce(current_setting('engine.batch', true), '') = $1")
            .bind(batch)
            .fetch_one(connection)
            .await?;
    Ok(Err(match same_transaction {
        true => Violation::PositionMoved(moved, moves.len()),
        false => Violation::TransactionEnded,
    }))
}

struct Columns<'h> {
    topics: Vec<&'h str>,
    partitions: Vec<i32>,
    epochs: Vec<i64>,
}

impl<'h> Columns<'h> {
    fn of(held: &'h [Held]) -> Self {
        Self {
            topics: held.iter().map(|h| &*h.partition.topic).collect(),
            partitions: held.iter().map(|h| h.partition.partition).collect(),
            epochs: held.iter().map(|h| h.epoch.0).collect(),
        }
    }
}

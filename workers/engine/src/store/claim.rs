//! Claiming partitions: the only code that changes a fence.
//!
//! Invariants: PostgreSQL is the truth for the position, Kafka's committed offset a hint. A claim
//! bumps the epoch in one statement in sorted order, so that two claims cannot deadlock, and
//! decides from what the broker has now whether reading on is safe; where it is not, the partition
//! halts with the command that resolves it, never silently skipping or replaying.

use crate::batch::Tx;
use crate::scheduling::offsets::{FenceEpoch, NextOffset, TopicPartition};
use crate::worker::Worker;
use sqlx::postgres::PgConnection;
use sqlx::{Connection, Row};
use std::collections::{BTreeMap, HashSet};
use uuid::Uuid;

/// What the broker says of a partition, at the time of the claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// The topic's id; another one means that the topic was deleted and created again.
    pub topic_id: Uuid,
    /// The first offset that the log still has.
    pub low: NextOffset,
    /// The offset that the next record will get.
    pub high: NextOffset,
    /// The offset that the group last committed, where there is one.
    pub hint: Option<NextOffset>,
}

/// Where a group starts that has never read a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the first record that the log has.
    Earliest,
    /// With the next record that comes.
    Latest,
}

/// A claimed partition.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// The claim's number.
    pub epoch: FenceEpoch,
    /// The topic's id.
    pub topic_id: Uuid,
    /// Where to read on, or why not to.
    pub position: Result<NextOffset, Halt>,
    /// Events below may have had external effects already.
    pub hold_below: NextOffset,
    /// Keys whose events have to be parked.
    pub parked_keys: HashSet<Vec<u8>>,
}

/// Why a partition must not be read on from its stored position. A person has to decide.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Halt {
    /// The topic was deleted and created again.
    #[error(
        "the topic was recreated: the position belongs to topic id {stored}, the broker has {found}; \
         {}", resolve(.group, .partition)
    )]
    OtherTopic {
        /// Whose position.
        group: String,
        /// Which partition.
        partition: String,
        /// The id stored with the position.
        stored: Uuid,
        /// The broker's id.
        found: Uuid,
    },
    /// Records that were never applied are gone from the log.
    #[error(
        "position {position} lies below the log's start {low}: {} records expired unread; {}",
        .low.0 - .position.0, resolve(.group, .partition)
    )]
    BelowStart {
        /// Whose position.
        group: String,
        /// Which partition.
        partition: String,
        /// The stored position.
        position: NextOffset,
        /// The log's first offset.
        low: NextOffset,
    },
    /// The log is shorter than what was applied.
    #[error(
        "position {position} lies past the log's end {high}: the broker lost records or the topic \
         is another one; {}", resolve(.group, .partition)
    )]
    PastEnd {
        /// Whose position.
        group: String,
        /// Which partition.
        partition: String,
        /// The stored position.
        position: NextOffset,
        /// The log's end.
        high: NextOffset,
    },
}

fn resolve(group: &str, partition: &str) -> String {
    format!(
        "decide with: fleet position set --group {group} --partition '{partition}' \
         --to earliest|latest|OFFSET --reason TEXT"
    )
}

/// Whether reading on from a stored position is safe.
pub fn judge(
    group: &str,
    partition: &TopicPartition,
    stored_topic: Uuid,
    position: NextOffset,
    observed: &Observed,
) -> Result<NextOffset, Halt> {
    let (group, partition) = (group.to_owned(), partition.to_string());
    if stored_topic != observed.topic_id {
        return Err(Halt::OtherTopic {
            group,
            partition,
            stored: stored_topic,
            found: observed.topic_id,
        });
    }
    if position < observed.low {
        return Err(Halt::BelowStart {
            group,
            partition,
            position,
            low: observed.low,
        });
    }
    if position > observed.high {
        return Err(Halt::PastEnd {
            group,
            partition,
            position,
            high: observed.high,
        });
    }
    Ok(position)
}

const BUMP: &str = "
    INSERT INTO engine.partition_fence AS f (consumer_group, topic, partition, epoch, claimed_by, claimed_at)
    SELECT $1, topic, partition, 1, $4, now()
    FROM unnest($2::text[], $3::int[]) AS mine(topic, partition)
    ORDER BY topic, partition
    ON CONFLICT (consumer_group, topic, partition)
      DO UPDATE SET epoch = f.epoch + 1, claimed_by = excluded.claimed_by, claimed_at = now()
    RETURNING topic, partition, epoch";

const BOOTSTRAP: &str = "
    INSERT INTO engine.partition_position
      (consumer_group, topic, partition, topic_id, next_offset, epoch, updated_at)
    SELECT $1, topic, partition, topic_id, next_offset, epoch, now()
    FROM unnest($2::text[], $3::int[], $4::uuid[], $5::bigint[], $6::bigint[])
      AS mine(topic, partition, topic_id, next_offset, epoch)
    ORDER BY topic, partition
    ON CONFLICT DO NOTHING";

const HOLD: &str = "
    UPDATE engine.partition_position p
    SET hold_below = m.hint, epoch = m.epoch, updated_at = now()
    FROM unnest($2::text[], $3::int[], $4::bigint[], $5::bigint[]) AS m(topic, partition, hint, epoch)
    WHERE p.consumer_group = $1 AND p.topic = m.topic AND p.partition = m.partition
      AND m.hint > p.next_offset AND m.hint > p.hold_below";

const POSITIONS: &str = "
    SELECT p.topic, p.partition, p.topic_id, p.next_offset, p.hold_below
    FROM engine.partition_position p
    JOIN unnest($2::text[], $3::int[]) AS mine(topic, partition) USING (topic, partition)
    WHERE p.consumer_group = $1";

const PARKED: &str = "
    SELECT k.topic, k.partition, k.key
    FROM engine.parked_keys k
    JOIN unnest($2::text[], $3::int[]) AS mine(topic, partition) USING (topic, partition)
    WHERE k.consumer_group = $1";

/// Claims partitions for this process, in one transaction.
///
/// # Errors
/// Any database error. A lock that is not to be had within the connection's `lock_timeout` is held
/// by a former owner; see [`end_blockers`].
pub async fn claim<W: Worker>(
    connection: &mut PgConnection,
    worker: &W,
    group: &str,
    claimed_by: &str,
    start: Start,
    observed: &BTreeMap<TopicPartition, Observed>,
) -> Result<BTreeMap<TopicPartition, Claimed>, sqlx::Error> {
    let mut tx = connection.begin().await?;
    let topics: Vec<&str> = observed.keys().map(|p| &*p.topic).collect();
    let partitions: Vec<i32> = observed.keys().map(|p| p.partition).collect();

    let rows = sqlx::query(BUMP)
        .bind(group)
        .bind(&topics)
        .bind(&partitions)
        .bind(claimed_by)
        .fetch_all(&mut *tx)
        .await?;
    let mut epochs: BTreeMap<TopicPartition, i64> = BTreeMap::new();
    for row in &rows {
        epochs.insert(partition_of(row)?, row.try_get(2)?);
    }
    let epochs: Vec<i64> = observed
        .keys()
        .map(|p| epochs.get(p).copied().unwrap_or_default())
        .collect();

    let ids: Vec<Uuid> = observed.values().map(|o| o.topic_id).collect();
    let starts: Vec<i64> = observed
        .values()
        .map(|o| match start {
            Start::Earliest => o.low.0,
            Start::Latest => o.high.0,
        })
        .collect();
    sqlx::query(BOOTSTRAP)
        .bind(group)
        .bind(&topics)
        .bind(&partitions)
        .bind(&ids)
        .bind(&starts)
        .bind(&epochs)
        .execute(&mut *tx)
        .await?;

    let hints: Vec<i64> = observed
        .values()
        .map(|o| o.hint.map_or(0, |hint| hint.0))
        .collect();
    let rewound = sqlx::query(HOLD)
        .bind(group)
        .bind(&topics)
        .bind(&partitions)
        .bind(&hints)
        .bind(&epochs)
        .execute(&mut *tx)
        .await?
        .rows_affected();
    if rewound > 0 {
        worker.rewound(&mut Tx::new(&mut tx)).await?;
    }

    let mut claimed = BTreeMap::new();
    let rows = sqlx::query(POSITIONS)
        .bind(group)
        .bind(&topics)
        .bind(&partitions)
        .fetch_all(&mut *tx)
        .await?;
    for row in &rows {
        let partition = partition_of(row)?;
        let Some(index) = observed.keys().position(|p| *p == partition) else {
            continue;
        };
        let Some(seen) = observed.get(&partition) else {
            continue;
        };
        let position = judge(
            group,
            &partition,
            row.try_get(2)?,
            NextOffset(row.try_get(3)?),
            seen,
        );
        let claim = Claimed {
            epoch: FenceEpoch(epochs[index]),
            topic_id: seen.topic_id,
            position,
            hold_below: NextOffset(row.try_get(4)?),
            parked_keys: HashSet::new(),
        };
        claimed.insert(partition, claim);
    }
    let rows = sqlx::query(PARKED)
        .bind(group)
        .bind(&topics)
        .bind(&partitions)
        .fetch_all(&mut *tx)
        .await?;
    for row in &rows {
        if let Some(claim) = claimed.get_mut(&partition_of(row)?) {
            claim.parked_keys.insert(row.try_get(2)?);
        }
    }
    tx.commit().await?;
    Ok(claimed)
}

fn partition_of(row: &sqlx::postgres::PgRow) -> Result<TopicPartition, sqlx::Error> {
    let topic: String = row.try_get(0)?;
    Ok(TopicPartition {
        topic: topic.into(),
        partition: row.try_get(1)?,
    })
}

/// The server's number for this connection's backend.
pub async fn backend_pid(connection: &mut PgConnection) -> Result<i32, sqlx::Error> {
    sqlx::query_scalar("SELECT pg_backend_pid()")
        .fetch_one(connection)
        .await
}

/// Ends the backends of the same role that keep a claim waiting: a worker that is frozen in the
/// middle of a COPY holds its share lock for ever, and no server timeout fires. Says how many.
pub async fn end_blockers(
    connection: &mut PgConnection,
    waiting_pid: i32,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT count(*) FILTER (WHERE pg_terminate_backend(a.pid))
         FROM pg_stat_activity a
         WHERE a.pid = ANY (pg_blocking_pids($1)) AND a.usename = current_user AND a.pid <> pg_backend_pid()",
    )
    .bind(waiting_pid)
    .fetch_one(connection)
    .await
}

const SET_POSITION: &str = "
    INSERT INTO engine.partition_position AS p
      (consumer_group, topic, partition, topic_id, next_offset, epoch, updated_at)
    VALUES ($1, $2, $3, $4, $5, $6, now())
    ON CONFLICT (consumer_group, topic, partition) DO UPDATE
      SET topic_id = excluded.topic_id, next_offset = excluded.next_offset, epoch = excluded.epoch,
          updated_at = now()";

/// Sets a position by a person's decision. Whoever works on the partition now is fenced first, so
/// that nothing of the old position can be committed afterwards. Says where the position was.
///
/// # Errors
/// Any database error; nothing has changed then.
pub async fn set_position(
    connection: &mut PgConnection,
    group: &str,
    partition: &TopicPartition,
    topic_id: Uuid,
    position: NextOffset,
    decided_by: &str,
) -> Result<Option<NextOffset>, sqlx::Error> {
    let mut tx = connection.begin().await?;
    let epoch: i64 = sqlx::query_scalar(
        "INSERT INTO engine.partition_fence AS f
           (consumer_group, topic, partition, epoch, claimed_by, claimed_at)
         VALUES ($1, $2, $3, 1, $4, now())
         ON CONFLICT (consumer_group, topic, partition)
           DO UPDATE SET epoch = f.epoch + 1, claimed_by = excluded.claimed_by, claimed_at = now()
         RETURNING epoch",
    )
    .bind(group)
    .bind(&*partition.topic)
    .bind(partition.partition)
    .bind(decided_by)
    .fetch_one(&mut *tx)
    .await?;
    let before: Option<i64> = sqlx::query_scalar(
        "SELECT next_offset FROM engine.partition_position
         WHERE consumer_group = $1 AND topic = $2 AND partition = $3",
    )
    .bind(group)
    .bind(&*partition.topic)
    .bind(partition.partition)
    .fetch_optional(&mut *tx)
    .await?;
    sqlx::query(SET_POSITION)
        .bind(group)
        .bind(&*partition.topic)
        .bind(partition.partition)
        .bind(topic_id)
        .bind(position.0)
        .bind(epoch)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(before.map(NextOffset))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observed(low: i64, high: i64) -> Observed {
        Observed {
            topic_id: Uuid::from_u128(7),
            low: NextOffset(low),
            high: NextOffset(high),
            hint: None,
        }
    }

    fn judged(topic: u128, position: i64, low: i64, high: i64) -> Result<NextOffset, Halt> {
        let partition = TopicPartition {
            topic: "iam.users".into(),
            partition: 3,
        };
        judge(
            "learnexpert.test",
            &partition,
            Uuid::from_u128(topic),
            NextOffset(position),
            &observed(low, high),
        )
    }

    #[test]
    fn a_position_within_the_log_is_read_on_from_up_to_and_with_both_ends() {
        for position in [10, 15, 20] {
            assert_eq!(judged(7, position, 10, 20), Ok(NextOffset(position)));
        }
    }

    #[test]
    fn a_position_outside_the_log_halts_and_names_the_command() {
        for (position, words) in [(9, "1 records expired unread"), (21, "past the log's end")] {
            let halt = judged(7, position, 10, 20).unwrap_err().to_string();
            assert!(
                halt.contains(words)
                    && halt.contains(
                        "fleet position set --group learnexpert.test --partition 'iam.users[3]'"
                    ),
                "{halt}"
            );
        }
    }

    #[test]
    fn a_recreated_topic_halts_even_when_the_position_would_fit() {
        assert!(matches!(
            judged(8, 15, 10, 20),
            Err(Halt::OtherTopic { .. })
        ));
    }
}

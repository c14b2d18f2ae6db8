//! The day partitions of the large tables, by the functions that the engine's migrations define.

use std::time::Duration;

use sqlx::postgres::PgConnection;

use crate::{Error, Result};

/// Days before today for which [`crate::migrate`] makes partitions: what a fresh consumer group
/// usually finds in its topics first.
pub const DAYS_BACK: u16 = 7;

/// Days after today for which [`crate::migrate`] makes partitions: how long maintenance may fail
/// before new events fall into the catch-all.
pub const DAYS_AHEAD: u16 = 14;

/// PostgreSQL's code for a lock that was not had in time.
const LOCK_NOT_AVAILABLE: &str = "55P03";
const ATTEMPTS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(500);

/// What maintenance did with one partition.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct PartitionChange {
    /// The partition, with its schema.
    #[sqlx(rename = "partition_name")]
    pub partition: String,
    /// `created`, or `bound moved` for a catch-all.
    pub action: String,
    /// Rows that moved into it from a catch-all.
    pub rows_moved: i64,
}

impl PartitionChange {
    /// Whether the partition is new.
    pub fn created(&self) -> bool {
        self.action == "created"
    }
}

/// Makes sure that every table partitioned by day has its partitions from `days_back` before to
/// `days_ahead` after today (UTC, by the server's clock). Returns the tables with what changed.
/// A worker's role may call it.
///
/// # Errors
/// [`Error::Sql`]; with code 55P03 after some tens of seconds behind a statement that holds a table.
pub async fn maintain_partitions(
    connection: &mut PgConnection,
    days_back: u16,
    days_ahead: u16,
) -> Result<Vec<(String, Vec<PartitionChange>)>> {
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT format('%I.%I', n.nspname, c.relname) FROM engine.day_partitioned_tables t \
         JOIN pg_class c ON c.oid = t.parent JOIN pg_namespace n ON n.oid = c.relnamespace ORDER BY 1",
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(Error::sql("look for the tables partitioned by day"))?;

    let mut maintained = Vec::with_capacity(tables.len());
    for table in tables {
        let changes = maintain_patiently(connection, &table, days_back, days_ahead).await?;
        maintained.push((table, changes));
    }
    Ok(maintained)
}

/// The function gives up soon, so that nobody queues behind it; between attempts they pass.
async fn maintain_patiently(
    connection: &mut PgConnection,
    table: &str,
    days_back: u16,
    days_ahead: u16,
) -> Result<Vec<PartitionChange>> {
    let mut attempt = 1;
    loop {
        match maintain(connection, table, days_back, days_ahead).await {
            Err(error)
                if attempt < ATTEMPTS
                    && error.sqlstate().as_deref() == Some(LOCK_NOT_AVAILABLE) =>
            {
                attempt += 1;
                tokio::time::sleep(PAUSE).await;
            }
            outcome => return outcome,
        }
    }
}

async fn maintain(
    connection: &mut PgConnection,
    table: &str,
    days_back: u16,
    days_ahead: u16,
) -> Result<Vec<PartitionChange>> {
    sqlx::query_as(
        "SELECT partition_name, action, rows_moved \
         FROM (SELECT (now() AT TIME ZONE 'UTC')::date AS today) AS clock, \
              engine.maintain_day_partitions($1::text::regclass, today - $2::integer, today + $3::integer)",
    )
    .bind(table)
    .bind(i32::from(days_back))
    .bind(i32::from(days_ahead))
    .fetch_all(connection)
    .await
    .map_err(Error::sql(format!("make the day partitions of {table}")))
}

/// Says how many whole days before today a table must keep (`None` = for ever). Shortening it drops
/// nothing by itself; it allows `engine.drop_day_partitions` to. Only the database's owner may.
///
/// # Errors
/// [`Error::NotPartitioned`] for a table that is not partitioned by day, [`Error::Sql`].
pub async fn set_retention(
    connection: &mut PgConnection,
    table: &str,
    days: Option<u16>,
) -> Result<()> {
    let updated = sqlx::query(
        "UPDATE engine.day_partitioned_tables SET retention_days = $2 WHERE parent = to_regclass($1)",
    )
    .bind(table)
    .bind(days.map(i32::from))
    .execute(connection)
    .await
    .map_err(Error::sql(format!("set the retention of {table}")))?;
    if updated.rows_affected() == 0 {
        return Err(Error::NotPartitioned {
            table: table.to_owned(),
        });
    }
    Ok(())
}

//! Day partitions of the inbox and of whatever else is partitioned by event id.
//!
//! Invariant: the worker's role cannot create tables; it calls the owner-defined function, which
//! touches only tables that a migration registered.

use super::connection::{Database, no_answer};
use super::failure::{Failure, Stage};
use sqlx::postgres::PgConnection;

/// Days kept ready ahead of today.
const DAYS_AHEAD: i32 = 14;

const TABLES: &str = "SELECT parent::regclass::text FROM engine.day_partitioned_tables ORDER BY 1";
const MAINTAIN: &str = "
    SELECT partition_name, action, rows_moved
    FROM engine.maintain_day_partitions($1::regclass, current_date - 1, current_date + $2)";

/// Makes sure that today and the days ahead have their partitions.
///
/// # Errors
/// Any failure of the database; calling again is harmless.
pub async fn maintain(database: &mut Database) -> Result<(), Failure> {
    let mut connection = database.take().await?;
    let limit = database.timeouts().answer();
    match tokio::time::timeout(limit, maintain_all(&mut connection)).await {
        Ok(Ok(())) => {
            database.put_back(connection);
            Ok(())
        }
        Ok(Err(error)) => Err(Failure::of(&error, Stage::Effects)),
        Err(_) => Err(no_answer(limit)),
    }
}

async fn maintain_all(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let tables: Vec<String> = sqlx::query_scalar(TABLES)
        .fetch_all(&mut *connection)
        .await?;
    for table in tables {
        // One statement is one transaction: each table is locked only for its own change.
        let done: Vec<(String, String, i64)> = sqlx::query_as(MAINTAIN)
            .bind(&table)
            .bind(DAYS_AHEAD)
            .fetch_all(&mut *connection)
            .await?;
        for (partition, action, rows_moved) in done {
            tracing::info!(partition, action, rows_moved, "day partitions");
        }
    }
    Ok(())
}

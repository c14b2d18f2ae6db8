//! Which migrations a database has, and whether they are this binary's.
//!
//! Invariant: nothing is applied to a database that has a migration unknown here, or one whose
//! text has changed since.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::migrate::Migration;
use sqlx::postgres::PgConnection;

use crate::{Error, Result, Service, embedded};

/// The table that records migrations.
pub(crate) const TABLE: &str = "public._sqlx_migrations";

/// One row of the record.
pub(crate) struct Applied {
    version: i64,
    checksum: Vec<u8>,
    success: bool,
}

/// The record of a database; empty when it was never migrated.
pub(crate) async fn applied(connection: &mut PgConnection, database: &str) -> Result<Vec<Applied>> {
    let attempt = || format!("read which migrations {database} has");
    let recorded: bool = sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
        .bind(TABLE)
        .fetch_one(&mut *connection)
        .await
        .map_err(Error::sql(attempt()))?;
    if !recorded {
        return Ok(Vec::new());
    }
    let rows: Vec<(i64, Vec<u8>, bool)> = sqlx::query_as(
        "SELECT version, checksum, success FROM public._sqlx_migrations ORDER BY version",
    )
    .fetch_all(connection)
    .await
    .map_err(Error::sql(attempt()))?;
    let row = |(version, checksum, success)| Applied {
        version,
        checksum,
        success,
    };
    Ok(rows.into_iter().map(row).collect())
}

/// The migrations that a database still lacks, in the order in which they are applied.
///
/// # Errors
/// [`Error::Partial`], [`Error::Ahead`], [`Error::Changed`].
pub(crate) fn pending(
    database: &str,
    applied: &[Applied],
    service: Service,
) -> Result<Vec<&'static Migration>> {
    let known = embedded::migrations(service);
    let versions: BTreeSet<i64> = known.iter().map(|migration| migration.version).collect();
    refuse_incomplete(database, applied)?;

    let unknown = applied
        .iter()
        .map(|row| row.version)
        .filter(|version| !versions.contains(version));
    let unknown: Vec<i64> = unknown.collect();
    if !unknown.is_empty() {
        return Err(Error::Ahead {
            database: database.to_owned(),
            versions: unknown,
        });
    }
    refuse_changed(database, applied, &known)?;

    let present: BTreeSet<i64> = applied.iter().map(|row| row.version).collect();
    Ok(known
        .into_iter()
        .filter(|migration| !present.contains(&migration.version))
        .collect())
}

fn refuse_incomplete(database: &str, applied: &[Applied]) -> Result<()> {
    let partial = applied
        .iter()
        .filter(|row| !row.success)
        .map(|row| row.version);
    let versions: Vec<i64> = partial.collect();
    if versions.is_empty() {
        return Ok(());
    }
    Err(Error::Partial {
        database: database.to_owned(),
        versions,
    })
}

fn refuse_changed(database: &str, applied: &[Applied], known: &[&Migration]) -> Result<()> {
    let checksums: BTreeMap<i64, &[u8]> = known
        .iter()
        .map(|migration| (migration.version, &*migration.checksum))
        .collect();
    let changed = applied.iter().filter(|row| {
        checksums
            .get(&row.version)
            .is_some_and(|checksum| *checksum != row.checksum.as_slice())
    });
    let versions: Vec<i64> = changed.map(|row| row.version).collect();
    if versions.is_empty() {
        return Ok(());
    }
    Err(Error::Changed {
        database: database.to_owned(),
        versions,
    })
}

/// Checks that a service's database has every migration that this binary knows, unchanged: what a
/// worker asks before it starts. Needs no more than the worker's role may do.
///
/// A database that is *ahead* is fine here: during a rolling update the old binaries run on while
/// the new one has migrated already.
///
/// # Errors
/// [`Error::Behind`], [`Error::Changed`], [`Error::Partial`], or [`Error::Sql`].
pub async fn check(connection: &mut PgConnection, service: Service) -> Result<()> {
    let database: String = sqlx::query_scalar("SELECT current_database()")
        .fetch_one(&mut *connection)
        .await
        .map_err(Error::sql("ask for the name of the database"))?;
    let applied = applied(connection, &database).await?;
    let known = embedded::migrations(service);
    refuse_incomplete(&database, &applied)?;
    refuse_changed(&database, &applied, &known)?;

    let present: BTreeSet<i64> = applied.iter().map(|row| row.version).collect();
    let missing = known.iter().map(|migration| migration.version);
    let versions: Vec<i64> = missing
        .filter(|version| !present.contains(version))
        .collect();
    if versions.is_empty() {
        return Ok(());
    }
    Err(Error::Behind { database, versions })
}

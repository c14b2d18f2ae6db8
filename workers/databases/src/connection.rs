//! Connections of a migration run.
//!
//! Invariant: in a service's database everything is done as the database's owner, whoever logged
//! in. So all objects have one owner, and the functions that run with their owner's rights hold no
//! more than that.

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor};

use crate::{Error, Result};

/// Connects to the database in which roles and databases are created.
pub(crate) async fn to_server(admin: &PgConnectOptions) -> Result<PgConnection> {
    let database = admin.get_database().unwrap_or("postgres").to_owned();
    connect(admin, &database).await
}

/// Connects to a service's database, as its owner.
pub(crate) async fn to_database(admin: &PgConnectOptions, database: &str) -> Result<PgConnection> {
    let mut connection = connect(admin, database).await?;
    let attempt = || format!("act as the owner of {database}");
    let set_role: String = sqlx::query_scalar(
        "SELECT format('SET ROLE %I', pg_get_userbyid(datdba)) FROM pg_database \
         WHERE datname = current_database()",
    )
    .fetch_one(&mut connection)
    .await
    .map_err(Error::sql(attempt()))?;
    connection
        .execute(AssertSqlSafe(set_role))
        .await
        .map_err(Error::sql(attempt()))?;
    // Migrations leave names in schema public unqualified.
    connection
        .execute("SET search_path = public")
        .await
        .map_err(Error::sql(attempt()))?;
    Ok(connection)
}

/// Ends a session in good order; a failure to do so changes nothing that was committed.
pub(crate) async fn close(connection: PgConnection) {
    let _ = connection.close().await;
}

async fn connect(admin: &PgConnectOptions, database: &str) -> Result<PgConnection> {
    admin
        .clone()
        .database(database)
        .connect()
        .await
        .map_err(Error::sql(format!(
            "connect to {database} at {}",
            admin.get_host()
        )))
}

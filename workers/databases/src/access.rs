//! Who may enter a service's database, and do what.

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Executor};

use crate::auth::Provider;
use crate::{Error, Progress, Result, Role, Service};

/// Whether the server has a database.
pub(crate) async fn exists(server: &mut PgConnection, database: &str) -> Result<bool> {
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
        .bind(database)
        .fetch_one(server)
        .await
        .map_err(Error::sql(format!("look for {database}")))
}

/// Creates a database, owned by the role that migrates. UTF-8 whatever the server's default is,
/// because events are.
pub(crate) async fn create(server: &mut PgConnection, database: &str) -> Result<()> {
    let name = quote(database);
    let statement = format!("CREATE DATABASE {name} ENCODING 'UTF8' TEMPLATE template0");
    server
        .execute(AssertSqlSafe(statement))
        .await
        .map(drop)
        .map_err(Error::sql(format!("create {database}")))
}

/// Refuses a database whose owner is its workers' role: an owner may do anything.
pub(crate) async fn refuse_worker_as_owner(
    connection: &mut PgConnection,
    database: &str,
    service: Service,
) -> Result<()> {
    let role = service.role();
    if owner(connection, database).await? == role.name() {
        return Err(Error::OwnedByWorker {
            database: database.to_owned(),
            role,
        });
    }
    Ok(())
}

/// Lets the service's workers and the relay in, and everybody else only where the database's host
/// has roles of its own that live on the public right to connect.
pub(crate) async fn grant_connect(
    connection: &mut PgConnection,
    database: &str,
    service: Service,
    provider: Provider,
) -> Result<()> {
    let name = quote(database);
    let mut statement = format!(
        "GRANT CONNECT ON DATABASE {name} TO {}, {};",
        service.role(),
        Role::Relay
    );
    if provider != Provider::Supabase {
        statement.push_str(&format!("REVOKE CONNECT ON DATABASE {name} FROM PUBLIC;"));
    }
    // Open to everyone before PostgreSQL 15.
    statement.push_str("REVOKE CREATE ON SCHEMA public FROM PUBLIC;");
    connection
        .execute(AssertSqlSafe(statement))
        .await
        .map(drop)
        .map_err(Error::sql(format!("say who may connect to {database}")))
}

/// Gives the workers' role and the relay's exactly their privileges.
pub(crate) async fn grant_tables(
    connection: &mut PgConnection,
    database: &str,
    service: Service,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<()> {
    let role = service.role();
    let changed: Vec<String> =
        sqlx::query_scalar("SELECT relation FROM engine.apply_worker_privileges($1::name)")
            .bind(role.name())
            .fetch_all(&mut *connection)
            .await
            .map_err(Error::sql(format!(
                "set the privileges of {role} in {database}"
            )))?;
    refuse_ddl(connection, database, role).await?;
    progress(Progress::Privileges {
        database: database.to_owned(),
        role,
        changed,
    });

    sqlx::query("SELECT engine.apply_relay_privileges($1::name)")
        .bind(Role::Relay.name())
        .execute(&mut *connection)
        .await
        .map_err(Error::sql(format!(
            "set the privileges of {} in {database}",
            Role::Relay
        )))?;
    refuse_ddl(connection, database, Role::Relay).await
}

async fn refuse_ddl(connection: &mut PgConnection, database: &str, role: Role) -> Result<()> {
    let schema: Option<String> = sqlx::query_scalar(
        "SELECT nspname::text FROM pg_namespace \
         WHERE nspname IN ('public', 'engine') AND has_schema_privilege($1, oid, 'CREATE') \
         ORDER BY nspname LIMIT 1",
    )
    .bind(role.name())
    .fetch_optional(&mut *connection)
    .await
    .map_err(Error::sql(format!(
        "look at what {role} may do in {database}"
    )))?;
    let Some(schema) = schema else { return Ok(()) };
    let owner = owner(connection, database).await?;
    Err(Error::CanCreate {
        role,
        database: database.to_owned(),
        schema,
        owner,
    })
}

async fn owner(connection: &mut PgConnection, database: &str) -> Result<String> {
    sqlx::query_scalar(
        "SELECT pg_get_userbyid(datdba)::text FROM pg_database WHERE datname = current_database()",
    )
    .fetch_one(connection)
    .await
    .map_err(Error::sql(format!("look for the owner of {database}")))
}

fn quote(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}

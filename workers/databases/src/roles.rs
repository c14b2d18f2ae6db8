//! Roles: created once per server, never with more than LOGIN.

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row};

use crate::error::sqlstate;
use crate::password::Password;
use crate::{Error, Progress, Result, Role};

/// A role of that name exists; 23505 when it was created between the look and the attempt.
const ALREADY_THERE: [&str; 2] = ["42710", "23505"];

/// Attributes of a role that reach beyond the rows it was granted.
const POWERS: [(&str, &str); 5] = [
    ("rolsuper", "SUPERUSER"),
    ("rolcreaterole", "CREATEROLE"),
    ("rolcreatedb", "CREATEDB"),
    ("rolreplication", "REPLICATION"),
    ("rolbypassrls", "BYPASSRLS"),
];

/// Refuses a role that exists with more than a worker may have, and a password that cannot be set.
pub(crate) async fn inspect(
    connection: &mut PgConnection,
    role: Role,
    password: Option<&Password>,
) -> Result<()> {
    if let Some(password) = password {
        password.verifier(role)?;
    }
    if exists(connection, role).await? {
        refuse_powers(connection, role).await?;
    }
    Ok(())
}

/// Makes sure that a role exists, may log in and nothing more, and has the given password.
pub(crate) async fn ensure(
    connection: &mut PgConnection,
    role: Role,
    password: Option<&Password>,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<()> {
    let created = create(connection, role).await?;
    if !created {
        refuse_powers(connection, role).await?;
        allow_login(connection, role).await?;
    }
    progress(Progress::Role { role, created });

    if let Some(password) = password {
        let verifier = password.verifier(role)?;
        // A verifier is base64 with `$` and `:`; nothing in it needs quoting.
        let statement = format!("ALTER ROLE {role} PASSWORD '{verifier}'");
        execute(
            connection,
            statement,
            format!("set the password of role {role}"),
        )
        .await?;
        progress(Progress::Password { role });
    }
    Ok(())
}

async fn exists(connection: &mut PgConnection, role: Role) -> Result<bool> {
    sqlx::query_scalar("SELECT to_regrole($1) IS NOT NULL")
        .bind(role.name())
        .fetch_one(connection)
        .await
        .map_err(Error::sql(format!("look for role {role}")))
}

/// Returns whether it was this call that created the role.
async fn create(connection: &mut PgConnection, role: Role) -> Result<bool> {
    if exists(connection, role).await? {
        return Ok(false);
    }
    let statement = format!(
        "CREATE ROLE {role} LOGIN NOSUPERUSER NOCREATEROLE NOCREATEDB NOREPLICATION NOBYPASSRLS"
    );
    match sqlx::query(AssertSqlSafe(statement))
        .execute(connection)
        .await
    {
        Ok(_) => Ok(true),
        Err(error) if sqlstate(&error).is_some_and(|code| ALREADY_THERE.contains(&&*code)) => {
            Ok(false)
        }
        Err(error) => Err(Error::sql(format!("create role {role}"))(error)),
    }
}

async fn refuse_powers(connection: &mut PgConnection, role: Role) -> Result<()> {
    let row = sqlx::query(
        "SELECT rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls \
         FROM pg_roles WHERE rolname = $1",
    )
    .bind(role.name())
    .fetch_one(connection)
    .await
    .map_err(Error::sql(format!("look at role {role}")))?;

    let mut held = Vec::new();
    for (column, power) in POWERS {
        if row
            .try_get(column)
            .map_err(Error::sql(format!("look at role {role}")))?
        {
            held.push(power);
        }
    }
    if held.is_empty() {
        return Ok(());
    }
    let fix = held
        .iter()
        .map(|power| format!("NO{power}"))
        .collect::<Vec<_>>()
        .join(" ");
    Err(Error::TooPowerful {
        role,
        attributes: held.join(", "),
        fix,
    })
}

async fn allow_login(connection: &mut PgConnection, role: Role) -> Result<()> {
    let can_login: bool = sqlx::query_scalar("SELECT rolcanlogin FROM pg_roles WHERE rolname = $1")
        .bind(role.name())
        .fetch_one(&mut *connection)
        .await
        .map_err(Error::sql(format!("look at role {role}")))?;
    if can_login {
        return Ok(());
    }
    execute(
        connection,
        format!("ALTER ROLE {role} LOGIN"),
        format!("let role {role} log in"),
    )
    .await
}

async fn execute(connection: &mut PgConnection, statement: String, attempt: String) -> Result<()> {
    sqlx::query(AssertSqlSafe(statement))
        .execute(connection)
        .await
        .map(drop)
        .map_err(Error::sql(attempt))
}

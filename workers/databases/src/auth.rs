//! Supabase Auth, which IAM's schema builds on, and its stand-in for development.
//!
//! Invariant: the stand-in is never installed unasked outside dev and test, and never where a real
//! `auth.users` exists.

use sqlx::Executor;
use sqlx::postgres::PgConnection;

use crate::{Environment, Error, Result, embedded};

/// When to install the stand-in for Supabase Auth into a database that has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuthShim {
    /// In the environments dev and test; elsewhere its absence is an error.
    #[default]
    InDevelopment,
    /// In every environment. Nobody can sign in there.
    Always,
    /// Nowhere.
    Never,
}

impl AuthShim {
    fn is_allowed(self, environment: Environment) -> bool {
        match self {
            Self::InDevelopment => matches!(environment, Environment::Dev | Environment::Test),
            Self::Always => true,
            Self::Never => false,
        }
    }
}

/// What provides `auth.users` in a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Provider {
    /// Nothing.
    None,
    /// The stand-in.
    Shim,
    /// Supabase, which also hosts the database and has roles of its own in it.
    Supabase,
}

/// Finds out what provides `auth.users`.
pub(crate) async fn provider(connection: &mut PgConnection, database: &str) -> Result<Provider> {
    let (complete, shim): (bool, bool) = sqlx::query_as(
        "SELECT to_regclass('auth.users') IS NOT NULL AND to_regprocedure('auth.uid()') IS NOT NULL \
                AND to_regrole('anon') IS NOT NULL AND to_regrole('authenticated') IS NOT NULL \
                AND to_regrole('service_role') IS NOT NULL, \
                coalesce(obj_description(to_regnamespace('auth'), 'pg_namespace') \
                         = 'LearnExpert development stand-in for Supabase Auth', false)",
    )
    .fetch_one(connection)
    .await
    .map_err(Error::sql(format!("look for Supabase Auth in {database}")))?;
    Ok(match (shim, complete) {
        (true, _) => Provider::Shim,
        (false, true) => Provider::Supabase,
        (false, false) => Provider::None,
    })
}

/// Whether the stand-in has to be installed (again).
///
/// # Errors
/// [`Error::NoAuth`] where it would be needed and is not allowed.
pub(crate) fn needs_shim(
    provider: Provider,
    choice: AuthShim,
    database: &str,
    environment: Environment,
) -> Result<bool> {
    match provider {
        Provider::Supabase => Ok(false),
        Provider::Shim | Provider::None if choice.is_allowed(environment) => Ok(true),
        Provider::Shim | Provider::None => Err(Error::NoAuth {
            database: database.to_owned(),
            environment,
        }),
    }
}

/// Installs the stand-in; safe to repeat.
pub(crate) async fn install_shim(connection: &mut PgConnection, database: &str) -> Result<()> {
    connection
        .execute(embedded::AUTH_SHIM)
        .await
        .map(drop)
        .map_err(Error::sql(format!(
            "install the stand-in for Supabase Auth in {database}"
        )))
}

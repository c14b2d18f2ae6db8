//! A migration run.
//!
//! Invariant: what can be seen to be wrong beforehand is refused before anything is changed. Every
//! step may be repeated; a run that was interrupted is completed by the next.

use std::collections::BTreeMap;
use std::fmt;

use sqlx::migrate::Migrate;
use sqlx::postgres::{PgConnectOptions, PgConnection};

use crate::auth::{self, AuthShim, Provider};
use crate::password::Passwords;
use crate::{
    DAYS_AHEAD, DAYS_BACK, Environment, Error, Progress, Result, Role, Service, access, connection,
    history, maintain_partitions, roles,
};

/// Serializes runs on one server; the number means nothing.
const RUN_LOCK: i64 = 0x1ea7_e8be_27c0_4ec7;

/// What to migrate.
#[derive(Clone)]
pub struct Request {
    /// Who migrates: a superuser, or a role with CREATEROLE and CREATEDB. It owns the databases
    /// that it creates; of others it must be a member of the owner. Its database, `postgres` when
    /// none is given, is used for what concerns the whole server; runs that are to wait for each
    /// other must name the same.
    pub admin: PgConnectOptions,
    /// Which environment's databases.
    pub environment: Environment,
    /// Which services.
    pub services: Vec<Service>,
    /// Passwords to set. A role that is not named keeps the password it has.
    pub passwords: Passwords,
    /// Whether to stand in for Supabase Auth.
    pub auth_shim: AuthShim,
    /// Databases that are not named `learnexpert_<service>_<environment>`, such as IAM's inside a
    /// Supabase project (`postgres`).
    pub other_names: BTreeMap<Service, String>,
}

impl Request {
    /// All services that this binary has migrations for; no passwords; the stand-in for Supabase
    /// Auth in development only.
    pub fn new(admin: PgConnectOptions, environment: Environment) -> Self {
        Self {
            admin,
            environment,
            services: Service::migratable(),
            passwords: Passwords::new(),
            auth_shim: AuthShim::default(),
            other_names: BTreeMap::new(),
        }
    }

    fn database(&self, service: Service) -> String {
        let other = self.other_names.get(&service).cloned();
        other.unwrap_or_else(|| service.database(self.environment))
    }

    fn roles(&self) -> impl Iterator<Item = Role> {
        self.services
            .iter()
            .map(|service| service.role())
            .chain([Role::Relay])
    }
}

impl fmt::Debug for Request {
    /// Without the admin's address, whose own `Debug` shows the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("environment", &self.environment)
            .field("services", &self.services)
            .field("passwords", &self.passwords)
            .field("auth_shim", &self.auth_shim)
            .field("other_names", &self.other_names)
            .finish_non_exhaustive()
    }
}

/// Brings roles, databases, tables, privileges and day partitions to where this binary wants them.
/// Safe to repeat and to interrupt; runs on one server wait for each other. Each step is reported
/// when it is done.
///
/// # Errors
/// [`Error::NoMigrations`], [`Error::Ahead`], [`Error::Changed`], [`Error::Partial`],
/// [`Error::NoAuth`], [`Error::OwnedByWorker`], [`Error::TooPowerful`] and [`Error::Password`]
/// before anything was changed; [`Error::CanCreate`], [`Error::Migration`], [`Error::Record`] and
/// [`Error::Sql`] at their step.
pub async fn migrate(request: &Request, progress: &mut (dyn FnMut(Progress) + Send)) -> Result<()> {
    let mut server = connection::to_server(&request.admin).await?;
    wait_for_other_runs(&mut server, progress).await?;
    for service in &request.services {
        inspect(request, &mut server, *service).await?;
    }
    for role in request.roles() {
        roles::inspect(&mut server, role, request.passwords.get(&role)).await?;
    }

    for role in request.roles() {
        roles::ensure(&mut server, role, request.passwords.get(&role), progress).await?;
    }
    for service in &request.services {
        migrate_service(request, &mut server, *service, progress).await?;
    }
    // The lock goes with the session.
    connection::close(server).await;
    Ok(())
}

async fn wait_for_other_runs(
    server: &mut PgConnection,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<()> {
    let attempt = || "wait for other migration runs";
    let free: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)")
        .bind(RUN_LOCK)
        .fetch_one(&mut *server)
        .await
        .map_err(Error::sql(attempt()))?;
    if free {
        return Ok(());
    }
    progress(Progress::Waiting);
    sqlx::query("SELECT pg_advisory_lock($1)")
        .bind(RUN_LOCK)
        .execute(server)
        .await
        .map(drop)
        .map_err(Error::sql(attempt()))
}

/// Refuses what cannot be migrated, and changes nothing.
async fn inspect(request: &Request, server: &mut PgConnection, service: Service) -> Result<()> {
    if !service.is_migratable() {
        return Err(Error::NoMigrations { service });
    }
    let database = request.database(service);
    if !access::exists(server, &database).await? {
        return refuse_without_auth(request, service, Provider::None, &database).map(drop);
    }
    let mut connection = connection::to_database(&request.admin, &database).await?;
    access::refuse_worker_as_owner(&mut connection, &database, service).await?;
    let applied = history::applied(&mut connection, &database).await?;
    history::pending(&database, &applied, service)?;
    let provider = auth::provider(&mut connection, &database).await?;
    refuse_without_auth(request, service, provider, &database)?;
    connection::close(connection).await;
    Ok(())
}

/// Whether IAM's database needs the stand-in for Supabase Auth; other services never do.
fn refuse_without_auth(
    request: &Request,
    service: Service,
    provider: Provider,
    database: &str,
) -> Result<bool> {
    if service != Service::Iam {
        return Ok(false);
    }
    auth::needs_shim(provider, request.auth_shim, database, request.environment)
}

async fn migrate_service(
    request: &Request,
    server: &mut PgConnection,
    service: Service,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<()> {
    let database = request.database(service);
    let created = !access::exists(server, &database).await?;
    if created {
        access::create(server, &database).await?;
    }
    progress(Progress::Database {
        database: database.clone(),
        created,
    });

    let mut connection = connection::to_database(&request.admin, &database).await?;
    let provider = auth::provider(&mut connection, &database).await?;
    access::grant_connect(&mut connection, &database, service, provider).await?;
    if refuse_without_auth(request, service, provider, &database)? {
        auth::install_shim(&mut connection, &database).await?;
        progress(Progress::AuthShim {
            database: database.clone(),
        });
    }
    apply_pending(&mut connection, service, &database, progress).await?;
    access::grant_tables(&mut connection, &database, service, progress).await?;
    for (table, changes) in maintain_partitions(&mut connection, DAYS_BACK, DAYS_AHEAD).await? {
        progress(Progress::Partitions {
            database: database.clone(),
            table,
            changes,
        });
    }
    connection::close(connection).await;
    Ok(())
}

async fn apply_pending(
    connection: &mut PgConnection,
    service: Service,
    database: &str,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<()> {
    let record = || {
        let database = database.to_owned();
        move |source| Error::Record { database, source }
    };
    // The same lock as that of other programs that run these files.
    connection.lock().await.map_err(record())?;
    connection
        .ensure_migrations_table(history::TABLE)
        .await
        .map_err(record())?;
    let applied = history::applied(connection, database).await?;
    if !applied.is_empty() {
        progress(Progress::AlreadyApplied {
            database: database.to_owned(),
            count: applied.len(),
        });
    }
    for migration in history::pending(database, &applied, service)? {
        let elapsed = connection
            .apply(history::TABLE, migration)
            .await
            .map_err(|source| Error::Migration {
                database: database.to_owned(),
                version: migration.version,
                source,
            })?;
        progress(Progress::Applied {
            database: database.to_owned(),
            version: migration.version,
            description: migration.description.to_string(),
            elapsed,
        });
    }
    connection.unlock().await.map_err(record())
}

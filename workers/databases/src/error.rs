//! What can go wrong, in words that name the fix.

use crate::{Environment, Role, Service};

/// Result with [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Why databases could not be migrated, checked or maintained.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A statement or a connection failed.
    #[error("could not {attempt}")]
    Sql {
        /// What was being done, to be read after "could not".
        attempt: String,
        /// PostgreSQL's or the driver's answer.
        source: sqlx::Error,
    },

    /// A migration failed; its transaction was rolled back.
    #[error("migration {version} failed in {database} and was rolled back")]
    Migration {
        /// The database.
        database: String,
        /// The migration's version.
        version: i64,
        /// PostgreSQL's answer.
        source: sqlx::migrate::MigrateError,
    },

    /// The table that records migrations could not be prepared.
    #[error("could not prepare the record of migrations in {database}")]
    Record {
        /// The database.
        database: String,
        /// PostgreSQL's answer.
        source: sqlx::migrate::MigrateError,
    },

    /// The database has migrations that this binary does not know.
    #[error(
        "{database} is ahead of this binary: migrations {} were applied to it and are unknown here; \
         use the newer binary that applied them, or restore the database to before them",
        list(.versions)
    )]
    Ahead {
        /// The database.
        database: String,
        /// The unknown versions.
        versions: Vec<i64>,
    },

    /// Applied migrations differ from those of this binary.
    #[error(
        "migrations {} of {database} were changed after they had been applied; restore the files as \
         they were and put the change into a new migration",
        list(.versions)
    )]
    Changed {
        /// The database.
        database: String,
        /// The versions with another checksum.
        versions: Vec<i64>,
    },

    /// A migration was interrupted half-way (only migrations outside a transaction can be).
    #[error(
        "migrations {} were applied to {database} only in part; complete or undo them by hand, then \
         set success or delete their rows in _sqlx_migrations",
        list(.versions)
    )]
    Partial {
        /// The database.
        database: String,
        /// The versions in question.
        versions: Vec<i64>,
    },

    /// The database lacks migrations that this binary needs.
    #[error("{database} lacks migrations {}; run `fleet migrate` with this binary first", list(.versions))]
    Behind {
        /// The database.
        database: String,
        /// The missing versions.
        versions: Vec<i64>,
    },

    /// The binary carries no migrations for a service.
    #[error(
        "there are no migrations for {service}; this binary can migrate {}",
        Service::migratable().iter().map(|known| known.name()).collect::<Vec<_>>().join(", ")
    )]
    NoMigrations {
        /// The service.
        service: Service,
    },

    /// IAM's database is not part of a Supabase project.
    #[error(
        "{database} has no Supabase Auth (auth.users, auth.uid(), roles anon, authenticated, \
         service_role), and the stand-in for it is not installed in {environment}; connect to the \
         database of the Supabase project, or ask for the stand-in explicitly if nobody has to sign in"
    )]
    NoAuth {
        /// The database.
        database: String,
        /// The environment.
        environment: Environment,
    },

    /// An existing role could do more than rows in its database.
    #[error(
        "role {role} exists with {attributes}, which no worker may have; ALTER ROLE {role} {fix}, then \
         try again"
    )]
    TooPowerful {
        /// The role.
        role: Role,
        /// Its attributes, as PostgreSQL names them.
        attributes: String,
        /// The same, negated.
        fix: String,
    },

    /// A worker's role owns the database and could do anything in it.
    #[error(
        "{database} is owned by {role}, the role of its workers; ALTER DATABASE {database} OWNER TO \
         the role that migrates, then try again"
    )]
    OwnedByWorker {
        /// The database.
        database: String,
        /// The role.
        role: Role,
    },

    /// A worker's role could still create tables.
    #[error(
        "role {role} can still create objects in schema {schema} of {database}; as superuser, \
         ALTER SCHEMA {schema} OWNER TO {owner}, then try again"
    )]
    CanCreate {
        /// The role.
        role: Role,
        /// The database.
        database: String,
        /// The schema.
        schema: String,
        /// The database's owner.
        owner: String,
    },

    /// A table has no day partitions.
    #[error(
        "{table} is not partitioned by day; the tables that are stand in engine.day_partitioned_tables"
    )]
    NotPartitioned {
        /// The table.
        table: String,
    },

    /// A password has characters that no client could send.
    #[error(
        "the password of {role} has characters that PostgreSQL passwords cannot have; choose another"
    )]
    Password {
        /// The role.
        role: Role,
    },
}

impl Error {
    /// Turns a driver error into [`Error::Sql`]; `attempt` is read after "could not".
    pub(crate) fn sql(attempt: impl Into<String>) -> impl FnOnce(sqlx::Error) -> Self {
        let attempt = attempt.into();
        move |source| Self::Sql { attempt, source }
    }

    /// PostgreSQL's five-character error code, where PostgreSQL answered.
    pub(crate) fn sqlstate(&self) -> Option<String> {
        match self {
            Self::Sql { source, .. } => sqlstate(source),
            _ => None,
        }
    }
}

/// PostgreSQL's five-character error code, where PostgreSQL answered.
pub(crate) fn sqlstate(error: &sqlx::Error) -> Option<String> {
    Some(error.as_database_error()?.code()?.into_owned())
}

fn list(versions: &[i64]) -> String {
    versions
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

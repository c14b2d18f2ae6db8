//! What a migration run reports while it runs.

use std::fmt;
use std::time::Duration;

use crate::{PartitionChange, Role};

/// One step of a migration run, reported when it is done. `Display` gives a line for people.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Progress {
    /// Another run holds the lock; this one waits for it to end.
    Waiting,
    /// A role was created, or was there.
    Role {
        /// The role.
        role: Role,
        /// Whether this run created it.
        created: bool,
    },
    /// A role's password was set.
    Password {
        /// The role.
        role: Role,
    },
    /// A database was created, or was there.
    Database {
        /// The database.
        database: String,
        /// Whether this run created it.
        created: bool,
    },
    /// The stand-in for Supabase Auth was installed or brought up to date.
    AuthShim {
        /// The database.
        database: String,
    },
    /// A migration was applied.
    Applied {
        /// The database.
        database: String,
        /// The migration's version.
        version: i64,
        /// The migration's description.
        description: String,
        /// How long it took.
        elapsed: Duration,
    },
    /// Migrations were there already.
    AlreadyApplied {
        /// The database.
        database: String,
        /// How many.
        count: usize,
    },
    /// A role has its privileges.
    Privileges {
        /// The database.
        database: String,
        /// The role.
        role: Role,
        /// The tables on which they changed; none when all was right already.
        changed: Vec<String>,
    },
    /// A partitioned table has its day partitions.
    Partitions {
        /// The database.
        database: String,
        /// The table.
        table: String,
        /// What changed; nothing when all were there.
        changes: Vec<PartitionChange>,
    },
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = |created: &bool| if *created { "created" } else { "already there" };
        match self {
            Self::Waiting => write!(
                f,
                "another migration run is under way: waiting for it to end"
            ),
            Self::Role { role, created } => write!(f, "role {role}: {}", state(created)),
            Self::Password { role } => write!(f, "role {role}: password set"),
            Self::Database { database, created } => write!(f, "{database}: {}", state(created)),
            Self::AuthShim { database } => {
                write!(
                    f,
                    "{database}: stand-in for Supabase Auth installed (not for production)"
                )
            }
            Self::Applied {
                database,
                version,
                description,
                elapsed,
            } => {
                write!(
                    f,
                    "{database}: applied {version} {description} ({} ms)",
                    elapsed.as_millis()
                )
            }
            Self::AlreadyApplied { database, count } => {
                write!(f, "{database}: {count} migrations already there")
            }
            Self::Privileges {
                database,
                role,
                changed,
            } if changed.is_empty() => {
                write!(f, "{database}: privileges of {role} already there")
            }
            Self::Privileges {
                database,
                role,
                changed,
            } => {
                write!(
                    f,
                    "{database}: privileges of {role} set on {} tables",
                    changed.len()
                )
            }
            Self::Partitions {
                database,
                table,
                changes,
            } if changes.is_empty() => {
                write!(f, "{database}: day partitions of {table} already there")
            }
            Self::Partitions {
                database,
                table,
                changes,
            } => {
                let created = changes.iter().filter(|change| change.created()).count();
                write!(f, "{database}: {created} day partitions of {table} created")
            }
        }
    }
}

//! What a database error means. Invariant: an outage is never taken for bad data. Only errors that
//! a row's own content can cause isolate an event; every other one, known or not, is waited out.

use sqlx::Error;
use sqlx::postgres::PgDatabaseError;
use std::fmt;
use std::time::Duration;

/// What to do about a failed attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Some event's data is at fault (SQLSTATE class 22 or 23, or a worker's rejection): find it.
    Data {
        /// The SQLSTATE, where the database said it.
        sqlstate: Option<String>,
        /// What was said.
        message: String,
    },
    /// Another writer inserted one of the ids meanwhile: look again, then try again.
    Race,
    /// A partition for the row does not exist: create it, then try again.
    MissingPartition {
        /// What was said.
        message: String,
    },
    /// The server has not answered: it is away, or has been given too much to do.
    NoAnswer {
        /// For how long it was waited for.
        after: Duration,
    },
    /// Everything else: wait and try again, for as long as it takes.
    Outage {
        /// The SQLSTATE, where the database said it.
        sqlstate: Option<String>,
        /// What was said.
        message: String,
    },
}

/// Which statement failed; a unique violation means something else in the inbox than elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Writing inbox rows.
    Inbox,
    /// Anything else in a batch's transaction.
    Effects,
}

impl Failure {
    /// What this error means at this stage.
    pub fn of(error: &Error, stage: Stage) -> Self {
        let message = error.to_string();
        let Error::Database(database) = error else {
            return Self::Outage {
                sqlstate: None,
                message,
            };
        };
        let sqlstate = database
            .code()
            .map(|code| code.into_owned())
            .unwrap_or_default();
        let detail = database
            .try_downcast_ref::<PgDatabaseError>()
            .and_then(PgDatabaseError::detail)
            .map(|detail| format!("{message} ({detail})"));
        let message = detail.unwrap_or(message);
        match (sqlstate.as_str(), stage) {
            ("23505", Stage::Inbox) => Self::Race,
            // A row that fits no partition is a check violation of a table, without a constraint.
            // One of no table at all is raised by a trigger or a function, and about the data.
            ("23514", _) if database.constraint().is_none() && database.table().is_some() => {
                Self::MissingPartition { message }
            }
            (code, _) if code.starts_with("22") || code.starts_with("23") => Self::Data {
                sqlstate: Some(sqlstate),
                message,
            },
            _ => Self::Outage {
                sqlstate: Some(sqlstate),
                message,
            },
        }
    }

    /// For metrics: a short class with few values.
    pub fn class(&self) -> &'static str {
        match self {
            Self::Data { .. } => "data",
            Self::Race => "race",
            Self::MissingPartition { .. } => "missing_partition",
            Self::NoAnswer { .. } | Self::Outage { .. } => "outage",
        }
    }

    /// Whether doing less at once might help.
    pub fn took_too_long(&self) -> bool {
        const QUERY_CANCELED: &str = "57014";
        match self {
            Self::NoAnswer { .. } => true,
            Self::Outage { sqlstate, .. } => sqlstate.as_deref() == Some(QUERY_CANCELED),
            _ => false,
        }
    }
}

impl fmt::Display for Failure {
    /// As ops read it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Data { sqlstate, message } | Self::Outage { sqlstate, message } => match sqlstate
            {
                Some(code) => write!(f, "{message} (SQLSTATE {code})"),
                None => f.write_str(message),
            },
            Self::NoAnswer { after } => write!(f, "no answer within {} s", after.as_secs()),
            Self::Race => f.write_str("another writer keeps inserting the same events"),
            Self::MissingPartition { message } => write!(f, "{message} (SQLSTATE 23514)"),
        }
    }
}

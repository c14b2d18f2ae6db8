//! One connection to PostgreSQL, owned by one lane.
//!
//! Invariant: an abandoned statement takes its connection with it. The connection is moved out
//! while a statement runs and put back only after the statement has answered; a deadline that
//! passes drops both, and the server rolls back.

use super::failure::{Failure, Stage};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection};
use std::time::Duration;

/// The server-side limits of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// `statement_timeout`.
    pub statement: Duration,
    /// `lock_timeout`.
    pub lock: Duration,
    /// `idle_in_transaction_session_timeout`.
    pub idle_in_transaction: Duration,
}

impl Timeouts {
    /// How long a client waits for an answer before it takes the connection for dead: longer than
    /// the server would ever take.
    pub fn answer(&self) -> Duration {
        self.statement + Duration::from_secs(5)
    }
}

/// A place for one connection, made when needed.
#[derive(Debug)]
pub struct Database {
    options: PgConnectOptions,
    timeouts: Timeouts,
    connection: Option<PgConnection>,
}

impl Database {
    /// Nothing is connected yet.
    pub fn new(options: PgConnectOptions, name: &str, timeouts: Timeouts) -> Self {
        let millis = |duration: Duration| duration.as_millis().to_string();
        let options = options
            .application_name(name)
            .options([
                ("statement_timeout", millis(timeouts.statement)),
                ("lock_timeout", millis(timeouts.lock)),
                (
                    "idle_in_transaction_session_timeout",
                    millis(timeouts.idle_in_transaction),
                ),
                // A probe by a list of ids must not be planned anew for every list.
                ("plan_cache_mode", "force_generic_plan".to_owned()),
                ("TimeZone", "UTC".to_owned()),
            ])
            .log_statements(tracing::log::LevelFilter::Trace)
            .disable_statement_logging();
        Self {
            options,
            timeouts,
            connection: None,
        }
    }

    /// Takes the connection out, connecting first if there is none.
    ///
    /// # Errors
    /// [`Failure::Outage`] or [`Failure::NoAnswer`] if the server cannot be reached.
    pub async fn take(&mut self) -> Result<PgConnection, Failure> {
        if let Some(connection) = self.connection.take() {
            return Ok(connection);
        }
        let connecting = PgConnection::connect_with(&self.options);
        match tokio::time::timeout(self.timeouts.answer(), connecting).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(as_outage(Failure::of(&error, Stage::Effects))),
            Err(_) => Err(no_answer(self.timeouts.answer())),
        }
    }

    /// Puts a connection back that is outside any transaction.
    pub fn put_back(&mut self, connection: PgConnection) {
        self.connection = Some(connection);
    }

    /// Ends a failed transaction and keeps the connection if the server agrees.
    pub async fn roll_back(&mut self, mut connection: PgConnection) {
        let rolling_back = sqlx::raw_sql("ROLLBACK").execute(&mut connection);
        if let Ok(Ok(_)) = tokio::time::timeout(self.timeouts.answer(), rolling_back).await {
            self.connection = Some(connection);
        }
    }

    /// The server-side limits.
    pub const fn timeouts(&self) -> Timeouts {
        self.timeouts
    }
}

/// The failure for an answer that did not come.
pub const fn no_answer(after: Duration) -> Failure {
    Failure::NoAnswer { after }
}

/// Whatever keeps a connection from being made is no event's fault.
fn as_outage(failure: Failure) -> Failure {
    match failure {
        Failure::Data { sqlstate, message } => Failure::Outage { sqlstate, message },
        other => other,
    }
}

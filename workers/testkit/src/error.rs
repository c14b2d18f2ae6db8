//! One error for the whole crate. It is made to be read in a test's output: it says what was
//! attempted, carries the server's last words, and names the remedy where there is one.

use std::fmt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

/// What can go wrong when a component is started, used or stopped.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A program or file that should have been installed is not there.
    #[error("{missing}; install it with `tools/install {component}`")]
    NotInstalled {
        /// The name that `tools/install` knows the component by.
        component: &'static str,
        /// What was looked for, and where.
        missing: String,
    },

    /// The machine or the environment is not fit to run the component.
    #[error("{0}")]
    Unsuitable(String),

    /// A server or program ended, or did not do within its deadline what it should.
    #[error("{name} {reason}\n--- from its log, {} ---\n{last_words}", log.display())]
    ProcessFailed {
        /// The server or program.
        name: String,
        /// What happened instead.
        reason: String,
        /// The log file, which is gone once the server is, unless `TESTKIT_KEEP` is set.
        log: PathBuf,
        /// The log's last complaints and last lines.
        last_words: String,
    },

    /// A signal was to be sent to a process that had ended.
    #[error("{name} has ended already, with {status}")]
    Ended {
        /// The process.
        name: String,
        /// How it ended.
        status: ExitStatus,
    },

    /// A server was used while it was stopped.
    #[error("{0} is not running; start it with start_again()")]
    NotRunning(&'static str),

    /// A condition did not come true in time.
    #[error("gave up waiting for {what} after {waited:.1?}; last seen: {last}")]
    TimedOut {
        /// The condition.
        what: String,
        /// How long it was waited for.
        waited: Duration,
        /// What the last look at it showed.
        last: String,
    },

    /// The operating system refused something.
    #[error("could not {attempt}")]
    Io {
        /// What was attempted.
        attempt: String,
        /// The refusal.
        #[source]
        source: std::io::Error,
    },

    /// Kafka, or the mock cluster, refused something.
    #[error("could not {attempt}")]
    Kafka {
        /// What was attempted.
        attempt: String,
        /// The refusal.
        #[source]
        source: rdkafka::error::KafkaError,
    },

    /// PostgreSQL refused something.
    #[error("could not {attempt}")]
    Sql {
        /// What was attempted.
        attempt: String,
        /// The refusal.
        #[source]
        source: sqlx::Error,
    },
}

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A panic message or a failed test shows the `Debug` form: the same text as for a reader,
/// line breaks and causes included.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")?;
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl Error {
    pub(crate) fn io(attempt: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let attempt = attempt.into();
        |source| Self::Io { attempt, source }
    }

    pub(crate) fn kafka(
        attempt: impl Into<String>,
    ) -> impl FnOnce(rdkafka::error::KafkaError) -> Self {
        let attempt = attempt.into();
        |source| Self::Kafka { attempt, source }
    }

    pub(crate) fn sql(attempt: impl Into<String>) -> impl FnOnce(sqlx::Error) -> Self {
        let attempt = attempt.into();
        |source| Self::Sql { attempt, source }
    }

    /// Whether a server failed because something else listens on one of its ports.
    pub(crate) fn is_port_taken(&self) -> bool {
        match self {
            Self::ProcessFailed { last_words, .. } => {
                // The words of PostgreSQL and Java, and those of Quarkus.
                [
                    "Address already in use",
                    "seems to be in use by another process",
                ]
                .iter()
                .any(|words| last_words.contains(words))
            }
            _ => false,
        }
    }
}

//! Starts the real components for tests: PostgreSQL, Kafka, a schema registry, and
//! processes of the project's own.
//!
//! Invariants:
//!
//! - A server listens on loopback only, on ports and in a directory of its own, so any
//!   number of tests run side by side.
//! - A start, a stop or a restart returns when the server has answered, or has ended: it
//!   waits for that condition, never for an interval.
//! - Nothing outlives its test. Dropping a server ends it and removes its directory; a
//!   process that is killed outright takes its servers with it, and the next one to run
//!   removes the directories.
//! - Nothing is downloaded here. A component that is missing is an error that names the
//!   `tools/install` command.
//!
//! Only Linux is supported.
//!
//! ```no_run
//! # async fn example() -> testkit::Result<()> {
//! use testkit::{Kafka, Postgres};
//!
//! let postgres = Postgres::builder().setting("max_connections", "20").start().await?;
//! let kafka = Kafka::start().await?;
//! kafka.create_topic("iam.users", 12, &[]).await?;
//! println!("{} and {}", postgres.url("postgres"), kafka.bootstrap());
//! # Ok(())
//! # }
//! ```
//!
//! Set `TESTKIT_KEEP=1` to keep the servers' directories, with their logs, after the test.

use std::time::Duration;

mod error;
mod eventually;
mod installed;
mod kafka;
mod mock_kafka;
mod port;
mod postgres;
mod process;
mod registry;
mod workdir;

pub use error::{Error, Result};
pub use eventually::eventually;
pub use kafka::{Kafka, KafkaBuilder};
pub use mock_kafka::{ApiKey, MockCoordinator, MockKafka, ResponseError};
pub use nix::sys::signal::Signal;
pub use postgres::{Postgres, PostgresBuilder, StopMode};
pub use process::{Process, ProcessBuilder};
pub use registry::Registry;

/// For each step of a start. A server that fails says so at once; this is for one that hangs. On
/// two cores with thirty servers starting together, a step took up to a minute.
const START_DEADLINE: Duration = Duration::from_secs(180);
/// For a server to end after it was told to.
const STOP_DEADLINE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    fn can_be_spawned<F: Future + Send>(_: F) {}
    fn can_be_shared<T: Send + Sync>() {}

    #[test]
    fn servers_can_be_started_in_tasks_and_shared_between_them() {
        can_be_spawned(Kafka::start());
        can_be_spawned(Postgres::start());
        can_be_spawned(Registry::start());
        can_be_shared::<Kafka>();
        can_be_shared::<MockKafka>();
        can_be_shared::<Postgres>();
        can_be_shared::<Process>();
        can_be_shared::<Registry>();
    }
}

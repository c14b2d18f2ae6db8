//! The platform's databases: their names, roles, migrations and privileges.
//!
//! Invariants:
//!
//! - A service has one database, `learnexpert_<service>_<environment>`, and one role that may
//!   work in it. Nothing crosses between databases: no role is let into another service's, but
//!   the relay's, which reads and marks outboxes.
//! - A database is migrated only forward, and only by a binary that knows everything that was
//!   applied to it before.
//! - A worker's role changes rows and nothing else: no DDL, no TRUNCATE, and no UPDATE or DELETE
//!   where a table is append-only. What it may do with each table is declared beside the table,
//!   in the migrations.
//!
//! | Where | What |
//! |---|---|
//! | [`Service`], [`Role`], [`Environment`] | the names |
//! | [`migrate`] | brings databases, roles, tables and privileges to where this binary wants them |
//! | [`check`] | whether a database has what this binary needs |
//! | [`maintain_partitions`], [`set_retention`] | the day partitions of the large tables |
//!
//! This crate knows nothing of Kafka and of events; the migrations are the files in `migrations/`.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use databases::{Environment, Password, Request, Service, migrate};
//!
//! let admin = "postgres://postgres@localhost/postgres".parse()?;
//! let mut request = Request::new(admin, Environment::Dev);
//! request.passwords.insert(Service::Analytics.role(), Password::new("secret"));
//! migrate(&request, &mut |step| println!("{step}")).await?;
//! # Ok(())
//! # }
//! ```

mod access;
mod auth;
mod connection;
mod embedded;
mod error;
mod history;
mod migrate;
mod names;
mod partitions;
mod password;
mod progress;
mod roles;

pub use auth::AuthShim;
pub use error::{Error, Result};
pub use history::check;
pub use migrate::{Request, migrate};
pub use names::{Environment, Role, Service, UnknownName};
pub use partitions::{DAYS_AHEAD, DAYS_BACK, PartitionChange, maintain_partitions, set_retention};
pub use password::{Password, Passwords};
pub use progress::Progress;

//! The migrations and this crate against a real PostgreSQL server. `POSTGRES_BIN` chooses another
//! server version.
#![allow(clippy::unwrap_used, clippy::panic)]

mod fixture;
mod iam;
mod inbox;
mod migrating;
mod outbox;
mod partitions;
mod privileges;
mod retention;

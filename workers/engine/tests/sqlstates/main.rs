//! Every SQLSTATE class, really produced by PostgreSQL: what an event's data can cause is isolated,
//! everything else is waited out.
#![allow(clippy::unwrap_used, clippy::panic)]

mod conflicts;
mod isolated;
mod outage;
mod partitions;
mod servers;
mod sessions;
#[path = "../support/mod.rs"]
mod support;
mod waited_out;

//! Groups of members that come, go, stall and lose their broker: whatever the schedule, each event
//! is applied once and in order, and no partition is left behind.
#![allow(clippy::unwrap_used, clippy::panic)]

mod brokers;
mod claims;
mod fleet;
mod identities;
mod positions;
mod schedules;
#[path = "../support/mod.rs"]
mod support;

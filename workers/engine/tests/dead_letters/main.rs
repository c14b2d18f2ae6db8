//! What happens to events that cannot be applied: dead letters, parking, quarantine, and the guard
//! against a flood of them.
#![allow(clippy::unwrap_used, clippy::panic)]

mod flood;
mod isolating;
mod parking;
mod quarantine;
mod schemas;
#[path = "../support/mod.rs"]
mod support;
mod topic_outage;

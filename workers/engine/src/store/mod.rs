//! Everything that the engine says to PostgreSQL.
//!
//! *Architecture invariant:* no connection is shared or pooled. A connection whose future was
//! abandoned is dropped with it, so that no later statement can find itself inside a forgotten
//! transaction.

pub mod claim;
pub mod connection;
pub mod failure;
pub mod inbox;
pub mod outbox;
pub mod partitions;
pub mod positions;
pub mod set_aside;

//! Everything that the engine says to Kafka.
//!
//! *Architecture invariant:* one thread owns the consumer; nothing else polls, assigns or commits.

pub mod broker;
pub mod consumer;
pub mod dead_letter;
pub mod native;
pub mod rebalance;

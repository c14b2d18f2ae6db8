//! The scheduling core: which record may be worked on, and how far a partition has come.
//!
//! *Architecture invariant:* plain code without I/O, clocks or randomness; time and chance are
//! arguments. So it can be tested against a naive model with any schedule.

pub mod backoff;
pub mod budget;
pub mod flood_guard;
pub mod offsets;
pub mod prefix;
pub mod queue;

#[cfg(test)]
mod model_tests;

//! The consumer runtime of the event workers.
//!
//! A [`Worker`] says what an event asks for; the engine sees to it that the effects of every event
//! happen exactly once in PostgreSQL, whatever is killed, replayed, rebalanced or produced twice.
//!
//! *Architecture invariants:* the engine knows no business and no table of a worker; a worker knows
//! no Kafka. Only `claims` changes a fence, only the consumer thread talks to the group.
//!
//! The life of a record: [`kafka::consumer`] polls it into a [`record::Record`] under the memory
//! budget → [`lane::prepare`] turns it into a plan → [`lane::settle`] applies the batch in one
//! transaction ([`lane`]'s `transaction`), isolates bad data, waits out outages → the position in
//! the database moves, and Kafka is told by the way.

mod batch;
mod claims;
mod inbox;
pub mod kafka;
pub mod lane;
pub mod record;
mod runtime;
pub mod scheduling;
mod schemas;
pub mod service;
mod settings;
pub mod status;
pub mod store;
pub mod worker;

pub use batch::{Accepted, Fresh, Tx};
pub use inbox::{Column, ColumnKind, Fill, Inbox, Value};
pub use kafka::broker::TopicIds;
pub use runtime::{RunError, Running, StartError, group_of, start};
pub use scheduling::budget::Limits;
pub use scheduling::flood_guard::FloodLimits;
pub use service::{RunningService, Service};
pub use settings::{GroupProtocol, Settings, Shutdown};
pub use store::claim::Start;
pub use store::connection::Timeouts;
pub use worker::{ApplyError, Order, Reject, Subscription, Worker};

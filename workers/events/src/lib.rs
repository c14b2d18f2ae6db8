//! The platform's event contracts: what an event is, how it travels and which topic carries it.
//!
//! *Architecture invariant:* nothing here talks to Kafka, a registry or a database. The types are
//! generated from `avro/` and `topics/` when this crate is built, so that they cannot be out of
//! step with the contract: a new event is one `.avsc` file and one line in a topic file, and the
//! compiler then names every `match` that has to decide about it.
//!
//! | Module | What it answers |
//! |---|---|
//! | [`Payload`], [`EventType`] | what happened, typed (generated) |
//! | [`Envelope`] | who says so, about what, when: CloudEvents 1.0 attributes from record headers |
//! | [`wire`] | the Confluent wire format: which schema wrote these bytes |
//! | [`WriterSchema`] | a schema as its writer registered it |
//! | [`Event`] | envelope, payload, plain JSON and content hash, decoded from one record |
//! | [`plain_json`] | the one mapping between plain JSON and Avro |
//! | [`catalogue`] | topics, keys, retention, who reads and writes |
//! | [`compatibility`] | whether a changed schema would break a reader or a writer |

mod canonical;
pub mod catalogue;
pub mod compatibility;
mod encode;
mod envelope;
mod event;
pub mod plain_json;
mod timestamp;
pub mod wire;
mod writer_schema;

pub use canonical::ContentHash;
pub use catalogue::{DeadLetterTopic, EventContract, Retention, Topic};
pub use encode::{EncodeError, encode};
pub use envelope::{ContractViolation, Envelope, EventId, header};
pub use event::{DecodeError, Event, Json};
pub use generated::*;
pub use timestamp::Timestamp;
pub use writer_schema::{SchemaError, WriterSchema};

mod generated {
    include!(concat!(env!("OUT_DIR"), "/generated.rs"));
}

/// The value of a field that its writer did not know: the default that our `.avsc` gives it.
#[allow(clippy::expect_used)]
fn schema_default<T: serde::de::DeserializeOwned>(json: &str) -> T {
    // A default that does not fit its field is caught by the test over all contracts, so that
    // this cannot fail in a build that has been tested.
    serde_json::from_str(json).expect("a default in avro/ fits its field")
}

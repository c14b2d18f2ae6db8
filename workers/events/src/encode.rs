//! Typed event → Avro datum, by our own `.avsc`.

use crate::{Payload, WriterSchema};
use serde_avro_fast::ser::SerializerConfig;

/// A payload does not fit its own schema: a number that Avro cannot hold, for example.
#[derive(Debug, thiserror::Error)]
#[error("the event does not fit its schema: {0}")]
pub struct EncodeError(String);

impl EncodeError {
    pub(crate) fn new(why: String) -> Self {
        Self(why)
    }
}

/// The Avro datum of a payload, written with the schema of our `.avsc`.
///
/// # Errors
/// [`EncodeError`] where a value does not fit the schema.
pub fn encode(payload: &Payload) -> Result<Vec<u8>, EncodeError> {
    let schema = WriterSchema::of_contract(payload.event_type());
    let mut config = SerializerConfig::new(&schema.fast);
    serde_avro_fast::to_datum_vec(payload, &mut config).map_err(|e| EncodeError::new(e.to_string()))
}

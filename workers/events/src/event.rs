//! One decoded event, as a worker sees it.

use crate::canonical::Canonical;
use crate::envelope::{ContractViolation, Envelope};
use crate::{ContentHash, EventType, Payload, WriterSchema};
use serde::de::DeserializeSeed;
use serde_avro_fast::de::DeserializerState;
use serde_avro_fast::de::read::SliceRead;
use std::io::Read;
use uuid::Uuid;

/// One event: who says so, what happened, and what it says word for word.
#[derive(Clone, Debug)]
pub struct Event {
    /// Identity, type, source, time, subject.
    pub envelope: Envelope,
    /// What happened; `None` for a type that this build does not know (seen only by workers that
    /// take everything).
    pub payload: Option<Payload>,
    /// The event as plain JSON by its writer's schema; `None` unless the worker asked for it.
    pub json: Option<String>,
    /// Tells a repeat from a conflict.
    pub content_hash: ContentHash,
}

/// Whether the plain JSON of an event is wanted; it costs about as much as decoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Json {
    /// Make it.
    Wanted,
    /// Leave it out.
    Unwanted,
}

/// Why a datum could not be turned into an event. A property of the bytes: retrying cannot help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes do not fit the schema that is said to have written them.
    #[error("the value does not fit its writer's schema: {0}")]
    Malformed(String),
    /// Bytes are left over.
    #[error("{0} bytes are left after the value; the writer used another schema than it says")]
    TrailingBytes(usize),
    /// A well-formed event that breaks the contract.
    #[error(transparent)]
    Contract(#[from] ContractViolation),
}

impl Event {
    /// Decodes a datum by its writer's schema. Fields that the writer did not know take the
    /// default of our own `.avsc`; fields that we do not know are ignored (but stand in the JSON).
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn decode(
        envelope: Envelope,
        schema: &WriterSchema,
        datum: &[u8],
        json: Json,
    ) -> Result<Self, DecodeError> {
        let event_type = EventType::from_name(&envelope.event_type);
        if let Some(event_type) = event_type {
            let contract = event_type.contract();
            if schema.full_name() != contract.record {
                return Err(DecodeError::Contract(ContractViolation::WrongRecord {
                    event: contract.name,
                    expected: contract.record,
                    found: schema.full_name().to_owned(),
                }));
            }
        }
        let mut text = match json {
            Json::Wanted => Some(Vec::with_capacity(datum.len() * 3)),
            Json::Unwanted => None,
        };
        let content = read_all(schema, datum, |state| {
            Canonical {
                schema,
                node: schema.root,
                json: text.as_mut(),
            }
            .deserialize(state.deserializer())
        })?;
        let payload = event_type
            .map(|known| {
                read_all(schema, datum, |state| {
                    Payload::deserialize(known, state.deserializer())
                })
            })
            .transpose()?;
        let content_hash = ContentHash::new(content, &envelope.event_type, &envelope.subject);
        let json = text
            .map(String::from_utf8)
            .transpose()
            .map_err(|e| DecodeError::Malformed(e.to_string()))?;
        Ok(Self {
            envelope,
            payload,
            json,
            content_hash,
        })
    }

    /// Checks that the Kafka key is the one that the contract names, in lowercase UUID text: a
    /// wrong key breaks the order that readers rely on.
    ///
    /// # Errors
    /// [`ContractViolation::WrongKey`].
    pub fn check_key(&self, key: Option<&[u8]>) -> Result<(), ContractViolation> {
        let Some(payload) = &self.payload else {
            return Ok(());
        };
        let expected = payload.key();
        let mut buffer = Uuid::encode_buffer();
        let text = expected.hyphenated().encode_lower(&mut buffer);
        if key == Some(text.as_bytes()) {
            return Ok(());
        }
        let contract = payload.event_type().contract();
        Err(ContractViolation::WrongKey {
            event: contract.name,
            field: contract.key_field,
            expected,
            found: key.map_or_else(
                || "missing".to_owned(),
                |k| String::from_utf8_lossy(k).into_owned(),
            ),
        })
    }

    /// The event type, where this build knows it.
    pub fn event_type(&self) -> Option<EventType> {
        self.payload.as_ref().map(Payload::event_type)
    }
}

fn read_all<'a, T>(
    schema: &'a WriterSchema,
    datum: &'a [u8],
    read: impl FnOnce(
        &mut DeserializerState<'a, SliceRead<'a>>,
    ) -> Result<T, serde_avro_fast::de::DeError>,
) -> Result<T, DecodeError> {
    let mut state = DeserializerState::from_slice(datum, &schema.fast);
    let value = read(&mut state).map_err(|e| DecodeError::Malformed(e.to_string()))?;
    let mut rest = Vec::new();
    // Reading from a slice cannot fail.
    let left = state.into_reader().read_to_end(&mut rest).unwrap_or(0);
    match left {
        0 => Ok(value),
        left => Err(DecodeError::TrailingBytes(left)),
    }
}

//! An event that is ready to be sent.
//!
//! Invariant: topic, key and subject come from the payload by contract. There is no way to give
//! them by hand, and an [`OutgoingEvent`] that exists breaks no rule that its readers check.

use crate::error::Attribute;
use crate::meta::check_text;
use crate::{Meta, PublishError};
use events::{Envelope, EventType, Payload, encode, header, plain_json};
use rdkafka::message::{Header, OwnedHeaders};
use uuid::Uuid;

/// An event that has passed every check that needs neither broker nor registry.
#[derive(Clone, Debug)]
pub struct OutgoingEvent {
    event_type: EventType,
    key: Uuid,
    envelope: Envelope,
    further: Vec<(String, String)>,
    datum: Vec<u8>,
}

impl OutgoingEvent {
    /// From a typed payload. `source` is the service that says so (`iam-service`).
    ///
    /// # Errors
    /// Those with [`Fault::Event`](crate::Fault::Event).
    pub fn new(
        payload: impl Into<Payload>,
        meta: Meta,
        source: &str,
    ) -> Result<Self, PublishError> {
        let payload = payload.into();
        let event_type = payload.event_type();
        check_text(header::SOURCE, source)?;
        meta.check()?;
        if event_type.contract().carries_state && meta.aggregate_version.is_none() {
            return Err(PublishError::NoAggregateVersion(event_type));
        }
        let datum = encode(&payload)?;
        let envelope = Envelope {
            id: meta.id,
            event_type: event_type.contract().name.to_owned(),
            source: source.to_owned(),
            time: meta.time,
            subject: payload.subject().to_string(),
            aggregate_version: meta.aggregate_version,
            correlation_id: meta.correlation_id,
            causation_id: meta.causation_id,
            traceparent: meta.traceparent,
        };
        Ok(Self {
            event_type,
            key: payload.key(),
            envelope,
            further: meta.further,
            datum,
        })
    }

    /// From the event's name and its payload as plain JSON, as they stand in outbox rows and files
    /// (see [`events::plain_json`]).
    ///
    /// # Errors
    /// As [`OutgoingEvent::new`], and every mismatch between payload and schema.
    pub fn from_json(
        event_name: &str,
        payload: &serde_json::Value,
        meta: Meta,
        source: &str,
    ) -> Result<Self, PublishError> {
        let event_type = EventType::from_name(event_name)
            .ok_or_else(|| PublishError::unknown_event(event_name))?;
        Self::new(plain_json::read(event_type, payload)?, meta, source)
    }

    /// Checks key and subject that someone wrote down beside the payload, as outbox rows have them.
    ///
    /// # Errors
    /// [`PublishError::Contradiction`] where they are not what the payload says.
    pub fn check_address(&self, key: &str, subject: &str) -> Result<(), PublishError> {
        let contract = self.event_type.contract();
        let by_contract = Uuid::try_parse(&self.envelope.subject).unwrap_or_default();
        let stated = [
            ("key", key, contract.key_field, self.key),
            ("subject", subject, contract.subject_field, by_contract),
        ];
        for (what, given, field, expected) in stated {
            if given != expected.to_string() {
                return Err(PublishError::Contradiction {
                    event: self.event_type,
                    what,
                    given: given.to_owned(),
                    field,
                    expected,
                });
            }
        }
        Ok(())
    }

    /// Which event this is.
    pub fn event_type(&self) -> EventType {
        self.event_type
    }

    /// The topic that carries it.
    pub fn topic(&self) -> &'static str {
        self.event_type.contract().topic.name
    }

    /// The record's key.
    pub fn key(&self) -> Uuid {
        self.key
    }

    /// Its attributes.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// The Avro datum, by the current schema.
    pub(crate) fn datum(&self) -> &[u8] {
        &self.datum
    }

    pub(crate) fn headers(&self) -> OwnedHeaders {
        let attributes = self.envelope.to_headers();
        let further = self
            .further
            .iter()
            .map(|(name, value)| (name.as_str(), value));
        let all = attributes
            .iter()
            .map(|(name, value)| (*name, value))
            .chain(further);
        all.fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header {
                key,
                value: Some(value),
            })
        })
    }
}

/// A source that no event could carry.
pub(crate) fn check_source(source: &str) -> Result<(), Attribute> {
    check_text(header::SOURCE, source)
}

#[cfg(test)]
#[path = "outgoing_tests.rs"]
mod tests;

//! The envelope: CloudEvents 1.0 attributes, in Kafka's binary mode (one header per attribute).
//!
//! Invariant: an event that has an envelope can be named, deduplicated and routed without looking
//! at its value; an undecodable record still says what it claims to be.

use crate::EventType;
use chrono::{DateTime, SecondsFormat, Utc};
use std::fmt;
use uuid::Uuid;

/// Header names, as they stand in Kafka records.
pub mod header {
    /// CloudEvents version; always `1.0`.
    pub const SPEC_VERSION: &str = "ce_specversion";
    /// Event id, unique per source; a UUID (version 7 recommended).
    pub const ID: &str = "ce_id";
    /// The platform's name of the event.
    pub const TYPE: &str = "ce_type";
    /// The service that says so.
    pub const SOURCE: &str = "ce_source";
    /// When it happened, RFC 3339.
    pub const TIME: &str = "ce_time";
    /// The aggregate that it is about.
    pub const SUBJECT: &str = "ce_subject";
    /// The aggregate's version after the event.
    pub const AGGREGATE_VERSION: &str = "ce_aggregateversion";
    /// The business operation that it belongs to.
    pub const CORRELATION_ID: &str = "ce_correlationid";
    /// The event that caused it.
    pub const CAUSATION_ID: &str = "ce_causationid";
    /// W3C trace context.
    pub const TRACEPARENT: &str = "traceparent";
}

/// The identity of an event: the `triggering_event_id` of everything that it causes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId(pub Uuid);

impl EventId {
    /// The id for a `ce_id` as it stands in a record. Any text is legal by CloudEvents; text that
    /// is no UUID maps to a stable UUIDv5 of source and id.
    pub fn from_attribute(source: &str, id: &str) -> Self {
        let namespace = || Uuid::new_v5(&Uuid::NAMESPACE_URL, source.as_bytes());
        Self(Uuid::try_parse(id).unwrap_or_else(|_| Uuid::new_v5(&namespace(), id.as_bytes())))
    }
}

impl EventId {
    /// The id of an event that this one causes: version 7 with this id's own time (or `time`, for
    /// an id without one) and a hash of this id, the caused event's type and its ordinal among the
    /// events of that type. The same cause always gives the same id.
    #[must_use]
    pub fn derived(self, time: DateTime<Utc>, event_type: &str, ordinal: u32) -> Self {
        let millis = match self.0.get_version_num() {
            7 => u64::try_from(self.0.as_u128() >> 80).unwrap_or_default(),
            _ => u64::try_from(time.timestamp_millis()).unwrap_or_default(),
        };
        let mut cause = self.0.as_bytes().to_vec();
        cause.extend_from_slice(&ordinal.to_be_bytes());
        cause.extend_from_slice(event_type.as_bytes());
        let hash = xxhash_rust::xxh3::xxh3_128(&cause).to_be_bytes();
        let mut random = [0; 10];
        random.copy_from_slice(&hash[..10]);
        Self(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A record breaks the contract between producers and consumers. A property of the record:
/// retrying cannot help, its producer has to be mended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContractViolation {
    /// A required attribute has no header.
    #[error("required header {0} is missing; publish with the typed producer or set the header")]
    Missing(&'static str),
    /// An attribute's header cannot be understood.
    #[error("header {name} is {value:?}, which is not {expected}")]
    Malformed {
        /// The header.
        name: &'static str,
        /// What it holds.
        value: String,
        /// What it should hold.
        expected: &'static str,
    },
    /// The Kafka key is not what the contract says.
    #[error("the record's key is {found:?}, the contract of {event} wants {field} = {expected}")]
    WrongKey {
        /// The event's name.
        event: &'static str,
        /// The field that the key must repeat.
        field: &'static str,
        /// The value of that field.
        expected: Uuid,
        /// What the record has.
        found: String,
    },
    /// The value was written with a schema of another event.
    #[error("{event} was written with the schema of {found}; its contract is {expected}")]
    WrongRecord {
        /// The event's name.
        event: &'static str,
        /// The record name by contract.
        expected: &'static str,
        /// The record name of the writer's schema.
        found: String,
    },
    /// The event stands in a topic that does not carry it.
    #[error("{event} arrived on topic {found}; its contract puts it on {expected}")]
    WrongTopic {
        /// The event's name.
        event: &'static str,
        /// The topic by contract.
        expected: &'static str,
        /// The topic that it came from.
        found: String,
    },
}

/// The attributes of one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Identity; what everything caused by this event is keyed on.
    pub id: EventId,
    /// The platform's name of the event; may be one that this build does not know.
    pub event_type: String,
    /// The service that published it.
    pub source: String,
    /// When it happened, by the publisher's clock.
    pub time: DateTime<Utc>,
    /// The aggregate that it is about.
    pub subject: String,
    /// The aggregate's version after the event; always there on events that carry state.
    pub aggregate_version: Option<i64>,
    /// The business operation that it belongs to.
    pub correlation_id: Option<String>,
    /// The event that caused it.
    pub causation_id: Option<String>,
    /// W3C trace context.
    pub traceparent: Option<String>,
}

impl Envelope {
    /// Reads the attributes from a record's headers. Headers that are no attribute are ignored;
    /// of a repeated header the last one counts, as in Kafka's own convention.
    ///
    /// # Errors
    /// A required attribute that is missing or malformed, by name.
    pub fn from_headers<'h>(
        headers: impl Iterator<Item = (&'h str, Option<&'h [u8]>)>,
    ) -> Result<Self, ContractViolation> {
        let found = Attributes::collect(headers);
        let version = found.required(header::SPEC_VERSION, found.spec_version)?;
        if version != "1.0" {
            return Err(malformed(header::SPEC_VERSION, version, "1.0"));
        }
        let id = found.required(header::ID, found.id)?;
        let event_type = found.required(header::TYPE, found.event_type)?;
        let source = found.required(header::SOURCE, found.source)?;
        let time_text = found.required(header::TIME, found.time)?;
        let time = DateTime::parse_from_rfc3339(time_text)
            .map_err(|_| malformed(header::TIME, time_text, "an RFC 3339 time"))?
            .with_timezone(&Utc);
        let subject = found.required(header::SUBJECT, found.subject)?;
        let aggregate_version = found.version()?;
        let carries_state =
            EventType::from_name(event_type).is_some_and(|t| t.contract().carries_state);
        if carries_state && aggregate_version.is_none() {
            return Err(ContractViolation::Missing(header::AGGREGATE_VERSION));
        }
        Ok(Self {
            id: EventId::from_attribute(source, id),
            event_type: event_type.to_owned(),
            source: source.to_owned(),
            time,
            subject: subject.to_owned(),
            aggregate_version,
            correlation_id: text(header::CORRELATION_ID, found.correlation_id)?.map(str::to_owned),
            causation_id: text(header::CAUSATION_ID, found.causation_id)?.map(str::to_owned),
            traceparent: text(header::TRACEPARENT, found.traceparent)?.map(str::to_owned),
        })
    }

    /// The headers that carry these attributes.
    pub fn to_headers(&self) -> Vec<(&'static str, String)> {
        let mut headers = vec![
            (header::SPEC_VERSION, "1.0".to_owned()),
            (header::ID, self.id.to_string()),
            (header::TYPE, self.event_type.clone()),
            (header::SOURCE, self.source.clone()),
            (
                header::TIME,
                self.time.to_rfc3339_opts(SecondsFormat::Micros, true),
            ),
            (header::SUBJECT, self.subject.clone()),
        ];
        let optional = [
            (
                header::AGGREGATE_VERSION,
                self.aggregate_version.map(|v| v.to_string()),
            ),
            (header::CORRELATION_ID, self.correlation_id.clone()),
            (header::CAUSATION_ID, self.causation_id.clone()),
            (header::TRACEPARENT, self.traceparent.clone()),
        ];
        headers.extend(
            optional
                .into_iter()
                .filter_map(|(name, value)| Some((name, value?))),
        );
        headers
    }
}

#[derive(Default)]
struct Attributes<'h> {
    spec_version: Option<&'h [u8]>,
    id: Option<&'h [u8]>,
    event_type: Option<&'h [u8]>,
    source: Option<&'h [u8]>,
    time: Option<&'h [u8]>,
    subject: Option<&'h [u8]>,
    aggregate_version: Option<&'h [u8]>,
    correlation_id: Option<&'h [u8]>,
    causation_id: Option<&'h [u8]>,
    traceparent: Option<&'h [u8]>,
}

impl<'h> Attributes<'h> {
    fn collect(headers: impl Iterator<Item = (&'h str, Option<&'h [u8]>)>) -> Self {
        let mut found = Self::default();
        for (name, value) in headers {
            let slot = match name {
                header::SPEC_VERSION => &mut found.spec_version,
                header::ID => &mut found.id,
                header::TYPE => &mut found.event_type,
                header::SOURCE => &mut found.source,
                header::TIME => &mut found.time,
                header::SUBJECT => &mut found.subject,
                header::AGGREGATE_VERSION => &mut found.aggregate_version,
                header::CORRELATION_ID => &mut found.correlation_id,
                header::CAUSATION_ID => &mut found.causation_id,
                header::TRACEPARENT => &mut found.traceparent,
                _ => continue,
            };
            *slot = value;
        }
        found
    }

    fn required(
        &self,
        name: &'static str,
        value: Option<&'h [u8]>,
    ) -> Result<&'h str, ContractViolation> {
        match text(name, value)? {
            Some(text) if !text.is_empty() => Ok(text),
            _ => Err(ContractViolation::Missing(name)),
        }
    }

    fn version(&self) -> Result<Option<i64>, ContractViolation> {
        let name = header::AGGREGATE_VERSION;
        let Some(text) = text(name, self.aggregate_version)? else {
            return Ok(None);
        };
        match text.parse::<i64>() {
            Ok(version) if version >= 0 => Ok(Some(version)),
            _ => Err(malformed(name, text, "a whole number from 0")),
        }
    }
}

fn text<'h>(
    name: &'static str,
    value: Option<&'h [u8]>,
) -> Result<Option<&'h str>, ContractViolation> {
    value
        .map(|bytes| {
            std::str::from_utf8(bytes)
                .map_err(|_| malformed(name, &String::from_utf8_lossy(bytes), "UTF-8 text"))
        })
        .transpose()
}

/// How much of a foreign header value an error repeats.
const SHOWN_CHARACTERS: usize = 80;

fn malformed(name: &'static str, value: &str, expected: &'static str) -> ContractViolation {
    let value = value.chars().take(SHOWN_CHARACTERS).collect();
    ContractViolation::Malformed {
        name,
        value,
        expected,
    }
}

#[cfg(test)]
#[path = "envelope_tests.rs"]
mod tests;

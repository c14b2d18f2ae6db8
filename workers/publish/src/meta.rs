//! What an event says about itself besides its payload.
//!
//! Invariant: identity and time are fixed when a [`Meta`] is made, so that publishing again with a
//! clone of it repeats the same event instead of making a second one.

use crate::PublishError;
use crate::error::Attribute;
use chrono::{DateTime, Utc};
use events::{Envelope, EventId, header};
use uuid::Uuid;

/// Identity, time, version and causes of one event.
///
/// ```
/// use publish::Meta;
///
/// let meta = Meta::new().aggregate_version(3).correlation_id("order-4711");
/// let repeated = meta.clone();
/// assert_eq!(meta.id(), repeated.id());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    pub(crate) id: EventId,
    pub(crate) time: DateTime<Utc>,
    pub(crate) aggregate_version: Option<i64>,
    pub(crate) correlation_id: Option<String>,
    pub(crate) causation_id: Option<String>,
    pub(crate) traceparent: Option<String>,
    /// Headers that are no attribute of the envelope.
    pub(crate) further: Vec<(String, String)>,
}

impl Default for Meta {
    fn default() -> Self {
        Self::new()
    }
}

impl Meta {
    /// A new identity (a UUID of version 7) and the time now, nothing else.
    pub fn new() -> Self {
        Self {
            id: EventId(Uuid::now_v7()),
            time: Utc::now(),
            aggregate_version: None,
            correlation_id: None,
            causation_id: None,
            traceparent: None,
            further: Vec::new(),
        }
    }

    /// An event caused by another one: its id is the cause, and its correlation and trace go on.
    /// Where it belongs to no business operation yet, it begins one.
    pub fn caused_by(cause: &Envelope) -> Self {
        let correlation_id = cause.correlation_id.clone();
        Self {
            causation_id: Some(cause.id.to_string()),
            correlation_id: correlation_id.or_else(|| Some(cause.id.to_string())),
            traceparent: cause.traceparent.clone(),
            ..Self::new()
        }
    }

    /// Which event this is; give the same one to say the same event again.
    pub fn event_id(mut self, id: Uuid) -> Self {
        self.id = EventId(id);
        self
    }

    /// When it happened; otherwise the time at which this value was made.
    pub fn time(mut self, time: DateTime<Utc>) -> Self {
        self.time = time;
        self
    }

    /// The aggregate's version after the event, from 0, rising with each change. Required for
    /// events that carry state.
    pub fn aggregate_version(mut self, version: i64) -> Self {
        self.aggregate_version = Some(version);
        self
    }

    /// The business operation that the event belongs to.
    pub fn correlation_id(mut self, id: impl Into<String>) -> Self {
        self.correlation_id = Some(id.into());
        self
    }

    /// The event that caused this one.
    pub fn causation_id(mut self, id: impl Into<String>) -> Self {
        self.causation_id = Some(id.into());
        self
    }

    /// W3C trace context: `00-<trace id>-<span id>-<flags>`.
    pub fn traceparent(mut self, traceparent: impl Into<String>) -> Self {
        self.traceparent = Some(traceparent.into());
        self
    }

    /// The event's id.
    pub fn id(&self) -> EventId {
        self.id
    }

    /// Sets an attribute from a record header (`ce_id`, `ce_time`, `ce_correlationid`, …), as an
    /// outbox row keeps them. A header that is no CloudEvents attribute goes along unchanged.
    ///
    /// # Errors
    /// [`PublishError::Attribute`] for a value that cannot be understood, and for attributes that
    /// follow from the contract (`ce_type`, `ce_subject`) or from the publisher (`ce_source`).
    pub fn header(mut self, name: &str, value: &str) -> Result<Self, PublishError> {
        let wrong = |expected| Attribute::wrong(name, value, expected);
        match name {
            header::ID => {
                self.id = EventId(Uuid::try_parse(value).map_err(|_| wrong("a UUID"))?);
            }
            header::TIME => {
                self.time = DateTime::parse_from_rfc3339(value)
                    .map_err(|_| wrong("an RFC 3339 time"))?
                    .with_timezone(&Utc);
            }
            header::AGGREGATE_VERSION => {
                self.aggregate_version =
                    Some(value.parse().map_err(|_| wrong("a whole number from 0"))?);
            }
            header::CORRELATION_ID => self.correlation_id = Some(value.to_owned()),
            header::CAUSATION_ID => self.causation_id = Some(value.to_owned()),
            header::TRACEPARENT => self.traceparent = Some(value.to_owned()),
            header::SPEC_VERSION if value == "1.0" => {}
            name if name.starts_with("ce_") => {
                return Err(wrong("to be set by hand: leave the header out").into());
            }
            name => self.further.push((name.to_owned(), value.to_owned())),
        }
        Ok(self)
    }

    /// Whether every attribute that was given can stand in an envelope.
    pub(crate) fn check(&self) -> Result<(), Attribute> {
        let texts = [
            (header::CORRELATION_ID, &self.correlation_id),
            (header::CAUSATION_ID, &self.causation_id),
        ];
        for (name, value) in texts {
            if let Some(value) = value {
                check_text(name, value)?;
            }
        }
        if let Some(version) = self.aggregate_version.filter(|version| *version < 0) {
            let value = version.to_string();
            let wrong =
                Attribute::wrong(header::AGGREGATE_VERSION, &value, "a whole number from 0");
            return Err(wrong);
        }
        match &self.traceparent {
            Some(text) if !is_traceparent(text) => Err(Attribute::wrong(
                header::TRACEPARENT,
                text,
                TRACEPARENT_FORM,
            )),
            _ => Ok(()),
        }
    }
}

/// CloudEvents allows neither empty attributes nor control characters.
pub(crate) fn check_text(name: &str, value: &str) -> Result<(), Attribute> {
    if value.is_empty() || value.chars().any(char::is_control) {
        return Err(Attribute::wrong(
            name,
            value,
            "a text without control characters",
        ));
    }
    Ok(())
}

const TRACEPARENT_FORM: &str =
    "a W3C trace context such as 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn is_traceparent(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let [version, trace, span, flags, rest @ ..] = parts.as_slice() else {
        return false;
    };
    let hex = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let not_zero = |part: &str| part.bytes().any(|b| b != b'0');
    hex(version, 2)
        && *version != "ff"
        && (*version != "00" || rest.is_empty())
        && hex(trace, 32)
        && not_zero(trace)
        && hex(span, 16)
        && not_zero(span)
        && hex(flags, 2)
}

#[cfg(test)]
#[path = "meta_tests.rs"]
mod tests;

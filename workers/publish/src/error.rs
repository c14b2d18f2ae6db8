//! Why an event was not published, and whose fault that is.

use crate::registry::RegistryError;
use events::plain_json::Mismatch;
use events::{EncodeError, EventId, EventType};
use std::fmt;
use std::time::Duration;
use uuid::Uuid;

/// An event was not published.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// No event has this name.
    #[error("no event is called {name:?}{}", or_nearest(*nearest))]
    UnknownEvent {
        /// The name that was given.
        name: String,
        /// A name that looks like it.
        nearest: Option<&'static str>,
    },
    /// A JSON payload does not fit the event's schema.
    #[error(transparent)]
    Payload(#[from] Mismatch),
    /// A value does not fit the event's schema.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// An event that carries state was given no version.
    #[error(
        "{0} carries state, and its readers keep only the newest: give Meta::aggregate_version"
    )]
    NoAggregateVersion(EventType),
    /// An attribute cannot stand in an envelope.
    #[error(transparent)]
    Attribute(#[from] Attribute),
    /// Key or subject were given and are not what the payload says.
    #[error(
        "{event}: {what} is given as {given:?}, but the payload's {field} is {expected}; mend the one that is wrong"
    )]
    Contradiction {
        /// The event.
        event: EventType,
        /// `key` or `subject`.
        what: &'static str,
        /// What was given.
        given: String,
        /// The field that decides by contract.
        field: &'static str,
        /// Its value.
        expected: Uuid,
    },
    /// The record is larger than client or topic allow.
    #[error(
        "{event} {id} takes {bytes} bytes, more than client and topic take (max.message.bytes); make the payload smaller"
    )]
    TooLarge {
        /// The event.
        event: EventType,
        /// Its id.
        id: EventId,
        /// The size of key and value.
        bytes: usize,
    },
    /// The registry does not have the event's current schema.
    #[error("the schema of {0} is not registered; run `fleet schemas register`")]
    NotRegistered(EventType),
    /// The schema's id could not be asked for.
    #[error(transparent)]
    Registry(RegistryError),
    /// The event's topic does not exist.
    #[error("the topic {0} does not exist; run `fleet topics apply`")]
    UnknownTopic(&'static str),
    /// The brokers did not acknowledge the event. It may have been stored all the same: publish it
    /// again with the same [`Meta`](crate::Meta), and readers take it as the same event.
    #[error("{event} {id} was not acknowledged: {why}")]
    NotAcknowledged {
        /// The event.
        event: EventType,
        /// Its id.
        id: EventId,
        /// What the client says, with the last trouble it had with a broker.
        why: String,
    },
    /// The producer cannot go on; make a new [`Publisher`](crate::Publisher).
    #[error("the producer has failed for good: {0}; make a new Publisher")]
    Broken(String),
    /// The settings do not make a producer.
    #[error("the Kafka settings cannot be used: {0}")]
    Settings(String),
    /// Not everything was acknowledged when the publisher was closed.
    #[error("{unsent} events were not acknowledged within {waited:?}; publish them again")]
    Unflushed {
        /// How many.
        unsent: usize,
        /// How long they were waited for.
        waited: Duration,
    },
}

/// Whose fault a [`PublishError`] is, and so what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The event's: it can never be published as it is. Mend it, or put it aside.
    Event,
    /// That of broker, registry or their setup. The event is sound: publish it again later, with
    /// the same [`Meta`](crate::Meta).
    Environment,
}

impl PublishError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::UnknownEvent { .. }
            | Self::Payload(_)
            | Self::Encode(_)
            | Self::NoAggregateVersion(_)
            | Self::Attribute(_)
            | Self::Contradiction { .. }
            | Self::TooLarge { .. } => Fault::Event,
            Self::NotRegistered(_)
            | Self::Registry(_)
            | Self::UnknownTopic(_)
            | Self::NotAcknowledged { .. }
            | Self::Broken(_)
            | Self::Settings(_)
            | Self::Unflushed { .. } => Fault::Environment,
        }
    }

    /// The error for a name that is no event's.
    pub(crate) fn unknown_event(name: &str) -> Self {
        let nearest = EventType::ALL
            .into_iter()
            .map(|event| event.contract().name)
            .map(|known| (strsim::jaro_winkler(known, &name.to_uppercase()), known))
            .filter(|(likeness, _)| *likeness > 0.8)
            .max_by(|(one, _), (other, _)| one.total_cmp(other))
            .map(|(_, known)| known);
        Self::UnknownEvent {
            name: name.to_owned(),
            nearest,
        }
    }
}

fn or_nearest(nearest: Option<&'static str>) -> String {
    match nearest {
        Some(known) => format!("; did you mean {known}?"),
        None => "; the events are listed by `fleet topics list`".to_owned(),
    }
}

/// An attribute that cannot stand in an envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// Its header.
    pub name: String,
    /// The value that was given.
    pub value: String,
    /// What it should be.
    pub expected: &'static str,
}

impl Attribute {
    pub(crate) fn wrong(name: &str, value: &str, expected: &'static str) -> Self {
        Self {
            name: name.to_owned(),
            value: value.to_owned(),
            expected,
        }
    }
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} is {:?}, which is not {}",
            self.name, self.value, self.expected
        )
    }
}

impl std::error::Error for Attribute {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_event_is_answered_with_the_name_that_was_meant() {
        let error = PublishError::unknown_event("user_registred").to_string();
        assert!(error.ends_with("did you mean USER_REGISTERED?"), "{error}");
        let error = PublishError::unknown_event("xyz").to_string();
        assert!(error.contains("fleet topics list"), "{error}");
    }
}

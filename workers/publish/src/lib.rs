//! Publishing platform events.
//!
//! A service says what happened; topic, key, subject, headers and encoding follow from the
//! contract. A few lines are all it takes:
//!
//! ```no_run
//! use chrono::Utc;
//! use events::{CourseFollowed, FollowTarget};
//! use publish::registry::{Registry, RegistrySettings};
//! use publish::{KafkaSettings, Meta, Publisher};
//! use uuid::Uuid;
//!
//! # async fn example(user_id: Uuid, author_id: Uuid) -> Result<(), Box<dyn std::error::Error>> {
//! let kafka = KafkaSettings::plaintext("broker-1:9092,broker-2:9092");
//! let registry = Registry::connect(&RegistrySettings::new(["http://registry:8081"]))?;
//! // Once, when the service starts:
//! let publisher = Publisher::new(&kafka, registry, "progress-service")?;
//!
//! // Whenever it happens:
//! let event = CourseFollowed {
//!     user_id,
//!     company_id: None,
//!     course_id: None,
//!     course_version_id: None,
//!     follow_target: FollowTarget::Author,
//!     followed_id: author_id,
//!     followed_at: Utc::now().into(),
//! };
//! let stored = publisher.publish(event, Meta::new()).await?;
//! println!("{} is {}[{}]@{}", stored.id, stored.topic, stored.partition, stored.offset);
//! # Ok(())
//! # }
//! ```
//!
//! Events that must not be lost when the service stops between its own write and the publication
//! belong into its outbox table; the relay publishes them through this crate.
//!
//! | Need | Use |
//! |---|---|
//! | one event, acknowledged | [`Publisher::publish`] |
//! | many at once | [`Publisher::send`], then await each [`Ack`] |
//! | check now, send later; JSON; another source | [`OutgoingEvent`], [`Publisher::send_event`] |
//! | an event because of another | [`Meta::caused_by`] |
//! | retry or give up | [`PublishError::fault`] |
//!
//! *Architecture invariant:* nothing here consumes, and nothing here knows a database.

mod error;
mod kafka;
mod meta;
mod outgoing;
mod publisher;
pub mod registry;
mod secret;

pub use error::{Attribute, Fault, PublishError};
pub use kafka::{KafkaSettings, Sasl, SaslMechanism, Security, Tls};
pub use meta::Meta;
pub use outgoing::OutgoingEvent;
pub use publisher::{Ack, Compression, ProducerSettings, Published, Publisher};
pub use secret::Secret;

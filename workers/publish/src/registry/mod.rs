//! The schema registry, as producers and consumers use it.
//!
//! Invariants:
//!
//! - [`RegistryError::Unknown`] is said only by a registry that answered: 404 with its own error
//!   code. Whatever else goes wrong is [`RegistryError::Unavailable`], so that an outage is never
//!   taken for a record that cannot be read.
//! - Only successes are remembered. An error is asked again.

mod remote;

use events::EventType;
use events::wire::SchemaId;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::Secret;
use remote::Remote;

/// How long one address of the registry may take to answer, unless set otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(2);

/// The compatibility that every subject has: each version can read each other one.
pub const COMPATIBILITY: &str = "FULL_TRANSITIVE";

/// A schema registry. Clones share what has been learnt.
#[derive(Clone)]
pub struct Registry {
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    Bundled,
    Remote(Arc<Remote>),
}

/// Where the registry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrySettings {
    /// Base addresses, such as `https://registry:8081`. All are the same registry: the next one is
    /// asked when one does not answer.
    pub urls: Vec<String>,
    /// How to prove who one is.
    pub auth: RegistryAuth,
    /// How long one address may take to answer.
    pub timeout: Duration,
    /// Who may sign the registry's certificate (PEM), besides the system's own list.
    pub ca: Option<PathBuf>,
}

impl RegistrySettings {
    /// A registry without authentication, with the usual timeout.
    pub fn new(urls: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            urls: urls.into_iter().map(Into::into).collect(),
            auth: RegistryAuth::None,
            timeout: DEFAULT_TIMEOUT,
            ca: None,
        }
    }
}

/// Authentication against the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegistryAuth {
    /// None.
    None,
    /// User and password.
    Basic {
        /// The user's name.
        user: String,
        /// The user's password.
        password: Secret,
    },
    /// A bearer token.
    Token(Secret),
}

/// Why the registry did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// The registry answers, and does not have what was asked for.
    #[error("the schema registry does not have {0}")]
    Unknown(String),
    /// The registry answers, and refuses to take the schema. Only [`Registry::register`] says so.
    #[error("the schema registry refuses {0}")]
    Refused(String),
    /// The registry could not be asked, or its answer cannot be understood. Ask again later.
    #[error("the schema registry is unavailable: {0}")]
    Unavailable(String),
    /// The settings cannot work.
    #[error("the settings of the schema registry cannot be used: {0}")]
    Settings(String),
}

/// A version of a schema that the registry has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisteredVersion {
    /// The version's number under its subject, from 1.
    pub version: u32,
    /// The schema's id.
    pub id: SchemaId,
    /// The schema's text.
    pub schema: String,
}

impl Registry {
    /// A registry that needs no server: it has the current schema of every event. An id is the
    /// event's place in [`EventType::ALL`], counted from 1; so ids hold within one build, which is
    /// enough where brokers and events live no longer than the process.
    pub fn bundled() -> Self {
        Self {
            kind: Kind::Bundled,
        }
    }

    /// The client of a registry server. Nothing is asked of it yet.
    ///
    /// # Errors
    /// [`RegistryError::Settings`] without an address, or for one that is no `http` address, or
    /// when the certificate file cannot be read.
    pub fn connect(settings: &RegistrySettings) -> Result<Self, RegistryError> {
        Ok(Self {
            kind: Kind::Remote(Arc::new(Remote::new(settings)?)),
        })
    }

    /// The text of a schema.
    ///
    /// # Errors
    /// [`RegistryError::Unknown`], [`RegistryError::Unavailable`].
    pub async fn schema_by_id(&self, id: SchemaId) -> Result<String, RegistryError> {
        match &self.kind {
            Kind::Bundled => bundled_schema(id)
                .ok_or_else(|| RegistryError::Unknown(format!("a schema with id {id}"))),
            Kind::Remote(remote) => remote.schema_by_id(id).await,
        }
    }

    /// The id of an event's current schema, looked up under its subject.
    ///
    /// # Errors
    /// [`RegistryError::Unknown`] when it has not been registered;
    /// [`RegistryError::Unavailable`].
    pub async fn id_of(&self, event: EventType) -> Result<SchemaId, RegistryError> {
        match &self.kind {
            Kind::Bundled => Ok(bundled_id(event)),
            Kind::Remote(remote) => remote.id_of(event).await,
        }
    }

    /// Registers an event's current schema under its subject and gives its id; a schema that is
    /// registered already keeps its id. The subject's compatibility is set first.
    ///
    /// # Errors
    /// [`RegistryError::Refused`] when the schema is incompatible with a registered version;
    /// [`RegistryError::Unavailable`].
    pub async fn register(&self, event: EventType) -> Result<SchemaId, RegistryError> {
        match &self.kind {
            Kind::Bundled => Ok(bundled_id(event)),
            Kind::Remote(remote) => remote.register(event).await,
        }
    }

    /// Every version that is registered under an event's subject, oldest first; none where the
    /// subject does not exist.
    ///
    /// # Errors
    /// [`RegistryError::Unavailable`].
    pub async fn versions(
        &self,
        event: EventType,
    ) -> Result<Vec<RegisteredVersion>, RegistryError> {
        match &self.kind {
            Kind::Bundled => Ok(vec![RegisteredVersion {
                version: 1,
                id: bundled_id(event),
                schema: event.contract().schema.to_owned(),
            }]),
            Kind::Remote(remote) => remote.versions(event).await,
        }
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Bundled => f.write_str("Registry(bundled)"),
            Kind::Remote(remote) => write!(f, "Registry({})", remote.urls().join(", ")),
        }
    }
}

fn bundled_id(event: EventType) -> SchemaId {
    SchemaId(event as u32 + 1)
}

fn bundled_schema(id: SchemaId) -> Option<String> {
    let index = usize::try_from(id.0).ok()?.checked_sub(1)?;
    EventType::ALL
        .get(index)
        .map(|event| event.contract().schema.to_owned())
}

/// A schema without the white space between its tokens. Some registries compare texts, so that a
/// file that was merely indented anew would count as another schema.
fn compact(schema: &str) -> String {
    let mut compact = String::with_capacity(schema.len());
    let (mut in_text, mut escaped) = (false, false);
    for character in schema.chars() {
        if in_text {
            in_text = escaped || character != '"';
            escaped = !escaped && character == '\\';
        } else if character.is_whitespace() {
            continue;
        } else {
            in_text = character == '"';
        }
        compact.push(character);
    }
    compact
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_bundled_registry_knows_each_current_schema_by_a_stable_id() {
        let registry = Registry::bundled();
        for (index, event) in EventType::ALL.into_iter().enumerate() {
            let id = registry.id_of(event).await.unwrap();
            assert_eq!(id, SchemaId(u32::try_from(index).unwrap() + 1), "{event}");
            assert_eq!(
                registry.schema_by_id(id).await.unwrap(),
                event.contract().schema
            );
            assert_eq!(registry.register(event).await.unwrap(), id);
            assert_eq!(registry.versions(event).await.unwrap()[0].id, id);
        }
    }

    #[tokio::test]
    async fn the_bundled_registry_does_not_know_other_ids() {
        let beyond = u32::try_from(EventType::ALL.len()).unwrap() + 1;
        for id in [0, beyond, u32::MAX] {
            let error = Registry::bundled()
                .schema_by_id(SchemaId(id))
                .await
                .unwrap_err();
            assert!(matches!(error, RegistryError::Unknown(_)), "{error}");
        }
    }

    #[test]
    fn compacting_takes_white_space_between_tokens_and_nothing_else() {
        let text = "{\n  \"doc\" : \"two  words, \\\"quoted\\\" \\\\\" ,\t\"n\": [1, 2]\n}";
        assert_eq!(
            compact(text),
            r#"{"doc":"two  words, \"quoted\" \\","n":[1,2]}"#
        );
        for event in EventType::ALL {
            let schema = event.contract().schema;
            let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
            assert_eq!(parse(&compact(schema)), parse(schema), "{event}");
        }
    }

    #[test]
    fn debug_shows_addresses_and_no_secret() {
        let mut settings = RegistrySettings::new(["http://registry:8081/"]);
        settings.auth = RegistryAuth::Token(Secret::new("hunter2"));
        let registry = Registry::connect(&settings).unwrap();
        let shown = format!("{settings:?} {registry:?}");
        assert!(shown.contains("Registry(http://registry:8081)"), "{shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

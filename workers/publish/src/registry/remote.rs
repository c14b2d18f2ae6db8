//! A registry server, through its REST API.
//!
//! Invariant: how a failure is taken is decided here, by status and error code. (The client library
//! calls 500 and 504 permanent; they are not.)

use super::{
    COMPATIBILITY, RegisteredVersion, RegistryAuth, RegistryError, RegistrySettings, compact,
};
use events::EventType;
use events::wire::SchemaId;
use reqwest::{Certificate, Client, ClientBuilder, StatusCode};
use schema_registry_converter::async_impl::schema_registry::{
    SrSettings, get_all_versions, get_schema_by_id, get_schema_by_subject_and_version,
    perform_sr_call, post_schema,
};
use schema_registry_converter::error::SRCError;
use schema_registry_converter::schema_registry_common::{
    RawError, SchemaType, SrCall, SuppliedSchema,
};
use serde_json::json;
use std::collections::HashMap;
use std::error::Error;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};
use tokio::sync::OnceCell;

/// The error codes with which a registry says that it does not have something.
const SUBJECT_NOT_FOUND: u32 = 40401;
const VERSION_NOT_FOUND: u32 = 40402;
const SCHEMA_NOT_FOUND: u32 = 40403;

/// How many schemas are remembered. Far more than a platform has; a bound all the same, since ids
/// come from records.
const SCHEMAS_REMEMBERED: usize = 4096;

pub(super) struct Remote {
    addresses: Vec<Address>,
    /// Index of the address that answered last; it is asked first.
    preferred: AtomicUsize,
    schemas: RwLock<HashMap<SchemaId, String>>,
    ids: [OnceCell<SchemaId>; EventType::ALL.len()],
}

impl Remote {
    pub(super) fn new(settings: &RegistrySettings) -> Result<Self, RegistryError> {
        if settings.urls.is_empty() {
            return Err(RegistryError::Settings(
                "give at least one address".to_owned(),
            ));
        }
        let addresses: Result<Vec<Address>, RegistryError> = settings
            .urls
            .iter()
            .map(|url| Address::new(url, settings))
            .collect();
        Ok(Self {
            addresses: addresses?,
            preferred: AtomicUsize::new(0),
            schemas: RwLock::default(),
            ids: std::array::from_fn(|_| OnceCell::new()),
        })
    }

    pub(super) fn urls(&self) -> Vec<&str> {
        self.addresses
            .iter()
            .map(|address| address.url.as_str())
            .collect()
    }

    pub(super) async fn schema_by_id(&self, id: SchemaId) -> Result<String, RegistryError> {
        if let Some(schema) = self.remembered(id) {
            return Ok(schema);
        }
        let schema = self.ask(|address| address.schema_by_id(id)).await?;
        let mut schemas = self.schemas.write().unwrap_or_else(PoisonError::into_inner);
        if schemas.len() < SCHEMAS_REMEMBERED {
            schemas.insert(id, schema.clone());
        }
        Ok(schema)
    }

    fn remembered(&self, id: SchemaId) -> Option<String> {
        self.schemas
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&id)
            .cloned()
    }

    pub(super) async fn id_of(&self, event: EventType) -> Result<SchemaId, RegistryError> {
        // A failed lookup leaves the cell empty, so that the next caller asks again.
        let id = self.ids[event as usize]
            .get_or_try_init(|| self.ask(|address| address.id_of(event)))
            .await?;
        Ok(*id)
    }

    pub(super) async fn register(&self, event: EventType) -> Result<SchemaId, RegistryError> {
        self.ask(|address| address.register(event)).await
    }

    pub(super) async fn versions(
        &self,
        event: EventType,
    ) -> Result<Vec<RegisteredVersion>, RegistryError> {
        match self.ask(|address| address.versions(event)).await {
            Err(RegistryError::Unknown(_)) => Ok(Vec::new()),
            answered => answered,
        }
    }

    /// Asks one address after the other. Something counts as unknown only when no address is
    /// silent: the silent one might be the one that knows.
    async fn ask<'a, T, F>(&'a self, call: impl Fn(&'a Address) -> F) -> Result<T, RegistryError>
    where
        F: Future<Output = Result<T, RegistryError>>,
    {
        let first = self.preferred.load(Ordering::Relaxed);
        let mut unknown = None;
        let mut silent = Vec::new();
        for index in (0..self.addresses.len()).map(|n| (first + n) % self.addresses.len()) {
            match call(&self.addresses[index]).await {
                Ok(answer) => {
                    self.preferred.store(index, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(RegistryError::Unavailable(why)) => silent.push(why),
                Err(RegistryError::Unknown(what)) => unknown = Some(what),
                Err(other) => return Err(other),
            }
        }
        match unknown {
            Some(what) if silent.is_empty() => Err(RegistryError::Unknown(what)),
            _ => Err(RegistryError::Unavailable(silent.join("; "))),
        }
    }
}

/// One address of the registry.
struct Address {
    url: String,
    converter: SrSettings,
    /// For the one call that the library does not have.
    http: Client,
    auth: RegistryAuth,
}

impl Address {
    fn new(url: &str, settings: &RegistrySettings) -> Result<Self, RegistryError> {
        let url = url.trim().trim_end_matches('/').to_owned();
        let parsed = reqwest::Url::parse(&url)
            .map_err(|e| RegistryError::Settings(format!("the address {url:?}: {e}")))?;
        if !matches!(parsed.scheme(), "http" | "https") {
            let problem = format!("the address {url:?} must begin with http:// or https://");
            return Err(RegistryError::Settings(problem));
        }
        if !parsed.username().is_empty() || parsed.password().is_some() {
            let problem = "an address must not hold user and password; give them as settings";
            return Err(RegistryError::Settings(problem.to_owned()));
        }
        let mut builder = SrSettings::new_builder(url.clone());
        builder.set_timeout(settings.timeout);
        match &settings.auth {
            RegistryAuth::None => {}
            RegistryAuth::Basic { user, password } => {
                builder.set_basic_authorization(user, Some(password.expose()));
            }
            RegistryAuth::Token(token) => {
                builder.set_token_authorization(token.expose());
            }
        }
        let converter = builder
            .build_with(client_builder(settings)?)
            .map_err(|e| RegistryError::Settings(with_causes(e.error.clone(), e.source())))?;
        let http = client_builder(settings)?
            .timeout(settings.timeout)
            .build()
            .map_err(|e| RegistryError::Settings(with_causes(e.to_string(), e.source())))?;
        Ok(Self {
            url,
            converter,
            http,
            auth: settings.auth.clone(),
        })
    }

    async fn schema_by_id(&self, id: SchemaId) -> Result<String, RegistryError> {
        get_schema_by_id(id.0, &self.converter)
            .await
            .map(|registered| registered.schema)
            .map_err(|e| {
                let what = format!("a schema with id {id}");
                self.failure(&e, &[SCHEMA_NOT_FOUND], what)
            })
    }

    async fn id_of(&self, event: EventType) -> Result<SchemaId, RegistryError> {
        let subject = event.contract().registry_subject();
        let body = json!({ "schema": compact(event.contract().schema), "schemaType": "AVRO" });
        let call_body = body.to_string();
        let answer = perform_sr_call(
            &self.converter,
            SrCall::PostForVersion(&subject, &call_body),
        )
        .await
        .map_err(|e| self.subject_failure(&e, event))?;
        answer.id.map(SchemaId).ok_or_else(|| {
            RegistryError::Unavailable(format!("{} answered without an id", self.url))
        })
    }

    async fn register(&self, event: EventType) -> Result<SchemaId, RegistryError> {
        self.demand_compatibility(event).await?;
        let schema = compact(event.contract().schema);
        let supplied = SuppliedSchema::new(None, SchemaType::Avro, schema);
        post_schema(
            &self.converter,
            event.contract().registry_subject(),
            supplied,
        )
        .await
        .map(|registered| SchemaId(registered.id))
        .map_err(|e| match refusal(&e) {
            Some(why) => RegistryError::Refused(format!("{}: {why}", current_schema(event))),
            None => self.subject_failure(&e, event),
        })
    }

    async fn demand_compatibility(&self, event: EventType) -> Result<(), RegistryError> {
        let subject = event.contract().registry_subject();
        let request = self
            .http
            .put(format!("{}/config/{subject}", self.url))
            .json(&json!({ "compatibility": COMPATIBILITY }));
        let request = match &self.auth {
            RegistryAuth::None => request,
            RegistryAuth::Basic { user, password } => {
                request.basic_auth(user, Some(password.expose()))
            }
            RegistryAuth::Token(token) => request.bearer_auth(token.expose()),
        };
        let answer = request.send().await.map_err(|e| {
            RegistryError::Unavailable(self.said(&with_causes(e.to_string(), e.source())))
        })?;
        if answer.status().is_success() {
            return Ok(());
        }
        let problem = format!(
            "could not set {subject} to {COMPATIBILITY}: {}",
            answer.status()
        );
        Err(RegistryError::Unavailable(self.said(&problem)))
    }

    async fn versions(&self, event: EventType) -> Result<Vec<RegisteredVersion>, RegistryError> {
        let subject = event.contract().registry_subject();
        let failure = |e: SRCError| self.subject_failure(&e, event);
        let numbers = get_all_versions(&self.converter, subject.clone())
            .await
            .map_err(failure)?;
        let mut versions = Vec::with_capacity(numbers.len());
        for version in numbers {
            let found = get_schema_by_subject_and_version(&self.converter, &subject, Some(version))
                .await
                .map_err(failure)?;
            versions.push(RegisteredVersion {
                version,
                id: SchemaId(found.id),
                schema: found.schema,
            });
        }
        Ok(versions)
    }

    fn subject_failure(&self, error: &SRCError, event: EventType) -> RegistryError {
        let not_found = [SUBJECT_NOT_FOUND, VERSION_NOT_FOUND, SCHEMA_NOT_FOUND];
        self.failure(error, &not_found, current_schema(event))
    }

    fn failure(&self, error: &SRCError, not_found: &[u32], what: String) -> RegistryError {
        if says_not_found(error, not_found) {
            return RegistryError::Unknown(what);
        }
        let why = match answer(error) {
            Some(said) => {
                format!(
                    "{} (error code {}: {})",
                    error.error, said.error_code, said.message
                )
            }
            None => with_causes(error.error.clone(), error.source()),
        };
        RegistryError::Unavailable(self.said(&why))
    }

    fn said(&self, what: &str) -> String {
        format!("{}: {what}", self.url)
    }
}

fn current_schema(event: EventType) -> String {
    let subject = event.contract().registry_subject();
    format!("the current schema of {event} under the subject {subject}")
}

/// The registry's own words, where an error is an answer of the registry.
fn answer(error: &SRCError) -> Option<&RawError> {
    error.source()?.downcast_ref()
}

/// The library keeps the status of an answer in its message alone.
fn has_status(error: &SRCError, status: StatusCode) -> bool {
    error.error.contains(&format!("status {status}"))
}

fn says_not_found(error: &SRCError, codes: &[u32]) -> bool {
    has_status(error, StatusCode::NOT_FOUND)
        && answer(error).is_some_and(|said| codes.contains(&said.error_code))
}

/// Why the registry does not take a schema, if that is what it says.
fn refusal(error: &SRCError) -> Option<String> {
    let refused = has_status(error, StatusCode::CONFLICT)
        || has_status(error, StatusCode::UNPROCESSABLE_ENTITY);
    answer(error)
        .filter(|_| refused)
        .map(|said| said.message.clone())
}

fn client_builder(settings: &RegistrySettings) -> Result<ClientBuilder, RegistryError> {
    let Some(ca) = &settings.ca else {
        return Ok(Client::builder());
    };
    let unusable = |e: &dyn Error| {
        RegistryError::Settings(format!("the certificates in {}: {e}", ca.display()))
    };
    let pem = std::fs::read(ca).map_err(|e| unusable(&e))?;
    let certificates = Certificate::from_pem_bundle(&pem).map_err(|e| unusable(&e))?;
    Ok(Client::builder().tls_certs_merge(certificates))
}

/// A text with the causes behind it: a failed connection says why only in the last one.
fn with_causes(mut text: String, mut cause: Option<&(dyn Error + 'static)>) -> String {
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}

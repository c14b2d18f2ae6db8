//! Writers' schemas, by id.
//!
//! Invariant: what was once known stays known, through outages of the registry (memory) and
//! restarts during them (a copy in the worker's database); a failure is never remembered.

use events::wire::SchemaId;
use events::{SchemaError, WriterSchema};
use publish::registry::{Registry, RegistryError};
use sqlx::postgres::PgConnection;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// What is known of a schema id.
#[derive(Clone, Debug)]
pub enum Lookup {
    /// Ready to decode with.
    Known(Arc<WriterSchema>),
    /// The registry has it, but it cannot be used: every event written with it is bad.
    Unusable(Arc<SchemaError>),
    /// The registry answers, but does not know the id. Perhaps not yet.
    Unknown {
        /// For how long it has been asked.
        for_: Duration,
    },
    /// The registry could not be asked.
    Unavailable(String),
}

type Parsed = Result<Arc<WriterSchema>, Arc<SchemaError>>;

/// The schemas that one worker has met.
#[derive(Debug)]
pub struct Schemas {
    registry: Registry,
    name: String,
    known: RwLock<HashMap<SchemaId, Parsed>>,
    unknown_since: Mutex<HashMap<SchemaId, Instant>>,
    /// Fetched since the last time they were written to the database.
    unsaved: Mutex<Vec<(SchemaId, String)>>,
}

impl Schemas {
    /// Nothing is known yet. `name` tells registries apart in the database.
    pub fn new(registry: Registry, name: &str) -> Self {
        Self {
            registry,
            name: name.to_owned(),
            known: RwLock::default(),
            unknown_since: Mutex::default(),
            unsaved: Mutex::default(),
        }
    }

    /// What is known without asking anyone.
    pub fn get(&self, id: SchemaId) -> Option<Lookup> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.get(&id).map(|parsed| match parsed {
            Ok(schema) => Lookup::Known(Arc::clone(schema)),
            Err(error) => Lookup::Unusable(Arc::clone(error)),
        })
    }

    /// Asks the registry where necessary.
    pub async fn resolve(&self, id: SchemaId) -> Lookup {
        if let Some(known) = self.get(id) {
            return known;
        }
        match self.registry.schema_by_id(id).await {
            Ok(text) => {
                let lookup = self.learn(id, &text);
                let mut unsaved = self.unsaved.lock().unwrap_or_else(PoisonError::into_inner);
                unsaved.push((id, text));
                lookup
            }
            Err(RegistryError::Unknown(_)) => {
                let mut since = self
                    .unknown_since
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                Lookup::Unknown {
                    for_: since.entry(id).or_insert_with(Instant::now).elapsed(),
                }
            }
            Err(unavailable) => Lookup::Unavailable(unavailable.to_string()),
        }
    }

    fn learn(&self, id: SchemaId, text: &str) -> Lookup {
        let parsed = WriterSchema::parse(text).map(Arc::new).map_err(Arc::new);
        self.unknown_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&id);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        match known.entry(id).or_insert(parsed) {
            Ok(schema) => Lookup::Known(Arc::clone(schema)),
            Err(error) => Lookup::Unusable(Arc::clone(error)),
        }
    }

    /// Reads the copies in the database.
    ///
    /// # Errors
    /// Any database error.
    pub async fn load(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let rows: Vec<(i32, String)> = sqlx::query_as(
            "SELECT schema_id, schema FROM engine.writer_schemas WHERE registry = $1",
        )
        .bind(&self.name)
        .fetch_all(connection)
        .await?;
        for (id, text) in rows {
            self.learn(SchemaId(id.cast_unsigned()), &text);
        }
        Ok(())
    }

    /// Writes new schemas to the database, inside the batch that needed them.
    ///
    /// # Errors
    /// Any database error; the schemas are then written with a later batch.
    pub async fn save(&self, connection: &mut PgConnection) -> Result<usize, sqlx::Error> {
        let unsaved = self
            .unsaved
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if unsaved.is_empty() {
            return Ok(0);
        }
        let ids: Vec<i32> = unsaved.iter().map(|(id, _)| id.0.cast_signed()).collect();
        let texts: Vec<&str> = unsaved.iter().map(|(_, text)| text.as_str()).collect();
        sqlx::query(
            "INSERT INTO engine.writer_schemas (registry, schema_id, schema)
             SELECT $1, * FROM unnest($2::int[], $3::text[]) ON CONFLICT DO NOTHING",
        )
        .bind(&self.name)
        .bind(&ids)
        .bind(&texts)
        .execute(connection)
        .await?;
        Ok(unsaved.len())
    }

    /// The batch that saved the first `count` of them was committed.
    pub fn saved(&self, count: usize) {
        let mut unsaved = self.unsaved.lock().unwrap_or_else(PoisonError::into_inner);
        let count = count.min(unsaved.len());
        unsaved.drain(..count);
    }
}

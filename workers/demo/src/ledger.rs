//! The producer's ledger: what was sent, written before it is sent.
//!
//! Invariant: nothing here comes from the database or from the workers; it is the other side of
//! the account.

use crate::story::Told;
use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use events::plain_json;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// One line of the ledger.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Entry {
    /// An event; with the same id, the same event again.
    Event(Box<Sent>),
    /// A record that no reader can understand.
    Garbage {
        /// What is wrong with it.
        what: String,
    },
}

/// An event as it was sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sent {
    /// Its id.
    pub id: Uuid,
    /// Its name.
    pub event_type: String,
    /// Who said so.
    pub source: String,
    /// When it happened.
    pub time: DateTime<Utc>,
    /// The aggregate.
    pub subject: Uuid,
    /// Its content as plain JSON.
    pub payload: serde_json::Value,
    /// When it was handed to the producer.
    pub sent_at: DateTime<Utc>,
}

/// A ledger that is being written.
#[derive(Debug)]
pub struct Ledger {
    file: BufWriter<File>,
    path: PathBuf,
}

impl Ledger {
    /// An empty ledger.
    ///
    /// # Errors
    /// The file cannot be created.
    pub fn create(path: &Path) -> Result<Self> {
        let file =
            File::create(path).with_context(|| format!("create the ledger {}", path.display()))?;
        Ok(Self {
            file: BufWriter::new(file),
            path: path.to_owned(),
        })
    }

    /// Notes an event that is about to be sent.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn event(&mut self, told: &Told) -> Result<()> {
        self.event_named(told, told.payload.event_type().contract().name)
    }

    /// Notes an event that is about to be sent under a name of which nobody knows what it means.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn event_named(&mut self, told: &Told, event_type: &str) -> Result<()> {
        let sent = Sent {
            id: told.id,
            event_type: event_type.to_owned(),
            source: told.source.to_owned(),
            time: told.time,
            subject: told.payload.subject(),
            payload: plain_json::write(&told.payload)?,
            sent_at: Utc::now(),
        };
        self.line(&Entry::Event(Box::new(sent)))
    }

    /// Notes a broken record that is about to be sent.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn garbage(&mut self, what: &str) -> Result<()> {
        self.line(&Entry::Garbage {
            what: what.to_owned(),
        })
    }

    fn line(&mut self, entry: &Entry) -> Result<()> {
        serde_json::to_writer(&mut self.file, entry)?;
        self.file
            .write_all(b"\n")
            .with_context(|| format!("write {}", self.path.display()))
    }

    /// Closes the ledger and reads it back.
    ///
    /// # Errors
    /// The file cannot be read or holds something else.
    pub fn close(mut self) -> Result<Vec<Entry>> {
        self.file.flush()?;
        let lines = BufReader::new(File::open(&self.path)?).lines();
        lines
            .map(|line| Ok(serde_json::from_str(&line?)?))
            .collect()
    }
}

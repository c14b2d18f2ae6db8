//! What the summaries must be: the ledger, added up event by event, in the plainest way.
//!
//! Invariant: shares no code with the analytics worker; it reads the JSON of the ledger.

use crate::ledger::{Entry, Sent};
use chrono::NaiveDate;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// The account that the databases have to agree with.
#[derive(Debug, Default)]
pub struct Expected {
    /// Every event once, by id.
    pub events: BTreeMap<Uuid, Sent>,
    /// Sends of events that had been sent before.
    pub repeats: u64,
    /// Broken records.
    pub garbage: u64,
    /// Course and day → enrolments, completions, seconds.
    pub courses: BTreeMap<(Uuid, NaiveDate), (i32, i32, i64)>,
    /// Company and day → people active.
    pub active: BTreeMap<(Uuid, NaiveDate), BTreeSet<Uuid>>,
    /// Company and day → certificates.
    pub certificates: BTreeMap<(Uuid, NaiveDate), i32>,
}

impl Expected {
    /// Adds the ledger up.
    pub fn of(entries: impl IntoIterator<Item = Entry>) -> Self {
        let mut expected = Self::default();
        for entry in entries {
            match entry {
                Entry::Garbage { .. } => expected.garbage += 1,
                Entry::Event(sent) if expected.events.contains_key(&sent.id) => {
                    expected.repeats += 1
                }
                Entry::Event(sent) => {
                    expected.add(&sent);
                    expected.events.insert(sent.id, *sent);
                }
            }
        }
        expected
    }

    /// Everything that was sent: events, repeats, garbage.
    pub fn sent(&self) -> u64 {
        u64::try_from(self.events.len()).unwrap_or_default() + self.repeats + self.garbage
    }

    /// The company rows: people active and certificates.
    pub fn companies(&self) -> BTreeMap<(Uuid, NaiveDate), (i32, i32)> {
        let mut rows: BTreeMap<(Uuid, NaiveDate), (i32, i32)> = BTreeMap::new();
        for (key, people) in &self.active {
            rows.entry(*key).or_default().0 = i32::try_from(people.len()).unwrap_or(i32::MAX);
        }
        for (key, certificates) in &self.certificates {
            rows.entry(*key).or_default().1 = *certificates;
        }
        rows
    }

    fn add(&mut self, sent: &Sent) {
        let day = sent.time.date_naive();
        let seconds = sent.payload["learning_seconds"].as_i64().unwrap_or(0);
        let (enrolled, completed, learned) = match sent.event_type.as_str() {
            "COURSE_ENROLLED" => (1, 0, 0),
            "COURSE_COMPLETED" => (0, 1, seconds),
            "LESSON_STARTED" | "LESSON_COMPLETED" | "QUIZ_ATTEMPTED" => (0, 0, seconds),
            "CERTIFICATE_ISSUED" => {
                if let Some(company) = id(&sent.payload["company_id"]) {
                    *self.certificates.entry((company, day)).or_default() += 1;
                }
                return;
            }
            _ => return,
        };
        if let Some(course) = id(&sent.payload["course_id"]) {
            let row = self.courses.entry((course, day)).or_default();
            *row = (row.0 + enrolled, row.1 + completed, row.2 + learned);
        }
        let is_activity = sent.event_type != "COURSE_ENROLLED";
        if let (true, Some(company), Some(user)) = (
            is_activity,
            id(&sent.payload["company_id"]),
            id(&sent.payload["user_id"]),
        ) {
            self.active.entry((company, day)).or_default().insert(user);
        }
    }
}

/// A UUID in a JSON payload.
pub fn id(value: &Value) -> Option<Uuid> {
    Uuid::try_parse(value.as_str()?).ok()
}

//! Reads `topics/` and emits the enum over all events and the table of topics.
//! Invariant: every schema is carried by exactly one topic, and every topic's event has a schema.

use crate::refuse;
use crate::rust_types::{camel, short_name};
use crate::schemas::{Schemas, sorted_entries};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

const DEAD_LETTER_FILE: &str = "dead-letter.toml";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topic {
    name: String,
    description: String,
    key: String,
    partitions: i32,
    retention_days: i32,
    cleanup_policy: String,
    written_by: Vec<String>,
    read_by: Vec<String>,
    events: BTreeMap<String, EventLine>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventLine {
    schema: String,
    key: String,
    subject: String,
    #[serde(default)]
    carries_state: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeadLetter {
    name: String,
    description: String,
    partitions: i32,
    retention_days: i32,
    cleanup_policy: String,
    groups: Vec<String>,
}

pub struct Catalogue {
    topics: Vec<Topic>,
    dead_letter: DeadLetter,
}

pub fn read_all(folder: &Path, schemas: &Schemas) -> Catalogue {
    let mut topics: Vec<Topic> = Vec::new();
    let mut dead_letter = None;
    for file in sorted_entries(folder) {
        let text = fs::read_to_string(folder.join(&file))
            .unwrap_or_else(|e| refuse(format!("topics/{file}: {e}")));
        if file == DEAD_LETTER_FILE {
            dead_letter = Some(
                toml::from_str(&text).unwrap_or_else(|e| refuse(format!("topics/{file}: {e}"))),
            );
        } else if let Some(stem) = file.strip_suffix(".toml") {
            let topic: Topic =
                toml::from_str(&text).unwrap_or_else(|e| refuse(format!("topics/{file}: {e}")));
            if topic.name != stem {
                refuse(format!(
                    "topics/{file} names the topic {}; rename one of the two",
                    topic.name
                ));
            }
            topics.push(topic);
        }
    }
    let dead_letter =
        dead_letter.unwrap_or_else(|| refuse(format!("topics/{DEAD_LETTER_FILE} is missing")));
    check(&topics, schemas);
    Catalogue {
        topics,
        dead_letter,
    }
}

fn check(topics: &[Topic], schemas: &Schemas) {
    let mut carried: BTreeMap<&str, &str> = BTreeMap::new();
    for topic in topics {
        for (event, line) in &topic.events {
            let Some(file) = schemas.files.get(&line.schema) else {
                refuse(format!(
                    "topics/{}.toml: {event} names avro/{}.avsc, which does not exist",
                    topic.name, line.schema
                ));
            };
            if camel(event) != short_name(&file.full_name) {
                refuse(format!(
                    "topics/{}.toml: {event} must be carried by a record named {}",
                    topic.name,
                    camel(event)
                ));
            }
            if let Some(other) = carried.insert(&line.schema, &topic.name) {
                refuse(format!(
                    "avro/{}.avsc is carried by {other} and {}; an event belongs to one topic",
                    line.schema, topic.name
                ));
            }
            check_field(topic, event, &line.key, &file.full_name, schemas);
            check_field(topic, event, &line.subject, &file.full_name, schemas);
        }
    }
    for schema in schemas.files.keys() {
        if !carried.contains_key(schema.as_str()) {
            refuse(format!(
                "avro/{schema}.avsc is in no topic; add one line to a file in topics/"
            ));
        }
    }
}

fn check_field(topic: &Topic, event: &str, field: &str, record: &str, schemas: &Schemas) {
    let fields = &schemas.named[record].definition["fields"];
    let found = fields
        .as_array()
        .into_iter()
        .flatten()
        .find(|f| f["name"] == field);
    if found.is_none_or(|f| f["type"]["logicalType"] != "uuid") {
        refuse(format!(
            "topics/{}.toml: {event} uses {field}, which is no required uuid field of {record}",
            topic.name
        ));
    }
}

pub fn emit(catalogue: &Catalogue, schemas: &Schemas) -> String {
    let mut out = String::new();
    let events: Vec<(usize, &str, &EventLine)> = catalogue
        .topics
        .iter()
        .enumerate()
        .flat_map(|(index, topic)| {
            topic
                .events
                .iter()
                .map(move |(name, line)| (index, name.as_str(), line))
        })
        .collect();
    event_type(&mut out, &events, schemas);
    payload(&mut out, &events, schemas);
    topics(&mut out, catalogue);
    out
}

fn event_type(out: &mut String, events: &[(usize, &str, &EventLine)], schemas: &Schemas) {
    writeln!(
        out,
        "/// Every event that the platform knows, by its platform name."
    )
    .unwrap();
    writeln!(
        out,
        "#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]\npub enum EventType {{"
    )
    .unwrap();
    for (_, name, _) in events {
        writeln!(out, "    /// `{name}`\n    {},", camel(name)).unwrap();
    }
    writeln!(out, "}}\nimpl EventType {{").unwrap();
    writeln!(
        out,
        "    /// Every event type, grouped by topic.\n    pub const ALL: [Self; {}] = [",
        events.len()
    )
    .unwrap();
    for (_, name, _) in events {
        writeln!(out, "        Self::{},", camel(name)).unwrap();
    }
    writeln!(out, "    ];\n    /// The event type of a platform name such as `USER_REGISTERED`.\n    pub fn from_name(name: &str) -> Option<Self> {{\n        Some(match name {{").unwrap();
    for (_, name, _) in events {
        writeln!(out, "            {name:?} => Self::{},", camel(name)).unwrap();
    }
    writeln!(out, "            _ => return None,\n        }})\n    }}").unwrap();
    writeln!(out, "    /// What `topics/` and `avro/` say of this event.\n    pub fn contract(self) -> &'static crate::EventContract {{\n        match self {{").unwrap();
    for (topic, name, line) in events {
        let file = &schemas.files[&line.schema];
        writeln!(
            out,
            "            Self::{} => const {{ &crate::EventContract {{ name: {name:?}, topic: &TOPICS[{topic}], record: {:?}, schema_file: \"avro/{}.avsc\", schema: {:?}, example: {:?}, key_field: {:?}, subject_field: {:?}, carries_state: {} }} }},",
            camel(name), file.full_name, line.schema, file.text, schemas.example(name), line.key, line.subject, line.carries_state
        )
        .unwrap();
    }
    writeln!(out, "        }}\n    }}\n}}").unwrap();
}

fn payload(out: &mut String, events: &[(usize, &str, &EventLine)], schemas: &Schemas) {
    writeln!(out, "/// What happened: one variant per event.").unwrap();
    writeln!(
        out,
        "#[derive(Clone, Debug, PartialEq)]\npub enum Payload {{"
    )
    .unwrap();
    for (_, name, _) in events {
        writeln!(out, "    /// `{name}`\n    {0}(Box<{0}>),", camel(name)).unwrap();
    }
    writeln!(out, "}}\nimpl Payload {{").unwrap();
    arms(
        out,
        events,
        "/// Which event this is.\n    pub fn event_type(&self) -> EventType",
        |name, _| format!("Self::{name}(_) => EventType::{name}"),
    );
    arms(
        out,
        events,
        "/// What must stay in order: the Kafka key of this event.\n    pub fn key(&self) -> uuid::Uuid",
        |name, line| format!("Self::{name}(e) => e.{}", line.key),
    );
    arms(
        out,
        events,
        "/// The aggregate that this event is about (`ce_subject`).\n    pub fn subject(&self) -> uuid::Uuid",
        |name, line| format!("Self::{name}(e) => e.{}", line.subject),
    );
    for field in ["user_id", "company_id"] {
        let head = format!(
            "/// The event's own `{field}`, where it has one.\n    pub fn {field}(&self) -> Option<uuid::Uuid>"
        );
        arms(out, events, &head, |name, line| {
            match uuid_field(schemas, line, field) {
                Some(true) => format!("Self::{name}(e) => e.{field}"),
                Some(false) => format!("Self::{name}(e) => Some(e.{field})"),
                None => format!("Self::{name}(_) => None"),
            }
        });
    }
    writeln!(out, "    pub(crate) fn deserialize<'de, D: serde::Deserializer<'de>>(event_type: EventType, from: D) -> Result<Self, D::Error> {{\n        Ok(match event_type {{").unwrap();
    for (_, name, _) in events {
        writeln!(
            out,
            "            EventType::{0} => Self::{0}(serde::Deserialize::deserialize(from)?),",
            camel(name)
        )
        .unwrap();
    }
    writeln!(out, "        }})\n    }}\n}}").unwrap();
    writeln!(out, "impl serde::Serialize for Payload {{\n    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {{\n        match self {{").unwrap();
    for (_, name, _) in events {
        writeln!(
            out,
            "            Self::{}(e) => e.serialize(to),",
            camel(name)
        )
        .unwrap();
    }
    writeln!(out, "        }}\n    }}\n}}").unwrap();
    for (_, name, _) in events {
        writeln!(out, "impl From<{0}> for Payload {{\n    fn from(event: {0}) -> Self {{\n        Self::{0}(Box::new(event))\n    }}\n}}", camel(name)).unwrap();
    }
}

/// `Some(true)` = optional uuid, `Some(false)` = required uuid, `None` = no such field.
fn uuid_field(schemas: &Schemas, line: &EventLine, field: &str) -> Option<bool> {
    let record = &schemas.named[&schemas.files[&line.schema].full_name].definition;
    let found = record["fields"]
        .as_array()?
        .iter()
        .find(|f| f["name"] == field)?;
    match &found["type"] {
        serde_json::Value::Array(branches) => {
            (branches.get(1)?["logicalType"] == "uuid").then_some(true)
        }
        plain => (plain["logicalType"] == "uuid").then_some(false),
    }
}

fn arms(
    out: &mut String,
    events: &[(usize, &str, &EventLine)],
    head: &str,
    arm: impl Fn(&str, &EventLine) -> String,
) {
    writeln!(out, "    {head} {{\n        match self {{").unwrap();
    for (_, name, line) in events {
        writeln!(out, "            {},", arm(&camel(name), line)).unwrap();
    }
    writeln!(out, "        }}\n    }}").unwrap();
}

fn topics(out: &mut String, catalogue: &Catalogue) {
    writeln!(out, "/// Every topic of the platform, as `topics/` states it.\npub static TOPICS: [crate::Topic; {}] = [", catalogue.topics.len()).unwrap();
    for topic in &catalogue.topics {
        let events: Vec<String> = topic
            .events
            .keys()
            .map(|e| format!("EventType::{}", camel(e)))
            .collect();
        writeln!(
            out,
            "    crate::Topic {{ name: {:?}, description: {:?}, key: {:?}, partitions: {}, retention: {}, cleanup_policy: {:?}, written_by: &{:?}, read_by: &{:?}, events: &[{}] }},",
            topic.name, topic.description, topic.key, topic.partitions, retention(topic.retention_days),
            topic.cleanup_policy, topic.written_by, topic.read_by, events.join(", ")
        )
        .unwrap();
    }
    let dead = &catalogue.dead_letter;
    writeln!(
        out,
        "];\n/// What `topics/dead-letter.toml` says of every group's dead letter topic."
    )
    .unwrap();
    writeln!(
        out,
        "pub static DEAD_LETTER: crate::DeadLetterTopic = crate::DeadLetterTopic {{ name: {:?}, description: {:?}, partitions: {}, retention: {}, cleanup_policy: {:?}, groups: &{:?} }};",
        dead.name, dead.description, dead.partitions, retention(dead.retention_days), dead.cleanup_policy, dead.groups
    )
    .unwrap();
}

fn retention(days: i32) -> String {
    match days {
        -1 => "crate::Retention::Unlimited".to_owned(),
        1.. => format!("crate::Retention::Days({days})"),
        _ => refuse(format!(
            "retention_days = {days}: use a number of days, or -1 for unlimited"
        )),
    }
}

//! The one mapping between plain JSON and Avro, used for outbox rows, for events published from
//! files and for the raw event log.
//!
//! | Avro | plain JSON |
//! |---|---|
//! | record | object; a field with a default may be left out, an unknown field is an error |
//! | `["null", T]` | `null` or the value itself |
//! | `uuid` | text |
//! | `timestamp-micros` | RFC 3339 text, up to microseconds: `"2026-05-04T09:30:00.000000Z"` |
//! | enum | its symbol |
//! | int, long, double, boolean, string, array, map | as in JSON |
//!
//! Invariant: what is read from JSON and written back is the same event.

use crate::canonical::Canonical;
use crate::{DecodeError, EncodeError, EventType, Payload, Timestamp, WriterSchema};
use apache_avro::Schema;
use apache_avro::types::Value as Avro;
use apache_avro::writer::datum::GenericDatumWriter;
use chrono::DateTime;
use serde::de::DeserializeSeed;
use serde_avro_fast::de::DeserializerState;
use serde_json::Value as Json;
use std::collections::HashMap;
use std::fmt;
use uuid::Uuid;

/// Something in a JSON payload that its schema does not allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where, as `personal.email` or `translations[0].title`.
    pub path: String,
    /// What is wrong there.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_empty() {
            "the payload"
        } else {
            &self.path
        };
        write!(f, "{path}: {}", self.what)
    }
}

/// A JSON payload does not fit its event. Lists every problem, not only the first.
#[derive(Debug, thiserror::Error)]
#[error("{event} does not fit {file}: {}", list(.problems))]
pub struct Mismatch {
    /// The event's name.
    pub event: &'static str,
    /// The schema file that says what fits.
    pub file: &'static str,
    /// What is wrong, and where.
    pub problems: Vec<Problem>,
}

fn list(problems: &[Problem]) -> String {
    problems
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

/// Reads a payload of that type from plain JSON.
///
/// # Errors
/// [`Mismatch`] with every problem found.
pub fn read(event_type: EventType, json: &Json) -> Result<Payload, Mismatch> {
    let contract = event_type.contract();
    let mismatch = |problems| Mismatch {
        event: contract.name,
        file: contract.schema_file,
        problems,
    };
    let general = |what: String| {
        mismatch(vec![Problem {
            path: String::new(),
            what,
        }])
    };
    let schema = Schema::parse_str(contract.schema).map_err(|e| general(e.to_string()))?;
    let mut reader = Reader {
        named: HashMap::new(),
        problems: Vec::new(),
    };
    reader.collect_named(&schema);
    let value = reader.convert(&schema, json, "");
    if !reader.problems.is_empty() {
        return Err(mismatch(reader.problems));
    }
    let datum = GenericDatumWriter::builder(&schema)
        .build()
        .and_then(|writer| writer.write_value_to_vec(value))
        .map_err(|e| general(e.to_string()))?;
    let own = WriterSchema::of_contract(event_type);
    let mut state = DeserializerState::from_slice(&datum, &own.fast);
    Payload::deserialize(event_type, state.deserializer()).map_err(|e| general(e.to_string()))
}

/// Writes a payload as plain JSON.
///
/// # Errors
/// [`EncodeError`] where a value does not fit its own schema.
pub fn write(payload: &Payload) -> Result<Json, EncodeError> {
    let datum = crate::encode(payload)?;
    let text = of_datum(WriterSchema::of_contract(payload.event_type()), &datum)
        .map_err(|e| EncodeError::new(e.to_string()))?;
    serde_json::from_str(&text).map_err(|e| EncodeError::new(e.to_string()))
}

/// The plain JSON of a datum, by its writer's schema.
///
/// # Errors
/// [`DecodeError::Malformed`] where the bytes do not fit the schema.
pub fn of_datum(schema: &WriterSchema, datum: &[u8]) -> Result<String, DecodeError> {
    let mut text = Vec::with_capacity(datum.len() * 3);
    let mut state = DeserializerState::from_slice(datum, &schema.fast);
    Canonical {
        schema,
        node: schema.root,
        json: Some(&mut text),
    }
    .deserialize(state.deserializer())
    .map_err(|e| DecodeError::Malformed(e.to_string()))?;
    String::from_utf8(text).map_err(|e| DecodeError::Malformed(e.to_string()))
}

struct Reader<'s> {
    named: HashMap<String, &'s Schema>,
    problems: Vec<Problem>,
}

impl<'s> Reader<'s> {
    fn collect_named(&mut self, schema: &'s Schema) {
        match schema {
            Schema::Record(record) => {
                self.named.insert(record.name.fullname(None), schema);
                record
                    .fields
                    .iter()
                    .for_each(|field| self.collect_named(&field.schema));
            }
            Schema::Enum(symbols) => {
                self.named.insert(symbols.name.fullname(None), schema);
            }
            Schema::Array(array) => self.collect_named(&array.items),
            Schema::Map(map) => self.collect_named(&map.types),
            Schema::Union(union) => union.variants().iter().for_each(|v| self.collect_named(v)),
            _ => {}
        }
    }

    fn convert(&mut self, schema: &Schema, json: &Json, path: &str) -> Avro {
        match (schema, json) {
            (Schema::Ref { name }, _) => match self.named.get(&name.fullname(None)).copied() {
                Some(named) => self.convert(named, json, path),
                None => self.wrong(
                    path,
                    format!("the schema refers to the unknown type {name}"),
                ),
            },
            (Schema::Union(union), Json::Null) if union.variants().contains(&Schema::Null) => {
                Avro::Union(0, Box::new(Avro::Null))
            }
            (Schema::Union(union), value) => match union.variants().last() {
                Some(branch) => Avro::Union(1, Box::new(self.convert(branch, value, path))),
                None => self.wrong(path, "the schema has an empty union".to_owned()),
            },
            (Schema::Record(record), Json::Object(object)) => self.record(record, object, path),
            (Schema::Array(array), Json::Array(items)) => Avro::Array(
                items
                    .iter()
                    .enumerate()
                    .map(|(index, item)| {
                        self.convert(&array.items, item, &format!("{path}[{index}]"))
                    })
                    .collect(),
            ),
            (Schema::Map(map), Json::Object(object)) => Avro::Map(
                object
                    .iter()
                    .map(|(key, value)| {
                        (
                            key.clone(),
                            self.convert(&map.types, value, &join(path, key)),
                        )
                    })
                    .collect(),
            ),
            (scalar, value) => self.scalar(scalar, value, path),
        }
    }

    fn record(
        &mut self,
        record: &apache_avro::schema::RecordSchema,
        object: &serde_json::Map<String, Json>,
        path: &str,
    ) -> Avro {
        for unknown in object
            .keys()
            .filter(|key| record.fields.iter().all(|f| f.name != **key))
        {
            let known: Vec<&str> = record.fields.iter().map(|f| f.name.as_str()).collect();
            self.wrong(
                &join(path, unknown),
                format!("unknown field; known are {}", known.join(", ")),
            );
        }
        let mut fields = Vec::with_capacity(record.fields.len());
        for field in &record.fields {
            let inner = join(path, &field.name);
            let value = match object.get(&field.name).or(field.default.as_ref()) {
                Some(value) => self.convert(&field.schema, value, &inner),
                None => self.wrong(&inner, "required, but missing".to_owned()),
            };
            fields.push((field.name.clone(), value));
        }
        Avro::Record(fields)
    }

    fn scalar(&mut self, schema: &Schema, json: &Json, path: &str) -> Avro {
        let found = match (schema, json) {
            (Schema::Boolean, Json::Bool(value)) => Some(Avro::Boolean(*value)),
            (Schema::Int, Json::Number(n)) => n
                .as_i64()
                .and_then(|n| i32::try_from(n).ok())
                .map(Avro::Int),
            (Schema::Long, Json::Number(n)) => n.as_i64().map(Avro::Long),
            (Schema::Double, Json::Number(n)) => n.as_f64().map(Avro::Double),
            (Schema::String, Json::String(text)) => Some(Avro::String(text.clone())),
            (Schema::Uuid(_), Json::String(text)) => Uuid::try_parse(text).ok().map(Avro::Uuid),
            (Schema::TimestampMicros, Json::String(text)) => DateTime::parse_from_rfc3339(text)
                .ok()
                .map(|time| Avro::TimestampMicros(Timestamp::from(time.to_utc()).as_micros())),
            (Schema::Enum(symbols), Json::String(text)) => symbols
                .symbols
                .iter()
                .position(|symbol| symbol == text)
                .and_then(|index| u32::try_from(index).ok())
                .map(|index| Avro::Enum(index, text.clone())),
            _ => None,
        };
        found.unwrap_or_else(|| self.wrong(path, format!("{json} is not {}", wanted(schema))))
    }

    fn wrong(&mut self, path: &str, what: String) -> Avro {
        self.problems.push(Problem {
            path: path.to_owned(),
            what,
        });
        Avro::Null
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

fn wanted(schema: &Schema) -> String {
    match schema {
        Schema::Boolean => "true or false".to_owned(),
        Schema::Int => "a whole number of 32 bits".to_owned(),
        Schema::Long => "a whole number of 64 bits".to_owned(),
        Schema::Double => "a number".to_owned(),
        Schema::String => "a text".to_owned(),
        Schema::Uuid(_) => "a UUID".to_owned(),
        Schema::TimestampMicros => "an RFC 3339 time such as \"2026-05-04T09:30:00Z\"".to_owned(),
        Schema::Enum(symbols) => format!("one of {}", symbols.symbols.join(", ")),
        Schema::Record(_) | Schema::Map(_) => "an object".to_owned(),
        Schema::Array(_) => "an array".to_owned(),
        other => format!("{other:?}"),
    }
}

//! The canonical reading of an event: by its *writer's* schema, in one pass, as plain JSON and as
//! a content hash.
//!
//! Invariant: the hash does not change when a producer upgrades to a schema with more defaulted
//! fields or another field order, so that a repeat of an old event stays a duplicate and does not
//! look like a conflict. Fields that hold the schema's default are therefore left out of it, and
//! fields are combined without regard to their order.

use crate::Timestamp;
use crate::writer_schema::{Node, NodeId, WriterSchema};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::fmt;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Tells whether two events with the same id say the same: a hash over content, type and subject,
/// not over time or trace. Guards against mistakes, not against attackers (64 bit, xxh3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ContentHash(pub i64);

impl ContentHash {
    pub(crate) fn new(content: u64, event_type: &str, subject: &str) -> Self {
        let named = mix(content, xxh3_64(event_type.as_bytes()));
        Self(mix(named, xxh3_64(subject.as_bytes())).cast_signed())
    }

    /// The hash of bytes that nothing could decode, so that even those compare.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self(xxh3_64(bytes).cast_signed())
    }
}

const TEXT: u64 = 1;
const BYTES: u64 = 2;
const INTEGER: u64 = 3;
const DECIMAL: u64 = 4;
const BOOLEAN: u64 = 5;
const NULL: u64 = 6;
const SEQUENCE: u64 = 7;
const FIELDS: u64 = 8;

fn mix(a: u64, b: u64) -> u64 {
    let mut both = [0; 16];
    both[..8].copy_from_slice(&a.to_le_bytes());
    both[8..].copy_from_slice(&b.to_le_bytes());
    xxh3_64(&both)
}

/// Reads one value by its writer's schema: writes it as JSON where asked to, and returns its hash.
pub(crate) struct Canonical<'a> {
    pub schema: &'a WriterSchema,
    pub node: NodeId,
    pub json: Option<&'a mut Vec<u8>>,
}

impl Canonical<'_> {
    fn child(&mut self, node: NodeId) -> Canonical<'_> {
        Canonical {
            schema: self.schema,
            node,
            json: self.json.as_deref_mut(),
        }
    }

    fn write(&mut self, text: &[u8]) {
        if let Some(json) = self.json.as_deref_mut() {
            json.extend_from_slice(text);
        }
    }

    fn write_value<T: serde::Serialize>(&mut self, value: T) {
        if let Some(json) = self.json.as_deref_mut() {
            // Writing a scalar into memory cannot fail.
            let _ = serde_json::to_writer(json, &value);
        }
    }

    /// The branch of a union that a value of this shape belongs to.
    fn resolve(&self, fits: impl Fn(&Node) -> bool) -> NodeId {
        match &self.schema.nodes[self.node] {
            Node::Union(branches) => branches
                .iter()
                .copied()
                .find(|branch| fits(&self.schema.nodes[*branch]))
                .unwrap_or(self.node),
            _ => self.node,
        }
    }

    fn integer(mut self, value: i64) -> u64 {
        let takes_integers = |node: &Node| {
            matches!(
                node,
                Node::Plain("int" | "long")
                    | Node::TimestampMicros
                    | Node::TimestampMillis
                    | Node::OtherLogical(_)
            )
        };
        let node = self.resolve(takes_integers);
        match self.schema.nodes[node] {
            Node::TimestampMicros => self.write_value(Timestamp::from_micros(value).to_string()),
            Node::TimestampMillis => {
                self.write_value(Timestamp::from_micros(value.saturating_mul(1000)).to_string());
            }
            _ => self.write_value(value),
        }
        xxh3_64_with_seed(&value.to_le_bytes(), INTEGER)
    }

    fn fields<'de, A: MapAccess<'de>>(
        mut self,
        fields: &[crate::writer_schema::Field],
        mut map: A,
    ) -> Result<u64, A::Error> {
        let mut combined = 0_u64;
        self.write(b"{");
        for (index, field) in fields.iter().enumerate() {
            if map.next_key::<serde::de::IgnoredAny>()?.is_none() {
                return Err(A::Error::custom("the record ends before its schema does"));
            }
            self.write(if index == 0 { b"" } else { b"," });
            self.write_value(&field.name);
            self.write(b":");
            let hash = map.next_value_seed(self.child(field.node))?;
            if field.default_hash != Some(hash) {
                combined = combined.wrapping_add(mix(xxh3_64(field.name.as_bytes()), hash));
            }
        }
        // The reader has to be told that the record is over.
        map.next_key::<serde::de::IgnoredAny>()?;
        self.write(b"}");
        Ok(mix(combined, FIELDS))
    }

    fn entries<'de, A: MapAccess<'de>>(
        mut self,
        values: NodeId,
        mut map: A,
    ) -> Result<u64, A::Error> {
        let mut combined = 0_u64;
        let mut first = true;
        self.write(b"{");
        while let Some(key) = map.next_key::<String>()? {
            self.write(if first { b"" } else { b"," });
            first = false;
            self.write_value(&key);
            self.write(b":");
            let hash = map.next_value_seed(self.child(values))?;
            combined = combined.wrapping_add(mix(xxh3_64(key.as_bytes()), hash));
        }
        self.write(b"}");
        Ok(mix(combined, FIELDS))
    }
}

impl<'de> DeserializeSeed<'de> for Canonical<'_> {
    type Value = u64;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<u64, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Canonical<'_> {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of the writer's schema")
    }

    fn visit_unit<E: Error>(mut self) -> Result<u64, E> {
        self.write(b"null");
        Ok(NULL)
    }

    fn visit_bool<E: Error>(mut self, value: bool) -> Result<u64, E> {
        self.write_value(value);
        Ok(mix(u64::from(value), BOOLEAN))
    }

    fn visit_i32<E: Error>(self, value: i32) -> Result<u64, E> {
        Ok(self.integer(i64::from(value)))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<u64, E> {
        Ok(self.integer(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<u64, E> {
        Ok(self.integer(value.cast_signed()))
    }

    fn visit_f32<E: Error>(self, value: f32) -> Result<u64, E> {
        self.visit_f64(f64::from(value))
    }

    fn visit_f64<E: Error>(mut self, value: f64) -> Result<u64, E> {
        self.write_value(value);
        Ok(xxh3_64_with_seed(&value.to_bits().to_le_bytes(), DECIMAL))
    }

    fn visit_str<E: Error>(mut self, value: &str) -> Result<u64, E> {
        self.write_value(value);
        Ok(xxh3_64_with_seed(value.as_bytes(), TEXT))
    }

    fn visit_bytes<E: Error>(mut self, value: &[u8]) -> Result<u64, E> {
        let hexadecimal: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
        self.write_value(hexadecimal);
        Ok(xxh3_64_with_seed(value, BYTES))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut sequence: A) -> Result<u64, A::Error> {
        let node = self.resolve(|node| matches!(node, Node::Array(_)));
        let Node::Array(items) = self.schema.nodes[node] else {
            return Err(A::Error::custom("an array where the schema has none"));
        };
        let mut combined = SEQUENCE;
        let mut first = true;
        self.write(b"[");
        loop {
            let before = self.json.as_deref().map_or(0, Vec::len);
            self.write(if first { b"" } else { b"," });
            let Some(hash) = sequence.next_element_seed(self.child(items))? else {
                if let Some(json) = self.json.as_deref_mut() {
                    json.truncate(before);
                }
                break;
            };
            first = false;
            combined = mix(combined, hash);
        }
        self.write(b"]");
        Ok(combined)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<u64, A::Error> {
        let node = self.resolve(|node| matches!(node, Node::Record(_) | Node::Map(_)));
        let schema = self.schema;
        match &schema.nodes[node] {
            Node::Record(fields) => self.fields(fields, map),
            Node::Map(values) => self.entries(*values, map),
            _ => Err(A::Error::custom("an object where the schema has none")),
        }
    }
}

/// The hash that a value equal to a schema's default would have; `None` where the default does
/// not fit its schema, which then simply never matches.
pub(crate) fn hash_of_default(
    schema: &WriterSchema,
    node: NodeId,
    default: &serde_json::Value,
) -> Option<u64> {
    use serde_json::Value;
    Some(match (&schema.nodes[node], default) {
        // A default belongs to the union's first branch, or to whichever it fits.
        (Node::Union(branches), value) => {
            return branches
                .iter()
                .find_map(|branch| hash_of_default(schema, *branch, value));
        }
        (Node::Plain("null"), Value::Null) => NULL,
        (Node::Plain("boolean"), Value::Bool(value)) => mix(u64::from(*value), BOOLEAN),
        (Node::Plain("float" | "double"), value) => {
            xxh3_64_with_seed(&value.as_f64()?.to_bits().to_le_bytes(), DECIMAL)
        }
        (Node::Plain("string" | "enum" | "uuid"), Value::String(text)) => {
            xxh3_64_with_seed(text.as_bytes(), TEXT)
        }
        (Node::Array(items), Value::Array(values)) => {
            values.iter().try_fold(SEQUENCE, |hash, value| {
                Some(mix(hash, hash_of_default(schema, *items, value)?))
            })?
        }
        (Node::Map(values), Value::Object(entries)) => {
            let combined = entries.iter().try_fold(0_u64, |sum, (key, value)| {
                let hash = hash_of_default(schema, *values, value)?;
                Some(sum.wrapping_add(mix(xxh3_64(key.as_bytes()), hash)))
            })?;
            mix(combined, FIELDS)
        }
        (Node::Record(fields), Value::Object(values)) => {
            let mut combined = 0_u64;
            for field in fields {
                let Some(value) = values.get(&field.name) else {
                    continue;
                };
                let hash = hash_of_default(schema, field.node, value)?;
                if field.default_hash != Some(hash) {
                    combined = combined.wrapping_add(mix(xxh3_64(field.name.as_bytes()), hash));
                }
            }
            mix(combined, FIELDS)
        }
        (
            Node::Plain("int" | "long")
            | Node::TimestampMicros
            | Node::TimestampMillis
            | Node::OtherLogical(_),
            value,
        ) => xxh3_64_with_seed(&value.as_i64()?.to_le_bytes(), INTEGER),
        _ => return None,
    })
}

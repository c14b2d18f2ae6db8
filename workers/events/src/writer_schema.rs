//! A schema as its writer registered it: what is needed to read its bytes.
//!
//! Invariant: a logical type is never read as another one (milliseconds as microseconds): such a
//! schema is refused once, when it is first seen, instead of corrupting every value.

use crate::EventType;
use apache_avro::Schema;
use std::collections::HashMap;
use std::sync::LazyLock;

/// Why a schema cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// It is no Avro schema.
    #[error("not a valid Avro schema: {0}")]
    Invalid(String),
    /// It is no record, but every event is one.
    #[error("the schema is no record; every event is a record")]
    NotARecord,
    /// A field has another logical type than the contract's.
    #[error(
        "field {path} is {found} in the writer's schema and {expected} in the contract; reading it would change its meaning"
    )]
    LogicalType {
        /// Where, as `outer.inner`.
        path: String,
        /// What the writer has.
        found: String,
        /// What our `.avsc` has.
        expected: String,
    },
}

/// A parsed writer schema, ready to decode with.
#[derive(Debug)]
pub struct WriterSchema {
    pub(crate) fast: serde_avro_fast::Schema,
    pub(crate) nodes: Vec<Node>,
    pub(crate) root: NodeId,
    full_name: String,
}

/// An index into [`WriterSchema::nodes`]; schemas may refer to themselves.
pub(crate) type NodeId = usize;

#[derive(Debug)]
pub(crate) enum Node {
    /// Anything whose bytes mean just themselves.
    Plain(&'static str),
    /// Microseconds since the epoch.
    TimestampMicros,
    /// Milliseconds since the epoch.
    TimestampMillis,
    /// A logical type that contracts do not use; shown by its underlying value.
    OtherLogical(&'static str),
    Array(NodeId),
    Map(NodeId),
    Union(Vec<NodeId>),
    Record(Vec<Field>),
}

#[derive(Debug)]
pub(crate) struct Field {
    pub name: String,
    pub node: NodeId,
    /// The hash of the schema's default, where it has one: a field that holds it is left out of
    /// the content hash.
    pub default_hash: Option<u64>,
}

impl WriterSchema {
    /// Parses a schema and checks that it means what our contract of the same record means.
    ///
    /// # Errors
    /// See [`SchemaError`]; each is a property of the schema text.
    pub fn parse(text: &str) -> Result<Self, SchemaError> {
        let schema = Self::parse_unchecked(text)?;
        if let Some(contract) = CONTRACTS.get(schema.full_name.as_str()) {
            schema.same_meaning(schema.root, contract, contract.root, "")?;
        }
        Ok(schema)
    }

    fn parse_unchecked(text: &str) -> Result<Self, SchemaError> {
        let invalid = |e: &dyn std::fmt::Display| SchemaError::Invalid(e.to_string());
        let parsed = Schema::parse_str(text).map_err(|e| invalid(&e))?;
        let Schema::Record(record) = &parsed else {
            return Err(SchemaError::NotARecord);
        };
        let full_name = record.name.fullname(None);
        let fast = text.parse().map_err(|e| invalid(&e))?;
        let mut arena = Arena::default();
        let root = arena.add(&parsed);
        let mut schema = Self {
            fast,
            nodes: arena.nodes,
            root,
            full_name,
        };
        schema.hash_defaults(&arena.defaults);
        Ok(schema)
    }

    /// The full name of the record: `com.learnexpert.iam.UserRegistered`.
    pub fn full_name(&self) -> &str {
        &self.full_name
    }

    /// The schema of our own `.avsc` for an event.
    pub fn of_contract(event_type: EventType) -> &'static Self {
        &CONTRACTS[event_type.contract().record]
    }

    fn hash_defaults(&mut self, defaults: &[(NodeId, usize, serde_json::Value)]) {
        // Inner records come after the outer ones in the arena; their defaults are hashed first,
        // since an outer default may hold an inner record.
        for (record, field, default) in defaults.iter().rev() {
            let Node::Record(fields) = &self.nodes[*record] else {
                continue;
            };
            let hash = crate::canonical::hash_of_default(self, fields[*field].node, default);
            if let Node::Record(fields) = &mut self.nodes[*record] {
                fields[*field].default_hash = hash;
            }
        }
    }

    fn same_meaning(
        &self,
        mine: NodeId,
        contract: &Self,
        theirs: NodeId,
        path: &str,
    ) -> Result<(), SchemaError> {
        let at = |name: &str| match path {
            "" => name.to_owned(),
            path => format!("{path}.{name}"),
        };
        match (&self.nodes[mine], &contract.nodes[theirs]) {
            (Node::Record(mine), Node::Record(theirs)) => {
                for field in theirs {
                    if let Some(same) = mine.iter().find(|f| f.name == field.name) {
                        self.same_meaning(same.node, contract, field.node, &at(&field.name))?;
                    }
                }
                Ok(())
            }
            (Node::Array(mine), Node::Array(theirs)) | (Node::Map(mine), Node::Map(theirs)) => {
                self.same_meaning(*mine, contract, *theirs, path)
            }
            (Node::Union(branches), _) => branches
                .iter()
                .filter(|b| !matches!(self.nodes[**b], Node::Plain("null")))
                .try_for_each(|b| self.same_meaning(*b, contract, theirs, path)),
            (_, Node::Union(branches)) => branches
                .iter()
                .filter(|b| !matches!(contract.nodes[**b], Node::Plain("null")))
                .try_for_each(|b| self.same_meaning(mine, contract, *b, path)),
            (mine, theirs) if mine.logical_type() != theirs.logical_type() => {
                Err(SchemaError::LogicalType {
                    path: path.to_owned(),
                    found: mine.name().to_owned(),
                    expected: theirs.name().to_owned(),
                })
            }
            _ => Ok(()),
        }
    }
}

impl Node {
    fn name(&self) -> &'static str {
        match self {
            Self::Plain(name) | Self::OtherLogical(name) => name,
            Self::TimestampMicros => "timestamp-micros",
            Self::TimestampMillis => "timestamp-millis",
            Self::Array(_) => "array",
            Self::Map(_) => "map",
            Self::Union(_) => "union",
            Self::Record(_) => "record",
        }
    }

    /// The logical type, where misreading it would go unnoticed. A uuid is text either way.
    fn logical_type(&self) -> Option<&'static str> {
        match self {
            Self::TimestampMicros | Self::TimestampMillis | Self::OtherLogical(_) => {
                Some(self.name())
            }
            _ => None,
        }
    }
}

#[derive(Default)]
struct Arena {
    nodes: Vec<Node>,
    named: HashMap<String, NodeId>,
    defaults: Vec<(NodeId, usize, serde_json::Value)>,
}

impl Arena {
    fn add(&mut self, schema: &Schema) -> NodeId {
        if let Schema::Ref { name } = schema
            && let Some(known) = self.named.get(&name.fullname(None))
        {
            return *known;
        }
        let id = self.nodes.len();
        self.nodes.push(Node::Plain("null"));
        self.nodes[id] = match schema {
            Schema::Record(record) => {
                self.named.insert(record.name.fullname(None), id);
                let mut fields = Vec::with_capacity(record.fields.len());
                for (index, field) in record.fields.iter().enumerate() {
                    if let Some(default) = &field.default {
                        self.defaults.push((id, index, default.clone()));
                    }
                    let node = self.add(&field.schema);
                    fields.push(Field {
                        name: field.name.clone(),
                        node,
                        default_hash: None,
                    });
                }
                Node::Record(fields)
            }
            Schema::Enum(symbols) => {
                self.named.insert(symbols.name.fullname(None), id);
                Node::Plain("enum")
            }
            Schema::Fixed(fixed) => {
                self.named.insert(fixed.name.fullname(None), id);
                Node::Plain("fixed")
            }
            Schema::Array(array) => Node::Array(self.add(&array.items)),
            Schema::Map(map) => Node::Map(self.add(&map.types)),
            Schema::Union(union) => {
                Node::Union(union.variants().iter().map(|v| self.add(v)).collect())
            }
            leaf => leaf_node(leaf),
        };
        id
    }
}

fn leaf_node(schema: &Schema) -> Node {
    match schema {
        Schema::Null => Node::Plain("null"),
        Schema::Boolean => Node::Plain("boolean"),
        Schema::Int => Node::Plain("int"),
        Schema::Long => Node::Plain("long"),
        Schema::Float => Node::Plain("float"),
        Schema::Double => Node::Plain("double"),
        Schema::Bytes => Node::Plain("bytes"),
        Schema::String => Node::Plain("string"),
        Schema::Uuid(_) => Node::Plain("uuid"),
        Schema::TimestampMicros => Node::TimestampMicros,
        Schema::TimestampMillis => Node::TimestampMillis,
        Schema::TimestampNanos => Node::OtherLogical("timestamp-nanos"),
        Schema::LocalTimestampMillis => Node::OtherLogical("local-timestamp-millis"),
        Schema::LocalTimestampMicros => Node::OtherLogical("local-timestamp-micros"),
        Schema::LocalTimestampNanos => Node::OtherLogical("local-timestamp-nanos"),
        Schema::Date => Node::OtherLogical("date"),
        Schema::TimeMillis => Node::OtherLogical("time-millis"),
        Schema::TimeMicros => Node::OtherLogical("time-micros"),
        Schema::Duration(_) => Node::OtherLogical("duration"),
        Schema::Decimal(_) => Node::OtherLogical("decimal"),
        _ => Node::OtherLogical("big-decimal"),
    }
}

/// Our own contracts, by record name.
#[allow(clippy::expect_used)]
static CONTRACTS: LazyLock<HashMap<&'static str, WriterSchema>> = LazyLock::new(|| {
    EventType::ALL
        .into_iter()
        .map(|event_type| {
            let contract = event_type.contract();
            // Compiled in, and parsed by a test over all contracts: cannot fail in a tested build.
            let schema = WriterSchema::parse_unchecked(contract.schema).expect("our schema parses");
            (contract.record, schema)
        })
        .collect()
});

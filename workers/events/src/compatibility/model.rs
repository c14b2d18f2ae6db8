//! A schema as the checks see it: every named type by its full name, every use of one a reference.
//!
//! Invariant: two schemas that differ only in where a shared type is spelt out and where it is
//! named yield equal models.

use serde_json::Value;
use std::collections::BTreeMap;

/// One self-contained schema file whose root is a record.
#[derive(Debug)]
pub(super) struct Model {
    /// Full name of the event's record.
    pub root: String,
    /// Full name → definition, the root's among them.
    pub types: BTreeMap<String, Definition>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Definition {
    Record {
        doc: Option<String>,
        fields: Vec<Field>,
    },
    Enum {
        doc: Option<String>,
        symbols: Vec<String>,
        default: Option<String>,
    },
    Fixed {
        size: u64,
        logical: Option<String>,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Field {
    pub name: String,
    pub doc: Option<String>,
    pub shape: Shape,
    pub default: Option<Value>,
    pub aliases: Vec<String>,
}

/// The type of a field, item, value or branch.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Shape {
    Primitive {
        name: String,
        logical: Option<String>,
    },
    Array(Box<Shape>),
    Map(Box<Shape>),
    Union(Vec<Shape>),
    Named(String),
}

impl Shape {
    /// The type in a few words, for messages. Does not tell logical types apart.
    pub fn describe(&self) -> String {
        match self {
            Shape::Primitive { name, .. } => name.clone(),
            Shape::Array(items) => format!("array of {}", items.describe()),
            Shape::Map(values) => format!("map of {}", values.describe()),
            Shape::Union(branches) => {
                let names: Vec<String> = branches.iter().map(Shape::describe).collect();
                format!("union of {}", names.join(" and "))
            }
            Shape::Named(full_name) => full_name.clone(),
        }
    }

    pub fn is_null(&self) -> bool {
        matches!(self, Shape::Primitive { name, .. } if name == "null")
    }
}

impl Model {
    /// Reads the JSON text of a schema. The error says what is wrong with it, without a fix.
    pub fn parse(text: &str) -> Result<Model, String> {
        // apache-avro checks what the specification demands: names, symbols, defaults that fit.
        apache_avro::Schema::parse_str(text)
            .map_err(|error| format!("not a valid Avro schema: {error}"))?;
        let json: Value =
            serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
        let mut reader = Reader {
            types: BTreeMap::new(),
        };
        match reader.shape(&json, "")? {
            Shape::Named(root)
                if matches!(reader.types.get(&root), Some(Definition::Record { .. })) =>
            {
                Ok(Model {
                    root,
                    types: reader.types,
                })
            }
            other => Err(format!(
                "an event is a record, and this is {}",
                other.describe()
            )),
        }
    }
}

const PRIMITIVES: [&str; 8] = [
    "null", "boolean", "int", "long", "float", "double", "bytes", "string",
];

struct Reader {
    types: BTreeMap<String, Definition>,
}

impl Reader {
    fn shape(&mut self, json: &Value, namespace: &str) -> Result<Shape, String> {
        match json {
            Value::String(name) if PRIMITIVES.contains(&name.as_str()) => Ok(Shape::Primitive {
                name: name.clone(),
                logical: None,
            }),
            Value::String(name) => Ok(Shape::Named(qualified(name, namespace))),
            Value::Array(branches) => {
                let shapes: Result<Vec<Shape>, String> = branches
                    .iter()
                    .map(|branch| self.shape(branch, namespace))
                    .collect();
                Ok(Shape::Union(shapes?))
            }
            Value::Object(_) => self.object(json, namespace),
            _ => Err(format!("{json} is not a type")),
        }
    }

    fn object(&mut self, json: &Value, namespace: &str) -> Result<Shape, String> {
        match json.get("type") {
            Some(Value::String(kind)) => match kind.as_str() {
                "array" => Ok(Shape::Array(Box::new(
                    self.child(json, "items", namespace)?,
                ))),
                "map" => Ok(Shape::Map(Box::new(self.child(json, "values", namespace)?))),
                "record" | "enum" | "fixed" => self.named(json, kind, namespace),
                primitive if PRIMITIVES.contains(&primitive) => Ok(Shape::Primitive {
                    name: kind.clone(),
                    logical: logical_type(json),
                }),
                name => Ok(Shape::Named(qualified(name, namespace))),
            },
            Some(wrapped) => self.shape(wrapped, namespace),
            None => Err(format!("{json} has no \"type\"")),
        }
    }

    fn child(&mut self, json: &Value, key: &str, namespace: &str) -> Result<Shape, String> {
        let child = json
            .get(key)
            .ok_or_else(|| format!("{json} has no \"{key}\""))?;
        self.shape(child, namespace)
    }

    fn named(&mut self, json: &Value, kind: &str, enclosing: &str) -> Result<Shape, String> {
        let name = text(json, "name").ok_or_else(|| format!("a {kind} has no \"name\""))?;
        let namespace = text(json, "namespace").unwrap_or_else(|| enclosing.to_owned());
        let full_name = qualified(&name, &namespace);
        let inner = full_name
            .rsplit_once('.')
            .map_or("", |(namespace, _)| namespace)
            .to_owned();
        let definition = match kind {
            "record" => Definition::Record {
                doc: text(json, "doc"),
                fields: self.fields(json, &inner)?,
            },
            "enum" => Definition::Enum {
                doc: text(json, "doc"),
                symbols: texts(json, "symbols"),
                default: text(json, "default"),
            },
            _ => Definition::Fixed {
                size: json.get("size").and_then(Value::as_u64).unwrap_or_default(),
                logical: logical_type(json),
            },
        };
        self.types.insert(full_name.clone(), definition);
        Ok(Shape::Named(full_name))
    }

    fn fields(&mut self, json: &Value, namespace: &str) -> Result<Vec<Field>, String> {
        let fields = json
            .get("fields")
            .and_then(Value::as_array)
            .map_or(&[][..], Vec::as_slice);
        fields
            .iter()
            .map(|field| {
                Ok(Field {
                    name: text(field, "name").ok_or_else(|| format!("{field} has no \"name\""))?,
                    doc: text(field, "doc"),
                    shape: self.child(field, "type", namespace)?,
                    default: field.get("default").cloned(),
                    aliases: texts(field, "aliases"),
                })
            })
            .collect()
    }
}

fn qualified(name: &str, namespace: &str) -> String {
    if name.contains('.') || namespace.is_empty() {
        name.to_owned()
    } else {
        format!("{namespace}.{name}")
    }
}

fn text(json: &Value, key: &str) -> Option<String> {
    json.get(key).and_then(Value::as_str).map(str::to_owned)
}

fn texts(json: &Value, key: &str) -> Vec<String> {
    let items = json
        .get(key)
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    items
        .iter()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

/// The logical type with the attributes that belong to its meaning: `decimal(10,2)`.
fn logical_type(json: &Value) -> Option<String> {
    let name = text(json, "logicalType")?;
    let Some(precision) = json.get("precision") else {
        return Some(name);
    };
    let scale = json
        .get("scale")
        .and_then(Value::as_u64)
        .unwrap_or_default();
    Some(format!("{name}({precision},{scale})"))
}

//! A second opinion on two versions by apache-avro's own compatibility check.
//!
//! Invariant: `Compatibility::Full` in both directions for every named type, or a violation. Full
//! alone proves little (apache-avro calls milliseconds read as microseconds full, compares names
//! without their namespace, and lets an enum's default excuse anything), and `Ok(Partial)` is no
//! success at all: it is what a removed enum symbol or a narrowed union yields.

use super::model::{Definition, Model, Shape};
use super::violation::{Rule, Version, Violation};
use apache_avro::Schema;
use apache_avro::schema_compatibility::{Compatibility, SchemaCompatibility};
use serde_json::{Value, json};

/// What apache-avro has against two schemas between which our own walk found nothing.
pub(super) fn second_opinion(before: &Model, after: &Model, version: Version) -> Vec<Violation> {
    let violation = |path: &str, problem: String| Violation {
        schema: after.root.clone(),
        against: Some(version),
        path: path.to_owned(),
        rule: Rule::Resolution,
        problem,
        fix: "undo the change to this type; add optional fields instead".to_owned(),
    };
    let (old, new) = match (parsed(before), parsed(after)) {
        (Ok(old), Ok(new)) => (old, new),
        (Err(error), _) | (_, Err(error)) => {
            return vec![violation(
                "",
                format!("apache-avro does not read the schema: {error}"),
            )];
        }
    };
    old.iter()
        .filter_map(|(name, old)| {
            Some((name, old, &new.iter().find(|(other, _)| other == name)?.1))
        })
        .filter_map(
            |(name, old, new)| match SchemaCompatibility::mutual_read(old, new) {
                Ok(Compatibility::Full) => None,
                Ok(Compatibility::Partial) => Some(violation(
                    "",
                    format!("{name}: only some values can be read across the versions"),
                )),
                Err(error) => Some(violation(
                    "",
                    format!("{name}: cannot be read across the versions: {error}"),
                )),
            },
        )
        .collect()
}

/// Each named type on its own, those inside it by reference. Compared as one nested schema, a type
/// spelt out here and named there counts as a mismatch for apache-avro.
fn parsed(model: &Model) -> Result<Vec<(String, Schema)>, apache_avro::Error> {
    let texts: Vec<String> = model
        .types
        .iter()
        .map(|(name, definition)| definition_json(name, definition).to_string())
        .collect();
    let schemas = Schema::parse_list(&texts)?;
    Ok(model.types.keys().cloned().zip(schemas).collect())
}

fn definition_json(name: &str, definition: &Definition) -> Value {
    match definition {
        Definition::Record { fields, .. } => {
            let fields: Vec<Value> = fields
                .iter()
                .map(|field| {
                    let mut json = json!({"name": field.name, "type": shape_json(&field.shape)});
                    if let Some(default) = &field.default {
                        json["default"] = default.clone();
                    }
                    json
                })
                .collect();
            json!({"type": "record", "name": name, "fields": fields})
        }
        Definition::Enum {
            symbols,
            default: Some(default),
            ..
        } => {
            json!({"type": "enum", "name": name, "symbols": symbols, "default": default})
        }
        Definition::Enum {
            symbols,
            default: None,
            ..
        } => {
            json!({"type": "enum", "name": name, "symbols": symbols})
        }
        Definition::Fixed { size, .. } => json!({"type": "fixed", "name": name, "size": size}),
    }
}

fn shape_json(shape: &Shape) -> Value {
    match shape {
        Shape::Primitive { name, .. } | Shape::Named(name) => json!(name),
        Shape::Array(items) => json!({"type": "array", "items": shape_json(items)}),
        Shape::Map(values) => json!({"type": "map", "values": shape_json(values)}),
        Shape::Union(branches) => branches.iter().map(shape_json).collect(),
    }
}

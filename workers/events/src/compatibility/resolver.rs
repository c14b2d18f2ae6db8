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
use std::collections::BTreeMap;

/// What apache-avro has against two schemas between which our own walk found nothing. The path of
/// such a violation is the full name of the type: apache-avro does not say more.
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
    let mut found = Vec::new();
    for (name, old) in &old {
        // A type that only one version has belongs to a field that was added or removed.
        let Some(new) = new.get(name) else { continue };
        match SchemaCompatibility::mutual_read(old, new) {
            Ok(Compatibility::Full) => {}
            Ok(Compatibility::Partial) => {
                found.push(violation(
                    name,
                    "only some values can be read across the versions".to_owned(),
                ));
            }
            Err(error) => {
                found.push(violation(
                    name,
                    format!("cannot be read across the versions: {error}"),
                ));
            }
        }
    }
    found
}

/// Each named type on its own, those inside it by reference. Compared as one nested schema, a type
/// spelt out here and named there counts as a mismatch for apache-avro.
fn parsed(model: &Model) -> Result<BTreeMap<String, Schema>, apache_avro::Error> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn model(second_field: &str) -> Model {
        let text = format!(
            r#"{{"type": "record", "name": "Outer", "fields": [
                {{"name": "a", "type": {{"type": "record", "name": "Inner", "fields": [
                    {{"name": "b", "type": "int"}}]}}}}, {second_field}]}}"#
        );
        Model::parse(&text).unwrap()
    }

    #[test]
    fn a_type_that_avro_cannot_read_across_is_refused_under_its_name() {
        let before = model(r#"{"name": "c", "type": "int"}"#);
        let after = model(r#"{"name": "c", "type": "string"}"#);
        let found = second_opinion(&before, &after, Version(1));
        assert_eq!(found.len(), 1, "{found:#?}");
        assert_eq!(found[0].rule, Rule::Resolution);
        assert_eq!(found[0].path, "Outer");
        assert!(
            found[0].problem.starts_with("cannot be read"),
            "{}",
            found[0]
        );
    }

    #[test]
    fn a_type_of_which_only_some_values_can_be_read_is_refused() {
        let before = model(r#"{"name": "c", "type": ["null", "int"]}"#);
        let after = model(r#"{"name": "c", "type": ["null", "string"]}"#);
        let found = second_opinion(&before, &after, Version(1));
        assert!(found[0].problem.contains("only some values"), "{found:#?}");
    }

    #[test]
    fn a_type_spelt_out_here_and_named_there_is_the_same_type() {
        let spelt_out_first = model(r#"{"name": "c", "type": "Inner"}"#);
        let spelt_out_second = Model::parse(
            r#"{"type": "record", "name": "Outer", "fields": [
                {"name": "c", "type": {"type": "record", "name": "Inner", "fields": [
                    {"name": "b", "type": "int"}]}}, {"name": "a", "type": "Inner"}]}"#,
        )
        .unwrap();
        assert_eq!(
            second_opinion(&spelt_out_first, &spelt_out_second, Version(1)),
            []
        );
    }
}

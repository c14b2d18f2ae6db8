//! Two independent judges of random pairs of schemas: what our walk lets pass, apache-avro's
//! resolver must let pass in both directions.

use events::compatibility::{Rule, Version, check};
use proptest::prelude::*;
use serde_json::{Value, json};

/// A type, and a default that fits it.
fn field_type() -> impl Strategy<Value = (Value, Value)> {
    let leaf = prop_oneof![
        Just((json!("int"), json!(0))),
        Just((json!("long"), json!(0))),
        Just((json!("string"), json!(""))),
        Just((json!("bytes"), json!(""))),
        Just((
            json!({"type": "long", "logicalType": "timestamp-micros"}),
            json!(0)
        )),
        Just((
            json!({"type": "long", "logicalType": "timestamp-millis"}),
            json!(0)
        )),
        Just((json!(["null", "string"]), Value::Null)),
        Just((json!(["null", "int", "string"]), Value::Null)),
    ];
    leaf.prop_recursive(2, 6, 2, |inner| {
        prop_oneof![
            inner
                .clone()
                .prop_map(|(items, _)| (json!({"type": "array", "items": items}), json!([]))),
            inner.prop_map(|(values, _)| (json!({"type": "map", "values": values}), json!({}))),
        ]
    })
}

fn field(name: &'static str) -> impl Strategy<Value = Option<Value>> {
    let some = (field_type(), any::<bool>()).prop_map(move |((kind, default), with_default)| {
        let mut field = json!({"name": name, "type": kind});
        if with_default {
            field["default"] = default;
        }
        field
    });
    prop::option::weighted(0.8, some)
}

fn enumeration() -> impl Strategy<Value = Value> {
    (
        prop::sample::subsequence(vec!["red", "green", "blue"], 1..=3),
        any::<bool>(),
    )
        .prop_map(|(symbols, with_default)| {
            let mut json = json!({"type": "enum", "name": "Color", "symbols": symbols});
            if with_default {
                json["default"] = json["symbols"][0].clone();
            }
            json
        })
}

/// A record with an enum, a nested record used twice, and up to two fields of any type.
fn schema() -> impl Strategy<Value = String> {
    (field("a"), field("b"), field("c"), enumeration(), any::<bool>()).prop_map(
        |(a, b, inner, color, inner_first)| {
            let nested = json!({"type": "record", "name": "Inner", "fields": inner.into_iter().collect::<Vec<_>>()});
            let (first, second) = if inner_first {
                (nested, json!("Inner"))
            } else {
                (json!(["null", nested]), json!(["null", "Inner"]))
            };
            let mut fields = vec![json!({"name": "color", "type": color})];
            fields.extend([a, b].into_iter().flatten());
            fields.push(json!({"name": "first", "type": first}));
            fields.push(json!({"name": "second", "type": second}));
            json!({"type": "record", "name": "Outer", "fields": fields}).to_string()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_the_walk_lets_pass_the_independent_resolver_lets_pass(before in schema(), after in schema()) {
        let found = check(&after, &[(Version(1), &before)]);
        let disagreement = found.iter().find(|violation| violation.rule == Rule::Resolution);
        prop_assert!(disagreement.is_none(), "{disagreement:?}");
    }

    #[test]
    fn a_schema_is_compatible_with_itself(schema in schema()) {
        prop_assert_eq!(check(&schema, &[(Version(1), &schema)]), []);
    }
}

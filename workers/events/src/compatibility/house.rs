//! The house rules: what every event schema of the platform looks like, whatever its history.
//!
//! Invariant: a schema that passes can be generated into Rust, written as plain JSON, erased of
//! personal data by dropping one record, and extended later without breaking a reader.

use super::model::{Definition, Field, Model, Shape};
use super::unreadable;
use super::violation::{Rule, Violation};

const NAMESPACE: &str = "com.learnexpert.";
const MONEY: &str = "com.learnexpert.common.Money";
/// The symbol that a reader sees in place of one it does not know; never written.
const UNRECOGNIZED: &str = "unrecognized";
/// Words in a field's name that make it an amount of money.
const MONEY_WORDS: [&str; 6] = ["amount", "price", "cost", "fee", "discount", "total"];
/// Names, and endings of names, of fields that tell who a person is or what they wrote.
const PERSONAL_NAMES: [&str; 12] = [
    "email",
    "full_name",
    "first_name",
    "last_name",
    "username",
    "phone",
    "ip_address",
    "user_agent",
    "bio",
    "avatar_url",
    "review_text",
    "feedback_text",
];

/// Checks one schema (JSON text of an `.avsc` file) against the conventions for events:
///
/// * the record is `com.learnexpert.<service>.<RecordName>`, fields and symbols are `snake_case`;
/// * every record, enum and field has a `doc` that says what it is and in which unit;
/// * types are `boolean`, `int`, `long`, `double`, `string`, string with `uuid`, long with
///   `timestamp-micros`, enum, array, map, record, and `["null", T]` with `"default": null`;
/// * every enum ends with the symbol `unrecognized` and has it as its `default`;
/// * personal data is in one record, in the event's field `personal`, of a type named
///   `<RecordName>Personal` or a shared `…Personal`;
/// * money is `com.learnexpert.common.Money`;
/// * a field named `…_at` is a timestamp.
///
/// Empty = the schema keeps them all. A text that is no Avro schema yields [`Rule::Unreadable`].
pub fn house_rules(schema: &str) -> Vec<Violation> {
    let model = match Model::parse(schema) {
        Ok(model) => model,
        Err(problem) => return vec![unreadable(problem, None)],
    };
    let mut inspection = Inspection {
        model: &model,
        found: Vec::new(),
    };
    inspection.root_name();
    for (full_name, definition) in &model.types {
        inspection.definition(full_name, definition);
    }
    inspection.found
}

struct Inspection<'a> {
    model: &'a Model,
    found: Vec<Violation>,
}

impl Inspection<'_> {
    fn report(
        &mut self,
        path: &str,
        rule: Rule,
        problem: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.found.push(Violation {
            schema: self.model.root.clone(),
            against: None,
            path: path.to_owned(),
            rule,
            problem: problem.into(),
            fix: fix.into(),
        });
    }

    fn root_name(&mut self) {
        let root = &self.model.root;
        let well_named = root
            .strip_prefix(NAMESPACE)
            .and_then(|rest| rest.split_once('.'))
            .is_some_and(|(service, record)| is_snake_case(service) && is_camel_case(record));
        if !well_named {
            self.report(
                "",
                Rule::Naming,
                format!("{root} is not com.learnexpert.<service>.<RecordName>"),
                "take the service's folder below avro/ and the event's name in CamelCase",
            );
        }
    }

    fn definition(&mut self, full_name: &str, definition: &Definition) {
        // Types are reported by their own name: a shared one has no single path.
        let here = if full_name == self.model.root {
            ""
        } else {
            full_name
        };
        match definition {
            Definition::Record { doc, fields } => {
                self.doc(here, doc.as_deref(), "record");
                self.money_record(here, full_name, fields);
                for field in fields {
                    self.field(here, full_name, field);
                }
            }
            Definition::Enum {
                doc,
                symbols,
                default,
            } => {
                self.doc(here, doc.as_deref(), "enum");
                self.symbols(here, symbols, default.as_deref());
            }
            Definition::Fixed { .. } => {
                self.report(
                    here,
                    Rule::TypeNotAllowed,
                    "fixed is not used in events",
                    "use string, long or a record",
                );
            }
        }
    }

    fn doc(&mut self, path: &str, doc: Option<&str>, what: &str) {
        if doc.is_none_or(|doc| doc.trim().is_empty()) {
            self.report(
                path,
                Rule::DocMissing,
                format!("the {what} has no doc"),
                "say what it is, in which unit, and what null means",
            );
        }
    }

    fn symbols(&mut self, path: &str, symbols: &[String], default: Option<&str>) {
        if default != Some(UNRECOGNIZED) {
            self.report(
                path,
                Rule::EnumDefaultMissing,
                "the enum has no default for symbols that a reader does not know, so that it can never grow",
                format!("add the symbol {UNRECOGNIZED} at the end and \"default\": \"{UNRECOGNIZED}\""),
            );
        }
        for symbol in symbols.iter().filter(|symbol| !is_snake_case(symbol)) {
            self.report(
                path,
                Rule::Naming,
                format!("symbol {symbol} is not snake_case"),
                "use a-z, 0-9 and _",
            );
        }
    }

    fn field(&mut self, owner_path: &str, owner: &str, field: &Field) {
        let path = if owner_path.is_empty() {
            field.name.clone()
        } else {
            format!("{owner_path}.{}", field.name)
        };
        self.doc(&path, field.doc.as_deref(), "field");
        if !is_snake_case(&field.name) {
            self.report(
                &path,
                Rule::Naming,
                "the field's name is not snake_case",
                "use a-z, 0-9 and _",
            );
        }
        self.shape(&path, &field.shape);
        self.optional_default(&path, field);
        self.time(&path, field);
        self.money_field(&path, owner, field);
        self.personal(&path, owner, field);
    }

    fn shape(&mut self, path: &str, shape: &Shape) {
        match shape {
            Shape::Primitive { name, logical } => {
                let allowed = matches!(
                    (name.as_str(), logical.as_deref()),
                    ("boolean" | "int" | "long" | "double" | "string", None)
                        | ("string", Some("uuid"))
                        | ("long", Some("timestamp-micros"))
                );
                if !allowed {
                    let logical = logical
                        .as_deref()
                        .map(|l| format!(" with logical type {l}"))
                        .unwrap_or_default();
                    self.report(
                        path,
                        Rule::TypeNotAllowed,
                        format!("{name}{logical} is not used in events"),
                        "use boolean, int, long, double, string, string/uuid or long/timestamp-micros",
                    );
                }
            }
            Shape::Array(inner) | Shape::Map(inner) => self.shape(path, inner),
            Shape::Union(branches) => self.union(path, branches),
            Shape::Named(_) => {}
        }
    }

    fn union(&mut self, path: &str, branches: &[Shape]) {
        match branches {
            [null, value] if null.is_null() => self.shape(path, value),
            _ => self.report(
                path,
                Rule::TypeNotAllowed,
                "the only union in events is [\"null\", T]",
                "put null first and one type after it; several types are several optional fields",
            ),
        }
    }

    fn optional_default(&mut self, path: &str, field: &Field) {
        let is_optional = matches!(field.shape, Shape::Union(_));
        if is_optional && field.default != Some(serde_json::Value::Null) {
            self.report(
                path,
                Rule::TypeNotAllowed,
                "an optional field without the default null",
                "add \"default\": null",
            );
        }
    }

    fn time(&mut self, path: &str, field: &Field) {
        let value = value_of(&field.shape);
        let is_timestamp = matches!(value, Shape::Primitive { logical: Some(logical), .. } if logical == "timestamp-micros");
        if field.name.ends_with("_at") && !is_timestamp {
            self.report(
                path,
                Rule::Naming,
                "a field named …_at is a moment and has another type",
                "use { \"type\": \"long\", \"logicalType\": \"timestamp-micros\" }, or another name",
            );
        }
    }

    fn money_field(&mut self, path: &str, owner: &str, field: &Field) {
        let names_money = field
            .name
            .split('_')
            .any(|word| MONEY_WORDS.contains(&word));
        let is_number_or_text = matches!(
            value_of(&field.shape),
            Shape::Primitive { name, logical: None } if matches!(name.as_str(), "int" | "long" | "double" | "string")
        );
        if names_money && is_number_or_text && owner != MONEY && !is_count(&field.name) {
            self.report(
                path,
                Rule::Money,
                "an amount of money that is not a Money record",
                format!("use {MONEY}; for a number of other things, name the unit at the end, as in total_learning_seconds"),
            );
        }
    }

    fn money_record(&mut self, path: &str, full_name: &str, fields: &[Field]) {
        let is_named_money = full_name.rsplit('.').next() == Some("Money");
        if !is_named_money {
            return;
        }
        let shape_of = |name: &str| {
            fields
                .iter()
                .find(|field| field.name == name)
                .map(|field| field.shape.describe())
        };
        let is_exact = full_name == MONEY
            && fields.len() == 2
            && shape_of("amount_minor").as_deref() == Some("long")
            && shape_of("currency").as_deref() == Some("string");
        if !is_exact {
            self.report(
                path,
                Rule::Money,
                format!("not the platform's {MONEY}"),
                "take the definition from another schema: amount_minor: long, currency: string",
            );
        }
    }

    fn personal(&mut self, path: &str, owner: &str, field: &Field) {
        let at_root = owner == self.model.root;
        let type_name = match value_of(&field.shape) {
            Shape::Named(name) => name.rsplit('.').next().unwrap_or(name),
            _ => "",
        };
        let holds_personal_type = type_name.ends_with("Personal");
        if field.name == "personal" && !(at_root && holds_personal_type) {
            self.report(
                path,
                Rule::PersonalData,
                "`personal` is not a record named …Personal at the top of the event",
                "give the event one field `personal` of type <RecordName>Personal",
            );
        } else if holds_personal_type && field.name != "personal" {
            self.report(
                path,
                Rule::PersonalData,
                format!("{type_name} stands in a field that is not the event's `personal`"),
                "personal data is in one record of the event, so that it can be erased: move it to `personal`",
            );
        }
        let inside_personal = owner.ends_with("Personal");
        if is_personal_name(&field.name) && !inside_personal {
            self.report(
                path,
                Rule::PersonalData,
                "personal data outside the event's `personal` record",
                "move the field into `personal`, so that it can be erased",
            );
        }
    }
}

/// The type that an optional field, an array or a map holds; any other type itself.
fn value_of(shape: &Shape) -> &Shape {
    match shape {
        Shape::Union(branches) => branches
            .iter()
            .find(|branch| !branch.is_null())
            .map_or(shape, value_of),
        Shape::Array(inner) | Shape::Map(inner) => value_of(inner),
        _ => shape,
    }
}

fn is_personal_name(name: &str) -> bool {
    PERSONAL_NAMES.iter().any(|personal| {
        name == *personal
            || name
                .strip_suffix(personal)
                .is_some_and(|before| before.ends_with('_'))
    })
}

/// `total_learning_seconds`, `discount_percentage`: counts of something that is not money.
fn is_count(name: &str) -> bool {
    const UNITS: [&str; 8] = [
        "count",
        "percentage",
        "seconds",
        "milliseconds",
        "minutes",
        "days",
        "bytes",
        "quantity",
    ];
    name.rsplit('_')
        .next()
        .is_some_and(|last| UNITS.contains(&last))
}

fn is_snake_case(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

fn is_camel_case(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.chars().all(|c| c.is_ascii_alphanumeric())
}

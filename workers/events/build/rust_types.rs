//! Emits one Rust type per named Avro type. Invariant: a field that a schema knows exists in Rust
//! under the same name with the same meaning, and a default in the schema is the default in Rust.

use crate::refuse;
use crate::schemas::{Schemas, full_name};
use serde_json::Value;
use std::fmt::Write;

pub fn emit(schemas: &Schemas) -> String {
    let mut out = String::new();
    for (name, named) in &schemas.named {
        match named.definition["type"].as_str() {
            Some("record") => record(&mut out, name, &named.definition, schemas),
            _ => enumeration(&mut out, name, &named.definition),
        }
    }
    out
}

/// `com.learnexpert.iam.UserRegistered` → `UserRegistered`: names are unique across services.
pub fn short_name(full: &str) -> &str {
    full.rsplit('.').next().unwrap_or(full)
}

fn doc(out: &mut String, indent: &str, node: &Value) {
    for line in node["doc"].as_str().unwrap_or("See the schema.").lines() {
        let escaped = line.replace('<', "\\<").replace('[', "\\[");
        writeln!(out, "{indent}/// {escaped}").unwrap();
    }
}

fn record(out: &mut String, full: &str, node: &Value, schemas: &Schemas) {
    let name = short_name(full);
    let namespace = full.rsplit_once('.').map_or("", |(ns, _)| ns);
    doc(out, "", node);
    writeln!(
        out,
        "#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]"
    )
    .unwrap();
    writeln!(out, "pub struct {name} {{").unwrap();
    let mut defaults = String::new();
    for field in node["fields"].as_array().into_iter().flatten() {
        let field_name = field["name"].as_str().unwrap_or_default();
        let rust = rust_type(&field["type"], namespace, full, field_name, schemas);
        doc(out, "    ", field);
        if let Some(default) = field.get("default") {
            if default.is_null() {
                writeln!(out, "    #[serde(default)]").unwrap();
            } else {
                let function = format!("default_{}_{field_name}", snake(name));
                writeln!(out, "    #[serde(default = \"{function}\")]").unwrap();
                let json = default.to_string();
                writeln!(
                    defaults,
                    "fn {function}() -> {rust} {{ crate::schema_default({json:?}) }}"
                )
                .unwrap();
            }
        }
        writeln!(out, "    pub {}: {rust},", escape(field_name)).unwrap();
    }
    writeln!(out, "}}\n{defaults}").unwrap();
}

fn enumeration(out: &mut String, full: &str, node: &Value) {
    doc(out, "", node);
    writeln!(
        out,
        "#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]"
    )
    .unwrap();
    let name = short_name(full);
    writeln!(out, "pub enum {name} {{").unwrap();
    let symbols: Vec<&str> = node["symbols"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    for symbol in &symbols {
        // A symbol that a newer writer added reads as the enum's default, as Avro resolves it.
        let other = if node["default"] == *symbol {
            ", other"
        } else {
            ""
        };
        writeln!(out, "    /// `{symbol}`").unwrap();
        writeln!(
            out,
            "    #[serde(rename = {symbol:?}{other})]\n    {},",
            camel(symbol)
        )
        .unwrap();
    }
    writeln!(out, "}}").unwrap();
    writeln!(out, "impl {name} {{\n    /// The symbol as the schema spells it.\n    pub const fn as_str(self) -> &'static str {{\n        match self {{").unwrap();
    for symbol in &symbols {
        writeln!(out, "            Self::{} => {symbol:?},", camel(symbol)).unwrap();
    }
    writeln!(out, "        }}\n    }}\n}}\n").unwrap();
}

fn rust_type(
    node: &Value,
    namespace: &str,
    record: &str,
    field: &str,
    schemas: &Schemas,
) -> String {
    let inner = |child: &Value| rust_type(child, namespace, record, field, schemas);
    let kind = match node {
        Value::String(name) => {
            return primitive(name)
                .unwrap_or_else(|| reference(name, namespace, record, field, schemas));
        }
        Value::Array(branches) => return optional(branches, record, field, inner),
        Value::Object(object) => object.get("type").and_then(Value::as_str).unwrap_or(""),
        _ => "",
    };
    match (kind, node["logicalType"].as_str()) {
        ("string", Some("uuid")) => "uuid::Uuid".to_owned(),
        ("long", Some("timestamp-micros")) => "crate::Timestamp".to_owned(),
        ("array", _) => format!("Vec<{}>", inner(&node["items"])),
        ("map", _) => format!(
            "std::collections::BTreeMap<String, {}>",
            inner(&node["values"])
        ),
        ("record" | "enum", _) => {
            short_name(&full_name(node, namespace).unwrap_or_default()).to_owned()
        }
        (plain, None) => primitive(plain).unwrap_or_else(|| {
            refuse(format!(
                "{record}.{field}: type {node} is not one that contracts may use"
            ))
        }),
        (_, Some(logical)) => refuse(format!(
            "{record}.{field}: logical type {logical} is not one that contracts may use (uuid, timestamp-micros)"
        )),
    }
}

fn optional(
    branches: &[Value],
    record: &str,
    field: &str,
    inner: impl Fn(&Value) -> String,
) -> String {
    match branches {
        [null, value] if null == "null" => format!("Option<{}>", inner(value)),
        _ => refuse(format!(
            "{record}.{field}: the only union allowed is [\"null\", T]"
        )),
    }
}

fn reference(name: &str, namespace: &str, record: &str, field: &str, schemas: &Schemas) -> String {
    let full = if name.contains('.') {
        name.to_owned()
    } else {
        format!("{namespace}.{name}")
    };
    if !schemas.named.contains_key(&full) {
        refuse(format!("{record}.{field}: nothing defines the type {full}"));
    }
    short_name(&full).to_owned()
}

fn primitive(name: &str) -> Option<String> {
    let rust = match name {
        "boolean" => "bool",
        "int" => "i32",
        "long" => "i64",
        "double" => "f64",
        "string" => "String",
        _ => return None,
    };
    Some(rust.to_owned())
}

fn escape(field: &str) -> String {
    match field {
        "type" | "ref" | "match" | "move" | "where" | "use" | "as" | "in" => format!("r#{field}"),
        _ => field.to_owned(),
    }
}

pub fn camel(symbol: &str) -> String {
    symbol
        .split('_')
        .map(|word| {
            let mut letters = word.chars();
            letters.next().map_or(String::new(), |first| {
                first.to_uppercase().collect::<String>() + &letters.as_str().to_lowercase()
            })
        })
        .collect()
}

fn snake(camel: &str) -> String {
    let mut out = String::new();
    for letter in camel.chars() {
        if letter.is_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.extend(letter.to_lowercase());
    }
    out
}

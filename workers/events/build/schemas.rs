//! Reads every `avro/<service>/<Record>.avsc` and collects the named types.
//! Invariant: a full name has exactly one definition, however many files repeat it.

use crate::refuse;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Folders below `avro/` that hold no current contract.
const NOT_CONTRACTS: [&str; 3] = ["examples", "golden", "released"];

pub struct Schemas {
    /// `iam/UserRegistered` → the file.
    pub files: BTreeMap<String, SchemaFile>,
    /// Full name → definition, of every record and enum.
    pub named: BTreeMap<String, Named>,
    /// Event name → one believable payload in plain JSON.
    examples: BTreeMap<String, String>,
}

impl Schemas {
    /// The example payload of an event; every event has one.
    pub fn example(&self, event: &str) -> &str {
        self.examples.get(event).unwrap_or_else(|| {
            refuse(format!(
                "avro/examples/{event}.json is missing; add one payload in plain JSON"
            ))
        })
    }
}

pub struct SchemaFile {
    pub text: String,
    pub full_name: String,
}

pub struct Named {
    pub definition: Value,
    pub first_seen_in: String,
}

pub fn read_all(avro: &Path) -> Schemas {
    let examples = read_examples(&avro.join("examples"));
    let mut schemas = Schemas {
        files: BTreeMap::new(),
        named: BTreeMap::new(),
        examples,
    };
    for service in sorted_entries(avro) {
        if !avro.join(&service).is_dir() || NOT_CONTRACTS.contains(&service.as_str()) {
            continue;
        }
        for file in sorted_entries(&avro.join(&service)) {
            let Some(record) = file.strip_suffix(".avsc") else {
                continue;
            };
            let short = format!("{service}/{record}");
            read_one(&avro.join(&service).join(&file), short, &mut schemas);
        }
    }
    schemas
}

fn read_examples(folder: &Path) -> BTreeMap<String, String> {
    let mut examples = BTreeMap::new();
    for file in sorted_entries(folder) {
        if let Some(event) = file.strip_suffix(".json") {
            let text = fs::read_to_string(folder.join(&file))
                .unwrap_or_else(|e| refuse(format!("avro/examples/{file}: {e}")));
            examples.insert(event.to_owned(), text);
        }
    }
    examples
}

fn read_one(path: &Path, short: String, schemas: &mut Schemas) {
    let text =
        fs::read_to_string(path).unwrap_or_else(|e| refuse(format!("{}: {e}", path.display())));
    let json: Value = serde_json::from_str(&text)
        .unwrap_or_else(|e| refuse(format!("avro/{short}.avsc is not JSON: {e}")));
    let full_name = full_name(&json, "")
        .unwrap_or_else(|| refuse(format!("avro/{short}.avsc has no \"name\"")));
    let expected = format!("com.learnexpert.{}", short.replace('/', "."));
    if full_name != expected {
        refuse(format!(
            "avro/{short}.avsc defines {full_name}; rename the record to {expected} or move the file"
        ));
    }
    collect(&json, "", &short, schemas);
    schemas.files.insert(short, SchemaFile { text, full_name });
}

fn collect(node: &Value, namespace: &str, file: &str, schemas: &mut Schemas) {
    match node {
        Value::Array(branches) => branches
            .iter()
            .for_each(|b| collect(b, namespace, file, schemas)),
        Value::Object(object) => {
            let kind = object.get("type").and_then(Value::as_str).unwrap_or("");
            let mut inner = namespace.to_owned();
            if matches!(kind, "record" | "enum") {
                let name = full_name(node, namespace).unwrap_or_else(|| {
                    refuse(format!("avro/{file}.avsc: a {kind} without a name"))
                });
                inner = name
                    .rsplit_once('.')
                    .map_or(String::new(), |(ns, _)| ns.to_owned());
                remember(node, name, file, schemas);
            }
            for field in object
                .get("fields")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                collect(&field["type"], &inner, file, schemas);
            }
            for key in ["type", "items", "values"] {
                if let Some(child) = object.get(key).filter(|c| !c.is_string()) {
                    collect(child, &inner, file, schemas);
                }
            }
        }
        _ => {}
    }
}

fn remember(node: &Value, name: String, file: &str, schemas: &mut Schemas) {
    if let Some(known) = schemas.named.get(&name) {
        if &known.definition != node {
            refuse(format!(
                "{name} is defined differently in avro/{}.avsc and avro/{file}.avsc; make the two definitions equal",
                known.first_seen_in
            ));
        }
        return;
    }
    schemas.named.insert(
        name,
        Named {
            definition: node.clone(),
            first_seen_in: file.to_owned(),
        },
    );
}

/// The full name of a named schema, by the rules of the Avro specification.
pub fn full_name(node: &Value, enclosing: &str) -> Option<String> {
    let name = node.get("name")?.as_str()?;
    if name.contains('.') {
        return Some(name.to_owned());
    }
    match node
        .get("namespace")
        .and_then(Value::as_str)
        .unwrap_or(enclosing)
    {
        "" => Some(name.to_owned()),
        namespace => Some(format!("{namespace}.{name}")),
    }
}

pub fn sorted_entries(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap_or_else(|e| refuse(format!("{}: {e}", folder.display())))
        .map(|entry| {
            entry
                .expect("a readable folder entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    names
}

//! Events as people write them in a file. No I/O.

use events::{EventType, header};
use publish::{Meta, OutgoingEvent, PublishError};
use serde_json::{Deserializer, Map, Value};

/// What an event may have, with the header that carries it.
const FIELDS: [(&str, Option<&str>); 9] = [
    ("type", None),
    ("payload", None),
    ("source", None),
    ("id", Some(header::ID)),
    ("time", Some(header::TIME)),
    ("aggregate_version", Some(header::AGGREGATE_VERSION)),
    ("correlation_id", Some(header::CORRELATION_ID)),
    ("causation_id", Some(header::CAUSATION_ID)),
    ("traceparent", Some(header::TRACEPARENT)),
];

/// Reads and checks every event: one object, an array, or one after the other.
///
/// # Errors
/// Every problem, each with the number of its event (from 1) and the path in it.
pub fn prepare(text: &str, source: &str) -> Result<Vec<OutgoingEvent>, Vec<String>> {
    let values = values(text).map_err(|problem| vec![problem])?;
    if values.is_empty() {
        return Err(vec!["holds no event".to_owned()]);
    }
    let mut events = Vec::with_capacity(values.len());
    let mut problems = Vec::new();
    for (index, value) in values.iter().enumerate() {
        match event(value, source) {
            Ok(event) => events.push(event),
            Err(found) => {
                let which = named(index + 1, value);
                problems.extend(found.iter().map(|problem| format!("{which}: {problem}")));
            }
        }
    }
    if problems.is_empty() {
        Ok(events)
    } else {
        Err(problems)
    }
}

fn values(text: &str) -> Result<Vec<Value>, String> {
    let mut values = Vec::new();
    for value in Deserializer::from_str(text).into_iter::<Value>() {
        match value {
            Ok(Value::Array(items)) => values.extend(items),
            Ok(value) => values.push(value),
            Err(error) => return Err(format!("is not JSON: {error}")),
        }
    }
    Ok(values)
}

fn named(number: usize, value: &Value) -> String {
    match value.get("type").and_then(Value::as_str) {
        Some(event) => format!("event {number} ({event})"),
        None => format!("event {number}"),
    }
}

fn event(value: &Value, source: &str) -> Result<OutgoingEvent, Vec<String>> {
    let Value::Object(fields) = value else {
        return Err(vec![format!("is no object: {}", shortened(value))]);
    };
    let mut problems = unknown_fields(fields);
    let mut text = |name: &str, default: Option<&str>| match (fields.get(name), default) {
        (Some(Value::String(text)), _) => text.clone(),
        (None, Some(default)) => default.to_owned(),
        (found, _) => {
            problems.push(not_a_text(name, found));
            String::new()
        }
    };
    let event_type = text("type", None);
    let source = text("source", Some(source));
    let payload = fields.get("payload").filter(|payload| payload.is_object());
    if payload.is_none() {
        let example = EventType::from_name(&event_type)
            .map(|event| format!(", by {}", event.contract().schema_file))
            .unwrap_or_default();
        problems.push(format!("payload: required, an object{example}"));
    }
    let meta = meta(fields, &mut problems);
    match payload {
        Some(payload) if problems.is_empty() => {
            OutgoingEvent::from_json(&event_type, payload, meta, &source).map_err(|e| lines(&e))
        }
        _ => Err(problems),
    }
}

fn unknown_fields(fields: &Map<String, Value>) -> Vec<String> {
    let known = || FIELDS.iter().map(|(name, _)| *name);
    let unknown = fields
        .keys()
        .filter(|name| known().all(|known| known != name.as_str()));
    unknown
        .map(|name| {
            let nearest = known().max_by(|one, other| {
                strsim::jaro_winkler(one, name).total_cmp(&strsim::jaro_winkler(other, name))
            });
            format!(
                "{name}: unknown field; did you mean {}?",
                nearest.unwrap_or_default()
            )
        })
        .collect()
}

fn not_a_text(name: &str, found: Option<&Value>) -> String {
    match found {
        None => format!("{name}: required, a text"),
        Some(value) => format!("{name}: {} is not a text", shortened(value)),
    }
}

fn meta(fields: &Map<String, Value>, problems: &mut Vec<String>) -> Meta {
    let mut meta = Meta::new();
    for (name, header) in FIELDS {
        let (Some(header), Some(value)) = (header, fields.get(name)) else {
            continue;
        };
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) if name == "aggregate_version" => number.to_string(),
            other => {
                problems.push(format!(
                    "{name}: {} is not what belongs here",
                    shortened(other)
                ));
                continue;
            }
        };
        match meta.clone().header(header, &text) {
            Ok(changed) => meta = changed,
            Err(PublishError::Attribute(wrong)) => {
                problems.push(format!(
                    "{name}: {:?} is not {}",
                    wrong.value, wrong.expected
                ));
            }
            Err(other) => problems.push(format!("{name}: {other}")),
        }
    }
    meta
}

/// An error as lines that name the place in the file.
fn lines(error: &PublishError) -> Vec<String> {
    match error {
        PublishError::Payload(mismatch) => mismatch
            .problems
            .iter()
            .map(|problem| match problem.path.as_str() {
                "" => format!("payload: {}", problem.what),
                path => format!("payload.{path}: {}", problem.what),
            })
            .collect(),
        PublishError::UnknownEvent { .. } => vec![format!("type: {error}")],
        PublishError::NoAggregateVersion(event) => vec![format!(
            "aggregate_version: required, since {event} carries state and its readers keep only \
             the newest"
        )],
        PublishError::Attribute(wrong) => {
            let field = FIELDS
                .iter()
                .find(|(_, header)| *header == Some(wrong.name.as_str()));
            let name = field.map_or(wrong.name.trim_start_matches("ce_"), |(name, _)| *name);
            vec![format!(
                "{name}: {:?} is not {}",
                wrong.value, wrong.expected
            )]
        }
        other => vec![other.to_string()],
    }
}

/// How much of a value an error repeats.
const SHOWN_CHARACTERS: usize = 60;

fn shortened(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN_CHARACTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
#[path = "input_tests.rs"]
mod tests;

//! Every contract as it stands in the repository: examples, golden bytes, evolution.
#![allow(clippy::unwrap_used, clippy::panic)]

use events::{
    DecodeError, Envelope, Event, EventId, EventType, Json, Payload, SchemaError, WriterSchema,
    encode, plain_json,
};
use std::fs;
use std::path::{Path, PathBuf};
use uuid::Uuid;

fn avro() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../avro")
}

fn example_json(event_type: EventType) -> serde_json::Value {
    let path = avro().join(format!("examples/{event_type}.json"));
    serde_json::from_str(
        &fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())),
    )
    .unwrap()
}

fn example(event_type: EventType) -> Payload {
    plain_json::read(event_type, &example_json(event_type)).unwrap()
}

fn envelope(event_type: &str) -> Envelope {
    Envelope {
        id: EventId(Uuid::from_u128(0x0198_b0e2_7c00_7000_8000_0000_0000_0001)),
        event_type: event_type.to_owned(),
        source: "test".to_owned(),
        time: chrono::DateTime::from_timestamp(1_780_000_000, 0).unwrap(),
        subject: "0198b0e2-7c00-7000-8000-0000000000aa".to_owned(),
        aggregate_version: Some(1),
        correlation_id: None,
        causation_id: None,
        traceparent: None,
    }
}

/// The released versions of an event's schema, oldest first.
fn released(event_type: EventType) -> Vec<(String, String)> {
    let short = event_type
        .contract()
        .schema_file
        .trim_start_matches("avro/")
        .trim_end_matches(".avsc");
    let folder = avro().join("released").join(short);
    let mut versions: Vec<(u32, String, String)> = fs::read_dir(&folder)
        .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
        .map(|entry| {
            let path = entry.unwrap().path();
            let version = path.file_stem().unwrap().to_string_lossy().into_owned();
            (
                version[1..].parse().unwrap(),
                version,
                fs::read_to_string(path).unwrap(),
            )
        })
        .collect();
    versions.sort();
    versions
        .into_iter()
        .map(|(_, version, text)| (version, text))
        .collect()
}

#[test]
fn every_example_survives_json_to_typed_to_avro_and_back() {
    for event_type in EventType::ALL {
        let json = example_json(event_type);
        let payload = example(event_type);
        let datum = encode(&payload).unwrap();
        let event = Event::decode(
            envelope(event_type.contract().name),
            WriterSchema::of_contract(event_type),
            &datum,
            Json::Wanted,
        )
        .unwrap();
        assert_eq!(event.payload.as_ref(), Some(&payload), "{event_type}");
        let written: serde_json::Value = serde_json::from_str(&event.json.unwrap()).unwrap();
        let read_back = plain_json::read(event_type, &written).unwrap();
        assert_eq!(read_back, payload, "{event_type}");
        for (field, value) in json.as_object().unwrap() {
            if value.is_string() && !field.ends_with("_at") && !field.ends_with("_time") {
                assert_eq!(&written[field], value, "{event_type}.{field}");
            }
        }
    }
}

/// `BLESS=1 cargo test -p fleet-events` writes the files for versions that have none yet.
#[test]
fn golden_bytes_of_every_released_version_still_decode_to_the_same_content() {
    for event_type in EventType::ALL {
        for (version, schema_text) in released(event_type) {
            let path = avro().join(format!("golden/{event_type}.{version}.hex"));
            let schema = WriterSchema::parse(&schema_text).unwrap();
            if std::env::var_os("BLESS").is_some() && !path.exists() {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(&path, hex(&datum_of_version(event_type, &schema_text))).unwrap();
            }
            let golden =
                fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            let datum = unhex(&golden);
            let event = Event::decode(
                envelope(event_type.contract().name),
                &schema,
                &datum,
                Json::Unwanted,
            )
            .unwrap_or_else(|e| panic!("{event_type} {version}: {e}"));
            assert_eq!(
                event.payload,
                Some(example_as_read_from(event_type, &schema_text)),
                "{event_type} {version}"
            );
        }
    }
}

/// The example without the fields that this version's writer did not know yet, as we read it: they
/// hold our defaults.
fn example_as_read_from(event_type: EventType, schema_text: &str) -> Payload {
    let mut json = example_json(event_type);
    let schema: serde_json::Value = serde_json::from_str(schema_text).unwrap();
    let known: Vec<&str> = schema["fields"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| f["name"].as_str().unwrap())
        .collect();
    json.as_object_mut()
        .unwrap()
        .retain(|field, _| known.contains(&field.as_str()));
    plain_json::read(event_type, &json).unwrap()
}

/// The example as a writer of that version would have written it, by apache-avro alone.
fn datum_of_version(event_type: EventType, schema_text: &str) -> Vec<u8> {
    use apache_avro::reader::datum::GenericDatumReader;
    use apache_avro::writer::datum::GenericDatumWriter;
    let current = apache_avro::Schema::parse_str(event_type.contract().schema).unwrap();
    let older = apache_avro::Schema::parse_str(schema_text).unwrap();
    let datum = encode(&example(event_type)).unwrap();
    let value = GenericDatumReader::builder(&current)
        .reader_schema(&older)
        .build()
        .unwrap()
        .read_value(&mut datum.as_slice())
        .unwrap();
    GenericDatumWriter::builder(&older)
        .build()
        .unwrap()
        .write_value_to_vec(value)
        .unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .chunks(40)
        .map(|line| line.iter().map(|b| format!("{b:02x}")).collect::<String>() + "\n")
        .collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

#[test]
fn apache_avro_reads_from_our_bytes_what_it_reads_from_its_own() {
    for event_type in EventType::ALL {
        let text = event_type.contract().schema;
        let schema = apache_avro::Schema::parse_str(text).unwrap();
        let reader = apache_avro::reader::datum::GenericDatumReader::builder(&schema)
            .build()
            .unwrap();
        let read = |datum: &[u8]| reader.read_value(&mut &*datum).unwrap();
        let own = encode(&example(event_type)).unwrap();
        assert_eq!(
            read(&own),
            read(&datum_of_version(event_type, text)),
            "{event_type}"
        );
    }
}

#[test]
fn every_current_schema_is_released() {
    for event_type in EventType::ALL {
        let versions = released(event_type);
        let newest: serde_json::Value = serde_json::from_str(&versions.last().unwrap().1).unwrap();
        let current: serde_json::Value =
            serde_json::from_str(event_type.contract().schema).unwrap();
        assert_eq!(
            newest, current,
            "{event_type}: release the schema as the next version"
        );
    }
}

fn enrolled_schema() -> serde_json::Value {
    serde_json::from_str(EventType::CourseEnrolled.contract().schema).unwrap()
}

/// Edits the schema of COURSE_ENROLLED as another writer might have it.
fn written_by(edit: impl FnOnce(&mut Vec<serde_json::Value>)) -> String {
    let mut schema = enrolled_schema();
    edit(schema["fields"].as_array_mut().unwrap());
    schema.to_string()
}

fn read_enrolled(schema_text: &str, json: &serde_json::Value) -> Result<Event, DecodeError> {
    let parsed = apache_avro::Schema::parse_str(schema_text).unwrap();
    let value = apache_avro::types::Value::try_from(json.clone())
        .unwrap()
        .resolve(&parsed)
        .unwrap();
    let datum = apache_avro::writer::datum::GenericDatumWriter::builder(&parsed)
        .build()
        .unwrap()
        .write_value_to_vec(value)
        .unwrap();
    let schema = WriterSchema::parse(schema_text).unwrap();
    Event::decode(envelope("COURSE_ENROLLED"), &schema, &datum, Json::Wanted)
}

/// The example of COURSE_ENROLLED in Avro's own JSON-like values.
fn enrolled_values() -> serde_json::Value {
    let mut json = example_json(EventType::CourseEnrolled);
    json["enrolled_at"] = serde_json::json!(1_780_000_000_000_000_i64);
    json
}

#[test]
fn a_field_that_the_writer_does_not_know_takes_the_default_of_our_schema() {
    let older = written_by(|fields| fields.retain(|f| f["name"] != "client"));
    let mut json = enrolled_values();
    json.as_object_mut().unwrap().remove("client");
    let event = read_enrolled(&older, &json).unwrap();
    let Some(Payload::CourseEnrolled(enrolled)) = event.payload else {
        panic!("another event")
    };
    assert_eq!(enrolled.client, "web");
}

#[test]
fn a_field_that_only_the_writer_knows_is_ignored_but_stays_in_the_json() {
    let newer = written_by(|fields| {
        fields.insert(
            2,
            serde_json::json!({"name": "campaign", "type": "string", "default": ""}),
        );
    });
    let mut json = enrolled_values();
    json["campaign"] = "spring".into();
    let event = read_enrolled(&newer, &json).unwrap();
    assert!(matches!(event.payload, Some(Payload::CourseEnrolled(_))));
    assert!(event.json.unwrap().contains("\"campaign\":\"spring\""));
}

#[test]
fn an_int_of_the_writer_is_read_as_our_long() {
    let schema_text = EventType::LessonCompleted.contract().schema.replace(
        "\"name\": \"learning_seconds\",",
        "\"name\": \"learning_seconds\", \"was\": \"int\",",
    );
    let mut schema: serde_json::Value = serde_json::from_str(&schema_text).unwrap();
    for field in schema["fields"].as_array_mut().unwrap() {
        if field["name"] == "learning_seconds" {
            field["type"] = "int".into();
        }
    }
    let text = schema.to_string();
    let Payload::LessonCompleted(example) = example(EventType::LessonCompleted) else {
        panic!()
    };
    // Avro writes an int and a long of the same value with the same bytes.
    let datum = encode(&Payload::LessonCompleted(example.clone())).unwrap();
    let event = Event::decode(
        envelope("LESSON_COMPLETED"),
        &WriterSchema::parse(&text).unwrap(),
        &datum,
        Json::Unwanted,
    )
    .unwrap();
    assert_eq!(event.payload, Some(Payload::LessonCompleted(example)));
}

#[test]
fn a_symbol_that_only_the_writer_knows_reads_as_the_enums_default() {
    let newer = EventType::CourseEnrolled
        .contract()
        .schema
        .replace("\"free\",", "\"free\", \"voucher\",");
    let mut json = enrolled_values();
    json["enrollment_source"] = "voucher".into();
    let event = read_enrolled(&newer, &json).unwrap();
    let Some(Payload::CourseEnrolled(enrolled)) = event.payload else {
        panic!("another event")
    };
    assert_eq!(
        enrolled.enrollment_source,
        events::EnrollmentSource::Unrecognized
    );
}

#[test]
fn milliseconds_are_never_read_as_microseconds() {
    let text = EventType::CourseEnrolled
        .contract()
        .schema
        .replace("timestamp-micros", "timestamp-millis");
    let error = WriterSchema::parse(&text).unwrap_err();
    assert!(
        matches!(&error, SchemaError::LogicalType { path, .. } if path == "enrolled_at"),
        "{error}"
    );
}

#[test]
fn bytes_that_are_cut_short_or_too_long_are_malformed_at_every_length() {
    let schema = WriterSchema::of_contract(EventType::CourseEnrolled);
    let datum = encode(&example(EventType::CourseEnrolled)).unwrap();
    let decode =
        |bytes: &[u8]| Event::decode(envelope("COURSE_ENROLLED"), schema, bytes, Json::Wanted);
    for length in 0..datum.len() {
        assert!(
            decode(&datum[..length]).is_err(),
            "{length} of {} bytes",
            datum.len()
        );
    }
    let mut longer = datum.clone();
    longer.push(0);
    assert!(matches!(
        decode(&longer),
        Err(DecodeError::TrailingBytes(1))
    ));
    assert!(decode(&datum).is_ok());
}

#[test]
fn a_schema_of_another_event_is_a_contract_violation_that_names_both() {
    let datum = encode(&example(EventType::CourseEnrolled)).unwrap();
    let error = Event::decode(
        envelope("COURSE_COMPLETED"),
        WriterSchema::of_contract(EventType::CourseEnrolled),
        &datum,
        Json::Unwanted,
    )
    .unwrap_err()
    .to_string();
    assert!(
        error.contains("CourseEnrolled") && error.contains("CourseCompleted"),
        "{error}"
    );
}

#[test]
fn an_event_that_this_build_does_not_know_is_still_read_by_its_writers_schema() {
    let event = Event::decode(
        envelope("COURSE_TRANSLATED"),
        WriterSchema::of_contract(EventType::CourseEnrolled),
        &encode(&example(EventType::CourseEnrolled)).unwrap(),
        Json::Wanted,
    )
    .unwrap();
    assert_eq!(event.payload, None);
    let json: serde_json::Value = serde_json::from_str(&event.json.unwrap()).unwrap();
    assert_eq!(
        json["course_id"],
        example_json(EventType::CourseEnrolled)["course_id"]
    );
}

fn content_hash(schema_text: &str, json: &serde_json::Value) -> events::ContentHash {
    read_enrolled(schema_text, json).unwrap().content_hash
}

#[test]
fn the_content_hash_survives_an_upgrade_of_the_producers_schema() {
    let current = EventType::CourseEnrolled.contract().schema.to_owned();
    let mut json = enrolled_values();
    json["client"] = "web".into();
    let hash = content_hash(&current, &json);

    let older = written_by(|fields| fields.retain(|f| f["name"] != "client"));
    let mut without = json.clone();
    without.as_object_mut().unwrap().remove("client");
    assert_eq!(
        content_hash(&older, &without),
        hash,
        "a defaulted field was added since"
    );

    let reordered = written_by(|fields| fields.reverse());
    assert_eq!(
        content_hash(&reordered, &json),
        hash,
        "the order of fields is no content"
    );

    let nested = written_by(|fields| {
        fields.push(
            serde_json::json!({"name": "origin", "default": {"page": "home", "tags": ["a"]},
            "type": {"type": "record", "name": "Origin", "fields": [
                {"name": "page", "type": "string"},
                {"name": "tags", "type": {"type": "array", "items": "string"}},
                {"name": "position", "type": "int", "default": 3}]}}),
        );
    });
    let mut with_nested = json.clone();
    with_nested["origin"] = serde_json::json!({"page": "home", "tags": ["a"], "position": 3});
    assert_eq!(
        content_hash(&nested, &with_nested),
        hash,
        "a nested default is left out too"
    );
    with_nested["origin"]["tags"] = serde_json::json!(["b"]);
    assert_ne!(
        content_hash(&nested, &with_nested),
        hash,
        "another value is other content"
    );
}

#[test]
fn the_content_hash_tells_other_content_type_and_subject_apart() {
    let schema = EventType::CourseEnrolled.contract().schema;
    let json = enrolled_values();
    let mut other = json.clone();
    other["client"] = "mobile".into();
    assert_ne!(content_hash(schema, &other), content_hash(schema, &json));

    let datum = encode(&example(EventType::CourseEnrolled)).unwrap();
    let own = WriterSchema::of_contract(EventType::CourseEnrolled);
    let hash = |envelope| {
        Event::decode(envelope, own, &datum, Json::Unwanted)
            .unwrap()
            .content_hash
    };
    let first = envelope("COURSE_ENROLLED");
    let mut later = first.clone();
    later.time += chrono::TimeDelta::hours(1);
    later.traceparent = Some("00-a-b-01".to_owned());
    assert_eq!(
        hash(first.clone()),
        hash(later),
        "time and trace are no content"
    );
    let mut elsewhere = first.clone();
    elsewhere.subject = "another".to_owned();
    assert_ne!(hash(first), hash(elsewhere));
}

#[test]
fn the_key_must_be_the_contracts_field_in_lowercase_uuid_text() {
    let payload = example(EventType::CourseEnrolled);
    let key = payload.key().to_string();
    let event = Event::decode(
        envelope("COURSE_ENROLLED"),
        WriterSchema::of_contract(EventType::CourseEnrolled),
        &encode(&payload).unwrap(),
        Json::Unwanted,
    )
    .unwrap();
    assert!(event.check_key(Some(key.as_bytes())).is_ok());
    assert!(
        event
            .check_key(Some(key.to_uppercase().as_bytes()))
            .is_err()
    );
    let error = event.check_key(None).unwrap_err().to_string();
    assert!(
        error.contains("user_id") && error.contains("missing"),
        "{error}"
    );
}

#[test]
fn json_that_does_not_fit_lists_every_problem_with_its_path() {
    let mut json = example_json(EventType::UserRegistered);
    json.as_object_mut().unwrap().remove("user_id");
    json["personal"]["email"] = serde_json::json!(7);
    json["nickname"] = "x".into();
    let error = plain_json::read(EventType::UserRegistered, &json).unwrap_err();
    let paths: Vec<&str> = error.problems.iter().map(|p| p.path.as_str()).collect();
    assert!(paths.contains(&"user_id"), "{error}");
    assert!(paths.contains(&"personal.email"), "{error}");
    assert!(paths.contains(&"nickname"), "{error}");
}

//! Tests of what can become an outgoing event.

use super::*;
use crate::Fault;
use std::path::Path;

fn example(event: EventType) -> serde_json::Value {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../avro/examples/{event}.json"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn from_example(event: EventType, meta: Meta) -> Result<OutgoingEvent, PublishError> {
    OutgoingEvent::from_json(event.contract().name, &example(event), meta, "test-service")
}

#[test]
fn topic_key_and_subject_follow_from_the_payload() {
    for event in EventType::ALL {
        let contract = event.contract();
        let outgoing = from_example(event, Meta::new().aggregate_version(1)).unwrap();
        assert_eq!(outgoing.topic(), contract.topic.name);
        assert_eq!(
            outgoing.key().to_string(),
            example(event)[contract.key_field],
            "{event}"
        );
        let subject = &example(event)[contract.subject_field];
        assert_eq!(
            outgoing.envelope().subject,
            subject.as_str().unwrap(),
            "{event}"
        );
        assert_eq!(outgoing.envelope().event_type, contract.name);
        assert_eq!(outgoing.envelope().source, "test-service");
    }
}

#[test]
fn an_event_that_carries_state_needs_a_version() {
    for event in EventType::ALL {
        let outcome = from_example(event, Meta::new());
        assert_eq!(outcome.is_err(), event.contract().carries_state, "{event}");
        if let Err(error) = outcome {
            assert!(error.to_string().contains("aggregate_version"), "{error}");
            assert_eq!(error.fault(), Fault::Event);
        }
    }
}

#[test]
fn a_payload_that_does_not_fit_is_refused_with_every_problem() {
    let mut payload = example(EventType::CourseEnrolled);
    payload["user_id"] = 7.into();
    payload["shoe_size"] = 44.into();
    let error =
        OutgoingEvent::from_json("COURSE_ENROLLED", &payload, Meta::new(), "s").unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("user_id") && text.contains("shoe_size"),
        "{text}"
    );
    assert_eq!(error.fault(), Fault::Event);
}

#[test]
fn an_unknown_event_an_empty_source_and_a_bad_attribute_are_the_events_fault() {
    let payload = example(EventType::CourseEnrolled);
    let outcomes = [
        OutgoingEvent::from_json("COURSE_ENROLED", &payload, Meta::new(), "s"),
        OutgoingEvent::from_json("COURSE_ENROLLED", &payload, Meta::new(), ""),
        OutgoingEvent::from_json(
            "COURSE_ENROLLED",
            &payload,
            Meta::new().traceparent("x"),
            "s",
        ),
    ];
    for outcome in outcomes {
        assert_eq!(outcome.unwrap_err().fault(), Fault::Event);
    }
}

#[test]
fn an_address_beside_the_payload_must_say_what_the_payload_says() {
    let outgoing = from_example(EventType::CourseEnrolled, Meta::new()).unwrap();
    let (key, subject) = (
        outgoing.key().to_string(),
        outgoing.envelope().subject.clone(),
    );
    outgoing.check_address(&key, &subject).unwrap();
    let error = outgoing
        .check_address(&subject, &subject)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("key") && error.contains("user_id") && error.contains(&key),
        "{error}"
    );
    let error = outgoing.check_address(&key, "").unwrap_err().to_string();
    assert!(
        error.contains("subject") && error.contains("course_id"),
        "{error}"
    );
    assert!(
        outgoing
            .check_address(&key.to_uppercase(), &subject)
            .is_err()
    );
}

//! Tests of how files are read.

use super::*;
use serde_json::json;

fn unfollowed() -> Value {
    json!({
        "type": "COURSE_UNFOLLOWED",
        "payload": {
            "user_id": "019cad9c-9140-7210-b10c-3412994f89ce",
            "follow_target": "category",
            "followed_id": "0199041c-7d40-7db2-8d3b-74c999af70f0",
            "unfollowed_at": "2026-05-01T12:00:00Z"
        }
    })
}

fn changed(edit: impl FnOnce(&mut Value)) -> String {
    let mut event = unfollowed();
    edit(&mut event);
    event.to_string()
}

/// The only problem of a file.
fn problem(text: &str) -> String {
    let mut problems = prepare(text, "test").unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:#?}");
    problems.remove(0)
}

#[test]
fn one_event_an_array_and_one_a_line_are_all_read_in_order() {
    let one = unfollowed().to_string();
    let pretty = serde_json::to_string_pretty(&unfollowed()).unwrap();
    for (text, count) in [
        (one.clone(), 1),
        (pretty.clone(), 1),
        (format!("[{one},{pretty}]"), 2),
        (format!("{one}\n{one}\n\n{one}\n"), 3),
    ] {
        assert_eq!(prepare(&text, "test").unwrap().len(), count, "{text}");
    }
}

#[test]
fn what_is_given_stands_in_the_envelope_and_the_rest_has_defaults() {
    let event = prepare(&unfollowed().to_string(), "course-service")
        .unwrap()
        .remove(0);
    assert_eq!(event.envelope().source, "course-service");
    assert_eq!(event.envelope().id.0.get_version_num(), 7);

    let text = changed(|event| {
        event["id"] = "0198b0e2-7c00-7000-8000-000000000001".into();
        event["time"] = "2026-05-01T14:00:00+02:00".into();
        event["source"] = "progress-service".into();
        event["aggregate_version"] = 7.into();
        event["correlation_id"] = "order-1".into();
        event["causation_id"] = "cause-1".into();
        event["traceparent"] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into();
    });
    let event = prepare(&text, "other").unwrap().remove(0);
    let envelope = event.envelope();
    assert_eq!(
        envelope.id.to_string(),
        "0198b0e2-7c00-7000-8000-000000000001"
    );
    assert_eq!(envelope.time.to_rfc3339(), "2026-05-01T12:00:00+00:00");
    assert_eq!(envelope.source, "progress-service");
    assert_eq!(envelope.aggregate_version, Some(7));
    assert_eq!(envelope.correlation_id.as_deref(), Some("order-1"));
    assert_eq!(envelope.causation_id.as_deref(), Some("cause-1"));
    assert!(envelope.traceparent.is_some());
}

#[test]
fn each_mistake_names_event_and_path() {
    let cases: Vec<(String, &str)> = vec![
        (
            changed(|e| e["payload"]["user_id"] = 7.into()),
            "event 1 (COURSE_UNFOLLOWED): payload.user_id: 7 is not a UUID",
        ),
        (
            changed(|e| e["type"] = "COURSE_UNFOLOWED".into()),
            "event 1 (COURSE_UNFOLOWED): type: no event is called \"COURSE_UNFOLOWED\"; did you mean COURSE_UNFOLLOWED?",
        ),
        (
            changed(|e| e["kind"] = 1.into()),
            "event 1 (COURSE_UNFOLLOWED): kind: unknown field; did you mean ",
        ),
        (
            changed(|e| e["payload"] = "x".into()),
            "payload: required, an object, by avro/progress/CourseUnfollowed.avsc",
        ),
        (changed(|e| e["id"] = "1".into()), "id: \"1\" is not a UUID"),
        (
            changed(|e| e["id"] = 1.into()),
            "id: 1 is not what belongs here",
        ),
        (
            changed(|e| e["time"] = "noon".into()),
            "time: \"noon\" is not an RFC 3339 time",
        ),
        (
            changed(|e| e["traceparent"] = "x".into()),
            "traceparent: \"x\" is not a W3C trace context",
        ),
        (
            changed(|e| e["correlation_id"] = "".into()),
            "correlation_id: \"\" is not a text",
        ),
        (
            changed(|e| e["source"] = "".into()),
            "source: \"\" is not a text",
        ),
        (
            changed(|e| e["aggregate_version"] = (-1).into()),
            "aggregate_version: \"-1\" is not a whole number from 0",
        ),
        (
            changed(|e| e["aggregate_version"] = "1.5".into()),
            "aggregate_version: \"1.5\" is not a whole number from 0",
        ),
        (
            "{}".to_owned() + &unfollowed().to_string(),
            "event 1: type: required, a text",
        ),
        ("[1]".to_owned(), "event 1: is no object: 1"),
        ("".to_owned(), "holds no event"),
        ("[]".to_owned(), "holds no event"),
        (
            "{\"type\": }".to_owned(),
            "is not JSON: expected value at line 1 column 10",
        ),
    ];
    for (text, expected) in cases {
        let problems = prepare(&text, "test").unwrap_err();
        assert!(
            problems[0].contains(expected),
            "{problems:#?} lacks {expected}"
        );
    }
}

#[test]
fn an_event_that_carries_state_needs_a_version() {
    let text = json!({
        "type": "USER_DELETED",
        "payload": {
            "user_id": "019cad9c-9140-7210-b10c-3412994f89ce",
            "deletion_reason": "user_request",
            "erase_personal_data": true,
            "deleted_at": "2026-05-01T12:00:00Z"
        }
    });
    let problem = problem(&text.to_string());
    assert!(problem.contains("aggregate_version: required"), "{problem}");
}

#[test]
fn every_problem_of_every_event_is_listed() {
    let first = changed(|event| {
        event["payload"]["user_id"] = 7.into();
        event["payload"]["shoe_size"] = 44.into();
    });
    let text = format!(
        "{first}\n{}\n{}",
        unfollowed(),
        changed(|e| e["id"] = "x".into())
    );
    let problems = prepare(&text, "test").unwrap_err();
    assert_eq!(problems.len(), 3, "{problems:#?}");
    assert!(problems[0].starts_with("event 1 ") && problems[1].starts_with("event 1 "));
    assert!(problems[2].starts_with("event 3 "), "{problems:#?}");
}

#[test]
fn a_value_that_is_long_is_shown_in_part() {
    let text = serde_json::to_string(&"ä".repeat(500)).unwrap();
    let problem = problem(&text);
    assert!(problem.len() < 200 && problem.ends_with('…'), "{problem}");
}

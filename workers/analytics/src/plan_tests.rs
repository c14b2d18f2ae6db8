use super::*;
use events::{Envelope, EventId, EventType, Json, WriterSchema, encode, plain_json};

fn event(name: &str, edit: impl FnOnce(&mut serde_json::Value)) -> Event {
    let event_type = EventType::from_name(name).unwrap();
    let path = format!(
        "{}/../../avro/examples/{name}.json",
        env!("CARGO_MANIFEST_DIR")
    );
    let mut json = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    edit(&mut json);
    let payload = plain_json::read(event_type, &json).unwrap();
    let envelope = Envelope {
        id: EventId(Uuid::from_u128(1)),
        event_type: name.to_owned(),
        source: "progress-service".to_owned(),
        time: "2026-05-04T23:59:59.999Z".parse().unwrap(),
        subject: payload.subject().to_string(),
        aggregate_version: None,
        correlation_id: None,
        causation_id: None,
        traceparent: None,
    };
    let schema = WriterSchema::of_contract(event_type);
    Event::decode(envelope, schema, &encode(&payload).unwrap(), Json::Wanted).unwrap()
}

const COMPANY: &str = "0198b0e2-7c00-7000-8000-00000000c0de";

#[test]
fn an_event_counts_on_its_own_utc_day() {
    let plan = plan(&event("COURSE_ENROLLED", |_| {})).unwrap();
    assert_eq!(plan.day.to_string(), "2026-05-04");
}

#[test]
fn a_lesson_adds_its_seconds_to_the_course_and_its_learner_to_the_company() {
    let lesson = event("LESSON_COMPLETED", |json| {
        json["learning_seconds"] = 240.into();
        json["company_id"] = COMPANY.into();
    });
    let Some(Payload::LessonCompleted(payload)) = &lesson.payload else {
        panic!("another event")
    };
    let plan = plan(&lesson).unwrap();
    let share = CourseShare {
        course_id: payload.course_id,
        learning_seconds: 240,
        ..CourseShare::default()
    };
    assert_eq!(plan.course, Some(share));
    let company_id = COMPANY.parse().unwrap();
    let share = CompanyShare {
        company_id,
        active_learner: Some(payload.user_id),
        certificates: 0,
    };
    assert_eq!(plan.company, Some(share));
}

#[test]
fn a_certificate_counts_for_the_company_but_is_no_activity() {
    let certificate = event("CERTIFICATE_ISSUED", |json| {
        json["company_id"] = COMPANY.into()
    });
    let plan = plan(&certificate).unwrap();
    let share = plan.company.unwrap();
    assert_eq!((share.active_learner, share.certificates), (None, 1));
    assert_eq!(plan.course, None);
}

#[test]
fn a_learner_without_a_company_counts_for_none() {
    let lesson = event("LESSON_STARTED", |json| {
        json["company_id"] = serde_json::Value::Null
    });
    assert_eq!(plan(&lesson).unwrap().company, None);
}

#[test]
fn negative_learning_time_is_rejected_with_the_reason() {
    let lesson = event("LESSON_COMPLETED", |json| {
        json["learning_seconds"] = (-5).into()
    });
    let Reject(why) = plan(&lesson).unwrap_err();
    assert!(why.contains("-5"), "{why}");
}

#[test]
fn an_unknown_event_still_names_its_user_and_company() {
    let mut unknown = event("COURSE_ENROLLED", |json| {
        json["company_id"] = COMPANY.into()
    });
    let Some(Payload::CourseEnrolled(payload)) = unknown.payload.take() else {
        panic!("another event")
    };
    let plan = plan(&unknown).unwrap();
    assert_eq!(plan.user_id, Some(payload.user_id));
    assert_eq!(plan.company_id, payload.company_id);
    assert_eq!((plan.course, plan.company), (None, None));
}

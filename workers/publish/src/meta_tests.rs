//! Tests of what an event says about itself.

use super::*;

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[test]
fn each_meta_is_a_new_event_of_version_7_and_a_clone_is_the_same_one() {
    let meta = Meta::new();
    assert_eq!(meta.id().0.get_version_num(), 7);
    assert_eq!(meta.clone(), meta);
    assert_ne!(Meta::new().id(), meta.id());
}

#[test]
fn a_traceparent_that_w3c_does_not_allow_is_refused() {
    let allowed = [
        TRACE,
        "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
    ];
    for text in allowed {
        assert_eq!(
            Meta::new().traceparent(text).check().ok(),
            Some(()),
            "{text}"
        );
    }
    let refused = [
        "",
        "0af7651916cd43dd8448eb211c80319c",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
        "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
    ];
    for text in refused {
        let problem = Meta::new().traceparent(text).check().unwrap_err();
        assert_eq!(problem.name, "traceparent", "{text}");
    }
}

#[test]
fn an_empty_or_unprintable_id_and_a_negative_version_are_refused() {
    assert!(Meta::new().correlation_id("").check().is_err());
    assert!(Meta::new().causation_id("a\nb").check().is_err());
    assert!(Meta::new().aggregate_version(-1).check().is_err());
    assert!(
        Meta::new()
            .aggregate_version(0)
            .correlation_id("order 1")
            .check()
            .is_ok()
    );
}

#[test]
fn the_headers_of_an_outbox_row_set_the_attributes_they_name() {
    let id = Uuid::now_v7();
    let headers = [
        ("ce_id", id.to_string()),
        ("ce_time", "2026-05-04T11:30:00.5+02:00".to_owned()),
        ("ce_aggregateversion", "7".to_owned()),
        ("ce_correlationid", "order-1".to_owned()),
        ("ce_causationid", "cause-1".to_owned()),
        ("traceparent", TRACE.to_owned()),
        ("ce_specversion", "1.0".to_owned()),
        ("tracestate", "a=b".to_owned()),
    ];
    let meta = headers
        .iter()
        .try_fold(Meta::new(), |meta, (name, value)| meta.header(name, value))
        .unwrap();
    assert_eq!(meta.id(), EventId(id));
    assert_eq!(meta.time.to_rfc3339(), "2026-05-04T09:30:00.500+00:00");
    assert_eq!(meta.aggregate_version, Some(7));
    assert_eq!(meta.correlation_id.as_deref(), Some("order-1"));
    assert_eq!(meta.causation_id.as_deref(), Some("cause-1"));
    assert_eq!(meta.traceparent.as_deref(), Some(TRACE));
    assert_eq!(meta.further, [("tracestate".to_owned(), "a=b".to_owned())]);
}

#[test]
fn a_header_that_the_contract_decides_or_that_is_misspelt_is_refused() {
    for (name, value) in [
        ("ce_id", "1"),
        ("ce_time", "yesterday"),
        ("ce_aggregateversion", "1.5"),
        ("ce_type", "USER_REGISTERED"),
        ("ce_subject", "x"),
        ("ce_source", "x"),
        ("ce_correlation_id", "x"),
        ("ce_specversion", "0.3"),
    ] {
        let error = Meta::new().header(name, value).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }
}

#[test]
fn an_event_caused_by_another_carries_on_its_correlation_and_trace() {
    let cause = Envelope {
        id: EventId(Uuid::now_v7()),
        event_type: "COURSE_COMPLETED".to_owned(),
        source: "progress-service".to_owned(),
        time: Utc::now(),
        subject: "x".to_owned(),
        aggregate_version: None,
        correlation_id: Some("order-1".to_owned()),
        causation_id: None,
        traceparent: Some(TRACE.to_owned()),
    };
    let meta = Meta::caused_by(&cause);
    assert_eq!(meta.causation_id, Some(cause.id.to_string()));
    assert_eq!(meta.correlation_id.as_deref(), Some("order-1"));
    assert_eq!(meta.traceparent.as_deref(), Some(TRACE));
    assert_ne!(meta.id(), cause.id);

    let first = Envelope {
        correlation_id: None,
        ..cause
    };
    assert_eq!(
        Meta::caused_by(&first).correlation_id,
        Some(first.id.to_string())
    );
}

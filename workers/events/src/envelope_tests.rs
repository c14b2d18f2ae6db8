use super::*;
use proptest::prelude::*;

fn complete() -> Vec<(&'static str, String)> {
    vec![
        ("ce_specversion", "1.0".into()),
        ("ce_id", "0198b0e2-7c00-7000-8000-000000000001".into()),
        ("ce_type", "USER_REGISTERED".into()),
        ("ce_source", "iam-service".into()),
        ("ce_time", "2026-05-04T09:30:00.123456Z".into()),
        ("ce_subject", "0198b0e2-7c00-7000-8000-0000000000aa".into()),
        ("ce_aggregateversion", "1".into()),
    ]
}

fn parse(headers: &[(&'static str, String)]) -> Result<Envelope, ContractViolation> {
    Envelope::from_headers(headers.iter().map(|(n, v)| (*n, Some(v.as_bytes()))))
}

#[test]
fn a_complete_envelope_survives_the_round_trip() {
    let mut headers = complete();
    headers.push(("ce_correlationid", "checkout-7".into()));
    headers.push((
        "ce_causationid",
        "0198b0e2-7c00-7000-8000-0000000000bb".into(),
    ));
    headers.push((
        "traceparent",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into(),
    ));
    let envelope = parse(&headers).unwrap();
    assert_eq!(parse(&envelope.to_headers()).unwrap(), envelope);
}

#[test]
fn every_missing_required_attribute_is_named() {
    for missing in [
        "ce_specversion",
        "ce_id",
        "ce_type",
        "ce_source",
        "ce_time",
        "ce_subject",
    ] {
        let headers: Vec<_> = complete()
            .into_iter()
            .filter(|(n, _)| *n != missing)
            .collect();
        assert_eq!(parse(&headers), Err(ContractViolation::Missing(missing)));
    }
}

#[test]
fn an_event_that_carries_state_needs_its_version() {
    let headers: Vec<_> = complete()
        .into_iter()
        .filter(|(n, _)| *n != "ce_aggregateversion")
        .collect();
    assert_eq!(
        parse(&headers),
        Err(ContractViolation::Missing("ce_aggregateversion"))
    );
}

#[test]
fn malformed_attributes_are_named_with_what_is_expected() {
    for (name, value) in [
        ("ce_specversion", "0.3"),
        ("ce_time", "yesterday"),
        ("ce_aggregateversion", "-1"),
        ("ce_aggregateversion", "one"),
    ] {
        let mut headers = complete();
        headers.retain(|(n, _)| *n != name);
        headers.push((name, value.into()));
        let error = parse(&headers).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains(value), "{error}");
    }
}

#[test]
fn an_id_that_is_no_uuid_maps_to_one_stable_id_per_source() {
    let mut headers = complete();
    headers[1].1 = "order-17".into();
    let first = parse(&headers).unwrap().id;
    assert_eq!(first, parse(&headers).unwrap().id);
    assert_eq!(first.0.get_version_num(), 5);
    headers[3].1 = "billing-service".into();
    assert_ne!(first, parse(&headers).unwrap().id);
}

#[test]
fn an_id_derived_from_a_cause_is_stable_and_keeps_the_causes_time() {
    let cause = parse(&complete()).unwrap();
    let derive = |name, ordinal| cause.id.derived(cause.time, name, ordinal);
    let first = derive("FEEDBACK_REQUESTED", 0);
    assert_eq!(first, derive("FEEDBACK_REQUESTED", 0));
    assert_eq!(first.0.get_version_num(), 7);
    assert_eq!(first.0.as_u128() >> 80, cause.id.0.as_u128() >> 80);
    assert_ne!(first, derive("FEEDBACK_REQUESTED", 1));
    assert_ne!(first, derive("USAGE_LIMIT_EXCEEDED", 0));
}

#[test]
fn a_time_in_another_zone_is_the_same_moment() {
    let mut headers = complete();
    headers[4].1 = "2026-05-04T06:30:00.123456-03:00".into();
    assert_eq!(
        parse(&headers).unwrap().time,
        parse(&complete()).unwrap().time
    );
}

proptest! {
    #[test]
    fn no_header_values_make_the_parser_panic(
        values in proptest::collection::vec(proptest::option::of(any::<Vec<u8>>()), 10)
    ) {
        let names = ["ce_specversion", "ce_id", "ce_type", "ce_source", "ce_time", "ce_subject",
            "ce_aggregateversion", "ce_correlationid", "ce_causationid", "traceparent"];
        let headers = names.iter().zip(&values).map(|(n, v)| (*n, v.as_deref()));
        let _ = Envelope::from_headers(headers);
    }
}

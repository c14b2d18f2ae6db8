//! The conventions that every event schema keeps, and that the platform's own contracts do.

use events::compatibility::{Rule, Version, Violation, check, house_rules};
use std::fs;
use std::path::{Path, PathBuf};

/// An event that keeps every house rule; each test breaks one by replacing a piece of it.
const GOOD: &str = r#"{
  "type": "record", "name": "CourseGifted", "namespace": "com.learnexpert.billing", "doc": "A course was given.",
  "fields": [
    {"name": "user_id", "doc": "The giver.", "type": {"type": "string", "logicalType": "uuid"}},
    {"name": "given_at", "doc": "When.", "type": {"type": "long", "logicalType": "timestamp-micros"}},
    {"name": "message_length", "doc": "Characters.", "type": "int"},
    {"name": "occasion", "doc": "Why; null if untold.", "type": ["null", "string"], "default": null},
    {"name": "price", "doc": "What was paid.", "type": {
      "type": "record", "name": "Money", "namespace": "com.learnexpert.common", "doc": "Money.", "fields": [
        {"name": "amount_minor", "doc": "In minor units.", "type": "long"},
        {"name": "currency", "doc": "ISO 4217 code.", "type": "string"}]}},
    {"name": "wrapping", "doc": "Which.", "type": {
      "type": "enum", "name": "Wrapping", "doc": "Wrapping.", "symbols": ["plain", "unrecognized"], "default": "unrecognized"}},
    {"name": "personal", "doc": "Personal data.", "type": {
      "type": "record", "name": "CourseGiftedPersonal", "doc": "The people.", "fields": [
        {"name": "email", "doc": "Of the recipient.", "type": "string"}]}}
  ]
}"#;

fn broken(piece: &str, by: &str) -> Vec<Violation> {
    assert!(GOOD.contains(piece), "{piece} is no piece of the schema");
    house_rules(&GOOD.replacen(piece, by, 1))
}

fn assert_one(found: &[Violation], rule: Rule, path: &str) {
    let seen: Vec<(Rule, &str)> = found
        .iter()
        .map(|one| (one.rule, one.path.as_str()))
        .collect();
    assert_eq!(seen, [(rule, path)], "{found:#?}");
    assert!(found[0].to_string().contains("; fix: "), "{}", found[0]);
}

#[test]
fn a_schema_that_keeps_the_house_rules_has_nothing_to_report() {
    assert_eq!(house_rules(GOOD), []);
}

#[test]
fn a_record_without_doc_is_refused() {
    assert_one(
        &broken(r#""doc": "A course was given.","#, ""),
        Rule::DocMissing,
        "",
    );
}

#[test]
fn a_field_with_a_blank_doc_is_refused() {
    assert_one(
        &broken(r#""doc": "Characters.""#, r#""doc": "  ""#),
        Rule::DocMissing,
        "message_length",
    );
}

#[test]
fn an_enum_without_doc_is_refused_under_its_own_name() {
    let found = broken(r#""doc": "Wrapping.","#, "");
    assert_one(&found, Rule::DocMissing, "com.learnexpert.billing.Wrapping");
}

#[test]
fn types_that_events_do_not_use_are_refused() {
    for kind in [
        r#""float""#,
        r#""bytes""#,
        r#"{"type": "bytes", "logicalType": "decimal", "precision": 10, "scale": 2}"#,
        r#"{"type": "long", "logicalType": "timestamp-millis"}"#,
        r#"{"type": "int", "logicalType": "date"}"#,
        r#"{"type": "array", "items": "float"}"#,
        r#"["null", "int"]"#,
        r#"["int", "null"]"#,
        r#"["null", "int", "string"]"#,
    ] {
        let found = broken(
            r#""Characters.", "type": "int""#,
            &format!(r#""Characters.", "type": {kind}"#),
        );
        assert!(!found.is_empty(), "{kind}");
        for violation in found {
            assert_eq!(
                (violation.rule, violation.path.as_str()),
                (Rule::TypeNotAllowed, "message_length"),
                "{kind}"
            );
        }
    }
}

#[test]
fn an_optional_field_without_the_default_null_is_refused() {
    assert_one(
        &broken(
            r#"["null", "string"], "default": null"#,
            r#"["null", "string"]"#,
        ),
        Rule::TypeNotAllowed,
        "occasion",
    );
}

#[test]
fn a_fixed_type_is_refused() {
    let fixed = r#""Characters.", "type": {"type": "fixed", "name": "Hash", "size": 16}"#;
    let found = broken(r#""Characters.", "type": "int""#, fixed);
    assert_one(&found, Rule::TypeNotAllowed, "com.learnexpert.billing.Hash");
}

#[test]
fn an_enum_without_the_unrecognized_default_is_refused() {
    let found = broken(r#", "default": "unrecognized""#, "");
    assert_one(
        &found,
        Rule::EnumDefaultMissing,
        "com.learnexpert.billing.Wrapping",
    );
}

#[test]
fn an_amount_of_money_as_a_bare_number_is_refused() {
    for name in ["price_cents", "total_amount", "shipping_cost", "fee"] {
        let found = broken(
            r#""name": "message_length""#,
            &format!(r#""name": "{name}""#),
        );
        assert_one(&found, Rule::Money, name);
    }
}

#[test]
fn a_count_of_something_else_may_carry_a_word_of_money() {
    assert_eq!(
        broken(
            r#""name": "message_length""#,
            r#""name": "total_learning_seconds""#
        ),
        []
    );
    assert_eq!(
        broken(
            r#""name": "message_length""#,
            r#""name": "discount_percentage""#
        ),
        []
    );
}

#[test]
fn money_under_another_definition_is_refused() {
    let as_double = broken(
        r#""In minor units.", "type": "long""#,
        r#""In minor units.", "type": "double""#,
    );
    assert_one(&as_double, Rule::Money, "com.learnexpert.common.Money");
    let elsewhere = broken("com.learnexpert.common", "com.learnexpert.billing");
    let rules: Vec<Rule> = elsewhere.iter().map(|violation| violation.rule).collect();
    assert_eq!(
        rules,
        [Rule::Money, Rule::Money],
        "the record and its bare amount: {elsewhere:#?}"
    );
}

#[test]
fn personal_data_outside_the_personal_record_is_refused() {
    for name in [
        "email",
        "full_name",
        "recipient_email",
        "phone",
        "ip_address",
    ] {
        let found = broken(r#""name": "occasion""#, &format!(r#""name": "{name}""#));
        assert_one(&found, Rule::PersonalData, name);
    }
}

#[test]
fn a_personal_field_of_another_type_is_refused() {
    let found = broken("CourseGiftedPersonal", "CourseGiftedPeople");
    let paths: Vec<&str> = found
        .iter()
        .map(|violation| violation.path.as_str())
        .collect();
    assert!(
        found
            .iter()
            .all(|violation| violation.rule == Rule::PersonalData),
        "{found:#?}"
    );
    assert_eq!(
        paths,
        [
            "personal",
            "com.learnexpert.billing.CourseGiftedPeople.email"
        ]
    );
}

#[test]
fn a_personal_record_in_another_field_is_refused() {
    assert_one(
        &broken(r#""name": "personal""#, r#""name": "people""#),
        Rule::PersonalData,
        "people",
    );
}

#[test]
fn names_that_break_the_conventions_are_refused() {
    assert_one(
        &broken("message_length", "messageLength"),
        Rule::Naming,
        "messageLength",
    );
    assert_one(
        &broken("com.learnexpert.billing", "org.other"),
        Rule::Naming,
        "",
    );
    assert_one(
        &broken(r#""CourseGifted""#, r#""course_gifted""#),
        Rule::Naming,
        "",
    );
    let found = broken(r#"["plain", "#, r#"["PLAIN", "#);
    assert_one(&found, Rule::Naming, "com.learnexpert.billing.Wrapping");
}

#[test]
fn a_moment_that_is_no_timestamp_is_refused() {
    assert_one(
        &broken("message_length", "wrapped_at"),
        Rule::Naming,
        "wrapped_at",
    );
}

#[test]
fn a_text_that_is_no_schema_is_reported() {
    assert_eq!(house_rules("{")[0].rule, Rule::Unreadable);
}

fn avro_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../avro")
}

fn sorted_entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the folder exists");
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("a readable entry").path())
        .collect();
    paths.sort();
    paths
}

/// Every current contract: `avro/<service>/<Record>.avsc`.
fn contracts() -> Vec<PathBuf> {
    let folders = sorted_entries(&avro_folder())
        .into_iter()
        .filter(|path| path.is_dir());
    folders
        .flat_map(|folder| sorted_entries(&folder))
        .filter(|path| {
            path.is_file()
                && path
                    .extension()
                    .is_some_and(|extension| extension == "avsc")
        })
        .collect()
}

/// The released versions of a contract: `avro/released/<service>/<Record>/v<n>.avsc`.
fn released(contract: &Path) -> Vec<(Version, String)> {
    let within = contract
        .strip_prefix(avro_folder())
        .expect("a contract")
        .with_extension("");
    let files = sorted_entries(&avro_folder().join("released").join(within));
    let version_of = |path: &Path| {
        let number = path
            .file_stem()?
            .to_str()?
            .strip_prefix('v')?
            .parse()
            .ok()?;
        Some(Version(number))
    };
    files
        .iter()
        .map(|path| {
            let version = version_of(path).expect("released files are named v<n>.avsc");
            (
                version,
                fs::read_to_string(path).expect("a released schema"),
            )
        })
        .collect()
}

#[test]
fn every_contract_of_the_platform_keeps_the_house_rules() {
    let contracts = contracts();
    assert!(!contracts.is_empty());
    let found: Vec<String> = contracts
        .iter()
        .flat_map(|path| house_rules(&fs::read_to_string(path).expect("a contract")))
        .map(|violation| violation.to_string())
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn every_contract_of_the_platform_is_compatible_with_all_its_releases() {
    let mut found = Vec::new();
    for path in contracts() {
        let current = fs::read_to_string(&path).expect("a contract");
        let releases = released(&path);
        let borrowed: Vec<(Version, &str)> = releases
            .iter()
            .map(|(version, text)| (*version, text.as_str()))
            .collect();
        found.extend(check(&current, &borrowed).iter().map(ToString::to_string));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

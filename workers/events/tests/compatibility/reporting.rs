//! What a report contains: everything that is wrong, against every released version.

use crate::Case;
use events::compatibility::{Rule, Version, check};

#[test]
fn every_released_version_is_compared_and_named() {
    let removed = Case::read("allowed/removed_field_with_default");
    let v2_is_compatible = (Version(2), removed.after.as_str());
    let other = Case::read("new_field_without_default");
    let found = check(
        &other.before,
        &[
            (Version(1), &other.after),
            v2_is_compatible,
            (Version(3), &other.after),
        ],
    );
    let versions: Vec<Option<Version>> = found.iter().map(|violation| violation.against).collect();
    assert_eq!(versions, [Some(Version(1)), Some(Version(3))], "{found:#?}");
}

#[test]
fn all_violations_are_reported_and_not_only_the_first() {
    let case = Case::read("type_changed");
    let after = case
        .after
        .replace(
            "\"doc\": \"Color of the bookmark.\"",
            "\"doc\": \"Color.\", \"default\": \"red\"",
        )
        .replace("\"green\", ", "")
        .replace(
            "\"logicalType\": \"timestamp-micros\"",
            "\"logicalType\": \"timestamp-millis\"",
        );
    let found = check(&after, &[(Version(1), &case.before)]);
    let rules: Vec<Rule> = found.iter().map(|violation| violation.rule).collect();
    assert_eq!(
        rules,
        [
            Rule::TypeChanged,
            Rule::LogicalTypeChanged,
            Rule::DefaultChanged,
            Rule::EnumSymbolRemoved
        ],
        "{found:#?}"
    );
}

#[test]
fn a_text_that_is_no_schema_is_reported_with_what_to_do() {
    let good = Case::read("type_changed").before;
    for bad in [
        "",
        "{",
        r#"{"type": "record", "name": "A"}"#,
        r#""string""#,
        r#"{"type": "record", "name": "A", "fields": [{"name": "a", "type": "B"}]}"#,
    ] {
        let current = check(bad, &[(Version(1), &good)]);
        assert_eq!(
            (current.len(), current[0].rule),
            (1, Rule::Unreadable),
            "{bad}: {current:?}"
        );
        let released = check(&good, &[(Version(1), bad)]);
        assert_eq!(released[0].against, Some(Version(1)), "{bad}");
        assert!(
            released[0]
                .to_string()
                .contains("restore the released file"),
            "{}",
            released[0]
        );
    }
}

#[test]
fn without_a_released_version_there_is_nothing_to_break() {
    assert_eq!(check(&Case::read("type_changed").after, &[]), []);
}

/// A record `Outer` whose field `first` is a node that may contain another, and `second` one more.
fn tree(value_type: &str) -> String {
    format!(
        r#"{{"type": "record", "name": "Outer", "fields": [
            {{"name": "first", "type": {{"type": "record", "name": "Node", "fields": [
                {{"name": "value", "type": {value_type}}},
                {{"name": "next", "type": ["null", "Node"], "default": null}}]}}}},
            {{"name": "second", "type": "Node"}}]}}"#
    )
}

#[test]
fn a_type_that_is_used_twice_and_contains_itself_is_reported_once_at_its_first_place() {
    let found = check(&tree(r#""string""#), &[(Version(1), &tree(r#""int""#))]);
    let paths: Vec<&str> = found
        .iter()
        .map(|violation| violation.path.as_str())
        .collect();
    assert_eq!(paths, ["first.value"], "{found:#?}");
}

#[test]
fn a_type_of_another_kind_under_the_same_name_is_a_changed_type() {
    let fixed = tree(r#"{"type": "fixed", "name": "Value", "size": 4}"#);
    let longer = tree(r#"{"type": "fixed", "name": "Value", "size": 8}"#);
    let choice = tree(r#"{"type": "enum", "name": "Value", "symbols": ["a"]}"#);
    for (before, after, problem) in [
        (&fixed, &longer, "type changed from 4 bytes to 8 bytes"),
        (&fixed, &choice, "type changed from a fixed to an enum"),
    ] {
        let found = check(after, &[(Version(1), before)]);
        assert_eq!(found.len(), 1, "{found:#?}");
        assert_eq!(
            (found[0].rule, found[0].problem.as_str()),
            (Rule::TypeChanged, problem)
        );
    }
}

#[test]
fn values_of_a_map_have_a_path_of_their_own() {
    let map = |values: &str| tree(&format!(r#"{{"type": "map", "values": "{values}"}}"#));
    let found = check(&map("string"), &[(Version(1), &map("int"))]);
    assert_eq!(found[0].path, "first.value{}", "{found:#?}");
}

//! Changes that break a reader or the meaning of what was written.

use crate::Case;
use apache_avro::schema_compatibility::{Compatibility, SchemaCompatibility};
use events::compatibility::Rule;

/// The case breaks exactly one rule, at exactly this path, and says so in one line.
fn assert_refused(case: &str, rule: Rule, path: &str, problem: &str) {
    let found = Case::read(case).violations();
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(
        (found[0].rule, found[0].path.as_str()),
        (rule, path),
        "{}",
        found[0]
    );
    let line = found[0].to_string();
    assert!(line.contains(problem), "{line}");
    assert!(
        line.contains("compared with v1") && line.contains("; fix: "),
        "{line}"
    );
    assert!(!line.contains('\n'), "{line}");
}

#[test]
fn a_removed_field_without_default_is_refused() {
    assert_refused(
        "removed_field_without_default",
        Rule::FieldRemoved,
        "position_seconds",
        "field removed",
    );
}

#[test]
fn a_new_field_without_default_is_refused() {
    assert_refused(
        "new_field_without_default",
        Rule::FieldAdded,
        "device",
        "new field without default",
    );
}

#[test]
fn a_renamed_field_is_refused_once_and_not_as_a_removal_and_an_addition() {
    assert_refused(
        "renamed_field",
        Rule::FieldRenamed,
        "position_seconds",
        "renamed to `offset_seconds`",
    );
}

#[test]
fn an_alias_does_not_excuse_a_renamed_field_because_released_readers_do_not_know_it() {
    assert_refused(
        "renamed_field_with_alias",
        Rule::FieldRenamed,
        "position_seconds",
        "renamed to `offset_seconds`",
    );
}

#[test]
fn a_renamed_optional_field_is_refused_because_older_values_would_silently_vanish() {
    assert_refused(
        "renamed_optional_field",
        Rule::FieldRenamed,
        "note",
        "renamed to `remark`",
    );
}

#[test]
fn a_changed_type_is_refused() {
    assert_refused(
        "type_changed",
        Rule::TypeChanged,
        "position_seconds",
        "from int to string",
    );
}

#[test]
fn a_widened_number_is_refused_because_released_readers_cannot_narrow_it() {
    assert_refused(
        "int_to_long",
        Rule::TypeChanged,
        "position_seconds",
        "from int to long",
    );
}

#[test]
fn string_to_bytes_is_refused_although_avro_reads_one_as_the_other() {
    assert_refused(
        "string_to_bytes",
        Rule::TypeChanged,
        "note",
        "from string to bytes",
    );
}

#[test]
fn millis_to_micros_is_refused() {
    assert_refused(
        "millis_to_micros",
        Rule::LogicalTypeChanged,
        "set_at",
        "from timestamp-millis to timestamp-micros",
    );
}

#[test]
fn a_dropped_logical_type_is_refused() {
    assert_refused(
        "logical_type_dropped",
        Rule::LogicalTypeChanged,
        "set_at",
        "timestamp-micros dropped",
    );
}

#[test]
fn an_added_logical_type_is_refused() {
    assert_refused(
        "logical_type_added",
        Rule::LogicalTypeChanged,
        "set_at",
        "timestamp-micros added",
    );
}

#[test]
fn a_removed_enum_symbol_is_refused_even_with_a_default() {
    assert_refused(
        "enum_symbol_removed",
        Rule::EnumSymbolRemoved,
        "color",
        "symbol green removed",
    );
}

#[test]
fn a_new_enum_symbol_is_refused_where_the_enum_has_no_default() {
    assert_refused(
        "enum_symbol_added_without_default",
        Rule::EnumSymbolAdded,
        "color",
        "symbol blue added",
    );
}

#[test]
fn a_default_that_comes_with_the_new_enum_symbol_is_too_late_for_released_readers() {
    assert_refused(
        "enum_symbol_added_with_late_default",
        Rule::EnumSymbolAdded,
        "color",
        "symbol unrecognized added",
    );
}

#[test]
fn a_changed_enum_default_is_refused() {
    assert_refused(
        "enum_default_changed",
        Rule::EnumDefaultChanged,
        "color",
        "from unrecognized to red",
    );
}

#[test]
fn a_dropped_enum_default_is_refused() {
    assert_refused(
        "enum_default_dropped",
        Rule::EnumDefaultChanged,
        "color",
        "from unrecognized to none",
    );
}

#[test]
fn a_narrowed_union_is_refused() {
    assert_refused(
        "union_narrowed",
        Rule::UnionNarrowed,
        "note",
        "int is no longer a branch",
    );
}

#[test]
fn a_widened_union_is_refused() {
    assert_refused(
        "union_widened",
        Rule::UnionWidened,
        "note",
        "int is a new branch",
    );
}

#[test]
fn an_optional_field_made_required_is_refused_for_the_null_and_for_the_default() {
    let found = Case::read("optional_made_required").violations();
    let rules: Vec<Rule> = found.iter().map(|violation| violation.rule).collect();
    assert_eq!(rules, [Rule::DefaultChanged, Rule::UnionNarrowed]);
    assert!(
        found.iter().all(|violation| violation.path == "note"),
        "{found:#?}"
    );
}

#[test]
fn a_required_field_made_optional_is_refused() {
    assert_refused(
        "required_made_optional",
        Rule::UnionWidened,
        "position_seconds",
        "made optional",
    );
}

#[test]
fn a_change_inside_a_nested_record_is_refused_at_its_full_path() {
    assert_refused(
        "nested_record_changed",
        Rule::FieldRemoved,
        "lesson.lesson_id",
        "field removed",
    );
}

#[test]
fn a_change_to_the_items_of_an_array_is_refused_at_its_full_path() {
    assert_refused(
        "array_items_changed",
        Rule::TypeChanged,
        "lesson.tags[]",
        "from string to long",
    );
}

#[test]
fn a_renamed_record_is_refused() {
    assert_refused(
        "record_renamed",
        Rule::TypeRenamed,
        "",
        "from com.learnexpert.progress.BookmarkSet",
    );
}

#[test]
fn a_record_in_another_namespace_is_refused() {
    assert_refused(
        "namespace_changed",
        Rule::TypeRenamed,
        "",
        "to com.learnexpert.catalog.BookmarkSet",
    );
}

#[test]
fn a_renamed_nested_record_is_refused() {
    assert_refused(
        "nested_record_renamed",
        Rule::TypeRenamed,
        "lesson",
        "LessonReference",
    );
}

#[test]
fn a_changed_default_is_refused() {
    assert_refused(
        "default_changed",
        Rule::DefaultChanged,
        "is_favorite",
        "from false to true",
    );
}

#[test]
fn a_default_added_to_a_released_field_is_refused() {
    assert_refused(
        "default_added",
        Rule::DefaultChanged,
        "position_seconds",
        "default 0 added",
    );
}

#[test]
fn a_removed_default_is_refused() {
    assert_refused(
        "default_removed",
        Rule::DefaultChanged,
        "is_favorite",
        "default false removed",
    );
}

/// Why the walk exists: each of these breaks a reader or the meaning, and apache-avro says so too
/// softly or not at all. If one of these assertions fails, apache-avro has become stricter.
#[test]
fn apache_avro_alone_would_let_these_changes_pass() {
    for (case, verdict) in [
        ("millis_to_micros", Compatibility::Full),
        ("logical_type_dropped", Compatibility::Full),
        ("string_to_bytes", Compatibility::Full),
        ("namespace_changed", Compatibility::Full),
        ("enum_symbol_removed", Compatibility::Full),
        ("renamed_optional_field", Compatibility::Full),
        ("union_narrowed", Compatibility::Partial),
        ("union_widened", Compatibility::Partial),
        ("required_made_optional", Compatibility::Partial),
        ("enum_symbol_added_without_default", Compatibility::Partial),
    ] {
        let (before, after) = Case::read(case).schemas();
        let said = SchemaCompatibility::mutual_read(&before, &after);
        assert_eq!(said.ok(), Some(verdict), "{case}");
        assert!(!Case::read(case).violations().is_empty(), "{case}");
    }
}

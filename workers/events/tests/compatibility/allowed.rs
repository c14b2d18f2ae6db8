//! Changes that may be released: nothing is reported, and values really pass between the versions.

use crate::Case;
use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;

/// Nothing is reported, and a value written by either version is read by the other.
fn assert_allowed(case: &str) {
    let case = Case::read(&format!("allowed/{case}"));
    assert_eq!(case.violations(), []);
    let (before, after) = case.schemas();
    for (writer, reader) in [(&before, &after), (&after, &before)] {
        let written = sample(writer, writer, "");
        let mut bytes = Vec::new();
        let datum_writer = GenericDatumWriter::builder(writer)
            .build()
            .expect("a writer");
        datum_writer
            .write_value(&mut bytes, written)
            .expect("the sample fits its schema");
        let datum_reader = GenericDatumReader::builder(writer)
            .reader_schema(reader)
            .build();
        let read = datum_reader
            .expect("a reader")
            .read_value(&mut bytes.as_slice());
        read.expect("the other version reads it");
    }
}

/// A value of the schema: optional fields filled, enums at their last but one symbol (the newest in
/// the fixtures, before `unrecognized`).
fn sample(schema: &Schema, root: &Schema, field: &str) -> Value {
    match schema {
        Schema::Int => Value::Int(754),
        Schema::TimestampMicros => Value::TimestampMicros(1_773_000_000_000_000),
        Schema::String => Value::String("worth a second look".to_owned()),
        Schema::Uuid(_) => Value::Uuid(apache_avro::Uuid::nil()),
        Schema::Array(array) => Value::Array(vec![sample(&array.items, root, field)]),
        Schema::Union(union) => {
            let (index, branch) = union
                .variants()
                .iter()
                .enumerate()
                .next_back()
                .expect("a branch");
            Value::Union(index as u32, Box::new(sample(branch, root, field)))
        }
        Schema::Enum(enumeration) => {
            let index = enumeration.symbols.len() - 2;
            Value::Enum(index as u32, enumeration.symbols[index].clone())
        }
        Schema::Record(record) => Value::Record(
            record
                .fields
                .iter()
                .map(|field| (field.name.clone(), sample(&field.schema, root, &field.name)))
                .collect(),
        ),
        // The fixtures name one type only: the lesson.
        Schema::Ref { .. } => lesson(root),
        other => panic!("no sample for {field}: {other:?}"),
    }
}

fn lesson(root: &Schema) -> Value {
    let Schema::Record(record) = root else {
        panic!("a record")
    };
    let spelt_out = record.fields.iter().find_map(|field| match &field.schema {
        Schema::Union(union) => union
            .variants()
            .iter()
            .find(|variant| matches!(variant, Schema::Record(_))),
        _ => None,
    });
    sample(spelt_out.expect("the definition"), root, "lesson")
}

#[test]
fn an_added_field_with_a_default_is_allowed() {
    assert_allowed("added_field_with_default");
}

#[test]
fn a_removed_field_with_a_default_is_allowed() {
    assert_allowed("removed_field_with_default");
}

#[test]
fn a_changed_doc_is_allowed() {
    assert_allowed("doc_changed");
}

#[test]
fn a_changed_order_of_fields_is_allowed() {
    assert_allowed("field_order_changed");
}

#[test]
fn a_new_enum_symbol_is_allowed_where_the_enum_has_a_default() {
    assert_allowed("enum_symbol_added_with_default");
}

#[test]
fn an_optional_field_may_give_way_to_another_at_the_end_of_the_record() {
    assert_allowed("optional_field_replaced_at_the_end");
}

#[test]
fn a_shared_type_may_be_spelt_out_at_another_place() {
    assert_allowed("shared_type_spelt_out_earlier");
}

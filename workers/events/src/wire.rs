//! The Confluent wire format: `0x00`, a four-byte schema id, the Avro datum.

use std::fmt;

/// The id under which a registry keeps the schema that wrote a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SchemaId(pub u32);

impl fmt::Display for SchemaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why bytes are not in the wire format. Each is a property of the bytes: retrying cannot help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The record has no value. No event is a tombstone: deletions are events of their own.
    #[error(
        "the record has no value; publish an event (for example COURSE_DELETED) instead of a tombstone"
    )]
    NullValue,
    /// Shorter than magic byte and schema id.
    #[error(
        "the value has {0} bytes; the wire format starts with a magic byte and a four-byte schema id"
    )]
    TooShort(usize),
    /// The first byte is not zero.
    #[error("the value starts with 0x{0:02x}; the wire format starts with the magic byte 0x00")]
    WrongMagicByte(u8),
    /// No registry gives out such an id: ids are positive 32-bit integers. Asking for it would be
    /// answered like a broken registry, and waited for like one.
    #[error("the value names schema {0}; no schema registry gives out an id above 2147483647")]
    ImpossibleSchemaId(u32),
}

/// Splits a record's value into the writer's schema id and the datum.
pub fn split(value: Option<&[u8]>) -> Result<(SchemaId, &[u8]), WireError> {
    let value = value.ok_or(WireError::NullValue)?;
    match value {
        [0, a, b, c, d, datum @ ..] => match u32::from_be_bytes([*a, *b, *c, *d]) {
            id if i32::try_from(id).is_ok() => Ok((SchemaId(id), datum)),
            impossible => Err(WireError::ImpossibleSchemaId(impossible)),
        },
        [magic, ..] if *magic != 0 => Err(WireError::WrongMagicByte(*magic)),
        short => Err(WireError::TooShort(short.len())),
    }
}

/// Puts the magic byte and schema id before a datum.
pub fn join(id: SchemaId, datum: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(5 + datum.len());
    value.push(0);
    value.extend_from_slice(&id.0.to_be_bytes());
    value.extend_from_slice(datum);
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_null_a_short_and_a_foreign_value_are_told_apart() {
        assert_eq!(split(None), Err(WireError::NullValue));
        assert_eq!(split(Some(&[])), Err(WireError::TooShort(0)));
        assert_eq!(split(Some(&[0, 0, 1])), Err(WireError::TooShort(3)));
        assert_eq!(
            split(Some(b"{\"json\":1}")),
            Err(WireError::WrongMagicByte(b'{'))
        );
    }

    #[test]
    fn an_id_that_no_registry_gives_out_is_malformed_and_not_asked_for() {
        let noise = [0, 0xff, 0xfe, 0, 1, 2, 3];
        assert_eq!(
            split(Some(&noise)),
            Err(WireError::ImpossibleSchemaId(0xfffe_0001))
        );
        let largest = join(SchemaId(0x7fff_ffff), b"datum");
        assert_eq!(
            split(Some(&largest)),
            Ok((SchemaId(0x7fff_ffff), &b"datum"[..]))
        );
    }

    proptest! {
        #[test]
        fn splitting_gives_back_what_was_joined(id in 0..=0x7fff_ffff_u32, datum: Vec<u8>) {
            let value = join(SchemaId(id), &datum);
            prop_assert_eq!(split(Some(&value)), Ok((SchemaId(id), datum.as_slice())));
        }

        #[test]
        fn no_bytes_make_the_split_panic(bytes: Vec<u8>) {
            let _ = split(Some(&bytes));
        }
    }
}

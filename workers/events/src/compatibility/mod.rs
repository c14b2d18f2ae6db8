//! Whether a changed schema would break a reader or a writer, and whether it keeps the house rules.
//!
//! Invariant: **any reader, old or new, can read any record, old or new, and both understand the
//! same by it.** Events stay in topics for months and services are deployed one by one, so that at
//! any moment records of every released version meet readers of every released version. This is
//! `FULL_TRANSITIVE`, made a little stricter where Avro resolves a change without an error but with
//! another meaning (milliseconds read as microseconds, a default that changed).
//!
//! # For a producer: how to change an event
//!
//! You may, in any release:
//!
//! * add a field with a default. Make it optional: `"type": ["null", …], "default": null`;
//! * remove a field that had a default in **every** released version, in practice an optional one;
//! * add a symbol to an enum whose `default` is `unrecognized`: older readers see `unrecognized`;
//! * rewrite a `doc`, reorder fields, reorder symbols.
//!
//! You may not, and this is what to do instead:
//!
//! | You want to | Do this |
//! |---|---|
//! | rename a field | add the new one as optional, write both, tell readers, stop writing the old one when none is left |
//! | change a type or unit (`int` → `long`, seconds → minutes) | add an optional field of the new type under a new name, write both |
//! | make an optional field required | keep it optional, always write it, and say so in its `doc` |
//! | make a required field optional | keep it; add an optional field beside it |
//! | remove a required field | keep it, write a neutral value, and say so in its `doc` |
//! | remove or rename an enum symbol | keep it, stop writing it, and say so in the enum's `doc` |
//! | change a default | keep it; a default is part of what the bytes mean |
//! | change what an event means | a new event type with a new record, published beside the old one for a while |
//!
//! Prefer `null` as the default of a new field: an event written before the field existed says
//! nothing about it, and `null` is the only default that says nothing.
//!
//! When a schema goes out, copy it to `avro/released/<service>/<RecordName>/v<n>.avsc` with the next
//! number. A released file is never edited: it is what readers out there have.
//!
//! ```
//! use events::compatibility::{Version, check};
//!
//! let v1 = r#"{"type": "record", "name": "Opened", "fields": [
//!     {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}}]}"#;
//! let now = v1.replace("millis", "micros");
//! let found = check(&now, &[(Version(1), v1)]);
//! assert_eq!(
//!     found[0].to_string(),
//!     "Opened: compared with v1: at `at`: logical type changed from timestamp-millis to \
//!      timestamp-micros; fix: restore timestamp-millis, and add an optional field of another \
//!      name for the new meaning"
//! );
//! ```

mod compare;
mod house;
mod model;
mod resolver;
mod violation;

pub use house::house_rules;
pub use violation::{Rule, Version, Violation};

use model::Model;

/// Compares `current` with every schema in `released` and reports each way in which they could not
/// read one another. Empty = `current` may be released.
///
/// Both are JSON texts of one self-contained `.avsc` file. Every violation names the released
/// version it was found against, so that one change can show once for each version. A definition
/// that a schema uses in several places is reported at the first of them.
///
/// A text that is no Avro schema is itself reported, as [`Rule::Unreadable`].
pub fn check(current: &str, released: &[(Version, &str)]) -> Vec<Violation> {
    let after = match Model::parse(current) {
        Ok(model) => model,
        Err(problem) => return vec![unreadable(problem, None)],
    };
    released
        .iter()
        .flat_map(|(version, text)| match Model::parse(text) {
            Ok(before) => check_one(&before, &after, *version),
            Err(problem) => vec![unreadable(problem, Some(*version))],
        })
        .collect()
}

/// Our own walk finds and names what is wrong; the independent resolver of `apache-avro` is asked
/// only when the walk found nothing, as a safeguard against a gap in it.
fn check_one(before: &Model, after: &Model, version: Version) -> Vec<Violation> {
    let found = compare::compare(before, after, version);
    if found.is_empty() {
        resolver::second_opinion(before, after, version)
    } else {
        found
    }
}

fn unreadable(problem: String, against: Option<Version>) -> Violation {
    let fix = match against {
        None => "correct the file; a JSON or Avro linter shows the place",
        Some(_) => "restore the released file: a released schema is never edited",
    };
    Violation {
        schema: "(unreadable schema)".to_owned(),
        against,
        path: String::new(),
        rule: Rule::Unreadable,
        problem,
        fix: fix.to_owned(),
    }
}

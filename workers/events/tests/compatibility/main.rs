//! Each rule of `events::compatibility` against schemas that break it and nothing else. Pairs of
//! versions are files, `fixtures/compatibility/<case>/{before,after}.avsc`: `diff` shows the change.
//! Changes that may be released are below `allowed/`.

// The lints that keep panics out of the product take helper functions of tests for product code.
#![allow(clippy::expect_used, clippy::panic)]

mod allowed;
mod house_rules;
mod properties;
mod refused;
mod reporting;

use apache_avro::Schema;
use events::compatibility::{Version, Violation, check};
use std::path::Path;

struct Case {
    before: String,
    after: String,
}

impl Case {
    fn read(name: &str) -> Case {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fixtures/compatibility")
            .join(name);
        let text =
            |file: &str| std::fs::read_to_string(folder.join(file)).expect("the fixture exists");
        Case {
            before: text("before.avsc"),
            after: text("after.avsc"),
        }
    }

    fn violations(&self) -> Vec<Violation> {
        check(&self.after, &[(Version(1), &self.before)])
    }

    fn schemas(&self) -> (Schema, Schema) {
        let parse = |text: &str| Schema::parse_str(text).expect("a valid schema");
        (parse(&self.before), parse(&self.after))
    }
}

//! What is reported: one line for one thing to mend.

use std::fmt;

/// The number of a released schema: `avro/released/<service>/<Record>/v1.avsc` is `Version(1)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u32);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.0)
    }
}

/// One thing that is wrong with a schema. Its `Display` is a single line that names the schema, the
/// version compared with, the path of the field, the problem and the fix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Full name of the event's record, such as `com.learnexpert.iam.UserRegistered`.
    pub schema: String,
    /// The released version compared with; `None` for a rule about the schema alone.
    pub against: Option<Version>,
    /// Names of fields from the record downwards, joined by dots; `[]` stands for the items of an
    /// array, `{}` for the values of a map. Empty = the record itself.
    pub path: String,
    /// Which rule is broken.
    pub rule: Rule,
    /// What is wrong.
    pub problem: String,
    /// What to do.
    pub fix: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.schema)?;
        if let Some(version) = self.against {
            write!(f, "compared with {version}: ")?;
        }
        if self.path.is_empty() {
            write!(f, "the record itself: ")?;
        } else {
            write!(f, "at `{}`: ", self.path)?;
        }
        write!(f, "{}; fix: {}", self.problem, self.fix)
    }
}

/// The rules. Those up to [`Rule::Resolution`] compare two versions, the others look at one schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// The text is not an Avro schema of a record.
    Unreadable,
    /// A field is gone that the released version gives no default: its readers demand the field.
    FieldRemoved,
    /// A field is new and has no default: it cannot be read from records written before.
    FieldAdded,
    /// A field has another name. An alias does not help: the released readers do not know it.
    FieldRenamed,
    /// The record, or a type inside it, has another full name. A record's name is its event.
    TypeRenamed,
    /// A field has another type. Widening too (`int` to `long`): the released readers cannot narrow.
    TypeChanged,
    /// The logical type of a value was added, dropped or changed: the same number means another
    /// time. Avro itself resolves this without an error.
    LogicalTypeChanged,
    /// A default was added, dropped or changed. The same bytes would mean one thing to one reader
    /// and another to the next, and the content hash, which leaves defaults out, would change under
    /// an event that is sent again.
    DefaultChanged,
    /// A symbol is gone: records that hold it can no longer be understood. Refused even where the
    /// enum has a default, because the default would hide what was written.
    EnumSymbolRemoved,
    /// A symbol is new, and the released version has no default for one it does not know.
    EnumSymbolAdded,
    /// The symbol that stands for unknown ones was changed or dropped.
    EnumDefaultChanged,
    /// A union lost a branch: records that hold it cannot be read any more.
    UnionNarrowed,
    /// A union gained a branch: the released readers cannot read it.
    UnionWidened,
    /// The independent resolver of `apache-avro` refuses what our own comparison let pass.
    Resolution,

    /// A record, enum or field has no `doc`.
    DocMissing,
    /// A type, union or logical type that events do not use.
    TypeNotAllowed,
    /// Personal data outside the event's one `personal` record, or that record under another name.
    PersonalData,
    /// An amount of money that is not `com.learnexpert.common.Money`.
    Money,
    /// An enum without the default symbol `unrecognized`, so that it could never grow.
    EnumDefaultMissing,
    /// A name that does not follow the conventions, or a time that is not a timestamp.
    Naming,
}

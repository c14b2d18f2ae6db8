//! The walk over two versions of a schema that names the path of every difference that matters.
//!
//! Invariant: a change that passes here leaves every value of the released version readable by the
//! new one and the other way round, with the same meaning.

use super::model::{Definition, Field, Model, Shape};
use super::violation::{Rule, Version, Violation};
use std::collections::BTreeSet;

/// Every difference between the released `before` and the current `after` that breaks a reader.
pub(super) fn compare(before: &Model, after: &Model, version: Version) -> Vec<Violation> {
    let mut walk = Walk {
        before,
        after,
        version,
        seen: BTreeSet::new(),
        found: Vec::new(),
    };
    walk.named("", &before.root, &after.root);
    walk.found
}

struct Walk<'a> {
    before: &'a Model,
    after: &'a Model,
    version: Version,
    /// Pairs of named types already compared: a type used twice is reported once, and one that
    /// contains itself ends the walk.
    seen: BTreeSet<(&'a str, &'a str)>,
    found: Vec<Violation>,
}

impl<'a> Walk<'a> {
    fn report(&mut self, path: &str, rule: Rule, problem: String, fix: String) {
        self.found.push(Violation {
            schema: self.after.root.clone(),
            against: Some(self.version),
            path: path.to_owned(),
            rule,
            problem,
            fix,
        });
    }

    fn shapes(&mut self, path: &str, before: &'a Shape, after: &'a Shape) {
        match (before, after) {
            (Shape::Union(old), Shape::Union(new)) => self.unions(path, old, new),
            (Shape::Union(old), new) => self.unions(path, old, std::slice::from_ref(new)),
            (old, Shape::Union(new)) => self.unions(path, std::slice::from_ref(old), new),
            (Shape::Array(old), Shape::Array(new)) => self.shapes(&format!("{path}[]"), old, new),
            (Shape::Map(old), Shape::Map(new)) => self.shapes(&format!("{path}{{}}"), old, new),
            (Shape::Named(old), Shape::Named(new)) => self.named(path, old, new),
            (
                Shape::Primitive {
                    name: old,
                    logical: old_logical,
                },
                Shape::Primitive {
                    name: new,
                    logical: new_logical,
                },
            ) if old == new => {
                self.logical_types(path, old_logical.as_deref(), new_logical.as_deref())
            }
            (old, new) => self.type_changed(path, &old.describe(), &new.describe()),
        }
    }

    fn type_changed(&mut self, path: &str, old: &str, new: &str) {
        self.report(
            path,
            Rule::TypeChanged,
            format!("type changed from {old} to {new}"),
            format!("restore {old}, and add an optional field of another name with the new type"),
        );
    }

    fn logical_types(&mut self, path: &str, old: Option<&str>, new: Option<&str>) {
        if old == new {
            return;
        }
        let problem = match (old, new) {
            (Some(old), Some(new)) => format!("logical type changed from {old} to {new}"),
            (Some(old), None) => format!("logical type {old} dropped"),
            (None, new) => format!("logical type {} added", new.unwrap_or_default()),
        };
        let restored = old.unwrap_or("the type without a logical type");
        self.report(
            path,
            Rule::LogicalTypeChanged,
            problem,
            format!(
                "restore {restored}, and add an optional field of another name for the new meaning"
            ),
        );
    }

    fn unions(&mut self, path: &str, old: &'a [Shape], new: &'a [Shape]) {
        let lost: Vec<&Shape> = old
            .iter()
            .filter(|branch| partner(branch, new).is_none())
            .collect();
        let gained: Vec<&Shape> = new
            .iter()
            .filter(|branch| partner(branch, old).is_none())
            .collect();
        for branch in old {
            if let Some(partner) = partner(branch, new) {
                self.shapes(path, branch, partner);
            }
        }
        // One branch gone and one come, among others that stayed, is one branch changed.
        if let ([lost], [gained]) = (lost.as_slice(), gained.as_slice())
            && !lost.is_null()
            && !gained.is_null()
        {
            self.shapes(path, lost, gained);
            return;
        }
        for branch in lost {
            self.union_narrowed(path, branch);
        }
        for branch in gained {
            self.union_widened(path, branch);
        }
    }

    fn union_narrowed(&mut self, path: &str, branch: &Shape) {
        let (problem, fix) = if branch.is_null() {
            (
                "no longer optional: null was a value".to_owned(),
                "keep it optional, always write it, and say so in its doc".to_owned(),
            )
        } else {
            let name = branch.describe();
            (
                format!("{name} is no longer a branch of the union"),
                format!("restore the branch {name}"),
            )
        };
        self.report(path, Rule::UnionNarrowed, problem, fix);
    }

    fn union_widened(&mut self, path: &str, branch: &Shape) {
        let (problem, fix) = if branch.is_null() {
            (
                format!(
                    "made optional: readers of {} cannot read null",
                    self.version
                ),
                "keep it required, and add an optional field of another name".to_owned(),
            )
        } else {
            let name = branch.describe();
            (
                format!(
                    "{name} is a new branch of the union: readers of {} cannot read it",
                    self.version
                ),
                format!(
                    "remove the branch, and add an optional field of another name with type {name}"
                ),
            )
        };
        self.report(path, Rule::UnionWidened, problem, fix);
    }

    fn named(&mut self, path: &str, old_name: &'a str, new_name: &'a str) {
        if !self.seen.insert((old_name, new_name)) {
            return;
        }
        if old_name != new_name {
            self.type_renamed(path, old_name, new_name);
        }
        match (
            self.before.types.get(old_name),
            self.after.types.get(new_name),
        ) {
            (
                Some(Definition::Record { fields: old, .. }),
                Some(Definition::Record { fields: new, .. }),
            ) => {
                self.records(path, old, new);
            }
            (
                Some(Definition::Enum {
                    symbols: old,
                    default: old_default,
                    ..
                }),
                Some(Definition::Enum {
                    symbols: new,
                    default: new_default,
                    ..
                }),
            ) => {
                self.symbols(path, old, new, old_default.as_deref());
                self.enum_defaults(path, old_default.as_deref(), new_default.as_deref());
            }
            (
                Some(Definition::Fixed {
                    size: old,
                    logical: old_logical,
                }),
                Some(Definition::Fixed {
                    size: new,
                    logical: new_logical,
                }),
            ) => {
                if old != new {
                    self.type_changed(path, &format!("{old} bytes"), &format!("{new} bytes"));
                }
                self.logical_types(path, old_logical.as_deref(), new_logical.as_deref());
            }
            (old, new) => self.type_changed(path, kind(old), kind(new)),
        }
    }

    fn type_renamed(&mut self, path: &str, old_name: &str, new_name: &str) {
        let fix = if path.is_empty() {
            format!("restore the name {old_name}; a new name is a new event, in a file of its own")
        } else {
            format!("restore the name {old_name}")
        };
        self.report(
            path,
            Rule::TypeRenamed,
            format!("type renamed from {old_name} to {new_name}"),
            fix,
        );
    }

    fn records(&mut self, path: &str, old: &'a [Field], new: &'a [Field]) {
        let mut renamed: BTreeSet<&str> = BTreeSet::new();
        for field in old {
            let below = joined(path, &field.name);
            if let Some(same) = new.iter().find(|candidate| candidate.name == field.name) {
                self.defaults(&below, field, same);
                self.shapes(&below, &field.shape, &same.shape);
            } else if let Some(successor) = successor(field, old, new) {
                renamed.insert(&successor.name);
                self.field_renamed(&below, field, successor);
            } else if field.default.is_none() {
                self.field_removed(&below);
            }
        }
        for field in new {
            let known = old.iter().any(|candidate| candidate.name == field.name);
            if !known && !renamed.contains(field.name.as_str()) && field.default.is_none() {
                self.field_added(&joined(path, &field.name));
            }
        }
    }

    fn field_removed(&mut self, path: &str) {
        let version = self.version;
        self.report(
            path,
            Rule::FieldRemoved,
            format!("field removed that has no default in {version}: readers of {version} demand it"),
            "restore it; if it no longer means anything, write a neutral value and say so in its doc".to_owned(),
        );
    }

    fn field_added(&mut self, path: &str) {
        self.report(
            path,
            Rule::FieldAdded,
            format!(
                "new field without default: it cannot be read from records of {}",
                self.version
            ),
            r#"make it optional: "type": ["null", …], "default": null"#.to_owned(),
        );
    }

    fn field_renamed(&mut self, path: &str, old: &Field, new: &Field) {
        self.report(
            path,
            Rule::FieldRenamed,
            format!(
                "field renamed to `{}`: each side misses the name it knows",
                new.name
            ),
            format!(
                "restore `{}`, add `{}` beside it as an optional field and write both; if it is \
                 really another field, put it at another place in the record",
                old.name, new.name
            ),
        );
    }

    fn defaults(&mut self, path: &str, old: &Field, new: &Field) {
        if old.default == new.default {
            return;
        }
        let (problem, fix) = match (&old.default, &new.default) {
            (None, Some(new)) => (
                format!("default {new} added to a released field"),
                "remove the default".to_owned(),
            ),
            (Some(old), None) => (
                format!("default {old} removed"),
                format!("restore the default {old}"),
            ),
            (old, new) => {
                let (old, new) = (shown(old.as_ref()), shown(new.as_ref()));
                (
                    format!("default changed from {old} to {new}"),
                    format!("restore the default {old}"),
                )
            }
        };
        self.report(path, Rule::DefaultChanged, problem, fix);
    }

    fn symbols(&mut self, path: &str, old: &[String], new: &[String], old_default: Option<&str>) {
        for symbol in old.iter().filter(|symbol| !new.contains(symbol)) {
            self.report(
                path,
                Rule::EnumSymbolRemoved,
                format!(
                    "symbol {symbol} removed: records of {} hold it",
                    self.version
                ),
                format!(
                    "restore {symbol}; to retire it, stop writing it and say so in the enum's doc"
                ),
            );
        }
        if old_default.is_some() {
            return;
        }
        for symbol in new.iter().filter(|symbol| !old.contains(symbol)) {
            let version = self.version;
            self.report(
                path,
                Rule::EnumSymbolAdded,
                format!("symbol {symbol} added, and in {version} the enum has no default: readers of {version} fail on it"),
                format!("remove {symbol}, and add an optional field of another name with a new enum that has a default"),
            );
        }
    }

    fn enum_defaults(&mut self, path: &str, old: Option<&str>, new: Option<&str>) {
        // A default where there was none takes nothing away: no released record relies on it.
        let Some(old) = old else { return };
        if new != Some(old) {
            self.report(
                path,
                Rule::EnumDefaultChanged,
                format!(
                    "default symbol changed from {old} to {}",
                    new.unwrap_or("none")
                ),
                format!("restore \"default\": \"{old}\""),
            );
        }
    }
}

/// The branch of `others` that is the same type, whatever its logical type and contents.
fn partner<'a>(branch: &Shape, others: &'a [Shape]) -> Option<&'a Shape> {
    others.iter().find(|other| match (branch, other) {
        (Shape::Primitive { name: a, .. }, Shape::Primitive { name: b, .. }) => a == b,
        (Shape::Named(a), Shape::Named(b)) => a == b,
        (Shape::Array(_), Shape::Array(_)) | (Shape::Map(_), Shape::Map(_)) => true,
        _ => false,
    })
}

/// The new field that took over from a vanished one: it names it as an alias, or stands in its
/// place with its type. With a default on both sides Avro would let such a rename pass, and every
/// older record would silently lose the value.
fn successor<'a>(gone: &Field, old: &[Field], new: &'a [Field]) -> Option<&'a Field> {
    let is_new = |field: &&Field| !old.iter().any(|known| known.name == field.name);
    let by_alias = new
        .iter()
        .filter(is_new)
        .find(|field| field.aliases.contains(&gone.name));
    let place = old.iter().position(|field| field.name == gone.name);
    let in_place = place.and_then(|place| new.get(place)).filter(is_new);
    by_alias.or(in_place.filter(|field| field.shape == gone.shape))
}

fn joined(path: &str, field: &str) -> String {
    if path.is_empty() {
        field.to_owned()
    } else {
        format!("{path}.{field}")
    }
}

fn kind(definition: Option<&Definition>) -> &'static str {
    match definition {
        Some(Definition::Record { .. }) => "a record",
        Some(Definition::Enum { .. }) => "an enum",
        Some(Definition::Fixed { .. }) => "a fixed",
        None => "nothing",
    }
}

fn shown(default: Option<&serde_json::Value>) -> String {
    default.map_or_else(|| "none".to_owned(), ToString::to_string)
}

//! What is wrong with the configuration, one line each.

use super::source::variable_of;
use std::fmt;

/// One thing that is wrong, or that had better be otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// The settings that it is about; the first is the one to change.
    pub keys: Vec<String>,
    /// What is wrong, and what to do.
    pub what: String,
}

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Nothing is started with it.
    Error,
    /// It works, but not as one would want.
    Warning,
}

impl Problem {
    /// An error about one setting or several.
    pub fn error(keys: &[&str], what: impl Into<String>) -> Self {
        let keys = keys.iter().map(|key| (*key).to_owned()).collect();
        Self {
            severity: Severity::Error,
            keys,
            what: what.into(),
        }
    }

    /// A warning about one setting or several.
    pub fn warning(keys: &[&str], what: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(keys, what)
        }
    }

    /// An error that is about no setting in particular.
    pub fn general(what: impl Into<String>) -> Self {
        Self::error(&[], what)
    }

    /// A setting that is needed and not there.
    pub fn missing(key: &str, what_for: &str) -> Self {
        Self::error(&[key], format!("is missing; set it to {what_for}"))
    }

    /// Whether nothing can be started with it.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        match self.keys.first() {
            // One line each, whatever a parser's message looks like.
            None => write!(f, "{severity}: {}", one_line(&self.what)),
            Some(key) => {
                write!(
                    f,
                    "{severity}: {key} ({}) {}",
                    variable_of(key),
                    one_line(&self.what)
                )
            }
        }
    }
}

fn one_line(text: &str) -> String {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// The configuration cannot be used. Its text is every problem, one line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable(pub Vec<Problem>);

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for Unusable {}

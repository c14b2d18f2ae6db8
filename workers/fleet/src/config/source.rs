//! Where settings come from: one file, overridden by the environment.
//!
//! Invariant: a value keeps its origin, and text from the environment stays the text that it was
//! (a password `007` is no number).

use super::problem::Problem;
use figment::value::{Dict, Map, Value};
use figment::{Error, Figment, Metadata, Profile, Provider};
use std::path::Path;

/// What every variable of ours begins with.
const PREFIX: &str = "FLEET__";

/// What a variable ends with that names a file instead of holding the value.
const FILE_SUFFIX: &str = "_FILE";

/// The variable that overrides a setting: `kafka.brokers` → `FLEET__KAFKA__BROKERS`.
pub fn variable_of(key: &str) -> String {
    format!("{PREFIX}{}", key.to_uppercase().replace('.', "__"))
}

/// Merges file and environment. What cannot be read is reported and left out.
pub fn merge(
    file: Option<&Path>,
    variables: impl Iterator<Item = (String, String)>,
) -> (Figment, Vec<Problem>) {
    let mut figment = Figment::new();
    let mut problems = Vec::new();
    if let Some(path) = file {
        match read_file(path) {
            Ok(settings) => figment = figment.merge(settings),
            Err(problem) => problems.push(problem),
        }
    }
    let mut ours: Vec<(String, String)> = variables
        .filter(|(name, _)| name.starts_with(PREFIX))
        .collect();
    ours.sort();
    for (name, value) in &ours {
        match Settings::of_variable(name, value, &ours) {
            Ok(settings) => figment = figment.merge(settings),
            Err(problem) => problems.push(problem),
        }
    }
    (figment, problems)
}

fn read_file(path: &Path) -> Result<Settings, Problem> {
    let shown = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|e| Problem::general(format!("the file {shown} cannot be read: {e}")))?;
    let table: toml::Table = toml::from_str(&text).map_err(|e| {
        // Its full text repeats the line, which may hold a secret.
        let line = e
            .span()
            .map_or(0, |span| text[..span.start].lines().count().max(1));
        let what = format!(
            "the file {shown} is not TOML at line {line}: {}",
            e.message()
        );
        Problem::general(what)
    })?;
    let values = Value::serialize(&table)
        .ok()
        .and_then(Value::into_dict)
        .ok_or_else(|| Problem::general(format!("the file {shown} cannot be understood")))?;
    Ok(Settings {
        origin: shown.to_string(),
        values,
    })
}

/// Settings of one origin.
struct Settings {
    origin: String,
    values: Dict,
}

impl Settings {
    fn of_variable(name: &str, value: &str, all: &[(String, String)]) -> Result<Self, Problem> {
        let (stem, value) = match name.strip_suffix(FILE_SUFFIX) {
            Some(stem) if all.iter().any(|(other, _)| other == stem) => {
                let problem = format!("{stem} and {name} are both set; keep one of them");
                return Err(Problem::general(problem));
            }
            Some(stem) => (stem, read_secret(name, value)?),
            None => (name, value.to_owned()),
        };
        let key = stem
            .trim_start_matches(PREFIX)
            .to_lowercase()
            .replace("__", ".");
        let nested = figment::util::nest(&key, Value::from(value));
        match nested.into_dict() {
            Some(values) => Ok(Self {
                origin: name.to_owned(),
                values,
            }),
            None => Err(Problem::general(format!("{name} names no setting"))),
        }
    }
}

fn read_secret(variable: &str, path: &str) -> Result<String, Problem> {
    let text = std::fs::read_to_string(path).map_err(|e| {
        Problem::general(format!(
            "{variable} names the file {path}, which cannot be read: {e}"
        ))
    })?;
    // Whoever wrote the file did not mean the line break at its end.
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}

impl Provider for Settings {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.origin.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}

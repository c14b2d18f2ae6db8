//! Reads settings one by one.
//!
//! Invariant: what is never asked for is unknown. So there is no list of settings beside the code
//! that uses them, and a misspelt one is an error that names the one that was meant.

use super::problem::Problem;
use super::source::variable_of;
use figment::Figment;
use figment::value::{Dict, Num, Value};
use publish::Secret;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// One setting with its effective value, for `fleet check-config`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// `section.key`.
    pub key: String,
    /// The value; `***` for a secret.
    pub value: String,
    /// The file, the variable, or `default`.
    pub origin: String,
}

/// Reads settings and collects what is wrong with them.
pub struct Reader {
    figment: Figment,
    asked: BTreeSet<String>,
    shown: Vec<Shown>,
    problems: Vec<Problem>,
}

impl Reader {
    /// A reader of merged settings.
    pub fn new(figment: Figment, problems: Vec<Problem>) -> Self {
        Self {
            figment,
            asked: BTreeSet::new(),
            shown: Vec::new(),
            problems,
        }
    }

    /// A setting that may be left out.
    pub fn optional<T: Setting>(&mut self, key: &str) -> Option<T> {
        self.asked.insert(key.to_owned());
        let value = self.figment.find_value(key).ok()?;
        match T::read(&value) {
            Some(setting) => {
                self.show(key, setting.shown(), self.origin(key));
                Some(setting)
            }
            None => {
                let problem = format!("is not {}; see {}", T::expected(), self.origin(key));
                self.problem(Problem::error(&[key], problem));
                None
            }
        }
    }

    /// A setting with a default.
    pub fn or<T: Setting>(&mut self, key: &str, default: T) -> T {
        match self.optional(key) {
            Some(setting) => setting,
            None => {
                if !self.is_unsound(key) {
                    self.show(key, default.shown(), "default".to_owned());
                }
                default
            }
        }
    }

    /// A number with a default that must be at least `least`.
    pub fn at_least(&mut self, key: &str, least: u64, default: u64) -> u64 {
        let number = self.or(key, default);
        if number < least {
            let problem = format!("is {number}; it must be at least {least}");
            self.problem(Problem::error(&[key], problem));
        }
        number
    }

    /// A duration in milliseconds, at least one.
    pub fn millis(&mut self, key: &str, default: u64) -> Duration {
        Duration::from_millis(self.at_least(key, 1, default))
    }

    /// A duration in seconds, at least one.
    pub fn seconds(&mut self, key: &str, default: u64) -> Duration {
        Duration::from_secs(self.at_least(key, 1, default))
    }

    /// Adds a problem.
    pub fn problem(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Whether something is wrong with a setting already, so that nothing can be concluded from it.
    pub fn is_unsound(&self, key: &str) -> bool {
        self.problems
            .iter()
            .any(|problem| problem.is_error() && problem.keys.iter().any(|k| k == key))
    }

    /// Whether a setting was given, by file or environment.
    pub fn is_given(&self, key: &str) -> bool {
        self.figment.contains(key)
    }

    /// Ends reading: what was given and never asked for is unknown.
    pub fn finish(mut self) -> (Vec<Shown>, Vec<Problem>) {
        for key in self.given() {
            if !self.asked.contains(&key) {
                let problem = self.unknown(&key);
                self.problem(problem);
            }
        }
        (self.shown, self.problems)
    }

    fn given(&self) -> Vec<String> {
        let mut keys = Vec::new();
        if let Ok(whole) = self.figment.find_value("")
            && let Some(dict) = whole.as_dict()
        {
            leaves(dict, "", &mut keys);
        }
        keys
    }

    fn unknown(&self, key: &str) -> Problem {
        let origin = self.origin(key);
        if self
            .asked
            .iter()
            .any(|known| known.starts_with(&format!("{key}.")))
        {
            return Problem::error(&[key], format!("is a section, not a setting; see {origin}"));
        }
        let nearest = self
            .asked
            .iter()
            .map(|known| (strsim::normalized_damerau_levenshtein(known, key), known))
            .max_by(|(one, _), (other, _)| one.total_cmp(other))
            .map(|(_, known)| known.as_str())
            .unwrap_or_default();
        let meant = format!("did you mean {nearest} ({})?", variable_of(nearest));
        Problem::error(
            &[key],
            format!("is no setting, but stands in {origin}; {meant}"),
        )
    }

    fn origin(&self, key: &str) -> String {
        let metadata = self.figment.find_metadata(key);
        metadata
            .map(|metadata| metadata.name.to_string())
            .unwrap_or_default()
    }

    fn show(&mut self, key: &str, value: String, origin: String) {
        self.shown.push(Shown {
            key: key.to_owned(),
            value,
            origin,
        });
    }
}

fn leaves(dict: &Dict, path: &str, keys: &mut Vec<String>) {
    for (name, value) in dict {
        let key = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        match value.as_dict() {
            Some(inner) => leaves(inner, &key, keys),
            None => keys.push(key),
        }
    }
}

/// A type that a setting can have. Text is always understood, since variables hold nothing else.
pub trait Setting: Sized {
    /// The value; `None` where it is not what is expected.
    fn read(value: &Value) -> Option<Self>;
    /// What is expected, after "is not".
    fn expected() -> String;
    /// The value as it may be shown.
    fn shown(&self) -> String;
}

/// A setting that is one of a few words.
pub trait Choice: Copy + PartialEq + 'static {
    /// The words.
    const CHOICES: &'static [(&'static str, Self)];
}

impl<T: Choice> Setting for T {
    fn read(value: &Value) -> Option<Self> {
        let word = value.as_str()?;
        T::CHOICES
            .iter()
            .find(|(known, _)| *known == word)
            .map(|(_, choice)| *choice)
    }

    fn expected() -> String {
        let words: Vec<String> = T::CHOICES
            .iter()
            .map(|(word, _)| format!("{word:?}"))
            .collect();
        format!("one of {}", words.join(", "))
    }

    fn shown(&self) -> String {
        let word = T::CHOICES.iter().find(|(_, choice)| choice == self);
        word.map(|(word, _)| (*word).to_owned()).unwrap_or_default()
    }
}

impl Setting for String {
    fn read(value: &Value) -> Option<Self> {
        value
            .as_str()
            .filter(|text| !text.trim().is_empty())
            .map(str::to_owned)
    }

    fn expected() -> String {
        "a text".to_owned()
    }

    fn shown(&self) -> String {
        self.clone()
    }
}

impl Setting for Secret {
    fn read(value: &Value) -> Option<Self> {
        String::read(value).map(Self::new)
    }

    fn expected() -> String {
        "a text".to_owned()
    }

    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Setting for PathBuf {
    fn read(value: &Value) -> Option<Self> {
        String::read(value).map(Self::from)
    }

    fn expected() -> String {
        "a path".to_owned()
    }

    fn shown(&self) -> String {
        self.display().to_string()
    }
}

/// A list, or a text with commas.
impl Setting for Vec<String> {
    fn read(value: &Value) -> Option<Self> {
        let items: Vec<String> = match value {
            Value::Array(_, items) => items.iter().map(String::read).collect::<Option<_>>()?,
            text => text
                .as_str()?
                .split(',')
                .map(|item| item.trim().to_owned())
                .collect(),
        };
        let sound = !items.is_empty() && items.iter().all(|item| !item.is_empty());
        sound.then_some(items)
    }

    fn expected() -> String {
        "a list of texts, or one text with commas".to_owned()
    }

    fn shown(&self) -> String {
        self.join(", ")
    }
}

impl Setting for bool {
    fn read(value: &Value) -> Option<Self> {
        value.to_bool().or_else(|| from_text(value))
    }

    fn expected() -> String {
        "true or false".to_owned()
    }

    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Setting for u64 {
    fn read(value: &Value) -> Option<Self> {
        match value {
            Value::Num(_, number) => {
                let whole = number.to_u128().and_then(|n| Self::try_from(n).ok());
                whole.or_else(|| number.to_i128().and_then(|n| Self::try_from(n).ok()))
            }
            text => from_text(text),
        }
    }

    fn expected() -> String {
        "a whole number".to_owned()
    }

    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Setting for f64 {
    fn read(value: &Value) -> Option<Self> {
        let number = match value {
            Value::Num(_, Num::F64(number)) => Some(*number),
            #[allow(clippy::cast_precision_loss)]
            Value::Num(_, number) => number.to_i128().map(|whole| whole as Self),
            text => from_text(text),
        };
        number.filter(|number| number.is_finite())
    }

    fn expected() -> String {
        "a number".to_owned()
    }

    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Setting for SocketAddr {
    fn read(value: &Value) -> Option<Self> {
        from_text(value)
    }

    fn expected() -> String {
        "an address such as \"127.0.0.1:9464\" or \"[::]:9464\"".to_owned()
    }

    fn shown(&self) -> String {
        self.to_string()
    }
}

fn from_text<T: FromStr>(value: &Value) -> Option<T> {
    value.as_str()?.trim().parse().ok()
}

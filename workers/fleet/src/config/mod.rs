//! The configuration: `fleet.toml`, overridden by `FLEET__SECTION__KEY`.
//!
//! Invariants:
//!
//! - The configuration is checked as a whole before anything starts. Every problem is listed, each
//!   in one line that names the setting and what to do; contradictions are errors, never resolved
//!   by guessing.
//! - A secret is a [`publish::Secret`] from the moment that it is read, and is never shown.

mod access;
mod inbox;
mod problem;
mod reader;
mod relations;
mod sections;
mod security;
mod source;

pub use inbox::InboxRetention;
pub use problem::{Problem, Unusable};
pub use reader::Shown;
pub use sections::{Database, Engine, Http, Kafka, Log, LogFormat, Login, RegistrySection};

use databases::Environment;
use reader::Reader;
use std::path::{Path, PathBuf};

/// The file that is read where none is named and it is there.
pub const DEFAULT_FILE: &str = "fleet.toml";

/// Everything that can be set.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where this runs; the last part of database names.
    pub environment: Environment,
    /// `[kafka]`
    pub kafka: Kafka,
    /// `[registry]`
    pub registry: RegistrySection,
    /// `[database]`
    pub database: Database,
    /// `[engine]`
    pub engine: Engine,
    /// `[http]`
    pub http: Http,
    /// `[log]`
    pub log: Log,
}

/// A configuration as it was read, with what is to be said about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings; defaults stand in for what could not be read.
    pub config: Config,
    /// What is wrong. Settings that are merely missing are not: who needs one says so.
    pub problems: Vec<Problem>,
    /// The effective settings.
    pub effective: Vec<Shown>,
}

impl Loaded {
    /// Reads the named file, or `fleet.toml` if it is there, and the environment.
    pub fn read(file: Option<&Path>) -> Self {
        let default = PathBuf::from(DEFAULT_FILE);
        let file = match file {
            Some(named) => Some(named),
            None => Some(default.as_path()).filter(|path| path.exists()),
        };
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        Self::from_sources(file, variables)
    }

    /// Reads a file and variables.
    pub fn from_sources(
        file: Option<&Path>,
        variables: impl Iterator<Item = (String, String)>,
    ) -> Self {
        let (figment, problems) = source::merge(file, variables);
        let mut reader = Reader::new(figment, problems);
        let config = Config::read(&mut reader);
        for problem in relations::problems(&config, &reader) {
            reader.problem(problem);
        }
        let (effective, problems) = reader.finish();
        Self {
            config,
            problems,
            effective,
        }
    }

    /// The configuration, if nothing is wrong with it. Warnings are given to `warn`.
    ///
    /// # Errors
    /// [`Unusable`] with every problem.
    pub fn usable(self, mut warn: impl FnMut(&Problem)) -> Result<Config, Unusable> {
        if self.problems.iter().any(Problem::is_error) {
            return Err(Unusable(self.problems));
        }
        self.problems.iter().for_each(&mut warn);
        Ok(self.config)
    }
}

#[cfg(test)]
mod access_tests;
#[cfg(test)]
mod tests;

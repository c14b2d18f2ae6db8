//! Where `tools/install` put the components. Looks only; never installs.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// The installer's own list of versions: one place for both.
const VERSIONS: &str = include_str!("../../../tools/versions.env");

/// A Java component in the cache.
#[derive(Debug)]
pub(crate) struct JavaComponent {
    /// The pinned version.
    pub(crate) version: &'static str,
    /// `<cache>/learnexpert/<name>-<version>`.
    pub(crate) directory: PathBuf,
    /// The `java` program.
    pub(crate) java: PathBuf,
}

impl JavaComponent {
    /// Finds the component that `tools/install` knows as `name` and whose version stands under
    /// `version_key` in `versions.env`.
    pub(crate) fn find(name: &'static str, version_key: &str) -> Result<Self> {
        let version = pinned_version(version_key)?;
        let directory = cache()?.join(format!("{name}-{version}"));
        if !directory.is_dir() {
            let missing = format!("{name} {version} is not in {}", directory.display());
            return Err(Error::NotInstalled {
                component: name,
                missing,
            });
        }
        let java = java().ok_or(Error::NotInstalled {
            component: name,
            missing: String::from("there is no `java` in JAVA_HOME or PATH"),
        })?;
        Ok(Self {
            version,
            directory,
            java,
        })
    }

    /// Flags for a quick start that leaves nothing outside `directory`: the simple collector, the
    /// first compiler alone, and the archive of loaded classes, which Java ignores when it does
    /// not fit.
    pub(crate) fn flags(&self, directory: &Path) -> Vec<OsString> {
        let mut flags: Vec<OsString> = [
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-XX:-UsePerfData",
        ]
        .map(OsString::from)
        .into();
        // Native libraries are unpacked there, and stay when the process is killed.
        flags.push(flag("-Djava.io.tmpdir=", directory));
        let archive = self.directory.join("classes.jsa");
        if archive.is_file() {
            flags.push(flag("-XX:SharedArchiveFile=", &archive));
        }
        flags
    }
}

fn flag(name: &str, value: &Path) -> OsString {
    let mut flag = OsString::from(name);
    flag.push(value);
    flag
}

fn pinned_version(key: &str) -> Result<&'static str> {
    VERSIONS
        .lines()
        .filter_map(|line| line.split_once('='))
        .find_map(|(name, version)| (name == key).then_some(version))
        .ok_or_else(|| Error::Unsuitable(format!("tools/versions.env has no {key}")))
}

fn cache() -> Result<PathBuf> {
    let from = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    from("XDG_CACHE_HOME")
        .or_else(|| Some(from("HOME")?.join(".cache")))
        .map(|cache| cache.join("learnexpert"))
        .ok_or_else(|| Error::Unsuitable(String::from("set HOME or XDG_CACHE_HOME")))
}

/// The same choice as the installer's: `JAVA_HOME` first, then `PATH`.
fn java() -> Option<PathBuf> {
    let from_home = std::env::var_os("JAVA_HOME").map(|home| Path::new(&home).join("bin/java"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let from_path = std::env::split_paths(&path).map(|directory| directory.join("java"));
    from_home
        .into_iter()
        .chain(from_path)
        .find(|java| java.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_component_has_a_pinned_version() {
        for key in ["KAFKA_VERSION", "APICURIO_VERSION"] {
            assert!(!pinned_version(key).unwrap().is_empty());
        }
    }

    #[test]
    fn a_component_that_is_missing_names_the_command_that_installs_it() {
        let missing = String::from("kafka 4.1.2 is not in /nowhere");
        let error = Error::NotInstalled {
            component: "kafka",
            missing,
        };
        assert_eq!(
            error.to_string(),
            "kafka 4.1.2 is not in /nowhere; install it with `tools/install kafka`"
        );
    }
}

//! The current schemas and those that were released, from the binary or from a folder.

use anyhow::{Context, Result, bail};
use events::EventType;
use events::compatibility::Version;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What the build found in `avro/released`: service and record, version, text.
const RELEASED: &[(&str, u32, &str)] = include!(concat!(env!("OUT_DIR"), "/released.rs"));

/// Folders beside the services that hold no current schema.
const NOT_CURRENT: [&str; 3] = ["examples", "golden", "released"];

/// One event's schema as it is, and as it was released.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contract {
    /// The schema's text now; `None` for one that was released and is gone.
    pub current: Option<String>,
    /// Released versions, oldest first.
    pub released: Vec<(Version, String)>,
}

/// Every event's schema, by service and record: `iam/UserRegistered`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contracts(pub BTreeMap<String, Contract>);

impl Contracts {
    /// Those that this binary was built with.
    pub fn embedded() -> Self {
        let mut contracts: BTreeMap<String, Contract> = BTreeMap::new();
        for event in EventType::ALL {
            let short = event.contract().schema_file;
            let short = short
                .trim_start_matches("avro/")
                .trim_end_matches(".avsc")
                .to_owned();
            let current = event.contract().schema.to_owned();
            contracts.entry(short).or_default().current = Some(current);
        }
        for (short, version, text) in RELEASED {
            let contract = contracts.entry((*short).to_owned()).or_default();
            contract
                .released
                .push((Version(*version), (*text).to_owned()));
        }
        Self(contracts).sorted()
    }

    /// Those in a folder laid out like `avro/`.
    pub fn read(folder: &Path) -> Result<Self> {
        let mut contracts: BTreeMap<String, Contract> = BTreeMap::new();
        for (service, path) in entries(folder)? {
            if !path.is_dir() || NOT_CURRENT.contains(&service.as_str()) {
                continue;
            }
            for (file, path) in entries(&path)? {
                if let Some(record) = file.strip_suffix(".avsc") {
                    let contract = contracts.entry(format!("{service}/{record}")).or_default();
                    contract.current = Some(read(&path)?);
                }
            }
        }
        if contracts.is_empty() {
            bail!(
                "{} holds no schemas; name the repository's folder avro",
                folder.display()
            );
        }
        let released = folder.join("released");
        for (service, path) in if released.exists() {
            entries(&released)?
        } else {
            Vec::new()
        } {
            for (record, path) in entries(&path)? {
                for (file, path) in entries(&path)? {
                    let Some(version) = version_of(&file) else {
                        bail!("{}: a released schema is v<number>.avsc", path.display());
                    };
                    let contract = contracts.entry(format!("{service}/{record}")).or_default();
                    contract.released.push((version, read(&path)?));
                }
            }
        }
        Ok(Self(contracts).sorted())
    }

    fn sorted(mut self) -> Self {
        for contract in self.0.values_mut() {
            contract.released.sort_by_key(|(version, _)| *version);
        }
        self
    }
}

impl Contract {
    /// Whether the current schema is the one released last, apart from white space.
    pub fn is_released(&self) -> bool {
        match (&self.current, self.released.last()) {
            (Some(current), Some((_, released))) => is_same(current, released),
            (None, _) => true,
            (Some(_), None) => false,
        }
    }

    /// The version that a release would make.
    pub fn next_version(&self) -> Version {
        Version(self.released.last().map_or(0, |(version, _)| version.0) + 1)
    }

    /// The released versions, as the compatibility check wants them.
    pub fn released_texts(&self) -> Vec<(Version, &str)> {
        self.released
            .iter()
            .map(|(version, text)| (*version, text.as_str()))
            .collect()
    }
}

fn is_same(one: &str, other: &str) -> bool {
    let parse = |text| serde_json::from_str::<serde_json::Value>(text);
    matches!((parse(one), parse(other)), (Ok(one), Ok(other)) if one == other)
}

fn version_of(file: &str) -> Option<Version> {
    file.strip_prefix('v')?
        .strip_suffix(".avsc")?
        .parse()
        .ok()
        .map(Version)
}

/// The entries of a folder by name, sorted.
fn entries(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let unreadable = || format!("the folder {} cannot be read", folder.display());
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(unreadable)? {
        let path = entry.with_context(unreadable)?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        entries.push((name, path));
    }
    entries.sort();
    Ok(entries)
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_embedded_is_what_stands_in_the_repository() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../avro");
        let embedded = Contracts::embedded();
        assert_eq!(embedded, Contracts::read(&folder).unwrap());
        assert_eq!(embedded.0.len(), EventType::ALL.len());
        assert!(embedded.0.values().all(Contract::is_released));
        assert_eq!(
            embedded.0["progress/CourseEnrolled"].next_version(),
            Version(3)
        );
    }

    #[test]
    fn versions_are_in_the_order_of_their_numbers() {
        let folder = tempfile::tempdir().unwrap();
        let released = folder.path().join("released/iam/X");
        std::fs::create_dir_all(&released).unwrap();
        std::fs::create_dir_all(folder.path().join("iam")).unwrap();
        std::fs::write(folder.path().join("iam/X.avsc"), "{}").unwrap();
        for number in [10, 9, 1] {
            std::fs::write(released.join(format!("v{number}.avsc")), "{}").unwrap();
        }
        let contracts = Contracts::read(folder.path()).unwrap();
        assert_eq!(contracts.0["iam/X"].next_version(), Version(11));

        std::fs::write(released.join("draft.avsc"), "{}").unwrap();
        let error = Contracts::read(folder.path()).unwrap_err().to_string();
        assert!(error.contains("draft.avsc"), "{error}");
    }

    #[test]
    fn a_folder_without_schemas_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let error = Contracts::read(folder.path()).unwrap_err().to_string();
        assert!(error.contains("holds no schemas"), "{error}");
    }
}

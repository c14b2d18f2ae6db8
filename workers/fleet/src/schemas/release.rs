//! Keeps a changed schema as the next released version.
//!
//! Invariant: a released version is never written over, and nothing is released while any schema
//! breaks a rule.

use super::check;
use super::contracts::Contracts;
use anyhow::{Context, Result};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

/// What a release would do or did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing: the schemas break rules.
    Refused(Vec<String>),
    /// These files are new.
    Released(Vec<PathBuf>),
}

/// Releases every schema that changed since its last release.
pub fn release(folder: &Path) -> Result<Outcome> {
    let contracts = Contracts::read(folder)?;
    let report = check::check(&contracts);
    if !report.violations.is_empty() {
        return Ok(Outcome::Refused(report.violations));
    }
    let mut files = Vec::new();
    for (short, contract) in &contracts.0 {
        let Some(current) = contract
            .current
            .as_ref()
            .filter(|_| !contract.is_released())
        else {
            continue;
        };
        let file = folder.join(format!("released/{short}/{}.avsc", contract.next_version()));
        write_new(&file, current).with_context(|| format!("{} not written", file.display()))?;
        files.push(file);
    }
    Ok(Outcome::Released(files))
}

fn write_new(file: &Path, text: &str) -> std::io::Result<()> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(file)?
        .write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use events::EventType;

    /// A folder with one event, as far as the repository has released it.
    fn repository() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let current = folder.path().join("progress");
        std::fs::create_dir_all(&current).unwrap();
        std::fs::write(current.join("CourseFollowed.avsc"), schema()).unwrap();
        folder
    }

    fn schema() -> &'static str {
        EventType::CourseFollowed.contract().schema
    }

    fn change(folder: &Path, edit: impl FnOnce(&mut Vec<serde_json::Value>)) {
        let mut schema: serde_json::Value = serde_json::from_str(schema()).unwrap();
        edit(schema["fields"].as_array_mut().unwrap());
        std::fs::write(
            folder.join("progress/CourseFollowed.avsc"),
            schema.to_string(),
        )
        .unwrap();
    }

    #[test]
    fn a_new_schema_becomes_version_1_and_nothing_is_released_twice() {
        let folder = repository();
        let file = folder
            .path()
            .join("released/progress/CourseFollowed/v1.avsc");
        assert_eq!(
            release(folder.path()).unwrap(),
            Outcome::Released(vec![file.clone()])
        );
        assert_eq!(std::fs::read_to_string(file).unwrap(), schema());
        assert_eq!(release(folder.path()).unwrap(), Outcome::Released(vec![]));
    }

    #[test]
    fn a_compatible_change_becomes_the_next_version() {
        let folder = repository();
        release(folder.path()).unwrap();
        change(folder.path(), |fields| {
            fields.push(serde_json::json!({
                "name": "campaign", "doc": "What led there.", "type": ["null", "string"], "default": null
            }));
        });
        let file = folder
            .path()
            .join("released/progress/CourseFollowed/v2.avsc");
        assert_eq!(
            release(folder.path()).unwrap(),
            Outcome::Released(vec![file])
        );
    }

    #[test]
    fn an_incompatible_change_is_refused_and_nothing_is_written() {
        let folder = repository();
        release(folder.path()).unwrap();
        change(folder.path(), |fields| {
            fields.retain(|field| field["name"] != "followed_id");
        });
        let Outcome::Refused(violations) = release(folder.path()).unwrap() else {
            panic!()
        };
        assert!(violations[0].contains("followed_id"), "{violations:?}");
        assert!(
            !folder
                .path()
                .join("released/progress/CourseFollowed/v2.avsc")
                .exists()
        );
    }
}

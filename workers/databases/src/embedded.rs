//! The migrations that this binary carries.
//!
//! Invariant: the engine's migrations come before a service's own, so that a service's tables may
//! rely on the engine's and never the other way round. Both are recorded in one table per database;
//! the engine's versions start at [`FIRST_ENGINE_VERSION`], a service's stay below.

use sqlx::migrate::{Migration, Migrator};

use crate::Service;

include!(concat!(env!("OUT_DIR"), "/folders.rs"));

const ENGINE: &str = "engine";
#[cfg(test)]
const FIRST_ENGINE_VERSION: i64 = 1001;

/// The stand-in for Supabase Auth; no migration, because no production database has it.
pub(crate) const AUTH_SHIM: &str = include_str!("../../../migrations/iam/shim/supabase.sql");

fn folder(name: &str) -> impl Iterator<Item = &'static Migration> + use<> {
    let migrator = FOLDERS
        .iter()
        .find(|(folder, _)| *folder == name)
        .map(|(_, migrator)| migrator);
    migrator.into_iter().flat_map(Migrator::iter)
}

pub(crate) fn has_folder(name: &str) -> bool {
    FOLDERS.iter().any(|(folder, _)| *folder == name)
}

/// All migrations of a service's database, in the order in which they are applied.
pub(crate) fn migrations(service: Service) -> Vec<&'static Migration> {
    folder(ENGINE).chain(folder(service.name())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_folder_is_the_engine_s_or_a_service_s() {
        for (name, _) in FOLDERS {
            assert!(
                *name == ENGINE || name.parse::<Service>().is_ok(),
                "migrations/{name}"
            );
        }
    }

    #[test]
    fn engine_and_service_versions_do_not_meet() {
        assert!(folder(ENGINE).all(|migration| migration.version >= FIRST_ENGINE_VERSION));
        for service in Service::migratable() {
            assert!(
                folder(service.name()).all(|migration| migration.version < FIRST_ENGINE_VERSION),
                "migrations/{service}"
            );
        }
    }

    #[test]
    fn every_sql_file_of_a_folder_is_a_migration() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../migrations");
        for (name, migrator) in FOLDERS {
            let files = std::fs::read_dir(root.join(name)).unwrap().filter(|entry| {
                entry
                    .as_ref()
                    .unwrap()
                    .path()
                    .extension()
                    .is_some_and(|extension| extension == "sql")
            });
            assert_eq!(files.count(), migrator.iter().count(), "migrations/{name}");
        }
    }
}

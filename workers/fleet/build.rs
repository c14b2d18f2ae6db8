//! Puts the released schemas (`avro/released/<service>/<Record>/v<n>.avsc`) into the binary, so
//! that `fleet schemas check` needs no repository.
#![allow(clippy::panic, clippy::expect_used)]

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    let root = Path::new(&env::var("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("../..");
    let folder = root.join("avro/released");
    println!("cargo::rerun-if-changed={}", folder.display());

    let mut table = String::from("&[\n");
    for service in entries(&folder) {
        for record in entries(&service) {
            for file in entries(&record) {
                let (short, version) = (short_name(&service, &record), version_of(&file));
                let text = fs::read_to_string(&file).expect("a released schema can be read");
                writeln!(table, "    ({short:?}, {version}, {text:?}),").expect("memory is there");
            }
        }
    }
    table.push_str("]\n");
    let target = Path::new(&env::var("OUT_DIR").expect("cargo sets it")).join("released.rs");
    fs::write(target, table).expect("the output directory is writable");
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let read = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut paths: Vec<PathBuf> = read
        .map(|entry| entry.expect("it was listed").path())
        .collect();
    paths.sort();
    paths
}

fn short_name(service: &Path, record: &Path) -> String {
    let name = |path: &Path| {
        path.file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    };
    format!("{}/{}", name(service), name(record))
}

fn version_of(file: &Path) -> u32 {
    let stem = file
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let number = stem
        .strip_prefix('v')
        .and_then(|number| number.parse().ok());
    number.unwrap_or_else(|| panic!("{}: a released schema is v<number>.avsc", file.display()))
}

//! Turns `avro/` and `topics/` into Rust: one struct per record, one enum over all events, one
//! table of topics. The contract files are the only source; a contradiction between them (an event
//! in two topics, a shared type defined in two ways, a key that is no field) stops the build and
//! names the file to mend.
#![allow(clippy::panic, clippy::expect_used, clippy::unwrap_used)]

mod catalogue;
mod rust_types;
mod schemas;

use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    let root = Path::new(&env::var("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("../..");
    println!("cargo::rerun-if-changed={}", root.join("avro").display());
    println!("cargo::rerun-if-changed={}", root.join("topics").display());
    println!("cargo::rerun-if-changed=build");

    let schemas = schemas::read_all(&root.join("avro"));
    let catalogue = catalogue::read_all(&root.join("topics"), &schemas);
    let generated = format!(
        "{}\n{}",
        rust_types::emit(&schemas),
        catalogue::emit(&catalogue, &schemas)
    );
    let target: PathBuf =
        Path::new(&env::var("OUT_DIR").expect("cargo sets it")).join("generated.rs");
    fs::write(target, generated).expect("the output directory is writable");
}

/// Ends the build with a message that a person can act on.
pub fn refuse(message: String) -> ! {
    panic!("\n\ncontract error: {message}\n\n")
}

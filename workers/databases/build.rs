//! Lists the folders of `migrations/` that hold migrations, so that a service becomes migratable
//! by getting a folder, and rebuilds the crate when a file comes or goes.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

const MIGRATIONS: &str = "../../migrations";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={MIGRATIONS}");

    let mut folders = Vec::new();
    for entry in fs::read_dir(MIGRATIONS)? {
        let path = entry?.path();
        if path.is_dir() && holds_migrations(&path)? {
            folders.push(
                path.file_name()
                    .ok_or("a folder without a name")?
                    .to_string_lossy()
                    .into_owned(),
            );
        }
    }
    folders.sort();

    let mut code = String::from("static FOLDERS: &[(&str, Migrator)] = &[\n");
    for folder in folders {
        writeln!(
            code,
            "    ({folder:?}, sqlx::migrate!(\"{MIGRATIONS}/{folder}\")),"
        )?;
    }
    code.push_str("];\n");
    let target = PathBuf::from(env::var_os("OUT_DIR").ok_or("no OUT_DIR")?).join("folders.rs");
    fs::write(target, code)?;
    Ok(())
}

fn holds_migrations(folder: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(folder)? {
        if entry?
            .path()
            .extension()
            .is_some_and(|extension| extension == "sql")
        {
            return Ok(true);
        }
    }
    Ok(false)
}

//! The directory of one server.
//!
//! Invariant: a directory exists only while the process that made it does, or until the next
//! such process starts. Its owner holds a lock inside it, which the kernel releases however the
//! owner ends; whoever can take that lock may remove the directory.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Once;

use nix::unistd::User;

use crate::{Error, Result};

const PREFIX: &str = "testkit-";
const OWNER_LOCK: &str = "owner.lock";
const KEEP_MARK: &str = "keep";

static SWEEP: Once = Once::new();

/// A new directory, removed on drop unless `TESTKIT_KEEP` is set.
#[derive(Debug)]
pub(crate) struct WorkDir {
    directory: tempfile::TempDir,
    _owner_lock: File,
}

impl WorkDir {
    pub(crate) fn create(component: &str) -> Result<Self> {
        let parent = std::env::temp_dir();
        SWEEP.call_once(|| sweep(&parent));

        let mut directory = tempfile::Builder::new()
            .prefix(&format!("{PREFIX}{component}-"))
            .tempdir_in(&parent)
            .map_err(Error::io(format!(
                "create a directory in {}",
                parent.display()
            )))?;
        let owner_lock = lock_as_owner(directory.path())
            .map_err(Error::io(format!("lock {}", directory.path().display())))?;
        if std::env::var_os("TESTKIT_KEEP").is_some() {
            fs::write(directory.path().join(KEEP_MARK), "")
                .map_err(Error::io(format!("mark {}", directory.path().display())))?;
            directory.disable_cleanup(true);
        }
        Ok(Self {
            directory,
            _owner_lock: owner_lock,
        })
    }

    /// Gives the directory to another user, who can then reach and write it.
    pub(crate) fn give_to(&self, user: &User) -> Result<()> {
        let (uid, gid) = (Some(user.uid.as_raw()), Some(user.gid.as_raw()));
        std::os::unix::fs::chown(self.path(), uid, gid).map_err(Error::io(format!(
            "give {} to {}",
            self.path().display(),
            user.name
        )))
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }
}

/// The lock is taken before it gets its name: a lock file that can be found is never unlocked
/// while its owner lives.
fn lock_as_owner(directory: &Path) -> std::io::Result<File> {
    let unnamed = directory.join("owner.lock.new");
    let lock = File::create(&unnamed)?;
    lock.lock()?;
    fs::rename(unnamed, directory.join(OWNER_LOCK))?;
    Ok(lock)
}

/// Removes the directories whose owners are gone. What cannot be read or removed belongs to
/// another user and is left to them.
fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else {
        return;
    };
    for entry in entries.flatten() {
        let ours = entry
            .file_name()
            .to_str()
            .is_some_and(|name| name.starts_with(PREFIX));
        if ours && !entry.path().join(KEEP_MARK).exists() {
            remove_if_abandoned(&entry.path());
        }
    }
}

fn remove_if_abandoned(directory: &Path) {
    let Ok(lock) = File::open(directory.join(OWNER_LOCK)) else {
        return;
    };
    if lock.try_lock().is_ok() {
        let _left_to_the_next_sweep = fs::remove_dir_all(directory);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory_with_lock(parent: &Path, name: &str) -> (PathBuf, File) {
        let directory = parent.join(name);
        fs::create_dir(&directory).unwrap();
        let lock = lock_as_owner(&directory).unwrap();
        (directory, lock)
    }

    #[test]
    fn a_directory_is_removed_when_it_is_dropped() {
        let workdir = WorkDir::create("test").unwrap();
        let path = workdir.path().to_owned();
        fs::write(path.join("file"), "x").unwrap();
        drop(workdir);
        assert!(!path.exists());
    }

    #[test]
    fn a_sweep_removes_the_directory_of_an_owner_that_is_gone() {
        let parent = tempfile::tempdir().unwrap();
        let (abandoned, lock) = directory_with_lock(parent.path(), "testkit-abandoned");
        drop(lock);
        sweep(parent.path());
        assert!(!abandoned.exists());
    }

    #[test]
    fn a_sweep_leaves_what_is_owned_kept_or_not_ours() {
        let parent = tempfile::tempdir().unwrap();
        let (owned, _lock) = directory_with_lock(parent.path(), "testkit-owned");
        let (kept, kept_lock) = directory_with_lock(parent.path(), "testkit-kept");
        fs::write(kept.join(KEEP_MARK), "").unwrap();
        let (foreign, foreign_lock) = directory_with_lock(parent.path(), "foreign");
        drop((kept_lock, foreign_lock));
        sweep(parent.path());
        assert!(owned.exists() && kept.exists() && foreign.exists());
    }
}

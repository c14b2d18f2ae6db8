//! Runs the binary as its users do.
#![allow(dead_code)] // Each test crate uses its part of it.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// What a run of the binary said.
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Said {
    /// Fails the test, with everything that was said, unless the exit code is the expected one.
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(
            self.code, code,
            "--- out\n{}--- err\n{}",
            self.out, self.err
        );
        self
    }
}

/// The binary in an empty folder of its own, with settings by environment.
pub struct Fleet {
    folder: tempfile::TempDir,
    settings: Vec<(String, String)>,
}

impl Fleet {
    pub fn new(settings: &[(&str, &str)]) -> Self {
        let settings = settings
            .iter()
            .map(|(key, value)| {
                let variable = format!("FLEET__{}", key.to_uppercase().replace('.', "__"));
                (variable, (*value).to_owned())
            })
            .collect();
        Self {
            folder: tempfile::tempdir().unwrap(),
            settings,
        }
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn write(&self, file: &str, text: &str) {
        let path = self.folder.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub fn run(&self, arguments: &[&str]) -> Said {
        self.run_with_input(arguments, "")
    }

    /// Runs the binary for a reader that goes away at once, and returns its exit code.
    pub fn run_unread(&self, arguments: &[&str]) -> i32 {
        let mut child = self.command(arguments).spawn().unwrap();
        drop(child.stdout.take());
        child.wait().unwrap().code().unwrap()
    }

    pub fn run_with_input(&self, arguments: &[&str], input: &str) -> Said {
        let mut child = self.command(arguments).spawn().unwrap();
        // A run that reads no input may have ended already.
        let _ended = child.stdin.take().unwrap().write_all(input.as_bytes());
        let Output {
            status,
            stdout,
            stderr,
        } = child.wait_with_output().unwrap();
        Said {
            code: status.code().unwrap(),
            out: String::from_utf8(stdout).unwrap(),
            err: String::from_utf8(stderr).unwrap(),
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fleet"));
        command.args(arguments).current_dir(self.folder.path());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("FLEET__") {
                command.env_remove(name);
            }
        }
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }
}

//! A process that belongs to the test.
//!
//! Invariants:
//!
//! - The process ends when its [`Process`] is dropped, and when the test process ends in any
//!   way, SIGKILL included: the kernel delivers the *parent death signal*.
//! - No signal ever reaches another process, though ids are reused: see `owner`.

mod last_words;
mod owner;

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::User;

use self::last_words::last_words;
use self::owner::{Child, NotSent};
use crate::workdir::WorkDir;
use crate::{Error, Result, eventually};

/// How to start a [`Process`].
#[derive(Debug)]
pub struct ProcessBuilder {
    program: PathBuf,
    name: String,
    arguments: Vec<OsString>,
    variables: Vec<(OsString, OsString)>,
    directory: Option<PathBuf>,
    log: Option<PathBuf>,
    user: Option<User>,
    farewell: Option<Farewell>,
}

/// The gentler signal that a process gets before SIGKILL when it is dropped, and in place of
/// SIGKILL when its owner dies: for servers that must release what outlives a process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Farewell {
    pub(crate) signal: Signal,
    pub(crate) patience: Duration,
}

impl ProcessBuilder {
    fn new(program: PathBuf) -> Self {
        let name = program
            .file_name()
            .unwrap_or(program.as_os_str())
            .to_string_lossy()
            .into();
        Self {
            program,
            name,
            arguments: Vec::new(),
            variables: Vec::new(),
            directory: None,
            log: None,
            user: None,
            farewell: None,
        }
    }

    /// The name in error messages; without it, the program's file name.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Adds an argument.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    pub fn args(mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.arguments.extend(
            arguments
                .into_iter()
                .map(|argument| argument.as_ref().to_owned()),
        );
        self
    }

    /// Sets an environment variable, beside those inherited from the test.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.variables
            .push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// The working directory; without it, the test's.
    pub fn current_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// The file that standard output and standard error are appended to; without it, one that
    /// is removed with the process.
    pub fn log_to(mut self, file: impl Into<PathBuf>) -> Self {
        self.log = Some(file.into());
        self
    }

    /// Runs the process as another user, for which the test must run as root.
    pub(crate) fn user(mut self, user: Option<&User>) -> Self {
        self.user = user.cloned();
        self
    }

    pub(crate) fn farewell(mut self, farewell: Farewell) -> Self {
        self.farewell = Some(farewell);
        self
    }

    /// Starts the process. Its standard input is empty.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when the log cannot be opened, [`Error::Unsuitable`] when the program or
    /// `setpriv`, which arranges the parent death signal, is missing. A program that is found
    /// but cannot be executed ends at once with status 126 or 127; its log says why.
    pub fn spawn(self) -> Result<Process> {
        if self.program.components().count() > 1 && !self.program.exists() {
            return Err(Error::Unsuitable(format!(
                "there is no {}",
                self.program.display()
            )));
        }
        let (log, workdir) = match &self.log {
            Some(file) => (file.clone(), None),
            None => {
                let workdir = WorkDir::create("process")?;
                (workdir.join("log"), Some(workdir))
            }
        };
        let (file, log_start) =
            open_log(&log).map_err(Error::io(format!("open {}", log.display())))?;
        let command = self.command(file).map_err(Error::io(format!(
            "give {} to {}",
            log.display(),
            self.name
        )))?;
        let child = Child::start(command).map_err(|error| self.not_started(error))?;
        Ok(Process {
            name: self.name,
            child,
            farewell: self.farewell,
            log,
            log_start,
            _workdir: workdir,
        })
    }

    fn not_started(&self, error: io::Error) -> Error {
        if error.kind() == io::ErrorKind::NotFound {
            return Error::Unsuitable(format!(
                "{} cannot be started: there is no `setpriv` in PATH (Debian package \
                 util-linux), or its working directory does not exist",
                self.name
            ));
        }
        Error::io(format!("start {}", self.name))(error)
    }

    fn command(&self, log: File) -> io::Result<Command> {
        let on_owner_death = self
            .farewell
            .map_or(Signal::SIGKILL, |farewell| farewell.signal);
        let mut command = Command::new("setpriv");
        command.arg(format!(
            "--pdeathsig={}",
            on_owner_death.as_str().trim_start_matches("SIG")
        ));
        if let Some(user) = &self.user {
            command
                .arg(format!("--reuid={}", user.uid))
                .arg(format!("--regid={}", user.gid))
                .arg("--init-groups");
        }
        command
            .arg(&self.program)
            .args(&self.arguments)
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // A group of its own: an interrupt from the terminal is the test's to handle, and
            // the end of the process can be the end of its children.
            .process_group(0);
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        Ok(command)
    }
}

fn open_log(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    let length = file.metadata()?.len();
    Ok((file, length))
}

/// A running process, or one that has ended and was not yet dropped.
#[derive(Debug)]
pub struct Process {
    // Fields are dropped in this order: the process before its directory.
    child: Child,
    name: String,
    farewell: Option<Farewell>,
    log: PathBuf,
    log_start: u64,
    _workdir: Option<WorkDir>,
}

impl Process {
    /// Describes a process to start: `program` is a path, or a name to be found in `PATH`.
    pub fn builder(program: impl Into<PathBuf>) -> ProcessBuilder {
        ProcessBuilder::new(program.into())
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Sends a signal: SIGTERM to ask for the end, SIGKILL to enforce it, SIGSTOP to freeze,
    /// SIGCONT to go on.
    ///
    /// # Errors
    ///
    /// [`Error::Ended`] when the process has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.child.signal(signal).map_err(|refusal| match refusal {
            NotSent::Ended(status) => Error::Ended {
                name: self.name.clone(),
                status,
            },
            NotSent::Refused(error) => Error::io(format!("send {signal} to {}", self.name))(error),
        })
    }

    /// How the process ended; `None` while it runs.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        self.child.status()
    }

    /// Waits for the end of the process.
    ///
    /// # Errors
    ///
    /// [`Error::ProcessFailed`], with the end of the log, when it still runs after `deadline`.
    pub async fn wait(&self, deadline: Duration) -> Result<ExitStatus> {
        tokio::time::timeout(deadline, self.child.ended())
            .await
            .map_err(|_elapsed| self.failure(format!("did not end within {deadline:?}")))
    }

    /// Waits until the process has ended with status 0.
    ///
    /// # Errors
    ///
    /// [`Error::ProcessFailed`], with the end of the log, when it ends otherwise or still runs
    /// after `deadline`.
    pub async fn wait_for_success(&self, deadline: Duration) -> Result<()> {
        let status = self.wait(deadline).await?;
        if !status.success() {
            return Err(self.failure(format!("ended with {status}")));
        }
        Ok(())
    }

    /// Sends a signal, then waits for the end of the process. One that had ended already is no
    /// error.
    ///
    /// # Errors
    ///
    /// [`Error::ProcessFailed`] when it still runs after `deadline`.
    pub async fn stop(&self, signal: Signal, deadline: Duration) -> Result<ExitStatus> {
        match self.signal(signal) {
            Ok(()) | Err(Error::Ended { .. }) => self.wait(deadline).await,
            Err(error) => Err(error),
        }
    }

    /// Waits, like [`eventually`], for something that the process should do, and gives up at
    /// once when the process ends.
    ///
    /// # Errors
    ///
    /// [`Error::ProcessFailed`], with the end of the log, when the process ends or `deadline`
    /// passes first.
    pub async fn until<T, E: std::fmt::Display, Look>(
        &self,
        deadline: Duration,
        what: &str,
        look: impl FnMut() -> Look,
    ) -> Result<T>
    where
        Look: Future<Output = std::result::Result<Option<T>, E>>,
    {
        tokio::select! {
            biased;
            status = self.child.ended() => {
                Err(self.failure(format!("ended with {status} before {what}")))
            }
            found = eventually(deadline, what, look) => {
                found.map_err(|error| self.failure(format!("is not ready: {error}")))
            }
        }
    }

    /// Waits until the process has written `text` to its log.
    ///
    /// # Errors
    ///
    /// As [`Process::until`].
    pub async fn until_log_has(&self, deadline: Duration, text: &str) -> Result<()> {
        let what = format!("`{text}` in the log");
        self.until(deadline, &what, async || {
            self.log().map(|log| log.contains(text).then_some(()))
        })
        .await
    }

    /// The file that standard output and standard error go to.
    pub fn log_file(&self) -> &Path {
        &self.log
    }

    /// What the process has written to standard output and standard error so far.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when the log cannot be read.
    pub fn log(&self) -> Result<String> {
        let bytes =
            fs::read(&self.log).map_err(Error::io(format!("read {}", self.log.display())))?;
        // An earlier process may have written to the same file.
        let start = usize::try_from(self.log_start).map_or(bytes.len(), |at| at.min(bytes.len()));
        Ok(String::from_utf8_lossy(&bytes[start..]).into_owned())
    }

    fn failure(&self, reason: String) -> Error {
        let last_words = match self.log() {
            Ok(log) => last_words(&log),
            Err(error) => format!("{error:?}"),
        };
        Error::ProcessFailed {
            name: self.name.clone(),
            reason,
            log: self.log.clone(),
            last_words,
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(farewell) = self.farewell
            && self.child.signal(farewell.signal).is_ok()
        {
            self.child.block_until_ended(farewell.patience);
        }
    }
}

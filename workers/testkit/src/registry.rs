//! A schema registry: Apicurio, which answers Confluent's REST API.
//!
//! Where it differs from Confluent's own: the default compatibility is `NONE`; the configuration
//! of a subject that has none answers `NONE` rather than 404; `/mode`, `/schemas/ids/{id}/schema`
//! and `/schemas/ids/{id}/subjects` do not exist; schema ids have gaps.

use std::path::PathBuf;

use nix::sys::signal::Signal;

use crate::installed::JavaComponent;
use crate::port::{Port, retry_on_taken_port};
use crate::process::Process;
use crate::workdir::WorkDir;
use crate::{Error, Result, START_DEADLINE, STOP_DEADLINE};

/// A schema registry. Dropping it ends the server and removes its data.
#[derive(Debug)]
pub struct Registry {
    // Fields are dropped in this order: the process before its directory.
    process: Option<Process>,
    installed: JavaComponent,
    port: Port,
    database: Option<PathBuf>,
    workdir: WorkDir,
}

impl Registry {
    /// Starts a registry that keeps its schemas in memory: it is empty after a restart.
    ///
    /// # Errors
    ///
    /// [`Error::NotInstalled`] without Apicurio or Java; [`Error::ProcessFailed`], with the end
    /// of the log, when it does not start.
    pub async fn start() -> Result<Self> {
        Self::start_with(Storage::Memory).await
    }

    /// Starts a registry whose schemas and ids survive [`Registry::stop`] and
    /// [`Registry::kill`].
    ///
    /// # Errors
    ///
    /// As [`Registry::start`].
    pub async fn start_persistent() -> Result<Self> {
        Self::start_with(Storage::File).await
    }

    async fn start_with(storage: Storage) -> Result<Self> {
        retry_on_taken_port(async || {
            let workdir = WorkDir::create("registry")?;
            let database = match storage {
                Storage::Memory => None,
                Storage::File => Some(workdir.join("schemas")),
            };
            let mut registry = Self {
                process: None,
                installed: JavaComponent::find("registry", "APICURIO_VERSION")?,
                port: Port::reserve()?,
                database,
                workdir,
            };
            registry.start_again().await?;
            Ok(registry)
        })
        .await
    }

    /// The base address of the API, for instance `http://127.0.0.1:12345/apis/ccompat/v7`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/apis/ccompat/v7", self.port.number())
    }

    /// The server's process id; `None` while it is stopped.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// The server's process: its log, and signals to it.
    ///
    /// # Errors
    ///
    /// [`Error::NotRunning`] while the server is stopped.
    pub fn process(&self) -> Result<&Process> {
        self.process
            .as_ref()
            .ok_or(Error::NotRunning("the schema registry"))
    }

    /// Asks the server to end, and waits until it has.
    ///
    /// # Errors
    ///
    /// [`Error::NotRunning`]; [`Error::ProcessFailed`] when it has not ended after a minute.
    pub async fn stop(&mut self) -> Result<()> {
        self.end(Signal::SIGTERM).await
    }

    /// Ends the server by SIGKILL.
    ///
    /// # Errors
    ///
    /// As [`Registry::stop`].
    pub async fn kill(&mut self) -> Result<()> {
        self.end(Signal::SIGKILL).await
    }

    async fn end(&mut self, signal: Signal) -> Result<()> {
        self.process()?.stop(signal, STOP_DEADLINE).await?;
        self.process = None;
        Ok(())
    }

    /// Starts the server again at the same address, with its data if it is persistent. One that
    /// still runs is killed first.
    ///
    /// # Errors
    ///
    /// [`Error::ProcessFailed`], with the end of the log, when it does not start.
    pub async fn start_again(&mut self) -> Result<()> {
        self.process = None;
        let process = self.server().spawn()?;
        let client = reqwest::Client::new();
        let subjects = format!("{}/subjects", self.url());
        process
            .until(START_DEADLINE, "an answer to GET /subjects", async || {
                client
                    .get(&subjects)
                    .send()
                    .await?
                    .error_for_status()
                    .map(Some)
            })
            .await?;
        self.process = Some(process);
        Ok(())
    }

    fn server(&self) -> crate::ProcessBuilder {
        let jar = format!(
            "apicurio-registry-app-{}-runner.jar",
            self.installed.version
        );
        let server = Process::builder(&self.installed.java)
            .name("the schema registry")
            .current_dir(self.workdir.path())
            .log_to(self.workdir.join("registry.log"))
            .arg("-Xmx384m")
            .args(self.installed.flags(self.workdir.path()))
            .arg("-Dquarkus.http.host=127.0.0.1")
            .arg(format!("-Dquarkus.http.port={}", self.port.number()))
            .arg("-jar")
            .arg(self.installed.directory.join(jar));
        match &self.database {
            // Apicurio reads this from the environment alone. Without the setting, H2 acknowledges
            // up to half a second before it writes, and a killed registry has lost schemas.
            Some(file) => server.env(
                "REGISTRY_DATASOURCE_URL",
                format!("jdbc:h2:file:{};WRITE_DELAY=0", file.display()),
            ),
            None => server,
        }
    }
}

#[derive(Clone, Copy)]
enum Storage {
    Memory,
    File,
}

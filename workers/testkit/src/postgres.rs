//! A PostgreSQL server.
//!
//! Durability against a crash of the *machine* is off (`fsync = off`): a killed server loses
//! nothing, because what it wrote is the kernel's already. `full_page_writes` stays on: a
//! SIGKILL can tear an 8 kB page in two.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::{User, geteuid};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{Connection, Executor};

use crate::port::{Port, retry_on_taken_port};
use crate::process::{Farewell, Process};
use crate::workdir::WorkDir;
use crate::{Error, Result, START_DEADLINE, STOP_DEADLINE};

const DEBIAN_SERVERS: &str = "/usr/lib/postgresql";
const SUPERUSER: &str = "postgres";
/// Nothing checks it; programs that insist on a password find one in the address.
const PASSWORD: &str = "postgres";
/// The kernel's limit for the path of a socket, without the final zero.
const LONGEST_SOCKET_PATH: usize = 107;

/// Killed outright, the server would leave a shared memory segment in the kernel, of which
/// there are 4,096; an immediate shutdown removes it.
const FAREWELL: Farewell = Farewell {
    signal: Signal::SIGQUIT,
    patience: Duration::from_secs(5),
};

/// How to stop the server. Either way no committed transaction is lost.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StopMode {
    /// Sessions are ended, transactions rolled back, and a checkpoint is written.
    Fast,
    /// As in a crash: nothing is written, the next start recovers.
    Immediate,
}

impl StopMode {
    fn signal(self) -> Signal {
        match self {
            Self::Fast => Signal::SIGINT,
            Self::Immediate => Signal::SIGQUIT,
        }
    }
}

/// How to start a [`Postgres`].
#[derive(Clone, Debug, Default)]
pub struct PostgresBuilder {
    settings: Vec<(String, String)>,
}

impl PostgresBuilder {
    /// Sets a server setting (a line of `postgresql.conf`); the last value given counts. A
    /// session may still override it, as may `ALTER SYSTEM`.
    pub fn setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }

    /// Creates a new, empty server and starts it.
    ///
    /// # Errors
    ///
    /// [`Error::NotInstalled`] without PostgreSQL; [`Error::ProcessFailed`], with the end of the
    /// server's log, when it does not start.
    pub async fn start(self) -> Result<Postgres> {
        let programs = programs()?;
        let account = server_account()?;
        retry_on_taken_port(async || {
            let mut server = self.prepare(&programs, account.as_ref()).await?;
            server.start_again().await?;
            Ok(server)
        })
        .await
    }

    async fn prepare(&self, programs: &Path, account: Option<&User>) -> Result<Postgres> {
        let workdir = WorkDir::create("postgresql")?;
        if let Some(account) = account {
            workdir.give_to(account)?;
        }
        let server = Postgres {
            process: None,
            programs: programs.to_owned(),
            account: account.cloned(),
            port: Port::reserve()?,
            workdir,
        };
        server.refuse_long_socket_path()?;
        server.initdb().await?;
        server.configure(&self.settings)?;
        Ok(server)
    }
}

/// A PostgreSQL server with the superuser `postgres`, who needs no password. Dropping it ends
/// the server and removes its data.
///
/// It takes the newest server in `/usr/lib/postgresql`, or the one whose programs are in the
/// directory that `POSTGRES_BIN` names. A test that runs as root runs the server as the system
/// user `postgres`, because PostgreSQL refuses root.
#[derive(Debug)]
pub struct Postgres {
    // Fields are dropped in this order: the process before its directory.
    process: Option<Process>,
    programs: PathBuf,
    account: Option<User>,
    port: Port,
    workdir: WorkDir,
}

impl Postgres {
    /// Starts a server with default settings.
    ///
    /// # Errors
    ///
    /// As [`PostgresBuilder::start`].
    pub async fn start() -> Result<Self> {
        Self::builder().start().await
    }

    /// Describes a server to start.
    pub fn builder() -> PostgresBuilder {
        PostgresBuilder::default()
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// The directory of the unix socket.
    pub fn socket_dir(&self) -> &Path {
        self.workdir.path()
    }

    /// The address of a database, as the superuser. The database `postgres` is always there.
    pub fn url(&self, database: &str) -> String {
        self.url_as(SUPERUSER, database)
    }

    /// The address of a database as another role, which must exist.
    pub fn url_as(&self, role: &str, database: &str) -> String {
        format!(
            "postgres://{role}:{PASSWORD}@127.0.0.1:{}/{database}",
            self.port()
        )
    }

    /// Creates an empty database and returns its address: with one for each test, many tests
    /// share a server.
    ///
    /// # Errors
    ///
    /// [`Error::Sql`] when the server is not running or the name is taken.
    pub async fn create_database(&self, name: &str) -> Result<String> {
        let attempt = || format!("create the database {name}");
        let mut connection = self.connect().await.map_err(Error::sql(attempt()))?;
        let statement = format!("CREATE DATABASE \"{}\"", name.replace('"', "\"\""));
        connection
            .execute(sqlx::AssertSqlSafe(statement))
            .await
            .map_err(Error::sql(attempt()))?;
        connection.close().await.map_err(Error::sql(attempt()))?;
        Ok(self.url(name))
    }

    /// The process id of the server's parent process; `None` while it is stopped.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// The server's parent process: its log, and signals to it.
    ///
    /// # Errors
    ///
    /// [`Error::NotRunning`] while the server is stopped.
    pub fn process(&self) -> Result<&Process> {
        self.process.as_ref().ok_or(Error::NotRunning("PostgreSQL"))
    }

    /// Stops the server; port and data are kept for [`Postgres::start_again`].
    ///
    /// # Errors
    ///
    /// [`Error::NotRunning`]; [`Error::ProcessFailed`] when the server has not ended in
    /// time, in which case it counts as running.
    pub async fn stop(&mut self, mode: StopMode) -> Result<()> {
        self.process()?.stop(mode.signal(), STOP_DEADLINE).await?;
        self.process = None;
        Ok(())
    }

    /// Starts a stopped server on the same port and data. One that still runs is stopped first,
    /// as in a crash.
    ///
    /// # Errors
    ///
    /// [`Error::ProcessFailed`], with the end of the server's log, when it does not start.
    pub async fn start_again(&mut self) -> Result<()> {
        self.process = None;
        let process = self
            .program("postgres", "PostgreSQL")
            .arg("-D")
            .arg(self.data())
            .log_to(self.workdir.join("postgresql.log"))
            .farewell(FAREWELL)
            .spawn()?;
        process
            .until(START_DEADLINE, "an answer to SELECT 1", async || {
                let mut connection = self.connect().await?;
                connection.execute("SELECT 1").await?;
                connection.close().await.map(Some)
            })
            .await?;
        self.process = Some(process);
        Ok(())
    }

    /// Connects through the socket in the server's own directory: on the port, another server
    /// could answer.
    async fn connect(&self) -> sqlx::Result<PgConnection> {
        let options = PgConnectOptions::new_without_pgpass()
            .host(&self.socket_dir().to_string_lossy())
            .port(self.port())
            .username(SUPERUSER)
            .database("postgres")
            .ssl_mode(PgSslMode::Disable);
        PgConnection::connect_with(&options).await
    }

    fn data(&self) -> PathBuf {
        self.workdir.join("data")
    }

    fn program(&self, program: &str, name: &str) -> crate::ProcessBuilder {
        Process::builder(self.programs.join(program))
            .name(name)
            .user(self.account.as_ref())
            .current_dir(self.workdir.path())
    }

    async fn initdb(&self) -> Result<()> {
        let initdb = self
            .program("initdb", "initdb")
            .args(["--username", SUPERUSER, "--auth", "trust"])
            .args([
                "--encoding",
                "UTF8",
                "--locale",
                "C",
                "--no-sync",
                "--pgdata",
            ])
            .arg(self.data())
            .log_to(self.workdir.join("initdb.log"))
            .spawn()?;
        initdb.wait_for_success(START_DEADLINE).await
    }

    fn configure(&self, settings: &[(String, String)]) -> Result<()> {
        let file = self.data().join("postgresql.conf");
        let port = self.port().to_string();
        let socket_dir = self.socket_dir().to_string_lossy();
        let defaults = [
            ("listen_addresses", "127.0.0.1"),
            ("port", &port),
            ("unix_socket_directories", &socket_dir),
            ("fsync", "off"),
            ("log_line_prefix", "%m [%p] %q%u@%d "),
        ];
        let given = settings
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        let mut text = String::from("\n# testkit's own\n");
        for (name, value) in defaults.into_iter().chain(given) {
            let _infallible = writeln!(text, "{name} = '{}'", value.replace('\'', "''"));
        }
        append(&file, &text).map_err(Error::io(format!("write {}", file.display())))
    }

    fn refuse_long_socket_path(&self) -> Result<()> {
        let socket = self.workdir.join(&format!(".s.PGSQL.{}", self.port()));
        let length = socket.as_os_str().len();
        if length > LONGEST_SOCKET_PATH {
            return Err(Error::Unsuitable(format!(
                "the path of PostgreSQL's socket would have {length} bytes, of which the kernel \
                 takes {LONGEST_SOCKET_PATH}: {}; set TMPDIR to a shorter directory",
                socket.display()
            )));
        }
        Ok(())
    }
}

fn append(file: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    std::fs::OpenOptions::new()
        .append(true)
        .open(file)?
        .write_all(text.as_bytes())
}

/// The directory of the server's programs.
fn programs() -> Result<PathBuf> {
    if let Some(directory) = std::env::var_os("POSTGRES_BIN") {
        let directory = PathBuf::from(directory);
        if directory.join("initdb").is_file() {
            return Ok(directory);
        }
        return Err(Error::Unsuitable(format!(
            "POSTGRES_BIN is {}, where there is no initdb; correct it or unset it",
            directory.display()
        )));
    }
    newest_server(Path::new(DEBIAN_SERVERS)).ok_or(Error::NotInstalled {
        component: "postgresql",
        missing: format!("there is no PostgreSQL server in {DEBIAN_SERVERS}"),
    })
}

/// Debian keeps each major version in a directory of that name.
fn newest_server(servers: &Path) -> Option<PathBuf> {
    std::fs::read_dir(servers)
        .ok()?
        .flatten()
        .filter_map(|entry| {
            let version: u32 = entry.file_name().to_str()?.parse().ok()?;
            let programs = entry.path().join("bin");
            programs
                .join("initdb")
                .is_file()
                .then_some((version, programs))
        })
        .max_by_key(|(version, _)| *version)
        .map(|(_, programs)| programs)
}

/// The user that the server runs as, where it cannot be the test's own.
fn server_account() -> Result<Option<User>> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    match User::from_name(SUPERUSER) {
        Ok(Some(user)) => Ok(Some(user)),
        Ok(None) => Err(Error::Unsuitable(format!(
            "PostgreSQL does not run as root, and there is no system user `{SUPERUSER}` to run it \
             as; create one with `useradd --system {SUPERUSER}`, or do not run the test as root"
        ))),
        Err(errno) => Err(Error::io(format!("look up the user {SUPERUSER}"))(
            errno.into(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_installed_server_is_taken() {
        let servers = tempfile::tempdir().unwrap();
        for (version, complete) in [("9", true), ("15", true), ("17", false), ("doc", true)] {
            let programs = servers.path().join(version).join("bin");
            std::fs::create_dir_all(&programs).unwrap();
            if complete {
                std::fs::write(programs.join("initdb"), "").unwrap();
            }
        }
        let newest = newest_server(servers.path()).unwrap();
        assert_eq!(newest, servers.path().join("15/bin"));
    }
}

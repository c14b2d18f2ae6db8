//! Nothing outlives its owner, not even when the owner is killed outright.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::kill;
use nix::unistd::Pid;
use testkit::{Process, ProcessBuilder, Signal, eventually};

/// For three servers, one after the other, on a machine that may be busy.
const START_DEADLINE: Duration = Duration::from_secs(600);
const DEADLINE: Duration = Duration::from_secs(30);

/// Starts another process that owns servers, with its directories in `directory`.
async fn owner_of(components: &[&str], directory: &Path) -> Result<Process> {
    until_ready(owner_builder(components, directory)).await
}

fn owner_builder(components: &[&str], directory: &Path) -> ProcessBuilder {
    Process::builder(env!("CARGO_BIN_EXE_local-components"))
        .args(components)
        .env("TMPDIR", directory)
}

async fn until_ready(owner: ProcessBuilder) -> Result<Process> {
    let owner = owner.spawn()?;
    owner.until_log_has(START_DEADLINE, "ready").await?;
    Ok(owner)
}

/// The ids of the servers that an owner reports.
fn servers_of(owner: &Process) -> Result<Vec<u32>> {
    let log = owner.log()?;
    let lines = log.lines().take_while(|line| !line.starts_with("ready"));
    lines
        .map(|line| {
            let pid = line
                .split(' ')
                .nth(1)
                .with_context(|| format!("no id in {line}"))?;
            Ok(pid.parse()?)
        })
        .collect()
}

/// State and parent of a process. One that has ended may still wait for its parent to notice.
fn running(pid: u32) -> Option<(String, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat[stat.rfind(')')? + 2..].split(' ');
    let (state, parent) = (fields.next()?.to_owned(), fields.next()?.parse().ok()?);
    (state != "Z" && state != "X").then_some((state, parent))
}

fn children_of(parents: &[u32]) -> Result<Vec<u32>> {
    let mut children = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        if running(pid).is_some_and(|(_, parent)| parents.contains(&parent)) {
            children.push(pid);
        }
    }
    Ok(children)
}

fn shared_memory_segments_of(creators: &[u32]) -> Result<usize> {
    let table = fs::read_to_string("/proc/sysvipc/shm")?;
    let creator = |line: &str| line.split_whitespace().nth(4)?.parse().ok();
    Ok(table
        .lines()
        .filter_map(creator)
        .filter(|pid| creators.contains(pid))
        .count())
}

async fn until_ended(pids: &[u32]) -> Result<()> {
    eventually(DEADLINE, "the end of all servers", async || {
        let left: Vec<_> = pids
            .iter()
            .filter_map(|pid| Some((pid, running(*pid)?)))
            .collect();
        anyhow::ensure!(left.is_empty(), "still running: {left:?}");
        Ok(Some(()))
    })
    .await?;
    Ok(())
}

/// Servers run as another user when the test runs as root; they must reach their directories.
fn directory_for_all() -> Result<tempfile::TempDir> {
    let directory = tempfile::tempdir()?;
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
    Ok(directory)
}

fn server_directories(directory: &Path) -> Result<usize> {
    Ok(fs::read_dir(directory)?.count())
}

#[tokio::test]
async fn all_servers_die_with_a_killed_owner_and_the_next_one_clears_up() -> Result<()> {
    let directory = directory_for_all()?;
    let owner = owner_of(&["postgresql", "kafka", "registry"], directory.path()).await?;
    let mut servers = servers_of(&owner)?;
    assert_eq!(servers.len(), 3);
    servers.extend(children_of(&servers)?);
    assert!(
        servers.len() > 6,
        "PostgreSQL has processes of its own: {servers:?}"
    );
    assert_eq!(shared_memory_segments_of(&servers)?, 1);
    assert_eq!(server_directories(directory.path())?, 3);

    owner.stop(Signal::SIGKILL, DEADLINE).await?;
    until_ended(&servers).await?;
    assert_eq!(shared_memory_segments_of(&servers)?, 0);

    let next = owner_of(&["postgresql"], directory.path()).await?;
    assert_eq!(server_directories(directory.path())?, 1);

    let servers = servers_of(&next)?;
    next.stop(Signal::SIGTERM, DEADLINE).await?;
    until_ended(&servers).await?;
    assert_eq!(server_directories(directory.path())?, 0);
    Ok(())
}

#[tokio::test]
async fn a_frozen_server_dies_with_its_killed_owner_too() -> Result<()> {
    let directory = directory_for_all()?;
    let owner = owner_of(&["postgresql", "kafka"], directory.path()).await?;
    let mut servers = servers_of(&owner)?;
    servers.extend(children_of(&servers)?);
    for server in servers_of(&owner)? {
        kill(Pid::from_raw(server.cast_signed()), Signal::SIGSTOP)?;
    }

    owner.stop(Signal::SIGKILL, DEADLINE).await?;
    until_ended(&servers).await
}

#[tokio::test]
async fn the_directory_of_a_server_is_kept_on_request() -> Result<()> {
    let directory = directory_for_all()?;
    let owner = owner_builder(&["postgresql"], directory.path()).env("TESTKIT_KEEP", "1");
    let owner = until_ready(owner).await?;
    owner.stop(Signal::SIGTERM, DEADLINE).await?;
    assert_eq!(server_directories(directory.path())?, 1);

    let next = owner_of(&["postgresql"], directory.path()).await?;
    next.stop(Signal::SIGTERM, DEADLINE).await?;
    assert_eq!(server_directories(directory.path())?, 1);
    Ok(())
}

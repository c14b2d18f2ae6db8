//! Processes of the test's own: signals, deadlines, captured output.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use testkit::{Error, Process, ProcessBuilder, Signal, eventually};

const DEADLINE: Duration = Duration::from_secs(30);

fn shell(script: &str) -> ProcessBuilder {
    Process::builder("sh").args(["-c", script])
}

/// The one-letter state that the kernel reports: `S` sleeping, `T` stopped, and so on.
fn state_of(pid: &str) -> Option<String> {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid).join("stat")).ok()?;
    let after_name = &stat[stat.rfind(')')? + 2..];
    Some(after_name[..1].to_owned())
}

#[tokio::test]
async fn both_output_streams_and_the_exit_status_are_kept() -> Result<()> {
    let process = shell("echo $GREETING; echo problem >&2; exit 3")
        .env("GREETING", "hi")
        .spawn()?;
    let status = process.wait(DEADLINE).await?;
    assert_eq!(status.code(), Some(3));
    assert_eq!(process.log()?, "hi\nproblem\n");
    assert_eq!(process.exit_status(), Some(status));
    Ok(())
}

#[tokio::test]
async fn a_process_that_does_not_end_in_time_is_an_error_with_its_last_words() -> Result<()> {
    let process = shell("echo stuck; sleep 600").spawn()?;
    process.until_log_has(DEADLINE, "stuck").await?;
    let error = process
        .wait(Duration::from_millis(50))
        .await
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("sh did not end within 50ms"), "{error}");
    assert!(error.ends_with("stuck"), "{error}");
    Ok(())
}

#[tokio::test]
async fn waiting_for_something_ends_at_once_when_the_process_does() -> Result<()> {
    let process = shell("echo no such table; exit 1").name("worker").spawn()?;
    let error = process
        .until_log_has(DEADLINE, "ready")
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("worker ended with exit status: 1 before `ready`"),
        "{error}"
    );
    assert!(error.ends_with("no such table"), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_process_can_be_asked_to_end_and_be_killed() -> Result<()> {
    let willing = shell("trap 'exit 7' TERM; echo up; while :; do sleep 0.01; done").spawn()?;
    willing.until_log_has(DEADLINE, "up").await?;
    assert_eq!(
        willing.stop(Signal::SIGTERM, DEADLINE).await?.code(),
        Some(7)
    );

    let deaf = shell("trap '' TERM; echo up; while :; do sleep 0.01; done").spawn()?;
    deaf.until_log_has(DEADLINE, "up").await?;
    deaf.signal(Signal::SIGTERM)?;
    assert_eq!(
        deaf.stop(Signal::SIGKILL, DEADLINE).await?.signal(),
        Some(9)
    );
    Ok(())
}

#[tokio::test]
async fn a_process_can_be_frozen_and_thawed() -> Result<()> {
    let process = shell("sleep 600").spawn()?;
    let pid = process.pid().to_string();
    process.signal(Signal::SIGSTOP)?;
    eventually(DEADLINE, "the process to stop", async || {
        anyhow::Ok((state_of(&pid).as_deref() == Some("T")).then_some(()))
    })
    .await?;
    process.signal(Signal::SIGCONT)?;
    eventually(DEADLINE, "the process to go on", async || {
        anyhow::Ok((state_of(&pid).as_deref() == Some("S")).then_some(()))
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn a_signal_to_a_process_that_has_ended_is_an_error() -> Result<()> {
    let process = shell("exit 0").spawn()?;
    process.wait(DEADLINE).await?;
    let refusal = process.signal(Signal::SIGKILL).unwrap_err();
    assert!(matches!(refusal, Error::Ended { .. }), "{refusal}");
    process.stop(Signal::SIGTERM, DEADLINE).await?;
    Ok(())
}

#[tokio::test]
async fn a_dropped_process_is_gone_with_its_children_and_its_log() -> Result<()> {
    let process = shell("sleep 600 & echo child $!; wait").spawn()?;
    process.until_log_has(DEADLINE, "child ").await?;
    let log = process.log_file().to_owned();
    let child = process.log()?.trim().replace("child ", "");
    let parent = process.pid().to_string();
    drop(process);
    assert_eq!(state_of(&parent), None);
    assert!(!log.exists());
    eventually(DEADLINE, "the end of the child", async || {
        let state = state_of(&child);
        anyhow::Ok(matches!(state.as_deref(), None | Some("Z" | "X")).then_some(()))
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn a_process_outlives_the_thread_that_asked_for_it() -> Result<()> {
    let process = std::thread::spawn(|| {
        shell("trap 'exit 7' TERM; echo up; while :; do sleep 0.01; done").spawn()
    })
    .join()
    .unwrap()?;
    process.until_log_has(DEADLINE, "up").await?;
    assert_eq!(
        process.stop(Signal::SIGTERM, DEADLINE).await?.code(),
        Some(7)
    );
    Ok(())
}

#[tokio::test]
async fn two_processes_append_to_one_log_and_each_reads_its_own_part() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("worker.log");
    for word in ["first", "second"] {
        let process = shell(&format!("echo {word}")).log_to(&file).spawn()?;
        process.wait_for_success(DEADLINE).await?;
        assert_eq!(process.log()?, format!("{word}\n"));
    }
    assert_eq!(std::fs::read_to_string(&file)?, "first\nsecond\n");
    Ok(())
}

#[tokio::test]
async fn a_program_that_is_missing_is_named() -> Result<()> {
    let error = Process::builder("/nowhere/fleet")
        .spawn()
        .unwrap_err()
        .to_string();
    assert_eq!(error, "there is no /nowhere/fleet");

    let unknown = Process::builder("no-such-program").spawn()?;
    let error = unknown
        .wait_for_success(DEADLINE)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("failed to execute no-such-program"),
        "{error}"
    );
    Ok(())
}

//! A child process and the thread that is its parent.
//!
//! Invariants:
//!
//! - The thread lives exactly as long as the process. The kernel sends the parent death signal
//!   when the *thread* that started a child ends: started from any other thread, a test's for
//!   instance, a shared server would die with the test that came first.
//! - No signal reaches another process. The process's id stays reserved until its exit has been
//!   recorded, and that happens under the gate that a signal must pass.

use std::io;
use std::process::{Command, ExitStatus};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use tokio::sync::watch;

/// A child process, which leads a process group. Dropping it while it runs ends the group by
/// SIGKILL.
#[derive(Debug)]
pub(super) struct Child {
    pid: Pid,
    exit: Arc<Exit>,
    thread: Option<JoinHandle<()>>,
}

/// The exit of a process: unknown until it has been recorded.
#[derive(Debug)]
struct Exit {
    /// Held while a signal is sent and while an exit is recorded.
    gate: Mutex<()>,
    recorded: Condvar,
    status: watch::Sender<Option<ExitStatus>>,
}

/// Why a signal was not sent.
#[derive(Debug)]
pub(super) enum NotSent {
    Ended(ExitStatus),
    Refused(io::Error),
}

impl Child {
    /// Starts a command that makes itself the leader of a process group.
    pub(super) fn start(command: Command) -> io::Result<Self> {
        let exit = Arc::new(Exit {
            gate: Mutex::new(()),
            recorded: Condvar::new(),
            status: watch::Sender::new(None),
        });
        let (started, start) = mpsc::sync_channel(1);
        let thread = std::thread::Builder::new()
            .name(String::from("owner of a process"))
            .spawn({
                let exit = Arc::clone(&exit);
                move || own(command, &started, &exit)
            })?;
        let pid = start
            .recv()
            .map_err(|_ended| io::Error::other("the thread ended"))??;
        Ok(Self {
            pid,
            exit,
            thread: Some(thread),
        })
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw().unsigned_abs()
    }

    pub(super) fn status(&self) -> Option<ExitStatus> {
        self.exit.status()
    }

    pub(super) fn signal(&self, signal: Signal) -> Result<(), NotSent> {
        let _gate = self.exit.gate();
        match self.exit.status() {
            Some(status) => Err(NotSent::Ended(status)),
            None => kill(self.pid, signal).map_err(|errno| NotSent::Refused(errno.into())),
        }
    }

    /// Waits for the end without any limit.
    pub(super) async fn ended(&self) -> ExitStatus {
        let mut status = self.exit.status.subscribe();
        loop {
            if let Some(status) = *status.borrow_and_update() {
                return status;
            }
            if status.changed().await.is_err() {
                // Cannot be: the sender lives as long as `self`.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Waits for the end, blocking the thread, for no longer than `patience`.
    pub(super) fn block_until_ended(&self, patience: Duration) {
        let running = |(): &mut ()| self.exit.status().is_none();
        let _ended_or_not =
            self.exit
                .recorded
                .wait_timeout_while(self.exit.gate(), patience, running);
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let gate = self.exit.gate();
        if self.exit.status().is_none() {
            // Only a process that has just ended refuses, and that is the aim.
            let _refusal = killpg(self.pid, Signal::SIGKILL);
        }
        drop(gate);
        if let Some(thread) = self.thread.take() {
            let _panicked_or_not = thread.join();
        }
    }
}

impl Exit {
    fn gate(&self) -> MutexGuard<'_, ()> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn status(&self) -> Option<ExitStatus> {
        *self.status.borrow()
    }
}

/// The whole life of a process, in the thread that is its parent.
fn own(mut command: Command, started: &mpsc::SyncSender<io::Result<Pid>>, exit: &Exit) {
    let spawned = command.spawn().and_then(|child| {
        let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
        Ok((child, Pid::from_raw(pid)))
    });
    let (mut child, pid) = match spawned {
        Ok(spawned) => spawned,
        Err(error) => {
            let _nobody_left_to_tell = started.send(Err(error));
            return;
        }
    };
    let _nobody_left_to_tell = started.send(Ok(pid));

    // Waits without reaping, so that the id cannot be reused before the gate is held.
    let only_look = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
    while waitid(Id::Pid(pid), only_look) == Err(Errno::EINTR) {}
    let _gate = exit.gate();
    if let Ok(status) = child.wait() {
        exit.status.send_replace(Some(status));
    }
    exit.recorded.notify_all();
}

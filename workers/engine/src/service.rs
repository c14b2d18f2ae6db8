//! A supervised loop: for what is not driven by a partition (timers, dispatchers, relays).
//!
//! Invariant: an error ends one round, never the service; it is tried again with backoff and is
//! visible meanwhile.

use crate::scheduling::backoff::Backoff;
use crate::status::Waiting;
use chrono::Utc;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A loop that the engine keeps running.
pub trait Service: Send + 'static {
    /// Its name, for ops.
    fn name(&self) -> &'static str;

    /// Does one round of work and says how long to rest until the next.
    ///
    /// # Errors
    /// What went wrong: shown to ops, and the round is tried again with backoff.
    fn round(&mut self) -> impl Future<Output = Result<Duration, String>> + Send;
}

/// A running service.
#[derive(Debug)]
pub struct RunningService {
    name: &'static str,
    waiting: Arc<Mutex<Option<Waiting>>>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl RunningService {
    /// Starts a service. It rests between rounds and stops between rounds.
    pub fn start(mut service: impl Service, backoff: (Duration, Duration)) -> Self {
        let name = service.name();
        let waiting: Arc<Mutex<Option<Waiting>>> = Arc::default();
        let (stop, mut stopped) = watch::channel(false);
        let board = Arc::clone(&waiting);
        let task = tokio::spawn(async move {
            let mut backoff = Backoff::new(backoff.0, backoff.1);
            loop {
                let rest = match service.round().await {
                    Ok(rest) => {
                        backoff.reset();
                        *board.lock().unwrap_or_else(PoisonError::into_inner) = None;
                        rest
                    }
                    Err(message) => {
                        tracing::warn!(
                            service = name,
                            message,
                            attempt = backoff.attempts(),
                            "waiting"
                        );
                        let mut board = board.lock().unwrap_or_else(PoisonError::into_inner);
                        let since = board
                            .as_ref()
                            .map_or_else(Utc::now, |waiting| waiting.since);
                        *board = Some(Waiting {
                            on: name,
                            since,
                            message,
                        });
                        backoff.next(rand::random())
                    }
                };
                tokio::select! {
                    () = tokio::time::sleep(rest) => {}
                    _ = stopped.wait_for(|stop| *stop) => return,
                }
            }
        });
        Self {
            name,
            waiting,
            stop,
            task,
        }
    }

    /// What it waits for, if anything.
    pub fn waiting(&self) -> Option<Waiting> {
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Its name.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Whether its task still runs; it ends only by [`stop`](Self::stop) or by a panic.
    pub fn is_running(&self) -> bool {
        !self.task.is_finished()
    }

    /// Lets it finish its round and stop.
    pub async fn stop(self) {
        let _ = self.stop.send(true);
        let _ = self.task.await;
    }
}

/// Keeps the day partitions of a service database ready.
#[derive(Debug)]
pub struct DayPartitions {
    database: crate::store::connection::Database,
}

impl DayPartitions {
    /// For the database that a worker writes to.
    pub fn new(settings: &crate::Settings, group: &str) -> Self {
        let name = settings.connection_name(group, "day partitions");
        let database = crate::store::connection::Database::new(
            settings.database.clone(),
            &name,
            settings.timeouts,
        );
        Self { database }
    }
}

impl Service for DayPartitions {
    fn name(&self) -> &'static str {
        "day partitions"
    }

    async fn round(&mut self) -> Result<Duration, String> {
        const HOURLY: Duration = Duration::from_secs(60 * 60);
        match crate::store::partitions::maintain(&mut self.database).await {
            Ok(()) => Ok(HOURLY),
            Err(failure) => Err(failure.to_string()),
        }
    }
}

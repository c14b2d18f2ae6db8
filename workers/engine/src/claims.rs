//! The task that claims partitions: asks the broker, bumps the fence, opens the lane, and only then
//! lets the consumer fetch.
//!
//! Invariant: no record of a partition is fetched before the claim that fences its former owner is
//! committed.

use crate::kafka::broker::{Broker, ObserveError};
use crate::kafka::consumer::{ClaimRequest, Command, Delivery, lane_index};
use crate::lane::{Claim, Commands, Shared};
use crate::scheduling::backoff::Backoff;
use crate::scheduling::offsets::{NextOffset, TopicPartition};
use crate::store::claim::{self, Claimed, Observed};
use crate::store::connection::{Database, Timeouts, no_answer};
use crate::store::failure::{Failure, Stage};
use crate::worker::Worker;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::sync::watch;

/// How long a claim waits for the former owner before it ends that owner's backend.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a claim may take at least: time to end several former owners, one after the other.
const LONGEST_CLAIM: Duration = Duration::from_secs(8);
/// How often a halted partition is looked at again, so that a decision takes effect by itself.
const HALTED_AGAIN: Duration = Duration::from_secs(10);

/// The claiming task of one worker.
pub struct Claims<W: Worker> {
    shared: Arc<Shared<W>>,
    broker: Arc<Broker>,
    claimed_by: String,
    claiming: Database,
    watching: Database,
    lanes: Vec<UnboundedSender<Delivery>>,
    commands: Commands,
    backoff: Backoff,
    pending: Vec<ClaimRequest>,
    schemas_loaded: bool,
}

struct Trouble {
    on: &'static str,
    message: String,
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self {
            on: "postgres",
            message: failure.to_string(),
        }
    }
}

impl From<ObserveError> for Trouble {
    fn from(error: ObserveError) -> Self {
        Self {
            on: "kafka",
            message: error.to_string(),
        }
    }
}

impl<W: Worker> Claims<W> {
    /// Nothing is connected yet.
    pub fn new(
        shared: Arc<Shared<W>>,
        broker: Arc<Broker>,
        claimed_by: String,
        lanes: Vec<UnboundedSender<Delivery>>,
        commands: Commands,
    ) -> Self {
        let settings = &shared.settings;
        // A claim that gave up its wait before the patience ends would never end a blocker.
        let timeouts = Timeouts {
            statement: settings.timeouts.statement.max(LONGEST_CLAIM),
            lock: settings.timeouts.lock.max(LONGEST_CLAIM),
            ..settings.timeouts
        };
        let database = |part: &str| {
            let name = settings.connection_name(&shared.group, part);
            Database::new(settings.database.clone(), &name, timeouts)
        };
        let (claiming, watching) = (database("claims"), database("claim watch"));
        let backoff = Backoff::new(settings.backoff.0, settings.backoff.1);
        Self {
            shared,
            broker,
            claimed_by,
            claiming,
            watching,
            lanes,
            commands,
            backoff,
            pending: Vec::new(),
            schemas_loaded: false,
        }
    }

    /// Runs until stopped.
    pub async fn run(
        mut self,
        mut requests: UnboundedReceiver<ClaimRequest>,
        mut stop: watch::Receiver<bool>,
    ) {
        loop {
            let next = self.pending.iter().map(|request| request.not_before).min();
            let due = async {
                match next {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = stop.wait_for(|stopped| *stopped) => return,
                request = requests.recv() => match request {
                    Some(request) => self.pending.push(request),
                    None => return,
                },
                () = due => {}
            }
            while let Ok(request) = requests.try_recv() {
                self.pending.push(request);
            }
            self.claim_due().await;
        }
    }

    async fn claim_due(&mut self) {
        let now = Instant::now();
        self.pending
            .retain(|request| !request.assignment.has_ended());
        let (due, later) = std::mem::take(&mut self.pending)
            .into_iter()
            .partition(|r| r.not_before <= now);
        self.pending = later;
        let due: Vec<ClaimRequest> = due;
        if due.is_empty() {
            return;
        }
        match self.claim(&due).await {
            Ok((observed, claimed)) => {
                self.backoff.reset();
                for request in due {
                    let partition = &request.assignment.partition;
                    match (observed.get(partition), claimed.get(partition)) {
                        (Some(observed), Some(claim)) => self.open(request, observed, claim),
                        _ => self.postpone(request, Duration::from_secs(1)),
                    }
                }
            }
            Err(Trouble { on, message }) => {
                let pause = self.backoff.next(rand::random());
                tracing::warn!(on, message, partitions = due.len(), ?pause, "claims wait");
                for request in due {
                    self.shared
                        .board
                        .waits(&request.assignment.partition, on, &message);
                    self.postpone(request, pause);
                }
            }
        }
    }

    fn postpone(&mut self, request: ClaimRequest, pause: Duration) {
        self.pending.push(ClaimRequest {
            not_before: Instant::now() + pause,
            ..request
        });
    }

    fn open(&mut self, request: ClaimRequest, observed: &Observed, claimed: &Claimed) {
        let assignment = Arc::clone(&request.assignment);
        let partition = &assignment.partition;
        let position: NextOffset = match &claimed.position {
            Ok(position) => *position,
            Err(halt) => {
                self.shared.board.halted(partition, &halt.to_string());
                self.postpone(request, HALTED_AGAIN);
                return;
            }
        };
        let claim = Arc::new(Claim {
            assignment: Arc::clone(&assignment),
            epoch: claimed.epoch,
            topic_id: claimed.topic_id,
            position,
            hold_below: claimed.hold_below,
            parked_keys: claimed.parked_keys.clone(),
        });
        tracing::info!(%partition, position = position.0, epoch = claimed.epoch.0, "partition claimed");
        self.shared.board.running(partition, position);
        let lane = lane_index(partition, self.lanes.len());
        // The lane is told before the consumer, so that no record can come too early.
        if self.lanes[lane].send(Delivery::Opened(claim)).is_ok() {
            self.commands
                .send(Command::Fetch(assignment, position, observed.hint));
        }
    }

    async fn claim(
        &mut self,
        due: &[ClaimRequest],
    ) -> Result<
        (
            BTreeMap<TopicPartition, Observed>,
            BTreeMap<TopicPartition, Claimed>,
        ),
        Trouble,
    > {
        let mut partitions: Vec<TopicPartition> = due
            .iter()
            .map(|request| request.assignment.partition.clone())
            .collect();
        partitions.sort();
        partitions.dedup();
        let broker = Arc::clone(&self.broker);
        let observed = tokio::task::spawn_blocking(move || broker.observe(&partitions))
            .await
            .map_err(|e| Trouble {
                on: "kafka",
                message: e.to_string(),
            })??;
        let claimed = self.claim_observed(&observed).await?;
        Ok((observed, claimed))
    }

    async fn claim_observed(
        &mut self,
        observed: &BTreeMap<TopicPartition, Observed>,
    ) -> Result<BTreeMap<TopicPartition, Claimed>, Failure> {
        let mut connection = self.claiming.take().await?;
        let limit = self.claiming.timeouts().answer();
        let settings = &self.shared.settings;
        let failed = |error: sqlx::Error| Failure::of(&error, Stage::Effects);
        let work = async {
            if !self.schemas_loaded {
                self.shared
                    .schemas
                    .load(&mut connection)
                    .await
                    .map_err(failed)?;
                self.schemas_loaded = true;
            }
            let pid = claim::backend_pid(&mut connection).await.map_err(failed)?;
            let shared = &self.shared;
            let (start, by) = (settings.start, self.claimed_by.as_str());
            let (done, is_done) = watch::channel(false);
            let claiming = async {
                let claimed = claim::claim(
                    &mut connection,
                    &shared.worker,
                    &shared.group,
                    by,
                    start,
                    observed,
                )
                .await;
                let _ = done.send(true);
                claimed
            };
            // Both run to their end; neither is abandoned half-way.
            let (claimed, ()) =
                tokio::join!(claiming, end_blockers(&mut self.watching, pid, is_done));
            claimed.map_err(failed)
        };
        match tokio::time::timeout(limit, work).await {
            Ok(Ok(claimed)) => {
                self.claiming.put_back(connection);
                Ok(claimed)
            }
            // The connection is dropped: what is out of order may be the session.
            Ok(Err(failure)) => Err(failure),
            Err(_) => Err(no_answer(limit)),
        }
    }
}

/// While a claim waits, ends the backends that it waits for, once per [`PATIENCE`].
async fn end_blockers(database: &mut Database, waiting_pid: i32, mut done: watch::Receiver<bool>) {
    while tokio::time::timeout(PATIENCE, done.wait_for(|done| *done))
        .await
        .is_err()
    {
        let Ok(mut connection) = database.take().await else {
            continue;
        };
        match claim::end_blockers(&mut connection, waiting_pid).await {
            Ok(ended) => {
                if ended > 0 {
                    tracing::warn!(
                        ended,
                        "ended the backends of a former owner that kept a claim waiting"
                    );
                }
                database.put_back(connection);
            }
            Err(error) => {
                tracing::warn!(%error, "the backends that keep a claim waiting could not be ended")
            }
        }
    }
}

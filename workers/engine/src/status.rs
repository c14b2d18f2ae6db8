//! What a running worker is doing, for ops: health, status page and metrics.
//!
//! Invariant: waiting is visible. Whoever waits says on what, since when and why.

use crate::scheduling::offsets::{NextOffset, TopicPartition};
use chrono::{DateTime, Utc};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What is waited for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Waiting {
    /// `postgres`, `registry`, `kafka`, …
    pub on: &'static str,
    /// Since when.
    pub since: DateTime<Utc>,
    /// The last thing that was said.
    pub message: String,
}

/// What a partition is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "phase")]
pub enum Phase {
    /// Assigned, not yet claimed in the database.
    Claiming,
    /// Being read.
    Running,
    /// Something is not there; it goes on by itself.
    Waiting(Waiting),
    /// A person has to decide.
    Halted {
        /// Since when.
        since: DateTime<Utc>,
        /// Why, and with which command to go on.
        message: String,
    },
}

impl Phase {
    /// Whether one of its records keeps the partition waiting, not what all partitions need.
    fn is_blocked(&self) -> bool {
        matches!(self, Self::Waiting(waiting) if matches!(waiting.on, "schema" | "registry"))
    }
}

/// One partition.
#[derive(Clone, Debug, Serialize)]
pub struct PartitionStatus {
    /// What it is doing.
    #[serde(flatten)]
    pub phase: Phase,
    /// Everything below is finished.
    pub position: Option<i64>,
    /// When the oldest unfinished event was produced, milliseconds since 1970; `None` = caught up.
    pub oldest_unfinished_ms: Option<i64>,
}

/// One lane.
#[derive(Clone, Debug, Default, Serialize)]
pub struct LaneStatus {
    /// What it waits for.
    pub waiting: Option<Waiting>,
    /// Since when it works on the present batch; `None` = idle.
    pub busy_since: Option<DateTime<Utc>>,
}

/// What happened to events since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Effects committed.
    pub applied: u64,
    /// Recognised as applied before.
    pub duplicates: u64,
    /// Of a type that the worker does not want.
    pub skipped: u64,
    /// Waiting behind a dead letter.
    pub parked: u64,
    /// Waiting for a person.
    pub quarantined: u64,
    /// In the dead letter topic.
    pub dead_lettered: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, other: Self) {
        self.applied += other.applied;
        self.duplicates += other.duplicates;
        self.skipped += other.skipped;
        self.parked += other.parked;
        self.quarantined += other.quarantined;
        self.dead_lettered += other.dead_lettered;
    }
}

/// A copy of the board at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct Snapshot {
    /// The consumer group.
    pub group: String,
    /// Partitions that this process holds, by name.
    pub partitions: BTreeMap<String, PartitionStatus>,
    /// Its lanes.
    pub lanes: Vec<LaneStatus>,
    /// What happened to events since the start.
    pub events: Counts,
    /// The largest time lag of all partitions, in seconds.
    pub time_lag_seconds: f64,
    /// Seconds since the consumer last polled.
    pub last_poll_seconds: f64,
    /// Rebalances since the start.
    pub rebalances: u64,
    /// The last trouble with the brokers, and when.
    pub broker_trouble: Option<(DateTime<Utc>, String)>,
}

/// The shared board: many write, health and status read.
#[derive(Debug)]
pub struct Board {
    group: String,
    last_poll_ms: AtomicI64,
    rebalances: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    partitions: BTreeMap<TopicPartition, PartitionStatus>,
    lanes: Vec<LaneStatus>,
    events: Counts,
    broker_trouble: Option<(DateTime<Utc>, String)>,
}

impl Board {
    pub(crate) fn new(group: &str, lanes: usize) -> Self {
        let state = State {
            lanes: vec![LaneStatus::default(); lanes],
            ..State::default()
        };
        Self {
            group: group.to_owned(),
            last_poll_ms: AtomicI64::new(Utc::now().timestamp_millis()),
            rebalances: AtomicU64::new(0),
            state: Mutex::new(state),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn consumer_is_alive(&self) {
        self.last_poll_ms
            .store(Utc::now().timestamp_millis(), Ordering::Relaxed);
    }

    pub(crate) fn rebalanced(&self) {
        self.rebalances.fetch_add(1, Ordering::Relaxed);
        metrics::counter!("fleet_rebalances_total", "group" => self.group.clone()).increment(1);
    }

    pub(crate) fn broker_trouble(&self, message: &str) {
        self.state().broker_trouble = Some((Utc::now(), message.to_owned()));
    }

    pub(crate) fn assigned(&self, partition: &TopicPartition) {
        let fresh = PartitionStatus {
            phase: Phase::Claiming,
            position: None,
            oldest_unfinished_ms: None,
        };
        self.state().partitions.insert(partition.clone(), fresh);
    }

    pub(crate) fn revoked(&self, partition: &TopicPartition) {
        self.state().partitions.remove(partition);
        self.time_lag_gauge(partition).set(0.0);
    }

    pub(crate) fn running(&self, partition: &TopicPartition, position: NextOffset) {
        self.change(partition, |status| {
            // What its next record waits for, it waits for until it has come past that record.
            if !(status.position == Some(position.0) && status.phase.is_blocked()) {
                status.phase = Phase::Running;
            }
            status.position = Some(position.0);
        });
    }

    /// The partition waits; `since` stays what it was while it waits for the same thing.
    pub(crate) fn waits(&self, partition: &TopicPartition, on: &'static str, message: &str) {
        self.change(partition, |status| {
            let since = match &status.phase {
                Phase::Waiting(waiting) if waiting.on == on => waiting.since,
                _ => Utc::now(),
            };
            status.phase = Phase::Waiting(Waiting {
                on,
                since,
                message: message.to_owned(),
            });
        });
    }

    pub(crate) fn halted(&self, partition: &TopicPartition, message: &str) {
        self.change(partition, |status| {
            if !matches!(&status.phase, Phase::Halted { message: known, .. } if known == message) {
                tracing::error!(%partition, message, "partition halted");
                status.phase = Phase::Halted {
                    since: Utc::now(),
                    message: message.to_owned(),
                };
            }
        });
    }

    pub(crate) fn finished(
        &self,
        partition: &TopicPartition,
        position: NextOffset,
        oldest_ms: Option<i64>,
    ) {
        self.change(partition, |status| {
            if status.phase.is_blocked() {
                status.phase = Phase::Running;
            }
            status.position = Some(position.0);
            status.oldest_unfinished_ms = oldest_ms;
        });
        self.time_lag_gauge(partition)
            .set(lag_seconds(oldest_ms, Utc::now()));
    }

    pub(crate) fn waiting_since(&self, partition: &TopicPartition, oldest_ms: Option<i64>) {
        self.change(partition, |status| {
            if status.oldest_unfinished_ms.is_none() {
                status.oldest_unfinished_ms = oldest_ms;
            }
        });
    }

    fn change(&self, partition: &TopicPartition, edit: impl FnOnce(&mut PartitionStatus)) {
        if let Some(status) = self.state().partitions.get_mut(partition) {
            edit(status);
        }
    }

    pub(crate) fn counted(&self, counts: Counts) {
        self.state().events.add(counts);
        let outcomes = [
            ("applied", counts.applied),
            ("duplicate", counts.duplicates),
            ("skipped", counts.skipped),
            ("parked", counts.parked),
            ("quarantined", counts.quarantined),
            ("dead_lettered", counts.dead_lettered),
        ];
        for (outcome, count) in outcomes {
            metrics::counter!("fleet_events_total", "group" => self.group.clone(), "outcome" => outcome)
                .increment(count);
        }
    }

    pub(crate) fn lane_busy(&self, lane: usize, busy: bool) {
        if let Some(status) = self.state().lanes.get_mut(lane) {
            status.busy_since = busy.then(Utc::now);
        }
    }

    /// The lane waits, or does no longer. Each attempt counts as progress of the lane.
    pub(crate) fn lane_waits(&self, lane: usize, waiting: Option<(&'static str, &str)>) {
        let mut state = self.state();
        let Some(status) = state.lanes.get_mut(lane) else {
            return;
        };
        status.busy_since = status.busy_since.map(|_| Utc::now());
        status.waiting = waiting.map(|(on, message)| {
            let since = match &status.waiting {
                Some(known) if known.on == on => known.since,
                _ => Utc::now(),
            };
            Waiting {
                on,
                since,
                message: message.to_owned(),
            }
        });
        let value = if status.waiting.is_some() { 1.0 } else { 0.0 };
        drop(state);
        metrics::gauge!("fleet_lane_waiting", "group" => self.group.clone(), "lane" => lane.to_string())
            .set(value);
    }

    fn time_lag_gauge(&self, partition: &TopicPartition) -> metrics::Gauge {
        metrics::gauge!(
            "fleet_time_lag_seconds",
            "group" => self.group.clone(),
            "topic" => partition.topic.to_string(),
            "partition" => partition.partition.to_string()
        )
    }

    /// A copy of everything, for the status page.
    pub fn snapshot(&self) -> Snapshot {
        let now = Utc::now();
        let state = self.state();
        let lag = state
            .partitions
            .values()
            .map(|partition| lag_seconds(partition.oldest_unfinished_ms, now))
            .fold(0.0, f64::max);
        Snapshot {
            group: self.group.clone(),
            partitions: state
                .partitions
                .iter()
                .map(|(p, s)| (p.to_string(), s.clone()))
                .collect(),
            lanes: state.lanes.clone(),
            events: state.events,
            time_lag_seconds: lag,
            last_poll_seconds: self.since_last_poll(now).as_secs_f64(),
            rebalances: self.rebalances.load(Ordering::Relaxed),
            broker_trouble: state.broker_trouble.clone(),
        }
    }

    fn since_last_poll(&self, now: DateTime<Utc>) -> Duration {
        let millis = now.timestamp_millis() - self.last_poll_ms.load(Ordering::Relaxed);
        Duration::from_millis(u64::try_from(millis).unwrap_or_default())
    }

    /// Whether the worker makes progress. Dependencies play no part: what waits, lives.
    ///
    /// # Errors
    /// What has been standing still for longer than `limit`.
    pub fn live(&self, limit: Duration) -> Result<(), String> {
        let now = Utc::now();
        let silent = self.since_last_poll(now);
        if silent > limit {
            return Err(format!(
                "{}: the consumer has not polled for {} s",
                self.group,
                silent.as_secs()
            ));
        }
        for (lane, status) in self.state().lanes.iter().enumerate() {
            let busy = status
                .busy_since
                .and_then(|since| (now - since).to_std().ok());
            if let Some(busy) = busy.filter(|busy| *busy > limit) {
                let group = &self.group;
                return Err(format!(
                    "{group}: lane {lane} has stood still for {} s",
                    busy.as_secs()
                ));
            }
        }
        Ok(())
    }

    /// Whether the worker holds its partitions and reaches what it needs.
    ///
    /// # Errors
    /// What is missing.
    pub fn ready(&self) -> Result<(), String> {
        if self.rebalances.load(Ordering::Relaxed) == 0 {
            return Err(format!("{}: not yet a member of its group", self.group));
        }
        let state = self.state();
        for (partition, status) in &state.partitions {
            match &status.phase {
                Phase::Claiming => return Err(format!("{partition}: being claimed")),
                Phase::Waiting(w) => {
                    return Err(format!("{partition}: waiting on {}: {}", w.on, w.message));
                }
                Phase::Running | Phase::Halted { .. } => {}
            }
        }
        match state.lanes.iter().find_map(|lane| lane.waiting.as_ref()) {
            Some(w) => Err(format!(
                "{}: waiting on {} since {}: {}",
                self.group, w.on, w.since, w.message
            )),
            None => Ok(()),
        }
    }
}

fn lag_seconds(oldest_ms: Option<i64>, now: DateTime<Utc>) -> f64 {
    // A producer's clock may be ahead of ours; that is no lag.
    oldest_ms.map_or(0.0, |oldest| {
        let millis = (now.timestamp_millis() - oldest).max(0);
        Duration::from_millis(millis.unsigned_abs()).as_secs_f64()
    })
}

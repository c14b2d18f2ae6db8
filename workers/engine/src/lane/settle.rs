//! From prepared batches to committed ones: attempts, waiting, bisecting, dead letters.
//!
//! Invariants: a batch is settled completely before the next one; an outage is waited out with the
//! batch in hand; bad data is isolated by halving the batch, each half a transaction of its own and
//! the left one first, so that positions only move along and successors of a bad event are parked.

use super::transaction::{self, Committed, NotCommitted};
use super::{Bad, BadKind, Batch, Blocked, Claim, Commands, Item, Shared, Step};
use crate::kafka::consumer::Command;
use crate::scheduling::backoff::Backoff;
use crate::scheduling::flood_guard::{FloodGuard, Verdict};
use crate::scheduling::offsets::{NextOffset, TopicPartition};
use crate::store::connection::{Database, no_answer};
use crate::store::failure::Failure;
use crate::store::partitions;
use crate::store::positions::{Held, Violation};
use crate::store::set_aside::Origin;
use crate::worker::Worker;
use futures::future::join_all;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::Receiver;

/// How soon a partition that was lost to another claim, but is still assigned, is claimed again.
const RECLAIM: Duration = Duration::from_secs(1);
/// Races that are tried again at once before they are waited for like an outage.
const QUICK_RACES: u32 = 5;

/// What this lane knows of a partition beyond its claim.
#[derive(Debug)]
pub struct Owned {
    /// Everything below is committed.
    pub position: NextOffset,
    /// Keys whose events have to be parked.
    pub parked_keys: HashSet<Vec<u8>>,
    flood: FloodGuard,
}

/// Some of a batch's items: those of partitions that are still ours.
#[derive(Debug)]
pub struct Slice<'s, P> {
    claims: &'s [Arc<Claim>],
    items: Vec<&'s Item<P>>,
}

impl<'s, P> Slice<'s, P> {
    /// The items, in order.
    pub fn items(&self) -> &[&'s Item<P>] {
        &self.items
    }

    /// The claims that have items here.
    pub fn claims(&self) -> impl Iterator<Item = usize> + use<'_, P> {
        let present: BTreeSet<usize> = self.items.iter().map(|item| item.claim).collect();
        present.into_iter()
    }

    /// A claim, as the fence knows it.
    pub fn held(&self, claim: usize) -> Held {
        let claim = &self.claims[claim];
        Held {
            partition: claim.assignment.partition.clone(),
            epoch: claim.epoch,
        }
    }

    /// Where an item came from.
    pub fn origin(&self, item: &'s Item<P>) -> Origin<'s> {
        origin(&self.claims[item.claim], item)
    }
}

fn origin<'s, P>(claim: &'s Claim, item: &'s Item<P>) -> Origin<'s> {
    let (event_id, event_type) = match &item.step {
        Step::Skip => (None, None),
        Step::Apply(accepted) => (
            Some(accepted.envelope.id.0),
            Some(accepted.envelope.event_type.clone()),
        ),
        Step::Bad(bad) => (bad.event_id, bad.event_type.clone()),
    };
    Origin {
        topic_id: claim.topic_id,
        partition: &claim.assignment.partition,
        record: &item.record,
        event_id,
        event_type,
    }
}

/// The second half of a lane.
pub struct Settler<W: Worker> {
    shared: Arc<Shared<W>>,
    lane: usize,
    database: Database,
    commands: Commands,
    /// By claim: assignment epochs are unique within the process.
    owned: HashMap<u64, Owned>,
    /// Claims that must not be worked on any more.
    lost: HashSet<u64>,
    backoff: Backoff,
    races: u32,
}

enum Next {
    /// Try the same items again (some may have been dropped or changed).
    Again,
    /// Halve them.
    Split,
    /// They are settled.
    Done,
}

impl<W: Worker> Settler<W> {
    /// A lane that has not connected yet.
    pub fn new(shared: Arc<Shared<W>>, lane: usize, commands: Commands) -> Self {
        let settings = &shared.settings;
        let name = settings.connection_name(&shared.group, &format!("lane {lane}"));
        let database = Database::new(settings.database.clone(), &name, settings.timeouts);
        let backoff = Backoff::new(settings.backoff.0, settings.backoff.1);
        Self {
            shared,
            lane,
            database,
            commands,
            owned: HashMap::new(),
            lost: HashSet::new(),
            backoff,
            races: 0,
        }
    }

    /// Settles batches until no more come.
    pub async fn run(mut self, mut batches: Receiver<Batch<W::Plan>>) {
        while let Some(batch) = batches.recv().await {
            self.shared.board.lane_busy(self.lane, true);
            self.settle(batch).await;
            self.shared.board.lane_busy(self.lane, false);
        }
    }

    async fn settle(&mut self, mut batch: Batch<W::Plan>) {
        self.remember_claims(&batch.claims);
        let whole = 0..batch.items.len();
        let mut work = Vec::from([whole]);
        while let Some(range) = work.pop() {
            loop {
                match self.attempt(&mut batch, range.clone()).await {
                    Next::Again => {}
                    Next::Done => break,
                    Next::Split => {
                        let middle = range.start + range.len() / 2;
                        work.push(middle..range.end);
                        work.push(range.start..middle);
                        break;
                    }
                }
            }
        }
        for Blocked {
            assignment,
            on,
            message,
            again,
        } in batch.blocked
        {
            self.shared.board.waits(&assignment.partition, on, &message);
            tracing::warn!(partition = %assignment.partition, on, message, "partition waits");
            self.commands.send(Command::ClaimAgain(assignment, again));
        }
    }

    fn remember_claims(&mut self, claims: &[Arc<Claim>]) {
        if self.owned.len() > claims.len() + 1000 {
            let present: HashSet<u64> = claims.iter().map(|c| c.assignment.epoch.0).collect();
            self.owned.retain(|epoch, _| present.contains(epoch));
            self.lost.retain(|epoch| present.contains(epoch));
        }
        for claim in claims {
            let flood = self.shared.settings.flood;
            self.owned
                .entry(claim.assignment.epoch.0)
                .or_insert_with(|| Owned {
                    position: claim.position,
                    parked_keys: claim.parked_keys.clone(),
                    flood: FloodGuard::new(flood),
                });
        }
    }

    fn is_live(&self, claim: &Claim) -> bool {
        !claim.assignment.has_ended() && !self.lost.contains(&claim.assignment.epoch.0)
    }

    fn slice<'s>(&self, batch: &'s Batch<W::Plan>, range: Range<usize>) -> Slice<'s, W::Plan> {
        let live: Vec<bool> = batch
            .claims
            .iter()
            .map(|claim| self.is_live(claim))
            .collect();
        let items = batch.items[range]
            .iter()
            .filter(|item| live[item.claim])
            .collect();
        Slice {
            claims: &batch.claims,
            items,
        }
    }

    async fn attempt(&mut self, batch: &mut Batch<W::Plan>, range: Range<usize>) -> Next {
        // Each attempt is progress: a batch that is halved many times does not stand still.
        self.shared.board.lane_busy(self.lane, true);
        let guards = self.judge(batch, range.clone());
        if let Err(message) = self.send_dead_letters(batch, range.clone()).await {
            self.wait("kafka", &message).await;
            return Next::Again;
        }
        let slice = self.slice(batch, range.clone());
        if slice.items().is_empty() {
            // Others have it now, and whatever it waited for.
            self.shared.board.lane_waits(self.lane, None);
            return Next::Done;
        }
        let started = Instant::now();
        match self.commit(&slice).await {
            Ok(committed) => {
                self.committed(batch, &committed, guards, started.elapsed());
                Next::Done
            }
            Err(NotCommitted::Fenced(lost)) => {
                self.lose(batch, |claim| lost.contains(&claim.assignment.partition));
                metrics::counter!("fleet_fence_refusals_total", "group" => self.shared.group.clone()).increment(1);
                Next::Again
            }
            Err(NotCommitted::Violated(violation)) => self.violated(batch, &violation).await,
            Err(NotCommitted::Failed(failure)) => self.failed(batch, range, failure).await,
        }
    }

    async fn commit(&mut self, slice: &Slice<'_, W::Plan>) -> Result<Committed, NotCommitted> {
        let mut connection = self.database.take().await.map_err(NotCommitted::Failed)?;
        let owned: HashMap<usize, &Owned> = slice
            .claims()
            .filter_map(|claim| {
                let epoch = slice.claims[claim].assignment.epoch.0;
                Some((claim, self.owned.get(&epoch)?))
            })
            .collect();
        let limit = self.database.timeouts().answer();
        let running = transaction::run(&self.shared, &mut connection, slice, &owned);
        match tokio::time::timeout(limit, running).await {
            Ok(Ok(committed)) => {
                self.database.put_back(connection);
                Ok(committed)
            }
            // What is out of order may be the session: its settings are those of its beginning.
            Ok(Err(outage @ NotCommitted::Failed(Failure::Outage { .. }))) => Err(outage),
            Ok(Err(not_committed)) => {
                self.database.roll_back(connection).await;
                Err(not_committed)
            }
            // The connection is dropped with the statement that it was running.
            Err(_) => Err(NotCommitted::Failed(no_answer(limit))),
        }
    }

    fn committed(
        &mut self,
        batch: &Batch<W::Plan>,
        committed: &Committed,
        guards: HashMap<u64, FloodGuard>,
        took: Duration,
    ) {
        self.backoff.reset();
        self.races = 0;
        self.shared.board.lane_waits(self.lane, None);
        self.shared.schemas.saved(committed.schemas_saved);
        for (epoch, guard) in guards {
            if let Some(owned) = self.owned.get_mut(&epoch) {
                owned.flood = guard;
            }
        }
        for (claim, prefix) in &committed.moves {
            let assignment = &batch.claims[*claim].assignment;
            if let Some(owned) = self.owned.get_mut(&assignment.epoch.0) {
                owned.position = prefix.next();
            }
            let oldest = batch.oldest_waiting_ms.get(*claim).copied().flatten();
            self.shared
                .board
                .finished(&assignment.partition, prefix.next(), oldest);
            self.commands
                .send(Command::Hint(assignment.partition.clone(), prefix.next()));
        }
        for (claim, key) in &committed.parked_keys {
            if let Some(owned) = self.owned.get_mut(&batch.claims[*claim].assignment.epoch.0) {
                owned.parked_keys.insert(key.clone());
            }
        }
        self.shared.board.counted(committed.counts);
        let group = self.shared.group.clone();
        metrics::histogram!("fleet_batch_seconds", "group" => group.clone(), "stage" => "commit")
            .record(took);
        metrics::counter!("fleet_position_checks_total", "group" => group)
            .increment(u64::try_from(committed.moves.len()).unwrap_or_default());
    }

    async fn failed(
        &mut self,
        batch: &mut Batch<W::Plan>,
        range: Range<usize>,
        failure: Failure,
    ) -> Next {
        metrics::counter!("fleet_failed_attempts_total",
            "group" => self.shared.group.clone(), "class" => failure.class())
        .increment(1);
        match failure {
            Failure::Data { sqlstate, message } => {
                self.isolate(batch, range, sqlstate, message).await
            }
            Failure::Race if self.races < QUICK_RACES => {
                self.races += 1;
                Next::Again
            }
            Failure::MissingPartition { .. } => {
                self.create_partitions().await;
                // Maintenance cannot mend everything; until somebody does, this is an outage.
                self.wait("postgres", &failure.to_string()).await;
                Next::Again
            }
            Failure::Race | Failure::NoAnswer { .. } | Failure::Outage { .. } => {
                self.wait("postgres", &failure.to_string()).await;
                // What was too much at once would be so for ever.
                match failure.took_too_long() && range.len() > 1 {
                    true => Next::Split,
                    false => Next::Again,
                }
            }
        }
    }

    /// Data is at fault: halve until one event is left, which is then bad.
    async fn isolate(
        &mut self,
        batch: &mut Batch<W::Plan>,
        range: Range<usize>,
        sqlstate: Option<String>,
        message: String,
    ) -> Next {
        if range.len() > 1 {
            return Next::Split;
        }
        let Some(item) = batch.items.get_mut(range.start) else {
            return Next::Done;
        };
        let Step::Apply(accepted) = &item.step else {
            // Our own bookkeeping was refused; no event is to blame for that.
            self.wait("postgres", &message).await;
            return Next::Again;
        };
        let (kind, reason) = match sqlstate {
            Some(code) => (BadKind::SqlData, format!("{message} (SQLSTATE {code})")),
            None => (BadKind::Rejected, message),
        };
        item.step = Step::Bad(Box::new(Bad {
            kind,
            reason,
            event_id: Some(accepted.envelope.id.0),
            event_type: Some(accepted.envelope.event_type.clone()),
            acknowledged: None,
        }));
        Next::Again
    }

    /// Asks the flood guards. A partition that has too many bad events halts before the next one.
    fn judge(&mut self, batch: &Batch<W::Plan>, range: Range<usize>) -> HashMap<u64, FloodGuard> {
        let mut guards: HashMap<u64, FloodGuard> = HashMap::new();
        let mut halted: Vec<(Arc<Claim>, String)> = Vec::new();
        for item in self.slice(batch, range).items() {
            let claim = &batch.claims[item.claim];
            let epoch = claim.assignment.epoch.0;
            let Some(owned) = self.owned.get(&epoch) else {
                continue;
            };
            let guard = guards.entry(epoch).or_insert_with(|| owned.flood.clone());
            let Step::Bad(bad) = &item.step else {
                guard.good();
                continue;
            };
            let verdict = guard.bad();
            let is_known =
                bad.acknowledged.is_some() || halted.iter().any(|(c, _)| Arc::ptr_eq(c, claim));
            if let (Verdict::Halt(why), false) = (verdict, is_known) {
                let message = format!(
                    "halted by the flood guard: {why}, the last one: {}; mend the producer or the \
                     worker, then restart",
                    bad.reason
                );
                halted.push((Arc::clone(claim), message));
            }
        }
        for (claim, message) in halted {
            self.shared
                .board
                .halted(&claim.assignment.partition, &message);
            self.lost.insert(claim.assignment.epoch.0);
            self.commands
                .send(Command::GiveUp(Arc::clone(&claim.assignment)));
        }
        guards
    }

    /// Sends what is bad and not yet acknowledged.
    async fn send_dead_letters(
        &self,
        batch: &mut Batch<W::Plan>,
        range: Range<usize>,
    ) -> Result<(), String> {
        let claims = &batch.claims;
        let unsent = batch.items[range].iter_mut().filter(|item| {
            self.is_live(&claims[item.claim])
                && matches!(&item.step, Step::Bad(bad) if bad.acknowledged.is_none())
        });
        let sending = unsent.map(|item| async move {
            let acknowledged = match &item.step {
                Step::Bad(bad) => {
                    let origin = origin(&claims[item.claim], item);
                    let sent = self.shared.dead_letters.send(&origin, bad.kind.as_str(), &bad.reason).await?;
                    tracing::warn!(
                        partition = %origin.partition, offset = %item.record.offset, kind = bad.kind.as_str(),
                        event_type = bad.event_type, event_id = ?bad.event_id, reason = bad.reason, "dead letter"
                    );
                    sent
                }
                _ => return Ok(()),
            };
            if let Step::Bad(bad) = &mut item.step {
                bad.acknowledged = Some(acknowledged);
            }
            Ok(())
        });
        join_all(sending).await.into_iter().collect()
    }

    /// Another owner has claimed these partitions. Still assigned, so claim them again later.
    fn lose(&mut self, batch: &Batch<W::Plan>, is_lost: impl Fn(&Claim) -> bool) {
        for claim in batch.claims.iter().filter(|claim| is_lost(claim)) {
            let partition: &TopicPartition = &claim.assignment.partition;
            tracing::warn!(%partition, epoch = claim.epoch.0, "fenced: another owner has claimed the partition");
            self.lost.insert(claim.assignment.epoch.0);
            self.commands
                .send(Command::ClaimAgain(Arc::clone(&claim.assignment), RECLAIM));
        }
    }

    async fn violated(&mut self, batch: &Batch<W::Plan>, violation: &Violation) -> Next {
        metrics::counter!("fleet_position_violations_total", "group" => self.shared.group.clone())
            .increment(1);
        tracing::error!(%violation, "positions did not move as they should have");
        match violation {
            Violation::PositionMoved(..) => self.lose(batch, |_| true),
            Violation::TransactionEnded => self.wait("worker", &violation.to_string()).await,
        }
        Next::Again
    }

    async fn create_partitions(&mut self) {
        match partitions::maintain(&mut self.database).await {
            Ok(()) => {}
            Err(failure) => {
                self.wait(
                    "postgres",
                    &format!("partitions could not be created: {failure}"),
                )
                .await
            }
        }
    }

    async fn wait(&mut self, on: &'static str, message: &str) {
        let pause = self.backoff.next(rand::random());
        self.shared.board.lane_waits(self.lane, Some((on, message)));
        tracing::warn!(
            lane = self.lane,
            on,
            message,
            attempt = self.backoff.attempts(),
            ?pause,
            "waiting"
        );
        tokio::time::sleep(pause).await;
    }
}

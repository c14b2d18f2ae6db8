//! The records that wait in a lane, by partition.
//!
//! Invariants: a record is handed out at most once, in offset order, and only while the period of
//! assignment that it belongs to lasts; what belongs to an ended period is dropped, never mixed
//! with what the next period reads again.

use super::offsets::{AssignmentEpoch, NextOffset, Offset};
use std::collections::{BTreeMap, VecDeque};

/// What the queue has to know of a record.
pub trait Queued {
    /// The record's offset.
    fn offset(&self) -> Offset;
    /// The record's size in bytes.
    fn bytes(&self) -> usize;
}

/// The waiting records of all partitions of one lane.
#[derive(Debug)]
pub struct Queue<R> {
    partitions: BTreeMap<AssignmentEpoch, Waiting<R>>,
    /// The period after which the next batch starts to take, so that all get their turn.
    turn: AssignmentEpoch,
    events: usize,
    bytes: usize,
}

#[derive(Debug)]
struct Waiting<R> {
    /// Below this everything was received already.
    received: NextOffset,
    records: VecDeque<R>,
}

/// A contiguous run of one partition's records.
#[derive(Debug)]
pub struct Run<R> {
    /// The period of assignment that they belong to.
    pub epoch: AssignmentEpoch,
    /// In offset order.
    pub records: Vec<R>,
}

impl<R: Queued> Default for Queue<R> {
    fn default() -> Self {
        Self {
            partitions: BTreeMap::new(),
            turn: AssignmentEpoch(0),
            events: 0,
            bytes: 0,
        }
    }
}

impl<R: Queued> Queue<R> {
    /// A period of assignment begins: records from this position on will come.
    pub fn open(&mut self, epoch: AssignmentEpoch, position: NextOffset) {
        self.partitions.insert(
            epoch,
            Waiting {
                received: position,
                records: VecDeque::new(),
            },
        );
    }

    /// A period ends: what waits is dropped, what still comes is refused.
    pub fn close(&mut self, epoch: AssignmentEpoch) {
        if let Some(waiting) = self.partitions.remove(&epoch) {
            self.events -= waiting.records.len();
            self.bytes -= waiting.records.iter().map(Queued::bytes).sum::<usize>();
        }
    }

    /// A record came. It is dropped if its period has ended or if it was received before.
    pub fn offer(&mut self, epoch: AssignmentEpoch, record: R) {
        let Some(waiting) = self.partitions.get_mut(&epoch) else {
            return;
        };
        if record.offset().0 < waiting.received.0 {
            return;
        }
        waiting.received = record.offset().next();
        self.events += 1;
        self.bytes += record.bytes();
        waiting.records.push_back(record);
    }

    /// Takes the next batch, within both limits (but at least one record, however large). Every
    /// partition gets an equal share first; what some leave the others take.
    pub fn take(&mut self, max_events: usize, max_bytes: usize) -> Vec<Run<R>> {
        let order = self.in_turn();
        let share = max_events.div_ceil(order.len().max(1)).max(1);
        let mut room = Room {
            events: max_events,
            bytes: max_bytes,
            first: true,
        };
        let mut runs: BTreeMap<AssignmentEpoch, Vec<R>> = BTreeMap::new();
        for limit in [share, max_events] {
            for epoch in &order {
                let Some(waiting) = self.partitions.get_mut(epoch) else {
                    continue;
                };
                let run = runs.entry(*epoch).or_default();
                while run.len() < limit
                    && waiting
                        .records
                        .front()
                        .is_some_and(|next| room.admits(next.bytes()))
                    && let Some(record) = waiting.records.pop_front()
                {
                    self.events -= 1;
                    self.bytes -= record.bytes();
                    run.push(record);
                }
            }
        }
        if let Some(first) = order.first() {
            self.turn = *first;
        }
        runs.into_iter()
            .filter(|(_, records)| !records.is_empty())
            .map(|(epoch, records)| Run { epoch, records })
            .collect()
    }

    /// Periods with waiting records, the one after the last turn's first.
    fn in_turn(&self) -> Vec<AssignmentEpoch> {
        let waiting =
            |(epoch, w): (&AssignmentEpoch, &Waiting<R>)| (!w.records.is_empty()).then_some(*epoch);
        let after = self
            .partitions
            .iter()
            .filter_map(waiting)
            .filter(|e| *e > self.turn);
        let before = self
            .partitions
            .iter()
            .filter_map(waiting)
            .filter(|e| *e <= self.turn);
        after.chain(before).collect()
    }

    /// The oldest waiting record of a period.
    pub fn head(&self, epoch: AssignmentEpoch) -> Option<&R> {
        self.partitions.get(&epoch)?.records.front()
    }

    /// How many records wait.
    pub const fn events(&self) -> usize {
        self.events
    }

    /// How many bytes wait.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }
}

struct Room {
    events: usize,
    bytes: usize,
    first: bool,
}

impl Room {
    fn admits(&mut self, bytes: usize) -> bool {
        if self.events == 0 || (bytes > self.bytes && !self.first) {
            return false;
        }
        self.first = false;
        self.events -= 1;
        self.bytes = self.bytes.saturating_sub(bytes);
        true
    }
}

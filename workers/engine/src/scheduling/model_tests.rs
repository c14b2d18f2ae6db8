//! The scheduling core against a naive model: any interleaving of assigning, revoking, receiving
//! (also late and repeated) and taking.

use super::budget::{Budget, Charge, Limits};
use super::offsets::{AssignmentEpoch, NextOffset, Offset};
use super::prefix::{Finished, Prefix};
use super::queue::{Queue, Queued};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

struct Record {
    offset: Offset,
    bytes: usize,
    _charge: Charge,
}

impl Queued for Record {
    fn offset(&self) -> Offset {
        self.offset
    }
    fn bytes(&self) -> usize {
        self.bytes
    }
}

#[derive(Clone, Debug)]
enum Step {
    Assign {
        partition: usize,
    },
    Revoke {
        partition: usize,
    },
    /// The broker delivers the next records; `stale` sends them with the previous period instead.
    Receive {
        partition: usize,
        records: usize,
        stale: bool,
    },
    /// The broker delivers again what it delivered before.
    Repeat {
        partition: usize,
    },
    Take {
        events: usize,
        bytes: usize,
    },
}

const PARTITIONS: usize = 4;

fn step() -> impl Strategy<Value = Step> {
    let partition = 0..PARTITIONS;
    prop_oneof![
        2 => partition.clone().prop_map(|partition| Step::Assign { partition }),
        1 => partition.clone().prop_map(|partition| Step::Revoke { partition }),
        6 => (partition.clone(), 1_usize..20, prop::bool::weighted(0.2))
            .prop_map(|(partition, records, stale)| Step::Receive { partition, records, stale }),
        1 => partition.prop_map(|partition| Step::Repeat { partition }),
        5 => (1_usize..30, 1_usize..2000).prop_map(|(events, bytes)| Step::Take { events, bytes }),
    ]
}

/// The naive model: per partition the committed position, and per period what was received.
#[derive(Default)]
struct Model {
    committed: [i64; PARTITIONS],
    period: [Option<u64>; PARTITIONS],
    last_period: [Option<u64>; PARTITIONS],
    received: [i64; PARTITIONS],
    taken: BTreeMap<u64, i64>,
    owner: BTreeMap<u64, usize>,
    next_period: u64,
    finished: [Vec<i64>; PARTITIONS],
}

struct Run {
    model: Model,
    queue: Queue<Record>,
    budget: Arc<Budget>,
}

impl Run {
    fn record(&self, offset: i64) -> Record {
        let bytes = 10 + usize::try_from(offset % 300).unwrap();
        Record {
            offset: Offset(offset),
            bytes,
            _charge: self.budget.charge(bytes),
        }
    }

    fn assign(&mut self, partition: usize) {
        self.revoke(partition);
        let model = &mut self.model;
        model.next_period += 1;
        let period = model.next_period;
        model.period[partition] = Some(period);
        model.received[partition] = model.committed[partition];
        model.taken.insert(period, model.committed[partition]);
        model.owner.insert(period, partition);
        self.queue.open(
            AssignmentEpoch(period),
            NextOffset(model.committed[partition]),
        );
    }

    fn revoke(&mut self, partition: usize) {
        if let Some(period) = self.model.period[partition].take() {
            self.model.last_period[partition] = Some(period);
            self.queue.close(AssignmentEpoch(period));
        }
    }

    fn receive(&mut self, partition: usize, records: usize, stale: bool) {
        let period = if stale {
            self.model.last_period[partition]
        } else {
            self.model.period[partition]
        };
        let Some(period) = period else { return };
        for _ in 0..records {
            let offset = self.model.received[partition];
            let record = self.record(offset);
            self.queue.offer(AssignmentEpoch(period), record);
            if !stale {
                self.model.received[partition] += 1;
            }
        }
    }

    fn repeat(&mut self, partition: usize) {
        let Some(period) = self.model.period[partition] else {
            return;
        };
        for offset in 0..self.model.received[partition] {
            let record = self.record(offset);
            self.queue.offer(AssignmentEpoch(period), record);
        }
    }

    fn take(&mut self, events: usize, bytes: usize) -> Result<(), TestCaseError> {
        let before = self.queue.events();
        let runs = self.queue.take(events, bytes);
        let count: usize = runs.iter().map(|run| run.records.len()).sum();
        let size: usize = runs
            .iter()
            .flat_map(|run| &run.records)
            .map(|r| r.bytes)
            .sum();
        prop_assert!(count <= events);
        prop_assert!(
            size <= bytes || count == 1,
            "only a single record may exceed the bytes"
        );
        prop_assert_eq!(
            count == 0,
            before == 0,
            "a batch is empty only when nothing waits"
        );
        for run in runs {
            let period = run.epoch.0;
            let partition = self.model.owner[&period];
            prop_assert_eq!(
                self.model.period[partition],
                Some(period),
                "only the current period is served"
            );
            let mut prefix = Prefix::starting_at(NextOffset(self.model.committed[partition]));
            for record in &run.records {
                prop_assert_eq!(
                    record.offset.0,
                    self.model.taken[&period],
                    "offsets come one after the other"
                );
                self.model.taken.insert(period, record.offset.0 + 1);
                prefix.finish(record.offset, Finished::Applied).unwrap();
                self.model.finished[partition].push(record.offset.0);
            }
            self.model.committed[partition] = prefix.next().0;
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn any_schedule_hands_out_every_record_once_and_in_order(steps in prop::collection::vec(step(), 1..150)) {
        let budget = Budget::new(Limits { events: 1_000_000, bytes: usize::MAX });
        let mut run = Run { model: Model::default(), queue: Queue::default(), budget };
        for step in steps {
            match step {
                Step::Assign { partition } => run.assign(partition),
                Step::Revoke { partition } => run.revoke(partition),
                Step::Receive { partition, records, stale } => run.receive(partition, records, stale),
                Step::Repeat { partition } => run.repeat(partition),
                Step::Take { events, bytes } => run.take(events, bytes)?,
            }
        }
        // Everything that was received in the current periods comes out in the end.
        while run.queue.events() > 0 {
            run.take(7, 500)?;
        }
        for partition in 0..PARTITIONS {
            let finished = &run.model.finished[partition];
            let expected: Vec<i64> = (0..i64::try_from(finished.len()).unwrap()).collect();
            prop_assert_eq!(finished, &expected, "each offset once, none left out");
        }
        for partition in 0..PARTITIONS {
            run.revoke(partition);
        }
        prop_assert_eq!(run.queue.bytes(), 0);
        prop_assert_eq!(run.budget.used(), (0, 0), "nothing stays charged");
    }

    #[test]
    fn every_partition_gets_its_turn(backlog in 50_usize..200) {
        let budget = Budget::new(Limits { events: 1_000_000, bytes: usize::MAX });
        let mut run = Run { model: Model::default(), queue: Queue::default(), budget };
        for partition in 0..PARTITIONS {
            run.assign(partition);
            run.receive(partition, if partition == 0 { backlog * 10 } else { backlog }, false);
        }
        run.take(PARTITIONS * 10, usize::MAX)?;
        for partition in 0..PARTITIONS {
            prop_assert_eq!(run.model.finished[partition].len(), 10);
        }
        // Batches smaller than the number of partitions still reach everyone.
        for _ in 0..PARTITIONS {
            run.take(1, usize::MAX)?;
        }
        for partition in 0..PARTITIONS {
            prop_assert_eq!(run.model.finished[partition].len(), 11);
        }
    }
}

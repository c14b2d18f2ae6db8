//! How far a partition has come within one batch.
//!
//! Invariant: the position moves along a contiguous prefix of finished events; a later success
//! never skips an earlier failure. The type leaves no way to move it otherwise: every record has
//! to be handed in, in order, with the way in which it was finished.

use super::offsets::{NextOffset, Offset};

/// The ways in which an event can be finished. There is no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finished {
    /// Its effects are in this transaction.
    Applied,
    /// Its effects were there already.
    Duplicate,
    /// The worker does not want its type.
    Skipped,
    /// Its bytes are in this transaction, waiting for a dead-lettered predecessor of its key.
    Parked,
    /// Its bytes are in this transaction, waiting for a person: a conflict or too old to judge.
    Quarantined,
    /// The dead letter topic has acknowledged it.
    DeadLettered(Acknowledged),
}

/// Where the dead letter topic keeps an event: the proof that the broker has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    partition: i32,
    offset: i64,
}

impl Acknowledged {
    /// Only for the code that has just received the broker's acknowledgement.
    pub(crate) const fn by_broker(partition: i32, offset: i64) -> Self {
        Self { partition, offset }
    }

    /// Partition of the dead letter topic.
    pub const fn partition(self) -> i32 {
        self.partition
    }

    /// Offset in that partition.
    pub const fn offset(self) -> i64 {
        self.offset
    }
}

/// A run of finished events of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    from: NextOffset,
    next: NextOffset,
}

/// Events were handed in out of order, which would skip or repeat one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("event at offset {offset} was finished when the prefix had come to {next}")]
pub struct OutOfOrder {
    /// The event's offset.
    pub offset: Offset,
    /// Where the prefix ends.
    pub next: NextOffset,
}

impl Prefix {
    /// An empty run that starts at the partition's position.
    pub const fn starting_at(position: NextOffset) -> Self {
        Self {
            from: position,
            next: position,
        }
    }

    /// The next event of the partition is finished. Offsets may have gaps (compaction, control
    /// records) but never go back.
    ///
    /// # Errors
    /// [`OutOfOrder`], which is a defect of the caller; nothing moves then.
    pub fn finish(&mut self, offset: Offset, _how: Finished) -> Result<(), OutOfOrder> {
        if offset.0 < self.next.0 {
            return Err(OutOfOrder {
                offset,
                next: self.next,
            });
        }
        self.next = offset.next();
        Ok(())
    }

    /// Where the run starts.
    pub const fn from(&self) -> NextOffset {
        self.from
    }

    /// Where to read on.
    pub const fn next(&self) -> NextOffset {
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_prefix_moves_nothing() {
        let prefix = Prefix::starting_at(NextOffset(7));
        assert_eq!(prefix.next(), NextOffset(7));
    }

    #[test]
    fn gaps_are_stepped_over_and_going_back_is_refused() {
        let mut prefix = Prefix::starting_at(NextOffset(7));
        prefix.finish(Offset(7), Finished::Applied).unwrap();
        prefix.finish(Offset(12), Finished::Duplicate).unwrap();
        assert_eq!(prefix.next(), NextOffset(13));
        assert!(prefix.finish(Offset(12), Finished::Applied).is_err());
        assert_eq!(prefix.next(), NextOffset(13));
    }
}

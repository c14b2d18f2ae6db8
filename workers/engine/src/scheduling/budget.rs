//! Bounds what is held in memory, whatever the backlog.
//!
//! Invariant: what a record was charged is given back exactly once, because only dropping its
//! [`Charge`] gives it back. After any schedule in which all records are gone the budget is zero.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// How much may be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Records.
    pub events: usize,
    /// Bytes of keys, headers and values.
    pub bytes: usize,
}

/// The account of everything that was received and is not finished.
#[derive(Debug)]
pub struct Budget {
    limits: Limits,
    events: AtomicUsize,
    bytes: AtomicUsize,
    freed: (Mutex<()>, Condvar),
}

/// One record's share; dropping it gives it back.
#[derive(Debug)]
pub struct Charge {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Budget {
    /// An empty account.
    pub fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            events: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            freed: (Mutex::new(()), Condvar::new()),
        })
    }

    /// Takes a record's share. Never refuses: a record that was received has to be kept. The
    /// receiver asks [`has_room`](Self::has_room) *before* it receives.
    pub fn charge(self: &Arc<Self>, bytes: usize) -> Charge {
        self.events.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Charge {
            budget: Arc::clone(self),
            bytes,
        }
    }

    /// Whether one more record may be received.
    pub fn has_room(&self) -> bool {
        let (events, bytes) = self.used();
        events < self.limits.events && bytes < self.limits.bytes
    }

    /// Whether so much is free that a stopped intake may start again (hysteresis: below half).
    pub fn is_half_free(&self) -> bool {
        let (events, bytes) = self.used();
        events <= self.limits.events / 2 && bytes <= self.limits.bytes / 2
    }

    /// Events and bytes held now.
    pub fn used(&self) -> (usize, usize) {
        (
            self.events.load(Ordering::Relaxed),
            self.bytes.load(Ordering::Relaxed),
        )
    }

    /// The limits.
    pub const fn limits(&self) -> Limits {
        self.limits
    }

    /// Waits until there is room, at most this long; says whether there is.
    pub fn wait_for_room(&self, at_most: Duration) -> bool {
        let guard = self.freed.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .freed
            .1
            .wait_timeout_while(guard, at_most, |()| !self.has_room());
        drop(waited);
        self.has_room()
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        let had_room = self.budget.has_room();
        self.budget.events.fetch_sub(1, Ordering::Relaxed);
        self.budget.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        if !had_room && self.budget.has_room() {
            drop(
                self.budget
                    .freed
                    .0
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner),
            );
            self.budget.freed.1.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_ends_at_either_limit_and_returns_with_the_charge() {
        let budget = Budget::new(Limits {
            events: 2,
            bytes: 100,
        });
        let first = budget.charge(10);
        assert!(budget.has_room());
        let second = budget.charge(10);
        assert!(!budget.has_room(), "two events are the limit");
        drop(second);
        let large = budget.charge(90);
        assert!(!budget.has_room(), "a hundred bytes are the limit");
        drop((first, large));
        assert_eq!(budget.used(), (0, 0));
    }

    #[test]
    fn a_waiting_receiver_is_woken_when_room_returns() {
        let budget = Budget::new(Limits {
            events: 1,
            bytes: 100,
        });
        let charge = budget.charge(1);
        let waiter = {
            let budget = Arc::clone(&budget);
            std::thread::spawn(move || budget.wait_for_room(Duration::from_secs(30)))
        };
        drop(charge);
        assert!(waiter.join().unwrap());
    }
}

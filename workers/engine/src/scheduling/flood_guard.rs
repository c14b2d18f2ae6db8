//! Halts a partition instead of dead-lettering a bad deploy's whole topic.
//!
//! Invariant: once tripped it stays tripped; a person has to look.

use std::collections::VecDeque;

/// When a partition counts as flooded with bad events.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FloodLimits {
    /// This many bad events in a row.
    pub consecutive: u32,
    /// This share (0 to 1) of the last `window` events.
    pub ratio: f64,
    /// How many events the share is taken over; it counts only once that many were seen.
    pub window: u32,
}

/// What the guard says of one more bad event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may go to the dead letter topic.
    DeadLetter,
    /// Too many: halt before this event, and say why.
    Halt(String),
}

/// Counts the good and the bad of one partition.
#[derive(Clone, Debug)]
pub struct FloodGuard {
    limits: FloodLimits,
    consecutive: u32,
    recent: VecDeque<bool>,
    bad: u32,
}

impl FloodGuard {
    /// A guard that has seen nothing yet.
    pub fn new(limits: FloodLimits) -> Self {
        Self {
            limits,
            consecutive: 0,
            recent: VecDeque::new(),
            bad: 0,
        }
    }

    /// An event was finished without being dead-lettered.
    pub fn good(&mut self) {
        self.consecutive = 0;
        self.remember(false);
    }

    /// An event turned out bad. The caller dead-letters it only if the verdict allows.
    pub fn bad(&mut self) -> Verdict {
        self.consecutive += 1;
        self.remember(true);
        let limits = self.limits;
        if self.consecutive > limits.consecutive {
            return Verdict::Halt(format!(
                "more than {} events in a row are bad",
                limits.consecutive
            ));
        }
        let seen = u32::try_from(self.recent.len()).unwrap_or(u32::MAX);
        if seen >= limits.window && f64::from(self.bad) > limits.ratio * f64::from(seen) {
            return Verdict::Halt(format!("{} of the last {seen} events are bad", self.bad));
        }
        Verdict::DeadLetter
    }

    fn remember(&mut self, bad: bool) {
        self.recent.push_back(bad);
        self.bad += u32::from(bad);
        if self.recent.len() > self.limits.window as usize
            && let Some(oldest) = self.recent.pop_front()
        {
            self.bad -= u32::from(oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: FloodLimits = FloodLimits {
        consecutive: 3,
        ratio: 0.5,
        window: 10,
    };

    #[test]
    fn a_few_bad_events_among_good_ones_are_dead_lettered() {
        let mut guard = FloodGuard::new(LIMITS);
        for _ in 0..100 {
            guard.good();
            guard.good();
            assert_eq!(guard.bad(), Verdict::DeadLetter);
        }
    }

    #[test]
    fn too_many_in_a_row_halt() {
        let mut guard = FloodGuard::new(LIMITS);
        guard.good();
        for _ in 0..3 {
            assert_eq!(guard.bad(), Verdict::DeadLetter);
        }
        assert!(matches!(guard.bad(), Verdict::Halt(why) if why.contains("in a row")));
    }

    #[test]
    fn too_large_a_share_halts_even_when_never_many_in_a_row() {
        let mut guard = FloodGuard::new(LIMITS);
        let verdicts: Vec<Verdict> = (0..30)
            .filter_map(|n| {
                if n % 3 == 0 {
                    guard.good();
                    None
                } else {
                    Some(guard.bad())
                }
            })
            .collect();
        assert!(
            verdicts
                .iter()
                .any(|v| matches!(v, Verdict::Halt(why) if why.contains("of the last")))
        );
    }
}

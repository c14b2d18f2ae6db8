//! How long to wait before the next attempt. Invariant: waiting grows to a cap and never stops;
//! an outage is waited out, however long it lasts.

use std::time::Duration;

/// Capped exponential backoff with jitter.
#[derive(Clone, Debug)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    attempts: u32,
}

impl Backoff {
    /// Waits about `base` first, doubling up to `cap`.
    pub const fn new(base: Duration, cap: Duration) -> Self {
        Self {
            base,
            cap,
            attempts: 0,
        }
    }

    /// The next wait. `chance` in `0.0..1.0` spreads it over the upper half of the step, so that
    /// a fleet does not come back all at once.
    pub fn next(&mut self, chance: f64) -> Duration {
        let step = self
            .base
            .saturating_mul(2_u32.saturating_pow(self.attempts))
            .min(self.cap);
        self.attempts = self.attempts.saturating_add(1);
        step.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0)
    }

    /// Attempts since the last success.
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// It worked: the next failure starts at the base again.
    pub const fn reset(&mut self) {
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn it_starts_again_after_a_success() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
        for _ in 0..5 {
            backoff.next(0.0);
        }
        backoff.reset();
        assert_eq!(backoff.next(1.0), Duration::from_millis(100));
    }

    proptest! {
        #[test]
        fn every_wait_is_within_half_and_all_of_its_capped_step(tries in 0_u32..200, chance in 0.0..1.0) {
            let cap = Duration::from_secs(10);
            let mut backoff = Backoff::new(Duration::from_millis(50), cap);
            let mut last = Duration::ZERO;
            for _ in 0..=tries {
                last = backoff.next(chance);
            }
            let step = Duration::from_millis(50).saturating_mul(2_u32.saturating_pow(tries)).min(cap);
            prop_assert!(last >= step / 2 && last <= step, "{last:?} of {step:?}");
        }
    }
}

//! A token bucket.

use std::time::SystemTime;

/// Token bucket of one quota, in billionths of a request.
#[derive(Debug)]
pub(crate) struct Bucket {
    left: u128,
    at: SystemTime,
}

impl Bucket {
    const REQUEST: u128 = 1_000_000_000;
    /// Minimum balance for a request: slightly less than one, to tolerate jitter.
    const ENOUGH: u128 = Self::REQUEST / 100 * 95;

    pub(crate) fn full(rate: u32, now: SystemTime) -> Self {
        Self {
            left: u128::from(rate) * Self::REQUEST,
            at: now,
        }
    }

    pub(crate) fn take(&mut self, rate: u32, now: SystemTime) -> bool {
        let passed = now.duration_since(self.at).unwrap_or_default();
        self.at = now;
        let rate = u128::from(rate);
        self.left = (rate * Self::REQUEST).min(self.left + passed.as_nanos() * rate);
        if self.left < Self::ENOUGH {
            return false;
        }
        self.left = self.left.saturating_sub(Self::REQUEST);
        true
    }
}

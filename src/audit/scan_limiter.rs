//! Limits concurrent scans; a report that may have ended a previous run is scanned last, alone.

use tokio::sync::{RwLock, RwLockReadGuard, Semaphore, SemaphorePermit};

use crate::budget::Budget;

/// Maximum concurrent scans: one is parsed while another's bytes arrive.
const MAX_CONCURRENT_SCANS: u32 = 2;

/// Limits the concurrent scans of one run.
pub(crate) struct ScanLimiter {
    scans: Semaphore,
    /// Locked for reading by each audit that may still have an ordinary scan before it.
    ordinary: RwLock<()>,
}

impl Default for ScanLimiter {
    fn default() -> Self {
        Self {
            scans: Semaphore::new(MAX_CONCURRENT_SCANS as usize),
            ordinary: RwLock::new(()),
        }
    }
}

impl ScanLimiter {
    /// Registers an audit; all of them are registered before the first one starts.
    pub(super) fn scan_slot(&self) -> ScanSlot<'_> {
        let ordinary = self.ordinary.try_read();
        ScanSlot(self, ordinary.expect("no audit has started"))
    }
}

/// Registers an audit that may still have an ordinary scan before it, until it is dropped.
pub(super) struct ScanSlot<'a>(&'a ScanLimiter, RwLockReadGuard<'a, ()>);

/// Permission to scan, until it is dropped.
pub(super) struct ScanPermit<'a> {
    _permit: SemaphorePermit<'a>,
    _ordinary: Option<RwLockReadGuard<'a, ()>>,
}

impl<'a> ScanSlot<'a> {
    /// Waits for permission to scan; `None` if the run has no time left.
    ///
    /// A suspicious report waits for all ordinary audits and scans alone. If they take longer than
    /// half of the time left, it scans beside them.
    pub async fn acquire(self, is_suspicious: bool, budget: &Budget) -> Option<ScanPermit<'a>> {
        let ScanSlot(limiter, ordinary) = self;
        let ordinary = (!is_suspicious).then_some(ordinary);
        let permit = async {
            if is_suspicious {
                let alone = async {
                    drop(limiter.ordinary.write().await);
                    limiter.scans.acquire_many(MAX_CONCURRENT_SCANS).await
                };
                if let Ok(alone) = tokio::time::timeout(budget.left() / 2, alone).await {
                    return alone;
                }
            }
            limiter.scans.acquire().await
        };
        let permit = tokio::time::timeout_at(budget.work_deadline(), permit).await;
        Some(ScanPermit {
            _permit: permit.ok()?.ok()?,
            _ordinary: ordinary,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use tokio::time::{Instant, sleep};

    use super::*;

    fn budget() -> Budget {
        Budget::starting(SystemTime::UNIX_EPOCH, Duration::from_secs(900))
    }

    #[tokio::test(start_paused = true)]
    async fn suspicious_report_is_scanned_last_and_alone() {
        let (limiter, budget) = (ScanLimiter::default(), budget());
        let (first, second) = (limiter.scan_slot(), limiter.scan_slot());
        let suspicious = limiter.scan_slot();
        let began = Instant::now();
        let ordinary = async |slot: ScanSlot<'_>, seconds| {
            let permit = slot.acquire(false, &budget).await;
            let at = began.elapsed();
            sleep(Duration::from_secs(seconds)).await;
            drop(permit.expect("there is time"));
            at
        };
        let last = async {
            let permit = suspicious.acquire(true, &budget).await;
            let at = began.elapsed();
            let _alone = permit.expect("there is time");
            assert_eq!(limiter.scans.available_permits(), 0);
            at
        };

        let times = tokio::join!(last, ordinary(first, 10), ordinary(second, 20));

        assert_eq!(
            times,
            (Duration::from_secs(20), Duration::ZERO, Duration::ZERO)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn suspicious_report_is_scanned_beside_an_endless_scan() {
        let (limiter, budget) = (ScanLimiter::default(), budget());
        let (endless, third) = (limiter.scan_slot(), limiter.scan_slot());
        let _endless = endless.acquire(false, &budget).await;

        drop(limiter.scan_slot().acquire(true, &budget).await.unwrap());

        assert!(third.acquire(false, &budget).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn suspicious_report_waits_at_most_half_of_the_time() {
        let (limiter, budget) = (ScanLimiter::default(), budget());
        let _waits_for_its_report = limiter.scan_slot();
        let half = budget.left() / 2;
        let began = Instant::now();

        let permit = limiter.scan_slot().acquire(true, &budget).await;

        assert!(permit.is_some());
        assert_eq!(began.elapsed().as_secs(), half.as_secs());
    }
}

//! Who scans when: a few at once, and what may take the process down last and alone.

use tokio::sync::{Semaphore, SemaphorePermit, watch};

use crate::budget::Budget;

/// So many reports are scanned at once: one works while another's bytes are under way.
const SCANS_AT_ONCE: u32 = 2;

/// Lets a few scans run at once, and those that may take the process down last and alone.
#[derive(Debug)]
pub struct ScanLimiter {
    scans: Semaphore,
    ordinary: watch::Sender<usize>,
}

/// The place of an audit among the ordinary ones, until it is dropped.
#[derive(Debug)]
pub struct ScanSlot<'a>(&'a ScanLimiter);

impl ScanLimiter {
    pub fn new() -> Self {
        Self {
            scans: Semaphore::new(SCANS_AT_ONCE as usize),
            ordinary: watch::Sender::new(0),
        }
    }

    /// A place among the ordinary audits; every audit takes one before any of them starts.
    pub fn scan_slot(&self) -> ScanSlot<'_> {
        self.ordinary.send_modify(|count| *count += 1);
        ScanSlot(self)
    }

    /// Waits for the turn to scan: alone where an earlier scan did not come to its end, and after
    /// all others. Where they take longer than half of the time left, it has to be beside them.
    /// `None` where no time is left.
    pub async fn turn(
        &self,
        is_suspicious: bool,
        scan_slot: &mut Option<ScanSlot<'_>>,
        budget: &Budget,
    ) -> Option<SemaphorePermit<'_>> {
        let turn = async {
            if is_suspicious {
                *scan_slot = None;
                let mut ordinary = self.ordinary.subscribe();
                let alone = async {
                    let _ = ordinary.wait_for(|&count| count == 0).await;
                    self.scans.acquire_many(SCANS_AT_ONCE).await
                };
                match tokio::time::timeout(budget.left() / 2, alone).await {
                    Ok(alone) => alone,
                    Err(_) => self.scans.acquire().await,
                }
            } else {
                self.scans.acquire().await
            }
        };
        tokio::time::timeout_at(budget.work_ends(), turn)
            .await
            .ok()?
            .ok()
    }
}

impl Default for ScanLimiter {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for ScanSlot<'_> {
    fn drop(&mut self) {
        self.0.ordinary.send_modify(|count| *count -= 1);
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
    async fn what_may_take_the_process_down_scans_last_and_alone() {
        let (scan_limiter, budget) = (ScanLimiter::new(), budget());
        let (mut first, mut second) = (
            Some(scan_limiter.scan_slot()),
            Some(scan_limiter.scan_slot()),
        );
        let mut suspicious = Some(scan_limiter.scan_slot());
        let began = Instant::now();
        let ordinary = async |scan_slot: &mut Option<ScanSlot<'_>>, seconds| {
            let turn = scan_limiter.turn(false, scan_slot, &budget).await;
            let at = began.elapsed();
            sleep(Duration::from_secs(seconds)).await;
            drop(turn.expect("there is time"));
            *scan_slot = None;
            at
        };
        let last = async {
            let turn = scan_limiter.turn(true, &mut suspicious, &budget).await;
            let at = began.elapsed();
            let _alone = turn.expect("there is time");
            assert_eq!(scan_limiter.scans.available_permits(), 0);
            at
        };

        let times = tokio::join!(last, ordinary(&mut first, 10), ordinary(&mut second, 20));

        assert_eq!(
            times,
            (Duration::from_secs(20), Duration::ZERO, Duration::ZERO)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn beside_a_scan_without_end_it_scans_too_and_holds_nobody_up() {
        let (scan_limiter, budget) = (ScanLimiter::new(), budget());
        let (mut endless, mut third) = (
            Some(scan_limiter.scan_slot()),
            Some(scan_limiter.scan_slot()),
        );
        let _endless = scan_limiter.turn(false, &mut endless, &budget).await;
        let mut suspicious = Some(scan_limiter.scan_slot());

        drop(
            scan_limiter
                .turn(true, &mut suspicious, &budget)
                .await
                .unwrap(),
        );

        assert!(
            scan_limiter
                .turn(false, &mut third, &budget)
                .await
                .is_some()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn it_waits_no_longer_than_half_of_the_time_for_audits_that_wait_themselves() {
        let (scan_limiter, budget) = (ScanLimiter::new(), budget());
        let _waits_for_its_report = scan_limiter.scan_slot();
        let mut suspicious = Some(scan_limiter.scan_slot());
        let half = budget.left() / 2;
        let began = Instant::now();

        let turn = scan_limiter.turn(true, &mut suspicious, &budget).await;

        assert!(turn.is_some());
        assert_eq!(began.elapsed().as_secs(), half.as_secs());
    }
}

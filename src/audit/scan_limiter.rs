//! Who scans when: a few at once, and what may take the process down last and alone.

use tokio::sync::{Semaphore, SemaphorePermit, watch};

use crate::budget::Budget;

/// So many reports are scanned at once: one works while another's bytes are under way.
const SCANS_AT_ONCE: u32 = 2;

/// Lets a few scans run at once, and those that may take the process down last and alone.
#[derive(Debug)]
pub struct Gate {
    scans: Semaphore,
    ordinary: watch::Sender<usize>,
}

/// The place of an audit among the ordinary ones, until it is dropped.
#[derive(Debug)]
pub struct Place<'a>(&'a Gate);

impl Gate {
    pub fn new() -> Self {
        Self {
            scans: Semaphore::new(SCANS_AT_ONCE as usize),
            ordinary: watch::Sender::new(0),
        }
    }

    /// A place among the ordinary audits; every audit takes one before any of them starts.
    pub fn place(&self) -> Place<'_> {
        self.ordinary.send_modify(|count| *count += 1);
        Place(self)
    }

    /// Waits for the turn to scan: alone where an earlier scan did not come to its end, and after
    /// all others. Where they take longer than half of the time left, it has to be beside them.
    /// `None` where no time is left.
    pub async fn turn(
        &self,
        is_suspicious: bool,
        place: &mut Option<Place<'_>>,
        budget: &Budget,
    ) -> Option<SemaphorePermit<'_>> {
        let turn = async {
            if is_suspicious {
                *place = None;
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

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Place<'_> {
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
        let (gate, budget) = (Gate::new(), budget());
        let (mut first, mut second) = (Some(gate.place()), Some(gate.place()));
        let mut suspicious = Some(gate.place());
        let began = Instant::now();
        let ordinary = async |place: &mut Option<Place<'_>>, seconds| {
            let turn = gate.turn(false, place, &budget).await;
            let at = began.elapsed();
            sleep(Duration::from_secs(seconds)).await;
            drop(turn.expect("there is time"));
            *place = None;
            at
        };
        let last = async {
            let turn = gate.turn(true, &mut suspicious, &budget).await;
            let at = began.elapsed();
            let _alone = turn.expect("there is time");
            assert_eq!(gate.scans.available_permits(), 0);
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
        let (gate, budget) = (Gate::new(), budget());
        let (mut endless, mut third) = (Some(gate.place()), Some(gate.place()));
        let _endless = gate.turn(false, &mut endless, &budget).await;
        let mut suspicious = Some(gate.place());

        drop(gate.turn(true, &mut suspicious, &budget).await.unwrap());

        assert!(gate.turn(false, &mut third, &budget).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn it_waits_no_longer_than_half_of_the_time_for_audits_that_wait_themselves() {
        let (gate, budget) = (Gate::new(), budget());
        let _waits_for_its_report = gate.place();
        let mut suspicious = Some(gate.place());
        let half = budget.left() / 2;
        let began = Instant::now();

        let turn = gate.turn(true, &mut suspicious, &budget).await;

        assert!(turn.is_some());
        assert_eq!(began.elapsed().as_secs(), half.as_secs());
    }
}

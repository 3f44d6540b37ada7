//! The time that an invocation has left. The only file that reads a clock.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::timestamp::Timestamp;

/// Kept back for saving the state and answering: waiting and scanning end that long before
/// Lambda's deadline.
pub const RESERVE: Duration = Duration::from_secs(10);

/// The time of one invocation: made anew for each, because Lambda freezes the process in between.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    started: SystemTime,
    started_instant: Instant,
    deadline: Instant,
}

impl Budget {
    /// The budget of an invocation that starts now and that Lambda ends at `deadline`.
    pub fn until(deadline: SystemTime) -> Self {
        let now = SystemTime::now();
        Self::starting(now, deadline.duration_since(now).unwrap_or_default())
    }

    /// The budget of an invocation that starts now, when the wall clock shows `started`.
    pub fn starting(started: SystemTime, left: Duration) -> Self {
        let started_instant = Instant::now();
        Self {
            started,
            started_instant,
            deadline: started_instant + left,
        }
    }

    /// What the wall clock shows.
    pub fn now(&self) -> Timestamp {
        self.clock().into()
    }

    /// What the wall clock shows, with the fraction of the second.
    pub fn clock(&self) -> SystemTime {
        self.started + self.started_instant.elapsed()
    }

    /// Since the invocation started.
    pub fn elapsed(&self) -> Duration {
        self.started_instant.elapsed()
    }

    /// What Lambda's clock shows at the deadline.
    pub fn deadline(&self) -> Timestamp {
        (self.started + (self.deadline - self.started_instant)).into()
    }

    /// The instant at which waiting and scanning must end.
    pub fn work_ends(&self) -> Instant {
        self.deadline
            .checked_sub(RESERVE)
            .unwrap_or(self.started_instant)
    }

    /// The instant at which work that did not end by itself is stopped, so that the state can
    /// still be saved.
    pub fn saving_starts(&self) -> Instant {
        self.deadline
            .checked_sub(RESERVE / 2)
            .unwrap_or(self.started_instant)
    }

    /// The instant at which Lambda must have its answer: a little before the deadline.
    pub fn response_due(&self) -> Instant {
        self.deadline
            .checked_sub(RESERVE / 5)
            .unwrap_or(self.started_instant)
    }

    /// How long it is until Lambda must have its answer.
    pub fn left_to_respond(&self) -> Duration {
        self.response_due()
            .saturating_duration_since(Instant::now())
    }

    /// How long waiting and scanning may go on.
    pub fn left(&self) -> Duration {
        self.work_ends().saturating_duration_since(Instant::now())
    }

    /// Waits that long if the budget allows; `false`, at once, where it does not.
    pub async fn wait(&self, duration: Duration) -> bool {
        let fits = duration < self.left();
        if fits {
            tokio::time::sleep(duration).await;
        }
        fits
    }

    /// How long it is until the wall clock shows that; zero where it is past.
    pub fn until_clock(&self, shows: SystemTime) -> Duration {
        shows.duration_since(self.clock()).unwrap_or_default()
    }
}

/// Lets one request through per interval, over all certificate authorities of a run.
#[derive(Debug)]
pub struct Pacer {
    interval: Duration,
    next: tokio::sync::Mutex<Option<Instant>>,
}

impl Pacer {
    pub fn new(interval: Duration) -> Self {
        Self {
            interval,
            next: tokio::sync::Mutex::new(None),
        }
    }

    /// Waits for its turn; `false`, at once, where that would be beyond the budget.
    pub async fn turn(&self, budget: &Budget) -> bool {
        let mut next = self.next.lock().await;
        let now = Instant::now();
        let at = next.unwrap_or(now).max(now);
        if at > now && at >= budget.work_ends() {
            return false;
        }
        *next = Some(at + self.interval);
        drop(next);
        tokio::time::sleep_until(at).await;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(seconds: u64) -> Budget {
        let started = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_233_600);
        Budget::starting(started, Duration::from_secs(seconds))
    }

    #[tokio::test(start_paused = true)]
    async fn keeps_time_back_for_saving_and_answering() {
        let budget = budget(900);
        assert_eq!(budget.left(), Duration::from_secs(890));
        assert_eq!(budget.deadline().to_string(), "2026-11-21T04:15:00Z");
        assert!(budget.wait(Duration::from_secs(889)).await);
        assert_eq!(budget.now().to_string(), "2026-11-21T04:14:49Z");
        assert!(!budget.wait(Duration::from_secs(1)).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_in_the_past_leaves_nothing() {
        let budget = Budget::until(SystemTime::UNIX_EPOCH);
        assert_eq!(budget.left(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn lets_one_request_through_per_second_and_stops_in_time() {
        let budget = budget(15);
        let pacer = Pacer::new(Duration::from_secs(1));
        let started = Instant::now();
        for second in 0..5 {
            assert!(pacer.turn(&budget).await);
            assert_eq!(started.elapsed(), Duration::from_secs(second));
        }
        assert!(!pacer.turn(&budget).await);
        assert_eq!(started.elapsed(), Duration::from_secs(4));
    }
}

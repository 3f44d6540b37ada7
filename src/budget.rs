//! The time that an invocation has left; the only file that reads a clock.
#![allow(
    clippy::disallowed_methods,
    reason = "the only file that reads a clock"
)]

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::timestamp::Timestamp;

/// Time reserved for saving the state and responding: waiting and scanning end that long before
/// Lambda's deadline.
const RESERVE: Duration = Duration::from_secs(10);

/// Time reserved for announcing changes of the watch itself.
const ANNOUNCE_RESERVE: Duration = Duration::from_secs(30);

/// Time reserved for sending the messages of audits that did not end again.
const SEND_RESERVE: Duration = Duration::from_secs(5);

/// The time of one invocation. Each has its own, because Lambda freezes the process in between.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    started: SystemTime,
    started_instant: Instant,
    deadline: Instant,
}

impl Budget {
    /// Creates the budget of an invocation that starts now and that Lambda ends at `deadline`.
    pub fn until(deadline: SystemTime) -> Self {
        let now = SystemTime::now();
        Self::starting(now, deadline.duration_since(now).unwrap_or_default())
    }

    /// Creates the budget of an invocation that starts now, when the wall clock shows `started`.
    pub fn starting(started: SystemTime, left: Duration) -> Self {
        let started_instant = Instant::now();
        Self {
            started,
            started_instant,
            deadline: started_instant + left,
        }
    }

    /// Returns the budget of work that ends earlier and leaves time to announce its results: 30 s, or a
    /// tenth of a short invocation.
    #[must_use]
    pub fn before_announcing(&self) -> Self {
        self.ending_earlier(ANNOUNCE_RESERVE.min(self.whole() / 10))
    }

    /// Returns the budget of audits that end earlier and leave time to send their messages again: 5 s,
    /// or a fifth of a short invocation.
    #[must_use]
    pub fn before_sending(&self) -> Self {
        self.ending_earlier(SEND_RESERVE.min(self.whole() / 5))
    }

    fn whole(&self) -> Duration {
        self.deadline - self.started_instant
    }

    fn ending_earlier(&self, by: Duration) -> Self {
        let deadline = self.deadline - by;
        Self { deadline, ..*self }
    }

    /// Returns the budget of work that may wait that long from now, and no longer than this one.
    #[must_use]
    pub fn waiting_at_most(&self, duration: Duration) -> Self {
        Self {
            deadline: self.deadline.min(Instant::now() + duration + RESERVE),
            ..*self
        }
    }

    /// Returns the wall-clock time.
    pub fn now(&self) -> Timestamp {
        self.clock().into()
    }

    /// Returns the wall-clock time with the fraction of the second.
    pub fn clock(&self) -> SystemTime {
        self.started + self.started_instant.elapsed()
    }

    /// Returns the time since the invocation started.
    pub fn elapsed(&self) -> Duration {
        self.started_instant.elapsed()
    }

    /// Returns the wall-clock time of Lambda's deadline.
    pub fn deadline(&self) -> Timestamp {
        (self.started + (self.deadline - self.started_instant)).into()
    }

    /// Returns when waiting and scanning must end.
    pub fn work_deadline(&self) -> Instant {
        self.deadline - RESERVE
    }

    /// Returns when unfinished work is cut off, so that the state can still be saved.
    pub fn save_deadline(&self) -> Instant {
        self.deadline - RESERVE / 2
    }

    /// Returns when Lambda must have the response: shortly before the deadline.
    pub fn response_deadline(&self) -> Instant {
        self.deadline - RESERVE / 5
    }

    /// Whether an instant is over.
    pub fn has_passed(&self, instant: Instant) -> bool {
        instant <= Instant::now()
    }

    /// Returns the wall-clock time at which the invocation started.
    pub fn began(&self) -> Timestamp {
        self.started.into()
    }

    /// Returns the end of work that may take that long, and ends before Lambda must have the response.
    pub fn ending_within(&self, duration: Duration) -> Instant {
        self.response_deadline().min(Instant::now() + duration)
    }

    /// Returns the time until Lambda must have the response.
    pub fn time_to_respond(&self) -> Duration {
        self.response_deadline() - Instant::now()
    }

    /// Returns the time left for waiting and scanning.
    pub fn left(&self) -> Duration {
        self.work_deadline() - Instant::now()
    }

    /// Returns half of the time for waiting and scanning.
    pub fn half(&self) -> Duration {
        (self.work_deadline() - self.started_instant) / 2
    }

    /// Waits that long if the budget allows; otherwise returns `false` at once.
    pub async fn wait(&self, duration: Duration) -> bool {
        let fits = duration < self.left();
        if fits {
            tokio::time::sleep(duration).await;
        }
        fits
    }
}

/// Paces the requests of a run: one per interval, for all CAs together.
#[derive(Debug)]
pub struct Pacer {
    interval: Duration,
    next: tokio::sync::Mutex<Option<Instant>>,
}

impl Pacer {
    /// Creates a pacer whose first request is due at once.
    pub fn new(interval: Duration) -> Self {
        Self {
            interval,
            next: tokio::sync::Mutex::new(None),
        }
    }

    /// Waits until the next request is due; returns `false` at once if the budget ends before.
    pub async fn turn(&self, budget: &Budget) -> bool {
        let mut next = self.next.lock().await;
        let now = Instant::now();
        let at = next.unwrap_or(now).max(now);
        if at > now && at >= budget.work_deadline() {
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
    async fn time_is_reserved_for_saving_and_responding() {
        let budget = budget(900);
        assert_eq!(budget.left(), Duration::from_secs(890));
        assert_eq!(budget.deadline().to_string(), "2026-11-21T04:15:00Z");
        assert!(budget.wait(Duration::from_secs(889)).await);
        assert_eq!(budget.now().to_string(), "2026-11-21T04:14:49Z");
        assert!(!budget.wait(Duration::from_secs(1)).await);
    }

    #[tokio::test(start_paused = true)]
    async fn time_is_reserved_for_announcing() {
        let time_left = |seconds| budget(seconds).before_announcing().left();
        assert_eq!(time_left(900), Duration::from_secs(900 - 30 - 10));
        assert_eq!(time_left(100), Duration::from_secs(100 - 10 - 10));
    }

    #[tokio::test(start_paused = true)]
    async fn time_is_reserved_for_sending() {
        let time_left = |seconds| budget(seconds).before_sending().left();
        assert_eq!(time_left(900), Duration::from_secs(900 - 5 - 10));
        assert_eq!(time_left(20), Duration::from_secs(20 - 4 - 10));
    }

    #[tokio::test(start_paused = true)]
    async fn patience_ends_before_the_budget_at_the_latest() {
        let three = Duration::from_secs(3);
        let (long, short) = (budget(900), budget(11));
        assert_eq!(long.waiting_at_most(three).left(), three);
        assert_eq!(short.waiting_at_most(three).left(), Duration::from_secs(1));
        assert!(long.wait(Duration::from_secs(60)).await);
        assert_eq!(long.waiting_at_most(three).left(), three);
    }

    #[tokio::test(start_paused = true)]
    async fn deadline_in_the_past_leaves_no_time() {
        let budget = Budget::until(SystemTime::UNIX_EPOCH);
        assert_eq!(budget.left(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn pacer_lets_one_request_per_second_through_in_time() {
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

//! The only clock of the emulators.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_smithy_async::time::TimeSource;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Wall-clock time that follows tokio's clock: if a test pauses tokio's time, this clock pauses too.
///
/// Clones share the same clock.
#[derive(Clone, Debug)]
pub struct Clock {
    base: SystemTime,
    started: Instant,
    offset: Arc<Mutex<Duration>>,
    /// Signals that the clock was moved.
    moved: Arc<Notify>,
}

impl Clock {
    /// Creates a clock that shows `base` now.
    pub(crate) fn starting_at(base: SystemTime) -> Self {
        Self {
            base,
            started: Instant::now(),
            offset: Arc::default(),
            moved: Arc::default(),
        }
    }

    /// Creates a clock that shows the machine's time now.
    pub(crate) fn from_machine() -> Self {
        Self::starting_at(SystemTime::now())
    }

    /// Returns the current time.
    pub fn now(&self) -> SystemTime {
        let offset = *self.offset.lock().unwrap_or_else(PoisonError::into_inner);
        self.base + self.started.elapsed() + offset
    }

    /// Moves the clock forward without waiting.
    pub fn advance(&self, by: Duration) {
        *self.offset.lock().unwrap_or_else(PoisonError::into_inner) += by;
        self.moved.notify_waiters();
    }

    /// Waits until the clock shows this time.
    pub(crate) async fn sleep_until(&self, at: SystemTime) {
        loop {
            let moved = self.moved.notified();
            let Ok(left) = at.duration_since(self.now()) else {
                return;
            };
            if left.is_zero() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(left) => {}
                () = moved => {}
            }
        }
    }
}

/// Lets an SDK client use this clock.
impl TimeSource for Clock {
    fn now(&self) -> SystemTime {
        self.now()
    }
}

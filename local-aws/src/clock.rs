//! The only clock of the emulators.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_smithy_async::time::TimeSource;
use tokio::time::Instant;

/// Wall-clock time that follows tokio's clock: if a test pauses tokio's time, this clock pauses too.
///
/// Clones share the same clock.
#[derive(Clone, Debug)]
pub struct Clock {
    base: SystemTime,
    started: Instant,
    offset: Arc<Mutex<Duration>>,
}

impl Clock {
    /// Creates a clock that shows `base` now.
    pub(crate) fn starting_at(base: SystemTime) -> Self {
        Self {
            base,
            started: Instant::now(),
            offset: Arc::default(),
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
    }
}

/// Lets an SDK client use this clock.
impl TimeSource for Clock {
    fn now(&self) -> SystemTime {
        self.now()
    }
}

//! The one clock of the stand-ins: every date they give and every limit they keep is read here.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_smithy_async::time::TimeSource;
use tokio::time::Instant;

/// Wall time that follows tokio's clock, so that paused time in a test is paused here too.
///
/// Clones share one clock.
#[derive(Clone, Debug)]
pub struct Clock {
    base: SystemTime,
    started: Instant,
    offset: Arc<Mutex<Duration>>,
}

impl Clock {
    /// A clock that shows `base` now.
    pub(crate) fn starting_at(base: SystemTime) -> Self {
        Self {
            base,
            started: Instant::now(),
            offset: Arc::default(),
        }
    }

    /// A clock that shows the machine's time now.
    #[allow(
        clippy::disallowed_methods,
        reason = "the stand-ins' only look at the machine's clock"
    )]
    pub(crate) fn from_machine() -> Self {
        Self::starting_at(SystemTime::now())
    }

    /// The time the stand-ins believe it is.
    pub fn now(&self) -> SystemTime {
        let offset = *self.offset.lock().unwrap_or_else(PoisonError::into_inner);
        self.base + self.started.elapsed() + offset
    }

    /// Lets `by` pass at once for the stand-ins, without waiting. Time never goes back.
    pub fn advance(&self, by: Duration) {
        *self.offset.lock().unwrap_or_else(PoisonError::into_inner) += by;
    }
}

/// The stand-ins' time as that of an SDK client.
impl TimeSource for Clock {
    fn now(&self) -> SystemTime {
        self.now()
    }
}

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
    /// all others, but never so long that half of the time left would be gone. `None` where no time
    /// is left.
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
                let others = ordinary.wait_for(|&count| count == 0);
                let _ = tokio::time::timeout(budget.left() / 2, others).await;
                self.scans.acquire_many(SCANS_AT_ONCE).await
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

//! Limits concurrent scans, and the memory of all audits between scan and commit. The CA whose last
//! complete audit is the oldest is next; a report whose scan crashed a run is scanned alone: last, or
//! once half of the run is over.

use std::collections::BTreeSet;

use tokio::sync::watch;
use tokio::time::{timeout, timeout_at};

use crate::budget::Budget;
use crate::timestamp::Timestamp;

/// Maximum concurrent scans: one is parsed while another's bytes arrive.
const MAX_CONCURRENT_SCANS: u32 = 2;

/// Maximum memory of all audits between scan and commit. One that needs more has all of it.
const MAX_MEMORY_BYTES: u64 = 64 << 20;

/// Limits the concurrent scans and the memory of one run.
#[derive(Default)]
pub(crate) struct ScanLimiter(watch::Sender<Queue>);

/// The scans that run and those that wait. Every change wakes all waiting audits, and each checks
/// whether it is next.
#[derive(Default)]
struct Queue {
    registered: usize,
    /// Audits that may still have an ordinary scan before them.
    ordinary: BTreeSet<usize>,
    waiting: BTreeSet<Ticket>,
    scans: u32,
    memory_bytes: u64,
}

/// A waiting scan; the least is next.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Ticket {
    turn: Turn,
    last_audit: Option<Timestamp>,
    number: usize,
    memory_bytes: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    /// A suspicious report, after half of the run: the running scans end, and it is next.
    Due,
    Ordinary,
    /// After all ordinary scans.
    Suspicious,
}

/// What a scan needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct ScanRequest {
    /// Whether the last scan of the report crashed the process.
    pub is_suspicious: bool,
    /// When the report of the last complete audit was requested.
    pub last_audit: Option<Timestamp>,
    pub memory_bytes: u64,
}

impl Queue {
    /// Starts a scan if it is next and there is room for it.
    fn start(&mut self, ticket: &Ticket) -> bool {
        let memory_bytes = self.memory_bytes + ticket.memory_bytes;
        let is_ready = match ticket.turn {
            Turn::Due => self.scans == 0,
            Turn::Ordinary => self.scans < MAX_CONCURRENT_SCANS,
            Turn::Suspicious => self.scans == 0 && self.ordinary.is_empty(),
        };
        let has_room = memory_bytes <= MAX_MEMORY_BYTES || self.memory_bytes == 0;
        let starts = is_ready && has_room && self.waiting.first() == Some(ticket);
        if starts {
            self.waiting.remove(ticket);
            self.scans += ticket.scans();
            self.memory_bytes = memory_bytes;
        }
        starts
    }
}

impl Ticket {
    /// Returns how many of the concurrent scans it takes.
    fn scans(&self) -> u32 {
        match self.turn {
            Turn::Ordinary => 1,
            Turn::Due | Turn::Suspicious => MAX_CONCURRENT_SCANS,
        }
    }
}

impl ScanLimiter {
    /// Registers an audit; all of them are registered before the first one starts.
    pub(super) fn scan_slot(&self) -> ScanSlot<'_> {
        let mut number = 0;
        self.0.send_modify(|queue| {
            number = queue.registered;
            queue.registered += 1;
            queue.ordinary.insert(number);
        });
        ScanSlot {
            limiter: self,
            number,
        }
    }
}

/// Registers an audit that may still have a scan before it, until it is dropped.
pub(super) struct ScanSlot<'a> {
    limiter: &'a ScanLimiter,
    number: usize,
}

impl Drop for ScanSlot<'_> {
    fn drop(&mut self) {
        self.has_no_ordinary_scan();
    }
}

/// Keeps a scan in the queue, until it is dropped.
struct Queued<'a>(&'a ScanLimiter, Ticket);

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0
            .0
            .send_if_modified(|queue| queue.waiting.remove(&self.1));
    }
}

/// Permission to scan, until it is dropped.
pub(super) struct ScanPermit<'a>(&'a ScanLimiter, Ticket);

impl Drop for ScanPermit<'_> {
    fn drop(&mut self) {
        self.0.0.send_modify(|queue| {
            queue.scans -= self.1.scans();
            queue.ordinary.remove(&self.1.number);
        });
    }
}

/// Memory of an audit, until it is dropped.
pub(super) struct AuditMemory<'a> {
    limiter: &'a ScanLimiter,
    bytes: u64,
}

impl AuditMemory<'_> {
    /// Corrects what the audit was expected to need, without waiting.
    pub fn set(&mut self, bytes: u64) {
        self.limiter
            .0
            .send_modify(|queue| queue.memory_bytes = queue.memory_bytes - self.bytes + bytes);
        self.bytes = bytes;
    }
}

impl Drop for AuditMemory<'_> {
    fn drop(&mut self) {
        self.set(0);
    }
}

impl<'a> ScanSlot<'a> {
    /// Waits for permission to scan and for memory; `None` if the run has no time left.
    ///
    /// A suspicious report waits for all ordinary audits, at most until half of the run is over. Then
    /// it is next.
    pub async fn acquire(
        &self,
        request: ScanRequest,
        budget: &Budget,
    ) -> Option<(ScanPermit<'a>, AuditMemory<'a>)> {
        let mut turn = Turn::Ordinary;
        if request.is_suspicious {
            self.has_no_ordinary_scan();
            let last = self.wait(Turn::Suspicious, request);
            let until_half = budget.half().saturating_sub(budget.elapsed());
            if let Ok(permit) = timeout(until_half, last).await {
                return Some(permit);
            }
            turn = Turn::Due;
        }
        let permit = self.wait(turn, request);
        timeout_at(budget.work_deadline(), permit).await.ok()
    }

    fn has_no_ordinary_scan(&self) {
        let queue = &self.limiter.0;
        queue.send_if_modified(|queue| queue.ordinary.remove(&self.number));
    }

    async fn wait(&self, turn: Turn, request: ScanRequest) -> (ScanPermit<'a>, AuditMemory<'a>) {
        let (limiter, bytes) = (self.limiter, request.memory_bytes);
        let ticket = Ticket {
            turn,
            last_audit: request.last_audit,
            number: self.number,
            memory_bytes: bytes,
        };
        let mut changes = limiter.0.subscribe();
        limiter.0.send_modify(|queue| {
            queue.waiting.insert(ticket);
        });
        let _queued = Queued(limiter, ticket);
        while !limiter.0.send_if_modified(|queue| queue.start(&ticket)) {
            // The sender outlives the slot.
            changes.changed().await.ok();
        }
        (ScanPermit(limiter, ticket), AuditMemory { limiter, bytes })
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::time::{Duration, SystemTime};

    use futures_util::FutureExt as _;
    use tokio::time::{Instant, sleep};

    use super::*;

    const ORDINARY: ScanRequest = ScanRequest {
        is_suspicious: false,
        last_audit: None,
        memory_bytes: 1,
    };
    const SUSPICIOUS: ScanRequest = ScanRequest {
        is_suspicious: true,
        ..ORDINARY
    };

    fn budget() -> Budget {
        Budget::starting(SystemTime::UNIX_EPOCH, Duration::from_secs(900))
    }

    fn audited(seconds: u64) -> ScanRequest {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        ScanRequest {
            last_audit: Some(at.into()),
            ..ORDINARY
        }
    }

    fn needing(memory_bytes: u64) -> ScanRequest {
        ScanRequest {
            memory_bytes,
            ..ORDINARY
        }
    }

    /// Scans for that many seconds; returns the second at which the scan started.
    async fn scan(slot: ScanSlot<'_>, request: ScanRequest, budget: &Budget, seconds: u64) -> u64 {
        let permit = slot.acquire(request, budget).await;
        let at = budget.elapsed().as_secs();
        sleep(Duration::from_secs(seconds)).await;
        drop(permit.expect("there is time"));
        at
    }

    #[tokio::test(start_paused = true)]
    async fn oldest_complete_audit_is_scanned_first() {
        let (limiter, budget) = (ScanLimiter::default(), budget());
        let mut slots = (0..6)
            .map(|_| limiter.scan_slot())
            .collect::<Vec<_>>()
            .into_iter();
        let mut next = |request| scan(slots.next().expect("six"), request, &budget, 10);

        let started = tokio::join!(
            // The first two find nobody else.
            next(audited(90)),
            next(audited(80)),
            next(audited(70)),
            next(audited(60)),
            next(ORDINARY),
            next(audited(60)),
        );

        assert_eq!(started, (0, 0, 20, 10, 10, 20));
    }

    #[tokio::test(start_paused = true)]
    async fn dropped_audit_holds_neither_its_turn_nor_a_permit() {
        let (limiter, budget) = (ScanLimiter::default(), budget());
        let slots: Vec<_> = (0..4).map(|_| limiter.scan_slot()).collect();
        let first = slots[0].acquire(audited(1), &budget).await;
        let _second = slots[1].acquire(audited(1), &budget).await;
        {
            let mut next = pin!(slots[2].acquire(audited(2), &budget));
            let mut last = pin!(slots[3].acquire(audited(3), &budget));
            assert!(next.as_mut().now_or_never().is_none());
            assert!(last.as_mut().now_or_never().is_none());
            // It is the turn of `next`, which is dropped before it notices.
            drop(first);
            assert!(last.as_mut().now_or_never().is_none());
        }

        assert!(
            slots[3]
                .acquire(audited(3), &budget)
                .now_or_never()
                .is_some()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn suspicious_report_is_scanned_last_and_alone() {
        let (limiter, budget) = (ScanLimiter::default(), budget());
        let (first, second) = (limiter.scan_slot(), limiter.scan_slot());
        let suspicious = limiter.scan_slot();
        let last = async {
            let permit = suspicious.acquire(SUSPICIOUS, &budget).await;
            let at = budget.elapsed().as_secs();
            let _alone = permit.expect("there is time");
            assert!(
                limiter
                    .scan_slot()
                    .acquire(ORDINARY, &budget)
                    .now_or_never()
                    .is_none()
            );
            at
        };

        let times = tokio::join!(
            last,
            scan(first, ORDINARY, &budget, 10),
            scan(second, ORDINARY, &budget, 20)
        );

        assert_eq!(times, (20, 0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn suspicious_report_is_next_after_half_of_the_run() {
        let (limiter, budget) = (ScanLimiter::default(), budget());
        let many: Vec<_> = (0..100).map(|_| limiter.scan_slot()).collect();
        let suspicious = limiter.scan_slot();
        let half = budget.half().as_secs();
        let began = Instant::now();
        let many = many
            .into_iter()
            .map(|slot| scan(slot, ORDINARY, &budget, 10));
        let suspicious = async {
            // Never refused for lack of time.
            let permit = suspicious.acquire(SUSPICIOUS, &budget).await;
            assert!(permit.is_some());
            assert_eq!(limiter.0.borrow().scans, MAX_CONCURRENT_SCANS);
            sleep(Duration::from_secs(1)).await;
            began.elapsed().as_secs()
        };

        let (ended, started) = tokio::join!(suspicious, futures_util::future::join_all(many));

        assert_eq!(ended, half.next_multiple_of(10) + 1);
        assert_eq!(started.iter().max(), Some(&(49 * 10 + 1)));
    }

    #[tokio::test(start_paused = true)]
    async fn one_audit_may_scan_twice() {
        let (limiter, budget) = (ScanLimiter::default(), budget());
        let slot = limiter.scan_slot();

        assert!(slot.acquire(ORDINARY, &budget).await.is_some());
        assert!(slot.acquire(audited(1), &budget).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn memory_outlives_the_scan_and_limits_the_next_one() {
        let (limiter, budget) = (ScanLimiter::default(), budget());
        let slots: Vec<_> = (0..3).map(|_| limiter.scan_slot()).collect();
        let get = |number: usize, bytes| {
            slots[number]
                .acquire(needing(bytes), &budget)
                .now_or_never()
                .flatten()
        };
        let half = MAX_MEMORY_BYTES / 2;

        let (permit, mut memory) = get(0, half).expect("nothing is in memory");
        drop(permit);
        assert!(get(1, half + 1).is_none());
        drop(get(1, half).expect("the other half is free"));
        memory.set(MAX_MEMORY_BYTES);
        assert!(get(1, 1).is_none());
        memory.set(0);
        let larger = get(1, 2 * MAX_MEMORY_BYTES).expect("one may be larger");
        assert!(get(2, 1).is_none());
        drop(larger);
        assert!(get(2, 1).is_some());
    }
}

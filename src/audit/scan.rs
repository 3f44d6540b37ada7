//! Scans a report: in its turn, counted before it starts, from the first byte to the last.

use std::time::Duration;

use tracing::warn;

use crate::alert::ObjectLocation;
use crate::alert::full_list::FullList;
use crate::audit::context::Audit;
use crate::audit::new_revocations::NewRevocations;
use crate::audit::obtain_report::ReadyReport;
use crate::audit::scan_limiter::{AuditMemory, ScanPermit, ScanRequest, ScanSlot};
use crate::error::{AuditError, ErrorKind};
use crate::event::Mode;
use crate::pending_report::PendingReport;
use crate::report::fetch::Fetch;
use crate::report::scanner::{ReportScanner, ScanError, ScanTotals};
use crate::report::wait::ReportObject;
use crate::report_format::ReportFormat;
use crate::revocation::key::RevocationKey;
use crate::revocation::record::RevokedRecord;
use crate::state::control::{Control, MAX_SCAN_ATTEMPTS};
use crate::state::store::VersionedState;

/// Time after which S3's failure to deliver a report counts against the report.
const UNAVAILABLE_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

/// Time after the work deadline for completing the full list; leaves time to publish.
const FULL_LIST_OVERTIME: Duration = Duration::from_secs(1);

/// Memory of an audit apart from its notified set: mostly its part of a message.
const AUDIT_BYTES: u64 = 1 << 20;

/// Returns the expected memory of an audit: its notified set takes half as much again while it is
/// read or grows.
fn memory_bytes(revocations: u64) -> u64 {
    AUDIT_BYTES + revocations * size_of::<RevocationKey>() as u64 * 3 / 2
}

/// Corrects the memory of an audit once its new revocations are known.
fn correct_memory(memory: &mut AuditMemory<'_>, scan: &Result<Scan, AuditError>) {
    if let Ok(Scan { new, .. }) = scan {
        let revocations = new.notified.keys().len() + new.newly_seen.len();
        memory.set(memory_bytes(revocations as u64));
    }
}

/// A report that was read to its last byte.
pub(super) struct Scan<'a> {
    pub new: NewRevocations<'a>,
    pub totals: ScanTotals,
    /// Why it is not a valid report of this CA.
    pub invalid: Option<String>,
    /// Where the full list is, or can still be written if it is empty so far; `None` if it could not
    /// be written.
    pub full_list: Option<ObjectLocation>,
    pub duration_seconds: f64,
}

impl<'a> Audit<'a> {
    /// Scans a report; also returns the memory that the audit holds until it ends.
    ///
    /// The scan is counted in a write of its own right before it starts, so that one that crashes the
    /// process is noticed. A queued audit takes the lease with that write. Other endings take the attempt
    /// back, unless they count against the report.
    pub(super) async fn scan<'s>(
        &self,
        state: &mut VersionedState,
        report: &ReadyReport,
        scan_slot: &ScanSlot<'s>,
    ) -> Result<(Scan<'a>, AuditMemory<'s>), AuditError> {
        let (permit, mut memory) = self.acquire(&state.control, report, scan_slot).await?;
        let crashed = state.control.scanning.clone();
        let control = &mut state.control;
        control.last_scanned = control.last_scanned.max(Some(report.object.last_modified));
        control.start_scan();
        if self.is_queued() {
            control.lease = Some(self.lease());
        }
        if let Err(unsaved) = self.in_time(self.save(state)).await {
            state.control.end_scan(false);
            state.control.scanning = crashed;
            if self.is_queued() {
                state.control.release(&self.run.invocation.nonce);
            }
            return Err(unsaved);
        }
        let started = self.run.budget.elapsed();
        let scan = async {
            let new = self.in_time(self.new_revocations(&state.control, report));
            self.read(report, new.await?).await
        };
        let scan = scan.await;
        drop(permit);
        correct_memory(&mut memory, &scan);
        let duration = self.run.budget.elapsed() - started;
        let control = &mut state.control;
        control.end_scan(self.counts_against(report, &scan, duration));
        match scan {
            Ok(scan) => Ok((scan, memory)),
            Err(error) => {
                if error.kind.ends_report() {
                    control.pending_report = None;
                }
                Err(abandon_after_max_attempts(control, error))
            }
        }
    }

    /// Scans a report without changing the state.
    pub(super) async fn scan_without_saving<'s>(
        &self,
        control: &Control,
        report: &ReadyReport,
        scan_slot: &ScanSlot<'s>,
    ) -> Result<(Scan<'a>, AuditMemory<'s>), AuditError> {
        let (_permit, mut memory) = self.acquire(control, report, scan_slot).await?;
        let start = async {
            // Another run may have replaced the notified set in the meantime.
            let state = self.run.store.load(self.arn, self.run.budget.now()).await?;
            self.new_revocations(&state.control, report).await
        };
        let new = self.in_time(start).await?;
        let scan = self.read(report, new).await;
        correct_memory(&mut memory, &scan);
        Ok((scan?, memory))
    }

    /// Waits for permission to scan and for memory.
    async fn acquire<'s>(
        &self,
        control: &Control,
        report: &ReadyReport,
        scan_slot: &ScanSlot<'s>,
    ) -> Result<(ScanPermit<'s>, AuditMemory<'s>), AuditError> {
        let last = control.last_complete_audit.as_ref();
        let request = ScanRequest {
            is_suspicious: control.crashed(&report.report),
            last_audit: last.map(|audit| audit.requested_at),
            memory_bytes: memory_bytes(control.notified_count),
        };
        let permit = scan_slot.acquire(request, &self.run.budget).await;
        permit.ok_or_else(|| self.out_of_time("the run had no time left to scan its report"))
    }

    /// Whether the outcome of a scan counts against the report.
    fn counts_against(
        &self,
        report: &ReadyReport,
        scan: &Result<Scan, AuditError>,
        duration: Duration,
    ) -> bool {
        let budget = self.run.budget;
        match scan {
            Ok(scan) => scan.invalid.is_some(),
            Err(error) => match error.kind {
                ErrorKind::ReportCorrupted | ErrorKind::ReportInvalid => true,
                // Otherwise the run was full, which is no fault of the report.
                ErrorKind::OutOfTime => duration >= budget.half(),
                ErrorKind::Throttled | ErrorKind::Unavailable => {
                    budget.now().since(report.report.requested_at) > UNAVAILABLE_TIMEOUT
                }
                _ => false,
            },
        }
    }

    /// Reads a report to its last byte, as long as the run has time.
    async fn read(
        &self,
        report: &ReadyReport,
        mut new: NewRevocations<'a>,
    ) -> Result<Scan<'a>, AuditError> {
        let budget = self.run.budget;
        let started = budget.elapsed();
        let mut full_list = self.full_list(&report.report.id);
        let fed = self.feed(&report.object, &mut new, full_list.as_mut());
        let fed = tokio::time::timeout_at(budget.work_deadline(), fed).await;
        let fed = fed.unwrap_or_else(|_| {
            let (key, size_bytes) = (&report.object.key, report.object.size_bytes);
            let why = format!("the run had no time left to read {key} ({size_bytes} bytes)");
            Err(self.out_of_time(&why))
        });
        let (full_list, (totals, invalid)) = match (full_list, fed) {
            (None, fed) => (None, fed?),
            (Some(mut list), Ok(fed)) => {
                let deadline = budget.work_deadline() + FULL_LIST_OVERTIME;
                (list.finish(deadline).await, fed)
            }
            (Some(mut list), Err(error)) => {
                list.abort().await;
                return Err(error);
            }
        };
        let foreign = match new.foreign {
            0 => None,
            1 => Some("1 revoked record belongs to another CA".to_owned()),
            many => Some(format!("{many} revoked records belong to another CA")),
        };
        Ok(Scan {
            totals,
            invalid: invalid.map(|error| error.to_string()).or(foreign),
            full_list,
            duration_seconds: (budget.elapsed() - started).as_secs_f64(),
            new,
        })
    }

    /// Feeds a report's bytes to the scanner; returns what it counted and where it stopped.
    async fn feed(
        &self,
        object: &ReportObject,
        new: &mut NewRevocations<'_>,
        mut full_list: Option<&mut FullList<'_>>,
    ) -> Result<(ScanTotals, Option<ScanError>), AuditError> {
        let format = ReportFormat::from_key(&object.key).ok_or_else(|| {
            let message = format!("{} ends neither in .json nor in .csv", object.key);
            AuditError::new(ErrorKind::ReportInvalid, message)
        })?;
        let mut scanner = ReportScanner::new(format);
        let mut invalid = None;
        let bucket = &self.run.config.report_bucket;
        let mut fetch = Fetch::open(self.run.clients, bucket, object).await?;
        loop {
            let chunk = fetch.next().await?;
            // An invalid report is fetched to its end as well: only then do length and checksum
            // show whether these bytes are what S3 holds.
            if invalid.is_none() {
                let mut see = |record: &RevokedRecord<'_>| new.see(record);
                invalid = match &chunk {
                    Some(chunk) => scanner.feed(chunk, &mut see).err(),
                    None => scanner.finish(&mut see).err(),
                };
                let lines = std::mem::take(&mut new.full_list_lines);
                if let Some(full_list) = &mut full_list {
                    full_list.push(&lines).await;
                }
            }
            if chunk.is_none() {
                return Ok((scanner.totals(), invalid));
            }
        }
    }

    /// Creates the full list of a mode that publishes.
    fn full_list(&self, report_id: &str) -> Option<FullList<'a>> {
        let run = self.run;
        let name = match self.mode {
            _ if self.mode.is_dry_run() => return None,
            Mode::Replay { .. } => format!("{report_id}-{}", run.invocation.request_id),
            _ => report_id.to_owned(),
        };
        let location = ObjectLocation {
            bucket: run.config.report_bucket.clone(),
            key: format!("{}full-list/{name}.jsonl", run.store.ca_prefix(self.arn)),
        };
        Some(FullList::new(run.clients, location))
    }
}

/// Keeps an implausible report for an operator to accept; abandons an invalid one after enough attempts.
pub(super) fn keep_or_abandon(control: &mut Control, error: AuditError) -> AuditError {
    if error.kind == ErrorKind::ReportImplausible {
        control.keep_as_implausible();
        return error;
    }
    abandon_after_max_attempts(control, error)
}

/// Abandons a report that was tried often enough. An error that time or luck may fix becomes one
/// that an operator hears about.
fn abandon_after_max_attempts(control: &mut Control, error: AuditError) -> AuditError {
    let is_tried_enough = |report: &mut PendingReport| report.attempts >= MAX_SCAN_ATTEMPTS;
    let Some(report) = control.pending_report.take_if(is_tried_enough) else {
        return error;
    };
    warn!(
        certificate_authority = control.certificate_authority_arn.id(),
        report_id = report.id,
        attempts = report.attempts,
        "report abandoned"
    );
    let unfinished = AuditError::new(
        ErrorKind::ReportUnfinished,
        format!(
            "audit report {} is abandoned after {} attempts: {}",
            report.key, report.attempts, error.message
        ),
    );
    match error.kind {
        ErrorKind::OutOfTime => unfinished,
        ErrorKind::ReportCorrupted => AuditError {
            hint: "No alerts were sent from these bytes; a later run requests a new report. If it arrives damaged as well, check what lies between S3 and the function (a proxy, a VPC endpoint), then contact AWS Support with the object's key.".to_owned(),
            ..unfinished
        },
        _ => error,
    }
}

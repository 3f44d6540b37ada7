//! Scans a report: counted before it starts, in its turn, from the first byte to the last.

use std::time::Duration;

use tracing::warn;

use crate::alert::ObjectLocation;
use crate::alert::full_list::FullList;
use crate::audit::context::Audit;
use crate::audit::new_revocations::NewRevocations;
use crate::audit::obtain_report::ReadyReport;
use crate::audit::scan_limiter::{ScanPermit, ScanSlot};
use crate::error::{AuditError, ErrorKind};
use crate::event::Mode;
use crate::pending_report::PendingReport;
use crate::report::fetch::Fetch;
use crate::report::scanner::{ReportScanner, ScanError, ScanTotals};
use crate::report::wait::ReportObject;
use crate::report_format::ReportFormat;
use crate::revocation::record::RevokedRecord;
use crate::state::control::{Control, MAX_SCAN_ATTEMPTS};
use crate::state::store::VersionedState;

/// Time after which S3's failure to deliver a report counts against the report.
const UNAVAILABLE_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

/// A report that was read to its last byte.
pub(super) struct Scan<'a> {
    pub new: NewRevocations<'a>,
    pub totals: ScanTotals,
    /// Why it is not a valid report of this CA.
    pub invalid: Option<String>,
    pub full_list: Option<ObjectLocation>,
    pub duration_seconds: f64,
}

impl<'a> Audit<'a> {
    /// Scans a report that the state counts as being scanned, so that a scan that ends the process
    /// is noticed.
    ///
    /// The run that requested the report counted this scan in the same write; a later run counts its
    /// own in a write before it starts. So a run that died while waiting counts once at most, and
    /// only a scan by a later run, last and alone, can make the report be abandoned.
    pub(super) async fn scan(
        &self,
        state: &mut VersionedState,
        report: &ReadyReport,
        scan_slot: ScanSlot<'_>,
    ) -> Result<Scan<'a>, AuditError> {
        let attempts = report.report.attempts;
        let start = async {
            let permit = self.acquire(report, scan_slot).await?;
            let new = self.new_revocations(&state.control, report).await?;
            let control = &mut state.control;
            control.last_scanned = control.last_scanned.max(Some(report.object.last_modified));
            if control.attempts() == attempts {
                control.set_attempts(attempts + 1);
                self.save(state).await?;
            }
            Ok((permit, new))
        };
        let started = self.in_time(start).await;
        let (permit, new) = started.inspect_err(|_| state.control.set_attempts(attempts))?;
        let scan = self.read(report, new).await;
        drop(permit);
        if !self.counts_against(report, &scan) {
            state.control.set_attempts(attempts);
        }
        scan.map_err(|error| {
            if error.kind.ends_report() {
                state.control.pending_report = None;
            }
            abandon_after_max_attempts(&mut state.control, error)
        })
    }

    /// Scans a report without changing the state.
    pub(super) async fn scan_without_saving(
        &self,
        report: &ReadyReport,
        scan_slot: ScanSlot<'_>,
    ) -> Result<Scan<'a>, AuditError> {
        let start = async {
            let permit = self.acquire(report, scan_slot).await?;
            // Another run may have replaced the notified set in the meantime.
            let state = self.run.store.load(self.arn, self.run.budget.now()).await?;
            Ok((permit, self.new_revocations(&state.control, report).await?))
        };
        let (_permit, new) = self.in_time(start).await?;
        self.read(report, new).await
    }

    /// Waits for permission to scan.
    async fn acquire<'s>(
        &self,
        report: &ReadyReport,
        scan_slot: ScanSlot<'s>,
    ) -> Result<ScanPermit<'s>, AuditError> {
        let budget = self.run.budget;
        let is_suspicious = report.report.attempts > 0;
        // A scan cut short by the end of the run would prove nothing about the report.
        if is_suspicious && budget.left() < budget.elapsed() {
            return Err(self.out_of_time(
                "its report may have ended a previous run and needs at least half of a run",
            ));
        }
        let permit = scan_slot.acquire(is_suspicious, budget).await;
        permit.ok_or_else(|| self.out_of_time("the run had no time left to scan its report"))
    }

    /// Whether the outcome of a scan counts against the report.
    fn counts_against(&self, report: &ReadyReport, scan: &Result<Scan, AuditError>) -> bool {
        match scan {
            Ok(scan) => scan.invalid.is_some(),
            Err(error) => {
                let is_of_aws = matches!(error.kind, ErrorKind::Throttled | ErrorKind::Unavailable);
                let age = self.run.budget.now().since(report.report.requested_at);
                !is_of_aws || age > UNAVAILABLE_TIMEOUT
            }
        }
    }

    /// Reads a report to its last byte, as long as the run has time.
    async fn read(
        &self,
        report: &ReadyReport,
        new: NewRevocations<'a>,
    ) -> Result<Scan<'a>, AuditError> {
        let cut_off = |_| {
            let (key, size_bytes) = (&report.object.key, report.object.size_bytes);
            let why = format!("the run had no time left to read {key} ({size_bytes} bytes)");
            self.out_of_time(&why)
        };
        let work = async {
            let (budget, mut new) = (self.run.budget, new);
            let started = budget.elapsed();
            let mut full_list = self.full_list(&report.report.id);
            let fed = self.feed(&report.object, &mut new, full_list.as_mut());
            let fed = tokio::time::timeout_at(budget.work_deadline(), fed).await;
            let full_list = match (&fed, full_list) {
                (_, None) => None,
                (Ok(Ok(_)), Some(list)) => list.finish().await?,
                (_, Some(list)) => {
                    list.abort().await;
                    None
                }
            };
            let (totals, invalid) = fed.map_err(cut_off)??;
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
        };
        tokio::time::timeout_at(self.run.budget.save_deadline(), work)
            .await
            .map_err(cut_off)?
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
                    full_list.push(&lines).await?;
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

/// Abandons a report that was tried often enough. An error that time or luck may fix becomes one
/// that an operator hears about.
pub(super) fn abandon_after_max_attempts(control: &mut Control, error: AuditError) -> AuditError {
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

//! Scans a report: counted before it starts, in its turn, from the first byte to the last.

use std::time::Duration;

use tracing::warn;

use crate::alert::ObjectLocation;
use crate::alert::full_list::FullList;
use crate::audit::context::Audit;
use crate::audit::new_revocations::{NewRevocations, Selection};
use crate::audit::obtain_report::ReadyReport;
use crate::audit::scan_limiter::{ScanPermit, ScanSlot};
use crate::error::{AuditError, ErrorKind};
use crate::event::Mode;
use crate::pending_report::PendingReport;
use crate::report::fetch::{Fetch, FetchError};
use crate::report::scanner::{ReportScanner, ScanError, ScanTotals};
use crate::report::wait::ReportObject;
use crate::report_format::ReportFormat;
use crate::response::count;
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

/// Why a report was not read to its last byte.
enum ScanFailure {
    /// The notified set could not be read.
    NotifiedSet(AuditError),
    /// The report's object is gone.
    Vanished(AuditError),
    /// Everything else.
    Report(AuditError),
}

impl From<FetchError> for ScanFailure {
    fn from(error: FetchError) -> Self {
        match error {
            FetchError::Vanished(error) => Self::Vanished(error),
            FetchError::AuditError(error) => Self::Report(error),
        }
    }
}

impl ScanFailure {
    fn into_error(self) -> AuditError {
        let (Self::NotifiedSet(error) | Self::Vanished(error) | Self::Report(error)) = self;
        error
    }
}

impl<'a> Audit<'a> {
    /// Scans a report and counts the attempt in the state before it starts, so that a scan that
    /// ends the process is known.
    pub(super) async fn scan_counted(
        &self,
        state: &mut VersionedState,
        report: &ReadyReport,
        scan_slot: ScanSlot<'_>,
    ) -> Result<Scan<'a>, AuditError> {
        let selection = self.unnotified(&state.control);
        let permit = self.in_time(self.acquire(report, scan_slot)).await?;
        let last_modified = report.object.last_modified;
        state.control.last_scanned = state.control.last_scanned.max(Some(last_modified));
        state.control.set_attempts(report.report.attempts + 1);
        self.in_time(self.save(state)).await?;
        let scan = self.scan(&state.control, report, selection).await;
        drop(permit);
        if !self.counts_against(report, &scan) {
            state.control.set_attempts(report.report.attempts);
        }
        if let Err(ScanFailure::Vanished(_)) = &scan {
            state.control.pending_report = None;
        }
        scan.map_err(|failure| abandon_if_tried_enough(&mut state.control, failure.into_error()))
    }

    /// Scans a report without changing the state.
    pub(super) async fn scan_only(
        &self,
        report: &ReadyReport,
        scan_slot: ScanSlot<'_>,
    ) -> Result<Scan<'a>, AuditError> {
        let run = self.run;
        let _permit = self.in_time(self.acquire(report, scan_slot)).await?;
        // Another run may have replaced the notified set in the meantime.
        let load = run.store.load(self.arn, run.budget.now());
        let control = self.in_time(load).await?.control;
        let selection = match self.mode {
            Mode::Replay { since, .. } => Selection::NotifiedSince(since),
            _ => self.unnotified(&control),
        };
        let scan = self.scan(&control, report, selection).await;
        scan.map_err(ScanFailure::into_error)
    }

    /// Selects the revocations that an audit notifies about.
    fn unnotified(&self, control: &Control) -> Selection {
        let first_seen_at = control.first_seen_at;
        let notify_from = first_seen_at.saturating_sub(self.run.config.initial_lookback);
        Selection::Unnotified {
            notify_from: control.last_complete_audit.is_none().then_some(notify_from),
        }
    }

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
    fn counts_against(&self, report: &ReadyReport, scan: &Result<Scan, ScanFailure>) -> bool {
        match scan {
            Ok(scan) => scan.invalid.is_some(),
            Err(ScanFailure::NotifiedSet(_)) => false,
            Err(ScanFailure::Vanished(_)) => true,
            Err(ScanFailure::Report(error)) => {
                let is_of_aws = matches!(error.kind, ErrorKind::Throttled | ErrorKind::Unavailable);
                let age = self.run.budget.now().since(report.report.requested_at);
                !is_of_aws || age > UNAVAILABLE_TIMEOUT
            }
        }
    }

    async fn scan(
        &self,
        control: &Control,
        report: &ReadyReport,
        selection: Selection,
    ) -> Result<Scan<'a>, ScanFailure> {
        let work = self.scan_without_limit(control, report, selection);
        let cut_off = |_| {
            let error = self.out_of_time("the run ended before its report was read");
            Err(ScanFailure::Report(error))
        };
        tokio::time::timeout_at(self.run.budget.saving_starts(), work)
            .await
            .unwrap_or_else(cut_off)
    }

    async fn scan_without_limit(
        &self,
        control: &Control,
        report: &ReadyReport,
        selection: Selection,
    ) -> Result<Scan<'a>, ScanFailure> {
        let run = self.run;
        let started = run.budget.elapsed();
        let notified = run.store.load_notified_set(control).await;
        let notified = notified.map_err(ScanFailure::NotifiedSet)?;
        let mut new = NewRevocations::new(
            run.config,
            self.arn,
            selection,
            notified,
            report.object.last_modified,
        )
        .expecting(&self.expected);
        let mut full_list = self.full_list(&report.report.id);
        let reading = self.read(&report.object, &mut new, full_list.as_mut());
        let read = tokio::time::timeout_at(run.budget.work_ends(), reading).await;
        let read = read.unwrap_or_else(|_| {
            let (key, size_bytes) = (&report.object.key, report.object.size_bytes);
            let why = format!("the run had no time left to read {key} ({size_bytes} bytes)");
            Err(ScanFailure::Report(self.out_of_time(&why)))
        });
        let (totals, invalid, key) = match (read, full_list) {
            (Ok((totals, invalid)), Some(full_list)) => {
                let key = full_list.finish().await.map_err(ScanFailure::Report)?;
                (totals, invalid, key)
            }
            (Ok((totals, invalid)), None) => (totals, invalid, None),
            (Err(failure), Some(full_list)) => {
                full_list.abort().await;
                return Err(failure);
            }
            (Err(failure), None) => return Err(failure),
        };
        let foreign = (new.foreign > 0).then(|| {
            let records = count(
                new.foreign,
                "revoked record belongs",
                "revoked records belong",
            );
            format!("{records} to another CA")
        });
        Ok(Scan {
            totals,
            invalid: invalid.map(|error| error.to_string()).or(foreign),
            full_list: key.map(|key| ObjectLocation {
                bucket: run.config.report_bucket.clone(),
                key,
            }),
            duration_seconds: (run.budget.elapsed() - started).as_secs_f64(),
            new,
        })
    }

    /// Feeds a report's bytes to the scanner; returns what it counted and where it stopped.
    async fn read(
        &self,
        object: &ReportObject,
        new: &mut NewRevocations<'_>,
        mut full_list: Option<&mut FullList<'_>>,
    ) -> Result<(ScanTotals, Option<ScanError>), ScanFailure> {
        let format = ReportFormat::from_key(&object.key).ok_or_else(|| {
            let message = format!("{} ends neither in .json nor in .csv", object.key);
            ScanFailure::Vanished(AuditError::new(ErrorKind::ReportInvalid, message))
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
                let lines = new.take_full_list_lines();
                if let Some(full_list) = &mut full_list {
                    full_list.push(&lines);
                    full_list.flush().await.map_err(ScanFailure::Report)?;
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
            Mode::Replay { .. } => format!("{report_id}-{}", run.request_id),
            _ => report_id.to_owned(),
        };
        let key = format!("{}full-list/{name}.jsonl", run.store.prefix_of(self.arn));
        Some(FullList::new(run.clients, &run.config.report_bucket, key))
    }
}

/// Abandons a report that was tried often enough. An error that time or luck may fix becomes one
/// that an operator hears about.
pub(super) fn abandon_if_tried_enough(control: &mut Control, error: AuditError) -> AuditError {
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
        ErrorKind::ReportCorrupted => unfinished.with_hint(
            "No alerts were sent from these bytes; a later run requests a new report. If it arrives damaged as well, check what lies between S3 and the function (a proxy, a VPC endpoint), then contact AWS Support with the object's key.",
        ),
        _ => error,
    }
}

//! Scanning a report: counted before it starts, in its turn, from the first byte to the last.

use tokio::sync::SemaphorePermit;
use tracing::{info, warn};

use super::Audit;
use super::scan_limiter::ScanSlot;
use crate::alert::full_list::FullList;
use crate::alert::{ObjectLocation, RevocationBatch};
use crate::audit::new_revocations::{NewRevocations, Selection};
use crate::error::{AuditError, ErrorKind};
use crate::event::Mode;
use crate::pending_report::PendingReport;
use crate::report::fetch::{Fetch, FetchError};
use crate::report::scanner::{ReportScanner, ScanTotals};
use crate::report::wait::ReportObject;
use crate::report_format::ReportFormat;
use crate::response::{AuditStats, MAX_LISTED, ReportContents, RevocationSummary};
use crate::revocation::distinguished_name::decode;
use crate::revocation::reason::Severity;
use crate::revocation::reason_counts::ReasonCounts;
use crate::state::control::{Control, MAX_SCAN_ATTEMPTS, UNAVAILABLE_TIMEOUT};
use crate::state::notified_set::NotifiedSet;
use crate::state::store::VersionedState;

/// Why a scan did not come to its end.
enum ScanFailure {
    /// The told list could not be read.
    State(AuditError),
    Report(FetchError),
}

impl ScanFailure {
    fn into_error(self) -> AuditError {
        match self {
            ScanFailure::State(error)
            | ScanFailure::Report(FetchError::Vanished(error) | FetchError::AuditError(error)) => {
                error
            }
        }
    }
}

/// A report, read to its end or to its fault.
pub(super) struct Scanned {
    pub notified: NotifiedSet,
    pub newly_seen: NotifiedSet,
    pub batch: RevocationBatch,
    pub revoked: ReasonCounts,
    pub totals: ScanTotals,
    pub full_list: Option<ObjectLocation>,
    /// Why this is not a whole, valid report of this certificate authority.
    pub invalid: Option<String>,
    pub read: ReportContents,
    pub stats: AuditStats,
    pub unconfirmed: Vec<String>,
    pub warnings: Vec<String>,
}

impl Audit<'_> {
    /// A scan that is counted in the state before it starts: one that takes the process down is
    /// known of.
    pub(super) async fn scan_counted(
        &self,
        state: &mut VersionedState,
        report: &PendingReport,
        object: &ReportObject,
        selection: Selection,
        scan_slot: &mut Option<ScanSlot<'_>>,
    ) -> Result<Scanned, AuditError> {
        let turn = self.turn(&state.control, scan_slot).await?;
        if let Some(in_hand) = &mut state.control.pending_report {
            in_hand.attempts += 1;
        }
        state.control.last_scanned = state.control.last_scanned.max(Some(object.last_modified));
        self.save(state).await?;
        let scanned = self.scan(&state.control, report, object, selection).await;
        drop(turn);
        // What is not the report's doing, now or from here on, is not counted against it.
        let is_at_fault = match &scanned {
            Ok(scanned) => scanned.invalid.is_some(),
            Err(ScanFailure::State(_)) => false,
            Err(ScanFailure::Report(FetchError::AuditError(error))) => {
                let is_of_aws = matches!(error.kind, ErrorKind::Throttled | ErrorKind::Unavailable);
                let age = self.run.budget.now().since(report.requested_at);
                !is_of_aws || age > UNAVAILABLE_TIMEOUT
            }
            Err(ScanFailure::Report(FetchError::Vanished(_))) => true,
        };
        if let Some(in_hand) = &mut state.control.pending_report
            && !is_at_fault
        {
            in_hand.attempts -= 1;
        }
        if let Err(ScanFailure::Report(FetchError::Vanished(_))) = &scanned {
            state.control.pending_report = None;
        }
        scanned.map_err(ScanFailure::into_error)
    }

    /// A scan that changes nothing.
    pub(super) async fn scan_only(
        &self,
        control: &Control,
        report: &PendingReport,
        object: &ReportObject,
        scan_slot: &mut Option<ScanSlot<'_>>,
    ) -> Result<Scanned, AuditError> {
        let _turn = self.turn(control, scan_slot).await?;
        // Another run may have told more meanwhile, and removed the told list of before.
        let store = &self.run.store;
        let control = store.load(self.arn, self.run.budget.now()).await?.control;
        let selection = match self.mode {
            Mode::Replay { since, .. } => Selection::NotifiedSince(since),
            _ => self.selection(&control),
        };
        self.scan(&control, report, object, selection)
            .await
            .map_err(ScanFailure::into_error)
    }

    async fn turn<'g>(
        &'g self,
        control: &Control,
        scan_slot: &mut Option<ScanSlot<'_>>,
    ) -> Result<SemaphorePermit<'g>, AuditError> {
        let run = self.run;
        let is_suspicious = control.has_unfinished_scan();
        // With the rest of a run that waited for something else, nothing would be learnt of it.
        if is_suspicious && run.budget.left() < run.budget.elapsed() {
            return Err(self.out_of_time(
                "its report was not read to its end before, and is given at least half of a run",
            ));
        }
        run.scan_limiter
            .turn(is_suspicious, scan_slot, run.budget)
            .await
            .ok_or_else(|| self.out_of_time("no time was left to scan its report"))
    }

    /// Reads a report from its first byte to its last, and works out what is to be told.
    async fn scan(
        &self,
        control: &Control,
        report: &PendingReport,
        object: &ReportObject,
        selection: Selection,
    ) -> Result<Scanned, ScanFailure> {
        let run = self.run;
        let bucket = &run.config.report_bucket;
        let started = run.budget.elapsed();
        let notified = run
            .store
            .load_notified_set(control)
            .await
            .map_err(ScanFailure::State)?;
        let Some(format) = ReportFormat::from_key(&object.key) else {
            return Err(ScanFailure::Report(FetchError::Vanished(AuditError::new(
                ErrorKind::ReportInvalid,
                format!("{} ends neither in .json nor in .csv", object.key),
            ))));
        };
        let full_list_key = match self.mode {
            Mode::Replay { .. } => format!("{}-{}", report.id, run.request_id),
            _ => report.id.clone(),
        };
        let mut full_list = FullList::new(
            run.clients,
            bucket,
            format!(
                "{}full-list/{full_list_key}.jsonl",
                run.store.prefix_of(self.arn)
            ),
        );
        let publishes = !matches!(self.mode, Mode::DryRun | Mode::Replay { dry_run: true, .. });
        let mut difference = NewRevocations::new(
            run.config,
            self.arn.as_str(),
            &notified,
            selection,
            object.last_modified,
            self.expected,
        );
        let reading = async {
            let mut scanner = ReportScanner::new(format);
            let mut invalid = None;
            let mut fetch = Fetch::open(run.clients, bucket, object).await?;
            while let Some(chunk) = fetch.next().await? {
                // After a fault the rest is read all the same: only then length and checksum tell
                // whether these bytes are what S3 holds.
                if invalid.is_none() {
                    invalid = scanner
                        .feed(&chunk, &mut |record| difference.see(record))
                        .err();
                    let lines = difference.take_full_list_lines();
                    if publishes {
                        full_list.push(&lines);
                        full_list.flush().await.map_err(FetchError::AuditError)?;
                    }
                }
            }
            if invalid.is_none() {
                invalid = scanner.finish(&mut |record| difference.see(record)).err();
                let lines = difference.take_full_list_lines();
                if publishes {
                    full_list.push(&lines);
                }
            }
            Ok((scanner.totals(), invalid))
        };
        let read = match tokio::time::timeout_at(run.budget.work_ends(), reading).await {
            Ok(read) => read,
            Err(_) => Err(FetchError::AuditError(self.out_of_time(&format!(
                "its report {} of {} bytes could not be read in the time of this run",
                object.key, object.size_bytes
            )))),
        };
        let (totals, invalid) = match read {
            Ok(read) => read,
            Err(error) => {
                full_list.abort().await;
                return Err(ScanFailure::Report(error));
            }
        };
        let full_list = full_list
            .finish()
            .await
            .map_err(|error| ScanFailure::Report(FetchError::AuditError(error)))?;
        let scanned_seconds = (run.budget.elapsed() - started).as_secs_f64();
        let batch = &difference.batch;
        info!(
            certificate_authority = self.arn.id(),
            report = report.id,
            size_bytes = object.size_bytes,
            scanned_seconds,
            certificates = totals.certificates,
            revoked = totals.revoked,
            malformed = totals.malformed,
            already_told = notified.len(),
            new = difference.new,
            not_notified = difference.unnotified,
            before_lookback = difference.earlier,
            valid = invalid.is_none(),
            "report scanned"
        );
        for revocation in batch.worst().take(MAX_LISTED) {
            info!(
                certificate_authority = self.arn.id(),
                serial = revocation.serial,
                reason = revocation.reason.name(),
                common_name = revocation
                    .subject
                    .as_deref()
                    .and_then(|s| decode(s).common_name),
                "revocation to tell"
            );
        }
        let mut warnings = Vec::new();
        let foreign = (difference.foreign > 0).then(|| {
            format!(
                "{} revoked records are of another certificate authority",
                difference.foreign
            )
        });
        let invalid = invalid.map(|error| error.to_string()).or(foreign);
        if totals.malformed > 0 {
            warnings.push(format!("{} records are valid but odd", totals.malformed));
        }
        let read = ReportContents {
            certificates: totals.certificates,
            revoked: totals.revoked,
            new_revocations: difference.new,
            published: batch.len(),
            pending: matches!(selection, Selection::NotifiedSince(_)).then_some(difference.pending),
            malformed_records: totals.malformed,
            revocations: batch
                .worst()
                .take(MAX_LISTED)
                .map(RevocationSummary::from)
                .collect(),
        };
        let stats = AuditStats {
            waited_seconds: 0.0,
            scanned_seconds,
            report_bytes: object.size_bytes,
            new_critical: batch.counts().by_severity(Severity::Critical),
            new_high: batch.counts().by_severity(Severity::High),
            new_low: batch.counts().by_severity(Severity::Low),
        };
        let unconfirmed = difference.unconfirmed().map(str::to_owned).collect();
        let (batch, newly_seen, revoked) = difference.into_parts();
        Ok(Scanned {
            notified,
            newly_seen,
            batch,
            revoked,
            totals,
            full_list: full_list.map(|key| ObjectLocation {
                bucket: bucket.clone(),
                key,
            }),
            invalid,
            read,
            stats,
            unconfirmed,
            warnings,
        })
    }
}

/// A report that failed so often is not worth another attempt. What only time or luck was missing
/// for becomes a fault that a person is told of.
pub(super) fn abandon_if_tried_enough(control: &mut Control, error: AuditError) -> AuditError {
    let Some(report) = control
        .pending_report
        .take_if(|report| report.attempts >= MAX_SCAN_ATTEMPTS)
    else {
        return error;
    };
    warn!(
        report = report.id,
        attempts = report.attempts,
        "report dropped"
    );
    let unfinished = AuditError::new(
        ErrorKind::ReportUnfinished,
        format!(
            "after {} attempts the audit report {} is dropped: {}",
            report.attempts, report.key, error.message
        ),
    );
    match error.kind {
        ErrorKind::OutOfTime => unfinished,
        ErrorKind::ReportCorrupted => unfinished.with_hint(
            "Nothing was told from these bytes, and a later run requests a new report. If its bytes are not right either, look for what changes them between S3 and the function (a proxy, an endpoint of a VPC), then ask AWS Support with the object's key.",
        ),
        _ => error,
    }
}

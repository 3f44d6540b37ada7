//! Scanning a report: counted before it starts, in its turn, from the first byte to the last.

use tokio::sync::SemaphorePermit;
use tracing::{info, warn};

use super::Audit;
use super::scan_limiter::Place;
use crate::alert::full_list::FullList;
use crate::alert::{Collected, ObjectLocation};
use crate::audit::new_revocations::{Difference, Wanted};
use crate::error::{Fault, FaultKind};
use crate::event::Mode;
use crate::pending_report::ReportInHand;
use crate::report::fetch::{Fetch, FetchError};
use crate::report::scanner::{ReportScanner, ScanTotals};
use crate::report::wait::ReportObject;
use crate::report_format::ReportFormat;
use crate::response::{Effort, MAX_LISTED, ReadAnswer, RevocationAnswer};
use crate::revocation::distinguished_name::decode;
use crate::revocation::reason::Severity;
use crate::revocation::reason_counts::ReasonCounts;
use crate::state::control::{Control, MAX_ATTEMPTS, UNAVAILABLE_IS_BELIEVED};
use crate::state::notified_set::ToldList;
use crate::state::store::Slot;

/// Why a scan did not come to its end.
enum ScanFailure {
    /// The told list could not be read.
    State(Fault),
    Report(FetchError),
}

impl ScanFailure {
    fn into_fault(self) -> Fault {
        match self {
            ScanFailure::State(fault)
            | ScanFailure::Report(FetchError::Vanished(fault) | FetchError::Fault(fault)) => fault,
        }
    }
}

/// A report, read to its end or to its fault.
pub(super) struct Scanned {
    pub told: ToldList,
    pub fresh: ToldList,
    pub collected: Collected,
    pub revoked: ReasonCounts,
    pub totals: ScanTotals,
    pub full_list: Option<ObjectLocation>,
    /// Why this is not a whole, valid report of this certificate authority.
    pub invalid: Option<String>,
    pub read: ReadAnswer,
    pub effort: Effort,
    pub unseen: Vec<String>,
    pub warnings: Vec<String>,
}

impl Audit<'_> {
    /// A scan that is counted in the state before it starts: one that takes the process down is
    /// known of.
    pub(super) async fn scan_counted(
        &self,
        slot: &mut Slot,
        report: &ReportInHand,
        object: &ReportObject,
        wanted: Wanted,
        place: &mut Option<Place<'_>>,
    ) -> Result<Scanned, Fault> {
        let turn = self.turn(&slot.control, place).await?;
        if let Some(in_hand) = &mut slot.control.report_in_hand {
            in_hand.attempts += 1;
        }
        slot.control.last_scanned = slot.control.last_scanned.max(Some(object.last_modified));
        self.save(slot).await?;
        let scanned = self.scan(&slot.control, report, object, wanted).await;
        drop(turn);
        // What is not the report's doing, now or from here on, is not counted against it.
        let is_at_fault = match &scanned {
            Ok(scanned) => scanned.invalid.is_some(),
            Err(ScanFailure::State(_)) => false,
            Err(ScanFailure::Report(FetchError::Fault(fault))) => {
                let is_of_aws = matches!(fault.kind, FaultKind::Throttled | FaultKind::Unavailable);
                let age = self.run.budget.now().since(report.requested_at);
                !is_of_aws || age > UNAVAILABLE_IS_BELIEVED
            }
            Err(ScanFailure::Report(FetchError::Vanished(_))) => true,
        };
        if let Some(in_hand) = &mut slot.control.report_in_hand
            && !is_at_fault
        {
            in_hand.attempts -= 1;
        }
        if let Err(ScanFailure::Report(FetchError::Vanished(_))) = &scanned {
            slot.control.report_in_hand = None;
        }
        scanned.map_err(ScanFailure::into_fault)
    }

    /// A scan that changes nothing.
    pub(super) async fn scan_only(
        &self,
        control: &Control,
        report: &ReportInHand,
        object: &ReportObject,
        place: &mut Option<Place<'_>>,
    ) -> Result<Scanned, Fault> {
        let _turn = self.turn(control, place).await?;
        // Another run may have told more meanwhile, and removed the told list of before.
        let store = &self.run.store;
        let control = store.load(self.arn, self.run.budget.now()).await?.control;
        let wanted = match self.mode {
            Mode::Replay { since, .. } => Wanted::ToldSince(since),
            _ => self.wanted(&control),
        };
        self.scan(&control, report, object, wanted)
            .await
            .map_err(ScanFailure::into_fault)
    }

    async fn turn<'g>(
        &'g self,
        control: &Control,
        place: &mut Option<Place<'_>>,
    ) -> Result<SemaphorePermit<'g>, Fault> {
        let run = self.run;
        let is_suspicious = control.has_unfinished_scan();
        // With the rest of a run that waited for something else, nothing would be learnt of it.
        if is_suspicious && run.budget.left() < run.budget.elapsed() {
            return Err(self.out_of_time(
                "its report was not read to its end before, and is given at least half of a run",
            ));
        }
        run.gate
            .turn(is_suspicious, place, run.budget)
            .await
            .ok_or_else(|| self.out_of_time("no time was left to scan its report"))
    }

    /// Reads a report from its first byte to its last, and works out what is to be told.
    async fn scan(
        &self,
        control: &Control,
        report: &ReportInHand,
        object: &ReportObject,
        wanted: Wanted,
    ) -> Result<Scanned, ScanFailure> {
        let run = self.run;
        let bucket = &run.config.report_bucket;
        let started = run.budget.elapsed();
        let told = run
            .store
            .load_told(control)
            .await
            .map_err(ScanFailure::State)?;
        let Some(format) = ReportFormat::from_key(&object.key) else {
            return Err(ScanFailure::Report(FetchError::Vanished(Fault::new(
                FaultKind::ReportInvalid,
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
        let mut difference = Difference::new(
            run.config,
            self.arn.as_str(),
            &told,
            wanted,
            object.last_modified,
            self.watched,
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
                        full_list.flush().await.map_err(FetchError::Fault)?;
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
            Err(_) => Err(FetchError::Fault(self.out_of_time(&format!(
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
            .map_err(|fault| ScanFailure::Report(FetchError::Fault(fault)))?;
        let scanned_seconds = (run.budget.elapsed() - started).as_secs_f64();
        let collected = &difference.collected;
        info!(
            certificate_authority = self.arn.id(),
            report = report.id,
            size_bytes = object.size_bytes,
            scanned_seconds,
            certificates = totals.certificates,
            revoked = totals.revoked,
            odd = totals.odd,
            already_told = told.len(),
            new = difference.new,
            not_notified = difference.unnotified,
            before_lookback = difference.earlier,
            valid = invalid.is_none(),
            "report scanned"
        );
        for revocation in collected.worst().take(MAX_LISTED) {
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
        if totals.odd > 0 {
            warnings.push(format!("{} records are valid but odd", totals.odd));
        }
        let read = ReadAnswer {
            certificates: totals.certificates,
            revoked: totals.revoked,
            new_revocations: difference.new,
            published: collected.len(),
            pending: matches!(wanted, Wanted::ToldSince(_)).then_some(difference.pending),
            odd: totals.odd,
            revocations: collected
                .worst()
                .take(MAX_LISTED)
                .map(RevocationAnswer::from)
                .collect(),
        };
        let effort = Effort {
            waited_seconds: 0.0,
            scanned_seconds,
            report_bytes: object.size_bytes,
            new_critical: collected.counts().by_severity(Severity::Critical),
            new_high: collected.counts().by_severity(Severity::High),
            new_low: collected.counts().by_severity(Severity::Low),
        };
        let unseen = difference.unseen().map(str::to_owned).collect();
        let (collected, fresh, revoked) = difference.into_parts();
        Ok(Scanned {
            told,
            fresh,
            collected,
            revoked,
            totals,
            full_list: full_list.map(|key| ObjectLocation {
                bucket: bucket.clone(),
                key,
            }),
            invalid,
            read,
            effort,
            unseen,
            warnings,
        })
    }
}

/// A report that failed so often is not worth another attempt. What only time or luck was missing
/// for becomes a fault that a person is told of.
pub(super) fn drop_if_tried_enough(control: &mut Control, fault: Fault) -> Fault {
    let Some(report) = control
        .report_in_hand
        .take_if(|report| report.attempts >= MAX_ATTEMPTS)
    else {
        return fault;
    };
    warn!(
        report = report.id,
        attempts = report.attempts,
        "report dropped"
    );
    let unfinished = Fault::new(
        FaultKind::ReportUnfinished,
        format!(
            "after {} attempts the audit report {} is dropped: {}",
            report.attempts, report.key, fault.message
        ),
    );
    match fault.kind {
        FaultKind::OutOfTime => unfinished,
        FaultKind::ReportCorrupted => unfinished.with_hint(
            "Nothing was told from these bytes, and a later run requests a new report. If its bytes are not right either, look for what changes them between S3 and the function (a proxy, an endpoint of a VPC), then ask AWS Support with the object's key.",
        ),
        _ => fault,
    }
}

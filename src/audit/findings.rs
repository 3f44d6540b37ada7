//! Judges a scan: what to publish, what to record, and what the response says.

use tracing::info;

use crate::alert::{ObjectLocation, ReportSource, RevocationBatch, Totals};
use crate::audit::context::Audit;
use crate::audit::new_revocations::{NewRevocations, NotifiedUpdate, Selection};
use crate::audit::obtain_report::ReadyReport;
use crate::audit::scan::Scan;
use crate::error::{AuditError, ErrorKind};
use crate::report::scanner::ScanTotals;
use crate::response::{
    AuditResponse, AuditStats, MAX_LISTED, Outcome, ReportContents, ReportSummary,
    RevocationSummary, count,
};
use crate::revocation::distinguished_name::decode;
use crate::revocation::reason::Severity;
use crate::revocation::reason_counts::ReasonCounts;
use crate::state::control::{CompleteAudit, Control};
use crate::timestamp::Timestamp;

/// The result of a scan, by what becomes of each part.
pub(super) struct Findings {
    pub response: AuditResponse,
    pub news: News,
    pub notified: NotifiedUpdate,
    /// The audit to record as complete, or why the report is invalid.
    pub result: Result<CompleteAudit, AuditError>,
}

/// What there is to publish, and where it comes from.
pub(super) struct News {
    pub batch: RevocationBatch,
    pub full_list: Option<ObjectLocation>,
    pub report: ReportSource,
    pub totals: Totals,
    pub revoked: ReasonCounts,
    /// When S3 had the report.
    pub detected_at: Timestamp,
    /// The start of the look-back, if this is the first complete audit.
    pub first_audit_from: Option<Timestamp>,
}

impl Audit<'_> {
    /// Judges a scan.
    pub(super) fn findings(
        &self,
        control: &Control,
        report: &ReadyReport,
        scan: Scan<'_>,
    ) -> Findings {
        self.log_scan(report, &scan);
        let Scan { new, totals, .. } = scan;
        let notify_from = match new.selection {
            Selection::Unnotified { notify_from } => notify_from,
            Selection::NotifiedSince(_) => None,
        };
        let last = control.last_complete_audit.as_ref();
        let mut response = self.response(Outcome::Audited);
        response.report = Some(ReportSummary::from(&report.report));
        response.read = Some(contents(&new, totals));
        response.stats = AuditStats {
            waited_seconds: report.waited_seconds,
            scanned_seconds: scan.duration_seconds,
            report_bytes: report.object.size_bytes,
            new_critical: new.batch.counts().by_severity(Severity::Critical),
            new_high: new.batch.counts().by_severity(Severity::High),
            new_low: new.batch.counts().by_severity(Severity::Low),
        };
        response.warnings = warnings(last, totals);
        response.unconfirmed = new.unconfirmed();
        let result = match scan.invalid {
            None => Ok(self.complete_audit(report, totals)),
            Some(why) => Err(AuditError::new(
                ErrorKind::ReportInvalid,
                format!(
                    "audit report {} of {} is invalid: {why}",
                    report.object.key, self.arn
                ),
            )),
        };
        let source = self.source(control, report);
        let (batch, revoked, notified) = new.into_parts();
        Findings {
            response,
            news: News {
                batch,
                full_list: scan.full_list,
                report: source,
                totals: Totals {
                    certificates: totals.certificates,
                    revoked: totals.revoked,
                },
                revoked,
                detected_at: report.object.last_modified,
                first_audit_from: notify_from.filter(|_| result.is_ok()),
            },
            notified,
            result,
        }
    }

    fn source(&self, control: &Control, report: &ReadyReport) -> ReportSource {
        let requested_at = report.report.requested_at;
        let last = control.last_complete_audit.as_ref();
        ReportSource {
            location: ObjectLocation {
                bucket: self.run.config.report_bucket.clone(),
                key: report.report.key.clone(),
            },
            requested_at,
            previous_requested_at: last
                .map(|audit| audit.requested_at)
                .filter(|&before| before < requested_at),
        }
    }

    fn complete_audit(&self, report: &ReadyReport, totals: ScanTotals) -> CompleteAudit {
        CompleteAudit {
            report_id: report.report.id.clone(),
            key: report.report.key.clone(),
            e_tag: report.object.e_tag.clone(),
            requested_at: report.report.requested_at,
            last_modified: report.object.last_modified,
            completed_at: self.run.budget.now(),
            certificates: totals.certificates,
            revoked: totals.revoked,
        }
    }

    fn log_scan(&self, report: &ReadyReport, scan: &Scan<'_>) {
        let (new, totals) = (&scan.new, scan.totals);
        info!(
            certificate_authority = self.arn.id(),
            report_id = report.report.id,
            size_bytes = report.object.size_bytes,
            duration_seconds = scan.duration_seconds,
            certificates = totals.certificates,
            revoked = totals.revoked,
            malformed = totals.malformed,
            already_notified = new.already_notified(),
            new = new.new,
            filtered = new.filtered,
            before_lookback = new.before_lookback,
            valid = scan.invalid.is_none(),
            "scan finished"
        );
        for revocation in new.batch.worst().take(MAX_LISTED) {
            let subject = revocation.subject.as_deref();
            info!(
                certificate_authority = self.arn.id(),
                serial = revocation.serial,
                reason = revocation.reason.name(),
                common_name = subject.and_then(|subject| decode(subject).common_name),
                "revocation found"
            );
        }
    }
}

fn contents(new: &NewRevocations<'_>, totals: ScanTotals) -> ReportContents {
    let worst = new.batch.worst().take(MAX_LISTED);
    ReportContents {
        certificates: totals.certificates,
        revoked: totals.revoked,
        new_revocations: new.new,
        published: new.batch.len(),
        pending: matches!(new.selection, Selection::NotifiedSince(_)).then_some(new.pending),
        malformed_records: totals.malformed,
        revocations: worst.map(RevocationSummary::from).collect(),
    }
}

/// Warns of anomalies. Reports only grow: one that lists less than the last is suspicious, but no
/// reason to forget anything.
fn warnings(last: Option<&CompleteAudit>, totals: ScanTotals) -> Vec<String> {
    let mut warnings = Vec::new();
    if totals.malformed > 0 {
        let records = count(totals.malformed, "record is", "records are");
        warnings.push(format!("{records} malformed but readable"));
    }
    let Some(last) = last else { return warnings };
    for (before, now, one, many) in [
        (
            last.certificates,
            totals.certificates,
            "certificate",
            "certificates",
        ),
        (last.revoked, totals.revoked, "revocation", "revocations"),
    ] {
        if now < before {
            let now = count(now, one, many);
            warnings.push(format!(
                "the report lists {now}; the previous one listed {before}"
            ));
        }
    }
    warnings
}

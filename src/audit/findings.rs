//! Judges a scan: what to publish, what to record, and what the response says.

use tracing::info;

use crate::alert::{AlertKind, ObjectLocation, ReportSource, RevocationAlert, Totals};
use crate::audit::context::Audit;
use crate::audit::new_revocations::{NewRevocations, NotifiedUpdate, Selection};
use crate::audit::obtain_report::ReadyReport;
use crate::audit::scan::Scan;
use crate::error::{AuditError, ErrorKind};
use crate::event::Mode;
use crate::report::scanner::ScanTotals;
use crate::response::{
    AuditResponse, AuditStats, MAX_LISTED, Outcome, ReportContents, ReportSummary,
    RevocationSummary, count,
};
use crate::revocation::distinguished_name::decode;
use crate::revocation::reason::Severity;
use crate::state::control::{CompleteAudit, Control};

/// The result of a scan, by what becomes of each part.
pub(super) struct Findings {
    pub response: AuditResponse,
    /// What there is to publish.
    pub alerts: Vec<AlertKind>,
    pub notified: NotifiedUpdate,
    /// The audit to record as complete, or why the report is invalid.
    pub result: Result<CompleteAudit, AuditError>,
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
        let last = control.last_complete_audit.as_ref();
        let response = self.response(last, report, &scan);
        let Scan { new, totals, .. } = scan;
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
        let notify_from = new.selection.notify_from().filter(|_| result.is_ok());
        let source = self.source(control, report);
        let (batch, revoked, notified) = new.into_parts();
        let totals = Totals {
            certificates: totals.certificates,
            revoked: totals.revoked,
        };
        let mut alerts = Vec::new();
        if let Some(notify_from) = notify_from.filter(|_| !control.started) {
            alerts.push(AlertKind::WatchStarted {
                report: source.clone(),
                totals,
                revoked,
                notify_from,
                to_notify: batch.len(),
            });
        }
        if !batch.is_empty() {
            let revocations = RevocationAlert::new(batch, source, totals, scan.full_list);
            alerts.push(match self.mode {
                Mode::Replay { since, .. } => AlertKind::Replay {
                    revocations,
                    since,
                    request_id: self.run.request_id.clone(),
                },
                _ => AlertKind::Revocations(revocations),
            });
        }
        Findings {
            response,
            alerts,
            notified,
            result,
        }
    }

    fn response(
        &self,
        last: Option<&CompleteAudit>,
        report: &ReadyReport,
        scan: &Scan<'_>,
    ) -> AuditResponse {
        let mut response = AuditResponse::new(self.arn.clone(), Outcome::Audited);
        response.report = Some(ReportSummary::from(&report.report));
        response.read = Some(contents(&scan.new, scan.totals));
        let counts = scan.new.batch.counts();
        response.stats = AuditStats {
            waited_seconds: report.waited_seconds,
            scanned_seconds: scan.duration_seconds,
            report_bytes: report.object.size_bytes,
            new_critical: counts.by_severity(Severity::Critical),
            new_high: counts.by_severity(Severity::High),
            new_low: counts.by_severity(Severity::Low),
        };
        response.warnings = warnings(last, scan.totals);
        response.unconfirmed = scan.new.unconfirmed();
        response
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

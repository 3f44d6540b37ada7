//! Judges a scan: what to publish, what to record, and what the response says.

use tracing::{info, warn};

use crate::alert::{AlertKind, ObjectLocation, ReportSource, RevocationAlert};
use crate::audit::context::Audit;
use crate::audit::obtain_report::ReadyReport;
use crate::audit::scan::Scan;
use crate::error::{AuditError, ErrorKind};
use crate::event::Mode;
use crate::report::scanner::ScanTotals;
use crate::response::{AuditResponse, AuditStats, MAX_LISTED, Outcome, ReportContents};
use crate::revocation::distinguished_name::decode;
use crate::revocation::reason::ReasonCounts;
use crate::state::control::{CompleteAudit, Control};
use crate::state::notified_set::NotifiedSet;
use crate::text::numbers::count;

/// The result of a scan, by what becomes of each part.
pub(super) struct Findings {
    pub response: AuditResponse,
    pub alert: Option<AlertKind>,
    pub notified: NotifiedSet,
    /// Numbers of revocations in the alert.
    pub counts: ReasonCounts,
    /// The audit to record as complete, or why the report is invalid.
    pub result: Result<CompleteAudit, AuditError>,
}

impl Audit<'_> {
    pub(super) fn findings(
        &self,
        control: &Control,
        report: &ReadyReport,
        scan: Scan<'_>,
    ) -> Findings {
        self.log_scan(control, report, &scan);
        let last = control.last_complete_audit.as_ref();
        let mut response = self.response(last, report, &scan);
        let key = &report.report.key;
        let result = match scan.invalid {
            None => self.plausible_audit(last, report, scan.totals),
            Some(why) => Err(AuditError::new(
                ErrorKind::ReportInvalid,
                format!("audit report {key} of {} is invalid: {why}", self.arn),
            )),
        };
        // An operator who accepts a report knows what it lists.
        response.stats.has_shrunk =
            self.mode == Mode::Audit && result.is_ok() && fewer(last, scan.totals).count() > 0;
        let requested_at = report.report.requested_at;
        let source = ReportSource {
            location: ObjectLocation {
                bucket: self.run.config.report_bucket.clone(),
                key: key.clone(),
            },
            requested_at,
            previous_requested_at: last
                .map(|audit| audit.requested_at)
                .filter(|&before| before < requested_at),
            certificates: scan.totals.certificates,
            revoked: scan.totals.revoked,
        };
        let mut new = scan.new;
        if !matches!(self.mode, Mode::Replay { .. }) {
            new.notified.merge(new.newly_seen.into_keys());
        }
        let counts = new.batch.counts.clone();
        let mut alert = None;
        if counts.total() > 0 {
            let revocations = RevocationAlert::new(new.batch, source, scan.full_list);
            alert = Some(match self.mode {
                Mode::Replay { since, .. } => AlertKind::Replay {
                    revocations,
                    since,
                    request_id: self.run.invocation.request_id.clone(),
                },
                _ => AlertKind::Revocations(revocations),
            });
        }
        Findings {
            response,
            alert,
            counts,
            notified: new.notified,
            result,
        }
    }

    fn response(
        &self,
        last: Option<&CompleteAudit>,
        report: &ReadyReport,
        scan: &Scan<'_>,
    ) -> AuditResponse {
        let (new, totals) = (&scan.new, scan.totals);
        let is_replay = matches!(self.mode, Mode::Replay { .. });
        let mut response = AuditResponse::new(self.arn.clone(), Outcome::Audited);
        response.report = Some(report.report.summary());
        let mut contents = ReportContents {
            certificates: totals.certificates,
            revoked: totals.revoked,
            new_revocations: new.new,
            published: new.batch.counts.total(),
            pending: is_replay.then_some(new.pending),
            malformed_records: totals.malformed,
            unidentified_records: totals.unidentified,
            revocations: Vec::new(),
        };
        let worst = new.batch.worst_first().take(MAX_LISTED);
        worst.for_each(|revocation| contents.list(revocation));
        response.read = Some(contents);
        response.stats = AuditStats {
            waited_seconds: report.waited_seconds,
            scanned_seconds: scan.duration_seconds,
            report_bytes: report.object.size_bytes,
            new: new.batch.by_severity,
            ..AuditStats::default()
        };
        response.warnings = warnings(last, totals, new.repeated_serials);
        for warning in &response.warnings {
            warn!(
                certificate_authority = self.arn.id(),
                warning, "anomalous report"
            );
        }
        response.unconfirmed = new.unconfirmed.clone();
        response
    }

    /// Returns the audit to record, unless the report cannot be the whole report of a CA whose last
    /// complete audit is `last`. An operator can accept it all the same.
    fn plausible_audit(
        &self,
        last: Option<&CompleteAudit>,
        report: &ReadyReport,
        totals: ScanTotals,
    ) -> Result<CompleteAudit, AuditError> {
        let Some(why) = implausible(last, totals).filter(|_| self.mode != Mode::AcceptReport)
        else {
            return Ok(self.complete_audit(report, totals));
        };
        let (key, arn) = (&report.report.key, self.arn);
        let message = format!("audit report {key} of {arn} is implausible: {why}");
        let mut error = AuditError::new(ErrorKind::ReportImplausible, message);
        if self.mode == Mode::Audit {
            error.hint = format!(
                "Alerts were sent for the new revocations that it lists, and the next run requests a new report. If such a report is right, accept the latest one: invoke the function with {{\"acceptReport\": true, \"certificateAuthorityArns\": [\"{arn}\"]}}. If its fields have other names than before, open an issue with the names."
            );
        }
        Err(error)
    }

    fn complete_audit(&self, report: &ReadyReport, totals: ScanTotals) -> CompleteAudit {
        CompleteAudit {
            report_id: report.report.id.clone(),
            key: report.report.key.clone(),
            e_tag: report.object.e_tag.clone(),
            requested_at: report.report.requested_at,
            last_modified: report.object.last_modified,
            certificates: totals.certificates,
            revoked: totals.revoked,
            unidentified: totals.unidentified,
        }
    }

    fn log_scan(&self, control: &Control, report: &ReadyReport, scan: &Scan<'_>) {
        let (new, totals) = (&scan.new, scan.totals);
        info!(
            certificate_authority = self.arn.id(),
            report_id = report.report.id,
            size_bytes = report.object.size_bytes,
            duration_seconds = scan.duration_seconds,
            certificates = totals.certificates,
            revoked = totals.revoked,
            malformed = totals.malformed,
            unidentified = totals.unidentified,
            already_notified = control.notified_count,
            new = new.new,
            filtered = new.new.saturating_sub(new.batch.counts.total()),
            before_lookback = new.before_lookback,
            valid = scan.invalid.is_none(),
            "scan finished"
        );
        for revocation in new.batch.worst_first().take(MAX_LISTED) {
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

/// Warns of anomalies. Reports only grow: one that lists less than the last is suspicious, but no
/// reason to forget anything.
fn warnings(
    last: Option<&CompleteAudit>,
    totals: ScanTotals,
    repeated_serials: u64,
) -> Vec<String> {
    let mut warnings = Vec::new();
    if repeated_serials > 0 {
        let records = count(repeated_serials, "record");
        warnings.push(format!(
            "{records} with the serial of another record but another certificate ARN; reported once"
        ));
    }
    if totals.malformed > 0 {
        warnings.push(count(totals.malformed, "malformed but readable record"));
    }
    if totals.unidentified > 0 {
        let records = count(totals.unidentified, "record");
        warnings.push(format!("{records} with neither serial nor certificateArn"));
    }
    warnings.extend(fewer(last, totals).map(|(before, now, what)| {
        let now = count(now, what);
        format!("the report lists {now}; the previous one listed {before}")
    }));
    warnings
}

/// Returns what a report lists less of than that of the last complete audit: the number before, the
/// number now, and of what.
fn fewer(
    last: Option<&CompleteAudit>,
    totals: ScanTotals,
) -> impl Iterator<Item = (u64, u64, &'static str)> {
    let (certificates, revoked) = last.map_or((0, 0), |last| (last.certificates, last.revoked));
    let counts = [
        (certificates, totals.certificates, "certificate"),
        (revoked, totals.revoked, "revocation"),
    ];
    counts.into_iter().filter(|(before, now, _)| now < before)
}

/// Returns why a valid report cannot be the whole one: all certificates or all revocations never vanish
/// at once, and records that nothing identifies follow another schema. As many of these as an operator
/// has accepted are known.
fn implausible(last: Option<&CompleteAudit>, totals: ScanTotals) -> Option<String> {
    let certificates = count(totals.certificates, "certificate");
    if totals.unidentified > last.map_or(0, |last| last.unidentified) {
        let records = count(totals.unidentified, "record");
        return Some(format!(
            "it lists {certificates} and has {records} with neither serial nor certificateArn"
        ));
    }
    let (before, _, what) = fewer(last, totals).find(|(_, now, _)| *now == 0)?;
    let before = count(before, what);
    Some(format!(
        "it lists {certificates} and no {what}; the last complete audit had {before}"
    ))
}

//! When an audit is overdue: the one rule of `watch-failed` and of the status.

use std::time::Duration;

use crate::error::{AuditError, ErrorKind};
use crate::state::control::{Control, CurrentError};
use crate::timestamp::Timestamp;

/// Maximum age of a last complete audit in audit intervals.
const MAX_AGE_INTERVALS: u32 = 3;

/// The least maximum age, for audit intervals up to the request limit of Private CA.
const LEAST_MAX_AGE: Duration = Duration::from_secs(90 * 60);

/// The resolution of the state's times.
const SECOND: Duration = Duration::from_secs(1);

/// When an audit is overdue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Overdue<'a> {
    pub now: Timestamp,
    /// Time between two scheduled runs; `None` if it is not known.
    pub audit_interval: Option<Duration>,
    /// A report that was requested less than that ago may still arrive.
    pub report_interval: Duration,
    /// What an overdue audit affects: all CAs with the same have one problem.
    pub resource: &'a str,
}

/// Returns the maximum age of a last complete audit.
pub(super) fn max_age(audit_interval: Option<Duration>) -> Duration {
    let intervals = audit_interval.map(|interval| interval * MAX_AGE_INTERVALS);
    intervals.unwrap_or_default().max(LEAST_MAX_AGE)
}

/// Whether a CA that had no complete audit for that long is overdue.
pub(super) fn is_overdue(age: Duration, audit_interval: Option<Duration>) -> bool {
    age > max_age(audit_interval)
}

/// Returns since when a CA's age counts: its last complete audit, or when it was first seen.
pub(super) fn counted_from(control: &Control) -> Timestamp {
    let last = control.last_complete_audit.as_ref();
    last.map_or(control.first_seen_at, |audit| audit.requested_at)
}

impl Overdue<'_> {
    /// Returns the error of a CA whose audit is overdue.
    pub fn error(&self, control: &Control) -> Option<CurrentError> {
        let (from, limit) = (counted_from(control), max_age(self.audit_interval));
        let age = self.now.since(from);
        if !is_overdue(age, self.audit_interval) || self.is_about_to_be_audited(control) {
            return None;
        }
        let message = format!(
            "no complete audit of {} for {} minutes (limit: {})",
            control.certificate_authority_arn,
            age.as_secs() / 60,
            limit.as_secs() / 60
        );
        let error = AuditError::new(ErrorKind::ReportOverdue, message);
        Some(CurrentError {
            kind: error.kind.name().to_owned(),
            resource: Some(self.resource.to_owned()),
            message: error.message,
            hint: error.hint,
            since: self.since(control),
        })
    }

    /// Returns since when the audit is overdue. It identifies the message, so it must not depend on when
    /// this was found out. The pending report cannot end it: a CA whose reports take so long would be
    /// overdue again before the next one, and recover each time.
    fn since(&self, control: &Control) -> Timestamp {
        let overdue = counted_from(control).saturating_add(max_age(self.audit_interval));
        let report = control.pending_report.as_ref();
        let after = report.map(|report| report.requested_at.saturating_add(SECOND));
        after.map_or(overdue, |after| overdue.max(after))
    }

    /// Whether a report was requested too recently to expect it: the schedule may have been disabled.
    fn is_about_to_be_audited(&self, control: &Control) -> bool {
        let report = control.pending_report.as_ref();
        let report = report.filter(|report| !report.implausible);
        report.is_some_and(|report| self.now.since(report.requested_at) < self.report_interval)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arn::CertificateAuthorityArn;
    use crate::pending_report::PendingReport;

    const MINUTE: Duration = Duration::from_secs(60);

    fn start() -> Timestamp {
        Timestamp::parse("2026-11-21T04:00:00Z").unwrap()
    }

    fn after(minutes: u32) -> Timestamp {
        start().saturating_add(minutes * MINUTE)
    }

    fn rule(minutes: u32) -> Overdue<'static> {
        Overdue {
            now: after(minutes),
            audit_interval: Some(30 * MINUTE),
            report_interval: 30 * MINUTE,
            resource: "s3://amzn-s3-demo-bucket/audit-report/",
        }
    }

    fn new_ca() -> Control {
        let arn = CertificateAuthorityArn::from_parts("aws", "us-east-1", "123456789012", "1");
        Control::new(arn, start())
    }

    #[test]
    fn audit_is_overdue_after_three_intervals_and_ninety_minutes() {
        for (interval, limit) in [
            (None, 90),
            (Some(5), 90),
            (Some(30), 90),
            (Some(60), 180),
            (Some(1440), 4320),
        ] {
            let audit_interval = interval.map(|minutes: u32| minutes * MINUTE);
            assert_eq!(max_age(audit_interval), limit * MINUTE);
            let error = |minutes| {
                let rule = Overdue {
                    audit_interval,
                    ..rule(minutes)
                };
                rule.error(&new_ca())
            };
            assert_eq!(error(limit), None);
            let overdue = error(limit + 1).expect("it is older");
            assert_eq!(overdue.since, after(limit));
            let expected = format!("for {} minutes (limit: {limit})", limit + 1);
            assert!(overdue.message.contains(&expected), "{}", overdue.message);
            // The time that identifies it does not depend on the run that finds out.
            assert_eq!(error(limit + 60).expect("still").since, overdue.since);
        }
    }

    #[test]
    fn pending_report_does_not_end_it() {
        let mut control = new_ca();
        let since = |control: &Control| rule(300).error(control).expect("it is overdue").since;
        for (requested, expected) in [(60, after(90)), (100, after(100).saturating_add(SECOND))] {
            let report = PendingReport::new("1".to_owned(), "1.json".to_owned(), after(requested));
            control.pending_report = Some(report);
            assert_eq!(since(&control), expected);
        }
    }

    #[test]
    fn report_requested_just_now_may_still_arrive() {
        let mut control = new_ca();
        let mut report = PendingReport::new("1".to_owned(), "1.json".to_owned(), after(300));
        control.pending_report = Some(report.clone());
        assert_eq!(rule(300).error(&control), None);
        assert_eq!(rule(329).error(&control), None);
        assert!(rule(330).error(&control).is_some());
        report.implausible = true;
        control.pending_report = Some(report);
        assert!(rule(300).error(&control).is_some());
    }
}

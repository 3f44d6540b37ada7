//! The control document of one CA: its lock, its queue and its memory.
//!
//! Everything here is pure; `store` reads and writes it in S3.

use std::cmp::Ordering;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::arn::CertificateAuthorityArn;
use crate::error::{AuditError, ErrorKind};
use crate::pending_report::PendingReport;
use crate::revocation::reason::ReasonCounts;
use crate::timestamp::Timestamp;

/// The version of the documents that this program writes, and the only one that it reads.
pub(super) const VERSION: u64 = 1;

/// Maximum scan attempts before a report is abandoned.
pub(crate) const MAX_SCAN_ATTEMPTS: u32 = 2;

/// Lambda's maximum timeout (AWS Lambda Developer Guide, "Lambda quotas"): no lease is longer.
const LONGEST_RUN: Duration = Duration::from_secs(900);

/// Maximum difference between two clocks; a lease expires that long after its holder's deadline.
pub(crate) const CLOCK_TOLERANCE: Duration = Duration::from_secs(30);

/// The control document of one CA.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Control {
    pub(crate) version: u64,
    pub(crate) certificate_authority_arn: CertificateAuthorityArn,
    /// Number of writes so far.
    pub(crate) sequence: u64,
    /// Identifies the write: a run whose PUT got no response recognizes its own, and no two
    /// documents are equal, as their ETags would be.
    pub(crate) nonce: String,
    /// When this program first saw the CA.
    pub(crate) first_seen_at: Timestamp,
    /// The lease of the run that audits the CA.
    pub lease: Option<Lease>,
    /// The report that was requested and not read to its end yet.
    pub pending_report: Option<PendingReport>,
    /// The ID of the report whose scan was started. Each scan removes it when it ends, so a later run
    /// that finds it knows that the scan crashed the process.
    pub(crate) scanning: Option<String>,
    /// When the last report was requested, even if it was abandoned.
    pub(crate) last_requested_at: Option<Timestamp>,
    /// The fraction of a second of `last_requested_at`. If schedule and request limit are both half
    /// an hour, fractions lost with each report add up to a lost report.
    pub(crate) last_requested_at_millis: u32,
    /// The ID of that report.
    pub(crate) last_report_id: Option<String>,
    /// When S3 had the newest report whose scan was started; only a newer one is adopted.
    pub(crate) last_scanned: Option<Timestamp>,
    pub(crate) last_complete_audit: Option<CompleteAudit>,
    /// The current error that needs operator action.
    pub error: Option<CurrentError>,
    /// An error that may be over by the next run: it needs an operator if a later run sees it again.
    pub(crate) unconfirmed_error: Option<SeenError>,
    /// The key of the notified set; none before the first audit.
    pub notified_set: Option<String>,
    /// Number of revocations in the notified set.
    pub(crate) notified_count: u64,
    /// Numbers of revocations in messages so far, by reason.
    #[serde(default)]
    pub(crate) notified_by_reason: ReasonCounts,
    /// Not used. Earlier builds wrote it, and do not read documents without it.
    #[serde(default)]
    runs_without_audit: u32,
    /// Not used. Earlier builds wrote it.
    #[serde(default, skip_serializing)]
    without_audit_since: Option<Timestamp>,
}

/// The right to audit a CA, for a limited time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Lease {
    pub(crate) request_id: String,
    /// The run's nonce; unlike the request ID, it differs for a retry of the same invocation.
    pub(crate) nonce: String,
    /// The holder's deadline plus [`CLOCK_TOLERANCE`].
    pub(crate) until: Timestamp,
}

/// An audit that read a whole, valid report and recorded all of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CompleteAudit {
    pub(crate) report_id: String,
    pub(crate) key: String,
    pub(crate) e_tag: String,
    /// When the report was requested: the age of the audit counts from here.
    pub(crate) requested_at: Timestamp,
    /// When S3 had the whole report, by S3's clock.
    pub(crate) last_modified: Timestamp,
    pub(crate) certificates: u64,
    pub(crate) revoked: u64,
    /// Records with neither `serial` nor `certificateArn`, in a report that an operator accepted.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) unidentified: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// An error that needs operator action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CurrentError {
    /// The stable name of its kind.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// The affected resource, if it is not the CA itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) resource: Option<String>,
    pub(crate) message: String,
    pub(crate) hint: String,
    /// When it first occurred.
    pub(crate) since: Timestamp,
}

impl CurrentError {
    /// Whether both have one cause, if they are of one CA.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.kind == other.kind && self.resource == other.resource
    }
}

/// An error that a run saw, and that may be over by the next run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SeenError {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) since: Timestamp,
    /// The request ID of the invocation that saw it first; Lambda's retries have the same.
    pub(crate) seen_by: String,
}

impl SeenError {
    pub(crate) fn new(kind: &str, since: Timestamp, seen_by: &str) -> Self {
        Self {
            kind: kind.to_owned(),
            since,
            seen_by: seen_by.to_owned(),
        }
    }

    /// Whether another run sees this error again, not at about the same time.
    pub(crate) fn is_confirmed_by(
        &self,
        request_id: &str,
        now: Timestamp,
        report_interval: Duration,
    ) -> bool {
        self.seen_by != request_id && now.since(self.since) >= report_interval / 2
    }
}

/// Returns the error for a state that cannot be read.
pub(super) fn unreadable(message: String) -> AuditError {
    AuditError::new(ErrorKind::StateUnreadable, message)
}

/// The field that every version of a document has.
#[derive(Deserialize)]
pub(super) struct Versioned {
    version: u64,
}

impl Versioned {
    /// Fails if the document, which errors call `what`, has another version than this program.
    pub(super) fn check(&self, what: &str) -> Result<(), AuditError> {
        let version = self.version;
        let kind = match version.cmp(&VERSION) {
            Ordering::Less => ErrorKind::StateUnreadable,
            Ordering::Equal => return Ok(()),
            Ordering::Greater => ErrorKind::StateNewer,
        };
        Err(AuditError::new(
            kind,
            format!("{what} has version {version}; this program supports version {VERSION}"),
        ))
    }
}

impl Control {
    /// Creates the control document of a CA that was never audited.
    pub(crate) fn new(certificate_authority_arn: CertificateAuthorityArn, now: Timestamp) -> Self {
        Self {
            version: VERSION,
            certificate_authority_arn,
            sequence: 0,
            nonce: String::new(),
            first_seen_at: now,
            lease: None,
            pending_report: None,
            scanning: None,
            last_requested_at: None,
            last_requested_at_millis: 0,
            last_report_id: None,
            last_scanned: None,
            last_complete_audit: None,
            error: None,
            unconfirmed_error: None,
            notified_set: None,
            notified_count: 0,
            notified_by_reason: ReasonCounts::default(),
            runs_without_audit: 0,
            without_audit_since: None,
        }
    }

    /// Parses a control document; `location` names its object in errors.
    ///
    /// # Errors
    /// If it is not a control document of this CA and version.
    pub fn read(
        bytes: &[u8],
        certificate_authority_arn: &CertificateAuthorityArn,
        location: &str,
    ) -> Result<Self, AuditError> {
        let place = format!("the state at {location}");
        let no_document = |error| unreadable(format!("{place} is not a control document: {error}"));
        let versioned: Versioned = serde_json::from_slice(bytes).map_err(no_document)?;
        versioned.check(&place)?;
        let control: Control = serde_json::from_slice(bytes).map_err(no_document)?;
        let owner = &control.certificate_authority_arn;
        if owner != certificate_authority_arn {
            return Err(unreadable(format!(
                "{place} belongs to {owner}, not to {certificate_authority_arn}"
            )));
        }
        Ok(control)
    }

    /// Returns the document as indented JSON, without the fields that have no value.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        let mut json = serde_json::json!(self);
        if let Some(fields) = json.as_object_mut() {
            fields.retain(|_, value| !value.is_null());
        }
        format!("{json:#}\n").into_bytes()
    }

    /// Whether a report is the one that was requested last, or that was read last.
    pub(crate) fn knows_report(&self, id: &str) -> bool {
        let last_read = self.last_complete_audit.as_ref();
        self.last_report_id.as_deref() == Some(id)
            || last_read.is_some_and(|audit| audit.report_id == id)
    }

    /// Returns when Private CA accepts the next request; `None` if that is now.
    pub(crate) fn next_request_at(
        &self,
        now: SystemTime,
        report_interval: Duration,
    ) -> Option<SystemTime> {
        let millis = Duration::from_millis(self.last_requested_at_millis.into());
        let requested_at = SystemTime::from(self.last_requested_at?) + millis;
        // A time in the future is ignored: a wrong clock must not stop the audits.
        let is_plausible = requested_at <= now + CLOCK_TOLERANCE;
        let next = requested_at + report_interval;
        (is_plausible && now < next).then_some(next)
    }

    /// Returns the lease if it has not expired. One that is longer than any run is ignored.
    pub(crate) fn lease_holder(&self, now: Timestamp) -> Option<&Lease> {
        let longest = now.saturating_add(LONGEST_RUN + 2 * CLOCK_TOLERANCE);
        let lease = self.lease.as_ref();
        lease.filter(|lease| now < lease.until && lease.until <= longest)
    }

    /// Releases the lease of the run with that nonce.
    pub(crate) fn release(&mut self, nonce: &str) {
        self.lease.take_if(|lease| lease.nonce == nonce);
    }

    /// Records a report that was requested, or adopted, at that time.
    pub(crate) fn set_pending_report(&mut self, report: &PendingReport, at: SystemTime) {
        let since_1970 = at
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        self.last_requested_at = Some(at.into());
        self.last_requested_at_millis = since_1970.subsec_millis();
        self.last_report_id = Some(report.id.clone());
        self.pending_report = Some(report.clone());
    }

    /// Whether the last scan of the report crashed the process.
    pub(crate) fn crashed(&self, report: &PendingReport) -> bool {
        self.scanning.as_ref() == Some(&report.id)
    }

    /// Counts a scan of the pending report that is about to start.
    pub(crate) fn start_scan(&mut self) {
        if let Some(report) = &mut self.pending_report {
            report.attempts += 1;
            self.scanning = Some(report.id.clone());
        }
    }

    /// Records that the scan ended without crashing the process; unless that `counts`, it was no
    /// attempt.
    pub(crate) fn end_scan(&mut self, counts: bool) {
        self.scanning = None;
        if let Some(report) = &mut self.pending_report
            && !counts
        {
            report.attempts = report.attempts.saturating_sub(1);
        }
    }

    /// Whether the report with that ID is the pending one.
    pub(crate) fn is_pending(&self, report_id: &str) -> bool {
        let report = self.pending_report.as_ref();
        report.is_some_and(|report| report.id == report_id)
    }

    /// Keeps what a run did that found this newer document when it wanted to save its own: it ended a
    /// scan of the same report.
    pub(crate) fn keep_progress(&mut self, ours: &Control) {
        if let Some(report) = &ours.pending_report
            && self.is_pending(&report.id)
        {
            self.pending_report = Some(report.clone());
            self.scanning = None;
        }
    }

    /// Keeps the pending report for an operator to accept; the next run requests a new one.
    pub(crate) fn keep_as_implausible(&mut self) {
        if let Some(report) = &mut self.pending_report {
            report.implausible = true;
        }
    }

    /// Records the current error. One with the same cause began when it first occurred.
    pub(crate) fn set_error(&mut self, error: CurrentError) {
        let known = self.error.take().filter(|known| known.is_same(&error));
        let since = known.map_or(error.since, |known| known.since);
        self.error = Some(CurrentError { since, ..error });
    }

    pub(crate) fn complete(&mut self, audit: CompleteAudit) {
        self.pending_report = None;
        self.scanning = None;
        self.unconfirmed_error = None;
        // A report that is older than the error cannot show that it is over. Nobody could be notified
        // about an error of the topic itself.
        self.error.take_if(|error| {
            error.since <= audit.requested_at || ErrorKind::silences_the_topic(&error.kind)
        });
        self.last_complete_audit = Some(audit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::revocation::reason::RevocationReason;

    fn arn() -> CertificateAuthorityArn {
        CertificateAuthorityArn::parse("arn:aws:acm-pca:us-east-1:123456789012:certificate-authority/11223344-1234-1122-2233-112233445566").unwrap()
    }

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    fn clock(text: &str) -> SystemTime {
        at(text).into()
    }

    const INTERVAL: Duration = Duration::from_secs(1800);

    fn pending() -> PendingReport {
        PendingReport {
            id: "a1b2c3d4-1234-1122-2233-112233445566".to_owned(),
            key: "audit-report/11223344-1234-1122-2233-112233445566/a1b2c3d4-1234-1122-2233-112233445566.json".to_owned(),
            requested_at: at("2026-11-21T04:00:02Z"),
            attempts: 0,
            implausible: false,
        }
    }

    #[test]
    fn document_survives_a_round_trip() {
        let mut control = Control::new(arn(), at("2026-11-21T04:00:00Z"));
        control.set_pending_report(&pending(), clock("2026-11-21T04:00:02Z"));
        control.lease = Some(Lease {
            request_id: "r".to_owned(),
            nonce: "n".to_owned(),
            until: at("2026-11-21T04:15:30Z"),
        });
        control.error = Some(CurrentError {
            kind: "AccessDenied".to_owned(),
            resource: Some("s3://amzn-s3-demo-bucket".to_owned()),
            message: "GetObject failed".to_owned(),
            hint: "Grant it.".to_owned(),
            since: at("2026-11-21T04:00:00Z"),
        });
        control.unconfirmed_error = Some(SeenError {
            kind: "RequestRejected".to_owned(),
            since: at("2026-11-21T04:00:00Z"),
            seen_by: "r".to_owned(),
        });
        let reasons = ["KEY_COMPROMISE", "NEW_REASON", "KEY_COMPROMISE"];
        for reason in reasons.map(RevocationReason::from_report) {
            control.notified_by_reason.add(&reason);
        }
        assert_eq!(
            Control::read(&control.to_json(), &arn(), "here"),
            Ok(control)
        );
    }

    /// An upgrade must not make the state of every CA unreadable, nor must a rollback.
    #[test]
    fn earlier_builds_share_the_document() {
        let control = Control::new(arn(), at("2026-11-21T04:00:00Z"));
        let mut json: serde_json::Value = serde_json::from_slice(&control.to_json()).unwrap();
        assert_eq!(json["runsWithoutAudit"], 0, "a rollback needs it");
        json["runsWithoutAudit"] = 3.into();
        json["withoutAuditSince"] = "2026-11-21T04:30:00Z".into();

        let read = Control::read(json.to_string().as_bytes(), &arn(), "here").unwrap();

        assert_eq!(read.first_seen_at, control.first_seen_at);
        let written: serde_json::Value = serde_json::from_slice(&read.to_json()).unwrap();
        assert!(written["withoutAuditSince"].is_null());
    }

    #[test]
    fn truncated_foreign_or_unknown_document_is_an_error() {
        let whole = Control::new(arn(), at("2026-11-21T04:00:00Z")).to_json();
        for cut in 0..whole.len() - 2 {
            let error = Control::read(&whole[..cut], &arn(), "here").unwrap_err();
            assert_eq!(error.kind, ErrorKind::StateUnreadable);
            assert!(error.message.contains("here"));
        }
        let text = String::from_utf8(whole).unwrap();
        let kind = |text: String| {
            Control::read(text.as_bytes(), &arn(), "here")
                .unwrap_err()
                .kind
        };
        assert_eq!(
            kind(text.replace("\"version\": 1", "\"version\": 2")),
            ErrorKind::StateNewer
        );
        assert_eq!(
            kind(text.replace("\"version\": 1", "\"version\": 0")),
            ErrorKind::StateUnreadable
        );
        assert_eq!(
            kind(text.replace("11223344-", "99887766-")),
            ErrorKind::StateUnreadable
        );
        assert_eq!(
            kind(text.replace("\"notifiedCount\"", "\"notified\"")),
            ErrorKind::StateUnreadable
        );
    }

    #[test]
    fn request_counts_for_the_interval_even_if_abandoned() {
        let mut control = Control::new(arn(), at("2026-11-21T04:00:00Z"));
        let next = |control: &Control, now| {
            let next = control.next_request_at(clock(now), INTERVAL);
            next.map(|at| Timestamp::from(at).to_string())
        };
        assert_eq!(next(&control, "2026-11-21T05:00:00Z"), None);
        control.set_pending_report(&pending(), clock("2026-11-21T04:00:02Z"));
        control.pending_report = None;
        assert_eq!(
            next(&control, "2026-11-21T04:30:01Z").as_deref(),
            Some("2026-11-21T04:30:02Z")
        );
        assert_eq!(next(&control, "2026-11-21T04:30:02Z"), None);
        // Half a minute before the request, its time may be right; a minute before, it is not.
        assert_eq!(
            next(&control, "2026-11-21T03:59:32Z").as_deref(),
            Some("2026-11-21T04:30:02Z")
        );
        assert_eq!(next(&control, "2026-11-21T03:59:02Z"), None);
    }

    #[test]
    fn fraction_of_a_second_counts() {
        let mut control = Control::new(arn(), at("2026-11-21T04:00:00Z"));
        let requested_at = clock("2026-11-21T04:00:02Z") + Duration::from_millis(123);
        control.set_pending_report(&pending(), requested_at);
        let control = Control::read(&control.to_json(), &arn(), "here").unwrap();
        assert_eq!(
            control.next_request_at(requested_at, INTERVAL),
            Some(requested_at + INTERVAL)
        );
    }

    #[test]
    fn lease_longer_than_any_run_is_ignored() {
        let mut control = Control::new(arn(), at("2026-11-21T04:00:00Z"));
        let held = |control: &Control| control.lease_holder(at("2026-11-21T04:00:00Z")).is_some();
        for (until, holds) in [
            ("2026-11-21T04:00:00Z", false),
            ("2026-11-21T04:00:01Z", true),
            ("2026-11-21T04:16:00Z", true),
            ("2026-11-21T04:16:01Z", false),
            ("9999-12-31T23:59:59Z", false),
        ] {
            control.lease = Some(Lease {
                request_id: "r".to_owned(),
                nonce: "n".to_owned(),
                until: at(until),
            });
            assert_eq!(held(&control), holds, "{until}");
        }
    }
}

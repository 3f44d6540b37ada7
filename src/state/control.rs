//! What the program remembers of one certificate authority: its lock, its queue and its memory.
//!
//! Everything here is pure; `store` moves it to and from S3.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::arn::CertificateAuthorityArn;
use crate::error::{AuditError, ErrorKind};
use crate::pending_report::PendingReport;
use crate::timestamp::Timestamp;

/// Makes the next version of a control document out of one.
type Migration = fn(&mut Map<String, Value>);

/// What leads from version 1 to 2, from 2 to 3, and so on, up to the one that this program writes.
/// There has been no other version yet.
const MIGRATIONS: &[Migration] = &[];

/// The version of the control document that this program writes. It reads all before it.
pub const VERSION: usize = MIGRATIONS.len() + 1;

/// A failed scan of the same report so often drops it.
pub const MAX_SCAN_ATTEMPTS: u32 = 2;

/// Lambda's longest timeout (AWS Lambda Developer Guide, "Lambda quotas"): no lease is longer.
const LONGEST_RUN: Duration = Duration::from_secs(900);

/// Added to a holder's deadline before its lease counts as over: clocks differ.
pub const CLOCK_TOLERANCE: Duration = Duration::from_secs(30);

/// The control document of one certificate authority.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Control {
    pub version: usize,
    pub certificate_authority_arn: CertificateAuthorityArn,
    /// Counts the writes.
    pub sequence: u64,
    /// Names the write: a run whose PUT got no answer recognises its own by it, and no two
    /// documents are equal, as their ETags would be.
    pub nonce: String,
    /// When this program first looked at the certificate authority.
    pub first_seen_at: Timestamp,
    /// The run that holds this certificate authority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Lease>,
    /// The report that was requested and not read to its end yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_report: Option<PendingReport>,
    /// When the last report was requested, whatever became of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_requested_at: Option<Timestamp>,
    /// What `last_requested_at` leaves out of that instant. Where schedule and limit are half an
    /// hour both, a fraction of a second lost with each report adds up to a report lost.
    #[serde(default)]
    pub last_requested_at_millis: u32,
    /// When S3 had the newest report whose scan was begun: only a younger one is adopted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_scanned: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_complete_audit: Option<CompleteAudit>,
    /// Scheduled runs since the last complete audit that ended without one.
    #[serde(default)]
    pub runs_without_audit: u32,
    /// Since when there are such runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub without_audit_since: Option<Timestamp>,
    /// Whether `watch-started` was published.
    #[serde(default)]
    pub started: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<RecordedError>,
    /// The key of the told list; none before the first audit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notified_set: Option<String>,
    /// How many revocations the told list holds.
    #[serde(default)]
    pub notified_count: u64,
}

/// Who works on a certificate authority, and until when at most.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Lease {
    /// Lambda's request id.
    pub request_id: String,
    /// Unlike the request id, another one for a retry of the same invocation.
    pub nonce: String,
    /// The holder's deadline, with the tolerance for clocks.
    pub until: Timestamp,
}

/// The last audit that read a whole, valid report and told all of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CompleteAudit {
    pub report_id: String,
    pub key: String,
    pub e_tag: String,
    pub requested_at: Timestamp,
    /// When S3 had the whole report, by S3's clock.
    pub last_modified: Timestamp,
    pub completed_at: Timestamp,
    pub certificates: u64,
    pub revoked: u64,
}

/// A fault that only a person can cure, as last told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RecordedError {
    #[serde(rename = "type")]
    pub kind: String,
    pub since: Timestamp,
    /// Whether `watch-failed` was published.
    pub announced: bool,
    /// Whether it may have been: SNS's answer was lost.
    #[serde(default)]
    pub maybe_announced: bool,
}

impl RecordedError {
    /// A fault that nobody was told of yet.
    pub fn new(kind: &str, since: Timestamp) -> Self {
        Self {
            kind: kind.to_owned(),
            since,
            announced: false,
            maybe_announced: false,
        }
    }

    /// Whether people know of it, or may: then they are told of its end.
    pub fn may_be_announced(&self) -> bool {
        self.announced || self.maybe_announced
    }
}

/// What to do next about a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NextStep {
    /// Go on with the report in hand.
    Resume(PendingReport),
    /// Request a report, now or from that instant on.
    Request { not_before: Option<SystemTime> },
}

impl Control {
    /// The control document of a certificate authority that was never audited.
    pub fn new(certificate_authority_arn: CertificateAuthorityArn, now: Timestamp) -> Self {
        Self {
            version: VERSION,
            certificate_authority_arn,
            sequence: 0,
            nonce: String::new(),
            first_seen_at: now,
            lease: None,
            pending_report: None,
            last_requested_at: None,
            last_requested_at_millis: 0,
            last_scanned: None,
            last_complete_audit: None,
            runs_without_audit: 0,
            without_audit_since: None,
            started: false,
            error: None,
            notified_set: None,
            notified_count: 0,
        }
    }

    /// Reads a control document.
    ///
    /// # Errors
    /// Whatever is not a control document of this certificate authority and of a version that this
    /// program knows, as a fault; `location` names the object in it.
    pub fn read(
        bytes: &[u8],
        certificate_authority_arn: &CertificateAuthorityArn,
        location: &str,
    ) -> Result<Self, AuditError> {
        let unreadable = |why: String| {
            AuditError::new(
                ErrorKind::StateUnreadable,
                format!("the state at {location} {why}"),
            )
        };
        let no_document = |error| unreadable(format!("is not a control document: {error}"));
        let mut document: Map<String, Value> =
            serde_json::from_slice(bytes).map_err(no_document)?;
        migrate(&mut document, MIGRATIONS).map_err(|version| match version {
            Unknown::Newer(version) => AuditError::new(
                ErrorKind::StateNewer,
                format!("the state at {location} is of version {version}; this program knows versions up to {VERSION}"),
            ),
            Unknown::None => unreadable("is of no version that ever was".to_owned()),
        })?;
        let control: Control =
            Control::deserialize(Value::Object(document)).map_err(no_document)?;
        if control.certificate_authority_arn != *certificate_authority_arn {
            return Err(unreadable(format!(
                "belongs to {}, not to {certificate_authority_arn}",
                control.certificate_authority_arn
            )));
        }
        Ok(control)
    }

    /// The document's bytes, readable with `jq`.
    pub fn to_json(&self) -> Vec<u8> {
        let mut bytes =
            serde_json::to_vec_pretty(self).expect("a control document has string keys only");
        bytes.push(b'\n');
        bytes
    }

    /// What to do next about a report.
    pub fn next_step(&self, now: SystemTime, report_interval: Duration) -> NextStep {
        if let Some(report) = &self.pending_report {
            return NextStep::Resume(report.clone());
        }
        let millis = Duration::from_millis(self.last_requested_at_millis.into());
        // A request in the future was none: a wrong clock must not silence the watch.
        let not_before = self
            .last_requested_at
            .map(|requested_at| SystemTime::from(requested_at) + millis)
            .filter(|&requested_at| requested_at <= now + CLOCK_TOLERANCE)
            .map(|requested_at| requested_at + report_interval)
            .filter(|&at| now < at);
        NextStep::Request { not_before }
    }

    /// The holder whose lease is not over yet. A lease for longer than any run lasts is none.
    pub fn holder(&self, now: Timestamp) -> Option<&Lease> {
        let longest = now.saturating_add(LONGEST_RUN + 2 * CLOCK_TOLERANCE);
        self.lease
            .as_ref()
            .filter(|lease| now < lease.until && lease.until <= longest)
    }

    /// Whether the run of that nonce wrote this document.
    pub fn is_written_by(&self, run_nonce: &str) -> bool {
        self.nonce
            .strip_prefix(run_nonce)
            .is_some_and(|rest| rest.starts_with('-'))
    }

    /// Gives back the lease of that run; another run's stays.
    pub fn release(&mut self, nonce: &str) {
        self.lease.take_if(|lease| lease.nonce == nonce);
    }

    /// Takes note of a report that was requested, or adopted, at that instant.
    pub fn set_pending_report(&mut self, report: PendingReport, at: SystemTime) {
        let since_1970 = at
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        self.last_requested_at = Some(at.into());
        self.last_requested_at_millis = since_1970.subsec_millis();
        self.pending_report = Some(report);
    }

    /// Sets the scan attempts of the pending report.
    pub fn set_attempts(&mut self, attempts: u32) {
        if let Some(report) = &mut self.pending_report {
            report.attempts = attempts;
        }
    }

    /// Takes note of a complete audit.
    pub fn complete(&mut self, audit: CompleteAudit) {
        self.pending_report = None;
        self.last_complete_audit = Some(audit);
        self.runs_without_audit = 0;
        self.without_audit_since = None;
    }

    /// Takes note of a scheduled run that ended without a complete audit, and says whether there
    /// have been too many of them for too long.
    pub fn count_run_without_audit(&mut self, now: Timestamp, report_interval: Duration) -> bool {
        self.runs_without_audit = self.runs_without_audit.saturating_add(1);
        let since = *self.without_audit_since.get_or_insert(now);
        self.runs_without_audit > 3 && now.since(since) >= 3 * report_interval
    }
}

/// A version that cannot be read.
#[derive(Debug, PartialEq, Eq)]
enum Unknown {
    Newer(u64),
    None,
}

/// Brings a document to the version that the migrations lead to.
fn migrate(document: &mut Map<String, Value>, migrations: &[Migration]) -> Result<(), Unknown> {
    let version = document.get("version").and_then(Value::as_u64).unwrap_or(0);
    let done = version.checked_sub(1).ok_or(Unknown::None)?;
    let left = usize::try_from(done)
        .ok()
        .and_then(|done| migrations.get(done..));
    for migration in left.ok_or(Unknown::Newer(version))? {
        migration(document);
    }
    document.insert("version".to_owned(), Value::from(migrations.len() + 1));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

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

    fn in_hand() -> PendingReport {
        PendingReport {
            id: "a1b2c3d4-1234-1122-2233-112233445566".to_owned(),
            key: "audit-report/11223344-1234-1122-2233-112233445566/a1b2c3d4-1234-1122-2233-112233445566.json".to_owned(),
            requested_at: at("2026-11-21T04:00:02Z"),
            attempts: 0,
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        let mut control = Control::new(arn(), at("2026-11-21T04:00:00Z"));
        control.set_pending_report(in_hand(), clock("2026-11-21T04:00:02Z"));
        control.lease = Some(Lease {
            request_id: "r".to_owned(),
            nonce: "n".to_owned(),
            until: at("2026-11-21T04:15:30Z"),
        });
        control.error = Some(RecordedError {
            kind: "AccessDenied".to_owned(),
            since: at("2026-11-21T04:00:00Z"),
            announced: true,
            maybe_announced: false,
        });
        assert_eq!(
            Control::read(&control.to_json(), &arn(), "here"),
            Ok(control)
        );
    }

    #[test]
    fn what_is_no_control_document_of_this_certificate_authority_is_a_fault() {
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
            kind(text.replace("\"notifiedCount\"", "\"counted\"")),
            ErrorKind::StateUnreadable
        );
    }

    #[test]
    fn a_report_in_hand_comes_before_a_new_one() {
        let mut control = Control::new(arn(), at("2026-11-21T04:00:00Z"));
        let now = clock("2026-11-21T05:00:00Z");
        assert_eq!(
            control.next_step(now, INTERVAL),
            NextStep::Request { not_before: None }
        );
        control.set_pending_report(in_hand(), clock("2026-11-21T04:00:02Z"));
        assert_eq!(
            control.next_step(now, INTERVAL),
            NextStep::Resume(in_hand())
        );
    }

    #[test]
    fn a_request_counts_for_the_interval_whatever_became_of_it() {
        let mut control = Control::new(arn(), at("2026-11-21T04:00:00Z"));
        control.set_pending_report(in_hand(), clock("2026-11-21T04:00:02Z"));
        control.pending_report = None;
        let not_before = |now| match control.next_step(clock(now), INTERVAL) {
            NextStep::Request { not_before } => {
                not_before.map(|at| Timestamp::from(at).to_string())
            }
            NextStep::Resume(_) => panic!("nothing is in hand"),
        };
        assert_eq!(
            not_before("2026-11-21T04:30:01Z").as_deref(),
            Some("2026-11-21T04:30:02Z")
        );
        assert_eq!(not_before("2026-11-21T04:30:02Z"), None);
        // Half a minute before the request, its time may be right; a minute before, it is not.
        assert_eq!(
            not_before("2026-11-21T03:59:32Z").as_deref(),
            Some("2026-11-21T04:30:02Z")
        );
        assert_eq!(not_before("2026-11-21T03:59:02Z"), None);
    }

    #[test]
    fn the_fraction_of_a_second_counts() {
        let mut control = Control::new(arn(), at("2026-11-21T04:00:00Z"));
        let requested_at = clock("2026-11-21T04:00:02Z") + Duration::from_millis(123);
        control.set_pending_report(in_hand(), requested_at);
        control.pending_report = None;
        let control = Control::read(&control.to_json(), &arn(), "here").unwrap();
        assert_eq!(
            control.next_step(requested_at, INTERVAL),
            NextStep::Request {
                not_before: Some(requested_at + INTERVAL)
            }
        );
    }

    #[test]
    fn no_lease_outlasts_the_longest_run() {
        let mut control = Control::new(arn(), at("2026-11-21T04:00:00Z"));
        let held = |control: &Control| control.holder(at("2026-11-21T04:00:00Z")).is_some();
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

    #[test]
    fn older_versions_are_brought_forward_one_by_one() {
        const RENAMED: Migration = |document| {
            let value = document.remove("old").unwrap_or_default();
            document.insert("new".to_owned(), value);
        };
        const COUNTED: Migration = |document| {
            document.insert("count".to_owned(), Value::from(document.len()));
        };
        let migrated = |version: Value| {
            let mut document = Map::from_iter([("version".to_owned(), version)]);
            document.insert("old".to_owned(), Value::from(7));
            migrate(&mut document, &[RENAMED, COUNTED]).map(|()| Value::Object(document))
        };
        assert_eq!(
            migrated(Value::from(1)),
            Ok(serde_json::json!({ "version": 3, "new": 7, "count": 2 }))
        );
        assert_eq!(
            migrated(Value::from(2)),
            Ok(serde_json::json!({ "version": 3, "old": 7, "count": 2 }))
        );
        assert_eq!(
            migrated(Value::from(3)),
            Ok(serde_json::json!({ "version": 3, "old": 7 }))
        );
        assert_eq!(migrated(Value::from(4)), Err(Unknown::Newer(4)));
        assert_eq!(migrated(Value::from(0)), Err(Unknown::None));
        assert_eq!(migrated(Value::from("1")), Err(Unknown::None));
    }

    #[test]
    fn three_intervals_and_three_runs_more_without_an_audit_are_overdue() {
        let mut control = Control::new(arn(), at("2026-11-21T04:00:00Z"));
        let start = at("2026-11-21T04:00:00Z");
        let overdue: Vec<bool> = (0..5)
            .map(|run| {
                control.count_run_without_audit(start.saturating_add(run * INTERVAL), INTERVAL)
            })
            .collect();
        assert_eq!(overdue, [false, false, false, true, true]);
    }
}

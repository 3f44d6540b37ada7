//! What an invocation answers: the console shows it, programs read it.

use serde::Serialize;

use crate::arn::CertificateAuthorityArn;
use crate::error::AuditError;
use crate::pending_report::PendingReport;
use crate::revocation::record::Revocation;
use crate::text::visible::visible;
use crate::timestamp::Timestamp;

/// So many revocations of one certificate authority are listed.
pub const MAX_LISTED: usize = 50;

/// Of a subject so many characters are listed: Lambda's answers end at 6 MB.
const MAX_SUBJECT_CHARS: usize = 300;

/// The answer of an invocation.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Response {
    pub status: Status,
    #[serde(skip_serializing_if = "is_false")]
    pub dry_run: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test_message: Option<TestMessage>,
    pub certificate_authorities: Vec<AuditResponse>,
}

/// How the invocation went as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// No certificate authority failed.
    Ok,
    /// Some did.
    Partial,
    /// All did.
    Failed,
}

impl Serialize for Status {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl Status {
    /// The name that the answer carries.
    pub fn name(self) -> &'static str {
        match self {
            Status::Ok => "ok",
            Status::Partial => "partial",
            Status::Failed => "failed",
        }
    }
}

/// What became of a test message.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TestMessage {
    pub certificate_authority_arn: CertificateAuthorityArn,
    pub topic_arn: String,
    /// SNS's id of the message.
    pub message_id: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// What became of one certificate authority.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditResponse {
    pub certificate_authority_arn: CertificateAuthorityArn,
    pub outcome: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report: Option<ReportSummary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_report_at: Option<Timestamp>,
    /// AWS refused a request although our own record says that the interval is over.
    #[serde(skip_serializing_if = "is_false")]
    pub refused_by_aws: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub busy_until: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<AuditError>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub read: Option<ReportContents>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_complete_audit_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// For the metrics only, as is `stats`: since when no audit is known to have been complete.
    #[serde(skip)]
    pub unaudited_since: Option<Timestamp>,
    #[serde(skip)]
    pub stats: AuditStats,
}

/// How one certificate authority's audit ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// A whole report was read, and all that is new was told.
    Audited,
    /// A report is requested but not there yet: the next run takes it up.
    Waiting,
    /// Private CA allows no new report before `nextReportAt`.
    TooSoon,
    /// Another run holds this certificate authority.
    Busy,
    /// `error` says why.
    Failed,
}

impl Serialize for Outcome {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl Outcome {
    /// The name that the answer carries.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Audited => "audited",
            Outcome::Waiting => "waiting",
            Outcome::TooSoon => "tooSoon",
            Outcome::Busy => "busy",
            Outcome::Failed => "failed",
        }
    }
}

/// The report that was requested or read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReportSummary {
    pub id: String,
    pub key: String,
    pub requested_at: Timestamp,
}

impl From<&PendingReport> for ReportSummary {
    fn from(report: &PendingReport) -> Self {
        Self {
            id: report.id.clone(),
            key: report.key.clone(),
            requested_at: report.requested_at,
        }
    }
}

/// What a report that was read holds.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReportContents {
    pub certificates: u64,
    pub revoked: u64,
    /// Revocations that nobody had been told of, those that `NOTIFY_REASONS` leaves out included.
    pub new_revocations: u64,
    /// How many were published; with `dryRun`, how many would be.
    pub published: u64,
    /// With `since`: revocations that were not told yet and are left to the next audit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending: Option<u64>,
    /// Records that are valid but odd.
    #[serde(skip_serializing_if = "is_zero")]
    pub malformed_records: u64,
    /// The worst of the new ones, at most [`MAX_LISTED`].
    pub revocations: Vec<RevocationSummary>,
}

/// One revocation, in short.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RevocationSummary {
    pub serial: String,
    pub reason: String,
    pub revoked_at: String,
    pub subject: String,
}

impl From<&Revocation> for RevocationSummary {
    fn from(revocation: &Revocation) -> Self {
        let subject = visible(revocation.subject.as_deref().unwrap_or_default());
        Self {
            serial: revocation
                .serial
                .clone()
                .unwrap_or_else(|| revocation.key.to_string()),
            reason: revocation.reason.name().to_owned(),
            revoked_at: match revocation.revoked_at.at {
                Some(at) => at.to_string(),
                None => revocation.revoked_at.text.clone(),
            },
            subject: subject.chars().take(MAX_SUBJECT_CHARS).collect(),
        }
    }
}

/// What an audit cost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AuditStats {
    pub waited_seconds: f64,
    pub scanned_seconds: f64,
    pub report_bytes: u64,
    pub new_critical: u64,
    pub new_high: u64,
    pub new_low: u64,
}

impl AuditResponse {
    /// An answer of which nothing but the outcome is known.
    pub fn new(certificate_authority_arn: CertificateAuthorityArn, outcome: Outcome) -> Self {
        Self {
            certificate_authority_arn,
            outcome,
            report: None,
            next_report_at: None,
            refused_by_aws: false,
            busy_until: None,
            error: None,
            read: None,
            last_complete_audit_at: None,
            warnings: Vec::new(),
            unaudited_since: None,
            stats: AuditStats::default(),
        }
    }

    /// The answer for a certificate authority that could not be audited.
    pub fn failed(certificate_authority_arn: CertificateAuthorityArn, error: AuditError) -> Self {
        let mut response = Self::new(certificate_authority_arn, Outcome::Failed);
        response.error = Some(error);
        response
    }
}

impl Response {
    /// The answer of a run over these certificate authorities.
    pub fn new(dry_run: bool, certificate_authorities: Vec<AuditResponse>) -> Self {
        let failed = certificate_authorities
            .iter()
            .filter(|ca| ca.outcome == Outcome::Failed)
            .count();
        let status = match failed {
            0 => Status::Ok,
            n if n == certificate_authorities.len() => Status::Failed,
            _ => Status::Partial,
        };
        Self {
            status,
            dry_run,
            test_message: None,
            certificate_authorities,
        }
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands over a reference"
)]
fn is_false(flag: &bool) -> bool {
    !*flag
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands over a reference"
)]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

//! What `{"status": true}` returns. Pure: [`status`](super::status) reads the facts.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::alert::topic::SubscriptionCount;
use crate::arn::CertificateAuthorityArn;
use crate::config::Tag;
use crate::error::AuditError;
use crate::health::overdue::counted_from;
use crate::pending_report::PendingReport;
use crate::revocation::checking::RevocationChecking;
use crate::state::control::{Control, CurrentError, SeenError};
use crate::timestamp::Timestamp;
use crate::version::{COMMIT, VERSION};

/// A fact, or why it is unknown.
pub(super) type Known<T> = Result<T, AuditError>;

/// The state of the monitoring.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StatusResponse {
    /// `ok` if nothing was found, otherwise `attention`.
    pub status: &'static str,
    /// What is wrong or unknown, and what to do; worst first.
    pub findings: Vec<String>,
    /// The age of the oldest last complete audit; none if a CA that is audited has none, or if it is
    /// unknown.
    pub oldest_audit_age_minutes: Option<u64>,
    /// The function's version.
    pub version: &'static str,
    /// The commit from which the function was built.
    pub commit: &'static str,
    #[serde(flatten)]
    pub stack: StackStatus,
    pub certificate_authorities: Vec<CaStatus>,
}

/// What concerns all CAs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StackStatus {
    pub topic: TopicStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chat_topic: Option<TopicStatus>,
    pub bucket: BucketStatus,
    /// Where the state is.
    pub state: String,
    /// The problems that people were notified about and that are not over.
    #[serde(serialize_with = "value_or_why")]
    pub announced_problems: Known<Vec<AnnouncedProblem>>,
    /// The tag of the CAs that are audited.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "displayed")]
    pub certificate_authority_tag: Option<Tag>,
    /// Whether the CAs could be listed.
    #[serde(skip)]
    pub listing: Known<()>,
    /// Whether the event covers every CA.
    #[serde(skip)]
    pub is_full: bool,
    /// The configured time between two scheduled runs.
    #[serde(skip)]
    pub audit_interval: Option<Duration>,
}

#[derive(Debug, Serialize)]
pub(super) struct TopicStatus {
    pub arn: String,
    #[serde(serialize_with = "value_or_why")]
    pub subscriptions: Known<SubscriptionCount>,
}

#[derive(Debug, Serialize)]
pub(super) struct BucketStatus {
    pub name: String,
    #[serde(serialize_with = "value_or_why")]
    pub versioning: Known<String>,
    #[serde(serialize_with = "value_or_why")]
    pub encryption: Known<String>,
}

/// A problem that was announced with `watch-failed`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AnnouncedProblem {
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    pub since: Timestamp,
    pub certificate_authority_arns: Vec<CertificateAuthorityArn>,
}

/// One CA.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CaStatus {
    pub certificate_authority_arn: CertificateAuthorityArn,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its status in Private CA, such as `ACTIVE`.
    #[serde(serialize_with = "value_or_why")]
    pub status: Known<String>,
    /// Whether runs audit it; with `*`, they skip CAs that are neither ACTIVE nor DISABLED, and those
    /// without the configured tag.
    pub audited: bool,
    /// Whether it has the configured tag; `None` without one, or if the CA is skipped anyway.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "known_or_why"
    )]
    pub has_tag: Option<Known<bool>>,
    /// `None` if its state cannot be read.
    #[serde(flatten)]
    pub audits: Option<AuditsStatus>,
    pub error: Option<ErrorStatus>,
    #[serde(serialize_with = "value_or_why")]
    pub revocation_checking: Known<CheckingStatus>,
}

/// What the state says about the audits of a CA.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AuditsStatus {
    pub last_complete_audit_at: Option<Timestamp>,
    pub audit_age_minutes: Option<u64>,
    pub certificates: Option<u64>,
    pub revoked: Option<u64>,
    pub pending_report: Option<Value>,
    /// When Private CA accepts the next request; `None` if it does now.
    pub next_report_at: Option<Timestamp>,
    pub notified_revocations: u64,
    /// Time since the last complete audit, or since the CA was first seen.
    #[serde(skip)]
    pub age: Duration,
}

/// The error of a CA's last audits, or of reading its state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct ErrorStatus {
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    pub hint: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}

/// How clients can learn of revocations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CheckingStatus {
    pub crl: bool,
    pub ocsp: bool,
    pub usage_mode: &'static str,
    pub text: &'static str,
}

impl StatusResponse {
    pub(super) fn new(
        findings: Vec<String>,
        stack: StackStatus,
        certificate_authorities: Vec<CaStatus>,
    ) -> Self {
        let audited = certificate_authorities.iter().filter(|ca| ca.audited);
        let ages: Option<Vec<u64>> = audited.map(CaStatus::audit_age_minutes).collect();
        Self {
            status: if findings.is_empty() {
                "ok"
            } else {
                "attention"
            },
            findings,
            oldest_audit_age_minutes: ages.and_then(|ages| ages.into_iter().max()),
            version: VERSION,
            commit: COMMIT,
            stack,
            certificate_authorities,
        }
    }
}

impl CaStatus {
    /// Returns the name for people: the common name, or else the ID.
    pub(super) fn name(&self) -> &str {
        let id = self.certificate_authority_arn.id();
        self.name.as_deref().unwrap_or(id)
    }

    pub(super) fn audit_age_minutes(&self) -> Option<u64> {
        self.audits.as_ref()?.audit_age_minutes
    }

    /// Whether runs read the CA's state even if it is not audited: until its pending report is read,
    /// or while its state cannot be read.
    pub(super) fn is_unfinished(&self) -> bool {
        let audits = self.audits.as_ref();
        audits.is_none_or(|audits| audits.pending_report.is_some())
    }
}

impl AuditsStatus {
    pub(super) fn new(
        control: &Control,
        now: Timestamp,
        next_report_at: Option<Timestamp>,
    ) -> Self {
        let last = control.last_complete_audit.as_ref();
        Self {
            last_complete_audit_at: last.map(|audit| audit.requested_at),
            audit_age_minutes: last.map(|audit| now.since(audit.requested_at).as_secs() / 60),
            certificates: last.map(|audit| audit.certificates),
            revoked: last.map(|audit| audit.revoked),
            pending_report: control.pending_report.as_ref().map(PendingReport::summary),
            next_report_at,
            notified_revocations: control.notified_count,
            age: now.since(counted_from(control)),
        }
    }
}

impl ErrorStatus {
    /// Returns the error that the control document records, even if the next run may find it gone.
    pub(super) fn of(control: &Control) -> Option<Self> {
        let error = control.error.clone().map(Self::from);
        error.or_else(|| control.unconfirmed_error.as_ref().map(Self::from))
    }
}

impl From<CurrentError> for ErrorStatus {
    fn from(error: CurrentError) -> Self {
        Self {
            kind: error.kind,
            resource: error.resource,
            message: Some(error.message),
            hint: error.hint,
            since: Some(error.since),
        }
    }
}

impl From<&SeenError> for ErrorStatus {
    fn from(error: &SeenError) -> Self {
        Self {
            kind: error.kind.clone(),
            resource: None,
            message: None,
            hint: "The next run tries again. If a run at least 15 minutes later sees the error, too, it is announced.".to_owned(),
            since: Some(error.since),
        }
    }
}

/// An error of reading the state.
impl From<AuditError> for ErrorStatus {
    fn from(error: AuditError) -> Self {
        Self {
            kind: error.kind.name().to_owned(),
            resource: error.resource,
            message: Some(error.message),
            hint: error.hint,
            since: None,
        }
    }
}

impl From<RevocationChecking> for CheckingStatus {
    fn from(checking: RevocationChecking) -> Self {
        Self {
            crl: checking.crl,
            ocsp: checking.ocsp,
            usage_mode: match checking.short_lived {
                true => "SHORT_LIVED_CERTIFICATE",
                false => "GENERAL_PURPOSE",
            },
            text: checking.text(),
        }
    }
}

/// One row of the table in the log; the columns have a fixed width.
impl fmt::Display for CaStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let audits = self.audits.as_ref();
        let age = match audits.map(|audits| audits.audit_age_minutes) {
            _ if matches!(self.has_tag, Some(Ok(false))) => "without tag".to_owned(),
            Some(Some(minutes)) => format!("{minutes} min ago"),
            Some(None) => "never".to_owned(),
            None => "unknown".to_owned(),
        };
        let number = |number: Option<u64>| number.map_or("-".to_owned(), |n| n.to_string());
        let checking = self.revocation_checking.as_ref();
        f.write_str(&row([
            &self.name().chars().take(32).collect::<String>(),
            self.status.as_deref().unwrap_or("unknown"),
            &age,
            &number(audits.and_then(|audits| audits.certificates)),
            &number(audits.and_then(|audits| audits.revoked)),
            self.error.as_ref().map_or("-", |error| &error.kind),
            checking.map_or("unknown", |checking| checking.text),
        ]))
    }
}

/// Returns the heading of the table.
pub(super) fn heading() -> String {
    row([
        "CA",
        "STATUS",
        "LAST AUDIT",
        "CERTIFICATES",
        "REVOKED",
        "ERROR",
        "REVOCATION CHECKING",
    ])
}

fn row([name, status, age, certificates, revoked, error, checking]: [&str; 7]) -> String {
    format!(
        "{name:<32}  {status:<19}  {age:>14}  {certificates:>12}  {revoked:>9}  {error:<28}  {checking}"
    )
}

fn displayed<T: fmt::Display, S: Serializer>(
    value: &Option<T>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(value),
        None => serializer.serialize_none(),
    }
}

fn known_or_why<T: Serialize, S: Serializer>(
    known: &Option<Known<T>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match known {
        Some(known) => value_or_why(known, serializer),
        None => serializer.serialize_none(),
    }
}

fn value_or_why<T: Serialize, S: Serializer>(
    known: &Known<T>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match known {
        Ok(value) => value.serialize(serializer),
        Err(error) => serializer.collect_str(&format_args!("unknown: {}", error.message)),
    }
}

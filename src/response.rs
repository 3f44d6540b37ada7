//! The response of an invocation, per trigger: the console shows it, programs read it.

use std::collections::BTreeSet;
use std::fmt;

use lambda_runtime::Diagnostic;
use serde::Serialize;
use serde_json::{Value, json};
use tracing::warn;

use crate::arn::CertificateAuthorityArn;
use crate::error::{AuditError, Remedy, invocation_error};
use crate::event::{MessageContent, QueuedMessage, Trigger};
use crate::revocation::record::Revocation;
use crate::text::visible::visible;
use crate::timestamp::Timestamp;

/// Maximum revocations listed per CA.
pub const MAX_LISTED: usize = 50;

/// Maximum characters listed of a subject: Lambda limits responses to 6 MB.
const MAX_SUBJECT_CHARS: usize = 300;

/// Maximum receives of a queued event whose certificate no report shows as revoked.
const MAX_UNCONFIRMED_RECEIVES: u64 = 5;

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Response {
    /// `ok` if no CA failed, `partial` if some did, `failed` if all did.
    pub status: &'static str,
    /// Whether nothing was published.
    #[serde(skip_serializing_if = "is_default")]
    pub dry_run: bool,
    pub certificate_authorities: Vec<AuditResponse>,
    /// Problems that concern no single CA and stopped nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Whether messages about the watch could not be compared, published or recorded; `None` if the
    /// run compared nothing.
    #[serde(skip)]
    pub health_errors: Option<bool>,
    /// Whether audits could not be sent to the audit queue; `None` if the run dispatched none.
    #[serde(skip)]
    pub dispatch_errors: Option<bool>,
    /// Number of audits that the run sent to the audit queue: those of a later dispatch count there.
    #[serde(skip)]
    pub sent_audits: usize,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditResponse {
    pub certificate_authority_arn: CertificateAuthorityArn,
    pub outcome: Outcome,
    /// The report that was requested or read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report: Option<Value>,
    /// When Private CA accepts the next request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_report_at: Option<Timestamp>,
    /// Whether AWS refused or throttled a request although our record says that the interval is over.
    #[serde(skip_serializing_if = "is_default")]
    pub refused_by_aws: bool,
    /// When the lease of another run ends at the latest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub busy_until: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<AuditError>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub read: Option<ReportContents>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_complete_audit_at: Option<Timestamp>,
    /// Problems that did not prevent the audit.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// For the SQS batch response: expected certificates that the report does not show as revoked.
    #[serde(skip)]
    pub unconfirmed: BTreeSet<String>,
    /// For the metrics.
    #[serde(skip)]
    pub stats: AuditStats,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// A whole report was read, and alerts were sent for all that is new.
    Audited,
    /// Its audit was sent to the audit queue.
    Queued,
    /// A report is requested but not ready; the next run reads it. In the audit queue also: Private CA
    /// refused or throttled the request, which is sent again.
    Waiting,
    /// Private CA accepts no request before `nextReportAt`.
    TooSoon,
    /// Another run audits this CA.
    Busy,
    /// The CA accepts no requests and has no pending report, or was audited since the message of the
    /// audit queue was due: not part of the response.
    #[serde(skip)]
    Skipped,
    /// `error` says why.
    Failed,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// What a report contains.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReportContents {
    pub certificates: u64,
    pub revoked: u64,
    /// Revocations seen for the first time, including those that `NOTIFY_REASONS` filters.
    pub new_revocations: u64,
    /// Revocations published; with `dryRun`, those that would be.
    pub published: u64,
    /// With `since`: revocations that are left to the next audit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending: Option<u64>,
    /// Malformed but readable records.
    #[serde(skip_serializing_if = "is_default")]
    pub malformed_records: u64,
    /// Records with neither `serial` nor `certificateArn`.
    #[serde(skip_serializing_if = "is_default")]
    pub unidentified_records: u64,
    /// The worst of the new revocations, at most [`MAX_LISTED`].
    pub revocations: Vec<Value>,
}

impl ReportContents {
    /// Adds the new revocations of an earlier report.
    fn add(&mut self, earlier: Self) {
        self.new_revocations += earlier.new_revocations;
        self.published += earlier.published;
        self.revocations.extend(earlier.revocations);
        self.revocations.truncate(MAX_LISTED);
    }

    /// Lists a revocation in short: its key if it has no serial, the report's text if its time is
    /// unreadable.
    pub fn list(&mut self, revocation: &Revocation) {
        let (serial, revoked_at) = (&revocation.serial, &revocation.revoked_at);
        let subject = visible(revocation.subject.as_deref().unwrap_or_default());
        self.revocations.push(json!({
            "serial": serial.clone().unwrap_or_else(|| revocation.key.to_string()),
            "reason": revocation.reason.name(),
            "revokedAt": revoked_at.at.map_or_else(|| revoked_at.text.clone(), |at| at.to_string()),
            "subject": subject.chars().take(MAX_SUBJECT_CHARS).collect::<String>(),
        }));
    }
}

/// What an audit took and found, for the metrics.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AuditStats {
    /// Since when there has been no complete audit.
    pub unaudited_since: Option<Timestamp>,
    pub waited_seconds: f64,
    pub scanned_seconds: f64,
    pub report_bytes: u64,
    /// New revocations to publish, by [`Severity`](crate::revocation::reason::Severity).
    pub new: [u64; 3],
    /// Whether a complete audit's report lists less than that of the one before.
    pub has_shrunk: bool,
}

impl AuditStats {
    fn add(&mut self, earlier: &Self) {
        self.waited_seconds += earlier.waited_seconds;
        self.scanned_seconds += earlier.scanned_seconds;
        self.report_bytes += earlier.report_bytes;
        self.has_shrunk |= earlier.has_shrunk;
        for (new, earlier) in self.new.iter_mut().zip(earlier.new) {
            *new += earlier;
        }
    }
}

impl AuditResponse {
    /// Creates a response with nothing but an outcome.
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
            unconfirmed: BTreeSet::new(),
            stats: AuditStats::default(),
        }
    }

    pub fn failed(certificate_authority_arn: CertificateAuthorityArn, error: AuditError) -> Self {
        let mut response = Self::new(certificate_authority_arn, Outcome::Failed);
        response.error = Some(error);
        response
    }

    /// Returns the response for two reports read by the same run. It shows the later report, or the
    /// earlier one if the later could not be read, and the new revocations of both.
    #[must_use]
    pub fn followed_by(self, later: Self) -> Self {
        let mut both = later;
        match (&mut both.read, self.read) {
            (Some(contents), Some(earlier)) => contents.add(earlier),
            (contents @ None, earlier) => {
                *contents = earlier;
                both.report = self.report;
            }
            _ => {}
        }
        both.warnings.splice(0..0, self.warnings);
        both.stats.add(&self.stats);
        both
    }

    /// Returns how the error of a failed audit is resolved.
    pub fn remedy(&self) -> Option<Remedy> {
        Some(self.error.as_ref()?.remedy())
    }
}

impl Response {
    pub fn new(dry_run: bool, certificate_authorities: Vec<AuditResponse>) -> Self {
        let is_failed = |ca: &&AuditResponse| ca.outcome == Outcome::Failed;
        let status = match certificate_authorities.iter().filter(is_failed).count() {
            0 => "ok",
            n if n == certificate_authorities.len() => "failed",
            _ => "partial",
        };
        Self {
            status,
            dry_run,
            certificate_authorities,
            warnings: Vec::new(),
            health_errors: None,
            dispatch_errors: None,
            sent_audits: 0,
        }
    }

    /// Adds what could not be found out about the CAs: if the run compared the watch, not of all.
    pub fn add_warnings(&mut self, warnings: &[String]) {
        self.warnings.extend_from_slice(warnings);
        if let Some(health_errors) = &mut self.health_errors {
            *health_errors |= !warnings.is_empty();
        }
    }

    /// Returns what Lambda gets: the whole response for a manual invocation, the failed messages of
    /// a batch for a queue.
    ///
    /// # Errors
    /// For an asynchronous invocation, which Lambda retries: errors that a retry may fix.
    pub fn for_trigger(&self, trigger: &Trigger) -> Result<Value, Diagnostic> {
        match trigger {
            Trigger::Manual => Ok(json!(self)),
            Trigger::Queue(_) => Ok(batch_response(&self.undone_events(trigger))),
            Trigger::Schedule(_) | Trigger::Revocation(_) => self.fail_if_retryable(),
        }
    }

    fn fail_if_retryable(&self) -> Result<Value, Diagnostic> {
        let all = &self.certificate_authorities;
        let errors = all.iter().filter_map(|ca| Some((ca, ca.error.as_ref()?)));
        let retryable: Vec<String> = errors
            .filter(|(_, error)| error.is_retryable)
            .map(|(ca, error)| format!("{}: {error}", ca.certificate_authority_arn.id()))
            .collect();
        if retryable.is_empty() {
            return Ok(json!(self));
        }
        let message = format!(
            "{} of {} CAs failed with an error that a retry may fix. {}",
            retryable.len(),
            all.len(),
            retryable.join("; ")
        );
        Err(invocation_error("AuditsFailed", message))
    }

    /// Returns the IDs of those messages about revocations that the queue must deliver again.
    pub fn undone_events(&self, trigger: &Trigger) -> Vec<String> {
        let redelivered = trigger
            .queued()
            .iter()
            .filter(|queued| self.is_redelivered(queued));
        redelivered
            .map(|queued| queued.message_id.clone())
            .collect()
    }

    fn is_redelivered(&self, queued: &QueuedMessage) -> bool {
        let event = match &queued.content {
            MessageContent::Revocation(event) => event,
            // The function sends them again itself.
            MessageContent::Audit(_) => return false,
            MessageContent::Unknown => {
                warn!(
                    sqs_message_id = queued.message_id,
                    "message deleted from the queue: neither an event of a successful revocation nor a message of this program"
                );
                return false;
            }
        };
        let is_of_event =
            |ca: &&AuditResponse| ca.certificate_authority_arn == event.certificate_authority_arn;
        let Some(ca) = self.certificate_authorities.iter().find(is_of_event) else {
            return false;
        };
        match (ca.outcome, &event.certificate_arn) {
            (Outcome::Waiting | Outcome::TooSoon | Outcome::Busy, _) => true,
            // Errors that need operator action were announced; the schedule keeps trying.
            (Outcome::Failed, _) => ca.error.as_ref().is_some_and(|error| error.is_retryable),
            (Outcome::Audited, Some(arn)) if ca.unconfirmed.contains(arn) => {
                let is_last = queued.receive_count >= MAX_UNCONFIRMED_RECEIVES;
                if is_last {
                    warn!(
                        certificate_arn = arn,
                        receives = queued.receive_count,
                        "message deleted from the queue: no report shows its certificate as revoked"
                    );
                }
                !is_last
            }
            (Outcome::Audited | Outcome::Queued | Outcome::Skipped, _) => false,
        }
    }
}

/// Lists the messages that the queue delivers again (AWS Lambda Developer Guide, "Handling errors for
/// an SQS event source in Lambda").
pub fn batch_response(message_ids: &[String]) -> Value {
    let items = message_ids.iter();
    let items = items.map(|id| json!({ "itemIdentifier": id }));
    json!({ "batchItemFailures": items.collect::<Vec<_>>() })
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shrunken_report_shows_even_if_another_one_follows() {
        let arn = CertificateAuthorityArn::parse("arn:aws:acm-pca:us-east-1:123456789012:certificate-authority/11223344-1234-1122-2233-112233445566").unwrap();
        let mut shrunken = AuditResponse::new(arn.clone(), Outcome::Audited);
        shrunken.stats.has_shrunk = true;

        let both = shrunken.followed_by(AuditResponse::new(arn, Outcome::Audited));

        assert!(both.stats.has_shrunk);
    }
}

//! The machine document: what SQS, Lambda, HTTP, HTTPS, Firehose and e-mail-JSON subscribers get.
//!
//! Its schema is published as `docs/message.schema.json`. Everything that a filter policy of scope
//! `MessageBody` needs stands at the top level. A field that is not known is left out.

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::alert::batch::RevocationBatch;
use crate::alert::size::to_json;
use crate::alert::{Alert, AlertKind, ObjectLocation, RevocationAlert, Totals, wording};
use crate::revocation::distinguished_name;
use crate::revocation::id::RevocationId;
use crate::revocation::key::RevocationKey;
use crate::revocation::reason::{RevocationReason, Severity};
use crate::revocation::reason_counts::{NOT_STATED, ReasonCounts, label};
use crate::revocation::record::{ReportTime, Revocation};
use crate::timestamp::Timestamp;

/// The version of the machine document; a change that a reader of this one would misread gets a
/// new one.
pub const SCHEMA: &str = "pca-revocation-watch/1";

/// The machine document of a notice, as JSON text.
pub(in crate::alert) fn render(alert: &Alert, reduced: bool) -> String {
    let mut document = Document {
        schema: SCHEMA,
        kind: alert.kind(),
        id: alert.id(),
        severity: alert.severity(),
        certificate_authority_arn: &alert.certificate_authority.arn,
        reasons: alert.reasons(),
        detected_at: alert.detected_at,
        ..Document::default()
    };
    match &alert.kind {
        AlertKind::Revocations(told) => document.tell(told, reduced),
        AlertKind::Replay {
            revocations: told,
            since,
            request_id,
        } => {
            document.since = Some(*since);
            document.request_id = Some(request_id);
            document.tell(told, reduced);
        }
        AlertKind::Test { request_id } => {
            let sample_batch = alert.sample_batch();
            document.request_id = Some(request_id);
            document.counts = Some(Counts {
                new: sample_batch.len(),
                by_reason: ByReason(sample_batch.counts().clone()),
                totals: None,
            });
            document.list(&sample_batch, None, reduced);
        }
        AlertKind::WatchStarted {
            report,
            totals,
            revoked,
            notify_from,
            to_notify,
        } => {
            document.report = Some(ReportPart::of(report));
            document.counts = Some(Counts {
                new: *to_notify,
                by_reason: ByReason(revoked.clone()),
                totals: Some(*totals),
            });
            document.notify_from = Some(*notify_from);
        }
        AlertKind::WatchFailed {
            error,
            since,
            last_complete_audit_at,
        } => {
            document.since = Some(*since);
            document.last_complete_audit_at = *last_complete_audit_at;
            document.error = Some(ErrorPart {
                kind: &error.kind,
                message: Some(wording::bounded(&error.message, reduced)),
                hint: Some(wording::bounded(&error.hint, reduced)),
            });
        }
        AlertKind::WatchRecovered {
            error_type,
            since,
            report,
        } => {
            document.since = Some(*since);
            document.report = Some(ReportPart::of(report));
            document.error = Some(ErrorPart {
                kind: error_type,
                message: None,
                hint: None,
            });
        }
    }
    document.reduced = reduced;
    to_json(&document)
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    schema: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    id: String,
    severity: Severity,
    certificate_authority_arn: &'a str,
    reasons: Vec<String>,
    detected_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorPart<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_complete_audit_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    report: Option<ReportPart<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    notify_from: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    counts: Option<Counts>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    reduced: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    complete: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    full_list: Option<&'a ObjectLocation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revocations: Option<Vec<Entry>>,
}

impl<'a> Document<'a> {
    fn tell(&mut self, told: &'a RevocationAlert, reduced: bool) {
        self.report = Some(ReportPart::of(&told.report));
        self.counts = Some(Counts {
            new: told.batch.len(),
            by_reason: ByReason(told.batch.counts().clone()),
            totals: Some(told.totals),
        });
        self.list(&told.batch, told.full_list.as_ref(), reduced);
    }

    fn list(
        &mut self,
        batch: &RevocationBatch,
        full_list: Option<&'a ObjectLocation>,
        reduced: bool,
    ) {
        let complete = !batch.needs_full_list() && !reduced;
        self.complete = Some(complete);
        self.full_list = full_list;
        let entries = batch.held().map(|cut| {
            if reduced {
                Entry::reduced(cut)
            } else {
                Entry::of(cut, batch.detected_at())
            }
        });
        self.revocations = Some(entries.collect());
    }
}

impl Default for Document<'_> {
    fn default() -> Self {
        Self {
            schema: SCHEMA,
            kind: "",
            id: String::new(),
            severity: Severity::High,
            certificate_authority_arn: "",
            reasons: Vec::new(),
            detected_at: Timestamp::MIN,
            since: None,
            request_id: None,
            error: None,
            last_complete_audit_at: None,
            report: None,
            notify_from: None,
            counts: None,
            reduced: false,
            complete: None,
            full_list: None,
            revocations: None,
        }
    }
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct ReportPart<'a> {
    #[serde(flatten)]
    location: &'a ObjectLocation,
    requested_at: Timestamp,
}

impl<'a> ReportPart<'a> {
    fn of(report: &'a crate::alert::ReportSource) -> Self {
        Self {
            location: &report.location,
            requested_at: report.requested_at,
        }
    }
}

#[derive(serde::Serialize)]
struct ErrorPart<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Counts {
    new: u64,
    by_reason: ByReason,
    #[serde(flatten)]
    totals: Option<Totals>,
}

struct ByReason(ReasonCounts);

impl Serialize for ByReason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (reason, count) in self.0.iter() {
            map.serialize_entry(reason, &count)?;
        }
        map.end()
    }
}

/// One revocation as the machine document and the full list hold it.
#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::alert) struct Entry {
    revocation_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    serial: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject_text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    common_name: Option<String>,
    reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason_code: Option<u8>,
    severity: Severity,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_before: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_after: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issued_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expired: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aws_account_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    template_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    requested_by_service_principal: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    malformed: bool,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    truncated: Vec<&'static str>,
}

impl Entry {
    /// The entry of a message.
    pub(in crate::alert) fn of(cut: &TruncatedRevocation, detected_at: Timestamp) -> Self {
        Self {
            truncated: cut.truncated.clone(),
            ..Self::whole(cut.id, &cut.revocation, detected_at)
        }
    }

    /// The line of a full list.
    pub(in crate::alert) fn whole(
        id: RevocationId,
        revocation: &Revocation,
        detected_at: Timestamp,
    ) -> Self {
        let decoded = revocation
            .subject
            .as_deref()
            .map(distinguished_name::decode);
        let (subject_text, common_name) = match decoded {
            Some(decoded) => (Some(decoded.text), decoded.common_name),
            None => (None, None),
        };
        let not_after = revocation.not_after.as_ref();
        Self {
            revocation_id: id.to_string(),
            certificate_arn: revocation.certificate_arn.clone(),
            serial: revocation.serial.clone(),
            subject: revocation.subject.clone(),
            subject_text,
            common_name,
            reason: match revocation.reason.name() {
                "" => NOT_STATED.to_owned(),
                name => name.to_owned(),
            },
            reason_code: revocation.reason.code(),
            severity: revocation.reason.severity(),
            revoked_at: Some(written(&revocation.revoked_at)),
            not_before: revocation.not_before.as_ref().map(written),
            not_after: not_after.map(written),
            issued_at: revocation.issued_at.as_ref().map(written),
            expired: not_after.and_then(|end| Some(end.at? < detected_at)),
            aws_account_id: revocation.aws_account_id.clone(),
            template_arn: revocation.template_arn.clone(),
            requested_by_service_principal: revocation.requested_by_service_principal.clone(),
            malformed: revocation.malformed,
            truncated: Vec::new(),
        }
    }

    /// An entry of nothing but serial, reason, times and ARN, in ASCII.
    fn reduced(cut: &TruncatedRevocation) -> Self {
        let Revocation {
            serial,
            certificate_arn,
            reason,
            revoked_at,
            not_before,
            not_after,
            issued_at,
            ..
        } = &cut.revocation;
        let readable = |time: &Option<ReportTime>| time.as_ref()?.at.map(|at| at.to_string());
        Self {
            revocation_id: cut.id.to_string(),
            certificate_arn: certificate_arn.clone().filter(|arn| is_plain_arn(arn)),
            serial: serial.clone().filter(|serial| is_serial(serial)),
            subject: None,
            subject_text: None,
            common_name: None,
            reason: label(reason).to_owned(),
            reason_code: reason.code(),
            severity: reason.severity(),
            revoked_at: revoked_at.at.map(|at| at.to_string()),
            not_before: readable(not_before),
            not_after: readable(not_after),
            issued_at: readable(issued_at),
            expired: None,
            aws_account_id: None,
            template_arn: None,
            requested_by_service_principal: None,
            malformed: cut.revocation.malformed,
            truncated: Vec::new(),
        }
    }
}

/// RFC 3339 where the time can be read, else as it stands in the report.
fn written(time: &ReportTime) -> String {
    match time.at {
        Some(at) => at.to_string(),
        None => time.text.clone(),
    }
}

/// Whether a text is an ARN of the characters that AWS Private CA's API accepts in one, and of no
/// others (`CertificateAuthorityArn`, AWS Private CA API Reference). None of these means anything
/// to a shell or a mail reader.
pub(in crate::alert) fn is_plain_arn(text: &str) -> bool {
    text.starts_with("arn:")
        && text.len() <= 256
        && text.bytes().all(|byte| {
            byte.is_ascii_alphanumeric()
                || matches!(
                    byte,
                    b'_' | b'+' | b'=' | b'/' | b',' | b'.' | b'@' | b'-' | b':'
                )
        })
}

/// Whether a text is a serial as audit reports write them, of at most 20 octets.
pub(in crate::alert) fn is_serial(text: &str) -> bool {
    text.len() <= 64 && crate::revocation::key::serial_octets(text).is_some()
}

/// A revocation with fields of bounded length: what a message holds.
///
/// No field of a real report comes near the bounds. They keep one record, of which a megabyte may
/// be a subject, from taking the place of all others.
#[derive(Clone, Debug)]
pub(in crate::alert) struct TruncatedRevocation {
    pub(in crate::alert) id: RevocationId,
    pub(in crate::alert) revocation: Revocation,
    /// The names of the fields that were cut.
    pub(in crate::alert) truncated: Vec<&'static str>,
}

/// Bytes of a subject in a message.
const MAX_SUBJECT_LEN: usize = 4096;

/// Bytes of any other field in a message.
const MAX_FIELD_LEN: usize = 512;

impl TruncatedRevocation {
    pub(in crate::alert) fn of(id: RevocationId, whole: &Revocation) -> Self {
        let mut truncated = Vec::new();
        let mut bounded = |name: &'static str, text: &str, len: usize| {
            let end = text.floor_char_boundary(len);
            if end < text.len() {
                truncated.push(name);
            }
            text[..end].to_owned()
        };
        let mut field =
            |name, text: &Option<String>, len| text.as_deref().map(|text| bounded(name, text, len));
        let certificate_arn = field("certificateArn", &whole.certificate_arn, MAX_FIELD_LEN);
        let serial = field("serial", &whole.serial, MAX_FIELD_LEN);
        let subject = field("subject", &whole.subject, MAX_SUBJECT_LEN);
        let aws_account_id = field("awsAccountId", &whole.aws_account_id, MAX_FIELD_LEN);
        let template_arn = field("templateArn", &whole.template_arn, MAX_FIELD_LEN);
        let requested_by_service_principal = field(
            "requestedByServicePrincipal",
            &whole.requested_by_service_principal,
            MAX_FIELD_LEN,
        );
        let reason = match &whole.reason {
            RevocationReason::Other(name) => {
                RevocationReason::Other(bounded("reason", name, MAX_FIELD_LEN))
            }
            known => known.clone(),
        };
        let mut time = |name, time: &ReportTime| ReportTime {
            text: bounded(name, &time.text, MAX_FIELD_LEN),
            at: time.at,
        };
        let revoked_at = time("revokedAt", &whole.revoked_at);
        let mut optional = |name, text: &Option<ReportTime>| text.as_ref().map(|at| time(name, at));
        let not_before = optional("notBefore", &whole.not_before);
        let not_after = optional("notAfter", &whole.not_after);
        let issued_at = optional("issuedAt", &whole.issued_at);
        let key = match &whole.key {
            RevocationKey::Text(text) => {
                RevocationKey::Text(text[..text.floor_char_boundary(MAX_FIELD_LEN)].into())
            }
            serial => serial.clone(),
        };
        Self {
            id,
            revocation: Revocation {
                key,
                serial,
                subject,
                certificate_arn,
                reason,
                revoked_at,
                not_before,
                not_after,
                issued_at,
                aws_account_id,
                template_arn,
                requested_by_service_principal,
                malformed: whole.malformed,
            },
            truncated,
        }
    }

    /// Whether nothing was cut.
    pub(in crate::alert) fn is_whole(&self) -> bool {
        self.truncated.is_empty()
    }
}

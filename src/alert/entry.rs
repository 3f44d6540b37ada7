//! One revocation as the JSON message and the full list contain it.

use crate::revocation::distinguished_name;
use crate::revocation::id::RevocationId;
use crate::revocation::key::{RevocationKey, serial_octets};
use crate::revocation::reason::{RevocationReason, Severity};
use crate::revocation::reason_counts::NOT_STATED;
use crate::revocation::record::{ReportTime, Revocation};
use crate::timestamp::Timestamp;

/// An entry of `revocations` or a line of the full list.
#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry {
    pub revocation_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject_text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub common_name: Option<String>,
    pub reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason_code: Option<u8>,
    pub severity: Severity,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_after: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issued_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expired: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aws_account_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requested_by_service_principal: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub malformed: bool,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub truncated: Vec<&'static str>,
}

impl Entry {
    /// Returns the entry of a message.
    pub fn of(truncated: &TruncatedRevocation, detected_at: Timestamp) -> Self {
        Self {
            truncated: truncated.fields.clone(),
            ..Self::whole(truncated.id, &truncated.revocation, detected_at)
        }
    }

    /// Returns the line of a full list.
    pub fn whole(id: RevocationId, revocation: &Revocation, detected_at: Timestamp) -> Self {
        let subject = revocation.subject.clone();
        let decoded = subject.as_deref().map(distinguished_name::decode);
        let not_after = revocation.not_after.as_ref();
        Self {
            revocation_id: id.to_string(),
            certificate_arn: revocation.certificate_arn.clone(),
            serial: revocation.serial.clone(),
            common_name: decoded
                .as_ref()
                .and_then(|decoded| decoded.common_name.clone()),
            subject_text: decoded.map(|decoded| decoded.text),
            subject,
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
}

/// RFC 3339 if the time is readable, else the report's text.
fn written(time: &ReportTime) -> String {
    match time.at {
        Some(at) => at.to_string(),
        None => time.text.clone(),
    }
}

/// Returns whether a text is an ARN of the characters that AWS Private CA's API accepts in one
/// (`CertificateAuthorityArn`, AWS Private CA API Reference). None of them has a meaning to a shell
/// or a mail reader.
pub(super) fn is_plain_arn(text: &str) -> bool {
    text.starts_with("arn:") && text.len() <= 256 && text.bytes().all(is_plain)
}

/// Returns whether a byte has no meaning to a shell or a mail reader.
pub(super) fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_+=/,.@-:".contains(&byte)
}

/// Returns whether a text is a serial as audit reports write them, of at most 20 octets.
pub(super) fn is_serial(text: &str) -> bool {
    text.len() <= 64 && serial_octets(text).is_some()
}

/// Maximum bytes of a subject in a message.
const MAX_SUBJECT_LEN: usize = 4096;

/// Maximum bytes of any other field in a message.
const MAX_FIELD_LEN: usize = 512;

/// A revocation with fields of limited length, as a message contains it.
///
/// No field of a real report comes near the limits. They keep one record, whose subject may have a
/// megabyte, from displacing all others.
#[derive(Clone, Debug)]
pub(super) struct TruncatedRevocation {
    pub id: RevocationId,
    pub revocation: Revocation,
    /// The names of the truncated fields.
    pub fields: Vec<&'static str>,
}

impl TruncatedRevocation {
    pub fn of(id: RevocationId, whole: &Revocation) -> Self {
        let mut revocation = whole.clone();
        let mut fields = Vec::new();
        let mut truncate = |name: &'static str, text: &mut String, len: usize| {
            let end = text.floor_char_boundary(len);
            if end < text.len() {
                fields.push(name);
                text.truncate(end);
                text.shrink_to_fit();
            }
        };
        for (name, text) in [
            ("certificateArn", &mut revocation.certificate_arn),
            ("serial", &mut revocation.serial),
            ("awsAccountId", &mut revocation.aws_account_id),
            ("templateArn", &mut revocation.template_arn),
            (
                "requestedByServicePrincipal",
                &mut revocation.requested_by_service_principal,
            ),
        ] {
            if let Some(text) = text {
                truncate(name, text, MAX_FIELD_LEN);
            }
        }
        if let Some(subject) = &mut revocation.subject {
            truncate("subject", subject, MAX_SUBJECT_LEN);
        }
        if let RevocationReason::Other(reason) = &mut revocation.reason {
            truncate("reason", reason, MAX_FIELD_LEN);
        }
        for (name, time) in [
            ("revokedAt", Some(&mut revocation.revoked_at)),
            ("notBefore", revocation.not_before.as_mut()),
            ("notAfter", revocation.not_after.as_mut()),
            ("issuedAt", revocation.issued_at.as_mut()),
        ] {
            if let Some(time) = time {
                truncate(name, &mut time.text, MAX_FIELD_LEN);
            }
        }
        if let RevocationKey::Text(text) = &mut revocation.key {
            *text = text[..text.floor_char_boundary(MAX_FIELD_LEN)].into();
        }
        Self {
            id,
            revocation,
            fields,
        }
    }
}

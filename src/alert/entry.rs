//! One revocation as the JSON message and the full list contain it.

use serde_json::{Map, Value, json};

use crate::alert::investigation::{self, NOT_INVESTIGATED};
use crate::alert::size::with_values;
use crate::revocation::distinguished_name::decode;
use crate::revocation::investigation::Investigation;
use crate::revocation::key::{RevocationId, RevocationKey, serial_octets};
use crate::revocation::reason::{NOT_STATED, RevocationReason, is_word, label};
use crate::revocation::record::{MAX_SUBJECT_LEN, ReportTime, Revocation};
use crate::timestamp::Timestamp;

/// The field of an entry of `revocations` that a line of the full list does not have.
pub(super) const INVESTIGATION: &str = "investigation";

/// Returns what the report says about a revocation: with nothing `truncated`, a line of the full list.
/// Fields without a value are left out.
pub(super) fn entry(
    id: RevocationId,
    revocation: &Revocation,
    truncated: &[&str],
    detected_at: Timestamp,
) -> Map<String, Value> {
    let subject = revocation.subject.as_deref().map(decode);
    let not_after = revocation.not_after.as_ref();
    with_values(&json!({
        "revocationId": id.to_string(),
        "certificateArn": revocation.certificate_arn,
        "serial": revocation.serial,
        "subject": revocation.subject,
        "subjectText": subject.as_ref().map(|subject| &subject.text),
        "commonName": subject.as_ref().and_then(|subject| subject.common_name.as_ref()),
        "reason": Some(revocation.reason.name()).filter(|name| !name.is_empty()).unwrap_or(NOT_STATED),
        "reasonCode": revocation.reason.code(),
        "severity": revocation.severity(),
        "revokedAt": written(&revocation.revoked_at),
        "notBefore": revocation.not_before.as_ref().map(written),
        "notAfter": not_after.map(written),
        "issuedAt": revocation.issued_at.as_ref().map(written),
        "expired": not_after.and_then(|end| Some(end.at? < detected_at)),
        "awsAccountId": revocation.aws_account_id,
        "templateArn": revocation.template_arn,
        "requestedByServicePrincipal": revocation.requested_by_service_principal,
        "malformed": revocation.malformed.then_some(true),
        "truncated": (!truncated.is_empty()).then_some(truncated),
    }))
}

/// Returns an entry of `revocations`, with what was found out.
pub(super) fn message_entry(
    id: RevocationId,
    revocation: &Revocation,
    truncated: &[&str],
    investigation: Option<&Investigation>,
    detected_at: Timestamp,
) -> Map<String, Value> {
    let mut entry = entry(id, revocation, truncated, detected_at);
    let found = investigation.map_or_else(|| NOT_INVESTIGATED.into(), investigation::json);
    entry.insert(INVESTIGATION.to_owned(), found);
    entry
}

/// RFC 3339 if the time is readable, else the report's text.
fn written(time: &ReportTime) -> String {
    time.at
        .map_or_else(|| time.text.clone(), |at| at.to_string())
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

/// Maximum bytes of any other field in a message.
const MAX_FIELD_LEN: usize = 512;

/// What stands for a text that must not be shown.
pub(super) const HIDDEN: &str = "not shown";

/// Limits the length of every field as a message contains it; returns the names of the truncated
/// fields.
///
/// No field of a real report comes near the limits. They keep one record, whose subject may have a
/// megabyte, from displacing all others.
pub(super) fn truncate(revocation: &mut Revocation) -> Vec<&'static str> {
    let mut truncated = Vec::new();
    for (name, text) in texts(revocation) {
        let max_len = match name {
            "subject" => MAX_SUBJECT_LEN,
            _ => MAX_FIELD_LEN,
        };
        if text.len() > max_len {
            text.truncate(text.floor_char_boundary(max_len));
            text.shrink_to_fit();
            truncated.push(name);
        }
    }
    if let RevocationKey::Text(text) = &mut revocation.key {
        *text = text[..text.floor_char_boundary(MAX_FIELD_LEN)].into();
    }
    truncated
}

/// Hides every text that others chose, except ARNs, serials, times and single words.
pub(super) fn hide_free_text(revocation: &mut Revocation) {
    revocation.subject = None;
    revocation.reason = RevocationReason::from_report(label(&revocation.reason));
    for (name, text) in texts(revocation) {
        let is_harmless = match name {
            "certificateArn" | "templateArn" => is_plain_arn(text),
            "serial" => is_serial(text),
            "awsAccountId" | "requestedByServicePrincipal" | "reason" => is_word(text),
            _ => Timestamp::parse(text).is_some(),
        };
        if !is_harmless {
            HIDDEN.clone_into(text);
        }
    }
}

/// Iterates over the fields and their names in the JSON message.
fn texts(revocation: &mut Revocation) -> impl Iterator<Item = (&'static str, &mut String)> {
    fn time(time: &mut Option<ReportTime>) -> Option<&mut String> {
        time.as_mut().map(|time| &mut time.text)
    }
    let reason = match &mut revocation.reason {
        RevocationReason::Other(reason) => Some(reason),
        _ => None,
    };
    let texts = [
        ("certificateArn", revocation.certificate_arn.as_mut()),
        ("serial", revocation.serial.as_mut()),
        ("awsAccountId", revocation.aws_account_id.as_mut()),
        ("templateArn", revocation.template_arn.as_mut()),
        (
            "requestedByServicePrincipal",
            revocation.requested_by_service_principal.as_mut(),
        ),
        ("subject", revocation.subject.as_mut()),
        ("reason", reason),
        ("revokedAt", Some(&mut revocation.revoked_at.text)),
        ("notBefore", time(&mut revocation.not_before)),
        ("notAfter", time(&mut revocation.not_after)),
        ("issuedAt", time(&mut revocation.issued_at)),
    ];
    texts
        .into_iter()
        .filter_map(|(name, text)| Some((name, text?)))
}

//! One revoked certificate, for people.

use crate::alert::entry::{is_plain_arn, is_serial};
use crate::alert::fact::Fact;
use crate::alert::findings::Findings;
use crate::alert::reasons;
use crate::revocation::distinguished_name::decode;
use crate::revocation::investigation::Investigation;
use crate::revocation::reason::{Severity, is_word, label};
use crate::revocation::record::{ReportTime, Revocation};
use crate::text::numbers::{duration, instant};
use crate::timestamp::Timestamp;

/// The service principal of AWS Certificate Manager.
const ACM: &str = "acm.amazonaws.com";

/// A revoked certificate.
pub(super) struct Certificate {
    /// The common name, else the subject, else the serial.
    pub name: String,
    /// Whether it is the certificate of a CA.
    pub is_ca: bool,
    /// The reason in words.
    pub reason: String,
    /// When it was revoked, when it expires, and its serial.
    pub facts: [Fact; 3],
    /// What else the report states.
    pub details: Vec<Fact>,
    /// The certificate's ARN, if it consists of harmless characters.
    pub arn: Option<String>,
    /// Its serial, if it is well-formed.
    pub serial: Option<String>,
    /// When it was revoked, if that is readable.
    pub revoked_at: Option<Timestamp>,
    /// The account whose AWS Certificate Manager it was issued through, if any.
    pub acm_account: Option<String>,
    /// How bad its revocation is.
    pub severity: Severity,
    /// Whether its validity surely ended before the revocation was detected.
    pub is_expired: bool,
    /// What was found out beyond the report.
    pub findings: Findings,
}

impl Certificate {
    /// `account` is that of the certificate authority.
    pub fn of(
        revocation: &Revocation,
        investigation: Option<&Investigation>,
        detected_at: Timestamp,
        account: &str,
    ) -> Self {
        let revoked = match revocation.revoked_at.at {
            Some(at) => {
                let (at, delay) = (instant(at), duration(detected_at.since(at)));
                Fact::text("Revoked", format!("{at} (detected {delay} later)"))
            }
            None => Fact::quoted("Revoked (unreadable time)", &revocation.revoked_at.text),
        };
        let serial = match revocation.serial.as_deref() {
            Some(serial) if is_serial(serial) => Fact::code("Serial", serial),
            Some(serial) => Fact::quoted("Serial (malformed)", serial),
            None => Fact::text("Serial", "not stated"),
        };
        let expires = expires(revocation.not_after.as_ref(), detected_at);
        let arn = revocation.certificate_arn.clone();
        let is_through_acm = revocation.requested_by_service_principal.as_deref() == Some(ACM);
        let acm_account = revocation.aws_account_id.clone();
        let acm_account = acm_account.filter(|account| is_word(account));
        let is_ca = revocation.is_ca_certificate();
        let findings = investigation.map(|found| Findings::of(found, account, is_ca));
        let mut findings = findings.unwrap_or_default();
        // Without a subject, no command can search for it.
        let subject = revocation.subject.as_deref().unwrap_or_default();
        findings.open.affected &= !subject.trim().is_empty();
        let end = revocation.not_after.as_ref().and_then(|time| time.at);
        Self {
            name: name(revocation),
            is_ca,
            reason: reasons::words(label(&revocation.reason)),
            facts: [revoked, expires, serial],
            details: details(revocation, detected_at, account),
            arn: arn.filter(|arn| is_plain_arn(arn)),
            serial: revocation.serial.clone().filter(|text| is_serial(text)),
            revoked_at: revocation.revoked_at.at,
            acm_account: is_through_acm.then(|| acm_account.unwrap_or_else(|| account.to_owned())),
            severity: revocation.severity(),
            is_expired: end.is_some_and(|end| end < detected_at),
            findings,
        }
    }
}

fn name(revocation: &Revocation) -> String {
    let subject = revocation.subject.as_deref().map(decode);
    let name = subject.map(|subject| subject.common_name.unwrap_or(subject.text));
    match (name, &revocation.serial, &revocation.certificate_arn) {
        (Some(name), _, _) if !name.trim().is_empty() => name,
        (_, Some(serial), _) if is_serial(serial) => format!("serial {serial}"),
        (_, _, Some(arn)) if is_plain_arn(arn) => arn.clone(),
        _ => "a certificate without a name".to_owned(),
    }
}

/// When the certificate expires: until then, clients that do not check for revocations accept it.
fn expires(not_after: Option<&ReportTime>, detected_at: Timestamp) -> Fact {
    match not_after.map(|time| time.at.ok_or(&time.text)) {
        None => Fact::text("Expires", "not stated; treat it as not expired"),
        Some(Err(text)) => Fact::quoted("Expires (unreadable time)", text),
        Some(Ok(end)) if end < detected_at => Fact::text("Expired", instant(end)),
        Some(Ok(end)) if end == Timestamp::MAX => Fact::text("Expires", "never"),
        Some(Ok(end)) => Fact::text("Expires", instant(end)),
    }
}

/// Maximum bytes of a name that every format shows in full.
const MAX_SHOWN_NAME_LEN: usize = 32;

fn details(revocation: &Revocation, detected_at: Timestamp, account: &str) -> Vec<Fact> {
    let mut facts = Vec::new();
    if let Some(start) = revocation.not_before.as_ref().and_then(|time| time.at)
        && start > detected_at
    {
        facts.push(Fact::text("Valid from", instant(start)));
    }
    facts.extend(issued(revocation, account));
    if let Some(arn) = revocation.template_arn.as_deref()
        && revocation.is_ca_certificate()
    {
        facts.push(Fact::quoted("Template", arn));
    }
    if let Some(subject) = revocation.subject.as_deref() {
        let decoded = decode(subject);
        let common_name = decoded.common_name.unwrap_or_default();
        let repeats_name = decoded.text == format!("CN={common_name}");
        if !repeats_name || common_name.len() > MAX_SHOWN_NAME_LEN {
            facts.push(Fact::quoted("Subject", decoded.text));
        }
    }
    facts.extend(match revocation.certificate_arn.as_deref() {
        Some(arn) if is_plain_arn(arn) => Some(Fact::code("Certificate", arn)),
        Some(arn) => Some(Fact::quoted("Certificate (malformed ARN)", arn)),
        None => None,
    });
    if revocation.malformed {
        let note = "the record is malformed; this is what the report states";
        facts.push(Fact::text("Note", note));
    }
    facts
}

/// When the certificate was issued, to which other account and through which service.
fn issued(revocation: &Revocation, account: &str) -> Option<Fact> {
    let issued_at = revocation.issued_at.as_ref()?;
    let Some(at) = issued_at.at.map(instant) else {
        return Some(Fact::quoted("Issued (unreadable time)", &issued_at.text));
    };
    let word = |word| if is_word(word) { word } else { "(malformed)" };
    let to = revocation.aws_account_id.as_deref();
    let to = to.filter(|&to| to != account);
    let to = to.map_or(String::new(), |to| format!(" to account {}", word(to)));
    let through = match revocation.requested_by_service_principal.as_deref() {
        Some(ACM) => " through ACM".to_owned(),
        Some(other) => format!(" through {}", word(other)),
        None => String::new(),
    };
    Some(Fact::text("Issued", format!("{at}{to}{through}")))
}

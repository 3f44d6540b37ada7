//! A record of an audit report that is, or may be, a revocation.

use std::borrow::Cow;

use crate::revocation::key::RevocationKey;
use crate::revocation::reason::{RevocationReason, Severity};
use crate::timestamp::Timestamp;

/// Maximum bytes of a subject in a message; a longer one is cut.
pub const MAX_SUBJECT_LEN: usize = 4096;

/// A record whose `revokedAt` is not empty, borrowed from the report; a scanner of every record
/// passes on the others as well.
///
/// A field is `None` if the report omits it, states `null`, or (CSV) leaves it empty. A field whose
/// value is not a string has its JSON text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevokedRecord<'a> {
    /// `awsAccountId`.
    pub aws_account_id: Option<Cow<'a, str>>,
    /// `requestedByServicePrincipal`.
    pub requested_by_service_principal: Option<Cow<'a, str>>,
    /// `certificateArn`.
    pub certificate_arn: Option<Cow<'a, str>>,
    /// `serial`.
    pub serial: Option<Cow<'a, str>>,
    /// `subject`.
    pub subject: Option<Cow<'a, str>>,
    /// `notBefore`.
    pub not_before: Option<Cow<'a, str>>,
    /// `notAfter`.
    pub not_after: Option<Cow<'a, str>>,
    /// `issuedAt`.
    pub issued_at: Option<Cow<'a, str>>,
    /// `revokedAt`.
    pub revoked_at: Option<Cow<'a, str>>,
    /// `revocationReason`.
    pub revocation_reason: Option<Cow<'a, str>>,
    /// `templateArn`.
    pub template_arn: Option<Cow<'a, str>>,
    /// Whether the record is malformed: a known field twice or of another type, an unreadable time,
    /// a missing or malformed serial.
    pub malformed: bool,
    /// The bytes of the record in the report.
    pub raw: &'a [u8],
}

/// A revocation with its own copy of the record's fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// The identity within its CA.
    pub key: RevocationKey,
    /// The serial as in the report.
    pub serial: Option<String>,
    /// The subject as in the report.
    pub subject: Option<String>,
    /// The ARN of the certificate.
    pub certificate_arn: Option<String>,
    /// Why it was revoked.
    pub reason: RevocationReason,
    /// When it was revoked.
    pub revoked_at: ReportTime,
    /// The start of its validity.
    pub not_before: Option<ReportTime>,
    /// The end of its validity.
    pub not_after: Option<ReportTime>,
    /// When it was issued.
    pub issued_at: Option<ReportTime>,
    /// The account that requested it.
    pub aws_account_id: Option<String>,
    /// The template that it was issued with.
    pub template_arn: Option<String>,
    /// The AWS service that requested it.
    pub requested_by_service_principal: Option<String>,
    /// See [`RevokedRecord::malformed`].
    pub malformed: bool,
}

impl Revocation {
    /// Whether the template is one for CA certificates (AWS Private CA User Guide, "AWS Private CA
    /// template varieties"), such as `SubordinateCACertificate_PathLen0/V1`.
    pub fn is_ca_certificate(&self) -> bool {
        let template = self.template_arn.as_deref();
        template.is_some_and(|arn| arn.contains("CACertificate"))
    }

    /// Whether the subject may have been cut for a message, so that it is no longer that of the report.
    /// Also true for a whole subject that is that long.
    pub fn may_have_cut_subject(&self) -> bool {
        // A cut never splits a character, of at most four bytes.
        let subject = self.subject.as_deref().unwrap_or_default();
        subject.len() > MAX_SUBJECT_LEN - 4
    }

    /// Returns the severity: that of the reason, but always critical for a CA certificate, because
    /// clients reject everything issued below it.
    pub fn severity(&self) -> Severity {
        match self.is_ca_certificate() {
            true => Severity::Critical,
            false => self.reason.severity(),
        }
    }
}

/// A time of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportTime {
    /// The text in the report.
    pub text: String,
    /// The time; `None` if the text cannot be read.
    pub at: Option<Timestamp>,
}

impl ReportTime {
    /// Reads a time; never fails.
    pub fn from_report(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            at: Timestamp::parse(text),
        }
    }
}

impl RevokedRecord<'_> {
    /// Returns the identity within the CA: the serial; without a valid one the ARN; without that a
    /// hash of the record's bytes.
    pub fn key(&self) -> RevocationKey {
        RevocationKey::of(
            self.serial.as_deref(),
            self.certificate_arn.as_deref(),
            self.raw,
        )
    }

    /// Returns an owned copy.
    pub fn to_revocation(&self, key: RevocationKey) -> Revocation {
        let text = |field: &Option<Cow<'_, str>>| field.as_deref().map(str::to_owned);
        let time = |field: &Option<Cow<'_, str>>| field.as_deref().map(ReportTime::from_report);
        Revocation {
            key,
            serial: text(&self.serial),
            subject: text(&self.subject),
            certificate_arn: text(&self.certificate_arn),
            reason: RevocationReason::from_report(self.revocation_reason.as_deref().unwrap_or("")),
            revoked_at: ReportTime::from_report(self.revoked_at.as_deref().unwrap_or("")),
            not_before: time(&self.not_before),
            not_after: time(&self.not_after),
            issued_at: time(&self.issued_at),
            aws_account_id: text(&self.aws_account_id),
            template_arn: text(&self.template_arn),
            requested_by_service_principal: text(&self.requested_by_service_principal),
            malformed: self.malformed,
        }
    }
}

//! One record of an audit report that is, or may be, a revocation.

use std::borrow::Cow;

use crate::revocation::key::RevocationKey;
use crate::revocation::reason::RevocationReason;
use crate::timestamp::Timestamp;

/// A record whose `revokedAt` is not empty, as a scanner hands it on: borrowed, as it stands.
///
/// A field is `None` where the report leaves it out, states `null`, or (CSV) leaves it empty.
/// A field whose value is not a string carries its JSON text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevokedRecord<'a> {
    pub aws_account_id: Option<Cow<'a, str>>,
    pub requested_by_service_principal: Option<Cow<'a, str>>,
    pub certificate_arn: Option<Cow<'a, str>>,
    pub serial: Option<Cow<'a, str>>,
    pub subject: Option<Cow<'a, str>>,
    pub not_before: Option<Cow<'a, str>>,
    pub not_after: Option<Cow<'a, str>>,
    pub issued_at: Option<Cow<'a, str>>,
    pub revoked_at: Option<Cow<'a, str>>,
    pub revocation_reason: Option<Cow<'a, str>>,
    pub template_arn: Option<Cow<'a, str>>,
    /// Whether anything about the record is odd: a known field twice or of another type, an
    /// unreadable time, a missing or strange serial.
    pub malformed: bool,
    /// The record's bytes in the report.
    pub raw: &'a [u8],
}

/// A revocation, owned: what a message is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// What the revocation is known by.
    pub key: RevocationKey,
    /// The text of `serial`, as it stands in the report.
    pub serial: Option<String>,
    pub subject: Option<String>,
    pub certificate_arn: Option<String>,
    pub reason: RevocationReason,
    pub revoked_at: ReportTime,
    pub not_before: Option<ReportTime>,
    pub not_after: Option<ReportTime>,
    pub issued_at: Option<ReportTime>,
    pub aws_account_id: Option<String>,
    pub template_arn: Option<String>,
    pub requested_by_service_principal: Option<String>,
    /// See [`RevokedRecord::malformed`].
    pub malformed: bool,
}

/// A time as a report states it; `at` is `None` where it cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportTime {
    pub text: String,
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
    /// What the revocation is known by: its serial; without a usable one its ARN; without that a
    /// hash of its bytes.
    pub fn key(&self) -> RevocationKey {
        RevocationKey::of(
            self.serial.as_deref(),
            self.certificate_arn.as_deref(),
            self.raw,
        )
    }

    /// An owned copy for a message.
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
